//! Reads what a unit wrote since the last look, through rotations. A look costs at most `MOST_BYTES`: of what
//! was written beyond that, the newest is read.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use regex::Regex;

use crate::aside::Threads;
use crate::aside::files::if_there;
use crate::aside::logs::{self, CURRENT};
use crate::engine::time::Pretty;
use crate::probe::{Answer, Clock, Patterns, in_words, ours, quoted, theirs};
use crate::unit::spec::probe::LogProbe;

#[derive(Clone, Debug)]
pub struct LogQuestion {
    pub unit: Box<str>,
    pub index: u16,
    pub run: u64,
    /// `LOG/UNIT`.
    pub dir: PathBuf,
    pub probe: LogProbe,
}

/// A place in a unit's log: a file, by what does not change when it is renamed, and how much of it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    file: FileId,
    offset: u64,
}

/// Inode numbers come again within a second; the date of birth tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    inode: u64,
    born: u128,
}

impl FileId {
    fn of(found: &Metadata) -> Self {
        let born = found.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self { inode: found.ino(), born: born.map_or(0, |time| time.as_nanos()) }
    }
}

/// How far a log is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// In the file that was being written. `None`: there was none.
    at: Option<Position>,
    /// The newest of the rotated files.
    newest: u64,
}

impl Known {
    fn all_of(files: &[Listed]) -> Self {
        let current = files.last().filter(|file| file.number == CURRENT);
        Self { at: current.map(|file| Position { file: file.id, offset: file.size }), newest: newest(files) }
    }
}

/// Where the log of a run begins. Empty until the thread that looks has looked.
type Mark = Arc<OnceLock<Known>>;

/// By unit and number of the probe: the run, and what is known of its log.
type Looks = BTreeMap<(Box<str>, u16), (u64, Arc<Mutex<Look>>)>;

/// What one probe knows of one run's log.
#[derive(Debug, Default)]
struct Look {
    known: Known,
    has_looked: bool,
    /// When the watch began, and when the last line that matches was found; by the wall clock.
    began: Duration,
    matched: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Logs {
    threads: Threads,
    /// Of their own: at a boot many runs begin at once, and none waits.
    markers: Threads,
    marks: Mutex<BTreeMap<Box<str>, (u64, Mark)>>,
    looks: Mutex<Looks>,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            threads: Threads::new("log probe", AT_ONCE),
            markers: Threads::new("log mark", MARKERS),
            marks: Mutex::default(),
            looks: Mutex::default(),
        }
    }
}

impl Logs {
    pub(crate) fn run_begins(&self, unit: &str, run: u64, log_dir: &Path) {
        let mark = Mark::default();
        let (dir, set) = (log_dir.join(unit), Arc::clone(&mark));
        let begun = self.markers.try_begin(move || {
            // A log that cannot be read has no lines of others.
            let files = list(&dir).unwrap_or_default();
            // The only one who sets it.
            set.get_or_init(|| Known::all_of(&files));
        });
        // Without a mark the first look begins at the end.
        if begun.is_ok() {
            self.marks.lock().unwrap_or_else(PoisonError::into_inner).insert(unit.into(), (run, mark));
        }
    }

    pub(crate) async fn ask(
        &self,
        patterns: &Patterns,
        question: LogQuestion,
        limit: Duration,
        clock: Clock,
    ) -> Answer {
        let compile = |pattern: &Option<_>| pattern.as_ref().map(|p| patterns.get(p)).transpose();
        let wanted = Wanted {
            within: question.probe.within,
            matches: compile(&question.probe.matches)?,
            bad: compile(&question.probe.bad)?,
        };
        let mark = {
            let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            marks
                .get(&question.unit)
                .filter(|(run, _)| *run == question.run)
                .map(|(_, mark)| Arc::clone(mark))
        };
        let look = {
            let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = looks.entry((question.unit.clone(), question.index)).or_default();
            if entry.0 != question.run {
                *entry = (question.run, Arc::default());
            }
            Arc::clone(&entry.1)
        };
        let (dir, now) = (question.dir, (clock.wall)());
        let within = limit.saturating_sub(limit / 16);
        let looked = self.threads.ask(within, move || {
            let mut look = look.lock().unwrap_or_else(PoisonError::into_inner);
            look.look(&dir, mark.and_then(|mark| mark.get().copied()), now, &wanted)
        });
        looked.await.unwrap_or_else(|| Err(ours(format!("cannot read the log within {}", Pretty(within)))))
    }
}

#[derive(Debug)]
struct Wanted {
    within: Option<Duration>,
    matches: Option<Regex>,
    bad: Option<Regex>,
}

