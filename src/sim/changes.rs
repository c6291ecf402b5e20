//! Changes of definitions among what a seed draws. From [`CHANGES_FROM`] on only, and with draws of their own: an
//! earlier seed means the same life as before there were changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::event::{Ask, ChangeRules};
use crate::engine::time::Timestamp;
use crate::sim::actor::Trait;
use crate::sim::command::Command;
use crate::sim::jobs;
use crate::sim::profile::{self, Profile};
use crate::sim::random::Random;
use crate::unit::name::UnitName;
use crate::unit::spec::recover::Rung;
use crate::unit::spec::{
    Condition, Follow, PhaseId, Ready, RestartSpec, Template, UnitId, UnitKind, UnitSet, UnitSpec,
};

/// Seeds from here on have changes, and odd ones of them jobs as well.
pub const CHANGES_FROM: u64 = 2_000_000;

/// Other definitions by the name that `change NAME` calls them.
pub type Candidates = Vec<(Box<str>, Arc<UnitSet>)>;

/// Each a few edits away from the one before, or from the first; sometimes the first itself is one of them.
pub(super) fn candidates(profile: &Profile, set: &UnitSet, random: &mut Random) -> Candidates {
    let mut candidates = Candidates::new();
    let mut last = set.clone();
    for at in 1..=random.between(1, 4) {
        let mut next = if random.chance(300) { set.clone() } else { last };
        for _ in 0..random.between(1, 4) {
            edit(&mut next, profile, at, random);
        }
        next = next.fingerprinted();
        candidates.push((at.to_string().into(), Arc::new(next.clone())));
        last = next;
    }
    if random.chance(400) {
        candidates.push(("0".into(), Arc::new(set.clone())));
    }
    candidates
}

/// One thing that a person might do to a directory. What does not fit the unit that was drawn is left undone.
fn edit(set: &mut UnitSet, profile: &Profile, generation: u64, random: &mut Random) {
    let count = u64::try_from(set.units.len()).unwrap_or(1);
    let Ok(at) = usize::try_from(random.below(count)) else { return };
    let what = random.below(20);
    // What is one of several instances of a file is not edited alone.
    let is_instance = set.units.get(at).is_some_and(|unit| unit.instance.is_some());
    if is_instance && !(14..=15).contains(&what) {
        return;
    }
    match what {
        0..3 => alter_command(set, at, random),
        3..5 => alter_live(set, at, random),
        5 => alter_health(set, at, random),
        6 => alter_stop(set, at, random),
        7 => toggle(set, at, random),
        8 => move_to_phase(set, at, random),
        9 => alter_phases(set, generation, random),
        10 => {
            if let Some(unit) = set.units.get_mut(at) {
                let edges = u64::try_from(unit.depends_on.len()).unwrap_or(0);
                let edge = usize::try_from(random.below(edges)).unwrap_or(0);
                if edge < unit.depends_on.len() {
                    unit.depends_on.remove(edge);
                }
            }
        }
        11 | 12 => add_edge(set, at, random),
        13 => alter_edge(set, at, random),
        14 | 15 => {
            if let (Ok(gone), 2..) = (u32::try_from(at), set.units.len()) {
                *set = without(set, UnitId(gone));
            }
        }
        16 | 17 => add_unit(set, profile, generation, random),
        18 => rename(set, at),
        _ => alter_conflicts(set, random),
    }
}

fn alter_command(set: &mut UnitSet, at: usize, random: &mut Random) {
    let Some(unit) = set.units.get_mut(at).filter(|unit| unit.kind.has_process()) else { return };
    let version = format!("v{}", random.below(4));
    unit.command = vec![Template::Plain("run".into()), Template::Plain(version.as_str().into())];
}

