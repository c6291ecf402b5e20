//! One whole life under trouble: chaos, then calm that must converge, then a shutdown that must end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::effect::Effect;
use crate::engine::event::{Ask, ExitStatus};
use crate::engine::invariants::Violation;
use crate::engine::state::StateName;
use crate::engine::time::{Pretty, Timestamp};
use crate::engine::{Engine, Options};
use crate::sim::actor::Trait;
use crate::sim::changes::{self, Candidates};
use crate::sim::command::Command;
use crate::sim::jobs;
use crate::sim::profile::{self, Profile};
use crate::sim::random::Random;
use crate::sim::trace::{Entry, verbose};
use crate::sim::world::World;
use crate::unit::spec::listen::{ListenAddress, SocketSpec};
use crate::unit::spec::probe::ProbeSpec;
use crate::unit::spec::recover::{Reload, Rung};
use crate::unit::spec::{
    Condition, Follow, OnLimit, Ready, RestartPolicy, SignalNumber, Template, UnitKind, UnitSet, UnitSpec,
};

/// What is to be lived through. Everything is explicit: the same history gives the same trace.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    pub seed: u64,
    pub set: Arc<UnitSet>,
    /// Other definitions, for changes.
    pub candidates: Candidates,
    /// In time order.
    pub commands: Vec<(Timestamp, Command)>,
    pub calm_at: Timestamp,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    pub steps: u64,
    pub edges: BTreeMap<(StateName, StateName), u64>,
    pub hash: u64,
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub violation: Violation,
    pub step: u64,
    pub at: Timestamp,
    /// The last forty steps.
    pub tail: String,
}

/// Steps of the trace that a failure shows.
const TAIL: usize = 40;

impl History {
    pub fn draw(seed: u64) -> (Profile, Self) {
        let mut random = Random::new(seed);
        let profile = Profile::draw(&mut random.fork());
        let mut set = profile::units(&profile, &mut random.fork());
        let mut chaos = random.fork();
        let mut of_jobs = random.fork();
        let mut of_changes = random.fork();
        let has_changes = seed >= changes::CHANGES_FROM;
        let has_jobs = seed >= jobs::JOBS_FROM && (!has_changes || seed.checked_rem(2) == Some(1));
        if has_jobs {
            jobs::add(&mut set, &mut of_jobs);
        }
        if has_changes {
            set = set.fingerprinted();
        }
        let mut commands = profile::chaos(&profile, &set, &mut chaos);
        if has_jobs {
            commands.extend(jobs::chaos(&profile, &set, &mut of_jobs));
            commands.sort_by_key(|(at, _)| *at);
        }
        let mut candidates = Candidates::new();
        if has_changes {
            candidates = changes::candidates(&profile, &set, &mut of_changes);
            commands.extend(changes::chaos(&profile, &candidates, &mut of_changes));
            commands.sort_by_key(|(at, _)| *at);
        }
        let calm_at = Timestamp(0).after(profile.chaos);
        (profile, Self { seed, set: Arc::new(set), candidates, commands, calm_at })
    }

    fn world(&self) -> World {
        let mut world = World::new(Arc::clone(&self.set), self.seed);
        for (name, candidate) in &self.candidates {
            world.add_candidate(name.clone(), Arc::clone(candidate));
        }
        world
    }

    /// Every definition that a unit may have in the course of it.
    fn definitions(&self) -> impl Iterator<Item = (&UnitSet, &UnitSpec)> {
        let sets = std::iter::once(&self.set).chain(self.candidates.iter().map(|(_, set)| set));
        sets.flat_map(|set| set.units.iter().map(move |unit| (&**set, unit)))
    }

    pub fn live(&self) -> Outcome {
        let mut world = self.world();
        for (at, command) in &self.commands {
            world.run_until(*at);
            world.apply(command);
        }
        world.run_until(self.calm_at);
        if world.exit_code().is_none() {
            self.calm(&mut world);
        }
        self.shut_down(&mut world);
        if world.violations.is_empty() {
            let broken = replay(&world.trace.entries, &self.set, world.options());
            world.violations.extend(broken);
        }
        let failure = world.violations.first().map(|violation| Failure {
            violation: violation.clone(),
            step: world.steps,
            at: world.now(),
            tail: tail(&world),
        });
        Outcome { steps: world.steps, edges: world.auditor().edges().clone(), hash: 0, failure }
    }

    /// The hash of the whole trace: equal for equal histories, in any process.
    pub fn hash(&self) -> u64 {
        let mut world = self.world();
        for (at, command) in &self.commands {
            world.run_until(*at);
            world.apply(command);
        }
        world.run_until(self.calm_at);
        world.trace.hash()
    }

