//! People who are told, and those who listen for a sign of life.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::Value;

use crate::instance::{Instance, eventually};

/// A web server of the test's own: answers each request with the next of these statuses, the last one for ever,
/// and tells what it was sent.
fn server(statuses: &[u16]) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (tell, told) = mpsc::channel();
    let mut statuses: Vec<u16> = statuses.iter().rev().copied().collect();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
            let (mut head, mut length) = (String::new(), 0);
            while reader.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {
                let last = head.lines().last().unwrap_or_default().to_ascii_lowercase();
                if let Some(text) = last.strip_prefix("content-length:") {
                    length = text.trim().parse().unwrap_or(0);
                }
            }
            let mut body = vec![0; length];
            drop(reader.read_exact(&mut body));
            let status = if statuses.len() > 1 { statuses.pop() } else { statuses.last().copied() };
            let status = status.unwrap_or(200);
            drop(write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            if tell.send(format!("{head}\n{}", String::from_utf8_lossy(&body))).is_err() {
                return;
            }
        }
    });
    (port, told)
}

fn next(told: &mpsc::Receiver<String>) -> String {
    told.recv_timeout(std::time::Duration::from_secs(30)).expect("a request")
}

/// The message that a request carried.
fn message(request: &str) -> Value {
    serde_json::from_str(request.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {request}"))
}

const HOPELESS: &str = "command: [sh, -c, 'exit 5']\n\
                        restart: {backoff: {initial: 1ms, max: 1ms}, limit: {starts: 2, within: 1m}}\n";

#[test]
fn a_webhook_that_fails_is_told_again_until_it_takes_the_message() {
    let (port, told) = server(&[500, 200]);
    let settings = format!("alerts: {{ops: {{webhook: 'http://127.0.0.1:{port}/hook'}}}}\n");
    let mut instance = Instance::new("webhook", &[("a", HOPELESS), ("mcsup", &settings)]);
    instance.up();
    let (first, second) = (message(&next(&told)), message(&next(&told)));
    assert_eq!(first, second, "the same once more");
    assert_eq!((&first["change"], &first["unit"]), (&"gave_up".into(), &"a".into()), "{first:#}");
    assert!(first["text"].as_str().is_some_and(|text| text.contains("exited with 5")), "{first:#}");
    // Nothing waits any more.
    let empty = eventually(|| {
        let left = fs::read_dir(instance.path("state/outbox")).ok()?;
        (left.flatten().filter(|file| file.path().is_file()).count() == 0).then_some(())
    });
    assert!(empty.is_some(), "{}", instance.printed());
    let failed = "could not tell ops: answered 500; tried again in 1s";
    let kinds = |events: &str| -> Vec<Value> {
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        events.filter(|event| event["kind"].as_str().is_some_and(|kind| kind.starts_with("alert-"))).collect()
    };
    let events = kinds(&instance.done(&["events", "--json"]));
    let [first, second] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!((&first["kind"], &first["text"]), (&"alert-failed".into(), &failed.into()));
    assert_eq!((&first["incident"], &first["unit"]), (&1.into(), &"a".into()));
    assert_eq!(
        (&second["kind"], &second["text"]),
        (&"alert-delivered".into(), &"ops was told after all".into())
    );
    let told = eventually(|| {
        let one = story(&instance);
        (one.contains(failed) && one.contains("ops was told after all")).then_some(())
    });
    assert!(told.is_some(), "the incident's timeline says so:\n{}", story(&instance));
}

/// All that is told of the first incident.
fn story(instance: &Instance) -> String {
    String::from_utf8_lossy(&instance.run(&["incidents", "1", "--json"]).stdout).into_owned()
}

#[test]
fn a_message_that_can_never_be_delivered_is_an_event_and_part_of_the_story() {
    let settings = "alerts: {ops: {exec: [sh, -c, 'exit 3']}}\n";
    let mut instance = Instance::new("given-up-alert", &[("a", HOPELESS), ("mcsup", settings)]);
    fs::create_dir_all(instance.path("state/outbox")).expect("a directory");
    let message =
        "{\"number\": 1, \"channel\": \"pager\", \"incident\": 1, \"unit\": \"a\", \"text\": \"a is down\"}";
    // Of a time when there was such a channel.
    fs::write(instance.path("state/outbox/000000000000001.json"), message).expect("a file");
    instance.up();
    let given_up = "given up: pager was never told of incident 1 (a is down): there is no such channel";
    let told = eventually(|| {
        let events = instance.run(&["events", "--json"]).stdout;
        let events = String::from_utf8_lossy(&events);
        let is_told = |line: &str| line.contains("alert-given-up") && line.contains(given_up);
        events.lines().any(is_told).then_some(())
    });
    assert!(told.is_some(), "{}", instance.printed());
    let told = eventually(|| story(&instance).contains(given_up).then_some(()));
    assert!(told.is_some(), "{}", instance.printed());
}

#[test]
fn a_message_that_nobody_took_waits_for_the_next_supervisor() {
    // Nobody listens there any more.
    let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let settings = format!("alerts: {{ops: {{webhook: 'http://127.0.0.1:{nobody}/'}}}}\n");
    let mut instance = Instance::new("outbox", &[("a", HOPELESS), ("mcsup", &settings)]);
    instance.up();
    let waits = eventually(|| {
        let left = fs::read_dir(instance.path("state/outbox")).ok()?;
        left.flatten().any(|file| file.path().extension().is_some_and(|end| end == "json")).then_some(())
    });
    assert!(waits.is_some(), "{}", instance.printed());
    let supervisor = instance.supervisor();
    crate::instance::kill(supervisor);
    let listener = eventually(|| TcpListener::bind(("127.0.0.1", nobody)).ok()).expect("the port again");
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).unwrap_or(0);
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
            drop(tell.send(String::from_utf8_lossy(&bytes[..length]).into_owned()));
        }
    });
    assert!(next(&told).starts_with("POST "), "it was told after all");
}

