//! A schedule in English. Every word must be true of every run: two schedules that read alike run alike.

use crate::unit::schedule::field::{Field, Values};
use crate::unit::schedule::fields::{DayRule, Fields};

pub(super) fn of(fields: &Fields) -> String {
    let days = days(fields);
    let is_all_day = fields.hours == Field::Hour.everything();
    let Times { text, seconds } = times(fields, days == EVERY_DAY);
    // "every 15 minutes" needs no days; "at 06:00" does.
    let days = if is_all_day && days == EVERY_DAY { "" } else { days.as_str() };
    let days = if is_all_day { days.strip_prefix("every day ").unwrap_or(days) } else { days };
    let blank = if days.is_empty() { "" } else { " " };
    format!("{text}{blank}{days}{seconds}")
}

const EVERY_DAY: &str = "every day";

/// Times of a day that are written out one by one.
const MOST_LISTED: u32 = 4;

struct Times {
    text: String,
    /// What is said of the seconds of each minute, at the very end.
    seconds: String,
}

impl Times {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), seconds: String::new() }
    }
}

fn times(fields: &Fields, is_every_day: bool) -> Times {
    let Fields { seconds, minutes, hours, .. } = *fields;
    let are_few = minutes.count().saturating_mul(hours.count()) <= MOST_LISTED;
    if let (Some(second), true) = (only(seconds), are_few) {
        return Times::plain(format!("at {}", listed(clock_times(hours, minutes, second))));
    }
    if minutes == Field::Minute.everything() && hours == Field::Hour.everything() {
        return Times::plain(match (only(seconds), even_step(Field::Second, seconds)) {
            (Some(0), _) => "every minute".to_owned(),
            (Some(second), _) => format!("at second {second} of every minute"),
            (None, Some(1)) => "every second".to_owned(),
            (None, Some(step)) => format!("every {step} seconds"),
            (None, None) => format!("at seconds {} of every minute", numbers(seconds)),
        });
    }
    let text = if are_few {
        format!("at {}", listed(clock_times(hours, minutes, 0)))
    } else {
        minutes_and_hours(minutes, hours, is_every_day)
    };
    let seconds = match (only(seconds), even_step(Field::Second, seconds)) {
        (Some(0), _) => String::new(),
        (Some(second), _) => format!(", at second {second} of the minute"),
        (None, Some(1)) => ", every second of the minute".to_owned(),
        (None, Some(step)) => format!(", every {step} seconds of the minute"),
        (None, None) => format!(", at seconds {} of the minute", numbers(seconds)),
    };
    Times { text, seconds }
}

/// "every 15 minutes from 09:00 through 17:45"
fn minutes_and_hours(minutes: Values, hours: Values, is_every_day: bool) -> String {
    let is_all_day = hours == Field::Hour.everything();
    let step = even_step(Field::Minute, minutes);
    if let Some(minute) = only(minutes) {
        return match (is_all_day, minute) {
            (true, 0) => "every hour, on the hour".to_owned(),
            (true, minute) => format!("at minute {minute} of every hour"),
            (false, minute) => hours_at(hours, minute, is_every_day),
        };
    }
    let Some(step) = step else {
        let minutes = numbers(minutes);
        return if is_all_day {
            format!("at minutes {minutes} of every hour")
        } else {
            format!("at minutes {minutes} of {}", named_hours(hours))
        };
    };
    let every = if step == 1 { "every minute".to_owned() } else { format!("every {step} minutes") };
    let end = minutes.last().unwrap_or(0);
    match arc(hours, 24) {
        _ if is_all_day => every,
        Some((first, last)) if first <= last || is_every_day => {
            format!("{every} from {first:02}:00 through {last:02}:{end:02}")
        }
        Some(_) | None => format!("{every} in {}", named_hours(hours)),
    }
}

/// One minute of several hours, more of them than are listed anyway.
fn hours_at(hours: Values, minute: u8, is_every_day: bool) -> String {
    // Past midnight, "from 22:00 through 02:00" would say something about the next day.
    if let Some((first, last)) = arc(hours, 24).filter(|(first, last)| first <= last || is_every_day) {
        return format!("every hour from {first:02}:{minute:02} through {last:02}:{minute:02}");
    }
    if let Some((first, step, last)) = progression(hours) {
        return format!("every {step} hours from {first:02}:{minute:02} through {last:02}:{minute:02}");
    }
    format!("at {}", listed(clock_times(hours, Values::only(minute), 0)))
}

fn named_hours(hours: Values) -> String {
    match only(hours) {
        Some(hour) => format!("hour {hour}"),
        None => format!("hours {}", numbers(hours)),
    }
}

fn clock_times(hours: Values, minutes: Values, second: u8) -> Vec<String> {
    let minute_of = |hour: u8| minutes.iter().map(move |minute| (hour, minute));
    let shown = |(hour, minute)| {
        if second == 0 {
            format!("{hour:02}:{minute:02}")
        } else {
            format!("{hour:02}:{minute:02}:{second:02}")
        }
    };
    hours.iter().flat_map(minute_of).map(shown).collect()
}

