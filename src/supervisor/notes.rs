//! What the engine must not forget, as bytes that the keeper stores without reading them.
//!
//! A record starts with its version; a reader that meets another version, or bytes that end too
//! early, forgets that one record and nothing else. Compact by hand: a boot of a thousand units
//! writes a few thousand of them in the path that is measured.

use crate::engine::effect::Note;
use crate::engine::event::{BootNote, ExitStatus, ShutdownNote, SpawnFailure, SpawnStep, UnitNote};
use crate::engine::id::{IncidentId, RunId};
use crate::engine::state::{Desired, DownSource, FailureCause, NotedState, StopReason, StopStage, UpSource};
use crate::engine::time::Timestamp;
use crate::unit::name::UnitName;
use crate::unit::spec::{SignalNumber, UnitSet};

/// One remembered pair, read back.
#[derive(Debug, PartialEq)]
pub(crate) enum Remembered {
    Boot(BootNote),
    Unit(UnitName, UnitNote),
    /// The seal of the units that the boot accepted.
    Accepted(u64),
    /// Numbers of events below this one may have been given out.
    Events(u64),
}

/// The key and the value of a note; `None` when it names no unit of the set.
pub(crate) fn encode(note: &Note, set: &UnitSet) -> Option<(Vec<u8>, Vec<u8>)> {
    match note {
        Note::Boot(boot) => Some((BOOT_KEY.to_vec(), boot_value(boot))),
        Note::Unit(unit, note) => {
            let name = set.unit(*unit)?.name.as_str();
            Some(([UNIT_KEY, name.as_bytes()].concat(), unit_value(note, set)))
        }
    }
}

/// The pair that keeps event numbers from being given twice.
pub(crate) fn encode_events(below: u64) -> (Vec<u8>, Vec<u8>) {
    let mut out = Writer::new();
    out.u64(below);
    (EVENTS_KEY.to_vec(), out.0)
}

/// The pair that ties the file of accepted units to this boot.
pub(crate) fn encode_accepted(seal: u64) -> (Vec<u8>, Vec<u8>) {
    let mut out = Writer::new();
    out.u64(seal);
    (ACCEPTED_KEY.to_vec(), out.0)
}

/// The seal, where this pair is it.
pub(crate) fn decode_accepted(key: &[u8], value: &[u8]) -> Option<u64> {
    (key == ACCEPTED_KEY).then_some(())?;
    Reader::new(value)?.u64()
}

/// The pair that says: all that lived is in this keeper's table. A keeper without it was left half filled.
pub(crate) fn encode_whole() -> (Vec<u8>, Vec<u8>) {
    (WHOLE_KEY.to_vec(), Writer::new().0)
}

pub(crate) fn is_whole(key: &[u8]) -> bool {
    key == WHOLE_KEY
}

/// `None`: not ours, another version, or damaged.
pub(crate) fn decode(key: &[u8], value: &[u8], set: &UnitSet) -> Option<Remembered> {
    let mut input = Reader::new(value)?;
    let remembered = if key == BOOT_KEY {
        Remembered::Boot(input.boot()?)
    } else if key == ACCEPTED_KEY {
        Remembered::Accepted(input.u64()?)
    } else if key == EVENTS_KEY {
        Remembered::Events(input.u64()?)
    } else {
        let name = std::str::from_utf8(key.strip_prefix(UNIT_KEY)?).ok()?;
        Remembered::Unit(UnitName::new(name).ok()?, input.unit(set)?)
    };
    input.0.is_empty().then_some(remembered)
}

fn boot_value(note: &BootNote) -> Vec<u8> {
    let mut out = Writer::new();
    out.u64(u64::from(note.open_phases));
    out.flag(note.is_booted);
    out.u64(note.waiting_since.0);
    out.option(note.shutdown, |out, shutdown| {
        out.u64(shutdown.since.0);
        out.u8(shutdown.exit_code);
    });
    out.u64(note.last_incident);
    out.option(note.incident, |out, incident| out.u64(incident.0));
    out.0
}

