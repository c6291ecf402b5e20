//! Many ends at once, and whose they are.

use std::fs::{self, OpenOptions};
use std::process::Command;

use crate::instance::{Instance, Look, eventually};

/// A task of status `code` for each of these numbers, under names that say it.
fn tasks(codes: std::ops::Range<u16>, script: impl Fn(u16) -> String) -> Vec<(String, String)> {
    codes
        .map(|code| {
            let script = script(code);
            let unit = format!("kind: task\ncommand: [sh, -c, '{script}']\nrestart: {{policy: never}}\n");
            (format!("t{code:03}"), unit)
        })
        .collect()
}

fn borrowed(units: &[(String, String)]) -> Vec<(&str, &str)> {
    units.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

/// Each has ended once, with its own status.
fn assert_statuses(look: &Look, codes: std::ops::Range<u16>) {
    for code in codes {
        let unit = look.unit(&format!("t{code:03}"));
        assert_eq!(unit["last_exit"]["code"], code, "{unit}");
        assert_eq!(unit["restarts"], 0, "{unit}");
    }
}

/// Live or not, whatever has this parent.
fn zombies_of(parent: u32) -> usize {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let stats = entries.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    let is_zombie = |stat: &String| {
        let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        words.next() == Some("Z") && words.next().and_then(|word| word.parse().ok()) == Some(parent)
    };
    stats.filter(is_zombie).count()
}

fn assert_no_zombies(instance: &Instance) {
    let none = eventually(|| (zombies_of(instance.keeper()) == 0).then_some(()));
    assert!(none.is_some(), "{} zombies", zombies_of(instance.keeper()));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a FIFO holds them all until it is closed")]
fn case_13_two_hundred_processes_that_end_at_once_are_told_apart() {
    let units = tasks(1..201, |code| format!("read line < gate; exit {code}"));
    let mut instance = Instance::new("at-once", &borrowed(&units));
    let gate = instance.path("units/gate");
    assert!(Command::new("mkfifo").arg(&gate).status().expect("mkfifo").success());
    // Read and write: nobody waits for the other end, and they all wait for the line.
    let held = OpenOptions::new().read(true).write(true).open(&gate).expect("a FIFO");
    instance.up();
    let at_the_gate = || instance.processes().len() >= 200;
    assert!(eventually(|| at_the_gate().then_some(())).is_some(), "{} wait", instance.processes().len());
    // The end of the file for every reader, in one call.
    drop(held);
    let look =
        instance.wait("all over", |look| (1..201).all(|code| look.is(&format!("t{code:03}"), "failed")));
    assert_statuses(&look, 1..201);
    assert_no_zombies(&instance);
}

#[test]
fn case_14_no_status_is_lost_between_probes_and_quick_tasks() {
    let mut units = tasks(1..61, |code| format!("exit {code}"));
    for name in ["p1", "p2", "p3"] {
        let probed = "command: [sleep, '1000']\nhealth: {exec: ['true'], interval: 100ms, timeout: 100ms, retries: 64}\n";
        units.push((name.to_owned(), probed.to_owned()));
    }
    let mut instance = Instance::new("one-owner", &borrowed(&units));
    instance.up();
    let look =
        instance.wait("all over", |look| (1..61).all(|code| look.is(&format!("t{code:03}"), "failed")));
    assert_statuses(&look, 1..61);
    for name in ["p1", "p2", "p3"] {
        instance.wait("probed", |look| look.is(name, "ready") && look.unit(name)["health"] == "passing");
    }
    assert_no_zombies(&instance);
}

#[test]
fn case_15_orphans_of_services_and_probes_are_reaped() {
    // Each leaves children behind whose parent is gone when they end.
    let probe = "echo probed >> probes; (sleep 0.01 & sleep 0.02 &); exit 0";
    let service = "while :; do (sleep 0.01 & sleep 0.02 &); sleep 0.02; done";
    let unit = format!(
        "command: [sh, -c, '{service}']\n\
         health: {{exec: [sh, -c, '{probe}'], interval: 100ms, timeout: 100ms, retries: 64}}\n"
    );
    let instance = Instance::booted("orphans", &[("a", &unit)]);
    let probes = || fs::read_to_string(instance.path("units/probes")).unwrap_or_default().lines().count();
    assert!(eventually(|| (probes() > 20).then_some(())).is_some(), "{} probes", probes());
    assert!(zombies_of(instance.keeper()) < 20, "they do not pile up: {}", zombies_of(instance.keeper()));
    instance.done(&["stop", "a"]);
    assert_no_zombies(&instance);
    assert!(instance.processes().is_empty());
}
