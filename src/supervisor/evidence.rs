//! What shows why a unit failed: what only the supervisor knows is put together at once, what the machine knows is
//! asked for by a worker, and both are on disk within the deadline or said to be missing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::aside::Threads;
use crate::engine::Engine;
use crate::engine::event::{SpawnStep, Verdict};
use crate::engine::id::{IncidentId, ProbeRunId, RunId, UnitId};
use crate::engine::state::FailureCause;
use crate::engine::time::{Now, Timestamp, nanos};
use crate::guard::Guard;
use crate::guard::curve::Sample;
use crate::incident::capture::{Capturer, DEADLINE, LogPoint, Subject};
use crate::incident::cause;
use crate::incident::evidence::{
    Answer, Change, Evidence, Exit, Failure, FailureKind, HostSample, Missing, Neighbour, Restart, Usage,
};
use crate::incident::store::Archive;
use crate::incident::times::Times;
use crate::keeper::wire::{self, LogPlace};
use crate::log::files::LogDir;
use crate::log::start::{self, Start};
use crate::supervisor::holdings::{Holding, Holdings, Stage};
use crate::supervisor::inbox::{Inbox, Outlet, Promise};
use crate::supervisor::launch::Ground;
use crate::supervisor::loading::{self, Changes};
use crate::supervisor::words::name_of;
use crate::unit::spec::listen::ListenAddress;
use crate::unit::spec::probe::{ProbeKind, Target};
use crate::unit::spec::{UnitSet, UnitSpec};

/// What the supervisor remembers so that it can be told when something fails.
#[derive(Debug)]
pub(crate) struct Witness {
    pub(crate) guard: Guard,
    capturer: Capturer,
    archive: Archive,
    outlet: Outlet,
    /// For what lies beside the units: their files, their logs.
    files: Threads,
    /// For all of it at once.
    all: Threads,
    state: PathBuf,
    changes: Arc<Changes>,
    /// Whose children the orphans of our runs are.
    pub(crate) keeper_pid: Option<i32>,
    /// Probes under way, with their beginning.
    asked: BTreeMap<ProbeRunId, (UnitId, u16, Timestamp)>,
    answers: BTreeMap<UnitId, VecDeque<Answered>>,
    ended: BTreeMap<UnitId, VecDeque<Restart>>,
    /// Whose evidence is kept already, by incident: one spell needs it once.
    taken: BTreeMap<IncidentId, BTreeSet<UnitId>>,
    /// When the trouble of an incident began, as the engine told.
    began: BTreeMap<IncidentId, Timestamp>,
}

#[derive(Debug)]
struct Answered {
    at_millis: u64,
    index: u16,
    took: Duration,
    verdict: Verdict,
}

/// One order of the engine.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) incident: IncidentId,
    pub(crate) unit: UnitId,
    pub(crate) run: Option<RunId>,
    pub(crate) cause: FailureCause,
}

impl Wanted {
    /// The answer, once.
    pub(crate) fn answer(self, evidence: Option<Box<Evidence>>, is_complete: bool) -> Inbox {
        let Self { incident, unit, run, cause: _ } = self;
        Inbox::EvidenceCaptured { incident, unit, run, evidence, is_complete }
    }
}

/// All that is known without asking the machine.
#[derive(Clone, Debug, Default)]
struct Scene {
    subject: Subject,
    /// When the run was ordered: what its log says since is its own.
    run_began_millis: Option<u64>,
    log_dir: PathBuf,
    changes: Arc<Changes>,
    /// Stems of the files that define the unit and what it depends on.
    defined_by: BTreeSet<String>,
    probes: Vec<Answer>,
    host: Vec<HostSample>,
    dependencies: Vec<Neighbour>,
    dependents: Vec<Neighbour>,
    restarts: Vec<Restart>,
    affected: Vec<String>,
}

