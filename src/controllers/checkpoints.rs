//! Checkpoints: registering a release that was seen healthy, certifying it while it stays so, and saying of
//! each one whether it may be used.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::ReplicaSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};

use crate::{
    api::{
        Provenance, QualityPolicy, RollbackCheckpoint,
        conditions::{self, Status},
    },
    controllers::{
        build,
        context::{CallError, Context, call, post},
        events::{Told, tell},
        gather::Gathered,
        release,
    },
    core::{
        incident::{self, ContainerImage},
        policy::Policy,
    },
};

/// Certification is renewed after this share of the RPO objective, so that it is never older than the objective.
const RENEWAL_SHARE: f64 = 0.8;

/// The digests that the pods of a ReplicaSet run, by the node's own word (`imageID`). Empty while they are not
/// all known or not all the same.
pub async fn running_digests(context: &Context, replica_set: &ReplicaSet) -> Result<Vec<ContainerImage>, CallError> {
    let namespace = replica_set.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let Some(hash) = replica_set.labels().get("pod-template-hash") else {
        return Ok(Vec::new());
    };
    let list = call(pods.list(&ListParams::default().labels(&format!("pod-template-hash={hash}")))).await?;
    let uid = replica_set.uid();
    let own = list.items.iter().filter(|pod| {
        pod.owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == uid.as_ref())
    });
    let template = replica_set
        .spec
        .template
        .as_ref()
        .map(release::images)
        .unwrap_or_default();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for pod in own.filter(|pod| is_ready(pod)) {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_deref())
            .unwrap_or_default();
        for status in statuses {
            let Some((_, image)) = template.iter().find(|(name, _)| *name == status.name) else {
                continue;
            };
            let Some(pinned) = pinned(image, &status.image_id) else {
                return Ok(Vec::new());
            };
            if found
                .insert(status.name.clone(), pinned.clone())
                .is_some_and(|before| before != pinned)
            {
                return Ok(Vec::new());
            }
        }
    }
    if found.len() != template.len() {
        return Ok(Vec::new());
    }
    Ok(found
        .into_iter()
        .map(|(container, image)| ContainerImage { container, image })
        .collect())
}

/// The template's repository with the digest that the node reports: `docker-pullable://` and mirror names go.
fn pinned(image: &str, image_id: &str) -> Option<String> {
    let digest = incident::digest(image_id)?;
    let without_digest = image.split_once('@').map_or(image, |(name, _)| name);
    let slash = without_digest.rfind('/').map_or(0, |at| at + 1);
    let repository = without_digest[slash..]
        .find(':')
        .map_or(without_digest, |colon| &without_digest[..slash + colon]);
    Some(format!("{repository}@{digest}"))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What is known of the running release.
pub struct Standing<'a> {
    /// The digests that its pods run.
    pub running: &'a [ContainerImage],
    /// Every judged trigger is healthy at the last look.
    pub healthy: bool,
    /// And its evaluation, where it is judged, does not speak against it.
    pub may_be_registered: bool,
    /// Where the release comes from.
    pub provenance: Provenance,
    /// And has been since, unix seconds.
    pub healthy_since: Option<i64>,
    /// No incident is open and the rollout is complete.
    pub settled: bool,
    /// The last look, unix seconds.
    pub at: i64,
}

