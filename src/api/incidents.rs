//! What went wrong, what it was about, and whom it would reach.

use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::api::Shared;
use crate::api::caller::MayLook;
use crate::api::dto;
use crate::api::parameters::Parameters;
use crate::api::problem::{self, Problem};
use crate::api::status::{condition, follow, json, named, rfc3339};
use crate::engine::time::WallTime;
use crate::graph::{Graph, Impact};
use crate::log::since;
use crate::supervisor::handle::{Cause, IncidentStory, Listed, Moment, Rule, StatusTable};
use crate::supervisor::words::{name_of, phase_name};
use crate::unit::spec::UnitId;

/// Bytes of an incident in the list, rounded up from what was seen.
const BYTES_PER_INCIDENT: usize = 512;

/// Incidents, the newest first, with the times to detect and to recover over all of them.
#[utoipa::path(get, path = "/v1/incidents",
    params(
        ("open" = Option<bool>, Query, description = "True: only those that are not over. Default false"),
        ("since" = Option<String>, Query, description = "Detected at this moment or later: RFC 3339, `10m`, `today`, ... Default: all that are kept"),
        ("unit" = Option<Vec<String>>, Query, description = "Only those that reached this unit; may come several times"),
    ),
    responses(
        (status = 200, body = dto::Incidents),
        problem::BadRequest, problem::NotPermitted, problem::NotFound,
))]
pub(crate) async fn incidents(
    _: MayLook,
    State(shared): State<Shared>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["open", "since", "unit"])?;
    let is_open_only = parameters.flag("open")?.unwrap_or(false);
    let since = parameters.one("since").map(|text| since::parse(text, since::now()));
    let since_millis = since.transpose().map_err(Problem::BadRequest)?.unwrap_or(0) / NANOS;
    let mut units: Vec<String> = Vec::new();
    for name in parameters.all("unit") {
        let set = shared.handle.status(Some(Vec::new())).await?.set;
        units.extend(named(&set, name)?.into_iter().map(|unit| name_of(&set, unit).to_owned()));
    }
    let list = shared.handle.incidents(since_millis).await?;
    let is_wanted = |listed: &&Listed| {
        let reached =
            |unit: &String| listed.row.root.as_ref() == Some(unit) || listed.row.affected.contains(unit);
        (listed.is_open || !is_open_only) && (units.is_empty() || units.iter().any(reached))
    };
    let incidents: Vec<dto::Incident> = list.incidents.iter().filter(is_wanted).map(incident).collect();
    let size = 256 + BYTES_PER_INCIDENT * incidents.len();
    let times = dto::IncidentTimes {
        incidents: list.window.incidents,
        open: list.window.open,
        mttd_mean_ms: list.window.mttd_mean_millis,
        mttd_median_ms: list.window.mttd_median_millis,
        mttr_mean_ms: list.window.mttr_mean_millis,
        mttr_median_ms: list.window.mttr_median_millis,
    };
    Ok(json(&dto::Incidents { incidents, times, gap: list.gap }, size))
}

/// One incident: its story, its probable causes, and the evidence.
#[utoipa::path(get, path = "/v1/incidents/{id}",
    params(("id" = u64, Path, description = "The incident's number")),
    responses(
        (status = 200, body = dto::IncidentDetail),
        problem::BadRequest, problem::NotPermitted, problem::NotFound,
))]
pub(crate) async fn one(
    _: MayLook,
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let story = story(&shared, &id).await?;
    let known = story.whole_evidence();
    let detail = dto::IncidentDetail {
        incident: incident(&story.listed),
        directory: story.directory.to_string_lossy().into_owned(),
        causes: known.causes.iter().map(cause).collect(),
        missing: known.incomplete.iter().map(|one| format!("{}: {}", one.what, one.why)).collect(),
        timeline: story.timeline.iter().map(moment).collect(),
        evidence: story.evidence.as_ref().and_then(|evidence| serde_json::to_value(evidence).ok()),
    };
    Ok(json(&detail, 64 << 10))
}

/// The same as a page in Markdown.
#[utoipa::path(get, path = "/v1/incidents/{id}/postmortem",
    params(("id" = u64, Path, description = "The incident's number")),
    responses(
        (status = 200, body = String, content_type = "text/markdown"),
        problem::BadRequest, problem::NotPermitted, problem::NotFound,
))]
pub(crate) async fn postmortem(
    _: MayLook,
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let page = story(&shared, &id).await?.postmortem();
    Ok(([(header::CONTENT_TYPE, "text/markdown")], page).into_response())
}

