//! 15 and 16: whom a change may touch, and that it ends once, with everything as before where it goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::engine::effect::{ChangeOutcome, Effect, Fact};
use crate::engine::event::{Ask, Event, Proposal};
use crate::engine::id::{GenerationId, UnitId};
use crate::engine::invariants::shadow::{self, Shadow};
use crate::engine::invariants::{Auditor, Look};
use crate::engine::state::StateName;
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::spec::recover::Rung;
use crate::unit::spec::{Follow, UnitSet, UnitSpec};

/// What the auditor knows of changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    under_way: Option<UnderWay>,
    ended: BTreeSet<GenerationId>,
    /// When what was due before this step.
    due: BTreeMap<UnitId, Timestamp>,
}

#[derive(Clone, Debug)]
struct UnderWay {
    generation: GenerationId,
    previous: GenerationId,
    before: Arc<UnitSet>,
    next: Arc<UnitSet>,
    /// Whom it may stop or start, by the definitions and the graph alone.
    reach: BTreeSet<UnitId>,
    /// Who was wanted up when it began.
    wanted: BTreeMap<UnitId, bool>,
    /// Whom a person, or an end by itself, may have turned since.
    turned: BTreeSet<UnitId>,
}

impl Changes {
    pub(super) fn under_way(&self) -> Option<GenerationId> {
        self.under_way.as_ref().map(|change| change.generation)
    }

    /// Its definition, or one that it hangs on, may be another now.
    pub(super) fn reaches(&self, id: UnitId) -> bool {
        self.under_way.as_ref().is_some_and(|change| change.reach.contains(&id))
    }

    /// These definitions are those from before the change.
    pub(super) fn goes_back(&self, generation: GenerationId) -> bool {
        self.under_way.as_ref().is_some_and(|change| change.previous == generation)
    }

    /// A new supervisor knows of this one, or of none.
    pub(super) fn take_over(&mut self, handed: Option<GenerationId>) {
        if self.under_way() != handed {
            self.under_way = None;
        }
    }
}

fn is_there(set: &UnitSet, id: UnitId) -> Option<&UnitSpec> {
    set.unit(id).filter(|spec| !spec.is_removed)
}

/// It comes, goes, or differs.
fn differs(before: &UnitSet, next: &UnitSet, id: UnitId) -> bool {
    match (is_there(before, id), is_there(next, id)) {
        (None, None) => false,
        (Some(before), Some(next)) => before.fingerprint != next.fingerprint,
        (Some(_), None) | (None, Some(_)) => true,
    }
}

/// It may go down for good, in one direction or the other.
fn turns(before: &UnitSet, next: &UnitSet, id: UnitId) -> bool {
    let is_enabled = |set: &UnitSet| is_there(set, id).is_some_and(|spec| spec.enabled);
    let edges = |set: &UnitSet| is_there(set, id).map(|spec| spec.depends_on.clone());
    edges(before) != edges(next) || is_enabled(before) != is_enabled(next)
}

/// Everything that the change may stop or start, found without the plan: what differs, what follows it or goes down
/// with it, what it needs, and what may not live beside that.
fn reach(before: &UnitSet, next: &UnitSet, reread: &BTreeSet<UnitId>) -> BTreeSet<UnitId> {
    let mut reach: BTreeSet<UnitId> = next.ids().filter(|id| differs(before, next, *id)).collect();
    reach.extend(reread);
    let mut down: BTreeSet<UnitId> = reach.iter().copied().filter(|id| turns(before, next, *id)).collect();
    let mut size = usize::MAX;
    while size != reach.len().saturating_add(down.len()) {
        size = reach.len().saturating_add(down.len());
        for set in [before, next] {
            for (id, spec) in set.ids().zip(&set.units) {
                for edge in &spec.depends_on {
                    if reach.contains(&edge.unit) && edge.follow != Follow::None {
                        reach.insert(id);
                        if edge.follow == Follow::Stop {
                            down.insert(id);
                        }
                    }
                    if down.contains(&edge.unit) && edge.required {
                        reach.insert(id);
                        down.insert(id);
                    }
                    if reach.contains(&id) && edge.required {
                        reach.insert(edge.unit);
                    }
                }
                for rival in &spec.conflicts {
                    for (one, other) in [(id, *rival), (*rival, id)] {
                        if reach.contains(&one) {
                            reach.insert(other);
                            down.insert(other);
                        }
                    }
                }
            }
        }
    }
    reach
}

