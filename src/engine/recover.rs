//! What follows an end: completed, failed, or the next automatic start.

use crate::engine::Engine;
use crate::engine::event::ExitStatus;
use crate::engine::id::UnitId;
use crate::engine::policy;
use crate::engine::state::{FailureCause, UnitState};
use crate::engine::timers::Timer;
use crate::unit::spec::{OnLimit, RestartPolicy, UnitKind};

impl Engine {
    /// A task must end with 0; a service may also be told to end (as systemd counts clean exits).
    pub(crate) fn is_well_ended(&self, id: UnitId, exit: ExitStatus) -> bool {
        match self.spec(id).kind {
            UnitKind::Task => exit.is_success(),
            UnitKind::Service | UnitKind::External | UnitKind::Gate => exit.is_clean(),
        }
    }

    /// Its process ended by itself, and nothing of the run is left.
    pub(crate) fn ended(&mut self, id: UnitId, exit: ExitStatus, was_ready: bool) {
        let is_well = self.is_well_ended(id, exit);
        let policy = self.spec(id).restart.policy;
        let is_service = self.spec(id).kind == UnitKind::Service;
        self.units[id].has_passed = is_well;
        if !self.units[id].desired.is_up() {
            return self.rest(id, UnitState::Inactive);
        }
        let is_silent = self.readiness(id).is_told() && !was_ready;
        let cause = if is_silent {
            FailureCause::ExitedSilent(exit)
        } else if is_service && !was_ready {
            FailureCause::ExitedEarly(exit)
        } else {
            FailureCause::Exited(exit)
        };
        match (is_well && !is_silent, policy) {
            (true, _) if self.is_lazy(id) => self.rest_for_connection(id),
            (true, RestartPolicy::OnFailure | RestartPolicy::Never) => {
                self.units[id].attempt = 0;
                self.rest(id, UnitState::Completed);
            }
            (true, RestartPolicy::Always) => self.plan_restart(id, cause),
            (false, RestartPolicy::Always | RestartPolicy::OnFailure | RestartPolicy::Never) => {
                self.failed(id, cause);
            }
        }
    }

    /// A run or a start counts as a failure: an incident, and what the policy says.
    pub(crate) fn failed(&mut self, id: UnitId, cause: FailureCause) {
        self.units[id].has_passed = false;
        if !self.units[id].desired.is_up() {
            return self.rest(id, UnitState::Inactive);
        }
        self.open_incident(id, &cause.to_string());
        match self.spec(id).restart.policy {
            RestartPolicy::Never => self.rest(id, UnitState::Failed { cause }),
            RestartPolicy::Always | RestartPolicy::OnFailure => self.plan_restart(id, cause),
        }
    }

    /// Backoff, bounded by the start limit.
    fn plan_restart(&mut self, id: UnitId, cause: FailureCause) {
        let now = self.now.mono;
        let restart = self.spec(id).restart;
        let attempt = self.units[id].attempt;
        let delay = policy::delay(&restart.backoff, attempt, self.options.seed, self.spec(id).name.as_str());
        let mut until = now.after(delay);
        self.units[id].attempt = attempt.saturating_add(1);
        policy::forget_old_starts(&mut self.units[id].starts, restart.limit.as_ref(), now);
        if let Some(limit) = &restart.limit
            && policy::is_over_limit(&self.units[id].starts, limit, until)
        {
            let starts = limit.starts;
            match limit.then {
                OnLimit::Fail => {
                    let cause = FailureCause::StartLimit { starts, last: Box::new(cause) };
                    return self.rest(id, UnitState::Failed { cause });
                }
                OnLimit::Retry(pause) => {
                    until = now.after(pause);
                    self.units[id].attempt = 0;
                    self.units[id].starts.clear();
                }
            }
        }
        if until > now {
            self.timers.set(Some(id), Timer::BackoffDelay, until);
        }
        self.enter(id, UnitState::Backoff { after: cause, until });
    }
}
