//! `mcsup apply`

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::changes::dto::{ApplyOptions, Plan, PlanOptions};
use crate::cli::act::{timeout, within};
use crate::cli::changed::{tell, valid};
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::plan::{directory, shown};
use crate::cli::render::{ask_person, is_conversation, out};

/// Put the units directory, or another one's files, into force; what does not work goes back by itself
#[derive(Debug, clap::Args)]
#[command(
    after_help = "On a terminal it shows the plan and asks first. Ends with 1 when the change is not in force at its end.\n\n\
    Example:\n  mcsup apply\n  mcsup apply ~/units-of-tomorrow --confirm 10m"
)]
pub(crate) struct Args {
    /// A directory whose files are to be those of the units directory; that itself when left out
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Go back unless `mcsup confirm` comes within this time
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    confirm: Option<Duration>,
    /// Come back as soon as it is begun
    #[arg(long)]
    no_wait: bool,
    /// Come back after this long at the latest, with exit status 5; the change goes on
    #[arg(long, value_name = "TIME", value_parser = timeout, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// As JSON; does not ask
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let dir = args.dir.as_deref().map(directory).transpose()?;
    let dir = dir.map(|dir| dir.to_string_lossy().into_owned());
    let client = Client::new(home)?;
    block_on(async {
        if !args.yes && !args.json && is_conversation() && !is_wanted(&client, dir.clone()).await? {
            out("nothing is changed\n");
            return Ok(Outcome::Done);
        }
        let options = ApplyOptions { dir, confirm_ms: args.confirm.map(millis), wait: Some(!args.no_wait) };
        tell(&within(args.timeout, client.change("/v1/apply", &options)).await?, args.json)
    })
}

async fn is_wanted(client: &Client, dir: Option<String>) -> Result<bool, Failure> {
    let reply = client.change("/v1/plan", &PlanOptions { dir, generation: None, unit: None }).await?;
    let Some(bytes) = valid(&reply, false)? else { return Ok(false) };
    let plan: Plan = read(bytes)?;
    if plan.same {
        return Ok(true); // nothing to ask, and the answer says so
    }
    out(&shown(&plan));
    Ok(ask_person("apply? [y/N] ").is_some_and(|answer| answer == "y" || answer == "yes"))
}

/// At least one: nothing can be done in no time.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
