//! DECIDE: `step(now, event) -> effects`. No I/O, no clock, no threads, no async.
//!
//! A step is one pass: observe the fact, propagate what is wanted, advance the units that this
//! touched, account for it. Units that nothing touched are not visited.
#![deny(
    clippy::disallowed_types,
    clippy::iter_over_hash_type,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::as_conversions
)]

pub mod event;
pub mod effect;
pub mod id;
pub mod time;
pub mod state;
pub mod incident;
pub mod status;
pub mod timers;
mod life;
mod desire;
mod start;
mod ready;
pub(crate) mod lazy;
mod watch;
pub(crate) mod job;
mod stop;
mod helper;
mod health;
mod recover;
mod reach;
pub mod ladder;
mod telling;
mod hold;
mod boot;
pub mod change;
mod request;
mod rebuild;
mod reason;
mod policy;
pub mod invariants;
#[cfg(test)]
mod cost;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::engine::boot::Boot;
use crate::engine::change::Change;
use crate::engine::desire::Wish;
use crate::engine::effect::{Effect, Effects, Fact, Note};
use crate::engine::event::{ChangeNote, Event};
use crate::engine::id::{GenerationId, IncidentId, RequestId, UnitId};
use crate::engine::incident::Incident;
use crate::engine::job::Jobs;
use crate::engine::life::{Owners, Unit, Units};
use crate::engine::request::Pending;
use crate::engine::state::{StateName, StopReason, StopStage, UnitState};
use crate::engine::time::{Now, Timestamp, WallTime};
use crate::engine::timers::{Timer, Timers};
use crate::graph::Graph;
use crate::unit::name::UnitName;
use crate::unit::spec::{UnitSet, UnitSpec};

/// What to do on a pair of state and event that must not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BugPolicy {
    /// Tests and simulation.
    Panic,
    /// Production: a fact says so; the unit keeps its state.
    Record,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Of the jitter: a hash of (seed, unit, attempt), not a stream.
    pub seed: u64,
    pub bug_policy: BugPolicy,
}

/// When the engine next wants `DeadlineReached`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    pub mono: Option<Timestamp>,
    pub wall: Option<WallTime>,
}

#[derive(Debug)]
pub struct Engine {
    set: Arc<UnitSet>,
    graph: Arc<Graph>,
    options: Options,
    units: Units,
    owners: Owners,
    boot: Boot,
    timers: Timers,
    requests: BTreeMap<RequestId, Pending>,
    /// Which requests wait for a unit to settle.
    waiters: BTreeSet<(UnitId, RequestId)>,
    next_run: u64,
    next_probe: u64,
    next_helper: u64,
    last_incident: u64,
    /// The open ones.
    incidents: BTreeMap<IncidentId, Incident>,
    /// Of which this step changed something.
    changed_incidents: BTreeSet<IncidentId>,
    /// Each with an open incident that began with it.
    roots: BTreeSet<(UnitId, IncidentId)>,
    /// What the root of an open incident depends on, with that incident.
    roots_behind: BTreeSet<(UnitId, IncidentId)>,
    /// Units that are restarted for others, whose own restart comes next.
    healing: BTreeMap<UnitId, BTreeSet<UnitId>>,
    /// Unhealthy units whose ladder waits for what explains their trouble, or did just now.
    holding: BTreeSet<UnitId>,
    /// What each of them depends on, with the one that holds.
    holds_behind: BTreeSet<(UnitId, UnitId)>,
    late_facts: u64,
    now: Now,
    /// Who should be up, still to spread along the graph.
    wishes: VecDeque<Wish>,
    /// Units that must stop because something they follow restarts.
    to_stop: VecDeque<(UnitId, StopReason)>,
    /// Units without a run that are to begin again, once all that the event says is known and every stop has begun.
    called: Vec<UnitId>,
    jobs: Jobs,
    /// The one under way.
    change: Option<Box<Change>>,
    /// What the keeper remembers of it.
    noted_change: Option<ChangeNote>,
    /// What is wanted turns because of a change: what a person stopped is not started by that, and a roll back wants
    /// it as before.
    is_turned_by_change: bool,
    /// Essential units whose end may send the change under way back, to be decided when this step's facts are known.
    ended_essentials: BTreeSet<UnitId>,
    /// Ends are being told that a lost supervisor did not see, and a change is about to go on.
    has_unseen_ends: bool,
    /// The open incident of a change, or of the units directory.
    change_incident: Option<IncidentId>,
    /// Taken up in this step.
    new_definitions: Option<(GenerationId, Arc<UnitSet>)>,
    /// Names under which the keeper remembers something and no unit is known any more.
    gone_names: Vec<UnitName>,
    /// Units whose desire this step (or its request) turned, and whether they were wanted up before.
    swayed: BTreeMap<UnitId, bool>,
    /// Units to look at in this step.
    dirty: BTreeSet<UnitId>,
    /// Units that this step changed: their notes and waiting requests are looked at when it ends.
    touched: BTreeSet<UnitId>,
    /// Whom incidents reached in this step.
    reached_now: Vec<(IncidentId, UnitId)>,
    facts: Vec<Fact>,
    actions: Vec<Effect>,
    /// Units that were looked at so far.
    #[cfg(test)]
    visits: std::cell::Cell<u64>,
}

