//! Watches the logs of runs for the line that says that they are ready. One thread for all of them, since
//! logs lie on a disk, and none while nobody starts. Nothing is polled: inotify tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use regex::bytes::Regex;

use crate::keeper::wire::LogPlace;
use crate::log::files::{FileId, LogDir};
use crate::supervisor::ears::{Changes, Ears, Line, Listener};
use crate::supervisor::inbox::{Inbox, Outlet};
use crate::unit::spec::probe::Pattern;

/// Longest line that is matched; of a longer one its beginning.
const LINE_BYTES: usize = 64 << 10;
/// Read of one log before the others have their turn.
const BLOCK: usize = 64 << 10;
const THREAD_STACK_BYTES: usize = 256 * 1024;

/// The loop's side.
#[derive(Debug)]
pub(crate) struct ReadyLines {
    outlet: Outlet,
    /// Runs whose order was not sent yet, so that nobody knows where their words begin.
    expected: BTreeMap<u64, (LogDir, Box<str>)>,
    watched: BTreeSet<u64>,
    ears: Ears,
    watcher: Option<Line<Request>>,
}

#[derive(Debug)]
enum Request {
    Watch { run: u64, dir: LogDir, pattern: Box<str>, from: LogPlace },
    Forget { run: u64 },
}

impl ReadyLines {
    pub(crate) fn new(outlet: Outlet, ears: Ears) -> Self {
        Self { outlet, expected: BTreeMap::new(), watched: BTreeSet::new(), ears, watcher: None }
    }

    /// `begin` follows.
    pub(crate) fn expect(&mut self, run: u64, dir: LogDir, pattern: &Pattern) {
        self.expected.insert(run, (dir, pattern.0.clone()));
    }

    /// The run is ordered, and says whatever it says from `from` on. Without one its log is not waited for.
    pub(crate) fn begin(&mut self, run: u64, from: Option<LogPlace>) {
        let Some(from) = from else { return };
        let Some((dir, pattern)) = self.expected.remove(&run) else { return };
        if self.watcher.is_none() {
            let outlet = self.outlet.clone();
            let logs = move |listener| {
                Logs { outlet, listener, tails: BTreeMap::new(), due: BTreeSet::new() }.serve();
            };
            match self.ears.listen("ready lines", THREAD_STACK_BYTES, logs) {
                Ok(watcher) => self.watcher = Some(watcher),
                // Then its time to start runs out, which says so.
                Err(error) => return tracing::warn!("cannot watch logs for lines that say ready: {error}"),
            }
        }
        if let Some(watcher) = &self.watcher {
            watcher.ask(Request::Watch { run, dir, pattern, from });
            self.watched.insert(run);
        }
    }

    /// Its line has not come.
    pub(crate) fn is_waiting(&self, run: u64) -> bool {
        self.expected.contains_key(&run) || self.watched.contains(&run)
    }

    /// True: it was watched until now.
    pub(crate) fn forget(&mut self, run: u64) -> bool {
        self.expected.remove(&run);
        let was_watched = self.watched.remove(&run);
        if was_watched && let Some(watcher) = &self.watcher {
            watcher.ask(Request::Forget { run });
            if self.watched.is_empty() {
                self.watcher = None;
            }
        }
        was_watched
    }
}

/// The thread's side.
struct Logs {
    outlet: Outlet,
    listener: Listener<Request>,
    tails: BTreeMap<u64, Tail>,
    /// Runs whose log may hold more.
    due: BTreeSet<u64>,
}

impl Logs {
    fn serve(mut self) {
        loop {
            let timeout = (!self.due.is_empty()).then_some(Duration::ZERO);
            let Some(heard) = self.listener.wait(timeout, None) else { return };
            self.hear(&heard.changes);
            for request in heard.requests {
                match request {
                    Request::Watch { run, dir, pattern, from } => self.watch(run, dir, &pattern, from),
                    Request::Forget { run } => self.forget(run),
                }
            }
            self.look();
        }
    }

