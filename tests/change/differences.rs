//! What differs between two definitions, under which key, and what that does.

use std::collections::{BTreeMap, BTreeSet};

use mcsup::unit::difference::{
    Class, Difference, KEYS, NAME, SETTINGS, differences, run_fingerprint, settings_differences, table,
};
use mcsup::unit::schema;
use mcsup::unit::spec::{UnitKind, UnitSet, UnitSpec};
use proptest::prelude::*;

use crate::sets::{OF_SETTINGS, change, keys_of, set, try_set, unit, usual};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CHANGES.md");

fn between(before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<Difference> {
    let (before, after) = (set(before), set(after));
    differences((unit(&before, "a"), &before), (unit(&after, "a"), &after))
}

/// As one line each: "environment.TZ restart: UTC -> Europe/Berlin"
fn lines(differences: &[Difference]) -> Vec<String> {
    let line = |Difference { key, path, class, before, after }: &Difference| {
        assert!(path.starts_with(key), "{path} of {key}");
        format!("{path} {class}: {before} -> {after}")
    };
    differences.iter().map(line).collect()
}

#[test]
fn every_key_of_a_unit_file_and_of_the_settings_has_a_class() {
    for (schema, keys) in [(schema::unit(), KEYS), (schema::settings(), SETTINGS)] {
        let there: BTreeSet<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let known: BTreeSet<&str> = keys.iter().map(|key| key.name).filter(|name| *name != NAME).collect();
        assert_eq!(there, known);
        assert!(keys.iter().all(|key| !key.why.is_empty()));
    }
}

#[test]
fn the_tables_in_the_docs_are_the_ones_in_force() {
    let mut page = std::fs::read_to_string(PAGE).unwrap();
    let is_bless = std::env::var_os("MCSUP_BLESS").is_some();
    for (name, keys) in [("units", KEYS), ("settings", SETTINGS)] {
        let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
        let (head, rest) = page.split_once(&begin).unwrap();
        let (_, tail) = rest.split_once(&end).unwrap();
        let wanted = format!("{head}{begin}{}{end}{tail}", table(keys));
        assert!(page == wanted || is_bless, "stale: run with MCSUP_BLESS=1");
        page = wanted;
    }
    if is_bless {
        std::fs::write(PAGE, page).unwrap();
    }
}

#[test]
fn a_difference_is_said_as_it_would_be_written() {
    let before = "command: [redis-server, --port, \"6379\"]\nhealth: {tcp: 6379, interval: 5s}\n\
        environment: {TZ: UTC, OLD: x}\nlog: {max_size: 10M}\nslo: 99.9%\ndepends_on: {b: {follow: restart}}\n\
        restart: {backoff: {max: 30s}}\nlimits: {nofile: 1024}\nconflicts: [c]";
    let after = "command: [redis-server, --port, \"6380\"]\nhealth: [{tcp: 6380, interval: 10s}, {exec: [ping, \"\"], retries: {count: 2, of: 3}}]\n\
        environment: {TZ: Europe/Berlin, MODE: \"yes\"}\nlog: {max_size: 1000}\nslo: 99.95%\ndepends_on: [b]\n\
        restart: {backoff: {max: 1h}, limit: {starts: 3, within: 1m}}\nlimits: {nofile: {soft: 1024, hard: unlimited}}\n\
        description: 'a: b'";
    let others = [("b", "command: [x]"), ("c", "command: [x]\nenabled: false")];
    let found = between(&[&[("a", before)][..], &others].concat(), &[&[("a", after)][..], &others].concat());
    assert_eq!(
        lines(&found),
        [
            "description metadata:  -> \"a: b\"",
            "command restart: [redis-server, --port, \"6379\"] -> [redis-server, --port, \"6380\"]",
            "environment.OLD restart: x -> ",
            "environment.TZ restart: UTC -> Europe/Berlin",
            "environment.MODE restart:  -> \"yes\"",
            "depends_on.b.follow live: restart -> none",
            "conflicts live: [c] -> ",
            "health[0].tcp live: 127.0.0.1:6379 -> 127.0.0.1:6380",
            "health[0].interval live: 5s -> 10s",
            "health[1] live:  -> {exec: [ping, \"\"], interval: 10s, timeout: 1s, retries: {count: 2, of: 3}, successes: 1, start_period: 0s}",
            "restart.backoff.max live: 30s -> 1h",
            "restart.limit live:  -> {starts: 3, within: 1m, then: fail}",
            "limits.nofile restart: 1024 -> {soft: 1024, hard: unlimited}",
            "log.max_size live: 10M -> 1000",
            "slo live: 99.9% -> 99.95%",
        ]
    );
}

#[test]
fn what_is_called_a_secret_is_not_shown_and_still_differs() {
    let text = |one: &str| {
        format!(
            "command: [x]\nenvironment: {{DB_PASSWORD: {one}, api_token: {one}, KEYS: {one}, URL: 'pg://u:{one}@h/d', OPEN: {one}}}\n\
             health: [{{redis: {{port: 1, password: {one}}}}}, {{http: {{url: 'http://h/', headers: {{Authorization: {one}}}}}}}]"
        )
    };
    let found = between(&[("a", &text("first"))], &[("a", &text("second"))]);
    let hidden = [
        "environment.DB_PASSWORD",
        "environment.KEYS",
        "environment.URL",
        "environment.api_token",
        "health[0].redis.password",
        "health[1].http.headers[0].Authorization",
    ];
    let (secrets, open): (Vec<_>, Vec<_>) = found.iter().partition(|one| one.before == "(hidden)");
    assert_eq!(secrets.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), hidden);
    assert!(secrets.iter().all(|one| one.after == "(hidden)"));
    let open: Vec<Difference> = open.into_iter().cloned().collect();
    assert_eq!(lines(&open), ["environment.OPEN restart: first -> second"]);
    // The path of a webhook is all that keeps strangers out of it.
    let settings = |path: &str| {
        format!("alerts: {{ops: {{webhook: 'https://h/{path}'}}}}\nheartbeat: {{url: 'https://h?{path}'}}")
    };
    let (before, after) = (set(&[("mcsup", &settings("one"))]), set(&[("mcsup", &settings("two"))]));
    assert_eq!(
        lines(&settings_differences(&before, &after)),
        [
            "alerts.ops.webhook live: https://h/(hidden) -> https://h/(hidden)",
            "heartbeat.url live: https://h/(hidden) -> https://h/(hidden)",
        ]
    );
}

