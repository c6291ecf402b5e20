//! The processes of a run, and what they are at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;

use crate::incident::capture::Subject;
use crate::incident::evidence::{Memory, Process, Thread};
use crate::proc::{NamedRun, named_run};

/// Processes that are looked at in full; a fork bomb has more.
pub(super) const MOST: usize = 32;
const MOST_THREADS: usize = 16;
const MOST_STACK: usize = 16;
const MOST_COMMAND_BYTES: u64 = 512;
const PAGE_BYTES: u64 = 4096;

/// Fields of /proc/PID/stat.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    name: String,
    state: String,
    pages: u64,
}

/// The main process, what shares its group or session, orphans that carry the run's tag, and whatever any of
/// these has started. Only orphans are asked for their tag: another supervisor may have a unit of the same name.
pub(super) fn members(proc: &Path, subject: &Subject) -> Vec<i32> {
    let all: BTreeMap<i32, Stat> = pids(proc).filter_map(|pid| Some((pid, stat(proc, pid)?))).collect();
    let is_leader = |pid: i32| subject.pid == Some(pid);
    let is_orphan = |stat: &Stat| stat.parent == 1 || subject.orphans_of == Some(stat.parent);
    let is_named = |pid: i32| named_run(pid) == NamedRun::Is(subject.run.as_bytes().to_vec());
    let carries = |pid: i32| !subject.run.is_empty() && is_named(pid);
    let belongs = |stat: &Stat| {
        (is_leader(stat.pid) && subject.is_live)
            || is_leader(stat.group)
            || is_leader(stat.session)
            || (is_orphan(stat) && carries(stat.pid))
    };
    let mut found: BTreeSet<i32> = all.values().filter(|stat| belongs(stat)).map(|stat| stat.pid).collect();
    // One more generation a round; it ends when a round finds nobody.
    loop {
        let known = found.len();
        let children = all.values().filter(|stat| found.contains(&stat.parent)).map(|stat| stat.pid);
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

/// `None`: it has ended meanwhile.
pub(super) fn look(proc: &Path, pid: i32) -> Option<Process> {
    let Stat { parent, name, state, pages, .. } = stat(proc, pid)?;
    let dir = proc.join(pid.to_string());
    let open_files = fs::read_dir(dir.join("fd")).ok();
    let open_files = open_files.map(|entries| u32::try_from(entries.count()).unwrap_or(u32::MAX));
    let mut threads: Vec<i32> = pids(&dir.join("task")).collect();
    threads.sort_unstable();
    let threads = threads.into_iter().take(MOST_THREADS).filter_map(|id| thread(&dir, id)).collect();
    let memory_bytes = pages.saturating_mul(PAGE_BYTES);
    Some(Process { pid, parent, name, command: command(&dir), state, memory_bytes, open_files, threads })
}

pub(super) fn name_of(proc: &Path, pid: i32) -> String {
    stat(proc, pid).map_or_else(String::new, |stat| stat.name)
}

pub(super) fn session_of(proc: &Path, pid: i32) -> Option<i32> {
    stat(proc, pid).map(|stat| stat.session)
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

pub(super) fn pids(dir: &Path) -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn thread(process: &Path, id: i32) -> Option<Thread> {
    let dir = process.join("task").join(id.to_string());
    let stat = parse_stat(id, &fs::read(dir.join("stat")).ok()?)?;
    let waits_in = fs::read_to_string(dir.join("wchan")).unwrap_or_default();
    let stack = fs::read_to_string(dir.join("stack")).unwrap_or_default();
    // `[<0>] do_epoll_wait+0x5d0/0x6e0`
    let frames = stack.lines().filter_map(|line| Some(line.split_once("] ")?.1.to_owned()));
    let waits_in = if waits_in == "0" { String::new() } else { waits_in };
    Some(Thread { id, state: stat.state, waits_in, stack: frames.take(MOST_STACK).collect() })
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

fn stat(proc: &Path, pid: i32) -> Option<Stat> {
    parse_stat(pid, &fs::read(proc.join(pid.to_string()).join("stat")).ok()?)
}

/// The name in parentheses may hold anything, so fields count from its end (proc_pid_stat(5)).
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Stat> {
    let start = stat.iter().position(|byte| *byte == b'(')?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let name = String::from_utf8_lossy(stat.get(start + 1..end)?).into_owned();
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.to_owned();
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Field 24; the session was field 6.
    let pages = fields.nth(17)?.parse().ok()?;
    Some(Stat { pid, parent, group, session, name, state, pages })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_and_spaces_shifts_no_field() {
        let stat = b"42 (a) b (c) T 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 4096 55 0\n";
        let parsed = parse_stat(42, stat).unwrap();
        let expected = Stat {
            pid: 42,
            parent: 7,
            group: 8,
            session: 9,
            name: "a) b (c".into(),
            state: "T".into(),
            pages: 55,
        };
        assert_eq!(parsed, expected);
        assert_eq!(parse_stat(42, b"42 (a) S 7 8"), None);
    }
}
