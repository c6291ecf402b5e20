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
mod tests;
