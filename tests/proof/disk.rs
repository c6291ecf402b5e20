//! Disks that are full.

use std::fs;

use crate::instance::{Instance, eventually, kill, signal};
use crate::load::{
    LINE_BYTES, WRITE_AT_MOST, install_writer, measuring, stored_bytes, touch, wait_for_progress, writer,
    written,
};
use crate::namespace::{inside, up_with_mounts};

const MEGA: usize = 1_000_000;
const SLEEP: &str = "command: [sleep, '1000']\n";

/// How often this was printed.
fn times(instance: &Instance, text: &str) -> usize {
    instance.printed().matches(text).count()
}

#[test]
fn case_7_a_full_log_disk_blocks_no_writer_and_the_loss_is_counted_and_told_once() {
    let _alone = measuring();
    // Six seconds' worth; less than one of them fits at first.
    let mut instance =
        Instance::new("full-log", &[("a", SLEEP), ("writer", &writer(240, 40, "max_size: 1G"))]);
    install_writer(&instance);
    fs::create_dir_all(instance.path("log")).expect("a directory");
    let log = instance.path("log");
    up_with_mounts(&mut instance, &format!("mount -t tmpfs -o size=130m tmpfs '{}'", log.display()));
    let before = instance.wait("booted", |look| look.0["booted"] == true);
    let ballast = inside(&instance, "log/ballast");
    fs::write(&ballast, vec![0; 100 * MEGA]).expect("ballast");
    touch(&instance, "write");
    instance.wait_for_line("writer: its log cannot be written");
    // For longer than the two seconds between two attempts.
    wait_for_progress(&instance, 140);
    let full = stored_bytes(&inside(&instance, "log/writer"));
    instance.wait("a status on a full disk", |look| look.is("a", "ready") && look.is("writer", "ready"));
    fs::remove_file(&ballast).expect("no ballast");
    instance.wait_for_line("writer: its log can be written again");
    let written = written(&instance);
    assert!(written.longest < WRITE_AT_MOST, "a write took {:?}", written.longest);
    let sent = written.lines * LINE_BYTES;
    let printed = instance.printed();
    let told = printed.lines().find(|line| line.contains("can be written again")).expect("a line");
    let words: Vec<&str> = told.split_whitespace().collect();
    let lost = words.windows(2).find(|pair| pair[1] == "bytes").and_then(|pair| pair[0].parse::<u64>().ok());
    let lost = lost.unwrap_or_else(|| panic!("no number in {told}"));
    let stored = || stored_bytes(&inside(&instance, "log/writer"));
    let all = eventually(|| (stored() + lost >= sent).then_some(()));
    assert!(all.is_some() && stored() + lost == sent, "{sent} sent, {} stored, {lost} lost", stored());
    assert!(full > 0 && lost > 0 && stored() > full, "{full} while it was full");
    assert_eq!(times(&instance, "log cannot be written"), 1, "told once:\n{printed}");
    let after = instance.look().expect("a status");
    assert_eq!((after.pid("a"), after.pid("writer")), (before.pid("a"), before.pid("writer")));
}

#[test]
fn case_7_evidence_that_finds_no_room_is_said_to_be_missing_and_the_unit_heals() {
    let quick = "command: [sleep, '1000']\nrestart: {backoff: {initial: 0s}}\n";
    let mut instance = Instance::new("full-evidence", &[("a", quick)]);
    fs::create_dir_all(instance.path("state")).expect("a directory");
    let state = instance.path("state");
    up_with_mounts(&mut instance, &format!("mount -t tmpfs -o size=4m tmpfs '{}'", state.display()));
    let first = instance.wait("booted", |look| look.0["booted"] == true).pid("a");
    // As much as there is room for.
    let ballast = inside(&instance, "state/ballast");
    drop(fs::write(&ballast, vec![0; 8 * MEGA]));
    kill(first);
    let healed = instance.wait("healed", |look| look.is("a", "ready") && look.pid("a") != first);
    instance.wait_for_line("not all evidence for incident 1 could be kept");
    assert!(!inside(&instance, "state/incidents/000001/evidence.json").exists(), "there was no room");
    fs::remove_file(&ballast).expect("no ballast");
    kill(healed.pid("a"));
    instance.wait_for_line("the files of incidents can be written again");
    assert_eq!(times(&instance, "cannot write the files of an incident"), 1, "{}", instance.printed());
}

