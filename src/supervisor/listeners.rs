//! The sockets of units: opened before the first start, held by the keeper from run to run, watched while a
//! lazy unit waits, and closed when the unit is not to be reached any more.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::task::AbortHandle;

use crate::aside::Threads;
use crate::engine::effect::Fact;
use crate::engine::event::{Event, SpawnFailure, SpawnStep};
use crate::engine::id::UnitId;
use crate::engine::state::StateName;
use crate::engine::time::Now;
use crate::keeper::wire::Order;
use crate::supervisor::bind;
use crate::supervisor::executor::Executor;
use crate::supervisor::inbox::{Inbox, Outlet, Promise};
use crate::supervisor::keeper_link::watched;
use crate::supervisor::launch::tells;
use crate::supervisor::lookup::Cache;
use crate::supervisor::run::Supervisor;
use crate::unit::name::UnitName;
use crate::unit::spec::UnitSpec;
use crate::unit::spec::listen::ListenAddress;

/// A unit's sockets in their order, each with the key that the keeper knows it by.
pub(crate) type Sockets = Vec<(String, Arc<OwnedFd>)>;

/// By its address, so that a socket is found again whatever it is called.
pub(crate) fn key(unit: &str, address: &ListenAddress) -> String {
    format!("{unit}/{address}")
}

/// All of them or none.
///
/// # Errors
/// When one of them cannot be opened.
pub(crate) fn open_all(spec: &UnitSpec) -> Result<Sockets, SpawnFailure> {
    let open = |address: &ListenAddress| {
        let socket = bind::open(address).map_err(|refused| SpawnFailure {
            step: SpawnStep::Listen,
            errno: refused.errno,
            cause: refused.cause.into(),
        })?;
        Ok((key(spec.name.as_str(), address), Arc::new(socket)))
    };
    spec.listen.sockets.iter().map(|socket| open(&socket.address)).collect()
}

/// What is under way for sockets; they themselves are with what launches know.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Units that nobody is to reach.
    closed: BTreeSet<UnitId>,
    /// Lazy units that wait for a connection, and what watches for it.
    awaited: BTreeMap<UnitId, Option<AbortHandle>>,
    /// Units whose sockets a worker opens: whoever needs them meanwhile waits for its answer.
    opening: BTreeSet<UnitId>,
    threads: Threads,
}

impl Default for Listeners {
    fn default() -> Self {
        let threads = Threads::new("listen", OPENERS);
        Self { closed: BTreeSet::new(), awaited: BTreeMap::new(), opening: BTreeSet::new(), threads }
    }
}

impl Executor {
    /// The keeper's, at the beginning of this supervisor's life.
    pub(crate) fn inherit_sockets(&mut self, listening: Vec<(String, OwnedFd)>) {
        let mut found: BTreeMap<String, Arc<OwnedFd>> =
            listening.into_iter().map(|(key, socket)| (key, Arc::new(socket))).collect();
        let set = Arc::clone(&self.ground.set);
        for unit in set.ids() {
            let Some(spec) = set.unit(unit).filter(|spec| !spec.listen.sockets.is_empty()) else { continue };
            let keys = spec.listen.sockets.iter().map(|socket| key(spec.name.as_str(), &socket.address));
            let own: Sockets = keys.filter_map(|key| found.remove_entry(&key)).collect();
            if own.len() == spec.listen.sockets.len() {
                self.starts.sockets().insert(unit, own);
            } else {
                found.extend(own);
            }
        }
        for (key, _closed) in found {
            self.send(&Order::LetGo { key }, &[]);
        }
    }

    /// A new keeper's, from us.
    pub(crate) fn pass_on_sockets(&mut self) {
        let all: Vec<Sockets> = self.starts.sockets().values().cloned().collect();
        all.iter().for_each(|sockets| self.give_sockets(sockets));
    }

    fn give_sockets(&mut self, sockets: &Sockets) {
        for (key, socket) in sockets {
            self.send(&Order::Hold { key: key.clone() }, &[Arc::clone(socket)]);
        }
    }

    /// A worker opened sockets on its way to a start. Given to the keeper before the order that names them.
    pub(crate) fn keep_sockets(&mut self, learnt: &mut Cache) {
        let closed = &self.listeners.closed;
        learnt.sockets.retain(|unit, _| !closed.contains(unit));
        for sockets in learnt.sockets.values() {
            self.give_sockets(sockets);
        }
    }

    /// The unit is to be reached from now on.
    pub(crate) fn opens(&mut self, unit: UnitId) {
        self.listeners.closed.remove(&unit);
        self.forget_connection(unit);
    }

    pub(crate) fn await_connection(&mut self, unit: UnitId) {
        self.opens(unit);
        if let Some(sockets) = self.starts.sockets().get(&unit).cloned() {
            return self.watch_sockets(unit, &sockets);
        }
        self.listeners.awaited.insert(unit, None);
        if !self.listeners.opening.insert(unit) {
            return;
        }
        let unanswered = SpawnFailure {
            step: SpawnStep::Listen,
            errno: libc::ETIMEDOUT,
            cause: "no answer from where its sockets are to be".into(),
        };
        let promise =
            Promise::new(self.outlet().clone(), Inbox::SocketsOpened { unit, opened: Err(unanswered) });
        let (ground, threads) = (Arc::clone(&self.ground), self.listeners.threads.clone());
        tokio::task::spawn_local(async move {
            let open = move || ground.set.unit(unit).map_or_else(|| Ok(Vec::new()), open_all);
            if let Some(opened) = threads.ask(LONGEST, open).await {
                promise.keep(Inbox::SocketsOpened { unit, opened });
            }
        });
    }