impl Shadow {
    /// The event, as far as it is about changes.
    pub(super) fn learn_change(&mut self, event: &Event) {
        if let Event::ChangeProposed(proposal) = event {
            self.learn_proposal(proposal);
        } else if let Event::RequestReceived { ask, .. } = event {
            self.learn_turned_by(ask);
        }
    }

    fn learn_proposal(&mut self, proposal: &Proposal) {
        if self.changes.under_way.is_some() {
            return;
        }
        let before = Arc::clone(&self.set);
        self.changes.under_way = Some(UnderWay {
            generation: proposal.generation,
            previous: proposal.previous,
            reach: reach(&before, &proposal.set, &proposal.reread),
            wanted: before.ids().map(|id| (id, self.is_noted_up(id))).collect(),
            before,
            next: Arc::clone(&proposal.set),
            turned: BTreeSet::new(),
        });
    }

    fn learn_turned_by(&mut self, ask: &Ask) {
        let named: BTreeSet<UnitId> =
            ask.units().iter().flat_map(|name| self.set.named(name.as_str())).collect();
        self.turn(named);
    }

    /// They, all around them, and what is around that may be wanted otherwise for another reason than the change.
    fn turn(&mut self, ids: BTreeSet<UnitId>) {
        let Some(change) = &mut self.changes.under_way else { return };
        let mut next: Vec<UnitId> = ids.into_iter().filter(|id| change.turned.insert(*id)).collect();
        while let Some(at) = next.pop() {
            for set in [&change.before, &change.next] {
                for (id, spec) in set.ids().zip(&set.units) {
                    let needs = spec.depends_on.iter().map(|edge| edge.unit);
                    for other in needs.chain(spec.conflicts.iter().copied()) {
                        let touched = [(id, other), (other, id)].into_iter().find(|(one, _)| *one == at);
                        next.extend(touched.map(|(_, other)| other).filter(|it| change.turned.insert(*it)));
                    }
                }
            }
        }
    }

    /// What is known of units that stay is known of them still.
    pub(super) fn use_definitions(&mut self, generation: GenerationId, set: Arc<UnitSet>) {
        for id in set.ids().skip(self.units.len()) {
            self.polls.begin(id, false);
            self.units.push(shadow::Unit::fresh());
        }
        self.is_exchanged = true;
        let before = Arc::clone(&self.set);
        let goes_back = self.changes.goes_back(generation);
        let reached: Vec<UnitId> = set.ids().filter(|id| self.changes.reaches(*id)).collect();
        for id in reached {
            self.learn_definition(id, (before.unit(id), set.unit(id)), goes_back);
        }
        let open = before.phases.get(..usize::from(self.open_phases)).unwrap_or_default();
        // A barrier that is open stays so, and those before it are.
        let last = set.phases.iter().rposition(|name| open.contains(name));
        let count = if self.is_booted { set.phases.len() } else { last.unwrap_or(0).saturating_add(1) };
        if self.open_phases > 0 {
            self.open_phases = u16::try_from(count).unwrap_or(u16::MAX);
        }
        self.dependents = shadow::dependents_in(&set);
        self.set = set;
    }