impl Witness {
    pub(crate) fn new(state: &Path, archive: Archive, outlet: Outlet) -> Self {
        Self {
            guard: Guard::new(),
            capturer: Capturer::default(),
            archive,
            outlet,
            files: Threads::new("evidence", FILES),
            all: Threads::new("evidence at once", ALL),
            state: state.to_path_buf(),
            changes: Arc::new(loading::changes(state)),
            keeper_pid: None,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            ended: BTreeMap::new(),
            taken: BTreeMap::new(),
            began: BTreeMap::new(),
        }
    }

    pub(crate) fn probe_began(&mut self, probe: ProbeRunId, unit: UnitId, index: u16, now: Now) {
        self.asked.insert(probe, (unit, index, now.mono));
    }

    /// `None`: nobody wants to know any more.
    pub(crate) fn probe_ended(&mut self, probe: ProbeRunId, verdict: Option<&Verdict>, now: Now) {
        let Some((unit, index, began)) = self.asked.remove(&probe) else { return };
        let Some(verdict) = verdict else { return };
        let answers = self.answers.entry(unit).or_default();
        if answers.len() >= ANSWERS {
            answers.pop_front();
        }
        let took = now.mono.since(began);
        answers.push_back(Answered { at_millis: millis(now), index, took, verdict: verdict.clone() });
    }

    pub(crate) fn run_ended(&mut self, unit: UnitId, restart: Restart) {
        let ended = self.ended.entry(unit).or_default();
        if ended.len() >= RESTARTS {
            ended.pop_front();
        }
        ended.push_back(restart);
    }

    pub(crate) fn trouble_began(&mut self, incident: IncidentId, at: Timestamp) {
        self.began.entry(incident).or_insert(at);
    }

    pub(crate) fn over(&mut self, incident: IncidentId) {
        self.taken.remove(&incident);
        self.began.remove(&incident);
    }

    /// Takes the evidence of a unit, once for each incident.
    pub(crate) fn take(
        &mut self,
        now: Now,
        wanted: Wanted,
        engine: &Engine,
        ground: &Arc<Ground>,
        holdings: &Holdings,
    ) {
        let taken = self.taken.entry(wanted.incident).or_default();
        let is_first = taken.is_empty();
        if taken.len() >= UNITS_OF_ONE || !taken.insert(wanted.unit) {
            // What is kept stays: the later failures of a spell are in its timeline.
            return drop(self.outlet.send(wanted.answer(None, true)));
        }
        let Some(spec) = ground.set.unit(wanted.unit) else {
            return drop(self.outlet.send(wanted.answer(None, false)));
        };
        let scene = self.scene(now, &wanted, engine, ground, spec, holdings);
        let promise = Promise::new(self.outlet.clone(), wanted.clone().answer(None, false));
        let (capturer, archive) = (self.capturer.clone(), self.archive.clone());
        let (files, all) = (self.files.clone(), self.all.clone());
        tokio::task::spawn_local(async move {
            let is_over = scene.subject.is_over;
            let evidence = look(scene, capturer, &files, &all).await;
            let (evidence, is_complete) = keep(evidence, is_first, is_over, &archive).await;
            promise.keep(wanted.answer(Some(Box::new(evidence)), is_complete));
        });
    }

