//! What a change would be: read, checked, planned and kept, on a thread. Nothing here touches what runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aside::{since_boot, with_deep_stack};
use crate::generation::manifest::{Cause, Verdict, Who, Word};
use crate::generation::{Draft, Named, Store, UnitsFile, read_named, read_those};
use crate::graph::Plan;
use crate::supervisor::change::approval::{self, Held, Pending};
use crate::supervisor::change::audit;
use crate::supervisor::change::loss::{self, Loss};
use crate::supervisor::change::seen::Seen;
use crate::supervisor::directory::{self, Listing};
use crate::supervisor::loading::{self, Render};
use crate::unit::SourceFile;
use crate::unit::name::UnitName;
use crate::unit::spec::output::Schema;
use crate::unit::spec::{UnitId, UnitSet, UnitSpec};

/// Where the files of a candidate come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The units directory.
    Directory,
    /// Another directory, whose files are to be those of the units directory.
    Other(PathBuf),
    /// The files of an earlier generation.
    Generation(u64),
    /// What is in force with what this generation changes, that waits for approval.
    Pending(u64),
    /// What is in force with this text for one file of it.
    Unit { name: UnitName, text: String },
}

/// What is asked of a thread.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) source: Source,
    pub(crate) cause: Cause,
    pub(crate) who: Who,
    pub(crate) units_dir: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) in_force: Arc<UnitSet>,
    /// The generation of these. `None`: none could be kept so far.
    pub(crate) current: Option<u64>,
    /// What was rejected is tried again only where a person wants it.
    pub(crate) is_asked: bool,
    /// Only to be shown.
    pub(crate) is_dry: bool,
    /// The save that waits for a quiet directory.
    pub(crate) waits: Option<Loss>,
    pub(crate) at_millis: u64,
    pub(crate) render: Render,
}

#[derive(Debug)]
pub(crate) enum Found {
    /// It says what is in force, word for word.
    Same,
    Invalid(Invalid),
    /// The last one that was rejected was the same.
    RejectedBefore(u64),
    /// It has lost files, and may not be whole yet.
    Loses(Box<Loss>),
    /// What is in force came from elsewhere, and could not be written to the directory: it is still as it was before,
    /// for this reason.
    LeftAlone(String),
    /// Only to be shown.
    Planned(Planned),
    /// It waits for somebody who approves of it.
    Pending(Pending),
    /// Perhaps without a part of it.
    Ready(Box<Kit>, Option<Held>),
    /// It cannot be read or kept, so it is not begun.
    Refused(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// Its diagnostics, for people.
    pub text: String,
    pub errors: usize,
}

/// What a change would do.
#[derive(Clone, Debug)]
pub struct Planned {
    pub before: Arc<UnitSet>,
    pub set: Arc<UnitSet>,
    /// Units that read files of other content when they start.
    pub reread: BTreeSet<UnitId>,
    pub plan: Plan,
    pub warnings: String,
}

/// All that the change needs.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) generation: u64,
    pub(crate) planned: Planned,
    /// Of the text of its definitions.
    pub(crate) seal: u64,
    /// Its files are not in the units directory yet.
    pub(crate) is_from_elsewhere: bool,
    /// What there was before it was read: what changes later is another change.
    pub(crate) seen: Seen,
}

/// A directory that was emptied is mostly one that was not mounted: an empty list is never trusted.
const NOTHING_THERE: &str = "there is no unit file in it, and nothing is stopped for that; \
                             `mcsup stop` stops units, `mcsup shutdown` all of them";

/// What was found, and what waits for somebody by now; `None` where that is not known.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) found: Found,
    pub(crate) pending: Option<Vec<Pending>>,
}

pub(crate) fn look(wanted: &Wanted) -> Findings {
    let found = find(wanted);
    let pending = approval::waiting(&Store::for_reading(&wanted.state), &wanted.units_dir);
    Findings { found, pending: Some(pending) }
}

pub(crate) fn find(wanted: &Wanted) -> Found {
    let found = with_deep_stack(|| found(wanted)).unwrap_or_else(|error| Err(error.to_string()));
    found.unwrap_or_else(Found::Refused)
}

