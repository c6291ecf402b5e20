//! The virtual host: carries out effects, lets scripted processes live and die, and feeds what
//! happens back as events. Keeps the truth beside the engine's view of it.

mod process;
mod told;
mod listener;
mod loss;
mod change;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::effect::{Effect, Role};
use crate::engine::event::{Event, ExitStatus, HelperOutcome, Notice, SpawnFailure, Trigger};
use crate::engine::id::{HelperId, ProbeRunId, RequestId, RunId, UnitId};
use crate::engine::invariants::{Auditor, Violation};
use crate::engine::time::{Now, Timestamp, WallTime, nanos};
use crate::engine::{BugPolicy, Engine, Options};
use crate::sim::actor::{Script, Trait};
use crate::sim::command::Command;
use crate::sim::keeper::{Row, Stage, Table};
use crate::sim::trace::{RunNames, Trace, timers_of};
use crate::sim::world::change::Changes;
use crate::unit::name::UnitName;
use crate::unit::spec::{SignalNumber, UnitKind, UnitSet};

/// Steps at one instant before the world says that it will never come to rest there. A boot of 50
/// units takes about 200.
const STEPS_AT_ONE_INSTANT: u32 = 20_000;

/// Wall clock at virtual time zero: 2026-11-20T06:00:00Z.
const WALL_START: u64 = 1_795_154_400_000_000_000;

/// One virtual host with one engine on it.
#[derive(Debug)]
pub struct World {
    set: Arc<UnitSet>,
    options: Options,
    engine: Option<Engine>,
    /// Instead of an engine: who only hears what is told.
    listener: Option<Vec<Event>>,
    auditor: Auditor,
    table: Table,
    scripts: Vec<Script>,
    queue: BTreeMap<(Timestamp, u64), Happening>,
    sequence: u64,
    now: Timestamp,
    wall_start: u64,
    link_takes: Duration,
    link_free_at: Timestamp,
    wakes_late: Duration,
    cancelled_probes_answer: bool,
    armed_crash: Option<(u16, Duration)>,
    next_request: u64,
    probes: BTreeMap<ProbeRunId, (UnitId, u16)>,
    helpers: BTreeMap<HelperId, (UnitId, Role)>,
    /// What is only watched and runs, since when.
    outside: BTreeMap<UnitId, Timestamp>,
    /// Lazy units whose sockets the supervisor watches.
    awaited: BTreeSet<UnitId>,
    /// Connections that wait in the socket of a unit that nobody watches.
    knocking: BTreeSet<UnitId>,
    /// Jobs whose triggers from outside are watched.
    armed: BTreeSet<UnitId>,
    flaps: BTreeMap<UnitId, u64>,
    old_exits: BTreeMap<UnitId, Event>,
    old_spawns: BTreeMap<UnitId, Event>,
    old_probes: BTreeMap<UnitId, Event>,
    changes: Changes,
    run_names: RunNames,
    exit_code: Option<u8>,
    steps_here: u32,
    pub steps: u64,
    pub trace: Trace,
    pub violations: Vec<Violation>,
}

/// What waits in the heap.
#[derive(Clone, Debug)]
enum Happening {
    Deliver(Event),
    Exec(RunId),
    SpawnFails(RunId, SpawnFailure),
    /// Ends if its script still says so.
    ScriptedEnd(RunId),
    LeaderEnds(RunId, ExitStatus),
    RestEnds(RunId),
    ProbeAnswers(ProbeRunId),
    HelperEnds(HelperId, HelperOutcome),
    /// If its script still says so.
    ShowsReady(RunId),
    KeepsAlive(RunId),
    Connect,
}

/// What a unit does that nobody told otherwise.
fn script_of(kind: UnitKind) -> Script {
    match kind {
        UnitKind::Service | UnitKind::External | UnitKind::Gate => Script::default(),
        UnitKind::Task | UnitKind::Job => {
            Script { ends: Some((Duration::ZERO, ExitStatus::Code(0))), ..Script::default() }
        }
    }
}

