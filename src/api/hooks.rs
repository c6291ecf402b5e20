//! Webhooks: `POST /v1/hooks/NAME` on a listener of its own, which answers nothing else. Whoever calls proves by
//! a signature over time and body that they know the job's secret; a call is taken once, and only while it is fresh.
//!
//! ```text
//! X-Mcsup-Timestamp: 1795156260            seconds since 1970
//! X-Mcsup-Signature: sha256=HEX            HMAC-SHA256(secret, timestamp "." body)
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use sha2::Sha256;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::api::body::MOST_BODY_BYTES;
use crate::api::impatient::Impatient;
use crate::api::problem::Problem;
use crate::api::server::{HEADER_TIMEOUT, WRITE_TIMEOUT};
use crate::aside::files::whole;
use crate::aside::{Threads, wall_millis};
use crate::supervisor::descriptors::has_room_for;
use crate::supervisor::handle::{Called, Handle};
use crate::unit::spec::UnitId;
use crate::unit::spec::job::{Hooks, Webhook};

/// Answers calls until `end`. Nothing is listened for where mcsup.yaml names no address.
pub async fn serve(handle: Handle, units_dir: PathBuf, end: impl Future<Output = ()>) {
    let mut definitions = handle.clone();
    let shared = Shared::new(handle, units_dir);
    let mut end = std::pin::pin!(end);
    loop {
        let hooks = shared.handle.definitions().hooks.clone();
        tokio::select! {
            () = listen(hooks.as_ref(), shared.clone()) => return,
            () = another_address(&mut definitions, hooks.as_ref()) => {}
            () = &mut end => return,
        }
    }
}

/// Never ends.
async fn listen(hooks: Option<&Hooks>, shared: Shared) {
    let Some(hooks) = hooks else { return std::future::pending().await };
    let address = (&*hooks.listen.host, hooks.listen.port);
    match TcpListener::bind(address).await {
        Ok(listener) => accept(listener, shared).await,
        Err(error) => {
            let (host, port) = address;
            let text = format!("cannot listen for webhooks at {host}:{port}: {error}; no call starts a run");
            // Nobody is left to be told.
            shared.handle.announce(text).await.ok();
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until the definitions in force name another one.
async fn another_address(definitions: &mut Handle, hooks: Option<&Hooks>) {
    while definitions.redefined().await.is_ok() {
        if definitions.definitions().hooks.as_ref() != hooks {
            return;
        }
    }
    std::future::pending::<()>().await;
}

async fn accept(listener: TcpListener, shared: Shared) {
    let router = Router::new()
        .route("/v1/hooks/{name}", post(call))
        .fallback(async || StatusCode::NOT_FOUND)
        .with_state(shared);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MOST_CONNECTIONS && has_room_for(&stream) => {
                    connections.spawn(answer(stream, router.clone()));
                }
                Ok((too_many, _)) => drop(too_many),
                Err(error) => {
                    tracing::warn!("cannot accept a call of a webhook: {error}");
                    // No descriptor is free: until a connection ends, or for a moment.
                    let freed = async { if connections.join_next().await.is_none() { std::future::pending().await } };
                    drop(tokio::time::timeout(ACCEPT_PAUSE, freed).await);
                }
            },
        }
    }
}

async fn answer(stream: TcpStream, router: Router) {
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let inner = inner.clone();
        async move { hyper::service::Service::call(&inner, request.map(Body::new)).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Impatient::new(stream, WRITE_TIMEOUT)), service);
    // A caller that stays for ever holds a place for a minute at most.
    if let Ok(Err(error)) = tokio::time::timeout(CONNECTION_LIMIT, connection).await {
        tracing::debug!("the connection of a call of a webhook broke: {error}");
    }
}

#[derive(Clone, Debug)]
struct Shared {
    handle: Handle,
    units_dir: Arc<FilePath>,
    secrets: Threads,
    /// Seconds since 1970. Which calls of an earlier time were taken nobody knows any more.
    since: u64,
    calls: Arc<Mutex<BTreeMap<UnitId, Calls>>>,
}