    fn scene(
        &self,
        now: Now,
        wanted: &Wanted,
        engine: &Engine,
        ground: &Ground,
        spec: &UnitSpec,
        holdings: &Holdings,
    ) -> Scene {
        let (set, unit) = (&ground.set, wanted.unit);
        let run = wanted.run.map(|run| run.0);
        let holding = run.and_then(|run| Some((run, holdings.runs.get(&run)?)));
        let detected = millis(now);
        let began = self.began.get(&wanted.incident).map_or(detected, |at| date(now, *at));
        let log_dir = ground.log_dir.join(spec.name.as_str());
        let process = holding.and_then(|(_, holding)| match holding.stage {
            Stage::Live(process) | Stage::Exited(process) => Some(process),
            Stage::Over => holding.process,
            Stage::Ordered | Stage::Unverified(_) | Stage::Foreign(_) => None,
        });
        let span = holding.and_then(|(_, held)| held.log_span.as_deref());
        let subject = Subject {
            incident: wanted.incident.0,
            unit: spec.name.to_string(),
            run: holding.map(|(run, held)| held.tag(run)).unwrap_or_default(),
            pid: process.and_then(|process| i32::try_from(process.pid).ok()),
            is_live: holding.is_some_and(|(_, held)| matches!(held.stage, Stage::Live(_))),
            is_over: holding.is_none_or(|(_, held)| held.stage == Stage::Over),
            orphans_of: self.keeper_pid,
            exit: holding.and_then(|(_, held)| exit_of(held)),
            usage: holding.and_then(|(_, held)| held.usage.as_deref().copied().map(usage)),
            failure: failure_of(&wanted.cause),
            times: Times { started_millis: began, detected_millis: detected, recovered_millis: None },
            log_dir: Some(log_dir.clone()),
            log_from: span.and_then(|span| span.from).map(point),
            log_until: span.and_then(|span| span.until).map(point),
            ports: ports_of(spec),
            directories: vec![
                ("log".to_owned(), ground.log_dir.clone()),
                ("state".to_owned(), self.state.clone()),
                ("working directory".to_owned(), ground.working_dir_path(spec)),
            ],
            cgroup: ground.cgroups.evidence_of(spec.name.as_str()),
            earlier_oom_kills: 0,
            killed_children: Vec::new(),
        };
        let graph = engine.graph();
        let impact = graph.impact(unit);
        let neighbour = |unit: UnitId| neighbour(engine, set, now, unit);
        let needs = || spec.depends_on.iter().map(|edge| edge.unit);
        Scene {
            subject,
            run_began_millis: holding.map(|(_, held)| date(now, Timestamp(held.spawned_at))),
            log_dir,
            changes: Arc::clone(&self.changes),
            defined_by: needs().chain([unit]).map(|unit| stem_of(name_of(set, unit))).collect(),
            probes: self.answers_of(unit, spec),
            host: self.guard.curve().iter().map(sample).collect(),
            dependencies: needs().take(NEIGHBOURS).filter_map(neighbour).collect(),
            dependents: impact.iter().take(NEIGHBOURS).filter_map(|one| neighbour(one.unit)).collect(),
            restarts: self.ended.get(&unit).into_iter().flatten().cloned().collect(),
            affected: affected(engine, set, wanted),
        }
    }

    fn answers_of(&self, unit: UnitId, spec: &UnitSpec) -> Vec<Answer> {
        let answers = self.answers.get(&unit).into_iter().flatten();
        let answer = |answered: &Answered| {
            let (verdict, said) = match &answered.verdict {
                Verdict::Pass(said) => ("pass", said),
                Verdict::Fail(said) => ("fail", said),
                Verdict::Error(said) => ("error", said),
            };
            let probe = spec.health.get(usize::from(answered.index));
            Answer {
                at_millis: answered.at_millis,
                probe: probe.map_or("", |probe| kind_of(&probe.kind)).to_owned(),
                verdict: verdict.to_owned(),
                said: said.to_string(),
                took_micros: u64::try_from(answered.took.as_micros()).ok(),
            }
        };
        answers.map(answer).collect()
    }
}

