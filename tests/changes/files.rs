//! What units name beside themselves, and what a unit leaves behind when its file gets another name.

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::instance::{eventually, is_alive, kill};
use crate::site::{OTHER, SLEEP, Site};

/// Says every 50 ms what its environment says.
const SAYS: &str = "command: [sh, -c, 'while :; do echo \"word is $WORD\"; sleep 0.05; done']\n";

fn log(site: &Site, unit: &str) -> String {
    fs::read_to_string(site.path(&format!("log/{unit}/current"))).unwrap_or_default()
}

#[test]
fn a_unit_whose_file_is_renamed_goes_on_with_its_process_and_its_log() {
    let says = "command: [sh, -c, 'while :; do echo tick; sleep 0.05; done']\n";
    let site = Site::new("renamed", &[("old", says), ("b", SLEEP)]);
    let before = site.now();
    site.wait_until("it writes", || !log(&site, "old").is_empty());
    fs::rename(site.file("old"), site.file("new")).expect("a rename");
    site.wait_for_commit(2);
    let after = site.wait("the new name", |look| look.is("new", "ready"));
    assert_eq!(after.pid("new"), before.pid("old"), "{}", site.story());
    assert_eq!(after.pid("b"), before.pid("b"));
    assert!(after.unit("old").is_null(), "{after:?}");
    assert_eq!(after.unit("new")["restarts"], 0);
    let more = |from: usize| eventually(|| (log(&site, "new").len() > from).then_some(()));
    assert!(more(0).is_some(), "its log goes on under the new name: {}", site.story());
    // The next supervisor knows it by that name too.
    site.lose_supervisor();
    let after = site.wait("it is known", |look| look.is("new", "ready"));
    assert_eq!(after.pid("new"), before.pid("old"));
    assert!(after.unit("old").is_null(), "{after:?}");
    let length = log(&site, "new").len();
    assert!(more(length).is_some(), "it still writes there");
    // And it is supervised.
    site.done(&["restart", "new"]);
    assert_ne!(site.now().pid("new"), before.pid("old"));
    site.assert_last_is(2);
}

