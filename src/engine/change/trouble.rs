//! Incidents of changes: a units directory that cannot be used, and a change that was not well. One at a time.

use crate::engine::Engine;
use crate::engine::effect::Fact;
use crate::engine::incident::Incident;

impl Engine {
    /// The units directory was looked at: `trouble` says why it cannot be used.
    pub(crate) fn on_directory_found(&mut self, trouble: Option<Box<str>>) {
        match trouble {
            Some(cause) => self.open_change_incident(cause),
            None => self.close_change_incident(),
        }
    }

    /// Where one is open already, what began it explains what followed.
    pub(super) fn open_change_incident(&mut self, cause: Box<str>) {
        if self.change_incident.is_some() {
            return;
        }
        let incident = self.number_incident();
        let began = self.now.mono;
        self.facts.push(Fact::IncidentOpened { incident, unit: None, cause: cause.clone(), began });
        self.put_incident(incident, Incident::new(None, began, cause));
        self.change_incident = Some(incident);
    }

    pub(super) fn close_change_incident(&mut self) {
        if let Some(incident) = self.change_incident.take() {
            self.close(incident, None, true);
        }
    }
}
