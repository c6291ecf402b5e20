//! `output`: what a run must have written, read and lowered. Whatever kind of unit has the key plugs in
//! `OutputFile` and `lower_output`; nothing here knows one.

mod parts;

use serde_json::Value as Json;

use crate::unit::SourceFile;
use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::expression::NamedUnit;
pub(crate) use crate::unit::output::parts::Several;
use crate::unit::output::parts::{ContainsFile, FilePath, MatchesFile, MostSize, RequireFile, SchemaFile};
use crate::unit::read::{At, FromYaml, Reader, mapping, words};
use crate::unit::spec::output::{Content, FileSpec, Format, Keep, OutputSpec, Requirement, Source, Written};
use crate::unit::value::{Kept, Size};
use crate::unit::yaml::{self, Node};

mapping! {
    /// What proves that a run did its work.
    OutputKeys {
        /// The stream that is judged: `stdout` or `stderr`.
        source: Source = "stdout";
        /// `text`, `json`, `jsonl` (a JSON value a line), `yaml`, or `csv` with a header. Expressions see the result as `output`.
        format: Format = "text";
        /// At least so large; 0 allows it to be empty.
        min_size: Size = 1;
        /// At most so large, and never more than 64M.
        max_size: MostSize = "64M";
        /// A JSON Schema: a file beside the unit, or the schema itself.
        schema: SchemaFile;
        /// A text that must occur, or `{text, at_least, at_most, else}`, or a list of these.
        contains: Several<ContainsFile>;
        /// A regular expression that must match, or `{pattern, at_least, at_most, else}`, or a list of these.
        matches: Several<MatchesFile>;
        /// CEL expressions over output, text, lines, exit, duration, files, previous, units, guard and now that must hold, each alone or as `{that, else}`.
        require: Several<RequireFile>;
        /// Files that the run must have left.
        files: Several<FileKeys>;
        /// How much of it stays.
        keep: KeepFile;
    }
}

mapping! {
    /// A file that the run must have left, and what it must hold.
    FileKeys {
        /// Relative to the working directory; `{run.id}`, `{date}`, `*` and `?` stand for parts of names.
        [required] path: FilePath;
        /// `this-run`: since the run began. `any-time`: an older one will do.
        written: Written = "this-run";
        /// As of the whole output.
        format: Format = "text";
        /// At least so large; 0 allows it to be empty.
        min_size: Size = 1;
        /// At most so large, and never more than 64M.
        max_size: MostSize = "64M";
        /// A JSON Schema: a file beside the unit, or the schema itself.
        schema: SchemaFile;
        /// A text that must occur, or `{text, at_least, at_most, else}`, or a list of these.
        contains: Several<ContainsFile>;
        /// A regular expression that must match, or `{pattern, at_least, at_most, else}`, or a list of these.
        matches: Several<MatchesFile>;
        /// CEL expressions as for the whole output; `output`, `text`, `lines` and `previous` are those of this file.
        require: Several<RequireFile>;
    }
}

mapping! {
    /// How much output stays beside the last good one.
    KeepFile {
        /// The last so many runs; 0 to 10000.
        runs: Kept = 5;
        /// Most bytes of all of them together.
        size: Size = "10M";
    }
}

words!(Source { "stdout" => Self::Stdout, "stderr" => Self::Stderr });
words!(Format {
    "text" => Self::Text,
    "json" => Self::Json,
    "jsonl" => Self::Jsonl,
    "yaml" => Self::Yaml,
    "csv" => Self::Csv,
});
words!(Written { "this-run" => Self::ThisRun, "any-time" => Self::AnyTime });

/// `output` of a unit file, sound in itself.
#[derive(Clone, Debug)]
pub(crate) struct OutputFile(OutputKeys);

impl FromYaml for OutputFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let before = reader.diagnostics.len();
        let keys = OutputKeys::read(node, reader)?;
        let is_sound = reader.diagnostics.len() == before;
        check_content(&keys.content(), reader);
        for file in keys.files.iter().flat_map(|files| &files.value.0) {
            check_content(&file.value.content(), reader);
        }
        if is_sound && !keys.content().says_something() && keys.files.is_none() {
            reader.bad_value(
                node.place,
                "this output proves nothing",
                "say what it must be: `format`, `schema`, `require`, `contains`, `matches` or `files`",
            );
        }
        Some(Self(keys))
    }

    fn schema() -> Json {
        OutputKeys::schema()
    }

    fn over(self, below: Self) -> Self {
        Self(self.0.over(below.0))
    }
}

impl OutputFile {
    /// Units that its expressions speak of, with their places.
    pub(crate) fn units(&self) -> Vec<&NamedUnit> {
        let files = self.0.files.iter().flat_map(|files| &files.value.0);
        let own = self.0.require.iter().chain(files.filter_map(|file| file.value.require.as_ref()));
        own.flat_map(|require| &require.value.0).flat_map(|one| &one.value.that.units).collect()
    }

