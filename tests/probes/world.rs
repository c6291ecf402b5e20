//! Servers that end with the test, and one way to ask.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mcsup::engine::event::Verdict;
use mcsup::probe::question::Question;
use mcsup::probe::{Clock, Prober};
use mcsup::unit::spec::probe::{Address, Target};

/// Longer than anything here takes on a busy machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// For questions that are answered.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "tests ask by the clocks of the machine")]
pub(crate) const CLOCK: Clock = Clock {
    steady: || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).expect("below a second"))
    },
    wall: || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970"),
};

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

pub(crate) fn ask(question: Question) -> Verdict {
    ask_within(LIMIT, question)
}

pub(crate) fn ask_within(limit: Duration, question: Question) -> Verdict {
    runtime().block_on(Prober::default().ask(question, limit, CLOCK))
}

pub(crate) fn words(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Pass(words) | Verdict::Fail(words) | Verdict::Error(words) => words,
    }
}

#[track_caller]
pub(crate) fn passes(verdict: &Verdict, with: &str) {
    assert!(
        matches!(verdict, Verdict::Pass(words) if words.contains(with)),
        "{verdict:?}, wanted a pass: {with}"
    );
}

#[track_caller]
pub(crate) fn fails(verdict: &Verdict, with: &str) {
    assert!(
        matches!(verdict, Verdict::Fail(words) if words.contains(with)),
        "{verdict:?}, wanted a fail: {with}"
    );
}

#[track_caller]
pub(crate) fn errs(verdict: &Verdict, with: &str) {
    assert!(
        matches!(verdict, Verdict::Error(words) if words.contains(with)),
        "{verdict:?}, wanted an error: {with}"
    );
}

pub(crate) fn tcp(port: u16) -> Target {
    Target::Tcp(Address { host: "127.0.0.1".into(), port })
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// A directory that is gone after the test. Under /tmp, as the path of a socket has to be short.
#[derive(Debug)]
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mcsup-probes-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).expect("a file");
        self.path(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A program that is killed with its group at the end.
#[derive(Debug)]
pub(crate) struct Program(pub(crate) Child);

#[expect(clippy::disallowed_methods, reason = "the servers that are asked")]
pub(crate) fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null());
    command
}

impl Program {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        let log = fs::File::create(log).expect("a log");
        let output = log.try_clone().expect("a descriptor");
        let child = command.stdout(output).stderr(log).process_group(0).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("a signal to a program of ours");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        // All of it may have ended by itself.
        rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).ok();
        drop(self.0.wait());
    }
}

/// Runs to its end, which has to be a good one.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Looks until it is so.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a deadline, and a pause between looks")]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10)); // between looks
    }
}

pub(crate) fn listens(port: u16) {
    eventually("somebody listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// True in a process of this test's own, which the first call starts: what is counted or limited there is
/// nobody else's.
pub(crate) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "MCSUP_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let this = std::env::current_exe().expect("this test");
    let said = run(command(&this.display().to_string()).args(["--exact", test]).env(ALONE, "1"));
    assert!(said.contains("1 passed"), "{said}");
    false
}
