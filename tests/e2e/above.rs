//! mcsup under something that listens as systemd does, which believes the process it started and no other.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::instance::{Instance, eventually, is_alive, kill};

/// What was said, and in the name of which process.
fn hear(socket: &UnixDatagram) -> (String, i32) {
    let mut text = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut text)];
    let length = recvmsg(socket, &mut parts, &mut control, RecvFlags::empty()).expect("a word in time").bytes;
    let signed = control.drain().find_map(|message| {
        let RecvAncillaryMessage::ScmCredentials(name) = message else { return None };
        Some(name.pid.as_raw_nonzero().get())
    });
    (String::from_utf8_lossy(&text[..length]).into_owned(), signed.expect("who said it"))
}

/// Until a line is said; what was said on the way does not matter here.
fn hear_line(socket: &UnixDatagram, line: &str) -> (String, i32) {
    let mut words = (0..MOST_WORDS).map(|_| hear(socket));
    words
        .find(|(text, _)| text.lines().any(|said| said == line))
        .unwrap_or_else(|| panic!("{line} is never said"))
}

/// More than one start and one stop have.
const MOST_WORDS: usize = 10;

fn listen(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("a socket");
    rustix::net::sockopt::set_socket_passcred(&socket, true).expect("names with what is said");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline");
    socket
}

#[expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
fn mcsup(home: &Path, socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcsup"));
    command.arg("--home").arg(home).env("NOTIFY_SOCKET", socket);
    command
}

/// A path of any length fits, and that of a test's home may be too long for a socket.
fn socket_path() -> std::path::PathBuf {
    let number = std::process::id();
    let path = std::env::temp_dir().join(format!("mcsup-above-{number}-{:?}", std::thread::current().id()));
    drop(std::fs::remove_file(&path));
    path
}

#[test]
fn who_runs_mcsup_hears_that_it_is_ready_that_it_booted_and_that_it_stops() {
    let path = socket_path();
    let socket = listen(&path);
    let mut instance =
        Instance::new("above-ready", &[("a", "command: [sleep, '1000']\ninherit_env: true\n")]);
    instance.up_by(&mut mcsup(&instance.dir.clone(), &path));
    let keeper = i32::try_from(instance.keeper()).expect("a pid");
    assert_eq!(hear_line(&socket, "READY=1").1, keeper, "it is the keeper that was started");
    assert_eq!(hear_line(&socket, "STATUS=booted").1, keeper);
    let pid = instance.wait("a runs", |look| look.is("a", "ready")).pid("a");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).expect("its environment");
    assert!(!String::from_utf8_lossy(&environment).contains("NOTIFY_SOCKET"), "a service is not mcsup");
    instance.done(&["shutdown"]);
    assert_eq!(hear_line(&socket, "STOPPING=1").1, keeper);
    drop(std::fs::remove_file(path));
}

#[test]
fn a_start_that_finds_the_supervisor_with_another_keeper_names_that_one_and_leaves() {
    let path = socket_path();
    let socket = listen(&path);
    let units = [("a", "command: [sleep, '1000']\n")];
    let mut instance = Instance::new("above-again", &units);
    instance.up_by(&mut mcsup(&instance.dir.clone(), &path));
    let before = instance.wait("a runs", |look| look.is("a", "ready")).pid("a");
    let first = instance.keeper();
    kill(first);
    let next = eventually(|| instance.holder().filter(|keeper| *keeper != first && is_alive(*keeper)));
    let next = next.expect("the supervisor finds itself another keeper");
    let again = mcsup(&instance.dir, &path).arg("up").stdin(Stdio::null()).output().expect("mcsup");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let (text, _) = hear_line(&socket, &format!("MAINPID={next}"));
    assert!(text.lines().any(|line| line == "READY=1"), "{text}");
    assert_eq!(instance.wait("a goes on", |look| look.is("a", "ready")).pid("a"), before);
    // Whoever starts it by hand hears that it runs already.
    let by_hand = instance.run(&["up"]);
    assert_eq!(by_hand.status.code(), Some(1));
    instance.done(&["shutdown"]);
    drop(std::fs::remove_file(path));
}
