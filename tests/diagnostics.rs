//! What people are told about a units directory that is not fit. Each file in `tests/diagnostics`
//! is a directory of files and the exact text that answers it; `MCSUP_BLESS=1` rewrites the answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mcsup::cli::render_diagnostics::Sources;
use mcsup::graph;
use mcsup::unit::SourceFile;
use mcsup::unit::diagnostic::{Diagnostic, LineIndex};
use mcsup::unit::spec::Template;
use proptest::prelude::*;

const MARK: &str = "=== ";
const EXPECTED: &str = "=== expected\n";

/// What one case holds: its files, and the answer as it was blessed.
struct Case {
    path: PathBuf,
    input: String,
    sources: Vec<SourceFile>,
    expected: String,
}

fn cases() -> Vec<Case> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(case).collect()
}

fn case(path: PathBuf) -> Case {
    let text = fs::read_to_string(&path).unwrap();
    let (input, expected) = text.split_once(EXPECTED).unwrap_or((&text, ""));
    let mut sources: Vec<SourceFile> = Vec::new();
    for line in input.split_inclusive('\n') {
        match line.strip_prefix(MARK) {
            Some(name) => sources.push(SourceFile { name: name.trim().into(), bytes: Vec::new() }),
            None => sources.last_mut().unwrap().bytes.extend(unescaped(line)),
        }
    }
    sources.sort_by(|one, two| one.name.cmp(&two.name));
    Case { input: input.into(), sources, expected: expected.into(), path }
}

/// `{x:HEX}` is a byte, `{repeat:N:TEXT}` is many texts: what a text file cannot hold.
fn unescaped(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{x:") {
        let (hex, after) = after.split_once('}').unwrap();
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(hex, 16).unwrap());
        rest = after;
    }
    if let Some((before, after)) = rest.split_once("{repeat:") {
        let (spec, after) = after.split_once('}').unwrap();
        let (count, text) = spec.split_once(':').unwrap();
        bytes.extend_from_slice(before.as_bytes());
        bytes.extend(text.replace("\\n", "\n").repeat(count.parse().unwrap()).into_bytes());
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn told(sources: &[SourceFile]) -> (Vec<Diagnostic>, String) {
    let loaded = graph::load(sources);
    let text = Sources::new(sources, "").text(&loaded.diagnostics, false);
    let has_errors = loaded.diagnostics.iter().any(Diagnostic::is_error);
    assert_eq!(loaded.set.is_none(), has_errors, "a set exists exactly when nothing is wrong");
    (loaded.diagnostics, if text.is_empty() { "nothing to say\n".into() } else { text })
}

#[test]
fn every_mistake_gets_the_words_that_were_agreed_on() {
    let is_bless = std::env::var_os("MCSUP_BLESS").is_some();
    let mut differing = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 35, "only {} cases were found", cases.len());
    for case in cases {
        let (_, text) = told(&case.sources);
        if is_bless {
            fs::write(&case.path, format!("{}{EXPECTED}{text}", case.input)).unwrap();
        } else if text != case.expected {
            differing.push(format!(
                "{}\n--- expected\n{}--- told\n{text}",
                case.path.display(),
                case.expected
            ));
        }
    }
    assert!(differing.is_empty(), "{}\nMCSUP_BLESS=1 rewrites these", differing.join("\n"));
}

#[test]
fn every_place_lies_inside_its_file_and_every_message_is_one_line() {
    for case in cases() {
        for diagnostic in told(&case.sources).0 {
            let places =
                std::iter::once(diagnostic.place).chain(diagnostic.related.iter().map(|(place, _)| *place));
            for place in places {
                let source = &case.sources[usize::try_from(place.file).unwrap()];
                assert!(place.start <= place.end, "{diagnostic:?}");
                assert!(usize::try_from(place.end).unwrap() <= source.bytes.len(), "{diagnostic:?}");
            }
            assert!(!diagnostic.message.contains(['\n', '\u{1b}']), "{diagnostic:?}");
            assert!(
                diagnostic
                    .code
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'0'..=b'9'))
            );
        }
    }
}

#[test]
fn the_json_says_the_same_places_counted_from_one() {
    let sources = [SourceFile {
        name: "web.yaml".into(),
        bytes: "command: [sh]\nlabels: {ä: b}\nrestrat: x\n".into(),
    }];
    let loaded = graph::load(&sources);
    let json = Sources::new(&sources, "units").json(&loaded.diagnostics);
    assert_eq!(
        json,
        serde_json::json!([{
            "severity": "error", "code": "unknown-key", "file": "units/web.yaml",
            "line": 3, "column": 1, "end_line": 3, "end_column": 8,
            "message": "unknown key `restrat`", "help": "did you mean `restart`?", "related": [],
        }])
    );
}

