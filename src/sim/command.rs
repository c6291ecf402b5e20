//! What a history is made of: things that are done to the virtual host at a time. `Display` writes
//! the words of scenario files, `sim::parse` reads them.

use std::fmt;
use std::time::Duration;

use crate::engine::event::{Ask, ChangeRules, ExitStatus, Judgement, Notice};
use crate::engine::time::Pretty;
use crate::sim::actor::{
    ERRNOS, Evidence, EvidenceScript, Healing, Leftover, ProbeAnswer, Repair, RepairScript, SpawnOutcome,
    StopCommand, StopCommandScript, Trait,
};
use crate::unit::name::UnitName;
use crate::unit::spec::SignalNumber;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `boot`: the keeper connects with nothing in its hands.
    Boot,
    /// `stop redis`, `start a b --no-wait`, `shutdown code=3`
    Ask(Ask),
    /// `hang-up`: whoever asked last goes away before the reply.
    HangUp,
    /// `exit redis#1 code=1`: the leader ends now. Nothing happens where no such run lives.
    Exit { unit: UnitName, ordinal: Option<u32>, exit: ExitStatus },
    /// `empty redis`: what a leader left behind ends now.
    Empty { unit: UnitName },
    /// Changes the script of a unit.
    Behave { unit: UnitName, what: Trait },
    /// `clock +1h`, `clock -1h`: the wall clock is set.
    Clock { forward: bool, by: Duration },
    /// `crash supervisor after=2 for=3s`: the engine is lost, at once or in the middle of the next step
    /// when only its first `carried` effects were carried out, and a new one comes after `down`.
    Crash { carried: Option<u16>, down: Duration },
    /// `crash keeper`: the supervisor starts the next one, and services go on.
    CrashKeeper,
    /// `late exit redis`: the exit of the last run that is over arrives again.
    LateExit { unit: UnitName },
    /// `late probe redis`: a probe's answer arrives again.
    LateProbe { unit: UnitName },
    /// `late spawn redis`: the acknowledgement of a run that is over arrives again.
    LateSpawn { unit: UnitName },
    /// `says redis READY`, `says redis STATUS=loading`: over its notify socket.
    Says { unit: UnitName, notice: Notice },
    /// `shows redis`: the line of its log, or the newline on its descriptor.
    Shows { unit: UnitName },
    /// `late ready redis`: a READY of the last run that is over arrives.
    LateReady { unit: UnitName },
    /// `connect redis`: somebody connects to a socket of it.
    Connect { unit: UnitName },
    /// What a job watches for outside comes to pass.
    Trigger { unit: UnitName },
    /// `change 2 keep confirm=10s verify=5s settle=1s`: the definitions of that name take effect, when no other change
    /// is under way. What is left out: goes back, nobody confirms, 30 s, 5 s.
    Change { name: Box<str>, rules: ChangeRules },
    /// `link-takes 5ms`: from the keeper to the engine, in order.
    LinkTakes(Duration),
    /// `wakes-late 3ms`: after every deadline.
    WakesLate(Duration),
    /// `cancelled-probes-answer on`: the answer had left when the order to cancel came.
    CancelledProbesAnswer(bool),
    /// `wake`: a wake-up without a deadline.
    Wake,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot => f.write_str("boot"),
            Self::Ask(ask) => show_ask(ask, f),
            Self::Exit { unit, ordinal: None, exit } => write!(f, "exit {unit} {}", ExitWords(*exit)),
            Self::Exit { unit, ordinal: Some(ordinal), exit } => {
                write!(f, "exit {unit}#{ordinal} {}", ExitWords(*exit))
            }
            Self::Empty { unit } => write!(f, "empty {unit}"),
            Self::Behave { unit, what } => show_trait(unit, what, f),
            Self::Clock { forward, by } => {
                write!(f, "clock {}{}", if *forward { '+' } else { '-' }, Pretty(*by))
            }
            Self::Crash { carried, down } => {
                f.write_str("crash supervisor")?;
                if let Some(carried) = carried {
                    write!(f, " after={carried}")?;
                }
                if down.is_zero() { Ok(()) } else { write!(f, " for={}", Pretty(*down)) }
            }
            Self::CrashKeeper => f.write_str("crash keeper"),
            Self::LateExit { unit } => write!(f, "late exit {unit}"),
            Self::LateProbe { unit } => write!(f, "late probe {unit}"),
            Self::LateSpawn { unit } => write!(f, "late spawn {unit}"),
            Self::Says { unit, notice } => show_notice(unit, notice, f),
            Self::Shows { unit } => write!(f, "shows {unit}"),
            Self::LateReady { unit } => write!(f, "late ready {unit}"),
            Self::Connect { unit } => write!(f, "connect {unit}"),
            Self::Trigger { unit } => write!(f, "trigger {unit}"),
            Self::LinkTakes(delay) => write!(f, "link-takes {}", Pretty(*delay)),
            Self::WakesLate(delay) => write!(f, "wakes-late {}", Pretty(*delay)),
            Self::CancelledProbesAnswer(on) => {
                write!(f, "cancelled-probes-answer {}", if *on { "on" } else { "off" })
            }
            Self::Change { name, rules } => show_change(name, rules, f),
            Self::Wake => f.write_str("wake"),
            Self::HangUp => f.write_str("hang-up"),
        }
    }
}

