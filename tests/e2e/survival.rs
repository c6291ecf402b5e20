use rustix::process::Signal;

use crate::instance::{Instance, eventually, is_alive, kill, signal};

const SLEEP: &str = "command: [sleep, '1000']\n";
const QUICK: &str = "command: [sleep, '1000']\nrestart: {backoff: {initial: 0s}}\n";

#[test]
fn a_killed_supervisor_takes_nothing_with_it_and_forgets_nothing() {
    let fragile = "command: [sh, -c, 'test -e gone && exec sleep 1000; touch gone; exec sleep 999']\n\
                   restart: {backoff: {initial: 0s}}\n";
    let instance = Instance::booted(
        "kill-supervisor",
        &[("a", SLEEP), ("down", SLEEP), ("fragile", fragile), ("task", "kind: task\ncommand: ['true']\n")],
    );
    instance.done(&["stop", "down"]);
    let before = instance.look().expect("a status");
    let supervisor = instance.supervisor();
    // Held down while a service ends: its exit waits in the keeper's table.
    signal(supervisor, Signal::STOP);
    kill(before.pid("fragile"));
    kill(supervisor);
    let after = instance.wait("healed", |look| {
        look.is("fragile", "ready") && look.unit("fragile")["pid"] != before.unit("fragile")["pid"]
    });
    assert_ne!(instance.supervisor(), supervisor);
    assert_eq!(after.pid("a"), before.pid("a"), "untouched");
    assert_eq!(after.unit("a")["restarts"], 0);
    assert!(after.is("down", "inactive"), "an operator's stop is remembered: {after:?}");
    assert!(after.is("task", "completed"), "a task runs once per boot: {after:?}");
    assert_eq!(after.unit("fragile")["last_exit"]["signal"], "SIGKILL");
    assert_eq!(after.0["booted"], true, "open barriers stay open");
    assert!(!instance.printed().contains("is forgotten"), "every note is read: {}", instance.printed());
}

#[test]
fn a_supervisor_that_dies_puts_no_half_edited_unit_into_effect() {
    let instance = Instance::booted("half-edited", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    instance.write("a", "command: [sleep\n  what: is: this");
    let supervisor = instance.supervisor();
    kill(supervisor);
    let after = instance.wait("back", |look| look.is("a", "ready") && instance.supervisor() != supervisor);
    assert_eq!(after.pid("a"), before);
}

#[test]
fn what_an_earlier_boot_accepted_is_not_what_this_one_runs_on() {
    let mut instance =
        Instance::booted("earlier-boot", &[("a", "command: [sleep, '999']\n"), ("old", SLEEP)]);
    let accepted = instance.path("state/accepted.json");
    let earlier = std::fs::read(&accepted).expect("accepted units");
    instance.done(&["shutdown"]);
    instance.ended();
    std::fs::remove_file(instance.path("units/old.yaml")).expect("one unit less");
    instance.write("a", SLEEP);
    instance.up();
    let before = instance.wait("booted", |look| look.0["booted"] == true);
    // As if the disk had been full when this boot wanted to keep its own.
    std::fs::write(&accepted, earlier).expect("the earlier ones");
    let supervisor = instance.supervisor();
    kill(supervisor);
    let after = instance.wait("back", |look| {
        look.is("a", "ready") && instance.ring("__supervisor").is_some_and(|pid| pid != supervisor)
    });
    assert_eq!(after.pid("a"), before.pid("a"));
    assert!(after.unit("old").is_null(), "{after:?}");
}

#[test]
fn a_killed_keeper_is_replaced_and_its_services_are_adopted() {
    let instance = Instance::booted("kill-keeper", &[("a", QUICK), ("b", SLEEP)]);
    let before = instance.look().expect("a status");
    let (keeper, supervisor) = (instance.keeper(), instance.supervisor());
    kill(keeper);
    instance.wait_for_line("the keeper died");
    let found = eventually(|| instance.ring("__keeper").filter(|pid| *pid != keeper));
    assert!(found.is_some(), "a new keeper:\n{}", instance.printed());
    let after = instance.wait("still there", |look| look.is("a", "ready") && look.is("b", "ready"));
    assert_eq!(instance.supervisor(), supervisor, "the supervisor lives on");
    assert_eq!((after.pid("a"), after.pid("b")), (before.pid("a"), before.pid("b")), "untouched");
    // Supervised again: an end is seen, and a stop reaches.
    kill(after.pid("a"));
    instance.wait("healed", |look| look.is("a", "ready") && look.pid("a") != after.pid("a"));
    instance.done(&["stop", "b"]);
    assert!(!is_alive(after.pid("b")));
    // And the lock still says that somebody is here.
    let refused = instance.run(&["up"]);
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn after_a_new_keeper_a_killed_supervisor_still_takes_nothing_with_it() {
    let instance = Instance::booted("both-in-turn", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    let keeper = instance.keeper();
    kill(keeper);
    let second = eventually(|| instance.holder().filter(|pid| *pid != keeper));
    assert!(second.is_some(), "a new keeper:\n{}", instance.printed());
    instance.wait("supervised", |look| look.is("a", "ready"));
    let supervisor = instance.supervisor();
    kill(supervisor);
    let after = instance.wait("back", |look| {
        look.is("a", "ready") && instance.ring("__supervisor").is_some_and(|pid| pid != supervisor)
    });
    assert_eq!(after.pid("a"), before);
}

#[test]
fn case_9_units_of_the_same_name_elsewhere_on_the_machine_are_strangers() {
    let ours = Instance::booted("same-name", &[("a", SLEEP)]);
    let theirs = Instance::booted("same-name-elsewhere", &[("a", SLEEP)]);
    let before = theirs.look().expect("a status").pid("a");
    // Adopted, so that what belongs to the run is searched for among all processes.
    let keeper = ours.keeper();
    kill(keeper);
    let second = eventually(|| ours.ring("__keeper").filter(|pid| *pid != keeper));
    assert!(second.is_some(), "a new keeper:\n{}", ours.printed());
    ours.wait("supervised", |look| look.is("a", "ready"));
    ours.done(&["stop", "a"]);
    let after = theirs.look().expect("a status");
    assert_eq!((after.pid("a"), after.unit("a")["restarts"].as_u64()), (before, Some(0)), "untouched");
}
