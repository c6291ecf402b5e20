//! When to look at the units again. One thread watches the units directory, what it links to and the files that
//! units name. It says *look* when one of them may have changed and all has been quiet for a while, and nothing
//! about what is there: only whoever reads it can tell. At rest nothing wakes it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::aside::since_boot;
use crate::supervisor::change::remote;
use crate::supervisor::change::seen::Seen;
use crate::supervisor::change::way::{self, Wanted};
use crate::supervisor::ears::{Changes, Depth, Ears, Line, Listener};

/// Ends its thread when dropped.
#[derive(Debug)]
pub(crate) struct Watch(Line<Seen>);

/// What whoever started it is told, from its thread.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The units, or a file that they name, may be others than before.
    Look,
    /// Something that a person should know; said once for as long as it is so.
    Remark(String),
}

impl Watch {
    /// `seen`: what there was before the units were read that run now; what changed since is told.
    ///
    /// # Errors
    /// When the user or the machine has no inotify instance, descriptor or thread left, or `units` is relative to
    /// a directory that is gone. Then no change is seen.
    pub(crate) fn start(
        ears: &Ears,
        units: &Path,
        seen: Seen,
        tell: impl Fn(Said) + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_where(remote::kind, ears, units, seen, tell)
    }

    fn start_where(
        remote_kind: RemoteKind,
        ears: &Ears,
        units: &Path,
        seen: Seen,
        tell: impl Fn(Said) + Send + 'static,
    ) -> io::Result<Self> {
        let units = std::path::absolute(units)?;
        let watch = move |listener| {
            let mut eyes = Eyes::new(remote_kind, listener, units, seen, tell);
            eyes.begin();
            eyes.serve();
        };
        Ok(Self(ears.listen("units", STACK_BYTES, watch)?))
    }

    /// The files that units name are from now on those that `seen` names. What changed since it was seen is told.
    pub(crate) fn follow(&self, seen: Seen) {
        self.0.ask(seen);
    }
}

/// Says by its name that a file system tells nobody of its changes.
type RemoteKind = fn(&Path) -> Option<&'static str>;

/// The thread's side.
struct Eyes<T> {
    remote_kind: RemoteKind,
    listener: Listener<Seen>,
    units: PathBuf,
    tell: T,
    /// Has exceptional news when anything is mounted or unmounted: a mount over a directory is no event of it.
    /// `None` without /proc.
    mounts: Option<File>,
    /// As it was at the last look.
    seen: Seen,
    /// The units directory as links lead to it; what happens in it leads nowhere else.
    real: Option<PathBuf>,
    pending: Option<Pending>,
    /// Of a remote file system, when to look for what it does not tell.
    next_poll: Option<Duration>,
    remarks: Remarks,
}

/// A change that is not told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    first: Duration,
    last: Duration,
    /// Otherwise only if something looks different.
    is_certain: bool,
}

/// What was said, for as long as it is so.
#[derive(Default)]
struct Remarks {
    remote: Option<String>,
    refused: Option<String>,
}

impl<T: Fn(Said)> Eyes<T> {
    fn new(remote_kind: RemoteKind, listener: Listener<Seen>, units: PathBuf, seen: Seen, tell: T) -> Self {
        // Of this thread: others of the process could have been put elsewhere.
        let mounts = File::open("/proc/thread-self/mountinfo").ok();
        Self {
            remote_kind,
            listener,
            units,
            tell,
            mounts,
            seen,
            real: None,
            pending: None,
            next_poll: None,
            remarks: Remarks::default(),
        }
    }

    fn begin(&mut self) {
        self.watch_all();
        self.compare(since_boot());
    }

    fn serve(mut self) {
        loop {
            let due = [self.pending.map(Pending::due), self.next_poll].into_iter().flatten().min();
            let timeout = due.map(|due| due.saturating_sub(since_boot()));
            let mounts = self.mounts.as_ref().map(File::as_fd);
            let Some(heard) = self.listener.wait(timeout, mounts) else { return };
            let now = since_boot();
            self.hear(&heard.changes, now);
            if heard.is_flagged {
                // Any mount of this machine, most of which change nothing here.
                self.change(now, false);
            }
            if let Some(seen) = heard.requests.into_iter().next_back() {
                self.seen = seen;
                self.watch_all();
                self.compare(now);
            }
            self.poll(now);
            self.look(now);
        }
    }

    fn hear(&mut self, Changes { dirs, gone, is_all }: &Changes, now: Duration) {
        if dirs.is_empty() && !is_all {
            return;
        }
        self.change(now, true);
        // What comes next is heard wherever the way leads by now. What happens within the directory cannot lead
        // it elsewhere; new links in it are followed before the look.
        let is_inside = |dir: &PathBuf| self.real.as_ref() == Some(dir) && !gone.contains(dir);
        if *is_all || !dirs.iter().all(is_inside) {
            self.watch_all();
        }
    }

