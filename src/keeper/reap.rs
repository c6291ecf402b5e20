//! How runs end: the leader's exit, what it said before, and the rest of what it started.

use std::os::fd::AsFd;

use rustix::event::epoll;
use rustix::io::Errno;

use crate::keeper::clock::{self, MILLISECOND, SECOND};
use crate::keeper::environ::Environs;
use crate::keeper::holdings::{Holding, Holdings, Role};
use crate::keeper::orders::{KILL, Sight};
use crate::keeper::orphans::Mark;
use crate::keeper::process::{self, Belonging, Process, Tag};
use crate::keeper::run::Keeper;
use crate::keeper::sys::{self, Ended, Whom};
use crate::keeper::wire::{Exit, Scope, Step, Usage};

/// An exit is told at the latest this long after it, whatever the log disk does.
const DRAIN_DEADLINE: u64 = SECOND;
/// How long to wait for whoever must wait for an adopted process, before its status is unknown.
const STRANGER_DEADLINE: u64 = SECOND;
/// What lingers is looked at after every orphan's end. Where that does not tell all, also this long
/// after the last look …
pub(super) const SWEEP_FIRST: u64 = 100 * MILLISECOND;
/// … doubled up to this for adopted runs, …
const SWEEP_LAST: u64 = SECOND;
/// … and to this for our own: an end is announced, and what cannot be killed is not hurried.
const SWEEP_OWN_LAST: u64 = 30 * SECOND;
/// A storm of ends may take one part in so many of our time with looks.
const SWEEP_SHARE: u64 = 10;
/// Orphans taken in one go, so that a fork bomb does not hold the loop.
const ORPHANS: usize = 4_096;

impl Keeper {
    /// A pidfd became readable.
    pub(super) fn on_ended(&mut self, slot: u64, flags: epoll::EventFlags, now: u64) {
        if self.holdings.get(slot).is_some_and(|holding| holding.status.is_some()) {
            self.on_status(slot);
        }
        let Some(holding) = self.holdings.get(slot) else { return };
        if holding.main().is_some() {
            return self.on_first_ended(slot, now);
        }
        if holding.ended.is_some() {
            return;
        }
        if let Some(ended) = holding.waited {
            self.on_waited(slot, ended, now);
        } else if holding.is_child {
            match sys::wait(Whom::Pid(holding.pid), false) {
                Ok(Some(ended)) => self.on_waited(slot, ended, now),
                Ok(None) => {}
                Err(_) => self.on_waited(slot, unknown_end(), now),
            }
        } else {
            self.on_stranger_ended(slot, flags, now);
        }
    }

    /// Somebody else is to wait for it.
    fn on_stranger_ended(&mut self, slot: u64, flags: epoll::EventFlags, now: u64) {
        let Some(holding) = self.holdings.get(slot) else { return };
        let mut exit = sys::exit_of_stranger(holding.main_pidfd().as_fd());
        if exit == Exit::Unknown {
            let pid = holding.main().map_or(holding.pid, |main| main.pid);
            exit = process::status_of_zombie(pid).map_or(exit, sys::exit_of_status);
        }
        if exit == Exit::Unknown && !flags.contains(epoll::EventFlags::HUP) && holding.tell_at.is_none() {
            self.watch_only_hangup(slot);
            let tell_at = Some(now.saturating_add(STRANGER_DEADLINE));
            return self.holdings.change(slot, |holding| holding.tell_at = tell_at);
        }
        self.on_waited(slot, Ended { exit, ..unknown_end() }, now);
    }

    /// The process that the run named as its main one. It is ours to wait for where its parent has gone, and
    /// then it may have been taken as one among the orphans.
    pub(super) fn on_main_ended(&mut self, slot: u64, flags: epoll::EventFlags, now: u64) {
        let Some(holding) = self.holdings.get(slot).filter(|holding| holding.ended.is_none()) else { return };
        let Some(main) = holding.main() else { return };
        let waited = match main.ended {
            Some(ended) => Ok(Some(ended)),
            None => sys::wait(Whom::Pid(main.pid), false),
        };
        match waited {
            Ok(Some(ended)) => self.on_waited(slot, ended, now),
            Ok(None) => {}
            Err(_) => self.on_stranger_ended(slot, flags, now),
        }
    }

