//! The first event: a fresh boot, or the continuation of what an earlier supervisor did.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::change::Stage;
use crate::engine::desire::Wish;
use crate::engine::effect::{Effect, Fact, SignalScope};
use crate::engine::event::{
    BootNote, ExitStatus, HandedChange, HandedCondition, HandedRun, Handover, UnitNote,
};
use crate::engine::id::UnitId;
use crate::engine::incident::CAPTURE_WAIT;
use crate::engine::life::Run;
use crate::engine::ready::Readiness;
use crate::engine::state::{
    Desired, DownSource, FailureCause, NotedState, StopReason, StopStage, UnitState, UpSource,
};
use crate::engine::stop::KILL_WAIT;
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::name::UnitName;
use crate::unit::spec::{Follow, Ready, SignalNumber};

/// Between a stop signal that is sent again and SIGKILL, at least.
const MOMENT: Duration = Duration::from_secs(1);

impl Engine {
    pub(crate) fn on_keeper_connected(&mut self, handover: Handover) {
        if self.boot.has_begun {
            return self.late(); // the supervisor moves its runs to a new keeper by itself
        }
        self.boot.has_begun = true;
        let Handover { runs, first_run, last_incident, mut notes, jobs, change } = handover;
        self.has_unseen_ends = change.is_some();
        let highest = runs.iter().map(|run| run.run.0);
        let of_job = |note: &UnitNote| note.job.as_ref().and_then(|job| job.last_run);
        let noted = notes.units.values().filter_map(|note| Some(note.last_run.max(of_job(note))?.0));
        let highest_known = highest.chain(noted).max().unwrap_or(0);
        self.next_run = first_run.max(highest_known.saturating_add(1));
        if let Some(note) = notes.boot.take() {
            self.restore_boot(&note);
        }
        self.last_incident = self.last_incident.max(last_incident);
        self.remember_past(jobs);
        let set = Arc::clone(&self.set);
        for (id, spec) in set.ids().zip(&set.units) {
            match notes.units.remove(&spec.name) {
                Some(note) => self.restore_unit(id, note),
                None => {
                    self.units[id].since = self.now.mono;
                    if spec.enabled {
                        self.wishes.push_back(Wish::Up(id, UpSource::Boot));
                    }
                }
            }
            self.mark(id);
        }
        self.restore_incidents(notes.incidents);
        let late = self.adopt(runs);
        for id in set.ids() {
            self.settle_without_run(id);
            self.recount(id);
        }
        for id in set.ids() {
            self.resume_ladder(id);
        }
        self.finish_half_noted_wishes();
        if self.boot.shutdown.is_some() {
            self.wish_everything_down();
        }
        // What is new by it starts nothing that a person stopped.
        self.is_turned_by_change = change.is_some();
        self.propagate();
        self.is_turned_by_change = false;
        let ended: Vec<(UnitName, Timestamp)> =
            late.iter().map(|run| (run.unit.clone(), run.spawned_at)).collect();
        for run in late {
            self.tell(run);
        }
        self.has_unseen_ends = false;
        match change {
            Some(change) => self.go_on_with_change(*change, &ended),
            None => self.noted_change = notes.change.map(|note| *note),
        }
    }

    /// When everything that ended meanwhile is accounted for.
    fn go_on_with_change(&mut self, change: HandedChange, ended: &[(UnitName, Timestamp)]) {
        self.resume_change(change);
        self.forgive_earlier_definitions(ended);
        if self.boot.shutdown.is_some() {
            self.interrupt_change(); // its end was not told
        }
        self.decide_unseen_ends();
        self.propagate();
        // What has ended may be all that it waited for: nothing starts under definitions that go.
        if self.change().is_some_and(|(_, stage)| stage == Stage::Stopping) {
            self.move_change();
        }
    }

    fn restore_boot(&mut self, note: &BootNote) {
        // The note may be of definitions with other phases, when the supervisor was lost in the middle of a change.
        let count = u16::try_from(self.set.phases.len()).unwrap_or(u16::MAX);
        self.boot.open_phases = if note.is_booted { count } else { note.open_phases.min(count) };
        self.boot.is_booted = note.is_booted;
        self.boot.waiting_since = note.waiting_since;
        self.boot.shutdown = note.shutdown;
        self.boot.incident = note.incident;
        self.change_incident = note.change_incident;
        self.last_incident = note.last_incident;
        match note.shutdown {
            Some(shutdown) => {
                let at = shutdown.since.after(self.set.shutdown_timeout);
                self.timers.set(None, Timer::ShutdownTimeout, at);
            }
            None if !note.is_booted && note.open_phases > 0 && note.incident.is_none() => {
                let at = note.waiting_since.after(self.set.boot_timeout);
                self.timers.set(None, Timer::BootTimeout, at);
            }
            None => {}
        }
    }

