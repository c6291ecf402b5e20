//! What follows a failure besides its repair: evidence, and people who are told.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::effect::Fact;
use crate::engine::event::{Event, ExitStatus};
use crate::engine::id::{IncidentId, RunId, UnitId};
use crate::engine::time::{Now, Timestamp};
use crate::history::row::RunRow;
use crate::incident::evidence::{Evidence, Restart};
use crate::supervisor::chronicle::Telling;
use crate::supervisor::evidence::{Wanted, date, millis};
use crate::supervisor::executor::{Executor, Untold};
use crate::supervisor::helpers::Purpose;
use crate::supervisor::launch::{Call, NOBODY, What};

impl Executor {
    /// Before the run is released, which forgets what it left.
    pub(crate) fn capture(&mut self, now: Now, wanted: Wanted, engine: &Engine) {
        self.witness.take(now, wanted, engine, &self.ground, &self.holdings);
    }

    /// What a worker found; the engine hears of it, and so does the desk.
    pub(crate) fn captured(
        &mut self,
        incident: IncidentId,
        unit: UnitId,
        run: Option<RunId>,
        evidence: Option<Box<Evidence>>,
        is_complete: bool,
    ) -> Event {
        if let Some(evidence) = evidence {
            self.chronicle.tell(Telling::Evidence(evidence));
        }
        Event::EvidenceCaptured { incident, unit, run, is_complete }
    }

    /// What the witness has to know before an order that comes with it.
    pub(crate) fn overhear(&mut self, fact: &Fact) {
        match fact {
            Fact::IncidentOpened { incident, began, .. } => self.witness.trouble_began(*incident, *began),
            Fact::IncidentClosed { incident, .. } | Fact::IncidentMerged { from: incident, .. } => {
                self.witness.over(*incident);
            }
            Fact::StateChanged { .. }
            | Fact::HealthChanged { .. }
            | Fact::RunEnded { .. }
            | Fact::PhaseOpened { .. }
            | Fact::Booted
            | Fact::PhaseHeld { .. }
            | Fact::IncidentJoined { .. }
            | Fact::IncidentReached { .. }
            | Fact::EvidenceIncomplete { .. }
            | Fact::RungTried { .. }
            | Fact::RungEnded { .. }
            | Fact::RungRepeated { .. }
            | Fact::StatusTold { .. }
            | Fact::JobTriggered { .. }
            | Fact::JobRunEnded { .. }
            | Fact::JobSkipped { .. }
            | Fact::JobMissed { .. }
            | Fact::IncidentLeft { .. }
            | Fact::Unkillable { .. }
            | Fact::Adopted { .. }
            | Fact::Change { .. }
            | Fact::RequestServed { .. }
            | Fact::ShutdownBegan
            | Fact::BugFound { .. } => {}
        }
    }

    /// A unit's main process ended: a row of the history, and a line of its restarts.
    pub(crate) fn remember_end(&mut self, now: Now, run: u64, exit: ExitStatus) {
        let Some(holding) = self.holdings.runs.get(&run) else { return };
        let Some(unit) = self.ground.set.slot(&holding.unit) else { return };
        let started_millis = date(now, Timestamp(holding.spawned_at));
        let why = exit.to_string();
        let usage = holding.usage.as_deref().copied().unwrap_or_default();
        let row = RunRow {
            unit: (*holding.unit).to_owned(),
            ordinal: holding.ordinal,
            started_millis,
            ended_millis: Some(millis(now)),
            exit: why.clone(),
            user_micros: usage.user_us,
            system_micros: usage.system_us,
            most_memory_bytes: usage.max_rss_kib.saturating_mul(1024),
        };
        let restart = Restart { at_millis: started_millis, ordinal: holding.ordinal, why };
        self.witness.run_ended(unit, restart);
        self.untold.push(Untold::Telling(Telling::Run(row)));
    }

    /// A message for a channel that is a command.
    pub(crate) fn run_channel(&mut self, now: Now, message: u64, command: Vec<String>, body: Vec<u8>) {
        let what = What::Channel(Arc::new(Call { command, body, timeout: CHANNEL_TIMEOUT }));
        self.begin_helper(now, NOBODY, what, Purpose::Channel(message), CHANNEL_TIMEOUT);
    }

    /// For the curve of the host, while somebody is awake anyway. Not during a boot, which is no usual load.
    pub(crate) fn look_around(&self, now: Now) {
        if self.is_booted {
            self.witness.guard.sample_if_due(now);
        }
    }
}

/// Less than the outbox waits for an answer.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(50);
