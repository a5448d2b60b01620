//! From raw cumulative counters to looks: differences, counter resets, new pods, missing and stale data.
//!
//! A [`Snapshot`] holds what the metrics source said of one Deployment's pods at one instant; a
//! [`Differ`] turns a row of them into [`Look`]s. The same snapshots give the same looks, whether they
//! come one by one or from history.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

/// Why a value is not known. Nothing is decided on an unknown value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unknown {
    /// The source answered and had nothing about these pods.
    NoData,
    /// The newest sample is older than two intervals.
    Stale,
    /// The source said that its answer is incomplete, or some Ready pods are missing from it.
    Partial,
    /// The source did not answer, or not in a way that can be used.
    ProviderError,
    /// A value is NaN, infinite, negative, or a histogram is not monotone.
    BadValue,
    /// It takes two readings of a counter to know a rate; this was the first.
    FirstReading,
    /// The policy names no metric for it.
    NotConfigured,
}

impl Unknown {
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
        }
    }
}

/// A value, or why there is none.
pub type Reading<T> = Result<T, Unknown>;

/// The cumulative counters and gauges of one pod at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct PodCounters {
    /// When the newest sample was scraped, unix seconds.
    pub sampled_at: Option<f64>,
    /// Requests that ended.
    pub requests: Option<f64>,
    /// Requests that failed. A client library has no series before the first failure: `None` is 0 then.
    pub errors: Option<f64>,
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
    pub failures: BTreeMap<Metric, Unknown>,
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
    /// Requests and failures.
    pub errors: Reading<Counts>,
    /// Durations.
    pub latency: Reading<LookHistogram>,
    /// Requests that ended, and the seconds in which they did. Known only when every Ready pod is covered.
    pub completed: Reading<Exposure>,
    /// The release's share of the Deployment's pods with fresh samples: below 1 while two releases run.
    pub share: f64,
    /// Requests in work and waiting at the end of the look.
    pub in_flight: Reading<f64>,
    /// GPU samples by utilisation, share of 1.
    pub gpu_utilization: Reading<Vec<f64>>,
    /// GPU samples by memory, share of 1.
    pub gpu_memory: Reading<Vec<f64>>,
}

/// A count over a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exposure {
    /// How many.
    pub count: f64,
    /// In how many seconds.
    pub seconds: f64,
}

/// What the differ needs to know about a release at the time of a snapshot.
#[derive(Clone, Copy)]
pub struct Coverage<'a> {
    /// Whether a pod belongs to the release, by name.
    pub belongs: &'a dyn Fn(&str) -> bool,
    /// How many of the release's pods must be in the snapshot for a throughput: the Ready ones now, the
    /// desired ones for a past instant.
    pub expected: usize,
    /// When the release's ReplicaSet was created, unix seconds.
    pub born: Option<i64>,
    /// Samples older than this many seconds are stale.
    pub stale_after: f64,
}

/// A release younger than this counts from zero: what its pods show at first sight happened in its own
/// life, moments ago. The first reading of an older pod may hold days of history and only sets the mark.
const YOUNG_SECONDS: i64 = 300;
/// Clocks of pods, source and operator may differ by this much before a sample counts as from the future.
const CLOCK_TOLERANCE_SECONDS: f64 = 1.0;

/// Remembers the last usable counters of each pod and differences the next ones against them.
#[derive(Clone, Debug, Default)]
pub struct Differ {
    last: BTreeMap<String, LastCounters>,
    counted_at: Option<i64>,
}

#[derive(Clone, Debug)]
struct LastCounters {
    at: i64,
    requests: Option<f64>,
    errors: f64,
    latency: Vec<(f64, f64)>,
}

