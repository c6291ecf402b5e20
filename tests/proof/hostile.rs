//! Nothing that a user, a unit or a client sends takes the supervisor down.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use crate::instance::{Instance, Look, kill, mcsup, timed};
use crate::load::measuring;
use crate::namespace::up_with_mounts;

const SLEEP: &str = "command: [sleep, '1000']\n";
const QUICK: &str = "command: [sleep, '1000']\nrestart: {backoff: {initial: 0s}}\n";

#[test]
fn units_that_change_under_a_running_supervisor_change_nothing_until_the_next_boot() {
    let instance = Instance::booted("changed-files", &[("a", SLEEP), ("b", QUICK), ("c", SLEEP)]);
    let before = instance.look().expect("a status");
    instance.write("a", "command: [sleep\n  what: is: this\n\t- tab");
    instance.write("b", "command: [sh, -c, 'exit 9']\n");
    instance.write("d", SLEEP);
    fs::write(instance.path("units/e.yaml"), [0xff, 0xfe, 0, 1]).expect("a file");
    fs::remove_file(instance.path("units/c.yaml")).expect("a file less");
    let supervisor = instance.supervisor();
    kill(supervisor);
    let after = instance.wait("back", |look| {
        look.is("a", "ready") && instance.ring("__supervisor").is_some_and(|pid| pid != supervisor)
    });
    for name in ["a", "b", "c"] {
        assert_eq!(after.pid(name), before.pid(name), "{name}");
    }
    assert!(after.unit("d").is_null(), "not accepted yet");
    // And what was accepted is what is started again.
    kill(after.pid("b"));
    instance.wait("healed", |look| look.is("b", "ready") && look.pid("b") != after.pid("b"));
}

fn connect(instance: &Instance) -> UnixStream {
    UnixStream::connect(instance.path("run/mcsup.sock")).expect("a connection")
}

/// Status is answered soon, by the supervisor that was there before, and the service never noticed.
fn assert_unmoved(instance: &Instance, before: &Look, supervisor: u32, what: &str) {
    let (look, took) = timed(|| instance.look());
    let look = look.unwrap_or_else(|| panic!("no status with {what}:\n{}", instance.printed()));
    assert!(took < Duration::from_secs(3), "a status took {took:?} with {what}");
    assert_eq!(look.pid("a"), before.pid("a"), "{what}");
    assert_eq!(instance.supervisor(), supervisor, "{what}");
}

