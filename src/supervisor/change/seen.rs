//! What can be seen of units without reading them: enough to tell that something was done to a file, and no
//! proof that nothing was.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The units directory and the files that units name, as they were at one moment. By default nobody has looked,
/// and whatever is there is news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    directory: Directory,
    files: BTreeMap<OsString, Stamp>,
    /// `None`: it is not there, or may not be seen.
    named: BTreeMap<PathBuf, Option<Stamp>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Directory {
    #[default]
    Unseen,
    Missing,
    /// Number of its file system, and its own.
    Is(u64, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Number of its file system, and its own.
    identity: (u64, u64),
    bytes: u64,
    /// Seconds and nanoseconds: of what is in it, and of that and all else.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    /// The files of the units directory. May take as long as its disk does. Seen before they are read, it shows
    /// what changes meanwhile.
    pub(crate) fn of(units: &Path) -> Self {
        let found = fs::metadata(units);
        let directory = found.map_or(Directory::Missing, |found| Directory::Is(found.dev(), found.ino()));
        let entries = fs::read_dir(units).ok().into_iter().flatten().flatten().take(MOST_ENTRIES);
        let files =
            entries.filter_map(|entry| Some((entry.file_name(), Stamp::of(&entry.path())?))).collect();
        Self { directory, files, named: BTreeMap::new() }
    }

    /// Beside them, files elsewhere.
    pub(crate) fn with_named(mut self, named: impl IntoIterator<Item = PathBuf>) -> Self {
        self.named.extend(named.into_iter().map(|path| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        }));
        self
    }

    /// Nobody has looked at anything, least of all at these files elsewhere.
    pub(crate) fn nothing_of(named: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { named: named.into_iter().map(|path| (path, None)).collect(), ..Self::default() }
    }

    /// Nothing was done to the unit files between the two, as far as it can be seen. What else lies beside them may be
    /// written to all the time.
    pub(super) fn has_units_of(&self, other: &Self) -> bool {
        self.directory == other.directory && self.units().eq(other.units())
    }

    fn units(&self) -> impl Iterator<Item = (&OsString, &Stamp)> {
        self.files.iter().filter(|(name, _)| name.as_encoded_bytes().ends_with(b".yaml"))
    }

    /// The same files now.
    pub(super) fn again(&self, units: &Path) -> Self {
        Self::of(units).with_named(self.named.keys().cloned())
    }

    pub(super) fn named(&self) -> impl Iterator<Item = &Path> {
        self.named.keys().map(PathBuf::as_path)
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            identity: (found.dev(), found.ino()),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Of the directory; what are more are not looked at.
const MOST_ENTRIES: usize = 10_000;
