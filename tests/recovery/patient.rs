//! A real server as a unit, and what is known of it after it was broken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mcsup::incident::cause::Rule;
use mcsup::incident::evidence::Evidence;
use mcsup::incident::store::{Keep, Moment, Store};
use rustix::process::Signal;

use crate::instance::{Instance, Look, eventually, kill, mcsup, signal};
use crate::namespace::up_with_mounts;
use crate::place::public_home;

/// What every unit here is probed by.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_millis(300);
const RETRIES: u32 = 3;
/// What a busy machine may take besides.
const SLACK: Duration = Duration::from_millis(500);

/// The lines of every unit's `health`, besides its question.
pub(crate) const HEALTH: &str =
    "{interval: 500ms, timeout: 300ms, retries: 3, start_period: 20s, start_interval: 100ms}";

/// Longest time from a fault that only probes can see until it is detected.
pub(crate) fn by_probes() -> Duration {
    INTERVAL * RETRIES + TIMEOUT + SLACK
}

/// The same for an end, which the kernel tells.
pub(crate) const BY_EXIT: Duration = SLACK;

/// How long a slow start takes: `MCSUP_SLOW`, in seconds.
pub(crate) fn slow_start() -> Duration {
    let told = std::env::var("MCSUP_SLOW").ok();
    Duration::from_secs(told.map_or(5, |text| text.parse().expect("MCSUP_SLOW is a number of seconds")))
}

/// An instance with one unit that is about to suffer.
#[derive(Debug)]
pub(crate) struct Patient {
    pub(crate) instance: Instance,
    pub(crate) unit: &'static str,
    pub(crate) port: u16,
}

/// An instant of the wall clock, in milliseconds since 1970, as evidence has it.
pub(crate) type Millis = u64;

#[expect(clippy::disallowed_methods, reason = "when a test broke something is half of the claim")]
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("not that late")
}

/// Something broke between these two.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) from: Millis,
    pub(crate) until: Millis,
}

/// Breaks something, and says when.
pub(crate) fn broken(breaks: impl FnOnce()) -> Fault {
    let from = now();
    breaks();
    Fault { from, until: now() }
}

impl Patient {
    pub(crate) fn new(test: &str, unit: &'static str, port: u16) -> Self {
        let instance = Instance::at(public_home(&format!("recovery-{test}")), &[]);
        let patient = Self { instance, unit, port };
        fs::create_dir(patient.path("witness")).expect("a directory");
        patient.write("start.sh", &START.replace("HOME", &patient.home()));
        patient
    }

    pub(crate) fn home(&self) -> String {
        self.instance.dir.display().to_string()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.instance.path(name)
    }

