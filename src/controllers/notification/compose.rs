//! From the API's objects to what the core tells of them. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use quality_api::{QualityIncident, QualityPolicy, QualityPolicyStatus, RecoveryDrill};
use quality_core::{
    format::UNKNOWN,
    notification::{
        IncidentFacts, Kind,
        message::{self, DrillNews, IncidentNews, Message, MessageContext, RollbackPath},
    },
};

/// Tells of one policy's matters.
pub struct Teller<'a> {
    /// The policy.
    pub policy: &'a QualityPolicy,
    /// What notifications call this cluster.
    pub cluster: &'a str,
    /// What its report asks a person.
    pub questions: &'a [String],
}

fn seconds(at: Option<&Time>) -> Option<i64> {
    at.map(|at| at.0.as_second())
}

/// An incident, as far as it decides what is told.
pub fn facts(incident: &QualityIncident) -> IncidentFacts {
    let status = incident.status.as_ref();
    IncidentFacts {
        state: status.map(|status| status.state).unwrap_or_default(),
        requested: incident.spec.trigger == quality_core::incident::Trigger::Requested,
        opened: seconds(incident.creation_timestamp().as_ref()).unwrap_or(0),
        rolled_back: status.is_some_and(|status| status.patched_at.is_some()),
        escalated: escalated(incident).is_some(),
        closed: status.and_then(|status| seconds(status.closed_at.as_ref())),
    }
}

fn escalated(incident: &QualityIncident) -> Option<(i64, String)> {
    let conditions = &incident.status.as_ref()?.conditions;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == "Escalated" && condition.status == "True")?;
    Some((found.last_transition_time.0.as_second(), found.message.clone()))
}

impl Teller<'_> {
    fn place(&self) -> MessageContext {
        MessageContext {
            cluster: self.cluster.to_owned(),
            namespace: self.policy.namespace().unwrap_or_default(),
            policy: self.policy.name_any(),
            deployment: self.policy.spec.target_ref.name.clone(),
        }
    }

    /// One kind of news of an incident.
    pub fn incident(&self, incident: &QualityIncident, kind: Kind, ends: &[(Kind, i64)]) -> Message {
        let (spec, status) = (&incident.spec, incident.status.clone().unwrap_or_default());
        let told = IncidentNews {
            name: incident.name_any(),
            uid: incident.uid().unwrap_or_default(),
            trigger: spec.trigger,
            severity: spec.severity,
            state: status.state,
            reason: spec.reason.clone(),
            message: status.message.clone(),
            onset: spec.onset.0.as_second(),
            detected: spec.detected.0.as_second(),
            patched: seconds(status.patched_at.as_ref()),
            escalated: escalated(incident),
            closed: seconds(status.closed_at.as_ref()),
            from: spec.from.clone(),
            to: spec.to.clone(),
            container: spec
                .from_images
                .first()
                .map_or_else(|| "CONTAINER".to_owned(), |image| image.container.clone()),
            checkpoint: spec.checkpoint.as_ref().map(|checkpoint| checkpoint.name.clone()),
            rto: status.rto.clone(),
            rpo: status.rpo.clone(),
            postmortem: status.postmortem.is_some(),
        };
        message::incident(self.place(), &told, kind, self.questions, ends)
    }

    /// One kind of news of a drill that failed.
    pub fn drill(
        &self,
        drill: &RecoveryDrill,
        later: Option<&(String, i64)>,
        kind: Kind,
        ends: &[(Kind, i64)],
    ) -> Message {
        let status = drill.status.clone().unwrap_or_default();
        let recovery = &self.policy.spec.recovery;
        let measured = |value: Option<&String>, objective: &str| {
            format!("{} (objective {objective})", value.map_or(UNKNOWN, String::as_str))
        };
        let told = DrillNews {
            name: drill.name_any(),
            uid: drill.uid().unwrap_or_default(),
            message: status
                .outcome
                .as_ref()
                .map_or_else(|| status.message.clone(), |outcome| outcome.message.clone()),
            finished: seconds(status.finished_at.as_ref()).unwrap_or(0),
            rto: measured(status.rto.as_ref(), recovery.rto.as_str()),
            rpo: measured(status.rpo.as_ref(), recovery.rpo.as_str()),
            later: later.cloned(),
        };
        message::drill(self.place(), &told, kind, self.questions, ends)
    }

    /// One kind of news of the rollback path.
    pub fn rollback_path(&self, status: &QualityPolicyStatus, began: i64, kind: Kind, ends: &[(Kind, i64)]) -> Message {
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == "RollbackReady");
        let told = RollbackPath {
            uid: self.policy.uid().unwrap_or_default(),
            began,
            message: ready.map(|condition| condition.message.clone()).unwrap_or_default(),
            ended: ready
                .filter(|condition| condition.status == "True")
                .map(|condition| condition.last_transition_time.0.as_second()),
        };
        message::rollback_path(self.place(), &told, kind, self.questions, ends)
    }
}
