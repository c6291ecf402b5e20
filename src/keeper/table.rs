//! What the keeper knows, without any of what it holds: the rows of all runs, the pairs that it
//! remembers for the supervisor, and how much of both the present supervisor has been told.
//!
//! News is state that was not told yet, not a queue of messages: a supervisor that never reads
//! makes nothing grow beyond the runs that it ordered.

use std::collections::{BTreeMap, VecDeque};

use crate::keeper::image::{Blob, EntryImage, SayingImage, TableImage, TroubleImage};
use crate::keeper::wire::{
    Exit, HELPER_BIT, LogOrder, LogPlace, Replacement, Report, Row, Stage, Step, Usage,
};

/// Signals kept for a supervisor that does not read; more of them say nothing new.
const SIGNALS_KEPT: usize = 16;
/// Datagrams of one run kept for a supervisor that does not read. Then whoever sends has to wait.
const NOTICES_KEPT: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Table {
    /// Boxed, as half of a tree's places are empty.
    rows: BTreeMap<u64, Box<Entry>>,
    notes: BTreeMap<Vec<u8>, Vec<u8>>,
    talk: Talk,
    /// Runs with something untold, in the order of what happened; a run may stand here thrice.
    news: VecDeque<u64>,
    signals: VecDeque<(u8, u32)>,
    /// Units whose log is in trouble, or was: errno and bytes lost, until told.
    troubles: BTreeMap<String, (i32, u64)>,
    /// Last told, and now. Told beside other news only: a machine's orphans wake nobody.
    strangers: (u64, u64),
    pongs: VecDeque<u64>,
    ping: Option<u64>,
    /// What came of a rehearsal, or why what was rehearsed cannot be run; untold.
    rehearsed: Option<Report>,
    /// How the last try to replace both rings ended.
    pub(super) replacement: Option<Replacement>,
}

#[derive(Debug)]
struct Entry {
    row: Row,
    told: Told,
    is_released: bool,
    /// Of runs that tell of themselves; boxed, as most do not.
    saying: Option<Box<Saying>>,
}

/// What a run said of itself and the supervisor was not told.
#[derive(Debug, Default)]
struct Saying {
    /// Datagrams of its notify socket, oldest first.
    notices: VecDeque<Vec<u8>>,
    /// So many came altogether, and so many were told or needed no telling.
    came: u64,
    passed_on: u64,
    is_shown_untold: bool,
    is_main_untold: bool,
}

/// How much of a run the present supervisor knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    #[default]
    Nothing,
    Spawned,
    Ended,
    Emptied,
}

/// Where the conversation with the supervisor stands.
#[derive(Debug, Default)]
enum Talk {
    /// Nobody listens.
    #[default]
    Silent,
    Rows {
        after: Option<u64>,
        count: u32,
    },
    Notes {
        after: Option<Vec<u8>>,
        rows: u32,
        count: u32,
    },
    Replaced {
        rows: u32,
        notes: u32,
    },
    HandedOver {
        rows: u32,
        notes: u32,
    },
    News,
}

/// Is the run one of the supervisor's own errands, of no interest to the next supervisor?
pub(super) fn is_helper(run: u64) -> bool {
    run & HELPER_BIT != 0
}

impl Table {
    /// A supervisor said hello. What follows is the whole table, then news.
    /// One that started us itself has nothing to learn from a table that it fills: it is told what
    /// happens from now on.
    pub(super) fn connected(&mut self, is_founder: bool) {
        self.talk = if is_founder {
            Talk::HandedOver { rows: 0, notes: 0 }
        } else {
            Talk::Rows { after: None, count: 0 }
        };
        self.news.clear();
        self.pongs.clear();
        self.ping = None;
        self.strangers.0 = 0;
        self.rehearsed = None;
        for entry in self.rows.values_mut() {
            entry.told = Told::Nothing;
        }
    }

    /// The supervisor is gone. What it knew counts for nothing; signals wait for the next one.
    pub(super) fn disconnected(&mut self) {
        self.talk = Talk::Silent;
        self.news.clear();
    }

