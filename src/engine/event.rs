//! Facts from the world, in the past tense: all that the engine ever learns.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::change::Stage;
use crate::engine::id::{GenerationId, HelperId, IncidentId, ProbeRunId, RequestId, RunId, UnitId};
use crate::engine::incident::{Incident, Share};
use crate::engine::state::{Desired, NotedState};
use crate::engine::time::{Pretty, Timestamp, WallTime};
use crate::unit::name::UnitName;
use crate::unit::spec::{SignalNumber, UnitSet};

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first event of an engine's life: what the keeper holds. Empty at a boot.
    KeeperConnected(Box<Handover>),
    /// exec succeeded.
    RunSpawned { run: RunId, pid: u32 },
    /// There is no process, and there never was a program.
    RunFailedToSpawn { run: RunId, failure: SpawnFailure },
    /// The main process ended. `is_empty`: nothing of the run is left, and no `RunEmptied` will follow.
    RunExited { run: RunId, exit: ExitStatus, is_empty: bool },
    /// The last process of a run whose leader had ended is gone.
    RunEmptied { run: RunId },
    /// The answer to `StartProbe`.
    ProbeFinished { probe: ProbeRunId, verdict: Verdict },
    /// The answer to `RunHelper`; `said` is the end of its output, for people.
    HelperFinished { helper: HelperId, outcome: HelperOutcome, said: Box<str> },
    /// The answer to `CaptureEvidence`. Not complete: something could not be captured; the evidence says what.
    EvidenceCaptured { incident: IncidentId, unit: UnitId, run: Option<RunId>, is_complete: bool },
    /// The run told something over its notify socket.
    Notified { run: RunId, notice: Notice },
    /// The run showed that it is ready: a line of its log, or a newline on its descriptor.
    ReadyShown { run: RunId },
    /// Somebody connects to a socket of a lazy unit; the answer to `AwaitConnection`.
    ConnectionArrived { unit: UnitId },
    /// A person, a client or a signal asks for something.
    RequestReceived { request: RequestId, ask: Ask },
    /// Whoever asked has gone; nobody waits for the reply.
    RequestAbandoned { request: RequestId },
    /// The wall clock was set.
    ClockStepped,
    /// The answer to `JudgeOutput`.
    OutputJudged { run: RunId, judgement: Judgement },
    /// What the supervisor watches for a job came to pass: a path, a webhook.
    Triggered { unit: UnitId, trigger: Trigger },
    /// Other definitions are valid and kept, and are to take effect. Answered by `EndChange`.
    ChangeProposed(Box<Proposal>),
    /// The units directory was looked at, and no change comes of it. `trouble`: why it cannot be used.
    DirectoryFound { trouble: Option<Box<str>> },
    /// A deadline of `next_deadlines` was reached. Harmless when early or spurious.
    DeadlineReached,
}

/// Definitions that are to replace those in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub generation: GenerationId,
    /// The one in force, to which a roll back returns.
    pub previous: GenerationId,
    /// Merged: units keep their ids.
    pub set: Arc<UnitSet>,
    /// Units that read files of other content now when they start.
    pub reread: BTreeSet<UnitId>,
    pub rules: ChangeRules,
}

/// How a change is proven, and what becomes of one that is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeRules {
    /// Time in which everything must be well. Default 30 s.
    pub verify: Duration,
    /// All must be well for so long. Default 5 s.
    pub settle: Duration,
    /// What is not well in time goes back; otherwise it stays, and an incident says so.
    pub rolls_back: bool,
    /// A person must confirm within this time, or it goes back.
    pub confirm: Option<Duration>,
}

