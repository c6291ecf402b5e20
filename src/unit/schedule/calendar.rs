//! The crate `cron` on wall-clock time. It never sees a zone: with daylight saving it skips runs, repeats
//! runs and tells them out of order. Its own language (weekdays from 1, day of month *and* of week) is not
//! what people write either; it is given sets of values, weekdays by name.

use std::str::FromStr as _;

use chrono::{DateTime, Utc};

use crate::unit::schedule::field::{Field, Values};
use crate::unit::schedule::fields::{DayRule, Fields};

/// The times of a schedule as a wall clock shows them, in seconds since the clock showed 1970-01-01 00:00:00.
/// Nothing after the year 2100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    times: cron::Schedule,
    /// The days of the week, when a day may match either; `times` then has those of the month.
    or_times: Option<Box<cron::Schedule>>,
}

impl Calendar {
    /// `None` when `cron` does not understand what was written for it.
    pub(super) fn new(fields: &Fields) -> Option<Self> {
        let every_day = Field::DayOfMonth.everything();
        let every_weekday = Field::DayOfWeek.everything();
        let (times, or_times) = match fields.day_rule {
            DayRule::Both => (written(fields, fields.days, fields.weekdays), None),
            DayRule::Either => (
                written(fields, fields.days, every_weekday),
                Some(written(fields, every_day, fields.weekdays)),
            ),
        };
        let read = |text: String| cron::Schedule::from_str(&text).ok();
        let or_times = match or_times {
            Some(text) => Some(Box::new(read(text)?)),
            None => None,
        };
        Some(Self { times: read(times)?, or_times })
    }

    /// The first time at or after `wall`.
    pub(super) fn first_from(&self, wall: i64) -> Option<i64> {
        let after = date(wall.checked_sub(1)?)?;
        let first = |times: &cron::Schedule| times.after(&after).next().map(|date| date.timestamp());
        let one = first(&self.times);
        match self.or_times.as_deref().and_then(first) {
            Some(other) => Some(one.map_or(other, |one| one.min(other))),
            None => one,
        }
    }

    /// The last time at or before `wall`.
    pub(super) fn last_until(&self, wall: i64) -> Option<i64> {
        let before = date(wall.checked_add(1)?)?;
        let last = |times: &cron::Schedule| times.after(&before).next_back().map(|date| date.timestamp());
        let one = last(&self.times);
        match self.or_times.as_deref().and_then(last) {
            Some(other) => Some(one.map_or(other, |one| one.max(other))),
            None => one,
        }
    }
}

fn date(wall: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(wall, 0)
}

fn written(fields: &Fields, days: Values, weekdays: Values) -> String {
    let list = |field: Field, values: Values| {
        // A star costs `cron` nothing; all values, one by one, a tree of them.
        if values == field.everything() {
            return "*".to_owned();
        }
        let (smallest, _) = field.bounds();
        let name = |value: u8| field.names().get(usize::from(value.saturating_sub(smallest)));
        let words = values
            .iter()
            .map(|value| name(value).map_or_else(|| value.to_string(), |name| (*name).to_owned()));
        words.collect::<Vec<_>>().join(",")
    };
    [
        list(Field::Second, fields.seconds),
        list(Field::Minute, fields.minutes),
        list(Field::Hour, fields.hours),
        list(Field::DayOfMonth, days),
        list(Field::Month, fields.months),
        list(Field::DayOfWeek, weekdays),
    ]
    .join(" ")
}