    /// What the event is about, before it is forgotten.
    pub(super) fn note_answered(&mut self, event: &Event) {
        self.last_answered = if let Event::ProbeFinished { probe, .. } = event {
            self.probes.get(probe).map(|(unit, _)| *unit)
        } else if let Event::HelperFinished { helper, .. } = event {
            self.helpers.get(helper).map(|(unit, _)| *unit)
        } else {
            None
        };
    }

    /// Earlier failures say nothing about another definition; and who comes anew was stopped by nobody.
    pub(super) fn learn_definition(
        &mut self,
        id: UnitId,
        (before, next): (Option<&UnitSpec>, Option<&UnitSpec>),
        goes_back: bool,
    ) {
        let is_there = |spec: Option<&UnitSpec>| spec.is_some_and(|spec| !spec.is_removed);
        let is_new = !is_there(before) && is_there(next);
        if before.map(|spec| &spec.health) != next.map(|spec| &spec.health) {
            self.polls.begin(id, false);
        }
        // A stop that has begun goes on as it began.
        let grace = before.map(|spec| spec.stop.grace).unwrap_or_default();
        for run in self.runs.values_mut().filter(|run| run.unit == id) {
            run.noted_deadline = run.noted_deadline.or_else(|| run.stop_began.map(|at| at.after(grace)));
        }
        self.troubles.may_start_over(id);
        let Some(unit) = self.unit_mut(id) else { return };
        unit.automatic_starts.clear();
        unit.comes_from_backoff = false;
        unit.is_given_another_try = true;
        unit.last_attempt = None;
        if is_new {
            unit.has_passed = false;
            unit.is_stopped_by_operator &= goes_back;
        }
    }

    /// Of a step of which only a part was carried out.
    pub(super) fn carry_end_of_change(&mut self, effect: &Effect) {
        if let Effect::EndChange { generation, .. } = effect
            && self.changes.under_way() == Some(*generation)
        {
            self.changes.under_way = None;
            self.changes.ended.insert(*generation);
        }
    }

    /// Who follows with a stop whatever restarts, for whatever reason.
    pub(super) fn learn_restart(&mut self, id: UnitId) {
        let stops = |(dependent, edge): &(UnitId, crate::unit::spec::Dependency)| {
            (edge.follow == Follow::Stop).then_some(*dependent)
        };
        let stopped: BTreeSet<UnitId> = self.dependents(id).iter().filter_map(stops).collect();
        if !stopped.is_empty() && self.changes.under_way.is_some() {
            self.turn(stopped);
        }
    }
}

impl Auditor {
    /// 15, before the effects are carried: in a step of the change itself only those are touched whom it may touch.
    pub(super) fn change_touches(&mut self, look: &mut Look<'_>, effects: &[Effect]) {
        let is_proposed = matches!(look.event, Event::ChangeProposed(_));
        let is_of_change =
            |effect: &Effect| matches!(effect, Effect::UseDefinitions { .. } | Effect::EndChange { .. });
        let is_takeover = matches!(look.event, Event::KeeperConnected(_));
        if is_takeover || !(is_proposed || effects.iter().any(is_of_change)) {
            return;
        }
        let Some(change) = self.shadow.changes.under_way.clone() else { return };
        let around = self.around(look, &change);
        let opens = effects.iter().any(|effect| matches!(effect, Effect::Record(Fact::PhaseOpened { .. })));
        let ends = effects.iter().any(|effect| matches!(effect, Effect::Record(Fact::ShutdownBegan)));
        if ends || self.shadow.shutdown_since.is_some() {
            return;
        }
        for effect in effects {
            let Some((unit, is_start)) = self.whom(effect) else { continue };
            let waited = matches!(self.shadow.state(unit), StateName::Waiting | StateName::Inactive);
            let waits_for_room = self.shadow.is_job(unit) && is_start;
            let may_start = waits_for_room || is_start && waited && (opens || self.was_shut(unit, &change));
            if !change.reach.contains(&unit) && !around.contains(&unit) && !may_start {
                let name = self.shadow.name(unit);
                let generation = change.generation;
                look.violate(
                    15,
                    format!("{name} is no part of generation {generation}, which led to {effect:?}"),
                );
            }
        }
    }

