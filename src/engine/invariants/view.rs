//! What anybody may ask an engine. The auditor sees no more of it than this, and tests can put a liar
//! in its place.

use crate::engine::id::{GenerationId, UnitId};
use crate::engine::status::{Overview, UnitStatus};
use crate::engine::time::Timestamp;
use crate::engine::timers::Timer;
use crate::engine::{Deadlines, Engine};

pub trait View {
    fn status(&self, id: UnitId) -> Option<UnitStatus>;

    fn overview(&self) -> Overview;

    /// Every deadline with its owner; `None` is the boot's own.
    fn timers(&self) -> Vec<(Timestamp, Option<UnitId>, Timer)>;

    fn next_deadlines(&self) -> Deadlines;

    /// The change under way.
    fn change(&self) -> Option<GenerationId>;
}

impl View for Engine {
    fn status(&self, id: UnitId) -> Option<UnitStatus> {
        Self::status(self, id)
    }

    fn overview(&self) -> Overview {
        Self::overview(self)
    }

    fn timers(&self) -> Vec<(Timestamp, Option<UnitId>, Timer)> {
        Self::timers(self).collect()
    }

    fn next_deadlines(&self) -> Deadlines {
        Self::next_deadlines(self)
    }

    fn change(&self) -> Option<GenerationId> {
        Self::change(self).map(|(generation, _)| generation)
    }
}
