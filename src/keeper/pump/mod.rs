//! One thread that empties every pipe into its log, always: a dead supervisor stops nobody, and a
//! full disk stops only who asked to wait for it.
//!
//! The thread is a single one: a write that hangs in the kernel (a dead network file system) holds
//! the other logs for as long as it hangs, while their pipes fill.

mod rest;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};

use crate::keeper::clock::{self, MILLISECOND, SECOND};
use crate::keeper::kept::{Came, KeptFile};
use crate::keeper::logfile::{LogFile, Moved, Tools};
use crate::keeper::pump::rest::Rest;
use crate::keeper::rotation::{self, Total};
use crate::keeper::wire::{LogOrder, LogPlace};

/// A log that could not be written is tried again after this long.
pub(super) const RETRY: u64 = 2 * SECOND;
/// Larger than any pipe that a process without privileges can make (1 MiB).
const ROUNDS: usize = 64;
const WAKE: u64 = u64::MAX;
/// Marks the pipe of a stream that is kept apart; the rest of its key is that of the other one.
const KEPT: u64 = 1 << 62;
const EVENTS: usize = 64;
/// So many rounds in close succession that moved less than `SMALL_BYTES` each are a stream of small
/// writes, every one of which would wake us …
const STREAM_ROUNDS: u32 = 16;
const SMALL_BYTES: u64 = 16 * 1024;
/// … so they are left to gather, at the most for this long: what a reader who follows the log may
/// notice. A run's end and every other request cut it short.
const GATHER_MOST: u64 = 2 * MILLISECOND;
/// Half of what a pipe holds when it is made. Who fills that gets more room, and so does a pipe in
/// which writes gather: then a writer waits for nobody while the pump is elsewhere.
const FULL_BYTES: u64 = 32 * 1024;
const ROOM_BYTES: usize = 1024 * 1024;
/// A pipe in which writes gather is emptied about when this much of it is used.
const GATHER_HALF: u64 = 512 * 1024;
/// So many rounds in close succession that saw pipes close and nothing else are the end of many units;
/// nobody waits for that to be noticed, and the units that still end need the processor more.
const END_ROUNDS: u32 = 4;
const HUNG_UP: epoll::EventFlags = epoll::EventFlags::HUP;
const TO_READ: epoll::EventFlags = epoll::EventFlags::IN;
const THREAD_STACK_BYTES: usize = 128 * 1024;

/// One pipe to empty, and where to.
#[derive(Debug)]
pub(super) struct Source {
    /// Comes back in `Answer::Drained`.
    pub(super) key: u64,
    pub(super) unit: String,
    pub(super) log: LogOrder,
    pub(super) pipe: Arc<OwnedFd>,
    /// Of the stream that is kept apart, where the log's order says so.
    pub(super) kept: Option<Arc<OwnedFd>>,
    /// Another keeper emptied these pipes before.
    pub(super) is_adopted: bool,
    /// It is known to have written to its log before.
    pub(super) has_written: bool,
    /// What there was of its stream that is kept apart is no more.
    pub(super) is_spoiled: bool,
}

impl Source {
    /// Of a keeper that died, and told nothing of what it had in hand.
    pub(super) fn adopted(
        key: u64,
        unit: String,
        log: LogOrder,
        pipe: Arc<OwnedFd>,
        kept: Option<Arc<OwnedFd>>,
    ) -> Self {
        Self { key, unit, log, pipe, kept, is_adopted: true, has_written: false, is_spoiled: false }
    }
}

/// A run whose log is kept otherwise from now on.
#[derive(Debug)]
pub(super) struct Relog {
    /// Of its source; what was its log is moved even if it has none any more.
    pub(super) key: u64,
    pub(super) unit: String,
    /// As it was kept.
    pub(super) from: LogOrder,
    pub(super) log: LogOrder,
}

#[derive(Debug)]
pub(super) enum Answer {
    /// What was in the pipe when `drain` was called is stored, or given up.
    Drained { key: u64 },
    /// A log cannot be written; errno 0: it can again.
    Trouble { unit: String, errno: i32, lost_bytes: u64 },
}

