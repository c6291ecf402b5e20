//! For a terminal.

use crate::graph::Graph;
use crate::graph::draw::{condition_name, phases};
use crate::unit::spec::{Follow, UnitId, UnitKind, UnitSet, UnitSpec};

pub(super) fn draw(graph: &Graph, set: &UnitSet) -> String {
    let width = set.present_units().map(|unit| unit.name.as_str().len()).max().unwrap_or(0);
    let order = graph.start_order(set);
    let mut text = String::new();
    for (phase, name) in phases(set) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("phase {name}\n"));
        if graph.units_of(phase).is_empty() {
            text.push_str("  (no unit)\n");
        }
        for (id, unit) in order.iter().filter_map(|id| Some((*id, set.unit(*id)?))) {
            if unit.phase == phase {
                text.push_str(line(graph, set, id, unit, width).trim_end());
                text.push('\n');
            }
        }
    }
    text
}

fn line(graph: &Graph, set: &UnitSet, id: UnitId, unit: &UnitSpec, width: usize) -> String {
    let mut notes: Vec<String> = Vec::new();
    let after: Vec<String> = unit
        .depends_on
        .iter()
        .filter_map(|edge| {
            let target = set.unit(edge.unit)?;
            let weak = if edge.required { "" } else { ", if it can come" };
            let follow = match edge.follow {
                Follow::None => "",
                Follow::Restart => ", restarts with it",
                Follow::Stop => ", stops with it",
            };
            Some(format!("{} ({}{weak}{follow})", target.name, condition_name(edge.condition)))
        })
        .collect();
    if !after.is_empty() {
        notes.push(format!("after {}", after.join(", ")));
    }
    if let Some(job) = &unit.job {
        notes.push(format!("runs {}", job.words(unit.name.as_str(), set)));
    }
    let rivals: Vec<&str> = graph
        .conflicts_of(id)
        .iter()
        .filter_map(|other| set.unit(*other).map(|other| other.name.as_str()))
        .collect();
    if !rivals.is_empty() {
        notes.push(format!("never with {}", rivals.join(", ")));
    }
    if !unit.enabled {
        notes.push("not enabled".into());
    }
    match (unit.kind, unit.blocks_phase) {
        (UnitKind::Job, true) => notes.push("the next phase waits until it is armed".into()),
        (UnitKind::Service | UnitKind::Task | UnitKind::External | UnitKind::Gate, false) => {
            notes.push("the next phase does not wait for it".into());
        }
        // As it is where nothing is said.
        (UnitKind::Job, false)
        | (UnitKind::Service | UnitKind::Task | UnitKind::External | UnitKind::Gate, true) => {}
    }
    format!("  {:width$}  {:8}  {}", unit.name, unit.kind.to_string(), notes.join("; "))
}
