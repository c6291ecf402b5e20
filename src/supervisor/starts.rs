//! Launches on their way to the keeper: at once where everything is known, else by way of a worker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::aside::Threads;
use crate::engine::event::{SpawnFailure, SpawnStep};
use crate::engine::id::UnitId;
use crate::engine::time::{Pretty, Timestamp};
use crate::keeper::wire::{Order, SpawnOrder};
use crate::supervisor::inbox::{Inbox, Outlet, Promise};
use crate::supervisor::launch::{Ground, Launch};
use crate::supervisor::listeners::Sockets;
use crate::supervisor::lookup::{Asking, Cache, Miss, Missing};

#[derive(Debug)]
pub(crate) struct Starts {
    ground: Arc<Ground>,
    cache: Cache,
    outlet: Outlet,
    threads: Threads,
    /// Launches that a worker asks for, with the orders for the same run that came meanwhile.
    asking: BTreeMap<u64, Vec<Order>>,
    /// Dead as soon as the last question of that unit has ended.
    questions: BTreeMap<UnitId, Weak<()>>,
    /// Units whose last question was given up.
    hung: BTreeSet<UnitId>,
    queue: Queue,
}

/// Launches that wait, in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    by_run: BTreeMap<u64, u64>,
    /// Those that wait for an answer which somebody else may bring.
    by_missing: BTreeMap<Missing, BTreeSet<u64>>,
    /// Those that the keeper gets once it has answered for others.
    held: BTreeSet<u64>,
    /// Those that wait for a worker.
    unasked: BTreeSet<u64>,
    /// Those whose unit's sockets are being opened for it to wait at: a second bind would meet the first.
    parked: BTreeMap<UnitId, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Waiting {
    launch: Launch,
    /// Orders for the same run that came meanwhile.
    after: Vec<Order>,
    /// `None`: held or parked.
    missing: Option<Missing>,
}

impl Queue {
    fn add(&mut self, waiting: Waiting) {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.by_run.insert(waiting.launch.run, number);
        match &waiting.missing {
            None => drop(self.held.insert(number)),
            Some(missing) => {
                self.unasked.insert(number);
                self.by_missing.entry(missing.clone()).or_default().insert(number);
            }
        }
        self.waiting.insert(number, waiting);
    }

    fn park(&mut self, launch: Launch) {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.by_run.insert(launch.run, number);
        self.parked.entry(launch.unit).or_default().insert(number);
        self.waiting.insert(number, Waiting { launch, after: Vec::new(), missing: None });
    }

