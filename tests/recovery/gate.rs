//! Gates: what has to be so before the boot goes on.

use std::fs;

use crate::instance::{Instance, mcsup};
use crate::namespace::{inside, up_with_mounts};

const SLEEP: &str = "command: [sleep, '1000']\n";

fn gated(test: &str, check: &str, more: &str) -> Instance {
    let gate = format!("kind: gate\nphase: door\ncheck: {check:?}\ninterval: 200ms\n{more}");
    let units = [
        ("flag", "phase: door\nblocks_phase: false\nenabled: false\ncommand: [sleep, '1000']\n"),
        ("gate", gate.as_str()),
        ("app", &format!("phase: apps\n{SLEEP}")),
    ];
    let mut instance = Instance::new(test, &units);
    instance.write("mcsup", "phases: [door, apps]\ndefault_phase: apps\n");
    instance.up_by(&mut mcsup(&instance.dir.clone()));
    instance
}

#[test]
fn a_gate_holds_its_phase_until_its_expression_holds_and_opens_by_itself() {
    let instance = gated("gate-opens", "units.flag.state == 'ready' && size(units) == 3", "");
    let held = instance.wait("held", |look| look.reason("gate").contains("units.flag.state"));
    assert!(held.is("gate", "starting") && held.reason("gate").contains("inactive"), "{held:?}");
    assert!(!held.is("app", "ready") && held.0["booted"] == false, "{held:?}");
    instance.done(&["start", "flag"]);
    let opened = instance.wait("opened", |look| look.is("app", "ready"));
    assert!(opened.is("gate", "ready"), "{opened:?}");
    // What it lets through stays; that it does not hold any more is told.
    instance.done(&["stop", "flag"]);
    let after = instance.wait("told", |look| look.is("gate", "unhealthy"));
    assert!(after.is("app", "ready"), "{after:?}");
    instance.done(&["start", "flag"]);
    instance.wait("well again", |look| look.is("gate", "ready"));
}

#[test]
fn a_gate_that_times_out_names_the_part_that_failed_and_still_opens_later() {
    let more = "start_timeout: 1s\n";
    let check = "host.memory < 100.0 && units.flag.state == 'ready'";
    let instance = gated("gate-times-out", check, more);
    instance.wait_for_line("not ready within");
    let look = instance.wait("timed out", |look| look.0["open_incidents"] != 0);
    let why = String::from_utf8_lossy(&instance.run(&["why", "gate"]).stdout).into_owned();
    assert!(why.contains("units.flag.state"), "{why}\n{look:?}");
    assert!(!instance.look().expect("a status").is("app", "ready"));
    instance.done(&["start", "flag"]);
    instance.wait("opened by itself", |look| look.is("gate", "ready") && look.is("app", "ready"));
}

#[test]
fn a_gate_holds_the_boot_while_the_disk_that_it_names_is_full() {
    let mut instance = Instance::new("gate-disk", &[("app", &format!("phase: apps\n{SLEEP}"))]);
    let store = instance.path("store").display().to_string();
    fs::create_dir(&store).expect("a directory");
    let check = format!("disk('{store}').used < 50");
    instance.write("gate", &format!("kind: gate\nphase: door\ncheck: {check:?}\ninterval: 200ms\n"));
    instance.write("mcsup", "phases: [door, apps]\ndefault_phase: apps\n");
    let mounts =
        format!("mount -t tmpfs -o size=1m tmpfs '{store}'; head -c 1000000 /dev/zero > '{store}/ballast'");
    up_with_mounts(&mut instance, &mounts);
    let held = instance.wait("held", |look| look.reason("gate").contains("used"));
    assert!(!held.is("app", "ready"), "{held:?}");
    fs::remove_file(inside(&instance, "store/ballast")).expect("room");
    instance.wait("opened", |look| look.is("gate", "ready") && look.is("app", "ready"));
}
