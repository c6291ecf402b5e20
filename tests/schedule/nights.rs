//! Nights on which clocks are changed: nothing of fixed times is lost in a gap or done twice in a repeated
//! hour, and what follows the clock follows the clock. Case 35.

use mcsup::unit::schedule::{Schedule, UnixTime, Zone};

use crate::times::{instant, schedule, shown, zone};

/// A night: the zone, from when to when (the first instant is not part of it), and what runs in it.
struct Night {
    zone: &'static str,
    from: &'static str,
    until: &'static str,
    runs: &'static [(&'static str, &'static [&'static str])],
}

impl Night {
    fn play(&self) {
        let zone = zone(self.zone);
        let (from, until) = (instant(self.from), instant(self.until));
        for (text, expected) in self.runs {
            let schedule = schedule(text);
            let slots: Vec<UnixTime> = schedule.slots(from, until, &zone).collect();
            let times: Vec<String> = slots.iter().map(|slot| short(&shown(*slot, &zone))).collect();
            assert_eq!(times, *expected, "{text} in {}", self.zone);
            assert_eq!(backwards(&schedule, from, until, &zone), slots, "{text} in {}, backwards", self.zone);
        }
    }
}

fn backwards(schedule: &Schedule, from: UnixTime, until: UnixTime, zone: &Zone) -> Vec<UnixTime> {
    let mut found = Vec::new();
    let mut before = UnixTime(until.0 + 1);
    while let Some(slot) = schedule.previous(before, zone).filter(|slot| *slot > from) {
        found.push(slot);
        before = slot;
    }
    found.reverse();
    found
}

/// `29 02:30+02:00`: without year, month and a second of 0.
fn short(time: &str) -> String {
    let (date, clock) = time.split_once(' ').unwrap();
    let (clock, offset) = clock.split_at(8);
    format!("{} {}{offset}", &date[8..], clock.strip_suffix(":00").unwrap_or(clock))
}

#[test]
fn case_35_berlin_in_spring_runs_once_right_after_the_gap() {
    // 02:00+01 is followed by 03:00+02.
    Night {
        zone: "Europe/Berlin",
        from: "2026-03-29 00:00:00+01:00",
        until: "2026-03-29 05:00:00+02:00",
        runs: &[
            ("30 2 * * *", &["29 03:00+02:00"]),
            ("0 2 * * *", &["29 03:00+02:00"]),
            ("0 3 * * *", &["29 03:00+02:00"]),
            ("59 1 * * *", &["29 01:59+01:00"]),
            // Two of the three times are skipped, and the third is then: one run.
            ("0,30 2 * * *", &["29 03:00+02:00"]),
            ("0 2,3 * * *", &["29 03:00+02:00"]),
            ("0 1-4 * * *", &["29 01:00+01:00", "29 03:00+02:00", "29 04:00+02:00"]),
            ("15 30 2 * * *", &["29 03:00+02:00"]),
            ("*/20 30 2 * * *", &["29 03:00+02:00"]),
            // What begins with a star goes by the clock.
            ("30 * * * *", &["29 00:30+01:00", "29 01:30+01:00", "29 03:30+02:00", "29 04:30+02:00"]),
            ("*/30 2 * * *", &[]),
            ("0 */2 * * *", &["29 04:00+02:00"]),
            ("*/30 1-3 * * *", &["29 01:00+01:00", "29 01:30+01:00", "29 03:00+02:00", "29 03:30+02:00"]),
            // The other days of the week skip nothing.
            ("30 2 * * mon", &[]),
            ("30 2 29 3 *", &["29 03:00+02:00"]),
        ],
    }
    .play();
}

#[test]
fn case_35_berlin_in_autumn_repeats_no_fixed_time() {
    // 03:00+02 is 02:00+01 again.
    Night {
        zone: "Europe/Berlin",
        from: "2026-10-25 01:00:00+02:00",
        until: "2026-10-25 04:00:00+01:00",
        runs: &[
            ("30 2 * * *", &["25 02:30+02:00"]),
            ("0 2 * * *", &["25 02:00+02:00"]),
            ("0 3 * * *", &["25 03:00+01:00"]),
            ("0,30 2,3 * * *", &["25 02:00+02:00", "25 02:30+02:00", "25 03:00+01:00", "25 03:30+01:00"]),
            ("15 30 2 * * *", &["25 02:30:15+02:00"]),
            ("30 * * * *", &["25 01:30+02:00", "25 02:30+02:00", "25 02:30+01:00", "25 03:30+01:00"]),
            ("*/30 2 * * *", &["25 02:00+02:00", "25 02:30+02:00", "25 02:00+01:00", "25 02:30+01:00"]),
            ("0 */2 * * *", &["25 02:00+02:00", "25 02:00+01:00", "25 04:00+01:00"]),
        ],
    }
    .play();
}

#[test]
fn case_35_a_minutely_job_keeps_its_pace_in_both_nights() {
    let berlin = zone("Europe/Berlin");
    for night in ["2026-03-29 00:00:00+01:00", "2026-10-25 00:00:00+02:00"].map(instant) {
        let until = UnixTime(night.0 + 6 * 3600);
        let minutely: Vec<UnixTime> = schedule("* * * * *").slots(night, until, &berlin).collect();
        let expected: Vec<UnixTime> = (1..=360).map(|minute| UnixTime(night.0 + minute * 60)).collect();
        assert_eq!(minutely, expected);
        let quarters = schedule("*/15 * * * *").slots(night, until, &berlin).count();
        assert_eq!(quarters, 24);
    }
}

