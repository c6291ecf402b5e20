//! Effects become orders, workers and answers. Nothing here waits for anything.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::engine::Engine;
use crate::engine::effect::{Answer, ChangeFact, Effect, Effects, Fact, Note};
use crate::engine::event::{Event, ExitStatus, SpawnFailure, SpawnStep, Verdict};
use crate::engine::id::{ProbeRunId, RequestId, RunId, UnitId};
use crate::engine::time::Now;
use crate::keeper::wire::{Given, HELPER_BIT, Order, Scope, SpawnOrder};
use crate::log::files::LogDir;
use crate::supervisor::above::Above;
use crate::supervisor::change::progress::Progress;
use crate::supervisor::change::road::Road;
use crate::supervisor::chronicle::{Alert, Chronicle, Telling, is_for_the_chronicle};
use crate::supervisor::clock;
use crate::supervisor::ears::Ears;
use crate::supervisor::evidence::{Wanted, Witness};
use crate::supervisor::handle::Notice;
use crate::supervisor::helpers::{self, Helpers, Purpose};
use crate::supervisor::holdings::{Held, Holding, Holdings, Stage};
use crate::supervisor::identity;
use crate::supervisor::inbox::{Outlet, attend};
use crate::supervisor::jobs::Jobs;
use crate::supervisor::journal::{Journal, Process, RecordedRun};
use crate::supervisor::keeper_link::KeeperLink;
use crate::supervisor::launch::{Ground, Launch, What};
use crate::supervisor::listeners::Listeners;
use crate::supervisor::lookup::{Cache, Miss};
use crate::supervisor::notes;
use crate::supervisor::observer::Observer;
use crate::supervisor::probes::{Asked, Probes};
use crate::supervisor::ready_lines::ReadyLines;
use crate::supervisor::starts::{Ready, Starts};
use crate::supervisor::translate;
use crate::unit::spec::probe::ProbeKind;
use crate::unit::spec::{Ready as UnitReady, SignalNumber, UnitSet};

#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) ground: Arc<Ground>,
    pub(crate) link: KeeperLink,
    pub(crate) starts: Starts,
    pub(crate) holdings: Holdings,
    pub(crate) helpers: Helpers,
    pub(crate) listeners: Listeners,
    /// Whoever waits for files to change.
    pub(crate) ears: Ears,
    pub(crate) ready_lines: ReadyLines,
    pub(crate) journal: Journal,
    pub(crate) observer: Observer,
    pub(crate) replies: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    /// What effects brought about at once: the loop gives it to the engine next.
    pub(crate) news: VecDeque<Event>,
    /// Facts, and pairs for the journal: told when the keeper has its orders, which they would hold up.
    pub(crate) untold: Vec<Untold>,
    /// The engine is done; this is the status to end with.
    pub(crate) exit: Option<u8>,
    /// The boot is done (or was before us): what it needed can be given back at the next rest.
    pub(crate) is_over_its_boot: bool,
    /// The link broke; its error, until the loop looks.
    pub(crate) lost: Option<io::Error>,
    /// Programs of launches that the keeper works on, to name in a failure.
    pub(crate) programs: BTreeMap<u64, Box<str>>,
    pub(crate) witness: Witness,
    pub(crate) chronicle: Chronicle,
    /// Whatever is measured from here on is no longer the boot.
    pub(crate) is_booted: bool,
    pub(crate) probes: Probes,
    pub(crate) jobs: Jobs,
    pub(crate) outlet: Outlet,
    /// Those in force, for who answers clients.
    pub(crate) definitions: watch::Sender<Arc<UnitSet>>,
    pub(crate) road: Road,
    pub(crate) above: Above,
}

/// Who is told what happens, each in a way of its own.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) observer: Observer,
    pub(crate) witness: Witness,
    pub(crate) chronicle: Chronicle,
}

/// What waits for the end of a turn.
#[derive(Debug)]
pub(crate) enum Untold {
    Fact(Now, Fact),
    /// What follows is about these definitions.
    Redefined(Arc<UnitSet>),
    Telling(Telling),
    Noted(Vec<u8>, Vec<u8>),
}

