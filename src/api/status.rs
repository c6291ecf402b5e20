//! What is: the status of all units, everything about one, and why it is so.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::Shared;
use crate::api::caller::MayLook;
use crate::api::changes::shown;
use crate::api::dto;
use crate::api::events::event;
use crate::api::incidents;
use crate::api::parameters::Parameters;
use crate::api::problem::{self, Problem};
use crate::engine::event::ExitStatus;
use crate::engine::status::{UnitStatus, WhyLink};
use crate::engine::time::{Timestamp, WallTime};
use crate::supervisor::handle::{EventRecord, StatusTable};
use crate::supervisor::words::{name_of, phase_name};
use crate::unit::name::UnitName;
use crate::unit::nearest::nearest;
use crate::unit::spec::{Condition, Follow, Piece, Template, UnitId, UnitKind, UnitSet, UnitSpec};

/// Bytes that one unit takes in the status, rounded up from what was seen.
const BYTES_PER_UNIT: usize = 400;

/// Most events that the details of a unit show.
const RECENT_EVENTS: usize = 10;

/// Whether the supervisor answers, and which one it is.
#[utoipa::path(get, path = "/v1/ping", responses(
    (status = 200, body = dto::Pong), problem::NotPermitted,
))]
pub(crate) async fn ping(_: MayLook) -> Response {
    json(
        &dto::Pong {
            name: "mcsup".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        },
        128,
    )
}

/// The status of all units, or of some.
#[utoipa::path(get, path = "/v1/status",
    params(("unit" = Option<Vec<String>>, Query, description = "Only this unit, or all its replicas and instances; may come several times")),
    responses(
        (status = 200, body = dto::Status<'_>),
        problem::NotPermitted, problem::NotFound,
))]
pub(crate) async fn status(
    _: MayLook,
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["unit"])?;
    let wanted: Vec<&str> = parameters.all("unit").collect();
    // A text that cannot be a name is left out here and found to be unknown below.
    let names = wanted.iter().filter_map(|name| UnitName::new(name).ok()).collect();
    let table = shared.handle.status((!wanted.is_empty()).then_some(names)).await?;
    for name in wanted {
        named(&table.set, name)?;
    }
    // At once as large as it will be: it has hundreds of kilobytes, and nobody knows how many are left out.
    let mut units = Vec::with_capacity(table.units.len());
    units.extend(table.units.iter().filter_map(|unit| row(&table, unit)));
    let standing = shared.handle.standing().await?;
    let body = dto::Status {
        generation: standing.generation,
        changes: shown::standing(&standing).map(Cow::Owned),
        change: shown::under_way(&standing),
        pending: standing.pending.iter().map(shown::pending).collect(),
        booted: table.overview.is_booted,
        phase: phase_name(&table.set, table.overview.phase).into(),
        guard: Cow::Borrowed("normal"),
        stopping: table.overview.is_stopping,
        open_incidents: table.overview.open_incidents,
        phases: table.set.phases.iter().map(|name| Cow::Borrowed(&**name)).collect(),
        units,
    };
    Ok(json(&body, 256 + BYTES_PER_UNIT * table.units.len()))
}

/// Everything that is known of one unit, or of each of a group.
#[utoipa::path(get, path = "/v1/units/{name}",
    params(("name" = String, Path, description = "The unit's name, or that of all its replicas and instances")),
    responses(
        (status = 200, body = dto::UnitDetails<'_>),
        problem::NotPermitted, problem::NotFound,
))]
pub(crate) async fn unit(
    _: MayLook,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let table = shared.handle.status(None).await?;
    let ids = named(&table.set, &name)?;
    let (kept, _live) = shared.handle.events(0).await?;
    let units: Vec<_> = ids.iter().filter_map(|id| detail(&table, *id, &kept)).collect();
    Ok(json(&dto::UnitDetails { units }, 4096 * ids.len()))
}

/// Why a unit is in its state, through the graph down to the cause; or each of a group.
#[utoipa::path(get, path = "/v1/units/{name}/why",
    params(("name" = String, Path, description = "The unit's name, or that of all its replicas and instances")),
    responses(
        (status = 200, body = dto::Whys),
        problem::NotPermitted, problem::NotFound,
))]
pub(crate) async fn why(
    _: MayLook,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let table = shared.handle.status(None).await?;
    let set = Arc::clone(&table.set);
    let mut units = Vec::new();
    for id in named(&set, &name)? {
        let Some(spec) = set.unit(id) else { continue };
        let chain = shared.handle.why(spec.name.clone()).await?;
        let chain = chain.ok_or_else(|| unknown(&set, spec.name.as_str()))?;
        let incident = incident_of(&table, &chain);
        let cause = match incident {
            Some(incident) => shared.handle.cause(incident).await?,
            None => None,
        };
        let links = chain.into_iter().map(|link| dto::WhyLink {
            unit: name_of(&set, link.unit).to_owned(),
            state: link.state.as_str().to_owned(),
            text: link.text,
        });
        units.push(dto::Why {
            unit: spec.name.to_string(),
            chain: links.collect(),
            incident,
            cause: cause.as_ref().map(incidents::cause),
        });
    }
    Ok(json(&dto::Whys { units }, 1024))
}

/// The incident that explains the chain: that of the link nearest to the cause.
fn incident_of(table: &StatusTable, chain: &[WhyLink]) -> Option<u64> {
    let incident = |link: &WhyLink| table.units.iter().find(|status| status.unit == link.unit)?.incident;
    chain.iter().rev().find_map(incident).map(|incident| incident.0)
}

/// The units that a name means, at least one.
///
/// # Errors
/// When no unit and no group has this name.
pub(crate) fn named(set: &UnitSet, name: &str) -> Result<Vec<UnitId>, Problem> {
    let ids = set.named(name);
    if ids.is_empty() { Err(unknown(set, name)) } else { Ok(ids) }
}

