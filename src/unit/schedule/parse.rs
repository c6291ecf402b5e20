//! From text to fields, with a place for everything that is wrong.

use std::fmt;
use std::ops::Range;

use crate::unit::nearest::nearest;
use crate::unit::schedule::dialect;
use crate::unit::schedule::field::{Field, Values};
use crate::unit::schedule::fields::{Fields, Stars};

/// One thing that is wrong with a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleError {
    /// The field that it is in; `None` where the whole is meant.
    pub field: Option<Field>,
    /// The bytes of the text that are wrong.
    pub at: Range<usize>,
    /// "minute `75` is too large"
    pub message: String,
    /// What is expected there, or what to write instead.
    pub help: String,
}

impl fmt::Display for ScheduleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.help)
    }
}

/// Longer texts are refused unread: all values of all fields, one by one, take 500 bytes.
const LONGEST_BYTES: usize = 1000;

/// Words for whole schedules.
const NAMED: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// # Errors
/// With everything that is wrong, from left to right; never empty.
pub(super) fn parse(text: &str) -> Result<Fields, Vec<ScheduleError>> {
    let whole = Piece::whole(text);
    if text.len() > LONGEST_BYTES {
        return Err(vec![whole.error(
            format!("a schedule of {} bytes", text.len()),
            "write ranges and steps instead of lists",
        )]);
    }
    if whole.text.starts_with('@') {
        return match NAMED.iter().find(|(name, _)| *name == whole.text) {
            Some((_, meaning)) => parse(meaning),
            None => Err(vec![unknown_name(whole)]),
        };
    }
    let pieces: Vec<Piece<'_>> = whole.words().collect();
    match dialect::misfit(whole, &pieces) {
        Some(error) => Err(vec![error]),
        None => read_fields(whole, &pieces),
    }
}

fn unknown_name(whole: Piece<'_>) -> ScheduleError {
    let name = whole.words().next().unwrap_or(whole);
    if let Some(interval) = whole.text.strip_prefix("@every") {
        let interval = interval.trim();
        let interval = if interval.is_empty() { "5m" } else { interval };
        return whole.error("`@every` is a key of its own here", format!("write `every: {interval}`"));
    }
    if name.text == "@reboot" {
        return name.error("`@reboot` is a key of its own here", "write `on_boot: true`");
    }
    let names = || NAMED.iter().map(|(name, _)| *name);
    let help = match nearest(&name.text.to_ascii_lowercase(), names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are `{}`", names().collect::<Vec<_>>().join("`, `")),
    };
    name.error(format!("`{}` is no schedule", name.text), help)
}

fn read_fields(whole: Piece<'_>, pieces: &[Piece<'_>]) -> Result<Fields, Vec<ScheduleError>> {
    let [before @ .., minute, hour, day, month, weekday] = pieces else {
        // `misfit` counted them.
        return Err(vec![whole.error("fewer than five fields", dialect::FIVE_FIELDS)]);
    };
    let mut errors = Vec::new();
    let mut read = |field: Field, piece: &Piece<'_>| values(field, *piece, &mut errors);
    let seconds = match before.first() {
        Some(piece) => read(Field::Second, piece),
        None => Field::Second.smallest(),
    };
    let stars = Stars {
        minute: minute.begins_with_star(),
        hour: hour.begins_with_star(),
        day: day.begins_with_star(),
        weekday: weekday.begins_with_star(),
    };
    let fields = Fields {
        seconds,
        minutes: read(Field::Minute, minute),
        hours: read(Field::Hour, hour),
        days: read(Field::DayOfMonth, day),
        months: read(Field::Month, month),
        weekdays: read(Field::DayOfWeek, weekday),
        day_rule: stars.day_rule(),
        pace: stars.pace(),
    };
    if let (true, Some(first)) = (errors.is_empty(), fields.impossible_day()) {
        let place = Piece { text: whole.between(*day, *month), start: day.start };
        errors.push(
            place
                .error(
                    format!("this never runs: none of the months has a day {first}"),
                    "February has at most 29 days; April, June, September and November have 30",
                )
                .of(Field::DayOfMonth),
        );
    }
    if errors.is_empty() { Ok(fields) } else { Err(errors) }
}

