//! What the fields mean, on days on which no clock is changed.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use mcsup::unit::schedule::{Count, Schedule, Timetable, UnixTime, Zone};

pub(crate) fn schedule(text: &str) -> Schedule {
    Schedule::parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

pub(crate) fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap()
}

/// `2026-03-29 02:30:00+02` with the offset of the zone, whole hours of it in two digits.
pub(crate) fn shown(slot: UnixTime, zone: &Zone) -> String {
    let zoned = Timestamp::from_second(slot.0).unwrap().to_zoned(zone.time_zone().clone());
    zoned.strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// The instant that is written like `shown`.
pub(crate) fn instant(text: &str) -> UnixTime {
    UnixTime(Zoned::strptime("%Y-%m-%d %H:%M:%S%:z", text).unwrap().timestamp().as_second())
}

/// The next `count` slots after the clock shows `after` in UTC.
fn next_in_utc(text: &str, after: &str, count: usize) -> Vec<String> {
    let after: DateTime = after.parse().unwrap();
    let after = UnixTime(after.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second());
    let far = UnixTime(after.0 + 50 * 366 * 86_400);
    let slots: Vec<UnixTime> = schedule(text).slots(after, far, &Zone::UTC).take(count).collect();
    slots.into_iter().map(|slot| shown(slot, &Zone::UTC).trim_end_matches("+00:00").to_owned()).collect()
}

#[test]
fn fields_mean_what_cron_means_by_them() {
    // 2026-11-20 is a Friday.
    let after = "2026-11-20T14:20:58";
    for (text, expected) in [
        ("* * * * *", ["2026-11-20 14:21:00", "2026-11-20 14:22:00", "2026-11-20 14:23:00"]),
        ("*/15 * * * *", ["2026-11-20 14:30:00", "2026-11-20 14:45:00", "2026-11-20 15:00:00"]),
        ("0 6 * * *", ["2026-11-21 06:00:00", "2026-11-22 06:00:00", "2026-11-23 06:00:00"]),
        ("05 06 * * *", ["2026-11-21 06:05:00", "2026-11-22 06:05:00", "2026-11-23 06:05:00"]),
        ("*/20 * * * * *", ["2026-11-20 14:21:00", "2026-11-20 14:21:20", "2026-11-20 14:21:40"]),
        ("59 20 14 * * *", ["2026-11-20 14:20:59", "2026-11-21 14:20:59", "2026-11-22 14:20:59"]),
        ("0 9 * * 1", ["2026-11-23 09:00:00", "2026-11-30 09:00:00", "2026-12-07 09:00:00"]),
        ("0 9 * * mon", ["2026-11-23 09:00:00", "2026-11-30 09:00:00", "2026-12-07 09:00:00"]),
        ("0 9 * * 0", ["2026-11-22 09:00:00", "2026-11-29 09:00:00", "2026-12-06 09:00:00"]),
        ("0 9 * * 7", ["2026-11-22 09:00:00", "2026-11-29 09:00:00", "2026-12-06 09:00:00"]),
        ("0 9 * * SUN", ["2026-11-22 09:00:00", "2026-11-29 09:00:00", "2026-12-06 09:00:00"]),
        ("0 9 * * 5-7", ["2026-11-21 09:00:00", "2026-11-22 09:00:00", "2026-11-27 09:00:00"]),
        ("0 9 * * fri-mon", ["2026-11-21 09:00:00", "2026-11-22 09:00:00", "2026-11-23 09:00:00"]),
        ("0 9 * * 7-2", ["2026-11-22 09:00:00", "2026-11-23 09:00:00", "2026-11-24 09:00:00"]),
        ("0 9 * * 1-5/2", ["2026-11-23 09:00:00", "2026-11-25 09:00:00", "2026-11-27 09:00:00"]),
        ("0 22-2/2 * * *", ["2026-11-20 22:00:00", "2026-11-21 00:00:00", "2026-11-21 02:00:00"]),
        ("0 0 1 nov-feb *", ["2026-12-01 00:00:00", "2027-01-01 00:00:00", "2027-02-01 00:00:00"]),
        ("0 0 30-2 * *", ["2026-11-30 00:00:00", "2026-12-01 00:00:00", "2026-12-02 00:00:00"]),
        ("0 0 1,15 jan,JUL *", ["2027-01-01 00:00:00", "2027-01-15 00:00:00", "2027-07-01 00:00:00"]),
        ("0 0 31 * *", ["2026-12-31 00:00:00", "2027-01-31 00:00:00", "2027-03-31 00:00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00:00", "2032-02-29 00:00:00", "2036-02-29 00:00:00"]),
        ("  0\t6  * * *  ", ["2026-11-21 06:00:00", "2026-11-22 06:00:00", "2026-11-23 06:00:00"]),
        ("@hourly", ["2026-11-20 15:00:00", "2026-11-20 16:00:00", "2026-11-20 17:00:00"]),
        ("@daily", ["2026-11-21 00:00:00", "2026-11-22 00:00:00", "2026-11-23 00:00:00"]),
        ("@midnight", ["2026-11-21 00:00:00", "2026-11-22 00:00:00", "2026-11-23 00:00:00"]),
        ("@weekly", ["2026-11-22 00:00:00", "2026-11-29 00:00:00", "2026-12-06 00:00:00"]),
        ("@monthly", ["2026-12-01 00:00:00", "2027-01-01 00:00:00", "2027-02-01 00:00:00"]),
        ("@yearly", ["2027-01-01 00:00:00", "2028-01-01 00:00:00", "2029-01-01 00:00:00"]),
        ("@annually", ["2027-01-01 00:00:00", "2028-01-01 00:00:00", "2029-01-01 00:00:00"]),
    ] {
        assert_eq!(next_in_utc(text, after, 3), expected, "{text}");
    }
}

#[test]
fn a_day_of_month_or_a_day_of_week_is_enough_unless_one_begins_with_a_star() {
    let after = "2026-11-01T00:00:00";
    // Friday the 13th is one of these days, not the only one.
    let either =
        ["2026-11-06", "2026-11-13", "2026-11-20", "2026-11-27", "2026-12-04", "2026-12-11", "2026-12-13"];
    assert_eq!(next_in_utc("0 0 13 * fri", after, 7), either.map(|day| format!("{day} 00:00:00")));
    // A star in front makes it "odd days that are Mondays", as in every cron since Vixie's.
    let both = ["2026-11-09", "2026-11-23", "2026-12-07"];
    assert_eq!(next_in_utc("0 0 */2 * mon", after, 3), both.map(|day| format!("{day} 00:00:00")));
    // A Sunday (0) or Friday (5) that is a 13th.
    let both = ["2026-11-13", "2026-12-13", "2027-06-13"];
    assert_eq!(next_in_utc("0 0 13 * */5", after, 3), both.map(|day| format!("{day} 00:00:00")));
    // All days, but without a star: either is enough, and that is every day.
    let every = ["2026-11-02", "2026-11-03", "2026-11-04"];
    assert_eq!(next_in_utc("0 0 1-31 * mon", after, 3), every.map(|day| format!("{day} 00:00:00")));
}

#[test]
fn a_rare_schedule_is_found_and_the_end_of_the_calendar_is_an_end() {
    // 29 February on a Saturday or Sunday; 2100 has none.
    let rare = next_in_utc("0 0 29 2 */6", "2026-11-20T00:00:00", 9);
    assert_eq!(
        rare,
        ["2032", "2048", "2060", "2076"].map(|year| format!("{year}-02-29 00:00:00")),
        "within 50 years"
    );
    let end = instant("2100-12-31 23:59:00+00:00");
    let minutely = schedule("* * * * *");
    assert_eq!(minutely.next(UnixTime(end.0 - 1), &Zone::UTC), Some(end));
    assert_eq!(minutely.next(end, &Zone::UTC), None);
    assert_eq!(
        schedule("0 0 29 2 *").next(instant("2096-02-29 00:00:00+00:00"), &zone("Europe/Berlin")),
        None
    );
    assert_eq!(minutely.previous(UnixTime(0), &Zone::UTC), None);
    assert_eq!(minutely.previous(UnixTime(1), &Zone::UTC), Some(UnixTime(0)));
    for far in [UnixTime(i64::MAX), UnixTime(i64::MIN)] {
        assert_eq!(minutely.next(far, &zone("Europe/Berlin")), None);
        assert_eq!(minutely.previous(far, &zone("Europe/Berlin")), None);
    }
}

#[test]
fn missed_slots_are_counted_as_far_as_anybody_wants_to_know() {
    let minutely = schedule("* * * * *");
    let asleep = instant("2026-11-20 12:00:00+00:00");
    let awake = UnixTime(asleep.0 + 12_000);
    assert_eq!(minutely.slots(asleep, awake, &Zone::UTC).count_up_to(1000), Count::Exactly(200));
    assert_eq!(minutely.slots(asleep, awake, &Zone::UTC).count_up_to(200), Count::Exactly(200));
    assert_eq!(minutely.slots(asleep, awake, &Zone::UTC).count_up_to(199), Count::MoreThan(199));
    let decade = UnixTime(asleep.0 + 10 * 366 * 86_400);
    assert_eq!(minutely.slots(asleep, decade, &Zone::UTC).count_up_to(1000), Count::MoreThan(1000));
    assert_eq!(minutely.slots(awake, asleep, &Zone::UTC).count_up_to(9), Count::Exactly(0));
}

#[test]
fn a_timetable_runs_once_where_two_of_its_schedules_meet() {
    let schedules = ["0 */6 * * *", "0 12 * * *", "30 12 * * sat"].map(schedule).to_vec();
    let table = Timetable { schedules, zone: zone("Asia/Kolkata") };
    let (from, until) = (instant("2026-11-20 12:00:00+05:30"), instant("2026-11-21 18:00:00+05:30"));
    let times: Vec<String> = table.slots(from, until).map(|slot| shown(slot, &table.zone)).collect();
    let expected = ["20 18:00", "21 00:00", "21 06:00", "21 12:00", "21 12:30", "21 18:00"];
    assert_eq!(times, expected.map(|time| format!("2026-11-{time}:00+05:30")));
    assert_eq!(table.next(from), Some(instant(&times[0])));
    assert_eq!(table.previous(until), Some(instant("2026-11-21 12:30:00+05:30")));
    assert_eq!(
        table.words(),
        "at 00:00, 06:00, 12:00 and 18:00 every day, and at 12:00 every day, and at 12:30 on Saturday"
    );
    let never = Timetable { schedules: Vec::new(), zone: Zone::UTC };
    assert_eq!((never.next(from), never.previous(from), never.slots(from, until).next()), (None, None, None));
}

#[test]
fn nanoseconds_are_rounded_so_that_no_slot_is_lost() {
    let minutely = schedule("* * * * *");
    let minute = 1_790_000_040_u64;
    assert_eq!(minute % 60, 0);
    let next = |nanos: u64| minutely.next(UnixTime::from_nanos(nanos), &Zone::UTC).unwrap().nanos();
    assert_eq!(next(minute * 1_000_000_000 - 1), minute * 1_000_000_000);
    assert_eq!(next(minute * 1_000_000_000), (minute + 60) * 1_000_000_000);
    assert_eq!(UnixTime(-1).nanos(), 0);
    assert_eq!(UnixTime(i64::MAX).nanos(), u64::MAX);
}

#[test]
fn an_unknown_zone_names_the_one_that_was_meant() {
    for (name, expected) in [
        ("Europe/Berlim", "did you mean `Europe/Berlin`?"),
        ("Berlin", "did you mean `Europe/Berlin`?"),
        ("new york", "did you mean `America/New_York`?"),
        ("US/Berlin", "did you mean `Europe/Berlin`?"),
        ("CEST", "an abbreviation does not say when clocks change"),
        ("UTC+2", "UTC+2 is `Etc/GMT-2` (its sign is turned)"),
        ("+02:00", "UTC+2 is `Etc/GMT-2` (its sign is turned)"),
        ("GMT-05", "UTC-5 is `Etc/GMT+5` (its sign is turned)"),
        ("Mars/Olympus_Mons", "zones are named by a place, such as `Europe/Berlin`, or `UTC`"),
        ("Etc/Unknown", "zones are named by a place"),
        ("", "zones are named by a place"),
    ] {
        let unknown = Zone::named(name).unwrap_err();
        assert_eq!(unknown.message, format!("`{name}` is no time zone"));
        assert!(unknown.help.contains(expected), "{name}: {}", unknown.help);
    }
    for (name, canonical) in [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("UTC", "UTC"),
        ("EST5EDT", "EST5EDT"),
    ] {
        assert_eq!(zone(name).name(), canonical);
    }
    assert_eq!(Zone::UTC.name(), "UTC");
    assert_eq!(Zone::from(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()).name(), "local");
}

#[test]
fn two_schedules_are_equal_when_they_run_alike() {
    assert_eq!(schedule("0 6 * * 7"), schedule("00 06 * * sun"));
    assert_eq!(schedule("@daily"), schedule("0 0 * * *"));
    assert_ne!(schedule("0 6 * * *"), schedule("0 7 * * *"));
    // The same minutes, but only one of them makes up for what a gap skips.
    assert_ne!(schedule("0 0-23 * * *"), schedule("0 * * * *"));
}
