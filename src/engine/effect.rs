//! Orders to the world, in the imperative, in the order in which they must begin.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::event::{BootNote, ChangeNote, ExitStatus, JobVerdict, Trigger, UnitNote};
use crate::engine::id::{GenerationId, HelperId, IncidentId, PhaseId, ProbeRunId, RequestId, RunId, UnitId};
use crate::engine::incident::{Incident, Told};
use crate::engine::state::{FailureCause, Health, StateName};
use crate::engine::time::{Timestamp, WallTime};
use crate::unit::name::UnitName;
use crate::unit::spec::{SignalNumber, UnitSet};

/// What one step wants done. `Remember` and `Record` come before what they permit.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects(pub Vec<Effect>);

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// From here on these definitions are in force, those of this generation; before it in its step comes at most the note of the change.
    UseDefinitions {
        generation: GenerationId,
        set: Arc<UnitSet>,
    },
    /// Replace what the keeper holds for this key; a rebuilt engine continues from it.
    Remember(Note),
    /// Tell people and history. The engine logs nothing else.
    Record(Fact),
    /// Start the unit's command. Answered by `RunSpawned` or `RunFailedToSpawn`.
    Spawn {
        run: RunId,
        unit: UnitId,
        ordinal: u32,
    },
    Signal {
        run: RunId,
        signal: SignalNumber,
        scope: SignalScope,
    },
    /// The run is over and accounted for; the keeper may forget it.
    Release {
        run: RunId,
    },
    /// Execute probe `index` of the unit once. Answered by `ProbeFinished` unless cancelled.
    StartProbe {
        probe: ProbeRunId,
        unit: UnitId,
        index: u16,
    },
    CancelProbe {
        probe: ProbeRunId,
    },
    /// Start a helper of the unit, kill it after `timeout`. Answered by `HelperFinished` unless cancelled.
    RunHelper {
        helper: HelperId,
        unit: UnitId,
        role: Role,
        timeout: Duration,
    },
    CancelHelper {
        helper: HelperId,
    },
    /// Keep what shows why `unit` failed. Answered by `EvidenceCaptured`; for a run that has ended nobody waits for it.
    CaptureEvidence {
        incident: IncidentId,
        unit: UnitId,
        run: Option<RunId>,
        cause: FailureCause,
    },
    /// One message to a channel of `alerts`; `None`: to every channel.
    Alert {
        incident: IncidentId,
        unit: Option<UnitId>,
        channel: Option<Box<str>>,
        about: Told,
        text: Box<str>,
    },
    /// Judge what a run has written; nothing of it lives. Answered by `OutputJudged`.
    JudgeOutput {
        run: RunId,
        unit: UnitId,
        ordinal: u32,
        exit: ExitStatus,
    },
    /// Watch for what triggers a job from outside (paths, its webhook). Answered by `Triggered`, each time; over with `Disarm`.
    Arm {
        unit: UnitId,
    },
    Disarm {
        unit: UnitId,
    },
    /// Watch the run's log for the line of `ready: {log}`. Answered by `ReadyShown`; over when the run is released.
    WatchReadyLine {
        run: RunId,
        unit: UnitId,
    },
    /// Watch the sockets of a lazy unit. Answered by `ConnectionArrived`; over when the unit is spawned or `ForgetConnection`.
    AwaitConnection {
        unit: UnitId,
    },
    ForgetConnection {
        unit: UnitId,
    },
    /// The files of a generation that failed give way to those of the one before. Nobody waits for it.
    RestoreGeneration {
        rejected: GenerationId,
        to: GenerationId,
        why: Box<str>,
    },
    /// The answer to `ChangeProposed`: the next one may come.
    EndChange {
        generation: GenerationId,
        outcome: ChangeOutcome,
    },
    Reply {
        request: RequestId,
        answer: Answer,
    },
    /// Everything is stopped: end both rings with this status.
    Exit {
        code: u8,
    },
}

/// What a helper is for. It knows its command, its place in the queue and what its environment tells it.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    StopCommand {
        run: RunId,
    },
    /// Rung `rung` of the ladder, an `exec`.
    Repair {
        rung: u16,
        incident: IncidentId,
        cause: Box<str>,
    },
    /// Rung `rung` of the ladder, a `reload` by command.
    Reload {
        rung: u16,
        incident: IncidentId,
    },
    /// What an external unit is started, stopped or restarted by.
    Lever(Lever),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lever {
    Start,
    Stop,
    Restart,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    Boot(BootNote),
    Unit(UnitId, Box<UnitNote>),
    /// `None`: it is over, and need not be remembered.
    Incident(IncidentId, Option<Box<Incident>>),
    /// No unit has this name any more: what was noted under it is forgotten.
    Gone(UnitName),
    /// `None`: none is under way.
    Change(Option<Box<ChangeNote>>),
}

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    Committed,
    /// The definitions before it are in force again. `is_well`: and everything works under them.
    RolledBack {
        why: Box<str>,
        is_well: bool,
    },
    /// Not all is well, and it stays in force all the same, as its rules want it.
    Kept {
        why: Box<str>,
    },
    /// It was not begun.
    Refused(Box<str>),
    /// A shutdown came in between; the next boot reads the directory anew.
    Interrupted,
}

