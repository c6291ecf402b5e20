//! The shapes of the API: stable field names, read by the command line and by people's scripts.
//!
//! They borrow where they are written from the supervisor's own tables, so that the status of a
//! thousand units is one serialisation and no copy.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::changes::dto::{ChangeUnderWay, Pending};

/// The whole machine at one instant.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Status<'a> {
    /// Number of the kept content of the units directory that is in force; null while none could be kept.
    pub generation: Option<u64>,
    /// How the units directory differs from that, or what is becoming of a change, in a sentence; left out where it
    /// says the same.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Cow<'a, str>>,
    /// The change under way; left out where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<ChangeUnderWay>,
    /// What waits for approval, oldest first; left out where nothing does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// Every phase is open and the last one has settled.
    pub booted: bool,
    /// The last phase whose barrier is open.
    #[serde(borrow)]
    pub phase: Cow<'a, str>,
    /// `normal`, or why mcsup holds back.
    #[serde(borrow)]
    pub guard: Cow<'a, str>,
    /// A shutdown is under way.
    pub stopping: bool,
    /// Spells of trouble that are not over.
    pub open_incidents: u32,
    /// How the processes of a unit are known, ended and limited.
    #[serde(default)]
    pub cgroups: Cgroups,
    /// Boot order of the phases.
    #[serde(borrow)]
    pub phases: Vec<Cow<'a, str>>,
    /// By name.
    #[serde(borrow)]
    pub units: Vec<Unit<'a>>,
}

/// Whether each unit has a control group (version 2).
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Cgroups {
    /// False: a unit's processes are known by their process group, and by what their environment says.
    pub used: bool,
    /// Where they are; null where there are none.
    pub path: Option<String>,
    /// Which of `memory`, `cpu` and `tasks` can be limited.
    pub limits: Vec<String>,
    /// The same in words, with the reason where there are none.
    pub text: String,
}

/// What the processes of a unit together use. Null: not counted here.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Used {
    /// Processor time of all its runs since mcsup was started, in microseconds.
    pub cpu_us: Option<u64>,
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
}

/// One unit as people see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Unit<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// `service` or `task`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub phase: Cow<'a, str>,
    /// `inactive`, `waiting`, `starting`, `ready`, `unhealthy`, `stopping`, `backoff`, `failed` or `completed`.
    #[serde(borrow)]
    pub state: Cow<'a, str>,
    /// `up` or `down`.
    #[serde(borrow)]
    pub desired: Cow<'a, str>,
    /// Why it is in this state, in a sentence for a person; never empty.
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// Of its main process.
    pub pid: Option<u32>,
    /// When it entered its state, in RFC 3339.
    #[serde(borrow)]
    pub since: Cow<'a, str>,
    /// Starts after the first, in this boot.
    pub restarts: u32,
    /// `passing`, `failing` or `unknown`; null for a unit without a probe.
    #[serde(borrow)]
    pub health: Option<Cow<'a, str>>,
    /// How its last run ended; null while there is none.
    #[serde(borrow)]
    pub last_exit: Option<LastExit<'a>>,
    /// A change to it waits for approval.
    pub protected: bool,
    /// Number of its open incident.
    pub incident: Option<u64>,
    /// It is lazy and waits for a connection, which is where it should be; left out where it is not so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listening: bool,
    /// What its run says of itself, by the notify protocol; left out where it says nothing.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub says: Option<Cow<'a, str>>,
    /// Left out where nobody asked for it, or where the unit has no control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
}

/// How a run ended. At most one of `code` and `signal` is known.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LastExit<'a> {
    pub code: Option<u8>,
    /// Such as `SIGKILL`.
    #[serde(borrow)]
    pub signal: Option<Cow<'a, str>>,
    pub dumped_core: bool,
    /// The same in words: `exited with 1`.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

/// The units that a name means, by name: one, or all replicas and instances.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UnitDetails<'a> {
    #[serde(borrow)]
    pub units: Vec<UnitDetail<'a>>,
}

