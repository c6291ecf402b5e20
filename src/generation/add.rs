//! How a generation comes: written beside the others, made durable, and named when it is whole.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::Serialize;

use crate::aside::files::{if_there, whole};
use crate::generation::error::Error;
use crate::generation::manifest::{Cause, FileEntry, Manifest, NamedEntry, Verdict, Who, digest};
use crate::generation::{HIGHEST, MANIFEST, NAMED, REMOVED, Store, UNFINISHED, UNITS, VERDICT, named_name};

/// Of one file. Larger ones are refused: they are no unit files.
pub(super) const MOST_FILE_BYTES: u64 = 16 << 20;
/// Of one generation, all that is named included.
pub const MOST_BYTES: usize = 64 << 20;
/// Every so many, a generation shares no file with those before it: one bad block costs no more than these.
const FULL_COPY_EVERY: u64 = 16;
/// From here on one sync of the whole file system is cheaper than one for each file.
const MOST_SYNCED_ALONE: usize = 64;

/// What a generation is to be made of.
#[derive(Clone, Debug)]
pub struct Draft {
    pub files: Vec<UnitsFile>,
    pub named: Vec<Named>,
    pub parent: Option<u64>,
    pub cause: Cause,
    pub who: Who,
    /// Since 1970.
    pub at_millis: u64,
    /// Where the files lie; empty where they come from no directory.
    pub units_dir: PathBuf,
}

/// A file of the units directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitsFile {
    pub name: String,
    pub bytes: Vec<u8>,
    /// Permissions in the units directory; in a generation it is 0440.
    pub mode: u32,
}

/// A file elsewhere that units name; `None` where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: String,
    pub bytes: Option<Vec<u8>>,
}

impl Store {
    /// Keeps a generation as a candidate, under a number that no other ever had.
    ///
    /// # Errors
    /// When it may not be kept, or the disk does not take it: then nothing of it is left.
    pub fn add(&self, draft: &Draft) -> Result<u64, Error> {
        check(draft)?;
        self.disk.make_dir(&self.dir).map_err(Error::disk("make", &self.dir))?;
        let unfinished = self.dir.join(UNFINISHED);
        self.disk.remove_tree(&unfinished).map_err(Error::disk("remove", &unfinished))?;
        let last = self.numbers()?.last().copied();
        let number = last.unwrap_or(0).max(self.highest()) + 1;
        let base = last.filter(|_some| number % FULL_COPY_EVERY != 0).map(|last| self.path_of(last));
        let written = self.write_draft(&unfinished, number, draft, base.as_deref());
        let named = written.and_then(|()| self.give_name(&unfinished, number));
        named.inspect_err(|_| drop(self.disk.remove_tree(&unfinished)))?;
        Ok(number)
    }

    /// The number is taken for good before anything bears it.
    fn give_name(&self, unfinished: &Path, number: u64) -> Result<(), Error> {
        self.note_highest(number)?;
        let dir = self.path_of(number);
        self.disk.rename(unfinished, &dir).map_err(Error::disk("name", &dir))?;
        let synced = self.disk.sync_dir(&self.dir).map_err(Error::disk("sync", &self.dir));
        // Who is told that it failed shall not find it there.
        synced.inspect_err(|_| drop(self.take_away(number)))
    }

    /// Removes one so that no half of it is ever seen.
    pub(super) fn take_away(&self, number: u64) -> Result<(), Error> {
        let removed = self.dir.join(REMOVED);
        self.disk.remove_tree(&removed).map_err(Error::disk("remove", &removed))?;
        self.disk.rename(&self.path_of(number), &removed).map_err(Error::disk("remove", &removed))?;
        self.disk.remove_tree(&removed).map_err(Error::disk("remove", &removed))
    }

    /// The highest number that was ever given; zero before the first.
    pub(super) fn highest(&self) -> u64 {
        let read = if_there(whole(&self.dir.join(HIGHEST), 64)).ok().flatten().unwrap_or_default();
        String::from_utf8(read).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    pub(super) fn note_highest(&self, number: u64) -> Result<(), Error> {
        let path = self.dir.join(HIGHEST);
        self.disk.replace(&path, format!("{number}\n").as_bytes()).map_err(Error::disk("write", &path))
    }

    fn write_draft(&self, dir: &Path, number: u64, draft: &Draft, base: Option<&Path>) -> Result<(), Error> {
        let (units, named) = (dir.join(UNITS), dir.join(NAMED));
        for dir in [dir, &units, &named] {
            self.disk.make_dir(dir).map_err(Error::disk("make", dir))?;
        }
        let mut written = Written::new(self);
        for file in &draft.files {
            let twin = base.map(|base| base.join(UNITS).join(&file.name));
            written.keep(&units.join(&file.name), &file.bytes, 0o440, twin.as_deref())?;
        }
        for (at, file) in draft.named.iter().enumerate() {
            let Some(bytes) = &file.bytes else { continue };
            let twin = base.map(|base| base.join(NAMED).join(named_name(at)));
            written.keep(&named.join(named_name(at)), bytes, 0o600, twin.as_deref())?;
        }
        let manifest = manifest(number, draft).map_err(|error| Error::Refused(error.to_string()))?;
        written.add(&dir.join(MANIFEST), &json(&manifest)?, 0o440)?;
        written.add(&dir.join(VERDICT), &json(&Verdict::candidate(draft.at_millis))?, 0o600)?;
        written.settle(dir)?;
        for dir in [&units, &named, dir] {
            self.disk.sync_dir(dir).map_err(Error::disk("sync", dir))?;
        }
        Ok(())
    }
}

/// Files that lie there and may still be lost with the power.
pub(super) struct Written<'a> {
    store: &'a Store,
    files: Vec<(PathBuf, File)>,
}

