//! What a run tells the real keeper of itself, and what the keeper passes to it: notify sockets, ready pipes,
//! listening and stored descriptors.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what fails or is unexpected here fails the test"
)]

mod keeper_host;

use std::fs;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use keeper_host::{AdoptedLink, TestKeeper, eventually, is_alive, is_root, shell};
use mcsup::keeper::wire::{
    AdoptOrder, Carried, Credentials, Exit, Given, Order, Report, Scope, SpawnOrder, Step,
};

const NOBODY: u32 = 65534;

fn telling(run: u64, script: &str) -> SpawnOrder {
    SpawnOrder { notify: true, ..shell(run, script) }
}

/// With the words of sd_notify(3) at hand.
fn python(run: u64, script: &str) -> SpawnOrder {
    let script = format!("{PRELUDE}\n{script}");
    let argv = [b"python3".as_slice(), b"-c", script.as_bytes()].map(<[u8]>::to_vec).to_vec();
    SpawnOrder { program: b"/usr/bin/python3".to_vec(), argv, ..telling(run, "") }
}

const PRELUDE: &str = r#"
import os, socket, sys, time, signal
def tell(text, fds=()):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.connect("\0" + os.environ["NOTIFY_SOCKET"][1:])
    socket.send_fds(s, [text if isinstance(text, bytes) else text.encode()], fds)
    s.close()
def barrier():
    read, write = os.pipe()
    tell("BARRIER=1", [write])
    os.close(write)
    os.read(read, 1)
def forever():
    while True: time.sleep(1000)
"#;

fn notified(run: u64, text: &str) -> Report {
    Report::Notified { run, text: text.as_bytes().to_vec() }
}

/// Where the run tells, as its environment says.
fn notify_address(pid: i32) -> SocketAddr {
    let environment = eventually("the run has its environment", || {
        let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
        bytes.split(|byte| *byte == 0).find_map(|pair| Some(pair.strip_prefix(b"NOTIFY_SOCKET=@")?.to_vec()))
    });
    SocketAddr::from_abstract_name(environment).unwrap()
}

/// Something the keeper has told since is not there: whatever came before would have been told first.
#[track_caller]
fn assert_silent(keeper: &mut TestKeeper) {
    assert_eq!(keeper.next_before_pong(), None);
}

mod telling {
    use super::*;

