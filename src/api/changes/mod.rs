//! What callers may change of the definitions. All of it goes the supervisor's one road; each is answered when it is
//! over, or does not go on by itself.

pub mod dto;
pub(crate) mod shown;
mod answer;
pub(crate) mod generations;
pub(crate) mod judge;
pub(crate) mod offline;

use std::path::PathBuf;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::api::Shared;
use crate::api::body::{Json, Text};
use crate::api::caller::{Access, Caller, MayChange, MayLook, must_change};
use crate::api::changes::answer::{Asking, carry_out};
use crate::api::changes::dto::{
    ApplyOptions, Changed, Changes, Plan, PlanOptions, ReloadOptions, RollbackOptions,
};
use crate::api::parameters::Parameters;
use crate::api::problem::{self, Problem};
use crate::api::status::{json, unknown};
use crate::engine::effect::Answer;
use crate::engine::event::Ask;
use crate::supervisor::generations::{Word, unit_file};
use crate::supervisor::handle::{ChangeAnswer, ChangeCause, Source, What};
use crate::unit::name::UnitName;

/// How the units directory stands to what is in force.
#[utoipa::path(get, path = "/v1/changes", responses(
    (status = 200, body = Changes), problem::NotPermitted,
))]
pub(crate) async fn changes(_: MayLook, State(shared): State<Shared>) -> Result<Response, Problem> {
    let standing = shared.handle.standing().await?;
    let invalid = standing.invalid.as_ref().map(|invalid| dto::InvalidUnits {
        errors: invalid.errors as u64,
        diagnostics: invalid.text.clone(),
    });
    let body = Changes {
        generation: standing.generation,
        under_way: standing.under_way,
        change: shown::under_way(&standing),
        pending: standing.pending.iter().map(shown::pending).collect(),
        invalid,
        differs: standing.differs.clone(),
        text: shown::standing(&standing),
    };
    Ok(json(&body, 1024))
}

/// What a change would do. Nothing is touched.
#[utoipa::path(post, path = "/v1/plan",
    request_body(content = PlanOptions, description = "May be left out"),
    responses(
        (status = 200, body = Plan),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Conflict, problem::Invalid,
))]
pub(crate) async fn plan(
    _: MayLook,
    access: Access,
    caller: Caller,
    State(shared): State<Shared>,
    Json(options): Json<PlanOptions>,
) -> Result<Response, Problem> {
    let PlanOptions { dir, generation, unit } = options;
    let source = match (dir, generation, unit) {
        (None, None, None) => Source::Directory,
        (Some(dir), None, None) => {
            // The supervisor may read what the caller may not.
            must_change(access)?;
            directory(&shared, &dir)?
        }
        (None, Some(generation), None) => {
            let summary = generations::found(&shared, generation).await?;
            let waits = summary.verdict.is_ok_and(|verdict| verdict.word == Word::Pending);
            // What it would do once it is approved.
            if waits { Source::Pending(generation) } else { Source::Generation(generation) }
        }
        (None, None, Some(unit)) => {
            must_change(access)?;
            Source::Unit { name: unit_name(&unit.name)?, text: unit.text }
        }
        (_, _, _) => {
            return Err(Problem::BadRequest("name one of `dir`, `generation` and `unit`".to_owned()));
        }
    };
    let who = caller.who(&shared).await;
    let standing = shared.handle.standing().await?;
    let from = standing.under_way.or(standing.generation);
    match shared.handle.change(What::Plan(source), who).await? {
        ChangeAnswer::Planned(planned) => Ok(json(&shown::plan(&planned, from), 4096)),
        ChangeAnswer::Same => {
            let units = shared.handle.definitions().present().count();
            Ok(json(&shown::no_plan(from, units as u64), 256))
        }
        ChangeAnswer::Invalid(invalid) => Err(Problem::Invalid(invalid)),
        ChangeAnswer::Refused(why) => Err(Problem::Refused(why)),
        ChangeAnswer::Pending(_)
        | ChangeAnswer::Ended { .. }
        | ChangeAnswer::WaitsToBeConfirmed { .. }
        | ChangeAnswer::Rejected { .. } => {
            Err(Problem::Broken("the plan came to more than a plan".to_owned()))
        }
    }
}

