//! Probes, signs of readiness and sockets that cannot work as they are written.

use std::time::Duration;

use crate::unit::amount::show;
use crate::unit::diagnostic::Diagnostic;
use crate::unit::listen::collide;
use crate::unit::names::Draft;
use crate::unit::probe::{KINDS, ProbeFile};
use crate::unit::read::At;
use crate::unit::spec::listen::ListenAddress;
use crate::unit::spec::probe::{Address, ProbeKind};
use crate::unit::spec::{Ready, UnitKind, UnitSpec};

/// More often, a probe costs more than it can tell.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
/// While a start is awaited, a little more is worth it.
const SHORTEST_START_INTERVAL: Duration = Duration::from_millis(10);
const USUAL_INTERVAL: Duration = Duration::from_secs(10);
/// Services send their sign twice in this time, and many can only count in seconds.
const SHORTEST_WATCHDOG: Duration = Duration::from_secs(1);
/// The first descriptor that is passed.
const FIRST_SOCKET: usize = 3;

pub(super) fn check(draft: &Draft, body: &UnitSpec, out: &mut Vec<Diagnostic>) {
    let unit = &draft.unit;
    for probe in unit.health.iter().flat_map(|health| &health.value.0) {
        check_probe(draft, probe, out);
    }
    if draft.kind == UnitKind::Service {
        ready(draft, body, out);
        held_by_mcsup(draft, body, out);
    }
    start(draft, body, out);
    if let Some(interval) = &unit.interval {
        check_interval(interval, out);
    }
    if let Some(watchdog) = unit.watchdog.as_ref().filter(|watchdog| watchdog.value < SHORTEST_WATCHDOG) {
        out.push(
            Diagnostic::error("bad-value", watchdog.place, "`watchdog` is shorter than 1s")
                .help("a busy machine delays a healthy process by more than that"),
        );
    }
    for socket in unit.listen.iter().flat_map(|listen| listen.value.sockets()) {
        if let Some(mode) = socket.value.mode.as_ref().filter(|_| !socket.value.is_file()) {
            out.push(
                Diagnostic::error("bad-value", mode.key, "only the file of a unix socket has a `mode`")
                    .help("remove it"),
            );
        }
    }
}

fn ready(draft: &Draft, body: &UnitSpec, out: &mut Vec<Diagnostic>) {
    let Some(ready) = &draft.unit.ready else { return };
    match &ready.value {
        Ready::Health if draft.unit.health.is_none() && draft.is_sound => out.push(
            Diagnostic::error(
                "no-health",
                ready.place,
                "`ready: health` needs a probe, and this unit has none",
            )
            .help("add `health`, or remove this line"),
        ),
        Ready::Fd(fd) if usize::from(*fd) < FIRST_SOCKET.saturating_add(body.listen.sockets.len()) => {
            let after = FIRST_SOCKET.saturating_add(body.listen.sockets.len());
            let message = format!("descriptor {fd} is one of the sockets that `listen` passes");
            let diagnostic = Diagnostic::error("bad-value", ready.place, message);
            let diagnostic = diagnostic.help(format!("the first free one is {after}"));
            out.push(match &draft.unit.listen {
                Some(listen) => diagnostic.related(listen.key, "the sockets, from 3 on"),
                None => diagnostic,
            });
        }
        Ready::Health | Ready::Started | Ready::Notify | Ready::Log(_) | Ready::Fd(_) => {}
    }
}

/// A connection to a socket that is passed to the unit is taken by the kernel whether the unit lives or not.
fn held_by_mcsup(draft: &Draft, body: &UnitSpec, out: &mut Vec<Diagnostic>) {
    let probes = draft.unit.health.iter().flat_map(|health| &health.value.0);
    for (place, kind) in probes.flat_map(|probe| probe.value.asked()) {
        let Some(at) = body.listen.sockets.iter().position(|socket| is_answered_by(&kind, &socket.address))
        else {
            continue;
        };
        let message =
            "this probe always passes: mcsup itself holds the socket, and the kernel takes connections to it";
        let diagnostic = Diagnostic::warning("always-passes", place, message)
            .help("ask what the service answers, by `http`, `redis`, `postgres`, `grpc` or `exec`");
        let sockets = draft.unit.listen.iter().flat_map(|listen| listen.value.sockets());
        out.push(match sockets.skip(at).map(|socket| socket.place).next() {
            Some(socket) => diagnostic.related(socket, "opened here, before the start"),
            None => diagnostic,
        });
    }
}