    /// Everything but the state, which needs the run: `adopt` and `settle_without_run` give it.
    fn restore_unit(&mut self, id: UnitId, note: UnitNote) {
        let is_shutdown = self.boot.shutdown.is_some();
        let unit = &mut self.units[id];
        // The shutdown may have been noted and no unit of it: what goes on below must know.
        unit.desired = if is_shutdown { Desired::Down(DownSource::Shutdown) } else { note.desired };
        unit.since = note.since;
        unit.attempt = note.attempt;
        unit.starts.clone_from(&note.starts);
        unit.restarts = note.restarts;
        unit.last_run = note.last_run;
        unit.last_ordinal = note.last_ordinal;
        unit.last_exit = note.last_exit;
        unit.has_passed = note.has_passed;
        unit.incident = note.incident;
        unit.leaves_dependents = note.leaves_dependents;
        if let Some(job) = note.job.as_deref().filter(|_| self.is_job(id)) {
            self.restore_job(id, job);
        }
        self.units[id].noted = Some(Box::new(note));
    }

    /// Gives every live run back to its unit; what ended meanwhile is returned, to be told as news.
    fn adopt(&mut self, runs: Vec<HandedRun>) -> Vec<HandedRun> {
        let mut news = Vec::new();
        for handed in runs {
            // Also of one that is about to go by a change.
            let Some(id) = self.set.slot(handed.unit.as_str()) else {
                let what = format!(
                    "{}#{} belongs to no unit any more; it is left alone",
                    handed.unit, handed.ordinal
                );
                self.facts.push(Fact::BugFound { unit: None, what: what.into() });
                continue;
            };
            if self.is_job(id) {
                if self.adopt_job_run(id, &handed) {
                    news.push(handed);
                }
                continue;
            }
            if self.was_accounted_for(id, &handed) {
                self.capture_again(id, &handed);
                self.actions.push(Effect::Release { run: handed.run });
                continue;
            }
            let is_news = self.adopt_run(id, &handed);
            if is_news {
                news.push(handed);
            }
        }
        news
    }

    /// It is over, and the unit's note was written after its end: only its release was lost.
    fn was_accounted_for(&self, id: UnitId, handed: &HandedRun) -> bool {
        let is_over = match handed.condition {
            HandedCondition::Exited { is_empty, .. } => is_empty,
            HandedCondition::FailedToSpawn(_) => true,
            HandedCondition::Spawning | HandedCondition::Live { .. } => false,
        };
        let Some(note) = self.units[id].noted.as_deref().filter(|_| is_over) else { return false };
        let rests = match note.life {
            NotedState::Inactive
            | NotedState::Backoff { .. }
            | NotedState::Failed { .. }
            | NotedState::Completed => true,
            NotedState::Starting
            | NotedState::Ready
            | NotedState::Unhealthy
            | NotedState::Stopping { .. } => false,
        };
        note.last_run.is_some_and(|last| handed.run < last || (handed.run == last && rests))
    }

    /// The end was noted first; its evidence may not have been ordered.
    fn capture_an_end_again(&mut self, id: UnitId, why: &StopReason) {
        if let StopReason::Ended(exit) = why
            && !self.is_well_ended(id, *exit)
        {
            let was_ready = self.units[id].run.is_some_and(|run| run.was_ready);
            let cause = self.cause_of_end(id, *exit, was_ready);
            self.capture(id, &cause);
        }
    }

