//! What clients may ask of the generations that are kept. Nothing here touches what runs: a change goes the one road, by
//! `Handle::change`. Every call waits for the disk, so it is for a thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aside::files::{if_there, whole};
use crate::aside::wall_millis;
use crate::aside::with_deep_stack;
use crate::generation::Store;
use crate::generation::manifest::{Cause, Who};
use crate::graph::{self, Plan};
use crate::supervisor::change::approval;
use crate::supervisor::change::candidate::{self, Wanted};
use crate::supervisor::change::road::shown;
use crate::supervisor::handle::{ChangeAnswer, Planned, Source};
use crate::supervisor::loading::Render;
use crate::unit::SourceFile;
use crate::unit::name::UnitName;
use crate::unit::spec::UnitSet;

pub use crate::generation::compare::{FileChange, FileDifference};
pub use crate::generation::manifest::{FileEntry, Manifest, NamedEntry, Verdict, Waits, Word};
pub use crate::generation::verify::Damage;
pub use crate::generation::{Error, Summary};

/// Those of one state directory.
#[derive(Clone, Debug)]
pub struct Generations {
    state: PathBuf,
    store: Store,
}

impl Generations {
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), store: Store::to_look(state) }
    }

    /// What is in effect.
    pub fn current(&self) -> Option<u64> {
        self.store.current()
    }

    /// All that are kept, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn list(&self) -> Result<Vec<Summary>, Error> {
        self.store.list()
    }

    /// # Errors
    /// When there is none of that number.
    pub fn one(&self, number: u64) -> Result<Summary, Error> {
        self.list()?.into_iter().find(|one| one.number == number).ok_or(Error::Unknown(number))
    }

    /// Where a roll back goes when nobody names another.
    pub fn previous_good(&self, number: u64) -> Option<u64> {
        self.store.previous_good(number)
    }

    /// Every file that either has, by name.
    ///
    /// # Errors
    /// When there is no such generation, or one of them is damaged.
    pub fn files_between(&self, before: u64, after: u64) -> Result<Vec<FileDifference>, Error> {
        self.store.differences(before, after)
    }

    /// What it would do to go from the one to the other.
    ///
    /// # Errors
    /// As [`Self::files_between`].
    pub fn between(&self, before: u64, after: u64) -> Result<Planned, Error> {
        self.planned((before, self.set_of(before)?), (after, &self.set_of(after)?))
    }

    fn planned(
        &self,
        (before, old): (u64, UnitSet),
        (after, next): (u64, &UnitSet),
    ) -> Result<Planned, Error> {
        let set = Arc::new(old.followed_by(next).set);
        let changed = candidate::changed_files(&self.store, Some(before), &self.store.named(after)?);
        let reread = candidate::users_of(&changed, &set);
        let plan = Plan::with_reread(&old, &set, &reread);
        Ok(Planned { before: Arc::new(old), set, reread, plan, warnings: String::new() })
    }

    /// What it would do to approve of one that waits.
    ///
    /// # Errors
    /// When it does not wait, or cannot be brought onto the current one.
    pub fn approving(&self, number: u64) -> Result<(u64, Planned), Error> {
        let current =
            self.current().ok_or_else(|| Error::Refused("no generation is in effect".to_owned()))?;
        let files = approval::brought_onto(Some(current), &self.store, number).map_err(Error::Refused)?;
        let next = set_from(number, &candidate::sources_of(&files))?;
        Ok((current, self.planned((current, self.set_of(current)?), (number, &next))?))
    }

    fn set_of(&self, number: u64) -> Result<UnitSet, Error> {
        let mut sources = self.store.sources(number)?;
        sources.retain(|source| source.name.ends_with(".yaml"));
        set_from(number, &sources)
    }

    /// What it would do to go from the current one to what this directory says, where no supervisor is there to be asked.
    ///
    /// # Errors
    /// When there is no current one, or one of both cannot be read.
    pub fn plan(&self, dir: &Path, render: Render) -> Result<ChangeAnswer, Error> {
        let none = || {
            let state = self.state.display();
            Error::Refused(format!(
                "no generation is kept in `{state}`, so there is nothing to compare with; `mcsup check` tells whether it can boot"
            ))
        };
        let current = self.current().ok_or_else(none)?;
        let found = candidate::find(&Wanted {
            source: Source::Directory,
            cause: Cause::Apply,
            who: Who::default(),
            units_dir: dir.to_owned(),
            state: self.state.clone(),
            in_force: Arc::new(self.set_of(current)?),
            current: Some(current),
            is_asked: true,
            is_dry: true,
            waits: None,
            at_millis: wall_millis(),
            render,
        });
        Ok(shown(found))
    }

    /// Reads every byte that is kept.
    ///
    /// # Errors
    /// When the directory itself cannot be read.
    pub fn verify(&self) -> Result<Vec<Damage>, Error> {
        self.store.verify()
    }

    /// # Errors
    /// When there is none of that number, or the disk does not take it.
    pub fn pin(&self, number: u64, label: &str) -> Result<(), Error> {
        self.store.pin(number, label)
    }

    /// # Errors
    /// As [`Self::pin`].
    pub fn unpin(&self, number: u64) -> Result<(), Error> {
        self.store.unpin(number)
    }
}

fn set_from(number: u64, sources: &[SourceFile]) -> Result<UnitSet, Error> {
    let what = || "its definitions make no sense to this mcsup".to_owned();
    let set = with_deep_stack(|| graph::load(sources).set);
    let set = set.map_err(|error| Error::Refused(format!("cannot read a generation: {error}")))?;
    set.ok_or_else(|| Error::Damaged { number, what: what() })
}

/// The text of a unit's file as the directory has it now; `None` where there is none.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn unit_file(units_dir: &Path, name: &UnitName) -> io::Result<Option<String>> {
    let bytes = if_there(whole(&units_dir.join(format!("{name}.yaml")), MOST_TEXT_BYTES))?;
    let text =
        |bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    bytes.map(text).transpose()
}

/// What the API takes back.
const MOST_TEXT_BYTES: u64 = 1 << 20;
