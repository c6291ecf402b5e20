//! The one system call of the API that no crate wraps: the only `unsafe` outside the keeper.
#![expect(unsafe_code, reason = "nix reads SO_PEERGROUPS as a C string, which ends at the first zero byte")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// More groups than most users are in; who is in more costs a second call.
const USUAL_GROUPS: usize = 64;

/// The supplementary groups of the process at the other end, as they were when it connected. `SO_PEERCRED`
/// leaves them out.
///
/// # Errors
/// Where the kernel does not know the option (before 4.13), or the socket is none.
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; USUAL_GROUPS];
    // Once as guessed, once as the kernel asked for.
    for _ in 0..2 {
        let mut size_bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(0);
        // SAFETY: the pointer and the size describe `groups`, which nobody else holds and in which any bytes
        // are valid; the descriptor is borrowed, so it is open.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut size_bytes,
            )
        };
        let count = usize::try_from(size_bytes).unwrap_or(0) / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) {
            return Err(error);
        }
        groups.resize(count, 0);
    }
    Err(io::Error::from_raw_os_error(libc::ERANGE))
}