fn found(wanted: &Wanted) -> Result<Found, String> {
    let (store, _) = Store::open(&wanted.state).map_err(|error| error.to_string())?;
    let now = since_boot();
    let seen = Seen::of(&wanted.units_dir);
    if !wanted.is_dry {
        approval::wait_again(&store, wanted.current, wanted.at_millis);
    }
    let Listing { mut files, diagnostics } = files(wanted, &store)?;
    let sources = sources_of(&files);
    let loaded = directory::judge(&sources, diagnostics);
    let text = (wanted.render)(&sources, &loaded.diagnostics, &wanted.units_dir);
    let Some(set) = loaded.set else {
        let errors = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
        return Ok(Found::Invalid(Invalid { text, errors }));
    };
    if set.present().next().is_none() && wanted.in_force.present().next().is_some() {
        return Err(NOTHING_THERE.to_owned());
    }
    if let Some(dir) = dir_of(&wanted.source, &wanted.units_dir) {
        files.extend(beside(dir, &set)?);
        files.sort_by(|one, two| one.name.cmp(&two.name));
    }
    let named = named_files(&set, &wanted.units_dir)?;
    if wanted.current.is_some_and(|current| store.is_same_as(current, &files, &named)) {
        if let Some(approved) = wanted.approved() {
            approval::is_in_force(wanted, &store, approved)?;
        }
        approval::directory_says(wanted, &store, None)?;
        if !wanted.is_dry {
            supersede(wanted, &store, &left_open(wanted, &store));
        }
        return Ok(Found::Same);
    }
    let planned = plan(wanted, &store, &set, &named, text);
    if wanted.is_dry {
        return Ok(Found::Planned(planned));
    }
    if wanted.current.is_none() {
        return Err("what runs is not kept, so there would be no way back".to_owned());
    }
    let is_save = wanted.cause == Cause::Save && !wanted.is_asked;
    if let Some(current) = wanted.current.filter(|_| is_save)
        && let Some(why) = store.left_alone(current, &sources)
    {
        return Ok(Found::LeftAlone(why));
    }
    if let Some(rejected) = last_of(&store, Word::Rejected).filter(|_| !wanted.is_asked)
        && store.is_same_as(rejected, &files, &named)
    {
        approval::directory_says(wanted, &store, None)?;
        return Ok(Found::RejectedBefore(rejected));
    }
    if is_save {
        let lost = loss::of_save(wanted, &store, &planned, (&files, &named), (&seen, now));
        if let Some(found) = lost {
            return Ok(found);
        }
    }
    keep(wanted, &store, Content { files, named, sources, seen }, planned)
}

fn dir_of<'a>(source: &'a Source, units_dir: &'a Path) -> Option<&'a Path> {
    match source {
        Source::Directory | Source::Unit { .. } => Some(units_dir),
        Source::Other(dir) => Some(dir),
        Source::Generation(_) | Source::Pending(_) => None, // whole as it is
    }
}

/// Files of the directory itself that units name. All others are nobody's business: a service may write to them.
pub(crate) fn beside(dir: &Path, set: &UnitSet) -> Result<Vec<UnitsFile>, String> {
    let names = paths_of(set);
    let is_named = |name: &str| !name.ends_with(".yaml") && names.contains(name);
    read_those(dir, is_named).map_err(|error| error.to_string())
}

pub(super) struct Content {
    pub(super) files: Vec<UnitsFile>,
    pub(super) named: Vec<Named>,
    pub(super) sources: Vec<SourceFile>,
    pub(super) seen: Seen,
}

fn keep(wanted: &Wanted, store: &Store, content: Content, planned: Planned) -> Result<Found, String> {
    let waits = planned.waits_for();
    if waits.is_empty() || wanted.approved().is_some() {
        approval::directory_says(wanted, store, None)?;
        return kit(wanted, store, content, planned).map(|kit| Found::Ready(Box::new(kit), None));
    }
    // Nothing else waits behind it.
    let (waiting, rest) = approval::part(wanted, store, content, &planned);
    let held = approval::hold(wanted, store, &waiting, waits)?;
    let waits = match &held {
        Held::Waits(pending) => Some(pending.generation),
        Held::Rejected(_) => None,
    };
    approval::directory_says(wanted, store, waits)?;
    match (rest, held) {
        (Some((content, planned)), held) => {
            let kit = kit(wanted, store, content, planned)?;
            Ok(Found::Ready(Box::new(kit), Some(held)))
        }
        (None, Held::Waits(pending)) => Ok(Found::Pending(pending)),
        (None, Held::Rejected(generation)) => Ok(Found::RejectedBefore(generation)),
    }
}

