//! What is missing, by name and number, from what was found: a list too short, an item that is not as all must
//! be, a field that nobody wrote.

#![expect(clippy::wildcard_enum_match_arm, reason = "the library's own lists, of which a few matter here")]

use cel::common::ast::{Expr, IdedExpr};
use cel::objects::Key;
use cel::{ExecutionError, Value};

use crate::expr::functions::{fall, twin};
use crate::expr::parts::{
    bare, called, comparison, condition_at, denied, given_to, is_literal, one_line, pointer, sized,
};
use crate::expr::program::{Ground, NoValue, Program, Trouble, walk};
use crate::expr::words::{self, path, path_to, short};

/// Why an expression does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortfall {
    /// The part of the conjunction that does not.
    pub(crate) part: String,
    /// What was found, and what was wanted instead. Empty where the part says it all.
    pub(crate) found: String,
    /// What it is about, as a JSON pointer into `output`.
    pub(crate) path: Option<String>,
}

/// It works through more than it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Runaway;

/// What is missing from `ground` for `program` to hold; `None` when it holds.
///
/// # Errors
/// When it was given up.
pub(crate) fn shortfall(program: &Program, ground: &Ground) -> Result<Option<Shortfall>, Runaway> {
    let Err(trouble) = program.weigh(ground) else { return Ok(None) };
    let (text, (found, path)) = match &trouble {
        Trouble::Runaway => return Err(Runaway),
        Trouble::False { text } => (text, of_false(bare(text), ground)),
        Trouble::NoValue { text, part, why } => (text, of_no_value(bare(text), part, why, ground)),
    };
    if ground.is_spent() {
        return Err(Runaway);
    }
    Ok(Some(Shortfall { part: one_line(text), found, path }))
}

/// What was found, and its pointer.
type Said = (String, Option<String>);

fn of_no_value(part: &str, expression: &IdedExpr, why: &NoValue, ground: &Ground) -> Said {
    let words = why.in_words(expression);
    if let Some((of, "all" | "exists" | "exists_one", arguments)) = called(part)
        && let Some(said) = of_item(of, arguments, ground, &Value::Null)
    {
        return said;
    }
    match why {
        NoValue::Error(ExecutionError::NoSuchKey(key)) => (words, pointer(&path_to(key, expression))),
        NoValue::Error(_) | NoValue::Other(_) => of_mistake(expression, words, ground),
    }
}

/// What was found where `part` is false.
fn of_false(part: &str, ground: &Ground) -> Said {
    if let Some((left, operator, right)) = sides(part) {
        return of_comparison(left, operator, right, ground);
    }
    if let Some(inner) = denied(part) {
        let inner = bare(inner);
        return (described(inner, ground), pointer(inner));
    }
    if let Some(path) = given_to(part, "has") {
        return (format!("{} is missing", one_line(path)), pointer(path));
    }
    if let Some(list) = given_to(part, "rising") {
        return (of_fall(list, ground).unwrap_or_default(), pointer(list));
    }
    if let Some(list) = given_to(part, "distinct") {
        return (of_twin(list, ground).unwrap_or_default(), pointer(list));
    }
    match called(part) {
        Some((of, "all", arguments)) => {
            of_item(of, arguments, ground, &Value::Bool(false)).unwrap_or_default()
        }
        Some((of, "exists" | "exists_one", _)) => {
            let count = ground.value(&format!("size({of})"));
            let found = count.map(|count| format!("none of {} in {}", short(&count), one_line(of)));
            (found.unwrap_or_default(), pointer(of))
        }
        Some((of, "contains" | "startsWith" | "endsWith" | "matches", _)) => {
            (described(of, ground), pointer(of))
        }
        _ => (described(part, ground), pointer(part)),
    }
}

fn of_fall(list: &str, ground: &Ground) -> Option<String> {
    let Some(Value::List(items)) = ground.value(list) else { return None };
    let [before, after] = fall(&items).ok()??;
    Some(format!("{} comes after {}", compact(after), compact(before)))
}

