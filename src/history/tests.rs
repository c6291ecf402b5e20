//! The history as its callers see it, with disks that fail in every way that can be had without one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
}

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcsup-history-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("history.db")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn fact(number: u64) -> Record {
    let text = format!("fact {number} {}", "x".repeat(60));
    let (unit, kind) = (Some("redis".to_owned()), "state".to_owned());
    Record::Fact(FactRow { at_millis: number, unit, incident: Some(7), kind, text })
}

fn incident(id: u64, started: u64, recovered: Option<u64>) -> IncidentRow {
    IncidentRow {
        id,
        root: Some("db".into()),
        started_millis: started,
        detected_millis: started + 100,
        recovered_millis: recovered,
        affected: vec!["api".into(), "web".into()],
        failure: "exited with 1".into(),
        ..IncidentRow::default()
    }
}

async fn news(history: &mut History) -> News {
    tokio::time::timeout(Duration::from_secs(60), history.next()).await.unwrap()
}

/// Until as many facts are stored as there should be.
async fn count(history: &History) -> Result<u64, Unavailable> {
    let sql = "SELECT count(*) FROM facts";
    history
        .ask(move |database| database.query_row(sql, [], |row| row.get::<_, i64>(0)))
        .await
        .map(|count| count as u64)
}

async fn comes_to(history: &History, expected: u64) {
    let asked = async { while count(history).await != Ok(expected) {} };
    if tokio::time::timeout(Duration::from_secs(60), asked).await.is_err() {
        panic!("{:?} facts instead of {expected}", count(history).await);
    }
}

#[test]
fn what_was_recorded_comes_back_after_a_restart() {
    let dir = Dir::new("back");
    run(async {
        let history = History::open(dir.file()).unwrap();
        history.record(Record::Incident(incident(7, 1000, None)));
        history.record(fact(1));
        let ran = RunRow { unit: "db".into(), ordinal: 3, started_millis: 5, ..RunRow::default() };
        history.record(Record::Run(ran.clone()));
        let ended = RunRow { ended_millis: Some(9), exit: "exited with 1".into(), ..ran };
        history.record(Record::Run(ended.clone()));
        history.record(Record::Incident(incident(7, 1000, Some(4000))));
        history.record(Record::Incident(incident(8, 2000, Some(3000))));
        history.record(Record::Incident(incident(9, 3000, None)));
        history.close(Duration::from_secs(60)).await;

        let history = History::open(dir.file()).unwrap();
        assert_eq!(history.incident(7).await.unwrap(), Some(incident(7, 1000, Some(4000))));
        assert_eq!(history.incident(1).await.unwrap(), None);
        let ids = |rows: Vec<IncidentRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(history.incidents(0, 2).await.unwrap()), [9, 8]);
        assert_eq!(ids(history.incidents(2000, 10).await.unwrap()), [9, 8]);
        assert_eq!(history.last_incident().await.unwrap(), 9);
        assert_eq!(history.facts_of(7).await.unwrap().len(), 1);
        assert_eq!(history.runs_of("db".into(), 10).await.unwrap(), [ended]);
        let expected = Window {
            incidents: 3,
            open: 1,
            mttd_mean_millis: Some(100),
            mttd_median_millis: Some(100),
            mttr_mean_millis: Some(2000),
            mttr_median_millis: Some(2000),
        };
        assert_eq!(history.window(0, 10_000).await.unwrap(), expected);
        assert_eq!(history.window(0, 1000).await.unwrap(), Window::default());
    });
}

#[test]
fn an_answer_knows_what_was_recorded_before_the_question() {
    let dir = Dir::new("before");
    run(async {
        let history = History::open(dir.file()).unwrap();
        for number in 1..=20 {
            assert!(history.record(fact(number)));
            assert_eq!(count(&history).await, Ok(number));
        }
    });
}

#[test]
fn what_was_another_incident_all_along_is_counted_once() {
    let dir = Dir::new("merged");
    run(async {
        let history = History::open(dir.file()).unwrap();
        let fact = |incident| FactRow { incident: Some(incident), ..FactRow::default() };
        for id in [1, 2] {
            history.record(Record::Incident(incident(id, 1000, None)));
            history.record(Record::Fact(fact(id)));
        }
        history.record(Record::Merged { from: 1, into: 2 });
        history.close(Duration::from_secs(60)).await;

        let history = History::open(dir.file()).unwrap();
        assert_eq!(history.incident(1).await.unwrap(), None);
        assert_eq!(history.facts_of(2).await.unwrap().len(), 2);
        assert_eq!(history.window(0, 10_000).await.unwrap().incidents, 1);
    });
}

#[test]
fn the_file_is_ours_alone_and_its_pages_are_never_mapped() {
    let dir = Dir::new("pragmas");
    run(async {
        let history = History::open(dir.file()).unwrap();
        let text = |sql: &'static str| {
            history.ask(move |database| {
                database.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0))
            })
        };
        assert_eq!(text("PRAGMA journal_mode").await.unwrap(), "wal".to_owned().into());
        assert_eq!(text("PRAGMA synchronous").await.unwrap(), 1.into());
        assert_eq!(text("PRAGMA mmap_size").await.unwrap(), 0.into());
        assert_eq!(text("PRAGMA auto_vacuum").await.unwrap(), 2.into());
        for name in ["history.db", "history.db-wal"] {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(dir.0.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    });
}

