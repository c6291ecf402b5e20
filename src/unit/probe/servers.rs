//! Probes that speak a server's own language, and the plainest of all.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::diagnostic::Diagnostic;
use crate::unit::probe::door::{Asks, Door, Server};
use crate::unit::read::{At, FromYaml, Reader, mapping, words};
use crate::unit::spec::Template;
use crate::unit::spec::probe::{GrpcProbe, PostgresProbe, ProbeKind, RedisProbe, RedisRole, Target, Tls};
use crate::unit::value::{AbsolutePath, Port, Text, Word};
use crate::unit::yaml::{Node, Value};

mapping! {
    /// Where to connect.
    TcpMap {
        /// Name or address.
        host: Word = "127.0.0.1";
        /// 1 to 65535.
        port: Port;
    }
}

impl Server for TcpMap {
    const PORT: Option<u16> = None;
    const HAS_SOCKET: bool = false;

    fn door(&self) -> Door<'_> {
        Door { host: self.host.as_ref(), port: self.port.as_ref(), socket: None }
    }
}

impl Asks<TcpMap> {
    pub(crate) fn question(&self) -> ProbeKind {
        match &self.target {
            Target::Tcp(address) => ProbeKind::Tcp(address.clone()),
            Target::Unix(path) => ProbeKind::Unix { path: path.clone() },
        }
    }
}

mapping! {
    /// A Redis server, and what it must be.
    RedisMap {
        /// Name or address.
        host: Word = "127.0.0.1";
        /// 1 to 65535.
        port: Port = 6379;
        /// Path of its unix socket, instead of host and port.
        socket: AbsolutePath;
        /// Of an account besides the default one; needs `password`.
        username: Template;
        /// For AUTH; `${NAME}` keeps it out of this file.
        password: Template;
        /// `master` or `replica`: what INFO must say.
        role: RedisRole;
        /// The longest time a replica may have heard nothing from its master.
        max_lag: Duration;
    }
}

words!(RedisRole { "master" => Self::Master, "replica" => Self::Replica });

impl Server for RedisMap {
    const PORT: Option<u16> = Some(6379);
    const HAS_SOCKET: bool = true;

    fn door(&self) -> Door<'_> {
        Door { host: self.host.as_ref(), port: self.port.as_ref(), socket: self.socket.as_ref() }
    }

    fn contradiction(&self) -> Option<Diagnostic> {
        let username = self.username.as_ref().filter(|_| self.password.is_none())?;
        let message = "a `username` cannot log in without a `password`";
        Some(Diagnostic::error("bad-value", username.key, message).help("add `password: \"${NAME}\"`"))
    }
}

impl RedisMap {
    pub(super) fn templates(&self) -> impl Iterator<Item = &At<Template>> {
        self.username.iter().chain(&self.password)
    }
}

impl Asks<RedisMap> {
    pub(crate) fn question(&self) -> ProbeKind {
        let RedisMap { host: _, port: _, socket: _, username, password, role, max_lag } = &self.more;
        ProbeKind::Redis(Box::new(RedisProbe {
            target: self.target.clone(),
            username: username.as_ref().map(|at| at.value.clone()),
            password: password.as_ref().map(|at| at.value.clone()),
            role: role.as_ref().map(|at| at.value),
            max_lag: max_lag.as_ref().map(|at| at.value),
        }))
    }
}

mapping! {
    /// A PostgreSQL server. Without `query` it is asked as pg_isready asks: does it take connections?
    PostgresMap {
        /// Name or address.
        host: Word = "127.0.0.1";
        /// 1 to 65535.
        port: Port = 5432;
        /// The directory of its unix socket, such as /run/postgresql, or the socket itself; instead of host.
        socket: AbsolutePath;
        /// Who asks.
        user: Template = "postgres";
        /// `${NAME}` keeps it out of this file.
        password: Template;
        /// Default: as the user is called.
        database: Template;
        /// Passes when this statement succeeds.
        query: Word;
        /// What the first value of the query's first row must be, as a text.
        expect: Text;
    }
}

impl Server for PostgresMap {
    const PORT: Option<u16> = Some(5432);
    const HAS_SOCKET: bool = true;

