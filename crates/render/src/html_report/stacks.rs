//! Where the time of the profiled run went, from the outside in. `quality-officer check --flame-graph` draws the whole
//! of it, interactive, as a file of its own: that needs a script, and this page runs none.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{
    chart::{WIDTH, c, picture},
    table,
};
use quality_core::{
    format,
    history::{History, decimal},
};

/// Deeper frames are left out of the picture, not out of the numbers.
const MAX_DEPTH: usize = 8;
const ROW: f64 = 24.0;

/// A frame with what it calls.
#[derive(Default)]
struct Frame {
    micros: i64,
    inner: BTreeMap<String, Frame>,
}

/// A box of the picture.
struct Drawn {
    x: f64,
    y: f64,
    width: f64,
    name: String,
    micros: i64,
}

/// The figure.
pub fn figure(history: &History) -> Markup {
    let (id, heading) = ("stacks", "Where the time goes");
    let total: i64 = history
        .stacks
        .iter()
        .map(|stack| stack.micros.max(0))
        .fold(0, i64::saturating_add);
    if total == 0 {
        let why = "the release's run has no profiler_trace.json, or the policy names no evaluation evidence.";
        return table::empty(id, heading, why);
    }
    let mut root = Frame::default();
    for stack in &history.stacks {
        let mut frame = &mut root;
        frame.micros = frame.micros.saturating_add(stack.micros.max(0));
        for name in stack.frames.split(';').take(MAX_DEPTH) {
            frame = frame.inner.entry(name.to_owned()).or_default();
            frame.micros = frame.micros.saturating_add(stack.micros.max(0));
        }
    }
    let mut boxes = Vec::new();
    place(&root, 0.0, 0, total, &mut boxes);
    let depth = boxes.iter().map(|one| one.y).fold(0.0, f64::max) + ROW;
    let share = |micros: i64| decimal(100.0 * micros as f64 / total as f64, 1);
    // What everything is in says nothing: the first frame that has others beside it.
    let mut outer = &root;
    while let Some(only) = outer
        .inner
        .values()
        .next()
        .filter(|only| outer.inner.len() == 1 && !only.inner.is_empty())
    {
        outer = only;
    }
    let largest = outer.inner.iter().max_by_key(|(_, frame)| frame.micros);
    let sentence = largest.map_or_else(String::new, |(name, frame)| {
        format!(
            "{} ms of the longest stacks of the profiled run; {} takes {}%.",
            format::thousands(total as f64 / 1e3),
            super::cut(name),
            share(frame.micros)
        )
    });
    let body = html! {
        @for one in &boxes {
            rect.frame x=(c(one.x + 0.5)) y=(c(one.y + 0.5)) width=(c((one.width - 1.0).max(0.3))) height=(c(ROW - 2.0)) {
                title { (super::cut(&one.name)) ": " (share(one.micros)) "%" }
            }
            // About 6.6 units a letter: a name that does not fit is cut, one that hardly does is left out.
            @let fits = ((one.width - 8.0) / 6.6).floor().max(0.0) as usize;
            @if fits >= 4 {
                text.frame x=(c(one.x + 4.0)) y=(c(one.y + 16.0)) { (short(&one.name, fits)) }
            }
        }
    };
    let rows: Vec<Vec<String>> = history
        .stacks
        .iter()
        .map(|stack| {
            vec![
                stack.frames.replace(';', " › "),
                decimal(stack.micros as f64 / 1e3, 3),
                share(stack.micros),
            ]
        })
        .collect();
    let drawn = html! {
        (picture(id, heading, &sentence, depth, &body))
        p.key { "From top to bottom: what calls what. Wider takes longer. At most 20 stacks are kept here; `quality-officer check --flame-graph FILE` draws all." }
    };
    table::figure(
        id,
        heading,
        &sentence,
        &drawn,
        &table::data("stacks", &["Stack", "ms", "%"], &rows),
    )
}

fn place(frame: &Frame, x: f64, depth: usize, total: i64, boxes: &mut Vec<Drawn>) {
    let mut inner: Vec<(&String, &Frame)> = frame.inner.iter().collect();
    inner.sort_by(|a, b| b.1.micros.cmp(&a.1.micros).then(a.0.cmp(b.0)));
    let mut left = x;
    for (name, frame) in inner {
        let width = WIDTH * frame.micros as f64 / total as f64;
        boxes.push(Drawn {
            x: left,
            y: ROW * depth as f64,
            width,
            name: name.clone(),
            micros: frame.micros,
        });
        place(frame, left, depth + 1, total, boxes);
        left += width;
    }
}

fn short(name: &str, fits: usize) -> String {
    if name.chars().count() <= fits {
        return name.to_owned();
    }
    let head: String = name.chars().take(fits.saturating_sub(1)).collect();
    format!("{head}…")
}
