//! What the supervisor orders, and what comes of its spawn orders.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::keeper::clock::{self, MILLISECOND};
use crate::keeper::holdings::{Holding, Role, Tidings};
use crate::keeper::notify::Prepared;
use crate::keeper::process::{self, Process};
use crate::keeper::pump::{Relog, Source};
use crate::keeper::reap::SWEEP_FIRST;
use crate::keeper::run::{Keeper, Pending, Watch};
use crate::keeper::spawn::{self, Done, EXEC_DEADLINE, Failed, Started};
use crate::keeper::sys::{self, Ended};
use crate::keeper::table::is_helper;
use crate::keeper::wire::{
    self, AdoptOrder, Carried, Exit, LogOrder, Order, Report, Row, Scope, SpawnOrder, Stage, Step, Usage,
    VERSION,
};
use crate::proc::run_tag;

/// One look at all processes, shared by what is asked at one moment.
pub(super) type Sight = Option<Vec<Process>>;

pub(super) const KILL: u8 = 9;
pub(super) const TERM: u8 = 15;

impl Keeper {
    /// The messages of one packet.
    pub(super) fn on_orders(&mut self, messages: Vec<(Order, Vec<OwnedFd>)>, now: u64) {
        let mut sight = None;
        for (order, descriptors) in messages {
            match order {
                Order::Hello { version, pid: _ } if !wire::is_read(version) => {
                    super::complain(&format!(
                        "the supervisor speaks version {version} of the link, this keeper version {VERSION}; \
                         starting another one"
                    ));
                    // Whatever else it says would be guessed.
                    return self.lose_link(now);
                }
                Order::Hello { version: _, pid } => self.on_hello(pid, now),
                Order::Spawn(order) => self.on_spawn(*order, descriptors, now),
                Order::Signal { run, signal, scope } => self.on_signal_order(run, signal, scope, &mut sight),
                Order::Release { run } => self.table.release(run),
                Order::Remember { key, value } => self.table.remember(key, value),
                Order::Adopt(order) => self.on_adopt(*order, descriptors, now),
                Order::Relog { run, unit, log } => self.on_relog(run, &unit, log),
                Order::Hold { key } => {
                    if let Some(socket) = descriptors.into_iter().next() {
                        self.store.hold(key, socket);
                    }
                }
                Order::LetGo { key } => self.store.let_go(&key),
                Order::ForgetStored { unit } => self.store.forget(&unit),
                Order::LogTotal { bytes } => self.pump.limit_total(bytes),
                Order::ShutdownTimeout { ms } => self.arguments.shutdown_ms = ms,
                Order::Ping { number } => self.table.pinged(number),
                // Whatever is said proves that it lives.
                Order::Pong { number: _ } => {}
                Order::Rehearse => self.rehearse(now),
                Order::Replace => self.on_replace(now),
                Order::Ready => self.on_ready_supervisor(),
                Order::AtEnd { finale } => self.finale = Some(finale),
                Order::CannotBegin { code } => {
                    self.cannot_begin(code, now);
                    self.disconnect();
                }
                Order::Quit { code } => {
                    self.quit(code, now);
                    // It ends when it sees that it was heard, and the keeper ends after it.
                    self.disconnect();
                }
            }
        }
    }

    fn on_hello(&mut self, pid: u32, now: u64) {
        self.supervisor.greeted(pid);
        let hello = Report::Hello {
            version: VERSION,
            pid: u32::try_from(self.pid).unwrap_or_default(),
            restarts: self.supervisor.restarts,
            safe_mode: self.supervisor.is_in_trouble(now),
        };
        let Some(link) = &mut self.link else { return };
        let held =
            self.store.all_listening().map(|(key, socket)| (Report::Held { key: key.clone() }, socket));
        let sent = link.send(&hello, &[]).is_ok()
            && held.into_iter().all(|(report, socket)| link.send(&report, &[Arc::clone(socket)]).is_ok());
        if sent {
            self.table.connected(self.supervisor.is_foreign());
        }
    }