/// A probe that asks for a connection and for nothing more, and gets it from this socket.
fn is_answered_by(kind: &ProbeKind, socket: &ListenAddress) -> bool {
    match (kind, socket) {
        (ProbeKind::Tcp(asked), ListenAddress::Tcp(open)) => {
            let host = if &*asked.host == "localhost" { "127.0.0.1" } else { &*asked.host };
            let is_here = matches!(host, "127.0.0.1" | "::1") || asked.host == open.host;
            let asked = Address { host: host.into(), port: asked.port };
            is_here && collide(&ListenAddress::Tcp(asked), socket)
        }
        (ProbeKind::Unix { path: asked }, ListenAddress::Unix { path: open, mode: _ }) => asked == open,
        (ProbeKind::Tcp(_) | ProbeKind::Unix { .. }, _)
        | (
            ProbeKind::Exec { .. }
            | ProbeKind::Http(_)
            | ProbeKind::Redis(_)
            | ProbeKind::Postgres(_)
            | ProbeKind::Grpc(_)
            | ProbeKind::File(_)
            | ProbeKind::Log(_)
            | ProbeKind::Check(_),
            _,
        ) => false,
    }
}

fn start(draft: &Draft, body: &UnitSpec, out: &mut Vec<Diagnostic>) {
    let unit = &draft.unit;
    let slowest = unit
        .health
        .iter()
        .flat_map(|health| &health.value.0)
        .filter_map(|probe| probe.value.start_period.as_ref());
    if let (Some(slowest), Some(limit)) = (slowest.max_by_key(|period| period.value), body.start_timeout)
        && body.ready == Ready::Health
        && slowest.value > limit
    {
        let message = format!(
            "the start may take {} by this, but ends as failed after {}",
            show(slowest.value),
            show(limit)
        );
        let diagnostic = Diagnostic::warning("start-timeout", slowest.place, message)
            .help("make `start_timeout` longer than `start_period`");
        out.push(match &unit.start_timeout {
            Some(timeout) => diagnostic.related(timeout.place, "the limit"),
            None => diagnostic,
        });
    }
}

fn check_probe(draft: &Draft, probe: &At<ProbeFile>, out: &mut Vec<Diagnostic>) {
    let file = &probe.value;
    if file.asked().is_empty() && draft.is_sound {
        out.push(
            Diagnostic::error("missing-key", probe.place, "this probe does not say what to ask")
                .help(format!("give it one of {}", one_of(KINDS))),
        );
    }
    if let Some(log) = file.log.as_ref().filter(|_| draft.kind == UnitKind::External) {
        out.push(
            Diagnostic::error("not-for-kind", log.key, "what is not started by mcsup has no log here")
                .help("ask what it serves, or look at its file by a `file` probe"),
        );
    }
    if let Some(interval) = &file.interval {
        check_interval(interval, out);
    }
    let period = file.interval.as_ref().map_or(USUAL_INTERVAL, |interval| interval.value);
    let with_interval = |diagnostic: Diagnostic| match &file.interval {
        Some(interval) => diagnostic.related(interval.place, "the interval"),
        None => diagnostic,
    };
    if let Some(first) = &file.start_interval {
        if first.value < SHORTEST_START_INTERVAL {
            out.push(
                Diagnostic::error("bad-value", first.place, "`start_interval` is shorter than 10ms")
                    .help("a probe this frequent slows the start that it waits for"),
            );
        } else if first.value > period {
            let message = format!(
                "a start would be looked at every {} by this, but what is up every {}",
                show(first.value),
                show(period)
            );
            out.push(with_interval(
                Diagnostic::error("bad-value", first.place, message)
                    .help("make `start_interval` at most `interval`"),
            ));
        }
    }
    let Some(timeout) = &file.timeout else { return };
    if timeout.value.is_zero() {
        out.push(
            Diagnostic::error("bad-value", timeout.place, "`timeout: 0` leaves no time to answer")
                .help("write how long an answer may take"),
        );
    } else if timeout.value > period {
        let message = format!(
            "a probe may take {} by this, but the next one begins after {}",
            show(timeout.value),
            show(period)
        );
        out.push(with_interval(
            Diagnostic::error("probe-timeout", timeout.place, message)
                .help("make `timeout` at most `interval`"),
        ));
    }
}

fn check_interval(interval: &At<Duration>, out: &mut Vec<Diagnostic>) {
    if interval.value < SHORTEST_INTERVAL {
        out.push(
            Diagnostic::error("bad-value", interval.place, "`interval` is shorter than 100ms")
                .help("a probe this frequent costs more than it can tell"),
        );
    }
}

/// `a`, `b` and `c`.
fn one_of(words: &[&str]) -> String {
    let ticked: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match ticked.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
