use std::time::Duration;

use rustix::process::Signal;

use crate::instance::{Instance, eventually, signal, timed};

const SLEEP: &str = "command: [sleep, '1000']\nstop: {grace: 60s}\n";

#[test]
fn case_18_a_shutdown_takes_as_long_as_the_units_need_and_not_as_long_as_their_grace() {
    let mut instance = Instance::booted(
        "shutdown",
        &[("a", SLEEP), ("b", "command: [sleep, '1000']\nstop: {grace: 60s}\ndepends_on: [a]\n")],
    );
    let (status, took) = timed(|| {
        signal(instance.keeper(), Signal::TERM);
        instance.ended()
    });
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let printed = instance.printed();
    let (b, a) = (printed.find("b stopping -> inactive"), printed.find("a ready -> stopping"));
    assert!(b.is_some() && b < a, "dependents first:\n{printed}");
    assert!(instance.processes().is_empty(), "nothing is left");
}

#[test]
fn case_16_a_term_during_the_boot_ends_waits_and_what_was_started() {
    let never = "command: [sleep, '1000']\nhealth: {exec: ['false'], interval: 100ms, timeout: 100ms}\n\
                 start_timeout: 1h\n";
    let mut instance =
        Instance::new("term-at-boot", &[("a", never), ("b", "command: [sleep, '1']\ndepends_on: [a]\n")]);
    instance.up();
    instance.wait("waiting", |look| look.is("a", "starting") && look.is("b", "waiting"));
    signal(instance.keeper(), Signal::TERM);
    assert_eq!(instance.ended().code(), Some(0));
    assert!(instance.processes().is_empty());
    assert!(!instance.printed().contains("b waiting -> starting"), "{}", instance.printed());
}

#[test]
fn a_second_interrupt_means_now() {
    let stubborn = "command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1; done']\nstop: {grace: 1h}\n";
    let mut instance = Instance::booted("now", &[("a", stubborn)]);
    signal(instance.keeper(), Signal::INT);
    instance.wait("stopping", |look| look.is("a", "stopping"));
    signal(instance.keeper(), Signal::INT);
    assert_eq!(instance.ended().code(), Some(0));
    assert!(instance.processes().is_empty());
}

#[test]
fn a_second_term_of_an_orderly_shutdown_and_a_power_failure_are_heard_and_change_nothing() {
    // Needs longer than the keeper waits for a word of the supervisor.
    let slow = "command: [sh, -c, 'trap \"sleep 7; echo > done; exit 0\" TERM; while :; do sleep 0.1; done']\n\
                stop: {grace: 30s}\n";
    let mut instance = Instance::booted("second-term", &[("slow", slow)]);
    signal(instance.keeper(), Signal::POWER);
    instance.wait("stopping", |look| look.is("slow", "stopping"));
    signal(instance.keeper(), Signal::TERM);
    assert_eq!(instance.ended().code(), Some(0));
    assert!(instance.path("units/done").exists(), "{}", instance.printed());
}

#[test]
fn case_17_a_unit_that_ignores_the_signal_is_killed_at_the_end_of_its_grace() {
    let stubborn = "command: [sh, -c, 'trap \"\" TERM; while :; do sleep 1; done']\nstop: {grace: 200ms}\n";
    let instance = Instance::booted("stubborn", &[("a", stubborn)]);
    instance.done(&["stop", "a"]);
    let look = instance.look().expect("a status");
    assert!(look.is("a", "inactive"), "{look:?}");
    assert_eq!(look.unit("a")["last_exit"]["signal"], "SIGKILL");
}

#[test]
fn a_stop_command_runs_before_the_signal() {
    let unit = "command: [sh, -c, 'while ! test -e please; do sleep 0.05; done']\n\
                stop: {command: [touch, please], grace: 20s}\nrestart: {policy: never}\n";
    let instance = Instance::booted("stop-command", &[("a", unit)]);
    instance.done(&["stop", "a"]);
    let log = std::fs::read_to_string(instance.path("log/mcsup.log")).unwrap_or_default();
    assert!(instance.path("units/please").exists(), "{log}");
    assert!(instance.look().expect("a status").is("a", "inactive"));
}

#[test]
fn the_command_shutdown_is_answered_and_ends_everything() {
    let mut instance = Instance::booted("by-command", &[("a", SLEEP)]);
    instance.done(&["shutdown"]);
    assert_eq!(instance.ended().code(), Some(0));
    assert!(instance.processes().is_empty());
    let left = eventually(|| instance.ring("__supervisor").is_none().then_some(()));
    assert!(left.is_some(), "the supervisor ended too");
}

#[test]
fn after_an_orderly_end_the_next_boot_begins_anew() {
    let mut instance =
        Instance::booted("anew", &[("a", SLEEP), ("task", "kind: task\ncommand: [touch, ran]\n")]);
    instance.done(&["stop", "a"]);
    instance.done(&["shutdown"]);
    instance.ended();
    std::fs::remove_file(instance.path("units/ran")).expect("the task ran");
    instance.up();
    instance.wait("booted again", |look| look.0["booted"] == true && look.is("a", "ready"));
    assert!(instance.path("units/ran").exists(), "once per boot, and this is another");
}
