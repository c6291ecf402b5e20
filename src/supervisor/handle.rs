//! What clients of the supervisor (api, cli) may ask of its loop. Every call is one message to
//! the loop and one answer; none of them waits on anything slow.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

use crate::engine::effect::{Answer, Fact};
use crate::engine::event::Ask;
use crate::engine::status::{Overview, UnitStatus, WhyLink};
use crate::engine::time::{Timestamp, WallTime};
use crate::unit::name::UnitName;
use crate::unit::spec::UnitSet;

pub use crate::history::row::{IncidentRow, Window};
pub use crate::incident::cause::{Cause, Rule};
pub use crate::incident::evidence::Evidence;
pub use crate::incident::store::Moment;
pub use crate::supervisor::chronicle::{IncidentList, IncidentStory, Listed, Question};

/// A message to the loop.
#[derive(Debug)]
pub enum Query {
    Ask {
        ask: Ask,
        reply: oneshot::Sender<Answer>,
    },
    /// All units, or these, each of which may be the name of a group; unknown ones are left out of the answer.
    Status {
        units: Option<Vec<UnitName>>,
        reply: oneshot::Sender<StatusTable>,
    },
    Why {
        unit: UnitName,
        reply: oneshot::Sender<Option<Vec<WhyLink>>>,
    },
    /// The kept facts after `after`, and the ones to come.
    Events {
        after: u64,
        reply: oneshot::Sender<Subscription>,
    },
    /// About incidents, which somebody else answers.
    Chronicle(Question),
}

/// A consistent picture of one instant.
#[derive(Debug)]
pub struct StatusTable {
    pub set: Arc<UnitSet>,
    pub overview: Overview,
    pub units: Vec<UnitStatus>,
    /// The instant, on both clocks, to turn a `Timestamp` into a date.
    pub now: Timestamp,
    pub wall: WallTime,
}

/// One fact with its number (from 1, never reused in a boot) and time.
#[derive(Debug)]
pub struct EventRecord {
    pub number: u64,
    pub at: WallTime,
    pub fact: Fact,
    /// To name the units in `fact`.
    pub set: Arc<UnitSet>,
}

/// The kept records, and the ones to come.
pub type Subscription = (Vec<Arc<EventRecord>>, broadcast::Receiver<Arc<EventRecord>>);

/// The supervisor has ended; nobody answers any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    queries: mpsc::Sender<Query>,
}

impl Handle {
    pub fn new(queries: mpsc::Sender<Query>) -> Self {
        Self { queries }
    }

    /// # Errors
    /// When the supervisor has ended.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Gone> {
        self.query(|reply| Query::Ask { ask, reply }).await
    }

    /// # Errors
    /// When the supervisor has ended.
    pub async fn status(&self, units: Option<Vec<UnitName>>) -> Result<StatusTable, Gone> {
        self.query(|reply| Query::Status { units, reply }).await
    }

    /// `None`: no such unit.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn why(&self, unit: UnitName) -> Result<Option<Vec<WhyLink>>, Gone> {
        self.query(|reply| Query::Why { unit, reply }).await
    }

    /// # Errors
    /// When the supervisor has ended.
    pub async fn events(&self, after: u64) -> Result<Subscription, Gone> {
        self.query(|reply| Query::Events { after, reply }).await
    }

    /// Incidents detected at that moment or later.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn incidents(&self, since_millis: u64) -> Result<IncidentList, Gone> {
        self.query(|reply| Query::Chronicle(Question::Incidents { since_millis, reply })).await
    }

    /// `None`: nothing is known of such an incident.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn incident(&self, id: u64) -> Result<Option<IncidentStory>, Gone> {
        self.query(|reply| Query::Chronicle(Question::Incident { id, reply })).await
    }

    /// The most probable cause of an open incident, where one was found.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn cause(&self, incident: u64) -> Result<Option<Cause>, Gone> {
        self.query(|reply| Query::Chronicle(Question::Cause { incident, reply })).await
    }

    async fn query<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.queries.send(message(reply)).await.map_err(|_closed| Gone)?;
        answer.await.map_err(|_closed| Gone)
    }
}
