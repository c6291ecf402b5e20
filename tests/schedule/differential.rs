//! The next slots against two other readings of cron's language: `croner` (Rust) and `cronsim` (Python, which
//! follows Debian's cron). They differ where the language is not settled: at changes of clocks. Every single
//! instant that only one side has must be one of `DIFFERENCES`.

#![expect(clippy::disallowed_methods, reason = "the other reading is a program of its own")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use mcsup::unit::schedule::{UnixTime, Zone};

use crate::drawn::Draw;
use crate::times::{schedule, zone};

const CASES: usize = 3000;
const SLOTS: usize = 4;

struct Case {
    text: String,
    zone: Zone,
    from: i64,
    ours: Vec<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Oracle {
    Croner,
    Cronsim,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    OnlyOurs,
    OnlyTheirs,
}

/// A place where the two sides read the language differently, with why mcsup reads it as it does.
struct Difference {
    name: &'static str,
    oracle: Oracle,
    side: Side,
    /// Whether it is this that an instant shows.
    shows: fn(&Case, i64) -> bool,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "croner calls a list of times an interval, and makes up for none of it after a gap; Debian's cron does",
        oracle: Oracle::Croner,
        side: Side::OnlyOurs,
        shows: |case, at| case.is_fixed() && case.has_several_times() && case.ends_a_gap(at),
    },
    Difference {
        name: "croner calls a list of times an interval, and repeats all of it; Debian's cron does not",
        oracle: Oracle::Croner,
        side: Side::OnlyTheirs,
        shows: |case, at| case.is_fixed() && case.has_several_times() && case.is_repeated(at),
    },
    Difference {
        name: "cronsim has no rule for gaps when there is a field for seconds; here they are as without it",
        oracle: Oracle::Cronsim,
        side: Side::OnlyOurs,
        shows: |case, at| case.is_fixed() && case.has_seconds() && case.ends_a_gap(at),
    },
    Difference {
        name: "cronsim repeats fixed times when there is a field for seconds; here they are as without it",
        oracle: Oracle::Cronsim,
        side: Side::OnlyTheirs,
        shows: |case, at| case.is_fixed() && case.has_seconds() && case.is_repeated(at),
    },
    Difference {
        name: "cronsim forgets which of two hours it was asked in, and answers with what is over",
        oracle: Oracle::Cronsim,
        side: Side::OnlyTheirs,
        shows: |case, at| case.is_fixed() && case.is_repeated(case.from) && at <= case.from,
    },
    Difference {
        name: "cronsim walks by whole hours, and after a change that is not by or at one, past the start of each",
        oracle: Oracle::Cronsim,
        side: Side::OnlyOurs,
        shows: |case, at| {
            let is_odd = |(change, by): (i64, i64)| by % 3600 != 0 || case.clock(change) % 3600 != 0;
            case.is_walked() && case.changed_that_day(at).is_some_and(is_odd)
        },
    },
    Difference {
        name: "cronsim walks from a midnight that a gap skipped, and past the first hour after it",
        oracle: Oracle::Cronsim,
        side: Side::OnlyOurs,
        shows: |case, at| {
            let change = case.changed_that_day(at);
            case.is_walked() && change.is_some_and(|(change, by)| by > 0 && case.clock(change - 1) == 86_399)
        },
    },
];
/// Searches of cronsim that never end.
const MOST_GIVEN_UP: usize = 3;

impl Case {
    fn draw(draw: &mut Draw) -> Self {
        let (text, zone) = (draw.expression(true), zone(draw.zone()));
        let from = draw.instant(zone.time_zone());
        let schedule = schedule(&text);
        let slots = schedule.slots(UnixTime(from), UnixTime(i64::MAX), &zone).take(SLOTS);
        let ours = slots.map(|slot| slot.0).collect();
        Self { text, from, ours, zone }
    }

    fn start(&self) -> Zoned {
        Timestamp::from_second(self.from).unwrap().to_zoned(self.zone.time_zone().clone())
    }

    fn offset(&self, at: i64) -> i64 {
        self.zone.time_zone().to_offset(Timestamp::from_second(at).unwrap()).seconds().into()
    }

    /// The last change of clocks up to `at`, and by how much.
    fn change(&self, at: i64) -> Option<(i64, i64)> {
        let zone: &TimeZone = self.zone.time_zone();
        let change = zone.preceding(Timestamp::from_second(at + 1).unwrap()).next()?.timestamp().as_second();
        Some((change, self.offset(change) - self.offset(change - 1)))
    }

    /// What the clock shows at `at` it has shown before.
    fn is_repeated(&self, at: i64) -> bool {
        self.change(at).is_some_and(|(change, by)| at < change - by)
    }

    /// `at` is the first instant after a gap.
    fn ends_a_gap(&self, at: i64) -> bool {
        self.change(at).is_some_and(|(change, by)| at == change && by > 0)
    }

    fn words(&self) -> Vec<&str> {
        self.text.split(' ').collect()
    }

    fn has_seconds(&self) -> bool {
        self.words().len() == 6
    }

    /// Seconds of the day that the clock shows.
    fn clock(&self, at: i64) -> i64 {
        (at + self.offset(at)).rem_euclid(86_400)
    }

    /// The change on the day of `at`, up to then.
    fn changed_that_day(&self, at: i64) -> Option<(i64, i64)> {
        let midnight = at - self.clock(at);
        // A change before it moves what midnight would have been.
        self.change(at).filter(|(change, by)| *change >= midnight - by.abs())
    }