    /// What was noted came first; whether the evidence was ordered then is not known, and it must be kept
    /// before the release. Where the next start was noted already, the end itself says what it was.
    fn capture_again(&mut self, id: UnitId, handed: &HandedRun) {
        let last = self.units[id].last_run;
        let cause = match self.units[id].noted.as_deref().map(|note| &note.life) {
            Some(NotedState::Backoff { after: cause, .. } | NotedState::Failed { cause })
                if last == Some(handed.run) =>
            {
                Some(cause.clone())
            }
            Some(
                NotedState::Backoff { .. }
                | NotedState::Failed { .. }
                | NotedState::Inactive
                | NotedState::Starting
                | NotedState::Ready
                | NotedState::Unhealthy
                | NotedState::Stopping { .. }
                | NotedState::Completed,
            )
            | None => self.cause_of_handed(id, handed),
        };
        if let Some(cause) = cause {
            self.capture_of(id, Some(handed.run), &cause);
        }
    }

    fn cause_of_handed(&self, id: UnitId, handed: &HandedRun) -> Option<FailureCause> {
        match &handed.condition {
            HandedCondition::FailedToSpawn(failure) => Some(FailureCause::SpawnFailed(failure.clone())),
            HandedCondition::Exited { exit, .. } if !self.is_well_ended(id, *exit) => {
                Some(FailureCause::Exited(*exit))
            }
            HandedCondition::Exited { .. } | HandedCondition::Spawning | HandedCondition::Live { .. } => None,
        }
    }

    /// True when something happened to the run that the unit does not know yet.
    fn adopt_run(&mut self, id: UnitId, handed: &HandedRun) -> bool {
        let note = self.units[id].noted.as_deref().map(|note| note.life.clone());
        let pid = match handed.condition {
            HandedCondition::Live { pid } => Some(pid),
            HandedCondition::Spawning => None,
            HandedCondition::FailedToSpawn(_) | HandedCondition::Exited { .. } => None,
        };
        let was_ready = matches!(note, Some(NotedState::Ready | NotedState::Unhealthy));
        let is_ending = self.units[id]
            .noted
            .as_deref()
            .is_some_and(|note| note.is_ending && note.last_run == Some(handed.run));
        let kind = self.spec(id).kind;
        let unit = &mut self.units[id];
        unit.last_run = Some(handed.run);
        unit.last_ordinal = unit.last_ordinal.max(handed.ordinal);
        let mut run = Run::new(handed.run, handed.ordinal, handed.spawned_at, kind);
        run.pid = pid;
        run.was_ready = was_ready;
        run.start_period_over = was_ready;
        run.has_shown_ready = handed.is_ready_shown;
        run.is_ending = is_ending;
        unit.run = Some(run);
        self.owners.runs.insert(handed.run, id);
        let state = self.adopted_state(id, handed, note);
        self.units[id].state = state;
        self.facts.push(Fact::Adopted { unit: id, ordinal: handed.ordinal });
        self.watch_it_settle(id);
        if pid.is_some() && self.units[id].is_up() {
            self.resume_run(id);
        }
        let is_over =
            matches!(handed.condition, HandedCondition::Exited { .. } | HandedCondition::FailedToSpawn(_));
        if !is_over
            && self.units[id].state == UnitState::Starting
            && matches!(self.spec(id).ready, Ready::Log(_))
        {
            self.actions.push(Effect::WatchReadyLine { run: handed.run, unit: id });
        }
        match handed.condition {
            HandedCondition::Live { .. } | HandedCondition::Spawning => false,
            HandedCondition::FailedToSpawn(_) | HandedCondition::Exited { .. } => true,
        }
    }

    /// Probes and the watchdog went with the supervisor that had them.
    fn resume_run(&mut self, id: UnitId) {
        let is_starting = self.units[id].state == UnitState::Starting;
        if !is_starting {
            self.wind_watchdog(id);
        }
        if !is_starting && self.units[id].run.is_some_and(|run| run.is_ending) {
            return; // nobody asks any more whether it works
        }
        if !is_starting || !self.readiness(id).is_told() {
            self.start_probing(id);
        }
    }

