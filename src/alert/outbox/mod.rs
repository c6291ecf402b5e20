//! Messages to their channels: in order for each, tried for a day, kept on disk until somebody took them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::alert::message::{Key, Message};
use crate::alert::post::Web;
use crate::alert::queue::{Next, PATIENCE, Queue};
use crate::alert::spool::{Left, Spool};
use crate::aside::Threads;
use crate::unit::spec::recover::{Channel, Route};

/// Owns all that is under way; nothing of it outlives this.
#[derive(Debug)]
pub struct Outbox {
    routes: BTreeMap<String, Route>,
    queue: Queue,
    spool: Spool,
    disk: Threads,
    web: Web,
    began: Instant,
    last: u64,
    under_way: JoinSet<Done>,
    /// Deliveries that the caller was asked for, with when to stop waiting for it.
    asked: BTreeMap<u64, Instant>,
    events: VecDeque<Event>,
    /// What was pushed of late, so that saying it twice tells it once.
    recent: VecDeque<Key>,
    known: BTreeSet<Key>,
    /// Told once, until a message was saved again.
    is_disk_failing: bool,
    standing: Standing,
    opened_millis: u64,
}

#[derive(Debug)]
enum Standing {
    /// What an earlier one left goes first: until that is read, what comes waits here, each with whether it is
    /// on disk or will never be.
    Reading(Vec<(Message, bool)>),
    Delivering,
}

/// What the caller hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Delivered {
        message: Message,
    },
    /// Tried again after this long.
    Failed {
        message: Message,
        why: String,
        again_in: Duration,
    },
    /// Never delivered; kept among the undeliverable.
    Undeliverable {
        message: Message,
        why: String,
    },
    /// The caller runs this with `body` on its stdin and answers by [`Outbox::ran`] within a minute.
    Run {
        message: u64,
        channel: String,
        command: Vec<String>,
        body: Vec<u8>,
    },
    /// The disk does not take messages; they are sent all the same, and lost at a restart.
    NotKept {
        why: String,
    },
    /// Messages of an earlier time were found.
    Found {
        messages: usize,
        unreadable: usize,
    },
}

#[derive(Debug)]
enum Done {
    Read(io::Result<Left>),
    Saved(u64, io::Result<()>),
    Forgotten(io::Result<()>),
    Posted(u64, Result<(), String>),
}

impl Outbox {
    /// Messages that an earlier one left in `dir` go first. `now_millis`: since 1970, for their age. Belongs
    /// into a runtime.
    pub fn open(dir: PathBuf, channels: &[Channel], now_millis: u64) -> Self {
        let mut outbox = Self {
            routes: BTreeMap::new(),
            queue: Queue::default(),
            spool: Spool::new(dir),
            disk: Threads::new("outbox", 1),
            web: Web::new(),
            began: Instant::now(),
            // Higher than all numbers of an earlier one, which counted from its own beginning.
            last: now_millis,
            under_way: JoinSet::new(),
            asked: BTreeMap::new(),
            events: VecDeque::new(),
            recent: VecDeque::new(),
            known: BTreeSet::new(),
            is_disk_failing: false,
            standing: Standing::Reading(Vec::new()),
            opened_millis: now_millis,
        };
        outbox.set_channels(channels);
        let (disk, spool) = (outbox.disk.clone(), outbox.spool.clone());
        outbox
            .under_way
            .spawn(async move { Done::Read(disk.ask_io(DISK_LIMIT, move || spool.read()).await) });
        outbox
    }

    /// What waits for a channel that is no more is given up when its turn comes.
    pub fn set_channels(&mut self, channels: &[Channel]) {
        self.routes =
            channels.iter().map(|channel| (channel.name.to_string(), channel.route.clone())).collect();
    }

    /// Never waits. What was said before is not said again; its number is given here.
    pub fn push(&mut self, message: Message) {
        if !self.is_news(&message) {
            return;
        }
        self.last = self.last.saturating_add(1);
        let message = Message { number: self.last, ..message };
        let (disk, spool, saved) = (self.disk.clone(), self.spool.clone(), message.clone());
        self.under_way.spawn(async move {
            let number = saved.number;
            Done::Saved(number, disk.ask_io(DISK_LIMIT, move || spool.save(&saved)).await)
        });
        match &mut self.standing {
            Standing::Reading(early) => early.push((message, false)),
            Standing::Delivering => self.enqueue(message, false, PATIENCE),
        }
    }

    /// How a command went that was asked for by [`Event::Run`].
    pub fn ran(&mut self, message: u64, outcome: Result<(), String>) {
        if self.asked.remove(&message).is_some() {
            self.on_outcome(message, outcome);
        }
    }

    /// Messages that wait for this channel.
    pub fn waiting(&self, channel: &str) -> usize {
        self.queue.waiting(channel)
    }