    /// More than one time of day.
    fn has_several_times(&self) -> bool {
        let words = self.words();
        words[..words.len() - 3].iter().any(|word| word.contains([',', '-', '*']))
    }

    /// cronsim looks for the next time on the clock, and not on a calendar.
    fn is_walked(&self) -> bool {
        self.has_seconds() || !self.is_fixed()
    }

    /// Minute and hour begin without a star.
    fn is_fixed(&self) -> bool {
        let words = self.words();
        let minute = words.len() - 5;
        !words[minute].starts_with('*') && !words[minute + 1].starts_with('*')
    }
}

fn instants(slots: &[i64]) -> BTreeSet<i64> {
    slots.iter().copied().collect()
}

fn by_croner(case: &Case) -> Result<Vec<i64>, CronError> {
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let mut words: Vec<String> = case.words().into_iter().map(str::to_owned).collect();
    let (day, weekday) = (words.len() - 3, words.len() - 1);
    // `*/2` makes days "both" for cron; croner has a sign for that, and takes only a bare star for one.
    if words[day].starts_with('*') || words[weekday].starts_with('*') {
        words[weekday].insert(0, '+');
    }
    let cron = parser.parse(&words.join(" "))?;
    let mut at = case.start();
    let mut slots = Vec::new();
    for _ in 0..SLOTS {
        at = cron.find_next_occurrence(&at, false)?;
        slots.push(at.timestamp().as_second());
    }
    Ok(slots)
}

fn by_cronsim(cases: &[Case]) -> Vec<Vec<i64>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = root.join("target/pytools");
    assert!(tools.join("complete").exists(), "{} is not there: tests/run installs it", tools.display());
    let asked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schedules.txt");
    let line = |case: &Case| format!("{}\t{}\t{}\t{SLOTS}\n", case.text, case.zone.name(), case.from);
    fs::write(&asked, cases.iter().map(line).collect::<String>()).unwrap();
    let output = Command::new("/usr/bin/python3")
        .arg(root.join("tests/schedule/oracle.py"))
        .arg(&asked)
        .env("PYTHONPATH", &tools)
        // The zones of the package, not those of the machine.
        .env("PYTHONTZPATH", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let slots = |line: &str| {
        line.split(',').filter(|slot| !slot.is_empty()).map(|slot| slot.parse().unwrap()).collect()
    };
    text.lines().map(slots).collect()
}

/// What only one side has, as far as both have told.
fn differing(case: &Case, theirs: &[i64]) -> Vec<(Side, i64)> {
    let (ours, theirs) = (instants(&case.ours), instants(theirs));
    let told = ours.last().copied().unwrap_or(i64::MAX).min(theirs.last().copied().unwrap_or(i64::MAX));
    let only_ours = ours.difference(&theirs).map(|at| (Side::OnlyOurs, *at));
    let only_theirs = theirs.difference(&ours).map(|at| (Side::OnlyTheirs, *at));
    only_ours.chain(only_theirs).filter(|(_, at)| *at <= told).collect()
}

#[test]
fn next_slots_are_those_of_two_other_crons_but_for_what_is_explained() {
    let mut draw = Draw::new(4);
    let cases: Vec<Case> = (0..CASES).map(|_| Case::draw(&mut draw)).collect();
    let cronsim = by_cronsim(&cases);
    assert_eq!(cronsim.len(), cases.len());
    let mut comparisons: BTreeMap<Oracle, usize> = BTreeMap::new();
    let mut explained: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let mut compare = |oracle: Oracle, case: &Case, theirs: &[i64]| {
        *comparisons.entry(oracle).or_default() += 1;
        for (side, at) in differing(case, theirs) {
            let of_this =
                |one: &&Difference| (one.oracle, one.side) == (oracle, side) && (one.shows)(case, at);
            match DIFFERENCES.iter().find(of_this) {
                Some(difference) => *explained.entry(difference.name).or_default() += 1,
                None => unexplained.push(format!(
                    "{oracle:?} {side:?} {}: `{}` from {}: ours {:?}, theirs {:?}",
                    shown(case, at),
                    case.text,
                    shown(case, case.from),
                    case.ours.iter().map(|at| shown(case, *at)).collect::<Vec<_>>(),
                    theirs.iter().map(|at| shown(case, *at)).collect::<Vec<_>>()
                )),
            }
        }
    };
    let mut gave_up = Vec::new();
    for (case, cronsim) in cases.iter().zip(&cronsim) {
        if cronsim.is_empty() {
            gave_up.push(format!("cronsim on `{}` from {}", case.text, shown(case, case.from)));
        } else {
            compare(Oracle::Cronsim, case, cronsim);
        }
        match by_croner(case) {
            Ok(croner) => compare(Oracle::Croner, case, &croner),
            Err(error) => {
                gave_up.push(format!("croner on `{}` from {}: {error}", case.text, shown(case, case.from)));
            }
        }
    }
    println!("{comparisons:?} comparisons of {SLOTS} slots; instants explained: {explained:#?}");
    println!("given up: {gave_up:#?}");
    assert!(unexplained.is_empty(), "{} unexplained:\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(comparisons.values().all(|count| *count >= 2000), "{comparisons:?}");
    assert!(gave_up.len() <= MOST_GIVEN_UP, "{gave_up:#?}");
    let stale: Vec<&str> =
        DIFFERENCES.iter().map(|one| one.name).filter(|name| !explained.contains_key(name)).collect();
    assert!(stale.is_empty(), "nothing differs like this: {stale:#?}");
}

fn shown(case: &Case, at: i64) -> String {
    format!("{} {}", crate::times::shown(UnixTime(at), &case.zone), case.zone.name())
}
