//! `health`: what a unit file says about probes. Each kind is one line of the table below, which
//! gives its key, its reader, its schema and what it becomes.

mod door;
mod http;
mod servers;
mod local;

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::diagnostic::Place;
use crate::unit::probe::door::Asks;
use crate::unit::probe::http::Http;
use crate::unit::probe::local::{FileMap, LogMap};
use crate::unit::probe::servers::{GrpcMap, PostgresMap, RedisMap, TcpMap};
use crate::unit::read::{At, FromYaml, Reader, mapping};
use crate::unit::spec::Template;
use crate::unit::spec::probe::{ProbeKind, Retries};
use crate::unit::value::{AbsolutePath, Failures};
use crate::unit::words::{Command, plain_words};
use crate::unit::yaml::{Node, Value};

pub(crate) use door::port_number;
pub(crate) use http::link_parts;

/// One probe, or several that must all pass.
#[derive(Clone, Debug)]
pub(crate) struct Health(pub(crate) Vec<At<ProbeFile>>);

impl FromYaml for Health {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::List(items) => {
                let probes = items.iter().filter_map(|item| one_probe(item, reader)).collect();
                if items.is_empty() {
                    reader.bad_value(node.place, "`health` lists no probe", "add one, or remove the line");
                }
                Some(Self(probes))
            }
            Value::Map(_) => Some(Self(vec![one_probe(node, reader)?])),
            Value::Scalar(_) => {
                reader.mismatch(
                    node,
                    "a probe or a list of probes",
                    Some("for example `health: {tcp: 6379}`"),
                );
                None
            }
        }
    }

    fn schema() -> Json {
        let probe = ProbeFile::schema();
        json!({"anyOf": [probe, {"type": "array", "items": probe, "minItems": 1}]})
    }
}

fn one_probe(node: &Node<'_>, reader: &mut Reader) -> Option<At<ProbeFile>> {
    Some(At { key: node.place, place: node.place, value: ProbeFile::read(node, reader)? })
}

/// The kinds of probes: key, what the file says, and the question that comes of it. Behind the bar
/// stand the keys that all kinds have.
macro_rules! probe_kinds {
    (
        $( $(#[doc = $text:literal])+ $key:ident: $file:ty => $lower:expr; )+
        | $($common:tt)+
    ) => {
        mapping! {
            /// One probe: exactly one key says what is asked, the others how often and how it counts.
            ProbeFile {
                $( $(#[doc = $text])+ $key: $file; )+
                $($common)+
            }
        }

        /// The keys that say what is asked.
        pub(crate) const KINDS: &[&str] = &[$(stringify!($key)),+];

        impl ProbeFile {
            /// What it asks, with the place of the key, in the order written; more than one is a mistake.
            pub(crate) fn asked(&self) -> Vec<(Place, ProbeKind)> {
                let mut asked = Vec::new();
                $(
                    if let Some(at) = &self.$key {
                        let lower: fn(&$file) -> ProbeKind = $lower;
                        asked.push((at.key, lower(&at.value)));
                    }
                )+
                asked.sort_by_key(|(place, _)| *place);
                asked
            }
        }
    };
}

probe_kinds! {
    /// Passes when this command ends with 0. A list, or one text split as a shell splits words.
    exec: Command => |command| ProbeKind::Exec { command: plain_words(&command.0) };
    /// Passes when a connection is accepted: `{host, port}`, `host:port` or a port of this machine.
    tcp: Asks<TcpMap> => Asks::<TcpMap>::question;
    /// Passes when a connection to this unix socket is accepted.
    unix: AbsolutePath => |path| ProbeKind::Unix { path: path.0.clone() };
    /// Passes when the answer is as it must be: `http://host:port/path`, `https://...`, `http+unix:///socket:/path`, or a mapping.
    http: Http => Http::question;
    /// Passes when PING is answered by PONG: a port, `host:port`, the path of a socket, or a mapping.
    redis: Asks<RedisMap> => Asks::<RedisMap>::question;
    /// Passes when the server takes connections, or when `query` succeeds: a port, `host:port`, the path of a socket, or a mapping.
    postgres: Asks<PostgresMap> => Asks::<PostgresMap>::question;
    /// Passes when grpc.health.v1 says SERVING: `host:port`, a port, or a mapping.
    grpc: Asks<GrpcMap> => Asks::<GrpcMap>::question;
    /// Passes when this file is there, fresh and large enough: a path, or a mapping.
    file: FileMap => FileMap::question;
    /// Looks at what the unit writes: silence or a bad line is a failure.
    log: LogMap => LogMap::question;
    |
    /// Between the starts of two executions; at least 100ms.
    interval: Duration = "10s";
    /// How long one execution may take; never longer than `interval`. Default 1s, or `interval` if that is shorter.
    timeout: Duration;
    /// Failures in a row until the unit is unhealthy; `{count: 3, of: 5}` also catches flapping. Default 1 for `log: {bad}`: the next look does not see the line again.
    retries: RetriesFile = 3;
    /// Passes in a row until a unit that failed counts as healthy again; 1 to 64.
    successes: Failures = 1;
    /// From the start of the process: failures in this time do not count. Ends at the first success.
    start_period: Duration = "0s";
    /// Between executions until the first pass of a run; at least 10ms, at most `interval`. Default: 50ms at first, doubled up to `interval`.
    start_interval: Duration;
}

impl ProbeFile {
    /// Every text with variables in it.
    pub(crate) fn templates(&self) -> Vec<&At<Template>> {
        let exec = self.exec.iter().flat_map(|command| &command.value.0);
        let http = self.http.iter().flat_map(|http| http.value.templates());
        let redis = self.redis.iter().flat_map(|redis| redis.value.more.templates());
        let postgres = self.postgres.iter().flat_map(|postgres| postgres.value.more.templates());
        exec.chain(http).chain(redis).chain(postgres).collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RetriesFile(pub(crate) Retries);

mapping! {
    /// So many failures among so many answers.
    RetriesMap {
        /// Failures, 1 to 64.
        [required] count: Failures;
        /// Answers looked back on; at least `count`, at most 64.
        [required] of: Failures;
    }
}

impl FromYaml for RetriesFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let map = RetriesMap::read(node, reader)?;
                let (count, of) = (map.count?.value.0, map.of?.value.0);
                if count > of {
                    let message = format!("{count} failures among {of} answers can never be");
                    reader.bad_value(node.place, message, "make `of` at least as large as `count`");
                    return None;
                }
                Some(Self(Retries { count, of }))
            }
            Value::Scalar(_) | Value::List(_) => {
                let Failures(count) = Failures::read(node, reader)?;
                Some(Self(Retries { count, of: count }))
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [Failures::schema(), RetriesMap::schema()]})
    }
}
