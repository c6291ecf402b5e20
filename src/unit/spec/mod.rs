//! The effective definition of every unit: defaults filled in, names resolved, templates and
//! replicas unfolded. What the engine decides by and the supervisor acts by.

pub mod probe;
pub mod recover;
pub mod listen;
pub mod job;
pub mod output;
pub mod changes;
pub mod confinement;

use std::fmt;
use std::time::Duration;

use crate::unit::diagnostic::Place;
use crate::unit::name::UnitName;
use crate::unit::spec::changes::Changes;
use crate::unit::spec::confinement::Confinement;
use crate::unit::spec::job::{Hooks, JobSpec};
use crate::unit::spec::listen::Listen;
use crate::unit::spec::probe::{Pattern, ProbeSpec};
use crate::unit::spec::recover::{Channel, Heartbeat, Ladder};

/// Index of a unit in its `UnitSet`; it means the same unit for as long as a supervisor lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u32);

/// Index of a phase in boot order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhaseId(pub u16);

/// Everything that one generation of a units directory says; checked, immutable.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitSet {
    /// By `UnitId`. A unit that a change removed keeps its slot, with [`UnitSpec::is_removed`].
    pub units: Vec<UnitSpec>,
    /// So many from the front are ordered by name, all of them in a set that was read; those behind came by changes.
    pub sorted: usize,
    /// Phase names in boot order; never empty.
    pub phases: Vec<Box<str>>,
    /// How long a barrier may stay shut before it is an incident. Default 5 min.
    pub boot_timeout: Duration,
    /// How long a shutdown may take before everything left is killed. Default 60 s.
    pub shutdown_timeout: Duration,
    /// Most bytes all logs together may hold. Default 1 GiB.
    pub log_total_bytes: u64,
    /// Where alerts go, ordered by name.
    pub alerts: Vec<Channel>,
    /// How much all runs of jobs together may weigh. `None`: any number of them.
    pub concurrency: Option<u32>,
    /// `None`: no webhook is listened for.
    pub hooks: Option<Hooks>,
    /// `None`: nobody outside waits for a sign of life.
    pub heartbeat: Option<Heartbeat>,
    pub changes: Changes,
}

impl UnitSet {
    pub fn unit(&self, id: UnitId) -> Option<&UnitSpec> {
        self.units.get(usize::try_from(id.0).ok()?)
    }

    /// The unit of this name, if it is there.
    pub fn find(&self, name: &str) -> Option<UnitId> {
        self.slot(name).filter(|id| self.unit(*id).is_some_and(|unit| !unit.is_removed))
    }

    /// The slot that a name has or had.
    pub(crate) fn slot(&self, name: &str) -> Option<UnitId> {
        let (sorted, later) = self.units.split_at(self.sorted.min(self.units.len()));
        let at = sorted.binary_search_by(|unit| unit.name.as_str().cmp(name)).ok().or_else(|| {
            let at = later.iter().position(|unit| unit.name.as_str() == name)?;
            sorted.len().checked_add(at)
        })?;
        u32::try_from(at).ok().map(UnitId)
    }

    /// What people may mean by `name`: the unit of that name, else all replicas and instances `name@…`.
    pub fn named(&self, name: &str) -> Vec<UnitId> {
        if let Some(id) = self.find(name) {
            return vec![id];
        }
        let is_copy =
            |unit: &UnitSpec| unit.name.as_str().strip_prefix(name).is_some_and(|copy| copy.starts_with('@'));
        self.present().filter(|id| self.unit(*id).is_some_and(is_copy)).collect()
    }

    /// The units that are there, for whoever shows them or asks something of each.
    pub fn present(&self) -> impl Iterator<Item = UnitId> {
        self.ids().zip(&self.units).filter(|(_, unit)| !unit.is_removed).map(|(id, _)| id)
    }

    /// The definitions of [`Self::present`].
    pub fn present_units(&self) -> impl Iterator<Item = &UnitSpec> {
        self.units.iter().filter(|unit| !unit.is_removed)
    }

