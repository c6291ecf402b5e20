//! Starting processes, off the main loop. Jobs wait in one queue; a spawner thread takes them in
//! order. A child that keeps our credentials borrows our memory until it execs, which is cheapest
//! but holds the thread: when that takes long, or the queue is, another thread helps, and after
//! 5 s the child is killed. A child that changes its user gets a copy of our memory instead, since
//! that user may stop it; the main loop watches such children, and nothing waits for them.
//!
//! Spawner threads never end: their children would become the main thread's, which knows its
//! orphans by being the only one without children of its own.

use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::num::NonZero;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Uid};
use rustix::thread::Gid;

use crate::keeper::clock::{self, MILLISECOND, Patience, SECOND};
use crate::keeper::confine::Confined;
use crate::keeper::enclosure::{Enclosure, Plan};
use crate::keeper::pid_slot::{self, PidSlot};
use crate::keeper::sys::{self, Child, ChildStack, Failure, Image, OomScore, Program, Strings};
use crate::keeper::wire::{Confinement, Credentials, Limit, SpawnOrder, Step};
use crate::proc::RUN_ASSIGNMENT;

/// A child that has not execed by then is killed.
pub(super) const EXEC_DEADLINE: u64 = 5_000 * MILLISECOND;
/// After this long another thread takes over the queue.
const HELD_UP: u64 = 100 * MILLISECOND;
/// A killed child that does not end (uninterruptible sleep) is killed again this often.
const KILL_AGAIN: u64 = SECOND;
/// Descriptors 3 to 9 are ours from the start: /dev/null, then one for each spawner thread. A child
/// that gets only what is below 10 needs no copy of a table of thousands.
const NULL: RawFd = 3;
const FIRST_SEAT: RawFd = 4;
const FIRST_FOREIGN: RawFd = 10;
/// Jobs under way that leave something to tidy up.
const BURST: usize = 64;
/// From the last job of such a burst to the tidying.
const CALM: u64 = SECOND;
/// Jobs done while others wait that are told together; at the latest with the next `look`.
const TOLD_TOGETHER: usize = 16;
/// Jobs that wait when one thread more begins, up to one a processor.
const LONG_QUEUE: usize = 8;
/// One for each reserved descriptor.
const MOST_THREADS: usize = 6;
/// Kept free below the limit, so that the link and the next supervisor still get theirs.
const SPARE_DESCRIPTORS: u64 = 64;
/// Deep enough for the longest path through `spawn_one`, with room for a debug build.
const THREAD_STACK_BYTES: usize = 128 * 1024;

/// One process to start.
#[derive(Debug)]
pub(super) struct Job {
    /// Comes back in `Done`.
    pub(super) token: u64,
    pub(super) program: Program,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    pub(super) working_dir: Option<CString>,
    pub(super) credentials: Option<Credentials>,
    pub(super) limits: Vec<Limit>,
    pub(super) oom_score: OomScore,
    pub(super) stdio: Stdio,
    /// Each with its number in the child, from 3 on.
    pub(super) descriptors: Vec<(Arc<OwnedFd>, RawFd)>,
    /// The child learns its own pid as LISTEN_PID.
    pub(super) has_sockets: bool,
    pub(super) confinement: Option<Box<Confinement>>,
    pub(super) enclosure: Option<Plan>,
}

/// What an order gives its process besides the program.
#[derive(Debug, Default)]
pub(super) struct Gifts {
    pub(super) output: Option<OwnedFd>,
    pub(super) descriptors: Vec<(Arc<OwnedFd>, RawFd)>,
    /// Assignments that tell of them; they replace what the order says under these names.
    pub(super) env: Vec<Vec<u8>>,
    pub(super) has_sockets: bool,
}

impl Gifts {
    fn tell(&self, pair: &[u8]) -> bool {
        let name = |pair: &[u8]| pair.split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
        let is_pid = self.has_sockets && pair.starts_with(pid_slot::LISTEN_PID);
        is_pid || self.env.iter().any(|own| name(own) == name(pair))
    }
}

/// Where output goes; except with `Inherit`, input comes from /dev/null.
#[derive(Debug)]
pub(super) enum Stdio {
    /// A new pipe whose read end comes back in `Done`.
    Pipe,
    Given(OwnedFd),
    Null,
    Inherit,
}

/// What became of a job.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) token: u64,
    pub(super) outcome: Result<Started, Failed>,
}

