//! What a change would be: read, checked, planned and kept, on a thread. Nothing here touches what runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aside::{since_boot, with_deep_stack};
use crate::generation::manifest::{Cause, Verdict, Who, Word};
use crate::generation::{Draft, Named, Store, UnitsFile, read_named, read_those};
use crate::graph::{self, Plan};
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
    /// The units directory with this text for one file of it.
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
    /// A person approved of this generation.
    pub(crate) approved: Option<u64>,
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
    /// `pending`: the part of it that waits for somebody who approves of it.
    Ready(Box<Kit>, Option<Pending>),
    /// It cannot be read or kept, so it is not begun.
    Refused(String),
}

/// A generation that waits for somebody who approves of it, for the sake of these units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub generation: u64,
    pub units: Vec<UnitName>,
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

pub(crate) fn find(wanted: &Wanted) -> Found {
    let found = with_deep_stack(|| found(wanted)).unwrap_or_else(|error| Err(error.to_string()));
    found.unwrap_or_else(Found::Refused)
}

fn found(wanted: &Wanted) -> Result<Found, String> {
    let (store, _) = Store::open(&wanted.state).map_err(|error| error.to_string())?;
    let now = since_boot();
    let seen = Seen::of(&wanted.units_dir);
    if let Some(approved) = wanted.approved {
        waits_still(&store, approved)?;
    }
    let Listing { mut files, diagnostics } = files(&wanted.source, &store, &wanted.units_dir)?;
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
        Source::Generation(_) => None, // whole as it is
    }
}

/// Files of the directory itself that units name. All others are nobody's business: a service may write to them.
pub(crate) fn beside(dir: &Path, set: &UnitSet) -> Result<Vec<UnitsFile>, String> {
    let names = paths_of(set);
    let is_named = |name: &str| !name.ends_with(".yaml") && names.contains(name);
    read_those(dir, is_named).map_err(|error| error.to_string())
}

/// Somebody may have decided on it meanwhile.
fn waits_still(store: &Store, generation: u64) -> Result<(), String> {
    let verdict = store.verdict(generation).map_err(|error| error.to_string())?;
    if verdict.word == Word::Pending {
        return Ok(());
    }
    Err(format!(
        "generation {generation} does not wait for approval any more; `mcsup generations` says what it is"
    ))
}

struct Content {
    files: Vec<UnitsFile>,
    named: Vec<Named>,
    sources: Vec<SourceFile>,
    seen: Seen,
}

fn keep(wanted: &Wanted, store: &Store, content: Content, planned: Planned) -> Result<Found, String> {
    let waits = waits_for(wanted, &planned);
    if waits.is_empty() {
        return kit(wanted, store, content, planned).map(|kit| Found::Ready(Box::new(kit), None));
    }
    let pending = Pending { generation: pend(wanted, store, &content, &waits)?, units: waits };
    // Nothing else waits behind it.
    match without(wanted, store, &content, &planned, &pending.units) {
        Some((content, planned)) => {
            let kit = kit(wanted, store, content, planned)?;
            Ok(Found::Ready(Box::new(kit), Some(pending)))
        }
        None => Ok(Found::Pending(pending)),
    }
}

/// Keeps it until somebody approves of it; the number under which it is kept.
fn pend(wanted: &Wanted, store: &Store, content: &Content, waits: &[UnitName]) -> Result<u64, String> {
    let before = last_of(store, Word::Pending);
    if let Some(known) = before.filter(|known| store.is_same_as(*known, &content.files, &content.named)) {
        return Ok(known);
    }
    let generation = add(wanted, store, content)?;
    let names: Vec<&str> = waits.iter().map(UnitName::as_str).collect();
    let why = format!("waits for `mcsup approve {generation}`: it changes {}", names.join(", "));
    judge(store, generation, Word::Pending, why.clone(), wanted)?;
    note(wanted, ("pending", generation), &why);
    if let Some(before) = before {
        judge(store, before, Word::Superseded, format!("generation {generation} came after it"), wanted)?;
    }
    Ok(generation)
}

/// The same with the files of these units as they are in force. `None`: nothing else differs, or the rest alone makes
/// no sense.
fn without(
    wanted: &Wanted,
    store: &Store,
    content: &Content,
    planned: &Planned,
    waits: &[UnitName],
) -> Option<(Content, Planned)> {
    if wanted.in_force.changes.needs_approval {
        return None;
    }
    let current = wanted.current?;
    let in_force = store.files(current).ok()?;
    let held: BTreeSet<String> = waits.iter().flat_map(files_of).collect();
    let is_held = |file: &UnitsFile| held.contains(&file.name);
    let mut files: Vec<UnitsFile> = content.files.iter().filter(|file| !is_held(file)).cloned().collect();
    files.extend(in_force.into_iter().filter(is_held));
    files.sort_by(|one, two| one.name.cmp(&two.name));
    let sources = sources_of(&files);
    let set = graph::load(&sources).set?;
    let named = named_files(&set, &wanted.units_dir).ok()?;
    if store.is_same_as(current, &files, &named) {
        return None;
    }
    let rest = plan(wanted, store, &set, &named, planned.warnings.clone());
    let content = Content { files, named, sources, seen: content.seen.clone() };
    waits_for(wanted, &rest).is_empty().then_some((content, rest))
}

/// Files that may define a unit: its own, or that of the replicas or the template that it is a copy of.
pub(crate) fn files_of(unit: &UnitName) -> Vec<String> {
    let mut files = vec![format!("{unit}.yaml")];
    if let Some((name, _)) = unit.as_str().split_once('@') {
        files.extend([format!("{name}.yaml"), format!("{name}@.yaml")]);
    }
    files
}

