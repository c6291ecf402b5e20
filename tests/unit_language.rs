//! What unit files mean once they are read: defaults, copies, conditions, fingerprints.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::time::Duration;

use mcsup::graph;
use mcsup::unit::schedule::{Schedule, Timetable, UnixTime, Zone};
use mcsup::unit::spec::job::{AfterEnd, CatchUp, Hooks, JobSpec, Overlap, PathTrigger, Webhook};
use mcsup::unit::spec::listen::ListenAddress;
use mcsup::unit::spec::probe::{Address, Expression, HttpProbe, Pattern, ProbeKind, Retries, Target};
use mcsup::unit::spec::recover::{Ladder, Reload, Route, Rung};
use mcsup::unit::spec::{
    Condition, Follow, InheritEnv, OnLimit, Piece, Ready, Resource, RestartPolicy, SignalNumber, Template,
    UnitKind, UnitSet, UnitSpec, WhenFull,
};
use mcsup::unit::{SourceFile, schema};

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
fn a_job_that_says_only_when_gets_the_documented_defaults() {
    let unit = one("kind: job\ncommand: [x]\nschedule: '0 6 * * *'\n");
    assert!(!unit.blocks_phase, "nobody waits for what may run tomorrow");
    assert_eq!(unit.start_timeout, Some(Duration::from_secs(3600)));
    assert_eq!(unit.recover, Ladder::empty());
    let job = unit.job.unwrap();
    let schedules = vec![Schedule::parse("0 6 * * *").unwrap()];
    let expected = JobSpec {
        timetable: Timetable { schedules, zone: Zone::UTC },
        every: None,
        on_boot: false,
        run_at_load: false,
        after: Vec::new(),
        paths: Vec::new(),
        webhook: None,
        catch_up: CatchUp::Once,
        deadline: None,
        overlap: Overlap::Skip,
        jitter: Duration::ZERO,
        retries: 0,
        weight: 1,
        output: None,
    };
    assert_eq!(*job, expected);
    let set = set(&[("a.yaml", "kind: task\ncommand: [x]\n")]);
    assert_eq!((set.concurrency, set.hooks), (None, None));
}

