//! The plain values of the language: texts, numbers in their ranges, durations, sizes.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::amount;
use crate::unit::nearest::nearest;
use crate::unit::read::{At, FromYaml, Reader, whole};
use crate::unit::spec::SignalNumber;
use crate::unit::yaml::{Node, Value};

/// Any text; numbers and words such as `no` stay as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Box<str>);

impl FromYaml for Text {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = &reader.scalar(node, "a text")?.text;
        if text.contains('\0') {
            reader.bad_value(node.place, "a zero byte cannot be part of this text", "remove `\\0`");
            return None;
        }
        Some(Self(text.as_ref().into()))
    }

    fn schema() -> Json {
        json!({"type": ["string", "number", "boolean"]})
    }
}

/// A text that is not empty: names, paths, links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) Box<str>);

impl FromYaml for Word {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Text(text) = Text::read(node, reader)?;
        if text.trim().is_empty() {
            let message = format!("`{}` must not be empty", reader.key());
            reader.bad_value(node.place, message, "give it a value, or remove the line");
            return None;
        }
        Some(Self(text))
    }

    fn schema() -> Json {
        json!({"type": ["string", "number"], "minLength": 1})
    }
}

/// A path from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AbsolutePath(pub(crate) Box<str>);

impl FromYaml for AbsolutePath {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Word(text) = Word::read(node, reader)?;
        if !text.starts_with('/') || text.len() < 2 {
            let message = format!("`{}` takes a path from the root, and `{text}` is none", reader.key());
            reader.bad_value(node.place, message, "begin it with `/`");
            return None;
        }
        Some(Self(text))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^/.+"})
    }
}

/// A user or group: a name or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account(pub(crate) Box<str>);

impl FromYaml for Account {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Word(text) = Word::read(node, reader)?;
        let fits = |(at, c): (usize, char)| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || (at > 0 && matches!(c, '-' | '$' | '@'))
        };
        if !text.char_indices().all(fits) {
            let message = format!("`{text}` cannot be the name of a {}", account_noun(reader.key()));
            reader.bad_value(node.place, message, "write one name or one number");
            return None;
        }
        Some(Self(text))
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "minLength": 1})
    }
}

fn account_noun(key: &str) -> &'static str {
    if key == "user" { "user" } else { "group" }
}

impl FromYaml for Duration {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = &reader.scalar(node, "a duration such as `5s`")?.text;
        amount::duration(text)
            .map_err(|reason| reader.mismatch(node, "a duration such as `5s`", Some(reason)))
            .ok()
    }

    fn schema() -> Json {
        json!({
            "type": ["string", "integer"],
            "pattern": "^(0|([0-9]+(d|h|m|s|ms))+)$",
            "minimum": 0,
            "maximum": 0,
        })
    }
}

/// A duration, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout(pub(crate) Option<Duration>);

impl FromYaml for Timeout {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Scalar(scalar) if scalar.text == "unlimited" => Some(Self(None)),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => {
                let limit = Duration::read(node, reader)?;
                if limit.is_zero() {
                    let message = format!("`{}: 0` leaves no time at all", reader.key());
                    reader.bad_value(node.place, message, "write `unlimited` for no limit");
                    return None;
                }
                Some(Self(Some(limit)))
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [Duration::schema(), {"const": "unlimited"}]})
    }
}

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromYaml for Size {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = &reader.scalar(node, "a size such as `10M`")?.text;
        amount::size(text)
            .map(Self)
            .map_err(|reason| reader.mismatch(node, "a size such as `10M`", Some(reason)))
            .ok()
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "pattern": "^[0-9]+[KMGT]?$", "minimum": 0})
    }
}

/// A decimal number in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerMille(pub(crate) u32);

impl FromYaml for PerMille {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = &reader.scalar(node, "a number such as `1.5`")?.text;
        amount::permille(text)
            .map(Self)
            .map_err(|reason| reader.mismatch(node, "a number such as `1.5`", Some(reason)))
            .ok()
    }

    fn schema() -> Json {
        json!({"type": "number", "minimum": 0})
    }
}

