//! A failure stays where it is: whose trouble another unit's explains is not repaired for it.
//!
//! It holds its ladder while what it depends on is in trouble, and for the time its own probes need to see
//! a failure after that. A crash follows the restart policy, whoever is to blame for it.

use crate::engine::Engine;
use crate::engine::id::UnitId;
use crate::engine::state::{StateName, UnitState};
use crate::engine::timers::Timer;

impl Engine {
    /// Whose trouble explains that of this unit: the root of its incident, else the nearest dependency in the same
    /// incident, required or not. `None`: it is its own, or theirs is over.
    pub(crate) fn explained_by_trouble_of(&self, id: UnitId) -> Option<UnitId> {
        let incident = self.units[id].incident?;
        let root = self.incidents.get(&incident).and_then(|found| found.root);
        let is_in_trouble = |other: UnitId| {
            self.units[other].incident == Some(incident) && self.units[other].state.name() != StateName::Ready
        };
        if root == Some(id) {
            return None;
        }
        let mut nearest = None;
        for other in self.behind(id).filter(|other| is_in_trouble(*other)) {
            if root == Some(other) {
                return root;
            }
            nearest.get_or_insert(other);
        }
        nearest
    }

    /// True: its ladder is not its turn. Once nothing explains its trouble any more its probes have the time
    /// that they need to see it.
    pub(crate) fn holds(&mut self, id: UnitId) -> bool {
        if self.explained_by_trouble_of(id).is_some() {
            self.timers.cancel(Some(id), Timer::Hold);
            self.begin_to_hold(id);
            return true;
        }
        if !self.holding.contains(&id) {
            return false;
        }
        if self.timers.at(Some(id), Timer::Hold).is_none() {
            let time = self.detection_time(id);
            self.timers.set(Some(id), Timer::Hold, self.now.mono.after(time));
        }
        true
    }

    fn begin_to_hold(&mut self, id: UnitId) {
        if self.holding.insert(id) {
            let behind: Vec<UnitId> = self.behind(id).collect();
            self.holds_behind.extend(behind.into_iter().map(|other| (other, id)));
        }
    }

    fn end_hold(&mut self, id: UnitId) {
        if self.holding.remove(&id) {
            let behind: Vec<UnitId> = self.behind(id).collect();
            for other in behind {
                self.holds_behind.remove(&(other, id));
            }
        }
    }

    /// What may explain the trouble of others works again, or is no longer wanted.
    pub(crate) fn look_at_holding(&mut self, changed: UnitId) {
        self.end_hold(changed);
        let theirs = (changed, UnitId(0))..=(changed, UnitId(u32::MAX));
        let holding: Vec<UnitId> = self.holds_behind.range(theirs).map(|(_, holder)| *holder).collect();
        for id in holding {
            self.visit();
            self.holds(id);
            self.touch(id);
        }
    }

    pub(crate) fn on_hold_over(&mut self, id: UnitId) {
        self.end_hold(id);
        self.climb(id);
    }

    /// Why nothing is tried, for people.
    pub(crate) fn holding_words(&self, id: UnitId) -> Option<String> {
        if !self.holding.contains(&id) {
            return None;
        }
        let Some(other) = self.explained_by_trouble_of(id) else {
            return Some("what explained it is over; its own turn comes if it lasts".to_owned());
        };
        let name = &self.spec(other).name;
        Some(match self.units[other].state {
            UnitState::Failed { .. } => {
                format!("waits for {name}, whose trouble explains it and which gave up")
            }
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Starting
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Stopping { .. }
            | UnitState::Backoff { .. }
            | UnitState::Completed => format!("waits for {name}, whose trouble explains it"),
        })
    }
}
