//! The first minutes of a supervisor's life: what outlived the last one, from the keeper's table or,
//! when no keeper lived either, from the journal.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::engine::event::ChangeNote;
use crate::engine::event::{ExitStatus, HandedCondition, HandedRun, Handover, Notes, UnitNote};
use crate::engine::id::{RunId, UnitId};
use crate::engine::state::{Desired, DownSource};
use crate::engine::time::Timestamp;
use crate::keeper::wire::{AdoptOrder, LogOrder, Replacement, Report, Row, Stage};
use crate::supervisor::holdings::{Held, Holding, Stage as At, held};
use crate::supervisor::identity::{self, Carriers, Epoch, Finding, Ordered, Sought};
use crate::supervisor::journal::{Process, Recorded, RecordedRun};
use crate::supervisor::keeper_link::{Incoming, KeeperLink, understood};
use crate::supervisor::notes::{self, Remembered, decode, decode_accepted};
use crate::supervisor::translate;
use crate::unit::name::UnitName;
use crate::unit::spec::UnitSet;

/// What a keeper says until `HandedOver`.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    pub(crate) rows: Vec<(Row, Vec<OwnedFd>)>,
    /// Listening sockets, by their keys.
    pub(crate) listening: Vec<(String, OwnedFd)>,
    pub(crate) notes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Supervisors that this keeper started before this one.
    pub(crate) restarts: u32,
    pub(crate) is_safe_mode: bool,
    pub(crate) keeper_pid: u32,
    /// What the journal says, where this keeper has nothing to hand over.
    pub(crate) recorded: Option<Recorded>,
    /// The seal of the units that were accepted just now.
    pub(crate) accepted: Option<u64>,
    /// Pings that came meanwhile.
    pub(crate) pings: Vec<u64>,
    /// How the last try to replace both rings ended.
    pub(crate) replacement: Option<Replacement>,
    /// News that came in the same packet, behind the handover.
    pub(crate) news: Vec<(Report, Vec<OwnedFd>)>,
}

impl Legacy {
    /// Reads until the handover is complete.
    ///
    /// # Errors
    /// When the keeper goes away before, or speaks another version than we do.
    pub(crate) async fn receive(link: &mut KeeperLink) -> io::Result<Self> {
        let mut legacy = Self::default();
        let mut is_complete = false;
        while !is_complete {
            let reports = match link.receive() {
                Incoming::Reports(reports) => reports,
                Incoming::Nothing => {
                    link.readable().await?;
                    continue;
                }
                Incoming::Lost(error) => return Err(error),
            };
            for (report, descriptors) in reports {
                match report {
                    Report::Hello { version, pid, restarts, safe_mode } => {
                        understood(version)?;
                        legacy.keeper_pid = pid;
                        legacy.restarts = restarts;
                        legacy.is_safe_mode = safe_mode;
                    }
                    Report::Row(row) => legacy.rows.push((*row, descriptors)),
                    Report::Held { key } => {
                        legacy.listening.extend(descriptors.into_iter().next().map(|socket| (key, socket)));
                    }
                    Report::Note { key, value } => legacy.notes.push((key, value)),
                    Report::Ping { number } => legacy.pings.push(number),
                    Report::HandedOver { .. } => is_complete = true,
                    Report::Replaced(replacement) => legacy.replacement = Some(*replacement),
                    Report::Spawned { .. }
                    | Report::SpawnFailed { .. }
                    | Report::Exited { .. }
                    | Report::Notified { .. }
                    | Report::ReadyShown { .. }
                    | Report::MainChanged { .. }
                    | Report::Emptied { .. }
                    | Report::Signalled { .. }
                    | Report::LogTrouble { .. }
                    | Report::Strangers { .. }
                    | Report::Rehearsed { .. }
                    | Report::Pong { .. } => legacy.news.push((report, descriptors)),
                }
            }
        }
        Ok(legacy)
    }

    /// What the keeper remembers of the units that its boot accepted.
    pub(crate) fn seal(&self) -> Option<u64> {
        self.notes.iter().find_map(|(key, value)| decode_accepted(key, value))
    }

