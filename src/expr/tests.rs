//! What expressions say, and what they must not do.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::unit::expression::{self, tokens};

const LIMIT: Duration = Duration::from_secs(20);

fn facts(json: Json) -> Facts {
    match json {
        Json::Object(facts) => facts,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => Facts::new(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn ask_of(evaluator: &Evaluator, source: &str, json: Json) -> Result<(), Miss> {
    let expression = Expression(source.into());
    runtime().block_on(evaluator.evaluate(&expression, LIMIT, move || Ok(facts(json))))
}

fn ask(source: &str, json: &Json) -> Result<(), String> {
    ask_of(&Evaluator::default(), source, json.clone()).map_err(|miss| miss.to_string())
}

#[test]
fn the_failing_part_is_named_with_the_values_it_found() {
    let facts = json!({
        "status": 503, "body": "", "headers": {"server": "nginx"},
        "json": {"models": [], "ok": false, "busy": true, "free": 12.5, "name": "x"},
    });
    assert_eq!(ask("status >= 500 && json.free > 2.0 && headers['server'] == 'nginx'", &facts), Ok(()));
    let said = |source: &str| ask(source, &facts).unwrap_err();
    assert_eq!(
        said("status == 503 && size(json.models) > 0"),
        "json.models has 0 items: size(json.models) > 0 is false"
    );
    assert_eq!(said("status == 200"), "status is 503: status == 200 is false");
    assert_eq!(said("json.busy && json.ok"), "json.ok is false");
    assert_eq!(said("!json.busy"), "json.busy is true: !json.busy is false");
    assert_eq!(said("json.name in ['a', 'b']"), "json.name is \"x\": json.name in ['a', 'b'] is false");
    assert_eq!(
        said("json.free < status - 500 && json.ok"),
        "json.free is 12.5, status - 500 is 3: json.free < status - 500 is false"
    );
}

#[test]
fn no_value_is_named_that_the_whole_is_not_about() {
    let facts = json!({"yes": true, "no": false, "n": 1, "l": [1, 2]});
    let said = |source: &str| ask(source, &facts).unwrap_err();
    assert_eq!(said("!yes || no"), "!yes || no is false");
    assert_eq!(said("n + l.size() > 3"), "n + l.size() is 3: n + l.size() > 3 is false");
    assert_eq!(said("-n > 0"), "-n is -1: -n > 0 is false");
    assert_eq!(said("n in [5, 6]"), "n is 1: n in [5, 6] is false");
}

#[test]
fn what_is_missing_or_of_another_type_is_an_answer_with_its_path() {
    let facts = json!({"json": {"a": {"b": "text"}, "list": [1]}});
    let said = |source: &str| ask(source, &facts).unwrap_err();
    assert_eq!(said("json.a.c > 1"), "json.a.c is missing, in json.a.c > 1");
    assert_eq!(said("json.a['d'] == 1"), "json.a[\"d\"] is missing, in json.a['d'] == 1");
    assert_eq!(said("json.a.b > 1"), "> does not work on string and int, in json.a.b > 1");
    assert_eq!(said("json.list[7] == 1"), "there is no item 7, in json.list[7] == 1");
    assert_eq!(said("nothing.here"), "nothing is called nothing, in nothing.here");
    assert_eq!(said("json.a.b"), "\"text\" is neither true nor false, in json.a.b");
    assert_eq!(said("1 / 0 == 1"), "division by zero, in 1 / 0 == 1");
    assert_eq!(said("json.a.c > 1 && false"), "false is false", "as && has it");
    assert_eq!(ask("has(json.a) && !has(json.z)", &facts), Ok(()));
}

#[test]
fn loops_work_and_one_without_an_end_is_given_up() {
    let facts = json!({"l": (0..100).collect::<Vec<_>>()});
    assert_eq!(ask("l.map(x, x * 2).filter(x, x > 10).size() == 94 && l.all(x, x >= 0)", &facts), Ok(()));
    assert_eq!(ask("l.exists(x, x == 7) && l.exists_one(x, x == 7)", &facts), Ok(()));
    // More than one loop over the list takes, and less than two within one another.
    let evaluator = Evaluator::new(5_000);
    let asked = |source: &str| ask_of(&evaluator, source, facts.clone()).map_err(|miss| miss.to_string());
    for (runaway, bounded) in [
        ("l.all(a, l.all(b, l.all(c, l.all(d, a + b + c + d >= 0))))", "l.all(a, a >= 0)"),
        ("l.map(a, l.map(b, l.map(c, c))).size() == 100", "l.map(a, a).size() == 100"),
        ("l.filter(a, l.filter(b, l.exists(c, c < 0)).size() > 5).size() == 0", "l.filter(a, a < 0) == []"),
        ("!l.exists_one(a, l.exists_one(b, l.exists(c, c < 0)))", "!l.exists_one(a, a < 0)"),
    ] {
        let said = asked(runaway).unwrap_err();
        assert!(said.starts_with("the expression was given up"), "{runaway}: {said}");
        assert_eq!(asked(bounded), Ok(()), "{bounded}");
    }
}

#[test]
fn every_turn_is_paid_for_up_to_a_million() {
    let facts = json!({"l": vec![1; 100]});
    let turns = |most, source: &str| ask_of(&Evaluator::new(most), source, facts.clone());
    for loops in ["l.all(x, true)", "!l.exists(x, false)", "l.map(x, x) == l", "l.filter(x, true) == l"] {
        assert_eq!(turns(101, loops), Ok(()), "{loops}");
        assert!(matches!(turns(100, loops), Err(Miss::Runaway(_))), "{loops}");
    }
    assert_eq!(Evaluator::default().most_turns, MOST_TURNS);
}

#[test]
fn nothing_that_is_put_together_fills_the_memory() {
    let facts = json!({"l": (0..1000).collect::<Vec<_>>(), "body": "x".repeat(1 << 20)});
    for greedy in [
        "l.map(x, body + body).size() == 0",
        "l.map(x, body).size() == 0",
        "l.map(x, l.map(y, l)).size() == 0",
        "l.map(x, {'a': l, 'b': [body]}).size() == 0",
        "l.filter(x, l.map(y, l).size() > 0).size() == 0",
    ] {
        let said = ask(greedy, &facts).unwrap_err();
        assert!(said.starts_with("the expression was given up"), "{greedy}: {said}");
    }
    let many = format!("[{}body].size() == 0", "body, ".repeat(300));
    let said = ask(&many, &facts).unwrap_err();
    assert!(said.starts_with("the expression was given up"), "{said}");
}

#[test]
fn who_does_not_wait_any_longer_ends_the_evaluation() {
    let facts = facts(json!({"l": vec![1; 2000]}));
    let runtime = runtime();
    let evaluator = Evaluator::default();
    let slow = Expression("l.map(a, l.map(b, [a, b])).size() == 1".into());
    runtime.block_on(async {
        for _ in 0..AT_ONCE * 3 {
            let given = facts.clone();
            let miss = evaluator.evaluate(&slow, Duration::from_millis(1), move || Ok(given)).await;
            assert!(matches!(miss, Err(Miss::Runaway(_))), "{miss:?}");
        }
        // Were their threads still busy, this one would get none.
        let quick = Expression("1 == 1".into());
        assert_eq!(evaluator.evaluate(&quick, LIMIT, || Ok(Facts::new())).await, Ok(()));
    });
}

#[test]
fn what_is_beyond_the_bounds_is_not_parsed() {
    let said = ask(&format!("{}1 == 1{}", "(".repeat(200), ")".repeat(200)), &json!({})).unwrap_err();
    assert!(said.contains("nested more than 16 deep"), "{said}");
    assert!(Program::compile("a &&").is_err());
    assert!(Program::compile("").is_err());
    assert!(Program::compile("a.all(x, x > 1)").is_ok());
}

#[test]
fn the_deepest_that_is_read_is_evaluated_within_the_stack() {
    let (open, close) = ("(".repeat(DEEPEST), ")".repeat(DEEPEST));
    let mut deep = json!([]);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let facts = json!({"l": [1], "deep": deep, "same": deep});
    let mixed = format!("{}l == l{close}", "!(true && ".repeat(DEEPEST));
    for (source, expected) in [
        (format!("{open}true{close}"), Ok(())),
        (format!("{}true", "!".repeat(64)), Ok(())),
        (format!("{}1 == 3", "1 + 1 * ".repeat(31)), Err(())),
        (format!("{}true{close}", "l.all(x, 1 < 2 && ".repeat(DEEPEST)), Ok(())),
        (format!("{}1{close} == 1", "l.map(x, 1 + ".repeat(DEEPEST)), Err(())),
        (format!("{}1{} == []", "[1 + 2, ".repeat(DEEPEST), "]".repeat(DEEPEST)), Err(())),
        (format!("{}true", "l == [] ? false : ".repeat(21)), Ok(())),
        (mixed, Ok(())),
        (format!("{}1{close} == 1", "l.map(x, 1 + 2 * -".repeat(15) + "("), Err(())),
        (format!("{}1{close} == 1", "l.filter(x, 1 + 2 * -".repeat(15) + "("), Err(())),
        ("deep == same".to_owned(), Ok(())),
    ] {
        assert!(Program::compile(&source).is_ok(), "{source}: {:?}", Program::compile(&source));
        let said = ask(&source, &facts);
        assert_eq!(said.clone().map_err(drop), expected, "{source}: {said:?}");
    }
}

const DEEPEST: usize = 16;

#[test]
fn a_fact_is_spoken_of_by_its_name_and_not_by_a_text() {
    let of_json = |source: &str| speaks_of(&Expression(source.into()), "json");
    assert!(of_json("size(json.a) > 0 && true") && of_json("[1].all(x, json.a == x)"));
    assert!(!of_json("headers['content-type'] == 'application/json'") && !of_json("body.json == 1"));
}

#[test]
fn the_disks_that_are_asked_for_are_known_beforehand() {
    let expression = Expression("disk(\"/\").free > 10 && disk('/var').used < 0.9".into());
    assert_eq!(disks(&expression), ["/", "/var"]);
    let facts = json!({"disk": {"/": {"free": 20}, "/var": {"used": 0.95}}});
    let said = ask(&expression.0, &facts).unwrap_err();
    assert_eq!(said, "disk('/var').used is 0.95: disk('/var').used < 0.9 is false");
    assert!(ask("disk('/x').free > 1", &facts).unwrap_err().contains("nothing is known of /x"));
}

/// Pieces that make sound expressions now and then, and nasty ones often.
const PIECES: &[&str] = &[
    "json",
    ".a",
    ".b",
    "[0]",
    "['a']",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "&&",
    "||",
    "!",
    "?",
    ":",
    "==",
    "<",
    "in",
    "+",
    "-",
    "*",
    "/",
    "%",
    "1",
    "-9223372036854775808",
    "18446744073709551615u",
    "1e308",
    "'x'",
    "r'\\'",
    "b'x'",
    "\"\"\"",
    "null",
    "true",
    "size(json)",
    ".all(x,",
    ".map(x,",
    "x",
    ",",
    "has(json.a)",
    ".matches('(a*)*b')",
    "string(1)",
    "int('x')",
    "type(json)",
    "@sum",
    "\\",
    "\u{0}",
    "é",
    "//",
    "\n",
    ".size()",
    "{'a': 1}",
    "dyn(1)",
];

fn nasty_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map("[ab]", inner, 0..4)
                .prop_map(|entries| Json::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_and_no_facts_break_the_evaluator(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 1..14),
        json in nasty_json(),
    ) {
        let source: String = pieces.concat();
        let is_loaded = expression::parse(&source).is_ok();
        prop_assert_eq!(Program::compile(&source).is_ok(), is_loaded, "{:?}", source);
        let said = ask_of(&Evaluator::default(), &source, json!({"json": json}));
        if let Err(miss) = said {
            prop_assert!(miss != Miss::NotAsked("the evaluation broke off".to_owned()), "{source:?} panicked");
            let words = miss.to_string();
            prop_assert!(!words.is_empty() && words.len() < 16 * tokens::MOST_BYTES, "{words}");
        }
    }
}
