//! What `mcsup up` shows while it boots: on a terminal the phases as they fill, drawn in place and
//! ending in one quiet line; elsewhere one line per change.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::effect::Fact;
use crate::engine::id::{PhaseId, UnitId};
use crate::engine::lazy::WAITS_FOR_CONNECTION;
use crate::engine::state::StateName;
use crate::engine::time::{Pretty, Timestamp};
use crate::supervisor::sink::Sink;
use crate::supervisor::words::{Weight, line, name_of, phase_name, weight};
use crate::unit::spec::UnitSet;

/// The person or the log that looks on.
#[derive(Debug)]
pub(crate) struct Display {
    set: Arc<UnitSet>,
    sink: Sink,
    mode: Mode,
    began: Timestamp,
}

#[derive(Debug)]
enum Mode {
    /// One line per change.
    Lines,
    /// A picture that is drawn over until the boot is done.
    Drawing(Picture),
    /// After the boot: trouble and the end.
    Quiet,
}

#[derive(Debug, Default)]
struct Picture {
    units: BTreeMap<UnitId, (StateName, Box<str>)>,
    lines_drawn: usize,
    is_stale: bool,
}

impl Display {
    /// `is_takeover`: services run already, and nobody watches a boot.
    pub(crate) fn new(set: Arc<UnitSet>, began: Timestamp, is_takeover: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let mode = match (is_terminal, is_takeover) {
            (false, _) => Mode::Lines,
            (true, false) => Mode::Drawing(Picture::default()),
            (true, true) => Mode::Quiet,
        };
        let sink = Sink::new(PENDING_MAX_BYTES, |batch| {
            let mut out = io::stdout().lock();
            out.write_all(&batch.bytes)?;
            out.flush()
        });
        Self { set, sink, mode, began }
    }

    pub(crate) fn redefine(&mut self, set: Arc<UnitSet>) {
        self.set = set;
    }

    pub(crate) fn show(&mut self, fact: &Fact, now: Timestamp) {
        match &mut self.mode {
            Mode::Lines => self.line(&line(fact, &self.set)),
            Mode::Drawing(picture) => {
                picture.take(fact);
                match fact {
                    Fact::Booted => self.end_drawing(now),
                    Fact::ShutdownBegan => {
                        self.draw();
                        self.mode = Mode::Quiet;
                        self.line(&format!("mcsup: {}", line(fact, &self.set)));
                    }
                    Fact::StateChanged { .. }
                    | Fact::HealthChanged { .. }
                    | Fact::RunEnded { .. }
                    | Fact::PhaseOpened { .. }
                    | Fact::PhaseHeld { .. }
                    | Fact::IncidentOpened { .. }
                    | Fact::IncidentClosed { .. }
                    | Fact::IncidentJoined { .. }
                    | Fact::IncidentReached { .. }
                    | Fact::IncidentMerged { .. }
                    | Fact::RungTried { .. }
                    | Fact::RungEnded { .. }
                    | Fact::RungRepeated { .. }
                    | Fact::EvidenceIncomplete { .. }
                    | Fact::IncidentLeft { .. }
                    | Fact::StatusTold { .. }
                    | Fact::JobTriggered { .. }
                    | Fact::JobRunEnded { .. }
                    | Fact::JobSkipped { .. }
                    | Fact::JobMissed { .. }
                    | Fact::Unkillable { .. }
                    | Fact::Adopted { .. }
                    | Fact::Change { .. }
                    | Fact::RequestServed { .. }
                    | Fact::BugFound { .. } => {}
                }
            }
            Mode::Quiet if *fact == Fact::ShutdownBegan || weight(fact) == Weight::Trouble => {
                self.line(&format!("mcsup: {}", line(fact, &self.set)));
            }
            Mode::Quiet => {}
        }
    }

    /// Something that is no fact of the engine, but must not be missed.
    pub(crate) fn say(&mut self, text: &str) {
        self.draw();
        if let Mode::Drawing(picture) = &mut self.mode {
            // The line stands; the next picture begins below it.
            picture.lines_drawn = 0;
        }
        self.line(text);
    }