/// Put the units directory, or another one's files in its place, into force.
#[utoipa::path(post, path = "/v1/apply",
    request_body(content = ApplyOptions, description = "May be left out"),
    responses(
        (status = 200, body = Changed),
        problem::BadRequest, problem::NotPermitted, problem::Conflict, problem::Invalid,
))]
pub(crate) async fn apply(
    _: MayChange,
    caller: Caller,
    State(shared): State<Shared>,
    Json(options): Json<ApplyOptions>,
) -> Result<Response, Problem> {
    let source = match &options.dir {
        Some(dir) => directory(&shared, dir)?,
        None => Source::Directory,
    };
    let confirm = confirm(options.confirm_ms)?;
    let what = What::Apply { source, cause: ChangeCause::Apply, confirm };
    let asking = Asking { who: caller.who(&shared).await, waits: options.wait.unwrap_or(true) };
    carry_out(&shared, what, asking).await
}

/// Read the units directory again, now.
#[utoipa::path(post, path = "/v1/reload",
    request_body(content = ReloadOptions, description = "May be left out"),
    responses(
        (status = 200, body = Changed),
        problem::BadRequest, problem::NotPermitted, problem::Conflict, problem::Invalid,
))]
pub(crate) async fn reload(
    _: MayChange,
    caller: Caller,
    State(shared): State<Shared>,
    Json(options): Json<ReloadOptions>,
) -> Result<Response, Problem> {
    let what = What::Apply { source: Source::Directory, cause: ChangeCause::Reload, confirm: None };
    let asking = Asking { who: caller.who(&shared).await, waits: options.wait.unwrap_or(true) };
    carry_out(&shared, what, asking).await
}

/// Go back to the files of an earlier generation: a change as any other, planned and verified.
#[utoipa::path(post, path = "/v1/rollback",
    request_body(content = RollbackOptions, description = "May be left out"),
    responses(
        (status = 200, body = Changed),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Conflict, problem::Invalid,
))]
pub(crate) async fn rollback(
    _: MayChange,
    caller: Caller,
    State(shared): State<Shared>,
    Json(options): Json<RollbackOptions>,
) -> Result<Response, Problem> {
    let to = match options.to {
        Some(to) => {
            generations::must_not_wait(&shared, to).await?;
            to
        }
        None => generations::previous_good(&shared).await?,
    };
    let confirm = confirm(options.confirm_ms)?;
    let what = What::Apply { source: Source::Generation(to), cause: ChangeCause::Rollback(to), confirm };
    let asking = Asking { who: caller.who(&shared).await, waits: options.wait.unwrap_or(true) };
    carry_out(&shared, what, asking).await
}

/// The text of a unit's file, as the units directory has it.
#[utoipa::path(get, path = "/v1/units/{name}/file",
    params(("name" = String, Path, description = "The unit's name, which is that of its file")),
    responses(
        (status = 200, body = String, content_type = "application/yaml"),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Conflict, problem::Broken,
        problem::Busy,
))]
pub(crate) async fn file(
    _: MayChange,
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let unit = unit_name(&name)?;
    let dir = shared.context.units_dir.clone();
    let read = generations::on_disk(&shared, move |_| unit_file(&dir, &unit)).await?;
    let text = read.map_err(|error| Problem::Broken(format!("cannot read the file of `{name}`: {error}")))?;
    let text = text.ok_or_else(|| no_file(&shared, &name))?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// Copies of one file have no file of their own.
fn no_file(shared: &Shared, name: &str) -> Problem {
    let set = shared.handle.definitions();
    match name.split_once('@').filter(|_| set.find(name).is_some()) {
        Some((base, _)) => {
            let file = format!("`{base}` or `{base}@`");
            Problem::Refused(format!("`{name}` is one of several copies of a file: change {file} instead"))
        }
        None => unknown(&set, name),
    }
}

/// Put another text in the place of a unit's file, or in that of none, as `apply` does.
#[utoipa::path(put, path = "/v1/units/{name}",
    params(
        ("name" = String, Path, description = "The unit's name, which is that of its file"),
        ("confirm_ms" = Option<u64>, Query, description = "It goes back unless it is confirmed within this time"),
        ("wait" = Option<bool>, Query, description = "Answer only when it is over, or waits for a person. Default true"),
        ("edited" = Option<bool>, Query, description = "A person edited it; only written down. Default false"),
    ),
    request_body(content = String, content_type = "application/yaml", description = "The whole text of the file"),
    responses(
        (status = 200, body = Changed),
        problem::BadRequest, problem::NotPermitted, problem::Conflict, problem::TooLarge, problem::Invalid,
))]
pub(crate) async fn put(
    _: MayChange,
    caller: Caller,
    State(shared): State<Shared>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    Text(text): Text,
) -> Result<Response, Problem> {
    let parameters = Parameters::read(query.as_deref(), &["confirm_ms", "wait", "edited"])?;
    let source = Source::Unit { name: unit_name(&name)?, text };
    let is_edited = parameters.flag("edited")?.unwrap_or(false);
    let cause = if is_edited { ChangeCause::Edit } else { ChangeCause::Put };
    let what = What::Apply { source, cause, confirm: confirm(parameters.number("confirm_ms")?)? };
    let waits = parameters.flag("wait")?.unwrap_or(true);
    carry_out(&shared, what, Asking { who: caller.who(&shared).await, waits }).await
}

