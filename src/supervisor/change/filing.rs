//! What came of a change, written down on a thread: verdicts, `current`, the files of the units directory.

use std::collections::BTreeMap;
use std::path::Path;

use crate::aside::{wall_millis, with_deep_stack};
use crate::generation::manifest::{Cause, Verdict, Who, Word};
use crate::generation::restore::Restored;
use crate::generation::{Draft, Error, RestoredNamed, Retention, Store, UnitsFile};
use crate::graph;
use crate::supervisor::change::approval::{self, Pending};
use crate::supervisor::change::audit;
use crate::supervisor::change::candidate::{beside, listing, named_files};
use crate::supervisor::change::road::Where;
use crate::supervisor::loading;
use crate::unit::SourceFile;

#[derive(Clone, Debug)]
pub(crate) enum Filing {
    /// `why`: what was not well, and is kept all the same.
    Commit {
        generation: u64,
        previous: Option<u64>,
        is_from_elsewhere: bool,
        why: String,
        who: Who,
        retention: Retention,
    },
    Restore {
        rejected: u64,
        to: u64,
        why: String,
        is_from_elsewhere: bool,
    },
    /// A person says no to one that waits.
    Reject {
        generation: u64,
        why: String,
        who: Who,
    },
    /// The engine did not begin it.
    Refused {
        generation: u64,
        why: String,
    },
    /// Everything was filed on the way.
    Settle,
}

#[derive(Debug)]
pub(crate) struct Filed {
    /// For people; empty where all went as it should.
    pub(crate) said: Vec<String>,
    /// The next change may come.
    pub(crate) is_last: bool,
    /// The units directory is not what it is to be.
    pub(crate) is_left_alone: bool,
    /// It was decided otherwise before its turn came.
    pub(crate) refused: Option<String>,
    /// What waits for somebody by now; `None` where that is not known.
    pub(crate) pending: Option<Vec<Pending>>,
}

pub(crate) fn file(home: &Where, filing: &Filing, is_last: bool) -> Filed {
    let mut filed = Filed { said: Vec::new(), is_last, is_left_alone: false, refused: None, pending: None };
    if let Err(error) = try_file(home, filing, &mut filed) {
        filed.said.push(format!("cannot write down what came of a change: {error}"));
    }
    filed.pending = Some(approval::waiting(&Store::for_reading(&home.state), &home.units_dir));
    filed
}

fn try_file(home: &Where, filing: &Filing, filed: &mut Filed) -> Result<(), Error> {
    let (store, repaired) = Store::open(&home.state)?;
    filed.said.extend(repaired);
    match filing {
        Filing::Commit { generation, previous, is_from_elsewhere, why, who, retention } => {
            if let Some(previous) = previous.filter(|_| *is_from_elsewhere) {
                filed.tell_restored(&store.restore(&home.units_dir, previous, *generation)?);
            }
            store.judge(*generation, &verdict(Word::Committed, why, &who.user))?;
            store.make_current(*generation)?;
            note(home, ("committed", *generation), who, why);
            approval::decided(&store, *generation, wall_millis())?;
            approval::drop_what_is_in_force(&store, *generation, wall_millis())?;
            if let Err(error) = loading::keep_staged(&home.state) {
                filed
                    .said
                    .push(format!("cannot rename the accepted definitions in the state directory: {error}"));
            }
            store.retire(retention, wall_millis())?;
        }
        Filing::Restore { rejected, to, why, is_from_elsewhere } => {
            // Whoever goes on with it after a death does the same once more.
            if !store.verdict(*rejected).is_ok_and(|verdict| verdict.word == Word::Rejected) {
                store.judge(*rejected, &verdict(Word::Rejected, why, ""))?;
                note(home, ("rolled-back", *rejected), &Who::default(), why);
            }
            approval::decided(&store, *rejected, wall_millis())?;
            let named = store.restore_named(&home.units_dir, *rejected, *to);
            if !is_from_elsewhere {
                filed.tell_restored(&store.restore(&home.units_dir, *rejected, *to)?);
            }
            filed.tell_restored_named(&named?);
        }
        Filing::Reject { generation, why, who } => {
            filed.refused = approval::reject(&store, *generation, why, (who, wall_millis()))?;
            if filed.refused.is_some() {
                return Ok(());
            }
            note(home, ("rejected", *generation), who, why);
        }
        Filing::Refused { generation, why } => {
            if !approval::was_not_begun(&store, *generation, wall_millis())? {
                store.judge(*generation, &verdict(Word::Rejected, why, ""))?;
            }
            note(home, ("rejected", *generation), &Who::default(), why);
        }
        Filing::Settle => {}
    }
    Ok(())
}

/// What a boot runs from, as a generation; `None`: it could not be kept.
#[derive(Debug)]
pub(crate) struct BootKept {
    pub(crate) generation: Option<u64>,
    /// For people.
    pub(crate) said: Vec<String>,
    /// What waits for somebody.
    pub(crate) pending: Vec<Pending>,
}

/// The generation that says the same as these files, as they were read for the boot, or a new one.
pub(crate) fn keep_boot(home: &Where, sources: &[SourceFile]) -> BootKept {
    let mut said = Vec::new();
    let kept = with_deep_stack(|| try_to_keep_boot(home, sources, &mut said));
    let generation = match kept.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(generation) => Some(generation),
        Err(why) => {
            said.push(format!("what runs cannot be kept as a generation, so no change can be made: {why}"));
            None
        }
    };
    let pending = approval::waiting(&Store::for_reading(&home.state), &home.units_dir);
    BootKept { generation, said, pending }
}

