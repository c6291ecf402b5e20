//! 13 and 14: incidents, evidence and ladders as seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::effect::{Effect, Fact};
use crate::engine::event::{Event, Handover};
use crate::engine::id::{IncidentId, RunId, UnitId};
use crate::engine::incident::{CAPTURE_WAIT, Told};
use crate::engine::invariants::{Auditor, Look};
use crate::engine::ladder::Step;
use crate::engine::state::{FailureCause, NotedState, StateName};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::spec::recover::Rung;
use crate::unit::spec::{UnitKind, UnitSet};

/// What is known of incidents from facts and orders alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Troubles {
    open: BTreeSet<IncidentId>,
    highest: u64,
    /// Which open incident each unit is part of.
    shares: BTreeMap<UnitId, IncidentId>,
    ladders: BTreeMap<UnitId, Ladder>,
    /// Evidence that was asked for and is not kept yet; of each unit the latest.
    captures: BTreeMap<UnitId, (IncidentId, Option<RunId>)>,
    /// Runs whose evidence was asked for.
    kept: BTreeSet<RunId>,
    /// Runs that ended badly, or never began, while their unit was wanted.
    owed: BTreeSet<RunId>,
    /// What each channel was told.
    told: BTreeSet<(IncidentId, Option<Box<str>>, Told)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ladder {
    /// The rung that comes next.
    next: u16,
    /// Behind the highest that was tried.
    reached: u16,
    /// A person took over: it may begin at the foot again.
    may_start_over: bool,
}

impl Troubles {
    pub(super) fn is_stale(&self, event: &Event) -> bool {
        match event {
            Event::EvidenceCaptured { incident, unit, run, .. } => {
                self.captures.get(unit) != Some(&(*incident, *run))
            }
            Event::KeeperConnected(_)
            | Event::RunSpawned { .. }
            | Event::RunFailedToSpawn { .. }
            | Event::RunExited { .. }
            | Event::RunEmptied { .. }
            | Event::ProbeFinished { .. }
            | Event::HelperFinished { .. }
            | Event::Notified { .. }
            | Event::ReadyShown { .. }
            | Event::ConnectionArrived { .. }
            | Event::OutputJudged { .. }
            | Event::Triggered { .. }
            | Event::RequestReceived { .. }
            | Event::RequestAbandoned { .. }
            | Event::ChangeProposed(_)
            | Event::DirectoryFound { .. }
            | Event::ClockStepped
            | Event::DeadlineReached => false,
        }
    }

    pub(super) fn captured(&mut self, unit: UnitId) {
        self.captures.remove(&unit);
    }

    /// Its evidence must be asked for before it is forgotten.
    pub(super) fn owe(&mut self, run: RunId) {
        self.owed.insert(run);
    }

    /// What is cut short by a stop is not accounted for.
    pub(super) fn forgive(&mut self, run: RunId) {
        self.owed.remove(&run);
    }

    /// A person started it, or restarts it.
    pub(super) fn may_start_over(&mut self, unit: UnitId) {
        self.ladders.entry(unit).or_default().may_start_over = true;
    }

    pub(super) fn forget_engine(&mut self) {
        self.captures.clear();
    }

    pub(super) fn take_over(&mut self, handover: &Handover, set: &UnitSet) {
        self.open = handover.notes.incidents.keys().copied().collect();
        let boot = handover.notes.boot.as_ref();
        self.open.extend(boot.and_then(|boot| boot.incident));
        self.open.extend(boot.and_then(|boot| boot.change_incident));
        self.shares.clear();
        self.ladders.clear();
        for (name, note) in &handover.notes.units {
            let (Some(unit), Some(incident)) = (set.slot(name.as_str()), note.incident) else { continue };
            self.open.insert(incident);
            self.shares.insert(unit, incident);
            let Some(share) = &note.share else { continue };
            let next = share.rung.saturating_add(u16::from(share.step != Step::Idle));
            self.ladders.insert(unit, Ladder { next, reached: next, may_start_over: false });
        }
        if handover.notes.boot.as_ref().is_some_and(|boot| boot.shutdown.is_some()) {
            // It ends every incident: what failed in the same step has none that it could be kept for.
            let has_none = |unit| handover.notes.units.get(unit).is_none_or(|note| note.incident.is_none());
            for handed in handover.runs.iter().filter(|handed| has_none(&handed.unit)) {
                self.owed.remove(&handed.run);
            }
        }
    }

