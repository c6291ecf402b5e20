//! A supervisor without processes: it answers every query from a canned table, so that the API and the
//! commands are tested for what they say alone.

#![allow(dead_code, reason = "each test file uses its part of this")]
#![allow(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mcsup::api::Context;
use mcsup::api::caller::Rules;
use mcsup::engine::effect::{Answer, ChangeOutcome, Fact, Line};
use mcsup::engine::event::{Ask, ExitStatus, JobVerdict};
use mcsup::engine::id::{IncidentId, PhaseId, RunId, UnitId};
use mcsup::engine::state::{Desired, DownSource, Health, StateName, UpSource};
use mcsup::engine::status::{JobStatus, Overview, UnitStatus, WhyLink};
use mcsup::engine::time::{Timestamp, WallTime};
use mcsup::generation::manifest::{Verdict, Waits, Word};
use mcsup::generation::{Draft, Store, UnitsFile};
use mcsup::graph::Plan;
use mcsup::supervisor::cgroups::Cgroups;
use mcsup::supervisor::handle::{
    Asked, Called, Cause, ChangeAnswer, ChangeCause, EventRecord, Evidence, Handle, Happening, IncidentList,
    IncidentRow, IncidentStory, Invalid, JobEntry, JobRunRow, JobTable, Listed, Moment, Pending, Planned,
    Query, Question, Rehearsed, Replacement, Rule, Source, Standing, StatusTable, What, Who, Window,
};
use mcsup::supervisor::home::Home;
use mcsup::unit::SourceFile;
use mcsup::unit::diagnostic::Place;
use mcsup::unit::name::UnitName;
use mcsup::unit::spec::listen::Listen;
use mcsup::unit::spec::recover::Ladder;
use mcsup::unit::spec::{
    Backoff, Condition, Dependency, Fingerprint, Follow, InheritEnv, Levers, LogSpec, Piece, Ready,
    RestartPolicy, RestartSpec, SignalNumber, StopSpec, Template, UnitKind, UnitSet, UnitSpec, WhenFull,
};
use tokio::net::UnixListener;
use tokio::sync::{broadcast, mpsc, oneshot};

/// 2026-11-20T06:31:00Z
pub(crate) const WALL: WallTime = WallTime(1_795_156_260_000_000_000);
/// 2023-11-14T22:13:20Z: on no day of a test is this today.
const KEPT_MILLIS: u64 = 1_700_000_000_000;
const NOW: Timestamp = Timestamp(1_000_000_000_000);

pub(crate) struct Fake {
    pub set: Arc<UnitSet>,
    pub statuses: Vec<UnitStatus>,
    pub kept: Vec<Arc<EventRecord>>,
    pub live: broadcast::Sender<Arc<EventRecord>>,
    /// Asks that will be answered never.
    pub held: Vec<oneshot::Sender<Answer>>,
    pub standing: Standing,
    ended: Option<oneshot::Sender<()>>,
}

impl Fake {
    /// The canned machine: five units in three phases, of which two are not well.
    pub(crate) fn new() -> Self {
        let mut units = vec![
            spec("mail", 2, UnitKind::Service),
            spec("redis", 1, UnitKind::Service),
            spec("storage", 0, UnitKind::Task),
            spec("web@1", 2, UnitKind::Service),
            spec("worker", 2, UnitKind::Service),
        ];
        units[0].enabled = false;
        units[1].description = Some("cache and message bus".into());
        units[1].protected = true;
        units[1].runbook = Some("https://example.org/redis".into());
        units[1].command = vec![
            Template::Plain("redis-server".into()),
            Template::Plain("--save".into()),
            Template::Plain("".into()),
            Template::Pieces(vec![
                Piece::Text("--port=".into()),
                Piece::Variable { name: "PORT".into(), default: Some("6379".into()) },
            ]),
        ];
        units[1].labels = [("team".into(), "ops".into())].into();
        units[3].depends_on = vec![edge(1, Condition::Healthy)];
        units[4].slo_ppm = Some(999_500);
        units[4].depends_on = vec![edge(3, Condition::Started), edge(1, Condition::Healthy)];
        let statuses = vec![
            status(0, StateName::Inactive, "not enabled"),
            UnitStatus {
                run: Some(RunId(7)),
                ordinal: 4,
                pid: Some(4242),
                told: Some("Ready to accept connections".into()),
                restarts: 3,
                health: Some(Health::Passing),
                last_exit: Some(ExitStatus::Signal { signal: SignalNumber::KILL, dumped_core: false }),
                ..status(1, StateName::Ready, "PONG in 0.3 ms")
            },
            UnitStatus {
                ordinal: 1,
                last_exit: Some(ExitStatus::Code(0)),
                ..status(2, StateName::Completed, "exited with 0")
            },
            status(3, StateName::Waiting, "waits for redis to be healthy"),
            UnitStatus {
                ordinal: 9,
                last_exit: Some(ExitStatus::Code(1)),
                incident: Some(IncidentId(2)),
                health: Some(Health::Failing),
                ..status(4, StateName::Failed, "gave up after 9 starts: exited with 1")
            },
        ];
        let phases = vec!["base".into(), "core".into(), "edge".into()];
        Self::of(set(units, phases), statuses)
    }

