//! Plays every file of `tests/scenarios` and compares what came of it with what the file expects.
//!
//! `MCSUP_BLESS=1 cargo test --test scenarios` rewrites the expected parts: read the difference before
//! you keep it. `MCSUP_SCENARIO=part_of_a_name` plays some of them.

#![expect(clippy::unwrap_used, clippy::unwrap_in_result, reason = "a set-up that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcsup::sim::changes::CHANGES_FROM;
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

fn load(files: &[(String, String)]) -> Result<Arc<UnitSet>, String> {
    let files: Vec<mcsup::unit::SourceFile> = files
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
    let mut candidates = Vec::new();
    for (name, files) in &scenario.candidates {
        candidates.push((name.clone(), load(files).map_err(|error| format!("units {name}: {error}"))?));
    }
    let (parts, world) = scenario.play(&load(&scenario.files)?, &candidates);
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
    for seed in (0..40).chain(CHANGES_FROM..CHANGES_FROM + 60) {
        let (_, history) = mcsup::sim::history::History::draw(seed);
        let text = history.scenario();
        let scenario = Scenario::parse(&text).unwrap();
        let named = |name: &str| format!("seed {seed}, definitions {name}");
        compare(&scenario.files, &history.set, &named("of the first boot"));
        assert_eq!(scenario.candidates.len(), history.candidates.len(), "seed {seed}");
        for ((name, files), (drawn, set)) in scenario.candidates.iter().zip(&history.candidates) {
            assert_eq!(**name, **drawn, "seed {seed}");
            compare(files, set, &named(name));
        }
    }
}

fn compare(files: &[(String, String)], drawn: &UnitSet, what: &str) {
    let read = load(files).unwrap_or_else(|error| panic!("{what}: {error}\n{files:#?}"));
    let mut plain = UnitSet::clone(&read);
    for (unit, drawn) in plain.units.iter_mut().zip(&drawn.units) {
        unit.place = drawn.place;
        unit.fingerprint = drawn.fingerprint;
        unit.log = drawn.log;
        for (edge, other) in unit.depends_on.iter_mut().zip(&drawn.depends_on) {
            edge.place = other.place;
        }
        let afters = unit.job.iter_mut().flat_map(|job| &mut job.after);
        for (after, other) in afters.zip(drawn.job.iter().flat_map(|job| &job.after)) {
            after.place = other.place;
        }
        if let Some((job, other)) = unit.job.as_mut().zip(drawn.job.as_ref()) {
            job.output.clone_from(&other.output);
            job.timetable.clone_from(&other.timetable);
        }
        assert_eq!(unit, drawn, "{what}");
    }
    assert_eq!(plain, *drawn, "{what}");
}
