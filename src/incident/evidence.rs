//! What was found, as it stands in `evidence.json`. Field names are a promise: tools read them.
//!
//! Times are milliseconds since 1970. Everything has a default, so that what an older or newer mcsup wrote can
//! still be read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::incident::cause::Cause;
use crate::incident::times::Times;

/// What this mcsup writes into `version`.
pub const VERSION: u32 = 1;

/// All that is known of one incident. The first half is captured here, the second half is told by whoever knows
/// units and probes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    pub version: u32,
    pub incident: u64,
    /// Where it began.
    pub unit: String,
    /// `UNIT#ORDINAL:RUN`; empty when no run was concerned.
    pub run: String,
    pub times: Times,
    pub failure: Failure,
    pub exit: Option<Exit>,
    pub usage: Option<Usage>,
    pub captured_millis: u64,
    /// How long capturing took.
    pub took_millis: u64,
    /// What could not be captured, each with why. Empty: all is there.
    pub incomplete: Vec<Missing>,
    pub log: LogTail,
    /// The run's processes, its main one first.
    pub processes: Vec<Process>,
    /// Where those listen.
    pub ports: Vec<Port>,
    /// Others that listen where the unit wants to.
    pub strangers: Vec<Port>,
    pub out_of_memory: OutOfMemory,
    pub control_group: Option<ControlGroup>,
    pub core: Option<Core>,
    pub disks: Vec<Disk>,
    pub memory: Option<Memory>,

    /// The last answers of its probes.
    pub probes: Vec<Answer>,
    /// The host's last ten minutes.
    pub host: Vec<HostSample>,
    pub dependencies: Vec<Neighbour>,
    pub dependents: Vec<Neighbour>,
    /// The last change of the definitions that the unit depends on.
    pub change: Option<Change>,
    /// Its last starts, oldest first.
    pub restarts: Vec<Restart>,
    /// Units that the incident reached, its own left out.
    pub affected: Vec<String>,
    /// What was tried, in order.
    pub rungs: Vec<RungTried>,
    /// Channels that were told of it, and hear when it is over.
    pub alerted: Vec<String>,
    /// What ended it, in a sentence; empty while it is open.
    pub healed_by: String,
    /// The most probable first.
    pub causes: Vec<Cause>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    pub kind: FailureKind,
    /// As people are told: `exited with 1`, `http: connection refused`.
    pub said: String,
    /// Of a start that failed: the step (`exec`, `working directory`, `user`, ...) and the system's number.
    pub step: Option<String>,
    pub errno: Option<i32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Its main process ended.
    Exited,
    /// It could not be started.
    NotStarted,
    /// Its probes fail.
    Unhealthy,
    /// It was not ready in time.
    StartTimeout,
    /// It did not say in time that it lives.
    Watchdog,
    /// A unit that it needs is in trouble.
    Dependency,
    #[default]
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exit {
    pub code: Option<u8>,
    pub signal: Option<u8>,
    pub dumped_core: bool,
    /// mcsup sent that signal.
    pub is_ours: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub user_micros: u64,
    pub system_micros: u64,
    pub most_memory_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missing {
    pub what: String,
    pub why: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogTail {
    /// Oldest first; also in `log.txt`.
    pub lines: Vec<String>,
    /// So many of the last lines were written by this run. `None`: nobody can tell.
    pub of_run: Option<usize>,
    /// There is more that found no room.
    pub is_cut: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub name: String,
    pub command: String,
    /// As the kernel abbreviates it: `R`, `S`, `D` (waits for a device), `T` (stopped), `Z`.
    pub state: String,
    pub memory_bytes: u64,
    pub open_files: Option<u32>,
    pub threads: Vec<Thread>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thread {
    pub id: i32,
    pub state: String,
    /// The function of the kernel that it waits in; empty when it runs, or may not be seen.
    pub waits_in: String,
    /// Innermost first; root alone may see it.
    pub stack: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Port {
    /// `tcp`, `tcp6`, `udp`, `udp6`, `unix`.
    pub protocol: String,
    /// `127.0.0.1:6379`, or a path.
    pub address: String,
    /// 0 of a path.
    pub port: u16,
    /// `None`: its owner may not be seen from here.
    pub pid: Option<i32>,
    pub process: String,
    /// Of which unit's run that process is; empty when it is none of ours.
    pub unit: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutOfMemory {
    pub verdict: OomVerdict,
    /// What it was seen in: `cgroup`, `kernel log`.
    pub source: String,
    pub text: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OomVerdict {
    /// The kernel killed it for want of memory.
    Killed,
    /// The kernel keeps a record of that, and has none.
    NotKilled,
    /// There is no record to look at.
    #[default]
    Unknown,
}

/// Of the run's main process, while that lived.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControlGroup {
    pub path: String,
    /// mcsup is in it too: what it counts may be about others.
    pub is_shared: bool,
    /// What it counted since it was made, as `memory.events` names it: `oom_kill`, `max`, ...
    pub events: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Core {
    /// `/proc/sys/kernel/core_pattern`.
    pub pattern: String,
    /// `None`: not found, or handed to a program.
    pub path: Option<String>,
    pub size_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// What is kept there: `log`, `state`, `working directory`.
    pub what: String,
    pub path: String,
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Files that can still be made; `None` where the file system does not count them.
    pub free_files: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub available_bytes: u64,
    pub total_bytes: u64,
    /// Share of the last ten seconds in which somebody waited for memory, in percent.
    pub pressure: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub at_millis: u64,
    /// `http`, `tcp`, ...
    pub probe: String,
    /// `pass`, `fail`, `error`.
    pub verdict: String,
    pub said: String,
    pub took_micros: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostSample {
    pub at_millis: u64,
    pub cpu_percent: f64,
    pub memory_percent: f64,
    pub load: Option<f64>,
    pub cpu_pressure: Option<f64>,
    pub memory_pressure: Option<f64>,
    pub io_pressure: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    pub unit: String,
    /// As `status` names it: `ready`, `unhealthy`, `failed`, ...
    pub state: String,
    pub reason: String,
    /// Since when it is in that state.
    pub since_millis: u64,
    /// It should be up.
    pub is_wanted: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Change {
    pub at_millis: u64,
    /// `command of redis`, `file units/redis.yaml`
    pub what: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restart {
    pub at_millis: u64,
    pub ordinal: u32,
    pub why: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RungTried {
    pub at_millis: u64,
    /// Whose ladder it is of.
    pub unit: String,
    /// `restart`, `exec /usr/bin/repair`, ...
    pub rung: String,
    /// `helped`, `did not help`, ...; of an alert `handed on`, then `told`; empty while it is not known.
    pub outcome: String,
}

impl Evidence {
    pub fn is_complete(&self) -> bool {
        self.incomplete.is_empty()
    }
}

impl LogTail {
    /// What this run said, or all there is where nobody can tell.
    pub fn own_lines(&self) -> &[String] {
        let from = self.of_run.map_or(0, |count| self.lines.len().saturating_sub(count));
        self.lines.get(from..).unwrap_or_default()
    }
}
