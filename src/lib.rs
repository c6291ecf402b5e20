//! mcsup: Mission Control for one machine.
//!
//! One event, one pass, no way back inside it:
//!
//! ```text
//!  world -> inbox -> supervisor::run --(now, Event)--> Engine::step
//!                                                        1 observe    drop stale ids; write the fact on one unit; mark it dirty
//!                                                        2 propagate  desired up/down spreads along the graph (queue, no recursion)
//!                                                        3 advance    step dirty units until none is dirty (bounded, asserted)
//!                                                        4 account    incidents, reasons, timers; facts for history
//!  executor <---------- Effects, in order: record before act ---------
//!  every effect that can answer does so later, as a new Event carrying the id it was given
//! ```
//!
//! `unit`, `graph`, `engine` and `sim` are pure and build without the feature `host`.

pub mod unit;
pub mod graph;
pub mod engine;
pub mod sim;

#[cfg(feature = "host")]
mod proc;
#[cfg(feature = "host")]
pub mod cgroup;
#[cfg(feature = "host")]
pub mod init;
#[cfg(feature = "host")]
pub mod keeper;
#[cfg(feature = "host")]
pub mod aside;
#[cfg(feature = "host")]
pub mod expr;
#[cfg(feature = "host")]
pub mod probe;
#[cfg(feature = "host")]
pub mod output;
#[cfg(feature = "host")]
pub mod generation;
#[cfg(feature = "host")]
pub mod guard;
#[cfg(feature = "host")]
pub mod incident;
#[cfg(feature = "host")]
pub mod history;
#[cfg(feature = "host")]
pub mod alert;
#[cfg(feature = "host")]
pub mod log;
#[cfg(feature = "host")]
pub mod supervisor;
#[cfg(feature = "host")]
mod doctor;
#[cfg(feature = "host")]
pub mod api;
#[cfg(feature = "host")]
pub mod cli;
