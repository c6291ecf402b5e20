//! From wanted to ready: what a start waits for, the spawn, and what its answer makes of the unit.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::Effect;
use crate::engine::event::SpawnFailure;
use crate::engine::health::LOOK_AGAIN;
use crate::engine::id::{RunId, UnitId};
use crate::engine::life::Run;
use crate::engine::ready::{Readiness, Sign};
use crate::engine::state::{FailureCause, Health, StateName, StopReason, UnitState, WaitingOn};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::spec::{Condition, Dependency, Ready, UnitKind};

impl Engine {
    /// A unit that is wanted and rests: spawn it, or say what it waits for.
    pub(crate) fn begin(&mut self, id: UnitId) {
        let after = self.units[id].state.automatic_after().cloned();
        self.begin_after(id, after);
    }

    /// `after`: the end that makes this start an automatic one.
    pub(crate) fn begin_after(&mut self, id: UnitId, after: Option<FailureCause>) {
        let Some(on) = self.blocker(id, after.is_some()) else { return self.spawn(id, after.is_some()) };
        let is_hopeless = match &on {
            WaitingOn::Dependency(other) => self.is_hopeless(*other),
            WaitingOn::Barrier => self.boot.is_stuck(),
            WaitingOn::Conflict(_) | WaitingOn::Connection | WaitingOn::Change => false,
        };
        let needed = on.dependency();
        let waiting = UnitState::Waiting { on, is_hopeless, after };
        if self.units[id].state != waiting {
            self.enter(id, waiting);
        }
        if let Some(needed) = needed {
            self.wake_lazy(needed);
        }
    }

    /// The first thing that is missing: the barrier, somebody who wants a lazy unit, a conflict, then
    /// dependencies in the order written. A crash is no rest: `is_automatic` starts wait for no connection.
    fn blocker(&self, id: UnitId, is_automatic: bool) -> Option<WaitingOn> {
        let spec = self.spec(id);
        if self.is_held_by_change(id) {
            return Some(WaitingOn::Change);
        }
        if spec.phase.0 >= self.boot.open_phases {
            return Some(WaitingOn::Barrier);
        }
        if !is_automatic && self.waits_for_connection(id) {
            return Some(WaitingOn::Connection);
        }
        let conflict = self.graph.conflicts_of(id).iter().find(|other| self.units[**other].is_live());
        if let Some(other) = conflict {
            return Some(WaitingOn::Conflict(*other));
        }
        if spec.kind == UnitKind::Job {
            return None; // its runs wait, and say for what
        }
        spec.depends_on
            .iter()
            .find(|edge| !self.is_met(edge) && (edge.required || self.can_still_come(edge)))
            .map(|edge| WaitingOn::Dependency(edge.unit))
    }

    /// A watch is `started` once its probes passed: before that nobody knows whether anything runs there.
    pub(crate) fn is_met(&self, edge: &Dependency) -> bool {
        let target = &self.units[edge.unit];
        match edge.condition {
            // It is about to stop: nothing new builds on it.
            Condition::Started | Condition::Healthy if !target.desired.is_up() => false,
            // It listens: who connects starts it, and is served.
            Condition::Started | Condition::Healthy if self.rests_for_connection(edge.unit) => true,
            Condition::Started => match target.state {
                UnitState::Ready | UnitState::Unhealthy => true,
                UnitState::Starting => target.is_running(),
                UnitState::Completed => true,
                UnitState::Inactive
                | UnitState::Waiting { .. }
                | UnitState::Stopping { .. }
                | UnitState::Backoff { .. }
                | UnitState::Failed { .. } => false,
            },
            // Where there is nothing to ask, its word that it is ready is all that can be known.
            Condition::Healthy => {
                target.state.name() == StateName::Ready
                    && (target.probes.is_empty() || target.health == Health::Passing)
            }
            Condition::Completed => target.has_passed,
        }
    }

    /// Whether an unmet dependency that is not required is worth waiting for: it is on its way, and has
    /// not failed yet. One that failed once may go on trying without holding anybody.
    pub(crate) fn can_still_come(&self, edge: &Dependency) -> bool {
        let target = &self.units[edge.unit];
        target.desired.is_up()
            && match target.state {
                UnitState::Inactive => true,
                // Nothing but a connection, or who requires its end, makes it come.
                UnitState::Waiting { on: WaitingOn::Connection, .. } => false,
                UnitState::Waiting { is_hopeless, .. } => !is_hopeless,
                UnitState::Starting | UnitState::Ready => target.attempt == 0,
                UnitState::Stopping { .. }
                | UnitState::Unhealthy
                | UnitState::Backoff { .. }
                | UnitState::Failed { .. }
                | UnitState::Completed => false,
            }
    }

    /// It will not come by itself: it gave up, is down, or waits for such a one.
    pub(crate) fn is_hopeless(&self, id: UnitId) -> bool {
        let unit = &self.units[id];
        match unit.state {
            UnitState::Failed { .. } | UnitState::Completed => true,
            UnitState::Inactive => !unit.desired.is_up(),
            UnitState::Waiting { is_hopeless, .. } => is_hopeless,
            UnitState::Starting
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Stopping { .. }
            | UnitState::Backoff { .. } => false,
        }
    }

