//! How far the change under way is, for people: what the engine knows, on the clock that people read.

use std::fmt;

use crate::engine::Engine;
use crate::engine::change::Stage;
use crate::engine::time::{Now, WallTime};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    pub generation: u64,
    pub stage: ChangeStage,
    /// When this stage is over at the latest, as far as the clock is not set meanwhile. `None`: nobody knows how long
    /// what must end takes.
    pub until: Option<WallTime>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeStage {
    /// What must end ends, and what must start has not begun.
    Applying,
    Verifying,
    /// It works, and a person must say so.
    Confirming,
    /// The definitions before it come back, or are verified. Why.
    GoingBack(String),
}

impl Progress {
    pub(crate) fn of(engine: &Engine, now: Now) -> Option<Self> {
        let under_way = engine.change_under_way()?;
        let stage = match (under_way.rolls_back, under_way.stage) {
            (Some(why), _) => ChangeStage::GoingBack(why.to_owned()),
            (None, Stage::Stopping | Stage::Clearing) => ChangeStage::Applying,
            (None, Stage::Verifying) => ChangeStage::Verifying,
            (None, Stage::Confirming) => ChangeStage::Confirming,
        };
        let left = under_way.until.map(|until| until.since(now.mono));
        let until = left.map(|left| {
            WallTime(now.wall.0.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)))
        });
        Some(Self { generation: under_way.generation.0, stage, until })
    }

    pub(crate) fn waits_to_be_confirmed(&self) -> bool {
        self.stage == ChangeStage::Confirming
    }

    /// For who asks for another one, which would wait for a person as well.
    pub(crate) fn refusal(&self) -> String {
        format!("{self}: confirm or abandon it first")
    }
}

impl ChangeStage {
    /// One word, as the API has it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Applying => "applying",
            Self::Verifying => "verifying",
            Self::Confirming => "confirming",
            Self::GoingBack(_) => "going-back",
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} ", self.generation)?;
        match &self.stage {
            ChangeStage::Applying => f.write_str("is under way: applying")?,
            ChangeStage::Verifying => f.write_str("is under way: verifying")?,
            ChangeStage::Confirming => f.write_str("waits for confirm")?,
            // Until when is the lesser news.
            ChangeStage::GoingBack(why) => return write!(f, "is going back: {why}"),
        }
        match self.until.and_then(|until| jiff::Timestamp::from_nanosecond(i128::from(until.0)).ok()) {
            Some(until) => write!(f, " until {}", until.strftime("%Y-%m-%d %H:%M:%S UTC")),
            None => Ok(()),
        }
    }
}
