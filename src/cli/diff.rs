//! `mcsup diff`

use std::path::Path;

use crate::api::changes::dto::{FileDiff, GenerationDiff, Generations};
use crate::cli::alone::Source;
use crate::cli::client::read;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::line_diff::unified;
use crate::cli::plan::shown;
use crate::cli::render::{Paint, out};

/// Show in what two generations differ: the definitions in effect, or the texts of files
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a supervisor it reads its state directory. Values of what is called a secret are hidden, but not in the texts of files.\n\n\
    Example:\n  mcsup diff\n  mcsup diff 41\n  mcsup diff 41 42 --files"
)]
pub(crate) struct Args {
    /// The earlier one; the one that the later one came after when left out
    #[arg(value_name = "A")]
    before: Option<u64>,
    /// The later one; the one in force when left out
    #[arg(value_name = "B")]
    after: Option<u64>,
    /// The texts of files, line by line
    #[arg(long)]
    files: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let source = Source::find(home, None)?;
    let (before, after) = pair(&source, args)?;
    let bytes = source.diff(before, after, args.files)?;
    let diff: GenerationDiff = read(&bytes)?;
    if args.json {
        out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
    } else {
        out(&text(&diff, Paint::for_output()));
    }
    Ok(Outcome::Done)
}

fn pair(source: &Source, args: &Args) -> Result<(u64, u64), Failure> {
    if let (Some(before), Some(after)) = (args.before, args.after) {
        return Ok((before, after));
    }
    let bytes = source.list()?;
    let found: Generations = read(&bytes)?;
    let current = found.generations.iter().find(|generation| generation.current);
    let current = current.ok_or_else(|| {
        Failure::new(Exit::NotWell, "no generation is in effect").help("name two: mcsup diff 41 42")
    })?;
    match args.before.or(current.parent) {
        Some(before) => Ok((before, current.number)),
        None => {
            let message = format!("generation {} came after none", current.number);
            Err(Failure::new(Exit::NotWell, message).help("name two: mcsup diff 41 42"))
        }
    }
}

fn text(diff: &GenerationDiff, paint: Paint) -> String {
    let Some(files) = &diff.files else { return shown(&diff.plan) };
    if files.is_empty() {
        return format!("generations {} and {} have the same files\n", diff.before, diff.after);
    }
    files.iter().map(|file| one(file, paint)).collect()
}

fn one(file: &FileDiff, paint: Paint) -> String {
    unified(&file.name, file.before.as_deref(), file.after.as_deref(), paint)
}
