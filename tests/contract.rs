//! What every host owes the engine, whether it is the real keeper or the simulated world: one
//! suite, run against each, so that the fake stays honest.
//!
//! A host is anything that implements `Host`. The claims below speak of runs and of reports only;
//! what a process does is told to the host as a `Script`.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what fails or is unexpected here fails the test"
)]

mod keeper_host;

use mcsup::engine::event::{ExitStatus, SpawnStep};
use mcsup::engine::id::RunId;
use mcsup::unit::spec::SignalNumber;

/// What the process of a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Ends at once.
    Exit(u8),
    /// Ends at once, by this signal, which it sends itself.
    Die(SignalNumber),
    /// Lives until a signal ends it.
    Sleep,
    /// Lives and takes no notice of SIGTERM. Has done so when its spawn is reported … or soon
    /// after: `Host::settle` waits for it.
    Stubborn,
    /// Leaves a process behind in its own group, which lives until a signal ends it, and exits 0.
    LeaveInGroup,
    /// The same, in a session of its own.
    LeaveInSession,
    /// Shows that it is ready, in the way that its unit names, and lives until a signal ends it.
    ShowsReady,
    /// Shows that it is ready, and ends well at once.
    ShowsReadyAndEnds,
    /// There is no such program.
    NoProgram,
    /// There is no such working directory.
    NoDirectory,
}

/// What a host says, in the words of `engine::event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Spawned(RunId),
    FailedToSpawn(RunId, SpawnStep),
    Exited {
        run: RunId,
        exit: ExitStatus,
        is_empty: bool,
    },
    Emptied(RunId),
    /// By its notify socket or its ready pipe.
    Ready(RunId),
}

/// How far a signal reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Main,
    All,
}

pub(crate) trait Host {
    /// Answered by `Spawned` or `FailedToSpawn`, always.
    fn spawn(&mut self, run: RunId, script: Script);

    fn signal(&mut self, run: RunId, signal: SignalNumber, reach: Reach);

    fn release(&mut self, run: RunId);

    /// The next report; panics when none comes within the host's patience.
    fn next(&mut self) -> Said;

    /// The reports that come although nothing else happens any more.
    fn settle(&mut self) -> Vec<Said>;

    /// The supervisor dies; a new one gets, for each run that was not released, what is known of it:
    /// in the order of runs, the reports that would have led there.
    fn reconnect(&mut self) -> Vec<Said>;
}

const ONE: RunId = RunId(1);
const TWO: RunId = RunId(2);
/// Of a unit that tells by its notify socket.
const TELLER: RunId = RunId(49);
/// Of a unit that writes to its ready pipe.
const PIPER: RunId = RunId(50);
const KILLED: ExitStatus = ExitStatus::Signal { signal: SignalNumber::KILL, dumped_core: false };
const TERMINATED: ExitStatus = ExitStatus::Signal { signal: SignalNumber::TERM, dumped_core: false };

fn exited(run: RunId, exit: ExitStatus, is_empty: bool) -> Said {
    Said::Exited { run, exit, is_empty }
}