    /// A program of the test's own in its home.
    pub(crate) fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(self.path(name), text).expect("a file");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).expect("permissions");
    }

    /// `command: [...]` of a server that first looks at the evidence, then becomes its own user where it can.
    pub(crate) fn command(&self, user: &str, words: &[&str]) -> String {
        let start = self.path("start.sh").display().to_string();
        let become_user = become_user(user);
        let all = std::iter::once(start.as_str())
            .chain(become_user.iter().map(String::as_str))
            .chain(words.iter().copied());
        let quoted: Vec<String> = all.map(|word| format!("{word:?}")).collect();
        format!("command: [{}]\n", quoted.join(", "))
    }

    /// A directory of the server's own.
    pub(crate) fn data(&self, user: &str) -> PathBuf {
        let data = self.path("data");
        fs::create_dir_all(&data).expect("a directory");
        own(&data, user);
        data
    }

    pub(crate) fn boot(&mut self) {
        self.boot_by(|instance| instance.up_by(&mut mcsup(&instance.dir.clone())));
    }

    /// By a command that ends in being `mcsup`.
    pub(crate) fn boot_with(&mut self, up: &mut Command) {
        self.boot_by(|instance| instance.up_by(up));
    }

    /// With `data` on a disk of its own, so large.
    pub(crate) fn boot_on_small_disk(&mut self, mounts: &str) {
        self.boot_by(|instance| up_with_mounts(instance, mounts));
    }

    fn boot_by(&mut self, up: impl FnOnce(&mut Instance)) {
        up(&mut self.instance);
        let look = self.instance.wait("booted", |look| look.0["booted"] == true);
        assert!(look.is(self.unit, "ready"), "{look:?}\n{}", self.instance.printed());
        assert_eq!(self.numbers(), [0_u64; 0], "nothing is wrong yet");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.instance.look().expect("a status").pid(self.unit)
    }

    fn store(&self) -> Store {
        Store::new(self.path("state/incidents"), Keep::default())
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.store().list().expect("a list of incidents")
    }

    /// All that is kept of the incident that is the unit's own.
    pub(crate) fn incident(&self) -> (Evidence, Vec<Moment>) {
        let found = eventually(|| own_of(&self.store(), self.unit));
        found.unwrap_or_else(|| panic!("no incident:\n{}", self.instance.printed()))
    }

    /// Detected in time, whole, and with the right cause first.
    #[track_caller]
    pub(crate) fn assert_detected(&self, fault: Fault, within: Duration, rule: Rule) -> Evidence {
        let (evidence, _) = self.incident();
        let detected = evidence.times.detected_millis;
        let latest = fault.until + u64::try_from(within.as_millis()).expect("a short time");
        assert!(
            (fault.from..=latest).contains(&detected),
            "{fault:?}, detected at {detected}, wanted by {latest}\n{evidence:#?}\n{}",
            self.instance.printed()
        );
        self.assert_whole(&evidence, rule);
        evidence
    }

    /// The same of what is not ours to look into.
    #[track_caller]
    pub(crate) fn assert_noticed(&self, fault: Fault, within: Duration) {
        let (evidence, _) = self.incident();
        let latest = fault.until + u64::try_from(within.as_millis()).expect("a short time");
        let detected = evidence.times.detected_millis;
        assert!((fault.from..=latest).contains(&detected), "{fault:?}, detected at {detected}");
        assert!(evidence.is_complete(), "{:?}", evidence.incomplete);
    }

    #[track_caller]
    fn assert_whole(&self, evidence: &Evidence, rule: Rule) {
        assert_eq!(evidence.unit, self.unit, "{evidence:#?}");
        assert!(evidence.is_complete(), "{:?}", evidence.incomplete);
        let first = evidence.causes.first().map(|cause| cause.rule);
        assert_eq!(first, Some(rule), "{evidence:#?}\n{}", self.instance.printed());
    }

    /// What was on the disk when this run, or this repair, began: all of it.
    #[track_caller]
    pub(crate) fn assert_seen_before(&self, run: &str, rule: Rule) -> Evidence {
        let dir = self.path("witness").join(run);
        let at = eventually(|| fs::read_to_string(dir.join("at")).ok()?.trim().parse::<Millis>().ok());
        let at = at.unwrap_or_else(|| panic!("{run} never began:\n{}", self.instance.printed()));
        let kept = own_of(&Store::new(dir, Keep::default()), self.unit);
        let (evidence, _) = kept.unwrap_or_else(|| panic!("nothing was kept before {run} began"));
        assert!(evidence.captured_millis <= at, "captured after {run} began");
        self.assert_whole(&evidence, rule);
        evidence
    }

    /// Works again, in its so-manieth run.
    #[track_caller]
    pub(crate) fn wait_for_run(&self, restarts: u64) -> Look {
        self.instance.wait("healed", |look| {
            look.is(self.unit, "ready") && look.unit(self.unit)["restarts"].as_u64() >= Some(restarts)
        })
    }

    /// Closed, as the only one there ever was.
    #[track_caller]
    pub(crate) fn assert_healed(&self) -> Evidence {
        let closed = eventually(|| {
            let (evidence, moments) = self.incident();
            let is_closed = moments.iter().any(|moment| moment.kind == "closed");
            (is_closed && !evidence.healed_by.is_empty()).then_some(evidence)
        });
        let evidence = closed
            .unwrap_or_else(|| panic!("not closed: {:#?}\n{}", self.incident(), self.instance.printed()));
        assert!(evidence.times.recovered_millis.is_some(), "{evidence:#?}");
        self.assert_one_incident();
        evidence
    }

    /// As people are told who ask for all there ever were.
    #[track_caller]
    pub(crate) fn assert_one_incident(&self) {
        // Its status says whether one is open.
        let listed = self.instance.run(&["incidents", "--json"]).stdout;
        let listed: serde_json::Value = serde_json::from_slice(&listed).expect("JSON");
        let count = listed["incidents"].as_array().map(Vec::len);
        assert_eq!(count, Some(1), "{listed:#}\n{}", self.instance.printed());
    }

    /// What a person is told who asks why.
    #[track_caller]
    pub(crate) fn assert_why(&self, words: &str) {
        let said = String::from_utf8_lossy(&self.instance.run(&["why", self.unit]).stdout).into_owned();
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }

    /// Kills its main process: the kill is the cause, and the next run heals it.
    #[track_caller]
    pub(crate) fn assert_back_after_a_kill(&self) {
        let pid = self.pid();
        let fault = broken(|| kill(pid));
        self.assert_detected(fault, BY_EXIT, Rule::Killed);
        self.wait_for_run(1);
        self.assert_seen_before(&format!("{}#2", self.unit), Rule::Killed);
        self.assert_healed();
    }

    /// Stops its main process, which nothing but a probe can see.
    #[track_caller]
    pub(crate) fn assert_back_after_a_halt(&self) {
        let pid = self.pid();
        let fault = broken(|| signal(pid, Signal::STOP));
        let found = self.assert_detected(fault, by_probes(), Rule::Stopped);
        assert!(found.causes[0].fact.contains(&pid.to_string()), "{:?}", found.causes[0]);
        self.wait_for_run(1);
        self.assert_seen_before(&format!("{}#2", self.unit), Rule::Stopped);
        self.assert_healed();
    }

    /// Ends it all, and nothing is left.
    pub(crate) fn shut_down(mut self) {
        self.instance.done(&["shutdown"]);
        assert_eq!(self.instance.ended().code(), Some(0));
        assert_eq!(self.instance.processes(), [0_u32; 0]);
    }

    /// Ends it while something else is to stay.
    pub(crate) fn shut_down_around(mut self, still: impl FnOnce()) {
        self.instance.done(&["shutdown"]);
        assert_eq!(self.instance.ended().code(), Some(0));
        still();
    }
}