impl Differ {
    /// The look that ends with `snapshot`.
    ///
    /// A counter that went down was reset: what it shows now is what came since. The first reading of a
    /// pod only sets the mark, but for a release that was just born: there it counts in full.
    pub fn look(&mut self, snapshot: &Snapshot, coverage: Coverage<'_>) -> Look {
        let mut totals = Totals::default();
        let young = coverage.born.is_some_and(|born| snapshot.at - born <= YOUNG_SECONDS);
        let mut stale = 0_usize;
        for (name, counters) in &snapshot.pods {
            let age = counters.sampled_at.map(|at| snapshot.at as f64 - at);
            let fresh = age.is_some_and(|age| (-CLOCK_TOLERANCE_SECONDS..=coverage.stale_after).contains(&age));
            let belongs = (coverage.belongs)(name);
            match (fresh, belongs) {
                (true, true) => self.add_pod(name, counters, young, snapshot, &mut totals),
                (true, false) => totals.others += 1,
                (false, true) => stale += 1,
                (false, false) => {}
            }
        }
        if stale > 0 && totals.fresh == 0 {
            totals.reason = Some(Unknown::Stale);
        }
        // A pod that is gone does not come back under the same name: its mark is kept only for a while,
        // so that memory is bounded by the pods of about an hour.
        self.last.retain(|_, last| snapshot.at - last.at <= 3_600);
        self.finish(snapshot, coverage, totals)
    }

    fn add_pod(&mut self, name: &str, counters: &PodCounters, young: bool, snapshot: &Snapshot, totals: &mut Totals) {
        totals.fresh += 1;
        let requests_fail = snapshot.failures.get(&Metric::Requests);
        let errors_fail = snapshot.failures.get(&Metric::Errors);
        let latency_fail = snapshot.failures.get(&Metric::Latency);
        let known = self.last.get(name);
        let counts = known.is_some() || young;
        let requests = counters
            .requests
            .filter(|_| requests_fail.is_none() && errors_fail.is_none());
        let errors = counters.errors.unwrap_or(0.0);
        if requests.is_some_and(|count| !usable(count)) || !usable(errors) || !monotone(&counters.latency) {
            totals.reason = Some(Unknown::BadValue);
            return;
        }
        if counts {
            if let Some(requests) = requests {
                let delta = difference(known.and_then(|last| last.requests), requests);
                // Errors are scraped with the requests; they cannot outnumber them but through a reset in between.
                let bad = difference(known.map(|last| last.errors), errors).min(delta);
                totals.errors.n += delta;
                totals.errors.bad += bad;
                totals.counted += 1;
            }
            if latency_fail.is_none() && !counters.latency.is_empty() {
                totals.add_latency(known.map(|last| last.latency.as_slice()), &counters.latency);
            }
        } else {
            totals.first = true;
        }
        // A query that failed may have sent some of its rows before: they do not count either.
        let whole = |metric| !snapshot.failures.contains_key(&metric);
        if let Some(in_flight) = counters
            .in_flight
            .filter(|value| usable(*value) && whole(Metric::InFlight))
        {
            *totals.in_flight.get_or_insert(0.0) += in_flight;
        }
        for (metric, from, to) in [
            (
                Metric::GpuUtilization,
                &counters.gpu_utilization,
                &mut totals.gpu_utilization,
            ),
            (Metric::GpuMemory, &counters.gpu_memory, &mut totals.gpu_memory),
        ] {
            to.extend(from.iter().copied().filter(|value| usable(*value) && whole(metric)));
        }
        let entry = self.last.entry(name.to_owned()).or_insert_with(|| LastCounters {
            at: snapshot.at,
            requests: None,
            errors: 0.0,
            latency: Vec::new(),
        });
        entry.at = snapshot.at;
        if requests.is_some() {
            entry.requests = requests;
            entry.errors = errors;
        }
        if latency_fail.is_none() && !counters.latency.is_empty() {
            entry.latency.clone_from(&counters.latency);
        }
    }

