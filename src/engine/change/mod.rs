//! A change of definitions: stop what must restart while the earlier definitions are in force, take up the new ones, end
//! what is gone, start what is held, and prove that all of it works; else the same way back.
//!
//! ```text
//! proposed -> Stopping -(nothing of them lives)-> [take_up] -> Clearing -(what is gone is down)-> Verifying
//!     Verifying -(all well for a while)-> Confirming -> over: committed
//!     Verifying -(not well in time)-> the same with the earlier definitions -> over: rolled back
//! ```
//!
//! `UnitId`s keep their meaning (`unit::merge`), so what the engine knows of units that the change leaves alone stays as
//! it is. One change at a time; whoever proposes waits for its end.

mod take_up;
mod resume;
mod done;
mod spared;
mod trouble;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::desire::Wish;
use crate::engine::effect::{Answer, ChangeFact, ChangeOutcome, Effect, Fact};
use crate::engine::event::{ChangeRules, Proposal};
use crate::engine::id::{GenerationId, IncidentId, RequestId, UnitId};
use crate::engine::state::{Desired, DownSource, StopReason, UnitState};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::graph::{Action, Plan};
use crate::unit::spec::{UnitKind, UnitSet};

/// The change that is under way.
#[derive(Debug)]
pub(crate) struct Change {
    generation: GenerationId,
    /// What a roll back returns to.
    previous: GenerationId,
    rules: ChangeRules,
    /// Why it goes back.
    rolls_back: Option<Box<str>>,
    stage: Stage,
    /// The definitions that are not in force: those to come in `Stopping`, those before after it.
    other: Arc<UnitSet>,
    plan: Plan,
    /// Units whose files have another content, so that they read them again in both directions.
    reread: BTreeSet<UnitId>,
    /// What was wanted of whom the plan may turn, but for those of whom a person wanted something since.
    desires: BTreeMap<UnitId, Desired>,
    /// Runs of earlier definitions that must end first.
    to_stop: BTreeSet<UnitId>,
    /// May not start before everything that goes is down.
    held: BTreeSet<UnitId>,
    /// Not wanted any more, and not down yet.
    going: BTreeSet<UnitId>,
    /// Tasks that had completed when it began.
    done: BTreeSet<UnitId>,
    /// Whom it touches, and whoever requires them, by the definitions before it and by its own.
    reach: BTreeSet<UnitId>,
    /// Who must be well at the end.
    watched: BTreeSet<UnitId>,
    /// Of them, and of whom it brought into trouble, those that are not.
    unwell: BTreeSet<UnitId>,
    /// Whose trouble is older than the change.
    was_unwell: BTreeSet<UnitId>,
    /// Incidents with a higher number are younger than the change.
    last_incident: IncidentId,
    /// When the definitions were taken up.
    in_force_since: Timestamp,
    is_confirmed: bool,
    /// The window was over and all was well: what was begun to be shown then has its time.
    is_extended: bool,
}

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The earlier definitions are in force.
    Stopping,
    /// The new ones are; what is not wanted any more ends.
    Clearing,
    /// Everything is started, and watched.
    Verifying,
    /// All is well; a person must say so too.
    Confirming,
}

/// The change under way, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeUnderWay<'a> {
    pub generation: GenerationId,
    pub stage: Stage,
    /// Why it goes back.
    pub rolls_back: Option<&'a str>,
    /// When this stage is over at the latest. `None`: it lasts as long as what must end takes.
    pub until: Option<Timestamp>,
}

/// Who may start, if at all, only when everything that the plan ends has ended.
fn held_by(plan: &Plan) -> BTreeSet<UnitId> {
    let starts = plan.steps.iter().filter(|step| match step.action {
        // What goes does not start once more before it does.
        Action::Start | Action::Add | Action::Enable | Action::Remove | Action::Disable => true,
        // A person may start it again while others still stop.
        Action::FollowStop => true,
        Action::Restart | Action::FollowRestart | Action::Live | Action::Metadata | Action::Rename { .. } => {
            false
        }
    });
    starts.map(|step| step.unit).chain(plan.restarts()).collect()
}

