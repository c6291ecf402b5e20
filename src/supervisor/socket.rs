//! Sockets by their path, however long it is.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Connects to a socket whose path may be longer than a socket address can hold.
///
/// # Errors
/// As connect(2).
pub fn connect(socket: &Path) -> io::Result<UnixStream> {
    by_short_path(socket, |path| UnixStream::connect(path))
}

/// Binds a socket whose path may be longer than a socket address can hold.
///
/// # Errors
/// As bind(2).
pub(crate) fn bind(socket: &Path) -> io::Result<UnixListener> {
    by_short_path(socket, |path| UnixListener::bind(path))
}

/// Runs `act` on a name of `socket` that fits: through its directory's descriptor where the path itself does not.
fn by_short_path<T>(socket: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    if socket.as_os_str().len() <= SOCKET_PATH_MAX {
        return act(socket);
    }
    let (Some(dir), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
        .open(dir)?;
    act(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))
}

/// `sun_path` holds 108 bytes with its end.
const SOCKET_PATH_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_over_107_bytes_works() {
        let dir = std::env::temp_dir().join(format!("mcsup-socket-{}", std::process::id()));
        let deep = dir.join("d".repeat(90)).join("e".repeat(90));
        fs::create_dir_all(&deep).unwrap();
        let socket = deep.join("mcsup.sock");
        let _listener = bind(&socket).unwrap();
        connect(&socket).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
