//! Facts as sentences: the one place that words them, for the log, the terminal and the clients of `events`.

use std::time::Duration;

use crate::engine::effect::{ChangeFact, ChangeOutcome, Fact};
use crate::engine::id::{GenerationId, IncidentId, PhaseId, UnitId};
use crate::engine::time::Pretty;
use crate::unit::spec::UnitSet;

/// How much people should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    Detail,
    Normal,
    Trouble,
}

/// A line that stands alone, without an end.
pub(crate) fn line(fact: &Fact, set: &UnitSet) -> String {
    sentence(fact, set, Unit::IsSaid)
}

/// The same beside the name of its unit.
pub fn text(fact: &Fact, set: &UnitSet) -> String {
    sentence(fact, set, Unit::StandsBeside)
}

/// Where a reader finds the unit that a fact is about.
#[derive(Clone, Copy)]
enum Unit {
    IsSaid,
    StandsBeside,
}

impl Unit {
    fn begin(self, set: &UnitSet, unit: UnitId) -> String {
        match self {
            Self::IsSaid => format!("{} ", name_of(set, unit)),
            Self::StandsBeside => String::new(),
        }
    }

    fn of(self, set: &UnitSet, unit: Option<UnitId>) -> String {
        match (self, unit) {
            (Self::IsSaid, Some(unit)) => format!(" ({})", name_of(set, unit)),
            (Self::IsSaid, None) | (Self::StandsBeside, _) => String::new(),
        }
    }
}

fn sentence(fact: &Fact, set: &UnitSet, said: Unit) -> String {
    match fact {
        Fact::StateChanged { unit, from, to, reason } => {
            format!("{}{from} -> {to}: {reason}", said.begin(set, *unit))
        }
        Fact::HealthChanged { unit, health, why } => {
            format!("{}health {}: {why}", said.begin(set, *unit), health.as_str())
        }
        Fact::RunEnded { unit, ordinal, exit } => format!("{}#{ordinal} {exit}", name_of(set, *unit)),
        Fact::PhaseOpened { phase } => format!("phase {} is open", phase_name(set, *phase)),
        Fact::Booted => "booted".to_owned(),
        Fact::Change { generation, what } => change_words(*generation, what),
        Fact::PhaseHeld { phase, holders } => {
            let names: Vec<&str> = holders.iter().map(|unit| name_of(set, *unit)).collect();
            format!("phase {} does not open: held by {}", phase_name(set, *phase), names.join(", "))
        }
        Fact::IncidentOpened { incident, unit, cause, .. } => {
            format!("incident {incident} opened{}: {cause}", said.of(set, *unit))
        }
        Fact::IncidentJoined { incident, unit, cause, .. } => {
            format!("{}is part of incident {incident}: {cause}", said.begin(set, *unit))
        }
        Fact::IncidentReached { incident, units } => {
            let names: Vec<&str> = units.iter().map(|unit| name_of(set, *unit)).collect();
            format!("incident {incident} reaches {}", names.join(", "))
        }
        Fact::IncidentMerged { from, into } => format!("incident {from} is part of incident {into}"),
        Fact::RungTried { unit, rung, .. } => format!("{}tries {rung}", said.begin(set, *unit)),
        Fact::RungRepeated { unit, rung, .. } => {
            format!(
                "{}tries {rung} again: it was cut short when the supervisor ended",
                said.begin(set, *unit)
            )
        }
        Fact::RungEnded { unit, has_helped: true, said: what, .. } => {
            format!("{}healed: {what}", said.begin(set, *unit))
        }
        Fact::RungEnded { unit, has_helped: false, said: what, .. } => {
            format!("{}not healed: {what}", said.begin(set, *unit))
        }
        Fact::EvidenceIncomplete { incident, unit } => {
            format!("{}not all evidence for incident {incident} could be kept", said.begin(set, *unit))
        }
        Fact::IncidentLeft { incident, unit, recovered: Some(_), .. } => {
            format!("{}works again for good (incident {incident})", said.begin(set, *unit))
        }
        Fact::IncidentLeft { incident, unit, recovered: None, .. } => {
            format!("{}no longer part of incident {incident}", said.begin(set, *unit))
        }
        Fact::JobTriggered { .. }
        | Fact::JobRunEnded { .. }
        | Fact::JobSkipped { .. }
        | Fact::JobMissed { .. } => sentence_of_job(fact, set, said),
        Fact::StatusTold { unit, text } => format!("{}says: {text}", said.begin(set, *unit)),
        Fact::IncidentClosed { incident, unit, has_healed } => {
            let fate = if *has_healed { "" } else { ": no longer wanted up" };
            format!("incident {incident} closed{}{fate}", said.of(set, *unit))
        }
        Fact::Unkillable { unit } => {
            format!("{}survives SIGKILL; going on without it", said.begin(set, *unit))
        }
        Fact::Adopted { unit, ordinal } => format!("{}#{ordinal} adopted, untouched", name_of(set, *unit)),
        Fact::RequestServed { what, .. } => format!("asked: {what}"),
        Fact::ShutdownBegan => "shutting down".to_owned(),
        Fact::BugFound { unit, what } => format!("bug in mcsup{}: {what}", said.of(set, *unit)),
    }
}

