//! Stories told to the book, fact by fact.

use crate::engine::id::IncidentId;
use crate::engine::state::Health;
use crate::engine::time::WallTime;
use crate::graph;
use crate::unit::SourceFile;

use super::*;

const DB: UnitId = UnitId(1);
const API: UnitId = UnitId(0);

fn set() -> UnitSet {
    let file = |name: &str, text: &str| SourceFile { name: name.to_owned(), bytes: text.as_bytes().to_vec() };
    let files = [
        file("api.yaml", "command: [api]\ndepends_on: [db]\n"),
        file(
            "db.yaml",
            "command: [db]\nhealth: {tcp: 'localhost:1'}\nrecover: [{exec: [repair]}, restart, {alert: ops}]\n",
        ),
        file("mcsup.yaml", "alerts: {ops: {exec: [tell]}, pager: {exec: [tell]}}\n"),
    ];
    graph::load(&files).set.expect("units that are right")
}

fn at(seconds: u64) -> Now {
    let nanos = seconds * 1_000_000_000;
    Now { mono: Timestamp(nanos), wall: WallTime(nanos) }
}

#[derive(Default)]
struct Told {
    book: Book,
    merges: Vec<(u64, u64)>,
    rows: Vec<IncidentRow>,
    moments: Vec<(u64, Moment)>,
    outcomes: Vec<Outcome>,
    messages: Vec<Message>,
    facts: Vec<FactRow>,
}

impl Told {
    fn fact(&mut self, seconds: u64, fact: &Fact) -> &mut Self {
        let deeds = self.book.take(&set(), at(seconds), fact);
        self.keep(deeds)
    }

    fn keep(&mut self, deeds: Vec<Deed>) -> &mut Self {
        for deed in deeds {
            match deed {
                Deed::Write(Writing::Moment(incident, moment)) => self.moments.push((incident, moment)),
                Deed::Write(Writing::Outcome(_, outcome)) => self.outcomes.push(*outcome),
                Deed::Record(Record::Incident(row)) => self.rows.push(row),
                Deed::Record(Record::Fact(row)) => self.facts.push(row),
                Deed::Record(Record::Merged { from, into }) => self.merges.push((from, into)),
                Deed::Record(Record::Run(_) | Record::JobRun(_)) => panic!("runs are told elsewhere"),
                Deed::Send(message) => self.messages.push(message),
            }
        }
        self
    }

    fn row(&self) -> &IncidentRow {
        self.rows.last().expect("a row")
    }
}

fn opened(incident: u64, unit: UnitId, began: u64) -> Fact {
    let (cause, began) = ("exited with 1".into(), Timestamp(began * 1_000_000_000));
    Fact::IncidentOpened { incident: IncidentId(incident), unit: Some(unit), cause, began }
}

fn changed(unit: UnitId, from: StateName, to: StateName) -> Fact {
    Fact::StateChanged { unit, from, to, reason: "as told".into() }
}

fn left(incident: u64, unit: UnitId, recovered: Option<u64>) -> Fact {
    let at = |seconds: u64| Timestamp(seconds * 1_000_000_000);
    let recovered = recovered.map(at);
    Fact::IncidentLeft { incident: IncidentId(incident), unit, began: at(0), detected: at(0), recovered }
}

fn closed(incident: u64) -> Fact {
    Fact::IncidentClosed { incident: IncidentId(incident), unit: Some(DB), has_healed: true }
}

/// Nothing healed.
fn ended(incident: u64) -> Fact {
    Fact::IncidentClosed { incident: IncidentId(incident), unit: Some(DB), has_healed: false }
}

fn alert(incident: u64, unit: UnitId, about: crate::engine::incident::Told, seconds: u64) -> Alert {
    Alert {
        at: at(seconds),
        incident: IncidentId(incident),
        unit: Some(unit),
        channel: Some("ops".into()),
        about,
        text: "as told".into(),
    }
}

fn tried(unit: UnitId, index: u16, rung: &str) -> Fact {
    Fact::RungTried { incident: IncidentId(1), unit, index, rung: rung.into() }
}

fn rung_ended(unit: UnitId, index: u16, has_helped: bool) -> Fact {
    Fact::RungEnded { incident: IncidentId(1), unit, index, has_helped, said: "".into() }
}

#[test]
fn an_incident_has_its_times_from_what_the_engine_says_and_not_from_when_it_was_told() {
    let mut told = Told::default();
    told.fact(10, &opened(3, DB, 7));
    assert_eq!((told.row().started_millis, told.row().detected_millis), (7_000, 10_000));
    told.fact(11, &changed(DB, StateName::Ready, StateName::Backoff));
    told.fact(12, &changed(DB, StateName::Starting, StateName::Ready));
    told.fact(30, &left(3, DB, Some(12))).fact(30, &closed(3));
    assert_eq!(told.row().recovered_millis, Some(12_000), "since when it works, not when that was sure");
    assert!(!told.book.is_open(3) && !told.row().verdict.is_empty());
    let kinds: Vec<&str> = told.moments.iter().map(|(_, moment)| moment.kind.as_str()).collect();
    assert_eq!(kinds, ["opened", "state", "state", "left", "closed"]);
    assert_eq!(told.outcomes.last().unwrap().healed_by, told.row().verdict);
}

