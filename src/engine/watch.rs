//! What has no process of ours: a run of it is a watch. Probes say how it is; an external unit's levers are
//! all that can be done about it, and a gate has none.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::{Effect, Fact, Lever, Role};
use crate::engine::event::{HelperOutcome, UnitNote};
use crate::engine::id::{HelperId, RunId, UnitId};
use crate::engine::life::Run;
use crate::engine::state::{
    Desired, DownSource, FailureCause, Health, NotedState, StopReason, StopStage, UnitState,
};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::spec::UnitKind;

/// For a lever of a unit without a `start_timeout`.
const LEVER_TIMEOUT: Duration = Duration::from_secs(90);
/// A grace of zero is about signals; a stop that never has time to work stops nothing.
const LEAST_GRACE: Duration = Duration::from_secs(1);

impl Engine {
    pub(crate) fn is_watch(&self, id: UnitId) -> bool {
        !self.spec(id).kind.has_process()
    }

    /// The watch begins: probes look at once, and what works is left alone. Only what was stopped on the way
    /// here, by us, is known to need its lever.
    pub(crate) fn begin_watch(&mut self, id: UnitId) {
        let after_lever = self.units[id].after_lever.take();
        self.units[id].remark = None;
        if self.is_job(id) {
            return self.arm(id);
        }
        self.start_probing(id);
        match after_lever {
            Some(Lever::Stop) => self.pull_start(id),
            Some(Lever::Restart) => {
                if let Some(run) = &mut self.units[id].run {
                    run.was_pulled = true; // the lever has started it as well
                }
            }
            Some(Lever::Start) | None => {}
        }
        self.wake_neighbours(id);
    }

    /// It does not work and was not started: once in each start, its lever is pulled.
    pub(crate) fn pull_start(&mut self, id: UnitId) {
        let is_starting = self.units[id].state == UnitState::Starting && self.units[id].desired.is_up();
        let spec = self.spec(id);
        let has_lever = spec.kind == UnitKind::External && spec.levers.start.is_some();
        let timeout = spec.start_timeout.unwrap_or(LEVER_TIMEOUT);
        let was_pulled = self.units[id].run.as_ref().is_none_or(|run| run.was_pulled);
        if !is_starting || !has_lever || was_pulled {
            return;
        }
        let helper = self.run_helper(id, Role::Lever(Lever::Start), timeout);
        let now = self.now.mono;
        if let Some(run) = &mut self.units[id].run {
            run.was_pulled = true;
            run.start_lever = Some(helper);
            run.period_from = now;
        }
    }

    /// Probes begin before the lever of a watch: what fails before it says nothing about what it starts.
    pub(crate) fn pull_start_if_failing(&mut self, id: UnitId) {
        if self.is_watch(id) && self.units[id].health == Health::Failing {
            self.pull_start(id);
        }
    }

    pub(crate) fn on_lever_finished(
        &mut self,
        id: UnitId,
        helper: HelperId,
        lever: Lever,
        outcome: HelperOutcome,
        said: &str,
    ) {
        let Some(run) = &mut self.units[id].run else { return };
        if run.start_lever == Some(helper) {
            run.start_lever = None;
        }
        let ends_watch = run.stop_command == Some(helper);
        if ends_watch {
            run.stop_command = None;
        }
        if !outcome.is_success() {
            self.units[id].remark = Some(lever_words(lever, outcome, said).into());
        }
        if ends_watch {
            self.note_what_ended_it(id, lever, outcome.is_success());
            self.finish(id);
        }
    }

    /// A lever that ended a watch is remembered up to the next one, unless the unit rests between them.
    fn note_what_ended_it(&mut self, id: UnitId, lever: Lever, is_done: bool) {
        let goes_on = match &self.units[id].state {
            UnitState::Stopping { why, .. } => *why != StopReason::Down && self.units[id].desired.is_up(),
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Starting
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => false,
        };
        self.units[id].after_lever = Some(lever).filter(|_| goes_on && is_done);
    }

