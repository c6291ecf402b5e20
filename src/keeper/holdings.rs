//! What the keeper holds for each process: descriptors and deadlines. The counterpart of the
//! table, which knows and holds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::keeper::enclosure::Enclosure;
use crate::keeper::process::Process;
use crate::keeper::sys::Ended;

/// One process that is watched by its pidfd.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) role: Role,
    pub(super) pid: i32,
    pub(super) pidfd: Arc<OwnedFd>,
    /// Of a copied child that has not execed yet.
    pub(super) status: Option<Arc<OwnedFd>>,
    /// Read end of its output, shared with the pump.
    pub(super) output: Option<Arc<OwnedFd>>,
    /// The same of the stream that is kept apart.
    pub(super) kept: Option<Arc<OwnedFd>>,
    /// How it tells us of itself; boxed, as most do not.
    pub(super) tidings: Option<Box<Tidings>>,
    /// `UNIT#ORDINAL:RUN`, as its environment says.
    pub(super) tag: String,
    /// Not adopted: its exit is ours to wait for, its orphans come to us.
    pub(super) is_child: bool,
    /// Who becomes the parent of its orphans.
    pub(super) reaper: i32,
    /// When a copied child must have execed.
    pub(super) exec_by: Option<u64>,
    /// When it is killed with all it started.
    pub(super) kill_at: Option<u64>,
    /// Its leader has ended; told once the pump has stored what it said, or at `tell_at`.
    pub(super) ended: Option<Ended>,
    pub(super) tell_at: Option<u64>,
    /// Its process group was seen empty: the number may mean somebody else from now on.
    pub(super) is_group_gone: bool,
    /// Found to be of it, other than by its group: a process on its way out has lost every mark
    /// by which it could be found again, and must still be waited for.
    pub(super) seen: Vec<Process>,
    /// Everything of it gets SIGKILL, also what turns up later.
    pub(super) is_doomed: bool,
    /// It was waited for as one among the orphans, which a child is taken for that an executable before ours started.
    pub(super) waited: Option<Ended>,
    /// Its cgroup, which knows all of it; boxed, as many machines give none.
    pub(super) enclosure: Option<Box<Enclosure>>,
}

/// The ways by which a run tells of itself.
#[derive(Debug)]
pub(super) struct Tidings {
    pub(super) unit: String,
    /// Whose word counts, beside root's.
    pub(super) uid: u32,
    pub(super) notify: Option<Arc<OwnedFd>>,
    pub(super) ready: Option<Arc<OwnedFd>>,
    /// The process that counts instead of the first one.
    pub(super) main: Option<Main>,
}

/// A process that the run named as its main one.
#[derive(Debug)]
pub(super) struct Main {
    pub(super) pid: i32,
    pub(super) pidfd: Arc<OwnedFd>,
    /// It was waited for, as one among the orphans.
    pub(super) ended: Option<Ended>,
    /// The first process was waited for.
    pub(super) is_first_gone: bool,
}

impl Holding {
    pub(super) fn main(&self) -> Option<&Main> {
        self.tidings.as_ref()?.main.as_ref()
    }

    /// Of the process that counts.
    pub(super) fn main_pidfd(&self) -> &Arc<OwnedFd> {
        self.main().map_or(&self.pidfd, |main| &main.pidfd)
    }

    fn is_first_gone(&self) -> bool {
        let is_over = self.ended.is_some() || self.waited.is_some();
        self.main().map_or(is_over, |main| main.is_first_gone)
    }

    fn deadline(&self) -> Option<u64> {
        [self.exec_by, self.kill_at, self.tell_at].into_iter().flatten().min()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Run(u64),
    /// Nobody is told of it any more, as of the helpers of a dead supervisor: hunted until nothing
    /// of it is left.
    Disowned,
    /// A child that never became a program, on its way out.
    Stillborn,
    Supervisor,
    /// Another executable that reads a copy of the table.
    Rehearsal,
}

/// By slot, a number that is never reused and names the process in the epoll set.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    /// Boxed, as half of a tree's places are empty.
    slots: BTreeMap<u64, Box<Holding>>,
    slot_of_run: BTreeMap<u64, u64>,
    slot_of_pid: BTreeMap<i32, u64>,
    last_slot: u64,
    /// (when, slot), as the holdings say.
    deadlines: BTreeSet<(u64, u64)>,
    /// Runs whose leader has ended and was told, while something of them lives.
    pub(super) lingering: BTreeSet<u64>,
}

impl Holdings {
    /// Numbers up to this one were given.
    pub(super) fn last_slot(&self) -> u64 {
        self.last_slot
    }

    pub(super) fn add(&mut self, holding: Holding) -> u64 {
        self.add_at(self.last_slot.saturating_add(1), holding)
    }

