//! Checkpoints: registering a release that was seen healthy, certifying it while it stays so, and saying of
//! each one whether it may be used.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::ReplicaSet,
        core::v1::{Pod, PodCondition},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Preconditions},
};

use crate::controllers::{
    build,
    context::{CallError, Context, call, post},
    events::{EventNote, tell},
    gather::Gathered,
    readiness::{self, CheckpointUpdate, Tested},
    registered_templates, release,
};
use quality_api::{
    CertifiedRelease, IncidentState, Provenance, QualityIncident, QualityPolicy, RollbackCheckpoint, RunningImage, view,
};
use quality_core::{
    incident::{self, ContainerImage},
    policy::Policy,
    quarantine::{Quarantined, find},
    readiness::LoadTime,
    retention::{Kept, surplus},
};

/// Certification is renewed after this share of the RPO objective, so that it is never older than the objective.
const RENEWAL_SHARE: f64 = 0.8;

/// Where a policy registers nothing by itself, a release is on record as good after so long, seconds.
const BAKED_AFTER: i64 = 300;

/// What the Ready pods of a release show.
#[derive(Default)]
pub struct Running {
    /// The digests that they run, by the node's own word (`imageID`). Empty while they are not all known or not all
    /// the same.
    pub images: Vec<ContainerImage>,
    /// How long they took to come up.
    pub load: Option<LoadTime>,
}

/// Lists the pods of a ReplicaSet.
pub async fn running(context: &Context, replica_set: &ReplicaSet) -> Result<Running, CallError> {
    let namespace = replica_set.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let Some(hash) = replica_set.labels().get("pod-template-hash") else {
        return Ok(Running::default());
    };
    let list = call(pods.list(&ListParams::default().labels(&format!("pod-template-hash={hash}")))).await?;
    let uid = replica_set.uid();
    let ready: Vec<&Pod> = list
        .items
        .iter()
        .filter(|pod| {
            let owners = pod.owner_references();
            is_ready(pod) && owners.iter().any(|owner| Some(&owner.uid) == uid.as_ref())
        })
        .collect();
    Ok(Running {
        images: running_digests(replica_set, &ready),
        load: load(&ready),
    })
}

fn running_digests(replica_set: &ReplicaSet, ready: &[&Pod]) -> Vec<ContainerImage> {
    let template = replica_set
        .spec
        .template
        .as_ref()
        .map(release::images)
        .unwrap_or_default();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for pod in ready {
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
                return Vec::new();
            };
            if found
                .insert(status.name.clone(), pinned.clone())
                .is_some_and(|before| before != pinned)
            {
                return Vec::new();
            }
        }
    }
    if found.len() != template.len() {
        return Vec::new();
    }
    found
        .into_iter()
        .map(|(container, image)| ContainerImage { container, image })
        .collect()
}

/// Pods that were created within this time of each other came up together, seconds.
const TOGETHER: i64 = 600;

/// How long the newest Ready pods took from scheduled to Ready: their median, so that one that lost its readiness and
/// got it back does not count as one that loads for days.
fn load(ready: &[&Pod]) -> Option<LoadTime> {
    let seconds = |time: Option<&Time>| time.map(|time| time.0.as_second());
    let mut pods: Vec<(i64, i64)> = ready
        .iter()
        .filter_map(|pod| {
            let created = seconds(pod.metadata.creation_timestamp.as_ref())?;
            let scheduled = seconds(since(pod, "PodScheduled")).unwrap_or(created);
            Some((created, (seconds(since(pod, "Ready"))? - scheduled).max(0)))
        })
        .collect();
    let created = pods.iter().map(|(created, _)| *created).max()?;
    pods.retain(|(other, _)| created - other <= TOGETHER);
    pods.sort_by_key(|(_, took)| *took);
    let (_, seconds) = pods[pods.len() / 2];
    Some(LoadTime { seconds, created })
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
    pod.metadata.deletion_timestamp.is_none() && condition(pod, "Ready").is_some()
}

/// The condition `kind` of a pod, when it is True.
fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_deref().unwrap_or_default();
    conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

fn since<'a>(pod: &'a Pod, kind: &str) -> Option<&'a Time> {
    condition(pod, kind)?.last_transition_time.as_ref()
}

/// What is known of the running release.
pub struct ReleaseHealth<'a> {
    /// The digests that its pods run.
    pub running: &'a [ContainerImage],
    /// How long its pods took to come up, once its rollout was complete.
    pub load: Option<LoadTime>,
    /// Every judged trigger is healthy at the last look.
    pub healthy: bool,
    /// And its evaluation, where it is judged, does not speak against it.
    pub may_be_registered: bool,
    /// Where the release comes from.
    pub provenance: Provenance,
    /// And has been since, unix seconds.
    pub healthy_since: Option<i64>,
    /// Nothing is being done about an incident, none but an alert is open, and the rollout is complete.
    pub settled: bool,
    /// The last look, unix seconds.
    pub at: i64,
}