impl<'a> Written<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, files: Vec::new() }
    }

    /// The `twin` of an earlier generation serves where it has these very bytes: what was damaged since is not
    /// passed on.
    fn keep(&mut self, path: &Path, bytes: &[u8], mode: u32, twin: Option<&Path>) -> Result<(), Error> {
        if let Some(twin) = twin
            && is_twin(twin, bytes, mode).unwrap_or(false)
            // Where the file system has no links, or no more of them, a copy is as good.
            && self.store.disk.link(twin, path).is_ok()
        {
            return Ok(());
        }
        self.add(path, bytes, mode)
    }

    fn add(&mut self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
        let file = self.store.disk.write(path, bytes, mode).map_err(Error::disk("write", path))?;
        self.hold(path.to_owned(), file);
        Ok(())
    }

    pub(super) fn hold(&mut self, path: PathBuf, file: File) {
        // More than these are synced as a whole, and need not stay open.
        if self.files.len() <= MOST_SYNCED_ALONE {
            self.files.push((path, file));
        }
    }

    pub(super) fn settle(self, dir: &Path) -> Result<(), Error> {
        if self.files.len() > MOST_SYNCED_ALONE {
            return self.store.disk.sync_all(dir).map_err(Error::disk("sync", dir));
        }
        for (path, file) in &self.files {
            self.store.disk.sync_file(path, file).map_err(Error::disk("sync", path))?;
        }
        Ok(())
    }
}

/// A regular file that only generations share, with these bytes.
fn is_twin(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    // One with more links than generations can have given it has one from elsewhere.
    let is_ours = metadata.is_file()
        && metadata.mode() & 0o7777 == mode
        && metadata.nlink() < FULL_COPY_EVERY
        && metadata.len() == bytes.len() as u64;
    if !is_ours {
        return Ok(false);
    }
    let mut found = Vec::with_capacity(bytes.len() + 1);
    file.by_ref().take(metadata.len() + 1).read_to_end(&mut found)?;
    Ok(found == bytes)
}

fn manifest(number: u64, draft: &Draft) -> Result<Manifest, serde_json::Error> {
    let file = |file: &UnitsFile| FileEntry {
        name: file.name.clone(),
        sha256: digest(&file.bytes),
        bytes: file.bytes.len() as u64,
        mode: file.mode,
    };
    let named = |named: &Named| NamedEntry {
        path: named.path.clone(),
        sha256: named.bytes.as_deref().map(digest),
        bytes: named.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
    };
    let mut files: Vec<FileEntry> = draft.files.iter().map(file).collect();
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let manifest = Manifest {
        version: Manifest::VERSION,
        number,
        parent: draft.parent,
        cause: draft.cause,
        who: draft.who.clone(),
        at_millis: draft.at_millis,
        units_dir: draft.units_dir.to_string_lossy().into_owned(),
        files,
        named: draft.named.iter().map(named).collect(),
        sha256: String::new(),
    };
    manifest.sealed()
}

pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Error::Refused(error.to_string()))?;
    text.push(b'\n');
    Ok(text)
}

/// Before anything is written: names stay in their directory, and sizes in their bounds.
fn check(draft: &Draft) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for file in &draft.files {
        let name = file.name.as_str();
        let is_name = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
        if !is_name || !names.insert(name) {
            let flaw = if is_name { "is there twice" } else { "is no name of a file" };
            return Err(Error::Refused(format!("cannot keep a generation: `{name}` {flaw}; rename it")));
        }
    }
    let files = draft.files.iter().map(|file| (&file.name, file.bytes.len()));
    let named = draft.named.iter().filter_map(|file| Some((&file.path, file.bytes.as_ref()?.len())));
    let mut bytes = 0_usize;
    for (name, size) in files.chain(named) {
        bytes = bytes.saturating_add(size);
        let limit = if size as u64 > MOST_FILE_BYTES {
            format!("`{name}` has more than {} MiB", MOST_FILE_BYTES >> 20)
        } else if bytes > MOST_BYTES {
            format!("its files have more than {} MiB together", MOST_BYTES >> 20)
        } else {
            continue;
        };
        return Err(Error::Refused(format!(
            "cannot keep a generation: {limit}; move what is no unit file elsewhere"
        )));
    }
    Ok(())
}
