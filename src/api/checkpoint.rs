//! `RollbackCheckpoint`: a release that one can go back to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ContainerImage, LocalReference};

/// A release that one can go back to: images by container name, pinned by digest.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quality-officer.dev",
    version = "v1alpha1",
    kind = "RollbackCheckpoint",
    shortname = "rbc",
    category = "quality",
    namespaced,
    status = "RollbackCheckpointStatus",
    derive = "PartialEq",
    doc = "A release that a Deployment can go back to: images by container name, pinned by digest.",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.targetRef.name"),
    printcolumn(name = "Digest", type_ = "string", json_path = ".status.digest"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(name = "Certified", type_ = "date", json_path = ".status.certifiedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("self == oldSelf || self.revoked != oldSelf.revoked && self.targetRef == oldSelf.targetRef && self.images == oldSelf.images").message("a checkpoint is immutable but for `revoked`: register another one"))]
#[serde(rename_all = "camelCase")]
pub struct RollbackCheckpointSpec {
    /// The Deployment that it belongs to, in its own namespace.
    pub target_ref: LocalReference,
    /// The image of each container that a rollback brings back.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.container == a.container))").message("each container is named once"))]
    pub images: Vec<ContainerImage>,
    /// Where the release comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// A revoked checkpoint is never used.
    #[serde(default)]
    pub revoked: bool,
}

/// Where the release comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Provenance {
    /// The MLflow run that made the model.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlflow_run_id: Option<String>,
    /// The data that the model was evaluated on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<DatasetReference>,
    /// The commit that the image was built from.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
}

/// The data that a model was evaluated on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetReference {
    /// Its version, as people call it.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// Its digest.
    #[schemars(length(min = 1, max = 128))]
    pub digest: String,
}

/// What was verified, when, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RollbackCheckpointStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: Option<i64>,
    /// `Verified` (its digests were seen running and healthy), `Fresh` (certified within the policy's `maxAge`), `Ready` (their sum).
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// The first image's digest, shortened for the column.
    pub digest: String,
    /// When its images were last seen running with every judged trigger healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certified_at: Option<Time>,
}
