//! What clients of the supervisor (api, cli) may ask of its loop. Every call is one message to
//! the loop and one answer; none of them waits on anything slow.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::engine::effect::{Answer, Fact};
use crate::engine::event::Ask;
use crate::engine::id::UnitId;
use crate::engine::state::StateName;
use crate::engine::status::{JobStatus, Overview, UnitStatus, WhyLink};
use crate::engine::time::{Timestamp, WallTime};
use crate::supervisor::cgroups::Cgroups;
use crate::supervisor::words;
use crate::unit::name::UnitName;
use crate::unit::spec::UnitSet;

pub use crate::generation::manifest::{Cause as ChangeCause, Who};
pub use crate::history::row::{IncidentRow, JobRunRow, Window};
pub use crate::incident::cause::{Cause, Rule};
pub use crate::incident::evidence::Evidence;
pub use crate::incident::store::Moment;
pub use crate::keeper::wire::{Finale, Replacement};
pub use crate::supervisor::change::approval::Pending;
pub use crate::supervisor::change::candidate::{Invalid, Planned, Source};
pub use crate::supervisor::change::progress::{ChangeStage, Progress};
pub use crate::supervisor::change::road::{Asked, ChangeAnswer, Standing, What};
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
    /// All jobs, or this one.
    Jobs {
        unit: Option<UnitId>,
        reply: oneshot::Sender<JobTable>,
    },
    /// The directory of what a run wrote, as soon as it is there; the last run when left out.
    JobOutput {
        unit: UnitId,
        ordinal: Option<u32>,
        reply: oneshot::Sender<Option<PathBuf>>,
    },
    /// Somebody who may called the job's webhook.
    Call {
        unit: UnitId,
        body: Vec<u8>,
        reply: oneshot::Sender<Called>,
    },
    /// A change, or what one would do.
    Change(Asked),
    /// What becomes of the machine once all is over; true where mcsup is its process 1.
    AtEnd {
        finale: Finale,
        reply: oneshot::Sender<bool>,
    },
    /// How the units directory stands to what is in force.
    Standing(oneshot::Sender<Standing>),
    /// Have both rings replaced; answered once the other executable was rehearsed.
    Reexec(oneshot::Sender<Result<Rehearsed, String>>),
    /// How the last try to do so ended.
    Replacement(oneshot::Sender<Option<Replacement>>),
    /// What must reach the person in front.
    Announce(String),
    /// About incidents, which somebody else answers.
    Chronicle(Question),
}

/// An executable that can take the place of both rings, and is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// Of this try.
    pub number: u32,
    pub from: String,
    pub to: String,
}

/// A consistent picture of one instant.
#[derive(Debug)]
pub struct StatusTable {
    pub set: Arc<UnitSet>,
    pub overview: Overview,
    pub units: Vec<UnitStatus>,
    pub cgroups: Arc<Cgroups>,
    /// The instant, on both clocks, to turn a `Timestamp` into a date.
    pub now: Timestamp,
    pub wall: WallTime,
}

/// What became of the call of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// Its job runs, or waits for its turn, or does not as it overlaps; the job's history tells.
    Taken,
    NotArmed,
    /// Too many bodies wait to be read.
    Full,
}

/// Jobs at one instant.
#[derive(Debug)]
pub struct JobTable {
    pub set: Arc<UnitSet>,
    pub jobs: Vec<JobEntry>,
}

#[derive(Debug)]
pub struct JobEntry {
    pub unit: UnitId,
    pub state: StateName,
    pub reason: String,
    pub status: JobStatus,
    /// Its last runs, the newest first, as far as this supervisor saw them.
    pub recent: Vec<JobRunRow>,
}

/// What happened, with its number (from 1, never reused in a boot) and time.
#[derive(Debug)]
pub struct EventRecord {
    pub number: u64,
    pub at: WallTime,
    pub what: Happening,
    /// To name the units in a fact.
    pub set: Arc<UnitSet>,
}

impl EventRecord {
    /// The unit that it is about.
    pub fn unit(&self) -> Option<&str> {
        match &self.what {
            Happening::Fact(fact) => words::unit_of(fact).map(|unit| words::name_of(&self.set, unit)),
            Happening::Notice(notice) => notice.unit.as_deref(),
        }
    }
}