    fn on_spawn(&mut self, mut order: SpawnOrder, descriptors: Vec<OwnedFd>, now: u64) {
        let run = order.run;
        let tag = run_tag(&order.unit, order.ordinal, run);
        let row = Row {
            run,
            unit: order.unit.clone(),
            spawned_as: None,
            ordinal: order.ordinal,
            pid: 0,
            start_time: 0,
            spawned_at: clock::boottime(),
            stage: Stage::Spawning,
            log: order.log.clone(),
            carries: Vec::new(),
            is_ready_shown: false,
            log_place: order.log_place,
        };
        if !self.table.ordered(row) {
            return;
        }
        if self.farewell.is_final() {
            return self.table.spawn_failed(run, Step::Prepare, Errno::CANCELED.raw_os_error());
        }
        let Prepared { gifts, tidings, kept } = match self.gifts(&order, descriptors) {
            Ok(prepared) => prepared,
            Err((step, errno)) => return self.table.spawn_failed(run, step, errno.raw_os_error()),
        };
        let timeout = order.timeout_ms.saturating_mul(MILLISECOND);
        let pending = Pending {
            role: Role::Run(run),
            tag,
            kill_at: (timeout > 0).then(|| now.saturating_add(timeout)),
            log: order.log.clone().map(|log| (order.unit.clone(), log)),
            signals: Vec::new(),
            tidings,
            kept,
        };
        let enclosure = self.enclosure_plan(&order.unit, run, order.cgroup.take());
        match spawn::job(order, &pending.tag, &self.context, gifts, enclosure) {
            Ok(job) => self.submit(job, pending, now),
            Err(errno) => self.table.spawn_failed(run, Step::Prepare, errno.raw_os_error()),
        }
    }

    pub(super) fn submit(&mut self, job: spawn::Job, pending: Pending, now: u64) {
        self.last_token = self.last_token.saturating_add(1);
        self.pending.insert(self.last_token, pending);
        self.spawner.submit(spawn::Job { token: self.last_token, ..job }, now);
    }

    pub(super) fn on_spawner(&mut self, now: u64) {
        for Done { token, outcome } in self.spawner.take_done() {
            let Some(pending) = self.pending.remove(&token) else { continue };
            match outcome {
                Ok(started) => self.on_started(pending, started, now),
                Err(failed) => self.on_failed(&pending, failed, now),
            }
        }
    }

    /// A spawner thread waits for a child that has not execed in time. The child was killed; where it
    /// cannot die (an uninterruptible sleep), nobody waits for that.
    pub(super) fn on_overdue(&mut self, token: u64, now: u64) {
        let Some(pending) = self.pending.get_mut(&token) else { return };
        match std::mem::replace(&mut pending.role, Role::Disowned) {
            Role::Run(run) => self.table.spawn_failed(run, Step::Timeout, 0),
            Role::Supervisor => self.supervisor_failed_to_start(Step::Timeout, 0, now),
            Role::Rehearsal => self.cannot_rehearse(Step::Timeout, 0),
            Role::Disowned | Role::Stillborn => {}
        }
    }

    fn on_started(&mut self, pending: Pending, started: Started, now: u64) {
        let Started { pid, pidfd, began, status, output, enclosure } = started;
        let output = output.map(Arc::new);
        let has_status = status.is_some();
        let slot = self.hold(
            Holding {
                role: pending.role,
                pid,
                pidfd: Arc::new(pidfd),
                exec_by: has_status.then(|| now.saturating_add(self.arguments.patience.of(EXEC_DEADLINE))),
                status: status.map(Arc::new),
                output: output.clone(),
                kept: pending.kept.clone(),
                tidings: pending.tidings,
                tag: pending.tag,
                is_child: true,
                reaper: self.pid,
                kill_at: pending.kill_at,
                ended: None,
                tell_at: None,
                is_group_gone: false,
                seen: Vec::new(),
                is_doomed: false,
                waited: None,
                enclosure: enclosure.map(Box::new),
            },
            now,
        );
        self.watch_tidings(slot, now);
        if let (Some(pipe), Some((unit, log))) = (output, pending.log) {
            self.pump.add(Source {
                key: slot,
                unit,
                log,
                pipe,
                kept: pending.kept,
                is_adopted: false,
                has_written: false,
                is_spoiled: false,
            });
        }
        match pending.role {
            Role::Run(run) => {
                if !has_status {
                    self.on_execed(run, pid, Some(began));
                }
                let mut sight = None;
                for (signal, is_all) in pending.signals {
                    self.signal(slot, signal, if is_all { Scope::All } else { Scope::Main }, &mut sight);
                }
            }
            Role::Supervisor => self.supervisor_started(slot, now),
            Role::Rehearsal => {}
            // Disowned while it was being made.
            Role::Disowned | Role::Stillborn => self.doom(slot, &mut None),
        }
    }

    /// Keeps a process and watches for its end.
    fn hold(&mut self, holding: Holding, now: u64) -> u64 {
        let pidfd = Arc::clone(&holding.pidfd);
        let status = holding.status.clone();
        let slot = self.holdings.add(holding);
        self.watch_slot(&pidfd, slot, Watch::Pidfd, now);
        if let Some(status) = status {
            self.watch_slot(&status, slot, Watch::Status, now);
        }
        slot
    }