    /// The change that was under way.
    pub(crate) fn change(&self) -> Option<ChangeNote> {
        self.notes.iter().find_map(|(key, value)| notes::decode_change(key, value))
    }

    /// Everything that lived when this keeper began was put into its table. Not so where a supervisor that
    /// started it died before it had passed all of it on: then only the journal knows the rest.
    pub(crate) fn is_whole(&self) -> bool {
        self.notes.iter().any(|(key, _)| notes::is_whole(key))
    }

    /// The first supervisor of this keeper, with nothing to take over.
    pub(crate) fn is_cold(&self) -> bool {
        self.restarts == 0 && self.rows.is_empty() && self.notes.is_empty()
    }
}

/// What to do with the legacy.
#[derive(Debug, Default)]
pub(crate) struct Takeover {
    pub(crate) handover: Handover,
    pub(crate) holdings: Vec<(u64, Holding)>,
    /// Runs to put into an empty keeper's table, with their descriptors.
    pub(crate) adopt: Vec<(AdoptOrder, Held)>,
    /// Sockets that the keeper holds, by their keys.
    pub(crate) listening: Vec<(String, OwnedFd)>,
    /// Rows of which nothing is left, and that no unit claims.
    pub(crate) forget: Vec<u64>,
    pub(crate) first_event: u64,
    /// What webhooks brought that no run has read yet.
    pub(crate) bodies: Vec<(UnitId, u64, Vec<u8>)>,
    /// To be remembered before anything begins.
    pub(crate) accepted: Option<u64>,
    /// What a person should know.
    pub(crate) announcements: Vec<String>,
    /// For the journal that begins now.
    pub(crate) image: Recorded,
}

impl Takeover {
    fn new(epoch: Option<Epoch>) -> Self {
        Self { first_event: 1, image: Recorded { epoch, ..Recorded::default() }, ..Self::default() }
    }

    /// From the keeper's table, which is always right.
    pub(crate) fn from_keeper(legacy: Legacy, set: &UnitSet, epoch: Option<Epoch>) -> Self {
        let mut takeover = Self::new(epoch);
        for (key, value) in legacy.notes {
            // Said of one keeper's table; the next one's is not whole before it is said again.
            if !notes::is_whole(&key) {
                takeover.note(&key, &value, set, |_| true);
                takeover.image.notes.insert(key, value);
            }
        }
        for (row, descriptors) in legacy.rows {
            takeover.row(&row, descriptors, set);
        }
        takeover.listening = legacy.listening;
        takeover.handover.runs.sort_by_key(|handed| handed.run);
        takeover
    }

    /// From the journal, after both rings died. Believes nothing that it cannot verify.
    pub(crate) fn from_journal(
        recorded: &Recorded,
        set: &UnitSet,
        epoch: Option<Epoch>,
        logs: &dyn Fn(&str, u64) -> Option<LogOrder>,
    ) -> Self {
        let is_other_boot = matches!((&recorded.epoch, &epoch), (Some(then), Some(now)) if then != now);
        let mut takeover = Self::new(epoch);
        if is_other_boot {
            return takeover;
        }
        let carriers = if recorded.runs.values().any(|run| run.process.is_none()) {
            Carriers::search()
        } else {
            Carriers::default()
        };
        for (run, record) in &recorded.runs {
            let tag = record.tag(*run);
            let found = match record.process {
                Some(process) => match identity::find(process.pid, process.start_time, &tag) {
                    Finding::Same => Sought::Found(process),
                    Finding::Unverifiable => Sought::Doubtful(process),
                    Finding::Gone => Sought::Nobody,
                },
                None => carriers.find(&Ordered { tag, at: record.spawned_at, uid: record.uid }),
            };
            takeover.recorded_run(*run, record, found, set, logs);
        }
        for (key, value) in &recorded.notes {
            takeover.old_note(key, value, set);
        }
        takeover
    }

    /// The engine numbers runs from here on. A run's number is part of its `MCSUP_RUN`; one that no other
    /// instance on this machine has given keeps its processes apart from theirs.
    pub(crate) fn number_runs_from(&mut self, first: u64) {
        self.handover.first_run = first;
    }

