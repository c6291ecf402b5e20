//! When the keeper dies first: a new one is started and given everything that the old one held.

use std::ffi::OsString;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use tokio::net::unix::pipe;

use crate::engine::event::{Event, SpawnFailure, SpawnStep};
use crate::engine::id::RunId;
use crate::keeper::wire::{AdoptOrder, LogOrder, Order, VERSION};
use crate::supervisor::claim::sign_lock;
use crate::supervisor::clock;
use crate::supervisor::descriptors::with_reserve;
use crate::supervisor::executor::Executor;
use crate::supervisor::handover;
use crate::supervisor::holdings::{Held, Stage};
use crate::supervisor::identity::{self, Carriers, Ordered, Sought};
use crate::supervisor::journal::Process;
use crate::supervisor::keeper_link::{Heirloom, start_keeper};
use crate::supervisor::notes;
use crate::supervisor::run::Supervisor;

/// Who the keeper is, and what the next one inherits.
#[derive(Debug)]
pub(crate) struct Succession {
    pub(crate) heirloom: Heirloom,
    /// Its pidfd: readable once it has ended.
    keeper: Option<pipe::Receiver>,
    /// A keeper that we started ourselves, to be reaped by us.
    child: Option<Child>,
}

impl Succession {
    pub(crate) fn new(heirloom: Heirloom) -> Self {
        Self { heirloom, keeper: None, child: None }
    }

    pub(crate) fn keeper_is(&mut self, pid: u32) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        self.keeper = with_reserve(|| {
            let pidfd = pidfd_open(pid?, PidfdFlags::empty()).ok()?;
            clock::watched(&pidfd).ok()
        });
        if let (Some(lock), Some(pid)) = (&self.heirloom.lock, pid) {
            sign(lock, pid);
        }
    }

    /// Once the keeper is gone. Its link alone does not tell: a child that it was about to start holds that
    /// open for as long as it hangs before its exec.
    pub(crate) async fn keeper_gone(&self) {
        match &self.keeper {
            // Where it cannot be watched the link has to tell.
            Some(keeper) if keeper.readable().await.is_ok() => {}
            Some(_) | None => std::future::pending().await,
        }
    }

    /// Its descriptors close a moment before the process is gone: so a moment is waited for.
    pub(crate) async fn keeper_died(&self) -> bool {
        self.keeper.is_none() || tokio::time::timeout(A_MOMENT, self.keeper_gone()).await.is_ok()
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Reaped, or so lost that nobody could.
            drop(child.try_wait());
        }
    }
}

