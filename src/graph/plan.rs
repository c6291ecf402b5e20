//! What a change will do, to whom, and why: the same answer for who is shown it and for who does it.
//!
//! ```text
//! fingerprints that differ -> what differs -> one action each -> who follows what ends -> order
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::graph::{Dependent, Graph};
use crate::unit::difference::{Class, Difference, differences, settings_differences};
use crate::unit::name::UnitName;
use crate::unit::spec::{Follow, UnitId, UnitSet, UnitSpec};

/// All that a change of definitions does. Who is not in it is not touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which units start; those that go come last, dependents before what they depended on.
    pub steps: Vec<Step>,
    /// What mcsup.yaml says otherwise besides the keys of units.
    pub settings: Vec<Difference>,
}

/// What happens to one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub unit: UnitId,
    pub action: Action,
    /// Empty for what is new, goes, or only follows another.
    pub differences: Vec<Difference>,
    pub because: Because,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// New and enabled.
    Start,
    /// New and not enabled.
    Add,
    /// Its file is gone.
    Remove,
    /// A run that lives ends, and another one comes.
    Restart,
    /// Starts, as it may from now on.
    Enable,
    /// Stops, and is not started by mcsup any more.
    Disable,
    /// Holds from now on; a run that lives goes on.
    Live,
    /// Nothing but what people read.
    Metadata,
    /// Goes on under another name.
    Rename { was: UnitName },
    /// A run that lives ends with the one that it follows, and comes after it.
    FollowRestart,
    /// A run that lives ends with the one that it follows or requires, and stays down until a person starts it, or
    /// what it requires is up again.
    FollowStop,
}

/// Why a unit is in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It differs itself.
    Itself,
    /// Of what happens to this one.
    Follows(UnitId),
}

impl Plan {
    /// From the set in force to one that was merged into it, so that ids mean the same in both.
    pub fn new(before: &UnitSet, after: &UnitSet) -> Self {
        Self::with_reread(before, after, &BTreeSet::new())
    }

    /// The same where these units read files of other content now when they start: what runs of them has read what
    /// was there before.
    pub fn with_reread(before: &UnitSet, after: &UnitSet, reread: &BTreeSet<UnitId>) -> Self {
        let settings = settings_differences(before, after);
        let mut steps = BTreeMap::new();
        for id in after.ids() {
            let own = own_step(id, (before.unit(id), before), (after.unit(id), after));
            steps.extend(own.map(|step| (id, step)));
        }
        for id in reread {
            reread_step(*id, before, after, &mut steps);
        }
        keep_what_is_needed(after, &mut steps);
        if steps.is_empty() {
            return Self { steps: Vec::new(), settings };
        }
        let (old, new) = (Graph::new(before), Graph::new(after));
        Followers { old: &old, new: &new, after, steps: &mut steps, queue: VecDeque::new() }.find();
        let order = new.start_order(after).into_iter().chain(old.stop_order(before));
        // A unit that is there in both is met by its place in the start first.
        let steps = order.filter_map(|id| steps.remove(&id)).collect();
        Self { steps, settings }
    }

    /// Nothing differs but the places of definitions.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.settings.is_empty()
    }

    /// Everything whose living run must end and come again, in the order of starts.
    pub fn restarts(&self) -> impl Iterator<Item = UnitId> {
        self.steps.iter().filter(|step| step.ends() == Some(End::Again)).map(|step| step.unit)
    }

    /// Everything whose living run must end and not come again, but for what is removed.
    pub fn stops(&self) -> impl Iterator<Item = UnitId> {
        self.steps.iter().filter(|step| step.ends() == Some(End::Down)).map(|step| step.unit)
    }

    /// In the order of stops.
    pub fn removals(&self) -> impl Iterator<Item = UnitId> {
        self.steps.iter().filter(|step| step.action == Action::Remove).map(|step| step.unit)
    }

    /// Every unit to which something happens.
    pub fn touched(&self) -> BTreeSet<UnitId> {
        self.steps.iter().filter(|step| step.is_touched()).map(|step| step.unit).collect()
    }

    /// What is touched, and everything that requires it, directly or through others: who must be well afterwards.
    pub fn affected(&self, graph: &Graph) -> BTreeSet<UnitId> {
        let mut found = self.touched();
        let mut next: Vec<UnitId> = found.iter().copied().collect();
        while let Some(unit) = next.pop() {
            let requiring = graph.dependents(unit).iter().filter(|dependent| dependent.required);
            next.extend(requiring.map(|dependent| dependent.unit).filter(|unit| found.insert(*unit)));
        }
        found
    }

    /// The units for whose sake somebody must approve: those to which something happens and that are, or are to be,
    /// protected. Whose protection is all that is taken away is one of them, or the next change would pass by.
    pub fn protected(&self, before: &UnitSet, after: &UnitSet) -> Vec<UnitId> {
        let is_in = |set: &UnitSet, unit: UnitId| set.unit(unit).is_some_and(|unit| unit.protected);
        let must_wait = |step: &&Step| {
            let (was, is) = (is_in(before, step.unit), is_in(after, step.unit));
            if step.is_touched() { was || is } else { was && !is }
        };
        self.steps.iter().filter(must_wait).map(|step| step.unit).collect()
    }
}