    /// Of a unit's run: the last supervisor's helpers are ended by the keeper, which never speaks of them.
    fn row(&mut self, row: &Row, descriptors: Vec<OwnedFd>, set: &UnitSet) {
        let is_empty = matches!(row.stage, Stage::Exited { is_empty: true, .. } | Stage::SpawnFailed { .. });
        let process = Process { pid: row.pid, start_time: row.start_time };
        let Some((name, unit)) = known(&row.unit, set) else {
            self.foreign(row, process, descriptors, is_empty);
            return;
        };
        let stage = match row.stage {
            Stage::Spawning => At::Ordered,
            Stage::Live => At::Live(process),
            Stage::SpawnFailed { .. } => At::Over,
            Stage::Exited { is_empty: false, .. } => At::Exited(process),
            Stage::Exited { is_empty: true, .. } => At::Over,
        };
        let unit_name: Arc<str> = row.unit.as_str().into();
        let spawned_as: Option<Arc<str>> = row.spawned_as.as_deref().map(Arc::from);
        let mut holding = Holding::new(Arc::clone(&unit_name), row.ordinal, row.spawned_at, stage);
        holding.spawned_as.clone_from(&spawned_as);
        ended(&mut holding, row.stage);
        holding.descriptors = held(&row.carries, descriptors);
        holding.is_ready_shown = row.is_ready_shown;
        holding.log_place = row.log_place.map(Box::new);
        self.holdings.push((row.run, holding));
        let process = matches!(row.stage, Stage::Live).then_some(process);
        let record = RecordedRun {
            unit: unit_name,
            spawned_as,
            ordinal: row.ordinal,
            spawned_at: row.spawned_at,
            uid: None,
            process,
        };
        self.image.runs.insert(row.run, Box::new(record));
        self.handover.runs.push(translate::handed_run(row, name, set.unit(unit)));
    }

    fn foreign(&mut self, row: &Row, process: Process, descriptors: Vec<OwnedFd>, is_empty: bool) {
        if is_empty {
            self.forget.push(row.run);
            return;
        }
        let text = format!(
            "{}#{} (pid {}) belongs to no unit any more and is left alone",
            row.unit, row.ordinal, row.pid
        );
        self.announcements.push(text);
        let stage = At::Foreign(process);
        let mut holding = Holding::new(row.unit.as_str().into(), row.ordinal, row.spawned_at, stage);
        holding.spawned_as = row.spawned_as.as_deref().map(Arc::from);
        ended(&mut holding, row.stage);
        holding.descriptors = held(&row.carries, descriptors);
        self.holdings.push((row.run, holding));
    }

    fn recorded_run(
        &mut self,
        run: u64,
        record: &RecordedRun,
        found: Sought,
        set: &UnitSet,
        logs: &dyn Fn(&str, u64) -> Option<LogOrder>,
    ) {
        let RecordedRun { unit, ordinal, spawned_at, .. } = record;
        let Some((name, _)) = known(unit, set) else { return self.unclaimed(run, record, found) };
        let (condition, stage, process) = match found {
            Sought::Nobody => {
                let condition = HandedCondition::Exited { exit: ExitStatus::Unknown, is_empty: true };
                (condition, At::Over, None)
            }
            Sought::Doubtful(process) => {
                self.announcements.push(unverifiable(unit, *ordinal, process.pid));
                (HandedCondition::Live { pid: process.pid }, At::Unverified(process), Some(process))
            }
            Sought::Found(process) => {
                (HandedCondition::Live { pid: process.pid }, At::Live(process), Some(process))
            }
        };
        let mut holding = Holding::new(unit.clone(), *ordinal, *spawned_at, stage);
        holding.spawned_as.clone_from(&record.spawned_as);
        if let Sought::Found(process) = found {
            holding.descriptors = self.adopt(run, record, process, logs(unit, run));
        }
        self.holdings.push((run, holding));
        self.image.runs.insert(run, Box::new(RecordedRun { process, ..record.clone() }));
        let spawned_at = Timestamp(*spawned_at);
        self.handover.runs.push(HandedRun {
            run: RunId(run),
            unit: name,
            ordinal: *ordinal,
            spawned_at,
            condition,
            is_ready_shown: false, // nobody knows what it said to a keeper that is gone
        });
    }

