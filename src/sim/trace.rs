//! What happened, as stable text: the form that scenarios and failing seeds are read in.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::{Answer, ChangeFact, Effect, Fact, Lever, Role, SignalScope};
use crate::engine::event::Event;
use crate::engine::id::{GenerationId, RunId, UnitId};
use crate::engine::state::StateName;
use crate::engine::time::{Now, Pretty, Timestamp};
use crate::engine::timers::Timer;
use crate::unit::spec::UnitSet;

/// Deadlines in the order of whose they are (`None`: the boot's) and their kind.
pub type Deadlines = Vec<((Option<UnitId>, Timer), Timestamp)>;

/// What people call each run: its unit and ordinal.
pub type RunNames = BTreeMap<RunId, (UnitId, u32)>;

/// The list of (now, event, effects), with the timers that each step set and cancelled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    pub entries: Vec<Entry>,
    deadlines: Deadlines,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// `carried`: how many of the effects were carried out before the supervisor was lost.
    Step { now: Now, event: Event, effects: Vec<Effect>, carried: usize, timers: Vec<TimerChange> },
    /// The supervisor died here.
    Lost { at: Timestamp },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimerChange {
    pub unit: Option<UnitId>,
    pub timer: Timer,
    pub before: Option<Timestamp>,
    /// `None`: cancelled before it was due.
    pub at: Option<Timestamp>,
}

/// The engine's timers but those of probes, which would drown the rest.
pub fn timers_of(engine: &Engine) -> Deadlines {
    let shown =
        engine.timers().filter(|(_, _, timer)| !matches!(timer, Timer::ProbeDue(_) | Timer::Watchdog));
    let mut deadlines: Deadlines = shown.map(|(at, unit, timer)| ((unit, timer), at)).collect();
    deadlines.sort_unstable();
    deadlines
}

fn find(deadlines: &Deadlines, owner: (Option<UnitId>, Timer)) -> Option<Timestamp> {
    let at = deadlines.binary_search_by_key(&owner, |(owner, _)| *owner).ok()?;
    deadlines.get(at).map(|(_, at)| *at)
}

impl Trace {
    pub fn step(
        &mut self,
        now: Now,
        event: Event,
        effects: Vec<Effect>,
        carried: usize,
        deadlines: Deadlines,
    ) {
        let mut timers = Vec::new();
        for ((unit, timer), at) in self.deadlines.iter().copied() {
            if find(&deadlines, (unit, timer)).is_none() && at > now.mono {
                timers.push(TimerChange { unit, timer, before: Some(at), at: None });
            }
        }
        for ((unit, timer), at) in deadlines.iter().copied() {
            let before = find(&self.deadlines, (unit, timer));
            if before != Some(at) {
                timers.push(TimerChange { unit, timer, before, at: Some(at) });
            }
        }
        self.deadlines = deadlines;
        self.entries.push(Entry::Step { now, event, effects, carried, timers });
    }

    pub fn lost(&mut self, at: Timestamp) {
        self.deadlines.clear();
        self.entries.push(Entry::Lost { at });
    }

    /// FNV-1a over everything that happened: equal in every process for the same seed and code.
    pub fn hash(&self) -> u64 {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        for entry in &self.entries {
            // Writing into a hasher cannot fail.
            write!(hasher, "{entry:?}").unwrap_or_default();
        }
        hasher.0
    }
}

struct Fnv(u64);

impl fmt::Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

