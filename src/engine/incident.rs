//! One spell of trouble of one unit: opened by the first failure, closed when it works again.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::Fact;
use crate::engine::id::{IncidentId, UnitId};
use crate::engine::state::StateName;
use crate::engine::timers::Timer;

/// Ready this long: the spell is over. A loop of crashes right after `ready` stays one incident.
const SETTLE: Duration = Duration::from_secs(10);

impl Engine {
    /// Joins the open incident of the unit, where there is one.
    pub(crate) fn open_incident(&mut self, id: UnitId, cause: &str) {
        if self.units[id].incident.is_none() {
            let incident = self.number_incident();
            self.units[id].incident = Some(incident);
            self.facts.push(Fact::IncidentOpened { incident, unit: Some(id), cause: cause.into() });
            self.touch(id);
        }
    }

    pub(crate) fn close_incident(&mut self, id: UnitId) {
        if let Some(incident) = self.units[id].incident.take() {
            self.open_incidents = self.open_incidents.saturating_sub(1);
            self.timers.cancel(Some(id), Timer::Settle);
            self.facts.push(Fact::IncidentClosed { incident, unit: Some(id) });
            self.touch(id);
        }
    }

    /// The only timer that a ready unit without probes can have, and only while its incident is open.
    pub(crate) fn watch_it_settle(&mut self, id: UnitId) {
        if self.units[id].incident.is_some() && self.units[id].state.name() == StateName::Ready {
            self.timers.set(Some(id), Timer::Settle, self.now.mono.after(SETTLE));
        }
    }

    pub(crate) fn number_incident(&mut self) -> IncidentId {
        self.last_incident += 1;
        self.open_incidents = self.open_incidents.saturating_add(1);
        IncidentId(self.last_incident)
    }
}
