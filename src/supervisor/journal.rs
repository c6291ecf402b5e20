//! The last resort: what is known of runs and notes, on disk, for the day when both rings die at once.
//!
//! Lines of text, each with its checksum in front, appended and never waited for. A line that was
//! torn by a kill is skipped; the file is replaced by a short one when it has grown.
//!
//! ```text
//! 5f0c1a2b epoch BOOT_ID PID_NAMESPACE
//! 0a77d3e1 run RUN UNIT ORDINAL SPAWNED_AT UID
//! 2f6e88d1 name RUN UNIT                  (what it is called by now; its processes still say what it was)
//! 91b20c44 live RUN PID START_TIME
//! 33c9ffe0 note KEY VALUE                 (hexadecimal; an empty value forgets the key)
//! 7d1e00aa over RUN
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::aside::files::replace_for_this_boot;
use crate::engine::time::Timestamp;
use crate::proc::run_tag;
use crate::supervisor::hash::{fnv, fold};
use crate::supervisor::identity::Epoch;
use crate::supervisor::sink::{Batch, Sink};

/// What a journal says when all of it is read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) epoch: Option<Epoch>,
    /// Boxed, as half of a tree's places are empty.
    pub(crate) runs: BTreeMap<u64, Box<RecordedRun>>,
    pub(crate) notes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Lines that made no sense; more than the last one means damage.
    pub(crate) bad_lines: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedRun {
    pub(crate) unit: Arc<str>,
    /// What its unit was called when it was ordered, where that was otherwise.
    pub(crate) spawned_as: Option<Arc<str>>,
    pub(crate) ordinal: u32,
    pub(crate) spawned_at: u64,
    /// Whom it runs as. `None`: not known.
    pub(crate) uid: Option<u32>,
    /// `None`: the keeper died between the order and its answer.
    pub(crate) process: Option<Process>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Zero: nobody could tell.
    pub(crate) start_time: u64,
}

/// The writing end. Also holds what a fresh file would say, to replace a long one.
#[derive(Debug)]
pub(crate) struct Journal {
    sink: Sink,
    image: Recorded,
    written_bytes: usize,
    /// Something did not reach the file: then all of it is written anew.
    rewrite_at: Option<Timestamp>,
}

impl Journal {
    /// Starts over with `image`, which has to hold what is still true of an earlier file.
    pub(crate) fn begin(state: &Path, image: Recorded) -> Self {
        let path = path_in(state);
        let sink = Sink::new(PENDING_MAX_BYTES, move |batch| write(&path, batch));
        let mut journal = Self { sink, image, written_bytes: 0, rewrite_at: None };
        journal.compact();
        journal
    }

    pub(crate) fn run_ordered(&mut self, run: u64, recorded: RecordedRun) {
        self.append(&run_line(run, &recorded));
        self.image.runs.insert(run, Box::new(recorded));
    }

    pub(crate) fn run_renamed(&mut self, run: u64, unit: &Arc<str>) {
        if let Some(recorded) = self.image.runs.get_mut(&run) {
            recorded.rename(Arc::clone(unit));
            self.append(&name_line(run, unit));
        }
    }

    pub(crate) fn run_lives(&mut self, run: u64, process: Process) {
        self.append(&live_line(run, process));
        if let Some(recorded) = self.image.runs.get_mut(&run) {
            recorded.process = Some(process);
        }
    }

    pub(crate) fn run_over(&mut self, run: u64) {
        if self.image.runs.remove(&run).is_some() {
            self.append(&format!("over {run}"));
        }
    }

    pub(crate) fn noted(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.append(&note_line(&key, &value));
        if value.is_empty() {
            self.image.notes.remove(&key);
        } else {
            self.image.notes.insert(key, value);
        }
    }

    /// All that was noted, for a keeper that knows nothing yet.
    pub(crate) fn notes(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.image.notes
    }

    /// The first trouble of a spell, to be told once.
    pub(crate) fn trouble(&self) -> Option<io::Error> {
        self.sink.take_trouble()
    }