impl Executor {
    pub(crate) fn new(
        ground: Arc<Ground>,
        link: KeeperLink,
        journal: Journal,
        told: Told,
        outlet: Outlet,
        definitions: watch::Sender<Arc<UnitSet>>,
        road: Road,
    ) -> Self {
        let Told { observer, witness, chronicle } = told;
        let ears = Ears::default();
        Self {
            starts: Starts::new(Arc::clone(&ground), outlet.clone()),
            helpers: Helpers::new(clock::mono()),
            jobs: Jobs::new(&ground.state, &outlet, ears.clone()),
            ground,
            link,
            journal,
            observer,
            holdings: Holdings::default(),
            listeners: Listeners::default(),
            ears: ears.clone(),
            ready_lines: ReadyLines::new(outlet.clone(), ears.clone()),
            replies: BTreeMap::new(),
            news: VecDeque::new(),
            untold: Vec::new(),
            exit: None,
            is_over_its_boot: false,
            lost: None,
            programs: BTreeMap::new(),
            witness,
            chronicle,
            is_booted: false,
            probes: Probes::new(outlet.clone()),
            outlet,
            definitions,
            road,
            above: Above::find(),
        }
    }

    /// Begins everything, in order.
    pub(crate) fn execute(&mut self, now: Now, effects: Effects, engine: &Engine) {
        for effect in effects.0 {
            match effect {
                Effect::Remember(note) => self.remember(&note),
                Effect::Record(fact) => {
                    self.overhear(&fact);
                    self.follow_job(now, &fact);
                    self.follow_state(&fact);
                    if let Fact::Change { what: ChangeFact::WaitsToBeConfirmed, .. } = &fact {
                        let progress = Progress::of(engine, now);
                        let refusal = progress.map(|progress| progress.refusal());
                        self.road.waits_to_be_confirmed(&refusal.unwrap_or_default());
                    }
                    self.untold.push(Untold::Fact(now, fact));
                }
                Effect::Spawn { run, unit, ordinal } => self.spawn(now, run, unit, ordinal),
                Effect::RunHelper { helper, unit, role, timeout } => {
                    let what = What::Helper { role, timeout };
                    self.begin_helper(now, unit, what, Purpose::Helper(helper), timeout);
                }
                Effect::CancelHelper { helper } => self.cancel_helper(now, Purpose::Helper(helper)),
                Effect::Signal { run, signal, scope } => {
                    self.signal(run, signal, translate::scope(scope));
                }
                Effect::Release { run } => {
                    self.forget_judge(now, run);
                    self.forget_input(run.0);
                    self.release(run);
                }
                Effect::StartProbe { probe, unit, index } => {
                    self.start_probe(now, probe, unit, index, engine);
                }
                Effect::CancelProbe { probe } => self.cancel_probe(now, probe),
                Effect::Reply { request, answer } => self.reply(request, answer),
                Effect::CaptureEvidence { incident, unit, run, cause } => {
                    self.capture(now, Wanted { incident, unit, run, cause }, engine);
                }
                Effect::Alert { incident, unit, channel, about, text } => {
                    let alert = Alert { at: now, incident, unit, channel, about, text };
                    // Behind the facts of the same step, which say what it is about.
                    self.untold.push(Untold::Telling(Telling::Alert(alert)));
                }
                Effect::JudgeOutput { run, unit, ordinal: _, exit } => {
                    self.judge(now, run, unit, exit, engine);
                }
                Effect::Arm { unit } => self.arm(unit),
                Effect::Disarm { unit } => self.disarm(unit),
                Effect::WatchReadyLine { run, unit } => self.watch_ready_line(run, unit),
                Effect::AwaitConnection { unit } => self.await_connection(unit),
                Effect::ForgetConnection { unit } => self.forget_connection(unit),
                Effect::UseDefinitions { generation, set } => self.use_definitions(generation, &set),
                Effect::RestoreGeneration { rejected, to, why } => {
                    self.restore_generation(rejected, to, &why);
                }
                Effect::EndChange { generation, outcome } => self.change_ended(generation, outcome),
                Effect::Exit { code } => self.exit = Some(code),
            }
        }
    }

    /// Sends what the last events brought about.
    pub(crate) fn flush(&mut self) {
        self.begin_held();
        self.flush_link();
        for (message, outcome) in std::mem::take(&mut self.helpers.ran) {
            self.chronicle.tell(Telling::Ran { message, outcome });
        }
        for (run, case, ended) in std::mem::take(&mut self.helpers.judges) {
            self.judge_ended(run, case, ended);
        }
        self.tell();
        self.flush_link();
        self.observer.draw();
        self.jobs.pasts.tend(&self.outlet);
        self.journal.tend(clock::mono());
        if let Some(trouble) = self.journal.trouble() {
            self.observer.announce(&format!(
                "cannot write the journal in the state directory: {trouble}; services are not affected"
            ));
        }
    }

