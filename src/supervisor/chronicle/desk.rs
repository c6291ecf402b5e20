//! The worker behind [`Chronicle`](super::Chronicle): it hears, asks the book what follows, and has that done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::alert::heartbeat::{Beat, Heartbeat};
use crate::alert::message::Message;
use crate::alert::outbox::{self, Outbox};
use crate::engine::time::Pretty;
use crate::history::row::{FactRow, IncidentRow, Record, Window};
use crate::history::{History, News};
use crate::incident::evidence::Evidence;
use crate::incident::store::{Archive, Moment};
use crate::supervisor::chronicle::book::{Book, Deed};
use crate::supervisor::chronicle::scribe::{QUEUE, Scribe, Writing};
use crate::supervisor::chronicle::{
    Beginning, IncidentList, IncidentStory, Listed, Noted, Question, Telling,
};
use crate::supervisor::clock;
use crate::supervisor::handle::{Notice, NoticeKind};
use crate::supervisor::inbox::{Inbox, Outlet};
use crate::unit::spec::UnitSet;

#[derive(Debug)]
pub(super) struct Desk {
    state: PathBuf,
    set: Arc<UnitSet>,
    outlet: Outlet,
    archive: Archive,
    beginning: Beginning,
    history_file: PathBuf,
    /// Opened when there is something to record or to look up.
    history: Option<History>,
    /// Why there is none: the machine has no thread left.
    no_history: String,
    history_is_off: Option<String>,
    outbox: Option<Outbox>,
    heartbeat: Option<Heartbeat>,
    heart_is_well: bool,
    book: Book,
    writings: mpsc::Sender<Writing>,
    troubles: mpsc::UnboundedReceiver<Option<String>>,
    host: String,
    /// Writings that found no room.
    dropped: u64,
    /// Why messages that wait were not taken the last time, by their numbers.
    refusals: BTreeMap<u64, String>,
}

fn outbox_of(state: &Path, set: &UnitSet) -> Option<Outbox> {
    let now_millis = clock::wall().0 / 1_000_000;
    (!set.alerts.is_empty()).then(|| Outbox::open(state.join("outbox"), &set.alerts, now_millis))
}

fn heartbeat_of(set: &UnitSet) -> Option<Heartbeat> {
    set.heartbeat.as_ref().map(|heart| Heartbeat::new(heart.url.to_string(), heart.every))
}

/// What ended a wait.
#[derive(Debug)]
enum Heard {
    Telling(Option<Telling>),
    History(News),
    Outbox(outbox::Event),
    Beat(Beat),
    Disk(Option<String>),
}

impl Desk {
    pub(super) fn new(
        state: &Path,
        set: Arc<UnitSet>,
        outlet: Outlet,
        archive: Archive,
        beginning: Beginning,
    ) -> Self {
        let (writings, to_write) = mpsc::channel(QUEUE);
        let (tell, troubles) = mpsc::unbounded_channel();
        let scribe = Scribe { archive: archive.clone(), troubles: tell };
        tokio::task::spawn_local(scribe.run(to_write));
        let (outbox, heartbeat) = (outbox_of(state, &set), heartbeat_of(&set));
        Self {
            state: state.to_owned(),
            set,
            outlet,
            archive,
            beginning,
            history_file: state.join("history.db"),
            history: None,
            no_history: String::new(),
            history_is_off: None,
            outbox,
            heartbeat,
            heart_is_well: true,
            book: Book::default(),
            writings,
            troubles,
            host: host_name(),
            dropped: 0,
            refusals: BTreeMap::new(),
        }
    }

    pub(super) async fn run(mut self, mut tellings: mpsc::UnboundedReceiver<Telling>) {
        self.take_up().await;
        loop {
            let heard = tokio::select! {
                telling = tellings.recv() => Heard::Telling(telling),
                news = next_news(&mut self.history) => Heard::History(news),
                event = next_event(&mut self.outbox) => Heard::Outbox(event),
                beat = next_beat(&mut self.heartbeat) => Heard::Beat(beat),
                Some(trouble) = self.troubles.recv() => Heard::Disk(trouble),
            };
            match heard {
                Heard::Telling(None | Some(Telling::End)) => break,
                Heard::Telling(Some(telling)) => self.hear(telling),
                Heard::History(news) => self.history_news(news),
                Heard::Outbox(event) => self.outbox_event(event),
                Heard::Beat(beat) => self.beat(beat),
                Heard::Disk(trouble) => self.disk(trouble),
            }
        }
        self.close().await;
    }

