//! `listen`: sockets that are opened before the start.

// Parsing an address is no I/O: `core` has it apart from the sockets.
use core::net::{IpAddr, Ipv6Addr};

use serde_json::{Value as Json, json};

use crate::unit::probe::port_number;
use crate::unit::read::{At, FromYaml, Reader, mapping};
use crate::unit::spec::listen::{Listen, ListenAddress, SocketSpec};
use crate::unit::spec::probe::Address;
use crate::unit::value::{Mode, Word};
use crate::unit::yaml::{Node, Value};

/// As systemd has it: who may connect is for the directory to say.
const SOCKET_MODE: u32 = 0o666;
/// Descriptors that one unit may be passed.
const MOST_SOCKETS: usize = 200;

mapping! {
    /// Sockets, and when the unit starts.
    ListenMap {
        /// Addresses, or mappings of address, name and mode.
        [required] sockets: Sockets;
        /// True: the unit starts at the first connection. Until then it counts as started and healthy for its dependents, whose connection starts it; restart.backoff and restart.limit hold for starts by connection.
        lazy: bool = false;
    }
}

mapping! {
    /// One socket.
    SocketMap {
        /// `127.0.0.1:6379`, `[::1]:80`, `:80` or `80` for all addresses, `/path.sock`, `udp:host:port`.
        [required] address: SocketAddress;
        /// In LISTEN_FDNAMES. Default: the unit's name.
        name: SocketName;
        /// Permissions of a socket file.
        mode: Mode = 0o666;
    }
}

/// `listen` as written.
#[derive(Clone, Debug)]
pub(crate) struct ListenFile(ListenMap);

#[derive(Clone, Debug)]
pub(crate) struct Sockets(Vec<At<SocketMap>>);

impl SocketMap {
    /// Whether it is a file that has permissions.
    pub(super) fn is_file(&self) -> bool {
        self.address.as_ref().is_some_and(|at| matches!(at.value.0, ListenAddress::Unix { .. }))
    }
}

impl FromYaml for ListenFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let is_whole = matches!(&node.value, Value::Map(entries)
            if !entries.iter().any(|entry| matches!(&*entry.key, "address" | "name" | "mode")));
        if is_whole {
            let map = ListenMap::read(node, reader)?;
            map.sockets.as_ref()?;
            return Some(Self(map));
        }
        let sockets = At { key: node.place, place: node.place, value: Sockets::read(node, reader)? };
        Some(Self(ListenMap { sockets: Some(sockets), lazy: None }))
    }

    fn schema() -> Json {
        json!({"anyOf": [Sockets::schema(), ListenMap::schema()]})
    }
}

impl FromYaml for Sockets {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(node),
        };
        if items.is_empty() {
            reader.bad_value(node.place, "`listen` names no socket", "add one, or remove the line");
            return None;
        }
        if items.len() > MOST_SOCKETS {
            let message = format!("{} sockets are more than {MOST_SOCKETS}", items.len());
            reader.bad_value(node.place, message, "one message passes no more");
            return None;
        }
        let sockets = items.iter().map(|item| {
            let value = match &item.value {
                Value::Map(_) => SocketMap::read(item, reader)?,
                Value::Scalar(_) | Value::List(_) => {
                    let value = SocketAddress::read(item, reader)?;
                    let address = At { key: item.place, place: item.place, value };
                    SocketMap { address: Some(address), ..SocketMap::default() }
                }
            };
            value.address.as_ref()?;
            Some(At { key: item.place, place: item.place, value })
        });
        // All of them are read, so that all mistakes are told.
        let sockets: Vec<Option<At<SocketMap>>> = sockets.collect();
        sockets.into_iter().collect::<Option<_>>().map(Self)
    }

    fn schema() -> Json {
        let one = json!({"anyOf": [SocketAddress::schema(), SocketMap::schema()]});
        json!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
    }
}

impl ListenFile {
    /// In the order of their descriptors; sockets without a name get the unit's later.
    pub(super) fn lower(&self) -> Listen {
        let sockets = self.sockets().iter().filter_map(|socket| {
            let SocketMap { address, name, mode } = &socket.value;
            let mode = mode.as_ref().map_or(SOCKET_MODE, |mode| mode.value.0);
            let address = match address.as_ref()?.value.0.clone() {
                ListenAddress::Unix { path, mode: _ } => ListenAddress::Unix { path, mode },
                address @ (ListenAddress::Tcp(_) | ListenAddress::Udp(_)) => address,
            };
            let name = name.as_ref().map_or_else(|| "".into(), |name| name.value.0.clone());
            Some(SocketSpec { name, address })
        });
        Listen { sockets: sockets.collect(), is_lazy: self.0.lazy.as_ref().is_some_and(|lazy| lazy.value) }
    }

    pub(super) fn sockets(&self) -> &[At<SocketMap>] {
        self.0.sockets.as_ref().map_or(&[], |sockets| &sockets.value.0)
    }
}

