//! From up to empty: the stop command, the signal, the sweep of what is left, SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::desire::Wish;
use crate::engine::effect::{Effect, Fact, Role, SignalScope};
use crate::engine::event::ExitStatus;
use crate::engine::id::{RunId, UnitId};
use crate::engine::incident::CAPTURE_WAIT;
use crate::engine::life::Run;
use crate::engine::state::{FailureCause, StopReason, StopStage, UnitState};
use crate::engine::timers::Timer;
use crate::unit::spec::{Follow, RestartPolicy, SignalNumber};

/// After SIGKILL: what is still there then sits in uninterruptible sleep, and waiting longer helps nobody.
pub(crate) const KILL_WAIT: Duration = Duration::from_secs(5);

impl Engine {
    /// The one way in which mcsup ends a run that lives.
    pub(crate) fn begin_stop(&mut self, id: UnitId, why: StopReason) {
        let Some(run) = self.units[id].run else {
            return self.bug(Some(id), "a stop of a unit without a run");
        };
        if let StopReason::Failed(cause) = &why
            && self.units[id].incident.is_none()
        {
            self.trouble(id, cause);
        }
        self.cancel_rung(id, "its process is being ended");
        self.forget_probes(id);
        let restarts = match &why {
            StopReason::Down => false,
            StopReason::Ended(exit) => self.restarts_after(id, *exit),
            StopReason::Restart
            | StopReason::Change
            | StopReason::Follow(_)
            | StopReason::Heals(_)
            | StopReason::Failed(_) => true,
        };
        if restarts {
            self.tell_followers(id);
        }
        let is_failure = matches!(why, StopReason::Failed(_)) && self.units[id].desired.is_up();
        if is_failure && run.pid.is_some() && self.is_being_captured(id) {
            self.timers.set(Some(id), Timer::CaptureWait, self.now.mono.after(CAPTURE_WAIT));
            return self.enter(id, UnitState::Stopping { why, stage: StopStage::Capturing });
        }
        self.proceed_stop(id, why);
    }

    /// Nothing has to be kept of it any more.
    pub(crate) fn proceed_stop(&mut self, id: UnitId, why: StopReason) {
        let Some(run) = self.units[id].run else {
            return self.bug(Some(id), "a stop of a unit without a run");
        };
        self.timers.cancel(Some(id), Timer::CaptureWait);
        if run.is_watch {
            return self.end_watch(id, why);
        }
        let (grace, signal, has_command) = self.way_to_stop(id, &why);
        let is_running = run.pid.is_some();
        if grace.is_zero() {
            return self.kill(id, run.id, why);
        }
        self.timers.set(Some(id), Timer::StopGrace, self.now.mono.after(grace));
        let stage = if matches!(why, StopReason::Ended(_)) {
            self.signal(run.id, SignalNumber::TERM, SignalScope::All);
            StopStage::Sweeping
        } else if has_command && is_running {
            let helper = self.run_helper(id, Role::StopCommand { run: run.id }, grace);
            if let Some(current) = &mut self.units[id].run {
                current.stop_command = Some(helper);
            }
            StopStage::Command
        } else {
            if is_running {
                self.signal(run.id, signal, SignalScope::Main);
            }
            StopStage::Signalled // or signalled as soon as there is a process
        };
        self.enter(id, UnitState::Stopping { why, stage });
    }

    /// Grace, first signal, and whether its stop command goes before it. Whose watchdog went silent is asked
    /// for a core, not for an orderly end that it would not come to.
    pub(crate) fn way_to_stop(&self, id: UnitId, why: &StopReason) -> (Duration, SignalNumber, bool) {
        let stop = &self.spec(id).stop;
        match why {
            StopReason::Failed(FailureCause::Watchdog(_)) => (stop.grace, SignalNumber::ABRT, false),
            StopReason::Failed(_)
            | StopReason::Down
            | StopReason::Restart
            | StopReason::Change
            | StopReason::Follow(_)
            | StopReason::Heals(_)
            | StopReason::Ended(_) => (stop.grace, stop.signal, stop.command.is_some()),
        }
    }