fn unit_value(note: &UnitNote, set: &UnitSet) -> Vec<u8> {
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
        since,
    } = note;
    let mut out = Writer::new();
    out.u8(desired_code(*desired));
    out.flag(*leaves_dependents);
    out.life(life, set);
    out.u64(u64::from(*attempt));
    out.u64(u64::try_from(starts.len()).unwrap_or(0));
    starts.iter().for_each(|start| out.u64(start.0));
    out.u64(u64::from(*restarts));
    out.option(*last_run, |out, run| out.u64(run.0));
    out.u64(u64::from(*last_ordinal));
    out.option(*last_exit, Writer::exit);
    out.flag(*has_passed);
    out.option(*incident, |out, incident| out.u64(incident.0));
    out.u64(since.0);
    // Kept for as long as the unit stays as it is.
    out.0.shrink_to_fit();
    out.0
}

/// Bytes in the making. Integers are varints: most of ours are small.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(VERSION);
        Self(bytes)
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn flag(&mut self, value: bool) {
        self.0.push(u8::from(value));
    }

    fn u64(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap_or(0));
    }

    fn text(&mut self, text: &str) {
        self.u64(u64::try_from(text.len()).unwrap_or(0));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn exit(&mut self, exit: ExitStatus) {
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
            StopReason::Follow(unit) => {
                self.u8(2);
                // By name: the next supervisor may number its units otherwise.
                self.text(set.unit(*unit).map_or("", |spec| spec.name.as_str()));
            }
            StopReason::Failed(cause) => {
                self.u8(3);
                self.cause(cause);
            }
            StopReason::Ended(exit) => {
                self.u8(4);
                self.exit(*exit);
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
            FailureCause::Exited(exit) => {
                self.u8(2);
                self.exit(*exit);
            }
            FailureCause::StartTimeout => self.u8(3),
            FailureCause::Unhealthy(why) => {
                self.u8(4);
                self.text(why);
            }
            FailureCause::ExitedSilent(exit) => {
                self.u8(6);
                self.exit(*exit);
            }
            FailureCause::Watchdog(why) => {
                self.u8(7);
                self.text(why);
            }
            FailureCause::StartLimit { starts, last } => {
                self.u8(5);
                self.u64(u64::from(*starts));
                self.cause(last);
            }
        }
    }
}

