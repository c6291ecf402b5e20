//! The thread that owns the database: batches in, answers out.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc::Sender;

use crate::aside::since_boot;
use crate::history::database::{self, Refusal};
use crate::history::row::Record;
use crate::history::{Manner, News, Question, Shared, State, Unavailable};

pub(super) fn work(shared: &Shared, manner: Manner, tell: &Sender<News>) {
    Worker {
        manner,
        tell: tell.clone(),
        standing: Standing::Unopened,
        is_told_off: false,
        lost: 0,
        untrimmed: 0,
    }
    .run(shared);
}

struct Worker {
    manner: Manner,
    tell: Sender<News>,
    standing: Standing,
    /// Said once for each spell: opening often works where writing does not.
    is_told_off: bool,
    /// Records that were taken and never written.
    lost: u64,
    untrimmed: usize,
}

enum Standing {
    Unopened,
    Open(Connection),
    /// Off, why, and when to try again; however often somebody asks meanwhile.
    Off {
        why: String,
        retry_at: Duration,
    },
}

/// What there is to do.
enum Work {
    Write {
        records: Vec<Record>,
        /// Somebody asked, and is answered next.
        is_awaited: bool,
    },
    Answer(Question),
    /// The pause of a history that is off is over.
    Retry,
    End,
}

impl Worker {
    fn run(mut self, shared: &Shared) {
        // What makes it necessary, such as a stop of everything, has the processor to itself meanwhile.
        pause(shared);
        self.open();
        // Kept until they are written: a disk that was full for a minute costs nothing.
        let mut held: Vec<Record> = Vec::new();
        let mut owes_answer = false;
        loop {
            match self.next(shared, &mut held, owes_answer) {
                Work::Write { records, is_awaited } => {
                    held = self.write(records);
                    owes_answer = is_awaited;
                    pause(shared);
                }
                Work::Answer(question) => {
                    self.answer(question);
                    owes_answer = false;
                }
                Work::Retry => self.open(),
                Work::End => break,
            }
        }
        let lost = self.lost.saturating_add(u64::try_from(held.len()).unwrap_or(u64::MAX));
        if lost > 0 {
            self.say(News::Lost { records: lost });
        }
    }

