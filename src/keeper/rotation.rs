//! Older log files: `00000001`, `00000002`, … beside `current`, so that names sort by age; each
//! with its `.index`. The oldest go first, by a unit's `keep` and by the limit of all logs.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::keeper::logfile::{CURRENT, CURRENT_INDEX};

/// The most that is written before the logs are measured for the first time.
const FIRST_MEASURE: u64 = 16 * 1024 * 1024;

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
    delete_beyond(dir, numbers, keep);
    Ok(())
}

/// Deletes what is too many of a log that is to keep fewer files.
pub(super) fn trim(dir: &Path, keep: u16) {
    delete_beyond(dir, numbers(dir), keep);
}

/// Gives a log's directory another name, unless there is something of that name. Whether it has it.
pub(super) fn rename(from: &Path, to: &Path) -> bool {
    if let Some(root) = to.parent() {
        fs::create_dir_all(root).ok();
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => true,
        // A file system that cannot promise it: nobody but us makes directories there.
        Err(Errno::INVAL | Errno::NOSYS) => fs::symlink_metadata(to).is_err() && fs::rename(from, to).is_ok(),
        Err(_) => false,
    }
}

fn delete_beyond(dir: &Path, mut numbers: BTreeSet<u64>, keep: u16) {
    while numbers.len() > usize::from(keep) {
        let Some(oldest) = numbers.pop_first() else { break };
        fs::remove_file(dir.join(name(oldest))).ok();
        fs::remove_file(dir.join(index_name(oldest))).ok();
    }
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

/// The size at which a `current` is set aside, whatever its unit allows, so that what the limit of all
/// logs takes away is the oldest part of a log and never the whole of it.
pub(super) fn most_bytes(total_limit: u64) -> u64 {
    if total_limit == u64::MAX { u64::MAX } else { sixteenth(total_limit) }
}

/// Watches over the limit of all logs together.
#[derive(Debug, Default)]
pub(super) struct Total {
    /// Measure when this much more was written; nothing before the first measurement.
    budget: Option<u64>,
}

/// A file of a log, as it was measured.
type Measured = (SystemTime, u64, PathBuf);

impl Total {
    /// Bytes were added to some log. True: it is time to `measure`.
    pub(super) fn wrote(&mut self, bytes: u64, limit: u64) -> bool {
        if limit == u64::MAX {
            return false;
        }
        let budget = self.budget.unwrap_or_else(|| FIRST_MEASURE.min(sixteenth(limit)));
        let left = budget.saturating_sub(bytes);
        self.budget = Some(left);
        left == 0
    }

    /// Deletes the oldest files below `roots`, which hold the units' directories, until all is within
    /// the limit. Never a `current`: where those alone are too much, the directories are given whose
    /// `current` is to be set aside, before another measurement.
    pub(super) fn measure(&mut self, roots: &BTreeSet<PathBuf>, limit: u64) -> Vec<PathBuf> {
        let (mut old, mut current) = (Vec::new(), Vec::new());
        let mut used = 0_u64;
        for file in roots.iter().flat_map(|root| entries(root)).flat_map(|unit| entries(&unit)) {
            let Ok(metadata) = fs::symlink_metadata(&file) else { continue };
            used = used.saturating_add(metadata.len());
            let Ok(modified) = metadata.modified() else { continue };
            if file.file_name().and_then(number).is_some() {
                old.push((modified, metadata.len(), file));
            } else if file.file_name().is_some_and(|name| name == CURRENT) {
                current.push((modified, metadata.len(), file));
            }
        }
        let target = sixteenth(limit).saturating_mul(15);
        let mut aside = Vec::new();
        if used > limit {
            used = delete_oldest(old, used, target);
            aside = largest(current, used.saturating_sub(limit));
        }
        self.budget = Some(limit.saturating_sub(used).max(sixteenth(limit)).max(1));
        aside
    }
}

fn sixteenth(limit: u64) -> u64 {
    limit.checked_div(16).unwrap_or_default().max(1)
}

/// What is left of `used`.
fn delete_oldest(mut old: Vec<Measured>, mut used: u64, target: u64) -> u64 {
    old.sort();
    for (_, bytes, file) in old {
        if used <= target {
            break;
        }
        if fs::remove_file(&file).is_ok() {
            used = used.saturating_sub(bytes);
            fs::remove_file(file.with_extension("index")).ok();
        }
    }
    used
}

/// Those that say most, of equals those that said it longest ago, until they are enough.
fn largest(mut current: Vec<Measured>, mut excess: u64) -> Vec<PathBuf> {
    current.sort_by_key(|(modified, bytes, _)| (Reverse(*bytes), *modified));
    let mut aside = Vec::new();
    for (_, bytes, file) in current {
        if excess == 0 || bytes == 0 {
            break;
        }
        excess = excess.saturating_sub(bytes);
        aside.extend(file.parent().map(Path::to_owned));
    }
    aside
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).collect()
}
