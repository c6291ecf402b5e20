//! Files whose appearance or change starts a run. One thread watches the directories they are or will be in; it
//! lives while somebody is armed, and sleeps while nothing changes. An event only says *look*: what counts is
//! whether the file is another than before, once nothing has changed for the debounce.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::aside::since_boot;
use crate::engine::id::UnitId;
use crate::output::find::matches;
use crate::supervisor::ears::{Changes, Ears, Line, Listener};
use crate::supervisor::inbox::{Inbox, Outlet};

#[derive(Debug)]
pub(super) struct Paths {
    outlet: Outlet,
    ears: Ears,
    armed: BTreeSet<UnitId>,
    /// While somebody is armed.
    watcher: Option<Line<Request>>,
}

/// One path of one job.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    /// As its file has it.
    pub(super) said: Box<str>,
    pub(super) path: PathBuf,
    pub(super) debounce: Duration,
}

#[derive(Debug)]
enum Request {
    Watch(UnitId, Vec<Spot>),
    Forget(UnitId),
}

impl Paths {
    pub(super) fn new(outlet: Outlet, ears: Ears) -> Self {
        Self { outlet, ears, armed: BTreeSet::new(), watcher: None }
    }

    /// What is there by now starts nothing.
    ///
    /// # Errors
    /// When the machine has no thread or no watch left: then no change will be seen.
    pub(super) fn arm(&mut self, unit: UnitId, spots: Vec<Spot>) -> io::Result<()> {
        if spots.is_empty() {
            return Ok(());
        }
        if self.watcher.is_none() {
            let outlet = self.outlet.clone();
            let watch = move |listener| Watch { outlet, listener, spots: Vec::new() }.serve();
            self.watcher = Some(self.ears.listen("paths", STACK_BYTES, watch)?);
        }
        if let Some(watcher) = &self.watcher {
            watcher.ask(Request::Watch(unit, spots));
            self.armed.insert(unit);
        }
        Ok(())
    }

    pub(super) fn disarm(&mut self, unit: UnitId) {
        if self.armed.remove(&unit)
            && let Some(watcher) = &self.watcher
        {
            watcher.ask(Request::Forget(unit));
        }
        if self.armed.is_empty() {
            self.watcher = None;
        }
    }
}

/// The thread's side.
struct Watch {
    outlet: Outlet,
    listener: Listener<Request>,
    spots: Vec<Watched>,
}

struct Watched {
    unit: UnitId,
    spot: Spot,
    /// What is watched: its directory, or what there is of the way to it.
    at: PathBuf,
    /// What was there when it was looked at last.
    seen: Seen,
    /// When it has been quiet for long enough.
    due: Option<Duration>,
}

/// By name: inode, size, and when it was changed.
type Seen = BTreeMap<String, (u64, u64, i64, i64)>;

impl Watch {
    fn serve(mut self) {
        loop {
            let due = self.spots.iter().filter_map(|spot| spot.due).min();
            let timeout = due.map(|due| due.saturating_sub(since_boot()));
            let Some(heard) = self.listener.wait(timeout, None) else { return };
            self.hear(&heard.changes);
            for request in heard.requests {
                match request {
                    Request::Watch(unit, spots) => self.watch(unit, spots),
                    Request::Forget(unit) => self.forget(unit),
                }
            }
            self.look();
        }
    }

    fn watch(&mut self, unit: UnitId, spots: Vec<Spot>) {
        self.forget(unit);
        for spot in spots {
            // Watched first: what comes in between is seen twice rather than never.
            let at = self.watch_way_to(&spot.path);
            let seen = seen(&spot.path);
            self.spots.push(Watched { unit, spot, at, seen, due: None });
        }
    }

    fn watch_way_to(&self, path: &Path) -> PathBuf {
        path.parent().and_then(|dir| self.listener.watch_nearest(dir)).unwrap_or_default()
    }

    fn forget(&mut self, unit: UnitId) {
        self.spots.retain(|spot| spot.unit != unit);
        self.listener.keep(|dir| self.spots.iter().any(|spot| spot.at == dir));
    }

    fn hear(&mut self, Changes { dirs, gone, is_all }: &Changes) {
        let now = since_boot();
        for index in 0..self.spots.len() {
            let Some(spot) = self.spots.get_mut(index).filter(|spot| *is_all || dirs.contains(&spot.at))
            else {
                continue;
            };
            spot.due = Some(now.saturating_add(spot.spot.debounce));
            let path = spot.spot.path.clone();
            // Of changes that were lost one may have been the end of a watch.
            if *is_all || gone.contains(&spot.at) || path.parent() != Some(&spot.at) {
                let at = self.watch_way_to(&path);
                if let Some(spot) = self.spots.get_mut(index) {
                    spot.at = at;
                }
            }
        }
    }

    fn look(&mut self) {
        let now = since_boot();
        for spot in self.spots.iter_mut().filter(|spot| spot.due.is_some_and(|due| due <= now)) {
            spot.due = None;
            let seen = seen(&spot.spot.path);
            // That something went away is no work for anybody.
            let is_news = seen.iter().any(|(name, stamp)| spot.seen.get(name) != Some(stamp));
            spot.seen = seen;
            if is_news {
                let (unit, path) = (spot.unit, spot.spot.said.clone());
                // The loop has ended: nobody waits.
                drop(self.outlet.send(Inbox::PathChanged { unit, path }));
            }
        }
    }
}

