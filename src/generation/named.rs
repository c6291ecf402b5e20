//! Files elsewhere that a change had changed and that did not hold: they get back what they were, where nobody has
//! written to them since. As in `restore`, content decides, and what is exchanged is looked at before it is let go.
//! There is no journal: whoever goes on with a way back does it once more, and each file is the old one or the new one
//! at every moment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::aside::files::{if_there, regular};
use crate::generation::Store;
use crate::generation::add::MOST_FILE_BYTES;
use crate::generation::error::Error;
use crate::generation::restore::{MOST_SET_ASIDE, unless_outrun};

/// What was done to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredNamed {
    /// Paths as units name them, of files that are again what they were, or gone as they were before.
    pub restored: Vec<String>,
    /// What a person wrote meanwhile stays there.
    pub displaced: Vec<String>,
    /// Where older bytes of a person were put, who wrote in the very moment.
    pub set_aside: Vec<PathBuf>,
    /// What could not be brought back, and why.
    pub refused: Vec<(String, String)>,
}

impl Store {
    /// Undoes what makes the files that units name elsewhere in `rejected` differ from `good`. Files that stand in the
    /// units directory itself are those of [`Store::restore`].
    ///
    /// # Errors
    /// When one of the two cannot be read.
    pub fn restore_named(&self, units_dir: &Path, rejected: u64, good: u64) -> Result<RestoredNamed, Error> {
        let old: BTreeMap<String, Option<Vec<u8>>> =
            self.named(rejected)?.into_iter().map(|named| (named.path, named.bytes)).collect();
        let (of_rejected, of_good) = (self.entries(rejected)?, self.entries(good)?);
        let mut done = RestoredNamed::default();
        for named in self.named(good)? {
            let is_in_directory = of_rejected.contains_key(&named.path) || of_good.contains_key(&named.path);
            let Some(bad) = old.get(&named.path).filter(|bad| **bad != named.bytes && !is_in_directory)
            else {
                continue;
            };
            let file = Elsewhere {
                store: self,
                path: units_dir.join(&named.path),
                bad: bad.as_deref(),
                good: named.bytes.as_deref(),
            };
            match file.restore() {
                Ok(Outcome::Untouched) => {}
                Ok(Outcome::Restored) => done.restored.push(named.path),
                Ok(Outcome::Displaced) => done.displaced.push(named.path),
                Ok(Outcome::SetAside(path)) => done.set_aside.push(path),
                Err(error) => done.refused.push((named.path, error.to_string())),
            }
        }
        Ok(done)
    }
}

struct Elsewhere<'a> {
    store: &'a Store,
    path: PathBuf,
    bad: Option<&'a [u8]>,
    good: Option<&'a [u8]>,
}

enum Outcome {
    Untouched,
    Restored,
    /// It is a person's.
    Displaced,
    SetAside(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Good,
    Bad,
    Other,
}

impl Elsewhere<'_> {
    fn restore(&self) -> io::Result<Outcome> {
        // Links stay what they are; the file at their end is the one that was changed.
        let path = end_of(&self.path);
        let staged = hidden(&path, STAGED)?;
        // Of another life.
        self.store.disk.remove_file(&hidden(&path, STAGING)?)?;
        let set_aside = self.let_go(&path, &staged)?;
        if let Some(set_aside) = set_aside {
            return Ok(Outcome::SetAside(set_aside));
        }
        match self.look(&path)? {
            There::Good => return Ok(Outcome::Untouched),
            There::Other => return Ok(Outcome::Displaced),
            There::Bad => {}
        }
        self.put(&path, &staged)?;
        if let Some(dir) = path.parent() {
            self.store.disk.sync_dir(dir)?;
        }
        let is_lost = self.look(&staged)? == There::Other && staged.exists();
        if is_lost {
            // Somebody wrote between the look and the exchange: theirs is what stays.
            unless_outrun(self.store.disk.move_to_free(&staged, &path))?;
            if staged.exists() {
                unless_outrun(self.store.disk.exchange(&staged, &path))?;
            }
        }
        if let Some(set_aside) = self.let_go(&path, &staged)? {
            return Ok(Outcome::SetAside(set_aside));
        }
        Ok(if is_lost { Outcome::Displaced } else { Outcome::Restored })
    }

    /// What comes is whole and for good before it takes its place; what was there is under `staged` then.
    fn put(&self, path: &Path, staged: &Path) -> io::Result<()> {
        let disk = &self.store.disk;
        let Some(good) = self.good else { return unless_outrun(disk.move_to_free(path, staged)) };
        let like = if_there(fs::metadata(path))?;
        // Nobody knows any more who could read it: it may hold a password.
        let mode = like.as_ref().map_or(0o600, |like| like.mode() & 0o7777);
        let staging = hidden(path, STAGING)?;
        let written = (|| {
            let file = disk.write(&staging, good, mode)?;
            let is = file.metadata()?;
            if let Some(like) = like.as_ref().filter(|like| (is.uid(), is.gid()) != (like.uid(), like.gid()))
            {
                disk.own(&staging, &file, like.uid(), like.gid())?;
            }
            disk.sync_file(&staging, &file)?;
            disk.rename(&staging, staged)
        })();
        written.inspect_err(|_| drop(disk.remove_file(&staging)))?;
        let put = if like.is_none() { disk.move_to_free(staged, path) } else { disk.exchange(staged, path) };
        unless_outrun(put.inspect_err(|_| drop(disk.remove_file(staged))))
    }

    /// Only what is kept in a generation; anything else gets a name under which people find it.
    fn let_go(&self, path: &Path, staged: &Path) -> io::Result<Option<PathBuf>> {
        let disk = &self.store.disk;
        if fs::symlink_metadata(staged).is_err() {
            return Ok(None);
        }
        if self.look(staged)? != There::Other {
            disk.remove_file(staged)?;
            return Ok(None);
        }
        for number in 1..=MOST_SET_ASIDE {
            let free = with_suffix(path, &format!(".mcsup-saved-{number}"))?;
            match disk.move_to_free(staged, &free) {
                Ok(()) => return Ok(Some(free)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("there are too many files that were set aside"))
    }

    fn look(&self, path: &Path) -> io::Result<There> {
        let there = match regular(path) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
                Some(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // A directory, a pipe: nothing that a change had put there.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(There::Other),
            Err(error) => return Err(error),
        };
        Ok(if there.as_deref() == self.good {
            There::Good
        } else if there.as_deref() == self.bad {
            There::Bad
        } else {
            There::Other
        })
    }
}

/// Where links lead, also where there is nothing.
fn end_of(path: &Path) -> PathBuf {
    let mut end = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&end) else { break };
        end = end.parent().unwrap_or_else(|| Path::new("/")).join(target);
    }
    end
}

/// On the same file system.
fn hidden(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let path = with_suffix(path, suffix)?;
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    Ok(path.with_file_name(name))
}

fn with_suffix(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let mut name = path.file_name().ok_or_else(|| io::Error::other("it is no path of a file"))?.to_owned();
    name.push(suffix);
    Ok(path.with_file_name(name))
}

/// Half written at worst, and nobody's but ours.
const STAGING: &str = ".mcsup-restore.new";
/// What is to be in the place, until it is exchanged with what was.
const STAGED: &str = ".mcsup-restore";
/// As many as the kernel follows (path_resolution(7)).
const MOST_LINKS: u32 = 40;
