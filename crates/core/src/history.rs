//! History: what a report's charts are drawn from, kept small enough for a status. Pure.
//!
//! The newest looks stand for themselves; older ones are thinned to one row for five minutes and then for an hour. A
//! thinned row holds the worst of its time (the least throughput, the most of everything else), so that a short breach
//! is still seen a day later.

mod evidence;
mod limits;
mod point;

use serde::{Deserialize, Serialize};

pub use evidence::{CalibrationBin, Day, Measured, Stack};
pub use limits::Limits;
pub use point::{Field, Point};

use crate::{counters::Look, judge::Verdict};
use quality_stats::histogram::Histogram;

/// Looks that stand for themselves.
pub const MAX_LOOKS: usize = 60;
/// They are at most this old, seconds.
const LOOKS_SECONDS: i64 = 900;
/// Older rows: up to this age, a row for so many seconds.
const TIERS: [(i64, i64); 2] = [(7_200, 300), (86_400, 3_600)];
/// Rows in all: looks, then 24 and 24, and one more where each tier begins and ends.
pub const MAX_POINTS: usize = 112;
/// Releases that are remembered.
pub const MAX_RELEASES: usize = 8;
/// Bars of the latency histogram.
pub const MAX_BUCKETS: usize = 28;

/// What the charts of a report are drawn from. Numbers are decimal strings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct History {
    /// One look a row, oldest first: unix seconds, then requests, failed requests (%), the latencies P50, the policy's quantile and P99 (ms), requests per second, requests in flight, GPU utilisation (%), GPU memory (%), and log10 of the evidence against the release by error rate, latency, throughput, GPU utilisation and GPU memory. `-` is not known. Older than 15 minutes a row is the worst of 5 minutes, older than 2 hours of an hour.
    #[schemars(length(max = 112))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<Point>,
    /// The releases that ran in this time, oldest first.
    #[schemars(length(max = 8))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<ReleaseMark>,
    /// The latencies of the last five minutes.
    #[schemars(length(max = 28))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<Bucket>,
    /// The calibration curve: predicted against observed, by bin.
    #[schemars(length(max = 15))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calibration: Vec<CalibrationBin>,
    /// Compliance by day, oldest first.
    #[schemars(length(max = 15))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compliance: Vec<Day>,
    /// The measures of compliance with their intervals.
    #[schemars(length(max = 8))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measured: Vec<Measured>,
    /// Where the time of the profiled run went, the longest stacks first.
    #[schemars(length(max = 20))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stacks: Vec<Stack>,
    /// What all this is held against.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

/// A release that began to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ReleaseMark {
    /// When, unix seconds.
    pub at: i64,
    /// The Deployment's revision.
    #[schemars(length(max = 32))]
    pub revision: String,
    /// Its first image, shortened.
    #[schemars(length(max = 80))]
    pub image: String,
}

/// A bar of the latency histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Bucket {
    /// Its upper edge, milliseconds; `+Inf` for the last one.
    #[schemars(length(max = 24))]
    pub le: String,
    /// How many requests ended in it.
    pub n: i64,
}

impl History {
    /// As it was recorded, without what a clock that ran ahead left behind: looks later than `now`, unix seconds.
    #[must_use]
    pub fn recorded(mut self, now: i64) -> Self {
        self.points.retain(|point| point.at() <= now);
        self.releases.retain(|release| release.at <= now);
        self.points.sort_by_key(Point::at);
        self
    }

    /// Takes a look with what the judge says after it. One that is not newer than the last changes nothing. `quantile`
    /// is the policy's, in (0, 1).
    pub fn look(&mut self, look: &Look, verdict: &Verdict, quantile: Option<f64>) {
        if self.points.last().is_some_and(|last| look.at <= last.at()) {
            return;
        }
        self.points.push(Point::of(look, verdict, quantile));
        thin(&mut self.points);
    }

    /// Remembers a release that began to run, unless it is the last one that did.
    pub fn release(&mut self, at: i64, revision: &str, image: &str) {
        let short = |text: &str, most| text.chars().take(most).collect::<String>();
        let (revision, image) = (short(revision, 32), short(image, 80));
        let known = self.releases.last();
        if known.is_some_and(|last| last.revision == revision && last.image == image) {
            return;
        }
        self.releases.push(ReleaseMark { at, revision, image });
        let surplus = self.releases.len().saturating_sub(MAX_RELEASES);
        self.releases.drain(..surplus);
    }
}

/// Merges what is no longer new. The same points in, the same points out; a second time changes nothing.
fn thin(points: &mut Vec<Point>) {
    let Some(newest) = points.last().map(Point::at) else {
        return;
    };
    let looks = points.len().saturating_sub(MAX_LOOKS);
    let mut kept: Vec<(Option<(i64, i64)>, Point)> = Vec::with_capacity(MAX_POINTS);
    for (index, point) in points.drain(..).enumerate() {
        let age = newest - point.at();
        if index >= looks && age < LOOKS_SECONDS {
            kept.push((None, point));
            continue;
        }
        let Some((_, seconds)) = TIERS.into_iter().find(|(oldest, _)| age < *oldest) else {
            continue;
        };
        let place = Some((seconds, point.at().div_euclid(seconds)));
        match kept.last_mut() {
            Some((known, merged)) if *known == place => merged.merge(&point),
            _ => kept.push((place, point)),
        }
    }
    let surplus = kept.len().saturating_sub(MAX_POINTS);
    points.extend(kept.into_iter().skip(surplus).map(|(_, point)| point));
}

/// The bars of a histogram in seconds; neighbours are put together where there are too many.
pub fn buckets(histogram: &Histogram) -> Vec<Bucket> {
    let (edges, cumulative) = (histogram.edges(), histogram.cumulative());
    let step = edges.len().div_ceil(MAX_BUCKETS).max(1);
    let last = edges.len().saturating_sub(1);
    let mut before = 0.0;
    edges
        .iter()
        .zip(cumulative)
        .enumerate()
        .filter(|(index, _)| index % step == step - 1 || *index == last)
        .map(|(_, (edge, count))| {
            let n = (count - before).max(0.0).round() as i64;
            before = *count;
            Bucket {
                le: edge_text(*edge),
                n,
            }
        })
        .collect()
}

fn edge_text(edge: f64) -> String {
    if !edge.is_finite() {
        return "+Inf".to_owned();
    }
    let text = decimal(edge * 1e3, 3);
    // An edge that nobody means must not make the status unwritable.
    if text.len() <= 20 {
        text
    } else {
        format!("{:.3e}", edge * 1e3)
    }
}

/// A number with at most so many digits after the point, and no zeros at its end.
pub fn decimal(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
