//! Wakes when a log may have grown. Nothing is polled: inotify on the directories of the units, and on the
//! one above for a unit that has written nothing yet.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::log::files::LogDir;

#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
    log_dir: PathBuf,
    units: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    dir: PathBuf,
    /// inotify's number of the watch. `None`: the directory is not there yet.
    descriptor: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Look again at every log.
    Changed,
    /// One of the `until` ended.
    Ended,
}

impl Watch {
    /// Begins at once: whatever is written after this wakes `wait`.
    ///
    /// # Errors
    /// When the user has no inotify instance left, or the directory of logs cannot be watched.
    pub fn new(log_dir: &Path, units: &[LogDir]) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let units = units.iter().map(|unit| Watched { dir: unit.path().to_owned(), descriptor: None });
        let mut watch = Self { inotify, log_dir: log_dir.to_owned(), units: units.collect() };
        // The upper directory first: one that is made between the two steps is seen by one of them.
        inotify::add_watch(
            &watch.inotify,
            &watch.log_dir,
            WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR,
        )?;
        watch.add_missing()?;
        Ok(watch)
    }

    /// Returns when a log may have changed, or when one of `until` has hung up or failed.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&mut self, until: &[BorrowedFd<'_>]) -> io::Result<Woken> {
        let mut sources = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        // Hang-up and error are told without being asked for.
        sources.extend(until.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::empty())));
        loop {
            match poll(&mut sources, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let has_ended = sources.iter().skip(1).any(|source| !source.revents().is_empty());
        drop(sources);
        if has_ended {
            return Ok(Woken::Ended);
        }
        self.drain()?;
        self.add_missing()?;
        Ok(Woken::Changed)
    }

    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        let mut gone = Vec::new();
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::IGNORED) => gone.push(event.wd()),
                Ok(_) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for unit in &mut self.units {
            if unit.descriptor.is_some_and(|descriptor| gone.contains(&descriptor)) {
                unit.descriptor = None;
            }
        }
        Ok(())
    }

    fn add_missing(&mut self) -> io::Result<()> {
        let events = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        for unit in self.units.iter_mut().filter(|unit| unit.descriptor.is_none()) {
            match inotify::add_watch(&self.inotify, &unit.dir, events) {
                Ok(descriptor) => unit.descriptor = Some(descriptor),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