/// What is claimed, and the story that shows it.
type Claim = (&'static str, fn(&mut dyn Host));

/// Each starts on a fresh host.
pub(crate) const CLAIMS: &[Claim] = &[
    ("a run is spawned, exits with its code, once, and says nothing more", |host| {
        host.spawn(ONE, Script::Exit(7));
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, ExitStatus::Code(7), true));
        assert_eq!(host.settle(), []);
    }),
    ("a death by signal is told with the signal", |host| {
        host.spawn(ONE, Script::Die(SignalNumber::TERM));
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, TERMINATED, true));
    }),
    ("an exit is never told before its spawn, however soon it comes", |host| {
        for number in 1..=50 {
            host.spawn(RunId(number), Script::Exit(0));
        }
        let mut spawned = std::collections::BTreeSet::new();
        let mut ended = std::collections::BTreeSet::new();
        while ended.len() < 50 {
            match host.next() {
                Said::Spawned(run) => assert!(spawned.insert(run)),
                Said::Exited { run, .. } => {
                    assert!(spawned.contains(&run), "{run:?} ended before it began");
                    assert!(ended.insert(run), "{run:?} ended twice");
                }
                other => panic!("{other:?}"),
            }
        }
    }),
    ("a program that is not there fails at exec", |host| {
        host.spawn(ONE, Script::NoProgram);
        assert_eq!(host.next(), Said::FailedToSpawn(ONE, SpawnStep::Exec));
        assert_eq!(host.settle(), []);
    }),
    ("a directory that is not there fails at chdir", |host| {
        host.spawn(ONE, Script::NoDirectory);
        assert_eq!(host.next(), Said::FailedToSpawn(ONE, SpawnStep::Chdir));
        assert_eq!(host.settle(), []);
    }),
    ("who shows that it is ready is told to, after its spawn and once", |host| {
        for run in [TELLER, PIPER] {
            host.spawn(run, Script::ShowsReady);
            assert_eq!(host.next(), Said::Spawned(run));
            assert_eq!(host.next(), Said::Ready(run));
            assert_eq!(host.settle(), []);
        }
    }),
    ("who shows that it is ready and ends at once was ready", |host| {
        for run in [TELLER, PIPER] {
            host.spawn(run, Script::ShowsReadyAndEnds);
            assert_eq!(host.next(), Said::Spawned(run));
            assert_eq!(host.next(), Said::Ready(run));
            assert_eq!(host.next(), exited(run, ExitStatus::Code(0), true));
        }
    }),
    ("a new supervisor learns who has shown that it is ready", |host| {
        host.spawn(TELLER, Script::ShowsReady);
        assert_eq!([host.next(), host.next()], [Said::Spawned(TELLER), Said::Ready(TELLER)]);
        host.spawn(PIPER, Script::Sleep);
        assert_eq!(host.next(), Said::Spawned(PIPER));
        for _ in 0..2 {
            let known = [Said::Spawned(TELLER), Said::Ready(TELLER), Said::Spawned(PIPER)];
            assert_eq!(host.reconnect(), known);
        }
    }),
    ("a failed spawn takes nothing else with it", |host| {
        host.spawn(ONE, Script::NoProgram);
        host.spawn(TWO, Script::Exit(0));
        let mut said = [host.next(), host.next(), host.next()];
        said.sort_by_key(|said| matches!(said, Said::Spawned(_) | Said::Exited { .. }));
        assert_eq!(said[0], Said::FailedToSpawn(ONE, SpawnStep::Exec));
        assert_eq!(said[1..], [Said::Spawned(TWO), exited(TWO, ExitStatus::Code(0), true)]);
    }),
    ("TERM ends a willing process", |host| {
        host.spawn(ONE, Script::Sleep);
        assert_eq!(host.next(), Said::Spawned(ONE));
        host.signal(ONE, SignalNumber::TERM, Reach::Main);
        assert_eq!(host.next(), exited(ONE, TERMINATED, true));
    }),
    ("TERM does not end a stubborn process, KILL does", |host| {
        host.spawn(ONE, Script::Stubborn);
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.settle(), []);
        host.signal(ONE, SignalNumber::TERM, Reach::All);
        assert_eq!(host.settle(), []);
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        assert_eq!(host.next(), exited(ONE, KILLED, true));
    }),
    ("a run whose leader left a child is empty only when the child is gone", |host| {
        host.spawn(ONE, Script::LeaveInGroup);
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, ExitStatus::Code(0), false));
        assert_eq!(host.settle(), []);
        host.signal(ONE, SignalNumber::TERM, Reach::All);
        assert_eq!(host.next(), Said::Emptied(ONE));
        assert_eq!(host.settle(), []);
    }),
    ("KILL to all reaches a child in a session of its own", |host| {
        host.spawn(ONE, Script::LeaveInSession);
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, ExitStatus::Code(0), false));
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        assert_eq!(host.next(), Said::Emptied(ONE));
    }),
    ("a signal to the leader alone spares what it left behind", |host| {
        host.spawn(ONE, Script::LeaveInGroup);
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, ExitStatus::Code(0), false));
        host.signal(ONE, SignalNumber::KILL, Reach::Main);
        assert_eq!(host.settle(), []);
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        assert_eq!(host.next(), Said::Emptied(ONE));
    }),
    ("what one run leaves behind does not keep another one open", |host| {
        host.spawn(ONE, Script::LeaveInSession);
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, ExitStatus::Code(0), false));
        host.spawn(TWO, Script::Exit(0));
        assert_eq!(host.next(), Said::Spawned(TWO));
        assert_eq!(host.next(), exited(TWO, ExitStatus::Code(0), true));
    }),
    ("a signal to one run leaves the others alone", |host| {
        host.spawn(ONE, Script::Sleep);
        assert_eq!(host.next(), Said::Spawned(ONE));
        host.spawn(TWO, Script::Sleep);
        assert_eq!(host.next(), Said::Spawned(TWO));
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        assert_eq!(host.next(), exited(ONE, KILLED, true));
        assert_eq!(host.settle(), []);
    }),
    ("a signal after the exit changes nothing", |host| {
        host.spawn(ONE, Script::Exit(0));
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, ExitStatus::Code(0), true));
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        host.release(ONE);
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        assert_eq!(host.settle(), []);
    }),
    ("a signal for a run that never was changes nothing", |host| {
        host.signal(TWO, SignalNumber::KILL, Reach::All);
        host.release(TWO);
        assert_eq!(host.settle(), []);
    }),
    ("a signal that follows the order at once meets the process", |host| {
        host.spawn(ONE, Script::Sleep);
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, KILLED, true));
    }),
    ("a new supervisor learns what lives", |host| {
        host.spawn(ONE, Script::Sleep);
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.reconnect(), [Said::Spawned(ONE)]);
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        assert_eq!(host.next(), exited(ONE, KILLED, true));
    }),
    ("an exit that was not released is told to every new supervisor", |host| {
        host.spawn(ONE, Script::Exit(3));
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, ExitStatus::Code(3), true));
        for _ in 0..2 {
            assert_eq!(host.reconnect(), [exited(ONE, ExitStatus::Code(3), true)]);
        }
        host.release(ONE);
        assert_eq!(host.settle(), []);
        assert_eq!(host.reconnect(), []);
    }),
    ("a failed spawn that was not released is told to every new supervisor", |host| {
        host.spawn(ONE, Script::NoProgram);
        assert_eq!(host.next(), Said::FailedToSpawn(ONE, SpawnStep::Exec));
        assert_eq!(host.reconnect(), [Said::FailedToSpawn(ONE, SpawnStep::Exec)]);
    }),
    ("a run released before it is over is forgotten without a word when it is", |host| {
        host.spawn(ONE, Script::LeaveInGroup);
        assert_eq!(host.next(), Said::Spawned(ONE));
        assert_eq!(host.next(), exited(ONE, ExitStatus::Code(0), false));
        host.release(ONE);
        host.signal(ONE, SignalNumber::KILL, Reach::All);
        assert_eq!(host.settle(), []);
        assert_eq!(host.reconnect(), []);
    }),
];

