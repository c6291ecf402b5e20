//! The supervisor's end of the link, and what it takes to get a new keeper when the old one died.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::sync::Arc;

use rustix::io::FdFlags;
use rustix::process::{Resource, Rlimit};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use crate::keeper::link::{Link, Received};
use crate::keeper::wire::{Order, Report};

/// Orders go out in packets, reports come in; neither is ever waited for by the one who calls.
#[derive(Debug)]
pub(crate) struct KeeperLink {
    link: Link<Order, Report>,
    /// The same socket for the runtime to poll. That it holds packets and not datagrams makes no difference to epoll.
    watch: UnixDatagram,
    unsent: usize,
}

/// What `receive` found.
#[derive(Debug)]
pub(crate) enum Incoming {
    Reports(Vec<(Report, Vec<OwnedFd>)>),
    Nothing,
    /// The keeper is gone, or says what cannot be trusted.
    Lost(io::Error),
}

impl KeeperLink {
    /// # Errors
    /// When `socket` is no socket.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let watch = std::os::unix::net::UnixDatagram::from(socket.try_clone()?);
        watch.set_nonblocking(true)?;
        Ok(Self { link: Link::new(socket)?, watch: UnixDatagram::from_std(watch)?, unsent: 0 })
    }

    /// Queues an order. A full packet leaves at once, so that the keeper works while we think.
    pub(crate) fn send(&mut self, order: &Order, descriptors: &[Arc<OwnedFd>]) -> io::Result<()> {
        self.link.send(order, descriptors)?;
        self.unsent = self.unsent.saturating_add(1);
        // A dead link shows itself at the next read, with everything that came before.
        if self.unsent >= SEND_EARLY { self.flush().map(drop) } else { Ok(()) }
    }

    /// False: the socket is full, and `writable` tells when it is not.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.unsent = 0;
        self.link.flush()
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.link.has_unsent()
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.watch.readable().await
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        loop {
            self.watch.writable().await?;
            let room = self.watch.try_io(Interest::WRITABLE, || is_writable(&self.link));
            match room {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what is queued and reads on until the other side hangs up.
    pub(crate) async fn say_goodbye(&mut self) {
        while let Ok(false) = self.flush() {
            if self.writable().await.is_err() {
                return;
            }
        }
        loop {
            match self.receive() {
                Incoming::Reports(_) => {}
                Incoming::Lost(_) => return,
                Incoming::Nothing => {
                    if self.readable().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Incoming {
        let Self { link, watch, .. } = self;
        let received = watch.try_io(Interest::READABLE, || match link.receive()? {
            Received::Messages(messages) => Ok(Incoming::Reports(messages)),
            Received::Closed => Err(io::ErrorKind::UnexpectedEof.into()),
            Received::Nothing => Err(io::ErrorKind::WouldBlock.into()),
        });
        match received {
            Ok(incoming) => incoming,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Incoming::Nothing,
            Err(error) => Incoming::Lost(error),
        }
    }
}

/// Epoll told once; whether there is still room is for poll to say.
fn is_writable(link: &Link<Order, Report>) -> io::Result<()> {
    let mut fds = [rustix::event::PollFd::new(link, rustix::event::PollFlags::OUT)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&now))? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

/// What both rings share and a new keeper must be given.
#[derive(Debug)]
pub(crate) struct Heirloom {
    pub(crate) lock: Option<OwnedFd>,
    pub(crate) listener: Option<OwnedFd>,
    /// What the supervisor itself was started with.
    pub(crate) arguments: Vec<OsString>,
    /// The soft limit of descriptors before it was raised, for the keeper's children.
    pub(crate) original_nofile: Option<u64>,
}

/// Starts a keeper that takes over the link of a supervisor that already runs.
///
/// # Errors
/// When there is no descriptor, no memory or no executable for it.
#[expect(clippy::disallowed_methods, reason = "the keeper, who spawns everything else, died")]
pub(crate) fn start_keeper(heirloom: &Heirloom) -> io::Result<(Child, KeeperLink)> {
    let (ours, theirs) = crate::keeper::link::pair()?;
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg(crate::keeper::VERB).arg("--adopt-link-fd").arg(theirs.as_raw_fd().to_string());
    let mut passed = vec![&theirs];
    for (flag, descriptor) in [("--lock-fd", &heirloom.lock), ("--listen-fd", &heirloom.listener)] {
        if let Some(descriptor) = descriptor {
            command.arg(flag).arg(descriptor.as_raw_fd().to_string());
            passed.push(descriptor);
        }
    }
    command.arg("--").args(&heirloom.arguments).stdin(Stdio::null()).process_group(0);
    for descriptor in &passed {
        rustix::io::fcntl_setfd(descriptor.as_fd(), FdFlags::empty())?;
    }
    let child = with_nofile(heirloom.original_nofile, || command.spawn());
    for descriptor in &passed {
        rustix::io::fcntl_setfd(descriptor.as_fd(), FdFlags::CLOEXEC)?;
    }
    Ok((child?, KeeperLink::new(ours)?))
}

/// Raises the soft limit of descriptors to the hard one; the answer is what it was.
pub(crate) fn raise_nofile() -> Option<u64> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    set_nofile(raised);
    before.current
}

fn set_nofile(limit: Rlimit) {
    if let Err(errno) = rustix::process::setrlimit(Resource::Nofile, limit) {
        // It is merely sooner that descriptors run out, and that is an error like others.
        tracing::warn!("cannot set the limit of open files: {errno}");
    }
}

fn with_nofile<T>(soft: Option<u64>, act: impl FnOnce() -> T) -> T {
    let now = rustix::process::getrlimit(Resource::Nofile);
    set_nofile(Rlimit { current: soft, maximum: now.maximum });
    let result = act();
    set_nofile(now);
    result
}

/// Orders in a row that fill about half a packet.
const SEND_EARLY: usize = 32;
