//! How runs tell of themselves: the notify socket of each, and its ready pipe.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags};

use crate::keeper::holdings::{Main, Tidings};
use crate::keeper::notice;
use crate::keeper::process::{self, Tag};
use crate::keeper::run::{Keeper, Watch};
use crate::keeper::spawn::{self, Gifts};
use crate::keeper::sys::{self, Datagram, Sender};
use crate::keeper::wire::{Given, SpawnOrder, Step};

/// Datagrams of one run read at once; the rest has its turn with all else.
const DATAGRAMS: usize = 16;
/// As before, for what a run said last before it ended.
const LAST_DATAGRAMS: usize = 128;
/// As systemd reads; a longer one is none.
const DATAGRAM_BYTES: usize = 4_096;
/// Read at once from a ready pipe, on which one byte is all that is awaited.
const READY_BYTES: usize = 512;
/// Parents looked at, to see whether a process comes from a run.
const ANCESTORS: usize = 64;
/// Barriers that wait at once, of all runs; one more is answered without a wait.
const MOST_BARRIERS: usize = 256;

/// A run waits for the end of this descriptor to know that what it said before was passed on.
#[derive(Debug)]
pub(super) struct Barrier {
    pub(super) run: u64,
    /// So many datagrams came before.
    pub(super) after: u64,
    /// Closed with it.
    pub(super) waited_for: OwnedFd,
}

/// What an order gives its process, and where we hear of it.
pub(super) struct Prepared {
    pub(super) gifts: Gifts,
    pub(super) tidings: Option<Box<Tidings>>,
    /// Read end of the stream that is kept apart.
    pub(super) kept: Option<Arc<OwnedFd>>,
}

impl Keeper {
    /// What the order gives its process, and where we hear of it.
    pub(super) fn gifts(&self, order: &SpawnOrder, came: Vec<OwnedFd>) -> Result<Prepared, (Step, Errno)> {
        let prepare = |errno| (Step::Prepare, errno);
        let most = self.context.nofile.hard;
        let mut came = came.into_iter();
        let mut gifts = Gifts::default();
        let (mut sockets, mut names) = (Vec::new(), Vec::new());
        let mut ready = None;
        for given in &order.given {
            match given {
                Given::Output => gifts.output = came.next(),
                Given::Input => {
                    let input = came.next().ok_or((Step::Descriptors, Errno::BADF))?;
                    gifts.descriptors.push((Arc::new(input), 0));
                }
                Given::Listen { key, name } => {
                    sockets.push(self.store.listening(key).ok_or((Step::Descriptors, Errno::BADF))?);
                    names.push(name.as_str());
                }
                Given::ReadyPipe { number } if *number >= 3 => {
                    let (read, write) = spawn::new_pipe(most).map_err(prepare)?;
                    rustix::io::ioctl_fionbio(&read, true).map_err(prepare)?;
                    ready = Some(Arc::new(read));
                    gifts.descriptors.push((Arc::new(write), i32::from(*number)));
                }
                Given::ReadyPipe { .. } => return Err((Step::Descriptors, Errno::BADF)),
            }
        }
        let ready_number =
            gifts.descriptors.first().map(|(_, number)| usize::try_from(*number).unwrap_or_default());
        for (name, descriptor) in self.store.stored(&order.unit) {
            if ready_number == Some(sockets.len().saturating_add(3)) {
                // Further ones would stand in its place.
                break;
            }
            sockets.push(Arc::clone(descriptor));
            names.push(name);
        }
        if !sockets.is_empty() {
            gifts.has_sockets = true;
            gifts.env.push(format!("LISTEN_FDS={}", sockets.len()).into_bytes());
            gifts.env.push(format!("LISTEN_FDNAMES={}", names.join(":")).into_bytes());
        }
        gifts.descriptors.extend(sockets.into_iter().zip(3..));
        let uid = order.credentials.as_ref().map(|credentials| credentials.uid);
        let kept = match order.log.as_ref().and_then(|log| log.kept.as_ref()) {
            Some(kept) => {
                let (read, write) = kept_pipe(most, uid).map_err(prepare)?;
                gifts.descriptors.push((Arc::new(write), if kept.is_stderr { 2 } else { 1 }));
                Some(Arc::new(read))
            }
            None => None,
        };
        let notify = if order.notify {
            let (socket, name) = notify_socket(most).map_err(prepare)?;
            gifts.env.push([b"NOTIFY_SOCKET=@".as_slice(), &name].concat());
            Some(Arc::new(socket))
        } else {
            None
        };
        let uid = uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        Ok(Prepared { gifts, tidings: tidings(&order.unit, uid, notify, ready), kept })
    }

