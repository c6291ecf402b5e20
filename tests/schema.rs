//! The schemas that editors use: fresh, and of one mind with the reader. `MCSUP_BLESS=1` rewrites them.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use mcsup::graph;
use mcsup::unit::{SourceFile, schema};
use serde_json::Value;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

#[test]
fn the_schemas_in_the_repository_are_those_of_the_types() {
    for (name, schema) in [("unit", schema::unit()), ("mcsup", schema::settings())] {
        let path = root().join(format!("schemas/{name}.schema.json"));
        let fresh = format!("{schema:#}\n");
        if std::env::var_os("MCSUP_BLESS").is_some() {
            fs::create_dir_all(root().join("schemas")).unwrap();
            fs::write(&path, &fresh).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == fresh, "{} is stale: MCSUP_BLESS=1 rewrites it", path.display());
    }
}

#[test]
fn every_unit_in_the_repository_fits_its_schema() {
    let mut files = Vec::new();
    for dir in ["examples", "units"] {
        yaml_files(&root().join(dir), &mut files);
    }
    let has_examples = root().join("examples").is_dir();
    assert!(!has_examples || !files.is_empty(), "the examples hold no unit");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(problems(&path, &text), [""; 0], "{}", path.display());
    }
}

#[test]
fn a_directory_with_every_key_fits_the_schemas_and_the_reader() {
    let sources = every_key();
    assert_eq!(graph::load(&sources).diagnostics, []);
    for source in &sources {
        let text = String::from_utf8(source.bytes.clone()).unwrap();
        assert_eq!(problems(Path::new(&source.name), &text), [""; 0], "{}", source.name);
    }
    let all: String = sources.iter().map(|source| String::from_utf8(source.bytes.clone()).unwrap()).collect();
    let known = schema::unit()["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(known.len() >= 29, "{known:?}");
    for key in known {
        assert!(all.contains(&format!("{key}:")), "no unit of the case shows `{key}`");
    }
}

#[test]
fn what_the_reader_refuses_by_its_form_the_schema_refuses_too() {
    for text in [
        "description: no command\n",
        "command: [sh]\nrestrat: always\n",
        "command: []\n",
        "command: [sh]\nenabled: yes\n",
        "kind: job\n",
        "kind: job\ncommand: [x]\nschedule: []\n",
        "kind: job\ncommand: [x]\nevery: 5\n",
        "kind: job\ncommand: [x]\noverlap: {allow: 1}\n",
        "kind: job\ncommand: [x]\ncatch_up: {all: 0}\n",
        "kind: job\ncommand: [x]\nretries: 101\n",
        "kind: job\ncommand: [x]\nweight: 0\n",
        "kind: job\ncommand: [x]\nafter: {a: done}\n",
        "kind: job\ncommand: [x]\npath: {debounce: 1s}\n",
        "kind: job\ncommand: [x]\nwebhook: {per_minute: 60}\n",
        "kind: job\ncommand: [x]\noutput: {formt: json}\n",
        "command: [sh]\nreplicas: 0\n",
        "command: [sh]\nhealth: {tcp: 70000}\n",
        "command: [sh]\nhealth: {tcp: 1, intervall: 5s}\n",
        "command: [sh]\nstart_timeout: 5\n",
        "command: [sh]\nstart_timeout: soon\n",
        "command: [sh]\nlog: {max_size: 10MB}\n",
        "command: [sh]\nrestart: sometimes\n",
        "command: [sh]\nrestart: {limit: {starts: 3}}\n",
        "command: [sh]\ndepends_on: {a: ready}\n",
        "command: [sh]\nlimits: {nofiles: 1}\n",
        "command: [sh]\nenvironment: [A=b]\n",
        "- command: sh\n",
        "kind: gate\n",
        "kind: task\n",
        "kind: gate\ncheck: []\n",
        "kind: external\nadapter: podman\nhealth: {tcp: 1}\n",
        "command: [sh]\nhealth: {tcp: 1, retries: 65}\n",
        "command: [sh]\nhealth: {http: {port: 80, status: 2x}}\n",
        "command: [sh]\nhealth: {redis: {role: slave}}\n",
        "command: [sh]\nhealth: {unix: a}\n",
        "command: [sh]\nready: {fd: 2}\n",
        "command: [sh]\nready: soon\n",
        "command: [sh]\nlisten: {lazy: true}\n",
        "command: [sh]\nlisten: []\n",
        "command: [sh]\nrecover: [{exce: [sh]}]\n",
        "command: [sh]\nrecover: reload\n",
        "command: [sh]\nslo: 99.95\n",
        "command: [sh]\nwatchdog: 30\n",
    ] {
        let sources = [SourceFile { name: "a.yaml".into(), bytes: text.into() }];
        assert!(graph::load(&sources).set.is_none(), "the reader takes {text}");
        assert_ne!(problems(Path::new("a.yaml"), text), [""; 0], "the schema takes {text}");
    }
}

#[test]
fn every_key_is_described_for_the_person_who_completes_it() {
    for schema in [schema::unit(), schema::settings()] {
        for (key, schema) in schema["properties"].as_object().unwrap() {
            let text = schema["description"].as_str().unwrap_or_default();
            assert!(text.ends_with(['.', ')']) && text.len() > 10, "{key}: {text:?}");
        }
    }
}

/// The files of the golden case that shows every key.
fn every_key() -> Vec<SourceFile> {
    let text = include_str!("diagnostics/nothing_is_wrong_with_every_key.txt");
    let (input, _) = text.split_once("=== expected\n").unwrap();
    let mut sources: Vec<SourceFile> = Vec::new();
    for line in input.split_inclusive('\n') {
        match line.strip_prefix("=== ") {
            Some(name) => sources.push(SourceFile { name: name.trim().into(), bytes: Vec::new() }),
            None => sources.last_mut().unwrap().bytes.extend_from_slice(line.as_bytes()),
        }
    }
    sources
}

fn problems(path: &Path, text: &str) -> Vec<String> {
    let is_settings = path.file_name().is_some_and(|name| name == "mcsup.yaml");
    let schema = if is_settings { schema::settings() } else { schema::unit() };
    let validator: Validator = jsonschema::validator_for(&schema).unwrap();
    let instance: Value = serde_yaml::from_str(text).unwrap();
    validator.iter_errors(&instance).map(|error| error.to_string()).collect()
}

fn yaml_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}
