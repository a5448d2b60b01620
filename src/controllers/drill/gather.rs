//! Gather: what the caches hold about one drill, and what stands in its way. Where a cache that is behind could do
//! harm, the API server is asked: whether a shadow is gone, and whose turn it is.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Namespace,
};
use kube::{Api, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};

use crate::{
    controllers::{
        build::{candidate, holds_back},
        checkpoints,
        context::{CallError, Context, Stores, call},
        drill::{
            DrillObject,
            build::{Mark, Undo, is_shadow_of, restoration, rollback_mark, shadow_name},
            record::state_of,
        },
        gather::{conflicting_policies, of_namespace, owned},
        release,
    },
    validate,
};
use quality_api::{
    DRILL_ANNOTATION, DrillIntent, DrillMode, ENVIRONMENT_LABEL, QualityPolicy, ROLLBACK_ANNOTATION, RecoveryDrill,
    view::quarantine,
};
use quality_core::{
    drill::{DrillLimits, DrillObservation, DrillState, ImageSet, Obstacle, Subject},
    incident::ContainerImage,
    plan::Candidate,
    policy::Policy,
    quarantine::Quarantined,
};

/// A policy's objectives where the policy is gone: only how long is waited for a clean-up depends on them then.
const DEFAULT_LIMITS: DrillLimits = DrillLimits { rto: 600, rpo: 300 };

/// What the cluster shows about one drill.
pub struct DrillContext {
    /// The policy, while there is one.
    pub policy: Option<QualityPolicy>,
    /// The guarded Deployment.
    pub target: Option<Arc<Deployment>>,
    /// The Deployment under drill: the shadow, or in place the target itself.
    pub subject: Option<Arc<Deployment>>,
    /// The ReplicaSet of its current template.
    pub newest: Option<Arc<ReplicaSet>>,
    /// What to roll back to: the newest usable checkpoint, or once that is recorded, the one on record.
    pub candidate: Option<Candidate>,
    /// The digests that the target's pods run; read only where a drill is about to begin.
    pub running: Vec<ContainerImage>,
    /// What the core decides on.
    pub seen: DrillObservation,
}

/// What the cluster shows about one drill.
pub async fn gather(context: &Context, drill: &RecoveryDrill, now: Timestamp) -> Result<DrillContext, CallError> {
    let stores = &context.stores;
    let namespace = drill.namespace().unwrap_or_default();
    let state = state_of(drill);
    let policy = stores
        .policies
        .get(&ObjectRef::new(&drill.spec.policy_ref.name).within(&namespace))
        .and_then(|policy| policy.0.clone().ok())
        .filter(|policy| policy.metadata.deletion_timestamp.is_none());
    let rules = policy.as_ref().map(|policy| validate::policy(&policy.spec));
    let limits = match &rules {
        Some(Ok(rules)) => DrillLimits {
            rto: rules.rto,
            rpo: rules.rpo,
        },
        _ => DEFAULT_LIMITS,
    };
    let intent = drill.status.as_ref().and_then(|status| status.intent.as_ref());
    let target = policy.as_ref().and_then(|policy| {
        let name = &policy.spec.target_ref.name;
        stores.deployments.get(&ObjectRef::new(name).within(&namespace))
    });
    let subject = subject(context, drill, intent).await?;
    let newest = subject
        .as_ref()
        .and_then(|subject| release::newest(subject, &owned(stores, subject)).cloned());
    let mut gathered = DrillContext {
        seen: DrillObservation {
            now: now.as_second(),
            limits,
            obstacles: Vec::new(),
            subject: subject
                .as_ref()
                .zip(intent)
                .map(|(subject, intent)| view(drill, intent, subject, newest.is_some())),
        },
        policy,
        target,
        subject,
        newest,
        candidate: None,
        running: Vec::new(),
    };
    match rules {
        None => {
            let name = drill.spec.policy_ref.name.clone();
            gathered.seen.obstacles.push(Obstacle::PolicyNotFound(name));
        }
        Some(Err(invalid)) => {
            let obstacle = Obstacle::PolicyInvalid(format!("the policy makes no sense: {invalid}"));
            gathered.seen.obstacles.push(obstacle);
        }
        Some(Ok(rules)) if state != DrillState::CleaningUp => {
            obstacles(context, drill, intent, &rules, &mut gathered, now).await?;
        }
        Some(Ok(_)) => {}
    }
    Ok(gathered)
}

