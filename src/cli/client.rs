//! Talks to the supervisor: HTTP over its socket.

use std::future::Future;
use std::io;
use std::path::Path;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::dto::ProblemDocument;
use crate::cli::exit::{Exit, Failure};
use crate::supervisor::home::{Home, Surroundings};
use crate::supervisor::socket::connect;

/// Most bytes of an answer; a status of 10,000 units has 4 MiB.
const MOST_ANSWER_BYTES: usize = 256 << 20;

/// Of an answer. The default grows with it, and each growth is memory that nothing has touched yet.
const READ_AT_ONCE_BYTES: usize = 32 << 10;

#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub home: Home,
}

/// What is said to who wants to change something.
#[derive(Debug)]
pub(crate) enum Reply {
    Good(Vec<u8>),
    /// The definitions cannot be used: a problem document.
    Invalid(Vec<u8>),
}

/// An answer that comes in pieces, for as long as the supervisor has some.
#[derive(Debug)]
pub(crate) struct Pieces {
    body: Incoming,
}

impl Client {
    /// # Errors
    /// When it is not clear which supervisor is meant.
    pub(crate) fn new(home: Option<&Path>) -> Result<Self, Failure> {
        let home = Home::for_client(&Surroundings::read(), home)
            .map_err(|error| Failure::new(Exit::NoSupervisor, error.to_string()))?;
        Ok(Self { home })
    }

    /// The answer as it came.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a problem.
    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let response = self.send(Method::GET, path, Vec::new()).await?;
        self.whole(response).await
    }

    /// # Errors
    /// When nobody answers, or the answer is a problem.
    pub(crate) async fn post<B: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<A, Failure> {
        read(&self.post_bytes(path, body).await?)
    }

    /// The answer as it came.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a problem.
    pub(crate) async fn post_bytes<B: Serialize>(&self, path: &str, body: &B) -> Result<Vec<u8>, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(Exit::Usage, format!("cannot write the request: {error}")))?;
        let response = self.send(Method::POST, path, body).await?;
        self.whole(response).await
    }

    /// For a change: that definitions cannot be used is an answer, too.
    ///
    /// # Errors
    /// When nobody answers, or the answer is another problem.
    pub(crate) async fn change<B: Serialize>(&self, path: &str, body: &B) -> Result<Reply, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::new(Exit::Usage, format!("cannot write the request: {error}")))?;
        let response = self.send(Method::POST, path, body).await?;
        self.reply(response).await
    }

    /// # Errors
    /// As [`Self::change`].
    pub(crate) async fn put(&self, path: &str, text: &str) -> Result<Reply, Failure> {
        let response = self.send(Method::PUT, path, text.as_bytes().to_vec()).await?;
        self.reply(response).await
    }

    async fn reply(&self, response: Response<Incoming>) -> Result<Reply, Failure> {
        let status = response.status();
        let bytes = self.bytes(response).await?;
        match status {
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Reply::Invalid(bytes)),
            status if status.is_success() => Ok(Reply::Good(bytes)),
            status => Err(problem(status, &bytes)),
        }
    }

    /// Somebody listens, or would if this user might ask.
    pub(crate) fn is_there(&self) -> bool {
        connect(&self.home.socket())
            .map_or_else(|error| error.kind() == io::ErrorKind::PermissionDenied, |_stream| true)
    }

    /// # Errors
    /// When nobody answers, or the answer is a problem.
    pub(crate) async fn stream(&self, path: &str) -> Result<Pieces, Failure> {
        let response = self.send(Method::GET, path, Vec::new()).await?;
        if response.status() == StatusCode::OK {
            return Ok(Pieces { body: response.into_body() });
        }
        Err(self.whole(response).await.err().unwrap_or_else(|| self.broken("an answer without an end")))
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Failure> {
        let stream = connect(&self.home.socket()).map_err(|error| self.nobody(&error))?;
        let stream = stream.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(stream));
        let stream = stream.map_err(|error| self.nobody(&error))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AT_ONCE_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // It moves the bytes for as long as there is an answer to be read, and ends with it.
        drop(tokio::spawn(connection));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "mcsup")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::new(Exit::Usage, format!("cannot ask for {path}: {error}")))?;
        sender.send_request(request).await.map_err(|error| self.broken(error))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Vec<u8>, Failure> {
        let status = response.status();
        let bytes = self.bytes(response).await?;
        if status.is_success() { Ok(bytes) } else { Err(problem(status, &bytes)) }
    }

    async fn bytes(&self, response: Response<Incoming>) -> Result<Vec<u8>, Failure> {
        let mut body = response.into_body();
        let expected = body.size_hint().exact().and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(expected.min(MOST_ANSWER_BYTES));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(error))?;
            if let Some(piece) = frame.data_ref() {
                bytes.extend_from_slice(piece);
            }
            if bytes.len() > MOST_ANSWER_BYTES {
                return Err(self.broken("an answer without an end"));
            }
        }
        Ok(bytes)
    }

    pub(crate) fn nobody_answers(&self) -> Failure {
        self.nobody(&io::ErrorKind::ConnectionRefused.into())
    }

    fn nobody(&self, error: &io::Error) -> Failure {
        let socket = self.home.socket();
        let socket = socket.display();
        if error.kind() == io::ErrorKind::PermissionDenied {
            return Failure::new(Exit::NotPermitted, format!("cannot connect to {socket}: {error}"))
                .help("root, the supervisor's own user and members of the group `mcsup` may");
        }
        Failure::new(Exit::NoSupervisor, format!("no supervisor answers at {socket}: {error}"))
            .help("start one with `mcsup up DIR`, or name another with `--home DIR`")
    }

    fn broken(&self, error: impl std::fmt::Display) -> Failure {
        let socket = self.home.socket();
        Failure::new(Exit::NoSupervisor, format!("the supervisor at {} broke off: {error}", socket.display()))
    }
}

