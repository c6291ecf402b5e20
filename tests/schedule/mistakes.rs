//! What is wrong with a schedule: which field, which characters, and what to write instead.

use mcsup::unit::schedule::{Field, Schedule};

/// The marks below the text, the field, the message and the help.
fn mistakes(text: &str) -> Vec<(String, Option<Field>, String, String)> {
    let errors = Schedule::parse(text).expect_err(text);
    assert!(!errors.is_empty(), "{text}");
    let mut end = 0;
    let described = errors.into_iter().map(|error| {
        assert!(error.at.start <= error.at.end && error.at.end <= text.len(), "{text}: {:?}", error.at);
        assert!(text.is_char_boundary(error.at.start) && text.is_char_boundary(error.at.end), "{text}");
        assert!(error.at.start >= end, "{text}: the errors are not in the order of the text");
        end = error.at.start;
        (text[error.at].to_owned(), error.field, error.message, error.help)
    });
    described.collect()
}

/// The text, the part that is marked, the field, and parts of the message and of the help.
type Mistake = (&'static str, &'static str, Option<Field>, &'static str, &'static str);

/// What cron itself would refuse, or should.
const IN_A_FIELD: &[Mistake] = &[
    ("75 * * * *", "75", Some(Field::Minute), "minute `75` is too large", "minutes are 0 to 59"),
    ("0 24 * * *", "24", Some(Field::Hour), "hour `24` is too large", "hours are 0 to 23"),
    ("0 0 0 * *", "0", Some(Field::DayOfMonth), "day of month `0` is too small", "1 to 31"),
    ("0 0 32 * *", "32", Some(Field::DayOfMonth), "`32` is too large", "1 to 31"),
    ("0 0 * 13 *", "13", Some(Field::Month), "month `13` is too large", "1 to 12, or jan to dec"),
    ("0 0 * * 8", "8", Some(Field::DayOfWeek), "`8` is too large", "0 and 7 are Sunday"),
    ("99999999999 * * * *", "99999999999", Some(Field::Minute), "is too large", "0 to 59"),
    ("-5 * * * *", "-5", Some(Field::Minute), "one end missing", "minutes are 0 to 59"),
    ("5- * * * *", "5-", Some(Field::Minute), "one end missing", "minutes are 0 to 59"),
    ("1-2-3 * * * *", "2-3", Some(Field::Minute), "minute cannot be `2-3`", "minutes are 0 to 59"),
    ("0 6 * * mo", "mo", Some(Field::DayOfWeek), "day of week cannot be `mo`", "did you mean `mon`?"),
    ("0 6 * * monday", "monday", Some(Field::DayOfWeek), "cannot be `monday`", "did you mean `mon`?"),
    ("0 6 * sept *", "sept", Some(Field::Month), "month cannot be `sept`", "did you mean `sep`?"),
    ("0 6 mon * *", "mon", Some(Field::DayOfMonth), "day of month cannot be `mon`", "1 to 31"),
    ("0 6,, * * *", ",", Some(Field::Hour), "hour has an empty place in its list", "remove the comma"),
    ("0 ,6 * * *", ",", Some(Field::Hour), "hour has an empty place", "remove the comma"),
    ("*/0 * * * *", "0", Some(Field::Minute), "minute has a step of 0", "the smallest step is 1"),
    ("*/x * * * *", "x", Some(Field::Minute), "a step that is no number", "`*/5`"),
    ("*/ * * * *", "*/", Some(Field::Minute), "a step that is no number", "`*/5`"),
    ("/5 * * * *", "/5", Some(Field::Minute), "one end missing", "minutes are 0 to 59"),
    ("*/90 * * * *", "90", Some(Field::Minute), "leaves only the first value", "`every: 90m`"),
    ("0 */24 * * *", "24", Some(Field::Hour), "leaves only the first value", "`every: 24h`"),
    (
        "5/15 * * * *",
        "5/15",
        Some(Field::Minute),
        "a step, `/15`, without a range",
        "write `5-59/15`, or `5`",
    ),
    ("0 0 * * 1/2", "1/2", Some(Field::DayOfWeek), "without a range", "write `1-6/2`, or `1`"),
];

/// What other schedulers have, and dates that no year has.
const OF_OTHER_DIALECTS: &[Mistake] = &[
    ("0 0 L * *", "L", Some(Field::DayOfMonth), "`L` (the last) is not cron's", "run on days `28-31`"),
    ("0 0 L-3 * *", "L-3", Some(Field::DayOfMonth), "`L` (the last)", "run on days `28-31`"),
    ("0 0 * * 5L", "5L", Some(Field::DayOfWeek), "`L` (the last)", "look whether tomorrow"),
    ("0 0 15W * *", "15W", Some(Field::DayOfMonth), "`W` (the nearest workday) is not cron's", "name 15"),
    ("0 0 LW * *", "LW", Some(Field::DayOfMonth), "`W` (the nearest workday)", "name a day"),
    ("0 0 * * FRI#1", "FRI#1", Some(Field::DayOfWeek), "`#` (the n-th in a month)", "the first seven days"),
    ("0 0 ? * mon", "?", Some(Field::DayOfMonth), "`?` is not cron's", "write `*`"),
    ("H 3 * * *", "H", Some(Field::Minute), "a random place is not cron's", "`jitter`"),
    ("H/15 * * * *", "H/15", Some(Field::Minute), "a random place is not cron's", "`jitter`"),
    ("0~30 3 * * *", "0~30", Some(Field::Minute), "a random place is not cron's", "`jitter`"),
    ("0 0 30 2 *", "30 2", Some(Field::DayOfMonth), "never runs: none of the months has a day 30", "29 days"),
    ("0 0 31 2,4,6,9,11 *", "31 2,4,6,9,11", Some(Field::DayOfMonth), "has a day 31", "have 30"),
    ("0 0 30 2 */2", "30 2", Some(Field::DayOfMonth), "never runs", "29 days"),
];

