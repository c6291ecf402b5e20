//! What people ask, and the one reply that each request gets.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::engine::desire::Wish;
use crate::engine::effect::{Answer, Effect, Fact, Line, SignalScope};
use crate::engine::event::Ask;
use crate::engine::id::{RequestId, UnitId};
use crate::engine::state::{
    Desired, DownSource, StateName, StopReason, StopStage, UnitState, UpSource, WaitingOn,
};
use crate::unit::name::UnitName;
use crate::unit::spec::{SignalNumber, UnitKind};

/// A request that waits for units to settle.
#[derive(Debug)]
pub(crate) struct Pending {
    goal: Goal,
    targets: Vec<Target>,
    /// Said of units besides those asked for.
    extra: Vec<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Up,
    Down,
}

#[derive(Debug)]
struct Target {
    unit: UnitId,
    /// Its last ordinal when the request came: a restart is done by a later one.
    ordinal_before: u32,
    must_be_new: bool,
    line: Option<Line>,
}

impl Engine {
    pub(crate) fn on_request(&mut self, request: RequestId, ask: &Ask) {
        let mut units: Vec<UnitId> = Vec::new();
        for name in ask.units() {
            let found = self.set.named(name.as_str());
            if found.is_empty() {
                let answer = Answer::Unknown { unit: name.clone(), nearest: self.nearest(name) };
                return self.actions.push(Effect::Reply { request, answer });
            }
            for id in found {
                if !units.contains(&id) {
                    units.push(id);
                }
            }
        }
        self.swayed.clear();
        self.facts.push(Fact::RequestServed { request, what: describe(ask).into() });
        match ask {
            Ask::Start { wait, .. } => {
                self.ask_start(request, &units, *wait);
                self.forget_desires(&units);
            }
            Ask::Stop { only, wait, .. } => {
                self.ask_stop(request, &units, *only, *wait);
                self.forget_desires(&units);
            }
            Ask::Restart { wait, .. } => {
                self.ask_restart(request, &units, *wait);
                self.forget_desires(&units);
            }
            Ask::Run { wait, .. } => self.ask_run(request, &units, *wait),
            Ask::Kill { signal, .. } => self.ask_kill(request, &units, *signal),
            Ask::Confirm => self.ask_confirm(request),
            Ask::Abandon => self.ask_abandon(request),
            Ask::Shutdown { exit_code } => {
                self.begin_shutdown(*exit_code);
                self.actions.push(Effect::Reply { request, answer: Answer::Done(Vec::new()) });
            }
            Ask::ShutdownNow { exit_code } => {
                self.begin_shutdown(*exit_code);
                if let Some(shutdown) = &mut self.boot.shutdown {
                    shutdown.exit_code = *exit_code; // the last word counts
                }
                self.propagate();
                self.kill_everything();
                self.actions.push(Effect::Reply { request, answer: Answer::Done(Vec::new()) });
            }
        }
    }

    fn nearest(&self, name: &UnitName) -> Option<UnitName> {
        let names = self.set.present_units().map(|spec| spec.name.as_str());
        let found = crate::unit::nearest::nearest(name.as_str(), names)?;
        self.set.find(found).map(|id| self.spec(id).name.clone())
    }

    pub(crate) fn refuse_in_shutdown(&mut self, request: RequestId) -> bool {
        let is_stopping = self.boot.shutdown.is_some();
        if is_stopping {
            let answer = Answer::Refused("mcsup is shutting down".into());
            self.actions.push(Effect::Reply { request, answer });
        }
        is_stopping
    }

    fn ask_start(&mut self, request: RequestId, units: &[UnitId], wait: bool) {
        if self.refuse_in_shutdown(request) {
            return;
        }
        let targets: Vec<Target> = units.iter().map(|id| self.target(*id, false)).collect();
        for id in units {
            self.wake_up(*id);
        }
        let extra = self.touched_besides(units);
        self.wait_for(request, Goal::Up, targets, extra, wait);
    }

