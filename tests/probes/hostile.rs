use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcsup::engine::event::Verdict;
use mcsup::probe::Prober;
use mcsup::probe::question::{PostgresQuestion, Question, RedisQuestion, Secret};
use mcsup::unit::spec::probe::{Expression, GrpcProbe, HttpProbe, Target, Tls};

use crate::world::{CLOCK, ask, ask_within, eventually, fails, free_port, is_alone, runtime, tcp, words};

/// Accepts everybody, says `answer` to their first words, and hangs up at once or never.
struct Bad {
    port: u16,
    taken: Arc<AtomicUsize>,
}

impl Bad {
    fn new(answer: Vec<u8>, hangs_up: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let held: Mutex<Vec<TcpStream>> = Mutex::default();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                count.fetch_add(1, Ordering::SeqCst);
                let mut first = [0; 1024];
                if !answer.is_empty() && stream.read(&mut first).is_ok() {
                    // Who asked may have gone.
                    drop(stream.write_all(&answer));
                }
                if !hangs_up {
                    held.lock().expect("the list").push(stream);
                }
            }
        });
        Self { port, taken }
    }
}

/// One question of every kind that goes over the network.
fn every_kind(port: u16) -> Vec<(&'static str, Question)> {
    let tls = || Some(Tls { ca: None, verify: false });
    let postgres = |query: Option<&str>| {
        Question::Postgres(Box::new(PostgresQuestion {
            target: tcp(port),
            user: Secret(b"postgres".to_vec()),
            password: Some(Secret(b"x".to_vec())),
            database: None,
            query: query.map(Into::into),
            expect: None,
        }))
    };
    let redis =
        RedisQuestion { target: tcp(port), username: None, password: None, role: None, max_lag: None };
    let http = HttpProbe::get(tcp(port), "/");
    vec![
        ("http", Question::Http(Box::new(http.clone().into()))),
        ("http, body", {
            let that = Some(Expression("json.ok".into()));
            Question::Http(Box::new(HttpProbe { that, ..http.clone() }.into()))
        }),
        ("https", Question::Http(Box::new(HttpProbe { tls: tls(), ..http }.into()))),
        ("redis", Question::Redis(Box::new(redis))),
        ("postgres", postgres(None)),
        ("postgres, query", postgres(Some("select 1"))),
        ("grpc", Question::Grpc(Box::new(GrpcProbe { target: tcp(port), service: "".into(), tls: None }))),
        ("grpcs", Question::Grpc(Box::new(GrpcProbe { target: tcp(port), service: "".into(), tls: tls() }))),
    ]
}

#[test]
fn who_accepts_and_never_answers_costs_one_timeout() {
    let mute = Bad::new(Vec::new(), false);
    let limit = Duration::from_millis(150);
    for (kind, question) in every_kind(mute.port) {
        let before = (CLOCK.steady)();
        let verdict = ask_within(limit, question);
        let took = (CLOCK.steady)() - before;
        assert_eq!(verdict, Verdict::Fail("no answer within 150ms".into()), "{kind}");
        assert!(took >= limit && took < Duration::from_secs(10), "{kind} took {took:?}");
    }
    assert_eq!(mute.taken.load(Ordering::SeqCst), every_kind(0).len(), "each asked once");
}

#[test]
fn who_refuses_hangs_up_or_talks_nonsense_fails() {
    let refused = free_port();
    for (kind, question) in every_kind(refused) {
        assert_eq!(ask(question), Verdict::Fail("connection refused".into()), "{kind}");
    }
    let nonsense = b"220 mail.example.org ESMTP\r\n\r\n".to_vec();
    let huge_head = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat();
    let huge_length = b"$99999999999\r\n".to_vec();
    let error_of_4_gib = b"E\xff\xff\xff\xffC\0".to_vec();
    for answer in [Vec::new(), vec![0; 64], nonsense, huge_head, huge_length, error_of_4_gib] {
        let bad = Bad::new(answer.clone(), true);
        for (kind, question) in every_kind(bad.port) {
            let verdict = ask(question);
            let start = String::from_utf8_lossy(&answer[..answer.len().min(20)]).into_owned();
            let is_right = matches!(verdict, Verdict::Fail(_)) && !words(&verdict).is_empty();
            assert!(is_right, "{kind} of {start:?}: {verdict:?}");
        }
    }
}

#[test]
fn a_body_without_an_end_costs_one_timeout_and_one_mebibyte() {
    let endless = Bad::new(b"HTTP/1.1 200 OK\r\n\r\n{\"ok\":".to_vec(), false);
    let probe = HttpProbe { contains: Some("x".into()), ..HttpProbe::get(tcp(endless.port), "/") };
    let verdict = ask_within(Duration::from_millis(100), Question::Http(Box::new(probe.clone().into())));
    assert_eq!(verdict, Verdict::Fail("no answer within 100ms".into()));
    let status_only = HttpProbe { contains: None, ..probe.clone() };
    assert!(matches!(ask(Question::Http(Box::new(status_only.into()))), Verdict::Pass(_)));
    let huge = Bad::new([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'y'; 2 << 20]].concat(), true);
    let probe = HttpProbe { target: tcp(huge.port), ..probe };
    fails(&ask(Question::Http(Box::new(probe.into()))), "the body is larger than 1 MiB");
}

#[test]
fn nothing_is_left_open_whatever_the_answer() {
    if !is_alone("hostile::nothing_is_left_open_whatever_the_answer") {
        return;
    }
    let (mute, closing) = (Bad::new(Vec::new(), false), Bad::new(vec![b'x'; 64], true));
    let prober = Prober::default();
    runtime().block_on(async {
        let round = async || {
            for port in [mute.port, closing.port, 1] {
                for (_, question) in every_kind(port) {
                    drop(prober.ask(question, Duration::from_millis(20), CLOCK).await);
                }
            }
        };
        round().await;
        // The server of the mute ones keeps its own ends, and nobody else is in this process.
        let sockets = || {
            let fds = std::fs::read_dir("/proc/self/fd").expect("/proc").flatten();
            let links = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
            links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
        };
        for _ in 0..5 {
            round().await;
        }
        // What was called off ends at its next turn.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let listeners = 2;
        eventually("every socket is closed but those that the servers keep", || {
            sockets() <= listeners + mute.taken.load(Ordering::SeqCst)
        });
        let asked = 6 * every_kind(0).len();
        assert!(mute.taken.load(Ordering::SeqCst) >= asked, "every question was asked");
    });
}

#[test]
fn a_machine_without_descriptors_is_no_failure_of_the_service() {
    if !is_alone("hostile::a_machine_without_descriptors_is_no_failure_of_the_service") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let runtime = runtime();
    let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).expect("a limit");
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    for question in [Question::Tcp(tcp(port)), Question::Unix(Target::Unix("/nowhere".into()))] {
        let verdict = runtime.block_on(Prober::default().ask(question, Duration::from_secs(5), CLOCK));
        assert_eq!(verdict, Verdict::Error("too many open files".into()));
    }
    drop(hoard);
    let verdict =
        runtime.block_on(Prober::default().ask(Question::Tcp(tcp(port)), Duration::from_secs(5), CLOCK));
    assert!(matches!(verdict, Verdict::Pass(_)), "{verdict:?}");
}
