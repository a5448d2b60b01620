//! Differences of cumulative counters, pod by pod, against the reading before.
//!
//! A wrong difference is worse than none: counting the whole history of a pod as if it happened since the
//! last look can look like a breach. So a counter counts only against a mark that is known to be its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Counts, Exposure, Look, LookHistogram, Metric, NoDataReason, PodCounters, Snapshot};

/// What the differ needs to know about a release at the time of a snapshot.
#[derive(Clone, Copy)]
pub struct Coverage<'a> {
    /// Whether a pod belongs to the release, by name.
    pub belongs: &'a dyn Fn(&str) -> bool,
    /// How many of the release's pods must be in the snapshot for a throughput: the Ready ones now, the
    /// desired ones for a past instant.
    pub expected: usize,
    /// When the release's `ReplicaSet` was created, unix seconds.
    pub born: Option<i64>,
    /// Samples older than this many seconds are stale.
    pub stale_after: f64,
}

/// A release younger than this counts from zero: what its pods show at first sight happened in its own
/// life, moments ago. The first reading of an older pod may hold days of history and only sets the mark.
const YOUNG_SECONDS: i64 = 300;
/// Clocks of pods, source and operator may differ by this much before a sample counts as from the future.
const CLOCK_TOLERANCE_SECONDS: f64 = 1.0;
/// A pod that is gone does not come back under the same name: its marks are kept only for a while, so that
/// memory is bounded by the pods of about an hour.
const KEPT_SECONDS: i64 = 3_600;

/// Remembers the last usable counters of each pod and differences the next ones against them.
#[derive(Clone, Debug, Default)]
pub struct CounterDeltas {
    marks: BTreeMap<String, PreviousReading>,
    /// The last snapshot with a fresh sample of the release.
    covered_at: Option<i64>,
    /// Failures of the release were counted, or would have been, on some pod: all of them run one program.
    errors_seen: bool,
}

/// What is remembered of one pod.
#[derive(Clone, Debug, Default)]
struct PreviousReading {
    /// The last snapshot with a fresh sample of it.
    seen: i64,
    counts: Option<CountMark>,
    latency: Option<LatencyMark>,
}

#[derive(Clone, Copy, Debug)]
struct CountMark {
    sampled: f64,
    requests: f64,
    /// 0 when there was no series; `None` when there had been one and it is gone, so that what it will
    /// show when it is back cannot be told from history.
    errors: Option<f64>,
}

#[derive(Clone, Debug)]
struct LatencyMark {
    sampled: f64,
    buckets: Vec<(f64, f64)>,
}

/// What a reading says against the mark that was set before.
enum Step<T> {
    /// So much is new, in so many seconds where there was a mark.
    New(T, Option<f64>),
    /// The source has no newer sample than the marked one, or even an older one (two replicas of it answer
    /// in turn): nothing is new, and the mark stays.
    Same,
    /// This reading only sets the mark.
    First,
    /// It contradicts the mark, which stays: the next reading may agree with it.
    Odd,
}

/// When a pod was sampled, and how to take a reading without a mark.
#[derive(Clone, Copy)]
struct Reader {
    sampled: f64,
    young: bool,
    patience: f64,
}

impl Reader {
    fn step<T>(self, marked: Option<f64>, whole: impl FnOnce() -> T, since: impl FnOnce() -> Option<T>) -> Step<T> {
        let Some(marked) = marked else {
            return if self.young {
                Step::New(whole(), None)
            } else {
                Step::First
            };
        };
        let seconds = self.sampled - marked;
        if seconds <= 0.0 {
            return Step::Same;
        }
        match since() {
            Some(delta) => Step::New(delta, Some(seconds)),
            None if seconds > self.patience => Step::First,
            None => Step::Odd,
        }
    }
}

impl CounterDeltas {
    /// Whether some pod of the release showed that its failures would be counted.
    pub fn errors_seen(&self) -> bool {
        self.errors_seen
    }

    /// The same images showed it before.
    pub fn assume_errors_seen(&mut self) {
        self.errors_seen = true;
    }