    /// Under the number that it had before.
    pub(super) fn add_at(&mut self, slot: u64, holding: Holding) -> u64 {
        self.last_slot = self.last_slot.max(slot);
        if let Role::Run(run) = holding.role {
            self.slot_of_run.insert(run, slot);
        }
        self.slot_of_pid.insert(holding.pid, slot);
        if let Some(main) = holding.main() {
            self.slot_of_pid.insert(main.pid, slot);
        }
        if let Some(at) = holding.deadline() {
            self.deadlines.insert((at, slot));
        }
        self.slots.insert(slot, Box::new(holding));
        slot
    }

    pub(super) fn remove(&mut self, slot: u64) -> Option<Holding> {
        let holding = self.slots.remove(&slot)?;
        if let Role::Run(run) = holding.role {
            self.slot_of_run.remove(&run);
        }
        for pid in [Some(holding.pid), holding.main().map(|main| main.pid)].into_iter().flatten() {
            if self.slot_of_pid.get(&pid) == Some(&slot) {
                self.slot_of_pid.remove(&pid);
            }
        }
        if let Some(at) = holding.deadline() {
            self.deadlines.remove(&(at, slot));
        }
        self.lingering.remove(&slot);
        Some(*holding)
    }

    /// Its run is no longer in the table; only its end is awaited.
    pub(super) fn detach(&mut self, slot: u64, role: Role) {
        if let Some(holding) = self.slots.get_mut(&slot) {
            if let Role::Run(run) = holding.role {
                self.slot_of_run.remove(&run);
            }
            holding.role = role;
        }
    }

    pub(super) fn slot_of(&self, run: u64) -> Option<u64> {
        self.slot_of_run.get(&run).copied()
    }

    pub(super) fn run_of(&self, slot: u64) -> Option<u64> {
        match self.slots.get(&slot)?.role {
            Role::Run(run) => Some(run),
            Role::Disowned | Role::Stillborn | Role::Supervisor | Role::Rehearsal => None,
        }
    }

    pub(super) fn of_run(&self, run: u64) -> Option<&Holding> {
        self.get(self.slot_of(run)?)
    }

    pub(super) fn get(&self, slot: u64) -> Option<&Holding> {
        self.slots.get(&slot).map(Box::as_ref)
    }

    /// Changes a holding, and keeps the order of deadlines right.
    pub(super) fn change(&mut self, slot: u64, change: impl FnOnce(&mut Holding)) {
        let Some(holding) = self.slots.get_mut(&slot) else { return };
        let before = holding.deadline();
        change(holding);
        let after = holding.deadline();
        if before != after {
            if let Some(at) = before {
                self.deadlines.remove(&(at, slot));
            }
            if let Some(at) = after {
                self.deadlines.insert((at, slot));
            }
        }
    }

    /// Another process is what this run is about.
    pub(super) fn follow(&mut self, slot: u64, main: Main) {
        let Some(tidings) = self.slots.get_mut(&slot).and_then(|holding| holding.tidings.as_mut()) else {
            return;
        };
        self.slot_of_pid.insert(main.pid, slot);
        let former = tidings.main.replace(main);
        if let Some(former) = former {
            self.slot_of_pid.remove(&former.pid);
        }
    }

    /// An orphan was waited for. Was it what some run is about?
    pub(super) fn orphan_ended(&mut self, ended: Ended) {
        let Some(slot) = self.slot_of_pid.get(&ended.pid) else { return };
        let Some(holding) = self.slots.get_mut(slot) else { return };
        if holding.pid == ended.pid && holding.waited.is_none() {
            holding.waited = Some(ended);
        }
        let tidings = holding.tidings.as_mut();
        if let Some(main) =
            tidings.and_then(|tidings| tidings.main.as_mut()).filter(|main| main.pid == ended.pid)
        {
            main.ended = Some(ended);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A slot whose deadline is reached.
    pub(super) fn next_due(&self, now: u64) -> Option<u64> {
        self.deadlines.first().filter(|(at, _)| *at <= now).map(|(_, slot)| *slot)
    }

    /// Is this the main process of something we started and have not seen end?
    pub(super) fn knows_pid(&self, pid: i32) -> bool {
        self.slot_of_pid
            .get(&pid)
            .and_then(|slot| self.slots.get(slot))
            .is_some_and(|held| if held.pid == pid { !held.is_first_gone() } else { held.ended.is_none() })
    }

    /// Whose main process had this number, be it alive or ended.
    pub(super) fn slot_of_leader(&self, pid: i32) -> Option<(u64, &Holding)> {
        let slot = *self.slot_of_pid.get(&pid)?;
        Some((slot, self.slots.get(&slot)?))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Holding)> {
        self.slots.iter().map(|(slot, holding)| (*slot, holding.as_ref()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