/// Asks and judges. Of a run that is over everything is a file or gone, and nobody waits: all of it in one go, and
/// each kind for itself only where that does not come back.
async fn look(scene: Scene, capturer: Capturer, files: &Threads, all: &Threads) -> Evidence {
    if scene.subject.is_over {
        let (scene, capturer) = (scene.clone(), capturer.clone());
        if let Some(evidence) = all.ask(AT_ONCE, move || scene.look_at_all(&capturer)).await {
            return evidence;
        }
    }
    let (known_from, near) = (scene.subject.log_from, scene.clone());
    let around = files.ask(DEADLINE / 8, move || near.around()).await;
    let mut subject = scene.subject.clone();
    subject.log_from = around.as_ref().map_or(known_from, |(from, _)| *from);
    let mut evidence = capturer.capture(subject, DEADLINE / 2).await;
    match around {
        Some((_, change)) => evidence.change = change,
        None => evidence.incomplete.push(missing("configuration", "no answer in time")),
    }
    judged(scene.put_into(evidence), files, DEADLINE / 8).await
}

/// On disk, within the deadline where somebody waits. True: nothing is missing.
async fn keep(mut evidence: Evidence, is_first: bool, is_over: bool, archive: &Archive) -> (Evidence, bool) {
    let limit = if is_over { UNHURRIED } else { DEADLINE / 4 };
    let kept = if is_first {
        archive.keep_first(evidence.clone(), limit).await
    } else {
        archive.keep_beside(evidence.clone(), limit).await
    };
    if let Err(error) = kept {
        evidence.incomplete.push(missing("files", &error.to_string()));
    }
    let is_complete = evidence.is_complete();
    (evidence, is_complete)
}

impl Scene {
    /// On a thread.
    fn look_at_all(mut self, capturer: &Capturer) -> Evidence {
        let (from, change) = self.around();
        self.subject.log_from = from;
        let mut evidence = capturer.capture_here(self.subject.clone(), DEADLINE / 2);
        evidence.change = change;
        let mut evidence = self.put_into(evidence);
        evidence.causes = cause::rank(&evidence);
        evidence
    }

    /// Where the run's log begins, and what was changed last. On a thread.
    fn around(&self) -> (Option<LogPoint>, Option<Change>) {
        let is_silent = self.subject.log_until.is_some_and(|until| until.inode == 0);
        let looked_for = || log_from(&self.log_dir, self.run_began_millis.filter(|_| !is_silent)?);
        let from = self.subject.log_from.or_else(looked_for);
        (from, changed(&self.changes, &self.defined_by))
    }

    fn put_into(self, evidence: Evidence) -> Evidence {
        Evidence {
            probes: self.probes,
            host: self.host,
            dependencies: self.dependencies,
            dependents: self.dependents,
            restarts: self.restarts,
            affected: self.affected,
            ..evidence
        }
    }
}

/// With its probable causes: hundreds of lines are read for them, so not on the loop.
async fn judged(evidence: Evidence, files: &Threads, limit: Duration) -> Evidence {
    let evidence = Arc::new(evidence);
    let shared = Arc::clone(&evidence);
    let causes = files.ask(limit, move || cause::rank(&shared)).await;
    let mut evidence = Arc::unwrap_or_clone(evidence);
    match causes {
        Some(causes) => evidence.causes = causes,
        None => evidence.incomplete.push(missing("causes", "no answer in time")),
    }
    evidence
}

/// Where the first byte since that moment is, as near as the log's hints tell and rather too early.
fn log_from(dir: &Path, since_millis: u64) -> Option<LogPoint> {
    let (parent, unit) = (dir.parent()?, dir.file_name()?.to_str()?);
    let dir = LogDir::new(parent, unit);
    let files = dir.list().ok()?;
    let start = Start { lines: None, since: Some(since_millis.saturating_mul(1_000_000)) };
    let place = start::find(&dir, &files, start).ok()?;
    Some(LogPoint { inode: files.get(place.file)?.id.numbers().0, offset: place.offset })
}

/// The file among these that differs since the latest date.
fn changed(dates: &Changes, stems: &BTreeSet<String>) -> Option<Change> {
    let names = stems.iter().map(String::as_str).chain(["mcsup"]);
    let dated = names.filter_map(|stem| {
        let name = format!("{stem}.yaml");
        Some((*dates.get(&name)?, name))
    });
    dated.max().map(|(at_millis, name)| Change { at_millis, what: format!("file {name}") })
}

