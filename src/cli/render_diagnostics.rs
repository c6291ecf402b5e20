//! Diagnostics for people, with the line and the place marked, and for programs.

use std::collections::BTreeMap;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};
use serde_json::{Value as Json, json};

use crate::unit::SourceFile;
use crate::unit::diagnostic::{Diagnostic, LITERAL_SECRET, LineIndex, Place, Severity};

/// Wide enough to keep a line of YAML and its mark together; terminals wrap on their own.
const WIDTH: usize = 140;

/// Knows the files, so that places can be shown.
#[derive(Debug)]
pub struct Sources<'a> {
    files: &'a [SourceFile],
    /// Stands before each file's name: the directory as the person named it.
    prefix: String,
    lines: BTreeMap<u32, LineIndex<'a>>,
    /// Never shown, whatever else is said of their lines.
    secrets: Vec<Place>,
}

impl<'a> Sources<'a> {
    pub fn new(files: &'a [SourceFile], prefix: &str) -> Self {
        let prefix = match prefix {
            "" | "." => String::new(),
            prefix => format!("{}/", prefix.trim_end_matches('/')),
        };
        Self { files, prefix, lines: BTreeMap::new(), secrets: Vec::new() }
    }

    /// All of them, each followed by an empty line.
    pub fn text(&mut self, diagnostics: &[Diagnostic], is_coloured: bool) -> String {
        let secrets = diagnostics.iter().filter(|diagnostic| diagnostic.code == LITERAL_SECRET);
        self.secrets = secrets.map(|diagnostic| diagnostic.place).collect();
        let renderer = if is_coloured { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
        diagnostics.iter().map(|diagnostic| format!("{}\n\n", self.one(diagnostic, &renderer))).collect()
    }

    fn one(&mut self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let places: Vec<(Place, AnnotationKind, &str)> =
            std::iter::once((diagnostic.place, AnnotationKind::Primary, ""))
                .chain(
                    diagnostic
                        .related
                        .iter()
                        .map(|(place, text)| (*place, AnnotationKind::Context, text.as_str())),
                )
                .collect();
        let mut group = Group::with_title(level.primary_title(&*diagnostic.message).id(diagnostic.code));
        let mut files: Vec<u32> = Vec::new();
        for (place, ..) in &places {
            if !files.contains(&place.file) {
                files.push(place.file);
            }
        }
        for file in files {
            let of_file: Vec<_> = places.iter().filter(|(place, ..)| place.file == file).collect();
            if let Some(snippet) = self.snippet(file, &of_file) {
                group = group.element(snippet);
            }
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(&**help));
        }
        renderer.render(&[group])
    }

    /// The lines of one file from the first place to the last; what lies between is folded.
    fn snippet<'p>(
        &mut self,
        file: u32,
        places: &[&(Place, AnnotationKind, &'p str)],
    ) -> Option<Snippet<'p, Annotation<'p>>> {
        let path = self.path(file)?;
        let secrets: Vec<Place> = self.secrets.iter().copied().filter(|place| place.file == file).collect();
        let lines = self.lines(file)?;
        let numbers = places.iter().flat_map(|(place, ..)| [place.start, last_offset(*place)]);
        let numbers: Vec<u32> = numbers.map(|offset| lines.position(offset).line).collect();
        let (first, last) = (*numbers.iter().min()?, *numbers.iter().max()?);
        let start = lines.line_start(first);
        let mut text = String::new();
        // Bytes that are no text are shown as marks of another length.
        let mut spans: Vec<Range<usize>> = vec![0..0; places.len()];
        for number in first..=last {
            let line = lines.line(number);
            let line_start = lines.line_start(number);
            let before = text.len();
            for ((place, ..), span) in places.iter().zip(&mut spans) {
                let shown = |offset: u32| {
                    let inside = usize::try_from(offset.saturating_sub(line_start)).unwrap_or(usize::MAX);
                    before + String::from_utf8_lossy(&line[..inside.min(line.len())]).len()
                };
                let line_end = line_start.saturating_add(u32::try_from(line.len()).unwrap_or(u32::MAX));
                if (line_start..=line_end).contains(&place.start) {
                    span.start = shown(place.start);
                }
                if place.end >= line_start {
                    span.end = shown(place.end);
                }
            }
            text.push_str(&String::from_utf8_lossy(&masked(line, line_start, &secrets)));
            text.push('\n');
        }
        debug_assert!(places.iter().all(|(place, ..)| place.start >= start));
        let annotations = places.iter().zip(spans).map(|((_, kind, label), span)| {
            let annotation = kind.span(span.start..span.end.max(span.start));
            if label.is_empty() { annotation } else { annotation.label(*label) }
        });
        let line_start = usize::try_from(first).unwrap_or(usize::MAX);
        Some(Snippet::source(text).line_start(line_start).path(path).annotations(annotations))
    }

    /// An array with one object for each.
    pub fn json(&mut self, diagnostics: &[Diagnostic]) -> Json {
        diagnostics
            .iter()
            .map(|diagnostic| {
                let related: Vec<Json> = diagnostic
                    .related
                    .iter()
                    .map(|(place, text)| {
                        let mut related = self.place_json(*place);
                        related["message"] = json!(text);
                        related
                    })
                    .collect();
                let mut object = self.place_json(diagnostic.place);
                object["severity"] = json!(diagnostic.severity.as_str());
                object["code"] = json!(diagnostic.code);
                object["message"] = json!(diagnostic.message);
                object["help"] = json!(diagnostic.help);
                object["related"] = Json::Array(related);
                object
            })
            .collect()
    }

    fn place_json(&mut self, place: Place) -> Json {
        let file = self.path(place.file);
        let lines =
            self.lines(place.file).map(|lines| (lines.position(place.start), lines.position(place.end)));
        match lines {
            Some((start, end)) => json!({
                "file": file,
                "line": start.line,
                "column": start.column,
                "end_line": end.line,
                "end_column": end.column,
            }),
            None => json!({"file": null, "line": null, "column": null, "end_line": null, "end_column": null}),
        }
    }

    fn path(&self, file: u32) -> Option<String> {
        let source = self.files.get(usize::try_from(file).ok()?)?;
        Some(format!("{}{}", self.prefix, source.name))
    }

    fn lines(&mut self, file: u32) -> Option<&LineIndex<'a>> {
        let source = self.files.get(usize::try_from(file).ok()?)?;
        Some(self.lines.entry(file).or_insert_with(|| LineIndex::new(&source.bytes)))
    }
}

/// A line of a file with a star for each byte of what nobody is shown.
fn masked(line: &[u8], line_start: u32, secrets: &[Place]) -> Vec<u8> {
    let is_secret = |offset: u32| secrets.iter().any(|place| (place.start..place.end).contains(&offset));
    let shown = |(offset, byte): (u32, &u8)| if is_secret(offset) { b'*' } else { *byte };
    (line_start..).zip(line).map(shown).collect()
}

/// An end that is the start of the next line belongs to the line before.
fn last_offset(place: Place) -> u32 {
    if place.end > place.start { place.end.saturating_sub(1) } else { place.end }
}

/// `2 errors and 1 warning`; `None` when there is nothing to count.
pub fn summary(diagnostics: &[Diagnostic]) -> Option<String> {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let counted = |count: usize, noun: &str| match count {
        0 => None,
        1 => Some(format!("1 {noun}")),
        many => Some(format!("{many} {noun}s")),
    };
    let parts: Vec<String> = [counted(errors, "error"), counted(diagnostics.len() - errors, "warning")]
        .into_iter()
        .flatten()
        .collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}