    pub(super) fn carry(&mut self, effect: &Effect) {
        match effect {
            Effect::CaptureEvidence { incident, unit, run, .. } => {
                self.captures.insert(*unit, (*incident, *run));
                self.kept.extend(*run);
            }
            Effect::Release { run } => {
                self.kept.remove(run);
                self.owed.remove(run);
            }
            Effect::Record(fact) => self.carry_fact(fact),
            Effect::Remember(_)
            | Effect::Spawn { .. }
            | Effect::RunHelper { .. }
            | Effect::CancelHelper { .. }
            | Effect::Signal { .. }
            | Effect::StartProbe { .. }
            | Effect::CancelProbe { .. }
            | Effect::Alert { .. } // kept where it is judged
            | Effect::JudgeOutput { .. }
            | Effect::Arm { .. }
            | Effect::Disarm { .. }
            | Effect::WatchReadyLine { .. }
            | Effect::AwaitConnection { .. }
            | Effect::ForgetConnection { .. }
            | Effect::Reply { .. }
            | Effect::UseDefinitions { .. }
            | Effect::RestoreGeneration { .. }
            | Effect::EndChange { .. }
            | Effect::Exit { .. } => {}
        }
    }

    fn carry_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::IncidentOpened { incident, unit, .. } => {
                self.open.insert(*incident);
                self.highest = self.highest.max(incident.0);
                if let Some(unit) = unit {
                    self.shares.insert(*unit, *incident);
                    self.ladders.remove(unit);
                }
            }
            Fact::IncidentJoined { incident, unit, .. } => {
                self.shares.insert(*unit, *incident);
                self.ladders.remove(unit);
            }
            Fact::IncidentMerged { from, into } => {
                self.open.remove(from);
                self.shares.values_mut().filter(|share| *share == from).for_each(|share| *share = *into);
            }
            Fact::IncidentLeft { unit, .. } => {
                self.shares.remove(unit);
            }
            Fact::IncidentClosed { incident, .. } => {
                self.open.remove(incident);
            }
            Fact::RungTried { unit, index, .. } => {
                let next = index.saturating_add(1);
                let reached = self.ladders.get(unit).map_or(0, |ladder| ladder.reached).max(next);
                self.ladders.insert(*unit, Ladder { next, reached, may_start_over: false });
            }
            Fact::StateChanged { .. }
            | Fact::HealthChanged { .. }
            | Fact::RunEnded { .. }
            | Fact::PhaseOpened { .. }
            | Fact::Booted
            | Fact::PhaseHeld { .. }
            | Fact::EvidenceIncomplete { .. }
            | Fact::IncidentReached { .. }
            | Fact::RungEnded { .. }
            | Fact::RungRepeated { .. }
            | Fact::StatusTold { .. }
            | Fact::JobTriggered { .. }
            | Fact::JobRunEnded { .. }
            | Fact::JobSkipped { .. }
            | Fact::JobMissed { .. }
            | Fact::Unkillable { .. }
            | Fact::Adopted { .. }
            | Fact::Change { .. }
            | Fact::RequestServed { .. }
            | Fact::ShutdownBegan
            | Fact::BugFound { .. } => {}
        }
    }
}

