//! A drawing of its own: no other program, no script, no font but the viewer's.

use crate::graph::Graph;
use crate::graph::draw::layout::{BAND_TOP, Layout, MARGIN, Rectangle, layout};
use crate::graph::draw::{condition_name, conflicts, followers};
use crate::unit::diagnostic::index;
use crate::unit::spec::{Condition, UnitId, UnitKind, UnitSet, UnitSpec};

const LEGEND_HEIGHT: u64 = 36;
const LEGEND_WIDTH: u64 = 850;

const STYLE: &str = "\
text{font-family:ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:13px;fill:#1f2933}\
.band{fill:#f5f7fa;stroke:#d9e0e7}.phase{font-weight:bold;font-size:14px;fill:#52606d}\
.unit{fill:#ffffff;stroke:#52606d;stroke-width:1.5}.task{fill:#fff8e6;stroke:#b7791f}\
.job{fill:#f3ebff;stroke:#6b46c1}.off{stroke-dasharray:4 3;fill:#f0f0f0}.kind{font-size:10px;fill:#7b8794}.name{text-anchor:middle}\
.edge{fill:none;stroke-width:1.6}.weak{stroke-dasharray:6 4}.conflict{stroke:#d64545;stroke-dasharray:2 3}\
.started{stroke:#7b8794}.healthy{stroke:#2f855a}.completed{stroke:#2b6cb0}.follows{stroke:#6b46c1;stroke-width:2.4}";

/// The class of what runs after another.
const FOLLOWS: &str = "follows";

/// What an edge of each class ends in.
fn arrows() -> [(&'static str, &'static str); 4] {
    [
        (condition_name(Condition::Started), "#7b8794"),
        (condition_name(Condition::Healthy), "#2f855a"),
        (condition_name(Condition::Completed), "#2b6cb0"),
        (FOLLOWS, "#6b46c1"),
    ]
}

pub(super) fn draw(graph: &Graph, set: &UnitSet) -> String {
    let layout = layout(graph, set);
    let width = layout.width.max(LEGEND_WIDTH.saturating_add(MARGIN));
    let height = layout.height.saturating_add(LEGEND_HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <style>{STYLE}</style>\n<defs>\n"
    );
    for (name, colour) in arrows() {
        svg.push_str(&format!(
            "<marker id=\"to-{name}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
             <path d=\"M0,0 L8,4 L0,8 z\" fill=\"{colour}\"/></marker>\n"
        ));
    }
    svg.push_str(&format!("</defs>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"));
    for (name, band) in &layout.bands {
        svg.push_str(&format!(
            "<rect class=\"band\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
             <text class=\"phase\" x=\"{}\" y=\"{}\">{}</text>\n",
            band.x,
            band.y,
            band.width,
            band.height,
            band.x.saturating_add(16),
            band.y.saturating_add(BAND_TOP / 2 + 4),
            escaped(name)
        ));
    }
    edges(graph, set, &layout, &mut svg);
    for (unit, place) in set.units.iter().zip(&layout.boxes).filter(|(unit, _)| !unit.is_removed) {
        unit_box(unit, *place, &mut svg);
    }
    legend(layout.height, &mut svg);
    svg.push_str("</svg>\n");
    svg
}

