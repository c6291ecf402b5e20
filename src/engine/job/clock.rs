//! When the clock triggers a job: slots of its timetable on the wall clock, `every` on the one that counts suspend.

use crate::engine::Engine;
use crate::engine::effect::Fact;
use crate::engine::event::{JobVerdict, Trigger};
use crate::engine::id::UnitId;
use crate::engine::time::{Pretty, WallTime};
use crate::engine::timers::Timer;
use crate::unit::schedule::UnixTime;
use crate::unit::spec::job::CatchUp;
use std::time::Duration;

/// 2025-01-01: a machine whose clock shows less has not learned the time yet, and schedules wait until it has.
const FIRST_DATE: WallTime = WallTime(1_735_689_600 * SECOND);
const SECOND: u64 = 1_000_000_000;
/// What is acted on within a minute was not missed: nobody schedules finer and counts on it.
const LATE: u64 = 60 * SECOND;
/// A clock that was set back further was wrong before; less is the end of summer time done by hand, or NTP's
/// correction, and slots do not come twice for it. Debian's cron(8) draws the line there.
const CORRECTION: u64 = 3 * 3600 * SECOND;
/// Slots that are told apart; of more it is said that there are many.
const MOST_COUNTED: usize = 100_000;

impl Engine {
    /// A timetable that was not there before has missed nothing: an edited schedule never fires by itself.
    pub(super) fn heed_timetable(&mut self, id: UnitId) {
        let digest = self.job_spec(id).timetable.digest();
        let now = self.now.wall;
        let past = &mut self.job_mut(id).past;
        if past.timetable != digest {
            past.timetable = digest;
            past.last_slot = now;
        }
    }

    /// The next slot after the last that was dealt with.
    pub(crate) fn plan_slot(&mut self, id: UnitId) {
        self.forget_slot(id);
        let now = self.now.wall;
        if self.job_spec(id).timetable.schedules.is_empty() || now < FIRST_DATE {
            return;
        }
        if self.job(id).past.last_slot < FIRST_DATE {
            self.job_mut(id).past.last_slot = now;
        }
        let last = self.job(id).past.last_slot;
        let next = self.job_spec(id).timetable.next(UnixTime::from_nanos(last.0));
        let next = next.map(|next| WallTime(next.nanos()));
        self.jobs.slots.extend(next.map(|next| (next, id)));
        self.job_mut(id).next_slot = next;
    }

    pub(crate) fn forget_slot(&mut self, id: UnitId) {
        if let Some(next) = self.job_mut(id).next_slot.take() {
            self.jobs.slots.remove(&(next, id));
        }
    }

    pub(crate) fn take_due_slots(&mut self) {
        while let Some((slot, id)) = self.jobs.slots.first().copied()
            && slot <= self.now.wall
        {
            self.on_slot(id, slot);
        }
    }

    /// One slot, or as many as went by since.
    fn on_slot(&mut self, id: UnitId, slot: WallTime) {
        let now = self.now.wall;
        let timetable = &self.job_spec(id).timetable;
        let before = |at: WallTime| UnixTime(UnixTime::from_nanos(at.0).0.saturating_sub(1));
        let until = UnixTime::from_nanos(now.0);
        let last = timetable.previous(UnixTime(until.0.saturating_add(1)));
        let last = last.map_or(slot, |last| WallTime(last.nanos())).max(slot);
        let fresh_from = WallTime(now.0.saturating_sub(LATE));
        let is_fresh = last >= fresh_from;
        // The last one is for now, or as old as the others.
        let end = if is_fresh { before(last) } else { UnixTime::from_nanos(last.0) };
        let passed = timetable.slots(before(slot), end).take(MOST_COUNTED).count();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let wants_all = matches!(self.job_spec(id).catch_up, CatchUp::All { .. });
        self.job_mut(id).past.last_slot = last;
        self.plan_slot(id);
        if passed > 0 && (slot < fresh_from || wants_all) {
            self.catch_up(id, passed, slot, last, is_fresh);
        } else if passed > 0 {
            let why = format!("{passed} slots went by until the one that is due now");
            let why = if passed == 1 { "its slot went by until the one that is due now" } else { &why };
            self.skip(id, Trigger::Slot(slot), None, why);
        }
        if is_fresh && passed > 0 && wants_all {
            self.enqueue(id, Trigger::Slot(last), None); // behind those that it comes after
        } else if is_fresh {
            self.fire(id, Trigger::Slot(last), None);
        }
    }

