//! Makes a failing history small: drops commands and units while the same promise stays broken.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sim::history::History;
use crate::unit::spec::recover::Rung;
use crate::unit::spec::{UnitId, UnitSet};

/// Histories that shrinking may live through before it is content with what it has.
const PATIENCE: u32 = 600;

/// The smallest history found that breaks the invariant with this number.
pub fn shrink(history: &History, number: u8) -> History {
    let mut best = history.clone();
    let mut left = PATIENCE;
    let mut fails = |candidate: &History| {
        left = left.saturating_sub(1);
        left > 0 && candidate.live().failure.is_some_and(|failure| failure.violation.number == number)
    };
    loop {
        let before = (best.commands.len(), best.set.units.len());
        best = fewer_commands(best, &mut fails);
        best = fewer_units(best, &mut fails);
        best = fewer_edges(best, &mut fails);
        if (best.commands.len(), best.set.units.len()) == before {
            return best;
        }
    }
}

/// Drops runs of commands, long ones first.
fn fewer_commands(mut best: History, fails: &mut impl FnMut(&History) -> bool) -> History {
    let mut chunk = best.commands.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 1; // the boot stays
        while from < best.commands.len() {
            let mut candidate = best.clone();
            let to = from.saturating_add(chunk).min(candidate.commands.len());
            candidate.commands.drain(from..to);
            if fails(&candidate) {
                best = candidate;
            } else {
                from = from.saturating_add(chunk);
            }
        }
        chunk = chunk.checked_div(2).unwrap_or(0);
    }
    best
}

fn fewer_units(mut best: History, fails: &mut impl FnMut(&History) -> bool) -> History {
    for id in best.set.ids().collect::<Vec<_>>().into_iter().rev() {
        if best.set.units.len() < 2 {
            break;
        }
        let candidate = without(&best, id);
        if fails(&candidate) {
            best = candidate;
        }
    }
    best
}

fn fewer_edges(mut best: History, fails: &mut impl FnMut(&History) -> bool) -> History {
    for at in 0..best.set.units.len() {
        let count = best.set.units.get(at).map_or(0, |unit| unit.depends_on.len());
        for edge in (0..count).rev() {
            let mut set = UnitSet::clone(&best.set);
            if let Some(unit) = set.units.get_mut(at).filter(|unit| edge < unit.depends_on.len()) {
                unit.depends_on.remove(edge);
            }
            let candidate = History { set: Arc::new(set), ..best.clone() };
            if fails(&candidate) {
                best = candidate;
            }
        }
    }
    best
}

/// The history as if the unit had never been.
fn without(history: &History, gone: UnitId) -> History {
    let mut set = UnitSet::clone(&history.set);
    let Some(at) = usize::try_from(gone.0).ok().filter(|at| *at < set.units.len()) else {
        return history.clone();
    };
    let name = set.units.remove(at).name;
    set.sorted = set.sorted.min(set.units.len());
    let moved: BTreeMap<UnitId, UnitId> = history.set.ids().filter(|id| *id != gone).zip(set.ids()).collect();
    for unit in &mut set.units {
        unit.depends_on.retain(|edge| edge.unit != gone);
        for edge in &mut unit.depends_on {
            edge.unit = moved.get(&edge.unit).copied().unwrap_or(edge.unit);
        }
        for rung in unit.recover.rungs.to_mut() {
            if let Rung::Restart { with } = rung {
                with.retain(|other| *other != gone);
                for other in with {
                    *other = moved.get(other).copied().unwrap_or(*other);
                }
            }
        }
        unit.conflicts.retain(|other| *other != gone);
        for other in &mut unit.conflicts {
            *other = moved.get(other).copied().unwrap_or(*other);
        }
    }
    let mut candidate = History { set: Arc::new(set), ..history.clone() };
    candidate.commands.retain(|(_, command)| !command.names().contains(&name));
    candidate
}
