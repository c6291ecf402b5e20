//! mcsup is replaced while services run, and none of them notices; what cannot take its place does not.
//!
//! Executables of another version, or that fail in one way or another, are copies of the one under test with a few
//! bytes changed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot set itself up has failed"
)]

#[path = "e2e/instance.rs"]
#[expect(dead_code, reason = "shared with the end-to-end tests, which use all of it")]
mod instance;
#[path = "reexec/executable.rs"]
mod executable;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::executable::Executable;
use crate::instance::{Instance, Look, eventually, is_alive, kill, timed};

const ROUNDS: usize = 20;
const WRITER: &str = "command: [sh, -c, 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.003; done']\n";
const SLEEP: &str = "command: [sleep, '1000']\n";

/// The executable that an instance runs lies in its home.
fn up(instance: &mut Instance, executable: &Executable) {
    install(instance, executable);
    let mut command = at(&instance.path("bin/mcsup"));
    command.env("MCSUP_HOME", &instance.dir);
    instance.up_by(&mut command);
    instance.wait("booted", |look| look.0["booted"] == true);
}

#[expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
fn at(path: &Path) -> Command {
    Command::new(path)
}

/// As a package does it: beside the old one, then in its place.
fn install(instance: &Instance, executable: &Executable) {
    fs::create_dir_all(instance.path("bin")).unwrap();
    let (new, path) = (instance.path("bin/mcsup.new"), instance.path("bin/mcsup"));
    executable.write(&new);
    fs::rename(new, path).unwrap();
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut said = String::new();
    stream.write_all(b"hello\n").is_ok() && stream.read_to_string(&mut said).is_ok() && said == "it works"
}

const TELL: &str = "import os, socket, array, time\n\
    def tell(text, fds=[]):\n  s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n  s.connect('\\0' + os.environ['NOTIFY_SOCKET'][1:])\n  \
    s.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else [])\n";
const KEEPS: &str = "names = os.environ.get('LISTEN_FDNAMES', '-')\n\
    if names == '-':\n  r, w = os.pipe(); os.write(w, b'kept')\n  tell('FDSTORE=1\\nFDNAME=end', [w]); tell('FDSTORE=1\\nFDNAME=state', [r])\n\
    else:\n  print('read', os.read(4, 4).decode(), flush=True)\n\
    tell('READY=1')\nwhile True: time.sleep(1000)\n";
const SERVES: &str = "import socket\ns = socket.socket(fileno=3)\n\
    while True:\n  c, _ = s.accept(); c.recv(100); c.sendall(b'it works'); c.close()\n";

/// Everything that must be the same before and after.
fn picture(look: &Look) -> Vec<String> {
    let units = look.0["units"].as_array().unwrap();
    let mut lines: Vec<String> = units
        .iter()
        .map(|unit| format!("{} {} {} {}", unit["name"], unit["state"], unit["pid"], unit["restarts"]))
        .collect();
    lines.push(format!("{} incidents", look.0["open_incidents"]));
    lines
}

struct Client {
    is_over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    worker: std::thread::JoinHandle<u64>,
}

impl Client {
    /// Asks without a pause; how often nobody answered comes out at the end.
    fn of(port: u16) -> Self {
        let (is_over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&asked));
        let worker = std::thread::spawn(move || {
            let mut refused = 0;
            while !over.load(Ordering::Relaxed) {
                refused += u64::from(!answers(port));
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(2));
            }
            refused
        });
        Self { is_over, asked, worker }
    }

    fn end(self) -> (u64, u64) {
        self.is_over.store(true, Ordering::Relaxed);
        (self.asked.load(Ordering::Relaxed), self.worker.join().unwrap())
    }
}

