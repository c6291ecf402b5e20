//! Which processes there are, and which of them belong to a run. Without /proc there is nothing to see,
//! and every question is answered as if there were no such process.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::keeper::clock::MILLISECOND;
use crate::keeper::sys;
use crate::proc::{self, NamedRun};

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
    let proc::Stat { is_zombie, parent, group, session, start_time, .. } = proc::stat(pid)?;
    Some(Process { pid, parent, group, session, start_time, is_zombie })
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
    let stat = proc::stat(pid).filter(|stat| stat.is_zombie)?;
    stat.exit_status.filter(|status| *status != 0 || rustix::process::geteuid().is_root())
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
    proc::stat(pid).is_some_and(|stat| stat.memory_bytes == 0)
}

/// The run that an environment names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Is(Vec<u8>),
    /// It names none, or may not be seen.
    None,
    /// There is nothing in it, or not its end: it was cleared, or its process is about to become
    /// another program, or is on its way out.
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
    match proc::named_run(pid) {
        NamedRun::Is(tag) => Tag::Is(tag),
        NamedRun::Empty => Tag::Empty,
        NamedRun::None | NamedRun::TooLong | NamedRun::Unreadable => Tag::None,
    }
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
