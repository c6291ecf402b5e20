//! Jobs: armed like a watch, while triggers start runs. The runs are the job's own, each with a life of its own
//! (`run`); what waits for its turn is a `Due` (`queue`); when the clock triggers is `clock`'s concern.
//!
//! An armed job is `ready`, or `unhealthy` when its last run did not pass.

mod clock;
mod queue;
mod run;
mod resume;
mod leftover;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::engine::Engine;
use crate::engine::effect::{Answer, Effect, Fact, Line};
use crate::engine::event::{ExitStatus, JobPast, JobVerdict, RunEnd, RunStage, Trigger};
use crate::engine::id::{RequestId, RunId, UnitId};
use crate::engine::request::sum_up;
use crate::engine::state::{Desired, DownSource, StopReason, StopStage, UnitState};
use crate::engine::time::{Timestamp, WallTime};
use crate::engine::timers::Timer;
use crate::unit::name::UnitName;
use crate::unit::spec::job::{AfterEnd, JobSpec, Overlap};
use crate::unit::spec::{UnitKind, UnitSet};

/// All jobs, and what they share.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    by_unit: BTreeMap<UnitId, Job>,
    /// Whose end they wait for.
    followers: BTreeMap<UnitId, Vec<UnitId>>,
    /// The next slot of each timetable.
    slots: BTreeSet<(WallTime, UnitId)>,
    /// How much the live runs weigh.
    load: u32,
    /// Who waits until others weigh less, the longest wait first.
    turns: BTreeSet<(Timestamp, UnitId)>,
    /// Who wants to hear how runs went.
    requests: BTreeMap<RequestId, RunRequest>,
}

#[derive(Debug, Default)]
struct RunRequest {
    left: u32,
    lines: Vec<Line>,
}

#[derive(Debug, Default)]
pub(crate) struct Job {
    past: JobPast,
    last_run: Option<RunId>,
    /// When its last run was ordered; `every` counts from here.
    last_start: Option<Timestamp>,
    /// Of those it runs after, who ended as it wants since then.
    seen: BTreeSet<UnitId>,
    waiting: VecDeque<Due>,
    runs: BTreeMap<RunId, JobRun>,
    next_slot: Option<WallTime>,
    /// Since when it waits for room.
    turn: Option<Timestamp>,
}

/// A run that is to be.
#[derive(Clone, Debug)]
struct Due {
    trigger: Trigger,
    since: Timestamp,
    /// Runs before it that did not pass, and which it repeats.
    attempt: u32,
    not_before: Timestamp,
    request: Option<RequestId>,
}

/// From its order until nothing of it lives and its output is judged.
#[derive(Clone, Debug)]
struct JobRun {
    due: Due,
    ordinal: u32,
    /// As its definition said when it began.
    weight: u32,
    ordered_at: Timestamp,
    /// Known once exec succeeded.
    pid: Option<u32>,
    exit: Option<ExitStatus>,
    stage: RunStage,
    end: Option<RunEnd>,
    /// The keeper saw it end while nobody was there, and tells so in this step.
    has_ended_unseen: bool,
}

impl JobRun {
    fn is_running(&self) -> bool {
        self.pid.is_some() && self.exit.is_none()
    }
}

impl Jobs {
    pub(crate) fn new(set: &UnitSet) -> Self {
        let mut jobs = Self::default();
        for (id, spec) in set.ids().zip(&set.units) {
            let Some(job) = &spec.job else { continue };
            jobs.by_unit.insert(id, Job::default());
            for after in &job.after {
                jobs.followers.entry(after.unit).or_default().push(id);
            }
        }
        jobs
    }

    /// Another set: jobs that are new in it, and who follows whom.
    pub(crate) fn take_up(&mut self, set: &UnitSet) {
        let Self { by_unit, followers, .. } = Self::new(set);
        self.followers = followers;
        for (id, job) in by_unit {
            self.by_unit.entry(id).or_insert(job);
        }
    }

    pub(crate) fn next_slot(&self) -> Option<WallTime> {
        self.slots.first().map(|(at, _)| *at)
    }
}

impl Engine {
    pub(crate) fn is_job(&self, id: UnitId) -> bool {
        self.spec(id).kind == UnitKind::Job
    }

    fn job_spec(&self, id: UnitId) -> &JobSpec {
        #[expect(clippy::expect_used, reason = "every unit of kind job has one: `unit` makes them so")]
        self.spec(id).job.as_deref().expect("a job says when it runs")
    }

    fn job(&self, id: UnitId) -> &Job {
        #[expect(clippy::expect_used, reason = "made for every job of the set, and never removed")]
        self.jobs.by_unit.get(&id).expect("every job of the set is there")
    }

    fn job_mut(&mut self, id: UnitId) -> &mut Job {
        self.touch(id);
        self.jobs.by_unit.entry(id).or_default()
    }

    fn name(&self, id: UnitId) -> &UnitName {
        &self.spec(id).name
    }