impl Pieces {
    /// `None`: there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = self.body.frame().await?.ok()?;
            if let Ok(piece) = frame.into_data() {
                return Some(piece);
            }
        }
    }
}

/// Runs a command's conversation with the supervisor.
///
/// # Errors
/// Those of the conversation.
pub(crate) fn block_on<T>(talk: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::new(Exit::NoSupervisor, format!("cannot wait for answers: {error}")))?;
    let result = runtime.block_on(talk);
    // A worker that still reads a file would be waited for.
    runtime.shutdown_background();
    result
}

/// # Errors
/// When the answer is not what this version of mcsup expects.
pub(crate) fn read<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Failure> {
    // As text at once: the parser would look at each string of it again.
    let text = std::str::from_utf8(bytes).map_err(serde::de::Error::custom);
    text.and_then(serde_json::from_str).map_err(|error: serde_json::Error| {
        Failure::new(Exit::NoSupervisor, format!("cannot read the supervisor's answer: {error}"))
            .help("is the supervisor of another version? `mcsup --version` tells this one's")
    })
}

fn problem(status: StatusCode, bytes: &[u8]) -> Failure {
    match serde_json::from_slice(bytes) {
        Ok(document) => of_problem(status, document),
        Err(_) => Failure::new(Exit::NoSupervisor, format!("the supervisor answered {status}")),
    }
}

/// A problem as the supervisor says it.
pub(crate) fn of_problem(status: StatusCode, document: ProblemDocument) -> Failure {
    let exit = match status {
        StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::PAYLOAD_TOO_LARGE => {
            Exit::Usage
        }
        StatusCode::FORBIDDEN => Exit::NotPermitted,
        StatusCode::REQUEST_TIMEOUT => Exit::TimedOut,
        StatusCode::SERVICE_UNAVAILABLE => Exit::NoSupervisor,
        _ => Exit::NotWell,
    };
    let failure = Failure::new(exit, document.detail);
    match document.nearest.as_slice() {
        [] => failure,
        names => {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            failure.help(format!("did you mean {}?", names.join(" or ")))
        }
    }
}
