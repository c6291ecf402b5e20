//! The recovery ladder: what is tried for a unit that does not work, one rung after the other.
//!
//! A unit is on its ladder from its first failure until it is stable. A rung that did not help gives way
//! to the next; one that helped only for a while does, too. The last rung that acts is repeated. A crash
//! follows the restart policy, whose restart stands for a rung `restart`.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::{Fact, Role, SignalScope};
use crate::engine::event::HelperOutcome;
use crate::engine::id::{HelperId, UnitId};
use crate::engine::incident::CAPTURE_WAIT;
use crate::engine::policy;
use crate::engine::state::{FailureCause, Health, StateName, StopReason, UnitState};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::spec::recover::{Reload, Rung};

/// A reload by command is killed after this long, as a repair program is that says nothing else.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How far the present rung has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is being tried.
    Idle,
    /// Its helper works.
    Working,
    /// What could be done is done: it has helped by `until`, or has not. `said`: by the helper.
    Settling { until: Timestamp, said: Box<str> },
    /// These are restarted first.
    Others { left: BTreeSet<UnitId>, since: Timestamp },
    /// Its own run is being ended for the restart.
    Ending,
    /// Its next start shows whether the restart helped. Not told: the policy's, which stands for a rung.
    Restarting { is_told: bool },
    /// All rungs were tried; the last that acts is tried again then.
    Pausing { until: Timestamp },
}

impl Engine {
    /// An unhealthy unit that is wanted: the next rung, unless one is being tried.
    pub(crate) fn climb(&mut self, id: UnitId) {
        let is_free = self.share(id).is_some_and(|share| share.step == Step::Idle);
        if !is_free || !self.units[id].desired.is_up() || self.units[id].state != UnitState::Unhealthy {
            return;
        }
        if self.holds(id) {
            return;
        }
        self.pass_alerts(id);
        if self.is_being_captured(id) && self.alters_at_once(id) {
            if self.timers.at(Some(id), Timer::CaptureWait).is_none() {
                self.timers.set(Some(id), Timer::CaptureWait, self.now.mono.after(CAPTURE_WAIT));
            }
            return;
        }
        self.climb_now(id);
    }

    /// Without a look at its evidence.
    fn climb_now(&mut self, id: UnitId) {
        self.timers.cancel(Some(id), Timer::CaptureWait);
        let Some(at) = self.share(id).map(|share| share.rung) else { return };
        match self.rung(id, at) {
            Some(_) => self.try_rung(id, at),
            None => self.repeat(id),
        }
    }

    /// The next rung changes what is to be kept as evidence. A stop, and so a restart of nothing else, waits for it
    /// by itself.
    fn alters_at_once(&self, id: UnitId) -> bool {
        let next = self.share(id).and_then(|share| self.rung(id, share.rung));
        match next.or_else(|| self.last_acting(id).map(|(_, rung)| rung)) {
            Some(Rung::Exec { .. } | Rung::Reload(_)) => true,
            Some(Rung::Restart { with }) => !with.is_empty(),
            Some(Rung::Stop | Rung::Alert { .. }) | None => false,
        }
    }

    /// Its evidence is there, or does not come.
    pub(crate) fn climb_after_capture(&mut self, id: UnitId) {
        if self.is_job(id) {
            return; // its next run is what heals it
        }
        let is_free = self.share(id).is_some_and(|share| share.step == Step::Idle);
        let is_wanted = self.units[id].desired.is_up();
        if is_free && is_wanted && self.units[id].state == UnitState::Unhealthy && !self.holds(id) {
            self.climb_now(id);
        }
    }

    pub(crate) fn rung(&self, id: UnitId, at: u16) -> Option<Rung> {
        self.spec(id).recover.rungs.get(usize::from(at)).cloned()
    }

    pub(crate) fn tell_rung(&mut self, id: UnitId, at: u16) {
        let (Some(incident), Some(rung)) = (self.units[id].incident, self.rung(id, at)) else { return };
        let words = self.rung_words(&rung).into();
        self.facts.push(Fact::RungTried { incident, unit: id, index: at, rung: words });
    }

