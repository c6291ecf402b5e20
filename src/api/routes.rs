//! Which path is answered by which function. A route cannot be without its place in the OpenAPI
//! document: both come from the same line.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Shared;
use crate::api::body::MOST_BODY_BYTES;
use crate::api::changes::{generations, judge};
use crate::api::problem::Problem;
use crate::api::{actions, changes, events, incidents, jobs, logs, openapi, reexec, status};

pub(crate) fn router(shared: Shared) -> Router {
    let (router, _document) = annotated().split_for_parts();
    router
        .fallback(async |uri: Uri| Problem::NoRoute(uri.path().to_owned()))
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(shared)
}

pub(crate) fn annotated() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::Face::openapi())
        .routes(routes!(status::ping))
        .routes(routes!(status::status))
        .routes(routes!(status::unit, changes::put))
        .routes(routes!(changes::file))
        .routes(routes!(status::why))
        .routes(routes!(incidents::impact))
        .routes(routes!(incidents::incidents))
        .routes(routes!(incidents::one))
        .routes(routes!(incidents::postmortem))
        .routes(routes!(jobs::jobs))
        .routes(routes!(jobs::one))
        .routes(routes!(jobs::output))
        .routes(routes!(actions::run))
        .routes(routes!(actions::start))
        .routes(routes!(actions::stop))
        .routes(routes!(actions::restart))
        .routes(routes!(actions::kill))
        .routes(routes!(actions::act))
        .routes(routes!(actions::shutdown))
        .routes(routes!(reexec::reexec, reexec::standing))
        .routes(routes!(changes::changes))
        .routes(routes!(changes::plan))
        .routes(routes!(changes::apply))
        .routes(routes!(changes::reload))
        .routes(routes!(changes::confirm_change))
        .routes(routes!(changes::abandon))
        .routes(routes!(changes::rollback))
        .routes(routes!(generations::generations))
        .routes(routes!(generations::verify))
        .routes(routes!(generations::one))
        .routes(routes!(generations::diff))
        .routes(routes!(generations::pin))
        .routes(routes!(generations::unpin))
        .routes(routes!(judge::approve))
        .routes(routes!(judge::reject))
        .routes(routes!(events::events))
        .routes(routes!(logs::logs))
        .routes(routes!(openapi::openapi))
}
