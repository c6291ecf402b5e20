//! The room on a disk.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::aside::Threads;
use crate::guard::reading::share;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disk {
    /// As df(1) counts: of what anybody but root could ever use, rounded to tenths.
    pub used_percent: f64,
    /// Left for anybody but root.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// The file system that `path` is on. Hangs where its server does: for a thread.
///
/// # Errors
/// When there is no such path, or it may not be looked at.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let found = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let used = bytes(found.f_blocks.saturating_sub(found.f_bfree));
    let free_bytes = bytes(found.f_bavail);
    let used_percent = (share(used, used.saturating_add(free_bytes)) * 10.0).round() / 10.0;
    Ok(Disk { used_percent, free_bytes, total_bytes: bytes(found.f_blocks) })
}

/// The same from a loop that may not wait.
///
/// # Errors
/// As [`disk`]; `TimedOut` when there is no answer within `limit`.
pub async fn disk_within(threads: &Threads, path: PathBuf, limit: Duration) -> io::Result<Disk> {
    threads.ask_io(limit, move || disk(&path)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_tells_its_room_and_a_missing_path_is_an_error() {
        let found = disk(Path::new("/")).unwrap();
        assert!(found.total_bytes > 0 && found.free_bytes <= found.total_bytes, "{found:?}");
        assert!((0.0..=100.0).contains(&found.used_percent), "{found:?}");
        assert_eq!(disk(Path::new("/no/such")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let threads = Threads::new("test", 1);
        let asked = disk_within(&threads, "/".into(), Duration::from_secs(30));
        assert_eq!(runtime.block_on(asked).unwrap().total_bytes, found.total_bytes);
    }
}
