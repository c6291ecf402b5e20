//! The words of an expression, looked at before the parser: it recurses by nesting, as does whoever
//! evaluates, so nesting is bounded here, and what people write by habit of other languages is told by
//! its own name.

use std::ops::Range;

use crate::unit::expression::Flaw;

/// Longer ones are programs, and belong into an `exec`.
pub(crate) const MOST_BYTES: usize = 2048;
/// As in commands.
pub(super) const OPEN_QUOTE: &str = "open-quote";
/// Brackets within brackets.
const DEEPEST: usize = 16;
/// What bounds the depth of a parsed expression beside its brackets; the point of a path is one.
const MOST_OPERATORS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word,
    Number,
    Text,
    Open(char),
    Close(char),
    Operator,
    /// They belong to an operator or a bracket that was counted.
    Separator,
}

/// Within its bounds, every bracket and quote closed, and made of what CEL is made of.
pub(super) fn check(text: &str) -> Result<(), Flaw> {
    if text.len() > MOST_BYTES {
        let message = format!("this expression is longer than {MOST_BYTES} bytes");
        return Err(flaw(
            0..text.len(),
            message,
            Some("a check of this size belongs into a program: `exec`"),
        ));
    }
    let mut open: Vec<(char, Range<usize>)> = Vec::new();
    let mut operators = 0_usize;
    let mut at = 0_usize;
    while let Some((range, token)) = next(text, at)? {
        at = range.end;
        let written = text.get(range.clone()).unwrap_or("");
        match token {
            Token::Open(bracket) => {
                open.push((bracket, range.clone()));
                if open.len() > DEEPEST {
                    return Err(flaw(
                        range,
                        format!("brackets are nested more than {DEEPEST} deep here"),
                        None,
                    ));
                }
            }
            Token::Close(bracket) => match open.pop() {
                Some((opened, _)) if closing(opened) == bracket => {}
                Some((opened, _)) => {
                    let help = format!("`{opened}` is open here, and `{}` closes it", closing(opened));
                    return Err(flaw(
                        range,
                        format!("`{bracket}` closes a bracket of another kind"),
                        Some(&help),
                    ));
                }
                None => {
                    return Err(flaw(
                        range,
                        format!("`{bracket}` closes a bracket that was never opened"),
                        None,
                    ));
                }
            },
            Token::Operator => {
                operators = operators.saturating_add(1);
                if operators > MOST_OPERATORS {
                    return Err(flaw(
                        range,
                        format!("this expression has more than {MOST_OPERATORS} operators"),
                        None,
                    ));
                }
            }
            Token::Word => {
                let habit = HABITS.iter().find(|(word, _)| *word == written);
                if let Some((word, own)) = habit {
                    return Err(flaw(
                        range,
                        format!("`{word}` is not a word of CEL"),
                        Some(&format!("write `{own}`")),
                    ));
                }
            }
            Token::Number | Token::Text | Token::Separator => {}
        }
    }
    match open.pop() {
        Some((bracket, range)) => Err(flaw(range, format!("`{bracket}` is never closed"), None)),
        None => Ok(()),
    }
}

/// The tokens of a text that was checked.
pub(crate) fn all(text: &str) -> Vec<(Range<usize>, Token)> {
    let mut tokens: Vec<(Range<usize>, Token)> = Vec::new();
    while let Ok(Some(found)) = next(text, tokens.last().map_or(0, |(range, _)| range.end)) {
        tokens.push(found);
    }
    tokens
}

/// What other languages write.
const HABITS: &[(&str, &str)] = &[
    ("and", "&&"),
    ("or", "||"),
    ("not", "!"),
    ("True", "true"),
    ("False", "false"),
    ("None", "null"),
    ("nil", "null"),
];

const PAIRS: &[&str] = &["&&", "||", "==", "!=", "<=", ">="];

