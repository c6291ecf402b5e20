//! The processes of the virtual host, their probes and their stop commands: what the scripts make of
//! what was ordered.

use std::time::Duration;

use crate::engine::effect::SignalScope;
use crate::engine::event::{Event, ExitStatus, SpawnStep, Verdict};
use crate::engine::id::{IncidentId, ProbeRunId, RunId, UnitId};
use crate::engine::time::Timestamp;
use crate::sim::actor::{
    Evidence, EvidenceScript, Healing, ProbeAnswer, SPAWN_TIMEOUT, SpawnOutcome, Trait, spawn_failure,
};
use crate::sim::keeper::{Row, Stage, pid};
use crate::sim::world::{Happening, World};
use crate::unit::spec::recover::{Reload, Rung};
use crate::unit::spec::{SignalNumber, UnitKind, UnitSpec};

impl World {
    pub(super) fn spawn(&mut self, run: RunId, unit: UnitId, ordinal: u32) {
        let is_job = self.set.unit(unit).is_some_and(|spec| spec.kind == UnitKind::Job);
        if let Some(other) = self.table.live_run(unit).filter(|_| !is_job) {
            self.violate(1, format!("run {} was spawned while run {} of the unit lives", run.0, other.0));
        }
        let row = Row {
            unit,
            ordinal,
            spawned_at: self.now,
            stage: Stage::Spawning,
            leftover: None,
            early_signals: Vec::new(),
            held_kill: None,
            is_ready_shown: false,
            is_line_watched: false,
            is_released: false,
        };
        self.table.highest_run = self.table.highest_run.max(run.0);
        self.table.rows.insert(run, row);
        self.run_names.insert(run, (unit, ordinal));
        let script = self.script(unit);
        match script.spawn {
            SpawnOutcome::Works => self.later(script.spawn_takes, Happening::Exec(run)),
            SpawnOutcome::Fails(failure) => {
                self.later(script.spawn_takes, Happening::SpawnFails(run, failure));
            }
            SpawnOutcome::Hangs => {
                let failure = spawn_failure(SpawnStep::Timeout, 0);
                self.later(SPAWN_TIMEOUT, Happening::SpawnFails(run, failure));
            }
        }
    }

    pub(super) fn exec(&mut self, run: RunId) {
        let exec_at = self.now;
        let Some(row) = self.table.rows.get_mut(&run) else { return };
        row.stage = Stage::Live { exec_at };
        let early = std::mem::take(&mut row.early_signals);
        self.report_of(run, Event::RunSpawned { run, pid: pid(run) });
        self.plan_end(run);
        self.plan_signs(run);
        self.plan_keep_alive(run);
        for (signal, scope) in early {
            self.signal(run, signal, scope);
        }
    }

    pub(super) fn signal(&mut self, run: RunId, signal: SignalNumber, scope: SignalScope) {
        let Some(row) = self.table.rows.get_mut(&run) else {
            return self.violate(6, format!("{signal} for run {}, which the keeper does not know", run.0));
        };
        let at = usize::try_from(row.unit.0).ok();
        let script = at.and_then(|at| self.scripts.get(at)).cloned().unwrap_or_default();
        let is_kill = signal == SignalNumber::KILL;
        let unit = row.unit;
        let is_reload = self.set.unit(unit).is_some_and(|spec| is_reload_of(spec, signal));
        if is_kill && script.is_unkillable {
            row.held_kill = Some(scope);
            return;
        }
        if matches!(row.stage, Stage::Live { .. })
            && let Some(healing) = script.reload.filter(|_| is_reload)
        {
            return self.heal(unit, healing);
        }
        match &row.stage {
            Stage::Spawning => row.early_signals.push((signal, scope)),
            Stage::Live { .. } if is_kill => {
                let exit = ExitStatus::Signal { signal, dumped_core: false };
                self.leader_killed(run, exit, scope);
            }
            Stage::Live { .. } if !script.ignores_term => {
                let exit = ExitStatus::Signal { signal, dumped_core: false };
                self.later(script.stops_in, Happening::LeaderEnds(run, exit));
            }
            Stage::Exited(_) if scope == SignalScope::All => {
                let ignores = row.leftover.is_none_or(|left| left.ignores_term);
                if is_kill {
                    self.later(Duration::ZERO, Happening::RestEnds(run));
                } else if !ignores {
                    self.later(script.stops_in, Happening::RestEnds(run));
                }
            }
            Stage::Live { .. } | Stage::Exited(_) | Stage::FailedToSpawn(_) => {}
        }
    }

    /// SIGKILL to all leaves nothing behind, whatever the script says.
    fn leader_killed(&mut self, run: RunId, exit: ExitStatus, scope: SignalScope) {
        self.later(Duration::ZERO, Happening::LeaderEnds(run, exit));
        if scope == SignalScope::All {
            self.later(Duration::ZERO, Happening::RestEnds(run));
        }
    }

