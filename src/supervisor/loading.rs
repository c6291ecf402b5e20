//! Which units to run: what the directory says at a boot, what was accepted then at a takeover.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::aside::files::replace_for_this_boot;
use crate::generation::Store;
use crate::generation::manifest::Word;
use crate::graph;
use crate::supervisor::change::approval;
use crate::supervisor::directory;
use crate::supervisor::hash::fnv;
use crate::unit::SourceFile;
use crate::unit::diagnostic::Diagnostic;
use crate::unit::spec::UnitSet;

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) set: Arc<UnitSet>,
    /// Rendered warnings, ready to be shown.
    pub(crate) warnings: String,
    /// Empty where there is nothing new to keep.
    pub(crate) files: Vec<SourceFile>,
    /// They are those of a change that is not filed yet.
    pub(crate) is_staged: bool,
    /// They are those of this generation, as the directory cannot be used.
    pub(crate) committed: Option<u64>,
}

/// Makes text of diagnostics about these files; given by whoever knows how people are shown things.
pub type Render = fn(&[SourceFile], &[Diagnostic], &Path) -> String;

/// Reads and checks the units directory.
///
/// # Errors
/// All diagnostics at once, rendered for a person.
pub(crate) fn from_directory(units: &Path, render: Render) -> Result<Loaded, String> {
    let checked = directory::load(units)
        .map_err(|error| format!("cannot read units directory {}: {error}", units.display()))?;
    let text = render(&checked.sources, &checked.loaded.diagnostics, units);
    match checked.loaded.set {
        Some(set) => Ok(Loaded {
            set: Arc::new(set),
            warnings: text,
            files: checked.sources,
            is_staged: false,
            committed: None,
        }),
        None => Err(text),
    }
}

/// What is in force under this keeper: what the boot accepted, or the last change. A supervisor that is started again runs
/// on this: its death must not put a half-edited file into effect. `seal`: what the keeper remembers of it; a file of
/// another boot, and the definitions that are not in force, have another.
pub(crate) fn accepted(state: &Path, seal: Option<u64>) -> Option<Loaded> {
    let places = [(path_in(state), false), (staged_in(state), true)];
    let mut read = places.into_iter().filter_map(|(path, is_staged)| Some((fs::read(path).ok()?, is_staged)));
    let (text, is_staged) = read.find(|(text, _)| seal == Some(fnv(text)))?;
    let (set, files) = read_kept(&text)?;
    Some(Loaded { set: Arc::new(set), warnings: String::new(), files, is_staged, committed: None })
}

/// The generation that held last, for a boot from a directory that cannot be used. `diagnostics`: why it cannot.
pub(crate) fn committed(state: &Path, diagnostics: &str) -> Option<Loaded> {
    let store = Store::for_reading(state);
    let number = store.current()?;
    let mut files = store.sources(number).ok()?;
    files.retain(|file| file.name.ends_with(".yaml"));
    let set = graph::load(&files).set?;
    let warnings = format!(
        "the units directory cannot be used; this boot runs from generation {number}, which held last:\n{diagnostics}"
    );
    Some(Loaded { set: Arc::new(set), warnings, files, is_staged: false, committed: Some(number) })
}

/// The generation with these files that came after the one that held last, and was rejected or never decided on: a boot
/// is no proof of it, and no approval.
pub(crate) fn unproven(state: &Path, files: &[SourceFile]) -> Option<u64> {
    let store = Store::for_reading(state);
    let current = store.current()?;
    if let Some(waits) = approval::unapproved(&store, current, files) {
        return Some(waits);
    }
    let later = store.numbers().ok()?.into_iter().rev().take_while(|number| *number > current);
    later.into_iter().find(|number| {
        let word = store.verdict(*number).map(|verdict| verdict.word);
        matches!(word, Ok(Word::Rejected | Word::Verifying)) && store.is_of(*number, files)
    })
}

/// Why the directory with these files is not what is in force, where nobody could write to it, and it still says what
/// was taken back: a boot is no new word on that.
pub(crate) fn left_alone(state: &Path, files: &[SourceFile]) -> Option<String> {
    let store = Store::for_reading(state);
    store.left_alone(store.current()?, files)
}

/// The definitions that are not in force, of the two that a change is about, with their seal.
pub(crate) fn other(state: &Path, is_staged: bool) -> Option<(UnitSet, u64)> {
    let text = fs::read(if is_staged { path_in(state) } else { staged_in(state) }).ok()?;
    Some((read_kept(&text)?.0, fnv(&text)))
}

fn read_kept(text: &[u8]) -> Option<(UnitSet, Vec<SourceFile>)> {
    let kept: BTreeMap<String, String> = serde_json::from_slice(text).ok()?;
    let files: Vec<SourceFile> =
        kept.into_iter().map(|(name, text)| SourceFile { name, bytes: text.into_bytes() }).collect();
    Some((graph::load(&files).set?, files))
}

/// Keeps the text of definitions that may come into force, beside the one that is. The answer is its seal.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn stage(state: &Path, files: Vec<SourceFile>) -> io::Result<u64> {
    let text = serde_json::to_vec(&texts(files))?;
    replace_for_this_boot(&staged_in(state), &text)?;
    Ok(fnv(&text))
}

/// What was staged is in force for good: there is room for the next.
///
/// # Errors
/// When the disk refuses; the next change tries again.
pub(crate) fn keep_staged(state: &Path) -> io::Result<()> {
    match fs::rename(staged_in(state), path_in(state)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // of an earlier try
        renamed => renamed,
    }
}

