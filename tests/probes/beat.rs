use std::collections::BTreeSet;
use std::sync::Arc;

use mcsup::engine::effect::Effect;
use mcsup::engine::event::{Event, Verdict};
use mcsup::engine::time::{Now, Timestamp, WallTime};
use mcsup::engine::{BugPolicy, Engine, Options};
use mcsup::unit::SourceFile;

const SECOND: u64 = 1_000_000_000;
const UNITS: usize = 20;

/// One event and the answers to what it starts; the probes that began.
fn tell(engine: &mut Engine, at: u64, event: Event) -> usize {
    let (mut events, mut begun) = (vec![event], 0);
    while let Some(event) = events.pop() {
        for effect in engine.step(Now { mono: Timestamp(at), wall: WallTime(at) }, event).0 {
            if let Effect::Spawn { run, unit, .. } = effect {
                events.push(Event::RunSpawned { run, pid: 1_000 + unit.0 });
            } else if let Effect::StartProbe { probe, .. } = effect {
                begun += 1;
                events.push(Event::ProbeFinished { probe, verdict: Verdict::Pass("ok".into()) });
            }
        }
    }
    begun
}

#[test]
fn probes_that_one_late_wake_up_began_together_part_again() {
    let text = "command: x\nhealth: {tcp: 1, interval: 1s}\n";
    let file = |unit| SourceFile { name: format!("u{unit:02}.yaml"), bytes: text.into() };
    let files: Vec<SourceFile> = (0..UNITS).map(file).collect();
    let set = mcsup::graph::load(&files).set.expect("a sound set");
    let mut engine = Engine::new(Arc::new(set), Options { seed: 1, bug_policy: BugPolicy::Panic });
    tell(&mut engine, 1, Event::KeeperConnected(Box::default()));
    let (mut instants, mut asked) = (BTreeSet::new(), 0);
    for _ in 0..100 * UNITS {
        let due = engine.next_deadlines().mono.expect("a probe is due").0;
        let is_late = due < 20 * SECOND;
        // For twenty seconds the machine wakes us thrice a second.
        let at = if is_late { due.div_ceil(SECOND / 3) * (SECOND / 3) } else { due };
        if at > 23 * SECOND {
            break;
        }
        let begun = tell(&mut engine, at, Event::DeadlineReached);
        if begun > 0 && (21 * SECOND..22 * SECOND).contains(&at) {
            instants.insert(at);
            asked += begun;
        }
    }
    assert_eq!(asked, UNITS, "each is asked once a second");
    assert!(instants.len() > UNITS / 2, "{} instants for {UNITS} units", instants.len());
}
