//! The keeper's loop: one epoll set, one thread, nothing that waits. Spawning and writing logs
//! happen on threads of their own and come back here as events.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sys::signalfd::SignalFd;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, epoll};
use rustix::io::Errno;

use crate::keeper::args::Arguments;
use crate::keeper::clock::{self, SECOND};
use crate::keeper::environ::Environs;
use crate::keeper::farewell::Farewell;
use crate::keeper::holdings::{Holdings, Role, Tidings};
use crate::keeper::link::{Link, Received};
use crate::keeper::notify::Barrier;
use crate::keeper::orphans::Orphans;
use crate::keeper::pump::{Answer, Pump};
use crate::keeper::replace::Replacing;
use crate::keeper::spawn::{Context, Spawner};
use crate::keeper::store::Store;
use crate::keeper::supervise::Supervisor;
use crate::keeper::sys;
use crate::keeper::table::Table;
use crate::keeper::wire::{Carried, Finale, LogOrder, Order, Report};

pub(super) type KeeperLink = Link<Report, Order>;

/// Events taken at once. The rest is still there the next time round.
const EVENTS: usize = 64;
/// Packets taken at once …
const PACKETS: usize = 32;
/// … as long as each holds so many orders that another one is likely behind it.
const MANY_ORDERS: usize = 16;
/// Packets that a dead supervisor's socket may still hold; its buffer takes less.
const LAST_WORDS: usize = 512;
/// What a slot is watched by; numbers below `KINDS`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watch {
    Pidfd,
    Status,
    /// The pidfd of the process that the run named as its main one.
    Main,
    Notify,
    Ready,
    /// Whether anybody is left in its cgroup.
    Cgroup,
}

impl Watch {
    fn number(self) -> u64 {
        match self {
            Self::Pidfd => 0,
            Self::Status => 1,
            Self::Main => 2,
            Self::Notify => 3,
            Self::Ready => 4,
            Self::Cgroup => 5,
        }
    }

    fn of(number: u64) -> Option<Self> {
        [Self::Pidfd, Self::Status, Self::Main, Self::Notify, Self::Ready, Self::Cgroup]
            .into_iter()
            .find(|watch| watch.number() == number)
    }

    /// How the epoll set names it.
    pub(super) fn data(self, slot: u64) -> epoll::EventData {
        epoll::EventData::new_u64(slot.saturating_mul(KINDS).saturating_add(self.number()))
    }
}

const KINDS: u64 = 8;
/// One knock is enough to know that the supervisor is wanted.
const KNOCK: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ONESHOT);
/// Who has something to say; the numbers below `KINDS` of slot 0, and beyond every slot.
const SIGNALS: u64 = 0;
const LINK: u64 = 1;
const SPAWNER: u64 = u64::MAX;
const PUMP: u64 = u64::MAX - 1;
const ATTACH: u64 = u64::MAX - 2;
const DOOR: u64 = u64::MAX - 3;

/// A job that a spawner thread has, or will have.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) role: Role,
    pub(super) tag: String,
    pub(super) kill_at: Option<u64>,
    pub(super) log: Option<(String, LogOrder)>,
    /// Signals ordered before it ran, and whether to all of it.
    pub(super) signals: Vec<(u8, bool)>,
    pub(super) tidings: Option<Box<Tidings>>,
    /// Read end of the stream that is kept apart.
    pub(super) kept: Option<Arc<OwnedFd>>,
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) code: u8,
    pub(super) finale: Option<Finale>,
    pub(super) has_not_begun: bool,
}

pub(super) struct Keeper {
    pub(super) arguments: Arguments,
    /// Our own executable: every supervisor runs what was opened when we started.
    pub(super) executable: Option<OwnedFd>,
    pub(super) pid: i32,
    pub(super) context: Context,
    pub(super) epoll: OwnedFd,
    pub(super) signals: SignalFd,
    pub(super) spawner: Spawner,
    pub(super) pump: Pump,
    pub(super) table: Table,
    pub(super) holdings: Holdings,
    pub(super) store: Store,
    /// Runs that wait for us to have passed on what they said.
    pub(super) barriers: Vec<Barrier>,
    /// Slots whose notify sockets are not read, until the supervisor has heard what came before.
    pub(super) held_up: BTreeSet<u64>,
    /// By token.
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) last_token: u64,
    pub(super) link: Option<KeeperLink>,
    /// The link waits for room, not only for messages.
    pub(super) is_link_full: bool,
    pub(super) supervisor: Supervisor,
    pub(super) replacing: Replacing,
    pub(super) farewell: Farewell,
    /// What becomes of the machine at the end; what was said last counts.
    pub(super) finale: Option<Finale>,
    /// It ends because it could not begin.
    pub(super) has_not_begun: bool,
    pub(super) orphans: Orphans,
    pub(super) environs: Environs,
    /// Slots that the kernel refused to watch.
    pub(super) unwatched: BTreeSet<u64>,
    /// When to look again whether what lingers is gone, and how long to wait the time after.
    pub(super) next_sweep: Option<(u64, u64)>,
    /// The last look took its share of our time until then.
    pub(super) no_sweep_before: u64,
    /// Start times can be told by the clock; `None` until it was compared.
    pub(super) is_clock_right: Option<bool>,
}

