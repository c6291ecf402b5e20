//! The life of a unit.

use std::fmt;

use crate::engine::event::{ExitStatus, JobVerdict, SpawnFailure};
use crate::engine::id::UnitId;
use crate::engine::time::Timestamp;

/// Who should be up, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desired {
    Up(UpSource),
    Down(DownSource),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpSource {
    Boot,
    Operator,
    /// A unit that requires it was started.
    Dependent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownSource {
    /// `enabled: false`, and nobody asked for it.
    Disabled,
    Operator,
    /// Something it requires was stopped by a person.
    Dependency,
    /// A unit that conflicts with it was started.
    Conflict,
    /// No file defines it any more.
    Removed,
    Shutdown,
}

impl Desired {
    pub fn is_up(self) -> bool {
        match self {
            Self::Up(_) => true,
            Self::Down(_) => false,
        }
    }
}

/// Where a unit is in its life. Data that has no meaning in a state does not exist in it.
#[derive(Clone, Debug, PartialEq)]
pub enum UnitState {
    /// Down, and nothing of it lives.
    Inactive,
    /// Wanted up, and held by something that has a name.
    Waiting {
        on: WaitingOn,
        /// What it waits for has given up or is down, and will not come by itself.
        is_hopeless: bool,
        /// The end that its automatic start follows, when its backoff is over but something is missing.
        after: Option<FailureCause>,
    },
    /// A run was ordered or lives, and is not ready yet. A task is `starting` until it ends.
    Starting,
    Ready,
    /// Its run lives and its probes fail.
    Unhealthy,
    /// Its run is being ended, or its leader ended and something of it is left.
    Stopping {
        why: StopReason,
        stage: StopStage,
    },
    /// Waits for the next automatic start, which counts for the start limit.
    Backoff {
        after: FailureCause,
        until: Timestamp,
    },
    /// Its policy has given up.
    Failed {
        cause: FailureCause,
    },
    /// Its run ended well, and the policy asks for no other.
    Completed,
}

impl UnitState {
    pub fn name(&self) -> StateName {
        match self {
            Self::Inactive => StateName::Inactive,
            Self::Waiting { .. } => StateName::Waiting,
            Self::Starting => StateName::Starting,
            Self::Ready => StateName::Ready,
            Self::Unhealthy => StateName::Unhealthy,
            Self::Stopping { .. } => StateName::Stopping,
            Self::Backoff { .. } => StateName::Backoff,
            Self::Failed { .. } => StateName::Failed,
            Self::Completed => StateName::Completed,
        }
    }

    /// The dependency that it waits for.
    pub(crate) fn dependency_waited_for(&self) -> Option<UnitId> {
        match self {
            Self::Waiting { on, .. } => on.dependency(),
            Self::Inactive
            | Self::Starting
            | Self::Ready
            | Self::Unhealthy
            | Self::Stopping { .. }
            | Self::Backoff { .. }
            | Self::Failed { .. }
            | Self::Completed => None,
        }
    }

    /// The end that the next start follows, where the restart policy decided it: such a start counts for
    /// the start limit.
    pub(crate) fn automatic_after(&self) -> Option<&FailureCause> {
        match self {
            Self::Backoff { after, .. } => Some(after),
            Self::Waiting { after, .. } => after.as_ref(),
            Self::Inactive
            | Self::Starting
            | Self::Ready
            | Self::Unhealthy
            | Self::Stopping { .. }
            | Self::Failed { .. }
            | Self::Completed => None,
        }
    }
}

/// The name of a state alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateName {
    Inactive,
    Waiting,
    Starting,
    Ready,
    Unhealthy,
    Stopping,
    Backoff,
    Failed,
    Completed,
}

impl StateName {
    pub const ALL: [Self; 9] = [
        Self::Inactive,
        Self::Waiting,
        Self::Starting,
        Self::Ready,
        Self::Unhealthy,
        Self::Stopping,
        Self::Backoff,
        Self::Failed,
        Self::Completed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Completed => "completed",
        }
    }
}