/// Who depends on a unit, and how: what else is reached when it goes.
#[utoipa::path(get, path = "/v1/units/{name}/impact",
    params(("name" = String, Path, description = "The unit's name, or that of all its replicas and instances")),
    responses(
        (status = 200, body = dto::Impacts),
        problem::NotPermitted, problem::NotFound,
))]
pub(crate) async fn impact(
    _: MayLook,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let table = shared.handle.status(None).await?;
    let ids = named(&table.set, &name)?;
    let graph = Graph::new(&table.set);
    let units = ids.into_iter().map(|id| dto::UnitImpact {
        unit: name_of(&table.set, id).to_owned(),
        reaches: graph.impact(id).iter().filter_map(|one| reached(&table, one)).collect(),
    });
    Ok(json(&dto::Impacts { units: units.collect() }, 4096))
}

async fn story(shared: &Shared, id: &str) -> Result<IncidentStory, Problem> {
    let number = id.parse().map_err(|_not_a_number| {
        Problem::BadRequest(format!("an incident has a whole number, not `{id}`"))
    })?;
    shared.handle.incident(number).await?.ok_or(Problem::UnknownIncident(number))
}

fn incident(listed: &Listed) -> dto::Incident {
    let Listed { row, is_open } = listed;
    dto::Incident {
        id: row.id,
        open: *is_open,
        unit: row.root.clone(),
        started: date(row.started_millis),
        detected: date(row.detected_millis),
        recovered: row.recovered_millis.map(date),
        affected: row.affected.clone(),
        failure: row.failure.clone(),
        cause: row.cause.clone(),
        verdict: row.verdict.clone(),
    }
}

pub(crate) fn cause(cause: &Cause) -> dto::ProbableCause {
    dto::ProbableCause {
        rule: rule(cause.rule).to_owned(),
        score: cause.score,
        text: cause.sentence.clone(),
        rests_on: cause.fact.clone(),
    }
}

fn rule(rule: Rule) -> &'static str {
    match rule {
        Rule::ExecutableMissing => "executable_missing",
        Rule::Permission => "permission",
        Rule::OutOfMemory => "out_of_memory",
        Rule::PortInUse => "port_in_use",
        Rule::Stopped => "stopped",
        Rule::DiskFull => "disk_full",
        Rule::DependencyDown => "dependency_down",
        Rule::Authentication => "authentication",
        Rule::Crashed => "crashed",
        Rule::Killed => "killed",
        Rule::KilledByOperator => "killed_by_operator",
        Rule::ConfigurationChanged => "configuration_changed",
        Rule::RepeatedError => "repeated_error",
        Rule::Timeout => "timeout",
        Rule::ExitAfterStart => "exit_after_start",
    }
}

fn moment(moment: &Moment) -> dto::Moment {
    dto::Moment {
        at: date(moment.at_millis),
        unit: (!moment.unit.is_empty()).then(|| moment.unit.clone()),
        kind: moment.kind.clone(),
        text: moment.text.clone(),
    }
}

fn reached(table: &StatusTable, impact: &Impact) -> Option<dto::Reached> {
    let set = &table.set;
    let spec = set.unit(impact.unit)?;
    let state_of = |unit: UnitId| table.units.iter().find(|status| status.unit == unit);
    Some(dto::Reached {
        unit: spec.name.to_string(),
        through: name_of(set, impact.through).to_owned(),
        condition: condition(impact.edge.condition).to_owned(),
        required: impact.required,
        follow: follow(impact.edge.follow).to_owned(),
        distance: impact.distance,
        phase: phase_name(set, spec.phase).to_owned(),
        state: state_of(impact.unit).map_or("unknown", |status| status.state.as_str()).to_owned(),
        slo: spec.slo_ppm.map(percent),
    })
}

/// `99.95%`
fn percent(millionths: u32) -> String {
    let text = format!("{}.{:04}", millionths / 10_000, millionths % 10_000);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn date(millis: u64) -> String {
    rfc3339(WallTime(millis.saturating_mul(NANOS)))
}

const NANOS: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_time_is_written_as_people_write_it() {
        let table =
            [(999_500, "99.95%"), (1_000_000, "100%"), (990_000, "99%"), (999_999, "99.9999%"), (0, "0%")];
        for (millionths, expected) in table {
            assert_eq!(percent(millionths), expected);
        }
    }
}
