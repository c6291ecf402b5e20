//! What profiles draw beside plain processes: what is only watched, what says itself that it is ready, and
//! what waits for a connection.

use std::time::Duration;

use crate::engine::event::Notice;
use crate::sim::actor::Trait;
use crate::sim::command::Command;
use crate::sim::profile::{command_script, probe};
use crate::sim::random::Random;
use crate::unit::name::UnitName;
use crate::unit::spec::listen::{Listen, ListenAddress, SocketSpec};
use crate::unit::spec::probe::{Address, Expression, Pattern, ProbeKind, ProbeSpec, Retries};
use crate::unit::spec::recover::{Ladder, Reload, Rung};
use crate::unit::spec::{Ready, SignalNumber, StopSpec, Template, UnitKind, UnitSpec};

/// What is no plain process: half of the sets have some of each.
pub(super) fn variety(unit: &mut UnitSpec, at: u64, random: &mut Random) {
    match unit.kind {
        UnitKind::Task | UnitKind::Job => return unit.recover = Ladder::empty(),
        UnitKind::Service | UnitKind::External | UnitKind::Gate => {}
    }
    match random.below(14) {
        0 | 1 => external(unit, random),
        2 => gate(unit, random),
        3 => unit.ready = Ready::Notify,
        4 => unit.ready = Ready::Log(Pattern("up".into())),
        5 => unit.ready = Ready::Fd(3),
        6 | 7 => unit.listen = lazy(unit, at),
        _ => {}
    }
    if unit.kind == UnitKind::Service && random.chance(120) {
        unit.watchdog = Some(Duration::from_secs(random.between(4, 40)));
    }
}

fn external(unit: &mut UnitSpec, random: &mut Random) {
    unit.kind = UnitKind::External;
    unit.command = Vec::new();
    unit.essential = false;
    unit.ready = Ready::Health;
    if unit.health.is_empty() {
        unit.health = vec![probe(random)];
    }
    unit.stop.signal = SignalNumber::TERM; // nobody gets it
    let command = |word: &str| Some(vec![Template::Plain(word.into())]);
    unit.levers.start = command("start");
    unit.levers.restart = if random.chance(500) { command("restart") } else { None };
    let can_restart = unit.levers.restart.is_some() || unit.stop.command.is_some();
    let can_stop = unit.stop.command.is_some();
    unit.recover.rungs.to_mut().retain(|rung| match rung {
        Rung::Restart { .. } => can_restart,
        Rung::Stop => can_stop,
        Rung::Reload(Reload::Signal(_)) => false,
        Rung::Reload(Reload::Command(_)) | Rung::Exec { .. } | Rung::Alert { .. } => true,
    });
}

fn gate(unit: &mut UnitSpec, random: &mut Random) {
    unit.kind = UnitKind::Gate;
    unit.command = Vec::new();
    unit.essential = false;
    unit.ready = Ready::Health;
    let interval = random.millis(200, 5000);
    unit.health = vec![ProbeSpec {
        kind: ProbeKind::Check(Expression(GATE_CHECK.into())),
        interval,
        timeout: interval.min(Duration::from_secs(1)),
        retries: Retries { count: 1, of: 1 },
        successes: 1,
        start_interval: None,
        start_period: Duration::ZERO,
    }];
    unit.stop = StopSpec { signal: SignalNumber::TERM, grace: Duration::from_secs(10), command: None };
    unit.recover.rungs.to_mut().retain(|rung| match rung {
        Rung::Exec { .. } | Rung::Alert { .. } => true,
        Rung::Restart { .. } | Rung::Reload(_) | Rung::Stop => false,
    });
}

pub(crate) const GATE_CHECK: &str = "guard.level == 'normal'";

fn lazy(unit: &UnitSpec, at: u64) -> Listen {
    let port = u16::try_from(at).unwrap_or(0).saturating_add(20_000);
    let address = ListenAddress::Tcp(Address { host: "127.0.0.1".into(), port });
    Listen { sockets: vec![SocketSpec { name: unit.name.as_str().into(), address }], is_lazy: true }
}

pub(super) fn tell(unit: UnitName, random: &mut Random) -> Command {
    let behave = |what| Command::Behave { unit: unit.clone(), what };
    let notice = match random.below(16) {
        0 => return behave(Trait::ShowsReady(None)),
        1 => return behave(Trait::ShowsReady(Some(random.millis(0, 5000)))),
        2 => return behave(Trait::Silent(random.chance(600))),
        3 => return Command::Shows { unit },
        4 => return Command::LateReady { unit },
        5 => Notice::Status("busy".into()),
        6 => Notice::Reloading,
        7 => Notice::Stopping,
        8 => Notice::Errno(98),
        9 => Notice::ExtendTimeout(random.millis(0, 5000)),
        10 => Notice::Watchdog,
        11 => Notice::WatchdogTrigger,
        12 => Notice::WatchdogTimeout(random.millis(0, 20_000)),
        13 => Notice::MainPid(7),
        _ => Notice::Ready,
    };
    Command::Says { unit, notice }
}

pub(super) fn outside_trait(random: &mut Random) -> Trait {
    match random.below(5) {
        0 => Trait::StartLever(command_script(random)),
        1 => Trait::RestartLever(command_script(random)),
        2 => Trait::Outside(true),
        _ => Trait::Outside(false),
    }
}
