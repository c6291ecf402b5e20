//! The host without an engine: somebody gives it orders by hand and hears what it tells, in the
//! order in which it is told. This is how the virtual host is held against the real keeper.

use std::sync::Arc;

use crate::engine::effect::Effect;
use crate::engine::event::{Event, Handover};
use crate::engine::time::Timestamp;
use crate::sim::world::World;
use crate::unit::spec::UnitSet;

impl World {
    /// A host that takes orders from whoever holds it.
    pub fn listened_to(set: Arc<UnitSet>) -> Self {
        Self { listener: Some(Vec::new()), ..Self::new(set, 0) }
    }

    /// Orders that an engine should never give are noted among the violations, and carried out as far
    /// as a keeper would.
    pub fn order(&mut self, effect: Effect) {
        self.carry_out(effect);
    }

    /// What was told since the last time.
    pub fn heard(&mut self) -> Vec<Event> {
        self.listener.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// When something happens next by itself, up to and with which everything then happens.
    pub fn let_next_happen(&mut self) -> Option<Timestamp> {
        let at = self.queue.first_key_value().map(|((at, _), _)| *at)?;
        self.run_until_told(at);
        Some(at)
    }

    /// A new listener: what was on its way to the old one is lost, and the keeper hands over what it knows.
    pub fn hand_over(&mut self) -> Handover {
        self.lose_what_was_on_its_way();
        self.listener = Some(Vec::new());
        self.table.handover(&self.set)
    }

    /// Unlike an engine's history, this one does not end where an order was a wrong one.
    fn run_until_told(&mut self, limit: Timestamp) {
        while let Some(((at, _), _)) = self.queue.first_key_value()
            && *at <= limit
        {
            self.move_to(*at);
            if let Some((_, happening)) = self.queue.pop_first() {
                self.happen(happening);
            }
        }
    }
}
