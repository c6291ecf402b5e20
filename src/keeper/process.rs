//! What /proc says about processes, and which of them belong to a run. Without /proc there is
//! nothing to see, and every question is answered as if there were no such process.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use crate::keeper::clock::MILLISECOND;
use crate::keeper::sys;

/// Names the run in its environment, as `UNIT#ORDINAL:RUN`; inherited by all it starts.
pub(super) const RUN_VARIABLE: &[u8] = b"MCSUP_RUN=";

/// Most of an environment that is searched; the kernel allows a process 2 MiB (execve(2), 1/4 of 8 MiB).
const ENVIRONMENT_BYTES: u64 = 2 * 1024 * 1024;

/// The unit of start times: USER_HZ is 100 on every architecture we run on.
const TICK: u64 = 10 * MILLISECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) start_time: u64,
    pub(super) is_zombie: bool,
}

pub(super) fn look(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &stat)
}

/// What `look` would give as the start time of a process that began between these two instants
/// (`clock::boottime`), where they leave no doubt.
pub(super) fn start_time_between((before, after): (u64, u64)) -> Option<u64> {
    let tick = before.checked_div(TICK)?;
    (after.checked_div(TICK) == Some(tick)).then_some(tick)
}

/// The same process, and not ended: one that is a zombie only waits to be waited for.
pub(super) fn is_still_there(process: &Process) -> bool {
    look(process.pid).is_some_and(|now| now.start_time == process.start_time && !now.is_zombie)
}

/// How a process ended that nobody has waited for yet, as wait(2) would say. Shown only to those
/// who may look into it; 0 to the others, which is why it counts only for ourselves and root.
pub(super) fn status_of_zombie(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // Field 3, then the last one of 52.
    let is_zombie = fields.next()? == "Z";
    let status = fields.nth(48)?.parse().ok()?;
    is_zombie.then_some(status).filter(|status| *status != 0 || rustix::process::geteuid().is_root())
}

/// The name in parentheses may hold anything, so fields count from its end (proc_pid_stat(5)).
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Process> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end.saturating_add(1)..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let is_zombie = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    // Field 22; the session was field 6.
    let start_time = fields.nth(15)?.parse().ok()?;
    Some(Process { pid, parent, group, session, start_time, is_zombie })
}

/// Every process of this pid namespace that `wanted` lets through.
pub(super) fn all(wanted: impl Fn(i32) -> bool) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let number = |name: &[u8]| std::str::from_utf8(name).ok()?.parse::<i32>().ok();
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| number(entry.file_name().as_bytes()))
        .filter(|pid| wanted(*pid))
        .filter_map(look)
        .collect()
}

/// The children of one thread of ours, living and ended. Complete, since none can leave the list but by
/// that very thread, which is the one that asks. Kernels without the file are asked the long way.
pub(super) fn children(pid: i32, is_other: impl Fn(i32) -> bool) -> Vec<i32> {
    match fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")) {
        Ok(text) => text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect(),
        Err(_) => {
            let all = all(|child| !is_other(child)).into_iter();
            all.filter(|process| process.parent == pid).map(|process| process.pid).collect()
        }
    }
}

/// On its way out: it has given back its memory, and its environment with it.
pub(super) fn is_leaving(pid: i32) -> bool {
    let size = || -> Option<u64> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(stat.get(end.saturating_add(1)..)?).ok()?;
        // Field 23; the first after the name is field 3.
        rest.split_ascii_whitespace().nth(20)?.parse().ok()
    };
    size() == Some(0)
}

/// The run that an environment names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Is(Vec<u8>),
    /// It names none, or may not be seen.
    None,
    /// There is nothing in it: it was cleared, or its process is about to become another program, or
    /// is on its way out.
    Empty,
    /// It does not show in time.
    Untold,
}

impl Tag {
    pub(super) fn is(&self, tag: &str) -> bool {
        matches!(self, Self::Is(own) if own == tag.as_bytes())
    }
}