    fn tell_repeated(&mut self, id: UnitId, at: u16) {
        let (Some(incident), Some(rung)) = (self.units[id].incident, self.rung(id, at)) else { return };
        let rung = self.rung_words(&rung).into();
        self.facts.push(Fact::RungRepeated { incident, unit: id, index: at, rung });
    }

    fn rung_words(&self, rung: &Rung) -> String {
        match rung {
            Rung::Exec { .. } => "its repair program".to_owned(),
            Rung::Restart { with } if with.is_empty() => "a restart".to_owned(),
            Rung::Restart { with } => {
                let names: Vec<&str> = with.iter().map(|unit| self.spec(*unit).name.as_str()).collect();
                format!("a restart with {}", names.join(", "))
            }
            Rung::Reload(Reload::Signal(signal)) => format!("a reload by {signal}"),
            Rung::Reload(Reload::Command(_)) => "its reload command".to_owned(),
            Rung::Stop => "a stop for good".to_owned(),
            Rung::Alert { channel } => format!("an alert to {channel}"),
        }
    }

    fn try_rung(&mut self, id: UnitId, at: u16) {
        let Some(rung) = self.rung(id, at) else { return };
        if let Some(share) = self.share_mut(id) {
            share.rung = at;
        }
        self.tell_rung(id, at);
        match rung {
            Rung::Exec { .. } | Rung::Reload(Reload::Command(_)) => self.begin_repair(id),
            Rung::Reload(Reload::Signal(signal)) => {
                if let Some(run) = self.units[id].run.filter(|_| self.units[id].is_running()) {
                    self.signal(run.id, signal, SignalScope::Main);
                }
                self.settle_rung(id, "it did not work in time after the signal".into());
            }
            Rung::Restart { with } => self.restart_with(id, &with),
            Rung::Stop => {
                let cause = FailureCause::Unhealthy(self.probe_words(id));
                self.begin_stop(id, StopReason::Failed(FailureCause::RungStopped(Box::new(cause))));
            }
            Rung::Alert { .. } => {} // `pass_alerts` has told them
        }
    }

    /// Starts the helper of the present rung; after a supervisor was lost, again.
    fn begin_repair(&mut self, id: UnitId) {
        let Some((incident, at)) = self.units[id].incident.zip(self.share(id).map(|share| share.rung)) else {
            return;
        };
        let (role, timeout) = match self.rung(id, at) {
            Some(Rung::Exec { timeout, .. }) => {
                let cause = self.cause_for_repair(id);
                (Role::Repair { rung: at, incident, cause }, timeout)
            }
            Some(Rung::Reload(Reload::Command(_))) => (Role::Reload { rung: at, incident }, RELOAD_TIMEOUT),
            Some(
                Rung::Reload(Reload::Signal(_)) | Rung::Restart { .. } | Rung::Stop | Rung::Alert { .. },
            )
            | None => return,
        };
        self.set_step(id, Step::Working);
        let helper = self.run_helper(id, role, timeout);
        self.units[id].repair = Some(helper);
    }

    fn cause_for_repair(&self, id: UnitId) -> Box<str> {
        match self.units[id].state.automatic_after() {
            Some(after) => after.to_string().into(),
            None => self.probe_words(id),
        }
    }

    pub(crate) fn on_repaired(&mut self, id: UnitId, helper: HelperId, outcome: HelperOutcome, said: &str) {
        if self.units[id].repair != Some(helper) {
            return; // an earlier rung's, which was cancelled or helped before it ended
        }
        self.units[id].repair = None;
        if self.share(id).is_none_or(|share| share.step != Step::Working) {
            return;
        }
        if self.units[id].state.name() == StateName::Backoff {
            return self.on_repaired_before_start(id, outcome);
        }
        let last = said.lines().last().unwrap_or_default();
        let with_words = |ended: String| if last.is_empty() { ended } else { format!("{ended}: {last}") };
        match outcome {
            HelperOutcome::NotStarted => self.rung_failed(id, &with_words("cannot be started".to_owned())),
            HelperOutcome::Ended(exit) => self.settle_rung(id, with_words(exit.to_string())),
            HelperOutcome::TimedOut => self.settle_rung(id, with_words("took too long".to_owned())),
        }
    }

