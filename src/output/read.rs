//! Bytes as text, and text as what it claims to be. What readers elsewhere would take in silence, such as a
//! key that stands twice, is refused: the last one wins nowhere.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

use crate::unit::spec::output::Format;

/// UTF-8 without zero bytes, its byte order mark taken off.
///
/// # Errors
/// Where it is none.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        let byte = bytes.get(at).copied().unwrap_or(0);
        let before = String::from_utf8_lossy(bytes.get(..at).unwrap_or_default());
        format!("it is not text: the byte 0x{byte:02x} at {} is not UTF-8", place_of(&before, before.len()))
    })?;
    if let Some(at) = text.find('\0') {
        return Err(format!("it is not text: a zero byte stands at {}", place_of(&text, at)));
    }
    match text.strip_prefix('\u{FEFF}') {
        Some(rest) => Ok(rest.to_owned()),
        None => Ok(text),
    }
}

/// What `text` is as `format`; `None` for text, which is only itself.
///
/// # Errors
/// What is wrong with it and where, in words.
pub(crate) fn parsed(text: &str, format: Format) -> Result<Option<Json>, String> {
    match format {
        Format::Text => Ok(None),
        Format::Json => json(text).map(Some).map_err(|why| format!("it is not JSON: {why}")),
        Format::Jsonl => jsonl(text).map(Some),
        Format::Yaml => yaml(text).map(Some).map_err(|why| format!("it is not YAML: {why}")),
        Format::Csv => csv_rows(text).map(Some).map_err(|why| format!("it is not CSV: {why}")),
    }
}

fn json(text: &str) -> Result<Json, String> {
    if text.trim().is_empty() {
        return Err("there is nothing but white space".to_owned());
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut reader).map_err(|error| json_words(&error))?;
    reader.end().map_err(|error| json_words(&error))?;
    Ok(value)
}

/// In words for people who do not know the library.
fn json_words(error: &serde_json::Error) -> String {
    let written = error.to_string();
    let at = format!("line {}, column {}", error.line(), error.column());
    let tail = format!(" at line {} column {}", error.line(), error.column());
    let words = written.strip_suffix(&tail).unwrap_or(&written);
    if error.is_eof() {
        return match words.strip_prefix("EOF while parsing ") {
            Some("a value") | None => format!("it ends where a value belongs, at {at}"),
            Some(inside) => format!("it ends in the middle of {inside}, at {at}"),
        };
    }
    match words {
        "trailing characters" => format!("something follows it, at {at}"),
        "recursion limit exceeded" => format!("it is nested more than {DEEPEST} deep, at {at}"),
        words => format!("{words}, at {at}"),
    }
}

fn jsonl(text: &str) -> Result<Json, String> {
    let mut values = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        // The line of the error is always the first of one.
        let value = json(line).map_err(|why| {
            let why = why.replace("at line 1, ", "at ");
            format!("line {} is not JSON: {why}", at.saturating_add(1))
        })?;
        values.push(value);
    }
    if values.is_empty() { Err("it has no line of JSON".to_owned()) } else { Ok(Json::Array(values)) }
}

fn yaml(text: &str) -> Result<Json, String> {
    let reader = serde_yaml::Deserializer::from_str(text);
    let value = Strict.deserialize(reader).map_err(|error| {
        let words = error.to_string();
        match &*words {
            "repetition limit exceeded" => "its aliases stand for more than it may hold".to_owned(),
            "recursion limit exceeded" => format!("it is nested more than {DEEPEST} deep"),
            words if words.contains("more than one document") => "it holds more than one document".to_owned(),
            words => words.replace(" at line ", ", at line ").replace(" column ", ", column "),
        }
    })?;
    if value.is_null() { Err("it says nothing".to_owned()) } else { Ok(value) }
}

/// A list of maps from header to text.
fn csv_rows(text: &str) -> Result<Json, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| csv_words(&error))?.clone();
    if header.iter().all(str::is_empty) {
        return Err("it has no header".to_owned());
    }
    for (at, name) in header.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("column {} has no name in the header", at.saturating_add(1)));
        }
        if header.iter().take(at).any(|other| other == name) {
            return Err(format!("the header names {name:?} twice"));
        }
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| csv_words(&error))?;
        let row = header.iter().zip(record.iter()).map(|(name, field)| (name.to_owned(), field.into()));
        rows.push(Json::Object(row.collect::<Map<_, _>>()));
    }
    Ok(Json::Array(rows))
}

fn csv_words(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            let fields = if *len == 1 { "field" } else { "fields" };
            format!("line {line} has {len} {fields}, and the header {expected_len}")
        }
        csv::ErrorKind::Io(_)
        | csv::ErrorKind::Utf8 { .. }
        | csv::ErrorKind::Seek
        | csv::ErrorKind::Serialize(_)
        | csv::ErrorKind::Deserialize { .. } => error.to_string(),
        other => format!("{other:?}"),
    }
}

/// Line and column of a byte, both from 1.
fn place_of(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.rsplit('\n').next().unwrap_or("").chars().count().saturating_add(1);
    format!("line {line}, column {column}")
}

/// Reads any value, and refuses what would be lost in one.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        let number = Number::from_f64(value).map(Json::Number);
        number.ok_or_else(|| E::custom("`.inf` and `.nan` are no numbers to compare with"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            list.push(item);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(Self)? {
            let key = match key {
                Json::String(text) => text,
                Json::Null => "null".to_owned(),
                Json::Bool(_) | Json::Number(_) => key.to_string(),
                Json::Array(_) | Json::Object(_) => {
                    return Err(de::Error::custom("a list or a mapping cannot be a key"));
                }
            };
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {key:?} stands twice in one mapping")));
            }
            map.insert(key, entries.next_value_seed(Self)?);
        }
        Ok(Json::Object(map))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _tagged: A) -> Result<Json, A::Error> {
        Err(de::Error::custom("a tag (`!word`) is not read; quote what begins with `!`"))
    }
}

/// Of both readers.
const DEEPEST: usize = 128;
