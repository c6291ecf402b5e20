//! Commands and texts with variables in them.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Value as Json, json};

use crate::unit::diagnostic::{Diagnostic, Place, saturated};
use crate::unit::read::{At, FromYaml, Reader};
use crate::unit::spec::{Piece, Template};
use crate::unit::value::Text;
use crate::unit::yaml::{Node, Scalar, Style, Value, shorten};

/// Program and arguments. A text is split as a shell splits words; no shell ever runs.
#[derive(Clone, Debug)]
pub(crate) struct Command(pub(crate) Vec<At<Template>>);

impl FromYaml for Command {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let words: Vec<(Place, Box<str>)> = match &node.value {
            Value::List(items) => items
                .iter()
                .map(|item| Text::read(item, reader).map(|text| (item.place, text.0)))
                .collect::<Option<_>>()?,
            Value::Scalar(scalar) if !node.is_null() => split_text(node, scalar, reader)?,
            Value::Scalar(_) | Value::Map(_) => {
                reader.mismatch(node, "a list of words, or one text", None);
                return None;
            }
        };
        if words.first().is_none_or(|(_, program)| program.is_empty()) {
            let message = format!("`{}` names no program", reader.key());
            reader.bad_value(node.place, message, "the first word is the program to run");
            return None;
        }
        let script = script_index(&words);
        let mut command = Vec::with_capacity(words.len());
        for (at, (place, text)) in words.into_iter().enumerate() {
            let value =
                if Some(at) == script { Template::Plain(text) } else { template(text, place, reader)? };
            command.push(At { key: place, place, value });
        }
        Some(Self(command))
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": Text::schema(), "minItems": 1},
        ]})
    }
}

/// The words of a command without their places.
pub(crate) fn plain_words(words: &[At<Template>]) -> Vec<Template> {
    words.iter().map(|word| word.value.clone()).collect()
}

/// One text with variables in it.
impl FromYaml for Template {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Text(text) = Text::read(node, reader)?;
        if text.is_empty() {
            let message = format!("`{}` must not be empty", reader.key());
            reader.bad_value(node.place, message, "give it a value, or remove the line");
            return None;
        }
        template(text, node.place, reader)
    }

    fn schema() -> Json {
        Text::schema()
    }
}

/// Which word is the script of `sh -c`: it is the shell's, and stays as written.
fn script_index(words: &[(Place, Box<str>)]) -> Option<usize> {
    let (_, program) = words.first()?;
    let name = program.rsplit('/').next().unwrap_or(program);
    if !SHELLS.contains(&name) {
        return None;
    }
    let is_flag = |word: &str| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    words.iter().position(|(_, word)| is_flag(word)).map(|at| at.saturating_add(1))
}

const SHELLS: &[&str] = &["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish"];

fn split_text(node: &Node<'_>, scalar: &Scalar<'_>, reader: &mut Reader) -> Option<Vec<(Place, Box<str>)>> {
    match split(&scalar.text) {
        Ok(words) => Some(
            words
                .into_iter()
                .map(|(range, word)| (inside(node, scalar, range), word.into_boxed_str()))
                .collect(),
        ),
        Err(trouble) => {
            reader.report(trouble.explain(node, scalar));
            None
        }
    }
}

/// The place of a part of a scalar's text, where the text stands in the file as it is.
pub(crate) fn inside(node: &Node<'_>, scalar: &Scalar<'_>, range: Range<usize>) -> Place {
    let written = node.place.end.saturating_sub(node.place.start);
    let quotes = match scalar.style {
        Style::Plain => 0,
        Style::Quoted => 1,
        Style::Block => return node.place,
    };
    if written != saturated(scalar.text.len()).saturating_add(quotes * 2) {
        return node.place;
    }
    let at = |offset: usize| node.place.start.saturating_add(quotes).saturating_add(saturated(offset));
    Place { start: at(range.start), end: at(range.end), ..node.place }
}

/// Why a text cannot be split into words without a shell.
#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Operator(Range<usize>),
    Quote(Range<usize>),
    Backslash(Range<usize>),
}

