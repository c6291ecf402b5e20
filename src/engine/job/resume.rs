//! What a new supervisor makes of a job: from its note, and from what the keeper has of its runs.

use std::collections::BTreeMap;

use crate::engine::Engine;
use crate::engine::effect::{Effect, Fact, SignalScope};
use crate::engine::event::{
    DueNote, ExitStatus, HandedCondition, HandedRun, JobNote, JobPast, JobRunNote, JobVerdict, RunEnd,
    RunStage, Trigger,
};
use crate::engine::id::{RunId, UnitId};
use crate::engine::incident::CAPTURE_WAIT;
use crate::engine::job::{Due, JobRun};
use crate::engine::state::{FailureCause, NotedState, StopStage, UnitState};
use crate::engine::stop::KILL_WAIT;
use crate::engine::timers::Timer;
use crate::unit::name::UnitName;
use crate::unit::spec::SignalNumber;

impl Engine {
    pub(crate) fn job_note(&self, id: UnitId) -> Option<Box<JobNote>> {
        let job = self.jobs.by_unit.get(&id)?;
        let run = |(run, found): (&RunId, &JobRun)| {
            let note = JobRunNote {
                due: found.due.note(),
                ordinal: found.ordinal,
                stage: found.stage,
                deadline: self.timers.at(Some(id), Timer::JobRun(*run)),
                end: found.end,
            };
            (*run, note)
        };
        Some(Box::new(JobNote {
            past: job.past.clone(),
            last_run: job.last_run,
            last_start: job.last_start,
            seen: job.seen.iter().map(|unit| self.name(*unit).clone()).collect(),
            waiting: job.waiting.iter().map(Due::note).collect(),
            runs: job.runs.iter().map(run).collect(),
        }))
    }

    /// What earlier boots knew.
    pub(crate) fn remember_past(&mut self, past: BTreeMap<UnitName, JobPast>) {
        for (name, past) in past {
            if let Some(id) = self.set.find(name.as_str()).filter(|id| self.is_job(*id)) {
                self.units[id].last_ordinal = past.last_ordinal;
                self.job_mut(id).past = past;
            }
        }
    }

    /// All but its runs.
    pub(crate) fn restore_job(&mut self, id: UnitId, note: &JobNote) {
        let seen = note.seen.iter().filter_map(|name| self.set.find(name.as_str())).collect();
        let job = self.job_mut(id);
        job.past = note.past.clone();
        job.last_run = note.last_run;
        job.last_start = note.last_start;
        job.seen = seen;
        job.waiting = note.waiting.iter().map(Due::of).collect();
    }

    /// True when something happened to the run that the job does not know yet.
    pub(crate) fn adopt_job_run(&mut self, id: UnitId, handed: &HandedRun) -> bool {
        let noted = self.units[id].noted.as_deref().and_then(|note| note.job.as_deref());
        let noted = noted.and_then(|note| note.runs.get(&handed.run)).cloned();
        let is_over = match handed.condition {
            HandedCondition::Exited { is_empty, .. } => is_empty,
            HandedCondition::FailedToSpawn(_) => true,
            HandedCondition::Spawning | HandedCondition::Live { .. } => false,
        };
        if noted.is_none() && is_over {
            // Accounted for; its release was lost, and perhaps the order of its evidence, which goes first.
            if let HandedCondition::Exited { exit, .. } = handed.condition
                && !exit.is_success()
            {
                self.capture_of(id, Some(handed.run), &FailureCause::Job(JobVerdict::Failed(exit)));
            }
            self.actions.push(Effect::Release { run: handed.run });
            return false;
        }
        let noted = noted.unwrap_or_else(|| self.unknown_run(id, handed));
        let JobRunNote { due, ordinal, stage, deadline, end } = noted;
        let pid = match handed.condition {
            HandedCondition::Live { pid } => Some(pid),
            HandedCondition::Spawning
            | HandedCondition::FailedToSpawn(_)
            | HandedCondition::Exited { .. } => None,
        };
        let due = Due::of(&due);
        // A judgement that was under way is given anew when the end is told.
        let stage = if stage == RunStage::Judging { RunStage::Running } else { stage };
        let weight = self.job_spec(id).weight;
        let has_ended_unseen = match handed.condition {
            HandedCondition::FailedToSpawn(_) | HandedCondition::Exited { .. } => true,
            HandedCondition::Spawning | HandedCondition::Live { .. } => false,
        };
        let ordered_at = handed.spawned_at;
        let run = JobRun { due, ordinal, weight, ordered_at, pid, exit: None, stage, end, has_ended_unseen };
        self.job_mut(id).runs.insert(handed.run, run);
        let unit = &mut self.units[id];
        unit.last_ordinal = unit.last_ordinal.max(ordinal);
        self.jobs.load = self.jobs.load.saturating_add(weight);
        self.owners.runs.insert(handed.run, id);
        self.facts.push(Fact::Adopted { unit: id, ordinal });
        let at = deadline.map(|at| at.max(self.now.mono));
        if let Some(at) = at {
            self.timers.set(Some(id), Timer::JobRun(handed.run), at);
        }
        let is_rest = matches!(handed.condition, HandedCondition::Exited { is_empty: false, .. });
        let is_swept = matches!(stage, RunStage::Sweeping | RunStage::Killed | RunStage::Unkillable);
        if pid.is_some() || (is_rest && is_swept) {
            self.resume_stage(id, handed.run, stage);
        }
        if is_rest && stage == RunStage::Sweeping {
            let at = self.now.mono.after(self.spec(id).stop.grace); // nobody knows whether it was asked before
            self.timers.set(Some(id), Timer::JobRun(handed.run), at);
        }
        has_ended_unseen
    }

