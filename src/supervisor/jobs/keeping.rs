//! What runs wrote, put where it is kept, on a thread. Whoever wants to read it waits until it is there.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use tokio::sync::oneshot;

use crate::aside::files::{entries, if_there};
use crate::aside::wall_millis;
use crate::engine::event::{ExitStatus, JobVerdict};
use crate::engine::id::{RunId, UnitId};
use crate::engine::time::Now;
use crate::output::find::{self, Looking, Mark};
use crate::output::judgement::Judgement;
use crate::output::store::Written;
use crate::supervisor::executor::Executor;
use crate::supervisor::inbox::{Inbox, Promise};
use crate::supervisor::jobs::DISK_LIMIT;
use crate::supervisor::jobs::judging::Gather;
use crate::supervisor::launch::RUNNING;
use crate::unit::spec::output::FileSpec;

impl Executor {
    /// A run is over that no judge looked at: what it wrote is kept all the same.
    pub(super) fn keep_unjudged(
        &mut self,
        now: Now,
        run: u64,
        unit: UnitId,
        exit: Option<ExitStatus>,
        verdict: &JobVerdict,
    ) {
        let judgement = match verdict {
            JobVerdict::Passed => Judgement::nothing_required(),
            JobVerdict::Failed(exit) => Judgement::rejected("exit 0", &exit.to_string()),
            JobVerdict::TimedOut(_) => Judgement::rejected("timeout", &verdict.to_string()),
            JobVerdict::Rejected(_) | JobVerdict::NotJudged(_) | JobVerdict::Cancelled(_) => {
                Judgement::not_judged(verdict.to_string())
            }
            // It wrote nothing.
            JobVerdict::NotStarted(_) | JobVerdict::Missed(_) => return,
        };
        let gather = self.gather(now, run, unit, exit.unwrap_or(ExitStatus::Unknown));
        let ordinal = gather.ordinal;
        self.jobs.storing.entry((unit, ordinal)).or_default();
        let (threads, keeping) = (self.jobs.threads.clone(), Arc::clone(&self.jobs.keeping));
        let promise = Promise::new(self.outlet().clone(), Inbox::OutputKept { unit, ordinal, kept: None });
        tokio::task::spawn_local(async move {
            let keep = move || {
                let (_judgement, kept) = gather.keep(judgement, None, &keeping);
                gather.drop_stream();
                kept
            };
            let kept = threads.ask(DISK_LIMIT, keep).await.flatten();
            promise.keep(Inbox::OutputKept { unit, ordinal, kept });
        });
    }

    pub(crate) fn output_kept(&mut self, unit: UnitId, ordinal: u32, kept: Option<u64>) {
        self.note_kept(unit, ordinal, kept);
        let path = kept.and_then(|number| self.output_path(unit, number));
        for waiting in self.jobs.storing.remove(&(unit, ordinal)).unwrap_or_default() {
            // Who asked may be gone.
            drop(waiting.send(path.clone()));
        }
    }

    /// The directory that holds what a run wrote, as soon as it is there. `ordinal`: the last run when left out.
    pub(crate) fn output_of(
        &mut self,
        unit: UnitId,
        ordinal: Option<u32>,
        reply: oneshot::Sender<Option<PathBuf>>,
    ) {
        let rows = self.jobs.recent.get(&unit).into_iter().flatten().rev();
        let mut rows =
            rows.filter(|row| row.ordinal != 0 && ordinal.is_none_or(|wanted| row.ordinal == wanted));
        let Some(row) = rows.next() else { return drop(reply.send(None)) };
        let (ordinal, kept) = (row.ordinal, row.kept);
        match self.jobs.storing.get_mut(&(unit, ordinal)) {
            Some(waiting) => waiting.push(reply),
            None => drop(reply.send(kept.and_then(|number| self.output_path(unit, number)))),
        }
    }

    fn output_path(&self, unit: UnitId, number: u64) -> Option<PathBuf> {
        Some(self.gather(Now::default(), 0, unit, ExitStatus::Unknown).store()?.path_of(number))
    }

    /// Nobody asks for the stream of a judged run any more: it is kept elsewhere.
    pub(super) fn drop_stream(&mut self, now: Now, run: RunId, unit: UnitId) {
        let gather = self.gather(now, run.0, unit, ExitStatus::Unknown);
        // What stays because no thread is free is found by the next supervisor.
        drop(self.jobs.threads.try_begin(move || gather.drop_stream()));
    }

