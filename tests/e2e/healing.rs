use crate::instance::{Instance, eventually, is_alive, kill};

#[test]
fn case_24_a_killed_service_is_started_again_and_the_signal_is_known() {
    let quick = "command: [sleep, '1000']\nrestart: {backoff: {initial: 0s}}\n";
    let instance = Instance::booted("heals", &[("a", quick)]);
    let first = instance.look().expect("a status").pid("a");
    kill(first);
    let look = instance
        .wait("healed", |look| look.is("a", "ready") && look.unit("a")["pid"].as_u64() != Some(first.into()));
    assert_eq!(look.unit("a")["restarts"], 1);
    assert_eq!(look.unit("a")["last_exit"]["signal"], "SIGKILL");
}

#[test]
fn a_start_limit_ends_in_failed_and_a_person_may_still_start_it() {
    let unit = "command: [sh, -c, 'test -e fixed && exec sleep 1000; exit 7']\n\
                restart: {backoff: {initial: 1ms, max: 1ms}, limit: {starts: 3, within: 1m}}\n";
    let mut instance = Instance::new("limit", &[("a", unit)]);
    instance.up();
    let look = instance.wait("failed", |look| look.is("a", "failed"));
    assert!(look.reason("a").contains("exited with 7"), "{}", look.reason("a"));
    std::fs::write(instance.path("units/fixed"), "").expect("a file");
    instance.done(&["start", "a"]);
    assert!(instance.look().expect("a status").is("a", "ready"));
}

#[test]
fn case_19_a_stop_is_over_when_the_last_process_of_the_run_is_gone() {
    let unit = "command: [sh, -c, 'setsid sleep 1000 & echo $! > worker; exec sleep 1000']\n";
    let instance = Instance::booted("sweep", &[("a", unit)]);
    let worker = eventually(|| {
        std::fs::read_to_string(instance.path("units/worker")).ok()?.trim().parse::<u32>().ok()
    });
    let worker = worker.expect("its worker");
    assert!(is_alive(worker));
    instance.done(&["stop", "a"]);
    assert!(!is_alive(worker), "a worker in a session of its own went with it");
}
