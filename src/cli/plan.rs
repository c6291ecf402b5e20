//! `mcsup plan`

use std::path::{Path, PathBuf};

use crate::api::changes::dto::Plan;
use crate::cli::alone::Source;
use crate::cli::changed::valid;
use crate::cli::client::read;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{Paint, out};
use crate::cli::render_plan;

/// Show what a change of the units would do; touches nothing
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without a supervisor it compares with the generation that the state directory has as the current one.\n\
    Ends with 1 when the units cannot be used, else with 0.\n\n\
    Example:\n  mcsup plan\n  mcsup plan ~/units-of-tomorrow\n  mcsup plan --generation 41"
)]
pub(crate) struct Args {
    /// A directory whose files would be those of the units directory; that itself when left out
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The files of a generation instead: what a roll back would do
    #[arg(long, value_name = "GEN", conflicts_with = "dir")]
    generation: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let dir = args.dir.as_deref().map(directory).transpose()?;
    let reply = Source::find(home, dir.as_deref())?.plan(dir.as_deref(), args.generation)?;
    let Some(bytes) = valid(&reply, args.json)? else { return Ok(Outcome::NotWell) };
    let plan: Plan = read(bytes)?;
    if args.json {
        out(&format!("{}\n", String::from_utf8_lossy(bytes)));
    } else {
        out(&shown(&plan));
    }
    Ok(Outcome::Done)
}

pub(crate) fn shown(plan: &Plan) -> String {
    if plan.same {
        let from = plan.from.map_or_else(|| "what runs".to_owned(), |from| format!("generation {from}"));
        return format!("nothing differs from {from}\n");
    }
    plan.warnings.clone() + &render_plan::whole(plan, Paint::for_output())
}

/// As the supervisor finds it, wherever that stands.
///
/// # Errors
/// When there is none.
pub(crate) fn directory(dir: &Path) -> Result<PathBuf, Failure> {
    let found = dir.canonicalize().and_then(|found| found.read_dir().map(|_entries| found));
    found.map_err(|error| Failure::new(Exit::NotWell, format!("cannot read {}: {error}", dir.display())))
}
