//! For Mermaid, which Markdown viewers draw.

use crate::graph::Graph;
use crate::graph::draw::{condition_name, conflicts, followers, phases};
use crate::unit::spec::{UnitId, UnitKind, UnitSet};

pub(super) fn draw(graph: &Graph, set: &UnitSet) -> String {
    let mut text = String::from("flowchart LR\n");
    for (phase, name) in phases(set) {
        text.push_str(&format!("  subgraph p{}[\"{name}\"]\n", phase.0));
        for (id, unit) in graph.units_of(phase).iter().filter_map(|id| Some((*id, set.unit(*id)?))) {
            let (open, close) = match unit.kind {
                UnitKind::Service => ("(", ")"),
                UnitKind::Task => ("[", "]"),
                UnitKind::Job => ("[[", "]]"),
                UnitKind::External => ("([", "])"),
                UnitKind::Gate => ("{", "}"),
            };
            let class = if unit.enabled { "" } else { ":::disabled" };
            text.push_str(&format!("    {}{open}\"{}\"{close}{class}\n", node(id), unit.name));
        }
        text.push_str("  end\n");
    }
    for (id, unit) in set.present().zip(set.present_units()) {
        for edge in &unit.depends_on {
            let arrow = if edge.required { "-->" } else { "-.->" };
            let label = condition_name(edge.condition);
            text.push_str(&format!("  {} {arrow}|{label}| {}\n", node(edge.unit), node(id)));
        }
    }
    for (_, ends, when, _, runs) in followers(set) {
        text.push_str(&format!("  {} ==>|{}| {}\n", node(ends), when.word(), node(runs)));
    }
    for (one, two) in conflicts(graph, set) {
        text.push_str(&format!("  {} x--x|conflicts| {}\n", node(one), node(two)));
    }
    if set.present_units().any(|unit| !unit.enabled) {
        text.push_str("  classDef disabled stroke-dasharray: 4 3,color:#888\n");
    }
    text
}

/// Names may be words of Mermaid itself, such as `end`; numbers never are.
fn node(unit: UnitId) -> String {
    format!("u{}", unit.0)
}