pub(super) fn tag_of(pid: i32) -> Tag {
    let mut environment = Vec::new();
    let Ok(file) = File::open(format!("/proc/{pid}/environ")) else { return Tag::None };
    if file.take(ENVIRONMENT_BYTES).read_to_end(&mut environment).is_err() {
        return Tag::None;
    }
    if environment.is_empty() {
        return Tag::Empty;
    }
    let mut pairs = environment.split(|byte| *byte == 0);
    let own = pairs.find_map(|pair| pair.strip_prefix(RUN_VARIABLE));
    own.map_or(Tag::None, |tag| Tag::Is(tag.to_vec()))
}

/// What makes a process part of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belonging<'a> {
    /// Process, group and session of the run's main process.
    pub(super) leader: i32,
    /// `UNIT#ORDINAL:RUN`.
    pub(super) tag: &'a str,
    /// Whose children are orphans. Only they are asked for their tag: another supervisor on this
    /// machine may well have a unit of the same name.
    pub(super) orphans_of: i32,
}

/// The leader, what shares its group or session, orphans that carry the tag, and whatever any of
/// these has started. `is_other`: known to be the main process of another run.
pub(super) fn members(
    all: &[Process],
    belonging: Belonging<'_>,
    is_other: impl Fn(i32) -> bool,
    tag_of: impl Fn(i32) -> Tag,
) -> Vec<Process> {
    let Belonging { leader, tag, orphans_of } = belonging;
    let is_asked = |process: &Process| process.parent == orphans_of;
    let is_member = |process: &Process| {
        process.pid == leader
            || process.group == leader
            || process.session == leader
            || (is_asked(process) && tag_of(process.pid).is(tag))
    };
    let candidates: Vec<&Process> = all.iter().filter(|process| !is_other(process.pid)).collect();
    let mut pids: BTreeSet<i32> =
        candidates.iter().filter(|process| is_member(process)).map(|process| process.pid).collect();
    // One more generation a round; it ends when a round finds nobody.
    loop {
        let known = pids.len();
        let children = candidates.iter().filter(|process| pids.contains(&process.parent));
        let children: Vec<i32> = children.map(|process| process.pid).collect();
        pids.extend(children);
        if pids.len() == known {
            break;
        }
    }
    candidates.into_iter().filter(|process| pids.contains(&process.pid)).copied().collect()
}

/// Signals this very process: a pid that came to stand for another one meanwhile is left alone.
pub(super) fn signal(process: &Process, signal: u8) {
    let Some(pid) = rustix::process::Pid::from_raw(process.pid) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    if look(process.pid).is_some_and(|now| now.start_time == process.start_time) {
        sys::signal_by_pidfd(std::os::fd::AsFd::as_fd(&pidfd), signal).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_and_spaces_shifts_no_field() {
        let stat = b"42 (a) b (c) Z 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 0 0\n";
        let process = parse_stat(42, stat).unwrap();
        let expected = Process { pid: 42, parent: 7, group: 8, session: 9, start_time: 777, is_zombie: true };
        assert_eq!(process, expected);
    }

    #[test]
    fn a_stat_cut_short_is_nobody() {
        assert_eq!(parse_stat(42, b"42 (a) S 7 8"), None);
        assert_eq!(parse_stat(42, b""), None);
    }

    #[test]
    fn this_process_is_found_among_all() {
        let me = i32::try_from(std::process::id()).unwrap();
        let found = all(|pid| pid == me);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pid, me);
    }

    #[test]
    fn what_members_have_started_are_members_in_whatever_session() {
        let process = |pid, parent, session| Process {
            pid,
            parent,
            group: session,
            session,
            start_time: 0,
            is_zombie: false,
        };
        // Pids beyond any real one, so that nobody's environment is read by chance.
        let base = i32::MAX - 100;
        let all = [
            process(base, 1, base),
            process(base + 3, base + 2, base + 3),
            process(base + 2, base, base + 2),
            process(base + 5, 1, base + 5),
        ];
        let belonging = Belonging { leader: base, tag: "a#1:1", orphans_of: 1 };
        let found: Vec<i32> = members(&all, belonging, |_| false, |_| Tag::None)
            .iter()
            .map(|process| process.pid - base)
            .collect();
        assert_eq!(found, [0, 3, 2]);
    }
}
