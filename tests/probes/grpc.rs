use mcsup::engine::event::Verdict;
use mcsup::probe::question::Question;
use mcsup::unit::spec::probe::{GrpcProbe, Tls};

use crate::world::{Dir, Program, ask, command, fails, free_port, listens, passes, run, tcp};

/// Debian's own Python: it is the one whose packages `tests/run` installs.
fn serve(dir: &Dir, port: u16, more: &[&str]) -> Program {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/probes/health.py");
    let port_text = port.to_string();
    let mut python = command("/usr/bin/python3");
    python.arg(script).arg(port_text).args(more);
    let server = Program::start(&mut python, &dir.0.join("log"));
    listens(port);
    server
}

fn grpc(port: u16, service: &str, tls: Option<Tls>) -> Verdict {
    ask(Question::Grpc(Box::new(GrpcProbe { target: tcp(port), service: service.into(), tls })))
}

#[test]
fn a_service_is_well_when_it_says_serving() {
    let (dir, port) = (Dir::new("grpc"), free_port());
    let _server = serve(&dir, port, &[]);
    passes(&grpc(port, "", None), "SERVING in ");
    passes(&grpc(port, "well", None), "SERVING in ");
    passes(&grpc(port, &"x".repeat(200), None), "SERVING in ");
    fails(&grpc(port, "ill", None), "NOT_SERVING");
    fails(&grpc(port, "unknown", None), "UNKNOWN");
    fails(&grpc(port, "nobody", None), "the server knows no service \"nobody\"");
    fails(&grpc(port, "broken", None), "the call failed with code 13: it broke");
}

#[test]
fn a_server_without_the_service_is_no_healthy_one() {
    let (dir, port) = (Dir::new("bare"), free_port());
    let _server = serve(&dir, port, &["--bare"]);
    fails(&grpc(port, "", None), "the server does not tell its health");
}

#[test]
fn health_is_asked_over_tls_as_well() {
    let (dir, port) = (Dir::new("grpcs"), free_port());
    let line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x -keyout key -out pem";
    run(command("openssl").args(line.split(' ')).current_dir(&dir.0));
    let _server = serve(&dir, port, &[&dir.path("key"), &dir.path("pem")]);
    passes(&grpc(port, "", Some(Tls { ca: None, verify: false })), "SERVING in ");
    let verdict = grpc(port, "", Some(Tls { ca: Some(dir.path("pem").into()), verify: true }));
    assert!(
        matches!(verdict, Verdict::Fail(_)),
        "nobody said that this certificate is for 127.0.0.1: {verdict:?}"
    );
    fails(&grpc(port, "", None), "");
}
