//! Bytes that go to something slow (a disk, a terminal) without the loop ever waiting for it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

/// The end that the loop holds. What does not fit any more is dropped and counted.
#[derive(Debug)]
pub(crate) struct Sink {
    shared: Arc<Shared>,
    most: usize,
    /// Hangs up when the writer has ended; none could be started otherwise.
    ended: Option<oneshot::Receiver<()>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// One batch for the writer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Replaces everything written before, instead of following it.
    pub(crate) replaces: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing more to come.
    work: Condvar,
    /// Ends the wait between two batches.
    end: Condvar,
    /// The writer failed, or can write again; once for each failure.
    turned: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: Batch,
    /// The writer sleeps until there is work. Awake it looks by itself, and each word to it is a system call.
    is_idle: bool,
    lost_bytes: u64,
    /// The last attempt failed.
    is_failing: bool,
    /// The first error of a spell, until it was asked for.
    trouble: Option<io::Error>,
    is_closing: bool,
}

impl Sink {
    /// Starts a thread that hands batches of at most `most` bytes to `write`, one at a time. A thread of its
    /// own, so that nothing else that hangs can keep it from writing.
    pub(crate) fn new(most: usize, write: impl FnMut(&Batch) -> io::Result<()> + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let (has_ended, ended) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("sink".to_owned()).stack_size(STACK_BYTES);
        let started = builder.spawn(move || {
            theirs.work(write);
            // Whoever waited may have lost patience.
            has_ended.send(()).ok();
        });
        let (ended, writer) = match started {
            Ok(writer) => (Some(ended), Some(writer)),
            Err(error) => {
                shared.lock().failed(error, 0);
                (None, None)
            }
        };
        Self { shared, most, ended, writer: Mutex::new(writer) }
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut state = self.shared.lock();
        if self.ended.is_none() || state.pending.bytes.len().saturating_add(bytes.len()) > self.most {
            state.lose(bytes.len());
            return;
        }
        state.pending.bytes.extend_from_slice(bytes);
        self.shared.wake(state);
    }

    pub(crate) fn replace(&self, bytes: Vec<u8>) {
        let mut state = self.shared.lock();
        state.pending = Batch { bytes, replaces: true };
        state.lost_bytes = 0;
        self.shared.wake(state);
    }

    /// Bytes that found no room or could not be written; a replacement makes up for them.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.shared.lock().lost_bytes
    }

    /// Once for each spell of failures.
    pub(crate) fn take_trouble(&self) -> Option<io::Error> {
        self.shared.lock().trouble.take()
    }

    /// Comes back when writing failed, or works again. Safe to drop at any await.
    pub(crate) async fn turned(&self) {
        self.shared.turned.notified().await;
    }

    /// Writes what is pending, for as long as `limit` at most.
    pub(crate) async fn close(mut self, limit: Duration) {
        let ended = self.ended.take();
        drop(self);
        if let Some(ended) = ended {
            // Late or not, there is nobody left to tell.
            drop(tokio::time::timeout(limit, ended).await);
        }
    }
}

impl Sink {
    /// Waits until what is pending is written, however long that takes. What comes later is lost.
    pub(crate) fn finish(&self) {
        self.shared.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A writer that panicked has said so.
        drop(writer.map(JoinHandle::join));
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    /// What a panic left behind is still the truth: every change is one statement.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closing = true;
        self.work.notify_one();
        self.end.notify_one();
    }

    /// Has the writer look at what it sleeps for, once.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if std::mem::take(&mut state.is_idle) {
            drop(state);
            self.work.notify_one();
        }
    }

    fn work(&self, mut write: impl FnMut(&Batch) -> io::Result<()>) {
        while let Some(batch) = self.next() {
            let result = write(&batch);
            let mut state = self.lock();
            let was_failing = state.is_failing;
            match result {
                Ok(()) => state.is_failing = false,
                Err(error) => state.failed(error, batch.bytes.len()),
            }
            if state.is_failing || was_failing {
                self.turned.notify_one();
            }
            // What comes meanwhile goes together: a batch costs two changes of threads, a line in it a copy.
            let pause = self.end.wait_timeout_while(state, PAUSE, |state| !state.is_closing);
            drop(pause.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// `None`: all is written, and no more will come.
    fn next(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if !state.pending.bytes.is_empty() || state.pending.replaces {
                return Some(std::mem::take(&mut state.pending));
            }
            if state.is_closing {
                return None;
            }
            state.is_idle = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn failed(&mut self, error: io::Error, bytes: usize) {
        // An empty file that could not be written is a loss as well.
        self.lose(bytes.max(1));
        if !std::mem::replace(&mut self.is_failing, true) {
            self.trouble = Some(error);
        }
    }

    fn lose(&mut self, bytes: usize) {
        let lost = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.lost_bytes = self.lost_bytes.saturating_add(lost);
    }
}

/// Between two batches. The first after a rest goes at once.
const PAUSE: Duration = Duration::from_millis(10);
/// Enough for a write; the bytes themselves are elsewhere.
const STACK_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    /// A writer that waits for a word before each batch: true lets it through, false makes it fail.
    fn told() -> (Sink, mpsc::Sender<bool>, mpsc::Receiver<(Vec<u8>, bool)>) {
        let (say, hear) = mpsc::channel();
        let (wrote, written) = mpsc::channel();
        let sink = Sink::new(6, move |batch| {
            let is_well = hear.recv().unwrap_or(true);
            wrote.send((batch.bytes.clone(), batch.replaces)).unwrap();
            if is_well { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
        });
        (sink, say, written)
    }

    #[test]
    fn what_was_pushed_is_written_in_order_before_it_closes() {
        run(async {
            let (sink, say, written) = told();
            sink.push(b"one");
            sink.push(b"two");
            sink.push(b"no room");
            assert_eq!(sink.lost_bytes(), 7);
            drop(say);
            sink.close(Duration::from_secs(10)).await;
            let all: Vec<u8> = written.into_iter().flat_map(|(bytes, _)| bytes).collect();
            assert_eq!(all, b"onetwo");
        });
    }

    #[test]
    fn a_batch_that_could_not_be_written_counts_as_lost_until_a_replacement() {
        run(async {
            let (sink, say, written) = told();
            sink.push(b"one");
            say.send(false).unwrap();
            sink.turned().await;
            assert_eq!((written.recv().unwrap(), sink.lost_bytes()), ((b"one".to_vec(), false), 3));
            assert_eq!(sink.take_trouble().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
            sink.replace(b"all".to_vec());
            assert_eq!(sink.lost_bytes(), 0);
            say.send(true).unwrap();
            sink.turned().await;
            assert_eq!((written.recv().unwrap(), sink.lost_bytes()), ((b"all".to_vec(), true), 0));
            // A second spell is told like the first one.
            sink.push(b"two");
            say.send(false).unwrap();
            sink.turned().await;
            assert!(sink.take_trouble().is_some());
        });
    }
}