fn kit(wanted: &Wanted, store: &Store, content: Content, planned: Planned) -> Result<Kit, String> {
    file_what_is_in_force(wanted, store)?;
    let approved = wanted.approved();
    let as_kept = approved.filter(|approved| approval::is_as_kept(wanted, store, *approved, &content));
    let generation = as_kept.map_or_else(|| add(wanted, store, &content), Ok)?;
    let Content { sources, seen, .. } = content;
    let seal = loading::stage(&wanted.state, sources)
        .map_err(|error| format!("cannot keep the definitions of generation {generation}: {error}"))?;
    match approved {
        Some(approved) => approval::approve(wanted, store, approved, generation)?,
        None => {
            judge(store, generation, Word::Verifying, String::new(), wanted)?;
            note(wanted, ("kept", generation), "");
        }
    }
    let is_from_elsewhere = store.is_from_elsewhere(generation, &wanted.units_dir);
    let paths = paths_of(&planned.set).into_iter().map(|path| wanted.units_dir.join(&*path));
    let seen = seen.with_named(paths);
    Ok(Kit { generation, planned, seal, is_from_elsewhere, seen })
}

/// A disk that was full did not take down that the last change held: before its definitions give way to others.
fn file_what_is_in_force(wanted: &Wanted, store: &Store) -> Result<(), String> {
    let Some(current) = wanted.current.filter(|current| store.current() != Some(*current)) else {
        return Ok(());
    };
    judge(store, current, Word::Committed, String::new(), wanted)?;
    store.make_current(current).map_err(|error| error.to_string())?;
    loading::keep_staged(&wanted.state)
        .map_err(|error| format!("cannot rename the accepted definitions in the state directory: {error}"))
}

pub(super) fn add(wanted: &Wanted, store: &Store, content: &Content) -> Result<u64, String> {
    if let Some(orphan) = orphan(wanted, store, content) {
        return Ok(orphan);
    }
    let units_dir = match &wanted.source {
        Source::Directory => wanted.units_dir.clone(),
        Source::Other(dir) => dir.clone(),
        Source::Generation(_) | Source::Unit { .. } => PathBuf::new(),
        Source::Pending(number) => {
            PathBuf::from(store.manifest(*number).map_err(|error| error.to_string())?.units_dir)
        }
    };
    let draft = Draft {
        files: content.files.clone(),
        named: content.named.clone(),
        parent: wanted.current,
        cause: wanted.cause,
        who: wanted.who.clone(),
        at_millis: wanted.at_millis,
        units_dir,
    };
    store.add(&draft).map_err(|error| error.to_string())
}

/// What an earlier supervisor left open: it has its turn now, or something newer has come.
fn orphan(wanted: &Wanted, store: &Store, content: &Content) -> Option<u64> {
    let mut open = left_open(wanted, store);
    let is_it = |number: &u64| {
        wanted.source == Source::Directory
            && !store.is_from_elsewhere(*number, &wanted.units_dir)
            && store.is_same_as(*number, &content.files, &content.named)
    };
    let same = open.iter().copied().rev().find(is_it);
    open.retain(|number| Some(*number) != same);
    supersede(wanted, store, &open);
    same
}

/// A supervisor that died before it could put its candidate on the road left it open, as nobody else does.
fn left_open(wanted: &Wanted, store: &Store) -> Vec<u64> {
    let is_open = |number: &u64| {
        store.verdict(*number).is_ok_and(|verdict| match verdict.word {
            Word::Candidate | Word::Verifying => true,
            Word::Pending | Word::Committed | Word::Rejected | Word::Superseded => false,
        })
    };
    // What is in force may not be written down to the end.
    let numbers = store.numbers().unwrap_or_default().into_iter();
    numbers.filter(|number| Some(*number) != wanted.current).filter(is_open).collect()
}

fn supersede(wanted: &Wanted, store: &Store, open: &[u64]) {
    for number in open {
        // Where the disk refuses, it stays open, and is kept for longer.
        drop(judge(store, *number, Word::Superseded, "mcsup ended before its turn came".to_owned(), wanted));
    }
}

pub(super) fn plan(
    wanted: &Wanted,
    store: &Store,
    set: &UnitSet,
    named: &[Named],
    warnings: String,
) -> Planned {
    let changed = changed_files(store, wanted.current, named);
    let set = Arc::new(wanted.in_force.followed_by(set).set);
    let reread = users_of(&changed, &set);
    let plan = Plan::with_reread(&wanted.in_force, &set, &reread);
    Planned { before: Arc::clone(&wanted.in_force), set, reread, plan, warnings }
}

pub(super) fn judge(
    store: &Store,
    generation: u64,
    word: Word,
    why: String,
    wanted: &Wanted,
) -> Result<(), String> {
    let (at_millis, by) = (wanted.at_millis, wanted.who.user.clone());
    let verdict = Verdict { word, at_millis, why, by, diagnostics: String::new(), waits: None };
    store.judge(generation, &verdict).map_err(|error| error.to_string())
}

