//! What runs wrote, put where it is kept, on a thread. Whoever wants to read it waits until it is there.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use tokio::sync::oneshot;

use crate::aside::files::{entries, if_there};
use crate::engine::event::{ExitStatus, JobVerdict};
use crate::engine::id::{RunId, UnitId};
use crate::engine::time::Now;
use crate::output::find;
use crate::output::judgement::Judgement;
use crate::output::store::Written;
use crate::supervisor::executor::Executor;
use crate::supervisor::inbox::{Inbox, Promise};
use crate::supervisor::jobs::DISK_LIMIT;
use crate::supervisor::jobs::judging::Gather;
use crate::supervisor::launch::RUNNING;

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
                let kept = gather.keep(&judgement, &keeping);
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
    /// The number under which it is kept. `None`: the disk does not take it, or nothing of it is to be kept.
    pub(super) fn keep(&self, judgement: &Judgement, keeping: &Mutex<()>) -> Option<u64> {
        let (spec, store) = (self.spec()?, self.store()?);
        let stream = self.stream();
        let files = match spec.job.as_deref()?.output.as_deref() {
            Some(output) if !output.files.is_empty() => {
                let looking = self.looking()?;
                let found = || output.files.iter().map(|file| find::find(file, &looking)).collect();
                as_user(self.uid, found)
            }
            Some(_) | None => Vec::new(),
        };
        let _one_at_a_time = keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let number = store.numbers().ok()?.last().map_or(1, |last| last.saturating_add(1));
        let written = Written { stream: stream.as_deref(), files: &files, judgement };
        match store.keep(number, &written) {
            Ok(()) => Some(number),
            Err(error) => {
                tracing::warn!("cannot keep what {}#{} wrote: {error}", spec.name, self.ordinal);
                None
            }
        }
    }

    fn drop_stream(&self) {
        if let Some(path) = self.kept_path() {
            // Left for the next supervisor to find.
            drop(if_there(fs::remove_file(path)));
        }
    }
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
