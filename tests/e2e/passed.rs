//! Sockets that are opened before the start and passed to programs that nobody here wrote.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::instance::{Instance, eventually, is_alive, kill};

/// A port that nobody has at this moment.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

/// One request by HTTP, and all that comes back; `None` when nobody takes the connection.
pub(crate) fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

pub(crate) const APP: &str = "def app(environ, start):\n    start('200 OK', [])\n    return [b'it works']\n";

/// Kills it, and waits until it takes nothing more.
fn end(pid: u32) {
    kill(pid);
    assert!(eventually(|| (!is_alive(pid)).then_some(())).is_some());
}

#[test]
fn gunicorn_serves_on_a_passed_socket_and_nobody_is_refused_while_it_is_started_again() {
    let port = free_port();
    let unit = format!(
        "command: [gunicorn, 'app:app']\nlisten: '127.0.0.1:{port}'\nready: health\n\
         health: [{{http: 'http://127.0.0.1:{port}/', interval: 200ms, timeout: 200ms}}]\n\
         restart: {{backoff: {{initial: 300ms, jitter: 0}}}}\n"
    );
    let mut instance = Instance::new("gunicorn", &[("web", &unit)]);
    fs::write(instance.path("units/app.py"), APP).expect("an app");
    instance.up();
    instance.wait("ready", |look| look.is("web", "ready"));
    assert!(get(port).expect("an answer").ends_with("it works"));
    end(instance.look().expect("a status").pid("web"));
    // Whoever comes while nothing runs waits in the queue of the socket.
    let served = get(port).expect("an answer");
    assert!(served.ends_with("it works"), "{served}");
    instance.done(&["stop", "web"]);
    assert!(get(port).is_none(), "a unit that is stopped does not listen");
    instance.done(&["start", "web"]);
    assert!(get(port).expect("an answer").ends_with("it works"));
}

#[test]
fn nginx_takes_over_a_socket_that_it_is_told_of() {
    let port = free_port();
    let unit = format!(
        "command: [nginx, -p, '${{PWD_OF_UNIT}}', -c, nginx.conf, -e, stderr]\n\
         environment: {{NGINX: '3;', PWD_OF_UNIT: UNITS, PATH: '/usr/sbin:/usr/bin:/sbin:/bin'}}\n\
         listen: '127.0.0.1:{port}'\n"
    );
    let mut instance = Instance::new("nginx-passed", &[]);
    let units = instance.path("units");
    instance.write("web", &unit.replace("UNITS", units.to_str().expect("a path")));
    let conf = format!(
        "daemon off; pid nginx.pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ return 200 'it works'; }} }} }}\n"
    );
    fs::write(units.join("nginx.conf"), conf).expect("a configuration");
    instance.up();
    instance.wait("ready", |look| look.is("web", "ready"));
    assert!(get(port).expect("an answer").ends_with("it works"));
    let log = fs::read_to_string(instance.path("log/web/current")).unwrap_or_default();
    assert!(log.contains("using inherited sockets from \"3;\""), "{log}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a stranger that no supervisor started")]
fn a_port_that_somebody_has_fails_the_start_and_names_them() {
    // In a process of its own: forks of this one, which other tests make, would hold it, too.
    let script = "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\nprint(s.getsockname()[1], flush=True)\ntime.sleep(1000)";
    let mut other = Command::new("python3");
    let mut other = other.args(["-c", script]).stdout(Stdio::piped()).spawn().expect("python3");
    let mut line = String::new();
    BufReader::new(other.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let port: u16 = line.trim().parse().expect("a port");
    let unit = format!("command: [sleep, '1000']\nlisten: '127.0.0.1:{port}'\nrestart: {{policy: never}}\n");
    let mut instance = Instance::new("port-taken", &[("web", &unit)]);
    instance.up();
    let look = instance.wait("failed", |look| look.is("web", "failed"));
    let own = format!("(pid {})", other.id());
    let reason = look.reason("web");
    assert!(reason.contains(&format!("listen: 127.0.0.1:{port}: Address already in use by ")), "{reason}");
    assert!(reason.contains(&own), "{reason}");
    other.kill().expect("it lives");
    other.wait().expect("it is ours");
    instance.done(&["start", "web"]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// Says what it was passed.
const PYTHON: &str = r#"
import os, socket
assert int(os.environ["LISTEN_PID"]) == os.getpid()
s = socket.socket(fileno=3)
while True:
    c, _ = s.accept()
    c.sendall((os.environ["LISTEN_FDNAMES"] + " " + os.environ["LISTEN_FDS"]).encode())
    c.close()
"#;

fn ask(path: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

#[test]
fn sockets_outlive_runs_and_both_rings_one_after_the_other() {
    let mut instance = Instance::new("held", &[]);
    let socket = instance.path("deep/er.sock");
    let unit = format!(
        "command: [/usr/bin/python3, serve.py]\n\
         listen: [{{address: '{}', name: main, mode: 0o600}}, '127.0.0.1:{}']\n\
         restart: {{backoff: {{initial: 200ms, jitter: 0}}}}\n",
        socket.display(),
        free_port()
    );
    instance.write("web", &unit);
    fs::write(instance.path("units/serve.py"), PYTHON).expect("a script");
    instance.up();
    instance.wait("ready", |look| look.is("web", "ready"));
    assert_eq!(ask(&socket).as_deref(), Some("main:web 2"));
    kill(instance.supervisor());
    assert_eq!(ask(&socket).as_deref(), Some("main:web 2"));
    let look = instance.wait("taken over", |look| look.is("web", "ready"));
    end(look.pid("web"));
    assert_eq!(ask(&socket).as_deref(), Some("main:web 2"), "the next supervisor passes it on");
    let before = instance.holder().expect("a keeper");
    kill(before);
    let next = eventually(|| instance.holder().filter(|holder| *holder != before));
    assert!(next.is_some(), "{}", instance.printed());
    let look = instance.wait("taken over", |look| look.is("web", "ready"));
    end(look.pid("web"));
    assert_eq!(ask(&socket).as_deref(), Some("main:web 2"), "the next keeper passes it on");
    instance.done(&["stop", "web"]);
    assert!(UnixStream::connect(&socket).is_err());
}
