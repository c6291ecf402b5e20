//! The pump stands still while the keeper becomes another executable, and goes on there.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::keeper::image::{Blob, ChannelImage, EndImage, PumpImage};
use crate::keeper::logfile::LogFile;
use crate::keeper::pump::{Channel, Pump, Request, Shared, locked};
use crate::keeper::wire::LogPlace;

/// Whether the worker stands still, so that nothing is on its way between a pipe and a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rest {
    #[default]
    Works,
    Wanted,
    Rests,
}

impl Pump {
    /// Has the worker stand still within `deadline` nanoseconds, and tells what it has in hand. `None`: it is held
    /// up, and goes on.
    pub(in crate::keeper) fn rest(&self, deadline: u64) -> Option<PumpImage> {
        *locked(&self.shared.rest) = Rest::Wanted;
        self.shared.request(Request::Rest);
        let (deadline, rest) = (Duration::from_nanos(deadline), locked(&self.shared.rest));
        let waited = self
            .shared
            .rest_changed
            .wait_timeout_while(rest, deadline, |rest| *rest != Rest::Rests)
            .unwrap_or_else(PoisonError::into_inner);
        let rests = *waited.0 == Rest::Rests;
        drop(waited);
        if !rests {
            self.work();
            return None;
        }
        Some(self.shared.image())
    }

    /// It goes on after a rest.
    pub(in crate::keeper) fn work(&self) {
        *locked(&self.shared.rest) = Rest::Works;
        self.shared.rest_changed.notify_all();
    }

    /// What another keeper had in hand, before any pipe is added.
    pub(in crate::keeper) fn resume(&self, image: &PumpImage) {
        self.limit_total(image.total_limit);
        let ends = image.ends.iter().map(|end| (end.key, end.place));
        locked(&self.shared.ends).extend(ends);
    }

    /// What was read for the log of this unit and could not be written.
    pub(in crate::keeper) fn hold(&self, unit: String, dir: &Arc<[u8]>, bytes: Vec<u8>) {
        locked(&self.shared.log(unit, dir)).hold(bytes);
    }
}

impl Shared {
    /// While the worker rests.
    fn image(&self) -> PumpImage {
        let held = |(dir, log): (&Arc<[u8]>, &Arc<Mutex<LogFile>>)| {
            let bytes = locked(log).held().to_vec();
            (!bytes.is_empty()).then(|| (Blob(dir.to_vec()), Blob(bytes)))
        };
        let channel = |channel: &Arc<Channel>| ChannelImage {
            key: channel.key,
            has_written: channel.has_written(),
            is_spoiled: channel.kept.as_ref().is_some_and(|kept| locked(kept).is_spoiled()),
        };
        let end = |(key, place): (&u64, &LogPlace)| EndImage { key: *key, place: *place };
        PumpImage {
            total_limit: self.total_limit.load(Ordering::Relaxed),
            held: locked(&self.logs).iter().filter_map(held).collect(),
            channels: locked(&self.channels).values().map(channel).collect(),
            ends: locked(&self.ends).iter().map(end).collect(),
        }
    }

    /// Until somebody says that work goes on.
    pub(super) fn be_at_rest(&self) {
        let mut rest = locked(&self.rest);
        if *rest != Rest::Wanted {
            // Nobody waits for it any more.
            return;
        }
        *rest = Rest::Rests;
        self.rest_changed.notify_all();
        let rested = self.rest_changed.wait_while(rest, |rest| *rest == Rest::Rests);
        drop(rested);
    }
}
