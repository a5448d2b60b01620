//! The latencies of the newest window against the limit.

use maud::{Markup, html};

use super::{
    chart::{Plot, Scale, c},
    number::{number, plain},
    table,
};
use quality_core::{
    format,
    history::{Bucket, History, decimal},
};
use quality_stats::histogram::{EdgeChoice, Histogram};

const ID: &str = "histogram";
const HEADING: &str = "Latencies of the last 5 minutes";

/// The buckets with what they are held against.
struct Bars<'a> {
    all: &'a [Bucket],
    /// Upper edges, milliseconds.
    edges: Vec<f64>,
    limit: Option<f64>,
    /// The edge that stands for the limit: the nearest within a tenth of it, else the next one above.
    judged: Option<f64>,
    total: i64,
    /// The first and the last bar that are drawn.
    shown: (usize, usize),
}

impl<'a> Bars<'a> {
    /// Nothing where no request ended.
    fn of(history: &'a History) -> Option<Self> {
        let all = history.histogram.as_slice();
        let total = all.iter().map(|bar| bar.n.max(0)).fold(0, i64::saturating_add);
        let first = all.iter().position(|bar| bar.n > 0)?;
        let last = all.iter().rposition(|bar| bar.n > 0)?;
        let edges: Vec<f64> = all.iter().map(|bar| number(&bar.le).unwrap_or(f64::INFINITY)).collect();
        let limit = number(&history.limits.latency);
        let judged = limit.and_then(|limit| match Histogram::split(&edges, limit) {
            EdgeChoice::At { edge, .. } | EdgeChoice::Between { high: edge, .. } | EdgeChoice::Below { high: edge } => {
                Some(edge)
            }
            EdgeChoice::Above { .. } | EdgeChoice::Unresolved => None,
        });
        // The limit is seen, with a bar on its other side.
        let at_limit = limit.and_then(|limit| edges.iter().position(|edge| *edge >= limit));
        let shown = at_limit.map_or((first, last), |at| {
            (first.min(at), last.max((at + 1).min(all.len() - 1)))
        });
        Some(Self {
            all,
            edges,
            limit,
            judged,
            total,
            shown,
        })
    }

    fn lower(&self, index: usize) -> f64 {
        index.checked_sub(1).map_or(0.0, |below| self.edges[below])
    }

    /// Whether all of a bar lies over the edge that stands for the limit.
    fn is_over(&self, index: usize) -> bool {
        self.judged.is_some_and(|judged| self.lower(index) >= judged * 0.9999)
    }

    fn sentence(&self) -> String {
        let over = (0..self.all.len())
            .filter(|index| self.is_over(*index))
            .map(|index| self.all[index].n.max(0));
        let over = over.fold(0, i64::saturating_add);
        let share = decimal(100.0 * over as f64 / self.total as f64, 2);
        let requests = format::thousands(self.total as f64);
        match (self.limit.map(plain), self.judged.map(plain)) {
            (Some(limit), Some(judged)) if limit == judged => {
                format!("{requests} requests, {share}% of them slower than the limit of {limit} ms.")
            }
            (Some(limit), Some(judged)) => format!(
                "{requests} requests, {share}% of them slower than {judged} ms, the edge that stands for the limit of \
                 {limit} ms."
            ),
            (Some(limit), None) => {
                format!("{requests} requests; no edge of the histogram reaches the limit of {limit} ms.")
            }
            (None, _) => format!("{requests} requests; the policy sets no limit."),
        }
    }

    fn picture(&self, sentence: &str) -> Markup {
        let (first, last) = self.shown;
        let shown = &self.all[first..=last];
        let y = Scale::from_zero(shown.iter().map(|bar| bar.n as f64));
        let mut plot = Plot::new(ID, HEADING, sentence, Scale::new(0.0, shown.len() as f64), y);
        let ticks: Vec<(f64, String)> = y.ticks(4.0).into_iter().map(|tick| (tick, plain(tick))).collect();
        plot.left_axis("requests", &ticks);
        let every = shown.len().div_ceil(6).max(1);
        let labels: Vec<(f64, String)> = shown
            .iter()
            .enumerate()
            .filter(|(index, _)| (shown.len() - 1 - index).is_multiple_of(every))
            .map(|(index, bar)| {
                let edge = number(&bar.le).map_or_else(|| "∞".to_owned(), plain);
                (index as f64 + 1.0, edge)
            })
            .collect();
        plot.bottom_axis(&labels);
        for (index, bar) in shown.iter().enumerate() {
            let (left, right) = (plot.px(index as f64), plot.px(index as f64 + 1.0));
            let (top, base) = (plot.py(bar.n as f64), plot.py(0.0));
            let class = if self.is_over(first + index) { "over" } else { "bar" };
            plot.draw(html! {
                rect.(class) x=(c(left + 1.0)) y=(c(top)) width=(c(right - left - 2.0)) height=(c(base - top)) {
                    title { "≤ " (bar.le) " ms: " (bar.n) }
                }
            });
        }
        self.limit_line(&mut plot);
        plot.finish()
    }

    /// The limit, from the top to the bottom, at its place between two edges.
    fn limit_line(&self, plot: &mut Plot) {
        let Some(limit) = self.limit else { return };
        let Some(at) = self.edges.iter().position(|edge| *edge >= limit) else {
            return;
        };
        let (lower, upper) = (self.lower(at), self.edges[at]);
        let within = if upper.is_finite() {
            (limit - lower) / (upper - lower)
        } else {
            0.0
        };
        let x = plot.px((at - self.shown.0) as f64 + within.clamp(0.0, 1.0));
        let (anchor, text) = if x > 250.0 {
            ("end", x - 5.0)
        } else {
            ("start", x + 5.0)
        };
        let base = plot.py(0.0);
        plot.draw(html! {
            line.rule x1=(c(x)) x2=(c(x)) y1="8" y2=(c(base)) {}
            text.rule x=(c(text)) y="16" text-anchor=(anchor) { "limit " (plain(limit)) " ms" }
        });
    }
}

/// The figure.
pub fn figure(history: &History) -> Markup {
    let Some(bars) = Bars::of(history) else {
        return table::empty(ID, HEADING, "no request ended, or the policy names no histogram.");
    };
    let sentence = bars.sentence();
    let rows: Vec<Vec<String>> = bars
        .all
        .iter()
        .map(|bar| vec![bar.le.clone(), format::thousands(bar.n as f64)])
        .collect();
    let picture = html! {
        (bars.picture(&sentence))
        p.key {
            "Milliseconds from left to right, each bar a bucket of the service's histogram. Filled: up to the edge that "
            "stands for the limit. Outlined: slower."
        }
    };
    let data = table::data("latencies", &["Up to (ms)", "Requests"], &rows);
    table::figure(ID, HEADING, &sentence, &picture, &data)
}
