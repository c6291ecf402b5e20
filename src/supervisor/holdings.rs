//! What the supervisor keeps of every run: enough to hand it to a new keeper if the old one dies.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::keeper::wire::{AdoptOrder, Carried, Exit, LogOrder, LogPlace, Usage};
use crate::proc::run_tag;
use crate::supervisor::identity::Ordered;
use crate::supervisor::journal::Process;

#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// Boxed, as half of a tree's places are empty.
    pub(crate) runs: BTreeMap<u64, Box<Holding>>,
    /// Where the last run of a unit that wrote anything ended in its log.
    log_ends: BTreeMap<Arc<str>, LogPlace>,
}

#[derive(Debug)]
pub(crate) struct Holding {
    /// Shared with the journal.
    pub(crate) unit: Arc<str>,
    /// What its unit was called when it was ordered, where that was otherwise.
    pub(crate) spawned_as: Option<Arc<str>>,
    pub(crate) ordinal: u32,
    /// CLOCK_BOOTTIME nanoseconds of the order.
    pub(crate) spawned_at: u64,
    /// Whom it was ordered to run as. `None`: not known to this supervisor.
    pub(crate) uid: Option<u32>,
    /// How its leader ended, as the keeper told it.
    pub(crate) exit: Option<Exit>,
    /// What its leader took, as the keeper told it; boxed, as it is known of few.
    pub(crate) usage: Option<Box<Usage>>,
    /// Its main process, also when that has ended.
    pub(crate) process: Option<Process>,
    /// The signals that it was sent by us: bit n is signal n.
    pub(crate) signals: u128,
    pub(crate) stage: Stage,
    /// Duplicates of what the keeper holds of it.
    pub(crate) descriptors: Held,
    /// It showed by itself that it is ready.
    pub(crate) is_ready_shown: bool,
    /// Where the log was when it was ordered, of one whose log tells that it is ready.
    pub(crate) log_place: Option<Box<LogPlace>>,
    /// Where its log began and ended, as far as the keeper told it.
    pub(crate) log_span: Option<Box<LogSpan>>,
}

/// `None`: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogSpan {
    /// Where the unit's last run ended.
    pub(crate) from: Option<LogPlace>,
    pub(crate) until: Option<LogPlace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The keeper was told and has not answered.
    Ordered,
    Live(Process),
    /// Its leader ended; something of it may be left.
    Exited(Process),
    /// Nothing of it is left; the engine has not released it yet.
    Over,
    /// Lives under a number that cannot be verified: neither signalled nor doubled.
    Unverified(Process),
    /// In the keeper's table, but no unit of the set: left alone until it ends by itself.
    Foreign(Process),
}

impl Holdings {
    /// The run that a unit has or had last; 0 where there is none. Looks at all of them.
    pub(crate) fn newest_run_of(&self, unit: &str) -> u64 {
        self.runs.iter().rev().find(|(_, holding)| *holding.unit == *unit).map_or(0, |(run, _)| *run)
    }
}

/// Descriptors, each with what it is.
pub(crate) type Held = Vec<(Carried, Arc<OwnedFd>)>;

/// What came with a message that named it.
pub(crate) fn held(carries: &[Carried], descriptors: Vec<OwnedFd>) -> Held {
    carries.iter().copied().zip(descriptors.into_iter().map(Arc::new)).collect()
}

impl Holding {
    pub(crate) fn new(unit: Arc<str>, ordinal: u32, spawned_at: u64, stage: Stage) -> Self {
        Self {
            unit,
            spawned_as: None,
            ordinal,
            spawned_at,
            uid: None,
            exit: None,
            usage: None,
            process: None,
            signals: 0,
            stage,
            descriptors: Vec::new(),
            is_ready_shown: false,
            log_place: None,
            log_span: None,
        }
    }

    /// How its leader ended. `log_from`: where the unit's last run ended in the log.
    pub(crate) fn ended_by(
        &mut self,
        exit: Exit,
        usage: Usage,
        log_until: Option<LogPlace>,
        log_from: Option<LogPlace>,
    ) {
        if self.exit.is_none() {
            self.exit = Some(exit);
            self.usage = Some(Box::new(usage));
            self.log_span = Some(Box::new(LogSpan { from: log_from, until: log_until }));
        }
    }