    /// Every slot, those of removed units among them: for what is kept by `UnitId`.
    pub fn ids(&self) -> impl Iterator<Item = UnitId> + use<> {
        (0..u32::try_from(self.units.len()).unwrap_or(u32::MAX)).map(UnitId)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnitKind {
    /// A process kept up.
    Service,
    /// Runs once per boot or on demand, to completion.
    Task,
    /// Armed by mcsup; its triggers start runs, each of which must prove its output.
    Job,
    /// Watched, not owned: its process belongs to somebody else, commands are the only levers.
    External,
    /// No process; ready while its one probe, an expression, holds.
    Gate,
}

impl UnitKind {
    /// Whether it is a process of ours: of a job its runs are.
    pub fn has_process(self) -> bool {
        match self {
            Self::Service | Self::Task => true,
            Self::Job | Self::External | Self::Gate => false,
        }
    }
}

impl fmt::Display for UnitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::Task => "task",
            Self::Job => "job",
            Self::External => "external",
            Self::Gate => "gate",
        })
    }
}

/// Hash of an effective definition; equal means untouched by a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// One unit, as it takes effect. What every step of deciding asks stands together at the front, up to
/// `stop`: in a set of thousands each cache line of a definition that a step meets is cold.
#[derive(Clone, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct UnitSpec {
    pub name: UnitName,
    /// By unit, each once.
    pub depends_on: Vec<Dependency>,
    pub kind: UnitKind,
    pub ready: Ready,
    pub phase: PhaseId,
    pub blocks_phase: bool,
    pub enabled: bool,
    /// Only its slot is left: nothing names it, and it does nothing.
    pub is_removed: bool,
    pub essential: bool,
    pub protected: bool,
    pub health: Vec<ProbeSpec>,
    pub restart: RestartSpec,
    /// Time from spawn to ready (service) or to the end (task, a job's run). `None`: no limit.
    pub start_timeout: Option<Duration>,
    pub stop: StopSpec,
    pub description: Option<Box<str>>,
    /// Program and arguments; empty for what has no process of ours.
    pub command: Vec<Template>,
    /// Of a job, and of nothing else.
    pub job: Option<Box<JobSpec>>,
    /// What starts and restarts an external unit; its `stop.command` stops it.
    pub levers: Levers,
    pub user: Option<Box<str>>,
    pub group: Option<Box<str>>,
    pub supplementary_groups: Vec<Box<str>>,
    /// `None`: the units directory for `up DIR`, `/` for the system instance.
    pub working_dir: Option<Box<str>>,
    pub environment: Vec<(Box<str>, Template)>,
    pub env_file: Vec<Box<str>>,
    pub inherit_env: InheritEnv,
    pub conflicts: Vec<UnitId>,
    /// Longest silence between two WATCHDOG=1. `None`: nobody waits for them.
    pub watchdog: Option<Duration>,
    pub listen: Listen,
    pub recover: Ladder,
    /// Of each process for itself.
    pub limits: Box<[ResourceLimit]>,
    /// `None`: it says nothing of the kind.
    pub confinement: Option<Box<Confinement>>,
    /// -1000 to 1000; `None` leaves what mcsup was started with.
    pub oom_score_adjust: Option<i16>,
    pub log: LogSpec,
    /// What `${MCSUP_INSTANCE}` says in replicas and instances of a template.
    pub instance: Option<Box<str>>,
    /// Where people read what to do; shown only.
    pub runbook: Option<Box<str>>,
    /// The part of time in which it should work, in millionths: 999500 is 99.95 %. Above 0, below 1000000.
    pub slo_ppm: Option<u32>,
    pub labels: Box<[(Box<str>, Box<str>)]>,
    pub fingerprint: Fingerprint,
    /// Where the unit is defined.
    pub place: Place,
}

/// Text with `${NAME}` and `${NAME:-default}` in it; any other `$` stays as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    Plain(Box<str>),
    Pieces(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(Box<str>),
    Variable { name: Box<str>, default: Option<Box<str>> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InheritEnv {
    /// Only PATH, LANG, LC_* and TZ.
    Basics,
    /// The basics and these.
    Names(Vec<Box<str>>),
    Everything,
}

/// One edge of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub unit: UnitId,
    pub condition: Condition,
    /// False: waits while it can still come, goes on without it.
    pub required: bool,
    pub follow: Follow,
    pub place: Place,
}

/// What a dependent waits for. Level-triggered: never missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// exec succeeded and the run lives, or it completed.
    Started,
    /// Ready, with health passing.
    Healthy,
    /// Its last run passed; stays true during a re-run.
    Completed,
}

/// What a restart of the dependency does to the dependent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    None,
    /// Stops with it, starts again when the condition holds again.
    Restart,
    /// Stops with it and stays down until a person starts it.
    Stop,
}

