//! What the client saw: counts, latencies, and when each pod first answered badly.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::discovery::ReadyPod;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status.
    Status(u16),
    /// No answer in time.
    Timeout,
    /// No connection.
    Refused,
    /// The connection broke.
    Broken,
    /// There was no target.
    NoTarget,
    /// Too many requests were in flight.
    Skipped,
}

impl Outcome {
    fn good(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }

    /// An answer that blames the server.
    fn bad_answer(self) -> bool {
        matches!(self, Self::Status(500..=599))
    }

    fn name(self) -> String {
        match self {
            Self::Status(code) => code.to_string(),
            Self::Timeout => "timeout".into(),
            Self::Refused => "refused".into(),
            Self::Broken => "broken".into(),
            Self::NoTarget => "no-target".into(),
            Self::Skipped => "skipped".into(),
        }
    }
}

/// Latencies of complete answers in milliseconds, from the time that each request was due.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

impl Latency {
    fn of(sample: &mut [f64]) -> Self {
        sample.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sample.len() as f64).ceil() as usize;
            sample.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        Self {
            p50_ms: at(0.50),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
        }
    }
}

/// What one pod answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetSummary {
    /// The pod.
    #[serde(flatten)]
    pub pod: ReadyPod,
    /// Requests sent to it.
    pub sent: u64,
    /// Requests by how they ended: a status code or `timeout`, `refused`, `broken`.
    pub outcomes: BTreeMap<String, u64>,
    /// When the first request was sent.
    pub first_sent: Timestamp,
    /// When the first answer with a status of 500 or above arrived.
    pub first_bad_answer: Option<Timestamp>,
    /// When the last one did.
    pub last_bad_answer: Option<Timestamp>,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Start of the run.
    pub started: Timestamp,
    /// End of the run.
    pub ended: Timestamp,
    /// Requests that were due.
    pub due: u64,
    /// Requests that were sent.
    pub sent: u64,
    /// Answers with a status of 2xx.
    pub ok: u64,
    /// All others that ended, `no-target` and `skipped` among them.
    pub errors: u64,
    /// Requests by how they ended.
    pub outcomes: BTreeMap<String, u64>,
    /// Latencies of all answers.
    pub latency: Latency,
    /// The longest that a request was sent after it was due: how far the generator itself fell behind.
    pub greatest_lag_ms: f64,
    /// When the first answer with a status of 500 or above arrived.
    pub first_bad_answer: Option<Timestamp>,
    /// By pod, in the order of their first request.
    pub targets: Vec<TargetSummary>,
}

impl Summary {
    /// The run in one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "total: sent {} ok {} errors {} p50 {:.0} ms p95 {:.0} ms over {:.1} s",
            self.sent,
            self.ok,
            self.errors,
            self.latency.p50_ms,
            self.latency.p95_ms,
            self.ended.duration_since(self.started).as_secs_f64(),
        )
    }
}

#[derive(Debug, Default)]
struct Tally {
    due: u64,
    sent: u64,
    ok: u64,
    outcomes: BTreeMap<String, u64>,
    latencies: Vec<f64>,
}

impl Tally {
    fn errors(&self) -> u64 {
        self.outcomes.values().sum::<u64>() - self.ok
    }

    fn end(&mut self, outcome: Outcome, latency: Duration) {
        *self.outcomes.entry(outcome.name()).or_default() += 1;
        self.ok += u64::from(outcome.good());
        if let Outcome::Status(_) = outcome {
            self.latencies.push(latency.as_secs_f64() * 1000.0);
        }
    }
}

/// Collects what the client sees.
#[derive(Debug)]
pub struct Recorder {
    started: Timestamp,
    total: Tally,
    interval: Tally,
    greatest_lag: Duration,
    targets: Vec<TargetSummary>,
}

impl Recorder {
    /// A recorder of a run that starts now.
    #[must_use]
    pub fn new(started: Timestamp) -> Self {
        Self {
            started,
            total: Tally::default(),
            interval: Tally::default(),
            greatest_lag: Duration::ZERO,
            targets: Vec::new(),
        }
    }