    /// What makes the host behave.
    pub fn calming(&self) -> Vec<Command> {
        let quick = [
            Command::LinkTakes(Duration::ZERO),
            Command::WakesLate(Duration::ZERO),
            Command::CancelledProbesAnswer(false),
        ];
        let behave = |unit: &UnitSpec, what| Command::Behave { unit: unit.name.clone(), what };
        let calm = self.definitions().map(|(_, unit)| behave(unit, Trait::Calm));
        // A service that somebody waits for to complete does so, as a task does.
        let end = Trait::Ends(Some((Duration::from_secs(2), ExitStatus::Code(0))));
        let awaited = self.definitions().filter(|(set, unit)| {
            let edges = set.units.iter().flat_map(|unit| &unit.depends_on);
            let mut awaits = edges.filter(|edge| edge.condition == Condition::Completed);
            let id = set.find(unit.name.as_str());
            unit.kind == UnitKind::Service && awaits.any(|edge| Some(edge.unit) == id)
        });
        let ends = awaited.map(|(_, unit)| behave(unit, end.clone()));
        // Not every policy starts what is only watched: somebody does.
        let watched = self.definitions().filter(|(_, unit)| unit.kind == UnitKind::External);
        let outside = watched.map(|(_, unit)| behave(unit, Trait::Outside(true)));
        quick.into_iter().chain(calm).chain(ends).chain(outside).collect()
    }

    /// 19: nothing goes wrong any more, so everything must come to where it should be.
    fn calm(&self, world: &mut World) {
        for command in self.calming() {
            world.apply(&command);
        }
        world.disarm();
        let bound = self.bound();
        let limit = world.now().after(bound);
        let mut look_at = world.now();
        while let Some(next) = world.next_happening().filter(|at| *at <= limit) {
            // Looking is dear: between looks a second passes, or what comes next.
            look_at = next.max(look_at.after(Duration::from_secs(1)));
            world.run_until(look_at);
            let is_there = world.engine().is_some_and(|engine| world.auditor().unsettled(engine).is_empty());
            if is_there || !world.violations.is_empty() || world.exit_code().is_some() {
                return;
            }
        }
        let Some(engine) = world.engine() else {
            if world.exit_code().is_none() {
                world.violate(19, "the supervisor did not come back".to_owned());
            }
            return;
        };
        let missing = world.auditor().unsettled(engine);
        if let Some(first) = missing.first() {
            let text =
                format!("not settled {} after the calm: {first} ({} in all)", Pretty(bound), missing.len());
            world.violate(19, text);
        }
    }

    /// The longest that convergence may take: every delay of every unit, one after the other.
    pub fn bound(&self) -> Duration {
        let mut bound = Duration::from_secs(60);
        for (_, unit) in self.definitions() {
            let probing: Duration = unit.health.iter().map(probe_bound).sum();
            let pause = match unit.restart.limit.map(|limit| (limit.within, limit.then)) {
                Some((within, OnLimit::Retry(pause))) => within.saturating_add(pause),
                Some((_, OnLimit::Fail)) | None => Duration::ZERO,
            };
            bound = bound
                .saturating_add(unit.restart.backoff.max.saturating_mul(2))
                .saturating_add(unit.start_timeout.unwrap_or_default())
                .saturating_add(unit.stop.grace.saturating_mul(2))
                .saturating_add(probing)
                .saturating_add(climbing(unit))
                .saturating_add(pause)
                .saturating_add(Duration::from_secs(20)); // spawn timeout, kill wait, rounding
        }
        // One change under way and one that waits, each there and back.
        bound.saturating_add(self.proving().saturating_mul(4))
    }

    /// The longest that a change may be looked at.
    fn proving(&self) -> Duration {
        let windows = self.commands.iter().filter_map(|(_, command)| {
            let Command::Change { rules, .. } = command else { return None };
            Some(rules.verify.saturating_add(rules.settle).saturating_add(rules.confirm.unwrap_or_default()))
        });
        windows.max().unwrap_or_default()
    }

    fn shut_down(&self, world: &mut World) {
        if !world.violations.is_empty() {
            return;
        }
        let graces: Duration = self.definitions().map(|(_, unit)| unit.stop.grace).sum();
        let longest = graces.min(world.set().shutdown_timeout).saturating_add(Duration::from_secs(60));
        let begins = world.now();
        world.apply(&Command::Ask(Ask::Shutdown { exit_code: 0 }));
        world.run_until(begins.after(longest));
        if !world.violations.is_empty() {
            return;
        }
        if world.exit_code().is_none() {
            world.violate(19, format!("the shutdown did not end within {}", Pretty(longest)));
        }
    }