    /// Follows `waiting on` to the unit where it ends.
    pub(crate) fn end_of_chain(&self, id: UnitId) -> UnitId {
        let mut at = id;
        for _ in 0..self.units.0.len() {
            self.visit();
            let Some(next) = self.units[at].state.dependency_waited_for() else { break };
            at = next;
        }
        at
    }

    fn spawn(&mut self, id: UnitId, is_automatic: bool) {
        let now = self.now.mono;
        let run = RunId(self.next_run);
        self.next_run += 1;
        let spec = self.spec(id);
        let (kind, is_log) = (spec.kind, matches!(spec.ready, Ready::Log(_)));
        let start_timeout = spec.start_timeout.filter(|_| Readiness::of(spec).takes_time());
        let unit = &mut self.units[id];
        if is_automatic {
            unit.starts.push(now);
        }
        if unit.last_ordinal > 0 {
            unit.restarts = unit.restarts.saturating_add(1);
        }
        if kind != UnitKind::Job {
            unit.last_ordinal = unit.last_ordinal.saturating_add(1); // a job counts its runs
        }
        unit.last_run = Some(run);
        let ordinal = unit.last_ordinal;
        unit.run = Some(Run::new(run, ordinal, now, kind));
        unit.is_called = false;
        if let Some(timeout) = start_timeout {
            self.timers.set(Some(id), Timer::StartTimeout, now.after(timeout));
        }
        self.enter(id, UnitState::Starting);
        if !kind.has_process() {
            return self.begin_watch(id);
        }
        self.owners.runs.insert(run, id);
        self.actions.push(Effect::Spawn { run, unit: id, ordinal });
        if is_log {
            self.actions.push(Effect::WatchReadyLine { run, unit: id });
        }
    }

    pub(crate) fn on_spawned(&mut self, run: RunId, pid: u32) {
        let Some(id) = self.owners.runs.get(&run).copied() else {
            return self.late();
        };
        if self.is_job(id) {
            return self.on_job_spawned(id, run, pid);
        }
        if self.units[id].run.as_ref().is_none_or(|current| current.pid.is_some() || current.exit.is_some()) {
            return self.late();
        }
        if let Some(current) = &mut self.units[id].run {
            current.pid = Some(pid);
        }
        match self.units[id].state {
            UnitState::Starting => {
                self.on_ready_sign(id, Sign::Exec);
                self.on_signs_before_exec(id);
                if !self.readiness(id).is_told() {
                    self.start_probing(id);
                }
                self.wake_neighbours(id);
            }
            UnitState::Stopping { .. } => self.stop_what_was_just_spawned(id, run),
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => self.bug(Some(id), "a spawn that nobody ordered"),
        }
    }

    pub(crate) fn on_failed_to_spawn(&mut self, run: RunId, failure: SpawnFailure) {
        let Some(id) = self.owners.runs.get(&run).copied() else {
            return self.late();
        };
        if self.is_job(id) {
            return self.on_job_failed_to_spawn(id, run, &failure);
        }
        match self.units[id].state.clone() {
            UnitState::Starting => {
                let cause = FailureCause::SpawnFailed(failure);
                if self.units[id].desired.is_up() {
                    self.trouble(id, &cause);
                }
                self.drop_run(id);
                self.failed(id, cause);
            }
            UnitState::Stopping { why, .. } => {
                self.drop_run(id);
                self.after_stop(id, why);
            }
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => self.bug(Some(id), "a failed spawn that nobody ordered"),
        }
    }

    pub(crate) fn on_start_timeout(&mut self, id: UnitId) {
        match self.units[id].state {
            // It waits for its dependents to stop, and is about to stop itself.
            UnitState::Starting if !self.units[id].desired.is_up() => {}
            UnitState::Starting if self.spec(id).kind == UnitKind::Gate => self.on_gate_overdue(id),
            UnitState::Starting if self.readiness(id) == Readiness::Probes && self.cannot_be_asked(id) => {
                self.on_start_unasked(id);
            }
            UnitState::Starting => {
                let has_probes = !self.units[id].probes.is_empty();
                let words = if has_probes { self.probe_words(id) } else { "".into() };
                let cause = FailureCause::StartTimeout(words);
                self.trouble(id, &cause);
                self.begin_stop(id, StopReason::Failed(cause));
            }
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Stopping { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => self.bug(Some(id), "a start timeout of a unit that is not starting"),
        }
    }

    /// Its time is over, and nobody knows whether it is ready: it is left alone until it can be asked.
    fn on_start_unasked(&mut self, id: UnitId) {
        if let Some(run) = &mut self.units[id].run {
            run.is_overdue = true;
        }
        if self.units[id].incident.is_none() {
            let cause = FailureCause::CannotProbe(self.probe_words(id));
            self.trouble(id, &cause);
        }
        self.mark(id);
    }

    /// When the start of a run that an earlier supervisor began has taken too long. Nobody asked it meanwhile.
    pub(crate) fn resumed_start_deadline(
        &self,
        id: UnitId,
        began: Timestamp,
        timeout: Duration,
    ) -> Timestamp {
        let deadline = began.after(timeout);
        if self.readiness(id) == Readiness::Probes {
            deadline.max(self.now.mono.after(LOOK_AGAIN))
        } else {
            deadline
        }
    }
}
