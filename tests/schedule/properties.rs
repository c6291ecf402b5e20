//! What holds for any schedule, in any zone, on any night, held against a reading of the rules that shares
//! nothing with mcsup: it watches the clock tick.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use mcsup::unit::schedule::{Count, UnixTime, Zone};

use crate::drawn::Draw;
use crate::times::{schedule, zone};

/// A schedule as the manual page has it: a set a field, the two rules of the stars.
struct Plain {
    fields: Vec<BTreeSet<i8>>,
    is_either_day: bool,
    is_fixed: bool,
}

impl Plain {
    fn read(text: &str) -> Self {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if words.len() == 5 {
            words.insert(0, "0");
        }
        let bounds = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
        let fields = words.iter().zip(bounds).map(|(word, bounds)| set(word, bounds)).collect();
        let star = |at: usize| words[at].starts_with('*');
        Self { fields, is_either_day: !star(3) && !star(5), is_fixed: !star(1) && !star(2) }
    }

    fn runs_at(&self, wall: DateTime) -> bool {
        let holds = |at: usize, value: i8| self.fields[at].contains(&value);
        let sunday = wall.weekday().to_sunday_zero_offset();
        let weekday = holds(5, sunday) || (sunday == 0 && holds(5, 7));
        let day = holds(3, wall.day());
        let is_day = if self.is_either_day { day || weekday } else { day && weekday };
        let is_time = holds(0, wall.second()) && holds(1, wall.minute()) && holds(2, wall.hour());
        is_time && is_day && holds(4, wall.month())
    }

    /// Tick by tick, the slots after `from` and up to `until`, of a clock that is looked at from a day before.
    fn slots(&self, from: i64, until: i64, zone: &TimeZone, tick: i64) -> Vec<i64> {
        let wall = |at: i64| at + i64::from(zone.to_offset(Timestamp::from_second(at).unwrap()).seconds());
        let date = |wall: i64| TimeZone::UTC.to_datetime(Timestamp::from_second(wall).unwrap());
        let start = (from - 27 * 3600).div_euclid(tick) * tick;
        let mut shown_until = wall(start);
        let mut slots = Vec::new();
        let mut at = start;
        while at + tick <= until {
            at += tick;
            let now = wall(at);
            // What the clock came past since it last showed something new. Times that it repeats are not new.
            let mut passed = (shown_until + tick..=now).step_by(usize::try_from(tick).unwrap());
            let runs = if self.is_fixed {
                passed.any(|wall| self.runs_at(date(wall)))
            } else {
                self.runs_at(date(now))
            };
            shown_until = shown_until.max(now);
            if runs && at > from {
                slots.push(at);
            }
        }
        slots
    }
}

fn set(word: &str, (least, most): (i8, i8)) -> BTreeSet<i8> {
    const NAMES: &[&str] = &[
        "sun", "mon", "tue", "wed", "thu", "fri", "sat", "", "jan", "feb", "mar", "apr", "may", "jun", "jul",
        "aug", "sep", "oct", "nov", "dec",
    ];
    let value = |text: &str| {
        let named = NAMES.iter().position(|name| *name == text.to_lowercase());
        named.map_or_else(
            || text.parse().unwrap(),
            |at| i8::try_from(if at > 7 { at - 7 } else { at }).unwrap(),
        )
    };
    let members = word.split(',').flat_map(|member| {
        let (range, step) = member.split_once('/').unwrap_or((member, "1"));
        // Sunday is written twice, and `*` means it once.
        let all = if most == 7 { (0, 6) } else { (least, most) };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (value(first), value(last)),
            None if range == "*" => all,
            None => (value(range), value(range)),
        };
        (first..=last).step_by(step.parse().unwrap()).collect::<Vec<_>>()
    });
    members.collect()
}

fn seconds(slots: impl IntoIterator<Item = UnixTime>) -> Vec<i64> {
    slots.into_iter().map(|slot| slot.0).collect()
}

/// Thousands of slots are not to be printed for one that is missing.
fn first_difference(found: &[i64], expected: &[i64]) -> Option<(Option<i64>, Option<i64>)> {
    let at = (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at))?;
    Some((found.get(at).copied(), expected.get(at).copied()))
}

