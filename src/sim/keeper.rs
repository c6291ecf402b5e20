//! What the virtual keeper holds: the table of runs and the notes. It outlives every engine.

use std::collections::BTreeMap;

use crate::engine::effect::{Note, SignalScope};
use crate::engine::event::{ExitStatus, HandedCondition, HandedRun, Handover, Notes, SpawnFailure};
use crate::engine::id::{RunId, UnitId};
use crate::engine::time::Timestamp;
use crate::sim::actor::Leftover;
use crate::unit::spec::{Ready, SignalNumber, UnitSet};

/// The truth about what lives on the virtual host.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub rows: BTreeMap<RunId, Row>,
    /// Ever given, also to a unit of which nothing is remembered any more.
    pub highest_run: u64,
    pub notes: Notes,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub unit: UnitId,
    pub ordinal: u32,
    pub spawned_at: Timestamp,
    pub stage: Stage,
    /// What the leader left and is still there.
    pub leftover: Option<Leftover>,
    /// Signals that came before exec; they take effect after it.
    pub early_signals: Vec<(SignalNumber, SignalScope)>,
    /// A SIGKILL that an uninterruptible sleep holds back.
    pub held_kill: Option<SignalScope>,
    /// It showed that it is ready.
    pub is_ready_shown: bool,
    /// The supervisor reads its log for the line that shows it.
    pub is_line_watched: bool,
    /// Nobody asks for its end any more; it is forgotten when it is over.
    pub is_released: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    Spawning,
    Live { exec_at: Timestamp },
    FailedToSpawn(SpawnFailure),
    Exited(ExitStatus),
}

impl Row {
    pub fn is_leader_live(&self) -> bool {
        self.exec_at().is_some()
    }

    pub fn exec_at(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Live { exec_at } => Some(exec_at),
            Stage::Spawning | Stage::FailedToSpawn(_) | Stage::Exited(_) => None,
        }
    }

    /// Nothing of the run is left, or ever was.
    pub fn is_over(&self) -> bool {
        match self.stage {
            Stage::Spawning | Stage::Live { .. } => false,
            Stage::FailedToSpawn(_) => true,
            Stage::Exited(_) => self.leftover.is_none(),
        }
    }
}

/// The pid of a run: never looked at by anybody, shown only.
pub fn pid(run: RunId) -> u32 {
    u32::try_from(run.0).unwrap_or(u32::MAX).saturating_add(1000)
}

impl Table {
    pub fn remember(&mut self, set: &UnitSet, note: Note) {
        match note {
            Note::Boot(note) => self.notes.boot = Some(note),
            Note::Incident(number, None) => {
                self.notes.incidents.remove(&number);
            }
            Note::Incident(number, Some(note)) => {
                self.notes.incidents.insert(number, *note);
            }
            Note::Gone(name) => {
                self.notes.units.remove(&name);
            }
            Note::Change(note) => self.notes.change = note,
            Note::Unit(unit, note) => {
                if let Some(spec) = set.unit(unit) {
                    self.notes.units.insert(spec.name.clone(), *note);
                }
            }
        }
    }

    /// The newest run of the unit that is not over.
    pub fn live_run(&self, unit: UnitId) -> Option<RunId> {
        self.rows.iter().rev().find(|(_, row)| row.unit == unit && !row.is_over()).map(|(run, _)| *run)
    }

    /// Forgets the run when it is over, at once or later, without another word about it.
    pub fn release(&mut self, run: RunId) {
        if let Some(row) = self.rows.get_mut(&run) {
            row.is_released = true;
        }
        self.forget_if_over(run);
    }

    /// Whether the run is forgotten now.
    pub fn forget_if_over(&mut self, run: RunId) -> bool {
        let is_forgotten = self.rows.get(&run).is_some_and(|row| row.is_released && row.is_over());
        if is_forgotten {
            self.rows.remove(&run);
        }
        is_forgotten
    }

    pub fn live_count(&self) -> usize {
        self.rows.values().filter(|row| !row.is_over()).count()
    }

    pub fn handover(&self, set: &UnitSet) -> Handover {
        let hand = |(run, row): (&RunId, &Row)| {
            Some(HandedRun {
                run: *run,
                unit: set.unit(row.unit)?.name.clone(),
                ordinal: row.ordinal,
                spawned_at: row.spawned_at,
                // A line of its log is for who reads it: the keeper does not.
                is_ready_shown: row.is_ready_shown
                    && !matches!(set.unit(row.unit).map(|spec| &spec.ready), Some(Ready::Log(_))),
                condition: match &row.stage {
                    Stage::Spawning => HandedCondition::Spawning,
                    Stage::Live { .. } => HandedCondition::Live { pid: pid(*run) },
                    Stage::FailedToSpawn(failure) => HandedCondition::FailedToSpawn(failure.clone()),
                    Stage::Exited(exit) => {
                        HandedCondition::Exited { exit: *exit, is_empty: row.leftover.is_none() }
                    }
                },
            })
        };
        Handover {
            runs: self.rows.iter().filter(|(_, row)| !row.is_released).filter_map(hand).collect(),
            first_run: self.highest_run.saturating_add(1),
            last_incident: 0,
            notes: self.notes.clone(),
            jobs: BTreeMap::new(),
            change: None,
        }
    }
}
