//! A real supervisor whose keeper is the test: what it makes of a keeper that was left half filled, that hands
//! over more than fits at once, or that speaks another language.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use mcsup::keeper::link::{Link, Received, pair};
use mcsup::keeper::wire::{AdoptOrder, Order, Report, Row, Stage, VERSION};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::instance::{Instance, Stranger, eventually, is_alive, kill, signal, start_time};

const SLEEP: &str = "command: [sleep, '1000']\n";
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// `mcsup __supervisor` with its link in our hands. Ended when dropped; what it was handed lives on.
struct Fostered {
    process: Child,
    link: Link<Report, Order>,
    inbox: VecDeque<Order>,
}

impl Fostered {
    /// `before`: shell words that come before its exec. It has said hello.
    #[expect(clippy::disallowed_methods, reason = "the keeper, who would start it, is the test")]
    fn new(home: &Path, before: &str) -> Self {
        let (ours, theirs) = pair().expect("a link");
        let words = format!("{before}\nexec \"$0\" \"$@\" 3<&0 4<&- 5<&- < /dev/null");
        let complaints =
            File::options().create(true).append(true).open(home.join("foster.log")).expect("a log");
        let process = Command::new("sh")
            .args(["-c", &words, env!("CARGO_BIN_EXE_mcsup"), "__supervisor"])
            .args(["units", "state", "run", "log", ""].map(|name| home.join(name)))
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(complaints)
            .spawn()
            .expect("a supervisor");
        let mut fostered = Self { process, link: Link::new(ours).expect("a link"), inbox: VecDeque::new() };
        let hello = fostered.next();
        assert_eq!(hello, Some(Order::Hello { version: VERSION, pid: fostered.process.id() }));
        fostered
    }

    fn say(&mut self, report: &Report, descriptors: &[Arc<OwnedFd>]) {
        self.link.send(report, descriptors).expect("room");
        let flushed = eventually(|| self.link.flush().expect("a reader").then_some(()));
        assert!(flushed.is_some(), "it does not read");
    }

    /// That of a keeper whose supervisor died before.
    fn say_hello(&mut self, version: u16) {
        self.say(&Report::Hello { version, pid: std::process::id(), restarts: 1, safe_mode: false }, &[]);
    }

    /// `None`: it hung up.
    fn next(&mut self) -> Option<Order> {
        let mut is_open = true;
        let Self { link, inbox, .. } = self;
        let heard = eventually(|| {
            if inbox.is_empty() && is_open {
                poll(&mut [PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN)], Some(&TICK))
                    .expect("poll");
                match link.receive() {
                    Ok(Received::Messages(messages)) => {
                        inbox.extend(messages.into_iter().map(|(order, _)| order));
                    }
                    Ok(Received::Nothing) => {}
                    Ok(Received::Closed) | Err(_) => is_open = false,
                }
            }
            (!inbox.is_empty() || !is_open).then_some(())
        });
        assert!(heard.is_some(), "the supervisor says nothing");
        inbox.pop_front()
    }

    /// Everything that it says until it calls the table whole.
    fn takes_over(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        loop {
            let order = self.next().expect("it lives");
            if matches!(&order, Order::Remember { key, .. } if key == WHOLE) {
                return orders;
            }
            orders.push(order);
        }
    }

    fn ended(&mut self) -> ExitStatus {
        let process = &mut self.process;
        eventually(|| process.try_wait().expect("a child")).expect("it ends")
    }
}