    fn flush_link(&mut self) {
        let flushed = self.link.flush().map(drop);
        self.keep_error(flushed);
    }

    /// In the order in which it happened.
    fn tell(&mut self) {
        // What is told may itself be worth a note.
        while !self.untold.is_empty() {
            for one in std::mem::take(&mut self.untold) {
                match one {
                    Untold::Fact(now, fact) => self.record(now, fact),
                    Untold::Redefined(set) => self.observer.redefine(&set),
                    Untold::Telling(telling) => self.chronicle.tell(telling),
                    Untold::Noted(key, value) => self.journal.noted(key, value),
                }
            }
        }
    }

    pub(crate) fn send(&mut self, order: &Order, descriptors: &[Arc<OwnedFd>]) {
        let sent = self.link.send(order, descriptors);
        self.keep_error(sent);
    }

    fn keep_error(&mut self, result: io::Result<()>) {
        if let Err(error) = result {
            self.lost.get_or_insert(error);
        }
    }

    fn remember(&mut self, note: &Note) {
        if let Note::Unit(unit, note) = note
            && let Some(spec) = self.ground.set.unit(*unit)
        {
            self.jobs.pasts.note(&spec.name, note);
            self.follow_bodies(*unit, note);
        }
        if let Some((key, value)) = notes::encode(note, &self.ground.set) {
            self.remember_pair(key, value);
        }
    }

    pub(crate) fn remember_pair(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.send(&Order::Remember { key: key.clone(), value: value.clone() }, &[]);
        self.untold.push(Untold::Noted(key, value));
    }

    pub(crate) fn notice(&mut self, now: Now, notice: Notice) {
        self.reserve_events();
        self.observer.notice(notice, now);
    }

    fn reserve_events(&mut self) {
        if let Some(below) = self.observer.reserve() {
            let (key, value) = notes::encode_events(below);
            self.remember_pair(key, value);
        }
    }

    fn record(&mut self, now: Now, fact: Fact) {
        self.reserve_events();
        self.is_over_its_boot |= fact == Fact::Booted;
        self.is_booted |= fact == Fact::Booted;
        if fact == Fact::Booted {
            self.road.keep_boot_soon();
        }
        self.above.hear(&fact);
        if is_for_the_chronicle(&fact) {
            self.chronicle.tell(Telling::Fact(now, fact.clone()));
        }
        self.observer.record(fact, now);
    }

    fn spawn(&mut self, now: Now, run: RunId, unit: UnitId, ordinal: u32) {
        let Some(spec) = self.ground.set.unit(unit) else {
            let cause = "the unit is gone".into();
            let failure = SpawnFailure { step: SpawnStep::Expand, errno: 0, cause };
            self.news.push_back(Event::RunFailedToSpawn { run, failure });
            return;
        };
        self.probes.run_begins(spec, run.0, &self.ground);
        let name = spec.name.as_str().into();
        self.opens(unit);
        let holding = Holding::new(name, ordinal, now.mono.0, Stage::Ordered);
        self.holdings.runs.insert(run.0, Box::new(holding));
        self.begin(now, Launch { run: run.0, unit, ordinal, what: What::Main });
    }

    pub(crate) fn begin_helper(
        &mut self,
        now: Now,
        unit: UnitId,
        what: What,
        purpose: Purpose,
        timeout: Duration,
    ) {
        let launch = Launch { run: self.helpers.number(), unit, ordinal: 0, what };
        if let Some(launch) = self.helpers.admit(launch, purpose, timeout, now.mono) {
            self.begin(now, launch);
        }
    }

    fn begin(&mut self, now: Now, launch: Launch) {
        if launch.what == What::Main
            && (self.are_sockets_on_their_way(launch.unit) || self.are_files_on_their_way(launch.unit))
        {
            self.starts.park(launch);
        } else if launch.run & HELPER_BIT == 0 && self.room() == 0 {
            self.starts.hold(launch);
        } else if let Some(ready) = self.starts.begin(launch, now.mono) {
            self.carry_out(now, ready);
        }
    }

    /// Launches that the keeper takes before it has answered for any.
    fn room(&self) -> usize {
        MOST_UNANSWERED.saturating_sub(self.programs.len())
    }