/// Every change of state that may happen; all others are bugs. The state diagram of the docs is drawn from it.
pub const EDGES: &[(StateName, StateName, &str)] = {
    use StateName::{Backoff, Completed, Failed, Inactive, Ready, Starting, Stopping, Unhealthy, Waiting};
    &[
        (Inactive, Waiting, "wanted up, something is missing"),
        (Inactive, Starting, "wanted up"),
        (Inactive, Completed, "had completed before a change that goes back"),
        (Waiting, Starting, "nothing is missing any more"),
        (Waiting, Backoff, "lazy, and called too soon after its last run"),
        (Waiting, Failed, "lazy, and called more often than its limit allows"),
        (Waiting, Inactive, "wanted down"),
        (Starting, Ready, "started, or every probe passed"),
        (Starting, Stopping, "wanted down, restarted, start_timeout, or a rest to sweep"),
        (Starting, Backoff, "ended or could not start; the policy tries again"),
        (Starting, Failed, "ended or could not start; the policy gives up"),
        (Starting, Completed, "ended well"),
        (Starting, Waiting, "ended well; it waits for the next connection"),
        (Starting, Inactive, "ended by itself while wanted down"),
        (Ready, Unhealthy, "probes fail"),
        (Ready, Stopping, "wanted down, restarted, or a rest to sweep"),
        (Ready, Backoff, "ended; the policy tries again"),
        (Ready, Failed, "ended; the policy gives up"),
        (Ready, Completed, "ended well"),
        (Ready, Waiting, "ended well; it waits for the next connection"),
        (Ready, Inactive, "ended by itself while wanted down"),
        (Unhealthy, Ready, "probes pass again"),
        (Unhealthy, Stopping, "a rung of its ladder, wanted down, restarted, or a rest to sweep"),
        (Unhealthy, Backoff, "ended; the policy tries again"),
        (Unhealthy, Failed, "ended; the policy gives up"),
        (Unhealthy, Completed, "ended well"),
        (Unhealthy, Waiting, "ended well; it waits for the next connection"),
        (Unhealthy, Inactive, "ended by itself while wanted down"),
        (Stopping, Inactive, "empty, wanted down"),
        (Stopping, Waiting, "empty, to be started again, something is missing"),
        (Stopping, Starting, "empty, to be started again"),
        (Stopping, Backoff, "empty after a failure; the policy tries again"),
        (Stopping, Failed, "empty after a failure; the policy gives up"),
        (Stopping, Completed, "empty after ending well"),
        (Backoff, Starting, "the delay is over, or a person started it"),
        (Backoff, Waiting, "the delay is over, something is missing"),
        (Backoff, Failed, "the repair before its start cannot be started; its ladder ends in a stop"),
        (Backoff, Inactive, "wanted down"),
        (Failed, Starting, "a person started it"),
        (Failed, Waiting, "a person started it, something is missing"),
        (Failed, Inactive, "wanted down"),
        (Completed, Starting, "a person started it again"),
        (Completed, Waiting, "a person started it again, something is missing"),
        (Completed, Inactive, "wanted down"),
    ]
};

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a waiting unit waits for; always something real that is unmet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// The first barrier that is still shut; it lies before this unit's phase.
    Barrier,
    Dependency(UnitId),
    /// A unit that conflicts with it is not down yet.
    Conflict(UnitId),
    /// A lazy unit: somebody has to connect to a socket of it.
    Connection,
    /// The change that gives it its definition has not come so far.
    Change,
}

impl WaitingOn {
    pub(crate) fn dependency(&self) -> Option<UnitId> {
        match self {
            Self::Dependency(needed) => Some(*needed),
            Self::Barrier | Self::Conflict(_) | Self::Connection | Self::Change => None,
        }
    }

