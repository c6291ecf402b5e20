//! The processes of a run, and what they are at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::incident::capture::Subject;
use crate::incident::evidence::{Memory, Process, Thread};
use crate::proc::{NamedRun, Stat, named_run_in, named_stat};

/// Processes that are looked at in full; a fork bomb has more.
pub(super) const MOST: usize = 32;
const MOST_THREADS: usize = 16;
const MOST_STACK: usize = 16;
const MOST_COMMAND_BYTES: u64 = 512;
const V2: &str = "/sys/fs/cgroup";
const V1_MEMORY: &str = "/sys/fs/cgroup/memory";

/// The main process, what shares its group or session, orphans that carry the run's tag, and whatever any of
/// these has started. Only orphans are asked for their tag: another supervisor may have a unit of the same name.
pub(super) fn members(proc: &Path, subject: &Subject) -> Vec<i32> {
    let stat = |pid: i32| named_stat(&dir_of(proc, pid)).map(|(_, stat)| (pid, stat));
    let all: BTreeMap<i32, Stat> = pids(proc).filter_map(stat).collect();
    let is_leader = |pid: i32| subject.pid == Some(pid);
    let run = NamedRun::Is(subject.run.clone().into_bytes());
    let carries = |pid: i32| !subject.run.is_empty() && named_run_in(&dir_of(proc, pid)) == run;
    let belongs = |(pid, stat): &(&i32, &Stat)| {
        (is_leader(**pid) && subject.is_live)
            || is_leader(stat.group)
            || is_leader(stat.session)
            || (is_orphan(stat, subject.orphans_of) && carries(**pid))
    };
    let mut found: BTreeSet<i32> = all.iter().filter(belongs).map(|(pid, _)| *pid).collect();
    // One more generation a round; it ends when a round finds nobody.
    loop {
        let known = found.len();
        let children = all.iter().filter(|(_, stat)| found.contains(&stat.parent)).map(|(pid, _)| *pid);
        let children: Vec<i32> = children.collect();
        found.extend(children);
        if found.len() == known {
            break;
        }
    }
    let mut pids: Vec<i32> = found.into_iter().collect();
    pids.sort_by_key(|pid| (!is_leader(*pid), *pid));
    pids
}

/// Whose children the runs are that lost their parents: the keeper's, or those of the first process.
fn is_orphan(stat: &Stat, keeper: Option<i32>) -> bool {
    stat.parent == 1 || keeper == Some(stat.parent)
}

/// Whose run a process is part of, as the first of its session says: that is the keeper's child.
pub(super) fn unit_of(proc: &Path, pid: i32, keeper: Option<i32>) -> String {
    let leader = stat_of(proc, pid).map(|stat| stat.session);
    let leader = leader.filter(|pid| stat_of(proc, *pid).is_some_and(|stat| is_orphan(&stat, keeper)));
    match leader.map(|pid| named_run_in(&dir_of(proc, pid))) {
        Some(NamedRun::Is(tag)) => {
            let unit = tag.split(|byte| *byte == b'#').next().unwrap_or_default();
            String::from_utf8_lossy(unit).into_owned()
        }
        Some(NamedRun::None | NamedRun::Empty | NamedRun::TooLong | NamedRun::Unreadable) | None => {
            String::new()
        }
    }
}

/// `None`: it has ended meanwhile.
pub(super) fn look(proc: &Path, pid: i32) -> Option<Process> {
    let dir = dir_of(proc, pid);
    let (name, stat) = named_stat(&dir)?;
    let open_files = fs::read_dir(dir.join("fd")).ok();
    let open_files = open_files.map(|entries| u32::try_from(entries.count()).unwrap_or(u32::MAX));
    let mut threads: Vec<i32> = pids(&dir.join("task")).collect();
    threads.sort_unstable();
    let threads = threads.into_iter().take(MOST_THREADS).filter_map(|id| thread(&dir, id)).collect();
    let page_bytes = u64::try_from(rustix::param::page_size()).unwrap_or(0);
    Some(Process {
        pid,
        parent: stat.parent,
        name,
        command: command(&dir),
        state: stat.state.to_string(),
        memory_bytes: stat.resident_pages.saturating_mul(page_bytes),
        open_files,
        threads,
    })
}

