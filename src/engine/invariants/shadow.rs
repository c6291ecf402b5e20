//! What the auditor knows by itself: who lives, what was asked, what was promised. Built from events
//! and effects alone, never from what the engine keeps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::engine::effect::{Effect, Fact, Lever, Note, Role};
use crate::engine::event::{Ask, Event, ExitStatus, JobVerdict, UnitNote, Verdict};
use crate::engine::id::{HelperId, ProbeRunId, RequestId, RunId, UnitId};
use crate::engine::invariants::answers::Polls;
use crate::engine::invariants::changes::Changes;
use crate::engine::invariants::troubles::Troubles;
use crate::engine::state::{NotedState, StateName};
use crate::engine::time::Timestamp;
use crate::unit::spec::{Dependency, OnLimit, SignalNumber, UnitKind, UnitSet, UnitSpec};

/// One spawn as seen from outside.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) unit: UnitId,
    pub(super) stage: Stage,
    pub(super) ordered_at: Timestamp,
    /// When its stop began: the stop command or the first stop signal.
    pub(super) stop_began: Option<Timestamp>,
    /// When a stop that was remembered before the supervisor was lost ends in SIGKILL.
    pub(super) noted_deadline: Option<Timestamp>,
    /// A person said kill, or it was killed already.
    pub(super) kill_asked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Ordered,
    Live,
    /// Its leader ended, something of it is left.
    LeaderGone,
    Over,
}

/// One unit as seen from outside.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    pub(super) state: StateName,
    /// A person stopped it, and nobody asked for it since.
    pub(super) is_stopped_by_operator: bool,
    /// `--only` or `kill` was said: its stop need not wait for dependents.
    pub(super) is_spared_order: bool,
    /// Its last finished run passed.
    pub(super) has_passed: bool,
    /// Its leader ended by itself, and whether well.
    own_end: Option<bool>,
    pub(super) is_unkillable: bool,
    /// Automatic starts since a person last interfered.
    pub(super) automatic_starts: VecDeque<Timestamp>,
    /// It was in backoff since its last spawn: the next one is automatic.
    pub(super) comes_from_backoff: bool,
    /// Its definition is another since its last start, and earlier failures say nothing about it.
    pub(super) is_given_another_try: bool,
    /// The exponent of its last backoff. `None`: since then something happened that may start it over.
    pub(super) last_attempt: Option<u32>,
    /// Its backoff is the pause of a full window, after which everything starts over.
    pub(super) is_pausing: bool,
    pub(super) note: Option<UnitNote>,
    /// When its present run, or the watch of it, began.
    pub(super) began: Timestamp,
    /// The lever that starts it was pulled in this start.
    pub(super) was_pulled: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Shadow {
    pub(super) set: Arc<UnitSet>,
    pub(super) runs: BTreeMap<RunId, Run>,
    pub(super) units: Vec<Unit>,
    /// Who depends on each unit.
    pub(super) dependents: Vec<Vec<(UnitId, Dependency)>>,
    pub(super) highest_run: u64,
    pub(super) probes: BTreeMap<ProbeRunId, (UnitId, u16)>,
    /// Helpers under way, and what each is for.
    pub(super) helpers: BTreeMap<HelperId, (UnitId, Role)>,
    /// Lazy units whose sockets are watched.
    pub(super) awaited: BTreeSet<UnitId>,
    /// Runs of jobs whose output is judged.
    pub(super) judging: BTreeSet<RunId>,
    /// Lazy units that listened at some time of this step; what was begun then could connect.
    pub(super) listened: BTreeSet<UnitId>,
    pub(super) pending: BTreeSet<RequestId>,
    pub(super) answered: BTreeSet<RequestId>,
    pub(super) open_phases: u16,
    pub(super) shutdown_since: Option<Timestamp>,
    pub(super) is_kill_all: bool,
    pub(super) late_facts: u64,
    pub(super) troubles: Troubles,
    pub(super) polls: Polls,
    pub(super) changes: Changes,
    pub(super) is_booted: bool,
    /// In this step: what was begun under the definitions before may be over with them.
    pub(super) is_exchanged: bool,
    /// Whose probe or helper ended with the last event.
    pub(super) last_answered: Option<UnitId>,
}