    fn watch(&mut self, run: u64, dir: LogDir, pattern: &str, from: LogPlace) {
        // Known to be sound since it was read from its file.
        let Ok(pattern) = Regex::new(pattern) else { return };
        // Made at the first byte: until then, what there is of the way to it is watched.
        let at = self.listener.watch_nearest(dir.path());
        self.tails.insert(run, Tail { dir, at, pattern, from, file: None, line: Vec::new() });
        self.due.insert(run);
    }

    fn forget(&mut self, run: u64) {
        self.due.remove(&run);
        if self.tails.remove(&run).is_some() {
            self.listener.keep(|dir| self.tails.values().any(|tail| tail.at.as_deref() == Some(dir)));
        }
    }

    fn hear(&mut self, Changes { dirs, gone, is_all }: &Changes) {
        for (run, tail) in &mut self.tails {
            let Some(at) = tail.at.as_ref().filter(|at| *is_all || dirs.contains(*at)) else { continue };
            if *is_all || gone.contains(at) || at != tail.dir.path() {
                tail.at = self.listener.watch_nearest(tail.dir.path());
            }
            self.due.insert(*run);
        }
    }

    /// One block of every log that may hold more.
    fn look(&mut self) {
        for run in std::mem::take(&mut self.due) {
            let Some(tail) = self.tails.get_mut(&run) else { continue };
            match tail.read() {
                Ok(Found::Line) => {
                    self.forget(run);
                    // The loop has ended: nobody waits.
                    drop(self.outlet.send(Inbox::ReadyLine { run }));
                }
                Ok(Found::More) => drop(self.due.insert(run)),
                Ok(Found::Nothing) => {}
                Err(error) => tracing::warn!("cannot read {}: {error}", tail.dir.path().display()),
            }
        }
    }
}

/// One run's log, read on from where it began.
struct Tail {
    dir: LogDir,
    /// What is watched: its directory, or what there is of the way to it.
    at: Option<PathBuf>,
    pattern: Regex,
    from: LogPlace,
    file: Option<(FileId, File)>,
    /// The line that has not ended yet.
    line: Vec<u8>,
}

enum Found {
    Line,
    More,
    Nothing,
}

impl Tail {
    fn read(&mut self) -> io::Result<Found> {
        if self.file.is_none() {
            self.file = self.first()?;
        }
        let Some((_, file)) = &mut self.file else { return Ok(Found::Nothing) };
        let mut block = vec![0; BLOCK];
        let count = file.read(&mut block)?;
        if count > 0 {
            let is_there = self.take(block.get(..count).unwrap_or_default());
            return Ok(if is_there { Found::Line } else { Found::More });
        }
        self.turn_over()
    }

    /// The file that it began in, at its place; the oldest where that one is gone.
    fn first(&self) -> io::Result<Option<(FileId, File)>> {
        let files = self.dir.list()?;
        let begun = files.iter().find(|listed| listed.id.numbers() == (self.from.inode, self.from.born));
        let Some(listed) = begun.or_else(|| files.first()) else { return Ok(None) };
        let Some(mut file) = self.dir.open(listed)? else { return Ok(None) };
        if begun.is_some() {
            file.seek(SeekFrom::Start(self.from.offset))?;
        }
        Ok(Some((listed.id, file)))
    }

    /// At the end of a file: is there one after it?
    fn turn_over(&mut self) -> io::Result<Found> {
        let Some((id, file)) = &mut self.file else { return Ok(Found::Nothing) };
        let files = self.dir.list()?;
        let own = files.iter().position(|listed| listed.id == *id);
        let next = match own {
            Some(at) => files.get(at.saturating_add(1)),
            None => files.first(),
        };
        let Some(next) = next else { return Ok(Found::Nothing) };
        // Nothing is written to it any more; what came until it was put aside is read before the next one.
        if file.metadata()?.len() > file.stream_position()? {
            return Ok(Found::More);
        }
        match self.dir.open(next)? {
            Some(file) => self.file = Some((next.id, file)),
            None => self.file = None,
        }
        Ok(Found::More)
    }

