//! The instants at which a schedule runs: its *slots*.
//!
//! Wall-clock times are mapped to instants one stretch of constant offset at a time, where an instant is the
//! wall clock less the offset. A schedule of fixed times runs once, right after a gap, for all that the gap
//! skipped, and nothing of it runs again in a repeated hour. Any other runs when the clock shows its times.

use crate::unit::schedule::fields::Pace;
use crate::unit::schedule::zone::{LARGEST_OFFSET_SECONDS, Segment, Zone};
use crate::unit::schedule::{Schedule, UnixTime};

/// Stretches looked at before the search is given up. It jumps to 52 h before the next time that any clock of
/// the world shows, and no zone changes its clocks four times in that.
const MOST_SEGMENTS: usize = 16;

impl Schedule {
    /// The first slot after `after`; `None` past the year 2100.
    pub fn next(&self, after: UnixTime, zone: &Zone) -> Option<UnixTime> {
        let mut from = after.0.checked_add(1)?;
        for _ in 0..MOST_SEGMENTS {
            let segment = zone.segment(UnixTime(from))?;
            if segment.start == Some(from) && self.makes_up_at(segment) {
                return Some(UnixTime(from));
            }
            let wall = from.checked_add(segment.offset)?.max(self.first_wall(segment));
            let found = self.calendar.first_from(wall).and_then(|wall| wall.checked_sub(segment.offset));
            if let Some(slot) = found.filter(|slot| segment.end.is_none_or(|end| *slot < end)) {
                return Some(UnixTime(slot));
            }
            // No later wall clock shows less than this.
            let least_wall = from.checked_sub(LARGEST_OFFSET_SECONDS)?;
            let least_slot = self.calendar.first_from(least_wall)?.checked_sub(LARGEST_OFFSET_SECONDS)?;
            from = segment.end?.max(least_slot);
        }
        None
    }

    /// The last slot before `before`; `None` before 1970.
    pub fn previous(&self, before: UnixTime, zone: &Zone) -> Option<UnixTime> {
        let mut until = before.0.checked_sub(1)?;
        for _ in 0..MOST_SEGMENTS {
            let segment = zone.segment(UnixTime(until))?;
            let found = self.calendar.last_until(until.checked_add(segment.offset)?);
            let slot = found
                .filter(|wall| *wall >= self.first_wall(segment))
                .and_then(|wall| wall.checked_sub(segment.offset));
            if let Some(slot) = slot {
                return Some(UnixTime(slot));
            }
            if self.makes_up_at(segment) {
                return segment.start.map(UnixTime);
            }
            // No earlier wall clock shows more than this.
            let most_wall = until.checked_add(LARGEST_OFFSET_SECONDS)?;
            let most_slot = self.calendar.last_until(most_wall)?.checked_add(LARGEST_OFFSET_SECONDS)?;
            until = segment.start?.checked_sub(1)?.min(most_slot);
        }
        None
    }

    /// The slots after `from`, up to and with `until`, in their order.
    pub fn slots<'a>(&'a self, from: UnixTime, until: UnixTime, zone: &'a Zone) -> Slots<'a> {
        Slots { schedules: std::slice::from_ref(self), zone, after: from, until }
    }

    /// Whether runs that the gap before this segment skipped are due at its start.
    fn makes_up_at(&self, segment: Segment) -> bool {
        let skipped = match self.fields.pace {
            Pace::FixedTimes => segment.start.and_then(|start| start.checked_add(segment.offset_before)),
            Pace::RealTime => None,
        };
        let first = skipped.and_then(|wall| self.calendar.first_from(wall));
        first.zip(segment.first_wall()).is_some_and(|(run, first_wall)| run < first_wall)
    }

    /// The first wall-clock time of a segment that counts: of fixed times, what the segment before has shown
    /// is not repeated.
    fn first_wall(&self, segment: Segment) -> i64 {
        let Some(first) = segment.first_wall() else { return i64::MIN };
        match self.fields.pace {
            Pace::FixedTimes => {
                first.saturating_add(segment.offset_before.saturating_sub(segment.offset).max(0))
            }
            Pace::RealTime => first,
        }
    }
}

/// Slots in their order, each instant once.
#[derive(Clone, Debug)]
pub struct Slots<'a> {
    pub(super) schedules: &'a [Schedule],
    pub(super) zone: &'a Zone,
    pub(super) after: UnixTime,
    pub(super) until: UnixTime,
}

impl Iterator for Slots<'_> {
    type Item = UnixTime;

    fn next(&mut self) -> Option<UnixTime> {
        let next = self.schedules.iter().filter_map(|schedule| schedule.next(self.after, self.zone)).min();
        let next = next.filter(|next| *next <= self.until);
        self.after = next.unwrap_or(self.until);
        next
    }
}

impl Slots<'_> {
    /// Counts no further than `most`.
    pub fn count_up_to(mut self, most: u32) -> Count {
        for counted in 0..most {
            if self.next().is_none() {
                return Count::Exactly(counted);
            }
        }
        if self.next().is_none() { Count::Exactly(most) } else { Count::MoreThan(most) }
    }
}

/// How many slots there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Exactly(u32),
    /// Nobody counted further.
    MoreThan(u32),
}
