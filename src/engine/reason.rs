//! The sentence that every state carries, and the chain that explains it.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::id::UnitId;
use crate::engine::incident::CAPTURE_WAIT;
use crate::engine::state::{
    Desired, DownSource, FailureCause, Health, StopReason, StopStage, UnitState, WaitingOn,
};
use crate::engine::status::{Overview, UnitStatus, WhyLink};
use crate::engine::time::Pretty;
use crate::unit::spec::probe::Pattern;
use crate::unit::spec::{Condition, Follow, Ready, UnitKind};

impl Engine {
    pub fn status(&self, id: UnitId) -> Option<UnitStatus> {
        self.set.unit(id)?;
        let unit = &self.units[id];
        Some(UnitStatus {
            unit: id,
            state: unit.state.name(),
            desired: unit.desired,
            reason: self.reason(id),
            run: unit.run.as_ref().map(|run| run.id),
            ordinal: unit.last_ordinal,
            pid: unit
                .run
                .as_ref()
                .filter(|run| run.exit.is_none())
                .and_then(|run| run.main_pid.or(run.pid))
                .or_else(|| self.job_pid(id)),
            since: unit.since,
            restarts: unit.restarts,
            health: (!unit.probes.is_empty()).then_some(unit.health),
            last_exit: unit.last_exit,
            incident: unit.incident,
            reached_by: unit.reached_by.filter(|incident| self.incidents.contains_key(incident)),
            is_listening: self.rests_for_connection(id),
            told: unit.told.clone(),
        })
    }

    pub fn overview(&self) -> Overview {
        Overview {
            is_booted: self.boot.is_booted,
            phase: self.last_open_phase(),
            is_stopping: self.boot.shutdown.is_some(),
            open_incidents: u32::try_from(self.incidents.len()).unwrap_or(u32::MAX),
            late_facts: self.late_facts,
        }
    }

    /// From the unit down to the cause, through the graph. Never empty.
    pub fn why(&self, id: UnitId) -> Vec<WhyLink> {
        let mut chain = Vec::new();
        let mut at = id;
        for _ in 0..self.units.0.len() {
            let unit = &self.units[at];
            chain.push(WhyLink { unit: at, state: unit.state.name(), text: self.reason(at) });
            match self.next_in_chain(at) {
                Some(next) if !chain.iter().any(|link| link.unit == next) => at = next,
                Some(_) | None => break,
            }
        }
        chain
    }

    fn next_in_chain(&self, id: UnitId) -> Option<UnitId> {
        match (&self.units[id].state, self.units[id].desired) {
            (UnitState::Waiting { on: WaitingOn::Dependency(other) | WaitingOn::Conflict(other), .. }, _) => {
                Some(*other)
            }
            (UnitState::Waiting { on: WaitingOn::Barrier, .. }, _) => self.worst_holder(),
            (UnitState::Waiting { on: WaitingOn::Connection | WaitingOn::Change, .. }, _) => None,
            (UnitState::Stopping { why: StopReason::Follow(other) | StopReason::Heals(other), .. }, _) => {
                Some(*other)
            }
            (UnitState::Inactive, Desired::Down(DownSource::Dependency)) => self.dependency_that_is_down(id),
            (UnitState::Starting | UnitState::Ready | UnitState::Unhealthy, Desired::Down(_)) => {
                self.holder_of(id)
            }
            (UnitState::Unhealthy, Desired::Up(_)) if self.holding.contains(&id) => {
                self.explained_by_trouble_of(id)
            }
            (
                UnitState::Inactive
                | UnitState::Starting
                | UnitState::Ready
                | UnitState::Unhealthy
                | UnitState::Stopping { .. }
                | UnitState::Backoff { .. }
                | UnitState::Failed { .. }
                | UnitState::Completed,
                _,
            ) => None,
        }
    }

    /// Of the units that hold the barrier, one that will not let go, if there is one.
    fn worst_holder(&self) -> Option<UnitId> {
        let first = || self.holders_of(self.last_open_phase()).first().copied();
        self.boot.stuck_holder().or_else(first)
    }

    fn dependency_that_is_down(&self, id: UnitId) -> Option<UnitId> {
        let edges = &self.spec(id).depends_on;
        edges.iter().find(|edge| !self.units[edge.unit].desired.is_up()).map(|edge| edge.unit)
    }