    /// Listens to what a run says of itself.
    pub(super) fn watch_tidings(&mut self, slot: u64, now: u64) {
        let Some(tidings) = self.holdings.get(slot).and_then(|holding| holding.tidings.as_ref()) else {
            return;
        };
        let (notify, ready) = (tidings.notify.clone(), tidings.ready.clone());
        if let Some(notify) = notify {
            self.watch_slot(notify.as_fd(), slot, Watch::Notify, now);
        }
        if let Some(ready) = ready {
            self.watch_slot(ready.as_fd(), slot, Watch::Ready, now);
        }
    }

    /// Nothing more is heard of it. Others hold these descriptors too, so that closing ours would not do.
    pub(super) fn unwatch_tidings(&mut self, slot: u64) {
        self.held_up.remove(&slot);
        let Some(tidings) = self.holdings.get(slot).and_then(|holding| holding.tidings.as_ref()) else {
            return;
        };
        let main = tidings.main.as_ref().map(|main| &main.pidfd);
        for descriptor in [tidings.notify.as_ref(), tidings.ready.as_ref(), main].into_iter().flatten() {
            epoll::delete(&self.epoll, descriptor).ok();
        }
    }

    pub(super) fn on_notify(&mut self, slot: u64, now: u64) {
        self.read_notices(slot, DATAGRAMS, now);
    }

    /// What it said before it ended comes before its end.
    pub(super) fn hear_last_notices(&mut self, slot: u64, now: u64) {
        self.read_notices(slot, LAST_DATAGRAMS, now);
        self.on_ready(slot);
    }

