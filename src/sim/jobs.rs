//! Jobs among what a seed draws. From [`JOBS_FROM`] on only, and with draws of their own: an earlier seed means the
//! same life as before there were jobs.

use std::time::Duration;

use crate::engine::event::{Ask, ExitStatus, Judgement};
use crate::engine::time::{Pretty, Timestamp};
use crate::sim::actor::Trait;
use crate::sim::command::Command;
use crate::sim::parse::{CANNOT, REJECTED};
use crate::sim::profile::{Profile, plain};
use crate::sim::random::Random;
use crate::unit::diagnostic::Place;
use crate::unit::name::UnitName;
use crate::unit::schedule::{Schedule, Timetable, Zone};
use crate::unit::spec::job::{After, AfterEnd, CatchUp, JobSpec, Overlap};
use crate::unit::spec::output::{Keep, OutputSpec, Source};
use crate::unit::spec::recover::Ladder;
use crate::unit::spec::{
    Condition, Dependency, Follow, PhaseId, RestartPolicy, UnitId, UnitKind, UnitSet, UnitSpec,
};

/// Seeds from here on have jobs.
pub const JOBS_FROM: u64 = 1_000_000;

/// The most that all runs may weigh, of sets that say so.
const CONCURRENCY: u32 = 3;

/// Behind the units that there are: their numbers stay.
pub(super) fn add(set: &mut UnitSet, random: &mut Random) {
    set.concurrency = random.chance(400).then_some(CONCURRENCY);
    for at in 0..random.between(1, 5) {
        let Ok(name) = UnitName::new(&format!("x{at:02}")) else { continue };
        let job = job(name, set, random);
        set.units.push(job);
        set.sorted = set.units.len(); // no name of the others comes after these
    }
}

fn job(name: UnitName, set: &UnitSet, random: &mut Random) -> UnitSpec {
    let phases = u64::try_from(set.phases.len()).unwrap_or(1);
    let phase = PhaseId(u16::try_from(random.below(phases)).unwrap_or(0));
    let mut unit = plain(name);
    unit.kind = UnitKind::Job;
    unit.phase = phase;
    unit.blocks_phase = false;
    unit.recover = Ladder::empty();
    unit.restart.policy = RestartPolicy::Never;
    unit.start_timeout = Some(random.millis(1000, 60_000));
    unit.stop.grace = random.millis(0, 8000);
    unit.depends_on = needs(set, phase, random);
    let overlaps = [Overlap::Skip, Overlap::Queue, Overlap::Replace, Overlap::Allow { most: 2 }];
    let catch_ups = [CatchUp::None, CatchUp::Once, CatchUp::All { most: 4 }];
    let output =
        OutputSpec { source: Source::Stdout, stream: None, files: Vec::new(), keep: Keep::default() };
    unit.job = Some(Box::new(JobSpec {
        timetable: Timetable { schedules: schedules(random), zone: Zone::UTC },
        every: random.chance(400).then(|| random.millis(1000, 60_000)),
        on_boot: random.chance(400),
        run_at_load: random.chance(150),
        after: after(set, random),
        paths: Vec::new(),
        webhook: None,
        catch_up: random.pick(&catch_ups).copied().unwrap_or(CatchUp::Once),
        deadline: random.chance(300).then(|| random.millis(1000, 120_000)),
        overlap: random.pick(&overlaps).copied().unwrap_or(Overlap::Skip),
        jitter: if random.chance(300) { random.millis(0, 10_000) } else { Duration::ZERO },
        retries: u32::try_from(random.below(4)).unwrap_or(0),
        weight: u32::try_from(random.between(1, u64::from(CONCURRENCY))).unwrap_or(1),
        output: random.chance(700).then(|| Box::new(output)),
    }));
    unit
}

pub(super) fn schedules(random: &mut Random) -> Vec<Schedule> {
    let texts: &[&str] = &["* * * * *", "*/5 * * * *", "*/20 * * * * *", "@hourly"];
    let drawn = random.pick(texts).filter(|_| random.chance(600));
    drawn.and_then(|text| Schedule::parse(text).ok()).into_iter().collect()
}

/// An earlier unit, of a phase that comes first.
fn needs(set: &UnitSet, phase: PhaseId, random: &mut Random) -> Vec<Dependency> {
    let at = random.below(u64::try_from(set.units.len()).unwrap_or(0));
    let Some(target) = usize::try_from(at).ok().and_then(|at| set.units.get(at)) else { return Vec::new() };
    if target.phase > phase || random.chance(600) {
        return Vec::new();
    }
    let condition = match target.kind {
        UnitKind::Task | UnitKind::Job => Condition::Completed,
        UnitKind::Service | UnitKind::External | UnitKind::Gate => Condition::Started,
    };
    let unit = UnitId(u32::try_from(at).unwrap_or(0));
    let required = random.chance(700);
    vec![Dependency { unit, condition, required, follow: Follow::None, place: Place::default() }]
}

