//! What happened, in `STATE/history.db`, for as long as its rows last.
//!
//! A thread of its own owns the database. Nothing depends on it: who records never waits, what finds no room is
//! dropped and counted, and a disk that is full or a file that is damaged turns the history off until it works
//! again, with one [`News`] each way.

pub mod row;
mod database;
mod worker;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::history::database::Keep;
use crate::history::row::{FactRow, IncidentRow, JobRunRow, Record, RunRow, Window};

/// Records that wait for the thread at most; a few MiB at the usual size of a sentence.
pub const QUEUE: usize = 10_000;
/// Questions that wait at most; people ask them.
const QUESTIONS: usize = 64;
/// Between two attempts to open what failed.
const RETRY: Duration = Duration::from_secs(30);
/// SQLite wants more than the rest of us.
const STACK_BYTES: usize = 512 * 1024;

/// The end that the loop holds. Dropped, it lets the thread write what waits and end.
pub struct History {
    shared: Arc<Shared>,
    news: mpsc::Receiver<News>,
    ended: Option<oneshot::Receiver<()>>,
}

/// One for each change, not for each failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing is written or read until [`News::Restored`]; tried again by itself.
    Disabled {
        why: String,
    },
    Restored,
    /// The file was damaged: it is kept under this name, and an empty one was begun.
    BegunAnew {
        damaged: PathBuf,
        why: String,
    },
    /// These never reached the disk, all in all.
    Lost {
        records: u64,
    },
}

/// Why a question has no answer, as a person may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read the history: {}", self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Asked at once; outlives whom it was asked of.
pub type Answer<T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send>>;

type Question = Box<dyn FnOnce(Result<&Connection, Unavailable>) + Send>;
type Prepare = Box<dyn FnMut(&Connection) -> rusqlite::Result<()> + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Something to write, to answer, or nothing more to come.
    work: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Record>,
    questions: VecDeque<Question>,
    dropped: u64,
    is_closing: bool,
}

/// How the thread goes about it; the defaults are for everybody but tests.
struct Manner {
    path: PathBuf,
    keep: Keep,
    retry: Duration,
    /// Runs on every connection before its first use.
    prepare: Prepare,
}

impl History {
    /// Opens `state/history.db` on a thread; that it cannot be opened is news like any other.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        Self::begin(Manner { path, keep: Keep::default(), retry: RETRY, prepare: Box::new(|_| Ok(())) })
    }

    fn begin(manner: Manner) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        // Changes are rare; were nobody to listen, the newest would be lost first.
        let (tell, news) = mpsc::channel(16);
        let (has_ended, ended) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("history".to_owned()).stack_size(STACK_BYTES);
        let work = move || {
            worker::work(&theirs, manner, &tell);
            // Whoever waited may have lost patience.
            has_ended.send(()).ok();
        };
        // Its end is told by `ended`.
        builder.spawn(work).map(drop)?;
        Ok(Self { shared, news, ended: Some(ended) })
    }

    /// Never waits. False: there was no room, and it was dropped and counted.
    pub fn record(&self, record: Record) -> bool {
        let mut state = self.shared.lock();
        if state.records.len() >= QUEUE {
            state.dropped = state.dropped.saturating_add(1);
            return false;
        }
        state.records.push_back(record);
        // The thread that is awake comes for the others by itself.
        if state.records.len() == 1 || state.records.len() == worker::BATCH {
            self.shared.work.notify_one();
        }
        true
    }

    /// Records that found no room since the beginning.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// The next change. Safe to drop at any await; comes back never once the thread has ended.
    pub async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }

    /// Incidents opened at `since_millis` or later, the newest first, at most `most`.
    ///
    /// # Errors
    /// When the history is off, or too many ask.
    pub fn incidents(&self, since_millis: u64, most: u32) -> Answer<Vec<IncidentRow>> {
        self.ask(move |database| database::incidents(database, since_millis, most))
    }

    /// # Errors
    /// As [`History::incidents`].
    pub fn incident(&self, id: u64) -> Answer<Option<IncidentRow>> {
        self.ask(move |database| database::incident(database, id))
    }

    /// What happened to one incident, oldest first.
    ///
    /// # Errors
    /// As [`History::incidents`].
    pub fn facts_of(&self, incident: u64) -> Answer<Vec<FactRow>> {
        self.ask(move |database| database::facts_of(database, incident))
    }

    /// A unit's last runs, the newest first.
    ///
    /// # Errors
    /// As [`History::incidents`].
    pub fn runs_of(&self, unit: String, most: u32) -> Answer<Vec<RunRow>> {
        self.ask(move |database| database::runs_of(database, &unit, most))
    }

    /// The last runs of one job, or of all of them, the newest first.
    ///
    /// # Errors
    /// As [`History::incidents`].
    pub fn job_runs(&self, unit: Option<String>, most: u32) -> Answer<Vec<JobRunRow>> {
        self.ask(move |database| database::job_runs(database, unit.as_deref(), most))
    }

    /// Sums over the incidents opened in `[since, until)`.
    ///
    /// # Errors
    /// As [`History::incidents`].
    pub fn window(&self, since_millis: u64, until_millis: u64) -> Answer<Window> {
        self.ask(move |database| database::window(database, since_millis, until_millis))
    }

    /// The highest number that an incident ever had here; a new one gets a higher one.
    ///
    /// # Errors
    /// As [`History::incidents`].
    pub fn last_incident(&self) -> Answer<u64> {
        self.ask(database::last_incident)
    }

    /// Writes what waits, for as long as `limit` at most.
    pub async fn close(mut self, limit: Duration) {
        let ended = self.ended.take();
        drop(self);
        if let Some(ended) = ended {
            // Late or not, there is nobody left to tell.
            drop(tokio::time::timeout(limit, ended).await);
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        let question: Question = Box::new(move |database| {
            let looked = |database| look(database).map_err(|error| Unavailable(error.to_string()));
            // Whoever asked may be gone.
            answer.send(database.and_then(looked)).ok();
        });
        let mut state = self.shared.lock();
        let is_room = state.questions.len() < QUESTIONS;
        if is_room {
            state.questions.push_back(question);
            self.shared.work.notify_one();
        }
        Box::pin(async move {
            if !is_room {
                return Err(Unavailable("too many questions wait".to_owned()));
            }
            answered.await.unwrap_or_else(|_gone| Err(Unavailable("its thread has ended".to_owned())))
        })
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// What a panic left behind is still the truth: every change is one statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
