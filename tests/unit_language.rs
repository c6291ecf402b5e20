//! What unit files mean once they are read: defaults, copies, conditions, fingerprints.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::time::Duration;

use mcsup::graph;
use mcsup::unit::SourceFile;
use mcsup::unit::spec::probe::{Address, HttpProbe, ProbeKind, Retries, Target};
use mcsup::unit::spec::{
    Condition, Follow, InheritEnv, OnLimit, Piece, Ready, Resource, RestartPolicy, SignalNumber, Template,
    UnitKind, UnitSet, UnitSpec, WhenFull,
};

fn set(files: &[(&str, &str)]) -> UnitSet {
    let mut sources: Vec<SourceFile> =
        files.iter().map(|(name, text)| SourceFile { name: (*name).into(), bytes: (*text).into() }).collect();
    sources.sort_by(|one, two| one.name.cmp(&two.name));
    let loaded = graph::load(&sources);
    loaded.set.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics))
}

fn unit<'a>(set: &'a UnitSet, name: &str) -> &'a UnitSpec {
    set.unit(set.find(name).unwrap_or_else(|| panic!("no unit {name}"))).unwrap()
}

fn one(text: &str) -> UnitSpec {
    set(&[("one.yaml", text)]).units.remove(0)
}

fn names(set: &UnitSet) -> Vec<&str> {
    set.units.iter().map(|unit| unit.name.as_str()).collect()
}

/// Names and conditions of what `name` depends on.
fn edges<'a>(set: &'a UnitSet, name: &str) -> Vec<(&'a str, Condition)> {
    unit(set, name)
        .depends_on
        .iter()
        .map(|edge| (set.unit(edge.unit).unwrap().name.as_str(), edge.condition))
        .collect()
}

fn plain(words: &[&str]) -> Vec<Template> {
    words.iter().map(|word| Template::Plain((*word).into())).collect()
}

#[test]
fn a_service_that_says_only_its_command_gets_the_documented_defaults() {
    let set = set(&[("one.yaml", "command: [sleep, '1']\n")]);
    assert_eq!(set.phases, ["main".into()]);
    assert_eq!(set.boot_timeout, Duration::from_secs(300));
    assert_eq!(set.shutdown_timeout, Duration::from_secs(60));
    assert_eq!(set.log_total_bytes, 1 << 30);
    let unit = unit(&set, "one");
    assert_eq!(unit.kind, UnitKind::Service);
    assert!(unit.blocks_phase && unit.enabled && !unit.essential && !unit.protected);
    assert_eq!(unit.command, plain(&["sleep", "1"]));
    assert_eq!(unit.inherit_env, InheritEnv::Basics);
    assert_eq!(unit.ready, Ready::Started);
    assert_eq!(unit.start_timeout, Some(Duration::from_secs(60)));
    assert_eq!(unit.restart.policy, RestartPolicy::Always);
    assert_eq!(unit.restart.backoff.initial, Duration::from_millis(100));
    assert_eq!(unit.restart.backoff.max, Duration::from_secs(30));
    assert_eq!(unit.restart.backoff.factor_permille, 2000);
    assert_eq!(unit.restart.backoff.jitter_permille, 100);
    assert_eq!(unit.restart.reset_after, Duration::from_secs(600));
    assert_eq!(unit.restart.limit, None);
    assert_eq!(unit.stop.signal, SignalNumber::TERM);
    assert_eq!(unit.stop.grace, Duration::from_secs(10));
    assert_eq!((unit.log.max_size_bytes, unit.log.keep, unit.log.max_age), (10 << 20, 5, None));
    assert_eq!(unit.log.when_full, WhenFull::Drop);
    assert_eq!((unit.oom_score_adjust, &unit.instance), (None, &None));
}

#[test]
fn a_task_has_no_start_limit_and_retries_only_failures() {
    let task = one("kind: task\ncommand: [x]\n");
    assert_eq!(task.start_timeout, None);
    assert_eq!(task.restart.policy, RestartPolicy::OnFailure);
}

