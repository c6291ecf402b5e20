//! The story of each open incident, told by facts as they come. Pure: what is to be written, recorded or sent is
//! what it answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::alert::message::{Change, Message};
use crate::engine::effect::Fact;
use crate::engine::id::UnitId;
use crate::engine::incident::Told;
use crate::engine::state::StateName;
use crate::engine::time::{Now, Timestamp};
use crate::history::row::{FactRow, IncidentRow, Record};
use crate::incident::cause::Cause;
use crate::incident::evidence::{Evidence, RungTried};
use crate::incident::store::Moment;
use crate::incident::times::Times;
use crate::supervisor::chronicle::Alert;
use crate::supervisor::chronicle::scribe::{Outcome, Writing};
use crate::supervisor::words::{self, Weight, name_of};
use crate::unit::spec::UnitSet;
use crate::unit::spec::recover::Rung;

#[derive(Debug, Default)]
pub(super) struct Book {
    open: BTreeMap<u64, Story>,
    /// Which open incident a unit is part of.
    by_unit: BTreeMap<String, u64>,
    /// What is over, for people who ask while the history is off.
    over: VecDeque<IncidentRow>,
}

/// One open incident.
#[derive(Debug, Default)]
struct Story {
    row: IncidentRow,
    /// Where each unit that it reached was last seen.
    states: BTreeMap<String, StateName>,
    rungs: Vec<RungTried>,
    /// Whose rung under way was tried before in this incident: people have heard of it.
    repeating: BTreeSet<String>,
    /// The last thing that helped, or seemed to.
    helped: String,
    causes: Vec<Cause>,
    /// Channels that were told of it.
    alerted: BTreeSet<String>,
    /// Messages about rungs so far.
    steps: u32,
    /// When the last of those that left it began to work again.
    healed_millis: Option<u64>,
}

/// What a fact brings about.
#[derive(Debug, PartialEq)]
pub(super) enum Deed {
    Write(Writing),
    Record(Record),
    /// To its channel.
    Send(Message),
}

/// Fact and place of one telling.
struct Telling<'a> {
    set: &'a UnitSet,
    now: Now,
    fact: &'a Fact,
}

impl Telling<'_> {
    fn millis(&self) -> u64 {
        self.now.wall.0 / NANOS
    }

    /// The date of an instant that is past.
    fn date(&self, at: Timestamp) -> u64 {
        let ago = crate::engine::time::nanos(self.now.mono.since(at));
        self.now.wall.0.saturating_sub(ago) / NANOS
    }

    fn name(&self, unit: UnitId) -> String {
        name_of(self.set, unit).to_owned()
    }

    fn rung(&self, (unit, index): (UnitId, u16)) -> Option<&Rung> {
        self.set.unit(unit)?.recover.rungs.get(usize::from(index))
    }

    fn moment(&self, kind: &str) -> Moment {
        let unit = words::unit_of(self.fact).map(|unit| self.name(unit)).unwrap_or_default();
        Moment {
            at_millis: self.millis(),
            unit,
            kind: kind.to_owned(),
            text: words::text(self.fact, self.set),
        }
    }
}

/// What becomes of an alert before it is known to have arrived.
const HANDED_ON: &str = "handed on";
const NANOS: u64 = 1_000_000;

impl Book {
    /// An incident that an earlier supervisor left open goes on.
    pub(super) fn go_on(&mut self, row: IncidentRow, evidence: &Evidence) {
        for unit in row.root.iter().chain(&row.affected) {
            self.by_unit.insert(unit.clone(), row.id);
        }
        let story = Story {
            rungs: evidence.rungs.clone(),
            causes: evidence.causes.clone(),
            alerted: evidence.alerted.iter().cloned().collect(),
            steps: u32::try_from(evidence.rungs.len()).unwrap_or(u32::MAX),
            row,
            ..Story::default()
        };
        self.open.insert(story.row.id, story);
    }

    pub(super) fn is_open(&self, incident: u64) -> bool {
        self.open.contains_key(&incident)
    }

