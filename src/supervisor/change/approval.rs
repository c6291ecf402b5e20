//! What waits for somebody who approves of it. A generation that waits is a patch: it stands for what it changed of its
//! parent, whatever comes into force meanwhile.

use std::collections::BTreeSet;
use std::path::Path;

use crate::generation::manifest::{Cause, Verdict, Waits, Who, Word};
use crate::generation::{Error, Named, Store, UnitsFile};
use crate::graph::{self, Because};
use crate::supervisor::change::candidate::{
    Content, Planned, Source, Wanted, add, named_files, note, own_paths, plan, sources_of,
};
use crate::unit::SourceFile;
use crate::unit::name::UnitName;
use crate::unit::spec::{UnitId, UnitSet};

/// A generation that waits for somebody who approves of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub generation: u64,
    /// For whose sake.
    pub waits: Waits,
    /// The units directory says it, and what is saved there next takes its place. Else somebody asked for it.
    pub is_of_directory: bool,
}

/// The part of a change that does not go on with the rest of it.
#[derive(Debug)]
pub(crate) enum Held {
    Waits(Pending),
    /// Somebody said no to it, and it is still there.
    Rejected(u64),
}

/// All that wait, oldest first.
pub(crate) fn waiting(store: &Store, units_dir: &Path) -> Vec<Pending> {
    let mut all = judged(store, Word::Pending);
    all.reverse();
    all.into_iter().map(|(number, verdict)| pending(store, units_dir, number, verdict)).collect()
}

fn pending(store: &Store, units_dir: &Path, generation: u64, verdict: Verdict) -> Pending {
    let is_of_directory = !store.is_from_elsewhere(generation, units_dir);
    Pending { generation, waits: verdict.waits.unwrap_or_default(), is_of_directory }
}

/// Of these words, newest first.
fn judged(store: &Store, word: Word) -> Vec<(u64, Verdict)> {
    let numbers = store.numbers().unwrap_or_default().into_iter().rev();
    let verdicts = numbers.filter_map(|number| Some((number, store.verdict(number).ok()?)));
    verdicts.filter(|(_, verdict)| verdict.word == word).collect()
}

/// This generation is the other one, which was approved, with what came since.
pub(super) fn is_turn_of(store: &Store, generation: u64, approved: u64) -> bool {
    store.manifest(generation).is_ok_and(|manifest| manifest.cause == Cause::Approve(approved))
}

impl Pending {
    /// In a sentence.
    pub fn words(&self) -> String {
        format!("generation {} {}", self.generation, why(self.generation, &self.waits))
    }
}

fn why(generation: u64, waits: &Waits) -> String {
    format!("waits for `mcsup approve {generation}`: it changes {}", waits.words())
}

impl Wanted {
    /// A person approved of this generation.
    pub(super) fn approved(&self) -> Option<u64> {
        match self.source {
            Source::Pending(number) => Some(number).filter(|_| !self.is_dry),
            Source::Directory | Source::Other(_) | Source::Generation(_) | Source::Unit { .. } => None,
        }
    }

    fn is_of_directory(&self) -> bool {
        self.source == Source::Directory
    }
}

impl Planned {
    /// What must not change by it without somebody's approval.
    pub fn waits_for(&self) -> Waits {
        let name = |id: UnitId| self.set.unit(id).map(|spec| spec.name.to_string());
        let units = self.units_that_wait().into_iter().filter_map(name).collect();
        Waits { units, settings: self.settings_that_wait() }
    }

    /// The settings in force decide: a change cannot free itself.
    fn units_that_wait(&self) -> Vec<UnitId> {
        if self.before.changes.needs_approval {
            return self.plan.steps.iter().map(|step| step.unit).collect();
        }
        self.plan.protected(&self.before, &self.set)
    }

    fn settings_that_wait(&self) -> Vec<String> {
        let changes = &self.before.changes;
        let is_protected = |id: UnitId| self.before.unit(id).is_some_and(|unit| unit.protected);
        let is_guarded = !changes.approvers.is_empty() || self.before.present().any(is_protected);
        let mut keys: Vec<String> = self.plan.settings.iter().map(|one| one.key.to_owned()).collect();
        if !changes.needs_approval {
            keys.retain(|key| is_guarded && GUARDS.contains(&key.as_str()));
        }
        keys.dedup();
        keys
    }
}

/// The keys that say what waits, and for whom.
const GUARDS: [&str; 2] = ["approval", "approvers"];
const SETTINGS: &str = "mcsup.yaml";

