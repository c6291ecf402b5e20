//! A unit's log, for callers that cannot read the files themselves.

use axum::response::Response;
use axum::extract::Path;

use crate::api::caller::MayLook;
use crate::api::dto;
use crate::api::problem::Problem;

/// What a unit wrote, byte by byte.
#[utoipa::path(get, path = "/v1/units/{name}/logs",
    params(
        ("name" = String, Path, description = "The unit's name"),
        ("lines" = Option<u64>, Query, description = "Only this many last lines"),
        ("since" = Option<String>, Query, description = "`10m`, `today`, a date, or a time in RFC 3339"),
        ("follow" = Option<bool>, Query, description = "Go on with what the unit writes. Default false"),
    ),
    responses(
        (status = 200, body = String, content_type = "application/octet-stream"),
        (status = 400, body = dto::ProblemDocument, content_type = "application/problem+json"),
        (status = 403, body = dto::ProblemDocument, content_type = "application/problem+json"),
        (status = 404, body = dto::ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn logs(_: MayLook, Path(name): Path<String>) -> Result<Response, Problem> {
    Err(Problem::NoRoute(name))
}
