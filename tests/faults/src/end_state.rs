//! What a scenario leaves behind, without what differs between two runs that both go well: times, generated names, and
//! figures.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams},
};
use quality_api::{
    IncidentState, QualityIncident, QualityPolicy, QualityReport, QualityReportSnapshot, ROLLBACK_ANNOTATION,
    RecoveryDrill, RollbackCheckpoint,
};
use serde_json::{Value, json};
use stage::StageError;

use crate::world::World;

/// The end state of a namespace.
pub async fn end_state(world: &World) -> Result<Value, StageError> {
    let space = &world.space;
    let mut incidents = world.incidents().await?;
    incidents.sort_by_key(|incident| incident.spec.from.clone());
    let mut checkpoints = space.all::<RollbackCheckpoint>().await?;
    checkpoints.sort_by_key(|checkpoint| checkpoint.spec.images.first().map(|image| image.image.clone()));
    let mut deployments = space.all::<Deployment>().await?;
    deployments.sort_by_key(ResourceExt::name_any);
    let mut snapshots: Vec<String> = Vec::new();
    for snapshot in space.all::<QualityReportSnapshot>().await? {
        snapshots.push(format!("{:?}", snapshot.spec.of));
    }
    snapshots.sort();
    Ok(json!({
        "deployments": deployments.iter().map(deployment).collect::<Vec<_>>(),
        "policies": space.all::<QualityPolicy>().await?.iter().map(policy).collect::<Vec<_>>(),
        "incidents": incidents.iter().map(incident).collect::<Vec<_>>(),
        "checkpoints": checkpoints.iter().map(checkpoint).collect::<Vec<_>>(),
        "drills": space.all::<RecoveryDrill>().await?.iter().map(drill).collect::<Vec<_>>(),
        "reports": space.all::<QualityReport>().await?.iter().map(report).collect::<Vec<_>>(),
        "snapshots": snapshots,
    }))
}

/// Reasons of Events that one object was told more than once about the same thing. Events are best effort: one may be
/// missing after a crash, none may come twice.
pub async fn repeated_events(world: &World) -> Result<Vec<String>, StageError> {
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for event in world.space.all::<Event>().await? {
        if event.reporting_component.as_deref() == Some("quality-officer") {
            let about = event.involved_object.uid.unwrap_or_default();
            let key = format!(
                "{} {about} {}",
                event.reason.unwrap_or_default(),
                event.message.unwrap_or_default()
            );
            *told.entry(key).or_default() += usize::try_from(event.count.unwrap_or(1)).unwrap_or(1);
        }
    }
    Ok(told
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(key, _)| key)
        .collect())
}

/// The incidents whose breach began before the ReplicaSet of the release was there. Those that cannot be read, as one plan makes
/// them, are nobody's.
pub async fn early_breaches(world: &World) -> Result<Vec<String>, StageError> {
    let replica_sets = world.space.all::<ReplicaSet>().await?;
    let of_release = |incident: &QualityIncident| {
        let owner = &incident.spec.deployment.uid;
        let is_it = |found: &&ReplicaSet| {
            found.name_any() == incident.spec.replica_set
                && found.owner_references().iter().any(|reference| reference.uid == *owner)
        };
        replica_sets
            .iter()
            .find(is_it)
            .and_then(ResourceExt::creation_timestamp)
    };
    let early = |incident: &QualityIncident| {
        let (born, onset) = (of_release(incident)?.0, incident.spec.onset.0);
        (onset < born).then(|| format!("{} began at {onset}, its release at {born}", incident.name_any()))
    };
    let kind = ApiResource::erase::<QualityIncident>(&());
    let untyped: Api<DynamicObject> = Api::namespaced_with(world.space.client.clone(), &world.space.namespace, &kind);
    let listed = untyped.list(&ListParams::default()).await?.items;
    let readable = listed.into_iter().filter_map(|object| object.try_parse().ok());
    Ok(readable.filter_map(|incident| early(&incident)).collect())
}

fn deployment(deployment: &Deployment) -> Value {
    let annotations = deployment.annotations();
    let containers = deployment.spec.template.spec.as_ref().map(|spec| &spec.containers);
    let images: Vec<_> = containers
        .into_iter()
        .flatten()
        .map(|container| container.image.clone())
        .collect();
    json!({
        "name": deployment.name_any(),
        "revision": annotations.get("deployment.kubernetes.io/revision"),
        "images": images,
        "rolledBack": annotations.contains_key(ROLLBACK_ANNOTATION),
    })
}

