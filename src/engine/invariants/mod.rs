//! The promises of the engine, checked after every step by somebody who does not trust it.
//!
//! The auditor keeps a shadow of its own from events and effects; of the engine it asks only what
//! anybody may: `status`, `overview`, `timers`, `next_deadlines`. `docs/TESTING.md` lists the numbers.

mod view;
mod shadow;
mod handed;
mod orders;
mod troubles;
mod answers;
mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::engine::effect::{Effect, Fact};
use crate::engine::event::{Ask, Event, HandedCondition, Handover};
use crate::engine::id::UnitId;
use crate::engine::invariants::shadow::Shadow;
pub use crate::engine::invariants::view::View;
use crate::engine::ladder::Step;
use crate::engine::state::{Desired, DownSource, EDGES, NotedState, StateName};
use crate::engine::time::{Now, Timestamp};
use crate::engine::timers::Timer;
use crate::unit::spec::{Condition, Dependency, Follow, OnLimit, UnitSet};

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// As `docs/TESTING.md` numbers them; 0 is a bug that the engine or the host found itself.
    pub number: u8,
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.number, self.text)
    }
}

/// Watches one engine, and the engines that come after it on the same keeper.
#[derive(Debug)]
pub struct Auditor {
    shadow: Shadow,
    edges: BTreeMap<(StateName, StateName), u64>,
    next_deadline: Option<Timestamp>,
    steps: u64,
}

/// Sets up to this size are looked at whole after every step; larger ones every `SWEEP_EVERY` steps,
/// and in between the units that the step touched.
const SMALL_SET: usize = 6;
const SWEEP_EVERY: u64 = 32;

/// What one step is judged by.
struct Look<'a> {
    now: Timestamp,
    event: &'a Event,
    engine: &'a dyn View,
    found: Vec<Violation>,
}

impl Look<'_> {
    fn violate(&mut self, number: u8, text: String) {
        self.found.push(Violation { number, text });
    }
}

impl Auditor {
    pub fn new(set: Arc<UnitSet>) -> Self {
        Self { shadow: Shadow::new(set), edges: BTreeMap::new(), next_deadline: None, steps: 0 }
    }

    /// How often each edge of the table was taken.
    pub fn edges(&self) -> &BTreeMap<(StateName, StateName), u64> {
        &self.edges
    }

    /// What the engine had on its mind is gone; requests are lost with their clients' connections.
    pub fn supervisor_lost(&mut self) {
        self.shadow.forget_engine();
    }

    /// Looks at one step after it was taken. `carried`: how many of its effects the host carries out
    /// before the supervisor is lost; all of them when it is not.
    pub fn observe(
        &mut self,
        now: Now,
        event: &Event,
        effects: &[Effect],
        carried: usize,
        engine: &dyn View,
    ) -> Vec<Violation> {
        let mut look = Look { now: now.mono, event, engine, found: Vec::new() };
        self.steps = self.steps.saturating_add(1);
        let is_stale = self.late_facts(&mut look, effects);
        self.shadow.note_answered(event);
        if !is_stale {
            self.shadow.learn_change(event);
            self.shadow.learn(now.mono, event);
        }
        if let Event::KeeperConnected(handover) = event {
            self.adoption(&mut look, handover, effects);
        }
        let is_kill_ask = matches!(event, Event::RequestReceived { ask: Ask::Kill { .. }, .. });
        self.change_touches(&mut look, effects);
        let unfinished = (carried < effects.len()).then(|| self.shadow.clone());
        for effect in effects {
            self.order(&mut look, effect);
            self.shadow.carry(now.mono, effect, is_kill_ask);
        }
        self.shadow.listened.clear();
        self.shadow.is_exchanged = false;
        self.requests(&mut look, effects);
        self.change_ends(&mut look, effects);
        self.after_step(&mut look, effects);
        if let Some(before) = unfinished {
            self.shadow = before;
            for effect in effects.iter().take(carried) {
                self.shadow.carry(now.mono, effect, is_kill_ask);
                self.shadow.carry_end_of_change(effect);
            }
            self.shadow.listened.clear();
            self.shadow.is_exchanged = false;
        }
        look.found
    }

