//! What is wrong with a units directory, each with its place and its mend.

use std::cmp::Ordering;

/// The code of what is said of a secret in a file; no text that quotes the file shows the value.
pub const LITERAL_SECRET: &str = "literal-secret";

/// A range of bytes in one of the files that were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index in the list of files given to `unit::load`.
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

impl Place {
    /// The directory itself, where no file's text can be pointed at.
    pub const DIRECTORY: Self = Self { file: u32::MAX, start: 0, end: 0 };

    /// From the start of `self` to the end of `other`, in one file.
    pub fn to(self, other: Self) -> Self {
        Self { end: other.end.max(self.end), ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The directory cannot be used as it is.
    Error,
    /// It can; a person should still look.
    Warning,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// Stable, kebab-case; what scripts and searches go by.
    pub code: &'static str,
    pub place: Place,
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Other places that belong to it, each with what it has to do with it.
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    pub fn error(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            place,
            message: message.into(),
            help: None,
            related: Vec::new(),
        }
    }

    pub fn warning(code: &'static str, place: Place, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, place, message) }
    }

    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    #[must_use]
    pub fn related(mut self, place: Place, text: impl Into<String>) -> Self {
        self.related.push((place, text.into()));
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// By file, place, then the worse first: the order people read them in.
    pub fn reading_order(&self, other: &Self) -> Ordering {
        (self.place, self.severity, self.code, &self.message).cmp(&(
            other.place,
            other.severity,
            other.code,
            &other.message,
        ))
    }
}

/// Where a byte is for a person: both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// The starts of the lines of one file, so that many positions cost one look each.
#[derive(Clone, Debug)]
pub struct LineIndex<'a> {
    bytes: &'a [u8],
    starts: Vec<u32>,
}

impl<'a> LineIndex<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        let first = if bytes.starts_with(BYTE_ORDER_MARK) { 3 } else { 0 };
        let after_breaks = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(first)
            .chain(after_breaks.filter_map(|(at, _)| u32::try_from(at.saturating_add(1)).ok()))
            .collect();
        Self { bytes, starts }
    }

    pub fn position(&self, offset: u32) -> Position {
        let before = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(before.saturating_sub(1)).copied().unwrap_or(0);
        let slice = self.bytes.get(index(start)..index(offset).min(self.bytes.len())).unwrap_or(&[]);
        // A character begins at every byte that does not continue one.
        let characters = slice.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        Position { line: saturated(before), column: saturated(characters).saturating_add(1) }
    }

    /// The bytes of line `number` (from 1) without its line break; empty past the end.
    pub fn line(&self, number: u32) -> &'a [u8] {
        let line = self.range(number).and_then(|(start, end)| self.bytes.get(start..end)).unwrap_or(&[]);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// The offset at which line `number` (from 1) starts.
    pub fn line_start(&self, number: u32) -> u32 {
        self.range(number).map_or(0, |(start, _)| saturated(start))
    }

    fn range(&self, number: u32) -> Option<(usize, usize)> {
        let at = index(number).checked_sub(1)?;
        let start = self.starts.get(at).copied().map(index)?;
        let end = self.starts.get(at.saturating_add(1)).copied().map_or(self.bytes.len(), index);
        Some((start, end))
    }
}

pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

pub(crate) fn index(offset: u32) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

pub(crate) fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
