//! What the next and the previous slot of a job cost, and the reading of a schedule.
//! `cargo bench --bench schedules` prints nanoseconds (median of rounds). The aim: below 5 us for a slot.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark reads the clock and prints, and has failed where it cannot set itself up"
)]
use std::time::Instant;

use mcsup::unit::schedule::{Schedule, UnixTime, Zone};

const ROUNDS: usize = 31;
const SLOTS_PER_ROUND: usize = 500;
/// 2026-09-21: both changes of the clocks lie in the year after it.
const START: UnixTime = UnixTime(1_790_000_000);

fn main() {
    for zone in ["UTC", "Europe/Berlin", "Asia/Kolkata", "Africa/Casablanca"] {
        let zone = Zone::named(zone).unwrap();
        for text in
            ["* * * * *", "0 6 * * *", "*/15 9-17 * * mon-fri", "30 2 13 * fri", "0 0 1 1 *", "0 0 29 2 *"]
        {
            measure(text, &zone);
        }
    }
    let start = Instant::now();
    let schedules: Vec<Schedule> = (0..10_000)
        .map(|job| Schedule::parse(&format!("{} {} * * mon-fri", job % 60, job % 24)).unwrap())
        .collect();
    println!("{} schedules: {} ns each to read", schedules.len(), start.elapsed().as_nanos() / 10_000);
}

fn measure(text: &str, zone: &Zone) {
    let schedule = Schedule::parse(text).unwrap();
    let mut next = Vec::new();
    let mut previous = Vec::new();
    for _ in 0..ROUNDS {
        let mut at = START;
        let start = Instant::now();
        for _ in 0..SLOTS_PER_ROUND {
            at = schedule.next(at, zone).unwrap_or(START);
        }
        next.push(start.elapsed().as_nanos() / SLOTS_PER_ROUND as u128);
        let start = Instant::now();
        for _ in 0..SLOTS_PER_ROUND {
            at = schedule.previous(at, zone).unwrap_or(START);
        }
        previous.push(start.elapsed().as_nanos() / SLOTS_PER_ROUND as u128);
    }
    next.sort_unstable();
    previous.sort_unstable();
    println!(
        "{:18} {text:22} next {:5} ns, previous {:5} ns",
        zone.name(),
        next[ROUNDS / 2],
        previous[ROUNDS / 2]
    );
}
