//! The values of `output`: sizes, schemas, paths with placeholders, what must occur and what must hold.

use serde_json::{Map, Number, Value as Json, json};

use crate::unit::diagnostic::Diagnostic;
use crate::unit::expression::OverOutput;
use crate::unit::nearest::nearest;
use crate::unit::read::{At, FromYaml, Reader, mapping, whole};
use crate::unit::spec::output::{Content, Count, PLACEHOLDERS, Schema, Sought};
use crate::unit::spec::probe::Pattern;
use crate::unit::value::{Size, Word};
use crate::unit::yaml::{Entry, Node, Scalar, Style, Value};

/// Bytes that whoever judges can hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MostSize(pub(crate) u64);

impl FromYaml for MostSize {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Size(size) = Size::read(node, reader)?;
        if size > Content::MOST_BYTES {
            let message = "no more than 64M of output can be judged";
            reader.bad_value(node.place, message, "write at most `64M`, and judge a summary of it");
            return None;
        }
        Some(Self(size))
    }

    fn schema() -> Json {
        Size::schema()
    }
}

/// One, or a list of them.
#[derive(Clone, Debug)]
pub(crate) struct Several<T>(pub(crate) Vec<At<T>>);

impl<T: FromYaml> FromYaml for Several<T> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let one = |node: &Node<'_>, reader: &mut Reader| {
            Some(At { key: node.place, place: node.place, value: T::read(node, reader)? })
        };
        match &node.value {
            Value::List(items) if items.is_empty() => {
                let message = format!("`{}` lists nothing", reader.key());
                reader.bad_value(node.place, message, "add one, or remove the line");
                None
            }
            Value::List(items) => Some(Self(items.iter().filter_map(|item| one(item, reader)).collect())),
            Value::Scalar(_) | Value::Map(_) => Some(Self(vec![one(node, reader)?])),
        }
    }

    fn schema() -> Json {
        let one = T::schema();
        json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
    }
}

/// A schema, or where it is.
#[derive(Clone, Debug)]
pub(crate) struct SchemaFile(pub(crate) Schema);

impl FromYaml for SchemaFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Some(Self(Schema::Inline(json_of(node)))),
            Value::Scalar(_) => Word::read(node, reader).map(|path| Self(Schema::File(path.0))),
            Value::List(_) => {
                reader.mismatch(node, "a JSON Schema, or the name of its file", None);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}]})
    }
}