impl Loaded {
    /// A set without units, for a takeover that finds none that holds.
    pub(crate) fn nothing(diagnostics: &str) -> Self {
        let warnings = format!(
            "no unit could be read; what runs is left alone and not supervised until this is mended:\n{diagnostics}"
        );
        let set = UnitSet {
            units: Vec::new(),
            sorted: 0,
            phases: vec!["default".into()],
            boot_timeout: Duration::from_secs(300),
            shutdown_timeout: Duration::from_secs(60),
            log_total_bytes: 1 << 30,
            alerts: Vec::new(),
            concurrency: None,
            hooks: None,
            heartbeat: None,
            changes: crate::unit::spec::changes::Changes::default(),
        };
        Self { set: Arc::new(set), warnings, files: Vec::new(), is_staged: false, committed: None }
    }

    /// Keeps the accepted text for the next supervisor. Before anything is started by it, so at once; and
    /// without a sync, as no supervisor takes over across a crash of the machine. The answer is its seal, for
    /// the keeper to remember.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(self, state: &Path) -> io::Result<u64> {
        let text = serde_json::to_vec(&texts(self.files))?;
        replace_for_this_boot(&path_in(state), &text)?;
        Ok(fnv(&text))
    }

    /// Notes which files differ from what the boot before had accepted: for who asks later what was changed. Before
    /// [`Self::keep`], which replaces that. Where there was no boot before, or what it knew is lost, nothing differs.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn note_changes(&self, state: &Path, at_millis: u64) -> io::Result<()> {
        let mut changes = Changes::new();
        if let Some(before) = kept(state) {
            let earlier = self::changes(state);
            let now = texts(self.files.clone());
            let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
            let date = |name: &String| {
                let is_same = before.get(name) == now.get(name);
                if is_same { earlier.get(name).copied() } else { Some(at_millis) }
            };
            changes = names.into_iter().filter_map(|name| Some((name.clone(), date(name)?))).collect();
        }
        replace_for_this_boot(&changes_in(state), &serde_json::to_vec(&changes)?)
    }
}

/// The files that a later boot found changed, each with the date since which that is in effect, in milliseconds since
/// 1970. What was written to a file is not in effect before the next boot, so its own date says nothing.
pub(crate) type Changes = BTreeMap<String, u64>;

/// What [`Loaded::note_changes`] noted.
pub(crate) fn changes(state: &Path) -> Changes {
    let text = fs::read(changes_in(state)).unwrap_or_default();
    // Not there, or torn: it is a hint for people, no more.
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The accepted text, whichever boot accepted it.
fn kept(state: &Path) -> Option<BTreeMap<String, String>> {
    serde_json::from_slice(&fs::read(path_in(state)).ok()?).ok()
}

fn texts(files: Vec<SourceFile>) -> BTreeMap<String, String> {
    // A file that was accepted is UTF-8.
    let text = |file: SourceFile| Some((file.name, String::from_utf8(file.bytes).ok()?));
    files.into_iter().filter_map(text).collect()
}

fn changes_in(state: &Path) -> PathBuf {
    state.join("changes.json")
}

fn staged_in(state: &Path) -> PathBuf {
    state.join("accepted.next.json")
}

fn path_in(state: &Path) -> PathBuf {
    state.join("accepted.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A boot with these files, at that date.
    fn boot(state: &Path, at_millis: u64, files: &[(&str, &str)]) -> Vec<(String, u64)> {
        let file = |(name, text): &(&str, &str)| SourceFile { name: (*name).into(), bytes: (*text).into() };
        let loaded = Loaded { files: files.iter().map(file).collect(), ..Loaded::nothing("") };
        loaded.note_changes(state, at_millis).unwrap();
        loaded.keep(state).unwrap();
        changes(state).into_iter().collect()
    }

    #[test]
    fn changed_is_what_differs_from_the_boot_before_since_the_boot_that_found_it_so() {
        let state = std::env::temp_dir().join(format!("mcsup-changes-{}", std::process::id()));
        fs::create_dir_all(&state).unwrap();
        let (web, db) = (("web.yaml", "command: [web]"), ("db.yaml", "command: [db]"));
        let edited = ("web.yaml", "command: [web, -v]");
        let since = |name: &str, at: u64| (name.to_owned(), at);
        assert_eq!(boot(&state, 1, &[web, db]), [], "at a first boot every file is young");
        assert_eq!(boot(&state, 2, &[web, db]), []);
        assert_eq!(boot(&state, 3, &[edited, db]), [since("web.yaml", 3)]);
        assert_eq!(boot(&state, 4, &[edited, db]), [since("web.yaml", 3)], "it is in effect since then");
        assert_eq!(
            boot(&state, 5, &[edited, db, ("mcsup.yaml", "")]),
            [since("mcsup.yaml", 5), since("web.yaml", 3)]
        );
        assert_eq!(boot(&state, 6, &[edited, db]), [since("mcsup.yaml", 6), since("web.yaml", 3)]);
        assert_eq!(boot(&state, 7, &[edited, db]), [since("web.yaml", 3)], "one that is gone is forgotten");
        fs::write(path_in(&state), "torn by a crash").unwrap();
        assert_eq!(boot(&state, 8, &[web, db]), [], "nobody knows what was before");
        fs::remove_dir_all(&state).unwrap();
    }
}