fn after(set: &UnitSet, random: &mut Random) -> Vec<After> {
    let ends = [AfterEnd::Succeeded, AfterEnd::Succeeded, AfterEnd::Failed, AfterEnd::Finished];
    let mut found = Vec::new();
    for (id, unit) in set.ids().zip(&set.units) {
        if matches!(unit.kind, UnitKind::Task | UnitKind::Job) && random.chance(250) {
            let when = random.pick(&ends).copied().unwrap_or(AfterEnd::Succeeded);
            found.push(After { unit: id, when, place: Place::default() });
        }
    }
    found
}

/// What happens to jobs besides what happens to all.
pub(super) fn chaos(profile: &Profile, set: &UnitSet, random: &mut Random) -> Vec<(Timestamp, Command)> {
    let jobs: Vec<&UnitSpec> = set.units.iter().filter(|unit| unit.kind == UnitKind::Job).collect();
    let millis = u64::try_from(profile.chaos.as_millis()).unwrap_or(u64::MAX);
    let mut commands = Vec::new();
    for _ in 0..random.between(2, 30) {
        let Some(job) = random.pick(&jobs) else { break };
        let at = Timestamp(0).after(Duration::from_millis(random.between(0, millis)));
        let unit = job.name.clone();
        let behave = |what| Command::Behave { unit: unit.clone(), what };
        commands.push((
            at,
            match random.below(10) {
                0 | 1 => Command::Ask(Ask::Run { units: vec![unit], wait: random.chance(700) }),
                2 => behave(Trait::Judge(Some(Judgement::Rejected(REJECTED.into())))),
                3 => behave(Trait::Judge(Some(Judgement::NotJudged(CANNOT.into())))),
                4 => behave(Trait::Judge(None)),
                5 => behave(Trait::Judge(Some(Judgement::Holds))),
                6 => behave(Trait::Ends(Some((random.millis(0, 90_000), ExitStatus::Code(0))))),
                7 => behave(Trait::Ends(Some((random.millis(0, 30_000), ExitStatus::Code(1))))),
                8 => behave(Trait::Ends(None)),
                _ => Command::Clock { forward: random.chance(600), by: random.millis(1000, 100_000_000) },
            },
        ));
    }
    commands
}

/// As a unit file has them.
pub(super) fn yaml(job: &JobSpec, set: &UnitSet) -> Vec<String> {
    let mut keys = Vec::new();
    let schedules: Vec<&str> = job.timetable.schedules.iter().map(Schedule::text).collect();
    if !schedules.is_empty() {
        keys.push(format!("schedule: {schedules:?}"));
    }
    keys.extend(job.every.map(|every| format!("every: {}", Pretty(every))));
    for (name, is_set) in [("on_boot", job.on_boot), ("run_at_load", job.run_at_load)] {
        keys.extend(is_set.then(|| format!("{name}: true")));
    }
    let after = |after: &After| {
        let end = match after.when {
            AfterEnd::Succeeded => "succeeded",
            AfterEnd::Failed => "failed",
            AfterEnd::Finished => "finished",
        };
        Some(format!("{}: {end}", set.unit(after.unit)?.name))
    };
    if !job.after.is_empty() {
        keys.push(format!(
            "after: {{{}}}",
            job.after.iter().filter_map(after).collect::<Vec<_>>().join(", ")
        ));
    }
    keys.push(match job.catch_up {
        CatchUp::None => "catch_up: none".to_owned(),
        CatchUp::Once => "catch_up: once".to_owned(),
        CatchUp::All { most } => format!("catch_up: {{all: {most}}}"),
    });
    keys.push(match job.overlap {
        Overlap::Skip => "overlap: skip".to_owned(),
        Overlap::Queue => "overlap: queue".to_owned(),
        Overlap::Replace => "overlap: replace".to_owned(),
        Overlap::Allow { most } => format!("overlap: {{allow: {most}}}"),
    });
    keys.extend(job.deadline.map(|deadline| format!("deadline: {}", Pretty(deadline))));
    keys.push(format!("jitter: {}", Pretty(job.jitter)));
    keys.push(format!("retries: {}", job.retries));
    keys.push(format!("weight: {}", job.weight));
    keys.extend(job.output.is_some().then(|| "output: {contains: x}".to_owned()));
    keys
}
