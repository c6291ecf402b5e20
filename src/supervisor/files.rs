//! Files that are written as a whole, and what a full disk means for them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What a new content has to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of any process.
    UntilPowerFails,
    /// The death of the machine as well, which costs a wait for the disk.
    Lasting,
}

/// Replaces a file, readable by its owner alone, so that a crash leaves the old or the new content, never a part.
///
/// # Errors
/// When it cannot be written; the old content is still there then.
pub(crate) fn write_whole(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    if durability == Durability::Lasting {
        file.sync_data()?;
    }
    fs::rename(&temporary, path)
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