/// The change under way when a supervisor was lost, as the engine had it noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeNote {
    pub generation: GenerationId,
    pub previous: GenerationId,
    pub rules: ChangeRules,
    /// Why it goes back.
    pub rolls_back: Option<Box<str>>,
    pub stage: Stage,
    /// When the definitions were taken up.
    pub in_force_since: Timestamp,
    /// Incidents with a higher number are younger than the change.
    pub last_incident: IncidentId,
    /// Whose trouble is older than the change.
    pub was_unwell: Vec<UnitName>,
    /// Units that read files of other content now when they start.
    pub reread: Vec<UnitName>,
    /// What a roll back wants of units again.
    pub desires: Vec<(UnitName, Desired)>,
    /// Tasks that had completed when it began.
    pub done: Vec<UnitName>,
    pub is_confirmed: bool,
}

impl ChangeNote {
    /// The note came before the definitions: which of them were in force when the supervisor was lost decides.
    pub fn as_found(mut self, in_force: GenerationId) -> Self {
        if self.stage != Stage::Stopping && self.rolls_back.is_none() && in_force == self.previous {
            // It had turned back, and was lost before it could say why.
            self.rolls_back = Some("it was not well".into());
            self.stage = Stage::Clearing;
        }
        let comes = if self.rolls_back.is_some() { self.previous } else { self.generation };
        if self.stage == Stage::Stopping && in_force == comes {
            self.stage = Stage::Clearing;
        }
        self
    }
}

/// The same for who continues, with the definitions that are not in force.
#[derive(Clone, Debug, PartialEq)]
pub struct HandedChange {
    pub note: ChangeNote,
    /// Merged with those in force.
    pub other: Arc<UnitSet>,
}

/// Everything that outlived the last supervisor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Handover {
    /// Main runs, in the order of their ids.
    pub runs: Vec<HandedRun>,
    /// No run of this machine has this number or a higher one, not even one of another instance.
    pub first_run: u64,
    /// The highest number that an incident of an earlier boot has.
    pub last_incident: u64,
    pub notes: Notes,
    /// What is known of jobs from earlier boots; no unit of `notes` is in it.
    pub jobs: BTreeMap<UnitName, JobPast>,
    pub change: Option<Box<HandedChange>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HandedRun {
    pub run: RunId,
    pub unit: UnitName,
    /// Counts the unit's spawns: the 4 of `redis#4`.
    pub ordinal: u32,
    pub spawned_at: Timestamp,
    pub condition: HandedCondition,
    /// It showed that it is ready (READY, or a newline on its descriptor), whoever was told.
    pub is_ready_shown: bool,
}

/// How far a run had come when it was handed over.
#[derive(Clone, Debug, PartialEq)]
pub enum HandedCondition {
    /// The keeper is still at it; `RunSpawned` or `RunFailedToSpawn` will follow.
    Spawning,
    Live {
        pid: u32,
    },
    FailedToSpawn(SpawnFailure),
    Exited {
        exit: ExitStatus,
        is_empty: bool,
    },
}

/// What the engine had asked the keeper to remember; see `Effect::Remember`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    pub boot: Option<BootNote>,
    pub units: BTreeMap<UnitName, UnitNote>,
    pub incidents: BTreeMap<IncidentId, Incident>,
    pub change: Option<Box<ChangeNote>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct BootNote {
    /// Barriers open so far; they never close again.
    pub open_phases: u16,
    pub is_booted: bool,
    /// When the first barrier not yet open began to be waited for.
    pub waiting_since: Timestamp,
    /// A shutdown is under way, and since when.
    pub shutdown: Option<ShutdownNote>,
    /// The highest incident number given so far.
    pub last_incident: u64,
    /// The open incident of a barrier that does not open.
    pub incident: Option<IncidentId>,
    /// The open incident of a change, or of the units directory.
    pub change_incident: Option<IncidentId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownNote {
    pub since: Timestamp,
    pub exit_code: u8,
}

/// What must not be forgotten of one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitNote {
    pub desired: Desired,
    pub life: NotedState,
    /// Automatic starts in a row that ended in failure: the exponent of the backoff.
    pub attempt: u32,
    /// Automatic starts that count for the start limit, oldest first.
    pub starts: Vec<Timestamp>,
    pub restarts: u32,
    pub last_run: Option<RunId>,
    pub last_ordinal: u32,
    pub last_exit: Option<ExitStatus>,
    /// Its last finished run passed (tasks; condition `completed`).
    pub has_passed: bool,
    pub incident: Option<IncidentId>,
    /// What it has to do with that incident.
    pub share: Option<Box<Share>>,
    /// It was stopped with `--only`: dependents that require it may live on.
    pub leaves_dependents: bool,
    /// Its run said that it ends by itself.
    pub is_ending: bool,
    pub since: Timestamp,
    /// Of a job.
    pub job: Option<Box<JobNote>>,
}

