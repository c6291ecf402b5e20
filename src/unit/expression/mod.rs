//! CEL expressions: bounded before they are parsed, and every name in them known, so that none
//! fails for the first time when it is needed.
//!
//! ```text
//! text -> tokens (bounds, brackets, quotes) -> cel (grammar) -> names (who is meant, yes or no)
//! ```

pub(crate) mod tokens;
mod names;
pub(crate) mod shape;

use std::collections::BTreeSet;
use std::ops::Range;

use cel::common::ast::IdedExpr;
use cel::parser::PrattParser;
use serde_json::{Value as Json, json};

use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::expression::shape::Shape;
use crate::unit::read::{FromYaml, Reader};
use crate::unit::spec::probe::Expression;
use crate::unit::value::Word;
use crate::unit::words::inside;
use crate::unit::yaml::{Node, Style, Value};

/// What an expression may speak of.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) names: &'static [(&'static str, Shape)],
    /// Functions besides those of CEL.
    pub(crate) functions: &'static [&'static str],
}

impl Vocabulary {
    /// What is behind a name; behind one that is not its own, anything.
    fn shape(&self, name: &str) -> &'static Shape {
        self.names.iter().find(|(known, _)| *known == name).map_or(&shape::ANY, |(_, shape)| shape)
    }
}

/// The answer of an HTTP server.
const ANSWER: Vocabulary = Vocabulary {
    names: &[("status", Shape::Plain), ("headers", Shape::Any), ("body", Shape::Plain), ("json", Shape::Any)],
    functions: &[],
};
/// What mcsup knows by itself.
const MACHINE: Vocabulary = Vocabulary {
    names: &[("units", Shape::Each(&shape::UNIT)), ("guard", shape::GUARD), ("host", shape::HOST)],
    functions: &["disk"],
};
/// What a run left behind, and what mcsup knows besides.
const OUTPUT: Vocabulary = Vocabulary {
    names: &[
        ("output", Shape::Any),
        ("text", Shape::Plain),
        ("lines", Shape::Any),
        ("exit", Shape::Plain),
        ("duration", Shape::Plain),
        ("files", Shape::Each(&shape::FILE)),
        ("previous", Shape::Any),
        ("units", Shape::Each(&shape::UNIT)),
        ("guard", shape::GUARD),
        ("now", shape::NOW),
    ],
    functions: &["day", "seconds", "distinct", "rising"],
};

/// What is wrong with an expression, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Bytes of the text.
    pub(crate) range: Range<usize>,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

/// What an expression is known to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Units that it speaks of by name, with their bytes.
    pub(crate) units: Vec<(Box<str>, Range<usize>)>,
    /// Those of them that must have been started for it to hold.
    pub(crate) needs: BTreeSet<Box<str>>,
}

/// `that` of an HTTP probe.
#[derive(Clone, Debug)]
pub(crate) struct That(pub(crate) Expression);

/// `check` of a gate.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) expression: Expression,
    /// Units that it speaks of.
    pub(crate) units: Vec<NamedUnit>,
}

#[derive(Clone, Debug)]
pub(crate) struct NamedUnit {
    pub(crate) name: Box<str>,
    pub(crate) place: Place,
    /// The expression cannot hold before this unit was started.
    pub(crate) is_needed: bool,
}

/// An expression over the output of a run.
#[derive(Clone, Debug)]
pub(crate) struct OverOutput {
    pub(crate) expression: Expression,
    /// Units that it speaks of.
    pub(crate) units: Vec<NamedUnit>,
}

impl FromYaml for OverOutput {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        read(node, &OUTPUT, reader).map(|(expression, units)| Self { expression, units })
    }

    fn schema() -> Json {
        schema()
    }
}

impl FromYaml for That {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        read(node, &ANSWER, reader).map(|(expression, _)| Self(expression))
    }

    fn schema() -> Json {
        schema()
    }
}

impl FromYaml for Check {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        read(node, &MACHINE, reader).map(|(expression, units)| Self { expression, units })
    }

    fn schema() -> Json {
        schema()
    }
}

fn schema() -> Json {
    json!({"type": ["string", "boolean"], "minLength": 1, "maxLength": tokens::MOST_BYTES})
}

