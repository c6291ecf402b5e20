//! What a seed draws: first a profile (shape of the graph, which faults, how often), then the units,
//! then the history.

use std::time::Duration;

use crate::engine::event::{Ask, ExitStatus};
use crate::engine::time::Timestamp;
use crate::sim::actor::{
    ERRNOS, Evidence, EvidenceScript, Healing, Leftover, ProbeAnswer, Repair, RepairScript, STEPS,
    SpawnOutcome, StopCommand, StopCommandScript, Trait, spawn_failure,
};
use crate::sim::command::Command;
use crate::sim::random::Random;
use crate::sim::variety::{outside_trait, tell, variety};
use crate::unit::diagnostic::Place;
use crate::unit::name::UnitName;
use crate::unit::spec::listen::Listen;
use crate::unit::spec::probe::{Address, ProbeKind, ProbeSpec, Retries};
use crate::unit::spec::recover::{Channel, Ladder, Reload, Route, Rung};
use crate::unit::spec::{
    Backoff, Condition, Dependency, Fingerprint, Follow, InheritEnv, Levers, LogSpec, OnLimit, PhaseId,
    Ready, RestartPolicy, RestartSpec, SignalNumber, StartLimit, StopSpec, Template, UnitId, UnitKind,
    UnitSet, UnitSpec, WhenFull,
};

/// The one that every drawn set has.
const CHANNEL: &str = "ops";

/// A signal that means what the process makes of it.
const SIGUSR1: SignalNumber = SignalNumber(10);

/// How the units of a set hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Each on the one before.
    Chain,
    /// All on one.
    Star,
    /// Each on up to three earlier ones.
    Web,
    /// Nothing on anything.
    Islands,
}

/// Drawn before anything else, so that one seed stresses one kind of trouble and the next another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub shape: Shape,
    pub units: u64,
    pub phases: u64,
    /// In thousandths: how many units are essential. Mostly none, or few histories would last.
    pub essential: u64,
    /// How often each kind of trouble comes, relative to the others: 0, 1, 10, 100 or 1000.
    pub weights: [u64; Trouble::ALL.len()],
    pub commands: u64,
    /// How long the chaos lasts.
    pub chaos: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Exit,
    Start,
    Stop,
    Restart,
    Kill,
    Spawn,
    Probe,
    Stubborn,
    Leftover,
    StopCommand,
    Life,
    Crash,
    Late,
    Slow,
    Clock,
    Empty,
    /// It says something of itself, or shows its readiness otherwise.
    Tell,
    /// Somebody else starts or ends what is only watched, or its levers do not do as they should.
    Outside,
    Connect,
    Healing,
}

impl Trouble {
    pub const ALL: [Self; 20] = [
        Self::Exit,
        Self::Start,
        Self::Stop,
        Self::Restart,
        Self::Kill,
        Self::Spawn,
        Self::Probe,
        Self::Stubborn,
        Self::Leftover,
        Self::StopCommand,
        Self::Life,
        Self::Crash,
        Self::Late,
        Self::Slow,
        Self::Clock,
        Self::Empty,
        Self::Tell,
        Self::Outside,
        Self::Connect,
        Self::Healing,
    ];
}

impl Profile {
    pub fn draw(random: &mut Random) -> Self {
        let shape = [Shape::Chain, Shape::Star, Shape::Web, Shape::Web, Shape::Islands];
        let units = [1, 2, 3, 3, 5, 5, 8, 13, 21, 50];
        let weight = [0, 1, 10, 100, 100, 1000];
        let chaos = [2, 10, 60, 60, 600, 3600];
        Self {
            shape: random.pick(&shape).copied().unwrap_or(Shape::Web),
            units: random.pick(&units).copied().unwrap_or(3),
            phases: random.between(1, 3),
            essential: if random.chance(120) { random.between(50, 400) } else { 0 },
            weights: Trouble::ALL.map(|_| random.pick(&weight).copied().unwrap_or(1)),
            commands: random.between(10, 120),
            chaos: Duration::from_secs(random.pick(&chaos).copied().unwrap_or(60)),
        }
    }

