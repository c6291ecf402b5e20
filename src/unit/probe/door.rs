//! Where a server listens: a port, `host:port`, the path of a socket, or keys of a mapping.

use serde_json::{Value as Json, json};

use crate::unit::diagnostic::Diagnostic;
use crate::unit::read::{At, FromYaml, Reader, whole};
use crate::unit::spec::probe::{Address, Target};
use crate::unit::value::{AbsolutePath, Port, Word};
use crate::unit::yaml::{Node, Value};

/// Probes ask this machine when they name no host.
const THIS_MACHINE: &str = "127.0.0.1";

/// A mapping with `host` and `port`, for some also `socket`, of which an address alone is the short form.
pub(crate) trait Server: FromYaml + Default {
    /// The port that everybody uses for it, if there is one.
    const PORT: Option<u16>;
    /// Whether it may listen on a unix socket.
    const HAS_SOCKET: bool;

    fn door(&self) -> Door<'_>;

    /// Keys that need each other.
    fn contradiction(&self) -> Option<Diagnostic> {
        None
    }
}

/// The keys of a mapping that say where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door<'a> {
    pub(crate) host: Option<&'a At<Word>>,
    pub(crate) port: Option<&'a At<Port>>,
    pub(crate) socket: Option<&'a At<AbsolutePath>>,
}

/// A server and what is asked of it.
#[derive(Clone, Debug)]
pub(crate) struct Asks<M> {
    pub(crate) target: Target,
    pub(crate) more: M,
}

impl<M: Server> FromYaml for Asks<M> {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                let more = M::read(node, reader)?;
                let target = target(more.door(), M::PORT, node, reader)?;
                if let Some(contradiction) = more.contradiction() {
                    reader.report(contradiction);
                    return None;
                }
                Some(Self { target, more })
            }
            Value::Scalar(scalar) if !node.is_null() => {
                let target = short(&scalar.text, M::HAS_SOCKET, node, reader)?;
                Some(Self { target, more: M::default() })
            }
            Value::Scalar(_) | Value::List(_) => {
                reader.mismatch(node, expected(M::HAS_SOCKET), None);
                None
            }
        }
    }

    fn schema() -> Json {
        let pattern = if M::HAS_SOCKET { "^(.+:[0-9]+|/.*)$" } else { "^.+:[0-9]+$" };
        json!({"anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": pattern},
            M::schema(),
        ]})
    }
}

fn expected(has_socket: bool) -> &'static str {
    if has_socket {
        "`host:port`, a port, the path of a socket, or a mapping"
    } else {
        "`host:port`, a port, or a mapping"
    }
}

fn short(text: &str, has_socket: bool, node: &Node<'_>, reader: &mut Reader) -> Option<Target> {
    if has_socket && text.starts_with('/') {
        return AbsolutePath::read(node, reader).map(|path| Target::Unix(path.0));
    }
    match text.rsplit_once(':') {
        None if !text.starts_with(|c: char| c.is_ascii_digit()) => {
            reader.mismatch(node, expected(has_socket), None);
            None
        }
        None => {
            let port = whole(node, reader, 1, 65535)?;
            Some(Target::Tcp(Address { host: THIS_MACHINE.into(), port: u16::try_from(port).ok()? }))
        }
        Some((host, port)) => {
            let address = bare_host(host).zip(port_number(port));
            if address.is_none() {
                reader.mismatch(node, "`host:port` with a port from 1 to 65535", None);
            }
            address.map(|(host, port)| Target::Tcp(Address { host: host.into(), port }))
        }
    }
}

/// The place that the keys of a mapping name; `usual` is the port when none is named.
pub(super) fn target(
    door: Door<'_>,
    usual: Option<u16>,
    node: &Node<'_>,
    reader: &mut Reader,
) -> Option<Target> {
    let Door { host, port, socket } = door;
    if let Some(socket) = socket {
        let Some(other) = host.map(|host| host.key).or_else(|| port.map(|port| port.key)) else {
            return Some(Target::Unix(socket.value.0.clone()));
        };
        reader.report(
            Diagnostic::error("bad-value", other, "a server is asked at a socket or at a host, not at both")
                .related(socket.key, "the socket")
                .help("keep one of the two"),
        );
        return None;
    }
    let Some(port) = port.map(|port| port.value.0).or(usual) else {
        // A port that could not be read was reported already.
        let Value::Map(entries) = &node.value else { return None };
        if !entries.iter().any(|entry| matches!(&*entry.key, "port" | "socket")) {
            reader.missing_key(node.place, entries, "port");
        }
        return None;
    };
    let host = match host {
        Some(host) => named_host(host, reader)?,
        None => THIS_MACHINE.into(),
    };
    Some(Target::Tcp(Address { host, port }))
}

fn named_host(host: &At<Word>, reader: &mut Reader) -> Option<Box<str>> {
    let text = &*host.value.0;
    // Here an IPv6 address may stand with or without its brackets.
    let bare = bare_host(text).or_else(|| text.contains("::").then_some(text));
    if bare.is_none() {
        let message = format!("`{text}` is neither a name nor an address");
        reader.bad_value(
            host.place,
            message,
            "write the port as `port: ...`, and links as texts of their own",
        );
    }
    bare.map(Into::into)
}

pub(crate) fn port_number(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// A host without the brackets of an IPv6 address.
pub(super) fn bare_host(text: &str) -> Option<&str> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let fits =
        !bare.is_empty() && !bare.contains(['[', ']', '/', ' ']) && (bare != text || !bare.contains(':'));
    fits.then_some(bare)
}
