//! Units that wait for each other.

use crate::unit::KeyPlaces;
use crate::unit::diagnostic::{Diagnostic, Place, index};
use crate::unit::spec::{UnitId, UnitSet};

/// One diagnostic for each knot of units, with one of its cycles spelled out edge by edge.
pub(super) fn cycles(set: &UnitSet, places: &[KeyPlaces]) -> Vec<Diagnostic> {
    [Kind::Waiting, Kind::Following].into_iter().flat_map(|kind| cycles_of(set, places, kind)).collect()
}

fn cycles_of(set: &UnitSet, places: &[KeyPlaces], kind: Kind) -> Vec<Diagnostic> {
    let marks = vec![Mark::New; set.units.len()];
    let mut walk = Walk { set, places, kind, marks, found: Vec::new() };
    for id in set.ids() {
        walk.from(id);
    }
    walk.found.iter().map(|cycle| describe(set, kind, cycle)).collect()
}

/// What leads from one unit to another.
#[derive(Clone, Copy)]
enum Kind {
    /// Dependencies, and what gates need.
    Waiting,
    /// `after` of jobs.
    Following,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    /// On the path that is being walked.
    Open,
    Done,
}

struct Walk<'a> {
    set: &'a UnitSet,
    places: &'a [KeyPlaces],
    kind: Kind,
    marks: Vec<Mark>,
    found: Vec<Vec<(UnitId, Edge)>>,
}

/// One unit waits for another.
#[derive(Clone, Copy)]
struct Edge {
    to: UnitId,
    place: Place,
    /// By the expression of a gate, not by a dependency.
    is_asked: bool,
}

impl Walk<'_> {
    /// Depth first with a path of its own: a chain of thousands must not end on the call stack.
    fn from(&mut self, start: UnitId) {
        if self.mark(start) != Mark::New {
            return;
        }
        // Each unit of the path with how many of its edges were walked.
        let mut path: Vec<(UnitId, usize)> = vec![(start, 0)];
        self.set_mark(start, Mark::Open);
        while let Some((unit, walked)) = path.last_mut() {
            let Some(edge) = self.edge(*unit, *walked) else {
                let done = *unit;
                path.pop();
                self.set_mark(done, Mark::Done);
                continue;
            };
            *walked = walked.saturating_add(1);
            match self.mark(edge.to) {
                Mark::Done => {}
                Mark::New => {
                    self.set_mark(edge.to, Mark::Open);
                    path.push((edge.to, 0));
                }
                Mark::Open => self.found.extend(self.cycle(&path, edge.to)),
            }
        }
    }

    /// The end of `path` from `first` on, each with the edge that leaves it.
    fn cycle(&self, path: &[(UnitId, usize)], first: UnitId) -> Option<Vec<(UnitId, Edge)>> {
        let from = path.iter().position(|(unit, _)| *unit == first)?;
        path.get(from..)?
            .iter()
            .map(|(unit, walked)| Some((*unit, self.edge(*unit, walked.checked_sub(1)?)?)))
            .collect()
    }

    fn edge(&self, unit: UnitId, number: usize) -> Option<Edge> {
        match self.kind {
            Kind::Waiting => waiting(self.set, self.places, unit, number),
            Kind::Following => {
                let after = self.set.unit(unit)?.job.as_ref()?.after.get(number)?;
                Some(Edge { to: after.unit, place: after.place, is_asked: false })
            }
        }
    }

    fn mark(&self, unit: UnitId) -> Mark {
        self.marks.get(index(unit.0)).copied().unwrap_or(Mark::Done)
    }

    fn set_mark(&mut self, unit: UnitId, mark: Mark) {
        if let Some(slot) = self.marks.get_mut(index(unit.0)) {
            *slot = mark;
        }
    }
}

/// What leaves a unit by its number: its dependencies, then what its expression needs.
fn waiting(set: &UnitSet, places: &[KeyPlaces], unit: UnitId, number: usize) -> Option<Edge> {
    let depends_on = &set.unit(unit)?.depends_on;
    if let Some(edge) = depends_on.get(number) {
        return Some(Edge { to: edge.unit, place: edge.place, is_asked: false });
    }
    let mut needed = places.get(index(unit.0))?.asks.iter().filter(|asked| asked.is_needed);
    let asked = needed.nth(number.checked_sub(depends_on.len())?)?;
    Some(Edge { to: asked.unit, place: asked.place, is_asked: true })
}

fn describe(set: &UnitSet, kind: Kind, cycle: &[(UnitId, Edge)]) -> Diagnostic {
    let name = |unit: UnitId| set.unit(unit).map_or("?", |unit| unit.name.as_str());
    let first = cycle.first().map_or("?", |(unit, _)| name(*unit));
    let mut chain: Vec<&str> = cycle.iter().map(|(unit, _)| name(*unit)).collect();
    chain.push(first);
    let place = cycle.first().map(|(_, edge)| edge.place).unwrap_or_default();
    let is_asked = cycle.iter().any(|(_, edge)| edge.is_asked);
    let (message, help) = match kind {
        Kind::Waiting if is_asked => (
            "these units wait for each other",
            "remove one of these dependencies, or ask the gate for something else",
        ),
        Kind::Waiting => ("these units wait for each other", "remove one of these dependencies"),
        Kind::Following => ("these jobs would start each other for ever", "remove one of these names"),
    };
    let message = format!("{message}: {}", chain.join(" -> "));
    let mut diagnostic = Diagnostic::error("cycle", place, message).help(help);
    for ((unit, edge), next) in cycle.iter().zip(chain.iter().skip(1)).skip(1) {
        let verb = match kind {
            Kind::Waiting if edge.is_asked => "needs",
            Kind::Waiting => "depends on",
            Kind::Following => "runs after",
        };
        diagnostic = diagnostic.related(edge.place, format!("`{}` {verb} `{next}`", name(*unit)));
    }
    diagnostic
}