    /// Sees to it that what was lost is made up for, a while after it was: a line that is missing for good
    /// would be a run that nobody knows of.
    pub(crate) fn tend(&mut self, now: Timestamp) {
        if self.sink.lost_bytes() == 0 {
            self.rewrite_at = None;
        } else if *self.rewrite_at.get_or_insert_with(|| now.after(RETRY)) <= now {
            self.rewrite_at = None;
            self.compact();
        }
    }

    /// Comes back when `tend` has something to do. Safe to drop at any await.
    pub(crate) async fn needs_tending(&self, now: Timestamp) {
        let Some(at) = self.rewrite_at else { return self.sink.turned().await };
        let pause = Duration::from_nanos(at.0.saturating_sub(now.0));
        // The writer has nothing else to tell before the next attempt.
        drop(tokio::time::timeout(pause, std::future::pending::<()>()).await);
    }

    /// An orderly end: the next start owes nothing to this one.
    pub(crate) async fn end(mut self, limit: Duration) {
        self.image = Recorded { epoch: self.image.epoch.take(), ..Recorded::default() };
        self.sink.replace(self.image.to_text().into_bytes());
        self.sink.close(limit).await;
    }

    /// Everything goes on without this supervisor: what it wrote has to hold.
    pub(crate) async fn close(self, limit: Duration) {
        self.sink.close(limit).await;
    }

    fn append(&mut self, payload: &str) {
        if self.sink.lost_bytes() > 0 {
            // What follows a torn line could not be read; the image has it for when all is written anew.
            return;
        }
        let line = checked(payload);
        self.written_bytes = self.written_bytes.saturating_add(line.len());
        if self.written_bytes > COMPACT_BYTES {
            self.compact();
        }
        self.sink.push(line.as_bytes());
    }

    fn compact(&mut self) {
        let text = self.image.to_text();
        // A large image must not make every append a compaction.
        self.written_bytes = 0;
        self.sink.replace(text.into_bytes());
    }
}

impl RecordedRun {
    /// The value of `MCSUP_RUN` in the environment of everything of it.
    pub(crate) fn tag(&self, run: u64) -> String {
        run_tag(self.spawned_as.as_ref().unwrap_or(&self.unit), self.ordinal, run)
    }

    fn rename(&mut self, unit: Arc<str>) {
        let before = std::mem::replace(&mut self.unit, unit);
        let spawned_as = self.spawned_as.take().unwrap_or(before);
        self.spawned_as = Some(spawned_as).filter(|name| *name != self.unit);
    }
}

impl Recorded {
    /// What the journal of this state directory says; empty where there is none.
    ///
    /// # Errors
    /// When there is a journal and it cannot be read: what it says is then unknown, not empty.
    pub(crate) fn read(state: &Path) -> io::Result<Self> {
        match fs::read(path_in(state)) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> Self {
        let mut recorded = Self::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let understood = std::str::from_utf8(line)
                .ok()
                .and_then(|line| line.split_once(' '))
                .filter(|(sum, payload)| *sum == checksum(payload))
                .and_then(|(_, payload)| recorded.take(payload));
            if understood.is_none() {
                recorded.bad_lines = recorded.bad_lines.saturating_add(1);
            }
        }
        recorded
    }

