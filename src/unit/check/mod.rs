//! What no single value shows: values that contradict each other, and units that do.

mod kind;
mod works;
mod job;
mod ladder;
mod confinement;
pub(super) mod gate;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::unit::KeyPlaces;
use crate::unit::amount::show;
use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::file::{Edge, RestartFile};
use crate::unit::listen;
use crate::unit::lower;
use crate::unit::names::Draft;
use crate::unit::nearest::nearest;
use crate::unit::settings::SettingsFile;
use crate::unit::spec::listen::{ListenAddress, SocketSpec};
use crate::unit::spec::{
    Backoff, Condition, OnLimit, RestartPolicy, RestartSpec, StartLimit, UnitId, UnitKind, UnitSet, UnitSpec,
};
use crate::unit::{secret, variables};

pub(super) use job::{endless, hooks, output_units};

/// Everything about one file, once however many copies it makes.
pub(super) fn unit(
    draft: &Draft,
    body: &UnitSpec,
    settings: &SettingsFile,
    are_settings_sound: bool,
    out: &mut Vec<Diagnostic>,
) {
    kind::check(draft, body, out);
    works::check(draft, body, out);
    let channels = are_settings_sound.then_some(settings);
    ladder::check(draft, body, channels, out);
    job::check(draft, body, channels, out);
    if let Some(restart) = &draft.unit.restart {
        check_restart(&restart.value.0, &body.restart, out);
    }
    stop(draft, body, settings, out);
    confinement::check(&draft.unit, out);
    variables::check(draft, out);
    secret::check(draft, out);
}

/// What mcsup.yaml says about itself.
pub(super) fn settings(settings: &SettingsFile, out: &mut Vec<Diagnostic>) {
    let every = settings.heartbeat.as_ref().and_then(|heartbeat| heartbeat.value.every.as_ref());
    if let Some(every) = every.filter(|every| every.value < Duration::from_secs(1)) {
        out.push(
            Diagnostic::error("bad-value", every.place, "`every` is shorter than 1s")
                .help("a watcher that waits for minutes needs a sign every minute"),
        );
    }
}

fn check_restart(file: &RestartFile, restart: &RestartSpec, out: &mut Vec<Diagnostic>) {
    if let Some(backoff) = &file.backoff {
        let backoff_file = &backoff.value;
        let Backoff { initial, max, factor_permille, jitter_permille } = restart.backoff;
        if let Some(factor) = backoff_file.factor.as_ref().filter(|_| factor_permille < 1000) {
            out.push(
                Diagnostic::error("bad-value", factor.place, "a `factor` below 1 makes each delay shorter")
                    .help("write 1 for equal delays, 2 to double them"),
            );
        }
        if let Some(jitter) = backoff_file.jitter.as_ref().filter(|_| jitter_permille > 1000) {
            out.push(
                Diagnostic::error(
                    "bad-value",
                    jitter.place,
                    "a `jitter` above 1 is more than the whole delay",
                )
                .help("write a part of the delay, such as 0.1"),
            );
        }
        if initial > max {
            let message =
                format!("the first delay, {}, is longer than the longest, {}", show(initial), show(max));
            let place = backoff_file.initial.as_ref().map_or(backoff.place, |initial| initial.place);
            out.push(Diagnostic::error("bad-value", place, message).help("make `initial` at most `max`"));
        }
    }
    let (Some(file), Some(limit)) = (&file.limit, restart.limit) else { return };
    if let (Some(then), OnLimit::Retry(Duration::ZERO)) = (&file.value.then, limit.then) {
        out.push(
            Diagnostic::error("bad-value", then.place, "`retry: 0` is no limit at all")
                .help("write how long to wait before trying again"),
        );
    }
    let fastest = fastest(restart.backoff, limit);
    if fastest >= limit.within.as_nanos() {
        let at_least = Duration::from_nanos(u64::try_from(fastest).unwrap_or(u64::MAX));
        let starts = limit.starts;
        let message = format!(
            "this limit can never fire: with this backoff, {} starts take at least {}, and the window is {}",
            u64::from(starts).saturating_add(1),
            show(at_least),
            show(limit.within)
        );
        out.push(
            Diagnostic::error("limit-never-fires", file.place, message).help(format!(
                "make `within` longer than {}, or `backoff` or `starts` smaller",
                show(at_least)
            )),
        );
    }
}

/// The least time in nanoseconds in which one automatic start more than allowed can happen: every
/// process ends at once, every delay is as short as its jitter lets it be.
fn fastest(backoff: Backoff, limit: StartLimit) -> u128 {
    let least = u128::from(1000_u32.saturating_sub(backoff.jitter_permille));
    let max = backoff.max.as_nanos();
    let mut delay = backoff.initial.as_nanos().min(max);
    let mut total: u128 = 0;
    for _ in 0..limit.starts {
        delay =
            delay.saturating_mul(u128::from(backoff.factor_permille)).checked_div(1000).unwrap_or(0).min(max);
        total = total.saturating_add(delay.saturating_mul(least).checked_div(1000).unwrap_or(0));
    }
    total
}

