//! Which process is which, across the death of everybody who knew.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::keeper;
use crate::keeper::wire::{Carried, LogOrder};
use crate::proc::{self, NamedRun, Stat};
use crate::supervisor::holdings::Held;
use crate::supervisor::journal::Process;

/// What makes a recorded pid mean anything: this boot of this kernel, and this pid namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) boot_id: String,
    pub(crate) pid_namespace: String,
}

impl Epoch {
    /// `None` without a usable /proc.
    pub(crate) fn read() -> Option<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        let digits: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
        Some(Self { boot_id: boot_id.trim().to_owned(), pid_namespace: digits })
    }
}

/// What became of a recorded process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It lives, and it is that very process.
    Same,
    /// It is gone; the number may belong to a stranger by now.
    Gone,
    /// Something lives under that number, and nothing tells whether it is ours.
    Unverifiable,
}

/// Compares what was recorded of a process with what lives under its number now. `tag` is the value
/// of its `MCSUP_RUN`; an environment that cannot be read, or was replaced by the program, proves nothing.
pub(crate) fn find(pid: u32, start_time: u64, tag: &str) -> Finding {
    if !exists(pid) {
        return Finding::Gone;
    }
    match (start_time, stat(pid)) {
        (_, Some(Stat { is_zombie: true, .. })) => Finding::Gone,
        (recorded, Some(now)) if recorded != 0 => {
            if recorded == now.start_time {
                Finding::Same
            } else {
                Finding::Gone
            }
        }
        (_, _) if run_tag_of(pid).as_deref() == Some(tag) => Finding::Same,
        (_, _) => Finding::Unverifiable,
    }
}

fn stat(pid: u32) -> Option<Stat> {
    proc::stat(i32::try_from(pid).ok()?)
}

fn run_tag_of(pid: u32) -> Option<String> {
    match proc::named_run(i32::try_from(pid).ok()?) {
        NamedRun::Is(tag) => String::from_utf8(tag).ok(),
        NamedRun::None | NamedRun::Empty | NamedRun::TooLong | NamedRun::Unreadable => None,
    }
}

fn exists(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    // Anything but "no such process" means that there is one.
    rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH)
}

/// A descriptor that means this process and never another.
pub(crate) fn open(pid: u32) -> Option<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// The read end of the pipe that a process writes its output to, if that is what it writes to.
fn open_output(pid: u32, number: u8) -> Option<OwnedFd> {
    let path = format!("/proc/{pid}/fd/{number}");
    let target = fs::read_link(&path).ok()?;
    target.to_string_lossy().starts_with("pipe:").then_some(())?;
    let options = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(path, options, rustix::fs::Mode::empty()).ok()
}

/// A pidfd and the read ends of the output of a process that nobody holds descriptors of. Without a reader its
/// first word would end it. `log`: as it was ordered.
pub(crate) fn reopened(pid: u32, log: Option<&LogOrder>) -> Held {
    let Some(pidfd) = open(pid) else { return Vec::new() };
    let kept = log.and_then(|log| log.kept.as_ref()).map(|kept| if kept.is_stderr { 2 } else { 1 });
    let other = if kept == Some(1) { 2 } else { 1 };
    let all = [
        (Carried::Pidfd, Some(pidfd)),
        (Carried::Output, open_output(pid, other)),
        (Carried::Kept, kept.and_then(|number| open_output(pid, number))),
    ];
    all.into_iter().filter_map(|(carried, descriptor)| Some((carried, Arc::new(descriptor?)))).collect()
}

/// Forks of a dead keeper that have not become the program they were to be: they carry no tag yet, and
/// would carry it a moment after somebody has looked for it. `arguments`: what this instance's keepers
/// are started with for their supervisor.
pub(crate) fn unborn(proc: &Path, arguments: &[OsString]) -> Vec<OwnedFd> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let unborn = |pid: u32| {
        // Opened first, so that it means the process whose words are read next.
        let descriptor = open(pid)?;
        let line = fs::read(proc.join(pid.to_string()).join("cmdline")).ok()?;
        is_keeper(&line, arguments).then_some(descriptor)
    };
    pids.filter_map(unborn).collect()
}

fn is_keeper(command_line: &[u8], arguments: &[OsString]) -> bool {
    let Some(line) = command_line.strip_suffix(b"\0") else { return false };
    let mut words = line.split(|byte| *byte == 0);
    let mut backwards = line.rsplit(|byte| *byte == 0);
    words.nth(1) == Some(keeper::VERB.as_bytes())
        && arguments.iter().rev().all(|argument| backwards.next() == Some(argument.as_bytes()))
}

/// What is known of the process that an order started, before anybody has seen it.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    pub(crate) tag: String,
    /// CLOCK_BOOTTIME nanoseconds of the order: nothing that is older can come of it.
    pub(crate) at: u64,
    /// `None`: not recorded.
    pub(crate) uid: Option<u32>,
}