impl World {
    pub fn new(set: Arc<UnitSet>, seed: u64) -> Self {
        Self {
            scripts: set.units.iter().map(|unit| script_of(unit.kind)).collect(),
            auditor: Auditor::new(Arc::clone(&set)),
            trace: Trace::default(),
            options: Options { seed, bug_policy: BugPolicy::Record },
            set,
            engine: None,
            listener: None,
            table: Table::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            now: Timestamp(0),
            wall_start: WALL_START,
            link_takes: Duration::ZERO,
            link_free_at: Timestamp(0),
            wakes_late: Duration::ZERO,
            cancelled_probes_answer: false,
            armed_crash: None,
            next_request: 1,
            probes: BTreeMap::new(),
            helpers: BTreeMap::new(),
            outside: BTreeMap::new(),
            awaited: BTreeSet::new(),
            knocking: BTreeSet::new(),
            armed: BTreeSet::new(),
            flaps: BTreeMap::new(),
            old_exits: BTreeMap::new(),
            old_spawns: BTreeMap::new(),
            old_probes: BTreeMap::new(),
            changes: Changes::default(),
            run_names: RunNames::new(),
            exit_code: None,
            steps_here: 0,
            steps: 0,
            violations: Vec::new(),
        }
    }

    pub fn set(&self) -> &Arc<UnitSet> {
        &self.set
    }

    /// `None` while the supervisor is down, and after the end.
    pub fn engine(&self) -> Option<&Engine> {
        self.engine.as_ref()
    }

