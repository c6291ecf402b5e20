//! A real keeper, with the test in the place of its supervisor.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "shared by test binaries, each of which uses its part; what fails here fails the test"
)]

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mcsup::keeper::link::{Link, Received};
use mcsup::keeper::wire::{Exit, LogOrder, Order, Report, Scope, SpawnOrder, Step, VERSION};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// Longer than anything takes on a loaded machine; reached only by a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

static DIRECTORIES: AtomicU32 = AtomicU32::new(0);

/// Removed with everything in it when dropped.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mcsup-keeper-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        // Units of other users write and look below it.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The instant that a wait gives up.
#[expect(clippy::disallowed_methods, reason = "real processes keep real time")]
pub fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

#[expect(clippy::disallowed_methods, reason = "real processes keep real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Looks again every few milliseconds until `probe` answers.
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = deadline();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(now() < deadline, "{what}: did not happen within {PATIENCE:?}");
        poll(&mut [], Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 3_000_000 })).unwrap();
    }
}

pub struct TestKeeper {
    pub scratch: Scratch,
    process: Child,
    socket: SocketAddrUnix,
    link: Option<Link<Order, Report>>,
    inbox: VecDeque<(Report, Vec<OwnedFd>)>,
}

impl TestKeeper {
    /// A keeper that has said hello and handed over nothing.
    pub fn start() -> Self {
        Self::start_with(&[], &[])
    }

    /// `wrapper`: words before the keeper's own command, which end in its exec.
    pub fn start_with(wrapper: &[&str], arguments: &[&str]) -> Self {
        let mut keeper = Self::start_silent(wrapper, arguments);
        keeper.connect();
        assert_eq!(keeper.handover(), []);
        keeper
    }

    /// A keeper to which nobody is connected.
    pub fn start_silent(wrapper: &[&str], arguments: &[&str]) -> Self {
        Self::start_prepared(wrapper, arguments, |_command| {})
    }

