//! Facts as sentences: the log, the terminal and the lines of `mcsup up`.

use crate::engine::effect::Fact;
use crate::engine::id::{PhaseId, UnitId};
use crate::unit::spec::UnitSet;

/// How much people should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    Detail,
    Normal,
    Trouble,
}

/// One line without an end.
pub fn describe(fact: &Fact, set: &UnitSet) -> String {
    match fact {
        Fact::StateChanged { unit, from, to, reason } => {
            format!("{} {from} -> {to}: {reason}", name(set, *unit))
        }
        Fact::HealthChanged { unit, health, why } => {
            format!("{} health {}: {why}", name(set, *unit), health.as_str())
        }
        Fact::RunEnded { unit, ordinal, exit } => format!("{}#{ordinal} {exit}", name(set, *unit)),
        Fact::PhaseOpened { phase } => format!("phase {} open", phase_name(set, *phase)),
        Fact::Booted => "booted".to_owned(),
        Fact::PhaseHeld { phase, holders } => {
            let names: Vec<&str> = holders.iter().map(|unit| name(set, *unit)).collect();
            format!("phase {} does not open: held by {}", phase_name(set, *phase), names.join(", "))
        }
        Fact::IncidentOpened { incident, unit, cause } => {
            format!("incident {incident} opened{}: {cause}", of(set, *unit))
        }
        Fact::IncidentClosed { incident, unit } => format!("incident {incident} closed{}", of(set, *unit)),
        Fact::Unkillable { unit } => format!("{} survives SIGKILL; going on without it", name(set, *unit)),
        Fact::Adopted { unit, ordinal } => format!("{}#{ordinal} adopted, untouched", name(set, *unit)),
        Fact::RequestServed { what, .. } => format!("asked: {what}"),
        Fact::ShutdownBegan => "shutting down".to_owned(),
        Fact::BugFound { unit, what } => format!("bug in mcsup{}: {what}", of(set, *unit)),
    }
}

pub fn weight(fact: &Fact) -> Weight {
    match fact {
        Fact::HealthChanged { .. } | Fact::RequestServed { .. } | Fact::RunEnded { .. } => Weight::Detail,
        Fact::StateChanged { .. }
        | Fact::PhaseOpened { .. }
        | Fact::Booted
        | Fact::IncidentClosed { .. }
        | Fact::Adopted { .. }
        | Fact::ShutdownBegan => Weight::Normal,
        Fact::PhaseHeld { .. }
        | Fact::IncidentOpened { .. }
        | Fact::Unkillable { .. }
        | Fact::BugFound { .. } => Weight::Trouble,
    }
}

pub(crate) fn name(set: &UnitSet, unit: UnitId) -> &str {
    set.unit(unit).map_or("?", |spec| spec.name.as_str())
}

pub(crate) fn phase_name(set: &UnitSet, phase: PhaseId) -> &str {
    set.phases.get(usize::from(phase.0)).map_or("?", |name| name)
}

fn of(set: &UnitSet, unit: Option<UnitId>) -> String {
    unit.map(|unit| format!(" ({})", name(set, unit))).unwrap_or_default()
}
