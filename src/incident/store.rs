//! `STATE/incidents/NNNNNN/`: one directory per incident, written so that a kill or a full disk leaves the last
//! whole version of each file.
//!
//! ```text
//! evidence.json    all that is known, see `evidence`
//! evidence-U.json  the same of unit U, which the incident reached
//! log.txt          the last lines of the log, as they were
//! timeline.jsonl   what happened, a line each, in order
//! postmortem.md    when somebody asked for it
//! ```

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aside::Threads;
use crate::aside::files::{entries, if_there, make_private, replace};
use crate::incident::evidence::Evidence;

/// How much stays; the oldest go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    pub incidents: usize,
    pub bytes: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self { incidents: 200, bytes: 200 * 1024 * 1024 }
    }
}

/// One line of the timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Moment {
    pub at_millis: u64,
    pub unit: String,
    /// A word: `opened`, `state`, `probe`, `rung`, `joined`, `healed`, ...
    pub kind: String,
    pub text: String,
}

/// Every call waits for the disk: for a thread, or through [`Archive`].
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    keep: Keep,
    sizes: Arc<Mutex<Sizes>>,
}

/// Bytes of each incident that is kept, `None` for one that was written to since anybody looked. As a whole `None`
/// until the first is kept. Without this each new incident would cost a look at every file of all others.
type Sizes = Option<BTreeMap<u64, Option<u64>>>;

impl Store {
    /// `dir` is made when the first incident is kept.
    pub fn new(dir: PathBuf, keep: Keep) -> Self {
        Self { dir, keep, sizes: Arc::default() }
    }

    pub fn path_of(&self, incident: u64) -> PathBuf {
        self.dir.join(format!("{incident:06}"))
    }

    /// Replaces what was kept of this incident, but for its timeline.
    ///
    /// # Errors
    /// When the disk does not take it; what was there before is still whole.
    pub fn keep(&self, evidence: &Evidence) -> io::Result<()> {
        let dir = self.path_of(evidence.incident);
        make_private(&dir)?;
        let mut text = serde_json::to_vec_pretty(evidence)?;
        text.push(b'\n');
        replace(&dir.join(EVIDENCE), &text)?;
        let mut log = evidence.log.lines.join("\n");
        log.push('\n');
        replace(&dir.join(LOG), log.as_bytes())?;
        self.prune(evidence.incident)
    }

    /// Changes what was kept of this incident, where something was.
    ///
    /// # Errors
    /// As [`Store::read`] and [`Store::keep`].
    pub fn update(&self, incident: u64, change: impl FnOnce(&mut Evidence)) -> io::Result<()> {
        let path = self.path_of(incident).join(EVIDENCE);
        let Some(text) = if_there(fs::read(&path))? else { return Ok(()) };
        let mut evidence: Evidence = serde_json::from_slice(&text)?;
        change(&mut evidence);
        self.touched(incident);
        let mut text = serde_json::to_vec_pretty(&evidence)?;
        text.push(b'\n');
        replace(&path, &text)
    }

    /// What was kept first shows how it began, and stays: what comes from after a restart of mcsup goes beside it.
    ///
    /// # Errors
    /// As [`Store::keep`].
    pub fn keep_first(&self, evidence: &Evidence) -> io::Result<()> {
        let is_kept = self.path_of(evidence.incident).join(EVIDENCE).exists();
        if is_kept { self.keep_beside(evidence) } else { self.keep(evidence) }
    }

    /// Keeps the evidence of another unit that the incident reached, beside that of the first.
    ///
    /// # Errors
    /// As [`Store::keep`].
    pub fn keep_beside(&self, evidence: &Evidence) -> io::Result<()> {
        let dir = self.path_of(evidence.incident);
        make_private(&dir)?;
        self.touched(evidence.incident);
        let mut text = serde_json::to_vec_pretty(evidence)?;
        text.push(b'\n');
        replace(&dir.join(format!("evidence-{}.json", evidence.unit)), &text)
    }

    /// Adds to the timeline, which is begun when it is not there.
    ///
    /// # Errors
    /// When the disk does not take it. No half of a line stays.
    pub fn append(&self, incident: u64, moments: &[Moment]) -> io::Result<()> {
        let dir = self.path_of(incident);
        make_private(&dir)?;
        self.touched(incident);
        let mut lines = Vec::new();
        for moment in moments {
            serde_json::to_writer(&mut lines, moment)?;
            lines.push(b'\n');
        }
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(dir.join(TIMELINE))?;
        let length = file.metadata()?.len();
        let is_room = length.saturating_add(lines.len() as u64) <= TIMELINE_MOST_BYTES;
        if !is_room {
            // An incident of many days says the same again and again.
            return Ok(());
        }
        let written = file.write_all(&lines).and_then(|()| file.sync_data());
        written.inspect_err(|_| drop(file.set_len(length)))
    }

