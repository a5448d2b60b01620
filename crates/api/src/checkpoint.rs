//! `RollbackCheckpoint`: a release that can be rolled back to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ContainerImage, LocalReference, RunningImage};

/// A release that can be rolled back to: images by container name, pinned by digest.
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
    doc = "A release that a Deployment can be rolled back to: images by container name, pinned by digest.",
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
    printcolumn(name = "Load", type_ = "string", json_path = ".status.loadTime"),
    printcolumn(name = "Tested", type_ = "date", json_path = ".status.testedAt"),
    printcolumn(name = "Certified", type_ = "date", json_path = ".status.certifiedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Run",
        type_ = "string",
        json_path = ".spec.provenance.mlflowRunId",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[x_kube(validation = Rule::new("self == oldSelf || self.revoked != oldSelf.revoked && self.targetRef == oldSelf.targetRef && self.images == oldSelf.images && (has(self.artifacts) ? self.artifacts : []) == (has(oldSelf.artifacts) ? oldSelf.artifacts : [])").message("a checkpoint is immutable but for `revoked`: register another one"))]
#[serde(rename_all = "camelCase")]
pub struct RollbackCheckpointSpec {
    /// The Deployment that it belongs to, in its own namespace.
    pub target_ref: LocalReference,
    /// The image of each container that a rollback brings back.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.container == a.container))").message("each container is named once"))]
    pub images: Vec<ContainerImage>,
    /// The files that the release needs beside its images: model weights, indices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.all(a, self.exists_one(b, b.uri == a.uri))").message("each artifact is named once"))]
    pub artifacts: Vec<Artifact>,
    /// Where the release comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// A revoked checkpoint is never used.
    #[serde(default)]
    pub revoked: bool,
}

/// A file that a release needs. It is read through the object store of the operator's configuration that covers its
/// URI, and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Where it is: `s3://models/ranker/7/weights.safetensors`.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^[a-z][a-z0-9]*://[^\s?#@\\]+$"))]
    pub uri: String,
    /// The sha256 of its bytes, hexadecimal.
    #[schemars(regex(pattern = r"^[a-f0-9]{64}$"))]
    pub sha256: String,
    /// Its length, bytes.
    #[schemars(range(min = 0))]
    pub size: i64,
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
    /// `Verified` (its digests were seen running and healthy), `ImageAvailable`, `ArtifactsIntact`, `LoadTime`,
    /// `Fresh` (certified within the policy's `maxAge`), `PathTested`, and `Ready`, their sum: False only for a
    /// definite problem.
    #[schemars(length(max = 16))]
    pub conditions: Vec<Condition>,
    /// The first image's digest, shortened for the column.
    pub digest: String,
    /// Its images as the release named them that ran them, where that is not by these digests.
    #[schemars(length(max = 16))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub template_images: Vec<RunningImage>,
    /// The ReplicaSets of the target in which it was certified, the newest last: with their templates it was seen healthy.
    #[schemars(length(max = 3))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub releases: Vec<CertifiedRelease>,
    /// When its images were last seen running with every trigger that rolls back healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certified_at: Option<Time>,
    /// When every image was last found whole in its registry; renewed every few minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_verified_at: Option<Time>,
    /// When every artifact was last found in its store with its size; renewed every few minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts_verified_at: Option<Time>,
    /// When the bytes of every artifact were last read and had their hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts_hashed_at: Option<Time>,
    /// How long its pods took from scheduled to Ready, for the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_time: Option<String>,
    /// The same in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<i64>,
    /// When the newest of the pods that this was measured on was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_measured_at: Option<Time>,
    /// When the rollback path to it was last tested: by a rollback that recovered or a drill that passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tested_at: Option<Time>,
    /// The incident or drill that did so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tested_by: Option<String>,
}

/// A ReplicaSet in which a checkpoint was certified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertifiedRelease {
    /// Its name.
    pub replica_set: String,
    /// Its UID.
    pub uid: String,
    /// A hash of its pod template as it was.
    pub template_hash: String,
}
