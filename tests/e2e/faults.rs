use std::process::Command;

use rustix::process::Signal;

use crate::instance::{Instance, signal};

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
