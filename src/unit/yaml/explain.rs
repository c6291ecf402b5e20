//! What a person most likely meant where YAML stumbles. The parser says what it expected;
//! these say which characters to quote.

use granit_parser::ErrorKind;

use crate::unit::diagnostic::{Diagnostic, Place, index, saturated};
use crate::unit::yaml::shorten;

/// Where and amid what the parser gave up. Offsets count in `text`.
pub(super) struct Trouble<'a> {
    pub(super) text: &'a str,
    pub(super) base: usize,
    pub(super) file: u32,
    /// Where the parser noticed it, which may be far behind the cause.
    pub(super) offset: usize,
    /// Everything before this was understood.
    pub(super) seen: usize,
    /// The innermost open bracket.
    pub(super) open: Option<Place>,
}

impl Trouble<'_> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's list of errors is open; the rest keeps its own words"
    )]
    pub(super) fn explain(&self, kind: &ErrorKind) -> Diagnostic {
        match kind {
            ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar => self.tab(),
            ErrorKind::UnclosedQuotedScalar
            | ErrorKind::DocumentIndicatorInQuotedScalar
            | ErrorKind::InvalidQuotedScalarIndent => self.open_quote(),
            ErrorKind::UnclosedFlowCollection { .. }
            | ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofImplicitFlowMapping => self.open_bracket(),
            ErrorKind::RecursionLimitExceeded => Diagnostic::error(
                "yaml-depth",
                self.spot(self.offset, 1),
                "lists and mappings are nested more than 64 deep here",
            ),
            ErrorKind::UnknownQuotedScalarEscape => Diagnostic::error(
                "yaml-escape",
                self.spot(self.offset, 1),
                "a backslash inside double quotes starts an escape, and this one is not known",
            )
            .help("use single quotes, where a backslash is only itself"),
            _ => self.guess(kind),
        }
    }

    fn guess(&self, kind: &ErrorKind) -> Diagnostic {
        if self.line(self.offset).contains('\t')
            && self.line(self.offset).trim_start_matches(' ').starts_with('\t')
        {
            return self.tab();
        }
        let line_of = |offset: usize| self.line_at(offset).0;
        if let Some(open) = self.open
            && line_of(index(open.start).saturating_sub(self.base)) < line_of(self.offset)
        {
            let bracket = Place { end: open.start.saturating_add(1), ..open };
            return Diagnostic::error(
                "yaml-bracket",
                bracket,
                "this bracket is not closed before the next key",
            )
            .related(self.spot(self.offset, 1), "YAML noticed it only here");
        }
        let (start, value) = self.value();
        let place = self.spot(start, value.len());
        match value.chars().next() {
            Some('*') => alias(place, value),
            Some('&') => said(place, "yaml-anchor", value, "an anchor", value),
            Some('!') => said(place, "yaml-tag", value, "a tag", value),
            Some(c @ ('@' | '`' | '%')) => reserved(place, c, value),
            Some('"' | '\'') if self.offset >= start => self.after_quote(kind, start, value),
            Some('[' | '{') => self.inside_brackets(kind),
            Some(_) if value.contains(": ") || value.ends_with(':') => Diagnostic::error(
                "yaml-mapping",
                place,
                "YAML reads `: ` inside a plain value as the start of a mapping",
            )
            .help(format!("quote it: {}", quoted(value))),
            Some(_) | None => self.unreadable(kind),
        }
    }

    /// An item that begins as no plain value may.
    fn inside_brackets(&self, kind: &ErrorKind) -> Diagnostic {
        let rest = self.text.get(self.offset..).unwrap_or("");
        let item = rest.split([',', ']', '}', '\n']).next().unwrap_or("").trim_end();
        let place = self.spot(self.offset, item.len());
        match item.chars().next() {
            Some('*') => alias(place, item),
            Some(c @ ('@' | '`' | '%')) => reserved(place, c, item),
            Some(c @ ('[' | '{')) => {
                let (start, value) = self.item();
                let message =
                    format!("inside brackets, YAML reads `{c}` as the start of a list or a mapping");
                Diagnostic::error("yaml-bracket", self.spot(start, value.len()), message)
                    .help(format!("quote it: {}", quoted(value)))
            }
            Some(_) | None => self.unreadable(kind),
        }
    }

    /// The item of a list or mapping on one line that the parser gave up in, with the brackets that it holds.
    fn item(&self) -> (usize, &str) {
        let (line_start, line) = self.line_at(self.offset);
        let before = line.get(..self.offset.saturating_sub(line_start)).unwrap_or("");
        let marks = [": ", ", ", "{", "["];
        let start =
            marks.iter().filter_map(|mark| Some(before.rfind(mark)?.saturating_add(mark.len()))).max();
        let start = start.unwrap_or(0);
        let rest = line.get(start..).unwrap_or("");
        let blanks = rest.len().saturating_sub(rest.trim_start().len());
        let rest = rest.trim_start();
        let mut depth = 0_u32;
        let end = rest.find(|c: char| match c {
            '[' | '{' | '(' => {
                depth = depth.saturating_add(1);
                false
            }
            ']' | '}' | ')' if depth > 0 => {
                depth = depth.saturating_sub(1);
                false
            }
            ',' => depth == 0,
            ']' | '}' => true,
            _ => false,
        });
        let value = rest.get(..end.unwrap_or(rest.len())).unwrap_or("").trim_end();
        (line_start.saturating_add(start).saturating_add(blanks), value)
    }

    fn unreadable(&self, kind: &ErrorKind) -> Diagnostic {
        Diagnostic::error(
            "yaml-syntax",
            self.spot(self.offset, 1),
            format!("cannot read this as YAML: {kind}"),
        )
        .help("look at the indentation and the quotes of this line and the one before")
    }

    /// A value such as `"a" b`: the quote was closed, and something follows.
    fn after_quote(&self, kind: &ErrorKind, start: usize, value: &str) -> Diagnostic {
        let quote = value.chars().next().unwrap_or('"');
        let closed = value.char_indices().skip(1).any(|(_, c)| c == quote);
        if !closed || !self.line(self.offset).contains(value) {
            return self.open_quote();
        }
        Diagnostic::error(
            "yaml-syntax",
            self.spot(start, value.len()),
            format!("a quoted value ends with its quote, and something follows this one: {kind}"),
        )
        .help("quote the whole value, with the other kind of quote outside")
    }

    fn tab(&self) -> Diagnostic {
        let (line_start, line) = self.line_at(self.offset);
        let at = line.find('\t').map_or(self.offset, |column| line_start.saturating_add(column));
        Diagnostic::error("yaml-tab", self.spot(at, 1), "a tab stands where YAML wants spaces")
            .help("indent with spaces; two for each level is usual")
    }

    fn open_quote(&self) -> Diagnostic {
        let rest = self.text.get(self.seen..).unwrap_or("");
        let opens = |at: usize| {
            let before = rest.get(..at).and_then(|before| before.chars().next_back());
            before.is_none_or(|c| c.is_whitespace() || matches!(c, '[' | '{' | ',' | ':' | '-'))
        };
        let opening = rest
            .char_indices()
            .find(|(at, c)| matches!(c, '"' | '\'') && opens(*at))
            .map(|(at, _)| self.seen.saturating_add(at));
        match opening {
            Some(at) => Diagnostic::error("yaml-quote", self.spot(at, 1), "this quote is never closed")
                .related(self.spot(self.offset.min(self.text.len()), 0), "YAML noticed it only here")
                .help("close it; inside single quotes, write a quote twice"),
            None => Diagnostic::error(
                "yaml-quote",
                self.spot(self.offset, 1),
                "a quote before this is never closed",
            ),
        }
    }

    fn open_bracket(&self) -> Diagnostic {
        let place = self.open.unwrap_or_else(|| {
            let rest = self.text.get(self.seen..).unwrap_or("");
            let at = rest.find(['[', '{']).map_or(self.offset, |at| self.seen.saturating_add(at));
            self.spot(at, 1)
        });
        let place = Place { end: place.start.saturating_add(1), ..place };
        Diagnostic::error("yaml-bracket", place, "this bracket is never closed")
    }

    fn spot(&self, offset: usize, length: usize) -> Place {
        let offset = offset.min(self.text.len());
        // One "character" may be several bytes, and an end inside one shows nothing.
        let mut end = offset.saturating_add(length).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end = end.saturating_add(1);
        }
        Place {
            file: self.file,
            start: saturated(offset.saturating_add(self.base)),
            end: saturated(end.saturating_add(self.base)),
        }
    }

    fn line(&self, offset: usize) -> &str {
        self.line_at(offset).1
    }

    fn line_at(&self, offset: usize) -> (usize, &str) {
        line_at(self.text, offset)
    }

    fn value(&self) -> (usize, &str) {
        value_at(self.text, self.offset)
    }
}