/// The file of `web@1` is `web.yaml`, or `web@.yaml` for an instance of a template.
fn stem_of(name: &str) -> String {
    name.split_once('@').map_or(name, |(stem, _)| stem).to_owned()
}

fn neighbour(engine: &Engine, set: &UnitSet, now: Now, unit: UnitId) -> Option<Neighbour> {
    let status = engine.status(unit)?;
    Some(Neighbour {
        unit: name_of(set, unit).to_owned(),
        state: status.state.as_str().to_owned(),
        reason: status.reason,
        since_millis: date(now, status.since),
        is_wanted: status.desired.is_up(),
    })
}

/// Others that are part of the same incident by now, or are reached by it.
fn affected(engine: &Engine, set: &UnitSet, wanted: &Wanted) -> Vec<String> {
    let of_it = |unit: &UnitId| {
        *unit != wanted.unit
            && engine
                .status(*unit)
                .is_some_and(|status| [status.incident, status.reached_by].contains(&Some(wanted.incident)))
    };
    let reached = engine.graph().impact(wanted.unit).into_iter().map(|one| one.unit);
    reached.filter(of_it).map(|unit| name_of(set, unit).to_owned()).collect()
}

fn point(place: LogPlace) -> LogPoint {
    LogPoint { inode: place.inode, offset: place.offset }
}

fn failure_of(cause: &FailureCause) -> Failure {
    let failure = |kind| Failure { kind, said: cause.to_string(), step: None, errno: None };
    match cause {
        FailureCause::SpawnFailed(spawn) => Failure {
            step: Some(step_words(spawn.step)),
            errno: (spawn.errno != 0).then_some(spawn.errno),
            ..failure(FailureKind::NotStarted)
        },
        FailureCause::ExitedEarly(_) | FailureCause::ExitedSilent(_) | FailureCause::Exited(_) => {
            failure(FailureKind::Exited)
        }
        FailureCause::StartTimeout(_) => failure(FailureKind::StartTimeout),
        FailureCause::Unhealthy(_) => failure(FailureKind::Unhealthy),
        FailureCause::Watchdog(_) => failure(FailureKind::Watchdog),
        FailureCause::CannotProbe(_) | FailureCause::Unkillable | FailureCause::Job(_) => {
            failure(FailureKind::Other)
        }
        FailureCause::RungStopped(last) | FailureCause::StartLimit { last, .. } => {
            Failure { said: cause.to_string(), ..failure_of(last) }
        }
    }
}

fn step_words(step: SpawnStep) -> String {
    match step {
        SpawnStep::Chdir => "working directory".to_owned(),
        SpawnStep::Setuid | SpawnStep::Groups => "user".to_owned(),
        SpawnStep::Setgid => "group".to_owned(),
        SpawnStep::Expand
        | SpawnStep::Lookup
        | SpawnStep::Prepare
        | SpawnStep::Clone
        | SpawnStep::Session
        | SpawnStep::Limits
        | SpawnStep::Listen
        | SpawnStep::OomScore
        | SpawnStep::Descriptors
        | SpawnStep::Exec
        | SpawnStep::Timeout
        | SpawnStep::Cgroup
        | SpawnStep::Nice
        | SpawnStep::CpuAffinity
        | SpawnStep::PrivateTmp
        | SpawnStep::Credentials
        | SpawnStep::ReadOnly
        | SpawnStep::NoNewPrivileges
        | SpawnStep::Capabilities => step.to_string(),
    }
}

fn exit_of(holding: &Holding) -> Option<Exit> {
    let was_sent = |number: u8| holding.signals.checked_shr(u32::from(number)).unwrap_or_default() & 1 == 1;
    Some(match holding.exit? {
        wire::Exit::Code(code) => Exit { code: Some(code), is_ours: holding.signals != 0, ..Exit::default() },
        wire::Exit::Signal { number, dumped_core } => {
            Exit { signal: Some(number), dumped_core, is_ours: was_sent(number), ..Exit::default() }
        }
        wire::Exit::Unknown => return None,
    })
}

