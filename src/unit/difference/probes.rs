//! What probes ask, and what of it nobody should read over a shoulder.

use crate::unit::difference::keys::{address, size, time, words, written};
use crate::unit::difference::shown::{Shown, map};
use crate::unit::read::InWords;
use crate::unit::secret::{has_password, is_secret_name};
use crate::unit::spec::Template;
use crate::unit::spec::probe::{
    Expression, FileProbe, GrpcProbe, HttpProbe, LogProbe, Pattern, PostgresProbe, ProbeKind, ProbeSpec,
    RedisProbe, Retries, Target, Tls,
};

/// The value of what is called `name`.
pub(super) fn template_value(name: &str, value: &Template) -> Shown {
    if is_secret_name(name) {
        return secret(value);
    }
    let text = written(value);
    if has_password(&text) { Shown::secret(&text) } else { Shown::words(&text) }
}

fn secret(value: &Template) -> Shown {
    Shown::secret(&written(value))
}

pub(super) fn probe(probe: &ProbeSpec) -> Shown {
    let ProbeSpec { kind, interval, timeout, retries, successes, start_period, start_interval } = probe;
    let (key, question) = question(kind);
    map([
        (key, Some(question)),
        ("interval", Some(time(*interval))),
        ("timeout", Some(time(*timeout))),
        ("retries", Some(tries(*retries))),
        ("successes", Some(Shown::is(successes))),
        ("start_period", Some(time(*start_period))),
        ("start_interval", start_interval.map(time)),
    ])
}

/// The probe of a gate; all else of it follows from these two.
pub(super) fn check_keys(probes: &[ProbeSpec]) -> Vec<(&'static str, Option<Shown>)> {
    let keys = |probe: &ProbeSpec| {
        let (_, check) = question(&probe.kind);
        [("check", Some(check)), ("interval", Some(time(probe.interval)))]
    };
    probes.iter().flat_map(keys).collect()
}

fn tries(Retries { count, of }: Retries) -> Shown {
    if count == of { Shown::is(&count) } else { Shown::Text(format!("{{count: {count}, of: {of}}}")) }
}

fn question(kind: &ProbeKind) -> (&'static str, Shown) {
    match kind {
        ProbeKind::Exec { command } => ("exec", words(command)),
        ProbeKind::Tcp(target) => ("tcp", address(target)),
        ProbeKind::Unix { path } => ("unix", Shown::words(path)),
        ProbeKind::Http(probe) => ("http", http(probe)),
        ProbeKind::Redis(probe) => ("redis", redis(probe)),
        ProbeKind::Postgres(probe) => ("postgres", postgres(probe)),
        ProbeKind::Grpc(probe) => {
            let GrpcProbe { target, service, tls } = &**probe;
            let service = Some(Shown::words(service));
            ("grpc", map([("at", Some(at(target))), ("service", service), ("tls", encrypted(tls.as_ref()))]))
        }
        ProbeKind::File(FileProbe { path, max_age, min_size_bytes, max_size_bytes }) => {
            let keys = map([
                ("path", Some(Shown::words(path))),
                ("max_age", max_age.map(time)),
                ("min_size", min_size_bytes.map(size)),
                ("max_size", max_size_bytes.map(size)),
            ]);
            ("file", keys)
        }
        ProbeKind::Log(LogProbe { within, matches, bad }) => {
            let keys = map([
                ("within", within.map(time)),
                ("matches", pattern(matches.as_ref())),
                ("bad", pattern(bad.as_ref())),
            ]);
            ("log", keys)
        }
        ProbeKind::Check(Expression(expression)) => ("check", Shown::words(expression)),
    }
}

fn http(probe: &HttpProbe) -> Shown {
    let HttpProbe { target, tls, method, path, headers, status, contains, matches, that, follow_redirects } =
        probe;
    // In their order, and a name may come twice: each is one of a list.
    let header = |(name, value): &(Box<str>, Template)| {
        Shown::Map(vec![(name.to_string(), template_value(name, value))])
    };
    let range = |(first, last): &(u16, u16)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    map([
        ("at", Some(at(target))),
        ("tls", encrypted(tls.as_ref())),
        ("method", Some(Shown::words(method))),
        ("path", Some(Shown::words(path))),
        ("headers", Some(Shown::List(headers.iter().map(header).collect()))),
        (
            "status",
            Some(Shown::Text(format!("[{}]", status.iter().map(range).collect::<Vec<_>>().join(", ")))),
        ),
        ("contains", contains.as_deref().map(Shown::words)),
        ("matches", pattern(matches.as_ref())),
        ("that", that.as_ref().map(|Expression(that)| Shown::words(that))),
        ("follow_redirects", Some(Shown::is(follow_redirects))),
    ])
}

fn redis(probe: &RedisProbe) -> Shown {
    let RedisProbe { target, username, password, role, max_lag } = probe;
    map([
        ("at", Some(at(target))),
        ("username", template(username.as_ref())),
        ("password", password.as_ref().map(secret)),
        ("role", role.map(|role| Shown::is(role.in_words()))),
        ("max_lag", max_lag.map(time)),
    ])
}

fn postgres(probe: &PostgresProbe) -> Shown {
    let PostgresProbe { target, user, password, database, query, expect } = probe;
    map([
        ("at", Some(at(target))),
        ("user", template(user.as_ref())),
        ("password", password.as_ref().map(secret)),
        ("database", template(database.as_ref())),
        ("query", query.as_deref().map(Shown::words)),
        ("expect", expect.as_deref().map(Shown::words)),
    ])
}

fn template(value: Option<&Template>) -> Option<Shown> {
    value.map(|value| Shown::words(&written(value)))
}

fn at(target: &Target) -> Shown {
    match target {
        Target::Tcp(target) => address(target),
        Target::Unix(path) => map([("socket", Some(Shown::words(path)))]),
    }
}

fn encrypted(tls: Option<&Tls>) -> Option<Shown> {
    tls.map(|Tls { ca, verify }| {
        map([("ca", ca.as_deref().map(Shown::words)), ("verify", Some(Shown::is(verify)))])
    })
}

pub(super) fn pattern(pattern: Option<&Pattern>) -> Option<Shown> {
    pattern.map(|Pattern(pattern)| Shown::words(pattern))
}
