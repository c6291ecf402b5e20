//! What readings come to: an average that a burst does not move far, and the curve of the last ten minutes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::engine::time::{Now, Timestamp};
use crate::guard::reading::{Pressure, Reading};

/// What the level is taken over.
pub const WINDOW: Duration = Duration::from_secs(10);
/// How far back the curve goes.
pub const CURVE: Duration = Duration::from_secs(600);
/// One every five seconds for ten minutes, and the one at either end.
const MOST_SAMPLES: usize = 121;

/// One point of the curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at_millis: u64,
    pub cpu_percent: f64,
    pub memory_percent: f64,
    /// Over one minute.
    pub load: Option<f64>,
    pub pressure: Pressure,
}

/// At most one sample in a stretch of time, none older than ten minutes.
#[derive(Debug, Default)]
pub struct Curve {
    samples: VecDeque<(Timestamp, Sample)>,
}

impl Curve {
    /// Keeps the reading unless one was kept less than `every` ago.
    pub fn take(&mut self, now: Now, reading: &Reading, every: Duration) {
        if self.samples.back().is_some_and(|(at, _)| now.mono.since(*at) < every) {
            return;
        }
        let sample = Sample {
            at_millis: now.wall.0 / 1_000_000,
            cpu_percent: reading.cpu_percent,
            memory_percent: reading.memory_percent,
            load: reading.load.map(|load| load[0]),
            pressure: reading.pressure,
        };
        self.samples.push_back((now.mono, sample));
        let is_old = |(at, _): &(Timestamp, Sample)| now.mono.since(*at) > CURVE;
        while self.samples.len() > MOST_SAMPLES || self.samples.front().is_some_and(is_old) {
            self.samples.pop_front();
        }
    }

    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().map(|(_, sample)| sample)
    }
}

/// The average of the last ten seconds before the last reading.
#[derive(Debug, Default)]
pub struct Average {
    spans: VecDeque<Span>,
    end: Option<Timestamp>,
}

/// What one reading says of the time since the one before.
#[derive(Debug)]
struct Span {
    from: Timestamp,
    to: Timestamp,
    cpu_percent: f64,
    memory_percent: f64,
}

impl Average {
    pub fn take(&mut self, at: Timestamp, reading: &Reading) {
        let from = self.end.unwrap_or(at);
        self.end = Some(at);
        let Reading { cpu_percent, memory_percent, .. } = *reading;
        self.spans.push_back(Span { from, to: at, cpu_percent, memory_percent });
        // The last one stays: it is what is known of the memory right after the first reading.
        while self.spans.len() > 1 && self.spans.front().is_some_and(|span| at.since(span.to) >= WINDOW) {
            self.spans.pop_front();
        }
    }

    /// Processor and memory. Time that no reading covers counts as idle for the processor, lest the burst of a
    /// boot passes for load; memory that was full when first seen was not empty before.
    pub fn over_window(&self) -> (f64, f64) {
        let Some(end) = self.end else { return (0.0, 0.0) };
        let start = Timestamp(end.0.saturating_sub(u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX)));
        let (mut cpu, mut memory, mut covered) = (0.0, 0.0, 0.0);
        for span in &self.spans {
            let seconds = span.to.since(span.from.max(start)).as_secs_f64();
            cpu += span.cpu_percent * seconds;
            memory += span.memory_percent * seconds;
            covered += seconds;
        }
        let last = self.spans.back().map_or(0.0, |span| span.memory_percent);
        let memory = if covered > 0.0 { memory / covered } else { last };
        (cpu / WINDOW.as_secs_f64(), memory)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::time::WallTime;
    use crate::guard::level::Level;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    fn reading(cpu_percent: f64, memory_percent: f64) -> Reading {
        Reading { cpu_percent, memory_percent, ..Reading::default() }
    }

    /// The level after each second of these loads.
    fn levels(loads: impl IntoIterator<Item = f64>) -> Vec<Level> {
        let mut average = Average::default();
        average.take(at(0), &reading(0.0, 10.0));
        let each = loads.into_iter().zip(1..).map(|(cpu, second)| {
            average.take(at(second), &reading(cpu, 10.0));
            let (cpu, memory) = average.over_window();
            Level::of(cpu, memory)
        });
        each.collect()
    }

    #[test]
    fn a_burst_of_five_seconds_does_not_trip_the_level_and_ten_do() {
        let burst = [[20.0; 10].as_slice(), &[100.0; 5], &[20.0; 10]].concat();
        assert!(levels(burst).iter().all(|level| *level == Level::Normal));
        let start = [100.0; 5];
        assert!(levels(start).iter().all(|level| *level == Level::Normal), "right after the start");
        let long = [[20.0; 10].as_slice(), &[100.0; 10]].concat();
        assert_eq!(levels(long).last(), Some(&Level::Emergency));
    }

    #[test]
    fn a_reading_counts_for_the_time_it_speaks_of() {
        let mut average = Average::default();
        average.take(at(0), &reading(0.0, 40.0));
        assert_eq!(average.over_window(), (0.0, 40.0));
        // A minute in which nobody was awake: its average is all that is known of its last ten seconds.
        average.take(at(60), &reading(30.0, 60.0));
        assert_eq!(average.over_window(), (30.0, 60.0));
        average.take(at(65), &reading(90.0, 80.0));
        assert_eq!(average.over_window(), (60.0, 70.0));
    }

    #[test]
    fn the_curve_forgets_what_is_older_than_ten_minutes() {
        let mut curve = Curve::default();
        for second in 0..2000 {
            let now = Now { mono: at(second), wall: WallTime(second * 1_000_000_000) };
            curve.take(now, &reading(1.0, 2.0), Duration::from_secs(5));
        }
        let seconds: Vec<u64> = curve.samples().map(|sample| sample.at_millis / 1000).collect();
        assert_eq!((seconds.len(), seconds[0], seconds[120]), (121, 1395, 1995));
    }
}
