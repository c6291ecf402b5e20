//! One stream of a run, kept apart in a file of its own by the real keeper, and in the log as well.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what fails or is unexpected here fails the test"
)]

mod keeper_host;

use std::fs;
use std::path::PathBuf;

use keeper_host::{AdoptedLink, TestKeeper, bytes, eventually, is_root, shell};
use mcsup::keeper::wire::{
    AdoptOrder, Carried, Credentials, Exit, KeptOrder, LogOrder, Order, Report, SpawnOrder,
};

fn path(keeper: &TestKeeper, run: u64) -> PathBuf {
    keeper.scratch.path("output").join("job").join(run.to_string())
}

fn log(keeper: &TestKeeper, run: u64, most_bytes: u64, is_stderr: bool) -> LogOrder {
    let kept = KeptOrder { path: bytes(&path(keeper, run)).into(), most_bytes, is_stderr };
    LogOrder { kept: Some(kept), ..keeper.log("test") }
}

fn kept(keeper: &TestKeeper, run: u64, script: &str) -> SpawnOrder {
    SpawnOrder { log: Some(log(keeper, run, 64 << 20, false)), ..shell(run, script) }
}

#[test]
fn one_stream_is_kept_apart_and_both_are_logged() {
    let mut keeper = TestKeeper::start();
    keeper.spawn(kept(&keeper, 1, "echo result; echo noise >&2; echo more"));
    assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(fs::read(path(&keeper, 1)).unwrap(), b"result\nmore\n");
    let mut logged: Vec<String> =
        String::from_utf8(keeper.current_log("test")).unwrap().lines().map(str::to_owned).collect();
    logged.sort();
    assert_eq!(logged, ["more", "noise", "result"]);

    let order =
        SpawnOrder { log: Some(log(&keeper, 2, 64 << 20, true)), ..shell(2, "echo result; echo noise >&2") };
    keeper.spawn(order);
    assert_eq!(keeper.exit_of(2), (Exit::Code(0), true));
    assert_eq!(fs::read(path(&keeper, 2)).unwrap(), b"noise\n", "the other way round");
}

#[test]
fn every_byte_is_there_when_the_end_is_told() {
    let mut keeper = TestKeeper::start();
    let input = keeper.scratch.path("input");
    let rubbish: Vec<u8> =
        (0..5_000_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    fs::write(&input, &rubbish).unwrap();
    keeper.spawn(kept(&keeper, 1, &format!("cat {}", input.display())));
    assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    assert!(fs::read(path(&keeper, 1)).unwrap() == rubbish);
    assert!(keeper.current_log("test") == rubbish);
}

#[test]
fn a_run_that_says_nothing_leaves_an_empty_file_and_no_log() {
    let mut keeper = TestKeeper::start();
    keeper.spawn(kept(&keeper, 1, "exit 3"));
    assert_eq!(keeper.exit_of(1), (Exit::Code(3), true));
    assert_eq!(fs::read(path(&keeper, 1)).unwrap(), b"");
    assert!(!keeper.scratch.path("log").join("test").join("current").exists());
}

#[test]
fn what_does_not_fit_goes_to_the_log_alone() {
    let mut keeper = TestKeeper::start();
    let order = SpawnOrder { log: Some(log(&keeper, 1, 1000, false)), ..shell(1, "seq 1 20000") };
    keeper.spawn(order);
    assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    let all: Vec<u8> = (1..=20_000).flat_map(|i| format!("{i}\n").into_bytes()).collect();
    assert_eq!(fs::read(path(&keeper, 1)).unwrap(), &all[..1000]);
    assert!(keeper.current_log("test") == all);
}

#[test]
fn the_log_of_a_kept_stream_is_cut_at_line_ends_too() {
    let mut keeper = TestKeeper::start();
    let log = LogOrder { max_size_bytes: 10_000, keep: 1000, ..log(&keeper, 1, 64 << 20, false) };
    keeper.spawn(SpawnOrder { log: Some(log), ..shell(1, "seq 1 100000") });
    assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    let dir = keeper.scratch.path("log").join("test");
    let mut parts: Vec<PathBuf> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none() && path.file_name().unwrap() != "current")
        .collect();
    parts.sort();
    assert!(parts.len() > 2, "{parts:?}");
    let mut all = Vec::new();
    for part in &parts {
        let part = fs::read(part).unwrap();
        assert_eq!(part.last(), Some(&b'\n'), "cut within a line");
        all.extend(part);
    }
    all.extend(keeper.current_log("test"));
    let expected: Vec<u8> = (1..=100_000).flat_map(|i| format!("{i}\n").into_bytes()).collect();
    assert!(all == expected, "a line is lost or doubled");
}

