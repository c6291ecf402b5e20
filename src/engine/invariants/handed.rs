//! The auditor's view of a takeover: what the next supervisor is given, and what that says.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::event::{HandedCondition, HandedRun, Handover, UnitNote};
use crate::engine::id::UnitId;
use crate::engine::invariants::shadow::{Run, Shadow, Stage, Unit, had_run, state_of};
use crate::engine::state::{Desired, DownSource, NotedState, StateName};

impl Shadow {
    pub(super) fn forget_engine(&mut self) {
        self.pending.clear();
        self.probes.clear();
        self.troubles.forget_engine();
        self.helpers.clear();
        self.judging.clear();
        self.awaited.clear();
    }

    /// A person stopped it, or something that it requires, near or far.
    pub(super) fn is_stopped_by_person(&self, id: UnitId) -> bool {
        let mut seen = BTreeSet::new();
        let mut queue = vec![id];
        while let Some(at) = queue.pop() {
            if !seen.insert(at) {
                continue;
            }
            // A stop with `--only` goes no further.
            let reaches = |unit: &Unit| unit.is_stopped_by_operator && (at == id || !unit.is_spared_order);
            if self.unit(at).is_some_and(reaches) {
                return true;
            }
            if at != id && self.state(at) == StateName::Completed {
                continue; // it needs nothing any more, so a stop does not go through it
            }
            if at != id && self.unit(at).is_some_and(|unit| unit.is_stopped_by_operator) {
                continue; // with `--only`: a stop of what it requires finds it down, and ends there
            }
            let needs = self.spec(at).into_iter().flat_map(|spec| &spec.depends_on);
            queue.extend(needs.filter(|edge| edge.required).map(|edge| edge.unit));
        }
        false
    }

    /// The units and all that they need, which a start of them may start too.
    pub(super) fn with_needs(&self, named: Vec<UnitId>) -> BTreeSet<UnitId> {
        let mut all = BTreeSet::new();
        let mut queue = named;
        while let Some(id) = queue.pop() {
            if all.insert(id)
                && let Some(spec) = self.spec(id)
            {
                queue.extend(spec.depends_on.iter().map(|dependency| dependency.unit));
            }
        }
        all
    }

    /// A new engine, and the truth from the keeper's table.
    pub(super) fn take_over(&mut self, handover: &Handover) {
        let before = std::mem::take(&mut self.runs);
        self.is_booted = handover.notes.boot.as_ref().is_some_and(|boot| boot.is_booted);
        self.changes.take_over(handover.change.as_ref().map(|change| change.note.generation));
        let count = u16::try_from(self.set.phases.len()).unwrap_or(u16::MAX);
        let open = handover.notes.boot.as_ref().map_or(0, |boot| boot.open_phases.min(count));
        self.open_phases = if self.is_booted { count } else { open };
        if handover.notes.boot.as_ref().is_none_or(|boot| boot.shutdown.is_none()) {
            self.shutdown_since = None; // it was asked, and lost before it was remembered
            self.is_kill_all = false;
        }
        let set = Arc::clone(&self.set);
        self.troubles.take_over(handover, &set);
        for id in set.ids() {
            let noted = self.spec(id).and_then(|spec| handover.notes.units.get(&spec.name)).cloned();
            self.take_over_unit(id, noted);
        }
        for handed in &handover.runs {
            self.take_over_run(handover, handed, before.get(&handed.run));
        }
        self.late_facts = 0;
    }

    fn take_over_run(&mut self, handover: &Handover, handed: &HandedRun, known: Option<&Run>) {
        let Some(unit) = self.set.slot(handed.unit.as_str()) else { return };
        let stage = stage_of(&handed.condition);
        let run = Run {
            unit,
            stage,
            ordered_at: handed.spawned_at,
            stop_began: known.and_then(|run| run.stop_began),
            noted_deadline: handover.notes.units.get(&handed.unit).and_then(|note| match note.life {
                NotedState::Stopping { deadline, .. } => Some(deadline),
                NotedState::Inactive
                | NotedState::Starting
                | NotedState::Ready
                | NotedState::Unhealthy
                | NotedState::Backoff { .. }
                | NotedState::Failed { .. }
                | NotedState::Completed => None,
            }),
            kill_asked: known.is_some_and(|run| run.kill_asked),
        };
        self.runs.insert(handed.run, run);
        if let Some(unit) = self.unit_mut(unit) {
            unit.began = handed.spawned_at;
        }
        self.highest_run = self.highest_run.max(handed.run.0);
        // An end that nobody saw is told with the table. Of an earlier run it was seen.
        let is_last = self.unit(unit).and_then(|unit| unit.note.as_ref()?.last_run) == Some(handed.run);
        if let HandedCondition::Exited { exit, .. } = handed.condition
            && is_last
            && had_run(self.state(unit))
        {
            self.learn_own_end(unit, exit); // nobody can say whether it was wanted then: a stop may be half noted
        }
    }

    fn take_over_unit(&mut self, id: UnitId, noted: Option<UnitNote>) {
        let was_ready =
            noted.as_ref().is_some_and(|note| matches!(note.life, NotedState::Ready | NotedState::Unhealthy));
        self.polls.begin(id, was_ready);
        // A lazy one that ended well waits for the next connection, and only its note says that it passed.
        let has_passed = self.spec(id).is_some_and(|spec| spec.listen.is_lazy)
            && noted.as_ref().is_some_and(|note| note.has_passed && note.life == NotedState::Inactive);
        let Some(unit) = self.unit_mut(id) else { return };
        unit.has_passed |= has_passed;
        unit.state = noted.as_ref().map_or(StateName::Inactive, |note| state_of(&note.life));
        // What was asked and lost before it was remembered was not done.
        match unit.state {
            StateName::Completed => unit.has_passed = true,
            StateName::Failed | StateName::Backoff => unit.has_passed = false,
            StateName::Inactive
            | StateName::Waiting
            | StateName::Starting
            | StateName::Ready
            | StateName::Unhealthy
            | StateName::Stopping => {}
        }
        let by_operator = |note: &UnitNote| match note.desired {
            Desired::Down(DownSource::Operator | DownSource::Removed | DownSource::Shutdown) => true,
            Desired::Down(DownSource::Disabled | DownSource::Dependency | DownSource::Conflict)
            | Desired::Up(_) => false,
        };
        unit.is_stopped_by_operator &= noted.as_ref().is_some_and(by_operator);
        unit.note = noted;
        unit.was_pulled = false;
        unit.last_attempt = None;
        unit.is_pausing = false;
    }
}

fn stage_of(condition: &HandedCondition) -> Stage {
    match condition {
        HandedCondition::Spawning => Stage::Ordered,
        HandedCondition::Live { .. } => Stage::Live,
        HandedCondition::FailedToSpawn(_) | HandedCondition::Exited { is_empty: true, .. } => Stage::Over,
        HandedCondition::Exited { is_empty: false, .. } => Stage::LeaderGone,
    }
}
