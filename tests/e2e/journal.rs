//! Both rings die at once; all that is left is what lies on disk, and the processes.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use crate::instance::{Instance, Stranger, eventually, is_alive, kill, signal, start_time};

const SLEEP: &str = "command: [sleep, '1000']\n";

/// The supervisor is stopped first, or it would replace the keeper.
fn kill_both(instance: &mut Instance) {
    let supervisor = instance.supervisor();
    signal(supervisor, rustix::process::Signal::STOP);
    kill(instance.keeper());
    instance.ended();
    kill(supervisor);
    // A process is dead a moment before the last of its threads has let go of its files.
    let lock = OpenOptions::new().read(true).open(instance.path("state/lock")).expect("a lock file");
    let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let gone = eventually(|| rustix::fs::flock(&lock, exclusive).ok());
    assert!(gone.is_some(), "nobody holds the state directory any more");
}

/// Written off the loop: a moment after the fact.
fn wait_for_journal(instance: &Instance, words: &str) {
    let found = eventually(|| journal(instance).contains(words).then_some(()));
    assert!(found.is_some(), "no `{words}` in:\n{}", journal(instance));
}

fn journal(instance: &Instance) -> String {
    fs::read_to_string(instance.path("state/journal")).unwrap_or_default()
}

/// The line that the journal would have for `payload`.
fn checked(payload: &str) -> String {
    let hash = payload.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let folded = (hash ^ (hash >> 32)) & 0xffff_ffff;
    format!("{folded:08x} {payload}\n")
}

fn append(instance: &Instance, text: &str) {
    let mut file = OpenOptions::new().append(true).open(instance.path("state/journal")).expect("a journal");
    file.write_all(text.as_bytes()).expect("appended");
}

#[test]
fn what_outlived_both_rings_is_adopted_and_a_stop_by_a_person_still_holds() {
    let mut instance = Instance::booted("both", &[("a", SLEEP), ("down", SLEEP)]);
    instance.done(&["stop", "down"]);
    let before = instance.look().expect("a status").pid("a");
    wait_for_journal(&instance, "over ");
    kill_both(&mut instance);
    assert!(is_alive(before));
    instance.up();
    let after = instance.wait("booted again", |look| look.0["booted"] == true);
    assert_eq!(after.pid("a"), before, "adopted");
    assert!(after.is("down", "inactive"), "{after:?}");
    instance.wait_for_line("outlived both rings");
    instance.done(&["stop", "a"]);
    assert!(!is_alive(before), "and it can be stopped");
}

