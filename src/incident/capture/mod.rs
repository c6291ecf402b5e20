//! Looks at what is left of a run, and at what stands in its way, before anything is done about it.
//!
//! Each kind of source has threads of its own, so that a log on a dead file server costs the log and nothing
//! else. What has not come at the deadline is listed as missing.

mod tail;
mod processes;
mod sockets;
mod death;
mod kernel;
mod disks;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::aside::{Threads, since_boot, wall_millis};
use crate::incident::capture::death::Kills;
use crate::incident::evidence::{
    ControlGroup, Core, Disk, Evidence, Exit, Failure, LogTail, Memory, Missing, OutOfMemory, Port, Process,
    Usage, VERSION,
};
use crate::incident::times::Times;

pub(super) use crate::incident::capture::death::is_about_a_killed_child;
pub(super) use crate::incident::capture::sockets::{is_about_taken_ports, ports_in_line};

/// What a run that is about to be ended is made to wait for its evidence, at most.
pub const DEADLINE: Duration = Duration::from_secs(2);

/// Whose evidence it is, and where to look.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    pub incident: u64,
    pub unit: String,
    /// `UNIT#ORDINAL:RUN`, as `MCSUP_RUN` says it; empty when no run is concerned.
    pub run: String,
    /// Of the run's main process, also when that has ended.
    pub pid: Option<i32>,
    pub is_live: bool,
    /// It ended, and nobody of it is left to be looked for.
    pub is_over: bool,
    /// Whose children are the run's orphans: the keeper.
    pub orphans_of: Option<i32>,
    pub exit: Option<Exit>,
    pub usage: Option<Usage>,
    pub failure: Failure,
    pub times: Times,
    /// `LOG/UNIT`. `None`: it keeps no log.
    pub log_dir: Option<PathBuf>,
    /// Where in the log this run began. `None`: nobody can tell.
    pub log_from: Option<LogPoint>,
    /// Where in the log it ended; what follows is a later run's. `None`: it goes on, or nobody can tell.
    pub log_until: Option<LogPoint>,
    /// Where the unit listens, as far as its definition tells.
    pub ports: Vec<u16>,
    /// What is kept where: `log`, `state`, `working directory`.
    pub directories: Vec<(String, PathBuf)>,
    /// The run's own control group. `None`: that of its main process.
    pub cgroup: Option<PathBuf>,
    /// Kills for want of memory that the group had counted when the run began.
    pub earlier_oom_kills: u64,
    /// Children of the run that its log says were killed; looked for when the log was read.
    pub killed_children: Vec<i32>,
}

/// A byte of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPoint {
    /// Of the file, whatever it is called by now. 0 as an end: the run wrote nothing.
    pub inode: u64,
    pub offset: u64,
}

/// Cheap to clone; the bounds are shared.
#[derive(Clone, Debug)]
pub struct Capturer {
    /// /proc, for tests that have none.
    proc: PathBuf,
    logs: Threads,
    hosts: Threads,
    disks: Threads,
    kills: Arc<Kills>,
}

impl Default for Capturer {
    fn default() -> Self {
        Self::new("/proc".into())
    }
}

impl Capturer {
    /// Six threads of the runtime at most, two of each kind.
    pub const THREADS: usize = 6;

    pub fn new(proc: PathBuf) -> Self {
        let threads = |name| Threads::new(name, Self::THREADS / 3);
        let (logs, hosts, disks) = (threads("capture log"), threads("capture"), threads("capture disk"));
        Self { proc, logs, hosts, disks, kills: Arc::default() }
    }

    /// All that can be had within `limit`. Never fails: what is missing is in `incomplete`. Safe to drop.
    pub async fn capture(&self, subject: Subject, limit: Duration) -> Evidence {
        let began = Deadline::after(limit);
        let (log, disks) = tokio::join!(self.log(&subject, limit / 2), self.room(&subject, limit));
        let host = self.host(&subject, &log.0, began.left()).await;
        written_down(subject, log, disks, host, limit.saturating_sub(began.left()))
    }

