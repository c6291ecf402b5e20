//! What one set becomes by the next: units keep their numbers, whatever comes and goes around them.
//!
//! ```text
//! slots of the earlier set + definitions of the next -> [who was renamed] -> who stands where -> numbers translated
//! ```
//! Everything that is kept by `UnitId` stays true over a change, so nothing but definitions must be exchanged.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::unit::diagnostic::{Place, index, saturated};
use crate::unit::fingerprint::nameless;
use crate::unit::name::UnitName;
use crate::unit::schedule::Timetable;
use crate::unit::spec::job::JobSpec;
use crate::unit::spec::listen::Listen;
use crate::unit::spec::recover::{Ladder, Rung};
use crate::unit::spec::{Fingerprint, PhaseId, UnitId, UnitSet, UnitSpec};

/// A set that takes the place of another.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    pub set: UnitSet,
    /// Units that only changed their names, with the names that they had.
    pub renamed: Vec<(UnitId, UnitName)>,
}

impl UnitSet {
    /// The definitions and settings of `next` at the numbers that units have here. What is new stands behind; what
    /// is gone leaves a slot that does nothing, and gets it back when the name comes back.
    pub fn followed_by(&self, next: &Self) -> Merged {
        let renames = renames(self, next);
        let mut units = self.units.clone();
        let mut moved = vec![UnitId(u32::MAX); next.units.len()];
        for (id, unit) in next.present().zip(next.present_units()) {
            let renamed = renames.get(&id).copied();
            let slot = renamed.or_else(|| self.slot(unit.name.as_str())).unwrap_or_else(|| {
                units.push(unit.clone());
                UnitId(saturated(units.len().saturating_sub(1)))
            });
            if let Some(moved) = moved.get_mut(index(id.0)) {
                *moved = slot;
            }
        }
        let stays: BTreeSet<UnitId> = moved.iter().copied().collect();
        for (id, unit) in self.ids().zip(&mut units) {
            if !stays.contains(&id) {
                *unit = tombstone(unit, phase_of(unit, self, next));
            }
        }
        for (unit, slot) in next.units.iter().zip(&moved) {
            if let Some(place) = units.get_mut(index(slot.0)) {
                *place = translated(unit.clone(), &moved);
            }
        }
        let was = |id: UnitId| self.unit(id).map(|unit| (id, unit.name.clone()));
        let mut renamed: Vec<(UnitId, UnitName)> = renames.into_values().filter_map(was).collect();
        renamed.sort_unstable();
        Merged { set: Self { sorted: ordered(&units), units, ..settings_of(next) }, renamed }
    }
}

/// All but the units.
fn settings_of(set: &UnitSet) -> UnitSet {
    UnitSet {
        units: Vec::new(),
        sorted: 0,
        phases: set.phases.clone(),
        boot_timeout: set.boot_timeout,
        shutdown_timeout: set.shutdown_timeout,
        log_total_bytes: set.log_total_bytes,
        alerts: set.alerts.clone(),
        concurrency: set.concurrency,
        hooks: set.hooks.clone(),
        heartbeat: set.heartbeat.clone(),
        changes: set.changes.clone(),
    }
}

/// How many from the front are ordered by name.
fn ordered(units: &[UnitSpec]) -> usize {
    let falls = units.iter().zip(units.iter().skip(1)).position(|(one, two)| one.name >= two.name);
    falls.map_or(units.len(), |at| at.saturating_add(1))
}

/// Where the unit stood in the boot, by the name of its phase; else at the end, where it holds nobody up.
fn phase_of(unit: &UnitSpec, set: &UnitSet, next: &UnitSet) -> PhaseId {
    let name = set.phases.get(usize::from(unit.phase.0));
    let at = next.phases.iter().position(|phase| Some(phase) == name);
    let last = next.phases.len().saturating_sub(1);
    PhaseId(u16::try_from(at.unwrap_or(last)).unwrap_or(u16::MAX))
}

/// What is left of a unit that was removed: its name and kind, and nothing that acts, is asked or holds another.
fn tombstone(unit: &UnitSpec, phase: PhaseId) -> UnitSpec {
    UnitSpec {
        phase,
        is_removed: true,
        enabled: false,
        blocks_phase: false,
        essential: false,
        protected: false,
        depends_on: Vec::new(),
        conflicts: Vec::new(),
        health: Vec::new(),
        watchdog: None,
        listen: Listen::default(),
        recover: Ladder::empty(),
        job: unit.job.as_deref().map(|job| Box::new(unarmed(job))),
        slo_ppm: None,
        fingerprint: Fingerprint(0),
        // Its file is not among those that were read.
        place: Place::DIRECTORY,
        ..unit.clone()
    }
}

