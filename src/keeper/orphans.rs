//! Whose the living orphans are that came to us. Each is looked at once, when it is new: a daemon
//! that lives for weeks then costs the ends of other runs nothing. We are the parent of all of
//! them, so none can go without being waited for by us.

use std::collections::BTreeMap;

use crate::keeper::clock::SECOND;
use crate::keeper::process::{self, Process};

/// A process on its way out has lost the mark by which it would be known; it may be anybody's for
/// this long. What takes longer to end (an uninterruptible sleep) holds up nobody any more.
const LEAVING: u64 = SECOND;

#[derive(Debug, Default)]
pub(super) struct Orphans {
    by_pid: BTreeMap<i32, Owner>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The run of this slot.
    Slot(u64),
    /// No run that we hold.
    Nobody,
    /// Too late to tell; until then it may be anybody's.
    Unclear { until: u64 },
}

impl Orphans {
    /// It was waited for: its number may mean somebody else from now on.
    pub(super) fn reaped(&mut self, pid: i32) {
        self.by_pid.remove(&pid);
    }

    /// Looks at those that are new. `owner`: whose it is, if anything says so.
    pub(super) fn look(&mut self, pids: Vec<i32>, now: u64, owner: impl Fn(&Process) -> Option<u64>) {
        for pid in pids {
            let until = match self.by_pid.get(&pid) {
                Some(Owner::Slot(_) | Owner::Nobody) => continue,
                Some(Owner::Unclear { until }) => *until,
                None => now.saturating_add(LEAVING),
            };
            // Without an entry in /proc nothing can be said, now or later.
            let owner = match process::look(pid) {
                None => Owner::Nobody,
                Some(process) => match owner(&process) {
                    Some(slot) => Owner::Slot(slot),
                    None if until > now && process::is_leaving(pid) => Owner::Unclear { until },
                    None => Owner::Nobody,
                },
            };
            self.by_pid.insert(pid, owner);
        }
    }

    /// Does one of them belong to this slot, or may it?
    pub(super) fn has_any_of(&self, slot: u64) -> bool {
        self.by_pid.values().any(|owner| match owner {
            Owner::Slot(owner) => *owner == slot,
            Owner::Nobody => false,
            Owner::Unclear { .. } => true,
        })
    }

    pub(super) fn has_unclear(&self) -> bool {
        self.by_pid.values().any(|owner| matches!(owner, Owner::Unclear { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_looked_at_once_and_again_when_its_number_was_reused() {
        let me = i32::try_from(std::process::id()).unwrap();
        let mut orphans = Orphans::default();
        let looks = std::cell::Cell::new(0);
        let owner = |_: &Process| {
            looks.set(looks.get() + 1);
            Some(7)
        };
        orphans.look(vec![me], 0, owner);
        orphans.look(vec![me], 1, owner);
        assert_eq!(looks.get(), 1);
        assert!(orphans.has_any_of(7) && !orphans.has_any_of(8));
        orphans.reaped(me);
        assert!(!orphans.has_any_of(7));
        orphans.look(vec![me], 2, owner);
        assert_eq!(looks.get(), 2);
    }

    #[test]
    fn a_living_process_without_a_mark_is_nobodys() {
        let me = i32::try_from(std::process::id()).unwrap();
        let mut orphans = Orphans::default();
        orphans.look(vec![me, i32::MAX], 0, |_| None);
        assert!(!orphans.has_any_of(1) && !orphans.has_unclear());
    }
}
