//! Failures that people ask about later: one incident, its evidence, its cause.

use std::fs;
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;

use crate::instance::{Instance, eventually, kill, signal};

const SLEEP: &str = "command: [sleep, '1000']\n";
const QUICK: &str = "command: [sleep, '1000']\nrestart: {backoff: {initial: 0s}}\n";

fn json(instance: &Instance, words: &[&str]) -> Value {
    let output = instance.run(words);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{words:?}: {error}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn ids(instance: &Instance) -> Vec<u64> {
    let list = json(instance, &["incidents", "--json"]);
    let ids = list["incidents"].as_array().expect("incidents").iter().map(|one| one["id"].as_u64());
    ids.map(|id| id.expect("a number")).collect()
}

/// What is kept of an incident, once its evidence is.
fn evidence(instance: &Instance, id: u64) -> Value {
    let path = instance.path(&format!("state/incidents/{id:06}/evidence.json"));
    let found = eventually(|| serde_json::from_slice(&fs::read(&path).ok()?).ok());
    found.unwrap_or_else(|| panic!("no {}:\n{}", path.display(), instance.printed()))
}

fn timeline(instance: &Instance, id: u64) -> Vec<Value> {
    let path = instance.path(&format!("state/incidents/{id:06}/timeline.jsonl"));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_crash_loop_is_one_incident_with_its_evidence_on_disk_before_the_restart() {
    let unit = "command: [sh, -c, 'echo FATAL: the flux capacitor is missing; sleep 0.05; exit 3']\n\
                restart: {backoff: {initial: 1s, max: 1s, jitter: 0}}\n";
    let mut instance = Instance::new("one-incident", &[("a", unit)]);
    instance.up();
    let evidence = evidence(&instance, 1);
    assert_eq!(evidence["exit"]["code"], 3, "{evidence}");
    let lines = evidence["log"]["lines"].as_array().expect("lines");
    assert!(lines.iter().any(|line| line == "FATAL: the flux capacitor is missing"), "{lines:?}");
    assert!(evidence["usage"]["most_memory_bytes"].as_u64() > Some(0), "{evidence}");
    let looped =
        instance.wait("in its loop", |look| look.unit("a")["restarts"].as_u64().is_some_and(|n| n >= 2));
    assert_eq!(looped.unit("a")["incident"], 1);
    assert_eq!(ids(&instance), [1]);
    let timeline = timeline(&instance, 1);
    let at = |wanted: &dyn Fn(&Value) -> bool| timeline.iter().position(wanted);
    let kept = at(&|moment| moment["kind"] == "evidence").expect("evidence in the timeline");
    let again = at(&|moment| moment["text"].as_str().is_some_and(|text| text.starts_with("backoff -> ")));
    assert!(again.is_some_and(|again| kept < again), "{timeline:#?}");
}

#[test]
fn a_file_counts_as_changed_once_a_boot_took_it_up_and_no_earlier() {
    let mut instance = Instance::booted("changed", &[("a", QUICK)]);
    // Young, but nothing reads it before the next boot.
    instance.write("a", &format!("{QUICK}environment: {{LEVEL: '1'}}\n"));
    kill(instance.look().expect("a status").pid("a"));
    assert_eq!(evidence(&instance, 1)["change"], Value::Null, "{:#}", evidence(&instance, 1));
    instance.wait("healed", |look| look.is("a", "ready"));
    instance.done(&["shutdown"]);
    instance.ended();
    instance.up();
    kill(instance.wait("booted", |look| look.0["booted"] == true && look.is("a", "ready")).pid("a"));
    assert_eq!(evidence(&instance, 2)["change"]["what"], "file a.yaml", "{:#}", evidence(&instance, 2));
}

#[test]
fn why_names_the_stranger_who_has_the_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let unit = format!(
        "command: [python3, -m, http.server, '{port}', --bind, 127.0.0.1]\nready: health\n\
         health: {{http: 'http://127.0.0.1:{port}/'}}\n"
    );
    let needs = "command: [sleep, '1000']\ndepends_on: {web: healthy}\n";
    let mut instance = Instance::new("why-port", &[("web", &unit), ("api", needs)]);
    instance.up();
    let pid = std::process::id();
    let told = eventually(|| {
        let why = String::from_utf8_lossy(&instance.run(&["why", "api"]).stdout).into_owned();
        why.contains("because").then_some(why)
    });
    let why = told.expect("a cause");
    assert!(why.starts_with("api is waiting: waits for web to be healthy"), "{why}");
    assert!(why.contains(&format!("127.0.0.1:{port} is taken by")), "{why}");
    assert!(why.contains(&format!("(pid {pid})")) && why.contains("Address already in use"), "{why}");
    drop(taken);
    instance.wait("healed", |look| look.is("web", "ready") && look.is("api", "ready"));
}

#[test]
fn a_frozen_process_is_looked_at_before_it_is_killed() {
    let script = "import http.server, socketserver; \
                  s = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler); \
                  open('port', 'w').write(str(s.server_port)); s.serve_forever()";
    let unit = format!(
        "command: [python3, -c, \"{script}\"]\n\
         health: {{exec: [sh, -c, 'curl -sf -m 0.5 http://127.0.0.1:$(cat port)/'], interval: 1s, timeout: 700ms, retries: 2}}\n\
         restart: {{backoff: {{initial: 0s}}}}\n"
    );
    let instance = Instance::booted("frozen", &[("web", &unit)]);
    let before = instance.look().expect("a status").pid("web");
    signal(before, Signal::STOP);
    instance.wait("healed", |look| look.is("web", "ready") && look.unit("web")["pid"] != before);
    let evidence = evidence(&instance, 1);
    let process = &evidence["processes"][0];
    assert_eq!((process["pid"].as_u64(), process["state"].as_str()), (Some(before.into()), Some("T")));
    assert_eq!(evidence["ports"].as_array().map(Vec::len), Some(1), "{evidence:#}");
    assert_eq!(evidence["causes"][0]["rule"], "stopped", "{evidence:#}");
    let probes = evidence["probes"].as_array().expect("answers");
    assert!(probes.iter().any(|answer| answer["verdict"] == "fail"), "{probes:?}");
    assert!(probes.iter().all(|answer| answer["took_micros"].as_u64() > Some(0)), "{probes:?}");
}

#[test]
fn an_incident_outlives_its_supervisor_and_is_closed_by_the_next() {
    let unit = "command: [sh, -c, 'test -e fixed && exec sleep 1000; exit 7']\n\
                restart: {backoff: {initial: 200ms, max: 200ms}}\n";
    let mut instance = Instance::new("outlives", &[("a", unit), ("b", QUICK)]);
    instance.up();
    let first = evidence(&instance, 1)["captured_millis"].clone();
    instance.wait("in its loop", |look| look.unit("a")["restarts"].as_u64().is_some_and(|n| n >= 1));
    instance.lose_supervisor();
    let list = eventually(|| {
        let list = json(&instance, &["incidents", "--json"]);
        (list["incidents"][0]["open"] == true).then_some(list)
    });
    let list = list.expect("it is still open");
    assert_eq!((ids(&instance), list["incidents"][0]["failure"].as_str()), (vec![1], Some("exited with 7")));
    fs::write(instance.path("units/fixed"), "").expect("a file");
    let over = eventually(|| {
        let one = json(&instance, &["incidents", "1", "--json"]);
        (one["incident"]["open"] == false).then_some(one)
    });
    let over = over.expect("it is over");
    assert!(over["incident"]["recovered"].is_string(), "{:#}", over["incident"]);
    assert!(
        over["incident"]["cause"].as_str().is_some_and(|cause| !cause.is_empty()),
        "{:#}",
        over["incident"]
    );
    assert_eq!(evidence(&instance, 1)["captured_millis"], first, "what shows how it began stays");
    let page = instance.done(&["incidents", "1", "--postmortem"]);
    assert!(page.contains("## Probable cause") && page.contains("exited with 7"), "{page}");
}

#[test]
fn what_is_given_up_or_only_just_healed_is_still_open_for_the_next_supervisor() {
    let broken =
        "command: [sh, -c, 'exit 4']\nrestart: {backoff: {initial: 0s}, limit: {starts: 1, within: 10m}}\n";
    // Stable only long after this test.
    let patient = format!("{QUICK}recover: {{rungs: [restart], settle: 1h}}\n");
    let mut instance = Instance::new("given-up", &[("a", broken), ("b", &patient)]);
    instance.up();
    let before = instance.wait("both", |look| look.is("a", "failed") && look.is("b", "ready")).pid("b");
    kill(before);
    instance.wait("healed", |look| look.is("b", "ready") && look.pid("b") != before);
    evidence(&instance, 2);
    instance.lose_supervisor();
    let list = eventually(|| {
        let list = json(&instance, &["incidents", "--json"]);
        (list["incidents"].as_array().map(Vec::len) == Some(2)).then_some(list)
    });
    let list = list.expect("both are listed");
    for incident in list["incidents"].as_array().expect("incidents") {
        assert_eq!(incident["open"], true, "{list:#}");
    }
    let given_up = &list["incidents"][1];
    assert!(given_up["recovered"].is_null() && given_up["unit"] == "a", "{list:#}");
}

#[test]
fn a_repair_that_was_cut_short_with_its_supervisor_runs_again_and_the_story_says_so() {
    let unit = "command: [sleep, '1000']\nhealth: {exec: [test, '!', -e, broken], interval: 200ms, retries: 1}\n\
                recover: [{exec: [sh, -c, 'echo x >> repairs; test -e may_heal && exec rm broken; exec sleep 1000']}]\n";
    let instance = Instance::booted("repair-again", &[("a", unit)]);
    fs::write(instance.path("units/broken"), "").expect("a file");
    let repairs = |count: usize| {
        let text = eventually(|| {
            let text = fs::read_to_string(instance.path("units/repairs")).ok()?;
            (text.lines().count() == count).then_some(())
        });
        assert!(text.is_some(), "{count} repairs:\n{}", instance.printed());
    };
    repairs(1);
    fs::write(instance.path("units/may_heal"), "").expect("a file");
    kill(instance.supervisor());
    repairs(2);
    instance.wait("healed", |look| look.is("a", "ready") && look.unit("a")["health"] == "passing");
    let again = "tries its repair program again: it was cut short when the supervisor ended";
    let told =
        eventually(|| timeline(&instance, 1).iter().any(|moment| moment["text"] == again).then_some(()));
    assert!(told.is_some(), "{:#?}", timeline(&instance, 1));
    let events = instance.done(&["events", "--json"]);
    let is_told = |line: &str| line.contains("rung-repeated") && line.contains(again);
    assert!(events.lines().any(is_told), "{events}");
}

#[test]
fn an_incident_that_found_no_room_on_disk_stays_listed_for_the_next_supervisor() {
    let broken =
        "command: [sh, -c, 'exit 4']\nrestart: {backoff: {initial: 0s}, limit: {starts: 1, within: 10m}}\n";
    let mut instance = Instance::new("no-files", &[("a", broken)]);
    fs::create_dir_all(instance.path("state")).expect("a directory");
    fs::write(instance.path("state/incidents"), "in the way").expect("a file");
    fs::create_dir_all(instance.path("state/history.db/in-the-way")).expect("a directory");
    instance.up();
    instance.wait("given up", |look| look.is("a", "failed"));
    instance.lose_supervisor();
    let list = eventually(|| {
        let list = json(&instance, &["incidents", "--json"]);
        (list["incidents"].as_array().map(Vec::len) == Some(1)).then_some(list)
    });
    let list = list.unwrap_or_else(|| panic!("{:#}", json(&instance, &["incidents", "--json"])));
    let incident = &list["incidents"][0];
    assert_eq!(
        (&incident["id"], &incident["open"], &incident["unit"]),
        (&1.into(), &true.into(), &"a".into())
    );
    assert_eq!(incident["failure"], "exited with 4", "{incident:#}");
    assert!(incident["detected"].as_str().is_some_and(|at| !at.starts_with("1970")), "{incident:#}");
    let one = json(&instance, &["incidents", "1", "--json"]);
    assert_eq!(one["missing"][0], "files: none are kept", "{one:#}");
    let shown = String::from_utf8_lossy(&instance.run(&["incidents", "1"]).stdout).into_owned();
    assert!(shown.contains("files: none are kept"), "{shown}");
}

#[test]
fn the_next_boot_counts_on_and_says_what_became_of_the_last_ones() {
    let broken = "command: [sh, -c, 'exit 4']\nrestart: {backoff: {initial: 10m}}\n";
    let mut instance = Instance::new("counts-on", &[("a", broken)]);
    instance.up();
    evidence(&instance, 1);
    let listed = eventually(|| (ids(&instance) == [1]).then_some(()));
    assert!(listed.is_some());
    instance.lose_both_rings();
    fs::remove_file(instance.path("state/journal")).expect("as after a boot of the machine");
    instance.up();
    evidence(&instance, 2);
    let list = eventually(|| {
        let list = json(&instance, &["incidents", "--json"]);
        (list["incidents"].as_array().map(Vec::len) == Some(2)).then_some(list)
    });
    let list = list.expect("both are listed");
    assert_eq!(list["incidents"][0]["open"], true, "{list:#}");
    assert_eq!((&list["incidents"][1]["id"], &list["incidents"][1]["open"]), (&1.into(), &false.into()));
    assert_eq!(list["incidents"][1]["verdict"], "mcsup ended before it was over", "{list:#}");
}

#[test]
fn where_nothing_can_be_kept_units_heal_all_the_same_and_it_is_said_once() {
    let mut instance = Instance::new("no-room", &[("a", QUICK), ("b", SLEEP)]);
    fs::create_dir_all(instance.path("state")).expect("a directory");
    // Neither a directory nor a database can be made of these.
    fs::write(instance.path("state/incidents"), "in the way").expect("a file");
    fs::create_dir_all(instance.path("state/history.db/in-the-way")).expect("a directory");
    instance.up();
    let before = instance.wait("booted", |look| look.0["booted"] == true).pid("a");
    kill(before);
    instance.wait("healed", |look| look.is("a", "ready") && look.pid("a") != before);
    instance.wait_for_line("cannot write the files of an incident");
    instance.wait_for_line("the history is off");
    instance.wait_for_line("not all evidence for incident 1 could be kept");
    let list = json(&instance, &["incidents", "--json"]);
    assert_eq!(list["incidents"][0]["failure"], "killed by SIGKILL", "{list:#}");
    assert!(list["gap"].as_str().is_some_and(|gap| !gap.is_empty()), "{list:#}");
    let again = instance.look().expect("a status").pid("a");
    kill(again);
    instance.wait("healed again", |look| look.is("a", "ready") && look.pid("a") != again);
    for text in ["cannot write the files of an incident", "the history is off"] {
        assert_eq!(instance.printed().matches(text).count(), 1, "{text}:\n{}", instance.printed());
    }
}

#[test]
fn a_damaged_history_is_put_aside_and_begun_anew() {
    let mut instance = Instance::new("damaged", &[("a", QUICK)]);
    fs::create_dir_all(instance.path("state")).expect("a directory");
    fs::write(instance.path("state/history.db"), [b'x'; 8192]).expect("rubbish");
    instance.up();
    let before = instance.wait("booted", |look| look.0["booted"] == true).pid("a");
    kill(before);
    instance.wait_for_line("the history was damaged");
    let listed = eventually(|| (ids(&instance) == [1]).then_some(()));
    assert!(listed.is_some());
    let list = json(&instance, &["incidents", "--json"]);
    assert_eq!(list["gap"], "", "{list:#}");
}

#[test]
fn a_gate_opens_when_its_facts_say_so_and_names_the_part_that_does_not_hold() {
    let gate = "kind: gate\ncheck: units.a.restarts > 0 && guard.memory >= 0.0 && host.cpu >= 0.0 && disk('/').free > 0\n\
                interval: 200ms\n";
    let mut instance = Instance::new("gate", &[("a", QUICK), ("gate", gate)]);
    instance.up();
    let look = instance
        .wait("held", |look| look.is("a", "ready") && look.reason("gate").contains("units.a.restarts > 0"));
    assert!(!look.is("gate", "ready"), "{look:?}");
    kill(look.pid("a"));
    instance.wait("open", |look| look.is("gate", "ready"));
}

#[test]
fn who_only_waits_for_what_failed_is_among_those_that_the_incident_reached() {
    let units = [
        ("db", "command: [/nowhere/db]\nrestart: never\n"),
        ("api", "command: [sleep, '1000']\ndepends_on: [db]\n"),
        ("web", "command: [sleep, '1000']\ndepends_on: [api]\n"),
    ];
    let mut instance = Instance::new("reached", &units);
    instance.up();
    instance.wait("failed", |look| look.is("db", "failed"));
    let affected = || json(&instance, &["incidents", "1", "--json"])["incident"]["affected"].clone();
    let all = serde_json::json!(["api", "web"]);
    assert!(eventually(|| (affected() == all).then_some(())).is_some(), "{}", affected());
}
