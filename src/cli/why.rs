//! `mcsup why UNIT`

use std::path::Path;

use crate::api::dto::{Why, Whys};
use crate::api::parameters::encode;
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::render::{Colour, Paint, one_line, out, state_colour};

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
        let bytes = client.get(&format!("/v1/units/{}/why", encode(&args.unit))).await?;
        if args.json {
            out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
        } else {
            let whys: Whys = read(&bytes)?;
            let paint = Paint::for_output();
            out(&whys.units.iter().map(|why| chain(why, paint)).collect::<String>());
        }
        Ok(Outcome::Done)
    })
}

fn chain(why: &Why, paint: Paint) -> String {
    let lines = why.chain.iter().enumerate().map(|(depth, link)| {
        let state = paint.paint(state_colour(&link.state), &link.state);
        format!("{:width$}{} is {state}: {}\n", "", link.unit, one_line(&link.text), width = depth * 2)
    });
    let mut text: String = lines.collect();
    let width = why.chain.len() * 2;
    if let Some(cause) = &why.cause {
        let (said, fact) = (one_line(&cause.text), one_line(&cause.rests_on));
        text += &format!("{:width$}because {said} (rests on: {fact})\n", "");
    }
    if let Some(incident) = why.incident {
        let hint = paint.paint(Colour::Faint, &format!("`mcsup incidents {incident}` tells the whole story"));
        text += &format!("{:width$}{hint}\n", "");
    }
    text
}
