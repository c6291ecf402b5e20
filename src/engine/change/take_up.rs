//! New definitions come into force: what is kept of units that stay is fitted to them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::change::Stage;
use crate::engine::desire::Wish;
use crate::engine::effect::{ChangeFact, Effect};
use crate::engine::health::ProbeTrack;
use crate::engine::id::UnitId;
use crate::engine::life::Unit;
use crate::engine::state::{Desired, DownSource, StateName, UnitState, UpSource};
use crate::engine::time::Timestamp;
use crate::graph::{Action, Graph, Plan, Step};
use crate::unit::name::UnitName;
use crate::unit::spec::{UnitSet, UnitSpec};

impl Engine {
    /// Nothing lives any more that must not live under them.
    pub(super) fn take_up(&mut self) {
        let Some(change) = &mut self.change else { return };
        let set = Arc::clone(&change.other);
        let before = std::mem::replace(&mut self.set, Arc::clone(&set));
        change.other = Arc::clone(&before);
        change.in_force_since = self.now.mono;
        let (plan, generation) = (change.plan.clone(), change.generation);
        let in_force = if change.rolls_back.is_some() { change.previous } else { generation };
        self.graph = Arc::new(Graph::new(&set));
        change.reach.extend(plan.affected(&self.graph));
        for spec in set.units.iter().skip(self.units.0.len()) {
            self.units.0.push(Unit::new(spec.health.len()));
        }
        self.jobs.take_up(&set);
        self.boot.take_up(&before, &set);
        self.new_definitions = Some((in_force, Arc::clone(&set)));
        for step in &plan.steps {
            self.take_up_step(step, &before);
        }
        self.refile_incidents();
        for id in set.ids() {
            self.recount(id);
            // What it waits for may be another thing now, or nothing.
            if self.units[id].state.name() == StateName::Waiting {
                self.mark(id);
            }
        }
        self.tell_change(in_force, ChangeFact::InForce);
        self.clear(&plan);
        self.want_what_follows(&plan, &before);
        self.revive_spared();
        self.be_done_again(&plan);
    }

    /// What the graph asks for besides what the plan says, and what people had asked for.
    pub(super) fn want_what_follows(&mut self, plan: &Plan, before: &UnitSet) {
        self.is_turned_by_change = true;
        self.propagate();
        self.wish_what_the_graph_asks(plan, before);
        self.propagate();
        self.want_as_before();
        self.propagate();
        self.is_turned_by_change = false;
    }

    /// A roll back: whoever the change turned is wanted as before it, unless a person had a word in between.
    fn want_as_before(&mut self) {
        let Some(change) = self.change.as_ref().filter(|change| change.rolls_back.is_some()) else { return };
        for (id, before) in change.desires.clone() {
            let now = self.units[id].desired;
            match before {
                Desired::Up(source) if !now.is_up() => self.wishes.push_back(Wish::Up(id, source)),
                Desired::Up(_) => {}
                Desired::Down(DownSource::Dependency) if now.is_up() => {
                    self.wishes.push_back(Wish::FollowDown(id));
                }
                Desired::Down(source) if now.is_up() => self.wishes.push_back(Wish::Down(id, source)),
                Desired::Down(_) => self.set_desired(id, before),
            }
        }
        self.propagate();
    }

    fn take_up_step(&mut self, step: &Step, before: &UnitSet) {
        let id = step.unit;
        self.mark(id);
        match &step.action {
            // What cannot be killed is still there: it starts when that has gone.
            Action::Start | Action::Add if self.units[id].is_live() => {
                self.keep_what_lives(id, before);
                if self.spec(id).enabled {
                    self.wishes.push_back(Wish::Up(id, UpSource::Boot));
                }
            }
            Action::Start | Action::Add => self.make_unit(id),
            Action::Remove => {}
            Action::Restart | Action::FollowRestart | Action::FollowStop => {
                let is_other_kind = before.unit(id).map(|spec| spec.kind) != Some(self.spec(id).kind);
                if is_other_kind && self.units[id].is_live() {
                    self.keep_what_lives(id, before);
                } else if is_other_kind {
                    self.leave_unhealed(id);
                    let desired = self.units[id].desired;
                    self.make_unit(id);
                    self.units[id].desired = desired;
                } else {
                    self.fit_probes(id);
                    self.ask_anew(id);
                    self.give_another_try(id);
                }
            }
            Action::Enable => {
                self.fit(id, before);
                if self.units[id].desired == Desired::Down(DownSource::Disabled) {
                    self.wishes.push_back(Wish::Up(id, UpSource::Boot));
                }
            }
            Action::Disable | Action::Live => self.fit(id, before),
            Action::Metadata => {}
            Action::Rename { was } => {
                // Under its new name the keeper knows nothing of it yet.
                self.units[id].noted = None;
                self.gone_names.push(was.clone());
            }
        }
    }

    /// Of another kind it may be, but what cannot be killed is not forgotten for that.
    fn keep_what_lives(&mut self, id: UnitId, before: &UnitSet) {
        let Some(before) = before.unit(id).map(|spec| spec.kind) else { return };
        if before != self.spec(id).kind {
            self.keep_leftover(id, before);
            self.fit_probes(id);
            self.units[id].has_passed = false;
        }
    }

