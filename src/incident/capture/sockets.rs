//! Who listens where: sockets of /proc/net joined with the descriptors of processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::incident::capture::Deadline;
use crate::incident::capture::processes::{name_of, pids, stat_of, unit_of};
use crate::incident::evidence::Port;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    protocol: &'static str,
    address: String,
    port: u16,
    inode: u64,
}

/// What a search among everybody found.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) ports: Vec<Port>,
    pub(super) is_cut_short: bool,
}

/// Every listening socket of the network that `pid` is in; of our own without it.
///
/// # Errors
/// When the kernel does not show them.
pub(super) fn listening(proc: &Path, pid: Option<i32>) -> io::Result<Vec<Socket>> {
    let theirs = pid.map(|pid| proc.join(pid.to_string()).join("net")).filter(|dir| dir.join("tcp").exists());
    let dir = theirs.unwrap_or_else(|| proc.join("self/net"));
    let mut sockets = Vec::new();
    for (protocol, state) in
        [("tcp", TCP_LISTEN), ("tcp6", TCP_LISTEN), ("udp", UDP_BOUND), ("udp6", UDP_BOUND)]
    {
        match fs::read_to_string(dir.join(protocol)) {
            Ok(text) => sockets.extend(internet(protocol, state, &text)),
            // A kernel without IPv6 has no file for it.
            Err(error) if protocol != "tcp" && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    sockets.extend(unix(&fs::read_to_string(dir.join("unix")).unwrap_or_default()));
    Ok(sockets)
}

/// Those that one of these processes holds.
pub(super) fn owned_by(proc: &Path, sockets: &[Socket], members: &[i32]) -> Vec<Port> {
    let mut owned = Vec::new();
    let mut seen = BTreeSet::new();
    for pid in members {
        let inodes = inodes_of(proc, *pid);
        let theirs = sockets.iter().filter(|socket| inodes.contains(&socket.inode));
        for socket in theirs.filter(|socket| seen.insert(socket.inode)) {
            owned.push(port(proc, socket, Some(*pid)));
        }
    }
    owned
}

/// Who else listens on one of the `wanted` ports. `keeper`: whose children the runs are.
pub(super) fn strangers(
    proc: &Path,
    sockets: &[Socket],
    wanted: &[u16],
    owned: &[Port],
    keeper: Option<i32>,
    deadline: Deadline,
) -> Search {
    let is_own = |socket: &Socket| {
        owned.iter().any(|port| port.protocol == socket.protocol && port.address == socket.address)
    };
    let mut nameless: BTreeMap<u64, &Socket> = sockets
        .iter()
        .filter(|socket| socket.port != 0 && wanted.contains(&socket.port) && !is_own(socket))
        .map(|socket| (socket.inode, socket))
        .collect();
    let mut search = Search::default();
    for pid in pids(proc) {
        if nameless.is_empty() {
            break;
        }
        if deadline.is_over() {
            search.is_cut_short = true;
            break;
        }
        for inode in inodes_of(proc, pid) {
            if let Some(socket) = nameless.remove(&inode) {
                let holder = eldest_holder(proc, pid, inode);
                let unit = unit_of(proc, holder, keeper);
                search.ports.push(Port { unit, ..port(proc, socket, Some(holder)) });
            }
        }
    }
    // Held by somebody who may not be looked into, or in another pid namespace.
    search.ports.extend(nameless.values().map(|socket| port(proc, socket, None)));
    search
}

/// A worker holds what its master listens on, and so does a fork that has not become another program yet: the first
/// of the family is the one to be named.
fn eldest_holder(proc: &Path, pid: i32, inode: u64) -> i32 {
    let parent = |pid: &i32| {
        let parent = stat_of(proc, *pid)?.parent;
        inodes_of(proc, parent).contains(&inode).then_some(parent)
    };
    std::iter::successors(Some(pid), parent).take(MOST_GENERATIONS).last().unwrap_or(pid)
}

/// Ports that these lines call taken.
pub(super) fn ports_named_in(lines: &[String]) -> BTreeSet<u16> {
    // PostgreSQL names the port in a line of its own, nginx in the same.
    lines.iter().filter(|line| is_about_taken_ports(line)).flat_map(|line| ports_in_line(line)).collect()
}

pub(in crate::incident) fn is_about_taken_ports(line: &str) -> bool {
    let line = line.to_lowercase();
    TAKEN.iter().any(|word| line.contains(word))
}

/// How programs say that a port is taken.
const TAKEN: &[&str] = &[
    "already in use",
    "eaddrinuse",
    "running on port",
    "address in use",
    "only one usage of each socket address",
];

/// Numbers behind a colon or the word port.
pub(in crate::incident) fn ports_in_line(line: &str) -> Vec<u16> {
    let mut ports = Vec::new();
    let lower = line.to_lowercase();
    let colons = lower.match_indices(':').map(|(at, _)| at + 1);
    let words = lower.match_indices("port ").map(|(at, _)| at + 5);
    for start in colons.chain(words) {
        let digits: String = lower[start..].chars().take_while(char::is_ascii_digit).collect();
        let after = lower[start + digits.len()..].chars().next();
        let is_time = digits.len() == 2 && ends_with_hour(&lower[..start - 1]);
        if !is_time && !after.is_some_and(char::is_alphanumeric) {
            ports.extend(digits.parse::<u16>().ok().filter(|port| *port > 0));
        }
    }
    ports
}

/// The `12` or `12:30` of a time of day, and not the `.12` of an address.
fn ends_with_hour(text: &str) -> bool {
    let mut before = text.chars().rev();
    let digits = before.by_ref().take(2).filter(char::is_ascii_digit).count();
    digits == 2 && !before.next().is_some_and(|c| c == '.' || c.is_ascii_digit())
}

fn port(proc: &Path, socket: &Socket, pid: Option<i32>) -> Port {
    Port {
        protocol: socket.protocol.to_owned(),
        address: socket.address.clone(),
        port: socket.port,
        pid,
        process: pid.map_or_else(String::new, |pid| name_of(proc, pid)),
        unit: String::new(),
    }
}

/// Empty where we may not look.
fn inodes_of(proc: &Path, pid: i32) -> BTreeSet<u64> {
    let entries = fs::read_dir(proc.join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
    let inode = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    entries.filter_map(inode).collect()
}

/// `  0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 12345 1 ...`
fn internet(protocol: &'static str, state: &str, text: &str) -> Vec<Socket> {
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        (fields.nth(1)? == state).then_some(())?;
        let inode = fields.nth(5)?.parse().ok()?;
        let (address, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let address = SocketAddr::new(ip(address)?, port).to_string();
        Some(Socket { protocol, address, port, inode })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// Words of 32 bits, each in the byte order of the machine.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    if hex.len() == 8 {
        return Some(Ipv4Addr::from(word(0)?).into());
    }
    let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
}

/// `0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/x.sock`; flag 10000 means that it listens.
fn unix(text: &str) -> Vec<Socket> {
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        (flags & 0x10000 != 0).then_some(())?;
        let inode = fields.nth(2)?.parse().ok()?;
        Some(Socket { protocol: "unix", address: fields.next()?.to_owned(), port: 0, inode })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// Of processes that each inherited a socket from the one before.
const MOST_GENERATIONS: usize = 16;
const TCP_LISTEN: &str = "0A";
/// A datagram socket that is connected to nobody.
const UDP_BOUND: &str = "07";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_name_the_port_that_is_taken_in_their_own_ways() {
        let table: [(&[&str], &[u16]); 7] = [
            (
                &[
                    "12:M 20 Nov 2026 11:00:01.123 # Warning: Could not create server TCP listening socket *:6379: bind: Address already in use",
                ],
                &[6379],
            ),
            (
                &[
                    "2026-11-20 11:00:01.5 UTC [77] LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use",
                    "2026-11-20 11:00:01.5 UTC [77] HINT:  Is another postmaster already running on port 5432? If not, wait a few seconds and retry.",
                ],
                &[5432],
            ),
            (
                &[
                    "2026/11/20 11:00:01 [emerg] 7#7: bind() to 0.0.0.0:80 failed (98: Address already in use)",
                ],
                &[80],
            ),
            (&["Error: listen EADDRINUSE: address already in use :::3000"], &[3000]),
            (&["12:30:05 bind 10.0.0.12:80: address already in use"], &[80]),
            (&["OSError: [Errno 98] Address already in use"], &[]),
            (&["connected to 10.0.0.1:5432"], &[]),
        ];
        for (lines, expected) in table {
            let lines: Vec<String> = lines.iter().copied().map(Into::into).collect();
            let found: Vec<u16> = ports_named_in(&lines).into_iter().collect();
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn of_a_family_that_holds_a_port_the_first_is_named() {
        let proc = std::env::temp_dir().join(format!("mcsup-family-{}", std::process::id()));
        // A worker may have the lowest number: they come round again.
        for (pid, parent, socket) in
            [(10, 900, 77), (900, 800, 77), (800, 700, 77), (700, 1, 5), (950, 900, 77)]
        {
            let dir = proc.join(pid.to_string());
            fs::create_dir_all(dir.join("fd")).unwrap();
            let rest = "0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0";
            fs::write(dir.join("stat"), format!("{pid} (web) S {parent} {pid} 800 {rest}\n")).unwrap();
            std::os::unix::fs::symlink(format!("socket:[{socket}]"), dir.join("fd/3")).unwrap();
        }
        let socket = Socket { protocol: "tcp", address: "127.0.0.1:80".into(), port: 80, inode: 77 };
        let deadline = Deadline::after(std::time::Duration::from_secs(60));
        fs::write(proc.join("800/environ"), "PATH=/bin\0MCSUP_RUN=db#3:17\0").unwrap();
        let found = |keeper| {
            let search = strangers(&proc, std::slice::from_ref(&socket), &[80], &[], keeper, deadline);
            search.ports.into_iter().map(|port| (port.pid, port.unit)).collect::<Vec<_>>()
        };
        assert_eq!(
            found(Some(700)),
            [(Some(800), "db".to_owned())],
            "the keeper's child says whose run it is"
        );
        assert_eq!(
            found(Some(701)),
            [(Some(800), String::new())],
            "another supervisor's units are none of ours"
        );
        fs::remove_dir_all(&proc).unwrap();
    }

    #[test]
    fn listening_sockets_are_told_from_connections() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12345 1 0 100\n\
            1: 0100007F:18EB 0100007F:C001 01 00000000:00000000 00:00000000 00000000  1000        0 12346 1 0 20\n";
        if cfg!(target_endian = "little") {
            let socket =
                Socket { protocol: "tcp", address: "127.0.0.1:6379".into(), port: 6379, inode: 12345 };
            assert_eq!(internet("tcp", TCP_LISTEN, text), [socket]);
        }
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 777 /run/x.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 778 /run/x.sock\n";
        let socket = Socket { protocol: "unix", address: "/run/x.sock".into(), port: 0, inode: 777 };
        assert_eq!(unix(text), [socket]);
    }
}
