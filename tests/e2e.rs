//! The real binary in a home of its own: what a person would see.
//!
//! Names that begin with `case_N` are the nasty cases of the field, by their number.

#[path = "e2e/instance.rs"]
mod instance;

#[path = "e2e/boot.rs"]
mod boot;
#[path = "e2e/healing.rs"]
mod healing;
#[path = "e2e/probes.rs"]
mod probes;
#[path = "e2e/survival.rs"]
mod survival;
#[path = "e2e/journal.rs"]
mod journal;
#[path = "e2e/stopping.rs"]
mod stopping;
#[path = "e2e/incidents.rs"]
mod incidents;
#[path = "e2e/alerts.rs"]
mod alerts;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/passed.rs"]
mod passed;
#[path = "e2e/tells.rs"]
mod tells;
#[path = "e2e/above.rs"]
mod above;
#[path = "e2e/jobs.rs"]
mod jobs;
