//! The life of the supervisor, as its parent sees it: started from our own executable, started
//! again whenever it dies, aborted when it does not answer.

use std::collections::VecDeque;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use rustix::net::SocketFlags;
use rustix::process::{Pid, PidfdFlags};

use crate::keeper::clock::{MILLISECOND, Patience, SECOND};
use crate::keeper::farewell::Farewell;
use crate::keeper::holdings::Role;
use crate::keeper::link;
use crate::keeper::orders::KILL;
use crate::keeper::run::{Keeper, Pending};
use crate::keeper::spawn::{Job, Stdio};
use crate::keeper::sys::{self, OomScore, Program};
use crate::keeper::table::is_helper;
use crate::keeper::wire::{Exit, Step};

/// The hidden first argument under which this binary is the supervisor.
pub(super) const VERB: &str = "__supervisor";

/// Deaths within this time count as one spell of trouble …
const TROUBLE_WINDOW: u64 = 60 * SECOND;
/// … and this many of them mean safe mode.
const TROUBLE_DEATHS: usize = 3;
/// The first death in a spell costs no time at all, the next ones twice as much each time.
const DELAY_FIRST: u64 = 50 * MILLISECOND;
const DELAY_LAST: u64 = SECOND;
/// From its start to its hello; it may have thousands of unit files to read.
const HELLO_DEADLINE: u64 = 60 * SECOND;
/// Told something and silent for this long, it is asked …
const SILENCE: u64 = 5 * SECOND;
/// … and must say something, anything, within this.
const ANSWER_DEADLINE: u64 = 10 * SECOND;
/// From SIGABRT, which leaves a core to look at, to SIGKILL.
const ABORT_GRACE: u64 = 2 * SECOND;
/// For the supervisor of the executable before us to close its files.
const RELIEF: u64 = 5 * SECOND;
const ABORT: u8 = 6;
/// Tells the keeper that a supervisor may have to start what score everything else had before.
pub(super) const OOM_SCORE_VARIABLE: &str = "MCSUP_OOM_SCORE";
/// Just above what the keeper itself gets.
const OOM_SCORE: &[u8] = b"-900";

#[derive(Debug, Default)]
pub(super) struct Supervisor {
    /// Its process, when we started it and it lives.
    slot: Option<u64>,
    /// Of one that started us instead.
    foreign_pid: Option<i32>,
    has_greeted: bool,
    has_ever_greeted: bool,
    pub(super) restarts: u32,
    deaths: VecDeque<u64>,
    start_at: Option<u64>,
    /// When what it does next is overdue.
    overdue: Option<(u64, Overdue)>,
    /// Somebody knocked at the control listener; when to see whether they were let in.
    door_at: Option<u64>,
    pings: u64,
    patience: Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    Hello,
    /// It was told something, and has said nothing since.
    Word,
    /// It was asked.
    Answer,
    /// It was aborted.
    Death,
}

