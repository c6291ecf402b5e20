//! Scripted processes: how the runs of one unit behave. A script is data and may change at any
//! time; what a run does next is read from the script as it is then.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::event::{ExitStatus, Judgement, SpawnFailure, SpawnStep};

/// What every process of a unit does until told otherwise: starts at once, answers its probes,
/// stays, and ends at once when signalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub spawn_takes: Duration,
    pub spawn: SpawnOutcome,
    /// After this long since exec the leader ends by itself.
    pub ends: Option<(Duration, ExitStatus)>,
    /// Probes fail until this long after exec.
    pub ready_after: Duration,
    pub probe: ProbeAnswer,
    /// Probes, by index, that answer otherwise than the rest.
    pub probe_at: BTreeMap<u16, ProbeAnswer>,
    pub probe_takes: Duration,
    /// Between a signal and the end of who heeds it.
    pub stops_in: Duration,
    /// Every signal but SIGKILL is lost on it.
    pub ignores_term: bool,
    /// SIGKILL is lost on it too, until it becomes killable again (uninterruptible sleep).
    pub is_unkillable: bool,
    pub leaves: Option<Leftover>,
    pub stop_command: StopCommand,
    /// The levers of an external unit.
    pub start_lever: StopCommand,
    pub restart_lever: StopCommand,
    /// When it shows that it is ready, since exec, where its unit waits for that. `None`: never.
    pub shows_ready: Option<Duration>,
    /// It goes silent: no keep-alive comes.
    pub is_silent: bool,
    pub evidence: Evidence,
    /// What its repair program and its reload command do.
    pub repair: Repair,
    /// What the judge says of a job's output. `None`: nothing, ever.
    pub judge: Option<Judgement>,
    /// What the signal of its reload does. `None`: what any signal does.
    pub reload: Option<Healing>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpawnOutcome {
    Works,
    Fails(SpawnFailure),
    /// Never reaches exec: the keeper gives up on it after 5 s.
    Hangs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    Pass,
    Fail,
    Error,
    /// Longer than any timeout.
    Hang,
    /// In turn: this many failures, then this many passes.
    Flap {
        fail: u8,
        pass: u8,
    },
}

/// What a leader leaves behind when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Ends by itself after this long. `None`: stays.
    pub ends_after: Option<Duration>,
    pub ignores_term: bool,
}

impl StopCommand {
    pub const WORKS: Self = Self { takes: Duration::ZERO, outcome: StopCommandScript::Works };
}

/// What the unit's stop command does, or another lever of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopCommand {
    pub takes: Duration,
    pub outcome: StopCommandScript,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCommandScript {
    /// Ends the process, then itself with 0.
    Works,
    /// Ends with 1; the process lives on.
    Fails,
    NotStarted,
    Hangs,
}

/// How what shows why a unit failed is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub takes: Duration,
    pub outcome: EvidenceScript,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvidenceScript {
    Complete,
    Incomplete,
    /// Nobody answers.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    pub takes: Duration,
    pub outcome: RepairScript,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairScript {
    /// Ends with 0.
    Ends(Healing),
    /// Ends with 1.
    Fails,
    NotStarted,
    Hangs,
}

/// Whether the unit's probes pass from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healing {
    Heals,
    DoesNotHelp,
}

/// How long the keeper waits for an exec.
pub const SPAWN_TIMEOUT: Duration = Duration::from_secs(5);

impl Default for Script {
    fn default() -> Self {
        Self {
            spawn_takes: Duration::ZERO,
            spawn: SpawnOutcome::Works,
            ends: None,
            ready_after: Duration::ZERO,
            probe: ProbeAnswer::Pass,
            probe_at: BTreeMap::new(),
            probe_takes: Duration::ZERO,
            stops_in: Duration::ZERO,
            ignores_term: false,
            is_unkillable: false,
            leaves: None,
            stop_command: StopCommand::WORKS,
            start_lever: StopCommand::WORKS,
            restart_lever: StopCommand::WORKS,
            shows_ready: Some(Duration::ZERO),
            is_silent: false,
            evidence: Evidence { takes: Duration::ZERO, outcome: EvidenceScript::Complete },
            repair: Repair { takes: Duration::ZERO, outcome: RepairScript::Ends(Healing::Heals) },
            judge: Some(Judgement::Holds),
            reload: Some(Healing::Heals),
        }
    }
}

