//! `left-alone.json`: a generation is in force, and the units directory could not be made to say so. Whoever looks at it
//! later, be it the next boot, must not take what it still says for something new.

use std::io;

use serde::{Deserialize, Serialize};

use crate::aside::files::{if_there, whole};
use crate::generation::add::json;
use crate::generation::error::Error;
use crate::generation::manifest::digest;
use crate::generation::{MOST_JSON_BYTES, Store};
use crate::unit::SourceFile;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LeftAlone {
    /// It is in force, and the directory is to be as it is.
    generation: u64,
    /// Why it was not written to.
    why: String,
    /// What it may still hold: digests of all its unit files, of the generation that gave way, and of what that had
    /// not been written over either.
    stale: Vec<String>,
}

impl Store {
    /// Why a directory with these unit files says something else than this generation, which is in force; `None` where
    /// it was written to, or somebody has written something new since.
    pub fn left_alone(&self, current: u64, sources: &[SourceFile]) -> Option<String> {
        let known = self.note_of_left().ok()?.filter(|known| known.generation == current)?;
        let there = seal(sources.iter().map(|file| (file.name.as_str(), digest(&file.bytes))));
        known.stale.contains(&there).then_some(known.why)
    }

    /// It still says what `gone` says, or what was known of it when that was in force.
    pub(super) fn note_left(&self, gone: u64, good: u64, why: &str) -> Result<(), Error> {
        let earlier = self.note_of_left().ok().flatten().filter(|known| known.generation == gone);
        let mut stale = earlier.map_or_else(Vec::new, |known| known.stale);
        let entries = self.entries(gone)?;
        stale.push(seal(entries.values().map(|entry| (entry.name.as_str(), entry.sha256.clone()))));
        stale.drain(..stale.len().saturating_sub(MOST_STALE));
        let path = self.dir.join(LEFT_ALONE);
        let known = LeftAlone { generation: good, why: why.to_owned(), stale };
        self.disk.replace(&path, &json(&known)?).map_err(Error::disk("write", &path))
    }

    fn note_of_left(&self) -> Result<Option<LeftAlone>, io::Error> {
        let bytes = if_there(whole(&self.dir.join(LEFT_ALONE), MOST_JSON_BYTES))?;
        // Torn: then the directory counts again.
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

/// Of the unit files by name; what else lies there is no word of a person.
fn seal<'a>(files: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut lines: Vec<String> = files
        .filter(|(name, _)| name.ends_with(".yaml"))
        .map(|(name, sha256)| format!("{sha256} {name}\n"))
        .collect();
    lines.sort_unstable();
    digest(lines.concat().as_bytes())
}

pub(super) const LEFT_ALONE: &str = "left-alone.json";
/// Roll backs one after the other on a directory that cannot be written.
const MOST_STALE: usize = 32;
