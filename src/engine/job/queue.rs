//! What waits for its turn: for its time, the run before it, what it needs, and room among all runs.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::{Effect, Fact, Line};
use crate::engine::event::{JobVerdict, RunStage, Trigger};
use crate::engine::id::{RequestId, RunId, UnitId};
use crate::engine::job::clock::age;
use crate::engine::job::{Due, JobRun};
use crate::engine::policy;
use crate::engine::time::Pretty;
use crate::engine::timers::Timer;
use crate::unit::spec::job::Overlap;

/// Why the first in a job's queue does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Its jitter or its backoff is not over.
    Time,
    /// An earlier run.
    Run,
    Dependency(UnitId),
    /// All runs together weigh too much.
    Room,
}

impl Engine {
    pub(crate) fn has_due(&self, id: UnitId) -> bool {
        self.jobs.by_unit.get(&id).is_some_and(|job| !job.waiting.is_empty())
    }

    pub(super) fn enqueue(&mut self, id: UnitId, trigger: Trigger, request: Option<RequestId>) {
        let now = self.now.mono;
        let slot = trigger.slot();
        let jitter = slot.map_or(Duration::ZERO, |slot| {
            let name = self.name(id).as_str();
            policy::share(self.job_spec(id).jitter, self.options.seed, name, slot.0)
        });
        let late = slot.map_or(Duration::ZERO, |slot| age(self.now.wall, slot));
        self.facts.push(Fact::JobTriggered { unit: id, trigger: trigger.clone(), late });
        let due = Due { trigger, since: now, attempt: 0, not_before: now.after(jitter), request };
        self.job_mut(id).waiting.push_back(due);
        self.mark(id);
    }

    /// Nothing of what waits will run.
    pub(super) fn drop_waiting(&mut self, id: UnitId, why: &str) {
        let waiting = std::mem::take(&mut self.job_mut(id).waiting);
        for due in waiting {
            self.skip(id, due.trigger, due.request, why);
        }
        self.timers.cancel(Some(id), Timer::JobDue);
        self.leave_turns(id);
    }

    /// Begins what may begin. Called when anything changed that it may have waited for.
    pub(crate) fn start_due(&mut self, id: UnitId) {
        while let Some(due) = self.job(id).waiting.front().cloned() {
            if self.has_waited_too_long(id, &due) {
                self.miss(id, &due);
                continue;
            }
            match self.hold(id, &due) {
                None => self.spawn_run(id),
                Some(hold) => return self.wait_on(id, &due, hold),
            }
        }
        self.timers.cancel(Some(id), Timer::JobDue);
        self.leave_turns(id);
    }

    fn has_waited_too_long(&self, id: UnitId, due: &Due) -> bool {
        let behind_slot = due.trigger.slot().map_or(Duration::ZERO, |slot| age(self.now.wall, slot));
        let waited = self.now.mono.since(due.since).max(behind_slot);
        self.job_spec(id).deadline.is_some_and(|deadline| waited > deadline)
    }

    /// It waited longer than `deadline`.
    fn miss(&mut self, id: UnitId, due: &Due) {
        let waited_for = self.hold(id, due).map(|hold| self.hold_words(id, hold));
        self.job_mut(id).waiting.pop_front();
        let deadline = self.job_spec(id).deadline.unwrap_or_default();
        let waits = waited_for.unwrap_or_else(|| "its turn".to_owned());
        let why = format!("waited more than {} for {waits}", Pretty(deadline));
        let slot = due.trigger.slot().unwrap_or(self.now.wall);
        let (trigger, said) = (due.trigger.clone(), why.clone().into());
        let missed =
            Fact::JobMissed { unit: id, trigger, why: said, slots: 1, first: slot, last: slot, caught_up: 0 };
        self.facts.push(missed);
        if let Some(request) = due.request {
            let text = format!("{} does not run: it {why}", self.name(id)).into();
            self.answer_run(request, Line { unit: id, is_well: false, text });
        }
        self.fails(id, None, &JobVerdict::Missed(why.into()));
        self.tell_those_after(id, false);
    }

    fn wait_on(&mut self, id: UnitId, due: &Due, hold: Hold) {
        self.tell_who_waits_in_vain(id, hold);
        if hold != Hold::Room {
            self.leave_turns(id);
        }
        let too_long = self.job_spec(id).deadline.map(|deadline| due.since.after(deadline).after(MOMENT));
        let begins = (hold == Hold::Time).then_some(due.not_before);
        match too_long.into_iter().chain(begins).min() {
            Some(at) => self.timers.set(Some(id), Timer::JobDue, at),
            None => self.timers.cancel(Some(id), Timer::JobDue),
        }
    }

    /// A person does not wait for what will not come by itself. The run does.
    fn tell_who_waits_in_vain(&mut self, id: UnitId, hold: Hold) {
        let Hold::Dependency(other) = hold else { return };
        // Nobody knows when another job runs next, and how that ends.
        if !self.is_hopeless(other) && !self.is_job(other) {
            return;
        }
        let text: Box<str> = format!("{} waits for {}", self.name(id), self.name(other)).into();
        let waiting = self.job_mut(id).waiting.iter_mut();
        let requests: Vec<RequestId> = waiting.filter_map(|due| due.request.take()).collect();
        for request in requests {
            self.answer_run(request, Line { unit: id, is_well: false, text: text.clone() });
        }
    }

