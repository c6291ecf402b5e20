//! From tree to types, and from the same types to JSON Schema: what a key takes is said once.
//! Reading never stops at a mistake; it notes it and goes on without the value.

use serde_json::{Map, Value as Json, json};

use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::nearest::nearest;
use crate::unit::yaml::{Entry, Node, Scalar, Style, Value, shorten};

/// A type that can stand in a file of the units directory.
pub(crate) trait FromYaml: Sized {
    /// `None`: the reader was told why not.
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self>;

    fn schema() -> Json;

    /// What holds where both say something: `self`, except that mappings mix key by key.
    fn over(self, below: Self) -> Self {
        drop(below);
        self
    }
}

/// A value with its place and the place of its key (the same for items of a list).
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) key: Place,
    pub(crate) place: Place,
    pub(crate) value: T,
}

impl<T: FromYaml> At<T> {
    pub(crate) fn entry(entry: &Entry<'_>, reader: &mut Reader) -> Option<Self> {
        let outer = std::mem::replace(&mut reader.key, entry.key.as_ref().into());
        let value = T::read(&entry.value, reader);
        reader.key = outer;
        Some(Self { key: entry.key_place, place: entry.value.place, value: value? })
    }

    fn item(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        Some(Self { key: node.place, place: node.place, value: T::read(node, reader)? })
    }

    /// The same key in two files: the upper one's, mixed with the lower one's.
    pub(crate) fn merge(upper: Option<Self>, below: Option<Self>) -> Option<Self> {
        match (upper, below) {
            (Some(upper), Some(below)) => Some(Self { value: upper.value.over(below.value), ..upper }),
            (upper, below) => upper.or(below),
        }
    }
}

/// Collects what is wrong while values are read.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// The key whose value is being read, for messages.
    key: Box<str>,
}

impl Reader {
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// The key whose value is being read.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Says that `node` is not what the key takes; `expected` is a noun with its article.
    pub(crate) fn mismatch(&mut self, node: &Node<'_>, expected: &str, help: Option<&str>) {
        let found = node.describe();
        let message = match &*self.key {
            "" => format!("expected {expected}, found {found}"),
            key => format!("`{key}` takes {expected}, found {found}"),
        };
        let mut diagnostic = Diagnostic::error("wrong-type", node.place, message);
        diagnostic.help = match help {
            Some(help) => Some(help.into()),
            None if node.is_null() => Some("give it a value, or remove the line".into()),
            None => None,
        };
        self.diagnostics.push(diagnostic);
    }

    /// Says what is wrong with a value that has the right type.
    pub(crate) fn bad_value(&mut self, place: Place, message: impl Into<String>, help: &str) {
        self.diagnostics.push(Diagnostic::error("bad-value", place, message).help(help));
    }