    /// Where its schemas stand: of the stream, then of the files in their order.
    pub(crate) fn schemas(&self) -> Vec<Place> {
        let files = self.0.files.iter().flat_map(|files| &files.value.0);
        let all = self.0.schema.iter().chain(files.filter_map(|file| file.value.schema.as_ref()));
        all.map(|schema| schema.place).collect()
    }
}

/// What takes effect.
pub(crate) fn lower_output(file: &OutputFile) -> OutputSpec {
    let OutputFile(keys) = file;
    let content = keys.content();
    let usual = Keep::default();
    let keep = keys.keep.as_ref().map(|keep| &keep.value);
    OutputSpec {
        source: keys.source.as_ref().map_or_else(Source::default, |source| source.value),
        stream: content.says_something().then(|| content.lower()),
        files: keys
            .files
            .iter()
            .flat_map(|files| &files.value.0)
            .map(|file| lower_file(&file.value))
            .collect(),
        keep: Keep {
            runs: keep.and_then(|keep| keep.runs.as_ref()).map_or(usual.runs, |runs| runs.value.0),
            size_bytes: keep
                .and_then(|keep| keep.size.as_ref())
                .map_or(usual.size_bytes, |size| size.value.0),
        },
    }
}

fn lower_file(file: &FileKeys) -> FileSpec {
    FileSpec {
        path: file.path.as_ref().map_or_else(|| "".into(), |path| path.value.0.clone()),
        written: file.written.as_ref().map_or_else(Written::default, |written| written.value),
        content: file.content().lower(),
    }
}

/// The key `output` of one unit file, whatever its kind, with all that is wrong with it.
pub fn of_unit(source: &SourceFile) -> (Option<OutputSpec>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut reader = Reader::default();
    let root = yaml::parse(0, &source.bytes, &mut diagnostics);
    let entries = root.as_ref().and_then(|root| reader.entries(root, "a mapping"));
    let entry = entries.and_then(|entries| entries.iter().find(|entry| entry.key == "output"));
    let output = entry.and_then(|entry| At::<OutputFile>::entry(entry, &mut reader));
    diagnostics.append(&mut reader.diagnostics);
    let is_sound = !diagnostics.iter().any(Diagnostic::is_error);
    (output.filter(|_| is_sound).map(|output| lower_output(&output.value)), diagnostics)
}

/// The keys that a stream and a file have in common.
struct ContentKeys<'a> {
    format: Option<&'a At<Format>>,
    min_size: Option<&'a At<Size>>,
    max_size: Option<&'a At<MostSize>>,
    schema: Option<&'a At<SchemaFile>>,
    contains: Option<&'a At<Several<ContainsFile>>>,
    matches: Option<&'a At<Several<MatchesFile>>>,
    require: Option<&'a At<Several<RequireFile>>>,
}

macro_rules! content_keys {
    ($($name:ty),+) => { $(
        impl $name {
            fn content(&self) -> ContentKeys<'_> {
                ContentKeys {
                    format: self.format.as_ref(),
                    min_size: self.min_size.as_ref(),
                    max_size: self.max_size.as_ref(),
                    schema: self.schema.as_ref(),
                    contains: self.contains.as_ref(),
                    matches: self.matches.as_ref(),
                    require: self.require.as_ref(),
                }
            }
        }
    )+ };
}

content_keys!(OutputKeys, FileKeys);

impl ContentKeys<'_> {
    fn says_something(&self) -> bool {
        self.format.is_some()
            || self.min_size.is_some()
            || self.max_size.is_some()
            || self.schema.is_some()
            || self.contains.is_some()
            || self.matches.is_some()
            || self.require.is_some()
    }

    fn lower(&self) -> Content {
        let contains =
            self.contains.iter().flat_map(|several| &several.value.0).map(|one| one.value.0.clone());
        let matches = self.matches.iter().flat_map(|several| &several.value.0).map(|one| one.value.0.clone());
        let require = self.require.iter().flat_map(|several| &several.value.0).map(|one| Requirement {
            that: one.value.that.expression.clone(),
            otherwise: one.value.otherwise.clone(),
        });
        Content {
            format: self.format.map_or_else(Format::default, |format| format.value),
            min_size_bytes: self.min_size.map_or(1, |size| size.value.0),
            max_size_bytes: self.max_size.map_or(Content::MOST_BYTES, |size| size.value.0),
            schema: self.schema.map(|schema| schema.value.0.clone()),
            counts: contains.chain(matches).collect(),
            require: require.collect(),
        }
    }
}

fn check_content(content: &ContentKeys<'_>, reader: &mut Reader) {
    if let (Some(min), Some(max)) = (content.min_size, content.max_size)
        && min.value.0 > max.value.0
    {
        reader.report(
            Diagnostic::error(
                "bad-value",
                min.place,
                "nothing is as large as this and as small as `max_size`",
            )
            .related(max.place, "the largest size")
            .help("make `min_size` at most `max_size`"),
        );
    }
    if let Some(schema) = content.schema
        && content.format.is_none_or(|format| format.value == Format::Text)
    {
        reader.bad_value(
            schema.key,
            "a schema says nothing about text",
            "say what it is: `format: json`, `jsonl`, `yaml` or `csv`",
        );
    }
}

#[cfg(test)]
mod tests;
