//! When a job runs, and what a run of it must prove.

use std::time::Duration;

use crate::unit::amount::show;
use crate::unit::diagnostic::Place;
use crate::unit::schedule::Timetable;
use crate::unit::spec::output::OutputSpec;
use crate::unit::spec::probe::Address;
use crate::unit::spec::{UnitId, UnitSet};

#[derive(Clone, Debug, PartialEq)]
pub struct JobSpec {
    /// `schedule` and `timezone`. Without schedules other triggers are all there is.
    pub timetable: Timetable,
    /// Counts from the last recorded start, on the clock that counts suspend. At least 1 s.
    pub every: Option<Duration>,
    /// Runs once in each boot.
    pub on_boot: bool,
    /// Runs whenever it is armed: at a boot, a start by a person, a change of its file. Default false.
    pub run_at_load: bool,
    /// Runs when all of these ended so since its own last start.
    pub after: Vec<After>,
    /// Files whose appearance or change starts a run.
    pub paths: Vec<PathTrigger>,
    pub webhook: Option<Webhook>,
    /// What becomes of slots that nobody was there for. Default `once`.
    pub catch_up: CatchUp,
    /// A slot older than this starts no run any more: it is missed. `None`: however late.
    pub deadline: Option<Duration>,
    /// Default `skip`.
    pub overlap: Overlap,
    /// Runs begin later by a part of this that only the seed, the unit and the slot decide. Default 0.
    pub jitter: Duration,
    /// Another run after one that did not pass, so many times. Default 0; `restart.backoff` says when.
    pub retries: u32,
    /// How much of `mcsup.yaml: concurrency` a run takes. Default 1.
    pub weight: u32,
    pub output: Option<Box<OutputSpec>>,
}

impl JobSpec {
    /// Something besides clocks and other units can start it.
    pub fn is_watched_outside(&self) -> bool {
        !self.paths.is_empty() || self.webhook.is_some()
    }
}

/// Whose end starts a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// A job or a task.
    pub unit: UnitId,
    pub when: AfterEnd,
    pub place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterEnd {
    Succeeded,
    Failed,
    /// Either.
    Finished,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTrigger {
    /// Relative to the working directory; `*` and `?` in its last part.
    pub path: Box<str>,
    /// So long without another change; at most 1 h. Default 500 ms; zero starts at the first change.
    pub debounce: Duration,
}

/// `POST /v1/hooks/NAME` with a signature over timestamp and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The file that the secret is in; relative to the units directory.
    pub secret_file: Box<str>,
    /// Most calls in a minute; 1 to 6000. Default 60.
    pub per_minute: u32,
}

/// Where webhooks are listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    pub listen: Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    None,
    /// One run for all of them.
    Once,
    /// A run for each of the newest of them, one after the other.
    All {
        most: u32,
    },
}

/// What a trigger does while an earlier run has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Nothing, and that is recorded.
    Skip,
    /// Runs after it; at most [`Overlap::MOST_QUEUED`] wait.
    Queue,
    /// Ends the earlier run first.
    Replace,
    /// Runs beside it, at most so many at once.
    Allow { most: u32 },
}

impl Overlap {
    pub const MOST_QUEUED: usize = 100;
}

impl JobSpec {
    /// What starts the job called `name`, in English: "at 06:00 every day (Europe/Berlin), or when content succeeded".
    pub fn words(&self, name: &str, set: &UnitSet) -> String {
        let mut ways: Vec<String> = Vec::new();
        if !self.timetable.schedules.is_empty() {
            ways.push(format!("{} ({})", self.timetable.words(), self.timetable.zone.name()));
        }
        ways.extend(self.every.map(|every| format!("every {}", show(every))));
        ways.extend(self.on_boot.then(|| "once in each boot".to_owned()));
        ways.extend(self.run_at_load.then(|| "whenever it is armed".to_owned()));
        let ends: Vec<String> = self
            .after
            .iter()
            .filter_map(|after| Some(format!("{} {}", set.unit(after.unit)?.name, after.when.word())))
            .collect();
        if !ends.is_empty() {
            ways.push(format!("when {}", ends.join(" and ")));
        }
        ways.extend(self.paths.iter().map(|path| format!("when {} changes", path.path)));
        ways.extend(self.webhook.is_some().then(|| format!("on POST /v1/hooks/{name}")));
        if ways.is_empty() { "only when somebody runs it".to_owned() } else { ways.join(", or ") }
    }
}

impl AfterEnd {
    /// As a unit file has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Finished => "finished",
        }
    }
}
