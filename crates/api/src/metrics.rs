//! The part of a policy that says where the metrics of the Deployment's pods are, and under which names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the metrics of the Deployment's pods are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.preset == 'custom' ? has(self.custom) : !has(self.custom)", "message": "custom names the metrics when, and only when, preset is custom"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// A metrics source by the name that the operator's configuration gives it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub source: String,
    /// Which names the pods' metrics have.
    pub preset: Preset,
    /// The names, for the preset `custom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomMetrics>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            source: "default".into(),
            preset: Preset::Http,
            custom: None,
        }
    }
}

/// Known layouts of metric names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// The names of the usual client libraries: `http_requests_total{code}`, `http_request_duration_seconds`, `http_requests_in_flight`.
    Http,
    /// The OpenAI server of `vLLM`: `vllm:e2e_request_latency_seconds`, `http_requests_total{method="POST",status}`, `vllm:num_requests_running` and `_waiting`.
    Vllm,
    /// NVIDIA Triton: `nv_inference_request_success` and `_failure`, `nv_inference_pending_request_count`; latency from `nv_inference_first_response_histogram_ms`, with `--metrics-config histogram_latencies=true`.
    Triton,
    /// Hugging Face text-generation-inference: `tgi_request_success`, `tgi_request_failure{err}` (which comes with the first failure), `tgi_request_duration`, `tgi_batch_current_size`, `tgi_queue_size`.
    Tgi,
    /// KServe's Python model servers: `request_predict_seconds`. They count no failures and nothing in work: the error rate is not judged.
    Kserve,
    /// Istio's sidecar: `istio_requests_total{reporter="destination",response_code}`, `istio_request_duration_milliseconds`. It counts nothing in work.
    Istio,
    /// Names given by the policy.
    Custom,
}

/// Metric names of the preset `custom`. What is left out is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomMetrics {
    /// A classic histogram of request durations, without `_bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Selector>,
    /// The unit of that histogram's edges.
    #[serde(default)]
    pub latency_unit: LatencyUnit,
    /// A counter of all requests that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Selector>,
    /// A counter of the requests that failed: usually the same metric with a matcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Selector>,
    /// What it says that a pod shows its requests and nothing of `errors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_when_absent: Option<WhenAbsent>,
    /// A gauge of the requests in work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<Selector>,
    /// A gauge of the requests that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Selector>,
}

/// The unit of a histogram's edges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LatencyUnit {
    /// As Prometheus recommends.
    #[default]
    Seconds,
    /// As Envoy and some servers have it.
    Milliseconds,
}

impl LatencyUnit {
    /// An edge in seconds.
    pub fn seconds(self, edge: f64) -> f64 {
        match self {
            Self::Seconds => edge,
            Self::Milliseconds => edge / 1e3,
        }
    }
}

/// What it says that a pod shows its requests, and neither the metric of `errors` nor its labels: `Unknown`, as without this field, or `Zero`, where the server creates that counter with its first failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WhenAbsent {
    /// Nothing: the selector may be wrong.
    #[default]
    Unknown,
    /// Nothing has failed yet.
    Zero,
}

/// One metric, narrowed by label matchers. Never spliced into a query unescaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// The metric's name.
    #[schemars(length(min = 1, max = 200), regex(pattern = r"^[a-zA-Z_:][a-zA-Z0-9_:]*$"))]
    pub metric: String,
    /// Label matchers that all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub matchers: Vec<Matcher>,
}

/// One label matcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Matcher {
    /// The label's name.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[a-zA-Z_][a-zA-Z0-9_]*$"))]
    pub label: String,
    /// How the value is compared.
    #[serde(default)]
    pub operator: MatchOperator,
    /// The value, or the regular expression that the whole value must match.
    #[schemars(length(max = 500))]
    pub value: String,
}

/// How a label's value is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MatchOperator {
    /// `=`
    #[default]
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Matches,
    /// `!~`
    NotMatches,
}
