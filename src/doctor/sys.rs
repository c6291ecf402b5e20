//! System calls that no crate of ours wraps. Each asks, and changes nothing.
#![expect(unsafe_code, reason = "rustix knows neither clone3, nor Landlock, nor adjtimex")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use nix::libc;

/// Whether the call reaches the kernel: arguments of no size are refused as such (EINVAL) by a kernel that knows
/// it, and with another word by what keeps it from us.
///
/// # Errors
/// ENOSYS before Linux 5.3 and under most seccomp filters, EPERM under others.
pub(super) fn clone3() -> io::Result<()> {
    let nothing: *mut libc::c_void = null_mut();
    // SAFETY: nothing is read from a null pointer of size 0, and nothing is started: the size is refused first.
    let returned = unsafe { libc::syscall(libc::SYS_clone3, nothing, 0_usize) };
    match result(returned) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => other.map(drop),
    }
}

/// The version of Landlock.
///
/// # Errors
/// ENOSYS where it is not built in, EOPNOTSUPP where it is not among `lsm=`.
pub(super) fn landlock() -> io::Result<u32> {
    let nothing: *mut libc::c_void = null_mut();
    // SAFETY: with this flag the kernel wants a null pointer and no size, and only answers.
    let returned = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    result(returned).map(|version| u32::try_from(version).unwrap_or(0))
}

/// Of landlock_create_ruleset(2); libc has no name for it.
const VERSION: libc::c_uint = 1;

/// Whether the kernel believes that the wall clock is right to about a second.
///
/// # Errors
/// Where a seccomp filter refuses to say.
pub(super) fn is_clock_right() -> io::Result<bool> {
    let mut asked = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all bytes zero is a valid value of this struct of integers, and asks without setting anything.
    let state = unsafe { libc::adjtimex(asked.as_mut_ptr()) };
    result(state.into()).map(|state| state != libc::c_long::from(libc::TIME_ERROR))
}

fn result(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}
