//! How long it took to notice and to mend one incident; sums over many are the history's.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_gives_zero_and_no_giant() {
        let odd = Times { started_millis: 5000, detected_millis: 4000, recovered_millis: Some(3000) };
        assert_eq!((odd.to_detect(), odd.to_recover()), (Duration::ZERO, Some(Duration::ZERO)));
    }
}
