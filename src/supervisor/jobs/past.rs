//! `STATE/jobs.json`: what is known of jobs from one boot to the next. Slots that went by while the machine was off
//! are counted from here. Best effort: written on a thread, the newest state only, and a loss is told once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aside::Threads;
use crate::aside::files::replace;
use crate::engine::event::{ExitStatus, JobPast, JobVerdict, RunEnd, UnitNote};
use crate::engine::time::{WallTime, nanos};
use crate::supervisor::inbox::{Inbox, Outlet};
use crate::unit::name::UnitName;
use crate::unit::spec::SignalNumber;

#[derive(Debug)]
pub(crate) struct Pasts {
    path: PathBuf,
    threads: Threads,
    known: BTreeMap<UnitName, JobPast>,
    is_changed: bool,
    is_writing: bool,
    is_told: bool,
}

impl Pasts {
    pub(super) fn new(state: &Path, threads: Threads) -> Self {
        Self {
            path: state.join(FILE),
            threads,
            known: BTreeMap::new(),
            is_changed: false,
            is_writing: false,
            is_told: false,
        }
    }

    /// What the last boot left goes on, whatever the engine makes of it.
    pub(crate) fn begin(&mut self, known: BTreeMap<UnitName, JobPast>) {
        self.known = known;
    }

    pub(crate) fn note(&mut self, name: &UnitName, note: &UnitNote) {
        let Some(job) = &note.job else { return };
        if self.known.get(name) != Some(&job.past) {
            self.known.insert(name.clone(), job.past.clone());
            self.is_changed = true;
        }
    }

    pub(crate) fn renamed(&mut self, was: &UnitName, is: &UnitName) {
        if let Some(past) = self.known.remove(was) {
            self.known.insert(is.clone(), past);
            self.is_changed = true;
        }
    }

    /// Begins to write what changed, unless somebody is at it: then once more afterwards.
    pub(crate) fn tend(&mut self, outlet: &Outlet) {
        if !self.is_changed || self.is_writing {
            return;
        }
        let (path, text) = (self.path.clone(), text(&self.known));
        let outlet = outlet.clone();
        let write = move || {
            let trouble = replace(&path, &text).err().map(|error| error.to_string());
            // The loop has ended: nobody is left to be told.
            drop(outlet.send(Inbox::PastKept { trouble }));
        };
        if self.threads.try_begin(write).is_ok() {
            (self.is_changed, self.is_writing) = (false, true);
        }
    }

    /// What to tell people, once for each spell.
    pub(crate) fn kept(&mut self, trouble: Option<String>) -> Option<String> {
        self.is_writing = false;
        let was_told = std::mem::replace(&mut self.is_told, trouble.is_some());
        let trouble = trouble?;
        self.is_changed = true;
        (!was_told).then(|| {
            format!(
                "cannot write {}: {trouble}; slots missed by the next boot may not be seen",
                self.path.display()
            )
        })
    }

    /// The last words, for as long as `limit` at most.
    pub(crate) async fn close(self, limit: Duration) {
        if self.is_changed || self.is_writing {
            let (path, text) = (self.path, text(&self.known));
            // Nobody is left to be told.
            drop(self.threads.ask(limit, move || replace(&path, &text)).await);
        }
    }
}

/// What an earlier boot left; what makes no sense is as good as nothing.
pub(crate) fn read(state: &Path) -> BTreeMap<UnitName, JobPast> {
    let Ok(bytes) = fs::read(state.join(FILE)) else { return BTreeMap::new() };
    let Ok(jobs) = serde_json::from_slice::<BTreeMap<String, PastDto>>(&bytes) else {
        return BTreeMap::new();
    };
    let past = |(name, past): (String, PastDto)| Some((UnitName::new(&name).ok()?, past.into()));
    jobs.into_iter().filter_map(past).collect()
}

fn text(known: &BTreeMap<UnitName, JobPast>) -> Vec<u8> {
    let jobs: BTreeMap<&str, PastDto> =
        known.iter().map(|(name, past)| (name.as_str(), past.into())).collect();
    // Maps of plain values always have a text.
    serde_json::to_vec_pretty(&jobs).unwrap_or_default()
}

