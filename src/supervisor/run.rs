//! The loop: wait for something to happen, tell the engine, begin what it says.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::engine::Engine;
use crate::engine::event::{Ask, Event, Notice, Trigger};
use crate::engine::id::{RequestId, RunId, UnitId};
use crate::engine::state::StateName;
use crate::engine::status::UnitStatus;
use crate::engine::time::Now;
use crate::keeper::give_memory_back;
use crate::keeper::wire::{
    Finale, HALT, HALT_NOW, Order, POWER_OFF, POWER_OFF_NOW, REBOOT, REBOOT_NOW, Replacement, Report,
};
use crate::supervisor::change::progress::Progress;
use crate::supervisor::change::road::Standing;
use crate::supervisor::chronicle::Telling;
use crate::supervisor::clock::{self, Alarm, Rung, WallAlarm};
use crate::supervisor::executor::Executor;
use crate::supervisor::handle::{Called, JobEntry, JobTable, Query, StatusTable};
use crate::supervisor::holdings::held;
use crate::supervisor::inbox::Inbox;
use crate::supervisor::journal::Process;
use crate::supervisor::keeper_link::{self, Incoming};
use crate::supervisor::notices;
use crate::supervisor::reexec::Replacing;
use crate::supervisor::successor::Succession;
use crate::supervisor::translate;
use crate::unit::name::UnitName;

/// Everything that one supervisor is made of.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) engine: Engine,
    pub(crate) executor: Executor,
    pub(crate) inbox: mpsc::UnboundedReceiver<Inbox>,
    pub(crate) queries: mpsc::Receiver<Query>,
    pub(crate) alarm: Alarm,
    /// For slots of schedules, and steps of the clock.
    pub(crate) dates: WallAlarm,
    pub(crate) succession: Succession,
    /// Reports that came with the handover.
    pub(crate) early: VecDeque<(Report, Vec<OwnedFd>)>,
    pub(crate) next_request: u64,
    /// Shutdown signals so far.
    pub(crate) interrupts: u32,
    pub(crate) api: Option<Api>,
    pub(crate) replacing: Replacing,
    /// How the last try to replace both rings ended.
    pub(crate) replacement: Option<Replacement>,
}

/// The API, to be ended in order.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) end: oneshot::Sender<()>,
    pub(crate) worker: JoinHandle<()>,
}

/// Why a supervisor's loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything is stopped: both rings end with this status.
    Done(u8),
    /// The keeper lives and cannot be talked to: it starts a supervisor that can. Nothing is stopped.
    MakeRoom,
}

/// What ended a wait.
#[derive(Debug)]
enum Woken {
    /// The keeper speaks, has room, or a deadline came: `turn` looks by itself.
    Look,
    Inbox(Inbox),
    Query(Query),
    ClockStepped,
    Broken(io::Error),
}

