//! Control groups: whoever hides from its process group, its session and its environment is still found.

use std::fs;
use std::path::{Path, PathBuf};

use crate::instance::{Instance, eventually, is_alive, kill, mcsup};

/// A child that nothing but its group tells whose it is, whatever it is told: it writes down its number.
const HIDES: &str = "command: [sh, -c, 'setsid env -i sh -c \"trap : TERM; echo \\$\\$ > hidden; while :; do sleep 1; done\" & exec sleep 1000']\nstop: {grace: 500ms}\n";

/// An instance that uses groups; what is left of them goes after it, as its rings are killed.
struct Grouped {
    instance: Instance,
    _groups: Groups,
}

impl Grouped {
    fn booted(test: &str, units: &[(&str, &str)]) -> Self {
        let mut instance = Instance::new(test, units);
        let mut command = mcsup(&instance.dir);
        instance.up_by(command.env("MCSUP_CGROUPS", "always"));
        instance.wait("booted", |look| look.0["booted"] == true);
        let groups = Groups(base(&instance));
        Self { instance, _groups: groups }
    }
}

impl std::ops::Deref for Grouped {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        &self.instance
    }
}

impl std::ops::DerefMut for Grouped {
    fn deref_mut(&mut self) -> &mut Instance {
        &mut self.instance
    }
}

/// This one, with all below it.
struct Groups(PathBuf);

impl Drop for Groups {
    fn drop(&mut self) {
        let gone = eventually(|| {
            remove(&self.0);
            (!self.0.exists()).then_some(())
        });
        assert!(gone.is_some() || std::thread::panicking(), "{} is left", self.0.display());
    }
}

fn remove(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove(&entry.path());
    }
    // Not yet, while somebody in it is on the way out.
    drop(fs::remove_dir(group));
}

fn base(instance: &Instance) -> PathBuf {
    let look = instance.look().expect("a status");
    look.0["cgroups"]["path"].as_str().unwrap_or_else(|| panic!("{}", look.0)).into()
}

fn hidden(instance: &Instance) -> u32 {
    let file = instance.path("units/hidden");
    let pid = eventually(|| fs::read_to_string(&file).ok()?.trim().parse().ok());
    pid.unwrap_or_else(|| panic!("nobody hides:\n{}", instance.printed()))
}

