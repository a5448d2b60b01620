//! The latency trigger: P95 over a limit is the same as more than 5 % of the requests slower than it, and
//! that is a question of counts at a histogram edge. Interpolating inside a bucket is not (it is biased).

use crate::{
    counters::{Counts, Look, LookHistogram, NoDataReason, Reading},
    incident::Trigger,
    judge::{TriggerVerdict, stream},
    policy::Latency,
};
use quality_stats::{
    Estimate,
    histogram::{EdgeChoice, Histogram},
    proportion::wilson,
    sequential::Detector,
};

/// Judges a latency quantile.
#[derive(Clone, Debug)]
pub struct LatencyJudge {
    latency: Latency,
    design_effect: f64,
    log_threshold: f64,
    detector: Option<Detector>,
    edges: Edges,
    last: Reading<()>,
    warming: bool,
}

/// Where the histogram lets the limit be judged.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Edges {
    /// Slower than this is bad for sure: the release is in breach when too many are.
    breach: Option<f64>,
    /// At or under this is good for sure: the release is healthy when enough are.
    healthy: Option<f64>,
}

impl LatencyJudge {
    /// A judge that has seen nothing.
    pub fn new(latency: Latency, design_effect: f64, log_threshold: f64, started: i64) -> Self {
        let detector = Detector::share(latency.tolerated(), design_effect)
            .ok()
            .map(|mut detector| {
                detector.start(started);
                detector
            });
        let edges = Edges {
            breach: None,
            healthy: None,
        };
        Self {
            latency,
            design_effect,
            log_threshold,
            detector,
            edges,
            last: Err(NoDataReason::NoData),
            warming: true,
        }
    }

    /// Takes one look. While the release warms up, slow requests are not held against it.
    pub fn look(&mut self, look: &Look, warm: bool) {
        self.warming = !warm;
        self.last = match &look.latency {
            Err(unknown) => Err(*unknown),
            Ok(histogram) => {
                self.edges = choose(self.latency, &histogram.edges);
                match (&mut self.detector, self.edges.breach) {
                    (Some(detector), Some(edge)) if warm => {
                        let counts = slower(histogram, edge);
                        detector
                            .look(look.at, counts.n, counts.bad)
                            .map_err(|_| NoDataReason::BadValue)
                    }
                    _ => Ok(()),
                }
            }
        };
    }

    /// What the looks so far say.
    pub fn verdict<'a>(&self, looks: &(impl Iterator<Item = &'a Look> + Clone)) -> TriggerVerdict {
        let log_evidence = self.detector.as_ref().map_or(f64::NEG_INFINITY, Detector::log_evidence);
        let onset = self.detector.as_ref().and_then(Detector::onset);
        let breach = log_evidence >= self.log_threshold;
        let since = onset.filter(|_| breach);
        let share = |edge: Option<f64>| {
            let edge = edge?;
            let counts = looks.clone().map(|look| {
                (
                    look.at,
                    look.latency
                        .as_ref()
                        .map(|histogram| slower(histogram, edge))
                        .map_err(|unknown| *unknown),
                )
            });
            let total = stream::sum(counts, since);
            wilson(total.bad, total.n, self.design_effect).ok()
        };
        let tolerated = self.latency.tolerated();
        let surely_slow = share(self.edges.breach);
        let surely_fast = share(self.edges.healthy);
        let level = self.quantile(looks.clone(), since);
        TriggerVerdict {
            trigger: Trigger::Latency,
            state: stream::state(self.last, breach, surely_fast.as_ref(), |value| value <= tolerated),
            estimate: if breach {
                surely_slow.or(surely_fast)
            } else {
                surely_fast.or(surely_slow)
            },
            level,
            limit: tolerated,
            level_limit: Some(self.latency.limit()),
            log_evidence,
            log_threshold: self.log_threshold,
            onset,
            design_effect: self.design_effect,
            note: self.note(),
        }
    }

    /// The quantile itself, seconds: an interpolated point with the order-statistic interval on the edges.
    fn quantile<'a>(&self, looks: impl Iterator<Item = &'a Look>, since: Option<i64>) -> Option<Estimate> {
        merged(looks.filter(|look| since.is_none_or(|onset| look.at > onset)))?
            .quantile(self.latency.quantile, self.design_effect)
            .ok()
    }

    fn note(&self) -> String {
        let limit = self.latency.limit();
        let text = match (self.edges.breach, self.edges.healthy) {
            (Some(breach), Some(healthy)) if (breach - healthy).abs() < f64::EPSILON => {
                if (breach - limit).abs() <= limit * 1e-9 {
                    String::new()
                } else {
                    format!(
                        "judged at the {} edge: the histogram has none at {}",
                        milliseconds(breach),
                        milliseconds(limit)
                    )
                }
            }
            (Some(breach), Some(healthy)) => format!(
                "judged between the {} and {} edges: add a bucket edge at {} to decide between them",
                milliseconds(healthy),
                milliseconds(breach),
                milliseconds(limit)
            ),
            (None, Some(healthy)) => format!(
                "the largest edge is {}: add a bucket edge at {} to see a breach",
                milliseconds(healthy),
                milliseconds(limit)
            ),
            (Some(breach), None) => format!(
                "the smallest edge is {}: add a bucket edge at {} to see health",
                milliseconds(breach),
                milliseconds(limit)
            ),
            (None, None) => String::new(),
        };
        match (self.warming, text.is_empty()) {
            (true, true) => "warming up: slow requests are not held against the release yet".to_owned(),
            (true, false) => {
                format!("warming up: slow requests are not held against the release yet; {text}")
            }
            (false, _) => text,
        }
    }
}