    pub(crate) fn forget_connection(&mut self, unit: UnitId) {
        if let Some(Some(worker)) = self.listeners.awaited.remove(&unit) {
            worker.abort();
        }
    }

    pub(crate) fn are_sockets_on_their_way(&self, unit: UnitId) -> bool {
        self.listeners.opening.contains(&unit)
    }

    /// A worker is done with what `await_connection` asked. A start that came meanwhile goes on with its sockets.
    pub(crate) fn sockets_opened(&mut self, now: Now, unit: UnitId, opened: Result<Sockets, SpawnFailure>) {
        self.listeners.opening.remove(&unit);
        if !self.listeners.closed.contains(&unit) {
            self.take_sockets(unit, opened);
        }
        if !self.are_files_on_their_way(unit) {
            self.unpark(now, unit);
        }
    }

    pub(crate) fn unpark(&mut self, now: Now, unit: UnitId) {
        for ready in self.starts.unpark(unit, now.mono) {
            self.carry_out(now, ready);
        }
    }

    fn take_sockets(&mut self, unit: UnitId, opened: Result<Sockets, SpawnFailure>) {
        let known = self.starts.sockets().get(&unit).cloned();
        let sockets = match (known, opened) {
            (Some(known), _) => known,
            (None, Ok(sockets)) => {
                self.give_sockets(&sockets);
                self.starts.sockets().insert(unit, sockets.clone());
                sockets
            }
            // Its start says what is wrong, and the unit fails as others do.
            (None, Err(_)) => return self.connection_arrived(unit),
        };
        if self.listeners.awaited.contains_key(&unit) {
            self.watch_sockets(unit, &sockets);
        }
    }

    fn watch_sockets(&mut self, unit: UnitId, sockets: &Sockets) {
        let sockets: Vec<Arc<OwnedFd>> = sockets.iter().map(|(_, socket)| Arc::clone(socket)).collect();
        let outlet: Outlet = self.outlet().clone();
        let worker = tokio::task::spawn_local(async move {
            // One that cannot be watched is started for: better than never.
            any_readable(&sockets).await.ok();
            // The loop has ended: nobody is left to be told.
            drop(outlet.send(Inbox::Connected { unit }));
        });
        self.listeners.awaited.insert(unit, Some(worker.abort_handle()));
    }

    pub(crate) fn connection_arrived(&mut self, unit: UnitId) {
        if self.listeners.awaited.remove(&unit).is_some() {
            self.news.push_back(Event::ConnectionArrived { unit });
        }
    }

    /// What a state means for who wants to reach the unit. One that is stopped, done or given up refuses;
    /// one that is between two runs lets them wait.
    pub(crate) fn follow_state(&mut self, fact: &Fact) {
        if let Fact::StateChanged { unit, to, .. } = fact
            && is_unreachable(*to)
        {
            self.close_sockets(*unit);
        }
    }

    /// The unit goes on under another name, and so does what it is reached at.
    pub(crate) fn rename_sockets(&mut self, unit: UnitId, name: &UnitName) {
        let Some(sockets) = self.starts.sockets().remove(&unit) else { return };
        let set = Arc::clone(&self.ground.set);
        let Some(spec) = set.unit(unit) else { return };
        let keys = spec.listen.sockets.iter().map(|socket| key(name.as_str(), &socket.address));
        let renamed: Sockets =
            keys.zip(&sockets).map(|(key, (_, socket))| (key, Arc::clone(socket))).collect();
        self.give_sockets(&renamed);
        for (key, _goes_on) in sockets {
            self.send(&Order::LetGo { key }, &[]);
        }
        self.starts.sockets().insert(unit, renamed);
    }

    pub(crate) fn close_sockets(&mut self, unit: UnitId) {
        self.forget_connection(unit);
        let set = Arc::clone(&self.ground.set);
        let Some(spec) = set.unit(unit) else { return };
        if tells(spec) {
            self.send(&Order::ForgetStored { unit: spec.name.as_str().to_owned() }, &[]);
        }
        if !spec.listen.sockets.is_empty() {
            self.listeners.closed.insert(unit);
            for (key, closed) in self.starts.sockets().remove(&unit).unwrap_or_default() {
                bind::refuse(&closed);
                self.send(&Order::LetGo { key }, &[]);
            }
        }
    }
}

impl Supervisor {
    /// A supervisor that died may have left sockets open that it was about to close.
    pub(crate) fn close_idle_sockets(&mut self) {
        let open: Vec<UnitId> = self.executor.starts.sockets().keys().copied().collect();
        for unit in open {
            let state = self.engine.status(unit).map(|status| status.state);
            if state.is_some_and(is_unreachable) {
                self.executor.close_sockets(unit);
            }
        }
    }
}

fn is_unreachable(state: StateName) -> bool {
    match state {
        StateName::Inactive | StateName::Failed | StateName::Completed => true,
        StateName::Waiting
        | StateName::Starting
        | StateName::Ready
        | StateName::Unhealthy
        | StateName::Stopping
        | StateName::Backoff => false,
    }
}

/// Somebody wants something of one of them. Nothing is accepted: that is for the unit to do.
async fn any_readable(sockets: &[Arc<OwnedFd>]) -> std::io::Result<()> {
    let own = |socket: &Arc<OwnedFd>| watched(socket.try_clone()?, Interest::READABLE);
    let watches = sockets.iter().map(own).collect::<std::io::Result<Vec<_>>>()?;
    std::future::poll_fn(|context| {
        let is_ready = |watch: &tokio::io::unix::AsyncFd<OwnedFd>| watch.poll_read_ready(context).is_ready();
        if watches.iter().any(is_ready) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    Ok(())
}

/// As long as a launch may ask.
const LONGEST: Duration = Duration::from_secs(5);
const OPENERS: usize = 4;
