//! What is touched when a unit is not there.

use std::collections::{BTreeMap, VecDeque};

use crate::graph::{Dependent, Graph};
use crate::unit::spec::UnitId;

/// A unit that depends on another, directly or through others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impact {
    pub unit: UnitId,
    /// The unit through which it is reached: the one it depends on itself.
    pub through: UnitId,
    /// The edge to `through`.
    pub edge: Dependent,
    /// Edges between; 1 is a direct dependent.
    pub distance: u32,
    /// Every edge of the way requires; false when one of them does without.
    pub required: bool,
}

impl Graph {
    /// All that depends on `unit`, nearest first, each once by its most binding way.
    pub fn impact(&self, unit: UnitId) -> Vec<Impact> {
        let mut found: BTreeMap<UnitId, Impact> = BTreeMap::new();
        // Ways that bind are walked to their end first, so that a weak way never hides one.
        let mut weak: VecDeque<Impact> = VecDeque::new();
        let mut next: VecDeque<Impact> = self.beyond(unit, 0, true);
        while let Some(impact) = next.pop_front().or_else(|| weak.pop_front()) {
            if impact.unit == unit || found.contains_key(&impact.unit) {
                continue;
            }
            if !impact.required && !next.is_empty() {
                weak.push_back(impact);
                continue;
            }
            found.insert(impact.unit, impact);
            next.extend(self.beyond(impact.unit, impact.distance, impact.required));
        }
        let mut impacts: Vec<Impact> = found.into_values().collect();
        impacts.sort_by_key(|impact| (impact.distance, impact.unit));
        impacts
    }

    fn beyond(&self, unit: UnitId, distance: u32, required: bool) -> VecDeque<Impact> {
        let dependents = self.dependents(unit).iter();
        dependents
            .map(|edge| Impact {
                unit: edge.unit,
                through: unit,
                edge: *edge,
                distance: distance.saturating_add(1),
                required: required && edge.required,
            })
            .collect()
    }
}
