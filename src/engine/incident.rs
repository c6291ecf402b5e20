//! One spell of trouble: of one unit and of those whose failures it explains, or of a barrier.
//!
//! `trouble` is called where a failure is detected, before anything is done about it: it opens or joins
//! an incident, and orders the evidence.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::{Effect, Fact};
use crate::engine::id::{IncidentId, RunId, UnitId};
use crate::engine::ladder::Step;
use crate::engine::life::Capture;
use crate::engine::state::{FailureCause, StateName, StopStage, UnitState};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;

/// How long what happened just before may still turn out to have had its root elsewhere, at least.
const SAME_SPELL: Duration = Duration::from_secs(10);

/// How long a live run that failed is spared, so that what shows why can be kept.
pub(crate) const CAPTURE_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Whose trouble it began with, and explains the rest. `None`: a barrier that does not open.
    pub root: Option<UnitId>,
    pub opened: Timestamp,
    pub cause: Box<str>,
    /// All evidence that was asked for was kept.
    pub is_complete: bool,
    /// Every unit that was part of it. Its share is open for as long as the unit refers to the incident.
    pub affected: BTreeMap<UnitId, Share>,
    /// What each channel was told of it, so that nobody is told twice.
    pub told: BTreeSet<(Box<str>, Told)>,
}

/// What one unit has to do with an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// When its trouble began: the first failed probe of the spell, or the end of its process.
    pub began: Timestamp,
    pub detected: Timestamp,
    /// Since when it works again; not yet known whether for good.
    pub recovered: Option<Timestamp>,
    /// The rung of its ladder that is tried or comes next.
    pub rung: u16,
    pub step: Step,
}

/// What an alert said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    Trouble,
    GaveUp,
    /// The incident is closed.
    Over,
}

impl Incident {
    pub(crate) fn new(root: Option<UnitId>, opened: Timestamp, cause: Box<str>) -> Self {
        Self { root, opened, cause, is_complete: true, affected: BTreeMap::new(), told: BTreeSet::new() }
    }
}

impl Share {
    pub(crate) fn new(began: Timestamp, detected: Timestamp) -> Self {
        Self { began, detected, recovered: None, rung: 0, step: Step::Idle }
    }
}

impl Engine {
    /// A failure was detected: it is part of an incident from now on, and its evidence is ordered.
    pub(crate) fn trouble(&mut self, id: UnitId, cause: &FailureCause) {
        if self.units[id].incident.is_none() {
            self.join_or_open(id, cause);
        }
        if let Some(share) = self.share_mut(id) {
            share.recovered = None;
        }
        self.timers.cancel(Some(id), Timer::Settle);
        self.capture(id, cause);
    }

    fn join_or_open(&mut self, id: UnitId, cause: &FailureCause) {
        let now = self.now.mono;
        let began = self.trouble_began(id, cause);
        let words: Box<str> = cause.to_string().into();
        let incident = match self.explained_by(id) {
            Some(incident) => {
                self.facts.push(Fact::IncidentJoined { incident, unit: id, cause: words, began });
                incident
            }
            None => {
                let incident = self.number_incident();
                let cause = words.clone();
                self.facts.push(Fact::IncidentOpened { incident, unit: Some(id), cause, began });
                self.incidents.insert(incident, Incident::new(Some(id), now, words));
                incident
            }
        };
        if let Some(found) = self.incident_mut(incident) {
            found.affected.insert(id, Share::new(began, now));
        }
        self.units[id].incident = Some(incident);
        self.touch(id);
        self.absorb_recent(id, incident);
    }