impl Command {
    /// The units without which the command means nothing.
    pub fn names(&self) -> &[UnitName] {
        match self {
            Self::Ask(ask) => ask.units(),
            Self::Exit { unit, .. }
            | Self::Empty { unit }
            | Self::Behave { unit, .. }
            | Self::LateExit { unit }
            | Self::LateProbe { unit }
            | Self::Says { unit, .. }
            | Self::Shows { unit }
            | Self::LateReady { unit }
            | Self::Connect { unit }
            | Self::Trigger { unit }
            | Self::LateSpawn { unit } => std::slice::from_ref(unit),
            Self::Boot
            | Self::HangUp
            | Self::Clock { .. }
            | Self::Crash { .. }
            | Self::CrashKeeper
            | Self::Change { .. }
            | Self::LinkTakes(_)
            | Self::WakesLate(_)
            | Self::CancelledProbesAnswer(_)
            | Self::Wake => &[],
        }
    }
}

/// As `mcsup.yaml` has it where it says nothing.
pub const CHANGE_RULES: ChangeRules = ChangeRules {
    verify: Duration::from_secs(30),
    settle: Duration::from_secs(5),
    rolls_back: true,
    confirm: None,
};

fn show_change(name: &str, rules: &ChangeRules, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let ChangeRules { verify, settle, rolls_back, confirm } = *rules;
    write!(f, "change {name}")?;
    if !rolls_back {
        f.write_str(" keep")?;
    }
    if let Some(confirm) = confirm {
        write!(f, " confirm={}", Pretty(confirm))?;
    }
    if verify != CHANGE_RULES.verify {
        write!(f, " verify={}", Pretty(verify))?;
    }
    if settle == CHANGE_RULES.settle { Ok(()) } else { write!(f, " settle={}", Pretty(settle)) }
}