    /// What could be done is done; now it must work within `settle`.
    fn settle_rung(&mut self, id: UnitId, said: String) {
        let until = self.now.mono.after(self.spec(id).recover.settle);
        self.set_step(id, Step::Settling { until, said: said.into() });
        self.timers.set(Some(id), Timer::RungSettle, until);
        self.ask_soon(id);
    }

    pub(crate) fn on_rung_settled(&mut self, id: UnitId) {
        if let Some(Step::Settling { said, .. }) = self.share(id).map(|share| share.step.clone()) {
            self.rung_failed(id, &said);
        }
    }

    fn rung_failed(&mut self, id: UnitId, said: &str) {
        self.end_rung(id, false, said);
        self.climb(id);
    }

    /// The present rung is over, and the next one is next.
    fn end_rung(&mut self, id: UnitId, has_helped: bool, said: &str) {
        let incident = self.units[id].incident;
        let Some((incident, share)) = incident.zip(self.share_mut(id)) else { return };
        let index = share.rung;
        share.rung = index.saturating_add(1);
        share.step = Step::Idle;
        self.facts.push(Fact::RungEnded { incident, unit: id, index, has_helped, said: said.into() });
    }

    fn set_step(&mut self, id: UnitId, step: Step) {
        if let Some(share) = self.share_mut(id) {
            share.step = step;
        }
    }

    /// Past the last rung: the last that acts, again. A restart brings its own backoff.
    fn repeat(&mut self, id: UnitId) {
        let Some((at, rung)) = self.last_acting(id) else { return };
        match rung {
            Rung::Restart { .. } | Rung::Stop => self.try_rung(id, at),
            Rung::Exec { .. } | Rung::Reload(_) | Rung::Alert { .. } => {
                let spec = self.spec(id);
                let attempt = self.units[id].attempt;
                let delay =
                    policy::delay(&spec.restart.backoff, attempt, self.options.seed, spec.name.as_str());
                let until = self.now.mono.after(delay.max(Duration::from_millis(1)));
                self.units[id].attempt = attempt.saturating_add(1);
                self.touch(id);
                self.set_step(id, Step::Pausing { until });
                self.timers.set(Some(id), Timer::RungPause, until);
            }
        }
    }

    fn last_acting(&self, id: UnitId) -> Option<(u16, Rung)> {
        let acts = |rung: &Rung| match rung {
            Rung::Exec { .. } | Rung::Restart { .. } | Rung::Reload(_) | Rung::Stop => true,
            Rung::Alert { .. } => false,
        };
        let found = (0_u16..).zip(self.spec(id).recover.rungs.iter()).filter(|(_, rung)| acts(rung)).last();
        found.map(|(at, rung)| (at, rung.clone()))
    }

    pub(crate) fn on_rung_pause_over(&mut self, id: UnitId) {
        if !self.share(id).is_some_and(|share| matches!(share.step, Step::Pausing { .. })) {
            return;
        }
        self.set_step(id, Step::Idle);
        if self.holds(id) {
            return;
        }
        if let Some((at, _)) = self.last_acting(id) {
            self.try_rung(id, at);
        }
    }

    fn restart_with(&mut self, id: UnitId, with: &[UnitId]) {
        let now = self.now.mono;
        let mut left = BTreeSet::new();
        for other in with.iter().copied().filter(|other| *other != id) {
            let unit = &self.units[other];
            let limit = self.spec(other).restart.limit;
            let may_start = limit.is_none_or(|limit| !policy::is_over_limit(&unit.starts, &limit, now));
            match &unit.state {
                UnitState::Ready | UnitState::Unhealthy if unit.desired.is_up() && may_start => {
                    self.to_stop.push_back((other, StopReason::Heals(id)));
                    left.insert(other);
                }
                UnitState::Starting => {
                    left.insert(other); // it is on its way already
                }
                UnitState::Stopping { why: StopReason::Heals(_), .. } => {
                    left.insert(other);
                }
                UnitState::Ready
                | UnitState::Unhealthy
                | UnitState::Stopping { .. }
                | UnitState::Inactive
                | UnitState::Waiting { .. }
                | UnitState::Backoff { .. }
                | UnitState::Failed { .. }
                | UnitState::Completed => {}
            }
        }
        self.wait_for_others(id, left, now);
    }

