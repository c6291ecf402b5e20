//! The accept loop: hyper itself rather than axum's `serve`, because only so do half requests have a
//! deadline and connections a bound.

use std::future::{Future, pending};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::caller::{Access, Caller, MOST_LOOKS, Peer};
use crate::api::impatient::Impatient;
use crate::api::routes;
use crate::api::{Context, Shared};
use crate::aside::Threads;
use crate::supervisor::descriptors::has_room_for;
use crate::supervisor::handle::Handle;

/// Most connections at once; one more is closed at once, and so is one that would leave too few descriptors.
/// Far more than people and dashboards open.
pub const MOST_CONNECTIONS: usize = 1100;

/// From a connection's first moment, or its last answer, to the end of the next request's headers. So an idle
/// connection is closed as well.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// From one piece that a client reads of its answer to the next. Who reads nothing for so long holds threads
/// and memory for nothing.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long answers that are being written may take when the server ends.
const END_GRACE: Duration = Duration::from_secs(1);

/// How long to leave new connections alone when there is no descriptor for them.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Readers of logs at once; each holds a thread.
const MOST_LOG_READERS: usize = 16;

/// Of the disk that keeps generations, at once.
const MOST_DISK_ASKERS: usize = 2;

/// Answers until the future is dropped.
pub async fn serve(listener: UnixListener, handle: Handle, context: Context) {
    serve_until(listener, handle, context, pending()).await;
}

/// Answers until `end`; then takes no more requests and gives those under way a second to finish.
pub async fn serve_until(
    listener: UnixListener,
    handle: Handle,
    context: Context,
    end: impl Future<Output = ()>,
) {
    let rules = context.rules.clone();
    let looks = Threads::new("caller", MOST_LOOKS);
    let shared = Shared {
        handle,
        context: Arc::new(context),
        log_readers: Threads::new("log-reader", MOST_LOG_READERS),
        disk: Threads::new("generations", MOST_DISK_ASKERS),
        looks: looks.clone(),
    };
    let router = routes::router(shared);
    let (ending, is_ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut end = pin!(end);
    loop {
        tokio::select! {
            biased;
            () = &mut end => break,
            Some(_ended) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MOST_CONNECTIONS && has_room_for(&stream) => {
                    // Nobody to answer where the kernel does not say who asks.
                    if let Ok(peer) = Peer::of(&stream) {
                        let (rules, looks) = (rules.clone(), looks.clone());
                        let caller = Caller::of(&peer);
                        let (router, is_ending) = (router.clone(), is_ending.clone());
                        connections.spawn(async move {
                            let (tell, access) = watch::channel(None);
                            let settle = async {
                                let access = rules.settle(peer, &looks).await;
                                tell.send_replace(Some(access));
                            };
                            tokio::join!(settle, answer(stream, router, (caller, access), is_ending));
                        });
                    }
                }
                Ok((too_many, _)) => drop(too_many),
                Err(error) => pause(&error, &mut connections).await,
            },
        }
    }
    drop(listener);
    ending.send_replace(true);
    let finish = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(END_GRACE, finish).await.is_err() {
        tracing::debug!("clients were still being answered when the API ended");
    }
}

/// Without a descriptor `accept` fails at once, for ever: wait until a connection ends.
async fn pause(error: &io::Error, connections: &mut JoinSet<()>) {
    tracing::warn!("cannot accept a client: {error}");
    let freed = async {
        match connections.join_next().await {
            Some(_ended) => {}
            None => pending().await,
        }
    };
    // Either way the next accept tells.
    drop(tokio::time::timeout(ACCEPT_PAUSE, freed).await);
}

/// `access`: what this client may do, as soon as that is settled; no request is looked at before.
async fn answer(
    stream: UnixStream,
    router: Router,
    (caller, access): (Caller, watch::Receiver<Option<Access>>),
    mut is_ending: watch::Receiver<bool>,
) {
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let (inner, mut access) = (inner.clone(), access.clone());
        async move {
            let mut request = request.map(Body::new);
            // Never settled is nothing settled: then nothing may be done.
            let settled = access.wait_for(Option::is_some).await.ok().and_then(|access| *access);
            request.extensions_mut().insert(caller);
            if let Some(access) = settled {
                request.extensions_mut().insert(access);
            }
            inner.call(request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(Impatient::new(stream, WRITE_TIMEOUT)), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(is_ending.wait_for(|is_ending| *is_ending).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a client's connection broke: {error}");
    }
}
