//! One row of the history: a look as a line of numbers.

use serde::{Deserialize, Serialize};

use super::decimal;
use crate::{
    counters::{Look, LookHistogram},
    incident::Trigger,
    judge::Verdict,
};
use quality_stats::histogram::Histogram;

/// What a row holds beside its time, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Requests that ended.
    Requests,
    /// Share of failed requests, percent.
    Errors,
    /// Median latency, milliseconds.
    Median,
    /// The policy's latency quantile, milliseconds.
    Quantile,
    /// The 99th percentile of latency, milliseconds.
    P99,
    /// Requests that ended per second.
    Rate,
    /// Requests in work and waiting.
    InFlight,
    /// Mean GPU utilisation, percent.
    Gpu,
    /// Mean GPU memory in use, percent.
    Memory,
    /// log10 of the evidence by error rate.
    ErrorEvidence,
    /// log10 of the evidence by latency.
    LatencyEvidence,
    /// log10 of the evidence by throughput.
    ThroughputEvidence,
    /// log10 of the evidence by GPU utilisation.
    GpuEvidence,
    /// log10 of the evidence by GPU memory.
    MemoryEvidence,
}

/// All of them, in the order of a row.
const FIELDS: [Field; 14] = [
    Field::Requests,
    Field::Errors,
    Field::Median,
    Field::Quantile,
    Field::P99,
    Field::Rate,
    Field::InFlight,
    Field::Gpu,
    Field::Memory,
    Field::ErrorEvidence,
    Field::LatencyEvidence,
    Field::ThroughputEvidence,
    Field::GpuEvidence,
    Field::MemoryEvidence,
];
/// Evidence is drawn between one in a million and a billion: beyond, its height says nothing more.
const EVIDENCE: (f64, f64) = (-6.0, 9.0);
/// Times have at most twelve digits.
const MAX_TIME: i64 = 999_999_999_999;
/// Longer numbers are no measurement of ours; they would make a row too long.
const LARGEST: f64 = 9_999_999.0;

impl Field {
    fn digits(self) -> usize {
        match self {
            Self::Requests => 0,
            Self::Errors => 3,
            Self::Median | Self::Quantile | Self::P99 | Self::Rate | Self::InFlight | Self::Gpu | Self::Memory => 1,
            Self::ErrorEvidence
            | Self::LatencyEvidence
            | Self::ThroughputEvidence
            | Self::GpuEvidence
            | Self::MemoryEvidence => 2,
        }
    }

    /// What two looks amount to: the sum of requests, the worst of everything else.
    fn merged(self, a: f32, b: f32) -> f32 {
        match (a.is_nan(), b.is_nan()) {
            (true, _) => b,
            (_, true) => a,
            _ => match self {
                Self::Requests => a + b,
                Self::Rate => a.min(b),
                _ => a.max(b),
            },
        }
    }
}

/// One row of the history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
#[derive(schemars::JsonSchema)]
#[schemars(with = "PointText")]
pub struct Point {
    at: i64,
    // NaN is not known: 4 bytes a number count where there are thousands of policies.
    values: [f32; FIELDS.len()],
}

/// The schema of a row.
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "its schema alone is used")]
struct PointText(
    #[schemars(
        length(max = 160),
        regex(pattern = r"^[0-9]{1,12}( (-|-?[0-9]{1,7}(\.[0-9]{1,3})?)){14}$")
    )]
    String,
);

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at && self.values.map(f32::to_bits) == other.values.map(f32::to_bits)
    }
}

impl Point {
    /// Nothing is known of this instant, unix seconds.
    pub fn unknown(at: i64) -> Self {
        Self {
            at,
            values: [f32::NAN; FIELDS.len()],
        }
    }

