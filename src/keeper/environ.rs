//! What the environment of a process says, asked by a thread of its own: whoever owns a process can
//! make this very read hang (its memory need not be real), and the loop waits for nobody.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::keeper::process;

/// A read takes microseconds. What is not there by then proves nothing.
const DEADLINE: Duration = Duration::from_millis(50);
/// So many threads may hang before nobody is asked any more.
const MOST_HUNG: u32 = 8;
const THREAD_STACK_BYTES: usize = 64 * 1024;

/// Asks one process after the other; costs nothing before the first.
#[derive(Debug, Default)]
pub(super) struct Environs {
    reader: RefCell<Option<Reader>>,
    hung: Cell<u32>,
}

#[derive(Debug)]
struct Reader {
    ask: Sender<i32>,
    answers: Receiver<Option<Vec<u8>>>,
}

impl Environs {
    /// The run that its environment names, if that can be told in time.
    pub(super) fn tag_of(&self, pid: i32) -> Option<Vec<u8>> {
        let mut reader = self.reader.borrow_mut();
        if reader.is_none() && self.hung.get() < MOST_HUNG {
            *reader = Reader::start(process::tag_of).ok();
        }
        let answer = reader.as_ref()?.tag_of(pid);
        if answer.is_none() {
            // It answers nobody any more: should it ever go on, it finds itself alone and ends.
            *reader = None;
            self.hung.set(self.hung.get().saturating_add(1));
        }
        answer?
    }
}

impl Reader {
    fn start(read: impl Fn(i32) -> Option<Vec<u8>> + Send + 'static) -> io::Result<Self> {
        let (ask, asked) = channel();
        let (answer, answers) = channel();
        let serve = move || {
            for pid in asked {
                if answer.send(read(pid)).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("reader".into()).stack_size(THREAD_STACK_BYTES).spawn(serve)?;
        Ok(Self { ask, answers })
    }

    /// `None`: it hangs.
    fn tag_of(&self, pid: i32) -> Option<Option<Vec<u8>>> {
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
                held.lock().ok()?.recv().ok();
            }
            Some(vec![u8::try_from(pid).ok()?])
        };
        let environs = Environs::default();
        *environs.reader.borrow_mut() = Reader::start(hang).ok();
        assert_eq!(environs.tag_of(2), Some(vec![2]));
        assert_eq!(environs.tag_of(1), None);
        drop(release);
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(environs.tag_of(me), process::tag_of(me), "asked of another thread");
        assert_eq!(environs.hung.get(), 1);
    }
}
