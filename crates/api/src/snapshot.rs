//! `QualityReportSnapshot`: a report as it was.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalReference, QualityReportStatus, Span};

/// A policy's report as it was at a review or at the end of an incident, written once by the operator.
///
/// A kind of its own, so that `kubectl get qualityreports` stays one line a policy, and without a status, so that one
/// write makes it whole.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quality-officer.dev",
    version = "v1alpha1",
    kind = "QualityReportSnapshot",
    shortname = "qrs",
    namespaced,
    derive = "PartialEq",
    doc = "A policy's report as it was at a review or at the end of an incident.",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policyRef.name"),
    printcolumn(name = "Of", type_ = "string", json_path = ".spec.of"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".spec.report.verdict"),
    printcolumn(name = "SLOs", type_ = "string", json_path = ".spec.report.slos"),
    printcolumn(name = "Rollback", type_ = "string", json_path = ".spec.report.rollback"),
    printcolumn(name = "P95", type_ = "string", json_path = ".spec.report.p95"),
    printcolumn(name = "Errors", type_ = "string", json_path = ".spec.report.errors"),
    printcolumn(name = "Incident", type_ = "string", json_path = ".spec.incident"),
    printcolumn(name = "At", type_ = "string", json_path = ".spec.at"),
    printcolumn(
        name = "Compliance",
        type_ = "string",
        json_path = ".spec.report.compliance",
        priority = 1
    ),
    printcolumn(name = "RPS", type_ = "string", json_path = ".spec.report.rps", priority = 1)
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a snapshot is a record: it never changes"))]
#[serde(rename_all = "camelCase")]
pub struct QualityReportSnapshotSpec {
    /// The policy that the report is about. Snapshots outlive it.
    pub policy_ref: LocalReference,
    /// The policy's UID: one that was deleted and created again is another one.
    #[schemars(length(max = 64))]
    pub policy_uid: String,
    /// Why it was taken.
    pub of: SnapshotOf,
    /// The review's instant, or when the incident ended. The report's own `updatedAt` says when it was taken.
    pub at: Time,
    /// The incident that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub incident: Option<String>,
    /// The report's status at that moment.
    pub report: QualityReportStatus,
}

/// Why a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SnapshotOf {
    /// A review, every `report.review` of the policy.
    Review,
    /// The end of an incident.
    Incident,
}

impl SnapshotOf {
    /// Its name, as the API spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Review => "Review",
            Self::Incident => "Incident",
        }
    }
}

/// How often the report is reviewed, and how many of its snapshots are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.review.endsWith('d') ? duration(self.review.replace('d', 'h')) >= duration('1h') && duration(self.review.replace('d', 'h')) <= duration('30h') : duration(self.review) >= duration('1m') && duration(self.review) <= duration('720h')", "message": "report review must lie between 1m and 30d"},
    {"rule": "!self.review.endsWith('ms')", "message": "report review must be whole seconds"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct ReportReview {
    /// The time between two reviews, which lie on a grid in UTC: `24h` is at midnight. At each a snapshot of the report is taken.
    pub review: Span,
    /// How many snapshots of reviews are kept, and how many of incidents that ended.
    #[schemars(range(min = 1, max = 100))]
    pub keep: i32,
}

impl Default for ReportReview {
    fn default() -> Self {
        Self {
            review: "24h".into(),
            keep: 14,
        }
    }
}
