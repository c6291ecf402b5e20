//! How hard pressed the host is, in one word.

use std::fmt;

/// The worse of what the processor and the memory say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Normal,
    Warn,
    Critical,
    Emergency,
}

/// Above so many percent of processor, or of memory, the level holds. Memory runs out for good where a busy
/// processor only slows down, so its last step comes earlier.
const STEPS: [(Level, f64, f64); 3] =
    [(Level::Emergency, 95.0, 92.0), (Level::Critical, 85.0, 85.0), (Level::Warn, 70.0, 75.0)];

impl Level {
    pub fn of(cpu_percent: f64, memory_percent: f64) -> Self {
        let step = STEPS.iter().find(|(_, cpu, memory)| cpu_percent > *cpu || memory_percent > *memory);
        step.map_or(Self::Normal, |(level, _, _)| *level)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warn => "warn",
            Self::Critical => "critical",
            Self::Emergency => "emergency",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_taken_above_its_number_and_the_worse_of_the_two_counts() {
        let table = [
            (0.0, 0.0, "normal"),
            (70.0, 75.0, "normal"),
            (70.1, 0.0, "warn"),
            (0.0, 75.1, "warn"),
            (85.0, 85.0, "warn"),
            (85.1, 0.0, "critical"),
            (0.0, 85.1, "critical"),
            (95.0, 92.0, "critical"),
            (95.1, 0.0, "emergency"),
            (0.0, 92.1, "emergency"),
            (71.0, 93.0, "emergency"),
            (100.0, 10.0, "emergency"),
        ];
        for (cpu, memory, expected) in table {
            assert_eq!(Level::of(cpu, memory).as_str(), expected, "cpu {cpu}, memory {memory}");
        }
        assert!(Level::Normal < Level::Warn && Level::Critical < Level::Emergency);
    }
}