fn show_ask(ask: &Ask, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (verb, wait) = match ask {
        Ask::Start { wait, .. } => ("start", *wait),
        Ask::Stop { wait, .. } => ("stop", *wait),
        Ask::Restart { wait, .. } => ("restart", *wait),
        Ask::Run { wait, .. } => ("run-now", *wait),
        Ask::Kill { .. } => ("kill", true),
        Ask::Confirm => ("confirm", true),
        Ask::Abandon => ("abandon", true),
        Ask::Shutdown { .. } => ("shutdown", true),
        Ask::ShutdownNow { .. } => ("shutdown-now", true),
    };
    f.write_str(verb)?;
    for unit in ask.units() {
        write!(f, " {unit}")?;
    }
    match ask {
        Ask::Stop { only: true, .. } => f.write_str(" --only")?,
        Ask::Kill { signal, .. } if *signal != SignalNumber::KILL => write!(f, " {signal}")?,
        Ask::Shutdown { exit_code } | Ask::ShutdownNow { exit_code } if *exit_code != 0 => {
            write!(f, " code={exit_code}")?;
        }
        Ask::Start { .. }
        | Ask::Stop { .. }
        | Ask::Restart { .. }
        | Ask::Run { .. }
        | Ask::Kill { .. }
        | Ask::Confirm
        | Ask::Abandon
        | Ask::Shutdown { .. }
        | Ask::ShutdownNow { .. } => {}
    }
    if wait { Ok(()) } else { f.write_str(" --no-wait") }
}

fn show_trait(unit: &UnitName, what: &Trait, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match what {
        Trait::SpawnTakes(delay) => write!(f, "spawn-takes {unit} {}", Pretty(*delay)),
        Trait::Spawn(SpawnOutcome::Works) => write!(f, "spawn-works {unit}"),
        Trait::Spawn(SpawnOutcome::Hangs) => write!(f, "spawn-hangs {unit}"),
        Trait::Spawn(SpawnOutcome::Fails(failure)) => {
            write!(f, "spawn-fails {unit} {} {}", failure.step, ErrnoName(failure.errno))
        }
        Trait::Ends(None) => write!(f, "stays-up {unit}"),
        Trait::Ends(Some((after, exit))) => {
            write!(f, "ends {unit} after={} {}", Pretty(*after), ExitWords(*exit))
        }
        Trait::ReadyAfter(delay) => write!(f, "ready-after {unit} {}", Pretty(*delay)),
        Trait::Probe(answer) => show_probe(unit, *answer, f),
        Trait::ProbeAt(index, answer) => {
            show_probe(unit, *answer, f)?;
            write!(f, " at={index}")
        }
        Trait::ProbeTakes(delay) => write!(f, "probe-takes {unit} {}", Pretty(*delay)),
        Trait::StopsIn(delay) => write!(f, "stops-in {unit} {}", Pretty(*delay)),
        Trait::IgnoresTerm(true) => write!(f, "ignores-term {unit}"),
        Trait::IgnoresTerm(false) => write!(f, "heeds-term {unit}"),
        Trait::Unkillable(true) => write!(f, "unkillable {unit}"),
        Trait::Unkillable(false) => write!(f, "killable {unit}"),
        Trait::Leaves(None) => write!(f, "leaves-nothing {unit}"),
        Trait::Leaves(Some(leftover)) => show_leftover(unit, *leftover, f),
        Trait::StopCommand(command) => show_stop_command("stop-command", unit, *command, f),
        Trait::StartLever(command) => show_stop_command("start-lever", unit, *command, f),
        Trait::RestartLever(command) => show_stop_command("restart-lever", unit, *command, f),
        Trait::ShowsReady(None) => write!(f, "never-shows-ready {unit}"),
        Trait::ShowsReady(Some(after)) => write!(f, "shows-ready {unit} after={}", Pretty(*after)),
        Trait::Silent(true) => write!(f, "goes-silent {unit}"),
        Trait::Silent(false) => write!(f, "keeps-alive {unit}"),
        Trait::Outside(true) => write!(f, "runs-outside {unit}"),
        Trait::Outside(false) => write!(f, "is-gone-outside {unit}"),
        Trait::Evidence(evidence) => show_evidence(unit, *evidence, f),
        Trait::Repair(repair) => show_repair(unit, *repair, f),
        Trait::Reload(reload) => {
            write!(f, "reload {unit} {}", reload.map_or("ends-it", healing_word))
        }
        Trait::Judge(judge) => write!(f, "judge {unit} {}", judge_word(judge.as_ref())),
        Trait::Calm => write!(f, "calm {unit}"),
    }
}