fn kit(wanted: &Wanted, store: &Store, content: Content, planned: Planned) -> Result<Kit, String> {
    file_what_is_in_force(wanted, store)?;
    let generation = wanted.approved.map_or_else(|| add(wanted, store, &content), Ok)?;
    let Content { sources, seen, .. } = content;
    let seal = loading::stage(&wanted.state, sources)
        .map_err(|error| format!("cannot keep the definitions of generation {generation}: {error}"))?;
    let why =
        if wanted.approved.is_some() { format!("approved by {}", wanted.who.user) } else { String::new() };
    judge(store, generation, Word::Verifying, why, wanted)?;
    note(wanted, (if wanted.approved.is_some() { "approved" } else { "kept" }, generation), "");
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

fn add(wanted: &Wanted, store: &Store, content: &Content) -> Result<u64, String> {
    if let Some(orphan) = orphan(wanted, store, content) {
        return Ok(orphan);
    }
    let units_dir = match &wanted.source {
        Source::Directory => wanted.units_dir.clone(),
        Source::Other(dir) => dir.clone(),
        Source::Generation(_) | Source::Unit { .. } => PathBuf::new(),
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

/// A supervisor that died before it could put its candidate on the road left it open, as nobody else does: it has its
/// turn now, or something newer has come.
fn orphan(wanted: &Wanted, store: &Store, content: &Content) -> Option<u64> {
    let is_open = |number: &u64| {
        store.verdict(*number).is_ok_and(|verdict| match verdict.word {
            Word::Candidate | Word::Verifying => true,
            Word::Pending | Word::Committed | Word::Rejected | Word::Superseded => false,
        })
    };
    let open: Vec<u64> = store.numbers().ok()?.into_iter().filter(is_open).collect();
    let is_it = |number: &u64| {
        wanted.source == Source::Directory
            && !store.is_from_elsewhere(*number, &wanted.units_dir)
            && store.is_same_as(*number, &content.files, &content.named)
    };
    let same = open.iter().copied().rev().find(is_it);
    for number in open.into_iter().filter(|number| Some(*number) != same) {
        // Where the disk refuses, it stays open, and is kept for longer.
        drop(judge(store, number, Word::Superseded, "mcsup ended before its turn came".to_owned(), wanted));
    }
    same
}

fn plan(wanted: &Wanted, store: &Store, set: &UnitSet, named: &[Named], warnings: String) -> Planned {
    let changed = changed_files(store, wanted.current, named);
    let set = Arc::new(wanted.in_force.followed_by(set).set);
    let reread = users_of(&changed, &set);
    let plan = Plan::with_reread(&wanted.in_force, &set, &reread);
    Planned { before: Arc::clone(&wanted.in_force), set, reread, plan, warnings }
}

fn judge(store: &Store, generation: u64, word: Word, why: String, wanted: &Wanted) -> Result<(), String> {
    let (at_millis, by) = (wanted.at_millis, wanted.who.user.clone());
    let verdict = Verdict { word, at_millis, why, by, diagnostics: String::new() };
    store.judge(generation, &verdict).map_err(|error| error.to_string())
}

fn note(wanted: &Wanted, deed: (&str, u64), why: &str) {
    if let Err(error) = audit::note(&wanted.state, wanted.at_millis, deed, &wanted.who, why) {
        tracing::warn!("cannot write the audit trail: {error}");
    }
}

fn waits_for(wanted: &Wanted, planned: &Planned) -> Vec<UnitName> {
    if wanted.approved.is_some() { Vec::new() } else { planned.waits_for() }
}

impl Planned {
    /// Who must not change by it without somebody's approval.
    pub fn waits_for(&self) -> Vec<UnitName> {
        let name = |id: UnitId| self.set.unit(id).map(|spec| spec.name.clone());
        // The settings in force decide: a change cannot free itself.
        if self.before.changes.needs_approval {
            return self.plan.steps.iter().filter_map(|step| name(step.unit)).collect();
        }
        self.plan.protected(&self.before, &self.set).into_iter().filter_map(name).collect()
    }
}

/// As [`directory::read`] finds them, where a directory is read. Those of a generation were found so before.
fn files(source: &Source, store: &Store, units_dir: &Path) -> Result<Listing, String> {
    match source {
        Source::Directory => listing(units_dir),
        Source::Other(dir) => listing(dir),
        Source::Generation(number) => {
            let files = store.files(*number).map_err(|error| error.to_string())?;
            Ok(Listing { files, diagnostics: Vec::new() })
        }
        Source::Unit { name, text } => {
            let mut listing = listing(units_dir)?;
            let files = &mut listing.files;
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

pub(crate) fn listing(dir: &Path) -> Result<Listing, String> {
    directory::read(dir).map_err(|error| format!("cannot read units directory {}: {error}", dir.display()))
}

fn sources_of(files: &[UnitsFile]) -> Vec<SourceFile> {
    let is_source = |file: &&UnitsFile| file.name.ends_with(".yaml");
    let source = |file: &UnitsFile| SourceFile { name: file.name.clone(), bytes: file.bytes.clone() };
    files.iter().filter(is_source).map(source).collect()
}

/// What the units name outside the directory, or beside its unit files, each once.
pub(crate) fn paths_of(set: &UnitSet) -> BTreeSet<Box<str>> {
    set.present_units().flat_map(own_paths).collect()
}

fn own_paths(spec: &UnitSpec) -> Vec<Box<str>> {
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
fn last_of(store: &Store, word: Word) -> Option<u64> {
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