#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    /// The instants between which it began, on the clock that /proc tells start times by.
    pub(super) began: (u64, u64),
    /// Of a copied child: whether it got to exec shows here, see `sys::read_failure`.
    pub(super) status: Option<OwnedFd>,
    pub(super) output: Option<OwnedFd>,
    pub(super) enclosure: Option<Enclosure>,
}

#[derive(Debug)]
pub(super) struct Failed {
    pub(super) step: Step,
    pub(super) errno: i32,
    /// The child that is about to leave, and must be waited for.
    pub(super) child: Option<(i32, OwnedFd)>,
}

impl Failed {
    fn early(step: Step, errno: Errno) -> Self {
        Self { step, errno: errno.raw_os_error(), child: None }
    }
}

/// Turns an order into a job.
///
/// # Errors
/// When a string has a NUL byte in it.
pub(super) fn job(
    order: SpawnOrder,
    tag: &str,
    context: &Context,
    gifts: Gifts,
    enclosure: Option<Plan>,
) -> Result<Job, Errno> {
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_nul| Errno::INVAL);
    let is_ours = |pair: &Vec<u8>| pair.starts_with(RUN_ASSIGNMENT) || gifts.tell(pair);
    let own = [RUN_ASSIGNMENT, tag.as_bytes()].concat();
    let given: Vec<Vec<u8>> = order.env.into_iter().filter(|pair| !is_ours(pair)).collect();
    let env = std::iter::once(own).chain(given).chain(gifts.env);
    let oom_score = match order.oom_score_adjust {
        Some(score) => OomScore { text: score.to_string().into_bytes(), is_required: true },
        None => context.oom_score.clone(),
    };
    let stdio = match (&order.log, gifts.output) {
        (Some(_), _) => Stdio::Pipe,
        (None, Some(output)) => Stdio::Given(output),
        (None, None) => Stdio::Null,
    };
    let names_nofile = order.limits.iter().any(|limit| limit.resource == context.nofile.resource);
    let usual = (!names_nofile).then_some(context.nofile);
    Ok(Job {
        token: order.run,
        program: Program::Path(text(order.program)?),
        argv: order.argv.into_iter().map(text).collect::<Result<_, _>>()?,
        env: env.map(text).collect::<Result<_, _>>()?,
        working_dir: Some(text(order.working_dir)?).filter(|dir| !dir.is_empty()),
        credentials: order.credentials,
        limits: usual.into_iter().chain(order.limits).collect(),
        oom_score,
        stdio,
        descriptors: gifts.descriptors,
        has_sockets: gifts.has_sockets,
        confinement: order.confinement,
        enclosure,
    })
}

/// What every child gets back, because the keeper changed it for itself.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) nofile: Limit,
    pub(super) oom_score: OomScore,
}

#[derive(Debug)]
pub(super) struct Spawner {
    shared: Arc<Shared>,
    seats: Vec<Arc<Seat>>,
    in_flight: usize,
    /// There was a long queue, and nobody has tidied up after it.
    had_burst: bool,
    /// When that is done.
    tidy_at: Option<u64>,
    next_look: Option<u64>,
    exec_deadline: u64,
    processors: usize,
}

#[derive(Debug)]
struct Shared {
    jobs: Mutex<VecDeque<Job>>,
    wake: Condvar,
    done: Mutex<Vec<Done>>,
    bell: OwnedFd,
    /// Soft limit of descriptors.
    most_descriptors: u64,
}

/// What one spawner thread is at.
#[derive(Debug)]
struct Seat {
    number: usize,
    /// The job of the child.
    token: AtomicU64,
    /// When the child was begun; 0: none.
    since: AtomicU64,
    pidfd: AtomicI32,
    was_killed: AtomicBool,
}

impl Spawner {
    /// Takes descriptors 3 to 9 for itself, so this comes before anything else is opened.
    ///
    /// # Errors
    /// When a descriptor or a thread is refused.
    pub(super) fn start(most_descriptors: u64, patience: Patience) -> io::Result<Self> {
        reserve_descriptors()?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Shared {
            jobs: Mutex::new(VecDeque::new()),
            wake: Condvar::new(),
            done: Mutex::new(Vec::new()),
            bell,
            most_descriptors,
        };
        let mut spawner = Self {
            shared: Arc::new(shared),
            seats: Vec::new(),
            in_flight: 0,
            had_burst: false,
            tidy_at: None,
            next_look: None,
            exec_deadline: patience.of(EXEC_DEADLINE),
            processors: thread::available_parallelism().map_or(1, NonZero::get),
        };
        spawner.add_thread()?;
        Ok(spawner)
    }

