//! What must not be forgotten of a change, and how a new supervisor goes on with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::change::{Change, Stage, held_by};
use crate::engine::desire::Wish;
use crate::engine::effect::{Effect, Note};
use crate::engine::event::{ChangeNote, HandedChange};
use crate::engine::id::UnitId;
use crate::engine::state::{Desired, DownSource, UpSource};
use crate::graph::{Action, Plan};
use crate::unit::name::UnitName;
use crate::unit::spec::UnitSpec;

impl Engine {
    /// A change that has nothing to stop takes its definitions up in the step in which it begins: whoever continues
    /// must know of it before that.
    pub(crate) fn first_change_note(&self) -> Option<Effect> {
        let note = self.change_note().filter(|_| self.noted_change.is_none())?;
        let note = ChangeNote { stage: Stage::Stopping, rolls_back: None, ..note };
        Some(Effect::Remember(Note::Change(Some(Box::new(note)))))
    }

    /// What must not be forgotten of the change, when it is not what the keeper already has.
    pub(crate) fn changed_change_note(&mut self) -> Option<Option<ChangeNote>> {
        let note = self.change_note();
        if self.noted_change == note {
            return None;
        }
        self.noted_change.clone_from(&note);
        Some(note)
    }

    fn change_note(&self) -> Option<ChangeNote> {
        self.change.as_ref().map(|change| ChangeNote {
            generation: change.generation,
            previous: change.previous,
            rules: change.rules,
            rolls_back: change.rolls_back.clone(),
            stage: change.stage,
            in_force_since: change.in_force_since,
            last_incident: change.last_incident,
            was_unwell: change.was_unwell.iter().map(|id| self.spec(*id).name.clone()).collect(),
            reread: change.reread.iter().filter_map(|id| Some(self.known(*id)?.name.clone())).collect(),
            desires: change.desires.iter().map(|(id, it)| (self.spec(*id).name.clone(), *it)).collect(),
            done: change.done.iter().map(|id| self.spec(*id).name.clone()).collect(),
            is_confirmed: change.is_confirmed,
        })
    }

    fn known(&self, id: UnitId) -> Option<&UnitSpec> {
        let other = self.change.as_ref().map(|change| &change.other);
        self.set.unit(id).or_else(|| other?.unit(id))
    }

    /// A new supervisor stands in the middle of a change. The set that the engine was made with is the one in force.
    pub(crate) fn resume_change(&mut self, handed: HandedChange) {
        let HandedChange { note, other } = handed;
        // What it adds has its place in those that come, and what it takes away in those before.
        let find = |name: &UnitName| self.set.slot(name.as_str()).or_else(|| other.slot(name.as_str()));
        let was_unwell = note.was_unwell.iter().filter_map(find).collect();
        let done = note.done.iter().filter_map(find).collect();
        let desires =
            note.desires.iter().filter_map(|(name, desired)| Some((find(name)?, *desired))).collect();
        let reread: BTreeSet<UnitId> = note.reread.iter().filter_map(find).collect();
        let is_in_force = note.stage != Stage::Stopping;
        let (before, after) = if is_in_force { (&other, &self.set) } else { (&self.set, &other) };
        let plan = Plan::with_reread(before, after, &reread);
        let reach = plan.affected(&self.graph);
        self.noted_change = Some(note.clone());
        self.change = Some(Box::new(Change {
            generation: note.generation,
            previous: note.previous,
            rules: note.rules,
            rolls_back: note.rolls_back,
            stage: note.stage,
            other,
            plan,
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
            last_incident: note.last_incident,
            in_force_since: note.in_force_since,
            is_confirmed: note.is_confirmed,
            is_extended: false,
        }));
        self.go_back_again();
        self.resume_change_stage();
    }

    /// It may have been lost before its files were to give way.
    fn go_back_again(&mut self) {
        let Some(change) = &self.change else { return };
        let Some(why) = change.rolls_back.clone() else { return };
        let (generation, previous) = (change.generation, change.previous);
        self.actions.push(Effect::RestoreGeneration { rejected: generation, to: previous, why: why.clone() });
        self.open_change_incident(format!("generation {generation} goes back: {why}").into());
    }

    fn resume_change_stage(&mut self) {
        let Some(change) = &mut self.change else { return };
        let plan = change.plan.clone();
        let (stage, since) = (change.stage, change.in_force_since);
        match stage {
            Stage::Stopping => self.begin_stopping(plan),
            Stage::Clearing => {
                change.held = held_by(&plan);
                self.wish_again(&plan);
                self.clear(&plan);
            }
            Stage::Verifying | Stage::Confirming => {
                self.wish_again(&plan);
                self.watch_change(&plan);
                self.set_windows(since);
            }
        }
    }

    /// The change was noted before its units were: what it wants of them may not have been, but for those of whom a
    /// person wanted something since.
    fn wish_again(&mut self, plan: &Plan) {
        let Some(change) = &self.change else { return };
        let before = Arc::clone(&change.other);
        for step in &plan.steps {
            let id = step.unit;
            let is_enabled = self.spec(id).enabled;
            let desired = self.units[id].desired;
            match step.action {
                Action::Remove => self.wishes.push_back(Wish::Down(id, DownSource::Removed)),
                Action::Disable if change.desires.contains_key(&id) => {
                    self.wishes.push_back(Wish::Down(id, DownSource::Disabled));
                }
                Action::Start | Action::Enable
                    if is_enabled
                        && [DownSource::Disabled, DownSource::Removed]
                            .map(Desired::Down)
                            .contains(&desired) =>
                {
                    self.wishes.push_back(Wish::Up(id, UpSource::Boot));
                }
                Action::Start
                | Action::Add
                | Action::Enable
                | Action::Disable
                | Action::Restart
                | Action::Live
                | Action::Metadata
                | Action::Rename { .. }
                | Action::FollowRestart
                | Action::FollowStop => {}
            }
        }
        self.want_what_follows(plan, &before);
        self.revive_spared();
        self.be_done_again(plan);
    }
}
