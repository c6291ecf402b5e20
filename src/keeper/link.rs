//! The link between the two rings, the same code for either end: packets of many messages, with
//! descriptors, over an `AF_UNIX` `SOCK_SEQPACKET` socket that is never waited for.
//!
//! A packet is a row of messages: body length (32 bits), number of descriptors (8), where the body
//! is (8: 0 in the packet, 1 in a sealed memfd that is the first descriptor), then the body.
//! The descriptors of a packet come in the order of its messages.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::keeper::codec::Message;

/// Most bytes of a packet; what a socket's default buffer holds three times.
const PACKET_BYTES: usize = 64 * 1024;
/// A body above this travels in a memfd, so that one message never needs more than one packet.
const INLINE_BYTES: usize = 32 * 1024;
/// Most bytes of a body in a memfd: far above any order, far below what hurts.
const BODY_BYTES: u64 = 64 * 1024 * 1024;
/// Most descriptors of a packet. The kernel takes 253, but who receives must have room for all of them at
/// once or loses some, and then nothing can be trusted: so few that even a limit of 64 has that room.
pub(crate) const PACKET_DESCRIPTORS: usize = 24;
const HEAD_BYTES: usize = 6;

const IN_PACKET: u8 = 0;
const IN_MEMFD: u8 = 1;

/// One end of the link: sends `Out`, receives `In`.
#[derive(Debug)]
pub struct Link<Out, In> {
    socket: OwnedFd,
    /// Full packets that the socket did not take yet, oldest first.
    waiting: VecDeque<Packet>,
    /// The packet that `send` adds to.
    filling: Packet,
    buffer: Vec<u8>,
    speaks: PhantomData<(Out, In)>,
}

#[derive(Debug, Default)]
struct Packet {
    bytes: Vec<u8>,
    descriptors: Vec<Arc<OwnedFd>>,
}

/// What `receive` found.
#[derive(Debug)]
pub enum Received<In> {
    /// One packet's messages, each with its descriptors.
    Messages(Vec<(In, Vec<OwnedFd>)>),
    /// Nothing at the moment.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// Two connected ends, close-on-exec and non-blocking.
///
/// # Errors
/// When the process or the machine has no descriptor left.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

impl<Out: Message, In: Message> Link<Out, In> {
    /// # Errors
    /// When `socket` is not an open descriptor.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self {
            socket,
            waiting: VecDeque::new(),
            filling: Packet::default(),
            buffer: Vec::new(),
            speaks: PhantomData,
        })
    }

    /// Adds a message to the packet being filled. Nothing leaves before `flush`.
    ///
    /// # Errors
    /// When a large message finds no descriptor or memory for its memfd; the message was not queued.
    pub fn send(&mut self, message: &Out, descriptors: &[Arc<OwnedFd>]) -> io::Result<()> {
        let body = message.encode();
        if body.len() <= INLINE_BYTES {
            self.append(IN_PACKET, &body, descriptors)
        } else {
            let mut with_memfd = vec![Arc::new(sealed(&body)?)];
            with_memfd.extend(descriptors.iter().cloned());
            self.append(IN_MEMFD, &[], &with_memfd)
        }
    }

    fn append(&mut self, place: u8, body: &[u8], descriptors: &[Arc<OwnedFd>]) -> io::Result<()> {
        let too_many = || io::Error::from(Errno::MSGSIZE);
        let count = u8::try_from(descriptors.len()).map_err(|_large| too_many())?;
        if descriptors.len() > PACKET_DESCRIPTORS {
            return Err(too_many());
        }
        let length = u32::try_from(body.len()).map_err(|_large| too_many())?;
        let bytes = self.filling.bytes.len().saturating_add(HEAD_BYTES).saturating_add(body.len());
        let all = self.filling.descriptors.len().saturating_add(descriptors.len());
        if bytes > PACKET_BYTES || all > PACKET_DESCRIPTORS {
            self.waiting.push_back(std::mem::take(&mut self.filling));
        }
        self.filling.bytes.extend_from_slice(&length.to_le_bytes());
        self.filling.bytes.extend_from_slice(&[count, place]);
        self.filling.bytes.extend_from_slice(body);
        self.filling.descriptors.extend(descriptors.iter().cloned());
        Ok(())
    }

    /// Hands what was sent to the socket. False: it is full; flush again when it is writable.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn flush(&mut self) -> io::Result<bool> {
        loop {
            if self.waiting.is_empty() && !self.filling.bytes.is_empty() {
                self.waiting.push_back(std::mem::take(&mut self.filling));
            }
            let Some(packet) = self.waiting.front() else { return Ok(true) };
            match send_packet(self.socket.as_fd(), packet) {
                Ok(()) => drop(self.waiting.pop_front()),
                // Too many descriptors under way and unread (unix(7)): full, in another currency.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// More than one packet's worth waits: time to flush before sending on.
    pub fn has_full_packet(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Something waits for the socket to become writable.
    pub fn has_unsent(&self) -> bool {
        !self.waiting.is_empty() || !self.filling.bytes.is_empty()
    }

    /// One packet, if there is one.
    ///
    /// # Errors
    /// When the packet was truncated (a descriptor or a byte was lost) or says what nobody
    /// understands: nothing after it can be trusted, the link is to be closed.
    pub fn receive(&mut self) -> io::Result<Received<In>> {
        self.buffer.resize(PACKET_BYTES, 0);
        let mut was_reset = false;
        let (length, descriptors) = loop {
            match receive_packet(self.socket.as_fd(), &mut self.buffer) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                // The other side died without having read everything. That is told once, and before what
                // it said itself: its last words still count.
                Err(Errno::CONNRESET) if !was_reset => was_reset = true,
                Err(Errno::CONNRESET) => return Ok(Received::Closed),
                Err(errno) => return Err(errno.into()),
            }
        };
        if length == 0 {
            return Ok(Received::Closed);
        }
        let bytes = self.buffer.get(..length).unwrap_or_default();
        parse(bytes, descriptors).map(Received::Messages)
    }
}

impl<Out, In> AsFd for Link<Out, In> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<Out, In> AsRawFd for Link<Out, In> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn send_packet(socket: BorrowedFd<'_>, packet: &Packet) -> Result<(), Errno> {
    let descriptors: Vec<BorrowedFd<'_>> = packet.descriptors.iter().map(|owned| owned.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::MSGSIZE);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(&packet.bytes)], &mut control, flags).map(drop)
}

fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, VecDeque<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut descriptors = VecDeque::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            descriptors.extend(rights);
        }
    }
    if message.flags.intersects(ReturnFlags::CTRUNC | ReturnFlags::TRUNC) {
        return Err(Errno::BADMSG);
    }
    Ok((message.bytes, descriptors))
}