    #[test]
    fn what_systemd_notify_says_is_passed_on_word_for_word() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(telling(1, "systemd-notify --ready --status='serving all'; exec sleep 1000"));
        match keeper.next() {
            Report::Notified { run: 1, text } => {
                let text = String::from_utf8(text).unwrap();
                assert!(text.lines().any(|line| line == "READY=1"), "{text}");
                assert!(text.lines().any(|line| line == "STATUS=serving all"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_stranger_is_not_believed_whoever_it_is() {
        let mut keeper = TestKeeper::start();
        let pid = keeper.spawn(telling(1, "exec sleep 1000"));
        let stranger = UnixDatagram::unbound().unwrap();
        stranger.send_to_addr(b"READY=1", &notify_address(pid)).unwrap();
        // Another run of the same keeper is a stranger as well.
        let other = keeper.spawn(python(2, "tell('STATUS=mine'); forever()"));
        assert_eq!(keeper.next(), notified(2, "STATUS=mine"));
        assert!(is_alive(other));
        let foreign = notify_address(pid);
        let name = String::from_utf8(foreign.as_abstract_name().unwrap().to_vec()).unwrap();
        keeper.spawn(python(
            3,
            &format!("own = os.environ['NOTIFY_SOCKET']; os.environ['NOTIFY_SOCKET'] = '@{name}'; tell('READY=1'); os.environ['NOTIFY_SOCKET'] = own; tell('STATUS=tried'); forever()"),
        ));
        assert_eq!(keeper.next(), notified(3, "STATUS=tried"));
        assert_silent(&mut keeper);
    }

    #[test]
    fn a_unit_of_another_user_tells_as_well_and_others_may_not_tell_for_it() {
        if !is_root() {
            return;
        }
        let mut keeper = TestKeeper::start();
        let nobody = Credentials { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] };
        keeper.spawn(SpawnOrder { credentials: Some(nobody), ..python(1, "tell('READY=1'); forever()") });
        assert_eq!(keeper.next(), notified(1, "READY=1"));
        // In the run, but a user whose word counts for nothing there.
        let script = format!(
            "pid = os.fork()\nif pid == 0:\n  os.setuid({NOBODY}); tell('READY=1'); os._exit(0)\nos.waitpid(pid, 0); tell('STATUS=end'); forever()"
        );
        keeper.spawn(python(2, &script));
        assert_eq!(keeper.next(), notified(2, "STATUS=end"));
    }

    #[test]
    fn a_child_that_left_its_session_and_its_parent_still_speaks_for_the_run() {
        let mut keeper = TestKeeper::start();
        let script = "if os.fork() == 0:\n  os.setsid()\n  parent = os.getpid()\n  if os.fork() == 0:\n    while os.getppid() == parent: time.sleep(0.001)\n    tell('STATUS=far'); forever()\n  os._exit(0)\nforever()";
        keeper.spawn(python(1, script));
        assert_eq!(keeper.next(), notified(1, "STATUS=far"));
    }

    #[test]
    fn what_was_said_last_comes_before_the_end() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(python(1, "tell('STATUS=dying'); tell('ERRNO=5'); os._exit(3)"));
        assert_eq!(keeper.next(), notified(1, "STATUS=dying"));
        assert_eq!(keeper.next(), notified(1, "ERRNO=5"));
        assert_eq!(keeper.exit_of(1), (Exit::Code(3), true));
    }

    #[test]
    fn what_is_no_text_or_too_long_is_nothing() {
        let mut keeper = TestKeeper::start();
        let script =
            "tell(b'READY=1\\0STATUS=x'); tell('STATUS=' + 'x' * 5000); tell(b'STATUS=fine\\0'); forever()";
        keeper.spawn(python(1, script));
        assert_eq!(keeper.next(), notified(1, "STATUS=fine"));
        assert_silent(&mut keeper);
    }

    #[test]
    fn who_tells_while_no_supervisor_listens_is_heard_by_the_next_one() {
        let mut keeper = TestKeeper::start();
        let gate = keeper.scratch.path("gate");
        let done = keeper.scratch.path("done");
        let script = format!(
            "while not os.path.exists('{}'): time.sleep(0.01)\ntell('READY=1'); open('{}', 'w'); forever()",
            gate.display(),
            done.display()
        );
        let pid = keeper.spawn(python(1, &script));
        keeper.disconnect();
        fs::write(&gate, "").unwrap();
        eventually("it told", || done.exists().then_some(()));
        eventually("the keeper read it", || {
            keeper.connect();
            let rows = keeper.handover();
            let Some(Report::Row(row)) = rows.first() else { panic!("{rows:?}") };
            assert_eq!(row.pid, u32::try_from(pid).unwrap());
            row.is_ready_shown.then_some(())
        });
        // And once more in its own words, as nobody was told.
        assert_eq!(keeper.next(), notified(1, "READY=1"));
    }

    #[test]
    fn a_flood_of_one_run_holds_up_no_other() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(python(1, "n = 0\nwhile True: n += 1; tell('STATUS=%d' % n)"));
        keeper.send(&Order::Spawn(Box::new(shell(2, "exit 4"))));
        let mut told = 0_u32;
        loop {
            match keeper.next() {
                Report::Notified { run: 1, .. } => told += 1,
                Report::Spawned { run: 2, .. } => {}
                Report::Exited { run: 2, exit: Exit::Code(4), .. } => break,
                other => panic!("{other:?}"),
            }
            assert!(told < 100_000);
        }
        keeper.kill(1);
        keeper.until(|report| matches!(report, Report::Exited { run: 1, .. }));
    }

    #[test]
    fn a_barrier_ends_when_what_came_before_was_passed_on_and_not_before() {
        let mut keeper = TestKeeper::start();
        let passed = keeper.scratch.path("passed");
        let gate = keeper.scratch.path("gate");
        let script = format!(
            "while not os.path.exists('{}'): time.sleep(0.01)\ntell('STATUS=one'); open('{}.told', 'w'); barrier(); open('{}', 'w'); forever()",
            gate.display(),
            passed.display(),
            passed.display()
        );
        keeper.spawn(python(1, &script));
        keeper.disconnect();
        fs::write(&gate, "").unwrap();
        eventually("it told", || passed.with_extension("told").exists().then_some(()));
        // A whole conversation with everything else takes place meanwhile.
        assert!(!passed.exists());
        keeper.connect();
        keeper.handover();
        assert_eq!(keeper.next(), notified(1, "STATUS=one"));
        eventually("the barrier fell", || passed.exists().then_some(()));
    }

    #[test]
    fn systemd_notify_waits_for_its_barrier_and_gets_it() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(telling(1, "systemd-notify --ready && systemd-notify STATUS=after; exit $?"));
        assert!(matches!(keeper.next(), Report::Notified { run: 1, .. }));
        assert!(matches!(keeper.next(), Report::Notified { run: 1, .. }));
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    }
}

