//! `mcsup status --watch`: shown again whenever something happens, and only then.

use std::borrow::Cow;
use std::time::Duration;

use crate::api::dto::Status;
use crate::cli::client::{Client, Pieces, read};
use crate::cli::exit::{Failure, Outcome};
use crate::cli::render::{Paint, is_terminal, out, terminal_size};
use crate::cli::status::{Clock, Look, path, text};
use crate::log::since;

/// Events come in bursts: those of this long after the first one are shown together.
const BURST: Duration = Duration::from_millis(100);

/// # Errors
/// When the supervisor is gone, or never was there.
pub(crate) async fn run(client: &Client, units: &[String]) -> Result<Outcome, Failure> {
    if is_terminal() {
        out("\x1b[2J");
    }
    loop {
        // The stream first: what happens while the status is asked for is in one of the two.
        let mut events = client.stream("/v1/events?after=latest").await?;
        // Its greeting says that it has begun.
        if events.next().await.is_none() {
            continue;
        }
        loop {
            let bytes = client.get(&path(units)).await?;
            draw(&read(&bytes)?);
            if !wait(&mut events).await {
                break; // A supervisor that follows this one is met by the next turn, its end by an error.
            }
        }
    }
}

/// False: there will be no more events.
async fn wait(events: &mut Pieces) -> bool {
    if events.next().await.is_none() {
        return false;
    }
    let burst = async { while events.next().await.is_some() {} };
    // Either the time is over, or the stream is, which the next wait finds again.
    drop(tokio::time::timeout(BURST, burst).await);
    true
}

fn draw(status: &Status<'_>) {
    let size = is_terminal().then(terminal_size).flatten();
    let look =
        Look { paint: Paint::for_output(), width: size.map(|(columns, _)| columns), clock: Clock::Times };
    let text = text(status, since::now(), look);
    let Some((_, rows)) = size else {
        return out(&(text + "\n"));
    };
    let mut lines: Vec<Cow<'_, str>> = text.lines().map(Cow::Borrowed).collect();
    let room = rows.saturating_sub(1).max(1);
    if lines.len() > room {
        let hidden = lines.len() - room + 1;
        lines.truncate(room - 1);
        lines.push(format!("… and {hidden} more").into());
    }
    // From the top, each line cleared behind its end, then everything below: nothing flickers.
    out(&format!("\x1b[H{}\x1b[K\n\x1b[J", lines.join("\x1b[K\n")));
}