    /// False when there is such a run already.
    pub(super) fn ordered(&mut self, row: Row) -> bool {
        let run = row.run;
        if self.rows.contains_key(&run) {
            return false;
        }
        // Who ordered it knows of it.
        let entry = Entry { row, told: Told::Nothing, is_released: false, saying: None };
        self.rows.insert(run, Box::new(entry));
        true
    }

    /// The supervisor knows of this run: it told us.
    pub(super) fn known(&mut self, run: u64) {
        if let Some(entry) = self.rows.get_mut(&run) {
            entry.told = told_by(&entry.row.stage);
        }
    }

    #[cfg(test)]
    pub(super) fn row(&self, run: u64) -> Option<&Row> {
        self.rows.get(&run).map(|entry| &entry.row)
    }

    pub(super) fn spawned(&mut self, run: u64, pid: u32, start_time: u64) {
        if let Some(entry) = self.rows.get_mut(&run) {
            entry.row.pid = pid;
            entry.row.start_time = start_time;
            entry.row.stage = Stage::Live;
            self.news.push_back(run);
        }
    }

    pub(super) fn spawn_failed(&mut self, run: u64, step: Step, errno: i32) {
        if let Some(entry) = self.rows.get_mut(&run) {
            entry.row.stage = Stage::SpawnFailed { step, errno };
            self.news.push_back(run);
            self.forget_if_over(run);
        }
    }

    pub(super) fn exited(
        &mut self,
        run: u64,
        exit: Exit,
        usage: Usage,
        is_empty: bool,
        log_end: Option<LogPlace>,
    ) {
        if let Some(entry) = self.rows.get_mut(&run) {
            entry.row.stage = Stage::Exited { exit, usage, is_empty, log_end };
            self.news.push_back(run);
            self.forget_if_over(run);
        }
    }

    pub(super) fn emptied(&mut self, run: u64) {
        let Some(entry) = self.rows.get_mut(&run) else { return };
        if let Stage::Exited { is_empty, .. } = &mut entry.row.stage {
            *is_empty = true;
            self.news.push_back(run);
            self.forget_if_over(run);
        }
    }

    /// A datagram of its notify socket. One that repeats the one before is told once.
    pub(super) fn notified(&mut self, run: u64, text: &[u8], shows_ready: bool) {
        let Some(entry) = self.rows.get_mut(&run) else { return };
        entry.row.is_ready_shown |= shows_ready;
        let saying = entry.saying.get_or_insert_default();
        if saying.notices.back().is_some_and(|last| last == text) {
            return;
        }
        saying.notices.push_back(text.to_vec());
        saying.came = saying.came.saturating_add(1);
        self.news.push_back(run);
    }

    /// No more of its datagrams are to be read for now.
    pub(super) fn has_enough_of(&self, run: u64) -> bool {
        let saying = self.rows.get(&run).and_then(|entry| entry.saying.as_ref());
        saying.is_some_and(|saying| saying.notices.len() >= NOTICES_KEPT)
    }

    /// How many datagrams of the run came so far.
    pub(super) fn notices_of(&self, run: u64) -> u64 {
        self.rows.get(&run).and_then(|entry| entry.saying.as_ref()).map_or(0, |saying| saying.came)
    }

    /// The first so many datagrams of the run were told, or nobody will ever ask for them.
    pub(super) fn has_passed_on(&self, run: u64, count: u64) -> bool {
        let Some(entry) = self.rows.get(&run) else { return true };
        entry.saying.as_ref().is_none_or(|saying| saying.passed_on >= count)
    }

    /// A newline came on its ready pipe.
    pub(super) fn ready_shown(&mut self, run: u64) {
        if let Some(entry) = self.rows.get_mut(&run) {
            entry.row.is_ready_shown = true;
            entry.saying.get_or_insert_default().is_shown_untold = true;
            self.news.push_back(run);
        }
    }