#[test]
fn a_unit_whose_file_is_renamed_is_still_reached_by_its_socket_and_so_is_its_next_run() {
    let script = "import socket\ns = socket.socket(fileno=3)\nwhile True:\n    c, _ = s.accept()\n    c.sendall(b'served')\n    c.close()\n";
    let site = Site::new("renamed-socket", &[("b", SLEEP)]);
    let socket = site.path("web.sock");
    fs::write(site.path("serve.py"), script).expect("a script");
    let unit = format!(
        "command: [python3, {}]\nlisten: {{sockets: [{{address: {}, name: main}}]}}\n",
        site.path("serve.py").display(),
        socket.display()
    );
    site.save("old", &unit);
    let pid = site.wait("served", |look| look.is("old", "ready")).pid("old");
    site.wait_for_word(2, "committed");
    let said = || {
        let mut said = String::new();
        let mut stream = UnixStream::connect(&socket).expect("somebody listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        stream.read_to_string(&mut said).expect("an answer");
        said
    };
    assert_eq!(said(), "served");
    fs::rename(site.file("old"), site.file("new")).expect("a rename");
    let look = site.wait("renamed", |look| look.is("new", "ready"));
    assert_eq!(look.pid("new"), pid);
    assert_eq!(said(), "served");
    kill(pid);
    assert!(eventually(|| (!is_alive(pid)).then_some(())).is_some());
    assert_eq!(said(), "served", "who asks between two runs waits");
    site.done(&["stop", "new"]);
    assert!(UnixStream::connect(&socket).is_err());
}

#[test]
fn a_unit_that_is_renamed_and_changed_at_once_is_another_one() {
    let site = Site::new("renamed-changed", &[("old", SLEEP), ("b", SLEEP)]);
    let before = site.now();
    fs::remove_file(site.file("old")).expect("it is there");
    site.save("new", OTHER);
    site.wait_for_commit(2);
    let after = site.wait("it runs", |look| look.is("new", "ready"));
    assert_ne!(after.pid("new"), before.pid("old"));
    assert!(after.unit("old").is_null(), "{after:?}");
    site.assert_last_is(2);
}

#[test]
fn an_env_file_of_other_content_restarts_who_reads_it_and_nobody_else() {
    let reader = format!("{SAYS}env_file: [words.env]\n");
    let missing = format!("{SAYS}env_file: [elsewhere/words.env]\n");
    let mut instance = crate::instance::Instance::new(
        "change-env-file",
        &[("mcsup", crate::site::QUICK), ("reader", &reader), ("far", &missing), ("b", SLEEP)],
    );
    fs::write(instance.path("units/words.env"), "WORD=one\n").expect("an env file");
    fs::create_dir(instance.path("units/elsewhere")).expect("a directory");
    fs::write(instance.path("units/elsewhere/words.env"), "WORD=one\n").expect("an env file");
    instance.up();
    let site = Site::began(instance);
    let before = site.now();
    fs::write(site.path("units/words.env"), "WORD=two\n").expect("an env file");
    site.wait_for_commit(2);
    site.wait_until("it reads it", || log(&site, "reader").contains("word is two"));
    let second = site.now();
    assert_ne!(second.pid("reader"), before.pid("reader"));
    assert_eq!((second.pid("far"), second.pid("b")), (before.pid("far"), before.pid("b")));
    fs::write(site.path("units/elsewhere/words.env"), "WORD=three\n").expect("an env file");
    site.wait_for_word(3, "committed");
    site.wait_until("it reads it", || log(&site, "far").contains("word is three"));
    let third = site.now();
    assert_ne!(third.pid("far"), second.pid("far"));
    assert_eq!((third.pid("reader"), third.pid("b")), (second.pid("reader"), before.pid("b")));
    site.assert_last_is(3);
}

#[test]
fn an_env_file_that_breaks_its_unit_goes_back_with_it() {
    let picky = "command: [sh, -c, 'test \"$WORD\" = good && exec sleep 1000']\nenv_file: [words.env]\n\
                 restart: {backoff: {initial: 10ms, max: 20ms}}\n";
    let mut instance = crate::instance::Instance::new(
        "change-env-bad",
        &[("mcsup", crate::site::QUICK), ("picky", picky), ("b", SLEEP)],
    );
    fs::write(instance.path("units/words.env"), "WORD=good\n").expect("an env file");
    instance.up();
    let site = Site::began(instance);
    let before = site.now();
    fs::write(site.path("units/words.env"), "WORD=bad\n").expect("an env file");
    site.wait_for_return(2);
    let after = site.wait("it is back", |look| look.is("picky", "ready"));
    assert_eq!(after.pid("b"), before.pid("b"));
    let text = fs::read_to_string(site.path("units/words.env")).expect("an env file");
    assert_eq!(text, "WORD=good\n");
    site.assert_last_is(2);
}

#[test]
fn who_read_an_env_file_that_went_back_reads_it_again() {
    let reader = format!("{SAYS}env_file: [words.env]\n");
    let mut instance = crate::instance::Instance::new(
        "change-env-back",
        &[("mcsup", crate::site::QUICK), ("reader", &reader), ("a", SLEEP), ("b", SLEEP)],
    );
    fs::write(instance.path("units/words.env"), "WORD=one\n").expect("an env file");
    instance.up();
    let site = Site::began(instance);
    let before = site.now();
    fs::write(site.path("units/words.env"), "WORD=two\n").expect("an env file");
    site.save("a", crate::site::CRASH);
    site.wait_for_return(2);
    let after = site.wait("all are well", |look| look.is("reader", "ready") && look.is("a", "ready"));
    assert_eq!(after.pid("b"), before.pid("b"));
    let last = || log(&site, "reader").lines().last() == Some("word is one");
    site.wait_until("it reads what is there", last);
    site.assert_last_is(2);
}

#[test]
fn a_schema_of_other_content_restarts_nobody() {
    let job =
        "kind: job\nevery: 1h\ncommand: [echo, '{}']\noutput: {format: json, schema: shape.schema.json}\n";
    let mut instance = crate::instance::Instance::new(
        "change-schema",
        &[("mcsup", crate::site::QUICK), ("job", job), ("b", SLEEP)],
    );
    fs::write(instance.path("units/shape.schema.json"), "{\"type\": \"object\"}\n").expect("a schema");
    instance.up();
    let site = Site::began(instance);
    let before = site.now();
    fs::write(site.path("units/shape.schema.json"), "{\"type\": \"object\", \"title\": \"x\"}\n")
        .expect("a schema");
    site.wait_for_commit(2);
    let after = site.now();
    assert_eq!(after.pid("b"), before.pid("b"));
    assert_eq!(after.unit("job"), before.unit("job"));
    site.assert_last_is(2);
}
