//! Runs whose unit is called otherwise, or logged otherwise, while they live.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what fails or is unexpected here fails the test"
)]

mod keeper_host;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use keeper_host::{AdoptedLink, TestKeeper, bytes, eventually, is_alive, now, shell};
use mcsup::keeper::wire::{
    AdoptOrder, Exit, KeptOrder, LogOrder, Order, Report, Row, Scope, SpawnOrder, Stage,
};

/// A keeper with a gate, at which scripts wait until it is opened.
struct Scene {
    keeper: TestKeeper,
    gate: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let keeper = TestKeeper::start();
        let gate = keeper.scratch.path("gate");
        rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
        Self { keeper, gate }
    }

    /// As run 1 of unit `test`, which says `before` and lives until the gate is opened.
    fn spawn(&mut self, rest: &str) -> i32 {
        let script = format!("echo before; read x < {}; {rest}", self.gate.display());
        let log = Some(self.keeper.log("test"));
        let pid = self.keeper.spawn(SpawnOrder { log, ..shell(1, &script) });
        self.has_logged("test", "before\n");
        pid
    }

    /// The keeper has heard it. What comes of the run from then on goes by it.
    #[track_caller]
    fn relog(&mut self, unit: &str, log: LogOrder) {
        self.order_relog(unit, log);
        assert_eq!(self.keeper.next_before_pong(), None);
    }

    fn order_relog(&mut self, unit: &str, log: LogOrder) {
        self.keeper.send(&Order::Relog { run: 1, unit: unit.into(), log: Some(log) });
    }

    #[track_caller]
    fn has_logged(&self, unit: &str, text: &str) {
        eventually("it is logged", || (self.keeper.current_log(unit) == text.as_bytes()).then_some(()));
    }

    fn open(&self) {
        drop(fs::OpenOptions::new().write(true).open(&self.gate).unwrap());
    }

    fn dir(&self, unit: &str) -> PathBuf {
        self.keeper.scratch.path("log").join(unit)
    }

    /// As a new supervisor finds it.
    fn row(&mut self) -> Row {
        self.keeper.connect();
        match &self.keeper.handover()[..] {
            [Report::Row(row)] => (**row).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn numbered(&self, unit: &str) -> Vec<String> {
        let entries = fs::read_dir(self.dir(unit)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).collect()
    }
}

#[test]
fn a_log_goes_on_under_the_new_name_with_all_that_was_in_it() {
    let mut scene = Scene::new();
    scene.spawn("echo after");
    let log = scene.keeper.log("new");
    scene.relog("new", log);
    scene.has_logged("new", "before\n");
    assert!(!scene.dir("test").exists());
    scene.open();
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(scene.keeper.current_log("new"), b"before\nafter\n");
    assert!(!scene.dir("test").exists());
}

#[test]
fn where_the_new_name_has_a_log_already_that_one_goes_on_and_the_old_one_stays() {
    let mut scene = Scene::new();
    scene.spawn("echo after");
    fs::create_dir_all(scene.dir("new")).unwrap();
    fs::write(scene.dir("new").join("current"), "of somebody else\n").unwrap();
    let log = scene.keeper.log("new");
    scene.relog("new", log);
    scene.open();
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(scene.keeper.current_log("new"), b"of somebody else\nafter\n");
    assert_eq!(scene.keeper.current_log("test"), b"before\n");
}

#[test]
fn the_end_of_a_moved_log_is_told_with_the_exit_even_if_nothing_more_was_said() {
    let mut scene = Scene::new();
    scene.spawn("exit 0");
    let log = scene.keeper.log("new");
    scene.relog("new", log);
    scene.has_logged("new", "before\n");
    scene.open();
    match scene.keeper.next() {
        Report::Exited { run: 1, log_end: Some(end), .. } => assert_eq!(end.offset, 7),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_that_has_said_nothing_yet_begins_under_its_new_name() {
    let mut scene = Scene::new();
    let script = format!("read x < {}; echo first", scene.gate.display());
    let log = Some(scene.keeper.log("test"));
    scene.keeper.spawn(SpawnOrder { log, ..shell(1, &script) });
    let log = scene.keeper.log("new");
    scene.relog("new", log);
    scene.open();
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(scene.keeper.current_log("new"), b"first\n");
    assert!(!scene.dir("test").exists());
}

#[test]
fn a_run_that_is_being_started_begins_under_its_new_name() {
    let mut scene = Scene::new();
    let log = Some(scene.keeper.log("test"));
    scene.keeper.queue(&Order::Spawn(Box::new(SpawnOrder { log, ..shell(1, "echo first") })), Vec::new());
    let log = scene.keeper.log("new");
    scene.order_relog("new", log);
    assert!(matches!(scene.keeper.next(), Report::Spawned { run: 1, .. }));
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(scene.keeper.current_log("new"), b"first\n");
    let row = scene.row();
    assert_eq!((row.unit.as_str(), row.spawned_as.as_deref()), ("new", Some("test")));
}

#[test]
fn a_new_unit_of_the_old_name_has_a_log_of_its_own() {
    let mut scene = Scene::new();
    scene.spawn("echo after");
    let log = scene.keeper.log("new");
    let order = Order::Relog { run: 1, unit: "new".into(), log: Some(log) };
    scene.keeper.queue(&order, Vec::new());
    let log = Some(scene.keeper.log("test"));
    let next = SpawnOrder { log, ordinal: 2, ..shell(2, "echo another") };
    scene.keeper.queue(&Order::Spawn(Box::new(next)), Vec::new());
    scene.keeper.flush();
    assert!(matches!(scene.keeper.next(), Report::Spawned { run: 2, .. }));
    assert_eq!(scene.keeper.exit_of(2), (Exit::Code(0), true));
    scene.open();
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(scene.keeper.current_log("new"), b"before\nafter\n");
    assert_eq!(scene.keeper.current_log("test"), b"another\n");
}

#[test]
fn new_limits_hold_at_once() {
    let mut scene = Scene::new();
    scene.spawn("seq 1 20000");
    let log = LogOrder { max_size_bytes: 10_000, keep: 3, ..scene.keeper.log("test") };
    scene.relog("test", log);
    scene.open();
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(scene.numbered("test").len(), 3);
    let current = scene.keeper.current_log("test");
    assert!(current.len() <= 20_000, "{} bytes", current.len());
    let row = scene.row();
    assert_eq!((row.unit.as_str(), row.spawned_as), ("test", None));
    assert_eq!(row.log.map(|log| (log.max_size_bytes, log.keep)), Some((10_000, 3)));
}

#[test]
fn files_that_are_too_many_now_are_deleted_now() {
    let mut scene = Scene::new();
    scene.spawn("exit 0");
    for number in 1..=9 {
        fs::write(scene.dir("test").join(format!("{number:08}")), "old\n").unwrap();
    }
    let log = LogOrder { keep: 2, ..scene.keeper.log("test") };
    scene.relog("test", log);
    let scene = &scene;
    eventually("they are deleted", || (scene.numbered("test").len() == 2).then_some(()));
    assert!(scene.dir("test").join("00000009").exists(), "the newest ones stay");
}

#[test]
fn a_writer_that_waits_for_the_disk_goes_on_at_once_when_it_need_not_wait_any_more() {
    // The disk is looked at every two seconds anyway. A busy machine may take as long, but not each time.
    let least = (0..4).map(|_round| waits_after_relog()).min().unwrap();
    assert!(least < Duration::from_secs(1), "{least:?}");
}

/// A directory in the place of the log's file stands for a disk that cannot be written.
fn waits_after_relog() -> Duration {
    let mut scene = Scene::new();
    fs::create_dir_all(scene.dir("test").join("current")).unwrap();
    let log = Some(LogOrder { block_when_full: true, ..scene.keeper.log("test") });
    // More than a pipe holds.
    scene.keeper.spawn(SpawnOrder { log, ..shell(1, "seq 1 400000") });
    assert!(matches!(scene.keeper.next(), Report::LogTrouble { errno: 21, .. }));
    assert_eq!(scene.keeper.next_before_pong(), None, "it waits");
    let log = scene.keeper.log("test");
    let ordered = now();
    scene.order_relog("test", log);
    let reports = scene.keeper.until(|report| matches!(report, Report::Exited { run: 1, .. }));
    assert!(matches!(reports.last(), Some(Report::Exited { exit: Exit::Code(0), .. })), "{reports:?}");
    now() - ordered
}

#[test]
fn a_kept_stream_is_where_it_is_looked_for_under_the_new_name() {
    let mut scene = Scene::new();
    let path = |scene: &Scene, job: &str| scene.keeper.scratch.path("output").join(job).join("1");
    let log = |scene: &Scene, job: &str| {
        let kept = KeptOrder { path: bytes(&path(scene, job)).into(), most_bytes: 1 << 20, is_stderr: false };
        LogOrder { kept: Some(kept), ..scene.keeper.log(job) }
    };
    let script = format!("echo before; read x < {}; echo after", scene.gate.display());
    let order = SpawnOrder { log: Some(log(&scene, "test")), ..shell(1, &script) };
    scene.keeper.spawn(order);
    scene.has_logged("test", "before\n");
    let order = log(&scene, "new");
    scene.relog("new", order);
    scene.open();
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(fs::read(path(&scene, "new")).unwrap(), b"before\nafter\n");
    assert!(!path(&scene, "test").exists());
    assert_eq!(scene.keeper.current_log("new"), b"before\nafter\n");
}

#[test]
fn the_row_has_the_new_name_and_the_processes_are_known_by_the_old_one() {
    let mut scene = Scene::new();
    let file = scene.keeper.scratch.path("pid");
    // Found by nothing but its environment once its parent is gone.
    let script = format!("setsid sleep 1000 & echo $! > {0}.new; mv {0}.new {0}", file.display());
    scene.spawn(&script);
    let log = scene.keeper.log("new");
    scene.relog("new", log.clone());
    scene.has_logged("new", "before\n");
    let row = scene.row();
    assert_eq!((row.unit.as_str(), row.spawned_as.as_deref()), ("new", Some("test")));
    assert_eq!((row.stage, row.log), (Stage::Live, Some(log)));
    scene.open();
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), false));
    let left: i32 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert!(is_alive(left));
    scene.keeper.kill(1);
    assert_eq!(scene.keeper.next(), Report::Emptied { run: 1 });
    assert!(!is_alive(left));
    // And back again.
    let mut scene = Scene::new();
    scene.spawn("exit 0");
    for name in ["new", "test"] {
        let log = scene.keeper.log(name);
        scene.relog(name, log);
    }
    scene.has_logged("test", "before\n");
    let row = scene.row();
    assert_eq!((row.unit.as_str(), row.spawned_as), ("test", None));
}

