//! Gates that ask for what can never be.

use crate::unit::diagnostic::Diagnostic;
use crate::unit::expression::NamedUnit;
use crate::unit::names::{Directory, Draft};
use crate::unit::spec::{UnitId, UnitSet, UnitSpec};
use crate::unit::{Asked, KeyPlaces};

/// The units that a gate's expression names, as they are known to it.
pub(in crate::unit) fn asks(draft: &Draft, directory: &Directory, out: &mut Vec<Diagnostic>) -> Vec<Asked> {
    let mut asks = Vec::new();
    for named in draft.unit.check.iter().flat_map(|check| &check.value.units) {
        let (name, place) = (&*named.name, named.place);
        if *name == *draft.name.as_str() {
            out.push(
                Diagnostic::error("names-itself", place, format!("this gate waits for itself: `{name}`"))
                    .help("name the unit that it should look at"),
            );
            continue;
        }
        let unit = one_unit(named, directory, out);
        asks.extend(unit.map(|unit| Asked { unit, place, is_needed: named.is_needed }));
    }
    asks
}

/// The unit that an expression names; copies of a file are units of their own there.
pub(super) fn one_unit(
    named: &NamedUnit,
    directory: &Directory,
    out: &mut Vec<Diagnostic>,
) -> Option<UnitId> {
    let name = &*named.name;
    let units = directory.resolve(name, named.place, out);
    let first = units.first().copied()?;
    if let Some(copy) = directory.name_of(first).filter(|copy| *copy != name) {
        let message = format!("`{name}` is no unit, but {} of them", units.len());
        out.push(
            Diagnostic::error("many-units", named.place, message)
                .help(format!("name one of them, as in units['{copy}']")),
        );
        return None;
    }
    Some(first)
}

/// What opens after the gate's own phase is not up before the gate opens.
pub(super) fn later(set: &UnitSet, unit: &UnitSpec, keys: &KeyPlaces, out: &mut Vec<Diagnostic>) {
    for asked in keys.asks.iter().filter(|asked| asked.is_needed && unit.blocks_phase) {
        let Some(target) = set.unit(asked.unit).filter(|target| target.phase > unit.phase) else { continue };
        let phase = set.phases.get(usize::from(target.phase.0)).map_or("", |name| name);
        let message = format!(
            "`{}` is in the phase `{phase}`, which starts after this gate is open: it would stay shut for ever",
            target.name
        );
        out.push(
            Diagnostic::error("later-phase", asked.place, message)
                .related(target.place, format!("`{}` is defined here", target.name))
                .help("move one of the two to the other's phase, or write `blocks_phase: false`"),
        );
    }
}
