//! Deliveries to a real server that fails, hangs and comes back, and to a disk that does not work.

use std::path::Path;

use super::*;
use crate::alert::message::Change;
use crate::alert::tests_server::{Mood, Server};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mcsup-outbox-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn outbox(&self) -> PathBuf {
        self.0.join("outbox")
    }

    /// Messages that wait on disk.
    fn files(&self) -> usize {
        count(&self.outbox())
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json")).count()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
    runtime.shutdown_background();
}

const NOW: u64 = 1_795_172_401_250;

fn webhook(name: &str, url: &str) -> Channel {
    Channel { name: name.into(), route: Route::Webhook { url: url.into() } }
}

fn message(channel: &str, incident: u64, change: Change) -> Message {
    let (unit, text) = ("redis".to_owned(), "exited with 1".to_owned());
    Message { channel: channel.into(), incident, change, unit, text, at_millis: NOW, ..Message::default() }
}

async fn next(outbox: &mut Outbox) -> Event {
    tokio::time::timeout(Duration::from_secs(60), outbox.next()).await.expect("something happens")
}

async fn delivered(outbox: &mut Outbox) -> Message {
    let event = next(outbox).await;
    let Event::Delivered { message } = event else { panic!("not delivered: {event:?}") };
    message
}

/// Goes on without events until the disk has done what it was asked.
async fn until(outbox: &mut Outbox, is_so: impl Fn() -> bool) {
    let waits = async {
        while !is_so() {
            let event = tokio::time::timeout(Duration::from_millis(5), outbox.next()).await;
            assert!(event.is_err(), "{event:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits).await.expect("it comes to be");
}

/// The server has a request, and has decided what becomes of it. Nobody is idle meanwhile, so no time passes.
async fn has_come(outbox: &mut Outbox, server: &Server) {
    let seen = async {
        while server.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        event = outbox.next() => panic!("{event:?}"),
        () = seen => {}
    }
}

#[test]
fn a_message_is_posted_once_as_json_and_forgotten() {
    let dir = Dir::new("posted");
    let server = Server::start(Mood::Answer(204));
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &[webhook("ops", &server.url())], NOW);
        outbox.push(message("ops", 7, Change::Opened));
        outbox.push(message("ops", 7, Change::Opened));
        let first = delivered(&mut outbox).await;
        outbox.push(message("ops", 7, Change::Healed));
        let second = delivered(&mut outbox).await;
        assert_eq!((first.change, second.change), (Change::Opened, Change::Healed));
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "what is said twice is told once");
        assert!(requests[0].head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", requests[0].head);
        assert!(requests[0].head.to_lowercase().contains("content-type: application/json"));
        let body: serde_json::Value = serde_json::from_str(&requests[0].body).unwrap();
        assert_eq!(
            (&body["incident"], &body["change"], &body["unit"]),
            (&7.into(), &"opened".into(), &"redis".into())
        );
        until(&mut outbox, || dir.files() == 0).await;
    });
}

#[test]
fn a_server_that_fails_is_tried_again_and_the_order_holds() {
    let dir = Dir::new("fails");
    let server = Server::start(Mood::Answer(500));
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &[webhook("ops", &server.url())], NOW);
        outbox.push(message("ops", 7, Change::Opened));
        outbox.push(message("ops", 7, Change::GaveUp));
        let Event::Failed { why, again_in, message: failed } = next(&mut outbox).await else {
            panic!("it failed")
        };
        assert_eq!(
            (why.as_str(), again_in, failed.channel.as_str()),
            ("answered 500", Duration::from_secs(1), "ops")
        );
        server.set(Mood::HangUp);
        let Event::Failed { again_in, .. } = next(&mut outbox).await else { panic!("it failed") };
        assert_eq!(again_in, Duration::from_secs(2));
        assert_eq!(dir.files(), 2, "both are kept");
        server.set(Mood::Answer(200));
        assert_eq!(delivered(&mut outbox).await.change, Change::Opened);
        assert_eq!(delivered(&mut outbox).await.change, Change::GaveUp);
        assert_eq!(server.requests().len(), 4);
    });
}

#[test]
fn what_waits_survives_a_restart_and_goes_before_what_is_new() {
    let dir = Dir::new("restart");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let channels = [webhook("ops", &format!("http://{gone}/hook"))];
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &channels, NOW);
        outbox.push(message("ops", 7, Change::Opened));
        outbox.push(message("ops", 7, Change::RungTried));
        let Event::Failed { why, .. } = next(&mut outbox).await else { panic!("nobody listens") };
        assert!(why.to_lowercase().contains("refused"), "{why}");
        until(&mut outbox, || dir.files() == 2).await;
    });
    std::fs::write(dir.outbox().join("000000000000001.json"), "half a mess").unwrap();
    let _server = Server::at(gone, Mood::Answer(200));
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &channels, NOW + 5000);
        outbox.push(message("ops", 7, Change::Healed));
        assert_eq!(next(&mut outbox).await, Event::Found { messages: 2, unreadable: 1 });
        for change in [Change::Opened, Change::RungTried, Change::Healed] {
            assert_eq!(delivered(&mut outbox).await.change, change);
        }
    });
}

