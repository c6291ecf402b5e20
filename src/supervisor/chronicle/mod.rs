//! What happened, for those who come later: incidents with their evidence and story, the history, alerts, the
//! heartbeat. The loop hands everything over and goes on; a worker of its own (the desk) does the rest.
//!
//! Nothing depends on it: a disk that is full, a database that is lost, a channel that nobody answers at are told
//! once and tried again, and supervision does not notice.

mod book;
mod desk;
mod scribe;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::engine::effect::Fact;
use crate::engine::event::Notes;
use crate::engine::id::{IncidentId, UnitId};
use crate::engine::incident::{Incident, Share, Told};
use crate::engine::time::Now;
use crate::history::row::{IncidentRow, JobRunRow, RunRow, Window};
use crate::incident::cause::Cause;
use crate::incident::evidence::{Evidence, Missing};
use crate::incident::postmortem;
use crate::incident::store::{Archive, Keep, Moment, Store};
use crate::supervisor::chronicle::desk::Desk;
use crate::supervisor::evidence::date;
use crate::supervisor::inbox::Outlet;
use crate::supervisor::words::name_of;
use crate::unit::spec::UnitSet;

/// The loop's end.
#[derive(Debug)]
pub(crate) struct Chronicle {
    desk: mpsc::UnboundedSender<Telling>,
    worker: JoinHandle<()>,
    pub(crate) archive: Archive,
}

/// What the desk is told. Unbounded, as it never waits for anything while it could listen.
#[derive(Debug)]
pub(crate) enum Telling {
    Fact(Now, Fact),
    Run(RunRow),
    JobRun(JobRunRow),
    /// Kept on disk, or not.
    Evidence(Box<Evidence>),
    Alert(Alert),
    /// How the command of an alert went.
    Ran {
        message: u64,
        outcome: Result<(), String>,
    },
    Asked(Question),
    /// What follows is about these definitions.
    Redefined(Arc<UnitSet>),
    /// Nothing follows.
    End,
}

/// As the engine wants it told.
#[derive(Debug)]
pub(crate) struct Alert {
    pub(crate) at: Now,
    pub(crate) incident: IncidentId,
    pub(crate) unit: Option<UnitId>,
    /// `None`: every one.
    pub(crate) channel: Option<Box<str>>,
    pub(crate) about: Told,
    pub(crate) text: Box<str>,
}

/// What people ask about incidents.
#[derive(Debug)]
pub enum Question {
    Incidents {
        since_millis: u64,
        reply: oneshot::Sender<IncidentList>,
    },
    Incident {
        id: u64,
        reply: oneshot::Sender<Option<IncidentStory>>,
    },
    /// The most probable cause of an open incident.
    Cause {
        incident: u64,
        reply: oneshot::Sender<Option<Cause>>,
    },
    /// The last runs of one job, or of all, the newest first; none while the history is off.
    JobRuns {
        unit: Option<String>,
        most: u32,
        reply: oneshot::Sender<Vec<JobRunRow>>,
    },
}

/// The newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentList {
    pub incidents: Vec<Listed>,
    pub window: Window,
    /// Why older ones may be missing; empty when none is.
    pub gap: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    pub row: IncidentRow,
    pub is_open: bool,
}

/// All that is kept of one incident.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IncidentStory {
    pub listed: Listed,
    /// Where its files are.
    pub directory: PathBuf,
    /// `None`: nothing was captured, or it has made room for others.
    pub evidence: Option<Evidence>,
    pub timeline: Vec<Moment>,
}

impl IncidentStory {
    /// In Markdown, from what is kept.
    pub fn postmortem(&self) -> String {
        postmortem::write(&self.whole_evidence(), &self.timeline)
    }

    /// There is no evidence: of some, the timeline found room.
    fn nothing_kept(&self) -> Missing {
        let (what, why) =
            if self.timeline.is_empty() { ("files", "none are kept") } else { ("evidence", "none is kept") };
        Missing { what: what.to_owned(), why: why.to_owned() }
    }

    /// What the files say, with what has become of it since.
    pub fn whole_evidence(&self) -> Evidence {
        let row = &self.listed.row;
        let mut evidence = self.evidence.clone().unwrap_or_else(|| Evidence {
            incident: row.id,
            unit: row.root.clone().unwrap_or_default(),
            incomplete: vec![self.nothing_kept()],
            ..Evidence::default()
        });
        evidence.affected.clone_from(&row.affected);
        evidence.times.started_millis = row.started_millis;
        evidence.times.detected_millis = row.detected_millis;
        evidence.times.recovered_millis = row.recovered_millis;
        evidence.healed_by.clone_from(&row.verdict);
        if evidence.failure.said.is_empty() {
            evidence.failure.said.clone_from(&row.failure);
        }
        evidence
    }
}

/// How the last time ended, for incidents that were open then.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Beginning {
    /// A boot: what was open then is over, somehow.
    Boot,
    /// Those of the engine's notes go on, whatever is kept of them: one that was given up is open, and so is one
    /// whose unit works again but not yet for long enough.
    Takeover { open: Vec<Noted> },
}