/// What becomes of a run that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Again,
    Down,
    Gone,
}

impl Step {
    /// `None`: a run that lives goes on.
    fn ends(&self) -> Option<End> {
        match self.action {
            Action::Restart | Action::FollowRestart => Some(End::Again),
            // It may live although it was not enabled: a person started it.
            Action::Enable if self.class() == Some(Class::Restart) => Some(End::Again),
            Action::Disable | Action::FollowStop => Some(End::Down),
            Action::Remove => Some(End::Gone),
            Action::Start
            | Action::Add
            | Action::Enable
            | Action::Live
            | Action::Metadata
            | Action::Rename { .. } => None,
        }
    }

    fn is_touched(&self) -> bool {
        match self.action {
            Action::Metadata | Action::Rename { .. } => false,
            Action::Start
            | Action::Add
            | Action::Remove
            | Action::Restart
            | Action::Enable
            | Action::Disable
            | Action::Live
            | Action::FollowRestart
            | Action::FollowStop => true,
        }
    }

    fn class(&self) -> Option<Class> {
        self.differences.iter().map(|difference| difference.class).max()
    }
}

type Definition<'a> = (Option<&'a UnitSpec>, &'a UnitSet);

/// What a unit's own definition asks for; `None` where it is the same.
fn own_step(id: UnitId, (before, old): Definition<'_>, (after, new): Definition<'_>) -> Option<Step> {
    let is_there = |unit: &&UnitSpec| !unit.is_removed;
    let step = |action, differences| Some(Step { unit: id, action, differences, because: Because::Itself });
    match (before.filter(is_there), after.filter(is_there)) {
        (None, None) => None,
        (None, Some(unit)) => step(if unit.enabled { Action::Start } else { Action::Add }, Vec::new()),
        (Some(_), None) => step(Action::Remove, Vec::new()),
        (Some(before), Some(after)) if before.fingerprint == after.fingerprint => None,
        (Some(before), Some(after)) => {
            let differences = differences((before, old), (after, new));
            step(action(before, after, &differences), differences)
        }
    }
}

/// A file that it reads when it starts has another content, and so is as good as a key of it.
fn reread_step(id: UnitId, before: &UnitSet, after: &UnitSet, steps: &mut BTreeMap<UnitId, Step>) {
    let is_there =
        |set: &UnitSet| set.unit(id).is_some_and(|unit| !unit.is_removed && unit.kind.has_process());
    if !is_there(before) || !is_there(after) {
        return;
    }
    let content = Difference {
        key: "env_file",
        path: "env_file".to_owned(),
        class: Class::Restart,
        before: "its content".to_owned(),
        after: "another content".to_owned(),
    };
    let fresh = Step { unit: id, action: Action::Restart, differences: Vec::new(), because: Because::Itself };
    let step = steps.entry(id).or_insert(fresh);
    step.differences.push(content);
    match step.action {
        Action::Live | Action::Metadata => step.action = Action::Restart,
        Action::Start
        | Action::Add
        | Action::Remove
        | Action::Restart
        | Action::Enable
        | Action::Disable
        | Action::Rename { .. }
        | Action::FollowRestart
        | Action::FollowStop => {}
    }
}