impl Supervisor {
    /// Gets a new keeper. A keeper that lives and does not talk to us starts a new supervisor instead,
    /// so this one makes room.
    pub(crate) async fn succeed(&mut self) -> ControlFlow<()> {
        let error = self.executor.lost.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
        if !self.succession.keeper_died().await {
            self.executor.observer.announce(&format!(
                "cannot talk to the keeper any more ({error}); it starts a new supervisor, services go on"
            ));
            return ControlFlow::Break(());
        }
        self.hear_last_words();
        self.succession.reap();
        self.executor
            .observer
            .announce(&format!("the keeper died ({error}); a new one takes over, services go on"));
        end_unborn(&self.succession.heirloom.arguments).await;
        match with_reserve(|| start_keeper(&self.succession.heirloom)) {
            Ok((child, link)) => {
                self.succession.child = Some(child);
                self.succession.keeper = None;
                self.executor.link = link;
                self.executor.introduce();
                self.executor.pass_on();
            }
            Err(error) => {
                self.executor.observer.announce(&format!("cannot start a keeper: {error}; trying again"));
                self.executor.lost = Some(error);
                // Whatever is short may be there again in a moment.
                drop(tokio::time::timeout(RETRY, std::future::pending::<()>()).await);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Executor {
    pub(crate) fn introduce(&mut self) {
        self.send(&Order::Hello { version: VERSION, pid: std::process::id() }, &[]);
        self.set_up();
    }

    /// What a keeper needs to know of the units as a whole.
    pub(crate) fn set_up(&mut self) {
        self.send(&Order::LogTotal { bytes: self.ground.set.log_total_bytes }, &[]);
        let ms = u64::try_from(self.ground.set.shutdown_timeout.as_millis()).unwrap_or(u64::MAX);
        self.send(&Order::ShutdownTimeout { ms }, &[]);
    }

    /// Fills an empty keeper's table.
    fn pass_on(&mut self) {
        let notes: Vec<_> = self.journal.notes().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        for (key, value) in notes {
            self.send(&Order::Remember { key, value }, &[]);
        }
        self.pass_on_sockets();
        // It answers for none of them any more.
        self.programs.clear();
        self.find_the_ordered();
        let held: Vec<u64> = self.holdings.runs.keys().copied().collect();
        for run in held {
            let Some(holding) = self.holdings.runs.get(&run) else { continue };
            if let Some(order) = holding.adopt_order(run, self.log_order(&holding.unit, run)) {
                let mut descriptors = holding.descriptors.clone();
                if descriptors.is_empty() {
                    // There was no room to keep any: with luck they can still be found.
                    descriptors = with_reserve(|| identity::reopened(order.pid, order.log.as_ref()));
                }
                self.adopt(order, descriptors);
            }
        }
        self.say_whole();
        self.news.extend(self.helpers.lose_all());
        self.begin_next_helper(clock::now());
    }

    pub(crate) fn adopt(&mut self, order: AdoptOrder, held: Held) {
        let (carries, descriptors): (Vec<_>, Vec<_>) = held.into_iter().unzip();
        self.send(&Order::Adopt(Box::new(AdoptOrder { carries, ..order })), &descriptors);
    }

    /// From here on the keeper's table is right by itself.
    pub(crate) fn say_whole(&mut self) {
        let (key, value) = notes::encode_whole();
        self.send(&Order::Remember { key, value }, &[]);
    }

    /// Runs that the old keeper was told to start and never answered for: either they carry their name
    /// in their environment by now, or there are none.
    fn find_the_ordered(&mut self) {
        let is_lost =
            |executor: &Self, run: u64, stage| stage == Stage::Ordered && !executor.starts.is_pending(run);
        let ordered: Vec<(u64, Ordered)> = self
            .holdings
            .runs
            .iter()
            .filter(|(run, holding)| is_lost(self, **run, holding.stage))
            .map(|(run, holding)| (*run, holding.ordered(*run)))
            .collect();
        if ordered.is_empty() {
            return;
        }
        let carriers = Carriers::search();
        for (run, ordered) in ordered {
            match carriers.find(&ordered) {
                Sought::Found(process) => {
                    // Without a reader its first word would end it.
                    let unit = self.holdings.runs.get(&run).map(|holding| Arc::clone(&holding.unit));
                    let log = unit.and_then(|unit| self.log_order(&unit, run));
                    let event = self.spawned(run, process, identity::reopened(process.pid, log.as_ref()));
                    self.news.extend(event);
                }
                Sought::Doubtful(process) => {
                    let event = self.spawned(run, process, Vec::new());
                    self.news.extend(event);
                    self.hold_unverified(run, process);
                }
                Sought::Nobody => {
                    self.holdings.exited(run, true);
                    let cause = "the keeper died".into();
                    let failure = SpawnFailure { step: SpawnStep::Clone, errno: 0, cause };
                    self.news.push_back(Event::RunFailedToSpawn { run: RunId(run), failure });
                }
            }
        }
    }

    fn hold_unverified(&mut self, run: u64, process: Process) {
        let Some(holding) = self.holdings.runs.get_mut(&run) else { return };
        holding.stage = Stage::Unverified(process);
        let text = handover::unverifiable(&holding.unit, holding.ordinal, process.pid);
        self.observer.announce(&text);
    }

    pub(crate) fn log_order(&self, unit: &str, run: u64) -> Option<LogOrder> {
        let spec = self.ground.set.unit(self.ground.set.slot(unit)?)?;
        Some(self.ground.log_order(spec, run))
    }

    pub(crate) fn log_trouble(&mut self, unit: &str, errno: i32, lost_bytes: u64) {
        let text = if errno == 0 {
            format!("{unit}: its log can be written again; {lost_bytes} bytes were lost")
        } else {
            let cause = nix::errno::Errno::from_raw(errno).desc();
            format!("{unit}: its log cannot be written: {cause}; {lost_bytes} bytes lost so far")
        };
        self.observer.announce(&text);
    }
}

/// A keeper that is killed in the middle of a spawn leaves a fork that execs after all. Nobody was told of
/// it, so its unit is started again, and there would be two: it is ended before anybody is looked for.
async fn end_unborn(arguments: &[OsString]) {
    let unborn = with_reserve(|| identity::unborn(Path::new("/proc"), arguments));
    for process in &unborn {
        // Gone already is as good.
        let _sent = pidfd_send_signal(process, rustix::process::Signal::KILL);
    }
    let all_ended = async {
        for process in &unborn {
            with_reserve(|| clock::watched(process))?.readable().await?;
        }
        io::Result::Ok(())
    };
    // A moment for all of them together: nothing else is looked after meanwhile.
    if !matches!(tokio::time::timeout(A_MOMENT, all_ended).await, Ok(Ok(()))) {
        tracing::warn!("a process that the dead keeper was starting does not end");
    }
}

/// The lock file names the keeper, for whoever finds it taken.
fn sign(lock: &OwnedFd, pid: Pid) {
    let Ok(copy) = lock.try_clone() else { return };
    let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0);
    if let Err(error) = sign_lock(&copy.into(), pid) {
        tracing::warn!("cannot write the lock file: {error}");
    }
}

const A_MOMENT: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(1);