pub(super) fn name_of(proc: &Path, pid: i32) -> String {
    named_stat(&dir_of(proc, pid)).map_or_else(String::new, |(name, _)| name)
}

pub(super) fn stat_of(proc: &Path, pid: i32) -> Option<Stat> {
    named_stat(&dir_of(proc, pid)).map(|(_, stat)| stat)
}

/// `None` where the kernel does not tell.
pub(super) fn memory(proc: &Path) -> Option<Memory> {
    let text = fs::read_to_string(proc.join("meminfo")).ok()?;
    let kibibytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let pressure = fs::read_to_string(proc.join("pressure/memory")).ok();
    let pressure = pressure.as_deref().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
    });
    Some(Memory {
        available_bytes: kibibytes("MemAvailable")?.saturating_mul(1024),
        total_bytes: kibibytes("MemTotal")?.saturating_mul(1024),
        pressure,
    })
}

/// The directory of the control group whose memory the process counts in. `process`: a pid, or `self`.
pub(super) fn memory_group(proc: &Path, process: &str) -> Option<PathBuf> {
    group_in(&fs::read_to_string(proc.join(process).join("cgroup")).ok()?)
}

/// `4:memory:/system.slice/web.service` of version 1, else `0::/system.slice/web.service`.
fn group_in(text: &str) -> Option<PathBuf> {
    let lines = || text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let counts_memory = |controllers: &str| controllers.split(',').any(|name| name == "memory");
    let first =
        lines().find(|(controllers, _)| counts_memory(controllers)).map(|(_, path)| (V1_MEMORY, path));
    let second = || lines().find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| (V2, path));
    let (root, path) = first.or_else(second)?;
    // `/../other` lies outside of what can be seen from here.
    let is_seen = !path.split('/').any(|part| part == "..");
    is_seen.then(|| Path::new(root).join(path.trim_start_matches('/')))
}

pub(super) fn pids(dir: &Path) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn dir_of(proc: &Path, pid: i32) -> PathBuf {
    proc.join(pid.to_string())
}

fn thread(process: &Path, id: i32) -> Option<Thread> {
    let dir = process.join("task").join(id.to_string());
    let (_, stat) = named_stat(&dir)?;
    let waits_in = fs::read_to_string(dir.join("wchan")).unwrap_or_default();
    let stack = fs::read_to_string(dir.join("stack")).unwrap_or_default();
    // `[<0>] do_epoll_wait+0x5d0/0x6e0`
    let frames = stack.lines().filter_map(|line| Some(line.split_once("] ")?.1.to_owned()));
    let waits_in = if waits_in == "0" { String::new() } else { waits_in };
    Some(Thread { id, state: stat.state.to_string(), waits_in, stack: frames.take(MOST_STACK).collect() })
}

fn command(dir: &Path) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(dir.join("cmdline"))
        .and_then(|file| file.take(MOST_COMMAND_BYTES).read_to_end(&mut bytes));
    // A process that ends meanwhile has no words left.
    read.map_or_else(
        |_ended| String::new(),
        |_length| String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_that_counts_the_memory_is_found() {
        let table = [
            ("0::/system.slice/web.service\n", Some("/sys/fs/cgroup/system.slice/web.service")),
            ("0::/\n", Some("/sys/fs/cgroup")),
            ("5:cpu,memory:/a:b\n1:name=systemd:/x\n0::/y\n", Some("/sys/fs/cgroup/memory/a:b")),
            ("0::/../elsewhere\n", None),
            ("1:name=systemd:/x\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(group_in(text).as_deref(), expected.map(Path::new), "{text:?}");
        }
    }
}
