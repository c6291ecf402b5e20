//! Threads for what may hang: a resolver, a dead file server, somebody's /proc. Each kind of question has
//! its own few, so that one that hangs holds up no other kind. Beside them, what those who wait there share:
//! whole files, and a clock for deadlines.

pub mod authorities;
pub mod files;
pub mod logs;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;

/// At most so many threads at once; none lives at rest. Cheap to clone, the bound is shared.
#[derive(Clone, Debug)]
pub struct Threads {
    name: &'static str,
    free: Arc<Semaphore>,
}

impl Threads {
    pub fn new(name: &'static str, most: usize) -> Self {
        Self { name, free: Arc::new(Semaphore::new(most)) }
    }

    /// The answer; `None` when there is none within `limit`, the wait for a free thread included. A question
    /// that hangs keeps its thread, one of the runtime's, for as long as it does: the runtime has as many as all
    /// kinds of questions together may take.
    pub async fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let asked = async {
            let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
            let work = move || {
                let said = question();
                // Free before anybody hears of it.
                drop(permit);
                said
            };
            tokio::task::spawn_blocking(work).await.ok()
        };
        tokio::time::timeout(limit, asked).await.ok()?
    }

    /// The same for what may fail by itself.
    ///
    /// # Errors
    /// Those of the question; `TimedOut` when there is no answer within `limit`.
    pub async fn ask_io<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.ask(limit, question).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Begins work that takes as long as it takes.
    ///
    /// # Errors
    /// `WouldBlock` when all threads are taken; otherwise the machine has none left.
    pub fn try_begin(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let permit = Arc::clone(&self.free).try_acquire_owned();
        let permit = permit.map_err(|_all_taken| io::ErrorKind::WouldBlock)?;
        let builder = std::thread::Builder::new().name(self.name.to_owned()).stack_size(STACK_BYTES);
        let work = move || {
            let _until_the_end = permit;
            work();
        };
        // Its end is told by what it was asked for.
        builder.spawn(work).map(drop)
    }
}

/// Whoever reads nested text recurses, deeper than the threads here are meant for: this has the stack of a main
/// thread, of which only what is used takes memory. Waits for the end.
///
/// # Errors
/// When the machine has no thread left.
///
/// # Panics
/// Where `work` does.
pub fn with_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("deep".to_owned()).stack_size(DEEP_STACK_BYTES);
        let done = builder.spawn_scoped(scope, work)?.join();
        Ok(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Counts suspend, and never steps.
pub fn since_boot() -> Duration {
    read(ClockId::Boottime)
}

/// Milliseconds since 1970.
pub fn wall_millis() -> u64 {
    u64::try_from(read(ClockId::Realtime).as_millis()).unwrap_or(u64::MAX)
}

fn read(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

const STACK_BYTES: usize = 128 * 1024;
/// As Linux gives a main thread by default.
const DEEP_STACK_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn recurse(depth: u32) -> u32 {
        let block = std::hint::black_box([1_u8; 4096]);
        if depth == 0 { 0 } else { recurse(depth - 1) + u32::from(block[0]) }
    }

    #[test]
    fn work_that_recurses_has_room_on_a_thread_of_the_smallest_stack() {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = builder.spawn(|| with_deep_stack(|| recurse(1000))).unwrap();
        assert_eq!(thread.join().unwrap().unwrap(), 1000);
    }

    #[test]
    fn a_question_that_hangs_holds_up_no_more_than_its_own_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let threads = Threads::new("test", 2);
            let (end, hang) = mpsc::channel::<()>();
            let hung = threads.ask(Duration::from_millis(20), move || hang.recv());
            assert_eq!(hung.await, None);
            assert_eq!(threads.ask(Duration::from_secs(10), || 5).await, Some(5));
            let (more, hang) = mpsc::channel::<()>();
            threads.try_begin(move || assert!(hang.recv().is_err())).unwrap();
            let busy = threads.try_begin(|| {}).unwrap_err();
            assert_eq!(busy.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(threads.ask(Duration::from_millis(20), || 5).await, None, "no thread is free");
            drop(end);
            assert_eq!(threads.ask(Duration::from_secs(10), || 5).await, Some(5), "one is free again");
            drop(more);
        });
        runtime.shutdown_background();
    }
}
