//! Barriers between phases, the end of the boot, essential units, and the shutdown.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::Engine;
use crate::engine::desire::Wish;
use crate::engine::effect::{Effect, Fact};
use crate::engine::event::{BootNote, ExitStatus, ShutdownNote};
use crate::engine::id::{IncidentId, PhaseId, UnitId};
use crate::engine::state::{DownSource, StateName, UnitState, WaitingOn};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::unit::spec::UnitSet;

#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) has_begun: bool,
    /// Barriers open so far: phases `0..open_phases` may start.
    pub(crate) open_phases: u16,
    pub(crate) is_booted: bool,
    pub(crate) waiting_since: Timestamp,
    pub(crate) shutdown: Option<ShutdownNote>,
    /// The open incident of the barrier that is waited for.
    pub(crate) incident: Option<IncidentId>,
    has_exited: bool,
    /// Per phase: units whose state keeps the next barrier (or the boot) waiting.
    holding: Vec<u32>,
    /// Per phase: units of which something lives that can still be killed.
    live: Vec<u32>,
    /// Per phase: units that hold the barrier and have given up.
    stuck: Vec<BTreeSet<UnitId>>,
    /// What was counted for each unit, so that a change can be undone.
    counted: Vec<Counted>,
    noted: Option<BootNote>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    holds: bool,
    lives: bool,
    /// It holds, and will not let go by itself.
    is_stuck: bool,
}

impl Boot {
    pub(crate) fn new(set: &UnitSet) -> Self {
        Self {
            has_begun: false,
            open_phases: 0,
            is_booted: false,
            waiting_since: Timestamp::default(),
            shutdown: None,
            incident: None,
            has_exited: false,
            holding: vec![0; set.phases.len()],
            live: vec![0; set.phases.len()],
            stuck: vec![BTreeSet::new(); set.phases.len()],
            counted: vec![Counted::default(); set.units.len()],
            noted: None,
        }
    }

    /// Another set: what is counted is counted anew. Barriers that are open stay so, also those that come before them.
    pub(crate) fn take_up(&mut self, before: &UnitSet, after: &UnitSet) {
        let open = before.phases.get(..usize::from(self.open_phases)).unwrap_or_default();
        let last = after.phases.iter().rposition(|name| open.contains(name));
        let count =
            if self.is_booted { after.phases.len() } else { last.map_or(1, |last| last.saturating_add(1)) };
        self.open_phases = u16::try_from(count).unwrap_or(u16::MAX).max(u16::from(self.open_phases > 0));
        self.holding = vec![0; after.phases.len()];
        self.live = vec![0; after.phases.len()];
        self.stuck = vec![BTreeSet::new(); after.phases.len()];
        self.counted = vec![Counted::default(); after.units.len()];
    }

    /// The barrier that is waited for will not open by itself.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck_holder().is_some()
    }

    /// The first unit that will not let go of the barrier that is waited for.
    pub(crate) fn stuck_holder(&self) -> Option<UnitId> {
        let last = usize::from(self.open_phases).checked_sub(1)?;
        self.stuck.get(last)?.first().copied()
    }

    fn holds(&self, id: UnitId) -> bool {
        usize::try_from(id.0).ok().and_then(|at| self.counted.get(at)).is_some_and(|counted| counted.holds)
    }

    fn count(list: &mut [u32], phase: PhaseId, more: bool) {
        if let Some(slot) = list.get_mut(usize::from(phase.0)) {
            *slot = if more { slot.saturating_add(1) } else { slot.saturating_sub(1) };
        }
    }
}

impl Engine {
    /// Keeps the sums per phase true for one unit; called whenever its state or its desire changes.
    pub(crate) fn recount(&mut self, id: UnitId) {
        let phase = self.spec(id).phase;
        let holds = self.holds_boot(id);
        let now = Counted {
            holds,
            is_stuck: holds && self.is_hopeless(id),
            lives: self.units[id].is_live() && !self.is_unkillable(id),
        };
        let Some(slot) = usize::try_from(id.0).ok().and_then(|at| self.boot.counted.get_mut(at)) else {
            return;
        };
        let before = std::mem::replace(slot, now);
        if before.holds != now.holds {
            Boot::count(&mut self.boot.holding, phase, now.holds);
        }
        if before.is_stuck != now.is_stuck {
            let was_stuck = self.boot.is_stuck();
            if let Some(stuck) = self.boot.stuck.get_mut(usize::from(phase.0)) {
                if now.is_stuck {
                    stuck.insert(id)
                } else {
                    stuck.remove(&id)
                };
            }
            if self.boot.is_stuck() != was_stuck {
                self.wake_later_phases();
            }
        }
        if before.lives != now.lives {
            Boot::count(&mut self.boot.live, phase, now.lives);
            if !now.lives && self.boot.shutdown.is_some() {
                self.wake_earlier_phases(phase);
            }
        }
    }

