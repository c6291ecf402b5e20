//! What a unit's probes ask, how often, and how many bad answers are too many.

use std::time::Duration;

use crate::unit::spec::Template;

/// One check of a unit. All of them must pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSpec {
    pub kind: ProbeKind,
    /// Between the starts of two executions. Default 10 s, at least 100 ms.
    pub interval: Duration,
    /// Default 1 s; never longer than `interval`.
    pub timeout: Duration,
    pub retries: Retries,
    /// Passes in a row until a failing probe passes again. Default 1.
    pub successes: u8,
    /// From spawn: failures here do not count; ends at the first success. Default 0.
    pub start_period: Duration,
    /// Between executions until the run's first pass. `None`: 50 ms at first, doubled up to `interval`.
    pub start_interval: Option<Duration>,
}

impl ProbeSpec {
    /// The command of a probe that is a process of ours.
    pub fn command(&self) -> Option<&[Template]> {
        match &self.kind {
            ProbeKind::Exec { command } => Some(command),
            ProbeKind::Tcp(_)
            | ProbeKind::Unix { .. }
            | ProbeKind::Http(_)
            | ProbeKind::Redis(_)
            | ProbeKind::Postgres(_)
            | ProbeKind::Grpc(_)
            | ProbeKind::File(_)
            | ProbeKind::Log(_)
            | ProbeKind::Check(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    /// Passes when the command ends with 0.
    Exec {
        command: Vec<Template>,
    },
    /// Passes when a connection is accepted.
    Tcp(Address),
    /// Passes when a connection to the socket is accepted.
    Unix {
        path: Box<str>,
    },
    Http(Box<HttpProbe>),
    Redis(Box<RedisProbe>),
    Postgres(Box<PostgresProbe>),
    Grpc(Box<GrpcProbe>),
    File(FileProbe),
    Log(LogProbe),
    /// Passes while the expression holds; what a gate is made of.
    Check(Expression),
}

/// `count` failures among the last `of`, at most 64, make a unit unhealthy; `count == of` is "in a row".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    pub count: u8,
    pub of: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or address, without brackets.
    pub host: Box<str>,
    pub port: u16,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp(Address),
    /// Path of a unix socket.
    Unix(Box<str>),
}

/// A regular expression, known to be sound. Syntax of the crate `regex`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub Box<str>);

/// A CEL expression, within its bounds and known to be sound; it must give true or false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(pub Box<str>);

/// TLS to the server that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the authority to trust instead of the usual ones.
    pub ca: Option<Box<str>>,
    /// False: any certificate will do.
    pub verify: bool,
}

/// Asks over HTTP/1.1. Passes when the status is expected and the body holds what it must.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpProbe {
    pub target: Target,
    pub tls: Option<Tls>,
    /// Default `GET`.
    pub method: Box<str>,
    /// Begins with `/`.
    pub path: Box<str>,
    pub headers: Vec<(Box<str>, Template)>,
    /// Statuses that pass, both ends included. Default 200 to 399.
    pub status: Vec<(u16, u16)>,
    /// Text that the body must contain.
    pub contains: Option<Box<str>>,
    pub matches: Option<Pattern>,
    /// Over `status`, `headers`, `body` and `json`.
    pub that: Option<Expression>,
    /// Default false: a redirect is an answer like any other.
    pub follow_redirects: bool,
}

impl HttpProbe {
    /// A plain question with the usual expectations.
    pub fn get(target: Target, path: &str) -> Self {
        Self {
            target,
            tls: None,
            method: "GET".into(),
            path: path.into(),
            headers: Vec::new(),
            status: vec![(200, 399)],
            contains: None,
            matches: None,
            that: None,
            follow_redirects: false,
        }
    }

    /// Whether the status alone decides, so that nobody reads the body.
    pub fn is_about_status_only(&self) -> bool {
        self.contains.is_none() && self.matches.is_none() && self.that.is_none()
    }
}

/// Passes when PING is answered by PONG, and the server is what it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisProbe {
    pub target: Target,
    pub username: Option<Template>,
    pub password: Option<Template>,
    pub role: Option<RedisRole>,
    /// Longest silence of a replica's master. `None`: not looked at.
    pub max_lag: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisRole {
    Master,
    Replica,
}

/// Passes when the server takes connections (as pg_isready asks), or when `query` succeeds.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresProbe {
    /// A unix target is the directory that holds `.s.PGSQL.PORT`, or that socket itself.
    pub target: Target,
    /// Default `postgres`.
    pub user: Option<Template>,
    pub password: Option<Template>,
    /// Default: as the user is called.
    pub database: Option<Template>,
    pub query: Option<Box<str>>,
    /// What the first value of the first row must be, as text.
    pub expect: Option<Box<str>>,
}

/// grpc.health.v1: passes when the service is SERVING.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcProbe {
    pub target: Target,
    /// Empty: the server as a whole.
    pub service: Box<str>,
    pub tls: Option<Tls>,
}

/// Passes when the file is there, fresh and large enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProbe {
    /// Relative to the unit's working directory.
    pub path: Box<str>,
    /// Written at most so long ago.
    pub max_age: Option<Duration>,
    pub min_size_bytes: Option<u64>,
    pub max_size_bytes: Option<u64>,
}

/// Looks at the unit's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProbe {
    /// Fails when no line (that matches `matches`) was written for this long: silence is a failure.
    pub within: Option<Duration>,
    pub matches: Option<Pattern>,
    /// Fails when a line since the last look matches.
    pub bad: Option<Pattern>,
}