#[test]
fn columns_count_characters_and_skip_a_byte_order_mark() {
    let index = LineIndex::new("\u{FEFF}ä: b\r\nc: ö!\n".as_bytes());
    let at = |offset: u32| (index.position(offset).line, index.position(offset).column);
    assert_eq!(at(3), (1, 1));
    assert_eq!(at(5), (1, 2));
    assert_eq!(at(10), (2, 1));
    assert_eq!(at(15), (2, 5));
    assert_eq!(index.line(1), "ä: b".as_bytes());
}

#[test]
fn a_chain_of_a_thousand_units_has_nothing_wrong() {
    let sources: Vec<SourceFile> = (0..1000)
        .map(|number| SourceFile {
            name: format!("unit-{number:04}.yaml"),
            bytes: format!(
                "command: [sleep, '1000']\ndepends_on: [{}]\nhealth: {{tcp: {}}}\nenvironment: {{A: b}}\n",
                if number == 0 { String::new() } else { format!("unit-{:04}", number - 1) },
                number + 1
            )
            .into_bytes(),
        })
        .collect();
    let loaded = graph::load(&sources);
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(loaded.set.unwrap().units.len(), 1000);
}

/// Each would take very long, were any step of the loader quadratic in the size of a file.
#[test]
fn a_quarter_megabyte_of_any_one_mistake_is_answered() {
    let filled = |head: &str, piece: &dyn Fn(usize) -> String, tail: &str| {
        let mut text = head.to_string();
        let mut number = 0;
        while text.len() < 256 << 10 {
            text.push_str(&piece(number));
            number += 1;
        }
        text + tail
    };
    let texts = [
        filled("command: [sh]\ndepends_on: [", &|number| format!("x{number}, "), "]\n"),
        filled("command: [sh]\ndepends_on: [", &|_| "a, ".into(), "]\n"),
        filled("command: [sh]\n", &|number| format!("restrat{number}: 1\n"), ""),
        filled("command: [sh]\n", &|_| "user: a\n".into(), "\tx"),
        filled("command: [", &|_| "!t ".into(), "]\n"),
        filled("command: [", &|_| "!t a, ".into(), "]\n"),
        filled("command: [", &|_| "*a, ".into(), "]\n"),
        filled("command: [", &|_| "[".into(), "]\n"),
        filled("command: [", &|_| "'a".into(), "]\n"),
        filled("command: ", &|_| "a ".into(), "\"\n"),
        filled(
            "command: [sh]\nenvironment: {",
            &|number| format!("A{number}: '${{A{}}}', ", number + 1),
            "}\n",
        ),
        filled("command: [sh]\ninstances: [", &|number| format!("{number}, "), "]\n"),
        filled("command: [sh]\ndescription: ", &|_| "é: ".into(), "\n"),
        filled("phases: [", &|number| format!("p{number}, "), "]\n"),
        filled("x: &a {", &|number| format!("k{number}: v, "), "}\ny: {<<: [*a, *a, *a]}\n"),
    ];
    for text in texts {
        for name in ["a.yaml", "a@.yaml", "mcsup.yaml"] {
            let sources = [SourceFile { name: name.into(), bytes: text.clone().into_bytes() }];
            assert!(!graph::load(&sources).diagnostics.is_empty(), "{name}: {}", &text[..60]);
        }
    }
}

/// Pieces of YAML and of our language, glued at random: nearer to real mistakes than random bytes.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "command: ",
        "health:",
        "restart: ",
        "depends_on: ",
        "kind: job\n",
        "schedule: ",
        "*/5 * * * *",
        "61 24 L fri#2 é",
        "timezone: ",
        "every: ",
        "after: ",
        "path: ",
        "webhook: ",
        "output: ",
        "require: ",
        "files: ",
        "schema: ",
        "catch_up: ",
        "overlap: ",
        "in/*.csv",
        "{date",
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        "'",
        "\"",
        "|\n",
        ">\n",
        "&a ",
        "*a",
        "<<: ",
        "!t ",
        "#",
        " # x",
        "@",
        "`",
        "%",
        "---\n",
        "...\n",
        "${A}",
        "${",
        "$(",
        "tcp",
        "5s",
        "always",
        "a",
        "é",
        "\u{FEFF}",
        "\0",
        "\u{85}",
        "\u{2028}",
        "~",
        "null",
        "0644",
        "true",
        "?",
        "? ",
        "limits: {nofile: ",
        "environment: {",
        "replicas: 3",
        "\\",
        "\r\n",
        "😀",
    ]);
    prop::collection::vec(fragment, 0..60).prop_map(|fragments| fragments.concat())
}

