//! One unit's log: exactly the bytes that the unit wrote, in `DIR/current`, cut at line ends into
//! numbered older files.
//!
//! Bytes go from the pipe to the file inside the kernel (splice), so a keeper that is killed has
//! none of them in its hands. Only around a cut are they read, to find the line's end.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::keeper::clock::{self, MILLISECOND, SECOND};
use crate::keeper::pump::RETRY;
use crate::keeper::rotation;
use crate::keeper::wire::{LogOrder, LogPlace};

/// Most bytes moved at once, so that one loud unit does not hold the others.
const MOST: usize = 1024 * 1024;
const SCRATCH_BYTES: usize = 64 * 1024;
/// How often the path is compared with the open file, in case somebody moved it away.
const LOOK_AGAIN: u64 = SECOND;
/// How often (time, offset) is noted beside the file.
const INDEX_EVERY: u64 = SECOND;

/// What the pump lends to every log.
#[derive(Debug)]
pub(super) struct Tools {
    /// /dev/null, for what cannot be stored.
    pub(super) null: OwnedFd,
    /// Empty until the first cut.
    pub(super) scratch: Vec<u8>,
    /// No file grows beyond this before it is set aside, whatever its unit allows.
    pub(super) most_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Out of the pipe: stored, or dropped and counted.
    Bytes(u64),
    Nothing,
    /// Nobody can write to the pipe any more.
    End,
    /// The writer waits until the log can be written again.
    Blocked,
}

#[derive(Debug)]
pub(super) struct LogFile {
    unit: String,
    dir: Arc<[u8]>,
    open: Option<Box<Open>>,
    /// Read but not written: the log failed between the two.
    held: Vec<u8>,
    trouble: Option<Trouble>,
    /// Something to tell: errno and bytes lost.
    news: Option<(i32, u64)>,
    /// To be set aside at its next line's end.
    is_cut_due: bool,
    cannot_splice: bool,
}

#[derive(Debug)]
struct Open {
    file: OwnedFd,
    size: u64,
    identity: (u64, u64),
    /// Wall clock: how old its first byte is.
    born_at: u64,
    looked_at: u64,
    indexed_at: u64,
}

#[derive(Clone, Copy, Debug)]
struct Trouble {
    errno: i32,
    retry_at: u64,
    lost_bytes: u64,
}

impl LogFile {
    /// Touches nothing before the first byte.
    pub(super) fn new(unit: String, dir: Arc<[u8]>) -> Self {
        Self {
            unit,
            dir,
            open: None,
            held: Vec::new(),
            trouble: None,
            news: None,
            is_cut_due: false,
            cannot_splice: false,
        }
    }