/// The names of the claims that a host does not keep.
fn broken_claims<H: Host>(fresh: impl Fn() -> H) -> Vec<&'static str> {
    let is_broken = |claim: fn(&mut dyn Host)| {
        let mut host = fresh();
        let check = std::panic::AssertUnwindSafe(|| claim(&mut host));
        std::panic::catch_unwind(check).is_err()
    };
    CLAIMS.iter().filter(|(_, claim)| is_broken(*claim)).map(|(name, _)| *name).collect()
}

mod real {
    use super::*;
    use crate::keeper_host::{TestKeeper, eventually, shell};
    use mcsup::keeper::wire::{Exit, Given, Order, Report, Scope, SpawnOrder, Stage, Step};

    struct RealHost {
        keeper: TestKeeper,
        /// What was scripted to get ready, and the file that says that it is.
        getting_ready: Vec<std::path::PathBuf>,
    }

    impl RealHost {
        fn order(&mut self, run: RunId, script: Script) -> SpawnOrder {
            let text = match script {
                Script::Exit(code) => format!("exit {code}"),
                Script::Die(signal) => format!("kill -{} $$", signal.0),
                Script::Sleep => "exec sleep 1000".to_owned(),
                Script::Stubborn => {
                    let ready = self.keeper.scratch.path(&format!("ready-{}", run.0));
                    let text = format!("trap '' TERM; : > {}; exec sleep 1000", ready.display());
                    self.getting_ready.push(ready);
                    text
                }
                Script::LeaveInGroup => "sleep 1000 & exit 0".to_owned(),
                // Not before it has its own session, or it would still be in the group.
                Script::LeaveInSession => {
                    let made = self.keeper.scratch.path(&format!("made-{}", run.0));
                    format!(
                        "setsid sh -c ': > {0}; exec sleep 1000' & while ! [ -e {0} ]; do :; done; exit 0",
                        made.display()
                    )
                }
                Script::ShowsReady => format!("{}; exec sleep 1000", shows_ready(run)),
                Script::ShowsReadyAndEnds => format!("{}; exit 0", shows_ready(run)),
                Script::NoProgram | Script::NoDirectory => String::new(),
            };
            let mut order = shell(run.0, &text);
            order.unit = format!("unit{}", run.0);
            order.notify = run == TELLER;
            order.given = (run == PIPER).then_some(Given::ReadyPipe { number: 3 }).into_iter().collect();
            match script {
                Script::NoProgram => order.program = b"/no/such/program".to_vec(),
                Script::NoDirectory => order.working_dir = b"/no/such/directory".to_vec(),
                Script::Exit(_)
                | Script::Die(_)
                | Script::Sleep
                | Script::Stubborn
                | Script::ShowsReady
                | Script::ShowsReadyAndEnds
                | Script::LeaveInGroup
                | Script::LeaveInSession => {}
            }
            order
        }
    }