    /// The incidents that the last supervisor, or the last boot, left open.
    async fn take_up(&mut self) {
        match self.beginning.clone() {
            Beginning::Takeover { open } => {
                for Noted { row, alerted } in open {
                    match self.archive.read(row.id, LIMIT).await {
                        Ok(Some((evidence, _))) => self.book.go_on(row_of(&evidence), &evidence),
                        // It found no room, or cannot be read: it is open all the same.
                        Ok(None) | Err(_) => {
                            self.book.go_on(row, &Evidence { alerted, ..Evidence::default() });
                        }
                    }
                }
            }
            Beginning::Boot => {
                let newest = self.archive.newest(MOST_TAKEN_UP, LIMIT).await.unwrap_or_default();
                for id in newest {
                    self.lose_sight_of(id).await;
                }
            }
        }
    }

    /// An incident of an earlier boot ends, unless its end is known.
    async fn lose_sight_of(&mut self, id: u64) {
        let Ok(Some((evidence, _))) = self.archive.read(id, LIMIT).await else { return };
        if evidence.times.recovered_millis.is_some() || !evidence.healed_by.is_empty() {
            return;
        }
        self.record(Record::Incident(IncidentRow { verdict: LOST_SIGHT.to_owned(), ..row_of(&evidence) }));
        let over = |evidence: &mut Evidence| LOST_SIGHT.clone_into(&mut evidence.healed_by);
        // A disk that does not take it says so when the next incident is kept.
        drop(self.archive.update(id, over, LIMIT).await);
    }