#[test]
fn what_moves_a_cursor_or_turns_a_line_is_shown_as_what_it_is() {
    let found =
        between(&[("a", "command: [x]")], &[("a", "command: [x]\ndescription: \"a\\e[2J\\u202Eb\\n\"")]);
    assert_eq!(lines(&found), ["description metadata:  -> \"a\\U0000001B[2J\\U0000202Eb\\n\""]);
}

#[test]
fn the_order_of_keys_comments_and_other_spellings_are_no_difference() {
    let before = "# one\ncommand: x y\nenvironment: {A: b, C: d}\ndepends_on: [b, c]\nlog: {max_size: 1M}\nlabels: {a: b, c: d}";
    let after = "labels: {c: d, a: b}\nlog: {max_size: 1024K}\ndepends_on: {c: started, b: started}\nenvironment:\n  C: d\n  A: b\ncommand: [x, y]\n# two";
    let others = [("b", "command: [x]"), ("c", "command: [x]")];
    assert_eq!(
        between(&[&[("a", before)][..], &others].concat(), &[&[("a", after)][..], &others].concat()),
        []
    );
    let job = |text: &str| format!("kind: job\ncommand: [x]\n{text}");
    let (one, two) = (
        job("schedule: '@daily'\nafter: [b, c]"),
        job("schedule: 0 0 * * *\nafter: {c: succeeded, b: succeeded}"),
    );
    let others = [("b", "command: [x]\nkind: task"), ("c", "command: [x]\nkind: task")];
    let (before, after) = (
        set(&[&[("a", one.as_str())][..], &others].concat()),
        set(&[&[("a", two.as_str())][..], &others].concat()),
    );
    assert_eq!(differences((unit(&before, "a"), &before), (unit(&after, "a"), &after)), []);
    assert_eq!(unit(&before, "a").fingerprint, unit(&after, "a").fingerprint);
}

/// What stands in the file under this key is told under one of these.
fn told_by(key: &str) -> Vec<&str> {
    match key {
        "adapter" => vec!["start", "restart", "stop", "health", "recover"],
        // What is there without being said depends on these.
        "health" => vec!["health", "ready"],
        "restart" | "start" | "stop" => vec![key, "recover"],
        other => vec![other],
    }
}

#[test]
fn every_value_of_every_key_is_told_by_its_key_and_does_what_the_table_says() {
    for kind in ["service", "task", "job", "external", "gate"] {
        let mut keys_told: BTreeSet<&str> = BTreeSet::new();
        for (key, values) in keys_of(kind).into_iter().flatten() {
            for value in *values {
                let mut keys = usual(kind);
                let Some(before) = try_set(&keys) else { panic!("{keys:?}") };
                keys.insert(key, value);
                let Some(after) = try_set(&keys) else { continue };
                let (one, two) = (unit(&before, "a"), unit(&after, "a"));
                let found = differences((one, &before), (two, &after));
                let is_usual = one.fingerprint == two.fingerprint;
                assert_eq!(found.is_empty(), is_usual, "{kind} {key}: {value}");
                for difference in &found {
                    assert!(
                        told_by(key).contains(&difference.key),
                        "{kind} {key}: {value} told as {difference:?}"
                    );
                    let class = KEYS.iter().find(|key| key.name == difference.key).unwrap().class;
                    let is_process = matches!(kind, "service" | "task");
                    let is_told_to_nobody = difference.key == "limits" && one.limits == two.limits;
                    let is_light =
                        !is_process || (*key == "health" && difference.key == "ready") || is_told_to_nobody;
                    assert_eq!(difference.class, if is_light { class.min(Class::Live) } else { class });
                    keys_told.insert(key);
                }
                assert_eq!(
                    is_restart(&found),
                    run_fingerprint(one) != run_fingerprint(two),
                    "{kind} {key}: {value}"
                );
            }
        }
        let missing: Vec<&&str> = keys_of(kind)
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .filter(|key| !keys_told.contains(**key))
            .filter(|key| !matches!((kind, **key), ("task", "recover") | ("job", "start_timeout")))
            .filter(|key| {
                !matches!((kind, **key), ("job" | "external" | "gate", "essential") | ("gate", "stop"))
            })
            .collect();
        assert_eq!(missing, Vec::<&&str>::new(), "{kind}");
    }
}

