//! Programs that tell that they are ready, that they live, and what else there is to know.

use std::fs;
use std::net::TcpStream;

use crate::instance::{Instance, eventually, kill};
use crate::passed::{APP, free_port, get};

/// With the words of sd_notify(3) at hand.
const PRELUDE: &str = r#"
import os, socket, sys, time
def tell(text, fds=()):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
    socket.send_fds(s, [text.encode()], fds)
    s.close()
def barrier():
    read, write = os.pipe()
    tell("BARRIER=1", [write])
    os.close(write)
    os.read(read, 1)
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.01)
def forever():
    while True: time.sleep(1000)
"#;

fn with_script(test: &str, keys: &str, script: &str) -> Instance {
    let unit = format!("command: [/usr/bin/python3, a.py]\n{keys}");
    let mut instance = Instance::new(test, &[("a", &unit)]);
    fs::write(instance.path("units/a.py"), format!("{PRELUDE}\n{script}")).expect("a script");
    instance.up();
    instance
}

#[test]
fn redis_supervised_by_systemd_is_ready_when_it_says_so() {
    let port = free_port();
    let unit = format!(
        "command: [redis-server, --port, '{port}', --supervised, systemd, --save, '', --appendonly, 'no']\nready: notify\n"
    );
    let mut instance = Instance::new("redis-notify", &[("redis", &unit)]);
    instance.up();
    instance.wait("ready", |look| look.is("redis", "ready"));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "ready, and does not answer");
}

#[test]
fn gunicorn_tells_that_it_is_ready_on_the_socket_that_it_was_passed() {
    let port = free_port();
    let unit = format!("command: [gunicorn, 'app:app']\nready: notify\nlisten: '127.0.0.1:{port}'\n");
    let mut instance = Instance::new("gunicorn-notify", &[("web", &unit)]);
    fs::write(instance.path("units/app.py"), APP).expect("an app");
    instance.up();
    instance.wait("ready", |look| look.is("web", "ready"));
    assert!(get(port).expect("an answer").ends_with("it works"));
}

#[test]
fn systemd_notify_makes_a_shell_script_ready() {
    let script =
        "while ! [ -e go ]; do sleep 0.02; done; systemd-notify --ready --status=serving; exec sleep 1000";
    let unit = format!("command: [sh, -c, '{script}']\nready: notify\n");
    let mut instance = Instance::new("systemd-notify", &[("a", &unit)]);
    instance.up();
    instance.wait("starting", |look| look.is("a", "starting") && look.unit("a")["pid"].is_u64());
    fs::write(instance.path("units/go"), "").expect("a file");
    instance.wait("ready", |look| look.is("a", "ready"));
}

#[test]
fn a_supervisor_that_dies_between_the_start_and_the_word_misses_nothing() {
    let script = "wait_for('go'); tell('READY=1'); open('told', 'w'); forever()";
    let instance = with_script("told-nobody", "ready: notify\n", script);
    let look = instance.wait("starting", |look| look.is("a", "starting") && look.unit("a")["pid"].is_u64());
    // It stands still while the word comes, and never gets to hear it.
    let supervisor = instance.supervisor();
    crate::instance::signal(supervisor, rustix::process::Signal::STOP);
    fs::write(instance.path("units/go"), "").expect("a file");
    assert!(eventually(|| instance.path("units/told").exists().then_some(())).is_some());
    kill(supervisor);
    let after = instance.wait("ready", |look| look.is("a", "ready"));
    assert_eq!(after.pid("a"), look.pid("a"));
}

#[test]
fn a_newline_on_the_agreed_descriptor_means_ready() {
    let unit = "command: [sh, -c, 'while ! [ -e go ]; do sleep 0.02; done; echo >&4; exec sleep 1000']\nready: {fd: 4}\n";
    let mut instance = Instance::new("ready-fd", &[("a", unit)]);
    instance.up();
    instance.wait("starting", |look| look.is("a", "starting") && look.unit("a")["pid"].is_u64());
    fs::write(instance.path("units/go"), "").expect("a file");
    instance.wait("ready", |look| look.is("a", "ready"));
}