    /// 5: what comes late about something that is no longer current moves a counter and nothing else.
    fn late_facts(&mut self, look: &mut Look<'_>, effects: &[Effect]) -> bool {
        let counted = look.engine.overview().late_facts;
        let is_stale = self.shadow.is_stale(look.event);
        if is_stale {
            if let Some(effect) = effects.first() {
                look.violate(5, format!("a late fact had an effect: {:?} led to {effect:?}", look.event));
            }
            if counted != self.shadow.late_facts.saturating_add(1) {
                look.violate(5, format!("a late fact was not counted: {:?}", look.event));
            }
        }
        self.shadow.late_facts = counted;
        is_stale
    }

    /// 18: what was as desired when the supervisor was lost is not touched by the next one.
    fn adoption(&self, look: &mut Look<'_>, handover: &Handover, effects: &[Effect]) {
        // The end of an essential unit that nobody saw ends everything now.
        let is_end = effects.iter().any(|effect| matches!(effect, Effect::Record(Fact::ShutdownBegan)));
        if is_end || handover.notes.boot.as_ref().is_none_or(|boot| boot.shutdown.is_some()) {
            return;
        }
        for effect in effects {
            let touched = match effect {
                Effect::Spawn { unit, .. } | Effect::RunHelper { unit, .. } => Some(*unit),
                Effect::Signal { run, .. } => self.shadow.runs.get(run).map(|run| run.unit),
                Effect::Remember(_)
                | Effect::Record(_)
                | Effect::Release { .. }
                | Effect::StartProbe { .. }
                | Effect::CancelProbe { .. }
                | Effect::Reply { .. }
                | Effect::CancelHelper { .. }
                | Effect::CaptureEvidence { .. }
                | Effect::Alert { .. }
                | Effect::JudgeOutput { .. }
                | Effect::Arm { .. }
                | Effect::Disarm { .. }
                | Effect::WatchReadyLine { .. }
                | Effect::AwaitConnection { .. }
                | Effect::ForgetConnection { .. }
                | Effect::UseDefinitions { .. }
                | Effect::RestoreGeneration { .. }
                | Effect::EndChange { .. }
                | Effect::Exit { .. } => None,
            };
            // What a job was due to run while nobody was there runs now.
            let touched = touched.filter(|unit| !self.shadow.is_job(*unit));
            // A change that is under way goes on.
            let goes_on = |unit: &UnitId| handover.change.is_some() && self.shadow.changes.reaches(*unit);
            let touched = touched.filter(|unit| !goes_on(unit));
            if let Some(unit) = touched.filter(|unit| self.is_as_desired(handover, *unit)) {
                let name = self.shadow.name(unit);
                look.violate(18, format!("{name} was as desired, and its adoption led to {effect:?}"));
            }
        }
    }

    fn is_as_desired(&self, handover: &Handover, id: UnitId) -> bool {
        let Some(spec) = self.shadow.spec(id) else { return false };
        let heals_another = |share: &crate::engine::incident::Share| matches!(&share.step, Step::Others { left, .. } if left.contains(&id));
        if handover.notes.units.values().filter_map(|note| note.share.as_deref()).any(heals_another) {
            return false; // a rung restarts it
        }
        let noted = |id: UnitId| handover.notes.units.get(&self.shadow.spec(id)?.name);
        let Some(note) = noted(id) else { return false };
        let run = handover.runs.iter().rev().find(|run| run.unit == spec.name);
        let is_live = run.is_some_and(|run| matches!(run.condition, HandedCondition::Live { .. }))
            || (self.shadow.is_watch(id) && note.life == NotedState::Ready);
        let is_up_well = match note.life {
            NotedState::Starting | NotedState::Ready => is_live,
            NotedState::Inactive
            | NotedState::Unhealthy
            | NotedState::Stopping { .. }
            | NotedState::Backoff { .. }
            | NotedState::Failed { .. }
            | NotedState::Completed => false,
        };
        // The keeper knows nothing of a watch: its note says whether it goes on.
        let is_over =
            run.is_none() && !(self.shadow.is_watch(id) && shadow::had_run(shadow::state_of(&note.life)));
        let is_down_well = is_over && self.stays_down(handover, id, note.desired);
        is_down_well || (note.desired.is_up() && is_up_well && self.stands_alone(handover, id, 0))
    }