#[derive(Debug)]
pub(super) struct Pump {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    epoll: OwnedFd,
    wake: OwnedFd,
    bell: OwnedFd,
    channels: Mutex<BTreeMap<u64, Arc<Channel>>>,
    /// By directory: the pipes of a unit's successive runs share one.
    logs: Mutex<Logs>,
    /// The directories that hold the logs' directories.
    roots: Mutex<BTreeSet<PathBuf>>,
    /// Where the logs of pipes ended that are closed, until somebody asks.
    ends: Mutex<BTreeMap<u64, LogPlace>>,
    requests: Mutex<Vec<Request>>,
    answers: Mutex<Vec<Answer>>,
    total_limit: AtomicU64,
    is_finished: Mutex<bool>,
    finished: Condvar,
    rest: Mutex<Rest>,
    rest_changed: Condvar,
}

type Logs = BTreeMap<Arc<[u8]>, Arc<Mutex<LogFile>>>;

#[derive(Debug)]
struct Channel {
    key: u64,
    target: Mutex<Target>,
    pipe: Arc<OwnedFd>,
    has_room: AtomicBool,
    has_told_end: AtomicBool,
    has_written: AtomicBool,
    /// Where its bytes go besides.
    kept: Option<Mutex<KeptFile>>,
    /// There is a file, even if nothing was written yet.
    is_kept: AtomicBool,
}

/// Where the bytes of a pipe go. Only the worker changes it.
#[derive(Clone, Debug)]
struct Target {
    /// As the run's own definition says; a unit's next run may say otherwise.
    order: Arc<LogOrder>,
    log: Arc<Mutex<LogFile>>,
}

#[derive(Debug)]
enum Request {
    Drain(u64),
    Relog(Box<Relog>),
    Finish,
    Rest,
}

impl Channel {
    fn target(&self) -> Target {
        locked(&self.target).clone()
    }

    fn has_written(&self) -> bool {
        self.has_written.load(Ordering::Relaxed)
    }

    fn end(&self, log: &LogFile) -> Option<LogPlace> {
        if self.has_written() { log.place() } else { Some(LogPlace::default()) }
    }

    /// From here on there is a file, even if nothing comes.
    fn have_kept(&self) {
        if let Some(kept) = &self.kept {
            locked(kept).be_open();
            self.is_kept.store(true, Ordering::Relaxed);
        }
    }

    fn make_room(&self) {
        if !self.has_room.swap(true, Ordering::Relaxed) {
            // Refused to users with many large pipes: then it stays as it is.
            rustix::pipe::fcntl_setpipe_size(&self.pipe, ROOM_BYTES).ok();
        }
    }
}

impl Pump {
    /// # Errors
    /// When a descriptor or the thread is refused.
    pub(super) fn start() -> io::Result<Self> {
        let new_eventfd = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let shared = Arc::new(Shared {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            wake: new_eventfd()?,
            bell: new_eventfd()?,
            channels: Mutex::default(),
            logs: Mutex::default(),
            roots: Mutex::default(),
            ends: Mutex::default(),
            requests: Mutex::default(),
            answers: Mutex::default(),
            total_limit: AtomicU64::new(u64::MAX),
            is_finished: Mutex::default(),
            finished: Condvar::new(),
            rest: Mutex::default(),
            rest_changed: Condvar::new(),
        });
        epoll::add(&shared.epoll, &shared.wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let null = super::nothing()?;
        let mut worker = Worker {
            shared: Arc::clone(&shared),
            tools: Tools { null, scratch: Vec::new(), most_bytes: u64::MAX },
            blocked: Vec::new(),
            total: Total::default(),
            rhythm: Rhythm::default(),
        };
        thread::Builder::new()
            .name("pump".into())
            .stack_size(THREAD_STACK_BYTES)
            .spawn(move || worker.serve())?;
        Ok(Self { shared })
    }

    /// Readable when `take_answers` has something.
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.shared.bell
    }

