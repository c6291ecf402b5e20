//! Who runs mcsup itself, where that one listens: sd_notify(3), which systemd speaks, and mcsup towards its units.

use std::env;
use std::ffi::OsStr;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, UCred, sendmsg_addr, socket_with,
};
use rustix::process::{Pid, getgid, getuid};

use crate::engine::effect::Fact;

/// Cheap, and mute where nobody listens.
#[derive(Debug, Default)]
pub(crate) struct Above {
    line: Option<(OwnedFd, SocketAddrUnix)>,
    /// The process that was started, and in whose name everything is said: who listens believes no other.
    pub(crate) keeper: Option<Pid>,
}

impl Above {
    /// As the environment names it.
    pub(crate) fn find() -> Self {
        let line = env::var_os(VARIABLE).and_then(|name| {
            let address = address(&name)?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
            Some((socket, address))
        });
        Self { line, keeper: None }
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.line.is_some()
    }

    /// The units are accepted and questions are answered. How the boot goes is a status, as it may wait for hours
    /// for something that is broken, and mcsup is what says so.
    pub(crate) fn ready(&self) {
        self.say("READY=1");
    }

    /// What of the facts is of interest up there.
    pub(crate) fn hear(&self, fact: &Fact) {
        if *fact == Fact::Booted {
            self.say("STATUS=booted");
        } else if *fact == Fact::ShutdownBegan {
            self.say("STOPPING=1\nSTATUS=stopping everything in order");
        }
    }

    /// Another process is what was started: it lives on when this one ends.
    pub(crate) fn hand_over_to(&self, keeper: u32) {
        self.say(&format!("MAINPID={keeper}\nREADY=1\nSTATUS=taken over from the start before"));
    }

    /// Whoever has stopped to listen is not waited for.
    fn say(&self, text: &str) {
        let Some((socket, address)) = &self.line else { return };
        let text = [IoSlice::new(text.as_bytes())];
        let send = |control: &mut SendAncillaryBuffer<'_, '_, '_>| {
            sendmsg_addr(socket, address, &text, control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut signed = SendAncillaryBuffer::new(&mut space);
        let name = self.keeper.map(|pid| UCred { pid, uid: getuid(), gid: getgid() });
        if let Some(name) = name
            && signed.push(SendAncillaryMessage::ScmCredentials(name))
        {
            match send(&mut signed) {
                // Only root may speak for another. Then it is for who listens to believe us.
                Err(Errno::PERM) => {}
                Ok(_) | Err(_) => return,
            }
        }
        send(&mut SendAncillaryBuffer::default()).ok();
    }
}

const VARIABLE: &str = "NOTIFY_SOCKET";

/// A path, or a name without a file behind an `@`.
fn address(name: &OsStr) -> Option<SocketAddrUnix> {
    match name.as_bytes() {
        [b'/', ..] => SocketAddrUnix::new(name).ok(),
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name).ok(),
        _ => None,
    }
}
