//! When the units directory is looked at: who watches it, what is due, and the save that waits until all is quiet.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::aside::since_boot;
use crate::supervisor::change::candidate::paths_of;
use crate::supervisor::change::loss::{Loss, QUIET};
use crate::supervisor::change::seen::Seen;
use crate::supervisor::change::watch::{Said, Watch};
use crate::supervisor::ears::Ears;
use crate::supervisor::inbox::{Inbox, Outlet};
use crate::unit::spec::UnitSet;

#[derive(Debug)]
pub(crate) struct Looks {
    units_dir: PathBuf,
    outlet: Outlet,
    /// Sees changes. `None`: in safe mode, or where nothing can be watched.
    watch: Option<Watch>,
    /// Something was saved since the last look.
    is_due: bool,
    count: u64,
    /// What there was when the candidate was read.
    seen: Option<Seen>,
    waits: Option<Waits>,
}

/// Takes something away, and is looked at again when that may be meant.
#[derive(Debug)]
struct Waits {
    loss: Loss,
    alarm: JoinHandle<()>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.alarm.abort();
    }
}

impl Looks {
    pub(crate) fn new(units_dir: PathBuf, outlet: Outlet) -> Self {
        Self { units_dir, outlet, watch: None, is_due: false, count: 0, seen: None, waits: None }
    }

    /// `seen`: what there was before the units in force were read.
    ///
    /// # Errors
    /// As [`Watch::start`]: then no save is seen.
    pub(crate) fn watch(&mut self, ears: &Ears, seen: Seen) -> io::Result<()> {
        let outlet = self.outlet.clone();
        let tell = move |said| {
            let message = match said {
                Said::Look => Inbox::Look,
                Said::Remark(text) => Inbox::Remarked(text),
            };
            // The loop has ended: nobody is left to be told.
            drop(outlet.send(message));
        };
        self.watch = Some(Watch::start(ears, &self.units_dir, seen, tell)?);
        Ok(())
    }

    /// The same of whoever has not looked for a while: whatever is there is news.
    ///
    /// # Errors
    /// As [`Self::watch`].
    pub(crate) fn watch_anew(&mut self, ears: &Ears, set: &UnitSet) -> io::Result<()> {
        self.watch(ears, self.unseen(set))
    }

    /// Other definitions are in force: the files that they name count now.
    pub(crate) fn follow(&mut self, set: &UnitSet) {
        // On the way back nobody has looked.
        let seen = self.seen.take().unwrap_or_else(|| self.unseen(set));
        if let Some(watch) = &self.watch {
            watch.follow(seen);
        }
    }

    fn unseen(&self, set: &UnitSet) -> Seen {
        Seen::nothing_of(paths_of(set).iter().map(|path| self.units_dir.join(&**path)))
    }

    pub(crate) fn read(&mut self, seen: Seen) {
        self.seen = Some(seen);
    }

    pub(crate) fn want(&mut self) {
        self.is_due = true;
    }

    /// Where nobody watches, files may have been saved or restored unseen.
    pub(crate) fn want_if_blind(&mut self) {
        self.is_due |= self.watch.is_none();
    }

    pub(crate) fn is_due(&self) -> bool {
        self.is_due
    }

    pub(crate) fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }

    /// Looks at the directory so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// One more. `loss`: what it found is to wait.
    pub(crate) fn looked(&mut self, loss: Option<&Loss>) {
        self.count = self.count.saturating_add(1);
        self.waits = loss.map(|loss| {
            let (outlet, due) = (self.outlet.clone(), loss.since.saturating_add(QUIET));
            let left = due.saturating_sub(since_boot()).saturating_add(A_LITTLE);
            let alarm = tokio::task::spawn_local(async move {
                drop(tokio::time::timeout(left, std::future::pending::<()>()).await);
                // The loop has ended: the next supervisor looks first of all.
                drop(outlet.send(Inbox::Look));
            });
            Waits { loss: loss.clone(), alarm }
        });
    }

    pub(crate) fn waits(&self) -> Option<Loss> {
        self.waits.as_ref().map(|waits| waits.loss.clone())
    }

    /// After safe mode the directory is watched again.
    pub(crate) fn watch_later(&self) {
        let outlet = self.outlet.clone();
        tokio::task::spawn_local(async move {
            drop(tokio::time::timeout(SAFE_MODE, std::future::pending::<()>()).await);
            // The loop has ended: it is the next supervisor's.
            drop(outlet.send(Inbox::SafeModeIsOver));
        });
    }
}

/// So that it has waited when it is looked at: the two clocks need not agree to the millisecond.
const A_LITTLE: Duration = Duration::from_millis(20);
/// Deaths of longer ago are no trouble any more: see `TROUBLE_WINDOW` of the keeper.
const SAFE_MODE: Duration = Duration::from_secs(60);