/// Registers, certifies and prunes; returns whether something was written.
pub async fn keep(
    context: &Context,
    policy: &QualityPolicy,
    rules: &Policy,
    gathered: &Gathered,
    standing: &Standing<'_>,
    now: Timestamp,
) -> Result<bool, CallError> {
    let known = gathered
        .checkpoints
        .iter()
        .find(|checkpoint| is_running(checkpoint, standing.running));
    let baked = standing
        .healthy_since
        .zip(rules.register_after)
        .is_some_and(|(since, after)| standing.at - since >= after);
    if known.is_none() && standing.settled && standing.may_be_registered && baked && !standing.running.is_empty() {
        return register(context, policy, gathered, standing, now).await.map(|()| true);
    }
    let mut wrote = false;
    for checkpoint in &gathered.checkpoints {
        let certified = checkpoint
            .status
            .as_ref()
            .and_then(|status| status.certified_at.as_ref())
            .map(|at| at.0.as_second());
        let runs = known.is_some_and(|known| known.uid() == checkpoint.uid());
        // The first certification needs as long a proof as a registration; renewals only the last look.
        let proven =
            certified.is_some() || baked || (rules.register_after.is_none() && standing.healthy_since.is_some());
        let due = certified.is_none_or(|at| (standing.at - at) as f64 >= rules.rpo as f64 * RENEWAL_SHARE);
        // What runs but was not yet seen to be good must be shown to be.
        let healthy = if certified.is_some() {
            standing.healthy
        } else {
            standing.may_be_registered
        };
        let certify = runs && standing.settled && healthy && proven && due && !checkpoint.spec.revoked;
        wrote |= update(context, rules, checkpoint, certify.then_some(standing.at), now).await?;
    }
    if !wrote {
        wrote = prune(context, rules, gathered, standing, now).await?;
    }
    Ok(wrote)
}

fn is_running(checkpoint: &RollbackCheckpoint, running: &[ContainerImage]) -> bool {
    !running.is_empty()
        && checkpoint.spec.images.iter().all(|image| {
            running
                .iter()
                .any(|known| known.container == image.container && known.digest() == image.digest())
        })
}