    /// One line for each unit whose desire the request changed although nobody named it.
    fn touched_besides(&self, units: &[UnitId]) -> Vec<Line> {
        let names: Vec<&str> = units.iter().map(|unit| self.spec(*unit).name.as_str()).collect();
        let names = names.join(" or ");
        let mut lines = Vec::new();
        for (id, was_up) in &self.swayed {
            let (id, was_up) = (*id, *was_up);
            if self.units[id].desired.is_up() == was_up || units.contains(&id) {
                continue;
            }
            let text = match self.units[id].desired {
                Desired::Up(_) => format!("started with {names}"),
                Desired::Down(DownSource::Conflict) => format!("stopped: conflicts with {names}"),
                Desired::Down(
                    DownSource::Dependency
                    | DownSource::Disabled
                    | DownSource::Operator
                    | DownSource::Removed
                    | DownSource::Shutdown,
                ) => format!("stopped with {names}"),
            };
            lines.push(Line { unit: id, is_well: true, text: text.into() });
        }
        lines
    }

    /// Wanted up by a person: a rest is over, and so is that of everything it requires that had given up.
    fn wake_up(&mut self, id: UnitId) {
        self.wishes.push_back(Wish::Up(id, UpSource::Operator));
        self.propagate();
        self.call(id);
        let mut queue = vec![id];
        let mut seen = BTreeSet::from([id]);
        while let Some(at) = queue.pop() {
            for index in 0..self.spec(at).depends_on.len() {
                let Some(edge) = self.spec(at).depends_on.get(index).copied() else { continue };
                if edge.required && seen.insert(edge.unit) {
                    if self.units[edge.unit].state.name() == StateName::Failed {
                        self.call(edge.unit);
                    }
                    queue.push(edge.unit);
                }
            }
        }
    }

    /// A person's start does not consume the limit, and earlier failures say nothing about it.
    fn call(&mut self, id: UnitId) {
        self.units[id].is_called = true;
        match self.units[id].state {
            UnitState::Failed { .. } | UnitState::Completed | UnitState::Backoff { .. } => {
                self.forget_failures(id);
                self.called.push(id);
            }
            UnitState::Inactive | UnitState::Waiting { .. } => {
                self.forget_failures(id);
                self.mark(id);
            }
            UnitState::Stopping { stage, .. } => {
                self.forget_failures(id);
                self.enter(id, UnitState::Stopping { why: StopReason::Restart, stage });
                self.go_on_stopping(id);
            }
            UnitState::Starting | UnitState::Ready | UnitState::Unhealthy => {
                self.mark(id);
            }
        }
    }

    /// Of the units that are to begin again, the first that needs none of the others.
    pub(crate) fn begin_called(&mut self) -> bool {
        let is_free =
            |id: &UnitId| !self.spec(*id).depends_on.iter().any(|edge| self.called.contains(&edge.unit));
        let Some(at) = self.called.iter().position(is_free) else { return false };
        let id = self.called.remove(at);
        match (self.units[id].is_live(), self.units[id].desired.is_up()) {
            (true, _) => {} // it began meanwhile
            (false, true) => self.begin_after(id, None),
            (false, false) => self.rest(id, UnitState::Inactive),
        }
        true
    }

    pub(crate) fn forget_failures(&mut self, id: UnitId) {
        self.leave_ladder(id);
        let unit = &mut self.units[id];
        unit.attempt = 0;
        unit.starts.clear();
        if let UnitState::Waiting { after, .. } = &mut unit.state {
            *after = None; // the start that is to come is this person's
        }
    }

    fn ask_stop(&mut self, request: RequestId, units: &[UnitId], only: bool, wait: bool) {
        let mut targets: Vec<Target> = units.iter().map(|id| self.target(*id, false)).collect();
        for id in units {
            self.units[*id].leaves_dependents = only;
            self.wishes.push_back(Wish::Down(*id, DownSource::Operator));
        }
        self.propagate();
        let extra = self.touched_besides(units);
        targets.extend(extra.iter().map(|line| self.target(line.unit, false)));
        self.wait_for(request, Goal::Down, targets, extra, wait);
    }

