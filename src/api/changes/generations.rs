//! What is kept.

use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::Shared;
use crate::api::body::RequiredJson;
use crate::api::caller::{Access, MayChange, MayLook, must_change};
use crate::api::changes::{dto, shown};
use crate::api::parameters::Parameters;
use crate::api::problem::{self, Problem};
use crate::api::status::json;
use crate::supervisor::generations::{
    Damage, Error, FileChange, FileDifference, FileEntry, Generations, NamedEntry, Summary, Word,
};

/// Of a disk. To verify a thousand generations takes seconds.
const DISK_LIMIT: Duration = Duration::from_secs(60);

/// Bytes of a generation in the list, rounded up.
const BYTES_PER_GENERATION: usize = 400;

/// Longer labels are no labels.
const MOST_LABEL_BYTES: usize = 256;

/// All that are kept, oldest first.
#[utoipa::path(get, path = "/v1/generations", responses(
    (status = 200, body = dto::Generations), problem::NotPermitted, problem::Broken, problem::Busy,
))]
pub(crate) async fn generations(_: MayLook, State(shared): State<Shared>) -> Result<Response, Problem> {
    let listed = on_disk(&shared, list).await?.map_err(problem)?;
    let size = 64 + BYTES_PER_GENERATION * listed.generations.len();
    Ok(json(&listed, size))
}

/// One of them, with its files.
#[utoipa::path(get, path = "/v1/generations/{number}",
    params(("number" = u64, Path, description = "Its number")),
    responses(
        (status = 200, body = dto::GenerationDetail),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Broken, problem::Busy,
))]
pub(crate) async fn one(
    _: MayLook,
    State(shared): State<Shared>,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    let summary = found(&shared, self::number(&number)?).await?;
    Ok(json(&detail(&summary), 4096))
}

/// In what the second differs from the first: what it does, and the texts of files.
#[utoipa::path(get, path = "/v1/generations/{before}/diff/{after}",
    params(
        ("before" = u64, Path, description = "The number of the first"),
        ("after" = u64, Path, description = "The number of the second"),
        ("files" = Option<bool>, Query, description = "Also the texts of files that differ; only for who may change things. Default false"),
    ),
    responses(
        (status = 200, body = dto::GenerationDiff),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Broken, problem::Busy,
))]
pub(crate) async fn diff(
    _: MayLook,
    access: Access,
    State(shared): State<Shared>,
    Path((before, after)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (before, after) = (number(&before)?, number(&after)?);
    let parameters = Parameters::read(query.as_deref(), &["files"])?;
    let with_files = parameters.flag("files")?.unwrap_or(false);
    if with_files {
        // A definition hides what is called a secret; a file does not.
        must_change(access)?;
    }
    let compared = on_disk(&shared, move |kept| compared(kept, (before, after), with_files));
    Ok(json(&compared.await?.map_err(problem)?, 4096))
}

pub(super) fn list(kept: &Generations) -> Result<dto::Generations, Error> {
    Ok(dto::Generations { generations: kept.list()?.iter().map(shown::generation).collect() })
}

pub(super) fn compared(
    kept: &Generations,
    (before, after): (u64, u64),
    with_files: bool,
) -> Result<dto::GenerationDiff, Error> {
    let files = with_files.then(|| kept.files_between(before, after)).transpose()?;
    let files = files.map(|files| files.into_iter().filter_map(file).collect());
    let planned = kept.between(before, after)?;
    // Between two that are kept nobody decides anything.
    let plan = dto::Plan {
        approval: Vec::new(),
        approval_settings: Vec::new(),
        ..shown::plan(&planned, Some(before))
    };
    Ok(dto::GenerationDiff { before, after, plan, files })
}

pub(super) fn detail(summary: &Summary) -> dto::GenerationDetail {
    let (mut files, mut named) = (Vec::new(), Vec::new());
    if let Ok(manifest) = &summary.manifest {
        let file = |file: &FileEntry| dto::GenerationFile {
            name: file.name.clone(),
            sha256: file.sha256.clone(),
            bytes: file.bytes,
        };
        files.extend(manifest.files.iter().map(file));
        let one = |named: &NamedEntry| dto::NamedFile {
            path: named.path.clone(),
            sha256: named.sha256.clone(),
            bytes: named.bytes,
        };
        named.extend(manifest.named.iter().map(one));
    }
    let diagnostics = summary.verdict.as_ref().map(|verdict| verdict.diagnostics.clone()).unwrap_or_default();
    dto::GenerationDetail { generation: shown::generation(summary), files, named, diagnostics }
}

fn file(difference: FileDifference) -> Option<dto::FileDiff> {
    let FileDifference { name, change } = difference;
    let (before, after) = match change {
        FileChange::Same => return None,
        FileChange::Changed { before, after } => (Some(before), Some(after)),
        FileChange::OnlyBefore(before) => (Some(before), None),
        FileChange::OnlyAfter(after) => (None, Some(after)),
    };
    Some(dto::FileDiff { name, before, after })
}

/// Read every byte that is kept, and name what is damaged.
#[utoipa::path(post, path = "/v1/generations/verify", responses(
    (status = 200, body = dto::Damages), problem::NotPermitted, problem::Broken, problem::Busy,
))]
pub(crate) async fn verify(_: MayChange, State(shared): State<Shared>) -> Result<Response, Problem> {
    Ok(json(&on_disk(&shared, damages).await?.map_err(problem)?, 1024))
}