    pub(crate) fn scalar<'n, 's>(&mut self, node: &'n Node<'s>, expected: &str) -> Option<&'n Scalar<'s>> {
        match &node.value {
            Value::Scalar(scalar) if !node.is_null() => Some(scalar),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                self.mismatch(node, expected, None);
                None
            }
        }
    }

    pub(crate) fn entries<'n, 's>(&mut self, node: &'n Node<'s>, expected: &str) -> Option<&'n [Entry<'s>]> {
        match &node.value {
            Value::Map(entries) => Some(entries),
            Value::Scalar(_) | Value::List(_) => {
                self.mismatch(node, expected, None);
                None
            }
        }
    }

    /// Answers which known key was probably meant.
    pub(crate) fn unknown_key(&mut self, entry: &Entry<'_>, known: &[&'static str]) -> Option<&'static str> {
        let key = shorten(&entry.key);
        if LATER.contains(&&*entry.key) {
            let message = format!("`{key}` is not in this version of mcsup");
            self.report(
                Diagnostic::error("not-yet", entry.key_place, message)
                    .help("remove it until a later version brings it"),
            );
            return None;
        }
        let synonym = SYNONYMS.iter().find(|(other, own)| *other == entry.key && known.contains(own));
        let (help, meant) = match (synonym, self.nearest(&entry.key, known.iter().copied())) {
            (Some((_, own)), _) => (format!("here it is called `{own}`"), Some(*own)),
            (None, Some(own)) => (format!("did you mean `{own}`?"), Some(own)),
            (None, None) => (format!("known keys: {}", known.join(", ")), None),
        };
        self.report(
            Diagnostic::error("unknown-key", entry.key_place, format!("unknown key `{key}`")).help(help),
        );
        meant
    }

    /// Suggestions cost the square of a word's length; who made this many mistakes needs none.
    fn nearest<'a>(&self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        if self.diagnostics.len() < ENOUGH_SUGGESTIONS { nearest(word, candidates) } else { None }
    }

    /// `entries` is the mapping at `place`.
    pub(crate) fn missing_key(&mut self, place: Place, entries: &[Entry<'_>], key: &str) {
        // A mapping over many lines is shown by its first key.
        let is_block = entries.first().is_some_and(|first| first.key_place.start == place.start);
        let place = entries.first().filter(|_| is_block).map_or(place, |first| first.key_place);
        let of = if self.key.is_empty() { String::new() } else { format!(" in `{}`", self.key) };
        self.report(Diagnostic::error("missing-key", place, format!("`{key}` is missing{of}")));
    }

    /// One word of a list.
    pub(crate) fn word<T: Clone>(&mut self, node: &Node<'_>, words: &[(&'static str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of `{}`", names.join("`, `"));
        let text = &self.scalar(node, &expected)?.text;
        let found = words.iter().find(|(name, _)| *name == text.as_ref()).map(|(_, value)| value.clone());
        if found.is_none() {
            if LATER_WORDS.contains(&&**text) {
                let message = format!("`{}: {text}` is not in this version of mcsup", self.key);
                self.report(
                    Diagnostic::error("not-yet", node.place, message).help(format!("for now: {expected}")),
                );
            } else {
                let help = self.nearest(text, names).map(|name| format!("did you mean `{name}`?"));
                self.mismatch(node, &expected, help.as_deref());
            }
        }
        found
    }
}

pub(crate) const ENOUGH_SUGGESTIONS: usize = 200;

/// Keys of the whole language that this version does not have.
const LATER: &[&str] = &["control"];
const LATER_WORDS: &[&str] = &[];

/// What other supervisors call a key of ours.
const SYNONYMS: &[(&str, &str)] = &[
    ("ExecStart", "command"),
    ("args", "command"),
    ("autorestart", "restart"),
    ("backoffLimit", "retries"),
    ("concurrencyPolicy", "overlap"),
    ("cron", "schedule"),
    ("autostart", "enabled"),
    ("cmd", "command"),
    ("cwd", "working_dir"),
    ("directory", "working_dir"),
    ("entrypoint", "command"),
    ("env", "environment"),
    ("exec", "command"),
    ("ExecReload", "recover"),
    ("ExecStop", "stop"),
    ("ListenStream", "listen"),
    ("OnBootSec", "on_boot"),
    ("OnCalendar", "schedule"),
    ("PathChanged", "path"),
    ("PathExists", "path"),
    ("Persistent", "catch_up"),
    ("RandomizedDelaySec", "jitter"),
    ("startingDeadlineSeconds", "deadline"),
    ("tz", "timezone"),
    ("WatchdogSec", "watchdog"),
    ("healthcheck", "health"),
    ("needs", "depends_on"),
    ("requires", "depends_on"),
    ("stop_grace_period", "stop"),
    ("stop_signal", "stop"),
    ("type", "kind"),
    ("ulimits", "limits"),
    ("wants", "depends_on"),
    ("workdir", "working_dir"),
];

