//! `STATE/generations/`: every content that the units directory had or was to have, whole, so that each change
//! has a way back. A crash at any instruction leaves the old state or the new one.
//!
//! ```text
//! 000042/units/NAME     the files of the units directory, 0440
//! 000042/named/0000     what units name elsewhere, 0600
//! 000042/manifest.json  what it holds, with digests; never changes
//! 000042/verdict.json   what came of it
//! 000042/pin.json       while somebody wants it kept
//! current -> 000041     what is in effect
//! highest               the highest number that was ever given
//! restore.json          while files are brought back into the units directory
//! left-alone.json       what that directory says while it cannot be written to
//! unfinished/ removed/  one that comes, one that goes
//! ```
//!
//! Files that stay the same are hard links among generations, and never to anything else: an editor that writes
//! in place would change what was kept.

mod disk;
mod error;
pub mod manifest;
mod read;
mod add;
mod keep;
pub mod compare;
pub mod merge;
pub mod verify;
pub mod restore;
mod left;
mod named;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::aside::files::{entries, if_there, whole};
use crate::generation::disk::{Disk, beside};
use crate::generation::manifest::{FileEntry, Manifest, Pin, Verdict, Word, digest};
use crate::unit::SourceFile;

pub use crate::generation::add::{Draft, MOST_BYTES, Named, UnitsFile};
pub use crate::generation::disk::Hook;
pub use crate::generation::error::Error;
pub use crate::generation::keep::Retention;
pub use crate::generation::merge::Merged;
pub use crate::generation::named::RestoredNamed;
pub use crate::generation::read::{read_named, read_those, read_units};

/// Every call waits for the disk: for a thread. One at a time may change things; others may look meanwhile.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    disk: Disk,
}

/// One generation, as far as it can be read. What is damaged says so in words, in the place of what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub number: u64,
    pub is_current: bool,
    pub manifest: Result<Manifest, String>,
    pub verdict: Result<Verdict, String>,
    /// The label of its pin.
    pub pin: Option<String>,
}

impl Store {
    /// Removes what a crash left unfinished. With it, in words for people, what was done, and what could not be.
    /// The directory itself is made by the first generation.
    ///
    /// # Errors
    /// When there is something in the place of the directory that cannot be read.
    pub fn open(state: &Path) -> Result<(Self, Vec<String>), Error> {
        Self::for_reading(state).opened()
    }

