//! One command as everything there is: signals are passed on to it, whatever ends is waited for, and its end is ours.
//!
//! The flags and what they do are those of `tini`, so that this can stand where it stood (docs/INIT.md says in what
//! the two differ). No supervisor, no keeper, no units: a few system calls around the command.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::process::Command;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};

use crate::init::{say, sys};

/// What is asked for besides the command.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Orphans below us come to us even when we are not process 1.
    pub(crate) is_subreaper: bool,
    /// What we get when our own parent ends.
    pub(crate) parent_death: Option<u8>,
    /// 0 says what fails, 1 (the default) what is odd, 2 what is started and how it ends, 3 and 4 each signal and
    /// each end.
    pub(crate) verbosity: u8,
    pub(crate) warns_of_orphans: bool,
    /// Signals go to the command's process group, not to the command alone.
    pub(crate) is_to_group: bool,
    /// Exit statuses that become 0.
    pub(crate) good_statuses: BTreeSet<u8>,
}

/// Until the command has ended; its exit status, 128 and the number where a signal ended it. One that cannot be found
/// is 127, one that may not be run 126.
pub(crate) fn run(command: &[OsString], options: &Options) -> u8 {
    let [program, arguments @ ..] = command else { return FAILED };
    set_up(options);
    let begun = signals().and_then(|(signals, before)| Ok((signals, begin(program, arguments, before)?)));
    let (signals, pid) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            say(&format!("cannot run {}: {error}", program.display()));
            return match error.raw_os_error() {
                Some(libc::ENOENT) => NOT_FOUND,
                Some(libc::EACCES) => NOT_EXECUTABLE,
                Some(_) | None => FAILED,
            };
        }
    };
    let alone = Alone { pid, options };
    alone.tell(2, || format!("{} is process {pid}", program.display()));
    let status = loop {
        if let Some(status) = alone.turn(&signals) {
            break status;
        }
    };
    if options.good_statuses.contains(&status) { 0 } else { status }
}

/// As shells say it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;
const FAILED: u8 = 1;

/// They mean that this very process did something wrong, or are for who stands behind at a terminal: neither is the
/// command's business.
const OURS: [Signal; 9] = [
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGABRT,
    Signal::SIGTRAP,
    Signal::SIGSYS,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

fn set_up(options: &Options) {
    if let Some(signal) = options.parent_death {
        let signal = rustix::process::Signal::from_named_raw(i32::from(signal));
        if let Err(error) = rustix::process::set_parent_process_death_signal(signal) {
            say(&format!("cannot be told of the end of our parent: {error}"));
        }
    }
    let pid = rustix::process::getpid();
    if options.is_subreaper {
        if let Err(error) = rustix::process::set_child_subreaper(Some(pid)) {
            say(&format!("cannot be the parent of orphans: {error}"));
        }
    } else if !pid.is_init() && options.verbosity > 0 {
        say("this is not process 1: orphans go to somebody else; -s has them come here");
    }
}

/// From before the command is there, so that nothing of it is missed.
fn signals() -> io::Result<(SignalFd, sys::Before)> {
    let mut mask = SigSet::all();
    for signal in OURS {
        mask.remove(signal);
    }
    let before = sys::take_signals(&mask)?;
    Ok((SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC)?, before))
}

#[expect(clippy::disallowed_methods, reason = "there is no keeper here: this is all that is ever started")]
fn begin(program: &OsString, arguments: &[OsString], before: sys::Before) -> io::Result<Pid> {
    let mut command = Command::new(program);
    command.args(arguments);
    sys::prepare_child(&mut command, before);
    let child = command.spawn()?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| Errno::SRCH.into())
}

#[derive(Debug)]
struct Alone<'a> {
    pid: Pid,
    options: &'a Options,
}

impl Alone<'_> {
    /// One signal; the command's status once it has ended.
    fn turn(&self, signals: &SignalFd) -> Option<u8> {
        match signals.read_signal() {
            Ok(Some(info)) => match i32::try_from(info.ssi_signo).unwrap_or_default() {
                libc::SIGCHLD => return self.reap(),
                signal => self.pass_on(signal),
            },
            Ok(None) | Err(nix::Error::EINTR) => {}
            Err(error) => {
                say(&format!("cannot hear signals: {error}"));
                return Some(FAILED);
            }
        }
        None
    }

    fn pass_on(&self, signal: i32) {
        self.tell(3, || format!("signal {signal} is passed on"));
        match sys::send(self.pid, self.options.is_to_group, signal) {
            Ok(()) => {}
            Err(Errno::SRCH) => self.tell(1, || format!("signal {signal} finds nobody")),
            Err(error) => say(&format!("cannot pass on signal {signal}: {error}")),
        }
    }

    /// Everything that has ended by now. The command's own status comes last, when all that waits is waited for.
    fn reap(&self) -> Option<u8> {
        let mut status = None;
        while let Ok(Some((pid, ended))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == self.pid {
                self.tell(2, || format!("the command ended: {}", words(ended)));
                status = Some(status_of(ended));
            } else if self.options.warns_of_orphans {
                say(&format!("waited for orphan {pid}"));
            } else {
                self.tell(4, || format!("waited for orphan {pid}: {}", words(ended)));
            }
        }
        status
    }

    fn tell(&self, verbosity: u8, text: impl Fn() -> String) {
        if self.options.verbosity >= verbosity {
            say(&text());
        }
    }
}

fn status_of(ended: WaitStatus) -> u8 {
    let code =
        ended.exit_status().or_else(|| ended.terminating_signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

fn words(ended: WaitStatus) -> String {
    match (ended.exit_status(), ended.terminating_signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "nobody knows how".to_owned(),
    }
}
