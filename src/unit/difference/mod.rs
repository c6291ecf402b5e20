//! In what two definitions of a unit differ, said with the keys and values of its file, and what it takes to put the
//! later one into effect.

mod class;
mod shown;
mod keys;
mod probes;
mod job;
mod confinement;

use crate::unit::difference::keys::{Keys, settings_keys, unit_keys};
use crate::unit::difference::shown::compare;
use crate::unit::spec::{Ready, UnitSet, UnitSpec};

pub use crate::unit::difference::class::{Class, KEYS, Key, NAME, SETTINGS, table};
pub use crate::unit::fingerprint::run_fingerprint;

const READY: &str = "ready";
const LIMITS: &str = "limits";

/// One thing that another definition says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// One of [`KEYS`], or of [`SETTINGS`].
    pub key: &'static str,
    /// The key with the way to what differs in it: `health[0].interval`, `environment.TZ`.
    pub path: String,
    pub class: Class,
    /// As YAML in one line; empty where nothing is said. Values of what is called a secret are `(hidden)`.
    pub before: String,
    pub after: String,
}

/// What the definition of a unit says otherwise than the one before, in the order of [`KEYS`]; nothing where their
/// fingerprints are equal. Each stands with the set that it is of.
pub fn differences(before: (&UnitSpec, &UnitSet), after: (&UnitSpec, &UnitSet)) -> Vec<Difference> {
    let class = |key: &Key| {
        // Neither of these is told to the process, and a probe that comes or goes brings the other with it.
        let is_seen_from_outside = |unit: &UnitSpec| matches!(unit.ready, Ready::Started | Ready::Health);
        // What all processes together may use is written beside them, not told to them.
        let has_same_limits = before.0.limits == after.0.limits;
        let is_light = match key.name {
            READY => is_seen_from_outside(before.0) && is_seen_from_outside(after.0),
            LIMITS => has_same_limits,
            _ => false,
        };
        let class = if is_light { Class::Live } else { key.class };
        class.between(before.0.kind, after.0.kind)
    };
    compared(KEYS, class, &unit_keys(before.0, before.1), &unit_keys(after.0, after.1))
}

/// What `mcsup.yaml` says otherwise, but for what it says of units.
pub fn settings_differences(before: &UnitSet, after: &UnitSet) -> Vec<Difference> {
    compared(SETTINGS, |key| key.class, &settings_keys(before), &settings_keys(after))
}

fn compared(known: &[Key], class: impl Fn(&Key) -> Class, before: &Keys, after: &Keys) -> Vec<Difference> {
    let mut found = Vec::new();
    for key in known {
        let (before, after) = (before.get(key.name), after.get(key.name));
        compare(key.name, before, after, &mut |path, before, after| {
            found.push(Difference { key: key.name, path, class: class(key), before, after });
        });
    }
    found
}
