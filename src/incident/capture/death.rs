//! How a run ended when it did not end by itself: for want of memory, or with a core left behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::incident::capture::kernel::KernelLog;
use crate::incident::capture::{Deadline, Subject, processes};
use crate::incident::evidence::{ControlGroup, Core, OomVerdict, OutOfMemory};

/// Kills for want of memory that each control group had counted when it was last looked at: a group counts on
/// from its beginning, and so past the failures that were looked at before.
type Counted = Mutex<BTreeMap<PathBuf, u64>>;

/// What is remembered of kills for want of memory from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Kills {
    counted: Counted,
    kernel: Mutex<KernelLog>,
}

/// The kernel's log where it may be read and names a process of the run, which may have left its group; else the count
/// of that group where there is one.
pub(super) fn out_of_memory(
    subject: &Subject,
    group: Option<&ControlGroup>,
    kills: &Kills,
    deadline: Deadline,
) -> OutOfMemory {
    let was_killed = subject.exit.is_some_and(|exit| exit.signal == Some(KILL) && !exit.is_ours);
    let killed: Vec<i32> =
        subject.pid.filter(|_| was_killed).into_iter().chain(subject.killed_children.clone()).collect();
    let counted = group.and_then(|group| counted(subject, group, &killed, kills));
    let logged = if killed.is_empty() {
        None
    } else {
        kills.kernel.lock().unwrap_or_else(PoisonError::into_inner).kill_of(&killed, deadline)
    };
    let source = "kernel log".to_owned();
    match (logged, counted) {
        (Some(Some(text)), _) => OutOfMemory { verdict: OomVerdict::Killed, source, text },
        (_, Some(counted)) => counted,
        (Some(None), None) => OutOfMemory { verdict: OomVerdict::NotKilled, source, text: String::new() },
        (None, None) => OutOfMemory::default(),
    }
}

fn counted(subject: &Subject, group: &ControlGroup, killed: &[i32], kills: &Kills) -> Option<OutOfMemory> {
    let count = group.events.get(OOM_KILL).copied()?;
    let seen = seen_before(&kills.counted, group, count);
    // The first look cannot tell a kill of long ago, unless something else speaks of one.
    let is_dated = seen.is_some() || subject.earlier_oom_kills > 0 || !killed.is_empty();
    // What a group has not counted has not happened in it, whoever is in it.
    if count > 0 && (group.is_shared || !is_dated) {
        return None;
    }
    let more = count.saturating_sub(seen.unwrap_or(0).max(subject.earlier_oom_kills));
    let text = if more > 0 { format!("{OOM_KILL} {count}") } else { String::new() };
    let verdict = if more > 0 { OomVerdict::Killed } else { OomVerdict::NotKilled };
    Some(OutOfMemory { verdict, source: "cgroup".to_owned(), text })
}

/// What it counted when it was last looked at; remembers `count` for the next time.
fn seen_before(counted: &Counted, group: &ControlGroup, count: u64) -> Option<u64> {
    let mut counted = counted.lock().unwrap_or_else(PoisonError::into_inner);
    if counted.len() >= MOST_GROUPS {
        counted.clear();
    }
    // A group of this name that counts less is another one.
    let earlier = counted.insert(PathBuf::from(&group.path), count)?;
    Some(if earlier <= count { earlier } else { 0 })
}

/// The control group of the run's main process, with what it counted. `None`: the process has ended, or there are
/// no control groups that count memory.
pub(super) fn control_group(proc: &Path, subject: &Subject) -> Option<ControlGroup> {
    let own = || processes::memory_group(proc, "self");
    let theirs = || {
        let pid = subject.pid.filter(|_| subject.is_live)?;
        processes::memory_group(proc, &pid.to_string())
    };
    let path = subject.cgroup.clone().or_else(theirs)?;
    let events = events_of(&path)?;
    let is_shared = own().is_some_and(|own| own == path);
    Some(ControlGroup { path: path.to_string_lossy().into_owned(), is_shared, events })
}

/// Children that these lines say were killed by SIGKILL.
pub(super) fn killed_children(lines: &[String]) -> Vec<i32> {
    let lines = lines.iter().rev().filter(|line| is_about_a_killed_child(line));
    lines.filter_map(|line| pid_in(line)).take(MOST_CHILDREN).collect()
}