    /// The open incident whose root it is, or that of the nearest dependency in trouble.
    fn explained_by(&self, id: UnitId) -> Option<IncidentId> {
        if self.incidents.is_empty() {
            return None;
        }
        // Whoever it reached depends on it: a set of thousands that fail each alone costs nothing here.
        let is_own = |number: &IncidentId| self.incidents.get(number).is_some_and(|it| it.root == Some(id));
        let reached = self.all_dependents(id).into_iter().filter_map(|unit| self.units[unit].incident);
        if let Some(incident) = reached.into_iter().find(is_own) {
            return Some(incident);
        }
        let mut seen = BTreeSet::from([id]);
        let mut queue = VecDeque::from([id]);
        while let Some(at) = queue.pop_front() {
            for edge in &self.spec(at).depends_on {
                if let Some(incident) = self.units[edge.unit].incident {
                    return Some(incident);
                }
                if seen.insert(edge.unit) {
                    queue.push_back(edge.unit);
                }
            }
        }
        None
    }

    /// Dependents that noticed first opened incidents of their own: they were the same trouble.
    fn absorb_recent(&mut self, root: UnitId, into: IncidentId) {
        let now = self.now.mono;
        let window = self.detection_time(root).max(SAME_SPELL);
        let dependents = self.all_dependents(root);
        let is_theirs = |incident: &Incident| {
            incident.root.is_some_and(|of| dependents.contains(&of)) && now.since(incident.opened) <= window
        };
        let numbers: BTreeSet<IncidentId> =
            dependents.iter().filter_map(|unit| self.units[*unit].incident).collect();
        for number in numbers {
            if number != into && self.incidents.get(&number).is_some_and(is_theirs) {
                self.merge(number, into);
            }
        }
    }

    pub(crate) fn all_dependents(&self, root: UnitId) -> BTreeSet<UnitId> {
        let graph = Arc::clone(&self.graph);
        let mut found = BTreeSet::new();
        let mut queue = vec![root];
        while let Some(at) = queue.pop() {
            queue
                .extend(graph.dependents(at).iter().map(|edge| edge.unit).filter(|unit| found.insert(*unit)));
        }
        found
    }

    fn merge(&mut self, from: IncidentId, into: IncidentId) {
        let Some(old) = self.incidents.remove(&from) else { return };
        self.changed_incidents.insert(from);
        for (unit, share) in old.affected {
            let is_open = self.units[unit].incident == Some(from);
            if is_open {
                self.units[unit].incident = Some(into);
                self.touch(unit);
            }
            if let Some(incident) = self.incident_mut(into) {
                incident.is_complete &= old.is_complete;
                incident.affected.entry(unit).or_insert(share);
            }
        }
        self.facts.push(Fact::IncidentMerged { from, into });
    }

    fn trouble_began(&self, id: UnitId, cause: &FailureCause) -> Timestamp {
        let probes = || self.units[id].probes.iter().filter_map(|track| track.failing_since).min();
        match cause {
            FailureCause::Unhealthy(_) | FailureCause::CannotProbe(_) | FailureCause::StartTimeout(_) => {
                probes().unwrap_or(self.now.mono)
            }
            FailureCause::SpawnFailed(_)
            | FailureCause::ExitedEarly(_)
            | FailureCause::Exited(_)
            | FailureCause::ExitedSilent(_)
            | FailureCause::Watchdog(_)
            | FailureCause::Unkillable
            | FailureCause::RungStopped(_)
            | FailureCause::StartLimit { .. } => self.now.mono,
        }
    }

    /// The longest that its probes need to see that it does not work. Zero without probes.
    pub(crate) fn detection_time(&self, id: UnitId) -> Duration {
        let of = |probe: &crate::unit::spec::probe::ProbeSpec| {
            probe.interval.saturating_mul(u32::from(probe.retries.of)).saturating_add(probe.timeout)
        };
        self.spec(id).health.iter().map(of).max().unwrap_or_default()
    }

    pub(crate) fn capture(&mut self, id: UnitId, cause: &FailureCause) {
        self.capture_of(id, self.units[id].run.map(|run| run.id), cause);
    }

    pub(crate) fn capture_of(&mut self, id: UnitId, run: Option<RunId>, cause: &FailureCause) {
        let Some(incident) = self.units[id].incident else { return };
        self.units[id].capture = Some(Capture { incident, run });
        self.actions.push(Effect::CaptureEvidence { incident, unit: id, run, cause: cause.clone() });
    }