    /// The value of `MCSUP_RUN` in the environment of everything of it.
    pub(crate) fn tag(&self, run: u64) -> String {
        run_tag(self.spawned_as.as_ref().unwrap_or(&self.unit), self.ordinal, run)
    }

    /// Whom to look for when nobody ever said which process it is.
    pub(crate) fn ordered(&self, run: u64) -> Ordered {
        Ordered { tag: self.tag(run), at: self.spawned_at, uid: self.uid }
    }

    /// `None`: there is nothing that a keeper could take over.
    pub(crate) fn adopt_order(&self, run: u64, log: Option<LogOrder>) -> Option<AdoptOrder> {
        let process = match self.stage {
            Stage::Live(process) | Stage::Exited(process) | Stage::Foreign(process) => process,
            Stage::Ordered | Stage::Over | Stage::Unverified(_) => return None,
        };
        Some(AdoptOrder {
            run,
            unit: (*self.unit).to_owned(),
            spawned_as: self.spawned_as.as_deref().map(str::to_owned),
            ordinal: self.ordinal,
            pid: process.pid,
            start_time: process.start_time,
            spawned_at: self.spawned_at,
            exit: self.exit,
            log,
            carries: self.descriptors.iter().map(|(carried, _)| *carried).collect(),
            is_ready_shown: self.is_ready_shown,
            log_place: self.log_place.as_deref().copied(),
        })
    }
}

impl Holdings {
    pub(crate) fn stage(&self, run: u64) -> Option<Stage> {
        self.runs.get(&run).map(|holding| holding.stage)
    }

    pub(crate) fn lives(&mut self, run: u64, process: Process, descriptors: Held) {
        if let Some(holding) = self.runs.get_mut(&run) {
            holding.stage = Stage::Live(process);
            holding.process = Some(process);
            holding.descriptors = descriptors;
        }
    }

    /// Its unit is called this by now. False: it was before, or there is no such run.
    pub(crate) fn renamed(&mut self, run: u64, unit: &Arc<str>) -> bool {
        let Some(holding) = self.runs.get_mut(&run).filter(|holding| holding.unit != *unit) else {
            return false;
        };
        let before = std::mem::replace(&mut holding.unit, Arc::clone(unit));
        if let Some(end) = self.log_ends.remove(&before) {
            self.log_ends.insert(Arc::clone(unit), end);
        }
        let spawned_as = holding.spawned_as.take().unwrap_or(before);
        holding.spawned_as = Some(spawned_as).filter(|name| name != unit);
        true
    }

    pub(crate) fn shows_ready(&mut self, run: u64) {
        if let Some(holding) = self.runs.get_mut(&run) {
            holding.is_ready_shown = true;
        }
    }

    /// Another process is the main one; `pidfd` is its own.
    pub(crate) fn main_changed(&mut self, run: u64, process: Process, pidfd: Option<OwnedFd>) {
        let Some(holding) = self.runs.get_mut(&run) else { return };
        if let Stage::Live(_) = holding.stage {
            holding.stage = Stage::Live(process);
        }
        holding.descriptors.retain(|(carried, _)| *carried != Carried::Pidfd);
        holding.descriptors.extend(pidfd.map(|pidfd| (Carried::Pidfd, Arc::new(pidfd))));
    }

    /// How the leader ended, for whoever asks a new keeper.
    pub(crate) fn ended_by(&mut self, run: u64, exit: Exit, usage: Usage, log_end: Option<LogPlace>) {
        let Some(holding) = self.runs.get_mut(&run) else { return };
        holding.ended_by(exit, usage, log_end, self.log_ends.get(&holding.unit).copied());
        if let Some(end) = log_end.filter(|end| end.inode != 0) {
            self.log_ends.insert(Arc::clone(&holding.unit), end);
        }
    }

    pub(crate) fn exited(&mut self, run: u64, is_empty: bool) {
        let Some(holding) = self.runs.get_mut(&run) else { return };
        holding.stage = match holding.stage {
            Stage::Foreign(process) => Stage::Foreign(process),
            Stage::Live(process) | Stage::Exited(process) | Stage::Unverified(process) if !is_empty => {
                Stage::Exited(process)
            }
            Stage::Ordered | Stage::Live(_) | Stage::Exited(_) | Stage::Unverified(_) | Stage::Over => {
                Stage::Over
            }
        };
    }
}