/// What is kept of this unit's incident.
fn own_of(store: &Store, unit: &str) -> Option<(Evidence, Vec<Moment>)> {
    let kept = store.list().ok()?.into_iter().filter_map(|number| store.read(number).ok()?);
    kept.into_iter().find(|(evidence, _)| evidence.unit == unit)
}

/// How a program of this user is begun; nothing but root can be somebody else.
pub(crate) fn become_user(user: &str) -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"].map(ToOwned::to_owned).into()
}

/// The directory is this user's.
pub(crate) fn own(path: &Path, user: &str) {
    if rustix::process::geteuid().is_root() {
        run(command("chown").arg(format!("{user}:")).arg(path));
    }
}

#[expect(clippy::disallowed_methods, reason = "clients of what is tested, and tools")]
pub(crate) fn command(program: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(program);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).stdin(Stdio::null()).current_dir("/");
    command
}

/// Runs to its end, which has to be a good one.
pub(crate) fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{error}", output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// Keeps what is known of earlier trouble when a run begins, and then becomes the server. Slow while there is a file
/// that says so.
const START: &str = r#"#!/bin/sh
to="HOME/witness/${MCSUP_RUN%%:*}"
mkdir -p "$to"
cp -r HOME/state/incidents/. "$to/" 2>/dev/null
date +%s%3N > "$to/at"
if [ -e HOME/slow ]; then sleep "$(cat HOME/slow)"; fi
exec "$@"
"#;
