//! What the host has left: processor, memory, load, pressure, room on a disk.
//!
//! Nothing here wakes up by itself. Whoever is awake anyway calls [`Guard::sample_if_due`], which is why the
//! curve of a host at rest has gaps: there was nobody to look, and nothing to see.

pub mod level;
pub mod reading;
pub mod curve;
pub mod disk;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::aside::Threads;
use crate::engine::time::Now;
use crate::guard::curve::{Average, Curve, Sample};
use crate::guard::level::Level;
use crate::guard::reading::{Host, Reading};

/// Between two samples of the curve, at least.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// A reading this young is as good as a new one: the kernel's own counters tick ten milliseconds apart, and a
/// share of the processor over less than this says nothing.
const FRESH: Duration = Duration::from_secs(1);

/// Reads the host's figures on a thread and remembers the last ten minutes. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
    threads: Threads,
}

struct Shared {
    /// Held for as long as a reading takes, which is for ever where /proc hangs.
    host: Mutex<Host>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    begun: Option<Now>,
    is_reading: bool,
    average: Average,
    curve: Curve,
    last: Option<Reading>,
}

/// The figures of one instant, over the time they speak of.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    pub level: Level,
    /// Averages of the last ten seconds, in percent.
    pub cpu_percent: f64,
    pub memory_percent: f64,
    pub last: Reading,
}

impl Guard {
    pub fn new() -> Self {
        Self::of(Host::new("/proc".into()))
    }

    pub fn of(host: Host) -> Self {
        let shared = Shared { host: Mutex::new(host), known: Mutex::default() };
        // One reads; a second could only wait for it.
        Self { shared: Arc::new(shared), threads: Threads::new("guard", 1) }
    }

    /// Begins a reading when the last one is [`SAMPLE_EVERY`] old; returns at once, the figures come later. Where
    /// there is no thread for it, the curve has a gap.
    pub fn sample_if_due(&self, now: Now) {
        if self.begin(now, SAMPLE_EVERY) {
            let shared = Arc::clone(&self.shared);
            if self.threads.try_begin(move || shared.read(now)).is_err() {
                self.shared.known().is_reading = false;
            }
        }
    }

    /// Figures not older than a second, for a gate that asks now. `None`: none came within `limit`.
    pub async fn ask(&self, now: Now, limit: Duration) -> Option<Figures> {
        if !self.begin(now, FRESH) {
            return self.figures();
        }
        let shared = Arc::clone(&self.shared);
        let read = self.threads.ask(limit, move || shared.read(now)).await;
        if read.is_none() {
            // The reading may never have begun; were it still on its way, the next one would wait for its thread.
            self.shared.known().is_reading = false;
        }
        read.and_then(|()| self.figures())
    }

    /// What is known without looking. `None` before the first reading.
    pub fn figures(&self) -> Option<Figures> {
        let known = self.shared.known();
        let last = known.last.clone()?;
        let (cpu_percent, memory_percent) = known.average.over_window();
        Some(Figures { level: Level::of(cpu_percent, memory_percent), cpu_percent, memory_percent, last })
    }

    /// The last ten minutes, oldest first.
    pub fn curve(&self) -> Vec<Sample> {
        self.shared.known().curve.samples().cloned().collect()
    }

    fn begin(&self, now: Now, at_least: Duration) -> bool {
        let mut known = self.shared.known();
        let is_due = known.begun.is_none_or(|begun| now.mono.since(begun.mono) >= at_least);
        if !is_due || known.is_reading {
            return false;
        }
        known.begun = Some(now);
        known.is_reading = true;
        true
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("known", &*self.shared.known()).finish_non_exhaustive()
    }
}

