//! Readiness: by which sign a start ends well, and what a run says of itself.

use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::Fact;
use crate::engine::event::Notice;
use crate::engine::id::{RunId, UnitId};
use crate::engine::state::{FailureCause, StopReason, StopStage, UnitState};
use crate::engine::timers::Timer;
use crate::unit::spec::{Ready, UnitKind, UnitSpec};

/// Who says that it ends has this long at least, also where `grace` is zero.
const LEAST_END: Duration = Duration::from_millis(1);

/// By what a unit of this kind and definition becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// exec succeeded.
    AtExec,
    /// Every probe passed.
    Probes,
    /// It says so itself, over its notify socket.
    Notify,
    /// It shows so itself, by a line of its log or on a descriptor.
    Shown,
    /// Never: a task ends.
    AtEnd,
}

/// What has come to be known of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Exec,
    ProbesPass,
    SaidReady,
    Shown,
}

impl Readiness {
    pub(crate) fn of(spec: &UnitSpec) -> Self {
        match (spec.kind, &spec.ready) {
            (UnitKind::Task, _) => Self::AtEnd,
            (UnitKind::Job | UnitKind::External | UnitKind::Gate, _) | (UnitKind::Service, Ready::Health) => {
                Self::Probes
            }
            (UnitKind::Service, Ready::Started) => Self::AtExec,
            (UnitKind::Service, Ready::Notify) => Self::Notify,
            (UnitKind::Service, Ready::Log(_) | Ready::Fd(_)) => Self::Shown,
        }
    }

    fn comes_with(self, sign: Sign) -> bool {
        match self {
            Self::AtExec => sign == Sign::Exec,
            Self::Probes => sign == Sign::ProbesPass,
            Self::Notify => sign == Sign::SaidReady,
            Self::Shown => sign == Sign::Shown,
            Self::AtEnd => false,
        }
    }

    /// The run itself has to say that it is ready: an end before it did so is a failure, however clean.
    pub(crate) fn is_told(self) -> bool {
        match self {
            Self::Notify | Self::Shown => true,
            Self::AtExec | Self::Probes | Self::AtEnd => false,
        }
    }

    /// Whether a start can take too long; exec has a limit of its own.
    pub(crate) fn takes_time(self) -> bool {
        match self {
            Self::AtExec => false,
            Self::Probes | Self::Notify | Self::Shown | Self::AtEnd => true,
        }
    }
}

impl Engine {
    pub(crate) fn readiness(&self, id: UnitId) -> Readiness {
        Readiness::of(self.spec(id))
    }

    /// The one place where a start becomes ready.
    pub(crate) fn on_ready_sign(&mut self, id: UnitId, sign: Sign) {
        let readiness = self.readiness(id);
        match self.units[id].state {
            UnitState::Starting if readiness.comes_with(sign) => {
                self.become_ready(id);
                if readiness.is_told() {
                    self.start_probing(id); // before it said so there was nothing to ask
                }
            }
            UnitState::Starting
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Stopping { .. }
            | UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => {}
        }
    }

    pub(crate) fn become_ready(&mut self, id: UnitId) {
        let unit = &mut self.units[id];
        unit.remark = None;
        if let Some(current) = &mut unit.run {
            current.was_ready = true;
            current.is_overdue = false;
        }
        self.enter(id, UnitState::Ready);
        if self.timers.at(Some(id), Timer::Watchdog).is_none() {
            self.wind_watchdog(id);
        }
    }

    /// The unit whose run says something, where the run is current and its leader lives or is about to.
    fn speaker(&self, run: RunId) -> Option<UnitId> {
        let id = self.owners.runs.get(&run).copied()?;
        self.units[id].run.as_ref().filter(|current| current.id == run && current.exit.is_none())?;
        Some(id)
    }

    /// A newline on its descriptor, or the line of its log.
    pub(crate) fn on_ready_shown(&mut self, run: RunId) {
        match self.speaker(run) {
            Some(id) => self.on_sign_of_run(id, Sign::Shown),
            None => self.late(),
        }
    }