    /// Beside the evidence, for people.
    ///
    /// # Errors
    /// When the disk does not take it, or there is no such incident.
    pub fn keep_postmortem(&self, incident: u64, markdown: &str) -> io::Result<()> {
        replace(&self.path_of(incident).join(POSTMORTEM), markdown.as_bytes())
    }

    /// `None`: it was never kept, or has made room for others.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, incident: u64) -> io::Result<Option<(Evidence, Vec<Moment>)>> {
        let dir = self.path_of(incident);
        let Some(text) = if_there(fs::read(dir.join(EVIDENCE)))? else { return Ok(None) };
        Ok(Some((serde_json::from_slice(&text)?, self.timeline(incident)?)))
    }

    /// Its lines may have found room where its evidence found none. Empty where there is none of it.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn timeline(&self, incident: u64) -> io::Result<Vec<Moment>> {
        let lines = if_there(fs::read(self.path_of(incident).join(TIMELINE)))?.unwrap_or_default();
        // The end of a line that was torn by a crash is skipped.
        let moments = lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        Ok(moments.collect())
    }

    /// All that are kept, oldest first.
    ///
    /// # Errors
    /// When the directory is there and cannot be read.
    pub fn list(&self) -> io::Result<Vec<u64>> {
        let mut ids = Vec::new();
        for entry in entries(&self.dir)? {
            let name = entry.file_name();
            let is_number = |name: &&str| name.len() >= 6 && name.bytes().all(|byte| byte.is_ascii_digit());
            ids.extend(name.to_str().filter(is_number).and_then(|name| name.parse::<u64>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// The oldest make room. What somebody else removed meanwhile is found to be gone when it is its turn.
    fn prune(&self, newest: u64) -> io::Result<()> {
        let mut sizes = self.sizes();
        let sizes = match &mut *sizes {
            Some(sizes) => sizes,
            none => none.insert(self.list()?.into_iter().map(|id| (id, None)).collect()),
        };
        sizes.insert(newest, None);
        let mut bytes = 0u64;
        for (id, size) in &mut *sizes {
            let size = size.get_or_insert_with(|| size_of(&self.path_of(*id)));
            bytes = bytes.saturating_add(*size);
        }
        let others = sizes.clone().into_iter().filter(|(id, _)| *id != newest);
        for (id, size) in others {
            if sizes.len() <= self.keep.incidents && bytes <= self.keep.bytes {
                break;
            }
            if_there(fs::remove_dir_all(self.path_of(id)))?;
            sizes.remove(&id);
            bytes = bytes.saturating_sub(size.unwrap_or(0));
        }
        Ok(())
    }

    /// This incident's size is no longer what it was.
    fn touched(&self, incident: u64) {
        if let Some(sizes) = &mut *self.sizes() {
            sizes.insert(incident, None);
        }
    }

    /// What a panic left behind is at worst a number that is looked at again.
    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store for a loop that may not wait. One call at a time reaches the disk, in the order of the calls.
#[derive(Clone, Debug)]
pub struct Archive {
    store: Store,
    threads: Threads,
}

impl Archive {
    pub fn new(store: Store) -> Self {
        Self { store, threads: Threads::new("incidents", 1) }
    }

    pub fn path_of(&self, incident: u64) -> PathBuf {
        self.store.path_of(incident)
    }

    /// # Errors
    /// As [`Store::keep_first`]; `TimedOut` when the disk takes longer than `limit`.
    pub async fn keep_first(&self, evidence: Evidence, limit: Duration) -> io::Result<()> {
        self.ask(limit, move |store| store.keep_first(&evidence)).await
    }

    /// # Errors
    /// As [`Store::keep`]; `TimedOut` when the disk takes longer than `limit`.
    pub async fn keep(&self, evidence: Evidence, limit: Duration) -> io::Result<()> {
        self.ask(limit, move |store| store.keep(&evidence)).await
    }

    /// # Errors
    /// As [`Store::keep_beside`]; `TimedOut` when the disk takes longer than `limit`.
    pub async fn keep_beside(&self, evidence: Evidence, limit: Duration) -> io::Result<()> {
        self.ask(limit, move |store| store.keep_beside(&evidence)).await
    }

    /// # Errors
    /// As [`Store::update`]; `TimedOut`.
    pub async fn update(
        &self,
        incident: u64,
        change: impl FnOnce(&mut Evidence) + Send + 'static,
        limit: Duration,
    ) -> io::Result<()> {
        self.ask(limit, move |store| store.update(incident, change)).await
    }

    /// The newest that are kept, the newest first.
    ///
    /// # Errors
    /// As [`Store::list`]; `TimedOut`.
    pub async fn newest(&self, most: usize, limit: Duration) -> io::Result<Vec<u64>> {
        self.ask(limit, move |store| Ok(store.list()?.into_iter().rev().take(most).collect())).await
    }

    /// Several things to several incidents, as one call.
    ///
    /// # Errors
    /// The first of them; `TimedOut`.
    pub async fn write(
        &self,
        writing: impl FnOnce(&Store) -> io::Result<()> + Send + 'static,
        limit: Duration,
    ) -> io::Result<()> {
        self.ask(limit, writing).await
    }

    /// # Errors
    /// As [`Store::read`]; `TimedOut`.
    pub async fn read(&self, incident: u64, limit: Duration) -> io::Result<Option<(Evidence, Vec<Moment>)>> {
        self.ask(limit, move |store| store.read(incident)).await
    }

    /// # Errors
    /// As [`Store::timeline`]; `TimedOut`.
    pub async fn timeline(&self, incident: u64, limit: Duration) -> io::Result<Vec<Moment>> {
        self.ask(limit, move |store| store.timeline(incident)).await
    }

    /// The highest number that is kept; a new incident gets a higher one.
    ///
    /// # Errors
    /// As [`Store::list`]; `TimedOut`.
    pub async fn last(&self, limit: Duration) -> io::Result<u64> {
        self.ask(limit, |store| Ok(store.list()?.last().copied().unwrap_or(0))).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce(&Store) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let store = self.store.clone();
        self.threads.ask_io(limit, move || question(&store)).await
    }
}

/// Of the files right in it; 0 where nobody can tell.
fn size_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len()));
    sizes.fold(0, u64::saturating_add)
}

const EVIDENCE: &str = "evidence.json";
const LOG: &str = "log.txt";
const TIMELINE: &str = "timeline.jsonl";
const POSTMORTEM: &str = "postmortem.md";
const TIMELINE_MOST_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mcsup-store-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn store(&self, keep: Keep) -> Store {
            Store::new(self.0.join("incidents"), keep)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    fn evidence(incident: u64, line: &str) -> Evidence {
        let mut evidence = Evidence { incident, unit: "redis".into(), ..Evidence::default() };
        evidence.log.lines = vec!["first".into(), line.into()];
        evidence
    }

    fn moment(at_millis: u64) -> Moment {
        Moment { at_millis, unit: "redis".into(), kind: "state".into(), text: "ready -> backoff".into() }
    }

    #[test]
    fn what_was_kept_is_read_back_and_a_torn_line_is_skipped() {
        let dir = Dir::new("back");
        let store = dir.store(Keep::default());
        assert_eq!(store.read(7).unwrap(), None);
        assert_eq!(store.list().unwrap(), [0; 0]);
        assert_eq!(store.timeline(7).unwrap(), []);
        store.append(7, &[moment(1), moment(2)]).unwrap();
        assert_eq!(store.read(7).unwrap(), None, "there is no evidence yet");
        assert_eq!(store.timeline(7).unwrap(), [moment(1), moment(2)]);
        store.keep(&evidence(7, "second")).unwrap();
        store.keep(&evidence(7, "third")).unwrap();
        let timeline = store.path_of(7).join(TIMELINE);
        OpenOptions::new().append(true).open(timeline).unwrap().write_all(b"{\"at_mil").unwrap();
        let (found, moments) = store.read(7).unwrap().unwrap();
        assert_eq!(found, evidence(7, "third"));
        assert_eq!(moments, [moment(1), moment(2)]);
        assert_eq!(fs::read_to_string(store.path_of(7).join(LOG)).unwrap(), "first\nthird\n");
        let names: Vec<_> = fs::read_dir(store.path_of(7)).unwrap().flatten().collect();
        assert_eq!(names.len(), 3, "nothing temporary stays: {names:?}");
    }

    #[test]
    fn what_was_kept_first_stays_and_later_evidence_goes_beside_it() {
        let dir = Dir::new("first");
        let store = dir.store(Keep::default());
        store.keep_first(&evidence(7, "how it began")).unwrap();
        store.keep_first(&evidence(7, "later")).unwrap();
        assert_eq!(store.read(7).unwrap().unwrap().0, evidence(7, "how it began"));
        let beside = fs::read(store.path_of(7).join("evidence-redis.json")).unwrap();
        assert_eq!(serde_json::from_slice::<Evidence>(&beside).unwrap(), evidence(7, "later"));
        store.update(7, |evidence| evidence.healed_by = "a restart".into()).unwrap();
        let (found, _) = store.read(7).unwrap().unwrap();
        assert_eq!((found.healed_by.as_str(), found.log.lines.len()), ("a restart", 2));
        store.update(8, |evidence| evidence.incident = 8).unwrap();
        assert_eq!(store.list().unwrap(), [7], "what was never kept is not made up");
    }

    #[test]
    fn evidence_of_another_version_is_still_read() {
        let dir = Dir::new("version");
        let store = dir.store(Keep::default());
        store.keep(&evidence(3, "x")).unwrap();
        let newer = r#"{"version": 9, "incident": 3, "unit": "db", "of_the_future": {"a": [1]}}"#;
        fs::write(store.path_of(3).join(EVIDENCE), newer).unwrap();
        let (found, _) = store.read(3).unwrap().unwrap();
        assert_eq!((found.version, found.unit.as_str()), (9, "db"));
    }

    #[test]
    fn the_oldest_make_room_by_number_and_by_size() {
        let dir = Dir::new("bounds");
        let store = dir.store(Keep { incidents: 3, bytes: u64::MAX });
        for id in 1..=5 {
            store.keep(&evidence(id, "x")).unwrap();
        }
        assert_eq!(store.list().unwrap(), [3, 4, 5]);
        let each = size_of(&store.path_of(5));
        let smaller = dir.store(Keep { incidents: 100, bytes: each * 2 });
        smaller.keep(&evidence(6, "x")).unwrap();
        assert_eq!(smaller.list().unwrap(), [5, 6]);
        let tiny = dir.store(Keep { incidents: 100, bytes: 1 });
        tiny.keep(&evidence(6, "y")).unwrap();
        assert_eq!(tiny.list().unwrap(), [6], "never the one that was just kept");
    }

    #[test]
    fn what_was_added_or_taken_away_since_counts_when_room_is_made() {
        let dir = Dir::new("since");
        let store = dir.store(Keep { incidents: 3, bytes: 20_000 });
        store.keep(&evidence(1, "x")).unwrap();
        store.keep(&evidence(2, "x")).unwrap();
        store.append(1, &[Moment { text: "y".repeat(30_000), ..moment(1) }]).unwrap();
        store.keep(&evidence(3, "x")).unwrap();
        assert_eq!(store.list().unwrap(), [2, 3], "the timeline of 1 grew");
        fs::remove_dir_all(store.path_of(2)).unwrap();
        for id in 4..=6 {
            store.keep(&evidence(id, "x")).unwrap();
        }
        assert_eq!(store.list().unwrap(), [4, 5, 6], "somebody removed 2");
    }

    #[test]
    fn a_disk_that_takes_nothing_is_an_answer_and_the_last_version_stays_whole() {
        let dir = Dir::new("full");
        let store = dir.store(Keep::default());
        store.keep(&evidence(1, "kept")).unwrap();
        // The kernel's own full disk.
        std::os::unix::fs::symlink("/dev/full", store.path_of(1).join("evidence.new")).unwrap();
        let error = store.keep(&evidence(1, "lost")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(store.read(1).unwrap().unwrap().0, evidence(1, "kept"));
        store.keep(&evidence(1, "later")).unwrap();
        assert_eq!(store.read(1).unwrap().unwrap().0, evidence(1, "later"));
    }

    #[test]
    fn a_loop_gets_its_answer_from_a_thread() {
        let dir = Dir::new("archive");
        let archive = Archive::new(dir.store(Keep::default()));
        let limit = Duration::from_secs(30);
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            assert_eq!(archive.last(limit).await.unwrap(), 0);
            archive.keep(evidence(12, "x"), limit).await.unwrap();
            archive.write(|store| store.append(12, &[moment(1)]), limit).await.unwrap();
            assert_eq!(archive.last(limit).await.unwrap(), 12);
            assert_eq!(archive.read(12, limit).await.unwrap().unwrap().1, [moment(1)]);
        });
    }
}