    /// Of those that are open, and the last ones that are over.
    pub(super) fn rows(&self) -> impl Iterator<Item = &IncidentRow> {
        self.open.values().map(|story| &story.row).chain(&self.over)
    }

    pub(super) fn cause(&self, incident: u64) -> Option<Cause> {
        self.open.get(&incident)?.causes.first().cloned()
    }

    pub(super) fn take(&mut self, set: &UnitSet, now: Now, fact: &Fact) -> Vec<Deed> {
        let told = Telling { set, now, fact };
        let mut deeds = match fact {
            Fact::IncidentOpened { incident, unit, cause, began } => {
                self.opened(&told, incident.0, *unit, cause, told.date(*began))
            }
            Fact::IncidentJoined { incident, unit, .. } => self.joined(&told, incident.0, *unit),
            Fact::IncidentReached { incident, units } => self.reached(&told, incident.0, units),
            Fact::IncidentMerged { from, into } => self.merged(&told, from.0, into.0),
            Fact::IncidentClosed { incident, has_healed, .. } => self.closed(&told, incident.0, *has_healed),
            Fact::EvidenceIncomplete { incident, .. } => {
                vec![Deed::Write(Writing::Moment(incident.0, told.moment("evidence")))]
            }
            Fact::IncidentLeft { incident, unit, recovered, .. } => {
                self.left(&told, incident.0, *unit, *recovered)
            }
            Fact::RungTried { incident, unit, index, rung } => {
                self.rung_tried(&told, incident.0, (*unit, *index), rung)
            }
            Fact::RungRepeated { incident, .. } => {
                vec![Deed::Write(Writing::Moment(incident.0, told.moment("rung")))]
            }
            Fact::RungEnded { incident, unit, index, has_helped, said } => {
                self.rung_ended(&told, incident.0, (*unit, *index), *has_helped, said)
            }
            Fact::StateChanged { unit, to, reason, .. } => self.state_changed(&told, *unit, *to, reason),
            Fact::HealthChanged { unit, .. } => self.part(&told, *unit, "probe"),
            Fact::RunEnded { unit, .. } => self.part(&told, *unit, "ended"),
            Fact::Unkillable { unit } => self.part(&told, *unit, "unkillable"),
            Fact::StatusTold { unit, .. } => self.part(&told, *unit, "says"),
            Fact::JobRunEnded { unit, .. } => self.part(&told, *unit, "run"),
            Fact::JobMissed { unit, .. } => self.part(&told, *unit, "missed"),
            Fact::JobSkipped { unit, .. } => self.part(&told, *unit, "skipped"),
            Fact::PhaseOpened { .. }
            | Fact::JobTriggered { .. }
            | Fact::Booted
            | Fact::PhaseHeld { .. }
            | Fact::Adopted { .. }
            | Fact::Change { .. }
            | Fact::RequestServed { .. }
            | Fact::ShutdownBegan
            | Fact::BugFound { .. } => Vec::new(),
        };
        let unit = words::unit_of(fact).map(|unit| told.name(unit));
        let incident = words::incident_of(fact)
            .map(|incident| incident.0)
            .or_else(|| self.by_unit.get(unit.as_ref()?).copied());
        if incident.is_some() || words::weight(fact) == Weight::Trouble {
            deeds.push(Deed::Record(Record::Fact(FactRow {
                at_millis: told.millis(),
                unit,
                incident,
                kind: words::kind(fact).to_owned(),
                text: words::text(fact, set),
            })));
        }
        deeds
    }

    fn opened(
        &mut self,
        told: &Telling<'_>,
        incident: u64,
        unit: Option<UnitId>,
        cause: &str,
        started_millis: u64,
    ) -> Vec<Deed> {
        let root = unit.map(|unit| told.name(unit));
        if let Some(root) = &root {
            self.by_unit.insert(root.clone(), incident);
        }
        let row = IncidentRow {
            id: incident,
            root,
            started_millis,
            detected_millis: told.millis(),
            failure: cause.to_owned(),
            ..IncidentRow::default()
        };
        self.open.insert(incident, Story { row, ..Story::default() });
        let mut deeds = vec![Deed::Write(Writing::Moment(incident, told.moment("opened")))];
        deeds.extend(self.note(incident));
        deeds
    }

