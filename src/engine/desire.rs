//! Who should be up. Wishes come from boot, people, dependents and conflicts, and spread along the graph.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::id::{PhaseId, UnitId};
use crate::engine::state::{Desired, DownSource, StopStage, UnitState, UpSource};
use crate::unit::spec::Follow;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Up(UnitId, UpSource),
    Down(UnitId, DownSource),
    /// What it follows (`follow: stop`) restarts: down, although all it requires is wanted up.
    FollowDown(UnitId),
}

impl Engine {
    /// Spreads every open wish; a queue, so that a chain of any length costs no stack.
    pub(crate) fn propagate(&mut self) {
        while let Some(wish) = self.wishes.pop_front() {
            match wish {
                Wish::Up(id, source) => self.wish_up(id, source),
                // Meanwhile everything it requires may be wanted up again.
                Wish::Down(id, DownSource::Dependency) if self.would_be_complete(id) => {}
                Wish::Down(id, source) => self.wish_down(id, source),
                Wish::FollowDown(id) => self.wish_down(id, DownSource::Dependency),
            }
        }
    }

    fn wish_up(&mut self, id: UnitId, source: UpSource) {
        if self.boot.shutdown.is_some() {
            return; // nothing is resurrected in a shutdown
        }
        let was = self.units[id].desired;
        if was.is_up() && source != UpSource::Operator {
            return;
        }
        self.set_desired(id, Desired::Up(source));
        self.units[id].leaves_dependents = false;
        let (set, graph) = (Arc::clone(&self.set), Arc::clone(&self.graph));
        for other in graph.conflicts_of(id) {
            if self.units[*other].desired.is_up() {
                self.wishes.push_back(Wish::Down(*other, DownSource::Conflict));
            }
        }
        for edge in set.unit(id).map_or(&[][..], |spec| &spec.depends_on) {
            let needed = self.units[edge.unit].desired;
            let is_spared = self.is_turned_by_change && self.is_down_by_a_person(edge.unit);
            if edge.required && !needed.is_up() && !is_spared {
                self.wishes.push_back(Wish::Up(edge.unit, UpSource::Dependent));
            }
        }
        if was.is_up() {
            return;
        }
        for edge in graph.dependents(id) {
            if edge.follow != Follow::Stop
                && self.units[edge.unit].desired == Desired::Down(DownSource::Dependency)
                && self.would_be_complete(edge.unit)
            {
                // It was stopped only because this one was; so it comes back with it.
                self.wishes.push_back(Wish::Up(edge.unit, UpSource::Dependent));
            }
        }
    }

    fn wish_down(&mut self, id: UnitId, source: DownSource) {
        let may_override = match (self.units[id].desired, source) {
            (Desired::Down(DownSource::Shutdown), _) => false,
            (_, DownSource::Shutdown | DownSource::Operator | DownSource::Removed) | (Desired::Up(_), _) => {
                true
            }
            (
                Desired::Down(
                    DownSource::Disabled
                    | DownSource::Operator
                    | DownSource::Dependency
                    | DownSource::Conflict
                    | DownSource::Removed,
                ),
                DownSource::Disabled | DownSource::Dependency | DownSource::Conflict,
            ) => false,
        };
        if !may_override {
            return;
        }
        self.set_desired(id, Desired::Down(source));
        if source == DownSource::Shutdown || self.units[id].leaves_dependents {
            return;
        }
        let graph = Arc::clone(&self.graph);
        for edge in graph.dependents(id) {
            // What has completed needs nothing any more, and must not run again when the other comes back.
            let is_done = self.units[edge.unit].state == UnitState::Completed;
            if edge.required && !is_done && self.units[edge.unit].desired.is_up() {
                self.wishes.push_back(Wish::Down(edge.unit, DownSource::Dependency));
            }
        }
    }

    pub(crate) fn set_desired(&mut self, id: UnitId, desired: Desired) {
        let was_up = self.units[id].desired.is_up();
        if was_up != desired.is_up() {
            self.swayed.entry(id).or_insert(was_up);
            if !self.is_turned_by_change {
                self.forget_desires(&[id]);
            }
        }
        self.units[id].desired = desired;
        if !desired.is_up() {
            self.cancel_rung(id, "not wanted any more");
        }
        self.recount(id);
        self.wake_neighbours(id);
    }

    /// A person stopped it, or something that it requires, near or far.
    pub(crate) fn is_down_by_a_person(&self, id: UnitId) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![id]);
        while let Some(id) = next.pop() {
            match self.units[id].desired {
                Desired::Down(DownSource::Operator) => return true,
                Desired::Down(DownSource::Dependency) if seen.insert(id) => {
                    let required = self.spec(id).depends_on.iter().filter(|edge| edge.required);
                    next.extend(required.map(|edge| edge.unit));
                }
                Desired::Down(
                    DownSource::Dependency
                    | DownSource::Disabled
                    | DownSource::Conflict
                    | DownSource::Removed
                    | DownSource::Shutdown,
                )
                | Desired::Up(_) => {}
            }
        }
        false
    }

    /// Everything it requires is wanted up.
    pub(crate) fn would_be_complete(&self, id: UnitId) -> bool {
        self.spec(id).depends_on.iter().all(|edge| !edge.required || self.units[edge.unit].desired.is_up())
    }

    /// A unit that is to stop waits for the dependents that require it, and in a shutdown for all later phases.
    pub(crate) fn is_held(&self, id: UnitId) -> bool {
        self.dependent_that_holds(id).is_some() || self.phase_that_holds(id).is_some()
    }

    /// Who must be down before `id` may stop.
    pub(crate) fn holder_of(&self, id: UnitId) -> Option<UnitId> {
        self.dependent_that_holds(id)
            .or_else(|| self.phase_that_holds(id).and_then(|phase| self.live_unit_of(phase)))
    }

    fn dependent_that_holds(&self, id: UnitId) -> Option<UnitId> {
        if self.units[id].leaves_dependents {
            return None;
        }
        let holder = self.graph.dependents(id).iter().find(|edge| {
            let dependent = &self.units[edge.unit];
            edge.required
                && !dependent.desired.is_up()
                && dependent.is_live()
                && !self.is_unkillable(edge.unit)
        });
        holder.map(|edge| edge.unit)
    }

    fn phase_that_holds(&self, id: UnitId) -> Option<PhaseId> {
        self.boot.shutdown.and_then(|_| self.live_phase_after(self.spec(id).phase))
    }

    pub(crate) fn is_unkillable(&self, id: UnitId) -> bool {
        matches!(self.units[id].state, UnitState::Stopping { stage: StopStage::Unkillable, .. })
    }
}
