//! Plays every file of `tests/scenarios` and compares what came of it with what the file expects.
//!
//! `MCSUP_BLESS=1 cargo test --test scenarios` rewrites the expected parts: read the difference before
//! you keep it. `MCSUP_SCENARIO=part_of_a_name` plays some of them.

#![expect(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a set-up that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcsup::sim::scenario::Scenario;
use mcsup::unit::spec::UnitSet;

fn scenario_files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let wanted = std::env::var("MCSUP_SCENARIO").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension().is_some_and(|end| end == "txt") && path.to_string_lossy().contains(&wanted)
        })
        .collect();
    files.sort();
    files
}

fn load(scenario: &Scenario) -> Result<Arc<UnitSet>, String> {
    let files: Vec<mcsup::unit::SourceFile> = scenario
        .files
        .iter()
        .map(|(name, text)| mcsup::unit::SourceFile { name: name.clone(), bytes: text.as_bytes().to_vec() })
        .collect();
    let loaded = mcsup::graph::load(&files);
    loaded.set.map(Arc::new).ok_or_else(|| format!("{:#?}", loaded.diagnostics))
}

/// What is wrong with one file; blesses it where that is asked for.
fn play(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).unwrap();
    if !text.starts_with("# ") {
        return Err("does not begin with a comment that says why it is there".to_owned());
    }
    let scenario = Scenario::parse(&text)?;
    if scenario.blocks.is_empty() {
        return Err("no commands".to_owned());
    }
    let (parts, world) = scenario.play(&load(&scenario)?);
    let actual = scenario.with_expected(&parts);
    if let Some(violation) = world.violations.first() {
        return Err(format!("{violation}\n{actual}")); // which nothing can bless
    }
    if std::env::var_os("MCSUP_BLESS").is_some() {
        std::fs::write(path, &actual).unwrap();
    }
    if actual == text || std::env::var_os("MCSUP_BLESS").is_some() {
        return Ok(());
    }
    Err(difference(&text, &actual))
}

/// The first line that differs, with the three before it.
fn difference(expected: &str, actual: &str) -> String {
    let expected: Vec<&str> = expected.lines().collect();
    let actual: Vec<&str> = actual.lines().collect();
    let at = expected.iter().zip(&actual).take_while(|(a, b)| a == b).count();
    let context = &expected[at.saturating_sub(3)..at];
    let line = |list: &[&str]| list.get(at).map_or_else(|| "(the end)".to_owned(), ToString::to_string);
    format!("{}\n- {}\n+ {}", context.join("\n"), line(&expected), line(&actual))
}

#[test]
fn every_scenario_ends_as_its_file_says() {
    let files = scenario_files();
    let failures: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let name = path.file_stem()?.to_string_lossy().into_owned();
            play(path).err().map(|error| format!("{name}: {error}"))
        })
        .collect();
    assert!(files.len() >= 45 || std::env::var_os("MCSUP_SCENARIO").is_some(), "only {} files", files.len());
    assert!(failures.is_empty(), "{} of {}:\n\n{}", failures.len(), files.len(), failures.join("\n\n"));
}

/// The sets that seeds draw are built without YAML; what a shrunk scenario says of them must mean the same.
#[test]
fn a_drawn_set_and_its_scenario_mean_the_same() {
    for seed in 0..40 {
        let (_, history) = mcsup::sim::history::History::draw(seed);
        let text = history.scenario();
        let scenario = Scenario::parse(&text).unwrap();
        let read = load(&scenario).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        let mut plain = UnitSet::clone(&read);
        for (unit, drawn) in plain.units.iter_mut().zip(&history.set.units) {
            unit.place = drawn.place;
            unit.fingerprint = drawn.fingerprint;
            unit.log = drawn.log;
            for (edge, other) in unit.depends_on.iter_mut().zip(&drawn.depends_on) {
                edge.place = other.place;
            }
            assert_eq!(unit, drawn, "seed {seed}");
        }
        assert_eq!(plain, *history.set, "seed {seed}");
    }
}
