//! All pods' counters of one source at one instant, shared by every policy that looks at it.

use std::collections::{BTreeMap, HashMap};

use crate::{
    answer::{Row, number},
    presets::QueryKind,
};
use quality_api::{LatencyUnit, WhenAbsent};
use quality_core::counters::{Metric, NoDataReason, PodCounters, Snapshot};

/// The counters of all pods at one instant.
#[derive(Clone, Debug)]
pub struct Table {
    at: i64,
    unit: LatencyUnit,
    failures: BTreeMap<Metric, NoDataReason>,
    /// The first failure in words, without anything that the source said.
    problem: Option<String>,
    namespaces: HashMap<Box<str>, BTreeMap<Box<str>, Pod>>,
}

/// The counters of one pod, and which queries told of it: one bit each.
#[derive(Clone, Debug)]
struct Pod {
    counters: PodCounters,
    told: u64,
}

impl Table {
    /// An empty table of the instant `at`, unix seconds. The edges of its histograms come in this unit.
    pub fn new(at: i64, unit: LatencyUnit) -> Self {
        Self {
            at,
            unit,
            failures: BTreeMap::new(),
            problem: None,
            namespaces: HashMap::new(),
        }
    }

    /// Takes one value of one series of the answer to the query with this number.
    ///
    /// A query tells of a pod once, but for the edges of its histogram and for its GPUs. An answer with a pod twice is none
    /// that a source makes: neither value is the pod's.
    pub fn add(&mut self, ask: QueryKind, query: usize, row: &Row, value: f64) {
        if row.pod.is_empty() || row.namespace.is_empty() {
            return;
        }
        // Look up before inserting: a row of a known pod allocates no key.
        if !self.namespaces.contains_key(row.namespace.as_str()) {
            self.namespaces.insert(row.namespace.as_str().into(), BTreeMap::new());
        }
        let Some(pods) = self.namespaces.get_mut(row.namespace.as_str()) else {
            return;
        };
        if !pods.contains_key(row.pod.as_str()) {
            let counters = PodCounters::empty();
            pods.insert(row.pod.as_str().into(), Pod { counters, told: 0 });
        }
        let Some(pod) = pods.get_mut(row.pod.as_str()) else {
            return;
        };
        let bit = 1_u64.checked_shl(query as u32).unwrap_or(0);
        let value = if pod.told & bit == 0 || !ask.tells_once() {
            value
        } else {
            f64::NAN
        };
        pod.told |= bit;
        let pod = &mut pod.counters;
        match ask {
            QueryKind::SampledAt => pod.sampled_at = Some(value),
            QueryKind::ErrorsSeen => pod.errors_seen = value > 0.0,
            QueryKind::Value(Metric::Requests) => *pod.requests.get_or_insert(0.0) += value,
            QueryKind::Value(Metric::Errors) => *pod.errors.get_or_insert(0.0) += value,
            QueryKind::Value(Metric::Latency) => {
                let edge = number(&row.le).unwrap_or(f64::NAN);
                pod.latency.push((self.unit.seconds(edge), value));
            }
            QueryKind::Value(Metric::InFlight) => *pod.in_flight.get_or_insert(0.0) += value,
            QueryKind::Value(Metric::GpuUtilization) => pod.gpu_utilization.push(value),
            QueryKind::Value(Metric::GpuMemory) => pod.gpu_memory.push(value),
        }
    }

    /// Says that a query gave no usable answer.
    pub fn fail(&mut self, ask: QueryKind, unknown: NoDataReason, problem: &str) {
        let all = [Metric::Requests, Metric::Errors, Metric::Latency, Metric::InFlight];
        match ask {
            QueryKind::Value(metric) => {
                self.failures.insert(metric, unknown);
            }
            // Without it no failures cannot be told from none counted.
            QueryKind::ErrorsSeen => {
                self.failures.insert(Metric::Errors, unknown);
            }
            // Without the time of the samples none of them can be trusted to be fresh.
            QueryKind::SampledAt => self.failures.extend(all.map(|metric| (metric, unknown))),
        }
        self.problem.get_or_insert_with(|| problem.to_owned());
    }

