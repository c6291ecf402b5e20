//! `mcsup jobs`

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use crate::api::dto::{Job, JobDetail, JobDetails, JobRun, Jobs};
use crate::api::parameters::encode;
use crate::cli::check::{checked, units_dir};
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{
    Cell, Colour, Paint, Table, ago, cell, is_terminal, local, one_line, out, terminal_size,
};
use crate::engine::time::Pretty;
use crate::log::since;
use crate::unit::schedule::UnixTime;
use crate::unit::spec::{UnitSet, UnitSpec};

/// Show jobs: how the last runs went, when they run next
#[derive(Debug, clap::Args)]
#[command(after_help = "Ends with 0 when the last run of every job shown passed, else with 1.\n\
    With --next it reads a units directory and needs no supervisor.\n\n\
    Example:\n  mcsup jobs\n  mcsup jobs trends\n  mcsup jobs --next 5 --from 2026-03-28")]
pub(crate) struct Args {
    /// One job, with its last runs
    #[arg(value_name = "JOB")]
    job: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// The next N slots of each schedule instead
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    next: Option<u16>,
    /// The slots after this moment: `2026-03-28 06:00`, `06:00`, ... Default: now
    #[arg(long, value_name = "T", requires = "next")]
    from: Option<String>,
    /// The units directory; the default instance's when left out
    #[arg(long, value_name = "DIR", requires = "next")]
    dir: Option<PathBuf>,
}

pub(crate) fn run(args: Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    if let Some(count) = args.next {
        return next(args, count, home);
    }
    let client = Client::new(home)?;
    block_on(async {
        match &args.job {
            Some(name) => one(&client, name, args.json).await,
            None => all(&client, args.json).await,
        }
    })
}

async fn all(client: &Client, is_json: bool) -> Result<Outcome, Failure> {
    let bytes = client.get("/v1/jobs").await?;
    let found: Jobs = read(&bytes)?;
    if is_json {
        out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
    } else if found.jobs.is_empty() {
        out("no unit is a job\n");
    } else {
        out(&table(&found.jobs, since::now(), Paint::for_output(), width()));
    }
    Ok(found.jobs.iter().all(is_well).into())
}

async fn one(client: &Client, name: &str, is_json: bool) -> Result<Outcome, Failure> {
    let bytes = client.get(&format!("/v1/jobs/{}", encode(name))).await?;
    let found: JobDetails = read(&bytes)?;
    if is_json {
        out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
    } else {
        let blocks = found.jobs.iter().map(|one| block(one, since::now(), Paint::for_output(), width()));
        out(&blocks.collect::<Vec<_>>().join("\n"));
    }
    Ok(found.jobs.iter().all(|one| is_well(&one.job)).into())
}

fn width() -> Option<usize> {
    is_terminal().then(terminal_size).flatten().map(|(columns, _)| columns)
}

fn is_well(job: &Job) -> bool {
    matches!(job.verdict.as_deref(), None | Some("passed" | "cancelled"))
}

fn table(jobs: &[Job], now: Timestamp, paint: Paint, width: Option<usize>) -> String {
    let mut table = Table::new(["", "JOB", "LAST", ">AGO", "NEXT", ">STREAK", "RUNNING", "WHY"]);
    for job in jobs {
        table.whole_row(row(job, now));
    }
    table.text(paint, width)
}

fn row(job: &Job, now: Timestamp) -> [Cell<'_>; 8] {
    let verdict = job.verdict.as_deref();
    let why = match (verdict, job.last.as_ref()) {
        (Some("passed") | None, _) => "",
        (Some(_), Some(last)) if Some(&*last.verdict) == verdict => &*last.why,
        (Some(_), _) => job.said.as_deref().unwrap_or_default(),
    };
    [
        if is_well(job) { cell(" ", Colour::Plain) } else { cell("!", Colour::Bad) },
        cell(&*job.name, Colour::Plain),
        cell(verdict.unwrap_or("-"), verdict_colour(verdict)),
        cell(job.last.as_ref().map_or_else(|| "-".to_owned(), |last| ago(&ended(last), now)), Colour::Plain),
        cell(next_of(job, now), Colour::Plain),
        cell(if verdict.is_some() { job.streak.to_string() } else { "-".to_owned() }, Colour::Plain),
        cell(running(job), Colour::Going),
        cell(one_line(why), Colour::Plain),
    ]
}

fn next_of(job: &Job, now: Timestamp) -> String {
    match (&job.next, job.every_ms) {
        (Some(next), _) => local(next, now),
        (None, Some(every)) => format!("every {}", Pretty(Duration::from_millis(every))),
        (None, None) => "-".to_owned(),
    }
}

/// `#4`, and `+2` for those that wait.
fn running(job: &Job) -> String {
    let mut parts: Vec<String> = job.running.iter().map(|run| format!("#{run}")).collect();
    if job.waiting > 0 {
        parts.push(format!("+{}", job.waiting));
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join(" ") }
}

fn verdict_colour(verdict: Option<&str>) -> Colour {
    match verdict {
        Some("passed") => Colour::Good,
        Some("cancelled" | "skipped") | None => Colour::Faint,
        Some(_) => Colour::Bad,
    }
}

fn ended(run: &JobRun) -> String {
    let took = Duration::from_millis(run.took_ms);
    let ended = run.began.parse::<Timestamp>().ok().and_then(|began| began.checked_add(took).ok());
    ended.map_or_else(|| run.began.clone(), |ended| ended.to_string())
}