pub(super) fn damages(kept: &Generations) -> Result<dto::Damages, Error> {
    let damage = |damage: &Damage| dto::Damage { generation: damage.generation, text: damage.to_string() };
    Ok(dto::Damages { damaged: kept.verify()?.iter().map(damage).collect() })
}

/// Keep one, however old it gets.
#[utoipa::path(post, path = "/v1/generations/{number}/pin",
    params(("number" = u64, Path, description = "Its number")),
    request_body = dto::PinOptions,
    responses(
        (status = 204, description = "It is pinned"),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Broken, problem::Busy,
))]
pub(crate) async fn pin(
    _: MayChange,
    State(shared): State<Shared>,
    Path(number): Path<String>,
    RequiredJson(options): RequiredJson<dto::PinOptions>,
) -> Result<Response, Problem> {
    let number = self::number(&number)?;
    let label = options.label;
    if label.trim().is_empty() || label.len() > MOST_LABEL_BYTES || label.contains(char::is_control) {
        let text =
            format!("`label` must be one line of 1 to {MOST_LABEL_BYTES} bytes that says why it is kept");
        return Err(Problem::BadRequest(text));
    }
    on_disk(&shared, move |kept| kept.pin(number, &label)).await?.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Let one go when its time comes.
#[utoipa::path(post, path = "/v1/generations/{number}/unpin",
    params(("number" = u64, Path, description = "Its number")),
    responses(
        (status = 204, description = "It is not pinned"),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Broken, problem::Busy,
))]
pub(crate) async fn unpin(
    _: MayChange,
    State(shared): State<Shared>,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    let number = self::number(&number)?;
    on_disk(&shared, move |kept| kept.unpin(number)).await?.map_err(problem)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) fn number(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_no_number| {
        Problem::BadRequest(format!("a generation is named by its number, not `{text}`"))
    })
}

pub(super) async fn found(shared: &Shared, number: u64) -> Result<Summary, Problem> {
    on_disk(shared, move |kept| kept.one(number)).await?.map_err(problem)
}

/// It is there, and was decided on.
pub(super) async fn must_not_wait(shared: &Shared, number: u64) -> Result<(), Problem> {
    match found(shared, number).await?.verdict.map(|verdict| verdict.word) {
        Ok(Word::Pending) => {
            let approve = format!("`mcsup approve {number}`");
            Err(Problem::Refused(format!("generation {number} was never in force: it waits for {approve}")))
        }
        Ok(Word::Candidate | Word::Verifying | Word::Committed | Word::Rejected | Word::Superseded)
        | Err(_) => Ok(()),
    }
}

/// Where a roll back goes when nobody names another.
pub(super) async fn previous_good(shared: &Shared) -> Result<u64, Problem> {
    let Some(current) = shared.handle.standing().await?.generation else {
        return Err(Problem::Refused("no generation is kept, so there is none to go back to".to_owned()));
    };
    let found = on_disk(shared, move |kept| kept.previous_good(current)).await?;
    found.ok_or_else(|| {
        Problem::Refused(format!("no generation before {current} is kept that held; name one to go to"))
    })
}

/// Asks the disk, on a thread.
pub(super) async fn on_disk<T: Send + 'static>(
    shared: &Shared,
    ask: impl FnOnce(&Generations) -> T + Send + 'static,
) -> Result<T, Problem> {
    let kept = Generations::new(&shared.context.state_dir);
    let answered = shared.disk.ask(DISK_LIMIT, move || ask(&kept)).await;
    answered
        .ok_or_else(|| Problem::Busy("the disk that keeps generations does not answer in time".to_owned()))
}

pub(super) fn problem(error: Error) -> Problem {
    match error {
        Error::Unknown(number) => Problem::UnknownGeneration(number),
        error @ (Error::Disk { .. } | Error::Refused(_) | Error::Damaged { .. }) => {
            Problem::Broken(error.to_string())
        }
    }
}
