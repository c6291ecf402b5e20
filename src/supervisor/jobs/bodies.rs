//! Bodies of webhooks, from the call to the end of the run that reads it. The keeper remembers them too, so that a
//! run which waits for its turn finds its body after the death of a supervisor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::event::{DueNote, Trigger, UnitNote};
use crate::engine::id::UnitId;
use crate::supervisor::clock;
use crate::supervisor::executor::Executor;
use crate::supervisor::notes::encode_body;

#[derive(Debug, Default)]
pub(super) struct Bodies {
    kept: BTreeMap<u64, (UnitId, Arc<[u8]>)>,
    /// Which of them a run reads.
    of_runs: BTreeMap<u64, u64>,
}

impl Executor {
    /// Under the number that its trigger bears. `None`: too many wait.
    pub(crate) fn keep_body(&mut self, unit: UnitId, body: Vec<u8>) -> Option<u64> {
        let bodies = &mut self.jobs.bodies;
        if bodies.kept.len() >= MOST {
            return None;
        }
        // Higher than any that an earlier supervisor of this boot gave.
        let last = bodies.kept.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let number = clock::mono().0.max(last);
        let body: Arc<[u8]> = body.into();
        bodies.kept.insert(number, (unit, Arc::clone(&body)));
        self.remember_body(unit, number, &body);
        Some(number)
    }

    /// What an earlier supervisor kept.
    pub(crate) fn inherit_bodies(&mut self, bodies: Vec<(UnitId, u64, Vec<u8>)>) {
        let kept = bodies.into_iter().map(|(unit, number, body)| (number, (unit, body.into())));
        self.jobs.bodies.kept.extend(kept);
    }

    /// Which of them are still to be read, by what the engine remembers of the job.
    pub(crate) fn follow_bodies(&mut self, unit: UnitId, note: &UnitNote) {
        let Some(job) = note.job.as_deref().filter(|_| !self.jobs.bodies.kept.is_empty()) else { return };
        let number = |due: &DueNote| match due.trigger {
            Trigger::Webhook(number) => Some(number),
            Trigger::Slot(_)
            | Trigger::Every
            | Trigger::Boot
            | Trigger::Load
            | Trigger::After(_)
            | Trigger::Path(_)
            | Trigger::Operator => None,
        };
        let runs = job.runs.iter().filter_map(|(run, note)| Some((run.0, number(&note.due)?)));
        self.jobs.bodies.of_runs.extend(runs.clone());
        let wanted: BTreeSet<u64> =
            job.waiting.iter().filter_map(number).chain(runs.map(|(_, number)| number)).collect();
        let kept = self.jobs.bodies.kept.iter();
        let over = kept.filter(|(number, (owner, _))| *owner == unit && !wanted.contains(number));
        for number in over.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.forget_body(number);
        }
    }

    pub(crate) fn forget_body(&mut self, number: u64) {
        if let Some((unit, _)) = self.jobs.bodies.kept.remove(&number) {
            self.remember_body(unit, number, &[]);
        }
    }

    /// What a run reads on its standard input, in place of nothing.
    pub(crate) fn body_of(&self, run: u64) -> Option<Arc<[u8]>> {
        let number = self.jobs.bodies.of_runs.get(&run)?;
        self.jobs.bodies.kept.get(number).map(|(_, body)| Arc::clone(body))
    }

    pub(crate) fn forget_input(&mut self, run: u64) {
        self.jobs.bodies.of_runs.remove(&run);
    }

    /// Nothing stands for: it need not be remembered.
    fn remember_body(&mut self, unit: UnitId, number: u64, body: &[u8]) {
        if let Some(spec) = self.ground.set.unit(unit) {
            let (key, value) = encode_body(&spec.name, number, body);
            self.remember_pair(key, value);
        }
    }
}

/// All of them together; a mebibyte each at most.
const MOST: usize = 100;
