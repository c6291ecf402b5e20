//! Whole lives under trouble, from seeds: chaos, then calm that must converge, then a shutdown that
//! must end, with the invariants looked at after every step.
//!
//! ```text
//! cargo test --test simulation                                 200 seeds, 100 with jobs, 300 with changes, tests/seeds.txt
//! MCSUP_SEED=17 cargo test --test simulation                   that one, told as it goes
//! MCSUP_SEED=0 MCSUP_SEEDS=100000 cargo test --test simulation as many as wanted
//! MCSUP_SOAK_MINUTES=60 cargo test --test simulation           from a new seed, for as long
//! ```

#![expect(clippy::print_stdout, reason = "a run names its seed and how to repeat it")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mcsup::engine::state::{EDGES, StateName};
use mcsup::sim::changes::CHANGES_FROM;
use mcsup::sim::history::{Failure, History};
use mcsup::sim::jobs::JOBS_FROM;
use mcsup::sim::shrink::shrink;

/// Seeds of the ordinary run, from 0.
const SEEDS: u64 = 200;

/// Of those with jobs, from `JOBS_FROM`.
const SEEDS_WITH_JOBS: u64 = 100;

/// Of those with changes of their definitions, from `CHANGES_FROM`.
const SEEDS_WITH_CHANGES: u64 = 300;

/// From here on a run must take what is rare too.
const SOAK: u64 = 5000;

/// A unit is unhealthy for longer than a step only under `never`, and dies by itself while it is wanted down
/// only where its stop waits for others; a lazy unit seldom ends well before it works, or is called more often than its
/// limit allows, and few ladders have a repair that cannot start between a restart and a stop. All are met by
/// scenarios, and by few of 200 seeds.
const RARE: [(StateName, StateName); 11] = [
    (StateName::Waiting, StateName::Failed),
    (StateName::Unhealthy, StateName::Ready),
    (StateName::Unhealthy, StateName::Failed),
    (StateName::Unhealthy, StateName::Completed),
    (StateName::Unhealthy, StateName::Inactive),
    (StateName::Starting, StateName::Inactive),
    (StateName::Ready, StateName::Inactive),
    (StateName::Starting, StateName::Waiting),
    (StateName::Unhealthy, StateName::Waiting),
    (StateName::Backoff, StateName::Failed),
    OF_CHANGES,
];

/// Taken by a task that had completed before a change which went back: seeds before `CHANGES_FROM` have none.
const OF_CHANGES: (StateName, StateName) = (StateName::Inactive, StateName::Completed);

type Edges = BTreeMap<(StateName, StateName), u64>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The seeds that come, each lived once, by as many workers as there are processors. Returns the steps.
fn live_all(seeds: impl Iterator<Item = u64> + Send, edges: &mut Edges) -> u64 {
    let seeds = Mutex::new(seeds.fuse());
    let next = || seeds.lock().ok()?.next();
    let worker = || {
        let (mut edges, mut steps) = (Edges::new(), 0);
        while let Some(seed) = next() {
            steps += live(seed, &mut edges);
        }
        (edges, steps)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let mut steps = 0;
        for worker in workers {
            let (taken, lived) = worker.join().unwrap_or_else(|failure| std::panic::resume_unwind(failure));
            steps += lived;
            for (edge, count) in taken {
                *edges.entry(edge).or_default() += count;
            }
        }
        steps
    })
}

fn live(seed: u64, edges: &mut Edges) -> u64 {
    let (profile, history) = History::draw(seed);
    let repeat = format!("MCSUP_SEED={seed} MCSUP_SEEDS=1 cargo test --test simulation");
    let outcome = history.live();
    for (edge, count) in outcome.edges {
        *edges.entry(edge).or_default() += count;
    }
    let Some(failure) = outcome.failure else { return outcome.steps };
    println!("SEED={seed} PROFILE={profile:?} STEPS={} repeat: {repeat}", outcome.steps);
    fail(&history, &failure);
    println!("SEED={seed} PROFILE={profile:?} STEPS={} repeat: {repeat}", outcome.steps);
    panic!("seed {seed}: {}", failure.violation);
}

