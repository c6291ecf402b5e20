//! What jobs need beside their processes: judges, what runs wrote, how they went, what outlives a boot.
//! Whatever waits for a disk waits on a thread; what a run came to is kept before the engine hears of it.

mod bodies;
mod judging;
mod keeping;
pub(crate) mod past;
mod paths;
mod rows;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::aside::Threads;
use crate::engine::event::ExitStatus;
use crate::engine::id::UnitId;
use crate::history::row::JobRunRow;
use crate::supervisor::ears::Ears;
use crate::supervisor::executor::Executor;
use crate::supervisor::inbox::Outlet;
use crate::supervisor::jobs::bodies::Bodies;
use crate::supervisor::jobs::judging::Gather;
use crate::supervisor::jobs::past::Pasts;
use crate::supervisor::jobs::paths::{Paths, Spot};
use crate::unit::spec::job::PathTrigger;

pub(crate) use crate::supervisor::jobs::judging::{Case, Ended, JUDGE_TIMEOUT};

#[derive(Debug)]
pub(crate) struct Jobs {
    threads: Threads,
    /// Whoever keeps an output numbers it after those that are there: one at a time.
    keeping: Arc<Mutex<()>>,
    /// By run, what its judge is asked, until the engine has the answer.
    judging: BTreeMap<u64, Gather>,
    /// By run that was judged, the number under which its output is kept; `None`: it cannot be kept.
    kept: BTreeMap<u64, Option<u64>>,
    /// How the leaders of live runs ended, by unit and ordinal.
    exits: BTreeMap<(UnitId, u32), ExitStatus>,
    /// The last runs of each job, the newest last; the history has more, and may be off.
    recent: BTreeMap<UnitId, VecDeque<JobRunRow>>,
    /// Of the last row without a run.
    serial: u64,
    /// Runs that are over and whose output is on its way to its place, and who waits for it.
    storing: BTreeMap<(UnitId, u32), Vec<oneshot::Sender<Option<PathBuf>>>>,
    pub(crate) pasts: Pasts,
    paths: Paths,
    bodies: Bodies,
}

impl Jobs {
    pub(crate) fn new(state: &std::path::Path, outlet: &Outlet, ears: Ears) -> Self {
        let threads = Threads::new("output", OUTPUT_THREADS);
        Self {
            pasts: Pasts::new(state, threads.clone()),
            threads,
            keeping: Arc::default(),
            judging: BTreeMap::new(),
            kept: BTreeMap::new(),
            exits: BTreeMap::new(),
            recent: BTreeMap::new(),
            serial: 0,
            storing: BTreeMap::new(),
            paths: Paths::new(outlet.clone(), ears),
            bodies: Bodies::default(),
        }
    }
}

impl Executor {
    /// Watches for what starts runs of a job from outside.
    pub(crate) fn arm(&mut self, unit: UnitId) {
        let ground = Arc::clone(&self.ground);
        let Some((spec, job)) = ground.set.unit(unit).and_then(|spec| Some((spec, spec.job.as_deref()?)))
        else {
            return;
        };
        let dir = ground.working_dir_path(spec);
        let spot = |trigger: &PathTrigger| Spot {
            said: trigger.path.clone(),
            path: dir.join(&*trigger.path),
            debounce: trigger.debounce,
        };
        let spots = job.paths.iter().map(spot).collect();
        if let Err(error) = self.jobs.paths.arm(unit, spots) {
            let text = format!("{}: its paths cannot be watched: {error}; no change starts a run", spec.name);
            self.observer.announce(&text);
        }
    }

    pub(crate) fn disarm(&mut self, unit: UnitId) {
        self.jobs.paths.disarm(unit);
    }
}

/// How many of the runtime's threads outputs may take.
pub(crate) const OUTPUT_THREADS: usize = 3;
/// A disk that does not answer for so long does not answer.
const DISK_LIMIT: Duration = Duration::from_secs(20);
/// Rows of each job that are at hand.
const RECENT: usize = 20;