    /// The run goes on without the process that it began with.
    fn on_first_ended(&mut self, slot: u64, now: u64) {
        let Some(holding) = self.holdings.get(slot) else { return };
        let is_alive = holding.is_child
            && holding.waited.is_none()
            && matches!(sys::wait(Whom::Pid(holding.pid), false), Ok(None));
        if is_alive {
            return;
        }
        epoll::delete(&self.epoll, holding.pidfd.as_fd()).ok();
        let is_lingering = self.holdings.lingering.contains(&slot);
        self.holdings.change(slot, |holding| {
            if let Some(main) = holding.tidings.as_mut().and_then(|tidings| tidings.main.as_mut()) {
                main.is_first_gone = true;
            }
        });
        if is_lingering {
            self.sweep_at(now, SWEEP_FIRST);
        }
    }

    fn on_waited(&mut self, slot: u64, ended: Ended, now: u64) {
        let Some(holding) = self.holdings.get(slot) else { return };
        epoll::delete(&self.epoll, holding.main_pidfd()).ok();
        match holding.role {
            Role::Stillborn => self.forget(slot),
            Role::Rehearsal => self.on_rehearsal_ended(slot, ended, now),
            Role::Supervisor => {
                self.forget(slot);
                self.on_supervisor_ended(ended.exit, now);
            }
            Role::Disowned => self.on_disowned_ended(slot, ended, now),
            Role::Run(_) => {
                let tell_at = now.saturating_add(DRAIN_DEADLINE);
                self.holdings.change(slot, |holding| {
                    holding.ended = Some(ended);
                    holding.kill_at = None;
                    holding.tell_at = Some(tell_at);
                });
                if self.pump.is_drained(slot) {
                    // What its log went through comes before its end.
                    self.on_pump(now);
                    self.tell_exit(slot, now);
                } else {
                    self.pump.drain(slot);
                }
            }
        }
    }

    pub(super) fn on_disowned_ended(&mut self, slot: u64, ended: Ended, now: u64) {
        self.holdings.change(slot, |holding| {
            holding.ended = Some(ended);
            holding.kill_at = None;
        });
        let is_empty = self.is_empty_at_exit(slot);
        self.forget_or_linger(slot, is_empty, now);
    }

    /// Publishes the exit of a leader whose last words are stored.
    pub(super) fn tell_exit(&mut self, slot: u64, now: u64) {
        self.hear_last_notices(slot, now);
        let Some(holding) = self.holdings.get(slot) else { return };
        let (Role::Run(run), Some(ended), true) = (holding.role, holding.ended, holding.tell_at.is_some())
        else {
            return;
        };
        self.holdings.change(slot, |holding| holding.tell_at = None);
        let is_empty = self.is_empty_at_exit(slot);
        let log_end = self.pump.log_end(slot);
        self.table.exited(run, ended.exit, ended.usage, is_empty, log_end);
        self.forget_or_linger(slot, is_empty, now);
    }

    /// The leader was waited for just now.
    fn is_empty_at_exit(&mut self, slot: u64) -> bool {
        let has_orphans = self.reap_orphans();
        let is_group_gone = self.is_group_gone(slot);
        if let Some(is_empty) = self.is_enclosure_empty(slot) {
            return is_empty;
        }
        if has_orphans && is_group_gone {
            self.look_at_orphans();
        }
        is_group_gone && self.is_run_empty(slot, has_orphans, &mut None)
    }

    fn forget_or_linger(&mut self, slot: u64, is_empty: bool, now: u64) {
        if is_empty {
            self.forget(slot);
        } else {
            self.linger(slot);
            self.next_sweep = Some((now.saturating_add(SWEEP_FIRST), SWEEP_FIRST));
            if self.holdings.get(slot).is_some_and(|holding| holding.is_doomed) {
                self.doom(slot, &mut None);
            }
        }
    }