impl Auditor {
    /// 14: each incident is opened once, with a number of its own, and ends once.
    pub(super) fn incident_fact(&self, look: &mut Look<'_>, fact: &Fact) {
        let troubles = &self.shadow.troubles;
        let name = |unit: UnitId| self.shadow.name(unit);
        match fact {
            Fact::IncidentOpened { incident, unit, .. } => {
                if incident.0 <= troubles.highest {
                    look.violate(14, format!("the number of incident {incident} was given before"));
                }
                if let Some((unit, share)) = unit.and_then(|unit| Some((unit, troubles.shares.get(&unit)?))) {
                    let unit = name(unit);
                    look.violate(14, format!("{unit} is part of incident {share} and opens {incident}"));
                }
            }
            Fact::IncidentJoined { incident, unit, .. } => {
                if !troubles.open.contains(incident) {
                    look.violate(14, format!("{} joins incident {incident}, which is not open", name(*unit)));
                }
                if let Some(share) = troubles.shares.get(unit) {
                    let unit = name(*unit);
                    look.violate(14, format!("{unit} is part of incident {share} and joins {incident}"));
                }
            }
            Fact::IncidentReached { incident, units } => {
                if !troubles.open.contains(incident) {
                    look.violate(14, format!("incident {incident} reaches others and is not open"));
                }
                if let Some(unit) = units.iter().find(|unit| troubles.shares.get(unit) == Some(incident)) {
                    look.violate(14, format!("incident {incident} reaches {}, which is in it", name(*unit)));
                }
            }
            Fact::IncidentMerged { from, into } => {
                if let Some(gone) = [from, into].into_iter().find(|it| !troubles.open.contains(it)) {
                    look.violate(14, format!("incident {from} merges into {into}, and {gone} is not open"));
                }
            }
            Fact::IncidentLeft { incident, unit, .. } => {
                if troubles.shares.get(unit) != Some(incident) {
                    look.violate(14, format!("{} leaves incident {incident} and was not in it", name(*unit)));
                }
            }
            Fact::IncidentClosed { incident, .. } => {
                if !troubles.open.contains(incident) {
                    look.violate(14, format!("incident {incident} closes and is not open"));
                }
                if let Some((unit, _)) = troubles.shares.iter().find(|(_, share)| *share == incident) {
                    look.violate(14, format!("incident {incident} closes and {} is in it", name(*unit)));
                }
            }
            Fact::RungTried { unit, index, .. } => self.rung(look, *unit, *index),
            Fact::StateChanged { .. }
            | Fact::HealthChanged { .. }
            | Fact::RunEnded { .. }
            | Fact::PhaseOpened { .. }
            | Fact::Booted
            | Fact::PhaseHeld { .. }
            | Fact::EvidenceIncomplete { .. }
            | Fact::RungEnded { .. }
            | Fact::RungRepeated { .. }
            | Fact::StatusTold { .. }
            | Fact::JobTriggered { .. }
            | Fact::JobRunEnded { .. }
            | Fact::JobSkipped { .. }
            | Fact::JobMissed { .. }
            | Fact::Unkillable { .. }
            | Fact::Adopted { .. }
            | Fact::Change { .. }
            | Fact::RequestServed { .. }
            | Fact::ShutdownBegan
            | Fact::BugFound { .. } => {}
        }
    }

    /// 13: the next rung, where the policy's restart may stand for one; after the last, the last that acts.
    fn rung(&self, look: &mut Look<'_>, unit: UnitId, index: u16) {
        let Some(spec) = self.shadow.spec(unit) else { return };
        let rungs = &spec.recover.rungs;
        let at = |index: u16| rungs.get(usize::from(index));
        if at(index).is_none() {
            return look.violate(13, format!("{} has no rung {index}", spec.name));
        }
        if let Some(other) =
            self.explained_by(unit).filter(|_| !matches!(at(index), Some(Rung::Alert { .. })))
        {
            let other = self.shadow.name(other);
            look.violate(
                13,
                format!("{} tries rung {index}, and the trouble of {other} explains its own", spec.name),
            );
        }
        let Ladder { next, may_start_over, .. } =
            self.shadow.troubles.ladders.get(&unit).copied().unwrap_or_default();
        // A restart may be the policy's, and a channel that was told hears nothing twice.
        let may_pass = |rung: &Rung| matches!(rung, Rung::Restart { .. } | Rung::Alert { .. });
        let leads = |from: u16| from <= index && (from..index).all(|passed| at(passed).is_some_and(may_pass));
        let acts = |rung: &Rung| !matches!(rung, Rung::Alert { .. });
        let last = rungs.iter().rposition(acts).and_then(|last| u16::try_from(last).ok());
        let is_through = rungs.iter().skip(usize::from(next)).all(may_pass);
        let is_again = last == Some(index) && is_through;
        let is_next = leads(next) || is_again || (may_start_over && leads(0));
        if !is_next {
            look.violate(13, format!("{} tries rung {index} and rung {next} is next", spec.name));
        }
    }

