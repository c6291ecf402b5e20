//! Whoever waits for files to change hears of it here. There is one inotify instance for all of them, as a user
//! may have 128 (`fs.inotify.max_user_instances`) and many of us may run for one; it is open while somebody
//! listens. Each listener has a thread of its own, since what it does about a change may hang on a disk. Whoever
//! is awake reads for all, so that one that hangs holds up nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Cheap to clone; all clones share the instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ears(Arc<Mutex<Weak<Shared>>>);

/// The way to a listener's thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Line<R> {
    /// `None` while it is dropped.
    requests: Option<Sender<R>>,
    wake: Arc<OwnedFd>,
}

/// The thread's side.
#[derive(Debug)]
pub(crate) struct Listener<R> {
    shared: Arc<Shared>,
    number: u64,
    wake: Arc<OwnedFd>,
    asked: Receiver<R>,
}

/// What ended a wait; all of it may be empty.
#[derive(Debug)]
pub(crate) struct Heard<R> {
    pub(crate) requests: Vec<R>,
    pub(crate) changes: Changes,
    /// The descriptor that was waited for besides has something exceptional to say.
    pub(crate) is_flagged: bool,
}

/// What happened to directories, by the paths under which they are watched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) dirs: BTreeSet<PathBuf>,
    /// Of these, who are deleted, unmounted or moved away, and so watched no more.
    pub(crate) gone: BTreeSet<PathBuf>,
    /// Some changes were lost: anything may have happened anywhere.
    pub(crate) is_all: bool,
}

/// What of a directory somebody wants to hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub(crate) depth: Depth,
    /// Entries that count; `None`: all of them. The directory itself always counts.
    pub(crate) names: Option<BTreeSet<OsString>>,
}

/// Each includes what stands before it. What is not asked for wakes nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// That it is moved or deleted.
    Itself,
    /// Which entries it has.
    Entries,
    /// What is in its files, and the rights to everything.
    Contents,
}

impl Ears {
    /// Starts a thread that listens.
    ///
    /// # Errors
    /// When the machine or the user has no instance, descriptor or thread left: then nothing will be heard.
    pub(crate) fn listen<R: Send + 'static>(
        &self,
        name: &str,
        stack_bytes: usize,
        work: impl FnOnce(Listener<R>) + Send + 'static,
    ) -> io::Result<Line<R>> {
        let shared = self.shared()?;
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (requests, asked) = channel();
        let number = shared.registry().admit(Arc::clone(&wake));
        let listener = Listener { shared, number, wake: Arc::clone(&wake), asked };
        let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(stack_bytes);
        drop(builder.spawn(move || work(listener))?);
        Ok(Line { requests: Some(requests), wake })
    }

    fn shared(&self) -> io::Result<Arc<Shared>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = open.upgrade() {
            return Ok(shared);
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { inotify, registry: Mutex::default() });
        *open = Arc::downgrade(&shared);
        Ok(shared)
    }
}

impl<R> Line<R> {
    pub(crate) fn ask(&self, request: R) {
        if let Some(requests) = &self.requests {
            // It ends before us only when the kernel refuses to wait.
            drop(requests.send(request));
        }
        kick(&self.wake);
    }
}

impl<R> Drop for Line<R> {
    fn drop(&mut self) {
        // In this order: who wakes must see that nobody asks any more.
        self.requests = None;
        kick(&self.wake);
    }
}

