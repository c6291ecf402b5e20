//! `mcsup run`

use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::dto::{Action, Outcome as Answered, OutcomeLine, Verb};
use crate::api::parameters::encode;
use crate::cli::act::{timeout, within};
use crate::cli::client::{Client, block_on};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::render::{err, one_line, out};

/// Run jobs once, now; prints what they wrote, and the verdicts
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ends with 0 only when every run passed. What a job wrote goes to standard output, its verdict \
    to standard error.\n\nExample:\n  mcsup run trends\n  mcsup run --timeout 5m create > post.md"
)]
pub(crate) struct Args {
    /// The jobs
    #[arg(value_name = "JOB", required = true)]
    jobs: Vec<String>,
    /// Come back at once
    #[arg(long)]
    no_wait: bool,
    /// Come back after this long at the latest, with exit status 5; the runs go on
    #[arg(long, value_name = "TIME", value_parser = timeout, conflicts_with = "no_wait")]
    timeout: Option<Duration>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let Args { jobs, no_wait, timeout, json } = args;
    let client = Client::new(home)?;
    let wait = Some(!no_wait);
    let action = Action { action: Verb::Run, units: jobs, wait, only: None, signal: None };
    block_on(async {
        let answered: Answered = within(timeout, client.post("/v1/actions", &action)).await?;
        let mut runs = Vec::new();
        for line in &answered.lines {
            let output = if no_wait { None } else { output(&client, line).await };
            if json {
                let output = output.map_or(Value::Null, |bytes| String::from_utf8_lossy(&bytes).into());
                runs.push(json!({"job": line.unit, "well": line.well, "text": line.text, "output": output}));
            } else {
                show(line, &output.unwrap_or_default());
            }
        }
        if json {
            out(&format!("{:#}\n", json!({"well": answered.well, "runs": runs})));
        }
        Ok(answered.well.into())
    })
}

fn show(line: &OutcomeLine, output: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    // Nobody reads any more: the verdict is told all the same.
    drop(stdout.write_all(output).and_then(|()| stdout.flush()));
    let text = if line.text.starts_with(&line.unit) {
        line.text.clone()
    } else {
        format!("{} {}", line.unit, line.text)
    };
    let is_open = output.last().is_some_and(|last| *last != b'\n');
    let end = if is_open && is_one_place(&stdout, std::io::stderr()) { "\n" } else { "" };
    err(&format!("{end}{}\n", one_line(&text)));
}

/// A screen, or a file that both go to: there the verdict would stand behind the last word of the run.
fn is_one_place(one: impl AsFd, other: impl AsFd) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        (Err(_), _) | (_, Err(_)) => false,
    }
}

/// What the run wrote that the line tells of; none where nothing ran, or nothing is kept.
async fn output(client: &Client, line: &OutcomeLine) -> Option<Vec<u8>> {
    let run = run_in(line)?;
    client.get(&format!("/v1/jobs/{}/output?run={run}", encode(&line.unit))).await.ok()
}

/// The 4 of `trends#4 passed`.
fn run_in(line: &OutcomeLine) -> Option<u32> {
    let rest = line.text.strip_prefix(&line.unit)?.strip_prefix('#')?;
    rest.split(' ').next()?.parse().ok()
}