pub(super) fn note(wanted: &Wanted, deed: (&str, u64), why: &str) {
    if let Err(error) = audit::note(&wanted.state, wanted.at_millis, deed, &wanted.who, why) {
        tracing::warn!("cannot write the audit trail: {error}");
    }
}

/// As [`directory::read`] finds them, where a directory is read. Those of a generation were found so before.
fn files(wanted: &Wanted, store: &Store) -> Result<Listing, String> {
    let kept = |number: u64| store.files(number).map(found_before).map_err(|error| error.to_string());
    match &wanted.source {
        Source::Directory => listing(&wanted.units_dir),
        Source::Other(dir) => listing(dir),
        Source::Generation(number) => kept(*number),
        Source::Pending(number) => approval::brought_onto(wanted.current, store, *number).map(found_before),
        Source::Unit { name, text } => {
            // What else was saved meanwhile is a change of its own.
            let mut listing = wanted.current.map_or_else(|| listing(&wanted.units_dir), kept)?;
            let files = &mut listing.files;
            files.retain(|file| file.name.ends_with(".yaml"));
            let file = format!("{name}.yaml");
            let bytes = text.clone().into_bytes();
            match files.iter_mut().find(|known| known.name == file) {
                Some(known) => known.bytes = bytes,
                None => files.push(UnitsFile { name: file, bytes, mode: 0o644 }),
            }
            files.sort_by(|one, two| one.name.cmp(&two.name));
            Ok(listing)
        }
    }
}

fn found_before(files: Vec<UnitsFile>) -> Listing {
    Listing { files, diagnostics: Vec::new() }
}

pub(crate) fn listing(dir: &Path) -> Result<Listing, String> {
    directory::read(dir).map_err(|error| format!("cannot read units directory {}: {error}", dir.display()))
}

pub(crate) fn sources_of(files: &[UnitsFile]) -> Vec<SourceFile> {
    let is_source = |file: &&UnitsFile| file.name.ends_with(".yaml");
    let source = |file: &UnitsFile| SourceFile { name: file.name.clone(), bytes: file.bytes.clone() };
    files.iter().filter(is_source).map(source).collect()
}

/// What the units name outside the directory, or beside its unit files, each once.
pub(crate) fn paths_of(set: &UnitSet) -> BTreeSet<Box<str>> {
    set.present_units().flat_map(own_paths).collect()
}

pub(super) fn own_paths(spec: &UnitSpec) -> Vec<Box<str>> {
    let mut paths = spec.env_file.clone();
    paths.extend(schemas_of(spec));
    paths
}

fn schemas_of(spec: &UnitSpec) -> Vec<Box<str>> {
    let output = spec.job.as_ref().and_then(|job| job.output.as_deref());
    let contents = output
        .into_iter()
        .flat_map(|output| output.stream.iter().chain(output.files.iter().map(|file| &file.content)));
    let file = |schema: &Schema| match schema {
        Schema::File(name) => Some(name.as_ref().into()),
        Schema::Inline(_) => None,
    };
    contents.filter_map(|content| content.schema.as_ref().and_then(file)).collect()
}

pub(crate) fn named_files(set: &UnitSet, units_dir: &Path) -> Result<Vec<Named>, String> {
    let read = |path: Box<str>| read_named(units_dir, &path).map_err(|error| error.to_string());
    paths_of(set).into_iter().map(read).collect()
}

/// Paths whose content is another than in the generation in force.
pub(crate) fn changed_files(store: &Store, current: Option<u64>, named: &[Named]) -> BTreeSet<String> {
    let Some(before) = current.and_then(|current| store.named(current).ok()) else { return BTreeSet::new() };
    let is_changed =
        |file: &&Named| before.iter().any(|known| known.path == file.path && known.bytes != file.bytes);
    named.iter().filter(is_changed).map(|file| file.path.clone()).collect()
}

/// Units that read one of these files when they start.
pub(crate) fn users_of(changed: &BTreeSet<String>, set: &UnitSet) -> BTreeSet<UnitId> {
    let uses = |id: &UnitId| {
        set.unit(*id).is_some_and(|spec| spec.env_file.iter().any(|path| changed.contains(&**path)))
    };
    set.present().filter(uses).collect()
}

/// The last generation of which that was said.
pub(super) fn last_of(store: &Store, word: Word) -> Option<u64> {
    for number in store.numbers().ok()?.into_iter().rev() {
        let found = store.verdict(number).ok()?.word;
        if found == word {
            return Some(number);
        }
        // What was rejected before the last that held is tried again; what waits for somebody waits on.
        if found == Word::Committed && word == Word::Rejected {
            return None;
        }
    }
    None
}
