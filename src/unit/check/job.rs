//! Jobs that never run, or not as they are written.

use std::time::Duration;

use crate::unit::KeyPlaces;
use crate::unit::amount::show;
use crate::unit::check::gate::one_unit;
use crate::unit::check::kind::noun;
use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::file::UnitFile;
use crate::unit::listen;
use crate::unit::names::{Directory, Draft};
use crate::unit::schedule::{Timetable, UnixTime, Zone};
use crate::unit::settings::SettingsFile;
use crate::unit::spec::job::{JobSpec, Overlap};
use crate::unit::spec::listen::ListenAddress;
use crate::unit::spec::{UnitId, UnitKind, UnitSet, UnitSpec};

/// Distances of slots are looked at from here on: 2026-01-01, so that the same file is always told the same.
const FROM: UnixTime = UnixTime(1_767_225_600);
/// Two months of a daily job; what a year brings besides, such as clocks that change, is nobody's mistake.
const SLOTS: usize = 64;
/// Five fields of cron leave no less between two slots; what is shorter is not worth the search.
const LEAST_DISTANCE: Duration = Duration::from_secs(60);

/// `settings`: what mcsup.yaml says, if that is known.
pub(super) fn check(
    draft: &Draft,
    body: &UnitSpec,
    settings: Option<&SettingsFile>,
    out: &mut Vec<Diagnostic>,
) {
    let Some(job) = body.job.as_deref() else { return };
    triggers(draft, job, out);
    without_schedule(draft, out);
    times(&draft.unit, body, job, out);
    let Some(settings) = settings else { return };
    weight(&draft.unit, settings, out);
    if let Some(webhook) = draft.unit.webhook.as_ref().filter(|_| settings.hooks.is_none()) {
        out.push(
            Diagnostic::error("no-hooks", webhook.key, "nobody listens for calls: mcsup.yaml has no `hooks`")
                .help("add to mcsup.yaml: `hooks: {listen: 127.0.0.1:8787}`"),
        );
    }
}

fn triggers(draft: &Draft, job: &JobSpec, out: &mut Vec<Diagnostic>) {
    let is_started = !job.timetable.schedules.is_empty()
        || job.every.is_some()
        || job.on_boot
        || job.run_at_load
        || draft.unit.after.is_some()
        || draft.unit.path.is_some()
        || draft.unit.webhook.is_some();
    if !is_started && draft.is_sound {
        let message = format!("nothing starts this job but a person: `mcsup run {}`", draft.name);
        out.push(
            Diagnostic::warning("no-trigger", draft.place, message)
                .help("give it `schedule`, `every`, `on_boot`, `after`, `path` or `webhook`"),
        );
    }
}

/// Keys that speak of slots where there is none. A default for all jobs may.
fn without_schedule(draft: &Draft, out: &mut Vec<Diagnostic>) {
    let unit = &draft.unit;
    if unit.schedule.is_some() || !draft.is_sound {
        return;
    }
    let keys = [
        ("timezone", unit.timezone.as_ref().map(|zone| zone.key)),
        ("catch_up", unit.catch_up.as_ref().map(|catch_up| catch_up.key)),
        ("jitter", unit.jitter.as_ref().map(|jitter| jitter.key)),
    ];
    for (key, place) in keys {
        if let Some(place) = place.filter(|place| place.file == draft.place.file) {
            out.push(
                Diagnostic::warning("no-schedule", place, format!("`{key}` says nothing without `schedule`"))
                    .help("add `schedule`, or remove this"),
            );
        }
    }
}

fn times(unit: &UnitFile, body: &UnitSpec, job: &JobSpec, out: &mut Vec<Diagnostic>) {
    if let (Some(deadline), Some(jitter)) = (&unit.deadline, &unit.jitter)
        && deadline.value < jitter.value
    {
        let message = format!(
            "a run is missed after {} by this, and `jitter` alone may delay it by {}",
            show(deadline.value),
            show(jitter.value)
        );
        out.push(
            Diagnostic::error("bad-value", deadline.place, message)
                .related(jitter.place, "the jitter")
                .help("make `deadline` longer than `jitter`"),
        );
    }
    let timeout = unit.timeout.as_ref().filter(|_| job.overlap == Overlap::Skip);
    let longest = timeout.map(|_| body.start_timeout.unwrap_or(Duration::MAX));
    let is_asked = longest.into_iter().chain([job.jitter]).any(|time| time > LEAST_DISTANCE);
    let distance = is_asked.then(|| shortest_distance(&job.timetable)).flatten();
    if let Some(jitter) = &unit.jitter
        && let Some(distance) = distance.filter(|distance| *distance < jitter.value)
    {
        let message = format!(
            "a slot may begin {} late by this, and the next one is {} after it",
            show(jitter.value),
            show(distance)
        );
        out.push(
            Diagnostic::warning("jitter", jitter.place, message)
                .help("make `jitter` shorter than the time between two slots"),
        );
    }
    let (Some(timeout), Some(longest)) = (timeout, longest) else { return };
    let shortest = job.every.into_iter().chain(distance).min().filter(|distance| *distance < longest);
    let Some(distance) = shortest else { return };
    let takes = body.start_timeout.map_or_else(|| "for ever".to_owned(), show);
    let message = format!(
        "a run may take {takes} by this, and what is due {} after its start would be skipped",
        show(distance)
    );
    let diagnostic = Diagnostic::warning("overlap", timeout.place, message)
        .help(format!("make `timeout` at most {}, or write `overlap: queue`", show(distance)));
    out.push(match &unit.overlap {
        Some(overlap) => diagnostic.related(overlap.place, "skipped by this"),
        None => diagnostic,
    });
}

