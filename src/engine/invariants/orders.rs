//! What each effect must satisfy at the moment it is ordered.

use std::time::Duration;

use crate::engine::effect::{Effect, Fact, Lever, Role, SignalScope};
use crate::engine::event::Event;
use crate::engine::id::{PhaseId, RunId, UnitId};
use crate::engine::invariants::shadow::Stage;
use crate::engine::invariants::{Auditor, Look};
use crate::engine::state::{NotedState, StateName};
use crate::engine::time::{Pretty, nanos};
use crate::unit::spec::job::Overlap;
use crate::unit::spec::{Backoff, Condition, SignalNumber, UnitKind};

impl Auditor {
    pub(super) fn order(&mut self, look: &mut Look<'_>, effect: &Effect) {
        match effect {
            Effect::Spawn { run, unit, .. } => self.spawn(look, *run, *unit),
            Effect::Signal { run, signal, scope } => self.signal(look, *run, *signal, *scope),
            Effect::RunHelper { unit, role, .. } => {
                self.helper(look, *unit, role);
                if let Role::StopCommand { run } = role {
                    self.evidence_before_stop(look, *run, *unit);
                }
            }
            Effect::AwaitConnection { unit } => self.await_connection(look, *unit),
            Effect::JudgeOutput { run, unit, .. } => self.judge(look, *run, *unit),
            Effect::Release { run } => {
                self.evidence_before_release(look, *run);
                let stage = self.shadow.runs.get(run).map(|run| run.stage);
                if stage != Some(Stage::Over) {
                    look.violate(6, format!("run {} is released and is {stage:?}", run.0));
                }
            }
            Effect::StartProbe { unit, index, .. } => self.start_probe(look, *unit, *index),
            Effect::Reply { request, .. } => {
                if !self.shadow.pending.contains(request) {
                    let fact =
                        if self.shadow.answered.contains(request) { "twice" } else { "without being asked" };
                    look.violate(17, format!("request {} is answered {fact}", request.0));
                }
            }
            Effect::Record(fact) => {
                self.incident_fact(look, fact);
                self.fact(look, fact);
            }
            Effect::Alert { .. } => self.alert(look, effect),
            Effect::Remember(_)
            | Effect::CancelProbe { .. }
            | Effect::CancelHelper { .. }
            | Effect::CaptureEvidence { .. }
            | Effect::Arm { .. }
            | Effect::Disarm { .. }
            | Effect::WatchReadyLine { .. }
            | Effect::ForgetConnection { .. }
            | Effect::UseDefinitions { .. }
            | Effect::RestoreGeneration { .. }
            | Effect::EndChange { .. }
            | Effect::Exit { .. } => {}
        }
    }

    fn fact(&mut self, look: &mut Look<'_>, fact: &Fact) {
        match fact {
            Fact::StateChanged { unit, from, to, .. } => {
                self.edge(look, *unit, *from, *to);
                if self.shadow.is_watch(*unit) {
                    match to {
                        // A job is armed at once; its runs wait.
                        StateName::Starting if self.shadow.is_job(*unit) => self.behind_barrier(look, *unit),
                        StateName::Starting => self.begin(look, *unit),
                        StateName::Stopping => self.dependents_are_down(look, *unit),
                        StateName::Inactive
                        | StateName::Waiting
                        | StateName::Ready
                        | StateName::Unhealthy
                        | StateName::Backoff
                        | StateName::Failed
                        | StateName::Completed => {}
                    }
                }
                let stays =
                    look.engine.status(*unit).is_some_and(|status| status.state == StateName::Backoff);
                if *to == StateName::Backoff && stays {
                    self.backoff(look, *unit);
                }
            }
            Fact::PhaseOpened { phase } => self.barrier(look, *phase),
            Fact::BugFound { unit, what } => {
                let name = unit.map_or_else(|| "the boot".to_owned(), |unit| self.shadow.name(unit));
                look.violate(0, format!("{name}: {what}"));
            }
            Fact::HealthChanged { unit, health, .. } => self.health(look, *unit, *health),
            Fact::RunEnded { .. }
            | Fact::Booted
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
            | Fact::JobRunEnded { .. }
            | Fact::JobSkipped { .. }
            | Fact::JobMissed { .. }
            | Fact::IncidentClosed { .. }
            | Fact::Unkillable { .. }
            | Fact::Adopted { .. }
            | Fact::Change { .. }
            | Fact::RequestServed { .. }
            | Fact::ShutdownBegan => {}
        }
    }