impl Look {
    /// `mark`: where the run's log begins, if anybody looked then.
    fn look(&mut self, dir: &Path, mark: Option<Known>, now: Duration, wanted: &Wanted) -> Answer {
        let unreadable = |error: &io::Error| ours(format!("cannot read the log: {}", in_words(error)));
        let mut files = list(dir).map_err(|error| unreadable(&error))?;
        if !self.has_looked {
            self.has_looked = true;
            self.began = now;
            self.known = mark.unwrap_or_else(|| Known::all_of(&files));
        }
        if self.known.at.is_some_and(|known| files.iter().all(|file| file.id != known.file)) {
            // Renamed while the directory was read, and by now it has its name; or it is deleted.
            files = list(dir).map_err(|error| unreadable(&error))?;
        }
        let written = files
            .iter()
            .map(|file| file.written)
            .max()
            .filter(|written| written.saturating_add(FILE_CLOCK) > self.began);
        let mut bad = None;
        if wanted.matches.is_some() || wanted.bad.is_some() {
            let text = self.read_on(&files).map_err(|error| unreadable(&error))?;
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line = String::from_utf8_lossy(line);
                if wanted.matches.as_ref().is_some_and(|pattern| pattern.is_match(&line)) {
                    self.matched = Some(written.unwrap_or(now).min(now));
                }
                if bad.is_none() && wanted.bad.as_ref().is_some_and(|pattern| pattern.is_match(&line)) {
                    bad = Some(quoted(&line));
                }
            }
        }
        if let Some(line) = bad {
            return Err(theirs(format!("it wrote: {line}")));
        }
        self.judge_silence(now, written, wanted)
    }

    fn judge_silence(&self, now: Duration, written: Option<Duration>, wanted: &Wanted) -> Answer {
        let (last, what) = match &wanted.matches {
            Some(_) => (self.matched, "line that matches"),
            None => (written, "line"),
        };
        let whole =
            |time: Duration| Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let silent = whole(now.saturating_sub(last.unwrap_or(self.began)));
        match (wanted.within, last) {
            (Some(within), _) if silent > within => {
                Err(theirs(format!("no {what} for {}, at most {}", Pretty(silent), Pretty(within))))
            }
            (_, Some(_)) => Ok(format!("last {what} {} ago", Pretty(silent))),
            (_, None) => Ok(format!("no {what} yet")),
        }
    }

    /// Whole lines since the last look.
    fn read_on(&mut self, files: &[Listed]) -> io::Result<Vec<u8>> {
        let last = self.known;
        let at = last.at.and_then(|known| files.iter().position(|file| file.id == known.file));
        // Where the file that was being read is gone, the rotated ones beyond the last look are new.
        let from = at.unwrap_or_else(|| files.iter().take_while(|file| file.number <= last.newest).count());
        let mut text = Vec::new();
        self.known.newest = newest(files);
        for file in files.iter().skip(from) {
            let known = last.at.filter(|known| known.file == file.id).map_or(0, |known| known.offset);
            // Somebody emptied it.
            let begin = if known > file.size { 0 } else { known };
            let (piece, skipped) = read(&file.path, begin, file.size)?;
            let Some((piece, skipped)) = piece.map(|piece| (piece, skipped)) else { continue };
            let is_current = file.number == CURRENT;
            // A line without its end is read again with it, unless it has none.
            let whole = match piece.iter().rposition(|byte| *byte == b'\n') {
                Some(end) if is_current => end.saturating_add(1),
                None if is_current && piece.len() < LONGEST_LINE => 0,
                Some(_) | None => piece.len(),
            };
            text.extend_from_slice(piece.get(..whole).unwrap_or_default());
            let read = u64::try_from(whole).unwrap_or(u64::MAX);
            let offset = begin.saturating_add(skipped).saturating_add(read);
            self.known.at = Some(Position { file: file.id, offset });
        }
        let surplus = text.len().saturating_sub(MOST_BYTES);
        Ok(text.split_off(surplus))
    }
}

/// The newest bytes from `begin` to `end`, and how many before them were left out. `None`: the file is gone.
fn read(path: &Path, begin: u64, end: u64) -> io::Result<(Option<Vec<u8>>, u64)> {
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let skipped = end.saturating_sub(begin).saturating_sub(most);
    let Some(mut file) = if_there(File::open(path))? else { return Ok((None, 0)) };
    file.seek(SeekFrom::Start(begin.saturating_add(skipped)))?;
    let mut text = Vec::new();
    file.take(end.saturating_sub(begin).min(most)).read_to_end(&mut text)?;
    Ok((Some(text), skipped))
}

#[derive(Debug)]
struct Listed {
    path: PathBuf,
    /// Higher is newer; the current one has the highest.
    number: u64,
    id: FileId,
    size: u64,
    /// Since 1970.
    written: Duration,
}

/// The files of a log, oldest first and `current` last. One that is renamed meanwhile is found at the next look.
fn list(dir: &Path) -> io::Result<Vec<Listed>> {
    let mut files = Vec::new();
    for (number, path) in logs::list(dir)? {
        // Rotated away between the listing and the look.
        let Ok(found) = fs::metadata(&path) else { continue };
        let seconds = Duration::from_secs(u64::try_from(found.mtime()).unwrap_or(0));
        let written =
            seconds.saturating_add(Duration::from_nanos(u64::try_from(found.mtime_nsec()).unwrap_or(0)));
        files.push(Listed { id: FileId::of(&found), number, size: found.len(), written, path });
    }
    Ok(files)
}

fn newest(files: &[Listed]) -> u64 {
    files.iter().map(|file| file.number).filter(|number| *number < CURRENT).max().unwrap_or(0)
}

/// Files are dated by the kernel's coarse clock, which lags by up to a tick of 100 Hz.
const FILE_CLOCK: Duration = Duration::from_millis(10);
/// More than a program that is well writes between two looks.
const MOST_BYTES: usize = 4 * 1024 * 1024;
const LONGEST_LINE: usize = 64 * 1024;
pub(crate) const AT_ONCE: usize = 4;
const MARKERS: usize = 64;
