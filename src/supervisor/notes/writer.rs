//! Notes as bytes.

use crate::engine::event::{BootNote, ExitStatus, UnitNote};
use crate::engine::id::UnitId;
use crate::engine::incident::{Incident, Share, Told};
use crate::engine::ladder::Step;
use crate::engine::state::{FailureCause, NotedState, StopReason};
use crate::supervisor::notes::codes::{desired_code, stage_code, step_code};
use crate::supervisor::notes::{PLAIN, SECTIONED};
use crate::unit::spec::UnitSet;

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn plain() -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(PLAIN);
        Self(bytes)
    }

    /// Version, length, sections.
    pub(super) fn sectioned(write: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut body = Self(Vec::with_capacity(64));
        write(&mut body);
        let mut out = Self(Vec::with_capacity(body.0.len().saturating_add(4)));
        out.u8(SECTIONED);
        out.bytes(&body.0);
        // Kept for as long as the unit stays as it is.
        out.0.shrink_to_fit();
        out.0
    }

    pub(super) fn section(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        self.u8(tag);
        self.nested(write);
    }

    pub(super) fn nested(&mut self, write: impl FnOnce(&mut Self)) {
        let mut inner = Self(Vec::new());
        write(&mut inner);
        self.bytes(&inner.0);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u64(u64::try_from(bytes.len()).unwrap_or(0));
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.u64(u64::try_from(count).unwrap_or(0));
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    pub(super) fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    /// By name: the next supervisor may number its units otherwise.
    fn unit(&mut self, unit: UnitId, set: &UnitSet) {
        self.text(set.unit(unit).map_or("", |spec| spec.name.as_str()));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.u64(u64::try_from(text.len()).unwrap_or(0));
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn exit(&mut self, exit: ExitStatus) {
        match exit {
            ExitStatus::Code(code) => self.0.extend([0, code]),
            ExitStatus::Signal { signal, dumped_core } => {
                self.0.extend([1, signal.0, u8::from(dumped_core)]);
            }
            ExitStatus::Unknown => self.u8(2),
        }
    }

    fn life(&mut self, life: &NotedState, set: &UnitSet) {
        match life {
            NotedState::Inactive => self.u8(0),
            NotedState::Starting => self.u8(1),
            NotedState::Ready => self.u8(2),
            NotedState::Unhealthy => self.u8(3),
            NotedState::Stopping { why, stage, deadline } => {
                self.u8(4);
                self.why(why, set);
                self.u8(stage_code(*stage));
                self.u64(deadline.0);
            }
            NotedState::Backoff { after, until } => {
                self.u8(5);
                self.cause(after);
                self.u64(until.0);
            }
            NotedState::Failed { cause } => {
                self.u8(6);
                self.cause(cause);
            }
            NotedState::Completed => self.u8(7),
        }
    }

    fn why(&mut self, why: &StopReason, set: &UnitSet) {
        match why {
            StopReason::Down => self.u8(0),
            StopReason::Restart => self.u8(1),
            StopReason::Change => self.u8(6),
            StopReason::Follow(unit) => {
                self.u8(2);
                self.unit(*unit, set);
            }
            StopReason::Failed(cause) => {
                self.u8(3);
                self.cause(cause);
            }
            StopReason::Ended(exit) => {
                self.u8(4);
                self.exit(*exit);
            }
            StopReason::Heals(unit) => {
                self.u8(5);
                self.unit(*unit, set);
            }
        }
    }

    fn cause(&mut self, cause: &FailureCause) {
        match cause {
            FailureCause::SpawnFailed(failure) => {
                self.u8(0);
                self.u8(step_code(failure.step));
                self.u64(u64::try_from(failure.errno).unwrap_or(0));
                self.text(&failure.cause);
            }
            FailureCause::ExitedEarly(exit) => {
                self.u8(1);
                self.exit(*exit);
            }
            FailureCause::ExitedSilent(exit) => {
                self.u8(11);
                self.exit(*exit);
            }
            FailureCause::Exited(exit) => {
                self.u8(2);
                self.exit(*exit);
            }
            FailureCause::StartTimeout(words) => {
                self.u8(6);
                self.text(words);
            }
            FailureCause::Unhealthy(why) => {
                self.u8(4);
                self.text(why);
            }
            FailureCause::Job(verdict) => {
                self.u8(13);
                self.verdict(verdict);
            }
            FailureCause::StartLimit { starts, last } => {
                self.u8(5);
                self.u64(u64::from(*starts));
                self.cause(last);
            }
            FailureCause::CannotProbe(why) => {
                self.u8(7);
                self.text(why);
            }
            FailureCause::Watchdog(why) => {
                self.u8(12);
                self.text(why);
            }
            FailureCause::Unkillable => self.u8(9),
            FailureCause::RungStopped(last) => {
                self.u8(10);
                self.cause(last);
            }
        }
    }
}

pub(super) fn boot_value(note: &BootNote) -> Vec<u8> {
    let BootNote {
        open_phases,
        is_booted,
        waiting_since,
        shutdown,
        last_incident,
        incident,
        change_incident,
    } = note;
    Writer::sectioned(|out| {
        out.section(1, |out| {
            out.u64(u64::from(*open_phases));
            out.flag(*is_booted);
            out.u64(waiting_since.0);
        });
        out.section(2, |out| {
            out.option(*shutdown, |out, shutdown| {
                out.u64(shutdown.since.0);
                out.u8(shutdown.exit_code);
            });
        });
        out.section(3, |out| {
            out.u64(*last_incident);
            out.option(*incident, |out, incident| out.u64(incident.0));
        });
        out.section(4, |out| out.option(*change_incident, |out, incident| out.u64(incident.0)));
    })
}

pub(super) fn unit_value(note: &UnitNote, set: &UnitSet) -> Vec<u8> {
    // Taken apart by name: a field that is added has to be written too.
    let UnitNote {
        desired,
        leaves_dependents,
        life,
        attempt,
        starts,
        restarts,
        last_run,
        last_ordinal,
        last_exit,
        has_passed,
        incident,
        share,
        is_ending,
        since,
        job,
    } = note;
    Writer::sectioned(|out| {
        out.section(1, |out| {
            out.u8(desired_code(*desired));
            out.flag(*leaves_dependents);
        });
        out.section(2, |out| {
            out.life(life, set);
            out.u64(since.0);
        });
        out.section(3, |out| {
            out.u64(u64::from(*attempt));
            out.u64(u64::try_from(starts.len()).unwrap_or(0));
            starts.iter().for_each(|start| out.u64(start.0));
            out.u64(u64::from(*restarts));
        });
        out.section(4, |out| {
            out.option(*last_run, |out, run| out.u64(run.0));
            out.u64(u64::from(*last_ordinal));
            out.option(*last_exit, Writer::exit);
            out.flag(*has_passed);
        });
        out.section(5, |out| out.option(*incident, |out, incident| out.u64(incident.0)));
        out.section(6, |out| out.flag(*is_ending));
        if let Some(share) = share {
            out.section(7, |out| out.share(share, set));
        }
        if let Some(job) = job {
            out.section(8, |out| out.job(job));
        }
    })
}

pub(super) fn incident_value(note: &Incident, set: &UnitSet) -> Vec<u8> {
    // Who is part of it each unit notes; whom it reaches is found again.
    let Incident { root, opened, cause, is_complete, has_healed, affected: _, noted: _, reached: _, told } =
        note;
    Writer::sectioned(|out| {
        out.section(1, |out| {
            out.option(*root, |out, root| out.unit(root, set));
            out.u64(opened.0);
            out.text(cause);
            out.flag(*is_complete);
        });
        // Section 2 held the shares, before each unit noted its own.
        out.section(3, |out| {
            out.u64(u64::try_from(told.len()).unwrap_or(0));
            for (channel, word) in told {
                out.text(channel);
                out.u8(match word {
                    Told::Trouble => 0,
                    Told::GaveUp => 1,
                    Told::Over => 2,
                    Told::Ended => 3,
                });
            }
        });
        out.section(4, |out| out.flag(*has_healed));
    })
}

impl Writer {
    fn share(&mut self, share: &Share, set: &UnitSet) {
        let Share { began, detected, recovered, rung, step } = share;
        self.u64(began.0);
        self.u64(detected.0);
        self.option(*recovered, |out, at| out.u64(at.0));
        self.u64(u64::from(*rung));
        match step {
            Step::Idle => self.u8(0),
            Step::Working => self.u8(1),
            Step::Settling { until, said } => {
                self.u8(2);
                self.u64(until.0);
                self.text(said);
            }
            Step::Others { left, since } => {
                self.u8(3);
                self.u64(since.0);
                self.u64(u64::try_from(left.len()).unwrap_or(0));
                left.iter().for_each(|unit| self.unit(*unit, set));
            }
            Step::Ending => self.u8(4),
            Step::Restarting { is_told } => {
                self.u8(5);
                self.flag(*is_told);
            }
            Step::Pausing { until } => {
                self.u8(6);
                self.u64(until.0);
            }
        }
    }
}
