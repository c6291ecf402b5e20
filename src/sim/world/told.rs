//! What runs say of themselves, what is only watched, helpers, and strangers who connect.

use std::time::Duration;

use crate::engine::effect::{Lever, Role};
use crate::engine::event::{Event, ExitStatus, HelperOutcome, Notice};
use crate::engine::id::{HelperId, RunId, UnitId};
use crate::sim::actor::{Repair, RepairScript, StopCommand, StopCommandScript};
use crate::sim::world::{Happening, World};
use crate::unit::spec::{Ready, UnitKind};

impl World {
    /// Puts into the heap what a run shows by itself once it lives; it is looked at again when it comes.
    pub(super) fn plan_signs(&mut self, run: RunId) {
        let Some(row) = self.table.rows.get(&run) else { return };
        let (Some(exec_at), unit) = (row.exec_at(), row.unit) else { return };
        if let Some(after) = self.script(unit).shows_ready.filter(|_| self.shows_ready(unit)) {
            self.later(exec_at.after(after).since(self.now), Happening::ShowsReady(run));
        }
    }

    pub(super) fn plan_keep_alive(&mut self, run: RunId) {
        let Some(unit) = self.table.rows.get(&run).map(|row| row.unit) else { return };
        let period = self.set.unit(unit).and_then(|spec| spec.watchdog?.checked_div(2));
        if let Some(period) = period {
            self.later(period, Happening::KeepsAlive(run));
        }
    }

    fn shows_ready(&self, unit: UnitId) -> bool {
        self.set.unit(unit).is_some_and(|spec| match spec.ready {
            Ready::Notify | Ready::Log(_) | Ready::Fd(_) => true,
            Ready::Started | Ready::Health => false,
        })
    }

    pub(super) fn shows_ready_by_script(&mut self, run: RunId) {
        let Some(row) = self.table.rows.get(&run) else { return };
        let (Some(exec_at), Some(after)) = (row.exec_at(), self.script(row.unit).shows_ready) else { return };
        if exec_at.after(after) <= self.now && !row.is_ready_shown {
            self.show_ready(run);
        }
    }

    /// In the way that its unit names.
    pub(super) fn show_ready(&mut self, run: RunId) {
        let Some(row) = self.table.rows.get_mut(&run).filter(|row| row.is_leader_live()) else { return };
        row.is_ready_shown = true;
        let is_watched = row.is_line_watched;
        match self.set.unit(row.unit).map(|spec| &spec.ready) {
            Some(Ready::Log(_)) if is_watched => {
                self.later(Duration::ZERO, Happening::Deliver(Event::ReadyShown { run }));
            }
            Some(Ready::Log(_)) => {} // whoever looks later finds it
            Some(Ready::Notify) => self.report_of(run, Event::Notified { run, notice: Notice::Ready }),
            Some(Ready::Started | Ready::Health | Ready::Fd(_)) | None => {
                self.report_of(run, Event::ReadyShown { run });
            }
        }
    }

    pub(super) fn say(&mut self, unit: UnitId, notice: &Notice) {
        let Some(run) = self.table.live_run(unit) else { return };
        let is_notify = self.set.unit(unit).is_some_and(|spec| spec.ready == Ready::Notify);
        let Some(row) = self.table.rows.get_mut(&run).filter(|row| row.is_leader_live()) else { return };
        row.is_ready_shown |= is_notify && *notice == Notice::Ready;
        self.report_of(run, Event::Notified { run, notice: notice.clone() });
    }

    pub(super) fn keep_alive(&mut self, run: RunId) {
        let Some(row) = self.table.rows.get(&run).filter(|row| row.is_leader_live()) else { return };
        if !self.script(row.unit).is_silent {
            self.report_of(run, Event::Notified { run, notice: Notice::Watchdog });
        }
        self.plan_keep_alive(run);
    }

    pub(super) fn watch_ready_line(&mut self, run: RunId) {
        let Some(row) = self.table.rows.get_mut(&run) else {
            return self
                .violate(6, format!("the log of run {}, which the keeper does not know, is read", run.0));
        };
        row.is_line_watched = true;
        if row.is_ready_shown {
            self.later(Duration::ZERO, Happening::Deliver(Event::ReadyShown { run }));
        }
    }

