//! Replacing mcsup itself.

use axum::extract::State;
use axum::response::Response;

use crate::api::Shared;
use crate::api::caller::{MayChange, MayLook};
use crate::api::problem::{self, Problem};
use crate::api::status::json;
use crate::supervisor::handle::{Rehearsed, Replacement};
use crate::supervisor::{reexec as words, version};

/// The executable on disk can take over, and is about to.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct Reexec {
    /// Of this try; `GET` tells how it ended.
    pub number: u32,
    /// The version that runs.
    pub from: String,
    /// The version that takes over.
    pub to: String,
}

/// Which version runs, and how it came to that.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct Standing {
    /// The version that runs.
    pub version: String,
    /// The last try to replace it; none in the life of this keeper when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Tried>,
}

/// How a try to replace mcsup ended.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize, utoipa::ToSchema)]
pub struct Tried {
    pub number: u32,
    /// The version that ran.
    pub from: String,
    /// The version that was to take over; empty where it never said so.
    pub to: String,
    /// Why the one before goes on; left out when the other one took over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// For people.
    pub text: String,
}

/// Replace both rings of mcsup by the executable on disk. Answered once that has shown on a copy that it can take
/// over, and before it does; no service notices.
#[utoipa::path(post, path = "/v1/reexec", responses(
    (status = 200, body = Reexec), problem::NotPermitted, problem::Conflict,
))]
pub(crate) async fn reexec(_: MayChange, State(shared): State<Shared>) -> Result<Response, Problem> {
    let Rehearsed { number, from, to } = shared.handle.reexec().await?.map_err(Problem::Refused)?;
    Ok(json(&Reexec { number, from, to }, 128))
}

/// Which version runs, and how the last try to replace it ended.
#[utoipa::path(get, path = "/v1/reexec", responses(
    (status = 200, body = Standing), problem::NotPermitted,
))]
pub(crate) async fn standing(_: MayLook, State(shared): State<Shared>) -> Result<Response, Problem> {
    let last = shared.handle.replacement().await?.map(|last| {
        let text = words::told(&last);
        let Replacement { number, from, to, trouble, is_news: _ } = last;
        Tried { number, from, to, trouble, text }
    });
    Ok(json(&Standing { version: version::text().to_owned(), last }, 256))
}
