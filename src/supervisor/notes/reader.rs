//! Bytes back to notes. Every method gives `None` when the bytes make no sense.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::event::{BootNote, ExitStatus, ShutdownNote, SpawnFailure, UnitNote};
use crate::engine::id::{IncidentId, RunId, UnitId};
use crate::engine::incident::{Incident, Share, Told};
use crate::engine::ladder::Step;
use crate::engine::state::{FailureCause, NotedState, StopReason};
use crate::engine::time::Timestamp;
use crate::supervisor::notes::codes::{desired_of, stage_of, step_of};
use crate::supervisor::notes::{PLAIN, SECTIONED};
use crate::unit::spec::{SignalNumber, UnitSet};

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

/// The sections of a record, by their numbers.
pub(super) struct Sections<'a>(BTreeMap<u8, &'a [u8]>);

/// A note as a version before sections wrote it, or in sections.
pub(super) enum Record<'a> {
    Plain(Reader<'a>),
    Sectioned(Sections<'a>),
}

impl<'a> Record<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        match *version {
            PLAIN => Some(Self::Plain(Reader(rest))),
            SECTIONED => {
                let mut input = Reader(rest);
                let body = input.bytes()?;
                let sections = Sections::read(body)?;
                input.0.is_empty().then_some(Self::Sectioned(sections))
            }
            _ => None,
        }
    }
}

impl<'a> Sections<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let mut input = Reader(body);
        let mut sections = BTreeMap::new();
        while !input.0.is_empty() {
            let tag = input.u8()?;
            sections.insert(tag, input.bytes()?);
        }
        Some(Self(sections))
    }

    /// `None`: it is missing, or says what this version does not know.
    pub(super) fn get<T>(&self, tag: u8, read: impl FnOnce(&mut Reader<'a>) -> Option<T>) -> Option<T> {
        read(&mut Reader(self.0.get(&tag)?))
    }

    pub(super) fn boot(&self) -> Option<BootNote> {
        let (open_phases, is_booted, waiting_since) =
            self.get(1, |input| Some((u16::try_from(input.u64()?).ok()?, input.flag()?, input.time()?)))?;
        let shutdown = self.get(2, |input| input.option(Reader::shutdown)).flatten();
        let incidents = self.get(3, |input| Some((input.u64()?, input.option(Reader::incident_id)?)));
        let (last_incident, incident) = incidents.unwrap_or_default();
        let change_incident = self.get(4, |input| input.option(Reader::incident_id)).flatten();
        Some(BootNote {
            open_phases,
            is_booted,
            waiting_since,
            shutdown,
            last_incident,
            incident,
            change_incident,
        })
    }

    pub(super) fn unit(&self, set: &UnitSet) -> Option<UnitNote> {
        let (desired, leaves_dependents) =
            self.get(1, |input| Some((desired_of(input.u8()?)?, input.flag()?)))?;
        let life = self.get(2, |input| Some((input.life(set)?, input.time()?)));
        let (life, since) = life.unwrap_or_else(|| (NotedState::Inactive, Timestamp::default()));
        let starts = self.get(3, |input| Some((input.u32()?, input.times()?, input.u32()?)));
        let (attempt, starts, restarts) = starts.unwrap_or_default();
        let runs = self.get(4, |input| {
            Some((input.option(Reader::run_id)?, input.u32()?, input.option(Reader::exit)?, input.flag()?))
        });
        let (last_run, last_ordinal, last_exit, has_passed) = runs.unwrap_or_default();
        let incident = self.get(5, |input| input.option(Reader::incident_id)).flatten();
        let is_ending = self.get(6, Reader::flag).unwrap_or_default();
        let share = self.get(7, |input| input.share(set)).map(Box::new);
        Some(UnitNote {
            desired,
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
            leaves_dependents,
            is_ending,
            since,
            job: self.get(8, Reader::job).map(Box::new),
        })
    }

    /// Without a root where that is not defined any more; what it brought along may still be in trouble.
    pub(super) fn incident(&self, set: &UnitSet) -> Option<Box<Incident>> {
        let (root, opened, cause, is_complete) = self.get(1, |input| {
            Some((input.option(|input| input.unit(set))?, input.time()?, input.text()?, input.flag()?))
        })?;
        // From before each unit noted its own.
        let noted: BTreeMap<UnitId, Share> = self.get(2, |input| input.shares(set)).unwrap_or_default();
        let told = self.get(3, Reader::told).unwrap_or_default();
        let has_healed = self.get(4, Reader::flag).unwrap_or_default();
        let begun = Incident::new(root.flatten(), opened, cause);
        Some(Box::new(Incident { is_complete, has_healed, noted, told, ..begun }))
    }
}

impl<'a> Reader<'a> {
    pub(super) fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
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