    fn wait_for_others(&mut self, id: UnitId, left: BTreeSet<UnitId>, since: Timestamp) {
        if left.is_empty() {
            return self.end_for_restart(id);
        }
        for other in &left {
            self.healing.entry(*other).or_default().insert(id);
        }
        self.set_step(id, Step::Others { left, since });
    }

    fn end_for_restart(&mut self, id: UnitId) {
        self.set_step(id, Step::Ending);
        let cause = FailureCause::Unhealthy(self.probe_words(id));
        self.to_stop.push_back((id, StopReason::Failed(cause)));
        self.mark(id);
    }

    /// Those that waited for its restart go on once it is up, or will not come at once.
    pub(crate) fn tell_the_healed(&mut self, other: UnitId, state: StateName) {
        match state {
            StateName::Starting | StateName::Stopping | StateName::Unhealthy => return,
            StateName::Ready
            | StateName::Completed
            | StateName::Backoff
            | StateName::Failed
            | StateName::Inactive
            | StateName::Waiting => {}
        }
        for id in self.healing.remove(&other).unwrap_or_default() {
            let Some(Step::Others { left, .. }) = self.share_mut(id).map(|share| &mut share.step) else {
                continue;
            };
            left.remove(&other);
            if left.is_empty() {
                self.end_for_restart(id);
            }
        }
    }

    /// It is ready: whatever was being tried has helped, so far.
    pub(crate) fn has_helped(&mut self, id: UnitId) {
        let Some(step) = self.share(id).map(|share| share.step.clone()) else { return };
        let words = match self.units[id].health {
            Health::Passing => self.probe_words(id),
            Health::Unknown | Health::Failing => "ready".into(),
        };
        self.timers.cancel(Some(id), Timer::RungSettle);
        self.timers.cancel(Some(id), Timer::RungPause);
        match step {
            Step::Idle => {}
            Step::Pausing { .. } => self.set_step(id, Step::Idle),
            Step::Restarting { is_told: false } => self.next_rung_silently(id),
            Step::Working
            | Step::Settling { .. }
            | Step::Others { .. }
            | Step::Ending
            | Step::Restarting { is_told: true } => self.end_rung(id, true, &words),
        }
    }

    /// A restart whose start was ready before its probes had answered, and they fail.
    pub(crate) fn has_not_helped(&mut self, id: UnitId) {
        match self.share(id).map(|share| share.step.clone()) {
            Some(Step::Restarting { is_told: true }) => {
                let words = self.probe_words(id);
                self.end_rung(id, false, &words);
            }
            Some(Step::Restarting { is_told: false }) => self.next_rung_silently(id),
            Some(
                Step::Idle
                | Step::Working
                | Step::Settling { .. }
                | Step::Others { .. }
                | Step::Ending
                | Step::Pausing { .. },
            )
            | None => {}
        }
    }

    /// Whether its restart helped is still to be seen.
    pub(crate) fn is_restarted(&self, id: UnitId) -> bool {
        self.share(id).is_some_and(|share| matches!(share.step, Step::Restarting { .. }))
    }

    fn next_rung_silently(&mut self, id: UnitId) {
        if let Some(share) = self.share_mut(id) {
            share.rung = share.rung.saturating_add(1);
            share.step = Step::Idle;
        }
    }

    /// It has no run to try anything on any more, or is not wanted.
    pub(crate) fn cancel_rung(&mut self, id: UnitId, said: &str) {
        if let Some(helper) = self.units[id].repair.take() {
            self.cancel_helper(helper);
        }
        self.timers.cancel(Some(id), Timer::RungSettle);
        self.timers.cancel(Some(id), Timer::RungPause);
        match self.share(id).map(|share| share.step.clone()) {
            None | Some(Step::Idle | Step::Ending | Step::Restarting { .. }) => {}
            Some(Step::Pausing { .. }) => self.set_step(id, Step::Idle),
            Some(Step::Working | Step::Settling { .. } | Step::Others { .. }) => {
                self.end_rung(id, false, said);
            }
        }
    }