    fn dir(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.dir))
    }

    pub(super) fn holds_bytes(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn take_news(&mut self) -> Option<(String, i32, u64)> {
        self.news.take().map(|(errno, lost)| (self.unit.clone(), errno, lost))
    }

    /// Its directory is about to be another one's. Whoever still writes to this log begins it anew.
    pub(super) fn close(&mut self) {
        self.open = None;
        self.is_cut_due = false;
    }

    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// What was read and not written.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// To be written before anything else that comes.
    pub(super) fn hold(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.held.splice(..0, bytes);
        }
    }

    /// Under this name its troubles are told. `is_begun`: its file is there, and ends where it ends even if
    /// nothing more is written.
    pub(super) fn belongs_to(&mut self, unit: String, is_begun: bool, now: u64) {
        self.unit = unit;
        if is_begun {
            // What cannot be opened is tried again with the next byte, and told then.
            self.be_open(now).ok();
        }
    }

    /// Sets `current` aside before its time: now where a line ends, or else at the next one; asked a
    /// second time, now in any case.
    pub(super) fn cut_early(&mut self) {
        if self.is_cut_due || self.ends_with_line() {
            self.open = None;
            self.is_cut_due = false;
            rotation::rotate(self.dir(), u16::MAX).ok();
        } else {
            self.is_cut_due = true;
        }
    }

    /// Where it ends. `None`: no byte was written to it, or it cannot be.
    pub(super) fn place(&self) -> Option<LogPlace> {
        let open = self.open.as_ref()?;
        Some(LogPlace { inode: open.identity.1, born: 0, offset: open.size })
    }

    /// Moves what is there, up to `MOST` bytes.
    pub(super) fn take_from(
        &mut self,
        pipe: BorrowedFd<'_>,
        limits: &LogOrder,
        tools: &mut Tools,
        now: u64,
    ) -> Moved {
        if self.trouble.is_some_and(|trouble| trouble.retry_at > now) {
            return self.do_without(pipe, limits, tools);
        }
        match self.store(pipe, limits, tools, now) {
            Ok(Moved::Bytes(bytes)) => {
                self.recovered();
                Moved::Bytes(bytes)
            }
            Ok(other) => other,
            Err(errno) => {
                self.failed(errno, now);
                self.do_without(pipe, limits, tools)
            }
        }
    }

    /// Takes bytes that were read already; not while it `is_blocked`.
    pub(super) fn append(&mut self, bytes: &[u8], limits: &LogOrder, tools: &Tools, now: u64) {
        self.held.extend_from_slice(bytes);
        let is_in_trouble = self.trouble.is_some_and(|trouble| trouble.retry_at > now);
        let written = if is_in_trouble { Ok(()) } else { self.write_cut(limits, tools, now) };
        match written {
            Ok(()) if is_in_trouble => {}
            Ok(()) => self.recovered(),
            Err(errno) => self.failed(errno, now),
        }
        if let Some(trouble) = self.trouble.as_mut().filter(|_| !limits.block_when_full) {
            let lost = u64::try_from(std::mem::take(&mut self.held).len()).unwrap_or_default();
            trouble.lost_bytes = trouble.lost_bytes.saturating_add(lost);
        }
    }

    /// The log cannot be written now, and its writers wait for that.
    pub(super) fn is_blocked(&self, limits: &LogOrder, now: u64) -> bool {
        limits.block_when_full && self.trouble.is_some_and(|trouble| trouble.retry_at > now)
    }

    /// What is held, the file cut at a line's end where it is full, or at twice its limit.
    fn write_cut(&mut self, limits: &LogOrder, tools: &Tools, now: u64) -> Result<(), Errno> {
        let limit = most_bytes(limits, tools).max(1);
        self.be_open(now)?;
        self.note_index();
        while !self.held.is_empty() {
            let size = self.open.as_ref().map_or(0, |open| open.size);
            let bytes = |room: u64| usize::try_from(room).unwrap_or(usize::MAX).min(self.held.len());
            if size < limit && !self.is_cut_due && !self.is_over_age(limits) {
                self.write_some(bytes(limit.saturating_sub(size)))?;
                continue;
            }
            let room = bytes(limit.saturating_mul(2).saturating_sub(size));
            if self.ends_with_line() || room == 0 {
                self.rotate(limits, now)?;
                continue;
            }
            let line = self.held.iter().take(room).position(|byte| *byte == b'\n');
            self.write_some(line.map_or(room, |end| end.saturating_add(1)))?;
        }
        Ok(())
    }

    /// The first of what is held.
    fn write_some(&mut self, bytes: usize) -> Result<(), Errno> {
        let rest = self.held.split_off(bytes);
        let written = self.write_held();
        self.held.extend_from_slice(&rest);
        written
    }

    fn store(
        &mut self,
        pipe: BorrowedFd<'_>,
        limits: &LogOrder,
        tools: &mut Tools,
        now: u64,
    ) -> Result<Moved, Errno> {
        let is_empty = rustix::io::ioctl_fionread(pipe) == Ok(0);
        if is_empty && self.held.is_empty() {
            // Nothing, or the end: neither makes a file.
            return read_nothing(pipe);
        }
        self.be_open(now)?;
        self.write_held()?;
        if is_empty {
            return read_nothing(pipe);
        }
        if self.is_over_age(limits) && self.ends_with_line() {
            self.rotate(limits, now)?;
        }
        let limit = most_bytes(limits, tools);
        let size = self.open.as_ref().map_or(0, |open| open.size);
        if size >= limit || self.is_cut_due {
            if self.ends_with_line() {
                self.rotate(limits, now)?;
            } else {
                return self.store_to_line_end(pipe, limits, tools, now);
            }
        }
        let size = self.open.as_ref().map_or(0, |open| open.size);
        let room = limit.saturating_sub(size).max(1);
        let most = usize::try_from(room).unwrap_or(MOST).min(MOST);
        self.note_index();
        if self.cannot_splice {
            return self.copy(pipe, tools, most);
        }
        let Some(open) = &mut self.open else { return Ok(Moved::Nothing) };
        let mut offset = open.size;
        match rustix::pipe::splice(pipe, None, &open.file, Some(&mut offset), most, SpliceFlags::NONBLOCK) {
            Ok(0) => Ok(Moved::End),
            Ok(bytes) => {
                let bytes = u64::try_from(bytes).unwrap_or_default();
                open.size = open.size.saturating_add(bytes);
                Ok(Moved::Bytes(bytes))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Moved::Nothing),
            Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => {
                self.cannot_splice = true;
                self.copy(pipe, tools, most)
            }
            Err(errno) => Err(errno),
        }
    }

    /// For file systems that splice does not know, and seccomp profiles that do not know splice.
    fn copy(&mut self, pipe: BorrowedFd<'_>, tools: &mut Tools, most: usize) -> Result<Moved, Errno> {
        let bytes = read_some(pipe, tools, most)?;
        if bytes.is_empty() {
            return Ok(Moved::End);
        }
        let count = u64::try_from(bytes.len()).unwrap_or_default();
        self.write(bytes)?;
        Ok(Moved::Bytes(count))
    }

    /// The file is full but its last line is not complete: up to the line's end into this file,
    /// the rest into the next one. A line that never ends is cut at twice the limit.
    fn store_to_line_end(
        &mut self,
        pipe: BorrowedFd<'_>,
        limits: &LogOrder,
        tools: &mut Tools,
        now: u64,
    ) -> Result<Moved, Errno> {
        let size = self.open.as_ref().map_or(0, |open| open.size);
        let cap = most_bytes(limits, tools).saturating_mul(2);
        let most = usize::try_from(cap.saturating_sub(size)).unwrap_or(SCRATCH_BYTES);
        if most == 0 {
            self.rotate(limits, now)?;
            return Ok(Moved::Bytes(0));
        }
        let bytes = read_some(pipe, tools, most)?;
        if bytes.is_empty() {
            return Ok(Moved::End);
        }
        let count = u64::try_from(bytes.len()).unwrap_or_default();
        let line_end = bytes.iter().position(|byte| *byte == b'\n');
        let cut = line_end.map_or(bytes.len(), |at| at.saturating_add(1));
        let (line, rest) = bytes.split_at_checked(cut).unwrap_or((bytes, &[]));
        // Whatever fails from here on, the rest is not lost between the two files.
        let rest = rest.to_vec();
        let written = self.write(line);
        self.held.extend_from_slice(&rest);
        written?;
        if line_end.is_some() {
            self.rotate(limits, now)?;
            self.be_open(now)?;
            self.write_held()?;
        }
        Ok(Moved::Bytes(count))
    }

    fn write_held(&mut self) -> Result<(), Errno> {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        self.write(&held)
    }

    /// What cannot be written is held.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let mut left = bytes;
        while !left.is_empty() {
            let Some(open) = &mut self.open else { break };
            match rustix::io::pwrite(&open.file, left, open.size) {
                Ok(written) => {
                    open.size = open.size.saturating_add(u64::try_from(written).unwrap_or_default());
                    left = left.get(written..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.held.extend_from_slice(left);
                    return Err(errno);
                }
            }
        }
        Ok(())
    }

    /// Opens the file, again where it was deleted or moved away.
    fn be_open(&mut self, now: u64) -> Result<(), Errno> {
        let path = self.dir().join(CURRENT);
        if let Some(open) = &mut self.open {
            let stat = rustix::fs::fstat(&open.file)?;
            // Somebody cut it (copytruncate), or it was written to behind our back.
            open.size = u64::try_from(stat.st_size).unwrap_or_default();
            let is_due = now.saturating_sub(open.looked_at) >= LOOK_AGAIN;
            let is_there = if stat.st_nlink == 0 {
                false
            } else if is_due {
                open.looked_at = now;
                rustix::fs::stat(&path).is_ok_and(|stat| identity(&stat) == open.identity)
            } else {
                true
            };
            if is_there {
                return Ok(());
            }
            self.open = None;
        }
        let file = match open_log(&path) {
            Err(Errno::NOENT) => {
                make_dir(self.dir())?;
                open_log(&path)?
            }
            other => other?,
        };
        let stat = rustix::fs::fstat(&file)?;
        self.open = Some(Box::new(Open {
            file,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            identity: identity(&stat),
            born_at: if stat.st_size == 0 { clock::wall() } else { born(&stat) },
            looked_at: now,
            indexed_at: 0,
        }));
        Ok(())
    }

    fn is_over_age(&self, limits: &LogOrder) -> bool {
        let limit = limits.max_age_ms.saturating_mul(MILLISECOND);
        let Some(open) = self.open.as_ref().filter(|open| limit > 0 && open.size > 0) else { return false };
        clock::wall().saturating_sub(open.born_at) >= limit
    }

    fn ends_with_line(&self) -> bool {
        let Some(open) = &self.open else { return true };
        let mut last = [0];
        match open.size.checked_sub(1) {
            None => true,
            Some(at) => matches!(rustix::io::pread(&open.file, &mut last, at), Ok(1)) && last == *b"\n",
        }
    }

    fn rotate(&mut self, limits: &LogOrder, now: u64) -> Result<(), Errno> {
        self.open = None;
        rotation::rotate(self.dir(), limits.keep).map_err(|error| errno_of(&error))?;
        self.is_cut_due = false;
        self.be_open(now)
    }

    /// A hint for readers who look for a time; its loss is of no consequence.
    fn note_index(&mut self) {
        let Some(open) = &mut self.open else { return };
        let wall = clock::wall();
        if wall.saturating_sub(open.indexed_at) < INDEX_EVERY {
            return;
        }
        open.indexed_at = wall;
        let entry = [wall.to_le_bytes(), open.size.to_le_bytes()].concat();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if let Ok(index) = rustix::fs::open(self.dir().join(CURRENT_INDEX), flags, LOG_MODE) {
            rustix::io::write(&index, &entry).ok();
        }
    }

    fn failed(&mut self, errno: Errno, now: u64) {
        let errno = errno.raw_os_error();
        let retry_at = now.saturating_add(RETRY);
        let lost_bytes = self.trouble.map_or(0, |trouble| trouble.lost_bytes);
        if self.trouble.is_none_or(|trouble| trouble.errno != errno) {
            self.news = Some((errno, lost_bytes));
        }
        self.trouble = Some(Trouble { errno, retry_at, lost_bytes });
        // A file that was made read-only or replaced is found again by its path.
        self.open = None;
    }

    fn recovered(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            self.news = Some((0, trouble.lost_bytes));
        }
    }

    /// The log cannot be written: the writer waits, or its bytes are dropped and counted.
    fn do_without(&mut self, pipe: BorrowedFd<'_>, limits: &LogOrder, tools: &mut Tools) -> Moved {
        if limits.block_when_full {
            return Moved::Blocked;
        }
        let held = std::mem::take(&mut self.held);
        let dropped =
            match rustix::pipe::splice(pipe, None, tools.null.as_fd(), None, MOST, SpliceFlags::NONBLOCK) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::PERM)
                    if rustix::io::ioctl_fionread(pipe) != Ok(0) =>
                {
                    read_some(pipe, tools, SCRATCH_BYTES).map(<[u8]>::len)
                }
                other => other,
            };
        let count = |bytes: usize| u64::try_from(bytes).unwrap_or_default();
        if let Some(trouble) = &mut self.trouble {
            let bytes = count(held.len()).saturating_add(count(dropped.unwrap_or(0)));
            trouble.lost_bytes = trouble.lost_bytes.saturating_add(bytes);
        }
        match dropped {
            Ok(0) => Moved::End,
            Ok(bytes) => Moved::Bytes(count(bytes)),
            Err(_) => Moved::Nothing,
        }
    }
}