    fn joined(&mut self, told: &Telling<'_>, incident: u64, unit: UnitId) -> Vec<Deed> {
        let name = told.name(unit);
        self.by_unit.insert(name.clone(), incident);
        let Some(story) = self.open.get_mut(&incident) else { return Vec::new() };
        story.reach(name);
        let mut deeds = vec![Deed::Write(Writing::Moment(incident, told.moment("joined")))];
        deeds.extend(self.note(incident));
        deeds
    }

    /// They are well, and without what is in trouble.
    fn reached(&mut self, told: &Telling<'_>, incident: u64, units: &[UnitId]) -> Vec<Deed> {
        let Some(story) = self.open.get_mut(&incident) else { return Vec::new() };
        let before = story.row.affected.len();
        units.iter().for_each(|unit| story.reach(told.name(*unit)));
        if story.row.affected.len() == before {
            return Vec::new(); // a new supervisor tells of them again
        }
        let mut deeds = vec![Deed::Write(Writing::Moment(incident, told.moment("reached")))];
        deeds.extend(self.note(incident));
        deeds
    }

    fn merged(&mut self, told: &Telling<'_>, from: u64, into: u64) -> Vec<Deed> {
        let Some(mut old) = self.open.remove(&from) else { return Vec::new() };
        for incident in self.by_unit.values_mut().filter(|incident| **incident == from) {
            *incident = into;
        }
        old.row.verdict = format!("part of incident {into}");
        let mut deeds = vec![Deed::Write(Writing::Moment(from, told.moment("merged")))];
        deeds.extend(old.tell(told, Change::Merged, &old.alerted));
        if let Some(story) = self.open.get_mut(&into) {
            for unit in old.row.root.iter().chain(&old.row.affected) {
                story.reach(unit.clone());
            }
            story.row.started_millis = story.row.started_millis.min(old.row.started_millis);
            story.row.detected_millis = story.row.detected_millis.min(old.row.detected_millis);
            story.states.extend(std::mem::take(&mut old.states));
            // Whoever was told goes on hearing of it, under its new number.
            let new: BTreeSet<String> = old.alerted.difference(&story.alerted).cloned().collect();
            deeds.extend(story.tell(told, Change::Opened, &new));
            story.alerted.extend(new);
            story.steps = story.steps.saturating_add(old.steps);
            deeds.push(Deed::Write(Writing::Moment(into, told.moment("merged"))));
        }
        // Its files stay, as evidence of their own; whoever counts incidents finds one.
        deeds.push(old.outcome());
        deeds.push(Deed::Record(Record::Merged { from, into }));
        deeds.extend(self.note(into));
        deeds
    }

    /// Its share is over: the incident recovers with the last of them.
    fn left(&mut self, told: &Telling<'_>, incident: u64, unit: UnitId, at: Option<Timestamp>) -> Vec<Deed> {
        let name = told.name(unit);
        self.by_unit.remove(&name);
        let Some(story) = self.open.get_mut(&incident) else { return Vec::new() };
        if at.is_none() && story.row.root.as_ref() == Some(&name) {
            story.row.recovered_millis = None; // it was ready for a moment, perhaps
        }
        if let Some(at) = at {
            let at = told.date(at);
            story.row.recovered_millis = Some(story.healed_millis.map_or(at, |last| last.max(at)));
            story.healed_millis = story.row.recovered_millis;
        }
        vec![Deed::Write(Writing::Moment(incident, told.moment("left")))]
    }