    /// The history as a scenario file, calm and shutdown included.
    pub fn scenario(&self) -> String {
        let mut commands = self.commands.clone();
        commands.extend(self.calming().into_iter().map(|command| (self.calm_at, command)));
        let mut head = format!("# from seed {}\n{}", self.seed, yaml(&self.set));
        for (name, set) in &self.candidates {
            let named = yaml(set).replacen("settings\n", &format!("settings {name}\n"), 1);
            head.push_str(&named.replacen("\nunits\n", &format!("\nunits {name}\n"), 1));
        }
        crate::sim::scenario::write(&head, &commands)
    }
}

/// Every rung tried once, and the evidence waited for.
fn climbing(unit: &UnitSpec) -> Duration {
    let rung = |rung: &Rung| match rung {
        Rung::Exec { timeout, .. } => unit.recover.settle.saturating_add(*timeout),
        Rung::Reload(_) => unit.recover.settle.saturating_add(Duration::from_secs(60)),
        Rung::Restart { .. } | Rung::Stop | Rung::Alert { .. } => Duration::from_secs(2),
    };
    unit.recover.rungs.iter().map(rung).sum()
}

fn probe_bound(probe: &ProbeSpec) -> Duration {
    let round = probe.interval.saturating_add(probe.timeout);
    round.saturating_mul(u32::from(probe.retries.of).saturating_add(2)).saturating_add(probe.start_period)
}

fn tail(world: &World) -> String {
    let entries = &world.trace.entries;
    let from = entries.len().saturating_sub(TAIL);
    verbose(entries.get(from..).unwrap_or(&[]), world.set())
}

/// 20: the events that were recorded, given to fresh engines, must give equal effects.
pub fn replay(entries: &[Entry], set: &Arc<UnitSet>, options: Options) -> Option<Violation> {
    let mut in_force = Arc::clone(set);
    let mut engine = Engine::new(Arc::clone(set), options);
    for entry in entries {
        match entry {
            Entry::Lost { .. } => engine = Engine::new(Arc::clone(&in_force), options),
            Entry::Step { now, event, effects, carried, .. } => {
                let exchanged = effects.iter().take(*carried).find_map(|effect| {
                    if let Effect::UseDefinitions { set, .. } = effect { Some(Arc::clone(set)) } else { None }
                });
                in_force = exchanged.unwrap_or(in_force);
                let again = engine.step(*now, event.clone());
                if again.0 != *effects {
                    let text =
                        format!("at {:?} the same {event:?} gave {again:?}, not {effects:?}", now.mono);
                    return Some(Violation { number: 20, text });
                }
            }
        }
    }
    None
}

/// The definitions of a set in the form of scenario files; only the keys that profiles draw.
pub fn yaml(set: &UnitSet) -> String {
    let mut text = String::new();
    let boot = Pretty(set.boot_timeout);
    let down = Pretty(set.shutdown_timeout);
    // Writing into a string cannot fail.
    writeln!(text, "settings\n  phases: [{}]", set.phases.join(", ")).unwrap_or_default();
    writeln!(text, "  boot_timeout: {boot}\n  shutdown_timeout: {down}").unwrap_or_default();
    for channel in &set.alerts {
        writeln!(text, "  alerts: {{{}: {{exec: [tell]}}}}", channel.name).unwrap_or_default();
    }
    if let Some(most) = set.concurrency {
        writeln!(text, "  concurrency: {most}").unwrap_or_default();
    }
    writeln!(text, "units").unwrap_or_default();
    for (name, keys) in unit_files(set) {
        writeln!(text, "  {name}: {{{keys}}}").unwrap_or_default();
    }
    text
}

/// One file a unit, and one for all instances of a template, as long as they are alike.
fn unit_files(set: &UnitSet) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for unit in &set.units {
        let keys = unit_yaml(unit, set);
        let Some(stem) = stem(unit) else {
            files.push((unit.name.to_string(), keys));
            continue;
        };
        let copies: Vec<&UnitSpec> = set.units.iter().filter(|copy| self::stem(copy) == Some(stem)).collect();
        if !copies.iter().all(|copy| unit_yaml(copy, set) == keys) {
            files.push((unit.name.to_string(), keys)); // shrinking made them differ
        } else if done.insert(stem) {
            let names: Vec<&str> = copies.iter().filter_map(|copy| copy.instance.as_deref()).collect();
            files.push((stem.to_owned(), format!("instances: [{}], {keys}", names.join(", "))));
        }
    }
    files
}

