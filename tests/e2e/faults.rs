use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};

use crate::instance::{Instance, eventually, kill, signal};

const SLEEP: &str = "command: [sleep, '1000']\n";

#[test]
fn hangup_and_pipe_signals_take_nothing_down() {
    let instance = Instance::booted("signals", &[("a", SLEEP)]);
    let before = instance.look().expect("a status").pid("a");
    let (keeper, supervisor) = (instance.keeper(), instance.supervisor());
    for name in [Signal::HUP, Signal::PIPE, Signal::USR1, Signal::USR2] {
        signal(supervisor, name);
    }
    signal(keeper, Signal::HUP);
    signal(keeper, Signal::PIPE);
    signal(supervisor, Signal::TERM);
    instance.wait_for_line("SIGHUP");
    let after = instance.look().expect("a status");
    assert_eq!(after.pid("a"), before);
    assert_eq!((instance.keeper(), instance.supervisor()), (keeper, supervisor));
}

#[test]
fn descriptors_that_run_out_are_a_failed_spawn_with_its_errno() {
    let names: Vec<String> = (0..60).map(|at| format!("u{at:02}")).collect();
    let units: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), SLEEP)).collect();
    let mut instance = Instance::new("emfile", &units);
    instance.up_by(&mut limited(&instance, 100));
    let look = instance.wait("some are up and some cannot be", |look| {
        let any = |state| names.iter().any(|name| look.is(name, state));
        any("ready") && any("backoff")
    });
    let held = names.iter().find(|name| look.is(name, "backoff")).expect("one in backoff");
    assert!(look.reason(held).contains("Too many open files"), "{}", look.reason(held));
    instance.done(&["shutdown"]);
    assert_eq!(instance.ended().code(), Some(0));
    assert!(instance.processes().is_empty());
}

/// `mcsup` with no more than this many descriptors.
#[expect(clippy::disallowed_methods, reason = "a shell sets the limit, and becomes mcsup")]
fn limited(instance: &Instance, descriptors: u32) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_mcsup")])
        .env("MCSUP_HOME", &instance.dir);
    command
}

#[test]
fn a_log_directory_that_cannot_be_written_stops_no_service() {
    let mut instance =
        Instance::new("no-log", &[("a", "command: [sh, -c, 'echo hello; exec sleep 1000']\n")]);
    std::fs::create_dir_all(instance.path("log")).expect("a directory");
    // A file where the unit's directory should be.
    std::fs::write(instance.path("log/a"), "").expect("a file");
    instance.up();
    instance.wait("ready", |look| look.is("a", "ready"));
    instance.wait_for_line("log cannot be written");
}

#[test]
fn a_state_directory_refuses_another_units_directory() {
    let instance = Instance::booted("refuses", &[("a", SLEEP)]);
    let other = instance.path("other");
    std::fs::create_dir_all(&other).expect("a directory");
    let refused = instance.run(&["up", &other.to_string_lossy()]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("belongs to the units directory"), "{text}");
}

