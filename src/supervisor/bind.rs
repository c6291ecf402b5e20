//! Opens the sockets that a unit is to be passed. Only on a worker: a path may lie on a dead file server.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, shutdown,
    socket_with, sockopt,
};

use crate::unit::spec::listen::ListenAddress;
use crate::unit::spec::probe::Address;

/// Connections that wait to be accepted; the kernel takes less where `net.core.somaxconn` says so.
const BACKLOG: i32 = 4_096;
/// Of directories that a socket file is the first to need, as systemd has it.
const DIRECTORY_MODE: u32 = 0o755;

/// Why a socket cannot be opened.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) errno: i32,
    /// In words, with who is in the way where that can be told.
    pub(crate) cause: String,
}

/// Blocking, as programs expect a socket that is passed to them to be, and close-on-exec.
///
/// # Errors
/// When the kernel refuses the address, or somebody has it.
pub(crate) fn open(address: &ListenAddress) -> Result<OwnedFd, Refused> {
    let opened = match address {
        ListenAddress::Tcp(at) => open_ip(at, SocketType::STREAM),
        ListenAddress::Udp(at) => open_ip(at, SocketType::DGRAM),
        ListenAddress::Unix { path, mode } => open_unix(Path::new(path.as_ref()), *mode),
    };
    opened.map_err(|error| {
        let errno = error.raw_os_error().unwrap_or(0);
        let words =
            if errno == 0 { error.to_string() } else { nix::errno::Errno::from_raw(errno).desc().to_owned() };
        let holder = if errno == libc::EADDRINUSE { holder_of(address) } else { None };
        let by = holder.map_or_else(String::new, |holder| format!(" by {holder}"));
        Refused { errno, cause: format!("{address}: {words}{by}") }
    })
}

/// Nobody gets in any more, whoever else still holds the socket: the keeper closes its own a moment later, and
/// a stranger that inherited one never may. Datagram sockets have nobody to refuse and end with the last holder.
pub(crate) fn refuse(socket: &OwnedFd) {
    // What does not listen, refuses already.
    shutdown(socket, Shutdown::Both).ok();
}

fn open_ip(at: &Address, kind: SocketType) -> io::Result<OwnedFd> {
    let ip: IpAddr = at.host.parse().map_err(|_name| io::Error::other("no address"))?;
    match open_at(SocketAddr::new(ip, at.port), kind) {
        // All addresses of a machine without IPv6.
        Err(Errno::AFNOSUPPORT) if ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
            Ok(open_at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port), kind)?)
        }
        other => Ok(other?),
    }
}

fn open_at(at: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if at.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if at.is_ipv6() {
        // All addresses are those of both families, whatever the machine's default is.
        sockopt::set_ipv6_v6only(&socket, !at.ip().is_unspecified())?;
    }
    if kind == SocketType::STREAM {
        // Connections of the last time may still be closing.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &at)?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

fn open_unix(path: &Path, mode: u32) -> io::Result<OwnedFd> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir)?;
    }
    let address = SocketAddrUnix::new(path)?;
    let new = || socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = new()?;
    match bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if is_stale(path, &address) => {
            fs::remove_file(path)?;
            bind(&socket, &address)?;
        }
        other => other?,
    }
    // Nobody can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A socket file at which nobody answers. Whatever else stands there is somebody's.
fn is_stale(path: &Path, address: &SocketAddrUnix) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        return false;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok(asking) = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None) else { return false };
    connect(asking.as_fd(), address) == Err(Errno::CONNREFUSED)
}

/// Who listens there, by what /proc shows to us.
fn holder_of(address: &ListenAddress) -> Option<String> {
    let inodes = match address {
        ListenAddress::Tcp(at) => ip_sockets(&["tcp", "tcp6"], at.port, Some("0A")),
        ListenAddress::Udp(at) => ip_sockets(&["udp", "udp6"], at.port, None),
        ListenAddress::Unix { path, .. } => unix_sockets(path),
    };
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let pids =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holds = |pid: &u32| {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.flatten().any(|descriptor| {
            fs::read_link(descriptor.path())
                .is_ok_and(|link| links.iter().any(|wanted| link.as_os_str() == wanted.as_str()))
        })
    };
    let pid = pids.into_iter().find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim_end()))
}

/// Inodes of sockets with this local port; `state` as in proc_net(5).
fn ip_sockets(tables: &[&str], port: u16, state: Option<&str>) -> Vec<String> {
    let port = format!(":{port:04X}");
    let mut inodes = Vec::new();
    for table in tables {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (local, _remote, is) = (fields.next(), fields.next(), fields.next());
            let is_wanted = state.is_none() || is == state;
            if is_wanted && local.is_some_and(|local| local.ends_with(&port)) {
                inodes.extend(fields.nth(5).map(str::to_owned));
            }
        }
    }
    inodes
}

fn unix_sockets(path: &str) -> Vec<String> {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let ours = text.lines().filter(|line| line.rsplit(' ').next() == Some(path));
    ours.filter_map(|line| line.split_ascii_whitespace().nth(6)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("mcsup-bind-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn tcp(host: &str, port: u16) -> ListenAddress {
        ListenAddress::Tcp(Address { host: host.into(), port })
    }

    #[test]
    fn an_address_in_use_is_refused_with_the_name_of_who_has_it() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let refused = open(&tcp("127.0.0.1", port)).unwrap_err();
        assert_eq!(refused.errno, libc::EADDRINUSE);
        let own = format!("(pid {})", std::process::id());
        assert!(
            refused.cause.starts_with(&format!("127.0.0.1:{port}: Address already in use by ")),
            "{refused:?}"
        );
        assert!(refused.cause.ends_with(&own), "{refused:?}");
    }

    #[test]
    fn all_addresses_are_those_of_both_families() {
        let socket = TcpListener::from(open(&tcp("::", 0)).unwrap());
        let port = socket.local_addr().unwrap().port();
        let mut asking = TcpStream::connect(("127.0.0.1", port)).unwrap();
        asking.write_all(b"x").unwrap();
        assert!(socket.accept().is_ok());
    }

    #[test]
    fn what_is_refused_is_refused_whoever_still_holds_the_socket_and_can_be_opened_anew() {
        let dir = scratch("refused");
        let path = dir.join("a.sock");
        let file = ListenAddress::Unix { path: path.to_str().unwrap().into(), mode: 0o600 };
        let held = open(&file).unwrap();
        let copy = held.try_clone().unwrap();
        refuse(&held);
        assert!(UnixStream::connect(&path).is_err());
        let again = open(&file).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        let held = TcpListener::from(open(&tcp("127.0.0.1", 0)).unwrap());
        let port = held.local_addr().unwrap().port();
        let also = held.try_clone().unwrap();
        refuse(&held.into());
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        let anew = open(&tcp("127.0.0.1", port)).unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        drop((copy, again, also, anew));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_socket_file_is_replaced_only_when_nobody_answers_there() {
        let dir = scratch("stale");
        let path = dir.join("deep").join("a.sock");
        let address = ListenAddress::Unix { path: path.to_str().unwrap().into(), mode: 0o600 };
        let first = open(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let refused = open(&address).unwrap_err();
        assert_eq!(refused.errno, libc::EADDRINUSE, "{refused:?}");
        drop(first);
        let second = open(&address).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "no socket").unwrap();
        assert_eq!(open(&address).unwrap_err().errno, libc::EADDRINUSE);
        assert_eq!(fs::read(&path).unwrap(), b"no socket");
        fs::remove_dir_all(dir).unwrap();
    }
}