/// What is left to read. Every method gives `None` when the bytes make no sense.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        (*version == VERSION).then_some(Self(rest))
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn u64(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.u64()?).ok()
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.u64().map(Timestamp)
    }

    fn text(&mut self) -> Option<Box<str>> {
        let length = usize::try_from(self.u64()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(Box::from)
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    fn boot(&mut self) -> Option<BootNote> {
        Some(BootNote {
            open_phases: u16::try_from(self.u64()?).ok()?,
            is_booted: self.flag()?,
            waiting_since: self.time()?,
            shutdown: self
                .option(|input| Some(ShutdownNote { since: input.time()?, exit_code: input.u8()? }))?,
            last_incident: self.u64()?,
            incident: self.option(|input| input.u64().map(IncidentId))?,
        })
    }

    fn unit(&mut self, set: &UnitSet) -> Option<UnitNote> {
        Some(UnitNote {
            desired: desired_of(self.u8()?)?,
            leaves_dependents: self.flag()?,
            life: self.life(set)?,
            attempt: self.u32()?,
            starts: {
                let count = self.u64()?;
                (0..count).map(|_| self.time()).collect::<Option<_>>()?
            },
            restarts: self.u32()?,
            last_run: self.option(|input| input.u64().map(RunId))?,
            last_ordinal: self.u32()?,
            last_exit: self.option(Self::exit)?,
            has_passed: self.flag()?,
            incident: self.option(|input| input.u64().map(IncidentId))?,
            since: self.time()?,
        })
    }

    fn exit(&mut self) -> Option<ExitStatus> {
        match self.u8()? {
            0 => self.u8().map(ExitStatus::Code),
            1 => Some(ExitStatus::Signal { signal: SignalNumber(self.u8()?), dumped_core: self.flag()? }),
            2 => Some(ExitStatus::Unknown),
            _ => None,
        }
    }

    fn life(&mut self, set: &UnitSet) -> Option<NotedState> {
        Some(match self.u8()? {
            0 => NotedState::Inactive,
            1 => NotedState::Starting,
            2 => NotedState::Ready,
            3 => NotedState::Unhealthy,
            4 => NotedState::Stopping {
                why: self.why(set)?,
                stage: stage_of(self.u8()?)?,
                deadline: self.time()?,
            },
            5 => NotedState::Backoff { after: self.cause(CAUSE_DEPTH)?, until: self.time()? },
            6 => NotedState::Failed { cause: self.cause(CAUSE_DEPTH)? },
            7 => NotedState::Completed,
            _ => return None,
        })
    }

    fn why(&mut self, set: &UnitSet) -> Option<StopReason> {
        Some(match self.u8()? {
            0 => StopReason::Down,
            1 => StopReason::Restart,
            // The unit that it follows is gone from the set: stopped for a restart all the same.
            2 => set.find(&self.text()?).map_or(StopReason::Restart, StopReason::Follow),
            3 => StopReason::Failed(self.cause(CAUSE_DEPTH)?),
            4 => StopReason::Ended(self.exit()?),
            _ => return None,
        })
    }

    fn cause(&mut self, depth: u8) -> Option<FailureCause> {
        Some(match self.u8()? {
            0 => FailureCause::SpawnFailed(SpawnFailure {
                step: step_of(self.u8()?)?,
                errno: i32::try_from(self.u64()?).ok()?,
                cause: self.text()?,
            }),
            1 => FailureCause::ExitedEarly(self.exit()?),
            2 => FailureCause::Exited(self.exit()?),
            3 => FailureCause::StartTimeout,
            4 => FailureCause::Unhealthy(self.text()?),
            5 => FailureCause::StartLimit {
                starts: self.u32()?,
                last: Box::new(self.cause(depth.checked_sub(1)?)?),
            },
            6 => FailureCause::ExitedSilent(self.exit()?),
            7 => FailureCause::Watchdog(self.text()?),
            _ => return None,
        })
    }
}

fn desired_code(desired: Desired) -> u8 {
    match desired {
        Desired::Up(UpSource::Boot) => 0,
        Desired::Up(UpSource::Operator) => 1,
        Desired::Up(UpSource::Dependent) => 2,
        Desired::Down(DownSource::Disabled) => 10,
        Desired::Down(DownSource::Operator) => 11,
        Desired::Down(DownSource::Dependency) => 12,
        Desired::Down(DownSource::Conflict) => 13,
        Desired::Down(DownSource::Shutdown) => 14,
    }
}

fn desired_of(code: u8) -> Option<Desired> {
    Some(match code {
        0 => Desired::Up(UpSource::Boot),
        1 => Desired::Up(UpSource::Operator),
        2 => Desired::Up(UpSource::Dependent),
        10 => Desired::Down(DownSource::Disabled),
        11 => Desired::Down(DownSource::Operator),
        12 => Desired::Down(DownSource::Dependency),
        13 => Desired::Down(DownSource::Conflict),
        14 => Desired::Down(DownSource::Shutdown),
        _ => return None,
    })
}

fn stage_code(stage: StopStage) -> u8 {
    match stage {
        StopStage::Command => 0,
        StopStage::Signalled => 1,
        StopStage::Sweeping => 2,
        StopStage::Killed => 3,
        StopStage::Unkillable => 4,
    }
}

fn stage_of(code: u8) -> Option<StopStage> {
    Some(match code {
        0 => StopStage::Command,
        1 => StopStage::Signalled,
        2 => StopStage::Sweeping,
        3 => StopStage::Killed,
        4 => StopStage::Unkillable,
        _ => return None,
    })
}

fn step_code(step: SpawnStep) -> u8 {
    match step {
        SpawnStep::Expand => 0,
        SpawnStep::Lookup => 1,
        SpawnStep::Prepare => 2,
        SpawnStep::Clone => 3,
        SpawnStep::Session => 4,
        SpawnStep::Limits => 5,
        SpawnStep::OomScore => 6,
        SpawnStep::Groups => 7,
        SpawnStep::Setgid => 8,
        SpawnStep::Setuid => 9,
        SpawnStep::Chdir => 10,
        SpawnStep::Descriptors => 11,
        SpawnStep::Exec => 12,
        SpawnStep::Timeout => 13,
    }
}

fn step_of(code: u8) -> Option<SpawnStep> {
    Some(match code {
        0 => SpawnStep::Expand,
        1 => SpawnStep::Lookup,
        2 => SpawnStep::Prepare,
        3 => SpawnStep::Clone,
        4 => SpawnStep::Session,
        5 => SpawnStep::Limits,
        6 => SpawnStep::OomScore,
        7 => SpawnStep::Groups,
        8 => SpawnStep::Setgid,
        9 => SpawnStep::Setuid,
        10 => SpawnStep::Chdir,
        11 => SpawnStep::Descriptors,
        12 => SpawnStep::Exec,
        13 => SpawnStep::Timeout,
        _ => return None,
    })
}

const VERSION: u8 = 2;
const BOOT_KEY: &[u8] = b"boot";
const EVENTS_KEY: &[u8] = b"events";
const ACCEPTED_KEY: &[u8] = b"accepted";
const WHOLE_KEY: &[u8] = b"whole";
const UNIT_KEY: &[u8] = b"unit:";
/// A start limit holds the cause of the last failure, which is never itself a start limit.
const CAUSE_DEPTH: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn empty_set() -> UnitSet {
        UnitSet {
            units: Vec::new(),
            phases: vec!["main".into()],
            boot_timeout: std::time::Duration::ZERO,
            shutdown_timeout: std::time::Duration::ZERO,
            log_total_bytes: 0,
            alerts: Vec::new(),
            heartbeat: None,
        }
    }

    fn note(life: NotedState) -> UnitNote {
        UnitNote {
            desired: Desired::Down(DownSource::Operator),
            leaves_dependents: true,
            life,
            attempt: 300,
            starts: vec![Timestamp(1), Timestamp(u64::MAX)],
            restarts: 7,
            last_run: Some(RunId(9)),
            last_ordinal: 4,
            last_exit: Some(ExitStatus::Signal { signal: SignalNumber::KILL, dumped_core: true }),
            has_passed: true,
            incident: Some(IncidentId(3)),
            since: Timestamp(123_456_789_012),
        }
    }

    fn lives() -> Vec<NotedState> {
        let failure = SpawnFailure { step: SpawnStep::Chdir, errno: 2, cause: "no such place".into() };
        let causes = vec![
            FailureCause::SpawnFailed(failure),
            FailureCause::ExitedEarly(ExitStatus::Code(3)),
            FailureCause::Exited(ExitStatus::Unknown),
            FailureCause::StartTimeout,
            FailureCause::Unhealthy("connection refused".into()),
            FailureCause::ExitedSilent(ExitStatus::Code(0)),
            FailureCause::Watchdog("no keep-alive for 30s".into()),
            FailureCause::StartLimit { starts: 5, last: Box::new(FailureCause::StartTimeout) },
        ];
        let mut lives = vec![
            NotedState::Inactive,
            NotedState::Starting,
            NotedState::Ready,
            NotedState::Unhealthy,
            NotedState::Backoff { after: FailureCause::StartTimeout, until: Timestamp(5) },
            NotedState::Completed,
        ];
        for stage in (0..=u8::MAX).filter_map(stage_of) {
            let why = StopReason::Ended(ExitStatus::Code(0));
            lives.push(NotedState::Stopping { why, stage, deadline: Timestamp(8) });
        }
        lives.extend(causes.iter().map(|cause| NotedState::Failed { cause: cause.clone() }));
        lives.extend(causes.into_iter().map(|cause| NotedState::Stopping {
            why: StopReason::Failed(cause),
            stage: StopStage::Signalled,
            deadline: Timestamp(1),
        }));
        lives
    }

    #[test]
    fn every_note_comes_back_as_it_was() {
        let set = empty_set();
        for life in lives() {
            let before = note(life);
            let after = decode(b"unit:redis", &unit_value(&before, &set), &set);
            assert_eq!(after, Some(Remembered::Unit(UnitName::new("redis").unwrap(), before)));
        }
        let boot = BootNote {
            open_phases: 3,
            is_booted: true,
            waiting_since: Timestamp(4),
            shutdown: Some(ShutdownNote { since: Timestamp(5), exit_code: 6 }),
            last_incident: 7,
            incident: None,
        };
        assert_eq!(decode(BOOT_KEY, &boot_value(&boot), &set), Some(Remembered::Boot(boot)));
    }

    #[test]
    fn every_code_means_what_was_encoded() {
        for code in 0..=u8::MAX {
            assert!(stage_of(code).is_none_or(|stage| stage_code(stage) == code));
            assert!(step_of(code).is_none_or(|step| step_code(step) == code));
        }
        let codes = |known: fn(u8) -> bool| (0..=u8::MAX).filter(|code| known(*code)).count();
        assert_eq!((codes(|code| stage_of(code).is_some()), codes(|code| step_of(code).is_some())), (5, 14));
    }

    #[test]
    fn a_torn_note_is_forgotten_and_never_half_read() {
        let set = empty_set();
        for life in lives() {
            let whole = unit_value(&note(life), &set);
            for length in 0..whole.len() {
                assert_eq!(decode(b"unit:redis", &whole[..length], &set), None);
            }
        }
    }
}