    /// Wanted, and its triggers count.
    fn is_armed(&self, id: UnitId) -> bool {
        let is_up = matches!(self.units[id].state, UnitState::Ready | UnitState::Unhealthy);
        is_up && self.units[id].desired.is_up()
    }

    /// Its watch begins.
    pub(crate) fn arm(&mut self, id: UnitId) {
        let is_first = self.job(id).last_start.is_none();
        self.become_ready(id);
        self.wind(id);
        let (on_boot, run_at_load) = (self.job_spec(id).on_boot, self.job_spec(id).run_at_load);
        if run_at_load {
            self.fire(id, Trigger::Load, None);
        } else if on_boot && is_first {
            self.fire(id, Trigger::Boot, None);
        }
    }

    /// Timers and watches of an armed job.
    fn wind(&mut self, id: UnitId) {
        self.heed_timetable(id);
        self.plan_slot(id);
        self.take_due_slots();
        self.plan_every(id);
        if self.is_watched_outside(id) {
            self.actions.push(Effect::Arm { unit: id });
        }
        self.mark(id);
    }

    /// Its definition has changed while it was armed. Nothing fires by that alone; runs that live go on.
    pub(crate) fn refit_job(&mut self, id: UnitId, was_watched_outside: bool) {
        self.job_mut(id).seen.clear(); // it may run after others now
        if !self.is_armed(id) {
            return;
        }
        self.timers.cancel(Some(id), Timer::JobEvery);
        if was_watched_outside {
            self.actions.push(Effect::Disarm { unit: id });
        }
        self.wind(id);
    }

    fn is_watched_outside(&self, id: UnitId) -> bool {
        self.job_spec(id).is_watched_outside()
    }

    /// No trigger counts any more, and what lives is ended. The job is down when the last run is over.
    pub(crate) fn disarm(&mut self, id: UnitId, why: StopReason) {
        self.forget_slot(id);
        self.timers.cancel(Some(id), Timer::JobEvery);
        if self.is_watched_outside(id) {
            self.actions.push(Effect::Disarm { unit: id });
        }
        if matches!(self.units[id].desired, Desired::Down(source) if source != DownSource::Shutdown) {
            // Slots that go by while it is stopped are nobody's loss.
            self.job_mut(id).past.last_slot = WallTime(0);
        }
        self.enter(id, UnitState::Stopping { why, stage: StopStage::Signalled });
        self.drop_waiting(id, "its job is stopped");
        let runs: Vec<RunId> = self.job(id).runs.keys().copied().collect();
        for run in runs {
            self.end_run(id, run, RunEnd::Down);
        }
        self.finish_if_down(id);
    }

    /// A job that is to stop, and of which nothing lives any more, is down.
    fn finish_if_down(&mut self, id: UnitId) {
        let UnitState::Stopping { why, .. } = self.units[id].state.clone() else { return };
        if self.units[id].run.is_none() {
            return; // it is, and what follows comes in this step
        }
        let runs = &self.job(id).runs;
        if runs.is_empty() {
            self.finish(id);
        } else if runs.values().all(|run| run.stage == RunStage::Unkillable) {
            self.enter(id, UnitState::Stopping { why, stage: StopStage::Unkillable });
        }
    }

    /// A trigger: what its `overlap` makes of it.
    pub(crate) fn fire(&mut self, id: UnitId, trigger: Trigger, request: Option<RequestId>) {
        if !self.is_armed(id) {
            return self.skip(id, trigger, request, "it is not armed");
        }
        let job = self.job(id);
        let newest = job.runs.values().next_back().map(|run| run.ordinal);
        let is_busy = newest.is_some() || !job.waiting.is_empty();
        let is_full = job.waiting.len() >= Overlap::MOST_QUEUED;
        match self.job_spec(id).overlap {
            Overlap::Skip if is_busy => {
                let why = match newest {
                    Some(ordinal) => format!("{}#{ordinal} has not ended", self.name(id)),
                    None => "an earlier run still waits for its turn".to_owned(),
                };
                return self.skip(id, trigger, request, &why);
            }
            Overlap::Queue | Overlap::Allow { .. } if is_full => {
                return self.skip(id, trigger, request, "too many runs wait for their turn");
            }
            Overlap::Replace if is_busy => {
                self.drop_waiting(id, "a newer one takes its place");
                let runs: Vec<RunId> = self.job(id).runs.keys().copied().collect();
                for run in runs {
                    self.end_run(id, run, RunEnd::Replaced);
                }
            }
            Overlap::Skip | Overlap::Queue | Overlap::Allow { .. } | Overlap::Replace => {}
        }
        self.enqueue(id, trigger, request);
    }

    /// It starts no run, and that is recorded.
    fn skip(&mut self, id: UnitId, trigger: Trigger, request: Option<RequestId>, why: &str) {
        if let Some(request) = request {
            let text = format!("{} does not run: {why}", self.name(id)).into();
            self.answer_run(request, Line { unit: id, is_well: false, text });
        }
        self.facts.push(Fact::JobSkipped { unit: id, trigger, why: why.into() });
    }

