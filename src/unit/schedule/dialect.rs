//! What people bring along from other schedulers, and what to write here instead.

use crate::unit::schedule::field::Field;
use crate::unit::schedule::parse::{Piece, ScheduleError};

pub(super) const FIVE_FIELDS: &str = "five fields belong there: minute, hour, day of month, month, day of week; a sixth in front is the second";

/// What is wrong with the schedule as a whole, when that says more than its fields would.
pub(super) fn misfit(whole: Piece<'_>, pieces: &[Piece<'_>]) -> Option<ScheduleError> {
    if whole.text.is_empty() {
        return Some(whole.error("an empty schedule", FIVE_FIELDS));
    }
    let blank = whole.text.char_indices().find(|(_, c)| c.is_whitespace() && !c.is_ascii());
    if let Some((at, blank)) = blank {
        let rest = whole.text.get(at..).unwrap_or("");
        let text = rest.get(..blank.len_utf8()).unwrap_or(rest);
        let piece = Piece { text, start: whole.start.saturating_add(at) };
        return Some(
            piece.error("a blank that is none of the keyboard's", "write plain spaces between fields"),
        );
    }
    let first = pieces.first()?;
    if let Some((key, zone)) = first.text.split_once('=') {
        return Some(match key {
            "TZ" | "CRON_TZ" => first.error(
                format!("`{key}` is a key of its own here"),
                format!("write `timezone: {zone}` beside the schedule"),
            ),
            _ => first.error(format!("`{key}` is no field of a schedule"), "write it under `environment`"),
        });
    }
    if let Some(command) = pieces.get(5).filter(|piece| is_command(piece.text)) {
        return Some(command.error(
            format!("`{}` is no field of a schedule", command.text),
            "what to run is said by the key `command`",
        ));
    }
    let count = pieces.len();
    if (5..=6).contains(&count) {
        return None;
    }
    if count > 6 {
        let years = "a seventh field for years is not cron's";
        return Some(whole.error(format!("{count} fields"), format!("{FIVE_FIELDS}; {years}")));
    }
    let fields = if count == 1 { "field" } else { "fields" };
    Some(whole.error(format!("only {count} {fields}"), FIVE_FIELDS))
}

/// In a line of a crontab the command follows the five fields.
fn is_command(text: &str) -> bool {
    let is_path = text.starts_with(['/', '.', '~', '$', '[']);
    let is_word = text.len() > 3 && text.bytes().all(|byte| byte.is_ascii_lowercase());
    is_path || (is_word && !Field::DayOfWeek.names().iter().any(|name| text.starts_with(name)))
}

/// A sign or letter of another dialect.
pub(super) fn foreign(field: Field, member: Piece<'_>) -> Option<ScheduleError> {
    let upper = member.text.to_ascii_uppercase();
    let error = |message: String, help: &str| Some(member.error(message, help));
    if upper.contains('#') {
        return error(
            format!("{field} `{}`: `#` (the n-th in a month) is not cron's", member.text),
            "name the day of the week, and let the command look at the date: the first seven days hold the first",
        );
    }
    if upper.contains('?') {
        return error(format!("{field} `{}`: `?` is not cron's", member.text), "write `*`");
    }
    if upper.contains('~') || upper == "H" || upper.starts_with("H/") || upper.starts_with("H(") {
        return error(
            format!("{field} `{}`: a random place is not cron's", member.text),
            "name a time, and spread the jobs with `jitter`",
        );
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |text: &str| field.names().iter().any(|name| name.eq_ignore_ascii_case(text));
    if let Some(rest) = upper.strip_suffix('W').filter(|rest| digits(rest) || *rest == "L") {
        let day = if rest.is_empty() || rest == "L" { "a day" } else { rest };
        return error(
            format!("{field} `{}`: `W` (the nearest workday) is not cron's", member.text),
            &format!("name {day}, or run on `mon-fri` and let the command look at the date"),
        );
    }
    if upper.strip_suffix('L').is_some_and(|rest| digits(rest) || is_name(rest)) || upper.starts_with("L-") {
        return error(
            format!("{field} `{}`: `L` (the last) is not cron's", member.text),
            "run on days `28-31`, and let the command look whether tomorrow is the 1st",
        );
    }
    None
}

/// How to say "every 90 minutes", which no field can.
pub(super) fn instead_of_step(field: Field, step: &str) -> String {
    let every = |unit: &str| {
        format!("write one value, or `every: {step}{unit}` for a run each {step}{unit} of real time")
    };
    match field {
        Field::Second => every("s"),
        Field::Minute => every("m"),
        Field::Hour => every("h"),
        Field::DayOfMonth => every("d"),
        Field::Month | Field::DayOfWeek => "write one value".to_owned(),
    }
}
