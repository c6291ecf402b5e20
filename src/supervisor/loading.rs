//! Which units to run: what the directory says at a boot, what was accepted then at a takeover.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::aside::files::replace_for_this_boot;
use crate::graph;
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
    files: Vec<SourceFile>,
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
        Some(set) => Ok(Loaded { set: Arc::new(set), warnings: text, files: checked.sources }),
        None => Err(text),
    }
}

/// What this keeper's boot accepted. A supervisor that is started again runs on this: its death must not
/// put a half-edited file into effect. `seal`: what the keeper remembers of it; a file of another boot has another.
pub(crate) fn accepted(state: &Path, seal: Option<u64>) -> Option<Loaded> {
    let text = fs::read(path_in(state)).ok()?;
    (seal == Some(fnv(&text))).then_some(())?;
    let kept: BTreeMap<String, String> = serde_json::from_slice(&text).ok()?;
    let files: Vec<SourceFile> =
        kept.into_iter().map(|(name, text)| SourceFile { name, bytes: text.into_bytes() }).collect();
    let set = graph::load(&files).set?;
    Some(Loaded { set: Arc::new(set), warnings: String::new(), files })
}

impl Loaded {
    /// A set without units, for a takeover that finds none that holds.
    pub(crate) fn nothing(diagnostics: &str) -> Self {
        let warnings = format!(
            "no unit could be read; what runs is left alone and not supervised until this is mended:\n{diagnostics}"
        );
        let set = UnitSet {
            units: Vec::new(),
            phases: vec!["default".into()],
            boot_timeout: Duration::from_secs(300),
            shutdown_timeout: Duration::from_secs(60),
            log_total_bytes: 1 << 30,
            alerts: Vec::new(),
            concurrency: None,
            hooks: None,
            heartbeat: None,
        };
        Self { set: Arc::new(set), warnings, files: Vec::new() }
    }

    /// Keeps the accepted text for the next supervisor. Before anything is started by it, so at once; and
    /// without a sync, as no supervisor takes over across a crash of the machine. The answer is its seal, for
    /// the keeper to remember.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep(self, state: &Path) -> io::Result<u64> {
        // A file that was accepted is UTF-8.
        let text = |file: SourceFile| Some((file.name, String::from_utf8(file.bytes).ok()?));
        let files: BTreeMap<String, String> = self.files.into_iter().filter_map(text).collect();
        let text = serde_json::to_vec(&files)?;
        replace_for_this_boot(&path_in(state), &text)?;
        Ok(fnv(&text))
    }
}

fn path_in(state: &Path) -> PathBuf {
    state.join("accepted.json")
}