    /// True: a line of this matches.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(at);
            bytes = rest.get(1..).unwrap_or_default();
            self.add(line);
            let is_there = self.pattern.is_match(self.line.strip_suffix(b"\r").unwrap_or(&self.line));
            self.line.clear();
            if is_there {
                return true;
            }
        }
        self.add(bytes);
        false
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES.saturating_sub(self.line.len());
        self.line.extend(bytes.iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use tokio::sync::mpsc;

    use super::*;

    struct Scene {
        root: PathBuf,
        lines: ReadyLines,
        inbox: mpsc::UnboundedReceiver<Inbox>,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("mcsup-ready-{name}-{}", std::process::id()));
            drop(fs::remove_dir_all(&root));
            fs::create_dir_all(&root).unwrap();
            let (outlet, inbox) = mpsc::unbounded_channel();
            Self { root, lines: ReadyLines::new(outlet, Ears::default()), inbox }
        }

        fn place(&self, unit: &str) -> LogPlace {
            let newest = LogDir::new(&self.root, unit).list().unwrap().pop();
            newest.map_or_else(LogPlace::default, |newest| {
                let (inode, born) = newest.id.numbers();
                LogPlace { inode, born, offset: newest.size_bytes }
            })
        }

        fn watch(&mut self, run: u64, unit: &str) {
            let place = self.place(unit);
            self.lines.expect(run, LogDir::new(&self.root, unit), &Pattern("^ready on [0-9]+$".into()));
            self.lines.begin(run, Some(place));
        }

        fn write(&self, unit: &str, text: &str) {
            fs::create_dir_all(self.root.join(unit)).unwrap();
            let path = self.root.join(unit).join("current");
            let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        /// The run whose line came, if one did by now; `patience`: for the thread.
        fn next(&mut self, patience: Duration) -> Option<u64> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let message = runtime.block_on(async { tokio::time::timeout(patience, self.inbox.recv()).await });
            match message {
                Ok(Some(Inbox::ReadyLine { run })) => {
                    assert!(self.lines.forget(run));
                    Some(run)
                }
                Ok(other) => panic!("{other:?}"),
                Err(_elapsed) => None,
            }
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.root));
        }
    }

    const LONG: Duration = Duration::from_secs(20);
    /// Enough for a thread that has nothing to wait for; a line that should not count would be found.
    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn a_line_counts_from_the_runs_first_byte_and_not_before() {
        let mut scene = Scene::new("first");
        scene.write("web", "ready on 80\n");
        scene.watch(1, "web");
        scene.write("web", "already on 80\nready on ");
        assert_eq!(scene.next(SHORT), None);
        scene.write("web", "81\n");
        assert_eq!(scene.next(LONG), Some(1));
        assert!(scene.lines.watcher.is_none(), "nobody is watched any more");
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_waited_for_and_one_unit_is_not_another() {
        let mut scene = Scene::new("missing");
        scene.watch(1, "web");
        scene.watch(2, "db");
        scene.write("db", "ready on 1\n");
        assert_eq!(scene.next(LONG), Some(2));
        scene.write("web", "ready on 2\r\n");
        assert_eq!(scene.next(LONG), Some(1));
    }

    #[test]
    fn what_was_rotated_away_meanwhile_is_read_to_its_end_first() {
        let mut scene = Scene::new("rotated");
        scene.write("web", "old\n");
        let place = scene.place("web");
        let dir = scene.root.join("web");
        scene.write("web", "some\n");
        fs::rename(dir.join("current"), dir.join("1")).unwrap();
        scene.write("web", "more\nready on 3\n");
        fs::rename(dir.join("current"), dir.join("2")).unwrap();
        scene.write("web", "last\n");
        scene.lines.expect(1, LogDir::new(&scene.root, "web"), &Pattern("ready".into()));
        scene.lines.begin(1, Some(place));
        assert_eq!(scene.next(LONG), Some(1));
    }

    #[test]
    fn a_line_without_end_costs_no_more_than_its_beginning() {
        let mut scene = Scene::new("endless");
        scene.watch(1, "web");
        let flood = "x".repeat(1 << 20);
        (0..4).for_each(|_| scene.write("web", &flood));
        scene.write("web", "\nready on 7\n");
        assert_eq!(scene.next(LONG), Some(1));
    }
}