    /// A person takes over: the next failure begins at the foot.
    pub(crate) fn leave_ladder(&mut self, id: UnitId) {
        self.cancel_rung(id, "a person took over");
        if self.share(id).is_some_and(|share| share.rung > 0 || share.step != Step::Idle)
            && let Some(share) = self.share_mut(id)
        {
            share.rung = 0;
            share.step = Step::Idle;
        }
    }

    /// Its run is over after a failure. True: a restart by a rung goes on, whatever the policy says.
    pub(crate) fn climbs_after(&mut self, id: UnitId, cause: &FailureCause) -> bool {
        let Some(share) = self.share(id) else { return false };
        let is_restart = matches!(self.rung(id, share.rung), Some(Rung::Restart { .. }));
        match share.step {
            Step::Ending => {
                self.set_step(id, Step::Restarting { is_told: true });
                return true;
            }
            Step::Restarting { is_told } => {
                if is_told {
                    self.end_rung(id, false, &cause.to_string());
                } else {
                    self.next_rung_silently(id);
                }
            }
            Step::Idle if is_restart => {
                // What the policy does now, or what was begun and not noted.
                self.set_step(id, Step::Restarting { is_told: false });
                return matches!(cause, FailureCause::Unhealthy(_));
            }
            Step::Idle
            | Step::Working
            | Step::Settling { .. }
            | Step::Others { .. }
            | Step::Pausing { .. } => {}
        }
        false
    }

    /// Goes on from the rung that was noted.
    pub(crate) fn resume_ladder(&mut self, id: UnitId) {
        let Some(share) = self.share(id).cloned() else { return };
        let is_unhealthy = self.units[id].state == UnitState::Unhealthy && self.units[id].desired.is_up();
        match share.step {
            Step::Working if is_unhealthy || self.is_in_backoff(id) => {
                self.tell_repeated(id, share.rung);
                self.begin_repair(id);
            }
            Step::Settling { until, .. } if is_unhealthy => {
                self.timers.set(Some(id), Timer::RungSettle, until);
            }
            Step::Pausing { until } if is_unhealthy => self.timers.set(Some(id), Timer::RungPause, until),
            Step::Others { left, since } if is_unhealthy => self.resume_others(id, &left, since),
            Step::Ending if is_unhealthy => self.end_for_restart(id),
            Step::Idle if is_unhealthy => self.resume_begun(id, share.rung),
            Step::Working | Step::Settling { .. } | Step::Others { .. } | Step::Pausing { .. } => {
                self.cancel_rung(id, "cut short");
            }
            Step::Ending | Step::Restarting { .. } => {
                let can_be_asked = !self.units[id].probes.is_empty();
                match self.units[id].state {
                    UnitState::Ready if can_be_asked => {} // its probes will tell
                    UnitState::Ready => self.has_helped(id),
                    UnitState::Unhealthy => self.has_not_helped(id),
                    UnitState::Inactive
                    | UnitState::Waiting { .. }
                    | UnitState::Starting
                    | UnitState::Stopping { .. }
                    | UnitState::Backoff { .. }
                    | UnitState::Failed { .. }
                    | UnitState::Completed => {}
                }
            }
            Step::Idle => {}
        }
    }

    fn is_in_backoff(&self, id: UnitId) -> bool {
        self.units[id].state.name() == StateName::Backoff && self.units[id].desired.is_up()
    }

    /// Each is restarted once: whoever runs since before the rung began still has to go.
    fn resume_others(&mut self, id: UnitId, left: &BTreeSet<UnitId>, since: Timestamp) {
        let mut still = BTreeSet::new();
        for other in left.iter().copied() {
            let unit = &self.units[other];
            let is_old = unit.run.is_some_and(|run| run.ordered_at <= since);
            match &unit.state {
                UnitState::Ready | UnitState::Unhealthy if is_old && unit.desired.is_up() => {
                    self.to_stop.push_back((other, StopReason::Heals(id)));
                    still.insert(other);
                }
                UnitState::Starting | UnitState::Stopping { .. } => {
                    still.insert(other);
                }
                UnitState::Ready
                | UnitState::Unhealthy
                | UnitState::Inactive
                | UnitState::Waiting { .. }
                | UnitState::Backoff { .. }
                | UnitState::Failed { .. }
                | UnitState::Completed => {}
            }
        }
        self.wait_for_others(id, still, since);
    }