fn judge_word(judge: Option<&Judgement>) -> &'static str {
    match judge {
        Some(Judgement::Holds) => "holds",
        Some(Judgement::Rejected(_)) => "rejects",
        Some(Judgement::NotJudged(_)) => "cannot",
        None => "never",
    }
}

fn show_probe(unit: &UnitName, answer: ProbeAnswer, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match answer {
        ProbeAnswer::Pass => write!(f, "probe {unit} pass"),
        ProbeAnswer::Fail => write!(f, "probe {unit} fail"),
        ProbeAnswer::Error => write!(f, "probe {unit} error"),
        ProbeAnswer::Hang => write!(f, "probe {unit} hang"),
        ProbeAnswer::Flap { fail, pass } => write!(f, "probe {unit} flap={fail}/{pass}"),
    }
}

fn show_leftover(unit: &UnitName, leftover: Leftover, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "leaves-child {unit}")?;
    if let Some(after) = leftover.ends_after {
        write!(f, " for={}", Pretty(after))?;
    }
    if leftover.ignores_term { f.write_str(" ignoring-term") } else { Ok(()) }
}

fn show_evidence(unit: &UnitName, evidence: Evidence, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let outcome = match evidence.outcome {
        EvidenceScript::Complete => "complete",
        EvidenceScript::Incomplete => "incomplete",
        EvidenceScript::Never => "never",
    };
    write!(f, "evidence {unit} {outcome}")?;
    show_takes(evidence.takes, f)
}

fn show_repair(unit: &UnitName, repair: Repair, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let outcome = match repair.outcome {
        RepairScript::Ends(healing) => healing_word(healing),
        RepairScript::Fails => "fails",
        RepairScript::NotStarted => "not-started",
        RepairScript::Hangs => "hangs",
    };
    write!(f, "repair {unit} {outcome}")?;
    show_takes(repair.takes, f)
}

fn healing_word(healing: Healing) -> &'static str {
    match healing {
        Healing::Heals => "heals",
        Healing::DoesNotHelp => "does-not-help",
    }
}

fn show_takes(takes: Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if takes.is_zero() { Ok(()) } else { write!(f, " takes={}", Pretty(takes)) }
}

fn show_notice(unit: &UnitName, notice: &Notice, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "says {unit} ")?;
    match notice {
        Notice::Ready => f.write_str("READY"),
        Notice::Status(text) => write!(f, "STATUS={}", text.replace(' ', "_")),
        Notice::Reloading => f.write_str("RELOADING"),
        Notice::Stopping => f.write_str("STOPPING"),
        Notice::Errno(number) => write!(f, "ERRNO={number}"),
        Notice::ExtendTimeout(by) => write!(f, "EXTEND_TIMEOUT={}", Pretty(*by)),
        Notice::Watchdog => f.write_str("WATCHDOG"),
        Notice::WatchdogTrigger => f.write_str("WATCHDOG=trigger"),
        Notice::WatchdogTimeout(period) => write!(f, "WATCHDOG_TIMEOUT={}", Pretty(*period)),
        Notice::MainPid(pid) => write!(f, "MAINPID={pid}"),
    }
}

fn show_stop_command(
    word: &str,
    unit: &UnitName,
    command: StopCommand,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let outcome = match command.outcome {
        StopCommandScript::Works => "works",
        StopCommandScript::Fails => "fails",
        StopCommandScript::NotStarted => "not-started",
        StopCommandScript::Hangs => "hangs",
    };
    write!(f, "{word} {unit} {outcome}")?;
    show_takes(command.takes, f)
}

struct ExitWords(ExitStatus);

impl fmt::Display for ExitWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ExitStatus::Code(code) => write!(f, "code={code}"),
            ExitStatus::Signal { signal, .. } => write!(f, "signal={signal}"),
            ExitStatus::Unknown => f.write_str("unknown"),
        }
    }
}

struct ErrnoName(i32);

impl fmt::Display for ErrnoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ERRNOS.iter().find(|(_, number, _)| *number == self.0) {
            Some((name, _, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