/// What was taken lately of one hook.
#[derive(Debug, Default)]
struct Calls {
    /// Seconds since 1970 of those of the last minute.
    last_minute: VecDeque<u64>,
    /// Signatures of the last window, each with the time that it was made for.
    seen: BTreeSet<(u64, [u8; 32])>,
}

impl Shared {
    fn new(handle: Handle, units_dir: PathBuf) -> Self {
        Self {
            handle,
            units_dir: units_dir.into(),
            secrets: Threads::new("secret", SECRET_THREADS),
            since: wall_millis() / 1000,
            calls: Arc::default(),
        }
    }

    fn hook(&self, name: &str) -> Option<(UnitId, Webhook)> {
        let set = self.handle.definitions();
        let unit = set.find(name)?;
        let job = set.unit(unit)?.job.as_deref()?;
        Some((unit, job.webhook.clone()?))
    }

    /// Read anew each time, so that it can be changed without a word to us.
    async fn secret(&self, hook: &Webhook) -> Result<Vec<u8>, Problem> {
        let path = self.units_dir.join(&*hook.secret_file);
        let shown = path.display().to_string();
        let read = move || whole(&path, MOST_SECRET_BYTES);
        let cannot = |why: String| {
            tracing::warn!("cannot read the secret of a webhook in {shown}: {why}");
            Problem::Broken("the secret of this webhook cannot be read".to_owned())
        };
        let secret =
            self.secrets.ask_io(SECRET_LIMIT, read).await.map_err(|error| cannot(error.to_string()))?;
        let secret = secret.trim_ascii().to_vec();
        if secret.is_empty() { Err(cannot("it is empty".to_owned())) } else { Ok(secret) }
    }
}

async fn call(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    // Who does not know the secret does not learn which hooks there are either.
    let (unit, hook) = shared.hook(&name).ok_or_else(not_signed)?;
    let (at, signature) = signed(&head.headers).ok_or_else(not_signed)?;
    let read = tokio::time::timeout(BODY_LIMIT, to_bytes(body, MOST_BODY_BYTES)).await;
    let body = read.map_err(|_elapsed| Problem::TooSlow)?.map_err(|_large| Problem::TooLarge)?;
    let secret = shared.secret(&hook).await?;
    let now = wall_millis() / 1000;
    let is_fresh = now.abs_diff(at) <= WINDOW_SECONDS && at >= shared.since;
    if !is_right(&secret, at, &body, &signature) || !is_fresh {
        return Err(not_signed());
    }
    shared.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(unit).or_default().take(
        now,
        at,
        signature,
        hook.per_minute,
    )?;
    match shared.handle.call(unit, body.to_vec()).await? {
        Called::Taken => Ok(StatusCode::ACCEPTED.into_response()),
        Called::NotArmed => Err(Problem::Refused(format!("{name} is not armed"))),
        Called::Full => Err(Problem::Busy("too many calls wait for their runs".to_owned())),
    }
}

impl Calls {
    fn take(&mut self, now: u64, at: u64, signature: [u8; 32], per_minute: u32) -> Result<(), Problem> {
        self.seen.retain(|(at, _)| now.abs_diff(*at) <= WINDOW_SECONDS);
        while self.last_minute.front().is_some_and(|first| now.abs_diff(*first) >= 60) {
            self.last_minute.pop_front();
        }
        if self.seen.contains(&(at, signature)) {
            return Err(Problem::Refused("this call was taken before".to_owned()));
        }
        if self.last_minute.len() >= usize::try_from(per_minute).unwrap_or(usize::MAX) {
            let passed = self.last_minute.front().map_or(0, |first| now.abs_diff(*first));
            let why = format!("more than {per_minute} calls in a minute");
            return Err(Problem::TooMany { why, retry_seconds: 60_u64.saturating_sub(passed).max(1) });
        }
        self.last_minute.push_back(now);
        self.seen.insert((at, signature));
        Ok(())
    }
}

fn not_signed() -> Problem {
    Problem::NotPermitted(
        "the call is not signed as it must be, or it is not of the last five minutes".to_owned(),
    )
}