    fn begin_held(&mut self) {
        let room = self.room();
        // Many at once: one for each answer would be a packet each.
        if self.starts.is_holding() && room >= MOST_UNANSWERED.div_ceil(2) {
            let now = clock::now();
            for ready in self.starts.resume(now.mono, room) {
                self.carry_out(now, ready);
            }
        }
    }

    /// A worker found out what launches needed to know.
    pub(crate) fn prepared(
        &mut self,
        now: Now,
        launch: Launch,
        order: Result<SpawnOrder, Miss>,
        mut learnt: Cache,
    ) {
        self.keep_sockets(&mut learnt);
        let room = self.room();
        for ready in self.starts.prepared(launch, order, learnt, now.mono, room) {
            self.carry_out(now, ready);
        }
    }

    pub(crate) fn carry_out(&mut self, now: Now, ready: Ready) {
        match ready {
            Ready::Failed(launch, failure) => self.failed_to_spawn(now, launch.run, failure),
            Ready::Go(launch, mut order, after) => {
                let ends = match &launch.what {
                    What::Main => match self.body_of(launch.run) {
                        Some(body) => {
                            order.given.push(Given::Input);
                            helpers::input(&body).map(|input| vec![input])
                        }
                        None => Ok(Vec::new()),
                    },
                    What::Helper { .. } | What::Probe { .. } => {
                        self.helpers.open_output(launch.run).map(|output| vec![output])
                    }
                    What::Channel(call) => self
                        .helpers
                        .open_output(launch.run)
                        .and_then(|output| Ok(vec![output, helpers::input(&call.body)?])),
                    What::Judge(case) => Ok(vec![Arc::clone(&case.answer), Arc::clone(&case.request)]),
                };
                match ends {
                    Ok(ends) => {
                        self.note_order(&order);
                        self.programs.insert(launch.run, String::from_utf8_lossy(&order.program).into());
                        self.send(&Order::Spawn(order), &ends);
                        after.iter().for_each(|order| self.send(order, &[]));
                    }
                    Err(error) => {
                        let errno = error.raw_os_error().unwrap_or(0);
                        let cause = error.to_string().into();
                        let failure = SpawnFailure { step: SpawnStep::Prepare, errno, cause };
                        self.failed_to_spawn(now, launch.run, failure);
                    }
                }
            }
        }
    }

    /// Whom the next keeper or supervisor would look for. Helpers are looked for by nobody.
    fn note_order(&mut self, order: &SpawnOrder) {
        let Some(holding) = self.holdings.runs.get_mut(&order.run) else { return };
        let own = || rustix::process::geteuid().as_raw();
        holding.log_place = order.log_place.map(Box::new);
        holding.uid = Some(order.credentials.as_ref().map_or_else(own, |credentials| credentials.uid));
        // Renamed while what it needed was looked up: its processes will say what the order says.
        holding.spawned_as = (*holding.unit != *order.unit).then(|| order.unit.as_str().into());
        let recorded = RecordedRun {
            unit: Arc::clone(&holding.unit),
            spawned_as: holding.spawned_as.clone(),
            ordinal: holding.ordinal,
            spawned_at: holding.spawned_at,
            uid: holding.uid,
            process: None,
        };
        self.journal.run_ordered(order.run, recorded);
        self.ready_lines.begin(order.run, order.log_place);
    }

    /// Its unit, one of the set in force, is called otherwise by now or its log is kept otherwise. Nothing
    /// happens to the run.
    pub(crate) fn relog(&mut self, run: RunId, unit: UnitId) {
        let Some(spec) = self.ground.set.unit(unit) else { return };
        let (name, log) = (Arc::from(spec.name.as_str()), Some(self.ground.log_order(spec, run.0)));
        if !self.holdings.runs.contains_key(&run.0) {
            return;
        }
        if self.holdings.renamed(run.0, &name) {
            self.journal.run_renamed(run.0, &name);
            if self.ready_lines.is_waiting(run.0) {
                // Its line will come in the log of the new name.
                self.ready_lines.forget(run.0);
                self.watch_ready_line(run, unit);
            }
        }
        let order = Order::Relog { run: run.0, unit: (*name).to_owned(), log };
        if let Some(order) = self.starts.after(run.0, order) {
            self.send(&order, &[]);
        }
    }

    /// The run said that another of its processes is what it is about.
    pub(crate) fn main_changed(&mut self, run: u64, process: Process, descriptors: Vec<OwnedFd>) {
        self.holdings.main_changed(run, process, descriptors.into_iter().next());
        self.journal.run_lives(run, process);
    }