    /// Which lever ends the watch. Only people stop what is not ours: a shutdown of mcsup leaves it as it is, so does
    /// a change after which nobody watches it, and so does a start that took too long, as nothing came of it.
    fn lever_to_end(&self, id: UnitId, why: &StopReason) -> Option<Lever> {
        let spec = self.spec(id);
        let is_left_alone = match self.units[id].desired {
            Desired::Down(DownSource::Shutdown | DownSource::Removed | DownSource::Disabled) => true,
            Desired::Down(DownSource::Operator | DownSource::Dependency | DownSource::Conflict)
            | Desired::Up(_) => false,
        };
        if spec.kind != UnitKind::External || is_left_alone {
            return None;
        }
        let stop = spec.stop.command.is_some().then_some(Lever::Stop);
        let restart = spec.levers.restart.is_some().then_some(Lever::Restart);
        match why {
            StopReason::Down => stop,
            StopReason::Restart | StopReason::Change | StopReason::Follow(_) | StopReason::Heals(_) => {
                restart.or(stop)
            }
            StopReason::Failed(cause) => match cause {
                FailureCause::Unhealthy(_) => restart.or(stop),
                FailureCause::RungStopped(_) => stop,
                FailureCause::CannotProbe(_)
                | FailureCause::Unkillable
                | FailureCause::StartTimeout(_)
                | FailureCause::Watchdog(_)
                | FailureCause::SpawnFailed(_)
                | FailureCause::ExitedEarly(_)
                | FailureCause::ExitedSilent(_)
                | FailureCause::Exited(_)
                | FailureCause::Job(_)
                | FailureCause::StartLimit { .. } => None,
            },
            StopReason::Ended(_) => None,
        }
    }

    /// Ends a watch: by its lever, or at once where it has none.
    pub(crate) fn end_watch(&mut self, id: UnitId, why: StopReason) {
        if self.is_job(id) {
            return self.disarm(id, why);
        }
        if let Some(helper) = self.units[id].run.as_mut().and_then(|run| run.start_lever.take()) {
            self.cancel_helper(helper);
        }
        let Some(lever) = self.lever_to_end(id, &why) else {
            self.enter(id, UnitState::Stopping { why, stage: StopStage::Signalled });
            return self.finish(id);
        };
        let timeout = self.spec(id).stop.grace.max(LEAST_GRACE);
        self.enter(id, UnitState::Stopping { why, stage: StopStage::Command });
        self.pull_to_end(id, lever, timeout);
    }

    fn pull_to_end(&mut self, id: UnitId, lever: Lever, timeout: Duration) {
        self.timers.set(Some(id), Timer::StopGrace, self.now.mono.after(timeout));
        let helper = self.run_helper(id, Role::Lever(lever), timeout);
        if let Some(run) = &mut self.units[id].run {
            run.stop_command = Some(helper);
        }
    }

    /// Over now, whatever its lever does: everything is to end at once, or the lever had its time.
    pub(crate) fn drop_watch(&mut self, id: UnitId) {
        let levers = self.units[id].run.as_mut().map(|run| (run.start_lever.take(), run.stop_command.take()));
        let (start, stop) = levers.unwrap_or_default();
        for helper in start.into_iter().chain(stop) {
            self.cancel_helper(helper);
        }
        if self.units[id].is_up() {
            self.enter(id, UnitState::Stopping { why: StopReason::Down, stage: StopStage::Signalled });
        }
        self.finish(id);
    }

    /// A stop lever that did not end in time.
    pub(crate) fn on_lever_too_slow(&mut self, id: UnitId) {
        self.units[id].remark = Some("its stop command did not end in time".into());
        self.drop_watch(id);
    }