impl Supervisor {
    /// Until the engine says `Exit`, or the link broke in a way that only a new supervisor mends.
    pub(crate) async fn run(&mut self) -> Ending {
        loop {
            let is_done = self.turn();
            if let Some(code) = self.executor.exit {
                return Ending::Done(code);
            }
            if self.is_standing_by() {
                if self.stand_by().await.is_break() {
                    return Ending::MakeRoom;
                }
            } else if self.executor.lost.is_some() {
                if self.succeed().await.is_break() {
                    return Ending::MakeRoom;
                }
            } else if is_done {
                if std::mem::take(&mut self.executor.is_over_its_boot) {
                    // And once more when its thread ends, as what follows a boot is not over yet.
                    drop(tokio::task::spawn_blocking(give_memory_back));
                }
                let woken = self.wait().await;
                self.wake(woken);
            } else {
                // More waits already; the API and the probes have their turn first.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Everything that has happened, facts before deadlines, then one flush. False: there is more.
    fn turn(&mut self) -> bool {
        let is_quiet = self.hear_keeper();
        while let Ok(message) = self.inbox.try_recv() {
            self.hear_worker(message);
        }
        while let Ok(query) = self.queries.try_recv() {
            self.answer(query);
        }
        // Facts before deadlines: what the keeper has still to say may be that a process ended in time.
        if is_quiet {
            let is_due = self.alarm.is_due(clock::mono());
            if self.dates.is_due(clock::wall()) || is_due {
                self.feed(Event::DeadlineReached);
            }
        }
        self.drain_news();
        self.executor.look_around(clock::now());
        let deadlines = self.engine.next_deadlines();
        let set = self.alarm.set(deadlines.mono).and_then(|()| self.dates.set(deadlines.wall));
        if let Err(error) = set {
            tracing::error!("cannot set the timer: {error}");
        }
        self.executor.flush();
        is_quiet && self.executor.news.is_empty()
    }

    async fn wait(&mut self) -> Woken {
        let Self { executor, inbox, queries, alarm, dates, succession, .. } = self;
        let link = &executor.link;
        let look = |result: io::Result<()>| result.map_or_else(Woken::Broken, |()| Woken::Look);
        tokio::select! {
            biased;
            result = link.readable() => look(result),
            // Behind the link, which may still hold what the keeper said last.
            () = succession.keeper_gone() => Woken::Broken(io::ErrorKind::UnexpectedEof.into()),
            result = link.writable(), if link.has_unsent() => look(result),
            Some(message) = inbox.recv() => Woken::Inbox(message),
            Some(query) = queries.recv() => Woken::Query(query),
            result = alarm.rings() => look(result),
            () = executor.journal.needs_tending(clock::mono()) => Woken::Look,
            result = dates.rings() => match result {
                Ok(Rung::Due) => Woken::Look,
                Ok(Rung::Stepped) => Woken::ClockStepped,
                Err(error) => Woken::Broken(error),
            },
        }
    }

    fn wake(&mut self, woken: Woken) {
        match woken {
            Woken::Look => {}
            Woken::Inbox(message) => self.hear_worker(message),
            Woken::Query(query) => self.answer(query),
            Woken::ClockStepped => {
                if let Err(error) = self.dates.go_on() {
                    tracing::error!("cannot set the timer: {error}");
                }
                self.feed(Event::ClockStepped);
            }
            Woken::Broken(error) => {
                self.executor.lost.get_or_insert(error);
            }
        }
    }

    /// One event, and what follows from it at once.
    pub(crate) fn feed(&mut self, event: Event) {
        let now = clock::now();
        if let Event::ProbeFinished { probe, verdict } = &event {
            self.executor.witness.probe_ended(*probe, Some(verdict), now);
        }
        let effects = self.engine.step(now, event);
        self.executor.execute(now, effects, &self.engine);
    }

    /// Bounded, so that a unit that fails to start again and again leaves room for all else.
    fn drain_news(&mut self) {
        for _ in 0..MOST_NEWS {
            let Some(event) = self.executor.news.pop_front() else { return };
            self.feed(event);
        }
    }

    /// False: the keeper has more to say than one turn takes.
    fn hear_keeper(&mut self) -> bool {
        while let Some((report, descriptors)) = self.early.pop_front() {
            self.hear(report, descriptors);
        }
        for _ in 0..MOST_PACKETS {
            match self.executor.link.receive() {
                Incoming::Reports(reports) => {
                    for (report, descriptors) in reports {
                        self.hear(report, descriptors);
                    }
                }
                Incoming::Nothing => return true,
                Incoming::Lost(error) => {
                    self.executor.lost.get_or_insert(error);
                    return true;
                }
            }
        }
        false
    }

    /// What a dead keeper told before it died: how runs ended, above all, which nobody else can tell any more.
    pub(crate) fn hear_last_words(&mut self) {
        while !self.hear_keeper() {}
        // What was said in turn is lost, and given to the next keeper with all else.
        self.executor.lost = None;
    }

    fn hear(&mut self, report: Report, descriptors: Vec<OwnedFd>) {
        let now = clock::now();
        let event = match report {
            Report::Spawned { run, pid, start_time, carries } => {
                self.executor.spawned(run, Process { pid, start_time }, held(&carries, descriptors))
            }
            Report::Notified { run, text } => {
                let notices = notices::read(&text);
                if notices.contains(&Notice::Ready) {
                    self.executor.holdings.shows_ready(run);
                }
                for notice in notices {
                    self.feed(Event::Notified { run: RunId(run), notice });
                }
                None
            }
            Report::ReadyShown { run } => {
                self.executor.holdings.shows_ready(run);
                Some(Event::ReadyShown { run: RunId(run) })
            }
            Report::MainChanged { run, pid, start_time } => {
                self.executor.main_changed(run, Process { pid, start_time }, descriptors);
                Some(Event::Notified { run: RunId(run), notice: Notice::MainPid(pid) })
            }
            Report::SpawnFailed { run, step, errno } => {
                self.executor.spawn_failed(now, run, step, errno);
                None
            }
            Report::Exited { run, exit, usage, is_empty, log_end } => {
                self.executor.holdings.ended_by(run, exit, usage, log_end);
                self.executor.exited(now, run, translate::exit_status(exit), is_empty)
            }
            Report::Emptied { run } => self.executor.emptied(now, run),
            Report::Signalled { signal, sender_pid } => {
                // Heard, whatever comes of it: a signal without a word in turn is the keeper's to act on.
                self.executor.send(&Order::Pong { number: 0 }, &[]);
                self.signalled(signal, sender_pid)
            }
            Report::LogTrouble { unit, errno, lost_bytes } => {
                self.executor.log_trouble(&unit, errno, lost_bytes);
                None
            }
            Report::Strangers { reaped } => {
                tracing::debug!("{reaped} orphans reaped so far");
                None
            }
            Report::Ping { number } => {
                self.executor.send(&Order::Pong { number }, &[]);
                None
            }
            Report::Hello { version, pid, .. } => {
                match keeper_link::understood(version) {
                    Ok(()) => self.keeper_is(pid),
                    Err(error) => drop(self.executor.lost.get_or_insert(error)),
                }
                None
            }
            Report::Rehearsed { number, version, trouble } => {
                self.rehearsed(number, version, trouble);
                None
            }
            // A new keeper's table is what we told it.
            Report::Row(_)
            | Report::Note { .. }
            | Report::Held { .. }
            | Report::HandedOver { .. }
            | Report::Replaced(_)
            | Report::Pong { .. } => None,
        };
        if let Some(event) = event {
            self.feed(event);
        }
        self.drain_news();
    }

    /// A signal that the keeper received for both of us.
    fn signalled(&mut self, signal: u8, sender_pid: u32) -> Option<Event> {
        tracing::info!("the keeper received signal {signal} from process {sender_pid}");
        let ask = match i32::from(signal) {
            libc::SIGHUP => {
                self.executor.observer.announce("SIGHUP: the units directory is read again");
                self.reload();
                return None;
            }
            libc::SIGINT if self.interrupts > 0 => Ask::ShutdownNow { exit_code: 0 },
            HALT_NOW | POWER_OFF_NOW | REBOOT_NOW => Ask::ShutdownNow { exit_code: 0 },
            libc::SIGINT | libc::SIGTERM | libc::SIGQUIT | libc::SIGPWR | HALT | POWER_OFF | REBOOT => {
                Ask::Shutdown { exit_code: 0 }
            }
            _ => return None,
        };
        self.interrupts = self.interrupts.saturating_add(1);
        let request = self.request();
        Some(Event::RequestReceived { request, ask })
    }

    fn hear_worker(&mut self, message: Inbox) {
        let now = clock::now();
        match message {
            Inbox::Prepared { launch, order, learnt } => self.executor.prepared(now, launch, *order, learnt),
            Inbox::Abandoned { request } => {
                self.executor.replies.remove(&request);
                self.feed(Event::RequestAbandoned { request });
            }
            Inbox::SocketsOpened { unit, opened } => self.executor.sockets_opened(now, unit, opened),
            Inbox::Connected { unit } => self.executor.connection_arrived(unit),
            Inbox::ReadyLine { run } => {
                if self.executor.ready_lines.forget(run) {
                    self.executor.holdings.shows_ready(run);
                    self.feed(Event::ReadyShown { run: RunId(run) });
                }
            }
            Inbox::ProbeFinished { probe, verdict } => {
                if let Some(event) = self.executor.probe_finished(probe, verdict) {
                    self.feed(event);
                }
            }
            Inbox::EvidenceCaptured { incident, unit, run, evidence, is_complete } => {
                let event = self.executor.captured(incident, unit, run, evidence, is_complete);
                self.feed(event);
            }
            Inbox::JudgePrepared { run, case } => self.executor.judge_prepared(now, run, case),
            Inbox::Judged { run, judgement, kept } => {
                if let Some(event) = self.executor.judged(run, judgement, kept) {
                    self.feed(event);
                }
            }
            Inbox::OutputKept { unit, ordinal, kept } => self.executor.output_kept(unit, ordinal, kept),
            Inbox::PathChanged { unit, path } => {
                self.feed(Event::Triggered { unit, trigger: Trigger::Path(path) });
            }
            Inbox::PastKept { trouble } => {
                if let Some(text) = self.executor.jobs.pasts.kept(trouble) {
                    self.executor.observer.announce(&text);
                }
            }
            Inbox::Look => self.look(),
            Inbox::SafeModeIsOver => self.safe_mode_is_over(),
            Inbox::BootIsOver => self.executor.road.keep_boot(),
            Inbox::Remarked(text) => self.executor.observer.announce(&text),
            Inbox::CandidateFound(found) => self.candidate_found(*found),
            Inbox::ChangeFiled(filed) => self.change_filed(filed),
            Inbox::BootKept(kept) => self.boot_kept(kept),
            Inbox::StillInvalid { look } => self.still_invalid(look),
            Inbox::Notice(notice) => self.executor.notice(now, notice),
            Inbox::RunChannel { message, command, body } => {
                self.executor.run_channel(now, message, command, body);
            }
        }
        self.drain_news();
    }

    fn answer(&mut self, query: Query) {
        match query {
            Query::Ask { ask, reply } => {
                let request = self.request();
                self.executor.replies.insert(request, reply);
                self.feed(Event::RequestReceived { request, ask });
                self.executor.attend(request);
            }
            Query::Status { units, reply } => drop(reply.send(self.status(units.as_deref()))),
            Query::Why { unit, reply } => {
                let unit = self.engine.set().find(unit.as_str());
                drop(reply.send(unit.map(|unit| self.engine.why(unit))));
            }
            Query::Events { after, reply } => drop(reply.send(self.executor.observer.since(after))),
            Query::Jobs { unit, reply } => drop(reply.send(self.jobs(unit))),
            Query::JobOutput { unit, ordinal, reply } => self.executor.output_of(unit, ordinal, reply),
            Query::Call { unit, body, reply } => drop(reply.send(self.called(unit, body))),
            Query::Change(asked) => self.ask_change(asked),
            Query::AtEnd { finale, reply } => drop(reply.send(self.at_end(finale))),
            Query::Standing(reply) => {
                let progress = Progress::of(&self.engine, clock::now());
                drop(reply.send(Standing { progress, ..self.executor.road.standing.clone() }));
            }
            Query::Reexec(reply) => self.reexec(reply),
            Query::Replacement(reply) => drop(reply.send(self.replacement.clone())),
            Query::Announce(text) => self.executor.observer.announce(&text),
            Query::Chronicle(question) => self.executor.chronicle.tell(Telling::Asked(question)),
        }
    }

    fn status(&self, units: Option<&[UnitName]>) -> StatusTable {
        let Now { mono, wall } = clock::now();
        let set = Arc::clone(self.engine.set());
        let ids: Vec<_> = match units {
            None => set.ids().collect(),
            Some(names) => names.iter().flat_map(|name| set.named(name.as_str())).collect(),
        };
        // What no file defines any more is there for as long as a process of it is.
        let is_there = |status: &UnitStatus| {
            status.pid.is_some() || set.unit(status.unit).is_some_and(|spec| !spec.is_removed)
        };
        let mut units = Vec::with_capacity(ids.len());
        units.extend(ids.into_iter().filter_map(|unit| self.engine.status(unit)).filter(is_there));
        let overview = self.engine.overview();
        let cgroups = Arc::clone(&self.executor.ground.cgroups);
        StatusTable { set, overview, units, cgroups, now: mono, wall }
    }

    /// False: whoever keeps is not process 1, and has no machine to end.
    fn at_end(&mut self, finale: Finale) -> bool {
        let is_init = self.executor.witness.keeper_pid == Some(1);
        if is_init {
            self.executor.send(&Order::AtEnd { finale }, &[]);
        }
        is_init
    }

    fn called(&mut self, unit: UnitId, body: Vec<u8>) -> Called {
        let is_armed = |status: UnitStatus| {
            matches!(status.state, StateName::Ready | StateName::Unhealthy) && status.desired.is_up()
        };
        if !self.engine.status(unit).is_some_and(is_armed) {
            return Called::NotArmed;
        }
        let Some(number) = self.executor.keep_body(unit, body) else { return Called::Full };
        self.feed(Event::Triggered { unit, trigger: Trigger::Webhook(number) });
        Called::Taken
    }

    fn jobs(&self, wanted: Option<UnitId>) -> JobTable {
        let set = Arc::clone(self.engine.set());
        let units = set.present().filter(|unit| wanted.is_none_or(|wanted| wanted == *unit));
        let entry = |unit| {
            let (status, own) = (self.engine.job_status(unit)?, self.engine.status(unit)?);
            let recent = self.executor.recent_runs(unit);
            Some(JobEntry { unit, state: own.state, reason: own.reason, status, recent })
        };
        let jobs = units.filter_map(entry).collect();
        JobTable { set, jobs }
    }

    pub(crate) fn keeper_is(&mut self, pid: u32) {
        self.executor.witness.keeper_pid = i32::try_from(pid).ok();
        self.executor.above.keeper = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        self.succession.keeper_is(pid);
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next_request = self.next_request.saturating_add(1);
        RequestId(self.next_request)
    }

    /// Tells the keeper that all is over, and waits until it has heard.
    pub(crate) async fn quit(self, code: u8) {
        let Executor { journal, observer, chronicle, jobs, mut link, .. } = self.executor;
        jobs.pasts.close(LAST_WORDS).await;
        journal.end(LAST_WORDS).await;
        chronicle.close(LAST_WORDS).await;
        observer.close(LAST_WORDS).await;
        if let Some(Api { end, worker }) = self.api {
            // Whoever asked for the end reads the answer first; where the API is gone nobody is left to tell.
            if end.send(()).is_err() {
                tracing::warn!("the API ended before the supervisor");
            }
            drop(tokio::time::timeout(FAREWELL, worker).await);
        }
        if link.send(&Order::Quit { code }, &[]).is_ok() {
            drop(tokio::time::timeout(FAREWELL, link.say_goodbye()).await);
        }
    }

    /// Leaves the journal as it is, for everything goes on, and lets go of the link last: the keeper
    /// waits for nothing more from a supervisor that hung up.
    pub(crate) async fn make_room(self) {
        let Executor { journal, observer, chronicle, link, .. } = self.executor;
        journal.close(LAST_WORDS).await;
        chronicle.close(LAST_WORDS).await;
        observer.close(LAST_WORDS).await;
        drop(link);
    }
}

/// Packets of one turn: at 64 KiB each some thousand reports.
const MOST_PACKETS: usize = 64;
const MOST_NEWS: usize = 1000;
/// For the journal and for the terminal, each.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// For the keeper to read `Quit` and to hang up.
const FAREWELL: Duration = Duration::from_secs(5);