#[test]
fn those_whom_it_reaches_are_affected_once_and_what_was_merged_is_told_of_the_other() {
    let mut told = Told::default();
    told.fact(1, &opened(1, API, 1)).fact(3, &opened(2, DB, 2));
    told.fact(3, &Fact::IncidentMerged { from: IncidentId(1), into: IncidentId(2) });
    assert_eq!(told.merges, [(1, 2)]);
    assert!(!told.book.is_open(1) && told.book.is_open(2));
    assert_eq!((told.row().root.as_deref(), &told.row().affected), (Some("db"), &vec!["api".to_owned()]));
    assert_eq!(
        (told.row().started_millis, told.row().detected_millis),
        (1_000, 1_000),
        "the earlier of both"
    );
    let joined = Fact::IncidentJoined {
        incident: IncidentId(2),
        unit: API,
        cause: "unhealthy".into(),
        began: Timestamp(0),
    };
    told.fact(4, &joined).fact(5, &changed(API, StateName::Ready, StateName::Unhealthy));
    assert_eq!(told.row().affected, ["api"]);
    assert_eq!(told.moments.last().map(|(incident, _)| *incident), Some(2), "its changes belong to that one");
}

#[test]
fn who_only_waits_for_it_is_affected_once_and_a_new_supervisor_that_says_so_again_adds_nothing() {
    let mut told = Told::default();
    let reached = Fact::IncidentReached { incident: IncidentId(1), units: vec![API] };
    told.fact(1, &opened(1, DB, 1)).fact(1, &reached);
    assert_eq!(told.row().affected, ["api"]);
    let (rows, moments) = (told.rows.len(), told.moments.len());
    told.fact(9, &reached);
    assert_eq!((told.rows.len(), told.moments.len()), (rows, moments));
}

#[test]
fn the_rung_that_helped_is_what_healed_it_and_one_that_did_not_says_why() {
    let mut told = Told::default();
    told.fact(1, &opened(1, DB, 1));
    let tried = |rung: &str, index| {
        let rung = rung.into();
        Fact::RungTried { incident: IncidentId(1), unit: DB, index, rung }
    };
    let ended = |has_helped, said: &str, index| {
        let said = said.into();
        Fact::RungEnded { incident: IncidentId(1), unit: DB, index, has_helped, said }
    };
    told.fact(2, &tried("its repair program", 0)).fact(3, &ended(false, "no such table", 0));
    told.fact(4, &tried("a restart", 1)).fact(6, &changed(DB, StateName::Starting, StateName::Ready));
    told.fact(6, &ended(true, "", 1)).fact(20, &left(1, DB, Some(6))).fact(20, &closed(1));
    assert_eq!(told.row().verdict, "a restart helped");
    let rungs: Vec<(&str, &str)> =
        told.outcomes.last().unwrap().rungs.iter().map(|r| (&*r.rung, &*r.outcome)).collect();
    assert_eq!(rungs, [("its repair program", "did not help: no such table"), ("a restart", "helped")]);
    assert!(told.messages.is_empty(), "nobody was told of it, so nobody hears how it goes");
}

#[test]
fn whoever_was_told_hears_of_each_rung_once_and_of_the_end() {
    let mut told = Told::default();
    told.fact(1, &opened(1, DB, 1));
    let alert = |about, channel: Option<&str>, seconds| Alert {
        at: at(seconds),
        incident: IncidentId(1),
        unit: Some(DB),
        channel: channel.map(Into::into),
        about,
        text: "db is unhealthy".into(),
    };
    let deeds = told.book.alert(&set(), &alert(crate::engine::incident::Told::Trouble, Some("ops"), 2));
    told.keep(deeds);
    let tried = Fact::RungTried { incident: IncidentId(1), unit: DB, index: 1, rung: "a restart".into() };
    told.fact(3, &tried).fact(5, &tried).fact(9, &closed(1));
    let deeds = told.book.alert(&set(), &alert(crate::engine::incident::Told::Over, Some("ops"), 9));
    told.keep(deeds);
    let sent: Vec<_> = told.messages.iter().map(|m| (&*m.channel, m.change, m.step, &*m.unit)).collect();
    assert_eq!(
        sent,
        [
            ("ops", Change::Opened, 0, "db"),
            ("ops", Change::RungTried, 1, "db"),
            ("ops", Change::Healed, 0, "db"),
        ]
    );
    assert_eq!(told.outcomes.iter().filter(|outcome| outcome.alerted == ["ops"]).count(), 4);
    let everybody = told.book.alert(&set(), &alert(crate::engine::incident::Told::GaveUp, None, 10));
    assert_eq!(everybody.iter().filter(|deed| matches!(deed, Deed::Send(_))).count(), 2);
}