/// The last entries, one line a step with the event and every effect: for failing seeds.
pub fn verbose(entries: &[Entry], set: &UnitSet) -> String {
    let mut text = String::new();
    for entry in entries {
        let line = match entry {
            Entry::Lost { at } => format!("{:<12} supervisor lost", clock(*at)),
            Entry::Step { now, event, effects, .. } => {
                let effects: Vec<String> = effects.iter().map(|effect| verbose_effect(effect, set)).collect();
                format!("{:<12} {event:?} => {}", clock(now.mono), effects.join("; "))
            }
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn verbose_effect(effect: &Effect, set: &UnitSet) -> String {
    match effect {
        Effect::Spawn { unit, ordinal, run } => {
            format!("Spawn {}#{ordinal} (run {})", name(set, *unit), run.0)
        }
        Effect::Record(Fact::StateChanged { unit, from, to, reason }) => {
            format!("{} {from} -> {to} ({reason})", name(set, *unit))
        }
        Effect::Remember(_) => "Remember".to_owned(),
        Effect::Record(_)
        | Effect::Signal { .. }
        | Effect::Release { .. }
        | Effect::StartProbe { .. }
        | Effect::CancelProbe { .. }
        | Effect::Reply { .. }
        | Effect::RunHelper { .. }
        | Effect::CancelHelper { .. }
        | Effect::CaptureEvidence { .. }
        | Effect::Alert { .. }
        | Effect::JudgeOutput { .. }
        | Effect::Arm { .. }
        | Effect::Disarm { .. }
        | Effect::WatchReadyLine { .. }
        | Effect::AwaitConnection { .. }
        | Effect::ForgetConnection { .. }
        | Effect::UseDefinitions { .. }
        | Effect::RestoreGeneration { .. }
        | Effect::EndChange { .. }
        | Effect::Exit { .. } => format!("{effect:?}"),
    }
}

/// One line per instant and unit: the states it went through, then what was done and said.
pub fn compact(entries: &[Entry], set: &UnitSet, runs: &RunNames) -> String {
    let mut page =
        Page { set, runs, at: None, lines: Vec::new(), timers: BTreeMap::new(), text: String::new() };
    for entry in entries {
        match entry {
            Entry::Lost { at } => {
                page.turn(*at);
                page.say(None, "supervisor lost".to_owned());
                page.print(); // what comes at the same instant is another life
            }
            Entry::Step { now, event, effects, carried, timers } => {
                page.turn(now.mono);
                if let Event::KeeperConnected(handover) = event
                    && handover.notes.boot.is_some()
                {
                    page.say(None, "supervisor back".to_owned());
                }
                for effect in effects.iter().take(*carried) {
                    page.effect(effect);
                }
                let is_whole = *carried == effects.len();
                for change in timers.iter().filter(|_| is_whole) {
                    page.timer(change);
                }
            }
        }
    }
    page.print();
    page.text
}

/// The column where what was done begins.
const DETAILS_AT: usize = 46;

struct Page<'a> {
    set: &'a UnitSet,
    runs: &'a RunNames,
    at: Option<Timestamp>,
    lines: Vec<Line>,
    /// Of this instant: each timer before and after; what comes and goes within it is not shown.
    timers: BTreeMap<(Option<UnitId>, String), Moved>,
    text: String,
}

/// A timer before and after an instant.
type Moved = (Option<Timestamp>, Option<Timestamp>);

struct Line {
    unit: Option<UnitId>,
    states: Vec<StateName>,
    details: Vec<String>,
}

impl Page<'_> {
    fn turn(&mut self, at: Timestamp) {
        if self.at != Some(at) {
            self.print();
            self.at = Some(at);
        }
    }

    fn print(&mut self) {
        let Some(at) = self.at else { return };
        for ((unit, name), (before, after)) in std::mem::take(&mut self.timers) {
            match after {
                Some(after) if before != Some(after) => {
                    self.say(unit, format!("timer {name} at {}", clock(after)));
                }
                None if before.is_some() => self.say(unit, format!("timer {name} cancelled")),
                Some(_) | None => {}
            }
        }
        for line in std::mem::take(&mut self.lines) {
            let states: Vec<&str> = line.states.iter().map(|state| state.as_str()).collect();
            let unit = line.unit.map_or_else(String::new, |unit| name(self.set, unit));
            let head = format!("{:<7} {unit} {}", clock(at), states.join(" -> "));
            let details = line.details.join("; ");
            let line = if line.unit.is_none() {
                format!("{:<7} {details}", clock(at))
            } else {
                format!("{head:<DETAILS_AT$} {details}")
            };
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    /// Lines about the host itself stand alone, in their place.
    fn line(&mut self, unit: Option<UnitId>) -> Option<&mut Line> {
        let found = self.lines.iter().position(|line| unit.is_some() && line.unit == unit);
        let at = found.unwrap_or_else(|| {
            self.lines.push(Line { unit, states: Vec::new(), details: Vec::new() });
            self.lines.len().saturating_sub(1)
        });
        self.lines.get_mut(at)
    }

    fn say(&mut self, unit: Option<UnitId>, detail: String) {
        if let Some(line) = self.line(unit) {
            line.details.push(detail);
        }
    }

    fn run(&self, run: RunId) -> (Option<UnitId>, String) {
        match self.runs.get(&run) {
            Some((unit, ordinal)) => (Some(*unit), format!("{}#{ordinal}", name(self.set, *unit))),
            None => (None, format!("run {}", run.0)),
        }
    }

    fn role_words(&self, role: &Role) -> String {
        match role {
            Role::StopCommand { run } => format!("stop command for {}", self.run(*run).1),
            Role::Repair { rung, .. } => format!("repair of rung {rung}"),
            Role::Reload { rung, .. } => format!("reload of rung {rung}"),
            Role::Lever(Lever::Start) => "lever start".to_owned(),
            Role::Lever(Lever::Stop) => "lever stop".to_owned(),
            Role::Lever(Lever::Restart) => "lever restart".to_owned(),
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Record(fact) => self.fact(fact),
            Effect::Spawn { unit, ordinal, .. } => {
                self.say(Some(*unit), format!("spawn {}#{ordinal}", name(self.set, *unit)));
            }
            Effect::Signal { run, signal, scope } => {
                let (unit, shown) = self.run(*run);
                let all = match scope {
                    SignalScope::Main => "",
                    SignalScope::All => "all of ",
                };
                self.say(unit, format!("{signal} to {all}{shown}"));
            }
            Effect::Reply { answer, .. } => self.say(None, reply(answer, self.set)),
            Effect::Exit { code } => self.say(None, format!("exit with {code}")),
            Effect::UseDefinitions { generation, .. } => {
                self.say(None, format!("definitions of generation {generation}"));
            }
            Effect::RestoreGeneration { rejected, to, .. } => {
                self.say(None, format!("files of generation {rejected} give way to those of {to}"));
            }
            Effect::EndChange { generation, outcome } => {
                self.say(None, format!("change to generation {generation}: {outcome}"));
            }
            // What only keeps the books is audited, not shown.
            Effect::Remember(_)
            | Effect::Release { .. }
            | Effect::StartProbe { .. }
            | Effect::CancelProbe { .. }
            | Effect::CancelHelper { .. }
            | Effect::WatchReadyLine { .. }
            | Effect::Arm { .. }
            | Effect::Disarm { .. }
            | Effect::ForgetConnection { .. } => {}
            Effect::JudgeOutput { unit, ordinal, .. } => {
                self.say(Some(*unit), format!("judges {}#{ordinal}", name(self.set, *unit)));
            }
            Effect::RunHelper { unit, role, timeout, .. } => {
                let timeout = Pretty(*timeout);
                let words = self.role_words(role);
                self.say(Some(*unit), format!("{words}, at most {timeout}"));
            }
            Effect::CaptureEvidence { incident, unit, .. } => {
                self.say(Some(*unit), format!("evidence of incident {incident}"));
            }
            Effect::Alert { unit, channel, text, .. } => {
                let to = channel.as_deref().unwrap_or("every channel");
                self.say(*unit, format!("alert to {to}: {text}"));
            }
            Effect::AwaitConnection { unit } => self.say(Some(*unit), "awaits a connection".to_owned()),
        }
    }

    fn change(&mut self, generation: GenerationId, what: &ChangeFact) {
        let words = match what {
            ChangeFact::Began { restarts } => format!("begins, {restarts} to restart"),
            ChangeFact::InForce => "in force".to_owned(),
            ChangeFact::WaitsToBeConfirmed => "waits to be confirmed".to_owned(),
            ChangeFact::Failed { why } => format!("goes back: {why}"),
            ChangeFact::Ended(_) => return, // said by the effect
        };
        self.say(None, format!("generation {generation} {words}"));
    }

    fn fact(&mut self, fact: &Fact) {
        let set = self.set;
        match fact {
            Fact::StateChanged { unit, from, to, reason } => self.changed(*unit, *from, *to, reason),
            Fact::HealthChanged { unit, health, why } => {
                self.say(Some(*unit), format!("health {}: {why}", health.as_str()));
            }
            Fact::RunEnded { unit, ordinal, exit } => {
                self.say(Some(*unit), format!("{}#{ordinal} {exit}", name(set, *unit)));
            }
            Fact::PhaseOpened { phase } => {
                self.say(None, format!("phase {} opens", phase_name(set, phase.0)));
            }
            Fact::Booted => self.say(None, "booted".to_owned()),
            Fact::Change { generation, what } => self.change(*generation, what),
            Fact::PhaseHeld { phase, holders } => {
                let holders: Vec<String> = holders.iter().map(|unit| name(set, *unit)).collect();
                self.say(
                    None,
                    format!("phase {} is held by {}", phase_name(set, phase.0), holders.join(", ")),
                );
            }
            Fact::IncidentOpened { incident, unit, cause, began: _ } => {
                self.say(*unit, format!("incident {incident} opened: {cause}"));
            }
            Fact::IncidentJoined { incident, unit, cause, began: _ } => {
                self.say(Some(*unit), format!("joins incident {incident}: {cause}"));
            }
            Fact::IncidentReached { incident, units } => {
                for unit in units {
                    self.say(Some(*unit), format!("reached by incident {incident}"));
                }
            }
            Fact::IncidentMerged { from, into } => {
                self.say(None, format!("incident {from} is part of incident {into}"));
            }
            Fact::RungTried { unit, rung, .. } => self.say(Some(*unit), format!("tries {rung}")),
            Fact::RungRepeated { unit, rung, .. } => self.say(Some(*unit), format!("tries {rung} again")),
            Fact::RungEnded { unit, has_helped, said, .. } => {
                let helped = if *has_helped { "it helped" } else { "it did not help" };
                self.say(Some(*unit), format!("{helped}: {said}"));
            }
            Fact::EvidenceIncomplete { unit, .. } => {
                self.say(Some(*unit), "its evidence is not complete".to_owned());
            }
            Fact::IncidentLeft { incident, unit, began, recovered, .. } => {
                let fate = match recovered {
                    Some(at) => format!("stable, {} after it began", Pretty(at.since(*began))),
                    None => "not wanted any more".to_owned(),
                };
                self.say(Some(*unit), format!("leaves incident {incident}: {fate}"));
            }
            Fact::JobTriggered { .. }
            | Fact::JobRunEnded { .. }
            | Fact::JobSkipped { .. }
            | Fact::JobMissed { .. } => self.fact_of_job(fact),
            Fact::StatusTold { unit, text } => self.say(Some(*unit), format!("says: {text}")),
            Fact::IncidentClosed { incident, unit, .. } => {
                self.say(*unit, format!("incident {incident} closed"));
            }
            Fact::Unkillable { unit } => self.say(Some(*unit), "cannot be killed".to_owned()),
            Fact::Adopted { unit, ordinal } => {
                self.say(Some(*unit), format!("adopted {}#{ordinal}", name(set, *unit)));
            }
            Fact::RequestServed { .. } => {} // the reply says it
            Fact::ShutdownBegan => self.say(None, "shutdown begins".to_owned()),
            Fact::BugFound { unit, what } => self.say(*unit, format!("BUG: {what}")),
        }
    }

    fn changed(&mut self, unit: UnitId, from: StateName, to: StateName, reason: &str) {
        let Some(line) = self.line(Some(unit)) else { return };
        if line.states.last() != Some(&from) {
            line.states.push(from);
        }
        line.states.push(to);
        if is_worth_a_reason(to) {
            line.details.push(reason.to_owned());
        }
    }

    fn fact_of_job(&mut self, fact: &Fact) {
        let set = self.set;
        if let Fact::JobTriggered { unit, trigger, late } = fact {
            let late = if late.is_zero() { String::new() } else { format!(", {} late", Pretty(*late)) };
            self.say(Some(*unit), format!("triggered by {trigger}{late}"));
        }
        if let Fact::JobRunEnded { unit, ordinal, verdict, is_last, .. } = fact {
            let again = if *is_last { "" } else { "; runs again" };
            self.say(Some(*unit), format!("{}#{ordinal} {verdict}{again}", name(set, *unit)));
        }
        if let Fact::JobSkipped { unit, trigger, why } = fact {
            self.say(Some(*unit), format!("{trigger} starts no run: {why}"));
        }
        if let Fact::JobMissed { unit, slots, caught_up, .. } = fact {
            self.say(Some(*unit), format!("missed {slots} slots, {caught_up} caught up"));
        }
    }

    fn timer(&mut self, change: &TimerChange) {
        let name = change.timer.to_string();
        let slot = self.timers.entry((change.unit, name)).or_insert((change.before, None));
        slot.1 = change.at;
    }
}

/// What a person would ask about these; the others say it by what was done.
fn is_worth_a_reason(state: StateName) -> bool {
    match state {
        StateName::Waiting | StateName::Unhealthy | StateName::Stopping | StateName::Failed => true,
        StateName::Inactive
        | StateName::Starting
        | StateName::Ready
        | StateName::Backoff
        | StateName::Completed => false,
    }
}

fn reply(answer: &Answer, set: &UnitSet) -> String {
    let lines = |lines: &[crate::engine::effect::Line]| {
        let words: Vec<String> =
            lines.iter().map(|line| format!("{}: {}", name(set, line.unit), line.text)).collect();
        words.join(", ")
    };
    match answer {
        Answer::Done(done) if done.is_empty() => "reply ok".to_owned(),
        Answer::Done(done) => format!("reply ok ({})", lines(done)),
        Answer::NotWell(done) => format!("reply not well ({})", lines(done)),
        Answer::Unknown { unit, nearest: None } => format!("reply no unit {unit}"),
        Answer::Unknown { unit, nearest: Some(nearest) } => {
            format!("reply no unit {unit}, did you mean {nearest}")
        }
        Answer::Refused(why) => format!("reply refused: {why}"),
    }
}

fn name(set: &UnitSet, unit: UnitId) -> String {
    set.unit(unit).map_or_else(|| format!("unit {}", unit.0), |spec| spec.name.to_string())
}

fn phase_name(set: &UnitSet, phase: u16) -> String {
    set.phases.get(usize::from(phase)).map_or_else(|| format!("{phase}"), ToString::to_string)
}

/// `5.5s`, `1m30s`: as people read a stop watch; whole milliseconds under a minute as a fraction.
pub fn clock(at: Timestamp) -> String {
    let nanos = at.0;
    let millis = nanos.checked_div(1_000_000).unwrap_or(0);
    let is_whole_millis = millis.checked_mul(1_000_000) == Some(nanos);
    if !is_whole_millis || millis >= 60_000 {
        return Pretty(Duration::from_nanos(nanos)).to_string();
    }
    let seconds = millis.checked_div(1000).unwrap_or(0);
    let rest = millis.checked_rem(1000).unwrap_or(0);
    if rest == 0 {
        return format!("{seconds}s");
    }
    let fraction = format!("{rest:03}");
    format!("{seconds}.{}s", fraction.trim_end_matches('0'))
}
