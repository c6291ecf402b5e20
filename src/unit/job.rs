//! Keys of jobs: when they run, what becomes of slots that were missed, how runs stand to each other.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::unit::check;
use crate::unit::diagnostic::{Diagnostic, Place};
use crate::unit::file::UnitFile;
use crate::unit::names::Directory;
use crate::unit::output::lower_output;
use crate::unit::read::{At, FromYaml, Reader, counts, mapping, words};
use crate::unit::schedule::{Schedule, Timetable, Zone};
use crate::unit::spec::job::{After, AfterEnd, CatchUp, JobSpec, Overlap};
use crate::unit::value::Word;
use crate::unit::yaml::{Node, Style, Value};

/// Catching up more runs than this helps nobody.
const MOST_CAUGHT_UP: u32 = 100;
/// Runs of one job beside each other, where it does not say how many.
const ALLOWED: u32 = 4;
const MOST_ALLOWED: i64 = 100;
const MOST_RETRIES: i64 = 100;
const MOST_WEIGHT: i64 = 1_000_000;
const LEAST_EVERY: Duration = Duration::from_secs(1);

impl FromYaml for Schedule {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let scalar = reader.scalar(node, "a schedule such as `0 6 * * *`, or `@daily`")?;
        let text = scalar.text.as_ref();
        match Self::parse(text) {
            Ok(schedule) => Some(schedule),
            Err(errors) => {
                for error in errors {
                    let place = part_of(node.place, scalar.style, text, &error.at);
                    reader.report(Diagnostic::error("bad-schedule", place, error.message).help(error.help));
                }
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// The place of some bytes of a text; all of it where escapes or folds move them.
fn part_of(place: Place, style: Style, text: &str, at: &std::ops::Range<usize>) -> Place {
    let length = usize::try_from(place.end.saturating_sub(place.start)).unwrap_or(0);
    let before = match style {
        Style::Plain if length == text.len() => 0,
        Style::Quoted if length == text.len().saturating_add(2) => 1,
        Style::Plain | Style::Quoted | Style::Block => return place,
    };
    let byte = |at: usize| u32::try_from(at.saturating_add(before)).unwrap_or(0).saturating_add(place.start);
    Place { start: byte(at.start), end: byte(at.end), ..place }
}

impl FromYaml for Zone {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let Word(name) = Word::read(node, reader)?;
        match Self::named(&name) {
            Ok(zone) => Some(zone),
            Err(unknown) => {
                reader.bad_value(node.place, unknown.message, &unknown.help);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// `every`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval(pub(crate) Duration);

impl FromYaml for Interval {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        let every = Duration::read(node, reader)?;
        if every < LEAST_EVERY {
            reader.bad_value(node.place, "a job runs every second at most", "write `1s` or more");
            return None;
        }
        Some(Self(every))
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

counts! {
    /// `retries`.
    Repeats: 0, MOST_RETRIES;
    /// `weight` and `concurrency`.
    Weight: 1, MOST_WEIGHT;
    /// How many at once.
    AtOnce: 2, MOST_ALLOWED;
    /// How many are made up for.
    MadeUp: 1, 100;
}

mapping! {
    /// A run for each slot.
    CatchUpMap {
        /// For the newest so many; 1 to 100.
        [required] all: MadeUp;
    }
}

impl FromYaml for CatchUp {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Some(Self::All { most: CatchUpMap::read(node, reader)?.all?.value.0 }),
            Value::Scalar(_) | Value::List(_) => {
                let all = Self::All { most: MOST_CAUGHT_UP };
                reader.word(node, &[("none", Self::None), ("once", Self::Once), ("all", all)])
            }
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"enum": ["none", "once", "all"]}, CatchUpMap::schema()]})
    }
}

mapping! {
    /// Runs beside each other.
    OverlapMap {
        /// At most so many; 2 to 100.
        [required] allow: AtOnce;
    }
}

impl FromYaml for Overlap {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Some(Self::Allow { most: OverlapMap::read(node, reader)?.allow?.value.0 }),
            Value::Scalar(_) | Value::List(_) => reader.word(
                node,
                &[
                    ("skip", Self::Skip),
                    ("queue", Self::Queue),
                    ("replace", Self::Replace),
                    ("allow", Self::Allow { most: ALLOWED }),
                ],
            ),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"enum": ["skip", "queue", "replace", "allow"]}, OverlapMap::schema()]})
    }
}

