//! The small, named changes that a person asks for.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::{ResourceExt, api::PostParams};
use serde_json::json;

use super::{Cluster, PluginError};
use quality_api::{
    APPROVE_ANNOTATION, DrillMode, LocalReference, QualityIncident, QualityPolicy, REQUEST_ANNOTATION, RecoveryDrill,
    RecoveryDrillSpec,
};
use quality_core::plan::{Request, identity};

impl Cluster {
    /// Lets a prepared or halted rollback go ahead.
    pub async fn approve(&self, name: &str) -> Result<String, PluginError> {
        use quality_api::IncidentState::{AwaitingApproval, Halted};
        let incident: QualityIncident = self.get(name).await?;
        let state = incident.status.as_ref().map(|status| status.state).unwrap_or_default();
        if !matches!(state, AwaitingApproval | Halted) {
            return Err(PluginError::NotWaiting(name.to_owned(), state.name()));
        }
        // Of this life of the incident and no other.
        let patch = json!({"metadata": {
            "uid": incident.metadata.uid, "annotations": {APPROVE_ANNOTATION: "true"},
        }});
        self.patch::<QualityIncident>(name, &patch).await?;
        let to = incident.spec.checkpoint.map(|checkpoint| checkpoint.name);
        Ok(format!(
            "approved: {name} goes back to checkpoint {}",
            to.unwrap_or_default()
        ))
    }

    /// Pauses or resumes a policy.
    pub async fn pause(&self, name: &str, paused: bool) -> Result<String, PluginError> {
        self.patch::<QualityPolicy>(name, &json!({"spec": {"paused": paused}}))
            .await?;
        Ok(if paused {
            format!("paused: {name} judges nothing and acts on nothing")
        } else {
            format!("resumed: the analysis of {name} starts anew")
        })
    }

    /// Starts a drill of a policy.
    pub async fn drill(&self, policy: &str, in_place: bool) -> Result<String, PluginError> {
        let _: QualityPolicy = self.get(policy).await?;
        let mut drill = RecoveryDrill::new(
            "",
            RecoveryDrillSpec {
                policy_ref: LocalReference {
                    name: policy.to_owned(),
                },
                mode: if in_place {
                    DrillMode::InPlace
                } else {
                    DrillMode::Shadow
                },
            },
        );
        drill.metadata.name = None;
        drill.metadata.generate_name = Some(format!("{policy}-"));
        let made = self.api::<RecoveryDrill>().create(&PostParams::default(), &drill).await;
        let made = made.map_err(|error| self.failed::<RecoveryDrill>("create", policy, error))?;
        Ok(format!(
            "started: kubectl get recoverydrill {} -n {} -w",
            made.name_any(),
            self.namespace
        ))
    }

    /// Asks the operator for a rollback and waits for its answer.
    pub async fn rollback(
        &self,
        name: &str,
        to: Option<String>,
        reason: String,
        wait: Duration,
    ) -> Result<String, PluginError> {
        let policy: QualityPolicy = self.get(name).await?;
        if policy.spec.paused {
            return Err(PluginError::Refused(format!(
                "policy {name} is paused and acts on nothing: `kubectl quality resume {name}` first"
            )));
        }
        let request = Request {
            at: Timestamp::now(),
            to,
            reason,
        };
        let value = serde_json::to_string(&request).map_err(|error| PluginError::Print(error.to_string()))?;
        Request::parse(&value).map_err(PluginError::Refused)?;
        // Of this life of the policy and no other.
        let patch = json!({"metadata": {
            "uid": policy.metadata.uid, "annotations": {REQUEST_ANNOTATION: value},
        }});
        self.patch::<QualityPolicy>(name, &patch).await?;
        if wait.is_zero() {
            return Ok(format!(
                "asked: `kubectl get qualitypolicy {name} -o yaml` has the answer"
            ));
        }
        self.answered(name, &identity(&value), wait).await
    }

    /// What the operator says to a request, once it does.
    async fn answered(&self, name: &str, id: &str, wait: Duration) -> Result<String, PluginError> {
        let started = Instant::now();
        loop {
            let policy: QualityPolicy = self.get(name).await?;
            let status = policy.status.unwrap_or_default();
            match status.rollback_request.filter(|answer| answer.id == id) {
                Some(answer) if answer.accepted => {
                    let incident = answer.incident.unwrap_or_default();
                    return Ok(format!(
                        "accepted: {}; follow it with `kubectl get qualityincident {incident} -n {} -w`",
                        answer.message, self.namespace
                    ));
                }
                Some(answer) => return Err(PluginError::Refused(format!("refused, {}", answer.message))),
                None => {}
            }
            if started.elapsed() >= wait {
                let not_ready = status
                    .conditions
                    .iter()
                    .find(|condition| condition.type_ == "Ready" && condition.status != "True");
                let why = not_ready.map_or_else(
                    || "does it run?".to_owned(),
                    |condition| format!("the policy is not judged, {}: {}", condition.reason, condition.message),
                );
                return Err(PluginError::Unanswered(format!(
                    "the operator has not answered within {} s: {why} The request stands for 10 minutes",
                    wait.as_secs()
                )));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}