/// The end of the token that starts at `start`, for showing it.
pub(super) fn token_end(text: &str, start: usize) -> usize {
    match next(text, start) {
        Ok(Some((range, _))) if range.start == start => range.end,
        Ok(_) | Err(_) => start,
    }
}

fn next(text: &str, from: usize) -> Result<Option<(Range<usize>, Token)>, Flaw> {
    let rest = text.get(from..).unwrap_or("");
    let start = from.saturating_add(rest.len().saturating_sub(rest.trim_start().len()));
    let rest = rest.trim_start();
    let Some(first) = rest.chars().next() else { return Ok(None) };
    let range = |length: usize| start..start.saturating_add(length);
    let one = range(first.len_utf8());
    if let Some(length) = text_length(rest, start)? {
        return Ok(Some((range(length), Token::Text)));
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if is_word(first) {
        let is_number = first.is_ascii_digit();
        let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let token = match rest.get(..length) {
            _ if is_number => Token::Number,
            Some("in") => Token::Operator,
            Some(_) | None => Token::Word,
        };
        return Ok(Some((range(length), token)));
    }
    if rest.starts_with("//") {
        return Err(flaw(
            range(2),
            "an expression has no comments".to_owned(),
            Some("write it above, behind `#`"),
        ));
    }
    if PAIRS.iter().any(|pair| rest.starts_with(pair)) {
        return Ok(Some((range(2), Token::Operator)));
    }
    match first {
        '(' | '[' | '{' => Ok(Some((one, Token::Open(first)))),
        ')' | ']' | '}' => Ok(Some((one, Token::Close(first)))),
        '.' | '<' | '>' | '+' | '-' | '*' | '/' | '%' | '!' | '?' => Ok(Some((one, Token::Operator))),
        ',' | ':' => Ok(Some((one, Token::Separator))),
        '=' => Err(flaw(one, "`=` compares nothing".to_owned(), Some("write `==`"))),
        '&' | '|' => {
            let help = format!("write `{first}{first}`");
            Err(flaw(one, format!("`{first}` alone is not an operator of CEL"), Some(&help)))
        }
        '$' => Err(flaw(one, "variables are not replaced in an expression".to_owned(), None)),
        _ => {
            let message = format!("`{}` cannot stand in an expression", first.escape_debug());
            Err(flaw(one, message, None))
        }
    }
}

/// How long the text literal is that `rest` begins with, if it does.
fn text_length(rest: &str, start: usize) -> Result<Option<usize>, Flaw> {
    let quote_at = rest.find(['\'', '"']).filter(|at| {
        let prefix = rest.get(..*at).unwrap_or("").to_ascii_lowercase();
        matches!(prefix.as_str(), "" | "r" | "b" | "br" | "rb")
    });
    let Some(at) = quote_at else { return Ok(None) };
    let is_raw = rest.get(..at).unwrap_or("").contains(['r', 'R']);
    let body = rest.get(at..).unwrap_or("");
    let single = body.get(..1).unwrap_or("");
    let triple = single.repeat(3);
    let quote = if body.starts_with(&triple) { triple.as_str() } else { single };
    let mut inner = quote.len();
    let mut escaped = false;
    for c in body.get(quote.len()..).unwrap_or("").chars() {
        let here = body.get(inner..).unwrap_or("");
        if !escaped && here.starts_with(quote) {
            return Ok(Some(at.saturating_add(inner).saturating_add(quote.len())));
        }
        if quote.len() == 1 && c == '\n' {
            break;
        }
        escaped = !is_raw && !escaped && c == '\\';
        inner = inner.saturating_add(c.len_utf8());
    }
    let range = start.saturating_add(at)..start.saturating_add(at).saturating_add(quote.len());
    Err(Flaw { code: OPEN_QUOTE, ..flaw(range, "this quote is never closed".to_owned(), None) })
}

fn closing(bracket: char) -> char {
    match bracket {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

fn flaw(range: Range<usize>, message: String, help: Option<&str>) -> Flaw {
    Flaw { range, code: "bad-expression", message, help: help.map(Into::into) }
}
