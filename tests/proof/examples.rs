//! The quickstart, as a new user starts it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::copies::copy_example;
use crate::instance::{Instance, mcsup, timed};
use crate::place::{free_ports, public_home};

fn quickstart(name: &str) -> Instance {
    let instance = Instance::at(public_home(name), &[]);
    let [store, web] = free_ports().map(|port: u16| port.to_string());
    copy_example(&instance, "quickstart", &[("47617", store), ("47618", web)]);
    instance
}

/// Boots within seconds, and the worker that has no luck is healed.
fn assert_quick_start(mut instance: Instance, up: &mut Command) {
    let ((), took) = timed(|| {
        instance.up_by(up);
        instance.wait("booted", |look| look.0["booted"] == true);
    });
    assert!(took < Duration::from_secs(10), "booted after {took:?}");
    let look =
        instance.wait("healed", |look| look.is("worker", "ready") && look.unit("worker")["restarts"] == 1);
    for (unit, state) in
        [("migrate", "completed"), ("store", "ready"), ("web", "ready"), ("reports", "inactive")]
    {
        assert!(look.is(unit, state), "{unit}: {look:?}");
    }
    assert!(instance.done(&["logs", "worker"]).contains("out of luck"));
    instance.done(&["start", "reports"]);
    instance.done(&["shutdown"]);
    assert_eq!(instance.ended().code(), Some(0));
    assert!(instance.processes().is_empty());
}

#[test]
fn the_quickstart_boots_and_heals_its_worker() {
    let instance = quickstart("quickstart");
    let mut up = mcsup(&instance.dir);
    assert_quick_start(instance, &mut up);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "setpriv becomes mcsup of another user")]
fn the_quickstart_needs_no_root() {
    let instance = quickstart("quickstart-as-nobody");
    if !rustix::process::geteuid().is_root() {
        // Then the other test has shown it, and this one shows it again.
        let mut up = mcsup(&instance.dir);
        return assert_quick_start(instance, &mut up);
    }
    // The build directory may be out of their reach.
    let binary = instance.path("mcsup");
    fs::copy(env!("CARGO_BIN_EXE_mcsup"), &binary).expect("a copy");
    std::os::unix::fs::chown(&instance.dir, Some(65534), Some(65534)).expect("their home");
    let mut up = Command::new("setpriv");
    up.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(&binary)
        .env("MCSUP_HOME", &instance.dir)
        .env("HOME", &instance.dir);
    assert_quick_start(instance, &mut up);
}