    pub fn auditor(&self) -> &Auditor {
        &self.auditor
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    pub fn options(&self) -> Options {
        self.options
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Set when the engine ordered the end.
    pub fn exit_code(&self) -> Option<u8> {
        self.exit_code
    }

    /// Every run that was ever spawned here.
    pub fn run_names(&self) -> &RunNames {
        &self.run_names
    }

    /// Nothing is left to happen by itself but probes.
    pub fn is_at_rest(&self) -> bool {
        let is_probe = |happening: &Happening| match happening {
            Happening::ProbeAnswers(_)
            | Happening::KeepsAlive(_)
            | Happening::Deliver(
                Event::ProbeFinished { .. } | Event::Notified { notice: Notice::Watchdog, .. },
            ) => true,
            Happening::Deliver(_)
            | Happening::Exec(_)
            | Happening::SpawnFails(..)
            | Happening::ScriptedEnd(_)
            | Happening::LeaderEnds(..)
            | Happening::RestEnds(_)
            | Happening::HelperEnds(..)
            | Happening::ShowsReady(_)
            | Happening::Connect => false,
        };
        let has_timers = self.engine.as_ref().is_some_and(|engine| !timers_of(engine).is_empty());
        self.queue.values().all(is_probe) && !has_timers
    }

    /// When something happens next by itself; `None` is rest.
    pub fn next_happening(&self) -> Option<Timestamp> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        [queued, self.wake_at()].into_iter().flatten().min()
    }

    /// The engine's next deadline, as late as this host wakes for it.
    fn wake_at(&self) -> Option<Timestamp> {
        let deadlines = self.engine.as_ref()?.next_deadlines();
        let wall = deadlines.wall.map(|wall| Timestamp(wall.0.saturating_sub(self.wall_start)));
        let deadline = deadlines.mono.into_iter().chain(wall).min()?;
        Some(deadline.after(self.wakes_late).max(self.now))
    }

    /// Lets happen what happens up to and at `limit`. Facts come before deadlines of the same instant.
    pub fn run_until(&mut self, limit: Timestamp) {
        while self.violations.is_empty() {
            let wake_at = self.wake_at();
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let is_fact = queued.is_some_and(|at| wake_at.is_none_or(|wake| at <= wake));
            let Some(at) = (if is_fact { queued } else { wake_at }) else { break };
            if at > limit {
                break;
            }
            self.move_to(at);
            if is_fact {
                if let Some((_, happening)) = self.queue.pop_first() {
                    self.happen(happening);
                }
            } else {
                self.step(Event::DeadlineReached);
            }
        }
        self.move_to(limit);
    }

    fn move_to(&mut self, at: Timestamp) {
        if at > self.now {
            self.now = at;
            self.steps_here = 0;
        }
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.sequence = self.sequence.saturating_add(1);
        self.queue.insert((self.now.after(delay), self.sequence), happening);
    }

    /// The link keeps its order however late it is.
    fn report(&mut self, event: Event) {
        let at = self.now.after(self.link_takes).max(self.link_free_at);
        self.link_free_at = at;
        self.later(at.since(self.now), Happening::Deliver(event));
    }

    /// What the keeper has to say about a run; nothing when it was released and is over.
    fn report_of(&mut self, run: RunId, event: Event) {
        if !self.table.forget_if_over(run) {
            self.report(event);
        }
    }

    fn find(&self, name: &UnitName) -> Option<UnitId> {
        self.set.find(name.as_str())
    }

    fn script(&self, unit: UnitId) -> Script {
        let at = usize::try_from(unit.0).ok();
        at.and_then(|at| self.scripts.get(at)).cloned().unwrap_or_default()
    }

    /// Does one command of a history, now. What follows from it happens in `run_until`.
    pub fn apply(&mut self, command: &Command) {
        match command {
            Command::Boot => self.later(Duration::ZERO, Happening::Connect),
            Command::Ask(ask) => {
                if self.engine.is_some() {
                    let request = RequestId(self.next_request);
                    self.next_request = self.next_request.saturating_add(1);
                    self.later(
                        Duration::ZERO,
                        Happening::Deliver(Event::RequestReceived { request, ask: ask.clone() }),
                    );
                }
            }
            Command::HangUp => {
                let request = RequestId(self.next_request.saturating_sub(1));
                self.later(Duration::ZERO, Happening::Deliver(Event::RequestAbandoned { request }));
            }
            Command::Exit { unit, ordinal, exit } => self.end_by_hand(unit, *ordinal, *exit),
            Command::Empty { unit } => {
                if let Some(run) = self.find(unit).and_then(|unit| self.table.live_run(unit)) {
                    self.rest_ends(run);
                }
            }
            Command::Behave { unit, what } => {
                if self.find(unit).is_none() {
                    self.keep_trait(unit, what);
                }
                // Something of a unit that is gone may live still.
                if let Some(unit) = self.set.slot(unit.as_str()) {
                    self.behave(unit, what);
                }
            }
            Command::Clock { forward, by } => {
                let by = nanos(*by);
                self.wall_start = if *forward {
                    self.wall_start.saturating_add(by)
                } else {
                    self.wall_start.saturating_sub(by)
                };
                self.later(Duration::ZERO, Happening::Deliver(Event::ClockStepped));
            }
            Command::Crash { carried: None, down } => self.lose_supervisor(*down),
            Command::CrashKeeper => self.lose_keeper(),
            Command::Crash { carried: Some(carried), down } => self.armed_crash = Some((*carried, *down)),
            Command::LateExit { unit } => self.again(|world, unit| world.old_exits.get(&unit).cloned(), unit),
            Command::LateSpawn { unit } => {
                self.again(|world, unit| world.old_spawns.get(&unit).cloned(), unit);
            }
            Command::LateProbe { unit } => {
                self.again(|world, unit| world.old_probes.get(&unit).cloned(), unit);
            }
            Command::LateReady { .. }
            | Command::Says { .. }
            | Command::Shows { .. }
            | Command::Trigger { .. }
            | Command::Connect { .. } => self.apply_told(command),
            Command::Change { name, rules } => self.propose(name.clone(), *rules),
            Command::LinkTakes(delay) => self.link_takes = *delay,
            Command::WakesLate(delay) => self.wakes_late = *delay,
            Command::CancelledProbesAnswer(on) => self.cancelled_probes_answer = *on,
            Command::Wake => self.later(Duration::ZERO, Happening::Deliver(Event::DeadlineReached)),
        }
    }

    /// What runs say, and who comes from outside.
    fn apply_told(&mut self, command: &Command) {
        match command {
            Command::LateReady { unit } => self.again(
                |world, unit| {
                    let Some(Event::RunExited { run, .. }) = world.old_exits.get(&unit) else { return None };
                    Some(Event::Notified { run: *run, notice: Notice::Ready })
                },
                unit,
            ),
            Command::Says { unit, notice } => {
                if let Some(unit) = self.find(unit) {
                    self.say(unit, notice);
                }
            }
            Command::Shows { unit } => {
                if let Some(run) = self.find(unit).and_then(|unit| self.table.live_run(unit)) {
                    self.show_ready(run);
                }
            }
            Command::Trigger { unit } => {
                if let Some(unit) = self.find(unit).filter(|unit| self.armed.contains(unit)) {
                    let trigger = Trigger::Path("inbox".into());
                    self.later(Duration::ZERO, Happening::Deliver(Event::Triggered { unit, trigger }));
                }
            }
            Command::Connect { unit } => {
                if let Some(unit) = self.find(unit) {
                    self.connect_to(unit);
                }
            }
            Command::Boot
            | Command::Ask(_)
            | Command::HangUp
            | Command::Exit { .. }
            | Command::Empty { .. }
            | Command::Behave { .. }
            | Command::Clock { .. }
            | Command::Crash { .. }
            | Command::CrashKeeper
            | Command::LateExit { .. }
            | Command::LateProbe { .. }
            | Command::LateSpawn { .. }
            | Command::Change { .. }
            | Command::LinkTakes(_)
            | Command::WakesLate(_)
            | Command::CancelledProbesAnswer(_)
            | Command::Wake => {}
        }
    }

    fn again(&mut self, old: impl Fn(&Self, UnitId) -> Option<Event>, unit: &UnitName) {
        if let Some(event) = self.find(unit).and_then(|unit| old(self, unit)) {
            self.later(Duration::ZERO, Happening::Deliver(event));
        }
    }

    fn end_by_hand(&mut self, unit: &UnitName, ordinal: Option<u32>, exit: ExitStatus) {
        let Some(run) = self.find(unit).and_then(|unit| self.table.live_run(unit)) else { return };
        let is_meant = |row: &&Row| ordinal.is_none_or(|ordinal| row.ordinal == ordinal);
        if self.table.rows.get(&run).filter(is_meant).is_some() {
            self.leader_ends(run, exit);
        }
    }

    fn behave(&mut self, unit: UnitId, what: &Trait) {
        let ends = |kind: UnitKind| matches!(kind, UnitKind::Task | UnitKind::Job);
        let is_task = self.set.unit(unit).is_some_and(|unit| ends(unit.kind));
        if let Some(script) = usize::try_from(unit.0).ok().and_then(|at| self.scripts.get_mut(at)) {
            script.change(what.clone());
            if is_task && *what == Trait::Calm {
                script.ends = Some((Duration::ZERO, ExitStatus::Code(0)));
            }
        }
        if let Trait::Outside(is_up) = what {
            self.set_outside(unit, *is_up);
        }
        let Some(run) = self.table.live_run(unit) else { return };
        self.plan_end(run);
        self.plan_signs(run);
        let script = self.script(unit);
        let held = self.table.rows.get_mut(&run).filter(|_| !script.is_unkillable);
        if let Some(scope) = held.and_then(|row| row.held_kill.take()) {
            self.signal(run, SignalNumber::KILL, scope);
        }
    }

    /// Puts the end that the script says into the heap; it is looked at again when it comes.
    fn plan_end(&mut self, run: RunId) {
        let Some(row) = self.table.rows.get(&run) else { return };
        let (Some(exec_at), Some((after, _))) = (row.exec_at(), self.script(row.unit).ends) else { return };
        self.later(exec_at.after(after).since(self.now), Happening::ScriptedEnd(run));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(event) => {
                if let Some(heard) = self.listener.as_mut() {
                    heard.push(event);
                } else if self.engine.is_some() {
                    self.keep_for_later(&event);
                    self.step(event);
                }
            }
            Happening::Exec(run) => self.exec(run),
            Happening::SpawnFails(run, failure) => {
                if let Some(row) = self.table.rows.get_mut(&run).filter(|row| row.stage == Stage::Spawning) {
                    row.stage = Stage::FailedToSpawn(failure.clone());
                    self.report_of(run, Event::RunFailedToSpawn { run, failure });
                }
            }
            Happening::ScriptedEnd(run) => {
                let Some(row) = self.table.rows.get(&run) else { return };
                if let (Some(exec_at), Some((after, exit))) = (row.exec_at(), self.script(row.unit).ends)
                    && exec_at.after(after) <= self.now
                {
                    self.leader_ends(run, exit);
                }
            }
            Happening::LeaderEnds(run, exit) => self.leader_ends(run, exit),
            Happening::RestEnds(run) => self.rest_ends(run),
            Happening::ProbeAnswers(probe) => self.probe_answers(probe),
            Happening::HelperEnds(helper, outcome) => self.helper_ends(helper, outcome),
            Happening::ShowsReady(run) => self.shows_ready_by_script(run),
            Happening::KeepsAlive(run) => self.keep_alive(run),
            Happening::Connect => self.connect(),
        }
    }