    pub(crate) fn on_evidence_captured(
        &mut self,
        incident: IncidentId,
        id: UnitId,
        run: Option<RunId>,
        is_complete: bool,
    ) {
        if self.set.unit(id).is_none() || self.units[id].capture != Some(Capture { incident, run }) {
            return self.late();
        }
        self.units[id].capture = None;
        if !is_complete {
            self.mark_incomplete(id);
        }
        self.go_on_stopping(id);
        self.climb_after_capture(id);
    }

    /// Whoever keeps the evidence takes too long: healing does not wait for it.
    pub(crate) fn on_capture_wait_over(&mut self, id: UnitId) {
        self.mark_incomplete(id);
        self.go_on_stopping(id);
        self.climb_after_capture(id);
    }

    /// Ends the wait for evidence, where there is one.
    pub(crate) fn go_on_stopping(&mut self, id: UnitId) {
        if let UnitState::Stopping { why, stage: StopStage::Capturing } = self.units[id].state.clone() {
            self.proceed_stop(id, why);
        }
    }

    /// A live run that failed is worth the wait while its evidence is not kept.
    pub(crate) fn is_being_captured(&self, id: UnitId) -> bool {
        let unit = &self.units[id];
        let run = unit.run.map(|run| run.id);
        unit.is_running() && unit.capture.is_some_and(|capture| capture.run == run)
    }

    fn mark_incomplete(&mut self, id: UnitId) {
        let Some(incident) = self.units[id].incident else { return };
        if let Some(found) = self.incident_mut(incident).filter(|found| found.is_complete) {
            found.is_complete = false;
        }
        self.facts.push(Fact::EvidenceIncomplete { incident, unit: id });
    }

    /// Its share is over: it works for good, or is not wanted any more.
    pub(crate) fn leave_incident(&mut self, id: UnitId) {
        self.timers.cancel(Some(id), Timer::Settle);
        self.cancel_rung(id, "no longer needed");
        let Some(incident) = self.units[id].incident.take() else { return };
        self.touch(id);
        let Some(found) = self.incident_mut(incident) else { return };
        if let Some(share) = found.affected.get(&id).cloned() {
            let Share { began, detected, recovered, .. } = share;
            self.facts.push(Fact::IncidentLeft { incident, unit: id, began, detected, recovered });
        }
        self.close_if_over(incident);
    }

    fn close_if_over(&mut self, incident: IncidentId) {
        let Some(found) = self.incidents.get(&incident) else { return };
        if found.affected.keys().any(|unit| self.units[*unit].incident == Some(incident)) {
            return;
        }
        let root = found.root;
        let channels: BTreeSet<Box<str>> = found.told.iter().map(|(channel, _)| channel.clone()).collect();
        let text: Box<str> = format!("incident {incident} is over: {}", found.cause).into();
        self.close(incident, root);
        for channel in channels {
            let channel = (!channel.is_empty()).then_some(channel);
            let about = Told::Over;
            self.actions.push(Effect::Alert { incident, unit: root, channel, about, text: text.clone() });
        }
    }

    fn close(&mut self, incident: IncidentId, unit: Option<UnitId>) {
        self.incidents.remove(&incident);
        self.changed_incidents.insert(incident);
        self.facts.push(Fact::IncidentClosed { incident, unit });
    }

    /// It is ready again, at least for now.
    pub(crate) fn recovered(&mut self, id: UnitId) {
        self.works(id);
        self.has_helped(id);
        self.watch_it_settle(id);
    }

    pub(crate) fn works(&mut self, id: UnitId) {
        let now = self.now.mono;
        if let Some(share) = self.share_mut(id) {
            share.recovered.get_or_insert(now);
        }
    }

