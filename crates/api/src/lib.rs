//! The resources of `quality-officer.dev/v1alpha1`, one kind a file.
//!
//! Types only: defaults and limits stand in the schema, so that the API server refuses what makes no
//! sense with a message, and validation turns a spec into the core's policy once.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod checkpoint;
pub mod conditions;
mod drill;
mod evidence;
mod gate;
mod incident;
mod metrics;
pub mod names;
mod notify;
mod policy;
mod report;
mod request;
mod snapshot;
mod value;
pub mod view;

pub use checkpoint::*;
pub use drill::*;
pub use evidence::*;
pub use gate::*;
pub use incident::*;
pub use metrics::*;
pub use notify::*;
pub use policy::*;
pub use report::*;
pub use request::*;
pub use snapshot::*;
pub use value::*;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind here.
pub const GROUP: &str = "quality-officer.dev";
/// The one version served.
pub const VERSION: &str = "v1alpha1";
/// The field manager of every write by the operator.
pub const FIELD_MANAGER: &str = "quality-officer";

/// The only annotation that the operator sets on a Deployment: the incident that rolled it back.
pub const ROLLBACK_ANNOTATION: &str = "quality-officer.dev/rollback";
/// Set to `true` on an incident by a person to let a prepared rollback go ahead.
pub const APPROVE_ANNOTATION: &str = "quality-officer.dev/approve";

/// On a Deployment, by a person: the open incident that this change fixes. It passes a closed gate.
pub const FIXES_ANNOTATION: &str = "quality-officer.dev/fixes";
/// On a Deployment, by a person with the verb `bypass` on its policy: why this change passes a closed gate.
pub const BREAK_GLASS_ANNOTATION: &str = "quality-officer.dev/break-glass";
/// On a policy, by a person: an image to release from quarantine, `IMAGE` or `IMAGE INCIDENT`.
pub const RELEASE_ANNOTATION: &str = "quality-officer.dev/release";
/// Set on a policy by a person who asks for a rollback now: `{"at": "2026-11-24T03:00:00Z", "to": CHECKPOINT, "reason":
/// TEXT}`.
pub const REQUEST_ANNOTATION: &str = "quality-officer.dev/rollback-request";

/// On a Deployment under drill: which drill, when its fault began, and the images to put back.
pub const DRILL_ANNOTATION: &str = "quality-officer.dev/drill";
/// On a shadow and its pods, and on nothing else: the drill that made it.
pub const DRILL_LABEL: &str = "quality-officer.dev/drill";
/// On a shadow: what it is, for a person who finds it.
pub const SHADOW_ANNOTATION: &str = "quality-officer.dev/shadow-of";
/// Label on a namespace: only where it is `staging` is a drill in place not refused.
pub const ENVIRONMENT_LABEL: &str = "quality-officer.dev/environment";

/// On a pod template: the MLflow run that the release's model comes from.
pub const RUN_ANNOTATION: &str = "mlflow.org/run-id";
/// On a pod template: the commit that the release was built from.
pub const COMMIT_ANNOTATION: &str = "quality-officer.dev/git-commit";

/// Label on incidents, checkpoints, drills, reports and their snapshots: the policy that they belong to.
pub const POLICY_LABEL: &str = "quality-officer.dev/policy";
/// Label on incidents and checkpoints: the Deployment that they are about.
pub const TARGET_LABEL: &str = "quality-officer.dev/target";

/// Label on snapshots of a report: why they were taken, `Review` or `Incident`.
pub const SNAPSHOT_LABEL: &str = "quality-officer.dev/snapshot-of";

/// Every CustomResourceDefinition, in the order of their kinds' names.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        QualityIncident::crd(),
        QualityPolicy::crd(),
        QualityReport::crd(),
        QualityReportSnapshot::crd(),
        RecoveryDrill::crd(),
        RollbackCheckpoint::crd(),
    ]
}