    /// What was told once may be told again, late.
    fn keep_for_later(&mut self, event: &Event) {
        match event {
            Event::RunSpawned { run, .. } => {
                if let Some((unit, _)) = self.run_names.get(run) {
                    self.old_spawns.insert(*unit, event.clone());
                }
            }
            Event::RunExited { run, .. } => {
                if let Some((unit, _)) = self.run_names.get(run) {
                    self.old_exits.insert(*unit, event.clone());
                }
            }
            Event::KeeperConnected(_)
            | Event::ProbeFinished { .. } // kept when it is answered
            | Event::RunFailedToSpawn { .. }
            | Event::RunEmptied { .. }
            | Event::HelperFinished { .. }
            | Event::EvidenceCaptured { .. }
            | Event::Notified { .. }
            | Event::ReadyShown { .. }
            | Event::ConnectionArrived { .. }
            | Event::OutputJudged { .. }
            | Event::Triggered { .. }
            | Event::RequestReceived { .. }
            | Event::RequestAbandoned { .. }
            | Event::ChangeProposed(_)
            | Event::DirectoryFound { .. }
            | Event::ClockStepped
            | Event::DeadlineReached => {}
        }
    }

    /// Forgets a crash that was to come with the next step.
    pub(crate) fn disarm(&mut self) {
        self.armed_crash = None;
    }

