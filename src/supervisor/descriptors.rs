//! How the supervisor shares out its descriptors, so that no client, probe or file can use up those that
//! the link to the keeper needs: a packet whose descriptors do not fit is a packet lost.
//!
//! The soft limit stays below the hard one by a reserve, and is raised only while the link is read or a
//! keeper is started. Clients of the API stop a little earlier still, so that files can be opened.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to all that is not held in reserve; the answer is what it was.
pub(crate) fn raise_limit() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let soft = before.maximum.map(|hard| hard.saturating_sub(reserve(hard)));
    set(Rlimit { current: soft, maximum: before.maximum });
    before.current
}

/// Does something that may use the reserve as well.
pub(crate) fn with_reserve<T>(act: impl FnOnce() -> T) -> T {
    let now = getrlimit(Resource::Nofile);
    with_limit(now.maximum, act)
}

/// Does something under another soft limit.
pub(crate) fn with_limit<T>(soft: Option<u64>, act: impl FnOnce() -> T) -> T {
    let now = getrlimit(Resource::Nofile);
    set(Rlimit { current: soft, maximum: now.maximum });
    let result = act();
    set(now);
    result
}

/// Drops copies beyond their share: they are a convenience; the reserve, files and clients are not.
pub(crate) fn keep_to_their_share(copies: &mut Vec<OwnedFd>) {
    let most = getrlimit(Resource::Nofile).current.map(share_of_copies);
    // A run's copies belong together.
    if copies.iter().any(|copy| is_at_or_above(copy, most)) {
        copies.clear();
    }
}

/// False: one client more, and files could not be opened any more. The kernel gives the lowest number that is
/// free, so a number says how many are in use.
pub fn has_room_for(client: &impl AsRawFd) -> bool {
    let soft = getrlimit(Resource::Nofile).current;
    let most = soft.map(|soft| soft.saturating_sub(FOR_FILES.min(soft / 4)));
    !is_at_or_above(client, most)
}

fn share_of_copies(soft: u64) -> u64 {
    soft.saturating_sub(FOR_ALL_ELSE.min(soft / 2))
}

fn is_at_or_above(descriptor: &impl AsRawFd, limit: Option<u64>) -> bool {
    let number = u64::try_from(descriptor.as_raw_fd()).unwrap_or(0);
    limit.is_some_and(|limit| number >= limit)
}

fn reserve(hard: u64) -> u64 {
    FOR_LINK.min(hard / 2)
}

fn set(limit: Rlimit) {
    if let Err(errno) = setrlimit(Resource::Nofile, limit) {
        // It is merely sooner that descriptors run out, and that is an error like others.
        tracing::warn!("cannot set the limit of open files: {errno}");
    }
}

/// The descriptors of a packet (`PACKET_DESCRIPTORS`), and of what else a moment needs.
const FOR_LINK: u64 = 32;
/// The journal, logs that are read, probes, pipes of helpers.
const FOR_FILES: u64 = 64;
/// Those, and as many clients.
const FOR_ALL_ELSE: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_fits_into_the_reserve_of_any_usual_limit() {
        let packet = u64::try_from(crate::keeper::link::PACKET_DESCRIPTORS).unwrap();
        for hard in [64, 100, 400, 1024, 1 << 20] {
            assert!(reserve(hard) > packet, "{hard}");
        }
        assert_eq!(reserve(40), 20, "half of very little is left for the rest");
    }

    #[test]
    fn the_runs_of_a_thousand_units_leave_room_for_clients_and_for_files() {
        assert_eq!(share_of_copies(1024), 896);
        assert_eq!(share_of_copies(32), 16);
    }
}