    fn door(&self) -> Door<'_> {
        // The port is part of a socket's name in its directory, so it may stand beside `socket`.
        let port = self.port.as_ref().filter(|_| self.socket.is_none());
        Door { host: self.host.as_ref(), port, socket: self.socket.as_ref() }
    }

    fn contradiction(&self) -> Option<Diagnostic> {
        let expect = self.expect.as_ref().filter(|_| self.query.is_none())?;
        let message = "`expect` is about the answer of a `query`, and there is none";
        Some(Diagnostic::error("bad-value", expect.key, message).help("add `query: select ...`"))
    }
}

impl PostgresMap {
    pub(super) fn templates(&self) -> impl Iterator<Item = &At<Template>> {
        self.user.iter().chain(&self.password).chain(&self.database)
    }
}

impl Asks<PostgresMap> {
    pub(crate) fn question(&self) -> ProbeKind {
        let PostgresMap { host: _, port, socket: _, user, password, database, query, expect } = &self.more;
        let target = match (&self.target, port) {
            // The directory and the port together name the socket.
            (Target::Unix(path), Some(port)) if !is_socket_file(path) => {
                let path = format!("{}/.s.PGSQL.{}", path.trim_end_matches('/'), port.value.0);
                Target::Unix(path.into())
            }
            (target, _) => target.clone(),
        };
        ProbeKind::Postgres(Box::new(PostgresProbe {
            target,
            user: user.as_ref().map(|at| at.value.clone()),
            password: password.as_ref().map(|at| at.value.clone()),
            database: database.as_ref().map(|at| at.value.clone()),
            query: query.as_ref().map(|at| at.value.0.clone()),
            expect: expect.as_ref().map(|at| at.value.0.clone()),
        }))
    }
}

fn is_socket_file(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with(".s.PGSQL."))
}

mapping! {
    /// A server with grpc.health.v1.
    GrpcMap {
        /// Name or address.
        host: Word = "127.0.0.1";
        /// 1 to 65535.
        port: Port;
        /// The service asked about. Default: the server as a whole.
        service: Word;
        /// True for TLS; `{ca: /path.pem}` to trust an authority of your own, `{verify: false}` to trust anybody.
        tls: TlsFile = false;
    }
}

impl Server for GrpcMap {
    const PORT: Option<u16> = None;
    const HAS_SOCKET: bool = false;

    fn door(&self) -> Door<'_> {
        Door { host: self.host.as_ref(), port: self.port.as_ref(), socket: None }
    }
}

impl Asks<GrpcMap> {
    pub(crate) fn question(&self) -> ProbeKind {
        let GrpcMap { host: _, port: _, service, tls } = &self.more;
        ProbeKind::Grpc(Box::new(GrpcProbe {
            target: self.target.clone(),
            service: service.as_ref().map_or_else(|| "".into(), |at| at.value.0.clone()),
            tls: tls.as_ref().and_then(|tls| tls.value.0.clone()),
        }))
    }
}

/// `tls: true`, or how far it is trusted.
#[derive(Clone, Debug)]
pub(crate) struct TlsFile(pub(crate) Option<Tls>);

mapping! {
    /// Whom to trust.
    TlsMap {
        /// PEM file of the authority to trust instead of the usual ones.
        ca: AbsolutePath;
        /// False: any certificate will do.
        verify: bool = true;
    }
}

impl FromYaml for TlsFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let map = TlsMap::read(node, reader)?;
                let verify = map.verify.as_ref().is_none_or(|verify| verify.value);
                if let (Some(ca), false) = (&map.ca, verify) {
                    let message = "`ca` says whom to trust, and `verify: false` trusts anybody";
                    reader.bad_value(ca.key, message, "keep one of the two");
                    return None;
                }
                Some(Self(Some(Tls { ca: map.ca.map(|ca| ca.value.0), verify })))
            }
            Value::Scalar(_) | Value::List(_) => {
                bool::read(node, reader).map(|on| Self(on.then_some(Tls { ca: None, verify: true })))
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "boolean"}, TlsMap::schema()]})
    }
}
