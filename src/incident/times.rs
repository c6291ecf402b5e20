//! How long it took to notice and to mend.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// When the trouble began, as far as anybody can tell: the exit, or the last probe that passed.
    pub started_millis: u64,
    pub detected_millis: u64,
    /// `None` while it lasts, and when it was given up.
    pub recovered_millis: Option<u64>,
}

impl Times {
    /// Zero when the clock was set back between the two.
    pub fn to_detect(self) -> Duration {
        Duration::from_millis(self.detected_millis.saturating_sub(self.started_millis))
    }

    pub fn to_recover(self) -> Option<Duration> {
        let recovered = self.recovered_millis?;
        Some(Duration::from_millis(recovered.saturating_sub(self.started_millis)))
    }
}

/// Over several incidents. `None`: there was none to take it of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub incidents: usize,
    pub open: usize,
    pub detect: Option<Middle>,
    pub recover: Option<Middle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Middle {
    pub mean: Duration,
    pub median: Duration,
}

impl Summary {
    /// Of the incidents detected in `[since, until)`.
    pub fn over(all: impl IntoIterator<Item = Times>, since_millis: u64, until_millis: u64) -> Self {
        let window = since_millis..until_millis;
        let times: Vec<Times> =
            all.into_iter().filter(|times| window.contains(&times.detected_millis)).collect();
        let detect: Vec<Duration> = times.iter().map(|times| times.to_detect()).collect();
        let recover: Vec<Duration> = times.iter().filter_map(|times| times.to_recover()).collect();
        let open = times.len().saturating_sub(recover.len());
        Self { incidents: times.len(), open, detect: middle(detect), recover: middle(recover) }
    }
}

/// The median of an even number is the mean of the middle two.
fn middle(mut times: Vec<Duration>) -> Option<Middle> {
    times.sort_unstable();
    let count = u32::try_from(times.len()).unwrap_or(u32::MAX);
    let sum = times.iter().fold(Duration::ZERO, |sum, time| sum.saturating_add(*time));
    let upper = *times.get(times.len() / 2)?;
    let lower = *times.get(times.len().saturating_sub(1) / 2)?;
    Some(Middle { mean: sum.checked_div(count)?, median: lower.saturating_add(upper) / 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(started_millis: u64, detected_millis: u64, recovered_millis: Option<u64>) -> Times {
        Times { started_millis, detected_millis, recovered_millis }
    }

    #[test]
    fn a_window_counts_what_was_detected_in_it_and_recovery_only_of_what_recovered() {
        let all = [
            times(1000, 1100, Some(3000)),
            times(2000, 2300, Some(8000)),
            times(4000, 4200, None),
            times(9000, 9000, Some(9001)),
        ];
        let summary = Summary::over(all, 0, 9000);
        assert_eq!((summary.incidents, summary.open), (3, 1));
        let millis = |mean, median| {
            Some(Middle { mean: Duration::from_millis(mean), median: Duration::from_millis(median) })
        };
        assert_eq!(summary.detect, millis(200, 200));
        assert_eq!(summary.recover, millis(4000, 4000));
        assert_eq!(Summary::over(all, 20_000, 30_000), Summary::default());
    }

    #[test]
    fn a_clock_set_back_gives_zero_and_no_giant() {
        let odd = times(5000, 4000, Some(3000));
        assert_eq!((odd.to_detect(), odd.to_recover()), (Duration::ZERO, Some(Duration::ZERO)));
    }
}
