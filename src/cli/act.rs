//! `mcsup start`, `stop`, `restart` and `kill`

use std::path::Path;
use std::time::Duration;

use crate::api::dto::{Action, Outcome as Answered, Verb};
use crate::cli::client::{Client, block_on};
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::render::{Colour, Paint, one_line, out};
use crate::log::since;

/// Start units and what they require
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup start web\n  mcsup start --timeout 30s web worker")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    common: Common,
}

/// Stop units, after the units that require them
#[derive(Debug, clap::Args)]
#[command(after_help = "A stopped unit stays down until it is started, or until the next boot.\n\n\
    Example:\n  mcsup stop web\n  mcsup stop --only redis")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    common: Common,
    /// Leave the units that require them alone
    #[arg(long)]
    only: bool,
}

/// Restart units; those that depend on them follow only where they say so
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup restart web")]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    common: Common,
}

/// Send a signal to every process of units
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup kill --signal HUP nginx\n  mcsup kill web")]
pub(crate) struct KillArgs {
    /// The units
    #[arg(value_name = "UNIT", required = true)]
    units: Vec<String>,
    /// Such as HUP, SIGHUP or 1
    #[arg(long, short, value_name = "SIGNAL", default_value = "SIGKILL")]
    signal: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Common {
    /// The units
    #[arg(value_name = "UNIT", required = true)]
    units: Vec<String>,
    /// Come back when it is done; the default
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Come back at once
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// Come back after this long at the latest, with exit status 5; what was asked goes on
    #[arg(long, value_name = "TIME", value_parser = timeout, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn start(args: StartArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    args.common.act(Verb::Start, None, home)
}

pub(crate) fn stop(args: StopArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    args.common.act(Verb::Stop, args.only.then_some(true), home)
}

pub(crate) fn restart(args: RestartArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    args.common.act(Verb::Restart, None, home)
}

pub(crate) fn kill(args: KillArgs, home: Option<&Path>) -> Result<Outcome, Failure> {
    let KillArgs { units, signal, json } = args;
    let action = Action { action: Verb::Kill, units, wait: None, only: None, signal: Some(signal) };
    act(&action, None, json, home)
}

impl Common {
    fn act(self, verb: Verb, only: Option<bool>, home: Option<&Path>) -> Result<Outcome, Failure> {
        let action =
            Action { action: verb, units: self.units, wait: Some(!self.no_wait), only, signal: None };
        act(&action, self.timeout, self.json, home)
    }
}

/// A time to wait at most, as people write it.
///
/// # Errors
/// When it is none.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    since::duration(text).ok_or_else(|| "write a time such as `30s` or `1m30s`".to_owned())
}

/// Runs something for at most this long.
///
/// # Errors
/// Those of `talk`, and that it took too long.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    talk: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(limit) = limit else { return talk.await };
    tokio::time::timeout(limit, talk).await.unwrap_or_else(|_elapsed| {
        let limit = crate::engine::time::Pretty(limit);
        Err(Failure::new(Exit::TimedOut, format!("not done within {limit}"))
            .help("what was asked goes on; `mcsup status` shows how far it has come"))
    })
}

fn act(
    action: &Action,
    limit: Option<Duration>,
    json: bool,
    home: Option<&Path>,
) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    let answered: Answered = block_on(within(limit, client.post("/v1/actions", action)))?;
    if json {
        // It was read from JSON a moment ago.
        out(&format!("{}\n", serde_json::to_string(&answered).unwrap_or_default()));
    } else {
        out(&told(&answered, Paint::for_output()));
    }
    Ok(answered.well.into())
}

fn told(answered: &Answered, paint: Paint) -> String {
    let widest = answered.lines.iter().map(|line| line.unit.len()).max().unwrap_or(0);
    let lines = answered.lines.iter().map(|line| {
        let (mark, colour) = if line.well { (" ", Colour::Plain) } else { ("!", Colour::Bad) };
        let text = paint.paint(colour, &one_line(&line.text));
        format!("{} {:widest$}  {text}\n", paint.paint(colour, mark), line.unit)
    });
    lines.collect()
}
