//! The files of one unit's log, oldest first.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The file that is being written; the others were it once.
pub const CURRENT: &str = "current";

/// Ends the name of a sidecar, which holds hints of when what was written.
pub const INDEX_SUFFIX: &str = ".index";

/// `LOG/UNIT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDir {
    path: PathBuf,
}

/// Which file it is, whatever it is called by now. Inode numbers alone come again within a second on ext4: the
/// date of birth tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    inode: u64,
    born: u128,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub path: PathBuf,
    pub id: FileId,
    pub size_bytes: u64,
    /// Nanoseconds since 1970.
    pub modified: u64,
}

impl LogDir {
    pub fn new(log_dir: &Path, unit: &str) -> Self {
        Self { path: log_dir.join(unit) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Oldest first, `current` last. Empty where the unit has written nothing yet.
    ///
    /// A file that is renamed while its directory is read may be missed under both names, and the one after it
    /// be seen. So the directory is read until nothing new turns up: what was missed has its last name by then.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub fn list(&self) -> io::Result<Vec<Listed>> {
        let mut known: BTreeMap<FileId, (Rank, usize, Listed)> = BTreeMap::new();
        for look in 0..MOST_LOOKS {
            let mut is_new = false;
            for (rank, file) in self.look()? {
                is_new |= known.insert(file.id, (rank, look, file)).is_none();
            }
            if !is_new {
                break;
            }
        }
        let mut files: Vec<_> = known.into_values().collect();
        // Two that were `current` each in its time: the one seen earlier is the older.
        files.sort_by(|(rank, look, _), (other, later, _)| (rank, look).cmp(&(other, later)));
        Ok(files.into_iter().map(|(_, _, file)| file).collect())
    }

    fn look(&self) -> io::Result<Vec<(Rank, Listed)>> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(rank) = name.to_str().and_then(rank) else { continue };
            // Rotated away between the listing and the look.
            let Ok(found) = entry.metadata() else { continue };
            if found.is_file() {
                files.push((rank, Listed::new(entry.path(), &found)));
            }
        }
        Ok(files)
    }

    /// Opens a listed file, also when it has been renamed meanwhile. `None`: it is gone.
    ///
    /// # Errors
    /// When the file is there and cannot be opened.
    pub fn open(&self, wanted: &Listed) -> io::Result<Option<File>> {
        if let Some(file) = open_if(&wanted.path, wanted.id)? {
            return Ok(Some(file));
        }
        for listed in self.list()? {
            if listed.id == wanted.id
                && let Some(file) = open_if(&listed.path, wanted.id)?
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}

impl Listed {
    fn new(path: PathBuf, found: &Metadata) -> Self {
        let modified = found.modified().map_or(0, nanos);
        Self {
            path,
            id: FileId::of(found),
            size_bytes: found.len(),
            modified: u64::try_from(modified).unwrap_or(u64::MAX),
        }
    }

    /// Where the hints for this file are.
    pub fn index(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(INDEX_SUFFIX);
        path.into()
    }
}

impl FileId {
    pub fn of(found: &Metadata) -> Self {
        // A file system without dates of birth leaves the inode number, which is right until it comes again.
        Self { inode: found.ino(), born: found.created().map_or(0, nanos) }
    }

    /// The inode number, and when it was made in nanoseconds since 1970; 0 where nobody knows.
    pub fn numbers(&self) -> (u64, u64) {
        (self.inode, u64::try_from(self.born).unwrap_or(u64::MAX))
    }
}

/// Rotations faster than a directory is read, again and again, are nobody's log.
const MOST_LOOKS: usize = 64;

/// Whether it is `current`, then its name.
type Rank = (bool, Vec<Part>);

/// The order of a name among a unit's files: rotated ones by their numbers, `current` after them all.
/// `None`: no log file.
fn rank(name: &str) -> Option<Rank> {
    if name.starts_with('.') || name.ends_with(INDEX_SUFFIX) {
        return None;
    }
    Some((name == CURRENT, parts(name)))
}

/// A piece of a name; digits compare by their value, so that 10 comes after 9.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u128),
    Text(String),
}

fn parts(name: &str) -> Vec<Part> {
    name.as_bytes()
        .chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit())
        .map(|piece| {
            let text = String::from_utf8_lossy(piece);
            text.parse().map_or_else(|_text| Part::Text(text.clone().into_owned()), Part::Number)
        })
        .collect()
}

fn open_if(path: &Path, id: FileId) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok((FileId::of(&file.metadata()?) == id).then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn nanos(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_ordered_by_number_with_current_last_and_sidecars_left_out() {
        let mut names = ["current", "10", "9", "current.index", "9.index", ".tmp", "100"]
            .into_iter()
            .filter_map(|name| Some((rank(name)?, name)))
            .collect::<Vec<_>>();
        names.sort();
        let names: Vec<&str> = names.into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["9", "10", "100", "current"]);
    }
}