fn edges(graph: &Graph, set: &UnitSet, layout: &Layout<'_>, svg: &mut String) {
    let place = |unit: UnitId| layout.boxes.get(index(unit.0)).copied();
    for (id, unit) in set.present().zip(set.present_units()) {
        for edge in &unit.depends_on {
            let (Some(from), Some(to), Some(target)) = (place(edge.unit), place(id), set.unit(edge.unit))
            else {
                continue;
            };
            let name = condition_name(edge.condition);
            let weak = if edge.required { "" } else { " weak" };
            let title = format!("{} waits for {}: {name}", unit.name, target.name);
            svg.push_str(&curve(from, to, &format!("{name}{weak}"), name, &title));
        }
    }
    for (ends, from, when, runs, to) in followers(set) {
        if let (Some(from), Some(to)) = (place(from), place(to)) {
            let title = format!("{} runs when {} {}", runs.name, ends.name, when.word());
            svg.push_str(&curve(from, to, FOLLOWS, FOLLOWS, &title));
        }
    }
    for (one, two) in conflicts(graph, set) {
        if let (Some(one), Some(two)) = (place(one), place(two)) {
            svg.push_str(&format!(
                "<line class=\"edge conflict\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n",
                one.x.saturating_add(one.width / 2),
                one.y.saturating_add(one.height / 2),
                two.x.saturating_add(two.width / 2),
                two.y.saturating_add(two.height / 2)
            ));
        }
    }
}

/// From the right side of one box to the left side of another.
fn curve(from: Rectangle, to: Rectangle, class: &str, end: &str, title: &str) -> String {
    let (start_x, start_y) = (from.x.saturating_add(from.width), from.y.saturating_add(from.height / 2));
    let (end_x, end_y) = (to.x.saturating_sub(1), to.y.saturating_add(to.height / 2));
    let bend = (end_x.saturating_sub(start_x) / 2).clamp(24, 160);
    format!(
        "<path class=\"edge {class}\" marker-end=\"url(#to-{end})\" \
         d=\"M{start_x},{start_y} C{},{start_y} {},{end_y} {end_x},{end_y}\">\
         <title>{}</title></path>\n",
        start_x.saturating_add(bend),
        end_x.saturating_sub(bend),
        escaped(title)
    )
}

fn unit_box(unit: &UnitSpec, place: Rectangle, svg: &mut String) {
    let (kind, corner) = match unit.kind {
        UnitKind::Service => ("", 9),
        UnitKind::Task => (" task", 2),
        UnitKind::Job => (" job", 2),
        UnitKind::External => (" external", 9),
        UnitKind::Gate => (" gate", 2),
    };
    let off = if unit.enabled { "" } else { " off" };
    let note = if unit.enabled { unit.kind.to_string() } else { "not enabled".into() };
    let title = unit.description.as_deref().unwrap_or(unit.name.as_str());
    let middle = place.x.saturating_add(place.width / 2);
    svg.push_str(&format!(
        "<g><title>{}</title><rect class=\"unit{kind}{off}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{corner}\"/>\
         <text class=\"name\" x=\"{middle}\" y=\"{}\">{}</text>\
         <text class=\"name kind\" x=\"{middle}\" y=\"{}\">{note}</text></g>\n",
        escaped(title),
        place.x,
        place.y,
        place.width,
        place.height,
        place.y.saturating_add(18),
        escaped(unit.name.as_str()),
        place.y.saturating_add(32),
    ));
}

fn legend(top: u64, svg: &mut String) {
    let y = top.saturating_add(LEGEND_HEIGHT / 2).saturating_sub(4);
    let mut x = MARGIN;
    let entries = [
        ("started", "to-started", "waits until started"),
        ("healthy", "to-healthy", "until healthy"),
        ("completed", "to-completed", "until completed"),
        ("started weak", "to-started", "goes on without"),
        (FOLLOWS, "to-follows", "runs after"),
        ("conflict", "", "never both"),
    ];
    for (class, marker, text) in entries {
        let end = if marker.is_empty() { String::new() } else { format!(" marker-end=\"url(#{marker})\"") };
        svg.push_str(&format!(
            "<line class=\"edge {class}\"{end} x1=\"{x}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>\
             <text class=\"kind\" x=\"{}\" y=\"{}\">{text}</text>\n",
            x.saturating_add(30),
            x.saturating_add(38),
            y.saturating_add(4),
        ));
        x = x.saturating_add(64).saturating_add(u64::try_from(text.len()).unwrap_or(0).saturating_mul(6));
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
