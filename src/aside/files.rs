//! What those who keep files of their own have in common. Every call waits for the disk: for a thread.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The old content or the new one, never half of one, also after a loss of power; readable by its owner alone.
///
/// # Errors
/// When the disk does not take it; what was there before is still whole.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    swap(path, bytes, File::sync_all)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// The same for what nobody needs after a loss of power: there is no wait for the disk.
///
/// # Errors
/// As [`replace`].
pub fn replace_for_this_boot(path: &Path, bytes: &[u8]) -> io::Result<()> {
    swap(path, bytes, |_| Ok(()))
}

fn swap(path: &Path, bytes: &[u8], settle: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        settle(&file)?;
        fs::rename(&temporary, path)
    })();
    // What found no room shall not take up the little there is.
    written.inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// A full disk must not keep a machine's services from starting: what is only there to be read by people,
/// or to refuse another units directory, is done without. The journal, which fails as well, says so.
pub(crate) fn unless_full(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            Ok(())
        }
        other => other,
    }
}

/// Makes a directory that only its owner may look into, and those above it.
///
/// # Errors
/// When it is not there afterwards.
pub fn make_private(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// What a directory holds; nothing where there is none.
///
/// # Errors
/// When it is there and cannot be read.
pub fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    if_there(fs::read_dir(dir))?.map_or_else(|| Ok(Vec::new()), Iterator::collect)
}

/// `None` where there is no such file.
///
/// # Errors
/// Any other than that.
pub fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
