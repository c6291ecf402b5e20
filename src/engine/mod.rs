//! DECIDE: `step(now, event) -> effects`. No I/O, no clock, no threads, no async.

pub mod event;
pub mod effect;
pub mod id;
pub mod time;
pub mod state;
pub mod status;

use std::sync::Arc;

use crate::engine::effect::Effects;
use crate::engine::event::Event;
use crate::engine::status::{Overview, UnitStatus, WhyLink};
use crate::engine::time::{Now, Timestamp, WallTime};
use crate::unit::spec::{UnitId, UnitSet};

/// What to do on a pair of state and event that must not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BugPolicy {
    /// Tests and simulation.
    Panic,
    /// Production: a "bug" incident; the unit keeps its state.
    Record,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of the jitter: a hash of (seed, unit, attempt), not a stream.
    pub seed: u64,
    pub bug_policy: BugPolicy,
}

/// When the engine next wants `DeadlineReached`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    pub mono: Option<Timestamp>,
    pub wall: Option<WallTime>,
}

#[derive(Debug)]
pub struct Engine {
    set: Arc<UnitSet>,
    options: Options,
}

impl Engine {
    /// Nothing happens before the first event, `KeeperConnected`.
    pub fn new(set: Arc<UnitSet>, options: Options) -> Self {
        Self { set, options }
    }

    /// One event, one pass: observe, propagate, advance, account.
    pub fn step(&mut self, now: Now, event: Event) -> Effects {
        drop((now, event, self.options));
        Effects::default()
    }

    pub fn next_deadlines(&self) -> Deadlines {
        Deadlines::default()
    }

    pub fn set(&self) -> &Arc<UnitSet> {
        &self.set
    }

    pub fn status(&self, unit: UnitId) -> Option<UnitStatus> {
        let _ = unit;
        None
    }

    pub fn overview(&self) -> Option<Overview> {
        None
    }

    /// From the unit down to the cause, through the graph. Never empty for a known unit.
    pub fn why(&self, unit: UnitId) -> Vec<WhyLink> {
        let _ = unit;
        Vec::new()
    }
}