    fn ask_restart(&mut self, request: RequestId, units: &[UnitId], wait: bool) {
        if self.refuse_in_shutdown(request) {
            return;
        }
        let targets: Vec<Target> = units.iter().map(|id| self.target(*id, true)).collect();
        // A restart of what has no run is a start; only what is up now is stopped, all of it before anything starts.
        let (up, resting): (Vec<UnitId>, Vec<UnitId>) = units.iter().partition(|id| self.units[**id].is_up());
        for id in up {
            self.wishes.push_back(Wish::Up(id, UpSource::Operator));
            self.forget_failures(id);
            self.units[id].is_called = true;
            self.begin_stop(id, StopReason::Restart);
        }
        for id in resting {
            self.wake_up(id);
        }
        self.propagate();
        let extra = self.touched_besides(units);
        self.wait_for(request, Goal::Up, targets, extra, wait);
    }

    fn ask_kill(&mut self, request: RequestId, units: &[UnitId], signal: SignalNumber) {
        let mut lines = Vec::new();
        for id in units {
            if self.is_job(*id) {
                lines.push(self.kill_runs_line(*id, signal));
                continue;
            }
            let alive = self.units[*id].run.as_ref().filter(|run| !run.is_empty && !run.is_watch);
            let run = alive.map(|run| (run.id, run.ordinal));
            let line = match run {
                Some((run, ordinal)) => {
                    self.signal(run, signal, SignalScope::All);
                    let text = format!("sent {signal} to {}#{ordinal}", self.spec(*id).name);
                    Line { unit: *id, is_well: true, text: text.into() }
                }
                None => Line { unit: *id, is_well: false, text: self.why_no_process(*id).into() },
            };
            lines.push(line);
        }
        let answer = sum_up(lines);
        self.actions.push(Effect::Reply { request, answer });
    }

    fn kill_runs_line(&mut self, id: UnitId, signal: SignalNumber) -> Line {
        let ordinals = self.signal_runs(id, signal);
        let named: Vec<String> =
            ordinals.iter().map(|ordinal| format!("{}#{ordinal}", self.spec(id).name)).collect();
        let is_well = !named.is_empty();
        let text = if is_well {
            format!("sent {signal} to {}", named.join(", "))
        } else {
            self.why_no_process(id).to_owned()
        };
        Line { unit: id, is_well, text: text.into() }
    }