    /// From the run's first word on, which it may have said before.
    fn watch_ready_line(&mut self, run: RunId, unit: UnitId) {
        let set = Arc::clone(&self.ground.set);
        let Some(spec) = set.unit(unit) else { return };
        let UnitReady::Log(pattern) = &spec.ready else { return };
        self.ready_lines.expect(run.0, LogDir::new(&self.ground.log_dir, spec.name.as_str()), pattern);
        let holding = self.holdings.runs.get(&run.0);
        if let Some(place) = holding.and_then(|holding| holding.log_place.as_deref().copied()) {
            self.ready_lines.begin(run.0, Some(place));
        }
    }

    pub(crate) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// There is no process: neither the keeper's table nor anything else has a trace of it.
    fn failed_to_spawn(&mut self, now: Now, run: u64, failure: SpawnFailure) {
        if run & HELPER_BIT == 0 {
            self.holdings.exited(run, true);
            self.news.push_back(Event::RunFailedToSpawn { run: RunId(run), failure });
        } else {
            self.news.extend(self.helpers.failed(run, &failure));
            self.begin_next_helper(now);
        }
    }

    pub(crate) fn begin_next_helper(&mut self, now: Now) {
        while let Some(launch) = self.helpers.next_in_line(now.mono) {
            self.begin(now, launch);
        }
    }

    fn signal(&mut self, run: RunId, signal: SignalNumber, scope: Scope) {
        match self.holdings.stage(run.0) {
            Some(Stage::Unverified(process)) => self.refuse_to_signal(run, process),
            Some(Stage::Ordered | Stage::Live(_) | Stage::Exited(_)) => {
                if let Some(holding) = self.holdings.runs.get_mut(&run.0) {
                    holding.signals |= 1_u128.checked_shl(u32::from(signal.0)).unwrap_or_default();
                }
                let order = Order::Signal { run: run.0, signal: signal.0, scope };
                if let Some(order) = self.starts.after(run.0, order) {
                    self.send(&order, &[]);
                }
            }
            Some(Stage::Over | Stage::Foreign(_)) | None => {}
        }
    }

    /// A person may have ended it meanwhile: then the unit is free again.
    fn refuse_to_signal(&mut self, run: RunId, Process { pid, start_time }: Process) {
        let Some(holding) = self.holdings.runs.get(&run.0) else { return };
        let unit = holding.unit.clone();
        match identity::find(pid, start_time, &holding.tag(run.0)) {
            identity::Finding::Gone => {
                self.holdings.exited(run.0, true);
                self.news.push_back(Event::RunExited { run, exit: ExitStatus::Unknown, is_empty: true });
            }
            identity::Finding::Same | identity::Finding::Unverifiable => self.observer.announce(&format!(
                "{unit}: process {pid} is not signalled, as nothing proves that it is this unit's; \
                 end it by hand, then `mcsup restart {unit}`"
            )),
        }
    }

    fn release(&mut self, run: RunId) {
        self.programs.remove(&run.0);
        self.ready_lines.forget(run.0);
        self.starts.cancel(run.0);
        self.holdings.runs.remove(&run.0);
        self.journal.run_over(run.0);
        self.send(&Order::Release { run: run.0 }, &[]);
    }

    fn start_probe(&mut self, now: Now, probe: ProbeRunId, unit: UnitId, index: u16, engine: &Engine) {
        let set = Arc::clone(&self.ground.set);
        let spec = set.unit(unit);
        let Some((name, spec)) =
            spec.and_then(|spec| Some((&spec.name, spec.health.get(usize::from(index))?)))
        else {
            let verdict = Verdict::Error("the unit has no such probe".into());
            self.news.push_back(Event::ProbeFinished { probe, verdict });
            return;
        };
        let limit = spec.timeout;
        self.witness.probe_began(probe, unit, index, now);
        if let ProbeKind::Check(expression) = &spec.kind {
            return self.begin_check(now, probe, expression.clone(), limit, engine);
        }
        if matches!(spec.kind, ProbeKind::Exec { .. }) {
            return self.begin_helper(now, unit, What::Probe { index }, Purpose::Probe(probe), limit);
        }
        let is_about_its_log = matches!(spec.kind, ProbeKind::Log(_));
        let run = if is_about_its_log { self.holdings.newest_run_of(name.as_str()) } else { 0 };
        self.probes.begin(probe, Asked { unit, index, run, limit }, &self.ground);
    }

