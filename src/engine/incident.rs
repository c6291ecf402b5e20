//! One spell of trouble: of one unit and of those whose failures it explains, or of a barrier.
//!
//! `trouble` is called where a failure is detected, before anything is done about it: it opens or joins
//! an incident, and orders the evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::{Effect, Fact, Note};
use crate::engine::id::{IncidentId, RunId, UnitId};
use crate::engine::ladder::Step;
use crate::engine::life::Capture;
use crate::engine::state::{FailureCause, Health, StateName, StopStage, UnitState};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;

/// How long what happened just before may still turn out to have had its root elsewhere, at least.
const SAME_SPELL: Duration = Duration::from_secs(10);

/// How long a live run that failed is spared, so that what shows why can be kept.
pub(crate) const CAPTURE_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Whose trouble it began with, and explains the rest. `None`: a barrier that does not open, or a change.
    pub root: Option<UnitId>,
    pub opened: Timestamp,
    pub cause: Box<str>,
    /// All evidence that was asked for was kept.
    pub is_complete: bool,
    /// The root works again for good, or is done: what ends now has healed, and is not merely no longer wanted.
    pub has_healed: bool,
    /// Every unit that is part of it now.
    pub affected: BTreeSet<UnitId>,
    /// Shares that an earlier version noted with it. Each unit notes its own: an incident of thousands is not written
    /// anew with each of their steps.
    pub noted: BTreeMap<UnitId, Share>,
    /// Who is well, and waited for a part of it or was stopped by one. Not noted: they are told of again.
    pub reached: BTreeSet<UnitId>,
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
    /// The incident is closed: its root works again for good, or is done.
    Over,
    /// The incident is closed, and nothing healed: its root is no longer wanted up.
    Ended,
}