/// An address that can be bound.
#[derive(Clone, Debug)]
pub(crate) struct SocketAddress(ListenAddress);

impl FromYaml for SocketAddress {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let expected = "an address such as `127.0.0.1:6379`, `:80`, `/path.sock` or `udp:host:port`";
        let text = &reader.scalar(node, expected)?.text;
        let address = address(text);
        if address.is_none() {
            let host = text.rsplit_once(':').map_or("", |(host, _)| host);
            let is_name = host.starts_with(|c: char| c.is_ascii_alphabetic()) && !host.contains(':');
            let help = is_name.then(|| {
                let own =
                    "write an address, as names may change: `127.0.0.1` or `[::1]` for this machine alone";
                format!("`{host}` is a name; {own}")
            });
            reader.mismatch(node, expected, help.as_deref());
        }
        address.map(Self)
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 65535},
            {"type": "string", "pattern": "^((udp:)?.*:[0-9]+|[0-9]+|/.+)$"},
        ]})
    }
}

pub(super) fn address(text: &str) -> Option<ListenAddress> {
    if text.starts_with('/') {
        let fits = text.len() > 1 && !text.ends_with('/');
        return fits.then(|| ListenAddress::Unix { path: text.into(), mode: SOCKET_MODE });
    }
    match text.strip_prefix("udp:") {
        Some(rest) => bindable(rest).map(ListenAddress::Udp),
        None => bindable(text).map(ListenAddress::Tcp),
    }
}

/// `80` and `:80` are all addresses, of both families.
fn bindable(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port_number(port)?;
    let ip = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        _ if host.is_empty() => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => IpAddr::V4(host.parse().ok()?),
    };
    Some(Address { host: ip.to_string().into(), port })
}

/// A name that can stand in LISTEN_FDNAMES.
#[derive(Clone, Debug)]
pub(crate) struct SocketName(Box<str>);

impl FromYaml for SocketName {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Word(text) = Word::read(node, reader)?;
        if text.contains(|c: char| c == ':' || c.is_control()) || text.len() > 255 {
            let message = format!("`{text}` cannot name a socket");
            reader.bad_value(node.place, message, "no colons, no control characters, at most 255 bytes");
            return None;
        }
        Some(Self(text))
    }

    fn schema() -> Json {
        json!({"type": ["string", "number"], "minLength": 1, "maxLength": 255, "pattern": "^[^:]+$"})
    }
}

/// Whether both cannot be bound at once.
pub(super) fn collide(one: &ListenAddress, two: &ListenAddress) -> bool {
    match (one, two) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(two))
        | (ListenAddress::Udp(one), ListenAddress::Udp(two)) => {
            one.port == two.port && overlap(&one.host, &two.host)
        }
        (ListenAddress::Unix { path: one, .. }, ListenAddress::Unix { path: two, .. }) => one == two,
        (ListenAddress::Tcp(_) | ListenAddress::Udp(_) | ListenAddress::Unix { .. }, _) => false,
    }
}

/// `::` takes the addresses of both families, `0.0.0.0` those of its own.
fn overlap(one: &str, two: &str) -> bool {
    let is_all = |host: &str| host == "::";
    let is_all_of_v4 = |all: &str, other: &str| all == "0.0.0.0" && !other.contains(':');
    one == two || is_all(one) || is_all(two) || is_all_of_v4(one, two) || is_all_of_v4(two, one)
}

/// As a unit file would have it.
pub(super) fn show(address: &ListenAddress) -> String {
    address.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_people_write_them() {
        for (text, shown) in [
            ("127.0.0.1:6379", "127.0.0.1:6379"),
            (":80", "[::]:80"),
            ("80", "[::]:80"),
            ("[::1]:80", "[::1]:80"),
            ("[0:0::1]:80", "[::1]:80"),
            ("/run/a.sock", "/run/a.sock"),
            ("udp:0.0.0.0:53", "udp:0.0.0.0:53"),
            ("udp::53", "udp:[::]:53"),
        ] {
            assert_eq!(address(text).map(|address| show(&address)).as_deref(), Some(shown), "{text}");
        }
        for text in
            ["", ":", ":0", "localhost:80", "::1:80", "127.0.0.1", "1.2.3:80", "/", "/a/", "tcp:1.2.3.4:5"]
        {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn two_sockets_cannot_share_an_address_nor_all_of_them() {
        let both = |one: &str, two: &str| collide(&address(one).unwrap(), &address(two).unwrap());
        assert!(both(":80", "127.0.0.1:80") && both("0.0.0.0:80", "127.0.0.1:80") && both("/a", "/a"));
        assert!(both("[::1]:80", "80"));
        assert!(!both(":80", ":81") && !both("udp::80", ":80") && !both("0.0.0.0:80", "[::1]:80"));
        assert!(!both("127.0.0.1:80", "127.0.0.2:80") && !both("/a", "/b"));
    }
}
