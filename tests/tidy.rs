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
    ("proc", &[]),
    ("cgroup", &[]),
    ("init", &[]),
    ("keeper", &["cgroup", "init", "proc"]),
    ("aside", &[]),
    ("expr", &["unit"]),
    ("probe", &["aside", "engine", "expr", "unit"]),
    ("output", &["aside", "engine", "expr", "unit"]),
    ("generation", &["aside", "unit"]),
    ("guard", &["aside", "engine", "unit"]),
    ("incident", &["aside", "engine", "proc", "unit"]),
    ("history", &["aside", "engine", "unit"]),
    ("alert", &["aside", "engine", "unit"]),
    ("log", &["engine", "unit"]),
    (
        "supervisor",
        &[
            "aside",
            "cgroup",
            "proc",
            "expr",
            "probe",
            "output",
            "generation",
            "guard",
            "incident",
            "history",
            "alert",
            "log",
            "keeper",
            "engine",
            "graph",
            "unit",
        ],
    ),
    ("doctor", &["supervisor"]),
    ("api", &["aside", "output", "proc", "supervisor", "log", "engine", "graph", "unit"]),
    (
        "cli",
        &[
            "api",
            "doctor",
            "cgroup",
            "supervisor",
            "keeper",
            "init",
            "probe",
            "output",
            "log",
            "sim",
            "engine",
            "graph",
            "unit",
        ],
    ),
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
/// Never in the ring that must not fall, nor in what it imports.
const BANNED_IN_KEEPER: &[&str] = &["tokio", "serde", "crate::engine", "crate::unit"];

/// Longer files hide their subject. Tests of a part may be long lists of cases.
const MOST_LINES: usize = 700;

struct Source {
    path: String,
    text: String,
    /// The text without what is no code of the program, line by line where it was.
    code: String,
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let code = without_tests(&plain(&text));
        Self { path, text, code }
    }

    /// `unit` of `unit/yaml/mod.rs`; `None` for `lib.rs` and `main.rs`.
    fn part(&self) -> Option<&str> {
        self.path.split_once('/').map(|(part, _)| part)
    }

    fn forbidden_imports(&self) -> Vec<String> {
        let Some(part) = self.part() else { return Vec::new() };
        imported(&self.code)
            .into_iter()
            .filter(|(_, target)| unlisted_edge(part, target))
            .map(|(line, target)| format!("src/{}:{line}: {part} imports {target}", self.path))
            .collect()
    }

    fn banned(&self, words: &[&str]) -> Vec<String> {
        let lines = (1..).zip(self.code.lines());
        let found = lines.flat_map(|(number, line)| {
            let named = words.iter().filter(move |word| names(line, word));
            named.map(move |word| format!("src/{}:{number}: {word}", self.path))
        });
        found.collect()
    }
}

/// Blanks comments, texts and characters: what stands in them is not code. Line breaks stay.
fn plain(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_name = code.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => text_length(rest),
            'r' | 'b' | 'c' if !is_name => raw_text_length(rest),
            '\'' => character_length(rest),
            _ => 0,
        };
        let taken = if skipped == 0 { first.len_utf8() } else { skipped };
        let (piece, after) = rest.split_at(taken);
        if skipped == 0 {
            code.push_str(piece);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    code
}

/// Of `"…"`, both quotes included.
fn text_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    rest.len()
}

/// Of `r"…"`, `br#"…"#` and the like; zero where none begins.
fn raw_text_length(rest: &str) -> usize {
    let Some(raw) = rest.trim_start_matches(['b', 'c']).strip_prefix('r') else { return 0 };
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if !raw[hashes..].starts_with('"') {
        return 0;
    }
    let start = rest.len() - raw.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len())
}

/// Of `'x'` or `'\n'`; zero for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut inside = rest.char_indices().skip(1);
    match (inside.next(), inside.next()) {
        (Some((_, '\\')), Some(_)) => inside.find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Blanks every item under `#[cfg(test)]`, wherever it stands.
fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, after)) = rest.split_once(TEST_ONLY) {
        kept.push_str(before);
        let (item, next) = after.split_at(item_length(after));
        kept.extend(item.chars().filter(|c| *c == '\n'));
        rest = next;
    }
    kept + rest
}

const TEST_ONLY: &str = "#[cfg(test)]";

