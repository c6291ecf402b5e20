//! Probes: when they are due, and what their answers make of a unit.

use crate::engine::Engine;
use crate::engine::effect::{Effect, Fact};
use crate::engine::event::Verdict;
use crate::engine::id::{ProbeRunId, UnitId};
use crate::engine::ladder::Step;
use crate::engine::policy;
use crate::engine::ready::{Readiness, Sign};
use crate::engine::state::{FailureCause, Health, UnitState};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::spec::UnitKind;
use crate::unit::spec::probe::Retries;
use std::time::Duration;

/// The first probe of a starting unit comes at once; each failed one doubles this until it is `interval`:
/// a service that listens after 80 ms is ready after about 100, not after a whole interval.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// What worked before a supervisor was lost is looked at again within this time, however long its interval.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The recent answers of one probe of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProbeTrack {
    /// The execution under way.
    pub(crate) running: Option<ProbeRunId>,
    /// When it began, by its beat: late wake-ups do not move it.
    started_at: Timestamp,
    due: Option<Timestamp>,
    /// Executions of this run so far.
    count: u32,
    /// Counted answers, the newest in bit 0: 1 is a failure.
    history: u64,
    counted: u8,
    errors_in_a_row: u8,
    /// It passed once in this run.
    has_passed: bool,
    health: Option<Health>,
    /// When the first failure of the present spell was asked for.
    pub(crate) failing_since: Option<Timestamp>,
    /// The last answer in words.
    pub(crate) last: Option<Box<str>>,
}

impl ProbeTrack {
    fn health(&self) -> Health {
        self.health.unwrap_or(Health::Unknown)
    }

    /// A failing probe passes again after so many `successes` in a row.
    fn on_pass(&mut self, retries: Retries, successes: u8) {
        self.errors_in_a_row = 0;
        self.push(false);
        self.has_passed = true;
        if retries.count == retries.of || self.failures_within(retries.of) == 0 {
            self.failing_since = None;
        }
        let is_convincing = self.health != Some(Health::Failing) || self.passes_in_a_row() >= successes;
        if is_convincing && self.failures_within(retries.of) < retries.count {
            self.health = Some(Health::Passing);
        }
    }

    fn on_fail(&mut self, retries: Retries) {
        self.errors_in_a_row = 0;
        self.failing_since.get_or_insert(self.started_at);
        self.push(true);
        if self.failures_within(retries.of) >= retries.count {
            self.health = Some(Health::Failing);
        }
    }

    /// True when it cannot be asked any more: as many errors in a row as failures would be too many.
    fn on_error(&mut self, retries: Retries) -> bool {
        self.errors_in_a_row = self.errors_in_a_row.saturating_add(1);
        let has_given_up = self.errors_in_a_row >= retries.count;
        if has_given_up {
            self.health = Some(Health::Unknown);
        }
        has_given_up
    }

    /// The last word of it, if it had one, was that it could not be asked.
    fn is_unasked(&self) -> bool {
        self.errors_in_a_row > 0
    }

    fn push(&mut self, is_failure: bool) {
        self.history = (self.history << 1) | u64::from(is_failure);
        self.counted = self.counted.saturating_add(1).min(64);
    }

    fn passes_in_a_row(&self) -> u8 {
        let passes = self.history.trailing_zeros().min(u32::from(self.counted));
        u8::try_from(passes).unwrap_or(u8::MAX)
    }

    fn failures_within(&self, of: u8) -> u8 {
        let window = of.min(self.counted).min(64);
        let mask = match window {
            64 => u64::MAX,
            shorter => (1_u64 << shorter) - 1,
        };
        u8::try_from((self.history & mask).count_ones()).unwrap_or(u8::MAX)
    }
}

impl Engine {
    /// A run began to live: its probes start over.
    pub(crate) fn start_probing(&mut self, id: UnitId) {
        let now = self.now.mono;
        self.forget_probes(id);
        let is_awaited =
            self.units[id].state == UnitState::Starting && self.readiness(id) == Readiness::Probes;
        for index in 0..u16::try_from(self.units[id].probes.len()).unwrap_or(u16::MAX) {
            let delay = if is_awaited { Duration::ZERO } else { self.first_delay(id, index) };
            let due = now.after(self.settling_gap(id).map_or(delay, |soon| delay.min(soon)));
            if due <= now {
                self.start_probe(id, index);
            } else {
                self.timers.set(Some(id), Timer::ProbeDue(index), due);
            }
        }
    }

