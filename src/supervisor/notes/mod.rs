//! What the engine must not forget, as bytes that the keeper stores without reading them.
//!
//! A record starts with its version. Those of units, incidents and the boot consist of sections with their
//! lengths: a reader skips sections and ends of sections that it does not know, and takes what is missing
//! for the default, so that an upgrade forgets nothing and a downgrade little. A record that ends too early
//! is forgotten, and nothing else. Compact by hand: a boot of a thousand units writes a few thousand of
//! them in the path that is measured.

mod writer;
mod reader;
mod job;
mod change;
mod codes;

use crate::engine::effect::Note;
use crate::engine::event::{BootNote, ChangeNote, UnitNote};
use crate::engine::id::IncidentId;
use crate::engine::incident::Incident;
use crate::supervisor::notes::change::change_value;
use crate::supervisor::notes::reader::Record;
use crate::supervisor::notes::writer::{Writer, boot_value, incident_value, unit_value};
use crate::unit::name::UnitName;
use crate::unit::spec::UnitSet;

/// One remembered pair, read back.
#[derive(Debug, PartialEq)]
pub(crate) enum Remembered {
    Boot(BootNote),
    Unit(UnitName, UnitNote),
    Incident(IncidentId, Box<Incident>),
    Change(Box<ChangeNote>),
    /// The seal of the units that the boot accepted.
    Accepted(u64),
    /// What a call of a job's webhook brought, by its number.
    Body(UnitName, u64, Vec<u8>),
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
        Note::Incident(number, note) => {
            let value = note.as_ref().map(|note| incident_value(note, set)).unwrap_or_default();
            Some(([INCIDENT_KEY, number.0.to_string().as_bytes()].concat(), value))
        }
        // Without a value a pair is forgotten.
        Note::Gone(name) => Some(([UNIT_KEY, name.as_str().as_bytes()].concat(), Vec::new())),
        Note::Change(note) => {
            Some((CHANGE_KEY.to_vec(), note.as_deref().map(change_value).unwrap_or_default()))
        }
    }
}

/// The pair that keeps event numbers from being given twice.
pub(crate) fn encode_events(below: u64) -> (Vec<u8>, Vec<u8>) {
    let mut out = Writer::plain();
    out.u64(below);
    (EVENTS_KEY.to_vec(), out.0)
}

/// The pair that keeps what a webhook brought; an empty body removes it.
pub(crate) fn encode_body(job: &UnitName, number: u64, body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = [BODY_KEY, number.to_string().as_bytes(), b":", job.as_str().as_bytes()].concat();
    // The byte in front tells it from other records.
    let value = if body.is_empty() { Vec::new() } else { [&[PLAIN], body].concat() };
    (key, value)
}

fn decode_body(key: &[u8], value: &[u8]) -> Option<Remembered> {
    let (number, name) = std::str::from_utf8(key.strip_prefix(BODY_KEY)?).ok()?.split_once(':')?;
    let body = value.strip_prefix(&[PLAIN])?.to_vec();
    Some(Remembered::Body(UnitName::new(name).ok()?, number.parse().ok()?, body))
}

/// The pair that ties the file of accepted units to this boot.
pub(crate) fn encode_accepted(seal: u64) -> (Vec<u8>, Vec<u8>) {
    let mut out = Writer::plain();
    out.u64(seal);
    (ACCEPTED_KEY.to_vec(), out.0)
}

/// The seal, where this pair is it.
pub(crate) fn decode_accepted(key: &[u8], value: &[u8]) -> Option<u64> {
    (key == ACCEPTED_KEY).then_some(())?;
    match Record::open(value)? {
        Record::Plain(mut input) => input.u64(),
        Record::Sectioned(_) => None,
    }
}

/// The change under way, where this pair is its note.
pub(crate) fn decode_change(key: &[u8], value: &[u8]) -> Option<ChangeNote> {
    (key == CHANGE_KEY).then_some(())?;
    match Record::open(value)? {
        Record::Plain(_) => None,
        Record::Sectioned(sections) => sections.change().map(|note| *note),
    }
}

