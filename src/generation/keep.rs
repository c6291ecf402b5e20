//! What becomes of a generation once it is there: its verdict, whether it is in effect, how long it stays.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use crate::generation::add::json;
use crate::generation::error::Error;
use crate::generation::manifest::{Pin, Verdict, Word};
use crate::generation::{CURRENT, MANIFEST, PIN, Store, VERDICT, dir_name};

/// Which stay. The current one, the one before it that held, pinned ones, those that wait with the ones that they came
/// from, and those that a change under way needs stay beyond both limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The newest so many. Default 50.
    pub count: usize,
    /// Those that came within this time. Default 90 days.
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { count: 50, age: Duration::from_secs(90 * 24 * 60 * 60) }
    }
}

/// What decides on its age. Also of a manifest that is damaged elsewhere.
#[derive(Deserialize)]
struct Came {
    at_millis: u64,
}

impl Store {
    /// Says what came of it.
    ///
    /// # Errors
    /// When there is none of that number, or the disk does not take it: the verdict before is still whole.
    pub fn judge(&self, number: u64, verdict: &Verdict) -> Result<(), Error> {
        let path = self.must_be_there(number)?.join(VERDICT);
        self.disk.replace(&path, &json(verdict)?).map_err(Error::disk("write", &path))
    }

    /// From here on this is what a boot runs.
    ///
    /// # Errors
    /// When there is none of that number, or the disk does not take it.
    pub fn make_current(&self, number: u64) -> Result<(), Error> {
        self.must_be_there(number)?;
        let path = self.dir.join(CURRENT);
        self.disk.point(&path, &dir_name(number)).map_err(Error::disk("replace the link", &path))
    }

    /// It stays until it is unpinned.
    ///
    /// # Errors
    /// When there is none of that number, or the disk does not take it.
    pub fn pin(&self, number: u64, label: &str) -> Result<(), Error> {
        let path = self.must_be_there(number)?.join(PIN);
        let pin = Pin { label: label.to_owned() };
        self.disk.replace(&path, &json(&pin)?).map_err(Error::disk("write", &path))
    }

    /// From here on it goes as any other. Nothing is to be done for one that is not pinned.
    ///
    /// # Errors
    /// As [`Self::pin`].
    pub fn unpin(&self, number: u64) -> Result<(), Error> {
        let dir = self.must_be_there(number)?;
        let path = dir.join(PIN);
        self.disk.remove_file(&path).map_err(Error::disk("remove", &path))?;
        self.disk.sync_dir(&dir).map_err(Error::disk("sync", &dir))
    }

    /// Removes those that are too many or too old, oldest first, and says which. `now_millis`: since 1970.
    ///
    /// # Errors
    /// When the disk refuses; those before it are gone.
    pub fn retire(&self, retention: &Retention, now_millis: u64) -> Result<Vec<u64>, Error> {
        let numbers = self.numbers()?;
        let Some(newest) = numbers.last().copied() else { return Ok(Vec::new()) };
        let needed = self.needed();
        let age = u64::try_from(retention.age.as_millis()).unwrap_or(u64::MAX);
        let too_many = numbers.len().saturating_sub(retention.count);
        let mut retired = Vec::new();
        for (at, number) in numbers.into_iter().enumerate() {
            let is_over = at < too_many || self.came_before(number, now_millis.saturating_sub(age));
            if !is_over || needed.contains(&number) || self.is_held(number) {
                continue;
            }
            // Their number is not to come again, also where this was lost.
            if retired.is_empty() && self.highest() < newest {
                self.note_highest(newest)?;
            }
            self.take_away(number)?;
            retired.push(number);
        }
        if !retired.is_empty() {
            self.disk.sync_dir(&self.dir).map_err(Error::disk("sync", &self.dir))?;
        }
        Ok(retired)
    }

    /// What is run, what could be gone back to, and what an unfinished restore compares with.
    fn needed(&self) -> BTreeSet<u64> {
        let mut needed: BTreeSet<u64> = self.restoring().into_iter().flatten().collect();
        let current = self.current();
        needed.extend(current);
        needed.extend(current.and_then(|current| self.previous_good(current)));
        // What waits is brought onto another one by what it changed.
        let waits = |number: &u64| self.verdict(*number).is_ok_and(|verdict| verdict.word == Word::Pending);
        let waiting = self.numbers().unwrap_or_default().into_iter().filter(waits);
        needed.extend(waiting.filter_map(|number| self.manifest(number).ok()?.parent));
        needed
    }

    fn is_held(&self, number: u64) -> bool {
        // A verdict that cannot be read holds nothing: there is no change any more that could need it.
        let is_open = |verdict: Verdict| -> bool { Word::is_open(verdict.word) };
        self.pin_of(number).is_some() || self.verdict(number).is_ok_and(is_open)
    }

    /// One that does not say goes by its place among the others.
    fn came_before(&self, number: u64, millis: u64) -> bool {
        self.read_json::<Came>(number, MANIFEST).is_ok_and(|came| came.at_millis < millis)
    }
}
