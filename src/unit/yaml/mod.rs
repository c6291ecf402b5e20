//! YAML as a tree in which every value knows its place. The parser's events come in, nothing of
//! the parser goes out: what a plain word means is decided by who reads it.

mod explain;

use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use crate::unit::diagnostic::{BYTE_ORDER_MARK, Diagnostic, Place, index, saturated};

/// Larger files are refused unread: nobody writes a unit of this size by hand.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Copies of nodes that aliases may make in one file; a bomb of 430 bytes asks for billions.
const ALIAS_BUDGET: usize = 10_000;
/// Lists and mappings inside each other. A unit file needs six.
const MAX_DEPTH: usize = 64;
/// So much text weighs as much as a node against the alias budget.
const TEXT_BYTES_PER_NODE: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Node<'s> {
    pub(crate) place: Place,
    pub(crate) value: Value<'s>,
}

#[derive(Clone, Debug)]
pub(crate) enum Value<'s> {
    Scalar(Scalar<'s>),
    List(Vec<Node<'s>>),
    Map(Vec<Entry<'s>>),
}

/// A scalar as written: `0644`, `no` and `1.10` are still those texts.
#[derive(Clone, Debug)]
pub(crate) struct Scalar<'s> {
    pub(crate) text: Cow<'s, str>,
    pub(crate) style: Style,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    /// `|` or `>`.
    Block,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry<'s> {
    pub(crate) key: Cow<'s, str>,
    pub(crate) key_place: Place,
    pub(crate) value: Node<'s>,
}

impl Node<'_> {
    /// True for `key:` with nothing after it, for `~` and for `null`.
    pub(crate) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar(scalar) => {
                scalar.style == Style::Plain && matches!(&*scalar.text, "" | "~" | "null" | "Null" | "NULL")
            }
            Value::List(_) | Value::Map(_) => false,
        }
    }

    /// How people call what stands here.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar(_) if self.is_null() => "nothing".into(),
            Value::Scalar(scalar) => format!("`{}`", shorten(&scalar.text)),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
        }
    }

    fn weight(&self) -> usize {
        let inner: usize = match &self.value {
            Value::Scalar(scalar) => scalar.text.len().checked_div(TEXT_BYTES_PER_NODE).unwrap_or(0),
            Value::List(items) => items.iter().map(Node::weight).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.value.weight().saturating_add(1)).sum(),
        };
        inner.saturating_add(1)
    }

    fn height(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Node::height).max().unwrap_or(0).saturating_add(1),
            Value::Map(entries) => {
                entries.iter().map(|entry| entry.value.height()).max().unwrap_or(0).saturating_add(1)
            }
        }
    }
}

/// The first line of `text`, at most 40 characters of it, without what would steer a terminal.
pub(crate) fn shorten(text: &str) -> Cow<'_, str> {
    let line = text.lines().next().unwrap_or("");
    let end = line.char_indices().nth(40).map_or(line.len(), |(at, _)| at);
    let start = line.get(..end).unwrap_or(line);
    if start.len() == text.len() && !start.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let more = if start.len() < text.len() { "…" } else { "" };
    Cow::Owned(format!("{}{more}", start.replace(char::is_control, "\u{FFFD}")))
}

/// The one document in `bytes`; `None` when it holds nothing, or when `out` says why not.
pub(crate) fn parse<'s>(file: u32, bytes: &'s [u8], out: &mut Vec<Diagnostic>) -> Option<Node<'s>> {
    let text = match readable_text(file, bytes) {
        Ok(text) => text,
        Err(diagnostic) => {
            out.push(*diagnostic);
            return None;
        }
    };
    let base = bytes.len().saturating_sub(text.len());
    let mut builder = Builder { file, base, text, ..Builder::default() };
    builder.run();
    let failed = builder.diagnostics.iter().any(Diagnostic::is_error);
    out.append(&mut builder.diagnostics);
    builder.root.filter(|root| !failed && !root.is_null())
}

/// The text behind a byte order mark, if it is text that YAML allows.
fn readable_text(file: u32, bytes: &[u8]) -> Result<&str, Box<Diagnostic>> {
    let at = |offset: usize| Place {
        file,
        start: saturated(offset),
        end: saturated(offset.saturating_add(1).min(bytes.len())),
    };
    if bytes.len() > MAX_FILE_BYTES {
        let place = Place { file, start: 0, end: 0 };
        return Err(Box::new(
            Diagnostic::error("file-too-large", place, "this file is larger than 1 MiB and was not read")
                .help("a unit file describes one unit; data belongs elsewhere"),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let help = if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            "it looks like UTF-16: save it as UTF-8"
        } else {
            "save the file as UTF-8"
        };
        let valid = error.valid_up_to();
        Box::new(Diagnostic::error("not-utf8", at(valid), "this byte is not UTF-8 text").help(help))
    })?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let base = if bytes.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    match text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}')) {
        None => Ok(text),
        Some((offset, c)) => Err(Box::new(
            Diagnostic::error(
                "control-character",
                Place {
                    end: saturated(base.saturating_add(offset).saturating_add(c.len_utf8())),
                    ..at(base.saturating_add(offset))
                },
                format!("the control character U+{:04X} may not stand in a unit file", u32::from(c)),
            )
            .help("write it as an escape inside double quotes, or remove it"),
        )),
    }
}