    fn take(&mut self, number: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&number)?;
        if let Some(parked) = self.parked.get_mut(&waiting.launch.unit) {
            parked.remove(&number);
        }
        self.by_run.remove(&waiting.launch.run);
        self.held.remove(&number);
        self.unasked.remove(&number);
        if let Some(missing) = &waiting.missing
            && let Some(others) = self.by_missing.get_mut(missing)
        {
            others.remove(&number);
            if others.is_empty() {
                self.by_missing.remove(missing);
            }
        }
        Some(waiting)
    }

    fn of_run(&mut self, run: u64) -> Option<&mut Waiting> {
        self.waiting.get_mut(self.by_run.get(&run)?)
    }

    fn cancel(&mut self, run: u64) -> bool {
        self.by_run.get(&run).copied().and_then(|number| self.take(number)).is_some()
    }
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
            threads: Threads::new("lookup", LOOKUP_THREADS),
            asking: BTreeMap::new(),
            questions: BTreeMap::new(),
            hung: BTreeSet::new(),
            queue: Queue::default(),
        }
    }

    /// What is begun from here on is by these definitions.
    pub(crate) fn redefine(&mut self, ground: Arc<Ground>) {
        self.ground = ground;
    }

    /// `None`: a worker asks; `prepared` will tell.
    pub(crate) fn begin(&mut self, launch: Launch, now: Timestamp) -> Option<Ready> {
        self.try_order(launch, Vec::new(), now)
    }

    /// A worker's answer, and what became possible by it. Looks only at launches that wait for what it learnt.
    pub(crate) fn prepared(
        &mut self,
        launch: Launch,
        order: Result<SpawnOrder, Miss>,
        learnt: Cache,
        now: Timestamp,
        room: usize,
    ) -> Vec<Ready> {
        let found = learnt.answers();
        self.cache.absorb(learnt);
        if order == Err(Miss::Failed(unanswered())) {
            self.hung.insert(launch.unit);
        } else {
            self.hung.remove(&launch.unit);
        }
        let mut ready = Vec::new();
        // Cancelled meanwhile: nobody waits for it.
        if let Some(after) = self.asking.remove(&launch.run) {
            ready.push(match order {
                Ok(order) => Ready::Go(launch, Box::new(order), after),
                Err(Miss::Failed(failure)) => Ready::Failed(launch, failure),
                Err(Miss::NotCached(_)) => Ready::Failed(launch, unanswered()),
            });
        }
        for missing in found {
            let numbers = self.queue.by_missing.get(&missing).cloned().unwrap_or_default();
            for number in numbers {
                let Some(Waiting { launch, after, .. }) = self.queue.take(number) else { continue };
                if ready.len() >= room {
                    self.queue.add(Waiting { launch, after, missing: None });
                } else {
                    ready.extend(self.try_order(launch, after, now));
                }
            }
        }
        self.employ(now, &mut ready);
        ready
    }

    /// Keeps a launch until `resume`.
    pub(crate) fn hold(&mut self, launch: Launch) {
        self.queue.add(Waiting { launch, after: Vec::new(), missing: None });
    }

    /// Keeps a launch until the sockets of its unit are open, or cannot be opened.
    pub(crate) fn park(&mut self, launch: Launch) {
        self.queue.park(launch);
    }

    pub(crate) fn parked(&self) -> Vec<UnitId> {
        self.queue.parked.keys().copied().collect()
    }

    pub(crate) fn unpark(&mut self, unit: UnitId, now: Timestamp) -> Vec<Ready> {
        let mut ready = Vec::new();
        for number in self.queue.parked.remove(&unit).unwrap_or_default() {
            if let Some(Waiting { launch, after, .. }) = self.queue.take(number) {
                ready.extend(self.try_order(launch, after, now));
            }
        }
        ready
    }

    /// What can go now that the keeper takes `room` more.
    pub(crate) fn resume(&mut self, now: Timestamp, room: usize) -> Vec<Ready> {
        let mut ready = Vec::new();
        while ready.len() < room
            && let Some(number) = self.queue.held.first().copied()
            && let Some(Waiting { launch, after, .. }) = self.queue.take(number)
        {
            ready.extend(self.try_order(launch, after, now));
        }
        self.employ(now, &mut ready);
        ready
    }

    pub(crate) fn is_holding(&self) -> bool {
        !self.queue.held.is_empty()
    }

    /// Keeps an order for a run that was not sent yet, to follow it. Gives it back when there is no such run.
    pub(crate) fn after(&mut self, run: u64, order: Order) -> Option<Order> {
        let queued = self.queue.of_run(run).map(|waiting| &mut waiting.after);
        match self.asking.get_mut(&run).or(queued) {
            Some(after) => {
                after.push(order);
                None
            }
            None => Some(order),
        }
    }

    pub(crate) fn is_pending(&self, run: u64) -> bool {
        self.asking.contains_key(&run) || self.queue.by_run.contains_key(&run)
    }

    /// True: it was never sent, and never will be.
    pub(crate) fn cancel(&mut self, run: u64) -> bool {
        self.asking.remove(&run).is_some() || self.queue.cancel(run)
    }

    /// Of units whose sockets are open.
    pub(crate) fn sockets(&mut self) -> &mut BTreeMap<UnitId, Sockets> {
        &mut self.cache.sockets
    }

    /// A program was not where it was found.
    pub(crate) fn forget_programs(&mut self) {
        self.cache.forget_programs();
    }

    fn try_order(&mut self, launch: Launch, after: Vec<Order>, now: Timestamp) -> Option<Ready> {
        match self.ground.order(&launch, &mut self.cache.at(now)) {
            Ok(order) => Some(Ready::Go(launch, Box::new(order), after)),
            Err(Miss::Failed(failure)) => Some(Ready::Failed(launch, failure)),
            Err(Miss::NotCached(missing)) => {
                if self.asking.len() < WORKERS {
                    return self.ask(launch, after, now);
                }
                self.queue.add(Waiting { launch, after, missing: Some(missing) });
                None
            }
        }
    }

    /// Gives the workers that are free something to ask.
    fn employ(&mut self, now: Timestamp, ready: &mut Vec<Ready>) {
        while self.asking.len() < WORKERS
            && let Some(number) = self.queue.unasked.first().copied()
            && let Some(Waiting { launch, after, .. }) = self.queue.take(number)
        {
            ready.extend(self.ask(launch, after, now));
        }
    }

    /// Some: its last question still hangs, and a second one would only hang beside it.
    fn ask(&mut self, launch: Launch, after: Vec<Order>, now: Timestamp) -> Option<Ready> {
        self.questions.retain(|_, question| question.strong_count() > 0);
        if self.hung.contains(&launch.unit) && self.questions.contains_key(&launch.unit) {
            return Some(Ready::Failed(launch, unanswered()));
        }
        let question = Arc::new(());
        self.questions.insert(launch.unit, Arc::downgrade(&question));
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
        let threads = self.threads.clone();
        let open = self.cache.sockets.keys().copied().collect();
        tokio::task::spawn_local(async move {
            let asked = launch.clone();
            let answer = threads.ask(LONGEST, move || {
                let mut asking = Asking { learnt: Cache::default(), open, now };
                let order = ground.order(&asked, &mut asking);
                drop(question);
                (order, asking.learnt)
            });
            if let Some((order, learnt)) = answer.await {
                promise.keep(Inbox::Prepared { launch, order: Box::new(order), learnt });
            }
        });
        None
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
/// Threads that questions may hold, those that were given up included.
pub(crate) const LOOKUP_THREADS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::launch::What;

    #[test]
    fn what_is_cancelled_leaves_no_trace_and_the_others_keep_their_order() {
        let mut queue = Queue::default();
        for run in 1..=4 {
            let launch = Launch { run, unit: UnitId(0), ordinal: 1, what: What::Main };
            let missing = (run != 4).then_some(Missing::EnvFile);
            queue.add(Waiting { launch, after: Vec::new(), missing });
        }
        assert!(queue.cancel(2) && queue.cancel(4) && !queue.cancel(4));
        let left: Vec<u64> = queue.by_missing[&Missing::EnvFile].clone().into_iter().collect();
        let runs = left.into_iter().filter_map(|number| queue.take(number)).map(|waiting| waiting.launch.run);
        assert_eq!(runs.collect::<Vec<_>>(), [1, 3]);
        let Queue { waiting, by_run, by_missing, held, unasked, .. } = queue;
        assert!(waiting.is_empty() && by_run.is_empty() && by_missing.is_empty());
        assert!(held.is_empty() && unasked.is_empty());
    }
}
