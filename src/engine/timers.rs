//! Deadlines as data: an ordered set, so that the next one and a cancellation cost O(log n).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::engine::id::{RunId, UnitId};
use crate::engine::state::StateName;
use crate::engine::time::Timestamp;

/// Named by what ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    BackoffDelay,
    StartTimeout,
    StopGrace,
    /// Five seconds after SIGKILL: what still lives then cannot be killed.
    KillWait,
    /// Two seconds for what shows why a live run failed; then it is ended without.
    CaptureWait,
    ProbeDue(u16),
    /// The next keep-alive is due.
    Watchdog,
    /// Of a rung that was tried: it has helped by then, or the next one follows.
    RungSettle,
    /// Before the last rung is tried again.
    RungPause,
    /// Of a unit whose trouble another's explained, which is over.
    Hold,
    /// Of a unit that is ready again while its incident is open.
    Settle,
    /// What waits in a job's queue may begin, or has waited too long.
    JobDue,
    /// `every` of a job is over.
    JobEvery,
    /// A run of a job: its timeout, its grace, its kill wait, its judge.
    JobRun(RunId),
    /// Of the barrier that is waited for.
    BootTimeout,
    /// Of the change under way: all must be well by then.
    VerifyWindow,
    /// Of the change under way: all were well for long enough.
    ChangeSettle,
    /// Of the change under way: a person must have confirmed it.
    ConfirmWindow,
    ShutdownTimeout,
}

impl Timer {
    /// The states of a unit in which this can be waited for; entering any other one ends the wait.
    pub(crate) fn lives_in(self, state: StateName) -> bool {
        use StateName::{Backoff, Ready, Starting, Stopping, Unhealthy};
        match self {
            Self::BackoffDelay => state == Backoff,
            Self::StartTimeout => state == Starting,
            Self::StopGrace | Self::KillWait => state == Stopping,
            Self::CaptureWait => [Unhealthy, Stopping].contains(&state),
            Self::ProbeDue(_) => [Starting, Ready, Unhealthy].contains(&state),
            Self::Watchdog => [Ready, Unhealthy].contains(&state),
            Self::RungSettle | Self::RungPause | Self::Hold => state == Unhealthy,
            Self::Settle => state == Ready,
            Self::JobDue | Self::JobEvery => [Ready, Unhealthy].contains(&state),
            Self::JobRun(_) => [Ready, Unhealthy, Stopping].contains(&state),
            Self::BootTimeout
            | Self::VerifyWindow
            | Self::ChangeSettle
            | Self::ConfirmWindow
            | Self::ShutdownTimeout => false,
        }
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackoffDelay => f.write_str("backoff-delay"),
            Self::StartTimeout => f.write_str("start-timeout"),
            Self::StopGrace => f.write_str("stop-grace"),
            Self::KillWait => f.write_str("kill-wait"),
            Self::CaptureWait => f.write_str("capture-wait"),
            Self::RungSettle => f.write_str("rung-settle"),
            Self::RungPause => f.write_str("rung-pause"),
            Self::Hold => f.write_str("hold"),
            Self::ProbeDue(index) => write!(f, "probe-due {index}"),
            Self::Watchdog => f.write_str("watchdog"),
            Self::Settle => f.write_str("settle"),
            Self::JobDue => f.write_str("job-due"),
            Self::JobEvery => f.write_str("job-every"),
            Self::JobRun(run) => write!(f, "job-run {}", run.0),
            Self::BootTimeout => f.write_str("boot-timeout"),
            Self::VerifyWindow => f.write_str("verify-window"),
            Self::ChangeSettle => f.write_str("change-settle"),
            Self::ConfirmWindow => f.write_str("confirm-window"),
            Self::ShutdownTimeout => f.write_str("shutdown-timeout"),
        }
    }
}

/// Whose timer: a unit's, or (`None`) the boot's and the change's.
type Owner = Option<UnitId>;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Timestamp, Owner, Timer)>,
    by_owner: BTreeMap<(Owner, Timer), Timestamp>,
}

impl Timers {
    /// Replaces the owner's earlier deadline of the same name.
    pub(crate) fn set(&mut self, owner: Owner, timer: Timer, at: Timestamp) {
        self.cancel(owner, timer);
        self.by_owner.insert((owner, timer), at);
        self.by_time.insert((at, owner, timer));
    }

    pub(crate) fn cancel(&mut self, owner: Owner, timer: Timer) {
        if let Some(at) = self.by_owner.remove(&(owner, timer)) {
            self.by_time.remove(&(at, owner, timer));
        }
    }

    /// Those of a unit that do not live in `state`.
    pub(crate) fn keep_those_of(&mut self, unit: UnitId, state: StateName) {
        let all = (Some(unit), Timer::BackoffDelay)..=(Some(unit), Timer::ShutdownTimeout);
        // Few at most, and mostly none.
        while let Some((owner, timer)) =
            self.by_owner.range(all.clone()).map(|(key, _)| *key).find(|(_, timer)| !timer.lives_in(state))
        {
            self.cancel(owner, timer);
        }
    }

    pub(crate) fn at(&self, owner: Owner, timer: Timer) -> Option<Timestamp> {
        self.by_owner.get(&(owner, timer)).copied()
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _, _)| *at)
    }

    /// Takes the earliest deadline that is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<(Owner, Timer)> {
        let (at, owner, timer) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_owner.remove(&(owner, timer));
        Some((owner, timer))
    }

    /// All of them, the next first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Timestamp, Owner, Timer)> + '_ {
        self.by_time.iter().copied()
    }
}
