//! Moments as people write them.

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _, Zoned};

/// Nanoseconds since 1970 of `10m` (ago), `today`, `yesterday`, `06:00`, `2026-11-20`, `2026-11-20 06:00` (in the
/// local time zone) or a time in RFC 3339.
///
/// # Errors
/// When the text is none of these; says what is understood.
pub fn parse(text: &str, now: Timestamp) -> Result<u64, String> {
    let text = text.trim();
    let here = now.to_zoned(TimeZone::system());
    let at = ago(text, now)
        .or_else(|| day(text, &here))
        .or_else(|| text.parse::<Timestamp>().ok())
        .or_else(|| civil(text, &here))
        .ok_or_else(|| {
            format!(
                "cannot read `{text}` as a moment; write `10m`, `1h30m`, `today`, `yesterday`, `06:00`, \
                 `2026-11-20 06:00` or `2026-11-20T06:00:00Z`"
            )
        })?;
    Ok(u64::try_from(at.as_nanosecond()).unwrap_or(0))
}

/// The moment that it is. The one place in the reading of logs that looks at the clock.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// `250ms`, `10m`, `1h30m`, `2d`. `None`: something else.
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total_ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?.checked_add(total_ms)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total_ms))
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let before = i128::try_from(duration(text)?.as_nanos()).ok()?;
    // Before 1970 is before everything.
    Timestamp::from_nanosecond((now.as_nanosecond() - before).max(0)).ok()
}

fn day(text: &str, here: &Zoned) -> Option<Timestamp> {
    let day = match text {
        "today" => here.date(),
        "yesterday" => here.date().checked_sub(1.day()).ok()?,
        _ => return None,
    };
    day.to_zoned(here.time_zone().clone()).ok().map(|midnight| midnight.timestamp())
}

fn civil(text: &str, here: &Zoned) -> Option<Timestamp> {
    let wanted = if let Ok(at) = text.parse::<DateTime>() {
        at
    } else if let Ok(day) = text.parse::<Date>() {
        day.at(0, 0, 0, 0)
    } else if text.contains(':') {
        here.date().to_datetime(text.parse().ok()?)
    } else {
        return None; // A bare number is no hour: nobody knows which unit was meant.
    };
    wanted.to_zoned(here.time_zone().clone()).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn durations_count_back_from_now() {
        let now = at("2026-11-20T12:00:00Z");
        let read = |text| parse(text, now).map(|ns| Timestamp::from_nanosecond(i128::from(ns)).unwrap());
        assert_eq!(read("10m"), Ok(at("2026-11-20T11:50:00Z")));
        assert_eq!(read("1h30m"), Ok(at("2026-11-20T10:30:00Z")));
        assert_eq!(read("2d"), Ok(at("2026-11-18T12:00:00Z")));
        assert_eq!(read("2026-11-20T06:00:00Z"), Ok(at("2026-11-20T06:00:00Z")));
        assert_eq!(read("999999d"), Ok(at("1970-01-01T00:00:00Z")));
    }

    #[test]
    fn days_and_hours_are_those_of_the_local_time_zone() {
        let now = now();
        let here = now.to_zoned(TimeZone::system());
        let midnight = here.start_of_day().unwrap().timestamp();
        assert_eq!(parse("today", now).map(i128::from), Ok(midnight.as_nanosecond()));
        assert!(parse("06:00", now).is_ok());
        assert!(parse("2026-11-20", now).unwrap() < parse("2026-11-20 06:00", now).unwrap());
    }

    #[test]
    fn what_is_no_moment_is_refused_with_what_would_be_one() {
        for text in ["", "soon", "10", "10 m", "m", "5x", "-5m"] {
            let refusal = parse(text, now()).unwrap_err();
            assert!(refusal.contains("10m"), "{text}: {refusal}");
        }
    }
}
