//! The dependency graph: who needs whom, barriers, cycles, and how to draw them.
#![deny(
    clippy::disallowed_types,
    clippy::iter_over_hash_type,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    clippy::panic
)]

mod order;
mod cycle;
mod impact;
mod behind;
mod plan;
mod draw;

use crate::unit::diagnostic::index;
use crate::unit::spec::{Condition, Follow, PhaseId, UnitId, UnitSet};
use crate::unit::{self, Loaded, SourceFile};

pub use behind::{Behind, REACH};
pub use draw::Format;
pub use impact::Impact;
pub use plan::{Action, Because, Plan, Step};

/// Reads everything a units directory says, and all that is wrong with it, cycles included.
pub fn load(sources: &[SourceFile]) -> Loaded {
    let mut read = unit::read_all(sources);
    read.diagnostics.extend(cycle::cycles(&read.set, &read.places));
    read.finish()
}

/// The edges of a `UnitSet` seen from their other end. Built once per generation; every question
/// the engine asks in a step is a slice that is already there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    dependents: Lists<Dependent>,
    conflicts: Lists<UnitId>,
    phases: Lists<UnitId>,
}

/// Many short lists end to end: those of ten thousand units stay near, where a box each is far from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lists<T> {
    ends: Box<[u32]>,
    items: Box<[T]>,
}

/// A unit that depends on another, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependent {
    pub unit: UnitId,
    pub condition: Condition,
    pub required: bool,
    pub follow: Follow,
}

impl Graph {
    /// Ids that `set` does not have are passed over, and units that were removed.
    pub fn new(set: &UnitSet) -> Self {
        let mut dependents: Vec<Vec<Dependent>> = vec![Vec::new(); set.units.len()];
        let mut conflicts: Vec<Vec<UnitId>> = vec![Vec::new(); set.units.len()];
        let mut phases: Vec<Vec<UnitId>> = vec![Vec::new(); set.phases.len()];
        let is_there = |id: &UnitId| set.unit(*id).is_some_and(|unit| !unit.is_removed);
        for (id, unit) in set.present().zip(set.present_units()) {
            for edge in unit.depends_on.iter().filter(|edge| is_there(&edge.unit)) {
                if let Some(list) = dependents.get_mut(unit_index(edge.unit)) {
                    list.push(Dependent {
                        unit: id,
                        condition: edge.condition,
                        required: edge.required,
                        follow: edge.follow,
                    });
                }
            }
            for &other in unit.conflicts.iter().filter(|other| is_there(other)) {
                for (one, two) in [(id, other), (other, id)] {
                    if let Some(list) = conflicts.get_mut(unit_index(one)) {
                        list.push(two);
                    }
                }
            }
            if let Some(list) = phases.get_mut(usize::from(unit.phase.0)) {
                list.push(id);
            }
        }
        for list in &mut conflicts {
            list.sort_unstable();
            list.dedup();
        }
        Self { dependents: Lists::of(dependents), conflicts: Lists::of(conflicts), phases: Lists::of(phases) }
    }

    /// Who names `unit` in `depends_on`, by `UnitId`.
    pub fn dependents(&self, unit: UnitId) -> &[Dependent] {
        self.dependents.get(unit_index(unit))
    }

    /// Who may not be up together with `unit`, whichever of the two says so; by `UnitId`.
    pub fn conflicts_of(&self, unit: UnitId) -> &[UnitId] {
        self.conflicts.get(unit_index(unit))
    }

    /// The units of one phase, by `UnitId`.
    pub fn units_of(&self, phase: PhaseId) -> &[UnitId] {
        self.phases.get(usize::from(phase.0))
    }
}

impl<T> Lists<T> {
    fn of(lists: Vec<Vec<T>>) -> Self {
        let mut end = 0_usize;
        let count = |list: &Vec<T>| {
            end += list.len();
            u32::try_from(end).unwrap_or(u32::MAX) // a set that is read from files stays far below
        };
        let ends = lists.iter().map(count).collect();
        Self { ends, items: lists.into_iter().flatten().collect() }
    }

    /// Empty where there is no such list.
    fn get(&self, at: usize) -> &[T] {
        let before = at.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = before.zip(self.ends.get(at)).map(|(start, end)| index(start)..index(*end));
        range.and_then(|range| self.items.get(range)).unwrap_or_default()
    }
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

/// Past every index where the number does not fit, so that a lookup finds nothing.
fn unit_index(unit: UnitId) -> usize {
    index(unit.0)
}
