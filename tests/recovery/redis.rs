//! Redis, broken in eight ways.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use mcsup::incident::cause::Rule;

use crate::instance::{eventually, kill};
use crate::memory::MemoryGroup;
use crate::namespace::inside;
use crate::patient::{BY_EXIT, HEALTH, Patient, broken, by_probes, command, run, slow_start};
use crate::place::free_ports;

const PASSWORD: &str = "s3cret";

/// `more` are further keys of the unit.
fn redis(test: &str, more: &str) -> Patient {
    let [port] = free_ports();
    let patient = Patient::new(&format!("redis-{test}"), "redis", port);
    let data = patient.data("redis");
    let number = port.to_string();
    let server = patient.command(
        "redis",
        &[
            "redis-server",
            "--port",
            &number,
            "--bind",
            "127.0.0.1",
            "--dir",
            &data.display().to_string(),
            // It saves when it is told to, and refuses to answer when that failed.
            "--save",
            "86400 1000000000",
            "--requirepass",
            PASSWORD,
        ],
    );
    let question = format!("redis: {{port: {port}, password: {PASSWORD}}}");
    let health = HEALTH.replacen('{', &format!("{{{question}, "), 1);
    let unit = format!("{server}health: {health}\nstart_timeout: 90s\nstop: {{grace: 1s}}\n{more}");
    patient.instance.write("redis", &unit);
    patient
}

/// Healed by starting it again, for ever.
const PERSISTENT: &str = "restart: {backoff: {initial: 500ms, max: 500ms, jitter: 0}}\n\
                          recover: {rungs: [restart], settle: 2s}\n";
/// Three starts, and that was it.
const RESIGNED: &str = "restart: {backoff: {initial: 500ms, max: 500ms, jitter: 0}, \
                        limit: {starts: 3, within: 1m, then: fail}}\n\
                        recover: {rungs: [restart], settle: 2s}\n";

fn ask(patient: &Patient, words: &[&str]) -> String {
    let port = patient.port.to_string();
    run(command("redis-cli").args(["-p", &port, "-a", PASSWORD, "--no-auth-warning"]).args(words))
}

/// Saves in the background, and comes back when that ended as it should.
fn save(patient: &Patient, ends: &str) {
    ask(patient, &["bgsave"]);
    let wanted = format!("rdb_last_bgsave_status:{ends}");
    let is_so = || ask(patient, &["info", "persistence"]).contains(&wanted).then_some(());
    assert!(eventually(is_so).is_some(), "never {wanted}");
}

#[test]
fn a_redis_that_is_killed_is_back_and_the_kill_is_the_cause() {
    let mut patient = redis("kill", PERSISTENT);
    patient.boot();
    patient.assert_back_after_a_kill();
    assert_eq!(ask(&patient, &["ping"]), "PONG");
    patient.shut_down();
}

#[test]
fn a_redis_that_is_stopped_in_its_tracks_is_found_out_and_restarted() {
    let mut patient = redis("stopped", PERSISTENT);
    patient.boot();
    patient.assert_back_after_a_halt();
    patient.shut_down();
}

#[test]
fn a_redis_whose_port_a_stranger_took_is_given_up_as_its_file_says() {
    let mut patient = redis("port", RESIGNED);
    patient.instance.write("app", "command: [sleep, '1000']\ndepends_on: [redis]\n");
    patient.boot();
    patient.instance.done(&["stop", "redis"]);
    let stranger = TcpListener::bind(("127.0.0.1", patient.port)).expect("the port");
    let fault = broken(|| drop(patient.instance.run(&["start", "redis", "--no-wait"])));
    let found = patient.assert_detected(fault, BY_EXIT, Rule::PortInUse);
    let sentence = &found.causes[0].sentence;
    let taken = format!("127.0.0.1:{} is taken by ", patient.port);
    let by = format!("(pid {})", std::process::id());
    assert!(sentence.starts_with(&taken) && sentence.ends_with(&by), "{sentence}");
    let look = patient.instance.wait("given up", |look| look.is("redis", "failed"));
    assert!(look.is("app", "waiting") && look.reason("app").contains("redis"), "{look:?}");
    patient.assert_seen_before("redis#3", Rule::PortInUse);
    patient.assert_why(sentence);
    patient.assert_one_incident();
    drop(stranger);
    patient.instance.done(&["start", "redis"]);
    patient.instance.wait("its dependent is back", |look| look.is("app", "ready"));
    patient.assert_healed();
    patient.shut_down();
}

#[test]
fn a_redis_that_may_not_use_its_data_is_given_up_as_its_file_says() {
    let mut patient = redis("data", RESIGNED);
    patient.boot();
    let data = patient.path("data");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o000)).expect("permissions");
    // It does not know yet: broken is what does not answer any more.
    save(&patient, "err");
    let fault = broken(|| ());
    patient.assert_detected(fault, by_probes(), Rule::Permission);
    patient.instance.wait("given up", |look| look.is("redis", "failed"));
    patient.assert_seen_before("redis#2", Rule::Permission);
    patient.assert_why(&data.display().to_string());
    patient.assert_one_incident();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("permissions");
    patient.instance.done(&["start", "redis"]);
    patient.assert_healed();
    patient.shut_down();
}