    /// No keeper knows of a watch: it goes on from its note, with the same number and without a lever.
    /// Whether the last one was pulled nobody knows, so that a stop pulls it again: twice is harmless, never
    /// is not.
    pub(crate) fn resume_watch(&mut self, id: UnitId, note: &UnitNote) {
        let spec = self.spec(id);
        let Some(last_run) = note.last_run.filter(|_| !spec.kind.has_process()) else { return };
        let (kind, start_timeout) = (spec.kind, spec.start_timeout);
        let mut run = Run::new(last_run, note.last_ordinal, note.since, kind);
        let state = match &note.life {
            NotedState::Starting => UnitState::Starting,
            NotedState::Ready | NotedState::Unhealthy => {
                run.was_ready = true;
                run.start_period_over = true;
                if note.life == NotedState::Ready { UnitState::Ready } else { UnitState::Unhealthy }
            }
            NotedState::Stopping { why, .. } => {
                UnitState::Stopping { why: why.clone(), stage: StopStage::Command }
            }
            NotedState::Inactive
            | NotedState::Backoff { .. }
            | NotedState::Failed { .. }
            | NotedState::Completed => return,
        };
        run.was_pulled = run.was_ready;
        self.units[id].run = Some(run);
        self.units[id].state = state;
        if kind == UnitKind::Job {
            self.watch_it_settle(id);
            return self.resume_job(id);
        }
        self.facts.push(Fact::Adopted { unit: id, ordinal: note.last_ordinal });
        match &note.life {
            NotedState::Stopping { why, deadline, .. } => self.resume_end(id, why, *deadline),
            NotedState::Starting => {
                if let Some(timeout) = start_timeout {
                    let at = self.resumed_start_deadline(id, note.since, timeout);
                    self.timers.set(Some(id), Timer::StartTimeout, at);
                }
                self.start_probing(id);
            }
            NotedState::Ready
            | NotedState::Unhealthy
            | NotedState::Inactive
            | NotedState::Backoff { .. }
            | NotedState::Failed { .. }
            | NotedState::Completed => {
                self.watch_it_settle(id);
                self.start_probing(id);
            }
        }
    }

    fn resume_end(&mut self, id: UnitId, why: &StopReason, deadline: Timestamp) {
        match self.lever_to_end(id, why) {
            Some(lever) => {
                let left = deadline.since(self.now.mono).max(LEAST_GRACE);
                self.pull_to_end(id, lever, left);
            }
            None => self.finish(id),
        }
    }

    /// `start_timeout` of a gate: it is told, and the gate goes on looking; it opens by itself.
    pub(crate) fn on_gate_overdue(&mut self, id: UnitId) {
        if let Some(run) = &mut self.units[id].run {
            run.is_overdue = true;
        }
        let cause = FailureCause::StartTimeout(self.probe_words(id));
        self.trouble(id, &cause);
        self.mark(id);
    }

    /// Whether a start may settle for a person although the unit goes on trying.
    pub(crate) fn is_overdue(&self, id: UnitId) -> bool {
        self.units[id].run.as_ref().is_some_and(|run| run.is_overdue)
    }

    /// Release means the keeper's table, which has no row of a watch.
    pub(crate) fn release(&mut self, run: RunId, is_watch: bool) {
        if !is_watch {
            self.actions.push(Effect::Release { run });
        }
    }

    /// What a stop of it means, where it is more or less than people expect.
    pub(crate) fn how_it_is_left(&self, id: UnitId) -> Option<&'static str> {
        let spec = self.spec(id);
        match (spec.kind, self.units[id].desired) {
            (UnitKind::Service | UnitKind::Task | UnitKind::Job | UnitKind::Gate, _) => None,
            (UnitKind::External, Desired::Down(DownSource::Shutdown)) => {
                Some("no longer watched, and left as it is")
            }
            (UnitKind::External, Desired::Up(_) | Desired::Down(_)) if spec.stop.command.is_none() => {
                Some("no longer watched; it has no stop command")
            }
            (UnitKind::External, Desired::Up(_) | Desired::Down(_)) => None,
        }
    }
}

fn lever_words(lever: Lever, outcome: HelperOutcome, said: &str) -> String {
    let command = match lever {
        Lever::Start => "start",
        Lever::Stop => "stop",
        Lever::Restart => "restart",
    };
    let said = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    match said {
        Some(line) => format!("its {command} command {outcome}: {line}"),
        None => format!("its {command} command {outcome}"),
    }
}