    fn on_execed(&mut self, run: u64, pid: i32, began: Option<(u64, u64)>) {
        let start_time = self.start_time(pid, began);
        self.table.spawned(run, u32::try_from(pid).unwrap_or_default(), start_time);
    }

    /// /proc is asked for the first one. Where it agrees with the clock, the clock is believed from
    /// then on: a look costs more than all else that is done here for a start, and again at the end.
    fn start_time(&mut self, pid: i32, began: Option<(u64, u64)>) -> u64 {
        let by_clock = began.and_then(process::start_time_between);
        if let (Some(true), Some(at)) = (self.is_clock_right, by_clock) {
            return at;
        }
        let seen = process::look(pid).map(|process| process.start_time);
        if let (None, Some(at), Some(seen)) = (self.is_clock_right, by_clock, seen) {
            self.is_clock_right = Some(at == seen);
        }
        seen.unwrap_or_default()
    }

    fn on_failed(&mut self, pending: &Pending, failed: Failed, now: u64) {
        let Failed { step, errno, child } = failed;
        if let Some((pid, pidfd)) = child {
            self.hold(
                Holding {
                    role: Role::Stillborn,
                    pid,
                    pidfd: Arc::new(pidfd),
                    status: None,
                    output: None,
                    kept: None,
                    tidings: None,
                    tag: String::new(),
                    is_child: true,
                    reaper: self.pid,
                    exec_by: None,
                    kill_at: None,
                    ended: None,
                    tell_at: None,
                    is_group_gone: true,
                    seen: Vec::new(),
                    is_doomed: false,
                    waited: None,
                    enclosure: None,
                },
                now,
            );
        }
        match pending.role {
            Role::Run(run) => self.table.spawn_failed(run, step, errno),
            Role::Supervisor => self.supervisor_failed_to_start(step, errno, now),
            Role::Rehearsal => self.cannot_rehearse(step, errno),
            Role::Disowned | Role::Stillborn => {}
        }
    }

    /// A copied child has execed, or says why it could not.
    pub(super) fn on_status(&mut self, slot: u64) {
        let Some(holding) = self.holdings.get(slot) else { return };
        let (Some(status), role, pid) = (&holding.status, holding.role, holding.pid) else { return };
        let failure = sys::read_failure(status);
        self.holdings.change(slot, |holding| {
            holding.status = None;
            holding.exec_by = None;
        });
        match (role, failure) {
            (Role::Run(run), None) => self.on_execed(run, pid, None),
            (Role::Run(run), Some(failure)) => {
                self.holdings.detach(slot, Role::Stillborn);
                self.table.spawn_failed(run, failure.step, failure.errno);
            }
            (Role::Rehearsal, Some(failure)) => {
                self.holdings.detach(slot, Role::Stillborn);
                self.cannot_rehearse(failure.step, failure.errno);
            }
            (Role::Disowned | Role::Stillborn | Role::Supervisor | Role::Rehearsal, _) => {}
        }
    }

    fn on_signal_order(&mut self, run: u64, signal: u8, scope: Scope, sight: &mut Sight) {
        if let Some(slot) = self.holdings.slot_of(run) {
            self.signal(slot, signal, scope, sight);
        } else if let Some(pending) = self.pending.values_mut().find(|job| job.role == Role::Run(run)) {
            // It is being started: the signal meets it as soon as it runs.
            pending.signals.push((signal, scope == Scope::All));
        }
    }

    /// Touches no disk here: the pump has the log, and moves it.
    fn on_relog(&mut self, run: u64, unit: &str, log: Option<LogOrder>) {
        let Some((before, old_log)) = self.table.relogged(run, unit, log.clone()) else { return };
        if before != unit {
            self.store.rename(&before, unit);
        }
        let rename = |tidings: &mut Option<Box<Tidings>>| {
            if let Some(tidings) = tidings {
                unit.clone_into(&mut tidings.unit);
            }
        };
        let slot = self.holdings.slot_of(run);
        if let Some(slot) = slot {
            self.holdings.change(slot, |holding| rename(&mut holding.tidings));
        }
        for pending in self.pending.values_mut().filter(|pending| pending.role == Role::Run(run)) {
            rename(&mut pending.tidings);
            if let (Some((name, order)), Some(log)) = (&mut pending.log, &log) {
                unit.clone_into(name);
                *order = log.clone();
            }
        }
        if let Some((from, log)) = old_log.zip(log) {
            self.pump.relog(Relog { key: slot.unwrap_or_default(), unit: unit.to_owned(), from, log });
        }
    }

