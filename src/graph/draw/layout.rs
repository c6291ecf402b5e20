//! Where boxes stand: phases as bands from left to right, in each band a column for every depth,
//! so that every edge goes to the right. Whole pixels only.

use crate::graph::Graph;
use crate::graph::draw::phases;
use crate::unit::diagnostic::index;
use crate::unit::spec::{PhaseId, UnitId, UnitSet};

pub(super) const BOX_HEIGHT: u64 = 40;
const ROW: u64 = BOX_HEIGHT + 18;
const COLUMN_GAP: u64 = 64;
const BAND_GAP: u64 = 28;
const BAND_PADDING: u64 = 22;
/// Room above the boxes for the phase's name.
pub(super) const BAND_TOP: u64 = 44;
pub(super) const MARGIN: u64 = 20;
/// Width of a character of the 13 px monospace font, rounded up.
const CHARACTER: u64 = 8;
/// A column with more units continues in the next one.
const ROWS_PER_COLUMN: usize = 20;
/// Sweeps of the ordering; more change nothing that anybody sees.
const SWEEPS: usize = 3;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rectangle {
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

pub(super) struct Layout<'a> {
    /// By `UnitId`.
    pub(super) boxes: Vec<Rectangle>,
    pub(super) bands: Vec<(&'a str, Rectangle)>,
    pub(super) width: u64,
    pub(super) height: u64,
}

pub(super) fn layout<'a>(graph: &Graph, set: &'a UnitSet) -> Layout<'a> {
    let bands: Vec<(&str, Vec<Vec<UnitId>>)> = columns(graph, set);
    let rows = bands.iter().flat_map(|(_, columns)| columns).map(Vec::len).max().unwrap_or(0).max(1);
    let content_height = wide(rows).saturating_mul(ROW);
    let band_height = BAND_TOP.saturating_add(content_height).saturating_add(BAND_PADDING);
    let mut layout =
        Layout { boxes: vec![Rectangle::default(); set.units.len()], bands: Vec::new(), width: 0, height: 0 };
    let mut left = MARGIN;
    for (name, columns) in bands {
        let start = left;
        let mut x = left.saturating_add(BAND_PADDING);
        let title = wide(name.len()).saturating_mul(CHARACTER);
        for column in &columns {
            let width = column.iter().map(|unit| box_width(set, *unit)).max().unwrap_or(0);
            // Columns are centred: short ones face the middle of long ones.
            let used = wide(column.len()).saturating_mul(ROW);
            let top = MARGIN.saturating_add(BAND_TOP).saturating_add(content_height.saturating_sub(used) / 2);
            for (row, unit) in column.iter().enumerate() {
                let y = top.saturating_add(wide(row).saturating_mul(ROW));
                if let Some(slot) = layout.boxes.get_mut(index(unit.0)) {
                    *slot = Rectangle { x, y, width, height: BOX_HEIGHT };
                }
            }
            x = x.saturating_add(width).saturating_add(COLUMN_GAP);
        }
        let inner =
            x.saturating_sub(COLUMN_GAP).max(start.saturating_add(BAND_PADDING).saturating_add(title));
        let right = inner.saturating_add(BAND_PADDING);
        let band = Rectangle { x: start, y: MARGIN, width: right.saturating_sub(start), height: band_height };
        layout.bands.push((name, band));
        left = right.saturating_add(BAND_GAP);
    }
    layout.width = left.saturating_sub(BAND_GAP).saturating_add(MARGIN);
    layout.height = band_height.saturating_add(2 * MARGIN);
    layout
}

fn box_width(set: &UnitSet, unit: UnitId) -> u64 {
    let characters = set.unit(unit).map_or(0, |unit| unit.name.as_str().len());
    wide(characters).saturating_mul(CHARACTER).saturating_add(28).max(96)
}

/// For each phase its columns, each from top to bottom.
fn columns<'a>(graph: &Graph, set: &'a UnitSet) -> Vec<(&'a str, Vec<Vec<UnitId>>)> {
    let depths = graph.depths(set);
    let mut ranks: Vec<u64> = vec![0; set.units.len()];
    let mut bands: Vec<(&str, Vec<Vec<UnitId>>)> =
        phases(set).map(|(phase, name)| (name, by_depth(graph, phase, &depths))).collect();
    for sweep in 0..SWEEPS {
        for layer in bands.iter_mut().flat_map(|(_, layers)| layers) {
            if sweep > 0 {
                layer.sort_by_key(|unit| (middle(graph, set, *unit, &ranks), *unit));
            }
            // In thousandths of the layer, so that long and short ones compare.
            let step = 1000_u64.checked_div(wide(layer.len())).unwrap_or(0);
            for (row, unit) in layer.iter().enumerate() {
                if let Some(rank) = ranks.get_mut(index(unit.0)) {
                    *rank = wide(row).saturating_mul(step).saturating_add(step / 2);
                }
            }
        }
    }
    let wrapped = |layers: Vec<Vec<UnitId>>| {
        layers.iter().flat_map(|layer| layer.chunks(ROWS_PER_COLUMN).map(<[UnitId]>::to_vec)).collect()
    };
    bands.into_iter().map(|(name, layers)| (name, wrapped(layers))).collect()
}

fn by_depth(graph: &Graph, phase: PhaseId, depths: &[usize]) -> Vec<Vec<UnitId>> {
    let mut layers: Vec<Vec<UnitId>> = Vec::new();
    for unit in graph.units_of(phase) {
        let depth = depths.get(index(unit.0)).copied().unwrap_or(0);
        while layers.len() <= depth {
            layers.push(Vec::new());
        }
        if let Some(layer) = layers.get_mut(depth) {
            layer.push(*unit);
        }
    }
    layers
}

/// The mean rank of a unit's neighbours: where its edges pull it.
fn middle(graph: &Graph, set: &UnitSet, unit: UnitId, ranks: &[u64]) -> u64 {
    let below = set.unit(unit).map_or(&[][..], |spec| &spec.depends_on).iter().map(|edge| edge.unit);
    let above = graph.dependents(unit).iter().map(|dependent| dependent.unit);
    let (sum, count) = below
        .chain(above)
        .filter_map(|neighbour| ranks.get(index(neighbour.0)))
        .fold((0_u64, 0_u64), |(sum, count), rank| (sum.saturating_add(*rank), count.saturating_add(1)));
    sum.checked_div(count).unwrap_or(500)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