/// What must not be forgotten of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobNote {
    pub past: JobPast,
    /// The newest of its runs.
    pub last_run: Option<RunId>,
    /// When its last run was ordered.
    pub last_start: Option<Timestamp>,
    /// Of those it runs after, who ended as it wants since then.
    pub seen: Vec<UnitName>,
    /// What waits for its turn, the next first.
    pub waiting: Vec<DueNote>,
    /// Runs that are not over.
    pub runs: BTreeMap<RunId, JobRunNote>,
}

/// What outlives a boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobPast {
    /// The last slot of its timetable that was dealt with; 0: none yet.
    pub last_slot: WallTime,
    /// Of its last run. `None`: there was none.
    pub verdict: Option<JobVerdict>,
    /// Verdicts of this kind in a row.
    pub streak: u32,
    /// Of the timetable that the last slot is of; another one counts from when it is first seen.
    pub timetable: u64,
    /// When its last run was ordered, by the wall clock; 0: never.
    pub last_start: WallTime,
    /// The number of its last run.
    pub last_ordinal: u32,
}

/// A run that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueNote {
    pub trigger: Trigger,
    pub since: Timestamp,
    /// Runs before it that did not pass, and which it repeats.
    pub attempt: u32,
    pub not_before: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRunNote {
    pub due: DueNote,
    pub ordinal: u32,
    pub stage: RunStage,
    /// Of the stage.
    pub deadline: Option<Timestamp>,
    /// Why mcsup ends it.
    pub end: Option<RunEnd>,
}

/// How far a run of a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStage {
    /// Ordered, or lives.
    Running,
    /// It failed while it lived: what shows why is kept first, for two seconds at most.
    Capturing,
    /// The stop signal was sent; SIGKILL at the end of the grace.
    Signalled,
    /// Its leader ended and the rest was told to; SIGKILL at the end of the grace.
    Sweeping,
    Killed,
    /// SIGKILL did not help for 5 s.
    Unkillable,
    /// Nothing of it lives, and its output is judged.
    Judging,
}

/// Why mcsup ends a run of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    TimedOut,
    /// A newer one takes its place.
    Replaced,
    /// The job is to stop.
    Down,
}

/// What started a run of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A slot of its timetable.
    Slot(WallTime),
    Every,
    Boot,
    Load,
    /// The last of those it runs after.
    After(UnitName),
    Path(Box<str>),
    /// The supervisor keeps the body under this number.
    Webhook(u64),
    Operator,
}

impl Trigger {
    /// When its timetable wanted it.
    pub(crate) fn slot(&self) -> Option<WallTime> {
        match self {
            Self::Slot(slot) => Some(*slot),
            Self::Every
            | Self::Boot
            | Self::Load
            | Self::After(_)
            | Self::Path(_)
            | Self::Webhook(_)
            | Self::Operator => None,
        }
    }
}

/// How a run of a job went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobVerdict {
    Passed,
    /// Which requirement, and what was found.
    Rejected(Box<str>),
    Failed(ExitStatus),
    NotStarted(Box<str>),
    TimedOut(Duration),
    /// Nobody knows whether its output holds.
    NotJudged(Box<str>),
    /// It was ended on the way, by a person or for a newer one.
    Cancelled(RunEnd),
    /// It never began.
    Missed(Box<str>),
}