fn sentence_of_job(fact: &Fact, set: &UnitSet, said: Unit) -> String {
    if let Fact::JobTriggered { unit, trigger, late } = fact {
        let late = match late.as_secs() {
            0 => String::new(),
            seconds => format!(", {} late", Pretty(Duration::from_secs(seconds))),
        };
        return format!("{}is to run for {trigger}{late}", said.begin(set, *unit));
    }
    if let Fact::JobRunEnded { unit, ordinal, verdict, is_last, .. } = fact {
        let again = if *is_last { "" } else { "; it runs again" };
        return format!("{}#{ordinal} {verdict}{again}", name_of(set, *unit));
    }
    if let Fact::JobSkipped { unit, trigger, why } = fact {
        return format!("{}no run for {trigger}: {why}", said.begin(set, *unit));
    }
    if let Fact::JobMissed { unit, trigger, why, slots, caught_up, .. } = fact {
        let runs = if *slots == 1 { "a run".to_owned() } else { format!("{slots} runs") };
        return format!(
            "{}missed {runs} for {trigger}: {why}; {caught_up} of them come now",
            said.begin(set, *unit)
        );
    }
    String::new()
}

/// What happens to a change, in a sentence.
pub fn change_words(generation: GenerationId, what: &ChangeFact) -> String {
    match what {
        ChangeFact::Began { restarts: 0 } => {
            format!("generation {generation} takes effect; nothing restarts")
        }
        ChangeFact::Began { restarts: 1 } => format!("generation {generation} takes effect; 1 unit restarts"),
        ChangeFact::Began { restarts } => {
            format!("generation {generation} takes effect; {restarts} units restart")
        }
        ChangeFact::InForce => format!("generation {generation} is in force, and is to prove itself"),
        ChangeFact::WaitsToBeConfirmed => {
            format!("generation {generation} works; it waits for `mcsup confirm`")
        }
        ChangeFact::Failed { why } => format!("generation {generation} goes back: {why}"),
        ChangeFact::Ended(ChangeOutcome::Committed) => format!("generation {generation} is committed"),
        ChangeFact::Ended(ChangeOutcome::RolledBack { is_well: true, .. }) => {
            format!("generation {generation} was rolled back, and all is as before")
        }
        ChangeFact::Ended(ChangeOutcome::RolledBack { is_well: false, why }) => {
            format!("generation {generation} was rolled back, and not all is well: {why}")
        }
        ChangeFact::Ended(ChangeOutcome::Kept { why }) => {
            format!("generation {generation} stays in force, although not all is well: {why}")
        }
        ChangeFact::Ended(ChangeOutcome::Refused(why)) => {
            format!("generation {generation} was not begun: {why}")
        }
        ChangeFact::Ended(ChangeOutcome::Interrupted) => {
            format!("generation {generation} was interrupted by a shutdown")
        }
    }
}

/// What programs call it; the sentence may change, this may not.
pub fn kind(fact: &Fact) -> &'static str {
    match fact {
        Fact::StateChanged { .. } => "state-changed",
        Fact::HealthChanged { .. } => "health-changed",
        Fact::RunEnded { .. } => "run-ended",
        Fact::PhaseOpened { .. } => "phase-opened",
        Fact::Booted => "booted",
        Fact::PhaseHeld { .. } => "phase-held",
        Fact::IncidentOpened { .. } => "incident-opened",
        Fact::IncidentJoined { .. } => "incident-joined",
        Fact::IncidentReached { .. } => "incident-reached",
        Fact::IncidentMerged { .. } => "incident-merged",
        Fact::RungTried { .. } => "rung-tried",
        Fact::RungRepeated { .. } => "rung-repeated",
        Fact::RungEnded { .. } => "rung-ended",
        Fact::EvidenceIncomplete { .. } => "evidence-incomplete",
        Fact::IncidentLeft { .. } => "incident-left",
        Fact::StatusTold { .. } => "status-told",
        Fact::JobTriggered { .. } => "job-triggered",
        Fact::JobRunEnded { .. } => "job-run-ended",
        Fact::JobSkipped { .. } => "job-skipped",
        Fact::JobMissed { .. } => "job-missed",
        Fact::IncidentClosed { .. } => "incident-closed",
        Fact::Unkillable { .. } => "unkillable",
        Fact::Adopted { .. } => "adopted",
        Fact::RequestServed { .. } => "request-served",
        Fact::Change { what, .. } => match what {
            ChangeFact::Began { .. } => "change-began",
            ChangeFact::InForce => "change-in-force",
            ChangeFact::WaitsToBeConfirmed => "change-waits-to-be-confirmed",
            ChangeFact::Failed { .. } => "change-failed",
            ChangeFact::Ended(_) => "change-ended",
        },
        Fact::ShutdownBegan => "shutdown-began",
        Fact::BugFound { .. } => "bug-found",
    }
}