/// Everything that is known of one unit.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UnitDetail<'a> {
    #[serde(borrow)]
    pub status: Unit<'a>,
    pub description: Option<String>,
    /// Program and arguments as the unit file has them, variables not yet replaced.
    pub command: Vec<String>,
    pub user: Option<String>,
    pub enabled: bool,
    pub essential: bool,
    pub depends_on: Vec<Dependency>,
    /// Names of the units that depend on this one.
    pub dependents: Vec<String>,
    pub conflicts: Vec<String>,
    /// Where people read what to do.
    pub runbook: Option<String>,
    pub labels: Vec<Label>,
    /// Which of its `limits` nothing on this machine enforces; left out where all hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unenforced: Vec<String>,
    /// The number after the `#` of its last run; 0 before the first.
    pub run: u32,
    /// Its last events, oldest first; at most 10.
    pub recent: Vec<Event>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Dependency {
    pub unit: String,
    /// `started`, `healthy` or `completed`.
    pub condition: String,
    pub required: bool,
    /// `none`, `restart` or `stop`.
    pub follow: String,
    /// The state of the unit depended on.
    pub state: String,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Label {
    pub name: String,
    pub value: String,
}

/// Why each of the units that a name means is in its state.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Whys {
    pub units: Vec<Why>,
}

/// What explains a unit's state, the unit itself first, the cause last.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Why {
    pub unit: String,
    pub chain: Vec<WhyLink>,
    /// Number of the open incident that explains it.
    #[serde(default)]
    pub incident: Option<u64>,
    /// What probably caused that incident; null while nobody knows.
    #[serde(default)]
    pub cause: Option<ProbableCause>,
}

/// A guess, with the fact that it rests on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProbableCause {
    /// Such as `port_in_use`.
    pub rule: String,
    /// A rank from 0 to 100, no probability.
    pub score: u8,
    pub text: String,
    pub rests_on: String,
}

/// Spells of trouble, the newest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Incidents {
    pub incidents: Vec<Incident>,
    /// Over all of that span, whatever else was asked for.
    pub times: IncidentTimes,
    /// Why some may be missing from the list; empty when none is.
    pub gap: String,
}

/// How long it took to notice and to mend. Null: there was none to take it of.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct IncidentTimes {
    pub incidents: u64,
    pub open: u64,
    pub mttd_mean_ms: Option<u64>,
    pub mttd_median_ms: Option<u64>,
    pub mttr_mean_ms: Option<u64>,
    pub mttr_median_ms: Option<u64>,
}

/// One spell of trouble.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    pub id: u64,
    /// It is not over.
    pub open: bool,
    /// Where it began; null for the boot's own.
    pub unit: Option<String>,
    /// When the trouble began, as far as anybody can tell, in RFC 3339.
    pub started: String,
    pub detected: String,
    pub recovered: Option<String>,
    /// The other units that it reached.
    pub affected: Vec<String>,
    /// What was seen.
    pub failure: String,
    /// The most probable cause; empty when none was found.
    pub cause: String,
    /// What ended it, or that it was given up; empty while it is tried.
    pub verdict: String,
}

/// All that is kept of one incident.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct IncidentDetail {
    pub incident: Incident,
    /// Where its files are.
    pub directory: String,
    /// The most probable first.
    pub causes: Vec<ProbableCause>,
    /// What could not be captured, each with why.
    pub missing: Vec<String>,
    /// Oldest first.
    pub timeline: Vec<Moment>,
    /// As in `evidence.json`; null when none is kept.
    pub evidence: Option<serde_json::Value>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    pub at: String,
    pub unit: Option<String>,
    /// Such as `opened`, `state`, `probe`, `rung`, `evidence` or `closed`.
    pub kind: String,
    pub text: String,
}