/// What an enabled unit requires is up whether it is enabled or not, at a boot as well: disabling it ends nothing.
fn keep_what_is_needed(after: &UnitSet, steps: &mut BTreeMap<UnitId, Step>) {
    if steps.values().all(|step| step.action != Action::Disable) {
        return;
    }
    let is_enabled = |id: &UnitId| after.unit(*id).is_some_and(|unit| unit.enabled);
    let mut queue: Vec<UnitId> = after.present().filter(is_enabled).collect();
    let mut needed = BTreeSet::new();
    while let Some(id) = queue.pop() {
        let edges = after.unit(id).map_or(&[][..], |unit| &unit.depends_on);
        queue.extend(
            edges.iter().filter(|edge| edge.required && needed.insert(edge.unit)).map(|edge| edge.unit),
        );
    }
    for step in
        steps.values_mut().filter(|step| step.action == Action::Disable && needed.contains(&step.unit))
    {
        step.action = if step.class() == Some(Class::Restart) { Action::Restart } else { Action::Live };
    }
}

fn action(before: &UnitSpec, after: &UnitSpec, differences: &[Difference]) -> Action {
    if before.name != after.name {
        return Action::Rename { was: before.name.clone() };
    }
    match (before.enabled, after.enabled) {
        (false, true) => return Action::Enable,
        (true, false) => return Action::Disable,
        (true, true) | (false, false) => {}
    }
    match differences.iter().map(|difference| difference.class).max() {
        Some(Class::Restart) => Action::Restart,
        Some(Class::Live) => Action::Live,
        Some(Class::Metadata) | None => Action::Metadata,
    }
}

/// Finds who ends because another one does, along any number of edges.
struct Followers<'a> {
    old: &'a Graph,
    new: &'a Graph,
    after: &'a UnitSet,
    steps: &'a mut BTreeMap<UnitId, Step>,
    queue: VecDeque<(UnitId, End)>,
}

impl Followers<'_> {
    fn find(mut self) {
        let ends = self.steps.values().filter_map(|step| Some((step.unit, step.ends()?)));
        self.queue = ends.collect();
        while let Some((unit, end)) = self.queue.pop_front() {
            for dependent in self.dependents(unit) {
                match (end, dependent.follow) {
                    // As at any stop: who requires it stops, and nobody follows what stays down.
                    (End::Down, _) if dependent.required => self.take(dependent.unit, unit, End::Down),
                    (End::Down, _) | (End::Again | End::Gone, Follow::None) => {}
                    (End::Again | End::Gone, Follow::Restart) => {
                        self.take(dependent.unit, unit, End::Again);
                    }
                    (End::Again | End::Gone, Follow::Stop) => self.take(dependent.unit, unit, End::Down),
                }
            }
        }
    }

    /// By the edges to come; of an edge that goes with this change, by what it was.
    fn dependents(&self, unit: UnitId) -> Vec<Dependent> {
        let mut found: Vec<Dependent> = self.new.dependents(unit).to_vec();
        for dependent in self.old.dependents(unit) {
            let is_there = self.after.unit(dependent.unit).is_some_and(|unit| !unit.is_removed);
            if is_there && found.iter().all(|other| other.unit != dependent.unit) {
                // It requires nothing of it any more.
                found.push(Dependent { required: false, ..*dependent });
            }
        }
        found
    }

    /// One unit ends because another one does, if its own change does not end it as well.
    fn take(&mut self, unit: UnitId, followed: UnitId, end: End) {
        let (action, because) = match end {
            End::Again => (Action::FollowRestart, Because::Follows(followed)),
            End::Down | End::Gone => (Action::FollowStop, Because::Follows(followed)),
        };
        match self.steps.get_mut(&unit) {
            None => {
                let step = Step { unit, action, differences: Vec::new(), because };
                self.steps.insert(unit, step);
            }
            Some(step) => {
                let gives_way = match step.action {
                    Action::Live | Action::Metadata | Action::Rename { .. } => true,
                    // What stays down is not restarted.
                    Action::Restart | Action::FollowRestart => end == End::Down,
                    Action::Start
                    | Action::Add
                    | Action::Remove
                    | Action::Enable
                    | Action::Disable
                    | Action::FollowStop => false,
                };
                if !gives_way {
                    return;
                }
                (step.action, step.because) = (action, because);
            }
        }
        self.queue.push_back((unit, end));
    }
}
