//! Helper runs: stop commands and exec probes. The keeper spawns and times them; here they queue, are
//! told apart from units' runs, and their first words are kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe;
use tokio::task::AbortHandle;

use crate::engine::event::{Event, ExitStatus, SpawnFailure, StopCommandOutcome};
use crate::engine::id::{ProbeRunId, RunId};
use crate::engine::time::Timestamp;
use crate::keeper::wire::HELPER_BIT;
use crate::probe::exec;
use crate::supervisor::launch::Launch;

/// What a helper is for, and so which event it ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    StopCommand { of: RunId },
    Probe(ProbeRunId),
}

#[derive(Debug)]
pub(crate) struct Helpers {
    next: u64,
    running: BTreeMap<u64, Helper>,
    /// More than `AT_ONCE`: first come, first served.
    queue: VecDeque<(Launch, Purpose, Duration)>,
}

#[derive(Debug)]
struct Helper {
    /// `None` once nobody wants to know any more.
    purpose: Option<Purpose>,
    timeout: Duration,
    began: Timestamp,
    output: Option<Output>,
    was_told: bool,
}

/// The first words of a helper, read as they come so that it never blocks on its pipe.
#[derive(Debug)]
struct Output {
    kept: Rc<RefCell<Vec<u8>>>,
    reader: Rc<pipe::Receiver>,
    worker: AbortHandle,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Helpers {
    /// `now` makes numbers that no earlier supervisor of this boot gave.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { next: HELPER_BIT | (now.0 & !HELPER_BIT), running: BTreeMap::new(), queue: VecDeque::new() }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }

    /// Some: begin it now. None: it waits for its turn.
    pub(crate) fn admit(
        &mut self,
        launch: Launch,
        purpose: Purpose,
        timeout: Duration,
        now: Timestamp,
    ) -> Option<Launch> {
        if self.running.len() >= AT_ONCE {
            self.queue.push_back((launch, purpose, timeout));
            return None;
        }
        let helper = Helper { purpose: Some(purpose), timeout, began: now, output: None, was_told: false };
        self.running.insert(launch.run, helper);
        Some(launch)
    }

    /// The write end for the helper's output.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub(crate) fn open_output(&mut self, run: u64) -> io::Result<Arc<OwnedFd>> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&read, true)?;
        let reader = Rc::new(pipe::Receiver::from_owned_fd(read)?);
        let kept = Rc::new(RefCell::new(Vec::new()));
        let worker = tokio::task::spawn_local(listen(Rc::clone(&reader), Rc::clone(&kept))).abort_handle();
        if let Some(helper) = self.running.get_mut(&run) {
            helper.output = Some(Output { kept, reader, worker });
        }
        Ok(Arc::new(write))
    }

    pub(crate) fn failed(&mut self, run: u64, failure: &SpawnFailure) -> Option<Event> {
        let helper = self.running.remove(&run)?;
        Some(match helper.purpose? {
            Purpose::StopCommand { of } => {
                Event::StopCommandFinished { run: of, outcome: StopCommandOutcome::NotStarted }
            }
            Purpose::Probe(probe) => Event::ProbeFinished { probe, verdict: exec::not_started(failure) },
        })
    }

    pub(crate) fn exited(&mut self, run: u64, exit: ExitStatus, now: Timestamp) -> Option<Event> {
        let helper = self.running.get_mut(&run)?;
        if std::mem::replace(&mut helper.was_told, true) {
            return None;
        }
        let was_killed = matches!(exit, ExitStatus::Signal { .. } | ExitStatus::Unknown);
        // The keeper kills at the timeout; a helper that died of itself as it ended is no different.
        let timed_out = was_killed && now.since(helper.began) >= helper.timeout;
        let said = helper.output.take().map(|output| output.finish()).unwrap_or_default();
        Some(match helper.purpose.take()? {
            Purpose::StopCommand { of } => {
                let outcome =
                    if timed_out { StopCommandOutcome::TimedOut } else { StopCommandOutcome::Ended(exit) };
                Event::StopCommandFinished { run: of, outcome }
            }
            Purpose::Probe(probe) => {
                let verdict = exec::judge(exit, timed_out, helper.timeout, &said);
                Event::ProbeFinished { probe, verdict }
            }
        })
    }

    /// Nothing of it is left. What may begin in its place.
    pub(crate) fn emptied(&mut self, run: u64, now: Timestamp) -> Option<Launch> {
        self.running.remove(&run);
        self.next_in_line(now)
    }

    pub(crate) fn next_in_line(&mut self, now: Timestamp) -> Option<Launch> {
        if self.running.len() >= AT_ONCE {
            return None;
        }
        let (launch, purpose, timeout) = self.queue.pop_front()?;
        self.admit(launch, purpose, timeout, now)
    }

    /// Nobody wants this probe's answer. Some: that run has to be killed.
    pub(crate) fn cancel(&mut self, probe: ProbeRunId) -> Option<u64> {
        let wanted = Purpose::Probe(probe);
        self.queue.retain(|(_, purpose, _)| *purpose != wanted);
        let (run, helper) = self.running.iter_mut().find(|(_, helper)| helper.purpose == Some(wanted))?;
        helper.purpose = None;
        Some(*run)
    }

    /// The keeper that held them died: each ends unanswered, and none is known any more.
    pub(crate) fn lose_all(&mut self) -> Vec<Event> {
        let lost = std::mem::take(&mut self.running);
        let end = |helper: Helper| match helper.purpose? {
            Purpose::StopCommand { of } => {
                let outcome = StopCommandOutcome::Ended(ExitStatus::Unknown);
                Some(Event::StopCommandFinished { run: of, outcome })
            }
            Purpose::Probe(probe) => {
                let verdict = exec::judge(ExitStatus::Unknown, false, helper.timeout, &[]);
                Some(Event::ProbeFinished { probe, verdict })
            }
        };
        lost.into_values().filter_map(end).collect()
    }
}

impl Output {
    /// What was said until now, with what still lies in the pipe. A grandchild that holds it open is not waited for.
    fn finish(&self) -> Vec<u8> {
        let mut kept = self.kept.borrow_mut();
        let mut chunk = [0; KEPT_BYTES];
        while let Ok(length @ 1..) = self.reader.try_read(&mut chunk) {
            keep(&mut kept, chunk.get(..length).unwrap_or_default());
            if kept.len() >= KEPT_BYTES {
                break;
            }
        }
        std::mem::take(&mut kept)
    }
}

async fn listen(reader: Rc<pipe::Receiver>, kept: Rc<RefCell<Vec<u8>>>) {
    let mut chunk = [0; KEPT_BYTES];
    while reader.readable().await.is_ok() {
        match reader.try_read(&mut chunk) {
            Ok(0) => return,
            Ok(length) => keep(&mut kept.borrow_mut(), chunk.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn keep(kept: &mut Vec<u8>, said: &[u8]) {
    let room = KEPT_BYTES.saturating_sub(kept.len());
    kept.extend_from_slice(said.get(..room.min(said.len())).unwrap_or_default());
}

const AT_ONCE: usize = 64;
const KEPT_BYTES: usize = 4096;