/// The files in force with what it changed.
pub(crate) fn brought_onto(
    onto: Option<u64>,
    store: &Store,
    generation: u64,
) -> Result<Vec<UnitsFile>, String> {
    waits_still(store, generation)?;
    let Some(onto) = onto else {
        return Err(format!(
            "what generation {generation} would do depends on what is in force, which is being decided or not kept"
        ));
    };
    let merged = store.merge(generation, onto).and_then(|merged| store.files_of(&merged));
    merged.map_err(|error| {
        format!(
            "{error}; `mcsup diff {onto} {generation} --files` shows both: `mcsup reject {generation}`, and ask for the change again"
        )
    })
}

/// Somebody may have decided on it meanwhile.
fn waits_still(store: &Store, generation: u64) -> Result<(), String> {
    let verdict = store.verdict(generation).map_err(|error| error.to_string())?;
    if verdict.word == Word::Pending {
        return Ok(());
    }
    let why = if verdict.why.is_empty() { String::new() } else { format!(" ({})", verdict.why) };
    Err(format!("generation {generation} does not wait for approval any more{why}"))
}

/// What is approved is in force as it was kept: nothing else came since.
pub(super) fn is_as_kept(wanted: &Wanted, store: &Store, generation: u64, content: &Content) -> bool {
    store.manifest(generation).is_ok_and(|manifest| manifest.parent == wanted.current)
        && store.is_same_as(generation, &content.files, &content.named)
}

/// `generation` has its turn: it is the one that was approved, or that with what came since.
pub(super) fn approve(wanted: &Wanted, store: &Store, approved: u64, generation: u64) -> Result<(), String> {
    let by = &wanted.who.user;
    let (waits, why, noted) = if generation == approved {
        // Whoever finds it so when nothing is under way lets it wait again.
        let waits = store.verdict(approved).map_err(|error| error.to_string())?.waits;
        (waits, format!("approved by {by}"), String::new())
    } else {
        (None, format!("generation {approved} was approved by {by}"), format!("as generation {generation}"))
    };
    say(store, generation, &Verdict { waits, ..verdict(wanted.at_millis, Word::Verifying, why, by) })?;
    note(wanted, ("approved", approved), &noted);
    Ok(())
}

/// It is in force already.
pub(super) fn is_in_force(wanted: &Wanted, store: &Store, approved: u64) -> Result<(), String> {
    let current = wanted.current.unwrap_or_default();
    supersede(store, approved, format!("generation {current} says the same"), wanted.at_millis)
}

/// The one that this generation stands for is decided with it. As often as somebody says so.
pub(super) fn decided(store: &Store, generation: u64, at_millis: u64) -> Result<(), Error> {
    let manifest = store.manifest(generation)?;
    let Cause::Approve(approved) = manifest.cause else { return Ok(()) };
    if store.verdict(approved)?.word != Word::Pending {
        return Ok(());
    }
    let by = &manifest.who.user;
    let why = format!("approved by {by}: it became generation {generation}, with what had come since");
    store.judge(approved, &verdict(at_millis, Word::Superseded, why, by))
}

/// Of those that wait, what is in force now need not wait any more.
pub(super) fn drop_what_is_in_force(store: &Store, current: u64, at_millis: u64) -> Result<(), Error> {
    for (number, _) in judged(store, Word::Pending) {
        let is_there = store.merge(number, current).is_ok_and(|merged| {
            store.holds(current, &merged).unwrap_or(false) && are_alike(store, number, current)
        });
        if is_there {
            let why = format!("generation {current} says the same");
            store.judge(number, &verdict(at_millis, Word::Superseded, why, ""))?;
        }
    }
    Ok(())
}

/// In what both know of files elsewhere.
fn are_alike(store: &Store, one: u64, other: u64) -> bool {
    let named = store.named(one).and_then(|one| Ok((one, store.named(other)?)));
    named.is_ok_and(|(one, other)| agree(&one, &other))
}

fn agree(one: &[Named], other: &[Named]) -> bool {
    let differs =
        |file: &Named| other.iter().any(|known| known.path == file.path && known.bytes != file.bytes);
    !one.iter().any(differs)
}

/// Nothing is under way: whoever was approved and has not begun waits again.
pub(super) fn wait_again(store: &Store, in_force: Option<u64>, at_millis: u64) {
    let open = [Word::Candidate, Word::Verifying].into_iter().flat_map(|word| judged(store, word));
    for (number, found) in open.filter(|(number, _)| Some(*number) != in_force) {
        let stands_for = store.manifest(number).ok().and_then(|manifest| match manifest.cause {
            Cause::Approve(approved) => Some(approved),
            Cause::Boot
            | Cause::Save
            | Cause::Reload
            | Cause::Apply
            | Cause::Edit
            | Cause::Put
            | Cause::Rollback(_) => None,
        });
        // Where the disk refuses, it stays as it is, and the next look tries again.
        match stands_for {
            Some(approved) => {
                let why = format!("mcsup ended before its turn came; generation {approved} waits again");
                drop(supersede(store, number, why, at_millis));
            }
            None => drop(waits_again(store, number, found, at_millis)),
        }
    }
}