fn standing(conditions: &[Condition]) -> BTreeMap<&str, String> {
    let stands = |condition: &Condition| format!("{} {}", condition.status, condition.reason);
    conditions
        .iter()
        .map(|condition| (condition.type_.as_str(), stands(condition)))
        .collect()
}

fn policy(policy: &QualityPolicy) -> Value {
    let status = policy.status.clone().unwrap_or_default();
    let whole = serde_json::to_value(&status).unwrap_or_default();
    let quarantined = whole["quarantine"].as_array().cloned().unwrap_or_default();
    let images: Vec<_> = quarantined.iter().map(|entry| entry["image"].clone()).collect();
    json!({
        "name": policy.name_any(),
        "conditions": standing(&status.conditions),
        "verdict": status.verdict,
        "observed": status.observed_generation == policy.metadata.generation,
        "gate": [whole["gate"]["state"], whole["gate"]["reason"]],
        "quarantine": images,
    })
}

fn incident(incident: &QualityIncident) -> Value {
    let status = incident.status.clone().unwrap_or_default();
    // Where the fault is a refusal, it stands among the steps: the end must be the same all the same.
    let steps = status.steps.iter().filter(|step| step.state != IncidentState::Refused);
    let steps: Vec<_> = steps.map(|step| step.state.name()).collect();
    json!({
        "trigger": incident.spec.trigger.name(),
        "from": incident.spec.from,
        "to": incident.spec.to,
        "state": status.state.name(),
        "steps": steps,
        "conditions": standing(&status.conditions),
        "postmortem": status.postmortem.is_some(),
        "rto": status.rto.is_some(),
        "rpo": status.rpo.is_some(),
    })
}

fn checkpoint(checkpoint: &RollbackCheckpoint) -> Value {
    let status = checkpoint.status.clone().unwrap_or_default();
    json!({"images": checkpoint.spec.images, "conditions": standing(&status.conditions)})
}

fn drill(drill: &RecoveryDrill) -> Value {
    let status = drill.status.clone().unwrap_or_default();
    let steps: Vec<_> = status.steps.iter().map(|step| step.state.name()).collect();
    json!({"result": status.result, "steps": steps, "conditions": standing(&status.conditions)})
}

fn report(report: &QualityReport) -> Value {
    let status = report.status.clone().unwrap_or_default();
    json!({"verdict": status.verdict, "slos": status.slos, "rollback": status.rollback, "incident": !status.incident.is_empty()})
}

/// Where two end states differ: one line a place.
pub fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut into = Vec::new();
    walk(true, "", expected, found, &mut into);
    into
}

/// As [`differences`], of what is expected: a field that is not named may be anything. Lists are named whole.
pub fn unlike(expected: &Value, found: &Value) -> Vec<String> {
    let mut into = Vec::new();
    walk(false, "", expected, found, &mut into);
    into
}

fn walk(whole: bool, path: &str, expected: &Value, found: &Value, into: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(left), Value::Object(right)) => {
            let unnamed = right.keys().filter(|_| whole);
            let keys = left.keys().chain(unnamed).collect::<std::collections::BTreeSet<_>>();
            for key in keys {
                let null = &Value::Null;
                let (left, right) = (left.get(key).unwrap_or(null), right.get(key).unwrap_or(null));
                walk(whole, &format!("{path}.{key}"), left, right, into);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (number, (left, right)) in left.iter().zip(right).enumerate() {
                walk(whole, &format!("{path}[{number}]"), left, right, into);
            }
        }
        (left, right) if left != right => into.push(format!("{path}: {right} instead of {left}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_their_place() {
        let expected = json!({"a": [{"b": 1}], "c": 2});
        assert_eq!(differences(&expected, &expected), Vec::<String>::new());
        let found = json!({"a": [{"b": 3}], "c": 2, "d": true});
        assert_eq!(
            differences(&expected, &found),
            [".a[0].b: 3 instead of 1", ".d: true instead of null"]
        );
        let longer = json!({"a": [], "c": 2});
        assert_eq!(differences(&expected, &longer), [".a: [] instead of [{\"b\":1}]"]);
    }

    #[test]
    fn what_is_not_named_may_be_anything() {
        let expected = json!({"a": [{"b": 1}]});
        let found = json!({"a": [{"b": 1, "e": 2}], "d": true});
        assert_eq!(unlike(&expected, &found), Vec::<String>::new());
        assert_eq!(unlike(&json!({"a": []}), &found).len(), 1);
        assert_eq!(unlike(&json!({"d": false}), &found), [".d: true instead of false"]);
    }
}
