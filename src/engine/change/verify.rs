//! Whether a change is good: everything that it touched, and what depends on it, works for a while, and nobody else is
//! part of their trouble.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::change::Stage;
use crate::engine::effect::{ChangeFact, ChangeOutcome};
use crate::engine::id::UnitId;
use crate::engine::state::StateName;
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::graph::Plan;

/// Units that a reason names; of more it is said how many there are.
const MOST_NAMED: usize = 3;
/// Failures in a row of a unit that a change touched, after which it goes back at once.
const FAILED_AGAIN: u32 = 3;

impl Engine {
    /// Everything that the change held back may start now, and the time in which all must be well begins.
    pub(super) fn begin_verifying(&mut self) {
        let Some(change) = &mut self.change else { return };
        change.stage = Stage::Verifying;
        change.is_extended = false;
        let plan = change.plan.clone();
        let held = std::mem::take(&mut change.held);
        for id in held {
            self.mark(id);
        }
        self.watch_change(&plan);
        self.set_windows(self.now.mono);
        self.weigh_change();
    }

    pub(super) fn watch_change(&mut self, plan: &Plan) {
        let affected = plan.affected(&self.graph);
        let touched = plan.touched();
        let Some(change) = &self.change else { return };
        let is_watched = |id: &UnitId| touched.contains(id) || !change.was_unwell.contains(id);
        let watched: BTreeSet<UnitId> = affected.into_iter().filter(is_watched).collect();
        let unwell = watched.iter().copied().filter(|id| !self.is_well(*id)).collect();
        if let Some(change) = &mut self.change {
            change.watched = watched;
            change.unwell = unwell;
        }
    }

    pub(super) fn set_windows(&mut self, since: Timestamp) {
        let Some(change) = &self.change else { return };
        let (rules, stage, is_back) = (change.rules, change.stage, change.rolls_back.is_some());
        if stage == Stage::Verifying {
            self.timers.set(None, Timer::VerifyWindow, since.after(rules.verify));
        }
        if let Some(confirm) = rules.confirm.filter(|_| !is_back) {
            self.timers.set(None, Timer::ConfirmWindow, since.after(confirm));
        }
    }

    /// Who of those that this step touched is well, and what follows when all are.
    pub(super) fn weigh_change(&mut self) {
        let Some(change) = &self.change else { return };
        // Whoever falls ill by itself meanwhile proves nothing.
        let counts = |id: &UnitId| {
            change.watched.contains(id) || (!change.was_unwell.contains(id) && self.is_of_change(*id))
        };
        let (well, unwell): (Vec<UnitId>, Vec<UnitId>) =
            self.touched.iter().copied().filter(counts).partition(|id| self.is_well(*id));
        let gave_up =
            unwell.iter().copied().find(|id| self.is_beyond_hope(*id) && change.plan.touched().contains(id));
        let Some(change) = &mut self.change else { return };
        for id in &well {
            change.unwell.remove(id);
        }
        change.unwell.extend(unwell);
        if !change.unwell.is_empty() {
            self.timers.cancel(None, Timer::ChangeSettle);
            if gave_up.is_some() {
                self.fail_change();
            }
        } else if self.timers.at(None, Timer::ChangeSettle).is_none() {
            let settle = self.change_settle();
            if settle.is_zero() {
                return self.on_change_settled();
            }
            self.timers.set(None, Timer::ChangeSettle, self.now.mono.after(settle));
        }
    }

    /// It gave up, or failed again and again: waiting for the end of the window would only be more time without it.
    fn is_beyond_hope(&self, id: UnitId) -> bool {
        match self.units[id].state.name() {
            StateName::Failed => true,
            StateName::Backoff => self.units[id].attempt >= FAILED_AGAIN,
            StateName::Inactive
            | StateName::Waiting
            | StateName::Starting
            | StateName::Ready
            | StateName::Unhealthy
            | StateName::Stopping
            | StateName::Completed => false,
        }
    }

    /// Long enough for every probe of what was touched to ask once more.
    fn change_settle(&self) -> Duration {
        let Some(change) = &self.change else { return Duration::ZERO };
        let touched = change.plan.touched();
        if touched.is_empty() {
            return Duration::ZERO; // nothing that runs has changed
        }
        let probes = touched.iter().flat_map(|id| &self.spec(*id).health);
        let longest = probes.map(|probe| probe.interval.saturating_add(probe.timeout)).max();
        change.rules.settle.max(longest.unwrap_or_default())
    }

    pub(crate) fn on_change_settled(&mut self) {
        let Some(change) = &mut self.change else { return };
        self.timers.cancel(None, Timer::VerifyWindow);
        self.timers.cancel(None, Timer::ChangeSettle);
        if let Some(why) = change.rolls_back.clone() {
            return self.end_change(ChangeOutcome::RolledBack { why, is_well: true });
        }
        if change.rules.confirm.is_some() && !change.is_confirmed {
            change.stage = Stage::Confirming;
            let generation = change.generation;
            return self.tell_change(generation, ChangeFact::WaitsToBeConfirmed);
        }
        self.end_change(ChangeOutcome::Committed);
    }

    /// Its time is over. Where all is well at the moment, it is to show that it lasts, for which there is time once.
    pub(crate) fn on_verify_window_over(&mut self) {
        let settles_at = self.timers.at(None, Timer::ChangeSettle).filter(|at| *at > self.now.mono);
        let Some(change) = &mut self.change else { return };
        if !change.unwell.is_empty() {
            return self.fail_change();
        }
        match settles_at.filter(|_| !change.is_extended) {
            Some(at) => {
                change.is_extended = true;
                self.timers.set(None, Timer::VerifyWindow, at);
            }
            None => self.on_change_settled(),
        }
    }

    pub(crate) fn on_confirm_window_over(&mut self) {
        if self.change.as_ref().is_some_and(|change| !change.is_confirmed && change.rolls_back.is_none()) {
            self.roll_back("nobody confirmed it in time".into());
        }
    }

    fn fail_change(&mut self) {
        let why: Box<str> = self.unwell_words().into();
        let Some(change) = &self.change else { return };
        match (&change.rolls_back, change.rules.rolls_back) {
            (Some(first), _) => {
                let why = format!("{first}; and after the roll back: {why}").into();
                self.end_change(ChangeOutcome::RolledBack { why, is_well: false });
            }
            (None, true) => self.roll_back(why),
            (None, false) => self.end_change(ChangeOutcome::Kept { why }),
        }
    }

    fn unwell_words(&self) -> String {
        let Some(change) = &self.change else { return String::new() };
        let named = change.unwell.iter().take(MOST_NAMED);
        let mut words: Vec<String> = named
            .map(|id| {
                format!("{} is {}: {}", self.spec(*id).name, self.units[*id].state.name(), self.reason(*id))
            })
            .collect();
        let more = change.unwell.len().saturating_sub(MOST_NAMED);
        if more > 0 {
            words.push(format!("and {more} more"));
        }
        words.join("; ")
    }
}