    /// As if it had never been; numbers of runs go on.
    fn make_unit(&mut self, id: UnitId) {
        if self.units[id].state.name() != StateName::Inactive {
            self.enter(id, UnitState::Inactive);
        }
        let spec = self.spec(id);
        let (probes, is_enabled) = (spec.health.len(), spec.enabled);
        let old = &mut self.units[id];
        let last_ordinal = old.last_ordinal;
        self.units[id] = Unit { last_ordinal, since: self.now.mono, ..Unit::new(probes) };
        if is_enabled {
            self.wishes.push_back(Wish::Up(id, UpSource::Boot));
        }
    }

    /// A unit that goes on under its new definition.
    fn fit(&mut self, id: UnitId, before: &UnitSet) {
        let set = Arc::clone(&self.set);
        let (Some(old), Some(new)) = (before.unit(id), set.unit(id)) else { return };
        if old.recover != new.recover {
            self.leave_ladder(id);
        }
        if old.health != new.health {
            self.fit_probes(id);
            self.ask_anew(id);
        }
        if self.is_job(id) && old.job != new.job {
            let was_watched = old.job.as_ref().is_some_and(|job| job.is_watched_outside());
            self.refit_job(id, was_watched);
        }
        self.give_another_try(id);
    }

    fn ask_anew(&mut self, id: UnitId) {
        let is_asked = self.units[id].run.is_some_and(|run| run.pid.is_some() || run.is_watch);
        if self.units[id].is_up() && is_asked && !self.is_job(id) {
            self.start_probing(id);
        }
    }

    fn fit_probes(&mut self, id: UnitId) {
        self.forget_probes(id);
        let count = self.spec(id).health.len();
        self.units[id].probes = std::iter::repeat_with(ProbeTrack::default).take(count).collect();
    }

    /// Earlier failures say nothing about another definition.
    fn give_another_try(&mut self, id: UnitId) {
        let rests = matches!(self.units[id].state.name(), StateName::Failed | StateName::Backoff);
        self.forget_failures(id);
        let is_done = self.units[id].state.name() == StateName::Completed;
        let runs_again = is_done && self.change.as_ref().is_some_and(|change| change.held.contains(&id));
        if (rests || runs_again) && self.units[id].desired.is_up() {
            self.called.push(id);
        }
    }

    /// The supervisor was lost in the step that took the definitions up. Whose run had begun before that has not shown yet
    /// what it is like under them.
    pub(crate) fn forgive_earlier_definitions(&mut self, ended: &[(UnitName, Timestamp)]) {
        let Some(change) = self.change.as_ref().filter(|change| change.stage != Stage::Stopping) else {
            return;
        };
        let (since, restarts): (_, BTreeSet<UnitId>) =
            (change.in_force_since, change.plan.restarts().collect());
        for (name, _) in ended.iter().filter(|(_, began)| *began < since) {
            let Some(id) = self.set.slot(name.as_str()).filter(|id| restarts.contains(id)) else { continue };
            self.ended_essentials.remove(&id);
            self.give_another_try(id);
        }
    }

    /// New edges: what is required now is wanted up, unless a person stopped it; and what was down only with
    /// something that it no longer requires comes back.
    fn wish_what_the_graph_asks(&mut self, plan: &Plan, before: &UnitSet) {
        let set = Arc::clone(&self.set);
        for step in &plan.steps {
            let id = step.unit;
            let Some(spec) = set.unit(id).filter(|spec| !spec.is_removed) else { continue };
            if self.units[id].desired.is_up() {
                for edge in spec.depends_on.iter().filter(|edge| edge.required) {
                    if !self.units[edge.unit].desired.is_up() && !self.is_down_by_a_person(edge.unit) {
                        self.wishes.push_back(Wish::Up(edge.unit, UpSource::Dependent));
                    }
                }
            } else if self.units[id].desired == Desired::Down(DownSource::Dependency)
                && before.unit(id).is_some_and(|before| requires_less(before, spec))
                && self.would_be_complete(id)
            {
                self.wishes.push_back(Wish::Up(id, UpSource::Dependent));
            }
        }
    }

    /// Forgets what an earlier generation had and the keeper still remembers.
    pub(crate) fn gone_notes(&mut self) -> Vec<Effect> {
        use crate::engine::effect::Note;
        let over: Vec<UnitId> = self
            .touched
            .iter()
            .copied()
            .filter(|id| {
                self.spec(*id).is_removed && !self.units[*id].is_live() && self.units[*id].noted.is_some()
            })
            .collect();
        for id in over {
            self.units[id].noted = None;
            self.touched.remove(&id);
            let name = self.spec(id).name.clone();
            self.gone_names.push(name);
        }
        std::mem::take(&mut self.gone_names)
            .into_iter()
            .map(|name| Effect::Remember(Note::Gone(name)))
            .collect()
    }
}

/// Something that it required before.
fn requires_less(before: &UnitSpec, after: &UnitSpec) -> bool {
    let mut required = before.depends_on.iter().filter(|edge| edge.required);
    required.any(|edge| !after.depends_on.iter().any(|still| still.required && still.unit == edge.unit))
}