/// The template's name: `web@` of `web@a`.
fn stem(unit: &UnitSpec) -> Option<&str> {
    unit.name.as_str().strip_suffix(unit.instance.as_deref()?)
}

fn unit_yaml(unit: &UnitSpec, set: &UnitSet) -> String {
    let mut keys = kind_yaml(unit);
    if let Some(phase) = set.phases.get(usize::from(unit.phase.0)) {
        keys.push(format!("phase: {phase}"));
    }
    let flags = [
        ("blocks_phase", unit.blocks_phase, true),
        ("enabled", unit.enabled, true),
        ("essential", unit.essential, false),
    ];
    for (name, value, usual) in flags {
        if value != usual {
            keys.push(format!("{name}: {value}"));
        }
    }
    if let Some(timeout) = unit.start_timeout {
        let key = if unit.kind == UnitKind::Job { "timeout" } else { "start_timeout" };
        keys.push(format!("{key}: {}", Pretty(timeout)));
    }
    if !unit.health.is_empty() && unit.kind != UnitKind::Gate {
        let probes: Vec<String> = unit.health.iter().map(probe_yaml).collect();
        keys.push(format!("health: [{}]", probes.join(", ")));
    }
    keys.extend(told_yaml(unit));
    keys.extend(unit.job.iter().flat_map(|job| jobs::yaml(job, set)));
    if !unit.health.is_empty() {
        keys.push(recover_yaml(unit, set));
    }
    keys.push(restart_yaml(unit));
    if unit.kind != UnitKind::Gate {
        keys.push(stop_yaml(unit));
    }
    if !unit.depends_on.is_empty() {
        keys.push(depends_yaml(unit, set));
    }
    if !unit.conflicts.is_empty() {
        let names: Vec<String> =
            unit.conflicts.iter().filter_map(|id| Some(set.unit(*id)?.name.to_string())).collect();
        keys.push(format!("conflicts: [{}]", names.join(", ")));
    }
    keys.join(", ")
}

fn kind_yaml(unit: &UnitSpec) -> Vec<String> {
    let keys: &[&str] = match unit.kind {
        UnitKind::Service => &[],
        UnitKind::Task => &["kind: task"],
        UnitKind::Job => &["kind: job"],
        UnitKind::External => &["kind: external", "start: start"],
        UnitKind::Gate => &["kind: gate"],
    };
    let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let words: Vec<&str> = unit.command.iter().filter_map(plain_word).collect();
    match words.as_slice() {
        [] => {}
        [only] => keys.insert(0, format!("command: {only}")),
        [_, _, ..] => keys.insert(0, format!("command: [{}]", words.join(", "))),
    }
    keys.extend(unit.description.as_ref().map(|text| format!("description: {text}")));
    if let (UnitKind::Gate, Some(probe)) = (unit.kind, unit.health.first()) {
        keys.push(format!("check: \"{}\"", crate::sim::variety::GATE_CHECK));
        keys.push(format!("interval: {}", Pretty(probe.interval)));
    }
    keys
}

fn plain_word(word: &Template) -> Option<&str> {
    match word {
        Template::Plain(word) => Some(word),
        Template::Pieces(_) => None,
    }
}

/// What it says of itself, and what it is waited for by.
fn told_yaml(unit: &UnitSpec) -> Vec<String> {
    let ready = match &unit.ready {
        Ready::Started => (!unit.health.is_empty()).then(|| "ready: started".to_owned()),
        Ready::Health => None,
        Ready::Notify => Some("ready: notify".to_owned()),
        Ready::Log(pattern) => Some(format!("ready: {{log: {}}}", pattern.0)),
        Ready::Fd(number) => Some(format!("ready: {{fd: {number}}}")),
    };
    let watchdog = unit.watchdog.map(|period| format!("watchdog: {}", Pretty(period)));
    let sockets: Vec<String> = unit.listen.sockets.iter().map(socket_yaml).collect();
    let lazy = unit.listen.is_lazy;
    let listen =
        (!sockets.is_empty()).then(|| format!("listen: {{sockets: [{}], lazy: {lazy}}}", sockets.join(", ")));
    ready.into_iter().chain(watchdog).chain(listen).collect()
}

fn socket_yaml(socket: &SocketSpec) -> String {
    match &socket.address {
        ListenAddress::Tcp(address) => format!("\"{}:{}\"", address.host, address.port),
        ListenAddress::Udp(address) => format!("\"udp:{}:{}\"", address.host, address.port),
        ListenAddress::Unix { path, .. } => path.to_string(),
    }
}

