//! The OpenAPI document, made from the handlers' own annotations.

use axum::response::Response;

use crate::api::caller::MayLook;
use crate::api::dto;
use crate::api::problem;
use crate::api::routes;
use crate::api::status::json;

#[derive(Debug, utoipa::OpenApi)]
#[openapi(
    info(
        title = "mcsup control API",
        description = "HTTP/1.1 over the control socket of one supervisor. Errors are RFC 9457 problem documents."
    ),
    components(schemas(dto::Event, dto::ProblemDocument))
)]
pub(crate) struct Face;

/// The document as it is served and kept in `schemas/openapi.json`.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = routes::annotated().into_openapi();
    // The routes are versioned by their path; the package's own version would make the committed
    // document stale at every release.
    document.info.version = "1".to_owned();
    document.info.license = None;
    document.info.contact = None;
    document
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses(
    (status = 200, body = serde_json::Value, content_type = "application/json"),
    problem::NotPermitted,
))]
pub(crate) async fn openapi(_: MayLook) -> Response {
    json(&document(), 64 << 10)
}