/// The pair that says: all that lived is in this keeper's table. A keeper without it was left half filled.
pub(crate) fn encode_whole() -> (Vec<u8>, Vec<u8>) {
    (WHOLE_KEY.to_vec(), Writer::plain().0)
}

pub(crate) fn is_whole(key: &[u8]) -> bool {
    key == WHOLE_KEY
}

/// `None`: not ours, a version nobody knows, or damaged.
pub(crate) fn decode(key: &[u8], value: &[u8], set: &UnitSet) -> Option<Remembered> {
    if key.starts_with(BODY_KEY) {
        return decode_body(key, value);
    }
    let unit_name = || UnitName::new(std::str::from_utf8(key.strip_prefix(UNIT_KEY)?).ok()?).ok();
    match Record::open(value)? {
        Record::Plain(mut input) => {
            let remembered = if key == BOOT_KEY {
                Remembered::Boot(input.old_boot()?)
            } else if key == ACCEPTED_KEY {
                Remembered::Accepted(input.u64()?)
            } else if key == EVENTS_KEY {
                Remembered::Events(input.u64()?)
            } else {
                Remembered::Unit(unit_name()?, input.old_unit(set)?)
            };
            input.0.is_empty().then_some(remembered)
        }
        Record::Sectioned(sections) => {
            if key == BOOT_KEY {
                return sections.boot().map(Remembered::Boot);
            }
            if key == CHANGE_KEY {
                return sections.change().map(Remembered::Change);
            }
            if let Some(number) = key.strip_prefix(INCIDENT_KEY) {
                let number = std::str::from_utf8(number).ok()?.parse().ok()?;
                return Some(Remembered::Incident(IncidentId(number), sections.incident(set)?));
            }
            Some(Remembered::Unit(unit_name()?, sections.unit(set)?))
        }
    }
}