    fn take(&mut self, payload: &str) -> Option<()> {
        let mut words = payload.split(' ');
        match words.next()? {
            "epoch" => {
                let (boot_id, pid_namespace) = (words.next()?.to_owned(), words.next()?.to_owned());
                self.epoch = Some(Epoch { boot_id, pid_namespace });
            }
            "run" => {
                let run = words.next()?.parse().ok()?;
                let recorded = RecordedRun {
                    unit: words.next()?.into(),
                    spawned_as: None,
                    ordinal: words.next()?.parse().ok()?,
                    spawned_at: words.next()?.parse().ok()?,
                    uid: words.next().and_then(|uid| uid.parse().ok()),
                    process: None,
                };
                self.runs.insert(run, Box::new(recorded));
            }
            "name" => {
                let run = words.next()?.parse().ok()?;
                self.runs.get_mut(&run)?.rename(words.next()?.into());
            }
            "live" => {
                let run = words.next()?.parse().ok()?;
                let process =
                    Process { pid: words.next()?.parse().ok()?, start_time: words.next()?.parse().ok()? };
                self.runs.get_mut(&run)?.process = Some(process);
            }
            "over" => drop(self.runs.remove(&words.next()?.parse().ok()?)),
            "note" => {
                let (key, value) = (from_hex(words.next()?)?, from_hex(words.next()?)?);
                if value.is_empty() {
                    self.notes.remove(&key);
                } else {
                    self.notes.insert(key, value);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        if let Some(Epoch { boot_id, pid_namespace }) = &self.epoch {
            text.push_str(&checked(&format!("epoch {boot_id} {pid_namespace}")));
        }
        for (run, recorded) in &self.runs {
            text.push_str(&checked(&run_line(*run, recorded)));
            if recorded.spawned_as.is_some() {
                text.push_str(&checked(&name_line(*run, &recorded.unit)));
            }
            if let Some(process) = recorded.process {
                text.push_str(&checked(&live_line(*run, process)));
            }
        }
        for (key, value) in &self.notes {
            text.push_str(&checked(&note_line(key, value)));
        }
        text
    }
}

fn run_line(run: u64, recorded: &RecordedRun) -> String {
    let RecordedRun { unit, spawned_as, ordinal, spawned_at, uid, process: _ } = recorded;
    let unit = spawned_as.as_ref().unwrap_or(unit);
    let line = format!("run {run} {unit} {ordinal} {spawned_at}");
    uid.map_or_else(|| line.clone(), |uid| format!("{line} {uid}"))
}

fn name_line(run: u64, unit: &str) -> String {
    format!("name {run} {unit}")
}

fn live_line(run: u64, Process { pid, start_time }: Process) -> String {
    format!("live {run} {pid} {start_time}")
}

fn note_line(key: &[u8], value: &[u8]) -> String {
    let digits = key.len().saturating_add(value.len()).saturating_mul(2);
    let mut line = String::with_capacity(digits.saturating_add("note  ".len()));
    line.push_str("note ");
    push_hex(&mut line, key);
    line.push(' ');
    push_hex(&mut line, value);
    line
}

fn checked(payload: &str) -> String {
    // A stop of a thousand units comes here some thousands of times.
    [checksum(payload).as_str(), " ", payload, "\n"].concat()
}

fn checksum(payload: &str) -> String {
    format!("{:08x}", fold(fnv(payload.as_bytes())))
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(half), 16).unwrap_or('0'));
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    text.len().is_multiple_of(2).then(|| text.as_bytes().chunks(2).map(pair).collect())?
}

/// On a worker. No fsync: what matters dies with the machine's boot anyway.
fn write(path: &Path, batch: &Batch) -> io::Result<()> {
    if batch.replaces {
        return replace_for_this_boot(path, &batch.bytes);
    }
    let mut file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    // All or nothing: it is written again, and half a line in front of it would spoil its first one.
    file.write_all(&batch.bytes).inspect_err(|_| drop(file.set_len(length)))
}

fn path_in(state: &Path) -> PathBuf {
    state.join("journal")
}

/// Grown by this much, it is written anew.
const COMPACT_BYTES: usize = 1024 * 1024;
/// Between two attempts to write what did not reach the file.
const RETRY: Duration = Duration::from_secs(2);
/// A disk that takes nothing for a while costs this much memory at most.
const PENDING_MAX_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Recorded {
        let process = Some(Process { pid: 77, start_time: 1234 });
        let unit = "redis".into();
        let run =
            RecordedRun { unit, spawned_as: None, ordinal: 4, spawned_at: 99, uid: Some(1000), process };
        let renamed = RecordedRun { spawned_as: Some("valkey".into()), ..run.clone() };
        Recorded {
            epoch: Some(Epoch { boot_id: "b-1".into(), pid_namespace: "4026531836".into() }),
            runs: [(4, run.clone()), (5, RecordedRun { process: None, uid: None, ..run }), (6, renamed)]
                .map(|(number, run)| (number, Box::new(run)))
                .into(),
            notes: [(b"unit:redis".to_vec(), vec![1, 2, 255])].into(),
            bad_lines: 0,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Recorded::parse(sample().to_text().as_bytes()), sample());
    }