    /// The look that ends with `snapshot`.
    ///
    /// A counter that fell below half of what it was has been reset: what it shows now is what came since.
    /// One that fell by less contradicts the mark (replicas of a source disagree by a scrape or two): such a
    /// reading waits, at most `stale_after` long, for the next one. The first reading of a pod only sets the
    /// mark, but for a release that was just born: there it counts in full.
    ///
    /// Failures are unknown until some pod of the release showed that they would be counted: a selector that matches nothing
    /// says nothing.
    pub fn look(&mut self, snapshot: &Snapshot, coverage: Coverage<'_>) -> Look {
        let mut totals = Totals::default();
        let young = coverage.born.is_some_and(|born| snapshot.at - born <= YOUNG_SECONDS);
        for (name, counters) in &snapshot.pods {
            let sampled = counters.sampled_at.filter(|at| {
                let age = snapshot.at as f64 - at;
                (-CLOCK_TOLERANCE_SECONDS..=coverage.stale_after).contains(&age)
            });
            match (sampled, (coverage.belongs)(name)) {
                (Some(sampled), true) => {
                    let reader = Reader {
                        sampled,
                        young,
                        patience: coverage.stale_after,
                    };
                    self.add_pod(name, counters, reader, snapshot, &mut totals);
                }
                (Some(_), false) => totals.others += 1,
                (None, true) => totals.stale += 1,
                (None, false) => {}
            }
        }
        // What a pod did between its last scrape and its end is not known.
        let covered_at = self.covered_at;
        totals.vanished = self.marks.iter().any(|(name, marks)| {
            covered_at.is_some_and(|at| marks.seen >= at) && marks.seen < snapshot.at && (coverage.belongs)(name)
        });
        if totals.fresh > 0 {
            self.covered_at = Some(snapshot.at);
        }
        self.marks.retain(|_, marks| snapshot.at - marks.seen <= KEPT_SECONDS);
        totals.into_look(snapshot, coverage.expected, self.errors_seen)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.marks.len()
    }

    fn add_pod(
        &mut self,
        name: &str,
        counters: &PodCounters,
        reader: Reader,
        snapshot: &Snapshot,
        totals: &mut Totals,
    ) {
        totals.fresh += 1;
        if !self.marks.contains_key(name) {
            self.marks.insert(name.to_owned(), PreviousReading::default());
        }
        let Some(marks) = self.marks.get_mut(name) else {
            return;
        };
        marks.seen = snapshot.at;
        // A query that failed may have sent some of its rows before: they do not count.
        let whole = |metric| !snapshot.failures.contains_key(&metric);
        // Failures without requests, or requests without failures, are no share.
        if let Some(requests) = counters
            .requests
            .filter(|_| whole(Metric::Requests) && whole(Metric::Errors))
        {
            self.errors_seen |= counters.errors_seen || counters.errors.is_some_and(|failed| failed > 0.0);
            totals.requested += usize::from(requests > 0.0);
            marks.add_counts(requests, counters.errors, reader, totals);
        }
        if whole(Metric::Latency) && !counters.latency.is_empty() {
            marks.add_latency(&counters.latency, reader, totals);
        }
        if let Some(in_flight) = counters.in_flight.filter(|_| whole(Metric::InFlight)) {
            if usable(in_flight) {
                *totals.in_flight.get_or_insert(0.0) += in_flight;
            } else {
                totals.bad.insert(Metric::InFlight);
            }
        }
        for (metric, from, to) in [
            (
                Metric::GpuUtilization,
                &counters.gpu_utilization,
                &mut totals.gpu_utilization,
            ),
            (Metric::GpuMemory, &counters.gpu_memory, &mut totals.gpu_memory),
        ] {
            if whole(metric) {
                to.extend(from.iter().copied().filter(|value| usable(*value)));
                if from.iter().any(|value| !usable(*value)) {
                    totals.bad.insert(metric);
                }
            }
        }
    }
}

