//! `mcsup status`

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use crate::api::dto::{Status, Unit, Used};
use crate::api::parameters::encode;
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::render::{
    Cell, Colour, Paint, Table, ago, cell, is_terminal, local, one_line, out, state_colour, terminal_size,
};
use crate::cli::{detail, watch};
use crate::log::since;

/// Show how the units are; one unit alone in detail
#[derive(Debug, clap::Args)]
#[command(after_help = "Ends with 0 when every unit shown is as it should be, else with 1.\n\n\
    Example:\n  mcsup status\n  mcsup status redis\n  mcsup status --json | jq '.units[] | select(.state != \"ready\")'")]
pub(crate) struct Args {
    /// Only these units
    #[arg(value_name = "UNIT")]
    units: Vec<String>,
    /// As JSON
    #[arg(long, conflicts_with = "watch")]
    json: bool,
    /// Also what each unit uses, where it has a cgroup: processor time, memory and tasks
    #[arg(long, conflicts_with = "watch")]
    used: bool,
    /// Show it again whenever something happens
    #[arg(long)]
    watch: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    block_on(async {
        if args.watch {
            return watch::run(&client, &args.units).await;
        }
        let path = path(&args.units);
        let mark = if path.contains('?') { '&' } else { '?' };
        let path = if args.used { format!("{path}{mark}used=true") } else { path };
        let bytes = client.get(&path).await?;
        let status: Status<'_> = read(&bytes)?;
        if args.json {
            out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
        } else if let ([_one], [unit]) = (args.units.as_slice(), status.units.as_slice()) {
            detail::show(&client, &unit.name).await?;
        } else {
            let look = Look {
                paint: Paint::for_output(),
                width: is_terminal().then(terminal_size).flatten().map(|(columns, _)| columns),
                clock: Clock::Spans,
            };
            out(&text(&status, since::now(), look));
            if args.used {
                out(&used(&status, look));
            }
        }
        Ok(status.units.iter().all(is_well).into())
    })
}

/// Where the status of these units is, or of all when there is none.
pub(crate) fn path(units: &[String]) -> String {
    let parameters: Vec<String> = units.iter().map(|unit| format!("unit={}", encode(unit))).collect();
    if parameters.is_empty() {
        "/v1/status".to_owned()
    } else {
        format!("/v1/status?{}", parameters.join("&"))
    }
}

/// The units that these names mean: each of them is a unit, or all its replicas and instances.
pub(crate) async fn named(client: &Client, names: &[String]) -> Result<Vec<String>, Failure> {
    let bytes = client.get(&path(names)).await?;
    let status: Status<'_> = read(&bytes)?;
    Ok(status.units.iter().map(|unit| unit.name.to_string()).collect())
}

/// It is where it should be, and need not go anywhere.
pub(crate) fn is_well(unit: &Unit<'_>) -> bool {
    match &*unit.state {
        "ready" | "completed" => true,
        "inactive" => unit.desired == "down",
        "waiting" => unit.listening,
        _ => false,
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub paint: Paint,
    pub width: Option<usize>,
    pub clock: Clock,
}

/// How the time since a unit changed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// `3m12s`, right at the moment of printing.
    Spans,
    /// `06:31:00`, right for as long as it stands on a screen.
    Times,
}

/// A summary, and below it a line for each unit.
pub(crate) fn text(status: &Status<'_>, now: Timestamp, look: Look) -> String {
    let summary = summary(status, look.paint);
    let summary = match &status.changes {
        Some(changes) => format!("{summary}\n{}", look.paint.paint(Colour::Going, &one_line(changes))),
        None => summary,
    };
    if status.units.is_empty() {
        return summary + "\n";
    }
    let since = match look.clock {
        Clock::Spans => ">FOR",
        Clock::Times => ">SINCE",
    };
    let mut table = Table::new(["", "UNIT", "STATE", since, ">PID", ">RESTARTS", "HEALTH", "REASON"]);
    let order: BTreeMap<&str, usize> =
        status.phases.iter().enumerate().map(|(index, phase)| (&**phase, index)).collect();
    let mut units: Vec<&Unit<'_>> = status.units.iter().collect();
    units.sort_by(|a, b| (order.get(&*a.phase), &a.name).cmp(&(order.get(&*b.phase), &b.name)));
    let mut phase = None;
    let mut dates = Dates { now, clock: look.clock, last: None };
    for unit in units {
        if phase != Some(&unit.phase) && status.phases.len() > 1 {
            table.heading(format!("phase {}", unit.phase));
        }
        phase = Some(&unit.phase);
        // Why a unit is not well is what people look for; a picture that is redrawn keeps its lines instead.
        if look.clock == Clock::Spans && !is_well(unit) {
            table.whole_row(row(unit, &mut dates));
        } else {
            table.row(row(unit, &mut dates));
        }
    }
    summary + "\n\n" + &table.text(look.paint, look.width)
}

/// Reads dates for people. Hundreds of units become ready in one second, and to read it once is enough.
struct Dates<'a> {
    now: Timestamp,
    clock: Clock,
    /// The last one up to its second, and how it is shown.
    last: Option<(&'a str, String)>,
}