/// Every live process that carries a tag. Reads every environment once: only after a keeper was lost.
#[derive(Debug, Default)]
pub(crate) struct Carriers(Vec<Carrier>);

#[derive(Debug)]
struct Carrier {
    tag: String,
    process: Process,
    uid: u32,
    is_in_our_pid_namespace: bool,
}

/// What came of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    Found(Process),
    /// Carries the tag, but is not who the order was for.
    Doubtful(Process),
    Nobody,
}

impl Carriers {
    pub(crate) fn search() -> Self {
        let Ok(entries) = fs::read_dir("/proc") else { return Self::default() };
        let ours = fs::read_link("/proc/self/ns/pid").ok();
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let carrier = |pid: u32| {
            let tag = run_tag_of(pid)?;
            let stat = stat(pid).filter(|stat| !stat.is_zombie)?;
            let theirs = fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
            Some(Carrier {
                tag,
                process: Process { pid, start_time: stat.start_time },
                uid: fs::metadata(format!("/proc/{pid}")).ok()?.uid(),
                is_in_our_pid_namespace: theirs == ours,
            })
        };
        Self(pids.filter_map(carrier).collect())
    }

    /// The oldest that the order can have started: its main process, as long as that lives.
    pub(crate) fn find(&self, ordered: &Ordered) -> Sought {
        let first_tick = ordered.at / (NANOS_PER_SECOND / ticks_per_second());
        let carriers = self.0.iter().filter(|carrier| {
            carrier.tag == ordered.tag
                && carrier.is_in_our_pid_namespace
                && carrier.process.start_time >= first_tick
        });
        let Some(oldest) = carriers.min_by_key(|carrier| (carrier.process.start_time, carrier.process.pid))
        else {
            return Sought::Nobody;
        };
        if ordered.uid.is_none_or(|uid| uid == oldest.uid) {
            Sought::Found(oldest.process)
        } else {
            Sought::Doubtful(oldest.process)
        }
    }
}

/// The unit of start times in /proc.
fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().clamp(1, NANOS_PER_SECOND)
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_9_a_number_that_belongs_to_a_stranger_by_now_is_gone() {
        let own = std::process::id();
        let started = stat(own).unwrap().start_time;
        assert_eq!(find(own, started, "x#1:1"), Finding::Same);
        assert_eq!(find(own, started + 1, "x#1:1"), Finding::Gone);
    }

    #[test]
    fn a_keeper_is_told_by_its_verb_and_by_the_directories_of_its_instance() {
        let ours: Vec<OsString> = ["/h/units", "/h/state"].map(OsString::from).into();
        assert!(is_keeper(b"mcsup\0__keeper\0--lock-fd\x007\0--\0/h/units\0/h/state\0", &ours));
        assert!(!is_keeper(b"mcsup\0__supervisor\0/h/units\0/h/state\0", &ours));
        assert!(!is_keeper(b"mcsup\0__keeper\0--\0/h/units\0/g/state\0", &ours));
        assert!(!is_keeper(b"", &ours), "a zombie has no words");
    }

    #[test]
    fn case_10_without_a_start_time_nothing_is_claimed() {
        assert_eq!(find(std::process::id(), 0, "x#1:1"), Finding::Unverifiable);
    }

    #[test]
    fn case_9_a_tag_counts_only_with_the_age_the_namespace_and_the_user_of_its_order() {
        let carrier = |pid, second: u64, uid, is_in_our_pid_namespace| Carrier {
            tag: "a#1:7".to_owned(),
            process: Process { pid, start_time: second * ticks_per_second() },
            uid,
            is_in_our_pid_namespace,
        };
        let all = Carriers(vec![
            carrier(10, 99, 1000, true),
            carrier(11, 101, 1000, false),
            carrier(12, 102, 1000, true),
            carrier(13, 103, 1000, true),
        ]);
        let find = |tag: &str, second: u64, uid| {
            let found = all.find(&Ordered { tag: tag.to_owned(), at: second * NANOS_PER_SECOND, uid });
            match found {
                Sought::Found(process) => Some((process.pid, true)),
                Sought::Doubtful(process) => Some((process.pid, false)),
                Sought::Nobody => None,
            }
        };
        assert_eq!(
            find("a#1:7", 100, Some(1000)),
            Some((12, true)),
            "not the one that is older than the order"
        );
        assert_eq!(find("a#1:7", 100, Some(0)), Some((12, false)), "another user's is not taken for granted");
        assert_eq!(find("a#1:7", 100, None), Some((12, true)));
        assert_eq!(find("a#1:7", 104, None), None);
        assert_eq!(find("a#1:8", 100, None), None);
    }

    #[test]
    fn a_number_that_nobody_has_is_gone_even_without_a_start_time() {
        // Above the largest pid_max that the kernel allows.
        assert_eq!(find(4_194_305, 0, "x#1:1"), Finding::Gone);
    }
}