impl Supervisor {
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, ..Self::default() }
    }

    /// Something is expected of it within this time.
    fn expect(&mut self, what: Overdue, within: u64, now: u64) {
        self.overdue = Some((now.saturating_add(self.patience.of(within)), what));
    }

    pub(super) fn connected(&mut self, now: u64) {
        self.has_greeted = false;
        self.expect(Overdue::Hello, HELLO_DEADLINE, now);
    }

    pub(super) fn greeted(&mut self, pid: u32) {
        self.has_greeted = true;
        self.has_ever_greeted = true;
        if self.foreign_pid.is_some() {
            self.foreign_pid = i32::try_from(pid).ok();
        }
    }

    /// It was there before us, and started us.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign_pid.is_some()
    }

    /// It is about to be told something, and is expected to say something in turn.
    pub(super) fn spoken_to(&mut self, now: u64) {
        if self.overdue.is_none() {
            self.expect(Overdue::Word, SILENCE, now);
        }
    }

    /// A client waits, or is let in at this very moment.
    pub(super) fn knocked(&mut self, now: u64) {
        self.door_at = Some(now.saturating_add(self.patience.of(SILENCE)));
    }

    /// How often it was started again, and when it died lately.
    pub(super) fn troubles(&self) -> (u32, Vec<u64>) {
        (self.restarts, self.deaths.iter().copied().collect())
    }

    /// The same of one who was here before us. Services run: whoever is to supervise them is tried again, however
    /// early it dies.
    pub(super) fn had_troubles(&mut self, restarts: u32, deaths: &[u64]) {
        self.restarts = restarts;
        self.deaths = deaths.iter().copied().collect();
        self.has_ever_greeted = true;
    }

    /// There was one before this executable was run.
    pub(super) fn was_here_before(&self) -> bool {
        self.has_ever_greeted
    }

    pub(super) fn is_of_before(&mut self, slot: u64) {
        self.slot = Some(slot);
    }

    pub(super) fn is_in_trouble(&mut self, now: u64) -> bool {
        let since = now.saturating_sub(TROUBLE_WINDOW);
        while self.deaths.front().is_some_and(|at| *at < since) {
            self.deaths.pop_front();
        }
        self.deaths.len() >= TROUBLE_DEATHS
    }

    fn died(&mut self, now: u64) {
        self.deaths.push_back(now);
        self.is_in_trouble(now);
        let mut delay = match self.deaths.len() {
            0 | 1 => 0,
            _ => DELAY_FIRST,
        };
        for _ in 2..self.deaths.len().min(16) {
            delay = delay.saturating_mul(2).min(DELAY_LAST);
        }
        self.start_at = Some(now.saturating_add(delay));
        self.restarts = self.restarts.saturating_add(1);
    }
}

impl Keeper {
    pub(super) fn first_supervisor(&mut self, now: u64) -> io::Result<()> {
        if let Some(socket) = self.arguments.adopted_link.take() {
            self.supervisor.foreign_pid = Some(0);
            // Services run already: whoever is to supervise them is tried again, however early it dies.
            self.supervisor.has_ever_greeted = true;
            self.connect(socket, now)
        } else if self.arguments.attach.is_some() {
            Ok(())
        } else {
            self.start_supervisor(now)
        }
    }

    fn start_supervisor(&mut self, now: u64) -> io::Result<()> {
        self.supervisor.start_at = None;
        let (ours, theirs) = link::pair()?;
        let job = self.supervisor_job(theirs)?;
        self.connect(ours, now)?;
        let pending = Pending {
            role: Role::Supervisor,
            tag: String::new(),
            kill_at: None,
            log: None,
            signals: Vec::new(),
            tidings: None,
            kept: None,
        };
        self.submit(job, pending, now);
        Ok(())
    }

    fn supervisor_job(&self, link: OwnedFd) -> io::Result<Job> {
        let text = |word: &OsString| CString::new(word.as_bytes()).map_err(io::Error::from);
        let program = match (&self.arguments.supervisor, &self.executable) {
            (Some(path), _) => Program::Path(text(path)?),
            (None, Some(executable)) => Program::Descriptor(executable.as_raw_fd()),
            (None, None) => Program::Path(text(&std::env::args_os().next().unwrap_or_default())?),
        };
        let words = [OsString::from("mcsup"), OsString::from(VERB)];
        let argv = words.iter().chain(&self.arguments.supervisor_arguments).map(text);
        let original = OsString::from_vec(self.context.oom_score.text.clone());
        let original = (OsString::from(OOM_SCORE_VARIABLE), original);
        let inherited = std::env::vars_os().filter(|(name, _)| name != OOM_SCORE_VARIABLE);
        let env = inherited.chain([original]).map(|(name, value)| {
            CString::new([name.into_vec(), b"=".to_vec(), value.into_vec()].concat()).map_err(io::Error::from)
        });
        let mut descriptors = vec![Arc::new(link)];
        if self.arguments.lock.is_some() || self.arguments.listener.is_some() {
            descriptors.push(Arc::new(copy_or_null(self.arguments.lock.as_ref())?));
        }
        if self.arguments.listener.is_some() {
            descriptors.push(Arc::new(copy_or_null(self.arguments.listener.as_ref())?));
        }
        let changed = !self.context.oom_score.text.is_empty();
        let text = if changed { OOM_SCORE.to_vec() } else { Vec::new() };
        Ok(Job {
            token: 0,
            program,
            argv: argv.collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, _>>()?,
            working_dir: None,
            credentials: None,
            limits: vec![self.context.nofile],
            oom_score: OomScore { text, is_required: false },
            stdio: Stdio::Inherit,
            descriptors: descriptors.into_iter().zip(3..).collect(),
            has_sockets: false,
            confinement: None,
            enclosure: None,
        })
    }