    /// 1, 2, 3 and 9: a spawn is given for a unit that is wanted, alone, allowed and in order.
    fn spawn(&mut self, look: &mut Look<'_>, run: RunId, id: UnitId) {
        let name = self.shadow.name(id);
        if self.shadow.is_job(id) {
            self.job_run(look, id);
        } else if let Some((other, _)) = self.shadow.live_run(id) {
            look.violate(1, format!("{name}: run {} is spawned while run {} is not over", run.0, other.0));
        }
        if let Some(other) = self.shadow.stop_command(id) {
            look.violate(1, format!("{name} is spawned while the stop command of run {} works", other.0));
        }
        if self.shadow.is_being_repaired(id) {
            look.violate(13, format!("{name} is spawned while its repair program works"));
        }
        if run.0 <= self.shadow.highest_run {
            look.violate(1, format!("{name}: the number of run {} was given before", run.0));
        }
        if self.shadow.is_watch(id) && !self.shadow.is_job(id) {
            look.violate(6, format!("{name} is spawned and has no process of ours"));
        }
        self.begin(look, id);
    }

    /// 2, 3 and 9: by a spawn, or by the beginning of a watch.
    fn begin(&self, look: &mut Look<'_>, id: UnitId) {
        let name = self.shadow.name(id);
        let is_wanted = look.engine.status(id).is_some_and(|status| status.desired.is_up());
        // What the change turns down in the very step that ends its start was begun before it.
        let is_turned = self.shadow.is_exchanged && self.shadow.changes.reaches(id);
        if !is_wanted && !is_turned {
            look.violate(2, format!("{name} is spawned while it should be down"));
        }
        if self.shadow.unit(id).is_some_and(|unit| unit.is_stopped_by_operator) {
            look.violate(2, format!("{name} was stopped by a person and is spawned"));
        }
        if self.shadow.shutdown_since.is_some() {
            look.violate(2, format!("{name} is spawned during a shutdown"));
        }
        self.order_up(look, id);
        self.start_limit(look, id);
    }

    fn behind_barrier(&self, look: &mut Look<'_>, id: UnitId) {
        if let Some(spec) = self.shadow.spec(id).filter(|spec| spec.phase.0 >= self.shadow.open_phases) {
            look.violate(3, format!("{} is spawned before the barrier of its phase opened", spec.name));
        }
    }

    fn order_up(&self, look: &mut Look<'_>, id: UnitId) {
        let Some(spec) = self.shadow.spec(id) else { return };
        if !self.shadow.is_job(id) {
            self.behind_barrier(look, id); // a job passed it when it was armed
        }
        for dependency in &spec.depends_on {
            if self.holds(look, dependency) {
                continue;
            }
            // A person who starts both starts both: nobody waits for what the same request runs again.
            let is_asked = matches!(look.event, Event::RequestReceived { .. });
            // What a change stops comes again, and is waited for by those who require it.
            let is_asked = is_asked || self.shadow.changes.reaches(dependency.unit);
            if dependency.required || (!is_asked && self.may_come(look, dependency, 0)) {
                let needed = self.shadow.name(dependency.unit);
                let condition = dependency.condition;
                look.violate(3, format!("{} is spawned and {needed} is not {condition:?}", spec.name));
            }
        }
        let rival = self
            .shadow
            .set
            .ids()
            .find(|other| self.are_rivals(id, *other) && *other != id && self.shadow.is_present(*other));
        if let Some(rival) = rival {
            look.violate(
                3,
                format!("{} is spawned and conflicts with {}", spec.name, self.shadow.name(rival)),
            );
        }
    }

