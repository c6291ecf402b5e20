//! `mcsup status UNIT`: one unit in detail.

use jiff::Timestamp;

use crate::api::dto::{UnitDetail, UnitDetails};
use crate::api::parameters::encode;
use crate::cli::client::{Client, read};
use crate::cli::exit::Failure;
use crate::cli::render::{Colour, Paint, ago, local, one_line, out, state_colour};
use crate::cli::status::in_words;
use crate::log::print::{Printer, Style};
use crate::log::since;

/// Lines of the log that are shown below.
const LOG_LINES: u32 = 5;

/// Longest beginning of these lines that is read: a look, not the log itself.
const MOST_LOG_BYTES: usize = 64 << 10;

pub(crate) async fn show(client: &Client, name: &str) -> Result<(), Failure> {
    let bytes = client.get(&format!("/v1/units/{}", encode(name))).await?;
    let details: UnitDetails<'_> = read(&bytes)?;
    for detail in &details.units {
        let log = last_lines(client, &detail.status.name).await;
        out(&block(detail, &log, since::now(), Paint::for_output()));
    }
    Ok(())
}

/// Empty where the log cannot be read: the rest is worth showing all the same.
async fn last_lines(client: &Client, name: &str) -> String {
    let path = format!("/v1/units/{}/logs?lines={LOG_LINES}", encode(name));
    let Ok(mut pieces) = client.stream(&path).await else { return String::new() };
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MOST_LOG_BYTES {
            bytes.truncate(MOST_LOG_BYTES);
            break;
        }
    }
    let mut shown = Vec::new();
    let mut printer = Printer::new(Style::Escaped, "    ".to_owned());
    // A vector takes whatever is written to it.
    drop(printer.write(&bytes, &mut shown).and_then(|()| printer.finish(&mut shown)));
    String::from_utf8_lossy(&shown).into_owned()
}

fn block(detail: &UnitDetail<'_>, log: &str, now: Timestamp, paint: Paint) -> String {
    let unit = &detail.status;
    let mut text = format!(
        "{} {} for {} ({} in phase {})\n",
        paint.paint(Colour::Strong, &unit.name),
        paint.paint(state_colour(&unit.state), &unit.state),
        ago(&unit.since, now),
        unit.kind,
        unit.phase,
    );
    if let Some(description) = &detail.description {
        text += &format!("  {}\n", one_line(description));
    }
    for (label, value) in fields(detail) {
        let label = paint.paint(Colour::Faint, &format!("{label:<11}"));
        text += &format!("  {label} {}\n", one_line(&value));
    }
    if !detail.recent.is_empty() {
        text += &format!("  {}\n", paint.paint(Colour::Faint, "events"));
        for event in &detail.recent {
            text += &format!("    {}  {}\n", local(&event.at, now), one_line(&event.text));
        }
    }
    if !log.is_empty() {
        text += &format!("  {}\n{log}", paint.paint(Colour::Faint, "log"));
    }
    text
}

fn fields(detail: &UnitDetail<'_>) -> Vec<(&'static str, String)> {
    let unit = &detail.status;
    let mut fields = vec![("reason", unit.reason.to_string())];
    if unit.desired == "down" && unit.state != "inactive" {
        fields.push(("desired", "down".to_owned()));
    }
    if let Some(health) = &unit.health {
        fields.push(("health", health.to_string()));
    }
    if let Some(pid) = unit.pid {
        let plural = if unit.restarts == 1 { "" } else { "s" };
        fields.push((
            "process",
            format!("pid {pid}, {}#{}, {} restart{plural}", unit.name, detail.run, unit.restarts),
        ));
    }
    if let Some(used) = &unit.used {
        let [cpu, memory, tasks] = in_words(used);
        fields.push(("uses", format!("{cpu} of processors, {memory} of memory, {tasks} tasks")));
    }
    if !detail.unenforced.is_empty() {
        let text = format!("nothing on this machine enforces {}", detail.unenforced.join(", "));
        fields.push(("limits", text));
    }
    if let Some(exit) = &unit.last_exit {
        fields.push(("last exit", exit.text.to_string()));
    }
    if let Some(incident) = unit.incident {
        fields.push(("incident", incident.to_string()));
    }
    if let Some(says) = &unit.says {
        fields.push(("says", says.to_string()));
    }
    fields.push(("command", detail.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")));
    if let Some(user) = &detail.user {
        fields.push(("user", user.clone()));
    }
    if !detail.depends_on.is_empty() {
        let needs = detail.depends_on.iter().map(|edge| {
            let weak = if edge.required { "" } else { ", not required" };
            format!("{} {} (is {}{weak})", edge.unit, edge.condition, edge.state)
        });
        fields.push(("needs", needs.collect::<Vec<_>>().join(", ")));
    }
    for (label, names) in [("needed by", &detail.dependents), ("conflicts", &detail.conflicts)] {
        if !names.is_empty() {
            fields.push((label, names.join(", ")));
        }
    }
    for (label, says, is_so) in [
        ("enabled", "no: it starts only when it is asked to or needed", !detail.enabled),
        ("essential", "yes: mcsup stops everything when it has ended for good", detail.essential),
        ("protected", "yes: a change to it waits for approval", unit.protected),
    ] {
        if is_so {
            fields.push((label, says.to_owned()));
        }
    }
    if let Some(runbook) = &detail.runbook {
        fields.push(("runbook", runbook.clone()));
    }
    if !detail.labels.is_empty() {
        let labels = detail.labels.iter().map(|label| format!("{}={}", label.name, label.value));
        fields.push(("labels", labels.collect::<Vec<_>>().join(", ")));
    }
    fields
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,${}".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