impl<R> Listener<R> {
    /// Until something is heard or asked, for `timeout` at most, or until `also` has exceptional news. `None`:
    /// it is time to end.
    pub(crate) fn wait(&self, timeout: Option<Duration>, also: Option<BorrowedFd<'_>>) -> Option<Heard<R>> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut sources =
            vec![PollFd::new(&self.wake, PollFlags::IN), PollFd::new(&self.shared.inotify, PollFlags::IN)];
        sources.extend(also.map(|also| PollFd::from_borrowed_fd(also, PollFlags::PRI)));
        let has_time = match poll(&mut sources, timeout.as_ref()) {
            Ok(_) => true,
            Err(Errno::INTR) => false,
            Err(_) => return None,
        };
        let exceptional = PollFlags::PRI | PollFlags::ERR;
        let also = sources.get(2).filter(|_| has_time);
        let is_flagged = also.is_some_and(|also| also.revents().intersects(exceptional));
        rustix::io::read(&self.wake, &mut [0; 8]).ok();
        let changes = self.shared.read_for(self.number);
        let mut requests = Vec::new();
        loop {
            match self.asked.try_recv() {
                Ok(request) => requests.push(request),
                Err(TryRecvError::Empty) => return Some(Heard { requests, changes, is_flagged }),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
    }

    /// From here on, in place of what was asked for this path before: to where it leads now.
    ///
    /// # Errors
    /// When there is no such directory, it may not be read, or the user has no watch left.
    pub(crate) fn watch(&self, dir: &Path, interest: &Interest) -> io::Result<()> {
        self.shared.registry().being_added += 1;
        // Without the lock: a dead file server may keep us here.
        let flags = interest.depth.flags() | WatchFlags::ONLYDIR | WatchFlags::MASK_ADD;
        let added = inotify::add_watch(&self.shared.inotify, dir, flags);
        let mut registry = self.shared.registry();
        registry.being_added = registry.being_added.saturating_sub(1);
        if let Ok(watch) = added {
            let names = interest.names.clone();
            registry.put(watch, Ear { listener: self.number, dir: dir.to_owned(), names });
        }
        registry.tidy(&self.shared.inotify);
        Ok(added.map(drop)?)
    }

    /// Watches all of a directory or, while it is not there, the nearest one above it for the way to it. What
    /// is watched; `None` when nothing can be.
    pub(crate) fn watch_nearest(&self, dir: &Path) -> Option<PathBuf> {
        let mut last = None;
        for _ in 0..MOST_STEPS {
            let found = dir.ancestors().find(|ancestor| {
                // All names: somebody else of this listener may want others of the same directory.
                let depth = if *ancestor == dir { Depth::Contents } else { Depth::Entries };
                self.watch(ancestor, &Interest { depth, names: None }).is_ok()
            });
            // What was made before its parent was watched is no event: until a look finds nothing deeper.
            if found == Some(dir) || found == last {
                return found.map(Path::to_owned);
            }
            last = found;
        }
        last.map(Path::to_owned)
    }

    /// Forgets what is watched and not kept.
    pub(crate) fn keep(&self, is_kept: impl Fn(&Path) -> bool) {
        let mut registry = self.shared.registry();
        registry.remove(|ear| ear.listener == self.number && !is_kept(&ear.dir));
        registry.tidy(&self.shared.inotify);
    }
}

impl<R> Drop for Listener<R> {
    fn drop(&mut self) {
        let mut registry = self.shared.registry();
        registry.pockets.remove(&self.number);
        registry.remove(|ear| ear.listener == self.number);
        registry.tidy(&self.shared.inotify);
    }
}

impl Interest {
    pub(crate) fn contents() -> Self {
        Self { depth: Depth::Contents, names: None }
    }

    pub(crate) fn itself() -> Self {
        Self { depth: Depth::Itself, names: Some(BTreeSet::new()) }
    }

    /// Whether there is an entry of this name, and which.
    pub(crate) fn entry(name: &OsStr) -> Self {
        Self { depth: Depth::Entries, names: Some(BTreeSet::from([name.to_owned()])) }
    }

    /// The file of this name, what is written into it included.
    pub(crate) fn file(name: &OsStr) -> Self {
        Self { depth: Depth::Contents, ..Self::entry(name) }
    }

    /// Both.
    pub(crate) fn join(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.names = match (self.names.take(), other.names) {
            (Some(mut names), Some(more)) => {
                names.extend(more);
                Some(names)
            }
            (None, _) | (_, None) => None,
        };
    }
}

impl Depth {
    fn flags(self) -> WatchFlags {
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let entries =
            itself | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MOVED_FROM | WatchFlags::DELETE;
        match self {
            Self::Itself => itself,
            Self::Entries => entries,
            // Who writes by a mapping is heard when the file is closed, and only then.
            Self::Contents => entries | WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB,
        }
    }
}

#[derive(Debug)]
struct Shared {
    inotify: OwnedFd,
    /// Never locked while the kernel looks for a path.
    registry: Mutex<Registry>,
}

/// Who listens to what.
#[derive(Debug, Default)]
struct Registry {
    /// By inotify's numbers, which it does not give twice. One directory may be known by several paths.
    ears: BTreeMap<i32, Vec<Ear>>,
    pockets: BTreeMap<u64, Pocket>,
    last_listener: u64,
    /// Calls to the kernel under way whose number is not known yet: none is taken back meanwhile.
    being_added: usize,
    /// Numbers heard of before whoever added them put them down, and whether that is gone already.
    early: BTreeMap<i32, bool>,
}

#[derive(Debug)]
struct Ear {
    listener: u64,
    dir: PathBuf,
    names: Option<BTreeSet<OsString>>,
}

/// What one listener has not taken yet.
#[derive(Debug)]
struct Pocket {
    changes: Changes,
    wake: Arc<OwnedFd>,
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out what there is to read; `own` takes its share, others are woken.
    fn read_for(&self, own: u64) -> Changes {
        let mut registry = self.registry();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.as_fd(), &mut buffer);
        while let Ok(event) = events.next() {
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            registry.hear(event.wd(), event.events(), name, &self.inotify);
        }
        for (number, pocket) in &registry.pockets {
            if *number != own && pocket.changes != Changes::default() {
                kick(&pocket.wake);
            }
        }
        registry.pockets.get_mut(&own).map(|pocket| std::mem::take(&mut pocket.changes)).unwrap_or_default()
    }
}

impl Registry {
    fn admit(&mut self, wake: Arc<OwnedFd>) -> u64 {
        self.last_listener = self.last_listener.saturating_add(1);
        self.pockets.insert(self.last_listener, Pocket { changes: Changes::default(), wake });
        self.last_listener
    }