    fn closed(&mut self, told: &Telling<'_>, incident: u64, has_healed: bool) -> Vec<Deed> {
        self.by_unit.retain(|_, of| *of != incident);
        let Some(mut story) = self.open.remove(&incident) else { return Vec::new() };
        let helped = std::mem::take(&mut story.helped);
        story.row.recovered_millis =
            has_healed.then(|| story.row.recovered_millis.unwrap_or_else(|| told.millis()));
        story.row.verdict = match (has_healed, helped.as_str()) {
            (true, "") => "it works again".to_owned(),
            (true, helped) => helped.to_owned(),
            (false, _) if !story.row.verdict.is_empty() => std::mem::take(&mut story.row.verdict),
            (false, _) => "it is no longer wanted up".to_owned(),
        };
        let mut deeds = vec![Deed::Write(Writing::Moment(incident, told.moment("closed")))];
        deeds.extend(story.note());
        self.keep(story.row);
        deeds
    }

    fn rung_tried(&mut self, told: &Telling<'_>, incident: u64, at: (UnitId, u16), rung: &str) -> Vec<Deed> {
        let unit = told.name(at.0);
        // Nobody tells of its end: whether it arrived the outbox knows.
        let outcome = match told.rung(at) {
            Some(Rung::Alert { .. }) => HANDED_ON,
            Some(Rung::Exec { .. } | Rung::Restart { .. } | Rung::Reload(_) | Rung::Stop) | None => "",
        };
        let Some(story) = self.open.get_mut(&incident) else { return Vec::new() };
        let is_same = |earlier: &RungTried| earlier.rung == rung && earlier.unit == unit;
        let is_repeating = story.rungs.iter().any(is_same);
        if is_repeating {
            story.repeating.insert(unit.clone());
        } else {
            story.repeating.remove(&unit);
        }
        let tried =
            RungTried { at_millis: told.millis(), unit, rung: rung.to_owned(), outcome: outcome.to_owned() };
        if story.rungs.len() < MOST_RUNGS {
            story.rungs.push(tried);
        }
        let mut deeds = vec![Deed::Write(Writing::Moment(incident, told.moment("rung")))];
        if !is_repeating {
            deeds.extend(story.tell_step(told));
        }
        deeds.extend(self.note(incident));
        deeds
    }

    fn rung_ended(
        &mut self,
        told: &Telling<'_>,
        incident: u64,
        at: (UnitId, u16),
        has_helped: bool,
        said: &str,
    ) -> Vec<Deed> {
        let name = told.name(at.0);
        let can_help = match told.rung(at) {
            Some(Rung::Alert { .. } | Rung::Stop) => false,
            Some(Rung::Exec { .. } | Rung::Restart { .. } | Rung::Reload(_)) | None => true,
        };
        let has_helped = has_helped && can_help;
        let Some(story) = self.open.get_mut(&incident) else { return Vec::new() };
        let is_it = |rung: &&mut RungTried| rung.outcome.is_empty() && rung.unit == name;
        let rung = match story.rungs.iter_mut().rev().find(is_it) {
            Some(last) => {
                last.outcome = match (has_helped, said) {
                    (true, _) => "helped".to_owned(),
                    (false, "") => "did not help".to_owned(),
                    (false, said) => format!("did not help: {said}"),
                };
                last.rung.clone()
            }
            None => String::new(),
        };
        // What is explained by the root comes back with it.
        if has_helped && !rung.is_empty() && story.row.root.as_ref() == Some(&name) {
            story.helped = format!("{rung} helped");
        }
        let mut deeds = vec![Deed::Write(Writing::Moment(incident, told.moment("rung-ended")))];
        if !story.repeating.contains(&name) {
            deeds.extend(story.tell_step(told));
        }
        deeds.extend(self.note(incident));
        deeds
    }