    /// As many ready services as asked for.
    pub(crate) fn many(count: u32) -> Self {
        let units = (0..count).map(|number| spec(&format!("unit-{number:05}"), 0, UnitKind::Service));
        let statuses = (0..count).map(|number| UnitStatus {
            pid: Some(1000 + number),
            health: Some(Health::Passing),
            ..status(number, StateName::Ready, "200 in 3 ms")
        });
        let statuses = statuses.collect();
        Self::of(set(units.collect(), vec!["main".into()]), statuses)
    }

    /// Two replicas of `web`, both ready.
    pub(crate) fn replicas() -> Self {
        let units = ["web@1", "web@2"].map(|name| spec(name, 0, UnitKind::Service));
        let statuses = [0, 1].map(|number| status(number, StateName::Ready, "200 in 3 ms"));
        Self::of(set(units.into(), vec!["main".into()]), statuses.into())
    }

    /// Three jobs: one that passed, one that was rejected and runs, one that never ran.
    pub(crate) fn jobs() -> Self {
        let source = |name: &str, text: &str| SourceFile {
            name: format!("{name}.yaml"),
            bytes: format!("kind: job\ncommand: 'true'\n{text}").into_bytes(),
        };
        let sources = [
            source("brief", "schedule: 0 6 * * *\ntimezone: Europe/Berlin\n"),
            source("poll", "every: 15m\n"),
            source("trends", "schedule: 0 8 * * *\n"),
        ];
        let set = mcsup::graph::load(&sources).set.unwrap();
        let statuses = vec![
            status(0, StateName::Ready, "armed; next Sat 2026-11-21 06:00 CET"),
            status(1, StateName::Ready, "armed"),
            status(2, StateName::Unhealthy, "rejected: 2 trends, wanted >= 3; running trends#5 for a person"),
        ];
        Self::of(set, statuses)
    }

    fn of(set: UnitSet, statuses: Vec<UnitStatus>) -> Self {
        let set = Arc::new(set);
        let (live, _) = broadcast::channel(16);
        let standing = Standing { generation: Some(3), ..Standing::default() };
        let mut fake =
            Self { set, statuses, kept: Vec::new(), live, held: Vec::new(), standing, ended: None };
        fake.kept = every_kind_of_fact()
            .into_iter()
            .zip(1..)
            .map(|(fact, number)| fake.record(number, fact))
            .collect();
        fake
    }

    pub(crate) fn record(&self, number: u64, fact: Fact) -> Arc<EventRecord> {
        let at = WallTime(WALL.0 + number * 1_000_000_000);
        Arc::new(EventRecord { number, at, what: Happening::Fact(fact), set: Arc::clone(&self.set) })
    }