    fn read_notices(&mut self, slot: u64, most: usize, now: u64) {
        let mut buffer = [0; DATAGRAM_BYTES];
        for _ in 0..most {
            let Some(run) = self.holdings.run_of(slot) else { return };
            let Some(tidings) = self.holdings.get(slot).and_then(|holding| holding.tidings.as_ref()) else {
                return;
            };
            let Some(notify) = tidings.notify.clone() else { return };
            if self.table.has_enough_of(run) {
                return self.hold_up(slot, &notify);
            }
            match sys::receive_datagram(notify.as_fd(), &mut buffer) {
                Ok(datagram) => {
                    let text = buffer.get(..datagram.length).unwrap_or_default();
                    self.on_datagram(slot, run, text, datagram, now);
                }
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn hold_up(&mut self, slot: u64, notify: &OwnedFd) {
        epoll::modify(&self.epoll, notify, Watch::Notify.data(slot), epoll::EventFlags::empty()).ok();
        self.held_up.insert(slot);
    }

    fn on_datagram(&mut self, slot: u64, run: u64, text: &[u8], datagram: Datagram, now: u64) {
        let Datagram { is_whole, sender, descriptors, .. } = datagram;
        let (true, Some(text), Some(sender)) = (is_whole, notice::text_of(text), sender) else { return };
        if !self.may_speak(slot, sender) {
            return;
        }
        let notice = notice::read(text);
        if notice.is_barrier {
            return self.on_barrier(run, descriptors);
        }
        let unit = self.holdings.get(slot).and_then(|holding| Some(holding.tidings.as_ref()?.unit.clone()));
        if let Some(unit) = unit {
            if notice.removes
                && let Some(name) = notice.name
            {
                self.store.remove(&unit, name);
            }
            let most = self.context.nofile.hard;
            if notice.stores && descriptors.iter().all(|descriptor| spawn::leaves_room(descriptor, most)) {
                self.store.store(&unit, notice.name.unwrap_or(notice::NAMELESS), descriptors);
            }
        }
        if let Some(pid) = notice.main_pid {
            self.follow(slot, run, pid, now);
        }
        self.table.notified(run, text, notice.shows_ready);
    }

    /// Nobody but the run itself may speak for it, as far as that can be told of one who may be gone.
    fn may_speak(&self, slot: u64, sender: Sender) -> bool {
        let Some(holding) = self.holdings.get(slot) else { return false };
        let Some(tidings) = &holding.tidings else { return false };
        let is_trusted = sender.uid == tidings.uid || sender.uid == 0;
        sender.pid > 0 && is_trusted && self.is_of_run(slot, sender.pid) != Some(false)
    }

    /// `None`: nothing tells, as of a process that is gone.
    fn is_of_run(&self, slot: u64, pid: i32) -> Option<bool> {
        let own = self.holdings.get(slot)?;
        let mut at = pid;
        for _ in 0..ANCESTORS {
            let Some(seen) = process::look(at) else {
                if at == pid {
                    return None;
                }
                break;
            };
            let numbers = [at, seen.group, seen.session];
            let owner = numbers.iter().find_map(|number| self.holdings.slot_of_leader(*number));
            if let Some((owner, _)) = owner {
                return Some(owner == slot);
            }
            if seen.parent <= 1 || seen.parent == self.pid {
                break;
            }
            at = seen.parent;
        }
        match self.environs.tag_of(pid) {
            Tag::Is(tag) => Some(own.tag.as_bytes() == tag),
            Tag::None => Some(false),
            Tag::Empty | Tag::Untold => None,
        }
    }

    /// Its one descriptor is closed once everything before was passed on.
    fn on_barrier(&mut self, run: u64, descriptors: Vec<OwnedFd>) {
        let mut descriptors = descriptors.into_iter();
        if let (Some(descriptor), None) = (descriptors.next(), descriptors.next())
            && self.barriers.len() < MOST_BARRIERS
        {
            let after = self.table.notices_of(run);
            self.barriers.push(Barrier { run, after, waited_for: descriptor });
        }
    }

    /// The supervisor has heard more: who waited for that goes on.
    pub(super) fn after_talk(&mut self) {
        let table = &self.table;
        self.barriers.retain(|barrier| !table.has_passed_on(barrier.run, barrier.after));
        if self.held_up.is_empty() {
            return;
        }
        let (epoll, holdings) = (&self.epoll, &self.holdings);
        self.held_up.retain(|slot| {
            let Some(run) = holdings.run_of(*slot) else { return false };
            if table.has_enough_of(run) {
                return true;
            }
            let notify = holdings.get(*slot).and_then(|holding| holding.tidings.as_ref()?.notify.as_ref());
            if let Some(notify) = notify {
                epoll::modify(epoll, notify, Watch::Notify.data(*slot), epoll::EventFlags::IN).ok();
            }
            false
        });
    }

    /// A newline means ready; the end without one, that nothing more will come.
    pub(super) fn on_ready(&mut self, slot: u64) {
        let Some(run) = self.holdings.run_of(slot) else { return };
        let Some(tidings) = self.holdings.get(slot).and_then(|holding| holding.tidings.as_ref()) else {
            return;
        };
        let Some(ready) = tidings.ready.clone() else { return };
        let mut buffer = [0; READY_BYTES];
        let (is_shown, is_over) = match rustix::io::read(&ready, &mut buffer) {
            Ok(0) => (false, true),
            Ok(count) => {
                let is_shown = buffer.iter().take(count).any(|byte| *byte == b'\n');
                (is_shown, is_shown)
            }
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => (false, true),
        };
        if is_shown {
            self.table.ready_shown(run);
        }
        if is_over {
            epoll::delete(&self.epoll, &ready).ok();
            self.holdings.change(slot, |holding| {
                if let Some(tidings) = &mut holding.tidings {
                    tidings.ready = None;
                }
            });
        }
    }

    /// The run says that this process is what it is about. Believed only of one that is certainly its own.
    fn follow(&mut self, slot: u64, run: u64, pid: i32, now: u64) {
        let Some(holding) = self.holdings.get(slot) else { return };
        let current = holding.main().map_or(holding.pid, |main| main.pid);
        let is_told = holding.ended.is_some() && holding.tell_at.is_none();
        let is_leader = self.holdings.slot_of_leader(pid).is_some();
        if pid <= 1 || pid == current || is_told || is_leader || self.is_of_run(slot, pid) != Some(true) {
            return;
        }
        let Some(number) = Pid::from_raw(pid) else { return };
        let Ok(pidfd) = rustix::process::pidfd_open(number, PidfdFlags::empty()) else { return };
        let Some(seen) = process::look(pid).filter(|seen| !seen.is_zombie) else { return };
        if let Some(former) = holding.main() {
            epoll::delete(&self.epoll, &former.pidfd).ok();
        }
        let pidfd = Arc::new(pidfd);
        let is_first_gone = holding.ended.is_some() || holding.main().is_some_and(|main| main.is_first_gone);
        self.holdings.follow(slot, Main { pid, pidfd: Arc::clone(&pidfd), ended: None, is_first_gone });
        // The first one may have ended on its word that another goes on.
        self.holdings.change(slot, |holding| {
            holding.ended = None;
            holding.tell_at = None;
        });
        self.watch_slot(pidfd.as_fd(), slot, Watch::Main, now);
        self.table.main_changed(run, u32::try_from(pid).unwrap_or_default(), seen.start_time);
    }

    /// To the process that counts, where it is not the first one.
    pub(super) fn signal_main(&self, slot: u64, signal: u8) {
        let Some(holding) = self.holdings.get(slot) else { return };
        if let (Some(main), None) = (holding.main(), holding.ended) {
            sys::signal_by_pidfd(main.pidfd.as_fd(), signal).ok();
        }
    }

    /// Forgets a process, and everything by which it was watched.
    pub(super) fn forget(&mut self, slot: u64) {
        self.unwatch_tidings(slot);
        self.holdings.remove(slot);
    }

    /// Of an adopted run, whose first keeper knew whom to believe: the owner of its main process.
    pub(super) fn adopted_tidings(
        unit: &str,
        pid: i32,
        notify: Option<OwnedFd>,
        ready: Option<OwnedFd>,
    ) -> Option<Box<Tidings>> {
        let owner = rustix::fs::stat(format!("/proc/{pid}")).map_or(0, |stat| stat.st_uid);
        tidings(unit, owner, notify.map(Arc::new), ready.map(Arc::new))
    }
}

/// A pipe for the stream that is kept apart; its writer's user may open it by name.
fn kept_pipe(most: u64, uid: Option<u32>) -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = spawn::new_pipe(most)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    if let Some(uid) = uid {
        rustix::fs::fchown(&write, Some(rustix::process::Uid::from_raw(uid)), None)?;
    }
    Ok((read, write))
}

fn tidings(
    unit: &str,
    uid: u32,
    notify: Option<Arc<OwnedFd>>,
    ready: Option<Arc<OwnedFd>>,
) -> Option<Box<Tidings>> {
    let unit = unit.to_owned();
    let is_any = notify.is_some() || ready.is_some();
    is_any.then(|| Box::new(Tidings { unit, uid, notify, ready, main: None }))
}

/// A socket whose name the kernel chooses, in the namespace that has no files: nothing is left behind by
/// whoever dies, and no disk is asked. Anybody may send to it, so every datagram says who did.
fn notify_socket(most_descriptors: u64) -> Result<(OwnedFd, Vec<u8>), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    if !spawn::leaves_room(&socket, most_descriptors) {
        return Err(Errno::MFILE);
    }
    sockopt::set_socket_passcred(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_unnamed())?;
    let name = SocketAddrUnix::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, name.abstract_name().ok_or(Errno::INVAL)?.to_vec()))
}
