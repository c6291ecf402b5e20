use std::net::TcpListener;

use crate::instance::{Instance, eventually, is_alive};

#[test]
fn a_unit_is_ready_when_its_port_answers_and_unhealthy_when_it_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let unit = format!(
        "command: [sleep, '1000']\nhealth: {{tcp: {{port: {port}}}, interval: 100ms, timeout: 100ms, retries: 2}}\n\
         restart: {{policy: never}}\n"
    );
    let mut instance = Instance::new("port", &[("a", &unit)]);
    instance.up();
    let look = instance.wait("ready", |look| look.is("a", "ready"));
    assert_eq!(look.unit("a")["health"], "passing");
    drop(listener);
    instance.wait_for_line("connection refused");
}

#[test]
fn case_31_a_probe_that_hangs_is_killed_with_what_it_started() {
    let unit = "command: [sleep, '1000']\n\
                health: {exec: [sh, -c, 'sleep 1000 & echo $! > child; wait'], interval: 200ms, timeout: 100ms}\n";
    let mut instance = Instance::new("hangs", &[("a", unit)]);
    instance.up();
    instance.wait_for_line("no answer within 100ms");
    let child = std::fs::read_to_string(instance.path("units/child")).expect("its child");
    let child: u32 = child.trim().parse().expect("a pid");
    assert!(eventually(|| (!is_alive(child)).then_some(())).is_some(), "{child} lives on");
    let at_once = instance.processes().len();
    assert!(at_once <= 4, "one in flight, no pile: {at_once} processes");
}

#[test]
fn what_an_exec_probe_says_is_shown() {
    let unit = "command: [sleep, '1000']\nhealth: {exec: [echo, PONG]}\n";
    let mut instance = Instance::new("says", &[("a", unit)]);
    instance.up();
    let look = instance.wait("ready", |look| look.is("a", "ready"));
    assert!(look.reason("a").contains("PONG"), "{}", look.reason("a"));
}

#[test]
fn a_missing_probe_program_is_no_failure_of_the_unit() {
    let unit = "command: [sleep, '1000']\nready: started\n\
                health: {exec: [/no/such/probe], interval: 100ms, timeout: 100ms, retries: 2}\n";
    let mut instance = Instance::new("error", &[("a", unit)]);
    instance.up();
    instance.wait_for_line("/no/such/probe");
    let look = instance.look().expect("a status");
    assert!(look.is("a", "ready"), "{look:?}");
    assert_eq!(look.unit("a")["restarts"], 0);
}
