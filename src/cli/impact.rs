//! `mcsup impact UNIT`

use std::path::Path;

use crate::api::dto::{Impacts, Reached, UnitImpact};
use crate::api::parameters::encode;
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::render::{Colour, Paint, Table, cell, is_terminal, out, state_colour, terminal_size};

/// Show what else is reached when a unit goes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  mcsup impact redis")]
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
        let bytes = client.get(&format!("/v1/units/{}/impact", encode(&args.unit))).await?;
        if args.json {
            out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
        } else {
            let impacts: Impacts = read(&bytes)?;
            let paint = Paint::for_output();
            let width = is_terminal().then(terminal_size).flatten().map(|(columns, _)| columns);
            out(&impacts.units.iter().map(|unit| block(unit, paint, width)).collect::<String>());
        }
        Ok(Outcome::Done)
    })
}

fn block(impact: &UnitImpact, paint: Paint, width: Option<usize>) -> String {
    let reaches = &impact.reaches;
    if reaches.is_empty() {
        return format!("nothing depends on {}\n", impact.unit);
    }
    let required = reaches.iter().filter(|one| one.required).count();
    let plural = if reaches.len() == 1 { "" } else { "s" };
    let mut table = Table::new(["UNIT", "BY WAY OF", "NEEDS IT", "FOLLOWS", "PHASE", "STATE", ">SLO"]);
    for one in reaches {
        table.row([
            cell(one.unit.as_str(), Colour::Plain),
            cell(one.through.as_str(), Colour::Faint),
            cell(needs(one), Colour::Plain),
            cell(one.follow.as_str(), Colour::Plain),
            cell(one.phase.as_str(), Colour::Plain),
            cell(one.state.as_str(), state_colour(&one.state)),
            cell(one.slo.as_deref().unwrap_or("-"), Colour::Plain),
        ]);
    }
    let count = reaches.len();
    format!("{} reaches {count} unit{plural}, {required} of which need it\n\n", impact.unit)
        + &table.text(paint, width)
}

/// `healthy`, or `healthy, optional`
fn needs(one: &Reached) -> String {
    if one.required { one.condition.clone() } else { format!("{}, optional", one.condition) }
}