/// When `starting` becomes `ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// exec succeeded.
    Started,
    /// Every probe passed once.
    Health,
    /// READY=1 came.
    Notify,
    /// A line of the run's output matches.
    Log(Pattern),
    /// A line feed was written to this descriptor. At least 3.
    Fd(u8),
}

/// Commands that act on what is not ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levers {
    pub start: Option<Vec<Template>>,
    /// `None`: a restart is `stop.command` and then `start`.
    pub restart: Option<Vec<Template>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartSpec {
    pub policy: RestartPolicy,
    pub backoff: Backoff,
    /// Up this long: the backoff starts over. Default 10 min.
    pub reset_after: Duration,
    /// `None`: retry for ever at `backoff.max`.
    pub limit: Option<StartLimit>,
}

/// Delay before automatic start n (from 0): `initial * factor^n`, at most `max`, spread by `jitter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
    /// In thousandths: 2000 doubles. At least 1000.
    pub factor_permille: u32,
    /// In thousandths of the delay, to both sides. 0 to 1000. Default 100.
    pub jitter_permille: u32,
}

/// At most `starts` automatic starts in any window of `within`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartLimit {
    pub starts: u32,
    pub within: Duration,
    pub then: OnLimit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLimit {
    Fail,
    /// Try again after this long, with an empty window.
    Retry(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopSpec {
    /// Default SIGTERM.
    pub signal: SignalNumber,
    /// Time between the stop signal and SIGKILL. Default 10 s; zero kills at once.
    pub grace: Duration,
    /// Runs first; the signal follows when it has ended and the process has not.
    pub command: Option<Vec<Template>>,
}

/// A signal by number, as the kernel counts them on this architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SignalNumber(pub u8);

impl SignalNumber {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const ABRT: Self = Self(6);
    pub const KILL: Self = Self(9);
    pub const PIPE: Self = Self(13);
    pub const TERM: Self = Self(15);

    /// `SIGTERM` and friends; `None` for numbers without a name.
    pub fn name(self) -> Option<&'static str> {
        SIGNALS.iter().find(|(number, _)| *number == self.0).map(|(_, name)| *name)
    }

    /// Accepts `SIGTERM`, `TERM` and `15`.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        SIGNALS
            .iter()
            .find(|(number, name)| name.strip_prefix("SIG") == Some(bare) || text.parse() == Ok(*number))
            .map(|(number, _)| Self(*number))
    }
}

impl fmt::Display for SignalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// Linux on x86-64, aarch64 and riscv64 (signal(7)); nobody stops a service by the others.
const SIGNALS: &[(u8, &str)] = &[
    (1, "SIGHUP"),
    (2, "SIGINT"),
    (3, "SIGQUIT"),
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (10, "SIGUSR1"),
    (11, "SIGSEGV"),
    (12, "SIGUSR2"),
    (13, "SIGPIPE"),
    (14, "SIGALRM"),
    (15, "SIGTERM"),
    (16, "SIGSTKFLT"),
    (17, "SIGCHLD"),
    (18, "SIGCONT"),
    (19, "SIGSTOP"),
    (20, "SIGTSTP"),
    (21, "SIGTTIN"),
    (22, "SIGTTOU"),
    (23, "SIGURG"),
    (24, "SIGXCPU"),
    (25, "SIGXFSZ"),
    (26, "SIGVTALRM"),
    (27, "SIGPROF"),
    (28, "SIGWINCH"),
    (29, "SIGIO"),
    (30, "SIGPWR"),
    (31, "SIGSYS"),
];

/// One rlimit, see getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    pub resource: Resource,
    /// `None`: unlimited.
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    As,
    Core,
    CpuTime,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSpec {
    /// Rotated at a line end when larger. Default 10 MiB.
    pub max_size_bytes: u64,
    /// Rotated also when older than this. `None`: by size only.
    pub max_age: Option<Duration>,
    /// Old files kept beside `current`. Default 5.
    pub keep: u16,
    pub when_full: WhenFull,
}

/// What happens to a unit's output when its log cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Bytes are dropped and counted.
    Drop,
    /// The writer waits.
    Block,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of a thousand is held by the supervisor for as long as it lives: 64 bytes more are 64 KiB of it.
    #[test]
    fn a_definition_is_twelve_cache_lines() {
        assert_eq!(size_of::<UnitSpec>(), 12 * 64);
    }
}