    /// Answers until there is nobody left to ask, or the shutdown was asked for.
    pub(crate) async fn run(mut self, mut queries: mpsc::Receiver<Query>, ended: oneshot::Sender<()>) {
        self.ended = Some(ended);
        while let Some(query) = queries.recv().await {
            match query {
                Query::Ask { ask, reply } => self.asked(&ask, reply),
                Query::Status { units, reply } => drop(reply.send(self.table(units.as_deref()))),
                Query::Why { unit, reply } => drop(reply.send(self.why(&unit))),
                Query::Jobs { unit, reply } => drop(reply.send(self.job_table(unit))),
                Query::JobOutput { reply, .. } => drop(reply.send(None)),
                Query::Call { reply, .. } => drop(reply.send(Called::Taken)),
                Query::Announce(_) => {}
                Query::Reexec(reply) => {
                    let (number, from, to) = (1, "0.1.0".to_owned(), "0.2.0".to_owned());
                    drop(reply.send(Ok(Rehearsed { number, from, to })));
                }
                Query::Replacement(reply) => drop(reply.send(Some(replacement()))),
                Query::AtEnd { reply, .. } => drop(reply.send(false)),
                Query::Change(Asked { what, reply, .. }) => drop(reply.map(|reply| reply.send(change(what)))),
                Query::Standing(reply) => drop(reply.send(self.standing.clone())),
                Query::Chronicle(question) => answer(question),
                Query::Events { after, reply } => {
                    let kept = self.kept.iter().filter(|record| record.number > after).cloned().collect();
                    drop(reply.send((kept, self.live.subscribe())));
                }
            }
        }
    }

    fn job_table(&self, wanted: Option<UnitId>) -> JobTable {
        let millis = WALL.0 / 1_000_000;
        let run = |ordinal, ago: u64, verdict: &str, why: &str| JobRunRow {
            unit: String::new(),
            ordinal,
            serial: 0,
            trigger: "its schedule".into(),
            began_millis: millis - ago * 1000,
            ended_millis: millis - ago * 1000 + 2500,
            exit: "exited with 0".into(),
            verdict: verdict.into(),
            why: why.into(),
            kept: Some(u64::from(ordinal)),
        };
        let rejected = "2 trends, wanted >= 3";
        let entry = |status: &UnitStatus| {
            let (verdict, streak, runs, recent) = match self.set.unit(status.unit).unwrap().name.as_str() {
                "brief" => (Some(JobVerdict::Passed), 7, vec![], vec![run(7, 3600, "passed", "")]),
                "trends" => {
                    let recent = vec![run(4, 60, "rejected", rejected), run(3, 7200, "passed", "")];
                    (Some(JobVerdict::Rejected(rejected.into())), 1, vec![(RunId(9), 5)], recent)
                }
                _ => (None, 0, vec![], vec![]),
            };
            let next_slot = (status.unit != UnitId(1)).then_some(WallTime(WALL.0 + 3_600_000_000_000));
            let status_of_job =
                JobStatus { verdict, streak, last_slot: WALL, next_slot, runs, waiting: streak as usize / 7 };
            let (state, reason) = (status.state, status.reason.clone());
            JobEntry { unit: status.unit, state, reason, status: status_of_job, recent }
        };
        let is_job = |status: &&UnitStatus| {
            self.set.unit(status.unit).is_some_and(|spec| spec.kind == UnitKind::Job)
                && wanted.is_none_or(|wanted| wanted == status.unit)
        };
        let jobs = self.statuses.iter().filter(is_job).map(entry).collect();
        JobTable { set: Arc::clone(&self.set), jobs }
    }

    fn table(&self, units: Option<&[UnitName]>) -> StatusTable {
        let is_wanted = |unit: &UnitStatus| {
            units.is_none_or(|names| {
                names.iter().any(|name| self.set.named(name.as_str()).contains(&unit.unit))
            })
        };
        StatusTable {
            cgroups: Arc::new(Cgroups::new(Err("there are none in a test".to_owned()))),
            set: Arc::clone(&self.set),
            overview: Overview {
                is_booted: true,
                phase: PhaseId(u16::try_from(self.set.phases.len() - 1).unwrap()),
                is_stopping: false,
                open_incidents: 1,
                late_facts: 0,
            },
            units: self.statuses.iter().filter(|unit| is_wanted(unit)).cloned().collect(),
            now: NOW,
            wall: WALL,
        }
    }

    fn why(&self, unit: &UnitName) -> Option<Vec<WhyLink>> {
        let unit = self.set.find(unit.as_str())?;
        let status = &self.statuses[unit.0 as usize];
        let mut chain = vec![WhyLink { unit, state: status.state, text: status.reason.clone() }];
        if status.state == StateName::Waiting {
            chain.push(WhyLink { unit: UnitId(1), state: StateName::Ready, text: "PONG in 0.3 ms".into() });
        }
        Some(chain)
    }