    /// Another of its processes is the main one from now on.
    pub(super) fn main_changed(&mut self, run: u64, pid: u32, start_time: u64) {
        if let Some(entry) = self.rows.get_mut(&run) {
            entry.row.pid = pid;
            entry.row.start_time = start_time;
            entry.saying.get_or_insert_default().is_main_untold = true;
            self.news.push_back(run);
        }
    }

    /// Its unit is called this by now, and its log kept so, where that is said. What both were before.
    pub(super) fn relogged(
        &mut self,
        run: u64,
        unit: &str,
        log: Option<LogOrder>,
    ) -> Option<(String, Option<LogOrder>)> {
        let row = &mut self.rows.get_mut(&run)?.row;
        let before = std::mem::replace(&mut row.unit, unit.to_owned());
        let spawned_as = row.spawned_as.take().unwrap_or_else(|| before.clone());
        row.spawned_as = Some(spawned_as).filter(|name| *name != row.unit);
        let log_before = row.log.clone();
        if log.is_some() && log_before.is_some() {
            row.log = log;
        }
        Some((before, log_before))
    }

    /// Whose log it writes to, and how that is kept.
    pub(super) fn log_of(&self, run: u64) -> Option<(String, LogOrder)> {
        let row = &self.rows.get(&run)?.row;
        Some((row.unit.clone(), row.log.clone()?))
    }

    /// The supervisor has accounted for this run's end.
    pub(super) fn release(&mut self, run: u64) {
        if let Some(entry) = self.rows.get_mut(&run) {
            entry.is_released = true;
            self.forget_if_over(run);
        }
    }

    fn forget_if_over(&mut self, run: u64) {
        let is_over = |entry: &Entry| match entry.row.stage {
            Stage::SpawnFailed { .. } => true,
            Stage::Exited { is_empty, .. } => is_empty,
            Stage::Spawning | Stage::Live => false,
        };
        if self.rows.get(&run).is_some_and(|entry| entry.is_released && is_over(entry)) {
            self.rows.remove(&run);
        }
    }

    /// Takes a run out of the table without a word; what it still does is of no interest.
    pub(super) fn disown(&mut self, run: u64) {
        self.rows.remove(&run);
    }

    /// Stores a pair; an empty value removes it.
    pub(super) fn remember(&mut self, key: Vec<u8>, value: Vec<u8>) {
        if value.is_empty() {
            self.notes.remove(&key);
        } else {
            self.notes.insert(key, value);
        }
    }

    pub(super) fn signalled(&mut self, signal: u8, sender_pid: u32) {
        if self.signals.len() < SIGNALS_KEPT {
            self.signals.push_back((signal, sender_pid));
        }
    }

    /// Some were not told yet.
    pub(super) fn has_signals(&self) -> bool {
        !self.signals.is_empty()
    }

    pub(super) fn log_trouble(&mut self, unit: String, errno: i32, lost_bytes: u64) {
        self.troubles.insert(unit, (errno, lost_bytes));
    }

    pub(super) fn stranger_reaped(&mut self) {
        self.strangers.1 = self.strangers.1.saturating_add(1);
    }

    /// A ping that is not answered yet is not repeated for ever by one who never reads.
    pub(super) fn pinged(&mut self, number: u64) {
        if self.pongs.len() < SIGNALS_KEPT {
            self.pongs.push_back(number);
        }
    }

    pub(super) fn ping(&mut self, number: u64) {
        self.ping = Some(number);
    }

    /// Of no interest to the next supervisor.
    pub(super) fn rehearsed(&mut self, report: Report) {
        self.rehearsed = Some(report);
    }

    /// The next thing to tell, if anybody listens and anything is untold. A row and a spawn want
    /// the run's descriptors beside them.
    pub(super) fn next_report(&mut self) -> Option<Report> {
        match &self.talk {
            Talk::Silent => None,
            Talk::Rows { .. } => Some(self.next_row()),
            Talk::Notes { .. } => Some(self.next_note()),
            Talk::Replaced { rows, notes } => {
                self.talk = Talk::HandedOver { rows: *rows, notes: *notes };
                match &self.replacement {
                    Some(replacement) => Some(Report::Replaced(Box::new(replacement.clone()))),
                    None => self.next_report(),
                }
            }
            Talk::HandedOver { rows, notes } => {
                let handed = Report::HandedOver { rows: *rows, notes: *notes };
                self.talk = Talk::News;
                Some(handed)
            }
            Talk::News => self.next_news(),
        }
    }

