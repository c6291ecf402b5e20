//! An essential unit whose end is a change's doing: the change goes back before that is the end of everything.

use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::change::Stage;
use crate::engine::id::UnitId;
use crate::engine::state::StateName;
use crate::unit::spec::UnitKind;

impl Engine {
    /// Whom the change touched, whoever requires them, and who is part of their trouble.
    pub(super) fn is_of_change(&self, id: UnitId) -> bool {
        let Some(change) = &self.change else { return false };
        if change.reach.contains(&id) {
            return true;
        }
        let incident = self.units[id].incident.filter(|incident| *incident > change.last_incident);
        let found = incident.and_then(|incident| self.incidents.get(&incident));
        found.is_some_and(|found| {
            found.root.iter().chain(&found.affected).any(|unit| change.reach.contains(unit))
        })
    }

    /// Its end makes the change under way go back, or came under definitions that go already.
    pub(crate) fn is_spared(&self, id: UnitId) -> bool {
        let Some(change) = &self.change else { return false };
        let goes = match change.rolls_back {
            None => change.rules.rolls_back,
            Some(_) => change.stage == Stage::Stopping,
        };
        goes && self.is_of_change(id)
    }

    /// Whether the end of an essential unit is one that a change may be to blame for. A task that has passed did what it
    /// was for; a service is there to stay.
    pub(crate) fn is_premature_end(&self, id: UnitId, state: StateName) -> bool {
        match state {
            StateName::Failed => true,
            StateName::Completed => self.spec(id).kind == UnitKind::Service,
            StateName::Inactive
            | StateName::Waiting
            | StateName::Starting
            | StateName::Ready
            | StateName::Unhealthy
            | StateName::Stopping
            | StateName::Backoff => false,
        }
    }

    /// A supervisor was lost, and a change goes on: only now it is known whose ends are its doing.
    pub(crate) fn decide_unseen_ends(&mut self) {
        let not_spared = self.ended_essentials.iter().copied().find(|id| !self.is_spared(*id));
        if let Some(id) = not_spared {
            self.ended_essentials.clear();
            self.end_with(id);
        }
    }

    /// Everything of this step is known. True: there is more to advance.
    pub(crate) fn go_back_for_an_essential(&mut self) -> bool {
        let Some(id) = self.ended_essentials.pop_first() else { return false };
        if !self.is_premature_end(id, self.units[id].state.name()) || !self.units[id].desired.is_up() {
            return true; // it comes again, or nobody wants it
        }
        if !self.is_spared(id) {
            self.end_with(id);
        } else if self.change.as_ref().is_some_and(|change| change.rolls_back.is_none()) {
            let (name, reason) = (self.spec(id).name.clone(), self.reason(id));
            self.roll_back(format!("{name} is essential and has ended: {reason}").into());
        }
        true
    }

    /// The earlier definitions are in force: whose end was spared has another try, and the next end counts.
    pub(super) fn revive_spared(&mut self) {
        if self.change.as_ref().is_none_or(|change| change.rolls_back.is_none()) {
            return;
        }
        let set = Arc::clone(&self.set);
        let is_essential = |id: &UnitId| set.unit(*id).is_some_and(|spec| spec.essential);
        for id in set.present().filter(is_essential) {
            let unit = &self.units[id];
            let is_spared = unit.desired.is_up() && self.is_premature_end(id, unit.state.name());
            // Of no other unit an end was left undecided.
            if is_spared && self.is_of_change(id) && !self.called.contains(&id) {
                self.forget_failures(id);
                self.called.push(id);
            }
        }
    }
}