    /// `worker` never comes up well, `mail` is refused, `web@1` is never done, and the rest goes well.
    fn asked(&mut self, ask: &Ask, reply: oneshot::Sender<Answer>) {
        if matches!(ask, Ask::Shutdown { .. } | Ask::ShutdownNow { .. }) {
            drop(reply.send(Answer::Done(Vec::new())));
            if let Some(ended) = self.ended.take() {
                ended.send(()).ok();
            }
            return;
        }
        if *ask == Ask::Confirm {
            return drop(reply.send(Answer::Done(Vec::new())));
        }
        if *ask == Ask::Abandon {
            return drop(reply.send(Answer::Refused("no change is under way".into())));
        }
        if let Some(unknown) = ask.units().iter().find(|name| self.set.find(name.as_str()).is_none()) {
            // Near enough for a fake.
            let is_near = |name: &&UnitName| name.as_str().get(..1) == unknown.as_str().get(..1);
            let nearest = self.set.units.iter().map(|spec| &spec.name).find(is_near).cloned();
            drop(reply.send(Answer::Unknown { unit: unknown.clone(), nearest }));
            return;
        }
        let names: Vec<&str> = ask.units().iter().map(UnitName::as_str).collect();
        if names.contains(&"web@1") {
            self.held.push(reply);
        } else if names.contains(&"mail") {
            drop(reply.send(Answer::Refused("a shutdown is under way".into())));
        } else {
            let lines = names.iter().map(|name| Line {
                unit: self.set.find(name).unwrap(),
                is_well: *name != "worker",
                text: if *name == "worker" { "exited with 1".into() } else { format!("{ask:?}").into() },
            });
            let lines: Vec<Line> = lines.collect();
            let is_well = lines.iter().all(|line| line.is_well);
            drop(reply.send(if is_well { Answer::Done(lines) } else { Answer::NotWell(lines) }));
        }
    }
}

/// One incident that is over, and one that is open.
fn incidents() -> Vec<Listed> {
    let millis = WALL.0 / 1_000_000;
    let over = IncidentRow {
        id: 1,
        root: Some("redis".into()),
        started_millis: millis - 3_600_000,
        detected_millis: millis - 3_599_000,
        recovered_millis: Some(millis - 3_540_000),
        affected: vec!["web@1".into(), "worker".into()],
        failure: "killed by SIGKILL".into(),
        cause: "somebody killed it".into(),
        verdict: "a restart helped".into(),
    };
    let open = IncidentRow {
        id: 2,
        root: Some("worker".into()),
        started_millis: millis - 60_000,
        detected_millis: millis - 60_000,
        failure: "exited with 1".into(),
        cause: taken().sentence,
        verdict: "given up: gave up after 9 starts: exited with 1".into(),
        ..IncidentRow::default()
    };
    vec![Listed { row: open, is_open: true }, Listed { row: over, is_open: false }]
}

fn taken() -> Cause {
    Cause {
        rule: Rule::PortInUse,
        score: 90,
        sentence: "0.0.0.0:8080 is taken by python3 (pid 77)".into(),
        fact: "bind: Address already in use".into(),
    }
}

fn story(listed: Listed) -> IncidentStory {
    let evidence = Evidence { unit: "worker".into(), causes: vec![taken()], ..Evidence::default() };
    let evidence = (listed.row.id == 2).then_some(evidence);
    let moment = Moment {
        at_millis: listed.row.detected_millis,
        unit: listed.row.root.clone().unwrap_or_default(),
        kind: "opened".into(),
        text: format!("incident {} opened: {}", listed.row.id, listed.row.failure),
    };
    let directory = format!("/state/incidents/{:06}", listed.row.id).into();
    IncidentStory { listed, directory, evidence, timeline: vec![moment] }
}

