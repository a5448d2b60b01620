//! Files the postmortem of a rollback when it ends: in the incident's status, once.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, ResourceExt, api::ListParams};

use crate::controllers::{
    build,
    context::{Context, call},
    gather::Gathered,
};
use quality_api::{QualityIncident, QualityIncidentStatus, QualityPolicy, TriggerStatus};
use quality_core::{
    incident::{self, IncidentState},
    judge::Verdict,
    policy::Policy,
    postmortem::{ClusterEvent, PostmortemInput, Signal, TimelineStep, markdown},
};

/// How long before the onset the cluster's Events count, seconds.
const BEFORE_SECONDS: i64 = 600;
/// Events that are asked for at once.
const MAX_EVENTS: u32 = 500;

/// Whether a rollback that reached this state is over, well or not.
pub fn is_due(status: &QualityIncidentStatus) -> bool {
    status.patched_at.is_some() && (status.state.is_closed() || status.state == IncidentState::Ineffective)
}

/// Writes the postmortem into the status that is about to be sent.
pub async fn file(
    context: &Context,
    policy: &QualityPolicy,
    rules: &Policy,
    gathered: &Gathered,
    verdict: &Verdict,
    incident: &QualityIncident,
    status: &mut QualityIncidentStatus,
) {
    let events = events(context, policy, incident).await;
    let steps: Vec<TimelineStep> = status
        .steps
        .iter()
        .map(|step| TimelineStep {
            at: step.at.0.as_second(),
            state: step.state,
            message: step.message.clone(),
        })
        .collect();
    let before: Vec<Signal> = incident.spec.triggers.iter().map(signal).collect();
    let after: Vec<Signal> = verdict
        .triggers
        .iter()
        .map(|trigger| signal(&build::trigger_status(trigger)))
        .collect();
    let namespace = policy.namespace().unwrap_or_default();
    status.postmortem = Some(markdown(&PostmortemInput {
        incident: &incident.name_any(),
        rollback_run_id: &incident.uid().unwrap_or_default(),
        target: format!("{namespace}/{}", incident.spec.deployment.name),
        policy: &incident.spec.policy.name,
        trigger: incident.spec.trigger,
        reason: &incident.spec.reason,
        onset: incident.spec.onset.0.as_second(),
        detected: incident.spec.detected.0.as_second(),
        steps: &steps,
        state: status.state,
        images: images(incident),
        checkpoint: incident
            .spec
            .checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.name.as_str()),
        rto: (status.rto_seconds, rules.rto),
        rpo: (status.rpo_seconds, rules.rpo),
        before: &before,
        after: &after,
        events: events.as_deref(),
        recovered: recovered(gathered, incident, status),
    }));
}

fn signal(status: &TriggerStatus) -> Signal {
    Signal {
        name: status.name.clone(),
        verdict: status.verdict,
        value: status.value.clone(),
        ci95: status.ci95.clone(),
        n: status.n,
        limit: status.limit.clone(),
    }
}

fn images(incident: &QualityIncident) -> Vec<(String, String, String)> {
    let targets = incident
        .spec
        .checkpoint
        .as_ref()
        .map(|checkpoint| checkpoint.images.as_slice());
    targets
        .unwrap_or_default()
        .iter()
        .map(|to| {
            let from = incident
                .spec
                .from_images
                .iter()
                .find(|from| from.container == to.container);
            let from = from.map(|from| incident::short(&from.image)).unwrap_or_default();
            (to.container.clone(), from, incident::short(&to.image))
        })
        .collect()
}

/// Rollbacks of this policy that recovered, and all that ended, this one included.
fn recovered(gathered: &Gathered, incident: &QualityIncident, status: &QualityIncidentStatus) -> (usize, usize) {
    let others = gathered
        .incidents
        .iter()
        .filter(|other| other.uid() != incident.uid())
        .filter_map(|other| other.status.as_ref());
    let ended: Vec<IncidentState> = others
        .chain([status])
        .filter(|status| is_due(status))
        .map(|status| status.state)
        .collect();
    let recovered = ended.iter().filter(|state| **state == IncidentState::Recovered).count();
    (recovered, ended.len())
}

/// Warnings about the release's pods, and about nodes where the operator may read them. Nothing where the namespace's
/// own cannot be read: a postmortem without them is better than none.
async fn events(context: &Context, policy: &QualityPolicy, incident: &QualityIncident) -> Option<Vec<ClusterEvent>> {
    let since = incident.spec.onset.0.as_second() - BEFORE_SECONDS;
    let own = warnings(context, policy.namespace().unwrap_or_default(), "type=Warning").await?;
    // An operator of one namespace may not read these.
    let nodes = warnings(context, "default".to_owned(), "type=Warning,involvedObject.kind=Node").await;
    let prefix = format!("{}-", incident.spec.replica_set);
    let concerns = |event: &Event| {
        let about = &event.involved_object;
        match about.kind.as_deref() {
            Some("Node") => true,
            Some("Pod") => about.name.as_deref().is_some_and(|name| name.starts_with(&prefix)),
            Some("ReplicaSet") => about.name.as_deref() == Some(incident.spec.replica_set.as_str()),
            _ => false,
        }
    };
    let mut found: Vec<ClusterEvent> = own
        .iter()
        .chain(nodes.iter().flat_map(|nodes| nodes.iter()))
        .filter(|event| concerns(event))
        .filter_map(told)
        .filter(|event| event.at >= since)
        .collect();
    found.sort();
    Some(found)
}

/// The Warnings of a namespace, or nothing where they cannot be read. The API server has no index of Events and reads all
/// of the namespace for a list, so rollbacks that end at the same time share one.
async fn warnings(context: &Context, namespace: String, which: &'static str) -> Option<Arc<Vec<Event>>> {
    let events: Api<Event> = Api::namespaced(context.client.clone(), &namespace);
    let list = ListParams::default().fields(which).limit(MAX_EVENTS);
    let read = async {
        match call(events.list(&list)).await {
            Ok(found) => Some(Arc::new(found.items)),
            Err(error) => {
                tracing::info!(%namespace, %error, "Events cannot be read for a postmortem");
                None
            }
        }
    };
    context.warnings.read((namespace.clone(), which), read).await
}

fn told(event: &Event) -> Option<ClusterEvent> {
    let at: Timestamp = event
        .last_timestamp
        .as_ref()
        .map(|at| at.0)
        .or_else(|| event.event_time.as_ref().map(|at| at.0))?;
    let about = &event.involved_object;
    Some(ClusterEvent {
        at: at.as_second(),
        about: format!(
            "{} {}",
            about.kind.as_deref().unwrap_or_default(),
            about.name.as_deref().unwrap_or_default()
        ),
        reason: event.reason.clone().unwrap_or_default(),
        message: event.message.clone().unwrap_or_default().chars().take(300).collect(),
    })
}