#[test]
fn a_line_of_the_log_means_ready_also_for_a_supervisor_that_came_later() {
    let unit = "command: [sh, -c, 'echo booting; while ! [ -e go ]; do sleep 0.02; done; echo listening on 80; rm go; exec sleep 1000']\n\
                ready: {log: '^listening on [0-9]+$'}\nrestart: {backoff: {initial: 1ms}}\n";
    let mut instance = Instance::new("ready-log", &[("a", unit)]);
    instance.up();
    let starting = |instance: &Instance| {
        instance.wait("starting", |look| look.is("a", "starting") && look.unit("a")["pid"].is_u64())
    };
    starting(&instance);
    fs::write(instance.path("units/go"), "").expect("a file");
    let first = instance.wait("ready", |look| look.is("a", "ready")).pid("a");
    // The line of the run before says nothing of this one.
    kill(first);
    let second = starting(&instance);
    assert_ne!(second.pid("a"), first);
    let supervisor = instance.supervisor();
    crate::instance::signal(supervisor, rustix::process::Signal::STOP);
    fs::write(instance.path("units/go"), "").expect("a file");
    let lines = || fs::read_to_string(instance.path("log/a/current")).unwrap_or_default();
    assert!(eventually(|| (lines().matches("listening").count() == 2).then_some(())).is_some());
    kill(supervisor);
    instance.wait("ready", |look| look.is("a", "ready"));
}

#[test]
fn a_watchdog_that_is_not_fed_any_more_is_a_failure() {
    let script = "tell('READY=1')\nn = 0\nwhile not os.path.exists('hang'): tell('WATCHDOG=1'); time.sleep(0.05)\nos.remove('hang')\nforever()";
    let keys = "ready: notify\nwatchdog: 1s\nrestart: {backoff: {initial: 1ms}}\n";
    let instance = with_script("watchdog", keys, script);
    let first = instance.wait("ready", |look| look.is("a", "ready")).pid("a");
    fs::write(instance.path("units/hang"), "").expect("a file");
    let look = instance.wait("started again", |look| look.is("a", "ready") && look.unit("a")["pid"] != first);
    assert_eq!(look.unit("a")["restarts"], 1);
}

#[test]
fn what_was_stored_comes_back_after_a_crash_and_is_gone_after_a_stop() {
    let script = "names = os.environ.get('LISTEN_FDNAMES', '-')\nprint('began with', names, flush=True)\n\
                  if names == '-':\n  r, w = os.pipe(); os.write(w, b'kept'); tell('FDSTORE=1\\nFDNAME=state', [r])\n  tell('FDSTORE=1\\nFDNAME=end', [w]); barrier()\n\
                  else:\n  print('read', os.read(3, 4).decode(), flush=True)\n\
                  tell('READY=1'); forever()";
    let instance = with_script("stored", "ready: notify\nrestart: {backoff: {initial: 1ms}}\n", script);
    let first = instance.wait("ready", |look| look.is("a", "ready")).pid("a");
    kill(instance.supervisor());
    kill(first);
    instance.wait("started again", |look| look.is("a", "ready") && look.unit("a")["pid"] != first);
    let log = || fs::read_to_string(instance.path("log/a/current")).unwrap_or_default();
    assert!(
        eventually(|| log().contains("began with state:end\nread kept").then_some(())).is_some(),
        "{}",
        log()
    );
    instance.done(&["stop", "a"]);
    instance.done(&["start", "a"]);
    assert!(eventually(|| (log().matches("began with -").count() == 2).then_some(())).is_some(), "{}", log());
}