fn block(detail: &JobDetail, now: Timestamp, paint: Paint, width: Option<usize>) -> String {
    let job = &detail.job;
    let mut text = format!("{}: {}\n", paint.paint(Colour::Strong, &job.name), one_line(&job.reason));
    let mut field = |label: &str, value: &str| {
        let label = paint.paint(Colour::Faint, &format!("{label:<10}"));
        text.push_str(&format!("  {label} {}\n", one_line(value)));
    };
    if !job.schedule.is_empty() {
        field("runs", &format!("{} ({})", job.schedule, job.zone));
    }
    if let Some(every) = job.every_ms {
        field("runs", &format!("every {}", Pretty(Duration::from_millis(every))));
    }
    if let Some(next) = &job.next {
        field("next", &local(next, now));
    }
    if let Some(said) = &job.said {
        let plural = if job.streak == 1 { "" } else { "s" };
        field("last", &format!("{said} ({} run{plural} like it in a row)", job.streak));
    }
    if detail.runs.is_empty() {
        return text + "  no run is remembered\n";
    }
    let mut table = Table::new(["", ">RUN", "BEGAN", ">TOOK", "TRIGGER", "VERDICT", "WHY"]);
    for run in &detail.runs {
        table.whole_row(run_row(run, now));
    }
    text + "\n" + &table.text(paint, width)
}

fn run_row(run: &JobRun, now: Timestamp) -> [Cell<'_>; 7] {
    let is_well = matches!(&*run.verdict, "passed" | "cancelled" | "skipped");
    let took = Pretty(Duration::from_millis(run.took_ms)).to_string();
    [
        if is_well { cell(" ", Colour::Plain) } else { cell("!", Colour::Bad) },
        cell(run.run.map_or_else(|| "-".to_owned(), |run| format!("#{run}")), Colour::Plain),
        cell(local(&run.began, now), Colour::Plain),
        cell(if run.run.is_some() { took } else { "-".to_owned() }, Colour::Plain),
        cell(one_line(&run.trigger), Colour::Plain),
        cell(&*run.verdict, verdict_colour(Some(&run.verdict))),
        cell(one_line(&run.why), Colour::Plain),
    ]
}

/// What a units directory says will run.
fn next(args: Args, count: u16, home: Option<&Path>) -> Result<Outcome, Failure> {
    let now = since::now();
    let from = match &args.from {
        Some(text) => since::parse(text, now).map_err(|why| Failure::new(Exit::Usage, why))?,
        None => u64::try_from(now.as_nanosecond()).unwrap_or(0),
    };
    let failed = || Failure::new(Exit::NotWell, "the units directory cannot be read");
    let dir = units_dir(args.dir, home).ok_or_else(failed)?;
    let loaded = checked(&dir).ok_or_else(failed)?.loaded;
    let Some(set) = loaded.set else {
        let message = format!("the units in {} are not fit to boot", dir.display());
        return Err(Failure::new(Exit::NotWell, message).help("`mcsup check` says what is wrong"));
    };
    if let Some(name) = &args.job {
        let spec = set.find(name).and_then(|unit| set.unit(unit));
        let why = match spec.map(|spec| spec.job.is_some()) {
            None => format!("no unit is called `{name}`"),
            Some(false) => format!("`{name}` is no job"),
            Some(true) => String::new(),
        };
        if !why.is_empty() {
            return Err(Failure::new(Exit::NotWell, why));
        }
    }
    let slots = slots(&set, args.job.as_deref(), count, UnixTime::from_nanos(from));
    if slots.is_empty() {
        return Err(Failure::new(Exit::NotWell, "no job with a schedule is there"));
    }
    if args.json {
        let slots = slots.iter().map(|(at, spec)| {
            let instant = Timestamp::from_second(at.0).map(|at| at.to_string()).unwrap_or_default();
            json!({"job": spec.name.as_str(), "at": instant, "local": shown(spec, *at)})
        });
        out(&format!("{:#}\n", json!({"slots": slots.collect::<Vec<_>>()})));
    } else {
        let widest = slots.iter().map(|(at, spec)| shown(spec, *at).chars().count()).max().unwrap_or(0);
        let lines = slots.iter().map(|(at, spec)| format!("{:widest$}  {}\n", shown(spec, *at), spec.name));
        out(&lines.collect::<String>());
    }
    Ok(Outcome::Done)
}

/// In the order in which they come.
fn slots<'a>(
    set: &'a UnitSet,
    wanted: Option<&str>,
    count: u16,
    from: UnixTime,
) -> Vec<(UnixTime, &'a UnitSpec)> {
    let mut slots = Vec::new();
    for spec in set.present_units() {
        let Some(job) = spec.job.as_deref() else { continue };
        if wanted.is_some_and(|wanted| wanted != spec.name.as_str()) {
            continue;
        }
        let mut at = from;
        for _ in 0..count {
            let Some(slot) = job.timetable.next(at) else { break };
            slots.push((slot, spec));
            at = slot;
        }
    }
    slots.sort_by_key(|(at, spec)| (*at, spec.name.clone()));
    slots
}

fn shown(spec: &UnitSpec, at: UnixTime) -> String {
    spec.job.as_deref().map(|job| job.timetable.zone.show(at)).unwrap_or_default()
}