/// What stands here as JSON, by the core schema of YAML 1.2: only plain words are anything but texts.
fn json_of(node: &Node<'_>) -> Json {
    match &node.value {
        Value::Scalar(scalar) => json_of_scalar(node, scalar),
        Value::List(items) => items.iter().map(json_of).collect(),
        Value::Map(entries) => {
            let entry = |entry: &Entry<'_>| (entry.key.to_string(), json_of(&entry.value));
            Json::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
    }
}

fn json_of_scalar(node: &Node<'_>, scalar: &Scalar<'_>) -> Json {
    match (&*scalar.text, scalar.style) {
        _ if node.is_null() => Json::Null,
        ("true", Style::Plain) => Json::Bool(true),
        ("false", Style::Plain) => Json::Bool(false),
        (text, Style::Plain) => match serde_json::from_str::<Number>(text) {
            Ok(number) => Json::Number(number),
            Err(_not_a_number) => Json::String(text.to_owned()),
        },
        (text, Style::Quoted | Style::Block) => Json::String(text.to_owned()),
    }
}

/// A path with its placeholders known.
#[derive(Clone, Debug)]
pub(crate) struct FilePath(pub(crate) Box<str>);

impl FromYaml for FilePath {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Word(text) = Word::read(node, reader)?;
        let mut rest: &str = &text;
        while let Some((_, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            if !PLACEHOLDERS.contains(&name) {
                let help = match nearest(name, PLACEHOLDERS.iter().copied()) {
                    Some(near) => format!("did you mean `{{{near}}}`?"),
                    None => "known here: `{run.id}` and `{date}`".to_owned(),
                };
                reader.bad_value(node.place, format!("nothing is put in for `{{{name}}}`"), &help);
                return None;
            }
            rest = after;
        }
        if text.split('/').any(|part| part == "**") {
            let help = "write a `*` for each directory between";
            reader.bad_value(node.place, "`**` is not looked for at every depth", help);
            return None;
        }
        if text.ends_with('/') {
            reader.bad_value(
                node.place,
                "this is a directory, and a file is judged",
                "add `*` for all in it",
            );
            return None;
        }
        Some(Self(text))
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

mapping! {
    /// A text and how often it must occur.
    ContainsMap {
        /// The text, as it is.
        [required] text: Word;
        /// Default 1, or 0 where `at_most` is given.
        at_least: Times;
        /// Without it, as often as it likes.
        at_most: Times;
        /// What people are told where it is not so.
        otherwise: Word;
    }
}

mapping! {
    /// A regular expression and how often it must match.
    MatchesMap {
        /// The regular expression; `(?m)` lets `^` and `$` match at lines.
        [required] pattern: Pattern;
        /// Default 1, or 0 where `at_most` is given.
        at_least: Times;
        /// Without it, as often as it likes.
        at_most: Times;
        /// What people are told where it is not so.
        otherwise: Word;
    }
}

mapping! {
    /// An expression and what people are told where it does not hold.
    RequireMap {
        /// The CEL expression.
        [required] that: OverOutput;
        /// In the words of whoever is told.
        otherwise: Word;
    }
}

/// How often something must occur.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times(pub(crate) u64);

impl FromYaml for Times {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        whole(node, reader, 0, i64::MAX).and_then(|number| u64::try_from(number).ok()).map(Self)
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": 0})
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ContainsFile(pub(crate) Count);

impl FromYaml for ContainsFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            return Word::read(node, reader).map(|text| Self(once(Sought::Text(text.0))));
        };
        let ContainsMap { text, at_least, at_most, otherwise } = ContainsMap::read(node, reader)?;
        let what = Sought::Text(text?.value.0);
        count(what, at_least.as_ref(), at_most.as_ref(), otherwise, reader).map(Self)
    }

    fn schema() -> Json {
        json!({"anyOf": [Word::schema(), ContainsMap::schema()]})
    }
}

#[derive(Clone, Debug)]
pub(crate) struct MatchesFile(pub(crate) Count);

impl FromYaml for MatchesFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Value::Map(_) = &node.value else {
            return Pattern::read(node, reader).map(|pattern| Self(once(Sought::Pattern(pattern))));
        };
        let MatchesMap { pattern, at_least, at_most, otherwise } = MatchesMap::read(node, reader)?;
        let what = Sought::Pattern(pattern?.value);
        count(what, at_least.as_ref(), at_most.as_ref(), otherwise, reader).map(Self)
    }

    fn schema() -> Json {
        json!({"anyOf": [Pattern::schema(), MatchesMap::schema()]})
    }
}

fn once(what: Sought) -> Count {
    Count { what, at_least: 1, at_most: None, otherwise: None }
}

fn count(
    what: Sought,
    at_least: Option<&At<Times>>,
    at_most: Option<&At<Times>>,
    otherwise: Option<At<Word>>,
    reader: &mut Reader,
) -> Option<Count> {
    if let (Some(least), Some(most)) = (at_least, at_most)
        && least.value.0 > most.value.0
    {
        reader.report(
            Diagnostic::error("bad-value", least.place, "nothing occurs so often and so seldom as `at_most`")
                .related(most.place, "the most")
                .help("make `at_least` at most `at_most`"),
        );
        return None;
    }
    let usual = if at_most.is_some() { 0 } else { 1 };
    Some(Count {
        what,
        at_least: at_least.map_or(usual, |least| least.value.0),
        at_most: at_most.map(|most| most.value.0),
        otherwise: otherwise.map(|words| words.value.0),
    })
}

#[derive(Clone, Debug)]
pub(crate) struct RequireFile {
    pub(crate) that: OverOutput,
    pub(crate) otherwise: Option<Box<str>>,
}

impl FromYaml for RequireFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let RequireMap { that, otherwise } = RequireMap::read(node, reader)?;
                Some(Self { that: that?.value, otherwise: otherwise.map(|words| words.value.0) })
            }
            Value::Scalar(_) | Value::List(_) => {
                OverOutput::read(node, reader).map(|that| Self { that, otherwise: None })
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [OverOutput::schema(), RequireMap::schema()]})
    }
}
