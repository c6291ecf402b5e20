//! Lazy units: their sockets are open, and the first connection starts them.

use crate::engine::Engine;
use crate::engine::effect::Effect;
use crate::engine::id::UnitId;
use crate::engine::policy;
use crate::engine::state::{FailureCause, UnitState, WaitingOn};
use crate::graph::Dependent;
use crate::unit::spec::Condition;
use crate::unit::spec::listen::{ListenAddress, SocketSpec};
use crate::unit::spec::probe::Address;

/// How the reason of a lazy unit begins that is at rest.
pub(crate) const WAITS_FOR_CONNECTION: &str = "waits for a connection";

impl Engine {
    pub(crate) fn is_lazy(&self, id: UnitId) -> bool {
        let listen = &self.spec(id).listen;
        listen.is_lazy && !listen.sockets.is_empty()
    }

    /// What it needs is looked at when somebody wants something of it. Who waits for its end does; who needs it to run
    /// finds it listening, and may connect.
    pub(crate) fn waits_for_connection(&self, id: UnitId) -> bool {
        self.is_lazy(id) && !self.units[id].is_called && !self.is_awaited(id)
    }

    fn is_awaited(&self, id: UnitId) -> bool {
        if self.units[id].has_passed {
            return false; // who waited for that is about to go on
        }
        let needs_its_end = |edge: &&Dependent| edge.required && edge.condition == Condition::Completed;
        self.graph.dependents(id).iter().filter(needs_its_end).any(|edge| {
            matches!(self.units[edge.unit].state, UnitState::Waiting { on: WaitingOn::Dependency(on), .. } if on == id)
        })
    }

    pub(crate) fn rests_for_connection(&self, id: UnitId) -> bool {
        matches!(self.units[id].state, UnitState::Waiting { on: WaitingOn::Connection, .. })
    }

    /// A dependent began to wait for its end: what only waited for a connection starts.
    pub(crate) fn wake_lazy(&mut self, id: UnitId) {
        if self.rests_for_connection(id) {
            self.mark(id);
        }
    }

    /// One order for each rest: the answer, the spawn or the end of the rest ends it.
    pub(crate) fn keep_awaiting(&mut self, id: UnitId, was_resting: bool) {
        match (was_resting, self.rests_for_connection(id)) {
            (false, true) => self.actions.push(Effect::AwaitConnection { unit: id }),
            (true, false) if self.units[id].state != UnitState::Starting => {
                self.actions.push(Effect::ForgetConnection { unit: id });
            }
            (true, true | false) | (false, false) => {}
        }
    }

    /// The start that follows a good end counts for the limit, as every automatic start does. A connection that is there
    /// as soon as the unit rests is most likely the one that its last run left in the queue, so the backoff goes before
    /// the next start; it begins anew after a rest of its length.
    pub(crate) fn on_connection(&mut self, id: UnitId) {
        if !self.rests_for_connection(id) {
            return self.late();
        }
        self.units[id].is_called = true;
        self.mark(id);
        let last = self.units[id].last_exit.filter(|exit| self.is_well_ended(id, *exit));
        let Some(cause) = last.map(FailureCause::Exited) else { return };
        let now = self.now.mono;
        let spec = self.spec(id);
        let unit = &self.units[id];
        let delay = policy::delay(&spec.restart.backoff, unit.attempt, self.options.seed, spec.name.as_str());
        let is_soon = now.since(unit.since) < delay;
        let is_over =
            spec.restart.limit.is_some_and(|limit| policy::is_over_limit(&unit.starts, &limit, now));
        if !is_soon {
            self.units[id].attempt = 0;
        }
        if is_soon || is_over {
            return self.plan_restart(id, cause);
        }
        if let UnitState::Waiting { after, .. } = &mut self.units[id].state {
            *after = Some(cause);
        }
    }

    /// Its run ended by itself and well: the next connection starts the next.
    pub(crate) fn rest_for_connection(&mut self, id: UnitId) {
        self.units[id].is_called = false;
        self.works(id);
        self.leave_incident(id);
        self.rest(id, UnitState::Waiting { on: WaitingOn::Connection, is_hopeless: false, after: None });
    }

    pub(crate) fn why_waiting_for_connection(&self, id: UnitId) -> String {
        let sockets = &self.spec(id).listen.sockets;
        let shown: Vec<String> = sockets.iter().map(address_words).collect();
        format!("{WAITS_FOR_CONNECTION} on {}", shown.join(" or "))
    }
}

fn address_words(socket: &SocketSpec) -> String {
    let inet = |Address { host, port }: &Address| {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    };
    match &socket.address {
        ListenAddress::Tcp(address) => inet(address),
        ListenAddress::Udp(address) => format!("udp:{}", inet(address)),
        ListenAddress::Unix { path, .. } => path.to_string(),
    }
}
