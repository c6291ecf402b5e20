//! What there is to be kept, as it stands on this machine now.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::aside::files;
use crate::generation::add::{MOST_BYTES, MOST_FILE_BYTES, Named, UnitsFile};
use crate::generation::error::Error;

/// Every regular file of the units directory by name, not only unit files; also one that a link in it leads to.
/// Subdirectories are not looked into. Hidden files, and those whose names end in `~` or are no UTF-8, are neither
/// kept nor ever touched: nothing of mcsup reads them, and most are an editor's.
///
/// # Errors
/// When one cannot be read, or they are larger than a generation may be.
pub fn read_units(dir: &Path) -> Result<Vec<UnitsFile>, Error> {
    read_those(dir, |_| true)
}

/// Of these names only. What nobody wants is not even opened: it may be of any size, and somebody's who writes to it.
///
/// # Errors
/// As [`read_units`].
pub fn read_those(dir: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<UnitsFile>, Error> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::disk("read", dir))? {
        let entry = entry.map_err(Error::disk("read", dir))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| is_kept(name) && is_wanted(name)));
    }
    names.sort_unstable();
    let mut files = Vec::with_capacity(names.len());
    let mut bytes = 0;
    for name in names {
        let path = dir.join(&name);
        let Some(file) = read_file(&path, name)? else { continue };
        bytes += file.bytes.len();
        if bytes > MOST_BYTES {
            return Err(Error::Refused(format!(
                "cannot keep `{}`: its files have more than {} MiB together; move what is no unit file elsewhere",
                dir.display(),
                MOST_BYTES >> 20
            )));
        }
        files.push(file);
    }
    Ok(files)
}

/// A file elsewhere; relative paths are those of the units directory, as units mean them.
///
/// # Errors
/// When it is there and cannot be read, or is too large.
pub fn read_named(units_dir: &Path, path: &str) -> Result<Named, Error> {
    let bytes = match files::whole(&units_dir.join(path), MOST_FILE_BYTES) {
        Ok(bytes) => Some(bytes),
        Err(error) if is_gone(&error) => None,
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Err(too_large(&units_dir.join(path)));
        }
        Err(error) => return Err(Error::disk("read", &units_dir.join(path))(error)),
    };
    Ok(Named { path: path.to_owned(), bytes })
}

pub(super) fn is_kept(name: &str) -> bool {
    !name.starts_with('.') && !name.ends_with('~')
}

/// `None` for what is no regular file, and for one that went away since its name was read.
fn read_file(path: &Path, name: String) -> Result<Option<UnitsFile>, Error> {
    let file = match files::regular(path) {
        Ok(file) => file,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(Error::disk("read", path)(error)),
    };
    let metadata = file.metadata().map_err(Error::disk("read", path))?;
    if metadata.len() > MOST_FILE_BYTES {
        return Err(too_large(path));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::disk("read", path))?;
    if bytes.len() as u64 > MOST_FILE_BYTES {
        return Err(too_large(path));
    }
    Ok(Some(UnitsFile { name, bytes, mode: metadata.permissions().mode() & 0o7777 }))
}

/// No file at all, a link to none, or something else than a file.
fn is_gone(error: &io::Error) -> bool {
    // A socket cannot be opened (ENXIO); a directory and a pipe can.
    let is_socket = error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error());
    is_socket || matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

fn too_large(path: &Path) -> Error {
    Error::Refused(format!(
        "cannot keep `{}`: it has more than {} MiB; move it elsewhere if it is no unit file",
        path.display(),
        MOST_FILE_BYTES >> 20
    ))
}
