//! `mcsup reexec`

use std::path::Path;
use std::time::Duration;

use crate::api::reexec::{Reexec, Standing};
use crate::cli::act::{timeout, within};
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{one_line, out};

/// Replace mcsup itself by the executable on disk; no service notices
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The other executable first shows on a copy that it can take over. If it cannot, or does not come up,\n\
    the one that runs goes on and says why; the exit status is 1 then.\n\nExample:\n  mcsup reexec"
)]
pub(crate) struct Args {
    /// Come back once it is begun
    #[arg(long)]
    no_wait: bool,
    /// Come back after this long at the latest, with exit status 5; what was begun goes on
    #[arg(long, value_name = "TIME", value_parser = timeout, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    block_on(within(args.timeout.or(Some(PATIENCE)), async {
        let begun: Reexec = client.post("/v1/reexec", &serde_json::json!({})).await?;
        if args.no_wait {
            let text = format!("{} is being replaced by {}\n", begun.from, begun.to);
            out(&if args.json { line(&begun) } else { text });
            return Ok(Outcome::Done);
        }
        loop {
            // While one supervisor has gone and the other has not come, nobody answers.
            let answered = client.get("/v1/reexec").await;
            if let Err(Failure { exit: Exit::NotPermitted | Exit::Usage, .. }) = &answered {
                answered?;
                continue;
            }
            let standing: Option<Standing> = answered.ok().and_then(|bytes| read(&bytes).ok());
            let over = standing.and_then(|standing| standing.last.filter(|last| last.number >= begun.number));
            if let Some(last) = over {
                let outcome = Outcome::from(last.trouble.is_none());
                out(&if args.json { line(&last) } else { format!("{}\n", one_line(&last.text)) });
                return Ok(outcome);
            }
            drop(tokio::time::timeout(PAUSE, std::future::pending::<()>()).await);
        }
    }))
}

fn line(answer: &impl serde::Serialize) -> String {
    // It was read from JSON a moment ago.
    format!("{}\n", serde_json::to_string(answer).unwrap_or_default())
}

/// Longer than a rehearsal, a supervisor that never gets ready, and the way back.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