    fn state_changed(&mut self, told: &Telling<'_>, unit: UnitId, to: StateName, reason: &str) -> Vec<Deed> {
        let name = told.name(unit);
        let Some(incident) = self.by_unit.get(&name).copied() else { return Vec::new() };
        let Some(story) = self.open.get_mut(&incident) else { return Vec::new() };
        let was = story.states.insert(name.clone(), to);
        let is_root = story.row.root.as_ref() == Some(&name);
        let before = story.row.clone();
        match to {
            StateName::Ready | StateName::Completed if is_root => {
                story.row.recovered_millis = Some(told.millis());
                story.row.verdict.clear();
                if story.helped.is_empty() && was == Some(StateName::Starting) {
                    story.helped = "a restart helped".to_owned();
                }
            }
            StateName::Failed if is_root => {
                // It may have worked for a moment just before.
                story.row.recovered_millis = None;
                story.helped.clear();
                story.row.verdict = format!("given up: {reason}");
            }
            StateName::Unhealthy | StateName::Backoff | StateName::Failed => {
                story.row.recovered_millis = None;
                if is_root {
                    story.helped.clear();
                }
            }
            StateName::Ready
            | StateName::Completed
            | StateName::Inactive
            | StateName::Waiting
            | StateName::Starting
            | StateName::Stopping => {}
        }
        let is_news = before != story.row;
        let mut deeds = vec![Deed::Write(Writing::Moment(incident, told.moment("state")))];
        if is_news {
            deeds.extend(self.note(incident));
        }
        deeds
    }

    /// Something about a unit that may be part of an incident.
    fn part(&mut self, told: &Telling<'_>, unit: UnitId, kind: &str) -> Vec<Deed> {
        let incident = self.by_unit.get(&told.name(unit));
        let moment = |incident: &u64| Deed::Write(Writing::Moment(*incident, told.moment(kind)));
        incident.map(moment).into_iter().collect()
    }

    /// The evidence is there; what it says of the cause goes into the row.
    pub(super) fn evidence(&mut self, evidence: &Evidence, at_millis: u64) -> Vec<Deed> {
        let Some(story) = self.open.get_mut(&evidence.incident) else { return Vec::new() };
        let first = evidence.causes.first();
        let is_root = story.row.root.as_deref() == Some(evidence.unit.as_str());
        if story.causes.is_empty() || is_root {
            story.causes.clone_from(&evidence.causes);
            story.row.cause = first.map(|cause| cause.sentence.clone()).unwrap_or_default();
        }
        let missing: Vec<&str> = evidence.incomplete.iter().map(|missing| missing.what.as_str()).collect();
        let mut text = match missing.as_slice() {
            [] => "evidence captured".to_owned(),
            missing => format!("evidence captured, without {}", missing.join(", ")),
        };
        if let Some(cause) = first {
            text = format!("{text}; probably {}", cause.sentence);
        }
        let (incident, unit) = (evidence.incident, evidence.unit.clone());
        let moment = Moment { at_millis, unit, kind: "evidence".into(), text };
        let mut deeds = vec![Deed::Write(Writing::Moment(incident, moment))];
        deeds.extend(self.note(incident));
        deeds
    }

    /// The ladder, or giving up, asks to tell people.
    pub(super) fn alert(&mut self, set: &UnitSet, alert: &Alert) -> Vec<Deed> {
        let (incident, at_millis) = (alert.incident.0, alert.at.wall.0 / NANOS);
        let channels = match &alert.channel {
            Some(channel) => vec![channel.to_string()],
            None => set.alerts.iter().map(|channel| channel.name.to_string()).collect(),
        };
        let nothing = IncidentRow::default();
        let over = || self.over.iter().rev().find(|row| row.id == incident);
        let row = self.open.get(&incident).map(|story| &story.row).or_else(over).unwrap_or(&nothing);
        let unit = alert.unit.map(|unit| name_of(set, unit)).or(row.root.as_deref()).unwrap_or("mcsup");
        let message = Message {
            incident,
            change: match alert.about {
                Told::Trouble => Change::Opened,
                Told::GaveUp => Change::GaveUp,
                Told::Over => Change::Healed,
                Told::Ended => Change::Ended,
            },
            unit: unit.to_owned(),
            at_millis,
            text: alert.text.to_string(),
            cause: row.cause.clone(),
            affected: row.affected.clone(),
            ..Message::default()
        };
        let mut deeds = Vec::new();
        for channel in &channels {
            deeds.push(Deed::Send(Message { channel: channel.clone(), ..message.clone() }));
            let text = format!("message to {channel}: {}", alert.text);
            let moment = Moment { at_millis, unit: message.unit.clone(), kind: "alert".into(), text };
            deeds.push(Deed::Write(Writing::Moment(incident, moment)));
        }
        if let Some(story) = self.open.get_mut(&incident) {
            story.alerted.extend(channels);
            deeds.extend(self.note(incident));
        }
        deeds
    }

