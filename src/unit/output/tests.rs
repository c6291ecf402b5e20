//! What `output` takes, what it refuses and where.

#![expect(clippy::indexing_slicing, reason = "what is not there fails the test")]

use serde_json::json;

use super::*;
use crate::unit::diagnostic::LineIndex;
use crate::unit::spec::output::{Count, Schema, Sought};
use crate::unit::spec::probe::{Expression, Pattern};

fn read(text: &str) -> (Option<OutputSpec>, Vec<String>) {
    let source = SourceFile { name: "a.yaml".into(), bytes: text.into() };
    let (spec, diagnostics) = of_unit(&source);
    let lines = LineIndex::new(&source.bytes);
    let told = diagnostics.iter().map(|diagnostic| {
        let at = lines.position(diagnostic.place.start);
        let help = diagnostic.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{}:{} {}{help}", at.line, at.column, diagnostic.message)
    });
    (spec, told.collect())
}

fn told(text: &str) -> String {
    let (spec, told) = read(text);
    assert_eq!(spec, None, "{text}");
    told.join("\n")
}

fn requirement(that: &str, otherwise: Option<&str>) -> Requirement {
    Requirement { that: Expression(that.into()), otherwise: otherwise.map(Into::into) }
}

#[test]
fn everything_that_can_be_said_of_an_output_is_read() {
    let (spec, told) = read(
        "
command: [agent]
output:
  source: stderr
  format: json
  schema: trends.schema.json
  min_size: 0
  max_size: 2M
  contains: [wins, {text: TODO, at_most: 0, else: a draft}]
  matches: {pattern: '^#', at_least: 2}
  require:
    - size(output.trends) >= 3
    - {that: units.redis.state == 'ready', else: redis is down}
  files:
    path: out/{date}/{run.id}-*.csv
    written: any-time
    format: csv
    schema: {type: array, minItems: 2, items: {required: ['1', no]}}
  keep: {runs: 3, size: 1M}
",
    );
    assert_eq!(told, [""; 0]);
    let schema = json!({"type": "array", "minItems": 2, "items": {"required": ["1", "no"]}});
    let count = |what, at_least, at_most, otherwise: Option<&str>| Count {
        what,
        at_least,
        at_most,
        otherwise: otherwise.map(Into::into),
    };
    let usual = Content {
        format: Format::Text,
        min_size_bytes: 1,
        max_size_bytes: 64 << 20,
        schema: None,
        counts: Vec::new(),
        require: Vec::new(),
    };
    let stream = Content {
        format: Format::Json,
        min_size_bytes: 0,
        max_size_bytes: 2 << 20,
        schema: Some(Schema::File("trends.schema.json".into())),
        counts: vec![
            count(Sought::Text("wins".into()), 1, None, None),
            count(Sought::Text("TODO".into()), 0, Some(0), Some("a draft")),
            count(Sought::Pattern(Pattern("^#".into())), 2, None, None),
        ],
        require: vec![
            requirement("size(output.trends) >= 3", None),
            requirement("units.redis.state == 'ready'", Some("redis is down")),
        ],
    };
    let file = FileSpec {
        path: "out/{date}/{run.id}-*.csv".into(),
        written: Written::AnyTime,
        content: Content { format: Format::Csv, schema: Some(Schema::Inline(schema)), ..usual },
    };
    let expected = OutputSpec {
        source: Source::Stderr,
        stream: Some(stream),
        files: vec![file],
        keep: Keep { runs: 3, size_bytes: 1 << 20 },
    };
    assert_eq!(spec, Some(expected));
}

#[test]
fn an_output_of_files_alone_judges_no_stream() {
    let (spec, _) = read("output: {files: [{path: a.json}]}");
    let spec = spec.unwrap();
    assert_eq!(spec.stream, None);
    assert_eq!(spec.files[0].written, Written::ThisRun);
    assert_eq!(spec.keep, Keep { runs: 5, size_bytes: 10 << 20 });
}

#[test]
fn a_slip_of_the_pen_is_shown_where_it_stands() {
    for (text, expected) in [
        ("output: {formt: json}", "1:10 unknown key `formt`; did you mean `format`?"),
        ("output: {format: jsn}", "1:18 `format` takes one of"),
        ("output: {}", "1:9 this output proves nothing"),
        ("output: {source: stderr}", "1:9 this output proves nothing"),
        (
            "output:\n  require:\n    - size(ouput.trends) >= 3",
            "3:12 there is no name `ouput` in this expression; did you mean `output`?",
        ),
        (
            "output: {require: {that: \"1 < durration\", els: x}}",
            "1:31 there is no name `durration` in this expression; did you mean `duration`?",
        ),
        ("output: {require: {that: \"true\", els: x}}", "1:34 unknown key `els`; did you mean `else`?"),
        ("output: {require: {else: x}}", "1:19 `that` is missing in `require`"),
        ("output: {require: size(output)}", "must give true or false"),
        ("output: {require: now.dat == '2026-11-20'}", "1:23 there is no field `dat`"),
        ("output: {require: \"files[0].sise > 1\"}", "did you mean `size`?"),
        ("output: {require: \"now.weekday == 'fryday'\"}", "did you mean `friday`?"),
        ("output: {require: []}", "1:19 `require` lists nothing"),
        ("output: {matches: 'a('}", "1:21 not a regular expression: unclosed group"),
        ("output: {contains: {text: a, at_least: 3, at_most: 2}}", "1:40 nothing occurs so often"),
        ("output: {min_size: 2K, max_size: 1K}", "1:20 nothing is as large as this"),
        ("output: {max_size: 65M}", "1:20 no more than 64M"),
        ("output: {schema: a.json}", "1:10 a schema says nothing about text"),
        ("output: {format: json, schema: [a]}", "1:32 `schema` takes a JSON Schema"),
        ("output: {files: {path: 'a-{dat}.txt'}}", "nothing is put in for `{dat}`; did you mean `{date}`?"),
        ("output: {files: {path: 'a/**/b'}}", "1:24 `**` is not looked for"),
        ("output: {files: {path: out/}}", "1:24 this is a directory"),
        ("output: {files: {format: json}}", "1:17 `path` is missing"),
        ("output: {files: {path: a, written: today}}", "1:36 `written` takes one of"),
        ("output: json", "1:9 `output` takes a mapping, found `json`"),
        ("output: {format: json, keep: {runs: -1}}", "1:37 `runs` takes a whole number from 0 to 10000"),
    ] {
        let told = told(text);
        assert!(told.contains(expected), "{text}: {told}");
    }
}

#[test]
fn units_that_expressions_speak_of_are_known_with_their_places() {
    let text =
        b"output: {require: units.redis.state == 'ready', files: {path: a, require: \"units['b-c'].ready\"}}";
    let mut diagnostics = Vec::new();
    let mut reader = Reader::default();
    let root = yaml::parse(0, text, &mut diagnostics).unwrap();
    let entries = reader.entries(&root, "a mapping").unwrap();
    let output = At::<OutputFile>::entry(&entries[0], &mut reader).unwrap().value;
    let units: Vec<(&str, u32)> = output.units().iter().map(|unit| (&*unit.name, unit.place.start)).collect();
    assert_eq!(units, [("redis", 24), ("b-c", 81)]);
}

#[test]
fn the_schema_of_an_output_is_closed_and_described() {
    let schema = OutputFile::schema();
    assert_eq!(schema["additionalProperties"], json!(false));
    let require = &schema["properties"]["require"]["anyOf"][0]["anyOf"][1];
    assert!(require["properties"]["else"].is_object(), "{require}");
}
