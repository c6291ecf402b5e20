//! One look at the host. Every call may hang where /proc does: it belongs on a thread.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use sysinfo::{MemoryRefreshKind, System};

/// What one look found. Percentages are of the whole machine: 100 is all processors busy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Since the reading before. The first one has nothing to compare with and says little.
    pub cpu_percent: f64,
    /// What could not be had without taking it from somebody.
    pub memory_percent: f64,
    /// Runnable or blocked in the disk, over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    pub pressure: Pressure,
}

/// Share of the last ten seconds in which somebody waited, in percent; `None` where the kernel does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    pub cpu: Option<f64>,
    pub memory: Option<f64>,
    pub io: Option<f64>,
}

/// Keeps what the next reading is compared with.
pub struct Host {
    /// `None` where there is no such thing: then both percentages stay 0.
    system: Option<System>,
    /// For load and pressure.
    proc: PathBuf,
}

impl Host {
    pub fn new(proc: PathBuf) -> Self {
        Self { system: System::new().ok(), proc }
    }

    pub fn read(&mut self) -> Reading {
        let (mut cpu_percent, mut memory_percent) = (0.0, 0.0);
        if let Some(system) = &mut self.system {
            system.refresh_cpu_usage();
            cpu_percent = f64::from(system.global_cpu_usage()).clamp(0.0, 100.0);
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            memory_percent = share(system.used_memory(), system.total_memory());
        }
        let pressure =
            Pressure { cpu: self.pressure("cpu"), memory: self.pressure("memory"), io: self.pressure("io") };
        Reading { cpu_percent, memory_percent, load: self.load(), pressure }
    }

    fn load(&self) -> Option<[f64; 3]> {
        load_in(&fs::read_to_string(self.proc.join("loadavg")).ok()?)
    }

    fn pressure(&self, of: &str) -> Option<f64> {
        pressure_in(&fs::read_to_string(self.proc.join("pressure").join(of)).ok()?)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("proc", &self.proc).finish_non_exhaustive()
    }
}

/// In percent; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "bytes beyond 2^53 are rounded, as a percentage is")]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// `0.52 0.58 0.59 3/719 12345`
fn load_in(text: &str) -> Option<[f64; 3]> {
    let mut words = text.split_ascii_whitespace().map(|word| word.parse().ok());
    Some([words.next()??, words.next()??, words.next()??])
}

/// `some avg10=1.50 avg60=... avg300=... total=...`: the share in which at least one waited.
fn pressure_in(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let word = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?;
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_and_pressure_are_read_as_the_kernel_writes_them() {
        assert_eq!(load_in("0.52 0.58 12.59 3/719 12345\n"), Some([0.52, 0.58, 12.59]));
        assert_eq!(load_in("0.52 0.58"), None);
        let text =
            "some avg10=97.57 avg60=97.43 avg300=92.34 total=5321029509\nfull avg10=1.00 avg60=0 total=0\n";
        assert_eq!(pressure_in(text), Some(97.57));
        assert_eq!(pressure_in("full avg10=1.00"), None);
    }

    #[test]
    fn a_host_without_proc_still_answers() {
        let mut host = Host { system: None, proc: "/nowhere".into() };
        assert_eq!(host.read(), Reading::default());
    }
}