    /// What keeps it down does so still: only half of a start may have been noted.
    fn stays_down(&self, handover: &Handover, id: UnitId, desired: Desired) -> bool {
        let is_noted_up = |id: UnitId| {
            let note = self.shadow.spec(id).and_then(|spec| handover.notes.units.get(&spec.name));
            note.is_some_and(|note| note.desired.is_up())
        };
        match desired {
            Desired::Up(_) => false,
            Desired::Down(DownSource::Operator | DownSource::Removed | DownSource::Shutdown) => true,
            Desired::Down(DownSource::Dependency) => self.shadow.spec(id).is_some_and(|spec| {
                spec.depends_on.iter().any(|needed| needed.required && !is_noted_up(needed.unit))
            }),
            Desired::Down(DownSource::Disabled | DownSource::Conflict) => {
                !self.shadow.dependents(id).iter().any(|(dependent, _)| is_noted_up(*dependent))
            }
        }
    }

    /// Nothing that it follows or requires, near or far, may have changed meanwhile and take it along.
    fn stands_alone(&self, handover: &Handover, id: UnitId, depth: usize) -> bool {
        let Some(spec) = self.shadow.spec(id).filter(|_| depth <= self.shadow.set.units.len()) else {
            return false;
        };
        spec.depends_on.iter().all(|dependency| {
            let note =
                self.shadow.spec(dependency.unit).and_then(|spec| handover.notes.units.get(&spec.name));
            dependency.follow == Follow::None
                && note.is_some_and(|note| note.desired.is_up())
                && self.stands_alone(handover, dependency.unit, depth.saturating_add(1))
        })
    }

    /// 17: each request gets exactly one reply; at once where nobody waits.
    fn requests(&self, look: &mut Look<'_>, effects: &[Effect]) {
        if let Event::RequestReceived { request, ask } = look.event {
            let waits = match ask {
                Ask::Start { wait, .. }
                | Ask::Stop { wait, .. }
                | Ask::Restart { wait, .. }
                | Ask::Run { wait, .. } => *wait,
                Ask::Kill { .. }
                | Ask::Confirm
                | Ask::Abandon
                | Ask::Shutdown { .. }
                | Ask::ShutdownNow { .. } => true,
            };
            if !waits && self.shadow.pending.contains(request) {
                look.violate(17, format!("request {} does not wait and got no reply", request.0));
            }
        }
        let ends = effects.iter().any(|effect| matches!(effect, Effect::Exit { .. }));
        if ends && let Some(request) = self.shadow.pending.first() {
            look.violate(17, format!("request {} never got a reply", request.0));
        }
    }

    fn after_step(&mut self, look: &mut Look<'_>, effects: &[Effect]) {
        self.deadline(look);
        let is_whole = self.shadow.set.units.len() <= SMALL_SET
            || self.steps.checked_rem(SWEEP_EVERY) == Some(0)
            || matches!(look.event, Event::KeeperConnected(_));
        let touched: BTreeSet<UnitId> =
            if is_whole { self.shadow.set.ids().collect() } else { self.touched(look.event, effects) };
        for unit in touched {
            self.unit(look, unit);
        }
        if is_whole {
            self.timers(look);
            self.open_incidents(look);
        }
    }

    /// 11: nothing is due any more once `DeadlineReached` was told, and no step makes something that is due
    /// already. What was due before a fact came may still wait for its wake-up.
    fn deadline(&mut self, look: &mut Look<'_>) {
        let next = look.engine.next_deadlines().mono;
        let was_due = self.next_deadline.is_some_and(|at| at <= look.now);
        self.next_deadline = next;
        let may_be_due = match look.event {
            Event::DeadlineReached => false,
            Event::KeeperConnected(_) => true, // it was due while nobody was there
            Event::RunSpawned { .. }
            | Event::RunFailedToSpawn { .. }
            | Event::RunExited { .. }
            | Event::RunEmptied { .. }
            | Event::ProbeFinished { .. }
            | Event::HelperFinished { .. }
            | Event::EvidenceCaptured { .. }
            | Event::Notified { .. }
            | Event::ReadyShown { .. }
            | Event::ConnectionArrived { .. }
            | Event::OutputJudged { .. }
            | Event::Triggered { .. }
            | Event::RequestReceived { .. }
            | Event::RequestAbandoned { .. }
            | Event::ChangeProposed(_)
            | Event::DirectoryFound { .. }
            | Event::ClockStepped => was_due,
        };
        if let Some(at) = next.filter(|at| *at <= look.now && !may_be_due) {
            look.violate(11, format!("the next deadline {at:?} is not after {:?}", look.now));
        }
    }