/// The shortest distance of two slots, of those looked at. On a clock that nobody changes, which is also the
/// cheapest: ten thousand jobs are asked.
fn shortest_distance(timetable: &Timetable) -> Option<Duration> {
    let next = |after: UnixTime| {
        timetable.schedules.iter().filter_map(|schedule| schedule.next(after, &Zone::UTC)).min()
    };
    let mut last = next(FROM)?;
    let mut shortest = None;
    for _ in 1..SLOTS {
        let Some(slot) = next(last) else { break };
        let distance = u64::try_from(slot.0.saturating_sub(last.0)).ok().map(Duration::from_secs);
        shortest = shortest.into_iter().chain(distance).min();
        last = slot;
    }
    shortest
}

fn weight(unit: &UnitFile, settings: &SettingsFile, out: &mut Vec<Diagnostic>) {
    let (Some(weight), Some(most)) = (&unit.weight, &settings.concurrency) else { return };
    if weight.value.0 > most.value.0 {
        let message = format!(
            "a run weighs {} by this, and all together may weigh {}: it would never begin",
            weight.value.0, most.value.0
        );
        out.push(
            Diagnostic::error("weight", weight.place, message)
                .related(most.place, "the most")
                .help("make `weight` at most `concurrency`"),
        );
    }
}

/// The units that what a job's output must be speaks of.
pub(in crate::unit) fn output_units(draft: &Draft, directory: &Directory, out: &mut Vec<Diagnostic>) {
    for named in draft.unit.output.iter().flat_map(|output| output.value.units()) {
        one_unit(named, directory, out);
    }
}

/// Of a name in `after`: what has no end starts nothing.
pub(in crate::unit) fn endless(name: &str, place: Place, target: &Draft) -> Option<Diagnostic> {
    match target.kind {
        UnitKind::Job | UnitKind::Task => None,
        UnitKind::Service | UnitKind::External | UnitKind::Gate => {
            let message = format!("`{name}` is {}, and only jobs and tasks end", noun(target.kind));
            Some(
                Diagnostic::error("never-completes", place, message)
                    .related(target.place, "defined here")
                    .help("to wait until it works before each run, write `depends_on`"),
            )
        }
    }
}

/// What follows a unit that is not started.
pub(super) fn disabled(set: &UnitSet, id: UnitId, unit: &UnitSpec, out: &mut Vec<Diagnostic>) {
    for after in unit.job.iter().flat_map(|job| &job.after).filter(|after| after.unit != id) {
        if let Some(target) = set.unit(after.unit).filter(|target| unit.enabled && !target.enabled) {
            let message = format!(
                "`{}` runs after `{}`, which is not enabled and so does not run",
                unit.name, target.name
            );
            out.push(
                Diagnostic::warning("disabled-dependency", after.place, message)
                    .related(target.place, format!("`{}` is defined here", target.name))
                    .help("enable it, or remove its name"),
            );
        }
    }
}

/// `hooks` on a socket that a unit is passed.
pub(in crate::unit) fn hooks(
    settings: &SettingsFile,
    set: &UnitSet,
    places: &[KeyPlaces],
    out: &mut Vec<Diagnostic>,
) {
    let (Some(hooks), Some(file)) = (&set.hooks, &settings.hooks) else { return };
    let own = ListenAddress::Tcp(hooks.listen.clone());
    for (unit, keys) in set.units.iter().zip(places).filter(|(unit, _)| unit.enabled) {
        for (at, socket) in unit.listen.sockets.iter().enumerate() {
            if listen::collide(&own, &socket.address) {
                let place = file.value.listen.as_ref().map_or(file.place, |listen| listen.place);
                let message = format!("`{}` listens on `{}` too", unit.name, socket.address);
                out.push(
                    Diagnostic::error("same-socket", place, message)
                        .related(keys.listen.get(at).copied().unwrap_or(unit.place), "here")
                        .help("give one of the two another address"),
                );
            }
        }
    }
}
