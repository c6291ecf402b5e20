//! Schedules in English.

use std::collections::BTreeMap;

use mcsup::unit::schedule::{UnixTime, Zone};

use crate::drawn::Draw;
use crate::times::schedule;

#[test]
fn schedules_read_as_people_would_say_them() {
    for (text, expected) in [
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0,15,30,45 * * * *", "every 15 minutes"),
        ("*/7 * * * *", "at minutes 0 through 56 in steps of 7 of every hour"),
        ("5-59/15 * * * *", "at minutes 5, 20, 35 and 50 of every hour"),
        ("0 * * * *", "every hour, on the hour"),
        ("@hourly", "every hour, on the hour"),
        ("5 * * * *", "at minute 5 of every hour"),
        ("0 6 * * *", "at 06:00 every day"),
        ("@daily", "at 00:00 every day"),
        ("30 6,18 * * *", "at 06:30 and 18:30 every day"),
        ("0,30 9 * * *", "at 09:00 and 09:30 every day"),
        ("0 0,3,4,9,14 * * *", "at 00:00, 03:00, 04:00, 09:00 and 14:00 every day"),
        ("0 9-17 * * *", "every hour from 09:00 through 17:00 every day"),
        ("30 9-17 * * 1-5", "every hour from 09:30 through 17:30 on Monday through Friday"),
        ("0 */2 * * *", "every 2 hours from 00:00 through 22:00 every day"),
        ("0 */5 * * *", "every 5 hours from 00:00 through 20:00 every day"),
        ("*/15 9-17 * * *", "every 15 minutes from 09:00 through 17:45 every day"),
        ("* 2 * * *", "every minute from 02:00 through 02:59 every day"),
        ("* 22-2 * * *", "every minute from 22:00 through 02:59 every day"),
        ("* 22-2 * * mon", "every minute in hours 0 through 2, 22 and 23 on Monday"),
        ("*/20 */2 * * *", "every 20 minutes in hours 0 through 22 in steps of 2 every day"),
        ("1,2,3,7 8-12 * * *", "at minutes 1 through 3 and 7 of hours 8 through 12 every day"),
        ("30 2 * * mon,fri", "at 02:30 on Monday and Friday"),
        ("0 9 * * fri-mon", "at 09:00 on Friday through Monday"),
        ("0 9 * * 0,6", "at 09:00 on Saturday and Sunday"),
        ("0 9 * * 0,2,4", "at 09:00 on Tuesday, Thursday and Sunday"),
        ("@weekly", "at 00:00 on Sunday"),
        ("0 0 1 * *", "at 00:00 on day 1 of every month"),
        ("0 0 1,15 * *", "at 00:00 on days 1 and 15 of every month"),
        ("0 0 */2 * *", "at 00:00 on days 1 through 31 in steps of 2 of every month"),
        ("0 0 1 1,4,7,10 *", "at 00:00 on day 1 of January, April, July and October"),
        ("0 18 24 12 *", "at 18:00 on 24 December"),
        ("@yearly", "at 00:00 on 1 January"),
        ("0 6 * nov-feb *", "at 06:00 every day in November through February"),
        ("*/5 * * jan *", "every 5 minutes in January"),
        ("*/5 * * * sat", "every 5 minutes on Saturday"),
        ("0 6 * jun-aug mon", "at 06:00 on Monday in June through August"),
        ("0 0 13 * fri", "at 00:00 on day 13 of every month and also on Friday"),
        ("0 0 13 1 fri", "at 00:00 on 13 January and also on Friday in January"),
        ("0 0 */2 * mon", "at 00:00 on Monday, but only on days 1 through 31 in steps of 2 of every month"),
        ("0 0 1-31 * mon", "at 00:00 every day"),
        ("* * * * * *", "every second"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("30 * * * * *", "at second 30 of every minute"),
        ("0,7 * * * * *", "at seconds 0 and 7 of every minute"),
        ("30 0 6 * * *", "at 06:00:30 every day"),
        ("0 0 6 * * *", "at 06:00 every day"),
        ("* 30 2 * * mon", "at 02:30 on Monday, every second of the minute"),
        ("*/20 */5 * * * *", "every 5 minutes, every 20 seconds of the minute"),
        ("30 */5 * * * *", "every 5 minutes, at second 30 of the minute"),
        ("0,5 */5 * * * *", "every 5 minutes, at seconds 0 and 5 of the minute"),
        (
            "*/10 * 9-17 * * *",
            "every minute from 09:00 through 17:59 every day, every 10 seconds of the minute",
        ),
    ] {
        assert_eq!(schedule(text).words(), expected, "{text}");
    }
}

/// Words that left something out would be the same for schedules that are not.
#[test]
fn schedules_that_read_alike_run_alike() {
    let mut draw = Draw::new(27);
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut met_again = 0;
    for _ in 0..20_000 {
        let text = draw.expression(true);
        let words = schedule(&text).words();
        assert!(!words.contains('?') && !words.contains("  "), "{text}: {words}");
        let Some(other) = seen.insert(words.clone(), text.clone()) else { continue };
        met_again += 1;
        let (one, other_one) = (schedule(&text), schedule(&other));
        for start in [1_790_000_000, 1_800_000_000, 1_810_000_000, 1_830_000_000].map(UnixTime) {
            let first = |schedule: &mcsup::unit::schedule::Schedule| {
                let until = UnixTime(start.0 + 20 * 366 * 86_400);
                schedule.slots(start, until, &Zone::UTC).take(5).collect::<Vec<_>>()
            };
            assert_eq!(first(&one), first(&other_one), "{text} and {other}: {words}");
        }
    }
    assert!(met_again > 500, "only {met_again} pairs were compared");
}