    /// Nothing wakes the pump before the first byte. Waits for no log: one of them may hang in the
    /// middle of a write.
    pub(super) fn add(&self, source: Source) {
        let Source { key, unit, log: order, pipe, kept: kept_pipe, is_adopted, has_written, is_spoiled } =
            source;
        let log = self.shared.log(unit, &order.dir);
        // What nobody asked for was of an earlier run with this key.
        locked(&self.shared.ends).remove(&key);
        let kept = order.kept.as_ref().map(|kept| {
            let file = KeptFile::new(kept, is_adopted);
            Mutex::new(if is_spoiled { file.spoiled() } else { file })
        });
        let target = Target { order: Arc::new(order), log };
        let kept = kept_pipe.zip(kept).map(|(pipe, file)| (key | KEPT, pipe, Some(file)));
        for (key, pipe, kept) in kept.into_iter().chain([(key, pipe, None)]) {
            let [has_room, has_told_end, is_kept] = [const { AtomicBool::new(false) }; 3];
            let has_written = AtomicBool::new(has_written);
            let (target, pipe_of_it) = (Mutex::new(target.clone()), Arc::clone(&pipe));
            let channel =
                Channel { key, target, pipe: pipe_of_it, has_room, has_told_end, has_written, kept, is_kept };
            locked(&self.shared.channels).insert(key, Arc::new(channel));
            self.shared.listen(key, pipe.as_fd());
        }
    }

    /// Nothing is in the pipe, and nothing on its way to the file.
    pub(super) fn is_drained(&self, key: u64) -> bool {
        self.is_channel_drained(key | KEPT) && self.is_channel_drained(key)
    }

    fn is_channel_drained(&self, key: u64) -> bool {
        let Some(channel) = self.shared.channel(key) else { return true };
        if channel.kept.is_some() && !channel.is_kept.load(Ordering::Relaxed) {
            return false;
        }
        match channel.target().log.try_lock() {
            Ok(log) => !log.holds_bytes() && rustix::io::ioctl_fionread(&channel.pipe) == Ok(0),
            Err(TryLockError::WouldBlock | TryLockError::Poisoned(_)) => false,
        }
    }

    /// Where the log ends by now, of a run that has just ended and whose pipe is drained. Asked once. No
    /// inode: it wrote nothing. `None`: the log is busy, or cannot be written.
    pub(super) fn log_end(&self, key: u64) -> Option<LogPlace> {
        // The later one, which is that of the stream that wrote last, or the only one that wrote.
        let ends = (self.channel_end(key | KEPT), self.channel_end(key));
        let later = |place: &LogPlace| (place.inode != 0, place.offset);
        match ends {
            (Some(kept), Some(other)) => Some(if later(&kept) > later(&other) { kept } else { other }),
            (None, other) => other,
            (Some(_), None) => None,
        }
    }

    fn channel_end(&self, key: u64) -> Option<LogPlace> {
        let Some(channel) = self.shared.channel(key) else { return locked(&self.shared.ends).remove(&key) };
        channel.has_told_end.store(true, Ordering::Relaxed);
        let target = channel.target();
        let log = target.log.try_lock().ok()?;
        channel.end(&log)
    }

    /// From now on, with what comes next at the latest.
    pub(super) fn relog(&self, relog: Relog) {
        self.shared.request(Request::Relog(Box::new(relog)));
    }

    /// Answered by `Answer::Drained`.
    pub(super) fn drain(&self, key: u64) {
        self.shared.request(Request::Drain(key));
    }

    pub(super) fn take_answers(&self) -> Vec<Answer> {
        rustix::io::read(&self.shared.bell, &mut [0; 8]).ok();
        std::mem::take(&mut *locked(&self.shared.answers))
    }

    /// Most bytes that all logs together may hold.
    pub(super) fn limit_total(&self, bytes: u64) {
        self.shared.total_limit.store(bytes, Ordering::Relaxed);
    }

    /// Stores what is in the pipes now, within `deadline` nanoseconds.
    pub(super) fn finish(&self, deadline: u64) {
        self.shared.request(Request::Finish);
        let is_finished = locked(&self.shared.is_finished);
        let deadline = Duration::from_nanos(deadline);
        let waited =
            self.shared.finished.wait_timeout_while(is_finished, deadline, |is_finished| !*is_finished);
        drop(waited);
    }
}