#[test]
fn a_supervisor_out_of_descriptors_never_costs_a_service() {
    let names: Vec<String> = (0..60).map(|at| format!("u{at:02}")).collect();
    let (enabled, later) = names.split_at(40);
    let text = |name: &String| {
        if later.contains(name) { "command: [sleep, '1000']\nenabled: false\n" } else { SLEEP }
    };
    let units: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), text(name))).collect();
    let mut instance = Instance::new("no-descriptors", &units);
    instance.up_by(&mut limited(&instance, 400));
    let before = instance.wait("booted", |look| look.0["booted"] == true);
    let keeper = instance.keeper();
    let mut client = connect(&instance);
    client.write_all(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n").expect("a question");
    assert!(client.read(&mut [0; 1000]).expect("an answer") > 0);
    // More than there are descriptors for; those without one wait for their turn.
    let idle: Vec<UnixStream> = (0..500).map(|_| connect(&instance)).collect();
    let units = later.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
    let body = format!(r#"{{"action": "start", "units": [{units}]}}"#);
    let head = "POST /v1/actions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length:";
    client.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).expect("a request");
    let is_all_up = || (instance.processes().len() == names.len()).then_some(());
    assert!(eventually(is_all_up).is_some(), "{} live:\n{}", instance.processes().len(), instance.printed());
    drop(idle);
    let after = instance.wait("all ready", |look| names.iter().all(|name| look.is(name, "ready")));
    for name in enabled {
        assert_eq!(after.pid(name), before.pid(name), "{name} was not touched");
    }
    assert_eq!(instance.keeper(), keeper);
    // Nor is anything lost when the next supervisor takes over with as little room.
    let supervisor = instance.supervisor();
    kill(supervisor);
    let last = instance.wait("taken over", |look| {
        names.iter().all(|name| look.is(name, "ready"))
            && instance.ring("__supervisor").is_some_and(|pid| pid != supervisor)
    });
    for name in &names {
        assert_eq!(last.pid(name), after.pid(name), "{name} was taken over");
    }
}

#[test]
fn a_supervisor_that_cannot_hear_the_keeper_any_more_makes_room_for_one_that_can() {
    let instance = Instance::booted(
        "make-room",
        &[("a", SLEEP), ("later", "command: [sleep, '1000']\nenabled: false\n")],
    );
    let before = instance.look().expect("a status").pid("a");
    let (keeper, supervisor) = (instance.keeper(), instance.supervisor());
    // From now on no descriptor that comes with a message finds a place.
    let none = Rlimit { current: Some(3), maximum: Some(3) };
    let pid = i32::try_from(supervisor).ok().and_then(Pid::from_raw);
    let mut client = connect(&instance);
    client.write_all(b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n").expect("a question");
    assert!(client.read(&mut [0; 1000]).expect("an answer") > 0);
    prlimit(pid, Resource::Nofile, none).expect("a limit");
    client.write_all(b"POST /v1/units/later/start HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    instance.wait_for_line("it starts a new supervisor, services go on");
    let after = instance.wait("taken over", |look| look.is("a", "ready") && look.is("later", "ready"));
    assert_eq!((after.pid("a"), instance.keeper()), (before, keeper), "untouched");
    assert_ne!(instance.supervisor(), supervisor);
}

#[test]
fn clients_that_follow_logs_hold_up_neither_launches_nor_the_journal() {
    let unit = "command: [sh, -c, 'yes | head -c 1000000; exec sleep 1000']\nenv_file: [a.env]\nrestart: {backoff: {initial: 0s}}\n";
    let mut instance = Instance::new("followers", &[("a", unit)]);
    std::fs::write(instance.path("units/a.env"), "A=1\n").expect("a file");
    instance.up();
    let before = instance.wait("ready", |look| look.is("a", "ready"));
    // As many as there may be, and none of them reads what it asked for.
    let followers: Vec<UnixStream> = (0..16)
        .map(|_| {
            let mut stream = connect(&instance);
            let head = b"GET /v1/units/a/logs?follow=true HTTP/1.1\r\nHost: x\r\n\r\n";
            stream.write_all(head).expect("a request");
            assert!(stream.read(&mut [0; 100]).expect("an answer") > 0);
            stream
        })
        .collect();
    kill(before.pid("a"));
    let after = instance.wait("healed", |look| look.is("a", "ready") && look.pid("a") != before.pid("a"));
    let line = format!(" {} ", after.pid("a"));
    let is_written = || {
        let journal = std::fs::read_to_string(instance.path("state/journal")).unwrap_or_default();
        journal.contains(&line).then_some(())
    };
    assert!(eventually(is_written).is_some(), "the journal knows of it");
    drop(followers);
}

fn connect(instance: &Instance) -> UnixStream {
    UnixStream::connect(instance.path("run/mcsup.sock")).expect("a connection")
}
