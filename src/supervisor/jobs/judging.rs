//! The judgement of a run. What it is judged by is gathered on a thread and lies in memory, where the judge, a
//! helper that the keeper starts as the unit's own user, reads it as its input. A judge that was lost is asked anew.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use serde_json::Value as Json;

use crate::engine::Engine;
use crate::engine::event::{self, Event, ExitStatus};
use crate::engine::id::{RunId, UnitId};
use crate::engine::time::{Now, Timestamp};
use crate::keeper::wire::Carried;
use crate::output::find::{self, Looking, Mark};
use crate::output::judgement::{Judgement, Verdict};
use crate::output::process::{Ending, concluded};
use crate::output::store::Store;
use crate::output::wire::{Piece, Request};
use crate::output::{Moment, Previous, Taken, schema};
use crate::supervisor::evidence::date;
use crate::supervisor::executor::Executor;
use crate::supervisor::gates;
use crate::supervisor::helpers::Purpose;
use crate::supervisor::inbox::{Inbox, Promise};
use crate::supervisor::jobs::DISK_LIMIT;
use crate::supervisor::jobs::keeping::in_words;
use crate::supervisor::launch::{Ground, What, run_id};
use crate::unit::spec::UnitSpec;
use crate::unit::spec::output::OutputSpec;

/// What a judge is given, and where it writes.
#[derive(Debug)]
pub(crate) struct Case {
    run: u64,
    pub(crate) request: Arc<OwnedFd>,
    pub(crate) answer: Arc<OwnedFd>,
    /// The files as they were before the judge looked at them.
    marks: Vec<Mark>,
}

impl PartialEq for Case {
    fn eq(&self, other: &Self) -> bool {
        self.run == other.run
    }
}

/// All that a request is made of, as it was when the run ended.
#[derive(Clone, Debug)]
pub(super) struct Gather {
    ground: Arc<Ground>,
    pub(super) unit: UnitId,
    pub(super) ordinal: u32,
    pub(super) run: u64,
    exit: i32,
    pub(super) began_nanos: u64,
    duration: Duration,
    units: Json,
    guard: Json,
    now: Now,
    /// Whom it ran as, where that is another than we are.
    pub(super) uid: Option<u32>,
    /// The pipe of the stream; what is in it is not in the file yet.
    pipe: Option<Arc<OwnedFd>>,
}

impl Executor {
    /// Nothing of the run lives.
    pub(crate) fn judge(&mut self, now: Now, run: RunId, unit: UnitId, exit: ExitStatus, engine: &Engine) {
        let set = Arc::clone(&self.ground.set);
        let Some(spec) = set.unit(unit) else { return };
        let mut gather = self.gather(now, run.0, unit, exit);
        if speaks_of(spec, "units") {
            gather.units = gates::units(engine, &set, now);
        }
        self.jobs.judging.insert(run.0, gather);
        self.ask_judge(run.0);
    }

    pub(super) fn gather(&self, now: Now, run: u64, unit: UnitId, exit: ExitStatus) -> Gather {
        let holding = self.holdings.runs.get(&run);
        let spawned_at = holding.map_or(now.mono, |holding| Timestamp(holding.spawned_at));
        let descriptors = holding.map(|holding| holding.descriptors.iter()).into_iter().flatten();
        let mut pipes = descriptors.filter(|(carried, _)| *carried == Carried::Kept);
        let own = rustix::process::geteuid().as_raw();
        Gather {
            ground: Arc::clone(&self.ground),
            unit,
            ordinal: holding.map_or(0, |holding| holding.ordinal),
            run,
            exit: exit_number(exit),
            began_nanos: date(now, spawned_at).saturating_mul(1_000_000),
            duration: now.mono.since(spawned_at),
            units: Json::Null,
            guard: Json::Null,
            now,
            uid: holding.and_then(|holding| holding.uid).filter(|uid| *uid != own),
            pipe: pipes.next().map(|(_, pipe)| Arc::clone(pipe)),
        }
    }

    fn ask_judge(&mut self, run: u64) {
        let Some(gather) = self.jobs.judging.get(&run).cloned() else { return };
        let (threads, guard) = (self.jobs.threads.clone(), self.witness.guard.clone());
        let late = Err("what it is to be judged by did not come in time".to_owned());
        let promise = Promise::new(self.outlet().clone(), Inbox::JudgePrepared { run, case: late });
        tokio::task::spawn_local(async move {
            let mut gather = gather;
            if gather.spec().is_some_and(|spec| speaks_of(spec, "guard")) {
                let figures = guard.ask(gather.now, GUARD_LIMIT).await;
                gather.guard = figures.map_or(Json::Null, |figures| figures.context()["guard"].clone());
            }
            if let Some(case) = threads.ask(DISK_LIMIT, move || gather.case()).await {
                promise.keep(Inbox::JudgePrepared { run, case });
            }
        });
    }

