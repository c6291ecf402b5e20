//! The kernel's log, for whom it killed for want of memory.
//!
//! A busy machine's log has thousands of records, each of which is a call to read. It is read once, and from then on
//! only what came since: a service that is killed again and again would cost a processor otherwise.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::incident::capture::Deadline;

#[derive(Debug, Default)]
pub(super) struct KernelLog {
    /// Stands where reading ended. `None`: it was not asked for yet, or may not be read.
    file: Option<OwnedFd>,
    /// The last kills, oldest first: whom, and the record.
    kills: VecDeque<(i32, String)>,
}

impl KernelLog {
    /// The last record of a kill of one of these processes, if there is one; `None` when the log may not be read, or
    /// not within the deadline.
    pub(super) fn kill_of(&mut self, pids: &[i32], deadline: Deadline) -> Option<Option<String>> {
        self.read_on(deadline)?;
        let found = self.kills.iter().rev().find(|(killed, _)| pids.contains(killed));
        Some(found.map(|(_, text)| text.clone()))
    }

    fn read_on(&mut self, deadline: Deadline) -> Option<()> {
        let mut buffer = [0; RECORD_BYTES];
        for _ in 0..MOST_RECORDS {
            if deadline.is_over() {
                return None;
            }
            match rustix::io::read(self.file()?, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => return Some(()),
                Ok(length) => {
                    let record = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                    self.take(&record);
                }
                // Overwritten before we came to it: the next call is at the oldest that is left.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(_) => {
                    self.file = None;
                    return None;
                }
            }
        }
        Some(())
    }

    fn file(&mut self) -> Option<&OwnedFd> {
        if self.file.is_none() && counts_as_the_kernel_does() {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            self.file = rustix::fs::open("/dev/kmsg", flags, Mode::empty()).ok();
            // Read anew, from the oldest on.
            self.kills.clear();
        }
        self.file.as_ref()
    }

    /// `6,1234,56789,-;text`, then lines of properties.
    fn take(&mut self, record: &str) {
        let text = record.split_once(';').and_then(|(_, text)| text.lines().next()).unwrap_or_default();
        let Some(pid) = killed_in(text) else { return };
        if self.kills.len() >= MOST_KILLS {
            self.kills.pop_front();
        }
        self.kills.push_back((pid, text.to_owned()));
    }
}

/// The kernel names processes by the machine's own numbers; those of a container mean nothing to it.
fn counts_as_the_kernel_does() -> bool {
    let namespace = std::fs::metadata("/proc/self/ns/pid");
    namespace.is_ok_and(|found| std::os::unix::fs::MetadataExt::ino(&found) == INIT_PID_NAMESPACE)
}

/// `Out of memory: Killed process 123 (redis-server) total-vm:...`, also of a group: `Memory cgroup out of ...`.
fn killed_in(text: &str) -> Option<i32> {
    let (_, rest) = text.split_once("Killed process ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    if text.to_lowercase().contains("out of memory") { digits.parse().ok() } else { None }
}

/// The kernel gives no record longer than this.
const RECORD_BYTES: usize = 8192;
/// PROC_PID_INIT_INO in linux/proc_ns.h.
const INIT_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// In one go. The kernel's own buffer holds fewer.
const MOST_RECORDS: usize = 100_000;
/// Whoever asks does so soon after the kill.
const MOST_KILLS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sentence_is_about_one_process() {
        let global = "Out of memory: Killed process 123 (redis-server) total-vm:1000kB, anon-rss:900kB";
        let group = "Memory cgroup out of memory: Killed process 123 (redis-server) total-vm:1000kB";
        assert_eq!((killed_in(global), killed_in(group)), (Some(123), Some(123)));
        assert_eq!((killed_in("Killed process 123 by hand"), killed_in("Out of memory: none")), (None, None));
    }

    #[test]
    fn the_last_kills_are_remembered_each_by_its_process() {
        let mut log = KernelLog::default();
        let record =
            |pid: i32, name: &str| format!("3,{pid},99,-;Out of memory: Killed process {pid} ({name})\n K=V");
        for pid in 1..=100 {
            log.take(&record(pid, "old"));
        }
        log.take(&record(70, "new"));
        log.take("6,9,99,-;Killed process 80 by hand");
        let text = |pid: i32| {
            log.kills.iter().rev().find(|(killed, _)| *killed == pid).map(|(_, text)| text.as_str())
        };
        assert_eq!(text(70), Some("Out of memory: Killed process 70 (new)"));
        assert_eq!((text(1), log.kills.len()), (None, MOST_KILLS));
    }
}
