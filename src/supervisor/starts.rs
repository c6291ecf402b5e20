//! Launches on their way to the keeper: at once where everything is known, else by way of a worker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::event::{SpawnFailure, SpawnStep};
use crate::engine::time::{Pretty, Timestamp};
use crate::keeper::wire::{Order, SpawnOrder};
use crate::supervisor::inbox::{Inbox, Outlet, Promise};
use crate::supervisor::launch::{Ground, Launch};
use crate::supervisor::lookup::{Asking, Cache, Miss};

#[derive(Debug)]
pub(crate) struct Starts {
    ground: Arc<Ground>,
    cache: Cache,
    outlet: Outlet,
    /// Launches that a worker asks for, with the orders for the same run that came meanwhile.
    asking: BTreeMap<u64, Vec<Order>>,
    /// Launches that will probably find their answers in the cache soon.
    waiting: VecDeque<(Launch, Vec<Order>)>,
    /// Launches that the keeper gets once it has answered for others, likewise.
    held: VecDeque<(Launch, Vec<Order>)>,
}

/// A launch that is decided.
#[derive(Debug)]
pub(crate) enum Ready {
    /// Send it, and these after it.
    Go(Launch, Box<SpawnOrder>, Vec<Order>),
    Failed(Launch, SpawnFailure),
}

impl Starts {
    pub(crate) fn new(ground: Arc<Ground>, outlet: Outlet) -> Self {
        Self {
            ground,
            cache: Cache::default(),
            outlet,
            asking: BTreeMap::new(),
            waiting: VecDeque::new(),
            held: VecDeque::new(),
        }
    }

    /// `None`: a worker asks; `prepared` will tell.
    pub(crate) fn begin(&mut self, launch: Launch, now: Timestamp) -> Option<Ready> {
        match self.ground.order(&launch, &mut self.cache.at(now)) {
            Ok(order) => Some(Ready::Go(launch, Box::new(order), Vec::new())),
            Err(Miss::Failed(failure)) => Some(Ready::Failed(launch, failure)),
            Err(Miss::NotCached) => {
                self.wait(launch, Vec::new(), now);
                None
            }
        }
    }

    /// A worker's answer, and what became possible by it.
    pub(crate) fn prepared(
        &mut self,
        launch: Launch,
        order: Result<SpawnOrder, Miss>,
        learnt: Cache,
        now: Timestamp,
        room: usize,
    ) -> Vec<Ready> {
        self.cache.absorb(learnt);
        let mut ready = Vec::new();
        // Cancelled meanwhile: nobody waits for it.
        if let Some(after) = self.asking.remove(&launch.run) {
            ready.push(match order {
                Ok(order) => Ready::Go(launch, Box::new(order), after),
                Err(Miss::Failed(failure)) => Ready::Failed(launch, failure),
                Err(Miss::NotCached) => Ready::Failed(launch, unanswered()),
            });
        }
        for (launch, after) in std::mem::take(&mut self.waiting) {
            if ready.len() >= room {
                self.held.push_back((launch, after));
                continue;
            }
            match self.ground.order(&launch, &mut self.cache.at(now)) {
                Ok(order) => ready.push(Ready::Go(launch, Box::new(order), after)),
                Err(Miss::Failed(failure)) => ready.push(Ready::Failed(launch, failure)),
                Err(Miss::NotCached) => self.wait(launch, after, now),
            }
        }
        ready
    }

    /// Keeps a launch until `resume`.
    pub(crate) fn hold(&mut self, launch: Launch) {
        self.held.push_back((launch, Vec::new()));
    }

    /// What can go now that the keeper takes `room` more.
    pub(crate) fn resume(&mut self, now: Timestamp, room: usize) -> Vec<Ready> {
        let mut ready = Vec::new();
        while ready.len() < room
            && let Some((launch, after)) = self.held.pop_front()
        {
            match self.ground.order(&launch, &mut self.cache.at(now)) {
                Ok(order) => ready.push(Ready::Go(launch, Box::new(order), after)),
                Err(Miss::Failed(failure)) => ready.push(Ready::Failed(launch, failure)),
                Err(Miss::NotCached) => self.wait(launch, after, now),
            }
        }
        if self.held.is_empty() {
            // A boot's queue is long once; its room is not kept.
            self.held = VecDeque::new();
        }
        ready
    }

    pub(crate) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Keeps an order for a run that was not sent yet, to follow it. Gives it back when there is no such run.
    pub(crate) fn after(&mut self, run: u64, order: Order) -> Option<Order> {
        if let Some(after) = self.asking.get_mut(&run) {
            after.push(order);
            return None;
        }
        let mut queued = self.waiting.iter_mut().chain(&mut self.held);
        match queued.find(|(launch, _)| launch.run == run) {
            Some((_, after)) => {
                after.push(order);
                None
            }
            None => Some(order),
        }
    }

    pub(crate) fn is_pending(&self, run: u64) -> bool {
        let mut queued = self.waiting.iter().chain(&self.held);
        self.asking.contains_key(&run) || queued.any(|(launch, _)| launch.run == run)
    }

    /// True: it was never sent, and never will be.
    pub(crate) fn cancel(&mut self, run: u64) -> bool {
        let queued = |starts: &Self| starts.waiting.len().saturating_add(starts.held.len());
        let before = queued(self);
        self.waiting.retain(|(launch, _)| launch.run != run);
        self.held.retain(|(launch, _)| launch.run != run);
        self.asking.remove(&run).is_some() || queued(self) < before
    }

    /// A program was not where it was found.
    pub(crate) fn forget_programs(&mut self) {
        self.cache.forget_programs();
    }

    fn wait(&mut self, launch: Launch, after: Vec<Order>, now: Timestamp) {
        if self.asking.len() >= WORKERS {
            self.waiting.push_back((launch, after));
            return;
        }
        self.asking.insert(launch.run, after);
        let ground = Arc::clone(&self.ground);
        let promise = Promise::new(
            self.outlet.clone(),
            Inbox::Prepared {
                launch: launch.clone(),
                order: Box::new(Err(Miss::Failed(unanswered()))),
                learnt: Cache::default(),
            },
        );
        tokio::task::spawn_local(ask(ground, launch, promise, now));
    }
}

async fn ask(ground: Arc<Ground>, launch: Launch, promise: Promise, now: Timestamp) {
    let asked = launch.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let mut asking = Asking { learnt: Cache::default(), now };
        let order = ground.order(&asked, &mut asking);
        (order, asking.learnt)
    });
    if let Ok(Ok((order, learnt))) = tokio::time::timeout(LONGEST, answer).await {
        promise.keep(Inbox::Prepared { launch, order: Box::new(order), learnt });
    }
}

fn unanswered() -> SpawnFailure {
    let cause = format!("user, PATH or env_file did not answer within {}", Pretty(LONGEST)).into();
    SpawnFailure { step: SpawnStep::Lookup, errno: libc::ETIMEDOUT, cause }
}

/// Launches that ask at once: one hanging file server must not hold up the others.
const WORKERS: usize = 4;
/// As long as the keeper gives a child to reach exec.
const LONGEST: Duration = Duration::from_secs(5);