/// The unit that a fact is about.
pub fn unit_of(fact: &Fact) -> Option<UnitId> {
    match fact {
        Fact::StateChanged { unit, .. }
        | Fact::HealthChanged { unit, .. }
        | Fact::RunEnded { unit, .. }
        | Fact::Unkillable { unit }
        | Fact::IncidentJoined { unit, .. }
        | Fact::RungTried { unit, .. }
        | Fact::RungRepeated { unit, .. }
        | Fact::RungEnded { unit, .. }
        | Fact::EvidenceIncomplete { unit, .. }
        | Fact::IncidentLeft { unit, .. }
        | Fact::StatusTold { unit, .. }
        | Fact::JobTriggered { unit, .. }
        | Fact::JobRunEnded { unit, .. }
        | Fact::JobSkipped { unit, .. }
        | Fact::JobMissed { unit, .. }
        | Fact::Adopted { unit, .. } => Some(*unit),
        Fact::IncidentOpened { unit, .. }
        | Fact::IncidentClosed { unit, .. }
        | Fact::BugFound { unit, .. } => *unit,
        Fact::PhaseOpened { .. }
        | Fact::IncidentReached { .. }
        | Fact::IncidentMerged { .. }
        | Fact::Booted
        | Fact::PhaseHeld { .. }
        | Fact::Change { .. }
        | Fact::RequestServed { .. }
        | Fact::ShutdownBegan => None,
    }
}

/// The incident that a fact speaks of; where two become one, the one that stays.
pub fn incident_of(fact: &Fact) -> Option<IncidentId> {
    match fact {
        Fact::IncidentOpened { incident, .. }
        | Fact::IncidentJoined { incident, .. }
        | Fact::IncidentReached { incident, .. }
        | Fact::IncidentMerged { into: incident, .. }
        | Fact::RungTried { incident, .. }
        | Fact::RungRepeated { incident, .. }
        | Fact::RungEnded { incident, .. }
        | Fact::EvidenceIncomplete { incident, .. }
        | Fact::IncidentLeft { incident, .. }
        | Fact::IncidentClosed { incident, .. } => Some(*incident),
        Fact::StateChanged { .. }
        | Fact::HealthChanged { .. }
        | Fact::StatusTold { .. }
        | Fact::JobTriggered { .. }
        | Fact::JobRunEnded { .. }
        | Fact::JobSkipped { .. }
        | Fact::JobMissed { .. }
        | Fact::RunEnded { .. }
        | Fact::PhaseOpened { .. }
        | Fact::Booted
        | Fact::PhaseHeld { .. }
        | Fact::Unkillable { .. }
        | Fact::Adopted { .. }
        | Fact::Change { .. }
        | Fact::RequestServed { .. }
        | Fact::ShutdownBegan
        | Fact::BugFound { .. } => None,
    }
}

pub(crate) fn weight(fact: &Fact) -> Weight {
    match fact {
        Fact::HealthChanged { .. }
        | Fact::RequestServed { .. }
        | Fact::RunEnded { .. }
        | Fact::IncidentLeft { .. }
        | Fact::JobTriggered { .. }
        | Fact::StatusTold { .. } => Weight::Detail,
        Fact::StateChanged { .. }
        | Fact::Change { .. }
        | Fact::PhaseOpened { .. }
        | Fact::Booted
        | Fact::JobRunEnded { .. }
        | Fact::JobSkipped { .. }
        | Fact::JobMissed { .. }
        | Fact::IncidentClosed { .. }
        | Fact::IncidentJoined { .. }
        | Fact::IncidentReached { .. }
        | Fact::IncidentMerged { .. }
        | Fact::RungTried { .. }
        | Fact::RungRepeated { .. }
        | Fact::RungEnded { .. }
        | Fact::EvidenceIncomplete { .. }
        | Fact::Adopted { .. }
        | Fact::ShutdownBegan => Weight::Normal,
        Fact::PhaseHeld { .. }
        | Fact::IncidentOpened { .. }
        | Fact::Unkillable { .. }
        | Fact::BugFound { .. } => Weight::Trouble,
    }
}

/// The name of a unit that may belong to a set that is no longer there.
pub fn name_of(set: &UnitSet, unit: UnitId) -> &str {
    set.unit(unit).map_or("?", |spec| spec.name.as_str())
}

pub fn phase_name(set: &UnitSet, phase: PhaseId) -> &str {
    set.phases.get(usize::from(phase.0)).map_or("?", |name| name)
}