    /// A worker's verdict; `None` when the engine took the question back.
    pub(crate) fn probe_finished(&mut self, probe: ProbeRunId, verdict: Verdict) -> Option<Event> {
        self.probes.finished(probe).then_some(Event::ProbeFinished { probe, verdict })
    }

    fn cancel_probe(&mut self, now: Now, probe: ProbeRunId) {
        self.witness.probe_ended(probe, None, now);
        if !self.probes.cancel(probe) {
            self.cancel_helper(now, Purpose::Probe(probe));
        }
    }

    pub(crate) fn cancel_helper(&mut self, now: Now, purpose: Purpose) {
        if let Some(run) = self.helpers.cancel(purpose) {
            if self.starts.cancel(run) {
                self.helpers.emptied(run, now.mono).into_iter().for_each(|next| self.begin(now, next));
            } else {
                let signal = SignalNumber::KILL.0;
                self.send(&Order::Signal { run, signal, scope: Scope::All }, &[]);
            }
        }
    }

    /// Whoever waits for an answer may lose patience first.
    pub(crate) fn attend(&mut self, request: RequestId) {
        let Some(client) = self.replies.remove(&request) else { return };
        let (reply, answered) = oneshot::channel();
        self.replies.insert(request, reply);
        tokio::task::spawn_local(attend(request, client, answered, self.outlet.clone()));
    }

    fn reply(&mut self, request: RequestId, answer: Answer) {
        if let Some(asker) = self.replies.remove(&request) {
            // Who asked has hung up.
            drop(asker.send(answer));
        }
    }

    pub(crate) fn spawned(&mut self, run: u64, process: Process, descriptors: Held) -> Option<Event> {
        self.programs.remove(&run);
        if run & HELPER_BIT != 0 {
            return None;
        }
        self.holdings.lives(run, process, descriptors);
        self.journal.run_lives(run, process);
        Some(Event::RunSpawned { run: RunId(run), pid: process.pid })
    }

    pub(crate) fn spawn_failed(&mut self, now: Now, run: u64, step: crate::keeper::wire::Step, errno: i32) {
        let program = self.programs.remove(&run).unwrap_or_default();
        self.starts.forget_programs();
        let spec = self.holdings.runs.get(&run).and_then(|holding| self.ground.set.slot(&holding.unit));
        let spec = spec.and_then(|unit| self.ground.set.unit(unit));
        let failure = translate::spawn_failure(step, errno, spec, &program);
        if run & HELPER_BIT != 0 {
            self.send(&Order::Release { run }, &[]);
        }
        self.failed_to_spawn(now, run, failure);
    }

    pub(crate) fn exited(&mut self, now: Now, run: u64, exit: ExitStatus, is_empty: bool) -> Option<Event> {
        if run & HELPER_BIT != 0 {
            let event = self.helpers.exited(run, exit, now.mono);
            if is_empty {
                self.helper_emptied(now, run);
            } else {
                // What a probe or a stop command left behind serves nobody.
                let signal = SignalNumber::KILL.0;
                self.send(&Order::Signal { run, signal, scope: Scope::All }, &[]);
            }
            return event;
        }
        self.holdings.exited(run, is_empty);
        self.let_foreign_go(run, is_empty).then_some(())?;
        self.remember_end(now, run, exit);
        Some(Event::RunExited { run: RunId(run), exit, is_empty })
    }

    pub(crate) fn emptied(&mut self, now: Now, run: u64) -> Option<Event> {
        if run & HELPER_BIT != 0 {
            self.helper_emptied(now, run);
            return None;
        }
        self.holdings.exited(run, true);
        self.let_foreign_go(run, true).then_some(())?;
        Some(Event::RunEmptied { run: RunId(run) })
    }

    /// False: no unit of the set owns this run, and the engine never heard of it.
    fn let_foreign_go(&mut self, run: u64, is_empty: bool) -> bool {
        let is_foreign = matches!(self.holdings.stage(run), Some(Stage::Foreign(_)));
        if is_foreign && is_empty {
            self.release(RunId(run));
        }
        !is_foreign
    }

    fn helper_emptied(&mut self, now: Now, run: u64) {
        self.programs.remove(&run);
        self.send(&Order::Release { run }, &[]);
        self.helpers.emptied(run, now.mono).into_iter().for_each(|next| self.begin(now, next));
    }
}

/// Launches on their way through the keeper. It is never idle for want of more, and a boot of thousands
/// lies here as units of the set and not there as orders.
const MOST_UNANSWERED: usize = 128;