    /// Stable is: ready for so long that its probes would have seen it fail again, and some time more.
    pub(crate) fn watch_it_settle(&mut self, id: UnitId) {
        if self.units[id].incident.is_some() && self.units[id].state.name() == StateName::Ready {
            let delay = self.spec(id).recover.settle.saturating_add(self.detection_time(id));
            self.timers.set(Some(id), Timer::Settle, self.now.mono.after(delay));
        }
    }

    fn number_incident(&mut self) -> IncidentId {
        self.last_incident += 1;
        let incident = IncidentId(self.last_incident);
        self.changed_incidents.insert(incident);
        incident
    }

    pub(crate) fn open_barrier_incident(&mut self, cause: Box<str>) {
        let began = self.boot.waiting_since;
        let incident = self.number_incident();
        self.facts.push(Fact::IncidentOpened { incident, unit: None, cause: cause.clone(), began });
        self.incidents.insert(incident, Incident::new(None, self.now.mono, cause));
    }

    /// The open incident of the barrier that is waited for.
    pub(crate) fn barrier_incident(&self) -> Option<IncidentId> {
        if self.boot.is_booted {
            return None; // there is no barrier any more
        }
        self.incidents.iter().find(|(_, incident)| incident.root.is_none()).map(|(number, _)| *number)
    }

    pub(crate) fn close_barrier_incident(&mut self) {
        if let Some(incident) = self.barrier_incident() {
            self.close(incident, None);
        }
    }

    fn incident_mut(&mut self, incident: IncidentId) -> Option<&mut Incident> {
        self.changed_incidents.insert(incident);
        self.incidents.get_mut(&incident)
    }

    pub(crate) fn share(&self, id: UnitId) -> Option<&Share> {
        self.incidents.get(&self.units[id].incident?)?.affected.get(&id)
    }

    /// To be changed: the incident is noted again.
    pub(crate) fn share_mut(&mut self, id: UnitId) -> Option<&mut Share> {
        let incident = self.units[id].incident?;
        self.incident_mut(incident)?.affected.get_mut(&id)
    }

    /// False when the channel was told so before.
    pub(crate) fn is_news(&mut self, id: UnitId, channel: &str, word: Told) -> bool {
        let Some(incident) = self.units[id].incident else { return false };
        self.incident_mut(incident).is_some_and(|found| found.told.insert((channel.into(), word)))
    }

    /// What units and the boot refer to is what is open: an incident may have been noted before or after
    /// them, or by a version that did not note incidents.
    pub(crate) fn restore_incidents(&mut self, mut noted: BTreeMap<IncidentId, Incident>) {
        let now = self.now.mono;
        for id in Arc::clone(&self.set).ids() {
            let Some(number) = self.units[id].incident else { continue };
            let cause = "noted before the supervisor was replaced";
            let restored = noted.remove(&number);
            let incident = self
                .incidents
                .entry(number)
                .or_insert_with(|| restored.unwrap_or_else(|| Incident::new(Some(id), now, cause.into())));
            incident.affected.entry(id).or_insert_with(|| Share::new(now, now));
            self.last_incident = self.last_incident.max(number.0);
        }
        if let Some(number) = self.boot.noted_incident {
            let unnamed = || Incident::new(None, now, "a barrier does not open".into());
            self.incidents.insert(number, noted.remove(&number).unwrap_or_else(unnamed));
            self.last_incident = self.last_incident.max(number.0);
        }
        for (number, incident) in noted {
            self.last_incident = self.last_incident.max(number.0);
            self.close(number, incident.root);
        }
    }

    /// The notes of the incidents that this step changed.
    pub(crate) fn changed_incident_notes(&mut self) -> Vec<Effect> {
        let note = |number: IncidentId| {
            let found = self.incidents.get(&number).cloned().map(Box::new);
            Effect::Remember(crate::engine::effect::Note::Incident(number, found))
        };
        let notes = self.changed_incidents.iter().copied().map(note).collect();
        self.changed_incidents.clear();
        notes
    }
}
