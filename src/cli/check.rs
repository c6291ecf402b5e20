//! `mcsup check`: is this directory fit to boot?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::render::{err, is_coloured, out};
use crate::cli::render_diagnostics::{Sources, summary};
use crate::supervisor::directory::{self, Checked};
use crate::supervisor::home::{Home, HomeError, Surroundings};
use crate::unit::schedule::UnixTime;
use crate::unit::spec::job::JobSpec;
use crate::unit::spec::{UnitSet, UnitSpec};

/// More are counted: who has thousands of jobs asks for `--json`.
const MOST_JOBS: usize = 50;

/// Read a units directory and say everything that is wrong with it. Needs no supervisor.
///
/// Says when each job runs, and when it runs next.
///
/// Exit status: 0 fit to boot (there may be warnings), 1 not.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mcsup check /etc/mcsup/units")]
pub(crate) struct CheckArgs {
    /// The units directory; the default instance's when left out.
    pub(crate) dir: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: CheckArgs, home: Option<&Path>) -> ExitCode {
    let Some(dir) = units_dir(args.dir, home) else { return ExitCode::from(1) };
    let Some(checked) = checked(&dir) else { return ExitCode::from(1) };
    let is_fit = checked.loaded.set.is_some();
    let mut sources = Sources::new(&checked.sources, &dir.to_string_lossy());
    let units = checked.loaded.set.as_ref().map(|set| set.present().count());
    if args.json {
        let answer = json!({
            "ok": is_fit,
            "units": units,
            "jobs": checked.loaded.set.as_ref().map(|set| jobs_json(set, now())),
            "diagnostics": sources.json(&checked.loaded.diagnostics),
        });
        out(&format!("{answer:#}\n"));
    } else {
        out(&sources.text(&checked.loaded.diagnostics, is_coloured()));
        let counted = summary(&checked.loaded.diagnostics);
        out(&match (units, counted) {
            (Some(units), None) => format!("{}: {units} units, nothing to say\n", dir.display()),
            (Some(units), Some(counted)) => format!("{}: {units} units, {counted}\n", dir.display()),
            (None, counted) => format!("{}: {}\n", dir.display(), counted.unwrap_or_default()),
        });
        out(&checked.loaded.set.as_ref().map(|set| jobs_text(set, now())).unwrap_or_default());
    }
    if is_fit { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn now() -> UnixTime {
    UnixTime(jiff::Timestamp::now().as_second())
}

fn jobs(set: &UnitSet) -> impl Iterator<Item = (&UnitSpec, &JobSpec)> {
    set.present_units().filter_map(|unit| Some((unit, unit.job.as_deref()?)))
}

/// A line for each job: "trends: at 08:00 every day (Europe/Berlin), next Sat 2026-11-21 08:00 CET".
fn jobs_text(set: &UnitSet, now: UnixTime) -> String {
    let lines = jobs(set).take(MOST_JOBS).map(|(unit, job)| {
        let next = job.timetable.next(now).filter(|_| unit.enabled);
        let next = next.map_or_else(String::new, |at| format!(", next {}", job.timetable.zone.show(at)));
        let off = if unit.enabled { "" } else { "not enabled; " };
        format!("{}: {off}{}{next}\n", unit.name, job.words(unit.name.as_str(), set))
    });
    let mut text: String = lines.collect();
    let more = jobs(set).count().saturating_sub(MOST_JOBS);
    if more > 0 {
        text.push_str(&format!("and {more} more jobs: `--json` lists all\n"));
    }
    text
}

fn jobs_json(set: &UnitSet, now: UnixTime) -> Vec<serde_json::Value> {
    let one = |(unit, job): (&UnitSpec, &JobSpec)| {
        let next = job.timetable.next(now).filter(|_| unit.enabled);
        let instant = next.and_then(|at| jiff::Timestamp::from_second(at.0).ok());
        json!({
            "name": unit.name.as_str(),
            "enabled": unit.enabled,
            "runs": job.words(unit.name.as_str(), set),
            "schedule": job.timetable.schedules.iter().map(|schedule| schedule.text()).collect::<Vec<_>>(),
            "timezone": job.timetable.zone.name(),
            "next": instant.map(|instant| instant.to_string()),
        })
    };
    jobs(set).map(one).collect()
}

/// `None` when the directory cannot be read; the person was told.
pub(crate) fn checked(dir: &Path) -> Option<Checked> {
    match directory::check(dir) {
        Ok(checked) => Some(checked),
        Err(error) => {
            err(&format!("cannot read the units directory {}: {error}\n", dir.display()));
            None
        }
    }
}

/// The directory that was named, or the one that `mcsup up` would take. `None`: there is none; the person was told.
pub(crate) fn units_dir(named: Option<PathBuf>, home: Option<&Path>) -> Option<PathBuf> {
    let units = named.or_else(|| Some(Home::chosen(&Surroundings::read(), home)?.units));
    if units.is_none() {
        err(&format!("{}\n", HomeError::Homeless));
    }
    units
}
