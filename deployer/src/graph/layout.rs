//! Where everything goes: rows by layer, ordered so that few lines cross, and lines from box to box. Pixels; y grows downwards.

use std::collections::BTreeMap;

use super::{Layer, Part};

/// Size of a box, the gap between boxes, and the least gap between rows.
pub(super) const BOX: (f64, f64) = (154.0, 78.0);
const GAP: f64 = 18.0;
const ROW_GAP: f64 = 70.0;
/// Room around everything, and for the title.
const MARGIN: f64 = 28.0;
const TITLE: f64 = 76.0;
/// Room inside a frame, and for its caption.
const PADDING: f64 = 16.0;
const CAPTION: f64 = 30.0;
/// Longest row; more go into another one.
const LONGEST: usize = 7;
/// Times the order of all rows is looked over.
const SWEEPS: usize = 8;

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Area {
    fn middle(&self) -> f64 {
        self.x + self.width / 2.0
    }

    fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// From one that needs to what it needs. Both ends are vertical.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) start: (f64, f64),
    pub(super) end: (f64, f64),
    /// Both ends are at the lower side of boxes of one row.
    pub(super) arc: bool,
}

/// Where all parts are, by their index.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    /// The box of each part; the frame of one that others live in.
    pub(super) areas: Vec<Area>,
    /// Parts that are frames.
    pub(super) frames: Vec<usize>,
    pub(super) lines: Vec<Line>,
}

/// One row: boxes from left to right.
#[derive(Debug)]
struct Row {
    /// The part whose frame is around them.
    frame: Option<usize>,
    boxes: Vec<usize>,
}

pub(super) fn place(parts: &[Part]) -> Layout {
    let index: BTreeMap<&str, usize> =
        parts.iter().enumerate().map(|(at, part)| (part.name.as_str(), at)).collect();
    let edges: Vec<(usize, usize)> = parts
        .iter()
        .enumerate()
        .flat_map(|(from, part)| part.needs.iter().map(move |to| (from, to)))
        .filter_map(|(from, to)| Some((from, *index.get(to.as_str())?)))
        .collect();
    let mut rows = rows(parts);
    for _ in 0..SWEEPS {
        order(&mut rows, &edges);
    }
    let (areas, width, height) = areas(parts.len(), &rows);
    let frames = rows.iter().filter_map(|row| row.frame).collect();
    let lines = lines(&edges, &areas);
    Layout { width, height, areas, frames, lines }
}

fn rows(parts: &[Part]) -> Vec<Row> {
    let mut layers: BTreeMap<&Layer, Vec<usize>> = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        layers.entry(&part.layer).or_default().push(at);
    }
    let mut rows = Vec::new();
    for (layer, members) in layers {
        let owner = |at: &usize| matches!(layer, Layer::Namespace(owner) if *owner == parts[*at].name);
        let frame = members.iter().copied().find(owner);
        let boxes: Vec<usize> = members.into_iter().filter(|at| Some(*at) != frame).collect();
        if frame.is_some() {
            rows.push(Row { frame, boxes });
            continue;
        }
        let count = boxes.len().div_ceil(LONGEST).max(1);
        let chunks = boxes.chunks(boxes.len().div_ceil(count).max(1));
        rows.extend(chunks.map(|boxes| Row { frame: None, boxes: boxes.to_vec() }));
    }
    rows
}

/// Puts each box near what it is connected with: by the mean of their places, measured from the middle of their rows.
fn order(rows: &mut [Row], edges: &[(usize, usize)]) {
    for at in 0..rows.len() {
        let place = |part: usize| {
            rows.iter().find_map(|row| {
                let position = row.boxes.iter().position(|other| *other == part)?;
                Some(position as f64 - (row.boxes.len() as f64 - 1.0) / 2.0)
            })
        };
        let weight = |part: usize| {
            let neighbours = edges.iter().filter_map(|(from, to)| match part {
                part if part == *from => place(*to),
                part if part == *to => place(*from),
                _ => None,
            });
            let (sum, count) = neighbours.fold((0.0, 0.0), |(sum, count), place| (sum + place, count + 1.0));
            if count > 0.0 { sum / count } else { place(part).unwrap_or_default() }
        };
        let mut weighed: Vec<(f64, usize)> =
            rows[at].boxes.iter().map(|part| (weight(*part), *part)).collect();
        weighed.sort_by(|a, b| a.0.total_cmp(&b.0));
        rows[at].boxes = weighed.into_iter().map(|(_, part)| part).collect();
    }
}

/// The area of each part, and width and height of the picture.
fn areas(count: usize, rows: &[Row]) -> (Vec<Area>, f64, f64) {
    let length = |row: &Row| {
        let boxes = row.boxes.len().max(1) as f64;
        boxes * BOX.0 + (boxes - 1.0) * GAP + if row.frame.is_some() { 2.0 * PADDING } else { 0.0 }
    };
    let longest = rows.iter().map(length).fold(0.0, f64::max);
    let width = longest + 2.0 * MARGIN;
    let mut areas = vec![Area { x: 0.0, y: 0.0, width: BOX.0, height: BOX.1 }; count];
    let mut y = TITLE;
    for row in rows {
        let boxes = row.boxes.len() as f64;
        // Short rows are drawn out a little, so that lines have room.
        let gap = if row.frame.is_some() || boxes < 2.0 {
            GAP
        } else {
            ((longest - boxes * BOX.0) / (boxes - 1.0)).clamp(GAP, 3.0 * GAP)
        };
        let own = boxes.max(1.0) * BOX.0 + (boxes.max(1.0) - 1.0) * gap;
        let left = (width - own) / 2.0;
        let top = if row.frame.is_some() { y + CAPTION } else { y };
        for (at, part) in row.boxes.iter().enumerate() {
            areas[*part] = Area { x: left + at as f64 * (BOX.0 + gap), y: top, ..areas[*part] };
        }
        y = top + BOX.1;
        if let Some(frame) = row.frame {
            let height = CAPTION + BOX.1 + PADDING;
            areas[frame] = Area { x: left - PADDING, y: top - CAPTION, width: own + 2.0 * PADDING, height };
            y += PADDING;
        }
        y += ROW_GAP;
    }
    (areas, width, y - ROW_GAP + MARGIN + 22.0)
}

/// Lines whose ends share a side of a box are spread over it, in the order of their other ends.
fn lines(edges: &[(usize, usize)], areas: &[Area]) -> Vec<Line> {
    // Whether the line ends at the lower side of `a`, when `b` is its other end.
    let below = |a: usize, b: usize| areas[b].y >= areas[a].y;
    let spread = |part: usize, other: usize, line: usize| {
        let lower = below(part, other);
        let mut ends: Vec<(f64, usize)> = edges
            .iter()
            .enumerate()
            .filter_map(|(at, (from, to))| match part {
                part if part == *from => Some((*to, at)),
                part if part == *to => Some((*from, at)),
                _ => None,
            })
            .filter(|(other, _)| below(part, *other) == lower)
            .map(|(other, at)| (areas[other].middle(), at))
            .collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let position = ends.iter().position(|(_, at)| *at == line).unwrap_or_default();
        let area = &areas[part];
        let x = area.x + area.width * (position as f64 + 1.0) / (ends.len() as f64 + 1.0);
        (x, if lower { area.bottom() } else { area.y })
    };
    let line = |(at, (from, to)): (usize, &(usize, usize))| Line {
        from: *from,
        to: *to,
        start: spread(*from, *to, at),
        end: spread(*to, *from, at),
        arc: areas[*from].y == areas[*to].y,
    };
    edges.iter().enumerate().map(line).collect()
}