impl Engine {
    /// Nothing happens before the first event, `KeeperConnected`.
    pub fn new(set: Arc<UnitSet>, options: Options) -> Self {
        let graph = Arc::new(Graph::new(&set));
        let units = Units(set.units.iter().map(|spec| Unit::new(spec.health.len())).collect());
        let boot = Boot::new(&set);
        let jobs = Jobs::new(&set);
        Self {
            set,
            graph,
            options,
            units,
            owners: Owners::default(),
            boot,
            timers: Timers::default(),
            requests: BTreeMap::new(),
            waiters: BTreeSet::new(),
            next_run: 1,
            next_probe: 1,
            next_helper: 1,
            last_incident: 0,
            incidents: BTreeMap::new(),
            changed_incidents: BTreeSet::new(),
            roots: BTreeSet::new(),
            roots_behind: BTreeSet::new(),
            healing: BTreeMap::new(),
            holding: BTreeSet::new(),
            holds_behind: BTreeSet::new(),
            late_facts: 0,
            now: Now::default(),
            wishes: VecDeque::new(),
            to_stop: VecDeque::new(),
            called: Vec::new(),
            jobs,
            change: None,
            noted_change: None,
            is_turned_by_change: false,
            ended_essentials: BTreeSet::new(),
            has_unseen_ends: false,
            change_incident: None,
            new_definitions: None,
            gone_names: Vec::new(),
            swayed: BTreeMap::new(),
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
            reached_now: Vec::new(),
            facts: Vec::new(),
            actions: Vec::new(),
            #[cfg(test)]
            visits: std::cell::Cell::default(),
        }
    }

    /// One event, one pass: observe, propagate, advance, account.
    pub fn step(&mut self, now: Now, event: Event) -> Effects {
        self.now = now;
        self.swayed.clear();
        self.observe(event);
        self.advance();
        self.account()
    }

    /// Deadlines are acted on when `DeadlineReached` says so, never before: a fact of the same instant goes first.
    pub fn next_deadlines(&self) -> Deadlines {
        Deadlines { mono: self.timers.next(), wall: self.jobs.next_slot() }
    }

