//! Helper runs: what the engine runs by a role, and exec probes. The keeper spawns and times them; here they queue, are
//! told apart from units' runs, and their first words are kept.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe;
use tokio::task::AbortHandle;

use crate::engine::event::{Event, ExitStatus, HelperOutcome, SpawnFailure};
use crate::engine::id::{HelperId, ProbeRunId, RunId};
use crate::engine::time::Timestamp;
use crate::keeper::wire::HELPER_BIT;
use crate::output::process::Ending;
use crate::probe::exec;
use crate::supervisor::jobs::{Case, Ended};
use crate::supervisor::launch::{Launch, What};
use crate::supervisor::role::{self, Lane};

/// Whose answer it is, and so which event it ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Helper(HelperId),
    Probe(ProbeRunId),
    /// The message that its channel is told.
    Channel(u64),
    /// The run whose output is judged.
    Judge(RunId),
}

fn lane_of(launch: &Launch) -> Lane {
    match &launch.what {
        What::Helper { role, .. } => role::lane(role),
        What::Main | What::Channel(_) | What::Judge(_) => Lane::Acts,
        What::Probe { .. } => Lane::Asks,
    }
}

#[derive(Debug)]
pub(crate) struct Helpers {
    next: u64,
    running: BTreeMap<u64, Helper>,
    /// More than may run at once: first come, first served in each lane.
    acts: VecDeque<(Launch, Purpose, Duration)>,
    asks: VecDeque<(Launch, Purpose, Duration)>,
    /// How commands of channels went that ended; the engine knows nothing of these.
    pub(crate) ran: Vec<(u64, Result<(), String>)>,
    /// Judges that ended, or were not started; `None`: lost with their keeper.
    pub(crate) judges: Vec<(RunId, Option<Arc<Case>>, Option<Ended>)>,
}

