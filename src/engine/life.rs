//! What the engine keeps of one unit.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use crate::engine::effect::{Lever, Role};
use crate::engine::event::{ExitStatus, UnitNote};
use crate::engine::health::ProbeTrack;
use crate::engine::id::{HelperId, IncidentId, ProbeRunId, RunId, UnitId};
use crate::engine::incident::Share;
use crate::engine::state::{Desired, DownSource, Health, UnitState};
use crate::engine::time::Timestamp;
use crate::unit::spec::UnitKind;
use std::time::Duration;

/// What a step asks of its neighbours stands first, what only its own steps need after it, and each part
/// fills a cache line: in a set of thousands most of what a step meets is cold.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Unit {
    pub(crate) state: UnitState,
    /// When it entered its state.
    pub(crate) since: Timestamp,
    pub(crate) desired: Desired,
    /// A person said `--only`: its stop does not wait for dependents.
    pub(crate) leaves_dependents: bool,
    /// Its last finished run passed.
    pub(crate) has_passed: bool,
    pub(crate) health: Health,
    /// Automatic starts in a row that ended in failure: the exponent of the backoff.
    pub(crate) attempt: u32,
    pub(crate) restarts: u32,
    /// The run that is not over. It outlives the states that it goes through, so it is not theirs: exactly
    /// `Starting Ready Unhealthy Stopping` have one, but for a step that still decides what follows its end.
    pub(crate) run: Option<Run>,
    pub(crate) last_run: Option<RunId>,
    pub(crate) last_ordinal: u32,
    pub(crate) last_exit: Option<ExitStatus>,
    /// Automatic starts that count for the start limit, oldest first.
    pub(crate) starts: Vec<Timestamp>,
    /// The open incident that its trouble is part of.
    pub(crate) incident: Option<IncidentId>,
    /// What it has to do with that incident.
    pub(crate) share: Option<Box<Share>>,
    /// The open incident of what it waits for, or of what stopped it.
    pub(crate) reached_by: Option<IncidentId>,
    /// Evidence that was asked for and is not kept yet; the latest, where there are several.
    pub(crate) capture: Option<Capture>,
    /// The helper of the rung that is being tried.
    pub(crate) repair: Option<HelperId>,
    pub(crate) probes: Box<[ProbeTrack]>,
    /// A person, a connection or a dependent wants a lazy unit up: its next start waits for no connection.
    pub(crate) is_called: bool,
    /// What ended its last watch on the way to the next one, so that nothing is started twice.
    pub(crate) after_lever: Option<Lever>,
    /// STATUS of its run, in its own words.
    pub(crate) told: Option<Box<str>>,
    /// What a lever or the run itself said of its trouble; shown beside the reason.
    pub(crate) remark: Option<Box<str>>,
    /// What the keeper remembers of it.
    pub(crate) noted: Option<Box<UnitNote>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capture {
    pub(crate) incident: IncidentId,
    pub(crate) run: Option<RunId>,
}

/// One spawn, from its order until nothing of it is left; or one watch over what has no process of ours,
/// from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) ordinal: u32,
    pub(crate) ordered_at: Timestamp,
    /// A watch: no process, no signal, and the keeper knows nothing of it.
    pub(crate) is_watch: bool,
    /// Known once exec succeeded; never of a watch.
    pub(crate) pid: Option<u32>,
    /// The process that the run says is its main one (MAINPID).
    pub(crate) main_pid: Option<u32>,
    /// The leader's end; from then on only the rest of the run is left.
    pub(crate) exit: Option<ExitStatus>,
    /// Nothing of it is left; only its stop command still works.
    pub(crate) is_empty: bool,
    /// Its stop command (of a watch: the lever that ends it) was started and has not ended.
    pub(crate) stop_command: Option<HelperId>,
    /// The lever that starts what is watched was pulled and has not ended.
    pub(crate) start_lever: Option<HelperId>,
    /// Once in each start that lever is pulled.
    pub(crate) was_pulled: bool,
    /// It was ready once.
    pub(crate) was_ready: bool,
    /// It showed that it is ready; counts once exec succeeded.
    pub(crate) has_shown_ready: bool,
    /// It loads its configuration anew, until it says READY again.
    pub(crate) is_reloading: bool,
    /// It said that it ends by itself.
    pub(crate) is_ending: bool,
    /// `start_timeout` is over, and it goes on: a gate, or what cannot be asked.
    pub(crate) is_overdue: bool,
    /// The period of its watchdog where it is not the unit's.
    pub(crate) watchdog: Option<Duration>,
    /// `start_period` counts from here: from the order, or from the lever that started what is watched.
    pub(crate) period_from: Timestamp,
    /// A probe has passed, so `start_period` is over.
    pub(crate) start_period_over: bool,
}