    fn hear(&mut self, watch: i32, what: ReadFlags, name: Option<&OsStr>, inotify: &OwnedFd) {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.pockets.values_mut().for_each(|pocket| pocket.changes.is_all = true);
            return;
        }
        let is_gone = what.intersects(ReadFlags::IGNORED | ReadFlags::MOVE_SELF);
        let Some(ears) = self.ears.get(&watch) else {
            if self.being_added > 0 {
                *self.early.entry(watch).or_default() |= is_gone;
            }
            return;
        };
        for ear in ears.iter().filter(|ear| ear.hears(name)) {
            if let Some(pocket) = self.pockets.get_mut(&ear.listener) {
                pocket.changes.take(&ear.dir, is_gone);
            }
        }
        if is_gone {
            self.ears.remove(&watch);
            // Moved away: what is watched by this number is somewhere else.
            inotify::remove_watch(inotify, watch).ok();
        }
    }

    fn put(&mut self, watch: i32, ear: Ear) {
        self.remove(|other| other.listener == ear.listener && other.dir == ear.dir);
        let early = self.early.get(&watch).copied();
        if let (Some(is_gone), Some(pocket)) = (early, self.pockets.get_mut(&ear.listener)) {
            pocket.changes.take(&ear.dir, is_gone);
            // Heard at the next wait, which is not to last.
            kick(&pocket.wake);
        }
        if early != Some(true) {
            self.ears.entry(watch).or_default().push(ear);
        }
    }

    fn remove(&mut self, is_over: impl Fn(&Ear) -> bool) {
        self.ears.values_mut().for_each(|ears| ears.retain(|ear| !is_over(ear)));
    }

    /// Takes back what nobody listens to, unless somebody is about to.
    fn tidy(&mut self, inotify: &OwnedFd) {
        if self.being_added > 0 {
            return;
        }
        self.early.clear();
        self.ears.retain(|watch, ears| {
            if ears.is_empty() {
                inotify::remove_watch(inotify, *watch).ok();
            }
            !ears.is_empty()
        });
    }
}

impl Ear {
    fn hears(&self, name: Option<&OsStr>) -> bool {
        let (Some(names), Some(name)) = (&self.names, name) else { return true };
        names.contains(name)
    }
}

impl Changes {
    fn take(&mut self, dir: &Path, is_gone: bool) {
        self.dirs.insert(dir.to_owned());
        if is_gone {
            self.gone.insert(dir.to_owned());
        }
    }
}

fn kick(wake: &OwnedFd) {
    rustix::io::write(wake, &1_u64.to_ne_bytes()).ok();
}