/// To the `;` or the closing brace that ends the item at the beginning of plain code.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_over = depth == 0 && (c == ';' || (c == '}' && !code[at + 1..].starts_with(';')));
        if is_over {
            return at + 1;
        }
    }
    code.len()
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    rust_files(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        Source::new(name, fs::read_to_string(&path).unwrap())
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

/// The parts that plain code names by `crate::`, grouped imports of any length included, with their lines.
fn imported(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, root) in code.match_indices("crate::") {
        if code[..at].ends_with('$') {
            continue;
        }
        let rest = at + root.len();
        for start in heads(code, rest) {
            let length = code[start..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let part = &code[start..length.map_or(code.len(), |length| start + length)];
            found.push((code[..start].lines().count(), part));
        }
    }
    found
}

/// Where the paths begin that follow `crate::`: one, or each of a group.
fn heads(code: &str, rest: usize) -> Vec<usize> {
    let name_from = |at: usize| at + code[at..].find(|c: char| !c.is_whitespace()).unwrap_or(0);
    if !code[rest..].starts_with('{') {
        return vec![rest];
    }
    let mut depth = 0_usize;
    let mut heads = Vec::new();
    for (at, c) in code[rest..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && (c == ',' || (c == '{' && at == 0)) {
            heads.push(name_from(rest + at + 1));
        }
    }
    heads.retain(|at| !code[*at..].starts_with('}'));
    heads
}

fn unlisted_edge(part: &str, imported: &str) -> bool {
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == part) else { return true };
    imported != part && !allowed.contains(&imported)
}

#[test]
fn no_part_imports_what_it_may_not() {
    let found: Vec<String> = sources().iter().flat_map(Source::forbidden_imports).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn source(text: &str) -> Source {
    Source::new("engine/planted.rs".to_owned(), text.to_owned())
}

#[test]
fn an_edge_that_is_not_listed_is_seen_wherever_it_stands() {
    let planted = [
        "let x = crate::keeper::main();",
        "use crate::{unit::spec, keeper};",
        "use crate::{\n    graph::{Graph, keeper},\n    keeper::link,\n};",
        "#[cfg(test)]\nmod tests {\n    fn f() {}\n}\nuse crate::keeper::link;",
        "#[cfg(test)]\nuse std::{\n    fs,\n};\nuse crate::keeper::link;",
        "#[cfg(test)]\nfn f(of: [u8; 2]) -> u8 { 1 }\nuse crate::keeper::link;",
        "const QUOTE: char = '\"'; use crate::keeper::link;",
        "const TEXT: &str = \"a \\\" b\"; use crate::keeper::link;",
        "fn f<'a>(x: &'a str) {} use crate::keeper::link;",
    ];
    for text in planted {
        let found = source(text).forbidden_imports();
        assert_eq!(found.len(), 1, "{found:?} in {text}");
        assert!(found[0].ends_with("engine imports keeper"), "{found:?} in {text}");
    }
    let grouped = source(planted[2]).forbidden_imports();
    assert_eq!(grouped, ["src/engine/planted.rs:3: engine imports keeper"]);
}

#[test]
fn what_is_no_code_of_the_program_imports_nothing() {
    let harmless = [
        "use crate::engine::{id, time};",
        "use crate::{graph::Graph, unit::{name, spec}};",
        "$crate::keeper::link",
        "// crate::keeper",
        "/* crate::keeper\n crate::keeper */",
        "let text = \"crate::keeper\";",
        "let text = r#\"crate::keeper \" crate::keeper\"#;",
        "#[cfg(test)]\nmod tests {\n    use crate::keeper::link;\n}",
        "#[cfg(test)]\nuse crate::{\n    keeper,\n};",
    ];
    for text in harmless {
        assert_eq!(source(text).forbidden_imports(), [""; 0], "in {text}");
    }
    assert!(unlisted_edge("new", "unit"), "a part without a line may import nothing");
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
    let found = banned(&["keeper", "init", "proc"], BANNED_IN_KEEPER);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn banned(parts: &[&str], words: &[&str]) -> Vec<String> {
    let sources = sources();
    let of_parts = sources.iter().filter(|source| source.part().is_some_and(|part| parts.contains(&part)));
    of_parts.flat_map(|source| source.banned(words)).collect()
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
fn a_banned_word_after_the_tests_of_a_file_is_seen() {
    let after = source("#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n\nfn f() -> f64 { 1.0 }");
    assert_eq!(after.banned(BANNED_WHERE_PURE), ["src/engine/planted.rs:6: f64"]);
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