    /// Where nobody waits for the first answer it comes within a share of the interval that the name gives:
    /// units that start together, or are taken over together, do not all ask at once.
    fn first_delay(&self, id: UnitId, index: u16) -> Duration {
        let spec = self.spec(id);
        let interval = spec.health.get(usize::from(index)).map_or(Duration::ZERO, |probe| probe.interval);
        let is_known = self.units[id].run.as_ref().is_some_and(|run| run.start_period_over);
        let within = if is_known { interval.min(LOOK_AGAIN) } else { interval };
        policy::share(within, self.options.seed, spec.name.as_str(), u64::from(index))
    }

    /// Cancels what is under way and forgets all answers: they speak of an earlier run.
    pub(crate) fn forget_probes(&mut self, id: UnitId) {
        let count = self.units[id].probes.len();
        for index in 0..u16::try_from(count).unwrap_or(u16::MAX) {
            self.timers.cancel(Some(id), Timer::ProbeDue(index));
        }
        let running: Vec<ProbeRunId> =
            self.units[id].probes.iter_mut().filter_map(|track| std::mem::take(track).running).collect();
        for probe in running {
            self.owners.probes.remove(&probe);
            let is_begun = |effect: &Effect| matches!(effect, Effect::StartProbe { probe: begun, .. } if *begun == probe);
            self.take_back(is_begun, Effect::CancelProbe { probe });
        }
        self.units[id].health = Health::Unknown;
    }

    pub(crate) fn start_probe(&mut self, id: UnitId, index: u16) {
        let probe = ProbeRunId(self.next_probe);
        let now = self.now.mono;
        let interval = self.spec(id).health.get(usize::from(index)).map(|probe| probe.interval);
        let Some(track) = self.units[id].probes.get_mut(usize::from(index)) else {
            return self.bug(Some(id), "a probe is due that the unit does not have");
        };
        if track.running.is_some() {
            return self.bug(Some(id), "a probe is due while it runs");
        }
        track.running = Some(probe);
        // Counted from when it was due: those that a busy machine starts late together would stay together for ever.
        let beat = track.due.take().filter(|due| Some(now.since(*due)) < interval);
        track.started_at = beat.unwrap_or(now);
        track.count = track.count.saturating_add(1);
        self.next_probe += 1;
        self.owners.probes.insert(probe, (id, index));
        self.actions.push(Effect::StartProbe { probe, unit: id, index });
    }

    pub(crate) fn on_probe_finished(&mut self, probe: ProbeRunId, verdict: Verdict) {
        let Some((id, index)) = self.owners.probes.remove(&probe) else {
            return self.late();
        };
        let Some(spec) = self.spec(id).health.get(usize::from(index)) else {
            return self.bug(Some(id), "an answer of a probe that the unit does not have");
        };
        let (retries, interval, start_period) = (spec.retries, spec.interval, spec.start_period);
        let successes = spec.successes;
        let now = self.now.mono;
        let is_forgiven = self.units[id]
            .run
            .as_ref()
            .is_some_and(|run| !run.start_period_over && now.since(run.period_from) < start_period);
        let Some(track) = self.units[id].probes.get_mut(usize::from(index)) else {
            return;
        };
        track.running = None;
        let mut cannot_ask = None;
        let can_ask = match &verdict {
            Verdict::Pass(_) | Verdict::Fail(_) => true,
            Verdict::Error(_) => false,
        };
        match verdict {
            Verdict::Pass(text) => {
                track.on_pass(retries, successes);
                track.last = Some(text);
                if let Some(run) = &mut self.units[id].run {
                    run.start_period_over = true;
                }
            }
            Verdict::Fail(text) => {
                if !is_forgiven {
                    track.on_fail(retries);
                }
                track.last = Some(text);
            }
            Verdict::Error(text) => {
                if track.on_error(retries) {
                    cannot_ask = Some(text.clone());
                }
                track.last = Some(text);
            }
        }
        if let Some(why) = cannot_ask {
            self.cannot_probe(id, why);
        }
        if can_ask {
            self.take_up_start_again(id);
        }
        self.plan_next_probe(id, index, interval);
        self.weigh_health(id);
    }

    /// Told once a spell: nothing is done about it, so it may last.
    fn cannot_probe(&mut self, id: UnitId, why: Box<str>) {
        if self.units[id].incident.is_none() {
            self.trouble(id, &FailureCause::CannotProbe(why));
        }
    }

    /// It is not known to work because it cannot be asked: no probe has anything else to say against it.
    pub(crate) fn cannot_be_asked(&self, id: UnitId) -> bool {
        let mut open =
            self.units[id].probes.iter().filter(|track| track.health() != Health::Passing).peekable();
        open.peek().is_some() && open.all(ProbeTrack::is_unasked)
    }

