//! How a run ended when it did not end by itself: for want of memory, or with a core left behind.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::incident::capture::kernel::KernelLog;
use crate::incident::capture::{Deadline, Subject};
use crate::incident::evidence::{Core, OomVerdict, OutOfMemory};

/// The group's own count where there is one, else the kernel's log where it may be read.
pub(super) fn out_of_memory(subject: &Subject, kernel: &Mutex<KernelLog>, deadline: Deadline) -> OutOfMemory {
    let killed = subject.exit.is_some_and(|exit| exit.signal == Some(KILL) && !exit.is_ours);
    if let Some(count) = subject.cgroup.as_deref().and_then(kills_in) {
        let more = count.saturating_sub(subject.earlier_oom_kills);
        let text = if more > 0 { format!("oom_kill {count}") } else { String::new() };
        let verdict = if more > 0 { OomVerdict::Killed } else { OomVerdict::NotKilled };
        return OutOfMemory { verdict, source: "cgroup".to_owned(), text };
    }
    let Some(pid) = subject.pid.filter(|_| killed) else { return OutOfMemory::default() };
    let source = "kernel log".to_owned();
    match kernel.lock().unwrap_or_else(PoisonError::into_inner).kill_of(pid, deadline) {
        Some(Some(text)) => OutOfMemory { verdict: OomVerdict::Killed, source, text },
        Some(None) => OutOfMemory { verdict: OomVerdict::NotKilled, source, text: String::new() },
        None => OutOfMemory::default(),
    }
}

/// The core's file, if the kernel wrote it to one that can be found.
pub(super) fn core(proc: &Path, subject: &Subject) -> Core {
    let pattern = fs::read_to_string(proc.join("sys/kernel/core_pattern")).unwrap_or_default();
    let pattern = pattern.trim_end().to_owned();
    if pattern.is_empty() || pattern.starts_with('|') {
        return Core { pattern, path: None, size_bytes: 0 };
    }
    let working = subject.directories.iter().find(|(what, _)| what == "working directory");
    let template = working.map_or_else(|| PathBuf::from(&pattern), |(_, dir)| dir.join(&pattern));
    let since =
        i64::try_from(subject.times.started_millis / 1000).unwrap_or(i64::MAX).saturating_sub(SLACK_SECONDS);
    let found = template
        .parent()
        .zip(template.file_name())
        .and_then(|(dir, name)| newest(dir, before_specifier(&name.to_string_lossy()), subject.pid, since));
    let (path, size_bytes) = found.map_or((None, 0), |(path, size)| (Some(path), size));
    Core { pattern, path: path.map(|path| path.to_string_lossy().into_owned()), size_bytes }
}

/// The newest file whose name begins so, preferring one that names the process.
fn newest(dir: &Path, prefix: &str, pid: Option<i32>, since: i64) -> Option<(PathBuf, u64)> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let found = entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata().ok()?;
        let is_core = name.starts_with(prefix) && metadata.is_file() && metadata.mtime() >= since;
        let names_it = pid.is_some_and(|pid| name.contains(&pid.to_string()));
        is_core.then(|| ((names_it, metadata.mtime()), entry.path(), metadata.len()))
    });
    found.max_by_key(|(rank, _, _)| *rank).map(|(_, path, size)| (path, size))
}

fn before_specifier(name: &str) -> &str {
    name.split('%').next().unwrap_or(name)
}

/// Version 2 counts in `memory.events`, version 1 in `memory.oom_control`.
fn kills_in(cgroup: &Path) -> Option<u64> {
    let texts =
        ["memory.events", "memory.oom_control"].map(|name| fs::read_to_string(cgroup.join(name)).ok());
    texts
        .into_iter()
        .flatten()
        .find_map(|text| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()))
}

const KILL: u8 = 9;
/// A file's time is whole seconds on some file systems, and a large core takes a while.
const SLACK_SECONDS: i64 = 5;