fn parse<In: Message>(
    mut bytes: &[u8],
    mut descriptors: VecDeque<OwnedFd>,
) -> io::Result<Vec<(In, Vec<OwnedFd>)>> {
    let malformed = || io::Error::from(Errno::BADMSG);
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(malformed)?;
        let [l0, l1, l2, l3, count, place] = *head;
        let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_large| malformed())?;
        let (body, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
        bytes = rest;
        if descriptors.len() < usize::from(count) {
            return Err(malformed());
        }
        let mut own: VecDeque<OwnedFd> = descriptors.drain(..usize::from(count)).collect();
        let message = match place {
            IN_PACKET => In::decode(body),
            IN_MEMFD => In::decode(&unsealed(own.pop_front().ok_or_else(malformed)?)?),
            _ => None,
        };
        messages.push((message.ok_or_else(malformed)?, own.into()));
    }
    Ok(messages)
}

fn sealed(body: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create("mcsup-message", flags)?);
    file.write_all(body)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// Reads from its start, whatever offset the sender's descriptor stands at.
fn unsealed(memfd: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(memfd);
    let length = file.metadata()?.len();
    if length > BODY_BYTES {
        return Err(Errno::MSGSIZE.into());
    }
    io::Seek::rewind(&mut file)?;
    let mut body = Vec::new();
    file.take(length).read_to_end(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::wire::{Order, Report, SpawnOrder};

    type Supervisor = Link<Order, Report>;
    type Keeper = Link<Report, Order>;

    fn ends() -> (Supervisor, Keeper) {
        let (one, other) = pair().unwrap();
        (Link::new(one).unwrap(), Link::new(other).unwrap())
    }

    fn next(keeper: &mut Keeper) -> Vec<(Order, Vec<OwnedFd>)> {
        match keeper.receive().unwrap() {
            Received::Messages(messages) => messages,
            other @ (Received::Nothing | Received::Closed) => panic!("{other:?}"),
        }
    }

    #[test]
    fn many_messages_share_a_packet_and_keep_their_own_descriptors() {
        let (mut supervisor, mut keeper) = ends();
        let (read, write) = rustix::pipe::pipe().unwrap();
        supervisor.send(&Order::Release { run: 1 }, &[]).unwrap();
        supervisor.send(&Order::Release { run: 2 }, &[Arc::new(read), Arc::new(write)]).unwrap();
        supervisor.send(&Order::Release { run: 3 }, &[]).unwrap();
        assert!(supervisor.flush().unwrap());
        let messages = next(&mut keeper);
        let seen: Vec<_> = messages.iter().map(|(order, fds)| (order.clone(), fds.len())).collect();
        let run = |run| Order::Release { run };
        assert_eq!(seen, [(run(1), 0), (run(2), 2), (run(3), 0)]);
        let pipe = messages.into_iter().nth(1).unwrap().1;
        assert_eq!(rustix::io::write(&pipe[1], b"x"), Ok(1), "the second descriptor is the write end");
        assert!(matches!(keeper.receive().unwrap(), Received::Nothing));
    }

    #[test]
    fn an_environment_of_300_kilobytes_travels_beside_the_packet() {
        let (mut supervisor, mut keeper) = ends();
        let env = vec![vec![b'x'; 300 * 1024]];
        let order = Order::Spawn(Box::new(SpawnOrder { run: 1, env, ..SpawnOrder::default() }));
        let (read, _write) = rustix::pipe::pipe().unwrap();
        supervisor.send(&order, &[Arc::new(read)]).unwrap();
        assert!(supervisor.flush().unwrap());
        let messages = next(&mut keeper);
        assert_eq!(messages[0].0, order);
        assert_eq!(messages[0].1.len(), 1, "the memfd is not one of the message's own descriptors");
    }

    #[test]
    fn a_reader_who_never_reads_is_never_waited_for() {
        let (mut supervisor, mut keeper) = ends();
        let mut sent = 0;
        while supervisor.flush().unwrap() {
            sent += 1;
            assert!(sent < 100_000, "a socket cannot hold everything");
            supervisor.send(&Order::Remember { key: vec![0; 10_000], value: vec![] }, &[]).unwrap();
        }
        assert!(supervisor.has_unsent());
        let mut received = 0;
        while received < sent {
            received += next(&mut keeper).len();
            supervisor.flush().unwrap();
        }
        assert!(!supervisor.has_unsent());
    }

    #[test]
    fn rubbish_ends_the_link_and_a_closed_one_says_so() {
        let (supervisor, mut keeper) = ends();
        rustix::io::write(&supervisor, &[200, 0, 0, 0, 0, 0, 1]).unwrap();
        assert!(keeper.receive().is_err(), "a body longer than the packet");
        rustix::io::write(&supervisor, &[1, 0, 0, 0, 1, 0, 9]).unwrap();
        assert!(keeper.receive().is_err(), "a descriptor that did not come");
        rustix::io::write(&supervisor, &[1, 0, 0, 0, 0, 0, 250]).unwrap();
        assert!(keeper.receive().is_err(), "an unknown message");
        drop(supervisor);
        assert!(matches!(keeper.receive().unwrap(), Received::Closed));
    }

    #[test]
    fn who_dies_without_having_read_everything_is_heard_to_the_end() {
        let (mut supervisor, mut keeper) = ends();
        keeper.send(&Report::Emptied { run: 1 }, &[]).unwrap();
        assert!(keeper.flush().unwrap());
        for run in 1..=2 {
            supervisor.send(&Order::Release { run }, &[]).unwrap();
            assert!(supervisor.flush().unwrap());
        }
        drop(supervisor);
        for run in 1..=2 {
            assert_eq!(next(&mut keeper)[0].0, Order::Release { run });
        }
        assert!(matches!(keeper.receive().unwrap(), Received::Closed));
    }

    #[test]
    fn a_thousand_descriptors_go_in_several_packets() {
        let (mut supervisor, mut keeper) = ends();
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let read = Arc::new(read);
        for run in 0..500 {
            supervisor.send(&Order::Release { run }, &[read.clone(), read.clone()]).unwrap();
        }
        let mut received = 0;
        while received < 500 {
            supervisor.flush().unwrap();
            for (_, descriptors) in next(&mut keeper) {
                assert_eq!(descriptors.len(), 2);
                received += 1;
            }
        }
    }
}