    fn hear(&mut self, telling: Telling) {
        match telling {
            Telling::Fact(now, fact) => {
                let set = Arc::clone(&self.set);
                let deeds = self.book.take(&set, now, &fact);
                self.carry_out(deeds);
            }
            Telling::Run(row) => self.record(Record::Run(row)),
            Telling::JobRun(row) => self.record(Record::JobRun(row)),
            Telling::Evidence(evidence) => {
                let deeds = self.book.evidence(&evidence, clock::wall().0 / 1_000_000);
                self.carry_out(deeds);
            }
            Telling::Alert(alert) => {
                let set = Arc::clone(&self.set);
                let deeds = self.book.alert(&set, &alert);
                self.carry_out(deeds);
            }
            Telling::Ran { message, outcome } => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.ran(message, outcome);
                }
            }
            Telling::Asked(question) => self.answer(question),
            Telling::Redefined(set) => self.redefine(set),
            Telling::End => {}
        }
    }

    fn redefine(&mut self, set: Arc<UnitSet>) {
        match &mut self.outbox {
            Some(outbox) => outbox.set_channels(&set.alerts),
            none => *none = outbox_of(&self.state, &set),
        }
        if self.set.heartbeat != set.heartbeat {
            self.heartbeat = heartbeat_of(&set);
        }
        self.set = set;
    }

    fn carry_out(&mut self, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Write(writing) => {
                    if self.writings.try_send(writing).is_err() {
                        self.dropped = self.dropped.saturating_add(1);
                        if self.dropped == 1 {
                            self.announce("the disk is slow: some of what incidents are told by is lost");
                        }
                    }
                }
                Deed::Record(record) => self.record(record),
                Deed::Send(message) => self.send(message),
            }
        }
    }

    fn send(&mut self, message: Message) {
        let message = Message { host: self.host.clone(), ..message };
        match &mut self.outbox {
            Some(outbox) => outbox.push(message),
            None => {
                let Message { channel, text, .. } = message;
                self.announce(&format!("nobody is told that {text}: there is no channel {channel}"));
            }
        }
    }

    fn record(&mut self, record: Record) {
        if let Some(history) = self.history() {
            // What finds no room is counted there, and told when the history works again.
            history.record(record);
        }
    }

    fn history(&mut self) -> Option<&History> {
        if self.history.is_none() && self.no_history.is_empty() {
            match History::open(self.history_file.clone()) {
                Ok(history) => self.history = Some(history),
                Err(error) => {
                    self.no_history = error.to_string();
                    self.announce(&format!("cannot keep a history: {error}; services are not affected"));
                }
            }
        }
        self.history.as_ref()
    }

    fn history_news(&mut self, news: News) {
        let text = match news {
            News::Disabled { why } => {
                self.history_is_off = Some(why.clone());
                format!("the history is off: {why}; it is tried again, services are not affected")
            }
            News::Restored => {
                self.history_is_off = None;
                "the history is written again".to_owned()
            }
            News::BegunAnew { damaged, why } => {
                format!(
                    "the history was damaged ({why}) and begins anew; the old one is {}",
                    damaged.display()
                )
            }
            News::Lost { records } => format!("{records} records of the history are lost"),
        };
        self.announce(&text);
    }

    fn outbox_event(&mut self, event: outbox::Event) {
        match event {
            outbox::Event::Delivered { message } => {
                tracing::info!("{} was told of incident {}", message.channel, message.incident);
                let deeds = self.book.delivered(&message);
                self.carry_out(deeds);
                if self.refusals.remove(&message.number).is_some() {
                    let text = format!("{} was told after all", message.channel);
                    self.follow_up(&message, NoticeKind::AlertDelivered, text);
                }
            }
            outbox::Event::Failed { message, why, again_in } => {
                let text =
                    format!("could not tell {}: {why}; tried again in {}", message.channel, Pretty(again_in));
                // A message is tried for a day: what is refused as before is no news.
                if self.refusals.get(&message.number) == Some(&why) {
                    tracing::debug!("{text}");
                } else {
                    self.refusals.insert(message.number, why);
                    self.follow_up(&message, NoticeKind::AlertFailed, text);
                }
            }
            outbox::Event::Undeliverable { message, why } => {
                self.refusals.remove(&message.number);
                let Message { channel, incident, text, .. } = &message;
                let text = format!(
                    "given up: {channel} was never told of incident {incident} ({text}): {why}; the message is kept in the outbox"
                );
                self.follow_up(&message, NoticeKind::AlertGivenUp, text);
            }
            outbox::Event::Run { message, channel: _, command, body } => {
                self.outlet_send(Inbox::RunChannel { message, command, body });
            }
            outbox::Event::NotKept { why } => {
                self.announce(&format!("alerts are sent, but cannot be kept on disk until then: {why}"));
            }
            outbox::Event::Found { messages, unreadable } => {
                tracing::info!("{messages} alerts of an earlier time wait, {unreadable} make no sense");
            }
        }
    }

    /// One line for each change, not for each beat.
    fn beat(&mut self, beat: Beat) {
        let is_well = match &beat {
            Beat::Told => true,
            Beat::Failed { .. } => false,
        };
        if std::mem::replace(&mut self.heart_is_well, is_well) == is_well {
            return;
        }
        match beat {
            Beat::Told => self.announce("the heartbeat is heard again"),
            Beat::Failed { why } => self.announce(&format!("the heartbeat is not heard: {why}")),
        }
    }

    fn disk(&mut self, trouble: Option<String>) {
        match trouble {
            Some(why) => self.announce(&format!(
                "cannot write the files of an incident: {why}; its evidence is incomplete, services are not affected"
            )),
            None => self.announce("the files of incidents can be written again"),
        }
    }

    fn announce(&self, text: &str) {
        let kind = NoticeKind::Announced;
        self.outlet_send(Inbox::Notice(Notice { kind, unit: None, incident: None, text: text.to_owned() }));
    }

    /// How a message of an incident fares, for its timeline and for everybody.
    fn follow_up(&mut self, message: &Message, kind: NoticeKind, text: String) {
        let at_millis = clock::wall().0 / 1_000_000;
        let unit = self.set.find(&message.unit).map(|_known| message.unit.clone());
        let moment =
            Moment { at_millis, unit: message.unit.clone(), kind: "alert".to_owned(), text: text.clone() };
        let row = FactRow {
            at_millis,
            unit: unit.clone(),
            incident: Some(message.incident),
            kind: kind.as_str().to_owned(),
            text: text.clone(),
        };
        self.carry_out(vec![
            Deed::Write(Writing::Moment(message.incident, moment)),
            Deed::Record(Record::Fact(row)),
        ]);
        self.outlet_send(Inbox::Notice(Notice { kind, unit, incident: Some(message.incident), text }));
    }

    fn outlet_send(&self, message: Inbox) {
        // The loop has ended: nobody is left to be told.
        drop(self.outlet.send(message));
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Cause { incident, reply } => drop(reply.send(self.book.cause(incident))),
            Question::JobRuns { unit, most, reply } => {
                let looked = self.history().map(|history| history.job_runs(unit, most));
                tokio::task::spawn_local(async move {
                    let rows = match looked {
                        Some(looked) => looked.await.unwrap_or_default(),
                        None => Vec::new(),
                    };
                    drop(reply.send(rows));
                });
            }
            Question::Incidents { since_millis, reply } => {
                let known = self.known(since_millis);
                let looked = self.look_up(since_millis);
                tokio::task::spawn_local(async move {
                    let list = merge(known, looked.await);
                    drop(reply.send(list));
                });
            }
            Question::Incident { id, reply } => {
                let listed = self.known(0).remove(&id);
                let archive = self.archive.clone();
                let looked = self.history().map(|history| history.incident(id));
                let directory = self.archive.path_of(id);
                tokio::task::spawn_local(async move {
                    let row = match looked {
                        Some(looked) => looked.await.ok().flatten(),
                        None => None,
                    };
                    let found = archive.read(id, LIMIT).await.ok().flatten();
                    let kept = found.as_ref().map(|(evidence, _)| row_of(evidence));
                    let listed = listed.or_else(|| {
                        let row = row.or(kept)?;
                        Some(Listed { row, is_open: false })
                    });
                    let (evidence, timeline) = match found {
                        Some((evidence, timeline)) => (Some(evidence), timeline),
                        None => (None, archive.timeline(id, LIMIT).await.unwrap_or_default()),
                    };
                    let story = listed.map(|listed| IncidentStory { listed, directory, evidence, timeline });
                    drop(reply.send(story));
                });
            }
        }
    }

    /// What needs no disk.
    fn known(&self, since_millis: u64) -> BTreeMap<u64, Listed> {
        let rows = self.book.rows().filter(|row| row.detected_millis >= since_millis);
        rows.map(|row| (row.id, Listed { row: row.clone(), is_open: self.book.is_open(row.id) })).collect()
    }

    fn look_up(&mut self, since_millis: u64) -> impl Future<Output = Result<Past, String>> + use<> {
        let off = self.no_history.clone();
        let asked = self.history().map(|history| {
            (history.incidents(since_millis, MOST_LISTED), history.window(since_millis, u64::MAX))
        });
        async move {
            let Some((rows, window)) = asked else { return Err(off) };
            let rows = rows.await.map_err(|why| why.to_string())?;
            let window = window.await.map_err(|why| why.to_string())?;
            Ok((rows, window))
        }
    }

    async fn close(self) {
        let Self { set, history, outbox, writings, mut troubles, .. } = self;
        if let Some(mut outbox) = outbox
            && set.alerts.iter().any(|channel| outbox.waiting(&channel.name) > 0)
        {
            // What was said last reaches its file, if not its reader.
            let deliver = async {
                loop {
                    drop(outbox.next().await);
                }
            };
            drop(tokio::time::timeout(LAST_MESSAGES, deliver).await);
        }
        drop(writings);
        if let Some(history) = history {
            history.close(LAST_WORDS).await;
        }
        // The scribe lets go of its end when all is written.
        let written = async { while troubles.recv().await.is_some() {} };
        drop(tokio::time::timeout(LAST_WORDS, written).await);
    }
}