/// Of a whole field: a list of members.
fn values(field: Field, piece: Piece<'_>, errors: &mut Vec<ScheduleError>) -> Values {
    let mut all = Values::default();
    let mut has_empty = false;
    for member in piece.split(&[',']) {
        if member.text.is_empty() {
            if !has_empty {
                errors.push(empty_place(field, piece, member).of(field));
            }
            has_empty = true;
            continue;
        }
        match member_values(field, member) {
            Ok(values) => all = all.with(values),
            Err(error) => errors.push(error.of(field)),
        }
    }
    all
}

fn empty_place(field: Field, piece: Piece<'_>, member: Piece<'_>) -> ScheduleError {
    // Nothing cannot be pointed at; the comma beside it can.
    let start = member.start.saturating_sub(usize::from(member.start > piece.start));
    ScheduleError {
        field: None,
        at: start..start.saturating_add(1),
        message: format!("{field} has an empty place in its list"),
        help: "remove the comma, or write the value that is missing".into(),
    }
}

/// Of one member: `*`, `3`, `mon`, `1-5`, `fri-mon`, and the last four of these with `/2`.
fn member_values(field: Field, member: Piece<'_>) -> Result<Values, ScheduleError> {
    if let Some(error) = dialect::foreign(field, member) {
        return Err(error);
    }
    let (range, step) = match member.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (member, None),
    };
    let (first, length) = if range.text == "*" {
        let (smallest, largest) = field.bounds();
        (smallest, largest.saturating_sub(smallest))
    } else if let Some((first, last)) = range.split_once('-') {
        let end = |end| value(field, end).map_err(|error| error.or_at(range));
        span(field, end(first)?, end(last)?)
    } else {
        let only = value(field, range).map_err(|error| error.or_at(member))?;
        if let Some(step) = step {
            let largest = field.bounds().1.max(only);
            return Err(member.error(
                format!("{field} has a step, `/{}`, without a range", step.text),
                format!("write `{only}-{largest}/{}`, or `{only}`", step.text),
            ));
        }
        span(field, only, only)
    };
    let step = match step {
        Some(step) => step_width(field, member, step, length)?,
        None => 1,
    };
    let (smallest, largest) = field.bounds();
    let size = largest.saturating_sub(smallest).saturating_add(1);
    let values = (0..=length).step_by(usize::from(step)).filter_map(|after_first| {
        let place = first.saturating_sub(smallest).saturating_add(after_first).checked_rem(size)?;
        smallest.checked_add(place)
    });
    Ok(values.collect())
}

/// The first value of a range and how many follow it; past the largest value it goes on at the smallest.
fn span(field: Field, first: u8, last: u8) -> (u8, u8) {
    let (smallest, largest) = field.bounds();
    if last >= first {
        return (first, last.saturating_sub(first));
    }
    // A range from Sunday, written 7, begins at 0.
    let first = if first > largest { smallest } else { first };
    let size = largest.saturating_sub(smallest).saturating_add(1);
    let length = if last >= first {
        last.saturating_sub(first)
    } else {
        size.saturating_sub(first).saturating_add(last)
    };
    (first, length)
}

