//! Bodies that are made while they are sent, and JSON that is read with limits.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hyper::body::Frame;
use serde::de::DeserializeOwned;

use crate::api::problem::Problem;

/// Most bytes of a request's body. The longest that makes sense, an action on 10,000 units with the
/// longest names, has 700 KiB.
pub const MOST_BODY_BYTES: usize = 1 << 20;

/// Time from the end of the headers to the end of the body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A JSON body, or the default of `T` where there is none.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = read(request, state).await?;
        if bytes.trim_ascii().is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

/// A JSON body that must be there.
#[derive(Debug)]
pub struct RequiredJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for RequiredJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        parse(&read(request, state).await?).map(Self)
    }
}

/// A body that is text.
#[derive(Debug)]
pub struct Text(pub String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let text = String::from_utf8(read(request, state).await?.into());
        let no_text = |error| Problem::BadRequest(format!("the body is no text: {error}"));
        text.map(Self).map_err(no_text)
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    let whole = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await;
    let rejection = match whole {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(rejection)) => rejection.into_response().status(),
        Err(_elapsed) => return Err(Problem::TooSlow),
    };
    if rejection == StatusCode::PAYLOAD_TOO_LARGE {
        Err(Problem::TooLarge)
    } else {
        Err(Problem::BadRequest("the body broke off".to_owned()))
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::BadRequest(format!("cannot read the body as JSON: {error}")))
}

/// A response whose pieces come from `next`, called with the state that the last call left, until it
/// answers `None`.
pub fn unfold<S, F, Fut>(state: S, next: F) -> Body
where
    S: Send + 'static,
    F: Fn(S) -> Fut + Send + 'static,
    Fut: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    Body::new(Unfold { pending: Some(Box::pin(next(state))), next })
}

struct Unfold<F, Fut> {
    /// `None` after the last piece.
    pending: Option<Pin<Box<Fut>>>,
    next: F,
}

impl<F, Fut> fmt::Debug for Unfold<F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unfold")
    }
}

/// The future is boxed, so moving this moves nothing that is pinned.
impl<F, Fut> Unpin for Unfold<F, Fut> {}

impl<S, F, Fut> hyper::body::Body for Unfold<F, Fut>
where
    F: Fn(S) -> Fut,
    Fut: Future<Output = Option<(Bytes, S)>>,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(pending) = self.pending.as_mut() else { return Poll::Ready(None) };
        match pending.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.pending = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some((piece, state))) => {
                let next = (self.next)(state);
                self.pending = Some(Box::pin(next));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
        }
    }
}
