//! What happens, as server-sent events.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::api::Shared;
use crate::api::body::unfold;
use crate::api::caller::MayLook;
use crate::api::dto;
use crate::api::parameters::Parameters;
use crate::api::problem::{self, Problem};
use crate::api::status::rfc3339;
use crate::engine::effect::Fact;
use crate::engine::state::StateName;
use crate::engine::time::WallTime;
use crate::supervisor::handle::{EventRecord, Handle, Happening, Notice};
use crate::supervisor::words;

/// Most events in one piece of the stream: a backlog of 10,000 is written in slices, so that other
/// work gets its turn between them.
const MOST_IN_A_PIECE: usize = 256;

/// The events that are kept, then those to come.
#[utoipa::path(get, path = "/v1/events",
    params(
        ("after" = Option<String>, Query, description = "The number of the last event already seen, or `latest` for new ones only. Default 0"),
        ("follow" = Option<bool>, Query, description = "False: end after the kept ones. Default true"),
        ("Last-Event-ID" = Option<String>, Header, description = "As `after`, which goes before it"),
    ),
    responses(
        (status = 200, body = String, content_type = "text/event-stream",
         description = "One `Event` as JSON in each `data`; its number is the `id`, its kind the `event`"),
        problem::BadRequest, problem::NotPermitted,
))]
pub(crate) async fn events(
    _: MayLook,
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["after", "follow"])?;
    let is_followed = parameters.flag("follow")?.unwrap_or(true);
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = after(parameters.one("after").or(header))?;
    let (kept, live) = shared.handle.events(after.unwrap_or(u64::MAX)).await?;
    let mut feed = Feed {
        handle: shared.handle,
        last: after.unwrap_or(0),
        kept: kept.into(),
        live,
        is_followed,
        // A comment at once, so that a client knows that it is connected before anything happens.
        said: b": connected\n\n".to_vec(),
    };
    feed.say_gap();
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, unfold(feed, Feed::next)).into_response())
}

/// `None`: only what is new.
fn after(text: Option<&str>) -> Result<Option<u64>, Problem> {
    match text {
        None | Some("") => Ok(Some(0)),
        Some("latest") => Ok(None),
        Some(number) => number.parse().map(Some).map_err(|_not_a_number| {
            Problem::BadRequest(format!("`after` must be the number of an event or `latest`, not `{number}`"))
        }),
    }
}

/// One client's place in the stream.
#[derive(Debug)]
struct Feed {
    handle: Handle,
    /// Number of the last event sent, or asked for as already seen; 0: none.
    last: u64,
    kept: VecDeque<Arc<EventRecord>>,
    live: broadcast::Receiver<Arc<EventRecord>>,
    is_followed: bool,
    /// Written and not yet sent.
    said: Vec<u8>,
}

impl Feed {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            for record in self.kept.drain(..self.kept.len().min(MOST_IN_A_PIECE)).collect::<Vec<_>>() {
                self.say(&record);
            }
            if !self.said.is_empty() {
                return Some((Bytes::from(std::mem::take(&mut self.said)), self));
            }
            if !self.is_followed {
                return None;
            }
            match self.live.recv().await {
                Ok(record) => self.kept.push_back(record),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(missed)) => self.catch_up(missed).await?,
            }
            while let Ok(record) = self.live.try_recv() {
                self.kept.push_back(record);
            }
        }
    }

    /// This client reads more slowly than events come: what is still kept is sent after all, the rest is
    /// said to be lost.
    async fn catch_up(&mut self, missed: u64) -> Option<()> {
        if self.last == 0 {
            self.say_lagged(missed);
            return Some(());
        }
        let (kept, live) = self.handle.events(self.last).await.ok()?;
        (self.kept, self.live) = (kept.into(), live);
        self.say_gap();
        Some(())
    }

    /// Events between the last one seen and the oldest one kept are gone.
    fn say_gap(&mut self) {
        let Some(first) = self.kept.front().map(|record| record.number) else { return };
        let missed = first.saturating_sub(self.last).saturating_sub(1);
        if self.last > 0 && missed > 0 {
            self.say_lagged(missed);
        }
    }

    fn say(&mut self, record: &EventRecord) {
        // The backlog and the live events may overlap.
        if record.number > self.last {
            self.last = record.number;
            self.write(&event(record));
        }
    }

    fn say_lagged(&mut self, missed: u64) {
        let at = self.kept.front().map_or(WallTime(0), |record| record.at);
        self.write(&dto::Event {
            missed: Some(missed),
            ..plain(self.last, at, "lagged", None, format!("{missed} events were missed"))
        });
    }

    fn write(&mut self, event: &dto::Event) {
        // Strings and numbers: there is nothing in an event that cannot be written.
        let data = serde_json::to_string(event).unwrap_or_default();
        self.said.extend_from_slice(
            format!("id: {}\nevent: {}\ndata: {data}\n\n", event.number, event.kind).as_bytes(),
        );
    }
}

pub(crate) fn event(record: &EventRecord) -> dto::Event {
    let EventRecord { number, at, what, set } = record;
    let unit = record.unit().map(ToOwned::to_owned);
    let fact = match what {
        Happening::Fact(fact) => fact,
        Happening::Notice(Notice { kind, unit: _, incident, text }) => {
            let event = plain(*number, *at, kind.as_str(), unit, text.clone());
            return dto::Event { incident: *incident, ..event };
        }
    };
    let event = plain(*number, *at, words::kind(fact), unit, words::text(fact, set));
    let event = dto::Event { incident: words::incident_of(fact).map(|incident| incident.0), ..event };
    if let Fact::StateChanged { from, to, .. } = fact {
        let state = |state: &StateName| Some(state.as_str().to_owned());
        return dto::Event { from: state(from), to: state(to), ..event };
    }
    event
}

fn plain(number: u64, at: WallTime, kind: &str, unit: Option<String>, text: String) -> dto::Event {
    dto::Event {
        number,
        at: rfc3339(at),
        kind: kind.to_owned(),
        unit,
        text,
        from: None,
        to: None,
        incident: None,
        missed: None,
    }
}