    /// A job's last run passed or did not, or a task ended: those that run after it.
    pub(crate) fn tell_those_after(&mut self, id: UnitId, has_passed: bool) {
        let Some(followers) = self.jobs.followers.get(&id).cloned() else { return };
        for follower in followers {
            let after = self.job_spec(follower).after.clone();
            let Some(wanted) = after.iter().find(|after| after.unit == id).map(|after| after.when) else {
                continue;
            };
            let trigger = Trigger::After(self.name(id).clone());
            let counts = match wanted {
                AfterEnd::Succeeded => has_passed,
                AfterEnd::Failed => !has_passed,
                AfterEnd::Finished => true,
            };
            if counts {
                self.job_mut(follower).seen.insert(id);
                if after.iter().all(|after| self.job(follower).seen.contains(&after.unit)) {
                    self.job_mut(follower).seen.clear();
                    self.fire(follower, trigger, None);
                }
            } else {
                self.job_mut(follower).seen.clear();
                if wanted != AfterEnd::Succeeded {
                    continue; // nobody misses a run for a failure that did not come
                }
                let why = format!("{} did not pass", self.name(id));
                self.stop_chain(follower, trigger, &why);
            }
        }
    }

    /// It does not run, and so nobody does who waits for it to succeed; a queue, so that a chain of any length costs
    /// no stack.
    fn stop_chain(&mut self, id: UnitId, trigger: Trigger, why: &str) {
        let mut queue = VecDeque::from([(id, trigger, why.to_owned())]);
        let mut seen = BTreeSet::from([id]);
        while let Some((id, trigger, why)) = queue.pop_front() {
            self.units[id].remark = Some(format!("does not run: {why}").into());
            self.skip(id, trigger, None, &why);
            for follower in self.jobs.followers.get(&id).cloned().unwrap_or_default() {
                let after = self.job_spec(follower).after.iter();
                let mut wants = after.filter(|after| after.unit == id).map(|after| after.when);
                if wants.next() == Some(AfterEnd::Succeeded) && seen.insert(follower) {
                    self.job_mut(follower).seen.clear();
                    let name = self.name(id).clone();
                    let why = format!("{name} does not run");
                    queue.push_back((follower, Trigger::After(name), why));
                }
            }
        }
    }

    pub(crate) fn on_triggered(&mut self, id: UnitId, trigger: Trigger) {
        if self.set.unit(id).is_none_or(|spec| spec.kind != UnitKind::Job) || !self.is_armed(id) {
            return self.late();
        }
        self.fire(id, trigger, None);
    }

    /// `mcsup run`: answered when every run is over, or at once.
    pub(crate) fn ask_run(&mut self, request: RequestId, units: &[UnitId], wait: bool) {
        if self.refuse_in_shutdown(request) {
            return;
        }
        let left = u32::try_from(units.len()).unwrap_or(u32::MAX);
        self.jobs.requests.insert(request, RunRequest { left, lines: Vec::new() });
        for id in units.iter().copied() {
            if !self.is_job(id) {
                let text = format!("is a {}, and no job: use `mcsup start`", self.spec(id).kind).into();
                self.answer_run(request, Line { unit: id, is_well: false, text });
            } else if !self.is_armed(id) {
                let text = "is not armed; `mcsup start` arms it".into();
                self.answer_run(request, Line { unit: id, is_well: false, text });
            } else {
                self.fire(id, Trigger::Operator, Some(request));
                if !wait {
                    self.answer_run(request, Line { unit: id, is_well: true, text: "asked for".into() });
                }
            }
        }
    }

    fn answer_run(&mut self, request: RequestId, line: Line) {
        let Some(pending) = self.jobs.requests.get_mut(&request) else { return };
        if pending.lines.iter().any(|known| known.unit == line.unit) {
            return;
        }
        pending.lines.push(line);
        pending.left = pending.left.saturating_sub(1);
        if pending.left == 0 {
            let lines = self.jobs.requests.remove(&request).unwrap_or_default().lines;
            let answer: Answer = sum_up(lines);
            self.actions.push(Effect::Reply { request, answer });
        }
    }

    pub(crate) fn forget_run_request(&mut self, request: RequestId) {
        self.jobs.requests.remove(&request);
    }

    /// Verdicts in a row, the newest last.
    fn note_verdict(&mut self, id: UnitId, verdict: &JobVerdict) {
        let past = &mut self.job_mut(id).past;
        let is_same = past.verdict.as_ref().is_some_and(|last| last.is_passed() == verdict.is_passed());
        past.streak = if is_same { past.streak.saturating_add(1) } else { 1 };
        past.verdict = Some(verdict.clone());
        self.units[id].has_passed = verdict.is_passed();
        self.wake_neighbours(id); // its state may stay what it is
    }
}
