//! `QualityIncident`: one breach, from its evidence to its end.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Delivery;

pub use quality_core::{
    incident::{ContainerImage, IncidentState, Severity, Trigger},
    judge::TriggerState,
};

use super::ReleasedImage;

/// One breach: the intent before the act in its spec, then each step in its status.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "quality-officer.dev",
    version = "v1alpha1",
    kind = "QualityIncident",
    shortname = "qi",
    category = "quality",
    namespaced,
    status = "QualityIncidentStatus",
    derive = "PartialEq",
    doc = "One breach: the evidence and the intent before the act in its spec, then each step in its status.",
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy.name"),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".spec.trigger"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "From", type_ = "string", json_path = ".spec.from"),
    printcolumn(name = "To", type_ = "string", json_path = ".spec.to"),
    printcolumn(name = "RTO", type_ = "string", json_path = ".status.rto"),
    printcolumn(name = "RPO", type_ = "string", json_path = ".status.rpo"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Checkpoint",
        type_ = "string",
        json_path = ".spec.checkpoint.name",
        priority = 1
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Cause", type_ = "string", json_path = ".spec.reason", priority = 1)
)]
#[x_kube(validation = Rule::new("self == oldSelf").message("an incident's spec is a record: it never changes"))]
#[serde(rename_all = "camelCase")]
pub struct QualityIncidentSpec {
    /// What tells this breach from every other one: policy, Deployment, release and breach epoch, hashed.
    pub key: String,
    /// The policy that was breached.
    pub policy: ObjectIdentity,
    /// The Deployment that is in breach.
    pub deployment: ObjectIdentity,
    /// The ReplicaSet that is in breach.
    pub replica_set: String,
    /// Its revision.
    pub revision: String,
    /// What gave the alarm.
    pub trigger: Trigger,
    /// What the breach asks for: roll back, or alert and prepare.
    pub severity: Severity,
    /// When the breach began: the last look before the evidence started to grow.
    pub onset: Time,
    /// When the evidence reached its threshold.
    pub detected: Time,
    /// The trigger in words: estimate, CI95, n, evidence and threshold.
    pub reason: String,
    /// Short digest in breach, of the first container whose image the rollback changes.
    pub from: String,
    /// Short digest to roll back to, of the same container; empty when there is none.
    #[serde(default)]
    pub to: String,
    /// The request that it was opened for, where a person asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub request: Option<String>,
    /// The MLflow run that the release in breach comes from, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub mlflow_run_id: Option<String>,
    /// The images in breach.
    #[schemars(length(max = 32))]
    pub from_images: Vec<RunningImage>,
    /// The checkpoint to roll back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointIntent>,
    /// Why there is no checkpoint to roll back to, when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_target: Option<String>,
    /// What every trigger showed at that moment.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub triggers: Vec<TriggerStatus>,
}

/// A name that belongs to one life of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectIdentity {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// The image that a container ran, as its template named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunningImage {
    /// The container's name.
    pub container: String,
    /// The image as the pod template has it: a tag is possible here.
    pub image: String,
    /// The image as the pod template named it, where `image` is the digest that its pods ran instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
}

/// The checkpoint that a rollback goes to, as it was when the decision fell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointIntent {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its images.
    #[schemars(length(max = 16))]
    pub images: Vec<ContainerImage>,
    /// When it was last certified before the breach began: the RPO counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified_at: Option<Time>,
}

/// One trigger's verdict, ready to print.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerStatus {
    /// The trigger's name.
    pub name: String,
    /// Where it stands.
    pub verdict: TriggerState,
    /// Why, in a word, when the verdict is `Unknown` or `Undetermined`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The point estimate.
    pub value: String,
    /// Its 95 % confidence interval.
    pub ci95: String,
    /// How many requests (or samples) it is from.
    pub n: i64,
    /// The limit that it is held against.
    pub limit: String,
    /// The evidence against the release, as odds.
    pub evidence: String,
    /// The order of magnitude of that evidence: 4 for 88,000 : 1, and 0 where it does not speak against the release.
    pub evidence_magnitude: i32,
    /// The evidence at which the operator acts.
    pub needs: String,
    /// The design effect that tempers the evidence.
    pub design_effect: String,
    /// Since when it is in breach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// What else a reader needs to know: the histogram edge judged at, what would decide it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How far an incident has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QualityIncidentStatus {
    /// Where the incident stands.
    pub state: IncidentState,
    /// Why it stands there.
    pub message: String,
    /// `Escalated` once the breach lasts longer than the policy's `escalateAfter`.
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
    /// Each step with its time; bounded.
    #[schemars(length(max = 32))]
    pub steps: Vec<IncidentStep>,
    /// The API server refused the rollback's write; its words are in `message` while the state is `Refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// When the Deployment was changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patched_at: Option<Time>,
    /// The revision that the rollback made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back_to: Option<RolledBackTo>,
    /// When the checkpoint's rollout was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_out_at: Option<Time>,
    /// When the incident ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Time>,
    /// Breach onset to recovered, for the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto: Option<String>,
    /// Last certification of the checkpoint to breach onset, for the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo: Option<String>,
    /// The images in breach that a person released from quarantine.
    #[schemars(length(max = 32))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<ReleasedImage>,
    /// The postmortem of a rollback that ended, as Markdown.
    #[schemars(length(max = 16_384))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postmortem: Option<String>,
    /// Breach onset to recovered, whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rto_seconds: Option<i64>,
    /// Last certification of the checkpoint to breach onset, whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpo_seconds: Option<i64>,
    /// Who was told what of it; bounded.
    #[schemars(length(max = 64))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notified: Vec<Delivery>,
}

/// How often the API server refused a rollback's write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// The first time.
    pub since: Time,
    /// The last time.
    pub at: Time,
    /// How many times.
    pub attempts: i64,
}

/// The ReplicaSet that a rollback brought up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolledBackTo {
    /// Its name.
    pub replica_set: String,
    /// Its revision.
    pub revision: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IncidentStep {
    /// When.
    pub at: Time,
    /// Which state began.
    pub state: IncidentState,
    /// What happened.
    pub message: String,
}
