//! Makes a failing history small: drops commands and units while the same promise stays broken.

use std::sync::Arc;

use crate::sim::changes;
use crate::sim::command::Command;
use crate::sim::history::History;
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
        best = fewer_candidates(best, &mut fails);
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
            let set = if best.candidates.is_empty() { set } else { set.fingerprinted() };
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
    let Some(name) = history.set.unit(gone).map(|unit| unit.name.clone()) else { return history.clone() };
    let less = |set: &Arc<UnitSet>| match set.find(name.as_str()) {
        Some(id) => Arc::new(changes::without(set, id)),
        None => Arc::clone(set),
    };
    let candidates = history.candidates.iter().map(|(name, set)| (name.clone(), less(set))).collect();
    let mut candidate = History { set: less(&history.set), candidates, ..history.clone() };
    candidate.commands.retain(|(_, command)| !command.names().contains(&name));
    candidate
}

/// Candidates that nobody proposes, and units of those that are.
fn fewer_candidates(mut best: History, fails: &mut impl FnMut(&History) -> bool) -> History {
    let is_proposed = |best: &History, name: &str| {
        let names = |command: &Command| matches!(command, Command::Change { name: it, .. } if **it == *name);
        best.commands.iter().any(|(_, command)| names(command))
    };
    let proposed: Vec<bool> = best.candidates.iter().map(|(name, _)| is_proposed(&best, name)).collect();
    let mut kept = proposed.into_iter();
    best.candidates.retain(|_| kept.next().unwrap_or(true));
    for at in 0..best.candidates.len() {
        let units = best.candidates.get(at).map_or(0, |(_, set)| set.units.len());
        for unit in (0..units).rev() {
            let mut candidate = best.clone();
            let id = UnitId(u32::try_from(unit).unwrap_or(0));
            if let Some((_, set)) = candidate.candidates.get_mut(at).filter(|(_, set)| set.units.len() > 1) {
                let is_new = set.unit(id).is_some_and(|unit| best.set.find(unit.name.as_str()).is_none());
                if is_new {
                    *set = Arc::new(changes::without(set, id));
                    if fails(&candidate) {
                        best = candidate;
                    }
                }
            }
        }
        best = nearer(best, at, fails);
    }
    best
}

/// Units of a candidate that are as they were before the change.
fn nearer(mut best: History, at: usize, fails: &mut impl FnMut(&History) -> bool) -> History {
    let names: Vec<_> = best.set.units.iter().map(|unit| unit.name.clone()).collect();
    for name in names {
        let mut candidate = best.clone();
        let Some((_, set)) = candidate.candidates.get_mut(at) else { break };
        let (Some(was), Some(is)) = (best.set.find(name.as_str()), set.find(name.as_str())) else { continue };
        let same_numbers =
            best.set.units.len() == set.units.len() && was == is && best.set.phases == set.phases;
        if !same_numbers || best.set.unit(was) == set.unit(is) {
            continue;
        }
        let mut plain = UnitSet::clone(set);
        if let Some((unit, spec)) =
            usize::try_from(is.0).ok().and_then(|at| plain.units.get_mut(at)).zip(best.set.unit(was))
        {
            *unit = spec.clone();
        }
        *set = Arc::new(plain.fingerprinted());
        if fails(&candidate) {
            best = candidate;
        }
    }
    best
}