fn of_twin(list: &str, ground: &Ground) -> Option<String> {
    let Some(Value::List(items)) = ground.value(list) else { return None };
    Some(format!("{} stands there twice", compact(twin(&items).ok()??)))
}

/// Left side, operator, right side.
fn sides(part: &str) -> Option<(&str, &str, &str)> {
    let (left, right) = comparison(part)?;
    let between = part.get(left.len()..part.len().checked_sub(right.len())?)?;
    Some((left, between.trim(), right))
}

fn of_comparison(left: &str, operator: &str, right: &str, ground: &Ground) -> Said {
    if operator == "in" {
        return of_membership(left, right, ground);
    }
    let (subject, wanted) = match (is_literal(left), is_literal(right)) {
        (false, true) => (left, Some((operator, right))),
        (true, false) => (right, Some((mirrored(operator), left))),
        (false, false) | (true, true) => (left, None),
    };
    let found = match wanted {
        Some((operator, literal)) => {
            format!("{}, wanted {operator} {}", described(subject, ground), one_line(literal))
        }
        None => format!("{}, {}", described(left, ground), described(right, ground)),
    };
    (found, pointer(sized(bare(subject)).unwrap_or(subject)))
}

fn of_membership(left: &str, right: &str, ground: &Ground) -> Said {
    if is_literal(right) {
        return (format!("{}, wanted one of {}", described(left, ground), one_line(right)), pointer(left));
    }
    let what = if is_literal(left) { one_line(left) } else { described(left, ground) };
    let right = bare(right);
    let holds = match ground.value(right) {
        Some(Value::Map(map)) => {
            let mut keys: Vec<String> = map.map.keys().map(ToString::to_string).collect();
            keys.sort();
            format!("{} has {}", one_line(right), listed(&keys))
        }
        Some(Value::List(items)) => {
            format!("{} has {}", one_line(right), listed(&items.iter().map(compact).collect::<Vec<_>>()))
        }
        _ => described(right, ground),
    };
    (format!("{what} is not in it: {holds}"), pointer(right))
}

/// The first item for which the condition gives `answer`, and what of it is not as it must be.
fn of_item(of: &str, arguments: &str, ground: &Ground, answer: &Value) -> Option<Said> {
    let failing = first_failing(of, arguments, ground, answer)?;
    let condition = condition_at(arguments, &failing.subject)?;
    let program = Program::compile(&condition).ok();
    // As deep as macros stand in each other.
    let of_condition = program.and_then(|program| shortfall(&program, ground).ok().flatten());
    if let Some(short) = of_condition.filter(|short| !short.found.is_empty()) {
        return Some((short.found, short.path.or_else(|| pointer(&failing.place))));
    }
    Some((format!("{} is {}", one_line(&failing.place), compact(&failing.item)), pointer(&failing.place)))
}