#[test]
fn two_versions_relieve_each_other_twenty_times_and_no_service_notices() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let web = format!("command: [python3, web.py]\nlisten: '127.0.0.1:{port}'\n");
    let units = [
        ("writer", WRITER),
        ("web", web.as_str()),
        ("store", "command: [python3, store.py]\nready: notify\nrestart: {backoff: {initial: 1ms}}\n"),
        ("killed", "command: [sleep, '1000']\nrestart: {backoff: {initial: 1ms}}\n"),
        ("stopped", SLEEP),
        (
            "waits",
            "command: [sh, -c, 'exit 3']\nrestart: {backoff: {initial: 1h, max: 1h}}\nblocks_phase: false\n",
        ),
        ("failed", "command: [sh, -c, 'exit 4']\nrestart: {policy: never}\nblocks_phase: false\n"),
    ];
    let mut instance = Instance::new("reexec", &units);
    fs::write(instance.path("units/web.py"), SERVES).unwrap();
    fs::write(instance.path("units/store.py"), [TELL, KEEPS].concat()).unwrap();
    let versions = [Executable::own(), Executable::own().called("0.1.1")];
    up(&mut instance, &versions[0]);
    let keeper = instance.keeper();
    kill(instance.wait("up", |look| look.is("killed", "ready")).pid("killed"));
    instance.done(&["stop", "stopped"]);
    let settled = |look: &Look| {
        ["writer", "web", "store", "killed"].iter().all(|unit| look.is(unit, "ready"))
            && look.unit("killed")["restarts"] == 1
            && look.is("stopped", "inactive")
            && look.is("waits", "backoff")
            && look.is("failed", "failed")
            && look.0["open_incidents"] == 2
    };
    let before = picture(&instance.wait("settled", settled));
    let client = Client::of(port);
    for round in 1..=ROUNDS {
        let (from, to) = (&versions[(round + 1) % 2], &versions[round % 2]);
        install(&instance, to);
        let supervisor = instance.supervisor();
        let told = instance.done(&["reexec"]);
        assert_eq!(
            told.trim(),
            format!("mcsup {} was replaced by {}; services go on", from.version, to.version)
        );
        let look = instance.wait("the same again", settled);
        assert_eq!(picture(&look), before, "round {round}:\n{}", instance.printed());
        assert!(is_alive(keeper) && instance.holder() == Some(keeper), "round {round}");
        assert_ne!(instance.supervisor(), supervisor, "round {round}");
        assert!(eventually(|| (!is_alive(supervisor)).then_some(())).is_some(), "round {round}");
    }
    let (asked, refused) = client.end();
    assert!(asked > 100 && refused == 0, "{refused} of {asked} were not answered");
    // Not a line is missing, doubled or torn, and more of them come.
    let log = || fs::read_to_string(instance.path("log/writer/current")).unwrap();
    let count = log().lines().count();
    assert!(eventually(|| (log().lines().count() > count + 100).then_some(())).is_some());
    let whole = log();
    let whole = &whole[..whole.rfind('\n').unwrap()];
    assert!(whole.lines().zip(1_u64..).all(|(line, number)| line == number.to_string()), "{whole}");
    // What is held for a unit's next run is still held, and its end is still seen.
    let pid = instance.look().unwrap().pid("store");
    kill(pid);
    instance.wait("store began again", |look| look.is("store", "ready") && look.pid("store") != pid);
    assert!(instance.printed().contains("store#1 killed by SIGKILL"), "{}", instance.printed());
    assert!(fs::read_to_string(instance.path("log/store/current")).unwrap().contains("read kept"));
    instance.done(&["restart", "web"]);
    assert!(answers(port), "the socket that is passed");
    instance.done(&["shutdown"]);
    assert!(instance.ended().success());
    assert_eq!(instance.processes(), [0_u32; 0]);
}

#[test]
fn what_the_supervisor_before_had_asked_a_probe_is_ended_with_it() {
    let ask = "health: [{exec: [sh, -c, 'echo $$ > asked; exec sleep 987'], interval: 20s, timeout: 19s}]\n";
    let unit = format!("command: [sleep, '1000']\nready: started\n{ask}");
    let mut instance = Instance::new("questions", &[("a", &unit)]);
    up(&mut instance, &Executable::own());
    let asked = || fs::read_to_string(instance.path("units/asked")).ok()?.trim().parse::<u32>().ok();
    let first = eventually(asked).expect("a question");
    assert!(is_alive(first));
    instance.done(&["reexec"]);
    // Long before its own time is up.
    let (ended, took) = timed(|| eventually(|| (!is_alive(first)).then_some(())));
    assert!(ended.is_some() && took < Duration::from_secs(10), "{first} was asked for another {took:?}");
}

