//! Durations, sizes and factors as people write them, read without floats.

use std::time::Duration;

/// `250ms`, `5s`, `1m30s`, `2h`, `1d`; units in falling order, each once. `0` needs no unit.
///
/// # Errors
/// With a sentence that says what is wrong.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a duration needs a unit: `ms`, `s`, `m`, `h` or `d`");
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = split_digits(rest);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let size = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis);
        let (Ok(number), Some(size)) = (number.parse::<u64>(), size) else { return Err(NOT_A_DURATION) };
        if size >= smallest {
            return Err("the units of a duration go from large to small, each once");
        }
        smallest = size;
        total = number
            .checked_mul(size)
            .and_then(|millis| total.checked_add(millis))
            .filter(|millis| *millis <= LONGEST_MILLIS)
            .ok_or("longer than 100 years")?;
        rest = next;
    }
    if smallest == u64::MAX { Err(NOT_A_DURATION) } else { Ok(Duration::from_millis(total)) }
}

const NOT_A_DURATION: &str = "durations are written `250ms`, `5s`, `1m30s`, `2h` or `1d`";
const DURATION_UNITS: &[(&str, u64)] =
    &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Keeps every sum of two durations far from the end of `u64` nanoseconds.
const LONGEST_MILLIS: u64 = 100 * 365 * 86_400_000;

/// `512K`, `10M`, `2G`, `1T` (powers of 1024), or plain bytes.
///
/// # Errors
/// With a sentence that says what is wrong.
pub(crate) fn size(text: &str) -> Result<u64, &'static str> {
    let (number, unit) = split_digits(text);
    let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, bytes)| *bytes);
    let (Ok(number), Some(factor)) = (number.parse::<u64>(), factor) else {
        return Err("sizes are written `512K`, `10M`, `2G` or as plain bytes; K is 1024");
    };
    number.checked_mul(factor).ok_or("larger than 16 EiB")
}

const SIZE_UNITS: &[(&str, u64)] = &[("", 1), ("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)];

/// `2`, `1.5`, `0.1` in thousandths.
///
/// # Errors
/// With a sentence that says what is wrong.
pub(crate) fn permille(text: &str) -> Result<u32, &'static str> {
    const NOT_A_NUMBER: &str = "numbers are written `2`, `1.5` or `0.125`";
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(NOT_A_NUMBER);
    }
    if fraction.len() > 3 {
        return Err("at most three digits may stand after the point");
    }
    let thousandths = format!("{fraction:0<3}").parse::<u32>().map_err(|_not_digits| NOT_A_NUMBER)?;
    whole
        .parse::<u32>()
        .ok()
        .and_then(|whole| whole.checked_mul(1000))
        .and_then(|whole| whole.checked_add(thousandths))
        .ok_or("larger than four million")
}

/// `99.95` percent in millionths; `None` for what is no number or finer than a millionth.
pub(crate) fn percent_ppm(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 4 {
        return None;
    }
    let fraction = format!("{fraction:0<4}").parse::<u32>().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(fraction)
}

/// Shows a duration as it would be written in a unit file.
pub(crate) fn show(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size) in DURATION_UNITS {
        let count = rest.checked_div(*size).unwrap_or(0);
        rest = rest.checked_rem(*size).unwrap_or(0);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    text
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("5s", 5000),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn durations_that_could_be_misread_are_refused() {
        for text in
            ["", "5", "s", "5 s", "1.5s", "-1s", "5sec", "30s1m", "1s1s", "99999999999999999999s", "40000d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_shown_reads_back_as_itself() {
        for millis in [0, 1, 999, 1000, 61_001, 90_061_001, 86_400_000] {
            let one = Duration::from_millis(millis);
            assert_eq!(duration(&show(one)), Ok(one));
        }
    }

    #[test]
    fn sizes_count_in_powers_of_1024() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("512K", 524_288), ("10M", 10_485_760), ("2G", 2_147_483_648)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "K", "1KB", "1k", "1.5M", "-1", "99999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parts_of_the_time_are_millionths() {
        for (text, expected) in [("99.95", 999_500), ("99", 990_000), ("100", 1_000_000), ("0.0001", 1)] {
            assert_eq!(percent_ppm(text), Some(expected), "{text}");
        }
        for text in ["", ".5", "1.", "1.23456", "-1", "1e3", "99999999"] {
            assert_eq!(percent_ppm(text), None, "{text}");
        }
    }

    #[test]
    fn factors_are_thousandths() {
        for (text, expected) in [("2", 2000), ("1.5", 1500), ("0.1", 100), ("0.125", 125), ("0", 0)] {
            assert_eq!(permille(text), Ok(expected), "{text}");
        }
        for text in ["", ".5", "1.", "1.2345", "-1", "1e3", "two", "1,5"] {
            assert!(permille(text).is_err(), "{text}");
        }
    }
}