    /// One line for a person. Never empty.
    pub(crate) fn reason(&self, id: UnitId) -> String {
        let unit = &self.units[id];
        match &unit.state {
            UnitState::Inactive => self.why_inactive(id),
            UnitState::Waiting { on, .. } => self.why_waiting(id, on),
            UnitState::Starting => self.why_starting(id),
            UnitState::Ready => self.why_ready(id),
            UnitState::Unhealthy if self.is_job(id) && unit.desired.is_up() => self.job_words(id),
            UnitState::Unhealthy => {
                let words = match self.climbing_words(id).or_else(|| self.holding_words(id)) {
                    Some(words) => format!("{}; {words}", self.probe_words(id)),
                    None => self.probe_words(id).into(),
                };
                self.with_remark(id, words)
            }
            UnitState::Stopping { why, stage, .. } => self.why_stopping(id, why, *stage),
            UnitState::Backoff { after, until } => {
                let delay = whole_millis(until.since(unit.since));
                let words = match self.climbing_words(id) {
                    Some(words) => format!("{after}; {words}, then it starts again"),
                    None => format!("{after}; starts again after {}", Pretty(delay)),
                };
                self.with_remark(id, words)
            }
            UnitState::Failed { cause } => self.with_remark(id, cause.to_string()),
            UnitState::Completed => unit.last_exit.map_or_else(|| "done".to_owned(), |exit| exit.to_string()),
        }
    }

    /// With what it said of its trouble, or what its lever did.
    fn with_remark(&self, id: UnitId, reason: String) -> String {
        match &self.units[id].remark {
            Some(remark) => format!("{reason}; {remark}"),
            None => reason,
        }
    }

    /// A person who stops what is not ours is told what that means.
    fn why_inactive(&self, id: UnitId) -> String {
        let why = self.why_down(id);
        let was_watched = self.is_watch(id) && self.units[id].last_ordinal > 0;
        match self.how_it_is_left(id).filter(|_| was_watched) {
            Some(how) => format!("{why}: {how}"),
            None if was_watched => self.with_remark(id, why),
            None => why,
        }
    }

    fn why_down(&self, id: UnitId) -> String {
        match self.units[id].desired {
            Desired::Up(_) => "about to start".to_owned(),
            Desired::Down(DownSource::Disabled) => "disabled".to_owned(),
            Desired::Down(DownSource::Operator) => "stopped by an operator".to_owned(),
            Desired::Down(DownSource::Removed) => "no file defines it any more".to_owned(),
            Desired::Down(DownSource::Shutdown) => "mcsup is shutting down".to_owned(),
            Desired::Down(DownSource::Conflict) => {
                let other =
                    self.graph.conflicts_of(id).iter().find(|other| self.units[**other].desired.is_up());
                match other {
                    Some(other) => format!("conflicts with {}", self.spec(*other).name),
                    None => "stopped by a unit it conflicts with".to_owned(),
                }
            }
            Desired::Down(DownSource::Dependency) => match self.dependency_that_is_down(id) {
                Some(other) => format!("stopped with {}, which it requires", self.spec(other).name),
                None => self.why_followed_down(id),
            },
        }
    }

    /// By `follow: stop`; it does not come back by itself.
    fn why_followed_down(&self, id: UnitId) -> String {
        let follows = self.spec(id).depends_on.iter().filter(|edge| edge.follow == Follow::Stop);
        let names: Vec<&str> = follows.map(|edge| self.spec(edge.unit).name.as_str()).collect();
        let name = &self.spec(id).name;
        match names.as_slice() {
            [] => "stopped with a unit that it follows".to_owned(),
            names => {
                format!("stopped with {}, which it follows, until `mcsup start {name}`", names.join(" or "))
            }
        }
    }

    fn why_waiting(&self, id: UnitId, on: &WaitingOn) -> String {
        match on {
            WaitingOn::Barrier => self.why_behind_a_barrier(),
            WaitingOn::Connection => self.why_waiting_for_connection(id),
            WaitingOn::Change => self.why_held_by_change(id),
            WaitingOn::Conflict(other) => {
                format!("waits for {} to stop: they conflict", self.spec(*other).name)
            }
            WaitingOn::Dependency(other) => {
                let edge = self.spec(id).depends_on.iter().find(|edge| edge.unit == *other);
                let wanted = match edge.map(|edge| edge.condition) {
                    Some(Condition::Healthy) => " to be healthy",
                    Some(Condition::Completed) => " to complete",
                    Some(Condition::Started) | None => " to start",
                };
                let name = &self.spec(*other).name;
                let target = &self.units[*other];
                match &target.state {
                    UnitState::Failed { cause } => {
                        format!("waits for {name}{wanted}, which failed: {cause}")
                    }
                    UnitState::Inactive if !target.desired.is_up() => {
                        format!("waits for {name}{wanted}, which is {}", self.why_down(*other))
                    }
                    UnitState::Waiting { is_hopeless: true, .. } => {
                        let end = self.end_of_chain(*other);
                        format!("waits for {name}{wanted}, which waits for {}", self.spec(end).name)
                    }
                    UnitState::Inactive
                    | UnitState::Waiting { .. }
                    | UnitState::Starting
                    | UnitState::Ready
                    | UnitState::Unhealthy
                    | UnitState::Stopping { .. }
                    | UnitState::Backoff { .. }
                    | UnitState::Completed => format!("waits for {name}{wanted}"),
                }
            }
        }
    }

    fn why_behind_a_barrier(&self) -> String {
        let waits = format!("waits for phase {}", self.phase_name(self.last_open_phase()));
        match self.boot.stuck_holder() {
            Some(id) => {
                let holder = &self.units[id];
                format!("{waits}, which {} holds: it is {}", self.spec(id).name, holder.state.name())
            }
            None => waits,
        }
    }