    fn touched(&self, event: &Event, effects: &[Effect]) -> BTreeSet<UnitId> {
        let mut touched = BTreeSet::new();
        for effect in effects {
            match effect {
                Effect::Record(Fact::StateChanged { unit, .. } | Fact::HealthChanged { unit, .. })
                | Effect::Spawn { unit, .. }
                | Effect::StartProbe { unit, .. } => {
                    touched.insert(*unit);
                }
                Effect::Signal { run, .. } => touched.extend(self.shadow.runs.get(run).map(|run| run.unit)),
                Effect::Remember(_)
                | Effect::Record(_)
                | Effect::Release { .. }
                | Effect::CancelProbe { .. }
                | Effect::Reply { .. }
                | Effect::RunHelper { .. }
                | Effect::CancelHelper { .. }
                | Effect::CaptureEvidence { .. }
                | Effect::Alert { .. }
                | Effect::JudgeOutput { .. }
                | Effect::Arm { .. }
                | Effect::Disarm { .. }
                | Effect::WatchReadyLine { .. }
                | Effect::AwaitConnection { .. }
                | Effect::ForgetConnection { .. }
                | Effect::UseDefinitions { .. }
                | Effect::RestoreGeneration { .. }
                | Effect::EndChange { .. }
                | Effect::Exit { .. } => {}
            }
        }
        if let Event::RunSpawned { run, .. } | Event::RunExited { run, .. } = event {
            touched.extend(self.shadow.runs.get(run).map(|run| run.unit));
        }
        touched
    }

    /// What must be true of a unit after any step.
    fn unit(&mut self, look: &mut Look<'_>, id: UnitId) {
        let name = self.shadow.name(id);
        let Some(status) = look.engine.status(id) else {
            return look.violate(17, format!("{name} has no status"));
        };
        let known = self.shadow.state(id);
        if status.state != known && !matches!(look.event, Event::KeeperConnected(_)) {
            look.violate(7, format!("{name} is {} and nothing recorded that it left {known}", status.state));
        }
        if let Some(unit) = self.shadow.unit_mut(id) {
            unit.state = status.state;
        }
        if status.reason.is_empty() {
            look.violate(17, format!("{name} is {} without a reason", status.state));
        }
        let has_run = match status.state {
            StateName::Starting | StateName::Ready | StateName::Unhealthy | StateName::Stopping => true,
            StateName::Inactive
            | StateName::Waiting
            | StateName::Backoff
            | StateName::Failed
            | StateName::Completed => false,
        };
        let is_waited_for = status.state == StateName::Stopping && self.shadow.stop_command(id).is_some();
        if self.shadow.is_present(id) != has_run && !is_waited_for {
            let fact = if has_run { "nothing of it lives" } else { "a run of it is not over" };
            look.violate(1, format!("{name} is {} and {fact}", status.state));
        }
        self.share(look, id, status.incident);
        if self.shadow.is_watch(id) && !self.shadow.is_job(id) && status.pid.is_some() {
            look.violate(6, format!("{name} is only watched and has a process"));
        }
        if status.state == StateName::Waiting {
            self.waiting(look, id, &status.reason);
        }
    }