    fn adopted_state(&mut self, id: UnitId, handed: &HandedRun, note: Option<NotedState>) -> UnitState {
        match note {
            Some(NotedState::Ready) => UnitState::Ready,
            Some(NotedState::Unhealthy) => UnitState::Unhealthy,
            Some(NotedState::Stopping { why, stage, deadline }) => {
                self.resume_stop(id, handed, why, stage, deadline)
            }
            Some(
                NotedState::Starting
                | NotedState::Inactive
                | NotedState::Backoff { .. }
                | NotedState::Failed { .. }
                | NotedState::Completed,
            )
            | None => {
                let readiness = self.readiness(id);
                let is_shown =
                    readiness == Readiness::AtExec || (readiness.is_told() && handed.is_ready_shown);
                let is_live = matches!(handed.condition, HandedCondition::Live { .. });
                if is_shown && is_live {
                    if let Some(current) = &mut self.units[id].run {
                        current.was_ready = true;
                    }
                    return UnitState::Ready;
                }
                if let Some(timeout) = self.spec(id).start_timeout.filter(|_| readiness.takes_time()) {
                    let at = self.resumed_start_deadline(id, handed.spawned_at, timeout);
                    self.timers.set(Some(id), Timer::StartTimeout, at);
                }
                UnitState::Starting
            }
        }
    }

    /// The note came before the signal, so nobody knows whether it was sent: twice is harmless, never is not.
    /// The noted deadline holds, but leaves a moment to whom the first signal never reached. A stop command
    /// died with the supervisor that read its end.
    fn resume_stop(
        &mut self,
        id: UnitId,
        handed: &HandedRun,
        why: StopReason,
        stage: StopStage,
        deadline: Timestamp,
    ) -> UnitState {
        let run = handed.run;
        let (signal, grace) = (self.spec(id).stop.signal, self.spec(id).stop.grace);
        let deadline = deadline.max(self.now.mono.after(grace.min(MOMENT)));
        let (has_leader, has_rest) = match handed.condition {
            HandedCondition::Live { .. } => (true, true),
            HandedCondition::Exited { is_empty, .. } => (false, !is_empty),
            HandedCondition::Spawning | HandedCondition::FailedToSpawn(_) => (false, false),
        };
        let now = self.now.mono;
        self.capture_an_end_again(id, &why);
        let stage = match stage {
            // Nobody knows whether it was kept.
            StopStage::Capturing if has_leader && self.units[id].desired.is_up() => {
                if let StopReason::Failed(cause) = &why {
                    self.capture(id, cause);
                }
                self.timers.set(Some(id), Timer::CaptureWait, now.after(CAPTURE_WAIT));
                stage
            }
            StopStage::Capturing | StopStage::Command | StopStage::Signalled => {
                if has_leader {
                    self.signal(run, signal, SignalScope::Main);
                }
                self.timers.set(Some(id), Timer::StopGrace, deadline);
                StopStage::Signalled
            }
            StopStage::Sweeping => {
                if has_rest {
                    self.signal(run, SignalNumber::TERM, SignalScope::All);
                }
                self.timers.set(Some(id), Timer::StopGrace, deadline);
                stage
            }
            StopStage::Killed | StopStage::Unkillable => {
                if has_rest {
                    self.signal(run, SignalNumber::KILL, SignalScope::All);
                }
                self.timers.set(Some(id), Timer::KillWait, now.after(KILL_WAIT));
                StopStage::Killed
            }
        };
        UnitState::Stopping { why, stage }
    }

    /// A unit whose note speaks of a run that the keeper does not have, or of a rest.
    fn settle_without_run(&mut self, id: UnitId) {
        if self.units[id].run.is_some() {
            return;
        }
        let Some(note) = self.units[id].noted.clone() else { return };
        self.resume_watch(id, &note);
        if self.is_watch(id) && self.units[id].state != UnitState::Inactive {
            return;
        }
        match note.life {
            // Ordered and remembered, but the order never reached the keeper: it is given again.
            NotedState::Inactive | NotedState::Starting => {}
            NotedState::Ready | NotedState::Unhealthy => self.lost_its_run(id, None),
            NotedState::Stopping { why, .. } => self.lost_its_run(id, Some(why)),
            NotedState::Backoff { after, until } => {
                if until > self.now.mono {
                    self.timers.set(Some(id), Timer::BackoffDelay, until);
                }
                self.units[id].state = UnitState::Backoff { after, until };
            }
            NotedState::Failed { cause } => self.units[id].state = UnitState::Failed { cause },
            NotedState::Completed => self.units[id].state = UnitState::Completed,
        }
    }

