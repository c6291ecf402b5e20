//! What one generation changed, brought onto another one: file by file, as none of them is ever half of two.

use std::collections::{BTreeMap, BTreeSet};

use crate::generation::add::UnitsFile;
use crate::generation::error::Error;
use crate::generation::manifest::{FileEntry, digest};
use crate::generation::{SourceFile, Store};

/// The files of one generation with what another one had changed since its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Each with the generation that holds its bytes.
    entries: BTreeMap<String, (u64, FileEntry)>,
}

impl Store {
    /// The files of `onto` with what `patch` had changed since its parent.
    ///
    /// # Errors
    /// When one of the three is not there or damaged, or both sides changed one file, each in its own way.
    pub fn merge(&self, patch: u64, onto: u64) -> Result<Merged, Error> {
        let parent = self.manifest(patch)?.parent.unwrap_or(onto);
        let (before, theirs, ours) = (self.entries(parent)?, self.entries(patch)?, self.entries(onto)?);
        let names: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        let mut entries = BTreeMap::new();
        for name in names {
            let [was, their, our] = [&before, &theirs, &ours].map(|all| all.get(name));
            let [was_bytes, their_bytes, our_bytes] =
                [was, their, our].map(|entry| entry.map(|entry| &entry.sha256));
            let kept = if their_bytes == was_bytes || their_bytes == our_bytes {
                our.map(|entry| (onto, entry))
            } else if our_bytes == was_bytes {
                their.map(|entry| (patch, entry))
            } else {
                return Err(Error::Refused(format!(
                    "generation {patch} changes `{name}`, which generation {onto} has changed otherwise since"
                )));
            };
            entries.extend(kept.map(|(number, entry)| (name.clone(), (number, entry.clone()))));
        }
        Ok(Merged { entries })
    }

    /// Every byte checked.
    ///
    /// # Errors
    /// When anything of it is damaged.
    pub fn files_of(&self, merged: &Merged) -> Result<Vec<UnitsFile>, Error> {
        let read = |(name, (number, entry)): (&String, &(u64, FileEntry))| {
            let bytes = self.bytes_of(*number, entry)?;
            Ok(UnitsFile { name: name.clone(), bytes, mode: entry.mode })
        };
        merged.entries.iter().map(read).collect()
    }

    /// The files of this generation are the same.
    ///
    /// # Errors
    /// When it is not there, or its manifest is damaged.
    pub fn holds(&self, number: u64, merged: &Merged) -> Result<bool, Error> {
        let kept = self.entries(number)?;
        let is_kept = |(name, (_, entry)): (&String, &(u64, FileEntry))| {
            kept.get(name).is_some_and(|kept| kept.sha256 == entry.sha256)
        };
        Ok(kept.len() == merged.entries.len() && merged.entries.iter().all(is_kept))
    }
}

impl Merged {
    /// These are all of its files.
    pub fn is_of(&self, files: &[UnitsFile]) -> bool {
        files.len() == self.entries.len() && files.iter().all(|file| self.has(&file.name, &file.bytes))
    }

    /// These are all of its unit files.
    pub fn is_of_sources(&self, sources: &[SourceFile]) -> bool {
        let own = self.entries.keys().filter(|name| name.ends_with(".yaml")).count();
        own == sources.len() && sources.iter().all(|source| self.has(&source.name, &source.bytes))
    }

    fn has(&self, name: &str, bytes: &[u8]) -> bool {
        self.entries.get(name).is_some_and(|(_, entry)| entry.sha256 == digest(bytes))
    }
}