/// Registers, certifies and prunes; returns whether something was written.
pub async fn reconcile_checkpoints(
    context: &Context,
    policy: &QualityPolicy,
    rules: &Policy,
    gathered: &Gathered,
    standing: &ReleaseHealth<'_>,
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
    let quarantine = view::quarantine(policy);
    let kept_out = kept_out(&quarantine, gathered, standing);
    if known.is_none()
        && !kept_out
        && standing.settled
        && standing.may_be_registered
        && baked
        && !standing.running.is_empty()
    {
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
        let may = runs && !kept_out && standing.settled && healthy && proven && !checkpoint.spec.revoked;
        // A release under the same images is on record as good only once it has shown that itself.
        let shown = |after| standing.healthy_since.is_some_and(|since| standing.at - since >= after);
        let release = if may && shown(rules.register_after.unwrap_or(BAKED_AFTER)) {
            unrecorded(context, checkpoint, gathered).await?
        } else {
            None
        };
        let certify = may && (due || release.is_some());
        let news = CheckpointUpdate {
            certified: certify.then_some(standing.at),
            load: standing.load.filter(|_| runs),
            tested: tested(checkpoint, gathered),
            named: if certify {
                named(checkpoint, gathered)
            } else {
                Vec::new()
            },
            release,
            quarantine: quarantine.clone(),
        };
        wrote |= readiness::update(context, rules, checkpoint, &news, now).await?;
    }
    if !wrote {
        wrote = prune(context, policy, rules, gathered, standing, now).await?;
    }
    Ok(wrote)
}

/// Whether what runs was taken away once and not released since.
fn kept_out(quarantine: &[Quarantined], gathered: &Gathered, standing: &ReleaseHealth<'_>) -> bool {
    let template = release::template_images(&gathered.deployment);
    let names = template.iter().map(|(_, image)| image);
    let mut images = names.chain(standing.running.iter().map(|running| &running.image));
    images.any(|image| find(quarantine, image).is_some())
}

/// The running release, if it is not among those that the checkpoint was certified in.
async fn unrecorded(
    context: &Context,
    checkpoint: &RollbackCheckpoint,
    gathered: &Gathered,
) -> Result<Option<CertifiedRelease>, CallError> {
    let mut releases = checkpoint.status.iter().flat_map(|status| &status.releases);
    if releases.any(|known| Some(&known.uid) == gathered.newest.uid().as_ref()) {
        return Ok(None);
    }
    registered_templates::certified(context, &gathered.newest).await
}

/// How the running release names the images of the checkpoint that it is, where it names them otherwise.
fn named(checkpoint: &RollbackCheckpoint, gathered: &Gathered) -> Vec<RunningImage> {
    let template = release::template_images(&gathered.deployment).into_iter();
    template
        .filter(|(container, image)| {
            let mut images = checkpoint.spec.images.iter();
            images.any(|known| known.container == *container && known.image != *image)
        })
        .map(|(container, image)| RunningImage {
            container,
            image,
            named: None,
        })
        .collect()
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
    standing: &ReleaseHealth<'_>,
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
                let told = EventNote {
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

/// The newest rollback to a checkpoint after which all was well again.
fn tested(checkpoint: &RollbackCheckpoint, gathered: &Gathered) -> Option<Tested> {
    let of_it = |incident: &&QualityIncident| {
        incident.spec.checkpoint.as_ref().map(|known| &known.uid) == checkpoint.uid().as_ref()
    };
    let recovered = gathered.incidents.iter().filter(of_it).filter_map(|incident| {
        let status = incident.status.as_ref()?;
        let at = status
            .closed_at
            .as_ref()
            .filter(|_| status.state == IncidentState::Recovered)?;
        Some(Tested {
            at: at.0.as_second(),
            by: incident.name_any(),
        })
    });
    recovered.max_by_key(|tested| tested.at)
}

/// Deletes the checkpoint that is one too many, if there is one.
async fn prune(
    context: &Context,
    policy: &QualityPolicy,
    rules: &Policy,
    gathered: &Gathered,
    standing: &ReleaseHealth<'_>,
    now: Timestamp,
) -> Result<bool, CallError> {
    let quarantine = view::quarantine(policy);
    let kept = |checkpoint: &RollbackCheckpoint| {
        let candidate = build::candidate(checkpoint, rules, &quarantine, now.as_second());
        let named = |incident: &QualityIncident| {
            !build::is_closed(incident)
                && incident.spec.checkpoint.as_ref().map(|known| &known.uid) == checkpoint.uid().as_ref()
        };
        Kept {
            own: checkpoint.annotations().contains_key(build::REGISTERED_BY),
            certified: candidate.certified,
            usable: candidate.usable.is_ok(),
            in_use: is_running(checkpoint, standing.running),
            named: gathered.incidents.iter().any(named),
        }
    };
    let all: Vec<Kept> = gathered.checkpoints.iter().map(kept).collect();
    let Some(oldest) = surplus(&all, rules.keep).map(|index| &gathered.checkpoints[index]) else {
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

    /// A pod that was created at second 1000 + `created`, scheduled a second later, and Ready `took` after that.
    fn pod(created: i64, took: i64) -> Pod {
        let at = |second: i64| {
            jiff::Timestamp::from_second(1_000 + created + second)
                .unwrap()
                .to_string()
        };
        serde_json::from_value(serde_json::json!({
            "metadata": {"creationTimestamp": at(0)},
            "status": {"conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(1)},
                {"type": "Ready", "status": "True", "lastTransitionTime": at(1 + took)},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn the_load_time_is_the_median_of_the_newest_pods() {
        let measure = |pods: &[Pod]| load(&pods.iter().collect::<Vec<_>>());
        assert_eq!(measure(&[]), None);
        let one = LoadTime {
            seconds: 12,
            created: 1_000,
        };
        assert_eq!(measure(&[pod(0, 12)]), Some(one));
        // Days later one of three lost its readiness for a while.
        let newest = LoadTime {
            seconds: 9,
            created: 1_005,
        };
        assert_eq!(measure(&[pod(0, 8), pod(2, 260_000), pod(5, 9)]), Some(newest));
        // Pods of long before do not count.
        let alone = LoadTime {
            seconds: 20,
            created: 9_000,
        };
        assert_eq!(measure(&[pod(0, 8), pod(2, 9), pod(8_000, 20)]), Some(alone));
    }

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