    /// The wrapper finds the test's own directory in `$SCRATCH`.
    pub fn start_prepared(wrapper: &[&str], arguments: &[&str], prepare: impl FnOnce(&mut Command)) -> Self {
        let scratch = Scratch::new();
        let socket = SocketAddrUnix::new(scratch.path("link")).unwrap();
        let listener =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        bind(&listener, &socket).unwrap();
        listen(&listener, 4).unwrap();
        let mut command = keeper_command(wrapper);
        command
            .args(["--attach-fd", "0"])
            .args(arguments)
            .stdin(Stdio::from(listener))
            .env("SCRATCH", &scratch.0);
        prepare(&mut command);
        let process = command.spawn().unwrap();
        Self { scratch, process, socket, link: None, inbox: VecDeque::new() }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// As a new supervisor; the one before is gone.
    pub fn connect(&mut self) {
        self.disconnect();
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        connect(&socket, &self.socket).unwrap();
        self.link = Some(Link::new(socket).unwrap());
        self.send(&Order::Hello { version: VERSION, pid: std::process::id() });
    }

    pub fn disconnect(&mut self) {
        self.link = None;
        self.inbox.clear();
    }

    pub fn send(&mut self, order: &Order) {
        self.send_with(order, Vec::new());
    }

    pub fn send_with(&mut self, order: &Order, descriptors: Vec<OwnedFd>) {
        self.queue(order, descriptors);
        self.flush();
    }

    pub fn queue(&mut self, order: &Order, descriptors: Vec<OwnedFd>) {
        let descriptors: Vec<Arc<OwnedFd>> = descriptors.into_iter().map(Arc::new).collect();
        self.link.as_mut().unwrap().send(order, &descriptors).unwrap();
    }

    #[track_caller]
    pub fn flush(&mut self) {
        let deadline = deadline();
        while !self.link.as_mut().unwrap().flush().unwrap() {
            assert!(now() < deadline, "the keeper does not read");
            self.receive_within(Duration::from_millis(5));
        }
    }

    /// Sends without ever reading.
    #[track_caller]
    pub fn push(&mut self) {
        let deadline = deadline();
        while !self.link.as_mut().unwrap().flush().unwrap() {
            assert!(now() < deadline, "the keeper does not read");
            poll(&mut [], Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 })).unwrap();
        }
    }

    fn receive_within(&mut self, patience: Duration) {
        let link = self.link.as_mut().unwrap();
        let timeout = rustix::event::Timespec::try_from(patience).unwrap();
        poll(&mut [PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN)], Some(&timeout)).unwrap();
        match link.receive().unwrap() {
            Received::Messages(messages) => self.inbox.extend(messages),
            Received::Nothing => {}
            Received::Closed => panic!("the keeper closed the link"),
        }
    }

    #[track_caller]
    pub fn next_with_descriptors(&mut self) -> (Report, Vec<OwnedFd>) {
        let deadline = deadline();
        loop {
            match self.inbox.pop_front() {
                // Comes beside other news, whenever the machine had orphans.
                Some((Report::Strangers { .. }, _)) => continue,
                Some((Report::Ping { number }, _)) => {
                    self.send(&Order::Pong { number });
                    continue;
                }
                Some(next) => return next,
                None => {}
            }
            assert!(now() < deadline, "the keeper says nothing");
            self.receive_within(Duration::from_millis(100));
        }
    }

    #[track_caller]
    pub fn next(&mut self) -> Report {
        self.next_with_descriptors().0
    }

    /// The next report, or `None` when the keeper has nothing to say before it answers a ping.
    #[track_caller]
    pub fn next_before_pong(&mut self) -> Option<Report> {
        self.send(&Order::Ping { number: u64::MAX });
        match self.next() {
            Report::Pong { number: u64::MAX } => None,
            other => {
                self.until(|report| matches!(report, Report::Pong { number: u64::MAX }));
                Some(other)
            }
        }
    }

    /// Whatever is said until nothing was said for this long.
    pub fn all_within(&mut self, quiet: Duration) -> Vec<Report> {
        let mut reports = Vec::new();
        let mut end = now() + quiet;
        while now() < end {
            self.receive_within(Duration::from_millis(20));
            while let Some((report, _)) = self.inbox.pop_front() {
                if !matches!(report, Report::Strangers { .. }) {
                    reports.push(report);
                    end = now() + quiet;
                }
            }
        }
        reports
    }

    /// Reports up to and with the first that is wanted.
    #[track_caller]
    pub fn until(&mut self, mut is_wanted: impl FnMut(&Report) -> bool) -> Vec<Report> {
        let mut reports = Vec::new();
        loop {
            reports.push(self.next());
            if is_wanted(reports.last().unwrap()) {
                return reports;
            }
        }
    }

    /// What comes between the keeper's hello and its "handed over".
    #[track_caller]
    pub fn handover(&mut self) -> Vec<Report> {
        let mut reports = self.until(|report| matches!(report, Report::HandedOver { .. }));
        assert!(matches!(reports.first(), Some(Report::Hello { .. })), "{reports:?}");
        reports.remove(0);
        reports.pop();
        reports
    }

    /// Orders a run and waits for its process; the pid.
    #[track_caller]
    pub fn spawn(&mut self, order: SpawnOrder) -> i32 {
        let run = order.run;
        self.send(&Order::Spawn(Box::new(order)));
        match self.next() {
            Report::Spawned { run: spawned, pid, .. } if spawned == run => i32::try_from(pid).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn spawn_failure(&mut self, order: SpawnOrder) -> (Step, i32) {
        let run = order.run;
        self.send(&Order::Spawn(Box::new(order)));
        match self.next() {
            Report::SpawnFailed { run: failed, step, errno } if failed == run => (step, errno),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn exit_of(&mut self, run: u64) -> (Exit, bool) {
        match self.next() {
            Report::Exited { run: ended, exit, is_empty, .. } if ended == run => (exit, is_empty),
            other => panic!("{other:?}"),
        }
    }

    pub fn kill(&mut self, run: u64) {
        self.send(&Order::Signal { run, signal: 9, scope: Scope::All });
    }

    pub fn signal_keeper(&self, signal: i32) {
        let signal = nix::sys::signal::Signal::try_from(signal).unwrap();
        nix::sys::signal::kill(self.nix_pid(), signal).unwrap();
    }

    fn nix_pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).unwrap())
    }

    /// Waits until the keeper has ended.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let process = &mut self.process;
        eventually("the keeper ends", || process.try_wait().unwrap())
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    pub fn log(&self, unit: &str) -> LogOrder {
        let dir = self.scratch.path("log").join(unit);
        LogOrder {
            dir: bytes(&dir).into(),
            max_size_bytes: 10 << 20,
            max_age_ms: 0,
            keep: 5,
            block_when_full: false,
            kept: None,
        }
    }

    pub fn current_log(&self, unit: &str) -> Vec<u8> {
        fs::read(self.scratch.path("log").join(unit).join("current")).unwrap_or_default()
    }
}

impl TestKeeper {
    /// Its runs go on without it.
    pub fn kill_keeper(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.disconnect();
    }
}

/// A keeper that was started by its supervisor, which is this test.
pub struct AdoptedLink {
    process: Child,
    link: Link<Order, Report>,
    inbox: VecDeque<(Report, Vec<OwnedFd>)>,
}