/// Types that do not fit, with the values that it was about.
fn of_mistake(part: &IdedExpr, words: String, ground: &Ground) -> Said {
    let mut paths: Vec<String> = Vec::new();
    let mut stranger = None;
    walk(part, &mut |expression| {
        let Some(path) = path(expression) else { return };
        if let Expr::Select(select) = &expression.expr
            && let Some(of) = words::path(&select.operand)
            && let Some(value) = ground.value(&of).filter(|value| !matches!(value, Value::Map(_)))
        {
            stranger.get_or_insert_with(|| {
                (format!("{of} is {}, and has no {}", short(&value), select.field), of)
            });
        }
        // The longest path says what the shorter ones would.
        let is_longer =
            |known: &String| known.strip_prefix(&path).is_some_and(|rest| !rest.starts_with(is_of_word));
        if !paths.iter().any(is_longer) {
            paths.push(path);
        }
    });
    if let Some((found, of)) = stranger {
        return (found, pointer(&of));
    }
    let found: Vec<String> = paths
        .iter()
        .map(|path| described(path, ground))
        .filter(|found| !found.is_empty())
        .take(MOST_DESCRIBED)
        .collect();
    let place = paths.iter().find_map(|path| pointer(path));
    if found.is_empty() { (words, place) } else { (format!("{}: {words}", found.join(", ")), place) }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// An item of a list or map that is not as it must be.
struct Failing {
    /// What the condition is about: the item of a list, the key of a map.
    subject: String,
    /// Where the item is.
    place: String,
    item: Value,
}

/// `Null` as `answer` stands for no value at all.
fn first_failing(of: &str, arguments: &str, ground: &Ground, answer: &Value) -> Option<Failing> {
    let of = bare(of);
    let candidates: Vec<Failing> = match ground.value(of)? {
        Value::List(items) => {
            let failing = |(at, item): (usize, &Value)| {
                let place = format!("{of}[{at}]");
                let subject = if is_literal(of) { compact(item) } else { place.clone() };
                Failing { subject, place, item: item.clone() }
            };
            items.iter().enumerate().take(MOST_LOOKED_AT).map(failing).collect()
        }
        Value::Map(map) => {
            let failing = |(key, item): (&Key, &Value)| match key {
                Key::String(name) => {
                    let subject = format!("{name:?}");
                    Some(Failing { place: format!("{of}[{subject}]"), subject, item: item.clone() })
                }
                Key::Int(_) | Key::Uint(_) | Key::Bool(_) => None,
            };
            let mut candidates: Vec<_> = map.map.iter().filter_map(failing).take(MOST_LOOKED_AT).collect();
            candidates.sort_by(|one, two| one.place.cmp(&two.place));
            candidates
        }
        _ => return None,
    };
    candidates.into_iter().take_while(|_| !ground.is_spent()).find(|candidate| {
        let said = ground.value(&format!("[{}].all({arguments})", candidate.subject));
        said.unwrap_or(Value::Null) == *answer
    })
}

/// `2 trends`, `output has 2 items`, `output.price is 0`. Empty where it has no value.
fn described(text: &str, ground: &Ground) -> String {
    let text = bare(text);
    let Some(value) = ground.value(text) else { return String::new() };
    match (sized(text), &value) {
        (Some(of), Value::Int(count)) => counted(of, *count, ground),
        _ => format!("{} is {}", one_line(text), compact(&value)),
    }
}

fn counted(of: &str, count: i64, ground: &Ground) -> String {
    if let Some(Value::String(_)) = ground.value(of) {
        let noun = if count == 1 { "character" } else { "characters" };
        return format!("{} has {count} {noun}", one_line(of));
    }
    let last = of.rsplit('.').next().unwrap_or(of);
    let is_noun = last.ends_with('s') && last.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match (is_noun, count) {
        (true, 1) => format!("1 in {last}"),
        (true, count) => format!("{count} {last}"),
        (false, 1) => format!("{} has 1 item", one_line(of)),
        (false, count) => format!("{} has {count} items", one_line(of)),
    }
}

fn mirrored(operator: &str) -> &str {
    match operator {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        same => same,
    }
}

fn listed(words: &[String]) -> String {
    let shown = words.iter().take(MOST_LISTED).cloned().collect::<Vec<_>>().join(", ");
    match (words.len(), words.len().saturating_sub(MOST_LISTED)) {
        (0, _) => "nothing".to_owned(),
        (_, 0) => shown,
        (_, more) => format!("{shown} and {more} more"),
    }
}

/// As JSON where that is short, else what it is.
fn compact(value: &Value) -> String {
    let is_small = match value {
        Value::List(items) => items.len() <= MOST_LISTED,
        Value::Map(map) => map.map.len() <= MOST_LISTED,
        _ => return short(value),
    };
    let json = if is_small { value.json().ok().map(|json| json.to_string()) } else { None };
    json.filter(|json| json.len() <= LONGEST_JSON).unwrap_or_else(|| short(value))
}

/// Items that are asked one by one. Each costs another reading of the condition.
const MOST_LOOKED_AT: usize = 2_000;
const MOST_LISTED: usize = 8;
/// Values that a sentence can hold.
const MOST_DESCRIBED: usize = 4;
const LONGEST_JSON: usize = 100;
