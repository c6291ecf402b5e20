//! What a unit file says. Pure: text in, a `UnitSet` or all diagnostics out.
//!
//! ```text
//! bytes -> yaml (tree with places) -> read (types, one file) -> names (who there is)
//!       -> lower (what takes effect) -> check (what contradicts) -> UnitSet
//! ```
#![deny(
    clippy::disallowed_types,
    clippy::iter_over_hash_type,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    clippy::panic
)]

pub mod name;
pub mod spec;
pub mod diagnostic;
pub(crate) mod amount;
pub(crate) mod nearest;
mod yaml;
mod read;
mod value;
mod words;
mod pattern;
pub(crate) mod expression;
mod probe;
mod listen;
mod ladder;
mod external;
mod job;
mod trigger;
pub mod output;
mod confinement;
pub mod secret;
mod file;
mod alerts;
pub mod schedule;
mod changes;
mod settings;
mod names;
mod lower;
mod check;
mod variables;
mod fingerprint;
pub mod merge;
pub mod difference;
pub mod schema;

use std::collections::BTreeSet;

use crate::unit::diagnostic::{Diagnostic, Place, saturated};
use crate::unit::file::{Defaults, UnitFile};
use crate::unit::name::UnitName;
use crate::unit::names::{Directory, Draft, bad_name};
use crate::unit::read::{At, FromYaml, Reader};
use crate::unit::settings::{SETTINGS_FILE, SettingsFile};
use crate::unit::spec::{UnitId, UnitKind, UnitSet};

pub use crate::unit::yaml::MAX_FILE_BYTES;

/// One file of a units directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name in the directory, such as `redis.yaml`. Files with another ending say nothing here.
    pub name: String,
    /// At most `MAX_FILE_BYTES + 1` are needed to refuse a larger one.
    pub bytes: Vec<u8>,
}

/// What came of a units directory.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// `None` when any diagnostic is an error.
    pub set: Option<UnitSet>,
    /// By file and place; the files count as they were given.
    pub diagnostics: Vec<Diagnostic>,
    /// Of each unit of the set, by `UnitId`.
    pub places: Vec<KeyPlaces>,
}

/// Where a unit names what lies outside its definition: things of the host, for who can look whether they are
/// there, and units that it does not depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlaces {
    /// The program.
    pub command: Option<Place>,
    pub user: Option<Place>,
    pub group: Option<Place>,
    pub working_dir: Option<Place>,
    pub env_file: Vec<Place>,
    pub supplementary_groups: Vec<Place>,
    pub conflicts: Option<Place>,
    /// In the order of the sockets.
    pub listen: Vec<Place>,
    /// Schemas of a job's output: of its stream, then of its files in their order.
    pub schemas: Vec<Place>,
    /// Of a job's webhook.
    pub secret_file: Option<Place>,
    /// Units that a gate's expression names.
    pub asks: Vec<Asked>,
}

/// A unit that a gate looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub unit: UnitId,
    pub place: Place,
    /// The gate cannot open before this unit was started.
    pub is_needed: bool,
}

/// Reads everything a units directory says, and all that is wrong with it but for the graph.
pub fn load(sources: &[SourceFile]) -> Loaded {
    read_all(sources).finish()
}

/// A set with what is wrong in it; the set may hold less than was meant while anything is.
pub(crate) struct Read {
    pub(crate) set: UnitSet,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) places: Vec<KeyPlaces>,
}

/// More of one file help nobody; the first ones are mended first.
const MOST_DIAGNOSTICS_PER_FILE: usize = 100;

impl Read {
    pub(crate) fn finish(self) -> Loaded {
        let Self { set, mut diagnostics, places } = self;
        diagnostics.sort_by(Diagnostic::reading_order);
        // Copies of one file make the same mistake each.
        diagnostics.dedup();
        let has_errors = diagnostics.iter().any(Diagnostic::is_error);
        let mut of_file = (u32::MAX, 0_usize);
        diagnostics.retain(|diagnostic| {
            let file = diagnostic.place.file;
            of_file = (file, if of_file.0 == file { of_file.1.saturating_add(1) } else { 1 });
            of_file.1 <= MOST_DIAGNOSTICS_PER_FILE
        });
        Loaded { set: (!has_errors).then_some(set), diagnostics, places }
    }
}