fn value(field: Field, piece: Piece<'_>) -> Result<u8, ScheduleError> {
    let (smallest, _) = field.bounds();
    let largest = field.largest_written();
    if let Some(at) = field.names().iter().position(|name| name.eq_ignore_ascii_case(piece.text)) {
        return Ok(u8::try_from(at).unwrap_or(u8::MAX).saturating_add(smallest));
    }
    if piece.text.is_empty() {
        return Err(
            piece.error(format!("{field} has a range or step with one end missing"), field.expected())
        );
    }
    if !piece.text.bytes().all(|byte| byte.is_ascii_digit()) {
        let lower = piece.text.to_ascii_lowercase();
        let meant = field.names().iter().find(|name| lower.starts_with(**name)).copied();
        let help = match meant.or_else(|| nearest(&lower, field.names().iter().copied())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => field.expected().to_owned(),
        };
        return Err(piece.error(format!("{field} cannot be `{}`", piece.text), help));
    }
    // Too many digits for the type are too large as well.
    let number = piece.text.parse::<u8>().unwrap_or(u8::MAX);
    if number > largest {
        return Err(piece.error(format!("{field} `{}` is too large", piece.text), field.expected()));
    }
    if number < smallest {
        return Err(piece.error(format!("{field} `{}` is too small", piece.text), field.expected()));
    }
    Ok(number)
}

/// A step must leave two values at least: `*/90` in minutes is not "every 90 minutes".
fn step_width(field: Field, member: Piece<'_>, step: Piece<'_>, length: u8) -> Result<u8, ScheduleError> {
    let is_number = !step.text.is_empty() && step.text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(step
            .error(format!("{field} has a step that is no number"), "a step is written `*/5` or `10-50/5`")
            .or_at(member));
    }
    let width = step.text.parse::<u8>().unwrap_or(u8::MAX);
    if width == 0 {
        return Err(step.error(format!("{field} has a step of 0"), "the smallest step is 1"));
    }
    if width > 1 && width > length {
        return Err(step.error(
            format!("{field} has a step of {}, which leaves only the first value", step.text),
            dialect::instead_of_step(field, step.text),
        ));
    }
    Ok(width)
}

/// A part of the text of a schedule that knows where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'t> {
    pub(super) text: &'t str,
    pub(super) start: usize,
}

impl<'t> Piece<'t> {
    /// Without the blanks around it.
    fn whole(text: &'t str) -> Self {
        let trimmed = text.trim_start();
        Self { text: trimmed.trim_end(), start: text.len().saturating_sub(trimmed.len()) }
    }

    fn words(self) -> impl Iterator<Item = Self> {
        self.split(&[' ', '\t', '\n', '\r']).filter(|word| !word.text.is_empty())
    }

    /// At characters that take one byte each.
    fn split(self, at: &[char]) -> impl Iterator<Item = Self> {
        let mut next = self.start;
        self.text.split(at).map(move |text| {
            let piece = Self { text, start: next };
            next = next.saturating_add(text.len()).saturating_add(1);
            piece
        })
    }

    fn split_once(self, at: char) -> Option<(Self, Self)> {
        let (before, after) = self.text.split_once(at)?;
        let start = self.end().saturating_sub(after.len());
        Some((Self { text: before, start: self.start }, Self { text: after, start }))
    }

    /// The text from the start of one piece to the end of another, both in this one.
    fn between(self, one: Self, other: Self) -> &'t str {
        let from = one.start.saturating_sub(self.start);
        let to = other.end().saturating_sub(self.start);
        self.text.get(from..to).unwrap_or(one.text)
    }

    fn begins_with_star(self) -> bool {
        self.text.starts_with('*')
    }

    fn end(self) -> usize {
        self.start.saturating_add(self.text.len())
    }

    pub(super) fn error(self, message: impl Into<String>, help: impl Into<String>) -> ScheduleError {
        ScheduleError { field: None, at: self.start..self.end(), message: message.into(), help: help.into() }
    }
}

impl ScheduleError {
    fn of(self, field: Field) -> Self {
        Self { field: Some(field), ..self }
    }

    /// There, when it has no byte of its own to point at.
    fn or_at(self, piece: Piece<'_>) -> Self {
        if self.at.is_empty() { Self { at: piece.start..piece.end(), ..self } } else { self }
    }
}
