//! What a run must have written to count as a success.

use serde_json::Value as Json;

use crate::unit::spec::probe::{Expression, Pattern};

/// What is judged after a run that ended well, and how much of it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSpec {
    pub source: Source,
    /// What the stream must hold. `None`: only files are judged.
    pub stream: Option<Content>,
    pub files: Vec<FileSpec>,
    pub keep: Keep,
}

/// The stream that is judged; the other one is only logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    Stdout,
    Stderr,
}

/// What one stream or file must hold. Every part that is there must be met.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub format: Format,
    /// Default 1: what is empty proves nothing. Zero allows it.
    pub min_size_bytes: u64,
    /// Default and most: [`Content::MOST_BYTES`].
    pub max_size_bytes: u64,
    pub schema: Option<Schema>,
    /// `contains`, then `matches`, in the order written.
    pub counts: Vec<Count>,
    pub require: Vec<Requirement>,
}

impl Content {
    /// More is refused unread: whoever judges has a quarter of a gigabyte in all.
    pub const MOST_BYTES: u64 = 64 * 1024 * 1024;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
    /// One JSON value a line.
    Jsonl,
    Yaml,
    /// With a header; a list of maps of texts.
    Csv,
}

impl Format {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Yaml => "yaml",
            Self::Csv => "csv",
        }
    }
}

/// A JSON Schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Schema {
    /// A file, relative to the unit's own.
    File(Box<str>),
    Inline(Json),
}

/// Something that must occur so many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    pub what: Sought,
    /// Default 1, or 0 where only `at_most` is said.
    pub at_least: u64,
    /// `None`: as often as it likes.
    pub at_most: Option<u64>,
    /// What people are told instead of the count alone.
    pub otherwise: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sought {
    Text(Box<str>),
    /// Every match counts that does not overlap the one before.
    Pattern(Pattern),
}

/// An expression that must hold, and what people are told where it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub that: Expression,
    pub otherwise: Option<Box<str>>,
}

/// Files that the run must have left.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSpec {
    /// Relative to the working directory, with `{run.id}`, `{date}`, `*` and `?`. All that it finds is judged, and it
    /// must find one.
    pub path: Box<str>,
    pub written: Written,
    pub content: Content,
}

/// When a file must have been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Written {
    /// Since the run began: yesterday's file is no proof.
    #[default]
    ThisRun,
    AnyTime,
}

/// How much output stays; the last good one always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The last so many runs. Default 5; zero keeps only the last good one.
    pub runs: u16,
    /// All of them together, in bytes. Default 10 MiB.
    pub size_bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { runs: 5, size_bytes: 10 * 1024 * 1024 }
    }
}

/// What may stand in braces in the path of a file.
pub const PLACEHOLDERS: &[&str] = &["run.id", "date"];
