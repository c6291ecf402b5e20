//! `mcsup output check`: a validator tried on a file, nothing run.

use std::process::{Command, Output, Stdio};

use super::MCSUP;
use super::files::Dir;

const UNIT: &str = "
command: [agent]
output:
  format: json
  schema: trends.schema.json
  require:
    - {that: size(output.trends) >= 3, else: fewer than three trends}
    - {that: units.redis.state == 'ready', else: redis is down}
  files: [{path: 'out/calendar-{date}.csv', format: csv}]
";

#[expect(clippy::disallowed_methods, reason = "a command is a process of its own")]
fn check(dir: &Dir, words: &[&str]) -> Output {
    let mut command = Command::new(MCSUP);
    command.env_remove("MCSUP_HOME").env("TZ", "UTC").stdin(Stdio::null()).current_dir(&dir.0);
    command.arg("--home").arg(&dir.0).args(["output", "check"]).args(words).output().unwrap()
}

#[track_caller]
fn assert_said(output: &Output, status: i32, expected: &str) {
    let both = String::from_utf8_lossy(&[&*output.stdout, &*output.stderr].concat()).into_owned();
    assert_eq!((both.as_str(), output.status.code()), (expected, Some(status)));
}

fn dir(name: &str) -> Dir {
    let dir = Dir::new(name);
    dir.write("units/trends.yaml", UNIT);
    dir.write("units/trends.schema.json", r#"{"required": ["trends"]}"#);
    dir
}

#[test]
fn each_requirement_is_ticked_or_crossed_with_what_was_found() {
    let dir = dir("ticked");
    dir.write("good.json", r#"{"trends": [1, 2, 3]}"#);
    let units =
        "- units.redis.state == 'ready'\n    it asks for `units`, which only a running supervisor knows\n";
    assert_said(
        &check(&dir, &["trends", "good.json"]),
        0,
        &format!(
            "✓ min_size: 1 byte\n✓ format: json\n✓ schema\n✓ size(output.trends) >= 3\n{units}\npassed\n"
        ),
    );
    dir.write("bad.json", r#"{"trends": [1, 2]}"#);
    assert_said(
        &check(&dir, &["units/trends.yaml", "bad.json"]),
        1,
        &format!(
            "✓ min_size: 1 byte\n✓ format: json\n✓ schema\n✗ size(output.trends) >= 3\n    \
             fewer than three trends: 2 trends, wanted >= 3  [/trends]\n{units}\n\
             rejected: fewer than three trends: 2 trends, wanted >= 3\n"
        ),
    );
    dir.write("cut.json", r#"{"trends": [1, "#);
    assert_said(
        &check(&dir, &["trends", "cut.json"]),
        1,
        "✓ min_size: 1 byte\n✗ format: json\n    it is not JSON: it ends where a value belongs, at line 1, column 15\n\
         - schema\n- size(output.trends) >= 3\n- units.redis.state == 'ready'\n\n\
         rejected: it is not JSON: it ends where a value belongs, at line 1, column 15\n",
    );
}

#[test]
fn json_has_the_verdict_and_every_point() {
    let dir = dir("json");
    dir.write("bad.json", r#"{"trends": [1, 2]}"#);
    let output = check(&dir, &["trends", "bad.json", "--json"]);
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said["verdict"]["is"], "rejected");
    let point = &said["points"][3];
    assert_eq!(
        *point,
        serde_json::json!({
            "requirement": "size(output.trends) >= 3", "standing": "unmet", "else": "fewer than three trends",
            "found": "2 trends, wanted >= 3", "path": "/trends",
        })
    );
}

#[test]
fn a_file_that_the_spec_names_is_judged_as_that_file() {
    let dir = dir("named");
    dir.write("calendar-2026-11-20.csv", "date,post\n2026-11-21\n");
    let output = check(&dir, &["trends", "calendar-2026-11-20.csv"]);
    assert_said(
        &output,
        1,
        "✓ min_size: 1 byte\n✗ format: csv\n    \
         calendar-2026-11-20.csv: it is not CSV: line 2 has 1 field, and the header 2\n\n\
         rejected: calendar-2026-11-20.csv: it is not CSV: line 2 has 1 field, and the header 2\n",
    );
}

#[test]
fn previous_is_whatever_is_given_for_it() {
    let dir = Dir::new("previous");
    dir.write("m.yaml", "output: {require: {that: size(text) > size(previous), else: nothing new}}");
    dir.write("now", "abc");
    dir.write("before", "abc");
    let output = check(&dir, &["m.yaml", "now", "--previous", "before"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("rejected: nothing new"), "{output:?}");
}

#[test]
fn what_cannot_be_tried_is_told_with_its_place() {
    let dir = dir("mistakes");
    dir.write("f", "x");
    dir.write("typo.yaml", "output:\n  require: size(ouput) > 1\n");
    let output = check(&dir, &["typo.yaml", "f"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("typo.yaml:2:17") && said.contains("did you mean `output`?"), "{said}");
    dir.write("none.yaml", "command: [sh]\n");
    assert_said(&check(&dir, &["none.yaml", "f"]), 1, "error: none.yaml has no `output`\n");
    dir.write("schema.yaml", "output: {format: json, schema: gone.json}\n");
    assert_said(
        &check(&dir, &["schema.yaml", "f"]),
        1,
        "error: cannot read the schema gone.json: No such file or directory (os error 2)\n",
    );
    dir.write("broken.json", r#"{"type": "objekt"}"#);
    dir.write("schema.yaml", "output: {format: json, schema: broken.json}\n");
    let output = check(&dir, &["schema.yaml", "f"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("the schema is not one"), "{output:?}");
    assert_eq!(check(&dir, &["nobody", "f"]).status.code(), Some(1));
    assert_eq!(check(&dir, &["trends", "gone"]).status.code(), Some(1));
    assert_eq!(check(&dir, &["trends", "f", "--stderr"]).status.code(), Some(2));
    assert_eq!(check(&dir, &["trends"]).status.code(), Some(2));
}

#[test]
fn the_page_on_outputs_shows_what_is_read() {
    let page = include_str!("../../docs/OUTPUT.md");
    let (_, example) = page.split_once("<!-- output -->\n```yaml\n").unwrap();
    let (example, _) = example.split_once("```\n").unwrap();
    let dir = Dir::new("page");
    dir.write("trends.yaml", example);
    dir.write("trends.schema.json", "{}");
    let good = r#"{"trends": [{"source": "TikTok", "score": 1}, {"source": "YT", "score": 2}, {"source": "X", "score": 3}]}"#;
    dir.write("good.json", good);
    let output = check(&dir, &["trends.yaml", "good.json"]);
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("\npassed\n"), "{output:?}");
    let days: String = (26..=30).map(|day| format!("2026-11-{day},x\n")).collect();
    dir.write("calendar-2026-11-26.csv", &format!("date,post\n{days}2026-12-01,x\n2026-12-02,x\n"));
    assert_eq!(check(&dir, &["trends.yaml", "calendar-2026-11-26.csv"]).status.code(), Some(0));
    dir.write("calendar-2026-11-26.csv", &format!("date,post\n{days}2026-12-01,x\n2026-12-03,x\n"));
    let output = check(&dir, &["trends.yaml", "calendar-2026-11-26.csv"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("not seven days in a row"), "{output:?}");
}