impl AdoptedLink {
    pub fn start() -> Self {
        let mut adopted = Self::start_prepared(|_command| {});
        adopted.send_with(&Order::Hello { version: VERSION, pid: 0 }, Vec::new());
        assert!(matches!(adopted.next(), Report::Hello { .. }));
        assert!(matches!(adopted.next(), Report::HandedOver { .. }));
        adopted
    }

    /// Nothing was said yet.
    pub fn start_prepared(prepare: impl FnOnce(&mut Command)) -> Self {
        let (ours, theirs) = mcsup::keeper::link::pair().unwrap();
        let mut command = keeper_command(&[]);
        command.args(["--adopt-link-fd", "0"]).stdin(Stdio::from(theirs));
        prepare(&mut command);
        let process = command.spawn().unwrap();
        drop(command);
        Self { process, link: Link::new(ours).unwrap(), inbox: VecDeque::new() }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn queue(&mut self, order: &Order) {
        self.link.send(order, &[]).unwrap();
    }

    pub fn send_with(&mut self, order: &Order, descriptors: Vec<OwnedFd>) {
        let descriptors: Vec<Arc<OwnedFd>> = descriptors.into_iter().map(Arc::new).collect();
        self.link.send(order, &descriptors).unwrap();
        assert!(self.link.flush().unwrap());
    }

    #[track_caller]
    pub fn next(&mut self) -> Report {
        let deadline = deadline();
        loop {
            if let Some((report, _)) = self.inbox.pop_front() {
                return report;
            }
            assert!(now() < deadline, "the keeper says nothing");
            let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            poll(&mut [PollFd::from_borrowed_fd(self.link.as_fd(), PollFlags::IN)], Some(&tick)).unwrap();
            match self.link.receive().unwrap() {
                Received::Messages(messages) => self.inbox.extend(messages),
                Received::Nothing => {}
                Received::Closed => panic!("the keeper closed the link"),
            }
        }
    }
}

impl Drop for AdoptedLink {
    fn drop(&mut self) {
        self.link.send(&Order::Quit { code: 0 }, &[]).ok();
        self.link.send(&Order::Quit { code: 0 }, &[]).ok();
        self.link.flush().ok();
        let deadline = now() + Duration::from_secs(10);
        while now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
            poll(&mut [], Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 3_000_000 })).ok();
        }
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for TestKeeper {
    /// Whatever the test left running goes with its keeper.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let link = self.link.take().or_else(|| {
                let flags = SocketFlags::CLOEXEC;
                let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
                connect(&socket, &self.socket).ok()?;
                Link::new(socket).ok()
            });
            if let Some(mut link) = link {
                // Twice: at once.
                link.send(&Order::Quit { code: 0 }, &[]).ok();
                link.send(&Order::Quit { code: 0 }, &[]).ok();
                link.flush().ok();
                let deadline = now() + Duration::from_secs(10);
                while now() < deadline && matches!(self.process.try_wait(), Ok(None)) {
                    poll(&mut [], Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 3_000_000 })).ok();
                    // Make room for it to say whatever it still wants to.
                    link.receive().ok();
                }
            }
        }
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "the keeper itself must be started by somebody")]
pub fn keeper_command(wrapper: &[&str]) -> Command {
    let own = env!("CARGO_BIN_EXE_mcsup");
    let mut words = wrapper.iter().copied().chain([own]);
    let mut command = Command::new(words.next().unwrap_or(own));
    command.args(words).arg(mcsup::keeper::VERB);
    command
}

pub fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}

/// `sh -c SCRIPT` as run `run` of unit `test`.
pub fn shell(run: u64, script: &str) -> SpawnOrder {
    SpawnOrder {
        run,
        unit: "test".into(),
        ordinal: 1,
        program: b"/bin/sh".to_vec(),
        argv: [b"sh".as_slice(), b"-c", script.as_bytes()].map(<[u8]>::to_vec).to_vec(),
        env: vec![b"PATH=/usr/bin:/bin".to_vec()],
        working_dir: b"/".to_vec(),
        ..SpawnOrder::default()
    }
}

pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Words that give what follows a mount namespace of its own, for whoever runs the tests.
pub fn own_mounts() -> Vec<&'static str> {
    if is_root() { vec!["unshare", "-m"] } else { vec!["unshare", "-Urm"] }
}

/// Words that make what follows process 1 of a machine of its own.
pub fn own_machine() -> Vec<&'static str> {
    let words = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let user = if is_root() { vec!["unshare"] } else { vec!["unshare", "-Ur"] };
    user.into_iter().chain(words).collect()
}
