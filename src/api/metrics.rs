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
    /// Names given by the policy.
    Custom,
}

/// Metric names of the preset `custom`. What is left out is not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomMetrics {
    /// A classic histogram of request durations in seconds, without `_bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Selector>,
    /// A counter of all requests that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Selector>,
    /// A counter of the requests that failed: usually the same metric with a matcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Selector>,
    /// A gauge of the requests in work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<Selector>,
    /// A gauge of the requests that wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Selector>,
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