    /// Streams of runs that nobody knows any more, which an earlier supervisor left.
    pub(crate) fn sweep_streams(&self) {
        let set = &self.ground.set;
        let jobs = set.units.iter().filter(|spec| spec.job.is_some());
        let dirs: Vec<PathBuf> =
            jobs.map(|spec| self.ground.output_dir(spec.name.as_str()).join(RUNNING)).collect();
        if dirs.is_empty() {
            return;
        }
        let known: Vec<String> = self.holdings.runs.keys().map(u64::to_string).collect();
        let sweep = move || {
            for entry in dirs.iter().flat_map(|dir| entries(dir).unwrap_or_default()) {
                if !known.iter().any(|run| entry.file_name() == run.as_str()) {
                    // The next supervisor tries again.
                    drop(fs::remove_file(entry.path()));
                }
            }
        };
        drop(self.jobs.threads.try_begin(sweep));
    }
}

impl Gather {
    /// How it was judged after all, and the number under which it is kept; `None`: the disk does not take it, or nothing of it
    /// is to be kept. `marks`: the files as they were before the judge looked at them, where one did.
    pub(super) fn keep(
        &self,
        judgement: Judgement,
        marks: Option<&[Mark]>,
        keeping: &Mutex<()>,
    ) -> (Judgement, Option<u64>) {
        let (Some(spec), Some(store)) = (self.spec(), self.store()) else { return (judgement, None) };
        let stream = self.stream();
        let files = self.of_files(find::find);
        // Only what is the same before the judge and after the copy was the same for both.
        let is_as_judged = marks.is_none_or(|marks| *marks == self.marks());
        let judgement = if is_as_judged { judgement } else { judgement.unproven(CHANGED) };
        let _one_at_a_time = keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let written = Written { stream: stream.as_deref(), files: &files, judgement: &judgement };
        let kept = store.numbers().and_then(|numbers| {
            let number = numbers.last().map_or(1, |last| last.saturating_add(1));
            store.keep(number, &written).map(|()| number)
        });
        match kept {
            Ok(number) => (judgement, Some(number)),
            Err(error) => {
                tracing::warn!("cannot keep what {}#{} wrote: {error}", spec.name, self.ordinal);
                // Who reads through `last-good` would not get what has passed. A rejection stands: nothing is lost by it.
                let why = format!("it cannot be kept: {}", in_words(&error));
                let is_passed = judgement.is_passed();
                (if is_passed { judgement.unproven(&why) } else { judgement }, None)
            }
        }
    }

    /// The marks of all files, as soon as any later change is sure to show in them: a file system dates by a clock
    /// that ticks slowly, and two changes within one tick look alike. Who changes without end is not waited for.
    pub(super) fn settled_marks(&self) -> Vec<Mark> {
        let mut marks = self.marks();
        for _ in 0..TICK_LOOKS {
            let now = Duration::from_millis(wall_millis());
            let is_of_this_tick = |mark: &Mark| {
                let changed = mark.changed.and_then(|(seconds, nanos)| {
                    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?))
                });
                changed.is_some_and(|changed| changed.abs_diff(now) < TICK)
            };
            if !marks.iter().any(is_of_this_tick) {
                break;
            }
            std::thread::park_timeout(TICK);
            marks = self.marks();
        }
        marks
    }

    fn marks(&self) -> Vec<Mark> {
        self.of_files(find::marks).into_iter().flatten().collect()
    }

    /// `look` at each file of the spec, with the rights of the run's user.
    fn of_files<T>(&self, look: impl Fn(&FileSpec, &Looking) -> T) -> Vec<T> {
        let files = self.output().map(|output| &*output.files).unwrap_or_default();
        match self.looking() {
            Some(looking) if !files.is_empty() => {
                as_user(self.uid, || files.iter().map(|file| look(file, &looking)).collect())
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn drop_stream(&self) {
        if let Some(path) = self.kept_path() {
            // Left for the next supervisor to find.
            drop(if_there(fs::remove_file(path)));
        }
    }
}

/// Without the number that the library puts behind it.
pub(super) fn in_words(error: &io::Error) -> String {
    let words = error.to_string();
    words.split(" (os error").next().unwrap_or(&words).to_owned()
}

/// With the rights of that user on files alone, and of this thread alone: a link that a run left leads nowhere that
/// its own user could not go.
fn as_user<T>(uid: Option<u32>, look: impl FnOnce() -> T) -> T {
    let Some(uid) = uid else { return look() };
    let (own_uid, own_gid) = (setfsuid(Uid::from_raw(uid)), setfsgid(Gid::from_raw(NO_GROUP)));
    let seen = look();
    setfsuid(own_uid);
    setfsgid(own_gid);
    seen
}

/// Debian's nogroup: what only a group of the run may read is not kept.
const NO_GROUP: u32 = 65_534;
const CHANGED: &str = "it changed while it was judged";
/// The slowest clock of a file system ticks a hundred times a second.
const TICK: Duration = Duration::from_millis(20);
const TICK_LOOKS: u32 = 5;