#[test]
fn an_incident_without_proc_is_kept_and_says_what_is_missing() {
    let quick = "command: [sh, -c, 'echo out of luck; exec sleep 1000']\nrestart: {backoff: {initial: 0s}}\n";
    let mut instance = Instance::new("evidence-without-proc", &[("a", quick)]);
    up_with_mounts(&mut instance, "mount -t tmpfs tmpfs /proc");
    let first = instance.wait("booted", |look| look.0["booted"] == true).pid("a");
    kill(first);
    instance.wait("healed", |look| look.is("a", "ready") && look.pid("a") != first);
    let path = instance.path("state/incidents/000001/evidence.json");
    let evidence: Option<serde_json::Value> =
        eventually(|| serde_json::from_slice(&fs::read(&path).ok()?).ok());
    let evidence = evidence.unwrap_or_else(|| panic!("no evidence:\n{}", instance.printed()));
    assert_eq!(evidence["incomplete"][0]["what"], "processes", "{evidence:#}");
    assert_eq!(evidence["log"]["lines"][0], "out of luck", "{evidence:#}");
}

#[test]
fn case_7_a_full_state_disk_stops_nobody_and_is_told_once() {
    let busy = "command: [sh, -c, 'sleep 0.02; exit 1']\nrestart: {backoff: {initial: 1ms, max: 1ms}}\n";
    let mut instance = Instance::new("full-state", &[("a", SLEEP), ("busy", busy), ("b", SLEEP)]);
    let state = instance.path("state");
    fs::create_dir_all(&state).expect("a directory");
    up_with_mounts(&mut instance, &format!("mount -t tmpfs -o size=1m tmpfs '{}'", state.display()));
    let before = instance.wait("ready", |look| look.is("a", "ready") && look.is("b", "ready"));
    // As much as there is room for.
    let ballast = inside(&instance, "state/ballast");
    assert!(fs::write(&ballast, vec![0; 2 * MEGA]).is_err(), "the disk is full");
    instance.wait_for_line("cannot write the journal");
    let restarts = |look: &crate::instance::Look| look.unit("busy")["restarts"].as_u64().unwrap_or(0);
    let now = restarts(&instance.look().expect("a status"));
    instance.wait("goes on", |look| restarts(look) > now + 20);
    instance.done(&["stop", "b"]);
    let supervisor = instance.supervisor();
    kill(supervisor);
    let after = instance.wait("back", |look| look.is("a", "ready") && restarts(look) > now + 20);
    assert_eq!(after.pid("a"), before.pid("a"));
    assert!(after.is("b", "inactive"), "the keeper remembers: {after:?}");
    assert!(times(&instance, "cannot write the journal") <= 2, "once a supervisor:\n{}", instance.printed());
    fs::remove_file(&ballast).expect("no ballast");
    signal(instance.keeper(), rustix::process::Signal::TERM);
    assert_eq!(instance.ended().code(), Some(0));
}

#[test]
fn case_7_what_happened_while_the_state_disk_was_full_is_on_it_when_there_is_room_again() {
    let mut instance =
        Instance::new("room-again", &[("a", SLEEP), ("b", "command: [sleep, '1000']\nenabled: false\n")]);
    let state = instance.path("state");
    fs::create_dir_all(&state).expect("a directory");
    up_with_mounts(&mut instance, &format!("mount -t tmpfs -o size=1m tmpfs '{}'", state.display()));
    instance.wait("booted", |look| look.0["booted"] == true);
    let ballast = inside(&instance, "state/ballast");
    assert!(fs::write(&ballast, vec![0; 2 * MEGA]).is_err(), "the disk is full");
    // The file may have room in its last page for some of these.
    for _ in 0..40 {
        instance.done(&["start", "b"]);
        instance.done(&["stop", "b"]);
    }
    instance.done(&["start", "b"]);
    instance.wait_for_line("cannot write the journal");
    let pid = instance.look().expect("a status").pid("b");
    fs::remove_file(&ballast).expect("no ballast");
    // Nothing else happens, and still nobody may start a second one if both rings died now.
    let journal = || fs::read_to_string(inside(&instance, "state/journal")).unwrap_or_default();
    let is_known =
        || journal().lines().any(|line| line.contains(" live ") && line.contains(&format!(" {pid} ")));
    assert!(eventually(|| is_known().then_some(())).is_some(), "no {pid} in:\n{}", journal());
    assert_eq!(times(&instance, "cannot write the journal"), 1, "{}", instance.printed());
}

#[test]
fn case_7_a_state_disk_that_is_full_from_the_beginning_still_boots() {
    let mut instance = Instance::new("full-at-boot", &[("a", SLEEP)]);
    let state = instance.path("state");
    fs::create_dir_all(&state).expect("a directory");
    let mounts = format!(
        "mount -t tmpfs -o size=64k tmpfs '{0}'; mkdir '{0}/x'; : > '{0}/lock'; cat /dev/zero > '{0}/ballast' 2> '{0}/x/y' || :",
        state.display()
    );
    up_with_mounts(&mut instance, &mounts);
    instance.wait("ready", |look| look.is("a", "ready"));
    instance.wait_for_line("services are not affected");
    assert_eq!(times(&instance, "cannot write the journal"), 1, "{}", instance.printed());
}
