//! Sockets that are opened before a unit starts, and passed to it.

use std::fmt;

use crate::unit::spec::probe::Address;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// In the order of their descriptors, from 3 on.
    pub sockets: Vec<SocketSpec>,
    /// True: the unit starts at the first connection.
    pub is_lazy: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSpec {
    /// In LISTEN_FDNAMES. Default: the unit's name.
    pub name: Box<str>,
    pub address: ListenAddress,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A stream socket; host `0.0.0.0` or `::` for all.
    Tcp(Address),
    Udp(Address),
    Unix {
        path: Box<str>,
        /// Permissions of the socket file. Default 0o666 as systemd has it.
        mode: u32,
    },
}

/// As a unit file would have it.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host_port = |f: &mut fmt::Formatter<'_>, Address { host, port }: &Address| {
            if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
        };
        match self {
            Self::Tcp(address) => host_port(f, address),
            Self::Udp(address) => {
                f.write_str("udp:")?;
                host_port(f, address)
            }
            Self::Unix { path, mode: _ } => f.write_str(path),
        }
    }
}