impl Unit {
    pub(super) fn fresh() -> Self {
        Self {
            state: StateName::Inactive,
            is_stopped_by_operator: false,
            is_spared_order: false,
            has_passed: false,
            own_end: None,
            is_unkillable: false,
            automatic_starts: VecDeque::new(),
            comes_from_backoff: false,
            is_given_another_try: false,
            last_attempt: None,
            is_pausing: false,
            note: None,
            began: Timestamp::default(),
            was_pulled: false,
        }
    }
}

pub(super) fn dependents_in(set: &UnitSet) -> Vec<Vec<(UnitId, Dependency)>> {
    let mut dependents: Vec<Vec<(UnitId, Dependency)>> = set.units.iter().map(|_| Vec::new()).collect();
    for (id, spec) in set.ids().zip(&set.units) {
        for dependency in &spec.depends_on {
            let at = usize::try_from(dependency.unit.0).ok();
            if let Some(list) = at.and_then(|at| dependents.get_mut(at)) {
                list.push((id, *dependency));
            }
        }
    }
    dependents
}

impl Shadow {
    pub(super) fn new(set: Arc<UnitSet>) -> Self {
        let unit = Unit::fresh();
        let dependents = dependents_in(&set);
        Self {
            units: set.units.iter().map(|_| unit.clone()).collect(),
            set,
            runs: BTreeMap::new(),
            dependents,
            highest_run: 0,
            probes: BTreeMap::new(),
            helpers: BTreeMap::new(),
            awaited: BTreeSet::new(),
            judging: BTreeSet::new(),
            listened: BTreeSet::new(),
            pending: BTreeSet::new(),
            answered: BTreeSet::new(),
            open_phases: 0,
            shutdown_since: None,
            is_kill_all: false,
            late_facts: 0,
            troubles: Troubles::default(),
            polls: Polls::default(),
            changes: Changes::default(),
            is_booted: false,
            is_exchanged: false,
            last_answered: None,
        }
    }

    pub(super) fn unit(&self, id: UnitId) -> Option<&Unit> {
        self.units.get(usize::try_from(id.0).ok()?)
    }

    pub(super) fn unit_mut(&mut self, id: UnitId) -> Option<&mut Unit> {
        self.units.get_mut(usize::try_from(id.0).ok()?)
    }

    pub(super) fn state(&self, id: UnitId) -> StateName {
        self.unit(id).map_or(StateName::Inactive, |unit| unit.state)
    }

    pub(super) fn spec(&self, id: UnitId) -> Option<&UnitSpec> {
        self.set.unit(id)
    }

    pub(super) fn name(&self, id: UnitId) -> String {
        self.spec(id).map_or_else(|| format!("unit {}", id.0), |spec| spec.name.to_string())
    }

    pub(super) fn dependents(&self, id: UnitId) -> &[(UnitId, Dependency)] {
        usize::try_from(id.0).ok().and_then(|at| self.dependents.get(at)).map_or(&[], Vec::as_slice)
    }

    /// The unit's run that is not over.
    pub(super) fn live_run(&self, id: UnitId) -> Option<(RunId, &Run)> {
        let is_live = |(_, run): &(&RunId, &Run)| run.unit == id && run.stage != Stage::Over;
        self.runs.iter().rev().find(is_live).map(|(id, run)| (*id, run))
    }

    /// No process of ours: watched, never spawned.
    pub(super) fn is_watch(&self, id: UnitId) -> bool {
        self.spec(id).is_some_and(|spec| !spec.kind.has_process())
    }

    pub(super) fn is_job(&self, id: UnitId) -> bool {
        self.spec(id).is_some_and(|spec| spec.kind == UnitKind::Job)
    }

    /// Something of it lives, or it is watched.
    pub(super) fn is_present(&self, id: UnitId) -> bool {
        if !self.is_watch(id) {
            return self.live_run(id).is_some();
        }
        had_run(self.state(id))
    }