    /// 17: a waiting unit names something real that is unmet.
    fn waiting(&self, look: &mut Look<'_>, id: UnitId, reason: &str) {
        let Some(spec) = self.shadow.spec(id) else { return };
        if spec.listen.is_lazy && reason.contains("a connection") {
            return self.lazy(look, id);
        }
        let mut unmet: Vec<String> = Vec::new();
        if spec.phase.0 >= self.shadow.open_phases {
            let behind = usize::from(self.shadow.open_phases.saturating_sub(1));
            unmet.extend(self.shadow.set.phases.iter().skip(behind).map(ToString::to_string));
        }
        let missing = spec.depends_on.iter().filter(|dependency| !self.holds(look, dependency));
        unmet.extend(missing.map(|dependency| self.shadow.name(dependency.unit)));
        let held = self.shadow.changes.under_way().filter(|_| self.shadow.changes.reaches(id));
        unmet.extend(held.map(|generation| format!("generation {generation}")));
        let rivals = self.shadow.set.ids().filter(|other| self.are_rivals(id, *other));
        unmet.extend(rivals.filter(|other| self.is_there(*other)).map(|other| self.shadow.name(other)));
        if unmet.is_empty() {
            look.violate(17, format!("{} waits ({reason}) and nothing is missing", self.shadow.name(id)));
        } else if !unmet.iter().any(|name| reason.contains(name.as_str())) {
            let unmet = unmet.join(", ");
            look.violate(17, format!("{} waits ({reason}) and means {unmet}", self.shadow.name(id)));
        }
    }

    /// 17: a lazy unit that waits for a connection is not what somebody here waits for, and its sockets are looked at.
    fn lazy(&self, look: &mut Look<'_>, id: UnitId) {
        let name = self.shadow.name(id);
        if !self.shadow.awaited.contains(&id) {
            look.violate(17, format!("{name} waits for a connection and nobody looks for one"));
        }
        if self.shadow.spec(id).is_some_and(|spec| spec.phase.0 >= self.shadow.open_phases) {
            look.violate(17, format!("{name} waits for a connection behind a barrier"));
        }
        for (dependent, edge) in self.shadow.dependents(id) {
            let waits = look.engine.status(*dependent).is_some_and(|status| {
                let words = format!("waits for {name} ");
                status.state == StateName::Waiting && edge.required && status.reason.starts_with(&words)
            });
            if waits {
                let other = self.shadow.name(*dependent);
                look.violate(17, format!("{name} waits for a connection while {other} waits for it"));
            }
        }
    }

    /// Something of it lives or is watched, or its stop command still works.
    fn is_there(&self, id: UnitId) -> bool {
        self.shadow.is_present(id) || self.shadow.stop_command(id).is_some()
    }

    pub(super) fn are_rivals(&self, one: UnitId, other: UnitId) -> bool {
        let names =
            |a: UnitId, b: UnitId| self.shadow.spec(a).is_some_and(|spec| spec.conflicts.contains(&b));
        names(one, other) || names(other, one)
    }

    /// Whether what a dependent waits for is true, as somebody outside would judge it.
    fn holds(&self, look: &Look<'_>, dependency: &Dependency) -> bool {
        let id = dependency.unit;
        let is_wanted = look.engine.status(id).is_some_and(|status| status.desired.is_up());
        let is_about_to_stop = self.shadow.is_present(id) && !is_wanted;
        if is_about_to_stop && dependency.condition != Condition::Completed {
            return false; // nothing new builds on it
        }
        // The order to look at its sockets may come later in the step, or its start; `lazy` looks for the order.
        let is_said = look
            .engine
            .status(id)
            .is_some_and(|status| status.is_listening || status.state != StateName::Waiting);
        let is_at_rest =
            self.shadow.state(id) == StateName::Waiting && (is_said || self.shadow.awaited.contains(&id));
        let is_lazy = self.shadow.spec(id).is_some_and(|spec| spec.listen.is_lazy);
        let listens = is_lazy && (is_at_rest || self.shadow.listened.contains(&id));
        match dependency.condition {
            Condition::Started | Condition::Healthy if listens => true,
            Condition::Started => match self.shadow.state(id) {
                StateName::Ready | StateName::Unhealthy | StateName::Completed => true,
                StateName::Starting => {
                    self.shadow.live_run(id).is_some_and(|(_, run)| run.stage == shadow::Stage::Live)
                }
                StateName::Inactive
                | StateName::Waiting
                | StateName::Stopping
                | StateName::Backoff
                | StateName::Failed => false,
            },
            Condition::Healthy => look.engine.status(id).is_some_and(|status| {
                status.state == StateName::Ready
                    && status.health.is_none_or(|health| health == crate::engine::state::Health::Passing)
            }),
            Condition::Completed => self.shadow.unit(id).is_some_and(|unit| unit.has_passed),
        }
    }

