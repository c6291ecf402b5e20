//! What CEL lacks for outputs: dates and times as numbers, and lists looked at as a whole.

#![expect(clippy::wildcard_enum_match_arm, reason = "the library's own list, of which a few matter here")]

use std::collections::BTreeSet;
use std::sync::Arc;

use cel::{Context, ExecutionError, Value};
use jiff::civil::Date;

use crate::expr::words::short;

/// Makes `day`, `seconds`, `distinct` and `rising` known. Who may use them is the vocabulary's to say.
pub(crate) fn declare(context: &mut Context<'static, 'static>) {
    let declared = context
        .add_function("day", |text: Arc<String>| day(&text))
        .and_then(|()| context.add_function("seconds", |text: Arc<String>| seconds(&text)))
        .and_then(|()| context.add_function("distinct", distinct))
        .and_then(|()| context.add_function("rising", rising));
    // None of the names is one of the language's own.
    drop(declared);
}

/// Days from 1970-01-01 to `YYYY-MM-DD`.
fn day(text: &str) -> Result<i64, ExecutionError> {
    let date = Date::strptime("%Y-%m-%d", text).ok().filter(|_| text.len() == "YYYY-MM-DD".len());
    let since_1970 = date.and_then(|date| date.since((jiff::Unit::Day, EPOCH)).ok());
    let days = since_1970.map(|span| i64::from(span.get_days()));
    days.ok_or_else(|| refused("day", &format!("{} is no date such as 2026-11-20", shown(text))))
}

/// `mm:ss` or `h:mm:ss` in seconds.
fn seconds(text: &str) -> Result<i64, ExecutionError> {
    let parts: Vec<&str> = text.split(':').collect();
    let is_time = matches!(parts.len(), 2 | 3)
        && parts.iter().all(|part| matches!(part.len(), 1..=4) && part.bytes().all(|c| c.is_ascii_digit()))
        && parts.iter().skip(1).all(|part| part.len() == 2 && *part < "60");
    let refused = || refused("seconds", &format!("{} is no time such as 12:34", shown(text)));
    if !is_time {
        return Err(refused());
    }
    let numbers: Option<Vec<i64>> = parts.iter().map(|part| part.parse().ok()).collect();
    let sum = |total: i64, part: &i64| total.saturating_mul(60).saturating_add(*part);
    Ok(numbers.ok_or_else(refused)?.iter().fold(0, sum))
}

/// No item of the list stands in it twice.
fn distinct(list: Value) -> Result<bool, ExecutionError> {
    Ok(twin(&items("distinct", list)?)?.is_none())
}

/// Every item of the list is larger than the one before.
fn rising(list: Value) -> Result<bool, ExecutionError> {
    Ok(fall(&items("rising", list)?)?.is_none())
}

/// The first item that stood before.
pub(crate) fn twin(items: &[Value]) -> Result<Option<&Value>, ExecutionError> {
    let mut seen = BTreeSet::new();
    for item in items {
        let json = item.json().map_err(|error| refused("distinct", &error.to_string()))?;
        if !seen.insert(json.to_string()) {
            return Ok(Some(item));
        }
    }
    Ok(None)
}

/// The first two items of which the second is not the larger one.
pub(crate) fn fall(items: &[Value]) -> Result<Option<[&Value; 2]>, ExecutionError> {
    for pair in items.windows(2) {
        let [before, after] = pair else { continue };
        let Some(order) = before.partial_cmp(after) else {
            let why = format!("{} cannot be compared with {}", short(before), short(after));
            return Err(refused("rising", &why));
        };
        if order.is_ge() {
            return Ok(Some([before, after]));
        }
    }
    Ok(None)
}

fn items(function: &str, list: Value) -> Result<Arc<Vec<Value>>, ExecutionError> {
    match list {
        Value::List(items) => Ok(items),
        other => Err(refused(function, &format!("{} is no list", short(&other)))),
    }
}

fn refused(function: &str, why: &str) -> ExecutionError {
    ExecutionError::function_error(function, why)
}

fn shown(text: &str) -> String {
    short(&Value::String(Arc::new(text.to_owned())))
}

const EPOCH: Date = Date::constant(1970, 1, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_numbers_or_refused() {
        assert_eq!(day("1970-01-01").ok(), Some(0));
        assert_eq!(day("1969-12-31").ok(), Some(-1));
        assert_eq!(day("2026-03-01").unwrap() - day("2026-02-28").unwrap(), 1);
        assert_eq!(day("2028-03-01").unwrap() - day("2028-02-28").unwrap(), 2);
        for text in ["2026-02-30", "20261120", "2026-1-2", "2026-11-20T00:00", "", "today"] {
            assert!(day(text).is_err(), "{text}");
        }
        assert_eq!(seconds("00:09").ok(), Some(9));
        assert_eq!(seconds("12:34").ok(), Some(754));
        assert_eq!(seconds("90:00").ok(), Some(5400));
        assert_eq!(seconds("1:00:01").ok(), Some(3601));
        for text in ["", "12", "12:3", "12:60", "1:60:00", "-1:00", "a:00", "1:2:3:4", "12:34 "] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
