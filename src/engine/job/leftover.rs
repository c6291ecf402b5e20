//! A run that cannot be killed, of a unit that was no job and is one now, or the other way round: it is kept as units of
//! the new kind keep theirs, so that its end is heard and nothing starts before it.

use crate::engine::Engine;
use crate::engine::event::{RunEnd, RunStage, Trigger};
use crate::engine::id::{RunId, UnitId};
use crate::engine::job::{Due, JobRun};
use crate::engine::life::Run;
use crate::unit::spec::UnitKind;

impl Engine {
    /// Its definition of another kind is in force.
    pub(crate) fn keep_leftover(&mut self, id: UnitId, before: UnitKind) {
        match (before == UnitKind::Job, self.is_job(id)) {
            (true, false) => self.take_from_job(id),
            (false, true) => self.give_to_job(id),
            (true, true) | (false, false) => {}
        }
    }

    fn give_to_job(&mut self, id: UnitId) {
        let Some(run) = self.units[id].run else { return };
        let weight = self.job_spec(id).weight;
        let due = Due {
            trigger: Trigger::Operator,
            since: run.ordered_at,
            attempt: u32::MAX, // it is repeated by nothing
            not_before: run.ordered_at,
            request: None,
        };
        let leftover = JobRun {
            due,
            ordinal: run.ordinal,
            weight,
            ordered_at: run.ordered_at,
            pid: run.pid,
            exit: run.exit,
            stage: RunStage::Unkillable,
            end: Some(RunEnd::Down),
            has_ended_unseen: false,
        };
        self.job_mut(id).runs.insert(run.id, leftover);
        self.jobs.load = self.jobs.load.saturating_add(weight);
        let watch = RunId(self.next_run);
        self.next_run += 1;
        self.units[id].last_run = Some(watch);
        self.units[id].run = Some(Run::new(watch, run.ordinal, self.now.mono, UnitKind::Job));
    }

    fn take_from_job(&mut self, id: UnitId) {
        let Some((run, found)) = self.job_mut(id).runs.pop_last() else { return };
        self.jobs.load = self.jobs.load.saturating_sub(found.weight);
        self.units[id].last_run = Some(run);
        let kept = Run::new(run, found.ordinal, found.ordered_at, self.spec(id).kind);
        self.units[id].run = Some(Run { pid: found.pid, exit: found.exit, ..kept });
    }

    /// A unit that is no job keeps one run.
    pub(crate) fn has_several_leftovers(&self, id: UnitId) -> bool {
        self.jobs.by_unit.get(&id).is_some_and(|job| job.runs.len() > 1)
    }
}