    pub(super) fn first_hold(&self, id: UnitId) -> Option<Hold> {
        let due = self.job(id).waiting.front()?;
        let turn = self.job(id).turn;
        self.time_run_or_dependency(id, due).or_else(|| turn.map(|_since| Hold::Room))
    }

    fn hold(&mut self, id: UnitId, due: &Due) -> Option<Hold> {
        self.time_run_or_dependency(id, due).or_else(|| (!self.has_room(id, due)).then_some(Hold::Room))
    }

    fn time_run_or_dependency(&self, id: UnitId, due: &Due) -> Option<Hold> {
        if due.not_before > self.now.mono {
            return Some(Hold::Time);
        }
        let most = match self.job_spec(id).overlap {
            Overlap::Allow { most } => usize::try_from(most).unwrap_or(usize::MAX),
            Overlap::Skip | Overlap::Queue | Overlap::Replace => 1,
        };
        if self.job(id).runs.len() >= most {
            return Some(Hold::Run);
        }
        let missing = self.spec(id).depends_on.iter();
        let mut missing =
            missing.filter(|edge| !self.is_met(edge) && (edge.required || self.can_still_come(edge)));
        missing.next().map(|edge| Hold::Dependency(edge.unit))
    }

    /// Room is given in the order of asking, so that a heavy run is not passed by light ones for ever.
    fn has_room(&mut self, id: UnitId, due: &Due) -> bool {
        let Some(most) = self.set.concurrency else { return true };
        // Its place stays, whichever of its runs is the next.
        let since = *self.job_mut(id).turn.get_or_insert(due.since);
        self.jobs.turns.insert((since, id));
        let is_first = self.jobs.turns.first() == Some(&(since, id));
        is_first && self.jobs.load.saturating_add(self.job_spec(id).weight) <= most
    }

    /// Its turn is over or not wanted; the next may have room.
    pub(super) fn leave_turns(&mut self, id: UnitId) {
        if let Some(since) = self.job_mut(id).turn.take() {
            self.jobs.turns.remove(&(since, id));
            self.look_at_turns();
        }
    }

    pub(super) fn look_at_turns(&mut self) {
        if let Some((_, next)) = self.jobs.turns.first().copied() {
            self.mark(next);
        }
    }

    fn spawn_run(&mut self, id: UnitId) {
        let (now, wall) = (self.now.mono, self.now.wall);
        let Some(due) = self.job_mut(id).waiting.pop_front() else { return };
        let run = RunId(self.next_run);
        self.next_run += 1;
        let (timeout, weight) = (self.spec(id).start_timeout, self.job_spec(id).weight);
        let unit = &mut self.units[id];
        unit.last_ordinal = unit.last_ordinal.saturating_add(1);
        unit.remark = None;
        let ordinal = unit.last_ordinal;
        let job = self.job_mut(id);
        job.last_start = Some(now);
        (job.past.last_start, job.past.last_ordinal) = (wall, ordinal);
        job.last_run = Some(run);
        let stage = RunStage::Running;
        job.runs.insert(
            run,
            JobRun {
                due,
                ordinal,
                weight,
                ordered_at: now,
                pid: None,
                exit: None,
                stage,
                end: None,
                has_ended_unseen: false,
            },
        );
        self.jobs.load = self.jobs.load.saturating_add(weight);
        self.owners.runs.insert(run, id);
        self.leave_turns(id);
        self.plan_every(id);
        if let Some(timeout) = timeout {
            self.timers.set(Some(id), Timer::JobRun(run), now.after(timeout));
        }
        self.actions.push(Effect::Spawn { run, unit: id, ordinal });
    }

    /// Another run after one that did not pass.
    pub(super) fn try_again(&mut self, id: UnitId, due: &Due) {
        let backoff = self.spec(id).restart.backoff;
        let delay = policy::delay(&backoff, due.attempt, self.options.seed, self.name(id).as_str());
        let now = self.now.mono;
        let attempt = due.attempt.saturating_add(1);
        let not_before = now.after(delay);
        let again = Due { attempt, not_before, since: now, ..due.clone() };
        self.job_mut(id).waiting.push_front(again);
        self.mark(id);
    }

    pub(super) fn hold_words(&self, id: UnitId, hold: Hold) -> String {
        match hold {
            Hold::Time => "its time".to_owned(),
            Hold::Run => {
                let newest = self.job(id).runs.values().next_back().map_or(0, |run| run.ordinal);
                format!("the end of {}#{newest}", self.name(id))
            }
            Hold::Dependency(other) => self.name(other).to_string(),
            Hold::Room => {
                let most = self.set.concurrency.unwrap_or(0);
                format!("room: runs of weight {} of {most} are under way", self.jobs.load)
            }
        }
    }
}

/// After the deadline, and not at it.
const MOMENT: Duration = Duration::from_nanos(1);