impl Engine {
    /// Numbers of generations that people see beside the set.
    pub fn change(&self) -> Option<(GenerationId, Stage)> {
        self.change.as_ref().map(|change| (change.generation, change.stage))
    }

    pub fn change_under_way(&self) -> Option<ChangeUnderWay<'_>> {
        let change = self.change.as_ref()?;
        let timer = match change.stage {
            Stage::Stopping | Stage::Clearing => None,
            Stage::Verifying => Some(Timer::VerifyWindow),
            Stage::Confirming => Some(Timer::ConfirmWindow),
        };
        Some(ChangeUnderWay {
            generation: change.generation,
            stage: change.stage,
            rolls_back: change.rolls_back.as_deref(),
            until: timer.and_then(|timer| self.timers.at(None, timer)),
        })
    }

    pub(crate) fn on_change_proposed(&mut self, proposal: Proposal) {
        let Proposal { generation, previous, set, reread, rules } = proposal;
        let refusal = if self.boot.shutdown.is_some() {
            Some("mcsup is shutting down")
        } else {
            self.change.is_some().then_some("another change is under way")
        };
        if let Some(why) = refusal {
            let outcome = ChangeOutcome::Refused(why.into());
            return self.actions.push(Effect::EndChange { generation, outcome });
        }
        let plan = Plan::with_reread(&self.set, &set, &reread);
        let restarts = u32::try_from(plan.restarts().count()).unwrap_or(u32::MAX);
        self.tell_change(generation, ChangeFact::Began { restarts });
        let was_unwell = self.set.ids().filter(|id| !self.is_well(*id)).collect();
        let desires = self.desires_around(&plan, &set);
        let (done, reach) = (self.tasks_done().collect(), plan.affected(&self.graph));
        self.change = Some(Box::new(Change {
            generation,
            previous,
            rules,
            rolls_back: None,
            stage: Stage::Stopping,
            other: set,
            plan: Plan::default(),
            reread,
            desires,
            to_stop: BTreeSet::new(),
            held: BTreeSet::new(),
            going: BTreeSet::new(),
            done,
            reach,
            watched: BTreeSet::new(),
            unwell: BTreeSet::new(),
            was_unwell,
            last_incident: IncidentId(self.last_incident),
            in_force_since: self.now.mono,
            is_confirmed: false,
            is_extended: false,
        }));
        self.begin_stopping(plan);
    }

    /// What is wanted now of everybody whom the plan may turn: those in it, whoever stops with them, what they need
    /// and what they conflict with.
    fn desires_around(&self, plan: &Plan, set: &UnitSet) -> BTreeMap<UnitId, Desired> {
        let mut around = plan.affected(&self.graph);
        let mut next: Vec<UnitId> = around.iter().copied().collect();
        while let Some(id) = next.pop() {
            let (old, new) = (self.set.unit(id), set.unit(id));
            let edges = old.into_iter().chain(new).flat_map(|spec| &spec.depends_on);
            let rivals = old.into_iter().chain(new).flat_map(|spec| &spec.conflicts);
            let touched = edges.map(|edge| edge.unit).chain(rivals.copied());
            next.extend(touched.filter(|id| around.insert(*id)));
        }
        let is_known = |id: &UnitId| self.set.unit(*id).is_some_and(|spec| !spec.is_removed);
        around.into_iter().filter(is_known).map(|id| (id, self.units[id].desired)).collect()
    }

    /// A person wants something of them now, or something else than the change turned them: a roll back leaves that.
    pub(crate) fn forget_desires(&mut self, ids: &[UnitId]) {
        let Some(change) = &mut self.change else { return };
        for id in ids {
            change.desires.remove(id);
        }
    }

    /// Everything whose run must not go on under the definitions that come. In reverse order, by `stop_next`.
    fn begin_stopping(&mut self, plan: Plan) {
        let held = held_by(&plan);
        let mut to_stop: BTreeSet<UnitId> = plan.restarts().collect();
        for step in plan.steps.iter().filter(|step| step.action == Action::FollowStop) {
            self.wishes.push_back(Wish::FollowDown(step.unit));
            to_stop.insert(step.unit);
        }
        // What comes back may not have ended yet.
        let comes = plan.steps.iter().filter(|step| matches!(step.action, Action::Start | Action::Add));
        to_stop.extend(comes.map(|step| step.unit));
        to_stop.retain(|id| self.has_run_to_end(*id));
        let Some(change) = &mut self.change else { return };
        change.stage = Stage::Stopping;
        change.plan = plan;
        change.held = held;
        change.to_stop = to_stop.clone();
        self.is_turned_by_change = true;
        self.propagate();
        self.is_turned_by_change = false;
        for id in to_stop {
            self.stop_if_free(id);
        }
    }

    /// What cannot be killed holds up nobody.
    fn has_run_to_end(&self, id: UnitId) -> bool {
        id.0 < self.unit_count() && self.units[id].is_live() && !self.is_unkillable(id)
    }

    fn unit_count(&self) -> u32 {
        u32::try_from(self.units.0.len()).unwrap_or(u32::MAX)
    }

    /// Ends its run for the change, unless who depends on it has to end first.
    fn stop_if_free(&mut self, id: UnitId) {
        let Some(change) = &self.change else { return };
        let is_held = self.graph.dependents(id).iter().any(|edge| change.to_stop.contains(&edge.unit));
        if is_held || !self.units[id].is_up() || !self.units[id].desired.is_up() {
            return; // its turn comes, or its end is under way
        }
        self.begin_stop(id, StopReason::Change);
    }

    /// Goes on with the change as far as what this step touched allows. True: there is more to advance.
    pub(crate) fn move_change(&mut self) -> bool {
        let how_far =
            |engine: &Self| engine.change.as_ref().map(|change| (change.stage, change.rolls_back.is_some()));
        let Some((stage, _)) = how_far(self) else { return false };
        match stage {
            Stage::Stopping => self.move_stopping(),
            Stage::Clearing => self.move_clearing(),
            Stage::Verifying => {
                let before = how_far(self);
                self.weigh_change();
                how_far(self) != before
            }
            Stage::Confirming => false,
        }
    }

    fn move_stopping(&mut self) -> bool {
        let Some(change) = &self.change else { return false };
        let of_step = self.touched.intersection(&change.to_stop).copied();
        let ended: Vec<UnitId> = of_step.filter(|id| !self.has_run_to_end(*id)).collect();
        for id in ended {
            if let Some(change) = &mut self.change {
                change.to_stop.remove(&id);
            }
            for index in 0..self.spec(id).depends_on.len() {
                let Some(needed) = self.spec(id).depends_on.get(index).map(|edge| edge.unit) else {
                    continue;
                };
                if self.change.as_ref().is_some_and(|change| change.to_stop.contains(&needed)) {
                    self.stop_if_free(needed);
                }
            }
        }
        let is_over = self.change.as_ref().is_some_and(|change| change.to_stop.is_empty());
        if is_over && !self.refuses_to_be_another_kind() {
            self.take_up();
        }
        is_over
    }

    /// A job may leave several runs that cannot be killed, which nothing but a job could keep.
    fn refuses_to_be_another_kind(&mut self) -> bool {
        let Some(change) = self.change.as_ref().filter(|change| change.rolls_back.is_none()) else {
            return false;
        };
        let stays = |id: &UnitId| change.other.unit(*id).is_some_and(|spec| spec.kind == UnitKind::Job);
        let several = |id: &UnitId| !stays(id) && self.has_several_leftovers(*id);
        let Some(id) = change.plan.restarts().find(several) else { return false };
        let name = self.spec(id).name.clone();
        self.roll_back(format!("several runs of {name} cannot be killed, and it is no job any more").into());
        true
    }

    fn move_clearing(&mut self) -> bool {
        let Some(change) = &self.change else { return false };
        // A person may want it up all the same.
        let is_gone = |id: &UnitId| self.units[*id].desired.is_up() || !self.has_run_to_end(*id);
        let gone: Vec<UnitId> = change.going.iter().copied().filter(is_gone).collect();
        let Some(change) = &mut self.change else { return false };
        change.going.retain(|id| !gone.contains(id));
        let is_over = change.going.is_empty();
        if is_over {
            self.begin_verifying();
        }
        is_over
    }

    /// Definitions are being exchanged: what is up says nothing of what will be.
    pub(crate) fn is_exchanging(&self) -> bool {
        self.change.as_ref().is_some_and(|change| match change.stage {
            Stage::Stopping | Stage::Clearing => true,
            Stage::Verifying | Stage::Confirming => false,
        })
    }

    /// It may not start yet: the change has not come so far.
    pub(crate) fn is_held_by_change(&self, id: UnitId) -> bool {
        self.change.as_ref().is_some_and(|change| match change.stage {
            Stage::Stopping | Stage::Clearing => change.held.contains(&id),
            Stage::Verifying | Stage::Confirming => false,
        })
    }

    /// Back to the definitions before, by the same road.
    fn roll_back(&mut self, why: Box<str>) {
        let Some(change) = &mut self.change else { return };
        for timer in [Timer::VerifyWindow, Timer::ChangeSettle, Timer::ConfirmWindow] {
            self.timers.cancel(None, timer);
        }
        let (generation, previous) = (change.generation, change.previous);
        change.rolls_back = Some(why.clone());
        let is_in_force = change.stage != Stage::Stopping;
        self.actions.push(Effect::RestoreGeneration { rejected: generation, to: previous, why: why.clone() });
        self.open_change_incident(format!("generation {generation} goes back: {why}").into());
        self.tell_change(generation, ChangeFact::Failed { why });
        let Some(change) = &mut self.change else { return };
        let back = if is_in_force { Arc::clone(&change.other) } else { Arc::clone(&self.set) };
        let back = Arc::new(self.set.followed_by(&back).set);
        change.other = Arc::clone(&back);
        let plan = Plan::with_reread(&self.set, &back, &change.reread);
        if is_in_force {
            self.begin_stopping(plan);
        } else {
            // Some of it may be down already: it comes back under the definitions that it had.
            change.to_stop.clear();
            change.plan.steps.retain(|step| match step.action {
                Action::Restart | Action::FollowRestart | Action::FollowStop | Action::Enable => true,
                Action::Start
                | Action::Add
                | Action::Remove
                | Action::Disable
                | Action::Live
                | Action::Metadata
                | Action::Rename { .. } => false,
            });
            change.held = held_by(&change.plan);
            self.take_up();
        }
    }

    /// Nothing of it is left to do.
    fn end_change(&mut self, outcome: ChangeOutcome) {
        let Some(change) = self.change.take() else { return };
        for timer in [Timer::VerifyWindow, Timer::ChangeSettle, Timer::ConfirmWindow] {
            self.timers.cancel(None, timer);
        }
        let generation = change.generation;
        let count = self.unit_count(); // what was to be new may never have come
        for id in change.held.iter().filter(|id| id.0 < count) {
            self.mark(*id);
        }
        match &outcome {
            ChangeOutcome::Committed | ChangeOutcome::RolledBack { is_well: true, .. } => {
                self.close_change_incident();
            }
            ChangeOutcome::Kept { why } => {
                self.open_change_incident(format!("generation {generation} is not well: {why}").into());
            }
            ChangeOutcome::RolledBack { is_well: false, .. }
            | ChangeOutcome::Refused(_)
            | ChangeOutcome::Interrupted => {}
        }
        self.tell_change(generation, ChangeFact::Ended(outcome.clone()));
        self.actions.push(Effect::EndChange { generation, outcome });
    }

    /// A shutdown leaves everything as it is: the next boot finds the directory.
    pub(crate) fn interrupt_change(&mut self) {
        self.end_change(ChangeOutcome::Interrupted);
    }

    fn tell_change(&mut self, generation: GenerationId, what: ChangeFact) {
        self.facts.push(Fact::Change { generation, what });
    }

    /// A person says that the change is good.
    pub(crate) fn ask_confirm(&mut self, request: RequestId) {
        let answer = match &mut self.change {
            Some(change) if change.rolls_back.is_none() => {
                change.is_confirmed = true;
                Answer::Done(Vec::new())
            }
            Some(_) => Answer::Refused("the change is being rolled back".into()),
            None => Answer::Refused("no change waits to be confirmed".into()),
        };
        self.actions.push(Effect::Reply { request, answer });
        if self.change.as_ref().is_some_and(|change| change.is_confirmed && change.stage == Stage::Confirming)
        {
            self.end_change(ChangeOutcome::Committed);
        }
    }

    /// A person wants the change under way undone.
    pub(crate) fn ask_abandon(&mut self, request: RequestId) {
        let answer = match &self.change {
            Some(change) if change.rolls_back.is_none() => Answer::Done(Vec::new()),
            Some(_) => Answer::Refused("the change is being rolled back already".into()),
            None => Answer::Refused("no change is under way".into()),
        };
        let is_done = matches!(answer, Answer::Done(_));
        self.actions.push(Effect::Reply { request, answer });
        if is_done {
            self.roll_back("abandoned by an operator".into());
        }
    }

    /// What the plan takes away ends.
    fn clear(&mut self, plan: &Plan) {
        let mut going = BTreeSet::new();
        for step in &plan.steps {
            let source = match step.action {
                Action::Remove => DownSource::Removed,
                Action::Disable => DownSource::Disabled,
                Action::Start
                | Action::Add
                | Action::Restart
                | Action::Enable
                | Action::Live
                | Action::Metadata
                | Action::Rename { .. }
                | Action::FollowRestart
                | Action::FollowStop => continue,
            };
            self.wishes.push_back(Wish::Down(step.unit, source));
            if self.has_run_to_end(step.unit) {
                going.insert(step.unit);
            }
        }
        if let Some(change) = &mut self.change {
            change.stage = Stage::Clearing;
            change.going = going;
        }
    }

    pub(crate) fn why_held_by_change(&self, held: UnitId) -> String {
        let Some(change) = &self.change else { return "waits for a change to go on".to_owned() };
        let waits_for = match change.stage {
            Stage::Stopping => &change.to_stop,
            Stage::Clearing | Stage::Verifying | Stage::Confirming => &change.going,
        };
        let generation = change.generation;
        match waits_for.iter().find(|id| **id != held) {
            Some(id) => {
                format!("waits for {} to stop: generation {generation} changes both", self.spec(*id).name)
            }
            None => format!("waits for generation {generation}"),
        }
    }

    /// Ready, done, or where it should be; and whoever is not wanted up is well.
    pub(crate) fn is_well(&self, id: UnitId) -> bool {
        let unit = &self.units[id];
        if !unit.desired.is_up() {
            return !unit.is_live() || self.is_job(id);
        }
        match &unit.state {
            UnitState::Ready => {
                unit.probes.is_empty() || unit.health == crate::engine::state::Health::Passing
            }
            // An armed job; what its last run proved is not the change's.
            UnitState::Unhealthy => self.is_job(id),
            UnitState::Completed => true,
            // Somebody knows that it cannot come as long as the other is stopped.
            UnitState::Waiting { on, .. } => {
                on.is_rest() || on.dependency().is_some_and(|needed| self.is_down_by_a_person(needed))
            }
            UnitState::Inactive
            | UnitState::Starting
            | UnitState::Stopping { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. } => false,
        }
    }
}