/// The Deployment under drill.
async fn subject(
    context: &Context,
    drill: &RecoveryDrill,
    intent: Option<&DrillIntent>,
) -> Result<Option<Arc<Deployment>>, CallError> {
    let Some(intent) = intent else { return Ok(None) };
    let namespace = drill.namespace().unwrap_or_default();
    let name = match drill.spec.mode {
        DrillMode::Shadow => shadow_name(&intent.target.name, &drill.uid().unwrap_or_default()),
        DrillMode::InPlace => intent.target.name.clone(),
    };
    let found = if state_of(drill) == DrillState::CleaningUp {
        // "It is not in the cache" is not "it is gone".
        let api: Api<Deployment> = Api::namespaced(context.client.clone(), &namespace);
        call(api.get_opt(&name)).await?.map(Arc::new)
    } else {
        let reference = ObjectRef::new(&name).within(&namespace);
        context.stores.deployments.get(&reference)
    };
    Ok(found.filter(|found| match drill.spec.mode {
        DrillMode::Shadow => is_shadow_of(found, drill),
        DrillMode::InPlace => found.uid().as_deref() == Some(intent.target.uid.as_str()),
    }))
}

/// The mark of this drill on a Deployment.
pub fn mark(drill: &RecoveryDrill, deployment: &Deployment) -> Option<Mark> {
    let text = deployment.annotations().get(DRILL_ANNOTATION)?;
    Mark::read(text).filter(|mark| Some(&mark.uid) == drill.uid().as_ref())
}

/// The core's view of the Deployment under drill.
fn view(drill: &RecoveryDrill, intent: &DrillIntent, deployment: &Deployment, has_newest: bool) -> Subject {
    let status = deployment.status.clone().unwrap_or_default();
    let made = status.updated_replicas.unwrap_or(0);
    let alone = drill.spec.mode == DrillMode::InPlace || status.replicas.unwrap_or(0) == made;
    let refusal = status.conditions.iter().flatten().find(|condition| {
        condition.type_.as_deref() == Some("ReplicaFailure")
            && condition.status.as_deref() == Some("True")
            && condition.message.is_some()
    });
    let marked = mark(drill, deployment).is_some();
    Subject {
        worn: worn(drill, intent, deployment, marked),
        // Also where somebody took or changed the mark: what the fault changed is to be put back all the same.
        marked: marked
            || !restoration(
                &drill.uid().unwrap_or_default(),
                intent,
                Undo::All,
                &release::template_images(deployment),
            )
            .is_empty(),
        refusal: refusal.and_then(|condition| condition.message.clone()),
        in_effect: has_newest && made > 0 && alone,
        complete: release::rollout_complete(deployment),
    }
}

fn worn(drill: &RecoveryDrill, intent: &DrillIntent, deployment: &Deployment, marked: bool) -> ImageSet {
    let template = release::template_images(deployment);
    let wears = |container: &str, image: &str| template.iter().any(|(name, known)| name == container && known == image);
    let rolled_back = deployment.annotations().get(ROLLBACK_ANNOTATION) == Some(&rollback_mark(&drill.name_any()));
    if marked
        && intent
            .fault_images
            .iter()
            .all(|image| wears(&image.container, &image.image))
    {
        ImageSet::Fault
    } else if rolled_back
        && intent
            .checkpoint
            .images
            .iter()
            .all(|image| wears(&image.container, &image.image))
    {
        ImageSet::Checkpoint
    } else if intent.images.iter().all(|image| wears(&image.container, &image.image)) {
        ImageSet::Start
    } else {
        ImageSet::Other
    }
}