impl Trouble {
    fn explain(self, node: &Node<'_>, scalar: &Scalar<'_>) -> Diagnostic {
        match self {
            Self::Operator(range) => {
                let operator = scalar.text.get(range.clone()).unwrap_or_default();
                let message = format!("`{operator}` is for a shell, and no shell reads this command");
                let script = shorten(&scalar.text).replace('\\', "\\\\").replace('"', "\\\"");
                Diagnostic::error("shell-operator", inside(node, scalar, range), message)
                    .help(format!("write [sh, -c, \"{script}\"], or quote it if it is part of an argument"))
            }
            Self::Quote(range) => {
                let help = match scalar.style {
                    Style::Plain => {
                        "if ` #` follows in this line, YAML has cut the rest off as a comment: quote the whole value"
                    }
                    Style::Quoted | Style::Block => "close it, or write the command as a list",
                };
                Diagnostic::error("open-quote", inside(node, scalar, range), "this quote is never closed")
                    .help(help)
            }
            Self::Backslash(range) => {
                Diagnostic::error("open-quote", inside(node, scalar, range), "nothing follows this backslash")
            }
        }
    }
}

/// Splits as POSIX shells do: blanks between words, both kinds of quotes, backslash.
fn split(text: &str) -> Result<Vec<(Range<usize>, String)>, Trouble> {
    let mut words = Vec::new();
    let mut word: Option<(usize, String)> = None;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take().map(|(start, word)| (start..at, word))),
            '\'' | '"' => {
                let (_, word) = word.get_or_insert_with(|| (at, String::new()));
                quoted(c, &mut chars, word).ok_or_else(|| Trouble::Quote(at..at.saturating_add(1)))?;
            }
            '\\' => match chars.next() {
                None => return Err(Trouble::Backslash(at..at.saturating_add(1))),
                Some((_, '\n')) => {}
                Some((_, escaped)) => word.get_or_insert_with(|| (at, String::new())).1.push(escaped),
            },
            '|' | '&' | ';' | '>' | '<' | '`' => {
                let doubled = next == Some(c) && c != '`';
                let length = if doubled { 2 } else { 1 };
                return Err(Trouble::Operator(at..at.saturating_add(length)));
            }
            '$' if next == Some('(') => return Err(Trouble::Operator(at..at.saturating_add(2))),
            '$' if next == Some('{') => {
                // A variable with its default is one piece, blanks included.
                let (_, word) = word.get_or_insert_with(|| (at, String::new()));
                word.push('$');
                for (_, c) in chars.by_ref() {
                    word.push(c);
                    if c == '}' {
                        break;
                    }
                }
            }
            _ => word.get_or_insert_with(|| (at, String::new())).1.push(c),
        }
    }
    words.extend(word.map(|(start, word)| (start..text.len(), word)));
    Ok(words)
}

/// Takes what is inside a quote that was just opened; `None` when it never closes.
fn quoted(
    quote: char,
    chars: &mut std::iter::Peekable<std::str::CharIndices<'_>>,
    word: &mut String,
) -> Option<()> {
    loop {
        match chars.next()?.1 {
            c if c == quote => return Some(()),
            '\\' if quote == '"' => match chars.next()?.1 {
                '\n' => {}
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

/// Finds `${NAME}` and `${NAME:-default}`; any other `$` is only itself.
pub(crate) fn template(text: Box<str>, place: Place, reader: &mut Reader) -> Option<Template> {
    if !text.contains("${") {
        return Some(Template::Plain(text));
    }
    let mut pieces = Vec::new();
    let mut rest: &str = &text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if !before.is_empty() {
            pieces.push(Piece::Text(before.into()));
        }
        let Some(end) = from.find('}') else {
            let diagnostic = Diagnostic::error("bad-variable", place, "`${` is never closed by `}`")
                .help("write `${NAME}` or `${NAME:-default}`; a script with its own `${` belongs behind [sh, -c, ...]");
            reader.report(diagnostic);
            return None;
        };
        let (reference, after) = from.split_at(end.saturating_add(1));
        let inner = reference.get(2..end).unwrap_or_default();
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default.into())),
            None => (inner, None),
        };
        if !is_variable_name(name) {
            let message = format!("`{}` is not a variable", shorten(reference));
            let diagnostic = Diagnostic::error("bad-variable", place, message).help(
                "only `${NAME}` and `${NAME:-default}` are replaced; names are letters, digits and `_`",
            );
            reader.report(diagnostic);
            return None;
        }
        pieces.push(Piece::Variable { name: name.into(), default });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.into()));
    }
    Some(Template::Pieces(pieces))
}