/// An alias of nothing, which is most often a cron line or a glob.
pub(super) fn unknown_alias(text: &str, base: usize, place: Place, name: &str) -> Diagnostic {
    let offset = index(place.start).saturating_sub(base);
    let (start, value) = value_at(text, offset);
    if value.starts_with('*') && start == offset {
        let end = place.start.saturating_add(saturated(value.len()));
        return alias(Place { end, ..place }, value);
    }
    alias(place, &format!("*{name}"))
}

/// The help line for the value at `place`.
pub(super) fn quote_help(text: &str, base: usize, place: Place) -> String {
    let offset = index(place.start).saturating_sub(base);
    let (_, value) = value_at(text, offset);
    format!("quote it: {}", quoted(value))
}

fn alias(place: Place, value: &str) -> Diagnostic {
    said(place, "yaml-alias", value, "an alias of something that was never defined", value)
}

fn reserved(place: Place, first: char, value: &str) -> Diagnostic {
    let message = match first {
        '`' => "a backtick may not start a plain value in YAML".to_owned(),
        first => format!("`{first}` may not start a plain value in YAML"),
    };
    Diagnostic::error("yaml-reserved", place, message).help(format!("quote it: {}", quoted(value)))
}

fn said(place: Place, code: &'static str, what: &str, reading: &str, value: &str) -> Diagnostic {
    let word = what.split_whitespace().next().unwrap_or(what);
    Diagnostic::error(code, place, format!("YAML reads `{}` as {reading}", shorten(word)))
        .help(format!("quote it: {}", quoted(value)))
}