#[test]
fn what_is_written_is_what_holds() {
    let unit = one("\
command: [x]
start_timeout: unlimited
health: {http: {port: 8080}, interval: 500ms, retries: {count: 3, of: 5}, start_period: 1m30s}
restart: {policy: on-failure, backoff: {initial: 1m, factor: 1.5, jitter: 0}, limit: {starts: 3, within: 1h, then: {retry: 5m}}}
stop: {signal: quit, grace: 0, command: x stop}
limits: {stack: {soft: 8M, hard: unlimited}, nofile: 4096}
oom_score_adjust: -500
log: {max_age: 1d, when_full: block}
");
    assert_eq!(unit.start_timeout, None);
    assert_eq!(unit.ready, Ready::Health);
    let probe = &unit.health[0];
    assert_eq!(
        probe.kind,
        ProbeKind::Http(Box::new(HttpProbe::get(
            Target::Tcp(Address { host: "127.0.0.1".into(), port: 8080 }),
            "/"
        )))
    );
    assert_eq!(probe.timeout, Duration::from_millis(500), "never longer than the interval");
    assert_eq!(probe.retries, Retries { count: 3, of: 5 });
    assert_eq!(probe.start_period, Duration::from_secs(90));
    assert_eq!(unit.restart.policy, RestartPolicy::OnFailure);
    assert_eq!(
        unit.restart.backoff.max,
        Duration::from_secs(60),
        "an initial delay above the usual maximum holds"
    );
    assert_eq!((unit.restart.backoff.factor_permille, unit.restart.backoff.jitter_permille), (1500, 0));
    assert_eq!(unit.restart.limit.unwrap().then, OnLimit::Retry(Duration::from_secs(300)));
    assert_eq!((unit.stop.signal, unit.stop.grace), (SignalNumber(3), Duration::ZERO));
    assert_eq!(unit.stop.command, Some(plain(&["x", "stop"])));
    let limits: Vec<_> = unit.limits.iter().map(|limit| (limit.resource, limit.soft, limit.hard)).collect();
    assert_eq!(limits, [(Resource::Nofile, Some(4096), Some(4096)), (Resource::Stack, Some(8 << 20), None)]);
    assert_eq!(unit.log.max_age, Some(Duration::from_secs(86_400)));
}

#[test]
fn environment_values_stay_as_they_are_written() {
    let unit = one(
        "command: [x]\nenvironment: {MODE: 0644, COUNTRY: no, VERSION: 1.10, BIG: 1_000, NONE: '', HEX: 0x1F}\n",
    );
    let read: Vec<(&str, &Template)> =
        unit.environment.iter().map(|(name, value)| (&**name, value)).collect();
    let expected = [
        ("MODE", "0644"),
        ("COUNTRY", "no"),
        ("VERSION", "1.10"),
        ("BIG", "1_000"),
        ("NONE", ""),
        ("HEX", "0x1F"),
    ];
    for ((name, value), (expected_name, expected)) in read.into_iter().zip(expected) {
        assert_eq!((name, value), (expected_name, &Template::Plain(expected.into())));
    }
}

#[test]
fn a_text_command_is_split_and_the_script_of_a_shell_is_left_alone() {
    assert_eq!(
        one("command: redis-server --save \"\" 'a b'\n").command,
        plain(&["redis-server", "--save", "", "a b"])
    );
    assert_eq!(
        one("command: [/bin/bash, -euc, 'echo ${X} ${Y', '$Z']\n").command,
        plain(&["/bin/bash", "-euc", "echo ${X} ${Y", "$Z"])
    );
    let variable = |name: &str, default: Option<&str>| Piece::Variable {
        name: name.into(),
        default: default.map(Into::into),
    };
    let unit = one("command: [x, '--at=${HOME}/${P:-80}']\n");
    assert_eq!(
        unit.command[1],
        Template::Pieces(vec![
            Piece::Text("--at=".into()),
            variable("HOME", None),
            Piece::Text("/".into()),
            variable("P", Some("80")),
        ])
    );
}

#[test]
fn replicas_are_units_of_their_own_and_their_name_means_all_of_them() {
    let set = set(&[
        ("web.yaml", "command: [x, '${MCSUP_INSTANCE}']\nreplicas: 3\ndepends_on: [db]\n"),
        ("db.yaml", "command: [x, '${MCSUP_INSTANCE}']\nreplicas: 1\n"),
        ("proxy.yaml", "command: [x]\ndepends_on: [web]\n"),
        ("probe.yaml", "command: [x]\ndepends_on: [web@2]\n"),
    ]);
    assert_eq!(names(&set), ["db", "probe", "proxy", "web@1", "web@2", "web@3"]);
    let started = Condition::Started;
    assert_eq!(edges(&set, "proxy"), [("web@1", started), ("web@2", started), ("web@3", started)]);
    assert_eq!(edges(&set, "probe"), [("web@2", started)]);
    assert_eq!(edges(&set, "web@3"), [("db", started)]);
    assert_eq!(unit(&set, "web@2").instance.as_deref(), Some("2"));
    assert_eq!(unit(&set, "db").instance.as_deref(), Some("1"));
}

#[test]
fn ids_are_in_the_order_of_names_beyond_nine_replicas() {
    let set = set(&[
        ("web.yaml", "command: [x]\nreplicas: 11\n"),
        ("all.yaml", "command: [x]\ndepends_on: [web]\n"),
    ]);
    let mut sorted = names(&set);
    sorted.sort_unstable();
    assert_eq!(names(&set), sorted);
    assert_eq!(edges(&set, "all").len(), 11);
    assert!(set.ids().all(|id| set.find(set.unit(id).unwrap().name.as_str()) == Some(id)));
}

#[test]
fn a_template_makes_a_unit_for_each_instance() {
    let set = set(&[
        ("agent@.yaml", "command: [x, '${MCSUP_INSTANCE}']\ninstances: [b, a]\n"),
        ("one.yaml", "command: [x]\ndepends_on: [agent@a]\n"),
        ("all.yaml", "command: [x]\ndepends_on: [agent]\nconflicts: []\n"),
        ("too.yaml", "command: [x]\ndepends_on: ['agent@']\n"),
        ("getty@tty1.yaml", "command: [x]\n"),
    ]);
    assert_eq!(names(&set), ["agent@a", "agent@b", "all", "getty@tty1", "one", "too"]);
    assert_eq!(unit(&set, "agent@b").instance.as_deref(), Some("b"));
    assert_eq!(edges(&set, "one").len(), 1);
    assert_eq!(edges(&set, "all"), edges(&set, "too"));
    assert_eq!(edges(&set, "all").len(), 2);
}

#[test]
fn the_list_form_waits_for_the_most_that_each_unit_can_show() {
    let set = set(&[
        ("plain.yaml", "command: [x]\n"),
        ("probed.yaml", "command: [x]\nhealth: {tcp: 1}\n"),
        ("task.yaml", "kind: task\ncommand: [x]\n"),
        ("web.yaml", "command: [x]\ndepends_on: [task, probed, plain]\n"),
        (
            "app.yaml",
            "command: [x]\ndepends_on: {task: {required: false, follow: restart}, probed: started}\n",
        ),
    ]);
    assert_eq!(
        edges(&set, "web"),
        [("plain", Condition::Started), ("probed", Condition::Healthy), ("task", Condition::Completed)]
    );
    assert!(unit(&set, "web").depends_on.iter().all(|edge| edge.required && edge.follow == Follow::None));
    assert_eq!(edges(&set, "app"), [("probed", Condition::Started), ("task", Condition::Completed)]);
    let weak = &unit(&set, "app").depends_on[1];
    assert_eq!((weak.required, weak.follow), (false, Follow::Restart));
}

#[test]
fn defaults_mix_with_a_unit_key_by_key_and_the_unit_wins() {
    let set = set(&[
        (
            "mcsup.yaml",
            "\
phases: [core, app]
log: {max_size: 1M, keep: 2, total: 100M}
defaults:
  service:
    phase: core
    environment: {A: '1', B: '2'}
    restart: {backoff: {initial: 1s, max: 5s}}
    log: {keep: 3}
    limits: {nofile: 10, core: 0}
    health: {tcp: 9}
  task: {start_timeout: 5m}
",
        ),
        (
            "a.yaml",
            "command: [x]\nenvironment: {B: '3', C: '${A}'}\nrestart: {backoff: {max: 9s}}\nlog: {max_age: 1d}\nlimits: {nofile: 20}\n",
        ),
        ("b.yaml", "command: [x]\nrestart: never\n"),
        ("t.yaml", "kind: task\ncommand: [x]\n"),
    ]);
    let a = unit(&set, "a");
    let variables: Vec<&str> = a.environment.iter().map(|(name, _)| &**name).collect();
    assert_eq!(variables, ["A", "B", "C"]);
    assert_eq!(a.environment[1].1, Template::Plain("3".into()));
    assert_eq!(
        (a.restart.backoff.initial, a.restart.backoff.max),
        (Duration::from_secs(1), Duration::from_secs(9))
    );
    assert_eq!(
        (a.log.max_size_bytes, a.log.keep, a.log.max_age),
        (1 << 20, 3, Some(Duration::from_secs(86_400)))
    );
    assert_eq!(a.limits.iter().map(|limit| limit.soft).collect::<Vec<_>>(), [Some(0), Some(20)]);
    assert_eq!((a.phase.0, a.health.len(), a.ready.clone()), (0, 1, Ready::Health));
    let b = unit(&set, "b");
    assert_eq!((b.restart.policy, b.restart.backoff.initial), (RestartPolicy::Never, Duration::from_secs(1)));
    let t = unit(&set, "t");
    assert_eq!((t.phase.0, t.start_timeout, t.log.keep), (1, Some(Duration::from_secs(300)), 2));
    assert_eq!(set.log_total_bytes, 100 << 20);
}

#[test]
fn merge_keys_bring_values_and_explicit_keys_win() {
    let unit = one("\
command: [x]
labels: &base {team: ops, tier: front}
environment:
  <<: *base
  tier: back
");
    let mut read: Vec<(&str, &Template)> =
        unit.environment.iter().map(|(name, value)| (&**name, value)).collect();
    read.sort_by_key(|(name, _)| *name);
    assert_eq!(read, [("team", &Template::Plain("ops".into())), ("tier", &Template::Plain("back".into()))]);
}

const BASE: &str = "\
description: a
command: [x, '${A}']
environment: {A: '1', B: '2'}
depends_on: [dep, other]
restart: {backoff: {initial: 1s}}
limits: {nofile: 10, core: 0}
labels: {a: b, c: d}
";

fn fingerprints(files: &[(&str, &str)]) -> UnitSpec {
    let mut all =
        vec![("dep.yaml", "command: [x]\nphase: one\n"), ("other.yaml", "command: [x]\nphase: one\n")];
    all.extend_from_slice(files);
    if !files.iter().any(|(name, _)| *name == "mcsup.yaml") {
        all.push(("mcsup.yaml", "phases: [one, two]\n"));
    }
    unit(&set(&all), "one").clone()
}

#[test]
fn a_fingerprint_knows_nothing_of_comments_order_place_and_other_units() {
    let base = fingerprints(&[("one.yaml", BASE)]).fingerprint;
    let reordered = "\
# a comment
labels:
  c: d
  a: b
limits: {core: 0, nofile: 10}
restart:
  backoff: {initial: 1000ms}   # the same second
depends_on: {other: started, dep: {required: true}}
environment: {B: '2', A: '1'}
command: \"x ${A}\"
kind: service
description: a
";
    assert_eq!(fingerprints(&[("one.yaml", reordered)]).fingerprint, base);
    assert_eq!(fingerprints(&[("one.yaml", BASE), ("aaa.yaml", "command: [x]\n")]).fingerprint, base);
    let phases = ("mcsup.yaml", "phases: [zero, one, between, two]\n");
    assert_eq!(fingerprints(&[("one.yaml", BASE), phases]).fingerprint, base);
}

#[test]
fn every_change_of_a_definition_changes_its_fingerprint() {
    let base = fingerprints(&[("one.yaml", BASE)]).fingerprint;
    let mut seen = vec![base];
    let more = [
        "user: root",
        "group: root",
        "supplementary_groups: [adm]",
        "working_dir: /",
        "env_file: /x",
        "inherit_env: true",
        "inherit_env: [X]",
        "kind: task",
        "phase: one",
        "blocks_phase: false",
        "enabled: false",
        "essential: true",
        "protected: true",
        "conflicts: [off]",
        "health: {tcp: 1}",
        "health: {tcp: 2}",
        "health: {http: 'http://127.0.0.1:1/'}",
        "health: {tcp: 1, interval: 2s}",
        "health: {tcp: 1, timeout: 2s}",
        "health: {tcp: 1, retries: 2}",
        "health: {tcp: 1, start_period: 2s}",
        "start_timeout: 2s",
        "start_timeout: unlimited",
        "stop: {grace: 1s}",
        "stop: {signal: SIGINT}",
        "stop: {command: [y]}",
        "oom_score_adjust: 1",
        "log: {max_size: 1M}",
        "log: {max_age: 1d}",
        "log: {keep: 1}",
        "log: {when_full: block}",
        "runbook: y",
        "replicas: 1",
    ];
    for line in more {
        let text = format!("{BASE}{line}\n");
        let print =
            fingerprints(&[("one.yaml", &text), ("off.yaml", "command: [x]\nenabled: false\n")]).fingerprint;
        assert!(!seen.contains(&print), "{line} changed nothing");
        seen.push(print);
    }
    let changes = [
        ("description: a", "description: b"),
        ("'${A}'", "'${B}'"),
        ("B: '2'", "B: '3'"),
        ("[dep, other]", "[dep]"),
        ("[dep, other]", "{dep: started, other: {required: false}}"),
        ("[dep, other]", "{dep: started, other: {follow: stop}}"),
        ("initial: 1s", "initial: 2s"),
        ("initial: 1s", "initial: 1s, jitter: 0"),
        ("nofile: 10", "nofile: 11"),
        ("c: d", "c: e"),
        ("[x,", "[y,"),
    ];
    for (from, to) in changes {
        assert!(BASE.contains(from), "{from}");
        let print = fingerprints(&[("one.yaml", &BASE.replace(from, to))]).fingerprint;
        assert!(!seen.contains(&print), "{to} changed nothing");
        seen.push(print);
    }
}

#[test]
fn a_fingerprint_kept_on_disk_means_the_same_in_the_next_build() {
    // Changes only when the language does; then every unit counts as changed once.
    assert_eq!(format!("{:016x}", fingerprints(&[("one.yaml", BASE)]).fingerprint.0), "413bd15615f5a204");
}
