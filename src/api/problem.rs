//! Errors as RFC 9457 problem documents.

use std::collections::BTreeMap;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::IntoResponses;
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};

use crate::api::dto::ProblemDocument;
use crate::supervisor::handle::{Gone, Invalid as Found};

/// Each an answer that a route may give in place of what was asked for, as the description of the API has it.
macro_rules! answers {
    ($($name:ident: $status:literal)+) => { $(
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
                let document = Content::new(Some(Ref::from_schema_name("ProblemDocument")));
                let answer = ResponseBuilder::new().content("application/problem+json", document);
                BTreeMap::from([($status.to_owned(), answer.build().into())])
            }
        }
    )+ };
}

answers! {
    BadRequest: "400"
    NotPermitted: "403"
    NotFound: "404"
    Conflict: "409"
    TooLarge: "413"
    Invalid: "422"
    Broken: "500"
    Busy: "503"
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The method, path, query or body makes no sense.
    BadRequest(String),
    NotPermitted(String),
    /// No such path.
    NoRoute(String),
    UnknownUnit {
        unit: String,
        nearest: Vec<String>,
    },
    /// Nothing is kept of an incident with this number.
    UnknownIncident(u64),
    /// None of this number is kept.
    UnknownGeneration(u64),
    /// Definitions that cannot be used.
    Invalid(Found),
    MethodNotAllowed,
    /// The client took too long to send its body.
    TooSlow,
    /// Not now, and why.
    Refused(String),
    TooLarge,
    /// Too many of a kind at once.
    Busy(String),
    /// More than may come in a span of time.
    TooMany {
        why: String,
        /// Until one more may come.
        retry_seconds: u64,
    },
    /// The supervisor is ending.
    Ending,
    /// A file of ours cannot be read.
    Broken(String),
}

impl Problem {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotPermitted(_) => StatusCode::FORBIDDEN,
            Self::NoRoute(_)
            | Self::UnknownUnit { .. }
            | Self::UnknownIncident(_)
            | Self::UnknownGeneration(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Busy(_) | Self::Ending => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub fn document(&self) -> ProblemDocument {
        let (kind, title) = self.kind_and_title();
        ProblemDocument {
            kind: format!("urn:mcsup:problem:{kind}"),
            title: title.to_owned(),
            status: self.status().as_u16(),
            detail: self.detail(),
            nearest: match self {
                Self::UnknownUnit { nearest, .. } => nearest.clone(),
                Self::BadRequest(_)
                | Self::NotPermitted(_)
                | Self::NoRoute(_)
                | Self::UnknownIncident(_)
                | Self::UnknownGeneration(_)
                | Self::Invalid(_)
                | Self::MethodNotAllowed
                | Self::TooSlow
                | Self::Refused(_)
                | Self::TooLarge
                | Self::Busy(_)
                | Self::TooMany { .. }
                | Self::Ending
                | Self::Broken(_) => Vec::new(),
            },
            diagnostics: if let Self::Invalid(found) = self { found.text.clone() } else { String::new() },
        }
    }

    fn kind_and_title(&self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest(_) => ("bad-request", "the request makes no sense"),
            Self::NotPermitted(_) => ("not-permitted", "not permitted"),
            Self::NoRoute(_) => ("no-route", "no such path"),
            Self::UnknownUnit { .. } => ("unknown-unit", "no such unit"),
            Self::UnknownIncident(_) => ("unknown-incident", "no such incident"),
            Self::UnknownGeneration(_) => ("unknown-generation", "no such generation"),
            Self::Invalid(_) => ("invalid-units", "the units cannot be used"),
            Self::MethodNotAllowed => ("method-not-allowed", "this path has no such method"),
            Self::TooSlow => ("too-slow", "the body took too long"),
            Self::Refused(_) => ("refused", "refused"),
            Self::TooLarge => ("too-large", "the body is too large"),
            Self::Busy(_) => ("busy", "too many at once"),
            Self::TooMany { .. } => ("too-many", "too many in a time"),
            Self::Ending => ("ending", "the supervisor is ending"),
            Self::Broken(_) => ("broken", "mcsup cannot read its own files"),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::BadRequest(why) | Self::NotPermitted(why) | Self::Refused(why) => why.clone(),
            Self::Busy(why) | Self::Broken(why) | Self::TooMany { why, .. } => why.clone(),
            Self::NoRoute(path) => format!("nothing answers at {path}; see /v1/openapi.json"),
            Self::UnknownUnit { unit, .. } => format!("no unit is called `{unit}`"),
            Self::UnknownIncident(id) => format!("nothing is kept of an incident {id}"),
            Self::UnknownGeneration(number) => {
                format!("there is no generation {number}; `mcsup generations` lists those that are kept")
            }
            Self::Invalid(found) => {
                let errors =
                    if found.errors == 1 { "1 error".to_owned() } else { format!("{} errors", found.errors) };
                format!("the units cannot be used: {errors}; what runs is not touched")
            }
            Self::MethodNotAllowed => "see /v1/openapi.json for the methods of each path".to_owned(),
            Self::TooSlow => "the whole body must arrive within 10 s".to_owned(),
            Self::TooLarge => "a body may hold at most 1 MiB".to_owned(),
            Self::Ending => "nothing more is answered".to_owned(),
        }
    }
}

impl From<Gone> for Problem {
    fn from(_: Gone) -> Self {
        Self::Ending
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A problem document is strings and numbers: there is nothing in it that cannot be written.
        let body = serde_json::to_vec(&self.document()).unwrap_or_default();
        let mut answer =
            (self.status(), [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Self::TooMany { retry_seconds, .. } = self {
            answer.headers_mut().insert(header::RETRY_AFTER, retry_seconds.into());
        }
        answer
    }
}