    pub fn set(&self) -> &Arc<UnitSet> {
        &self.set
    }

    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Every deadline, the next first; `None` is the boot's own.
    pub fn timers(&self) -> impl Iterator<Item = (Timestamp, Option<UnitId>, Timer)> + '_ {
        self.timers.iter()
    }

    fn observe(&mut self, event: Event) {
        match event {
            Event::KeeperConnected(handover) => self.on_keeper_connected(*handover),
            Event::RunSpawned { run, pid } => self.on_spawned(run, pid),
            Event::RunFailedToSpawn { run, failure } => self.on_failed_to_spawn(run, failure),
            Event::RunExited { run, exit, is_empty } => self.on_exited(run, exit, is_empty),
            Event::RunEmptied { run } => self.on_emptied(run),
            Event::ProbeFinished { probe, verdict } => self.on_probe_finished(probe, verdict),
            Event::HelperFinished { helper, outcome, said } => {
                self.on_helper_finished(helper, outcome, &said);
            }
            Event::EvidenceCaptured { incident, unit, run, is_complete } => {
                self.on_evidence_captured(incident, unit, run, is_complete);
            }
            Event::Notified { run, notice } => self.on_notified(run, notice),
            Event::ReadyShown { run } => self.on_ready_shown(run),
            Event::ConnectionArrived { unit } => self.on_connection(unit),
            Event::RequestReceived { request, ask } => self.on_request(request, &ask),
            Event::RequestAbandoned { request } => self.on_request_abandoned(request),
            Event::OutputJudged { run, judgement } => self.on_output_judged(run, judgement),
            Event::Triggered { unit, trigger } => self.on_triggered(unit, trigger),
            Event::ClockStepped => self.on_clock_stepped(),
            Event::ChangeProposed(proposal) => self.on_change_proposed(*proposal),
            Event::DirectoryFound { trouble } => self.on_directory_found(trouble),
            Event::DeadlineReached => {
                while let Some((owner, timer)) = self.timers.pop_due(self.now.mono) {
                    self.on_deadline(owner, timer);
                }
                self.take_due_slots();
            }
        }
    }

    fn on_deadline(&mut self, owner: Option<UnitId>, timer: Timer) {
        match (owner, timer) {
            (Some(id), Timer::BackoffDelay) => self.mark(id),
            (Some(id), Timer::StartTimeout) => self.on_start_timeout(id),
            (Some(id), Timer::StopGrace) => self.on_grace_over(id),
            (Some(id), Timer::KillWait) => self.on_kill_wait_over(id),
            (Some(id), Timer::ProbeDue(index)) => self.start_probe(id, index),
            (Some(id), Timer::Watchdog) => self.on_watchdog_due(id),
            (Some(id), Timer::Settle) => self.leave_incident(id),
            (Some(id), Timer::CaptureWait) => self.on_capture_wait_over(id),
            (Some(id), Timer::RungSettle) => self.on_rung_settled(id),
            (Some(id), Timer::RungPause) => self.on_rung_pause_over(id),
            (Some(id), Timer::Hold) => self.on_hold_over(id),
            (Some(id), Timer::JobDue) => self.mark(id),
            (Some(id), Timer::JobEvery) => self.on_every(id),
            (Some(id), Timer::JobRun(run)) => self.on_job_run_deadline(id, run),
            (None, Timer::BootTimeout) => self.on_boot_timeout(),
            (None, Timer::ShutdownTimeout) => self.kill_everything(),
            (None, Timer::VerifyWindow) => self.on_verify_window_over(),
            (None, Timer::ChangeSettle) => self.on_change_settled(),
            (None, Timer::ConfirmWindow) => self.on_confirm_window_over(),
            (
                None,
                Timer::BackoffDelay
                | Timer::StartTimeout
                | Timer::StopGrace
                | Timer::KillWait
                | Timer::CaptureWait
                | Timer::ProbeDue(_)
                | Timer::Watchdog
                | Timer::RungSettle
                | Timer::RungPause
                | Timer::Hold
                | Timer::JobDue
                | Timer::JobEvery
                | Timer::JobRun(_)
                | Timer::Settle,
            )
            | (
                Some(_),
                Timer::BootTimeout
                | Timer::VerifyWindow
                | Timer::ChangeSettle
                | Timer::ConfirmWindow
                | Timer::ShutdownTimeout,
            ) => {
                self.bug(owner, "a deadline of nobody");
            }
        }
    }

    /// Steps dirty units, in unit order, until wishes, followers and units are at rest.
    fn advance(&mut self) {
        // A unit enters a handful of times at most; running out means two units chase each other.
        let mut budget = self.units.0.len().saturating_mul(16).saturating_add(64);
        loop {
            self.propagate();
            while let Some((id, why)) = self.to_stop.pop_front() {
                // What is not wanted any more is stopped in its order, not by what restarts.
                if self.units[id].is_up() && self.units[id].desired.is_up() {
                    self.begin_stop(id, why);
                }
            }
            self.open_phases();
            if !self.wishes.is_empty() || !self.to_stop.is_empty() {
                continue;
            }
            if self.begin_called() {
                continue;
            }
            let Some(id) = self.dirty.pop_first() else {
                if self.go_back_for_an_essential() || self.move_change() {
                    continue;
                }
                break;
            };
            if budget == 0 {
                self.dirty.clear();
                return self.bug(Some(id), "the units do not come to rest");
            }
            budget -= 1;
            self.advance_unit(id);
        }
    }

    fn advance_unit(&mut self, id: UnitId) {
        self.visit();
        let unit = &self.units[id];
        let is_wanted = unit.desired.is_up();
        match unit.state {
            UnitState::Inactive if is_wanted => self.begin(id),
            UnitState::Inactive => {}
            UnitState::Waiting { .. } if is_wanted => self.begin(id),
            UnitState::Backoff { until, .. } if is_wanted => {
                if until <= self.now.mono && self.units[id].repair.is_none() {
                    self.begin(id);
                }
            }
            UnitState::Waiting { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed
                if !is_wanted =>
            {
                self.rest(id, UnitState::Inactive);
            }
            UnitState::Starting | UnitState::Ready | UnitState::Unhealthy if !is_wanted => {
                if !self.is_held(id) {
                    self.begin_stop(id, StopReason::Down);
                }
            }
            UnitState::Ready | UnitState::Unhealthy if self.is_job(id) => self.start_due(id),
            // Nobody waits for evidence of what is not wanted any more.
            UnitState::Stopping { stage: StopStage::Capturing, .. } if !is_wanted => {
                self.go_on_stopping(id);
            }
            UnitState::Waiting { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed
            | UnitState::Starting
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Stopping { .. } => {}
        }
    }

    /// Notes of what changed come first, then what people are told, then what is done.
    fn account(&mut self) -> Effects {
        self.finish_shutdown();
        self.answer_requests();
        self.tell_whom_it_reached();
        let mut effects = Vec::new();
        if let Some((generation, set)) = self.new_definitions.take() {
            effects.extend(self.first_change_note());
            effects.push(Effect::UseDefinitions { generation, set });
        }
        let (mut noted, mut over) = (None, None);
        match self.changed_change_note() {
            Some(Some(note)) => noted = Some(Effect::Remember(Note::Change(Some(Box::new(note))))),
            // Whoever continues must not take it for one that was never proposed before its end was told.
            Some(None) => over = Some(Effect::Remember(Note::Change(None))),
            None => {}
        }
        effects.extend(noted);
        effects.extend(self.gone_notes());
        if let Some(note) = self.changed_boot_note() {
            effects.push(Effect::Remember(Note::Boot(note)));
        }
        for id in std::mem::take(&mut self.touched) {
            let note = self.unit_note(id);
            match &mut self.units[id].noted {
                Some(noted) if **noted == note => continue,
                Some(noted) => noted.as_mut().clone_from(&note), // in place: it is at hand since it was compared
                none => *none = Some(Box::new(note.clone())),
            }
            effects.push(Effect::Remember(Note::Unit(id, Box::new(note))));
        }
        effects.extend(self.changed_incident_notes());
        effects.extend(self.facts.drain(..).map(Effect::Record));
        effects.append(&mut self.actions);
        effects.extend(over);
        Effects(effects)
    }

    /// Puts a unit into a state: the one place where states change.
    fn enter(&mut self, id: UnitId, state: UnitState) {
        let from = self.units[id].state.name();
        let to = state.name();
        let was_resting = self.rests_for_connection(id);
        if from != to {
            if !state::EDGES.iter().any(|(a, b, _)| (*a, *b) == (from, to)) {
                return self.bug(Some(id), &format!("{from} -> {to} is not an edge of the table"));
            }
            self.units[id].since = self.now.mono;
            self.timers.keep_those_of(id, to);
        }
        self.units[id].state = state;
        self.keep_awaiting(id, was_resting);
        self.look_who_is_waited_for(id);
        self.recount(id);
        self.wake_neighbours(id);
        if from != to {
            let reason = self.reason(id).into();
            self.facts.push(Fact::StateChanged { unit: id, from, to, reason });
            self.on_entered(id, to);
        }
    }

    fn on_entered(&mut self, id: UnitId, state: StateName) {
        match state {
            StateName::Completed => {
                self.works(id);
                self.leave_incident(id);
                self.tell_those_after(id, true);
            }
            StateName::Failed => self.tell_those_after(id, false),
            StateName::Ready => self.recovered(id),
            StateName::Inactive
            | StateName::Unhealthy
            | StateName::Waiting
            | StateName::Starting
            | StateName::Stopping
            | StateName::Backoff => {}
        }
        if !self.healing.is_empty() {
            self.tell_the_healed(id, state);
        }
        if !self.holding.is_empty() && state != StateName::Unhealthy {
            self.look_at_holding(id);
        }
        self.on_essential(id, state);
    }

    /// Enters a state without a run.
    fn rest(&mut self, id: UnitId, state: UnitState) {
        if state == UnitState::Inactive {
            self.units[id].is_called = false;
            self.leave_unhealed(id);
        }
        self.enter(id, state);
    }

    /// Looks again at whoever may have waited for this unit to change.
    fn wake_neighbours(&mut self, id: UnitId) {
        self.mark(id);
        let (set, graph) = (Arc::clone(&self.set), Arc::clone(&self.graph));
        for edge in graph.dependents(id) {
            self.visit();
            self.mark_if_waiting(edge.unit);
        }
        for other in graph.conflicts_of(id) {
            self.visit();
            self.mark_if_waiting(*other);
        }
        for edge in set.unit(id).map_or(&[][..], |spec| &spec.depends_on) {
            self.visit();
            if !self.units[edge.unit].desired.is_up() {
                self.mark(edge.unit);
            }
        }
    }

    fn mark_if_waiting(&mut self, id: UnitId) {
        if self.units[id].state.name() == StateName::Waiting || self.has_due(id) {
            self.mark(id);
        }
    }

    fn mark(&mut self, id: UnitId) {
        self.dirty.insert(id);
        self.touched.insert(id);
    }

    fn touch(&mut self, id: UnitId) {
        self.touched.insert(id);
    }

    /// Counts what a step looks at: a test holds that this does not grow with the set.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, clippy::missing_const_for_fn, reason = "only tests count")
    )]
    fn visit(&self) {
        #[cfg(test)]
        self.visits.set(self.visits.get().saturating_add(1));
    }

    fn late(&mut self) {
        self.late_facts = self.late_facts.saturating_add(1);
    }

    fn spec(&self, id: UnitId) -> &UnitSpec {
        #[expect(clippy::expect_used, reason = "a UnitId exists only for a unit of the set")]
        self.set.unit(id).expect("every id is of this set")
    }

    fn bug(&mut self, unit: Option<UnitId>, what: &str) {
        match self.options.bug_policy {
            #[expect(clippy::panic, reason = "the policy of tests: an impossible pair must be seen at once")]
            BugPolicy::Panic => {
                let name = unit.map_or("the boot", |id| self.spec(id).name.as_str());
                panic!("{name}: {what} (state {:?})", unit.map(|id| &self.units[id]))
            }
            BugPolicy::Record => self.facts.push(Fact::BugFound { unit, what: what.into() }),
        }
    }
}
