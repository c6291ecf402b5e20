//! Bytes that go to something slow (a disk, a terminal) without the loop ever waiting for it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// The end that the loop holds. What does not fit any more is dropped and counted.
#[derive(Debug)]
pub(crate) struct Sink {
    shared: Rc<Shared>,
    worker: JoinHandle<()>,
}

/// One batch for the writer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Replaces everything written before, instead of following it.
    pub(crate) replaces: bool,
}

/// What becomes of bytes that could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnError {
    Drop,
    /// Tried again every `RETRY`, with what came after them, until there is no room for both.
    Retry,
}

#[derive(Debug)]
struct Shared {
    pending: RefCell<Batch>,
    most: usize,
    lost: Cell<u64>,
    on_error: OnError,
    /// The first error of a spell, until it was asked for.
    trouble: RefCell<Option<io::Error>>,
    is_closing: Cell<bool>,
    wake: Notify,
    /// Ends the wait between two attempts.
    end: Notify,
}

impl Sink {
    /// Starts a worker that hands batches of at most `most` bytes to `write`, one at a time, off the loop.
    pub(crate) fn new(
        most: usize,
        on_error: OnError,
        write: impl FnMut(&Batch) -> io::Result<()> + Send + 'static,
    ) -> Self {
        let shared = Rc::new(Shared {
            pending: RefCell::default(),
            most,
            lost: Cell::new(0),
            on_error,
            trouble: RefCell::default(),
            is_closing: Cell::new(false),
            wake: Notify::new(),
            end: Notify::new(),
        });
        let worker = tokio::task::spawn_local(work(Rc::clone(&shared), write));
        Self { shared, worker }
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut pending = self.shared.pending.borrow_mut();
        if pending.bytes.len().saturating_add(bytes.len()) > self.shared.most {
            let lost = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.shared.lost.set(self.shared.lost.get().saturating_add(lost));
            return;
        }
        pending.bytes.extend_from_slice(bytes);
        self.shared.wake.notify_one();
    }

    pub(crate) fn replace(&self, bytes: Vec<u8>) {
        *self.shared.pending.borrow_mut() = Batch { bytes, replaces: true };
        self.shared.lost.set(0);
        self.shared.wake.notify_one();
    }

    /// Bytes that found no room; a replacement makes up for them.
    pub(crate) fn lost_bytes(&self) -> u64 {
        self.shared.lost.get()
    }

    pub(crate) fn take_trouble(&self) -> Option<io::Error> {
        self.shared.trouble.borrow_mut().take()
    }

    /// Writes what is pending, for as long as `limit` at most.
    pub(crate) async fn close(self, limit: Duration) {
        self.shared.is_closing.set(true);
        self.shared.wake.notify_one();
        self.shared.end.notify_one();
        // Late or not, there is nobody left to tell.
        drop(tokio::time::timeout(limit, self.worker).await);
    }
}

impl Shared {
    /// Puts a batch that could not be written back in front of what came meanwhile.
    fn put_back(&self, batch: Batch) {
        let mut pending = self.pending.borrow_mut();
        if pending.replaces {
            return;
        }
        if batch.bytes.len().saturating_add(pending.bytes.len()) > self.most.max(batch.bytes.len()) {
            let lost = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
            return self.lost.set(self.lost.get().saturating_add(lost));
        }
        let later = std::mem::replace(&mut *pending, batch);
        pending.bytes.extend_from_slice(&later.bytes);
    }
}

async fn work(shared: Rc<Shared>, mut write: impl FnMut(&Batch) -> io::Result<()> + Send + 'static) {
    let mut is_in_trouble = false;
    loop {
        let batch = shared.pending.take();
        if batch.bytes.is_empty() && !batch.replaces {
            if shared.is_closing.get() {
                return;
            }
            shared.wake.notified().await;
            continue;
        }
        let writing = tokio::task::spawn_blocking(move || {
            let result = write(&batch);
            (write, batch, result)
        });
        let Ok((again, batch, result)) = writing.await else { return };
        write = again;
        let Err(error) = result else {
            is_in_trouble = false;
            // What comes meanwhile goes together: a batch costs two changes of threads, a line in it a copy.
            if !shared.is_closing.get() {
                drop(tokio::time::timeout(PAUSE, shared.end.notified()).await);
            }
            continue;
        };
        if !std::mem::replace(&mut is_in_trouble, true) {
            *shared.trouble.borrow_mut() = Some(error);
        }
        match shared.on_error {
            OnError::Drop => {}
            OnError::Retry if shared.is_closing.get() => return,
            OnError::Retry => {
                shared.put_back(batch);
                // Either way the next attempt tells.
                drop(tokio::time::timeout(RETRY, shared.end.notified()).await);
            }
        }
    }
}

/// As long as the keeper gives a log that cannot be written.
const RETRY: Duration = Duration::from_secs(2);
/// Between two batches. The first after a rest goes at once.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_was_pushed_is_written_in_order_before_it_closes() {
        let (sender, written) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let sink = Sink::new(6, OnError::Drop, move |batch| {
                sender.send(batch.bytes.clone()).unwrap();
                Ok(())
            });
            sink.push(b"one");
            sink.push(b"two");
            sink.push(b"no room");
            assert_eq!(sink.lost_bytes(), 7);
            sink.close(Duration::from_secs(10)).await;
        });
        assert_eq!(written.into_iter().flatten().collect::<Vec<u8>>(), b"onetwo");
    }

    /// What a sink writes that fails this often, given `one` and then `two`.
    fn written_after(failures: u32, most: usize) -> (Vec<Vec<u8>>, u64) {
        let (sender, written) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lost = tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut left = failures;
            let (failed, has_failed) = tokio::sync::oneshot::channel();
            let mut failed = Some(failed);
            let sink = Sink::new(most, OnError::Retry, move |batch| {
                if left > 0 {
                    left -= 1;
                    failed.take().map(|failed| failed.send(()));
                    return Err(io::ErrorKind::StorageFull.into());
                }
                sender.send(batch.bytes.clone()).map_err(io::Error::other)
            });
            sink.push(b"one");
            has_failed.await.unwrap();
            // The worker has put it back when it is its turn to wait.
            while sink.shared.trouble.borrow().is_none() {
                tokio::task::yield_now().await;
            }
            sink.push(b"two");
            assert!(sink.take_trouble().is_some() && sink.take_trouble().is_none(), "told once");
            let lost = sink.lost_bytes();
            sink.close(Duration::from_secs(10)).await;
            lost
        });
        (written.into_iter().collect(), lost)
    }

    #[test]
    fn what_could_not_be_written_is_written_with_what_came_after_it() {
        assert_eq!(written_after(1, 100), (vec![b"onetwo".to_vec()], 0));
    }

    #[test]
    fn what_has_no_room_beside_what_could_not_be_written_is_counted() {
        assert_eq!(written_after(1, 5), (vec![b"one".to_vec()], 3));
    }
}
