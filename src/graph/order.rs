//! The order in which units start, and the exact reverse in which they stop.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::graph::Graph;
use crate::unit::diagnostic::index;
use crate::unit::spec::{UnitId, UnitSet};

impl Graph {
    /// All units that are there, each after its phase's forerunners and everything it depends on; otherwise by
    /// `UnitId`. Units of a cycle, which a checked set does not have, come last.
    pub fn start_order(&self, set: &UnitSet) -> Vec<UnitId> {
        let key = |unit: UnitId| Reverse((set.unit(unit).map(|spec| spec.phase), unit));
        let mut missing: Vec<usize> = set.units.iter().map(|unit| unit.depends_on.len()).collect();
        let needs_none = |unit: &UnitId| missing.get(index(unit.0)) == Some(&0);
        let mut free: BinaryHeap<_> = set.present().filter(needs_none).map(key).collect();
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
        order.extend(set.present().filter(|unit| missing.get(index(unit.0)).is_some_and(|count| *count > 0)));
        order
    }

    /// The reverse of the start: later phases first, dependents before what they depend on.
    pub fn stop_order(&self, set: &UnitSet) -> Vec<UnitId> {
        let mut order = self.start_order(set);
        order.reverse();
        order
    }

    /// How many units of the same phase come before each, by `UnitId`, those that a job runs after among
    /// them: its column in a drawing.
    pub fn depths(&self, set: &UnitSet) -> Vec<usize> {
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); set.units.len()];
        let mut missing: Vec<usize> = vec![0; set.units.len()];
        for ((at, unit), missing) in set.units.iter().enumerate().zip(&mut missing) {
            let after = unit.job.iter().flat_map(|job| &job.after).map(|after| after.unit);
            for above in unit.depends_on.iter().map(|edge| edge.unit).chain(after) {
                let is_beside = set.unit(above).is_some_and(|above| above.phase == unit.phase);
                if let Some(below) = below.get_mut(index(above.0)).filter(|_| is_beside) {
                    below.push(at);
                    *missing = missing.saturating_add(1);
                }
            }
        }
        let mut depths = vec![0_usize; set.units.len()];
        let free = missing.iter().enumerate().filter(|(_, missing)| **missing == 0);
        let mut free: Vec<usize> = free.map(|(at, _)| at).collect();
        // What waits for a job that runs after it is in a ring of two kinds of edges, and keeps the depth it has.
        while let Some(at) = free.pop() {
            let depth = depths.get(at).map_or(0, |depth| depth.saturating_add(1));
            for next in below.get(at).map_or(&[][..], Vec::as_slice) {
                if let (Some(slot), Some(missing)) = (depths.get_mut(*next), missing.get_mut(*next)) {
                    *slot = depth.max(*slot);
                    *missing = missing.saturating_sub(1);
                    if *missing == 0 {
                        free.push(*next);
                    }
                }
            }
        }
        depths
    }
}
