//! Units that wait for each other.

use crate::unit::diagnostic::{Diagnostic, Place, index};
use crate::unit::spec::{UnitId, UnitSet};

/// One diagnostic for each knot of units, with one of its cycles spelled out edge by edge.
pub(super) fn cycles(set: &UnitSet) -> Vec<Diagnostic> {
    let mut walk = Walk { set, marks: vec![Mark::New; set.units.len()], found: Vec::new() };
    for id in set.ids() {
        walk.from(id);
    }
    walk.found.iter().map(|cycle| describe(set, cycle)).collect()
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
    marks: Vec<Mark>,
    found: Vec<Vec<(UnitId, Place)>>,
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
            let edge = self.set.unit(*unit).and_then(|spec| spec.depends_on.get(*walked));
            let Some(edge) = edge else {
                let done = *unit;
                path.pop();
                self.set_mark(done, Mark::Done);
                continue;
            };
            *walked = walked.saturating_add(1);
            match self.mark(edge.unit) {
                Mark::Done => {}
                Mark::New => {
                    self.set_mark(edge.unit, Mark::Open);
                    path.push((edge.unit, 0));
                }
                Mark::Open => self.found.extend(self.cycle(&path, edge.unit)),
            }
        }
    }

    /// The end of `path` from `first` on, each with the place of the edge that leaves it.
    fn cycle(&self, path: &[(UnitId, usize)], first: UnitId) -> Option<Vec<(UnitId, Place)>> {
        let from = path.iter().position(|(unit, _)| *unit == first)?;
        path.get(from..)?
            .iter()
            .map(|(unit, walked)| {
                let edge = self.set.unit(*unit)?.depends_on.get(walked.checked_sub(1)?)?;
                Some((*unit, edge.place))
            })
            .collect()
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

fn describe(set: &UnitSet, cycle: &[(UnitId, Place)]) -> Diagnostic {
    let name = |unit: UnitId| set.unit(unit).map_or("?", |unit| unit.name.as_str());
    let first = cycle.first().map_or("?", |(unit, _)| name(*unit));
    let mut chain: Vec<&str> = cycle.iter().map(|(unit, _)| name(*unit)).collect();
    chain.push(first);
    let place = cycle.first().map(|(_, place)| *place).unwrap_or_default();
    let mut diagnostic =
        Diagnostic::error("cycle", place, format!("these units wait for each other: {}", chain.join(" -> ")))
            .help("remove one of these dependencies");
    for ((unit, place), next) in cycle.iter().zip(chain.iter().skip(1)).skip(1) {
        diagnostic = diagnostic.related(*place, format!("`{}` depends on `{next}`", name(*unit)));
    }
    diagnostic
}
