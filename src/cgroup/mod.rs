//! Control groups, version 2: one for each unit, and in it one for each of its runs. A leaf, so that both rings mean the
//! same files: whoever starts, the keeper that spawns and kills, the supervisor that limits and reads.
//!
//! ```text
//! BASE/                      our own group, or one made for this instance beside those who are in ours
//!   mcsup/                   both rings: a group with controllers holds no processes itself
//!   u-NAME/                  the unit: its limits and what it used
//!     r-RUN/                 one run: empty means over, and one write kills all of it
//! ```
#![cfg_attr(
    not(test),
    deny(
        clippy::panic,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// Where both rings are, below the base.
const RINGS: &str = "mcsup";
/// A base that was made because others are in our group begins so.
const OWN_BASE: &str = "mcsup-";
const UNIT: &str = "u-";
const RUN: &str = "r-";
const PROCESSES: &str = "cgroup.procs";
const EVENTS: &str = "cgroup.events";
const SUBTREE: &str = "cgroup.subtree_control";
/// Directories that may lie below one of ours, for whoever runs a supervisor of its own in there.
const MOST_DEPTH: u32 = 16;

/// Whether to use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Where version 2 stands alone. Beside version 1 it has no controllers, and what is left is not worth two
    /// directories for each start.
    #[default]
    Auto,
    /// Wherever there is one that we may write.
    Always,
    Never,
}

impl Choice {
    /// As a command line says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }
    }
}

/// What can be limited and measured in the groups of units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    pub memory: bool,
    pub cpu: bool,
    pub tasks: bool,
}

/// What a unit has used, or uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// By all its runs since the group was made, in microseconds.
    pub cpu_us: Option<u64>,
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
}

/// Finds or makes the base, and moves this process into the rings' group. Before there are threads or children.
/// `instance`: tells supervisors apart that share a group.
///
/// # Errors
/// With the reason in words why there is none: runs are then known by their process groups.
pub fn settle(choice: Choice, instance: u64) -> Result<PathBuf, String> {
    if choice == Choice::Never {
        return Err("switched off by --cgroups never".to_owned());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own_directory(&mounts, &groups).ok_or("no cgroup v2 is mounted here")?;
    if choice == Choice::Auto && has_version_1(&mounts) {
        return Err("cgroup v2 stands beside version 1 here, without controllers".to_owned());
    }
    settle_in(&own, instance)
}

fn settle_in(own: &Path, instance: u64) -> Result<PathBuf, String> {
    let is_root = !own.join(EVENTS).exists();
    // Put there by who started us, as systemd does with `DelegateSubgroup=mcsup`.
    let is_rings = own.file_name().is_some_and(|name| name == RINGS);
    let above = own.parent().filter(|above| is_rings && above.join(EVENTS).exists() && is_without(above));
    let base = match above {
        Some(above) => above.to_path_buf(),
        None if !is_root && is_alone_in(own) => own.to_path_buf(),
        None => own.join(format!("{OWN_BASE}{instance:0NUMBER_DIGITS$x}")),
    };
    let rings = base.join(RINGS);
    let made = made(&base).and_then(|()| made(&rings));
    let moved = made.and_then(|()| write(&rings.join(PROCESSES), &std::process::id().to_string()));
    moved.map_err(|error| format!("{} is not ours to write: {error}", own.display()))?;
    if base.parent() == Some(own) {
        enable_all(own);
    }
    enable_all(&base);
    remove_empty(&base);
    Ok(base)
}

/// Whatever of it the kernel grants; a group with other processes in it gets none.
fn enable_all(group: &Path) {
    let available = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_ascii_whitespace().filter(|one| ["cpu", "memory", "pids"].contains(one))
    {
        write(&group.join(SUBTREE), &format!("+{controller}")).ok();
    }
}

/// Nobody is in it, but for groups below it.
fn is_without(group: &Path) -> bool {
    fs::read_to_string(group.join(PROCESSES)).is_ok_and(|pids| pids.trim().is_empty())
}

fn is_alone_in(group: &Path) -> bool {
    let own = std::process::id().to_string();
    fs::read_to_string(group.join(PROCESSES)).is_ok_and(|pids| pids.trim() == own)
}

/// The directory of this process's group, as far as it can be seen from here.
fn own_directory(mounts: &str, groups: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let own = own.strip_suffix(" (deleted)").unwrap_or(own);
    let mount = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.split(' ').next() == Some("cgroup2")).then(|| (unescaped(root), unescaped(point)))
    };
    mounts.lines().filter_map(mount).find_map(|(root, point)| {
        let below = Path::new(own).strip_prefix(&root).ok()?;
        let is_seen = below.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        is_seen.then(|| Path::new(&point).join(below))
    })
}