    /// 9: automatic starts in any window, this one included.
    fn start_limit(&self, look: &mut Look<'_>, id: UnitId) {
        let Some(limit) = self.shadow.spec(id).and_then(|spec| spec.restart.limit) else { return };
        let Some(unit) = self.shadow.unit(id).filter(|unit| unit.comes_from_backoff) else { return };
        let is_inside = |at: &&crate::engine::time::Timestamp| look.now.since(**at) < limit.within;
        let before = unit.automatic_starts.iter().filter(is_inside).count();
        if before >= usize::try_from(limit.starts).unwrap_or(usize::MAX) {
            let within = Pretty(limit.within);
            look.violate(
                9,
                format!("{} has {before} automatic starts within {within} already", self.shadow.name(id)),
            );
        }
    }

    /// 3, for the barrier itself: what blocks it in the phase before is there. Earlier barriers are latched.
    fn barrier(&self, look: &mut Look<'_>, phase: PhaseId) {
        for (id, spec) in self.shadow.set.ids().zip(&self.shadow.set.units) {
            if spec.phase.0.saturating_add(1) != phase.0 || !spec.blocks_phase {
                continue;
            }
            let Some(status) = look.engine.status(id) else { continue };
            let is_there = matches!(status.state, StateName::Ready | StateName::Completed);
            let passed_before = self.shadow.unit(id).is_some_and(|unit| unit.has_passed);
            let rests = spec.listen.is_lazy && self.shadow.state(id) == StateName::Waiting;
            if status.desired.is_up() && !is_there && !passed_before && !rests {
                look.violate(3, format!("phase {} opens while {} is {}", phase.0, spec.name, status.state));
            }
        }
    }

    /// 6: a helper is of the unit's kind. 2: a shutdown leaves alone what is not ours. 1: one start, one lever.
    fn helper(&self, look: &mut Look<'_>, id: UnitId, role: &Role) {
        let name = self.shadow.name(id);
        match role {
            Role::StopCommand { run } => {
                self.names_live_run(look, *run, "a stop command");
                self.order_down(look, *run, id);
            }
            Role::Lever(lever) => {
                if self.shadow.spec(id).is_none_or(|spec| spec.kind != UnitKind::External) {
                    look.violate(6, format!("{name} has a lever pulled and is not external"));
                }
                let is_up = self.shadow.state(id) == StateName::Starting;
                let was_pulled = self.shadow.unit(id).is_some_and(|unit| unit.was_pulled);
                if *lever == Lever::Start && (!is_up || was_pulled) {
                    look.violate(
                        1,
                        format!("{name} is {} and started by its lever again", self.shadow.state(id)),
                    );
                }
                if self.shadow.shutdown_since.is_some() {
                    look.violate(2, format!("a lever of {name} is pulled in a shutdown"));
                }
            }
            Role::Repair { .. } | Role::Reload { .. } => self.evidence_before_repair(look, id),
        }
    }

    /// 21: a run of a job begins beside no more others than its `overlap` allows, and within what all may weigh.
    fn job_run(&self, look: &mut Look<'_>, id: UnitId) {
        let (name, set) = (self.shadow.name(id), &self.shadow.set);
        let Some(job) = self.shadow.spec(id).and_then(|spec| spec.job.as_deref()) else { return };
        let most = match job.overlap {
            Overlap::Skip | Overlap::Queue | Overlap::Replace => 1,
            Overlap::Allow { most } => most,
        };
        // Until it is released its output is judged.
        let runs = || self.shadow.runs.values().filter(|run| self.shadow.is_job(run.unit));
        let own = runs().filter(|run| run.unit == id).count();
        if own >= usize::try_from(most).unwrap_or(usize::MAX) {
            look.violate(21, format!("{name} is spawned beside {own} runs of it, of {most}"));
        }
        let weight =
            |id: UnitId| set.unit(id).and_then(|spec| spec.job.as_deref()).map_or(0, |job| job.weight);
        let load = runs().map(|run| weight(run.unit)).fold(weight(id), u32::saturating_add);
        if let Some(most) = set.concurrency.filter(|most| load > *most) {
            look.violate(21, format!("{name} is spawned and runs weigh {load} then, of {most}"));
        }
    }