#[test]
fn what_outlived_both_rings_and_its_own_unit_file_is_told_and_left_alone() {
    let mut instance = Instance::booted("unclaimed", &[("a", SLEEP), ("b", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    wait_for_journal(&instance, "live ");
    kill_both(&mut instance);
    fs::remove_file(instance.path("units/a.yaml")).expect("one unit less");
    instance.up();
    instance.wait("booted again", |look| look.0["booted"] == true);
    instance.wait_for_line(&format!("a#1 (pid {before}) still runs and belongs to no unit any more"));
    assert!(is_alive(before));
    // Nor does the next supervisor forget it.
    kill(instance.supervisor());
    instance.wait_for_line(&format!("a#1 (pid {before}) belongs to no unit any more"));
    assert!(is_alive(before));
}

#[test]
fn case_8_a_torn_last_line_is_no_empty_list() {
    let mut instance = Instance::booted("torn", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    wait_for_journal(&instance, "live ");
    kill_both(&mut instance);
    append(&instance, "0badc0de over 1\n5f0c run 2 b");
    instance.up();
    let after = instance.wait("booted again", |look| look.0["booted"] == true);
    assert_eq!(after.pid("a"), before);
    instance.wait_for_line("the journal has 2 lines that make no sense");
}

#[test]
fn a_journal_that_cannot_be_read_starts_no_twins() {
    let mut instance = Instance::booted("unreadable", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    wait_for_journal(&instance, "live ");
    kill_both(&mut instance);
    fs::rename(instance.path("state/journal"), instance.path("state/kept")).expect("no journal");
    fs::create_dir(instance.path("state/journal")).expect("what cannot be read");
    instance.up();
    assert_eq!(instance.ended().code(), Some(1));
    let printed = instance.printed();
    assert!(printed.contains("help: mend the disk"), "{printed}");
    assert_eq!(instance.processes(), [before], "no twin");
    fs::remove_dir(instance.path("state/journal")).expect("mended");
    fs::rename(instance.path("state/kept"), instance.path("state/journal")).expect("a journal");
    instance.up();
    let after = instance.wait("booted again", |look| look.0["booted"] == true);
    assert_eq!(after.pid("a"), before);
}

#[test]
fn case_9_a_recorded_number_that_belongs_to_a_stranger_now_is_left_alone() {
    let stranger = Stranger::new();
    let mut instance = Instance::booted("stranger", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    wait_for_journal(&instance, "live ");
    kill_both(&mut instance);
    kill(before);
    let wrong = start_time(stranger.0.id()) + 1;
    append(&instance, &checked(&format!("live {} {} {wrong}", run_of(&instance), stranger.0.id())));
    instance.up();
    let after = instance.wait("started anew", |look| look.is("a", "ready"));
    assert_ne!(after.pid("a"), stranger.0.id());
    instance.done(&["stop", "a"]);
    assert!(is_alive(stranger.0.id()), "never signalled");
}

#[test]
fn case_10_what_cannot_be_verified_is_neither_adopted_nor_signalled_nor_doubled() {
    let mut stranger = Stranger::new();
    let mut instance = Instance::booted("unverifiable", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    wait_for_journal(&instance, "live ");
    kill_both(&mut instance);
    kill(before);
    append(&instance, &checked(&format!("live {} {} 0", run_of(&instance), stranger.0.id())));
    instance.up();
    instance.wait_for_line("neither adopted, signalled nor doubled");
    let look = instance.wait("held", |look| !look.unit("a").is_null());
    assert_eq!(look.pid("a"), stranger.0.id(), "shown with the process that may be its own");
    assert!(instance.processes().is_empty(), "no twin");
    assert!(is_alive(stranger.0.id()));
    // Resolved by hand, as the message says.
    drop(stranger.0.kill());
    drop(stranger.0.wait());
    instance.done(&["restart", "a"]);
    assert!(instance.look().expect("a status").is("a", "ready"));
}

#[test]
fn case_9_whoever_carries_the_tag_of_a_run_that_was_ordered_later_is_a_stranger() {
    let stranger = Stranger::with_environment("MCSUP_RUN", "a#1:777");
    let mut instance = Instance::booted("same-tag", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    wait_for_journal(&instance, "live ");
    kill_both(&mut instance);
    kill(before);
    let uptime = fs::read_to_string("/proc/uptime").expect("an uptime");
    let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("a number");
    // Ordered a moment ago, and the keeper died before it could say which process it became.
    append(&instance, &checked(&format!("over {}", run_of(&instance))));
    append(&instance, &checked(&format!("run 777 a 1 {}0000000", (seconds * 100.0).round())));
    instance.up();
    let after = instance.wait("started anew", |look| look.is("a", "ready"));
    assert_ne!(after.pid("a"), stranger.0.id());
    instance.done(&["stop", "a"]);
    assert!(is_alive(stranger.0.id()), "never signalled");
}

#[test]
fn case_11_a_service_that_died_meanwhile_has_an_unknown_exit_and_its_policy_holds() {
    let mut instance = Instance::booted("meanwhile", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    wait_for_journal(&instance, "live ");
    kill_both(&mut instance);
    kill(before);
    assert!(eventually(|| (!is_alive(before)).then_some(())).is_some());
    instance.up();
    let after = instance.wait("started again", |look| look.is("a", "ready"));
    assert_ne!(after.pid("a"), before);
    assert!(
        after.unit("a")["last_exit"]["text"].as_str().is_some_and(|text| text.contains("unknown")),
        "{after:?}"
    );
}

/// The only run in the journal.
fn run_of(instance: &Instance) -> u64 {
    let text = journal(instance);
    let line = text.lines().rfind(|line| line.contains(" run ")).expect("a run");
    line.split(' ').nth(2).and_then(|run| run.parse().ok()).expect("its number")
}
