//! `mcsup generations`

use std::path::Path;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::json;

use crate::api::changes::dto::{Damage, Damages, Generation, GenerationDetail, Generations, PinOptions};
use crate::cli::alone::Source;
use crate::cli::client::{Client, block_on, read};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::render::{
    Cell, Colour, Paint, Table, cell, is_terminal, local, local_date, one_line, out, terminal_size,
};
use crate::log::since;

/// Show what is kept of the units directory; one generation alone with its files
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Without a supervisor all but pin and unpin read its state directory.\n\n\
    Example:\n  mcsup generations\n  mcsup generations 42\n  mcsup generations pin 41 --label before-upgrade\n  mcsup generations verify"
)]
pub(crate) struct Args {
    /// One of them
    #[arg(value_name = "GEN")]
    generation: Option<u64>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read every byte that is kept, and name what is damaged; ends with 1 when anything is
    Verify {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Keep one, however old it gets
    Pin {
        /// Its number
        #[arg(value_name = "GEN")]
        generation: u64,
        /// Why it is kept
        #[arg(long, value_name = "TEXT")]
        label: String,
    },
    /// Let one go when its time comes
    Unpin {
        /// Its number
        #[arg(value_name = "GEN")]
        generation: u64,
    },
}

pub(crate) fn run(args: Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    match (args.command, args.generation) {
        (Some(Command::Verify { json }), _) => verify(&Source::find(home, None)?, json),
        (Some(Command::Pin { generation, label }), _) => {
            let client = Client::new(home)?;
            let path = format!("/v1/generations/{generation}/pin");
            block_on(client.change(&path, &PinOptions { label }))?;
            out(&format!("generation {generation} is pinned\n"));
            Ok(Outcome::Done)
        }
        (Some(Command::Unpin { generation }), _) => {
            let client = Client::new(home)?;
            block_on(client.change(&format!("/v1/generations/{generation}/unpin"), &json!({})))?;
            out(&format!("generation {generation} is not pinned\n"));
            Ok(Outcome::Done)
        }
        (None, Some(generation)) => one(&Source::find(home, None)?, generation, args.json),
        (None, None) => all(&Source::find(home, None)?, args.json),
    }
}

fn all(source: &Source, is_json: bool) -> Result<Outcome, Failure> {
    let bytes = source.list()?;
    let found: Generations = read(&bytes)?;
    if is_json {
        out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
    } else if found.generations.is_empty() {
        out("no generation is kept\n");
    } else {
        let width = is_terminal().then(terminal_size).flatten().map(|(columns, _)| columns);
        out(&table(&found.generations, since::now(), Paint::for_output(), width));
    }
    Ok(Outcome::Done)
}

fn one(source: &Source, generation: u64, is_json: bool) -> Result<Outcome, Failure> {
    let bytes = source.one(generation)?;
    let detail: GenerationDetail = read(&bytes)?;
    if is_json {
        out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
    } else {
        out(&block(&detail, Paint::for_output()));
    }
    Ok(Outcome::Done)
}

fn verify(source: &Source, is_json: bool) -> Result<Outcome, Failure> {
    let bytes = source.verify()?;
    let found: Damages = read(&bytes)?;
    if is_json {
        out(&format!("{}\n", String::from_utf8_lossy(&bytes)));
    } else if found.damaged.is_empty() {
        out("every byte is as it was kept\n");
    } else {
        let place = |generation: Option<u64>| {
            generation.map_or_else(|| "beside the generations".to_owned(), |one| format!("generation {one}"))
        };
        let line = |damage: &Damage| format!("! {}: {}\n", place(damage.generation), one_line(&damage.text));
        out(&found.damaged.iter().map(line).collect::<String>());
    }
    Ok(found.damaged.is_empty().into())
}

/// The newest last, as in a log: what people look for stands at the prompt.
fn table(generations: &[Generation], now: Timestamp, paint: Paint, width: Option<usize>) -> String {
    let mut table = Table::new(["", ">GEN", "CAME", "BY", "WHO", ">FILES", "VERDICT", "WHY"]);
    for generation in generations {
        table.whole_row(row(generation, now));
    }
    table.text(paint, width)
}

fn row(generation: &Generation, now: Timestamp) -> [Cell<'_>; 8] {
    let mark = match (&generation.damaged, generation.current) {
        (Some(_), _) => cell("!", Colour::Bad),
        (None, true) => cell("*", Colour::Good),
        (None, false) => cell(" ", Colour::Plain),
    };
    [
        mark,
        cell(generation.number.to_string(), Colour::Plain),
        cell(generation.at.as_deref().map_or_else(|| "-".to_owned(), |at| local(at, now)), Colour::Plain),
        cell(generation.cause.as_deref().unwrap_or("-"), Colour::Plain),
        cell(who(generation), Colour::Plain),
        cell(generation.files.to_string(), Colour::Plain),
        verdict(generation),
        cell(one_line(&why(generation)).into_owned(), Colour::Plain),
    ]
}

fn who(generation: &Generation) -> String {
    let name = |who: &crate::api::changes::dto::Person| match &*who.user {
        "" => format!("uid {}", who.uid),
        user => one_line(user).into_owned(),
    };
    generation.who.as_ref().map_or_else(|| "-".to_owned(), name)
}

fn verdict(generation: &Generation) -> Cell<'_> {
    let word = generation.verdict.as_deref().unwrap_or("damaged");
    let colour = match word {
        "committed" => Colour::Good,
        "pending" | "verifying" => Colour::Going,
        "rejected" | "damaged" => Colour::Bad,
        _ => Colour::Faint,
    };
    cell(word, colour)
}

fn why(generation: &Generation) -> String {
    let pinned = generation.pin.as_ref().map(|label| format!("pinned: {label}"));
    let is_other = |by: &&String| generation.who.as_ref().is_none_or(|who| who.user != **by);
    let by = generation.judged_by.as_ref().filter(is_other).map(|by| format!("by {by}"));
    let parts = [generation.damaged.clone(), pinned, Some(generation.why.clone()), by];
    let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}

fn block(detail: &GenerationDetail, paint: Paint) -> String {
    let generation = &detail.generation;
    let standing = generation.verdict.as_deref().unwrap_or("damaged");
    let current = if generation.current { ", in effect" } else { "" };
    let number = paint.paint(Colour::Strong, &format!("generation {}", generation.number));
    let mut text = format!("{number}, {standing}{current}\n");
    let mut field = |label: &str, value: &str| {
        if !value.is_empty() {
            let label = paint.paint(Colour::Faint, &format!("{label:<10}"));
            text += &format!("  {label} {}\n", one_line(value));
        }
    };
    field("came", &generation.at.as_deref().map(local_date).unwrap_or_default());
    field("by", generation.cause.as_deref().unwrap_or_default());
    let person =
        generation.who.as_ref().map(|who| format!("{}, pid {}, over {}", who.user, who.pid, who.from));
    field("who", &person.unwrap_or_default());
    field("after", &generation.parent.map(|parent| format!("generation {parent}")).unwrap_or_default());
    field("judged", &generation.judged_at.as_deref().map(local_date).unwrap_or_default());
    field("why", &why(generation));
    for file in &detail.files {
        field("file", &format!("{} ({} bytes)", file.name, file.bytes));
    }
    for named in &detail.named {
        let missing =
            if named.sha256.is_none() { "missing".to_owned() } else { format!("{} bytes", named.bytes) };
        field("names", &format!("{} ({missing})", named.path));
    }
    text + &detail.diagnostics
}