    /// Whose process, watch or probe is touched, and whether that may be a start.
    fn whom(&self, effect: &Effect) -> Option<(UnitId, bool)> {
        if let Effect::Spawn { unit, .. } | Effect::StartProbe { unit, .. } | Effect::RunHelper { unit, .. } =
            effect
        {
            return Some((*unit, true));
        }
        if let Effect::Signal { run, .. } = effect {
            return Some((self.shadow.runs.get(run)?.unit, false));
        }
        let Effect::CancelProbe { probe } = effect else { return None };
        Some((self.shadow.probes.get(probe)?.0, false))
    }

    /// Its barrier was shut, and other phases may have opened it.
    fn was_shut(&self, id: UnitId, change: &UnderWay) -> bool {
        change.before.phases != change.next.phases
            || self.shadow.spec(id).is_some_and(|spec| spec.phase.0 >= self.shadow.open_phases)
    }

    /// Whoever the event is about, and who waits for them or for what the change touches: they may act in the same
    /// step for reasons of their own.
    fn around(&self, look: &Look<'_>, change: &UnderWay) -> BTreeSet<UnitId> {
        let shadow = &self.shadow;
        let of_run = |run| shadow.runs.get(run).map(|run| run.unit);
        let mut about: BTreeSet<UnitId> = match look.event {
            Event::RunSpawned { run, .. }
            | Event::RunFailedToSpawn { run, .. }
            | Event::RunExited { run, .. }
            | Event::RunEmptied { run }
            | Event::Notified { run, .. }
            | Event::ReadyShown { run }
            | Event::OutputJudged { run, .. } => of_run(run).into_iter().collect(),
            Event::ProbeFinished { .. } | Event::HelperFinished { .. } => {
                shadow.last_answered.into_iter().collect()
            }
            Event::EvidenceCaptured { unit, .. }
            | Event::ConnectionArrived { unit }
            | Event::Triggered { unit, .. } => [*unit].into(),
            Event::RequestReceived { ask, .. } => {
                ask.units().iter().flat_map(|name| shadow.set.named(name.as_str())).collect()
            }
            Event::DeadlineReached | Event::ClockStepped => {
                let due = shadow.changes.due.iter().filter(|(_, at)| **at <= look.now);
                let jobs = shadow.set.ids().filter(|id| shadow.is_job(*id)); // slots are on another clock
                due.map(|(id, _)| *id).chain(jobs).collect()
            }
            Event::KeeperConnected(_)
            | Event::RequestAbandoned { .. }
            | Event::ChangeProposed(_)
            | Event::DirectoryFound { .. } => BTreeSet::new(),
        };
        let is_waiting = |id: UnitId| {
            matches!(
                shadow.state(id),
                StateName::Waiting | StateName::Inactive | StateName::Backoff | StateName::Unhealthy
            )
        };
        // What the change touches lets only those act who waited for something.
        let mut found = change.reach.clone();
        found.extend(&about);
        let mut size = 0;
        while size != found.len() {
            size = found.len();
            for set in [&change.before, &change.next] {
                for (id, spec) in set.ids().zip(&set.units) {
                    let on_about = spec.depends_on.iter().any(|edge| about.contains(&edge.unit));
                    let after = spec.job.iter().flat_map(|job| &job.after).any(|it| found.contains(&it.unit));
                    let companions = spec.recover.rungs.iter().any(|rung| {
                        matches!(rung, Rung::Restart { with } if with.iter().any(|it| found.contains(it)))
                    });
                    let on_found = spec.depends_on.iter().any(|edge| found.contains(&edge.unit));
                    let rivals = spec.conflicts.iter().any(|it| found.contains(it));
                    if on_about {
                        about.insert(id);
                    }
                    if about.contains(&id) || after || ((on_found || companions || rivals) && is_waiting(id))
                    {
                        found.insert(id);
                        if let Some(Rung::Restart { with }) =
                            spec.recover.rungs.iter().find(|rung| matches!(rung, Rung::Restart { .. }))
                        {
                            found.extend(with.iter().filter(|_| about.contains(&id)));
                        }
                    }
                }
            }
        }
        found
    }