    /// The same, one thing after the other and by whoever calls. For a thread, as any of it may hang, and then
    /// nothing is had; it saves the changes of threads, most of what a capture costs where nothing hangs.
    pub fn capture_here(&self, subject: Subject, limit: Duration) -> Evidence {
        let began = Deadline::after(limit);
        let log = subject.log_dir.as_deref().map_or_else(Default::default, |dir| {
            log_or_why(Some(tail::read(dir, subject.log_from, subject.log_until)))
        });
        let killed_children = death::killed_children(log.0.own_lines());
        let subject = Subject { killed_children, ..subject };
        let disks = disks::look(subject.directories.clone());
        let wanted = ports_to_ask_for(&subject, &log.0);
        let side = Mutex::default();
        HostSide::look(&self.proc, &self.kills, &subject, &wanted, began, &side);
        let host = side.into_inner().unwrap_or_else(PoisonError::into_inner);
        written_down(subject, log, disks, host, limit.saturating_sub(began.left()))
    }

    async fn log(&self, subject: &Subject, limit: Duration) -> (LogTail, Vec<Missing>) {
        let Some(dir) = subject.log_dir.clone() else { return Default::default() };
        let (from, until) = (subject.log_from, subject.log_until);
        log_or_why(self.logs.ask(limit, move || tail::read(&dir, from, until)).await)
    }

    async fn room(&self, subject: &Subject, limit: Duration) -> (Vec<Disk>, Vec<Missing>) {
        let directories = subject.directories.clone();
        let asked = self.disks.ask(limit, move || disks::look(directories)).await;
        asked.unwrap_or_else(|| (Vec::new(), vec![missing("disks", LATE)]))
    }

    async fn host(&self, subject: &Subject, log: &LogTail, limit: Duration) -> HostSide {
        let wanted = ports_to_ask_for(subject, log);
        let killed_children = death::killed_children(log.own_lines());
        let (proc, subject) = (self.proc.clone(), Subject { killed_children, ..subject.clone() });
        let kills = Arc::clone(&self.kills);
        // Less than the whole, so that what was found by then is kept.
        let deadline = Deadline::after(limit.saturating_sub(limit / 10));
        let side = Arc::new(Mutex::new(HostSide::default()));
        let theirs = Arc::clone(&side);
        let look = move || HostSide::look(&proc, &kills, &subject, &wanted, deadline, &theirs);
        let asked = self.hosts.ask(limit, look).await;
        // Whoever still looks writes into what nobody reads any more.
        let mut side = std::mem::take(&mut *side.lock().unwrap_or_else(PoisonError::into_inner));
        if asked.is_none() {
            side.missing.push(missing("processes", LATE));
        }
        side
    }
}

/// `None`: it did not come in time.
fn log_or_why(read: Option<io::Result<LogTail>>) -> (LogTail, Vec<Missing>) {
    match read {
        Some(Ok(tail)) => (tail, Vec::new()),
        Some(Err(error)) => (LogTail::default(), vec![missing("log", error)]),
        None => (LogTail::default(), vec![missing("log", LATE)]),
    }
}

fn ports_to_ask_for(subject: &Subject, log: &LogTail) -> Vec<u16> {
    let mut wanted = subject.ports.clone();
    wanted.extend(sockets::ports_named_in(log.own_lines()));
    wanted
}

