//! `mcsup events`

use std::path::Path;

use crate::api::dto::Event;
use crate::cli::client::{Client, Pieces, block_on, read};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::render::{Colour, Paint, local_date, one_line, state_colour};
use crate::cli::status;

/// Show what happened, and with -f what happens
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mcsup events -n 20\n  mcsup events -f redis\n  mcsup events -f --json | jq .text"
)]
pub(crate) struct Args {
    /// Only of these units
    #[arg(value_name = "UNIT")]
    units: Vec<String>,
    /// Go on with what happens
    #[arg(long, short)]
    follow: bool,
    /// Only the last N that happened. Default: all that are kept, with -f the last 10
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// As JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(mut args: Args, home: Option<&Path>) -> Result<Outcome, Failure> {
    let client = Client::new(home)?;
    block_on(async {
        if !args.units.is_empty() {
            // Events are of single units; and an unknown name would be waited for in vain.
            args.units = status::named(&client, &args.units).await?;
        }
        let screen = Screen { paint: Paint::for_output(), args };
        let last = screen.show_kept(&client).await?;
        if screen.args.follow {
            screen.follow(&client, last).await?;
        }
        Ok(Outcome::Done)
    })
}

#[derive(Debug)]
struct Screen {
    paint: Paint,
    args: Args,
}

impl Screen {
    /// Answers the number of the last event.
    async fn show_kept(&self, client: &Client) -> Result<u64, Failure> {
        let mut stream = Stream::new(client.stream("/v1/events?follow=false").await?);
        let (mut last, mut kept) = (0, Vec::new());
        while let Some(event) = stream.next().await? {
            last = event.number;
            if self.is_wanted(&event) {
                kept.push(event);
            }
        }
        let wanted = self.args.lines.unwrap_or(if self.args.follow { 10 } else { usize::MAX });
        for event in &kept[kept.len().saturating_sub(wanted)..] {
            if !self.show(event) {
                break;
            }
        }
        Ok(last)
    }

    /// Until the supervisor ends, or nobody reads any more.
    async fn follow(&self, client: &Client, mut last: u64) -> Result<(), Failure> {
        loop {
            let mut stream = Stream::new(client.stream(&format!("/v1/events?after={last}")).await?);
            while let Some(event) = stream.next().await? {
                last = event.number;
                if self.is_wanted(&event) && !self.show(&event) {
                    return Ok(());
                }
            }
        }
    }

    fn is_wanted(&self, event: &Event) -> bool {
        self.args.units.is_empty() || event.unit.as_ref().is_none_or(|unit| self.args.units.contains(unit))
    }

    /// False: nobody reads any more.
    fn show(&self, event: &Event) -> bool {
        use std::io::Write as _;
        let line = if self.args.json {
            // It was read from JSON a moment ago.
            serde_json::to_string(event).unwrap_or_default()
        } else {
            self.line(event)
        };
        writeln!(std::io::stdout().lock(), "{line}").is_ok()
    }

    fn line(&self, event: &Event) -> String {
        let colour = match (&*event.kind, event.to.as_deref()) {
            (_, Some(state)) => state_colour(state),
            (
                "incident-opened" | "phase-held" | "unkillable" | "bug-found" | "lagged" | "alert-failed"
                | "alert-given-up" | "announced",
                None,
            ) => Colour::Bad,
            (_, None) => Colour::Plain,
        };
        let at = self.paint.paint(Colour::Faint, &local_date(&event.at));
        let unit = event.unit.as_deref().unwrap_or("mcsup");
        format!("{at}  {unit:<12}  {}", self.paint.paint(colour, &one_line(&event.text)))
    }
}

/// Server-sent events out of the pieces in which they come.
#[derive(Debug)]
struct Stream {
    pieces: Pieces,
    held: Vec<u8>,
    /// Everything before was read.
    at: usize,
}

impl Stream {
    fn new(pieces: Pieces) -> Self {
        Self { pieces, held: Vec::new(), at: 0 }
    }

    async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            while let Some(end) = self.held[self.at..].windows(2).position(|pair| pair == b"\n\n") {
                let message = &self.held[self.at..self.at + end];
                self.at += end + 2;
                let data = message.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data: "));
                if let Some(data) = data {
                    return read(data).map(Some);
                }
            }
            self.held.drain(..self.at);
            self.at = 0;
            match self.pieces.next().await {
                Some(piece) => self.held.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}
