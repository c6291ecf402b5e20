use std::os::unix::net::UnixListener;

use crate::instance::{Instance, mcsup};

const SLEEP: &str = "command: [sleep, '1000']\n";

/// Where each text stands in the output; all of them do, once.
fn in_order(printed: &str, texts: &[&str]) {
    let places: Vec<usize> = texts
        .iter()
        .map(|text| printed.find(text).unwrap_or_else(|| panic!("no `{text}` in:\n{printed}")))
        .collect();
    assert!(places.is_sorted(), "not in the order {texts:?}:\n{printed}");
}

#[test]
fn a_phase_starts_when_the_one_before_it_is_up() {
    let instance = Instance::booted(
        "phases",
        &[
            ("mcsup", "phases: [first, second]\ndefault_phase: second\n"),
            ("prepare", "kind: task\nphase: first\ncommand: [sh, -c, 'exit 0']\n"),
            ("store", "phase: first\ncommand: [sleep, '1000']\n"),
            ("app", SLEEP),
        ],
    );
    instance.wait_for_line("booted");
    let printed = instance.printed();
    in_order(&printed, &["prepare starting -> completed", "phase second is open", "app waiting -> starting"]);
    in_order(&printed, &["store starting -> ready", "phase second is open", "booted"]);
}

#[test]
fn a_dependent_waits_for_the_condition_it_names() {
    let instance = Instance::booted(
        "conditions",
        &[
            ("task", "kind: task\ncommand: [sh, -c, 'echo made > made; exit 0']\n"),
            ("user", "command: [sh, -c, 'test -e made && exec sleep 1000']\ndepends_on: {task: completed}\n"),
        ],
    );
    let look = instance.look().expect("a status");
    assert!(look.is("task", "completed") && look.is("user", "ready"), "{look:?}");
    assert_eq!(look.unit("user")["restarts"], 0, "it was not started before the file was there");
}

#[test]
fn case_26_a_dependency_that_gives_up_is_told_along_the_whole_chain() {
    let mut instance = Instance::new(
        "case-26",
        &[
            ("a", "command: [sh, -c, 'exit 3']\nrestart: {policy: never}\n"),
            ("b", "command: [sleep, '1000']\ndepends_on: [a]\nblocks_phase: false\n"),
            ("c", "command: [sleep, '1000']\ndepends_on: [b]\nblocks_phase: false\n"),
        ],
    );
    instance.write("a", "command: [/no/such/program]\nrestart: {policy: never}\n");
    instance.up();
    let look = instance.wait("a failed", |look| look.is("a", "failed"));
    assert!(look.reason("a").contains("/no/such/program: No such file"), "{}", look.reason("a"));
    let look = instance.wait("c says why", |look| look.reason("c").contains('b'));
    assert!(look.is("b", "waiting") && look.is("c", "waiting"), "{look:?}");
    assert!(look.reason("b").contains('a'), "{}", look.reason("b"));
}

#[test]
fn the_name_of_a_group_means_all_its_replicas() {
    let web = "command: [sh, -c, 'echo hello; exec sleep 1000']\nreplicas: 2\n";
    let instance = Instance::booted("group", &[("web", web), ("website", SLEEP)]);
    let before = instance.look().expect("a status");
    let shown = instance.done(&["status", "web"]);
    assert!(shown.contains("web@1") && shown.contains("web@2") && !shown.contains("website"), "{shown}");
    instance.done(&["restart", "web"]);
    let after = instance.look().expect("a status");
    for name in ["web@1", "web@2"] {
        assert_ne!(after.pid(name), before.pid(name), "{name}");
    }
    assert_eq!(after.pid("website"), before.pid("website"));
    let why = instance.done(&["why", "web"]);
    assert!(why.contains("web@1 is ready") && why.contains("web@2 is ready"), "{why}");
    let logged = instance.done(&["logs", "web"]);
    assert!(logged.contains("web@1 | hello") && logged.contains("web@2 | hello"), "{logged}");
    let unknown = instance.run(&["restart", "wep"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no unit is called `wep`"), "{unknown:?}");
}

#[test]
fn units_with_errors_are_shown_and_nothing_starts() {
    let mut instance = Instance::new("bad-units", &[("good", SLEEP), ("bad", "comand: [sleep, '1']\n")]);
    instance.up();
    assert_eq!(instance.ended().code(), Some(1));
    let printed = instance.printed();
    assert!(printed.contains("comand") && printed.contains("bad.yaml"), "{printed}");
    assert!(instance.processes().is_empty(), "nothing was started");
}

#[test]
fn case_12_a_second_supervisor_on_the_same_home_is_refused_by_the_pid_of_the_first() {
    let instance = Instance::booted("second", &[("a", SLEEP)]);
    let refused = mcsup(&instance.dir).arg("up").output().expect("mcsup");
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("pid {}", instance.keeper())), "{text}");
    assert!(instance.look().expect("a status").is("a", "ready"), "the first goes on");
}

#[test]
fn case_12_a_socket_that_nobody_answers_is_replaced() {
    let mut instance = Instance::new("stale", &[("a", SLEEP)]);
    std::fs::create_dir_all(instance.path("run")).expect("a directory");
    drop(UnixListener::bind(instance.path("run/mcsup.sock")).expect("a socket"));
    instance.up();
    instance.wait("booted", |look| look.0["booted"] == true);
}

#[test]
fn a_home_with_a_path_over_107_bytes_works() {
    let deep = format!("deep/{}/{}", "d".repeat(100), "e".repeat(100));
    let instance = Instance::booted(&deep, &[("a", SLEEP)]);
    assert!(instance.look().expect("a status").is("a", "ready"));
}

#[test]
fn a_unit_gets_its_environment_and_nothing_else_of_ours() {
    let mut instance = Instance::new(
        "environment",
        &[(
            "a",
            "kind: task\n\
             command: [sh, -c, 'echo $1 $ONE $TWO $THREE $HOME ${SECRET-none} $MCSUP_RUN > seen', x, '${ONE}']\n\
             environment: {ONE: '1', TWO: '${ONE}2'}\n\
             env_file: [more.env]\n",
        )],
    );
    std::fs::write(instance.path("units/more.env"), "THREE=3\n").expect("a file");
    instance.up_by(mcsup(&instance.dir.clone()).env("SECRET", "x"));
    instance.wait("completed", |look| look.is("a", "completed"));
    let seen = std::fs::read_to_string(instance.path("units/seen")).expect("what it saw");
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(words[..4], ["1", "1", "12", "3"], "{seen}");
    assert!(words[4].starts_with('/'), "HOME of the user: {seen}");
    assert_eq!(words[5], "none", "{seen}");
    assert!(words[6].starts_with("a#1:"), "{seen}");
}

#[test]
fn an_undefined_variable_of_an_env_file_is_a_failed_start_that_says_so() {
    let mut instance = Instance::new(
        "undefined",
        &[(
            "a",
            "command: [sleep, '${SECONDS_TO_SLEEP}']\nenv_file: [missing.env]\nrestart: {policy: never}\n",
        )],
    );
    instance.up();
    let look = instance.wait("failed", |look| look.is("a", "failed"));
    assert!(look.reason("a").contains("missing.env"), "{}", look.reason("a"));
}