/// A whole number: `-?digits`, `0x`, `0o`. A leading zero would be octal to some and is refused.
pub(crate) fn whole(node: &Node<'_>, reader: &mut Reader, min: i64, max: i64) -> Option<i64> {
    let expected = match (min, max) {
        (0, i64::MAX) => "a whole number".into(),
        (min, i64::MAX) => format!("a whole number from {min}"),
        (min, max) => format!("a whole number from {min} to {max}"),
    };
    let scalar = reader.scalar(node, &expected)?;
    let text = &*scalar.text;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if scalar.style != Style::Plain && is_decimal {
        reader.mismatch(node, &expected, Some("remove the quotes: inside them it is a text"));
        return None;
    }
    if is_decimal && digits.len() > 1 && digits.starts_with('0') {
        let help = format!(
            "write 0o{} if it is octal, without the zero if it is not",
            digits.trim_start_matches('0')
        );
        reader.mismatch(node, &format!("{expected} (a leading zero is ambiguous)"), Some(&help));
        return None;
    }
    let number = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(octal), _) if plain_digits(octal) => i64::from_str_radix(octal, 8).ok(),
        (_, Some(hexadecimal)) if plain_digits(hexadecimal) => i64::from_str_radix(hexadecimal, 16).ok(),
        _ if is_decimal => text.parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| (min..=max).contains(number));
    if number.is_none() {
        reader.mismatch(node, &expected, None);
    }
    number
}

/// `from_str_radix` would take a sign too.
fn plain_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl FromYaml for bool {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let scalar = reader.scalar(node, "`true` or `false`")?;
        let help = match (&*scalar.text, scalar.style) {
            ("true", Style::Plain) => return Some(true),
            ("false", Style::Plain) => return Some(false),
            ("true" | "false", Style::Quoted | Style::Block) => {
                Some("remove the quotes: inside them it is a text")
            }
            (text, _) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" | "true" | "1" => Some("write `true`"),
                "no" | "off" | "n" | "false" | "0" => Some("write `false`"),
                _ => None,
            },
        };
        reader.mismatch(node, "`true` or `false`", help);
        None
    }

    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}

/// Lists may be written as one item alone where that cannot be misread.
impl<T: FromYaml> FromYaml for Vec<At<T>> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::List(items) => Some(items.iter().filter_map(|item| At::item(item, reader)).collect()),
            Value::Scalar(_) if !node.is_null() => Some(vec![At::item(node, reader)?]),
            Value::Scalar(_) | Value::Map(_) => {
                reader.mismatch(node, "a list", None);
                None
            }
        }
    }

    fn schema() -> Json {
        let item = T::schema();
        json!({"anyOf": [{"type": "array", "items": item}, item]})
    }
}

/// The schema of a mapping with exactly these keys.
pub(crate) fn closed_object(about: &str, properties: Map<String, Json>, required: &[&str]) -> Json {
    let properties = Json::Object(properties);
    let mut schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".into(), about.into());
        if !required.is_empty() {
            object.insert("required".into(), json!(required));
        }
    }
    schema
}

/// One key's schema with its text and default.
pub(crate) fn described(mut schema: Json, about: &str, default: Option<Json>) -> Json {
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".into(), about.into());
        if let Some(default) = default {
            object.insert("default".into(), default);
        }
    }
    schema
}

/// Doc comment lines as one text.
pub(crate) fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().into()
}