#[derive(Debug)]
struct Helper {
    /// `None` once nobody wants to know any more.
    purpose: Option<Purpose>,
    lane: Lane,
    timeout: Duration,
    began: Timestamp,
    output: Option<Output>,
    /// Of a judge.
    case: Option<Arc<Case>>,
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
        let next = HELPER_BIT | (now.0 & !HELPER_BIT);
        Self {
            next,
            running: BTreeMap::new(),
            acts: VecDeque::new(),
            asks: VecDeque::new(),
            ran: Vec::new(),
            judges: Vec::new(),
        }
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
        let lane = lane_of(&launch);
        if !self.has_room(lane) {
            let queue = match lane {
                Lane::Acts => &mut self.acts,
                Lane::Asks => &mut self.asks,
            };
            queue.push_back((launch, purpose, timeout));
            return None;
        }
        let case = match &launch.what {
            What::Judge(case) => Some(Arc::clone(case)),
            What::Main | What::Helper { .. } | What::Probe { .. } | What::Channel(_) => None,
        };
        let (purpose, output) = (Some(purpose), None);
        let helper = Helper { purpose, lane, timeout, began: now, output, case, was_told: false };
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
            Purpose::Helper(helper) => {
                let said = failure.to_string().into();
                Event::HelperFinished { helper, outcome: HelperOutcome::NotStarted, said }
            }
            Purpose::Probe(probe) => Event::ProbeFinished { probe, verdict: exec::not_started(failure) },
            Purpose::Channel(message) => {
                self.ran.push((message, Err(failure.to_string())));
                return None;
            }
            Purpose::Judge(run) => {
                let why = format!("the judge {failure}");
                self.judges.push((run, None, Some(Ended::NotStarted(why))));
                return None;
            }
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
            Purpose::Helper(helper) => {
                let outcome = if timed_out { HelperOutcome::TimedOut } else { HelperOutcome::Ended(exit) };
                Event::HelperFinished { helper, outcome, said: String::from_utf8_lossy(&said).trim().into() }
            }
            Purpose::Probe(probe) => {
                let verdict = exec::judge(exit, timed_out, helper.timeout, &said);
                Event::ProbeFinished { probe, verdict }
            }
            Purpose::Channel(message) => {
                self.ran.push((message, ended_well(exit, timed_out, &said)));
                return None;
            }
            Purpose::Judge(run) => {
                let ended = ending(exit, timed_out).map(Ended::Exited);
                self.judges.push((run, helper.case.take(), ended));
                return None;
            }
        })
    }

    /// Nothing of it is left. What may begin in its place.
    pub(crate) fn emptied(&mut self, run: u64, now: Timestamp) -> Option<Launch> {
        self.running.remove(&run);
        self.next_in_line(now)
    }

    pub(crate) fn next_in_line(&mut self, now: Timestamp) -> Option<Launch> {
        let queue = match (self.acts.is_empty(), self.has_room(Lane::Acts), self.has_room(Lane::Asks)) {
            (false, true, _) => &mut self.acts,
            (_, _, true) => &mut self.asks,
            (_, _, false) => return None,
        };
        let (launch, purpose, timeout) = queue.pop_front()?;
        self.admit(launch, purpose, timeout, now)
    }

    fn has_room(&self, lane: Lane) -> bool {
        // Few enough to count.
        let asking = self.running.values().filter(|helper| helper.lane == Lane::Asks).count();
        self.running.len() < AT_ONCE && (lane == Lane::Acts || asking < ASKING_AT_ONCE)
    }

    /// Nobody wants this answer. Some: that run has to be killed.
    pub(crate) fn cancel(&mut self, wanted: Purpose) -> Option<u64> {
        self.asks.retain(|(_, purpose, _)| *purpose != wanted);
        self.acts.retain(|(_, purpose, _)| *purpose != wanted);
        let (run, helper) = self.running.iter_mut().find(|(_, helper)| helper.purpose == Some(wanted))?;
        helper.purpose = None;
        Some(*run)
    }

    /// The keeper that held them died: each ends unanswered, and none is known any more.
    pub(crate) fn lose_all(&mut self) -> Vec<Event> {
        let lost = std::mem::take(&mut self.running);
        let (ran, judges) = (&mut self.ran, &mut self.judges);
        let end = |helper: Helper| match helper.purpose? {
            Purpose::Helper(helper) => {
                let outcome = HelperOutcome::Ended(ExitStatus::Unknown);
                Some(Event::HelperFinished { helper, outcome, said: "".into() })
            }
            Purpose::Probe(probe) => {
                let verdict = exec::judge(ExitStatus::Unknown, false, helper.timeout, &[]);
                Some(Event::ProbeFinished { probe, verdict })
            }
            Purpose::Channel(message) => {
                ran.push((message, Err("the keeper died".to_owned())));
                None
            }
            Purpose::Judge(run) => {
                judges.push((run, None, None));
                None
            }
        };
        lost.into_values().filter_map(end).collect()
    }
}

/// What a helper reads on its input: in memory, so that nobody waits for a reader.
///
/// # Errors
/// When there is no descriptor left.
pub(crate) fn input(body: &[u8]) -> io::Result<Arc<OwnedFd>> {
    let file = rustix::fs::memfd_create("message", rustix::fs::MemfdFlags::CLOEXEC)?;
    let file = std::fs::File::from(file);
    // At an offset, so that the reader begins at the beginning.
    file.write_all_at(body, 0)?;
    Ok(Arc::new(file.into()))
}

impl Output {
    /// What was said until now, with what still lies in the pipe. A grandchild that holds it open is not waited for.
    fn finish(&self) -> Vec<u8> {
        let mut kept = self.kept.borrow_mut();
        let mut chunk = [0; KEPT_BYTES];
        // Asked of the kernel: tokio knows of bytes only once it has looked, and the exit may have come before that.
        while let Ok(length @ 1..) = rustix::io::read(&*self.reader, &mut chunk) {
            keep(&mut kept, chunk.get(..length).unwrap_or_default());
            if kept.len() >= KEPT_BYTES {
                break;
            }
        }
        std::mem::take(&mut kept)
    }
}

