//! The end of a machine: whoever is left is ended, what was written is on the disks, and the kernel is told.

use std::path::Path;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::WaitOptions;
use rustix::system::RebootCommand;
use rustix::time::{ClockId, clock_gettime};

use crate::init::{Finale, mounts, say, sys};

/// Between SIGTERM and SIGKILL to what no unit is, in seconds.
const GRACE_SECONDS: i64 = 5;
/// After SIGKILL; what does not end then waits for a disk that will not answer.
const LAST_SECONDS: i64 = 2;
/// Over the mounts: whatever was busy because of another may go in the next round.
const ROUNDS: usize = 8;

/// Does not come back: on a machine there is nowhere to come back to.
pub(crate) fn of_machine(finale: Finale) -> ! {
    end_everybody();
    rustix::fs::sync();
    unmount_all();
    rustix::fs::sync();
    say(match finale {
        Finale::Reboot => "the machine starts again",
        Finale::PowerOff => "the power goes off",
        Finale::Halt => "the machine is halted",
    });
    let error = rustix::system::reboot(command(finale)).err();
    say(&format!("the kernel refuses: {error:?}"));
    loop {
        // Better a machine that hangs than one that panics: a person at its console reads what was said.
        wait_for_all(GRACE_SECONDS);
    }
}

/// In a container the kernel ends process 1 in a way that its runtime understands as a reboot. Comes back where that
/// is not allowed.
pub(crate) fn of_container() {
    if let Err(error) = rustix::system::reboot(command(Finale::Reboot)) {
        say(&format!("cannot ask for a reboot of the container: {error}; it ends instead"));
    }
}

fn command(finale: Finale) -> RebootCommand {
    match finale {
        Finale::Reboot => RebootCommand::Restart,
        Finale::PowerOff => RebootCommand::PowerOff,
        Finale::Halt => RebootCommand::Halt,
    }
}

/// On the clock that nobody sets.
pub(super) fn seconds() -> i64 {
    clock_gettime(ClockId::Monotonic).tv_sec
}

fn end_everybody() {
    for (signal, patience) in [(Signal::SIGTERM, GRACE_SECONDS), (Signal::SIGKILL, LAST_SECONDS)] {
        // Nobody left to be told.
        if sys::send_to_all(signal) == Err(Errno::SRCH) || wait_for_all(patience) {
            return;
        }
    }
    say("some processes do not end");
}

/// True once there is nobody. Whoever lives is ours or will be: we are where orphans go.
fn wait_for_all(patience: i64) -> bool {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().ok();
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok();
    let until = seconds().saturating_add(patience);
    loop {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return true,
            }
        }
        let left = until.saturating_sub(seconds());
        if left <= 0 {
            return false;
        }
        let mut sources: Vec<PollFd<'_>> =
            signals.iter().map(|signals| PollFd::new(signals, PollFlags::IN)).collect();
        rustix::event::poll(&mut sources, Some(&Timespec { tv_sec: left, tv_nsec: 0 })).ok();
        while let Some(Ok(Some(_))) = signals.as_ref().map(SignalFd::read_signal) {}
    }
}

/// What cannot be unmounted is made read-only, which brings as much of it to the disk.
fn unmount_all() {
    let mut gone = 0_usize;
    for _ in 0..ROUNDS {
        let before = gone;
        let places = mounts::to_unmount();
        for place in &places {
            if rustix::mount::unmount(place.as_path(), UnmountFlags::NOFOLLOW).is_ok() {
                gone = gone.saturating_add(1);
            }
        }
        if gone == before {
            break;
        }
    }
    let left = mounts::to_unmount();
    for place in left.iter().map(std::path::PathBuf::as_path).chain([Path::new("/")]) {
        match rustix::mount::mount_remount(place, MountFlags::RDONLY, c"") {
            Ok(()) => say(&format!("{} is read-only", place.display())),
            Err(error) => say(&format!("cannot make {} read-only: {error}", place.display())),
        }
    }
    say(&format!("unmounted {gone}, {} left", left.len()));
}