fn agrees_with_a_ticking_clock(seed: u64, cases: usize, hours: i64, tick: i64) {
    let mut draw = Draw::new(seed);
    let mut compared = 0;
    for case in 0..cases {
        let (text, name) = (draw.expression(tick == 1), draw.zone());
        let zone = zone(name);
        let from = draw.instant(zone.time_zone());
        let until = from + hours * 3600;
        let schedule = schedule(&text);
        let slots = seconds(schedule.slots(UnixTime(from), UnixTime(until), &zone));
        let expected = Plain::read(&text).slots(from, until, zone.time_zone(), tick);
        let what = format!("case {case}: `{text}` in {name} for {hours} h from {from}");
        assert_eq!(first_difference(&slots, &expected), None, "{what}");
        assert!(slots.is_sorted_by(|one, next| one < next), "{what}");
        compared += slots.len();

        let mut backwards = Vec::new();
        let mut before = UnixTime(until + 1);
        while let Some(slot) = schedule.previous(before, &zone).filter(|slot| slot.0 > from) {
            backwards.push(slot.0);
            before = slot;
        }
        backwards.reverse();
        assert_eq!(first_difference(&backwards, &expected), None, "{what}, backwards");

        let count = u32::try_from(expected.len()).unwrap();
        let counted = schedule.slots(UnixTime(from), UnixTime(until), &zone).count_up_to(count);
        assert_eq!(counted, Count::Exactly(count), "{what}");
    }
    assert!(compared > cases, "{compared} slots in {cases} cases say little");
}

#[test]
fn slots_are_those_of_a_clock_that_is_watched_minute_by_minute() {
    agrees_with_a_ticking_clock(1, 400, 40, 60);
}

#[test]
fn slots_are_those_of_a_clock_that_is_watched_second_by_second() {
    agrees_with_a_ticking_clock(2, 60, 3, 1);
}

#[test]
fn between_a_slot_and_the_next_there_is_none_from_wherever_one_asks() {
    let mut draw = Draw::new(5);
    for _ in 0..2000 {
        let (text, zone) = (draw.expression(true), zone(draw.zone()));
        let schedule = schedule(&text);
        let from = UnixTime(draw.instant(zone.time_zone()));
        let next = schedule.next(from, &zone).unwrap();
        assert!(next > from, "{text} in {}", zone.name());
        let length = u64::try_from(next.0 - from.0).unwrap();
        for _ in 0..5 {
            let within = UnixTime(from.0 + i64::try_from(draw.between(0, length - 1)).unwrap());
            assert_eq!(schedule.next(within, &zone), Some(next), "{text} in {} from {within:?}", zone.name());
            let after_within = UnixTime(within.0 + 1);
            let before = schedule.previous(after_within, &zone);
            assert!(before.is_none_or(|before| before <= from), "{text} in {}: {before:?}", zone.name());
        }
        assert_eq!(schedule.previous(UnixTime(next.0 + 1), &zone), Some(next), "{text} in {}", zone.name());
    }
}

/// What `slots.rs` takes for granted of all zones of the world.
#[test]
fn no_zone_changes_its_clocks_again_before_a_repeated_time_is_over() {
    let mut changes = 0;
    for name in TimeZoneDatabase::bundled().available() {
        let zone = TimeZone::clone(zone(name.as_str()).time_zone());
        let mut recent: Vec<i64> = Vec::new();
        let mut offset = i64::from(zone.to_offset(Timestamp::UNIX_EPOCH).seconds());
        let until = Timestamp::from_second(4_200_000_000).unwrap();
        for change in zone.following(Timestamp::UNIX_EPOCH).take_while(|change| change.timestamp() < until) {
            let at = change.timestamp().as_second();
            let repeated = offset - i64::from(change.offset().seconds());
            offset -= repeated;
            let next = zone.following(change.timestamp()).next().map(|next| next.timestamp().as_second());
            assert!(next.is_none_or(|next| next - at > repeated.abs()), "{} at {at}", name.as_str());
            recent.retain(|earlier| at - earlier < 2 * 52 * 3600);
            recent.push(at);
            assert!(recent.len() < 4, "{} at {at}", name.as_str());
            changes += 1;
        }
    }
    assert!(changes > 20_000, "{changes} changes are not those of the world until 2103");
}

#[test]
fn the_rarest_day_is_found_in_every_zone() {
    let leap_night = schedule("30 2 29 2 *");
    let mut zones = 0;
    for name in TimeZoneDatabase::bundled().available() {
        let zone = zone(name.as_str());
        let slots: Vec<UnixTime> = leap_night.slots(UnixTime(86_400), UnixTime(i64::MAX), &zone).collect();
        assert_eq!(slots.len(), 32, "{}: 1972 to 2096", zone.name());
        let backwards: Vec<UnixTime> =
            std::iter::successors(slots.last().copied(), |slot| leap_night.previous(*slot, &zone)).collect();
        assert_eq!(backwards.len(), 32, "{}", zone.name());
        zones += 1;
    }
    assert!(zones > 400, "{zones} zones");
    assert_eq!(Zone::UTC, zone("UTC"));
}