#[test]
fn a_server_that_hangs_costs_ten_seconds_and_holds_up_no_other_channel() {
    let dir = Dir::new("hangs");
    let (hanging, well) = (Server::start(Mood::Hang), Server::start(Mood::Answer(200)));
    run(async {
        let channels = [webhook("ops", &hanging.url()), webhook("boss", &well.url())];
        let mut outbox = Outbox::open(dir.outbox(), &channels, NOW);
        outbox.push(message("ops", 7, Change::Opened));
        has_come(&mut outbox, &hanging).await;
        hanging.set(Mood::Answer(200));
        outbox.push(message("boss", 7, Change::Opened));
        assert_eq!(delivered(&mut outbox).await.channel, "boss");
        let Event::Failed { why, .. } = next(&mut outbox).await else { panic!("it hangs") };
        assert_eq!(why, "no answer in time");
        assert_eq!(delivered(&mut outbox).await.channel, "ops");
    });
}

#[test]
fn a_command_is_run_by_the_caller_with_the_message_on_its_stdin() {
    let dir = Dir::new("command");
    let command = vec!["/usr/bin/notify".into(), "-x".into()];
    run(async {
        let channels = [Channel { name: "pager".into(), route: Route::Exec { command } }];
        let mut outbox = Outbox::open(dir.outbox(), &channels, NOW);
        outbox.push(message("pager", 7, Change::Opened));
        for outcome in [Err("exited with 1".to_owned()), Ok(())] {
            let Event::Run { message, command, body, .. } = next(&mut outbox).await else {
                panic!("not asked")
            };
            assert_eq!(command, ["/usr/bin/notify", "-x"]);
            let body: Message = serde_json::from_slice(&body).unwrap();
            assert_eq!((body.number, body.incident), (message, 7));
            outbox.ran(message, outcome.clone());
            let event = next(&mut outbox).await;
            match outcome {
                Err(said) => assert!(matches!(event, Event::Failed { why, .. } if why == said)),
                Ok(()) => assert!(matches!(event, Event::Delivered { .. }), "{event:?}"),
            }
        }
        outbox.ran(999, Ok(()));
        assert_eq!(outbox.waiting("pager"), 0);
    });
}

#[test]
fn a_channel_that_is_no_more_leaves_its_messages_among_the_undeliverable() {
    let dir = Dir::new("gone");
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &[], NOW);
        outbox.push(message("ops", 7, Change::Opened));
        let Event::Undeliverable { why, .. } = next(&mut outbox).await else { panic!("there is no channel") };
        assert_eq!(why, "there is no such channel");
        until(&mut outbox, || dir.files() == 0 && count(&dir.outbox().join("undeliverable")) == 1).await;
    });
}

#[test]
fn a_message_that_is_a_day_old_gets_one_more_attempt_after_a_restart() {
    let dir = Dir::new("day");
    let server = Server::start(Mood::Answer(503));
    let channels = [webhook("ops", &server.url())];
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &channels, NOW);
        outbox.push(message("ops", 7, Change::Opened));
        assert!(matches!(next(&mut outbox).await, Event::Failed { .. }));
    });
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &channels, NOW + 25 * 3_600_000);
        assert!(matches!(next(&mut outbox).await, Event::Found { messages: 1, .. }));
        let Event::Undeliverable { why, .. } = next(&mut outbox).await else { panic!("it is too old") };
        assert_eq!(why, "answered 503");
        assert_eq!(server.requests().len(), 2);
    });
}

#[test]
fn a_disk_that_takes_nothing_is_told_once_and_keeps_no_message_from_going_out() {
    let dir = Dir::new("full");
    std::fs::write(dir.outbox(), "a file where the directory should be").unwrap();
    let server = Server::start(Mood::Answer(200));
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &[webhook("ops", &server.url())], NOW);
        outbox.push(message("ops", 7, Change::Opened));
        outbox.push(message("ops", 7, Change::Healed));
        assert!(matches!(next(&mut outbox).await, Event::NotKept { .. }));
        assert_eq!(delivered(&mut outbox).await.change, Change::Opened);
        assert_eq!(delivered(&mut outbox).await.change, Change::Healed);
    });
}

#[test]
fn a_thousand_wait_and_the_oldest_goes_for_one_more() {
    let dir = Dir::new("thousand");
    let server = Server::start(Mood::Hang);
    run(async {
        let mut outbox = Outbox::open(dir.outbox(), &[webhook("ops", &server.url())], NOW);
        for incident in 0..1001 {
            outbox.push(message("ops", incident, Change::Opened));
        }
        let Event::Undeliverable { message, .. } = next(&mut outbox).await else { panic!("one is too many") };
        assert_eq!(message.incident, 0);
        assert_eq!(outbox.waiting("ops"), 1000);
    });
}

#[test]
fn a_server_that_speaks_no_tls_is_a_failed_delivery_like_any_other() {
    let dir = Dir::new("tls");
    let server = Server::start(Mood::Answer(200));
    run(async {
        let url = server.url().replace("http:", "https:");
        let mut outbox = Outbox::open(dir.outbox(), &[webhook("ops", &url)], NOW);
        outbox.push(message("ops", 7, Change::Opened));
        let Event::Failed { why, .. } = next(&mut outbox).await else { panic!("it speaks no TLS") };
        assert!(!why.is_empty() && !why.contains("/hook"), "{why}");
        assert_eq!(server.requests().len(), 0, "nothing was said in the clear");
    });
}