    fn why_no_process(&self, id: UnitId) -> &'static str {
        match self.spec(id).kind {
            UnitKind::Service | UnitKind::Task => "has no process",
            UnitKind::Job => "has no run now",
            UnitKind::External => {
                "is not ours to kill: it is only watched; `mcsup stop` uses its stop command"
            }
            UnitKind::Gate => "has no process: it is a gate",
        }
    }

    pub(crate) fn on_request_abandoned(&mut self, request: RequestId) {
        self.forget_run_request(request);
        let Some(pending) = self.requests.remove(&request) else {
            return; // it had its reply
        };
        for target in pending.targets {
            self.waiters.remove(&(target.unit, request));
        }
    }

    fn target(&self, unit: UnitId, must_be_new: bool) -> Target {
        // A job is armed anew in the step that its last run ends in, and counts its runs alone.
        let must_be_new = must_be_new && !self.is_job(unit);
        Target { unit, ordinal_before: self.units[unit].last_ordinal, must_be_new, line: None }
    }

    fn wait_for(
        &mut self,
        request: RequestId,
        goal: Goal,
        targets: Vec<Target>,
        extra: Vec<Line>,
        wait: bool,
    ) {
        if !wait {
            let asked = |target: &Target| Line { unit: target.unit, is_well: true, text: "asked for".into() };
            let lines = with_extra(targets.iter().map(asked).collect(), extra);
            return self.actions.push(Effect::Reply { request, answer: Answer::Done(lines) });
        }
        for target in &targets {
            self.waiters.insert((target.unit, request));
            self.mark(target.unit);
        }
        self.requests.insert(request, Pending { goal, targets, extra });
    }

    /// Replies to every request all of whose units have settled. Looks only at units that this step touched.
    pub(crate) fn answer_requests(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let mut asked = BTreeSet::new();
        for id in &self.touched {
            let waiters = self.waiters.range((*id, RequestId(0))..=(*id, RequestId(u64::MAX)));
            asked.extend(waiters.map(|(_, request)| *request));
        }
        for request in asked {
            let Some(mut pending) = self.requests.remove(&request) else { continue };
            for target in &mut pending.targets {
                if target.line.is_none() {
                    target.line = match pending.goal {
                        Goal::Up => self.up_line(target),
                        Goal::Down => self.down_line(target),
                    };
                }
            }
            if pending.targets.iter().any(|target| target.line.is_none()) {
                self.requests.insert(request, pending);
                continue;
            }
            for target in &pending.targets {
                self.waiters.remove(&(target.unit, request));
            }
            let Pending { targets, extra, .. } = pending;
            let answer =
                sum_up(with_extra(targets.into_iter().filter_map(|target| target.line).collect(), extra));
            self.actions.push(Effect::Reply { request, answer });
        }
    }

    /// What to say of a unit that was to come up; `None`: not settled yet.
    fn up_line(&self, target: &Target) -> Option<Line> {
        let id = target.unit;
        let unit = &self.units[id];
        let is_old = target.must_be_new && unit.last_ordinal == target.ordinal_before;
        let is_well = match unit.state {
            _ if !unit.desired.is_up() => false,
            UnitState::Ready
            | UnitState::Completed
            | UnitState::Waiting { on: WaitingOn::Connection, .. }
                if is_old =>
            {
                return None;
            }
            // A lazy unit that was called and waits for a connection again has ended well.
            UnitState::Ready
            | UnitState::Completed
            | UnitState::Waiting { on: WaitingOn::Connection, .. } => true,
            UnitState::Failed { .. } | UnitState::Backoff { .. } | UnitState::Unhealthy => false,
            UnitState::Waiting { is_hopeless: true, .. } => false,
            UnitState::Starting if self.is_overdue(id) => false,
            UnitState::Waiting { .. }
            | UnitState::Inactive
            | UnitState::Starting
            | UnitState::Stopping { .. } => return None,
        };
        let text = format!("{}: {}", unit.state.name(), self.reason(id));
        Some(Line { unit: id, is_well, text: text.into() })
    }

    fn down_line(&self, target: &Target) -> Option<Line> {
        let id = target.unit;
        let unit = &self.units[id];
        let (is_well, text) = match unit.state {
            _ if unit.desired.is_up() => (false, "was started again meanwhile"),
            UnitState::Inactive => match (&unit.remark, self.how_it_is_left(id)) {
                (Some(remark), _) if self.is_watch(id) => (false, remark.as_ref()),
                (_, Some(how)) => (true, how),
                (_, None) => (true, "stopped"),
            },
            UnitState::Stopping { stage: StopStage::Unkillable, .. } => (false, "cannot be killed"),
            UnitState::Waiting { .. }
            | UnitState::Starting
            | UnitState::Ready
            | UnitState::Unhealthy
            | UnitState::Stopping { .. }
            | UnitState::Backoff { .. }
            | UnitState::Failed { .. }
            | UnitState::Completed => return None,
        };
        Some(Line { unit: id, is_well, text: text.into() })
    }
}

/// What is said besides replaces a good line of the same unit, and is added where there is none.
fn with_extra(mut lines: Vec<Line>, extra: Vec<Line>) -> Vec<Line> {
    for said in extra {
        match lines.iter_mut().find(|line| line.unit == said.unit) {
            Some(line) if line.is_well => *line = said,
            Some(_) => {}
            None => lines.push(said),
        }
    }
    lines
}

pub(crate) fn sum_up(lines: Vec<Line>) -> Answer {
    if lines.iter().all(|line| line.is_well) { Answer::Done(lines) } else { Answer::NotWell(lines) }
}

fn describe(ask: &Ask) -> String {
    let names: Vec<&str> = ask.units().iter().map(UnitName::as_str).collect();
    let names = names.join(" ");
    match ask {
        Ask::Start { .. } => format!("start {names}"),
        Ask::Stop { only: true, .. } => format!("stop --only {names}"),
        Ask::Stop { only: false, .. } => format!("stop {names}"),
        Ask::Restart { .. } => format!("restart {names}"),
        Ask::Run { .. } => format!("run {names}"),
        Ask::Kill { signal, .. } => format!("kill --signal {signal} {names}"),
        Ask::Confirm => "confirm the change".to_owned(),
        Ask::Abandon => "abandon the change".to_owned(),
        Ask::Shutdown { .. } => "shutdown".to_owned(),
        Ask::ShutdownNow { .. } => "shutdown now".to_owned(),
    }
}
