//! The rows. Times are milliseconds since 1970; a time that has not come is `None`.

use serde::{Deserialize, Serialize};

/// What is handed in. A row with a known key replaces the one before, so that a change is told by telling all.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Key: `id`.
    Incident(IncidentRow),
    /// It was another one's all along: its row goes, its facts are the other's.
    Merged {
        from: u64,
        into: u64,
    },
    Fact(FactRow),
    /// Key: unit, ordinal and start.
    Run(RunRow),
    /// Key: unit, ordinal, beginning and verdict.
    JobRun(JobRunRow),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentRow {
    pub id: u64,
    /// The unit that it began with; none for the boot's own.
    pub root: Option<String>,
    /// When the trouble began, as far as anybody can tell.
    pub started_millis: u64,
    pub detected_millis: u64,
    pub recovered_millis: Option<u64>,
    /// In the order in which they joined, the root left out.
    pub affected: Vec<String>,
    /// What was seen, in a sentence.
    pub failure: String,
    /// The most probable cause, in a sentence; empty when there is none.
    pub cause: String,
    /// What healed it, or that it was given up; empty while it is open.
    pub verdict: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactRow {
    pub at_millis: u64,
    pub unit: Option<String>,
    pub incident: Option<u64>,
    /// A word: `state`, `incident`, `rung`, ...
    pub kind: String,
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    pub unit: String,
    pub ordinal: u32,
    pub started_millis: u64,
    pub ended_millis: Option<u64>,
    /// `exited with 1`; empty while it lives.
    pub exit: String,
    pub user_micros: u64,
    pub system_micros: u64,
    pub most_memory_bytes: u64,
}

/// How a run of a job went, or that there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRunRow {
    pub unit: String,
    /// 0: there was no run.
    pub ordinal: u32,
    /// Tells rows without a run apart, which several may have in one millisecond. Default 0, as for every run.
    #[serde(default)]
    pub serial: u64,
    /// `its schedule`, `a person`, ...
    pub trigger: String,
    pub began_millis: u64,
    pub ended_millis: u64,
    /// `exited with 1`; empty where there was no process.
    pub exit: String,
    /// `passed`, `rejected`, `failed`, `timed-out`, `not-judged`, `cancelled`, `missed` or `skipped`.
    pub verdict: String,
    /// What was found; empty where all is well.
    pub why: String,
    /// The number under which its output is kept, for as long as there is room.
    pub kept: Option<u64>,
}

/// Sums over the incidents of a span of time. `None`: there was none to take it of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub incidents: u64,
    pub open: u64,
    /// Time to detect: detected - started.
    pub mttd_mean_millis: Option<u64>,
    pub mttd_median_millis: Option<u64>,
    /// Time to recover: recovered - started, of those that did.
    pub mttr_mean_millis: Option<u64>,
    pub mttr_median_millis: Option<u64>,
}