    fn next_row(&mut self) -> Report {
        let Talk::Rows { after, count } = &mut self.talk else { return self.next_note() };
        let first = after.map_or(0, |run| run.saturating_add(1));
        let next = self.rows.range_mut(first..HELPER_BIT).find(|(_, entry)| !entry.is_released);
        if let Some((run, entry)) = next {
            *after = Some(*run);
            *count = count.saturating_add(1);
            entry.told = told_by(&entry.row.stage);
            if let Some(saying) = &mut entry.saying {
                // The row says both.
                saying.is_shown_untold = false;
                saying.is_main_untold = false;
                self.news.push_back(*run);
            }
            return Report::Row(Box::new(entry.row.clone()));
        }
        self.talk = Talk::Notes { after: None, rows: *count, count: 0 };
        self.next_note()
    }

    fn next_note(&mut self) -> Report {
        let Talk::Notes { after, rows, count } = &mut self.talk else {
            return Report::HandedOver { rows: 0, notes: 0 };
        };
        let next = match after {
            None => self.notes.iter().next(),
            Some(key) => {
                let beyond = (std::ops::Bound::Excluded(key.clone()), std::ops::Bound::Unbounded);
                self.notes.range(beyond).next()
            }
        };
        if let Some((key, value)) = next {
            *after = Some(key.clone());
            *count = count.saturating_add(1);
            return Report::Note { key: key.clone(), value: value.clone() };
        }
        self.talk = match &self.replacement {
            Some(_) => Talk::Replaced { rows: *rows, notes: *count },
            None => {
                let handed = Report::HandedOver { rows: *rows, notes: *count };
                self.talk = Talk::News;
                return handed;
            }
        };
        self.next_report().unwrap_or(Report::HandedOver { rows: 0, notes: 0 })
    }

    fn next_news(&mut self) -> Option<Report> {
        if let Some(number) = self.pongs.pop_front() {
            return Some(Report::Pong { number });
        }
        if let Some(report) = self.rehearsed.take() {
            return Some(report);
        }
        if let Some((signal, sender_pid)) = self.signals.pop_front() {
            return Some(Report::Signalled { signal, sender_pid });
        }
        // Before the exit of who could not write.
        if let Some((unit, (errno, lost_bytes))) = self.troubles.pop_first() {
            return Some(Report::LogTrouble { unit, errno, lost_bytes });
        }
        while let Some(run) = self.news.front().copied() {
            if let Some(report) = self.next_of_run(run) {
                return Some(report);
            }
            self.news.pop_front();
        }
        if self.strangers.0 != self.strangers.1 {
            self.strangers.0 = self.strangers.1;
            return Some(Report::Strangers { reaped: self.strangers.1 });
        }
        self.ping.take().map(|number| Report::Ping { number })
    }

    fn next_of_run(&mut self, run: u64) -> Option<Report> {
        let entry = self.rows.get_mut(&run)?;
        if entry.told == Told::Spawned
            && let Some(report) = entry.saying.as_mut().and_then(|saying| saying.next(&entry.row))
        {
            return Some(report);
        }
        let row = &entry.row;
        let (told, report) = match (&row.stage, entry.told) {
            (Stage::Live | Stage::Exited { .. }, Told::Nothing) => {
                let (pid, start_time) = (row.pid, row.start_time);
                // Whoever sends it adds what comes with it.
                (Told::Spawned, Report::Spawned { run, pid, start_time, carries: Vec::new() })
            }
            (Stage::SpawnFailed { step, errno }, Told::Nothing | Told::Spawned) => {
                (Told::Emptied, Report::SpawnFailed { run, step: *step, errno: *errno })
            }
            (Stage::Exited { exit, usage, is_empty, log_end }, Told::Spawned) => {
                let (exit, usage, is_empty, log_end) = (*exit, *usage, *is_empty, *log_end);
                (told_by(&row.stage), Report::Exited { run, exit, usage, is_empty, log_end })
            }
            (Stage::Exited { is_empty: true, .. }, Told::Ended) => (Told::Emptied, Report::Emptied { run }),
            (Stage::Spawning | Stage::Live | Stage::SpawnFailed { .. } | Stage::Exited { .. }, _) => {
                return None;
            }
        };
        entry.told = told;
        Some(report)
    }