/// False: it never waited.
fn waits_again(store: &Store, number: u64, found: Verdict, at_millis: u64) -> Result<bool, Error> {
    let Some(waits) = found.waits else { return Ok(false) };
    let verdict = verdict(at_millis, Word::Pending, why(number, &waits), "");
    store.judge(number, &Verdict { waits: Some(waits), ..verdict })?;
    Ok(true)
}

/// The engine refused it, so nothing was done, and it can be approved again. False: it never waited.
pub(super) fn was_not_begun(store: &Store, generation: u64, at_millis: u64) -> Result<bool, Error> {
    waits_again(store, generation, store.verdict(generation)?, at_millis)
}

/// Somebody says no. With it, why that is too late.
pub(super) fn reject(
    store: &Store,
    generation: u64,
    why: &str,
    (who, at_millis): (&Who, u64),
) -> Result<Option<String>, Error> {
    if let Err(why) = waits_still(store, generation) {
        return Ok(Some(why));
    }
    let waits = store.verdict(generation)?.waits;
    let verdict = verdict(at_millis, Word::Rejected, why.to_owned(), &who.user);
    store.judge(generation, &Verdict { waits, ..verdict })?;
    Ok(None)
}

/// The units directory was read: what it said before and waits for somebody is not wanted any more. `except`: what it
/// says now.
pub(super) fn directory_says(wanted: &Wanted, store: &Store, except: Option<u64>) -> Result<(), String> {
    if !wanted.is_of_directory() || wanted.is_dry {
        return Ok(());
    }
    let why = match except {
        Some(generation) => format!("generation {generation} came after it"),
        None => "the units directory says something else".to_owned(),
    };
    for one in waiting(store, &wanted.units_dir) {
        if one.is_of_directory && Some(one.generation) != except {
            supersede(store, one.generation, why.clone(), wanted.at_millis)?;
        }
    }
    Ok(())
}

/// A boot from these files would put into force what nobody has approved of.
pub(crate) fn unapproved(store: &Store, current: u64, sources: &[SourceFile]) -> Option<u64> {
    let rejected = judged(store, Word::Rejected).into_iter().filter(|(_, verdict)| verdict.waits.is_some());
    let all = judged(store, Word::Pending).into_iter().chain(rejected);
    let is_it = |number: &u64| {
        store.merge(*number, current).is_ok_and(|merged| {
            !store.holds(current, &merged).unwrap_or(true) && merged.is_of_sources(sources)
        })
    };
    all.map(|(number, _)| number).find(is_it)
}

/// Keeps what waits, where it is not kept yet.
pub(super) fn hold(wanted: &Wanted, store: &Store, content: &Content, waits: Waits) -> Result<Held, String> {
    if let Some((number, verdict)) = known(wanted, store, content, Word::Pending) {
        return Ok(Held::Waits(pending(store, &wanted.units_dir, number, verdict)));
    }
    if !wanted.is_asked
        && let Some((number, _)) = known(wanted, store, content, Word::Rejected)
    {
        return Ok(Held::Rejected(number));
    }
    let generation = add(wanted, store, content)?;
    let why = why(generation, &waits);
    let verdict = verdict(wanted.at_millis, Word::Pending, why.clone(), &wanted.who.user);
    say(store, generation, &Verdict { waits: Some(waits.clone()), ..verdict })?;
    note(wanted, ("pending", generation), &why);
    Ok(Held::Waits(Pending { generation, waits, is_of_directory: wanted.is_of_directory() }))
}

/// What was said of the same before. Somebody who asks gets one of their own, which no save takes away.
fn known(wanted: &Wanted, store: &Store, content: &Content, word: Word) -> Option<(u64, Verdict)> {
    let current = wanted.current?;
    let is_it = |number: u64| {
        (wanted.is_of_directory() || store.is_from_elsewhere(number, &wanted.units_dir))
            && store.merge(number, current).is_ok_and(|merged| merged.is_of(&content.files))
            && store.named(number).is_ok_and(|named| agree(&named, &content.named))
    };
    judged(store, word).into_iter().find(|(number, verdict)| verdict.waits.is_some() && is_it(*number))
}

