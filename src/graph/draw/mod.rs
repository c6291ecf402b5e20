//! The graph as people look at it.

mod text;
mod dot;
mod mermaid;
mod layout;
mod svg;

use crate::graph::Graph;
use crate::unit::spec::job::AfterEnd;
use crate::unit::spec::{Condition, PhaseId, UnitId, UnitSet, UnitSpec};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a terminal: phases, units, and what each waits for.
    Text,
    /// Graphviz.
    Dot,
    Mermaid,
    /// A drawing that needs no other program.
    Svg,
}

impl Graph {
    /// The same set always gives the same text.
    pub fn draw(&self, set: &UnitSet, format: Format) -> String {
        match format {
            Format::Text => text::draw(self, set),
            Format::Dot => dot::draw(self, set),
            Format::Mermaid => mermaid::draw(self, set),
            Format::Svg => svg::draw(self, set),
        }
    }
}

fn phases(set: &UnitSet) -> impl Iterator<Item = (PhaseId, &str)> {
    (0_u16..).map(PhaseId).zip(set.phases.iter().map(|name| &**name))
}

fn condition_name(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    }
}

/// Who runs after whom, in the order of units: the one that ends, its end, the job that it starts.
fn followers(set: &UnitSet) -> impl Iterator<Item = (&UnitSpec, UnitId, AfterEnd, &UnitSpec, UnitId)> {
    set.present().zip(set.present_units()).flat_map(move |(id, unit)| {
        let after = unit.job.iter().flat_map(|job| &job.after);
        after.filter_map(move |after| Some((set.unit(after.unit)?, after.unit, after.when, unit, id)))
    })
}

/// Pairs that may not be up together, each once.
fn conflicts<'a>(graph: &'a Graph, set: &'a UnitSet) -> impl Iterator<Item = (UnitId, UnitId)> + 'a {
    set.present().flat_map(|unit| {
        let others = graph.conflicts_of(unit).iter().copied();
        others.filter(move |other| *other > unit).map(move |other| (unit, other))
    })
}