/// `\040` and the like, as mountinfo writes blanks.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

fn has_version_1(mounts: &str) -> bool {
    mounts
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .any(|(_, kind)| kind.split(' ').next() == Some("cgroup"))
}

/// At the very end: a base that was made for us is taken away again. One that was given to us stays.
pub fn leave(base: &Path) {
    remove_empty(base);
    let Some(parent) = base.parent().filter(|_| is_made_by_us(base)) else { return };
    if write(&parent.join(PROCESSES), &std::process::id().to_string()).is_ok() {
        fs::remove_dir(base.join(RINGS)).ok();
        fs::remove_dir(base).ok();
    }
}

fn is_made_by_us(base: &Path) -> bool {
    let name = base.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let number = name.strip_prefix(OWN_BASE).unwrap_or_default();
    number.len() == NUMBER_DIGITS && number.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Of the number of an instance.
const NUMBER_DIGITS: usize = 16;

/// Groups of units that nobody is in any more, left over from one that was killed.
fn remove_empty(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(UNIT) {
            remove(&entry.path());
        }
    }
}

/// A group with all groups below it; what has processes stays.
pub(crate) fn remove(group: &Path) {
    remove_to(group, MOST_DEPTH);
}

fn remove_to(group: &Path, depth: u32) {
    if fs::remove_dir(group).is_ok() || depth == 0 {
        return;
    }
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_to(&entry.path(), depth.saturating_sub(1));
        }
    }
    fs::remove_dir(group).ok();
}

pub fn unit_directory(base: &Path, unit: &str) -> PathBuf {
    base.join(format!("{UNIT}{unit}"))
}

pub(crate) fn run_directory(base: &Path, unit: &str, run: u64) -> PathBuf {
    unit_directory(base, unit).join(format!("{RUN}{run}"))
}

/// There from now on, with these settings of the unit.
///
/// # Errors
/// When it cannot be made, or the kernel refuses a setting.
pub(crate) fn prepare(unit: &Path, run: &Path, settings: &[(String, String)]) -> io::Result<()> {
    made(unit)?;
    for (file, value) in settings {
        write(&unit.join(file), value)?;
    }
    made(run)
}

