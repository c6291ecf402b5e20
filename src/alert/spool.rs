//! `STATE/outbox/`: a file per message that waits, named by its number, so that their order survives.
//!
//! ```text
//! outbox/001795172401042.json
//! outbox/undeliverable/001795172401017.json    the last hundred that nobody took
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::alert::message::Message;

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
        let mut numbers = numbers_in(&self.dir)?;
        numbers.sort_unstable();
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
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let path = self.path_of(message.number);
        let temporary = path.with_extension("new");
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec(message)?)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        })();
        // What found no room shall not take up the little there is.
        written.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
        File::open(&self.dir)?.sync_all()
    }

    /// One that was never saved is no trouble.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        match fs::remove_file(self.path_of(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Keeps it for people to find.
    pub(super) fn give_up(&self, number: u64) -> io::Result<()> {
        let dir = self.dir.join(UNDELIVERABLE);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        match fs::rename(self.path_of(number), dir.join(name_of(number))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut numbers = numbers_in(&dir)?;
        numbers.sort_unstable();
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

fn numbers_in(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let names: Vec<_> = names.collect::<io::Result<_>>()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.strip_suffix(".json")?.parse().ok()).collect())
}

const UNDELIVERABLE: &str = "undeliverable";
const MOST_UNDELIVERABLE: usize = 100;
/// More than all channels of a machine may hold; a bound for a directory that somebody filled.
const MOST_READ: usize = 100_000;