fn answer(question: Question) {
    match question {
        Question::Incidents { since_millis, reply } => {
            let incidents = incidents().into_iter().filter(|one| one.row.detected_millis >= since_millis);
            let window = Window {
                incidents: 2,
                open: 1,
                mttd_mean_millis: Some(500),
                mttd_median_millis: Some(500),
                mttr_mean_millis: Some(60_000),
                mttr_median_millis: Some(60_000),
            };
            drop(reply.send(IncidentList { incidents: incidents.collect(), window, gap: String::new() }));
        }
        Question::Incident { id, reply } => {
            drop(reply.send(incidents().into_iter().find(|one| one.row.id == id).map(story)));
        }
        Question::JobRuns { reply, .. } => drop(reply.send(Vec::new())),
        Question::Cause { incident, reply } => drop(reply.send((incident == 2).then(taken))),
    }
}

/// `/broken` cannot be used, nor can a text with a `restrat`; `/protected` waits for somebody; what goes to another
/// generation does not hold; whoever wants to confirm has to. All else is generation 3 and holds.
/// As of an executable that could not take over.
fn replacement() -> Replacement {
    Replacement {
        number: 1,
        from: "0.1.0".into(),
        to: "0.2.0".into(),
        trouble: Some("its rehearsal ended with 127".into()),
        is_news: false,
    }
}

fn change(what: What) -> ChangeAnswer {
    let is_broken = |source: &Source| match source {
        Source::Other(dir) => dir.ends_with("broken"),
        Source::Unit { text, .. } => text.contains("restrat"),
        Source::Directory | Source::Generation(_) | Source::Pending(_) => false,
    };
    let ended = |outcome| ChangeAnswer::Ended { generation: 3, outcome, pending: None };
    match what {
        What::Plan(source) | What::Apply { source, .. } if is_broken(&source) => {
            let text = "error[unknown-key]: unknown key `restrat`\n\n".to_owned();
            ChangeAnswer::Invalid(Invalid { text, errors: 1 })
        }
        What::Plan(Source::Other(dir)) | What::Apply { source: Source::Other(dir), .. }
            if dir.ends_with("nowhere") =>
        {
            ChangeAnswer::Refused("cannot read `/nowhere`: No such file or directory".to_owned())
        }
        What::Plan(Source::Generation(_)) => ChangeAnswer::Same,
        What::Plan(_) => ChangeAnswer::Planned(planned()),
        What::Apply { source: Source::Other(_), .. } => {
            let waits = Waits { units: vec!["redis".to_owned()], settings: Vec::new() };
            ChangeAnswer::Pending(Pending { generation: 4, waits, is_of_directory: false })
        }
        What::Apply { source: Source::Generation(_), .. } => {
            ended(ChangeOutcome::RolledBack { why: "web is failed: exited with 1".into(), is_well: true })
        }
        What::Apply { confirm: Some(_), .. } => ChangeAnswer::WaitsToBeConfirmed { generation: 3 },
        What::Apply { .. } | What::Approve(_) => ended(ChangeOutcome::Committed),
        What::Reject { generation, .. } => ChangeAnswer::Rejected { generation },
    }
}

/// Files of a units directory, before and after.
const FILES: [&[(&str, &str)]; 2] = [
    &[
        ("old.yaml", "command: [old]\n"),
        ("redis.yaml", "command: [redis-server, --port, \"6379\"]\nprotected: true\n"),
        ("store.yaml", "command: [store]\ndescription: keeps all\n"),
        (
            "web.yaml",
            "command: [web]\ndepends_on: {redis: {condition: started, follow: restart}}\nenvironment: {API_TOKEN: one}\n",
        ),
    ],
    &[
        ("cache.yaml", "command: [cache]\n"),
        ("mcsup.yaml", "apply: {verify: 10s}\n"),
        ("redis.yaml", "command: [redis-server, --port, \"6380\"]\nprotected: true\nstop: {grace: 3s}\n"),
        ("store.yaml", "# Comments count for nothing.\ncommand: [store]\ndescription: keeps all\n"),
        (
            "web.yaml",
            "command: [web]\ndepends_on: {redis: {condition: started, follow: restart}}\nenvironment: {API_TOKEN: one}\n",
        ),
    ],
];

fn planned() -> Planned {
    let [before, after] = FILES.map(|files| {
        let source = |(name, text): &(&str, &str)| SourceFile { name: (*name).into(), bytes: (*text).into() };
        mcsup::graph::load(&files.iter().map(source).collect::<Vec<_>>()).set.unwrap()
    });
    let set = Arc::new(before.followed_by(&after).set);
    let plan = Plan::new(&before, &set);
    Planned { before: Arc::new(before), set, reread: [].into(), plan, warnings: String::new() }
}