    /// The note came before the order: twice is harmless, never is not.
    fn resume_stage(&mut self, id: UnitId, run: RunId, stage: RunStage) {
        let signal = self.spec(id).stop.signal;
        match stage {
            RunStage::Running | RunStage::Judging => {}
            RunStage::Capturing => {
                let limit = self.spec(id).start_timeout.unwrap_or_default();
                self.capture_of(id, Some(run), &FailureCause::Job(JobVerdict::TimedOut(limit)));
                self.timers.set(Some(id), Timer::JobRun(run), self.now.mono.after(CAPTURE_WAIT));
            }
            RunStage::Signalled => self.signal(run, signal, SignalScope::Main),
            RunStage::Sweeping => self.signal(run, SignalNumber::TERM, SignalScope::All),
            RunStage::Killed | RunStage::Unkillable => {
                self.signal(run, SignalNumber::KILL, SignalScope::All);
                self.timers.set(Some(id), Timer::JobRun(run), self.now.mono.after(KILL_WAIT));
                if let Some(found) = self.job_mut(id).runs.get_mut(&run) {
                    found.stage = RunStage::Killed;
                }
            }
        }
    }

    /// Its watch goes on from the note: state and runs are there already.
    pub(crate) fn resume_job(&mut self, id: UnitId) {
        let noted = self.units[id].noted.as_deref().and_then(|note| note.job.as_deref());
        let noted = noted.map(|note| note.runs.clone()).unwrap_or_default();
        let is_armed = self.is_armed(id);
        for (run, note) in noted {
            if self.job(id).runs.contains_key(&run) {
                continue;
            }
            let verdict = match note.stage {
                // The order never reached the keeper: it is given again.
                RunStage::Running if is_armed && note.end.is_none() => {
                    self.job_mut(id).waiting.push_front(Due::of(&note.due));
                    continue;
                }
                RunStage::Running
                | RunStage::Capturing
                | RunStage::Signalled
                | RunStage::Sweeping
                | RunStage::Killed
                | RunStage::Unkillable
                | RunStage::Judging => match note.end {
                    Some(end @ (RunEnd::Down | RunEnd::Replaced)) => JobVerdict::Cancelled(end),
                    // Nobody knows how it ended.
                    Some(RunEnd::TimedOut) | None => JobVerdict::Failed(ExitStatus::Unknown),
                },
            };
            let run = JobRun {
                due: Due::of(&note.due),
                ordinal: note.ordinal,
                weight: self.job_spec(id).weight,
                ordered_at: note.due.since,
                pid: None,
                exit: None,
                stage: note.stage,
                end: note.end,
                has_ended_unseen: false,
            };
            self.lose_run(id, run, &verdict);
        }
        match self.units[id].state {
            UnitState::Ready | UnitState::Unhealthy => self.wind(id),
            UnitState::Stopping { .. } => self.finish_if_down(id),
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Starting
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => {}
        }
    }

    /// Ordered, and its note was lost; or of the time when the unit was no job, and killed in vain.
    fn unknown_run(&self, id: UnitId, handed: &HandedRun) -> JobRunNote {
        let due = DueNote {
            trigger: Trigger::Operator,
            since: handed.spawned_at,
            attempt: u32::MAX,
            not_before: handed.spawned_at,
        };
        let life = self.units[id].noted.as_deref().map(|note| &note.life);
        let (stage, end) = match life {
            Some(NotedState::Stopping { stage: StopStage::Killed | StopStage::Unkillable, .. }) => {
                (RunStage::Killed, Some(RunEnd::Down))
            }
            Some(
                NotedState::Stopping {
                    stage:
                        StopStage::Capturing | StopStage::Command | StopStage::Signalled | StopStage::Sweeping,
                    ..
                }
                | NotedState::Inactive
                | NotedState::Starting
                | NotedState::Ready
                | NotedState::Unhealthy
                | NotedState::Backoff { .. }
                | NotedState::Failed { .. }
                | NotedState::Completed,
            )
            | None => (RunStage::Running, None),
        };
        JobRunNote { due, ordinal: handed.ordinal, stage, deadline: None, end }
    }

    fn lose_run(&mut self, id: UnitId, run: JobRun, verdict: &JobVerdict) {
        let number = RunId(self.next_run);
        self.next_run += 1;
        self.jobs.load = self.jobs.load.saturating_add(run.weight);
        self.job_mut(id).runs.insert(number, run);
        self.conclude(id, number, verdict);
    }
}

impl Due {
    fn note(&self) -> DueNote {
        let Self { trigger, since, attempt, not_before, request: _ } = self;
        DueNote { trigger: trigger.clone(), since: *since, attempt: *attempt, not_before: *not_before }
    }

    /// Whoever asked has lost their connection.
    fn of(note: &DueNote) -> Self {
        let DueNote { trigger, since, attempt, not_before } = note.clone();
        Self { trigger, since, attempt, not_before, request: None }
    }
}
