//! Bucket layouts of services in the field, and how quantile intervals on them cover.

use rayon::prelude::*;

use super::Share;
use super::traffic::normal;
use quality_stats::histogram::Histogram;
use quality_stats::native::NativeHistogram;
use quality_stats::{Estimate, Seed, StatsError};

/// Edges of the Prometheus client libraries' default histogram, in seconds.
pub const CLIENT: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Edges of Istio's request duration, in milliseconds.
pub const ISTIO: [f64; 20] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
    7_200_000.0,
];
/// Edges of vLLM's end-to-end request latency, in seconds.
pub const VLLM: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1_920.0, 7_680.0,
];

/// A bucket layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Client-library default.
    Client,
    /// Istio's.
    Istio,
    /// vLLM's.
    Vllm,
    /// Native, schema 3.
    Native,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Client, Self::Istio, Self::Vllm, Self::Native];

    /// The name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client default",
            Self::Istio => "Istio",
            Self::Vllm => "vLLM",
            Self::Native => "native, schema 3",
        }
    }

    /// The edges in seconds; none for the native layout.
    pub fn edges(self) -> Vec<f64> {
        match self {
            Self::Client => CLIENT.to_vec(),
            Self::Istio => ISTIO.iter().map(|edge| edge / 1_000.0).collect(),
            Self::Vllm => VLLM.to_vec(),
            Self::Native => Vec::new(),
        }
    }

    /// The quantile of `latencies` in seconds, as this layout shows it.
    pub fn quantile(self, latencies: &[f64], q: f64) -> Result<Estimate, StatsError> {
        if self == Self::Native {
            let mut buckets = std::collections::BTreeMap::new();
            for latency in latencies {
                *buckets.entry((latency.log2() * 8.0).ceil() as i32).or_insert(0.0) += 1.0;
            }
            return NativeHistogram::new(3, 0.0, 0.0, buckets.into_iter().collect())?.quantile(q, 1.0);
        }
        let count = |edge: f64| latencies.iter().filter(|latency| **latency <= edge).count() as f64;
        let edges = self.edges().into_iter().chain([f64::INFINITY]);
        Histogram::new(edges.map(|edge| (edge, count(edge))).collect())?.quantile(q, 1.0)
    }
}

/// How often the interval holds the true quantile of a lognormal (median 200 ms, σ 0.5), how often the
/// interpolated point lies within 5 % of it, and how often there is no upper end.
pub fn coverage(layout: Layout, n: usize, q: f64, z: f64, runs: u64) -> Result<[Share; 3], StatsError> {
    let seed = Seed::new("layouts", &format!("{layout:?} {n} {q}"));
    let truth = 0.2 * (0.5 * z).exp();
    let hits = (0..runs)
        .into_par_iter()
        .map(|run| {
            let mut rng = seed.generator(run);
            let latencies: Vec<f64> = (0..n).map(|_| 0.2 * (0.5 * normal(&mut rng)).exp()).collect();
            let estimate = layout.quantile(&latencies, q)?;
            Ok([
                u64::from(estimate.ci95.contains(truth)),
                u64::from((estimate.value / truth - 1.0).abs() < 0.05),
                u64::from(!estimate.ci95.high.is_finite()),
            ])
        })
        .try_reduce(|| [0; 3], |a, b| Ok([a[0] + b[0], a[1] + b[1], a[2] + b[2]]))?;
    Ok(hits.map(|hits| Share { hits, runs }))
}