/// What says more about the whole than about a field.
const AS_A_WHOLE: &[Mistake] = &[
    ("", "", None, "an empty schedule", "five fields belong there"),
    ("  ", "", None, "an empty schedule", "five fields belong there"),
    ("5", "5", None, "only 1 field", "minute, hour, day of month, month, day of week"),
    (" 0 6 * * ", "0 6 * *", None, "only 4 fields", "five fields belong there"),
    ("0 0 6 * * * 2026", "0 0 6 * * * 2026", None, "7 fields", "a seventh field for years is not cron's"),
    ("0 0 6 * * * * * *", "0 0 6 * * * * * *", None, "9 fields", "five fields"),
    ("@reboot", "@reboot", None, "`@reboot` is a key of its own here", "write `on_boot: true`"),
    ("@every 5m", "@every 5m", None, "`@every` is a key of its own here", "write `every: 5m`"),
    ("@every", "@every", None, "`@every` is a key of its own here", "write `every: 5m`"),
    ("@dayly", "@dayly", None, "`@dayly` is no schedule", "did you mean `@daily`?"),
    ("@Daily", "@Daily", None, "`@Daily` is no schedule", "did you mean `@daily`?"),
    ("@fortnightly", "@fortnightly", None, "is no schedule", "there are `@hourly`, `@daily`"),
    ("@daily UTC", "@daily", None, "`@daily` is no schedule", "did you mean"),
    ("TZ=Europe/Berlin 0 6 * * *", "TZ=Europe/Berlin", None, "`TZ` is a key", "`timezone: Europe/Berlin`"),
    ("CRON_TZ=UTC @daily", "CRON_TZ=UTC", None, "`CRON_TZ` is a key", "`timezone: UTC`"),
    ("MAILTO=root 0 6 * * *", "MAILTO=root", None, "`MAILTO` is no field", "environment"),
    ("0 6 * * * /usr/bin/backup --all", "/usr/bin/backup", None, "is no field", "the key `command`"),
    ("0 6 * * * root /bin/backup", "root", None, "`root` is no field", "the key `command`"),
    ("0\u{a0}6 * * *", "\u{a0}", None, "a blank that is none of the keyboard's", "plain spaces"),
    ("0 6 * * mön", "mön", Some(Field::DayOfWeek), "cannot be `mön`", "did you mean `mon`?"),
];

#[test]
fn every_mistake_is_shown_where_it_is() {
    for (text, marked, field, message, help) in [IN_A_FIELD, OF_OTHER_DIALECTS, AS_A_WHOLE].concat() {
        let found = mistakes(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        let (at, of, said, mend) = &found[0];
        assert_eq!((at.as_str(), *of), (marked, field), "{text}: {found:?}");
        assert!(said.contains(message) && mend.contains(help), "{text}: {found:?}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let found = mistakes("60 24 0,,32 foo 8-9");
    let marked: Vec<&str> = found.iter().map(|(at, ..)| at.as_str()).collect();
    assert_eq!(marked, ["60", "24", "0", ",", "32", "foo", "8"]);
    assert!(found.iter().all(|(_, field, ..)| field.is_some()));
}

#[test]
fn a_schedule_as_long_as_a_book_is_refused_unread() {
    let long = format!("{} * * * *", vec!["1"; 1000].join(","));
    let found = mistakes(&long);
    assert_eq!(found.len(), 1);
    assert!(found[0].2.contains("a schedule of 2007 bytes"), "{found:?}");
}

/// Whatever is written, the answer is a schedule or mistakes that lie inside the text.
#[test]
fn no_text_is_too_strange() {
    let mut draw = crate::drawn::Draw::new(3);
    let pieces = [
        "*", "/", "-", ",", "0", "7", "59", "mon", "JAN", "L", "#", "@", " ", "  ", "é", "\t", "=", "~", "?",
        "W",
    ];
    let (mut good, mut bad) = (0, 0);
    for _ in 0..20_000 {
        let length = draw.between(1, 14);
        let at = |draw: &mut crate::drawn::Draw| usize::try_from(draw.between(0, 19)).unwrap();
        let noise: String = (0..length).map(|_| pieces[at(&mut draw)]).collect();
        let text =
            if draw.between(0, 1) == 0 { noise } else { format!("{} {noise} * *", draw.expression(false)) };
        match Schedule::parse(&text) {
            Ok(_) => good += 1,
            Err(_) => {
                mistakes(&text);
                bad += 1;
            }
        }
    }
    assert!(bad > 10_000, "{good} good, {bad} bad");
}