    #[test]
    fn case_8_a_line_torn_at_any_byte_costs_that_line_at_most() {
        let text = sample().to_text() + &checked("over 4");
        let whole = Recorded::parse(text.as_bytes());
        let before = sample();
        let last = text.len() - checked("over 4").len();
        for length in last..text.len() - 1 {
            let torn = Recorded::parse(&text.as_bytes()[..length]);
            assert_eq!((&torn.runs, &torn.notes), (&before.runs, &before.notes), "cut at {length}");
        }
        assert!(!whole.runs.contains_key(&4));
    }

    #[test]
    fn a_run_whose_unit_was_renamed_is_still_looked_for_by_the_name_of_its_spawn() {
        let mut text = sample().to_text();
        for name in ["web", "www"] {
            text += &checked(&name_line(4, name));
        }
        let run = Recorded::parse(text.as_bytes()).runs[&4].clone();
        assert_eq!((&*run.unit, run.tag(4).as_str()), ("www", "redis#4:4"));
        text += &checked(&name_line(4, "redis"));
        assert_eq!(Recorded::parse(text.as_bytes()), sample(), "it has its name again");
    }

    #[test]
    fn a_damaged_line_in_the_middle_is_counted_and_the_rest_still_holds() {
        let text = sample().to_text().replace("live 4 77", "live 4 78");
        let recorded = Recorded::parse(text.as_bytes());
        assert_eq!(recorded.bad_lines, 1);
        assert_eq!(recorded.runs[&4].process, None);
        assert_eq!(recorded.notes, sample().notes);
    }

    fn ordered() -> RecordedRun {
        RecordedRun { process: None, ..(*sample().runs[&4]).clone() }
    }

    #[test]
    fn what_a_full_disk_swallowed_is_written_when_there_is_room_again() {
        let state = std::env::temp_dir().join(format!("mcsup-journal-{}", std::process::id()));
        drop(fs::remove_dir_all(&state));
        fs::create_dir_all(&state).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut journal = Journal::begin(&state, sample());
            journal.run_ordered(6, ordered());
            // Where the file was is a directory: nothing can be written, as on a disk that is full.
            let is_written = (0..1_000_000).any(|_| {
                std::thread::yield_now();
                Recorded::read(&state).unwrap().runs.len() == 3
            });
            assert!(is_written);
            fs::remove_file(path_in(&state)).unwrap();
            fs::create_dir_all(path_in(&state).join("x")).unwrap();
            journal.run_ordered(7, ordered());
            journal.needs_tending(Timestamp(0)).await;
            assert!(journal.trouble().is_some());
            journal.tend(Timestamp(0));
            journal.run_ordered(8, ordered());
            // The first attempt is in vain, the second one is not; nothing else happens meanwhile.
            let mut now = Timestamp(0);
            for _ in 0..2 {
                journal.needs_tending(now).await;
                now = now.after(RETRY);
                journal.tend(now);
                journal.needs_tending(now).await;
                journal.tend(now);
                drop(fs::remove_dir_all(path_in(&state)));
            }
            journal.close(Duration::from_secs(10)).await;
        });
        let recorded = Recorded::read(&state).unwrap();
        assert_eq!(recorded.runs.keys().copied().collect::<Vec<_>>(), [4, 5, 6, 7, 8]);
        fs::remove_dir_all(state).unwrap();
    }
}
