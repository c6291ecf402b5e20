//! Generated histories against a small model that knows only what a person would say: who should be up.
//! It knows no states, no timers and no order, so it cannot repeat the engine's mistakes.

#![expect(clippy::unwrap_used, reason = "a set-up that fails is a test that fails")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mcsup::engine::event::{Ask, ExitStatus};
use mcsup::engine::state::StateName;
use mcsup::sim::command::Command;
use mcsup::sim::profile::plain;
use mcsup::sim::random::Random;
use mcsup::sim::world::World;
use mcsup::unit::diagnostic::Place;
use mcsup::unit::name::UnitName;
use mcsup::unit::spec::{Condition, Dependency, Follow, UnitId, UnitSet};

/// Who should be up, and who is down only because of another.
struct Model {
    /// Of each unit, what it requires.
    needs: Vec<BTreeSet<usize>>,
    up: BTreeSet<usize>,
    /// Stopped along with what they require; they come back with it.
    along: BTreeSet<usize>,
}

impl Model {
    fn boot(needs: Vec<BTreeSet<usize>>) -> Self {
        let up = (0..needs.len()).collect();
        Self { needs, up, along: BTreeSet::new() }
    }

    /// Down goes the unit that was named, and with it all that need it.
    fn stop(&mut self, unit: usize) {
        self.up.remove(&unit);
        self.along.remove(&unit);
        while let Some(dependent) = self.up.iter().copied().find(|it| !self.needs[*it].is_subset(&self.up)) {
            self.up.remove(&dependent);
            self.along.insert(dependent);
        }
    }

    /// Up comes the unit that was named, all that it needs, and what was down only because of those.
    fn start(&mut self, unit: usize) {
        let mut queue = vec![unit];
        while let Some(next) = queue.pop() {
            self.along.remove(&next);
            if self.up.insert(next) {
                queue.extend(self.needs[next].iter().copied());
                queue.extend(self.whole_again(next));
            }
        }
        while let Some(back) = self.along.iter().copied().find(|it| self.needs[*it].is_subset(&self.up)) {
            self.along.remove(&back);
            self.up.insert(back);
        }
    }

    fn whole_again(&self, back: usize) -> Vec<usize> {
        let is_whole = |it: &usize| self.needs[*it].contains(&back) && self.needs[*it].is_subset(&self.up);
        self.along.iter().copied().filter(is_whole).collect()
    }
}

fn draw(random: &mut Random) -> (Arc<UnitSet>, Vec<BTreeSet<usize>>) {
    let count = usize::try_from(random.between(2, 7)).unwrap();
    let mut needs: Vec<BTreeSet<usize>> = Vec::new();
    let mut units = Vec::new();
    for at in 0..count {
        let mine: BTreeSet<usize> = (0..at).filter(|_| random.chance(350)).collect();
        let mut unit = plain(UnitName::new(&format!("u{at}")).unwrap());
        let edge = |target: &usize| Dependency {
            unit: UnitId(u32::try_from(*target).unwrap()),
            condition: Condition::Started,
            required: true,
            follow: Follow::None,
            place: Place::default(),
        };
        unit.depends_on = mine.iter().map(edge).collect();
        units.push(unit);
        needs.push(mine);
    }
    let set = UnitSet {
        sorted: units.len(),
        units,
        phases: vec!["main".into()],
        boot_timeout: Duration::from_secs(300),
        shutdown_timeout: Duration::from_secs(60),
        log_total_bytes: 1 << 30,
        alerts: Vec::new(),
        concurrency: None,
        hooks: None,
        heartbeat: None,
        changes: mcsup::unit::spec::changes::Changes::default(),
    };
    (Arc::new(set), needs)
}

/// One move, done to the world and told to the model.
fn act(world: &mut World, model: &mut Model, random: &mut Random) -> String {
    let at = usize::try_from(random.below(u64::try_from(model.needs.len()).unwrap())).unwrap();
    let unit = world.set().units[at].name.clone();
    let units = vec![unit.clone()];
    let command = match random.below(6) {
        0 | 1 => {
            model.stop(at);
            Command::Ask(Ask::Stop { units, only: false, wait: true })
        }
        2 => {
            model.start(at);
            Command::Ask(Ask::Start { units, wait: true })
        }
        3 => {
            model.start(at); // a restart of what is down starts it
            Command::Ask(Ask::Restart { units, wait: true })
        }
        4 => Command::Exit { unit, ordinal: None, exit: ExitStatus::Code(1) },
        _ => Command::Crash { carried: None, down: random.millis(0, 3000) },
    };
    world.apply(&command);
    command.to_string()
}

fn compare(world: &World, model: &Model, told: &[String]) {
    let engine = world.engine().expect("the supervisor is back");
    for (at, id) in world.set().ids().enumerate() {
        let status = engine.status(id).unwrap();
        let name = &world.set().units[at].name;
        let should = model.up.contains(&at);
        assert_eq!(status.desired.is_up(), should, "{name} ({}), after {told:?}", status.reason);
        assert_eq!(world.table().live_run(id).is_some(), should, "a process of {name}, after {told:?}");
        let expected = if should { StateName::Ready } else { StateName::Inactive };
        assert_eq!(status.state, expected, "{name}, after {told:?}");
    }
}

#[test]
fn what_runs_is_what_a_person_would_say() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (set, needs) = draw(&mut random);
        let mut world = World::new(Arc::clone(&set), seed);
        let mut model = Model::boot(needs);
        let mut told = vec![format!("seed {seed}"), "boot".to_owned()];
        for unit in &set.units {
            let what = mcsup::sim::actor::Trait::StopsIn(random.millis(0, 2000));
            world.apply(&Command::Behave { unit: unit.name.clone(), what });
        }
        world.apply(&Command::Boot);
        for _ in 0..25 {
            // Some moves meet a world that is still busy with the one before.
            if random.chance(500) {
                world.run_until(world.now().after(Duration::from_secs(300)));
                assert!(world.violations.is_empty(), "{:?} after {told:?}", world.violations);
                compare(&world, &model, &told);
            } else {
                world.run_until(world.now().after(random.millis(0, 1500)));
            }
            if world.engine().is_some() {
                told.push(act(&mut world, &mut model, &mut random));
            }
        }
        world.run_until(world.now().after(Duration::from_secs(600)));
        assert!(world.violations.is_empty(), "{:?} after {told:?}", world.violations);
        compare(&world, &model, &told);
    }
}

#[test]
fn the_model_itself_says_what_a_person_would() {
    // 2 needs 1, which needs 0.
    let chain = || Model::boot(vec![BTreeSet::new(), BTreeSet::from([0]), BTreeSet::from([1])]);
    let mut model = chain();
    model.stop(1);
    assert_eq!(model.up, BTreeSet::from([0]));
    model.start(1);
    assert_eq!(model.up, BTreeSet::from([0, 1, 2]), "2 went only because of 1");
    model.stop(2);
    model.stop(0);
    model.start(1);
    assert_eq!(model.up, BTreeSet::from([0, 1]), "2 was stopped by name");
}