    pub(super) fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.u64()?).ok()
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        self.u64().map(Timestamp)
    }

    pub(super) fn text(&mut self) -> Option<Box<str>> {
        let length = usize::try_from(self.u64()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(Box::from)
    }

    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    /// What follows the known words of a record is a later version's.
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        read(&mut Self(self.bytes()?))
    }

    pub(super) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u64()?;
        (0..count).map(|_| read(self)).collect()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u64()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn times(&mut self) -> Option<Vec<Timestamp>> {
        let count = self.u64()?;
        (0..count).map(|_| self.time()).collect()
    }

    fn incident_id(&mut self) -> Option<IncidentId> {
        self.u64().map(IncidentId)
    }

    fn run_id(&mut self) -> Option<RunId> {
        self.u64().map(RunId)
    }

    fn shutdown(&mut self) -> Option<ShutdownNote> {
        Some(ShutdownNote { since: self.time()?, exit_code: self.u8()? })
    }

    /// `Some(None)`: it is not defined any more.
    fn unit(&mut self, set: &UnitSet) -> Option<Option<UnitId>> {
        self.text().map(|name| set.find(&name))
    }

    fn shares(&mut self, set: &UnitSet) -> Option<BTreeMap<UnitId, Share>> {
        let count = self.u64()?;
        let mut shares = BTreeMap::new();
        for _ in 0..count {
            let mut inner = Reader(self.bytes()?);
            // A unit that is gone has no share; one that is not understood begins anew.
            if let Some(unit) = inner.unit(set)?
                && let Some(share) = inner.share(set)
            {
                shares.insert(unit, share);
            }
        }
        Some(shares)
    }

    fn share(&mut self, set: &UnitSet) -> Option<Share> {
        Some(Share {
            began: self.time()?,
            detected: self.time()?,
            recovered: self.option(Self::time)?,
            rung: u16::try_from(self.u64()?).ok()?,
            step: match self.u8()? {
                0 => Step::Idle,
                1 => Step::Working,
                2 => Step::Settling { until: self.time()?, said: self.text()? },
                3 => {
                    let since = self.time()?;
                    let count = self.u64()?;
                    let left: Option<Vec<Option<UnitId>>> = (0..count).map(|_| self.unit(set)).collect();
                    Step::Others { left: left?.into_iter().flatten().collect(), since }
                }
                4 => Step::Ending,
                5 => Step::Restarting { is_told: self.flag()? },
                6 => Step::Pausing { until: self.time()? },
                _ => return None,
            },
        })
    }

    fn told(&mut self) -> Option<BTreeSet<(Box<str>, Told)>> {
        let count = self.u64()?;
        let told = (0..count).map(|_| {
            let channel = self.text()?;
            let word = match self.u8()? {
                0 => Told::Trouble,
                1 => Told::GaveUp,
                2 => Told::Over,
                3 => Told::Ended,
                _ => return None,
            };
            Some((channel, word))
        });
        told.collect()
    }

    /// As version 2 wrote it.
    pub(super) fn old_boot(&mut self) -> Option<BootNote> {
        Some(BootNote {
            open_phases: u16::try_from(self.u64()?).ok()?,
            is_booted: self.flag()?,
            waiting_since: self.time()?,
            shutdown: self
                .option(|input| Some(ShutdownNote { since: input.time()?, exit_code: input.u8()? }))?,
            last_incident: self.u64()?,
            incident: self.option(|input| input.u64().map(IncidentId))?,
            change_incident: None,
        })
    }

    /// As version 2 wrote it.
    pub(super) fn old_unit(&mut self, set: &UnitSet) -> Option<UnitNote> {
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
            share: None,
            is_ending: false,
            since: self.time()?,
            job: None,
        })
    }

    pub(super) fn exit(&mut self) -> Option<ExitStatus> {
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
            5 => set.find(&self.text()?).map_or(StopReason::Restart, StopReason::Heals),
            6 => StopReason::Change,
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
            3 => FailureCause::StartTimeout("".into()), // of version 2
            4 => FailureCause::Unhealthy(self.text()?),
            5 => FailureCause::StartLimit {
                starts: self.u32()?,
                last: Box::new(self.cause(depth.checked_sub(1)?)?),
            },
            6 => FailureCause::StartTimeout(self.text()?),
            7 => FailureCause::CannotProbe(self.text()?),
            9 => FailureCause::Unkillable,
            10 => FailureCause::RungStopped(Box::new(self.cause(depth.checked_sub(1)?)?)),
            11 => FailureCause::ExitedSilent(self.exit()?),
            12 => FailureCause::Watchdog(self.text()?),
            13 => FailureCause::Job(self.verdict()?),
            _ => return None,
        })
    }
}

/// A start limit holds the cause of the last failure, which is never itself a start limit.
const CAUSE_DEPTH: u8 = 4;
