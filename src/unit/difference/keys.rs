//! A definition turned back into the keys of its file. Everything is taken apart by name, so that a new field asks
//! under which key it stands.

use std::time::Duration;

use crate::unit::amount::show;
use crate::unit::difference::class::NAME;
use crate::unit::difference::job::job_keys;
use crate::unit::difference::probes::{check_keys, probe, template_value};
use crate::unit::difference::shown::{Shown, map};
use crate::unit::file::resource_name;
use crate::unit::read::InWords;
use crate::unit::spec::changes::Changes;
use crate::unit::spec::job::Hooks;
use crate::unit::spec::listen::{Listen, ListenAddress, SocketSpec};
use crate::unit::spec::probe::{Address, Pattern};
use crate::unit::spec::recover::{Channel, Heartbeat, Ladder, Reload, Route, Rung};
use crate::unit::spec::{
    Backoff, Dependency, InheritEnv, Levers, LogSpec, OnLimit, Piece, Ready, ResourceLimit, RestartSpec,
    StartLimit, StopSpec, Template, UnitId, UnitKind, UnitSet, UnitSpec,
};

/// Keys with their values.
pub(super) struct Keys(Vec<(&'static str, Shown)>);

impl Keys {
    pub(super) fn get(&self, key: &str) -> Option<&Shown> {
        self.0.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }
}

pub(super) fn unit_keys(unit: &UnitSpec, set: &UnitSet) -> Keys {
    let UnitSpec {
        name,
        depends_on,
        kind,
        phase,
        blocks_phase,
        enabled,
        is_removed: _,
        essential,
        protected,
        health,
        restart,
        start_timeout,
        stop,
        description,
        job,
        levers: Levers { start, restart: restart_command },
        conflicts,
        recover,
        log,
        runbook,
        slo_ppm,
        labels,
        fingerprint: _,
        place: _,
        // Of the process, below.
        command: _,
        user: _,
        group: _,
        supplementary_groups: _,
        working_dir: _,
        environment: _,
        env_file: _,
        inherit_env: _,
        ready: _,
        watchdog: _,
        listen: _,
        limits: _,
        oom_score_adjust: _,
        instance: _,
    } = unit;
    let phase = set.phases.get(usize::from(phase.0)).map_or("", |name| name);
    let timeout = if *kind == UnitKind::Job { "timeout" } else { "start_timeout" };
    let mut keys = vec![
        (NAME, Some(Shown::words(name.as_str()))),
        ("description", text(description.as_deref())),
        ("kind", Some(Shown::is(kind))),
        ("phase", Some(Shown::words(phase))),
        ("blocks_phase", Some(Shown::is(blocks_phase))),
        ("enabled", Some(Shown::is(enabled))),
        ("essential", Some(Shown::is(essential))),
        ("protected", Some(Shown::is(protected))),
        ("start", start.as_deref().map(words)),
        ("depends_on", Some(edges(depends_on, set))),
        ("conflicts", (!conflicts.is_empty()).then(|| by_name(conflicts, set))),
        (timeout, Some(limit(*start_timeout))),
        ("recover", Some(ladder(recover, set))),
        ("restart", Some(restarts(restart, restart_command.as_deref()))),
        ("stop", Some(stops(stop))),
        ("log", Some(logged(log))),
        ("runbook", text(runbook.as_deref())),
        ("slo", slo_ppm.map(percent)),
        ("labels", Some(pairs(labels))),
    ];
    keys.extend(process_keys(unit));
    let probes = || vec![("health", Some(Shown::List(health.iter().map(probe).collect())))];
    keys.extend(if *kind == UnitKind::Gate { check_keys(health) } else { probes() });
    keys.extend(job.as_deref().into_iter().flat_map(|job| job_keys(job, set)));
    there(keys)
}

/// What its process is started with.
fn process_keys(unit: &UnitSpec) -> [(&'static str, Option<Shown>); 14] {
    let texts = |texts: &[Box<str>]| (!texts.is_empty()).then(|| Shown::line(owned(texts)));
    [
        ("command", (!unit.command.is_empty()).then(|| words(&unit.command))),
        ("user", text(unit.user.as_deref())),
        ("group", text(unit.group.as_deref())),
        ("supplementary_groups", texts(&unit.supplementary_groups)),
        ("working_dir", text(unit.working_dir.as_deref())),
        ("environment", Some(variables(&unit.environment))),
        ("env_file", texts(&unit.env_file)),
        ("inherit_env", Some(inherited(&unit.inherit_env))),
        ("ready", Some(sign(&unit.ready))),
        ("watchdog", unit.watchdog.map(time)),
        ("listen", sockets(&unit.listen)),
        ("limits", Some(limited(&unit.limits))),
        ("oom_score_adjust", unit.oom_score_adjust.map(|score| Shown::is(&score))),
        ("instances", text(unit.instance.as_deref())),
    ]
}

fn text(text: Option<&str>) -> Option<Shown> {
    text.map(Shown::words)
}

pub(super) fn settings_keys(set: &UnitSet) -> Keys {
    let UnitSet {
        units: _,
        sorted: _,
        phases,
        boot_timeout,
        shutdown_timeout,
        log_total_bytes,
        alerts,
        concurrency,
        hooks,
        heartbeat,
        changes,
    } = set;
    let channels = alerts.iter().map(|Channel { name, route }| (name.to_string(), to(route)));
    there(vec![
        ("phases", Some(Shown::line(owned(phases)))),
        ("boot_timeout", Some(time(*boot_timeout))),
        ("shutdown_timeout", Some(time(*shutdown_timeout))),
        ("log", Some(map([("total", Some(size(*log_total_bytes)))]))),
        ("alerts", Some(Shown::Map(channels.collect()))),
        ("concurrency", concurrency.map(|most| Shown::is(&most))),
        ("hooks", hooks.as_ref().map(|Hooks { listen }| map([("listen", Some(address(listen)))]))),
        (
            "heartbeat",
            heartbeat.as_ref().map(|Heartbeat { url, every }| {
                map([("url", Some(Shown::link(url))), ("every", Some(time(*every)))])
            }),
        ),
        ("apply", Some(apply(changes))),
        ("approval", Some(Shown::is(if changes.needs_approval { "required" } else { "protected" }))),
        ("approvers", (!changes.approvers.is_empty()).then(|| Shown::line(owned(&changes.approvers)))),
        (
            "retention",
            Some(map([
                ("count", Some(Shown::is(&changes.keep_count))),
                ("age", Some(time(changes.keep_age))),
            ])),
        ),
    ])
}

fn apply(changes: &Changes) -> Shown {
    map([
        ("verify", Some(time(changes.verify))),
        ("settle", Some(time(changes.settle))),
        ("on_failure", Some(Shown::is(if changes.rolls_back { "rollback" } else { "keep" }))),
        ("confirm", Some(Shown::is(if changes.confirm.is_some() { "required" } else { "none" }))),
        ("confirm_within", changes.confirm.map(time)),
    ])
}

fn there(keys: Vec<(&'static str, Option<Shown>)>) -> Keys {
    Keys(keys.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
}

fn owned(texts: &[Box<str>]) -> impl Iterator<Item = String> {
    texts.iter().map(ToString::to_string)
}

pub(super) fn name_of(id: UnitId, set: &UnitSet) -> String {
    set.unit(id).map_or_else(String::new, |unit| unit.name.to_string())
}

pub(super) fn words(command: &[Template]) -> Shown {
    Shown::line(command.iter().map(written))
}

/// As a unit file has it.
pub(super) fn written(template: &Template) -> String {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => text.to_string(),
        Piece::Variable { name, default: None } => format!("${{{name}}}"),
        Piece::Variable { name, default: Some(default) } => format!("${{{name}:-{default}}}"),
    };
    match template {
        Template::Plain(text) => text.to_string(),
        Template::Pieces(pieces) => pieces.iter().map(piece).collect(),
    }
}

pub(super) fn time(duration: Duration) -> Shown {
    Shown::Text(show(duration))
}

fn limit(duration: Option<Duration>) -> Shown {
    duration.map_or_else(|| Shown::is("unlimited"), time)
}

pub(super) fn size(bytes: u64) -> Shown {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let fits = |shift: &(u32, &str)| bytes.trailing_zeros() >= shift.0 && bytes > 0;
    Shown::Text(match units.into_iter().find(fits) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    })
}

pub(super) fn address(Address { host, port }: &Address) -> Shown {
    Shown::Text(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// 2000 is `2`, 1500 is `1.5`.
fn factor(permille: u32) -> Shown {
    Shown::Text(decimal(permille, 1000, 3))
}

/// 999500 is `99.95%`.
fn percent(ppm: u32) -> Shown {
    Shown::Text(format!("{}%", decimal(ppm, 10_000, 4)))
}

fn decimal(parts: u32, one: u32, digits: usize) -> String {
    let whole = parts.checked_div(one).unwrap_or(0);
    let rest = format!("{:0digits$}", parts.checked_rem(one).unwrap_or(0));
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { whole.to_string() } else { format!("{whole}.{rest}") }
}

/// By name, as their order says nothing.
fn variables(variables: &[(Box<str>, Template)]) -> Shown {
    let mut sorted: Vec<_> =
        variables.iter().map(|(name, value)| (name.to_string(), template_value(name, value))).collect();
    sorted.sort_by(|(one, _), (two, _)| one.cmp(two));
    Shown::Map(sorted)
}

fn inherited(inherit: &InheritEnv) -> Shown {
    match inherit {
        InheritEnv::Basics => Shown::is(&false),
        InheritEnv::Everything => Shown::is(&true),
        InheritEnv::Names(names) => {
            let mut names: Vec<String> = owned(names).collect();
            names.sort();
            Shown::line(names)
        }
    }
}

fn edges(edges: &[Dependency], set: &UnitSet) -> Shown {
    let edge = |Dependency { unit, condition, required, follow, place: _ }: &Dependency| {
        let how = map([
            ("condition", Some(Shown::is(condition.in_words()))),
            ("required", Some(Shown::is(required))),
            ("follow", Some(Shown::is(follow.in_words()))),
        ]);
        (name_of(*unit, set), how)
    };
    let mut sorted: Vec<(String, Shown)> = edges.iter().map(edge).collect();
    sorted.sort_by(|(one, _), (two, _)| one.cmp(two));
    Shown::Map(sorted)
}

fn by_name(units: &[UnitId], set: &UnitSet) -> Shown {
    let mut names: Vec<String> = units.iter().map(|unit| name_of(*unit, set)).collect();
    names.sort();
    Shown::line(names)
}

fn sign(ready: &Ready) -> Shown {
    match ready {
        Ready::Started => Shown::is("started"),
        Ready::Health => Shown::is("health"),
        Ready::Notify => Shown::is("notify"),
        Ready::Log(Pattern(pattern)) => map([("log", Some(Shown::words(pattern)))]),
        Ready::Fd(descriptor) => map([("fd", Some(Shown::is(descriptor)))]),
    }
}

fn sockets(listen: &Listen) -> Option<Shown> {
    let Listen { sockets, is_lazy } = listen;
    if sockets.is_empty() && !is_lazy {
        return None;
    }
    let socket = |SocketSpec { name, address }: &SocketSpec| {
        let mode = match address {
            ListenAddress::Unix { path: _, mode } => Some(Shown::Text(format!("0o{mode:o}"))),
            ListenAddress::Tcp(_) | ListenAddress::Udp(_) => None,
        };
        map([
            ("address", Some(Shown::words(&address.to_string()))),
            ("name", Some(Shown::words(name))),
            ("mode", mode),
        ])
    };
    let sockets = Shown::List(sockets.iter().map(socket).collect());
    Some(map([("sockets", Some(sockets)), ("lazy", Some(Shown::is(is_lazy)))]))
}

fn ladder(ladder: &Ladder, set: &UnitSet) -> Shown {
    let Ladder { rungs, settle } = ladder;
    let rung = |rung: &Rung| match rung {
        Rung::Exec { command, timeout } => {
            map([("exec", Some(words(command))), ("timeout", Some(time(*timeout)))])
        }
        Rung::Restart { with } if with.is_empty() => Shown::is("restart"),
        // In the order in which they go first.
        Rung::Restart { with } => {
            let with = Shown::line(with.iter().map(|unit| name_of(*unit, set)));
            map([("restart", Some(map([("with", Some(with))])))])
        }
        Rung::Reload(Reload::Signal(signal)) => map([("reload", Some(Shown::is(signal)))]),
        Rung::Reload(Reload::Command(command)) => map([("reload", Some(words(command)))]),
        Rung::Stop => Shown::is("stop"),
        Rung::Alert { channel } => map([("alert", Some(Shown::words(channel)))]),
    };
    let rungs = Shown::List(rungs.iter().map(rung).collect());
    map([("rungs", Some(rungs)), ("settle", Some(time(*settle)))])
}

fn restarts(restart: &RestartSpec, command: Option<&[Template]>) -> Shown {
    let RestartSpec { policy, backoff, reset_after, limit } = restart;
    let Backoff { initial, max, factor_permille, jitter_permille } = backoff;
    let backoff = map([
        ("initial", Some(time(*initial))),
        ("max", Some(time(*max))),
        ("factor", Some(factor(*factor_permille))),
        ("jitter", Some(factor(*jitter_permille))),
    ]);
    let limit = limit.as_ref().map(|StartLimit { starts, within, then }| {
        let then = match then {
            OnLimit::Fail => Shown::is("fail"),
            OnLimit::Retry(after) => map([("retry", Some(time(*after)))]),
        };
        map([("starts", Some(Shown::is(starts))), ("within", Some(time(*within))), ("then", Some(then))])
    });
    map([
        ("policy", Some(Shown::is(policy.in_words()))),
        ("backoff", Some(backoff)),
        ("reset_after", Some(time(*reset_after))),
        ("limit", limit),
        ("command", command.map(words)),
    ])
}

fn stops(stop: &StopSpec) -> Shown {
    let StopSpec { signal, grace, command } = stop;
    map([
        ("signal", Some(Shown::is(signal))),
        ("grace", Some(time(*grace))),
        ("command", command.as_deref().map(words)),
    ])
}

fn limited(limits: &[ResourceLimit]) -> Shown {
    let amount =
        |amount: Option<u64>| amount.map_or_else(|| Shown::is("unlimited"), |amount| Shown::is(&amount));
    let limit = |ResourceLimit { resource, soft, hard }: &ResourceLimit| {
        let both = map([("soft", Some(amount(*soft))), ("hard", Some(amount(*hard)))]);
        (resource_name(*resource).to_owned(), if soft == hard { amount(*soft) } else { both })
    };
    Shown::Map(limits.iter().map(limit).collect())
}

fn logged(log: &LogSpec) -> Shown {
    let LogSpec { max_size_bytes, max_age, keep, when_full } = log;
    map([
        ("max_size", Some(size(*max_size_bytes))),
        ("max_age", max_age.map(time)),
        ("keep", Some(Shown::is(keep))),
        ("when_full", Some(Shown::is(when_full.in_words()))),
    ])
}

fn pairs(labels: &[(Box<str>, Box<str>)]) -> Shown {
    let mut sorted: Vec<_> =
        labels.iter().map(|(name, value)| (name.to_string(), Shown::words(value))).collect();
    sorted.sort_by(|(one, _), (two, _)| one.cmp(two));
    Shown::Map(sorted)
}

fn to(route: &Route) -> Shown {
    match route {
        Route::Webhook { url } => map([("webhook", Some(Shown::link(url)))]),
        Route::Exec { command } => map([("exec", Some(Shown::line(owned(command))))]),
    }
}
