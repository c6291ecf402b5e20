//! Who is at the other end of a connection, and what they may do.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::OnceLock;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::{Group, Uid, User, geteuid};

use crate::api::Shared;
use crate::api::problem::Problem;
use crate::api::sys;
use crate::aside::Threads;
use crate::proc::{self, NamedRun, RUN_VARIABLE};
use crate::supervisor::claim::LOOKERS;
use crate::supervisor::handle::Who;

/// How long a caller's environment may take to be read: a process can make that hang.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);

/// Environments that are read at once.
pub(crate) const MOST_LOOKS: usize = 4;

/// Who may do what, settled when the supervisor starts.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The supervisor's own user; besides root the only one who may change things.
    pub own_uid: u32,
    /// Members of this group may look. `None`: there is no such group. Asked only about strangers: the
    /// answer may take a directory service, and its libraries stay in memory.
    pub look_gid: fn() -> Option<u32>,
    /// `MCSUP_RUN` of the supervisor itself, where it is a unit of another supervisor: who shares it
    /// is not one of our units.
    pub own_run: Option<Vec<u8>>,
    /// The run that a process belongs to. May hang as long as that process likes.
    pub run_of: fn(i32) -> CallerRun,
}

/// `MCSUP_RUN` of a caller: it is, or descends from, a process of a unit. Best effort: a process may clear its
/// environment, and `/proc` may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CallerRun {
    #[default]
    None,
    Of(Vec<u8>),
    /// It could not be told in time, or not at all.
    Unknown,
}

impl Rules {
    /// What `peer` may do. Asked on a thread, as both its environment and the group may take as long as
    /// others like; without an answer nobody may change anything.
    pub async fn settle(&self, mut peer: Peer, threads: &Threads) -> Access {
        let (rules, hasty) = (self.clone(), Peer { run: CallerRun::Unknown, ..peer.clone() });
        let settled = threads.ask(LOOK_DEADLINE, move || {
            if rules.may_change(&peer) {
                peer.run = (rules.run_of)(peer.pid);
            }
            rules.access(&peer)
        });
        match settled.await {
            Some(access) => access,
            None if self.may_change(&hasty) => self.access(&hasty),
            None => Access::Nothing { uid: hasty.uid },
        }
    }

    pub fn of_this_process() -> Self {
        Self {
            own_uid: geteuid().as_raw(),
            look_gid,
            own_run: std::env::var_os(RUN_VARIABLE).map(OsStringExt::into_vec),
            run_of,
        }
    }

    /// By its user alone.
    fn may_change(&self, peer: &Peer) -> bool {
        peer.uid == 0 || peer.uid == self.own_uid
    }

    pub fn access(&self, peer: &Peer) -> Access {
        let may_change = self.may_change(peer);
        let is_member = || (self.look_gid)().is_some_and(|gid| peer.gids.contains(&gid));
        match (&peer.run, may_change, may_change || is_member()) {
            (CallerRun::Of(run), true, _) | (CallerRun::Of(run), _, true)
                if self.own_run.as_ref() != Some(run) =>
            {
                Access::Look { why: "a process of a unit may only look" }
            }
            (CallerRun::Unknown, true, _) => {
                Access::Look { why: "it cannot be told whether a unit asks, and units may only look" }
            }
            (_, true, _) => Access::Change,
            (_, false, true) => Access::Look { why: "members of the group `mcsup` may only look" },
            (_, false, false) => Access::Nothing { uid: peer.uid },
        }
    }
}

fn look_gid() -> Option<u32> {
    static FOUND: OnceLock<Option<u32>> = OnceLock::new();
    *FOUND.get_or_init(|| Group::from_name(LOOKERS).ok().flatten().map(|group| group.gid.as_raw()))
}

/// The process that connected, as the kernel knew it at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    /// Its group and all supplementary ones.
    pub gids: Vec<u32>,
    /// 0 where it lives in a pid namespace that we cannot see.
    pub pid: i32,
    pub run: CallerRun,
}

impl Peer {
    /// All but its run.
    ///
    /// # Errors
    /// When the kernel does not say who connected.
    pub fn of(stream: &impl AsFd) -> Result<Self, nix::Error> {
        let credentials = getsockopt(stream, PeerCredentials)?;
        let mut gids = sys::peer_groups(stream.as_fd()).unwrap_or_default();
        gids.push(credentials.gid());
        Ok(Self { uid: credentials.uid(), gids, pid: credentials.pid(), run: CallerRun::None })
    }
}

fn run_of(pid: i32) -> CallerRun {
    match proc::named_run(pid) {
        NamedRun::Is(run) => CallerRun::Of(run),
        NamedRun::None | NamedRun::Empty | NamedRun::Unreadable => CallerRun::None,
        NamedRun::TooLong => CallerRun::Unknown,
    }
}

/// Who asks, to be written down with what they change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    uid: u32,
    pid: i32,
}