impl JobVerdict {
    pub fn is_passed(&self) -> bool {
        *self == Self::Passed
    }

    /// One word for a table.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Rejected(_) => "rejected",
            Self::Failed(_) | Self::NotStarted(_) => "failed",
            Self::TimedOut(_) => "timed-out",
            Self::NotJudged(_) => "not-judged",
            Self::Cancelled(_) => "cancelled",
            Self::Missed(_) => "missed",
        }
    }
}

impl fmt::Display for JobVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Rejected(why) => write!(f, "rejected: {why}"),
            Self::Failed(exit) => write!(f, "failed: {exit}"),
            Self::NotStarted(why) => write!(f, "failed: {why}"),
            Self::TimedOut(limit) => write!(f, "timed out after {}", Pretty(*limit)),
            Self::NotJudged(why) => write!(f, "its output could not be judged: {why}"),
            Self::Cancelled(RunEnd::Replaced) => f.write_str("ended for a newer run"),
            Self::Cancelled(RunEnd::Down | RunEnd::TimedOut) => f.write_str("ended with its job"),
            Self::Missed(why) => write!(f, "missed: {why}"),
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(_) => f.write_str("its schedule"),
            Self::Every => f.write_str("its interval"),
            Self::Boot => f.write_str("the boot"),
            Self::Load => f.write_str("being armed"),
            Self::After(unit) => write!(f, "{unit}"),
            Self::Path(path) => write!(f, "a change of {path}"),
            Self::Webhook(_) => f.write_str("its webhook"),
            Self::Operator => f.write_str("a person"),
        }
    }
}

/// What the judge found of a run's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Holds,
    /// The requirement in the operator's words, and what was found.
    Rejected(Box<str>),
    /// The judge ended, or something it needs is missing.
    NotJudged(Box<str>),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Code(u8),
    Signal {
        signal: SignalNumber,
        dumped_core: bool,
    },
    /// It ended while nobody could ask how (adopted after the loss of its keeper on an old kernel).
    Unknown,
}

impl ExitStatus {
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// As systemd counts them: 0, and death by SIGHUP, SIGINT, SIGTERM or SIGPIPE.
    pub fn is_clean(self) -> bool {
        match self {
            Self::Code(code) => code == 0,
            Self::Signal { signal, .. } => {
                [SignalNumber::HUP, SignalNumber::INT, SignalNumber::TERM, SignalNumber::PIPE]
                    .contains(&signal)
            }
            Self::Unknown => false,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with {code}"),
            Self::Signal { signal, dumped_core: false } => write!(f, "killed by {signal}"),
            Self::Signal { signal, dumped_core: true } => write!(f, "killed by {signal} (core dumped)"),
            Self::Unknown => f.write_str("ended with unknown status"),
        }
    }
}

/// Which step of a spawn failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpawnFailure {
    pub step: SpawnStep,
    /// Zero where no system call failed (`expand`, `timeout`).
    pub errno: i32,
    /// The cause in words, such as `No such file or directory`, with what it concerns.
    pub cause: Box<str>,
}

impl fmt::Display for SpawnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start: {}: {}", self.step, self.cause)
    }
}

/// The steps of a spawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpawnStep {
    /// A `${NAME}` that nothing defines, or an env_file that cannot be read.
    Expand,
    /// The user or group does not exist.
    Lookup,
    /// A socket that it is to be passed cannot be opened.
    Listen,
    /// Pipes, log directory.
    Prepare,
    Clone,
    Session,
    Limits,
    OomScore,
    Groups,
    Setgid,
    Setuid,
    Chdir,
    Descriptors,
    Exec,
    /// No exec within 5 s; the child was killed.
    Timeout,
    /// Its cgroup cannot be made, or a limit that it must have cannot be set.
    Cgroup,
    Nice,
    CpuAffinity,
    PrivateTmp,
    /// A secret that it is to be given cannot be read, or not be hidden from others.
    Credentials,
    ReadOnly,
    NoNewPrivileges,
    Capabilities,
}

