//! The cgroup of one run: who is in it, wherever they went, and how all of them end at once.

use std::io;
use std::path::PathBuf;

use rustix::event::epoll;

use crate::cgroup::{self, Events};
use crate::keeper::process::{self, Process};
use crate::keeper::run::{Keeper, Watch};
use crate::keeper::wire::CgroupOrder;

/// What a spawner thread makes before the child.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) unit: PathBuf,
    pub(super) run: PathBuf,
    pub(super) settings: Vec<(String, String)>,
}

/// The group of a run that lives, or of which something lives.
#[derive(Debug)]
pub(super) struct Enclosure {
    directory: PathBuf,
    events: Events,
    /// The kernel tells when it is empty.
    pub(super) is_watched: bool,
}

impl Plan {
    /// # Errors
    /// When the group cannot be made, or a limit not set.
    pub(super) fn carry_out(&self) -> io::Result<Enclosure> {
        cgroup::prepare(&self.unit, &self.run, &self.settings)?;
        Enclosure::open(self.run.clone())
    }
}

impl Enclosure {
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        let events = Events::open(&directory)?;
        Ok(Self { directory, events, is_watched: false })
    }

    pub(super) fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.events.is_populated()
    }

    pub(super) fn kill(&self) -> bool {
        cgroup::kill(&self.directory)
    }

    /// But for those in groups that they made themselves.
    pub(super) fn members(&self) -> Vec<Process> {
        cgroup::members(&self.directory).into_iter().filter_map(process::look).collect()
    }
}

impl Drop for Enclosure {
    /// What is left of it, if anything, lives on in it.
    fn drop(&mut self) {
        cgroup::remove(&self.directory);
    }
}

impl Keeper {
    /// Where a run of this order belongs; `None`: it is known by its process group.
    pub(super) fn enclosure_plan(&self, unit: &str, run: u64, order: Option<CgroupOrder>) -> Option<Plan> {
        let (base, order) = (self.arguments.cgroup.as_ref()?, order?);
        Some(Plan {
            unit: cgroup::unit_directory(base, unit),
            run: cgroup::run_directory(base, unit, run),
            settings: order.settings,
        })
    }

    /// That of a run whose keeper died.
    pub(super) fn enclosure_left(&self, unit: &str, run: u64) -> Option<Enclosure> {
        let base = self.arguments.cgroup.as_ref()?;
        Enclosure::open(cgroup::run_directory(base, unit, run)).ok()
    }

    /// Its leader has ended, and something of it lives. From now on the end of the last of it is told.
    pub(super) fn linger(&mut self, slot: u64) {
        self.holdings.lingering.insert(slot);
        let Some(enclosure) = self.holdings.get(slot).and_then(|holding| holding.enclosure.as_ref()) else {
            return;
        };
        if enclosure.is_watched {
            return;
        }
        let added = epoll::add(
            &self.epoll,
            enclosure.events.file(),
            Watch::Cgroup.data(slot),
            epoll::EventFlags::PRI,
        );
        self.holdings.change(slot, |holding| {
            if let Some(enclosure) = &mut holding.enclosure {
                enclosure.is_watched = added.is_ok();
            }
        });
    }
}
