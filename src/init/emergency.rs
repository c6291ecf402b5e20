//! When mcsup cannot begin on a machine: a shell for a person where that was asked for, else a pause. Both end, and
//! everything is tried again; process 1 of a machine never ends.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, WaitOptions};

use crate::init::{finale, finale_of, say, sys};

/// Until the next try, in seconds: a disk may turn up, and a person may mend something from elsewhere.
const PAUSE_SECONDS: i64 = 10;

/// Until the shell is left, or a pause is over. Signals that end a machine end it from here, too.
pub(crate) fn hold(shell: Option<&Path>) {
    let pid = shell.and_then(|shell| match begin(shell) {
        Ok(pid) => {
            say(&format!("{} is yours; leave it, and everything is tried again", shell.display()));
            Some(pid)
        }
        Err(error) => {
            say(&format!("cannot run {}: {error}", shell.display()));
            None
        }
    });
    if pid.is_none() {
        say(&format!("everything is tried again in {PAUSE_SECONDS} s"));
    }
    let mask = SigSet::all();
    mask.thread_block().ok();
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok();
    let until = finale::seconds().saturating_add(PAUSE_SECONDS);
    loop {
        let has_ended = reap(pid);
        let left = until.saturating_sub(finale::seconds());
        if has_ended || (pid.is_none() && left <= 0) {
            return;
        }
        let timeout = Timespec { tv_sec: if pid.is_none() { left } else { PAUSE_SECONDS }, tv_nsec: 0 };
        let mut sources: Vec<PollFd<'_>> =
            signals.iter().map(|signals| PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)).collect();
        rustix::event::poll(&mut sources, Some(&timeout)).ok();
        while let Some(Ok(Some(info))) = signals.as_ref().map(SignalFd::read_signal) {
            if let Some(finale) = i32::try_from(info.ssi_signo).ok().and_then(finale_of) {
                finale::of_machine(finale);
            }
        }
    }
}

/// Waits for all that has ended; was this one among it?
fn reap(wanted: Option<Pid>) -> bool {
    let mut is_found = false;
    while let Ok(Some((pid, _))) = rustix::process::wait(WaitOptions::NOHANG) {
        is_found |= Some(pid) == wanted;
    }
    is_found
}

#[expect(clippy::disallowed_methods, reason = "there is no keeper yet, and a person wants to know why")]
fn begin(shell: &Path) -> io::Result<Pid> {
    let mut command = Command::new(shell);
    if let Ok(console) = File::options().read(true).write(true).open("/dev/console") {
        command.stdin(console.try_clone()?).stdout(console.try_clone()?).stderr(console);
    }
    sys::at_console(&mut command);
    let child = command.spawn()?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::Other.into())
}
