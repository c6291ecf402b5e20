//! What makes a process the one supervisor of a home: the lock on its state, and its control socket.

use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::aside::files::unless_full;
use crate::proc;
use crate::supervisor::home::Home;
use crate::supervisor::socket::{bind, connect};

/// The group whose members may look.
pub(crate) const LOOKERS: &str = "mcsup";

/// Why a home cannot be had, in words for the person who typed the command.
#[derive(Debug)]
pub enum ClaimError {
    /// Another supervisor holds the state directory; its keeper's pid where it could be read.
    Held {
        state: PathBuf,
        pid: Option<u32>,
    },
    Io {
        verb: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
}

/// The lock that decides who supervises: held as long as any copy of the descriptor is open.
///
/// # Errors
/// `Held` when another supervisor has it.
pub fn lock(home: &Home) -> Result<OwnedFd, ClaimError> {
    let path = home.state.join("lock");
    let failed = |verb, cause| ClaimError::Io { verb, path: path.clone(), cause };
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|cause| failed("open", cause))?;
    for left in (0..TRIES).rev() {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                if left == 0 || pid.is_some_and(is_alive) {
                    return Err(ClaimError::Held { state: home.state.clone(), pid });
                }
                pause();
            }
            Err(errno) => return Err(failed("lock", errno.into())),
        }
    }
    unless_full(sign_lock(&file, std::process::id())).map_err(|cause| failed("write", cause))?;
    Ok(file.into())
}

/// Who was killed may still be busy with a disk on its way out, and holds the lock until it is gone: so long in all.
const TRIES: u32 = 250;
const PAUSE: Duration = Duration::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "nothing else lives in this process yet")]
fn pause() {
    std::thread::sleep(PAUSE);
}

fn is_alive(pid: u32) -> bool {
    i32::try_from(pid).ok().and_then(proc::stat).is_some_and(|stat| !stat.is_zombie)
}

/// Writes the keeper's pid into the lock file, for the message of the next who tries.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn sign_lock(mut file: &fs::File, pid: u32) -> io::Result<()> {
    file.set_len(0)?;
    io::Seek::rewind(&mut file)?;
    file.write_all(format!("{pid}\n").as_bytes())
}

/// Binds the control socket. The lock is ours, so whoever else answers there is no supervisor of this state.
///
/// # Errors
/// When somebody answers at the socket, or it cannot be bound.
pub fn listen(home: &Home) -> Result<UnixListener, ClaimError> {
    let path = home.socket();
    let failed = |verb, cause| ClaimError::Io { verb, path: path.clone(), cause };
    if path.symlink_metadata().is_ok() {
        if connect(&path).is_ok() {
            return Err(failed("take over", io::Error::other("another process answers there")));
        }
        fs::remove_file(&path).map_err(|cause| failed("replace", cause))?;
    }
    let listener = bind(&path).map_err(|cause| failed("bind", cause))?;
    open_to_group(&path).map_err(|cause| failed("set the mode of", cause))?;
    Ok(listener)
}

/// For its owner, and for those who may look where there are any: the API tells them apart further.
fn open_to_group(socket: &Path) -> io::Result<()> {
    let group = nix::unistd::Group::from_name(LOOKERS).ok().flatten();
    let is_root = rustix::process::geteuid().is_root();
    let mode = match group {
        Some(group) if is_root => {
            std::os::unix::fs::chown(socket, None, Some(group.gid.as_raw()))?;
            0o660
        }
        Some(_) | None => 0o600,
    };
    fs::set_permissions(socket, fs::Permissions::from_mode(mode))
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { state, pid } => {
                write!(f, "cannot start: mcsup already runs on {}", state.display())?;
                match pid {
                    Some(pid) => write!(f, " (pid {pid})"),
                    None => Ok(()),
                }?;
                f.write_str("\nhelp: `mcsup status` shows it, `mcsup shutdown` ends it")
            }
            Self::Io { verb, path, cause } => write!(f, "cannot {verb} {}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for ClaimError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A home that is ready, in a directory of its own.
    fn scratch(name: &str) -> (PathBuf, Home) {
        let dir = std::env::temp_dir().join(format!("mcsup-claim-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(dir.join("units")).unwrap();
        let home = Home::under(&dir);
        home.prepare().unwrap();
        (dir, home)
    }

    #[test]
    fn case_12_a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let (dir, home) = scratch("stale");
        drop(listen(&home).unwrap());
        let alive = listen(&home).unwrap();
        assert!(matches!(listen(&home), Err(ClaimError::Io { verb: "take over", .. })));
        drop(alive);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn case_12_the_second_lock_names_the_pid_of_the_first() {
        let (dir, home) = scratch("lock");
        let _held = lock(&home).unwrap();
        let refused = lock(&home).unwrap_err();
        assert!(refused.to_string().contains(&format!("(pid {})", std::process::id())), "{refused}");
        fs::remove_dir_all(dir).unwrap();
    }
}
