//! One request to the judge's process: a frame with its length, then the bytes that it announces. What comes back
//! is one [`Judgement`](crate::output::judgement::Judgement) as JSON.
//!
//! ```text
//! u32 little-endian: length of the header | header as JSON | stream | previous stream | previous files ...
//! ```

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::output::find::{self, Looking};
use crate::output::{Material, Moment, Previous, Taken, with_files};
use crate::unit::spec::output::{
    Content, Count, FileSpec, Format, Keep, OutputSpec, Requirement, Schema, Sought, Source, Written,
};
use crate::unit::spec::probe::{Expression, Pattern};

/// What a judge is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its schemas resolved, see [`resolved`](crate::output::schema::resolved).
    pub spec: OutputSpec,
    pub stream: Piece,
    pub exit: i32,
    pub duration: Duration,
    pub looking: Looking,
    /// When the run began, in nanoseconds since 1970.
    pub started_nanos: u64,
    pub previous: Previous,
    pub units: Json,
    pub guard: Json,
    pub now: Moment,
}

/// Where the stream's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Absent,
    /// They travel with the request.
    Inline(Vec<u8>),
    /// A part of a file, or all of it behind `offset`.
    File {
        path: PathBuf,
        offset: u64,
        length: Option<u64>,
    },
}

impl Request {
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let stream = match &self.stream {
            Piece::Absent => PieceDto::Absent,
            Piece::Inline(bytes) => PieceDto::Inline { bytes: length(bytes) },
            Piece::File { path, offset, length } => {
                PieceDto::File { path: path.clone(), offset: *offset, length: *length }
            }
        };
        let files = self.previous.files.iter();
        let header = Header {
            spec: SpecDto::from(&self.spec),
            stream,
            exit: self.exit,
            duration_nanos: u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX),
            dir: self.looking.dir.clone(),
            run_id: self.looking.run_id.clone(),
            date: self.looking.date.clone(),
            started_nanos: self.started_nanos,
            previous: self.previous.stream.as_deref().map(length),
            previous_files: files
                .map(|files| files.iter().map(|(name, bytes)| (name.clone(), length(bytes))).collect())
                .collect(),
            units: self.units.clone(),
            guard: self.guard.clone(),
            now: self.now.clone(),
        };
        let header = serde_json::to_vec(&header)?;
        let announced = u32::try_from(header.len()).ok().filter(|length| *length <= MOST_HEADER_BYTES);
        let announced = announced.ok_or_else(|| invalid("the request is too large"))?;
        to.write_all(&announced.to_le_bytes())?;
        to.write_all(&header)?;
        if let Piece::Inline(bytes) = &self.stream {
            to.write_all(bytes)?;
        }
        let files = self.previous.files.iter().flat_map(BTreeMap::values);
        for bytes in self.previous.stream.iter().chain(files) {
            to.write_all(bytes)?;
        }
        to.flush()
    }

    /// The spec and what it is judged by; files are looked for here.
    ///
    /// # Errors
    /// When it ends early, or is no request.
    pub fn read(from: &mut impl Read) -> io::Result<(OutputSpec, Material)> {
        let mut announced = [0; 4];
        from.read_exact(&mut announced)?;
        let announced = u32::from_le_bytes(announced);
        if announced > MOST_HEADER_BYTES {
            return Err(invalid("the request is too large"));
        }
        let header: Header = serde_json::from_slice(&exactly(from, u64::from(announced))?)?;
        let spec = OutputSpec::try_from(header.spec)?;
        let stream = match header.stream {
            PieceDto::Absent => None,
            PieceDto::Inline { bytes } => Some(inline(from, bytes)?),
            PieceDto::File { path, offset, length } => Some(find::take(&path, offset, length)),
        };
        let bytes_of = |from: &mut _, bytes| match inline(from, bytes)? {
            Taken::Bytes(bytes) => Ok(Some(bytes)),
            // What is too large to be judged was never good.
            Taken::TooLarge(_) | Taken::Unreadable(_) => Ok::<_, io::Error>(None),
        };
        let mut previous = Previous::default();
        if let Some(bytes) = header.previous {
            previous.stream = bytes_of(from, bytes)?;
        }
        for files in header.previous_files {
            let mut kept = BTreeMap::new();
            for (name, bytes) in files {
                if let Some(bytes) = bytes_of(from, bytes)? {
                    kept.insert(name, bytes);
                }
            }
            previous.files.push(kept);
        }
        let looking = Looking { dir: header.dir, run_id: header.run_id, date: header.date };
        let material = Material {
            stream,
            exit: header.exit,
            duration: Duration::from_nanos(header.duration_nanos),
            files: Vec::new(),
            previous,
            units: Some(header.units),
            guard: Some(header.guard),
            now: header.now,
            started_nanos: Some(header.started_nanos),
        };
        let material = with_files(&spec, &looking, material);
        Ok((spec, material))
    }
}

/// What is too large is passed over, so that what follows is still found.
fn inline(from: &mut impl Read, bytes: u64) -> io::Result<Taken> {
    if bytes > Content::MOST_BYTES {
        io::copy(&mut from.take(bytes), &mut io::sink())?;
        return Ok(Taken::TooLarge(bytes));
    }
    exactly(from, bytes).map(Taken::Bytes)
}