/// Pieces of CEL, most of them in places where they cannot stand.
fn expressions() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "units",
        "guard",
        "host",
        "status",
        "json",
        "x",
        "true",
        "null",
        "1",
        "1.5",
        "0x1F",
        "1u",
        "9999999999999999999",
        "1e999",
        ".",
        "?.",
        "[",
        "]",
        "[?",
        "(",
        ")",
        "{",
        "}",
        ",",
        ":",
        "?",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        " in ",
        "has(",
        ".all(",
        ".exists(x, ",
        ".map(",
        "size(",
        "disk(",
        ".matches(",
        "'a'",
        "\"b\"",
        "'''",
        "r'\\",
        "b'\\xff'",
        "'\\u12'",
        "'\\U00110000'",
        "\\",
        " ",
        "ä",
        "😀",
        "`",
        "$",
        "//",
        ";",
        "@",
        "#",
        "as",
        "package",
        "_",
        "__x",
    ]);
    prop::collection::vec(fragment, 0..14).prop_map(|fragments| fragments.concat())
}

fn loads_without_a_panic(bytes: &[u8]) {
    for name in ["a.yaml", "mcsup.yaml", "t@.yaml"] {
        let sources = [SourceFile { name: name.into(), bytes: bytes.to_vec() }];
        let (diagnostics, _) = told(&sources);
        Sources::new(&sources, "").json(&diagnostics);
    }
}

fn random(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(random(400))]

    #[test]
    fn no_bytes_at_all_panic_the_loader(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        loads_without_a_panic(&bytes);
    }

    #[test]
    fn no_mixture_of_yaml_panics_the_loader(text in fragments()) {
        loads_without_a_panic(text.as_bytes());
    }

    #[test]
    fn no_expression_and_no_pattern_panics_the_loader(text in expressions()) {
        let quoted = text.replace('\'', "''");
        for file in [
            format!("kind: gate\ncheck: '{quoted}'\n"),
            format!("command: [sh]\nhealth: {{http: {{port: 1, that: '{quoted}'}}}}\n"),
            format!("command: [sh]\nready: {{log: '{quoted}'}}\n"),
        ] {
            loads_without_a_panic(file.as_bytes());
        }
    }

    #[test]
    fn a_broken_byte_in_a_good_file_never_panics_the_loader(at in 0_usize..4000, byte in any::<u8>()) {
        let mut bytes = include_bytes!("diagnostics/nothing_is_wrong_with_every_key.txt").to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        loads_without_a_panic(&bytes);
    }
}

/// Ordinary YAML as another reader understands it: in the environment any text may stand.
#[test]
fn ordinary_texts_are_read_as_another_yaml_reader_reads_them() {
    let texts = prop::collection::btree_map("[A-Z][A-Z0-9_]{0,8}", "[ -~äß€]{0,40}", 0..8);
    proptest!(random(300), |(texts in texts)| {
        // `${` means something to us alone.
        let texts: BTreeMap<String, String> =
            texts.into_iter().map(|(key, text)| (key, text.replace('$', "S"))).collect();
        let whole = BTreeMap::from([
            ("command", serde_yaml::to_value(["true"]).unwrap()),
            ("environment", serde_yaml::to_value(&texts).unwrap()),
        ]);
        let written = serde_yaml::to_string(&whole).unwrap();
        let sources = [SourceFile { name: "a.yaml".into(), bytes: written.clone().into_bytes() }];
        let loaded = graph::load(&sources);
        prop_assert_eq!(&loaded.diagnostics, &vec![], "{}", written);
        let read: BTreeMap<String, String> = loaded.set.unwrap().units[0]
            .environment
            .iter()
            .map(|(key, value)| match value {
                Template::Plain(text) => (key.to_string(), text.to_string()),
                Template::Pieces(pieces) => panic!("{pieces:?}"),
            })
            .collect();
        prop_assert_eq!(read, texts, "{}", written);
    });
}