    fn on_adopt(&mut self, order: AdoptOrder, descriptors: Vec<OwnedFd>, now: u64) {
        let mut came = order.carries.iter().copied().zip(descriptors).collect::<Vec<_>>();
        let mut taken = |what: Carried| {
            let at = came.iter().position(|(carried, _)| *carried == what)?;
            Some(came.swap_remove(at).1)
        };
        let run = order.run;
        let row = Row {
            run,
            unit: order.unit.clone(),
            spawned_as: order.spawned_as.clone(),
            ordinal: order.ordinal,
            pid: order.pid,
            start_time: order.start_time,
            spawned_at: if order.spawned_at == 0 { clock::boottime() } else { order.spawned_at },
            stage: match order.exit {
                None => Stage::Live,
                Some(exit) => Stage::Exited { exit, usage: Usage::default(), is_empty: false, log_end: None },
            },
            log: order.log.clone(),
            carries: Vec::new(),
            is_ready_shown: order.is_ready_shown,
            log_place: order.log_place,
        };
        if !self.table.ordered(row) {
            return;
        }
        self.table.known(run);
        let pid = i32::try_from(order.pid).unwrap_or_default();
        let parent = rustix::process::getppid().map_or(-1, |parent| parent.as_raw_nonzero().get());
        let pidfd = taken(Carried::Pidfd).or_else(|| verified(pid, order.start_time));
        // Without its leader, what there is of it is found by its group, session and tag.
        let pidfd = if order.exit.is_some() { pidfd.or_else(nobody) } else { pidfd };
        // Nobody's pid: its negative would mean everybody.
        let Some(pidfd) = pidfd.filter(|_| pid > 1) else {
            // What cannot be told from a stranger is neither watched nor signalled.
            return self.table.exited(run, Exit::Unknown, Usage::default(), true, None);
        };
        let output = taken(Carried::Output).map(Arc::new);
        let kept = taken(Carried::Kept).map(Arc::new);
        let tidings = Self::adopted_tidings(&order.unit, pid, taken(Carried::Notify), taken(Carried::Ready));
        let spawned_as = order.spawned_as.as_ref().unwrap_or(&order.unit);
        let slot = self.hold(
            Holding {
                role: Role::Run(run),
                pid,
                pidfd: Arc::new(pidfd),
                status: None,
                output: output.clone(),
                kept: kept.clone(),
                tidings,
                tag: run_tag(spawned_as, order.ordinal, run),
                is_child: false,
                // It is an orphan itself, of our predecessor, as the supervisor is who started us.
                reaper: reaper_of(pid).or_else(|| reaper_of(parent)).unwrap_or(-1),
                exec_by: None,
                kill_at: (is_helper(run)).then_some(now),
                ended: order.exit.map(|exit| Ended { pid, exit, usage: Usage::default() }),
                tell_at: None,
                is_group_gone: false,
                seen: Vec::new(),
                is_doomed: false,
                waited: None,
                enclosure: self.enclosure_left(spawned_as, run).map(Box::new),
            },
            now,
        );
        self.watch_tidings(slot, now);
        if let Some((pipe, log)) = output.zip(order.log) {
            self.pump.add(Source::adopted(slot, order.unit, log, pipe, kept));
        }
        if order.exit.is_some() {
            self.linger(slot);
            self.sweep_at(now, SWEEP_FIRST);
        }
    }

    /// The end of an adopted process is told only once somebody else has waited for it: from then
    /// on the pidfd hangs up, and nothing before that is of interest.
    pub(super) fn watch_only_hangup(&self, slot: u64) {
        let Some(holding) = self.holdings.get(slot) else { return };
        let watch = if holding.main().is_some() { Watch::Main } else { Watch::Pidfd };
        epoll::modify(&self.epoll, holding.main_pidfd(), watch.data(slot), epoll::EventFlags::empty()).ok();
    }
}

fn reaper_of(pid: i32) -> Option<i32> {
    process::look(pid).map(|process| process.parent)
}

/// Stands for the pidfd of a process that is gone: signals by it reach nobody.
fn nobody() -> Option<OwnedFd> {
    super::nothing().ok()
}

/// The process that had this pid and began at this time, if it is still the same one.
fn verified(pid: i32, start_time: u64) -> Option<OwnedFd> {
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    process::look(pid).filter(|process| process.start_time == start_time).map(|_same| pidfd)
}