/// Room is taken as it is filled, whatever was announced.
fn exactly(from: &mut impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    from.take(bytes).read_to_end(&mut read)?;
    if length(&read) < bytes {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the request ends early"));
    }
    Ok(read)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn invalid(words: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

/// A spec of many files and the facts of a thousand units fit many times.
const MOST_HEADER_BYTES: u32 = 16 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    spec: SpecDto,
    stream: PieceDto,
    exit: i32,
    duration_nanos: u64,
    dir: PathBuf,
    run_id: String,
    date: String,
    started_nanos: u64,
    previous: Option<u64>,
    previous_files: Vec<Vec<(String, u64)>>,
    units: Json,
    guard: Json,
    now: Moment,
}

#[derive(Serialize, Deserialize)]
enum PieceDto {
    Absent,
    Inline { bytes: u64 },
    File { path: PathBuf, offset: u64, length: Option<u64> },
}

#[derive(Serialize, Deserialize)]
struct SpecDto {
    is_stderr: bool,
    stream: Option<ContentDto>,
    files: Vec<FileDto>,
    keep_runs: u16,
    keep_bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct FileDto {
    path: Box<str>,
    any_time: bool,
    content: ContentDto,
}

#[derive(Serialize, Deserialize)]
struct ContentDto {
    format: String,
    min: u64,
    max: u64,
    schema: Option<Json>,
    schema_file: Option<Box<str>>,
    counts: Vec<CountDto>,
    require: Vec<(Box<str>, Option<Box<str>>)>,
}

#[derive(Serialize, Deserialize)]
struct CountDto {
    text: Option<Box<str>>,
    pattern: Option<Box<str>>,
    at_least: u64,
    at_most: Option<u64>,
    otherwise: Option<Box<str>>,
}

impl From<&OutputSpec> for SpecDto {
    fn from(spec: &OutputSpec) -> Self {
        let file = |file: &FileSpec| FileDto {
            path: file.path.clone(),
            any_time: file.written == Written::AnyTime,
            content: ContentDto::from(&file.content),
        };
        Self {
            is_stderr: spec.source == Source::Stderr,
            stream: spec.stream.as_ref().map(ContentDto::from),
            files: spec.files.iter().map(file).collect(),
            keep_runs: spec.keep.runs,
            keep_bytes: spec.keep.size_bytes,
        }
    }
}

impl From<&Content> for ContentDto {
    fn from(content: &Content) -> Self {
        let count = |count: &Count| {
            let (text, pattern) = match &count.what {
                Sought::Text(text) => (Some(text.clone()), None),
                Sought::Pattern(pattern) => (None, Some(pattern.0.clone())),
            };
            let (at_least, at_most) = (count.at_least, count.at_most);
            CountDto { text, pattern, at_least, at_most, otherwise: count.otherwise.clone() }
        };
        let (schema, schema_file) = match &content.schema {
            Some(Schema::Inline(schema)) => (Some(schema.clone()), None),
            Some(Schema::File(name)) => (None, Some(name.clone())),
            None => (None, None),
        };
        Self {
            format: content.format.as_str().to_owned(),
            min: content.min_size_bytes,
            max: content.max_size_bytes,
            schema,
            schema_file,
            counts: content.counts.iter().map(count).collect(),
            require: content.require.iter().map(|one| (one.that.0.clone(), one.otherwise.clone())).collect(),
        }
    }
}

impl TryFrom<SpecDto> for OutputSpec {
    type Error = io::Error;

    fn try_from(spec: SpecDto) -> io::Result<Self> {
        let file = |file: FileDto| {
            Ok(FileSpec {
                path: file.path,
                written: if file.any_time { Written::AnyTime } else { Written::ThisRun },
                content: file.content.try_into()?,
            })
        };
        Ok(Self {
            source: if spec.is_stderr { Source::Stderr } else { Source::Stdout },
            stream: spec.stream.map(TryInto::try_into).transpose()?,
            files: spec.files.into_iter().map(file).collect::<io::Result<_>>()?,
            keep: Keep { runs: spec.keep_runs, size_bytes: spec.keep_bytes },
        })
    }
}

impl TryFrom<ContentDto> for Content {
    type Error = io::Error;

    fn try_from(content: ContentDto) -> io::Result<Self> {
        let count = |count: CountDto| {
            let what = match (count.text, count.pattern) {
                (Some(text), None) => Sought::Text(text),
                (None, Some(pattern)) => Sought::Pattern(Pattern(pattern)),
                (Some(_), Some(_)) | (None, None) => {
                    return Err(invalid("a count of nothing, or of two things"));
                }
            };
            let (at_least, at_most) = (count.at_least, count.at_most);
            Ok(Count { what, at_least, at_most, otherwise: count.otherwise })
        };
        let format = FORMATS.iter().find(|format| format.as_str() == content.format);
        Ok(Self {
            format: *format.ok_or_else(|| invalid("no format of ours"))?,
            min_size_bytes: content.min,
            max_size_bytes: content.max,
            schema: content.schema.map(Schema::Inline).or_else(|| content.schema_file.map(Schema::File)),
            counts: content.counts.into_iter().map(count).collect::<io::Result<_>>()?,
            require: content
                .require
                .into_iter()
                .map(|(that, otherwise)| Requirement { that: Expression(that), otherwise })
                .collect(),
        })
    }
}

const FORMATS: &[Format] = &[Format::Text, Format::Json, Format::Jsonl, Format::Yaml, Format::Csv];