fn probe_yaml(probe: &ProbeSpec) -> String {
    format!(
        "{{tcp: \"localhost:1\", interval: {}, timeout: {}, retries: {{count: {}, of: {}}}, start_period: {}}}",
        Pretty(probe.interval),
        Pretty(probe.timeout),
        probe.retries.count,
        probe.retries.of,
        Pretty(probe.start_period),
    )
}

fn recover_yaml(unit: &UnitSpec, set: &UnitSet) -> String {
    let rungs = unit.recover.rungs.iter().map(|rung| match rung {
        Rung::Exec { timeout, .. } => format!("{{exec: [repair], timeout: {}}}", Pretty(*timeout)),
        Rung::Restart { with } if with.is_empty() => "restart".to_owned(),
        Rung::Restart { with } => {
            let names: Vec<String> =
                with.iter().filter_map(|id| Some(set.unit(*id)?.name.to_string())).collect();
            format!("{{restart: {{with: [{}]}}}}", names.join(", "))
        }
        Rung::Reload(Reload::Signal(signal)) => format!("{{reload: {signal}}}"),
        Rung::Reload(Reload::Command(_)) => "{reload: [repair]}".to_owned(),
        Rung::Stop => "stop".to_owned(),
        Rung::Alert { channel } => format!("{{alert: {channel}}}"),
    });
    let rungs: Vec<String> = rungs.collect();
    format!("recover: {{rungs: [{}], settle: {}}}", rungs.join(", "), Pretty(unit.recover.settle))
}

fn restart_yaml(unit: &UnitSpec) -> String {
    let restart = &unit.restart;
    let backoff = format!(
        "backoff: {{initial: {}, max: {}, factor: {}, jitter: {}}}",
        Pretty(restart.backoff.initial),
        Pretty(restart.backoff.max),
        Permille(restart.backoff.factor_permille),
        Permille(restart.backoff.jitter_permille),
    );
    if unit.kind == UnitKind::Job {
        return format!("restart: {{{backoff}}}"); // it runs when it is due
    }
    let policy = match restart.policy {
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "never",
    };
    let command = if unit.levers.restart.is_some() { "command: restart, " } else { "" };
    let limit = restart.limit.map_or_else(String::new, |limit| {
        let then = match limit.then {
            OnLimit::Fail => "fail".to_owned(),
            OnLimit::Retry(pause) => format!("{{retry: {}}}", Pretty(pause)),
        };
        format!(", limit: {{starts: {}, within: {}, then: {then}}}", limit.starts, Pretty(limit.within))
    });
    format!(
        "restart: {{{command}policy: {policy}, {backoff}, reset_after: {}{limit}}}",
        Pretty(restart.reset_after),
    )
}

fn stop_yaml(unit: &UnitSpec) -> String {
    let signal = if unit.stop.signal == SignalNumber::TERM {
        String::new()
    } else {
        format!(", signal: {}", unit.stop.signal)
    };
    let command = if unit.stop.command.is_some() { ", command: stop" } else { "" };
    format!("stop: {{grace: {}{signal}{command}}}", Pretty(unit.stop.grace))
}

fn depends_yaml(unit: &UnitSpec, set: &UnitSet) -> String {
    let edges = unit.depends_on.iter().filter_map(|edge| {
        let condition = match edge.condition {
            Condition::Started => "started",
            Condition::Healthy => "healthy",
            Condition::Completed => "completed",
        };
        let follow = match edge.follow {
            Follow::None => "none",
            Follow::Restart => "restart",
            Follow::Stop => "stop",
        };
        let (name, required) = (&set.unit(edge.unit)?.name, edge.required);
        Some(format!("{name}: {{condition: {condition}, required: {required}, follow: {follow}}}"))
    });
    format!("depends_on: {{{}}}", edges.collect::<Vec<_>>().join(", "))
}

struct Permille(u32);

impl std::fmt::Display for Permille {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.0.checked_div(1000).unwrap_or(0);
        let rest = self.0.checked_rem(1000).unwrap_or(0);
        write!(f, "{whole}.{rest:03}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_history_every_time() {
        for seed in 0..20 {
            assert_eq!(History::draw(seed), History::draw(seed));
        }
        assert_ne!(History::draw(1).1.commands, History::draw(2).1.commands);
    }

    #[test]
    fn the_commands_of_a_history_are_in_time_order_and_read_back() {
        let (_, history) = History::draw(3);
        assert!(history.commands.is_sorted_by_key(|(at, _)| *at));
        for (_, command) in &history.commands {
            assert_eq!(crate::sim::parse::command(&command.to_string()).as_ref(), Ok(command));
        }
    }
}
