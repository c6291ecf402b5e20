//! Files that a run left: found by their path, its placeholders and wildcards, and read as far as they can be judged.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::aside::files::regular;
use crate::output::{FoundFile, Taken};
use crate::unit::spec::output::{Content, FileSpec};

/// Where to look, and what stands for the placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looking {
    /// The run's working directory.
    pub dir: PathBuf,
    pub run_id: String,
    /// `2026-11-20`.
    pub date: String,
}

impl Looking {
    /// `path` with its placeholders filled in.
    pub fn filled(&self, path: &str) -> String {
        path.replace("{run.id}", &self.run_id).replace("{date}", &self.date)
    }
}

/// What is there of `file`, by name, bounded.
pub fn find(file: &FileSpec, looking: &Looking) -> Vec<FoundFile> {
    let path = looking.filled(&file.path);
    let (found, is_too_many) = names(&path, looking);
    let mut bytes_left = MOST_BYTES;
    let names = found.into_iter().take(MOST_FILES);
    let mut found: Vec<FoundFile> = names.filter_map(|name| one(looking, name, &mut bytes_left)).collect();
    if is_too_many {
        let taken = Taken::Unreadable(format!("more than {MOST_FILES} files are there to be judged"));
        found.push(FoundFile { path, modified_nanos: u64::MAX, taken });
    }
    found
}

/// What tells whether a file is still the one that it was. The kernel sets the change time on every write and every
/// rename, and no program can set it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub path: String,
    /// Device and inode. `None` here and below: it cannot be looked at.
    pub inode: Option<(u64, u64)>,
    pub size_bytes: Option<u64>,
    /// Seconds and nanoseconds since 1970.
    pub modified: Option<(i64, i64)>,
    pub changed: Option<(i64, i64)>,
}

/// The marks of all that [`find`] would find.
pub fn marks(file: &FileSpec, looking: &Looking) -> Vec<Mark> {
    let path = looking.filled(&file.path);
    let names = names(&path, looking).0.into_iter().take(MOST_FILES);
    names.filter_map(|path| mark(looking, path)).collect()
}

/// `None` where there is nothing of this name.
fn mark(looking: &Looking, path: String) -> Option<Mark> {
    match fs::metadata(looking.dir.join(&path)) {
        Ok(metadata) => Some(Mark {
            path,
            inode: Some((metadata.dev(), metadata.ino())),
            size_bytes: Some(metadata.len()),
            modified: Some((metadata.mtime(), metadata.mtime_nsec())),
            changed: Some((metadata.ctime(), metadata.ctime_nsec())),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_unseen) => Some(Mark { path, inode: None, size_bytes: None, modified: None, changed: None }),
    }
}

/// All names that fit, in order, and whether there are more of them than may be looked at.
fn names(path: &str, looking: &Looking) -> (Vec<String>, bool) {
    let mut left = MOST_ENTRIES;
    let base = if path.starts_with('/') { Path::new("/") } else { &*looking.dir };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut found = Vec::new();
    let mut stem = String::from(if path.starts_with('/') { "/" } else { "" });
    walk(base, &parts, &mut stem, &mut left, &mut found);
    found.sort();
    found.dedup();
    let is_too_many = found.len() > MOST_FILES || left == 0;
    (found, is_too_many)
}

/// Goes down one name; `stem` is the path so far as it is told.
fn walk(dir: &Path, parts: &[&str], stem: &mut String, left: &mut usize, found: &mut Vec<String>) {
    let Some((part, rest)) = parts.split_first() else { return };
    let names: Vec<String> = if part.contains(['*', '?']) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let seen: Vec<String> = names.take(*left).collect();
        *left = left.saturating_sub(seen.len());
        seen.into_iter().filter(|name| matches(part, name)).collect()
    } else {
        vec![(*part).to_owned()]
    };
    for name in names {
        let before = stem.len();
        stem.push_str(&name);
        let path = dir.join(&name);
        if rest.is_empty() {
            found.push(stem.clone());
        } else {
            stem.push('/');
            walk(&path, rest, stem, left, found);
        }
        stem.truncate(before);
    }
}

/// `*` stands for any text, `?` for one character; a name that begins with a point is matched only by a point.
pub fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last star stands, and how much it has taken.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match (pattern.get(p), star) {
            (Some('*'), _) => {
                star = Some((p, n));
                p += 1;
            }
            (Some(c), _) if *c == '?' || name.get(n) == Some(c) => {
                p += 1;
                n += 1;
            }
            (_, Some((at, taken))) => {
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
            (_, None) => return false,
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

/// `None` where there is nothing of this name.
fn one(looking: &Looking, path: String, bytes_left: &mut u64) -> Option<FoundFile> {
    let place = looking.dir.join(&path);
    let metadata = match fs::metadata(&place) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            let taken = Taken::Unreadable(format!("it cannot be read: {error}"));
            return Some(FoundFile { path, modified_nanos: 0, taken });
        }
    };
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let modified_nanos = modified.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let taken = if metadata.is_dir() {
        Taken::Unreadable("it is a directory".to_owned())
    } else if metadata.len() <= Content::MOST_BYTES && metadata.len() > *bytes_left {
        Taken::Unreadable("there are more bytes in these files than can be judged".to_owned())
    } else {
        take(&place, 0, None)
    };
    if let Taken::Bytes(bytes) = &taken {
        *bytes_left = bytes_left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
    Some(FoundFile { path, modified_nanos, taken })
}

/// As much of a file as can be judged: `length` bytes from `offset`, or all behind it.
pub fn take(path: &Path, offset: u64, length: Option<u64>) -> Taken {
    let read = || -> io::Result<Taken> {
        let mut file = regular(path)?;
        let size = file.metadata()?.len().saturating_sub(offset);
        let size = length.map_or(size, |length| length.min(size));
        if size > Content::MOST_BYTES {
            return Ok(Taken::TooLarge(size));
        }
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        let most = length.unwrap_or(u64::MAX).min(Content::MOST_BYTES.saturating_add(1));
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(most).read_to_end(&mut bytes)?;
        // It may have grown since it was measured.
        match u64::try_from(bytes.len()) {
            Ok(taken) if taken <= Content::MOST_BYTES => Ok(Taken::Bytes(bytes)),
            Ok(taken) => Ok(Taken::TooLarge(taken)),
            Err(_larger) => Ok(Taken::TooLarge(u64::MAX)),
        }
    };
    read().unwrap_or_else(|error| Taken::Unreadable(format!("it cannot be read: {error}")))
}

/// Of one entry of the spec.
const MOST_FILES: usize = 200;
/// Names in directories that are looked at for wildcards.
const MOST_ENTRIES: usize = 10_000;
/// Of all files of one entry; the judge has four times as much for all that it does.
const MOST_BYTES: u64 = 64 * 1024 * 1024;