/// Somebody who makes and removes directories all the time is not run after for ever.
const MOST_STEPS: usize = 100;

#[cfg(test)]
impl Ears {
    /// Nobody reads meanwhile, so that the kernel's queue fills up.
    pub(crate) fn deaf_during(&self, act: impl FnOnce()) {
        let shared = self.shared().unwrap();
        let _nobody_reads = shared.registry();
        act();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::RecvTimeoutError;

    use super::*;

    /// A listener that tells of every change, and watches what it is asked to.
    struct Told {
        line: Line<(PathBuf, Interest)>,
        changes: Receiver<Changes>,
    }

    impl Told {
        fn new(ears: &Ears) -> Self {
            let (tell, changes) = channel();
            let work = move |listener: Listener<(PathBuf, Interest)>| {
                while let Some(heard) = listener.wait(None, None) {
                    let was_asked = !heard.requests.is_empty();
                    for (dir, interest) in heard.requests {
                        listener.watch(&dir, &interest).unwrap();
                    }
                    if was_asked || heard.changes != Changes::default() {
                        tell.send(heard.changes).unwrap();
                    }
                }
            };
            Self { line: ears.listen("told", 128 * 1024, work).unwrap(), changes }
        }

        /// Comes back when it is watched.
        fn watch(&self, dir: &Path, interest: Interest) {
            self.line.ask((dir.to_owned(), interest));
            assert_eq!(self.next(), Some(Changes::default()));
        }

        fn next(&self) -> Option<Changes> {
            match self.changes.recv_timeout(Duration::from_secs(20)) {
                Ok(changes) => Some(changes),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => panic!("the listener has ended"),
            }
        }

        fn next_dirs(&self) -> Vec<PathBuf> {
            self.next().map(|changes| changes.dirs.into_iter().collect()).unwrap_or_default()
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("mcsup-ears-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn two_listeners_share_an_instance_and_each_hears_what_it_asked_for() {
        let (ears, dir) = (Ears::default(), scratch("share"));
        for inner in ["a", "b", "both"] {
            fs::create_dir(dir.join(inner)).unwrap();
        }
        let (one, two) = (Told::new(&ears), Told::new(&ears));
        assert_eq!(ears.0.lock().unwrap().strong_count(), 2, "one instance for both");
        one.watch(&dir.join("a"), Interest::contents());
        two.watch(&dir.join("b"), Interest::contents());
        one.watch(&dir.join("both"), Interest::contents());
        two.watch(&dir.join("both"), Interest::contents());
        fs::create_dir(dir.join("a/x")).unwrap();
        assert_eq!(one.next_dirs(), [dir.join("a")]);
        fs::create_dir(dir.join("b/x")).unwrap();
        assert_eq!(two.next_dirs(), [dir.join("b")], "and nothing of the other one's before");
        fs::create_dir(dir.join("both/x")).unwrap();
        assert_eq!((one.next_dirs(), two.next_dirs()), (vec![dir.join("both")], vec![dir.join("both")]));
        // What one of them gives up stays watched for the other.
        drop(one);
        eventually("one has ended", || ears.0.lock().unwrap().strong_count() == 1);
        fs::create_dir(dir.join("both/y")).unwrap();
        assert_eq!(two.next_dirs(), [dir.join("both")]);
        drop(two);
        eventually("nobody listens", || ears.0.lock().unwrap().strong_count() == 0);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn one_directory_is_heard_by_each_of_its_paths() {
        let (ears, dir) = (Ears::default(), scratch("alias"));
        fs::create_dir(dir.join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
        let told = Told::new(&ears);
        told.watch(&dir.join("real"), Interest::contents());
        told.watch(&dir.join("link"), Interest::contents());
        fs::create_dir(dir.join("real/x")).unwrap();
        assert_eq!(told.next_dirs(), [dir.join("link"), dir.join("real")]);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_nobody_asked_for_is_not_told() {
        let (ears, dir) = (Ears::default(), scratch("filter"));
        let [names, files, itself] = ["names", "files", "itself"].map(|name| dir.join(name));
        let told = Told::new(&ears);
        for (dir, interest) in [
            (&names, Interest::entry("x".as_ref())),
            (&files, Interest::file("x".as_ref())),
            (&itself, Interest::itself()),
        ] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("x"), "1").unwrap();
            told.watch(dir, interest);
        }
        // None of these; the next word is of what comes after them.
        fs::write(names.join("x"), "2").unwrap();
        fs::write(names.join("y"), "2").unwrap();
        fs::write(files.join("y"), "2").unwrap();
        fs::write(itself.join("y"), "2").unwrap();
        fs::remove_file(names.join("x")).unwrap();
        assert_eq!(told.next_dirs(), [names.as_path()]);
        fs::write(files.join("x"), "3").unwrap();
        assert_eq!(told.next_dirs(), [files.as_path()]);
        fs::rename(&itself, dir.join("away")).unwrap();
        let gone = loop {
            let changes = told.next().unwrap();
            if changes.dirs.contains(&itself) {
                break changes.gone;
            }
        };
        assert_eq!(gone, BTreeSet::from([itself]));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_queue_that_runs_over_is_said_to_all() {
        let (ears, dir) = (Ears::default(), scratch("overflow"));
        let (one, two) = (Told::new(&ears), Told::new(&ears));
        one.watch(&dir, Interest::contents());
        ears.deaf_during(|| overflow(&dir));
        assert!(until_all(&one) && until_all(&two));
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A registry with one listener, number 1, and an instance of its own.
    fn registry() -> (Registry, OwnedFd) {
        let mut registry = Registry::default();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        assert_eq!(registry.admit(Arc::new(wake)), 1);
        (registry, inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap())
    }

    fn ear(dir: &str) -> Ear {
        Ear { listener: 1, dir: dir.into(), names: None }
    }

    #[test]
    fn what_is_heard_before_its_number_is_put_down_is_not_lost() {
        let (mut registry, inotify) = registry();
        registry.being_added = 1;
        registry.hear(7, ReadFlags::CREATE, None, &inotify);
        registry.hear(8, ReadFlags::IGNORED, None, &inotify);
        registry.put(7, ear("/changed"));
        registry.put(8, ear("/gone"));
        let changes = &registry.pockets[&1].changes;
        assert_eq!(changes.dirs, BTreeSet::from(["/changed".into(), "/gone".into()]));
        assert_eq!(changes.gone, BTreeSet::from(["/gone".into()]));
        assert_eq!(registry.ears.keys().copied().collect::<Vec<_>>(), [7], "nothing is watched as 8");
        // Nobody adds any more: what else was heard early was of numbers that were taken back.
        registry.being_added = 0;
        registry.tidy(&inotify);
        registry.hear(9, ReadFlags::CREATE, None, &inotify);
        assert!(registry.early.is_empty());
    }

    #[test]
    fn what_nobody_listens_to_is_taken_back_unless_somebody_is_about_to() {
        let (dir, (mut registry, inotify)) = (scratch("taken-back"), registry());
        let watch = inotify::add_watch(&inotify, &dir, WatchFlags::CREATE).unwrap();
        registry.put(watch, ear("/x"));
        registry.remove(|ear| ear.listener == 1);
        registry.being_added = 1;
        registry.tidy(&inotify);
        let again = inotify::add_watch(&inotify, &dir, WatchFlags::CREATE).unwrap();
        assert_eq!(again, watch, "it is still watched, by the same number");
        registry.being_added = 0;
        registry.tidy(&inotify);
        assert!(registry.ears.is_empty() && inotify::remove_watch(&inotify, watch).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }

    fn until_all(told: &Told) -> bool {
        std::iter::from_fn(|| told.next()).any(|changes| changes.is_all)
    }

    /// More changes than the kernel keeps for one who does not read.
    fn overflow(dir: &Path) {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: u32 = most.trim().parse().unwrap();
        // Three different events each, as those that repeat the one before are not kept.
        for round in 0..=most / 3 {
            let file = dir.join(if round % 2 == 0 { "a" } else { "b" });
            fs::File::create(&file).unwrap();
            fs::remove_file(&file).unwrap();
        }
    }

    fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
        let until = crate::aside::since_boot() + Duration::from_secs(20);
        while !is_so() {
            assert!(crate::aside::since_boot() < until, "{what}");
            std::thread::yield_now();
        }
    }
}