#[test]
fn a_command_reads_the_message_on_its_input() {
    let settings = "alerts: {pager: {exec: [sh, -c, 'cat > told.json.new && mv told.json.new told.json']}}\n";
    let unit = "command: [sleep, '1000']\nhealth: {exec: [test, '!', -e, broken], interval: 200ms, retries: 1}\n\
                recover: [{alert: pager}, {exec: [rm, -f, broken]}]\n";
    let instance = Instance::booted("pager", &[("a", unit), ("mcsup", settings)]);
    fs::write(instance.path("units/broken"), "").expect("a file");
    let told = eventually(|| {
        let told: Value = serde_json::from_slice(&fs::read(instance.path("units/told.json")).ok()?).ok()?;
        Some(told)
    });
    let told = told.unwrap_or_else(|| panic!("nobody was told:\n{}", instance.printed()));
    assert_eq!((&told["channel"], &told["incident"]), (&"pager".into(), &1.into()), "{told:#}");
    instance.wait("repaired", |look| look.is("a", "ready") && look.unit("a")["health"] == "passing");
    assert_eq!(instance.look().expect("a status").unit("a")["restarts"], 0, "the repair was enough");
    let healed = eventually(|| {
        let told: Value = serde_json::from_slice(&fs::read(instance.path("units/told.json")).ok()?).ok()?;
        (told["change"] == "healed").then_some(())
    });
    assert!(healed.is_some(), "whoever was told hears the end:\n{}", instance.printed());
    let one = instance.run(&["incidents", "1", "--json"]);
    let one: Value = serde_json::from_slice(&one.stdout).expect("an incident");
    assert_eq!(one["incident"]["open"], false, "{one:#}");
    assert!(
        one["incident"]["verdict"].as_str().is_some_and(|verdict| verdict.ends_with("helped")),
        "{one:#}"
    );
}

#[test]
fn the_heartbeat_beats_and_its_loss_is_said_once() {
    let (port, told) = server(&[200, 200, 404, 404, 200]);
    let settings = format!("heartbeat: {{url: 'http://127.0.0.1:{port}/alive', every: 1s}}\n");
    let mut instance =
        Instance::new("heartbeat", &[("a", "command: [sleep, '1000']\n"), ("mcsup", &settings)]);
    instance.up();
    for _ in 0..5 {
        assert!(next(&told).starts_with("GET /alive "));
    }
    instance.wait_for_line("the heartbeat is heard again");
    assert_eq!(instance.printed().matches("the heartbeat is not heard: answered 404").count(), 1);
}
