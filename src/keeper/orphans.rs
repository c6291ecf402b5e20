//! Whose the living orphans are that came to us. Each is looked at once, when it is new: a daemon
//! that lives for weeks then costs the ends of other runs nothing. We are the parent of all of
//! them, so none can go without being waited for by us.

use std::collections::BTreeMap;

use crate::keeper::clock::{MILLISECOND, SECOND};
use crate::keeper::process::{self, Process};

/// A process on its way out has lost the mark by which it would be known; it may be anybody's for
/// this long, as may one that does not show it. What takes longer to end (an uninterruptible sleep) holds up nobody any more.
const LEAVING: u64 = SECOND;
/// The same for one without any environment: becoming another program takes far less.
const BLANK: u64 = 50 * MILLISECOND;

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
    Unclear { since: u64 },
}

/// What can be seen of an orphan at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Slot(u64),
    Nobody,
    /// It has no environment at all, as between two programs.
    Blank,
    /// It is on its way out, or did not show its environment in time.
    Unclear,
}

impl Orphans {
    /// It was waited for: its number may mean somebody else from now on.
    pub(super) fn reaped(&mut self, pid: i32) {
        self.by_pid.remove(&pid);
    }

    /// Looks at those that are new, and again at those who were unclear.
    pub(super) fn look(&mut self, pids: Vec<i32>, now: u64, mark: impl Fn(&Process) -> Mark) {
        for pid in pids {
            let since = match self.by_pid.get(&pid) {
                Some(Owner::Slot(_) | Owner::Nobody) => continue,
                Some(Owner::Unclear { since }) => *since,
                None => now,
            };
            let age = now.saturating_sub(since);
            // Without an entry in /proc nothing can be said, now or later.
            let mark = process::look(pid).map_or(Mark::Nobody, |process| mark(&process));
            let owner = match mark {
                Mark::Slot(slot) => Owner::Slot(slot),
                Mark::Blank if age < BLANK => Owner::Unclear { since },
                Mark::Unclear if age < LEAVING => Owner::Unclear { since },
                Mark::Blank | Mark::Unclear | Mark::Nobody => Owner::Nobody,
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
            Mark::Slot(7)
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
        orphans.look(vec![me, i32::MAX], 0, |_| Mark::Nobody);
        assert!(!orphans.has_any_of(1) && !orphans.has_unclear());
    }

    #[test]
    fn an_unclear_one_may_be_anybodys_for_a_second_and_is_looked_at_again() {
        let me = i32::try_from(std::process::id()).unwrap();
        let mut orphans = Orphans::default();
        orphans.look(vec![me], 0, |_| Mark::Unclear);
        assert!(orphans.has_any_of(1) && orphans.has_any_of(2) && orphans.has_unclear());
        orphans.look(vec![me], LEAVING, |_| Mark::Unclear);
        assert!(!orphans.has_any_of(1) && !orphans.has_unclear());
        orphans.reaped(me);
        orphans.look(vec![me], 0, |_| Mark::Unclear);
        orphans.look(vec![me], 1, |_| Mark::Slot(1));
        assert!(orphans.has_any_of(1) && !orphans.has_any_of(2));
    }
}