#[test]
fn what_is_given_up_says_so_and_a_person_who_stops_it_ends_it() {
    let mut told = Told::default();
    told.fact(1, &opened(1, DB, 1)).fact(2, &changed(DB, StateName::Starting, StateName::Ready));
    told.fact(2, &changed(DB, StateName::Ready, StateName::Failed));
    assert_eq!((told.row().verdict.as_str(), told.row().recovered_millis), ("given up: as told", None));
    assert!(told.book.is_open(1), "it lasts until somebody does something about it");
    told.fact(9, &left(1, DB, None)).fact(9, &ended(1));
    assert_eq!((told.row().verdict.as_str(), told.row().recovered_millis), ("given up: as told", None));
}

#[test]
fn what_goes_well_is_not_recorded() {
    let mut told = Told::default();
    told.fact(1, &changed(DB, StateName::Starting, StateName::Ready));
    told.fact(1, &Fact::HealthChanged { unit: DB, health: Health::Passing, why: "PONG".into() });
    assert!(told.facts.is_empty() && told.rows.is_empty() && told.moments.is_empty());
    told.fact(2, &Fact::Unkillable { unit: DB });
    assert_eq!(told.facts.len(), 1, "trouble is, also outside of an incident");
}

#[test]
fn what_is_stopped_has_ended_and_has_not_healed_although_it_was_ready_for_a_moment() {
    let mut told = Told::default();
    told.fact(1, &opened(1, DB, 1)).fact(2, &changed(DB, StateName::Starting, StateName::Ready));
    assert_eq!(told.row().recovered_millis, Some(2_000));
    told.fact(3, &left(1, DB, None)).fact(3, &ended(1));
    assert_eq!((told.row().recovered_millis, &*told.row().verdict), (None, "it is no longer wanted up"));
    let about = crate::engine::incident::Told::Ended;
    let deeds = told.book.alert(&set(), &alert(1, DB, about, 3));
    told.keep(deeds);
    assert_eq!(told.messages.last().map(|message| message.change), Some(Change::Ended));
}

#[test]
fn a_root_that_was_stopped_is_not_healed_by_those_who_come_back_without_it() {
    let mut told = Told::default();
    told.fact(1, &opened(1, DB, 1)).fact(2, &left(1, DB, None));
    told.fact(9, &left(1, API, Some(5))).fact(9, &ended(1));
    assert_eq!(told.row().recovered_millis, None);
}

#[test]
fn an_alert_never_helped_and_has_an_outcome_of_its_own() {
    let mut told = Told::default();
    told.fact(1, &opened(1, DB, 1));
    told.fact(2, &tried(DB, 1, "a restart")).fact(2, &tried(DB, 2, "an alert to ops"));
    let message = Message {
        channel: "ops".into(),
        incident: 1,
        unit: "db".into(),
        change: Change::Opened,
        ..Message::default()
    };
    let outcomes = |told: &Told| -> Vec<String> {
        told.outcomes.last().unwrap().rungs.iter().map(|rung| rung.outcome.clone()).collect()
    };
    assert_eq!(outcomes(&told), ["", "handed on"]);
    let deeds = told.book.delivered(&message);
    told.keep(deeds).fact(6, &rung_ended(DB, 1, true));
    assert_eq!(outcomes(&told), ["helped", "told"]);
    told.fact(20, &left(1, DB, Some(6))).fact(20, &closed(1));
    assert_eq!(told.row().verdict, "a restart helped");
}

#[test]
fn the_end_of_a_rung_is_that_of_its_own_unit() {
    let mut told = Told::default();
    told.fact(1, &opened(1, DB, 1));
    told.fact(2, &tried(DB, 0, "a restart")).fact(3, &tried(API, 0, "its repair program"));
    told.fact(4, &rung_ended(DB, 0, true));
    let rungs: Vec<_> = told.outcomes.last().unwrap().rungs.iter().map(|r| (&*r.unit, &*r.outcome)).collect();
    assert_eq!(rungs, [("db", "helped"), ("api", "")]);
    told.fact(5, &rung_ended(API, 0, true));
    told.fact(20, &left(1, DB, Some(4))).fact(20, &closed(1));
    assert_eq!(told.row().verdict, "a restart helped", "what brought a dependent back did not heal the root");
}

#[test]
fn whoever_was_told_of_what_is_merged_hears_where_it_goes_on_before_any_step_of_that() {
    let mut told = Told::default();
    told.fact(1, &opened(2, API, 1));
    let deeds = told.book.alert(&set(), &alert(2, API, crate::engine::incident::Told::Trouble, 2));
    told.keep(deeds).fact(3, &opened(1, DB, 3));
    told.fact(3, &Fact::IncidentMerged { from: IncidentId(2), into: IncidentId(1) });
    told.fact(4, &tried(API, 0, "a restart"));
    let sent: Vec<_> = told.messages.iter().map(|m| (m.incident, m.change, &*m.channel, &*m.unit)).collect();
    assert_eq!(
        sent,
        [
            (2, Change::Opened, "ops", "api"),
            (2, Change::Merged, "ops", "api"),
            (1, Change::Opened, "ops", "db"),
            (1, Change::RungTried, "ops", "api"),
        ]
    );
    let moved = &told.messages[1];
    assert!(moved.text.contains("part of incident 1"), "{}", moved.text);
}