fn stop(draft: &Draft, body: &UnitSpec, settings: &SettingsFile, out: &mut Vec<Diagnostic>) {
    let shutdown =
        settings.shutdown_timeout.as_ref().map_or(Duration::from_secs(60), |timeout| timeout.value);
    let grace = draft.unit.stop.as_ref().and_then(|stop| stop.value.0.grace.as_ref());
    if let Some(grace) = grace.filter(|grace| grace.value > shutdown) {
        let message = format!(
            "a shutdown kills everything after {}, before this grace of {} ends",
            show(shutdown),
            show(body.stop.grace)
        );
        let diagnostic = Diagnostic::warning("grace", grace.place, message)
            .help("make `shutdown_timeout` in mcsup.yaml longer, or the grace shorter");
        out.push(match &settings.shutdown_timeout {
            Some(timeout) => diagnostic.related(timeout.place, "the end of a shutdown"),
            None => diagnostic,
        });
    }
}

/// A condition that `target` cannot meet.
pub(super) fn condition(name: &str, place: Place, edge: &Edge, target: &Draft, out: &mut Vec<Diagnostic>) {
    let Some(condition) = &edge.condition else { return };
    let trouble = match (condition.value, target.kind) {
        (Condition::Healthy, UnitKind::Task) => Some((
            "no-health",
            format!("`{name}` is a task, and a task is never healthy"),
            "write `completed` to wait for its end",
        )),
        (Condition::Healthy, UnitKind::Service)
            if target.unit.health.is_none() && target.is_sound && !lower::tells_readiness(target) =>
        {
            Some((
                "no-health",
                format!("`{name}` has no `health` to wait for"),
                "write `started`, or give it a probe",
            ))
        }
        (Condition::Completed, UnitKind::Service) if target.is_sound && always_restarts(target) => Some((
            "never-completes",
            format!("`{name}` is a service that is always started again: it never completes"),
            "write `started` or `healthy`, or make it a task",
        )),
        (Condition::Completed, UnitKind::External | UnitKind::Gate) => Some((
            "never-completes",
            format!("`{name}` is {}: it has no end", kind::noun(target.kind)),
            "write `started` or `healthy`",
        )),
        (Condition::Started | Condition::Healthy | Condition::Completed, _) => None,
    };
    if let Some((code, message, help)) = trouble {
        let place = if condition.place == Place::default() { place } else { condition.place };
        out.push(Diagnostic::error(code, place, message).related(target.place, "defined here").help(help));
    }
}

fn always_restarts(target: &Draft) -> bool {
    let policy = target.unit.restart.as_ref().and_then(|restart| restart.value.0.policy.as_ref());
    policy.is_none_or(|policy| policy.value == RestartPolicy::Always)
}

pub(super) fn names_itself(verb: &str, name: &str, place: Place) -> Diagnostic {
    Diagnostic::error("names-itself", place, format!("this unit {verb} itself: `{name}`"))
        .help("remove the name")
}

pub(super) fn named_twice(name: &str, place: Place, earlier: Place) -> Diagnostic {
    Diagnostic::error("duplicate-name", place, format!("`{name}` is named a second time"))
        .related(earlier, "first here")
        .help("keep one of the two")
}

pub(super) fn unknown_phase(name: &str, place: Place, phases: &[Box<str>]) -> Diagnostic {
    let help = match nearest(name, phases.iter().map(|phase| &**phase)) {
        Some(phase) => format!("did you mean `{phase}`?"),
        None => format!("mcsup.yaml lists: {}", phases.join(", ")),
    };
    Diagnostic::error("unknown-phase", place, format!("there is no phase named `{name}`")).help(help)
}

pub(super) fn is_phase_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=64).contains(&name.len())
        && name.starts_with(first)
        && name.chars().all(|c| first(c) || matches!(c, '-' | '_'))
}

/// Everything between units, on the unfolded set.
pub(super) fn set(set: &UnitSet, places: &[KeyPlaces], out: &mut Vec<Diagnostic>) {
    for ((id, unit), keys) in set.ids().zip(&set.units).zip(places) {
        dependencies(set, id, unit, out);
        conflicts(set, id, unit, keys, out);
        job::disabled(set, id, unit, out);
        gate::later(set, unit, keys, out);
    }
    sockets(set, places, out);
}

/// One socket that somebody opens.
struct Opened<'a> {
    id: UnitId,
    unit: &'a UnitSpec,
    socket: &'a SocketSpec,
    place: Place,
}