impl<'a> Dates<'a> {
    fn shown(&mut self, at: &'a str) -> String {
        let second = at.get(..SECOND_CHARACTERS).unwrap_or(at);
        if let Some((last, shown)) = &self.last
            && *last == second
        {
            return shown.clone();
        }
        let shown = match self.clock {
            Clock::Spans => ago(at, self.now),
            Clock::Times => local(at, self.now),
        };
        self.last = Some((second, shown.clone()));
        shown
    }
}

/// Of `2026-11-20T06:31:00.123Z`, as far as it is shown.
const SECOND_CHARACTERS: usize = 19;

fn row<'a>(unit: &'a Unit<'a>, dates: &mut Dates<'a>) -> [Cell<'a>; 8] {
    let is_well = is_well(unit);
    let since = dates.shown(&unit.since);
    let pid = unit.pid.map_or(Cow::Borrowed("-"), |pid| Cow::Owned(pid.to_string()));
    let restarts = match unit.restarts {
        0 => cell("0", Colour::Faint),
        some => cell(some.to_string(), Colour::Going),
    };
    let health = match unit.health.as_deref() {
        Some("failing") => cell("failing", Colour::Bad),
        Some(health) => cell(health, Colour::Plain),
        None => cell("-", Colour::Faint),
    };
    [
        // Not by colour alone: a mark is found by eye and by grep.
        if is_well { cell(" ", Colour::Plain) } else { cell("!", Colour::Bad) },
        cell(&*unit.name, Colour::Plain),
        cell(&*unit.state, state_colour(&unit.state)),
        cell(since, Colour::Plain),
        cell(pid, Colour::Plain),
        restarts,
        health,
        cell(one_line(&unit.reason), if is_well { Colour::Faint } else { Colour::Plain }),
    ]
}

/// A line for each unit that has a control group.
fn used(status: &Status<'_>, look: Look) -> String {
    let mut table = Table::new(["", "UNIT", ">CPU", ">MEMORY", ">TASKS"]);
    let mut is_any = false;
    for (unit, used) in status.units.iter().filter_map(|unit| Some((unit, unit.used.as_ref()?))) {
        is_any = true;
        let [cpu, memory, tasks] = in_words(used);
        table.row([
            cell(" ", Colour::Plain),
            cell(&*unit.name, Colour::Plain),
            cell(cpu, Colour::Plain),
            cell(memory, Colour::Plain),
            cell(tasks, Colour::Plain),
        ]);
    }
    let head = format!("\n{}\n", look.paint.paint(Colour::Faint, &one_line(&status.cgroups.text)));
    if is_any { head + "\n" + &table.text(look.paint, look.width) } else { head }
}

/// Processor time, memory and tasks; `-` for what is not counted.
pub(crate) fn in_words(used: &Used) -> [String; 3] {
    let seconds = |micros: u64| format!("{}.{:02}s", micros / 1_000_000, micros % 1_000_000 / 10_000);
    let none = || "-".to_owned();
    [
        used.cpu_us.map_or_else(none, seconds),
        used.memory_bytes.map_or_else(none, size),
        used.tasks.map_or_else(none, |tasks| tasks.to_string()),
    ]
}

/// `12.5M`
fn size(bytes: u64) -> String {
    let (shift, letter) = match bytes {
        0..0x400 => return format!("{bytes}"),
        0x400..0x10_0000 => (10, 'K'),
        0x10_0000..0x4000_0000 => (20, 'M'),
        _ => (30, 'G'),
    };
    let tenths = u128::from(bytes).saturating_mul(10) >> shift;
    format!("{}.{}{letter}", tenths / 10, tenths % 10)
}

/// The whole machine in one line.
fn summary(status: &Status<'_>, paint: Paint) -> String {
    let well = status.units.iter().filter(|unit| is_well(unit)).count();
    let not_well: Vec<&Unit<'_>> = status.units.iter().filter(|unit| !is_well(unit)).collect();
    let (stage, colour) = match (status.stopping, status.booted) {
        (true, _) => ("shutting down".to_owned(), Colour::Going),
        (false, true) => ("booted".to_owned(), Colour::Good),
        (false, false) => (format!("booting, phase {}", status.phase), Colour::Going),
    };
    let mut parts = vec![paint.paint(colour, &stage), format!("{well} of {} well", status.units.len())];
    if !not_well.is_empty() {
        parts.push(paint.paint(Colour::Bad, &counted(&not_well)));
    }
    if status.open_incidents > 0 {
        let plural = if status.open_incidents == 1 { "" } else { "s" };
        parts.push(format!("{} open incident{plural}", status.open_incidents));
    }
    if status.guard != "normal" {
        parts.push(format!("guard: {}", status.guard));
    }
    parts.push(if status.cgroups.used { "cgroups" } else { "no cgroups" }.to_owned());
    parts.extend(status.generation.map(|generation| format!("generation {generation}")));
    parts.join(", ")
}

/// `2 waiting, 1 failed`
fn counted(units: &[&Unit<'_>]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for unit in units {
        *counts.entry(&*unit.state).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
    counts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_one_second_are_shown_alike_and_those_of_another_are_not() {
        let now: Timestamp = "2026-11-20T06:31:10Z".parse().unwrap();
        let mut dates = Dates { now, clock: Clock::Spans, last: None };
        let shown =
            ["2026-11-20T06:31:00.100Z", "2026-11-20T06:31:00.900Z", "2026-11-20T06:31:01.000Z", "never"]
                .map(|at| dates.shown(at));
        assert_eq!(shown, ["10s", "10s", "9s", "?"]);
    }
}
