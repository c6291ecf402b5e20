//! Lazy units: their sockets are open, and the first connection starts them.

use crate::engine::Engine;
use crate::engine::effect::Effect;
use crate::engine::id::UnitId;
use crate::engine::state::{UnitState, WaitingOn};
use crate::unit::spec::listen::{ListenAddress, SocketSpec};
use crate::unit::spec::probe::Address;

impl Engine {
    pub(crate) fn is_lazy(&self, id: UnitId) -> bool {
        let listen = &self.spec(id).listen;
        listen.is_lazy && !listen.sockets.is_empty()
    }

    /// What it needs is looked at when somebody wants something of it. A dependent that waits for it does.
    pub(crate) fn waits_for_connection(&self, id: UnitId) -> bool {
        self.is_lazy(id) && !self.units[id].is_called && !self.is_awaited(id)
    }

    fn is_awaited(&self, id: UnitId) -> bool {
        self.graph.dependents(id).iter().filter(|edge| edge.required).any(|edge| {
            matches!(self.units[edge.unit].state, UnitState::Waiting { on: WaitingOn::Dependency(on), .. } if on == id)
        })
    }

    pub(crate) fn rests_for_connection(&self, id: UnitId) -> bool {
        matches!(self.units[id].state, UnitState::Waiting { on: WaitingOn::Connection, .. })
    }

    /// A dependent began to wait for it: what only waited for a connection starts.
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

    pub(crate) fn on_connection(&mut self, id: UnitId) {
        if !self.rests_for_connection(id) {
            return self.late();
        }
        self.units[id].is_called = true;
        self.mark(id);
    }

    /// Its run ended by itself and well: the next connection starts the next.
    pub(crate) fn rest_for_connection(&mut self, id: UnitId) {
        self.units[id].attempt = 0;
        self.units[id].is_called = false;
        self.works(id);
        self.leave_incident(id);
        self.rest(id, UnitState::Waiting { on: WaitingOn::Connection, is_hopeless: false, after: None });
    }

    pub(crate) fn why_waiting_for_connection(&self, id: UnitId) -> String {
        let sockets = &self.spec(id).listen.sockets;
        let shown: Vec<String> = sockets.iter().map(address_words).collect();
        format!("waits for a connection on {}", shown.join(" or "))
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