    /// Whether a dependency that does not hold is on its way: one that failed before holds nobody who
    /// does not require it.
    fn may_come(&self, look: &Look<'_>, dependency: &Dependency, depth: usize) -> bool {
        let id = dependency.unit;
        let Some(status) = look.engine.status(id) else { return false };
        if !status.desired.is_up() || depth > self.shadow.set.units.len() {
            return false;
        }
        // A lazy unit comes when somebody wants it: nobody waits for that who can do without.
        if self.shadow.spec(id).is_some_and(|spec| spec.listen.is_lazy) {
            return false;
        }
        let has_failed =
            self.shadow.unit(id).is_some_and(|unit| unit.note.as_ref().is_some_and(|note| note.attempt > 0));
        match status.state {
            StateName::Starting | StateName::Ready => !has_failed,
            StateName::Waiting => self.shadow.spec(id).is_some_and(|spec| {
                spec.depends_on.iter().filter(|needed| needed.required).all(|needed| {
                    self.holds(look, needed) || self.may_come(look, needed, depth.saturating_add(1))
                })
            }),
            StateName::Unhealthy
            | StateName::Stopping
            | StateName::Backoff
            | StateName::Inactive
            | StateName::Failed
            | StateName::Completed => false,
        }
    }

    /// 8 and 11: every timer belongs to the state that its unit is in, and whoever stops has one.
    fn timers(&self, look: &mut Look<'_>) {
        let mut stopping: BTreeSet<UnitId> = BTreeSet::new();
        let mut count = 0_usize;
        for (at, unit, timer) in look.engine.timers() {
            // A settled set still waits for an incident that is about to close, for what a run promised, and for the
            // proof of a change.
            let is_of_rest = matches!(
                timer,
                Timer::Settle
                    | Timer::Watchdog
                    | Timer::VerifyWindow
                    | Timer::ChangeSettle
                    | Timer::ConfirmWindow
            );
            count = count.saturating_add(usize::from(!is_of_rest));
            let Some(id) = unit else { continue };
            self.capture_wait(look, id, timer, at);
            let state = self.shadow.state(id);
            let belongs = match timer {
                Timer::BackoffDelay => matches!(state, StateName::Backoff | StateName::Failed),
                Timer::StartTimeout => state == StateName::Starting,
                Timer::StopGrace | Timer::KillWait => state == StateName::Stopping,
                Timer::CaptureWait => matches!(state, StateName::Unhealthy | StateName::Stopping),
                Timer::ProbeDue(_) => {
                    matches!(state, StateName::Starting | StateName::Ready | StateName::Unhealthy)
                }
                Timer::Watchdog => matches!(state, StateName::Ready | StateName::Unhealthy),
                Timer::RungSettle | Timer::RungPause | Timer::Hold => state == StateName::Unhealthy,
                Timer::Settle => state == StateName::Ready,
                Timer::JobDue | Timer::JobEvery => matches!(state, StateName::Ready | StateName::Unhealthy),
                Timer::JobRun(_) => {
                    matches!(state, StateName::Ready | StateName::Unhealthy | StateName::Stopping)
                }
                Timer::BootTimeout
                | Timer::VerifyWindow
                | Timer::ChangeSettle
                | Timer::ConfirmWindow
                | Timer::ShutdownTimeout => false,
            };
            if !belongs {
                look.violate(11, format!("{} is {state} and has the timer {timer}", self.shadow.name(id)));
            }
            if state == StateName::Stopping {
                stopping.insert(id);
            }
        }
        for id in self.shadow.set.ids().filter(|id| self.shadow.state(*id) == StateName::Stopping) {
            let is_given_up = self.shadow.unit(id).is_some_and(|unit| unit.is_unkillable);
            if !stopping.contains(&id) && !is_given_up {
                look.violate(8, format!("{} is stopping without a deadline", self.shadow.name(id)));
            }
        }
        if count > 0 && self.is_settled(look.engine) {
            look.violate(11, format!("a settled set without probes has {count} timers"));
        }
    }

