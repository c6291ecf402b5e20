//! What an earlier supervisor left of changes, for the one that stands in its place.

use std::path::Path;
use std::sync::Arc;

use crate::engine::event::ChangeNote;
use crate::generation::Store;
use crate::generation::manifest::Word;
use crate::supervisor::change::filing;
use crate::supervisor::loading::{self, Loaded};
use crate::unit::spec::UnitSet;

/// What is known of changes when a supervisor begins.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The definitions in force.
    pub(crate) set: Arc<UnitSet>,
    /// The one in force, or the one before a change that is under way; `None` until it is kept.
    pub(crate) generation: Option<u64>,
    /// Of the text of its definitions.
    pub(crate) seal: Option<u64>,
    /// The change under way.
    pub(crate) change: Option<UnderWay>,
    /// The generation in force, where that was decided and not written down to the end.
    pub(crate) unfiled: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) note: ChangeNote,
    /// The definitions that are not in force.
    pub(crate) other: Arc<UnitSet>,
    /// Of the text of those of its generation.
    pub(crate) seal: u64,
}

impl Begun {
    pub(crate) fn at_boot(loaded: &Loaded) -> Self {
        Self { set: Arc::clone(&loaded.set), generation: None, seal: None, change: None, unfiled: None }
    }

    /// `note` and `seal`: what the keeper remembers of a change under way, and of the text of what is in force.
    pub(crate) fn anew(loaded: &Loaded, note: Option<ChangeNote>, seal: Option<u64>, state: &Path) -> Self {
        let generation = Store::for_reading(state).current();
        let begun = Self { generation, seal, ..Self::at_boot(loaded) };
        // Nobody may have remembered that it is over.
        let note = note.filter(|note| !is_committed(state, note.generation.0));
        let other = || loading::other(state, loaded.is_staged);
        let change = note.zip(seal).and_then(|(note, seal)| Some((note, seal, other()?)));
        match change {
            Some((note, seal, other)) => begun.in_the_middle(loaded, note, seal, other),
            None if loaded.is_staged => Self { unfiled: filing::unfiled(state, generation), ..begun },
            None => {
                // That of an earlier boot, where this one died before it kept its own.
                let is_of = |number: &u64| Store::for_reading(state).is_of(*number, &loaded.files);
                Self { generation: begun.generation.filter(is_of), ..begun }
            }
        }
    }

    /// Both sets count: units that are about to go are still there. `other`: those that are not in force, with the seal
    /// of their text.
    fn in_the_middle(self, loaded: &Loaded, note: ChangeNote, seal: u64, other: (UnitSet, u64)) -> Self {
        let (other, other_seal) = other;
        let in_force = if loaded.is_staged { note.generation } else { note.previous };
        let note = note.as_found(in_force);
        let has_come = loaded.is_staged || note.rolls_back.is_some();
        if has_come {
            // They came after the others, be it on the way back.
            let before = Arc::new(other);
            let set = Arc::new(before.followed_by(&loaded.set).set);
            let generation = Some(note.previous.0);
            let (seal, own) = if loaded.is_staged { (other_seal, seal) } else { (seal, other_seal) };
            let change = Some(UnderWay { note, other: before, seal: own });
            return Self { set, generation, seal: Some(seal), change, ..self };
        }
        let other = Arc::new(self.set.followed_by(&other).set);
        Self { change: Some(UnderWay { note, other, seal: other_seal }), ..self }
    }
}

fn is_committed(state: &Path, generation: u64) -> bool {
    Store::for_reading(state).verdict(generation).is_ok_and(|verdict| verdict.word == Word::Committed)
}