    pub(super) fn supervisor_started(&mut self, slot: u64, now: u64) {
        self.supervisor.slot = Some(slot);
        if self.link.is_none() {
            // It was quicker to lose its link than we to hear that it runs.
            self.supervisor.expect(Overdue::Death, ABORT_GRACE, now);
        }
    }

    pub(super) fn supervisor_failed_to_start(&mut self, step: Step, errno: i32, now: u64) {
        let cause = io::Error::from_raw_os_error(errno);
        super::complain(&format!("cannot start the supervisor: {step:?}: {cause}"));
        self.disconnect();
        if self.relieved(Exit::Unknown, now) {
            return;
        }
        if self.supervisor.has_ever_greeted {
            self.supervisor.died(now);
            self.supervisor.start_at = Some(now.saturating_add(DELAY_LAST));
        } else {
            self.cannot_begin(1, now);
        }
    }

    /// Its process is gone.
    pub(super) fn on_supervisor_ended(&mut self, exit: Exit, now: u64) {
        // What it said last still counts: above all a Quit.
        self.on_last_words(now);
        self.supervisor.slot = None;
        self.disconnect();
        if self.farewell.is_final() || self.relieved(exit, now) {
            return;
        }
        if !self.supervisor.has_ever_greeted {
            // It said itself why it cannot go on.
            let code = match exit {
                Exit::Code(code) => code,
                Exit::Signal { number, .. } => number.saturating_add(128),
                Exit::Unknown => 1,
            };
            return self.cannot_begin(code, now);
        }
        self.supervisor.died(now);
    }

    /// The supervisor of the executable before us has no link any more, and ends by itself or is made to.
    pub(super) fn relieve(&mut self, now: u64) {
        if self.supervisor.slot.is_some() {
            self.supervisor.expect(Overdue::Death, RELIEF, now);
        } else {
            self.relieved(Exit::Unknown, now);
        }
    }

    /// Not because the last one failed.
    pub(super) fn start_supervisor_again(&mut self, now: u64) {
        self.supervisor.restarts = self.supervisor.restarts.saturating_add(1);
        self.supervisor.start_at = Some(now);
    }

    /// The link broke or hung up. A supervisor without a link is none.
    pub(super) fn lose_link(&mut self, now: u64) {
        self.disconnect();
        if self.supervisor.slot.is_some() {
            // It ends by itself, with a status that says something; or else is made to.
            self.supervisor.expect(Overdue::Death, ABORT_GRACE, now);
        } else if self.supervisor.foreign_pid.take().is_some() && !self.farewell.is_final() {
            self.supervisor.died(now);
        }
    }

    /// Nobody is told anything any more; helpers worked for nobody but this supervisor.
    pub(super) fn disconnect(&mut self) {
        self.link = None;
        self.is_link_full = false;
        self.supervisor.overdue = None;
        self.table.disconnected();
        self.farewell.disconnected();
        if let Farewell::Unanswered { signal, .. } = self.farewell
            && !self.table.has_signals()
        {
            // Told to one who did nothing about it; the next one shall.
            self.table.signalled(signal, 0);
        }
        let mut sight = None;
        let helpers: Vec<(u64, u64)> = self
            .holdings
            .iter()
            .filter_map(|(slot, holding)| match holding.role {
                Role::Run(run) if is_helper(run) => Some((slot, run)),
                Role::Run(_) | Role::Disowned | Role::Stillborn | Role::Supervisor | Role::Rehearsal => None,
            })
            .collect();
        for (slot, run) in helpers {
            self.doom(slot, &mut sight);
            self.table.disown(run);
            self.holdings.detach(slot, Role::Disowned);
        }
        for pending in self.pending.values_mut() {
            if let Role::Run(run) = pending.role
                && is_helper(run)
            {
                self.table.disown(run);
                pending.role = Role::Disowned;
            }
        }
    }

