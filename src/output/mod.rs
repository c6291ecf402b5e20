//! Whether what a run wrote is what it was to write. Who wrote it is not trusted at all: whoever judges for a
//! supervisor does so in a process of its own, with little memory and little time (`process`).
//!
//! ```text
//! spec, what was found -> size, text, format (read) -> schema -> counts -> expressions -> Judgement
//! ```

pub mod judgement;
mod read;
pub mod schema;
mod content;
pub mod find;
pub mod wire;
pub mod process;
pub mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::output::content::Bench;
use crate::output::find::Looking;
use crate::output::judgement::{Judgement, Measures};
use crate::unit::spec::output::{FileSpec, OutputSpec, Written};

/// Everything that a run is judged by.
#[derive(Clone, Debug)]
pub struct Material {
    /// What it wrote to the stream that is judged. `None`: nobody kept it.
    pub stream: Option<Taken>,
    /// 128 and the signal where one ended it.
    pub exit: i32,
    pub duration: Duration,
    /// For each file of the spec, what was found; see [`find::find`].
    pub files: Vec<Vec<FoundFile>>,
    pub previous: Previous,
    /// `None`: nobody is there who knows. Requirements that ask for it are not asked then.
    pub units: Option<Json>,
    pub guard: Option<Json>,
    pub now: Moment,
    /// When the run began, in nanoseconds since 1970. `None`: there was no run.
    pub started_nanos: Option<u64>,
}

impl Default for Material {
    fn default() -> Self {
        Self {
            stream: None,
            exit: 0,
            duration: Duration::ZERO,
            files: Vec::new(),
            previous: Previous::default(),
            units: None,
            guard: None,
            now: Moment::default(),
            started_nanos: None,
        }
    }
}

/// What could be had of a stream or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Bytes(Vec<u8>),
    /// Larger than can be judged; so many bytes.
    TooLarge(u64),
    Unreadable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// As the spec has it, placeholders filled in.
    pub path: String,
    /// Nanoseconds since 1970.
    pub modified_nanos: u64,
    pub taken: Taken,
}

/// The last good output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Previous {
    pub stream: Option<Vec<u8>>,
    /// For each file of the spec, by file name.
    pub files: Vec<BTreeMap<String, Vec<u8>>>,
}

impl Previous {
    /// That of the same name, else the last by name: names with a date in them are never the same.
    fn take_file(&mut self, entry: usize, path: &str) -> Option<Vec<u8>> {
        let kept = self.files.get_mut(entry)?;
        let name = path.rsplit('/').next().unwrap_or(path);
        kept.remove(name).or_else(|| kept.last_key_value().map(|(_, bytes)| bytes.clone()))
    }
}

/// Now, as expressions see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since 1970.
    pub unix: i64,
    /// `2026-11-20`, where the job is.
    pub date: String,
    /// `06:00:00`.
    pub time: String,
    /// `friday`.
    pub weekday: String,
}

/// Judges. It takes a thread of its own, whose stack its bounds cannot exhaust.
pub fn judge(spec: &OutputSpec, material: Material) -> Judgement {
    let work = || judge_here(spec, material);
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("judge".to_owned()).stack_size(STACK_BYTES);
        match builder.spawn_scoped(scope, work) {
            Ok(thread) => thread.join().unwrap_or_else(|_panic| Judgement::not_judged("the judge broke off")),
            Err(error) => Judgement::not_judged(format!("no thread: {error}")),
        }
    })
}

fn judge_here(spec: &OutputSpec, mut material: Material) -> Judgement {
    let mut bench = Bench::new(common_facts(&material));
    let mut measures = Measures::default();
    if let Some(content) = &spec.stream {
        let previous = material.previous.stream.take();
        match material.stream.take() {
            Some(taken) => measures = bench.judge(None, content, taken, previous),
            None => bench.trouble("nobody kept what it wrote"),
        }
    }
    let found = std::mem::take(&mut material.files);
    let nothing = std::iter::repeat_with(Vec::new);
    for (entry, (file, found)) in spec.files.iter().zip(found.into_iter().chain(nothing)).enumerate() {
        judge_files(entry, file, found, &mut material, &mut bench);
    }
    bench.judgement(measures)
}

fn judge_files(
    entry: usize,
    file: &FileSpec,
    found: Vec<FoundFile>,
    material: &mut Material,
    bench: &mut Bench,
) {
    if found.is_empty() {
        let words = if file.path.contains(['*', '?']) { "nothing matches it" } else { "it is not there" };
        bench.unmet(Some(&file.path), "the file is there", words);
        return;
    }
    for found in found {
        if file.written == Written::ThisRun
            && let Some(started) = material.started_nanos
        {
            let is_fresh = found.modified_nanos.saturating_add(COARSE_CLOCK_NANOS) >= started;
            let before = Duration::from_nanos(started.saturating_sub(found.modified_nanos));
            if is_fresh {
                bench.met(Some(&found.path), "written by this run");
            } else {
                let words = format!("it was written {} before this run began", in_words(before));
                bench.unmet(Some(&found.path), "written by this run", &words);
            }
        }
        let previous = material.previous.take_file(entry, &found.path);
        bench.judge(Some(&found.path), &file.content, found.taken, previous);
    }
}

/// The facts that are the same for the stream and every file.
fn common_facts(material: &Material) -> BTreeMap<&'static str, Option<Json>> {
    let now = &material.now;
    let now_millis = now.unix.saturating_mul(1000);
    let file = |found: &FoundFile| {
        let size = match &found.taken {
            Taken::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Taken::TooLarge(size) => *size,
            Taken::Unreadable(_) => 0,
        };
        let modified = i64::try_from(found.modified_nanos / 1_000_000).unwrap_or(i64::MAX);
        let name = found.path.rsplit('/').next().unwrap_or(&found.path);
        let age = now_millis.saturating_sub(modified) / 1000;
        json!({"path": found.path, "name": name, "size": size, "modified": modified / 1000, "age": age})
    };
    let files: Json = material.files.iter().flatten().map(file).collect();
    let now = json!({"unix": now.unix, "date": now.date, "time": now.time, "weekday": now.weekday});
    BTreeMap::from([
        ("exit", Some(json!(material.exit))),
        ("duration", Some(json!(material.duration.as_secs_f64()))),
        ("files", Some(files)),
        ("units", material.units.clone()),
        ("guard", material.guard.clone()),
        ("now", Some(now)),
    ])
}

/// `3 days`, `2 hours`, `50 minutes`, `4.2 s`.
fn in_words(time: Duration) -> String {
    let counted = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds @ 60..3600 => counted(seconds / 60, "minute"),
        seconds @ 3600..86_400 => counted(seconds / 3600, "hour"),
        seconds => counted(seconds / 86_400, "day"),
    }
}

/// What the run left in its directory, added to what else is known of it.
pub fn with_files(spec: &OutputSpec, looking: &Looking, material: Material) -> Material {
    let files = spec.files.iter().map(|file| find::find(file, looking)).collect();
    Material { files, ..material }
}

/// As for other expressions.
const STACK_BYTES: usize = 16 * 1024 * 1024;
/// File systems date by a clock that ticks up to a hundredth of a second late.
const COARSE_CLOCK_NANOS: u64 = 20_000_000;