#[test]
fn what_is_written_of_a_job_is_what_holds() {
    let set = set(&[
        ("mcsup.yaml", "concurrency: 7\nhooks: {listen: '[::1]:8787'}\n"),
        (
            "post.yaml",
            "\
kind: job
command: [x]
schedule: ['0 6 * * *', '@weekly']
timezone: europe/berlin
every: 90m
on_boot: true
run_at_load: true
after: {format: failed, create: finished}
path: [in/*.csv, {path: /srv/a, debounce: 2s}]
webhook: {secret_file: hook.key, per_minute: 5}
catch_up: all
deadline: 1h
overlap: allow
jitter: 5m
timeout: unlimited
retries: 2
weight: 3
output: {contains: ok}
",
        ),
        ("create.yaml", "kind: task\ncommand: [x]\n"),
        ("format.yaml", "kind: job\ncommand: [x]\nafter: create\ncatch_up: {all: 2}\noverlap: {allow: 9}\n"),
    ]);
    assert_eq!(set.concurrency, Some(7));
    let listen = Address { host: "::1".into(), port: 8787 };
    assert_eq!(set.hooks, Some(Hooks { listen }));
    let post = unit(&set, "post");
    assert_eq!(post.start_timeout, None);
    let job = post.job.as_deref().unwrap();
    assert_eq!(job.timetable.schedules.len(), 2);
    assert_eq!(job.timetable.zone.name(), "Europe/Berlin");
    assert_eq!((job.every, job.deadline), (Some(Duration::from_secs(5400)), Some(Duration::from_secs(3600))));
    assert!(job.on_boot && job.run_at_load && job.output.is_some());
    let after: Vec<_> = job.after.iter().map(|after| (after.unit, after.when)).collect();
    let find = |name: &str| set.find(name).unwrap();
    assert_eq!(after, [(find("format"), AfterEnd::Failed), (find("create"), AfterEnd::Finished)]);
    let path =
        |path: &str, millis| PathTrigger { path: path.into(), debounce: Duration::from_millis(millis) };
    assert_eq!(job.paths, [path("in/*.csv", 500), path("/srv/a", 2000)]);
    assert_eq!(job.webhook, Some(Webhook { secret_file: "hook.key".into(), per_minute: 5 }));
    assert_eq!((job.catch_up, job.overlap), (CatchUp::All { most: 100 }, Overlap::Allow { most: 4 }));
    assert_eq!((job.jitter, job.retries, job.weight), (Duration::from_secs(300), 2, 3));
    let format = unit(&set, "format").job.as_deref().unwrap();
    assert_eq!((format.after[0].unit, format.after[0].when), (find("create"), AfterEnd::Succeeded));
    assert_eq!((format.catch_up, format.overlap), (CatchUp::All { most: 2 }, Overlap::Allow { most: 9 }));
}

#[test]
fn the_page_on_jobs_shows_what_is_read_and_names_every_key() {
    let page = include_str!("../docs/JOBS.md");
    let block = |start: &str| page.split_once(start).unwrap().1.split_once("```\n").unwrap().0;
    let set = set(&[
        ("trends.yaml", block("```yaml\n# units/trends.yaml\n")),
        ("mcsup.yaml", &format!("{}alerts: {{ops: {{exec: [logger]}}}}\n", block("```yaml\n# mcsup.yaml\n"))),
        ("litellm.yaml", "command: [x]\n"),
    ]);
    let job = unit(&set, "trends").job.as_deref().unwrap();
    assert_eq!(job.words("trends", &set), "at 08:00 every day (Europe/Berlin)");
    let zone = &job.timetable.zone;
    let noon = UnixTime(1_795_172_400);
    let next = format!(
        "trends: {}, next {}",
        job.words("trends", &set),
        zone.show(job.timetable.next(noon).unwrap())
    );
    assert!(page.contains(&next), "{next}");
    let keys = schema::unit();
    let keys = keys["properties"].as_object().unwrap().iter();
    let of_jobs = keys.filter(|(_, key)| key["description"].as_str().unwrap().starts_with("Job: "));
    let missing: Vec<&String> =
        of_jobs.map(|(key, _)| key).filter(|key| !page.contains(&format!("`{key}`"))).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn what_starts_a_job_is_said_in_words() {
    let set = set(&[
        ("mcsup.yaml", "hooks: {listen: '127.0.0.1:8787'}\n"),
        ("a.yaml", "kind: job\ncommand: [x]\nschedule: '0 8 * * *'\ntimezone: Europe/Berlin\n"),
        ("b.yaml", "kind: job\ncommand: [x]\nevery: 15m\non_boot: true\nrun_at_load: true\n"),
        ("c.yaml", "kind: job\ncommand: [x]\nafter: {a: succeeded, b: failed, t: finished}\n"),
        ("d.yaml", "kind: job\ncommand: [x]\npath: [in/*.csv, /srv/x]\nwebhook: {secret_file: k}\n"),
        ("e.yaml", "kind: job\ncommand: [x]\n"),
        ("t.yaml", "kind: task\ncommand: [x]\n"),
    ]);
    for (name, words) in [
        ("a", "at 08:00 every day (Europe/Berlin)"),
        ("b", "every 15m, or once in each boot, or whenever it is armed"),
        ("c", "when a succeeded and b failed and t finished"),
        ("d", "when in/*.csv changes, or when /srv/x changes, or on POST /v1/hooks/d"),
        ("e", "only when somebody runs it"),
    ] {
        assert_eq!(unit(&set, name).job.as_deref().unwrap().words(name, &set), words);
    }
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

/// No two of these are the same job.
const JOBS: &[&str] = &[
    "",
    "schedule: '0 6 * * *'",
    "schedule: '1 6 * * *'",
    "schedule: '0 0 6 * * *'\nretries: 9",
    "schedule: ['0 6 * * *', '0 7 * * *']",
    "schedule: '0 6 * * *'\ntimezone: Europe/Berlin",
    "schedule: '0 6 * * *'\ncatch_up: none",
    "schedule: '0 6 * * *'\ncatch_up: all",
    "schedule: '0 6 * * *'\ncatch_up: {all: 2}",
    "schedule: '0 6 * * *'\njitter: 1s",
    "every: 1h",
    "every: 2h",
    "on_boot: true",
    "run_at_load: true",
    "after: [task]",
    "after: {task: failed}",
    "after: {task: finished}",
    "after: [other-task]",
    "after: [task, other-task]",
    "path: a",
    "path: b",
    "path: [a, b]",
    "path: {path: a, debounce: 1s}",
    "webhook: {secret_file: a}",
    "webhook: {secret_file: b}",
    "webhook: {secret_file: a, per_minute: 1}",
    "deadline: 1h",
    "overlap: queue",
    "overlap: replace",
    "overlap: allow",
    "overlap: {allow: 2}",
    "timeout: 2h",
    "timeout: unlimited",
    "retries: 1",
    "weight: 2",
    "output: {contains: a}",
    "output: {contains: b}",
    "output: {contains: {text: a, else: b}}",
    "output: {contains: a, source: stderr}",
    "output: {contains: a, min_size: 2}",
    "output: {contains: a, max_size: 2K}",
    "output: {matches: a}",
    "output: {require: 'exit == 0'}",
    "output: {require: {that: 'exit == 0', else: a}}",
    "output: {format: json}",
    "output: {format: yaml}",
    "output: {format: json, schema: a.json}",
    "output: {format: json, schema: {type: object}}",
    "output: {files: {path: a}}",
    "output: {files: {path: a, written: any-time}}",
    "output: {contains: a, keep: {runs: 1}}",
    "output: {contains: a, keep: {size: 1M}}",
];

#[test]
fn every_change_of_a_job_changes_its_fingerprint() {
    let job = |lines: &str| {
        let text = format!("kind: job\ncommand: [x]\n{lines}\n");
        let files = [
            ("one.yaml", text.as_str()),
            ("mcsup.yaml", "phases: [one, two]\nhooks: {listen: '127.0.0.1:1'}\n"),
            ("task.yaml", "kind: task\ncommand: [x]\n"),
            ("other-task.yaml", "kind: task\ncommand: [x]\n"),
        ];
        fingerprints(&files).fingerprint
    };
    let mut seen: Vec<(&str, _)> = Vec::new();
    for lines in JOBS.iter().copied() {
        let print = job(lines);
        let same = seen.iter().find(|(_, seen)| *seen == print);
        assert_eq!(same, None, "{lines}");
        seen.push((lines, print));
    }
    // However it is written.
    assert_eq!(job("schedule: '0 6 * * *'"), job("schedule: '0 0 06 * * *'\ntimezone: utc\nweight: 1"));
    assert_eq!(job("schedule: '@daily'"), job("schedule: ['0 0 * * *']\ncatch_up: once"));
    assert_eq!(job("path: a"), job("path: [{path: a, debounce: 500ms}]"));
}

#[test]
fn a_fingerprint_kept_on_disk_means_the_same_in_the_next_build() {
    // Changes only when the language does; then every unit counts as changed once.
    assert_eq!(format!("{:016x}", fingerprints(&[("one.yaml", BASE)]).fingerprint.0), "9d09a220d9d4d34f");
}

#[test]
fn one_bad_line_is_enough() {
    let retries = |health: &str| {
        let set = set(&[("a.yaml", &format!("command: a\nhealth: {{log: {health}}}\n"))]);
        set.units[0].health[0].retries
    };
    assert_eq!(retries("{bad: FATAL}"), Retries { count: 1, of: 1 });
    assert_eq!(retries("{within: 1m}"), Retries { count: 3, of: 3 });
    assert_eq!(retries("{bad: FATAL}, retries: 2"), Retries { count: 2, of: 2 });
}

#[test]
fn an_external_unit_gets_its_commands_from_its_adapter() {
    let set = set(&[
        ("redis.yaml", "kind: external\nadapter: docker\ntarget: redis\nhealth: {redis: 6379}\n"),
        (
            "crm.yaml",
            "kind: external\nadapter: pm2\ntarget: crm\nhealth: {tcp: 1}\nrestart: [pm2, reload, crm]\n",
        ),
        ("reactor.yaml", "kind: external\nadapter: systemd\ntarget: reactor\n"),
        ("watched.yaml", "kind: external\nhealth: {tcp: 1}\nstop: [x, stop]\n"),
    ]);
    let redis = unit(&set, "redis");
    assert_eq!(redis.levers.start, Some(plain(&["docker", "start", "redis"])));
    assert_eq!(redis.levers.restart, Some(plain(&["docker", "restart", "redis"])));
    assert_eq!(redis.stop.command, Some(plain(&["docker", "stop", "redis"])));
    assert_eq!((redis.ready.clone(), redis.command.len()), (Ready::Health, 0));
    assert_eq!(redis.start_timeout, Some(Duration::from_secs(60)));
    assert_eq!(redis.recover, Ladder::restart());
    let crm = unit(&set, "crm");
    assert_eq!(crm.levers.restart, Some(plain(&["pm2", "reload", "crm"])), "the file wins");
    assert_eq!(crm.levers.start, Some(plain(&["pm2", "start", "crm"])));
    let asked = unit(&set, "reactor").health[0].command();
    assert_eq!(asked, Some(plain(&["systemctl", "is-active", "--quiet", "reactor"]).as_slice()));
    let watched = unit(&set, "watched");
    assert_eq!((&watched.levers.start, watched.stop.command.is_some()), (&None, true));
    assert_eq!(watched.recover, Ladder::empty(), "what nothing starts is not restarted");
}

#[test]
fn a_gate_is_one_probe_without_patience() {
    let gate = one("kind: gate\ncheck: guard.level == 'normal'\n");
    let probe = &gate.health[0];
    assert_eq!(probe.kind, ProbeKind::Check(Expression("guard.level == 'normal'".into())));
    assert_eq!((probe.retries, probe.interval), (Retries { count: 1, of: 1 }, Duration::from_secs(5)));
    assert_eq!((gate.ready, gate.recover), (Ready::Health, Ladder::empty()));
    assert_eq!(gate.start_timeout, Some(Duration::from_secs(60)));
}

#[test]
fn what_watches_and_gates_is_waited_for_until_it_is_healthy() {
    let set = set(&[
        ("db.yaml", "kind: external\nadapter: systemd\ntarget: db\n"),
        ("gate.yaml", "kind: gate\ncheck: 'true'\n"),
        ("web.yaml", "command: [x]\ndepends_on: [db, gate]\n"),
    ]);
    assert_eq!(edges(&set, "web"), [("db", Condition::Healthy), ("gate", Condition::Healthy)]);
}

#[test]
fn the_short_form_of_a_probe_means_what_the_long_one_says() {
    for (short, long) in [
        ("redis: 6379", "redis: {}"),
        ("redis: 'db:7000'", "redis: {host: db, port: 7000}"),
        ("redis: /run/r.sock", "redis: {socket: /run/r.sock}"),
        ("postgres: 5432", "postgres: {host: 127.0.0.1}"),
        ("postgres: /run/postgresql/.s.PGSQL.5433", "postgres: {socket: /run/postgresql, port: 5433}"),
        ("grpc: 'a:50051'", "grpc: {host: a, port: 50051}"),
        ("tcp: '[::1]:80'", "tcp: {host: '::1', port: 80}"),
        ("file: beat", "file: {path: beat}"),
        ("http: 'https://a/x'", "http: {host: a, path: /x, tls: true}"),
        ("http: 'https://a:8443/x'", "http: {url: 'https://a:8443/x', tls: {verify: true}}"),
        ("http: 'http+unix:///run/a.sock:/x'", "http: {socket: /run/a.sock, path: /x}"),
        ("http: {port: 80, status: 2xx}", "http: {port: 80, status: [200-299]}"),
    ] {
        let kind = |probe: &str| one(&format!("command: [x]\nhealth: {{{probe}}}\n")).health.remove(0).kind;
        assert_eq!(kind(short), kind(long), "{short}");
    }
}

#[test]
fn sockets_stand_in_the_order_of_their_descriptors_and_bear_the_name_of_the_unit() {
    let set = set(&[(
        "web@.yaml",
        "command: [x]\ninstances: [a]\nlisten: {sockets: [80, {address: /run/w, name: main, mode: 0o600}], lazy: true}\n",
    )]);
    let listen = &unit(&set, "web@a").listen;
    assert!(listen.is_lazy);
    let names: Vec<&str> = listen.sockets.iter().map(|socket| &*socket.name).collect();
    assert_eq!(names, ["web@a", "main"]);
    assert_eq!(listen.sockets[0].address, ListenAddress::Tcp(Address { host: "::".into(), port: 80 }));
    assert_eq!(listen.sockets[1].address, ListenAddress::Unix { path: "/run/w".into(), mode: 0o600 });
}

#[test]
fn a_ladder_is_read_rung_by_rung() {
    let set = set(&[
        (
            "mcsup.yaml",
            "alerts: {ops: {webhook: 'https://example.org/x'}}\nheartbeat: {url: 'http://example.org'}\n",
        ),
        ("db.yaml", "command: [x]\nreplicas: 2\n"),
        (
            "web.yaml",
            "command: [x]\nslo: 99.95%\nwatchdog: 30s\nready: {log: '^up'}\nrecover: {rungs: [{exec: fix it}, {reload: HUP}, {restart: {with: [db]}}, {alert: ops}, stop], settle: 3s}\n",
        ),
    ]);
    let web = unit(&set, "web");
    assert_eq!(web.recover.settle, Duration::from_secs(3));
    assert_eq!(
        *web.recover.rungs,
        [
            Rung::Exec { command: plain(&["fix", "it"]), timeout: Duration::from_secs(60) },
            Rung::Reload(Reload::Signal(SignalNumber::HUP)),
            Rung::Restart { with: vec![set.find("db@1").unwrap(), set.find("db@2").unwrap()] },
            Rung::Alert { channel: "ops".into() },
            Rung::Stop,
        ]
    );
    assert_eq!((web.slo_ppm, web.watchdog), (Some(999_500), Some(Duration::from_secs(30))));
    assert_eq!(web.ready, Ready::Log(Pattern("^up".into())));
    assert_eq!(set.alerts[0].route, Route::Webhook { url: "https://example.org/x".into() });
    assert_eq!(set.heartbeat.as_ref().unwrap().every, Duration::from_secs(60));
    assert_eq!(unit(&set, "db@1").recover, Ladder::restart());
}

/// Each differs from all others in one thing, and is another unit by it.
const SERVICES: &[&str] = &[
    "",
    "ready: health",
    "ready: notify",
    "ready: {log: a}",
    "ready: {log: b}",
    "ready: {fd: 3}",
    "ready: {fd: 4}",
    "watchdog: 1s",
    "watchdog: 2s",
    "listen: 80",
    "listen: 81",
    "listen: 'udp::80'",
    "listen: /a",
    "listen: {address: /a, mode: 0o600}",
    "listen: {address: /a, name: b}",
    "listen: {sockets: 80, lazy: true}",
    "recover: []",
    "recover: stop",
    "recover: [restart, restart]",
    "recover: {restart: {with: [dep]}}",
    "recover: {reload: HUP}",
    "recover: {reload: INT}",
    "recover: {reload: [x]}",
    "recover: {exec: [x]}",
    "recover: {exec: [x], timeout: 1s}",
    "recover: {rungs: restart, settle: 1s}",
    "slo: 99%",
    "slo: 99.9%",
];

/// As many questions.
const PROBES: &[&str] = &[
    "tcp: 2",
    "tcp: 1, successes: 2",
    "tcp: 1, start_interval: 1s",
    "unix: /a",
    "unix: /b",
    "exec: [a]",
    "redis: 1",
    "redis: /a",
    "redis: {port: 1, password: a}",
    "redis: {port: 1, password: b}",
    "redis: {port: 1, username: a, password: a}",
    "redis: {port: 1, role: master}",
    "redis: {port: 1, role: replica}",
    "redis: {port: 1, max_lag: 1s}",
    "postgres: 1",
    "postgres: /a",
    "postgres: {port: 1, user: a}",
    "postgres: {port: 1, password: a}",
    "postgres: {port: 1, database: a}",
    "postgres: {port: 1, query: a}",
    "postgres: {port: 1, query: a, expect: b}",
    "grpc: 1",
    "grpc: {port: 1, service: a}",
    "grpc: {port: 1, tls: true}",
    "grpc: {port: 1, tls: {ca: /a}}",
    "grpc: {port: 1, tls: {verify: false}}",
    "file: a",
    "file: {path: a, max_age: 1s}",
    "file: {path: a, min_size: 1}",
    "file: {path: a, max_size: 1}",
    "log: {within: 1s}",
    "log: {bad: a}",
    "log: {within: 1s, bad: a}",
    "log: {within: 1s, matches: a}",
    "http: {port: 1}",
    "http: {port: 1, method: HEAD}",
    "http: {port: 1, headers: {a: b}}",
    "http: {port: 1, headers: {a: c}}",
    "http: {port: 1, status: 200}",
    "http: {port: 1, contains: a}",
    "http: {port: 1, matches: a}",
    "http: {port: 1, that: 'status == 200'}",
    "http: {port: 1, follow_redirects: true}",
    "http: {port: 1, tls: true}",
    "http: {port: 1, path: /a}",
    "http: {socket: /a}",
];

#[test]
fn every_part_of_what_works_means_changes_the_fingerprint() {
    let service = SERVICES.iter().map(|line| {
        let ready = if line.starts_with("ready") { "" } else { "ready: started\n" };
        format!("command: [x]\nhealth: {{tcp: 1}}\n{ready}{line}\n")
    });
    let probes = PROBES.iter().map(|probe| format!("command: [x]\nhealth: {{{probe}}}\n"));
    let levers = [
        "start: [a]",
        "stop: [a]",
        "restart: [a]",
        "adapter: docker\ntarget: a",
        "adapter: docker\ntarget: b",
        "adapter: pm2\ntarget: a",
    ];
    let external = levers.map(|levers| format!("kind: external\nhealth: {{tcp: 1}}\n{levers}\n"));
    let gates = ["true", "false"].map(|check| format!("kind: gate\ncheck: {check}\n"));
    let mut seen = std::collections::BTreeMap::new();
    for text in service.chain(probes).chain(external).chain(gates) {
        let print = fingerprints(&[("one.yaml", &text)]).fingerprint;
        if let Some(other) = seen.insert(print, text.clone()) {
            panic!("one fingerprint for\n{other}\nand\n{text}");
        }
    }
}
