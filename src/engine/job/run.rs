//! A run of a job: its end by itself, by its timeout or for another; its output; its verdict.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::{Effect, Fact, Line, SignalScope};
use crate::engine::event::{ExitStatus, JobVerdict, Judgement, RunEnd, RunStage, SpawnFailure, Trigger};
use crate::engine::id::{RunId, UnitId};
use crate::engine::incident::CAPTURE_WAIT;
use crate::engine::job::{Due, JobRun};
use crate::engine::state::{FailureCause, StopReason, UnitState};
use crate::engine::stop::KILL_WAIT;
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::spec::SignalNumber;

/// The judge ends itself after 10 s; it may have to wait until it can be started.
const JUDGE_WAIT: Duration = Duration::from_secs(60);

impl Engine {
    /// `None`: no run of a job, or one that is over.
    fn job_run(&mut self, id: UnitId, run: RunId) -> Option<&mut JobRun> {
        self.job_mut(id).runs.get_mut(&run)
    }

    fn set_stage(&mut self, id: UnitId, run: RunId, stage: RunStage, wait: Option<Duration>) {
        if let Some(found) = self.job_run(id, run) {
            found.stage = stage;
        }
        match wait {
            Some(wait) => self.timers.set(Some(id), Timer::JobRun(run), self.now.mono.after(wait)),
            None => self.timers.cancel(Some(id), Timer::JobRun(run)),
        }
    }

    pub(crate) fn on_job_spawned(&mut self, id: UnitId, run: RunId, pid: u32) {
        let Some(found) = self.job_run(id, run) else { return self.late() };
        if found.pid.is_some() || found.exit.is_some() {
            return self.late();
        }
        found.pid = Some(pid);
        match found.stage {
            RunStage::Running | RunStage::Capturing | RunStage::Sweeping | RunStage::Judging => {}
            RunStage::Signalled => self.ask_to_end(id, run),
            RunStage::Killed | RunStage::Unkillable => {
                self.signal(run, SignalNumber::KILL, SignalScope::All);
            }
        }
        self.mark(id);
    }

    pub(crate) fn on_job_failed_to_spawn(&mut self, id: UnitId, run: RunId, failure: &SpawnFailure) {
        let Some(found) = self.job_run(id, run) else { return self.late() };
        let verdict = match found.end {
            Some(end @ (RunEnd::Down | RunEnd::Replaced)) => JobVerdict::Cancelled(end),
            Some(RunEnd::TimedOut) | None => JobVerdict::NotStarted(failure.to_string().into()),
        };
        self.conclude(id, run, &verdict);
    }

    pub(crate) fn on_job_exited(&mut self, id: UnitId, run: RunId, exit: ExitStatus, is_empty: bool) {
        let Some(found) = self.job_run(id, run) else { return self.late() };
        match found.exit {
            None => found.exit = Some(exit),
            // A keeper that took over saw the rest end, and tells the whole end.
            Some(_) if is_empty && found.stage != RunStage::Judging => return self.on_job_run_over(id, run),
            Some(_) => return self.late(),
        }
        let (ordinal, stage) = (found.ordinal, found.stage);
        self.units[id].last_exit = Some(exit);
        self.facts.push(Fact::RunEnded { unit: id, ordinal, exit });
        if is_empty {
            return self.on_job_run_over(id, run);
        }
        match stage {
            RunStage::Running | RunStage::Capturing | RunStage::Signalled => {
                let grace = self.spec(id).stop.grace;
                if grace.is_zero() {
                    return self.kill_run(id, run);
                }
                self.signal(run, SignalNumber::TERM, SignalScope::All);
                self.set_stage(id, run, RunStage::Sweeping, Some(grace));
            }
            // Its deadline is already set.
            RunStage::Sweeping | RunStage::Killed | RunStage::Unkillable | RunStage::Judging => {}
        }
    }

    pub(crate) fn on_job_emptied(&mut self, id: UnitId, run: RunId) {
        match self.job_run(id, run) {
            Some(found) if found.exit.is_some() && found.stage != RunStage::Judging => {
                self.on_job_run_over(id, run);
            }
            Some(_) | None => self.late(), // its leader's exit comes first
        }
    }

    /// Nothing of it lives.
    fn on_job_run_over(&mut self, id: UnitId, run: RunId) {
        let Some(found) = self.job_run(id, run) else { return };
        let exit = found.exit.unwrap_or(ExitStatus::Unknown);
        let (end, ordinal) = (found.end, found.ordinal);
        let timeout = self.spec(id).start_timeout.unwrap_or_default();
        let verdict = match end {
            Some(RunEnd::TimedOut) => JobVerdict::TimedOut(timeout),
            Some(end @ (RunEnd::Down | RunEnd::Replaced)) => JobVerdict::Cancelled(end),
            None if !exit.is_success() => JobVerdict::Failed(exit),
            None if self.job_spec(id).output.is_some() => {
                self.set_stage(id, run, RunStage::Judging, Some(JUDGE_WAIT));
                return self.actions.push(Effect::JudgeOutput { run, unit: id, ordinal, exit });
            }
            None => JobVerdict::Passed,
        };
        self.conclude(id, run, &verdict);
    }