    pub(super) fn leader_ends(&mut self, run: RunId, exit: ExitStatus) {
        let Some(row) = self.table.rows.get_mut(&run).filter(|row| row.is_leader_live()) else { return };
        let unit = row.unit;
        row.stage = Stage::Exited(exit);
        let at = usize::try_from(unit.0).ok();
        let leaves = at.and_then(|at| self.scripts.get(at)).and_then(|script| script.leaves);
        row.leftover = leaves;
        self.report_of(run, Event::RunExited { run, exit, is_empty: leaves.is_none() });
        if let Some(after) = leaves.and_then(|left| left.ends_after) {
            self.later(after, Happening::RestEnds(run));
        }
    }

    pub(super) fn rest_ends(&mut self, run: RunId) {
        let Some(row) = self.table.rows.get_mut(&run) else { return };
        if row.leftover.take().is_some() {
            self.report_of(run, Event::RunEmptied { run });
        }
    }

    pub(super) fn start_probe(&mut self, probe: ProbeRunId, unit: UnitId, index: u16) {
        let script = self.script(unit);
        let spec = self.set.unit(unit).and_then(|unit| unit.health.get(usize::from(index)));
        let Some(timeout) = spec.map(|spec| spec.timeout) else {
            return self.violate(12, format!("probe {index} of unit {} does not exist", unit.0));
        };
        let takes = match script.answer_of(index) {
            ProbeAnswer::Hang => timeout,
            ProbeAnswer::Pass | ProbeAnswer::Fail | ProbeAnswer::Error | ProbeAnswer::Flap { .. } => {
                script.probe_takes.min(timeout)
            }
        };
        self.probes.insert(probe, (unit, index));
        self.later(takes, Happening::ProbeAnswers(probe));
    }

    pub(super) fn probe_answers(&mut self, probe: ProbeRunId) {
        let Some((unit, index)) = self.probes.remove(&probe) else { return };
        let verdict = self.verdict(unit, index);
        let event = Event::ProbeFinished { probe, verdict };
        self.old_probes.insert(unit, event.clone());
        self.later(Duration::ZERO, Happening::Deliver(event));
    }

    fn verdict(&mut self, unit: UnitId, index: u16) -> Verdict {
        let script = self.script(unit);
        let answer = script.answer_of(index);
        let kind = self.set.unit(unit).map(|spec| spec.kind);
        let exec_at = match kind {
            Some(UnitKind::Service | UnitKind::Task) | None => {
                self.table.live_run(unit).and_then(|run| self.table.rows.get(&run)?.exec_at())
            }
            Some(UnitKind::External) => self.outside.get(&unit).copied(),
            Some(UnitKind::Gate | UnitKind::Job) => Some(Timestamp(0)),
        };
        let wrong = if kind == Some(UnitKind::Gate) {
            "guard.level == 'normal': it is 'high'"
        } else {
            "wrong answer"
        };
        let timeout = self.set.unit(unit).and_then(|unit| Some(unit.health.get(usize::from(index))?.timeout));
        if answer == ProbeAnswer::Hang || timeout.is_some_and(|timeout| script.probe_takes >= timeout) {
            return Verdict::Fail("no answer in time".into());
        }
        if exec_at.is_none_or(|at| at.after(script.ready_after) > self.now) {
            return Verdict::Fail("connection refused".into());
        }
        match answer {
            ProbeAnswer::Pass | ProbeAnswer::Hang => Verdict::Pass("ok".into()),
            ProbeAnswer::Fail => Verdict::Fail(wrong.into()),
            ProbeAnswer::Error => Verdict::Error("too many open files".into()),
            ProbeAnswer::Flap { fail, pass } => {
                let turn = self.flaps.entry(unit).or_default();
                let round = u64::from(fail).saturating_add(u64::from(pass));
                let at = turn.checked_rem(round).unwrap_or(0);
                *turn = turn.saturating_add(1);
                if at < u64::from(fail) { Verdict::Fail(wrong.into()) } else { Verdict::Pass("ok".into()) }
            }
        }
    }

    pub(super) fn heal(&mut self, unit: UnitId, healing: Healing) {
        match healing {
            Healing::Heals => self.behave(unit, &Trait::Probe(ProbeAnswer::Pass)),
            Healing::DoesNotHelp => {}
        }
    }

    pub(super) fn capture(&mut self, incident: IncidentId, unit: UnitId, run: Option<RunId>) {
        let Evidence { takes, outcome } = self.script(unit).evidence;
        let is_complete = match outcome {
            EvidenceScript::Complete => true,
            EvidenceScript::Incomplete => false,
            EvidenceScript::Never => return,
        };
        let event = Event::EvidenceCaptured { incident, unit, run, is_complete };
        self.later(takes, Happening::Deliver(event));
    }
}

fn is_reload_of(spec: &UnitSpec, signal: SignalNumber) -> bool {
    spec.stop.signal != signal && spec.recover.rungs.contains(&Rung::Reload(Reload::Signal(signal)))
}
