//! The small, named changes that a person asks for.

use kube::{ResourceExt, api::PostParams};
use serde_json::json;

use super::{Cluster, PluginError};
use crate::api::{
    APPROVE_ANNOTATION, DrillMode, LocalReference, QualityIncident, QualityPolicy, RecoveryDrill, RecoveryDrillSpec,
};

impl Cluster {
    /// Lets a prepared or halted rollback go ahead.
    pub async fn approve(&self, name: &str) -> Result<String, PluginError> {
        use crate::api::IncidentState::{AwaitingApproval, Halted};
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
}
