//! What lies behind a unit: the dependencies whose trouble may explain its own.

use std::collections::BTreeSet;

use crate::graph::Graph;
use crate::unit::spec::{UnitId, UnitSet};

/// Behind the dependencies that a unit names itself, the walk ends after so many units in all: whose trouble lies
/// further away is not the first that a person looks at, and a failure must not cost more in a larger set.
pub const REACH: usize = 100;

impl Graph {
    /// Its dependencies, required or not, nearest first and otherwise as written: all that it names itself, and of
    /// what lies behind those as many as make `REACH`.
    pub fn behind<'a>(&self, set: &'a UnitSet, unit: UnitId) -> Behind<'a> {
        Behind { set, order: vec![unit], walked: 0, told: 0, seen: BTreeSet::from([unit]) }
    }
}

/// Lazy: who finds the nearest that it looks for walks no further.
#[derive(Debug)]
pub struct Behind<'a> {
    set: &'a UnitSet,
    /// The unit itself, then all that was found.
    order: Vec<UnitId>,
    /// Of those, whose own dependencies were looked at.
    walked: usize,
    told: usize,
    seen: BTreeSet<UnitId>,
}

impl Iterator for Behind<'_> {
    type Item = UnitId;

    fn next(&mut self) -> Option<UnitId> {
        let next = self.told.saturating_add(1);
        while self.order.len() <= next {
            let is_far = self.walked > 0;
            if is_far && self.order.len() > REACH {
                return None;
            }
            let at = *self.order.get(self.walked)?;
            self.walked = self.walked.saturating_add(1);
            for edge in self.set.unit(at).map_or(&[][..], |spec| &spec.depends_on) {
                if is_far && self.order.len() > REACH {
                    break;
                }
                if self.seen.insert(edge.unit) {
                    self.order.push(edge.unit);
                }
            }
        }
        self.told = next;
        self.order.get(next).copied()
    }
}