    /// It said something, so it lives; and if it was told of a signal, that is its business now.
    pub(super) fn heard(&mut self) {
        self.supervisor.overdue = None;
        if self.supervisor.has_greeted && !self.table.has_signals() {
            self.farewell.acknowledged();
        }
    }

    pub(super) fn supervisor_deadline(&self) -> Option<u64> {
        let overdue = self.supervisor.overdue.map(|(at, _)| at);
        [overdue, self.supervisor.start_at, self.supervisor.door_at].into_iter().flatten().min()
    }

    pub(super) fn look_after_supervisor(&mut self, now: u64) {
        if self.supervisor.start_at.is_some_and(|at| at <= now) {
            self.supervisor.start_at = None;
            let is_wanted = !self.farewell.is_final() && self.arguments.attach.is_none();
            if is_wanted && self.start_supervisor(now).is_err() {
                self.supervisor.start_at = Some(now.saturating_add(DELAY_LAST));
            }
        }
        if self.supervisor.door_at.is_some_and(|at| at <= now) {
            self.supervisor.door_at = None;
            // Nothing may have been told to a supervisor that hangs on an idle machine.
            if self.is_door_unanswered() && self.supervisor.overdue.is_none() && self.link.is_some() {
                self.ask_supervisor(now);
            }
        }
        let Some((at, overdue)) = self.supervisor.overdue else { return };
        if at > now {
            return;
        }
        match overdue {
            Overdue::Word if self.supervisor.has_greeted => self.ask_supervisor(now),
            Overdue::Hello | Overdue::Word | Overdue::Answer => self.abort_supervisor(now),
            Overdue::Death => {
                self.supervisor.overdue = None;
                if let Some(slot) = self.supervisor.slot {
                    self.kill_supervisor(slot, KILL);
                }
            }
        }
    }

    fn ask_supervisor(&mut self, now: u64) {
        self.supervisor.pings = self.supervisor.pings.saturating_add(1);
        self.table.ping(self.supervisor.pings);
        self.supervisor.expect(Overdue::Answer, ANSWER_DEADLINE, now);
    }

    fn abort_supervisor(&mut self, now: u64) {
        super::complain("the supervisor does not answer; starting another one");
        if let Some(slot) = self.supervisor.slot {
            self.kill_supervisor(slot, ABORT);
            self.supervisor.expect(Overdue::Death, ABORT_GRACE, now);
        } else {
            let pid = self.supervisor.foreign_pid.and_then(Pid::from_raw);
            let pidfd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
            if let Some(pidfd) = pidfd {
                sys::signal_by_pidfd(std::os::fd::AsFd::as_fd(&pidfd), KILL).ok();
            }
            self.lose_link(now);
        }
    }

    pub(super) fn end_supervisor(&mut self) {
        if let Some(slot) = self.supervisor.slot {
            self.kill_supervisor(slot, KILL);
        }
    }

    fn kill_supervisor(&self, slot: u64, signal: u8) {
        if let Some(holding) = self.holdings.get(slot) {
            sys::signal_by_pidfd(std::os::fd::AsFd::as_fd(&holding.pidfd), signal).ok();
        }
    }

    pub(super) fn on_attach(&mut self, now: u64) {
        let Some(attach) = &self.arguments.attach else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(attach, flags) else { return };
        if self.link.is_some() {
            self.disconnect();
        }
        self.supervisor.foreign_pid = None;
        // Refused only without memory: then whoever connected sees the link closed.
        self.connect(socket, now).ok();
    }
}

fn copy_or_null(descriptor: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let copy = match descriptor {
        Some(descriptor) => rustix::io::fcntl_dupfd_cloexec(descriptor, 10),
        None => return super::nothing(),
    };
    Ok(copy?)
}
