//! The child's side of a command that runs alone, and the dispositions of our own signals.
#![expect(
    unsafe_code,
    reason = "the one place of this part for it; each block is a single call with its reason"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rustix::io::Errno;
use rustix::process::Pid;

/// What signals did before we changed it, for the command to have.
#[derive(Debug)]
pub(super) struct Before {
    mask: SigSet,
    changed: Vec<(Signal, SigAction)>,
}

/// Blocks `mask`, ignores the two signals that a terminal sends to whoever is in its background (for that is where we
/// go), and has children wait for us even where we were started with SIGCHLD ignored.
pub(super) fn take_signals(mask: &SigSet) -> nix::Result<Before> {
    let mut before = SigSet::empty();
    nix::sys::signal::pthread_sigmask(
        nix::sys::signal::SigmaskHow::SIG_SETMASK,
        Some(mask),
        Some(&mut before),
    )?;
    let wanted = [
        (Signal::SIGTTIN, SigHandler::SigIgn),
        (Signal::SIGTTOU, SigHandler::SigIgn),
        (Signal::SIGCHLD, SigHandler::SigDfl),
    ];
    let set = |(signal, handler): (Signal, SigHandler)| Ok((signal, set_action(signal, handler)?));
    let changed = wanted.into_iter().map(set).collect::<nix::Result<_>>()?;
    Ok(Before { mask: before, changed })
}

fn set_action(signal: Signal, handler: SigHandler) -> nix::Result<SigAction> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: no code of ours is to run on a signal: it is ignored, or does what it does by default.
    unsafe { sigaction(signal, &action) }
}

/// The command gets a process group of its own, the terminal where standard input is one, and signals as they were
/// `before`.
pub(super) fn prepare_child(command: &mut Command, before: Before) {
    let input = io::stdin();
    let in_child = move || {
        // By the child itself, or it could read before it may. Where there is no terminal there is nothing to take.
        rustix::termios::tcsetpgrp(&input, rustix::process::getpid()).ok();
        for (signal, action) in &before.changed {
            // SAFETY: what was the action of this process becomes it again.
            unsafe { sigaction(*signal, action) }.map_err(io::Error::from)?;
        }
        before.mask.thread_set_mask().map_err(io::Error::from)
    };
    command.process_group(0);
    // SAFETY: between fork and exec it only calls into the kernel: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(in_child) };
}

/// Any signal number, to a process or to the group that it leads.
pub(super) fn send(pid: Pid, is_to_group: bool, signal: i32) -> Result<(), Errno> {
    let pid = pid.as_raw_nonzero().get();
    let target = if is_to_group { pid.saturating_neg() } else { pid };
    // SAFETY: no memory is involved.
    result(unsafe { libc::kill(target, signal) })
}

/// To everybody but us: kill(2) leaves out process 1, and the kernel's own threads.
pub(super) fn send_to_all(signal: Signal) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    result(unsafe { libc::kill(-1, signal as libc::c_int) })
}

/// A session of its own, with standard input as its terminal.
pub(super) fn at_console(command: &mut Command) {
    let input = io::stdin();
    let in_child = move || {
        rustix::process::setsid()?;
        // Without one, a shell does without job control.
        rustix::process::ioctl_tiocsctty(&input).ok();
        Ok(())
    };
    // SAFETY: between fork and exec it only calls into the kernel: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(in_child) };
}

/// The kernel gives it its addresses when it comes up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    let mut request = MaybeUninit::<libc::ifreq>::zeroed();
    let place = request.as_mut_ptr();
    // SAFETY: all bytes zero is a valid value of this struct of integers.
    let fields = unsafe { &mut *place };
    for (to, from) in fields.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    fields.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    // SAFETY: the kernel reads a name and flags from the struct, which is as large as it expects.
    Ok(result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, place) })?)
}

fn result(returned: libc::c_int) -> Result<(), Errno> {
    if returned >= 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
