//! What probably caused it: rules over the evidence, the most probable first, each with the fact that it rests on.
//!
//! Pure. A score is a rank and no probability: it orders the rules by how directly their fact explains a failure.
//! What the kernel or the definition says outright comes before what a program says of itself, that before what
//! merely coincides.

mod host;
mod says;
mod around;

use serde::{Deserialize, Serialize};

use crate::incident::evidence::Evidence;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    pub rule: Rule,
    /// 0 to 100.
    pub score: u8,
    /// For people, without a full stop.
    pub sentence: String,
    /// What it rests on, as it was found.
    pub fact: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    ExecutableMissing,
    Permission,
    OutOfMemory,
    PortInUse,
    Stopped,
    DiskFull,
    DependencyDown,
    Authentication,
    Crashed,
    Killed,
    KilledByOperator,
    ConfigurationChanged,
    RepeatedError,
    Timeout,
    ExitAfterStart,
}

/// The most probable first; equal scores in the order of the rules.
pub fn rank(evidence: &Evidence) -> Vec<Cause> {
    let rules: [fn(&Evidence) -> Option<Cause>; 15] = [
        host::executable_missing,
        says::permission,
        host::out_of_memory,
        host::port_in_use,
        host::stopped,
        says::disk_full,
        around::dependency_down,
        says::authentication,
        host::crashed,
        host::killed,
        host::killed_by_operator,
        around::configuration_changed,
        says::repeated_error,
        around::timeout,
        around::exit_after_start,
    ];
    let mut causes: Vec<Cause> = rules.iter().filter_map(|rule| rule(evidence)).collect();
    causes.sort_by_key(|cause| (std::cmp::Reverse(cause.score), cause.rule));
    causes
}

fn cause(rule: Rule, score: u8, sentence: impl Into<String>, fact: impl Into<String>) -> Option<Cause> {
    Some(Cause { rule, score, sentence: sentence.into(), fact: fact.into() })
}

/// A name and, if it is known, the pid.
fn who(process: &str, pid: Option<i32>) -> String {
    match (process, pid) {
        ("", Some(pid)) => format!("pid {pid}"),
        ("", None) => "somebody who may not be seen from here".to_owned(),
        (name, Some(pid)) => format!("{name} (pid {pid})"),
        (name, None) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