/// `None`: nobody knows.
fn ending(exit: ExitStatus, timed_out: bool) -> Option<Ending> {
    match exit {
        _ if timed_out => Some(Ending::GivenUp),
        ExitStatus::Code(code) => Some(Ending::Exited(i32::from(code))),
        ExitStatus::Signal { signal, .. } => Some(Ending::Signalled(i32::from(signal.0))),
        ExitStatus::Unknown => None,
    }
}

/// 0 alone means that the message was taken.
fn ended_well(exit: ExitStatus, timed_out: bool, said: &[u8]) -> Result<(), String> {
    if timed_out {
        return Err("it took too long and was killed".to_owned());
    }
    if exit.is_success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(said);
    let last = said.lines().last().unwrap_or_default();
    Err(if last.is_empty() { exit.to_string() } else { format!("{exit}: {last}") })
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
/// Probes that hang until their timeout leave room for what acts.
const ASKING_AT_ONCE: usize = 48;
const KEPT_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::effect::Role;
    use crate::engine::id::{RunId, UnitId};

    fn admit(helpers: &mut Helpers, purpose: Purpose) -> Option<u64> {
        let what = match purpose {
            Purpose::Helper(_) => {
                What::Helper { role: Role::StopCommand { run: RunId(1) }, timeout: Duration::from_secs(1) }
            }
            Purpose::Probe(_) | Purpose::Channel(_) | Purpose::Judge(_) => What::Probe { index: 0 },
        };
        let launch = Launch { run: helpers.number(), unit: UnitId(0), ordinal: 0, what };
        helpers.admit(launch, purpose, Duration::from_secs(1), Timestamp(0)).map(|launch| launch.run)
    }

    #[test]
    fn stop_commands_wait_for_no_probe() {
        let mut helpers = Helpers::new(Timestamp(0));
        let probes: Vec<u64> =
            (0..200).filter_map(|at| admit(&mut helpers, Purpose::Probe(ProbeRunId(at)))).collect();
        assert_eq!(probes.len(), ASKING_AT_ONCE);
        let stops: Vec<u64> =
            (0..20).filter_map(|at| admit(&mut helpers, Purpose::Helper(HelperId(at)))).collect();
        assert_eq!(probes.len() + stops.len(), AT_ONCE, "room was left for them");
        let next = helpers.emptied(probes[0], Timestamp(0)).map(|launch| launch.what);
        assert!(matches!(next, Some(What::Helper { .. })), "{next:?} goes first");
    }

    #[test]
    fn what_waited_while_a_keeper_died_has_its_turn() {
        let mut helpers = Helpers::new(Timestamp(0));
        for at in 0..100 {
            admit(&mut helpers, Purpose::Probe(ProbeRunId(at)));
        }
        assert_eq!(helpers.lose_all().len(), ASKING_AT_ONCE);
        let next: Vec<Launch> = std::iter::from_fn(|| helpers.next_in_line(Timestamp(0))).collect();
        assert_eq!(next.len(), ASKING_AT_ONCE);
    }

    #[test]
    fn what_a_probe_said_is_there_though_its_exit_came_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let mut helpers = Helpers::new(Timestamp(0));
            let run = admit(&mut helpers, Purpose::Probe(ProbeRunId(1))).unwrap();
            let output = helpers.open_output(run).unwrap();
            rustix::io::write(&*output, b"PONG\n").unwrap();
            // Nobody has looked at the pipe since.
            let event = helpers.exited(run, ExitStatus::Code(0), Timestamp(1));
            let Some(Event::ProbeFinished { verdict: crate::engine::event::Verdict::Pass(said), .. }) = event
            else {
                panic!("{event:?}");
            };
            assert_eq!(&*said, "PONG");
        });
    }
}