    /// 16, with each `EndChange`, when everything else of the step was carried.
    pub(super) fn change_ends(&mut self, look: &mut Look<'_>, effects: &[Effect]) {
        let mut refused = None;
        for effect in effects {
            let Effect::EndChange { generation, outcome } = effect else { continue };
            if matches!(outcome, ChangeOutcome::Refused(_)) {
                refused = Some(*generation);
            }
            let proposed = if let Event::ChangeProposed(proposal) = look.event {
                Some(proposal.generation)
            } else {
                None
            };
            let is_refused_now = refused == proposed && refused == Some(*generation);
            match self.shadow.changes.under_way.clone() {
                Some(change) if change.generation == *generation => {
                    self.ends_well(look, &change, outcome);
                    self.shadow.changes.under_way = None;
                    self.shadow.changes.ended.insert(*generation);
                }
                Some(_) | None if is_refused_now => {}
                Some(_) | None => {
                    let again = if self.shadow.changes.ended.contains(generation) {
                        "again"
                    } else {
                        "and never began"
                    };
                    look.violate(16, format!("generation {generation} ends {again}"));
                }
            }
        }
        if let Event::ChangeProposed(proposal) = look.event
            && self.shadow.changes.under_way().is_some_and(|other| other != proposal.generation)
            && refused != Some(proposal.generation)
        {
            look.violate(16, format!("generation {} was proposed beside another", proposal.generation));
        }
        let (known, told) = (self.shadow.changes.under_way(), look.engine.change());
        if known != told {
            look.violate(16, format!("the engine is in the change {told:?}, and {known:?} has not ended"));
        }
        let timers = look.engine.timers();
        let of_units = timers.into_iter().filter(|(_, _, timer)| *timer != Timer::Settle);
        let due: Vec<(Timestamp, UnitId)> = of_units.filter_map(|(at, unit, _)| Some((at, unit?))).collect();
        self.shadow.changes.due.clear();
        if known.is_some() {
            for (at, unit) in due {
                self.shadow.changes.due.entry(unit).or_insert(at);
            }
        }
    }

    fn ends_well(&self, look: &mut Look<'_>, change: &UnderWay, outcome: &ChangeOutcome) {
        let expected = match outcome {
            ChangeOutcome::Committed | ChangeOutcome::Kept { .. } => &change.next,
            ChangeOutcome::RolledBack { .. } => &change.before,
            ChangeOutcome::Refused(_) | ChangeOutcome::Interrupted => return,
        };
        let generation = change.generation;
        for id in self.shadow.set.ids() {
            let (is, should) = (is_there(&self.shadow.set, id), is_there(expected, id));
            if is != should {
                let name = self.shadow.name(id);
                look.violate(16, format!("{name} is not as generation {generation} ends: {outcome}"));
            }
        }
        if self.shadow.set.phases != expected.phases {
            look.violate(16, format!("the phases are not as generation {generation} ends: {outcome}"));
        }
        if !matches!(outcome, ChangeOutcome::RolledBack { .. }) {
            return;
        }
        for (id, was) in &change.wanted {
            let is = look.engine.status(*id).is_some_and(|status| status.desired.is_up());
            let is_known = is_there(&change.before, *id).is_some() && !change.turned.contains(id);
            if is_known && is != *was {
                let (name, words) = (self.shadow.name(*id), if *was { "not wanted" } else { "wanted" });
                look.violate(16, format!("{name} is {words} after generation {generation} went back"));
            }
        }
    }
}