    pub(super) fn trouble(&self, random: &mut Random) -> Trouble {
        let total = self.weights.iter().sum::<u64>();
        let mut left = random.below(total);
        for (trouble, weight) in Trouble::ALL.into_iter().zip(self.weights) {
            if left < weight {
                return trouble;
            }
            left = left.saturating_sub(weight);
        }
        Trouble::Exit
    }
}

/// The units of a profile.
pub fn units(profile: &Profile, random: &mut Random) -> UnitSet {
    let mut units: Vec<UnitSpec> = Vec::new();
    for at in 0..profile.units {
        let Ok(name) = UnitName::new(&format!("u{at:02}")) else { continue };
        let unit = unit(name, at, profile, &units, random);
        // Copies of a gate would be the same gate, and one address is for one unit.
        let can_be_copied = unit.kind != UnitKind::Gate && unit.listen.sockets.is_empty();
        if can_be_copied && random.chance(80) {
            units.extend(copies(&unit, random.between(1, 3)));
        } else {
            units.push(unit);
        }
    }
    conflicts(&mut units, random);
    let phases = (0..profile.phases).map(|at| format!("p{at}").into()).collect();
    UnitSet {
        sorted: units.len(),
        units,
        phases,
        boot_timeout: Duration::from_secs(random.between(5, 300)),
        shutdown_timeout: Duration::from_secs(random.between(30, 120)),
        log_total_bytes: 1 << 30,
        alerts: vec![Channel { name: CHANNEL.into(), route: Route::Exec { command: vec!["tell".into()] } }],
        concurrency: None,
        hooks: None,
        heartbeat: None,
        changes: crate::unit::spec::changes::Changes::default(),
    }
}

/// The instances of a template: one definition, a life each.
fn copies(unit: &UnitSpec, count: u64) -> Vec<UnitSpec> {
    let instances = ["a", "b", "c"];
    let copy = |instance: &&str| {
        let name = UnitName::new(&format!("{}@{instance}", unit.name)).ok()?;
        Some(UnitSpec { name, instance: Some((*instance).into()), ..unit.clone() })
    };
    instances.iter().take(usize::try_from(count).unwrap_or(1)).filter_map(copy).collect()
}

/// Two that may not live together: one of them is disabled, as a load would demand.
pub(super) fn conflicts(units: &mut [UnitSpec], random: &mut Random) {
    if units.len() < 3 || !random.chance(300) {
        return;
    }
    let is_free = |units: &[UnitSpec], at: usize| {
        let id = UnitId(u32::try_from(at).unwrap_or(0));
        let needed = units.iter().any(|unit| unit.depends_on.iter().any(|edge| edge.unit == id));
        !needed && units.get(at).is_some_and(|unit| unit.depends_on.is_empty() && unit.instance.is_none())
    };
    let free: Vec<usize> = (0..units.len()).filter(|at| is_free(units, *at)).collect();
    if let [one, other, ..] = free.as_slice()
        && let (Ok(id), Some(unit)) = (u32::try_from(*other), units.get_mut(*one))
    {
        unit.enabled = false;
        unit.conflicts.push(UnitId(id));
    }
}