/// The latencies of several looks together: of the newest layout, where the edges changed in between.
pub fn merged<'a>(looks: impl Iterator<Item = &'a Look>) -> Option<Histogram> {
    let mut edges: Option<&[f64]> = None;
    let mut total: Vec<f64> = Vec::new();
    for histogram in looks.filter_map(|look| look.latency.as_ref().ok()) {
        if edges.is_some_and(|edges| edges != &*histogram.edges) {
            total.clear();
        }
        edges = Some(&histogram.edges);
        total.resize(histogram.cumulative.len(), 0.0);
        total
            .iter_mut()
            .zip(&histogram.cumulative)
            .for_each(|(sum, count)| *sum += count);
    }
    let buckets = edges?.iter().copied().zip(total).collect();
    Histogram::new(buckets).ok()
}

/// Where a histogram with these edges lets the objective be judged.
fn choose(latency: Latency, edges: &[f64]) -> Edges {
    let named = latency
        .edge
        .filter(|edge| edges.iter().any(|known| (known - edge).abs() <= edge * 1e-9));
    if let Some(edge) = named {
        return Edges {
            breach: Some(edge),
            healthy: Some(edge),
        };
    }
    match Histogram::split(edges, latency.limit()) {
        EdgeChoice::At { edge, .. } => Edges {
            breach: Some(edge),
            healthy: Some(edge),
        },
        EdgeChoice::Between { low, high } => Edges {
            breach: Some(high),
            healthy: Some(low),
        },
        EdgeChoice::Above { low } => Edges {
            breach: None,
            healthy: Some(low),
        },
        EdgeChoice::Below { high } => Edges {
            breach: Some(high),
            healthy: None,
        },
        EdgeChoice::Unresolved => Edges {
            breach: None,
            healthy: None,
        },
    }
}

/// Requests of a histogram, and those slower than the edge that the objective is judged at.
pub fn slow_counts(latency: Latency, histogram: &LookHistogram) -> Option<Counts> {
    choose(latency, &histogram.edges)
        .breach
        .map(|edge| slower(histogram, edge))
}

/// Requests of a look, and those slower than the edge.
fn slower(histogram: &LookHistogram, edge: f64) -> Counts {
    let n = histogram.cumulative.last().copied().unwrap_or(0.0);
    let fast = histogram
        .edges
        .iter()
        .position(|known| (known - edge).abs() <= edge * 1e-9)
        .and_then(|index| histogram.cumulative.get(index).copied());
    // A look whose layout lacks the edge says nothing at it.
    fast.map_or(Counts::default(), |fast| Counts {
        n,
        bad: (n - fast).max(0.0),
    })
}

fn milliseconds(seconds: f64) -> String {
    format!("{} ms", (seconds * 1e6).round() / 1e3)
}
