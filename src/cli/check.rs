//! `mcsup check`: is this directory fit to boot?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::render::{err, is_coloured, out};
use crate::cli::render_diagnostics::{Sources, summary};
use crate::supervisor::directory::{self, Checked};
use crate::supervisor::home::{Home, HomeError, Surroundings};

/// Read a units directory and say everything that is wrong with it. Needs no supervisor.
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
    let units = checked.loaded.set.as_ref().map(|set| set.units.len());
    if args.json {
        let answer = json!({
            "ok": is_fit,
            "units": units,
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
    }
    if is_fit { ExitCode::SUCCESS } else { ExitCode::from(1) }
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
