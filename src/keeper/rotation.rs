//! Older log files: `00000001`, `00000002`, … beside `current`, so that names sort by age; each
//! with its `.index`. The oldest go first, by a unit's `keep` and by the limit of all logs.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::keeper::logfile::{CURRENT, CURRENT_INDEX};

/// Before the logs are measured for the first time; what was there before stays unknown until then.
const FIRST_MEASURE: u64 = 16 * 1024 * 1024;
/// When over the limit, down to this share of it, so that not every write measures again.
const DOWN_TO: (u64, u64) = (15, 16);

/// Moves `current` aside and deletes what is too many.
///
/// # Errors
/// When `current` cannot be renamed. What cannot be deleted stays.
pub(super) fn rotate(dir: &Path, keep: u16) -> io::Result<()> {
    let mut numbers = numbers(dir);
    let next = numbers.last().map_or(1, |last| last.saturating_add(1));
    match fs::rename(dir.join(CURRENT), dir.join(name(next))) {
        // Somebody else moved it away first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    fs::rename(dir.join(CURRENT_INDEX), dir.join(index_name(next))).ok();
    numbers.insert(next);
    while numbers.len() > usize::from(keep) {
        let Some(oldest) = numbers.pop_first() else { break };
        fs::remove_file(dir.join(name(oldest))).ok();
        fs::remove_file(dir.join(index_name(oldest))).ok();
    }
    Ok(())
}

fn numbers(dir: &Path) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    entries.filter_map(Result::ok).filter_map(|entry| number(&entry.file_name())).collect()
}

fn number(name: &OsStr) -> Option<u64> {
    let text = name.to_str()?;
    let is_number = text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

fn name(number: u64) -> String {
    format!("{number:08}")
}

fn index_name(number: u64) -> String {
    format!("{number:08}.index")
}

/// Watches over the limit of all logs together.
#[derive(Debug, Default)]
pub(super) struct Total {
    /// Of all logs; 0 until they were measured.
    used: u64,
    /// Measure when this much more was written.
    budget: Option<u64>,
    /// The directories that hold the units' directories.
    roots: BTreeSet<PathBuf>,
}

impl Total {
    /// Bytes were added to the log in `dir`.
    pub(super) fn wrote(&mut self, bytes: u64, has_rotated: bool, limit: u64, dir: &[u8]) {
        if limit == u64::MAX {
            return;
        }
        let first = FIRST_MEASURE.min(limit);
        let budget = self.budget.unwrap_or(first);
        let left = budget.saturating_sub(bytes);
        self.budget = Some(left);
        if left > 0 && !has_rotated {
            return;
        }
        if let Some(root) = Path::new(OsStr::from_bytes(dir)).parent()
            && !self.roots.contains(root)
        {
            self.roots.insert(root.to_owned());
        } else if left > 0 {
            // A rotation alone changes nothing once its root is known.
            return;
        }
        self.measure(limit);
    }

    fn measure(&mut self, limit: u64) {
        let mut all: Vec<(std::time::SystemTime, u64, PathBuf)> = Vec::new();
        self.used = 0;
        for root in &self.roots {
            for unit in entries(root) {
                for file in entries(&unit) {
                    let Ok(metadata) = fs::symlink_metadata(&file) else { continue };
                    self.used = self.used.saturating_add(metadata.len());
                    let is_old = file.file_name().and_then(number).is_some();
                    if let (true, Ok(modified)) = (is_old, metadata.modified()) {
                        all.push((modified, metadata.len(), file));
                    }
                }
            }
        }
        if self.used > limit {
            self.delete_oldest(all, limit);
        }
        let sixteenth = limit.checked_div(DOWN_TO.1).unwrap_or(limit);
        self.budget = Some(limit.saturating_sub(self.used).max(sixteenth).max(1));
    }

    fn delete_oldest(&mut self, mut all: Vec<(std::time::SystemTime, u64, PathBuf)>, limit: u64) {
        let target = limit.checked_div(DOWN_TO.1).unwrap_or(limit).saturating_mul(DOWN_TO.0);
        all.sort();
        for (_, bytes, file) in all {
            if self.used <= target {
                break;
            }
            if fs::remove_file(&file).is_ok() {
                self.used = self.used.saturating_sub(bytes);
                fs::remove_file(file.with_extension("index")).ok();
            }
        }
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}