#[test]
fn a_lazy_unit_starts_at_its_first_connection_and_that_one_is_served() {
    let port = free_port();
    let unit = format!(
        "command: [gunicorn, 'app:app']\nready: notify\nlisten: {{sockets: ['127.0.0.1:{port}'], lazy: true}}\n"
    );
    let mut instance = Instance::new("lazy", &[("web", &unit)]);
    fs::write(instance.path("units/app.py"), APP).expect("an app");
    instance.up();
    instance.wait("booted", |look| look.0["booted"] == true);
    let look = instance.wait("waiting", |look| look.is("web", "waiting"));
    assert!(look.unit("web")["pid"].is_null());
    // The wait outlives the supervisor that began it.
    kill(instance.supervisor());
    assert!(get(port).expect("an answer").ends_with("it works"));
    instance.wait("ready", |look| look.is("web", "ready"));
}

/// Who needs the end of a lazy unit starts it in the very step in which its sockets begin to be opened.
#[test]
fn a_start_takes_over_the_sockets_that_its_unit_was_about_to_wait_at() {
    let named = |at: usize| (format!("setup{at}"), format!("user{at}"));
    let setup = |port: u16| {
        format!(
            "command: ['true']\nrestart: on-failure\nlisten: {{sockets: ['127.0.0.1:{port}'], lazy: true}}\n"
        )
    };
    let mut units = Vec::new();
    for at in 0..5 {
        let (setup_name, user_name) = named(at);
        let user = format!("command: [sleep, '1000']\ndepends_on: {{{setup_name}: completed}}\n");
        units.extend([(setup_name, setup(free_port())), (user_name, user)]);
    }
    let units: Vec<(&str, &str)> = units.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut instance = Instance::new("takes-over", &units);
    instance.up();
    for at in 0..5 {
        let (setup, user) = named(at);
        let look = instance.wait("ready", |look| look.is(&user, "ready"));
        assert!(look.unit(&setup)["incident"].is_null(), "{}", look.unit(&setup));
        assert_eq!(look.unit(&setup)["restarts"], 0, "{}", look.unit(&setup));
    }
}

/// A program that ends without a look at its sockets leaves the connection in the queue.
#[test]
fn a_connection_that_nobody_takes_starts_a_lazy_unit_no_more_often_than_its_backoff_allows() {
    let port = free_port();
    let unit = format!(
        "command: ['true']\nlisten: {{sockets: ['127.0.0.1:{port}'], lazy: true}}\nrestart: {{backoff: {{initial: 50ms, max: 30s, jitter: 0}}}}\n"
    );
    let mut instance =
        Instance::new("storm", &[("web", &unit), ("user", "command: [sleep, '1000']\ndepends_on: [web]\n")]);
    instance.up();
    // Who requires what listens comes up, and does not start it.
    let look = instance.wait("booted", |look| look.0["booted"] == true && look.is("user", "ready"));
    assert_eq!(look.unit("web")["listening"], true, "{}", look.unit("web"));
    let _connection = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let look = instance.wait("a long pause", |look| {
        look.unit("web")["reason"]
            .as_str()
            .is_some_and(|reason| reason.ends_with("starts again after 1s600ms"))
    });
    assert_eq!(look.unit("web")["restarts"], 5, "{}", look.unit("web"));
}

#[test]
fn a_stranger_cannot_make_a_unit_ready() {
    let script = "open('where', 'w').write(os.environ['NOTIFY_SOCKET']); os.rename('where', 'there'); wait_for('go'); tell('READY=1'); forever()";
    let instance = with_script("stranger", "ready: notify\n", script);
    let name = eventually(|| fs::read_to_string(instance.path("units/there")).ok()).expect("a name");
    let name = name.strip_prefix('@').expect("an abstract name");
    let address =
        <std::os::unix::net::SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    socket.send_to_addr(b"READY=1", &address.expect("an address")).expect("sent");
    // Everything that the keeper has to say is said by the time that another unit was started and stopped.
    instance.done(&["start", "a", "--no-wait"]);
    assert!(instance.look().expect("a status").is("a", "starting"));
    fs::write(instance.path("units/go"), "").expect("a file");
    instance.wait("ready", |look| look.is("a", "ready"));
}