    fn add_thread(&mut self) -> io::Result<()> {
        let seat = Arc::new(Seat {
            number: self.seats.len(),
            token: AtomicU64::new(0),
            since: AtomicU64::new(0),
            pidfd: AtomicI32::new(-1),
            was_killed: AtomicBool::new(false),
        });
        let (shared, own_seat) = (Arc::clone(&self.shared), Arc::clone(&seat));
        thread::Builder::new()
            .name("spawner".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || serve(&shared, &own_seat))?;
        self.seats.push(seat);
        Ok(())
    }

    /// Readable when `take_done` has something.
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.shared.bell
    }

    pub(super) fn submit(&mut self, job: Job, now: u64) {
        let soon = now.saturating_add(HELD_UP);
        self.next_look = Some(self.next_look.map_or(soon, |at| at.min(soon)));
        self.in_flight = self.in_flight.saturating_add(1);
        self.had_burst |= self.in_flight >= BURST;
        let waiting = {
            let mut jobs = locked(&self.shared.jobs);
            jobs.push_back(job);
            jobs.len()
        };
        self.shared.wake.notify_one();
        if waiting >= LONG_QUEUE && self.seats.len() < self.processors.min(MOST_THREADS) {
            self.add_thread().ok();
        }
    }

    pub(super) fn take_done(&mut self) -> Vec<Done> {
        rustix::io::read(&self.shared.bell, &mut [0; 8]).ok();
        let done = std::mem::take(&mut *locked(&self.shared.done));
        self.in_flight = self.in_flight.saturating_sub(done.len());
        done
    }

    /// True once after many starts, a while after the last of them: what they bring about, notes above all,
    /// is over by then, and so are the pages of code that it takes.
    pub(super) fn has_calmed(&mut self, now: u64) -> bool {
        if !self.had_burst || self.in_flight > 0 {
            self.tidy_at = None;
            return false;
        }
        let is_time = *self.tidy_at.get_or_insert_with(|| now.saturating_add(CALM)) <= now;
        if is_time {
            self.had_burst = false;
            self.tidy_at = None;
        }
        is_time
    }

    /// When to `look`, while anything is in flight; or when to tidy up.
    pub(super) fn next_look(&self) -> Option<u64> {
        [self.next_look, self.tidy_at].into_iter().flatten().min()
    }

    /// Looks after threads that are held up: others go on in their place, and what holds them is
    /// killed in the end. Gives each job whose time is up, once (what comes of it is still done), and
    /// whether somebody is done meanwhile.
    pub(super) fn look(&mut self, now: u64) -> (Vec<u64>, bool) {
        let mut overdue = Vec::new();
        if self.in_flight == 0 {
            self.next_look = None;
        }
        if self.next_look.is_none_or(|at| at > now) {
            return (overdue, false);
        }
        let mut are_all_held_up = true;
        let mut stuck = 0_usize;
        for seat in &self.seats {
            let since = seat.since.load(Ordering::SeqCst);
            let busy_for = if since == 0 { 0 } else { now.saturating_sub(since) };
            are_all_held_up &= busy_for >= HELD_UP;
            if busy_for >= self.exec_deadline && seat.since.load(Ordering::SeqCst) == since {
                if !seat.was_killed.swap(true, Ordering::SeqCst) {
                    overdue.push(seat.token.load(Ordering::SeqCst));
                }
                sys::signal_by_seat(&seat.pidfd, 9);
                stuck = stuck.saturating_add(1);
            }
        }
        let next = if self.in_flight > stuck { HELD_UP } else { KILL_AGAIN };
        self.next_look = Some(now.saturating_add(next));
        let has_jobs = !locked(&self.shared.jobs).is_empty();
        if are_all_held_up && has_jobs && self.seats.len() < MOST_THREADS {
            self.add_thread().ok();
        }
        (overdue, !locked(&self.shared.done).is_empty())
    }
}

/// Whatever a panic elsewhere may have left behind is still a queue.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes every number from 3 to 9 stand for /dev/null, whatever was inherited there.
fn reserve_descriptors() -> io::Result<()> {
    let null = super::nothing()?;
    super::make_room_for_descriptors(&null);
    let high = rustix::io::fcntl_dupfd_cloexec(&null, FIRST_FOREIGN)?;
    drop(null);
    for number in NULL..FIRST_FOREIGN {
        sys::replace(high.as_raw_fd(), number)?;
    }
    Ok(())
}