    fn is_settled(&self, engine: &dyn View) -> bool {
        let overview = engine.overview();
        let is_booted = overview.is_booted && !overview.is_stopping;
        is_booted
            && self.shadow.set.ids().zip(&self.shadow.set.units).all(|(id, spec)| {
                let retries = spec.restart.limit.is_some_and(|limit| limit.then != OnLimit::Fail);
                let is_still = match self.shadow.state(id) {
                    StateName::Inactive | StateName::Ready | StateName::Completed | StateName::Waiting => {
                        true
                    }
                    StateName::Failed => !retries,
                    StateName::Starting | StateName::Unhealthy | StateName::Stopping | StateName::Backoff => {
                        false
                    }
                };
                is_still && spec.health.is_empty() && spec.watchdog.is_none() && spec.job.is_none()
            })
    }

    /// 19, for the runner: what is still not as it should be when nothing goes wrong any more.
    pub fn unsettled(&self, engine: &dyn View) -> Vec<String> {
        let look = Look { now: Timestamp(0), event: &Event::DeadlineReached, engine, found: Vec::new() };
        let mut missing = Vec::new();
        for id in self.shadow.set.ids() {
            let Some(status) = engine.status(id) else { continue };
            let is_settled = match (status.desired.is_up(), status.state) {
                // It runs again when it is triggered again.
                (true, StateName::Unhealthy) if self.shadow.is_job(id) => true,
                (true, StateName::Ready | StateName::Completed | StateName::Failed)
                | (false, StateName::Inactive) => true,
                (true, StateName::Waiting) if self.shadow.awaited.contains(&id) => true,
                (true, StateName::Waiting) => self.is_excused(&look, id, 0),
                (true, _) | (false, _) => false,
            };
            if !is_settled {
                missing.push(format!("{} is {} ({})", self.shadow.name(id), status.state, status.reason));
            }
        }
        let change = self.shadow.changes.under_way();
        missing.extend(change.map(|generation| format!("generation {generation} has not ended")));
        missing
            .extend(self.shadow.pending.iter().map(|request| format!("request {} has no reply", request.0)));
        missing
    }

    /// A unit may wait for ever for what a person stopped, what failed, and what waits so itself.
    fn is_excused(&self, look: &Look<'_>, id: UnitId, depth: usize) -> bool {
        let Some(spec) = self.shadow.spec(id).filter(|_| depth <= self.shadow.set.units.len()) else {
            return false;
        };
        let is_hopeless = |other: UnitId| {
            // Nobody knows when a job runs next.
            self.shadow.is_job(other)
                || look.engine.status(other).is_some_and(|status| match status.state {
                    StateName::Failed | StateName::Inactive | StateName::Completed => true,
                    StateName::Waiting => self.is_excused(look, other, depth.saturating_add(1)),
                    StateName::Starting
                    | StateName::Ready
                    | StateName::Unhealthy
                    | StateName::Stopping
                    | StateName::Backoff => false,
                })
        };
        let by_need = spec
            .depends_on
            .iter()
            .any(|needed| needed.required && !self.holds(look, needed) && is_hopeless(needed.unit));
        let is_shut = spec.phase.0 >= self.shadow.open_phases;
        let holder = |(other, held): (UnitId, &crate::unit::spec::UnitSpec)| {
            held.phase < spec.phase && held.blocks_phase && other != id && {
                let state = self.shadow.state(other);
                state != StateName::Completed && is_hopeless(other)
            }
        };
        let by_phase = is_shut && self.shadow.set.ids().zip(&self.shadow.set.units).any(holder);
        let by_rival = self.shadow.set.ids().any(|other| self.are_rivals(id, other) && self.is_there(other));
        by_need || by_phase || by_rival
    }

    /// 7, with the count of edges taken.
    fn edge(&mut self, look: &mut Look<'_>, id: UnitId, from: StateName, to: StateName) {
        let name = self.shadow.name(id);
        if !EDGES.iter().any(|(a, b, _)| (*a, *b) == (from, to)) {
            look.violate(7, format!("{name} went {from} -> {to}, which is no edge of the table"));
        }
        let known = self.shadow.state(id);
        if known != from && !matches!(look.event, Event::KeeperConnected(_)) {
            look.violate(7, format!("{name} went {from} -> {to} and was {known}"));
        }
        let taken = self.edges.entry((from, to)).or_default();
        *taken = taken.saturating_add(1);
    }
}