/// For each of the units that a name means, whom it reaches.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Impacts {
    pub units: Vec<UnitImpact>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UnitImpact {
    pub unit: String,
    /// All that depends on it, directly or through others, the nearest first.
    pub reaches: Vec<Reached>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Reached {
    pub unit: String,
    /// The unit that it depends on itself.
    pub through: String,
    /// `started`, `healthy` or `completed`.
    pub condition: String,
    /// Every edge of the way requires.
    pub required: bool,
    /// `none`, `restart` or `stop`.
    pub follow: String,
    /// 1: directly.
    pub distance: u32,
    pub phase: String,
    pub state: String,
    /// Such as `99.95%`.
    pub slo: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WhyLink {
    pub unit: String,
    pub state: String,
    pub text: String,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// From 1, never reused in a boot. Of a `lagged` event: the number of the last event sent before.
    pub number: u64,
    /// In RFC 3339.
    pub at: String,
    /// `state-changed`, `health-changed`, `run-ended`, `phase-opened`, `booted`, `phase-held`,
    /// `incident-opened`, `incident-joined`, `incident-merged`, `incident-left`, `incident-closed`,
    /// `evidence-incomplete`, `rung-tried`, `rung-repeated`, `rung-ended`, `status-told`, `unkillable`, `adopted`, `request-served`,
    /// `shutdown-began`, `bug-found`, `change-began`, `change-in-force`, `change-waits-to-be-confirmed`, `change-failed`,
    /// `change-ended`, `alert-failed`, `alert-delivered`, `alert-given-up`, `announced` or `lagged`.
    pub kind: String,
    pub unit: Option<String>,
    /// In words.
    pub text: String,
    /// Of `state-changed`: the state before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of `state-changed`: the state after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Of what belongs to an incident.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<u64>,
    /// Of `lagged`: how many events this client will never see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
}

/// How to carry out an action on the unit that the path names.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionOptions {
    /// Answer only when it is done. Default true.
    #[serde(default)]
    pub wait: Option<bool>,
    /// Of `stop`: leave the dependents alone. Default false.
    #[serde(default)]
    pub only: Option<bool>,
    /// Of `kill`: such as `SIGHUP`. Default SIGKILL.
    #[serde(default)]
    pub signal: Option<String>,
}

/// An action on several units at once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    pub action: Verb,
    pub units: Vec<String>,
    /// Answer only when it is done. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<bool>,
    /// Of `stop`: leave the dependents alone. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<bool>,
    /// Of `kill`: such as `SIGHUP`. Default SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    Start,
    Stop,
    Restart,
    /// Runs jobs once; the lines tell the verdicts.
    Run,
    /// A signal to every process of the units' runs.
    Kill,
}

/// All jobs, by name.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Jobs {
    pub jobs: Vec<Job>,
}

/// The jobs that a name means, with their last runs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobDetails {
    pub jobs: Vec<JobDetail>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobDetail {
    pub job: Job,
    /// The newest first.
    pub runs: Vec<JobRun>,
}

/// One job as people see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    pub name: String,
    /// Of its unit: `ready` is armed, `unhealthy` that its last run did not pass.
    pub state: String,
    /// Why, in a sentence.
    pub reason: String,
    /// Its schedules in words; empty when it has none.
    pub schedule: String,
    /// The zone of its schedules.
    pub zone: String,
    pub every_ms: Option<u64>,
    /// Of its last run: `passed`, `rejected`, `failed`, `timed-out`, `not-judged`, `cancelled` or `missed`; null
    /// before the first.
    pub verdict: Option<String>,
    /// The same with what was found.
    pub said: Option<String>,
    /// So many runs in a row passed, or did not.
    pub streak: u32,
    /// Null when none is remembered.
    pub last: Option<JobRun>,
    /// The next slot of its schedules, in RFC 3339.
    pub next: Option<String>,
    /// The numbers of the runs that are not over.
    pub running: Vec<u32>,
    /// Runs that wait for their turn.
    pub waiting: u64,
}

/// How a run went, or that there was none.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobRun {
    /// The number after the `#`; null where nothing ran.
    pub run: Option<u32>,
    /// What started it: `its schedule`, `its interval`, `a person`, ...
    pub trigger: String,
    pub began: String,
    pub took_ms: u64,
    /// `exited with 1`; empty where there was no process.
    pub exit: String,
    /// As of a job, and `skipped`.
    pub verdict: String,
    /// What was found; empty where all is well.
    pub why: String,
    /// Its output is kept under this number of `STATE/output/JOB/runs`.
    pub kept: Option<u64>,
}

/// What came of an action.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// False: some of it did not come well, and the lines say which.
    pub well: bool,
    /// One for each unit asked for, and one for each unit touched besides.
    pub lines: Vec<OutcomeLine>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OutcomeLine {
    pub unit: String,
    pub well: bool,
    pub text: String,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShutdownOptions {
    /// The status with which mcsup ends. Default 0.
    #[serde(default)]
    pub exit_code: Option<u8>,
    /// Kill everything at once instead of stopping it in order. Default false.
    #[serde(default)]
    pub now: Option<bool>,
    /// What becomes of the machine afterwards. Only where mcsup is process 1; where left out, a machine is switched
    /// off, and a container ends.
    #[serde(default)]
    pub machine: Option<MachineEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachineEnd {
    Reboot,
    #[serde(rename = "poweroff")]
    PowerOff,
    Halt,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Pong {
    /// Always `mcsup`.
    pub name: String,
    pub version: String,
    /// Of the supervisor.
    pub pid: u32,
}

/// An error, as RFC 9457 has it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// A URN that names the kind of problem and never changes its meaning.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The names that were probably meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nearest: Vec<String>,
    /// Of units that cannot be used: what is wrong with them, as `mcsup check` shows it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diagnostics: String,
}