impl PreviousReading {
    fn add_counts(&mut self, requests: f64, errors: Option<f64>, reader: Reader, totals: &mut Totals) {
        if !usable(requests) || errors.is_some_and(|errors| !usable(errors)) {
            totals.bad.insert(Metric::Requests);
            return;
        }
        let failed = errors.unwrap_or(0.0);
        if outnumber(failed, requests) {
            totals.bad.insert(Metric::Requests);
            return;
        }
        let mut now = CountMark {
            sampled: reader.sampled,
            requests,
            errors: Some(failed),
        };
        let all = || Counts {
            n: requests,
            bad: failed.min(requests),
        };
        let since = || {
            let mark = self.counts?;
            if was_reset(mark.requests, requests) {
                // A process that begins anew has forgotten its failures too.
                let forgot = mark.errors.is_none_or(|before| before == 0.0 || failed < before);
                return forgot.then(all);
            }
            let n = requests - mark.requests;
            let bad = mark.errors.map_or(0.0, |before| failed - before);
            (n >= 0.0 && bad >= 0.0 && !outnumber(bad, n)).then_some(Counts { n, bad: bad.min(n) })
        };
        let step = reader.step(self.counts.map(|mark| mark.sampled), all, since);
        let before = self.counts.map_or(Some(0.0), |mark| mark.errors);
        match step {
            Step::New(counts, seconds) => {
                totals.errors.n += counts.n;
                totals.errors.bad += counts.bad;
                totals.counted += 1;
                match seconds {
                    Some(seconds) => totals.pod_seconds += seconds,
                    None => totals.newcomer = true,
                }
                if before.is_none() {
                    now.errors = errors;
                }
                self.counts = Some(now);
            }
            Step::Same => totals.counted += 1,
            Step::First => {
                totals.first.insert(Metric::Requests);
                if errors.is_none() && before.is_none_or(|before| before > 0.0) {
                    now.errors = None;
                }
                self.counts = Some(now);
            }
            Step::Odd => {
                totals.bad.insert(Metric::Requests);
            }
        }
    }

    fn add_latency(&mut self, buckets: &[(f64, f64)], reader: Reader, totals: &mut Totals) {
        if !is_histogram(buckets) {
            totals.bad.insert(Metric::Latency);
            return;
        }
        let all = || buckets.to_vec();
        let since = || {
            let before = &self.latency.as_ref()?.buckets;
            if was_reset(total(before), total(buckets)) {
                return Some(all());
            }
            let same_layout =
                before.len() == buckets.len() && before.iter().zip(buckets).all(|(a, b)| a.0.total_cmp(&b.0).is_eq());
            let delta: Vec<(f64, f64)> = buckets.iter().zip(before).map(|(b, a)| (b.0, b.1 - a.1)).collect();
            (same_layout && is_histogram(&delta)).then_some(delta)
        };
        match reader.step(self.latency.as_ref().map(|mark| mark.sampled), all, since) {
            Step::New(delta, _) => totals.add_histogram(&delta),
            Step::Same => {
                let nothing: Vec<(f64, f64)> = buckets.iter().map(|bucket| (bucket.0, 0.0)).collect();
                totals.add_histogram(&nothing);
                return;
            }
            Step::First => {
                totals.first.insert(Metric::Latency);
            }
            Step::Odd => {
                totals.bad.insert(Metric::Latency);
                return;
            }
        }
        let mark = self.latency.get_or_insert(LatencyMark {
            sampled: reader.sampled,
            buckets: Vec::new(),
        });
        mark.sampled = reader.sampled;
        mark.buckets.clear();
        mark.buckets.extend_from_slice(buckets);
    }
}

/// The sums over one release's pods.
#[derive(Default)]
struct Totals {
    fresh: usize,
    stale: usize,
    others: usize,
    errors: Counts,
    counted: usize,
    /// Pods that have had requests.
    requested: usize,
    /// Seconds between the samples that were counted, summed over the pods.
    pod_seconds: f64,
    newcomer: bool,
    vanished: bool,
    /// The metrics of which some pod's reading only set its mark.
    first: BTreeSet<Metric>,
    /// The metrics of which some pod's reading could not be used.
    bad: BTreeSet<Metric>,
    histogram: Option<(Vec<f64>, Vec<f64>)>,
    mixed: bool,
    in_flight: Option<f64>,
    gpu_utilization: Vec<f64>,
    gpu_memory: Vec<f64>,
}