impl fmt::Display for SpawnStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expand => "expand",
            Self::Lookup => "lookup",
            Self::Listen => "listen",
            Self::Prepare => "prepare",
            Self::Clone => "clone",
            Self::Session => "setsid",
            Self::Limits => "setrlimit",
            Self::OomScore => "oom_score_adj",
            Self::Groups => "setgroups",
            Self::Setgid => "setgid",
            Self::Setuid => "setuid",
            Self::Chdir => "chdir",
            Self::Descriptors => "dup2",
            Self::Exec => "exec",
            Self::Timeout => "timeout",
            Self::Cgroup => "cgroup",
            Self::Nice => "nice",
            Self::CpuAffinity => "cpu_affinity",
            Self::PrivateTmp => "private_tmp",
            Self::Credentials => "credentials",
            Self::ReadOnly => "read_only",
            Self::NoNewPrivileges => "no_new_privileges",
            Self::Capabilities => "capabilities",
        })
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// With a few words to show: `200 in 3 ms`.
    Pass(Box<str>),
    /// Refused, timed out, wrong answer.
    Fail(Box<str>),
    /// Our side could not ask: no descriptor, program missing, resolver.
    Error(Box<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperOutcome {
    Ended(ExitStatus),
    /// It could not be started.
    NotStarted,
    TimedOut,
}

impl HelperOutcome {
    pub fn is_success(self) -> bool {
        self == Self::Ended(ExitStatus::Code(0))
    }
}

impl fmt::Display for HelperOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(exit) => exit.fmt(f),
            Self::NotStarted => f.write_str("could not be started"),
            Self::TimedOut => f.write_str("did not end in time"),
        }
    }
}

/// One assignment of the notify protocol, see sd_notify(3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Ready,
    Status(Box<str>),
    Reloading,
    Stopping,
    /// A number of errno(3): why it failed.
    Errno(i32),
    /// The deadline under way ends no earlier than this from now.
    ExtendTimeout(Duration),
    /// It is alive.
    Watchdog,
    /// It found that it does not work.
    WatchdogTrigger,
    /// The period of its watchdog from now on.
    WatchdogTimeout(Duration),
    /// Its main process is another one now. The keeper has checked that it is of the run.
    MainPid(u32),
}

/// What a person or a client may ask. Every request gets exactly one reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `wait`: the reply comes when every unit is ready, completed, or has failed once.
    Start {
        units: Vec<UnitName>,
        wait: bool,
    },
    /// `only`: leave the dependents alone.
    Stop {
        units: Vec<UnitName>,
        only: bool,
        wait: bool,
    },
    Restart {
        units: Vec<UnitName>,
        wait: bool,
    },
    /// Runs these jobs once, now. `wait`: the reply comes with the verdicts.
    Run {
        units: Vec<UnitName>,
        wait: bool,
    },
    /// A signal to every process of the units' runs; SIGKILL when left out.
    Kill {
        units: Vec<UnitName>,
        signal: SignalNumber,
    },
    /// The change under way is good.
    Confirm,
    /// The change under way is to be undone.
    Abandon,
    /// Stop everything in reverse order and exit.
    Shutdown {
        exit_code: u8,
    },
    /// Stop everything with SIGKILL, now.
    ShutdownNow {
        exit_code: u8,
    },
}

impl Ask {
    pub fn units(&self) -> &[UnitName] {
        match self {
            Self::Start { units, .. }
            | Self::Stop { units, .. }
            | Self::Restart { units, .. }
            | Self::Run { units, .. }
            | Self::Kill { units, .. } => units,
            Self::Confirm | Self::Abandon | Self::Shutdown { .. } | Self::ShutdownNow { .. } => &[],
        }
    }
}