/// The expression with the places of the units that it names.
fn read(
    node: &Node<'_>,
    vocabulary: &Vocabulary,
    reader: &mut Reader,
) -> Option<(Expression, Vec<NamedUnit>)> {
    let Value::Scalar(scalar) = &node.value else {
        reader.mismatch(
            node,
            "an expression such as `a == 1 && b`",
            Some("quote it: brackets and `: ` begin lists and mappings"),
        );
        return None;
    };
    let Word(text) = Word::read(node, reader)?;
    match examine(&text, vocabulary) {
        Ok(known) => {
            let units = known.units.into_iter().map(|(name, range)| {
                let is_needed = known.needs.contains(&name);
                NamedUnit { name, place: inside(node, scalar, range), is_needed }
            });
            let units = units.collect();
            Some((Expression(text), units))
        }
        Err(flaw) => {
            let ends_early = flaw.help.is_none()
                && (flaw.code == tokens::OPEN_QUOTE || flaw.range.end >= text.trim_end().len());
            let message = match scalar.style {
                // Its lines are indented in the file, so that only their number is known.
                Style::Block => {
                    format!("{}, in line {} of it", flaw.message, line_of(&text, flaw.range.start))
                }
                Style::Plain | Style::Quoted => flaw.message,
            };
            let mut diagnostic = Diagnostic::error(flaw.code, inside(node, scalar, flaw.range), message);
            diagnostic.help = flaw.help;
            if scalar.style == Style::Plain && ends_early {
                diagnostic.help = Some(
                    "if ` #` follows in this line, YAML has cut the rest off as a comment: quote the whole value"
                        .into(),
                );
            }
            reader.report(diagnostic);
            None
        }
    }
}

/// The line of a byte, from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or("").matches('\n').count().saturating_add(1)
}

/// What `text` speaks of, where it is within its bounds, is CEL, and answers yes or no.
///
/// # Errors
/// With the first mistake.
pub(crate) fn examine(text: &str, vocabulary: &Vocabulary) -> Result<Known, Flaw> {
    names::check(text, &parse(text)?, vocabulary)
}

/// What `text` means, where it is within its bounds and is CEL. The only door to the parser, so that what
/// is read when a unit is loaded is read when it is asked.
///
/// # Errors
/// With the first mistake.
pub(crate) fn parse(text: &str) -> Result<IdedExpr, Flaw> {
    tokens::check(text)?;
    // The other parser of the crate needs megabytes of stack for what is allowed here.
    PrattParser::new().parse(text).map_err(|errors| unreadable(text, &errors))
}

/// What the parser stumbled over first, in fewer words than its own.
fn unreadable(text: &str, errors: &cel::ParseErrors) -> Flaw {
    let first = errors.errors.first();
    let (line, column) = first.map_or((1, 1), |error| error.pos);
    let start = offset(text, line, column);
    let end = tokens::token_end(text, start);
    let words = first.map_or("", |error| error.msg.as_str());
    let found = text.get(start..end).unwrap_or("").trim();
    let message = if found.is_empty() {
        "this expression is not complete: something is missing at its end".to_owned()
    } else if words.is_empty() || words.starts_with("Syntax error") || words.starts_with("unexpected") {
        format!("`{found}` cannot stand here in an expression")
    } else {
        format!("cannot read this expression: {}", words.lines().next().unwrap_or(""))
    };
    Flaw { range: start..end, code: "bad-expression", message, help: None }
}

