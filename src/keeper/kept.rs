//! One stream of one run, kept whole in a file of its own for whoever judges it, besides the log.
//!
//! Bytes go from the pipe to this file inside the kernel and are read back for the log, so a keeper that is killed
//! has none of them in its hands: what the log may miss then, the file has. What does not fit goes to the log alone;
//! a file that cannot be written is removed, as a part would be taken for the whole.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::keeper::wire::KeptOrder;

/// Read back at once.
const MOST: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct KeptFile {
    path: Arc<[u8]>,
    most_bytes: u64,
    /// What another keeper wrote stays.
    is_adopted: bool,
    state: State,
    scratch: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Unopened,
    Open { file: OwnedFd, size: u64 },
    Spoiled,
}

/// What came of the pipe.
#[derive(Debug)]
pub(super) enum Came<'a> {
    /// In the file; for the log.
    Bytes(&'a [u8]),
    Nothing,
    End,
    /// There is no room in the file, or no file.
    NoRoom,
}

impl KeptFile {
    pub(super) fn new(order: &KeptOrder, is_adopted: bool) -> Self {
        Self {
            path: Arc::clone(&order.path),
            most_bytes: order.most_bytes,
            is_adopted,
            state: State::Unopened,
            scratch: Vec::new(),
        }
    }

    /// As one of which a byte was lost before.
    pub(super) fn spoiled(self) -> Self {
        Self { state: State::Spoiled, ..self }
    }

    pub(super) fn is_spoiled(&self) -> bool {
        matches!(self.state, State::Spoiled)
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    /// Whoever judges the stream looks for it there by now.
    pub(super) fn relog(&mut self, order: &KeptOrder) {
        self.most_bytes = order.most_bytes;
        if self.path == order.path {
            return;
        }
        let to = Path::new(OsStr::from_bytes(&order.path));
        let made = if let State::Spoiled = self.state { Ok(()) } else { make_private(to) };
        let moved = made.and_then(|()| match rustix::fs::rename(self.path(), to) {
            // There is none yet.
            Err(Errno::NOENT) => Ok(()),
            other => other,
        });
        if moved.is_err() {
            self.spoil();
        }
        self.path = Arc::clone(&order.path);
    }

    /// There is a file from here on, even if nothing is ever written to it: empty is not the same as lost.
    pub(super) fn be_open(&mut self) {
        if !matches!(self.state, State::Unopened) {
            return;
        }
        let opened = match self.open() {
            Err(Errno::NOENT) => make_private(self.path()).and_then(|()| self.open()),
            other => other,
        };
        match opened {
            Ok((file, size)) => self.state = State::Open { file, size },
            Err(_) => self.spoil(),
        }
    }

    fn open(&self) -> Result<(OwnedFd, u64), Errno> {
        let mut flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        flags.set(OFlags::TRUNC, !self.is_adopted);
        let file = rustix::fs::open(self.path(), flags, Mode::RUSR | Mode::WUSR)?;
        let size = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or_default();
        Ok((file, size))
    }

    fn spoil(&mut self) {
        self.state = State::Spoiled;
        fs::remove_file(self.path()).ok();
    }

    /// Takes some of what is in the pipe.
    pub(super) fn take_from(&mut self, pipe: BorrowedFd<'_>) -> Came<'_> {
        self.be_open();
        let State::Open { file, size } = &mut self.state else { return Came::NoRoom };
        let room = self.most_bytes.saturating_sub(*size);
        let most = usize::try_from(room).unwrap_or(MOST).min(MOST);
        if most == 0 {
            return Came::NoRoom;
        }
        self.scratch.resize(MOST, 0);
        match moved(pipe, file, *size, most, &mut self.scratch) {
            Ok(0) => Came::End,
            Ok(count) => {
                *size = size.saturating_add(u64::try_from(count).unwrap_or_default());
                Came::Bytes(self.scratch.get(..count).unwrap_or_default())
            }
            Err(Errno::AGAIN | Errno::INTR) => Came::Nothing,
            Err(_) => {
                self.spoil();
                Came::NoRoom
            }
        }
    }
}

/// So many bytes, which are in the file now and in `scratch`.
fn moved(
    pipe: BorrowedFd<'_>,
    file: &OwnedFd,
    at: u64,
    most: usize,
    scratch: &mut [u8],
) -> Result<usize, Errno> {
    let mut offset = at;
    match rustix::pipe::splice(pipe, None, file.as_fd(), Some(&mut offset), most, SpliceFlags::NONBLOCK) {
        Ok(count) => {
            let read = scratch.get_mut(..count).unwrap_or_default();
            read_back(file, at, read)?;
            Ok(count)
        }
        // A file system that splice does not know, or a seccomp profile that does not know splice.
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
            let count = rustix::io::read(pipe, scratch.get_mut(..most).unwrap_or_default())?;
            write_all(file, at, scratch.get(..count).unwrap_or_default())?;
            Ok(count)
        }
        Err(errno) => Err(errno),
    }
}

fn read_back(file: &OwnedFd, mut at: u64, mut left: &mut [u8]) -> Result<(), Errno> {
    while !left.is_empty() {
        match rustix::io::pread(file, &mut *left, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                at = at.saturating_add(u64::try_from(count).unwrap_or_default());
                left = left.get_mut(count..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn write_all(file: &OwnedFd, mut at: u64, mut left: &[u8]) -> Result<(), Errno> {
    while !left.is_empty() {
        match rustix::io::pwrite(file, left, at) {
            Ok(count) => {
                at = at.saturating_add(u64::try_from(count).unwrap_or_default());
                left = left.get(count..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The directory of `path`, for its owner alone.
fn make_private(path: &Path) -> Result<(), Errno> {
    let Some(dir) = path.parent() else { return Ok(()) };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