/// Whole numbers, each in its range.
macro_rules! ranges {
    ($( $(#[doc = $about:literal])+ $name:ident($type:ty) $min:literal ..= $max:literal; )+) => { $(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) $type);

        impl FromYaml for $name {
            fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
                whole(node, reader, $min, $max).and_then(|number| <$type>::try_from(number).ok()).map(Self)
            }

            fn schema() -> Json {
                json!({"type": "integer", "minimum": $min, "maximum": $max})
            }
        }
    )+ };
}

ranges! {
    /// A TCP port that can be connected to.
    Port(u16) 1..=65535;
    /// Answers of a probe; as many are remembered, so more could never be counted.
    Failures(u8) 1..=64;
    /// A descriptor besides the three that every process has.
    Descriptor(u8) 3..=255;
    /// Starts in a window; the window of more is longer than anybody looks back.
    Starts(u32) 1..=10000;
    /// Old log files.
    Kept(u16) 0..=10000;
    /// Calls of a webhook in a minute.
    Calls(u32) 1..=6000;
    /// Copies of a unit.
    Copies(u16) 1..=1000;
    /// As in getpriority(2).
    Nice(i8) -20..=19;
    /// As in `/proc/PID/oom_score_adj`.
    OomScore(i16) -1000..=1000;
}

impl FromYaml for SignalNumber {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let text = &reader.scalar(node, "a signal such as `SIGTERM`")?.text;
        let signal = Self::parse(text);
        if signal.is_none() {
            let upper = text.to_ascii_uppercase();
            let long = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
            let names: Vec<&str> = (1..32).filter_map(|number| Self(number).name()).collect();
            let help = nearest(&long, names).map(|name| format!("did you mean `{name}`?"));
            reader.mismatch(node, "a signal such as `SIGTERM`", help.as_deref());
        }
        signal
    }

    fn schema() -> Json {
        json!({"type": ["string", "integer"], "pattern": "^([A-Za-z0-9]+)$", "minimum": 1, "maximum": 31})
    }
}

/// Permissions of a file, in octal as everybody writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl FromYaml for Mode {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let expected = "permissions such as `0o660`";
        let text = &reader.scalar(node, expected)?.text;
        let mode = |digits: &str| u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777);
        let read = text.strip_prefix("0o").and_then(mode);
        if read.is_none() {
            let bare = text.trim_start_matches('0');
            let help = mode(bare).map(|_| format!("write 0o{bare}: without the o, readers of YAML disagree"));
            reader.mismatch(node, expected, help.as_deref());
        }
        read.map(Self)
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": 0, "maximum": 0o777})
    }
}

/// A part of time in which a unit works, in millionths: `99.95%` is 999500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slo(pub(crate) u32);

impl FromYaml for Slo {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let expected = "a part of the time such as `99.95%`";
        let text = &reader.scalar(node, expected)?.text;
        let Some(number) = text.strip_suffix('%') else {
            reader.mismatch(node, expected, Some("it ends with `%`"));
            return None;
        };
        let Some(millionths) = amount::percent_ppm(number.trim_end()) else {
            reader.mismatch(node, expected, Some("at most four digits stand after the point"));
            return None;
        };
        if !(1..1_000_000).contains(&millionths) {
            let message = format!("`{text}` is no goal: it must lie between 0% and 100%");
            reader.bad_value(node.place, message, "nothing works always; 99.9% allows 43 minutes a month");
            return None;
        }
        Some(Self(millionths))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9]{1,2}([.][0-9]{1,4})? ?%$"})
    }
}

/// Texts of a list without their places.
pub(crate) fn texts(list: Option<&At<Vec<At<Word>>>>) -> Vec<Box<str>> {
    list.map(|list| list.value.iter().map(|item| item.value.0.clone()).collect()).unwrap_or_default()
}