#[test]
fn runs_of_jobs_are_told_newest_first_and_a_row_told_again_is_the_same_row() {
    let dir = Dir::new("job-runs");
    run(async {
        let history = History::open(dir.file()).unwrap();
        let row = |unit: &str, ordinal: u32, verdict: &str| JobRunRow {
            unit: unit.into(),
            ordinal,
            serial: 0,
            trigger: "its schedule".into(),
            began_millis: u64::from(ordinal) * 1000,
            ended_millis: u64::from(ordinal) * 1000 + 5,
            exit: "exited with 0".into(),
            verdict: verdict.into(),
            why: "2 trends, wanted >= 3".into(),
            kept: None,
        };
        for ordinal in 1..=3 {
            history.record(Record::JobRun(row("trends", ordinal, "rejected")));
            history.record(Record::JobRun(row("brief", ordinal, "passed")));
        }
        // Known a moment later.
        let kept = JobRunRow { kept: Some(7), ..row("trends", 2, "rejected") };
        history.record(Record::JobRun(kept.clone()));
        history.close(Duration::from_secs(60)).await;
        let history = History::open(dir.file()).unwrap();
        let found = history.job_runs(Some("trends".into()), 10).await.unwrap();
        assert_eq!(found, [row("trends", 3, "rejected"), kept, row("trends", 1, "rejected")]);
        assert_eq!(history.job_runs(None, 100).await.unwrap().len(), 6);
        assert_eq!(history.job_runs(Some("trends".into()), 1).await.unwrap().len(), 1);
    });
}

#[test]
fn old_rows_make_room_for_new_ones() {
    let dir = Dir::new("retention");
    let keep = Keep { incidents: 3, facts: 1000, runs: 10, job_runs: 10 };
    run(async {
        let retry = RETRY;
        let history =
            History::begin(Manner { path: dir.file(), keep, retry, prepare: Box::new(|_| Ok(())) }).unwrap();
        for id in 1..=10 {
            history.record(Record::Incident(incident(id, 0, None)));
        }
        for number in 1..=5000 {
            assert!(history.record(fact(number)));
        }
        history.close(Duration::from_secs(60)).await;
        let history = History::open(dir.file()).unwrap();
        let stored = count(&history).await.unwrap();
        assert!((1000..2000).contains(&stored), "{stored} facts stayed");
        assert_eq!(history.facts_of(7).await.unwrap().len(), 1000, "an answer is bounded");
        assert_eq!(history.incidents(0, 100).await.unwrap().len(), 3);
    });
}

/// Damages a good file of some size and opens it.
fn opens_anew(name: &str, damage: impl FnOnce(&Path)) {
    let dir = Dir::new(name);
    run(async {
        let history = History::open(dir.file()).unwrap();
        for number in 0..5000 {
            history.record(fact(number));
        }
        history.close(Duration::from_secs(60)).await;
        damage(&dir.file());
        let mut history = History::open(dir.file()).unwrap();
        history.record(fact(1));
        let News::BegunAnew { damaged, why } = news(&mut history).await else { panic!("no word of damage") };
        assert!(damaged.is_file() && !why.is_empty(), "{why}");
        comes_to(&history, 1).await;
    });
}

#[test]
fn a_file_that_is_no_database_is_put_aside() {
    opens_anew("nonsense", |path| {
        std::fs::write(path, "this was overwritten by accident, all of it").unwrap();
    });
}

#[test]
fn a_file_with_torn_pages_is_put_aside() {
    opens_anew("torn", |path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 3..bytes.len() / 3 * 2;
        bytes[middle].fill(0xA5);
        std::fs::write(path, bytes).unwrap();
    });
}

#[test]
fn a_full_disk_turns_it_off_with_one_word_and_room_turns_it_on_again() {
    let dir = Dir::new("full");
    let pages = Arc::new(AtomicU32::new(40));
    let theirs = Arc::clone(&pages);
    let prepare = Box::new(move |database: &Connection| {
        let most = theirs.load(Ordering::Relaxed);
        database.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))
    });
    run(async {
        let retry = Duration::from_millis(50);
        let manner = Manner { path: dir.file(), keep: Keep::default(), retry, prepare };
        let mut history = History::begin(manner).unwrap();
        for number in 0..5000 {
            assert!(history.record(fact(number)));
        }
        let News::Disabled { why } = news(&mut history).await else { panic!("not disabled") };
        assert!(why.contains("full"), "{why}");
        // Reopening works while writing does not: asked until it is seen to be off.
        let off = async { while count(&history).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(60), off).await.unwrap();
        pages.store(1_000_000, Ordering::Relaxed);
        comes_to(&history, 5000).await;
        let mut seen = vec![news(&mut history).await];
        while let Ok(more) = tokio::time::timeout(Duration::from_millis(10), history.next()).await {
            seen.push(more);
        }
        assert_eq!(seen, [News::Restored], "one word each way, however often it was tried");
    });
}