/// What takes effect on a process that goes on, or what nobody but people sees.
fn alter_live(set: &mut UnitSet, at: usize, random: &mut Random) {
    let earlier = set.units.get(..at).map(<[UnitSpec]>::to_vec).unwrap_or_default();
    let Some(unit) = set.units.get_mut(at) else { return };
    match random.below(6) {
        0 => unit.description = Some(format!("text {}", random.below(4)).as_str().into()),
        1 if unit.kind == UnitKind::Service && !unit.health.is_empty() => {
            unit.recover = profile::ladder(&earlier, random);
        }
        2 if unit.kind != UnitKind::Gate => {
            unit.start_timeout = Some(random.millis(1000, 60_000));
        }
        3 => {
            set.boot_timeout = Duration::from_secs(random.between(5, 300));
            set.shutdown_timeout = Duration::from_secs(random.between(30, 120));
        }
        _ => {
            if let Some(job) = &mut unit.job {
                job.every = random.chance(600).then(|| random.millis(1000, 60_000));
                job.run_at_load = random.chance(300);
                job.weight = u32::try_from(random.between(1, 3)).unwrap_or(1);
                job.retries = u32::try_from(random.below(4)).unwrap_or(0);
                job.timetable.schedules = jobs::schedules(random);
            } else {
                let policy = unit.restart.policy;
                unit.restart = RestartSpec { policy, ..profile::restart(unit.restart, unit.kind, random) };
            }
        }
    }
}

fn alter_health(set: &mut UnitSet, at: usize, random: &mut Random) {
    let id = UnitId(u32::try_from(at).unwrap_or(u32::MAX));
    let mut edges = set.units.iter().flat_map(|unit| &unit.depends_on);
    let is_needed = edges.any(|edge| edge.unit == id && edge.condition == Condition::Healthy);
    let Some(unit) = set.units.get_mut(at) else { return };
    match unit.kind {
        UnitKind::Service if !unit.health.is_empty() && !is_needed && random.chance(300) => {
            unit.health = Vec::new();
            if unit.ready == Ready::Health {
                unit.ready = Ready::Started;
            }
            unit.recover = profile::usual_ladder(unit);
        }
        UnitKind::Service => {
            if unit.health.is_empty() && unit.ready == Ready::Started {
                unit.ready = Ready::Health;
            }
            unit.health = (0..random.between(1, 3)).map(|_| profile::probe(random)).collect();
        }
        UnitKind::External => unit.health = vec![profile::probe(random)],
        UnitKind::Gate => {
            for probe in &mut unit.health {
                probe.interval = random.millis(200, 5000);
                probe.timeout = probe.interval.min(Duration::from_secs(1));
            }
        }
        UnitKind::Task | UnitKind::Job => {}
    }
}

fn alter_stop(set: &mut UnitSet, at: usize, random: &mut Random) {
    let Some(unit) = set.units.get_mut(at).filter(|unit| unit.kind.has_process()) else { return };
    unit.stop.grace = random.millis(0, 10_000);
    if unit.kind == UnitKind::Service && random.chance(400) {
        unit.stop.command = random.chance(500).then(|| vec![Template::Plain("stop".into())]);
    }
}

fn toggle(set: &mut UnitSet, at: usize, random: &mut Random) {
    let is_rival = is_rival(set, at);
    let Some(unit) = set.units.get_mut(at) else { return };
    if !is_rival && random.chance(700) {
        unit.enabled = !unit.enabled;
    } else {
        unit.blocks_phase = !unit.blocks_phase && unit.kind != UnitKind::Job;
    }
}

fn is_rival(set: &UnitSet, at: usize) -> bool {
    let id = UnitId(u32::try_from(at).unwrap_or(u32::MAX));
    set.ids()
        .zip(&set.units)
        .any(|(other, unit)| (other == id && !unit.conflicts.is_empty()) || unit.conflicts.contains(&id))
}

/// Between what it needs and who needs it.
fn move_to_phase(set: &mut UnitSet, at: usize, random: &mut Random) {
    let id = UnitId(u32::try_from(at).unwrap_or(u32::MAX));
    let Some(unit) = set.units.get(at) else { return };
    let phase_of = |id: UnitId| set.unit(id).map(|unit| u64::from(unit.phase.0));
    let low = unit.depends_on.iter().filter_map(|edge| phase_of(edge.unit)).max().unwrap_or(0);
    let needs = |other: &&UnitSpec| other.depends_on.iter().any(|edge| edge.unit == id);
    let last = u64::try_from(set.phases.len().saturating_sub(1)).unwrap_or(0);
    let high = set.units.iter().filter(needs).map(|unit| u64::from(unit.phase.0)).min().unwrap_or(last);
    let phase = PhaseId(u16::try_from(random.between(low, high.max(low))).unwrap_or(0));
    if let Some(unit) = set.units.get_mut(at) {
        unit.phase = phase;
    }
}

