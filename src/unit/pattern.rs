//! Regular expressions, sound before anything runs by them.

use regex::RegexBuilder;
use serde_json::{Value as Json, json};

use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::read::{FromYaml, Reader};
use crate::unit::spec::probe::Pattern;
use crate::unit::value::Word;
use crate::unit::words::inside;
use crate::unit::yaml::{Node, Scalar, Value};

/// Bytes that a compiled pattern may take; `\w{1000}` would take megabytes and minutes.
pub(crate) const LARGEST_PROGRAM_BYTES: usize = 1 << 20;

impl FromYaml for Pattern {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        if let Value::List(_) | Value::Map(_) = &node.value {
            reader.mismatch(
                node,
                "a regular expression",
                Some("quote it: brackets begin lists and mappings"),
            );
            return None;
        }
        let Word(text) = Word::read(node, reader)?;
        match flaw(&text) {
            None => Some(Self(text)),
            Some(flaw) => {
                let place = match &node.value {
                    Value::Scalar(scalar) => flaw.place(node, scalar),
                    Value::List(_) | Value::Map(_) => node.place,
                };
                reader.report(
                    Diagnostic::error(
                        "bad-pattern",
                        place,
                        format!("not a regular expression: {}", flaw.message),
                    )
                    .help(
                        "the syntax is that of Rust's regex; in YAML single quotes keep a backslash as it is",
                    ),
                );
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": ["string", "number"], "minLength": 1})
    }
}

/// What is wrong with a pattern, and at which character where that is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) message: String,
    character: Option<usize>,
}

impl Flaw {
    fn place(&self, node: &Node<'_>, scalar: &Scalar<'_>) -> Place {
        let Some(character) = self.character else { return node.place };
        let mut starts = scalar.text.char_indices().map(|(at, c)| at..at.saturating_add(c.len_utf8()));
        let end = scalar.text.len();
        inside(node, scalar, starts.nth(character).unwrap_or(end..end))
    }
}

pub(crate) fn flaw(text: &str) -> Option<Flaw> {
    let error = RegexBuilder::new(text).size_limit(LARGEST_PROGRAM_BYTES).build().err()?;
    if matches!(error, regex::Error::CompiledTooBig(_)) {
        return Some(Flaw { message: "it would take more than 1 MiB".into(), character: None });
    }
    // The error is a drawing: the pattern behind four blanks, carets below it, and the words.
    let drawing = error.to_string();
    let message = drawing.rsplit("error: ").next().unwrap_or("").trim().replace('\n', " ");
    let carets = drawing.lines().find(|line| line.contains('^') && line.trim_matches(['^', ' ']).is_empty());
    let character = carets
        .filter(|_| !text.contains('\n'))
        .and_then(|line| line.chars().position(|c| c == '^'))
        .and_then(|column| column.checked_sub(4));
    Some(Flaw { message, character })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_pattern_is_shown_where_it_goes_wrong() {
        let at = |text: &str| flaw(text).map(|flaw| (flaw.message, flaw.character));
        assert_eq!(at("^ready to accept$"), None);
        assert_eq!(at("ä(b"), Some(("unclosed group".into(), Some(1))));
        assert_eq!(at("a**").map(|(_, character)| character), Some(None).filter(|_| flaw("a**").is_some()));
        assert_eq!(
            at("[z-a]"),
            Some(("invalid character class range, the start must be <= the end".into(), Some(1)))
        );
        assert!(flaw(r"\w{1000}{1000}").is_some_and(|flaw| flaw.message.contains("1 MiB")));
    }
}