pub(super) const CURRENT: &str = "current";
pub(super) const CURRENT_INDEX: &str = "current.index";
/// Others may not read what a service says; its group may.
const LOG_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);

fn open_log(path: &Path) -> Result<OwnedFd, Errno> {
    // Not O_APPEND, which splice refuses; we are the only writer, and each write says where.
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, LOG_MODE)
}

/// When a file is full; as its unit says, 0 being no limit, and as the limit of all logs says.
fn most_bytes(limits: &LogOrder, tools: &Tools) -> u64 {
    let own = if limits.max_size_bytes == 0 { u64::MAX } else { limits.max_size_bytes };
    own.min(tools.most_bytes)
}

fn make_dir(dir: &Path) -> Result<(), Errno> {
    fs::create_dir_all(dir).map_err(|error| errno_of(&error))
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// A file that was there before us is as old as its last change at most.
fn born(stat: &Stat) -> u64 {
    u64::try_from(stat.st_mtime).unwrap_or_default().saturating_mul(SECOND)
}

/// Tells an empty pipe from a closed one without taking a byte.
fn read_nothing(pipe: BorrowedFd<'_>) -> Result<Moved, Errno> {
    let mut poll = [rustix::event::PollFd::from_borrowed_fd(pipe, rustix::event::PollFlags::IN)];
    let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut poll, Some(&zero))?;
    let flags = poll.first().map_or_else(rustix::event::PollFlags::empty, |poll| poll.revents());
    let is_closed =
        flags.contains(rustix::event::PollFlags::HUP) && !flags.contains(rustix::event::PollFlags::IN);
    Ok(if is_closed { Moved::End } else { Moved::Nothing })
}

/// Called only when something is in the pipe, so it does not block.
fn read_some<'a>(pipe: BorrowedFd<'_>, tools: &'a mut Tools, most: usize) -> Result<&'a [u8], Errno> {
    tools.scratch.resize(SCRATCH_BYTES, 0);
    let most = most.min(SCRATCH_BYTES);
    let Some(buffer) = tools.scratch.get_mut(..most) else { return Ok(&[]) };
    let count = rustix::io::read(pipe, buffer)?;
    Ok(tools.scratch.get(..count).unwrap_or_default())
}