/// A list or mapping whose end has not come yet.
#[derive(Debug)]
struct Frame<'s> {
    anchor: usize,
    start: Place,
    is_flow: bool,
    content: Content<'s>,
}

#[derive(Debug)]
enum Content<'s> {
    List(Vec<Node<'s>>),
    /// The entries, and a key that waits for its value.
    Map(Vec<Entry<'s>>, Option<(Cow<'s, str>, Place)>),
}

#[derive(Debug, Default)]
struct Builder<'s> {
    file: u32,
    /// Bytes before `text`: the byte order mark.
    base: usize,
    text: &'s str,
    frames: Vec<Frame<'s>>,
    anchors: BTreeMap<usize, Node<'s>>,
    alias_weight: usize,
    root: Option<Node<'s>>,
    /// End of the last event, to find what the scanner stumbled over after it.
    seen: usize,
    diagnostics: Vec<Diagnostic>,
}

impl<'s> Builder<'s> {
    fn run(&mut self) {
        let options = granit_parser::options! {
            emit_unresolved_aliases: true,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        let mut documents = 0_usize;
        for next in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = match next {
                Ok(next) => next,
                Err(error) => return self.syntax_error(&error),
            };
            if let Event::DocumentStart(..) = event {
                documents = documents.saturating_add(1);
                if documents > 1 {
                    return self.second_document(self.place(span));
                }
            }
            if self.take(event, span).is_none() {
                return;
            }
        }
    }