/// Declares a mapping of the unit language: the struct, its reader and its schema. Fields are
/// `Option<At<T>>`; `[required]` marks keys that must be there, `= value` what holds without one.
macro_rules! mapping {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $text:literal])+ $([$flag:ident])? $field:ident: $type:ty $(= $default:expr)?; )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name {
            $( $(#[doc = $text])+ pub(crate) $field: Option<$crate::unit::read::At<$type>>, )*
        }

        impl $name {
            pub(crate) const KEYS: &'static [&'static str] = &[$($crate::unit::read::key!($field)),*];
            const REQUIRED: &'static [&'static str] = &[$($($crate::unit::read::required!($flag $field),)?)*];

            /// Reads without asking for the required keys; answers also which keys were probably meant.
            pub(crate) fn read_partly(
                node: &$crate::unit::yaml::Node<'_>,
                reader: &mut $crate::unit::read::Reader,
            ) -> Option<(Self, Vec<&'static str>)> {
                let mut read = Self::default();
                let mut meant = Vec::new();
                for entry in reader.entries(node, "a mapping")? {
                    match &*entry.key {
                        $( $crate::unit::read::key!($field) => read.$field = $crate::unit::read::At::entry(entry, reader), )*
                        _ => meant.extend(reader.unknown_key(entry, Self::KEYS)),
                    }
                }
                Some((read, meant))
            }
        }

        impl $crate::unit::read::FromYaml for $name {
            fn read(
                node: &$crate::unit::yaml::Node<'_>,
                reader: &mut $crate::unit::read::Reader,
            ) -> Option<Self> {
                let (read, meant) = Self::read_partly(node, reader)?;
                let entries = reader.entries(node, "a mapping")?;
                let is_missing =
                    |key: &str| !meant.contains(&key) && !entries.iter().any(|entry| entry.key == key);
                for key in Self::REQUIRED.iter().copied().filter(|key| is_missing(key)) {
                    reader.missing_key(node.place, entries, key);
                }
                Some(read)
            }

            fn schema() -> serde_json::Value {
                let mut properties = serde_json::Map::new();
                $(
                    let default: Option<serde_json::Value> = None $(.or(Some(serde_json::json!($default))))?;
                    let text = $crate::unit::read::prose(&[$($text),+]);
                    let schema = <$type as $crate::unit::read::FromYaml>::schema();
                    properties.insert($crate::unit::read::key!($field).into(), $crate::unit::read::described(schema, &text, default));
                )*
                let about = $crate::unit::read::prose(&[$($about),+]);
                $crate::unit::read::closed_object(&about, properties, Self::REQUIRED)
            }

            fn over(self, below: Self) -> Self {
                Self { $( $field: $crate::unit::read::At::merge(self.$field, below.$field), )* }
            }
        }
    };
}

/// How a field is written in a file: as it is called, where Rust has no other use for the word.
macro_rules! key {
    (otherwise) => {
        "else"
    };
    ($field:ident) => {
        stringify!($field)
    };
}

macro_rules! required {
    (required $field:ident) => {
        stringify!($field)
    };
}

/// What is written with one word of a few.
pub(crate) trait InWords {
    /// As a unit file has it.
    fn in_words(&self) -> &'static str;
}

/// Declares which words a type is written with.
macro_rules! words {
    ($type:ty { $( $word:literal => $value:expr ),+ $(,)? }) => {
        impl $crate::unit::read::FromYaml for $type {
            fn read(
                node: &$crate::unit::yaml::Node<'_>,
                reader: &mut $crate::unit::read::Reader,
            ) -> Option<Self> {
                reader.word(node, &[$(($word, $value)),+])
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"enum": [$($word),+]})
            }
        }

        impl $crate::unit::read::InWords for $type {
            fn in_words(&self) -> &'static str {
                let words = [$(($word, $value)),+];
                words.into_iter().find(|(_, value)| value == self).map_or("", |(word, _)| word)
            }
        }
    };
}

/// Whole numbers in a range, each a type of its own.
macro_rules! counts {
    ($($(#[doc = $doc:expr])* $name:ident: $least:expr, $most:expr;)+) => { $(
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name(pub(crate) u32);

        impl $crate::unit::read::FromYaml for $name {
            fn read(node: &$crate::unit::yaml::Node<'_>, reader: &mut $crate::unit::read::Reader) -> Option<Self> {
                let number = $crate::unit::read::whole(node, reader, $least, $most)?;
                u32::try_from(number).ok().map(Self)
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"type": "integer", "minimum": $least, "maximum": $most})
            }
        }
    )+ };
}

pub(crate) use {counts, key, mapping, required, words};
