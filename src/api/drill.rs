//! `RecoveryDrill`: one rehearsal of a rollback.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LocalReference;

/// One rehearsal of a rollback, on a shadow of the Deployment.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quality-officer.dev",
    version = "v1alpha1",
    kind = "RecoveryDrill",
    shortname = "rd",
    category = "quality",
    namespaced,
    status = "RecoveryDrillStatus",
    derive = "PartialEq",
    doc = "One rehearsal of a rollback.",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policyRef.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result"),
    printcolumn(name = "RTO", type_ = "string", json_path = ".status.rto"),
    printcolumn(name = "RPO", type_ = "string", json_path = ".status.rpo"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a drill's spec is a record: create another drill"))]
#[serde(rename_all = "camelCase")]
pub struct RecoveryDrillSpec {
    /// The policy whose way back is rehearsed.
    pub policy_ref: LocalReference,
    /// Where the rehearsal takes place.
    #[serde(default)]
    pub mode: DrillMode,
}

/// Where a rehearsal takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DrillMode {
    /// On a shadow of the Deployment that no Service selects.
    #[default]
    Shadow,
    /// On the Deployment itself: for staging namespaces.
    InPlace,
}

/// How a drill went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RecoveryDrillStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: Option<i64>,
    /// `Complete` with the reason of its result.
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// `Passed`, `Failed`, or empty while it runs.
    pub result: String,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// Fault begin to recovered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto: Option<String>,
    /// Last certification of the checkpoint to fault begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo: Option<String>,
}