pub(crate) fn unknown(set: &UnitSet, name: &str) -> Problem {
    let names = set.present_units().map(|spec| spec.name.as_str());
    Problem::UnknownUnit {
        unit: name.to_owned(),
        nearest: nearest(name, names).map(str::to_owned).into_iter().collect(),
    }
}

pub(crate) fn json<T: Serialize>(body: &T, size_hint: usize) -> Response {
    let mut bytes = Vec::with_capacity(size_hint);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
        Err(error) => Problem::Broken(format!("cannot write the answer: {error}")).into_response(),
    }
}

/// `2026-11-20T06:31:00.000Z`
pub(crate) fn rfc3339(at: WallTime) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.0))
        .map_or_else(|_beyond| String::new(), |at| format!("{at:.3}"))
}

fn row<'a>(table: &'a StatusTable, status: &'a UnitStatus) -> Option<dto::Unit<'a>> {
    let spec = table.set.unit(status.unit)?;
    Some(dto::Unit {
        name: Cow::Borrowed(spec.name.as_str()),
        kind: Cow::Borrowed(match spec.kind {
            UnitKind::Service => "service",
            UnitKind::Task => "task",
            UnitKind::Job => "job",
            UnitKind::External => "external",
            UnitKind::Gate => "gate",
        }),
        phase: phase_name(&table.set, spec.phase).into(),
        state: Cow::Borrowed(status.state.as_str()),
        desired: Cow::Borrowed(if status.desired.is_up() { "up" } else { "down" }),
        reason: Cow::Borrowed(&status.reason),
        pid: status.pid,
        since: Cow::Owned(rfc3339(wall_of(table, status.since))),
        restarts: status.restarts,
        health: status.health.map(|health| Cow::Borrowed(health.as_str())),
        last_exit: status.last_exit.map(last_exit),
        protected: spec.protected,
        incident: status.incident.map(|incident| incident.0),
        listening: status.is_listening,
        says: status.told.as_deref().map(Cow::Borrowed),
    })
}

/// The date of an instant in the past of this picture.
fn wall_of(table: &StatusTable, at: Timestamp) -> WallTime {
    let ago = crate::engine::time::nanos(table.now.since(at));
    WallTime(table.wall.0.saturating_sub(ago))
}

fn last_exit(exit: ExitStatus) -> dto::LastExit<'static> {
    let text = Cow::Owned(exit.to_string());
    match exit {
        ExitStatus::Code(code) => dto::LastExit { code: Some(code), signal: None, dumped_core: false, text },
        ExitStatus::Signal { signal, dumped_core } => {
            let name = signal.name().map_or_else(|| Cow::Owned(signal.to_string()), Cow::Borrowed);
            dto::LastExit { code: None, signal: Some(name), dumped_core, text }
        }
        ExitStatus::Unknown => dto::LastExit { code: None, signal: None, dumped_core: false, text },
    }
}

/// `None`: the set and the statuses do not belong together.
fn detail<'a>(
    table: &'a StatusTable,
    id: UnitId,
    events: &[Arc<EventRecord>],
) -> Option<dto::UnitDetail<'a>> {
    let set = &table.set;
    let spec = set.unit(id)?;
    let status_of = |unit: UnitId| table.units.iter().find(|status| status.unit == unit);
    let now = status_of(id)?;
    let state_of = |unit: UnitId| status_of(unit).map_or("unknown", |status| status.state.as_str());
    let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let depends_on = spec.depends_on.iter().map(|edge| dto::Dependency {
        unit: name_of(set, edge.unit).to_owned(),
        condition: condition(edge.condition).to_owned(),
        required: edge.required,
        follow: follow(edge.follow).to_owned(),
        state: state_of(edge.unit).to_owned(),
    });
    let dependents = set.present_units().filter(|other| other.depends_on.iter().any(|edge| edge.unit == id));
    let labels = spec
        .labels
        .iter()
        .map(|(name, value)| dto::Label { name: name.to_string(), value: value.to_string() });
    Some(dto::UnitDetail {
        status: row(table, now)?,
        description: text(&spec.description),
        command: spec.command.iter().map(written).collect(),
        user: text(&spec.user),
        enabled: spec.enabled,
        essential: spec.essential,
        depends_on: depends_on.collect(),
        dependents: dependents.map(|other| other.name.to_string()).collect(),
        conflicts: spec.conflicts.iter().map(|unit| name_of(set, *unit).to_owned()).collect(),
        runbook: text(&spec.runbook),
        labels: labels.collect(),
        run: now.ordinal,
        recent: recent(spec, events),
    })
}

/// The last events of a unit, also those of an earlier set.
fn recent(spec: &UnitSpec, events: &[Arc<EventRecord>]) -> Vec<dto::Event> {
    let is_about = |record: &&Arc<EventRecord>| record.unit() == Some(spec.name.as_str());
    let mut recent: Vec<dto::Event> =
        events.iter().rev().filter(is_about).take(RECENT_EVENTS).map(|record| event(record)).collect();
    recent.reverse();
    recent
}

pub(crate) fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    }
}

pub(crate) fn follow(follow: Follow) -> &'static str {
    match follow {
        Follow::None => "none",
        Follow::Restart => "restart",
        Follow::Stop => "stop",
    }
}

/// A template as its author wrote it.
fn written(template: &Template) -> String {
    match template {
        Template::Plain(text) => text.to_string(),
        Template::Pieces(pieces) => pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.to_string(),
                Piece::Variable { name, default: None } => format!("${{{name}}}"),
                Piece::Variable { name, default: Some(default) } => format!("${{{name}:-{default}}}"),
            })
            .collect(),
    }
}
