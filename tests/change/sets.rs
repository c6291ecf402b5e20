//! Directories that are drawn, with every key that a unit file has, and small ones that are written.

use std::collections::BTreeMap;

use mcsup::graph;
use mcsup::unit::SourceFile;
use mcsup::unit::spec::{UnitId, UnitSet, UnitSpec};
use proptest::prelude::*;
use proptest::sample::Index;

/// What a directory of these files says. `name.yaml` is written `name`.
pub(crate) fn set(files: &[(&str, &str)]) -> UnitSet {
    read(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
}

fn read(files: BTreeMap<String, String>) -> UnitSet {
    let source =
        |(name, text): (String, String)| SourceFile { name: format!("{name}.yaml"), bytes: text.into() };
    let sources: Vec<SourceFile> = files.into_iter().map(source).collect();
    let loaded = graph::load(&sources);
    let texts: Vec<_> =
        sources.iter().map(|source| (&source.name, String::from_utf8_lossy(&source.bytes))).collect();
    loaded.set.unwrap_or_else(|| panic!("{:#?}\n{texts:#?}", loaded.diagnostics))
}

pub(crate) fn id(set: &UnitSet, name: &str) -> UnitId {
    set.find(name).unwrap_or_else(|| panic!("no unit {name}"))
}

pub(crate) fn unit<'a>(set: &'a UnitSet, name: &str) -> &'a UnitSpec {
    set.unit(id(set, name)).unwrap()
}

pub(crate) fn names(set: &UnitSet) -> Vec<String> {
    set.present_units().map(|unit| unit.name.to_string()).collect()
}

/// Names of units that may be there, by number. Each may depend on those before it.
const NAMES: [&str; 9] = ["ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen", "ibis"];

/// One that may be there: its kind, keys with one of their values each, and whom it names.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    kind: Index,
    keys: Vec<(Index, Index)>,
    edges: Vec<(Index, Index)>,
}

/// Directories with few names and few values, so that two of them have much in common.
pub(crate) fn directory() -> impl Strategy<Value = UnitSet> {
    (prop::collection::vec(prop::option::weighted(0.7, drawn()), NAMES.len()), drawn(), any::<Index>())
        .prop_map(|(units, settings, values)| build(&units, &settings, values))
}

/// Two directories: the second is the first with some units drawn anew.
pub(crate) fn change() -> impl Strategy<Value = (UnitSet, UnitSet)> {
    let unit = || {
        (
            prop::option::weighted(0.7, drawn()),
            prop::option::weighted(0.3, prop::option::weighted(0.7, drawn())),
        )
    };
    let units = prop::collection::vec(unit(), NAMES.len());
    (units, drawn(), any::<Index>(), drawn(), any::<Index>(), any::<bool>()).prop_map(
        |(units, settings, values, other_settings, other_values, is_other)| {
            let before: Vec<_> = units.iter().map(|(unit, _)| unit.clone()).collect();
            let after: Vec<_> =
                units.iter().map(|(unit, anew)| anew.clone().unwrap_or_else(|| unit.clone())).collect();
            let second = if is_other { (&other_settings, other_values) } else { (&settings, values) };
            (build(&before, &settings, values), build(&after, second.0, second.1))
        },
    )
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let pairs = |most| prop::collection::vec((any::<Index>(), any::<Index>()), 0..most);
    (any::<Index>(), pairs(6), pairs(4)).prop_map(|(kind, keys, edges)| Drawn { kind, keys, edges })
}

/// Half are services.
const KINDS: [&str; 8] = ["service", "service", "service", "service", "task", "job", "external", "gate"];

pub(crate) type Keys = &'static [(&'static str, &'static [&'static str])];

