//! Section 8 of a unit's note: its job. Lists hold records with their lengths, so that each may grow.

use crate::engine::event::{DueNote, JobNote, JobPast, JobRunNote, JobVerdict, RunEnd, Trigger};
use crate::engine::id::RunId;
use crate::engine::time::{Timestamp, WallTime};
use crate::supervisor::notes::codes::{run_end_code, run_end_of, run_stage_code, run_stage_of};
use crate::supervisor::notes::reader::Reader;
use crate::supervisor::notes::writer::Writer;
use crate::unit::name::UnitName;
use std::time::Duration;

impl Writer {
    pub(super) fn job(&mut self, note: &JobNote) {
        let JobNote { past, last_start, seen, waiting, runs, last_run } = note;
        self.nested(|out| out.past(past));
        self.option(*last_start, |out, at| out.u64(at.0));
        self.count(seen.len());
        seen.iter().for_each(|name| self.text(name.as_str()));
        self.count(waiting.len());
        waiting.iter().for_each(|due| self.nested(|out| out.due(due)));
        self.count(runs.len());
        for (run, note) in runs {
            self.nested(|out| out.run(*run, note));
        }
        self.option(*last_run, |out, run| out.u64(run.0));
    }

    fn past(&mut self, past: &JobPast) {
        let JobPast { last_slot, verdict, streak, timetable, last_start, last_ordinal } = past;
        self.u64(last_slot.0);
        self.option(verdict.as_ref(), Self::verdict);
        self.u64(u64::from(*streak));
        self.u64(*timetable);
        self.u64(last_start.0);
        self.u64(u64::from(*last_ordinal));
    }

    fn due(&mut self, due: &DueNote) {
        let DueNote { trigger, since, attempt, not_before } = due;
        self.trigger(trigger);
        self.u64(since.0);
        self.u64(u64::from(*attempt));
        self.u64(not_before.0);
    }

    fn run(&mut self, run: RunId, note: &JobRunNote) {
        let JobRunNote { due, ordinal, stage, deadline, end } = note;
        self.u64(run.0);
        self.nested(|out| out.due(due));
        self.u64(u64::from(*ordinal));
        self.u8(run_stage_code(*stage));
        self.option(*deadline, |out, at| out.u64(at.0));
        self.option(*end, |out, end| out.u8(run_end_code(end)));
    }

    fn trigger(&mut self, trigger: &Trigger) {
        match trigger {
            Trigger::Slot(at) => {
                self.u8(0);
                self.u64(at.0);
            }
            Trigger::Every => self.u8(1),
            Trigger::Boot => self.u8(2),
            Trigger::Load => self.u8(3),
            Trigger::After(unit) => {
                self.u8(4);
                self.text(unit.as_str());
            }
            Trigger::Path(path) => {
                self.u8(5);
                self.text(path);
            }
            Trigger::Webhook(number) => {
                self.u8(6);
                self.u64(*number);
            }
            Trigger::Operator => self.u8(7),
        }
    }

    pub(super) fn verdict(&mut self, verdict: &JobVerdict) {
        let mut said = |code: u8, why: &str| {
            self.u8(code);
            self.text(why);
        };
        match verdict {
            JobVerdict::Passed => self.u8(0),
            JobVerdict::Rejected(why) => said(1, why),
            JobVerdict::Failed(exit) => {
                self.u8(2);
                self.exit(*exit);
            }
            JobVerdict::NotStarted(why) => said(3, why),
            JobVerdict::TimedOut(limit) => {
                self.u8(4);
                self.u64(crate::engine::time::nanos(*limit));
            }
            JobVerdict::NotJudged(why) => said(5, why),
            JobVerdict::Cancelled(end) => {
                self.u8(6);
                self.u8(run_end_code(*end));
            }
            JobVerdict::Missed(why) => said(7, why),
        }
    }
}

impl Reader<'_> {
    pub(super) fn job(&mut self) -> Option<JobNote> {
        let past = self.nested(Reader::past)?;
        let last_start = self.option(Reader::time)?;
        let seen = self.list(|input| UnitName::new(&input.text()?).ok())?;
        let waiting = self.list(|input| input.nested(Reader::due))?;
        let runs = self.list(|input| input.nested(Reader::run))?.into_iter().collect();
        let last_run = self.option(|input| input.u64().map(RunId))?;
        Some(JobNote { past, last_start, seen, waiting, runs, last_run })
    }

    fn past(&mut self) -> Option<JobPast> {
        let last_slot = WallTime(self.u64()?);
        Some(JobPast {
            last_slot,
            verdict: self.option(Reader::verdict)?,
            streak: self.u32()?,
            timetable: self.u64()?,
            last_start: WallTime(self.u64()?),
            last_ordinal: self.u32()?,
        })
    }

    fn due(&mut self) -> Option<DueNote> {
        Some(DueNote {
            trigger: self.trigger()?,
            since: self.time()?,
            attempt: self.u32()?,
            not_before: self.time()?,
        })
    }

    fn run(&mut self) -> Option<(RunId, JobRunNote)> {
        let run = RunId(self.u64()?);
        let note = JobRunNote {
            due: self.nested(Reader::due)?,
            ordinal: self.u32()?,
            stage: run_stage_of(self.u8()?)?,
            deadline: self.option(|input| input.u64().map(Timestamp))?,
            end: self.option(Reader::run_end)?,
        };
        Some((run, note))
    }

    fn run_end(&mut self) -> Option<RunEnd> {
        run_end_of(self.u8()?)
    }

    fn trigger(&mut self) -> Option<Trigger> {
        Some(match self.u8()? {
            0 => Trigger::Slot(WallTime(self.u64()?)),
            1 => Trigger::Every,
            2 => Trigger::Boot,
            3 => Trigger::Load,
            4 => Trigger::After(UnitName::new(&self.text()?).ok()?),
            5 => Trigger::Path(self.text()?),
            6 => Trigger::Webhook(self.u64()?),
            7 => Trigger::Operator,
            _ => return None,
        })
    }

    pub(super) fn verdict(&mut self) -> Option<JobVerdict> {
        Some(match self.u8()? {
            0 => JobVerdict::Passed,
            1 => JobVerdict::Rejected(self.text()?),
            2 => JobVerdict::Failed(self.exit()?),
            3 => JobVerdict::NotStarted(self.text()?),
            4 => JobVerdict::TimedOut(Duration::from_nanos(self.u64()?)),
            5 => JobVerdict::NotJudged(self.text()?),
            6 => JobVerdict::Cancelled(self.run_end()?),
            7 => JobVerdict::Missed(self.text()?),
            _ => return None,
        })
    }
}
