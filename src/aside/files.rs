//! What those who keep files of their own have in common. Every call waits for the disk: for a thread.

use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

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

/// Opens a regular file that somebody else named. Without waiting, as the open of a pipe waits for a writer; and
/// nothing else, as a device may have no end.
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let is_regular = file.metadata()?.is_file();
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    is_regular.then_some(file).ok_or_else(refused)
}

/// All of a small regular file that somebody else named. Its length is not asked for beforehand: what the kernel
/// makes up has none, and any other may grow meanwhile.
///
/// # Errors
/// As [`regular`]; `FileTooLarge` when it has more than `most` bytes, of which no more than that are read.
pub fn whole(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = regular(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let is_small = u64::try_from(read).is_ok_and(|read| read <= most);
    let refused =
        || io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} KiB", most / 1024));
    is_small.then_some(bytes).ok_or_else(refused)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_not_read_and_of_a_large_file_no_more_than_shows_that_it_is() {
        let dir = std::env::temp_dir().join(format!("mcsup-whole-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let pipe = dir.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [Path::new("/dev/null"), Path::new("/dev/zero"), &pipe, &dir] {
            let refused = whole(path, 1024).unwrap_err();
            assert_eq!(refused.to_string(), "it is not a regular file", "{}", path.display());
        }
        let file = dir.join("file");
        fs::write(&file, [b'a'; 1024]).unwrap();
        assert_eq!(whole(&file, 1024).unwrap(), [b'a'; 1024]);
        assert_eq!(whole(&file, 1023).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        // The kernel says that it has no bytes at all.
        assert!(!whole(Path::new("/proc/self/status"), 1 << 20).unwrap().is_empty());
        assert_eq!(whole(&dir.join("none"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::remove_dir_all(&dir).unwrap();
    }
}
