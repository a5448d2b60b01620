//! A small SVG writer: a frame with two axes, lines, rules, marks and bars. Text is text, colours are classes that the
//! page's style gives a value for light, dark and print.

use std::fmt::Write;

use maud::{Markup, html};

/// Every picture is this wide, in its own units: at 330 px of a phone its text is 11 px high.
pub const WIDTH: f64 = 400.0;
/// And this high.
pub const HEIGHT: f64 = 236.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 26.0;

/// A range of values along one side of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// From `low` to `high`; a range without width gets some.
    pub fn new(low: f64, high: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high }
    }

    /// From 0 to a round number that all of `values` are under.
    pub fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        if most <= 0.0 {
            return Self::new(0.0, 1.0);
        }
        let step = step(most * 1.08, 4.0);
        Self::new(0.0, (most * 1.08 / step).ceil() * step)
    }

    /// Round numbers within it, about `count` of them.
    pub fn ticks(&self, count: f64) -> Vec<f64> {
        let step = step(self.high - self.low, count);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).take(12).map(|tick| tick as f64 * step).collect()
    }

    /// Where a value lies, 0 to 1; what is beyond an end lies on it.
    fn share(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Whether it reaches this value.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// 1, 2 or 5 times a power of ten, so that about `count` steps make `range`.
fn step(range: f64, count: f64) -> f64 {
    let rough = (range / count).max(f64::MIN_POSITIVE);
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= rough * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A number as an attribute: one digit after the point is enough, and the same everywhere.
pub fn c(value: f64) -> String {
    quality_core::history::decimal(value, 1)
}

/// A picture with two axes.
pub struct Plot {
    /// Values from left to right.
    pub x: Scale,
    /// Values from the bottom up.
    pub y: Scale,
    id: String,
    title: String,
    description: String,
    body: Vec<Markup>,
    height: f64,
}

impl Plot {
    /// An empty one. `id` is unique in the page; title and description are what it says to those who do not see it.
    pub fn new(id: &str, title: &str, description: &str, x: Scale, y: Scale) -> Self {
        Self {
            x,
            y,
            id: id.to_owned(),
            title: title.to_owned(),
            description: description.to_owned(),
            body: Vec::new(),
            height: HEIGHT,
        }
    }

    /// Of another height.
    #[must_use]
    pub fn high(mut self, height: f64) -> Self {
        self.height = height;
        self
    }

    /// Pixels from the left.
    pub fn px(&self, x: f64) -> f64 {
        LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)
    }

    /// Pixels from the top.
    pub fn py(&self, y: f64) -> f64 {
        self.height - BOTTOM - self.y.share(y) * (self.height - TOP - BOTTOM)
    }

    /// Adds something drawn.
    pub fn draw(&mut self, markup: Markup) {
        self.body.push(markup);
    }

    /// The axis on the left with lines across, and its unit above.
    pub fn left_axis(&mut self, unit: &str, ticks: &[(f64, String)]) {
        let lines: Vec<(f64, &str)> = ticks
            .iter()
            .map(|(value, label)| (self.py(*value), label.as_str()))
            .collect();
        self.draw(html! {
            text.axis x="2" y=(c(TOP - 12.0)) { (unit) }
            @for (y, label) in lines {
                line.grid x1=(c(LEFT)) x2=(c(WIDTH - RIGHT)) y1=(c(y)) y2=(c(y)) {}
                text.axis x=(c(LEFT - 6.0)) y=(c(y + 4.0)) text-anchor="end" { (label) }
            }
        });
    }

    /// The axis at the bottom.
    pub fn bottom_axis(&mut self, ticks: &[(f64, String)]) {
        let base = self.height - BOTTOM;
        // About 9 units a letter; a name that would lie on the one before is left out, its stroke is not.
        let mut free = 0.0;
        let mut strokes = Vec::new();
        let mut labels = Vec::new();
        for (value, label) in ticks {
            let (x, half) = (self.px(*value), 1.0 + 4.4 * label.chars().count() as f64);
            let middle = x.min(WIDTH - 1.0 - half);
            strokes.push(x);
            if middle - half >= free {
                labels.push((middle, label.as_str()));
                free = middle + half + 2.0;
            }
        }
        self.draw(html! {
            line.base x1=(c(LEFT)) x2=(c(WIDTH - RIGHT)) y1=(c(base)) y2=(c(base)) {}
            @for x in strokes { line.base x1=(c(x)) x2=(c(x)) y1=(c(base)) y2=(c(base + 4.0)) {} }
            @for (x, label) in labels { text.axis x=(c(x)) y=(c(base + 18.0)) text-anchor="middle" { (label) } }
        });
    }

    /// A line of values; it breaks where one is missing. What stands alone is a dot.
    pub fn line(&mut self, class: &str, runs: &[Vec<(f64, f64)>]) {
        let mut path = String::new();
        let mut dots = Vec::new();
        for run in runs {
            if let [(x, y)] = run.as_slice() {
                dots.push((self.px(*x), self.py(*y)));
                continue;
            }
            for (index, (x, y)) in run.iter().enumerate() {
                path.push(if index == 0 { 'M' } else { 'L' });
                // Writing to a String cannot fail.
                let _ = write!(path, "{} {}", c(self.px(*x)), c(self.py(*y)));
            }
        }
        self.draw(html! {
            @if !path.is_empty() { path.line.(class) d=(path) {} }
            @for (x, y) in dots { circle.dot.(class) cx=(c(x)) cy=(c(y)) r="2" {} }
        });
    }

    /// A limit: a dashed line across with its name, under the line where `below`: two limits keep their names apart.
    pub fn rule(&mut self, value: f64, label: &str, below: bool) {
        if !self.y.holds(value) {
            return;
        }
        let y = self.py(value);
        let room = (y - TOP, self.height - BOTTOM - y);
        let text = if (below || room.0 < 14.0) && room.1 > 16.0 {
            y + 13.0
        } else {
            y - 4.0
        };
        self.draw(html! {
            line.rule x1=(c(LEFT)) x2=(c(WIDTH - RIGHT)) y1=(c(y)) y2=(c(y)) {}
            // On the left: the newest values are on the right.
            text.rule x=(c(LEFT + 4.0)) y=(c(text)) { (label) }
        });
    }

    /// Marks on the time axis by their numbers. Those that would lie on each other share one sign: `2–5`.
    pub fn marks(&mut self, marks: &[(f64, usize, String)]) {
        let mut groups: Vec<(f64, f64, Vec<usize>)> = Vec::new();
        for (at, number, _) in marks {
            let x = self.px(*at);
            match groups.last_mut() {
                Some((_, end, numbers)) if x - *end < 22.0 => {
                    *end = x;
                    numbers.push(*number);
                }
                _ => groups.push((x, x, vec![*number])),
            }
        }
        let base = self.height - BOTTOM;
        let lines: Vec<(f64, &str)> = marks
            .iter()
            .map(|(at, _, what)| (self.px(*at), what.as_str()))
            .collect();
        self.draw(html! {
            @for (x, what) in lines {
                line.mark x1=(c(x)) x2=(c(x)) y1=(c(TOP - 12.0)) y2=(c(base)) { title { (what) } }
            }
            @for (start, end, numbers) in groups {
                @let label = match numbers.as_slice() {
                    [first, .., last] => format!("{first}–{last}"),
                    [only] => only.to_string(),
                    [] => String::new(),
                };
                @let width = 9.0 + 7.0 * label.chars().count() as f64;
                @let middle = (f64::midpoint(start, end)).clamp(LEFT + width / 2.0, WIDTH - RIGHT - width / 2.0);
                rect.sign x=(c(middle - width / 2.0)) y="8" width=(c(width)) height="18" rx="9" {}
                text.sign x=(c(middle)) y="21" text-anchor="middle" { (label) }
            }
        });
    }

    /// The picture.
    pub fn finish(self) -> Markup {
        picture(
            &self.id,
            &self.title,
            &self.description,
            self.height,
            &html! { @for part in &self.body { (part) } },
        )
    }
}

/// An SVG with its title and its text alternative.
pub fn picture(id: &str, title: &str, description: &str, height: f64, body: &Markup) -> Markup {
    let (title_id, description_id) = (format!("{id}-title"), format!("{id}-desc"));
    html! {
        svg viewBox={ "0 0 " (c(WIDTH)) " " (c(height)) } role="img" aria-labelledby={ (title_id) " " (description_id) } {
            title id=(title_id) { (title) }
            desc id=(description_id) { (description) }
            (body)
        }
    }
}

/// What a line looks like, beside its name.
pub fn key(entries: &[(&str, &str)]) -> Markup {
    html! {
        ul.key {
            @for (class, name) in entries {
                li {
                    svg viewBox="0 0 28 10" aria-hidden="true" focusable="false" { path.line.(class) d="M1 5L27 5" {} }
                    (name)
                }
            }
        }
    }
}