#[test]
fn another_kind_is_another_life() {
    let kinds = [
        ("command: [x]", UnitKind::Service),
        ("kind: task\ncommand: [x]", UnitKind::Task),
        ("kind: job\ncommand: [x]\nevery: 1h", UnitKind::Job),
        ("kind: gate\ncheck: 'true'", UnitKind::Gate),
        ("kind: external\nhealth: {tcp: 1}", UnitKind::External),
    ];
    for (one, kind) in &kinds {
        for (two, other) in kinds.iter().filter(|(_, other)| other != kind) {
            let found = between(&[("a", one)], &[("a", two)]);
            assert!(
                found.iter().any(|one| one.key == "kind" && one.class == Class::Restart),
                "{kind} {other}"
            );
        }
    }
}

#[test]
fn a_probe_that_comes_or_goes_restarts_nobody_and_another_sign_of_readiness_does() {
    let class = |before: &str, after: &str| {
        let texts = [before, after].map(|text| format!("command: [x]\n{text}"));
        between(&[("a", &texts[0])], &[("a", &texts[1])]).iter().map(|one| one.class).max()
    };
    assert_eq!(class("", "health: {tcp: 1}"), Some(Class::Live));
    assert_eq!(class("health: {tcp: 1}\nready: started", "health: {tcp: 1}"), Some(Class::Live));
    for other in ["ready: notify", "ready: {log: a}", "ready: {fd: 3}"] {
        assert_eq!(class("", other), Some(Class::Restart), "{other}");
        assert_eq!(class(other, "health: {tcp: 1}"), Some(Class::Restart), "{other}");
    }
}

#[test]
fn every_value_of_every_setting_is_told_by_its_key() {
    for (key, values) in OF_SETTINGS {
        for value in *values {
            let with = set(&[("mcsup", &format!("{key}: {value}\n"))]);
            let found = settings_differences(&set(&[]), &with);
            assert!(!found.is_empty(), "{key}: {value}");
            assert!(found.iter().all(|one| one.key == *key && one.class == Class::Live), "{key}: {value}");
        }
    }
}

fn is_restart(differences: &[Difference]) -> bool {
    differences.iter().any(|difference| difference.class == Class::Restart)
}

fn pairs<'a>(one: &'a UnitSet, two: &'a UnitSet) -> impl Iterator<Item = (&'a UnitSpec, &'a UnitSpec)> {
    one.present_units().filter_map(|unit| Some((unit, two.unit(two.find(unit.name.as_str())?)?)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_are_differences_exactly_where_fingerprints_differ((one, two) in change()) {
        let merged = one.followed_by(&two).set;
        for (before, after) in pairs(&one, &merged) {
            let found = differences((before, &one), (after, &merged));
            prop_assert_eq!(found.is_empty(), before.fingerprint == after.fingerprint, "{:#?}", found);
            prop_assert_eq!(is_restart(&found), run_fingerprint(before) != run_fingerprint(after), "{:#?}", found);
            let other = two.unit(two.find(after.name.as_str()).unwrap()).unwrap();
            prop_assert_eq!(&found, &differences((before, &one), (other, &two)), "the merge changes none");
            let back: Vec<_> = differences((after, &merged), (before, &one))
                .into_iter()
                .map(|one| Difference { before: one.after, after: one.before, ..one })
                .collect();
            let sorted = |mut all: Vec<Difference>| { all.sort_by(|one, two| one.path.cmp(&two.path)); all };
            prop_assert_eq!(sorted(found), sorted(back), "the way back is the same way");
        }
    }

    #[test]
    fn a_value_that_is_shown_reads_back_as_itself(text in "[ -~]{1,12}|\\PC{1,8}|[-+.0-9a-fx:_]{1,6}|[\n\t\u{1b}\u{202e}a]{1,4}") {
        let loaded = |shown: &str| {
            let set = try_set(&BTreeMap::from([("command", "[x]"), ("labels", shown)]));
            set.map(|set| unit(&set, "a").labels.clone())
        };
        let json = serde_json::Value::from(text.as_str()).to_string().replace('\u{7f}', "\\x7f");
        let Some(before) = loaded(&format!("{{a: {json}}}")) else { return Ok(()) };
        let (one, two) = (set(&[("a", "command: [x]")]), set(&[("a", &format!("command: [x]\nlabels: {{a: {json}}}"))]));
        let found = differences((unit(&one, "a"), &one), (unit(&two, "a"), &two));
        prop_assert_eq!(found.len(), 1);
        let after = loaded(&format!("{{a: {}}}", found[0].after));
        prop_assert_eq!(after, Some(before), "{}", found[0].after);
    }
}