    pub(crate) fn judge_prepared(&mut self, now: Now, run: u64, case: Result<Case, String>) {
        // Given up meanwhile.
        let Some(gather) = self.jobs.judging.get(&run) else { return };
        match case {
            Ok(case) => {
                let what = What::Judge(Arc::new(case));
                self.begin_helper(now, gather.unit, what, Purpose::Judge(RunId(run)), JUDGE_TIMEOUT);
            }
            Err(why) => self.keep_judged(run, move || (Judgement::not_judged(why), None)),
        }
    }

    /// A judge ended, or there never was one. `None`: the keeper that held it died.
    pub(crate) fn judge_ended(&mut self, run: RunId, case: Option<Arc<Case>>, ended: Option<Ended>) {
        match (ended, case) {
            (Some(Ended::Exited(ending)), Some(case)) => {
                self.keep_judged(run.0, move || (case.answer(ending), Some(case.marks.clone())));
            }
            (Some(Ended::NotStarted(why)), _) => {
                self.keep_judged(run.0, move || (Judgement::not_judged(why), None));
            }
            (None, _) | (Some(Ended::Exited(_)), None) => self.ask_judge(run.0),
        }
    }

    /// Nobody waits for this judgement any more.
    pub(crate) fn forget_judge(&mut self, now: Now, run: RunId) {
        if self.jobs.judging.remove(&run.0).is_some() {
            self.cancel_helper(now, Purpose::Judge(run));
        }
    }

    /// What was judged is kept, and its judgement told.
    pub(crate) fn judged(
        &mut self,
        run: u64,
        judgement: event::Judgement,
        kept: Option<u64>,
    ) -> Option<Event> {
        self.jobs.judging.remove(&run)?;
        self.jobs.kept.insert(run, kept);
        Some(Event::OutputJudged { run: RunId(run), judgement })
    }

    /// `answer`: the judgement, and the files as they were before it.
    fn keep_judged(
        &mut self,
        run: u64,
        answer: impl FnOnce() -> (Judgement, Option<Vec<Mark>>) + Send + 'static,
    ) {
        let Some(gather) = self.jobs.judging.get(&run).cloned() else { return };
        let (threads, keeping) = (self.jobs.threads.clone(), Arc::clone(&self.jobs.keeping));
        let why = "its judgement was lost on the way".into();
        let lost = event::Judgement::NotJudged(why);
        let promise = Promise::new(self.outlet().clone(), Inbox::Judged { run, judgement: lost, kept: None });
        tokio::task::spawn_local(async move {
            let keep = move || {
                let (judgement, marks) = answer();
                let (judgement, kept) = gather.keep(judgement, marks.as_deref(), &keeping);
                (told(&judgement), kept)
            };
            if let Some((judgement, kept)) = threads.ask(DISK_LIMIT, keep).await {
                promise.keep(Inbox::Judged { run, judgement, kept });
            }
        });
    }
}

/// How a judge ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(Ending),
    NotStarted(String),
}

impl Case {
    fn answer(&self, ending: Ending) -> Judgement {
        let mut said = Vec::new();
        let read = self.answer.try_clone().map(File::from).and_then(|mut file| {
            file.rewind()?;
            file.take(MOST_ANSWER_BYTES).read_to_end(&mut said)
        });
        match read {
            // One place for both: who ended well said nothing but the answer.
            Ok(_) => concluded(ending, &said, &said),
            Err(error) => Judgement::not_judged(format!("the judge's answer cannot be read: {error}")),
        }
    }
}

impl Gather {
    pub(super) fn spec(&self) -> Option<&UnitSpec> {
        self.ground.set.unit(self.unit)
    }

    pub(super) fn output(&self) -> Option<&OutputSpec> {
        self.spec()?.job.as_deref()?.output.as_deref()
    }

    pub(super) fn store(&self) -> Option<Store> {
        let keep = self.output().map(|output| output.keep).unwrap_or_default();
        Some(Store::new(self.ground.output_dir(self.spec()?.name.as_str()), keep))
    }

    /// The file that the stream is kept in until it is judged.
    pub(super) fn kept_path(&self) -> Option<PathBuf> {
        Some(self.ground.kept_path(self.spec()?.name.as_str(), self.run))
    }

    pub(super) fn looking(&self) -> Option<Looking> {
        let spec = self.spec()?;
        Some(Looking {
            dir: self.ground.working_dir_path(spec),
            run_id: run_id(spec, self.ordinal, self.run),
            date: moment(spec, self.began_nanos).date,
        })
    }