impl Shared {
    fn channel(&self, key: u64) -> Option<Arc<Channel>> {
        locked(&self.channels).get(&key).cloned()
    }

    /// The log in this directory, shared by all who write to it.
    fn log(&self, unit: String, dir: &Arc<[u8]>) -> Arc<Mutex<LogFile>> {
        if let Some(root) = path(dir).parent() {
            let mut roots = locked(&self.roots);
            if !roots.contains(root) {
                roots.insert(root.to_owned());
            }
        }
        let new = || Arc::new(Mutex::new(LogFile::new(unit, Arc::clone(dir))));
        Arc::clone(locked(&self.logs).entry(Arc::clone(dir)).or_insert_with(new))
    }

    fn listen(&self, key: u64, pipe: impl AsFd) {
        epoll::add(&self.epoll, pipe, epoll::EventData::new_u64(key), epoll::EventFlags::IN).ok();
    }

    fn request(&self, request: Request) {
        locked(&self.requests).push(request);
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).ok();
    }

    fn answer(&self, answer: Answer) {
        locked(&self.answers).push(answer);
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).ok();
    }
}

/// The key of the pipe of the stream that is kept apart, where there is one.
pub(super) fn kept_key(key: u64) -> u64 {
    key | KEPT
}

fn path(dir: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(dir))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    shared: Arc<Shared>,
    tools: Tools,
    /// Pipes whose writers wait for the disk, and when to look at it again.
    blocked: Vec<(u64, u64)>,
    total: Total,
    rhythm: Rhythm,
}

/// How the rounds of the pump follow each other.
#[derive(Default)]
struct Rhythm {
    last: u64,
    small_rounds: u32,
    end_rounds: u32,
}

impl Rhythm {
    /// After a round at `now` that took `bytes` from its fullest pipe: how long to let more gather.
    fn nap_after(&mut self, bytes: u64, has_ends: bool, now: u64) -> Option<u64> {
        let since = now.saturating_sub(self.last);
        self.last = now;
        if bytes == 0 && has_ends && since <= GATHER_MOST.saturating_mul(2) {
            self.small_rounds = 0;
            self.end_rounds = self.end_rounds.saturating_add(1);
            return (self.end_rounds >= END_ROUNDS).then_some(GATHER_MOST);
        }
        self.end_rounds = 0;
        let is_stream = self.small_rounds >= STREAM_ROUNDS;
        let is_large = !is_stream && bytes >= SMALL_BYTES;
        if bytes == 0 || is_large || since > GATHER_MOST.saturating_mul(2) {
            self.small_rounds = 0;
            return None;
        }
        self.small_rounds = self.small_rounds.saturating_add(1);
        let until_half_full = since.saturating_mul(GATHER_HALF).checked_div(bytes).unwrap_or(GATHER_MOST);
        is_stream.then_some(until_half_full.min(GATHER_MOST))
    }
}

