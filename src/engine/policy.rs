//! Sums that know no state: delays, windows, thresholds. Integers only.

use std::time::Duration;

use crate::engine::time::{Timestamp, nanos};
use crate::unit::spec::{Backoff, StartLimit};

/// Delay before automatic start `attempt` (from 0), spread by a hash of seed, unit and attempt: an
/// unrelated draw elsewhere cannot change it. Never above `backoff.max`.
pub(crate) fn delay(backoff: &Backoff, attempt: u32, seed: u64, unit: &str) -> Duration {
    let plain = plain_delay(backoff, attempt);
    let jitter = u64::from(backoff.jitter_permille.min(1000));
    let draw = hash(seed, unit, u64::from(attempt)).checked_rem(jitter * 2 + 1).unwrap_or(0);
    let spread = u128::from(plain) * u128::from(1000 - jitter + draw) / 1000;
    Duration::from_nanos(u64::try_from(spread).unwrap_or(u64::MAX).min(nanos(backoff.max)))
}

/// `initial * factor^attempt`, at most `max`, in nanoseconds.
fn plain_delay(backoff: &Backoff, attempt: u32) -> u64 {
    let max = nanos(backoff.max);
    let mut delay = nanos(backoff.initial).min(max);
    let factor = u128::from(backoff.factor_permille.max(1000));
    for _ in 0..attempt {
        let grown = u64::try_from(u128::from(delay) * factor / 1000).unwrap_or(u64::MAX).min(max);
        if grown == delay {
            break; // at the cap, at zero, or with a factor of one: it stays there for ever
        }
        delay = grown;
    }
    delay
}

/// Drops the starts that no window from `now` on can contain.
pub(crate) fn forget_old_starts(starts: &mut Vec<Timestamp>, limit: Option<&StartLimit>, now: Timestamp) {
    match limit {
        None => starts.clear(),
        Some(limit) => starts.retain(|start| now.since(*start) < limit.within),
    }
}

/// Whether a start at `at` would be one too many.
pub(crate) fn is_over_limit(starts: &[Timestamp], limit: &StartLimit, at: Timestamp) -> bool {
    let inside = starts.iter().filter(|start| at.since(**start) < limit.within).count();
    u32::try_from(inside).unwrap_or(u32::MAX) >= limit.starts
}

/// A fraction of `span` that depends only on the names given: spreads what would otherwise come at once.
pub(crate) fn share(span: Duration, seed: u64, unit: &str, salt: u64) -> Duration {
    let part = u128::from(hash(seed, unit, salt).checked_rem(1024).unwrap_or(0));
    Duration::from_nanos(u64::try_from(u128::from(nanos(span)) * part / 1024).unwrap_or(u64::MAX))
}

/// FNV-1a over the name, finished by the mixer of splitmix64.
fn hash(seed: u64, unit: &str, salt: u64) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
    for byte in unit.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut mixed = state ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::spec::OnLimit;

    fn backoff(initial_ms: u64, max_ms: u64, factor_permille: u32, jitter_permille: u32) -> Backoff {
        Backoff {
            initial: Duration::from_millis(initial_ms),
            max: Duration::from_millis(max_ms),
            factor_permille,
            jitter_permille,
        }
    }

    fn plain_ms(backoff: &Backoff, attempts: u32) -> Vec<u128> {
        (0..attempts).map(|attempt| delay(backoff, attempt, 0, "u").as_millis()).collect()
    }

    #[test]
    fn without_jitter_the_delay_doubles_up_to_its_maximum() {
        assert_eq!(plain_ms(&backoff(100, 1_000, 2_000, 0), 6), [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn a_factor_of_one_and_a_delay_of_zero_stay_as_they_are() {
        assert_eq!(plain_ms(&backoff(100, 1_000, 1_000, 0), 3), [100, 100, 100]);
        assert_eq!(plain_ms(&backoff(0, 1_000, 2_000, 100), 3), [0, 0, 0]);
        assert_eq!(plain_ms(&backoff(5, 5, 9_000, 0), 2), [5, 5]);
    }

    #[test]
    fn huge_attempts_and_factors_saturate_at_the_maximum() {
        let steep = backoff(1, 30_000, u32::MAX, 0);
        assert_eq!(delay(&steep, u32::MAX, 0, "u"), Duration::from_secs(30));
    }

    #[test]
    fn jitter_stays_within_its_bound_and_never_passes_the_maximum() {
        let spread = backoff(1_000, 10_000, 2_000, 100);
        for seed in 0..500 {
            let first = delay(&spread, 0, seed, "redis");
            assert!((900..=1_100).contains(&first.as_millis()), "{first:?}");
            assert!(delay(&spread, 9, seed, "redis") <= Duration::from_secs(10));
        }
    }

    #[test]
    fn jitter_depends_on_seed_unit_and_attempt_alone() {
        let spread = backoff(1_000, 100_000, 1_000, 100);
        assert_eq!(delay(&spread, 1, 7, "a"), delay(&spread, 1, 7, "a"));
        assert_ne!(delay(&spread, 1, 7, "a"), delay(&spread, 1, 7, "b"));
        assert_ne!(delay(&spread, 1, 7, "a"), delay(&spread, 2, 7, "a"));
        assert_ne!(delay(&spread, 1, 7, "a"), delay(&spread, 1, 8, "a"));
    }

    #[test]
    fn a_window_is_full_after_its_starts_and_has_room_when_the_oldest_leaves() {
        let limit = StartLimit { starts: 2, within: Duration::from_nanos(10), then: OnLimit::Fail };
        let starts = [Timestamp(1), Timestamp(5)];
        assert!(is_over_limit(&starts, &limit, Timestamp(6)));
        assert!(!is_over_limit(&starts, &limit, Timestamp(11)));
        assert!(!is_over_limit(&starts[..1], &limit, Timestamp(6)));
    }

    #[test]
    fn starts_are_forgotten_when_no_window_can_hold_them() {
        let limit = StartLimit { starts: 2, within: Duration::from_nanos(10), then: OnLimit::Fail };
        let mut starts = vec![Timestamp(1), Timestamp(5)];
        forget_old_starts(&mut starts, Some(&limit), Timestamp(12));
        assert_eq!(starts, [Timestamp(5)]);
        forget_old_starts(&mut starts, None, Timestamp(12));
        assert!(starts.is_empty());
    }
}
