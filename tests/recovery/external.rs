//! What somebody else runs: a real pm2 app, and the command lines that docker and systemd document.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::instance::{Instance, eventually, mcsup};
use crate::patient::{Patient, broken, by_probes, command, run};
use crate::place::{free_ports, public_home};

/// pm2 as npm installs it, with a daemon of the test's own.
#[derive(Debug)]
struct Pm2 {
    home: PathBuf,
    programs: PathBuf,
}

impl Pm2 {
    fn new() -> Self {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pm2/node_modules/.bin");
        assert!(programs.join("pm2").exists(), "there is no pm2: tests/run installs it");
        // Its daemon lives there, longer than the instance.
        Self { home: public_home("recovery-pm2-home"), programs }
    }

    fn path(&self) -> String {
        format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap_or_default())
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut pm2 = command(&self.programs.join("pm2").display().to_string());
        pm2.args(words).env("PM2_HOME", &self.home);
        pm2
    }

    fn app(&self) -> Value {
        let said = run(&mut self.command(&["jlist"]));
        // Its greeting may come first.
        let list = said.lines().rev().find(|line| line.starts_with('[')).expect("a list");
        let list: Value = serde_json::from_str(list).expect("JSON");
        list[0].clone()
    }

    fn status(&self) -> String {
        self.app()["pm2_env"]["status"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        drop(self.command(&["kill"]).output());
        drop(fs::remove_dir_all(&self.home));
    }
}

const APP: &str = "require('http').createServer((request, reply) => reply.end('well'))\
                   .listen(PORT, '127.0.0.1');\n";

fn answer_of(port: u16) -> Option<String> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    server.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    server.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn a_pm2_app_that_somebody_stopped_is_recovered_by_the_ladder_and_outlives_mcsup() {
    let [port] = free_ports();
    let mut patient = Patient::new("pm2", "crm", port);
    let pm2 = Pm2::new();
    fs::write(patient.path("app.js"), APP.replace("PORT", &port.to_string())).expect("an app");
    let app = patient.path("app.js").display().to_string();
    run(&mut pm2.command(&["start", &app, "--name", "crm", "--silent"]));
    assert!(eventually(|| answer_of(port).filter(|text| text.contains("well"))).is_some());
    let unit = format!(
        "kind: external\nadapter: pm2\ntarget: crm\nenvironment: {{PM2_HOME: '{}'}}\n\
         health: {{http: 'http://127.0.0.1:{port}/', interval: 500ms, timeout: 300ms, retries: 3}}\n\
         recover: {{rungs: [restart], settle: 2s}}\nstart_timeout: 20s\n",
        pm2.home.display()
    );
    patient.instance.write("crm", &unit);
    let path = pm2.path();
    patient.boot_with(mcsup(&patient.instance.dir.clone()).env("PATH", path));
    let first = pm2.app();
    assert_eq!(first["pm2_env"]["restart_time"], 0, "what works is left alone");

    let fault = broken(|| drop(run(&mut pm2.command(&["stop", "crm", "--silent"]))));
    patient.assert_noticed(fault, by_probes());
    patient.wait_for_run(0);
    assert!(eventually(|| answer_of(port).filter(|text| text.contains("well"))).is_some());
    let again = pm2.app();
    assert_eq!(again["pm2_env"]["status"], "online", "{again}");
    assert_ne!(again["pid"], first["pid"], "{again}");
    let healed = patient.assert_healed();
    assert_eq!(healed.rungs.len(), 1, "{healed:#?}");

    // A person's stop is a lever, and so is the start.
    patient.instance.done(&["stop", "crm"]);
    assert_eq!(pm2.status(), "stopped");
    patient.instance.done(&["start", "crm"]);
    assert_eq!(pm2.status(), "online");
    let last = pm2.app();
    patient.shut_down_around(|| {
        assert_eq!(pm2.app()["pid"], last["pid"], "what is not ours is not ended with us");
    });
}

/// Stands in for a program that has verbs for its targets: writes down how it was called, and is what it was
/// told to be. `down`: the target does not run.
const STAND_IN: &str = r#"#!/bin/sh
case "$1" in is-active) test ! -e HOME/down; exit;; esac
echo "${0##*/} $*" >> HOME/calls
case "$1" in
start|restart) rm -f HOME/down ;;
stop) touch HOME/down ;;
esac
"#;

struct StandIn {
    instance: Instance,
}

impl StandIn {
    fn new(program: &str, unit: &str) -> Self {
        let patient = Patient::new(program, "web", 0);
        patient.write(program, &STAND_IN.replace("HOME", &patient.home()));
        patient.instance.write("web", &unit.replace("HOME", &patient.home()));
        let mut stand_in = Self { instance: patient.instance };
        let path =
            format!("{}:{}", stand_in.instance.dir.display(), std::env::var("PATH").unwrap_or_default());
        // It does not run yet: the lever `start` is what brings it up.
        fs::write(stand_in.instance.path("down"), "").expect("a file");
        stand_in.instance.up_by(mcsup(&stand_in.instance.dir.clone()).env("PATH", path));
        stand_in.instance.wait("up", |look| look.is("web", "ready"));
        stand_in
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.instance.path("calls")).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    fn wait_for_call(&self, call: &str) {
        let called = eventually(|| self.calls().iter().any(|one| one == call).then_some(()));
        assert!(called.is_some(), "`{call}` is not in {:?}\n{}", self.calls(), self.instance.printed());
    }
}

fn assert_levers(program: &str, target: &str, unit: &str) {
    let mut stand_in = StandIn::new(program, unit);
    assert_eq!(stand_in.calls(), [format!("{program} start {target}")]);
    fs::write(stand_in.instance.path("down"), "").expect("a file");
    stand_in.wait_for_call(&format!("{program} restart {target}"));
    stand_in.instance.wait("healed", |look| look.is("web", "ready"));
    stand_in.instance.done(&["stop", "web"]);
    stand_in.wait_for_call(&format!("{program} stop {target}"));
    stand_in.instance.done(&["start", "web"]);
    stand_in.instance.done(&["restart", "web"]);
    let expected =
        ["start", "restart", "stop", "start", "restart"].map(|verb| format!("{program} {verb} {target}"));
    assert_eq!(stand_in.calls(), expected);
    stand_in.instance.done(&["shutdown"]);
    assert_eq!(stand_in.instance.ended().code(), Some(0));
    assert_eq!(stand_in.calls(), expected, "a shutdown ends the watch and nothing else");
}

#[test]
fn a_container_is_moved_by_the_command_lines_that_docker_documents() {
    let unit = "kind: external\nadapter: docker\ntarget: shop-web\n\
                health: {exec: [test, '!', -e, HOME/down], interval: 200ms, timeout: 200ms, retries: 2}\n\
                recover: {rungs: [restart], settle: 2s}\n";
    assert_levers("docker", "shop-web", unit);
}

#[test]
fn a_systemd_unit_is_asked_and_moved_by_the_command_lines_that_systemctl_documents() {
    let unit = "kind: external\nadapter: systemd\ntarget: web.service\n\
                recover: {rungs: [restart], settle: 2s}\n";
    // `systemctl is-active --quiet web.service` is what tells that it is down.
    assert_levers("systemctl", "web.service", unit);
}