words!(AfterEnd { "succeeded" => Self::Succeeded, "failed" => Self::Failed, "finished" => Self::Finished });

/// Whose end starts a run, in the order written.
#[derive(Clone, Debug, Default)]
pub(crate) struct AfterFile(pub(crate) Vec<(Box<str>, Place, AfterEnd)>);

impl FromYaml for AfterFile {
    fn read(node: &Node<'_>, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => {
                let after = entries.iter().filter_map(|entry| {
                    let end = At::<AfterEnd>::entry(entry, reader)?.value;
                    Some((entry.key.as_ref().into(), entry.key_place, end))
                });
                Some(Self(after.collect()))
            }
            Value::List(_) | Value::Scalar(_) => {
                let names = Vec::<At<Word>>::read(node, reader)?;
                let succeeded = |name: At<Word>| (name.value.0, name.place, AfterEnd::Succeeded);
                Some(Self(names.into_iter().map(succeeded).collect()))
            }
        }
    }

    fn schema() -> Json {
        let names = Vec::<At<Word>>::schema();
        json!({"anyOf": [names, {"type": "object", "additionalProperties": AfterEnd::schema()}]})
    }
}

/// All that a job says of when it runs, but whose end starts it.
pub(super) fn lower(unit: &UnitFile) -> JobSpec {
    let schedules = unit.schedule.iter().flat_map(|several| &several.value.0);
    let paths = unit.path.iter().flat_map(|several| &several.value.0);
    JobSpec {
        timetable: Timetable {
            schedules: schedules.map(|schedule| schedule.value.clone()).collect(),
            zone: unit.timezone.as_ref().map_or(Zone::UTC, |zone| zone.value.clone()),
        },
        every: unit.every.as_ref().map(|every| every.value.0),
        on_boot: unit.on_boot.as_ref().is_some_and(|flag| flag.value),
        run_at_load: unit.run_at_load.as_ref().is_some_and(|flag| flag.value),
        after: Vec::new(),
        paths: paths.map(|path| path.value.0.clone()).collect(),
        webhook: unit.webhook.as_ref().and_then(|webhook| webhook.value.lower()),
        catch_up: unit.catch_up.as_ref().map_or(CatchUp::Once, |catch_up| catch_up.value),
        deadline: unit.deadline.as_ref().map(|deadline| deadline.value),
        overlap: unit.overlap.as_ref().map_or(Overlap::Skip, |overlap| overlap.value),
        jitter: unit.jitter.as_ref().map_or(Duration::ZERO, |jitter| jitter.value),
        retries: unit.retries.as_ref().map_or(0, |retries| retries.value.0),
        weight: unit.weight.as_ref().map_or(1, |weight| weight.value.0),
        output: unit.output.as_ref().map(|output| Box::new(lower_output(&output.value))),
    }
}

/// The names in `after` as ids.
pub(super) fn after(
    at: usize,
    unit: &UnitFile,
    directory: &Directory,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<After> {
    let mut found: Vec<After> = Vec::new();
    for (name, place, when) in unit.after.iter().flat_map(|after| &after.value.0) {
        let units = directory.resolve(name, *place, diagnostics);
        if units.iter().any(|unit| directory.is_copy_of(*unit, at)) {
            diagnostics.push(check::names_itself("runs after", name, *place));
            continue;
        }
        if let Some(earlier) = found.iter().find(|after| units.contains(&after.unit)) {
            diagnostics.push(check::named_twice(name, *place, earlier.place));
            continue;
        }
        if let Some(target) = units.first().and_then(|unit| directory.draft_of(*unit))
            && let Some(endless) = check::endless(name, *place, target)
        {
            diagnostics.push(endless);
            continue;
        }
        found.extend(units.into_iter().map(|unit| After { unit, when: *when, place: *place }));
    }
    found
}
