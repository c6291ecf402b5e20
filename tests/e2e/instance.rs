//! One `mcsup up` with its own home, watched from outside, and ended with everything it started.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes on a busy machine; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) dir: PathBuf,
    up: Option<Child>,
}

/// One look at the status of everything.
#[derive(Clone, Debug)]
pub(crate) struct Look(pub(crate) Value);

impl Look {
    pub(crate) fn unit(&self, name: &str) -> &Value {
        let units = self.0["units"].as_array().expect("units");
        units.iter().find(|unit| unit["name"] == name).unwrap_or(&Value::Null)
    }

    pub(crate) fn is(&self, name: &str, state: &str) -> bool {
        self.unit(name)["state"] == state
    }

    pub(crate) fn pid(&self, name: &str) -> u32 {
        let pid = self.unit(name)["pid"].as_u64().unwrap_or_else(|| panic!("{name} has a pid: {}", self.0));
        u32::try_from(pid).expect("a pid")
    }

    pub(crate) fn reason(&self, name: &str) -> &str {
        self.unit(name)["reason"].as_str().unwrap_or_default()
    }
}

impl Instance {
    /// A home with these unit files; nothing runs yet.
    pub(crate) fn new(test: &str, units: &[(&str, &str)]) -> Self {
        // By process, so that two runs of these tests at once do not share a home.
        let name = format!("e2e-{}-{test}", std::process::id());
        Self::at(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), units)
    }

    /// The same in a directory of the caller's choice.
    pub(crate) fn at(dir: PathBuf, units: &[(&str, &str)]) -> Self {
        drop(fs::remove_dir_all(&dir));
        let instance = Self { dir, up: None };
        fs::create_dir_all(instance.dir.join("units")).expect("a home");
        for (name, text) in units {
            instance.write(name, text);
        }
        instance
    }

    /// The same, running, and every unit settled.
    pub(crate) fn booted(test: &str, units: &[(&str, &str)]) -> Self {
        let mut instance = Self::new(test, units);
        instance.up();
        instance.wait("booted", |look| look.0["booted"] == true);
        instance
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.join("units").join(format!("{name}.yaml")), text).expect("a unit file");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(crate) fn up(&mut self) {
        self.up_by(&mut mcsup(&self.dir));
    }

    /// `command` has to end in being `mcsup`, to which ` up` is added.
    pub(crate) fn up_by(&mut self, command: &mut Command) {
        let output = File::options().create(true).append(true).open(self.path("up.log")).expect("a log");
        let child = command
            .arg("up")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a descriptor"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("mcsup up");
        self.started(child);
    }

    /// `up` was started in some other way.
    pub(crate) fn started(&mut self, up: Child) {
        self.up = Some(up);
    }

    /// What `mcsup up` printed so far.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(self.path("up.log")).unwrap_or_default()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        mcsup(&self.dir).args(arguments).stdin(Stdio::null()).output().expect("mcsup")
    }

    /// A command that has to be done when it comes back.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mcsup {arguments:?}: {}\n{text}{error}", output.status);
        text
    }

    pub(crate) fn look(&self) -> Option<Look> {
        let output = self.run(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok().map(Look)
    }

    /// The first look that meets the condition.
    pub(crate) fn wait(&self, what: &str, condition: impl Fn(&Look) -> bool) -> Look {
        let mut last = None;
        let found = eventually(|| {
            last = self.look();
            last.clone().filter(|look| condition(look))
        });
        found.unwrap_or_else(|| panic!("not {what}: {last:#?}\n{}", self.printed()))
    }

    pub(crate) fn wait_for_line(&self, text: &str) {
        let found = eventually(|| self.printed().contains(text).then_some(()));
        assert!(found.is_some(), "`{text}` was not printed:\n{}", self.printed());
    }

    /// The process that `mcsup up` became.
    pub(crate) fn keeper(&self) -> u32 {
        self.up.as_ref().expect("it is up").id()
    }

    pub(crate) fn supervisor(&self) -> u32 {
        let found = eventually(|| self.ring("__supervisor"));
        found.expect("a supervisor")
    }

    /// The live process of this home with this hidden verb. A fork that has not become its program yet has the
    /// words of the ring that made it: it is the child of one that has them too or, where that died, still bears
    /// the name of the keeper's thread.
    pub(crate) fn ring(&self, verb: &str) -> Option<u32> {
        let mut alike = pids();
        alike.retain(|pid| {
            let line = command_line(*pid);
            line.get(1).is_some_and(|word| word == verb)
                && line.iter().any(|word| Path::new(word).starts_with(&self.dir))
        });
        alike.iter().copied().find(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent =
                stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            parent.is_some_and(|parent| !alike.contains(&parent)) && !stat.contains("(spawner)")
        })
    }

    /// Kills the supervisor, and comes back when the keeper has started the next one.
    pub(crate) fn lose_supervisor(&self) {
        let supervisor = self.supervisor();
        kill(supervisor);
        let back = eventually(|| self.ring("__supervisor").filter(|pid| *pid != supervisor));
        assert!(back.is_some(), "no supervisor comes back:\n{}", self.printed());
    }

    /// Kills keeper and supervisor, as when the power fails: both are stopped first, as whichever outlived the
    /// other for a moment would start it again. A process that is ending has no words left to be known by, and
    /// still holds the lock: each is waited for by its number.
    pub(crate) fn lose_both_rings(&self) {
        let mut killed: Vec<u32> = Vec::new();
        let gone = eventually(|| {
            let rings: Vec<u32> =
                ["__keeper", "__supervisor"].into_iter().filter_map(|ring| self.ring(ring)).collect();
            for word in [rustix::process::Signal::STOP, rustix::process::Signal::KILL] {
                rings.iter().for_each(|pid| signal(*pid, word));
            }
            killed.extend(&rings);
            (rings.is_empty() && !killed.iter().any(|pid| is_alive(*pid))).then_some(())
        });
        assert!(gone.is_some(), "both rings are dead:\n{}", self.printed());
    }

    /// The keeper that the supervisor talks to: it signs the lock with its name once it said hello.
    pub(crate) fn holder(&self) -> Option<u32> {
        fs::read_to_string(self.path("state/lock")).ok()?.trim().parse().ok()
    }

    /// The status that `mcsup up` ended with.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut up = self.up.take().expect("it was up");
        let status = eventually(|| up.try_wait().expect("a child"));
        if status.is_none() {
            self.up = Some(up);
        }
        status.unwrap_or_else(|| panic!("mcsup up did not end:\n{}", self.printed()))
    }

    /// Every live process of the units, whoever knows of it: they all work in the units directory.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let works_here =
            |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(&self.dir));
        pids().into_iter().filter(|pid| works_here(pid) && is_alive(*pid)).collect()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The supervisor first, or it would bring a killed keeper back. Each by its own number.
        for _ in 0..50 {
            let rings = [self.ring("__supervisor"), self.ring("__keeper")];
            for pid in rings.into_iter().flatten() {
                signal(pid, rustix::process::Signal::KILL);
            }
            for pid in self.processes() {
                signal(pid, rustix::process::Signal::KILL);
            }
            if let Some(up) = &mut self.up {
                drop(up.kill());
                drop(up.wait());
            }
            if rings == [None, None] && self.processes().is_empty() {
                break;
            }
        }
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
pub(crate) fn mcsup(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcsup"));
    command.env("MCSUP_HOME", home);
    command
}

