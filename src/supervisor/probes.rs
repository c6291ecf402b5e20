//! Probes under way that are no commands: each is a worker of the loop, and ends with one event.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::aside::Threads;
use crate::engine::event::Verdict;
use crate::engine::id::{ProbeRunId, UnitId};
use crate::engine::time::Pretty;
use crate::probe::question::Question;
use crate::probe::{self, Clock, Prober};
use crate::supervisor::clock;
use crate::supervisor::gates::GATE_THREADS;
use crate::supervisor::inbox::{Inbox, Outlet, Promise};
use crate::supervisor::launch::Ground;
use crate::supervisor::lookup::{Asking, Cache, Miss};
use crate::unit::spec::UnitSpec;
use crate::unit::spec::probe::ProbeKind;

#[derive(Debug)]
pub(crate) struct Probes {
    prober: Rc<Prober>,
    /// For what questions take from the environment of their unit.
    environments: Threads,
    /// For the disks that gates look at.
    pub(crate) disks: Threads,
    outlet: Outlet,
    workers: BTreeMap<ProbeRunId, AbortHandle>,
}

/// Which of a unit's probes, and for which of its runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) unit: UnitId,
    pub(crate) index: u16,
    pub(crate) run: u64,
    pub(crate) limit: Duration,
}

impl Probes {
    pub(crate) fn new(outlet: Outlet) -> Self {
        Self {
            prober: Rc::default(),
            environments: Threads::new("probe environment", ENVIRONMENTS),
            disks: Threads::new("gate disk", GATE_THREADS),
            outlet,
            workers: BTreeMap::new(),
        }
    }

    /// What a run writes is told apart from what was in its log before.
    pub(crate) fn run_begins(&self, spec: &UnitSpec, run: u64, ground: &Ground) {
        if spec.health.iter().any(|probe| matches!(probe.kind, ProbeKind::Log(_))) {
            self.prober.run_begins(spec.name.as_str(), run, &ground.log_dir);
        }
    }

    pub(crate) fn begin(&mut self, probe: ProbeRunId, asked: Asked, ground: &Arc<Ground>) {
        let (environments, ground) = (self.environments.clone(), Arc::clone(ground));
        self.ask(probe, asked.limit, async move { question(&environments, asked, ground).await });
    }

    /// Asks what `question` comes to.
    pub(crate) fn ask(
        &mut self,
        probe: ProbeRunId,
        limit: Duration,
        question: impl Future<Output = Result<Question, Box<str>>> + 'static,
    ) {
        let verdict = Verdict::Error("the probe broke off".into());
        let promise = Promise::new(self.outlet.clone(), Inbox::ProbeFinished { probe, verdict });
        let prober = Rc::clone(&self.prober);
        let worker = tokio::task::spawn_local(async move {
            let verdict = match question.await {
                Ok(question) => prober.ask(question, limit, CLOCK).await,
                Err(why) => Verdict::Error(why),
            };
            promise.keep(Inbox::ProbeFinished { probe, verdict });
        });
        self.workers.insert(probe, worker.abort_handle());
    }

    /// False: the engine took the question back.
    pub(crate) fn finished(&mut self, probe: ProbeRunId) -> bool {
        self.workers.remove(&probe).is_some()
    }

    /// False: it is not one of these.
    pub(crate) fn cancel(&mut self, probe: ProbeRunId) -> bool {
        self.workers.remove(&probe).map(|worker| worker.abort()).is_some()
    }
}

/// What is known without asking the machine is filled in at once; the rest on a thread.
async fn question(threads: &Threads, asked: Asked, ground: Arc<Ground>) -> Result<Question, Box<str>> {
    let nothing = Cache::default();
    let now = clock::mono();
    let known = ground.question(asked, &mut nothing.at(now));
    let question = match known {
        Err(Miss::NotCached(_)) => {
            let limit = asked.limit;
            let fill = move || {
                ground.question(asked, &mut Asking { learnt: Cache::default(), open: BTreeSet::new(), now })
            };
            let late = || format!("the unit's user or env_file did not answer within {}", Pretty(limit));
            threads.ask(limit, fill).await.ok_or_else(late)?
        }
        known @ (Ok(_) | Err(Miss::Failed(_))) => known,
    };
    match question {
        Ok(Some(question)) => Ok(question),
        Ok(None) => Err("the unit has no such probe".into()),
        Err(Miss::Failed(failure)) => Err(failure.cause),
        Err(Miss::NotCached(_)) => Err("the unit's environment is not known".into()),
    }
}

const CLOCK: Clock = Clock {
    steady: || Duration::from_nanos(clock::mono().0),
    wall: || Duration::from_nanos(clock::wall().0),
};

const ENVIRONMENTS: usize = 4;
/// How many of the runtime's threads probes may take.
pub(crate) const PROBE_THREADS: usize = probe::THREADS + ENVIRONMENTS;
