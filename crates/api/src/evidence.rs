//! The parts of a policy that are about evaluation evidence: where it is, and what a model must meet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Decimal, Percent, Span};

/// Where the evaluation evidence of a release is. Which run is the release's own is named by the annotation `mlflow.org/run-id` of its pod template, or by the checkpoint that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.mlflow) != has(self.store)", "message": "evidence names either mlflow or store"},
]))]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The run's artifacts in an MLflow tracking server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<MlflowReference>,
    /// A folder a run in an object store; the folder has the run's id as its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<SourceReference>,
    /// Files that the pipeline does not write: their absence is shown and makes no caution. Those that live metrics show as well are always optional.
    #[serde(default)]
    #[schemars(length(max = 11))]
    pub optional: Vec<EvidenceFile>,
}

/// A source by the name that the operator's configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceReference {
    /// Its name.
    #[serde(default = "default_source")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub source: String,
}

/// An MLflow tracking server by the name that the operator's configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MlflowReference {
    /// Its name.
    #[serde(default = "default_source")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub source: String,
    /// Log each rollback and its postmortem to the run of the release that was rolled back, and each drill to the run of the checkpoint that it went back to.
    #[serde(default)]
    pub log_back: bool,
}

fn default_source() -> String {
    "default".to_owned()
}

pub use quality_core::quality::evidence::File as EvidenceFile;

/// What the model's answers must meet, by the evidence of the release's run against the checkpoint's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "double(self.maxDrop) > 0.0 && double(self.maxDrop) <= 100.0", "message": "compliance maxDrop must be over 0 and at most 100 points"},
    {"rule": "double(self.maxConflictAuc) > 0.0 && double(self.maxConflictAuc) <= 1.0", "message": "compliance maxConflictAuc must be over 0 and at most 1"},
    {"rule": "double(self.maxEce) > 0.0 && double(self.maxEce) <= 1.0", "message": "compliance maxEce must be over 0 and at most 1"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct ComplianceObjective {
    /// Whether this objective is judged.
    pub enabled: bool,
    /// Compliance@1 must rise by this over the checkpoint's; `0%` asks only that it rises.
    pub min_uplift: Percent,
    /// Whether the uplift counts in percentage points or in percent of the checkpoint's value.
    pub uplift_scale: UpliftScale,
    /// A drop of Compliance@1 by this many percentage points, with a CI95 that excludes 0, is a breach.
    pub max_drop: Decimal,
    /// Conflict AUC must be under this.
    pub max_conflict_auc: Decimal,
    /// The expected calibration error must be under this.
    pub max_ece: Decimal,
}

impl Default for ComplianceObjective {
    fn default() -> Self {
        Self {
            enabled: true,
            min_uplift: "10%".into(),
            uplift_scale: UpliftScale::Points,
            max_drop: "2".into(),
            max_conflict_auc: "0.15".into(),
            max_ece: "0.05".into(),
        }
    }
}

/// How an uplift counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpliftScale {
    /// In percentage points: from 60 % to 70 % is 10.
    Points,
    /// In percent of the checkpoint's value: from 60 % to 66 % is 10.
    Relative,
}

/// How steady compliance must be over time and between modalities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.window.matches('^[0-9]+d$') && int(self.window.replace('d', '')) >= 1 && int(self.window.replace('d', '')) <= 90", "message": "drift window must be 1d to 90d"},
    {"rule": "double(self.minCorrelation) <= 1.0", "message": "drift minCorrelation must be at most 1"},
    {"rule": "double(self.maxModalityRatio) >= 1.0", "message": "drift maxModalityRatio must be at least 1"},
]))]
#[serde(rename_all = "camelCase", default)]
pub struct DriftObjective {
    /// Whether this objective is judged.
    pub enabled: bool,
    /// The window that is compared with the one before it, whole days.
    pub window: Span,
    /// The correlation of both windows must not be under this.
    pub min_correlation: Decimal,
    /// The text/visual contribution ratio must not be over this many times the checkpoint's.
    pub max_modality_ratio: Decimal,
}

impl Default for DriftObjective {
    fn default() -> Self {
        Self {
            enabled: true,
            window: "7d".into(),
            min_correlation: "0.9".into(),
            max_modality_ratio: "1.3".into(),
        }
    }
}
