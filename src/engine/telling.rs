//! Who hears of trouble: the channels that a ladder names, or every one where nothing more is tried.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::engine::effect::Effect;
use crate::engine::id::UnitId;
use crate::engine::incident::Told;
use crate::engine::state::{FailureCause, UnitState};
use crate::unit::spec::recover::Rung;

impl Engine {
    /// Alerts that come next; each channel is told once.
    pub(crate) fn pass_alerts(&mut self, id: UnitId) {
        while let Some(share) = self.share(id)
            && let Some(Rung::Alert { channel }) = self.rung(id, share.rung)
        {
            let at = share.rung;
            if let Some(share) = self.share_mut(id) {
                share.rung = at.saturating_add(1);
            }
            let is_told = self.units[id]
                .incident
                .and_then(|number| self.incidents.get(&number))
                .is_some_and(|incident| incident.told.contains(&(channel.clone(), Told::Trouble)));
            if !is_told {
                self.tell_rung(id, at);
                let cause = self.trouble_words(id);
                self.alert(id, Some(channel), Told::Trouble, &cause);
            }
        }
    }

    fn trouble_words(&self, id: UnitId) -> String {
        match &self.units[id].state {
            UnitState::Unhealthy => format!("is unhealthy: {}", self.probe_words(id)),
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Starting
            | UnitState::Ready
            | UnitState::Stopping { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => {
                let incident = self.units[id].incident.and_then(|number| self.incidents.get(&number));
                format!("does not stay up: {}", incident.map_or("", |incident| &incident.cause))
            }
        }
    }

    /// `None`: to every channel.
    fn alert(&mut self, id: UnitId, channel: Option<Box<str>>, about: Told, what: &str) {
        let Some(incident) = self.units[id].incident else { return };
        if self.is_news(id, channel.as_deref().unwrap_or(""), about) {
            let text = format!("{} {what}", self.spec(id).name).into();
            self.actions.push(Effect::Alert { incident, unit: Some(id), channel, about, text });
        }
    }

    /// Its policy has given up: the channels of its ladder hear of it, or every one where it names none.
    pub(crate) fn give_up(&mut self, id: UnitId, cause: FailureCause) {
        let what = cause.to_string();
        self.rest(id, UnitState::Failed { cause });
        self.tell_that_it_gave_up(id, &what);
    }

    /// Nothing more is tried.
    pub(crate) fn tell_that_it_gave_up(&mut self, id: UnitId, cause: &str) {
        let what = format!("gave up: {cause}");
        let channels: BTreeSet<Box<str>> = self
            .spec(id)
            .recover
            .rungs
            .iter()
            .filter_map(|rung| match rung {
                Rung::Alert { channel } => Some(channel.clone()),
                Rung::Exec { .. } | Rung::Restart { .. } | Rung::Reload(_) | Rung::Stop => None,
            })
            .collect();
        if channels.is_empty() && self.has_channels() {
            self.alert(id, None, Told::GaveUp, &what);
        }
        for channel in channels {
            self.alert(id, Some(channel), Told::GaveUp, &what);
        }
    }

    /// Somebody can hear an alert that names nobody.
    fn has_channels(&self) -> bool {
        !self.set.alerts.is_empty()
    }
}