impl fmt::Display for ChangeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed => f.write_str("committed"),
            Self::RolledBack { why, is_well: true } => write!(f, "rolled back: {why}"),
            Self::RolledBack { why, is_well: false } => write!(f, "rolled back, and not well: {why}"),
            Self::Kept { why } => write!(f, "kept, and not well: {why}"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

/// What happens to a change, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeFact {
    /// So many units restart by it.
    Began {
        restarts: u32,
    },
    /// Its definitions are in force; what it started is watched from here on.
    InForce,
    WaitsToBeConfirmed,
    /// It goes back.
    Failed {
        why: Box<str>,
    },
    Ended(ChangeOutcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalScope {
    /// The main process.
    Main,
    /// Every process of the run.
    All,
}

/// What happened, for people: the status line, `events`, history.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    StateChanged {
        unit: UnitId,
        from: StateName,
        to: StateName,
        reason: Box<str>,
    },
    /// The reason or the health changed within a state.
    HealthChanged {
        unit: UnitId,
        health: Health,
        why: Box<str>,
    },
    RunEnded {
        unit: UnitId,
        ordinal: u32,
        exit: ExitStatus,
    },
    PhaseOpened {
        phase: PhaseId,
    },
    Booted,
    /// A phase's barrier did not open within `boot_timeout`; these units hold it.
    PhaseHeld {
        phase: PhaseId,
        holders: Vec<UnitId>,
    },
    IncidentOpened {
        incident: IncidentId,
        unit: Option<UnitId>,
        cause: Box<str>,
        /// When the trouble began, as far as anybody knows; now is when it was detected.
        began: Timestamp,
    },
    /// A failure that an open incident explains.
    IncidentJoined {
        incident: IncidentId,
        unit: UnitId,
        cause: Box<str>,
        began: Timestamp,
    },
    /// Who is well, and waits for a part of it or was stopped by one; each once.
    IncidentReached {
        incident: IncidentId,
        units: Vec<UnitId>,
    },
    /// What seemed trouble of its own had its root elsewhere.
    IncidentMerged {
        from: IncidentId,
        into: IncidentId,
    },
    /// The evidence was not all kept, or nobody knows whether it was.
    EvidenceIncomplete {
        incident: IncidentId,
        unit: UnitId,
    },
    /// Rung `index` of the ladder begins.
    RungTried {
        incident: IncidentId,
        unit: UnitId,
        index: u16,
        rung: Box<str>,
    },
    /// Rung `index` begins once more: the supervisor that tried it was lost, and what it had started with it.
    RungRepeated {
        incident: IncidentId,
        unit: UnitId,
        index: u16,
        rung: Box<str>,
    },
    RungEnded {
        incident: IncidentId,
        unit: UnitId,
        index: u16,
        has_helped: bool,
        said: Box<str>,
    },
    /// A run of a job is to be. `late`: behind its slot; zero for other triggers.
    JobTriggered {
        unit: UnitId,
        trigger: Trigger,
        late: Duration,
    },
    /// A run of a job is over. `is_last`: no retry follows.
    JobRunEnded {
        unit: UnitId,
        ordinal: u32,
        trigger: Trigger,
        verdict: JobVerdict,
        ordered: Timestamp,
        is_last: bool,
    },
    /// A trigger that starts no run, and nothing is wrong with that.
    JobSkipped {
        unit: UnitId,
        trigger: Trigger,
        why: Box<str>,
    },
    /// Runs that never began, for slots from the first to the last; so many of them are caught up.
    JobMissed {
        unit: UnitId,
        trigger: Trigger,
        why: Box<str>,
        slots: u32,
        first: WallTime,
        last: WallTime,
        caught_up: u32,
    },
    /// What the unit says of itself (STATUS of the notify protocol).
    StatusTold {
        unit: UnitId,
        text: Box<str>,
    },
    /// The unit's share of the incident is over.
    IncidentLeft {
        incident: IncidentId,
        unit: UnitId,
        began: Timestamp,
        detected: Timestamp,
        /// Since when it works again, for good. `None`: it is no longer wanted up.
        recovered: Option<Timestamp>,
    },
    IncidentClosed {
        incident: IncidentId,
        unit: Option<UnitId>,
        /// It works again for good, or is done; otherwise it is no longer wanted up.
        has_healed: bool,
    },
    /// SIGKILL did not end it (uninterruptible sleep); a shutdown goes on without it.
    Unkillable {
        unit: UnitId,
    },
    Adopted {
        unit: UnitId,
        ordinal: u32,
    },
    RequestServed {
        request: RequestId,
        what: Box<str>,
    },
    Change {
        generation: GenerationId,
        what: ChangeFact,
    },
    ShutdownBegan,
    /// A pair of state and event that must not exist. The unit keeps its state.
    BugFound {
        unit: Option<UnitId>,
        what: Box<str>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done, with one line per unit asked for, and per unit touched besides.
    Done(Vec<Line>),
    /// Some of it did not come well; the lines say which.
    NotWell(Vec<Line>),
    /// No such unit; nothing was done. `nearest` is the name that was probably meant.
    Unknown { unit: UnitName, nearest: Option<UnitName> },
    /// Not now, and why.
    Refused(Box<str>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub unit: UnitId,
    pub is_well: bool,
    pub text: Box<str>,
}
