//! `health`: what a unit file says about probes.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::read::{At, FromYaml, Reader, mapping, whole};
use crate::unit::spec::probe::Retries;
use crate::unit::value::{Failures, Port, Word};
use crate::unit::words::Command;
use crate::unit::yaml::{Node, Value};

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

mapping! {
    /// One probe: exactly one of `exec`, `tcp` and `http`, and how often it is asked.
    ProbeFile {
        /// Passes when this command ends with 0. A list, or one text split as a shell splits words.
        exec: Command;
        /// Passes when a connection is accepted: `{host, port}`, `host:port` or a port of this machine.
        tcp: Tcp;
        /// Passes when the answer's status is 200 to 399: `{host, port, path}` or `http://host:port/path`.
        http: Http;
        /// Between the starts of two executions; at least 100ms.
        interval: Duration = "10s";
        /// How long one execution may take; never longer than `interval`. Default 1s, or `interval` if that is shorter.
        timeout: Duration;
        /// Failures in a row until the unit is unhealthy; `{count: 3, of: 5}` also catches flapping.
        retries: RetriesFile = 3;
        /// From the start of the process: failures in this time do not count. Ends at the first success.
        start_period: Duration = "0s";
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

#[derive(Clone, Debug)]
pub(crate) struct Http {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    pub(crate) path: Box<str>,
}

/// Probes ask this machine when they name no host.
const THIS_MACHINE: &str = "127.0.0.1";

mapping! {
    /// Where to connect.
    TcpMap {
        /// Name or address.
        host: Word = "127.0.0.1";
        /// 1 to 65535.
        [required] port: Port;
    }
}

mapping! {
    /// What to ask for.
    HttpMap {
        /// Name or address.
        host: Word = "127.0.0.1";
        /// 1 to 65535.
        port: Port = 80;
        /// Begins with `/`.
        path: Word = "/";
    }
}

impl FromYaml for Tcp {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let map = TcpMap::read(node, reader)?;
                Some(Self { host: host_or_default(map.host), port: map.port?.value.0 })
            }
            Value::Scalar(scalar) if !node.is_null() => match scalar.text.rsplit_once(':') {
                None => {
                    let port = whole(node, reader, 1, 65535)?;
                    Some(Self { host: THIS_MACHINE.into(), port: u16::try_from(port).ok()? })
                }
                Some((host, port)) => {
                    let address = bare_host(host).zip(port_number(port));
                    if address.is_none() {
                        reader.mismatch(node, "`host:port` with a port from 1 to 65535", None);
                    }
                    address.map(|(host, port)| Self { host: host.into(), port })
                }
            },
            Value::Scalar(_) | Value::List(_) => {
                reader.mismatch(node, "`host:port`, a port, or a mapping", None);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": "^.+:[0-9]+$"},
            TcpMap::schema(),
        ]})
    }
}

impl FromYaml for Http {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let map = HttpMap::read(node, reader)?;
                let path = map.path.map_or_else(|| "/".into(), |path| path.value.0);
                if !path.starts_with('/') {
                    reader.bad_value(
                        node.place,
                        format!("the path `{path}` does not begin with `/`"),
                        "add the `/`",
                    );
                    return None;
                }
                let port = map.port.map_or(80, |port| port.value.0);
                Some(Self { host: host_or_default(map.host), port, path })
            }
            Value::Scalar(scalar) if !node.is_null() => {
                let read = url(&scalar.text);
                if read.is_none() {
                    let help =
                        scalar.text.starts_with("https:").then_some("https is not in this version of mcsup");
                    reader.mismatch(node, "a link such as `http://127.0.0.1:8080/health`", help);
                }
                read
            }
            Value::Scalar(_) | Value::List(_) => {
                reader.mismatch(node, "a link such as `http://127.0.0.1:8080/health`, or a mapping", None);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"type": "string", "pattern": "^http://[^/ ]+(/[^ ]*)?$"}, HttpMap::schema()]})
    }
}

fn host_or_default(host: Option<At<Word>>) -> Box<str> {
    host.map_or_else(|| THIS_MACHINE.into(), |host| host.value.0)
}

fn url(text: &str) -> Option<Http> {
    let rest = text.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let (host, port) = match has_port {
        Some((host, port)) => (host, port_number(port)?),
        None => (authority, 80),
    };
    let path = if path.starts_with('/') { path.into() } else { format!("/{path}").into_boxed_str() };
    let is_clean = !text.contains(|c: char| c.is_whitespace() || c.is_control()) && !authority.contains('@');
    is_clean.then_some(Http { host: bare_host(host)?.into(), port, path })
}

fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// A host without the brackets of an IPv6 address.
fn bare_host(text: &str) -> Option<&str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let fits =
        !bare.is_empty() && !bare.contains(['[', ']', '/', ' ']) && (bare != text || !bare.contains(':'));
    fits.then_some(bare)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RetriesFile(pub(crate) Retries);

mapping! {
    /// So many failures among so many answers.
    RetriesMap {
        /// Failures, 1 to 255.
        [required] count: Failures;
        /// Answers looked back on; at least `count`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_say_host_port_and_path() {
        let parts =
            |text: &str| url(text).map(|http| (http.host.to_string(), http.port, http.path.to_string()));
        let some = |host: &str, port: u16, path: &str| Some((host.to_string(), port, path.to_string()));
        assert_eq!(parts("http://127.0.0.1:8080/health?x=1"), some("127.0.0.1", 8080, "/health?x=1"));
        assert_eq!(parts("http://example.org"), some("example.org", 80, "/"));
        assert_eq!(parts("http://[::1]:81?a"), some("::1", 81, "/?a"));
        assert_eq!(parts("http://[::1]/"), some("::1", 80, "/"));
        for text in [
            "https://a/",
            "http://",
            "http://a:0/",
            "http://a:b/",
            "http://a:99999/",
            "http://u@a/",
            "a:80",
            "http://a b/",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
