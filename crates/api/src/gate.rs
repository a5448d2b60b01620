//! The gate of a policy: how it is enforced, what it says, and which images are kept out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use quality_core::gate::Gate as GateState;

/// Whether bad releases are kept out at admission.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Gate {
    /// What the admission policies do with a change that the gate speaks against. In YAML `"Off"` needs its quotes.
    pub mode: GateMode,
}

/// What is done with a change that the gate speaks against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateMode {
    /// It is denied.
    #[default]
    Enforce,
    /// It is let in, with a warning to its author.
    Warn,
    /// Nothing is said.
    Off,
}

/// What the gate says. The admission policies read it; it does not change by itself while no operator runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateStatus {
    /// Whether releases are let in.
    pub state: GateState,
    /// A stable CamelCase reason.
    pub reason: String,
    /// In words.
    pub message: String,
    /// Since when it is in this state.
    pub since: Time,
    /// The open incident that closes it: a change of the Deployment that names it as what it fixes is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// While it is closed: the checkpoints that a person may still roll back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub rollback_targets: Vec<RollbackTarget>,
    /// The newest break-glass annotation of the Deployment that was taken note of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

/// A checkpoint that a person may still roll back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackTarget {
    /// Its name.
    pub checkpoint: String,
    /// Its images.
    #[schemars(length(max = 16))]
    pub images: Vec<RollbackTargetImage>,
    /// The pod templates that it was seen healthy with, as `kubectl rollout undo` brings them back: they are let in also
    /// where only flags differ. As many as a status has room for, the newest first.
    #[schemars(length(max = 3))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<RegisteredTemplate>,
}

/// The pod template of a ReplicaSet that a checkpoint was certified in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredTemplate {
    /// The ReplicaSet.
    pub replica_set: String,
    /// Its UID.
    pub uid: String,
    /// The template, raw.
    #[schemars(schema_with = "raw_object")]
    pub template: serde_json::Value,
}

/// An object of any fields, kept as it is.
fn raw_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// An image of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RollbackTargetImage {
    /// The container.
    pub container: String,
    /// The image by its digest.
    pub image: String,
    /// As the release named it that was registered: what `kubectl rollout undo` brings back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
}

/// An image that a rollback took away. A pod template that names it anew is denied until it is released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuarantinedImage {
    /// The image, as the pod template named it.
    #[schemars(length(max = 1024))]
    pub image: String,
    /// The digest that its pods ran, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 80))]
    pub digest: Option<String>,
    /// The incident whose rollback took it away.
    pub incident: String,
    /// What it did, in a few words.
    pub reason: String,
    /// Since when.
    pub since: Time,
}

/// The last wish for a release from quarantine, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseAnswer {
    /// The annotation that was answered.
    #[schemars(length(max = 1024))]
    pub request: String,
    /// What was done.
    pub message: String,
    /// When.
    pub at: Time,
}

/// An image of an incident that a person released from quarantine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleasedImage {
    /// The image, as the pod template named it.
    #[schemars(length(max = 1024))]
    pub image: String,
    /// When.
    pub at: Time,
}
