//! Helpers: commands that mcsup runs for a unit beside its own. What each is for decides where its answer goes.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::{Effect, Role};
use crate::engine::event::HelperOutcome;
use crate::engine::id::{HelperId, UnitId};

impl Engine {
    pub(crate) fn run_helper(&mut self, unit: UnitId, role: Role, timeout: Duration) -> HelperId {
        let helper = HelperId(self.next_helper);
        self.next_helper += 1;
        self.owners.helpers.insert(helper, (unit, role.clone()));
        self.actions.push(Effect::RunHelper { helper, unit, role, timeout });
        helper
    }

    /// Its answer is late from here on.
    pub(crate) fn cancel_helper(&mut self, helper: HelperId) {
        if self.owners.helpers.remove(&helper).is_some() {
            let is_begun = |effect: &Effect| matches!(effect, Effect::RunHelper { helper: begun, .. } if *begun == helper);
            self.take_back(is_begun, Effect::CancelHelper { helper });
        }
    }

    /// What began in this very step never begins; what began before is cancelled.
    pub(crate) fn take_back(&mut self, is_begun: impl Fn(&Effect) -> bool, cancel: Effect) {
        match self.actions.iter().rposition(is_begun) {
            Some(at) => drop(self.actions.remove(at)),
            None => self.actions.push(cancel),
        }
    }

    pub(crate) fn on_helper_finished(&mut self, helper: HelperId, outcome: HelperOutcome, said: &str) {
        let Some((id, role)) = self.owners.helpers.remove(&helper) else {
            return self.late();
        };
        self.touch(id);
        match role {
            Role::StopCommand { run } => self.on_stop_command_finished(id, run),
            Role::Lever(lever) => self.on_lever_finished(id, helper, lever, outcome, said),
            Role::Repair { .. } | Role::Reload { .. } => self.on_repaired(id, helper, outcome, said),
        }
    }
}
