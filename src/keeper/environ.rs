//! What the environment of a process says, asked by a thread of its own: whoever owns a process can
//! make this very read hang (its memory need not be real), and the loop waits for nobody.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::keeper::process::{self, Tag};

/// A read takes microseconds; the rest is for a machine that is busy.
const DEADLINE: Duration = Duration::from_millis(100);
/// While so many threads hang nobody is asked.
const MOST_HUNG: u32 = 8;
const THREAD_STACK_BYTES: usize = 64 * 1024;

/// Asks one process after the other; costs nothing before the first.
#[derive(Debug, Default)]
pub(super) struct Environs {
    reader: RefCell<Option<Reader>>,
    /// Threads that were given up and have not ended since.
    hung: Arc<AtomicU32>,
}

#[derive(Debug)]
struct Reader {
    ask: Sender<i32>,
    answers: Receiver<Tag>,
}

impl Environs {
    pub(super) fn tag_of(&self, pid: i32) -> Tag {
        let mut reader = self.reader.borrow_mut();
        if reader.is_none() && self.hung.load(Ordering::SeqCst) < MOST_HUNG {
            *reader = self.start(process::tag_of).ok();
        }
        match reader.as_ref().and_then(|reader| reader.tag_of(pid)) {
            Some(tag) => tag,
            None => {
                if reader.take().is_some() {
                    self.hung.fetch_add(1, Ordering::SeqCst);
                }
                Tag::Untold
            }
        }
    }

    /// A thread hangs, and whatever ends all threads would hang with it.
    pub(super) fn is_hung(&self) -> bool {
        self.hung.load(Ordering::SeqCst) > 0
    }

    fn start(&self, read: impl Fn(i32) -> Tag + Send + 'static) -> io::Result<Reader> {
        let (ask, asked) = channel();
        let (answer, answers) = channel();
        let hung = Arc::clone(&self.hung);
        let serve = move || {
            for pid in asked {
                if answer.send(read(pid)).is_err() {
                    break;
                }
            }
            // Only one that was given up gets here.
            hung.fetch_sub(1, Ordering::SeqCst);
        };
        thread::Builder::new().name("reader".into()).stack_size(THREAD_STACK_BYTES).spawn(serve)?;
        Ok(Reader { ask, answers })
    }
}

impl Reader {
    /// `None`: it hangs.
    fn tag_of(&self, pid: i32) -> Option<Tag> {
        self.ask.send(pid).ok()?;
        self.answers.recv_timeout(DEADLINE).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_hangs_is_given_up_and_its_late_answer_is_nobodys() {
        let (release, held) = channel::<()>();
        let held = std::sync::Mutex::new(held);
        let hang = move |pid| {
            if pid == 1 {
                held.lock().unwrap().recv().ok();
            }
            Tag::Is(vec![u8::try_from(pid).unwrap()])
        };
        let environs = Environs::default();
        *environs.reader.borrow_mut() = environs.start(hang).ok();
        assert_eq!(environs.tag_of(2), Tag::Is(vec![2]));
        assert_eq!(environs.tag_of(1), Tag::Untold);
        assert_eq!(environs.hung.load(Ordering::SeqCst), 1);
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(environs.tag_of(me), process::tag_of(me), "asked of another thread");
        drop(release);
        // It goes on, finds itself alone, and ends.
        let mut rounds = 0_u64;
        while environs.hung.load(Ordering::SeqCst) > 0 {
            thread::yield_now();
            rounds += 1;
            assert!(rounds < 100_000_000);
        }
    }
}