    /// It keeps the barrier after its phase shut. Behind the last phase there is only the word
    /// "booted", and a unit that gave up does not keep that back: it has its own incident.
    fn holds_boot(&self, id: UnitId) -> bool {
        let spec = self.spec(id);
        let unit = &self.units[id];
        let is_last = usize::from(spec.phase.0) + 1 == self.set.phases.len();
        spec.blocks_phase
            && unit.desired.is_up()
            && match unit.state {
                UnitState::Ready | UnitState::Completed => false,
                UnitState::Failed { .. } => !is_last,
                UnitState::Waiting { on: WaitingOn::Connection, .. } => false,
                UnitState::Inactive
                | UnitState::Waiting { .. }
                | UnitState::Starting
                | UnitState::Unhealthy
                | UnitState::Stopping { .. }
                | UnitState::Backoff { .. } => true,
            }
    }

    /// Opens every barrier whose phase is up. A barrier never closes again.
    pub(crate) fn open_phases(&mut self) {
        if !self.boot.has_begun || self.boot.is_booted || self.boot.shutdown.is_some() {
            return;
        }
        if self.is_exchanging() {
            return; // what is ready is about to stop, or what is new has not begun
        }
        loop {
            let open = usize::from(self.boot.open_phases);
            let is_held =
                open.checked_sub(1).and_then(|last| self.boot.holding.get(last)).is_some_and(|n| *n > 0);
            if is_held {
                return;
            }
            if open == self.set.phases.len() {
                self.close_barrier_incident();
                self.boot.is_booted = true;
                self.timers.cancel(None, Timer::BootTimeout);
                self.facts.push(Fact::Booted);
                return;
            }
            let phase = PhaseId(self.boot.open_phases);
            self.boot.open_phases += 1;
            self.boot.waiting_since = self.now.mono;
            self.timers.set(None, Timer::BootTimeout, self.now.mono.after(self.set.boot_timeout));
            self.close_barrier_incident();
            self.facts.push(Fact::PhaseOpened { phase });
            let graph = Arc::clone(&self.graph);
            for id in graph.units_of(phase) {
                self.mark(*id);
            }
        }
    }

    pub(crate) fn on_boot_timeout(&mut self) {
        let phase = self.last_open_phase();
        let holders = self.holders_of(phase);
        if self.boot.incident.is_none() {
            let names: Vec<&str> = holders.iter().map(|id| self.spec(*id).name.as_str()).collect();
            let cause = format!("phase {} is held by {}", self.phase_name(phase), names.join(", "));
            self.open_barrier_incident(cause.into());
        }
        self.facts.push(Fact::PhaseHeld { phase, holders });
    }

    /// The phase whose barrier towards the next one is waited for.
    pub(crate) fn last_open_phase(&self) -> PhaseId {
        PhaseId(self.boot.open_phases.saturating_sub(1))
    }

    /// The units that keep the barrier after `phase` shut.
    pub(crate) fn holders_of(&self, phase: PhaseId) -> Vec<UnitId> {
        let units = self.graph.units_of(phase).iter().copied().inspect(|_| self.visit());
        units.filter(|id| self.boot.holds(*id)).collect()
    }

    pub(crate) fn phase_name(&self, phase: PhaseId) -> &str {
        self.set.phases.get(usize::from(phase.0)).map_or("?", |name| name)
    }

    /// The end of an essential unit is the end of everything, unless a change that it may be due to goes back first.
    pub(crate) fn on_essential(&mut self, id: UnitId, state: StateName) {
        if !self.spec(id).essential || self.boot.shutdown.is_some() {
            return;
        }
        match state {
            StateName::Completed | StateName::Failed => {
                let may_be_spared = self.has_unseen_ends || self.is_spared(id);
                if may_be_spared && self.is_premature_end(id, state) {
                    self.ended_essentials.insert(id);
                } else {
                    self.end_with(id);
                }
            }
            StateName::Inactive
            | StateName::Waiting
            | StateName::Starting
            | StateName::Ready
            | StateName::Unhealthy
            | StateName::Stopping
            | StateName::Backoff => {}
        }
    }