pub(super) fn unit(
    name: UnitName,
    at: u64,
    profile: &Profile,
    earlier: &[UnitSpec],
    random: &mut Random,
) -> UnitSpec {
    let mut unit = plain(name);
    if random.chance(150) {
        unit.kind = UnitKind::Task;
        unit.restart.policy = RestartPolicy::OnFailure;
        unit.recover = Ladder::empty();
    }
    // Phases grow with the index, so that no dependency points into a later one.
    let phase = at.saturating_mul(profile.phases).checked_div(profile.units.max(1)).unwrap_or(0);
    unit.phase = PhaseId(u16::try_from(phase).unwrap_or(0));
    unit.blocks_phase = !random.chance(150);
    unit.enabled = !random.chance(80);
    unit.essential = random.chance(profile.essential);
    let may_take_for_ever = unit.kind == UnitKind::Task && random.chance(300);
    unit.start_timeout = (!may_take_for_ever).then(|| random.millis(500, 60_000));
    if unit.kind == UnitKind::Service && random.chance(500) {
        unit.health = (0..random.between(1, 3)).map(|_| probe(random)).collect();
        unit.ready = if random.chance(800) { Ready::Health } else { Ready::Started };
    }
    unit.restart = restart(unit.restart, unit.kind, random);
    unit.recover = usual_ladder(&unit);
    if !unit.health.is_empty() && random.chance(600) {
        unit.recover = ladder(earlier, random);
    }
    unit.stop = StopSpec {
        signal: if random.chance(900) { SignalNumber::TERM } else { SignalNumber::INT },
        grace: if random.chance(50) { Duration::ZERO } else { random.millis(100, 10_000) },
        command: random.chance(150).then(|| vec![Template::Plain("stop".into())]),
    };
    unit.depends_on = dependencies(profile, earlier, random);
    variety(&mut unit, at, random);
    unit
}

pub(super) fn usual_ladder(unit: &UnitSpec) -> Ladder {
    match (unit.kind, unit.restart.policy) {
        (UnitKind::Service, RestartPolicy::Always | RestartPolicy::OnFailure) => Ladder::restart(),
        (UnitKind::Service, RestartPolicy::Never)
        | (UnitKind::Task | UnitKind::Job | UnitKind::External | UnitKind::Gate, _) => Ladder::empty(),
    }
}

/// Rungs of every kind in any order; nothing follows a stop.
pub(super) fn ladder(earlier: &[UnitSpec], random: &mut Random) -> Ladder {
    let command = || vec![Template::Plain("repair".into())];
    let mut rungs = Vec::new();
    for _ in 0..random.between(1, 4) {
        rungs.push(match random.below(9) {
            0 | 1 => Rung::Exec { command: command(), timeout: random.millis(500, 20_000) },
            2 => Rung::Reload(Reload::Signal(SignalNumber::HUP)),
            3 => Rung::Reload(Reload::Command(command())),
            4 | 5 => Rung::Alert { channel: CHANNEL.into() },
            6 => Rung::Restart { with: companions(earlier, random) },
            _ => Rung::Restart { with: Vec::new() },
        });
    }
    if random.chance(100) {
        rungs.push(Rung::Stop);
    }
    Ladder { rungs: rungs.into(), settle: random.millis(500, 15_000) }
}

fn companions(earlier: &[UnitSpec], random: &mut Random) -> Vec<UnitId> {
    let at = random.below(u64::try_from(earlier.len()).unwrap_or(0));
    u32::try_from(at).ok().filter(|_| !earlier.is_empty()).map(UnitId).into_iter().collect()
}

pub(super) fn restart(plain: RestartSpec, kind: UnitKind, random: &mut Random) -> RestartSpec {
    let policies =
        [RestartPolicy::Always, RestartPolicy::Always, RestartPolicy::OnFailure, RestartPolicy::Never];
    let policy = match kind {
        UnitKind::Service | UnitKind::External | UnitKind::Gate => {
            random.pick(&policies).copied().unwrap_or(plain.policy)
        }
        UnitKind::Task | UnitKind::Job => {
            random.pick(&[RestartPolicy::OnFailure, RestartPolicy::Never]).copied().unwrap_or(plain.policy)
        }
    };
    let initial = random.millis(0, 2000);
    let max = initial.saturating_add(random.millis(0, 30_000));
    let starts = u32::try_from(random.between(1, 6)).unwrap_or(1);
    let limit = random.chance(300).then(|| StartLimit {
        starts,
        // A limit that the backoff alone keeps from firing is none.
        within: Duration::from_secs(random.between(60, 3600)).saturating_add(max.saturating_mul(starts + 1)),
        then: if random.chance(500) {
            OnLimit::Fail
        } else {
            OnLimit::Retry(Duration::from_secs(random.between(5, 300)))
        },
    });
    RestartSpec {
        policy,
        backoff: Backoff {
            initial,
            max,
            factor_permille: u32::try_from(random.between(1000, 3000)).unwrap_or(2000),
            jitter_permille: u32::try_from(random.below(300)).unwrap_or(0),
        },
        reset_after: Duration::from_secs(random.between(1, 600)),
        limit,
    }
}