    /// 13: of what it depends on, near or far, one that is in trouble in the same incident.
    fn explained_by(&self, unit: UnitId) -> Option<UnitId> {
        let share = self.shadow.troubles.shares.get(&unit)?;
        let mut seen = BTreeSet::new();
        let mut queue = vec![unit];
        while let Some(at) = queue.pop() {
            for edge in self.shadow.spec(at).into_iter().flat_map(|spec| &spec.depends_on) {
                let is_same = self.shadow.troubles.shares.get(&edge.unit) == Some(share);
                if is_same && self.shadow.state(edge.unit) != StateName::Ready {
                    return Some(edge.unit);
                }
                if seen.insert(edge.unit) {
                    queue.push(edge.unit);
                }
            }
        }
        None
    }

    /// 13: an alert comes in its turn, when its unit gives up, or when the incident is over; and once.
    pub(super) fn alert(&mut self, look: &mut Look<'_>, effect: &Effect) {
        let Effect::Alert { incident, unit, channel, about, .. } = effect else { return };
        let is_open = self.shadow.troubles.open.contains(incident);
        let is_due = match about {
            Told::Trouble => unit.is_some_and(|unit| self.is_alert_passed(unit, channel.as_deref())),
            Told::GaveUp => true,
            Told::Over | Told::Ended => !is_open,
        };
        let to = channel.as_deref().unwrap_or("every channel").to_owned();
        if !is_due {
            look.violate(13, format!("incident {incident}: {to} is told too early"));
        }
        if !self.shadow.troubles.told.insert((*incident, channel.clone(), *about)) {
            look.violate(13, format!("incident {incident}: {to} is told twice"));
        }
    }

    fn is_alert_passed(&self, unit: UnitId, channel: Option<&str>) -> bool {
        let Some(spec) = self.shadow.spec(unit) else { return false };
        let next = self.shadow.troubles.ladders.get(&unit).map_or(0, |ladder| ladder.reached);
        spec.recover
            .rungs
            .iter()
            .take(usize::from(next))
            .any(|rung| matches!(rung, Rung::Alert { channel: named } if Some(named.as_ref()) == channel))
    }

    /// 13: the first order that ends a live run because it failed comes after its evidence.
    pub(super) fn evidence_before_stop(&self, look: &mut Look<'_>, run: RunId, unit: UnitId) {
        let Some(found) = self.shadow.runs.get(&run) else { return };
        let note = self.shadow.unit(unit).and_then(|unit| unit.note.as_ref());
        let is_failure = note.is_some_and(|note| {
            matches!(
                &note.life,
                NotedState::Stopping { why: crate::engine::state::StopReason::Failed(_), .. }
            )
        });
        let is_adoption = matches!(look.event, Event::KeeperConnected(_)); // it was ordered in another life
        let is_first = found.stop_began.is_none() && found.stage == super::shadow::Stage::Live;
        if is_failure && is_first && !is_adoption && !self.shadow.troubles.kept.contains(&run) {
            let name = self.shadow.name(unit);
            look.violate(13, format!("{name} is ended for a failure before its evidence is kept"));
        }
    }

