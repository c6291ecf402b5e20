//! The death of a ring: what is lost with it, and what the other knows afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::event::{Event, ExitStatus, HelperOutcome, Notice, SpawnFailure, SpawnStep};
use crate::engine::id::RunId;
use crate::sim::keeper::{Row, Stage, pid};
use crate::sim::world::{Happening, World};
use crate::unit::spec::Ready;

impl World {
    /// The supervisor dies: what was on its way to it is lost, what the keeper holds is not.
    pub(super) fn lose_supervisor(&mut self, down: Duration) {
        if self.engine.take().is_none() {
            return;
        }
        self.auditor.supervisor_lost();
        self.trace.lost(self.now);
        self.probes.clear();
        self.helpers.clear();
        self.armed_crash = None;
        self.lose_what_was_on_its_way();
        self.later(down, Happening::Connect);
    }

    pub(super) fn lose_what_was_on_its_way(&mut self) {
        self.queue.retain(|_, happening| match happening {
            Happening::Deliver(_)
            | Happening::ProbeAnswers(_)
            | Happening::HelperEnds(..)
            | Happening::Connect => false,
            Happening::Exec(_)
            | Happening::SpawnFails(..)
            | Happening::ScriptedEnd(_)
            | Happening::LeaderEnds(..)
            | Happening::ShowsReady(_)
            | Happening::KeepsAlive(_)
            | Happening::RestEnds(_) => true,
        });
        self.helpers.clear();
        self.awaited.clear();
        for row in self.table.rows.values_mut() {
            row.is_line_watched = false;
        }
        self.link_free_at = self.now;
    }

    /// The keeper dies and the supervisor starts the next one, which adopts what the supervisor knows of.
    /// Reports on their way are lost: of those ends nobody can ask any more how they were. What was being
    /// spawned is ended, and stop commands were the old keeper's children.
    pub(super) fn lose_keeper(&mut self) {
        if self.engine.is_none() {
            return; // with both rings gone there is nobody to adopt
        }
        let mut untold: BTreeMap<RunId, Untold> = BTreeMap::new();
        let mut helpers = Vec::new();
        let mut unheard = Vec::new();
        self.queue.retain(|_, happening| match happening {
            Happening::Deliver(Event::RunSpawned { run, .. } | Event::RunFailedToSpawn { run, .. })
            | Happening::Exec(run)
            | Happening::SpawnFails(run, _) => {
                untold.entry(*run).or_default().start = true;
                false
            }
            Happening::Deliver(Event::RunExited { run, .. }) => {
                untold.entry(*run).or_default().exit = true;
                false
            }
            Happening::Deliver(Event::RunEmptied { run }) => {
                untold.entry(*run).or_default();
                false
            }
            Happening::HelperEnds(helper, _) => {
                helpers.push(*helper);
                false
            }
            // What was said and not passed on was said to nobody.
            Happening::Deliver(
                Event::Notified { run, notice: Notice::Ready } | Event::ReadyShown { run },
            ) => {
                unheard.push(*run);
                false
            }
            Happening::Deliver(Event::Notified { .. }) => false,
            Happening::Deliver(_)
            | Happening::ScriptedEnd(_)
            | Happening::LeaderEnds(..)
            | Happening::RestEnds(_)
            | Happening::ProbeAnswers(_)
            | Happening::ShowsReady(_)
            | Happening::KeepsAlive(_)
            | Happening::Connect => true,
        });
        self.link_free_at = self.now;
        for run in unheard {
            let Some(row) = self.table.rows.get_mut(&run) else { continue };
            if self.set.unit(row.unit).is_some_and(|spec| matches!(spec.ready, Ready::Log(_))) {
                self.later(Duration::ZERO, Happening::Deliver(Event::ReadyShown { run })); // no keeper told it
            } else {
                row.is_ready_shown = false;
            }
        }
        for (run, untold) in untold {
            let event = self.table.rows.get_mut(&run).map(|row| as_found(run, row, untold));
            event.into_iter().for_each(|event| self.report_of(run, event));
        }
        for helper in helpers {
            if self.helpers.remove(&helper).is_none() {
                continue; // it was cancelled
            }
            let outcome = HelperOutcome::Ended(ExitStatus::Unknown);
            let event = Event::HelperFinished { helper, outcome, said: "".into() };
            self.later(Duration::ZERO, Happening::Deliver(event));
        }
    }
}

/// Which news of a run the supervisor never got; its becoming empty besides.
#[derive(Clone, Copy, Debug, Default)]
struct Untold {
    start: bool,
    exit: bool,
}

/// What the supervisor finds of a run whose last report it never got.
fn as_found(run: RunId, row: &mut Row, untold: Untold) -> Event {
    let exit = match row.stage {
        Stage::Live { .. } => return Event::RunSpawned { run, pid: pid(run) },
        Stage::Exited(exit) if !untold.start => {
            if untold.exit {
                ExitStatus::Unknown
            } else {
                exit
            }
        }
        // It came to nothing, or to an end of which nobody knows.
        Stage::Spawning | Stage::FailedToSpawn(_) | Stage::Exited(_) => {
            let failure = SpawnFailure { step: SpawnStep::Clone, errno: 0, cause: "the keeper died".into() };
            row.stage = Stage::FailedToSpawn(failure.clone());
            row.leftover = None;
            return Event::RunFailedToSpawn { run, failure };
        }
    };
    row.stage = Stage::Exited(exit);
    Event::RunExited { run, exit, is_empty: row.leftover.is_none() }
}
