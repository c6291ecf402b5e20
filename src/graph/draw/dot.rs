//! For Graphviz.

use crate::graph::Graph;
use crate::graph::draw::{condition_name, conflicts, followers, phases};
use crate::unit::spec::{UnitKind, UnitSet};

pub(super) fn draw(graph: &Graph, set: &UnitSet) -> String {
    let mut text = String::from(
        "digraph mcsup {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    for (phase, name) in phases(set) {
        text.push_str(&format!("  subgraph \"cluster_{name}\" {{\n    label=\"{name}\";\n"));
        for unit in graph.units_of(phase).iter().filter_map(|id| set.unit(*id)) {
            let style = match (unit.enabled, unit.kind) {
                (true, UnitKind::Service) => "",
                (true, UnitKind::Task) => " [style=solid]",
                (true, UnitKind::Job) => " [shape=cds, style=solid]",
                (true, UnitKind::External) => " [style=\"rounded,dotted\"]",
                (true, UnitKind::Gate) => " [shape=diamond, style=solid]",
                (
                    false,
                    UnitKind::Service | UnitKind::Task | UnitKind::Job | UnitKind::External | UnitKind::Gate,
                ) => " [style=\"rounded,dashed\", fontcolor=gray]",
            };
            text.push_str(&format!("    \"{}\"{style};\n", unit.name));
        }
        text.push_str("  }\n");
    }
    for unit in set.present_units() {
        for edge in &unit.depends_on {
            let Some(target) = set.unit(edge.unit) else { continue };
            let style = if edge.required { "" } else { ", style=dashed" };
            let label = condition_name(edge.condition);
            text.push_str(&format!(
                "  \"{}\" -> \"{}\" [label=\"{label}\"{style}];\n",
                target.name, unit.name
            ));
        }
    }
    for (ends, _, when, runs, _) in followers(set) {
        text.push_str(&format!(
            "  \"{}\" -> \"{}\" [label=\"{}\", style=bold, color=purple];\n",
            ends.name,
            runs.name,
            when.word()
        ));
    }
    for (one, two) in conflicts(graph, set).filter_map(|(one, two)| Some((set.unit(one)?, set.unit(two)?))) {
        text.push_str(&format!(
            "  \"{}\" -> \"{}\" [dir=none, color=red, style=dotted, label=\"conflicts\", constraint=false];\n",
            one.name, two.name
        ));
    }
    text.push_str("}\n");
    text
}