/// Tries to replace it, in vain; what was said of that.
fn in_vain(instance: &Instance, executable: &Executable) -> String {
    install(instance, executable);
    let output = instance.run(&["reexec"]);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}\n{}", instance.printed());
    told
}

#[test]
fn an_executable_that_cannot_take_over_is_given_up_and_the_one_before_goes_on() {
    let mut instance = Instance::new("given-up", &[("writer", WRITER), ("stopped", SLEEP)]);
    up(&mut instance, &Executable::own());
    instance.done(&["stop", "stopped"]);
    let before = picture(&instance.wait("ready", |look| look.is("writer", "ready")));
    let keeper = instance.keeper();
    let other = || Executable::own().called("0.1.1");
    let cases = [
        (other().cut(), "it is cut"),
        (Executable::of(b"#!/bin/sh\nexec sleep 1000\n".to_vec()), "it is no executable"),
        (Executable::of(fs::read("/bin/true").unwrap()), "it is no mcsup that can take over"),
        (
            other().lacking_a_library(),
            "its rehearsal ended with 127: mcsup: error while loading shared libraries",
        ),
        (other().crashing("main"), "its rehearsal was ended by signal"),
        (other().hanging_in("rehearse"), "it did not finish its rehearsal in time"),
        // From here on what runs is another one until that shows.
        (other().crashing("supervisor"), "version 0.1.1 was given up: its supervisor was ended by signal"),
    ];
    for (executable, why) in cases {
        let told = in_vain(&instance, &executable);
        assert!(told.contains(why), "expected `{why}`:\n{told}");
        let look = instance.wait("the same again", |look| look.is("writer", "ready"));
        assert_eq!(picture(&look), before, "{why}");
        assert_eq!(instance.holder(), Some(keeper), "{why}");
        assert!(instance.printed().contains(why), "it is said to the people in front, too");
    }
    let events = instance.done(&["events", "--json"]);
    assert!(events.contains("announced") && events.contains("given up"), "{events}");
    // The last good one of all is taken after all these.
    install(&instance, &other());
    let told = instance.done(&["reexec", "--json"]);
    assert!(told.contains("\"to\":\"0.1.1\"") && !told.contains("trouble"), "{told}");
    assert_eq!(picture(&instance.wait("ready", |look| look.is("writer", "ready"))), before);
}

#[test]
fn a_keeper_that_dies_as_it_takes_over_is_followed_by_one_of_the_version_before() {
    let mut instance = Instance::new("dying-keeper", &[("writer", WRITER)]);
    up(&mut instance, &Executable::own());
    let pid = instance.wait("ready", |look| look.is("writer", "ready")).pid("writer");
    let told = in_vain(&instance, &Executable::own().called("0.1.1").crashing("keeper"));
    assert!(told.contains("version 0.1.1 was given up: it died before it had taken over"), "{told}");
    let look = instance.wait("ready", |look| look.is("writer", "ready"));
    assert_eq!(look.pid("writer"), pid);
    let log = || fs::read_to_string(instance.path("log/writer/current")).unwrap();
    let count = log().lines().count();
    assert!(eventually(|| (log().lines().count() > count + 10).then_some(())).is_some(), "it is still read");
    // And that one can be replaced.
    install(&instance, &Executable::own().called("0.1.2"));
    assert!(instance.done(&["reexec"]).contains("0.1.2"));
    assert_eq!(instance.wait("ready", |look| look.is("writer", "ready")).pid("writer"), pid);
}

#[test]
fn nothing_is_replaced_while_a_change_waits_to_be_confirmed_or_everything_is_being_stopped() {
    let slow = "command: [sh, -c, 'trap \"\" TERM; while :; do sleep 0.1; done']\nstop: {grace: 60s}\n";
    let mut instance = Instance::new("refused", &[("a", SLEEP), ("slow", slow)]);
    up(&mut instance, &Executable::own());
    instance.write("a", "command: [sleep, '1001']\n");
    instance.done(&["apply", "--confirm", "5m"]);
    let told = in_vain(&instance, &Executable::own());
    assert!(told.contains("a change is under way"), "{told}");
    instance.done(&["confirm"]);
    instance.done(&["shutdown", "--no-wait"]);
    let told = in_vain(&instance, &Executable::own());
    assert!(told.contains("everything is being stopped"), "{told}");
}