/// One more, one that nobody was in less, or another name for one.
fn alter_phases(set: &mut UnitSet, generation: u64, random: &mut Random) {
    let count = set.phases.len();
    let at = usize::try_from(random.below(u64::try_from(count.saturating_add(1)).unwrap_or(1))).unwrap_or(0);
    let number = PhaseId(u16::try_from(at).unwrap_or(0));
    let name: Box<str> = format!("q{generation}-{}", random.below(100)).into();
    if set.phases.contains(&name) {
        return;
    }
    match random.below(3) {
        0 => {
            set.phases.insert(at.min(count), name);
            for unit in set.units.iter_mut().filter(|unit| unit.phase >= number) {
                unit.phase = PhaseId(unit.phase.0.saturating_add(1));
            }
        }
        1 if at < count && count > 1 && set.units.iter().all(|unit| unit.phase != number) => {
            set.phases.remove(at);
            for unit in set.units.iter_mut().filter(|unit| unit.phase > number) {
                unit.phase = PhaseId(unit.phase.0.saturating_sub(1));
            }
        }
        _ => {
            if let Some(phase) = set.phases.get_mut(at) {
                *phase = name;
            }
        }
    }
}

/// On an earlier unit, so that there is no cycle.
fn add_edge(set: &mut UnitSet, at: usize, random: &mut Random) {
    let target = usize::try_from(random.below(u64::try_from(at).unwrap_or(0))).unwrap_or(0);
    if target >= at || is_rival(set, at) || is_rival(set, target) {
        return;
    }
    let Some((phase, edge)) =
        set.units.get(target).map(|unit| unit.phase).zip(profile::edge(target, &set.units, random))
    else {
        return;
    };
    let Some(unit) = set.units.get_mut(at) else { return };
    let is_known = unit.depends_on.iter().any(|known| known.unit == edge.unit);
    if unit.phase >= phase && !is_known && unit.instance.is_none() {
        let follow = if unit.kind == UnitKind::Job { Follow::None } else { edge.follow };
        unit.depends_on.push(crate::unit::spec::Dependency { follow, ..edge });
        unit.depends_on.sort_by_key(|edge| edge.unit);
    }
}

fn alter_edge(set: &mut UnitSet, at: usize, random: &mut Random) {
    let follows = [Follow::None, Follow::Restart, Follow::Stop];
    let Some(unit) = set.units.get_mut(at) else { return };
    let is_job = unit.kind == UnitKind::Job;
    if let Some(edge) = unit.depends_on.first_mut() {
        edge.required = random.chance(600);
        edge.follow = random.pick(&follows).copied().filter(|_| !is_job).unwrap_or(Follow::None);
    }
}

fn add_unit(set: &mut UnitSet, profile: &Profile, generation: u64, random: &mut Random) {
    // No name of the others comes after these, but for one that was added by an earlier edit.
    let count = set.units.iter().filter(|unit| unit.name.as_str().starts_with('y')).count();
    let Ok(name) = UnitName::new(&format!("y{count}{generation}")) else { return };
    if set.units.last().is_some_and(|last| last.name >= name) {
        return;
    }
    let mut unit = profile::unit(name, profile.units, profile, &set.units, random);
    let last = u16::try_from(set.phases.len().saturating_sub(1)).unwrap_or(0);
    unit.phase = PhaseId(last);
    set.units.push(unit);
    set.sorted = set.units.len();
}

/// One letter behind its name: the order of the names stays.
fn rename(set: &mut UnitSet, at: usize) {
    let Some(unit) = set.units.get_mut(at) else { return };
    let Ok(name) = UnitName::new(&format!("{}r", unit.name)) else { return };
    if unit.instance.is_some() || unit.name.as_str().len() > 8 {
        return;
    }
    for socket in &mut unit.listen.sockets {
        socket.name = name.as_str().into();
    }
    unit.name = name;
}