    /// Everything ends as this unit did.
    pub(crate) fn end_with(&mut self, id: UnitId) {
        let exit_code = self.exit_code_of(id);
        self.begin_shutdown(exit_code);
    }

    fn exit_code_of(&self, id: UnitId) -> u8 {
        let has_failed = self.units[id].state.name() == StateName::Failed;
        match self.units[id].last_exit {
            Some(ExitStatus::Code(0)) | None => u8::from(has_failed),
            Some(ExitStatus::Code(code)) => code,
            Some(ExitStatus::Signal { signal, .. }) => signal.0.saturating_add(128), // as a shell says it
            Some(ExitStatus::Unknown) => 1,
        }
    }

    pub(crate) fn begin_shutdown(&mut self, exit_code: u8) {
        if self.boot.shutdown.is_some() {
            return;
        }
        self.boot.shutdown = Some(ShutdownNote { since: self.now.mono, exit_code });
        self.timers.cancel(None, Timer::BootTimeout);
        self.timers.set(None, Timer::ShutdownTimeout, self.now.mono.after(self.set.shutdown_timeout));
        self.facts.push(Fact::ShutdownBegan);
        self.interrupt_change();
        self.wish_everything_down();
    }

    pub(crate) fn wish_everything_down(&mut self) {
        let set = Arc::clone(&self.set);
        for id in set.ids() {
            self.wishes.push_back(Wish::Down(id, DownSource::Shutdown));
        }
    }

    /// The first later phase in which something lives; later phases stop first.
    pub(crate) fn live_phase_after(&self, phase: PhaseId) -> Option<PhaseId> {
        let mut later = (0_u16..).zip(&self.boot.live).skip(usize::from(phase.0) + 1);
        later.find(|(_, live)| **live > 0).map(|(at, _)| PhaseId(at))
    }

    pub(crate) fn live_unit_of(&self, phase: PhaseId) -> Option<UnitId> {
        let units = self.graph.units_of(phase).iter().copied();
        units.into_iter().find(|id| self.units[*id].is_live() && !self.is_unkillable(*id))
    }

    /// Whether the barrier can still open by itself has changed: whoever waits for it is told.
    fn wake_later_phases(&mut self) {
        let graph = Arc::clone(&self.graph);
        let phases = u16::try_from(self.set.phases.len()).unwrap_or(u16::MAX);
        for later in self.boot.open_phases..phases {
            for id in graph.units_of(PhaseId(later)) {
                self.mark_if_waiting(*id);
            }
        }
    }

    /// The phase emptied: whoever waited for it may stop now.
    fn wake_earlier_phases(&mut self, phase: PhaseId) {
        if self.boot.live.get(usize::from(phase.0)).is_some_and(|live| *live > 0) {
            return;
        }
        let graph = Arc::clone(&self.graph);
        for earlier in (0..phase.0).rev() {
            for id in graph.units_of(PhaseId(earlier)) {
                self.mark(*id);
            }
            if self.boot.live.get(usize::from(earlier)).is_some_and(|live| *live > 0) {
                return;
            }
        }
    }

    pub(crate) fn finish_shutdown(&mut self) {
        let Some(shutdown) = self.boot.shutdown else { return };
        if !self.boot.has_exited && self.boot.live.iter().all(|live| *live == 0) {
            self.boot.has_exited = true;
            self.timers.cancel(None, Timer::ShutdownTimeout);
            self.actions.push(Effect::Exit { code: shutdown.exit_code });
        }
    }

    /// The note of the boot, when it is not what the keeper already has.
    pub(crate) fn changed_boot_note(&mut self) -> Option<BootNote> {
        if !self.boot.has_begun {
            return None;
        }
        let note = BootNote {
            open_phases: self.boot.open_phases,
            is_booted: self.boot.is_booted,
            waiting_since: self.boot.waiting_since,
            shutdown: self.boot.shutdown,
            last_incident: self.last_incident,
            incident: self.boot.incident,
            change_incident: self.change_incident,
        };
        if self.boot.noted.as_ref() == Some(&note) {
            return None;
        }
        self.boot.noted = Some(note.clone());
        Some(note)
    }
}
