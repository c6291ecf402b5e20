//! What a step looks at and what it says must not grow with the set: counted, because time would not tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::effect::Effect;
use crate::engine::event::{Event, ExitStatus};
use crate::engine::id::{RunId, UnitId};
use crate::engine::time::{Now, Timestamp, WallTime};
use crate::engine::{BugPolicy, Engine, Options};
use crate::unit::SourceFile;

/// 2026-01-01, when the engine's life begins.
const DATE: u64 = 1_767_225_600_000_000_000;

/// An engine whose spawns work at once, and what its dearest step cost.
struct Counted {
    engine: Engine,
    now: u64,
    runs: BTreeMap<UnitId, RunId>,
    /// Visits of the dearest step, and the length of the longest that one said.
    dearest: u64,
    longest: usize,
}

impl Counted {
    fn boot(units: usize, text: impl Fn(usize) -> String) -> Self {
        let file = |at: usize| SourceFile { name: format!("u{at:05}.yaml"), bytes: text(at).into_bytes() };
        let files: Vec<SourceFile> = (0..units).map(file).collect();
        let set = crate::unit::load(&files).set.expect("a valid set");
        let options = Options { seed: 1, bug_policy: BugPolicy::Panic };
        let engine = Engine::new(Arc::new(set), options);
        let mut counted = Self { engine, now: 1, runs: BTreeMap::new(), dearest: 0, longest: 0 };
        counted.tell(1, Event::KeeperConnected(Box::default()));
        (counted.dearest, counted.longest) = (0, 0);
        counted
    }

    /// One event, `after` nanoseconds, and the answers to what it orders.
    fn tell(&mut self, after: u64, event: Event) {
        let mut events = vec![event];
        self.now += after;
        while let Some(event) = events.pop() {
            self.now += 1;
            let now = Now { mono: Timestamp(self.now), wall: WallTime(DATE + self.now) };
            let before = self.engine.visits.get();
            let effects = self.engine.step(now, event);
            self.dearest = self.dearest.max(self.engine.visits.get() - before);
            self.longest = self.longest.max(format!("{effects:?}").len());
            for effect in effects.0 {
                if let Effect::Spawn { run, unit, .. } = effect {
                    self.runs.insert(unit, run);
                    events.push(Event::RunSpawned { run, pid: 1_000 + unit.0 });
                }
            }
        }
    }

    /// Long after the last one: what happens within moments may turn out to be one trouble, and is told together.
    fn crash(&mut self, unit: u32) {
        let run = *self.runs.get(&UnitId(unit)).expect("it was started");
        self.tell(11_000_000_000, Event::RunExited { run, exit: ExitStatus::Code(1), is_empty: true });
    }

    fn crash_all_over_the_set(&mut self, times: u32) -> (u64, usize) {
        let units = u32::try_from(self.runs.len()).expect("few");
        for crash in 0..times {
            self.crash((crash * 7_919) % units);
        }
        (self.dearest, self.longest)
    }
}

const RESTARTS: &str = "command: [x]\nrestart: {policy: always, backoff: {initial: 0s}}\n";

fn chain(at: usize) -> String {
    if at == 0 { RESTARTS.to_owned() } else { format!("{RESTARTS}depends_on: [u{:05}]\n", at - 1) }
}

/// All depend on the first.
fn star(at: usize) -> String {
    if at == 0 { RESTARTS.to_owned() } else { format!("{RESTARTS}depends_on: [u00000]\n") }
}

fn alone(_: usize) -> String {
    RESTARTS.to_owned()
}

#[test]
fn a_failure_in_a_long_chain_costs_no_more_than_in_a_short_one() {
    let short = Counted::boot(300, chain).crash_all_over_the_set(600);
    let long = Counted::boot(10_000, chain).crash_all_over_the_set(600);
    assert!(long.0 <= short.0 + 10, "{} visits in one step, and {} in a short chain", long.0, short.0);
    assert!(long.1 <= short.1 + 200, "{} bytes said, and {} in a short chain", long.1, short.1);
}

#[test]
fn a_failure_of_one_of_thousands_that_depend_on_the_same_costs_no_more_than_of_one_of_a_hundred() {
    let cost = |units| {
        let mut counted = Counted::boot(units, star);
        counted.crash(0); // their root is in trouble, so that each of them joins
        (counted.dearest, counted.longest) = (0, 0);
        for crash in 1..100 {
            counted.crash(crash);
        }
        (counted.dearest, counted.longest)
    };
    let (few, many) = (cost(100), cost(5_000));
    assert!(many.0 <= few.0 + 10, "{} visits in one step, and {} in a small set", many.0, few.0);
    assert!(many.1 <= few.1 + 200, "{} bytes said, and {} in a small set", many.1, few.1);
}

#[test]
fn failures_of_thousands_at_once_are_each_looked_at_alone() {
    let few = Counted::boot(100, alone).crash_all_over_the_set(200);
    let many = Counted::boot(5_000, alone).crash_all_over_the_set(5_000);
    assert!(many.0 <= few.0, "{} visits in one step, and {} in a small set", many.0, few.0);
}

#[test]
fn ten_thousand_jobs_sleep_until_the_first_is_due_and_a_slot_costs_its_own_jobs_alone() {
    // One for each minute of a day, or seven.
    let job =
        |at: usize| format!("kind: job\ncommand: [x]\nschedule: \"{} {} * * *\"\n", at % 60, at / 60 % 24);
    let cost = |jobs: usize, due: usize| {
        let mut counted = Counted::boot(jobs, job);
        let deadlines = counted.engine.next_deadlines();
        assert_eq!(deadlines.mono, None, "nobody wakes up before");
        let slot = deadlines.wall.expect("there are slots").0 - DATE;
        counted.tell(slot - counted.now - 2, Event::DeadlineReached);
        assert_eq!(
            (counted.runs.len(), counted.dearest),
            (0, 0),
            "nothing is due yet, and nobody is looked at"
        );
        counted.tell(1, Event::DeadlineReached);
        assert_eq!(counted.runs.len(), due);
        counted.longest
    };
    let (few, many) = (cost(1_440, 1), cost(10_080, 7));
    assert!(many <= few * 8, "{many} bytes said of seven, and {few} of one");
}

#[test]
fn a_boot_with_a_barrier_costs_what_its_units_do_each() {
    let visits = |units: usize| {
        let text = |at: usize| {
            let phase = if at < units / 2 { "phase: one\nhealth: {tcp: 1}\n" } else { "phase: two\n" };
            format!("{RESTARTS}{phase}")
        };
        let phases = SourceFile { name: "mcsup.yaml".into(), bytes: b"phases: [one, two]\n".to_vec() };
        let file = |at: usize| SourceFile { name: format!("u{at:05}.yaml"), bytes: text(at).into_bytes() };
        let files: Vec<SourceFile> = std::iter::once(phases).chain((0..units).map(file)).collect();
        let set = crate::unit::load(&files).set.expect("a valid set");
        let options = Options { seed: 1, bug_policy: BugPolicy::Panic };
        let mut engine = Engine::new(Arc::new(set), options);
        let now = Now { mono: Timestamp(1), wall: WallTime(1) };
        let effects = engine.step(now, Event::KeeperConnected(Box::default()));
        assert!(effects.0.len() > units, "all of them are told of");
        engine.visits.get()
    };
    let (few, many) = (visits(100), visits(1_000));
    assert!(many <= few * 11, "{many} visits for ten times as many as {few} are for");
}