    /// Puts one event into the tree; `None` ends the reading of this file.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's enum grows with its features; all nodes are named"
    )]
    fn take(&mut self, event: Event<'s>, span: Span) -> Option<()> {
        let place = self.place(span);
        self.refuse_tag(&event, span);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                self.add(anchor, Node { place, value: Value::Scalar(Scalar { text, style }) })?;
            }
            Event::SequenceStart(style, anchor, _) => {
                self.open(anchor, place, style == StructureStyle::Flow, Content::List(Vec::new()))?;
            }
            Event::MappingStart(style, anchor, _) => {
                self.open(anchor, place, style == StructureStyle::Flow, Content::Map(Vec::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(place)?,
            Event::Alias(anchor) => self.alias(anchor, place)?,
            Event::UnresolvedAlias(name) => {
                self.diagnostics.push(explain::unknown_alias(self.text, self.base, place, &name));
                let value = Value::Scalar(Scalar { text: Cow::Borrowed(""), style: Style::Quoted });
                self.add(0, Node { place, value })?;
            }
            _ => {}
        }
        self.seen = self.seen.max(span.end.byte_offset().unwrap_or(0));
        Some(())
    }

    fn place(&self, span: Span) -> Place {
        let start = span.start.byte_offset().unwrap_or(0).saturating_add(self.base);
        let end = span.end.byte_offset().unwrap_or(0).saturating_add(self.base);
        Place { file: self.file, start: saturated(start), end: saturated(end.max(start)) }
    }

    fn open(&mut self, anchor: usize, start: Place, is_flow: bool, content: Content<'s>) -> Option<()> {
        if self.frames.len() >= MAX_DEPTH {
            return self.too_deep(start);
        }
        self.frames.push(Frame { anchor, start, is_flow, content });
        Some(())
    }

    fn close(&mut self, end: Place) -> Option<()> {
        let frame = self.frames.pop()?;
        let (value, last) = match frame.content {
            Content::List(items) => {
                let last = items.last().map(|item| item.place);
                (Value::List(items), last)
            }
            Content::Map(entries, _) => {
                let last = entries.last().map(|entry| entry.value.place);
                (Value::Map(self.merged(entries)), last)
            }
        };
        // A block collection "ends" where the next line begins; people see it end with its last value.
        let end = if frame.is_flow { end } else { last.unwrap_or(frame.start) };
        self.add(frame.anchor, Node { place: frame.start.to(end), value })
    }

    fn add(&mut self, anchor: usize, node: Node<'s>) -> Option<()> {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.frames.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(entries, waiting)) => match waiting.take() {
                Some((key, key_place)) => {
                    // A value that is not there is shown at its key.
                    let place = if node.place.start == node.place.end { key_place } else { node.place };
                    entries.push(Entry { key, key_place, value: Node { place, ..node } });
                }
                None => match node.value {
                    Value::Scalar(scalar) => *waiting = Some((scalar.text, node.place)),
                    Value::List(_) | Value::Map(_) => {
                        self.diagnostics.push(
                            Diagnostic::error(
                                "yaml-key",
                                node.place,
                                "a key must be a word, not a list or a mapping",
                            )
                            .help("quote it if the brackets belong to the text"),
                        );
                        return None;
                    }
                },
            },
        }
        Some(())
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Option<()> {
        let Some(target) = self.anchors.get(&anchor) else {
            self.diagnostics.push(Diagnostic::error(
                "yaml-alias",
                place,
                "this alias stands inside what it refers to",
            ));
            return None;
        };
        self.alias_weight = self.alias_weight.saturating_add(target.weight());
        if self.alias_weight > ALIAS_BUDGET {
            self.diagnostics.push(
                Diagnostic::error(
                    "yaml-alias-bomb",
                    place,
                    "the aliases of this file unfold to more than 10000 values",
                )
                .related(target.place, "what this alias copies"),
            );
            return None;
        }
        if self.frames.len().saturating_add(target.height()) > MAX_DEPTH {
            return self.too_deep(place);
        }
        let copy = target.clone();
        self.add(0, copy)
    }

    /// Tags select types; here the key alone decides what a value is.
    fn refuse_tag(&mut self, event: &Event<'s>, span: Span) {
        let Some(tag) = event.tag() else { return };
        let place = span.tag_span().map_or_else(|| self.place(span), |tag| self.place(tag));
        let written = tag.original();
        self.diagnostics.push(
            Diagnostic::error(
                "yaml-tag",
                place,
                format!("YAML reads `{written}` as a tag, and tags have no meaning here"),
            )
            .help(explain::quote_help(self.text, self.base, place)),
        );
    }

    /// Refuses keys that stand twice and unfolds `<<`; explicit keys win over merged ones.
    fn merged(&mut self, entries: Vec<Entry<'s>>) -> Vec<Entry<'s>> {
        self.refuse_duplicates(&entries);
        if !entries.iter().any(|entry| entry.key == "<<") {
            return entries;
        }
        let (merges, mut own): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.key == "<<");
        for merge in merges {
            let sources = match merge.value.value {
                Value::Map(_) | Value::Scalar(_) => vec![merge.value],
                Value::List(items) => items,
            };
            for source in sources {
                match source.value {
                    Value::Map(more) => {
                        for entry in more {
                            if !own.iter().any(|known| known.key == entry.key) {
                                own.push(entry);
                            }
                        }
                    }
                    // What stands in for an alias that was refused already.
                    Value::Scalar(scalar) if scalar.style == Style::Quoted && scalar.text.is_empty() => {}
                    Value::Scalar(_) | Value::List(_) => self.diagnostics.push(
                        Diagnostic::error(
                            "yaml-merge",
                            source.place,
                            "`<<` merges mappings, and this is not one",
                        )
                        .help("write an alias of a mapping, or a list of such aliases"),
                    ),
                }
            }
        }
        own
    }

    fn refuse_duplicates(&mut self, entries: &[Entry<'s>]) {
        let mut first: BTreeMap<&str, Place> = BTreeMap::new();
        for entry in entries {
            match first.get(&*entry.key) {
                None => {
                    first.insert(&entry.key, entry.key_place);
                }
                Some(place) => self.diagnostics.push(
                    Diagnostic::error(
                        "duplicate-key",
                        entry.key_place,
                        format!("the key `{}` stands here a second time", shorten(&entry.key)),
                    )
                    .related(*place, "first here")
                    .help("keep one of the two"),
                ),
            }
        }
    }

    fn too_deep(&mut self, place: Place) -> Option<()> {
        let message = format!("lists and mappings are nested more than {MAX_DEPTH} deep here");
        self.diagnostics.push(Diagnostic::error("yaml-depth", place, message));
        None
    }

    fn second_document(&mut self, place: Place) {
        self.diagnostics.push(
            Diagnostic::error("yaml-documents", place, "a second document starts here, and a file holds one")
                .help("put the second unit into a file of its own"),
        );
    }

    fn syntax_error(&mut self, error: &granit_parser::ScanError) {
        let offset = error.marker().byte_offset().unwrap_or(self.seen);
        let open = self.frames.iter().rev().find(|frame| frame.is_flow).map(|frame| frame.start);
        let found = explain::Trouble {
            text: self.text,
            base: self.base,
            file: self.file,
            offset,
            seen: self.seen,
            open,
        };
        let diagnostic = found.explain(error.kind());
        // What was said of this line already has caused the rest of it.
        let line_of = |place: Place| {
            self.text
                .get(..index(place.start).saturating_sub(self.base))
                .map_or(0, |before| before.matches('\n').count())
        };
        let told = self.diagnostics.iter().any(|earlier| line_of(earlier.place) == line_of(diagnostic.place));
        if !told {
            self.diagnostics.push(diagnostic);
        }
    }
}