    /// The run that a stop command of the unit is working on, whether or not anything of it is left.
    pub(super) fn stop_command(&self, id: UnitId) -> Option<RunId> {
        let of_unit = |(unit, role): &(UnitId, Role)| match role {
            Role::StopCommand { run } if *unit == id => Some(*run),
            Role::StopCommand { .. } | Role::Repair { .. } | Role::Reload { .. } | Role::Lever(_) => None,
        };
        self.helpers.values().find_map(of_unit)
    }

    /// The helper of a rung of its ladder works.
    pub(super) fn is_being_repaired(&self, id: UnitId) -> bool {
        let repairs = |role: &Role| match role {
            Role::Repair { .. } | Role::Reload { .. } => true,
            Role::StopCommand { .. } | Role::Lever(_) => false,
        };
        self.helpers.values().any(|(unit, role)| *unit == id && repairs(role))
    }

    fn stage(&self, run: RunId) -> Option<Stage> {
        self.runs.get(&run).map(|run| run.stage)
    }

    /// An answer about something that is no longer current.
    pub(super) fn is_stale(&self, event: &Event) -> bool {
        match event {
            Event::RunSpawned { run, .. } | Event::RunFailedToSpawn { run, .. } => {
                self.stage(*run) != Some(Stage::Ordered)
            }
            Event::RunExited { run, is_empty, .. } => match self.stage(*run) {
                Some(Stage::Live) => false,
                Some(Stage::LeaderGone) => !is_empty, // a keeper that took over tells the whole end
                Some(Stage::Ordered | Stage::Over) | None => true,
            },
            Event::RunEmptied { run } => self.stage(*run) != Some(Stage::LeaderGone),
            Event::ProbeFinished { probe, .. } => !self.probes.contains_key(probe),
            Event::HelperFinished { helper, .. } => !self.helpers.contains_key(helper),
            Event::EvidenceCaptured { .. } => self.troubles.is_stale(event),
            // What a leader said when it had ended is nobody's word any more.
            Event::Notified { run, .. } | Event::ReadyShown { run } => {
                !matches!(self.stage(*run), Some(Stage::Ordered | Stage::Live))
            }
            Event::ConnectionArrived { unit } => !self.awaited.contains(unit),
            Event::OutputJudged { run, .. } => !self.judging.contains(run),
            Event::Triggered { unit, .. } => {
                let is_armed = matches!(self.state(*unit), StateName::Ready | StateName::Unhealthy);
                !(self.is_job(*unit) && is_armed && self.is_noted_up(*unit))
            }
            Event::KeeperConnected(_)
            | Event::RequestReceived { .. }
            | Event::RequestAbandoned { .. }
            | Event::ChangeProposed(_)
            | Event::DirectoryFound { .. }
            | Event::ClockStepped
            | Event::DeadlineReached => false,
        }
    }

    /// The event, before what the engine made of it is looked at.
    pub(super) fn learn(&mut self, now: Timestamp, event: &Event) {
        match event {
            Event::KeeperConnected(handover) => self.take_over(handover),
            Event::RunSpawned { run, .. } => self.move_run(*run, Stage::Live),
            Event::RunFailedToSpawn { run, .. } => {
                let unit = self.runs.get(run).map(|run| run.unit);
                if unit.is_some_and(|unit| self.state(unit) == StateName::Starting && self.is_noted_up(unit))
                {
                    self.troubles.owe(*run);
                }
                self.end_run(now, *run);
            }
            Event::RunEmptied { run } => self.end_run(now, *run),
            Event::RunExited { run, exit, is_empty } => {
                self.learn_exit(*run, *exit);
                if *is_empty {
                    self.end_run(now, *run);
                } else {
                    self.move_run(*run, Stage::LeaderGone);
                }
            }
            Event::ProbeFinished { probe, verdict } => {
                if let Some((unit, index)) = self.probes.remove(probe) {
                    self.learn_answer(now, unit, index, verdict);
                }
            }
            Event::EvidenceCaptured { unit, .. } => self.troubles.captured(*unit),
            Event::RequestReceived { request, ask } => {
                self.pending.insert(*request);
                self.learn_ask(now, ask);
            }
            Event::RequestAbandoned { request } => {
                self.pending.remove(request);
            }
            Event::HelperFinished { helper, .. } => {
                self.helpers.remove(helper);
            }
            Event::OutputJudged { run, .. } => {
                self.judging.remove(run);
            }
            Event::Notified { .. }
            | Event::ReadyShown { .. }
            | Event::ConnectionArrived { .. }
            | Event::Triggered { .. }
            | Event::ChangeProposed(_)
            | Event::DirectoryFound { .. }
            | Event::ClockStepped
            | Event::DeadlineReached => {}
        }
    }