impl Drop for Fostered {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// As the supervisor calls the note that vouches for a keeper's table.
const WHOLE: &[u8] = b"whole";

fn adopted(orders: &[Order]) -> Vec<AdoptOrder> {
    let order = |order: &Order| if let Order::Adopt(order) = order { Some((**order).clone()) } else { None };
    orders.iter().filter_map(order).collect()
}

fn row(order: &AdoptOrder) -> Report {
    Report::Row(Box::new(Row {
        run: order.run,
        unit: order.unit.clone(),
        spawned_as: order.spawned_as.clone(),
        ordinal: order.ordinal,
        pid: order.pid,
        start_time: order.start_time,
        spawned_at: order.spawned_at,
        stage: Stage::Live,
        log: order.log.clone(),
        carries: order.carries.clone(),
        is_ready_shown: order.is_ready_shown,
        log_place: order.log_place,
    }))
}

/// A home whose rings are both dead and whose three services live; their pids.
fn orphaned(test: &str) -> (Instance, BTreeSet<u32>) {
    let names = ["a", "b", "c"];
    let instance = Instance::booted(test, &names.map(|name| (name, SLEEP)));
    let look = instance.look().expect("a status");
    let (keeper, supervisor) = (instance.keeper(), instance.supervisor());
    // Or it would start another keeper.
    signal(supervisor, Signal::STOP);
    kill(keeper);
    kill(supervisor);
    let rings = || [keeper, supervisor].iter().all(|pid| !is_alive(*pid)).then_some(());
    assert!(eventually(rings).is_some(), "the rings end");
    (instance, names.map(|name| look.pid(name)).into())
}

#[test]
fn a_supervisor_of_a_half_filled_keeper_finds_the_rest_in_the_journal_and_starts_no_twins() {
    let (instance, services) = orphaned("half-filled");
    let pids = |orders: &[AdoptOrder]| orders.iter().map(|order| order.pid).collect::<BTreeSet<_>>();
    // Its last supervisor died before it had passed on anything.
    let mut first = Fostered::new(&instance.dir, "");
    first.say_hello(VERSION);
    first.say(&Report::HandedOver { rows: 0, notes: 0 }, &[]);
    let all = adopted(&first.takes_over());
    assert_eq!(pids(&all), services, "passed on to the keeper");
    drop(first);
    // And this one when it had passed on one of three.
    let mut second = Fostered::new(&instance.dir, "");
    second.say_hello(VERSION);
    second.say(&row(&all[0]), &[]);
    second.say(&Report::HandedOver { rows: 1, notes: 0 }, &[]);
    let again = pids(&adopted(&second.takes_over()));
    assert!(services.iter().filter(|pid| **pid != all[0].pid).all(|pid| again.contains(pid)), "{again:?}");
    drop(second);
    // A table that is vouched for is believed.
    let mut third = Fostered::new(&instance.dir, "");
    third.say_hello(VERSION);
    all.iter().for_each(|order| third.say(&row(order), &[]));
    third.say(&Report::Note { key: WHOLE.into(), value: vec![1] }, &[]);
    third.say(&Report::HandedOver { rows: 3, notes: 1 }, &[]);
    assert_eq!(adopted(&third.takes_over()), []);
    // What it begins comes before the answer to what it is asked later.
    third.say(&Report::Ping { number: 7 }, &[]);
    while let Some(order) = third.next() {
        assert!(!matches!(order, Order::Spawn(_)), "a twin: {order:?}");
        if order == (Order::Pong { number: 7 }) {
            break;
        }
    }
    assert_eq!(instance.processes().into_iter().collect::<BTreeSet<_>>(), services);
}

#[test]
fn a_keeper_of_another_version_is_refused_with_a_word_and_nothing_is_ordered() {
    let (instance, services) = orphaned("other-version");
    let mut supervisor = Fostered::new(&instance.dir, "");
    supervisor.say_hello(VERSION + 1);
    supervisor.say(&Report::HandedOver { rows: 0, notes: 0 }, &[]);
    assert_eq!(supervisor.next(), None, "it hangs up and orders nothing");
    assert_eq!(supervisor.ended().code(), Some(1));
    let said = fs::read_to_string(instance.path("foster.log")).expect("a log");
    let expected =
        format!("it speaks version {} of the link, this supervisor version {VERSION}", VERSION + 1);
    assert!(said.contains(&expected), "{said}");
    assert!(services.iter().all(|pid| is_alive(*pid)));
}

#[test]
fn a_supervisor_that_may_open_64_files_takes_over_any_number_of_runs() {
    let (instance, _services) = orphaned("few-files");
    let sleeper = Stranger::new();
    let pid = sleeper.0.id();
    let mut supervisor = Fostered::new(&instance.dir, "ulimit -n 64");
    supervisor.say_hello(VERSION);
    let copy = Arc::new(OwnedFd::from(File::open("/dev/null").expect("a descriptor")));
    for run in 1..=300 {
        // Of no unit that it knows: held, and left alone.
        let order = AdoptOrder {
            run,
            unit: format!("gone{run}"),
            ordinal: 1,
            pid,
            start_time: start_time(pid),
            ..AdoptOrder::default()
        };
        // As a keeper does with what there is to say, which makes the packets as full as they get.
        supervisor.link.send(&row(&order), &[copy.clone(), copy.clone()]).expect("room");
    }
    supervisor.say(&Report::Note { key: WHOLE.into(), value: vec![1] }, &[]);
    supervisor.say(&Report::HandedOver { rows: 300, notes: 1 }, &[]);
    supervisor.takes_over();
    supervisor.say(&Report::Ping { number: 7 }, &[]);
    while supervisor.next().expect("it lives") != (Order::Pong { number: 7 }) {}
}