/// Lines and columns of the parser count from 1, columns in bytes.
fn offset(text: &str, line: isize, column: isize) -> usize {
    let before = usize::try_from(line.saturating_sub(1)).unwrap_or(0);
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let bytes = usize::try_from(column.saturating_sub(1)).unwrap_or(0);
    let mut at = start.saturating_add(bytes).min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(text: &str) -> Result<Vec<String>, (String, Range<usize>)> {
        examine(text, &MACHINE)
            .map(|known| known.units.into_iter().map(|(name, _)| name.to_string()).collect())
            .map_err(|flaw| (flaw.message, flaw.range))
    }

    fn part(text: &str) -> &str {
        gate(text).map_err(|(_, range)| &text[range]).expect_err("a mistake")
    }

    #[test]
    fn what_a_gate_may_ask_is_taken() {
        for text in [
            "guard.level == 'normal'",
            "units.redis.state == \"ready\" && host.memory < 90.0",
            "units['a-b'].state in ['ready', 'completed'] && 'normal' == guard.level",
            "disk('/').free > 1000 || !(host.load1 in [1, 2])",
            "units.exists(u, units[u].state == 'failed') ? false : true",
            "has(host.pressure) && size(units) > 3",
            "true",
            "type(host.cpu) == double && r'\\d' != 'd' && '''it's''' != \"\"",
            "[1, 2].all(x, x > 0) && {'a': 1}.a == 1",
        ] {
            assert!(gate(text).is_ok(), "{text}: {:?}", gate(text));
        }
        assert_eq!(
            gate("units.a.state == units['b-c'].state && units.a.restarts == 1").unwrap(),
            ["a", "b-c", "a"]
        );
    }

    #[test]
    fn a_mistake_is_shown_where_it_stands() {
        assert_eq!(part("gaurd.level == 'normal'"), "gaurd");
        assert_eq!(part("guard.level = 'normal'"), "=");
        assert_eq!(part("host.cpu > 3 and true"), "and");
        assert_eq!(part("host.cpu > 'x"), "'");
        assert_eq!(part("(host.cpu > 3"), "(");
        assert_eq!(part("host.cpu > 3)"), ")");
        assert_eq!(part("(host.cpu > 3]"), "]");
        assert_eq!(part("host.cpu > > 3"), ">");
        assert_eq!(part("'ä' == 'ä' && ä"), "ä");
        assert_eq!(part("'ä' == 'ä' && host.cpu > > 1"), ">");
        assert_eq!(part("'ä' == 'ä' && nope"), "nope");
        assert_eq!(part("host.cpu >"), "");
        assert_eq!(part("dsik('/') > 1"), "dsik");
        assert_eq!(part("host.name.startWith('a')"), "startWith");
        assert_eq!(part("1 + 2"), "1 + 2");
        assert_eq!(part("'yes'"), "'yes'");
        assert_eq!(part("host.name.matches('a(')"), "'a('");
    }

    #[test]
    fn a_field_is_shown_where_it_stands_and_known_words_are_the_only_ones() {
        assert_eq!(part("units.stat.ready && units.stat.stat == 'ready'"), "stat");
        assert_eq!(gate("units.stat.ready && units.stat.stat == 1").unwrap_err().1, 31..35);
        assert_eq!(part("units['a'].redy"), "redy");
        assert_eq!(part("units.a['redy']"), "'redy'");
        assert_eq!(part("disk('/').fre > 1"), "fre");
        assert_eq!(part("guard.level.name == 'x'"), "name");
        assert_eq!(part("units.a.state != 'redy'"), "'redy'");
        assert_eq!(part("units.exists(u, units[u].stat == 'failed')"), "stat");
        assert_eq!(part("has(guard.leve)"), "leve");
        for text in ["json.a.b == 1 && headers.x == 'y'", "json['a'].b && status == 200"] {
            assert!(examine(text, &ANSWER).is_ok(), "{text}");
        }
        assert_eq!(examine("status.code == 200", &ANSWER).unwrap_err().range, 7..11);
    }

    #[test]
    fn what_only_a_start_brings_about_is_needed() {
        let needs = |text: &str| {
            let known = examine(text, &MACHINE).expect(text);
            known.needs.into_iter().collect::<Vec<_>>().join(" ")
        };
        for (text, needed) in [
            ("units.a.ready && (units.b.state == 'ready' && true)", "a b"),
            ("units.a.ready || units.b.ready", ""),
            ("units.a.ready || (units.b.ready && units['a'].restarts > 0)", "a"),
            ("units.a.state in ['ready', 'completed']", "a"),
            ("units.a.state in ['ready', 'waiting']", ""),
            ("'passing' == units.a.health", "a"),
            ("units.a.health == null || units.a.restarts < 3", ""),
            ("0 > units.a.restarts || units.a.restarts >= 1", ""),
            ("units.a.ready == true && units.b.ready == false", "a"),
            ("!units.a.ready && units.b.state != 'failed'", ""),
            ("has(units.a.ready) && units.b.state == 'inactive'", ""),
            ("units.a.ready ? units.b.ready : true", ""),
        ] {
            assert_eq!(needs(text), needed, "{text}");
        }
    }

    #[test]
    fn an_expression_is_bounded_before_it_is_parsed() {
        let wide = "1 == 1 && ".repeat(40);
        for text in [
            "(".repeat(17),
            "[".repeat(2000),
            wide,
            format!("{}true", "!".repeat(70)),
            "a".repeat(2100),
            format!("1{}", " in [1]".repeat(70)),
        ] {
            let (message, _) = gate(&text).unwrap_err();
            assert!(message.contains("more than") || message.contains("longer"), "{message}");
        }
    }

    #[test]
    fn the_largest_expression_that_is_allowed_fits_the_stack() {
        let deep = format!("{}true{}", "(".repeat(16), ")".repeat(16));
        let chain = format!("json{} == 1", ".a".repeat(62));
        let nots = format!("{}true", "!".repeat(64));
        let negative = format!("1 == {}1", "-".repeat(62));
        let questions = format!("{}true", "true ? false : ".repeat(60));
        let lists = format!("{}1{} == []", "[1, ".repeat(16), "]".repeat(16));
        let calls = format!("{}1{} == 1", "int(".repeat(16), ")".repeat(16));
        let mixed = format!("{}json.a.b.c.d == 1 && !true{}", "(1 < 2 && ".repeat(16), ")".repeat(16));
        for text in [deep, chain, nots, negative, questions, lists, calls, mixed] {
            assert!(examine(&text, &ANSWER).is_ok(), "{text}: {:?}", examine(&text, &ANSWER));
        }
    }
}