/// What the engine's notes tell of an open incident: all there is where its files found no room.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Noted {
    row: IncidentRow,
    alerted: Vec<String>,
}

impl Beginning {
    pub(crate) fn after(notes: &Notes, set: &UnitSet, now: Now) -> Self {
        let mut shares: BTreeMap<IncidentId, BTreeMap<UnitId, &Share>> = BTreeMap::new();
        for (id, incident) in &notes.incidents {
            shares.entry(*id).or_default().extend(incident.noted.iter().map(|(unit, share)| (*unit, share)));
        }
        for (name, note) in &notes.units {
            if let (Some(unit), Some(id), Some(share)) = (set.find(name.as_str()), note.incident, &note.share)
            {
                shares.entry(id).or_default().insert(unit, share);
            }
        }
        let none = BTreeMap::new();
        let noted = |(id, incident): (&IncidentId, &Incident)| {
            Noted::of(id.0, incident, shares.get(id).unwrap_or(&none), set, now)
        };
        let open = || notes.incidents.iter().map(noted).collect();
        notes.boot.as_ref().map_or(Self::Boot, |_| Self::Takeover { open: open() })
    }
}

impl Noted {
    fn of(id: u64, incident: &Incident, shares: &BTreeMap<UnitId, &Share>, set: &UnitSet, now: Now) -> Self {
        let began = shares.values().map(|share| share.began).min().unwrap_or(incident.opened);
        let root = incident.root.and_then(|unit| shares.get(&unit));
        let others = shares.keys().filter(|unit| incident.root != Some(**unit));
        let row = IncidentRow {
            id,
            root: incident.root.map(|unit| name_of(set, unit).to_owned()),
            started_millis: date(now, began),
            detected_millis: date(now, incident.opened),
            recovered_millis: root.and_then(|share| share.recovered).map(|at| date(now, at)),
            affected: others.map(|unit| name_of(set, *unit).to_owned()).collect(),
            failure: incident.cause.to_string(),
            ..IncidentRow::default()
        };
        let alerted: BTreeSet<String> =
            incident.told.iter().map(|(channel, _)| channel.to_string()).collect();
        Self { row, alerted: alerted.into_iter().collect() }
    }
}

impl Chronicle {
    /// Belongs into the loop's own set of workers.
    pub(crate) fn begin(state: &Path, set: Arc<UnitSet>, outlet: Outlet, beginning: Beginning) -> Self {
        let archive = Archive::new(Store::new(state.join(INCIDENTS), Keep::default()));
        let (desk, tellings) = mpsc::unbounded_channel();
        let worker = Desk::new(state, set, outlet, archive.clone(), beginning);
        let worker = tokio::task::spawn_local(worker.run(tellings));
        Self { desk, worker, archive }
    }

    pub(crate) fn tell(&self, telling: Telling) {
        // The desk ends when it is told to; what comes after is lost.
        drop(self.desk.send(telling));
    }

    /// Writes what waits, for as long as `limit` at most.
    pub(crate) async fn close(self, limit: std::time::Duration) {
        self.tell(Telling::End);
        drop(tokio::time::timeout(limit, self.worker).await);
    }
}

/// A boot of thousands tells nothing here as long as all goes well.
pub(crate) fn is_for_the_chronicle(fact: &Fact) -> bool {
    match fact {
        Fact::PhaseOpened { .. }
        | Fact::Booted
        | Fact::Adopted { .. }
        | Fact::Change { .. }
        | Fact::RequestServed { .. }
        | Fact::ShutdownBegan => false,
        Fact::StateChanged { .. }
        | Fact::HealthChanged { .. }
        | Fact::RunEnded { .. }
        | Fact::PhaseHeld { .. }
        | Fact::IncidentOpened { .. }
        | Fact::IncidentJoined { .. }
        | Fact::IncidentReached { .. }
        | Fact::IncidentMerged { .. }
        | Fact::EvidenceIncomplete { .. }
        | Fact::RungTried { .. }
        | Fact::RungEnded { .. }
        | Fact::RungRepeated { .. }
        | Fact::StatusTold { .. }
        | Fact::JobTriggered { .. }
        | Fact::JobRunEnded { .. }
        | Fact::JobSkipped { .. }
        | Fact::JobMissed { .. }
        | Fact::IncidentLeft { .. }
        | Fact::IncidentClosed { .. }
        | Fact::Unkillable { .. }
        | Fact::BugFound { .. } => true,
    }
}

/// The highest number that an incident ever had here, as far as the disk tells: the next boot goes on from it.
pub(crate) fn last_incident(state: &Path) -> u64 {
    let store = Store::new(state.join(INCIDENTS), Keep::default());
    // Nothing is kept there, or nothing can be: then there is nothing to mix up with.
    store.list().ok().and_then(|ids| ids.last().copied()).unwrap_or(0)
}

const INCIDENTS: &str = "incidents";
