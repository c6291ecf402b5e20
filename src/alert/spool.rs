//! `STATE/outbox/`: a file per message that waits, named by its number, so that their order survives.
//!
//! ```text
//! outbox/001795172401042.json
//! outbox/undeliverable/001795172401017.json    the last hundred that nobody took
//! ```

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::alert::message::Message;
use crate::aside::files::{entries, if_there, make_private, replace};

/// Every call waits for the disk: for a thread.
#[derive(Clone, Debug)]
pub(super) struct Spool {
    dir: PathBuf,
}

/// What an earlier outbox left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// In order.
    pub(super) messages: Vec<Message>,
    /// The highest number that was ever seen.
    pub(super) last: u64,
    /// Files that made no sense; they stay where they are.
    pub(super) unreadable: usize,
}

impl Spool {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn read(&self) -> io::Result<Left> {
        let numbers = numbers_in(&self.dir)?;
        let undeliverable = numbers_in(&self.dir.join(UNDELIVERABLE))?;
        let last = numbers.iter().chain(&undeliverable).copied().max().unwrap_or(0);
        let mut left = Left { last, ..Left::default() };
        for number in numbers.into_iter().take(MOST_READ) {
            let read = fs::read(self.path_of(number)).ok();
            match read.and_then(|bytes| serde_json::from_slice::<Message>(&bytes).ok()) {
                // The name is what the order and the removal go by.
                Some(message) => left.messages.push(Message { number, ..message }),
                None => left.unreadable += 1,
            }
        }
        Ok(left)
    }

    /// Whole or not at all.
    pub(super) fn save(&self, message: &Message) -> io::Result<()> {
        make_private(&self.dir)?;
        replace(&self.path_of(message.number), &serde_json::to_vec(message)?)
    }

    /// One that was never saved is no trouble.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        if_there(fs::remove_file(self.path_of(number))).map(drop)
    }

    /// Keeps it for people to find.
    pub(super) fn give_up(&self, number: u64) -> io::Result<()> {
        let dir = self.dir.join(UNDELIVERABLE);
        make_private(&dir)?;
        if_there(fs::rename(self.path_of(number), dir.join(name_of(number))))?;
        let numbers = numbers_in(&dir)?;
        let many = numbers.len().saturating_sub(MOST_UNDELIVERABLE);
        for number in numbers.into_iter().take(many) {
            fs::remove_file(dir.join(name_of(number)))?;
        }
        Ok(())
    }

    fn path_of(&self, number: u64) -> PathBuf {
        self.dir.join(name_of(number))
    }
}

fn name_of(number: u64) -> String {
    format!("{number:015}.json")
}

/// The lowest first.
fn numbers_in(dir: &Path) -> io::Result<Vec<u64>> {
    let number = |name: &OsStr| name.to_str()?.strip_suffix(".json")?.parse().ok();
    let found = entries(dir)?.into_iter().filter_map(|entry| number(&entry.file_name()));
    let mut numbers: Vec<u64> = found.collect();
    numbers.sort_unstable();
    Ok(numbers)
}

const UNDELIVERABLE: &str = "undeliverable";
const MOST_UNDELIVERABLE: usize = 100;
/// More than all channels of a machine may hold; a bound for a directory that somebody filled.
const MOST_READ: usize = 100_000;
