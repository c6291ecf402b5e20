//! What one engine step costs in sets of 100 and 10,000 units: a crash and the restart that follows.
//! `cargo bench --bench engine_step` prints nanoseconds per step (median of rounds) and their ratio.
//! The aim: within 2x, since a step visits only what its event touched.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and prints"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcsup::engine::effect::Effect;
use mcsup::engine::event::{Event, ExitStatus};
use mcsup::engine::id::RunId;
use mcsup::engine::time::{Now, Timestamp, WallTime};
use mcsup::engine::{BugPolicy, Engine, Options};
use mcsup::unit::spec::UnitSet;

const ROUNDS: usize = 31;
const CRASHES_PER_ROUND: u64 = 500;

struct Bench {
    engine: Engine,
    now: u64,
    /// The newest run of every unit.
    runs: Vec<RunId>,
}

impl Bench {
    fn boot(set: UnitSet) -> Self {
        let units = set.units.len();
        let options = Options { seed: 1, bug_policy: BugPolicy::Panic };
        let mut bench =
            Self { engine: Engine::new(Arc::new(set), options), now: 1, runs: vec![RunId(0); units] };
        bench.tell(Event::KeeperConnected(Box::default()));
        bench
    }

    /// One event, and the answers to what it spawns. Returns the number of steps.
    fn tell(&mut self, event: Event) -> u64 {
        let mut events = vec![event];
        let mut steps = 0;
        while let Some(event) = events.pop() {
            self.now += 1_000;
            let now = Now { mono: Timestamp(self.now), wall: WallTime(self.now) };
            let effects = self.engine.step(now, event);
            steps += 1;
            for effect in effects.0 {
                if let Effect::Spawn { run, unit, .. } = effect {
                    self.runs[unit.0 as usize] = run;
                    events.push(Event::RunSpawned { run, pid: 1_000 + unit.0 });
                }
            }
        }
        steps
    }

    fn crash_round(&mut self, start: u64) -> Duration {
        let units = self.runs.len() as u64;
        let before = Instant::now();
        let mut steps = 0;
        for crash in 0..CRASHES_PER_ROUND {
            let run = self.runs[((start + crash * 7_919) % units) as usize];
            steps += self.tell(Event::RunExited { run, exit: ExitStatus::Code(1), is_empty: true });
        }
        before.elapsed() / u32::try_from(steps).expect("few steps")
    }
}

fn set_of(units: usize) -> UnitSet {
    let files: Vec<mcsup::unit::SourceFile> = (0..units)
        .map(|number| {
            let text = "command: [x]\nrestart: {policy: always, backoff: {initial: 0s}}\n";
            let chained =
                if number > 0 { format!("depends_on: [u{:05}]\n", number - 1) } else { String::new() };
            mcsup::unit::SourceFile {
                name: format!("u{number:05}.yaml"),
                bytes: format!("{text}{chained}").into_bytes(),
            }
        })
        .collect();
    mcsup::unit::load(&files).set.expect("a valid set")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let mut small = Bench::boot(set_of(100));
    let mut large = Bench::boot(set_of(10_000));
    let (mut small_times, mut large_times) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS as u64 {
        small_times.push(small.crash_round(round * 31));
        large_times.push(large.crash_round(round * 31));
    }
    let (small, large) = (median(small_times), median(large_times));
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    println!(
        "step in 100 units: {} ns; in 10,000 units: {} ns; ratio {ratio:.2}",
        small.as_nanos(),
        large.as_nanos()
    );
}