#[test]
fn case_35_new_york_changes_at_two() {
    Night {
        zone: "America/New_York",
        from: "2027-03-14 00:00:00-05:00",
        until: "2027-03-15 04:00:00-04:00",
        runs: &[
            ("30 2 * * *", &["14 03:00-04:00", "15 02:30-04:00"]),
            (
                "0 1-3 * * *",
                &["14 01:00-05:00", "14 03:00-04:00", "15 01:00-04:00", "15 02:00-04:00", "15 03:00-04:00"],
            ),
        ],
    }
    .play();
    Night {
        zone: "America/New_York",
        from: "2026-11-01 00:00:00-04:00",
        until: "2026-11-01 03:00:00-05:00",
        runs: &[
            ("30 1 * * *", &["01 01:30-04:00"]),
            ("30 * * * *", &["01 00:30-04:00", "01 01:30-04:00", "01 01:30-05:00", "01 02:30-05:00"]),
            ("59 59 1 * * *", &["01 01:59:59-04:00"]),
        ],
    }
    .play();
}

#[test]
fn case_35_lord_howe_changes_by_half_an_hour() {
    Night {
        zone: "Australia/Lord_Howe",
        from: "2026-10-04 00:00:00+10:30",
        until: "2026-10-04 04:00:00+11:00",
        runs: &[
            ("15 2 * * *", &["04 02:30+11:00"]),
            ("45 2 * * *", &["04 02:45+11:00"]),
            ("0,30 2 * * *", &["04 02:30+11:00"]),
            ("15 * * * *", &["04 00:15+10:30", "04 01:15+10:30", "04 03:15+11:00"]),
            ("*/30 2 * * *", &["04 02:30+11:00"]),
        ],
    }
    .play();
    Night {
        zone: "Australia/Lord_Howe",
        from: "2026-04-05 01:00:00+11:00",
        until: "2026-04-05 03:00:00+10:30",
        runs: &[
            ("45 1 * * *", &["05 01:45+11:00"]),
            ("15 1 * * *", &["05 01:15+11:00"]),
            ("15,45 1 * * *", &["05 01:15+11:00", "05 01:45+11:00"]),
            ("45 * * * *", &["05 01:45+11:00", "05 01:45+10:30", "05 02:45+10:30"]),
        ],
    }
    .play();
}

#[test]
fn kolkata_changes_nothing_and_is_half_an_hour_off() {
    Night {
        zone: "Asia/Kolkata",
        from: "2026-03-29 00:00:00+05:30",
        until: "2026-03-30 03:00:00+05:30",
        runs: &[
            ("30 2 * * *", &["29 02:30+05:30", "30 02:30+05:30"]),
            ("0 */12 * * *", &["29 12:00+05:30", "30 00:00+05:30"]),
        ],
    }
    .play();
}

#[test]
fn a_day_that_apia_skipped_runs_once_at_its_end() {
    // After Thursday 29 December 2011 came Saturday the 31st.
    Night {
        zone: "Pacific/Apia",
        from: "2011-12-29 12:00:00-10:00",
        until: "2011-12-31 12:00:00+14:00",
        runs: &[
            ("0 6 * * *", &["31 00:00+14:00", "31 06:00+14:00"]),
            ("0 6,18 * * *", &["29 18:00-10:00", "31 00:00+14:00", "31 06:00+14:00"]),
            ("0 6 30 * *", &["31 00:00+14:00"]),
            ("0 6 * * fri", &["31 00:00+14:00"]),
            ("0 6 * * sat", &["31 06:00+14:00"]),
            ("0 */6 * * *", &["29 18:00-10:00", "31 00:00+14:00", "31 06:00+14:00", "31 12:00+14:00"]),
        ],
    }
    .play();
}

#[test]
fn midnight_itself_was_skipped_and_repeated_in_sao_paulo() {
    // 2018-11-04 began at 01:00; on 2018-02-18 the last hour of the 17th came again.
    Night {
        zone: "America/Sao_Paulo",
        from: "2018-11-03 22:00:00-03:00",
        until: "2018-11-04 02:00:00-02:00",
        runs: &[
            ("0 0 * * *", &["04 01:00-02:00"]),
            ("@daily", &["04 01:00-02:00"]),
            ("30 0 * * sun", &["04 01:00-02:00"]),
            ("30 0 * * sat", &[]),
            ("30 * * * *", &["03 22:30-03:00", "03 23:30-03:00", "04 01:30-02:00"]),
        ],
    }
    .play();
    Night {
        zone: "America/Sao_Paulo",
        from: "2018-02-17 22:00:00-02:00",
        until: "2018-02-18 01:00:00-03:00",
        runs: &[
            ("30 23 * * *", &["17 23:30-02:00"]),
            ("0 0 * * *", &["18 00:00-03:00"]),
            ("30 * * * *", &["17 22:30-02:00", "17 23:30-02:00", "17 23:30-03:00", "18 00:30-03:00"]),
        ],
    }
    .play();
    // Brazil gave daylight saving up in 2019.
    Night {
        zone: "America/Sao_Paulo",
        from: "2026-11-01 00:00:00-03:00",
        until: "2026-11-02 00:00:00-03:00",
        runs: &[("0 0 * * *", &["02 00:00-03:00"])],
    }
    .play();
}
