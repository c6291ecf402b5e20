//! What this host offers. Each question is asked of the kernel or the disk itself (`ask.rs`), and what the answers
//! mean is a table of pure rules beside it (`judge.rs`), so that hosts nobody has at hand can be judged in tests.

mod answers;
mod ask;
mod judge;
mod sys;

use std::path::PathBuf;

/// Where an instance would live.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) state: PathBuf,
    pub(crate) run: PathBuf,
    pub(crate) log: PathBuf,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// One word, the same in every release.
    pub(crate) name: &'static str,
    /// What was seen.
    pub(crate) seen: String,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// mcsup does without.
    Lacking(Remedy),
    /// mcsup does not start, or cannot do its work.
    Missing(Remedy),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remedy {
    /// How mcsup is without it.
    pub(crate) without: &'static str,
    /// What a person does about it.
    pub(crate) mend: String,
}

impl Verdict {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Lacking(_) => "lacking",
            Self::Missing(_) => "missing",
        }
    }

    pub(crate) fn remedy(&self) -> Option<&Remedy> {
        match self {
            Self::Good => None,
            Self::Lacking(remedy) | Self::Missing(remedy) => Some(remedy),
        }
    }
}

/// Looks at everything once. Leaves nothing behind; what it tries out on itself (a score for the OOM killer,
/// adopting orphans) ends with this process.
pub(crate) fn examine(places: &Places) -> Vec<Finding> {
    judge::findings(&ask::all(places))
}
