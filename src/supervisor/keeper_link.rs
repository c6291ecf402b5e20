//! The supervisor's end of the link, and what it takes to get a new keeper when the old one died.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::FdFlags;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::keeper::link::{Link, Received};
use crate::keeper::wire::{Order, Report, VERSION, is_read};
use crate::supervisor::cgroups;
use crate::supervisor::descriptors::{keep_to_their_share, with_limit, with_reserve};

/// Orders go out in packets, reports come in; neither is ever waited for by the one who calls.
#[derive(Debug)]
pub(crate) struct KeeperLink {
    /// Polled for reading alone: the keeper reads all the time, and each time there would be room again.
    link: AsyncFd<Link<Order, Report>>,
    unsent: usize,
    /// The kernel had no memory for a packet: a moment later it may.
    is_starved: bool,
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
        Ok(Self { link: watched(Link::new(socket)?, Interest::READABLE)?, unsent: 0, is_starved: false })
    }

    /// Queues an order. A full packet leaves at once, so that the keeper works while we think.
    pub(crate) fn send(&mut self, order: &Order, descriptors: &[Arc<OwnedFd>]) -> io::Result<()> {
        let link = self.link.get_mut();
        if let Err(error) = link.send(order, descriptors) {
            // A large order travels in a file of its own.
            let is_short = matches!(error.raw_os_error(), Some(libc::EMFILE));
            is_short.then_some(()).ok_or(error)?;
            with_reserve(|| link.send(order, descriptors))?;
        }
        self.unsent = self.unsent.saturating_add(1);
        // A dead link shows itself at the next read, with everything that came before.
        if self.unsent >= SEND_EARLY { self.flush().map(drop) } else { Ok(()) }
    }

    /// False: the socket is full, and `writable` tells when it is not.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        self.unsent = 0;
        self.is_starved = false;
        match self.link.get_mut().flush() {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM)) => {
                // The packet is still ours to send.
                self.is_starved = true;
                Ok(false)
            }
            other => other,
        }
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.link.get_ref().has_unsent()
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        // What was seen stays seen until `receive` finds nothing.
        self.link.readable().await.map(drop)
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        if self.is_starved {
            drop(tokio::time::timeout(STARVED_PAUSE, std::future::pending::<()>()).await);
            return Ok(());
        }
        let watch =
            with_reserve(|| watched(self.link.get_ref().as_fd().try_clone_to_owned()?, Interest::WRITABLE))?;
        watch.writable().await.map(drop)
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
        let received =
            self.link.try_io_mut(Interest::READABLE, |link| match with_reserve(|| link.receive())? {
                Received::Messages(mut messages) => {
                    let copies =
                        messages.iter_mut().map(|(_, copies)| copies).filter(|copies| !copies.is_empty());
                    copies.for_each(keep_to_their_share);
                    Ok(Incoming::Reports(messages))
                }
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

/// # Errors
/// When the keeper says hello in a version that we do not read: whatever followed would be guessed.
pub(crate) fn understood(version: u16) -> io::Result<()> {
    if is_read(version) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "cannot talk to the keeper: it speaks version {version} of the link, this supervisor version {VERSION}; \
         restart mcsup, so that both are of one installation"
    )))
}

#[expect(deprecated, reason = "its successor is unsafe, for descriptors that change hands; ours stay")]
pub(crate) fn watched<T: std::os::fd::AsRawFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(inner, interest)
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
    // Opened before the limit is lowered, which may be below what is open already.
    let nothing = Stdio::from(std::fs::File::open("/dev/null")?);
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg(crate::keeper::VERB).arg("--adopt-link-fd").arg(theirs.as_raw_fd().to_string());
    let mut passed = vec![&theirs];
    for (flag, descriptor) in [("--lock-fd", &heirloom.lock), ("--listen-fd", &heirloom.listener)] {
        if let Some(descriptor) = descriptor {
            command.arg(flag).arg(descriptor.as_raw_fd().to_string());
            passed.push(descriptor);
        }
    }
    let cgroup = heirloom.arguments.get(CGROUP_ARGUMENT).map(|word| cgroups::from_argument(word));
    if let Some(Ok(base)) = cgroup {
        command.arg("--cgroup").arg(base);
    }
    command.arg("--").args(&heirloom.arguments).stdin(nothing).process_group(0);
    for descriptor in &passed {
        rustix::io::fcntl_setfd(descriptor.as_fd(), FdFlags::empty())?;
    }
    let mut child = with_limit(heirloom.original_nofile, || command.spawn());
    if child.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EMFILE)) {
        // Then its children start with a higher limit than they should: far better than without a keeper.
        child = command.spawn();
    }
    for descriptor in &passed {
        rustix::io::fcntl_setfd(descriptor.as_fd(), FdFlags::CLOEXEC)?;
    }
    Ok((child?, KeeperLink::new(ours)?))
}

/// Which of our arguments says where the cgroups are; see `Settings::to_arguments`.
const CGROUP_ARGUMENT: usize = 5;
/// Orders in a row that fill about half a packet.
const SEND_EARLY: usize = 32;
/// Until the kernel is asked again to take a packet that it had no memory for.
const STARVED_PAUSE: Duration = Duration::from_millis(50);