    pub(crate) fn on_output_judged(&mut self, run: RunId, judgement: Judgement) {
        let Some(id) = self.owners.runs.get(&run).copied().filter(|id| self.is_job(*id)) else {
            return self.late();
        };
        if self.job_run(id, run).is_none_or(|found| found.stage != RunStage::Judging) {
            return self.late();
        }
        let verdict = match judgement {
            Judgement::Holds => JobVerdict::Passed,
            Judgement::Rejected(why) => JobVerdict::Rejected(why),
            Judgement::NotJudged(why) => JobVerdict::NotJudged(why),
        };
        self.conclude(id, run, &verdict);
    }

    pub(crate) fn on_job_run_deadline(&mut self, id: UnitId, run: RunId) {
        let Some(found) = self.job_run(id, run).cloned() else {
            return self.bug(Some(id), "a deadline of a run that is over");
        };
        match found.stage {
            RunStage::Running => self.time_out(id, run, &found),
            RunStage::Capturing => self.ask_to_end(id, run),
            RunStage::Signalled | RunStage::Sweeping => self.kill_run(id, run),
            RunStage::Killed => {
                self.set_stage(id, run, RunStage::Unkillable, None);
                self.facts.push(Fact::Unkillable { unit: id });
                if self.units[id].desired.is_up() {
                    self.trouble_of(id, Some(run), &FailureCause::Unkillable);
                }
                self.finish_if_down(id);
            }
            RunStage::Judging => {
                let why = "the judge did not answer".into();
                self.conclude(id, run, &JobVerdict::NotJudged(why));
            }
            RunStage::Unkillable => self.bug(Some(id), "a deadline of a run that cannot be killed"),
        }
    }

    /// `timeout`: what shows where it hangs is kept, then it is ended.
    fn time_out(&mut self, id: UnitId, run: RunId, found: &JobRun) {
        let limit = self.spec(id).start_timeout.unwrap_or_default();
        if let Some(found) = self.job_run(id, run) {
            found.end = Some(RunEnd::TimedOut);
        }
        self.trouble_of(id, Some(run), &FailureCause::Job(JobVerdict::TimedOut(limit)));
        self.becomes_unhealthy(id);
        if found.is_running() {
            self.set_stage(id, run, RunStage::Capturing, Some(CAPTURE_WAIT));
        } else {
            self.ask_to_end(id, run);
        }
    }

    /// What was kept of it was kept, or does not come.
    pub(crate) fn end_captured_run(&mut self, id: UnitId, run: Option<RunId>) {
        let Some(run) = run.filter(|_| self.is_job(id)) else { return };
        if self.job_run(id, run).is_some_and(|found| found.stage == RunStage::Capturing) {
            self.ask_to_end(id, run);
        }
    }

    /// mcsup ends it.
    pub(super) fn end_run(&mut self, id: UnitId, run: RunId, why: RunEnd) {
        let Some(found) = self.job_run(id, run) else { return };
        let stage = found.stage;
        // One whose leader has ended by itself is only swept: what became of it is not that it was replaced.
        if why != RunEnd::Replaced || !(stage == RunStage::Sweeping || found.has_ended_unseen) {
            found.end.get_or_insert(why);
        }
        match stage {
            RunStage::Running | RunStage::Capturing => self.ask_to_end(id, run),
            RunStage::Judging => self.conclude(id, run, &JobVerdict::Cancelled(why)),
            RunStage::Signalled | RunStage::Sweeping | RunStage::Killed | RunStage::Unkillable => {}
        }
    }

    /// The stop signal, now or as soon as there is a process; SIGKILL at the end of the grace.
    fn ask_to_end(&mut self, id: UnitId, run: RunId) {
        let (grace, signal) = (self.spec(id).stop.grace, self.spec(id).stop.signal);
        if grace.is_zero() {
            return self.kill_run(id, run);
        }
        if self.job_run(id, run).is_some_and(|found| found.is_running()) {
            self.signal(run, signal, SignalScope::Main);
        }
        self.set_stage(id, run, RunStage::Signalled, Some(grace));
    }

    fn kill_run(&mut self, id: UnitId, run: RunId) {
        self.signal(run, SignalNumber::KILL, SignalScope::All);
        self.set_stage(id, run, RunStage::Killed, Some(KILL_WAIT));
    }