    /// Something would be told now if there were room for it.
    pub(super) fn has_news(&self) -> bool {
        match &self.talk {
            Talk::Silent => false,
            Talk::Rows { .. } | Talk::Notes { .. } | Talk::Replaced { .. } | Talk::HandedOver { .. } => true,
            Talk::News => {
                !self.news.is_empty()
                    || !self.signals.is_empty()
                    || !self.pongs.is_empty()
                    || !self.troubles.is_empty()
                    || self.ping.is_some()
                    || self.rehearsed.is_some()
            }
        }
    }
}

impl Table {
    /// For the executable that takes our place, whose supervisor knows nothing yet.
    pub(super) fn image(&self) -> TableImage {
        let blobs = |texts: &VecDeque<Vec<u8>>| texts.iter().cloned().map(Blob).collect();
        let saying = |saying: &Saying| SayingImage {
            notices: blobs(&saying.notices),
            came: saying.came,
            passed_on: saying.passed_on,
            is_shown_untold: saying.is_shown_untold,
            is_main_untold: saying.is_main_untold,
        };
        let row = |entry: &Entry| EntryImage {
            row: Some(entry.row.clone()),
            is_released: entry.is_released,
            saying: entry.saying.as_deref().map(saying),
        };
        let trouble = |(unit, (errno, lost_bytes)): (&String, &(i32, u64))| TroubleImage {
            unit: unit.clone(),
            errno: *errno,
            lost_bytes: *lost_bytes,
        };
        TableImage {
            rows: self.rows.values().map(|entry| row(entry)).collect(),
            notes: self.notes.iter().map(|(key, value)| (Blob(key.clone()), Blob(value.clone()))).collect(),
            signals: self.signals.iter().copied().collect(),
            troubles: self.troubles.iter().map(trouble).collect(),
            strangers: self.strangers.1,
        }
    }

    pub(super) fn of_image(image: TableImage) -> Self {
        let TableImage { rows, notes, signals, troubles, strangers } = image;
        let saying = |saying: SayingImage| {
            Box::new(Saying {
                notices: saying.notices.into_iter().map(|Blob(text)| text).collect(),
                came: saying.came,
                passed_on: saying.passed_on,
                is_shown_untold: saying.is_shown_untold,
                is_main_untold: saying.is_main_untold,
            })
        };
        let row = |entry: EntryImage| {
            let row = entry.row?;
            let (run, told, is_released) = (row.run, Told::Nothing, entry.is_released);
            Some((run, Box::new(Entry { row, told, is_released, saying: entry.saying.map(saying) })))
        };
        Self {
            rows: rows.into_iter().filter_map(row).collect(),
            notes: notes.into_iter().map(|(Blob(key), Blob(value))| (key, value)).collect(),
            signals: signals.into(),
            troubles: troubles.into_iter().map(|one| (one.unit, (one.errno, one.lost_bytes))).collect(),
            strangers: (0, strangers),
            ..Self::default()
        }
    }
}

impl Saying {
    /// Of a run that the supervisor knows to live.
    fn next(&mut self, row: &Row) -> Option<Report> {
        let run = row.run;
        if std::mem::take(&mut self.is_main_untold) {
            return Some(Report::MainChanged { run, pid: row.pid, start_time: row.start_time });
        }
        if let Some(text) = self.notices.pop_front() {
            self.passed_on = self.passed_on.saturating_add(1);
            return Some(Report::Notified { run, text });
        }
        std::mem::take(&mut self.is_shown_untold).then_some(Report::ReadyShown { run })
    }
}