/// One value after the other, nothing between them.
const PLAIN: u8 = 2;
const SECTIONED: u8 = 3;
const BOOT_KEY: &[u8] = b"boot";
const EVENTS_KEY: &[u8] = b"events";
const ACCEPTED_KEY: &[u8] = b"accepted";
const CHANGE_KEY: &[u8] = b"change";
const WHOLE_KEY: &[u8] = b"whole";
const UNIT_KEY: &[u8] = b"unit:";
const BODY_KEY: &[u8] = b"body:";
const INCIDENT_KEY: &[u8] = b"incident:";

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::codes::{
        run_end_code, run_end_of, run_stage_code, run_stage_of, stage_code, stage_of, step_code, step_of,
    };
    use super::*;
    use crate::engine::event::{
        DueNote, ExitStatus, JobNote, JobPast, JobRunNote, JobVerdict, RunEnd, ShutdownNote, SpawnFailure,
        SpawnStep, Trigger,
    };
    use crate::engine::id::{RunId, UnitId};
    use crate::engine::incident::{Share, Told};
    use crate::engine::ladder::Step;
    use crate::engine::state::{Desired, DownSource, FailureCause, NotedState, StopReason, StopStage};
    use crate::engine::time::{Timestamp, WallTime};
    use crate::unit::spec::SignalNumber;

    pub(super) fn empty_set() -> UnitSet {
        UnitSet {
            units: Vec::new(),
            sorted: 0,
            phases: vec!["main".into()],
            boot_timeout: std::time::Duration::ZERO,
            shutdown_timeout: std::time::Duration::ZERO,
            log_total_bytes: 0,
            alerts: Vec::new(),
            concurrency: None,
            hooks: None,
            heartbeat: None,
            changes: crate::unit::spec::changes::Changes::default(),
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
            share: None,
            is_ending: true,
            since: Timestamp(123_456_789_012),
            job: None,
        }
    }

    fn lives() -> Vec<NotedState> {
        let failure = SpawnFailure { step: SpawnStep::Chdir, errno: 2, cause: "no such place".into() };
        let causes = vec![
            FailureCause::SpawnFailed(failure),
            FailureCause::ExitedEarly(ExitStatus::Code(3)),
            FailureCause::Exited(ExitStatus::Unknown),
            FailureCause::StartTimeout("wrong answer".into()),
            FailureCause::Unhealthy("connection refused".into()),
            FailureCause::CannotProbe("too many open files".into()),
            FailureCause::Watchdog("silent".into()),
            FailureCause::ExitedSilent(ExitStatus::Code(0)),
            FailureCause::Unkillable,
            FailureCause::Job(JobVerdict::Rejected("2 trends, wanted >= 3".into())),
            FailureCause::RungStopped(Box::new(FailureCause::Watchdog("silent".into()))),
            FailureCause::StartLimit { starts: 5, last: Box::new(FailureCause::Watchdog("silent".into())) },
        ];
        let mut lives = vec![
            NotedState::Inactive,
            NotedState::Starting,
            NotedState::Ready,
            NotedState::Unhealthy,
            NotedState::Backoff { after: FailureCause::Watchdog("silent".into()), until: Timestamp(5) },
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
            change_incident: Some(IncidentId(9)),
        };
        assert_eq!(decode(BOOT_KEY, &boot_value(&boot), &set), Some(Remembered::Boot(boot)));
    }

    fn job_of(verdict: JobVerdict, trigger: Trigger, end: Option<RunEnd>) -> JobNote {
        let due = DueNote { trigger, since: Timestamp(5), attempt: 2, not_before: Timestamp(300) };
        let runs = (0..=u8::MAX).filter_map(run_stage_of).zip(1..).map(|(stage, run)| {
            let note = JobRunNote { due: due.clone(), ordinal: 7, stage, deadline: Some(Timestamp(8)), end };
            (RunId(run), note)
        });
        JobNote {
            past: JobPast {
                last_slot: WallTime(u64::MAX),
                verdict: Some(verdict),
                streak: 300,
                timetable: 1,
                last_start: WallTime(2),
                last_ordinal: 3,
            },
            last_start: Some(Timestamp(3)),
            seen: vec![UnitName::new("create").unwrap(), UnitName::new("format@2").unwrap()],
            waiting: vec![due.clone(), due.clone()],
            last_run: Some(RunId(300)),
            runs: runs.collect(),
        }
    }

    fn jobs() -> Vec<JobNote> {
        let ends = [RunEnd::TimedOut, RunEnd::Replaced, RunEnd::Down];
        let mut verdicts = vec![
            JobVerdict::Passed,
            JobVerdict::Rejected("2 trends, wanted >= 3".into()),
            JobVerdict::Failed(ExitStatus::Signal { signal: SignalNumber::KILL, dumped_core: false }),
            JobVerdict::NotStarted("cannot start: exec".into()),
            JobVerdict::TimedOut(std::time::Duration::from_millis(1500)),
            JobVerdict::NotJudged("the judge died".into()),
            JobVerdict::Missed("a slot in the last 2h".into()),
        ];
        verdicts.extend(ends.map(JobVerdict::Cancelled));
        let triggers = vec![
            Trigger::Slot(WallTime(1_800_000_000_000_000_000)),
            Trigger::Every,
            Trigger::Boot,
            Trigger::Load,
            Trigger::After(UnitName::new("create").unwrap()),
            Trigger::Path("inbox/*.csv".into()),
            Trigger::Webhook(77),
            Trigger::Operator,
        ];
        let ends: Vec<Option<RunEnd>> = ends.into_iter().map(Some).chain([None]).collect();
        let count = verdicts.len().max(triggers.len()).max(ends.len());
        let parts =
            verdicts.into_iter().cycle().zip(triggers.into_iter().cycle()).zip(ends.into_iter().cycle());
        let mut jobs: Vec<JobNote> =
            parts.take(count).map(|((verdict, trigger), end)| job_of(verdict, trigger, end)).collect();
        jobs.push(JobNote::default());
        jobs
    }

    #[test]
    fn every_note_of_a_job_comes_back_as_it_was_and_a_torn_one_never_half() {
        let set = empty_set();
        for job in jobs() {
            let before = UnitNote { job: Some(Box::new(job)), ..note(NotedState::Ready) };
            let value = unit_value(&before, &set);
            for length in 0..value.len() {
                assert_eq!(decode(b"unit:trends", &value[..length], &set), None);
            }
            let after = Remembered::Unit(UnitName::new("trends").unwrap(), before);
            assert_eq!(decode(b"unit:trends", &value, &set), Some(after));
        }
    }

    #[test]
    fn every_code_means_what_was_encoded() {
        for code in 0..=u8::MAX {
            assert!(run_stage_of(code).is_none_or(|stage| run_stage_code(stage) == code));
            assert!(run_end_of(code).is_none_or(|end| run_end_code(end) == code));
            assert!(stage_of(code).is_none_or(|stage| stage_code(stage) == code));
            assert!(step_of(code).is_none_or(|step| step_code(step) == code));
        }
        let codes = |known: fn(u8) -> bool| (0..=u8::MAX).filter(|code| known(*code)).count();
        assert_eq!((codes(|code| stage_of(code).is_some()), codes(|code| step_of(code).is_some())), (6, 23));
        let of_runs = (codes(|code| run_stage_of(code).is_some()), codes(|code| run_end_of(code).is_some()));
        assert_eq!(of_runs, (7, 3));
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

    fn set_of(names: &[&str]) -> UnitSet {
        let unit = |name: &&str| crate::sim::profile::plain(UnitName::new(name).unwrap());
        UnitSet { units: names.iter().map(unit).collect(), sorted: names.len(), ..empty_set() }
    }

    fn incident() -> Incident {
        Incident {
            root: Some(UnitId(0)),
            opened: Timestamp(77),
            cause: "unhealthy".into(),
            is_complete: false,
            has_healed: true,
            affected: BTreeSet::new(),
            noted: BTreeMap::new(),
            reached: BTreeSet::new(),
            told: BTreeSet::from([("ops".into(), Told::Trouble), ("".into(), Told::GaveUp)]),
        }
    }

    fn steps() -> Vec<Step> {
        vec![
            Step::Idle,
            Step::Working,
            Step::Settling { until: Timestamp(4), said: "exited with 1".into() },
            Step::Others { left: BTreeSet::from([UnitId(1)]), since: Timestamp(8) },
            Step::Ending,
            Step::Restarting { is_told: true },
            Step::Pausing { until: Timestamp(5) },
        ]
    }

    #[test]
    fn the_body_of_a_call_comes_back_as_it_was() {
        let name = UnitName::new("format@2").unwrap();
        for body in [vec![0], b"{\"a\": 1}".to_vec(), vec![255; 1 << 20]] {
            let (key, value) = encode_body(&name, u64::MAX, &body);
            let after = Remembered::Body(name.clone(), u64::MAX, body);
            assert_eq!(decode(&key, &value, &empty_set()), Some(after));
        }
        assert_eq!(encode_body(&name, 7, &[]).1, Vec::<u8>::new(), "an empty value removes a note");
    }

    #[test]
    fn every_incident_comes_back_as_it_was() {
        let set = set_of(&["a"]);
        for before in [incident(), Incident { root: None, ..incident() }] {
            let note = Note::Incident(IncidentId(12), Some(Box::new(before.clone())));
            let (key, value) = encode(&note, &set).unwrap();
            let after = Remembered::Incident(IncidentId(12), Box::new(before));
            assert_eq!(decode(&key, &value, &set), Some(after));
        }
        let (key, value) = encode(&Note::Incident(IncidentId(12), None), &set).unwrap();
        assert_eq!((key.as_slice(), value.len()), (&b"incident:12"[..], 0), "an empty value removes a note");
    }

    #[test]
    fn where_a_unit_stands_in_its_incident_comes_back_as_it_was() {
        let set = set_of(&["a", "b"]);
        for (recovered, step) in [None, Some(Timestamp(9))].into_iter().cycle().zip(steps()) {
            let share = Share { began: Timestamp(1), detected: Timestamp(300), recovered, rung: 3, step };
            let before = UnitNote { share: Some(Box::new(share)), ..note(NotedState::Ready) };
            let (key, value) = encode(&Note::Unit(UnitId(1), Box::new(before.clone())), &set).unwrap();
            let after = Remembered::Unit(UnitName::new("b").unwrap(), before);
            assert_eq!(decode(&key, &value, &set), Some(after));
        }
    }

    #[test]
    fn an_incident_whose_root_is_gone_is_still_known() {
        let note = Note::Incident(IncidentId(1), Some(Box::new(incident())));
        let (key, value) = encode(&note, &set_of(&["a"])).unwrap();
        let left = Incident { root: None, ..incident() };
        let expected = Remembered::Incident(IncidentId(1), Box::new(left));
        assert_eq!(decode(&key, &value, &empty_set()), Some(expected));
    }

    /// Bytes from before each unit noted its own share: of root "a" and of "b", which is gone.
    #[test]
    fn shares_that_their_incident_noted_are_still_read() {
        let bytes = [
            &[3, 31, 1, 7, 1, 1, b'a', 77, 1, b'x', 1, 2, 17, 2][..],
            &[7, 1, b'a', 1, 2, 0, 3, 0, 7, 1, b'b', 1, 2, 0, 3, 1, 3, 1, 0],
        ];
        let set = set_of(&["a"]);
        let Some(Remembered::Incident(_, read)) = decode(b"incident:4", &bytes.concat(), &set) else {
            panic!("it is not read");
        };
        let (began, detected) = (Timestamp(1), Timestamp(2));
        let share = Share { began, detected, recovered: None, rung: 3, step: Step::Idle };
        assert_eq!(read.noted, BTreeMap::from([(UnitId(0), share)]));
        assert_eq!((read.root, read.opened, &*read.cause), (Some(UnitId(0)), Timestamp(77), "x"));
    }

    /// Bytes that version 2 wrote. They must be read for as long as somebody may upgrade from it.
    #[test]
    fn notes_of_version_2_are_still_read() {
        let mut bytes = vec![2, 11, 1, 5, 4, 7];
        bytes.extend_from_slice(b"refused");
        bytes.extend([5, 0xac, 2, 2, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 7, 1, 9, 4]);
        bytes.extend([1, 1, 9, 1, 1, 1, 3, 0x94, 0xb4, 0xe4, 0xf4, 0xcb, 0x3]);
        let after = FailureCause::Unhealthy("refused".into());
        let now = note(NotedState::Backoff { after, until: Timestamp(5) });
        let expected = UnitNote { is_ending: false, ..now }; // it did not remember that
        let redis = UnitName::new("redis").unwrap();
        assert_eq!(decode(b"unit:redis", &bytes, &empty_set()), Some(Remembered::Unit(redis, expected)));
        let boot = [2, 3, 1, 4, 1, 5, 6, 7, 1, 8];
        let expected = BootNote {
            open_phases: 3,
            is_booted: true,
            waiting_since: Timestamp(4),
            shutdown: Some(ShutdownNote { since: Timestamp(5), exit_code: 6 }),
            last_incident: 7,
            incident: Some(IncidentId(8)),
            change_incident: None,
        };
        assert_eq!(decode(BOOT_KEY, &boot, &empty_set()), Some(Remembered::Boot(expected)));
        assert_eq!(decode(EVENTS_KEY, &[2, 0x80, 1], &empty_set()), Some(Remembered::Events(128)));
    }

    /// What a later version may add: sections, and words at the end of one.
    #[test]
    fn what_a_later_version_adds_is_skipped_and_what_it_means_otherwise_is_not_guessed() {
        let set = empty_set();
        let stopped = [1, 3, 11, 1, 99]; // operator's stop, and a byte nobody knows
        let unknown_life = [2, 2, 200, 0];
        let unknown_section = [77, 4, 1, 2, 3, 4];
        let body = [&stopped[..], &unknown_life, &unknown_section].concat();
        let bytes = [&[3, u8::try_from(body.len()).unwrap()][..], &body].concat();
        let Some(Remembered::Unit(_, note)) = decode(b"unit:redis", &bytes, &set) else {
            panic!("an operator's stop was forgotten");
        };
        assert_eq!(note.desired, Desired::Down(DownSource::Operator));
        assert_eq!((note.life, note.starts.len(), note.incident), (NotedState::Inactive, 0, None));
        assert_eq!(decode(b"unit:redis", &[4, 0], &set), None, "a version nobody knows");
    }
}
