//! `mcsup output check`: would this file pass?

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;

use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{is_coloured, out};
use crate::cli::render_diagnostics::Sources;
use crate::output::find::{self, Looking, matches};
use crate::output::judgement::{Judgement, Point, Standing};
use crate::output::{FoundFile, Material, Moment, Taken, judge, schema};
use crate::supervisor::home::{Home, HomeError, Surroundings};
use crate::unit::SourceFile;
use crate::unit::diagnostic::Diagnostic;
use crate::unit::output::of_unit;
use crate::unit::spec::output::{OutputSpec, Source};

/// Try what proves that a job did its work.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Example:\n  mcsup output check units/trends.yaml today.json")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(CheckArgs),
}

/// Judge a file as a unit's output would be. Runs nothing, needs no supervisor.
///
/// The file stands for the stream that the unit is judged by, or for the file whose path in `output.files` has its
/// name. What asks for other units or for the guard is left out.
///
/// Exit status: 0 it would pass, 1 not.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Example:\n  mcsup output check units/trends.yaml today.json")]
pub(crate) struct CheckArgs {
    /// A unit file, or the name of a unit of the units directory.
    unit: PathBuf,
    /// What the run wrote.
    file: PathBuf,
    /// The file is what the run wrote to its standard error.
    #[arg(long)]
    stderr: bool,
    /// What expressions see as `previous`.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let Command::Check(args) = &args.command;
    let unit = unit_file(&args.unit, home)?;
    let spec = spec_of(&unit)?;
    let dir = unit.parent().unwrap_or_else(|| Path::new("."));
    let spec = schema::resolved(&spec, dir).map_err(|why| Failure::new(Exit::NotWell, why))?;
    let (spec, material) = one_file(spec, args)?;
    let judgement = judge(&spec, material);
    if args.json {
        out(&format!("{:#}\n", json!(judgement)));
    } else {
        out(&shown(&judgement, is_coloured()));
    }
    Ok(judgement.is_passed().into())
}

/// What was named: a file where there is one, else a unit.
fn unit_file(named: &Path, home: Option<&Path>) -> Result<PathBuf, Failure> {
    if named.is_file() {
        return Ok(named.to_owned());
    }
    let Some(home) = Home::chosen(&Surroundings::read(), home) else {
        return Err(Failure::new(Exit::NotWell, HomeError::Homeless.to_string()));
    };
    let path = home.units.join(format!("{}.yaml", named.display()));
    if path.is_file() {
        return Ok(path);
    }
    let message = format!("there is neither a file {} nor a unit {}", named.display(), path.display());
    Err(Failure::new(Exit::NotWell, message))
}

fn spec_of(unit: &Path) -> Result<OutputSpec, Failure> {
    let cannot = |error| Failure::new(Exit::NotWell, format!("cannot read {}: {error}", unit.display()));
    let source = SourceFile { name: unit.display().to_string(), bytes: fs::read(unit).map_err(cannot)? };
    let (spec, diagnostics) = of_unit(&source);
    let files = [source];
    out(&Sources::new(&files, "").text(&diagnostics, is_coloured()));
    let Some(spec) = spec else {
        let message = if diagnostics.iter().any(Diagnostic::is_error) {
            format!("{} does not say what its output must be", unit.display())
        } else {
            format!("{} has no `output`", unit.display())
        };
        return Err(Failure::new(Exit::NotWell, message));
    };
    Ok(spec)
}

/// Only what the file stands for is judged.
fn one_file(mut spec: OutputSpec, args: &CheckArgs) -> Result<(OutputSpec, Material), Failure> {
    let taken = match find::take(&args.file, 0, None) {
        Taken::Unreadable(why) => {
            return Err(Failure::new(Exit::NotWell, format!("cannot read {}: {why}", args.file.display())));
        }
        taken @ (Taken::Bytes(_) | Taken::TooLarge(_)) => taken,
    };
    let mut material = Material { now: now(), ..Material::default() };
    let previous = match &args.previous {
        Some(path) => match find::take(path, 0, None) {
            Taken::Bytes(bytes) => Some(bytes),
            Taken::TooLarge(_) | Taken::Unreadable(_) => {
                return Err(Failure::new(Exit::NotWell, format!("cannot read {}", path.display())));
            }
        },
        None => None,
    };
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let meant = spec.files.iter().position(|file| could_be(&file.path, &name) && !args.stderr);
    // With one file and no stream there is no doubt.
    let only = (spec.stream.is_none() && spec.files.len() == 1 && !args.stderr).then_some(0);
    if let Some(meant) = meant.or(only) {
        let file = spec.files.swap_remove(meant);
        material.files =
            vec![vec![FoundFile { path: args.file.display().to_string(), modified_nanos: 0, taken }]];
        material.previous.files = vec![previous.into_iter().map(|bytes| (name.clone(), bytes)).collect()];
        return Ok((OutputSpec { stream: None, files: vec![file], ..spec }, material));
    }
    if spec.stream.is_none() {
        let paths: Vec<&str> = spec.files.iter().map(|file| &*file.path).collect();
        let message = format!("this output is judged by files, and none of them could be called {name}");
        return Err(Failure::new(Exit::Usage, message).help(format!("they are: {}", paths.join(", "))));
    }
    if args.stderr && spec.source == Source::Stdout {
        let message = "this output is judged by its standard output";
        return Err(Failure::new(Exit::Usage, message).help("leave out --stderr, or write `source: stderr`"));
    }
    material.stream = Some(taken);
    material.previous.stream = previous;
    Ok((OutputSpec { files: Vec::new(), ..spec }, material))
}

/// Whether a file of this name could be found at `path`.
fn could_be(path: &str, name: &str) -> bool {
    let any = Looking { run_id: "*".to_owned(), date: "*".to_owned(), ..Looking::default() };
    let path = any.filled(path);
    matches(path.rsplit('/').next().unwrap_or(&path), name)
}

fn now() -> Moment {
    let now = jiff::Zoned::now();
    Moment {
        unix: now.timestamp().as_second(),
        date: now.strftime("%Y-%m-%d").to_string(),
        time: now.strftime("%H:%M:%S").to_string(),
        weekday: now.strftime("%A").to_string().to_lowercase(),
    }
}

fn shown(judgement: &Judgement, is_coloured: bool) -> String {
    let mut text: String = judgement.points.iter().map(|point| line(point, is_coloured)).collect();
    if judgement.more > 0 {
        text.push_str(&format!("  and {} more\n", judgement.more));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&format!("{judgement}\n"));
    text
}

fn line(point: &Point, is_coloured: bool) -> String {
    let (mark, colour) = match point.standing {
        Standing::Met => ("✓", "32"),
        Standing::Unmet => ("✗", "31"),
        Standing::Unasked => ("-", "33"),
    };
    let mark = if is_coloured { format!("\u{1b}[{colour}m{mark}\u{1b}[0m") } else { mark.to_owned() };
    let mut line = format!("{mark} {}", one_line(&point.requirement));
    let said = match point.standing {
        Standing::Unmet => point.to_string(),
        Standing::Met | Standing::Unasked => point.found.clone(),
    };
    if !said.is_empty() {
        line.push_str(&format!("\n    {}", one_line(&said)));
    }
    if let Some(path) = point.path.as_ref().filter(|path| !path.is_empty()) {
        line.push_str(&format!("  [{}]", one_line(path)));
    }
    line.push('\n');
    line
}

/// What an output says of itself steers no terminal.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.replace(char::is_control, "\u{FFFD}")
}
