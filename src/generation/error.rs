//! Why the store did not do what it was asked.

use std::error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub enum Error {
    /// The disk, or the rights on it. What was there before is whole.
    Disk { verb: &'static str, path: PathBuf, cause: io::Error },
    /// What was given cannot be kept; the sentence says how to mend it.
    Refused(String),
    /// There is no such generation: it never was, or was retired.
    Unknown(u64),
    /// It is there, and not what was kept.
    Damaged { number: u64, what: String },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk { verb, path, cause } => {
                write!(f, "cannot {verb} `{}`: {cause}; {}", path.display(), help(cause))
            }
            Self::Refused(why) => f.write_str(why),
            Self::Unknown(number) => {
                write!(f, "there is no generation {number}; `mcsup generations` lists those that are kept")
            }
            Self::Damaged { number, what } => {
                write!(
                    f,
                    "cannot use generation {number}: {what}; `mcsup generations verify` names all that is damaged, and any other generation can be rolled back to"
                )
            }
        }
    }
}

impl error::Error for Error {}

impl Error {
    /// For `map_err`: what was to be done, and to what.
    pub(super) fn disk<'a>(verb: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Self + 'a {
        move |cause| Self::Disk { verb, path: path.to_owned(), cause }
    }

    /// The directory may not be written at all, now or ever; nothing else is wrong.
    pub(super) fn is_forbidden(&self) -> bool {
        match self {
            Self::Disk { cause, .. } => {
                matches!(cause.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
            }
            Self::Refused(_) | Self::Unknown(_) | Self::Damaged { .. } => false,
        }
    }
}

/// How to mend it.
fn help(cause: &io::Error) -> &'static str {
    let is = |kinds: &[io::ErrorKind]| kinds.contains(&cause.kind());
    if is(&[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded]) {
        "make room on that file system, and do it again"
    } else if is(&[io::ErrorKind::ReadOnlyFilesystem]) {
        "mount that file system for writing, and do it again"
    } else if is(&[io::ErrorKind::PermissionDenied]) {
        "give the user that mcsup runs as the rights to it"
    } else if is(&[io::ErrorKind::NotFound]) {
        "look whether somebody removed it or a directory above it"
    } else {
        "look at the file system that it lies on"
    }
}