mod main_process {
    use super::*;

    const DAEMON: &str = "told, tells = os.pipe()\npid = os.fork()\nif pid == 0:\n  os.setsid()\n  signal.signal(signal.SIGTERM, lambda *_: os._exit(9))\n  tell('MAINPID=%d\\nREADY=1' % os.getpid())\n  os.write(tells, b'x')\n  forever()\nos.read(told, 1)\nos._exit(0)";

    #[test]
    fn a_run_follows_the_process_that_it_names_and_tells_its_end() {
        let mut keeper = TestKeeper::start();
        let first = keeper.spawn(python(1, DAEMON));
        let Report::MainChanged { run: 1, pid, .. } = keeper.next() else { panic!("no change") };
        assert!(matches!(keeper.next(), Report::Notified { run: 1, .. }));
        eventually("the first process is gone", || (!is_alive(first)).then_some(()));
        assert_silent(&mut keeper);
        keeper.send(&Order::Signal { run: 1, signal: 15, scope: Scope::Main });
        assert_eq!(keeper.exit_of(1), (Exit::Code(9), true));
        assert!(!is_alive(i32::try_from(pid).unwrap()));
    }

    #[test]
    fn a_process_of_nobody_is_not_followed() {
        let mut keeper = TestKeeper::start();
        let script = format!(
            "tell('MAINPID={}'); tell('MAINPID=1'); tell('STATUS=said'); os._exit(2)",
            std::process::id()
        );
        keeper.spawn(python(1, &script));
        for _ in 0..3 {
            assert!(matches!(keeper.next(), Report::Notified { run: 1, .. }));
        }
        assert_eq!(keeper.exit_of(1), (Exit::Code(2), true));
    }

    #[test]
    fn the_next_supervisor_is_told_of_the_main_process_and_kill_ends_all_of_it() {
        let mut keeper = TestKeeper::start();
        let script = DAEMON.replace("os.read(told, 1)", "forever()");
        let first = keeper.spawn(python(1, &script));
        let Report::MainChanged { pid, .. } = keeper.next() else { panic!("no change") };
        keeper.connect();
        let rows = keeper.handover();
        let Some(Report::Row(row)) = rows.first() else { panic!("{rows:?}") };
        assert_eq!((row.pid, row.is_ready_shown), (pid, true));
        keeper.kill(1);
        let reports = keeper.until(|report| {
            matches!(report, Report::Emptied { run: 1 } | Report::Exited { run: 1, is_empty: true, .. })
        });
        let is_killed =
            |report: &Report| matches!(report, Report::Exited { exit: Exit::Signal { number: 9, .. }, .. });
        assert!(reports.iter().any(is_killed), "{reports:?}");
        assert!(!is_alive(first) && !is_alive(i32::try_from(pid).unwrap()));
    }
}

mod ready_pipe {
    use super::*;

    fn piped(run: u64, number: u8, script: &str) -> SpawnOrder {
        SpawnOrder { given: vec![Given::ReadyPipe { number }], ..shell(run, script) }
    }

    #[test]
    fn a_newline_means_ready_and_the_end_without_one_never() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(piped(1, 3, "printf x >&3; printf '\\n' >&3; exec sleep 1000"));
        assert_eq!(keeper.next(), Report::ReadyShown { run: 1 });
        keeper.spawn(piped(2, 7, "printf x >&7; exec 7>&-; printf y >&3; exit 0"));
        // 3 is not open there.
        assert!(matches!(keeper.exit_of(2), (_, true)));
        assert_silent(&mut keeper);
        keeper.connect();
        let rows = keeper.handover();
        let Some(Report::Row(row)) = rows.first() else { panic!("{rows:?}") };
        assert!(row.is_ready_shown);
    }

    #[test]
    fn who_is_ready_and_ends_at_once_was_ready() {
        let mut keeper = TestKeeper::start();
        keeper.spawn(piped(1, 4, "echo >&4; exit 0"));
        assert_eq!(keeper.next(), Report::ReadyShown { run: 1 });
        assert_eq!(keeper.exit_of(1), (Exit::Code(0), true));
    }
}

