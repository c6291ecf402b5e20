//! When a job runs and what its runs must prove.

use crate::unit::difference::keys::{name_of, size, time};
use crate::unit::difference::probes::pattern;
use crate::unit::difference::shown::{Shown, map, quoted};
use crate::unit::read::InWords;
use crate::unit::schedule::{Schedule, Timetable};
use crate::unit::spec::UnitSet;
use crate::unit::spec::job::{After, CatchUp, JobSpec, Overlap, PathTrigger, Webhook};
use crate::unit::spec::output::{Content, Count, FileSpec, Keep, OutputSpec, Requirement, Schema, Sought};
use crate::unit::spec::probe::Expression;

pub(super) fn job_keys(job: &JobSpec, set: &UnitSet) -> Vec<(&'static str, Option<Shown>)> {
    let JobSpec {
        timetable,
        every,
        on_boot,
        run_at_load,
        after,
        paths,
        webhook,
        catch_up,
        deadline,
        overlap,
        jitter,
        retries,
        weight,
        output,
    } = job;
    let Timetable { schedules, zone } = timetable;
    let path = |PathTrigger { path, debounce }: &PathTrigger| {
        map([("path", Some(Shown::words(path))), ("debounce", Some(time(*debounce)))])
    };
    let webhook = webhook.as_ref().map(|Webhook { secret_file, per_minute }| {
        map([("secret_file", Some(Shown::words(secret_file))), ("per_minute", Some(Shown::is(per_minute)))])
    });
    vec![
        ("schedule", (!schedules.is_empty()).then(|| slots(schedules))),
        ("timezone", Some(Shown::words(zone.name()))),
        ("every", every.map(time)),
        ("on_boot", Some(Shown::is(on_boot))),
        ("run_at_load", Some(Shown::is(run_at_load))),
        ("after", (!after.is_empty()).then(|| ends(after, set))),
        ("path", (!paths.is_empty()).then(|| Shown::List(paths.iter().map(path).collect()))),
        ("webhook", webhook),
        ("catch_up", Some(made_up(*catch_up))),
        ("deadline", deadline.map(time)),
        ("overlap", Some(beside(*overlap))),
        ("jitter", Some(time(*jitter))),
        ("retries", Some(Shown::is(retries))),
        ("weight", Some(Shown::is(weight))),
        ("output", output.as_deref().map(judged)),
    ]
}

/// Two that run at the same times are the same, however they are written.
fn slots(schedules: &[Schedule]) -> Shown {
    let texts: Vec<String> = schedules.iter().map(|schedule| quoted(schedule.text())).collect();
    let is: Vec<String> = schedules.iter().map(Schedule::canonical).collect();
    Shown::As { is: is.join("\n"), shown: format!("[{}]", texts.join(", ")) }
}

fn ends(after: &[After], set: &UnitSet) -> Shown {
    let end = |After { unit, when, place: _ }: &After| (name_of(*unit, set), Shown::is(when.word()));
    let mut sorted: Vec<(String, Shown)> = after.iter().map(end).collect();
    sorted.sort_by(|(one, _), (two, _)| one.cmp(two));
    Shown::Map(sorted)
}

fn made_up(catch_up: CatchUp) -> Shown {
    match catch_up {
        CatchUp::None => Shown::is("none"),
        CatchUp::Once => Shown::is("once"),
        CatchUp::All { most } => map([("all", Some(Shown::is(&most)))]),
    }
}

fn beside(overlap: Overlap) -> Shown {
    match overlap {
        Overlap::Skip => Shown::is("skip"),
        Overlap::Queue => Shown::is("queue"),
        Overlap::Replace => Shown::is("replace"),
        Overlap::Allow { most } => map([("allow", Some(Shown::is(&most)))]),
    }
}

fn judged(output: &OutputSpec) -> Shown {
    let OutputSpec { source, stream, files, keep } = output;
    let Keep { runs, size_bytes } = keep;
    let file = |FileSpec { path, written, content }: &FileSpec| {
        let own = [("path", Some(Shown::words(path))), ("written", Some(Shown::is(written.in_words())))];
        map(own.into_iter().chain(held(content)))
    };
    let own = [
        ("source", Some(Shown::is(source.in_words()))),
        ("files", (!files.is_empty()).then(|| Shown::List(files.iter().map(file).collect()))),
        ("keep", Some(map([("runs", Some(Shown::is(runs))), ("size", Some(size(*size_bytes)))]))),
    ];
    map(own.into_iter().chain(stream.iter().flat_map(held)))
}

fn held(content: &Content) -> [(&'static str, Option<Shown>); 7] {
    let Content { format, min_size_bytes, max_size_bytes, schema, counts, require } = content;
    let is_text = |count: &&Count| matches!(count.what, Sought::Text(_));
    let (texts, patterns): (Vec<&Count>, Vec<&Count>) = counts.iter().partition(is_text);
    let list = |counts: Vec<&Count>| {
        (!counts.is_empty()).then(|| Shown::List(counts.into_iter().map(counted).collect()))
    };
    let requirement = |Requirement { that: Expression(that), otherwise }: &Requirement| {
        map([("that", Some(Shown::words(that))), ("else", otherwise.as_deref().map(Shown::words))])
    };
    let schema = schema.as_ref().map(|schema| match schema {
        Schema::File(path) => Shown::words(path),
        // JSON is YAML in one line.
        Schema::Inline(json) => Shown::Text(json.to_string()),
    });
    [
        ("format", Some(Shown::is(format.as_str()))),
        ("schema", schema),
        ("min_size", Some(size(*min_size_bytes))),
        ("max_size", Some(size(*max_size_bytes))),
        ("contains", list(texts)),
        ("matches", list(patterns)),
        ("require", (!require.is_empty()).then(|| Shown::List(require.iter().map(requirement).collect()))),
    ]
}

fn counted(count: &Count) -> Shown {
    let Count { what, at_least, at_most, otherwise } = count;
    let what = match what {
        Sought::Text(text) => ("text", Some(Shown::words(text))),
        Sought::Pattern(sought) => ("pattern", pattern(Some(sought))),
    };
    map([
        what,
        ("at_least", Some(Shown::is(at_least))),
        ("at_most", at_most.map(|most| Shown::is(&most))),
        ("else", otherwise.as_deref().map(Shown::words)),
    ])
}