    /// A request became due `lag` ago.
    pub fn due(&mut self, lag: Duration) {
        self.total.due += 1;
        self.interval.due += 1;
        self.greatest_lag = self.greatest_lag.max(lag);
    }

    /// A request goes to `pod`.
    pub fn sent(&mut self, pod: &ReadyPod) {
        self.total.sent += 1;
        self.interval.sent += 1;
        if let Some(target) = self.targets.iter_mut().find(|target| target.pod == *pod) {
            target.sent += 1;
            return;
        }
        self.targets.push(TargetSummary {
            pod: pod.clone(),
            sent: 1,
            outcomes: BTreeMap::new(),
            first_sent: Timestamp::now(),
            first_bad_answer: None,
            last_bad_answer: None,
        });
    }

    /// A request ended `latency` after it was due.
    pub fn end(&mut self, pod: Option<&ReadyPod>, outcome: Outcome, latency: Duration) {
        self.total.end(outcome, latency);
        self.interval.end(outcome, latency);
        let Some(target) = pod.and_then(|pod| self.targets.iter_mut().find(|target| target.pod == *pod)) else {
            return;
        };
        *target.outcomes.entry(outcome.name()).or_default() += 1;
        if outcome.bad_answer() {
            let now = Timestamp::now();
            target.first_bad_answer.get_or_insert(now);
            target.last_bad_answer = Some(now);
        }
    }

    /// The time since the last such line, in one line.
    pub fn interval_line(&mut self) -> String {
        let mut tally = std::mem::take(&mut self.interval);
        let latency = Latency::of(&mut tally.latencies);
        format!(
            "sent {} ok {} errors {} p50 {:.0} ms p95 {:.0} ms",
            tally.sent,
            tally.ok,
            tally.errors(),
            latency.p50_ms,
            latency.p95_ms
        )
    }

    /// The run so far.
    pub fn summary(&mut self, ended: Timestamp) -> Summary {
        Summary {
            started: self.started,
            ended,
            due: self.total.due,
            sent: self.total.sent,
            ok: self.total.ok,
            errors: self.total.errors(),
            outcomes: self.total.outcomes.clone(),
            latency: Latency::of(&mut self.total.latencies),
            greatest_lag_ms: self.greatest_lag.as_secs_f64() * 1000.0,
            first_bad_answer: self.targets.iter().filter_map(|target| target.first_bad_answer).min(),
            targets: self.targets.clone(),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "tests; the values are set, not computed"
)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_counted_once_and_the_first_bad_answer_is_dated() {
        let pod = ReadyPod {
            namespace: "a".into(),
            pod: "p".into(),
            app: "x".into(),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        let mut recorder = Recorder::new(Timestamp::UNIX_EPOCH);
        for outcome in [Outcome::Status(200), Outcome::Status(503), Outcome::Timeout] {
            recorder.due(Duration::ZERO);
            recorder.sent(&pod);
            recorder.end(Some(&pod), outcome, Duration::from_millis(100));
        }
        recorder.due(Duration::from_millis(7));
        recorder.end(None, Outcome::NoTarget, Duration::ZERO);
        assert_eq!(recorder.interval_line(), "sent 3 ok 1 errors 3 p50 100 ms p95 100 ms");
        let summary = recorder.summary(Timestamp::UNIX_EPOCH);
        assert_eq!((summary.due, summary.sent, summary.ok, summary.errors), (4, 3, 1, 3));
        assert_eq!(summary.greatest_lag_ms, 7.0);
        assert_eq!(summary.targets[0].outcomes["503"], 1);
        assert!(summary.first_bad_answer.is_some());
        let text = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    }

    #[test]
    fn percentiles_are_order_statistics() {
        let mut sample: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(
            Latency::of(&mut sample),
            Latency {
                p50_ms: 50.0,
                p95_ms: 95.0,
                p99_ms: 99.0
            }
        );
        assert_eq!(Latency::of(&mut []), Latency::default());
    }
}