#[test]
fn a_new_keeper_knows_the_processes_of_a_renamed_run() {
    let mut scene = Scene::new();
    let file = scene.keeper.scratch.path("pid");
    let script = format!(
        "setsid sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; read x < {1}",
        file.display(),
        scene.gate.display()
    );
    let log = Some(scene.keeper.log("test"));
    scene.keeper.send(&Order::Spawn(Box::new(SpawnOrder { log, ..shell(1, &script) })));
    let (report, descriptors) = scene.keeper.next_with_descriptors();
    let Report::Spawned { pid, start_time, carries, .. } = report else { panic!("{report:?}") };
    let left: i32 = eventually("it has a child", || fs::read_to_string(&file).ok()?.trim().parse().ok());
    let log = scene.keeper.log("new");
    scene.relog("new", log.clone());
    assert_eq!(scene.row().spawned_as.as_deref(), Some("test"));
    scene.keeper.kill_keeper();
    let mut adopter = AdoptedLink::start();
    let adopt = AdoptOrder {
        run: 1,
        unit: "new".into(),
        spawned_as: Some("test".into()),
        ordinal: 1,
        pid,
        start_time,
        log: Some(log),
        carries,
        ..AdoptOrder::default()
    };
    adopter.send_with(&Order::Adopt(Box::new(adopt)), descriptors);
    scene.open();
    let ended = adopter.next();
    assert!(matches!(ended, Report::Exited { run: 1, is_empty: false, .. }), "{ended:?}");
    adopter.send_with(&Order::Signal { run: 1, signal: 9, scope: Scope::All }, Vec::new());
    assert_eq!(adopter.next(), Report::Emptied { run: 1 });
    eventually("what it left is gone", || (!is_alive(left)).then_some(()));
}

#[test]
fn an_order_for_a_run_that_is_over_changes_nothing() {
    let mut scene = Scene::new();
    scene.spawn("exit 0");
    scene.open();
    assert_eq!(scene.keeper.exit_of(1), (Exit::Code(0), true));
    scene.keeper.send(&Order::Release { run: 1 });
    let log = scene.keeper.log("new");
    scene.relog("new", log);
    assert_eq!(scene.keeper.current_log("test"), b"before\n");
    assert!(!scene.dir("new").exists());
}
