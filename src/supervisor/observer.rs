//! Everybody who wants to know what happened: clients of `events`, the log file, the terminal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::engine::effect::Fact;
use crate::engine::time::Now;
use crate::supervisor::display::Display;
use crate::supervisor::handle::{EventRecord, Happening, Notice, NoticeKind, Subscription};
use crate::supervisor::words::{self, Weight};
use crate::unit::spec::UnitSet;

#[derive(Debug)]
pub(crate) struct Observer {
    set: Arc<UnitSet>,
    kept: VecDeque<Arc<EventRecord>>,
    listeners: broadcast::Sender<Arc<EventRecord>>,
    next: u64,
    /// Numbers below this one are ours to give; the next supervisor begins here.
    reserved: u64,
    display: Display,
}

impl Observer {
    /// `first`: the first event number that no earlier supervisor can have given.
    pub(crate) fn new(set: Arc<UnitSet>, display: Display, first: u64) -> Self {
        let (listeners, _) = broadcast::channel(CHANNEL);
        let next = first.max(1);
        Self { set, kept: VecDeque::new(), listeners, next, reserved: next, display }
    }

    /// What was kept before is named by these, too: units keep their numbers, and the sets before need not stay.
    pub(crate) fn redefine(&mut self, set: &Arc<UnitSet>) {
        self.set = Arc::clone(set);
        self.display.redefine(Arc::clone(set));
        for record in &mut self.kept {
            let EventRecord { number, at, what, set: _ } = record.as_ref();
            let (number, at, what) = (*number, *at, what.clone());
            *record = Arc::new(EventRecord { number, at, what, set: Arc::clone(set) });
        }
    }

    /// Some: these numbers have to be remembered as taken before anything is shown to anybody.
    pub(crate) fn reserve(&mut self) -> Option<u64> {
        if self.next < self.reserved {
            return None;
        }
        self.reserved = self.next.saturating_add(BLOCK);
        Some(self.reserved)
    }

    pub(crate) fn record(&mut self, fact: Fact, now: Now) {
        let line = words::line(&fact, &self.set);
        match words::weight(&fact) {
            Weight::Detail => tracing::debug!("{line}"),
            Weight::Normal => tracing::info!("{line}"),
            Weight::Trouble => tracing::warn!("{line}"),
        }
        self.display.show(&fact, now.mono);
        self.keep(Happening::Fact(fact), now);
    }

    pub(crate) fn notice(&mut self, notice: Notice, now: Now) {
        match notice.kind {
            NoticeKind::AlertFailed => tracing::warn!("{}", notice.text),
            NoticeKind::AlertDelivered => tracing::info!("{}", notice.text),
            NoticeKind::AlertGivenUp | NoticeKind::Announced => self.announce(&notice.text),
        }
        self.keep(Happening::Notice(notice), now);
    }

    fn keep(&mut self, what: Happening, now: Now) {
        let record = EventRecord { number: self.next, at: now.wall, what, set: Arc::clone(&self.set) };
        let record = Arc::new(record);
        self.next = self.next.saturating_add(1);
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::clone(&record));
        // No listener is the usual case.
        drop(self.listeners.send(record));
    }

    /// What must reach the person in front, and is neither fact nor notice.
    pub(crate) fn announce(&mut self, text: &str) {
        tracing::warn!("{text}");
        self.display.say(&format!("mcsup: {text}"));
    }

    pub(crate) fn since(&self, after: u64) -> Subscription {
        let kept = self.kept.iter().filter(|record| record.number > after).cloned().collect();
        (kept, self.listeners.subscribe())
    }

    pub(crate) fn draw(&mut self) {
        self.display.draw();
    }

    pub(crate) async fn close(self, limit: Duration) {
        self.display.close(limit).await;
    }
}

/// Facts that `events` can still show: the boot of a thousand units is three thousand.
const KEPT: usize = 10_000;
/// A listener further behind than this is told that it missed some.
const CHANNEL: usize = 1024;
/// Numbers taken at once, so that counting does not cost a message to the keeper each time.
const BLOCK: u64 = 10_000;
