//! Every format, and every kind of garbage that a job can leave.

use mcsup::output::judgement::Standing;

use super::judged;

/// `output`, what was written, and what is said of it.
type Row = (&'static str, &'static [u8], &'static str);

const TRENDS: &str = "format: json\nrequire: {that: size(output.trends) >= 3, else: fewer than three trends}";
const OFFERS: &str = "format: json
schema:
  type: object
  required: [offers]
  additionalProperties: false
  properties:
    offers:
      type: array
      minItems: 1
      items:
        type: object
        required: [name, price]
        properties: {name: {type: string, minLength: 1}, price: {type: number, exclusiveMinimum: 0}}";
const MARGIN: &str = "format: json
require: {that: output.margin == output.revenue - output.costs, else: the margin is not what is left}";
const EITHER: &str = "format: json
schema:
  anyOf:
    - {type: object, required: [kind, url], properties: {kind: {const: post}, url: {type: string, format: uri}}}
    - {type: object, required: [kind, at], properties: {kind: {const: story}, at: {type: integer}}}
    - {type: 'null'}";

const BACKTRACKS: &[u8] = br#"["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]"#;
const WEEK: &str = "format: json
require: {that: \"rising(output.days) && [1, 2, 3, 4, 5, 6].all(i, day(output.days[i]) == day(output.days[0]) + i)\", else: no week}";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // JSON.
    (TRENDS, br#"{"trends": [1, 2, 3]}"#, "passed"),
    (TRENDS, br#"{"trends": [1, 2]}"#, "rejected: fewer than three trends: 2 trends, wanted >= 3"),
    (TRENDS, br#"{"trends": [1]}"#, "rejected: fewer than three trends: 1 in trends, wanted >= 3"),
    (TRENDS, b"", "rejected: it is empty"),
    (TRENDS, b"  \n", "rejected: it is not JSON: there is nothing but white space"),
    (TRENDS, br#"{"trends": [1, 2"#, "rejected: it is not JSON: it ends in the middle of a list, at line 1, column 16"),
    (TRENDS, b"Traceback (most recent call last):\n", "rejected: it is not JSON: expected value, at line 1, column 1"),
    (TRENDS, b"{\"trends\": [1]}\ndone", "rejected: it is not JSON: something follows it, at line 2, column 1"),
    (TRENDS, br#"{"trend": []}"#, "rejected: fewer than three trends: output.trends is missing"),
    (TRENDS, br#"{"trends": 3}"#, "rejected: fewer than three trends: output.trends is 3: size does not work on int"),
    (TRENDS, br#"[]"#, "rejected: fewer than three trends: output is a list of 0, and has no trends"),
    ("format: json\nrequire: \"['TikTok', 'YT', 'X'].all(s, size(output[s]) >= 3)\"", br#"{"TikTok": [1, 2, 3], "YT": [1, 2], "X": []}"#, "rejected: output[\"YT\"] has 2 items, wanted >= 3"),
    (TRENDS, br#"null"#, "rejected: fewer than three trends: output is null, and has no trends"),
    (TRENDS, br#"{"trends": [1], "trends": [1, 2, 3]}"#, "rejected: it is not JSON: the key \"trends\" stands twice in one mapping, at line 1, column 24"),
    (TRENDS, b"{\"trends\": [1, 2, \xff]}", "rejected: it is not text: the byte 0xff at line 1, column 19 is not UTF-8"),
    (TRENDS, b"{\"trends\":\n \0[]}", "rejected: it is not text: a zero byte stands at line 2, column 2"),
    (TRENDS, b"\xEF\xBB\xBF{\"trends\": [1, 2, 3]}", "passed"),
    (TRENDS, br#"{"trends": [1e999]}"#, "rejected: it is not JSON: number out of range, at line 1, column 17"),
    (MARGIN, br#"{"revenue": 100, "costs": 60, "margin": 40}"#, "passed"),
    (MARGIN, br#"{"revenue": 100, "costs": 60, "margin": 50}"#, "rejected: the margin is not what is left: output.margin is 50, output.revenue - output.costs is 40"),
    (MARGIN, br#"{"revenue": "100", "costs": 60, "margin": 50}"#, "rejected: the margin is not what is left: output.margin is 50, output.revenue is \"100\", output.costs is 60: - does not work on string and int"),
    ("format: json\nrequire: output.offers.all(o, o.price > 0)", br#"{"offers": [{"price": 3}, {"price": 0}]}"#, "rejected: output.offers[1].price is 0, wanted > 0"),
    ("format: json\nrequire: output.offers.all(o, has(o.price))", br#"{"offers": [{"price": 3}, {"prize": 1}]}"#, "rejected: output.offers[1].price is missing"),
    ("format: json\nrequire: output.offers.all(o, o.price > 0)", br#"{"offers": [{"price": 3}, {"prize": 1}]}"#, "rejected: output.offers[1].price is missing"),
    ("format: json\nrequire: output.offers.all(o, o.price > 0)", br#"{"offers": [{"price": "free"}]}"#, "rejected: output.offers[0].price is \"free\": > does not work on string and int"),
    ("format: json\nrequire: output.posts.exists(p, p.ok)", br#"{"posts": [{"ok": false}]}"#, "rejected: none of 1 in output.posts"),
    ("format: json\nrequire: has(output.price)", br#"{"prize": 1}"#, "rejected: output.price is missing"),
    ("format: json\nrequire: \"'price' in output\"", br#"{"prize": 1, "name": 2}"#, "rejected: 'price' is not in it: output has name, prize"),
    ("format: json\nrequire: \"output.kind in ['post', 'story']\"", br#"{"kind": "reel"}"#, "rejected: output.kind is \"reel\", wanted one of ['post', 'story']"),
    ("format: json\nrequire: 10 <= output.score", br#"{"score": 7}"#, "rejected: output.score is 7, wanted >= 10"),
    ("format: json\nrequire: '!output.draft'", br#"{"draft": true}"#, "rejected: output.draft is true"),
    ("format: json\nrequire: output.ok && size(output.a) > 1", br#"{"ok": true, "a": [1]}"#, "rejected: output.a has 1 item, wanted > 1"),
    // Schemas.
    (OFFERS, br#"{"offers": [{"name": "x", "price": 2.5}]}"#, "passed"),
    (OFFERS, br#"{"offers": []}"#, "rejected: /offers has 0 items, wanted >= 1"),
    (OFFERS, br#"{"offers": [{"name": "x"}]}"#, "rejected: /offers/0 has no \"price\""),
    (OFFERS, br#"{"offers": [{"name": "x", "price": "free"}]}"#, "rejected: /offers/0/price is \"free\", wanted a number"),
    (OFFERS, br#"{"offers": [{"name": "", "price": 0}], "error": 1}"#, "rejected: /offers/0/name is \"\", wanted at least 1 character (and 2 more)"),
    (OFFERS, br#"[]"#, "rejected: the output is a list of 0, wanted a map"),
    (EITHER, br#"{"kind": "post", "url": "https://x.org/1"}"#, "passed"),
    (EITHER, br#"{"kind": "post", "url": "not a link"}"#, "rejected: /url is \"not a link\", which is no uri"),
    (EITHER, br#"{"kind": "story", "at": "noon"}"#, "rejected: /at is \"noon\", wanted a whole number"),
    ("format: json\nschema: {type: objekt}", b"{}", "could not be judged: the schema is not one: /type is \"objekt\", wanted one of [\"array\",\"boolean\","),
    ("format: csv\nschema: {items: {properties: {price: {pattern: '^[0-9]+$'}}}}", b"price\n12\nfree\n", "rejected: /1/price is \"free\", which does not match ^[0-9]+$"),
    ("format: json\nschema: {items: {pattern: '^(?=(?:(a+)+)$)(?:(a|aa)+)\\1b'}}", BACKTRACKS, "could not be judged: a pattern of the schema takes more than it may, at /0"),
    // Lines of JSON.
    ("format: jsonl\nrequire: size(output) == 2", b"{\"a\": 1}\n\n{\"a\": 2}\n", "passed"),
    ("format: jsonl\nrequire: size(output) == 2", b"{\"a\": 1}\n{\"a\": \n{}\n", "rejected: line 2 is not JSON: it ends where a value belongs, at column 6"),
    ("format: jsonl", b"\n \n", "rejected: it has no line of JSON"),
    // YAML.
    ("format: yaml\nrequire: output.days.all(d, d.post != '')", b"days:\n- {post: a}\n- {post: b}\n", "passed"),
    ("format: yaml\nrequire: output.days.all(d, d.post != '')", b"days:\n- {post: a}\n- {post: ''}\n", "rejected: output.days[1].post is \"\", wanted != ''"),
    ("format: yaml", b"a: 1\na: 2\n", "rejected: it is not YAML: the key \"a\" stands twice in one mapping"),
    ("format: yaml", b"a: [1, 2\n", "rejected: it is not YAML: "),
    ("format: yaml", b"# nothing\n", "rejected: it is not YAML: it says nothing"),
    ("format: yaml", b"a: !run x\n", "rejected: it is not YAML: a: a tag (`!word`) is not read; quote what begins with `!`, at line 1, column 4"),
    ("format: yaml", b"a: .nan\n", "rejected: it is not YAML: "),
    ("format: yaml", b"a: &x [1]\nb: *x\n", "passed"),
    ("format: yaml", b"a: 1\n---\nb: 2\n", "rejected: it is not YAML: it holds more than one document"),
    // CSV.
    ("format: csv\nrequire: output.all(row, double(row.price) > 0.0)", b"name,price\nx,2.5\ny,3\n", "passed"),
    ("format: csv\nrequire: output.all(row, double(row.price) > 0.0)", b"name,price\nx,2.5\ny,0\n", "rejected: double(output[1].price) is 0, wanted > 0.0"),
    ("format: csv\nrequire: output.all(row, double(row.price) > 0.0)", b"name,price\nx,free\n", "rejected: output[0].price is \"free\": double: string parse error: invalid float literal"),
    ("format: csv", b"name,price\nx,1\ny\n", "rejected: it is not CSV: line 3 has 1 field, and the header 2"),
    ("format: csv", b"name,name\nx,1\n", "rejected: it is not CSV: the header names \"name\" twice"),
    ("format: csv", b"name,\nx,1\n", "rejected: it is not CSV: column 2 has no name in the header"),
    ("format: csv\nrequire: size(output) > 0", b"name,price\n", "rejected: output has 0 items, wanted > 0"),
    // Text, counts and sizes.
    ("contains: [wins, priorities]", b"wins: none\npriorities: all\n", "passed"),
    ("contains: [wins, priorities]", b"wins: none\n", "rejected: \"priorities\" is not found, wanted at least 1 times"),
    ("contains: {text: TODO, at_most: 0, else: it is a draft}", b"a TODO", "rejected: it is a draft: \"TODO\" is found once, wanted never"),
    ("matches: {pattern: '(?m)^## ', at_least: 2, else: fewer than two scripts}", b"## one\ntext\n", "rejected: fewer than two scripts: /(?m)^## / is found once, wanted at least 2 times"),
    ("require: lines.all(l, l.matches('^[0-9]{2}:[0-9]{2} '))", b"00:10 hook\n00:3x turn\n", "rejected: lines[1] is \"00:3x turn\""),
    ("require: text.contains('done')", b"started\n", "rejected: text is \"started\\n\""),
    ("require: size(lines) >= 2", b"one\n", "rejected: 1 in lines, wanted >= 2"),
    ("min_size: 1K", b"short", "rejected: too small: 5 bytes, wanted >= 1 KiB"),
    ("max_size: 4", b"longer", "rejected: too large: 6 bytes, wanted <= 4 bytes"),
    ("max_size: 1K", &[b'x'; 1025], "rejected: too large: more than 1 KiB"),
    ("min_size: 0\nrequire: exit == 0", b"", "passed"),
    // What CEL alone cannot say.
    (WEEK, br#"{"days": ["2026-11-28", "2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02", "2026-12-03", "2026-12-04"]}"#, "passed"),
    (WEEK, br#"{"days": ["2026-11-28", "2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02", "2026-12-03", "2026-12-05"]}"#, "rejected: no week: day(output.days[6]) is 20792, day(output.days[0]) + 6 is 20791"),
    (WEEK, br#"{"days": ["2026-11-28", "2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02", "2026-12-03", "2026-12-32"]}"#, "rejected: no week: output.days[6] is \"2026-12-32\", output.days[0] is \"2026-11-28\": day: \"2026-12-32\" is no date such as 2026-11-20"),
    ("format: json\nrequire: rising(output.cuts.map(c, seconds(c.at)))", br#"{"cuts": [{"at": "00:00"}, {"at": "00:45"}, {"at": "10:05"}]}"#, "passed"),
    ("format: json\nrequire: rising(output.cuts.map(c, seconds(c.at)))", br#"{"cuts": [{"at": "00:50"}, {"at": "00:45"}]}"#, "rejected: 45 comes after 50"),
    ("format: json\nrequire: rising(output.cuts)", br#"{"cuts": [1, "2"]}"#, "rejected: output.cuts is [1,\"2\"]: rising: 1 cannot be compared with \"2\""),
    ("format: json\nrequire: distinct(output)", br#"[1, "1", [1], {"a": 1}]"#, "passed"),
    ("format: json\nrequire: distinct(output.posts.map(p, p.title))", br#"{"posts": [{"title": "a"}, {"title": "b"}, {"title": "a"}]}"#, "rejected: \"a\" stands there twice"),
    ("format: json\nrequire: distinct(output)", b"{}", "rejected: output is {}: distinct: a map of 0 is no list"),
    // What is known besides.
    ("require: units.redis.state == 'ready'", b"x", "passed"),
    ("require: {that: \"units.all(u, units[u].state == 'ready')\", else: not all services respond}", b"x", "rejected: not all services respond: units[\"db\"].state is \"failed\", wanted == 'ready'"),
    (EITHER, br#"{"kind": "reel"}"#, "rejected: /kind is \"reel\", wanted \"post\""),
    (EITHER, b"17", "rejected: the output is 17, wanted a map"),
    ("require: {that: units.web.state == 'ready', else: web is down}", b"x", "rejected: web is down: units.web is missing"),
    ("require: \"guard.level == 'normal' && now.date == '2026-11-20' && now.weekday == 'friday'\"", b"x", "passed"),
    ("require: exit == 0 && duration < 60", b"x", "passed"),
    ("require: previous == null || size(text) > size(previous)", b"x", "passed"),
];

#[test]
fn every_kind_of_output_gets_its_verdict_in_plain_words() {
    assert!(ROWS.len() >= 40);
    let mut wrong = Vec::new();
    for (output, bytes, expected) in ROWS {
        let said = judged(output, bytes, None).to_string();
        let fits =
            if expected.ends_with([' ', ',']) { said.starts_with(expected) } else { said == *expected };
        if !fits {
            let bytes = String::from_utf8_lossy(bytes);
            wrong.push(format!("{output}\n  {bytes:?}\n  said:   {said}\n  wanted: {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

#[test]
fn an_output_is_held_against_the_last_good_one() {
    let grows = "format: json\nrequire: {that: previous == null || size(output.entries) > size(previous.entries), else: nothing was learned}";
    let before = br#"{"entries": [1, 2]}"#;
    let said = |now: &[u8]| judged(grows, now, Some(before)).to_string();
    assert_eq!(said(br#"{"entries": [1, 2, 3]}"#), "passed");
    assert!(said(br#"{"entries": [1, 2]}"#).starts_with("rejected: nothing was learned"));
    let same = "require: {that: text != previous, else: this is what was written yesterday}";
    let judgement = judged(same, b"report of the 19th", Some(b"report of the 19th"));
    assert!(judgement.to_string().starts_with("rejected: this is what was written yesterday"), "{judgement}");
}

#[test]
fn what_failed_is_pointed_at() {
    let path = |output: &str, bytes: &[u8]| {
        let judgement = judged(output, bytes, None);
        judgement.unmet().next().unwrap_or_else(|| panic!("{judgement}")).path.clone()
    };
    assert_eq!(path(TRENDS, br#"{"trends": []}"#).as_deref(), Some("/trends"));
    assert_eq!(path(TRENDS, br#"{}"#).as_deref(), Some("/trends"));
    assert_eq!(
        path(OFFERS, br#"{"offers": [{"name": "x", "price": -1}]}"#).as_deref(),
        Some("/offers/0/price")
    );
    let all = "format: json\nrequire: output.a.all(x, x.b > 1)";
    assert_eq!(path(all, br#"{"a": [{"b": 2}, {"b": 1}]}"#).as_deref(), Some("/a/1/b"));
    assert_eq!(path(all, br#"{"a": [{"b": 2}, {}]}"#).as_deref(), Some("/a/1/b"));
    assert_eq!(path("require: exit == 1", b"x"), None);
}

#[test]
fn what_nobody_can_be_asked_about_is_left_out_and_said() {
    use mcsup::output::{Material, Taken, judge};
    let spec = super::spec("require: [units.redis.state == 'ready', size(text) > 1]");
    let material = Material { stream: Some(Taken::Bytes(b"text".to_vec())), units: None, ..super::around() };
    let judgement = judge(&spec, material);
    assert_eq!(judgement.to_string(), "passed");
    let standings: Vec<Standing> = judgement.points.iter().map(|point| point.standing).collect();
    assert_eq!(standings, [Standing::Met, Standing::Unasked, Standing::Met]);
    assert!(judgement.points[1].found.contains("only a running supervisor knows"));
}

#[test]
fn garbage_without_end_is_told_in_a_sentence() {
    let many = format!("[{}]", vec!["0"; 20_000].join(","));
    let judgement = judged("format: json\nschema: {items: {minimum: 1}}", many.as_bytes(), None);
    assert_eq!(judgement.unmet().count(), 20);
    let long = format!("\"{}\"", "x".repeat(100_000));
    let judgement = judged("format: json\nrequire: output == ''", long.as_bytes(), None);
    assert!(judgement.to_string().chars().count() < 600, "{judgement}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let said = judged("format: json", deep.as_bytes(), None).to_string();
    assert_eq!(said, "rejected: it is not JSON: it is nested more than 128 deep, at line 1, column 128");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let said = judged("format: yaml", deep.as_bytes(), None).to_string();
    assert!(said.starts_with("rejected: it is not YAML: "), "{said}");
    let laughs: String =
        (1..9).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","))).collect();
    let said = judged("format: yaml", format!("a0: &a0 lol\n{laughs}").as_bytes(), None).to_string();
    assert_eq!(said, "rejected: it is not YAML: its aliases stand for more than it may hold");
    let wide = format!("name\n{}\n", "x".repeat(10_000_000));
    assert_eq!(
        judged("format: csv\nrequire: size(output[0].name) == 10000000", wide.as_bytes(), None).to_string(),
        "passed"
    );
}
