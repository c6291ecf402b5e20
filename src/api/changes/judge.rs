//! Who approves of a change, and who rejects it: not who wrote it, where the settings name those who may.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::api::Shared;
use crate::api::body::Json;
use crate::api::caller::{Access, Caller, MayLook, must_change};
use crate::api::changes::answer::{Asking, carry_out};
use crate::api::changes::dto::{Changed, RejectOptions, ReloadOptions};
use crate::api::changes::{generations, shown};
use crate::api::problem::{self, Problem};
use crate::supervisor::generations::{Summary, Word};
use crate::supervisor::handle::{What, Who};

/// Let a generation that waits take its turn.
#[utoipa::path(post, path = "/v1/generations/{number}/approve",
    params(("number" = u64, Path, description = "Its number")),
    request_body(content = ReloadOptions, description = "May be left out"),
    responses(
        (status = 200, body = Changed),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Conflict, problem::Invalid,
))]
pub(crate) async fn approve(
    _: MayLook,
    access: Access,
    caller: Caller,
    State(shared): State<Shared>,
    Path(number): Path<String>,
    Json(options): Json<ReloadOptions>,
) -> Result<Response, Problem> {
    let (number, who) = may_judge(&shared, access, caller, &number).await?;
    let asking = Asking { who, waits: options.wait.unwrap_or(true) };
    carry_out(&shared, What::Approve(number), asking).await
}

/// Say no to a generation that waits.
#[utoipa::path(post, path = "/v1/generations/{number}/reject",
    params(("number" = u64, Path, description = "Its number")),
    request_body(content = RejectOptions, description = "May be left out"),
    responses(
        (status = 200, body = Changed),
        problem::BadRequest, problem::NotPermitted, problem::NotFound, problem::Conflict,
))]
pub(crate) async fn reject(
    _: MayLook,
    access: Access,
    caller: Caller,
    State(shared): State<Shared>,
    Path(number): Path<String>,
    Json(options): Json<RejectOptions>,
) -> Result<Response, Problem> {
    let (generation, who) = may_judge(&shared, access, caller, &number).await?;
    let why = options.why.unwrap_or_default();
    carry_out(&shared, What::Reject { generation, why }, Asking { who, waits: true }).await
}

/// Who asks, once it is clear that they may, and that it waits for somebody.
async fn may_judge(
    shared: &Shared,
    access: Access,
    caller: Caller,
    number: &str,
) -> Result<(u64, Who), Problem> {
    let number = generations::number(number)?;
    let approvers = shared.handle.definitions().changes.approvers.clone();
    if approvers.is_empty() {
        must_change(access)?;
    }
    let who = caller.who(shared).await;
    if !approvers.is_empty() {
        if !approvers.iter().any(|name| **name == *who.user) {
            let names = approvers.join(", ");
            return Err(Problem::NotPermitted(format!(
                "`approvers` of mcsup.yaml names {names}, and this is {}",
                named(&who)
            )));
        }
        // Who may only look may approve all the same where they are named; what they run as a unit may not.
        if matches!(access, Access::Look { .. }) && caller.is_of_unit(shared).await {
            return Err(Problem::NotPermitted("a process of a unit may only look".to_owned()));
        }
    }
    let summary = generations::found(shared, number).await?;
    if !approvers.is_empty() {
        must_not_be_writer(&summary, &who)?;
    }
    match summary.verdict.as_ref().map(|verdict| verdict.word) {
        Ok(Word::Pending) => Ok((number, who)),
        Ok(word) => Err(Problem::Refused(format!(
            "generation {number} waits for nobody: it is {}",
            shown::word(word)
        ))),
        Err(damage) => Err(Problem::Refused(format!("generation {number} cannot be judged: {damage}"))),
    }
}

/// Of a save nobody knows who did it.
fn must_not_be_writer(summary: &Summary, who: &Who) -> Result<(), Problem> {
    let writer = summary.manifest.as_ref().map(|manifest| &manifest.who);
    match writer {
        Ok(writer) if !writer.from.is_empty() && writer.uid == who.uid => {
            Err(Problem::NotPermitted(format!(
                "generation {} came from {}: somebody else of `approvers` must decide on it",
                summary.number,
                named(writer)
            )))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn named(who: &Who) -> String {
    if who.user.is_empty() { format!("uid {}", who.uid) } else { who.user.clone() }
}