impl Run {
    pub(crate) fn new(id: RunId, ordinal: u32, ordered_at: Timestamp, kind: UnitKind) -> Self {
        Self {
            id,
            ordinal,
            ordered_at,
            is_watch: !kind.has_process(),
            pid: None,
            main_pid: None,
            exit: None,
            is_empty: false,
            stop_command: None,
            start_lever: None,
            was_pulled: false,
            was_ready: false,
            has_shown_ready: false,
            is_reloading: false,
            is_ending: false,
            is_overdue: false,
            watchdog: None,
            period_from: ordered_at,
            start_period_over: false,
        }
    }
}

impl Unit {
    pub(crate) fn new(probes: usize) -> Self {
        Self {
            state: UnitState::Inactive,
            since: Timestamp::default(),
            desired: Desired::Down(DownSource::Disabled),
            run: None,
            leaves_dependents: false,
            attempt: 0,
            starts: Vec::new(),
            restarts: 0,
            last_run: None,
            last_ordinal: 0,
            last_exit: None,
            has_passed: false,
            incident: None,
            share: None,
            reached_by: None,
            capture: None,
            repair: None,
            health: Health::Unknown,
            probes: std::iter::repeat_with(ProbeTrack::default).take(probes).collect(),
            is_called: false,
            after_lever: None,
            told: None,
            remark: None,
            noted: None,
        }
    }

    /// Something of it lives (or is about to), or it is watched: a conflict waits for the end of both.
    pub(crate) fn is_live(&self) -> bool {
        self.run.is_some()
    }

    /// It lives and its end has not begun.
    pub(crate) fn is_up(&self) -> bool {
        match self.state {
            UnitState::Starting | UnitState::Ready | UnitState::Unhealthy => true,
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Stopping { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => false,
        }
    }

    /// exec succeeded and the leader lives. Of what is only watched nobody can say so but its probes.
    pub(crate) fn is_running(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.pid.is_some() && run.exit.is_none())
    }
}

/// All units, by id.
#[derive(Debug, Default)]
pub(crate) struct Units(pub(crate) Vec<Unit>);

impl Index<UnitId> for Units {
    type Output = Unit;

    #[expect(clippy::indexing_slicing, reason = "a UnitId exists only for a unit of the set")]
    #[expect(clippy::as_conversions, reason = "u32 to usize is lossless on every target")]
    fn index(&self, unit: UnitId) -> &Unit {
        &self.0[unit.0 as usize]
    }
}

impl IndexMut<UnitId> for Units {
    #[expect(clippy::indexing_slicing, reason = "a UnitId exists only for a unit of the set")]
    #[expect(clippy::as_conversions, reason = "u32 to usize is lossless on every target")]
    fn index_mut(&mut self, unit: UnitId) -> &mut Unit {
        &mut self.0[unit.0 as usize]
    }
}

/// Who an answer belongs to.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    pub(crate) runs: BTreeMap<RunId, UnitId>,
    pub(crate) probes: BTreeMap<ProbeRunId, (UnitId, u16)>,
    pub(crate) helpers: BTreeMap<HelperId, (UnitId, Role)>,
}
