//! What stands behind the names of an expression, as far as that is known before it is asked: a field that is
//! never there would keep a gate shut for ever.

#![expect(clippy::wildcard_enum_match_arm, reason = "the library's own list, of which a few matter here")]

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

/// What a name, or a field, holds.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Whatever somebody else sends.
    Any,
    /// A text, a number, yes or no.
    Plain,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    Fields(&'static [(&'static str, Self)]),
    /// The same behind each key.
    Each(&'static Self),
}

impl Shape {
    /// Behind `.key`, or behind `['key']`. `None`: there is nothing of this name.
    pub(crate) fn at(&'static self, key: &str) -> Option<&'static Self> {
        match self {
            Self::Any => Some(self),
            Self::Plain | Self::OneOf(_) => None,
            Self::Fields(fields) => fields.iter().find(|(name, _)| *name == key).map(|(_, shape)| shape),
            Self::Each(shape) => Some(shape),
        }
    }

    /// Behind a key that only evaluating tells.
    pub(super) fn at_some(&'static self) -> &'static Self {
        match self {
            Self::Each(shape) => shape,
            Self::Any | Self::Plain | Self::OneOf(_) | Self::Fields(_) => &ANY,
        }
    }

    /// The texts that it can be, where these are known.
    pub(crate) fn words(&self) -> &'static [&'static str] {
        match self {
            Self::OneOf(words) => words,
            Self::Any | Self::Plain | Self::Fields(_) | Self::Each(_) => &[],
        }
    }

    pub(crate) fn field_names(&self) -> Vec<&'static str> {
        match self {
            Self::Fields(fields) => fields.iter().map(|(name, _)| *name).collect(),
            Self::Any | Self::Plain | Self::OneOf(_) | Self::Each(_) => Vec::new(),
        }
    }
}

pub(super) const ANY: Shape = Shape::Any;

/// The states of units as `status` names them.
const STATES: &[&str] =
    &["inactive", "waiting", "starting", "ready", "unhealthy", "stopping", "backoff", "failed", "completed"];
/// States of a unit that was never started.
const AT_REST: &[&str] = &["inactive", "waiting"];

/// What a gate hears of a unit.
pub(crate) const UNIT: Shape = Shape::Fields(&[
    ("state", Shape::OneOf(STATES)),
    ("ready", Shape::Plain),
    ("health", Shape::OneOf(&["unknown", "passing", "failing"])),
    ("restarts", Shape::Plain),
    ("since", Shape::Plain),
    ("seconds", Shape::Plain),
]);

pub(crate) const GUARD: Shape = Shape::Fields(&[
    ("level", Shape::OneOf(&["normal", "warn", "critical", "emergency"])),
    ("cpu", Shape::Plain),
    ("memory", Shape::Plain),
]);

/// What an output's expressions hear of a file that was found.
pub(crate) const FILE: Shape = Shape::Fields(&[
    ("path", Shape::Plain),
    ("name", Shape::Plain),
    ("size", Shape::Plain),
    ("modified", Shape::Plain),
    ("age", Shape::Plain),
]);

pub(crate) const NOW: Shape = Shape::Fields(&[
    ("unix", Shape::Plain),
    ("date", Shape::Plain),
    ("time", Shape::Plain),
    (
        "weekday",
        Shape::OneOf(&["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]),
    ),
]);

pub(crate) const HOST: Shape = Shape::Fields(&[
    ("cpu", Shape::Plain),
    ("memory", Shape::Plain),
    ("load1", Shape::Plain),
    ("load5", Shape::Plain),
    ("load15", Shape::Plain),
    ("pressure", PRESSURE),
]);

pub(crate) const PRESSURE: Shape =
    Shape::Fields(&[("cpu", Shape::Plain), ("memory", Shape::Plain), ("io", Shape::Plain)]);

/// What `disk("/path")` gives.
pub(crate) const DISK: Shape =
    Shape::Fields(&[("used", Shape::Plain), ("free", Shape::Plain), ("total", Shape::Plain)]);

/// Units without whose start the expression cannot hold: a part of its conjunction is false of a unit that
/// was never started.
pub(super) fn needs(expression: &Expr) -> BTreeSet<&str> {
    let both = |call: &'_ CallExpr| call.args.len() == 2;
    match expression {
        Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
            call.args.iter().flat_map(|part| needs(&part.expr)).collect()
        }
        Expr::Call(call) if call.func_name == operators::LOGICAL_OR && both(call) => {
            let mut parts = call.args.iter().map(|part| needs(&part.expr));
            let first = parts.next().unwrap_or_default();
            parts.fold(first, |found, other| found.intersection(&other).copied().collect())
        }
        Expr::Call(call) => compared(call).into_iter().collect(),
        Expr::Select(_) => match unit_field(expression) {
            Some((unit, "ready")) => BTreeSet::from([unit]),
            Some(_) | None => BTreeSet::new(),
        },
        _ => BTreeSet::new(),
    }
}

/// The unit of which this comparison asks what only a start brings about.
fn compared(call: &CallExpr) -> Option<&str> {
    let [one, two] = call.args.as_slice() else { return None };
    let fields = [(&one.expr, &two.expr), (&two.expr, &one.expr)];
    let (unit, field, other) = fields
        .into_iter()
        .find_map(|(side, other)| unit_field(side).map(|(unit, field)| (unit, field, other)))?;
    let is_left = unit_field(&one.expr).is_some();
    let number = number(other);
    let is_only_after_a_start = match (call.func_name.as_str(), field) {
        (operators::EQUALS, "ready") => *other == Expr::Literal(LiteralValue::Boolean(true.into())),
        (operators::EQUALS, "state") => text(other).is_some_and(|state| !AT_REST.contains(&state)),
        (operators::EQUALS, "health") => text(other).is_some(),
        (operators::EQUALS, "restarts") => number.is_some_and(|number| number >= 1),
        (operators::GREATER, "restarts") => is_left && number.is_some_and(|number| number >= 0),
        (operators::GREATER_EQUALS, "restarts") => is_left && number.is_some_and(|number| number >= 1),
        (operators::IN, "state") => match other {
            Expr::List(list) => list
                .elements
                .iter()
                .all(|element| text(&element.expr).is_some_and(|state| !AT_REST.contains(&state))),
            _ => false,
        },
        (_, _) => false,
    };
    is_only_after_a_start.then_some(unit)
}

/// `units.NAME.FIELD`, in either way of writing it.
fn unit_field(expression: &Expr) -> Option<(&str, &str)> {
    let (of, field) = member(expression)?;
    let (units, unit) = member(&of.expr)?;
    is_units(&units.expr).then_some((unit, field))
}

/// `of.NAME` or `of['NAME']`.
fn member(expression: &Expr) -> Option<(&IdedExpr, &str)> {
    match expression {
        Expr::Select(SelectExpr { operand, field, test: false }) => Some((operand, field)),
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [of, key] => Some((of, text(&key.expr)?)),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn is_units(expression: &Expr) -> bool {
    matches!(expression, Expr::Ident(name) if name == "units")
}

pub(super) fn text(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn number(expression: &Expr) -> Option<i64> {
    match expression {
        Expr::Literal(LiteralValue::Int(number)) => Some(*number.inner()),
        _ => None,
    }
}