    /// A connection that nobody waits for yet stays in the socket's queue.
    pub(super) fn connect_to(&mut self, unit: UnitId) {
        if self.awaited.contains(&unit) {
            self.later(Duration::ZERO, Happening::Deliver(Event::ConnectionArrived { unit }));
        } else if self.table.live_run(unit).is_none() {
            self.knocking.insert(unit);
        }
    }

    pub(super) fn await_connection(&mut self, unit: UnitId) {
        self.awaited.insert(unit);
        if self.knocking.remove(&unit) {
            self.connect_to(unit);
        }
    }

    /// Somebody who is not mcsup starts or ends what it only watches.
    pub(super) fn set_outside(&mut self, unit: UnitId, is_up: bool) {
        if !is_up {
            self.outside.remove(&unit);
        } else if !self.outside.contains_key(&unit) {
            self.outside.insert(unit, self.now);
        }
    }

    pub(super) fn run_helper(&mut self, helper: HelperId, unit: UnitId, role: Role, timeout: Duration) {
        let script = self.script(unit);
        let (takes, outcome) = match &role {
            Role::StopCommand { run } => {
                if !self.table.rows.contains_key(run) {
                    let what = format!("stop command for run {}, which the keeper does not know", run.0);
                    self.violate(6, what);
                }
                script.stop_command.ends(timeout)
            }
            Role::Lever(lever) => {
                if self.set.unit(unit).is_none_or(|spec| spec.kind != UnitKind::External) {
                    self.violate(6, format!("a lever of unit {}, which has none", unit.0));
                }
                let command = match lever {
                    Lever::Start => script.start_lever,
                    Lever::Stop => script.stop_command,
                    Lever::Restart => script.restart_lever,
                };
                command.ends(timeout)
            }
            Role::Repair { .. } | Role::Reload { .. } => script.repair.ends(timeout),
        };
        self.helpers.insert(helper, (unit, role));
        self.later(takes, Happening::HelperEnds(helper, outcome));
    }

    pub(super) fn helper_ends(&mut self, helper: HelperId, outcome: HelperOutcome) {
        let Some((unit, role)) = self.helpers.remove(&helper) else { return }; // cancelled
        let mut said = "";
        match role {
            Role::StopCommand { run } if outcome.is_success() => self.leader_ends(run, ExitStatus::Code(0)),
            Role::Lever(Lever::Start) if outcome.is_success() => self.set_outside(unit, true),
            Role::Lever(Lever::Stop) if outcome.is_success() => self.set_outside(unit, false),
            Role::Lever(Lever::Restart) if outcome.is_success() => {
                self.outside.insert(unit, self.now);
            }
            Role::Repair { .. } | Role::Reload { .. } => {
                if let RepairScript::Ends(healing) = self.script(unit).repair.outcome
                    && outcome.is_success()
                {
                    self.heal(unit, healing);
                }
            }
            Role::Lever(_) if outcome == HelperOutcome::Ended(ExitStatus::Code(1)) => said = "no such thing",
            Role::StopCommand { .. } | Role::Lever(_) => {}
        }
        let event = Event::HelperFinished { helper, outcome, said: said.into() };
        self.later(Duration::ZERO, Happening::Deliver(event));
    }
}

impl StopCommand {
    fn ends(self, timeout: Duration) -> (Duration, HelperOutcome) {
        match self.outcome {
            StopCommandScript::NotStarted => (Duration::ZERO, HelperOutcome::NotStarted),
            StopCommandScript::Hangs => (timeout, HelperOutcome::TimedOut),
            StopCommandScript::Works | StopCommandScript::Fails if self.takes >= timeout => {
                (timeout, HelperOutcome::TimedOut)
            }
            StopCommandScript::Works => (self.takes, HelperOutcome::Ended(ExitStatus::Code(0))),
            StopCommandScript::Fails => (self.takes, HelperOutcome::Ended(ExitStatus::Code(1))),
        }
    }
}

impl Repair {
    fn ends(self, timeout: Duration) -> (Duration, HelperOutcome) {
        match self.outcome {
            RepairScript::NotStarted => (Duration::ZERO, HelperOutcome::NotStarted),
            RepairScript::Hangs => (timeout, HelperOutcome::TimedOut),
            RepairScript::Ends(_) | RepairScript::Fails if self.takes >= timeout => {
                (timeout, HelperOutcome::TimedOut)
            }
            RepairScript::Ends(_) => (self.takes, HelperOutcome::Ended(ExitStatus::Code(0))),
            RepairScript::Fails => (self.takes, HelperOutcome::Ended(ExitStatus::Code(1))),
        }
    }
}
