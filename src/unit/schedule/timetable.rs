//! All schedules of a job, in its zone.

use crate::unit::schedule::slots::Slots;
use crate::unit::schedule::zone::Zone;
use crate::unit::schedule::{Schedule, UnixTime};

/// Several schedules in one zone. An instant at which two of them run is one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// None at all: it never runs.
    pub schedules: Vec<Schedule>,
    pub zone: Zone,
}

impl Timetable {
    /// Equal for timetables with the same slots, however they are written; never 0.
    pub fn digest(&self) -> u64 {
        let texts = self.schedules.iter().map(Schedule::canonical).chain([self.zone.name().to_owned()]);
        let mut digest: u64 = 0xCBF2_9CE4_8422_2325;
        for byte in texts.flat_map(|text| text.into_bytes().into_iter().chain([0])) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        digest.max(1)
    }

    /// The first slot after `after`; `None` past the year 2100.
    pub fn next(&self, after: UnixTime) -> Option<UnixTime> {
        self.schedules.iter().filter_map(|schedule| schedule.next(after, &self.zone)).min()
    }

    /// The last slot before `before`; `None` before 1970.
    pub fn previous(&self, before: UnixTime) -> Option<UnixTime> {
        self.schedules.iter().filter_map(|schedule| schedule.previous(before, &self.zone)).max()
    }

    /// The slots after `from`, up to and with `until`, in their order.
    pub fn slots(&self, from: UnixTime, until: UnixTime) -> Slots<'_> {
        Slots { schedules: &self.schedules, zone: &self.zone, after: from, until }
    }

    /// "at 06:00 every day, and at 12:00 on Saturday"
    pub fn words(&self) -> String {
        self.schedules.iter().map(Schedule::words).collect::<Vec<_>>().join(", and ")
    }
}