/// The change under way is good, and stays.
#[utoipa::path(post, path = "/v1/confirm", responses(
    (status = 200, body = Changed), problem::NotPermitted, problem::Conflict,
))]
pub(crate) async fn confirm_change(_: MayChange, State(shared): State<Shared>) -> Result<Response, Problem> {
    let text = |generation| format!("generation {generation} is confirmed");
    decide(&shared, Ask::Confirm, "confirmed", text).await
}

/// The change under way goes back, now.
#[utoipa::path(post, path = "/v1/abandon", responses(
    (status = 200, body = Changed), problem::NotPermitted, problem::Conflict,
))]
pub(crate) async fn abandon(_: MayChange, State(shared): State<Shared>) -> Result<Response, Problem> {
    let text = |generation| format!("generation {generation} goes back");
    decide(&shared, Ask::Abandon, "going-back", text).await
}

async fn decide(
    shared: &Shared,
    ask: Ask,
    outcome: &str,
    text: impl Fn(u64) -> String,
) -> Result<Response, Problem> {
    let generation = shared.handle.standing().await?.under_way;
    match shared.handle.ask(ask).await? {
        Answer::Done(_) | Answer::NotWell(_) => {}
        Answer::Refused(why) => return Err(Problem::Refused(why.into())),
        Answer::Unknown { unit, .. } => return Err(Problem::Refused(format!("it asks for `{unit}`"))),
    }
    let changed = Changed {
        outcome: outcome.to_owned(),
        well: true,
        generation,
        text: text(generation.unwrap_or_default()),
        plan: None,
        units: Vec::new(),
        settings: Vec::new(),
        incident: None,
        confirm_until: None,
    };
    Ok(json(&changed, 256))
}

fn confirm(millis: Option<u64>) -> Result<Option<Duration>, Problem> {
    match millis {
        Some(0) => {
            Err(Problem::BadRequest("nobody can confirm within no time: `confirm_ms` is 0".to_owned()))
        }
        millis => Ok(millis.map(Duration::from_millis)),
    }
}

fn unit_name(name: &str) -> Result<UnitName, Problem> {
    UnitName::new(name).map_err(|_no_name| {
        Problem::BadRequest(format!(
            "`{name}` cannot be a unit: write at most 64 of a-z, 0-9, `_`, `.`, `@` and `-`, with a letter or digit first; `mcsup` is reserved"
        ))
    })
}

/// Where the files are to come from.
fn directory(shared: &Shared, dir: &str) -> Result<Source, Problem> {
    let dir = PathBuf::from(dir);
    if !dir.is_absolute() {
        return Err(Problem::BadRequest(format!(
            "`dir` must be an absolute path, not `{}`: the supervisor stands elsewhere",
            dir.display()
        )));
    }
    Ok(if dir == shared.context.units_dir { Source::Directory } else { Source::Other(dir) })
}