    /// A recorded run whose unit is gone from the directory: it may still hold a port that others need.
    fn unclaimed(&mut self, run: u64, record: &RecordedRun, found: Sought) {
        let (process, is_ours) = match found {
            Sought::Found(process) => (process, true),
            Sought::Doubtful(process) => (process, false),
            Sought::Nobody => return,
        };
        let RecordedRun { unit, ordinal, spawned_at, .. } = record;
        let pid = process.pid;
        self.announcements.push(format!(
            "{unit}#{ordinal} (pid {pid}) still runs and belongs to no unit any more: left alone, with what it \
             holds; end it by hand (`kill {pid}`), or give {unit} its file back and restart mcsup"
        ));
        self.image.runs.insert(run, Box::new(RecordedRun { process: Some(process), ..record.clone() }));
        let stage = if is_ours { At::Foreign(process) } else { At::Unverified(process) };
        let mut holding = Holding::new(unit.clone(), *ordinal, *spawned_at, stage);
        holding.spawned_as.clone_from(&record.spawned_as);
        if is_ours {
            holding.descriptors = identity::reopened(pid, None);
            if let Some(order) = holding.adopt_order(run, None) {
                self.adopt.push((order, holding.descriptors.clone()));
            }
        }
        self.holdings.push((run, holding));
    }

    fn adopt(&mut self, run: u64, record: &RecordedRun, process: Process, log: Option<LogOrder>) -> Held {
        let Process { pid, start_time } = process;
        let descriptors = identity::reopened(pid, log.as_ref());
        let order = AdoptOrder {
            run,
            unit: (*record.unit).to_owned(),
            spawned_as: record.spawned_as.as_deref().map(str::to_owned),
            ordinal: record.ordinal,
            pid,
            start_time,
            spawned_at: record.spawned_at,
            exit: None,
            log,
            carries: descriptors.iter().map(|(carried, _)| *carried).collect(),
            is_ready_shown: false,
            log_place: None,
        };
        let lived =
            format!("{}#{} (pid {pid}) outlived both rings and is adopted", record.unit, record.ordinal);
        self.announcements.push(lived);
        self.adopt.push((order, descriptors.clone()));
        descriptors
    }

    /// After a cold start: operators' stops last until the next boot of the machine, and a run that
    /// lives on keeps its story. All else begins anew: a task runs once per life of a keeper.
    fn old_note(&mut self, key: &[u8], value: &[u8], set: &UnitSet) {
        let live: Vec<UnitName> = self.handover.runs.iter().map(|handed| handed.unit.clone()).collect();
        let is_kept = |name: &UnitName, note: &UnitNote| {
            note.desired == Desired::Down(DownSource::Operator) || live.contains(name)
        };
        match decode(key, value, set) {
            Some(Remembered::Unit(name, note)) if is_kept(&name, &note) => {
                self.handover.notes.units.insert(name, note);
                self.image.notes.insert(key.to_vec(), value.to_vec());
            }
            Some(Remembered::Events(below)) => {
                self.first_event = below;
                self.image.notes.insert(key.to_vec(), value.to_vec());
            }
            // What nobody refers to any more ends when the engine takes over.
            Some(Remembered::Incident(number, incident)) => {
                self.handover.notes.incidents.insert(number, *incident);
                self.image.notes.insert(key.to_vec(), value.to_vec());
            }
            Some(Remembered::Body(name, number, body)) => {
                if live.contains(&name) {
                    self.body(&name, number, body, set);
                    self.image.notes.insert(key.to_vec(), value.to_vec());
                }
            }
            Some(
                Remembered::Unit(..) | Remembered::Boot(_) | Remembered::Change(_) | Remembered::Accepted(_),
            )
            | None => {}
        }
    }

    fn body(&mut self, name: &UnitName, number: u64, body: Vec<u8>, set: &UnitSet) {
        self.bodies.extend(set.find(name.as_str()).map(|unit| (unit, number, body)));
    }

