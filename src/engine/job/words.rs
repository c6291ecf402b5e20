//! What people are told of a job.

use crate::engine::Engine;
use crate::engine::event::RunStage;
use crate::engine::id::{RunId, UnitId};
use crate::engine::status::JobStatus;
use crate::engine::time::WallTime;

impl Engine {
    /// Of an armed job.
    pub(crate) fn job_words(&self, id: UnitId) -> String {
        let job = self.job(id);
        let mut parts = Vec::new();
        if let Some(verdict) = job.past.verdict.as_ref().filter(|verdict| !verdict.is_passed()) {
            parts.push(verdict.to_string());
        }
        for run in job.runs.values() {
            let name = self.name(id);
            let ordinal = run.ordinal;
            parts.push(match run.stage {
                RunStage::Running if run.pid.is_none() => format!("starting {name}#{ordinal}"),
                RunStage::Running => format!("running {name}#{ordinal} for {}", run.due.trigger),
                RunStage::Capturing | RunStage::Signalled | RunStage::Sweeping => {
                    format!("ending {name}#{ordinal}")
                }
                RunStage::Killed => format!("SIGKILL sent to {name}#{ordinal}"),
                RunStage::Unkillable => format!("SIGKILL does not end {name}#{ordinal}"),
                RunStage::Judging => format!("judging the output of {name}#{ordinal}"),
            });
        }
        let repeats = job.waiting.front().filter(|due| due.attempt > 0);
        match (self.first_hold(id), repeats) {
            (Some(super::queue::Hold::Time), Some(due)) => {
                parts.push(format!("tries again, {} of {}", due.attempt, self.job_spec(id).retries));
            }
            (Some(hold), _) => parts.push(format!("a run waits for {}", self.hold_words(id, hold))),
            (None, _) => {}
        }
        parts.extend(self.units[id].remark.as_deref().map(str::to_owned));
        if parts.is_empty() {
            parts.push("armed".to_owned());
        }
        if let Some(next) = job.next_slot {
            parts.push(format!("next {}", self.slot_words(id, next)));
        }
        parts.join("; ")
    }

    /// In the job's own zone.
    fn slot_words(&self, id: UnitId, slot: WallTime) -> String {
        self.job_spec(id).timetable.zone.show(crate::unit::schedule::UnixTime::from_nanos(slot.0))
    }

    /// `None`: it is no job.
    pub fn job_status(&self, id: UnitId) -> Option<JobStatus> {
        let job = self.jobs.by_unit.get(&id)?;
        Some(JobStatus {
            verdict: job.past.verdict.clone(),
            streak: job.past.streak,
            last_slot: job.past.last_slot,
            next_slot: job.next_slot,
            runs: job.runs.iter().map(|(run, found)| (*run, found.ordinal)).collect(),
            waiting: job.waiting.len(),
        })
    }

    /// Of a job with one live run.
    pub(crate) fn job_pid(&self, id: UnitId) -> Option<u32> {
        let job = self.jobs.by_unit.get(&id)?;
        job.runs.values().next_back().filter(|run| run.is_running())?.pid
    }

    /// Runs of jobs that are not over, with their units; for invariants.
    pub fn job_runs(&self) -> impl Iterator<Item = (UnitId, RunId)> + '_ {
        self.jobs.by_unit.iter().flat_map(|(id, job)| job.runs.keys().map(|run| (*id, *run)))
    }
}