fn usage(usage: wire::Usage) -> Usage {
    Usage {
        user_micros: usage.user_us,
        system_micros: usage.system_us,
        most_memory_bytes: usage.max_rss_kib.saturating_mul(1024),
    }
}

/// Where the unit listens, as far as its definition tells.
fn ports_of(spec: &UnitSpec) -> Vec<u16> {
    let listens = spec.listen.sockets.iter().filter_map(|socket| match &socket.address {
        ListenAddress::Tcp(address) | ListenAddress::Udp(address) => Some(address.port),
        ListenAddress::Unix { .. } => None,
    });
    let target = |target: &Target| match target {
        Target::Tcp(address) => Some(address.port),
        Target::Unix(_) => None,
    };
    let probes = spec.health.iter().filter_map(|probe| match &probe.kind {
        ProbeKind::Tcp(address) => Some(address.port),
        ProbeKind::Http(probe) => target(&probe.target),
        ProbeKind::Redis(probe) => target(&probe.target),
        ProbeKind::Postgres(probe) => target(&probe.target),
        ProbeKind::Grpc(probe) => target(&probe.target),
        ProbeKind::Exec { .. }
        | ProbeKind::Unix { .. }
        | ProbeKind::File(_)
        | ProbeKind::Log(_)
        | ProbeKind::Check(_) => None,
    });
    let ports: BTreeSet<u16> = listens.chain(probes).collect();
    ports.into_iter().collect()
}

fn kind_of(kind: &ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Exec { .. } => "exec",
        ProbeKind::Tcp(_) => "tcp",
        ProbeKind::Unix { .. } => "unix",
        ProbeKind::Http(_) => "http",
        ProbeKind::Redis(_) => "redis",
        ProbeKind::Postgres(_) => "postgres",
        ProbeKind::Grpc(_) => "grpc",
        ProbeKind::File(_) => "file",
        ProbeKind::Log(_) => "log",
        ProbeKind::Check(_) => "check",
    }
}

fn sample(sample: &Sample) -> HostSample {
    HostSample {
        at_millis: sample.at_millis,
        cpu_percent: sample.cpu_percent,
        memory_percent: sample.memory_percent,
        load: sample.load,
        cpu_pressure: sample.pressure.cpu,
        memory_pressure: sample.pressure.memory,
        io_pressure: sample.pressure.io,
    }
}

fn missing(what: &str, why: &str) -> Missing {
    Missing { what: what.to_owned(), why: why.to_owned() }
}

pub(crate) fn millis(now: Now) -> u64 {
    now.wall.0 / 1_000_000
}

/// The date of an instant that is past.
pub(crate) fn date(now: Now, at: Timestamp) -> u64 {
    now.wall.0.saturating_sub(nanos(now.mono.since(at))) / 1_000_000
}