    /// Slots that nobody was there for: one incident with a count, and as many runs as `catch_up` says.
    fn catch_up(&mut self, id: UnitId, missed: u32, first: WallTime, last: WallTime, is_fresh: bool) {
        let now = self.now.wall;
        let spec = self.job_spec(id);
        let is_in_time = |slot: WallTime| spec.deadline.is_none_or(|deadline| age(now, slot) <= deadline);
        let made_up: Vec<WallTime> = match spec.catch_up {
            CatchUp::None => Vec::new(),
            // The run that is due now stands for those before it.
            CatchUp::Once if is_fresh => Vec::new(),
            CatchUp::Once => Some(last).filter(|slot| is_in_time(*slot)).into_iter().collect(),
            CatchUp::All { most } => {
                let mut slots = Vec::new();
                let mut at = UnixTime::from_nanos(last.0);
                at = if is_fresh { at } else { UnixTime(at.0.saturating_add(1)) };
                while slots.len() < usize::try_from(most).unwrap_or(usize::MAX)
                    && let Some(slot) = spec.timetable.previous(at)
                    && let found = WallTime(slot.nanos())
                    && found >= first
                    && is_in_time(found)
                {
                    slots.push(found);
                    at = slot;
                }
                slots.reverse();
                slots
            }
        };
        let caught_up = u32::try_from(made_up.len()).unwrap_or(u32::MAX);
        let (trigger, why) = (Trigger::Slot(last), "nobody was there".into());
        let slots = missed;
        self.facts.push(Fact::JobMissed { unit: id, trigger, why, slots, first, last, caught_up });
        let what = if missed == 1 { "a slot".to_owned() } else { format!("{missed} slots") };
        let why = format!("{what} in the last {}", Pretty(whole_seconds(age(now, first))));
        self.fails(id, None, &JobVerdict::Missed(why.into()));
        for slot in made_up {
            self.enqueue(id, Trigger::Slot(slot), None);
        }
    }

    /// The wall clock was set. Forward: slots may be due. Back: those that ran do not come again, unless the
    /// clock was wrong by hours.
    pub(crate) fn on_clock_stepped(&mut self) {
        let now = self.now.wall;
        let armed: Vec<UnitId> = self.jobs.by_unit.keys().copied().filter(|id| self.is_armed(*id)).collect();
        for id in armed {
            if self.job(id).past.last_slot.0.saturating_sub(now.0) > CORRECTION {
                self.job_mut(id).past.last_slot = now;
            }
            self.plan_slot(id);
        }
        self.take_due_slots();
    }

    pub(crate) fn plan_every(&mut self, id: UnitId) {
        let Some(every) = self.job_spec(id).every else { return };
        let job = self.job(id);
        let due = match job.last_start {
            Some(start) => start.after(every),
            // It ran in an earlier boot, as far as the wall clock tells.
            None if job.past.last_start > FIRST_DATE => {
                let left = every.saturating_sub(age(self.now.wall, job.past.last_start));
                self.now.mono.after(left)
            }
            None => self.units[id].since.after(every),
        };
        if due > self.now.mono {
            self.timers.set(Some(id), Timer::JobEvery, due);
        } else {
            self.on_every(id);
        }
    }

    pub(crate) fn on_every(&mut self, id: UnitId) {
        if let Some(every) = self.job_spec(id).every {
            self.timers.set(Some(id), Timer::JobEvery, self.now.mono.after(every));
        }
        self.fire(id, Trigger::Every, None);
    }
}

pub(super) fn age(now: WallTime, at: WallTime) -> Duration {
    Duration::from_nanos(now.0.saturating_sub(at.0))
}

fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}