    fn change(&mut self, now: Duration, is_certain: bool) {
        let first = self.pending.map_or(now, |pending| pending.first);
        if is_certain || self.pending.is_none() {
            self.pending = Some(Pending { first, last: now, is_certain });
        }
    }

    /// Finds what no event told.
    fn compare(&mut self, now: Duration) {
        let seen = self.seen.again(&self.units);
        if seen != self.seen {
            self.seen = seen;
            self.change(now, true);
        }
    }

    fn poll(&mut self, now: Duration) {
        if self.next_poll.is_some_and(|at| at <= now) {
            self.next_poll = Some(now.saturating_add(POLL_EVERY));
            self.compare(now);
        }
    }

    fn look(&mut self, now: Duration) {
        let Some(pending) = self.pending.filter(|pending| pending.due() <= now) else { return };
        self.pending = None;
        self.watch_all();
        // Before whoever is told reads it: what changes between the two is found again rather than never.
        let seen = self.seen.again(&self.units);
        if pending.is_certain || seen != self.seen {
            self.seen = seen;
            (self.tell)(Said::Look);
        }
    }

    /// Sets all watches anew, until none leads elsewhere than it did before it was set.
    fn watch_all(&mut self) {
        let (mut wanted, mut real) = self.wanted();
        let mut refused = None;
        for _ in 0..MOST_STEPS {
            refused = None;
            for (dir, interest) in &wanted {
                if let Err(error) = self.listener.watch(dir, interest)
                    && refused.is_none()
                    && is_remarkable(&error, interest.depth)
                {
                    refused = Some((dir.clone(), error));
                }
            }
            let before = std::mem::take(&mut wanted);
            (wanted, real) = self.wanted();
            if wanted == before {
                break;
            }
        }
        self.listener.keep(|dir| wanted.contains_key(dir));
        self.real = real;
        self.remark_refused(refused);
        self.poll_if_remote(&wanted);
    }

    fn wanted(&self) -> (Wanted, Option<PathBuf>) {
        let mut wanted = Wanted::new();
        let real = way::to_directory(&self.units, &mut wanted);
        for link in real.iter().flat_map(|real| links_in(real)) {
            way::to_file(&link, &mut wanted);
        }
        self.seen.named().for_each(|named| way::to_file(named, &mut wanted));
        (wanted, real)
    }

    fn remark_refused(&mut self, refused: Option<(PathBuf, io::Error)>) {
        let text = refused.map(|(dir, error)| {
            let cause = if error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) {
                "the user has no watches left; raise fs.inotify.max_user_watches (sysctl)".to_owned()
            } else {
                error.to_string()
            };
            format!("cannot watch {}: {cause}; until then `mcsup apply` finds what changed", dir.display())
        });
        remark(&self.tell, &mut self.remarks.refused, text);
    }

    fn poll_if_remote(&mut self, wanted: &Wanted) {
        let ends = wanted.iter().filter(|(_, interest)| interest.depth == Depth::Contents);
        let remote = ends.map(|(dir, _)| dir).find_map(|dir| Some((dir, (self.remote_kind)(dir)?)));
        if remote.is_none() {
            self.next_poll = None;
        } else if self.next_poll.is_none() {
            self.next_poll = Some(since_boot().saturating_add(POLL_EVERY));
        }
        let text = remote.map(|(dir, kind)| {
            format!(
                "{} lies on a file system ({kind}) that does not tell of changes from elsewhere: it is looked at \
                 every 2 s; `mcsup apply` finds what changed at once",
                dir.display()
            )
        });
        remark(&self.tell, &mut self.remarks.remote, text);
    }
}

impl Pending {
    /// After a while of quiet, but not for ever later.
    fn due(self) -> Duration {
        self.last.saturating_add(QUIET).min(self.first.saturating_add(MOST_DELAY))
    }
}

/// A way that ended under our feet is followed again, and a directory above that may not be read seldom moves.
fn is_remarkable(error: &io::Error, depth: Depth) -> bool {
    let is_gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    let is_full = error.raw_os_error() == Some(Errno::NOSPC.raw_os_error());
    is_full || (!is_gone && depth == Depth::Contents)
}

fn remark(tell: &impl Fn(Said), said: &mut Option<String>, text: Option<String>) {
    if *said != text {
        if let Some(text) = &text {
            tell(Said::Remark(text.clone()));
        }
        *said = text;
    }
}

/// Unit files that are links lead out of the directory.
fn links_in(dir: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(dir).ok().into_iter().flatten().flatten();
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
    let paths = links.map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect()
}

/// Long enough for an editor to finish its save, and most of what passes from a save to the new process.
const QUIET: Duration = Duration::from_millis(150);
/// For a directory that is never quiet.
const MOST_DELAY: Duration = Duration::from_secs(2);
/// Of remote file systems only.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Somebody who moves directories all the time is not run after for ever.
const MOST_STEPS: usize = 20;
const STACK_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests;