impl Keeper {
    /// Runs until there is nothing left to hold.
    ///
    /// # Errors
    /// When the machine refuses what the loop itself needs.
    pub(super) fn run(mut self) -> io::Result<End> {
        self.watch(self.signals.as_fd(), SIGNALS)?;
        self.watch(self.spawner.bell().as_fd(), SPAWNER)?;
        self.watch(self.pump.bell().as_fd(), PUMP)?;
        if let Some(attach) = &self.arguments.attach {
            self.watch(attach.as_fd(), ATTACH)?;
        }
        if let Some(listener) = &self.arguments.listener {
            epoll::add(&self.epoll, listener, epoll::EventData::new_u64(DOOR), KNOCK)?;
        }
        if !self.supervisor.was_here_before() {
            self.first_supervisor(clock::monotonic())?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout =
                self.next_deadline().map(|at| clock::timespec(at.saturating_sub(clock::monotonic())));
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let now = clock::monotonic();
            // Orders first: what is told to end does so while we wait for what has ended. In a crowd the
            // link may be one of those that found no room this time.
            let is_link = |event: &epoll::Event| event.data.u64() == LINK;
            if events.len() == EVENTS || events.iter().any(is_link) {
                self.on_link(now);
            }
            for event in events.iter().filter(|event| !is_link(event)) {
                self.on_event(event.data.u64(), event.flags, now);
            }
            self.on_time(now);
            self.talk(now);
            self.after_talk();
            self.look_after_replacement(now);
            if let Some(code) = self.end(now) {
                return Ok(End { code, finale: self.finale, has_not_begun: self.has_not_begun });
            }
            if self.spawner.has_calmed(now) {
                sys::give_memory_back();
            }
        }
    }

    fn watch(&self, descriptor: impl AsFd, data: u64) -> io::Result<()> {
        let data = epoll::EventData::new_u64(data);
        Ok(epoll::add(&self.epoll, descriptor, data, epoll::EventFlags::IN)?)
    }

    pub(super) fn watch_slot(&mut self, descriptor: impl AsFd, slot: u64, watch: Watch, now: u64) {
        // Refused without memory, or beyond the user's share of watches: then it is asked now and then.
        if epoll::add(&self.epoll, descriptor, watch.data(slot), epoll::EventFlags::IN).is_err() {
            self.unwatched.insert(slot);
            self.sweep_at(now.saturating_add(SECOND), SECOND);
        }
    }