    fn case(&self) -> Result<Case, String> {
        let gone = || "its unit is gone".to_owned();
        let (spec, output) = (self.spec().ok_or_else(gone)?, self.output().ok_or_else(gone)?);
        let resolved = schema::resolved(output, &self.ground.units_dir)?;
        let marks = self.settled_marks();
        let stream = match &output.stream {
            Some(_) => match self.stream() {
                Some(bytes) => Piece::Inline(bytes),
                None => Piece::Absent,
            },
            None => Piece::Absent,
        };
        let previous = self.previous(spec, output)?;
        let request = Request {
            spec: resolved,
            stream,
            exit: self.exit,
            duration: self.duration,
            looking: self.looking().unwrap_or_default(),
            started_nanos: self.began_nanos,
            previous,
            units: self.units.clone(),
            guard: self.guard.clone(),
            now: moment(spec, self.now.wall.0),
        };
        let cannot = |error: io::Error| format!("the judge cannot be asked: {error}");
        let memory = |name| memfd_create(name, MemfdFlags::CLOEXEC).map_err(|errno| cannot(errno.into()));
        let (file, answer) = (File::from(memory("judge")?), memory("judgement")?);
        let mut writer = BufWriter::new(&file);
        request.write(&mut writer).map_err(cannot)?;
        drop(writer);
        (&file).rewind().map_err(cannot)?;
        Ok(Case { run: self.run, request: Arc::new(file.into()), answer: Arc::new(answer), marks })
    }

    /// Only where somebody asks for it: what cannot be read then proves nothing, and is not as if there were none.
    fn previous(&self, spec: &UnitSpec, output: &OutputSpec) -> Result<Previous, String> {
        let store = self.store().filter(|_| speaks_of(spec, "previous"));
        let previous = store.map(|store| store.previous(output.files.len())).transpose();
        let previous =
            previous.map_err(|error| format!("the last good output cannot be read: {}", in_words(&error)))?;
        Ok(previous.unwrap_or_default())
    }

    /// What the run wrote to the stream that is kept. `None`: nobody kept it.
    pub(super) fn stream(&self) -> Option<Vec<u8>> {
        self.drained();
        match find::take(&self.kept_path()?, 0, None) {
            Taken::Bytes(bytes) => Some(bytes),
            // One byte more than may be judged at most: so that this is seen it is passed on as it is.
            Taken::TooLarge(bytes) => Some(vec![0; usize::try_from(bytes).unwrap_or(0)]),
            Taken::Unreadable(_) => None,
        }
    }

    /// What its last processes said may still lie in the pipe: the keeper is at it, and a moment is all it needs.
    fn drained(&self) {
        let Some(pipe) = &self.pipe else { return };
        for _ in 0..DRAIN_LOOKS {
            if rustix::io::ioctl_fionread(pipe) == Ok(0) {
                return;
            }
            // An empty pipe is no event; between two looks this thread gives way to who empties it.
            std::thread::park_timeout(DRAIN_LOOK);
        }
    }
}

/// Where the job is.
pub(super) fn moment(spec: &UnitSpec, nanos: u64) -> Moment {
    let zone = spec.job.as_deref().map(|job| job.timetable.zone.time_zone().clone());
    let at = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let at = at.to_zoned(zone.unwrap_or(jiff::tz::TimeZone::UTC));
    Moment {
        unix: at.timestamp().as_second(),
        date: at.strftime("%Y-%m-%d").to_string(),
        time: at.strftime("%H:%M:%S").to_string(),
        weekday: at.strftime("%A").to_string().to_lowercase(),
    }
}

/// For the engine.
fn told(judgement: &Judgement) -> event::Judgement {
    let words = judgement.to_string();
    let without = |prefix: &str| words.strip_prefix(prefix).unwrap_or(&words).into();
    match &judgement.verdict {
        Verdict::Passed => event::Judgement::Holds,
        Verdict::Rejected => event::Judgement::Rejected(without("rejected: ")),
        Verdict::NotJudged { why } => event::Judgement::NotJudged(why.as_str().into()),
    }
}

fn speaks_of(spec: &UnitSpec, name: &str) -> bool {
    let Some(output) = spec.job.as_deref().and_then(|job| job.output.as_deref()) else { return false };
    let contents = output.stream.iter().chain(output.files.iter().map(|file| &file.content));
    contents.flat_map(|content| &content.require).any(|required| required.that.0.contains(name))
}

/// As a shell has it.
fn exit_number(exit: ExitStatus) -> i32 {
    match exit {
        ExitStatus::Code(code) => i32::from(code),
        ExitStatus::Signal { signal, .. } => 128_i32.saturating_add(i32::from(signal.0)),
        ExitStatus::Unknown => -1,
    }
}

/// The judge ends itself after ten.
pub(crate) const JUDGE_TIMEOUT: Duration = Duration::from_secs(20);
const GUARD_LIMIT: Duration = Duration::from_secs(1);
/// The judge says a hundred sentences of each kind at most.
const MOST_ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// A second in all.
const DRAIN_LOOKS: u32 = 200;
const DRAIN_LOOK: Duration = Duration::from_millis(5);