    /// Once per turn of the loop, however many facts it brought.
    pub(crate) fn draw(&mut self) {
        let Mode::Drawing(picture) = &mut self.mode else { return };
        if !std::mem::take(&mut picture.is_stale) {
            return;
        }
        let lines = picture.lines(&self.set);
        let mut text = up_and_clear(picture.lines_drawn);
        for line in &lines {
            text.push_str(line);
            text.push('\n');
        }
        picture.lines_drawn = lines.len();
        self.sink.push(text.as_bytes());
    }

    pub(crate) async fn close(mut self, limit: Duration) {
        self.draw();
        self.sink.close(limit).await;
    }

    fn end_drawing(&mut self, now: Timestamp) {
        let Mode::Drawing(picture) = std::mem::replace(&mut self.mode, Mode::Quiet) else { return };
        self.sink.push(up_and_clear(picture.lines_drawn).as_bytes());
        for line in picture.troubles(&self.set) {
            self.line(&line);
        }
        let up = picture.units.values().filter(|(state, reason)| is_settled_well(*state, reason)).count();
        let took = Duration::from_millis(u64::try_from(now.since(self.began).as_millis()).unwrap_or(0));
        self.line(&format!(
            "mcsup: {up} of {} units up in {}; `mcsup status` shows them",
            picture.units.len(),
            Pretty(took)
        ));
    }

    fn line(&self, text: &str) {
        self.sink.push(text.as_bytes());
        self.sink.push(b"\n");
    }
}

impl Picture {
    fn take(&mut self, fact: &Fact) {
        if let Fact::StateChanged { unit, to, reason, from: _ } = fact {
            self.units.insert(*unit, (*to, reason.clone()));
            self.is_stale = true;
        }
    }

    /// A line per phase, and under it who is not there yet and what for.
    fn lines(&self, set: &UnitSet) -> Vec<String> {
        let mut lines = Vec::new();
        for (at, _) in set.phases.iter().enumerate() {
            let phase = PhaseId(u16::try_from(at).unwrap_or(u16::MAX));
            let members: Vec<_> = self
                .units
                .iter()
                .filter(|(unit, _)| set.unit(**unit).is_some_and(|spec| spec.phase == phase))
                .collect();
            if members.is_empty() {
                continue;
            }
            let well = members.iter().filter(|(_, (state, reason))| is_settled_well(*state, reason)).count();
            lines.push(format!("{:<12} {well}/{}", phase_name(set, phase), members.len()));
            let open: Vec<_> =
                members.into_iter().filter(|(_, (state, reason))| !is_settled_well(*state, reason)).collect();
            for (unit, (state, reason)) in open.iter().take(UNITS_SHOWN) {
                lines.push(cut(&format!("  {:<16} {state}: {reason}", name_of(set, **unit))));
            }
            if open.len() > UNITS_SHOWN {
                lines.push(format!("  and {} more", open.len().saturating_sub(UNITS_SHOWN)));
            }
        }
        lines
    }

    fn troubles(&self, set: &UnitSet) -> Vec<String> {
        let bad = |(state, _): &&(StateName, Box<str>)| {
            matches!(state, StateName::Failed | StateName::Unhealthy | StateName::Backoff)
        };
        self.units
            .iter()
            .filter(|(_, entry)| bad(entry))
            .map(|(unit, (state, reason))| format!("{:<16} {state}: {reason}", name_of(set, *unit)))
            .collect()
    }
}

fn is_settled_well(state: StateName, reason: &str) -> bool {
    match state {
        StateName::Ready | StateName::Completed => true,
        StateName::Waiting => reason.starts_with(WAITS_FOR_CONNECTION), // lazy, and where it should be
        StateName::Inactive
        | StateName::Starting
        | StateName::Unhealthy
        | StateName::Stopping
        | StateName::Backoff
        | StateName::Failed => false,
    }
}

fn up_and_clear(lines: usize) -> String {
    if lines > 0 { format!("\x1b[{lines}A\r\x1b[J") } else { String::new() }
}

/// A line that wraps would make the count of lines wrong.
fn cut(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(COLUMNS).collect()
}

const UNITS_SHOWN: usize = 6;
/// What every terminal has.
const COLUMNS: usize = 79;
/// A terminal that was stopped with Ctrl-S costs this much at most.
const PENDING_MAX_BYTES: usize = 256 * 1024;