/// `value` as a YAML string that means exactly it.
fn quoted(value: &str) -> String {
    format!("'{}'", shorten(value).replace('\'', "''"))
}

/// The line around `offset`, with where it starts.
fn line_at(text: &str, offset: usize) -> (usize, &str) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset = offset.saturating_sub(1);
    }
    let (before, after) = text.split_at(offset);
    let start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let end = after.find('\n').map_or(text.len(), |at| offset.saturating_add(at));
    (start, text.get(start..end).unwrap_or("").trim_end_matches('\r'))
}

/// What stands after `key: ` or `- ` in the line of `offset`, without a comment.
fn value_at(text: &str, offset: usize) -> (usize, &str) {
    let (line_start, line) = line_at(text, offset);
    let mut start = line.len().saturating_sub(line.trim_start().len());
    while line.get(start..).is_some_and(|rest| rest.starts_with("- ")) {
        start = start.saturating_add(2);
    }
    let rest = line.get(start..).unwrap_or("");
    if !rest.starts_with(['"', '\'', '[', '{'])
        && let Some(colon) = rest.find(": ").into_iter().chain(rest.find(":\t")).min()
    {
        start = start.saturating_add(colon).saturating_add(2);
    }
    let rest = line.get(start..).unwrap_or("");
    let value = rest.trim_start();
    start = start.saturating_add(rest.len().saturating_sub(value.len()));
    let value = value.find(" #").and_then(|at| value.get(..at)).unwrap_or(value);
    (line_start.saturating_add(start), value.trim_end())
}