/// What is told: by the engine, or by those who carry out what it wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    Fact(Fact),
    Notice(Notice),
}

/// What became of something that the engine does not follow up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub kind: NoticeKind,
    pub unit: Option<String>,
    pub incident: Option<u64>,
    /// For people.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// A channel did not take a message, which is tried again.
    AlertFailed,
    /// A channel took a message that had failed before.
    AlertDelivered,
    /// A message is not tried any more.
    AlertGivenUp,
    /// How what is kept of incidents fares: their files, the history, the outbox, the heartbeat.
    Announced,
}

impl NoticeKind {
    /// What programs call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlertFailed => "alert-failed",
            Self::AlertDelivered => "alert-delivered",
            Self::AlertGivenUp => "alert-given-up",
            Self::Announced => "announced",
        }
    }
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
    definitions: watch::Receiver<Arc<UnitSet>>,
}

impl Handle {
    /// `definitions`: those in force, from time to time others.
    pub fn new(queries: mpsc::Sender<Query>, definitions: watch::Receiver<Arc<UnitSet>>) -> Self {
        Self { queries, definitions }
    }

    /// Those in force.
    pub fn definitions(&self) -> Arc<UnitSet> {
        Arc::clone(&self.definitions.borrow())
    }

    /// Waits until others are in force.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn redefined(&mut self) -> Result<(), Gone> {
        self.definitions.changed().await.map_err(|_closed| Gone)
    }

    /// # Errors
    /// When the supervisor has ended.
    pub async fn ask(&self, ask: Ask) -> Result<Answer, Gone> {
        self.query(|reply| Query::Ask { ask, reply }).await
    }

    /// Has the machine, or the container, ended like this once all is over. False: mcsup is not its process 1.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn at_end(&self, finale: Finale) -> Result<bool, Gone> {
        self.query(|reply| Query::AtEnd { finale, reply }).await
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

    /// # Errors
    /// When the supervisor has ended.
    pub async fn jobs(&self, unit: Option<UnitId>) -> Result<JobTable, Gone> {
        self.query(|reply| Query::Jobs { unit, reply }).await
    }

    /// The last runs of one job, or of all, the newest first; none while the history is off.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn job_runs(&self, unit: Option<String>, most: u32) -> Result<Vec<JobRunRow>, Gone> {
        self.query(|reply| Query::Chronicle(Question::JobRuns { unit, most, reply })).await
    }

    /// # Errors
    /// When the supervisor has ended.
    pub async fn call(&self, unit: UnitId, body: Vec<u8>) -> Result<Called, Gone> {
        self.query(|reply| Query::Call { unit, body, reply }).await
    }

    /// # Errors
    /// When the supervisor has ended.
    pub async fn announce(&self, text: String) -> Result<(), Gone> {
        self.queries.send(Query::Announce(text)).await.map_err(|_closed| Gone)
    }

    /// The answer comes when the change is over, or does not go on by itself.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn change(&self, what: What, who: Who) -> Result<ChangeAnswer, Gone> {
        self.query(|reply| Query::Change(Asked { what, who, reply: Some(reply) })).await
    }

    /// # Errors
    /// When the supervisor has ended.
    pub async fn standing(&self) -> Result<Standing, Gone> {
        self.query(Query::Standing).await
    }

    /// `Err`: why nothing is replaced.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn reexec(&self) -> Result<Result<Rehearsed, String>, Gone> {
        self.query(Query::Reexec).await
    }

    /// # Errors
    /// When the supervisor has ended.
    pub async fn replacement(&self) -> Result<Option<Replacement>, Gone> {
        self.query(Query::Replacement).await
    }

    /// `None`: nothing of it is kept.
    ///
    /// # Errors
    /// When the supervisor has ended.
    pub async fn job_output(&self, unit: UnitId, ordinal: Option<u32>) -> Result<Option<PathBuf>, Gone> {
        self.query(|reply| Query::JobOutput { unit, ordinal, reply }).await
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