    fn note(&mut self, key: &[u8], value: &[u8], set: &UnitSet, is_kept: impl Fn(&UnitNote) -> bool) {
        let Notes { boot, units, incidents, change } = &mut self.handover.notes;
        match decode(key, value, set) {
            Some(Remembered::Boot(note)) => *boot = Some(note),
            Some(Remembered::Change(note)) => *change = Some(note),
            Some(Remembered::Events(below)) => self.first_event = below,
            Some(Remembered::Unit(name, note)) if set.find(name.as_str()).is_some() && is_kept(&note) => {
                units.insert(name, note);
            }
            Some(Remembered::Incident(number, incident)) => {
                incidents.insert(number, *incident);
            }
            Some(Remembered::Body(name, number, body)) => self.body(&name, number, body, set),
            Some(Remembered::Unit(..) | Remembered::Accepted(_)) => {}
            None => self.announcements.push(format!(
                "a remembered note ({}) could not be read and is forgotten",
                String::from_utf8_lossy(key)
            )),
        }
    }
}

/// What a person should know of a process that may be a run's, and may not be touched for it.
pub(crate) fn unverifiable(unit: &str, ordinal: u32, pid: u32) -> String {
    format!(
        "{unit}: process {pid} may be its run #{ordinal}, but nothing proves it: neither adopted, signalled nor \
         doubled; end it by hand, then `mcsup restart {unit}`"
    )
}

fn ended(holding: &mut Holding, stage: Stage) {
    match stage {
        Stage::Exited { exit, usage, log_end, is_empty: _ } => holding.ended_by(exit, usage, log_end, None),
        Stage::Spawning | Stage::Live | Stage::SpawnFailed { .. } => {}
    }
}

fn known(unit: &str, set: &UnitSet) -> Option<(UnitName, UnitId)> {
    Some((UnitName::new(unit).ok()?, set.find(unit)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "stands for what a keeper that died had just started")]
    fn a_process_of_a_renamed_unit_is_found_after_both_rings_died() {
        // No other process of this machine has this number, so nobody else is found.
        let (run, ordinal) = (u64::from(std::process::id()) << 20, 1);
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .env("MCSUP_RUN", crate::proc::run_tag("old", ordinal, run))
            .spawn()
            .unwrap();
        let (unit, spawned_as) = ("new".into(), Some("old".into()));
        let record = RecordedRun { unit, spawned_as, ordinal, spawned_at: 0, uid: None, process: None };
        let recorded = Recorded { runs: [(run, Box::new(record))].into(), ..Recorded::default() };
        let file =
            crate::unit::SourceFile { name: "new.yaml".into(), bytes: b"command: sleep 1000\n".to_vec() };
        let set = crate::graph::load(&[file]).set.unwrap();
        // Before its exec it carries no tag yet.
        let is_named = || Carriers::search().find(&ordered(run)) != Sought::Nobody;
        let until = crate::aside::since_boot() + std::time::Duration::from_secs(20);
        while !is_named() && crate::aside::since_boot() < until {}
        let takeover = Takeover::from_journal(&recorded, &set, None, &|_unit, _run| None);
        child.kill().unwrap();
        child.wait().unwrap();
        let [(order, _)] = &takeover.adopt[..] else { panic!("{:?}", takeover.adopt) };
        assert_eq!((order.pid, order.unit.as_str()), (child.id(), "new"));
        assert_eq!(order.spawned_as.as_deref(), Some("old"), "for the keeper to know its processes by");
        let [(_, holding)] = &takeover.holdings[..] else { panic!("{:?}", takeover.holdings) };
        assert_eq!(holding.tag(run), crate::proc::run_tag("old", ordinal, run));
        assert_eq!(takeover.image.runs[&run].tag(run), holding.tag(run), "and for the next journal");
    }

    fn ordered(run: u64) -> Ordered {
        Ordered { tag: crate::proc::run_tag("old", 1, run), at: 0, uid: None }
    }

    #[test]
    fn a_keeper_that_was_not_told_everything_is_not_whole() {
        let mut half = Legacy { restarts: 1, ..Legacy::default() };
        half.notes.push((b"unit:a".to_vec(), vec![1]));
        assert!(!half.is_whole() && !half.is_cold());
        half.notes.push(notes::encode_whole());
        assert!(half.is_whole());
    }
}