#[test]
fn a_redis_on_a_full_disk_is_mended_by_its_repair_without_a_restart() {
    let recover = "recover: {rungs: [{exec: [HOME/repair.sh]}, restart], settle: 5s}\n";
    let [name, home] = ["disk", "HOME"];
    let patient = redis(name, "");
    let text = fs::read_to_string(patient.path("units/redis.yaml")).expect("a unit");
    patient.instance.write("redis", &format!("{text}{}", recover.replace(home, &patient.home())));
    patient.write(
        "repair.sh",
        &REPAIR.replace(home, &patient.home()).replace("PORT", &patient.port.to_string()),
    );
    let mut patient = patient;
    let data = patient.path("data").display().to_string();
    patient.boot_on_small_disk(&format!("mount -t tmpfs -o size=4m,mode=777 tmpfs '{data}'"));
    let pid = patient.pid();
    let ballast = inside(&patient.instance, "data/ballast");
    assert!(fs::write(&ballast, vec![0; 8_000_000]).is_err(), "the disk is full");
    ask(&patient, &["set", "key", &"x".repeat(9_000)]);
    save(&patient, "err");
    let fault = broken(|| ());
    patient.assert_detected(fault, by_probes(), Rule::DiskFull);
    patient.assert_seen_before("repair", Rule::DiskFull);
    let look = patient.instance.wait("mended", |look| look.is("redis", "ready"));
    assert_eq!((look.pid("redis"), &look.unit("redis")["restarts"]), (pid, &0.into()), "{look:?}");
    let healed = patient.assert_healed();
    assert_eq!(healed.healed_by, "its repair program helped", "{healed:#?}");
    patient.shut_down();
}

/// Makes room, and has the server see it.
const REPAIR: &str = r#"#!/bin/sh
mkdir -p HOME/witness/repair
cp -r HOME/state/incidents/. HOME/witness/repair/
date +%s%3N > HOME/witness/repair/at
echo "mending $MCSUP_UNIT of incident $MCSUP_INCIDENT: $MCSUP_CAUSE"
rm HOME/data/ballast
exec redis-cli -p PORT -a s3cret --no-auth-warning bgsave
"#;

#[test]
fn a_redis_whose_password_somebody_changed_gets_it_back_by_a_restart() {
    let mut patient = redis("password", PERSISTENT);
    patient.boot();
    let fault = broken(|| assert_eq!(ask(&patient, &["config", "set", "requirepass", "other"]), "OK"));
    patient.assert_detected(fault, by_probes(), Rule::Authentication);
    patient.wait_for_run(1);
    patient.assert_seen_before("redis#2", Rule::Authentication);
    patient.assert_healed();
    assert_eq!(ask(&patient, &["ping"]), "PONG");
    patient.shut_down();
}

#[test]
fn a_redis_that_the_kernel_killed_for_want_of_memory_is_back_and_the_want_is_the_cause() {
    let mut patient = redis("memory", PERSISTENT);
    patient.boot();
    let group = MemoryGroup::new("redis");
    group.add(patient.pid());
    group.limit(32 * 1024 * 1024);
    let greedy = "for i = 1, 1000000 do redis.call('set', i, string.rep('x', 1000)) end";
    let fault = broken(|| {
        let port = patient.port.to_string();
        let words = ["-p", &port, "-a", PASSWORD, "--no-auth-warning", "eval", greedy, "0"];
        let output = command("redis-cli").args(words).output().expect("redis-cli");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("OK"), "it did not end well: {output:?}");
    });
    let found = patient.assert_detected(fault, BY_EXIT, Rule::OutOfMemory);
    assert!(found.exit.is_some_and(|exit| exit.signal == Some(9) && !exit.is_ours), "{:?}", found.exit);
    patient.wait_for_run(1);
    patient.assert_seen_before("redis#2", Rule::OutOfMemory);
    patient.assert_healed();
    patient.shut_down();
}

#[test]
fn a_redis_that_starts_slowly_is_waited_for() {
    let mut patient = redis("slow", PERSISTENT);
    patient.boot();
    assert_slow_start(&patient);
    patient.shut_down();
}

/// Killed, and then as slow to start as its file allows: nobody kills it again.
pub(crate) fn assert_slow_start(patient: &Patient) {
    let slow = slow_start();
    fs::write(patient.path("slow"), slow.as_secs().to_string()).expect("a file");
    let pid = patient.pid();
    let fault = broken(|| kill(pid));
    patient.assert_detected(fault, BY_EXIT, Rule::Killed);
    patient.assert_seen_before(&format!("{}#2", patient.unit), Rule::Killed);
    let second =
        patient.instance.wait("starting", |look| look.is(patient.unit, "starting")).pid(patient.unit);
    wait_longer(slow, || {
        let look = patient.instance.look()?;
        (!look.is(patient.unit, "starting")).then_some(())
    });
    let look = patient.wait_for_run(1);
    assert_eq!(look.pid(patient.unit), second, "the second run is the one that is ready: {look:?}");
    assert_eq!(look.unit(patient.unit)["restarts"], 1, "{look:?}");
    let healed = patient.assert_healed();
    let outage = healed.times.recovered_millis.expect("closed") - fault.from;
    assert!(Duration::from_millis(outage) >= slow, "{outage} ms");
}

/// Patience of an ordinary wait does not last for a long one.
fn wait_longer(slow: Duration, mut is_over: impl FnMut() -> Option<()>) {
    for _ in 0..=slow.as_secs() / 20 {
        if eventually(&mut is_over).is_some() {
            return;
        }
    }
}