#[test]
fn a_directory_that_is_missing_is_an_answer() {
    let dir = Dir::new("missing");
    run(async {
        let mut history = History::open(dir.0.join("not/there/history.db")).unwrap();
        assert!(matches!(news(&mut history).await, News::Disabled { .. }));
        let unavailable = history.incidents(0, 1).await.unwrap_err();
        assert!(unavailable.to_string().starts_with("cannot read the history: "), "{unavailable}");
        assert!(history.record(fact(1)), "what comes meanwhile waits");
    });
}

#[test]
fn a_hundred_thousand_facts_on_a_slow_disk_block_nobody_and_what_is_dropped_is_counted() {
    let dir = Dir::new("slow");
    run(async {
        let history = History::open(dir.file()).unwrap();
        assert_eq!(count(&history).await, Ok(0));
        // A disk that takes nothing: somebody else holds the lock for as long as this lasts.
        let other = Connection::open(dir.file()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let taken = (0..100_000).filter(|number| history.record(fact(*number))).count() as u64;
        // All of them were handed in while not one could be written.
        assert_eq!(other.query_row("SELECT count(*) FROM facts", [], |row| row.get(0)), Ok(0));
        assert_eq!(history.dropped(), 100_000 - taken);
        assert!(history.dropped() >= 100_000 - QUEUE as u64 - worker::BATCH as u64);
        other.execute_batch("COMMIT").unwrap();
        comes_to(&history, taken).await;
    });
}

/// Plays both parts: the test, and the child that it starts and kills.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child of the test's own, to be killed in the middle of its work"
)]
fn what_was_written_survives_a_kill_in_the_middle_of_writing() {
    const CHILD: &str = "MCSUP_TEST_HISTORY";
    if let Some(path) = std::env::var_os(CHILD) {
        writes_for_ever(path.into());
    }
    let dir = Dir::new("killed");
    for round in 0..3 {
        let name = "history::tests::what_was_written_survives_a_kill_in_the_middle_of_writing";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", name])
            .env(CHILD, dir.file())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let told = lines
            .by_ref()
            .map(Result::unwrap)
            .filter_map(|line| line.strip_prefix("stored ")?.parse::<u64>().ok());
        let stored = told.take(5).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        run(async {
            let mut history = History::open(dir.file()).unwrap();
            let now = count(&history).await.unwrap();
            assert!(now >= stored, "round {round}: {now} of {stored} are left");
            assert!(history.news.try_recv().is_err(), "nothing was damaged");
            history.close(Duration::from_secs(60)).await;
        });
    }
}

fn writes_for_ever(path: PathBuf) -> ! {
    run(async {
        let history = History::open(path).unwrap();
        loop {
            for number in 0..2500 {
                history.record(fact(number));
            }
            let stored = count(&history).await.unwrap();
            let mut out = io::stdout().lock();
            writeln!(out, "\nstored {stored}").unwrap();
            out.flush().unwrap();
        }
    })
}

#[test]
fn rows_without_a_run_of_one_millisecond_are_all_there() {
    let dir = Dir::new("no-runs");
    run(async {
        let history = History::open(dir.file()).unwrap();
        let row = |serial| JobRunRow {
            unit: "trends".into(),
            serial,
            began_millis: 1000,
            ended_millis: 1000,
            verdict: "skipped".into(),
            ..JobRunRow::default()
        };
        for serial in [1, 2, 3, 3] {
            history.record(Record::JobRun(row(serial)));
        }
        history.close(Duration::from_secs(60)).await;
        let history = History::open(dir.file()).unwrap();
        let found = history.job_runs(Some("trends".into()), 10).await.unwrap();
        assert_eq!(found, [row(3), row(2), row(1)]);
    });
}

#[test]
fn tables_of_the_first_version_lose_no_run_of_a_job() {
    let dir = Dir::new("version-1");
    let old = Connection::open(dir.file()).unwrap();
    old.execute_batch(
        "CREATE TABLE job_runs (id INTEGER PRIMARY KEY AUTOINCREMENT, unit TEXT NOT NULL, ordinal INTEGER NOT NULL,
         trigger_words TEXT NOT NULL, began_millis INTEGER NOT NULL, ended_millis INTEGER NOT NULL,
         exit TEXT NOT NULL, verdict TEXT NOT NULL, why TEXT NOT NULL, kept INTEGER,
         UNIQUE (unit, ordinal, began_millis, verdict));
         INSERT INTO job_runs VALUES (5, 'trends', 4, 'a person', 1, 2, '', 'passed', '', 9);
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    run(async {
        let history = History::open(dir.file()).unwrap();
        let next = JobRunRow { unit: "trends".into(), ordinal: 5, ..JobRunRow::default() };
        history.record(Record::JobRun(next.clone()));
        history.close(Duration::from_secs(60)).await;
        let history = History::open(dir.file()).unwrap();
        let found = history.job_runs(None, 10).await.unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], next);
        assert_eq!((found[1].ordinal, found[1].kept, &*found[1].verdict), (4, Some(9), "passed"));
    });
}
