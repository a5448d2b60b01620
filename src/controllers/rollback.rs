//! The one write that changes production: the images of the named containers, fenced by the UID and
//! resourceVersion of what was just read. A drill rehearses this very write.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::reflector::ObjectRef,
};
use serde_json::json;

use crate::controllers::{
    context::{CallError, Context, call},
    gather::conflicting_policies,
    release,
};
use quality_api::{FIELD_MANAGER, ObjectIdentity, QualityPolicy, ROLLBACK_ANNOTATION, RollbackCheckpoint};
use quality_core::{plan::Candidate, readiness::confirmed};

/// Why the Deployment was not changed.
#[derive(Debug, thiserror::Error)]
pub enum NotRolledBack {
    /// A call failed.
    #[error("{0}")]
    Call(#[from] CallError),
    /// What was read just before the write is not what was judged.
    #[error("{0}")]
    Changed(&'static str),
    /// The checkpoint's images are gone: a person must decide.
    #[error("{0}")]
    Gone(String),
}

/// What is rolled back, as it was when that was decided and recorded.
#[derive(Clone, Copy, Debug)]
pub struct Breached<'a> {
    /// The Deployment.
    pub deployment: &'a ObjectIdentity,
    /// The revision in breach: a newer one is left alone.
    pub revision: &'a str,
    /// Whose rollback it is, for the annotation that is written with the images.
    pub mark: &'a str,
}

/// Reads policy, checkpoint and Deployment anew (quorum reads, not the cache), compares them with what was
/// judged, and changes the images. Any difference leaves everything as it is: the next reconcile decides on
/// what there is then. What a reader should know of the verification right before it is returned.
pub async fn roll_back(
    context: &Context,
    policy: &QualityPolicy,
    breached: Breached<'_>,
    candidate: &Candidate,
) -> Result<Option<String>, NotRolledBack> {
    // The slowest step comes first: what is read after it is as new as it can be at the PATCH.
    let (look, verified) = context.verification.confirm(&candidate.uid, &candidate.images).await;
    let namespace = policy.namespace().unwrap_or_default();
    let policies: Api<QualityPolicy> = Api::namespaced(context.client.clone(), &namespace);
    let checkpoints: Api<RollbackCheckpoint> = Api::namespaced(context.client.clone(), &namespace);
    let deployments: Api<Deployment> = Api::namespaced(context.client.clone(), &namespace);

    let now_policy = call(policies.get(&policy.name_any())).await?;
    policy_stands(&now_policy, policy)?;

    let checkpoint = call(checkpoints.get(&candidate.name)).await?;
    checkpoint_stands(&checkpoint, candidate)?;
    let recorded = checkpoint
        .status
        .as_ref()
        .and_then(|status| status.image_verified_at.as_ref());
    let verified = verified.max(recorded.map(|at| at.0.as_second()));
    let note = match confirmed(&look, verified, Timestamp::now().as_second()) {
        Ok(note) => note,
        Err(gone) => return Err(NotRolledBack::Gone(gone)),
    };

    let deployment = call(deployments.get(&breached.deployment.name)).await?;
    deployment_stands(&deployment, breached, candidate)?;
    // What the watches told while the others were read counts as well.
    nothing_else_was_told(context, policy)?;

    let images = candidate.images.iter();
    let images: Vec<_> = images
        .map(|image| (image.container.clone(), image.image.clone()))
        .collect();
    // The UID and resourceVersion make the API server refuse it when anybody wrote in between; nothing but the images
    // and one annotation is sent.
    let patch = json!({
        "metadata": {
            "uid": breached.deployment.uid,
            "resourceVersion": deployment.resource_version(),
            "annotations": {ROLLBACK_ANNOTATION: breached.mark},
        },
        "spec": template_patch(&release::template_images(&deployment), &images),
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call(deployments.patch(&breached.deployment.name, &parameters, &Patch::Strategic(patch))).await?;
    context.meters.wrote("Deployment");
    Ok(note)
}

/// A strategic merge patch of a Deployment's spec that gives containers these images. It finds containers by name and
/// puts those that it names in its own order, so they are named in the order in which the Deployment has them.
pub fn template_patch(live: &[(String, String)], images: &[(String, String)]) -> serde_json::Value {
    let wanted = |container: &str| images.iter().find(|(name, _)| name == container);
    let containers: Vec<_> = live
        .iter()
        .filter_map(|(container, _)| wanted(container))
        .map(|(name, image)| json!({"name": name, "image": image}))
        .collect();
    json!({"template": {"spec": {"containers": containers}}})
}

/// The policy as it is now is the one that decided.
fn policy_stands(now_policy: &QualityPolicy, policy: &QualityPolicy) -> Result<(), NotRolledBack> {
    ensure(
        now_policy.uid() == policy.uid(),
        "the policy was deleted and created again",
    )?;
    ensure(!now_policy.spec.paused, "the policy is paused")?;
    ensure(
        now_policy.metadata.generation == policy.metadata.generation,
        "the policy changed",
    )?;
    ensure(
        now_policy.metadata.deletion_timestamp.is_none(),
        "the policy is being deleted",
    )
}

/// The checkpoint as it is now is the one that was chosen.
fn checkpoint_stands(checkpoint: &RollbackCheckpoint, candidate: &Candidate) -> Result<(), NotRolledBack> {
    ensure(
        checkpoint.uid().as_deref() == Some(candidate.uid.as_str()),
        "the checkpoint was deleted and created again",
    )?;
    ensure(!checkpoint.spec.revoked, "the checkpoint was revoked")?;
    ensure(
        checkpoint.metadata.deletion_timestamp.is_none(),
        "the checkpoint is being deleted",
    )?;
    ensure(
        checkpoint.spec.images == candidate.images,
        "the checkpoint's images changed",
    )?;
    ensure(
        checkpoint.spec.images.iter().all(|image| image.digest().is_some()),
        "the checkpoint is not pinned by digest",
    )
}

/// The Deployment as it is now runs the release in breach, and can take the checkpoint's images.
fn deployment_stands(
    deployment: &Deployment,
    breached: Breached<'_>,
    candidate: &Candidate,
) -> Result<(), NotRolledBack> {
    ensure(
        deployment.uid().as_deref() == Some(breached.deployment.uid.as_str()),
        "the Deployment was deleted and created again",
    )?;
    ensure(
        deployment.metadata.deletion_timestamp.is_none(),
        "the Deployment is being deleted",
    )?;
    ensure(
        !deployment.spec.paused.unwrap_or(false),
        "rollouts of the Deployment are paused",
    )?;
    let observed = deployment.status.as_ref().and_then(|status| status.observed_generation);
    ensure(
        observed >= deployment.metadata.generation,
        "the Deployment has a newer template",
    )?;
    ensure(
        release::revision(deployment) == Some(breached.revision),
        "the Deployment has a newer release",
    )?;
    let containers = release::template_images(deployment);
    let present = |container: &str| containers.iter().any(|(name, _)| name == container);
    ensure(
        candidate.images.iter().all(|image| present(&image.container)),
        "the Deployment lacks a container of the checkpoint",
    )
}

/// The caches know the policy as it decided, and no rival of it.
fn nothing_else_was_told(context: &Context, policy: &QualityPolicy) -> Result<(), NotRolledBack> {
    let namespace = policy.namespace().unwrap_or_default();
    let told = context
        .stores
        .policies
        .get(&ObjectRef::new(&policy.name_any()).within(&namespace));
    let told = told
        .as_ref()
        .map(|told| (told.meta().uid.as_ref(), told.meta().generation));
    ensure(
        told == Some((policy.metadata.uid.as_ref(), policy.metadata.generation)),
        "the policy changed",
    )?;
    ensure(
        conflicting_policies(&context.stores, policy).is_empty(),
        "another policy guards the same Deployment",
    )
}

fn ensure(holds: bool, otherwise: &'static str) -> Result<(), NotRolledBack> {
    if holds {
        Ok(())
    } else {
        Err(NotRolledBack::Changed(otherwise))
    }
}