impl Shared {
    fn read(&self, now: Now) {
        let reading = self.host.lock().unwrap_or_else(PoisonError::into_inner).read();
        let mut known = self.known();
        known.is_reading = false;
        known.average.take(now.mono, &reading);
        known.curve.take(now, &reading, SAMPLE_EVERY);
        known.last = Some(reading);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Figures {
    /// What a gate's expression sees: `guard` is the ten-second average and its level, `host` the last reading.
    /// What this kernel does not tell is null.
    pub fn context(&self) -> Value {
        let Reading { cpu_percent, memory_percent, load, pressure } = &self.last;
        json!({
            "guard": {
                "level": self.level.as_str(),
                "cpu": tenths(self.cpu_percent),
                "memory": tenths(self.memory_percent),
            },
            "host": {
                "cpu": tenths(*cpu_percent),
                "memory": tenths(*memory_percent),
                "load1": load.map(|load| load[0]),
                "load5": load.map(|load| load[1]),
                "load15": load.map(|load| load[2]),
                "pressure": { "cpu": pressure.cpu, "memory": pressure.memory, "io": pressure.io },
            },
        })
    }
}

fn tenths(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::engine::time::{Timestamp, WallTime};
    use crate::unit::expression::shape::{self, Shape};

    use super::*;

    fn at(seconds: u64) -> Now {
        let nanos = seconds * 1_000_000_000;
        Now { mono: Timestamp(nanos), wall: WallTime(nanos) }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(test)
    }

    #[test]
    fn this_hosts_figures_are_percentages_that_an_expression_can_read() {
        run(async {
            let guard = Guard::new();
            assert_eq!(guard.figures(), None, "nobody has looked yet");
            let figures = guard.ask(at(1), Duration::from_secs(30)).await.unwrap();
            assert!((0.0..=100.0).contains(&figures.last.cpu_percent), "{figures:?}");
            assert!(figures.last.memory_percent > 0.0 && figures.last.memory_percent < 100.0, "{figures:?}");
            let context = figures.context();
            assert!(context["guard"]["level"].is_string(), "{context}");
            assert!(context["guard"]["cpu"].is_f64() && context["host"]["memory"].is_f64(), "{context}");
            assert!(context["host"]["load1"].is_f64(), "{context}");
            assert!(context["host"]["pressure"].as_object().is_some_and(|all| all.len() == 3), "{context}");
        });
    }

    #[test]
    fn an_expression_may_name_what_is_told_and_nothing_else() {
        let context =
            Figures { level: Level::Normal, cpu_percent: 0.0, memory_percent: 0.0, last: Reading::default() }
                .context();
        let names = |shape: &Shape| shape.field_names().into_iter().collect::<BTreeSet<_>>();
        let told = |at: &str| {
            let told = context.pointer(at).and_then(Value::as_object).unwrap();
            told.keys().map(String::as_str).collect::<BTreeSet<_>>()
        };
        assert_eq!(told("/guard"), names(&shape::GUARD));
        assert_eq!(told("/host"), names(&shape::HOST));
        assert_eq!(told("/host/pressure"), names(&shape::PRESSURE));
        let level = shape::GUARD.at("level").unwrap();
        let levels = [Level::Normal, Level::Warn, Level::Critical, Level::Emergency];
        assert_eq!(level.words(), levels.map(Level::as_str));
    }

    #[test]
    fn at_most_one_sample_comes_to_be_in_five_seconds() {
        run(async {
            let guard = Guard::new();
            for second in 0..=20 {
                guard.sample_if_due(at(second));
                // The reading is over when the only thread is free again.
                guard.threads.ask(Duration::from_secs(30), || ()).await.unwrap();
            }
            let seconds: Vec<u64> = guard.curve().iter().map(|sample| sample.at_millis / 1000).collect();
            assert_eq!(seconds, [0, 5, 10, 15, 20]);
        });
    }

    #[test]
    fn a_proc_that_hangs_costs_the_asker_its_limit_and_the_loop_nothing() {
        run(async {
            let guard = Guard::new();
            let (held, is_held) = std::sync::mpsc::channel();
            let (let_go, hang) = std::sync::mpsc::channel::<()>();
            let shared = Arc::clone(&guard.shared);
            let holder = std::thread::spawn(move || {
                let _reading = shared.host.lock().unwrap();
                held.send(()).unwrap();
                assert!(hang.recv().is_err());
            });
            is_held.recv().unwrap();
            assert_eq!(guard.ask(at(1), Duration::from_millis(20)).await, None);
            guard.sample_if_due(at(10));
            assert_eq!(guard.figures(), None);
            drop(let_go);
            holder.join().unwrap();
            guard.threads.ask(Duration::from_secs(30), || ()).await.unwrap();
            assert!(guard.ask(at(20), Duration::from_secs(30)).await.is_some(), "it recovers");
        });
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_null() {
        let last = Reading { cpu_percent: 12.34, memory_percent: 50.0, ..Reading::default() };
        let figures = Figures { level: Level::Warn, cpu_percent: 71.26, memory_percent: 50.0, last };
        let expected = json!({
            "guard": {"level": "warn", "cpu": 71.3, "memory": 50.0},
            "host": {
                "cpu": 12.3, "memory": 50.0, "load1": null, "load5": null, "load15": null,
                "pressure": {"cpu": null, "memory": null, "io": null},
            },
        });
        assert_eq!(figures.context(), expected);
    }
}