/// What stands in the way, what a person must mend first.
async fn obstacles(
    context: &Context,
    drill: &RecoveryDrill,
    intent: Option<&DrillIntent>,
    rules: &Policy,
    gathered: &mut DrillContext,
    now: Timestamp,
) -> Result<(), CallError> {
    let stores = &context.stores;
    let Some(policy) = gathered.policy.clone() else {
        return Ok(());
    };
    let namespace = drill.namespace().unwrap_or_default();
    let mut found = Vec::new();
    if policy.spec.paused {
        found.push(Obstacle::PolicyPaused);
    }
    let conflicting_policies = conflicting_policies(stores, &policy);
    if !conflicting_policies.is_empty() {
        let others = conflicting_policies.join(", ");
        let message = format!("another policy guards the same Deployment: {others}; none of them acts");
        found.push(Obstacle::Conflict(message));
    }
    let begins = state_of(drill) == DrillState::Pending;
    if begins && drill.spec.mode == DrillMode::InPlace {
        found.extend(not_staging(context, &namespace).await?);
    }
    let target = gathered.target.clone();
    let resting = target
        .as_ref()
        .filter(|target| target.metadata.deletion_timestamp.is_none());
    let Some(target) = resting else {
        let message = format!(
            "there is no Deployment {} in this namespace",
            policy.spec.target_ref.name
        );
        found.push(Obstacle::NoTarget(message));
        gathered.seen.obstacles = found;
        return Ok(());
    };
    if intent.is_some_and(|intent| Some(&intent.target.uid) != target.uid().as_ref()) {
        let message = "the Deployment was deleted and created again".to_owned();
        found.push(Obstacle::NoTarget(message));
    }
    if let Some(incident) = open_incident(stores, &policy, &namespace) {
        found.push(Obstacle::IncidentOpen(incident));
    }
    match choose(stores, rules, &quarantine(&policy), target, intent, now.as_second()) {
        Ok(candidate) => gathered.candidate = Some(candidate),
        Err(why) => found.push(Obstacle::NoCheckpoint(why)),
    }
    if begins {
        let newest = release::newest(target, &owned(stores, target)).cloned();
        match newest {
            Some(newest) if release::rollout_complete(target) && runs_pods(target) => {
                if found.is_empty() {
                    gathered.running = checkpoints::running(context, &newest).await?.images;
                }
                if found.is_empty() && gathered.running.is_empty() {
                    found.push(Obstacle::DigestsUnknown);
                }
            }
            _ => found.push(Obstacle::RolloutInProgress),
        }
        let others = stores.drills.state();
        let others = others.iter().filter_map(|other| other.0.as_ref().ok());
        found.extend(ahead(drill, others).map(Obstacle::AnotherDrill));
    }
    // What passes by itself comes after what does not.
    found.sort_by_key(Obstacle::passes);
    gathered.seen.obstacles = found;
    Ok(())
}

fn runs_pods(target: &Deployment) -> bool {
    target.spec.replicas.unwrap_or(1) > 0
}

/// A drill in place breaks what serves: only where an administrator said that it may.
async fn not_staging(context: &Context, namespace: &str) -> Result<Option<Obstacle>, CallError> {
    let api: Api<Namespace> = Api::all(context.client.clone());
    let found = call(api.get(namespace)).await?;
    let environment = found.labels().get(ENVIRONMENT_LABEL).map(String::as_str);
    Ok((environment != Some("staging")).then(|| {
        Obstacle::NotStaging(format!(
            "a drill in place breaks the Deployment on purpose: it needs label {ENVIRONMENT_LABEL}=staging on the namespace"
        ))
    }))
}

/// The policy's incident during which nothing is rehearsed.
pub fn open_incident(stores: &Stores, policy: &QualityPolicy, namespace: &str) -> Option<String> {
    of_namespace(&stores.incidents.state(), namespace)
        .find(|incident| Some(&incident.spec.policy.uid) == policy.uid().as_ref() && holds_back(incident))
        .map(ResourceExt::name_any)
}