fn every_kind_of_fact() -> Vec<Fact> {
    let redis = UnitId(0);
    let unit = Some(redis);
    vec![
        Fact::StateChanged {
            unit: redis,
            from: StateName::Starting,
            to: StateName::Ready,
            reason: "PONG".into(),
        },
        Fact::HealthChanged { unit: redis, health: Health::Failing, why: "connection refused".into() },
        Fact::RunEnded { unit: redis, ordinal: 3, exit: ExitStatus::Code(1) },
        Fact::PhaseOpened { phase: PhaseId(0) },
        Fact::Booted,
        Fact::PhaseHeld { phase: PhaseId(0), holders: vec![redis] },
        Fact::IncidentOpened {
            incident: IncidentId(2),
            unit,
            cause: "exited with 1".into(),
            began: Timestamp(0),
        },
        Fact::IncidentClosed { incident: IncidentId(2), unit, has_healed: true },
        Fact::Unkillable { unit: redis },
        Fact::Adopted { unit: redis, ordinal: 3 },
        Fact::RequestServed { request: mcsup::engine::id::RequestId(1), what: "start redis".into() },
        Fact::ShutdownBegan,
        Fact::BugFound { unit, what: "exit without a run".into() },
    ]
}

/// For who asks for none.
pub(crate) fn no_definitions() -> tokio::sync::watch::Receiver<Arc<UnitSet>> {
    tokio::sync::watch::channel(Arc::new(set(Vec::new(), vec!["main".into()]))).1
}

fn set(units: Vec<UnitSpec>, phases: Vec<Box<str>>) -> UnitSet {
    UnitSet {
        sorted: units.len(),
        units,
        phases,
        boot_timeout: Duration::from_secs(300),
        shutdown_timeout: Duration::from_secs(60),
        log_total_bytes: 1 << 30,
        alerts: Vec::new(),
        concurrency: None,
        hooks: None,
        heartbeat: None,
        changes: mcsup::unit::spec::changes::Changes::default(),
    }
}

fn edge(unit: u32, condition: Condition) -> Dependency {
    Dependency {
        unit: UnitId(unit),
        condition,
        required: true,
        follow: Follow::None,
        place: Place::default(),
    }
}

fn status(unit: u32, state: StateName, reason: &str) -> UnitStatus {
    UnitStatus {
        unit: UnitId(unit),
        state,
        desired: match state {
            StateName::Inactive => Desired::Down(DownSource::Disabled),
            StateName::Waiting
            | StateName::Starting
            | StateName::Ready
            | StateName::Unhealthy
            | StateName::Stopping
            | StateName::Backoff
            | StateName::Failed
            | StateName::Completed => Desired::Up(UpSource::Boot),
        },
        reason: reason.to_owned(),
        run: None,
        ordinal: 0,
        pid: None,
        since: Timestamp(NOW.0 - 192_000_000_000),
        restarts: 0,
        health: None,
        last_exit: None,
        incident: None,
        reached_by: None,
        is_listening: false,
        told: None,
    }
}