    /// Such an end is no rest: who follows it is concerned.
    fn restarts_after(&self, id: UnitId, exit: ExitStatus) -> bool {
        !self.is_well_ended(id, exit) || self.spec(id).restart.policy == RestartPolicy::Always
    }

    /// What restarts tells the units that said they follow it.
    pub(crate) fn tell_followers(&mut self, id: UnitId) {
        if !self.units[id].desired.is_up() {
            return; // it does not restart; who requires it was told to stop
        }
        let graph = Arc::clone(&self.graph);
        for edge in graph.dependents(id) {
            if !self.units[edge.unit].is_up() || !self.units[edge.unit].desired.is_up() {
                continue;
            }
            match edge.follow {
                Follow::None => {}
                Follow::Restart => self.to_stop.push_back((edge.unit, StopReason::Follow(id))),
                Follow::Stop => {
                    if let Some(incident) = self.units[id].incident {
                        self.reaches(incident, edge.unit);
                    }
                    self.wishes.push_back(Wish::FollowDown(edge.unit));
                }
            }
        }
    }

    /// The spawn was under way when the stop began; now there is something to stop.
    pub(crate) fn stop_what_was_just_spawned(&mut self, id: UnitId, run: RunId) {
        let UnitState::Stopping { stage, .. } = self.units[id].state else { return };
        match stage {
            StopStage::Command | StopStage::Signalled => self.send_stop_signal(id, run),
            StopStage::Sweeping | StopStage::Capturing => {}
            StopStage::Killed | StopStage::Unkillable => {
                self.signal(run, SignalNumber::KILL, SignalScope::All);
            }
        }
    }

    /// The grace is what lies between this signal and SIGKILL, however late the signal comes.
    fn send_stop_signal(&mut self, id: UnitId, run: RunId) {
        let (signal, grace) = (self.spec(id).stop.signal, self.spec(id).stop.grace);
        self.signal(run, signal, SignalScope::Main);
        self.timers.set(Some(id), Timer::StopGrace, self.now.mono.after(grace));
    }

    pub(crate) fn on_stop_command_finished(&mut self, id: UnitId, run: RunId) {
        let Some(current) = self.units[id].run.as_mut().filter(|current| current.id == run) else { return };
        current.stop_command = None;
        let is_over = current.is_empty;
        if is_over {
            return self.finish(id);
        }
        let UnitState::Stopping { why, stage: StopStage::Command, .. } = self.units[id].state.clone() else {
            return; // the stop went on without it
        };
        if self.units[id].is_running() {
            self.send_stop_signal(id, run);
        }
        self.enter(id, UnitState::Stopping { why, stage: StopStage::Signalled });
    }

    pub(crate) fn on_grace_over(&mut self, id: UnitId) {
        let Some(run) = self.units[id].run else {
            return self.bug(Some(id), "a grace of a unit without a run");
        };
        match self.units[id].state.clone() {
            // Only its stop command still works, and had its time.
            UnitState::Stopping { .. } if run.is_watch => self.on_lever_too_slow(id),
            UnitState::Stopping { .. } if run.is_empty => self.finish(id),
            UnitState::Stopping { why, .. } => self.kill(id, run.id, why),
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Starting
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => self.bug(Some(id), "a grace of a unit that is not stopping"),
        }
    }

    fn kill(&mut self, id: UnitId, run: RunId, why: StopReason) {
        self.timers.cancel(Some(id), Timer::CaptureWait);
        self.timers.cancel(Some(id), Timer::StopGrace);
        self.signal(run, SignalNumber::KILL, SignalScope::All);
        self.timers.set(Some(id), Timer::KillWait, self.now.mono.after(KILL_WAIT));
        self.enter(id, UnitState::Stopping { why, stage: StopStage::Killed });
    }