    fn shows_ready(run: RunId) -> &'static str {
        if run == PIPER { "echo >&3" } else { "systemd-notify --ready" }
    }

    fn known(report: Report) -> Vec<Said> {
        let ready = match &report {
            Report::Row(row) if row.is_ready_shown => Some(Said::Ready(RunId(row.run))),
            _ => None,
        };
        std::iter::once(said(report)).chain(ready).collect()
    }

    fn said(report: Report) -> Said {
        match report {
            Report::ReadyShown { run } => Said::Ready(RunId(run)),
            Report::Notified { run, text } => {
                assert!(text.split(|byte| *byte == b'\n').any(|line| line == b"READY=1"));
                Said::Ready(RunId(run))
            }
            Report::Spawned { run, .. } => Said::Spawned(RunId(run)),
            Report::SpawnFailed { run, step, .. } => Said::FailedToSpawn(RunId(run), step_of(step)),
            Report::Exited { run, exit, is_empty, .. } => exited(RunId(run), exit_of(exit), is_empty),
            Report::Emptied { run } => Said::Emptied(RunId(run)),
            Report::Row(row) => {
                let run = RunId(row.run);
                match row.stage {
                    Stage::Live => Said::Spawned(run),
                    Stage::SpawnFailed { step, .. } => Said::FailedToSpawn(run, step_of(step)),
                    Stage::Exited { exit, is_empty, .. } => exited(run, exit_of(exit), is_empty),
                    Stage::Spawning => panic!("nothing is being spawned"),
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn exit_of(exit: Exit) -> ExitStatus {
        match exit {
            Exit::Code(code) => ExitStatus::Code(code),
            Exit::Signal { number, dumped_core } => {
                ExitStatus::Signal { signal: SignalNumber(number), dumped_core }
            }
            Exit::Unknown => ExitStatus::Unknown,
        }
    }

    fn step_of(step: Step) -> SpawnStep {
        match step {
            Step::Exec => SpawnStep::Exec,
            Step::Chdir => SpawnStep::Chdir,
            other => panic!("{other:?}"),
        }
    }

    impl Host for RealHost {
        fn spawn(&mut self, run: RunId, script: Script) {
            let order = self.order(run, script);
            self.keeper.send(&Order::Spawn(Box::new(order)));
        }

        fn signal(&mut self, run: RunId, signal: SignalNumber, reach: Reach) {
            let scope = match reach {
                Reach::Main => Scope::Main,
                Reach::All => Scope::All,
            };
            self.keeper.send(&Order::Signal { run: run.0, signal: signal.0, scope });
        }

        fn release(&mut self, run: RunId) {
            self.keeper.send(&Order::Release { run: run.0 });
        }

        fn next(&mut self) -> Said {
            said(self.keeper.next())
        }

        /// Two looks of the keeper's slowest timer at what is left of a run.
        fn settle(&mut self) -> Vec<Said> {
            for ready in std::mem::take(&mut self.getting_ready) {
                eventually("the script is ready", || std::fs::exists(&ready).unwrap().then_some(()));
            }
            let quiet = std::time::Duration::from_millis(250);
            self.keeper.all_within(quiet).into_iter().map(said).collect()
        }

        fn reconnect(&mut self) -> Vec<Said> {
            self.keeper.connect();
            self.keeper.handover().into_iter().flat_map(known).collect()
        }
    }

    #[test]
    fn the_real_keeper_keeps_every_claim() {
        let broken = broken_claims(|| RealHost { keeper: TestKeeper::start(), getting_ready: Vec::new() });
        assert!(broken.is_empty(), "the keeper breaks: {broken:#?}");
    }
}

mod simulated {
    use super::*;
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::time::Duration;

    use mcsup::engine::effect::{Effect, SignalScope};
    use mcsup::engine::event::{Event, HandedCondition, HandedRun, Handover, Notice};
    use mcsup::engine::id::UnitId;
    use mcsup::sim::actor::{Leftover, SpawnOutcome, Trait, spawn_failure};
    use mcsup::sim::command::Command;
    use mcsup::sim::profile::plain;
    use mcsup::sim::world::World;
    use mcsup::unit::name::UnitName;
    use mcsup::unit::spec::{Ready, UnitSet, UnitSpec};

    /// As many runs as a claim may have; each is of a unit of its own.
    const UNITS: u32 = 50;

    struct SimulatedHost {
        world: World,
        inbox: VecDeque<Said>,
    }

    impl SimulatedHost {
        /// `link_takes`: how late everything is told. Claims hold whatever it is.
        fn new(link_takes: Duration) -> Self {
            let ready = |at| match at {
                at if at == unit_of(TELLER) => Ready::Notify,
                at if at == unit_of(PIPER) => Ready::Fd(3),
                _ => Ready::Started,
            };
            let units: Vec<UnitSpec> =
                (0..UNITS).map(|at| UnitSpec { ready: ready(at), ..plain(name(at)) }).collect();
            let set = UnitSet {
                sorted: units.len(),
                units,
                phases: vec!["main".into()],
                boot_timeout: Duration::from_secs(300),
                shutdown_timeout: Duration::from_secs(60),
                log_total_bytes: 1 << 30,
                alerts: Vec::new(),
                concurrency: None,
                hooks: None,
                heartbeat: None,
                changes: mcsup::unit::spec::changes::Changes::default(),
            };
            let mut world = World::listened_to(Arc::new(set));
            world.apply(&Command::LinkTakes(link_takes));
            Self { world, inbox: VecDeque::new() }
        }

        fn listen(&mut self) {
            self.inbox.extend(self.world.heard().into_iter().map(said));
        }
    }

    fn name(at: u32) -> UnitName {
        UnitName::new(&format!("u{at:02}")).unwrap()
    }

    fn unit_of(run: RunId) -> u32 {
        u32::try_from(run.0).unwrap() - 1
    }

    fn behaviour(script: Script) -> Vec<Trait> {
        let ends = |exit| Trait::Ends(Some((Duration::ZERO, exit)));
        let fails = |step| vec![Trait::Spawn(SpawnOutcome::Fails(spawn_failure(step, 2)))];
        match script {
            Script::Exit(code) => vec![ends(ExitStatus::Code(code))],
            Script::Die(signal) => vec![ends(ExitStatus::Signal { signal, dumped_core: false })],
            Script::Sleep => vec![Trait::ShowsReady(None)],
            Script::Stubborn => vec![Trait::IgnoresTerm(true)],
            Script::ShowsReady => vec![Trait::ShowsReady(Some(Duration::ZERO))],
            Script::ShowsReadyAndEnds => {
                let end = Some((Duration::from_millis(1), ExitStatus::Code(0)));
                vec![Trait::ShowsReady(Some(Duration::ZERO)), Trait::Ends(end)]
            }
            // Groups and sessions are not told apart here: what a run leaves is the run's.
            Script::LeaveInGroup | Script::LeaveInSession => {
                let left = Leftover { ends_after: None, ignores_term: false };
                vec![ends(ExitStatus::Code(0)), Trait::Leaves(Some(left))]
            }
            Script::NoProgram => fails(SpawnStep::Exec),
            Script::NoDirectory => fails(SpawnStep::Chdir),
        }
    }

    fn said(event: Event) -> Said {
        match event {
            Event::RunSpawned { run, .. } => Said::Spawned(run),
            Event::RunFailedToSpawn { run, failure } => Said::FailedToSpawn(run, failure.step),
            Event::RunExited { run, exit, is_empty } => exited(run, exit, is_empty),
            Event::RunEmptied { run } => Said::Emptied(run),
            Event::ReadyShown { run } | Event::Notified { run, notice: Notice::Ready } => Said::Ready(run),
            other => panic!("{other:?}"),
        }
    }

    fn handed(handover: Handover) -> Vec<Said> {
        let said = |(run, condition)| match condition {
            HandedCondition::Live { .. } => Said::Spawned(run),
            HandedCondition::FailedToSpawn(failure) => Said::FailedToSpawn(run, failure.step),
            HandedCondition::Exited { exit, is_empty } => exited(run, exit, is_empty),
            HandedCondition::Spawning => panic!("nothing is being spawned"),
        };
        let known = |handed: HandedRun| {
            let ready = handed.is_ready_shown.then_some(Said::Ready(handed.run));
            std::iter::once(said((handed.run, handed.condition))).chain(ready)
        };
        handover.runs.into_iter().flat_map(known).collect()
    }

    impl Host for SimulatedHost {
        fn spawn(&mut self, run: RunId, script: Script) {
            let at = unit_of(run);
            for what in behaviour(script) {
                self.world.apply(&Command::Behave { unit: name(at), what });
            }
            self.world.order(Effect::Spawn { run, unit: UnitId(at), ordinal: 1 });
        }

        fn signal(&mut self, run: RunId, signal: SignalNumber, reach: Reach) {
            let scope = match reach {
                Reach::Main => SignalScope::Main,
                Reach::All => SignalScope::All,
            };
            self.world.order(Effect::Signal { run, signal, scope });
        }

        fn release(&mut self, run: RunId) {
            self.world.order(Effect::Release { run });
        }

        fn next(&mut self) -> Said {
            loop {
                self.listen();
                if let Some(said) = self.inbox.pop_front() {
                    return said;
                }
                assert!(self.world.let_next_happen().is_some(), "the virtual host says nothing");
            }
        }

        fn settle(&mut self) -> Vec<Said> {
            while self.world.let_next_happen().is_some() {}
            self.listen();
            self.inbox.drain(..).collect()
        }

        fn reconnect(&mut self) -> Vec<Said> {
            self.inbox.clear();
            handed(self.world.hand_over())
        }
    }

    #[test]
    fn the_simulated_host_keeps_every_claim() {
        let broken = broken_claims(|| SimulatedHost::new(Duration::ZERO));
        assert!(broken.is_empty(), "the virtual host breaks: {broken:#?}");
    }

    #[test]
    fn a_simulated_host_that_tells_everything_late_keeps_every_claim() {
        let broken = broken_claims(|| SimulatedHost::new(Duration::from_millis(200)));
        assert!(broken.is_empty(), "the virtual host breaks: {broken:#?}");
    }
}
