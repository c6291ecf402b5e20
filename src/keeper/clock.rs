//! The keeper's three clocks, in nanoseconds.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Does not count suspend: for deadlines of this ring, since a machine that slept owes nobody an answer.
pub(super) fn monotonic() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Counts suspend: the engine's clock.
pub(super) fn boottime() -> u64 {
    nanos(ClockId::Boottime)
}

pub(super) fn wall() -> u64 {
    nanos(ClockId::Realtime)
}

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1_000_000_000;

/// How long the keeper waits, as a share of what its policies say: all of it, but in tests, which
/// do not wait for ten seconds where a tenth of that shows the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) divisor: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { divisor: 1 }
    }
}

impl Patience {
    pub(super) fn of(self, nanos: u64) -> u64 {
        nanos.checked_div(self.divisor).unwrap_or(nanos)
    }
}

/// A span of time, as the kernel wants it.
pub(super) fn timespec(nanos: u64) -> Timespec {
    let part = |value: Option<u64>| value.and_then(|value| i64::try_from(value).ok()).unwrap_or_default();
    Timespec { tv_sec: part(nanos.checked_div(SECOND)), tv_nsec: part(nanos.checked_rem(SECOND)) }
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds.saturating_mul(SECOND).saturating_add(u64::try_from(time.tv_nsec).unwrap_or_default())
}
