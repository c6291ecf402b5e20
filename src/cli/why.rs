//! `mcsup why UNIT`

use std::path::Path;

use crate::api::dto::Why;
use crate::api::parameters::encode;
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::render::{Paint, one_line, out, state_colour};
use crate::cli::status;

/// Say why a unit is in its state, down to the cause
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup why web")]
pub(crate) struct Args {
    /// The unit
    #[arg(value_name = "UNIT")]
    unit: String,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    block_on(async {
        for unit in status::named(&client, std::slice::from_ref(&args.unit)).await? {
            let bytes = client.get(&format!("/v1/units/{}/why", encode(&unit))).await?;
            if args.json {
                out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
            } else {
                out(&chain(&read(&bytes)?, Paint::for_output()));
            }
        }
        Ok(Outcome::Done)
    })
}

fn chain(why: &Why, paint: Paint) -> String {
    let lines = why.chain.iter().enumerate().map(|(depth, link)| {
        let state = paint.paint(state_colour(&link.state), &link.state);
        format!("{:width$}{} is {state}: {}\n", "", link.unit, one_line(&link.text), width = depth * 2)
    });
    lines.collect()
}
