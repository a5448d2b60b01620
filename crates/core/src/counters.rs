//! From raw cumulative counters to looks: differences, counter resets, new pods, missing and stale data.
//!
//! A [`Snapshot`] holds what the metrics source said of one Deployment's pods at one instant; a
//! [`CounterDeltas`] turns a row of them into [`Look`]s. The same snapshots give the same looks, whether they
//! come one by one or from history.

mod deltas;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

pub use deltas::{CounterDeltas, Coverage};

/// Why a value is not known. Nothing is decided on an unknown value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoDataReason {
    /// The source answered and had nothing about these pods.
    NoData,
    /// The newest sample is older than two intervals.
    Stale,
    /// The source said that its answer is incomplete, or some Ready pods are missing from it.
    Partial,
    /// The source did not answer, or not in a way that can be used.
    ProviderError,
    /// A value is NaN, infinite or negative, a histogram is not monotone, or counters contradict the
    /// reading before.
    BadValue,
    /// It takes two readings of a counter to know a rate; this was the first.
    FirstReading,
    /// The policy names no metric for it.
    NotConfigured,
    /// Requests are counted, and nothing shows that their failures would be: no failures seen are not zero failures.
    ErrorsNotSeen,
    /// There is nothing to know: the release has no Ready pod.
    NoPods,
    /// The evaluation evidence of the release's run cannot be used, or not yet.
    NoEvidence,
    /// There is no earlier checkpoint with evaluation evidence to compare with.
    NoBaseline,
}

impl NoDataReason {
    /// A stable CamelCase reason.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoData => "NoData",
            Self::Stale => "Stale",
            Self::Partial => "Partial",
            Self::ProviderError => "ProviderError",
            Self::BadValue => "BadValue",
            Self::FirstReading => "FirstReading",
            Self::NotConfigured => "NotConfigured",
            Self::ErrorsNotSeen => "ErrorsNotSeen",
            Self::NoPods => "NoPods",
            Self::NoEvidence => "NoEvidence",
            Self::NoBaseline => "NoBaseline",
        }
    }
}

/// A value, or why there is none.
pub type Reading<T> = Result<T, NoDataReason>;

/// The cumulative counters and gauges of one pod at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct PodCounters {
    /// When the newest sample was scraped, unix seconds.
    pub sampled_at: Option<f64>,
    /// Requests that ended.
    pub requests: Option<f64>,
    /// Requests that failed. A client library has no series before the first failure: `None` is 0 then, where failures
    /// would be seen.
    pub errors: Option<f64>,
    /// Failures would be counted: their metric is there with its label, or comes with the first of them.
    pub errors_seen: bool,
    /// Cumulative histogram of durations: `(le in seconds, count)`, `le` ascending, the last one infinite.
    pub latency: Vec<(f64, f64)>,
    /// Requests in work and waiting.
    pub in_flight: Option<f64>,
    /// Each GPU's utilisation, share of 1.
    pub gpu_utilization: Vec<f64>,
    /// Each GPU's memory in use, share of 1.
    pub gpu_memory: Vec<f64>,
}

impl PodCounters {
    /// A pod of which nothing is known.
    pub fn empty() -> Self {
        Self {
            sampled_at: None,
            requests: None,
            errors: None,
            errors_seen: false,
            latency: Vec::new(),
            in_flight: None,
            gpu_utilization: Vec::new(),
            gpu_memory: Vec::new(),
        }
    }
}

/// Which kinds of metric an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// All requests.
    Requests,
    /// Failed requests.
    Errors,
    /// The histogram of durations.
    Latency,
    /// Requests in work and waiting.
    InFlight,
    /// GPU utilisation.
    GpuUtilization,
    /// GPU memory.
    GpuMemory,
}

/// What a source said of one Deployment's pods at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The instant that was asked about, unix seconds.
    pub at: i64,
    /// The pods by name.
    pub pods: BTreeMap<String, PodCounters>,
    /// The metrics whose query gave no usable answer, and why.
    pub failures: BTreeMap<Metric, NoDataReason>,
}

/// Requests of one look, `bad` of them bad.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// All.
    pub n: f64,
    /// The bad ones.
    pub bad: f64,
}

/// A histogram of the requests that ended in one look.
#[derive(Clone, Debug, PartialEq)]
pub struct LookHistogram {
    /// Upper edges in seconds, ascending, the last one infinite.
    pub edges: Arc<[f64]>,
    /// How many ended at or under each edge.
    pub cumulative: Vec<f64>,
}

/// What happened between two readings, summed over the pods of one release.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// End of the look, unix seconds.
    pub at: i64,
    /// Requests and failures. Known only where failures would be seen.
    pub errors: Reading<Counts>,
    /// Durations.
    pub latency: Reading<LookHistogram>,
    /// Requests that ended, and the seconds in which they did. Known only when every Ready pod is covered
    /// and none of them came or went since the last look.
    pub completed: Reading<Exposure>,
    /// The release's share of the Deployment's pods with fresh samples, of its own at most the expected
    /// ones: below 1 while two releases run.
    pub share: f64,
    /// Requests in work and waiting at the end of the look.
    pub in_flight: Reading<f64>,
    /// GPU samples by utilisation, share of 1.
    pub gpu_utilization: Reading<Vec<f64>>,
    /// GPU samples by memory, share of 1.
    pub gpu_memory: Reading<Vec<f64>>,
}

/// A count over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exposure {
    /// How many.
    pub count: f64,
    /// In how many seconds.
    pub seconds: f64,
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
