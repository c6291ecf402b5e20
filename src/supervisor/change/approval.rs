//! What waits for somebody who approves of it.

use std::collections::BTreeSet;

use crate::generation::manifest::Word;
use crate::generation::{Store, UnitsFile};
use crate::graph;
use crate::supervisor::change::candidate::{
    Content, Planned, Wanted, add, judge, last_of, named_files, note, plan, sources_of,
};
use crate::unit::name::UnitName;
use crate::unit::spec::UnitId;

/// A generation that waits for somebody who approves of it, for the sake of these units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub generation: u64,
    pub units: Vec<UnitName>,
}

/// Somebody may have decided on it meanwhile.
pub(super) fn waits_still(store: &Store, generation: u64) -> Result<(), String> {
    let verdict = store.verdict(generation).map_err(|error| error.to_string())?;
    if verdict.word == Word::Pending {
        return Ok(());
    }
    Err(format!(
        "generation {generation} does not wait for approval any more; `mcsup generations` says what it is"
    ))
}

/// Keeps it until somebody approves of it; the number under which it is kept.
pub(super) fn pend(
    wanted: &Wanted,
    store: &Store,
    content: &Content,
    waits: &[UnitName],
) -> Result<u64, String> {
    let before = last_of(store, Word::Pending);
    if let Some(known) = before.filter(|known| store.is_same_as(*known, &content.files, &content.named)) {
        return Ok(known);
    }
    let generation = add(wanted, store, content)?;
    let names: Vec<&str> = waits.iter().map(UnitName::as_str).collect();
    let why = format!("waits for `mcsup approve {generation}`: it changes {}", names.join(", "));
    judge(store, generation, Word::Pending, why.clone(), wanted)?;
    note(wanted, ("pending", generation), &why);
    if let Some(before) = before {
        judge(store, before, Word::Superseded, format!("generation {generation} came after it"), wanted)?;
    }
    Ok(generation)
}

/// The same with the files of these units as they are in force. `None`: nothing else differs, or the rest alone makes
/// no sense.
pub(super) fn without(
    wanted: &Wanted,
    store: &Store,
    content: &Content,
    planned: &Planned,
    waits: &[UnitName],
) -> Option<(Content, Planned)> {
    if wanted.in_force.changes.needs_approval {
        return None;
    }
    let current = wanted.current?;
    let in_force = store.files(current).ok()?;
    let held: BTreeSet<String> = waits.iter().flat_map(files_of).collect();
    let is_held = |file: &UnitsFile| held.contains(&file.name);
    let mut files: Vec<UnitsFile> = content.files.iter().filter(|file| !is_held(file)).cloned().collect();
    files.extend(in_force.into_iter().filter(is_held));
    files.sort_by(|one, two| one.name.cmp(&two.name));
    let sources = sources_of(&files);
    let set = graph::load(&sources).set?;
    let named = named_files(&set, &wanted.units_dir).ok()?;
    if store.is_same_as(current, &files, &named) {
        return None;
    }
    let rest = plan(wanted, store, &set, &named, planned.warnings.clone());
    let content = Content { files, named, sources, seen: content.seen.clone() };
    waits_for(wanted, &rest).is_empty().then_some((content, rest))
}

/// Files that may define a unit: its own, or that of the replicas or the template that it is a copy of.
fn files_of(unit: &UnitName) -> Vec<String> {
    let mut files = vec![format!("{unit}.yaml")];
    if let Some((name, _)) = unit.as_str().split_once('@') {
        files.extend([format!("{name}.yaml"), format!("{name}@.yaml")]);
    }
    files
}

pub(super) fn waits_for(wanted: &Wanted, planned: &Planned) -> Vec<UnitName> {
    if wanted.approved.is_some() { Vec::new() } else { planned.waits_for() }
}

impl Planned {
    /// Who must not change by it without somebody's approval.
    pub fn waits_for(&self) -> Vec<UnitName> {
        let name = |id: UnitId| self.set.unit(id).map(|spec| spec.name.clone());
        // The settings in force decide: a change cannot free itself.
        if self.before.changes.needs_approval {
            return self.plan.steps.iter().filter_map(|step| name(step.unit)).collect();
        }
        self.plan.protected(&self.before, &self.set).into_iter().filter_map(name).collect()
    }
}
