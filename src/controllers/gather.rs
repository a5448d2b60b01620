//! Gather: what the watch caches hold about one policy. Reads only; decides nothing.

use std::sync::Arc;

use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};

use crate::controllers::{
    context::{PolicyObject, Stores},
    release,
};
use quality_api::{QualityIncident, QualityPolicy, QualityReport, RollbackCheckpoint};
use quality_core::plan::Release;

/// What the cluster shows about one policy.
pub struct Gathered {
    /// The guarded Deployment.
    pub deployment: Arc<Deployment>,
    /// Its newest ReplicaSet.
    pub newest: Arc<ReplicaSet>,
    /// All that it has, those of earlier releases among them.
    pub owned: Vec<Arc<ReplicaSet>>,
    /// The release that it is.
    pub release: Release,
    /// The checkpoints of this Deployment.
    pub checkpoints: Vec<RollbackCheckpoint>,
    /// The incidents of this policy, oldest first.
    pub incidents: Vec<QualityIncident>,
    /// When the operator last changed this Deployment, by whatever policy; unix seconds.
    pub last_rollback: Option<i64>,
    /// The living report.
    pub report: Option<QualityReport>,
}

/// Why a policy cannot be judged for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// There is no such Deployment.
    TargetNotFound(String),
    /// The Deployment is being deleted.
    TargetTerminating,
    /// Rollouts of the Deployment are paused.
    TargetPaused,
    /// Other policies name the same Deployment.
    Conflict(Vec<String>),
    /// The Deployment's controller has not made the ReplicaSet of the current template yet.
    RolloutPending,
}

impl NotNow {
    /// A stable CamelCase reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TargetNotFound(_) => "TargetNotFound",
            Self::TargetTerminating => "TargetTerminating",
            Self::TargetPaused => "TargetPaused",
            Self::Conflict(_) => "Conflict",
            Self::RolloutPending => "RolloutPending",
        }
    }

    /// In words.
    pub fn message(&self) -> String {
        match self {
            Self::TargetNotFound(name) => format!("there is no Deployment {name} in this namespace"),
            Self::TargetTerminating => "the Deployment is being deleted".to_owned(),
            Self::TargetPaused => "rollouts of the Deployment are paused (spec.paused)".to_owned(),
            Self::Conflict(others) => {
                format!(
                    "another policy guards the same Deployment: {}; none of them acts",
                    others.join(", ")
                )
            }
            Self::RolloutPending => "the Deployment's newest template has no ReplicaSet yet".to_owned(),
        }
    }
}

/// The other policies of the namespace that name the same Deployment and are not being deleted.
pub fn conflicting_policies(stores: &Stores, policy: &QualityPolicy) -> Vec<String> {
    let namespace = policy.namespace();
    let mut names: Vec<String> = stores
        .policies
        .state_filter(|other| {
            let Ok(other) = &other.0 else { return false };
            other.namespace() == namespace
                && other.uid() != policy.uid()
                && other.metadata.deletion_timestamp.is_none()
                && other.spec.target_ref.name == policy.spec.target_ref.name
        })
        .iter()
        .map(|other| other.meta().name.clone().unwrap_or_default())
        .collect();
    names.sort();
    names
}

/// What the caches hold about a policy's Deployment.
pub fn gather(stores: &Stores, policy: &QualityPolicy) -> Result<Gathered, NotNow> {
    let namespace = policy.namespace().unwrap_or_default();
    let target = &policy.spec.target_ref.name;
    let conflicting = conflicting_policies(stores, policy);
    if !conflicting.is_empty() {
        return Err(NotNow::Conflict(conflicting));
    }
    let deployment = stores
        .deployments
        .get(&ObjectRef::new(target).within(&namespace))
        .ok_or_else(|| NotNow::TargetNotFound(target.clone()))?;
    if deployment.metadata.deletion_timestamp.is_some() {
        return Err(NotNow::TargetTerminating);
    }
    // A rollback would change nothing that runs, and a person has it in hand.
    if deployment.spec.paused.unwrap_or(false) {
        return Err(NotNow::TargetPaused);
    }
    let owned = owned(stores, &deployment);
    let newest = release::newest(&deployment, &owned)
        .ok_or(NotNow::RolloutPending)?
        .clone();
    let deployment_uid = deployment.uid().unwrap_or_default();
    // Only this policy's own are copied: others of the namespace may have hundreds.
    let all_incidents = stores.incidents.state();
    let last_rollback = of_namespace(&all_incidents, &namespace)
        .filter(|incident| incident.spec.deployment.uid == deployment_uid)
        .filter_map(|incident| incident.status.as_ref()?.patched_at.as_ref())
        .map(|at| at.0.as_second())
        .max();
    let mut incidents: Vec<QualityIncident> = of_namespace(&all_incidents, &namespace)
        .filter(|incident| Some(&incident.spec.policy.uid) == policy.uid().as_ref())
        .cloned()
        .collect();
    incidents.sort_by_key(|incident| (incident.creation_timestamp().map(|at| at.0), incident.name_any()));
    let checkpoints = of_namespace(&stores.checkpoints.state(), &namespace)
        .filter(|checkpoint| {
            checkpoint.spec.target_ref.name == *target && checkpoint.metadata.deletion_timestamp.is_none()
        })
        .cloned()
        .collect();
    let report = stores
        .reports
        .get(&ObjectRef::new(&policy.name_any()).within(&namespace));
    Ok(Gathered {
        release: release::release(&deployment, &newest),
        newest,
        owned,
        checkpoints,
        incidents,
        last_rollback,
        report: report.and_then(|report| report.0.clone().ok()),
        deployment,
    })
}

pub(crate) fn of_namespace<'a, K: Resource>(
    objects: &'a [Arc<kube::core::DeserializeGuard<K>>],
    namespace: &'a str,
) -> impl Iterator<Item = &'a K> {
    objects
        .iter()
        .filter(move |object| object.meta().namespace.as_deref() == Some(namespace))
        .filter_map(|object| object.0.as_ref().ok())
}

pub(crate) fn owned(stores: &Stores, deployment: &Deployment) -> Vec<Arc<ReplicaSet>> {
    let uid = deployment.uid();
    let is_owner = |owner: &OwnerReference| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref();
    let namespace = deployment.namespace();
    stores.replica_sets.state_filter(|replica_set| {
        replica_set.namespace() == namespace && replica_set.owner_references().iter().any(is_owner)
    })
}

/// The policies that an object of the namespace may concern.
pub fn policies_of(
    stores: &Stores,
    namespace: Option<&str>,
    concerns: impl Fn(&QualityPolicy) -> bool,
) -> Vec<ObjectRef<PolicyObject>> {
    stores
        .policies
        .state_filter(|policy| {
            policy.meta().namespace.as_deref() == namespace && policy.0.as_ref().is_ok_and(&concerns)
        })
        .iter()
        .map(|policy| ObjectRef::from_obj(policy.as_ref()))
        .collect()
}