    /// SIGKILL for every run of a job that is to be down at once.
    pub(crate) fn kill_job(&mut self, id: UnitId) {
        if self.units[id].is_up() {
            self.disarm(id, StopReason::Down);
        }
        let runs: Vec<(RunId, RunStage)> =
            self.job(id).runs.iter().map(|(run, found)| (*run, found.stage)).collect();
        for (run, stage) in runs {
            match stage {
                RunStage::Running | RunStage::Capturing | RunStage::Signalled | RunStage::Sweeping => {
                    self.kill_run(id, run);
                }
                RunStage::Killed | RunStage::Unkillable | RunStage::Judging => {}
            }
        }
    }

    /// A signal by a person to whatever of it lives. The ordinals of its runs.
    pub(crate) fn signal_runs(&mut self, id: UnitId, signal: SignalNumber) -> Vec<u32> {
        let alive = |found: &&JobRun| found.stage != RunStage::Judging;
        let runs: Vec<(RunId, u32)> = self
            .job(id)
            .runs
            .iter()
            .filter(|(_, found)| alive(found))
            .map(|(run, found)| (*run, found.ordinal))
            .collect();
        for (run, _) in &runs {
            self.signal(*run, signal, SignalScope::All);
        }
        runs.into_iter().map(|(_, ordinal)| ordinal).collect()
    }

    /// The run is over, and this is how it went.
    pub(super) fn conclude(&mut self, id: UnitId, run: RunId, verdict: &JobVerdict) {
        let Some(found) = self.job_mut(id).runs.remove(&run) else { return };
        let JobRun { due, ordinal, weight, ordered_at, .. } = found;
        self.timers.cancel(Some(id), Timer::JobRun(run));
        self.owners.runs.remove(&run);
        self.jobs.load = self.jobs.load.saturating_sub(weight);
        let is_cancelled = matches!(verdict, JobVerdict::Cancelled(_));
        // A person who runs it wants to hear how it went.
        let may_repeat =
            due.trigger != Trigger::Operator && due.attempt < self.job_spec(id).retries && self.is_armed(id);
        let is_last = verdict.is_passed() || is_cancelled || !may_repeat;
        self.tell_end(id, ordinal, &due.trigger, verdict, ordered_at, is_last);
        if verdict.is_passed() {
            self.passes(id, verdict);
        } else if !is_cancelled {
            self.fails(id, Some(run), verdict);
        }
        // What shows why it failed was ordered first.
        self.actions.push(Effect::Release { run });
        if is_last {
            self.ended_for_good(id, ordinal, &due, verdict);
        } else {
            self.try_again(id, &due);
        }
        self.look_at_turns();
        self.mark(id);
        self.finish_if_down(id);
    }

    fn tell_end(
        &mut self,
        id: UnitId,
        ordinal: u32,
        trigger: &Trigger,
        verdict: &JobVerdict,
        ordered: Timestamp,
        is_last: bool,
    ) {
        let (trigger, verdict) = (trigger.clone(), verdict.clone());
        self.facts.push(Fact::JobRunEnded { unit: id, ordinal, trigger, verdict, ordered, is_last });
    }

    fn ended_for_good(&mut self, id: UnitId, ordinal: u32, due: &Due, verdict: &JobVerdict) {
        let is_cancelled = matches!(verdict, JobVerdict::Cancelled(_));
        if let Some(request) = due.request {
            let text = format!("{}#{ordinal} {verdict}", self.name(id)).into();
            self.answer_run(request, Line { unit: id, is_well: verdict.is_passed(), text });
        }
        if !verdict.is_passed() && !is_cancelled {
            self.tell_that_it_gave_up(id, &verdict.to_string());
        }
        if !is_cancelled {
            self.tell_those_after(id, verdict.is_passed());
        }
    }

    fn passes(&mut self, id: UnitId, verdict: &JobVerdict) {
        self.note_verdict(id, verdict);
        if self.units[id].state == UnitState::Unhealthy {
            self.enter(id, UnitState::Ready);
        }
    }

    /// It did not pass, or never ran: an incident, with what shows why.
    pub(super) fn fails(&mut self, id: UnitId, run: Option<RunId>, verdict: &JobVerdict) {
        self.note_verdict(id, verdict);
        if !self.is_armed(id) {
            return;
        }
        // Where it hung was kept while it hung.
        let is_told = matches!(verdict, JobVerdict::TimedOut(_));
        if !is_told || self.units[id].incident.is_none() {
            self.trouble_of(id, run, &FailureCause::Job(verdict.clone()));
        }
        self.becomes_unhealthy(id);
    }

    fn becomes_unhealthy(&mut self, id: UnitId) {
        if self.units[id].state == UnitState::Ready {
            self.enter(id, UnitState::Unhealthy);
        }
    }
}