    fn learn_exit(&mut self, run: RunId, exit: ExitStatus) {
        let Some((id, is_asked)) = self.runs.get(&run).map(|run| (run.unit, run.stop_began.is_some())) else {
            return;
        };
        if self.is_job(id) {
            if !exit.is_success() && !is_asked && self.is_noted_up(id) {
                self.troubles.owe(run);
            }
            return;
        }
        if self.learn_own_end(id, exit) == Some(false) && self.is_noted_up(id) {
            self.troubles.owe(run);
        }
    }

    /// Whether it ended well; `None`: not by itself. Whatever state it leads to, an end by itself that was a bad one
    /// has not passed, once the run is empty.
    pub(super) fn learn_own_end(&mut self, id: UnitId, exit: ExitStatus) -> Option<bool> {
        if self.state(id) == StateName::Stopping {
            return None;
        }
        let is_task = self.spec(id).is_some_and(|spec| spec.kind == UnitKind::Task);
        let has_passed = if is_task { exit.is_success() } else { exit.is_clean() };
        self.unit_mut(id)?.own_end = Some(has_passed);
        Some(has_passed)
    }

    pub(super) fn is_noted_up(&self, id: UnitId) -> bool {
        self.unit(id).and_then(|unit| unit.note.as_ref()).is_some_and(|note| note.desired.is_up())
    }

    fn learn_answer(&mut self, now: Timestamp, unit: UnitId, index: u16, verdict: &Verdict) {
        let began = self.unit(unit).map(|unit| unit.began);
        let set = Arc::clone(&self.set);
        let spec = set.unit(unit).and_then(|spec| spec.health.get(usize::from(index)));
        if let Some((spec, began)) = spec.zip(began) {
            self.polls.learn(now, began, (unit, index), spec, verdict);
        }
    }