/// `server process (PID 77) was terminated by signal 9: Killed`
pub(in crate::incident) fn is_about_a_killed_child(line: &str) -> bool {
    let lower = line.to_lowercase();
    let is_nine = lower.contains("sigkill")
        || lower.match_indices("signal 9").any(|(at, found)| {
            let next = lower.get(at.saturating_add(found.len())..).and_then(|rest| rest.chars().next());
            next.is_none_or(|next| !next.is_ascii_digit())
        });
    is_nine && ENDED_BY.iter().any(|words| lower.contains(words)) && pid_in(line).is_some()
}

/// The number behind `pid`, `process` or `child`.
fn pid_in(line: &str) -> Option<i32> {
    let lower = line.to_lowercase();
    ["pid", "process", "child"].iter().find_map(|word| {
        let (_, rest) = lower.split_once(word)?;
        let rest = rest.trim_start_matches([' ', ':', '=', '(', '#']);
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
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

/// Version 2 counts in `memory.events`, version 1 in `memory.oom_control`. `None`: this group counts neither.
fn events_of(group: &Path) -> Option<BTreeMap<String, u64>> {
    let names = ["memory.events", "memory.oom_control"];
    let text = names.iter().find_map(|name| fs::read_to_string(group.join(name)).ok())?;
    let line = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    Some(text.lines().filter_map(line).collect())
}

const KILL: u8 = 9;
const OOM_KILL: &str = "oom_kill";
/// How programs say that a child of theirs ended so.
const ENDED_BY: &[&str] = &["terminated by", "killed by", "exited on", "was sent", "died"];
const MOST_CHILDREN: usize = 16;
/// Far more than there are units.
const MOST_GROUPS: usize = 20_000;
/// A file's time is whole seconds on some file systems, and a large core takes a while.
const SLACK_SECONDS: i64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn group(path: &str, is_shared: bool, kills: u64) -> ControlGroup {
        ControlGroup { path: path.into(), is_shared, events: [(OOM_KILL.to_owned(), kills)].into() }
    }

    #[test]
    fn a_group_tells_of_what_it_counted_since_it_was_last_looked_at() {
        let kills = Kills::default();
        let look_at = |subject: Subject, path, count| {
            let deadline = Deadline::after(std::time::Duration::from_secs(60));
            out_of_memory(&subject, Some(&group(path, false, count)), &kills, deadline).verdict
        };
        let look = |path, count| look_at(Subject::default(), path, count);
        assert_eq!(look("/a", 0), OomVerdict::NotKilled);
        assert_eq!(look("/a", 2), OomVerdict::Killed);
        assert_eq!(look("/a", 2), OomVerdict::NotKilled, "the kill was of an earlier failure");
        assert_eq!(look("/b", 1), OomVerdict::Unknown, "that may be long ago");
        let told = Subject { killed_children: vec![i32::MAX], ..Subject::default() };
        assert_eq!(look_at(told, "/c", 1), OomVerdict::Killed);
        assert_eq!(look("/a", 1), OomVerdict::Killed, "a new group of the same name");
    }

    #[test]
    fn what_a_group_counts_that_mcsup_is_in_may_be_about_others() {
        let look = |kills| {
            let deadline = Deadline::after(std::time::Duration::from_secs(60));
            let shared = group("/ours", true, kills);
            out_of_memory(&Subject::default(), Some(&shared), &Kills::default(), deadline).verdict
        };
        assert_eq!(look(0), OomVerdict::NotKilled, "nobody was");
        assert_eq!(look(3), OomVerdict::Unknown);
    }

    #[test]
    fn children_are_known_by_what_their_parent_says_of_them() {
        let lines = [
            "LOG:  server process (PID 42) was terminated by signal 9: Killed",
            "LOG:  server process (PID 43) was terminated by signal 11: Segmentation fault",
            "[ERROR] Worker (pid:44) was sent SIGKILL! Perhaps out of memory?",
            "worker process 45 exited on signal 9",
            "ready",
        ];
        assert_eq!(killed_children(&lines.map(String::from)), [45, 44, 42]);
    }
}