    fn finish(&mut self, snapshot: &Snapshot, coverage: Coverage<'_>, totals: Totals) -> Look {
        let (reason, first) = (totals.reason, totals.first);
        let missing = |metric: Metric| {
            let otherwise = if first { Unknown::FirstReading } else { Unknown::NoData };
            snapshot.failures.get(&metric).copied().or(reason).unwrap_or(otherwise)
        };
        let errors = if totals.counted > 0 {
            Ok(totals.errors)
        } else {
            Err(snapshot
                .failures
                .get(&Metric::Errors)
                .copied()
                .unwrap_or_else(|| missing(Metric::Requests)))
        };
        let latency = match (&totals.mixed, totals.histogram) {
            (true, _) => Err(Unknown::BadValue),
            (false, Some((edges, cumulative))) => Ok(LookHistogram {
                edges: edges.into(),
                cumulative,
            }),
            (false, None) => Err(missing(Metric::Latency)),
        };
        let completed = match &errors {
            Err(unknown) => Err(*unknown),
            Ok(_) if totals.counted < coverage.expected => Err(Unknown::Partial),
            Ok(counts) => match self.counted_at {
                Some(before) if before < snapshot.at => Ok(Exposure {
                    count: counts.n,
                    seconds: (snapshot.at - before) as f64,
                }),
                _ => Err(Unknown::FirstReading),
            },
        };
        if errors.is_ok() || totals.first {
            self.counted_at = Some(snapshot.at);
        }
        let share = totals.fresh as f64 / (totals.fresh + totals.others).max(1) as f64;
        let gauge = |values: Vec<f64>, metric| {
            if values.is_empty() {
                Err(missing(metric))
            } else {
                Ok(values)
            }
        };
        Look {
            at: snapshot.at,
            errors,
            latency,
            completed,
            share,
            in_flight: totals.in_flight.ok_or_else(|| missing(Metric::InFlight)),
            gpu_utilization: gauge(totals.gpu_utilization, Metric::GpuUtilization),
            gpu_memory: gauge(totals.gpu_memory, Metric::GpuMemory),
        }
    }
}

#[derive(Default)]
struct Totals {
    fresh: usize,
    others: usize,
    counted: usize,
    first: bool,
    reason: Option<Unknown>,
    errors: Counts,
    histogram: Option<(Vec<f64>, Vec<f64>)>,
    mixed: bool,
    in_flight: Option<f64>,
    gpu_utilization: Vec<f64>,
    gpu_memory: Vec<f64>,
}

impl Totals {
    /// Adds one pod's new durations. Pods with other edges cannot be summed: the look is then unknown.
    fn add_latency(&mut self, before: Option<&[(f64, f64)]>, now: &[(f64, f64)]) {
        let reset = before.is_none_or(|before| {
            before.len() != now.len() || now.iter().zip(before).any(|(now, before)| now.1 < before.1)
        });
        let delta = |index: usize| {
            let earlier = if reset {
                0.0
            } else {
                before.map_or(0.0, |before| before[index].1)
            };
            now[index].1 - earlier
        };
        match &mut self.histogram {
            None => {
                self.histogram = Some((
                    now.iter().map(|bucket| bucket.0).collect(),
                    (0..now.len()).map(delta).collect(),
                ));
            }
            Some((edges, cumulative)) => {
                if edges.len() == now.len() && edges.iter().zip(now).all(|(edge, bucket)| *edge == bucket.0) {
                    for (index, total) in cumulative.iter_mut().enumerate() {
                        *total += delta(index);
                    }
                } else {
                    self.mixed = true;
                }
            }
        }
    }
}

fn usable(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// Edges ascending, counts finite and never falling, the last edge infinite; or no histogram at all.
fn monotone(buckets: &[(f64, f64)]) -> bool {
    buckets.iter().all(|bucket| usable(bucket.1) && !bucket.0.is_nan())
        && buckets
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1)
        && buckets.last().is_none_or(|last| last.0 == f64::INFINITY)
}

fn difference(before: Option<f64>, now: f64) -> f64 {
    match before {
        Some(before) if now >= before => now - before,
        _ => now,
    }
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