pub(super) fn probe(random: &mut Random) -> ProbeSpec {
    let interval = random.millis(200, 3000);
    let count = u8::try_from(random.between(1, 4)).unwrap_or(3);
    ProbeSpec {
        kind: ProbeKind::Tcp(Address { host: "localhost".into(), port: 1 }),
        interval,
        timeout: interval.min(random.millis(100, 1000)),
        retries: Retries { count, of: count.saturating_add(u8::try_from(random.below(3)).unwrap_or(0)) },
        successes: 1,
        start_interval: None,
        start_period: if random.chance(300) { random.millis(100, 5000) } else { Duration::ZERO },
    }
}

fn dependencies(profile: &Profile, earlier: &[UnitSpec], random: &mut Random) -> Vec<Dependency> {
    let last = earlier.len().saturating_sub(1);
    let mut targets: Vec<usize> = match profile.shape {
        Shape::Islands => Vec::new(),
        Shape::Chain => vec![last],
        Shape::Star => vec![0],
        Shape::Web => (0..random.below(4))
            .map(|_| usize::try_from(random.below(u64::try_from(earlier.len()).unwrap_or(0))).unwrap_or(0))
            .collect(),
    };
    targets.sort_unstable();
    targets.dedup();
    targets.into_iter().filter_map(|at| edge(at, earlier, random)).collect()
}

/// On one of the units, under a condition that it can meet.
pub(super) fn edge(at: usize, earlier: &[UnitSpec], random: &mut Random) -> Option<Dependency> {
    let target = earlier.get(at)?;
    let conditions: &[Condition] = match (target.kind, target.health.is_empty()) {
        (UnitKind::Task | UnitKind::Job, _) => &[Condition::Completed, Condition::Started],
        (UnitKind::Service, true) if target.restart.policy != RestartPolicy::Always => {
            &[Condition::Started, Condition::Started, Condition::Completed]
        }
        (UnitKind::Service, true) => &[Condition::Started],
        (UnitKind::Service, false) | (UnitKind::External | UnitKind::Gate, _) => {
            &[Condition::Healthy, Condition::Started]
        }
    };
    let follows = [Follow::None, Follow::None, Follow::None, Follow::Restart, Follow::Stop];
    Some(Dependency {
        unit: UnitId(u32::try_from(at).ok()?),
        condition: random.pick(conditions).copied()?,
        required: !random.chance(200),
        follow: random.pick(&follows).copied()?,
        place: Place::default(),
    })
}