/// The checkpoint on record, or else the newest usable one whose containers the Deployment has. That it is what runs
/// does not matter here: the drill has its own fault to come back from.
fn choose(
    stores: &Stores,
    rules: &Policy,
    quarantine: &[Quarantined],
    target: &Deployment,
    intent: Option<&DrillIntent>,
    now: i64,
) -> Result<Candidate, String> {
    let namespace = target.namespace().unwrap_or_default();
    let name = target.name_any();
    let containers = release::template_images(target);
    let mut known: Vec<Candidate> = of_namespace(&stores.checkpoints.state(), &namespace)
        .filter(|checkpoint| {
            checkpoint.spec.target_ref.name == name && checkpoint.metadata.deletion_timestamp.is_none()
        })
        .map(|checkpoint| candidate(checkpoint, rules, quarantine, now))
        .collect();
    if let Some(intent) = intent {
        let wanted = &intent.checkpoint;
        let found = known.into_iter().find(|candidate| candidate.uid == wanted.uid);
        let found = found.ok_or_else(|| format!("checkpoint {} was deleted", wanted.name))?;
        return match &found.usable {
            Ok(()) => Ok(found),
            Err(why) => Err(format!("checkpoint {} cannot be used: {why}", found.name)),
        };
    }
    known.sort_by(|a, b| b.certified.cmp(&a.certified).then_with(|| b.name.cmp(&a.name)));
    let has = |container: &str| containers.iter().any(|(name, _)| name == container);
    let fits = |candidate: &&Candidate| candidate.images.iter().all(|image| has(&image.container));
    let usable = known.iter().filter(fits).find(|candidate| candidate.usable.is_ok());
    usable.cloned().ok_or_else(|| match known.first() {
        None => "no checkpoint is registered for this Deployment".to_owned(),
        Some(newest) => match &newest.usable {
            Err(why) => format!("checkpoint {} cannot be used: {why}", newest.name),
            Ok(()) => format!("checkpoint {} names a container that the Deployment lacks", newest.name),
        },
    })
}

/// The drill of the namespace that comes before this one: one that has begun, or one that was asked for earlier.
fn ahead<'a>(drill: &RecoveryDrill, others: impl Iterator<Item = &'a RecoveryDrill>) -> Option<String> {
    let place = |drill: &RecoveryDrill| (drill.creation_timestamp().map(|at| at.0), drill.name_any());
    others
        .filter(|other| other.namespace() == drill.namespace() && other.uid() != drill.uid())
        // One that is being deleted is driven by nobody: the sweep undoes it.
        .filter(|other| other.metadata.deletion_timestamp.is_none())
        .filter(|other| {
            let state = state_of(other);
            state.is_active() || state == DrillState::Pending && place(other) < place(drill)
        })
        .min_by_key(|other| (!state_of(other).is_active(), place(other)))
        .map(ResourceExt::name_any)
}

/// The drill that comes before this one, by the API server's own word and not by the cache's.
pub async fn first_in_line(context: &Context, drill: &RecoveryDrill) -> Result<Option<String>, CallError> {
    let namespace = drill.namespace().unwrap_or_default();
    let api: Api<DrillObject> = Api::namespaced(context.client.clone(), &namespace);
    let all = call(api.list(&ListParams::default())).await?;
    Ok(ahead(drill, all.items.iter().filter_map(|other| other.0.as_ref().ok())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn drill(name: &str, second: u8, state: &str) -> RecoveryDrill {
        let object = json!({
            "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill",
            "metadata": {"name": name, "namespace": "shop", "uid": name,
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z")},
            "spec": {"policyRef": {"name": "ranker"}},
            "status": {"state": state},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn one_drill_at_a_time_and_the_one_that_was_asked_for_first() {
        let me = drill("b", 10, "Pending");
        for (others, first) in [
            (vec![], None),
            (vec![drill("a", 5, "Finished")], None),
            (vec![drill("a", 5, "Pending")], Some("a")),
            (vec![drill("a", 10, "Pending")], Some("a")),
            (vec![drill("c", 10, "Pending"), drill("d", 11, "Pending")], None),
            // Later and already begun.
            (vec![drill("a", 5, "Pending"), drill("z", 20, "CleaningUp")], Some("z")),
        ] {
            assert_eq!(ahead(&me, others.iter()).as_deref(), first, "{others:?}");
        }
    }
}
