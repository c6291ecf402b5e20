//! Other definitions: the candidates of a history, and who hands them to the engine one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::event::{ChangeRules, Event, HandedChange, Proposal};
use crate::engine::id::GenerationId;
use crate::sim::actor::Trait;
use crate::sim::world::{Happening, World, script_of};
use crate::unit::name::UnitName;
use crate::unit::spec::UnitSet;

/// What the supervisor would hold of generations.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// As their files say it.
    candidates: BTreeMap<Box<str>, Arc<UnitSet>>,
    /// What each generation is, in force or not, by its number.
    kept: BTreeMap<GenerationId, Arc<UnitSet>>,
    last: GenerationId,
    in_force: GenerationId,
    is_under_way: bool,
    /// The last of which the end was told.
    ended: GenerationId,
    /// The latest that came meanwhile.
    next: Option<(Box<str>, ChangeRules)>,
    /// How units that no definitions in force name are to behave.
    unheard: BTreeMap<UnitName, Vec<Trait>>,
}

impl World {
    /// Definitions that `change NAME` is about.
    pub fn add_candidate(&mut self, name: Box<str>, set: Arc<UnitSet>) {
        self.changes.candidates.insert(name, set);
    }

    pub(super) fn propose(&mut self, name: Box<str>, rules: ChangeRules) {
        if self.changes.is_under_way || self.engine.is_none() {
            self.changes.next = Some((name, rules));
            return;
        }
        let Some(candidate) = self.changes.candidates.get(&name) else { return };
        let merged = Arc::new(self.set.followed_by(candidate).set);
        let changes = &mut self.changes;
        changes.kept.entry(changes.in_force).or_insert_with(|| Arc::clone(&self.set));
        changes.last = GenerationId(changes.last.0.saturating_add(1));
        changes.kept.insert(changes.last, Arc::clone(&merged));
        changes.is_under_way = true;
        let proposal = Proposal {
            generation: changes.last,
            previous: changes.in_force,
            set: merged,
            reread: BTreeSet::new(),
            rules,
        };
        self.later(Duration::ZERO, Happening::Deliver(Event::ChangeProposed(Box::new(proposal))));
    }

    pub(super) fn use_definitions(&mut self, generation: GenerationId, set: Arc<UnitSet>) {
        for spec in set.units.iter().skip(self.scripts.len()) {
            self.scripts.push(script_of(spec.kind));
        }
        self.changes.in_force = generation;
        self.set = set;
        let is_there = |name: &UnitName| self.set.find(name.as_str()).is_some();
        let (now_there, still): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.changes.unheard).into_iter().partition(|(name, _)| is_there(name));
        self.changes.unheard = still;
        for (name, traits) in now_there {
            let Some(unit) = self.find(&name) else { continue };
            traits.iter().for_each(|what| self.behave(unit, what));
        }
    }

    /// A unit of this name may come by a change: so it will behave then.
    pub(super) fn keep_trait(&mut self, unit: &UnitName, what: &Trait) {
        self.changes.unheard.entry(unit.clone()).or_default().push(what.clone());
    }

    pub(super) fn change_ended(&mut self, generation: GenerationId) {
        self.changes.ended = self.changes.ended.max(generation);
        self.propose_next();
    }

    fn propose_next(&mut self) {
        self.changes.is_under_way = false;
        if let Some((name, rules)) = self.changes.next.take() {
            self.propose(name, rules);
        }
    }

    /// What a new supervisor finds of a change under way. One that was proposed and not noted is proposed again.
    pub(super) fn handed_change(&mut self) -> Option<Box<HandedChange>> {
        // Whose end was told is over, although the keeper may remember it still.
        let note = self.table.notes.change.clone();
        let Some(note) = note.filter(|note| note.generation > self.changes.ended) else {
            self.propose_next();
            return None;
        };
        let in_force = self.changes.in_force;
        let note = note.as_found(in_force);
        let other = if in_force == note.generation { note.previous } else { note.generation };
        let other = self.changes.kept.get(&other)?;
        let other = Arc::new(self.set.followed_by(other).set);
        Some(Box::new(HandedChange { note, other }))
    }
}