/// A service as a file with nothing but a command would give it, with short delays.
pub fn plain(name: UnitName) -> UnitSpec {
    UnitSpec {
        name,
        kind: UnitKind::Service,
        description: None,
        phase: PhaseId(0),
        blocks_phase: true,
        enabled: true,
        is_removed: false,
        essential: false,
        protected: false,
        command: vec![Template::Plain("run".into())],
        job: None,
        levers: Levers::default(),
        user: None,
        group: None,
        supplementary_groups: Vec::new(),
        working_dir: None,
        environment: Vec::new(),
        env_file: Vec::new(),
        inherit_env: InheritEnv::Basics,
        depends_on: Vec::new(),
        conflicts: Vec::new(),
        ready: Ready::Started,
        start_timeout: Some(Duration::from_secs(60)),
        health: Vec::new(),
        watchdog: None,
        listen: Listen::default(),
        recover: Ladder::restart(),
        restart: RestartSpec {
            policy: RestartPolicy::Always,
            backoff: Backoff {
                initial: Duration::from_secs(1),
                max: Duration::from_secs(30),
                factor_permille: 2000,
                jitter_permille: 0,
            },
            reset_after: Duration::from_secs(600),
            limit: None,
        },
        stop: StopSpec { signal: SignalNumber::TERM, grace: Duration::from_secs(10), command: None },
        limits: Box::default(),
        confinement: None,
        oom_score_adjust: None,
        log: LogSpec { max_size_bytes: 10 << 20, max_age: None, keep: 5, when_full: WhenFull::Drop },
        instance: None,
        runbook: None,
        slo_ppm: None,
        labels: Box::default(),
        fingerprint: Fingerprint(0),
        place: Place::default(),
    }
}

/// The commands of the chaos, in time order; the boot first.
pub fn chaos(profile: &Profile, set: &UnitSet, random: &mut Random) -> Vec<(Timestamp, Command)> {
    let mut commands = temperaments(set, random);
    commands.insert(0, (Timestamp(0), Command::Boot));
    let millis = u64::try_from(profile.chaos.as_millis()).unwrap_or(u64::MAX);
    let mut times: Vec<u64> = (0..profile.commands).map(|_| random.between(0, millis)).collect();
    times.sort_unstable();
    for at in times {
        let at = Timestamp(0).after(Duration::from_millis(at));
        let Some(unit) = random.pick(&set.units) else { continue };
        let trouble = profile.trouble(random);
        commands.push((at, trouble_command(trouble, unit, set, random)));
        if let Some(after) = soon_after(trouble, random) {
            let exit = Command::Exit { unit: unit.name.clone(), ordinal: None, exit: exit(random) };
            commands.push((at.after(after), exit));
        }
    }
    commands.sort_by_key(|(at, _)| *at);
    if random.chance(80) {
        commands.extend(shutdowns(&commands, random));
        commands.sort_by_key(|(at, _)| *at);
    }
    commands
}

/// The end in the middle of everything: in order, at once, or at once because order takes too long.
fn shutdowns(commands: &[(Timestamp, Command)], random: &mut Random) -> Vec<(Timestamp, Command)> {
    let Some((at, _)) = random.pick(commands) else { return Vec::new() };
    let in_order = (*at, Command::Ask(Ask::Shutdown { exit_code: 0 }));
    let at_once = |at: Timestamp| (at, Command::Ask(Ask::ShutdownNow { exit_code: 3 }));
    match random.below(4) {
        0 => vec![at_once(*at)],
        1 => vec![in_order, at_once(at.after(random.millis(0, 5000)))],
        _ => vec![in_order],
    }
}

/// In half of the histories processes take their time from the start, so that the stages of starts and
/// stops last long enough to be met by what comes.
fn temperaments(set: &UnitSet, random: &mut Random) -> Vec<(Timestamp, Command)> {
    if random.chance(500) {
        return Vec::new();
    }
    let mut commands = Vec::new();
    for unit in &set.units {
        for what in [Trait::StopsIn(random.millis(0, 4000)), Trait::SpawnTakes(random.millis(0, 400))] {
            commands.push((Timestamp(0), Command::Behave { unit: unit.name.clone(), what }));
        }
    }
    commands
}