/// One change of a script; the word of a scenario that makes it stands beside each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trait {
    /// `spawn-takes redis 10ms`
    SpawnTakes(Duration),
    /// `spawn-fails redis exec ENOENT`, `spawn-works redis`, `spawn-hangs redis`
    Spawn(SpawnOutcome),
    /// `ends redis after=5s code=1`, `stays-up redis`
    Ends(Option<(Duration, ExitStatus)>),
    /// `ready-after redis 2s`
    ReadyAfter(Duration),
    /// `probe redis fail`: all of them.
    Probe(ProbeAnswer),
    /// `probe redis fail at=1`: the second alone.
    ProbeAt(u16, ProbeAnswer),
    /// `probe-takes redis 50ms`
    ProbeTakes(Duration),
    /// `stops-in redis 3s`
    StopsIn(Duration),
    /// `ignores-term redis`, `heeds-term redis`
    IgnoresTerm(bool),
    /// `unkillable redis`, `killable redis`
    Unkillable(bool),
    /// `leaves-child redis for=2s ignoring-term`, `leaves-nothing redis`
    Leaves(Option<Leftover>),
    /// `stop-command redis works|fails|hangs|not-started takes=1s`
    StopCommand(StopCommand),
    /// `start-lever api fails takes=1s`
    StartLever(StopCommand),
    /// `restart-lever api hangs`
    RestartLever(StopCommand),
    /// `shows-ready redis after=2s`, `never-shows-ready redis`
    ShowsReady(Option<Duration>),
    /// `goes-silent redis`, `keeps-alive redis`
    Silent(bool),
    /// `runs-outside api`, `is-gone-outside api`: somebody else started or ended what is only watched.
    Outside(bool),
    /// `evidence redis complete|incomplete|never takes=1s`
    Evidence(Evidence),
    /// `repair redis heals|does-not-help|fails|not-started|hangs takes=1s`
    Repair(Repair),
    /// `reload redis heals|does-not-help|ends-it`
    Reload(Option<Healing>),
    /// `judge trends holds|rejects|cannot|never`
    Judge(Option<Judgement>),
    /// `calm redis`: the default script; a task then ends well at once.
    Calm,
}

impl Script {
    pub fn answer_of(&self, probe: u16) -> ProbeAnswer {
        self.probe_at.get(&probe).copied().unwrap_or(self.probe)
    }

    pub fn change(&mut self, what: Trait) {
        match what {
            Trait::SpawnTakes(delay) => self.spawn_takes = delay,
            Trait::Spawn(outcome) => self.spawn = outcome,
            Trait::Ends(ends) => self.ends = ends,
            Trait::ReadyAfter(delay) => self.ready_after = delay,
            Trait::Probe(answer) => {
                self.probe = answer;
                self.probe_at.clear();
            }
            Trait::ProbeAt(index, answer) => {
                self.probe_at.insert(index, answer);
            }
            Trait::ProbeTakes(delay) => self.probe_takes = delay,
            Trait::StopsIn(delay) => self.stops_in = delay,
            Trait::IgnoresTerm(ignores) => self.ignores_term = ignores,
            Trait::Unkillable(is_unkillable) => self.is_unkillable = is_unkillable,
            Trait::Leaves(leaves) => self.leaves = leaves,
            Trait::StopCommand(command) => self.stop_command = command,
            Trait::StartLever(command) => self.start_lever = command,
            Trait::RestartLever(command) => self.restart_lever = command,
            Trait::ShowsReady(after) => self.shows_ready = after,
            Trait::Silent(is_silent) => self.is_silent = is_silent,
            Trait::Outside(_) => {} // a fact of the host, not of the script
            Trait::Evidence(evidence) => self.evidence = evidence,
            Trait::Repair(repair) => self.repair = repair,
            Trait::Reload(reload) => self.reload = reload,
            Trait::Judge(judge) => self.judge = judge,
            Trait::Calm => *self = Self::default(),
        }
    }
}

/// The failures that scenarios and histories give to spawns, by their errno's name.
pub const ERRNOS: &[(&str, i32, &str)] = &[
    ("ENOENT", 2, "No such file or directory"),
    ("EACCES", 13, "Permission denied"),
    ("EAGAIN", 11, "Resource temporarily unavailable"),
    ("EMFILE", 24, "Too many open files"),
    ("ENOMEM", 12, "Cannot allocate memory"),
    ("EPERM", 1, "Operation not permitted"),
];

/// Every step of a spawn, for generators and for reading scenarios.
pub const STEPS: [SpawnStep; 14] = [
    SpawnStep::Expand,
    SpawnStep::Lookup,
    SpawnStep::Prepare,
    SpawnStep::Clone,
    SpawnStep::Session,
    SpawnStep::Limits,
    SpawnStep::OomScore,
    SpawnStep::Groups,
    SpawnStep::Setgid,
    SpawnStep::Setuid,
    SpawnStep::Chdir,
    SpawnStep::Descriptors,
    SpawnStep::Exec,
    SpawnStep::Timeout,
];

/// A failure as the keeper words it.
pub fn spawn_failure(step: SpawnStep, errno: i32) -> SpawnFailure {
    let cause =
        ERRNOS.iter().find(|(_, number, _)| *number == errno).map_or("failed", |(_, _, words)| *words);
    SpawnFailure { step, errno, cause: cause.into() }
}
