//! Two units and every order of a few happenings: what a random history may miss by chance, this
//! cannot. Every prefix is covered, because the invariants are looked at after every step.
//!
//! `MCSUP_DEPTH=6 cargo test --release --test small_world` goes deeper than the ordinary 4.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a set-up that fails is a test that fails; what was played is told"
)]

use std::sync::Arc;
use std::time::Duration;

use mcsup::sim::command::Command;
use mcsup::sim::parse::command;
use mcsup::sim::profile::plain;
use mcsup::sim::world::World;
use mcsup::unit::diagnostic::Place;
use mcsup::unit::name::UnitName;
use mcsup::unit::spec::probe::{Address, ProbeKind, ProbeSpec, Retries};
use mcsup::unit::spec::{Condition, Dependency, Follow, PhaseId, Ready, UnitId, UnitSet, UnitSpec};

/// What may happen next. `None`: time passes until something happens by itself.
const MOVES: [Option<&str>; 10] = [
    None,
    Some("exit a code=1"),
    Some("exit b code=1"),
    Some("stop a"),
    Some("start a"),
    Some("stop b"),
    Some("start b"),
    Some("restart a"),
    Some("crash supervisor"),
    Some("crash supervisor after=1"),
];

/// Slow enough that every stage of a start and a stop can be met by the next move.
const HOST: [&str; 5] =
    ["spawn-takes a 1s", "spawn-takes b 1s", "stops-in a 1s", "stops-in b 1s", "leaves-child b for=500ms"];

fn unit(name: &str) -> UnitSpec {
    let mut unit = plain(UnitName::new(name).unwrap());
    unit.stop.grace = Duration::from_secs(3);
    unit
}

/// `b` requires `a`.
fn pair(condition: Condition, follow: Follow, b_phase: u16) -> Arc<UnitSet> {
    let mut a = unit("a");
    if condition == Condition::Healthy {
        a.ready = Ready::Health;
        a.health = vec![ProbeSpec {
            kind: ProbeKind::Tcp(Address { host: "localhost".into(), port: 1 }),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retries: Retries { count: 2, of: 2 },
            successes: 1,
            start_period: Duration::ZERO,
            start_interval: None,
        }];
    }
    let mut b = unit("b");
    b.phase = PhaseId(b_phase);
    b.depends_on =
        vec![Dependency { unit: UnitId(0), condition, required: true, follow, place: Place::default() }];
    Arc::new(UnitSet {
        units: vec![a, b],
        sorted: 2,
        phases: vec!["one".into(), "two".into()],
        boot_timeout: Duration::from_secs(300),
        shutdown_timeout: Duration::from_secs(60),
        log_total_bytes: 1 << 30,
        alerts: Vec::new(),
        concurrency: None,
        hooks: None,
        heartbeat: None,
        changes: mcsup::unit::spec::changes::Changes::default(),
    })
}

fn depth() -> u32 {
    std::env::var("MCSUP_DEPTH").map_or(4, |text| text.parse().unwrap())
}

/// Plays one order of moves, then lets everything come to rest; what went wrong.
fn play(set: &Arc<UnitSet>, host: &[Command], moves: &[Option<Command>], order: &[usize]) -> Option<String> {
    let mut world = World::new(Arc::clone(set), 0);
    for command in host {
        world.apply(command);
    }
    world.apply(&Command::Boot);
    world.run_until(world.now());
    for at in order {
        match &moves[*at] {
            Some(command) => {
                world.apply(command);
                world.run_until(world.now());
            }
            None => {
                if let Some(next) = world.next_happening() {
                    world.run_until(next);
                }
            }
        }
    }
    let patience = world.now().after(Duration::from_secs(120));
    while world.violations.is_empty() {
        let unsettled = world.engine().map(|engine| world.auditor().unsettled(engine));
        if unsettled.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        match world.next_happening().filter(|at| *at <= patience) {
            Some(next) => world.run_until(next),
            None => return Some(format!("invariant 19: {unsettled:?}")),
        }
    }
    world.violations.first().map(ToString::to_string)
}

fn every_order_of(set: &Arc<UnitSet>) {
    let host: Vec<Command> = HOST.iter().map(|text| command(text).unwrap()).collect();
    let moves: Vec<Option<Command>> =
        MOVES.iter().map(|text| text.map(|text| command(text).unwrap())).collect();
    let depth = depth();
    let orders = MOVES.len().pow(depth);
    for number in 0..orders {
        let mut left = number;
        let order: Vec<usize> = (0..depth)
            .map(|_| {
                let at = left % MOVES.len();
                left /= MOVES.len();
                at
            })
            .collect();
        if let Some(problem) = play(set, &host, &moves, &order) {
            let words: Vec<&str> = order.iter().map(|at| MOVES[*at].unwrap_or("time passes")).collect();
            panic!("{problem}\nafter: {}", words.join("; "));
        }
    }
    println!("{orders} orders of {depth} moves");
}

#[test]
fn every_order_of_two_plain_units() {
    every_order_of(&pair(Condition::Started, Follow::None, 0));
}

#[test]
fn every_order_of_a_unit_and_its_follower() {
    every_order_of(&pair(Condition::Started, Follow::Restart, 0));
}

#[test]
fn every_order_of_a_unit_and_one_that_stops_with_it() {
    every_order_of(&pair(Condition::Started, Follow::Stop, 0));
}

#[test]
fn every_order_of_a_probed_unit_and_one_of_a_later_phase() {
    every_order_of(&pair(Condition::Healthy, Follow::None, 1));
}