/// Some troubles are worse when the process dies in the middle of them: while its stop waits for others,
/// while it is unhealthy, while it starts.
fn soon_after(trouble: Trouble, random: &mut Random) -> Option<Duration> {
    let within = match trouble {
        Trouble::Stop | Trouble::Restart | Trouble::Start | Trouble::Spawn => 3_000,
        Trouble::Probe => 15_000,
        Trouble::Exit
        | Trouble::Kill
        | Trouble::Stubborn
        | Trouble::Leftover
        | Trouble::StopCommand
        | Trouble::Life
        | Trouble::Crash
        | Trouble::Late
        | Trouble::Slow
        | Trouble::Clock
        | Trouble::Tell
        | Trouble::Outside
        | Trouble::Connect
        | Trouble::Healing
        | Trouble::Empty => return None,
    };
    random.chance(350).then(|| random.millis(0, within))
}

pub(super) fn trouble_command(
    trouble: Trouble,
    unit: &UnitSpec,
    set: &UnitSet,
    random: &mut Random,
) -> Command {
    let name = unit.name.clone();
    let behave = |what: Trait| Command::Behave { unit: name.clone(), what };
    match trouble {
        Trouble::Exit => Command::Exit { unit: name, ordinal: None, exit: exit(random) },
        Trouble::Start => {
            Command::Ask(Ask::Start { units: names(name, set, random), wait: random.chance(800) })
        }
        Trouble::Stop => Command::Ask(Ask::Stop {
            units: names(name, set, random),
            only: random.chance(200),
            wait: random.chance(800),
        }),
        Trouble::Restart => {
            Command::Ask(Ask::Restart { units: names(name, set, random), wait: random.chance(800) })
        }
        Trouble::Kill => {
            let signals =
                [SignalNumber::KILL, SignalNumber::KILL, SignalNumber::HUP, SignalNumber::TERM, SIGUSR1];
            let signal = random.pick(&signals).copied().unwrap_or(SignalNumber::KILL);
            Command::Ask(Ask::Kill { units: names(name, set, random), signal })
        }
        Trouble::Spawn => behave(spawn_trait(random)),
        Trouble::Probe => behave(probe_trait(random)),
        Trouble::Stubborn => behave(match random.below(5) {
            0 => Trait::IgnoresTerm(true),
            1 => Trait::IgnoresTerm(false),
            2 => Trait::Unkillable(random.chance(300)),
            _ => Trait::StopsIn(random.millis(0, 15_000)),
        }),
        Trouble::Leftover => behave(Trait::Leaves(random.chance(700).then(|| Leftover {
            ends_after: random.chance(500).then(|| random.millis(0, 5000)),
            ignores_term: random.chance(400),
        }))),
        Trouble::StopCommand => behave(stop_command_trait(random)),
        Trouble::Life => {
            behave(Trait::Ends(random.chance(700).then(|| (random.millis(0, 20_000), exit(random)))))
        }
        Trouble::Crash if random.chance(250) => Command::CrashKeeper,
        Trouble::Crash => Command::Crash {
            carried: random.chance(600).then(|| carried(random)),
            down: if random.chance(500) { Duration::ZERO } else { random.millis(0, 30_000) },
        },
        Trouble::Late => match random.below(3) {
            0 => Command::LateExit { unit: name },
            1 => Command::LateSpawn { unit: name },
            _ => Command::LateProbe { unit: name },
        },
        Trouble::Slow => match random.below(5) {
            0 => Command::LinkTakes(random.millis(0, 200)),
            1 => Command::WakesLate(random.millis(0, 500)),
            2 => Command::CancelledProbesAnswer(random.chance(500)),
            3 => Command::HangUp,
            _ => Command::Wake,
        },
        Trouble::Clock => Command::Clock { forward: random.chance(500), by: random.millis(1000, 3_600_000) },
        Trouble::Empty => Command::Empty { unit: name },
        Trouble::Tell => tell(name, random),
        Trouble::Outside => behave(outside_trait(random)),
        Trouble::Connect => Command::Connect { unit: name },
        Trouble::Healing => behave(healing_trait(random)),
    }
}