    /// A deadline of this process.
    pub(super) fn on_due(&mut self, slot: u64, now: u64) {
        let Some(holding) = self.holdings.get(slot) else { return };
        let is_due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if is_due(holding.tell_at) {
            match holding.ended {
                Some(_) => self.tell_exit(slot, now),
                None => self.on_waited(slot, unknown_end(), now),
            }
        } else if is_due(holding.exec_by) {
            self.on_exec_deadline(slot);
        } else {
            self.doom(slot, &mut None);
            self.holdings.change(slot, |holding| holding.kill_at = None);
        }
    }

    fn on_exec_deadline(&mut self, slot: u64) {
        let Some(holding) = self.holdings.get(slot) else { return };
        sys::signal_by_pidfd(holding.pidfd.as_fd(), KILL).ok();
        if let Role::Run(run) = holding.role {
            self.holdings.detach(slot, Role::Stillborn);
            self.table.spawn_failed(run, Step::Timeout, 0);
        }
        self.holdings.change(slot, |holding| {
            holding.exec_by = None;
            holding.status = None;
        });
    }

    /// SIGKILL to everything of it, now and whenever more of it turns up.
    pub(super) fn doom(&mut self, slot: u64, sight: &mut Sight) {
        self.holdings.change(slot, |holding| holding.is_doomed = true);
        self.signal(slot, KILL, Scope::All, sight);
    }

    pub(super) fn signal(&mut self, slot: u64, signal: u8, scope: Scope, sight: &mut Sight) {
        if scope == Scope::All && signal == KILL {
            self.holdings.change(slot, |holding| holding.is_doomed = true);
            if self.holdings.lingering.contains(&slot) {
                // What could not be seen just now is looked for again.
                self.sweep_at(clock::monotonic().saturating_add(SWEEP_FIRST), SWEEP_FIRST);
            }
        }
        let Some(holding) = self.holdings.get(slot) else { return };
        let is_leader_there = holding.ended.is_none();
        match scope {
            Scope::Main if is_leader_there => {
                sys::signal_by_pidfd(holding.main_pidfd().as_fd(), signal).ok();
            }
            Scope::Main => {}
            Scope::All => self.signal_all_of(slot, signal, sight),
        }
    }

    fn signal_all_of(&mut self, slot: u64, signal: u8, sight: &mut Sight) {
        if self.holdings.get(slot).and_then(Holding::main).is_some_and(|main| main.is_first_gone) {
            // Nobody's end told that the group is gone, and its number may be given again.
            self.is_group_gone(slot);
        }
        let Some(holding) = self.holdings.get(slot) else { return };
        if signal == KILL && holding.enclosure.as_ref().is_some_and(|enclosure| enclosure.kill()) {
            return;
        }
        let members = self.members(holding, sight);
        // The leader's group first, or it would see the others end and go as if by itself.
        if !holding.is_group_gone {
            sys::signal_by_pid(holding.pid.saturating_neg(), signal).ok();
        }
        if holding.ended.is_none() && holding.main().is_none_or(|main| !main.is_first_gone) {
            self.signal_leader_beside_group(holding, signal);
        }
        let main = holding.main().filter(|_| holding.ended.is_none()).map(|main| main.pid);
        let is_main_in_group = !holding.is_group_gone
            && main.and_then(process::look).is_some_and(|main| main.group == holding.pid);
        if !is_main_in_group {
            self.signal_main(slot, signal);
        }
        for process in &members {
            // The group took its signal as one; nobody gets it twice.
            if (holding.is_group_gone || process.group != holding.pid) && main != Some(process.pid) {
                process::signal(process, signal);
            }
        }
        self.see(slot, members);
    }

    /// Remembers who was found to be of this run.
    fn see(&mut self, slot: u64, members: Vec<Process>) {
        self.holdings.change(slot, |holding| {
            for process in members {
                if process.group != holding.pid && !holding.seen.contains(&process) {
                    holding.seen.push(process);
                }
            }
        });
    }

    /// A leader that has not yet made its own session is not in its own group either.
    fn signal_leader_beside_group(&self, holding: &Holding, signal: u8) {
        let leader = nix::unistd::Pid::from_raw(holding.pid);
        if nix::unistd::getpgid(Some(leader)) != Ok(leader) {
            sys::signal_by_pidfd(holding.pidfd.as_fd(), signal).ok();
        }
    }

