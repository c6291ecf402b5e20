//! What an expression found, for people.

#![expect(clippy::wildcard_enum_match_arm, reason = "the library's own lists, of which a few matter here")]

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use cel::{ExecutionError, Value};

use crate::expr::parts::{bare, comparison, denied, is_literal, one_line, sized};
use crate::expr::program::walk;

/// The values that a false part was about. `value` gives that of a piece of its text.
pub(crate) fn found(part: &str, value: impl Fn(&str) -> Option<Value>) -> String {
    let part = bare(part);
    if let Some((left, right)) = comparison(part) {
        let sides = [left, right].into_iter().filter(|side| !is_literal(side));
        let words: Vec<String> = sides.filter_map(|side| describe(side, value(side)?)).collect();
        return words.join(", ");
    }
    if let Some(inner) = denied(part) {
        return value(inner).and_then(|value| describe(inner, value)).unwrap_or_default();
    }
    String::new()
}

/// `json.models has 0 items`, `status is 503`.
fn describe(text: &str, value: Value) -> Option<String> {
    let text = bare(text);
    match (sized(text), value) {
        (Some(of), Value::Int(1)) => Some(format!("{} has 1 item", one_line(of))),
        (Some(of), Value::Int(count)) => Some(format!("{} has {count} items", one_line(of))),
        (_, value) => Some(format!("{} is {}", one_line(text), short(&value))),
    }
}

/// A value in at most `LONGEST` characters.
pub(crate) fn short(value: &Value) -> String {
    match value {
        Value::List(items) => format!("a list of {}", items.len()),
        Value::Map(map) => format!("a map of {}", map.map.len()),
        Value::String(text) => {
            let quoted: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
            if text.chars().nth(LONGEST).is_some() {
                format!("\"{quoted}...\"")
            } else {
                format!("\"{quoted}\"")
            }
        }
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null => "null".to_owned(),
        Value::Function(..) | Value::Opaque(_) | Value::Struct(_) => format!("a {}", value.type_of()),
    }
}

/// Why there is no value, with the path that it is about where that can be told.
pub(crate) fn in_words(error: &ExecutionError, part: &IdedExpr) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("{} is missing", path_to(key, part)),
        ExecutionError::UndeclaredReference(name) => format!("nothing is called {name}"),
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(" and ");
            format!("{} does not work on {types}", operator(overload.function()))
        }
        ExecutionError::ValuesNotComparable(one, other) => {
            format!("{} cannot be compared with {}", short(one), short(other))
        }
        ExecutionError::UnsupportedBinaryOperator(name, one, other) => {
            format!("{} does not work on {} and {}", operator(name), one.type_of(), other.type_of())
        }
        ExecutionError::IndexOutOfBounds(at) => format!("there is no item {}", short(at)),
        ExecutionError::UnsupportedIndex(at, _) => format!("there is no item {}", short(at)),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "division by zero".to_owned()
        }
        ExecutionError::Overflow(..) => "a number is too large".to_owned(),
        ExecutionError::UnexpectedType { got, want } => format!("{got} where {want} is needed"),
        ExecutionError::FunctionError { function, message } => clipped(&format!("{function}: {message}")),
        ExecutionError::NotSupportedAsMethod { method, target } => {
            format!("{method} does not work on {}", target.type_of())
        }
        ExecutionError::UnsupportedTargetType { target } => format!("not for {}", target.type_of()),
        // The library's list is open; its own words may hold whole values.
        other => clipped(&other.to_string()),
    }
}

/// `_>_` as it is written.
fn operator(name: &str) -> &str {
    match name {
        operators::INDEX => "[]",
        operators::IN => "in",
        "add" => "+",
        "sub" => "-",
        "mul" => "*",
        "div" => "/",
        "rem" => "%",
        _ => name.trim_matches('_'),
    }
}

fn clipped(text: &str) -> String {
    one_line(text).chars().take(LONGEST * 2).collect()
}

/// The first path in `part` that ends in `key`.
pub(crate) fn path_to(key: &str, part: &IdedExpr) -> String {
    let mut found = None;
    walk(part, &mut |expression| {
        let ends_here = match &expression.expr {
            Expr::Select(select) => select.field == key,
            Expr::Call(call) if call.func_name == operators::INDEX => {
                matches!(call.args.get(1).map(|index| &index.expr),
                    Some(Expr::Literal(LiteralValue::String(text))) if text.inner() == key)
            }
            _ => false,
        };
        if ends_here && found.is_none() {
            found = path(expression);
        }
    });
    found.unwrap_or_else(|| format!("the field {key}"))
}

/// A path as it is written, where that is all that `expression` is.
pub(crate) fn path(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", path(&select.operand)?, select.field)),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [of, index] = &*call.args else { return None };
            let index = match &index.expr {
                Expr::Literal(LiteralValue::String(text)) => format!("{:?}", text.inner()),
                Expr::Literal(LiteralValue::Int(number)) => number.inner().to_string(),
                _ => return None,
            };
            Some(format!("{}[{index}]", path(of)?))
        }
        _ => None,
    }
}

/// Characters of a value that a sentence can hold.
const LONGEST: usize = 60;