/// A directory in the place of the log's file stands for a disk that cannot be written.
#[test]
fn a_log_that_cannot_be_written_takes_nothing_from_the_kept_stream() {
    let mut keeper = TestKeeper::start();
    fs::create_dir_all(keeper.scratch.path("log").join("test").join("current")).unwrap();
    keeper.spawn(kept(&keeper, 1, "echo result"));
    assert!(matches!(keeper.next(), Report::LogTrouble { errno: 21, .. }));
    assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(fs::read(path(&keeper, 1)).unwrap(), b"result\n");
}

/// A part would be taken for the whole.
#[test]
fn a_stream_that_cannot_be_kept_leaves_no_file_and_is_logged_all_the_same() {
    let mut keeper = TestKeeper::start();
    let dir = keeper.scratch.path("output");
    fs::write(&dir, "a file where a directory belongs").unwrap();
    keeper.spawn(kept(&keeper, 1, "echo result"));
    assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    assert!(!path(&keeper, 1).exists());
    assert_eq!(keeper.current_log("test"), b"result\n");
}

#[test]
fn a_run_of_another_user_may_open_its_kept_stream_by_name() {
    if !is_root() {
        return;
    }
    let mut keeper = TestKeeper::start();
    let credentials = Some(Credentials { uid: 65534, gid: 65534, groups: Vec::new() });
    let order = SpawnOrder { credentials, ..kept(&keeper, 1, "echo result > /dev/stdout") };
    keeper.spawn(order);
    assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    assert_eq!(fs::read(path(&keeper, 1)).unwrap(), b"result\n");
}

#[test]
fn a_new_keeper_goes_on_keeping_what_the_dead_one_kept() {
    let mut keeper = TestKeeper::start();
    let gate = keeper.scratch.path("gate");
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, 0o600.into()).unwrap();
    let script = format!("echo before; read x < {}; echo after; echo noise >&2", gate.display());
    let order = kept(&keeper, 1, &script);
    let log = order.log.clone();
    keeper.send(&Order::Spawn(Box::new(order)));
    let (report, descriptors) = keeper.next_with_descriptors();
    let Report::Spawned { pid, start_time, carries, .. } = report else { panic!("{report:?}") };
    assert_eq!(carries, [Carried::Pidfd, Carried::Output, Carried::Kept]);
    eventually("it speaks", || (fs::read(path(&keeper, 1)).ok()? == b"before\n").then_some(()));
    keeper.kill_keeper();
    let mut adopter = AdoptedLink::start();
    let (unit, ordinal) = ("test".into(), 1);
    let adopt = AdoptOrder { run: 1, unit, ordinal, pid, start_time, log, carries, ..AdoptOrder::default() };
    adopter.send_with(&Order::Adopt(Box::new(adopt)), descriptors);
    drop(fs::OpenOptions::new().write(true).open(&gate).unwrap());
    assert!(matches!(adopter.next(), Report::Exited { run: 1, is_empty: true, .. }));
    assert_eq!(fs::read(path(&keeper, 1)).unwrap(), b"before\nafter\n");
    assert!(keeper.current_log("test").ends_with(b"noise\n"));
}
