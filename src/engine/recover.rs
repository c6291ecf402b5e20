//! What follows an end: completed, failed, or the next automatic start.

use crate::engine::Engine;
use crate::engine::event::ExitStatus;
use crate::engine::id::UnitId;
use crate::engine::policy;
use crate::engine::state::{FailureCause, StateName, UnitState};
use crate::engine::timers::Timer;
use crate::unit::spec::recover::Rung;
use crate::unit::spec::{OnLimit, RestartPolicy, UnitKind};

impl Engine {
    /// A task must end with 0; a service may also be told to end (as systemd counts clean exits).
    pub(crate) fn is_well_ended(&self, id: UnitId, exit: ExitStatus) -> bool {
        match self.spec(id).kind {
            UnitKind::Task | UnitKind::Job => exit.is_success(),
            UnitKind::Service | UnitKind::External | UnitKind::Gate => exit.is_clean(),
        }
    }

    /// Its process ended by itself, and nothing of the run is left.
    pub(crate) fn ended(&mut self, id: UnitId, exit: ExitStatus, was_ready: bool) {
        let is_well = self.is_well_ended(id, exit);
        let policy = self.spec(id).restart.policy;
        self.units[id].has_passed = is_well;
        if !self.units[id].desired.is_up() {
            return self.rest(id, UnitState::Inactive);
        }
        let cause = self.cause_of_end(id, exit, was_ready);
        let is_silent = matches!(cause, FailureCause::ExitedSilent(_));
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

    pub(crate) fn cause_of_end(&self, id: UnitId, exit: ExitStatus, was_ready: bool) -> FailureCause {
        match self.spec(id).kind {
            UnitKind::Service if !was_ready && self.readiness(id).is_told() => {
                FailureCause::ExitedSilent(exit)
            }
            UnitKind::Service if !was_ready => FailureCause::ExitedEarly(exit),
            UnitKind::Service | UnitKind::Task | UnitKind::Job | UnitKind::External | UnitKind::Gate => {
                FailureCause::Exited(exit)
            }
        }
    }

    /// A run or a start that failed is over: what its ladder and its policy say. Where the failure was
    /// detected, `trouble` opened the incident; it was not where the unit was not wanted then.
    pub(crate) fn failed(&mut self, id: UnitId, cause: FailureCause) {
        self.units[id].has_passed = false;
        if !self.units[id].desired.is_up() {
            return self.rest(id, UnitState::Inactive);
        }
        if self.units[id].incident.is_none() {
            self.trouble(id, &cause);
        }
        if matches!(cause, FailureCause::RungStopped(_)) {
            return self.give_up(id, cause);
        }
        let was_restarted = self.is_restarted_by_ladder(id);
        let is_rung = self.climbs_after(id, &cause);
        let next = if was_restarted { self.next_without_process(id) } else { None };
        if next == Some(Rung::Stop) {
            self.tell_next_rung(id);
            return self.give_up(id, FailureCause::RungStopped(Box::new(cause)));
        }
        let may_restart = match self.spec(id).restart.policy {
            RestartPolicy::Always | RestartPolicy::OnFailure => true,
            RestartPolicy::Never => is_rung || next.is_some(),
        };
        if !may_restart {
            return self.give_up(id, cause);
        }
        self.plan_restart(id, cause);
        if self.units[id].state.name() != StateName::Backoff {
            return;
        }
        match next {
            Some(rung) => self.try_before_start(id, &rung),
            None if !is_rung => self.pass_alerts(id),
            None => {}
        }
    }

    /// Backoff, bounded by the start limit.
    pub(crate) fn plan_restart(&mut self, id: UnitId, cause: FailureCause) {
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
                    if self.units[id].incident.is_none() {
                        self.trouble(id, &cause);
                    }
                    return self.give_up(id, cause);
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
