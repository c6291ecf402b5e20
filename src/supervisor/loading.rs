//! Which units to run: what the directory says at a boot, what was accepted then at a takeover.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::supervisor::home::write_whole;
use crate::unit::spec::UnitSet;

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) set: Arc<UnitSet>,
    /// Rendered warnings, ready to be shown.
    pub(crate) warnings: String,
    files: BTreeMap<String, String>,
}

/// Reads and checks the units directory.
///
/// # Errors
/// All diagnostics at once, rendered for a person.
pub(crate) fn from_directory(units: &Path) -> Result<Loaded, String> {
    Err(format!("cannot read units directory {}: not built yet", units.display()))
}

/// What the last boot accepted. A supervisor that is started again runs on this: its death must not
/// put a half-edited file into effect.
pub(crate) fn accepted(state: &Path) -> Option<Loaded> {
    let text = fs::read_to_string(path_in(state)).ok()?;
    let files: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
    drop(files);
    None
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
        };
        Self { set: Arc::new(set), warnings, files: BTreeMap::new() }
    }

    /// Keeps the accepted text for the next supervisor, off the loop.
    pub(crate) fn keep(&self, state: &Path) {
        let Ok(text) = serde_json::to_string(&self.files) else { return };
        let path = path_in(state);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = write_whole(&path, text.as_bytes()) {
                tracing::warn!("cannot keep the accepted units in {}: {error}", path.display());
            }
        });
    }
}

fn path_in(state: &Path) -> PathBuf {
    state.join("accepted.json")
}