    /// 13: while the evidence of a live run is on its way, only a deadline lets a repair begin.
    pub(super) fn evidence_before_repair(&self, look: &mut Look<'_>, unit: UnitId) {
        let run = self.shadow.troubles.captures.get(&unit).and_then(|(_, run)| *run);
        let found = run.and_then(|run| self.shadow.runs.get(&run));
        let is_live = found.is_some_and(|found| found.stage == super::shadow::Stage::Live);
        // What an earlier engine began goes on.
        let may_begin = matches!(look.event, Event::DeadlineReached | Event::KeeperConnected(_));
        if is_live && !self.shadow.is_watch(unit) && !may_begin {
            look.violate(13, format!("{} is repaired before its evidence is kept", self.shadow.name(unit)));
        }
    }

    pub(super) fn evidence_before_release(&self, look: &mut Look<'_>, run: RunId) {
        let troubles = &self.shadow.troubles;
        if troubles.owed.contains(&run) && !troubles.kept.contains(&run) {
            look.violate(13, format!("run {} is released before its evidence is kept", run.0));
        }
    }

    /// 13: nobody waits for evidence longer than that.
    pub(super) fn capture_wait(&self, look: &mut Look<'_>, unit: UnitId, timer: Timer, at: Timestamp) {
        if timer == Timer::CaptureWait && at > look.now.after(CAPTURE_WAIT) {
            look.violate(13, format!("{} waits too long for its evidence", self.shadow.name(unit)));
        }
    }

    /// 14: what is in trouble is in one open incident, and the engine says which.
    pub(super) fn share(&self, look: &mut Look<'_>, id: UnitId, incident: Option<IncidentId>) {
        let troubles = &self.shadow.troubles;
        let share = troubles.shares.get(&id).copied();
        let name = self.shadow.name(id);
        if share != incident {
            look.violate(14, format!("{name} speaks of incident {incident:?} and is in {share:?}"));
        }
        if share.is_some_and(|share| !troubles.open.contains(&share)) {
            look.violate(14, format!("{name} is in incident {share:?}, which is not open"));
        }
        if share.is_none() && self.is_in_trouble(id) {
            let state = self.shadow.state(id);
            look.violate(14, format!("{name} is {state} and in no incident"));
        }
    }

    pub(super) fn open_incidents(&self, look: &mut Look<'_>) {
        let (counted, known) = (look.engine.overview().open_incidents, self.shadow.troubles.open.len());
        if usize::try_from(counted).ok() != Some(known) {
            look.violate(14, format!("{counted} incidents are said to be open, and {known} are"));
        }
    }

    fn is_in_trouble(&self, id: UnitId) -> bool {
        match self.shadow.state(id) {
            StateName::Unhealthy | StateName::Failed => true,
            StateName::Backoff => {
                let life = self.shadow.unit(id).and_then(|unit| Some(&unit.note.as_ref()?.life));
                let Some(NotedState::Backoff { after, .. }) = life else { return false };
                let is_task = self.shadow.spec(id).is_some_and(|spec| spec.kind == UnitKind::Task);
                match after {
                    FailureCause::Exited(exit) | FailureCause::ExitedEarly(exit) => {
                        if is_task {
                            !exit.is_success()
                        } else {
                            !exit.is_clean()
                        }
                    }
                    FailureCause::SpawnFailed(_)
                    | FailureCause::StartTimeout(_)
                    | FailureCause::Unhealthy(_)
                    | FailureCause::CannotProbe(_)
                    | FailureCause::ExitedSilent(_)
                    | FailureCause::Watchdog(_)
                    | FailureCause::Unkillable
                    | FailureCause::Job(_)
                    | FailureCause::RungStopped(_)
                    | FailureCause::StartLimit { .. } => true,
                }
            }
            StateName::Inactive
            | StateName::Waiting
            | StateName::Starting
            | StateName::Ready
            | StateName::Stopping
            | StateName::Completed => false,
        }
    }
}