    /// A look and what the judge says after it.
    pub(super) fn of(look: &Look, verdict: &Verdict, quantile: Option<f64>) -> Self {
        let mut point = Self::unknown(look.at);
        if let Ok(counts) = look.errors {
            point.set(Field::Requests, counts.n);
            if counts.n > 0.0 {
                point.set(Field::Errors, 100.0 * counts.bad / counts.n);
            }
        }
        if let Some(histogram) = look.latency.as_ref().ok().and_then(histogram) {
            let total = histogram.total();
            point.set(Field::Requests, total);
            if total > 0.0 {
                let milliseconds = |q| histogram.interpolated(q) * 1e3;
                point.set(Field::Median, milliseconds(0.5));
                point.set(Field::Quantile, milliseconds(quantile.unwrap_or(0.95)));
                point.set(Field::P99, milliseconds(0.99));
            }
        }
        if let Some(completed) = look.completed.ok().filter(|completed| completed.seconds > 0.0) {
            point.set(Field::Rate, completed.count / completed.seconds);
        }
        if let Ok(in_flight) = look.in_flight {
            point.set(Field::InFlight, in_flight);
        }
        for (field, samples) in [(Field::Gpu, &look.gpu_utilization), (Field::Memory, &look.gpu_memory)] {
            if let Some(samples) = samples.as_ref().ok().filter(|samples| !samples.is_empty()) {
                point.set(field, 100.0 * samples.iter().sum::<f64>() / samples.len() as f64);
            }
        }
        for trigger in &verdict.triggers {
            let field = match trigger.trigger {
                Trigger::ErrorRate => Field::ErrorEvidence,
                Trigger::Latency => Field::LatencyEvidence,
                Trigger::Throughput => Field::ThroughputEvidence,
                Trigger::GpuUtilization => Field::GpuEvidence,
                Trigger::GpuMemory => Field::MemoryEvidence,
                Trigger::Compliance | Trigger::NoMetrics | Trigger::Requested => continue,
            };
            if !trigger.log_evidence.is_nan() {
                let power = trigger.log_evidence / std::f64::consts::LN_10;
                point.set(field, power.clamp(EVIDENCE.0, EVIDENCE.1));
            }
        }
        point
    }

    /// Its instant, unix seconds.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// One of its numbers, where it is known.
    pub fn get(&self, field: Field) -> Option<f64> {
        let value = self.values[field as usize];
        (!value.is_nan()).then(|| f64::from(value))
    }

    /// The number as it is written.
    pub fn text(&self, field: Field) -> Option<String> {
        // A tenth of a millisecond says nothing where there are hundreds of them.
        let digits = |value: f64| if value >= 100.0 { 0 } else { field.digits() };
        self.get(field).map(|value| decimal(value, digits(value)))
    }

    /// Sets one of its numbers; one that is not finite is not known.
    pub fn set(&mut self, field: Field, value: f64) {
        self.values[field as usize] = if value.is_finite() {
            value.clamp(-LARGEST, LARGEST) as f32
        } else {
            f32::NAN
        };
    }

    /// Takes up a later one.
    pub(super) fn merge(&mut self, later: &Self) {
        self.at = later.at;
        for field in FIELDS {
            let value = &mut self.values[field as usize];
            *value = field.merged(*value, later.values[field as usize]);
        }
        if let Some(requests) = self.get(Field::Requests) {
            // A sum stays within what a row may hold.
            self.set(Field::Requests, requests);
        }
    }
}

fn histogram(look: &LookHistogram) -> Option<Histogram> {
    let buckets = look
        .edges
        .iter()
        .copied()
        .zip(look.cumulative.iter().copied())
        .collect();
    Histogram::new(buckets)
        .ok()
        .filter(|histogram| histogram.edges().len() > 1)
}

impl From<Point> for String {
    fn from(point: Point) -> Self {
        let mut text = point.at.clamp(0, MAX_TIME).to_string();
        for field in FIELDS {
            text.push(' ');
            text.push_str(point.text(field).as_deref().unwrap_or("-"));
        }
        text
    }
}

/// A row that is none has no number: the schema refuses it, and one row must not hide a report.
impl From<String> for Point {
    fn from(text: String) -> Self {
        let mut words = text.split(' ');
        let mut point = Self::unknown(words.next().and_then(|word| word.parse().ok()).unwrap_or(0));
        point.at = point.at.clamp(0, MAX_TIME);
        for (field, word) in FIELDS.into_iter().zip(words) {
            if let Ok(value) = word.parse::<f64>() {
                point.set(field, value);
            }
        }
        point
    }
}
