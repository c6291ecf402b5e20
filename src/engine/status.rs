//! What the engine answers when it is looked at. Pure reads; nothing here changes anything.

use crate::engine::event::{ExitStatus, JobVerdict};
use crate::engine::id::{IncidentId, PhaseId, RunId, UnitId};
use crate::engine::state::{Desired, Health, StateName};
use crate::engine::time::{Timestamp, WallTime};

/// One unit as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitStatus {
    pub unit: UnitId,
    pub state: StateName,
    pub desired: Desired,
    /// The sentence for a person that every state carries; never empty.
    pub reason: String,
    pub run: Option<RunId>,
    /// The 4 of `redis#4`; 0 before the first run.
    pub ordinal: u32,
    pub pid: Option<u32>,
    /// When it entered its state.
    pub since: Timestamp,
    /// Automatic and ordered starts after the first, in this boot.
    pub restarts: u32,
    /// `None`: the unit has no probe.
    pub health: Option<Health>,
    pub last_exit: Option<ExitStatus>,
    pub incident: Option<IncidentId>,
    /// The open incident of what it waits for, or of what stopped it.
    pub reached_by: Option<IncidentId>,
    /// Lazy, and waits for a connection: it is where it should be.
    pub is_listening: bool,
    /// What its run says of itself (STATUS of the notify protocol).
    pub told: Option<Box<str>>,
}

/// A job beside its unit's own status.
#[derive(Clone, Debug, PartialEq)]
pub struct JobStatus {
    /// Of its last run. `None`: there was none.
    pub verdict: Option<JobVerdict>,
    /// So many in a row passed, or did not.
    pub streak: u32,
    /// The last slot that was dealt with; 0: none.
    pub last_slot: WallTime,
    pub next_slot: Option<WallTime>,
    /// Runs that are not over, with their ordinals.
    pub runs: Vec<(RunId, u32)>,
    /// Runs that wait for their turn.
    pub waiting: usize,
}

/// The whole machine in a few numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Overview {
    pub is_booted: bool,
    /// The last phase whose barrier is open.
    pub phase: PhaseId,
    /// A shutdown is under way.
    pub is_stopping: bool,
    pub open_incidents: u32,
    /// Events with an id that was no longer current.
    pub late_facts: u64,
}

/// One link of the chain that explains a unit's state, the unit itself first.
#[derive(Clone, Debug, PartialEq)]
pub struct WhyLink {
    pub unit: UnitId,
    pub state: StateName,
    pub text: String,
}
