//! What stands in the directory of a unit's log. The keeper names the files; this is for those who look at them
//! beside it.

use std::io;
use std::path::{Path, PathBuf};

use crate::aside::files::entries;

/// Of the file that is being written; those that were it once have numbers, the newest the highest.
pub const CURRENT: u64 = u64::MAX;

/// The numbers of the files with their paths, oldest first and the current one last. Others are indexes, and
/// what people left there.
///
/// # Errors
/// When the directory is there and cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let numbered = entries(dir)?.into_iter().filter_map(|entry| {
        let name = entry.file_name();
        let number = if name == "current" { CURRENT } else { name.to_str()?.parse().ok()? };
        Some((number, entry.path()))
    });
    let mut files: Vec<_> = numbered.collect();
    files.sort_unstable();
    Ok(files)
}
