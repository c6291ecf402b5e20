//! A task that had completed when a change began, and that the change took away, stopped or replaced: where the change
//! goes back, the definition that has completed is in force again, and does not run once more.

use crate::engine::Engine;
use crate::engine::event::ExitStatus;
use crate::engine::id::UnitId;
use crate::engine::state::{StateName, UnitState};
use crate::graph::{Action, Plan};
use crate::unit::spec::UnitKind;

impl Engine {
    /// Tasks that have completed.
    pub(super) fn tasks_done(&self) -> impl Iterator<Item = UnitId> + '_ {
        let is_task = |id: &UnitId| self.spec(*id).kind == UnitKind::Task;
        let is_done = |id: &UnitId| self.units[*id].state == UnitState::Completed;
        self.set.present().filter(move |id| is_task(id) && is_done(id))
    }

    /// On the way back. Whoever follows another one's restart follows it back as well; and where a person had a word in
    /// between, that holds.
    pub(super) fn be_done_again(&mut self, plan: &Plan) {
        let Some(change) = self.change.as_ref().filter(|change| change.rolls_back.is_some()) else { return };
        let follows = |id: &UnitId| {
            plan.steps.iter().any(|step| step.unit == *id && step.action == Action::FollowRestart)
        };
        let is_done = |id: UnitId| self.units[id].state == UnitState::Completed;
        let may_be = |id: &UnitId| (change.desires.contains_key(id) || is_done(*id)) && !follows(id);
        let is_there = |id: &UnitId| self.set.unit(*id).is_some_and(|spec| !spec.is_removed);
        let done: Vec<UnitId> = change.done.iter().copied().filter(is_there).filter(may_be).collect();
        for id in done {
            // What lives is of the definition that goes, and cannot be killed: what comes after it is not known.
            if !self.units[id].desired.is_up() || self.units[id].is_live() {
                continue;
            }
            self.called.retain(|called| *called != id);
            if self.units[id].state != UnitState::Completed {
                if self.units[id].state.name() != StateName::Inactive {
                    self.rest(id, UnitState::Inactive);
                }
                self.units[id].last_exit = Some(ExitStatus::Code(0));
                self.enter(id, UnitState::Completed);
            }
            self.units[id].has_passed = true;
        }
    }
}
