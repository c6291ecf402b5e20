//! How runs of jobs went, as rows: the last ones at hand, all of them in the history.

use crate::engine::effect::Fact;
use crate::engine::event::{JobVerdict, Trigger};
use crate::engine::id::{RunId, UnitId};
use crate::engine::time::{Now, Timestamp};
use crate::history::row::JobRunRow;
use crate::supervisor::chronicle::Telling;
use crate::supervisor::evidence::{date, millis};
use crate::supervisor::executor::{Executor, Untold};
use crate::supervisor::jobs::RECENT;
use crate::supervisor::words::name_of;

impl Executor {
    /// What a fact tells of a job: before the orders that come with it, which forget the run.
    pub(crate) fn follow_job(&mut self, now: Now, fact: &Fact) {
        match fact {
            Fact::RunEnded { unit, ordinal, exit } if self.is_job(*unit) => {
                self.jobs.exits.insert((*unit, *ordinal), *exit);
            }
            Fact::JobRunEnded { unit, ordinal, trigger, verdict, ordered, is_last: _ } => {
                self.job_run_ended(now, (*unit, *ordinal), trigger, verdict, *ordered);
            }
            Fact::JobSkipped { unit, trigger, why } => {
                if let Trigger::Webhook(number) = trigger {
                    self.forget_body(*number);
                }
                let row = self.row_without_run(now, *unit, &trigger.to_string(), "skipped", why);
                self.keep_row(*unit, row);
            }
            Fact::JobMissed { unit, trigger, why, slots, first, last: _, caught_up } => {
                let why = match (slots, caught_up) {
                    (1, 0) => why.to_string(),
                    (1, _) => format!("{why}; caught up"),
                    (slots, caught_up) => format!("{why}, {slots} times; {caught_up} caught up"),
                };
                let row = self.row_without_run(now, *unit, &trigger.to_string(), "missed", &why);
                self.keep_row(*unit, JobRunRow { began_millis: first.0 / 1_000_000, ..row });
            }
            Fact::StateChanged { .. }
            | Fact::HealthChanged { .. }
            | Fact::RunEnded { .. }
            | Fact::PhaseOpened { .. }
            | Fact::Booted
            | Fact::PhaseHeld { .. }
            | Fact::IncidentOpened { .. }
            | Fact::IncidentJoined { .. }
            | Fact::IncidentReached { .. }
            | Fact::RungRepeated { .. }
            | Fact::IncidentMerged { .. }
            | Fact::EvidenceIncomplete { .. }
            | Fact::RungTried { .. }
            | Fact::RungEnded { .. }
            | Fact::StatusTold { .. }
            | Fact::JobTriggered { .. }
            | Fact::IncidentLeft { .. }
            | Fact::IncidentClosed { .. }
            | Fact::Unkillable { .. }
            | Fact::Adopted { .. }
            | Fact::Change { .. }
            | Fact::RequestServed { .. }
            | Fact::ShutdownBegan
            | Fact::BugFound { .. } => {}
        }
    }

    fn is_job(&self, unit: UnitId) -> bool {
        self.ground.set.unit(unit).is_some_and(|spec| spec.job.is_some())
    }

    fn job_run_ended(
        &mut self,
        now: Now,
        (unit, ordinal): (UnitId, u32),
        trigger: &Trigger,
        verdict: &JobVerdict,
        ordered: Timestamp,
    ) {
        let exit = self.jobs.exits.remove(&(unit, ordinal));
        let name = name_of(&self.ground.set, unit);
        let mut runs = self.holdings.runs.iter().rev();
        let run = runs.find(|(_, holding)| holding.ordinal == ordinal && *holding.unit == *name);
        let run = run.map(|(run, _)| *run);
        let kept = run.and_then(|run| self.jobs.kept.remove(&run));
        let row = JobRunRow {
            unit: name.to_owned(),
            ordinal,
            serial: 0,
            trigger: trigger.to_string(),
            began_millis: date(now, ordered),
            ended_millis: millis(now),
            exit: exit.map(|exit| exit.to_string()).unwrap_or_default(),
            verdict: verdict.word().to_owned(),
            why: why(verdict),
            kept: kept.flatten(),
        };
        self.keep_row(unit, row);
        match (run, kept) {
            // What was judged is never kept a second time, as if nobody had judged it.
            (Some(run), None) => self.keep_unjudged(now, run, unit, exit, verdict),
            (Some(run), Some(_)) => self.drop_stream(now, RunId(run), unit),
            (None, _) => {}
        }
    }

    fn row_without_run(
        &mut self,
        now: Now,
        unit: UnitId,
        trigger: &str,
        verdict: &str,
        why: &str,
    ) -> JobRunRow {
        // By the clock, so that it is another one than every supervisor before gave.
        self.jobs.serial = self.jobs.serial.saturating_add(1).max(now.wall.0);
        JobRunRow {
            unit: name_of(&self.ground.set, unit).to_owned(),
            serial: self.jobs.serial,
            trigger: trigger.to_owned(),
            began_millis: millis(now),
            ended_millis: millis(now),
            verdict: verdict.to_owned(),
            why: why.to_owned(),
            ..JobRunRow::default()
        }
    }

    fn keep_row(&mut self, unit: UnitId, row: JobRunRow) {
        self.untold.push(Untold::Telling(Telling::JobRun(row.clone())));
        let recent = self.jobs.recent.entry(unit).or_default();
        if recent.len() >= RECENT {
            recent.pop_front();
        }
        recent.push_back(row);
    }

    /// Where the output of a run lies, which is known a moment later than how it went.
    pub(super) fn note_kept(&mut self, unit: UnitId, ordinal: u32, kept: Option<u64>) {
        let rows = self.jobs.recent.get_mut(&unit).into_iter().flatten();
        let Some(row) = rows.rev().find(|row| row.ordinal == ordinal) else { return };
        row.kept = kept;
        let row = row.clone();
        self.untold.push(Untold::Telling(Telling::JobRun(row)));
    }

    /// The last runs, the newest first.
    pub(crate) fn recent_runs(&self, unit: UnitId) -> Vec<JobRunRow> {
        self.jobs.recent.get(&unit).into_iter().flatten().rev().cloned().collect()
    }
}

/// Without the word that stands beside it.
fn why(verdict: &JobVerdict) -> String {
    match verdict {
        JobVerdict::Passed => String::new(),
        JobVerdict::Rejected(why)
        | JobVerdict::NotStarted(why)
        | JobVerdict::NotJudged(why)
        | JobVerdict::Missed(why) => why.to_string(),
        JobVerdict::Failed(exit) => exit.to_string(),
        JobVerdict::TimedOut(_) | JobVerdict::Cancelled(_) => verdict.to_string(),
    }
}