async fn register(
    context: &Context,
    policy: &QualityPolicy,
    gathered: &Gathered,
    standing: &Standing<'_>,
    now: Timestamp,
) -> Result<(), CallError> {
    let namespace = policy.namespace().unwrap_or_default();
    let api: Api<RollbackCheckpoint> = Api::namespaced(context.client.clone(), &namespace);
    // A number that is taken (by a checkpoint of the same day) is passed over.
    for number in 1..1_000 {
        let checkpoint = build::checkpoint(policy, standing.running, standing.provenance.clone(), now, number);
        if gathered
            .checkpoints
            .iter()
            .any(|known| known.name_any() == checkpoint.name_any())
        {
            continue;
        }
        match call(api.create(&post(), &checkpoint)).await {
            Ok(created) => {
                context.meters.wrote("RollbackCheckpoint");
                let note = format!("{} registered: {}", created.name_any(), describe(&created.spec.images));
                tracing::info!(checkpoint = %created.name_any(), images = %describe(&created.spec.images), "registered");
                let told = Told {
                    warning: false,
                    reason: "CheckpointRegistered",
                    note,
                    about: &created.name_any(),
                    chapter: 0,
                };
                tell(context, policy, Some(&gathered.deployment), &told).await;
                return Ok(());
            }
            // Made a moment ago and not in the cache yet: the next reconcile sees it.
            Err(error) if error.is_conflict() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn describe(images: &[ContainerImage]) -> String {
    images
        .iter()
        .map(|image| format!("{} {}", image.container, image.image))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Writes the conditions of one checkpoint where they changed, and its certification.
async fn update(
    context: &Context,
    rules: &Policy,
    checkpoint: &RollbackCheckpoint,
    certify_at: Option<i64>,
    now: Timestamp,
) -> Result<bool, CallError> {
    let mut changed = checkpoint.clone();
    let generation = checkpoint.metadata.generation;
    let status = changed.status.get_or_insert_default();
    if let Some(at) = certify_at {
        status.certified_at = Some(build::time(at));
    }
    status.observed_generation = generation;
    status.digest = checkpoint
        .spec
        .images
        .first()
        .map(|image| incident::short(&image.image))
        .unwrap_or_default();
    let certified = status.certified_at.clone();
    let changed_status = changed.clone();
    let candidate = build::candidate(&changed_status, rules, now.as_second());
    let status = changed.status.get_or_insert_default();
    let now = Time(now);
    let mut set = |kind: &str, holds: bool, reason: &str, message: &str| {
        conditions::set(
            &mut status.conditions,
            kind,
            Status::from(holds),
            reason,
            message,
            generation,
            &now,
        );
    };
    match &certified {
        Some(_) => set(
            "Verified",
            true,
            "SeenHealthy",
            "its digests were seen running with every judged trigger healthy",
        ),
        None => set(
            "Verified",
            false,
            "NotSeenHealthy",
            "its digests were not seen running and healthy yet",
        ),
    }
    match &candidate.usable {
        Ok(()) => set("Ready", true, "Verified", "a rollback may go back to it"),
        Err(reason) if checkpoint.spec.revoked => set("Ready", false, "Revoked", reason),
        Err(reason) if certified.is_none() => set("Ready", false, "NotVerified", reason),
        Err(reason) => set("Ready", false, "Stale", &stable(reason, rules)),
    }
    if checkpoint.status == changed.status {
        return Ok(false);
    }
    context.replace_status(&changed).await?;
    Ok(true)
}

/// A message that does not change from look to look: a condition with a running age would be written for ever.
fn stable(reason: &str, rules: &Policy) -> String {
    if reason.starts_with("it was last certified") {
        format!(
            "it was last certified longer ago than {}",
            crate::core::words::span(rules.checkpoint_max_age)
        )
    } else {
        reason.to_owned()
    }
}

/// Deletes the oldest checkpoints that the operator registered beyond `keep`; never the one in use, one that
/// an open incident names, the newest usable one, or one that a person made.
async fn prune(
    context: &Context,
    rules: &Policy,
    gathered: &Gathered,
    standing: &Standing<'_>,
    now: Timestamp,
) -> Result<bool, CallError> {
    let mut own: Vec<(&RollbackCheckpoint, Option<i64>)> = gathered
        .checkpoints
        .iter()
        .filter(|checkpoint| checkpoint.annotations().contains_key(build::REGISTERED_BY))
        .map(|checkpoint| {
            (
                checkpoint,
                build::candidate(checkpoint, rules, now.as_second()).certified,
            )
        })
        .collect();
    own.sort_by_key(|(_, certified)| std::cmp::Reverse(*certified));
    let needed = |checkpoint: &RollbackCheckpoint| {
        is_running(checkpoint, standing.running)
            || gathered.incidents.iter().any(|incident| {
                !build::is_closed(incident)
                    && incident.spec.checkpoint.as_ref().map(|known| &known.uid) == checkpoint.uid().as_ref()
            })
    };
    let Some((oldest, _)) = own
        .into_iter()
        .skip(rules.keep)
        .rfind(|(checkpoint, _)| !needed(checkpoint))
    else {
        return Ok(false);
    };
    let api: Api<RollbackCheckpoint> = Api::namespaced(context.client.clone(), &oldest.namespace().unwrap_or_default());
    let preconditions = Preconditions {
        uid: oldest.uid(),
        resource_version: oldest.resource_version(),
    };
    let parameters = DeleteParams::default().preconditions(preconditions);
    match call(api.delete(&oldest.name_any(), &parameters)).await {
        Ok(_) => {
            context.meters.wrote("RollbackCheckpoint");
            tracing::info!(checkpoint = %oldest.name_any(), keep = rules.keep, "pruned");
            Ok(true)
        }
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_image_is_pinned_in_its_templates_repository_by_the_nodes_digest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, id) in [
            (
                "registry.example/ranker:v1",
                format!("registry.example/ranker@{digest}"),
            ),
            (
                "registry.example/ranker:v1",
                format!("docker-pullable://mirror:5000/ranker@{digest}"),
            ),
            ("registry.example/ranker", format!("mirror/x@{digest}")),
        ] {
            assert_eq!(pinned(image, &id), Some(format!("registry.example/ranker@{digest}")));
        }
        assert_eq!(
            pinned("host:5000/ranker:v1", &format!("x@{digest}")),
            Some(format!("host:5000/ranker@{digest}"))
        );
        assert_eq!(pinned("registry.example/ranker:v1", ""), None);
        assert_eq!(pinned("registry.example/ranker:v1", "sha256:abc"), None);
    }
}