mod sockets {
    use super::*;

    fn hold(keeper: &mut TestKeeper, key: &str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        keeper.send_with(&Order::Hold { key: key.into() }, vec![listener.into()]);
        port
    }

    fn listen(key: &str, name: &str) -> Given {
        Given::Listen { key: key.into(), name: name.into() }
    }

    const SERVE: &str = "assert int(os.environ['LISTEN_PID']) == os.getpid()\nassert not os.environ['LISTEN_PID'].startswith('0')\nlast = 3 + int(os.environ['LISTEN_FDS']) - 1\ns = socket.socket(fileno=last)\nwhile True:\n  c, _ = s.accept(); c.sendall((os.environ['LISTEN_FDNAMES'] + ' ' + os.environ['LISTEN_FDS']).encode()); c.close()";

    fn ask(port: u16) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        said
    }

    #[test]
    fn a_held_socket_is_passed_to_run_after_run_and_nobody_is_refused_between_them() {
        let mut keeper = TestKeeper::start();
        let port = hold(&mut keeper, "web/one");
        let given = vec![listen("web/one", "http")];
        let env = vec![b"LISTEN_FDS=7".to_vec(), b"LISTEN_PID=1".to_vec()];
        for run in 1..=2 {
            // Between two runs it waits.
            let early = TcpStream::connect(("127.0.0.1", port)).unwrap();
            keeper.spawn(SpawnOrder { given: given.clone(), env: env.clone(), ..python(run, SERVE) });
            let mut said = String::new();
            { early }.read_to_string(&mut said).unwrap();
            assert_eq!(said, "http 1");
            assert_eq!(ask(port), "http 1");
            keeper.kill(run);
            keeper.until(|report| matches!(report, Report::Exited { .. }));
        }
        keeper.send(&Order::LetGo { key: "web/one".into() });
        assert_silent(&mut keeper);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    #[test]
    fn children_that_change_their_user_learn_their_own_pid_too() {
        if !is_root() {
            return;
        }
        let mut keeper = TestKeeper::start();
        let port = hold(&mut keeper, "web/one");
        let credentials = Some(Credentials { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] });
        keeper.spawn(SpawnOrder { given: vec![listen("web/one", "w")], credentials, ..python(1, SERVE) });
        assert_eq!(ask(port), "w 1");
    }

    #[test]
    fn many_sockets_stand_in_their_order_whatever_numbers_the_keeper_has_for_them() {
        let mut keeper = TestKeeper::start();
        let mut given = Vec::new();
        let mut last = 0;
        for number in 0..60 {
            let key = format!("web/{number}");
            last = hold(&mut keeper, &key);
            given.push(listen(&key, &number.to_string()));
        }
        given.push(Given::ReadyPipe { number: 63 });
        let script = format!("os.write(63, b'\\n')\n{SERVE}");
        keeper.spawn(SpawnOrder { given, ..python(1, &script) });
        assert_eq!(keeper.next(), Report::ReadyShown { run: 1 });
        assert!(ask(last).ends_with(":58:59 60"));
    }

    #[test]
    fn a_socket_that_nobody_holds_is_a_failure_of_its_step() {
        let mut keeper = TestKeeper::start();
        let order = SpawnOrder { given: vec![listen("web/none", "x")], ..shell(1, "exit 0") };
        assert_eq!(keeper.spawn_failure(order), (Step::Descriptors, 9));
    }

    #[test]
    fn the_next_supervisor_gets_every_socket_that_is_held() {
        let mut keeper = TestKeeper::start();
        let port = hold(&mut keeper, "web/one");
        hold(&mut keeper, "web/two");
        assert_silent(&mut keeper);
        keeper.connect();
        let mut keys = Vec::new();
        loop {
            match keeper.next_with_descriptors() {
                (Report::Held { key }, mut descriptors) => {
                    if key == "web/one" {
                        let socket = TcpListener::from(descriptors.remove(0));
                        assert_eq!(socket.local_addr().unwrap().port(), port);
                    }
                    keys.push(key);
                }
                (Report::HandedOver { .. }, _) => break,
                _ => {}
            }
        }
        assert_eq!(keys, ["web/one", "web/two"]);
    }

    #[test]
    fn what_a_run_stored_comes_back_to_the_next_one_after_its_sockets() {
        let mut keeper = TestKeeper::start();
        let port = hold(&mut keeper, "web/one");
        let given = vec![listen("web/one", "http")];
        let store = "read, write = os.pipe(); os.write(write, b'kept'); tell('FDSTORE=1\\nFDNAME=state', [read]); tell('FDSTORE=1\\nFDNAME=a:b', [write]); barrier(); os._exit(0)";
        keeper.spawn(SpawnOrder { given: given.clone(), ..python(1, store) });
        keeper.until(|report| matches!(report, Report::Exited { run: 1, .. }));
        // Over the death of a supervisor.
        keeper.connect();
        keeper.handover();
        let look = "assert os.environ['LISTEN_FDNAMES'] == 'http:state:stored', os.environ['LISTEN_FDNAMES']\nassert os.read(4, 9) == b'kept'\ntell('FDSTOREREMOVE=1\\nFDNAME=state'); barrier(); os._exit(0)";
        keeper.spawn(SpawnOrder { given: given.clone(), ..python(2, look) });
        let reports = keeper.until(|report| matches!(report, Report::Exited { run: 2, .. }));
        assert!(matches!(reports.last(), Some(Report::Exited { exit: Exit::Code(0), .. })), "{reports:?}");
        let after = "os._exit(0 if os.environ['LISTEN_FDNAMES'] == 'http:stored' else 1)";
        keeper.spawn(SpawnOrder { given: given.clone(), ..python(3, after) });
        assert_eq!(keeper.exit_of(3), (Exit::Code(0), true));
        keeper.send(&Order::ForgetStored { unit: "test".into() });
        let none = "os._exit(0 if os.environ['LISTEN_FDNAMES'] == 'http' else 1)";
        keeper.spawn(SpawnOrder { given, ..python(4, none) });
        assert_eq!(keeper.exit_of(4), (Exit::Code(0), true));
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    }

    #[test]
    fn a_unit_stores_no_more_than_its_share() {
        let mut keeper = TestKeeper::start();
        let store = "for n in range(100):\n  r, w = os.pipe(); tell('FDSTORE=1', [r, w]); os.close(r); os.close(w)\nbarrier(); os._exit(0)";
        keeper.spawn(python(1, store));
        keeper.until(|report| matches!(report, Report::Exited { run: 1, .. }));
        keeper.spawn(python(2, "os._exit(int(os.environ['LISTEN_FDS']) - 100)"));
        assert_eq!(keeper.exit_of(2), (Exit::Code(28), true));
    }
}