impl Caller {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self { uid: peer.uid, pid: peer.pid }
    }

    /// With the name of the user, where the machine says it in time.
    pub(crate) async fn who(self, shared: &Shared) -> Who {
        let uid = self.uid;
        let name = move || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        let user = shared.looks.ask(LOOK_DEADLINE, name).await.flatten().unwrap_or_default();
        Who { uid, user, pid: u32::try_from(self.pid).unwrap_or(0), from: "the control socket".to_owned() }
    }

    /// True also where that cannot be told.
    pub(crate) async fn is_of_unit(self, shared: &Shared) -> bool {
        let (rules, pid) = (shared.context.rules.clone(), self.pid);
        match shared.looks.ask(LOOK_DEADLINE, move || (rules.run_of)(pid)).await {
            Some(CallerRun::None) => false,
            Some(CallerRun::Of(run)) => shared.context.rules.own_run.as_ref() != Some(&run),
            Some(CallerRun::Unknown) | None => true,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().copied().ok_or_else(|| stranger(u32::MAX))
    }
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Change,
    /// Look only, and why.
    Look {
        why: &'static str,
    },
    Nothing {
        uid: u32,
    },
}

/// Handlers that take this are for callers who may look.
#[derive(Clone, Copy, Debug)]
pub struct MayLook;

/// Handlers that take this are for callers who may change things.
#[derive(Clone, Copy, Debug)]
pub struct MayChange;

impl<S: Sync> FromRequestParts<S> for MayLook {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match access_of(parts) {
            Access::Change | Access::Look { .. } => Ok(Self),
            Access::Nothing { uid } => Err(stranger(uid)),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for MayChange {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        must_change(access_of(parts)).map(|()| Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        Ok(access_of(parts))
    }
}

/// Where only some of what may be asked for changes things, or tells more than all may know.
pub(crate) fn must_change(access: Access) -> Result<(), Problem> {
    match access {
        Access::Change => Ok(()),
        Access::Look { why } => Err(Problem::NotPermitted(why.to_owned())),
        Access::Nothing { uid } => Err(stranger(uid)),
    }
}

/// A connection whose caller was never settled may do nothing.
fn access_of(parts: &Parts) -> Access {
    parts.extensions.get::<Access>().copied().unwrap_or(Access::Nothing { uid: u32::MAX })
}

fn stranger(uid: u32) -> Problem {
    Problem::NotPermitted(format!(
        "uid {uid} is neither root nor the supervisor's own user, and no member of the group `{LOOKERS}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 1000;
    const GROUP: u32 = 990;

    fn rules() -> Rules {
        Rules { own_uid: OWN, look_gid: || Some(GROUP), own_run: None, run_of: |_| CallerRun::None }
    }

    fn peer(uid: u32, gids: &[u32], run: Option<&str>) -> Peer {
        let run = run.map_or(CallerRun::None, |run| CallerRun::Of(run.as_bytes().to_vec()));
        Peer { uid, gids: gids.to_vec(), pid: 1, run }
    }

    #[test]
    fn who_may_do_what_is_this_table_and_nothing_else() {
        let cases: [(Peer, &str); 9] = [
            (peer(0, &[0], None), "change"),
            (peer(OWN, &[OWN], None), "change"),
            (peer(OWN, &[GROUP], None), "change"),
            (peer(2000, &[2000, GROUP], None), "look"),
            (peer(2000, &[2000], None), "nothing"),
            (peer(0, &[0], Some("web#1:3")), "look"),
            (peer(OWN, &[OWN], Some("web#1:3")), "look"),
            (peer(2000, &[GROUP], Some("web#1:3")), "look"),
            (peer(2000, &[2000], Some("web#1:3")), "nothing"),
        ];
        for (peer, expected) in cases {
            let found = match rules().access(&peer) {
                Access::Change => "change",
                Access::Look { .. } => "look",
                Access::Nothing { .. } => "nothing",
            };
            assert_eq!(found, expected, "{peer:?}");
        }
    }

    #[test]
    fn who_makes_the_look_at_its_environment_hang_may_only_look() {
        fn for_ever<T>(_: i32) -> T {
            loop {
                std::thread::park();
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let threads = Threads::new("test", 1);
        let hanging = Rules { run_of: for_ever, ..rules() };
        let access = runtime.block_on(hanging.settle(peer(OWN, &[], None), &threads));
        assert!(matches!(access, Access::Look { .. }), "{access:?}");
        // Its thread is lost for as long as that goes on: the next is not taken at its word either.
        let access = runtime.block_on(rules().settle(peer(0, &[], None), &threads));
        assert!(matches!(access, Access::Look { .. }), "{access:?}");
        let others = Threads::new("test", 1);
        let hanging = Rules { look_gid: || for_ever(0), ..rules() };
        let access = runtime.block_on(hanging.settle(peer(2000, &[GROUP], None), &others));
        assert!(matches!(access, Access::Nothing { .. }), "{access:?}");
        runtime.shutdown_background();
    }

    #[test]
    fn a_supervisor_that_is_itself_a_unit_does_not_mistake_its_siblings_for_its_units() {
        let nested = Rules { own_run: Some(b"inner#1:2".to_vec()), ..rules() };
        assert_eq!(nested.access(&peer(OWN, &[], Some("inner#1:2"))), Access::Change);
        assert!(matches!(nested.access(&peer(OWN, &[], Some("web#1:3"))), Access::Look { .. }));
    }

    #[test]
    fn without_the_group_nobody_is_a_member() {
        let no_group = Rules { look_gid: || None, ..rules() };
        assert!(matches!(no_group.access(&peer(2000, &[GROUP], None)), Access::Nothing { .. }));
    }

    #[test]
    fn the_kernel_says_who_connected() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.uid, geteuid().as_raw());
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        assert!(peer.gids.contains(&nix::unistd::getegid().as_raw()));
    }
}