    /// The report of exec and what the program says take different roads: the sign counts after exec.
    fn on_sign_of_run(&mut self, id: UnitId, sign: Sign) {
        let Some(current) = &mut self.units[id].run else { return };
        if self.set.unit(id).is_some_and(|spec| Readiness::of(spec).comes_with(sign)) {
            current.has_shown_ready = true;
        }
        if current.pid.is_some() {
            self.on_ready_sign(id, sign);
        }
    }

    /// What it said before exec was reported.
    pub(crate) fn on_signs_before_exec(&mut self, id: UnitId) {
        if self.units[id].run.as_ref().is_some_and(|run| run.has_shown_ready) {
            let sign = match self.readiness(id) {
                Readiness::Notify => Sign::SaidReady,
                Readiness::Shown => Sign::Shown,
                Readiness::AtExec | Readiness::Probes | Readiness::AtEnd => return,
            };
            self.on_ready_sign(id, sign);
        }
    }

    pub(crate) fn on_notified(&mut self, run: RunId, notice: Notice) {
        let Some(id) = self.speaker(run) else { return self.late() };
        let Some(current) = &mut self.units[id].run else { return self.late() };
        match notice {
            Notice::Ready => {
                current.is_reloading = false;
                self.on_sign_of_run(id, Sign::SaidReady);
            }
            Notice::Status(text) => {
                if self.units[id].told.as_ref() != Some(&text) {
                    self.facts.push(Fact::StatusTold { unit: id, text: text.clone() });
                    self.units[id].told = Some(text).filter(|text| !text.is_empty());
                }
            }
            Notice::Reloading => current.is_reloading = true,
            Notice::Stopping => self.on_said_stopping(id),
            Notice::Errno(number) => {
                self.units[id].remark = Some(format!("it said: {}", errno_words(number)).into());
            }
            Notice::ExtendTimeout(by) => self.extend_deadline(id, by),
            Notice::Watchdog => self.on_keep_alive(id),
            Notice::WatchdogTrigger => self.on_watchdog(id, "watchdog: it called for help"),
            Notice::WatchdogTimeout(period) => {
                current.watchdog = Some(period);
                self.on_keep_alive(id);
            }
            Notice::MainPid(pid) => current.main_pid = Some(pid),
        }
    }

    /// It ends by itself: nobody asks any more whether it works, but its end has the usual grace.
    fn on_said_stopping(&mut self, id: UnitId) {
        let Some(current) = self.units[id].run.as_mut().filter(|current| !current.is_ending) else { return };
        current.is_ending = true;
        self.touch(id);
        match self.units[id].state {
            UnitState::Ready | UnitState::Unhealthy => {
                self.forget_probes(id);
                self.wind_watchdog(id);
            }
            // `start_timeout` goes on, or the deadline of its stop.
            UnitState::Starting | UnitState::Stopping { .. } => {}
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => self.bug(Some(id), "a word of a unit without a run"),
        }
    }

    /// The deadline under way is no earlier than this from now. SIGKILL's own wait is nobody's to move.
    fn extend_deadline(&mut self, id: UnitId, by: Duration) {
        let timer = match self.units[id].state {
            UnitState::Starting => Timer::StartTimeout,
            UnitState::Stopping {
                stage: StopStage::Command | StopStage::Signalled | StopStage::Sweeping,
                ..
            } => Timer::StopGrace,
            // While its evidence is kept nobody has told it to stop.
            UnitState::Stopping {
                stage: StopStage::Capturing | StopStage::Killed | StopStage::Unkillable,
                ..
            }
            | UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => return,
        };
        let at = self.now.mono.after(by);
        if self.timers.at(Some(id), timer).is_some_and(|deadline| deadline < at) {
            self.timers.set(Some(id), timer, at);
            self.touch(id);
        }
    }

    /// Its watchdog's period; `None`: nobody waits for keep-alives.
    fn watchdog_period(&self, id: UnitId) -> Option<Duration> {
        let own = self.units[id].run.as_ref().and_then(|run| run.watchdog);
        own.or_else(|| self.spec(id).watchdog).filter(|period| !period.is_zero())
    }