    fn why_starting(&self, id: UnitId) -> String {
        let unit = &self.units[id];
        let name = &self.spec(id).name;
        let ordinal = unit.last_ordinal;
        let Some(run) = &unit.run else { return format!("starting {name}#{ordinal}") };
        if run.pid.is_none() && !run.is_watch {
            return format!("starting {name}#{ordinal}");
        }
        let waits = match &self.spec(id).ready {
            _ if self.spec(id).kind == UnitKind::Task => format!("running {name}#{ordinal}"),
            _ if self.spec(id).kind == UnitKind::Job => "its triggers are being set up".to_owned(),
            _ if self.spec(id).kind == UnitKind::Gate => self.why_shut(id, run.is_overdue),
            _ if run.start_lever.is_some() => format!("its start command runs: {}", self.probe_words(id)),
            Ready::Started | Ready::Health if self.cannot_be_asked(id) => {
                format!("{}; it is left alone", FailureCause::CannotProbe(self.probe_words(id)))
            }
            Ready::Started | Ready::Health => {
                format!("waits for its first passing probe: {}", self.probe_words(id))
            }
            Ready::Notify => "waits for it to say READY".to_owned(),
            Ready::Log(Pattern(pattern)) => format!("waits for a line of its log like /{pattern}/"),
            Ready::Fd(number) => format!("waits for a line feed on its descriptor {number}"),
        };
        let waits = match self.words_of_its_own(id) {
            Some(words) => format!("{waits}; {words}"),
            None => waits,
        };
        self.with_remark(id, waits)
    }

    fn why_shut(&self, id: UnitId, is_overdue: bool) -> String {
        let part = self.probe_words(id);
        if is_overdue {
            format!("{}; it goes on trying", FailureCause::StartTimeout(part))
        } else {
            format!("waits for its check to hold: {part}")
        }
    }

    fn why_ready(&self, id: UnitId) -> String {
        let unit = &self.units[id];
        if !unit.desired.is_up()
            && let Some(holder) = self.holder_of(id)
        {
            return format!("stops after {}", self.spec(holder).name);
        }
        if self.is_job(id) {
            return self.job_words(id);
        }
        let plain = match unit.health {
            _ if unit.probes.is_empty() => "running".to_owned(),
            Health::Passing => self.probe_words(id).into(),
            Health::Unknown | Health::Failing if self.is_watch(id) => self.probe_words(id).into(),
            Health::Unknown | Health::Failing => format!("running; {}", self.probe_words(id)),
        };
        match self.words_of_its_own(id) {
            Some(words) => format!("{plain}; {words}"),
            None => plain,
        }
    }

    fn why_stopping(&self, id: UnitId, why_stopping: &StopReason, stage: StopStage) -> String {
        let why = match why_stopping {
            StopReason::Down => self.why_down(id),
            StopReason::Restart => "restart by an operator".to_owned(),
            StopReason::Change => "its definition changes".to_owned(),
            StopReason::Follow(other) => format!("follows {}, which restarts", self.spec(*other).name),
            StopReason::Heals(other) => format!("restarts so that {} heals", self.spec(*other).name),
            StopReason::Failed(cause) => cause.to_string(),
            StopReason::Ended(exit) => exit.to_string(),
        };
        let stop = &self.spec(id).stop;
        let grace = Pretty(stop.grace);
        if self.is_job(id) {
            return format!("{why}; {}", self.job_words(id));
        }
        if self.is_watch(id) {
            return match stage {
                StopStage::Command => format!("{why}; its command runs, at most {grace}"),
                StopStage::Capturing
                | StopStage::Signalled
                | StopStage::Sweeping
                | StopStage::Killed
                | StopStage::Unkillable => {
                    format!("{why}; no longer watched")
                }
            };
        }
        let (_, signal, _) = self.way_to_stop(id, why_stopping);
        match stage {
            StopStage::Capturing => {
                format!("{why}; its evidence is kept first, for {} at most", Pretty(CAPTURE_WAIT))
            }
            StopStage::Command => format!("{why}; its stop command runs, SIGKILL after {grace}"),
            StopStage::Signalled if self.units[id].run.as_ref().is_some_and(|run| run.pid.is_none()) => {
                format!("{why}; {signal} as soon as it runs")
            }
            StopStage::Signalled => format!("{why}; {signal} sent, SIGKILL after {grace}"),
            StopStage::Sweeping => format!("{why}; processes it left are told to end, SIGKILL after {grace}"),
            StopStage::Killed => format!("{why}; SIGKILL sent"),
            StopStage::Unkillable => format!("{why}; SIGKILL does not end it"),
        }
    }
}

/// A person reads `482ms`, not `482ms500us17ns`.
fn whole_millis(delay: Duration) -> Duration {
    Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
        .max(delay.min(Duration::from_millis(1)))
}