    /// Nothing of it is missing that a change could have taken away.
    pub(crate) fn is_rest(&self) -> bool {
        match self {
            Self::Barrier | Self::Connection => true,
            Self::Dependency(_) | Self::Conflict(_) | Self::Change => false,
        }
    }
}

/// Why a run is being ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Desired is down.
    Down,
    /// A person asked for a restart.
    Restart,
    /// Something it follows restarts.
    Follow(UnitId),
    /// Its definition changes.
    Change,
    /// The ladder of this unit restarts it first.
    Heals(UnitId),
    /// It failed while it lived: unhealthy, or its start took too long.
    Failed(FailureCause),
    /// Its leader ended by itself; the rest of the run is swept.
    Ended(ExitStatus),
}

/// How far the stop procedure has come; each stage has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStage {
    /// What shows why it failed is kept first, for two seconds at most.
    Capturing,
    /// The stop command runs.
    Command,
    /// The stop signal was sent; SIGKILL follows at the end of the grace.
    Signalled,
    /// The leader ended and the rest was told to; SIGKILL at the end of the same grace.
    Sweeping,
    /// SIGKILL was sent.
    Killed,
    /// SIGKILL did not help for 5 s.
    Unkillable,
}

/// Why a run or a start counts as a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureCause {
    SpawnFailed(SpawnFailure),
    /// Ended before it was ready.
    ExitedEarly(ExitStatus),
    /// Ended before it said that it is ready, which it had promised to say.
    ExitedSilent(ExitStatus),
    Exited(ExitStatus),
    /// Not ready in time; with the last words of its probes.
    StartTimeout(Box<str>),
    Unhealthy(Box<str>),
    /// Its probes cannot be asked. Nobody knows whether it works, so nothing is done about it.
    CannotProbe(Box<str>),
    /// No keep-alive within the period, or it called for help itself.
    Watchdog(Box<str>),
    /// SIGKILL does not end it.
    Unkillable,
    /// A run of a job did not pass, or never was.
    Job(JobVerdict),
    /// The rung `stop` of its ladder ended it.
    RungStopped(Box<Self>),
    StartLimit {
        starts: u32,
        last: Box<Self>,
    },
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpawnFailed(failure) => failure.fmt(f),
            Self::ExitedEarly(exit) => write!(f, "{exit} before it was ready"),
            Self::ExitedSilent(exit) => write!(f, "{exit} before it said READY"),
            Self::Exited(exit) => exit.fmt(f),
            Self::StartTimeout(words) if words.is_empty() => f.write_str("not ready within start_timeout"),
            Self::StartTimeout(words) => write!(f, "not ready within start_timeout: {words}"),
            Self::Unhealthy(why) => write!(f, "unhealthy: {why}"),
            Self::CannotProbe(why) => write!(f, "cannot probe: {why}"),
            Self::Watchdog(why) => f.write_str(why),
            Self::Unkillable => {
                f.write_str("SIGKILL does not end it: a process of it sits in uninterruptible sleep")
            }
            Self::Job(verdict) => verdict.fmt(f),
            Self::RungStopped(last) => write!(f, "stopped by its ladder: {last}"),
            Self::StartLimit { starts, last } => write!(f, "gave up after {starts} starts: {last}"),
        }
    }
}

/// Computed from probe streaks; the state changes only through the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// No probe, or none has answered yet, or it cannot be asked.
    Unknown,
    Passing,
    Failing,
}

impl Health {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Passing => "passing",
            Self::Failing => "failing",
        }
    }
}

/// The part of a state that a rebuilt engine needs: runs are known from the keeper's table.
#[derive(Clone, Debug, PartialEq)]
pub enum NotedState {
    Inactive,
    Starting,
    Ready,
    Unhealthy,
    Stopping { why: StopReason, stage: StopStage, deadline: Timestamp },
    Backoff { after: FailureCause, until: Timestamp },
    Failed { cause: FailureCause },
    Completed,
}