/// Sockets of two units that cannot be open at once.
fn sockets(set: &UnitSet, places: &[KeyPlaces], out: &mut Vec<Diagnostic>) {
    // Only sockets of one port, or one path, can collide.
    let mut by_door: BTreeMap<(u16, &str), Vec<Opened<'_>>> = BTreeMap::new();
    for ((id, unit), keys) in set.ids().zip(&set.units).zip(places) {
        for (at, socket) in unit.listen.sockets.iter().enumerate() {
            let door = match &socket.address {
                ListenAddress::Tcp(address) | ListenAddress::Udp(address) => (address.port, ""),
                ListenAddress::Unix { path, mode: _ } => (0, &**path),
            };
            let place = keys.listen.get(at).copied().unwrap_or(unit.place);
            by_door.entry(door).or_default().push(Opened { id, unit, socket, place });
        }
    }
    for opened in by_door.values() {
        for (at, two) in opened.iter().enumerate() {
            let earlier = opened.iter().take(at);
            let Some(one) = earlier.into_iter().find(|one| takes_the_same(one, two)) else { continue };
            out.push(same_socket(one, two));
            // The rest of a long list says nothing new.
            break;
        }
    }
}

fn takes_the_same(one: &Opened<'_>, two: &Opened<'_>) -> bool {
    let never_together = one.unit.conflicts.binary_search(&two.id).is_ok()
        || two.unit.conflicts.binary_search(&one.id).is_ok()
        || !one.unit.enabled
        || !two.unit.enabled;
    let is_possible = one.id != two.id && never_together;
    !is_possible && listen::collide(&one.socket.address, &two.socket.address)
}

fn same_socket(one: &Opened<'_>, two: &Opened<'_>) -> Diagnostic {
    let address = listen::show(&two.socket.address);
    if one.id == two.id {
        return Diagnostic::error(
            "same-socket",
            two.place,
            format!("`{address}` is opened twice by this unit"),
        )
        .related(one.place, "first here")
        .help("keep one of the two");
    }
    let message = format!("`{}` and `{}` both listen on `{address}`", one.unit.name, two.unit.name);
    let diagnostic = Diagnostic::error("same-socket", two.place, message);
    if one.place == two.place {
        diagnostic.help("copies of a unit cannot share a socket: remove `listen` or the copies")
    } else {
        diagnostic
            .related(
                one.place,
                format!("`{}` takes `{}` here", one.unit.name, listen::show(&one.socket.address)),
            )
            .help("give one of the two another address, or say that they conflict")
    }
}

fn dependencies(set: &UnitSet, id: UnitId, unit: &UnitSpec, out: &mut Vec<Diagnostic>) {
    let phase_name =
        |unit: &UnitSpec| set.phases.get(usize::from(unit.phase.0)).map_or("", |name| name).to_string();
    for edge in &unit.depends_on {
        let Some(target) = set.unit(edge.unit) else { continue };
        if target.phase > unit.phase {
            let message = format!(
                "`{}` is in the phase `{}`, which starts after `{}`, the phase of `{}`: they would wait for each other",
                target.name,
                phase_name(target),
                phase_name(unit),
                unit.name
            );
            out.push(
                Diagnostic::error("later-phase", edge.place, message)
                    .related(target.place, format!("`{}` is defined here", target.name))
                    .help("move one of the two to the other's phase"),
            );
        }
        if unit.conflicts.binary_search(&edge.unit).is_ok() || target.conflicts.binary_search(&id).is_ok() {
            let message = format!("`{}` depends on `{}` and conflicts with it", unit.name, target.name);
            out.push(Diagnostic::error("conflict", edge.place, message).help("only one of the two can hold"));
        }
        if edge.required && unit.enabled && !target.enabled {
            let message = format!(
                "`{}` waits for `{}`, which is not enabled and so is not started",
                unit.name, target.name
            );
            out.push(
                Diagnostic::warning("disabled-dependency", edge.place, message)
                    .related(target.place, format!("`{}` is defined here", target.name))
                    .help("enable it, or write `required: false`"),
            );
        }
    }
}

fn conflicts(set: &UnitSet, id: UnitId, unit: &UnitSpec, keys: &KeyPlaces, out: &mut Vec<Diagnostic>) {
    for other_id in &unit.conflicts {
        let Some(other) = set.unit(*other_id).filter(|other| other.enabled && unit.enabled) else { continue };
        // Where both say so, the first says it.
        if *other_id < id && other.conflicts.binary_search(&id).is_ok() {
            continue;
        }
        let message = format!("`{}` and `{}` conflict, and both are enabled", unit.name, other.name);
        out.push(
            Diagnostic::error("conflict", keys.conflicts.unwrap_or(unit.place), message)
                .related(other.place, format!("`{}` is defined here", other.name))
                .help("write `enabled: false` in one of the two"),
        );
    }
}