fn serve(shared: &Shared, seat: &Seat) {
    let mut stack = ChildStack::new();
    loop {
        let job = next_job(shared);
        let token = job.token;
        seat.was_killed.store(false, Ordering::SeqCst);
        seat.token.store(token, Ordering::SeqCst);
        seat.since.store(clock::monotonic(), Ordering::SeqCst);
        let outcome = spawn_one(shared, seat, &mut stack, job);
        seat.since.store(0, Ordering::SeqCst);
        let is_last = locked(&shared.jobs).is_empty();
        let done = {
            let mut done = locked(&shared.done);
            done.push(Done { token, outcome });
            done.len()
        };
        // More follow: one by one, each would wake both rings.
        if is_last || done >= TOLD_TOGETHER {
            rustix::io::write(&shared.bell, &1_u64.to_ne_bytes()).ok();
        }
    }
}

fn next_job(shared: &Shared) -> Job {
    let mut jobs = locked(&shared.jobs);
    loop {
        if let Some(job) = jobs.pop_front() {
            if jobs.is_empty() {
                // A boot's queue is long once; its room is not kept.
                *jobs = VecDeque::new();
            }
            return job;
        }
        jobs = shared.wake.wait(jobs).unwrap_or_else(PoisonError::into_inner);
    }
}

fn spawn_one(shared: &Shared, seat: &Seat, stack: &mut ChildStack, job: Job) -> Result<Started, Failed> {
    let prepare = |errno| Failed::early(Step::Prepare, errno);
    let uid = job.credentials.as_ref().map(|credentials| Uid::from_raw(credentials.uid));
    let own_seat = seat_descriptor(seat.number);
    let (mut output, mut descriptors) = (None, Vec::new());
    let mut taken = None;
    match job.stdio {
        Stdio::Pipe => {
            let (read, write) = new_pipe(shared.most_descriptors).map_err(prepare)?;
            if uid.is_some() {
                // Without it the unit's user could not open /dev/stdout.
                rustix::fs::fchown(&write, uid, None).map_err(prepare)?;
            }
            taken = Some(Taken::new(own_seat, &write).map_err(prepare)?);
            output = Some(read);
            descriptors.extend([(NULL, 0), (own_seat, 1), (own_seat, 2)]);
        }
        Stdio::Given(given) => {
            taken = Some(Taken::new(own_seat, &given).map_err(prepare)?);
            descriptors.extend([(NULL, 0), (own_seat, 1), (own_seat, 2)]);
        }
        Stdio::Null => descriptors.extend([(NULL, 0), (NULL, 1), (NULL, 2)]),
        Stdio::Inherit => {}
    }
    let raised = raised(job.descriptors).map_err(prepare)?;
    descriptors.extend(raised.iter().map(|(source, target)| (source.as_raw_fd(), *target)));
    let pid_slot = job.has_sockets.then(PidSlot::new);
    let confined = match job.confinement {
        Some(order) => Confined::new(&order, job.credentials.as_ref())
            .map_err(|(step, errno)| Failed::early(step, errno))?,
        None => Confined::default(),
    };
    let enclosure = enclosed(job.enclosure.as_ref())?;
    let cgroup = enclosure.as_ref().map(|enclosure| opened(enclosure.directory())).transpose();
    let groups = job.credentials.iter().flat_map(|credentials| credentials.groups.iter());
    let image = Image {
        program: job.program,
        argv: Strings::new(job.argv),
        env: Strings::with_slot(job.env, pid_slot.as_ref()),
        working_dir: job.working_dir,
        groups: groups.map(|group| Gid::from_raw(*group)).collect(),
        credentials: job.credentials,
        limits: job.limits,
        oom_score: job.oom_score,
        descriptors,
        confined,
        cgroup: cgroup.map_err(|errno| Failed::early(Step::Cgroup, errno))?,
        pid_slot,
    };
    // The last thread lends its memory to nobody: whatever holds up all the others, it goes on.
    let keeps_ours =
        image.credentials.is_none() && image.cgroup.is_none() && !image.confined.needs_own_memory();
    let may_share = keeps_ours && seat.number.saturating_add(1) < MOST_THREADS;
    let before = clock::boottime();
    let started = if may_share { sharing(&image, seat, stack) } else { copying(&image) };
    let began = (before, clock::boottime());
    drop((taken, raised));
    started.map(|started| Started { output, began, enclosure, ..started })
}

