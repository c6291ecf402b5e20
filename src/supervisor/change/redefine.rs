//! Other definitions are in force: whoever holds a set gets the new one, in the order of what happens.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use crate::cgroup;
use crate::engine::id::{RunId, UnitId};
use crate::keeper::wire::Order;
use crate::supervisor::chronicle::Telling;
use crate::supervisor::executor::{Executor, Untold};
use crate::supervisor::launch::Ground;
use crate::supervisor::notes;
use crate::unit::spec::{UnitSet, UnitSpec};

impl Executor {
    /// `seal`: of the text of these definitions, so that a supervisor that is started again begins with them.
    pub(crate) fn redefine(&mut self, set: &Arc<UnitSet>, seal: Option<u64>) {
        let before = Arc::clone(&self.ground.set);
        for id in before.ids() {
            self.let_go_of_sockets(id, &before, set);
        }
        self.ground = Arc::new(Ground::with_set(&self.ground, Arc::clone(set)));
        self.starts.redefine(Arc::clone(&self.ground));
        if let Some(seal) = seal {
            let (key, value) = notes::encode_accepted(seal);
            self.remember_pair(key, value);
        }
        self.limit_those_that_go_on(&before, set);
        self.relog_those_that_go_on(&before, set);
        self.move_what_is_called_otherwise(&before, set);
        if before.log_total_bytes != set.log_total_bytes {
            self.send(&Order::LogTotal { bytes: set.log_total_bytes }, &[]);
        }
        if before.shutdown_timeout != set.shutdown_timeout {
            let ms = u64::try_from(set.shutdown_timeout.as_millis()).unwrap_or(u64::MAX);
            self.send(&Order::ShutdownTimeout { ms }, &[]);
        }
        // Behind what was told under the definitions before.
        self.untold.push(Untold::Redefined(Arc::clone(set)));
        self.untold.push(Untold::Telling(Telling::Redefined(Arc::clone(set))));
        self.definitions.send_replace(Arc::clone(set));
    }

    /// What all processes of a unit together may use holds at once for those that run. A lower limit of memory makes
    /// the kernel look for what it can take back, which is no work for the loop.
    fn limit_those_that_go_on(&self, before: &UnitSet, after: &UnitSet) {
        let bounds = |unit: &UnitSpec| {
            unit.confinement.as_ref().map(|confinement| confinement.bounds).unwrap_or_default()
        };
        let changed = before
            .ids()
            .filter_map(|id| before.unit(id).zip(after.unit(id)))
            .filter(|(old, new)| bounds(old) != bounds(new) && !new.is_removed);
        let settings: Vec<(PathBuf, String)> = changed
            .flat_map(|(old, new)| self.ground.cgroups.live_settings(old.name.as_str(), &bounds(new)))
            .collect();
        if settings.is_empty() {
            return;
        }
        drop(tokio::task::spawn_blocking(move || {
            for (file, value) in settings {
                match cgroup::write(&file, &value) {
                    Ok(()) => {}
                    // It has not run since mcsup was started: its first run gets them.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => tracing::warn!("cannot write {value} to {}: {error}", file.display()),
                }
            }
        }));
    }

    /// Runs whose unit is called otherwise now, or whose log is kept otherwise, go on so.
    fn relog_those_that_go_on(&mut self, before: &UnitSet, after: &UnitSet) {
        let differs = |id: &UnitId| match (before.unit(*id), after.unit(*id)) {
            (Some(old), Some(new)) => (&old.name, &old.log) != (&new.name, &new.log),
            (None, _) | (_, None) => false,
        };
        let others: BTreeMap<&str, UnitId> = before
            .present()
            .filter(differs)
            .filter_map(|id| Some((before.unit(id)?.name.as_str(), id)))
            .collect();
        if others.is_empty() {
            return;
        }
        let runs: Vec<(u64, UnitId)> = self
            .holdings
            .runs
            .iter()
            .filter_map(|(run, holding)| Some((*run, *others.get(&*holding.unit)?)))
            .collect();
        for (run, unit) in runs {
            self.relog(RunId(run), unit);
        }
    }

    /// What a unit left behind goes on under its new name: its log, where no run writes to it any more, and, of a job,
    /// what its runs wrote and what is known of it.
    fn move_what_is_called_otherwise(&mut self, before: &UnitSet, after: &UnitSet) {
        for (old, new) in before.ids().filter_map(|id| before.unit(id).zip(after.unit(id))) {
            if old.name == new.name || old.is_removed {
                continue;
            }
            self.jobs.pasts.renamed(&old.name, &new.name);
            let mut places =
                vec![(self.ground.output_dir(old.name.as_str()), self.ground.output_dir(new.name.as_str()))];
            if !self.holdings.runs.values().any(|holding| *holding.unit == *new.name.as_str()) {
                let log = &self.ground.log_dir;
                places.push((log.join(old.name.as_str()), log.join(new.name.as_str())));
            }
            drop(tokio::task::spawn_blocking(move || {
                for (from, to) in places.into_iter().filter(|(_, to)| !to.exists()) {
                    // Mostly there is none: then there is nothing to move.
                    drop(fs::rename(from, to));
                }
            }));
        }
    }

    /// What nobody wants opened any more is closed while its key is known.
    fn let_go_of_sockets(&mut self, id: UnitId, before: &UnitSet, after: &UnitSet) {
        let (Some(old), Some(new)) = (before.unit(id), after.unit(id)) else { return };
        if old.listen.sockets.is_empty() {
            return;
        }
        if old.listen != new.listen || old.is_removed != new.is_removed {
            self.close_sockets(id);
        } else if old.name != new.name {
            self.rename_sockets(id, &new.name);
        }
    }
}