/// How many of the runtime's threads evidence may take.
pub(crate) const EVIDENCE_THREADS: usize = Capturer::THREADS + FILES + ALL + 1;
const FILES: usize = 2;
/// One after the other: whoever waits for this has no hurry.
const ALL: usize = 1;
/// In which all of it is there, unless something hangs. More than a capture takes that does not: what counts kills
/// would have told this one already.
const AT_ONCE: Duration = Duration::from_millis(1500);
/// In which the evidence of a run that is over is on disk. Nobody waits for it, and when a hundred fail at once each
/// waits for its turn; a disk that takes longer is as good as full.
const UNHURRIED: Duration = Duration::from_secs(30);
/// Of each unit, as many as show a streak.
const ANSWERS: usize = 5;
const RESTARTS: usize = 10;
/// Whose states are kept beside the evidence, of each side.
const NEIGHBOURS: usize = 50;
/// Units of one incident whose evidence is taken; the others are in its timeline.
const UNITS_OF_ONE: usize = 16;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::incident::store::{Keep, Store};

    #[test]
    fn what_changed_last_is_looked_for_among_the_files_that_matter() {
        let dates = [("web.yaml", 5_000), ("db.yaml", 4_000), ("stranger.yaml", 6_000)];
        let dates = dates.map(|(name, at)| (name.to_owned(), at)).into();
        let found = changed(&dates, &BTreeSet::from([stem_of("web@2"), stem_of("db"), stem_of("gone")]));
        assert_eq!(found, Some(Change { at_millis: 5_000, what: "file web.yaml".into() }));
        assert_eq!(changed(&dates, &BTreeSet::new()), None);
    }

    /// A kind of threads that are all held up, until the sender is dropped.
    fn held_up() -> (Threads, std::sync::mpsc::Sender<()>) {
        let threads = Threads::new("test", 1);
        let (end, hang) = std::sync::mpsc::channel();
        threads.try_begin(move || assert!(hang.recv().is_err())).unwrap();
        (threads, end)
    }

    fn look_at(is_over: bool, files: &Threads, all: &Threads) -> Evidence {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let subject = Subject { incident: 7, is_over, ..Subject::default() };
        let scene = Scene { subject, affected: vec!["web".to_owned()], ..Scene::default() };
        let evidence = runtime.block_on(look(scene, Capturer::default(), files, all));
        runtime.shutdown_background();
        assert_eq!((evidence.incident, evidence.affected.len()), (7, 1));
        assert!(evidence.memory.is_some());
        evidence
    }

    #[test]
    fn of_a_run_that_is_over_all_is_taken_in_one_go_and_by_kinds_where_that_hangs() {
        let (hung, _end) = held_up();
        let free = Threads::new("test", 1);
        let at_once = look_at(true, &hung, &free);
        assert!(at_once.is_complete(), "no other thread was asked: {:?}", at_once.incomplete);
        let by_kinds = look_at(true, &free, &hung);
        assert!(by_kinds.is_complete(), "{:?}", by_kinds.incomplete);
        let live = look_at(false, &hung, &free);
        assert!(!live.is_complete(), "of a run that lives each kind is asked for itself");
    }

    #[test]
    fn of_a_run_that_is_over_the_files_wait_for_their_turn_however_many_fail_at_once() {
        let state = std::env::temp_dir().join(format!("mcsup-turn-{}", std::process::id()));
        let archive = Archive::new(Store::new(state.clone(), Keep::default()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let (end, hang) = std::sync::mpsc::channel::<()>();
        let evidence = |incident| Evidence { incident, unit: "web".into(), ..Evidence::default() };
        local.block_on(&runtime, async {
            // The evidence of others, say.
            let held_up = archive.clone();
            let wait = move |_: &Store| {
                assert!(hang.recv().is_err());
                Ok(())
            };
            let others = tokio::task::spawn_local(async move { held_up.write(wait, UNHURRIED).await });
            tokio::task::yield_now().await;
            let queued = archive.clone();
            let over = tokio::task::spawn_local(keep_owned(evidence(7), true, queued));
            let (live, is_complete) = keep(evidence(8), true, false, &archive).await;
            assert!(!is_complete && !live.is_complete(), "who is to be ended waits no longer");
            drop(end);
            others.await.unwrap().unwrap();
            let (over, is_complete) = over.await.unwrap();
            assert!(is_complete, "{:?}", over.incomplete);
        });
        assert!(archive.path_of(7).join("evidence.json").exists());
        fs::remove_dir_all(&state).unwrap();
    }

    async fn keep_owned(evidence: Evidence, is_over: bool, archive: Archive) -> (Evidence, bool) {
        keep(evidence, true, is_over, &archive).await
    }
}