/// For every kind. Each value is another definition, and another one than where the key is not there.
const OF_ALL: Keys = &[
    ("description", &["one", "two"]),
    ("phase", &["early"]),
    ("blocks_phase", &["false", "true"]),
    ("enabled", &["false"]),
    ("essential", &["true"]),
    ("protected", &["true"]),
    ("start_timeout", &["7s", "8s"]),
    ("stop", &["{grace: 1s}", "{signal: SIGINT}", "{grace: 2s, command: [halt]}"]),
    (
        "restart",
        &[
            "{backoff: {initial: 2s}}",
            "{backoff: {max: 1h}}",
            "{backoff: {factor: 3}}",
            "{backoff: {jitter: 0.5}}",
        ],
    ),
    ("recover", &["{alert: ops}", "{rungs: [{alert: ops}], settle: 20s}"]),
    ("runbook", &["https://example.org/a", "https://example.org/b"]),
    ("slo", &["99%", "99.95%"]),
    ("labels", &["{a: b}", "{a: c}", "{a: b, d: e}"]),
];
/// For what has processes of ours.
const OF_PROCESSES: Keys = &[
    ("user", &["bin", "7"]),
    ("group", &["bin", "7"]),
    ("supplementary_groups", &["[adm]", "[adm, 27]"]),
    ("working_dir", &["/tmp", "/"]),
    ("environment", &["{A: b}", "{A: c, B: \"${A}/${C:-x}\"}", "{TOKEN: one}", "{TOKEN: two}"]),
    ("env_file", &["[/etc/a]", "[/etc/a, /etc/b]"]),
    ("inherit_env", &["[A]", "[A, B]", "true"]),
    ("no_new_privileges", &["true", "false"]),
    ("capabilities", &["[]", "[CAP_CHOWN]"]),
    ("read_only", &["true"]),
    ("private_tmp", &["true"]),
    ("credentials", &["{a: /a}", "{a: /b}"]),
    ("umask", &["0o027", "0o077"]),
    ("nice", &["5", "-5"]),
    ("cpu_affinity", &["0", "[0, 2-3]"]),
    (
        "limits",
        &[
            "{nofile: 64}",
            "{nofile: {soft: 64, hard: 65}, core: 0}",
            "{memory: 64M}",
            "{memory: 65M, cpu: 1.5, tasks: 7, required: true}",
        ],
    ),
    ("oom_score_adjust", &["5", "-5"]),
    ("log", &["{max_size: 1M}", "{max_age: 1h}", "{keep: 9}", "{when_full: block}"]),
];
const OF_SERVICES: Keys = &[
    ("command", &["[x, \"y z\"]", "[x, \"${A:-b}\"]", "[x]"]),
    (
        "health",
        &[
            "{tcp: 80}",
            "{tcp: 81}",
            "{tcp: 80, interval: 5s}",
            "{tcp: 80, timeout: 2s}",
            "{tcp: 80, retries: 4}",
            "{tcp: 80, retries: {count: 3, of: 5}}",
            "{tcp: 80, successes: 2}",
            "{tcp: 80, start_period: 1s}",
            "{tcp: 80, start_interval: 1s}",
            "[{tcp: 80}, {tcp: 81}]",
            "{unix: /run/a}",
            "{exec: [a]}",
            "{exec: [a, b]}",
            "{http: {host: h, port: 1, path: /a}}",
            "{http: {host: h, port: 1, path: /a, method: HEAD}}",
            "{http: {host: h, port: 1, path: /a, headers: {Host: a}}}",
            "{http: {host: h, port: 1, path: /a, status: 2xx}}",
            "{http: {host: h, port: 1, path: /a, contains: up}}",
            "{http: {host: h, port: 1, path: /a, matches: '^u'}}",
            "{http: {host: h, port: 1, path: /a, that: status == 200}}",
            "{http: {host: h, port: 1, path: /a, follow_redirects: true}}",
            "{http: \"https://h/a\"}",
            "{http: {url: \"https://h/a\", tls: {ca: /etc/ca.pem}}}",
            "{http: {url: \"https://h/a\", tls: {verify: false}}}",
            "{redis: 1}",
            "{redis: /run/a}",
            "{redis: {port: 1, username: u, password: p}}",
            "{redis: {port: 1, password: p}}",
            "{redis: {port: 1, password: q}}",
            "{redis: {port: 1, role: master}}",
            "{redis: {port: 1, role: replica, max_lag: 1s}}",
            "{postgres: 1}",
            "{postgres: {port: 1, user: u}}",
            "{postgres: {port: 1, user: u, password: p}}",
            "{postgres: {port: 1, user: u, database: d}}",
            "{postgres: {port: 1, user: u, query: select 1}}",
            "{postgres: {port: 1, user: u, query: select 1, expect: 1}}",
            "{grpc: \"h:1\"}",
            "{grpc: {port: 1, service: a}}",
            "{grpc: {port: 1, tls: {verify: false}}}",
            "{file: /a}",
            "{file: {path: /a, max_age: 1s}}",
            "{file: {path: /a, min_size: 1}}",
            "{file: {path: /a, max_size: 9}}",
            "{log: {within: 5m}}",
            "{log: {within: 5m, matches: '^a'}}",
            "{log: {bad: '^a'}}",
        ],
    ),
    ("ready", &["notify", "{log: '^a'}", "{log: '^b'}", "{fd: 3}", "{fd: 4}", "started"]),
    ("watchdog", &["5s", "6s"]),
    (
        "listen",
        &[
            "8080",
            "[\"127.0.0.1:8081\"]",
            "[\"udp:127.0.0.1:8081\"]",
            "[{address: /run/808, mode: 0o600}]",
            "[{address: /run/808, name: n}]",
            "{sockets: [8082], lazy: true}",
        ],
    ),
    (
        "restart",
        &[
            "{reset_after: 1m}",
            "{limit: {starts: 3, within: 1h}}",
            "{limit: {starts: 3, within: 1h, then: {retry: 5m}}}",
            "on-failure",
        ],
    ),
    (
        "recover",
        &[
            "[{exec: [fix]}]",
            "[{exec: [fix], timeout: 9s}]",
            "[{reload: SIGHUP}]",
            "[{reload: SIGUSR1}]",
            "[{reload: [a]}]",
            "[restart, stop]",
            "[]",
        ],
    ),
];
const OF_TASKS: Keys = &[("command", &["[x, y]", "[x]"]), ("restart", &["never", "always"])];
const OF_JOBS: Keys = &[
    ("command", &["[x, y]", "[x]"]),
    ("schedule", &["'@daily'", "[\"0 6 * * *\", \"30 0 9 * * sat\"]", "'@hourly'"]),
    ("timezone", &["Europe/Berlin", "Asia/Tokyo"]),
    ("every", &["6h", "7h"]),
    ("on_boot", &["true"]),
    ("run_at_load", &["true"]),
    ("path", &["in/*.csv", "{path: in/*.csv, debounce: 2s}", "[in/a, in/b]"]),
    ("webhook", &["{secret_file: /etc/a}", "{secret_file: /etc/b}", "{secret_file: /etc/a, per_minute: 5}"]),
    ("catch_up", &["none", "all", "{all: 3}"]),
    ("deadline", &["2h", "3h"]),
    ("overlap", &["queue", "replace", "{allow: 2}", "{allow: 3}"]),
    ("jitter", &["5m", "6m"]),
    ("timeout", &["30m", "31m"]),
    ("retries", &["2", "3"]),
    ("weight", &["2", "3"]),
    (
        "output",
        &[
            "{contains: ok}",
            "{contains: [ok, {text: no, at_most: 0, else: sorry}]}",
            "{contains: ok, source: stderr}",
            "{format: json, schema: {type: array}}",
            "{format: json, schema: a.json}",
            "{matches: {pattern: a, at_least: 3}}",
            "{min_size: 2}",
            "{max_size: 9}",
            "{require: size(text) > 1}",
            "{require: {that: size(text) > 1, else: sorry}}",
            "{contains: ok, keep: {runs: 9}}",
            "{contains: ok, keep: {size: 1M}}",
            "{files: {path: out/*.csv}}",
            "{files: {path: out/*.csv, written: any-time}}",
            "{files: {path: out/*.csv, format: csv}}",
        ],
    ),
];
const OF_EXTERNALS: Keys = &[
    ("start", &["[up]", "[up, x]"]),
    ("restart", &["[again]", "[again, x]"]),
    ("stop", &["[down]", "[down, x]"]),
    ("health", &["{tcp: 91}", "[{tcp: 90}, {exec: [a]}]"]),
    ("adapter", &["systemd\ntarget: a", "systemd\ntarget: b", "docker\ntarget: a"]),
];
const OF_GATES: Keys = &[("check", &["host.load1 < 2.0", "host.load1 < 3.0"]), ("interval", &["2s", "3s"])];
pub(crate) const OF_SETTINGS: Keys = &[
    ("phases", &["[early, late]", "[early, middle, late]"]),
    ("boot_timeout", &["1m", "2m"]),
    ("shutdown_timeout", &["3m", "2m"]),
    ("log", &["{total: 2G}", "{total: 3G}"]),
    (
        "alerts",
        &[
            "{ops: {exec: [tell]}}",
            "{ops: {exec: [tell]}, more: {webhook: \"https://h/a\"}}",
            "{ops: {webhook: \"https://h/secret\"}}",
        ],
    ),
    ("concurrency", &["5", "6"]),
    ("hooks", &["{listen: \"127.0.0.1:1\"}", "{listen: \"127.0.0.1:2\"}"]),
    ("heartbeat", &["{url: \"https://h/a\"}", "{url: \"https://h/a\", every: 2m}", "{url: \"https://h/b\"}"]),
];