    /// An alert of a ladder has arrived.
    pub(super) fn delivered(&mut self, message: &Message) -> Vec<Deed> {
        let Some(story) = self.open.get_mut(&message.incident) else { return Vec::new() };
        let alert = format!("an alert to {}", message.channel);
        let is_it = |rung: &&mut RungTried| {
            rung.outcome == HANDED_ON && rung.unit == message.unit && rung.rung == alert
        };
        let Some(rung) = story.rungs.iter_mut().find(is_it).filter(|_| message.change == Change::Opened)
        else {
            return Vec::new();
        };
        "told".clone_into(&mut rung.outcome);
        vec![story.outcome()]
    }

    /// What the row and the files shall say of it now.
    fn note(&self, incident: u64) -> Vec<Deed> {
        self.open.get(&incident).map(Story::note).unwrap_or_default()
    }

    fn keep(&mut self, row: IncidentRow) {
        if self.over.len() >= MOST_OVER {
            self.over.pop_front();
        }
        self.over.push_back(row);
    }
}

impl Story {
    fn reach(&mut self, unit: String) {
        let is_known = self.row.root.as_ref() == Some(&unit) || self.row.affected.contains(&unit);
        if !is_known {
            self.row.affected.push(unit);
        }
    }

    fn note(&self) -> Vec<Deed> {
        vec![Deed::Record(Record::Incident(self.row.clone())), self.outcome()]
    }

    /// For the files.
    fn outcome(&self) -> Deed {
        let row = &self.row;
        let outcome = Outcome {
            times: Times {
                started_millis: row.started_millis,
                detected_millis: row.detected_millis,
                recovered_millis: row.recovered_millis,
            },
            affected: row.affected.clone(),
            rungs: self.rungs.clone(),
            healed_by: row.verdict.clone(),
            alerted: self.alerted.iter().cloned().collect(),
        };
        Deed::Write(Writing::Outcome(row.id, Box::new(outcome)))
    }

    /// Whoever was told of the incident hears how its ladder goes.
    fn tell_step(&mut self, told: &Telling<'_>) -> Vec<Deed> {
        self.steps = self.steps.saturating_add(1);
        self.tell(told, Change::RungTried, &self.alerted)
    }

    fn tell(&self, told: &Telling<'_>, change: Change, channels: &BTreeSet<String>) -> Vec<Deed> {
        let concerned = words::unit_of(told.fact).map(|unit| told.name(unit));
        let unit = concerned.or_else(|| self.row.root.clone()).unwrap_or_else(|| "mcsup".to_owned());
        let step = if change == Change::RungTried { self.steps } else { 0 };
        let text = if change == Change::Opened {
            format!("{unit} is in trouble: {}", self.row.failure)
        } else {
            words::line(told.fact, told.set)
        };
        let send = |channel: &String| {
            Deed::Send(Message {
                channel: channel.clone(),
                incident: self.row.id,
                change,
                step,
                unit: unit.clone(),
                at_millis: told.millis(),
                text: text.clone(),
                cause: self.row.cause.clone(),
                affected: self.row.affected.clone(),
                ..Message::default()
            })
        };
        channels.iter().map(send).collect()
    }
}

/// A ladder that is climbed for days says the same again and again.
const MOST_RUNGS: usize = 200;
/// Shown while the history is off.
const MOST_OVER: usize = 100;

#[cfg(test)]
mod tests;