/// What the history says.
type Past = (Vec<IncidentRow>, Window);

fn merge(known: BTreeMap<u64, Listed>, past: Result<Past, String>) -> IncidentList {
    let (rows, window, gap) = match past {
        Ok((rows, window)) => (rows, Some(window), String::new()),
        Err(why) => (Vec::new(), None, why),
    };
    let past = rows.into_iter().map(|row| (row.id, Listed { row, is_open: false }));
    let mut all: BTreeMap<u64, Listed> = past.collect();
    // What is known here is newer than what has been written.
    all.extend(known);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let window = window.unwrap_or_else(|| Window { incidents: count(all.len()), ..Window::default() });
    // What works again may still be watched; what was given up at an earlier time is not.
    let window = Window { open: count(all.values().filter(|one| one.is_open).count()), ..window };
    IncidentList { incidents: all.into_values().rev().collect(), window, gap }
}

/// Enough to list it.
fn row_of(evidence: &Evidence) -> IncidentRow {
    IncidentRow {
        id: evidence.incident,
        root: (!evidence.unit.is_empty()).then(|| evidence.unit.clone()),
        started_millis: evidence.times.started_millis,
        detected_millis: evidence.times.detected_millis,
        recovered_millis: evidence.times.recovered_millis,
        affected: evidence.affected.clone(),
        failure: evidence.failure.said.clone(),
        cause: evidence.causes.first().map(|cause| cause.sentence.clone()).unwrap_or_default(),
        verdict: evidence.healed_by.clone(),
    }
}

async fn next_news(history: &mut Option<History>) -> News {
    match history {
        Some(history) => history.next().await,
        None => std::future::pending().await,
    }
}

async fn next_event(outbox: &mut Option<Outbox>) -> outbox::Event {
    match outbox {
        Some(outbox) => outbox.next().await,
        None => std::future::pending().await,
    }
}

async fn next_beat(heartbeat: &mut Option<Heartbeat>) -> Beat {
    match heartbeat {
        Some(heartbeat) => heartbeat.next().await,
        None => std::future::pending().await,
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_no_proc| String::new(), |name| name.trim().to_owned())
}

const LOST_SIGHT: &str = "mcsup ended before it was over";
const LIMIT: Duration = Duration::from_secs(5);
const LAST_MESSAGES: Duration = Duration::from_millis(300);
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The newest incidents that are looked at for those still open.
const MOST_TAKEN_UP: usize = 50;
const MOST_LISTED: u32 = 1000;
