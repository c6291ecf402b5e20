//! What takes effect of probes, signs of readiness, levers and ladders.

use std::time::Duration;

use crate::unit::check;
use crate::unit::diagnostic::Diagnostic;
use crate::unit::external;
use crate::unit::ladder::{LadderFile, RungFile};
use crate::unit::names::{Directory, Draft};
use crate::unit::probe::ProbeFile;
use crate::unit::read::At;
use crate::unit::spec::listen::Listen;
use crate::unit::spec::probe::{ProbeKind, ProbeSpec, Retries};
use crate::unit::spec::recover::{Ladder, Rung};
use crate::unit::spec::{Levers, Ready, RestartPolicy, UnitId, UnitKind, UnitSpec};
use crate::unit::value::Word;
use crate::unit::words::plain_words;

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(1);
const RETRIES: Retries = Retries { count: 3, of: 3 };
const ONCE: Retries = Retries { count: 1, of: 1 };
/// A gate looks oftener than a probe: somebody waits for it, and its facts are at hand.
const GATE_INTERVAL: Duration = Duration::from_secs(5);
/// A repair that takes longer is stuck.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(60);

/// The probes of a unit; a gate is one probe, and an adapter may bring one.
pub(super) fn health(draft: &Draft, diagnostics: &mut Vec<Diagnostic>) -> Vec<ProbeSpec> {
    let unit = &draft.unit;
    match draft.kind {
        UnitKind::Gate => {
            let interval = unit.interval.as_ref().map_or(GATE_INTERVAL, |interval| interval.value);
            let check = unit.check.iter().map(|check| ProbeSpec {
                retries: ONCE,
                ..usual(ProbeKind::Check(check.value.expression.clone()), interval)
            });
            check.collect()
        }
        UnitKind::External if unit.health.is_none() => {
            external::probe(unit).into_iter().map(|kind| usual(kind, INTERVAL)).collect()
        }
        UnitKind::Job => Vec::new(),
        UnitKind::Service | UnitKind::Task | UnitKind::External => unit
            .health
            .iter()
            .flat_map(|health| &health.value.0)
            .filter_map(|probe| probe_spec(probe, diagnostics))
            .collect(),
    }
}

fn usual(kind: ProbeKind, interval: Duration) -> ProbeSpec {
    // A bad line is seen by one look, and the next one begins behind it.
    let is_seen_once = matches!(&kind, ProbeKind::Log(log) if log.bad.is_some());
    ProbeSpec {
        kind,
        interval,
        timeout: TIMEOUT.min(interval),
        retries: if is_seen_once { ONCE } else { RETRIES },
        successes: 1,
        start_period: Duration::ZERO,
        start_interval: None,
    }
}

fn probe_spec(probe: &At<ProbeFile>, diagnostics: &mut Vec<Diagnostic>) -> Option<ProbeSpec> {
    let file = &probe.value;
    let mut asked = file.asked();
    if let [(first, _), (second, _), ..] = asked.as_slice() {
        diagnostics.push(
            Diagnostic::error("two-probes", *second, "a probe is of one kind, and this is its second")
                .related(*first, "the first")
                .help("write a list of probes: all of them must pass"),
        );
        return None;
    }
    let (_, kind) = asked.pop()?;
    let usual = usual(kind, file.interval.as_ref().map_or(INTERVAL, |interval| interval.value));
    Some(ProbeSpec {
        timeout: file.timeout.as_ref().map_or(usual.timeout, |timeout| timeout.value),
        retries: file.retries.as_ref().map_or(usual.retries, |retries| retries.value.0),
        successes: file.successes.as_ref().map_or(usual.successes, |successes| successes.value.0),
        start_interval: file.start_interval.as_ref().map(|interval| interval.value),
        start_period: file.start_period.as_ref().map_or(usual.start_period, |period| period.value),
        ..usual
    })
}

pub(super) fn ready(draft: &Draft) -> Ready {
    match draft.kind {
        UnitKind::External | UnitKind::Gate => Ready::Health,
        UnitKind::Job => Ready::Started,
        UnitKind::Service | UnitKind::Task => match &draft.unit.ready {
            Some(ready) => ready.value.clone(),
            None if draft.unit.health.is_some() => Ready::Health,
            None => Ready::Started,
        },
    }
}

pub(super) fn listen(draft: &Draft) -> Listen {
    match (draft.kind, &draft.unit.listen) {
        (UnitKind::Service, Some(listen)) => listen.value.lower(),
        (UnitKind::Service, None)
        | (UnitKind::Task | UnitKind::Job | UnitKind::External | UnitKind::Gate, _) => Listen::default(),
    }
}

pub(super) fn levers(draft: &Draft) -> Levers {
    match draft.kind {
        UnitKind::External => external::levers(&draft.unit),
        UnitKind::Service | UnitKind::Task | UnitKind::Job | UnitKind::Gate => Levers::default(),
    }
}

/// The rungs with the units that they name as ids.
pub(super) fn ladder(
    at: usize,
    draft: &Draft,
    directory: &Directory,
    body: &UnitSpec,
    diagnostics: &mut Vec<Diagnostic>,
) -> Ladder {
    let Some(file) = &draft.unit.recover else { return usual_ladder(body) };
    let LadderFile(map) = &file.value;
    let rungs = file.value.rungs().iter().map(|rung| match &rung.value {
        RungFile::Exec { command, timeout } => Rung::Exec {
            command: plain_words(command),
            timeout: timeout.as_ref().map_or(REPAIR_TIMEOUT, |timeout| timeout.value),
        },
        RungFile::Restart { with } => Rung::Restart { with: companions(at, with, directory, diagnostics) },
        RungFile::Reload(reload) => Rung::Reload(reload.lower()),
        RungFile::Stop => Rung::Stop,
        RungFile::Alert(channel) => Rung::Alert { channel: channel.value.0.clone() },
    });
    let rungs = rungs.collect();
    Ladder { rungs, settle: map.settle.as_ref().map_or(Ladder::SETTLE, |settle| settle.value) }
}

/// A restart, for what can be restarted and may be.
fn usual_ladder(body: &UnitSpec) -> Ladder {
    match body.kind {
        UnitKind::Service | UnitKind::External if body.restart.policy == RestartPolicy::Never => {
            Ladder::empty()
        }
        UnitKind::Service => Ladder::restart(),
        UnitKind::External if can_restart(body) => Ladder::restart(),
        UnitKind::External | UnitKind::Task | UnitKind::Job | UnitKind::Gate => Ladder::empty(),
    }
}

/// Whether the levers of an external unit suffice for a restart.
pub(in crate::unit) fn can_restart(body: &UnitSpec) -> bool {
    body.levers.restart.is_some() || (body.levers.start.is_some() && body.stop.command.is_some())
}

/// The units of `with`, in the order written, each once.
fn companions(
    at: usize,
    with: &[At<Word>],
    directory: &Directory,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<UnitId> {
    let mut found: Vec<UnitId> = Vec::new();
    for name in with {
        let units = directory.resolve(&name.value.0, name.place, diagnostics);
        if units.iter().any(|unit| directory.is_copy_of(*unit, at)) {
            diagnostics.push(check::names_itself("is restarted with", &name.value.0, name.place));
            continue;
        }
        for unit in units {
            if !found.contains(&unit) {
                found.push(unit);
            }
        }
    }
    found
}