impl Worker {
    fn serve(&mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            let timeout = self.blocked.iter().map(|(at, _)| *at).min().map(timeout_until);
            events.clear();
            epoll::wait(&self.shared.epoll, spare_capacity(&mut events), timeout.as_ref()).ok();
            let (mut most, mut has_ends) = (0, false);
            // First: whoever writes to a log in the place of one that was to be moved away came after that order.
            if events.iter().any(|event| event.data.u64() == WAKE) {
                self.on_requests();
            }
            for epoll::Event { flags, data } in events.iter().copied() {
                match data.u64() {
                    WAKE => {}
                    key if flags.contains(HUNG_UP) && !flags.contains(TO_READ) => {
                        has_ends = true;
                        self.on_hung_up(key);
                    }
                    key => most = most.max(self.on_readable(key)),
                }
            }
            self.unblock();
            if let Some(nap) = self.rhythm.nap_after(most, has_ends, clock::monotonic()) {
                for event in &events {
                    if let Some(channel) = self.shared.channel(event.data.u64()) {
                        channel.make_room();
                    }
                }
                let mut wake = [PollFd::new(&self.shared.wake, PollFlags::IN)];
                poll(&mut wake, Some(&clock::timespec(nap))).ok();
            }
        }
    }

    fn on_requests(&mut self) {
        rustix::io::read(&self.shared.wake, &mut [0; 8]).ok();
        let requests = std::mem::take(&mut *locked(&self.shared.requests));
        for request in requests {
            match request {
                Request::Drain(key) => {
                    for key in [key | KEPT, key] {
                        if let Some(channel) = self.shared.channel(key) {
                            self.drain(&channel);
                        }
                    }
                    self.shared.answer(Answer::Drained { key });
                }
                Request::Relog(relog) => self.relog(*relog),
                Request::Rest => self.shared.be_at_rest(),
                Request::Finish => {
                    let channels: Vec<_> = locked(&self.shared.channels).values().cloned().collect();
                    for channel in channels {
                        self.drain(&channel);
                    }
                    *locked(&self.shared.is_finished) = true;
                    self.shared.finished.notify_all();
                }
            }
        }
    }

    fn relog(&mut self, Relog { key, unit, from, log: order }: Relog) {
        let channels: Vec<_> =
            [key | KEPT, key].into_iter().filter_map(|key| self.shared.channel(key)).collect();
        if order.keep < from.keep {
            rotation::trim(path(&from.dir), order.keep);
        }
        let was = channels.first().map(|channel| channel.target().log);
        let has_moved = from.dir != order.dir;
        if has_moved {
            if let Some(was) = &was {
                locked(was).close();
            }
            rotation::rename(path(&from.dir), path(&order.dir));
        }
        if let Some(was) = was {
            let log = self.shared.log(unit.clone(), &order.dir);
            let order = Arc::new(order);
            for channel in &channels {
                *locked(&channel.target) = Target { order: Arc::clone(&order), log: Arc::clone(&log) };
                if let (Some(kept), Some(order)) = (&channel.kept, &order.kept) {
                    locked(kept).relog(order);
                }
            }
            if has_moved {
                self.leave(&from.dir, &was, &log);
            }
            let is_begun = channels.iter().any(|channel| channel.has_written());
            locked(&log).belongs_to(unit, is_begun, clock::monotonic());
        }
        // Who waited may not have to any more.
        let waits = self.blocked.iter_mut().filter(|(_, waiting)| [key | KEPT, key].contains(waiting));
        waits.for_each(|(at, _)| *at = 0);
    }

    /// Nothing more of a run goes to the log `was`: what is still on its way there goes along, unless others
    /// write to it as well.
    fn leave(&self, dir: &Arc<[u8]>, was: &Arc<Mutex<LogFile>>, log: &Arc<Mutex<LogFile>>) {
        {
            let mut logs = locked(&self.shared.logs);
            // The map and our caller hold it.
            if Arc::strong_count(was) > 2 {
                return;
            }
            logs.remove(dir);
        }
        let held = locked(was).take_held();
        locked(log).hold(held);
    }

    /// As much as the pipe held when this began: a grandchild may go on writing for ever.
    fn drain(&mut self, channel: &Arc<Channel>) {
        channel.have_kept();
        let mut left = rustix::io::ioctl_fionread(&channel.pipe).unwrap_or(0);
        for _ in 0..ROUNDS {
            if left == 0 {
                return;
            }
            match self.move_some(channel) {
                Moved::Bytes(bytes) => left = left.saturating_sub(bytes),
                Moved::Nothing | Moved::End | Moved::Blocked => return,
            }
        }
    }

    /// No writer and no byte is left in the pipe; what the log still has in hand is tried once more.
    fn on_hung_up(&mut self, key: u64) {
        let Some(channel) = self.shared.channel(key) else { return };
        if locked(&channel.target().log).holds_bytes() {
            self.move_some(&channel);
        } else {
            self.close(&channel);
        }
    }

    fn on_readable(&mut self, key: u64) -> u64 {
        let Some(channel) = self.shared.channel(key) else { return 0 };
        match self.move_some(&channel) {
            Moved::Bytes(bytes) => bytes,
            Moved::Nothing | Moved::End | Moved::Blocked => 0,
        }
    }

    fn move_some(&mut self, channel: &Arc<Channel>) -> Moved {
        let now = clock::monotonic();
        let limit = self.shared.total_limit.load(Ordering::Relaxed);
        self.tools.most_bytes = rotation::most_bytes(limit);
        let moved = {
            let Target { order, log } = channel.target();
            let mut log = locked(&log);
            let pipe = channel.pipe.as_fd();
            let moved = match &channel.kept {
                Some(kept) => {
                    let moved = keep_some(pipe, &order, &mut locked(kept), &mut log, &mut self.tools, now);
                    if moved != Moved::Blocked {
                        channel.is_kept.store(true, Ordering::Relaxed);
                    }
                    moved
                }
                None => log.take_from(pipe, &order, &mut self.tools, now),
            };
            // Said before anybody can see that the log is drained.
            if let Some((unit, errno, lost_bytes)) = log.take_news() {
                self.shared.answer(Answer::Trouble { unit, errno, lost_bytes });
            }
            moved
        };
        match moved {
            Moved::Bytes(bytes) => {
                channel.has_written.store(true, Ordering::Relaxed);
                if bytes >= FULL_BYTES {
                    channel.make_room();
                }
                if self.total.wrote(bytes, limit) {
                    self.keep_to(limit);
                }
            }
            Moved::Nothing => {}
            Moved::End => self.close(channel),
            Moved::Blocked => {
                epoll::delete(&self.shared.epoll, &channel.pipe).ok();
                self.blocked.push((now.saturating_add(RETRY), channel.key));
            }
        }
        moved
    }

    /// Makes all logs together fit.
    fn keep_to(&mut self, limit: u64) {
        let roots = locked(&self.shared.roots).clone();
        let aside = self.total.measure(&roots, limit);
        if aside.is_empty() {
            return;
        }
        for dir in aside {
            let log = locked(&self.shared.logs).get(dir.as_os_str().as_bytes()).cloned();
            match log {
                Some(log) => locked(&log).cut_early(),
                // Nobody writes there.
                None => drop(rotation::rotate(&dir, u16::MAX)),
            }
        }
        self.total.measure(&roots, limit);
    }

    /// Every writer is gone. A log without pipes is closed too; the next run opens it again.
    fn close(&mut self, channel: &Arc<Channel>) {
        epoll::delete(&self.shared.epoll, &channel.pipe).ok();
        channel.have_kept();
        let Target { order, log } = channel.target();
        let end = channel.end(&locked(&log));
        let mut logs = locked(&self.shared.logs);
        if let Some(end) = end.filter(|_| !channel.has_told_end.load(Ordering::Relaxed)) {
            locked(&self.shared.ends).insert(channel.key, end);
        }
        locked(&self.shared.channels).remove(&channel.key);
        // The map, this channel and we hold it; one more is another pipe, or one about to be added.
        // Closing its file may take long: the last to hold it is `channel`, without these locks.
        if Arc::strong_count(&log) <= 3 {
            logs.remove(&order.dir);
        }
    }

    fn unblock(&mut self) {
        if self.blocked.is_empty() {
            return;
        }
        let now = clock::monotonic();
        let (due, rest) = std::mem::take(&mut self.blocked).into_iter().partition(|(at, _)| *at <= now);
        self.blocked = rest;
        let due: Vec<(u64, u64)> = due;
        for (_, key) in due {
            if let Some(channel) = self.shared.channel(key) {
                self.shared.listen(key, channel.pipe.as_fd());
            }
        }
    }
}

/// From a pipe to its own file, and from there to the log.
fn keep_some(
    pipe: BorrowedFd<'_>,
    order: &LogOrder,
    kept: &mut KeptFile,
    log: &mut LogFile,
    tools: &mut Tools,
    now: u64,
) -> Moved {
    if log.is_blocked(order, now) {
        return Moved::Blocked;
    }
    match kept.take_from(pipe) {
        Came::Bytes(bytes) => {
            log.append(bytes, order, tools, now);
            Moved::Bytes(u64::try_from(bytes.len()).unwrap_or_default())
        }
        Came::Nothing => Moved::Nothing,
        Came::End => Moved::End,
        Came::NoRoom => log.take_from(pipe, order, tools, now),
    }
}

fn timeout_until(at: u64) -> Timespec {
    clock::timespec(at.saturating_sub(clock::monotonic()))
}