fn made(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// In one write, as the kernel wants it; the file is there, or nothing is.
pub(crate) fn write(file: &Path, value: &str) -> io::Result<()> {
    File::options().write(true).open(file)?.write_all(value.as_bytes())
}

/// Whether anybody lives in a group, and a descriptor that tells when that changes.
#[derive(Debug)]
pub(crate) struct Events(File);

impl Events {
    pub(crate) fn open(group: &Path) -> io::Result<Self> {
        File::open(group.join(EVENTS)).map(Self)
    }

    /// False too when the group is gone.
    pub(crate) fn is_populated(&self) -> bool {
        let mut file = &self.0;
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        read.is_ok() && text.lines().any(|line| line == "populated 1")
    }

    /// Becomes urgent (`EPOLLPRI`) when what it says has changed since it was last read.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// All that are in the group itself.
pub(crate) fn members(group: &Path) -> Vec<i32> {
    let pids = fs::read_to_string(group.join(PROCESSES)).unwrap_or_default();
    pids.lines().filter_map(|pid| pid.parse().ok()).collect()
}

/// SIGKILL to all that are in it or below; false before Linux 5.14.
pub(crate) fn kill(group: &Path) -> bool {
    write(&group.join("cgroup.kill"), "1").is_ok()
}

impl Controllers {
    pub fn of(base: &Path) -> Self {
        let enabled = fs::read_to_string(base.join(SUBTREE)).unwrap_or_default();
        let has = |controller: &str| enabled.split_ascii_whitespace().any(|one| one == controller);
        Self { memory: has("memory"), cpu: has("cpu"), tasks: has("pids") }
    }
}

/// `None` is `max`.
pub(crate) fn memory_setting(bytes: Option<u64>) -> (String, String) {
    ("memory.max".to_owned(), bytes.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string()))
}

/// In thousandths of one processor.
pub(crate) fn cpu_setting(permille: Option<u32>) -> (String, String) {
    let share = permille.map(|permille| u64::from(permille).saturating_mul(PERIOD_US / 1000).to_string());
    ("cpu.max".to_owned(), format!("{} {PERIOD_US}", share.as_deref().unwrap_or("max")))
}

/// As the kernel has it when nobody says otherwise.
const PERIOD_US: u64 = 100_000;

pub(crate) fn tasks_setting(tasks: Option<u64>) -> (String, String) {
    ("pids.max".to_owned(), tasks.map_or_else(|| "max".to_owned(), |tasks| tasks.to_string()))
}

pub fn used(unit: &Path) -> Used {
    let number = |file: &str| fs::read_to_string(unit.join(file)).ok()?.trim().parse().ok();
    Used {
        cpu_us: entry(&unit.join("cpu.stat"), "usage_usec"),
        memory_bytes: number("memory.current"),
        tasks: number("pids.current"),
    }
}

/// How often the kernel has killed somebody in there for memory; `None` where it does not count.
pub fn oom_kills(unit: &Path) -> Option<u64> {
    entry(&unit.join("memory.events"), "oom_kill")
}

fn entry(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";

    #[test]
    fn our_group_is_where_version_2_is_mounted() {
        let own = own_directory(HYBRID, "9:pids:/x\n0::/a.slice/b.service\n");
        assert_eq!(own, Some("/sys/fs/cgroup/unified/a.slice/b.service".into()));
        let container = "40 39 0:30 /docker/1f /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(own_directory(container, "0::/docker/1f/x\n"), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(own_directory(container, "0::/elsewhere\n"), None, "not to be seen from here");
        assert_eq!(own_directory(container, "0::/../out\n"), None);
        assert_eq!(own_directory("1 0 8:1 / / rw - ext4 /dev/vda rw\n", "0::/\n"), None);
        let blank = "40 39 0:30 / /my\\040groups rw - cgroup2 none rw\n";
        assert_eq!(own_directory(blank, "0::/\n"), Some("/my groups".into()));
    }

    #[test]
    fn version_1_beside_it_is_seen() {
        assert!(has_version_1(HYBRID));
        assert!(!has_version_1("40 39 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"));
    }

    #[test]
    fn limits_are_written_as_the_kernel_reads_them() {
        let written = |(file, value): (String, String)| format!("{file}={value}");
        assert_eq!(written(memory_setting(Some(64 << 20))), "memory.max=67108864");
        assert_eq!(written(memory_setting(None)), "memory.max=max");
        assert_eq!(written(cpu_setting(Some(1500))), "cpu.max=150000 100000");
        assert_eq!(written(cpu_setting(Some(10))), "cpu.max=1000 100000");
        assert_eq!(written(cpu_setting(None)), "cpu.max=max 100000");
        assert_eq!(written(tasks_setting(Some(7))), "pids.max=7");
    }

    #[test]
    fn only_what_was_made_for_us_is_taken_away_again() {
        assert!(is_made_by_us(Path::new("/sys/fs/cgroup/mcsup-00ff7bf0ae9f6e03")));
        for other in
            ["/sys/fs/cgroup/mcsup-test", "/sys/fs/cgroup/mcsup.service", "/sys/fs/cgroup/mcsup-00ff"]
        {
            assert!(!is_made_by_us(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn an_entry_is_found_by_its_whole_name() {
        let file = std::env::temp_dir().join(format!("mcsup-cgroup-entry-{}", std::process::id()));
        fs::write(&file, "oom 3\noom_kill 2\noom_group_kill 1\n").unwrap();
        assert_eq!(entry(&file, "oom_kill"), Some(2));
        assert_eq!(entry(&file, "oom_group_kill"), Some(1));
        assert_eq!(entry(&file, "high"), None);
        fs::remove_file(&file).unwrap();
    }
}