fn written_down(
    subject: Subject,
    log: (LogTail, Vec<Missing>),
    disks: (Vec<Disk>, Vec<Missing>),
    host: HostSide,
    took: Duration,
) -> Evidence {
    Evidence {
        version: VERSION,
        incident: subject.incident,
        unit: subject.unit,
        run: subject.run,
        times: subject.times,
        failure: subject.failure,
        exit: subject.exit,
        usage: subject.usage,
        captured_millis: wall_millis(),
        took_millis: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        log: log.0,
        processes: host.processes,
        ports: host.ports,
        strangers: host.strangers,
        out_of_memory: host.out_of_memory,
        control_group: host.control_group,
        core: host.core,
        disks: disks.0,
        memory: host.memory,
        incomplete: [log.1, host.missing, disks.1].concat(),
        ..Evidence::default()
    }
}

/// What /proc and its like say.
#[derive(Debug, Default)]
struct HostSide {
    processes: Vec<Process>,
    ports: Vec<Port>,
    strangers: Vec<Port>,
    out_of_memory: OutOfMemory,
    control_group: Option<ControlGroup>,
    core: Option<Core>,
    memory: Option<Memory>,
    missing: Vec<Missing>,
}

impl HostSide {
    /// What comes first cannot hang; last come the words of processes, each of which may (proc(5) takes a lock of
    /// theirs). `side` has what was found so far.
    fn look(
        proc: &Path,
        kills: &Kills,
        subject: &Subject,
        wanted: &[u16],
        deadline: Deadline,
        side: &Mutex<Self>,
    ) {
        let found =
            |put: &mut dyn FnMut(&mut Self)| put(&mut side.lock().unwrap_or_else(PoisonError::into_inner));
        if !proc.join("self/stat").exists() {
            found(&mut |side| side.missing.push(missing("processes", "there is no /proc")));
            return;
        }
        let memory = processes::memory(proc);
        if memory.is_none() {
            found(&mut |side| side.missing.push(missing("memory", "the kernel does not tell")));
        }
        let had_core = subject.exit.is_some_and(|exit| exit.dumped_core);
        let core = had_core.then(|| death::core(proc, subject));
        let group = death::control_group(proc, subject);
        let out_of_memory = death::out_of_memory(subject, group.as_ref(), kills, deadline);
        found(&mut |side| {
            side.memory.clone_from(&memory);
            side.core.clone_from(&core);
            side.out_of_memory.clone_from(&out_of_memory);
            side.control_group.clone_from(&group);
        });
        let pids = if subject.is_over { Vec::new() } else { processes::members(proc, subject) };
        if pids.is_empty() && wanted.is_empty() {
            return;
        }
        match sockets::listening(proc, subject.pid.filter(|_| subject.is_live)) {
            Ok(sockets) => {
                let owned = sockets::owned_by(proc, &sockets, &pids);
                let search = sockets::strangers(proc, &sockets, wanted, &owned, subject.orphans_of, deadline);
                found(&mut |side| {
                    side.ports.clone_from(&owned);
                    side.strangers.clone_from(&search.ports);
                    side.missing.extend(search.is_cut_short.then(|| missing("owners of ports", LATE)));
                });
            }
            Err(error) => found(&mut |side| side.missing.push(missing("ports", &error))),
        }
        for (index, pid) in pids.iter().enumerate() {
            if deadline.is_over() || index >= processes::MOST {
                let why = format!("{} were not looked at", pids.len() - index);
                found(&mut |side| side.missing.push(missing("processes", &why)));
                break;
            }
            let process = processes::look(proc, *pid);
            found(&mut |side| side.processes.extend(process.clone()));
        }
    }
}

/// An instant of the clock that counts suspend.
#[derive(Clone, Copy, Debug)]
struct Deadline(Duration);

impl Deadline {
    fn after(limit: Duration) -> Self {
        Self(since_boot().saturating_add(limit))
    }

    fn left(self) -> Duration {
        self.0.saturating_sub(since_boot())
    }

    fn is_over(self) -> bool {
        self.left().is_zero()
    }
}

fn missing(what: &str, why: impl Display) -> Missing {
    Missing { what: what.to_owned(), why: why.to_string() }
}

const LATE: &str = "no answer in time";

#[cfg(test)]
mod tests;
