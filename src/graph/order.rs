//! The order in which units start, and the exact reverse in which they stop.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::graph::Graph;
use crate::unit::diagnostic::index;
use crate::unit::spec::{UnitId, UnitSet};

impl Graph {
    /// All units, each after its phase's forerunners and everything it depends on; otherwise by
    /// `UnitId`. Units of a cycle, which a checked set does not have, come last.
    pub fn start_order(&self, set: &UnitSet) -> Vec<UnitId> {
        let key = |unit: UnitId| Reverse((set.unit(unit).map(|spec| spec.phase), unit));
        let mut missing: Vec<usize> = set.units.iter().map(|unit| unit.depends_on.len()).collect();
        let mut free: BinaryHeap<_> =
            set.ids().zip(&missing).filter(|(_, count)| **count == 0).map(|(unit, _)| key(unit)).collect();
        let mut order = Vec::with_capacity(set.units.len());
        while let Some(Reverse((_, unit))) = free.pop() {
            order.push(unit);
            for dependent in self.dependents(unit) {
                let Some(count) = missing.get_mut(index(dependent.unit.0)) else { continue };
                *count = count.saturating_sub(1);
                if *count == 0 {
                    free.push(key(dependent.unit));
                }
            }
        }
        let left = set.ids().zip(&missing).filter(|(_, count)| **count > 0).map(|(unit, _)| unit);
        order.extend(left);
        order
    }

    /// The reverse of the start: later phases first, dependents before what they depend on.
    pub fn stop_order(&self, set: &UnitSet) -> Vec<UnitId> {
        let mut order = self.start_order(set);
        order.reverse();
        order
    }

    /// How many units of the same phase must come before each, by `UnitId`: its row in a drawing.
    pub fn depths(&self, set: &UnitSet) -> Vec<usize> {
        let mut depths = vec![0_usize; set.units.len()];
        for id in self.start_order(set) {
            let Some(unit) = set.unit(id) else { continue };
            let above = unit
                .depends_on
                .iter()
                .filter(|edge| set.unit(edge.unit).is_some_and(|target| target.phase == unit.phase))
                .filter_map(|edge| depths.get(index(edge.unit.0)))
                .max();
            let depth = above.map_or(0, |above| above.saturating_add(1));
            if let Some(slot) = depths.get_mut(index(id.0)) {
                *slot = depth;
            }
        }
        depths
    }
}