    /// The same; `hook` hears of each step on the disk before it is taken, and may refuse it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_watched(state: &Path, hook: Hook) -> Result<(Self, Vec<String>), Error> {
        Self { dir: state.join(DIR), disk: Disk::watched(hook) }.opened()
    }

    /// For those who only look, beside the one who changes things: nothing is repaired.
    pub fn for_reading(state: &Path) -> Self {
        Self { dir: state.join(DIR), disk: Disk::default() }
    }

    /// The same for who only looks, while somebody else may be writing: nothing is mended.
    pub fn to_look(state: &Path) -> Self {
        Self { dir: state.join(DIR), disk: Disk::default() }
    }

    fn opened(self) -> Result<(Self, Vec<String>), Error> {
        let mut said = Vec::new();
        let numbers = self.numbers()?;
        let mut unfinished = vec![self.dir.join(UNFINISHED), self.dir.join(REMOVED)];
        unfinished.extend(
            [CURRENT, HIGHEST, restore::JOURNAL, left::LEFT_ALONE].map(|name| beside(&self.dir.join(name))),
        );
        for number in &numbers {
            unfinished.extend([VERDICT, PIN].map(|name| beside(&self.path_of(*number).join(name))));
        }
        for path in unfinished {
            let Ok(there) = fs::symlink_metadata(&path) else { continue };
            let removed =
                if there.is_dir() { self.disk.remove_tree(&path) } else { self.disk.remove_file(&path) };
            said.push(match removed {
                Ok(()) => format!("removed `{}`, which a crash left unfinished", path.display()),
                Err(error) => Error::disk("remove what a crash left in", &path)(error).to_string(),
            });
        }
        said.extend(self.resume());
        if let Some(number) = self.pointed_to()
            && !numbers.contains(&number)
        {
            said.push(format!("generation {number} is the current one, and is not there any more"));
        }
        Ok((self, said))
    }

    pub fn path_of(&self, number: u64) -> PathBuf {
        self.dir.join(dir_name(number))
    }

    /// What is in effect; `None` before the first, and where it was removed by hand.
    pub fn current(&self) -> Option<u64> {
        self.pointed_to().filter(|number| self.path_of(*number).is_dir())
    }

    fn pointed_to(&self) -> Option<u64> {
        number_of(fs::read_link(self.dir.join(CURRENT)).ok()?.to_str()?)
    }

    /// All that are kept, oldest first.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub fn numbers(&self) -> Result<Vec<u64>, Error> {
        let entries = entries(&self.dir).map_err(Error::disk("read", &self.dir))?;
        let mut numbers: Vec<u64> =
            entries.iter().filter_map(|entry| number_of(entry.file_name().to_str()?)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// All that are kept with what is known of them, oldest first.
    ///
    /// # Errors
    /// As [`Self::numbers`].
    pub fn list(&self) -> Result<Vec<Summary>, Error> {
        let current = self.current();
        let summary = |number: u64| Summary {
            number,
            is_current: current == Some(number),
            manifest: in_words(self.manifest(number)),
            verdict: in_words(self.verdict(number)),
            pin: self.pin_of(number),
        };
        let numbers = self.numbers()?.into_iter();
        // One that was retired meanwhile is not a damaged one.
        Ok(numbers.map(summary).filter(|one| self.path_of(one.number).is_dir()).collect())
    }

    /// What it holds.
    ///
    /// # Errors
    /// When there is none of that number, or its manifest is damaged.
    pub fn manifest(&self, number: u64) -> Result<Manifest, Error> {
        let manifest: Manifest = self.read_json(number, MANIFEST)?;
        match manifest.flaw(number) {
            Some(what) => Err(Error::Damaged { number, what }),
            None => Ok(manifest),
        }
    }

    /// Its files were never in this directory, as far as mcsup knows.
    pub fn is_from_elsewhere(&self, number: u64, units_dir: &Path) -> bool {
        self.manifest(number).is_ok_and(|manifest| Path::new(&manifest.units_dir) != units_dir)
    }

    /// These are all the unit files that it holds, as far as its manifest knows.
    pub fn is_of(&self, number: u64, sources: &[SourceFile]) -> bool {
        let Ok(manifest) = self.manifest(number) else { return false };
        let is_source = |entry: &&FileEntry| entry.name.ends_with(".yaml");
        let kept: BTreeMap<&str, &str> =
            manifest.files.iter().filter(is_source).map(|entry| (&*entry.name, &*entry.sha256)).collect();
        let is_kept = |file: &SourceFile| {
            kept.get(file.name.as_str()).is_some_and(|sha256| *sha256 == digest(&file.bytes))
        };
        kept.len() == sources.len() && sources.iter().all(is_kept)
    }

    /// What came of it.
    ///
    /// # Errors
    /// As [`Self::manifest`], of its verdict.
    pub fn verdict(&self, number: u64) -> Result<Verdict, Error> {
        self.read_json(number, VERDICT)
    }

    /// The nearest before it that held: that is what a roll back goes to when nobody names another.
    pub fn previous_good(&self, number: u64) -> Option<u64> {
        let is_good = |one: u64| self.verdict(one).is_ok_and(|verdict| verdict.word == Word::Committed);
        let mut at = number;
        // A parent has a lower number, so this ends.
        while let Some(parent) = self.manifest(at).ok().and_then(|manifest| manifest.parent)
            && parent < at
        {
            if is_good(parent) {
                return Some(parent);
            }
            at = parent;
        }
        // Of one whose line is cut, the newest that held.
        self.numbers().ok()?.into_iter().rev().find(|one| *one < at && is_good(*one))
    }

    /// The files of its units directory, every byte checked.
    ///
    /// # Errors
    /// When there is none of that number, or anything of it is damaged.
    pub fn sources(&self, number: u64) -> Result<Vec<SourceFile>, Error> {
        let files = self.files(number)?.into_iter();
        Ok(files.map(|file| SourceFile { name: file.name, bytes: file.bytes }).collect())
    }

    /// The same with the permissions that they had: what another generation is made of.
    ///
    /// # Errors
    /// As [`Self::sources`].
    pub fn files(&self, number: u64) -> Result<Vec<UnitsFile>, Error> {
        let read = |entry: FileEntry| {
            let bytes = self.bytes_of(number, &entry)?;
            Ok(UnitsFile { name: entry.name, bytes, mode: entry.mode })
        };
        self.manifest(number)?.files.into_iter().map(read).collect()
    }

    /// What its units named elsewhere, every byte checked.
    ///
    /// # Errors
    /// As [`Self::sources`].
    pub fn named(&self, number: u64) -> Result<Vec<Named>, Error> {
        let entries = self.manifest(number)?.named.into_iter().enumerate();
        let read = |(at, entry): (usize, manifest::NamedEntry)| {
            let path = self.path_of(number).join(NAMED).join(named_name(at));
            let bytes = entry.sha256.map(|sha256| self.checked(number, &path, &sha256)).transpose()?;
            Ok(Named { path: entry.path, bytes })
        };
        entries.map(read).collect()
    }

    fn bytes_of(&self, number: u64, entry: &FileEntry) -> Result<Vec<u8>, Error> {
        self.checked(number, &self.path_of(number).join(UNITS).join(&entry.name), &entry.sha256)
    }

    fn checked(&self, number: u64, path: &Path, sha256: &str) -> Result<Vec<u8>, Error> {
        let damaged = |what: &str| Error::Damaged { number, what: format!("`{}` {what}", path.display()) };
        let bytes = match whole(path, add::MOST_FILE_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(damaged("is missing")),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Err(damaged("is not what was kept")),
            Err(error) => Err(Error::disk("read", path)(error)),
            Ok(bytes) => Ok(bytes),
        }?;
        let is_same = digest(&bytes) == sha256;
        is_same.then_some(bytes).ok_or_else(|| damaged("is not what was kept"))
    }

    fn pin_of(&self, number: u64) -> Option<String> {
        let path = self.path_of(number).join(PIN);
        let is_there = fs::symlink_metadata(&path).is_ok();
        let label = || self.read_json::<Pin>(number, PIN).map_or_else(|_torn| String::new(), |pin| pin.label);
        is_there.then(label)
    }

    fn read_json<T: DeserializeOwned>(&self, number: u64, name: &str) -> Result<T, Error> {
        let dir = self.path_of(number);
        let path = dir.join(name);
        let read = if_there(whole(&path, MOST_JSON_BYTES)).map_err(Error::disk("read", &path))?;
        let Some(bytes) = read else {
            let missing = || Error::Damaged { number, what: format!("`{}` is missing", path.display()) };
            return Err(if dir.is_dir() { missing() } else { Error::Unknown(number) });
        };
        serde_json::from_slice(&bytes).map_err(|error| Error::Damaged {
            number,
            what: format!("`{}` cannot be read: {error}", path.display()),
        })
    }

    fn must_be_there(&self, number: u64) -> Result<PathBuf, Error> {
        let dir = self.path_of(number);
        if dir.is_dir() { Ok(dir) } else { Err(Error::Unknown(number)) }
    }
}

fn in_words<T>(read: Result<T, Error>) -> Result<T, String> {
    read.map_err(|error| match error {
        Error::Damaged { what, .. } => what,
        other @ (Error::Disk { .. } | Error::Refused(_) | Error::Unknown(_)) => other.to_string(),
    })
}

fn dir_name(number: u64) -> String {
    format!("{number:06}")
}

fn named_name(at: usize) -> String {
    format!("{at:04}")
}

/// Of a directory's name. What people put beside it is no generation, such as `000042.old` or `42`.
fn number_of(name: &str) -> Option<u64> {
    let number = name.parse().ok()?;
    (dir_name(number) == name).then_some(number)
}

const DIR: &str = "generations";
const UNITS: &str = "units";
const NAMED: &str = "named";
const MANIFEST: &str = "manifest.json";
const VERDICT: &str = "verdict.json";
const PIN: &str = "pin.json";
const CURRENT: &str = "current";
const HIGHEST: &str = "highest";
const UNFINISHED: &str = "unfinished";
const REMOVED: &str = "removed";

/// A manifest of ten thousand files has 2 MiB.
const MOST_JSON_BYTES: u64 = 64 << 20;