fn try_to_keep_boot(home: &Where, sources: &[SourceFile], said: &mut Vec<String>) -> Result<u64, String> {
    let text = |error: Error| error.to_string();
    let (store, repaired) = Store::open(&home.state).map_err(text)?;
    said.extend(repaired);
    let set = graph::load(sources).set.ok_or("the definitions of the boot make no sense any more")?;
    let there = listing(&home.units_dir)?.files;
    let mut files = with_sources(there, sources);
    files.extend(beside(&home.units_dir, &set)?);
    files.sort_by(|one, two| one.name.cmp(&two.name));
    let named = named_files(&set, &home.units_dir)?;
    supersede_what_was_open(&store);
    let parent = store.current();
    if let Some(current) = parent.filter(|current| store.is_same_as(*current, &files, &named)) {
        return Ok(current);
    }
    let draft = Draft {
        files,
        named,
        parent,
        cause: Cause::Boot,
        who: Who::default(),
        at_millis: wall_millis(),
        units_dir: home.units_dir.clone(),
    };
    let generation = store.add(&draft).map_err(text)?;
    store.judge(generation, &verdict(Word::Committed, "", "")).map_err(text)?;
    store.make_current(generation).map_err(text)?;
    approval::drop_what_is_in_force(&store, generation, wall_millis()).map_err(text)?;
    Ok(generation)
}

/// Those of the directory, with these in the place of what may have been written since.
fn with_sources(there: Vec<UnitsFile>, sources: &[SourceFile]) -> Vec<UnitsFile> {
    // A file that is gone again says nothing of who may read it.
    let modes: BTreeMap<&str, u32> = there.iter().map(|file| (file.name.as_str(), file.mode)).collect();
    let kept = |source: &SourceFile| UnitsFile {
        name: source.name.clone(),
        bytes: source.bytes.clone(),
        mode: modes.get(source.name.as_str()).copied().unwrap_or(0o600),
    };
    let mut files: Vec<UnitsFile> = sources.iter().map(kept).collect();
    files.extend(there.into_iter().filter(|file| !file.name.ends_with(".yaml")));
    files.sort_by(|one, two| one.name.cmp(&two.name));
    files
}

/// The generation whose definitions are in force, where the supervisor that decided so died before it was written down.
/// `current`: what was written down before.
pub(crate) fn unfiled(state: &Path, current: Option<u64>) -> Option<u64> {
    let store = Store::for_reading(state);
    let held = |number: &u64| {
        store.verdict(*number).is_ok_and(|verdict| match verdict.word {
            Word::Verifying | Word::Committed => true,
            Word::Candidate | Word::Pending | Word::Rejected | Word::Superseded => false,
        })
    };
    store.numbers().ok()?.into_iter().rev().take_while(|number| Some(*number) >= current).find(held)
}

/// A machine that went down in the middle of a change has decided nothing but what somebody approved of, and did that in vain.
fn supersede_what_was_open(store: &Store) {
    approval::wait_again(store, None, wall_millis());
    let is_open = |number: &u64| {
        store.verdict(*number).is_ok_and(|verdict| matches!(verdict.word, Word::Candidate | Word::Verifying))
    };
    for number in store.numbers().unwrap_or_default().into_iter().filter(is_open) {
        // Where the disk refuses, it stays open, and is kept for longer.
        drop(store.judge(number, &verdict(Word::Superseded, "mcsup ended before it was decided", "")));
    }
}

fn note(home: &Where, deed: (&str, u64), who: &Who, why: &str) {
    if let Err(error) = audit::note(&home.state, wall_millis(), deed, who, why) {
        tracing::warn!("cannot write the audit trail: {error}");
    }
}

fn verdict(word: Word, why: &str, by: &str) -> Verdict {
    let (why, by) = (why.to_owned(), by.to_owned());
    Verdict { word, at_millis: wall_millis(), why, by, diagnostics: String::new(), waits: None }
}

impl Filed {
    fn tell_restored(&mut self, restored: &Restored) {
        if let Some(why) = &restored.left_alone {
            self.is_left_alone = true;
            self.said.push(format!("the units directory is left as it is: {why}"));
        }
        let written: Vec<&str> = restored.displaced.iter().map(|file| &*file.name).collect();
        let aside: Vec<String> = restored.set_aside.clone();
        self.tell_of_others(&written, &aside);
    }

    fn tell_restored_named(&mut self, restored: &RestoredNamed) {
        for (path, why) in &restored.refused {
            self.said.push(format!("cannot bring back `{path}`, which the change had changed: {why}"));
        }
        let written: Vec<&str> = restored.displaced.iter().map(|path| &**path).collect();
        let aside: Vec<String> = restored.set_aside.iter().map(|path| path.display().to_string()).collect();
        self.tell_of_others(&written, &aside);
    }

    fn tell_of_others(&mut self, written: &[&str], set_aside: &[String]) {
        for name in written {
            self.said.push(format!("`{name}` was written meanwhile; it is left as it was written"));
        }
        for name in set_aside {
            self.said.push(format!("what was written meanwhile is kept as `{name}`"));
        }
    }
}