#[test]
fn nothing_that_a_client_sends_takes_the_supervisor_down() {
    let instance = Instance::booted("clients", &[("a", SLEEP)]);
    let (before, supervisor) = (instance.look().expect("a status"), instance.supervisor());

    let idle: Vec<UnixStream> = (0..1000).map(|_| connect(&instance)).collect();
    assert_unmoved(&instance, &before, supervisor, "1,000 idle connections");
    drop(idle);

    let half: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = connect(&instance);
            stream.write_all(b"GET /v1/units HTTP/1.1\r\nHost: x\r\nContent-Le").expect("half a request");
            stream
        })
        .collect();
    assert_unmoved(&instance, &before, supervisor, "half requests");
    drop(half);

    for path in ["/v1/units/a/stop", "/v1/shutdown", "/nowhere"] {
        let mut stream = connect(&instance);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("a head");
        let chunk = [b'['; 100_000];
        // Cut off at some point: that is an answer as well.
        let _sent = (0..100).try_for_each(|_| stream.write_all(&chunk));
        let mut answer = String::new();
        drop(stream.set_read_timeout(Some(Duration::from_secs(15))));
        drop(stream.read_to_string(&mut answer));
        assert!(!answer.starts_with("HTTP/1.1 2"), "{path}: {answer}");
        assert_unmoved(&instance, &before, supervisor, "10 MB of body");
    }

    for garbage in
        [&b"\0\xff\xfe\x01\x02garbage\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00", &[b'A'; 200_000]]
    {
        let mut stream = connect(&instance);
        drop(stream.write_all(garbage));
        let mut answer = Vec::new();
        drop(stream.set_read_timeout(Some(Duration::from_millis(200))));
        drop(stream.read_to_end(&mut answer));
        assert_unmoved(&instance, &before, supervisor, "garbage");
    }

    // A request whose client is gone before the answer.
    for _ in 0..100 {
        connect(&instance).write_all(b"GET /v1/units HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    }
    assert_unmoved(&instance, &before, supervisor, "clients that hang up");
}

#[test]
fn nobody_who_reads_what_up_prints_is_missed() {
    let mut instance = Instance::new("broken-pipe", &[("a", QUICK)]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let up = mcsup(&instance.dir)
        .arg("up")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().expect("a descriptor"))
        .stderr(writer)
        .spawn()
        .expect("mcsup up");
    instance.started(up);
    let before = instance.wait("ready", |look| look.is("a", "ready"));
    kill(before.pid("a"));
    instance.wait("healed", |look| look.is("a", "ready") && look.pid("a") != before.pid("a"));
    instance.done(&["shutdown"]);
    assert_eq!(instance.ended().code(), Some(0));
    assert!(instance.processes().is_empty());
}

#[test]
fn without_proc_units_boot_restart_and_stop() {
    // A short path: longer ones are bound through /proc.
    let dir = std::env::temp_dir().join(format!("mcsup-{}-no-proc", std::process::id()));
    let mut instance =
        Instance::at(dir, &[("a", QUICK), ("b", "command: [sleep, '1000']\ndepends_on: [a]\n")]);
    up_with_mounts(&mut instance, "mount -t tmpfs tmpfs /proc");
    let before = instance.wait("booted", |look| look.0["booted"] == true);
    kill(before.pid("a"));
    let after = instance.wait("healed", |look| look.is("a", "ready") && look.pid("a") != before.pid("a"));
    assert_eq!(after.unit("a")["last_exit"]["signal"], "SIGKILL");
    let supervisor = instance.supervisor();
    kill(supervisor);
    let taken_over = instance.wait("back", |look| {
        look.is("a", "ready") && instance.ring("__supervisor").is_some_and(|pid| pid != supervisor)
    });
    assert_eq!((taken_over.pid("a"), taken_over.pid("b")), (after.pid("a"), after.pid("b")));
    instance.done(&["stop", "b"]);
    assert!(instance.look().expect("a status").is("b", "inactive"));
    instance.done(&["shutdown"]);
    assert_eq!(instance.ended().code(), Some(0));
    assert!(instance.processes().is_empty());
}

#[test]
fn an_environment_of_300_kb_reaches_the_program() {
    let mut instance = Instance::new(
        "large-environment",
        &[("a", "kind: task\ncommand: [sh, -c, 'env | wc -c > seen; exit 0']\nenv_file: [large.env]\n")],
    );
    // A single string may have 128 KiB at most (execve(2)).
    let lines: String = (0..30).map(|at| format!("LARGE_{at}={}\n", "x".repeat(10_000))).collect();
    fs::write(instance.path("units/large.env"), lines).expect("a file");
    instance.up();
    instance.wait("completed", |look| look.is("a", "completed"));
    let seen = fs::read_to_string(instance.path("units/seen")).expect("what it saw");
    assert!(seen.trim().parse::<u64>().is_ok_and(|bytes| bytes > 300_000), "{seen}");
}

fn resident_megabytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a live process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes / 1024
}

#[test]
fn case_3_a_unit_that_floods_its_log_holds_up_none_of_a_hundred_restarts() {
    let _alone = measuring();
    let names: Vec<String> = (0..100).map(|at| format!("u{at:02}")).collect();
    let mut units: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), QUICK)).collect();
    units.push(("flood", "command: [sh, -c, 'exec yes 0123456789012345678901234567890123456789']\nlog: {max_size: 4M, keep: 2}\n"));
    let instance = Instance::booted("flood", &units);
    let before = instance.look().expect("a status");
    let ((), took) = timed(|| {
        for name in &names {
            kill(before.pid(name));
        }
        instance.wait("all healed", |look| {
            names.iter().all(|name| look.is(name, "ready") && look.unit(name)["restarts"] == 1)
        });
    });
    assert!(took < Duration::from_secs(15), "a hundred restarts took {took:?}");
    let after = instance.look().expect("a status");
    assert_eq!(after.pid("flood"), before.pid("flood"));
    let stored = crate::load::stored_bytes(&instance.path("log/flood"));
    let most = 3 * (8 << 20);
    assert!(stored <= most, "{stored} bytes: two old files and one at work, each at most twice its size");
    for ring in [instance.keeper(), instance.supervisor()] {
        let megabytes = resident_megabytes(ring);
        assert!(megabytes < 100, "what is read is not kept: {megabytes} MB");
    }
}