    /// 21: output is judged of what is over, once.
    fn judge(&self, look: &mut Look<'_>, run: RunId, id: UnitId) {
        let name = self.shadow.name(id);
        if self.shadow.runs.get(&run).map(|run| run.stage) != Some(Stage::Over) {
            look.violate(21, format!("{name}: the output of run {} is judged while it lives", run.0));
        }
        if self.shadow.judging.contains(&run) {
            look.violate(21, format!("{name}: the output of run {} is judged twice", run.0));
        }
    }

    /// 17: nobody who waits for a lazy unit is left waiting for a stranger's connection.
    fn await_connection(&self, look: &mut Look<'_>, id: UnitId) {
        let name = self.shadow.name(id);
        if self.shadow.spec(id).is_none_or(|spec| !spec.listen.is_lazy) {
            look.violate(6, format!("{name} awaits a connection and is not lazy"));
        }
        if self.shadow.is_present(id) {
            look.violate(6, format!("{name} awaits a connection and lives"));
        }
        if self.shadow.awaited.contains(&id) {
            look.violate(6, format!("{name} awaits a connection twice"));
        }
    }

    /// 6: no order names a run that is over.
    fn names_live_run(&self, look: &mut Look<'_>, run: RunId, what: &str) {
        let stage = self.shadow.runs.get(&run).map(|run| run.stage);
        if stage.is_none_or(|stage| stage == Stage::Over) {
            look.violate(6, format!("{what} for run {}, which is over", run.0));
        }
    }

    fn signal(&mut self, look: &mut Look<'_>, run: RunId, signal: SignalNumber, _scope: SignalScope) {
        self.names_live_run(look, run, "a signal");
        let Some(found) = self.shadow.runs.get(&run) else { return };
        let unit = found.unit;
        self.evidence_before_stop(look, run, unit);
        if signal == SignalNumber::KILL {
            self.kill(look, run, unit);
        } else {
            self.order_down(look, run, unit);
        }
    }

    /// 8: SIGKILL comes after the stop signal and the grace, or because somebody said so.
    fn kill(&self, look: &mut Look<'_>, run: RunId, id: UnitId) {
        let (Some(found), Some(spec)) = (self.shadow.runs.get(&run), self.shadow.spec(id)) else { return };
        let grace = spec.stop.grace;
        let is_after_grace = found.stop_began.is_some_and(|began| look.now >= began.after(grace))
            || found.noted_deadline.is_some_and(|deadline| look.now >= deadline);
        let is_said = self.shadow.is_kill_all
            || found.kill_asked
            || found.stage == Stage::Ordered // there is nobody yet who could heed another signal
            || spec.stop.signal == SignalNumber::KILL
            || grace.is_zero();
        let timeout = self.shadow.set.shutdown_timeout;
        let is_shutdown_over =
            self.shadow.shutdown_since.is_some_and(|since| look.now >= since.after(timeout));
        if !is_after_grace && !is_said && !is_shutdown_over {
            let began = found.stop_began.map(|at| look.now.since(at));
            let since = began.map_or_else(
                || "without a stop signal".to_owned(),
                |since| format!("{} after it began to stop, of {}", Pretty(since), Pretty(grace)),
            );
            look.violate(8, format!("{} gets SIGKILL {since}", spec.name));
        }
    }

    /// 4: at the first stop order of a run that lives, nobody who requires it lives.
    fn order_down(&self, look: &mut Look<'_>, run: RunId, id: UnitId) {
        let Some(found) = self.shadow.runs.get(&run) else { return };
        let is_first = found.stop_began.is_none() && found.stage != Stage::LeaderGone;
        if is_first && !found.kill_asked {
            self.dependents_are_down(look, id);
        }
    }