    /// Delivers what is due until there is something to tell. Safe to drop at any await.
    pub async fn next(&mut self) -> Event {
        loop {
            self.begin_what_is_due();
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let deadline = self.next_deadline();
            let waits = async {
                match deadline {
                    Some(at) => drop(tokio::time::timeout_at(at, std::future::pending::<()>()).await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.under_way.join_next() => match done {
                    Ok(done) => self.on_done(done),
                    // It was not cancelled by us: a fault in it, with nothing to be learnt from it here.
                    Err(_panicked) => {}
                },
                () = waits => self.stop_waiting_for_callers(),
            }
        }
    }

    fn begin_what_is_due(&mut self) {
        for message in self.queue.due(self.began.elapsed()) {
            let number = message.number;
            match self.routes.get(&message.channel) {
                None => self.give_up(message, "there is no such channel"),
                Some(Route::Exec { command }) => {
                    self.asked.insert(number, Instant::now() + CALLER_LIMIT);
                    let command = command.iter().map(ToString::to_string).collect();
                    let channel = message.channel.clone();
                    self.events.push_back(Event::Run {
                        message: number,
                        channel,
                        command,
                        body: body(&message),
                    });
                }
                Some(Route::Webhook { url }) => {
                    let (web, url) = (self.web.clone(), url.to_string());
                    self.under_way
                        .spawn(async move { Done::Posted(number, web.post(&url, body(&message)).await) });
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let queue = self.queue.next_deadline().map(|at| self.began + at);
        queue.into_iter().chain(self.asked.values().copied()).min()
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Read(read) => {
                let left = read.unwrap_or_else(|error| {
                    self.on_disk_error(&error);
                    Left::default()
                });
                self.on_left(left);
            }
            Done::Saved(number, result) => {
                self.on_saved(number);
                match result {
                    Ok(()) => self.is_disk_failing = false,
                    Err(error) => self.on_disk_error(&error),
                }
            }
            // A file that stays is sent once more after a restart.
            Done::Forgotten(result) => drop(result.map_err(|error| self.on_disk_error(&error))),
            Done::Posted(number, outcome) => self.on_outcome(number, outcome),
        }
    }

    fn on_left(&mut self, left: Left) {
        let Left { messages, last, unreadable } = left;
        self.last = self.last.max(last);
        if !messages.is_empty() || unreadable > 0 {
            self.events.push_back(Event::Found { messages: messages.len(), unreadable });
        }
        let early = match std::mem::replace(&mut self.standing, Standing::Delivering) {
            Standing::Reading(early) => early,
            Standing::Delivering => Vec::new(),
        };
        for message in messages {
            if self.is_news(&message) {
                let age = Duration::from_millis(self.opened_millis.saturating_sub(message.at_millis));
                self.enqueue(message, true, PATIENCE.saturating_sub(age));
            } else {
                // Said again since, and kept under a newer number.
                let number = message.number;
                self.forget(move |spool| spool.remove(number));
            }
        }
        for (message, is_saved) in early {
            self.enqueue(message, is_saved, PATIENCE);
        }
    }

    fn on_saved(&mut self, number: u64) {
        match &mut self.standing {
            Standing::Reading(early) => {
                for (_, is_saved) in early.iter_mut().filter(|(message, _)| message.number == number) {
                    *is_saved = true;
                }
            }
            Standing::Delivering => self.queue.saved(number),
        }
    }

    fn on_disk_error(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_disk_failing, true) {
            self.events.push_back(Event::NotKept { why: error.to_string() });
        }
    }

    fn on_outcome(&mut self, number: u64, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => {
                if let Some(message) = self.queue.delivered(number) {
                    self.forget(move |spool| spool.remove(number));
                    self.events.push_back(Event::Delivered { message });
                }
            }
            Err(why) => match self.queue.failed(number, self.began.elapsed()) {
                Next::RetryIn(message, again_in) => {
                    self.events.push_back(Event::Failed { message, why, again_in });
                }
                Next::GaveUp(message) => self.give_up(message, &why),
                Next::Unknown => {}
            },
        }
    }

    fn enqueue(&mut self, message: Message, is_saved: bool, patience: Duration) {
        if let Some(pushed_out) = self.queue.push(message, is_saved, self.began.elapsed(), patience) {
            self.give_up(pushed_out, "a thousand newer messages wait");
        }
    }

    fn give_up(&mut self, message: Message, why: &str) {
        let number = message.number;
        drop(self.queue.delivered(number));
        self.forget(move |spool| spool.give_up(number));
        self.events.push_back(Event::Undeliverable { message, why: why.to_owned() });
    }

    fn forget(&mut self, work: impl FnOnce(&Spool) -> io::Result<()> + Send + 'static) {
        let (disk, spool) = (self.disk.clone(), self.spool.clone());
        self.under_way
            .spawn(async move { Done::Forgotten(disk.ask_io(DISK_LIMIT, move || work(&spool)).await) });
    }

    fn stop_waiting_for_callers(&mut self) {
        let now = Instant::now();
        let late: Vec<u64> =
            self.asked.iter().filter(|(_, at)| **at <= now).map(|(number, _)| *number).collect();
        for number in late {
            self.ran(number, Err("no answer in time".to_owned()));
        }
    }

    fn is_news(&mut self, message: &Message) -> bool {
        let key = message.key();
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.recent.push_back(key);
        if self.recent.len() > RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

fn body(message: &Message) -> Vec<u8> {
    // Texts and numbers: there is nothing in it that JSON cannot say.
    serde_json::to_vec(message).unwrap_or_default()
}

/// A disk that hangs must not keep a message from being sent.
const DISK_LIMIT: Duration = Duration::from_secs(5);
const CALLER_LIMIT: Duration = Duration::from_secs(60);
/// Several times what may wait.
const RECENT: usize = 4096;

#[cfg(test)]
mod tests;