impl Incident {
    pub(crate) fn new(root: Option<UnitId>, opened: Timestamp, cause: Box<str>) -> Self {
        let (affected, noted, reached, told) =
            (BTreeSet::new(), BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let (is_complete, has_healed) = (true, false);
        Self { root, opened, cause, is_complete, has_healed, affected, noted, reached, told }
    }

    fn without_shares(&self) -> Self {
        let Self { root, opened, cause, is_complete, has_healed, affected: _, noted: _, reached: _, told } =
            self;
        let told = told.clone();
        Self {
            is_complete: *is_complete,
            has_healed: *has_healed,
            told,
            ..Self::new(*root, *opened, cause.clone())
        }
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
        self.trouble_of(id, self.units[id].run.map(|run| run.id), cause);
    }

    /// The same of one run of several.
    pub(crate) fn trouble_of(&mut self, id: UnitId, run: Option<RunId>, cause: &FailureCause) {
        if self.units[id].incident.is_none() {
            self.join_or_open(id, cause);
        }
        if let Some(share) = self.share_mut(id) {
            share.recovered = None;
        }
        self.timers.cancel(Some(id), Timer::Settle);
        self.capture_of(id, run, cause);
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
                self.put_incident(incident, Incident::new(Some(id), now, words));
                incident
            }
        };
        if let Some(found) = self.incidents.get_mut(&incident) {
            found.affected.insert(id);
        }
        self.tell_if_healed(id, incident, false);
        self.units[id].share = Some(Box::new(Share::new(began, now)));
        self.units[id].incident = Some(incident);
        self.units[id].reached_by = None;
        self.touch(id);
        self.absorb_recent(id, incident);
        self.reach_who_waits_for(id, incident);
    }

    /// The open incident whose root it is, or that of the nearest dependency in trouble.
    fn explained_by(&self, id: UnitId) -> Option<IncidentId> {
        if self.incidents.is_empty() {
            return None;
        }
        let own = self.roots.range(of_unit(id)).next().map(|(_, number)| *number);
        own.or_else(|| self.behind(id).find_map(|unit| self.units[unit].incident))
    }

    /// Dependents that noticed first opened incidents of their own: they were the same trouble.
    fn absorb_recent(&mut self, root: UnitId, into: IncidentId) {
        let now = self.now.mono;
        let window = self.detection_time(root).max(SAME_SPELL);
        let is_recent = |number: &IncidentId| {
            self.incidents.get(number).is_some_and(|incident| now.since(incident.opened) <= window)
        };
        let theirs = self.roots_behind.range(of_unit(root)).map(|(_, number)| *number);
        let numbers: Vec<IncidentId> = theirs.filter(|number| *number != into && is_recent(number)).collect();
        for number in numbers {
            self.merge(number, into);
        }
    }

    /// Its dependencies, nearest first.
    pub(crate) fn behind(&self, id: UnitId) -> impl Iterator<Item = UnitId> + '_ {
        self.graph.behind(&self.set, id).inspect(|_| self.visit())
    }

    /// It is open from now on, and whoever its root depends on can find it.
    pub(crate) fn put_incident(&mut self, number: IncidentId, incident: Incident) {
        if let Some(root) = incident.root {
            self.roots.insert((root, number));
            let behind: Vec<UnitId> = self.behind(root).collect();
            self.roots_behind.extend(behind.into_iter().map(|unit| (unit, number)));
        }
        self.incidents.insert(number, incident);
    }

    /// After a change of the graph other units stand behind the roots, and behind those who hold.
    pub(crate) fn refile_incidents(&mut self) {
        let behind = |of: Vec<UnitId>| -> Vec<(UnitId, UnitId)> {
            of.into_iter().flat_map(|id| self.behind(id).map(move |unit| (unit, id))).collect()
        };
        let holds = behind(self.holding.iter().copied().collect());
        let roots =
            self.roots.iter().flat_map(|(root, number)| self.behind(*root).map(|unit| (unit, *number)));
        let roots: BTreeSet<(UnitId, IncidentId)> = roots.collect();
        self.holds_behind = holds.into_iter().collect();
        self.roots_behind = roots;
    }

    fn take_incident(&mut self, number: IncidentId) -> Option<Incident> {
        let incident = self.incidents.remove(&number)?;
        if let Some(root) = incident.root {
            self.roots.remove(&(root, number));
            let behind: Vec<UnitId> = self.behind(root).collect();
            for unit in behind {
                self.roots_behind.remove(&(unit, number));
            }
        }
        self.changed_incidents.insert(number);
        Some(incident)
    }

    fn merge(&mut self, from: IncidentId, into: IncidentId) {
        let Some(old) = self.take_incident(from) else { return };
        for unit in &old.reached {
            self.units[*unit].reached_by = Some(into).filter(|_| self.units[*unit].reached_by == Some(from));
        }
        if let Some(incident) = self.incidents.get_mut(&into) {
            incident.reached.extend(old.reached);
        }
        for unit in old.affected {
            self.units[unit].incident = Some(into);
            self.touch(unit);
            if let Some(incident) = self.incidents.get_mut(&into) {
                incident.affected.insert(unit);
            }
        }
        if let Some(incident) = self.incident_mut(into) {
            incident.is_complete &= old.is_complete;
            // They go on hearing of it under its new number, and of its end.
            incident.told.extend(old.told.into_iter().map(|(channel, _)| (channel, Told::Trouble)));
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
            | FailureCause::Job(_)
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
        self.end_captured_run(id, run);
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

    /// Its share is over before it was known to work for good: it is not wanted any more.
    pub(crate) fn leave_unhealed(&mut self, id: UnitId) {
        if let Some(share) = self.share_mut(id) {
            share.recovered = None;
        }
        self.leave_incident(id);
    }

    /// Its share is over: it works for good, or is done.
    pub(crate) fn leave_incident(&mut self, id: UnitId) {
        self.timers.cancel(Some(id), Timer::Settle);
        self.cancel_rung(id, "no longer needed");
        let Some(incident) = self.units[id].incident.take() else { return };
        self.touch(id);
        let share = self.units[id].share.take();
        let Some(found) = self.incidents.get_mut(&incident) else { return };
        found.affected.remove(&id);
        if let Some(share) = share {
            let Share { began, detected, recovered, .. } = *share;
            self.facts.push(Fact::IncidentLeft { incident, unit: id, began, detected, recovered });
            self.tell_if_healed(id, incident, recovered.is_some());
        }
        self.close_if_over(incident);
    }

    /// The root decides whether an incident has healed.
    fn tell_if_healed(&mut self, id: UnitId, incident: IncidentId, has_healed: bool) {
        let is_news = |found: &&Incident| found.root == Some(id) && found.has_healed != has_healed;
        if self.incidents.get(&incident).filter(is_news).is_some()
            && let Some(found) = self.incident_mut(incident)
        {
            found.has_healed = has_healed;
        }
    }

    fn close_if_over(&mut self, incident: IncidentId) {
        let Some(found) = self.incidents.get(&incident) else { return };
        if !found.affected.is_empty() {
            return;
        }
        let root = found.root;
        let channels: BTreeSet<Box<str>> = found.told.iter().map(|(channel, _)| channel.clone()).collect();
        let has_healed = found.has_healed;
        let (about, fate) =
            if has_healed { (Told::Over, "is over") } else { (Told::Ended, "ended, no longer wanted up") };
        let text: Box<str> = format!("incident {incident} {fate}: {}", found.cause).into();
        self.close(incident, root, has_healed);
        for channel in channels {
            let channel = (!channel.is_empty()).then_some(channel);
            self.actions.push(Effect::Alert { incident, unit: root, channel, about, text: text.clone() });
        }
    }

    pub(crate) fn close(&mut self, incident: IncidentId, unit: Option<UnitId>, has_healed: bool) {
        self.take_incident(incident);
        self.facts.push(Fact::IncidentClosed { incident, unit, has_healed });
    }

    /// It is ready again, at least for now. Who can be asked is not believed before its probes have passed.
    pub(crate) fn recovered(&mut self, id: UnitId) {
        let unit = &self.units[id];
        if !unit.probes.is_empty() && unit.health != Health::Passing {
            return;
        }
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

    pub(crate) fn number_incident(&mut self) -> IncidentId {
        self.last_incident += 1;
        let incident = IncidentId(self.last_incident);
        self.changed_incidents.insert(incident);
        incident
    }

    pub(crate) fn open_barrier_incident(&mut self, cause: Box<str>) {
        let began = self.boot.waiting_since;
        let incident = self.number_incident();
        self.facts.push(Fact::IncidentOpened { incident, unit: None, cause: cause.clone(), began });
        self.put_incident(incident, Incident::new(None, self.now.mono, cause));
        self.boot.incident = Some(incident);
    }

    pub(crate) fn close_barrier_incident(&mut self) {
        if let Some(incident) = self.boot.incident.take() {
            self.close(incident, None, true);
        }
    }

    fn incident_mut(&mut self, incident: IncidentId) -> Option<&mut Incident> {
        self.changed_incidents.insert(incident);
        self.incidents.get_mut(&incident)
    }

    pub(crate) fn share(&self, id: UnitId) -> Option<&Share> {
        self.units[id].share.as_deref()
    }

    /// To be changed: its unit is noted again.
    pub(crate) fn share_mut(&mut self, id: UnitId) -> Option<&mut Share> {
        if self.units[id].share.is_some() {
            self.touch(id);
        }
        self.units[id].share.as_deref_mut()
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
            if !self.incidents.contains_key(&number) {
                let cause = "noted before the supervisor was replaced";
                let unnamed = || Incident::new(Some(id), now, cause.into());
                let mut incident = noted.remove(&number).unwrap_or_else(unnamed);
                incident.root.get_or_insert(id); // where its root is not defined any more
                self.put_incident(number, incident);
            }
            let share = self.units[id].noted.as_ref().and_then(|note| note.share.clone());
            if let Some(incident) = self.incidents.get_mut(&number) {
                incident.affected.insert(id);
                let old = incident.noted.remove(&id).map(Box::new);
                self.units[id].share = share.or(old).or_else(|| Some(Box::new(Share::new(now, now))));
            }
            self.last_incident = self.last_incident.max(number.0);
        }
        let barrier = self.boot.incident.map(|number| (number, "a barrier does not open"));
        let change = self.change_incident.map(|number| (number, "a change is not well"));
        for (number, cause) in barrier.into_iter().chain(change) {
            let unnamed = || Incident::new(None, now, cause.into());
            self.put_incident(number, noted.remove(&number).unwrap_or_else(unnamed));
            self.last_incident = self.last_incident.max(number.0);
        }
        for (number, incident) in noted {
            self.last_incident = self.last_incident.max(number.0);
            self.close(number, incident.root, incident.has_healed);
        }
    }

    /// The notes of the incidents that this step changed; who is part of them the units note.
    pub(crate) fn changed_incident_notes(&mut self) -> Vec<Effect> {
        let note = |number: IncidentId| {
            let found = self.incidents.get(&number).map(|found| Box::new(found.without_shares()));
            Effect::Remember(Note::Incident(number, found))
        };
        let notes = self.changed_incidents.iter().copied().map(note).collect();
        self.changed_incidents.clear();
        notes
    }
}

/// Every incident that is filed under a unit.
fn of_unit(id: UnitId) -> RangeInclusive<(UnitId, IncidentId)> {
    (id, IncidentId(0))..=(id, IncidentId(u64::MAX))
}