    /// The processes of a run as /proc shows them; the list of all is read once for many runs.
    fn members(&self, holding: &Holding, sight: &mut Sight) -> Vec<Process> {
        if let Some(enclosure) = &holding.enclosure {
            let mut members = enclosure.members();
            members.retain(|process| !process.is_zombie);
            return members;
        }
        let all = sight.get_or_insert_with(|| process::all(|_| true));
        let belonging = Belonging { leader: holding.pid, tag: &holding.tag, orphans_of: holding.reaper };
        let main = holding.main().map(|main| main.pid);
        let is_own = |pid| pid == holding.pid || Some(pid) == main;
        let is_other = |pid| pid == self.pid || (!is_own(pid) && self.holdings.knows_pid(pid));
        let mut members = process::members(all, belonging, is_other, |pid| self.environs.tag_of(pid));
        members.retain(|process| !process.is_zombie);
        members
    }

    /// No process is left in the leader's group. Of an adopted run, somebody else must wait for what
    /// is in its group already ended: the group says nothing.
    fn is_group_gone(&mut self, slot: u64) -> bool {
        let Some(holding) = self.holdings.get(slot) else { return true };
        if holding.is_child && !holding.is_group_gone {
            let group = holding.pid.saturating_neg();
            if sys::signal_by_pid(group, 0) != Err(Errno::SRCH) {
                return false;
            }
            self.holdings.change(slot, |holding| holding.is_group_gone = true);
        }
        true
    }

    /// `None`: it has none, and must be looked for.
    fn is_enclosure_empty(&self, slot: u64) -> Option<bool> {
        Some(self.holdings.get(slot)?.enclosure.as_ref()?.is_empty())
    }

    /// Nothing of the run is left beside its group. The orphans were looked at, if there are any.
    fn is_run_empty(&mut self, slot: u64, has_orphans: bool, sight: &mut Sight) -> bool {
        let Some(holding) = self.holdings.get(slot) else { return true };
        if holding.is_child && !has_orphans {
            return true;
        }
        if holding.is_child && self.orphans.has_any_of(slot) {
            return false;
        }
        if !holding.is_child {
            let members = self.members(holding, sight);
            let is_anybody_found = !members.is_empty();
            self.see(slot, members);
            if is_anybody_found {
                return false;
            }
        }
        let mut is_anybody_left = false;
        self.holdings.change(slot, |holding| {
            holding.seen.retain(process::is_still_there);
            is_anybody_left = !holding.seen.is_empty();
        });
        !is_anybody_left
    }

    /// Those that the kernel would not watch for us.
    fn look_at_unwatched(&mut self, now: u64) {
        for slot in std::mem::take(&mut self.unwatched) {
            self.on_notify(slot, now);
            self.on_ready(slot);
            self.on_main_ended(slot, epoll::EventFlags::empty(), now);
            self.on_ended(slot, epoll::EventFlags::empty(), now);
            if self.holdings.get(slot).is_some_and(|holding| holding.ended.is_none()) {
                self.unwatched.insert(slot);
            }
        }
    }

    fn look_at_orphans(&mut self) {
        // Those that an executable before ours started are in the list as well.
        let mut pids = process::children(self.pid, |pid| self.holdings.knows_pid(pid));
        pids.retain(|pid| !self.holdings.knows_pid(*pid));
        let (holdings, environs) = (&self.holdings, &self.environs);
        self.orphans.look(pids, clock::monotonic(), |process| owner_of(holdings, environs, process));
    }

