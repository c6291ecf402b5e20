//! Style that can be counted. A new edge between parts of the program is a decision: it is made
//! here, where a reviewer sees it.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each part with the parts it may import besides itself. Arrows point one way; `docs` draws them.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("unit", &[]),
    ("graph", &["unit"]),
    ("engine", &["graph", "unit"]),
    ("sim", &["engine", "graph", "unit"]),
    ("keeper", &[]),
    ("aside", &[]),
    ("expr", &["unit"]),
    ("probe", &["aside", "engine", "expr", "unit"]),
    ("log", &["engine", "unit"]),
    ("supervisor", &["aside", "expr", "probe", "log", "keeper", "engine", "graph", "unit"]),
    ("api", &["aside", "supervisor", "log", "engine", "graph", "unit"]),
    ("cli", &["api", "supervisor", "keeper", "probe", "log", "sim", "engine", "graph", "unit"]),
];

/// Never in the deciding parts: they run the same in a test, in a simulation and for real.
const BANNED_WHERE_PURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::thread",
    "std::os",
    "Instant",
    "SystemTime",
    "tokio",
    "libc::",
    "rustix",
    "nix::",
    "tracing",
    "HashMap",
    "HashSet",
    "async fn",
    ".await",
    "f32",
    "f64",
    "serde::",
];
const PURE: &[&str] = &["unit", "graph", "engine", "sim"];
/// Never in the ring that must not fall.
const BANNED_IN_KEEPER: &[&str] = &["tokio", "serde", "crate::engine", "crate::unit"];

/// Longer files hide their subject. Tests of a part may be long lists of cases.
const MOST_LINES: usize = 700;

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// `unit` of `unit/yaml/mod.rs`; `None` for `lib.rs` and `main.rs`.
    fn part(&self) -> Option<&str> {
        self.path.split_once('/').map(|(part, _)| part)
    }

    /// Lines of code with their numbers: no comments, and nothing of the tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .take_while(|line| line.trim() != "#[cfg(test)]")
            .enumerate()
            .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or(line)))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    rust_files(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(&root).unwrap().to_str().unwrap().into(),
    };
    let sources: Vec<Source> = paths.into_iter().map(read).collect();
    assert!(sources.len() > 20, "only {} sources were found", sources.len());
    sources
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The parts that a piece of code names by `crate::`, grouped imports included.
fn imported(line: &str) -> Vec<&str> {
    line.match_indices("crate::")
        .filter(|(at, _)| !line[..*at].ends_with('$'))
        .flat_map(|(at, found)| {
            let rest = &line[at + found.len()..];
            match rest.strip_prefix('{') {
                Some(group) => group.split(',').collect::<Vec<_>>(),
                None => vec![rest],
            }
        })
        .filter_map(|path| path.trim().split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
        .filter(|part| !part.is_empty())
        .collect()
}

fn unlisted_edge(part: &str, imported: &str) -> bool {
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == part) else { return true };
    imported != part && !allowed.contains(&imported)
}

#[test]
fn no_part_imports_what_it_may_not() {
    let mut found = Vec::new();
    for source in sources() {
        let Some(part) = source.part() else { continue };
        for (number, line) in source.code() {
            for target in imported(line).into_iter().filter(|target| unlisted_edge(part, target)) {
                found.push(format!("src/{}:{number}: {part} imports {target}", source.path));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_edge_that_is_not_listed_is_seen() {
    assert_eq!(imported("use crate::engine::{id, time};"), ["engine"]);
    assert_eq!(
        imported("use crate::{unit::spec, graph};"),
        ["unit", "graph}"].map(|part| part.trim_end_matches('}'))
    );
    assert_eq!(imported("let x = crate::keeper::main();"), ["keeper"]);
    assert_eq!(imported("$crate::unit::read::mapping"), [""; 0]);
    assert!(unlisted_edge("unit", "engine"));
    assert!(unlisted_edge("graph", "cli"));
    assert!(unlisted_edge("new", "unit"));
    assert!(!unlisted_edge("engine", "graph"));
}

#[test]
fn every_part_has_its_line_in_the_table() {
    let parts: Vec<String> = sources().iter().filter_map(|source| source.part().map(Into::into)).collect();
    for part in parts {
        assert!(MAY_IMPORT.iter().any(|(name, _)| **name == *part), "src/{part} is not in MAY_IMPORT");
    }
}

#[test]
fn the_deciding_parts_touch_no_host() {
    let found = banned(PURE, BANNED_WHERE_PURE);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_keeper_stays_small_and_plain() {
    let found = banned(&["keeper"], BANNED_IN_KEEPER);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn banned(parts: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.part().is_some_and(|part| parts.contains(&part))) {
        for (number, line) in source.code() {
            // What stands in a text is not code.
            let code: String = line.split('"').step_by(2).collect();
            for word in words.iter().filter(|word| names(&code, word)) {
                found.push(format!("src/{}:{number}: {word}", source.path));
            }
        }
    }
    found
}

/// `word` stands in `code` as a word of its own, not inside a longer one.
fn names(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(is_part);
        let after = code[at + word.len()..].chars().next().is_some_and(is_part);
        let is_inside = (before && word.starts_with(is_part)) || (after && word.ends_with(is_part));
        !is_inside
    })
}

#[test]
fn a_banned_word_is_seen_only_as_a_word() {
    assert!(names("use std::fs;", "std::fs"));
    assert!(names("x: HashMap<u8, u8>", "HashMap"));
    assert!(names("worker.await?", ".await"));
    assert!(!names("let tokios = 1;", "tokio"));
    assert!(!names("MyHashMap", "HashMap"));
}

#[test]
fn no_source_is_longer_than_a_person_reads() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|source| source.text.lines().count() > MOST_LINES)
        .map(|source| format!("src/{}: {} lines", source.path, source.text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn every_source_begins_by_saying_what_it_is() {
    let silent: Vec<String> = sources()
        .into_iter()
        .filter(|source| !source.text.starts_with("//!"))
        .map(|source| format!("src/{}", source.path))
        .collect();
    assert!(silent.is_empty(), "{}", silent.join("\n"));
}
