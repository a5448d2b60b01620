//! `QualityReport`: what on-call reads.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LocalReference;

/// The living report of one policy, written by the operator.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quality-officer.dev",
    version = "v1alpha1",
    kind = "QualityReport",
    shortname = "qr",
    category = "quality",
    namespaced,
    status = "QualityReportStatus",
    derive = "PartialEq",
    doc = "The living report of one policy, written by the operator.",
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(name = "SLOs", type_ = "string", json_path = ".status.slos"),
    printcolumn(name = "Rollback", type_ = "string", json_path = ".status.rollback"),
    printcolumn(name = "P95", type_ = "string", json_path = ".status.p95"),
    printcolumn(name = "RPS", type_ = "string", json_path = ".status.rps"),
    printcolumn(name = "Errors", type_ = "string", json_path = ".status.errors"),
    printcolumn(name = "Compliance", type_ = "string", json_path = ".status.compliance"),
    printcolumn(name = "Incident", type_ = "string", json_path = ".status.incident"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Updated", type_ = "date", json_path = ".status.updatedAt", priority = 1),
    printcolumn(name = "Reviewed", type_ = "date", json_path = ".status.reviewedAt", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct QualityReportSpec {
    /// The policy that it reports on.
    pub policy_ref: LocalReference,
}

/// The report as data; the scalars are what the columns show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QualityReportStatus {
    /// `SLOsMet`, `RollbackReady`, `EvidenceComplete`.
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// `HEALTHY`, `CAUTION` or `BREACH`.
    pub verdict: String,
    /// How many of the six SLOs pass: `5/6`. An SLO without evidence does not pass.
    pub slos: String,
    /// `READY` or `AT RISK`.
    pub rollback: String,
    /// The latency quantile.
    pub p95: String,
    /// Requests per second.
    pub rps: String,
    /// Share of failed requests.
    pub errors: String,
    /// Compliance uplift.
    pub compliance: String,
    /// The open incident, or the last one until the next review.
    pub incident: String,
    /// The six SLOs.
    #[schemars(length(max = 6))]
    pub slo_summary: Vec<SloRow>,
    /// What a reader should know or do, most urgent first.
    #[schemars(length(max = 16))]
    pub findings: Vec<String>,
    /// Each judgement on the evaluation evidence of the release's run.
    #[schemars(length(max = 100))]
    pub quality: Vec<QualityRow>,
    /// What a reader of that evidence should know: files that cannot be used, summaries that disagree with their rows.
    #[schemars(length(max = 16))]
    pub notes: Vec<String>,
    /// Questions that only a person can answer: where a value is near its limit, cannot be told, or has no evidence.
    #[schemars(length(max = 16))]
    pub questions: Vec<String>,
    /// The strict report: thirteen sections in their order.
    #[schemars(length(max = 13))]
    pub sections: Vec<quality_core::report::strict::ReportSection>,
    /// Its last line.
    pub last_line: String,
    /// The newest review that a snapshot was taken at, or that was over when the report began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reviewed_at: Option<Time>,
    /// What its charts are drawn from.
    pub history: quality_core::history::History,
    /// When this was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
}

/// One line of the SLO summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SloRow {
    /// The SLO.
    pub slo: String,
    /// Its target.
    pub target: String,
    /// Its current value with CI95 and n, or `—`.
    pub current: String,
    /// `PASSING`, `FAILING`, `UNDETERMINED` or `unsupported`.
    pub status: String,
    /// Where the value comes from.
    pub evidence: String,
}

/// One judgement on the evaluation evidence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QualityRow {
    /// The section of the report that it belongs to.
    pub section: String,
    /// What is judged.
    pub name: String,
    /// What must hold.
    pub target: String,
    /// The value with CI95 and n, or `—`.
    pub current: String,
    /// The change against the checkpoint's run with CI95 and n, or `—`.
    pub change: String,
    /// `PASSING`, `FAILING`, `UNDETERMINED` or `unsupported`.
    pub status: String,
    /// `file#run_id#dataset_version`, or why there is none.
    pub evidence: String,
    /// What else a reader needs to know.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl From<&quality_core::quality::Row> for QualityRow {
    fn from(row: &quality_core::quality::Row) -> Self {
        Self {
            section: row.section.name().to_owned(),
            name: row.name.clone(),
            target: row.target.clone(),
            current: row.current_text(),
            change: row.change_text(),
            status: row.standing.name().to_owned(),
            evidence: row.evidence.clone(),
            note: row.note.clone(),
        }
    }
}

impl From<&quality_core::report::Slo> for SloRow {
    fn from(slo: &quality_core::report::Slo) -> Self {
        Self {
            slo: slo.name.to_owned(),
            target: slo.target.clone(),
            current: slo.current.clone(),
            status: slo.standing.name().to_owned(),
            evidence: slo.evidence.clone(),
        }
    }
}