    fn on_event(&mut self, data: u64, flags: epoll::EventFlags, now: u64) {
        match data {
            SIGNALS => self.on_signals(now),
            // Heard before all others.
            LINK => {}
            SPAWNER => self.on_spawner(now),
            PUMP => self.on_pump(now),
            ATTACH => self.on_attach(now),
            DOOR => self.supervisor.knocked(now),
            _ => {
                let slot = data.checked_div(KINDS).unwrap_or_default();
                match data.checked_rem(KINDS).and_then(Watch::of) {
                    Some(Watch::Pidfd) => self.on_ended(slot, flags, now),
                    Some(Watch::Status) => self.on_status(slot),
                    Some(Watch::Main) => self.on_main_ended(slot, flags, now),
                    Some(Watch::Notify) => self.on_notify(slot, now),
                    Some(Watch::Ready) => self.on_ready(slot),
                    Some(Watch::Cgroup) => self.sweep(now),
                    None => {}
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let sweep = self.next_sweep.map(|(at, _)| at);
        let deadlines = [
            sweep,
            self.holdings.next_deadline(),
            self.spawner.next_look(),
            self.supervisor_deadline(),
            self.replacing.deadline(),
            self.farewell.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn on_time(&mut self, now: u64) {
        let (overdue, is_done) = self.spawner.look(now);
        for token in overdue {
            self.on_overdue(token, now);
        }
        if is_done {
            self.on_spawner(now);
        }
        while let Some(slot) = self.holdings.next_due(now) {
            self.on_due(slot, now);
        }
        if self.next_sweep.is_some_and(|(at, _)| at <= now) {
            self.sweep(now);
        }
        self.look_after_supervisor(now);
        self.look_after_farewell(now);
    }

    pub(super) fn on_pump(&mut self, now: u64) {
        for answer in self.pump.take_answers() {
            match answer {
                Answer::Drained { key } => self.tell_exit(key, now),
                Answer::Trouble { unit, errno, lost_bytes } => {
                    self.table.log_trouble(unit, errno, lost_bytes);
                }
            }
        }
    }

    /// One packet, or a few where they come one after the other: epoll tells of the next one, and
    /// meanwhile a chatty supervisor delays no exit.
    fn on_link(&mut self, now: u64) {
        for _ in 0..PACKETS {
            let Some(link) = &mut self.link else { return };
            match link.receive() {
                Ok(Received::Messages(messages)) => {
                    let is_last = messages.len() < MANY_ORDERS;
                    self.heard();
                    self.on_orders(messages, now);
                    if is_last {
                        return;
                    }
                }
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) | Err(_) => return self.lose_link(now),
            }
        }
    }

    /// What the supervisor sent before it ended.
    pub(super) fn on_last_words(&mut self, now: u64) {
        for _ in 0..LAST_WORDS {
            self.on_link(now);
        }
    }

    /// Takes `socket` as the link to whoever is the supervisor now.
    pub(super) fn connect(&mut self, socket: OwnedFd, now: u64) -> io::Result<()> {
        let link = Link::new(socket)?;
        self.watch(link.as_fd(), LINK)?;
        self.link = Some(link);
        self.is_link_full = false;
        self.supervisor.connected(now);
        Ok(())
    }

    /// Tells what there is to tell, as far as the link takes it.
    pub(super) fn talk(&mut self, now: u64) {
        let was_full = self.is_link_full;
        match self.say_all(now) {
            Some(Ok(is_flushed)) => {
                self.is_link_full = !is_flushed;
                if was_full != self.is_link_full {
                    self.want_room();
                }
            }
            Some(Err(_)) => {
                self.on_last_words(now);
                self.lose_link(now);
            }
            None => {}
        }
    }

    fn say_all(&mut self, now: u64) -> Option<io::Result<bool>> {
        let link = self.link.as_mut()?;
        if !link.has_unsent() && !self.table.has_news() {
            return None;
        }
        self.supervisor.spoken_to(now);
        loop {
            match link.flush() {
                Ok(true) => {}
                other => return Some(other),
            }
            while !link.has_full_packet() {
                let Some(mut report) = self.table.next_report() else { return Some(link.flush()) };
                let descriptors = descriptors_with(&self.holdings, &mut report);
                if let Err(error) = link.send(&report, &descriptors) {
                    return Some(Err(error));
                }
            }
        }
    }

    /// Whether somebody still waits at the control listener; the next knock is heard again.
    pub(super) fn is_door_unanswered(&self) -> bool {
        let Some(listener) = &self.arguments.listener else { return false };
        let mut poll = [PollFd::new(listener, PollFlags::IN)];
        let is_waiting = rustix::event::poll(&mut poll, Some(&clock::timespec(0))) == Ok(1);
        epoll::modify(&self.epoll, listener, epoll::EventData::new_u64(DOOR), KNOCK).ok();
        is_waiting
    }

    fn want_room(&mut self) {
        let Some(link) = &self.link else { return };
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, self.is_link_full);
        epoll::modify(&self.epoll, link.as_fd(), epoll::EventData::new_u64(LINK), flags).ok();
    }
}

/// Duplicates for the supervisor, so that a new keeper can have them should this one die. None once the run
/// is over.
fn descriptors_with(holdings: &Holdings, report: &mut Report) -> Vec<Arc<OwnedFd>> {
    let (run, carries) = match report {
        Report::Row(row) => (row.run, &mut row.carries),
        Report::Spawned { run, carries, .. } => (*run, carries),
        Report::MainChanged { run, .. } => {
            return holdings
                .of_run(*run)
                .map(|holding| Arc::clone(holding.main_pidfd()))
                .into_iter()
                .collect();
        }
        Report::Hello { .. }
        | Report::Note { .. }
        | Report::HandedOver { .. }
        | Report::SpawnFailed { .. }
        | Report::Exited { .. }
        | Report::Emptied { .. }
        | Report::Signalled { .. }
        | Report::LogTrouble { .. }
        | Report::Strangers { .. }
        | Report::Held { .. }
        | Report::Notified { .. }
        | Report::ReadyShown { .. }
        | Report::Ping { .. }
        | Report::Pong { .. }
        | Report::Rehearsed { .. }
        | Report::Replaced(_) => return Vec::new(),
    };
    let Some(holding) = holdings.of_run(run) else { return Vec::new() };
    let tidings = holding.tidings.as_ref();
    let held = [
        (Carried::Pidfd, Some(holding.main_pidfd())),
        (Carried::Output, holding.output.as_ref()),
        (Carried::Notify, tidings.and_then(|tidings| tidings.notify.as_ref())),
        (Carried::Ready, tidings.and_then(|tidings| tidings.ready.as_ref())),
        (Carried::Kept, holding.kept.as_ref()),
    ];
    let held = held.into_iter().filter_map(|(what, descriptor)| Some((what, Arc::clone(descriptor?))));
    let descriptors;
    (*carries, descriptors) = held.unzip();
    descriptors
}