/// What there is of a path whose last part may have wildcards.
fn seen(path: &Path) -> Seen {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    if !name.contains(['*', '?']) {
        return stamp(path).map(|stamp| (name.to_owned(), stamp)).into_iter().collect();
    }
    let Some(entries) = path.parent().and_then(|dir| fs::read_dir(dir).ok()) else { return Seen::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names = names.take(MOST_ENTRIES).filter(|found| matches(name, found));
    names.filter_map(|name| Some((name.clone(), stamp(&path.with_file_name(&name))?))).collect()
}

/// Of one directory; more are not looked at.
const MOST_ENTRIES: usize = 10_000;
const STACK_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("mcsup-paths-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn armed(path: PathBuf) -> (Paths, UnboundedReceiver<Inbox>) {
        let (outlet, inbox) = unbounded_channel();
        let mut paths = Paths::new(outlet, Ears::default());
        let spot = Spot { said: "it".into(), path, debounce: Duration::from_millis(30) };
        paths.arm(UnitId(7), vec![spot]).unwrap();
        (paths, inbox)
    }

    /// Of the path itself; what settling told besides is passed over.
    fn told(inbox: &mut UnboundedReceiver<Inbox>) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let next = async {
            loop {
                match inbox.recv().await {
                    Some(Inbox::PathChanged { unit: UnitId(8 | 9), .. }) => {}
                    other => return other,
                }
            }
        };
        let next = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), next).await });
        matches!(next, Ok(Some(Inbox::PathChanged { unit: UnitId(7), .. })))
    }

    /// The watcher answers requests in turn: when this path was told, the other is watched by now.
    fn settle(paths: &mut Paths, inbox: &mut UnboundedReceiver<Inbox>, dir: &Path) {
        let mark = dir.join("mark");
        let spot = Spot { said: "mark".into(), path: mark.clone(), debounce: Duration::ZERO };
        paths.arm(UnitId(8), vec![spot]).unwrap();
        for round in 0_u32.. {
            fs::write(&mark, round.to_string()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let wait = Duration::from_millis(50);
            let next = runtime.block_on(async { tokio::time::timeout(wait, inbox.recv()).await });
            if matches!(next, Ok(Some(Inbox::PathChanged { unit: UnitId(8), .. }))) {
                return paths.disarm(UnitId(8));
            }
            assert!(round < 400, "the watcher does not answer");
        }
    }

    #[test]
    fn a_file_that_appears_changes_or_is_replaced_is_told_and_what_was_there_is_not() {
        let dir = scratch("change");
        let file = dir.join("in.csv");
        fs::write(&file, "old").unwrap();
        let (mut paths, mut inbox) = armed(file.clone());
        settle(&mut paths, &mut inbox, &dir);
        let early = std::iter::from_fn(|| inbox.try_recv().ok());
        let is_own = |message: &Inbox| matches!(message, Inbox::PathChanged { unit: UnitId(7), .. });
        assert_eq!(early.filter(is_own).count(), 0, "what was there starts nothing");
        fs::write(&file, "newer").unwrap();
        assert!(told(&mut inbox), "changed");
        fs::write(dir.join("temporary"), "third one").unwrap();
        fs::rename(dir.join("temporary"), &file).unwrap();
        assert!(told(&mut inbox), "replaced");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "again").unwrap();
        assert!(told(&mut inbox), "made again");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_in_a_directory_that_is_yet_to_come_is_told_and_again_after_the_directory_went() {
        let dir = scratch("deep");
        let inner = dir.join("a/b");
        let (mut paths, mut inbox) = armed(inner.join("*.csv"));
        settle(&mut paths, &mut inbox, &dir);
        for round in 0..2 {
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join("x.txt"), "other").unwrap();
            fs::write(inner.join(format!("{round}.csv")), "one").unwrap();
            assert!(told(&mut inbox), "round {round}");
            fs::remove_dir_all(dir.join("a")).unwrap();
            settle(&mut paths, &mut inbox, &dir);
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn two_jobs_by_two_paths_to_one_directory_are_both_told() {
        let dir = scratch("alias");
        fs::create_dir(dir.join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.join("link")).unwrap();
        let (mut paths, mut inbox) = armed(dir.join("real/in.csv"));
        let other = Spot { said: "it".into(), path: dir.join("link/in.csv"), debounce: Duration::ZERO };
        paths.arm(UnitId(9), vec![other]).unwrap();
        settle(&mut paths, &mut inbox, &dir);
        fs::write(dir.join("real/in.csv"), "new").unwrap();
        assert!(told(&mut inbox));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn who_waits_for_a_directory_below_takes_nothing_from_who_watches_above() {
        let dir = scratch("above");
        let (mut paths, mut inbox) = armed(dir.join("in.csv"));
        let other = Spot { said: "it".into(), path: dir.join("later/in.csv"), debounce: Duration::ZERO };
        paths.arm(UnitId(9), vec![other]).unwrap();
        settle(&mut paths, &mut inbox, &dir);
        fs::write(dir.join("in.csv"), "new").unwrap();
        assert!(told(&mut inbox));
        fs::remove_dir_all(&dir).unwrap();
    }
}