fn fail(history: &History, failure: &Failure) {
    println!("step {} at {:?}: {}\n{}", failure.step, failure.at, failure.violation, failure.tail);
    let small = shrink(history, failure.violation.number);
    let again = small.live().failure;
    println!("--- shrunk, for tests/scenarios:\n{}", small.scenario());
    println!(
        "--- which ends with: {}",
        again.map_or_else(|| "nothing".to_owned(), |it| it.violation.to_string())
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "a soak is measured by the clock on the wall; no result depends on it"
)]
fn wall_clock() -> Instant {
    Instant::now()
}

#[test]
fn every_seed_keeps_every_promise() {
    let mut edges = Edges::new();
    let steps;
    let begun = wall_clock();
    let fixed =
        include_str!("seeds.txt").lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let mut first = number("MCSUP_SEED").unwrap_or(0);
    let usual = if number("MCSUP_SEED").is_some() { 1 } else { SEEDS };
    let mut count = number("MCSUP_SEEDS").unwrap_or(usual);
    if let Some(minutes) = number("MCSUP_SOAK_MINUTES") {
        let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        let fresh = u64::try_from(since_epoch.as_millis()).unwrap_or(0);
        first = number("MCSUP_SEED").unwrap_or(fresh);
        count = 0;
        let in_time = (first..).take_while(|_| {
            let is_in_time = begun.elapsed() < Duration::from_secs(60 * minutes);
            count += u64::from(is_in_time);
            is_in_time
        });
        steps = live_all(in_time, &mut edges);
    } else {
        println!(
            "SEED={first} SEEDS={count}: MCSUP_SEED={first} MCSUP_SEEDS={count} cargo test --test simulation"
        );
        steps = live_all(fixed.chain(first..first + count), &mut edges);
    }
    let missed: Vec<(StateName, StateName)> =
        EDGES.iter().map(|(from, to, _)| (*from, *to)).filter(|edge| !edges.contains_key(edge)).collect();
    let shown: Vec<String> = missed.iter().map(|(from, to)| format!("{from} -> {to}")).collect();
    println!("edges taken: {} of {}; never: {shown:?}", EDGES.len() - missed.len(), EDGES.len());
    println!("SEED={first} SEEDS={count} STEPS={steps}, {:?}", begun.elapsed());
    let excused: &[(StateName, StateName)] = match count {
        0..SEEDS => return,
        SEEDS..SOAK => &RARE,
        SOAK.. => &[OF_CHANGES],
    };
    let unexcused = missed.iter().find(|edge| !excused.contains(edge));
    assert_eq!(unexcused, None, "{count} seeds should have taken it");
}

/// Lives with jobs in them. `MCSUP_SEED` names seeds of the other test, which may be these, too.
#[test]
fn every_seed_with_jobs_keeps_every_promise() {
    if number("MCSUP_SEED").is_none() && number("MCSUP_SOAK_MINUTES").is_none() {
        let mut edges = Edges::new();
        let steps = live_all(JOBS_FROM..JOBS_FROM + SEEDS_WITH_JOBS, &mut edges);
        println!("{SEEDS_WITH_JOBS} seeds with jobs, {steps} steps");
    }
}

/// Lives whose definitions change, once or often, in the middle of whatever else happens; of every other one with jobs.
#[test]
fn every_seed_with_changes_keeps_every_promise() {
    if number("MCSUP_SEED").is_none() && number("MCSUP_SOAK_MINUTES").is_none() {
        let mut edges = Edges::new();
        let steps = live_all(CHANGES_FROM..CHANGES_FROM + SEEDS_WITH_CHANGES, &mut edges);
        println!("{SEEDS_WITH_CHANGES} seeds with changes, {steps} steps");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [0, 1, 2, 3, 5, 8, 13, JOBS_FROM, JOBS_FROM + 1, CHANGES_FROM, CHANGES_FROM + 1] {
        let (_, history) = History::draw(seed);
        assert_eq!(history.hash(), History::draw(seed).1.hash(), "seed {seed}");
    }
}