impl Totals {
    /// Adds one pod's new durations. Pods with other edges cannot be summed: the look is then unknown.
    fn add_histogram(&mut self, delta: &[(f64, f64)]) {
        match &mut self.histogram {
            None => self.histogram = Some(delta.iter().copied().unzip()),
            Some((edges, cumulative)) => {
                if edges.len() == delta.len()
                    && edges
                        .iter()
                        .zip(delta)
                        .all(|(edge, bucket)| edge.total_cmp(&bucket.0).is_eq())
                {
                    for (total, bucket) in cumulative.iter_mut().zip(delta) {
                        *total += bucket.1;
                    }
                } else {
                    self.mixed = true;
                }
            }
        }
    }

    /// Requests over the mean of the pods' times between samples: exact where each pod has the same load,
    /// however scrapes and looks fall.
    fn completed(&self, expected: usize) -> Result<Exposure, NoDataReason> {
        if self.counted < expected || self.vanished {
            Err(NoDataReason::Partial)
        } else if self.newcomer {
            Err(NoDataReason::FirstReading)
        } else {
            Ok(Exposure {
                count: self.errors.n,
                seconds: self.pod_seconds / self.counted.max(1) as f64,
            })
        }
    }

    fn into_look(self, snapshot: &Snapshot, expected: usize, errors_seen: bool) -> Look {
        let missing = |metric: Metric| {
            let otherwise = match self.fresh {
                0 if expected == 0 => NoDataReason::NoPods,
                0 if self.stale > 0 => NoDataReason::Stale,
                _ if self.bad.contains(&metric) => NoDataReason::BadValue,
                _ if self.first.contains(&metric) => NoDataReason::FirstReading,
                _ => NoDataReason::NoData,
            };
            snapshot.failures.get(&metric).copied().unwrap_or(otherwise)
        };
        let counted = if self.counted > 0 {
            Ok(self.errors)
        } else {
            let failure = snapshot.failures.get(&Metric::Errors).copied();
            Err(failure.unwrap_or_else(|| missing(Metric::Requests)))
        };
        // Of no requests none failed.
        let is_told = errors_seen || self.requested == 0;
        let errors = counted.and_then(|counts| is_told.then_some(counts).ok_or(NoDataReason::ErrorsNotSeen));
        let own = self.fresh.min(expected);
        let gauge = |values: &Vec<f64>, metric| {
            if values.is_empty() {
                Err(missing(metric))
            } else {
                Ok(values.clone())
            }
        };
        Look {
            at: snapshot.at,
            errors,
            latency: match &self.histogram {
                Some(_) if self.mixed => Err(NoDataReason::BadValue),
                Some((edges, cumulative)) => Ok(LookHistogram {
                    edges: edges.as_slice().into(),
                    cumulative: cumulative.clone(),
                }),
                None => Err(missing(Metric::Latency)),
            },
            completed: counted.and_then(|_| self.completed(expected)),
            share: own as f64 / (own + self.others).max(1) as f64,
            in_flight: self.in_flight.ok_or_else(|| missing(Metric::InFlight)),
            gpu_utilization: gauge(&self.gpu_utilization, Metric::GpuUtilization),
            gpu_memory: gauge(&self.gpu_memory, Metric::GpuMemory),
        }
    }
}

/// A double that is larger cannot count by one: it is no count of anything, and would seem to stand still.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

fn usable(value: f64) -> bool {
    (0.0..MAX_COUNT).contains(&value)
}

fn was_reset(before: f64, now: f64) -> bool {
    now * 2.0 < before
}

/// Failures are some of the requests, and scraped with them: one more may be counted a moment before its request is. Many
/// more are not of these requests.
fn outnumber(failures: f64, requests: f64) -> bool {
    failures > 2.0 * requests + 10.0
}

fn total(buckets: &[(f64, f64)]) -> f64 {
    buckets.last().map_or(0.0, |last| last.1)
}

/// Edges ascending, counts finite and never falling, the last edge infinite.
fn is_histogram(buckets: &[(f64, f64)]) -> bool {
    buckets.iter().all(|bucket| usable(bucket.1) && !bucket.0.is_nan())
        && buckets
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1)
        && buckets.last().is_some_and(|last| last.0 == f64::INFINITY)
}