    fn dependents_are_down(&self, look: &mut Look<'_>, id: UnitId) {
        let Some(unit) = self.shadow.unit(id) else { return };
        let is_said = unit.is_spared_order || self.shadow.is_kill_all;
        let by_person = self.shadow.shutdown_since.is_some() || self.shadow.is_stopped_by_person(id);
        if is_said || !by_person {
            return;
        }
        for (dependent, edge) in self.shadow.dependents(id) {
            let is_given_up = self.shadow.unit(*dependent).is_some_and(|unit| unit.is_unkillable);
            let needs_it = edge.required && edge.condition != Condition::Completed && !is_given_up;
            if needs_it && self.shadow.is_present(*dependent) {
                let other = self.shadow.name(*dependent);
                look.violate(
                    4,
                    format!("{} is stopped while {other} requires it and lives", self.shadow.name(id)),
                );
            }
        }
    }

    /// 10: the delay fits the attempt, and attempts do not shrink by themselves.
    fn backoff(&self, look: &mut Look<'_>, id: UnitId) {
        let (Some(spec), Some(unit)) = (self.shadow.spec(id), self.shadow.unit(id)) else { return };
        let Some((attempt, until)) = unit.note.as_ref().and_then(|note| match note.life {
            NotedState::Backoff { until, .. } => Some((note.attempt, until)),
            NotedState::Inactive
            | NotedState::Starting
            | NotedState::Ready
            | NotedState::Unhealthy
            | NotedState::Stopping { .. }
            | NotedState::Failed { .. }
            | NotedState::Completed => None,
        }) else {
            return look.violate(10, format!("{} is in backoff and the keeper was not told", spec.name));
        };
        let delay = until.since(look.now);
        if unit.is_pausing {
            return;
        }
        if let Some(last) = unit.last_attempt.filter(|last| *last > attempt) {
            look.violate(10, format!("{}: attempt {attempt} comes after attempt {last}", spec.name));
        }
        let backoff = &spec.restart.backoff;
        let (low, _) = bounds(backoff, attempt.saturating_sub(1));
        let (_, high) = bounds(backoff, attempt);
        if delay < low || delay > high {
            let (delay, low, high) = (Pretty(delay), Pretty(low), Pretty(high));
            look.violate(10, format!("{}: attempt {attempt} waits {delay}, not {low} to {high}", spec.name));
        }
    }

    /// 12, in part: a probe of a unit that lives, one execution at a time.
    fn start_probe(&self, look: &mut Look<'_>, id: UnitId, index: u16) {
        let name = self.shadow.name(id);
        if !self.shadow.is_present(id) {
            look.violate(12, format!("{name} is probed and nothing of it lives"));
        }
        if self.shadow.probes.values().any(|probe| *probe == (id, index)) {
            look.violate(12, format!("{name}: probe {index} is started while it runs"));
        }
    }
}

/// The shortest and the longest delay that an attempt may have.
fn bounds(backoff: &Backoff, attempt: u32) -> (Duration, Duration) {
    let max = nanos(backoff.max);
    let mut base = u128::from(nanos(backoff.initial));
    for _ in 0..attempt {
        let grown = base.saturating_mul(u128::from(backoff.factor_permille)).checked_div(1000).unwrap_or(0);
        let before = std::mem::replace(&mut base, grown.min(u128::from(max)));
        if before == base {
            break;
        }
    }
    let spread = |permille: u32| {
        let scaled = base.saturating_mul(u128::from(permille)).checked_div(1000).unwrap_or(0);
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX).min(max))
    };
    let jitter = backoff.jitter_permille.min(1000);
    let low = spread(1000_u32.saturating_sub(jitter)).saturating_sub(Duration::from_nanos(1));
    (low, spread(1000_u32.saturating_add(jitter)).saturating_add(Duration::from_nanos(1)))
}