/// Between any two effects: of most steps, which have few, and of a boot or a stop, which have many.
pub(super) fn carried(random: &mut Random) -> u16 {
    let most = if random.chance(750) { 6 } else { 60 };
    u16::try_from(random.below(most)).unwrap_or(0)
}

fn healing_trait(random: &mut Random) -> Trait {
    let healing =
        |random: &mut Random| if random.chance(500) { Healing::Heals } else { Healing::DoesNotHelp };
    match random.below(3) {
        0 => {
            let outcomes = [EvidenceScript::Complete, EvidenceScript::Incomplete, EvidenceScript::Never];
            let outcome = random.pick(&outcomes).copied().unwrap_or(EvidenceScript::Never);
            Trait::Evidence(Evidence { takes: random.millis(0, 4000), outcome })
        }
        1 => {
            let outcome = match random.below(5) {
                0 => RepairScript::Fails,
                1 => RepairScript::NotStarted,
                2 => RepairScript::Hangs,
                _ => RepairScript::Ends(healing(random)),
            };
            Trait::Repair(Repair { takes: random.millis(0, 10_000), outcome })
        }
        _ => Trait::Reload(random.chance(800).then(|| healing(random))),
    }
}

fn names(first: UnitName, set: &UnitSet, random: &mut Random) -> Vec<UnitName> {
    let mut names = vec![first];
    if random.chance(150)
        && let Some(other) = random.pick(&set.units).filter(|other| !names.contains(&other.name))
    {
        names.push(other.name.clone());
    }
    names
}

fn exit(random: &mut Random) -> ExitStatus {
    let signal = |signal| ExitStatus::Signal { signal, dumped_core: false };
    match random.below(5) {
        0 => ExitStatus::Code(0),
        1 => signal(SignalNumber::KILL),
        2 => signal(SignalNumber::TERM),
        3 => ExitStatus::Code(u8::try_from(random.between(2, 255)).unwrap_or(2)),
        _ => ExitStatus::Code(1),
    }
}

fn spawn_trait(random: &mut Random) -> Trait {
    match random.below(5) {
        0 => Trait::Spawn(SpawnOutcome::Hangs),
        1 => {
            let step = random.pick(&STEPS).copied().unwrap_or(crate::engine::event::SpawnStep::Exec);
            let errno = random.pick(ERRNOS).map_or(2, |(_, errno, _)| *errno);
            Trait::Spawn(SpawnOutcome::Fails(spawn_failure(step, errno)))
        }
        2 => Trait::SpawnTakes(random.millis(0, 3000)),
        _ => Trait::Spawn(SpawnOutcome::Works),
    }
}

fn probe_trait(random: &mut Random) -> Trait {
    let answer = match random.below(8) {
        0 => ProbeAnswer::Fail,
        1 => ProbeAnswer::Error,
        2 => ProbeAnswer::Hang,
        3 => ProbeAnswer::Flap {
            fail: u8::try_from(random.between(1, 3)).unwrap_or(1),
            pass: u8::try_from(random.between(1, 3)).unwrap_or(1),
        },
        4 => return Trait::ProbeTakes(random.millis(0, 1500)),
        5 => return Trait::ReadyAfter(random.millis(0, 10_000)),
        _ => ProbeAnswer::Pass,
    };
    if random.chance(350) {
        let index = u16::try_from(random.below(3)).unwrap_or(0);
        return Trait::ProbeAt(index, answer);
    }
    Trait::Probe(answer)
}

fn stop_command_trait(random: &mut Random) -> Trait {
    Trait::StopCommand(command_script(random))
}

pub(super) fn command_script(random: &mut Random) -> StopCommand {
    let outcomes = [
        StopCommandScript::Works,
        StopCommandScript::Fails,
        StopCommandScript::NotStarted,
        StopCommandScript::Hangs,
    ];
    let outcome = random.pick(&outcomes).copied().unwrap_or(StopCommandScript::Works);
    StopCommand { takes: random.millis(0, 3000), outcome }
}