    fn connect(&mut self) {
        if self.engine.is_some() || self.exit_code.is_some() {
            return;
        }
        self.engine = Some(Engine::new(Arc::clone(&self.set), self.options));
        let mut handover = self.table.handover(&self.set);
        handover.change = self.handed_change();
        self.step(Event::KeeperConnected(Box::new(handover)));
    }

    /// One step of the engine: audit it, write it down, carry it out.
    fn step(&mut self, event: Event) {
        let wall = WallTime(self.wall_start.saturating_add(self.now.0));
        let now = Now { mono: self.now, wall };
        self.steps = self.steps.saturating_add(1);
        self.steps_here = self.steps_here.saturating_add(1);
        if self.steps_here > STEPS_AT_ONE_INSTANT {
            self.violate(19, format!("no rest after {STEPS_AT_ONE_INSTANT} steps at one instant"));
            return;
        }
        let Some(engine) = self.engine.as_mut() else { return };
        let stepped = catch_unwind(AssertUnwindSafe(|| engine.step(now, event.clone())));
        let Ok(effects) = stepped else {
            self.trace.step(now, event, Vec::new(), 0, Vec::new());
            self.violate(0, "the engine panicked".to_owned());
            return;
        };
        let effects = effects.0;
        let crash = self.armed_crash.filter(|_| !effects.is_empty());
        let carried = crash.map_or(effects.len(), |(count, _)| effects.len().min(usize::from(count)));
        self.violations.extend(self.auditor.observe(now, &event, &effects, carried, engine));
        self.trace.step(now, event, effects.clone(), carried, timers_of(engine));
        for effect in effects.into_iter().take(carried) {
            self.carry_out(effect);
        }
        if let Some((_, down)) = crash {
            self.lose_supervisor(down);
        }
    }

    pub(crate) fn violate(&mut self, number: u8, text: String) {
        self.violations.push(Violation { number, text });
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Remember(note) => self.table.remember(&self.set, note),
            Effect::Record(_) | Effect::Reply { .. } | Effect::Alert { .. } => {}
            Effect::CaptureEvidence { incident, unit, run, .. } => self.capture(incident, unit, run),
            Effect::RunHelper { helper, unit, role, timeout } => self.run_helper(helper, unit, role, timeout),
            Effect::CancelHelper { helper } => {
                self.helpers.remove(&helper);
            }
            Effect::JudgeOutput { run, unit, .. } => {
                if let Some(judgement) = self.script(unit).judge {
                    self.later(Duration::ZERO, Happening::Deliver(Event::OutputJudged { run, judgement }));
                }
            }
            Effect::Arm { unit } => {
                self.armed.insert(unit);
            }
            Effect::Disarm { unit } => {
                self.armed.remove(&unit);
            }
            Effect::WatchReadyLine { run, .. } => self.watch_ready_line(run),
            Effect::AwaitConnection { unit } => self.await_connection(unit),
            Effect::ForgetConnection { unit } => {
                self.awaited.remove(&unit);
            }
            Effect::Spawn { run, unit, ordinal } => {
                self.awaited.remove(&unit);
                self.knocking.remove(&unit);
                self.spawn(run, unit, ordinal);
            }
            Effect::Signal { run, signal, scope } => self.signal(run, signal, scope),
            Effect::Release { run } => {
                if self.table.rows.get(&run).is_some_and(|row| !row.is_over()) {
                    self.violate(6, format!("run {} was released while something of it lives", run.0));
                }
                self.table.release(run);
            }
            Effect::StartProbe { probe, unit, index } => self.start_probe(probe, unit, index),
            Effect::CancelProbe { probe } => {
                if !self.cancelled_probes_answer {
                    self.probes.remove(&probe);
                }
            }
            Effect::UseDefinitions { generation, set } => self.use_definitions(generation, set),
            Effect::RestoreGeneration { .. } => {}
            Effect::EndChange { generation, .. } => self.change_ended(generation),
            Effect::Exit { code } => {
                self.exit_code = Some(code);
                self.engine = None;
                self.queue.clear();
            }
        }
    }
}