/// They come and go; of two that may not live together one is disabled.
fn alter_conflicts(set: &mut UnitSet, random: &mut Random) {
    if set.units.iter().any(|unit| !unit.conflicts.is_empty()) {
        for unit in &mut set.units {
            unit.enabled |= !unit.conflicts.is_empty();
            unit.conflicts.clear();
        }
        return;
    }
    profile::conflicts(&mut set.units, random);
}

/// The set as if the unit had never been in it.
pub(super) fn without(set: &UnitSet, gone: UnitId) -> UnitSet {
    let mut less = set.clone();
    let Some(at) = usize::try_from(gone.0).ok().filter(|at| *at < less.units.len()) else { return less };
    less.units.remove(at);
    less.sorted = less.sorted.min(less.units.len());
    let moved: BTreeMap<UnitId, UnitId> = set.ids().filter(|id| *id != gone).zip(less.ids()).collect();
    let to = |id: &mut UnitId| *id = moved.get(id).copied().unwrap_or(*id);
    for unit in &mut less.units {
        unit.depends_on.retain(|edge| edge.unit != gone);
        unit.depends_on.iter_mut().for_each(|edge| to(&mut edge.unit));
        for rung in unit.recover.rungs.to_mut() {
            if let Rung::Restart { with } = rung {
                with.retain(|other| *other != gone);
                with.iter_mut().for_each(to);
            }
        }
        unit.conflicts.retain(|other| *other != gone);
        unit.conflicts.iter_mut().for_each(to);
        if let Some(job) = &mut unit.job {
            job.after.retain(|after| after.unit != gone);
            job.after.iter_mut().for_each(|after| to(&mut after.unit));
        }
    }
    less
}

/// The changes themselves, and what people and faults make of them.
pub(super) fn chaos(
    profile: &Profile,
    candidates: &Candidates,
    random: &mut Random,
) -> Vec<(Timestamp, Command)> {
    let millis = u64::try_from(profile.chaos.as_millis()).unwrap_or(u64::MAX);
    let mut commands = Vec::new();
    for _ in 0..random.between(1, 6) {
        let Some((name, set)) = random.pick(candidates) else { break };
        let at = Timestamp(0).after(Duration::from_millis(random.between(0, millis)));
        commands.push((at, Command::Change { name: name.clone(), rules: rules(random) }));
        for (permille, ask) in [(300, Ask::Confirm), (150, Ask::Abandon)] {
            if random.chance(permille) {
                commands.push((at.after(random.millis(0, 40_000)), Command::Ask(ask)));
            }
        }
        if random.chance(350) {
            let carried = random.chance(800).then(|| profile::carried(random));
            let down = if random.chance(500) { Duration::ZERO } else { random.millis(0, 30_000) };
            commands.push((at.after(random.millis(0, 20_000)), Command::Crash { carried, down }));
        }
        if random.chance(30) {
            commands.push((at.after(random.millis(0, 20_000)), Command::Ask(Ask::Shutdown { exit_code: 0 })));
        }
        for _ in 0..random.below(6) {
            let Some(unit) = random.pick(&set.units) else { break };
            let trouble = profile.trouble(random);
            let soon = at.after(random.millis(0, 30_000));
            commands.push((soon, profile::trouble_command(trouble, unit, set, random)));
        }
        if random.chance(300) {
            commands.extend(failing(at, set, random));
        }
    }
    commands
}

/// Some unit of it does not work.
fn failing(at: Timestamp, set: &UnitSet, random: &mut Random) -> Option<(Timestamp, Command)> {
    let unit = random.pick(&set.units)?.name.clone();
    let exit = crate::engine::event::ExitStatus::Code(1);
    let what = match random.below(3) {
        0 => Trait::Probe(crate::sim::actor::ProbeAnswer::Fail),
        1 => Trait::ShowsReady(None),
        _ => Trait::Ends(Some((random.millis(0, 2000), exit))),
    };
    Some((at, Command::Behave { unit, what }))
}

fn rules(random: &mut Random) -> ChangeRules {
    ChangeRules {
        verify: random.millis(1000, 40_000),
        settle: random.millis(0, 6000),
        rolls_back: !random.chance(200),
        confirm: random.chance(200).then(|| random.millis(1000, 60_000)),
    }
}