/// A job that nothing starts any more.
fn unarmed(job: &JobSpec) -> JobSpec {
    JobSpec {
        timetable: Timetable { schedules: Vec::new(), zone: job.timetable.zone.clone() },
        every: None,
        on_boot: false,
        run_at_load: false,
        after: Vec::new(),
        paths: Vec::new(),
        webhook: None,
        ..job.clone()
    }
}

/// The definition with the numbers that other units have in the merged set.
fn translated(mut unit: UnitSpec, moved: &[UnitId]) -> UnitSpec {
    let translate = |id: &mut UnitId| *id = moved.get(index(id.0)).copied().unwrap_or(UnitId(u32::MAX));
    unit.depends_on.iter_mut().for_each(|edge| translate(&mut edge.unit));
    unit.depends_on.sort_by_key(|edge| edge.unit);
    unit.conflicts.iter_mut().for_each(translate);
    unit.conflicts.sort_unstable();
    let names_others = |rung: &Rung| matches!(rung, Rung::Restart { with } if !with.is_empty());
    if unit.recover.rungs.iter().any(names_others) {
        let mut rungs = unit.recover.rungs.into_owned();
        for rung in &mut rungs {
            match rung {
                Rung::Restart { with } => with.iter_mut().for_each(translate),
                Rung::Exec { .. } | Rung::Reload(_) | Rung::Stop | Rung::Alert { .. } => {}
            }
        }
        unit.recover.rungs = Cow::Owned(rungs);
    }
    if let Some(job) = &mut unit.job {
        job.after.iter_mut().for_each(|after| translate(&mut after.unit));
    }
    unit
}

/// A chain of renamed units, each of which names the one before, is followed so far.
const MOST_ROUNDS: usize = 8;

/// Units of `next`, each with the number of the one here that it was: of a file that was only given another name.
/// What two could be, or what could be two, is nobody's.
fn renames(before: &UnitSet, next: &UnitSet) -> BTreeMap<UnitId, UnitId> {
    let mut gone: Vec<UnitId> = of(before, |unit| next.find(unit.name.as_str()).is_none());
    // A name that is known has a slot of its own.
    let mut new: Vec<UnitId> = of(next, |unit| before.slot(unit.name.as_str()).is_none());
    let mut found = BTreeMap::new();
    if gone.is_empty() || new.is_empty() {
        return found;
    }
    // Who was renamed is known to the others by the new name.
    let mut renamed = before.clone();
    for _ in 0..MOST_ROUNDS {
        let olds = alone(&gone, &renamed);
        let pairs: Vec<(UnitId, UnitId)> = alone(&new, next)
            .into_iter()
            .filter_map(|(print, new)| Some((new, *olds.get(&print)?)))
            .collect();
        if pairs.is_empty() {
            break;
        }
        for (new, old) in &pairs {
            if let (Some(unit), Some(to)) = (renamed.units.get_mut(index(old.0)), next.unit(*new)) {
                unit.name = to.name.clone();
            }
        }
        found.extend(pairs);
        let taken: BTreeSet<UnitId> = found.values().copied().collect();
        gone.retain(|id| !taken.contains(id));
        new.retain(|id| !found.contains_key(id));
    }
    found
}

/// The units for which it holds, but for those whose definition may say something else under another name.
fn of(set: &UnitSet, holds: impl Fn(&UnitSpec) -> bool) -> Vec<UnitId> {
    let units = set.present().zip(set.present_units());
    units.filter(|(_, unit)| holds(unit) && !speaks_of_itself(unit)).map(|(id, _)| id).collect()
}

/// One of several copies, or a text that asks mcsup who it is, wherever it stands.
fn speaks_of_itself(unit: &UnitSpec) -> bool {
    unit.instance.is_some() || format!("{unit:?}").contains("MCSUP_")
}

/// Those that no other has the definition of, but for the name.
fn alone(ids: &[UnitId], set: &UnitSet) -> BTreeMap<Fingerprint, UnitId> {
    let mut found: BTreeMap<Fingerprint, Vec<UnitId>> = BTreeMap::new();
    for (id, unit) in ids.iter().filter_map(|id| Some((*id, set.unit(*id)?))) {
        found.entry(nameless(unit, set)).or_default().push(id);
    }
    found
        .into_iter()
        .filter_map(|(print, ids)| match ids.as_slice() {
            [only] => Some((print, *only)),
            [] | [_, _, ..] => None,
        })
        .collect()
}