    /// What was recorded before a question is part of its answer, and is written first: one batch of it, so that
    /// nobody waits for ever.
    fn next(&self, shared: &Shared, held: &mut Vec<Record>, owes_answer: bool) -> Work {
        let mut state = shared.lock();
        loop {
            let pause = match &self.standing {
                Standing::Open(_) => None,
                Standing::Unopened => Some(Duration::ZERO),
                Standing::Off { retry_at, .. } => Some(retry_at.saturating_sub(since_boot())),
            };
            if pause.is_some_and(|pause| pause.is_zero()) && !state.is_closing {
                return Work::Retry;
            }
            let has_records = !held.is_empty() || !state.records.is_empty();
            let can_write = has_records && pause.is_none();
            if (owes_answer || !can_write)
                && let Some(question) = state.questions.pop_front()
            {
                return Work::Answer(question);
            }
            if can_write {
                let room = BATCH.saturating_sub(held.len()).min(state.records.len());
                held.extend(state.records.drain(..room));
                return Work::Write {
                    records: std::mem::take(held),
                    is_awaited: !state.questions.is_empty(),
                };
            }
            if state.is_closing {
                return Work::End;
            }
            let Some(pause) = pause else {
                state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let is_quiet = |state: &mut State| state.questions.is_empty() && !state.is_closing;
            let waited = shared.work.wait_timeout_while(state, pause, is_quiet);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What has to be written again.
    fn write(&mut self, mut records: Vec<Record>) -> Vec<Record> {
        let Standing::Open(database) = &mut self.standing else { return records };
        let mut written = database::write(database, &records);
        if written.is_ok() {
            if std::mem::take(&mut self.is_told_off) {
                self.tell.try_send(News::Restored).ok(); // as `say`
            }
            self.untrimmed = self.untrimmed.saturating_add(records.len());
            if self.untrimmed < TRIM_EVERY {
                return Vec::new();
            }
            self.untrimmed = 0;
            written = database::trim(database, self.manner.keep);
            records.clear();
        }
        let Err(error) = written else { return Vec::new() };
        if is_about_the_row(&error) {
            self.lost = self.lost.saturating_add(u64::try_from(records.len()).unwrap_or(u64::MAX));
            self.say(News::Lost { records: self.lost });
            return Vec::new();
        }
        self.failed(error.into());
        records
    }

    fn answer(&mut self, question: Question) {
        match &self.standing {
            Standing::Open(database) => question(Ok(database)),
            Standing::Unopened => question(Err(Unavailable("it is not open".to_owned()))),
            Standing::Off { why, .. } => question(Err(Unavailable(why.clone()))),
        }
    }

    fn open(&mut self) {
        match self.try_open() {
            Ok(database) => self.standing = Standing::Open(database),
            Err(refusal) => self.failed(refusal),
        }
    }

    fn try_open(&mut self) -> Result<Connection, Refusal> {
        let database = database::open(&self.manner.path)?;
        (self.manner.prepare)(&database)?;
        Ok(database)
    }

    /// A damaged file is put aside and a new one begun; once only, as a new file that is damaged as well speaks
    /// of the disk.
    fn failed(&mut self, refusal: Refusal) {
        let why = match refusal {
            Refusal::NotNow(why) => why,
            Refusal::Damaged(why) => {
                // Closed before its file moves.
                self.standing = Standing::Unopened;
                match self.begin_anew() {
                    Ok((database, damaged)) => {
                        self.standing = Standing::Open(database);
                        self.say(News::BegunAnew { damaged, why });
                        return;
                    }
                    Err(error) => format!("{why}; {error}"),
                }
            }
        };
        if !std::mem::replace(&mut self.is_told_off, true) {
            self.say(News::Disabled { why: why.clone() });
        }
        // A connection that is dropped lets go of its locks and of a log that takes up room.
        self.standing = Standing::Off { why, retry_at: since_boot().saturating_add(self.manner.retry) };
    }

    fn begin_anew(&mut self) -> Result<(Connection, PathBuf), String> {
        let damaged = set_aside(&self.manner.path)?;
        match self.try_open() {
            Ok(database) => Ok((database, damaged)),
            Err(Refusal::Damaged(why) | Refusal::NotNow(why)) => Err(why),
        }
    }

    fn say(&self, news: News) {
        // Whoever does not listen is not waited for.
        self.tell.try_send(news).ok();
    }
}

fn pause(shared: &Shared) {
    let is_quiet =
        |state: &mut State| !state.is_closing && state.questions.is_empty() && state.records.len() < BATCH;
    drop(shared.work.wait_timeout_while(shared.lock(), PAUSE, is_quiet));
}

/// Constraints, sizes, types: the file is well, and the same rows would fail again.
fn is_about_the_row(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{ConstraintViolation, TooBig, TypeMismatch};
    matches!(error.sqlite_error_code(), Some(ConstraintViolation | TooBig | TypeMismatch))
}

/// Renames it with its log; only the last damaged one is kept.
fn set_aside(path: &Path) -> Result<PathBuf, String> {
    let with = |suffix: &str| {
        let mut name: OsString = path.into();
        name.push(suffix);
        PathBuf::from(name)
    };
    let damaged = with(".damaged");
    fs::rename(path, &damaged).map_err(|error| format!("cannot put it aside: {error}"))?;
    for suffix in ["-wal", "-shm"] {
        // Without its own, the old log would be played into the new file; one that is not there is no trouble.
        let mut target: OsString = damaged.clone().into();
        target.push(suffix);
        match fs::rename(with(suffix), target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("cannot put its log aside: {error}"));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(damaged)
}

/// Rows in one transaction: at 1,000 its own cost no longer shows.
pub(super) const BATCH: usize = 1000;
/// Rows between two looks at how many there are.
const TRIM_EVERY: usize = 1000;
/// Before the first batch and after each, so that rows that come together go together: a transaction costs more than a row.
const PAUSE: Duration = Duration::from_millis(100);
