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

#[derive(Debug)]
struct Shared {
    pending: RefCell<Batch>,
    most: usize,
    lost: Cell<u64>,
    /// The last error, until it was asked for.
    trouble: RefCell<Option<io::Error>>,
    is_closing: Cell<bool>,
    wake: Notify,
    close: Notify,
}

impl Sink {
    /// Starts a worker that hands batches of at most `most` bytes to `write`, one at a time, off the loop.
    pub(crate) fn new(most: usize, write: impl FnMut(&Batch) -> io::Result<()> + Send + 'static) -> Self {
        let shared = Rc::new(Shared {
            pending: RefCell::default(),
            most,
            lost: Cell::new(0),
            trouble: RefCell::default(),
            is_closing: Cell::new(false),
            wake: Notify::new(),
            close: Notify::new(),
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
        self.shared.close.notify_one();
        // Late or not, there is nobody left to tell.
        drop(tokio::time::timeout(limit, self.worker).await);
    }
}

async fn work(shared: Rc<Shared>, mut write: impl FnMut(&Batch) -> io::Result<()> + Send + 'static) {
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
            (write, result)
        });
        let Ok((again, result)) = writing.await else { return };
        write = again;
        if let Err(error) = result {
            *shared.trouble.borrow_mut() = Some(error);
        }
        // What comes meanwhile goes together: a batch costs two changes of threads, a line in it a copy.
        if !shared.is_closing.get() {
            drop(tokio::time::timeout(PAUSE, shared.close.notified()).await);
        }
    }
}

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
            let sink = Sink::new(6, move |batch| {
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
}