/// "every day in January", "on Monday through Friday", "on day 1 of every month"
fn days(fields: &Fields) -> String {
    let every_date = fields.days == Field::DayOfMonth.everything();
    let every_weekday = fields.weekdays == Field::DayOfWeek.everything();
    let every_month = fields.months == Field::Month.everything();
    let in_months = if every_month { String::new() } else { format!(" in {}", months(fields.months)) };
    let dates = || dates(fields.days, fields.months);
    let weekdays = || weekdays(fields.weekdays);
    match (fields.day_rule, every_date, every_weekday) {
        (_, true, true) | (DayRule::Either, true, _) | (DayRule::Either, _, true) => {
            format!("{EVERY_DAY}{in_months}")
        }
        (DayRule::Both, true, false) => format!("on {}{in_months}", weekdays()),
        (DayRule::Both, false, true) => format!("on {}", dates()),
        (DayRule::Both, false, false) => format!("on {}, but only on {}", weekdays(), dates()),
        (DayRule::Either, false, false) => format!("on {} and also on {}{in_months}", dates(), weekdays()),
    }
}

fn dates(days: Values, in_months: Values) -> String {
    let of_months =
        if in_months == Field::Month.everything() { "every month".to_owned() } else { months(in_months) };
    match (only(days), only(in_months)) {
        (Some(day), Some(_)) => format!("{day} {of_months}"),
        (Some(day), None) => format!("day {day} of {of_months}"),
        (None, _) => format!("days {} of {of_months}", numbers(days)),
    }
}

fn months(months: Values) -> String {
    const NAMES: &[&str] = &[
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    // Counted from 0, as `arc` counts.
    cyclic(months.iter().map(|month| month.saturating_sub(1)).collect(), NAMES)
}

fn weekdays(weekdays: Values) -> String {
    const NAMES: &[&str] = &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    // A week begins on Monday when people list its days.
    cyclic(weekdays.iter().map(|day| day.checked_sub(1).unwrap_or(6)).collect(), NAMES)
}

fn cyclic(values: Values, names: &[&str]) -> String {
    let name = |value: u8| names.get(usize::from(value)).copied().unwrap_or("?").to_owned();
    let size = u8::try_from(names.len()).unwrap_or(u8::MAX);
    match arc(values, size) {
        Some((first, last)) if values.count() > 2 => format!("{} through {}", name(first), name(last)),
        Some(_) | None => listed(values.iter().map(name).collect()),
    }
}

fn only(values: Values) -> Option<u8> {
    values.first().filter(|_| values.count() == 1)
}

/// The step of what goes evenly through the whole field: 15 for 0, 15, 30 and 45.
fn even_step(field: Field, values: Values) -> Option<u8> {
    let size = field.bounds().1.saturating_add(1);
    let step = size.checked_div(u8::try_from(values.count()).ok()?)?;
    let even: Values = (0..size).step_by(usize::from(step).max(1)).collect();
    (even == values && values.count() > 1 && size.checked_rem(step) == Some(0)).then_some(step)
}

/// First and last of values that follow each other on a dial with `size` places from 0, past its end if need be.
fn arc(values: Values, size: u8) -> Option<(u8, u8)> {
    let before = |value: u8| value.checked_sub(1).unwrap_or_else(|| size.saturating_sub(1));
    let after = |value: u8| value.saturating_add(1).checked_rem(size).unwrap_or(0);
    let mut firsts = values.iter().filter(|value| !values.holds(before(*value)));
    let (first, second) = (firsts.next()?, firsts.next());
    let last = values.iter().find(|value| !values.holds(after(*value)))?;
    second.is_none().then_some((first, last))
}

/// First, step and last of at least three values that lie two or more apart, evenly.
fn progression(values: Values) -> Option<(u8, u8, u8)> {
    let (first, last) = (values.first()?, values.last()?);
    let gaps = u8::try_from(values.count()).ok()?.checked_sub(1).filter(|gaps| *gaps >= 2)?;
    let step = last.saturating_sub(first).checked_div(gaps).filter(|step| *step >= 2)?;
    let even: Values = (first..=last).step_by(usize::from(step)).collect();
    (even == values).then_some((first, step, last))
}

/// "1 through 5, 9 and 12", "0 through 56 in steps of 7"
fn numbers(values: Values) -> String {
    if let Some((first, step, last)) = progression(values).filter(|_| values.count() > MOST_LISTED) {
        return format!("{first} through {last} in steps of {step}");
    }
    let mut words = Vec::new();
    let mut rest = values.iter().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while let Some(next) = rest.next_if_eq(&last.saturating_add(1)) {
            last = next;
        }
        match last.saturating_sub(first) {
            0 => words.push(first.to_string()),
            1 => words.extend([first.to_string(), last.to_string()]),
            _ => words.push(format!("{first} through {last}")),
        }
    }
    listed(words)
}

/// "a, b and c"
fn listed(mut words: Vec<String>) -> String {
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} and {last}", words.join(", ")) }
}
