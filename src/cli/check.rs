//! `mcsup check`: is this directory fit to boot?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::cli::render::{err, is_coloured, out};
use crate::cli::render_diagnostics::{Sources, summary};
use crate::supervisor::directory::{self, Checked};

/// Read a units directory and say everything that is wrong with it. Needs no supervisor.
///
/// Exit status: 0 fit to boot (there may be warnings), 1 not.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  mcsup check /etc/mcsup/units")]
pub struct CheckArgs {
    /// The units directory; the default instance's when left out.
    pub dir: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: CheckArgs) -> ExitCode {
    let dir = units_dir(args.dir);
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

/// The directory that was named, or the one that the default instance would take.
pub(crate) fn units_dir(named: Option<PathBuf>) -> PathBuf {
    let from =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    named
        .or_else(|| from("MCSUP_HOME").map(|home| home.join("units")))
        .or_else(|| nix::unistd::geteuid().is_root().then(|| PathBuf::from("/etc/mcsup/units")))
        .or_else(|| from("XDG_CONFIG_HOME").map(|config| config.join("mcsup/units")))
        .or_else(|| from("HOME").map(|home| home.join(".config/mcsup/units")))
        .unwrap_or_else(|| PathBuf::from("/etc/mcsup/units"))
}