fn signed(headers: &HeaderMap) -> Option<(u64, [u8; 32])> {
    let at = headers.get("x-mcsup-timestamp")?.to_str().ok()?.parse().ok()?;
    let hex = headers.get("x-mcsup-signature")?.to_str().ok()?.strip_prefix("sha256=")?;
    let mut signature = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in signature.iter_mut().enumerate() {
        let from = at.checked_mul(2)?;
        *byte = u8::from_str_radix(hex.get(from..from.checked_add(2)?)?, 16).ok()?;
    }
    Some((at, signature))
}

fn is_right(secret: &[u8], at: u64, body: &[u8], signature: &[u8; 32]) -> bool {
    // It takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return false };
    mac.update(format!("{at}.").as_bytes());
    mac.update(body);
    mac.verify_slice(signature).is_ok()
}

const WINDOW_SECONDS: u64 = 300;
const BODY_LIMIT: Duration = Duration::from_secs(10);
const SECRET_LIMIT: Duration = Duration::from_secs(5);
/// A key, and never more than a few lines.
const MOST_SECRET_BYTES: u64 = 64 * 1024;
const SECRET_THREADS: usize = 2;
const MOST_CONNECTIONS: usize = 64;
const CONNECTION_LIMIT: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn headers(at: &str, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("X-Mcsup-Timestamp", at.parse().unwrap());
        headers.insert("X-Mcsup-Signature", signature.parse().unwrap());
        headers
    }

    /// By `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret`.
    const KNOWN: &str = "1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940";

    #[test]
    fn a_signature_is_over_time_and_body_and_another_tool_makes_the_same() {
        let (at, signature) = signed(&headers("1700000000", &format!("sha256={KNOWN}"))).unwrap();
        assert_eq!((at, hex(&signature)), (1_700_000_000, KNOWN.to_owned()));
        assert!(is_right(b"s3cret", at, b"{\"a\":1}", &signature));
        assert!(!is_right(b"s3cret", at, b"{\"a\":2}", &signature), "another body");
        assert!(!is_right(b"s3cret", at + 1, b"{\"a\":1}", &signature), "another time");
        assert!(!is_right(b"secret", at, b"{\"a\":1}", &signature), "another secret");
    }

    #[test]
    fn headers_that_make_no_sense_are_no_signature() {
        for (at, signature) in [
            ("", format!("sha256={KNOWN}")),
            ("-1", format!("sha256={KNOWN}")),
            ("1700000000", KNOWN.to_owned()),
            ("1700000000", format!("sha256={}", &KNOWN[1..])),
            ("1700000000", format!("sha256=z{}", &KNOWN[1..])),
        ] {
            assert_eq!(signed(&headers(at, &signature)), None, "{at} {signature}");
        }
        assert_eq!(signed(&HeaderMap::new()), None);
    }

    #[test]
    fn a_call_is_taken_once_and_so_many_in_a_minute() {
        let mut calls = Calls::default();
        let signature = |byte| [byte; 32];
        assert_eq!(calls.take(1000, 1000, signature(1), 2), Ok(()));
        let replayed = calls.take(1200, 1000, signature(1), 2);
        assert!(matches!(replayed, Err(Problem::Refused(_))), "{replayed:?}");
        assert_eq!(calls.take(1200, 1200, signature(2), 2), Ok(()));
        assert_eq!(calls.take(1210, 1200, signature(3), 2), Ok(()));
        let third = calls.take(1250, 1250, signature(4), 2).unwrap_err();
        assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS, "{third:?}");
        let answer = third.into_response();
        assert_eq!(answer.headers()["retry-after"], "10", "a minute after the first of the last two");
        assert_eq!(calls.take(1260, 1250, signature(4), 2), Ok(()), "a minute later");
        assert_eq!(calls.take(1320, 1320, signature(5), 2), Ok(()));
        assert!(!calls.seen.contains(&(1000, signature(1))), "too old to be replayed, and forgotten");
    }
}
