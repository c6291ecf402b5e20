//! Jobs: when they run, how their runs went, what those wrote.

use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::api::Shared;
use crate::api::caller::MayLook;
use crate::api::dto;
use crate::api::parameters::Parameters;
use crate::api::problem::Problem;
use crate::api::status::{json, named, rfc3339};
use crate::engine::time::WallTime;
use crate::output::{Taken, find};
use crate::supervisor::handle::{JobEntry, JobRunRow, JobTable};
use crate::supervisor::words::name_of;
use crate::unit::spec::{UnitId, UnitKind, UnitSet};

/// Bytes of a job in the list, rounded up from what was seen.
const BYTES_PER_JOB: usize = 512;

/// All jobs: the last verdict, the next run, what runs.
#[utoipa::path(get, path = "/v1/jobs", responses(
    (status = 200, body = dto::Jobs),
    (status = 403, body = dto::ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn jobs(_: MayLook, State(shared): State<Shared>) -> Result<Response, Problem> {
    let table = shared.handle.jobs(None).await?;
    let is_fresh = |entry: &JobEntry| entry.status.verdict.is_some() && entry.recent.is_empty();
    let kept = if table.jobs.iter().any(is_fresh) {
        shared.handle.job_runs(None, MOST_LOOKED_AT).await?
    } else {
        Vec::new()
    };
    let jobs: Vec<dto::Job> =
        table.jobs.iter().filter_map(|entry| job(&table, entry, last_of(&table, entry, &kept))).collect();
    Ok(json(&dto::Jobs { jobs }, 64 + BYTES_PER_JOB * table.jobs.len()))
}

/// One job, or each of a group, with its last runs.
#[utoipa::path(get, path = "/v1/jobs/{name}",
    params(
        ("name" = String, Path, description = "The job's name, or that of all its replicas and instances"),
        ("runs" = Option<u64>, Query, description = "Most runs that are told. Default 20, at most 1000"),
    ),
    responses(
        (status = 200, body = dto::JobDetails),
        (status = 400, body = dto::ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = dto::ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = dto::ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = dto::ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn one(
    _: MayLook,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["runs"])?;
    let most = parameters.number("runs")?.unwrap_or(20).min(u64::from(MOST_LOOKED_AT));
    let set = shared.handle.status(Some(Vec::new())).await?.set;
    let units = jobs_named(&set, &name)?;
    let mut details = Vec::new();
    for unit in units {
        let Some(spec) = set.unit(unit) else { continue };
        let table = shared.handle.jobs(Some(unit)).await?;
        let Some(entry) = table.jobs.first() else { continue };
        let most = u32::try_from(most).unwrap_or(MOST_LOOKED_AT);
        let kept = shared.handle.job_runs(Some(spec.name.to_string()), most).await?;
        let mut rows = merged(entry.recent.clone(), kept);
        rows.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        let Some(job) = job(&table, entry, rows.first()) else { continue };
        details.push(dto::JobDetail { job, runs: rows.iter().map(run).collect() });
    }
    Ok(json(&dto::JobDetails { jobs: details }, 4096))
}

/// What a run wrote to the stream that is kept, byte for byte.
#[utoipa::path(get, path = "/v1/jobs/{name}/output",
    params(
        ("name" = String, Path, description = "The job's name"),
        ("run" = Option<u64>, Query, description = "The number after the `#` of a run. Default: the last one"),
    ),
    responses(
        (status = 200, body = String, content_type = "application/octet-stream"),
        (status = 400, body = dto::ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = dto::ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = dto::ProblemDocument, content_type = "application/problem+json"),
        (status = 409, body = dto::ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn output(
    _: MayLook,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["run"])?;
    let ordinal = parameters.number("run")?;
    let ordinal = ordinal.map(u32::try_from).transpose();
    let ordinal = ordinal.map_err(|_large| Problem::BadRequest("`run` is too large".to_owned()))?;
    let set = shared.handle.status(Some(Vec::new())).await?.set;
    let units = jobs_named(&set, &name)?;
    let [unit] = units.as_slice() else {
        return Err(Problem::BadRequest(format!("`{name}` means several jobs; name one of them")));
    };
    let nothing = || Problem::Refused("nothing of that run is kept".to_owned());
    let directory = shared.handle.job_output(*unit, ordinal).await?.ok_or_else(nothing)?;
    let read = move || find::take(&directory.join("output"), 0, None);
    match shared.log_readers.ask(READ_LIMIT, read).await {
        Some(Taken::Bytes(bytes)) => {
            Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
        }
        Some(Taken::TooLarge(_) | Taken::Unreadable(_)) | None => Err(nothing()),
    }
}

/// # Errors
/// When no unit has this name, or none that has it is a job.
fn jobs_named(set: &UnitSet, name: &str) -> Result<Vec<UnitId>, Problem> {
    let mut units = named(set, name)?;
    units.retain(|unit| set.unit(*unit).is_some_and(|spec| spec.kind == UnitKind::Job));
    if units.is_empty() { Err(Problem::Refused(format!("`{name}` is no job"))) } else { Ok(units) }
}

/// What is at hand, and what the history has besides.
fn merged(recent: Vec<JobRunRow>, kept: Vec<JobRunRow>) -> Vec<JobRunRow> {
    let mut rows = recent;
    for row in kept {
        let is_same = |known: &JobRunRow| {
            (known.ordinal, known.ended_millis, &known.verdict, known.serial)
                == (row.ordinal, row.ended_millis, &row.verdict, row.serial)
        };
        if !rows.iter().any(is_same) {
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.ended_millis));
    rows
}

fn job(table: &JobTable, entry: &JobEntry, last: Option<&JobRunRow>) -> Option<dto::Job> {
    let spec = table.set.unit(entry.unit)?;
    let job = spec.job.as_deref()?;
    let status = &entry.status;
    Some(dto::Job {
        name: spec.name.to_string(),
        state: entry.state.as_str().to_owned(),
        reason: entry.reason.clone(),
        schedule: job.timetable.words(),
        zone: job.timetable.zone.name().to_owned(),
        every_ms: job.every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX)),
        verdict: status.verdict.as_ref().map(|verdict| verdict.word().to_owned()),
        said: status.verdict.as_ref().map(ToString::to_string),
        streak: status.streak,
        last: last.map(run),
        next: status.next_slot.map(rfc3339),
        running: status.runs.iter().map(|(_, ordinal)| *ordinal).collect(),
        waiting: u64::try_from(status.waiting).unwrap_or(u64::MAX),
    })
}

fn last_of<'a>(table: &JobTable, entry: &'a JobEntry, kept: &'a [JobRunRow]) -> Option<&'a JobRunRow> {
    let name = name_of(&table.set, entry.unit);
    entry.recent.first().or_else(|| kept.iter().find(|row| row.unit == name))
}

fn run(row: &JobRunRow) -> dto::JobRun {
    let at = |millis: u64| rfc3339(WallTime(millis.saturating_mul(1_000_000)));
    dto::JobRun {
        run: (row.ordinal != 0).then_some(row.ordinal),
        trigger: row.trigger.clone(),
        began: at(row.began_millis),
        took_ms: row.ended_millis.saturating_sub(row.began_millis),
        exit: row.exit.clone(),
        verdict: row.verdict.clone(),
        why: row.why.clone(),
        kept: row.kept,
    }
}

/// Rows of the history that one answer looks at.
const MOST_LOOKED_AT: u32 = 1000;
/// A disk that does not answer for so long does not answer.
const READ_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_millisecond_are_told_each_once() {
        let row = |ordinal, serial, why: &str| JobRunRow {
            ordinal,
            serial,
            ended_millis: 7,
            verdict: "skipped".into(),
            why: why.into(),
            ..JobRunRow::default()
        };
        let recent = vec![row(0, 3, "third"), row(0, 2, "second")];
        let kept = vec![row(0, 3, "third"), row(0, 2, "second"), row(0, 1, "first"), row(4, 0, "a run")];
        let told: Vec<String> = merged(recent, kept).into_iter().map(|row| row.why).collect();
        assert_eq!(told, ["third", "second", "first", "a run"]);
    }
}