pub(crate) fn is_variable_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

/// Variables of the processes of a unit, in the order written: later ones may use earlier ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(pub(crate) Vec<(Box<str>, At<Template>)>);

impl FromYaml for Environment {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        if let Value::List(_) = node.value {
            reader.mismatch(node, "a mapping", Some("write `NAME: value` lines instead of `- NAME=value`"));
            return None;
        }
        let mut variables = Vec::new();
        for entry in reader.entries(node, "a mapping of names to values")? {
            if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
                let message = format!("`{}` cannot name a variable", shorten(&entry.key));
                reader.bad_value(entry.key_place, message, "use letters, digits and `_`");
                continue;
            }
            let Some(text) = At::<Text>::entry(entry, reader) else { continue };
            if let Some(value) = template(text.value.0, text.place, reader) {
                variables.push((entry.key.as_ref().into(), At { key: text.key, place: text.place, value }));
            }
        }
        Some(Self(variables))
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": Text::schema()})
    }

    fn over(self, below: Self) -> Self {
        let own: BTreeSet<&str> = self.0.iter().map(|(name, _)| &**name).collect();
        let mut variables = below.0;
        variables.retain(|(name, _)| !own.contains(&**name));
        variables.extend(self.0);
        Self(variables)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).unwrap().into_iter().map(|(_, word)| word).collect()
    }

    #[test]
    fn a_text_splits_as_a_shell_splits_words() {
        assert_eq!(words("a  b\tc"), ["a", "b", "c"]);
        assert_eq!(words(r#"--save "" 'x y' a\ b"#), ["--save", "", "x y", "a b"]);
        assert_eq!(words(r#"a"b c"'d'e"#), ["ab cde"]);
        assert_eq!(words(r#""\$HOME \n \"""#), [r#"$HOME \n ""#]);
        assert_eq!(words("echo ${A:-x y} $B"), ["echo", "${A:-x y}", "$B"]);
        assert_eq!(words(""), [""; 0]);
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused_where_it_stands() {
        for (text, range) in [
            ("a | b", 2..3),
            ("a && b", 2..4),
            ("a;b", 1..2),
            ("a > b", 2..3),
            ("a >> b", 2..4),
            ("a $(b)", 2..4),
            ("`a`", 0..1),
        ] {
            assert_eq!(split(text), Err(Trouble::Operator(range)), "{text}");
        }
        assert_eq!(words(r#"a "|" '&&' \;"#), ["a", "|", "&&", ";"]);
    }

    #[test]
    fn a_quote_left_open_is_shown() {
        assert_eq!(split("a 'b"), Err(Trouble::Quote(2..3)));
        assert_eq!(split("a \\"), Err(Trouble::Backslash(2..3)));
    }

    #[test]
    fn only_braced_names_are_variables() {
        let mut reader = Reader::default();
        let mut read = |text: &str| template(text.into(), Place::default(), &mut reader);
        assert_eq!(read("$HOME costs 5$"), Some(Template::Plain("$HOME costs 5$".into())));
        let variable = |name: &str, default: Option<&str>| Piece::Variable {
            name: name.into(),
            default: default.map(Into::into),
        };
        assert_eq!(
            read("a${B}c${D:-e f}"),
            Some(Template::Pieces(vec![
                Piece::Text("a".into()),
                variable("B", None),
                Piece::Text("c".into()),
                variable("D", Some("e f")),
            ]))
        );
        assert_eq!(read("${B"), None);
        assert_eq!(read("${1}"), None);
        assert_eq!(read("${B:?gone}"), None);
    }
}