    pub(crate) fn wind_watchdog(&mut self, id: UnitId) {
        if self.units[id].run.as_ref().is_some_and(|run| run.is_ending) {
            let grace = self.spec(id).stop.grace.max(LEAST_END); // never in this very step
            return self.timers.set(Some(id), Timer::Watchdog, self.now.mono.after(grace));
        }
        match self.watchdog_period(id) {
            Some(period) => self.timers.set(Some(id), Timer::Watchdog, self.now.mono.after(period)),
            None => self.timers.cancel(Some(id), Timer::Watchdog),
        }
    }

    /// Before it is ready nobody waits for it, and while it ends its grace does.
    fn on_keep_alive(&mut self, id: UnitId) {
        let is_ending = self.units[id].run.as_ref().is_some_and(|run| run.is_ending);
        match self.units[id].state {
            UnitState::Ready | UnitState::Unhealthy if !is_ending => self.wind_watchdog(id),
            UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Starting
            | UnitState::Stopping { .. }
            | UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => {}
        }
    }

    pub(crate) fn on_watchdog_due(&mut self, id: UnitId) {
        let is_ending = self.units[id].run.as_ref().is_some_and(|run| run.is_ending);
        let period = self.watchdog_period(id).unwrap_or_default();
        let why = if is_ending {
            let grace = crate::engine::time::Pretty(self.spec(id).stop.grace);
            format!("it said that it ends, and lives on after {grace}")
        } else {
            format!("watchdog: no keep-alive for {}", crate::engine::time::Pretty(period))
        };
        self.on_watchdog(id, &why);
    }

    /// It does not work, by its own word or its silence.
    fn on_watchdog(&mut self, id: UnitId, why: &str) {
        match self.units[id].state {
            UnitState::Starting | UnitState::Ready | UnitState::Unhealthy => {
                if self.units[id].desired.is_up() {
                    let cause = FailureCause::Watchdog(why.into());
                    self.trouble(id, &cause);
                    self.begin_stop(id, StopReason::Failed(cause));
                } else if self.timers.at(Some(id), Timer::Watchdog).is_none() {
                    self.wind_watchdog(id); // its stop waits for others, and may be taken back
                }
            }
            UnitState::Stopping { .. } => {}
            UnitState::Inactive
            | UnitState::Waiting { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => self.bug(Some(id), "a watchdog of a unit without a run"),
        }
    }

    /// What to say of a unit that is ready, beside its probes.
    pub(crate) fn words_of_its_own(&self, id: UnitId) -> Option<String> {
        let unit = &self.units[id];
        let run = unit.run.as_ref()?;
        let doing = match (run.is_ending, run.is_reloading) {
            (true, _) => Some("it ends by itself"),
            (false, true) => Some("it reloads"),
            (false, false) => None,
        };
        let told = unit.told.as_ref().map(|text| format!("it says: {text}"));
        match (doing, told) {
            (Some(doing), Some(told)) => Some(format!("{doing}; {told}")),
            (Some(doing), None) => Some(doing.to_owned()),
            (None, told) => told,
        }
    }
}

/// errno(3), by the numbers of Linux; those that a service that gives up mostly names.
fn errno_words(number: i32) -> String {
    const WORDS: &[(i32, &str)] = &[
        (1, "operation not permitted"),
        (2, "no such file or directory"),
        (5, "input/output error"),
        (11, "resource temporarily unavailable"),
        (12, "cannot allocate memory"),
        (13, "permission denied"),
        (17, "file exists"),
        (22, "invalid argument"),
        (24, "too many open files"),
        (28, "no space left on device"),
        (30, "read-only file system"),
        (98, "address already in use"),
        (99, "cannot assign requested address"),
        (110, "connection timed out"),
        (111, "connection refused"),
    ];
    match WORDS.iter().find(|(known, _)| *known == number) {
        Some((_, words)) => format!("{words} (errno {number})"),
        None => format!("errno {number}"),
    }
}