    fn move_run(&mut self, run: RunId, stage: Stage) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.stage = stage;
        }
    }

    fn end_run(&mut self, now: Timestamp, run: RunId) {
        let Some(found) = self.runs.get_mut(&run) else { return };
        found.stage = Stage::Over;
        let (unit, ordered_at) = (found.unit, found.ordered_at);
        let reset_after = self.spec(unit).map(|spec| spec.restart.reset_after);
        let is_last = self.live_run(unit).is_none(); // several runs of a job may live
        if let Some(unit) = self.unit_mut(unit) {
            unit.is_unkillable &= !is_last;
            unit.has_passed &= unit.own_end != Some(false);
            if reset_after.is_some_and(|after| now.since(ordered_at) >= after) {
                unit.last_attempt = None;
            }
        }
    }

    fn learn_ask(&mut self, now: Timestamp, ask: &Ask) {
        let named: Vec<UnitId> = ask.units().iter().filter_map(|name| self.set.find(name.as_str())).collect();
        if named.len() < ask.units().len() {
            return; // an unknown name: nothing of it is done
        }
        match ask {
            Ask::Start { .. } | Ask::Restart { .. } => {
                for id in self.with_needs(named) {
                    self.troubles.may_start_over(id);
                    if let Some(unit) = self.unit_mut(id) {
                        unit.is_stopped_by_operator = false;
                        unit.is_spared_order &= unit.state == StateName::Stopping;
                        unit.comes_from_backoff = false;
                        unit.last_attempt = None;
                        unit.automatic_starts.clear();
                    }
                }
            }
            Ask::Run { .. } | Ask::Confirm | Ask::Abandon => {}
            Ask::Stop { only, .. } => {
                for id in named {
                    if let Some(unit) = self.unit_mut(id) {
                        unit.is_stopped_by_operator = true;
                        // One that is being stopped already goes on as it began.
                        unit.is_spared_order =
                            *only || (unit.is_spared_order && unit.state == StateName::Stopping);
                    }
                }
            }
            Ask::Kill { .. } => {
                for id in named {
                    if let Some(unit) = self.unit_mut(id) {
                        unit.is_spared_order = true;
                    }
                    for run in self.runs.values_mut().filter(|run| run.unit == id) {
                        run.kill_asked = true;
                    }
                }
            }
            Ask::Shutdown { .. } => {
                self.shutdown_since.get_or_insert(now);
            }
            Ask::ShutdownNow { .. } => {
                self.shutdown_since.get_or_insert(now);
                self.is_kill_all = true;
            }
        }
    }

    /// One effect that was carried out.
    pub(super) fn carry(&mut self, now: Timestamp, effect: &Effect, is_kill_ask: bool) {
        self.troubles.carry(effect);
        match effect {
            Effect::Remember(Note::Unit(id, note)) => {
                let is_pause = self.is_pause(now, *id, note);
                if let Some(unit) = self.unit_mut(*id) {
                    unit.note = Some(note.as_ref().clone());
                    if is_pause {
                        unit.automatic_starts.clear();
                        unit.is_pausing = true;
                    }
                }
            }
            Effect::Remember(Note::Boot(_) | Note::Incident(..) | Note::Gone(_) | Note::Change(_)) => {}
            Effect::UseDefinitions { generation, set } => {
                self.use_definitions(*generation, Arc::clone(set));
            }
            Effect::Record(fact) => self.carry_fact(now, fact),
            Effect::Spawn { run, unit, .. } => self.carry_spawn(now, *run, *unit),
            Effect::RunHelper { helper, unit, role, .. } => {
                self.carry_helper(now, *unit, role);
                self.helpers.insert(*helper, (*unit, role.clone()));
            }
            Effect::CancelHelper { helper } => {
                self.helpers.remove(helper);
            }
            Effect::AwaitConnection { unit } => {
                self.awaited.insert(*unit);
            }
            Effect::ForgetConnection { unit } => {
                self.awaited.remove(unit);
            }
            Effect::Signal { run, signal, .. } => {
                if !is_kill_ask {
                    self.begin_stop(now, *run);
                }
                if let Some(run) = self.runs.get_mut(run) {
                    run.kill_asked |= *signal == SignalNumber::KILL;
                }
            }
            Effect::JudgeOutput { run, .. } => {
                self.judging.insert(*run);
            }
            Effect::Release { run } => {
                self.runs.remove(run);
                self.judging.remove(run);
                // Its stop command is given up.
                self.helpers.retain(|_, (_, role)| *role != Role::StopCommand { run: *run });
            }
            Effect::StartProbe { probe, unit, index } => {
                self.probes.insert(*probe, (*unit, *index));
            }
            Effect::CancelProbe { probe } => {
                self.probes.remove(probe);
            }
            Effect::Reply { request, .. } => {
                self.pending.remove(request);
                self.answered.insert(*request);
            }
            Effect::CaptureEvidence { .. }
            | Effect::Alert { .. }
            | Effect::Arm { .. }
            | Effect::Disarm { .. }
            | Effect::WatchReadyLine { .. }
            | Effect::RestoreGeneration { .. }
            | Effect::EndChange { .. }
            | Effect::Exit { .. } => {}
        }
    }

    fn carry_helper(&mut self, now: Timestamp, id: UnitId, role: &Role) {
        match role {
            Role::StopCommand { run } => self.begin_stop(now, *run),
            Role::Lever(Lever::Start) => {
                if let Some(unit) = self.unit_mut(id) {
                    unit.was_pulled = true;
                }
            }
            Role::Lever(Lever::Stop | Lever::Restart) | Role::Repair { .. } | Role::Reload { .. } => {}
        }
    }

    /// The pause of a full window: it and the backoff start over. What the keeper was told counts, whatever
    /// becomes of the supervisor then.
    fn is_pause(&self, now: Timestamp, id: UnitId, note: &UnitNote) -> bool {
        let then = self.spec(id).and_then(|spec| spec.restart.limit).map(|limit| limit.then);
        match (then, &note.life) {
            (Some(OnLimit::Retry(pause)), NotedState::Backoff { until, .. }) => until.since(now) == pause,
            (Some(OnLimit::Retry(_) | OnLimit::Fail) | None, _) => false,
        }
    }

    fn begin_stop(&mut self, now: Timestamp, run: RunId) {
        if let Some(run) = self.runs.get_mut(&run) {
            run.stop_began.get_or_insert(now);
        }
    }

    fn carry_spawn(&mut self, now: Timestamp, run: RunId, id: UnitId) {
        let fresh = Run {
            unit: id,
            stage: Stage::Ordered,
            ordered_at: now,
            stop_began: None,
            noted_deadline: None,
            kill_asked: false,
        };
        self.runs.insert(run, fresh);
        self.awaited.remove(&id);
        self.highest_run = self.highest_run.max(run.0);
        self.begin_presence(now, id);
    }

    /// By its spawn, or by the beginning of its watch.
    fn begin_presence(&mut self, now: Timestamp, id: UnitId) {
        self.polls.begin(id, false);
        if let Some(unit) = self.unit_mut(id) {
            unit.began = now;
            unit.was_pulled = false;
            unit.is_spared_order = false;
            unit.own_end = None;
            let is_another_try = std::mem::take(&mut unit.is_given_another_try);
            if std::mem::take(&mut unit.comes_from_backoff) && !is_another_try {
                unit.automatic_starts.push_back(now);
            }
        }
    }

    fn carry_change(&mut self, now: Timestamp, id: UnitId, from: StateName, to: StateName) {
        let is_restart =
            to == StateName::Stopping && self.shutdown_since.is_none() && !self.is_stopped_by_person(id);
        if to == StateName::Starting && self.is_watch(id) {
            self.begin_presence(now, id);
        }
        let is_lazy = self.spec(id).is_some_and(|spec| spec.listen.is_lazy);
        if is_lazy && from == StateName::Waiting {
            self.listened.insert(id);
        }
        if matches!(to, StateName::Stopping | StateName::Backoff | StateName::Failed) || had_run(from) {
            self.learn_restart(id);
        }
        if to == StateName::Stopping && self.is_job(id) {
            let runs: Vec<RunId> =
                self.runs.iter().filter(|(_, run)| run.unit == id).map(|(run, _)| *run).collect();
            runs.into_iter().for_each(|run| self.troubles.forgive(run));
        }
        // Of a process its end says how long it was up.
        let reset_after = self.spec(id).filter(|_| self.is_watch(id)).map(|spec| spec.restart.reset_after);
        let Some(unit) = self.unit_mut(id) else { return };
        if had_run(from) && reset_after.is_some_and(|after| now.since(unit.began) >= after) {
            unit.last_attempt = None;
        }
        unit.state = to;
        // A restart that has begun goes on in the shutdown that comes then.
        unit.is_spared_order |= is_restart;
        // What was stopped was cut short, unless it had ended by itself and was only swept.
        let is_over = to == StateName::Inactive && unit.own_end.is_some();
        unit.has_passed &= from != StateName::Stopping || is_over;
        match to {
            StateName::Completed => unit.has_passed = true,
            StateName::Backoff => {
                unit.has_passed &= is_lazy && from == StateName::Waiting;
                unit.comes_from_backoff = true;
                let is_pausing = std::mem::take(&mut unit.is_pausing);
                let counts = !is_pausing && !unit.is_given_another_try;
                unit.last_attempt = unit.note.as_ref().map(|note| note.attempt).filter(|_| counts);
            }
            StateName::Failed => {
                unit.has_passed = false;
                unit.automatic_starts.clear();
                unit.last_attempt = None;
            }
            StateName::Inactive => {
                unit.has_passed |= had_run(from) && unit.own_end == Some(true);
                unit.comes_from_backoff = false;
                unit.last_attempt = None;
            }
            // A lazy unit that ended well is done until somebody connects.
            StateName::Waiting if is_lazy => {
                // After a good end the backoff starts over.
                unit.last_attempt = unit.last_attempt.filter(|_| !had_run(from));
                unit.has_passed |= had_run(from) && unit.own_end == Some(true);
            }
            StateName::Waiting
            | StateName::Starting
            | StateName::Ready
            | StateName::Unhealthy
            | StateName::Stopping => {}
        }
    }

    fn carry_fact(&mut self, now: Timestamp, fact: &Fact) {
        match fact {
            Fact::StateChanged { unit, from, to, .. } => self.carry_change(now, *unit, *from, *to),
            Fact::JobRunEnded { unit, verdict, .. } => {
                let is_cancelled = matches!(verdict, JobVerdict::Cancelled(_));
                if let Some(unit) = self.unit_mut(*unit).filter(|_| !is_cancelled) {
                    unit.has_passed = verdict.is_passed();
                }
            }
            Fact::PhaseOpened { phase } => self.open_phases = self.open_phases.max(phase.0.saturating_add(1)),
            Fact::Booted => self.is_booted = true,
            Fact::JobMissed { unit, .. } => {
                if let Some(unit) = self.unit_mut(*unit) {
                    unit.has_passed = false;
                }
            }
            Fact::Unkillable { unit } => {
                if let Some(unit) = self.unit_mut(*unit) {
                    unit.is_unkillable = true;
                }
            }
            Fact::HealthChanged { .. }
            | Fact::RunEnded { .. }
            | Fact::PhaseHeld { .. }
            | Fact::IncidentOpened { .. }
            | Fact::IncidentJoined { .. }
            | Fact::IncidentReached { .. }
            | Fact::IncidentMerged { .. }
            | Fact::EvidenceIncomplete { .. }
            | Fact::IncidentLeft { .. }
            | Fact::RungTried { .. }
            | Fact::RungEnded { .. }
            | Fact::RungRepeated { .. }
            | Fact::StatusTold { .. }
            | Fact::JobTriggered { .. }
            | Fact::JobSkipped { .. }
            | Fact::IncidentClosed { .. }
            | Fact::Adopted { .. }
            | Fact::Change { .. }
            | Fact::RequestServed { .. }
            | Fact::BugFound { .. } => {}
            // Nobody may have asked for it: the end of an essential unit is one, too.
            Fact::ShutdownBegan => {
                self.shutdown_since = self.shutdown_since.or(Some(now));
                let of_jobs = self.runs.iter().filter(|(_, run)| self.is_job(run.unit));
                let runs: Vec<RunId> = of_jobs.map(|(run, _)| *run).collect();
                runs.into_iter().for_each(|run| self.troubles.forgive(run));
            }
        }
    }
}

/// A unit in this state has a run, or is watched.
pub(super) fn had_run(state: StateName) -> bool {
    matches!(state, StateName::Starting | StateName::Ready | StateName::Unhealthy | StateName::Stopping)
}

pub(super) fn state_of(noted: &NotedState) -> StateName {
    match noted {
        NotedState::Inactive => StateName::Inactive,
        NotedState::Starting => StateName::Starting,
        NotedState::Ready => StateName::Ready,
        NotedState::Unhealthy => StateName::Unhealthy,
        NotedState::Stopping { .. } => StateName::Stopping,
        NotedState::Backoff { .. } => StateName::Backoff,
        NotedState::Failed { .. } => StateName::Failed,
        NotedState::Completed => StateName::Completed,
    }
}