fn spec(name: &str, phase: u16, kind: UnitKind) -> UnitSpec {
    UnitSpec {
        name: UnitName::new(name).unwrap(),
        kind,
        description: None,
        phase: PhaseId(phase),
        blocks_phase: true,
        enabled: true,
        is_removed: false,
        essential: false,
        protected: false,
        command: vec![Template::Plain("true".into())],
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
        start_timeout: None,
        health: Vec::new(),
        watchdog: None,
        listen: Listen::default(),
        recover: Ladder::restart(),
        restart: RestartSpec {
            policy: RestartPolicy::Always,
            backoff: Backoff {
                initial: Duration::from_millis(100),
                max: Duration::from_secs(30),
                factor_permille: 2000,
                jitter_permille: 100,
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

/// A home with a fake supervisor behind its socket, on a thread of its own. Ends with the value.
pub(crate) struct Served {
    pub home: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    pub(crate) fn new(fake: Fake) -> Self {
        Self::with(fake, |_| {})
    }

    /// With other rules of who may do what.
    pub(crate) fn with(fake: Fake, change: impl FnOnce(&mut Rules)) -> Self {
        let home = empty_home();
        let socket = home.join("run/mcsup.sock");
        // Whoever asks is told apart by the kernel's word on who it is, not by the socket's permissions.
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        make_open(&socket, 0o666);
        listener.set_nonblocking(true).unwrap();
        let mut context = Context::new(&Home::under(&home));
        // The tests themselves may run under a supervisor.
        change(&mut context.rules);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (queries, incoming) = mpsc::channel(16);
                let (_in_force, definitions) = tokio::sync::watch::channel(Arc::clone(&fake.set));
                let (ended, has_ended) = oneshot::channel();
                let end = async {
                    tokio::select! {
                        _asked = has_ended => {}
                        _dropped = stopped => {}
                    }
                };
                let listener = UnixListener::from_std(listener).unwrap();
                let serve =
                    mcsup::api::serve_until(listener, Handle::new(queries, definitions), context, end);
                tokio::join!(serve, fake.run(incoming, ended));
            });
        });
        Self { home, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("run/mcsup.sock")
    }

    /// In the state directory: 1 held, 2 did not, 3 is in effect, 4 waits. The last two have other files.
    pub(crate) fn keep_generations(&self) {
        let (store, _) = Store::open(&self.home.join("state")).unwrap();
        let root = Who { uid: 0, user: "root".into(), pid: 77, from: "the control socket".into() };
        let drafts = [
            (ChangeCause::Boot, Who::default(), None, 0, Word::Committed, ""),
            (ChangeCause::Save, Who::default(), Some(1), 1, Word::Rejected, "web is failed: exited with 1"),
            (ChangeCause::Apply, root.clone(), Some(1), 1, Word::Committed, ""),
            (
                ChangeCause::Put,
                root,
                Some(3),
                0,
                Word::Pending,
                "waits for `mcsup approve 4`: it changes redis",
            ),
        ];
        for ((cause, who, parent, files, word, why), number) in drafts.into_iter().zip(1..) {
            let file = |(name, text): &(&str, &str)| UnitsFile {
                name: (*name).into(),
                bytes: (*text).into(),
                mode: 0o644,
            };
            let draft = Draft {
                files: FILES[files].iter().map(file).collect(),
                named: Vec::new(),
                parent,
                cause,
                who,
                at_millis: KEPT_MILLIS + number * 60_000,
                units_dir: self.home.join("units"),
            };
            assert_eq!(store.add(&draft).unwrap(), number);
            let at_millis = draft.at_millis + 1000;
            let (by, diagnostics) = (String::new(), String::new());
            let units = vec!["redis".to_owned()];
            let waits = (word == Word::Pending).then(|| Waits { units, settings: Vec::new() });
            let verdict = Verdict { word, at_millis, why: why.into(), by, diagnostics, waits };
            store.judge(number, &verdict).unwrap();
        }
        store.make_current(3).unwrap();
        for (name, text) in FILES[1] {
            std::fs::write(self.home.join("units").join(name), text).unwrap();
        }
    }

    pub(crate) fn write_log(&self, unit: &str, file: &str, bytes: &[u8]) {
        let dir = self.home.join("log").join(unit);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(file), bytes).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        drop(std::fs::remove_dir_all(&self.home));
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the fake supervisor failed");
        }
    }
}

/// A new home with nothing in it, that any user may enter.
pub(crate) fn empty_home() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Directly in /tmp, which other users may enter: the build's own directory may be closed to them.
    let home = std::env::temp_dir().join(format!("mcsup-face-{}-{number}", std::process::id()));
    for dir in ["units", "state", "run", "log"] {
        std::fs::create_dir_all(home.join(dir)).unwrap();
        make_open(&home.join(dir), 0o755);
    }
    make_open(&home, 0o755);
    home
}

pub(crate) fn make_open(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The built `mcsup` where every user may run it. Copied by another process: a descriptor that is open for
/// writing here would be inherited by whatever other tests start meanwhile, and the copy be busy.
pub(crate) fn program_for_all(home: &Path) -> PathBuf {
    let program = home.join("mcsup");
    #[expect(clippy::disallowed_methods, reason = "a copy is made by a process of its own")]
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_mcsup")).arg(&program).status();
    assert!(copied.unwrap().success());
    make_open(&program, 0o755);
    program
}