pub(crate) fn read_all(sources: &[SourceFile]) -> Read {
    let mut diagnostics = Vec::new();
    let settings = read_settings(sources, &mut diagnostics);
    let are_settings_sound = diagnostics.is_empty();
    let mut drafts = Vec::new();
    let mut unreadable = BTreeSet::new();
    for (at, source) in sources.iter().enumerate() {
        let Some(stem) = source.name.strip_suffix(".yaml").filter(|_| source.name != SETTINGS_FILE) else {
            continue;
        };
        match read_unit(saturated(at), stem, source, &settings, &mut diagnostics) {
            Some(draft) => drafts.push(draft),
            None => {
                unreadable.insert(stem.into());
            }
        }
    }
    lower::lower(&settings, are_settings_sound, Directory::new(drafts, unreadable, diagnostics))
}

fn read_settings(sources: &[SourceFile], diagnostics: &mut Vec<Diagnostic>) -> SettingsFile {
    let found = sources.iter().enumerate().find(|(_, source)| source.name == SETTINGS_FILE);
    let Some((at, source)) = found else { return SettingsFile::default() };
    let mut reader = Reader::default();
    let settings = yaml::parse(saturated(at), &source.bytes, diagnostics)
        .and_then(|root| SettingsFile::read(&root, &mut reader))
        .unwrap_or_default();
    diagnostics.append(&mut reader.diagnostics);
    settings
}

/// One unit file with the defaults of its kind; `None` when nothing in it could be read.
fn read_unit(
    file: u32,
    stem: &str,
    source: &SourceFile,
    settings: &SettingsFile,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Draft> {
    let before = diagnostics.len();
    let root = yaml::parse(file, &source.bytes, diagnostics);
    let beginning = if source.bytes.starts_with(diagnostic::BYTE_ORDER_MARK) { 3 } else { 0 };
    let nowhere = Place { file, start: beginning, end: beginning };
    let name = match UnitName::new(stem) {
        Ok(name) => Some(name),
        Err(bad) => {
            diagnostics.push(bad_name(stem, bad, nowhere));
            None
        }
    };
    let Some(root) = root else {
        if diagnostics.len() == before {
            diagnostics.push(
                Diagnostic::error("empty-file", nowhere, "this file says nothing")
                    .help("a unit needs at least `command: ...`; remove the file if it is none"),
            );
        }
        return None;
    };
    let place = match &root.value {
        yaml::Value::Map(entries) => entries.first().map_or(root.place, |entry| entry.key_place),
        yaml::Value::Scalar(_) | yaml::Value::List(_) => root.place,
    };
    let mut reader = Reader::default();
    let unit = read_keys(&root, &mut reader);
    let is_sound = reader.diagnostics.is_empty();
    diagnostics.append(&mut reader.diagnostics);
    let own = unit?;
    let kind = own.kind.as_ref().map_or(UnitKind::Service, |kind| kind.value);
    Some(Draft { name: name?, kind, unit: with_defaults(own, kind, settings), place, is_sound })
}

/// The keys of a unit file; which of them must be there depends on the kind.
fn read_keys(root: &yaml::Node<'_>, reader: &mut Reader) -> Option<UnitFile> {
    let (unit, meant) = UnitFile::read_partly(root, reader)?;
    let entries = reader.entries(root, "a mapping")?;
    let is_there = |key: &str| meant.contains(&key) || entries.iter().any(|entry| entry.key == key);
    let kind = match &unit.kind {
        Some(kind) => kind.value,
        // A kind that could not be read may need anything.
        None if is_there("kind") => return Some(unit),
        None => UnitKind::Service,
    };
    if let Some(key) = needed_key(kind).filter(|key| !is_there(key)) {
        reader.missing_key(root.place, entries, key);
    }
    Some(unit)
}

/// Without this key, a unit of the kind does nothing at all.
pub(crate) fn needed_key(kind: UnitKind) -> Option<&'static str> {
    match kind {
        UnitKind::Service | UnitKind::Task | UnitKind::Job => Some("command"),
        UnitKind::Gate => Some("check"),
        // Its adapter may bring the probe.
        UnitKind::External => None,
    }
}

fn with_defaults(own: UnitFile, kind: UnitKind, settings: &SettingsFile) -> UnitFile {
    let defaults = settings.defaults.as_ref().and_then(|defaults| match kind {
        UnitKind::Service => defaults.value.service.as_ref(),
        UnitKind::Task => defaults.value.task.as_ref(),
        UnitKind::Job => defaults.value.job.as_ref(),
        UnitKind::External => defaults.value.external.as_ref(),
        UnitKind::Gate => defaults.value.gate.as_ref(),
    });
    let mut unit = match defaults {
        Some(At { value: Defaults(defaults), .. }) => own.over(defaults.clone()),
        None => own,
    };
    if !kind.has_process() && kind != UnitKind::Job {
        return unit;
    }
    let log =
        settings.log.as_ref().map(|log| At { key: log.key, place: log.place, value: log.value.for_units() });
    unit.log = At::merge(unit.log, log);
    unit
}