    /// Puts the buckets of each histogram in order, and takes a failure counter that is not there for what its server means by
    /// that; to be called once all rows are in.
    pub fn finish(&mut self, errors: WhenAbsent) {
        for pod in self.namespaces.values_mut().flat_map(BTreeMap::values_mut) {
            let counters = &mut pod.counters;
            counters.latency.sort_by(|a, b| a.0.total_cmp(&b.0));
            counters.errors_seen |= errors == WhenAbsent::Zero && counters.requests.is_some();
        }
    }

    /// The instant, unix seconds.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// The first failure in words.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The pods of one namespace that `belongs` picks.
    pub fn snapshot(&self, namespace: &str, belongs: &dyn Fn(&str) -> bool) -> Snapshot {
        let pods = self.namespaces.get(namespace).into_iter().flatten();
        Snapshot {
            at: self.at,
            pods: pods
                .filter(|(name, _)| belongs(name))
                .map(|(name, pod)| (name.to_string(), pod.counters.clone()))
                .collect(),
            failures: self.failures.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pod: &str) -> Row {
        Row {
            namespace: "shop".into(),
            pod: pod.into(),
            ..Row::default()
        }
    }

    #[test]
    fn a_failure_counter_that_comes_with_the_first_failure_is_seen_on_pods_that_show_requests() {
        let seen = |errors| {
            let mut table = Table::new(7, LatencyUnit::Seconds);
            table.add(QueryKind::Value(Metric::Requests), 0, &row("busy"), 9.0);
            table.add(QueryKind::Value(Metric::InFlight), 1, &row("other"), 1.0);
            table.finish(errors);
            let pods = table.snapshot("shop", &|_| true).pods;
            [pods["busy"].errors_seen, pods["other"].errors_seen]
        };
        assert_eq!(seen(WhenAbsent::Zero), [true, false]);
        assert_eq!(seen(WhenAbsent::Unknown), [false, false]);
    }

    #[test]
    fn where_failures_would_be_counted_is_what_its_answer_says_and_its_failure_is_one_of_the_errors() {
        let mut table = Table::new(7, LatencyUnit::Seconds);
        for (pod, value) in [("counting", 2.0), ("odd", f64::NAN), ("twice", 1.0), ("twice", 1.0)] {
            table.add(QueryKind::ErrorsSeen, 0, &row(pod), value);
        }
        table.fail(QueryKind::ErrorsSeen, NoDataReason::Partial, "source default: partial");
        table.finish(WhenAbsent::Unknown);
        let snapshot = table.snapshot("shop", &|_| true);
        let seen = ["counting", "odd", "twice"].map(|pod| snapshot.pods[pod].errors_seen);
        assert_eq!(seen, [true, false, false]);
        assert_eq!(
            snapshot.failures,
            BTreeMap::from([(Metric::Errors, NoDataReason::Partial)])
        );
    }

    #[test]
    fn queries_of_one_metric_are_summed_and_a_pod_twice_in_one_answer_is_no_number() {
        let mut table = Table::new(7, LatencyUnit::Seconds);
        let requests = QueryKind::Value(Metric::Requests);
        for (number, pod, value) in [(0, "a", 1.0), (1, "a", 2.0), (0, "b", 1.0), (0, "b", 1.0)] {
            table.add(requests, number, &row(pod), value);
        }
        for value in [7.0, 7.0] {
            table.add(QueryKind::SampledAt, 2, &row("b"), value);
            table.add(QueryKind::Value(Metric::GpuMemory), 3, &row("b"), value);
        }
        let pods = table.snapshot("shop", &|_| true).pods;
        assert_eq!(pods["a"].requests, Some(3.0));
        assert!(pods["b"].requests.is_some_and(f64::is_nan));
        assert!(pods["b"].sampled_at.is_some_and(f64::is_nan));
        assert_eq!(pods["b"].gpu_memory, [7.0, 7.0]);
    }
}