    pub(crate) fn on_kill_wait_over(&mut self, id: UnitId) {
        let UnitState::Stopping { why, .. } = self.units[id].state.clone() else {
            return self.bug(Some(id), "a kill wait of a unit that is not stopping");
        };
        self.enter(id, UnitState::Stopping { why, stage: StopStage::Unkillable });
        self.facts.push(Fact::Unkillable { unit: id });
        self.trouble(id, &FailureCause::Unkillable);
    }

    /// SIGKILL for everything that lives, at once.
    pub(crate) fn kill_everything(&mut self) {
        let set = Arc::clone(&self.set);
        for id in set.ids() {
            let Some(Run { id: run, is_watch, .. }) = self.units[id].run else { continue };
            if self.is_job(id) {
                self.kill_job(id);
                continue;
            }
            if is_watch {
                self.cancel_rung(id, "everything ends");
                self.forget_probes(id);
                self.drop_watch(id);
                continue;
            }
            match self.units[id].state.clone() {
                UnitState::Stopping { stage: StopStage::Killed | StopStage::Unkillable, .. } => {}
                UnitState::Stopping { why, .. } => self.kill(id, run, why),
                UnitState::Starting | UnitState::Ready | UnitState::Unhealthy => {
                    self.cancel_rung(id, "everything is killed");
                    self.forget_probes(id);
                    self.kill(id, run, StopReason::Down);
                }
                UnitState::Inactive
                | UnitState::Waiting { .. }
                | UnitState::Backoff { .. }
                | UnitState::Failed { .. }
                | UnitState::Completed => self.bug(Some(id), "a run of a unit that rests"),
            }
        }
    }

    pub(crate) fn on_exited(&mut self, run: RunId, exit: ExitStatus, is_empty: bool) {
        let Some(id) = self.owners.runs.get(&run).copied() else {
            return self.late();
        };
        if self.is_job(id) {
            return self.on_job_exited(id, run, exit, is_empty);
        }
        let Some(current) = &mut self.units[id].run else { return self.late() };
        match current.exit {
            None => current.exit = Some(exit),
            // A keeper that took over saw the rest end, and tells the whole end.
            Some(_) if is_empty && !current.is_empty => return self.on_over(id),
            Some(_) => return self.late(),
        }
        self.units[id].last_exit = Some(exit);
        let ordinal = self.units[id].last_ordinal;
        self.facts.push(Fact::RunEnded { unit: id, ordinal, exit });
        self.touch(id);
        self.note_bad_end(id, exit);
        if is_empty {
            return self.on_over(id);
        }
        match self.units[id].state.clone() {
            UnitState::Starting | UnitState::Ready | UnitState::Unhealthy => {
                self.begin_stop(id, StopReason::Ended(exit));
            }
            UnitState::Stopping { why, stage: StopStage::Capturing } => {
                self.timers.cancel(Some(id), Timer::CaptureWait);
                let grace = self.spec(id).stop.grace;
                if grace.is_zero() {
                    return self.kill(id, run, why);
                }
                self.timers.set(Some(id), Timer::StopGrace, self.now.mono.after(grace));
                self.signal(run, SignalNumber::TERM, SignalScope::All);
                self.enter(id, UnitState::Stopping { why, stage: StopStage::Sweeping });
            }
            UnitState::Stopping { why, stage: StopStage::Command | StopStage::Signalled } => {
                self.signal(run, SignalNumber::TERM, SignalScope::All);
                self.enter(id, UnitState::Stopping { why, stage: StopStage::Sweeping });
            }
            UnitState::Stopping {
                stage: StopStage::Sweeping | StopStage::Killed | StopStage::Unkillable,
                ..
            } => {} // its deadline is already set
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => self.bug(Some(id), "an exit of a unit without a run"),
        }
    }