/// A program of the test's own, ended when the value goes.
#[derive(Debug)]
pub(crate) struct Stranger(pub(crate) Child);

impl Stranger {
    #[expect(clippy::disallowed_methods, reason = "a process that is none of mcsup's")]
    pub(crate) fn new() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().expect("sleep"))
    }

    #[expect(clippy::disallowed_methods, reason = "a process that is none of mcsup's")]
    pub(crate) fn with_environment(name: &str, value: &str) -> Self {
        Self(Command::new("sleep").arg("1000").env(name, value).spawn().expect("sleep"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    // Gone already is as good.
    let _sent = rustix::process::kill_process(pid, signal);
}

pub(crate) fn kill(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// Lives, and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Field 22 of its stat.
pub(crate) fn start_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a live process");
    let fields = stat.rsplit(')').next().expect("fields");
    fields.split_whitespace().nth(19).and_then(|text| text.parse().ok()).expect("a start time")
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn command_line(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Looks again and again until there is something to see, or patience ends.
#[expect(clippy::disallowed_methods, reason = "the deadline of a test")]
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        // Between two looks, so that looking does not starve what is looked at.
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[expect(clippy::disallowed_methods, reason = "how long something took is the claim")]
pub(crate) fn timed<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = act();
    (result, began.elapsed())
}