fn told_by(stage: &Stage) -> Told {
    match stage {
        Stage::Spawning => Told::Nothing,
        Stage::Live => Told::Spawned,
        Stage::Exited { is_empty: false, .. } => Told::Ended,
        Stage::SpawnFailed { .. } | Stage::Exited { is_empty: true, .. } => Told::Emptied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(run: u64) -> Row {
        Row {
            run,
            unit: "redis".into(),
            spawned_as: None,
            ordinal: 1,
            pid: 0,
            start_time: 0,
            spawned_at: 0,
            stage: Stage::Spawning,
            log: None,
            carries: Vec::new(),
            is_ready_shown: false,
            log_place: None,
        }
    }

    fn listening() -> Table {
        let mut table = Table::default();
        table.connected(false);
        assert_eq!(told(&mut table), [Report::HandedOver { rows: 0, notes: 0 }]);
        table
    }

    fn told(table: &mut Table) -> Vec<Report> {
        std::iter::from_fn(|| table.next_report()).collect()
    }

    fn exit(table: &mut Table, run: u64, is_empty: bool) {
        table.exited(run, Exit::Code(0), Usage::default(), is_empty, None);
    }

    fn exited(run: u64, is_empty: bool) -> Report {
        Report::Exited { run, exit: Exit::Code(0), usage: Usage::default(), is_empty, log_end: None }
    }

    const SPAWNED: Report = Report::Spawned { run: 1, pid: 10, start_time: 0, carries: Vec::new() };

    #[test]
    fn a_run_is_told_in_three_steps_each_once() {
        let mut table = listening();
        assert!(table.ordered(row(1)));
        assert_eq!(told(&mut table), []);
        table.spawned(1, 10, 0);
        assert_eq!(told(&mut table), [SPAWNED]);
        exit(&mut table, 1, false);
        assert_eq!(told(&mut table), [exited(1, false)]);
        table.emptied(1);
        assert_eq!(told(&mut table), [Report::Emptied { run: 1 }]);
        table.emptied(1);
        assert_eq!(told(&mut table), []);
    }

    #[test]
    fn what_a_run_says_is_told_between_its_spawn_and_its_end() {
        let mut table = listening();
        table.ordered(row(1));
        table.spawned(1, 10, 0);
        table.notified(1, b"STATUS=a", false);
        table.notified(1, b"READY=1", true);
        table.ready_shown(1);
        exit(&mut table, 1, true);
        assert!(!table.has_passed_on(1, 2));
        let notified = |text: &[u8]| Report::Notified { run: 1, text: text.to_vec() };
        let all = [
            SPAWNED,
            notified(b"STATUS=a"),
            notified(b"READY=1"),
            Report::ReadyShown { run: 1 },
            exited(1, true),
        ];
        assert_eq!(told(&mut table), all);
        assert!(table.has_passed_on(1, 2));
    }

    #[test]
    fn what_a_run_said_while_nobody_listened_is_told_to_the_next_supervisor() {
        let mut table = listening();
        table.ordered(row(1));
        table.spawned(1, 10, 0);
        assert_eq!(told(&mut table), [SPAWNED]);
        table.disconnected();
        for _ in 0..1000 {
            table.notified(1, b"WATCHDOG=1", false);
        }
        table.notified(1, b"READY=1", true);
        table.connected(false);
        let told = told(&mut table);
        assert!(matches!(&told[0], Report::Row(row) if row.is_ready_shown), "{told:?}");
        assert_eq!(told.len(), 4, "a thousand signs of life are one: {told:?}");
        assert_eq!(told[3], Report::Notified { run: 1, text: b"READY=1".to_vec() });
    }

    #[test]
    fn a_run_that_floods_a_supervisor_that_does_not_read_is_not_read_itself() {
        let mut table = listening();
        table.ordered(row(1));
        table.spawned(1, 10, 0);
        let mut count = 0_usize;
        while !table.has_enough_of(1) {
            table.notified(1, format!("STATUS={count}").as_bytes(), false);
            count += 1;
        }
        assert_eq!(count, NOTICES_KEPT);
        told(&mut table);
        assert!(!table.has_enough_of(1));
    }

    #[test]
    fn what_happened_while_nobody_read_is_told_in_order_and_without_what_it_made_moot() {
        let mut table = listening();
        table.ordered(row(1));
        table.spawned(1, 10, 0);
        exit(&mut table, 1, false);
        table.emptied(1);
        assert_eq!(told(&mut table), [SPAWNED, exited(1, true)]);
    }

    #[test]
    fn an_exit_is_told_to_every_supervisor_until_it_is_released() {
        let mut table = listening();
        table.ordered(row(1));
        table.spawned(1, 10, 0);
        exit(&mut table, 1, true);
        assert_eq!(told(&mut table).len(), 2);
        for _ in 0..2 {
            table.disconnected();
            table.connected(false);
            let reports = told(&mut table);
            assert!(
                matches!(&reports[0], Report::Row(row) if matches!(row.stage, Stage::Exited { is_empty: true, .. })),
                "{reports:?}"
            );
            assert_eq!(reports[1..], [Report::HandedOver { rows: 1, notes: 0 }]);
        }
        table.release(1);
        assert!(table.row(1).is_none());
    }

    #[test]
    fn a_release_before_the_end_forgets_the_run_when_it_is_over() {
        let mut table = listening();
        table.ordered(row(1));
        table.spawned(1, 10, 0);
        table.release(1);
        assert!(table.row(1).is_some());
        exit(&mut table, 1, false);
        assert!(table.row(1).is_some(), "something of it lives");
        table.emptied(1);
        assert!(table.row(1).is_none());
    }

    #[test]
    fn news_during_the_handover_is_told_once() {
        let mut table = Table::default();
        for run in 1..=3 {
            table.ordered(row(run));
            table.spawned(run, 10, 0);
        }
        table.connected(false);
        assert!(matches!(table.next_report(), Some(Report::Row(row)) if row.run == 1));
        exit(&mut table, 1, true);
        exit(&mut table, 3, true);
        let rest = told(&mut table);
        assert!(matches!(&rest[0], Report::Row(row) if row.run == 2 && row.stage == Stage::Live));
        assert!(
            matches!(&rest[1], Report::Row(row) if row.run == 3 && matches!(row.stage, Stage::Exited { .. }))
        );
        assert_eq!(rest[2..], [Report::HandedOver { rows: 3, notes: 0 }, exited(1, true)]);
    }

    #[test]
    fn notes_come_in_the_order_of_their_keys_and_an_empty_value_removes_one() {
        let mut table = Table::default();
        for (key, value) in [(b"b", b"1"), (b"a", b"2"), (b"c", b"3")] {
            table.remember(key.to_vec(), value.to_vec());
        }
        table.remember(b"c".to_vec(), Vec::new());
        table.connected(false);
        let note = |key: &[u8], value: &[u8]| Report::Note { key: key.to_vec(), value: value.to_vec() };
        let expected = [note(b"a", b"2"), note(b"b", b"1"), Report::HandedOver { rows: 0, notes: 2 }];
        assert_eq!(told(&mut table), expected);
    }

    #[test]
    fn helpers_are_not_handed_over() {
        let mut table = Table::default();
        table.ordered(row(HELPER_BIT | 1));
        table.connected(false);
        assert_eq!(told(&mut table), [Report::HandedOver { rows: 0, notes: 0 }]);
    }

    #[test]
    fn signals_wait_for_the_next_supervisor_and_do_not_pile_up() {
        let mut table = listening();
        table.disconnected();
        for _ in 0..1_000 {
            table.signalled(15, 1);
        }
        table.connected(false);
        let reports = told(&mut table);
        assert_eq!(reports.len(), 1 + SIGNALS_KEPT);
    }

    #[test]
    fn the_same_run_is_not_ordered_twice() {
        let mut table = listening();
        assert!(table.ordered(row(1)));
        assert!(!table.ordered(row(1)));
    }
}
