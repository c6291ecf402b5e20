//! What services write, in whatever way they write it, is in their logs.

use std::fs;

use crate::instance::{Instance, eventually, is_alive, kill, timed};
use crate::load::{assert_complete, install_writer, stored_bytes, touch, wait_for_progress, writer, written};

/// What stands in the log of `unit`, all files together.
fn stored(instance: &Instance, unit: &str) -> Vec<u8> {
    crate::load::files(&instance.path("log").join(unit))
        .into_iter()
        .flat_map(|file| fs::read(file).expect("a log file"))
        .collect()
}

#[test]
fn case_1_an_exit_is_seen_although_a_grandchild_holds_the_pipe() {
    // It ignores the signal that ends what is left of a run, from before the leader's end.
    let unit = "command: [sh, -c, '(trap \"\" TERM; touch deaf; exec sleep 1000) & \
                until test -e deaf; do sleep 0.01; done; exit 3']\n\
                stop: {grace: 1h}\nrestart: {policy: never}\n";
    let mut instance = Instance::new("grandchild", &[("a", unit)]);
    instance.up();
    let look = instance.wait("its exit is known", |look| look.unit("a")["last_exit"]["code"] == 3);
    assert!(look.is("a", "stopping"), "what is left of it is being ended: {look:?}");
    let left = instance.processes();
    assert!(!left.is_empty() && left.iter().all(|pid| is_alive(*pid)), "the pipe is still open");
    left.into_iter().for_each(kill);
    instance.wait("over", |look| look.is("a", "failed"));
}

#[test]
fn case_2_last_words_without_a_line_end_are_stored_before_the_end_is_told() {
    let names: Vec<String> = (0..40).map(|at| format!("u{at:02}")).collect();
    let unit = "kind: task\nenabled: false\ncommand: [sh, -c, 'printf \"last words\"; exit 1']\nrestart: {policy: never}\n";
    let units: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), unit)).collect();
    let instance = Instance::booted("last-words", &units);
    for name in &names {
        assert_eq!(instance.run(&["start", name]).status.code(), Some(1), "{name} fails");
        assert_eq!(String::from_utf8_lossy(&stored(&instance, name)), "last words", "{name}");
    }
}

#[test]
fn case_4_a_line_of_ten_megabytes_that_is_no_text_is_stored_byte_by_byte() {
    let unit =
        "kind: task\ncommand: [perl, -e, 'print \"\\xff\\0\" x 5_000_000']\nlog: {max_size: 1M, keep: 50}\n";
    let instance = Instance::booted("no-text", &[("a", unit)]);
    instance.wait("completed", |look| look.is("a", "completed"));
    let all = stored(&instance, "a");
    assert_eq!(all.len(), 10_000_000);
    assert!(all.chunks(2).all(|pair| pair == [0xff, 0]), "every byte, in order");
    for file in crate::load::files(&instance.path("log/a")) {
        let bytes = fs::metadata(&file).expect("a file").len();
        assert!(bytes <= 2 << 20, "{} has {bytes} bytes", file.display());
    }
    instance.done(&["logs", "a", "-n", "1"]);
}

/// Ticks of processor time that a process has used, of which there are a hundred in a second.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a live process");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // utime and stime are fields 14 and 15; the name in brackets was the second.
    fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum()
}

#[test]
fn case_5_a_service_that_closes_its_output_lives_on_and_costs_nothing() {
    let unit = "command: [sh, -c, 'echo hello; exec sleep 1000 >&- 2>&-']\n";
    let instance = Instance::booted("closed-output", &[("a", unit)]);
    let said = eventually(|| (stored(&instance, "a") == b"hello\n").then_some(()));
    assert!(said.is_some());
    let sleeps = eventually(|| {
        fs::read_link(format!("/proc/{}/fd/1", instance.look()?.pid("a"))).is_err().then_some(())
    });
    assert!(sleeps.is_some(), "its output is closed");
    let rings = [instance.keeper(), instance.supervisor()];
    let before = rings.map(ticks);
    let ((), took) = timed(|| {
        let mut looks = 0;
        let done = eventually(|| {
            looks += 1;
            (looks > 100).then_some(())
        });
        assert!(done.is_some());
    });
    let used: u64 = rings.map(ticks).iter().zip(before).map(|(after, before)| after - before).sum();
    // A spin would use all of it: a tick is 10 ms.
    assert!(u128::from(used) * 10 < took.as_millis() / 2, "{used} ticks in {took:?}");
    assert!(instance.look().expect("a status").is("a", "ready"));
}

#[test]
fn case_6_a_log_that_is_moved_or_deleted_is_made_anew_and_loses_nothing_that_was_not_deleted() {
    let mut instance = Instance::new(
        "moved-log",
        &[
            ("writer", &writer(60, 20, "max_size: 1G")),
            ("b", "command: [sh, -c, 'while :; do echo tick; sleep 0.05; done']\n"),
        ],
    );
    install_writer(&instance);
    instance.up();
    instance.wait("booted", |look| look.0["booted"] == true);
    let log = instance.path("log/writer");
    touch(&instance, "write");
    wait_for_progress(&instance, 5);
    // As logrotate does; the name sorts before the others.
    fs::rename(log.join("current"), log.join("00000000")).expect("moved away");
    let anew = eventually(|| log.join("current").exists().then_some(()));
    assert!(anew.is_some(), "nothing was made in its place");
    let written = written(&instance);
    assert_complete(&log, written.lines);

    let log = instance.path("log/b");
    let some = |what: &str| {
        let found = eventually(|| (stored_bytes(&log) > 0).then_some(()));
        assert!(found.is_some(), "nothing {what}");
    };
    some("before it is deleted");
    fs::remove_dir_all(&log).expect("deleted with its directory");
    some("after it was deleted");
}