    /// Waits for every orphan that has ended. True: there are others that live.
    ///
    /// Spawned children belong to the spawner threads and orphans to this one, so the kernel
    /// answers the question without a look at /proc.
    fn reap_orphans(&mut self) -> bool {
        for _ in 0..ORPHANS {
            match sys::wait(Whom::OwnOfThisThread, false) {
                Ok(Some(ended)) => {
                    self.holdings.orphan_ended(ended);
                    self.orphans.reaped(ended.pid);
                    self.table.stranger_reaped();
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        // More wait: look again at once.
        self.next_sweep = Some((0, SWEEP_FIRST));
        true
    }

    pub(super) fn on_child_signal(&mut self, now: u64) {
        if self.holdings.lingering.is_empty() {
            self.reap_orphans();
        } else if self.no_sweep_before <= now {
            self.sweep(now);
        } else {
            self.reap_orphans();
            self.sweep_at(self.no_sweep_before, SWEEP_FIRST);
        }
    }

    /// Sweeps then, or sooner when that was settled already.
    pub(super) fn sweep_at(&mut self, at: u64, delay: u64) {
        let (before, delay) = self.next_sweep.unwrap_or((at, delay));
        self.next_sweep = Some((at.min(before), delay));
    }

    /// Looks at every run that lingers: what is gone is told, what is doomed gets SIGKILL again.
    pub(super) fn sweep(&mut self, now: u64) {
        let begun = clock::monotonic();
        self.look_at_unwatched(now);
        let (due_at, delay) = self.next_sweep.take().unwrap_or((now, SWEEP_FIRST));
        let has_orphans = self.reap_orphans();
        if has_orphans && !self.holdings.lingering.is_empty() {
            self.look_at_orphans();
        }
        let mut sight = None;
        let mut has_adopted = false;
        let mut is_all_announced = has_orphans && !self.orphans.has_unclear();
        for slot in self.holdings.lingering.clone() {
            let Some(role) = self.holdings.get(slot).map(|holding| holding.role) else { continue };
            let is_group_gone = self.is_group_gone(slot);
            let is_over = self.is_enclosure_empty(slot);
            if is_over.unwrap_or_else(|| is_group_gone && self.is_run_empty(slot, has_orphans, &mut sight)) {
                if let Role::Run(run) = role {
                    self.table.emptied(run);
                }
                self.forget(slot);
                continue;
            }
            if self.holdings.get(slot).is_some_and(|holding| holding.is_doomed) {
                self.signal_all_of(slot, KILL, &mut sight);
            }
            has_adopted |= self.holdings.get(slot).is_some_and(|holding| !holding.is_child);
            is_all_announced &= self.holdings.get(slot).is_some_and(is_end_announced);
        }
        let is_asked_again = !self.holdings.lingering.is_empty() && !is_all_announced;
        if is_asked_again || !self.unwatched.is_empty() {
            let is_untold = has_adopted || !self.unwatched.is_empty();
            let last = if is_untold { SWEEP_LAST } else { SWEEP_OWN_LAST };
            // Sweeps that an end brought about are no reason to be more patient.
            let next = if due_at <= now { delay.saturating_mul(2).min(last) } else { delay };
            let wait = if self.orphans.has_unclear() { SWEEP_FIRST } else { delay };
            self.sweep_at(now.saturating_add(wait), next);
        }
        let end = clock::monotonic();
        self.no_sweep_before = end.saturating_add(end.saturating_sub(begun).saturating_mul(SWEEP_SHARE));
    }
}

/// The last of such a run is an orphan of ours when it ends, and we are told of that: nothing needs to be
/// asked from time to time.
fn is_end_announced(holding: &Holding) -> bool {
    if let Some(enclosure) = &holding.enclosure {
        return enclosure.is_watched;
    }
    holding.is_child && !holding.is_doomed && holding.seen.is_empty()
}

/// The run that an orphan belongs to: by its group, its session or what its environment says.
fn owner_of(holdings: &Holdings, environs: &Environs, process: &Process) -> Mark {
    let by_group = holdings.slot_of_leader(process.group).filter(|(_, holding)| !holding.is_group_gone);
    let by_number = by_group.or_else(|| holdings.slot_of_leader(process.session));
    if let Some((slot, _)) = by_number {
        return Mark::Slot(slot);
    }
    match environs.tag_of(process.pid) {
        Tag::Is(tag) => {
            let slot = holdings.iter().find(|(_, holding)| holding.tag.as_bytes() == tag);
            slot.map_or(Mark::Nobody, |(slot, _)| Mark::Slot(slot))
        }
        Tag::None => Mark::Nobody,
        Tag::Empty if !process::is_leaving(process.pid) => Mark::Blank,
        Tag::Empty | Tag::Untold => Mark::Unclear,
    }
}

fn unknown_end() -> Ended {
    Ended { pid: 0, exit: Exit::Unknown, usage: Usage::default() }
}