mod after_the_keepers_death {
    use super::*;

    #[test]
    fn the_next_keeper_hears_what_a_run_tells() {
        let mut keeper = TestKeeper::start();
        let gate = keeper.scratch.path("gate");
        let script = format!(
            "while not os.path.exists('{}'): time.sleep(0.01)\nos.write(5, b'\\n'); tell('READY=1'); forever()",
            gate.display()
        );
        let order = SpawnOrder { given: vec![Given::ReadyPipe { number: 5 }], ..python(1, &script) };
        keeper.send(&Order::Spawn(Box::new(order)));
        let (report, descriptors) = keeper.next_with_descriptors();
        let Report::Spawned { pid, start_time, carries, .. } = report else { panic!("{report:?}") };
        assert_eq!(carries, [Carried::Pidfd, Carried::Notify, Carried::Ready]);
        let descriptors: Vec<OwnedFd> = descriptors;
        keeper.kill_keeper();
        let mut adopter = AdoptedLink::start();
        let adopt = AdoptOrder {
            run: 1,
            unit: "test".into(),
            ordinal: 1,
            pid,
            start_time,
            carries,
            ..AdoptOrder::default()
        };
        adopter.send_with(&Order::Adopt(Box::new(adopt)), descriptors);
        fs::write(&gate, "").unwrap();
        let mut said = [adopter.next(), adopter.next()];
        said.sort_by_key(|report| matches!(report, Report::ReadyShown { .. }));
        assert_eq!(said, [notified(1, "READY=1"), Report::ReadyShown { run: 1 }]);
        adopter.send_with(&Order::Signal { run: 1, signal: 9, scope: Scope::All }, Vec::new());
    }
}