#[derive(Serialize, Deserialize)]
struct PastDto {
    /// Nanoseconds since 1970; 0: none yet.
    last_slot: u64,
    #[serde(default)]
    verdict: Option<VerdictDto>,
    #[serde(default)]
    streak: u32,
    #[serde(default)]
    timetable: u64,
    /// Nanoseconds since 1970; 0: never.
    #[serde(default)]
    last_start: u64,
    #[serde(default)]
    last_ordinal: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
enum VerdictDto {
    Passed,
    Rejected { why: Box<str> },
    Exited { code: u8 },
    Killed { signal: u8, dumped_core: bool },
    EndedUnknown,
    NotStarted { why: Box<str> },
    TimedOut { nanos: u64 },
    NotJudged { why: Box<str> },
    Cancelled { for_newer: bool },
    Missed { why: Box<str> },
}

impl From<&JobPast> for PastDto {
    fn from(past: &JobPast) -> Self {
        let JobPast { last_slot, verdict, streak, timetable, last_start, last_ordinal } = past;
        let verdict = verdict.as_ref().map(|verdict| match verdict.clone() {
            JobVerdict::Passed => VerdictDto::Passed,
            JobVerdict::Rejected(why) => VerdictDto::Rejected { why },
            JobVerdict::Failed(ExitStatus::Code(code)) => VerdictDto::Exited { code },
            JobVerdict::Failed(ExitStatus::Signal { signal, dumped_core }) => {
                VerdictDto::Killed { signal: signal.0, dumped_core }
            }
            JobVerdict::Failed(ExitStatus::Unknown) => VerdictDto::EndedUnknown,
            JobVerdict::NotStarted(why) => VerdictDto::NotStarted { why },
            JobVerdict::TimedOut(limit) => VerdictDto::TimedOut { nanos: nanos(limit) },
            JobVerdict::NotJudged(why) => VerdictDto::NotJudged { why },
            JobVerdict::Cancelled(end) => VerdictDto::Cancelled { for_newer: end == RunEnd::Replaced },
            JobVerdict::Missed(why) => VerdictDto::Missed { why },
        });
        Self {
            last_slot: last_slot.0,
            verdict,
            streak: *streak,
            timetable: *timetable,
            last_start: last_start.0,
            last_ordinal: *last_ordinal,
        }
    }
}

impl From<PastDto> for JobPast {
    fn from(past: PastDto) -> Self {
        let verdict = past.verdict.map(|verdict| match verdict {
            VerdictDto::Passed => JobVerdict::Passed,
            VerdictDto::Rejected { why } => JobVerdict::Rejected(why),
            VerdictDto::Exited { code } => JobVerdict::Failed(ExitStatus::Code(code)),
            VerdictDto::Killed { signal, dumped_core } => {
                JobVerdict::Failed(ExitStatus::Signal { signal: SignalNumber(signal), dumped_core })
            }
            VerdictDto::EndedUnknown => JobVerdict::Failed(ExitStatus::Unknown),
            VerdictDto::NotStarted { why } => JobVerdict::NotStarted(why),
            VerdictDto::TimedOut { nanos } => JobVerdict::TimedOut(Duration::from_nanos(nanos)),
            VerdictDto::NotJudged { why } => JobVerdict::NotJudged(why),
            VerdictDto::Cancelled { for_newer: true } => JobVerdict::Cancelled(RunEnd::Replaced),
            VerdictDto::Cancelled { for_newer: false } => JobVerdict::Cancelled(RunEnd::Down),
            VerdictDto::Missed { why } => JobVerdict::Missed(why),
        });
        Self {
            last_slot: WallTime(past.last_slot),
            verdict,
            streak: past.streak,
            timetable: past.timetable,
            last_start: WallTime(past.last_start),
            last_ordinal: past.last_ordinal,
        }
    }
}

const FILE: &str = "jobs.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_jobs_comes_back_as_it_was() {
        let verdicts = [
            None,
            Some(JobVerdict::Passed),
            Some(JobVerdict::Rejected("2 trends, wanted >= 3".into())),
            Some(JobVerdict::Failed(ExitStatus::Code(3))),
            Some(JobVerdict::Failed(ExitStatus::Signal { signal: SignalNumber::KILL, dumped_core: true })),
            Some(JobVerdict::Failed(ExitStatus::Unknown)),
            Some(JobVerdict::NotStarted("exec".into())),
            Some(JobVerdict::TimedOut(Duration::from_millis(1500))),
            Some(JobVerdict::NotJudged("the judge died".into())),
            Some(JobVerdict::Cancelled(RunEnd::Replaced)),
            Some(JobVerdict::Cancelled(RunEnd::Down)),
            Some(JobVerdict::Missed("a slot".into())),
        ];
        let past = |(at, verdict): (u64, Option<JobVerdict>)| {
            let name = UnitName::new(&format!("job{at}")).unwrap();
            let (last_slot, last_start) = (WallTime(u64::MAX - at), WallTime(at));
            let past = JobPast { last_slot, verdict, streak: 7, timetable: 9, last_start, last_ordinal: 3 };
            (name, past)
        };
        let known: BTreeMap<_, _> = (0..).zip(verdicts).map(past).collect();
        let dir = std::env::temp_dir().join(format!("mcsup-past-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert!(read(&dir).is_empty(), "no file is no news");
        fs::write(dir.join(FILE), text(&known)).unwrap();
        assert_eq!(read(&dir), known);
        fs::write(dir.join(FILE), "{half").unwrap();
        assert!(read(&dir).is_empty());
        fs::remove_dir_all(&dir).unwrap();
    }
}