/// Without one a run is as well known as on a machine that has none; a limit that was asked for must hold.
fn enclosed(plan: Option<&Plan>) -> Result<Option<Enclosure>, Failed> {
    let Some(plan) = plan else { return Ok(None) };
    match plan.carry_out() {
        Ok(enclosure) => Ok(Some(enclosure)),
        Err(_) if plan.settings.is_empty() => Ok(None),
        Err(error) => Err(Failed::early(Step::Cgroup, Errno::from_io_error(&error).unwrap_or(Errno::IO))),
    }
}

fn opened(group: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(group, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn new_pipe(most_descriptors: u64) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    if leaves_room(&write, most_descriptors) { Ok((read, write)) } else { Err(Errno::MFILE) }
}

/// The kernel gives the lowest number that is free, so a number says how many are in use.
pub(super) fn leaves_room(newest: &OwnedFd, most_descriptors: u64) -> bool {
    let number = u64::try_from(newest.as_raw_fd()).unwrap_or(u64::MAX);
    number.saturating_add(SPARE_DESCRIPTORS) <= most_descriptors
}

/// The same under numbers above all targets: what is given to the child under one number must not
/// overwrite what it is still to be given under another.
fn raised(given: Vec<(Arc<OwnedFd>, RawFd)>) -> Result<Vec<(Arc<OwnedFd>, RawFd)>, Errno> {
    let highest = given.iter().map(|(_, target)| *target).max().unwrap_or_default();
    let lowest = highest.saturating_add(1).max(FIRST_FOREIGN);
    let raise = |(source, target): (Arc<OwnedFd>, RawFd)| {
        if source.as_raw_fd() >= lowest {
            return Ok((source, target));
        }
        Ok((Arc::new(rustix::io::fcntl_dupfd_cloexec(&source, lowest)?), target))
    };
    given.into_iter().map(raise).collect()
}

fn seat_descriptor(number: usize) -> RawFd {
    FIRST_SEAT.saturating_add(RawFd::try_from(number).unwrap_or(0)).min(FIRST_FOREIGN.saturating_sub(1))
}

/// A reserved descriptor that stands for something else until this is dropped.
#[derive(Debug)]
struct Taken(RawFd);

impl Taken {
    fn new(number: RawFd, source: &OwnedFd) -> Result<Self, Errno> {
        sys::replace(source.as_raw_fd(), number)?;
        Ok(Self(number))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        sys::replace(NULL, self.0).ok();
    }
}

fn sharing(image: &Image, seat: &Seat, stack: &mut ChildStack) -> Result<Started, Failed> {
    let sources = image.descriptors.iter().map(|(source, _)| source.saturating_add(1));
    let program = match &image.program {
        Program::Descriptor(number) => number.saturating_add(1),
        Program::Path(_) => 0,
    };
    let first_foreign = sources.max().unwrap_or(0).max(program).max(FIRST_FOREIGN);
    let (child, failure) = sys::spawn_sharing(image, stack, &seat.pidfd, first_foreign)
        .map_err(|errno| Failed::early(Step::Clone, errno))?;
    let (pid, pidfd) = with_pidfd(child)?;
    let failure = if seat.was_killed.load(Ordering::SeqCst) {
        Some(Failure { step: Step::Timeout, errno: 0 })
    } else {
        failure
    };
    match failure {
        None => Ok(Started { pid, pidfd, began: (0, 0), status: None, output: None, enclosure: None }),
        Some(Failure { step, errno }) => Err(Failed { step, errno, child: Some((pid, pidfd)) }),
    }
}

fn copying(image: &Image) -> Result<Started, Failed> {
    let (read, write) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Failed::early(Step::Prepare, errno))?;
    let child = sys::spawn_copying(image, &write).map_err(|errno| Failed::early(Step::Clone, errno))?;
    let (pid, pidfd) = with_pidfd(child)?;
    Ok(Started { pid, pidfd, began: (0, 0), status: Some(read), output: None, enclosure: None })
}

/// Opens the pidfd where the kernel or a seccomp profile kept the clone from giving one.
fn with_pidfd(child: Child) -> Result<(i32, OwnedFd), Failed> {
    let Child { pid, pidfd } = child;
    let opened = match (pidfd, Pid::from_raw(pid)) {
        (Some(pidfd), _) => Ok(pidfd),
        (None, Some(number)) => rustix::process::pidfd_open(number, PidfdFlags::empty()),
        (None, None) => Err(Errno::SRCH),
    };
    match opened {
        Ok(pidfd) => Ok((pid, pidfd)),
        Err(errno) => {
            // Nobody could watch it. It was not waited for, so its pid is still its own.
            sys::signal_by_pid(pid, 9).ok();
            Err(Failed::early(Step::Clone, errno))
        }
    }
}
