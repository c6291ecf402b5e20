//! What a save would take away. A copy over the directory that takes seconds has files missing for moments, and nobody
//! means by that that their units are to go.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::generation::{Named, Store, UnitsFile};
use crate::graph::Action;
use crate::supervisor::change::approval::files_of;
use crate::supervisor::change::candidate::{Found, Planned, Wanted};
use crate::supervisor::change::seen::Seen;
use crate::unit::spec::UnitId;

/// A save that waits until it is clear that nobody goes on writing.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    /// Units whose file is gone, of all that are defined.
    pub(crate) units: usize,
    pub(crate) of: usize,
    /// How the directory was, and since when at least. On the clock of [`crate::aside::since_boot`].
    pub(crate) seen: Seen,
    pub(crate) since: Duration,
}

/// The longest pause that a copy over a slow line makes between two files, as far as anybody waits for it; and not so
/// long that somebody who removes a unit takes it for broken.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

/// What a save is to wait for, or why it is not taken. `None`: it takes nothing away, or has waited. `now`: when
/// the directory was as in `seen`.
pub(crate) fn of_save(
    wanted: &Wanted,
    store: &Store,
    planned: &Planned,
    (files, named): (&[UnitsFile], &[Named]),
    (seen, now): (&Seen, Duration),
) -> Option<Found> {
    let units = lost_units(planned, files);
    if units == 0 && !has_lost_files(wanted, store, files, named) {
        return None;
    }
    let of = wanted.in_force.present().count();
    let before = wanted.waits.as_ref().filter(|before| before.seen.has_units_of(seen));
    let since = before.map_or(now, |before| before.since);
    if now.saturating_sub(since) < QUIET {
        return Some(Found::Loses(Box::new(Loss { units, of, seen: seen.clone(), since })));
    }
    let is_most = units >= LEAST_OF_MOST && units.saturating_mul(2) > of;
    is_most.then(|| Found::Refused(format!("it has lost {units} of {of} units; `mcsup apply` takes that")))
}

/// Removed with their file. Copies that an edit has fewer of are meant.
fn lost_units(planned: &Planned, files: &[UnitsFile]) -> usize {
    let there: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let is_lost = |unit: UnitId| {
        let spec = planned.before.unit(unit);
        spec.is_some_and(|spec| !files_of(&spec.name).iter().any(|file| there.contains(file.as_str())))
    };
    let removed = planned.plan.steps.iter().filter(|step| step.action == Action::Remove);
    removed.filter(|step| is_lost(step.unit)).count()
}

/// The settings, or what a unit reads when it starts.
fn has_lost_files(wanted: &Wanted, store: &Store, files: &[UnitsFile], named: &[Named]) -> bool {
    let Some(current) = wanted.current.and_then(|current| store.manifest(current).ok()) else { return false };
    let had = current.files.iter().any(|file| file.name == SETTINGS);
    let has = files.iter().any(|file| file.name == SETTINGS);
    let was_there = |path: &str| current.named.iter().any(|one| one.path == path && one.sha256.is_some());
    (had && !has) || named.iter().any(|one| one.bytes.is_none() && was_there(&one.path))
}

/// Two of three may well be meant.
const LEAST_OF_MOST: usize = 3;
const SETTINGS: &str = "mcsup.yaml";