    /// The supervisor was lost between the notes of one step: the others stop already.
    fn resume_begun(&mut self, id: UnitId, at: u16) {
        let Some(Rung::Restart { with }) = self.rung(id, at) else { return };
        let heals = |other: &UnitId| {
            matches!(self.units[*other].state,
                UnitState::Stopping { why: StopReason::Heals(healed), .. } if healed == id)
        };
        let left: BTreeSet<UnitId> = with.into_iter().filter(heals).collect();
        if !left.is_empty() {
            self.wait_for_others(id, left, self.now.mono);
        }
    }

    /// Its present start is that of a rung `restart`.
    pub(crate) fn is_restarted_by_ladder(&self, id: UnitId) -> bool {
        self.share(id).is_some_and(|share| share.step == Step::Restarting { is_told: true })
    }

    /// A restart by its ladder did not bring it up: the rung that comes next, of those that need no process.
    pub(crate) fn next_without_process(&mut self, id: UnitId) -> Option<Rung> {
        if self.explained_by_trouble_of(id).is_some() {
            return None;
        }
        for _ in 0..=self.spec(id).recover.rungs.len() {
            self.pass_alerts(id);
            let at = self.share(id).map(|share| share.rung)?;
            let rung = self.rung(id, at)?;
            match &rung {
                Rung::Exec { .. } | Rung::Stop => return Some(rung),
                Rung::Restart { with } => return Some(rung.clone()).filter(|_| with.is_empty()),
                Rung::Reload(_) => {
                    self.tell_rung(id, at);
                    self.end_rung(id, false, "no process of it runs");
                }
                Rung::Alert { .. } => {} // `pass_alerts` has passed them
            }
        }
        None
    }

    pub(crate) fn tell_next_rung(&mut self, id: UnitId) {
        if let Some(at) = self.share(id).map(|share| share.rung) {
            self.tell_rung(id, at);
        }
    }

    /// In its backoff: the start that comes shows whether the rung helped.
    pub(crate) fn try_before_start(&mut self, id: UnitId, rung: &Rung) {
        match rung {
            Rung::Exec { .. } => {
                self.tell_next_rung(id);
                self.begin_repair(id);
            }
            Rung::Restart { .. } => {
                self.tell_next_rung(id);
                self.set_step(id, Step::Restarting { is_told: true });
            }
            Rung::Reload(_) | Rung::Stop | Rung::Alert { .. } => {}
        }
    }

    fn on_repaired_before_start(&mut self, id: UnitId, outcome: HelperOutcome) {
        self.mark(id);
        match outcome {
            HelperOutcome::Ended(_) | HelperOutcome::TimedOut => {
                self.set_step(id, Step::Restarting { is_told: true });
            }
            HelperOutcome::NotStarted => {
                self.end_rung(id, false, "cannot be started");
                match self.next_without_process(id) {
                    Some(Rung::Stop) => self.stop_before_start(id),
                    Some(rung) => self.try_before_start(id, &rung),
                    None => {}
                }
            }
        }
    }

    fn stop_before_start(&mut self, id: UnitId) {
        self.tell_next_rung(id);
        if let Some(cause) = self.units[id].state.automatic_after().cloned() {
            self.give_up(id, FailureCause::RungStopped(Box::new(cause)));
        }
    }

    /// What is being tried, for people.
    pub(crate) fn climbing_words(&self, id: UnitId) -> Option<String> {
        let share = self.share(id)?;
        let rung = self.rung_words(&self.rung(id, share.rung)?);
        match &share.step {
            Step::Idle | Step::Ending | Step::Restarting { .. } => None,
            Step::Working => Some(format!("{rung} runs")),
            Step::Settling { .. } => Some(format!("waits for {rung} to help")),
            Step::Others { left, .. } => {
                let names: Vec<&str> = left.iter().map(|unit| self.spec(*unit).name.as_str()).collect();
                Some(format!("restarts {} first", names.join(", ")))
            }
            Step::Pausing { .. } => Some("tries again soon".to_owned()),
        }
    }
}