    /// It lived, and nobody knows how it ended: its end takes the usual road, with an unknown status.
    fn lost_its_run(&mut self, id: UnitId, why: Option<StopReason>) {
        self.units[id].last_exit = Some(ExitStatus::Unknown);
        match why {
            None => {
                self.units[id].state = UnitState::Ready;
                self.ended(id, ExitStatus::Unknown, true);
            }
            Some(why) => {
                self.units[id].state = UnitState::Stopping { why: why.clone(), stage: StopStage::Killed };
                match why {
                    StopReason::Ended(exit) => self.ended(id, exit, true),
                    StopReason::Down
                    | StopReason::Restart
                    | StopReason::Change
                    | StopReason::Follow(_)
                    | StopReason::Heals(_)
                    | StopReason::Failed(_) => {
                        self.after_stop(id, why);
                    }
                }
            }
        }
    }

    /// A supervisor may have ended between two notes of one step: a stop that reached a unit reaches its
    /// dependents, and a unit that went down with another comes back when nothing keeps it down.
    fn finish_half_noted_wishes(&mut self) {
        let graph = Arc::clone(&self.graph);
        for id in Arc::clone(&self.set).ids() {
            match self.units[id].desired {
                Desired::Down(DownSource::Operator | DownSource::Dependency | DownSource::Conflict) => {
                    let is_revived = self.units[id].desired == Desired::Down(DownSource::Dependency)
                        && self.would_be_complete(id);
                    if is_revived && !self.follows_a_stop(id) {
                        self.wishes.push_back(Wish::Up(id, UpSource::Dependent));
                    } else if !self.units[id].leaves_dependents {
                        for edge in graph.dependents(id) {
                            let is_done = self.units[edge.unit].state == UnitState::Completed;
                            if edge.required && !is_done && self.units[edge.unit].desired.is_up() {
                                self.wishes.push_back(Wish::Down(edge.unit, DownSource::Dependency));
                            }
                        }
                    }
                }
                Desired::Down(DownSource::Disabled | DownSource::Removed | DownSource::Shutdown)
                | Desired::Up(_) => {}
            }
        }
    }

    /// `follow: stop` keeps it down although what it requires is up again.
    fn follows_a_stop(&self, id: UnitId) -> bool {
        self.spec(id).depends_on.iter().any(|edge| edge.follow == Follow::Stop)
    }

    fn tell(&mut self, handed: HandedRun) {
        match handed.condition {
            HandedCondition::FailedToSpawn(failure) => self.on_failed_to_spawn(handed.run, failure),
            HandedCondition::Exited { exit, is_empty } => self.on_exited(handed.run, exit, is_empty),
            HandedCondition::Spawning | HandedCondition::Live { .. } => {}
        }
    }

    /// What must not be forgotten of a unit.
    pub(crate) fn unit_note(&self, id: UnitId) -> UnitNote {
        let unit = &self.units[id];
        let life = match &unit.state {
            UnitState::Waiting { after: Some(after), .. } => {
                NotedState::Backoff { after: after.clone(), until: unit.since }
            }
            UnitState::Inactive | UnitState::Waiting { after: None, .. } => NotedState::Inactive,
            UnitState::Starting => NotedState::Starting,
            UnitState::Ready => NotedState::Ready,
            UnitState::Unhealthy => NotedState::Unhealthy,
            UnitState::Stopping { why, stage, .. } => {
                let timer = self
                    .timers
                    .at(Some(id), Timer::StopGrace)
                    .or_else(|| self.timers.at(Some(id), Timer::KillWait))
                    .or_else(|| self.timers.at(Some(id), Timer::CaptureWait));
                NotedState::Stopping {
                    why: why.clone(),
                    stage: *stage,
                    deadline: timer.unwrap_or(unit.since),
                }
            }
            UnitState::Backoff { after, until } => {
                NotedState::Backoff { after: after.clone(), until: *until }
            }
            UnitState::Failed { cause } => NotedState::Failed { cause: cause.clone() },
            UnitState::Completed => NotedState::Completed,
        };
        UnitNote {
            desired: unit.desired,
            life,
            attempt: unit.attempt,
            starts: unit.starts.clone(),
            restarts: unit.restarts,
            last_run: unit.last_run,
            last_ordinal: unit.last_ordinal,
            last_exit: unit.last_exit,
            has_passed: unit.has_passed,
            incident: unit.incident,
            share: self.share(id).cloned().map(Box::new),
            leaves_dependents: unit.leaves_dependents,
            is_ending: unit.run.is_some_and(|run| run.is_ending),
            since: unit.since,
            job: self.job_note(id),
        }
    }
}