/// What waits of a change, and what need not wait behind it; `None` where nothing else differs, or the rest alone makes
/// no sense.
pub(super) fn part(
    wanted: &Wanted,
    store: &Store,
    content: Content,
    planned: &Planned,
) -> (Content, Option<(Content, Planned)>) {
    match rest(wanted, store, &content, planned) {
        None => (content, None),
        Some(Rest { held, in_force, rest }) => {
            // What waits may need the rest of it.
            let waiting = mixed(wanted, (&in_force, &content), &held);
            (waiting.map_or(content, |(waiting, _)| waiting), Some(rest))
        }
    }
}

struct Rest {
    /// Names of files.
    held: BTreeSet<String>,
    in_force: Content,
    rest: (Content, Planned),
}

fn rest(wanted: &Wanted, store: &Store, content: &Content, planned: &Planned) -> Option<Rest> {
    if wanted.in_force.changes.needs_approval {
        return None;
    }
    let current = wanted.current?;
    let in_force = kept(store, current, content)?;
    let mut held = files_held(planned);
    loop {
        let (files, set) = mixed(wanted, (content, &in_force), &held)?;
        if store.is_same_as(current, &files.files, &files.named) {
            return None;
        }
        let rest = plan(wanted, store, &set, &files.named, planned.warnings.clone());
        if rest.waits_for().is_empty() {
            return Some(Rest { held, in_force, rest: (files, rest) });
        }
        // By what mcsup.yaml says of all units, or by files of others.
        let before = held.len();
        held.extend(files_held(&rest));
        held.insert(SETTINGS.to_owned());
        if held.len() == before {
            return None;
        }
    }
}

fn kept(store: &Store, generation: u64, like: &Content) -> Option<Content> {
    let files = store.files(generation).ok()?;
    let (named, sources) = (store.named(generation).ok()?, sources_of(&files));
    Some(Content { files, named, sources, seen: like.seen.clone() })
}

/// The first of the two, but what is held from the second.
fn mixed(
    wanted: &Wanted,
    (most, other): (&Content, &Content),
    held: &BTreeSet<String>,
) -> Option<(Content, UnitSet)> {
    let is_held = |file: &&UnitsFile| held.contains(&file.name);
    let mut files: Vec<UnitsFile> = most.files.iter().filter(|file| !is_held(file)).cloned().collect();
    files.extend(other.files.iter().filter(is_held).cloned());
    files.sort_by(|one, two| one.name.cmp(&two.name));
    let sources = sources_of(&files);
    let set = graph::load(&sources).set?;
    let mut named = named_files(&set, &wanted.units_dir).ok()?;
    for file in named.iter_mut().filter(|file| held.contains(&file.path)) {
        if let Some(known) = other.named.iter().find(|known| known.path == file.path) {
            file.bytes.clone_from(&known.bytes);
        }
    }
    Some((Content { files, named, sources, seen: most.seen.clone() }, set))
}

/// Files that may be why something must wait: those of its units, of what these follow, and what they read.
fn files_held(planned: &Planned) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    if !planned.settings_that_wait().is_empty() {
        held.insert(SETTINGS.to_owned());
    }
    let mut units = planned.units_that_wait();
    let mut seen: BTreeSet<UnitId> = units.iter().copied().collect();
    while let Some(id) = units.pop() {
        for spec in [&planned.before, &planned.set].into_iter().filter_map(|set| set.unit(id)) {
            held.extend(files_of(&spec.name));
            held.extend(own_paths(spec).into_iter().map(String::from));
        }
        let steps = planned.plan.steps.iter().filter(|step| step.unit == id);
        units.extend(steps.filter_map(|step| match step.because {
            Because::Itself => None,
            Because::Follows(unit) => Some(unit).filter(|unit| seen.insert(*unit)),
        }));
    }
    held
}

/// Files that may define a unit: its own, or that of the replicas or the template that it is a copy of.
pub(super) fn files_of(unit: &UnitName) -> Vec<String> {
    let mut files = vec![format!("{unit}.yaml")];
    if let Some((name, _)) = unit.as_str().split_once('@') {
        files.extend([format!("{name}.yaml"), format!("{name}@.yaml")]);
    }
    files
}

fn supersede(store: &Store, generation: u64, why: String, at_millis: u64) -> Result<(), String> {
    say(store, generation, &verdict(at_millis, Word::Superseded, why, ""))
}

fn say(store: &Store, generation: u64, verdict: &Verdict) -> Result<(), String> {
    store.judge(generation, verdict).map_err(|error| error.to_string())
}

fn verdict(at_millis: u64, word: Word, why: String, by: &str) -> Verdict {
    Verdict { word, at_millis, why, by: by.to_owned(), diagnostics: String::new(), waits: None }
}