    /// An end by itself that is a failure: its evidence goes before the sweep and the release.
    fn note_bad_end(&mut self, id: UnitId, exit: ExitStatus) {
        let is_its_own = self.units[id].is_up();
        if is_its_own && self.units[id].desired.is_up() && !self.is_well_ended(id, exit) {
            let was_ready = self.units[id].run.is_some_and(|run| run.was_ready);
            let cause = self.cause_of_end(id, exit, was_ready);
            self.trouble(id, &cause);
        }
    }

    pub(crate) fn on_emptied(&mut self, run: RunId) {
        let Some(id) = self.owners.runs.get(&run).copied() else {
            return self.late();
        };
        if self.is_job(id) {
            return self.on_job_emptied(id, run);
        }
        if self.units[id].run.as_ref().is_none_or(|current| current.exit.is_none() || current.is_empty) {
            return self.late(); // its leader's exit comes first
        }
        self.on_over(id);
    }

    /// Nothing of the run is left. Its stop command may still work on it, and must not meet the next run.
    fn on_over(&mut self, id: UnitId) {
        match &mut self.units[id].run {
            Some(run) if run.stop_command.is_some() => {
                run.is_empty = true;
                self.timers.cancel(Some(id), Timer::KillWait);
                let grace = self.spec(id).stop.grace;
                if self.timers.at(Some(id), Timer::StopGrace).is_none() {
                    self.timers.set(Some(id), Timer::StopGrace, self.now.mono.after(grace));
                }
                self.touch(id);
            }
            Some(_) | None => self.finish(id),
        }
    }

    /// What comes next.
    pub(crate) fn finish(&mut self, id: UnitId) {
        let Some(run) = self.units[id].run else {
            return self.bug(Some(id), "the end of a unit without a run");
        };
        let exit = run.exit.unwrap_or(ExitStatus::Unknown);
        if run.was_ready && self.now.mono.since(run.ordered_at) >= self.spec(id).restart.reset_after {
            self.units[id].attempt = 0; // so earlier failures say nothing about the next one
        }
        match self.units[id].state.clone() {
            UnitState::Starting | UnitState::Ready | UnitState::Unhealthy => {
                self.cancel_rung(id, "its process ended");
                self.drop_run(id);
                if self.restarts_after(id, exit) {
                    self.tell_followers(id);
                }
                self.ended(id, exit, run.was_ready);
            }
            UnitState::Stopping { why: StopReason::Ended(_), .. } => {
                self.drop_run(id);
                self.ended(id, exit, run.was_ready);
            }
            UnitState::Stopping { why, .. } => {
                self.drop_run(id);
                self.after_stop(id, why);
            }
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => self.bug(Some(id), "the end of a run of a unit that rests"),
        }
    }

    /// The run is empty, or never came to be.
    pub(crate) fn drop_run(&mut self, id: UnitId) {
        self.forget_probes(id);
        self.units[id].told = None;
        if let Some(run) = self.units[id].run.take() {
            self.owners.runs.remove(&run.id);
            if let Some(helper) = run.stop_command.or(run.start_lever) {
                self.owners.helpers.remove(&helper); // given up
            }
            self.release(run.id, run.is_watch);
        }
        self.touch(id);
    }

    /// A run that mcsup itself ended is over.
    pub(crate) fn after_stop(&mut self, id: UnitId, why: StopReason) {
        match why {
            StopReason::Failed(cause) => self.failed(id, cause),
            StopReason::Ended(exit) => self.failed(id, FailureCause::Exited(exit)),
            StopReason::Down | StopReason::Restart | StopReason::Change | StopReason::Follow(_) => {
                self.units[id].has_passed = false; // it was cut short
                self.called.push(id);
            }
            StopReason::Heals(_) => {
                self.units[id].has_passed = false;
                self.units[id].starts.push(self.now.mono); // nobody asked for it: it counts
                self.called.push(id);
            }
        }
    }

    pub(crate) fn signal(&mut self, run: RunId, signal: SignalNumber, scope: SignalScope) {
        self.actions.push(Effect::Signal { run, signal, scope });
    }
}
