//! What the numbers of a history are held against.

use serde::{Deserialize, Serialize};

use super::decimal;
use crate::{incident::Trigger, judge::Verdict, policy::Policy};

/// What the numbers of a history are held against; empty where that is not judged. Decimal strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// The latency quantile that is judged, in (0, 1).
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub quantile: String,
    /// Its limit: target and tolerance, milliseconds.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub latency: String,
    /// The most failed requests, percent.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub errors: String,
    /// The throughput that is aimed at, requests per second.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub target: String,
    /// The least throughput, requests per second.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub floor: String,
    /// The most GPU utilisation, percent.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub gpu: String,
    /// The most GPU memory, percent.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub memory: String,
    /// log10 of the evidence at which the operator acts.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub evidence: String,
    /// log10 of the evidence at which it alerts, for GPUs.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub alert_evidence: String,
    /// The recovery time objective, seconds.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub rto: String,
    /// The recovery point objective, seconds.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub rpo: String,
}

impl Limits {
    /// Nothing is held against anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limits of a policy, and the thresholds of its triggers.
    pub fn of(policy: &Policy, verdict: &Verdict) -> Self {
        let some = |value: Option<f64>, digits| value.map_or_else(String::new, |value| decimal(value, digits));
        let threshold = |triggers: &[Trigger]| {
            let found = triggers.iter().find_map(|trigger| verdict.trigger(*trigger));
            let power = found.map(|found| found.log_threshold / std::f64::consts::LN_10);
            some(power.filter(|power| power.is_finite()), 2)
        };
        Self {
            quantile: some(policy.latency.map(|latency| latency.quantile), 4),
            latency: some(policy.latency.map(|latency| latency.limit() * 1e3), 3),
            errors: some(policy.error_rate.map(|share| share * 100.0), 4),
            target: some(policy.throughput.map(|throughput| throughput.target), 4),
            floor: some(policy.throughput.map(|throughput| throughput.floor), 4),
            gpu: some(policy.gpu.map(|gpu| gpu.max_utilization * 100.0), 4),
            memory: some(policy.gpu.map(|gpu| gpu.max_memory * 100.0), 4),
            evidence: threshold(&[Trigger::ErrorRate, Trigger::Latency, Trigger::Throughput]),
            alert_evidence: threshold(&[Trigger::GpuUtilization, Trigger::GpuMemory]),
            rto: policy.rto.to_string(),
            rpo: policy.rpo.to_string(),
        }
    }
}