/// Every kind of unit with its own keys besides those of all.
pub(crate) fn keys_of(kind: &str) -> [Keys; 3] {
    match kind {
        "service" => [OF_ALL, OF_PROCESSES, OF_SERVICES],
        "task" => [OF_ALL, OF_PROCESSES, OF_TASKS],
        "job" => [OF_ALL, OF_PROCESSES, OF_JOBS],
        "external" => [OF_ALL, &[], OF_EXTERNALS],
        _ => [OF_ALL, &[], OF_GATES],
    }
}

fn build(units: &[Option<Drawn>], settings: &Drawn, values: Index) -> UnitSet {
    let mut files = BTreeMap::from([("mcsup".to_owned(), settings_text(settings, values))]);
    files.insert("zoo".to_owned(), "command: [x]\nenabled: false\nphase: late\n".to_owned());
    let mut there: Vec<(&str, &'static str)> = Vec::new();
    for (name, unit) in NAMES.into_iter().zip(units) {
        let Some(unit) = unit else { continue };
        let kind = *unit.kind.get(&KINDS);
        files.insert(name.to_owned(), unit_text(there.len() + 1, kind, unit, &there));
        there.push((name, kind));
    }
    read(files)
}

fn settings_text(settings: &Drawn, values: Index) -> String {
    let mut keys: BTreeMap<&str, &str> = BTreeMap::from([
        ("phases", *values.get(OF_SETTINGS[0].1)),
        ("alerts", "{ops: {exec: [tell]}}"),
        ("hooks", "{listen: \"127.0.0.1:1\"}"),
        ("default_phase", "late"),
    ]);
    for (key, value) in &settings.keys {
        let (key, values) = *key.get(OF_SETTINGS);
        keys.insert(key, *value.get(values));
    }
    text_of(&keys)
}

fn text_of(keys: &BTreeMap<&str, &str>) -> String {
    keys.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
}

/// What a unit of the kind cannot be without.
pub(crate) fn usual(kind: &'static str) -> BTreeMap<&'static str, &'static str> {
    let need = match kind {
        "gate" => ("check", "host.load1 < 1.0"),
        "external" => ("health", "{tcp: 90}"),
        _ => ("command", "[y]"),
    };
    BTreeMap::from([("kind", kind), need])
}

fn unit_text(number: usize, kind: &'static str, unit: &Drawn, there: &[(&str, &str)]) -> String {
    let mut keys = usual(kind);
    let known: Vec<_> = keys_of(kind).into_iter().flatten().collect();
    for (key, value) in &unit.keys {
        let (key, values) = *key.get(&known);
        let mut more = keys.clone();
        more.insert(key, *value.get(values));
        if try_set(&more).is_some() {
            keys = more;
        }
    }
    // No two may have one address.
    let mut text = text_of(&keys).replace("808", &format!("{number}08"));
    let mut edges: BTreeMap<&str, &str> = BTreeMap::new();
    // Who is in the first phase waits for nobody of the second.
    let may_name = |_: &&(&str, &str)| !keys.contains_key("phase");
    let others: Vec<&(&str, &str)> = there.iter().filter(may_name).collect();
    let mut after = None;
    for (other, how) in unit.edges.iter().filter(|_| !others.is_empty()) {
        let (other, other_kind) = **other.get(&others);
        if matches!(other_kind, "task" | "job") && kind == "job" {
            after = Some((other, *how.get(&["succeeded", "failed", "finished"])));
        } else {
            edges
                .insert(other, *how.get(&["{}", "{required: false}", "{follow: restart}", "{follow: stop}"]));
        }
    }
    let edges: Vec<String> = edges.iter().map(|(name, edge)| format!("{name}: {edge}")).collect();
    text.push_str(&format!("depends_on: {{{}}}\n", edges.join(", ")));
    if let Some((name, when)) = after {
        text.push_str(&format!("after: {{{name}: {when}}}\n"));
    }
    // Nobody else names the last one, and nobody depends on it.
    if unit.edges.len() == 3 && kind != "job" {
        text.push_str("conflicts: [zoo]\n");
    }
    let companion = there.iter().find(|(_, kind)| *kind == "service");
    if let (Some((name, _)), "service", 2) = (companion, kind, unit.edges.len()) {
        let others: Vec<&str> = text.lines().filter(|line| !line.starts_with("recover:")).collect();
        return format!("{}\nrecover: [{{restart: {{with: [{name}]}}}}]\n", others.join("\n"));
    }
    text
}

/// The unit `a` with these keys and nothing else; nothing where they do not make sense together or for the kind.
pub(crate) fn try_set(keys: &BTreeMap<&str, &str>) -> Option<UnitSet> {
    let settings = "phases: [early, late]\nalerts: {ops: {exec: [tell]}}\nhooks: {listen: \"127.0.0.1:1\"}\n";
    let file = |name: &str, text: &str| SourceFile { name: name.into(), bytes: text.into() };
    graph::load(&[file("a.yaml", &text_of(keys)), file("mcsup.yaml", settings)]).set
}

#[test]
fn every_key_has_values_that_can_be_drawn() {
    for kind in ["service", "task", "job", "external", "gate"] {
        for (key, values) in keys_of(kind).into_iter().flatten() {
            let is_possible = values.iter().any(|value| {
                let mut keys = usual(kind);
                keys.insert(key, value);
                try_set(&keys).is_some()
            });
            let is_for_others = matches!((kind, *key), ("task", "recover") | ("job", "start_timeout"))
                || matches!((kind, *key), ("job" | "external" | "gate", "essential") | ("gate", "stop"));
            assert_ne!(is_possible, is_for_others, "{kind} {key}");
        }
    }
}