    /// Whether it is ready in time can only be said of what can be asked; from when it can it has its time.
    fn take_up_start_again(&mut self, id: UnitId) {
        if self.units[id].state != UnitState::Starting || self.spec(id).kind == UnitKind::Gate {
            return;
        }
        let Some(timeout) = self.spec(id).start_timeout else { return };
        if let Some(run) = self.units[id].run.as_mut().filter(|run| run.is_overdue) {
            run.is_overdue = false;
            self.timers.set(Some(id), Timer::StartTimeout, self.now.mono.after(timeout));
        }
    }

    fn plan_next_probe(&mut self, id: UnitId, index: u16, interval: Duration) {
        let is_starting = match self.units[id].state {
            UnitState::Starting => true,
            UnitState::Ready | UnitState::Unhealthy => false,
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Stopping { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => return self.bug(Some(id), "a probe of a unit that is not up"),
        };
        let start_interval =
            self.spec(id).health.get(usize::from(index)).and_then(|probe| probe.start_interval);
        let Some(track) = self.units[id].probes.get(usize::from(index)) else { return };
        let gap = if let Some(gap) = start_interval.filter(|_| !track.has_passed) {
            gap.min(interval)
        } else if is_starting && track.health() != Health::Passing {
            let doublings = track.count.saturating_sub(1).min(20);
            FIRST_RETRY.saturating_mul(1_u32 << doublings).min(interval)
        } else if track.count == 1 || is_starting {
            // Units that became ready together would probe together for ever: the second probe comes early by a share.
            let half = interval.checked_div(2).unwrap_or(interval);
            half.saturating_add(policy::share(
                half,
                self.options.seed,
                self.spec(id).name.as_str(),
                u64::from(index),
            ))
        } else {
            interval
        };
        let gap = self.settling_gap(id).map_or(gap, |soon| gap.min(soon));
        // Never in this very step: an interval is at least a millisecond from now, however slow the answer was.
        let due = track.started_at.after(gap).max(self.now.mono.after(Duration::from_millis(1)));
        if let Some(track) = self.units[id].probes.get_mut(usize::from(index)) {
            track.due = Some(due);
        }
        self.timers.set(Some(id), Timer::ProbeDue(index), due);
    }

    /// Whether a rung has helped must be seen within its time, however seldom the probes ask otherwise.
    fn settling_gap(&self, id: UnitId) -> Option<Duration> {
        let is_ready = self.units[id].state == UnitState::Ready; // and has not shown that it works
        let is_settling = self.share(id).is_some_and(|share| match share.step {
            Step::Settling { .. } => true,
            Step::Restarting { .. } => is_ready,
            Step::Idle | Step::Working | Step::Others { .. } | Step::Ending | Step::Pausing { .. } => false,
        });
        is_settling.then(|| self.spec(id).recover.settle.checked_div(5).unwrap_or(FIRST_RETRY))
    }

    /// Probes that wait for their turn come sooner.
    pub(crate) fn ask_soon(&mut self, id: UnitId) {
        let Some(gap) = self.settling_gap(id) else { return };
        let soon = self.now.mono.after(gap.max(Duration::from_millis(1)));
        for index in 0..u16::try_from(self.units[id].probes.len()).unwrap_or(u16::MAX) {
            if self.timers.at(Some(id), Timer::ProbeDue(index)).is_some_and(|due| due > soon) {
                if let Some(track) = self.units[id].probes.get_mut(usize::from(index)) {
                    track.due = Some(soon);
                }
                self.timers.set(Some(id), Timer::ProbeDue(index), soon);
            }
        }
    }

    /// Sums the probes up; the state follows only through the table.
    fn weigh_health(&mut self, id: UnitId) {
        let before = self.units[id].health;
        let mut health = Health::Passing;
        for track in &self.units[id].probes {
            health = match (health, track.health()) {
                (Health::Failing, _) | (_, Health::Failing) => Health::Failing,
                (Health::Unknown, _) | (_, Health::Unknown) => Health::Unknown,
                (Health::Passing, Health::Passing) => Health::Passing,
            };
        }
        self.units[id].health = health;
        if health != before {
            let why = self.probe_words(id);
            self.facts.push(Fact::HealthChanged { unit: id, health, why });
            self.wake_neighbours(id);
        }
        self.follow_health(id);
        self.pull_start_if_failing(id);
    }

    fn follow_health(&mut self, id: UnitId) {
        match (&self.units[id].state, self.units[id].health) {
            (UnitState::Starting, Health::Passing) => self.on_ready_sign(id, Sign::ProbesPass),
            (UnitState::Ready, Health::Failing) => {
                let cause = FailureCause::Unhealthy(self.probe_words(id));
                self.enter(id, UnitState::Unhealthy);
                self.trouble(id, &cause);
                self.has_not_helped(id);
                self.climb(id);
            }
            // Its stop was taken back, or nothing is left to try.
            (UnitState::Unhealthy, Health::Failing) => self.climb(id),
            (UnitState::Unhealthy, Health::Passing) => self.become_ready(id),
            (UnitState::Ready, Health::Passing) => {
                // Its first pass, or the first since it can be asked again.
                if self.timers.at(Some(id), Timer::Settle).is_none() || self.is_restarted(id) {
                    self.recovered(id);
                }
            }
            // It cannot be asked, or has not answered yet: nobody can say that it settles.
            (UnitState::Ready, Health::Unknown) => self.timers.cancel(Some(id), Timer::Settle),
            (UnitState::Starting, Health::Unknown | Health::Failing)
            | (UnitState::Unhealthy, Health::Unknown) => {}
            (
                UnitState::Inactive
                | UnitState::Waiting { .. }
                | UnitState::Stopping { .. }
                | UnitState::Backoff { .. }
                | UnitState::Failed { .. }
                | UnitState::Completed,
                _,
            ) => self.bug(Some(id), "health of a unit that is not up"),
        }
    }

    /// The words of the probe that matters most: a failing one before an unknown one before the first.
    pub(crate) fn probe_words(&self, id: UnitId) -> Box<str> {
        let tracks = &self.units[id].probes;
        let of =
            |wanted: Health| tracks.iter().find(|track| track.health() == wanted && track.last.is_some());
        of(Health::Failing)
            .or_else(|| of(Health::Unknown))
            .or_else(|| tracks.first())
            .and_then(|track| track.last.clone())
            .unwrap_or_else(|| "not probed yet".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE_IN_A_ROW: Retries = Retries { count: 3, of: 3 };

    fn after(answers: &str, retries: Retries) -> Health {
        let mut track = ProbeTrack::default();
        for answer in answers.chars() {
            match answer {
                '+' => track.on_pass(retries, 1),
                '-' => track.on_fail(retries),
                other => assert!(track.on_error(retries) || other == '?'),
            }
        }
        track.health()
    }

    #[test]
    fn a_probe_fails_after_its_retries_in_a_row_and_passes_with_the_next_success() {
        assert_eq!(after("", THREE_IN_A_ROW), Health::Unknown);
        assert_eq!(after("+--", THREE_IN_A_ROW), Health::Passing);
        assert_eq!(after("+---", THREE_IN_A_ROW), Health::Failing);
        assert_eq!(after("+---+", THREE_IN_A_ROW), Health::Passing);
        assert_eq!(after("--+--+--", THREE_IN_A_ROW), Health::Passing);
        assert_eq!(after("--", THREE_IN_A_ROW), Health::Unknown);
    }

    #[test]
    fn three_of_five_catches_flapping() {
        let of_five = Retries { count: 3, of: 5 };
        assert_eq!(after("+-+-", of_five), Health::Passing);
        assert_eq!(after("+-+-+-", of_five), Health::Failing);
        assert_eq!(after("---+", of_five), Health::Failing);
        assert_eq!(after("---+++", of_five), Health::Passing);
    }

    #[test]
    fn a_failing_probe_passes_again_after_its_successes_in_a_row() {
        let mut track = ProbeTrack::default();
        track.on_pass(THREE_IN_A_ROW, 2);
        assert_eq!(track.health(), Health::Passing, "the first answer needs no company");
        (0..3).for_each(|_| track.on_fail(THREE_IN_A_ROW));
        track.on_pass(THREE_IN_A_ROW, 2);
        assert_eq!(track.health(), Health::Failing);
        track.on_fail(THREE_IN_A_ROW);
        track.on_pass(THREE_IN_A_ROW, 2);
        assert_eq!(track.health(), Health::Failing, "a failure between them starts the count over");
        track.on_pass(THREE_IN_A_ROW, 2);
        assert_eq!(track.health(), Health::Passing);
    }

    #[test]
    fn errors_never_count_as_failures() {
        assert_eq!(after("+??", THREE_IN_A_ROW), Health::Passing);
        assert_eq!(after("+???", THREE_IN_A_ROW), Health::Unknown);
        assert_eq!(after("+--??-", THREE_IN_A_ROW), Health::Failing);
    }
}