fn group_of(pid: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

#[track_caller]
fn assert_gone(pid: u32, instance: &Instance) {
    let gone = eventually(|| (!is_alive(pid)).then_some(()));
    assert!(gone.is_some(), "{pid} lives on:\n{}", instance.printed());
}

#[test]
fn a_stop_ends_whoever_hides_and_is_over_when_the_group_is_empty() {
    let instance = Grouped::booted("group-stop", &[("it", HIDES)]);
    let pid = hidden(&instance);
    assert!(group_of(pid).contains("/u-it/r-"), "{}", group_of(pid));
    assert!(is_alive(pid));
    instance.done(&["stop", "it"]);
    assert!(!is_alive(pid), "it is over, and one of it lives:\n{}", instance.printed());
    let left = fs::read_dir(base(&instance).join("u-it")).expect("its group").flatten();
    let runs: Vec<_> = left.filter(|entry| entry.path().is_dir()).collect();
    assert!(runs.is_empty(), "{runs:?}");
}

#[test]
fn both_rings_have_a_group_of_their_own_and_nothing_is_left_of_any_at_the_end() {
    let mut instance = Grouped::booted("group-rings", &[("it", HIDES)]);
    let base = base(&instance);
    assert!(group_of(instance.keeper()).ends_with("/mcsup"));
    assert!(group_of(instance.supervisor()).ends_with("/mcsup"));
    let pid = hidden(&instance);
    instance.done(&["shutdown"]);
    assert!(instance.ended().success());
    assert!(!is_alive(pid));
    assert!(!base.exists(), "{} is left", base.display());
}

#[test]
fn a_run_whose_first_process_ended_is_not_over_while_somebody_hides() {
    let leaves = HIDES.replace("exec sleep 1000", "sleep 0.2; exit 3");
    let instance = Grouped::booted("group-leader", &[("it", &format!("{leaves}restart: never\n"))]);
    let pid = hidden(&instance);
    instance.wait("failed", |look| look.is("it", "failed"));
    assert!(!is_alive(pid), "it has failed, and one of it lives:\n{}", instance.printed());
}

#[test]
fn the_keeper_after_one_that_died_finds_the_groups_again() {
    let instance = Grouped::booted("group-heir", &[("it", HIDES)]);
    let pid = hidden(&instance);
    let keeper = instance.holder().expect("a keeper");
    kill(keeper);
    let next = eventually(|| instance.holder().filter(|pid| *pid != keeper));
    assert!(next.is_some(), "no keeper follows:\n{}", instance.printed());
    instance.wait("taken over", |look| look.is("it", "ready"));
    assert!(is_alive(pid));
    instance.done(&["stop", "it"]);
    assert_gone(pid, &instance);
}

#[test]
fn a_supervisor_that_died_finds_the_groups_again() {
    let instance = Grouped::booted("group-ring", &[("it", HIDES)]);
    let pid = hidden(&instance);
    instance.lose_supervisor();
    instance.wait("taken over", |look| look.is("it", "ready"));
    instance.done(&["restart", "it"]);
    assert_gone(pid, &instance);
    let look = instance.look().expect("a status");
    assert_eq!(look.0["cgroups"]["used"], true, "{}", look.0);
}

#[test]
fn what_a_unit_uses_is_shown() {
    let busy = "command: [sh, -c, 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 1000']\n";
    let instance = Grouped::booted("group-used", &[("it", busy)]);
    let used = eventually(|| {
        let output = instance.run(&["status", "--used", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        status["units"][0]["used"]["cpu_us"].as_u64().filter(|used| *used > 10_000)
    });
    assert!(used.is_some(), "{:?}", instance.look());
    let text = instance.done(&["status", "--used"]);
    assert!(text.contains("cgroups") && text.contains("MEMORY"), "{text}");
    let text = instance.done(&["status", "it"]);
    assert!(text.contains("uses") && text.contains("of processors"), "{text}");
}

#[test]
fn where_there_are_none_status_says_why_and_a_limit_that_must_hold_starts_nothing() {
    let limited = "command: [sleep, '1000']\nlimits: {memory: 64M}\n";
    let required =
        "kind: task\ncommand: [true]\nlimits: {memory: 64M, tasks: 9, required: true}\nrestart: never\n";
    let mut instance = Instance::new("group-none", &[("may", limited), ("must", required)]);
    let mut command = mcsup(&instance.dir);
    instance.up_by(command.env("MCSUP_CGROUPS", "never"));
    let look = instance.wait("refused", |look| look.is("must", "failed") && look.is("may", "ready"));
    let reason = look.reason("must");
    assert!(
        reason.contains("cgroup: limits.memory, limits.tasks cannot be enforced here: no cgroups"),
        "{reason}"
    );
    assert_eq!(look.0["cgroups"]["used"], false);
    assert!(
        look.0["cgroups"]["text"].as_str().is_some_and(|text| text.contains("switched off")),
        "{}",
        look.0
    );
    let text = String::from_utf8_lossy(&instance.run(&["status"]).stdout).into_owned();
    assert!(text.contains("no cgroups"), "{text}");
    let text = String::from_utf8_lossy(&instance.run(&["status", "may"]).stdout).into_owned();
    assert!(text.contains("nothing on this machine enforces memory"), "{text}");
    assert!(Path::new(&format!("/proc/{}", look.pid("may"))).exists());
}

/// A group that somebody made for mcsup.
fn delegated(test: &str) -> Groups {
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).expect("cgroup v2");
    let root = Path::new(mount.split(' ').nth(1).expect("a place"));
    let dir = root.join(format!("mcsup-test-{}-{test}", std::process::id()));
    fs::create_dir(&dir).expect("a group");
    Groups(dir)
}

/// The base that an instance chooses which is started in this group, below a delegated one.
#[expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
fn base_when_started_in(test: &str, below: &str) -> (PathBuf, Groups) {
    let delegated = delegated(test);
    let own = delegated.0.join(below);
    fs::create_dir_all(&own).expect("a group");
    let mut instance = Instance::new(test, &[("it", "command: [sleep, '1000']\n")]);
    let mut command = std::process::Command::new("sh");
    let script = format!("echo 0 > {}/cgroup.procs; exec \"$0\" \"$@\"", own.display());
    command.args(["-c", &script, env!("CARGO_BIN_EXE_mcsup")]);
    instance.up_by(command.env("MCSUP_HOME", &instance.dir).env("MCSUP_CGROUPS", "always"));
    let look = instance.wait("booted", |look| look.0["booted"] == true);
    let base = base(&instance);
    let group = group_of(look.pid("it"));
    assert!(base.join(group.rsplit_once("/u-it/").expect("its group").1).starts_with(&base), "{group}");
    assert!(
        group_of(instance.keeper()).ends_with(&format!("{test}/mcsup")),
        "{}",
        group_of(instance.keeper())
    );
    instance.done(&["shutdown"]);
    assert!(instance.ended().success());
    (base, delegated)
}

#[test]
fn a_group_of_its_own_is_the_base_and_so_is_the_one_above_the_rings() {
    let (base, delegated) = base_when_started_in("group-own", "");
    assert_eq!(base, delegated.0);
    let (base, delegated) = base_when_started_in("group-sub", "mcsup");
    assert_eq!(base, delegated.0);
}
