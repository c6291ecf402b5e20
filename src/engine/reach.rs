//! Whom an incident reaches without being trouble of their own: who waits for what is in it, near or far, and
//! whom it stopped. They are told of once each.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::effect::Fact;
use crate::engine::id::{IncidentId, UnitId};
use crate::engine::state::{StateName, UnitState, WaitingOn};

impl Engine {
    /// The incident that keeps others from what this unit is for.
    fn incident_in_the_way(&self, id: UnitId) -> Option<IncidentId> {
        let unit = &self.units[id];
        let own = unit.incident.filter(|_| unit.state.name() != StateName::Ready);
        own.or_else(|| unit.reached_by.filter(|incident| self.incidents.contains_key(incident)))
    }

    /// It waits for somebody from now on, or no longer does.
    pub(crate) fn look_who_is_waited_for(&mut self, id: UnitId) {
        let Some(needed) = self.units[id].state.dependency_waited_for() else {
            self.units[id].reached_by = None;
            return;
        };
        if let Some(incident) = self.incident_in_the_way(needed) {
            self.reaches(incident, id);
        }
    }

    /// A unit became part of an incident: whoever waits for it is reached.
    pub(crate) fn reach_who_waits_for(&mut self, id: UnitId, incident: IncidentId) {
        let graph = Arc::clone(&self.graph);
        for edge in graph.dependents(id) {
            self.visit();
            let waits = self.units[edge.unit].state.dependency_waited_for() == Some(id);
            if waits {
                self.reaches(incident, edge.unit);
            }
        }
    }

    /// Once each, and on to those who wait for them; a queue, so that a chain of any length costs no stack.
    pub(crate) fn reaches(&mut self, incident: IncidentId, id: UnitId) {
        let mut queue = vec![id];
        let graph = Arc::clone(&self.graph);
        while let Some(at) = queue.pop() {
            if self.units[at].incident.is_some() || self.units[at].reached_by == Some(incident) {
                continue; // it has trouble of its own, or is known
            }
            self.units[at].reached_by = Some(incident);
            if let Some(found) = self.incidents.get_mut(&incident)
                && found.reached.insert(at)
            {
                self.reached_now.push((incident, at));
            }
            for edge in graph.dependents(at) {
                self.visit();
                let waits = matches!(self.units[edge.unit].state,
                    UnitState::Waiting { on: WaitingOn::Dependency(needed), .. } if needed == at);
                if waits {
                    queue.push(edge.unit);
                }
            }
        }
    }

    /// One fact for each incident, however many it reached.
    pub(crate) fn tell_whom_it_reached(&mut self) {
        let mut reached = std::mem::take(&mut self.reached_now);
        reached.retain(|(incident, unit)| self.is_still_reached(*incident, *unit));
        reached.sort_unstable();
        for together in reached.chunk_by(|(one, _), (other, _)| one == other) {
            let Some((incident, _)) = together.first().copied() else { continue };
            let units = together.iter().map(|(_, unit)| *unit).collect();
            self.facts.push(Fact::IncidentReached { incident, units });
        }
    }

    /// It may have gone on within the step, or become part of the incident, which may have ended.
    fn is_still_reached(&mut self, incident: IncidentId, id: UnitId) -> bool {
        let unit = &self.units[id];
        let is_without = unit.reached_by == Some(incident) || !unit.desired.is_up();
        let is_still = is_without && unit.incident != Some(incident);
        let Some(found) = self.incidents.get_mut(&incident) else { return false };
        if !is_still {
            found.reached.remove(&id);
        }
        is_still
    }
}
