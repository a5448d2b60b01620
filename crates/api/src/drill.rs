//! `RecoveryDrill`: one rehearsal of a rollback.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use quality_core::drill::{DrillMode, DrillResult, DrillState};

use super::{CheckpointIntent, Delivery, LocalReference, ObjectIdentity, RunningImage};

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
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Result", type_ = "string", json_path = ".status.result"),
    printcolumn(name = "RTO", type_ = "string", json_path = ".status.rto"),
    printcolumn(name = "RPO", type_ = "string", json_path = ".status.rpo"),
    printcolumn(name = "Load", type_ = "string", json_path = ".status.loadTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Checkpoint",
        type_ = "string",
        json_path = ".status.intent.checkpoint.name",
        priority = 1
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("a drill's spec is a record: create another drill"))]
#[serde(rename_all = "camelCase")]
pub struct RecoveryDrillSpec {
    /// The policy whose rollback path the drill tests.
    pub policy_ref: LocalReference,
    /// Where the rehearsal takes place.
    #[serde(default)]
    pub mode: DrillMode,
}

/// How a drill went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RecoveryDrillStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: Option<i64>,
    /// `Complete` with the reason of its result, or of what it waits for.
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// How far it has come.
    pub state: DrillState,
    /// `Passed`, `Failed` or `Aborted`; empty until it is finished.
    pub result: String,
    /// Why it stands where it stands.
    pub message: String,
    /// Each step with its time; bounded.
    #[schemars(length(max = 32))]
    pub steps: Vec<DrillStep>,
    /// When it started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When the fault began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault_at: Option<Time>,
    /// When the checkpoint's pods were Ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered_at: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
    /// Fault begin to recovered, for the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto: Option<String>,
    /// Last certification of the checkpoint to fault begin, for the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo: Option<String>,
    /// Fault begin to recovered, whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_seconds: Option<i64>,
    /// Last certification of the checkpoint to fault begin, whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_seconds: Option<i64>,
    /// From a pod of the checkpoint being scheduled to Ready, the slowest one, for the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_time: Option<String>,
    /// From a pod of the checkpoint being scheduled to Ready, the slowest one, whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<i64>,
    /// The name of the shadow Deployment; it is gone once the drill is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// What will be done, recorded before it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<DrillIntent>,
    /// The release that the fault made: the rollback is from this one and no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<DrillFault>,
    /// What it was judged to be before it cleaned up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DrillOutcome>,
    /// Who was told what of it; bounded.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<Delivery>,
}

/// What a drill will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillIntent {
    /// The guarded Deployment.
    pub target: ObjectIdentity,
    /// Its images before the drill: in place they are put back at the end; the shadow starts with their digests.
    #[schemars(length(max = 32))]
    pub images: Vec<RunningImage>,
    /// The images of the fault.
    #[schemars(length(max = 16))]
    pub fault_images: Vec<RunningImage>,
    /// The checkpoint to roll back to.
    pub checkpoint: CheckpointIntent,
}

/// The fault, once it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillFault {
    /// The Deployment that was broken.
    pub deployment: ObjectIdentity,
    /// The revision that the fault made.
    pub revision: String,
}

/// What a drill was judged to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrillOutcome {
    /// How it went.
    pub result: DrillResult,
    /// A stable CamelCase reason.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrillStep {
    /// When.
    pub at: Time,
    /// Which state began.
    pub state: DrillState,
    /// What happened.
    pub message: String,
}
