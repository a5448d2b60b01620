//! What happens at a moment of a rollback, while the operator waits for an answer: changes by people, by what the operator
//! asks right then.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use k8s_openapi::{api::apps::v1::ReplicaSet, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::ResourceExt;
use quality_api::{IncidentState, QualityIncident};
use serde_json::Value;
use stage::{
    Behaviour, StageError,
    proxy::{Act, Asked, Hook, Watches},
    script,
};

use crate::{
    api::{Label, Target, verb},
    end_state::{end_state, unlike},
    monitor::{Broken, Promise},
    plan::Outcome,
    world::{World, bad},
};

/// A moment of a rollback, by what the operator asks the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The incident is recorded, and the operator has not heard of it yet.
    IncidentRecorded,
    /// Before anything is read for the PATCH: the policy is the first.
    BeforeReads,
    /// Policy and checkpoint were read, the Deployment was not.
    BeforeDeploymentRead,
    /// All was read, and the PATCH is on its way.
    BeforePatch,
    /// The PATCH was taken, and the operator has not heard of it yet.
    AfterPatch,
}

impl Moment {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [
        Self::IncidentRecorded,
        Self::BeforeReads,
        Self::BeforeDeploymentRead,
        Self::BeforePatch,
        Self::AfterPatch,
    ];

    fn is_it(self, asked: &Asked) -> bool {
        let reads = |resource: &str| {
            verb(&asked.method, &asked.path) == "get"
                && Target::of(&asked.path).is_some_and(|target| {
                    target.resource == resource && target.name == "ranker" && target.subresource.is_empty()
                })
        };
        let writes = |label: &str| Label::asked(asked).is_some_and(|asked| asked.to_string() == label);
        match self {
            Self::IncidentRecorded => writes("create qualityincidents"),
            Self::BeforeReads => reads("qualitypolicies"),
            Self::BeforeDeploymentRead => reads("deployments"),
            Self::BeforePatch | Self::AfterPatch => writes("patch deployments rollback"),
        }
    }

    fn act(self, hook: Hook) -> Act {
        match self {
            Self::IncidentRecorded | Self::AfterPatch => Act::Between(None, Some(hook)),
            Self::BeforeReads | Self::BeforeDeploymentRead | Self::BeforePatch => Act::Between(Some(hook), None),
        }
    }
}

type Occurred = Arc<Mutex<Option<Result<(), String>>>>;

/// Whether what was asked for occurred.
pub struct Injection {
    occurred: Occurred,
}

impl Injection {
    /// Waits for it; false when it did not occur.
    pub async fn within(&self, time: Duration) -> Result<bool, StageError> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            let occurred = self.occurred.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match occurred {
                None => tokio::time::sleep(Duration::from_millis(20)).await,
                Some(Ok(())) => return Ok(true),
                Some(Err(error)) => return Err(StageError::Unexpected(error)),
            }
        }
        Ok(false)
    }
}

impl World {
    /// The next time that this moment comes, the streams of changes stay as `watches` says and this is done, before anything
    /// goes on.
    pub fn at(
        &self,
        moment: Moment,
        watches: Watches,
        change: impl Fn() -> BoxFuture<'static, Result<(), StageError>> + Send + Sync + 'static,
    ) -> Injection {
        let occurred = Occurred::default();
        let (mark, api) = (occurred.clone(), Arc::downgrade(&self.first().api));
        let change = Arc::new(change);
        let hook: Hook = Arc::new(move || {
            let (mark, api, change) = (mark.clone(), api.clone(), change.clone());
            async move {
                if let Some(api) = api.upgrade() {
                    api.watches(watches);
                }
                let made = change().await.map_err(|error| error.to_string());
                *mark.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
            }
            .boxed()
        });
        let come = AtomicBool::new(false);
        self.first().api.rule(move |asked| {
            if moment.is_it(asked) && !come.swap(true, Ordering::SeqCst) {
                moment.act(hook.clone())
            } else {
                Act::Forward
            }
        });
        Injection { occurred }
    }

    /// A bad release is shipped. Where the moment is that of the PATCH, it is bad once it is rolled out: what the Deployment's
    /// controller writes during a rollout would have the PATCH refused now and then.
    pub async fn breach_for(&self, moment: Moment) -> Result<(), StageError> {
        if ![Moment::BeforePatch, Moment::AfterPatch].contains(&moment) {
            return self.ship(&bad()).await;
        }
        // A little over its limit until then: healthy, it would become a checkpoint where a busy machine rolls out slowly.
        let suspect = Behaviour {
            errors: 0.012,
            ..Behaviour::HEALTHY
        };
        self.service.behave(&bad(), suspect);
        self.ship(&bad()).await?;
        script::rolled_out(&self.space, "ranker").await?;
        self.service.behave(&bad(), Behaviour::FAILING);
        Ok(())
    }

    /// Another breach takes its time again: waits until there is a second incident and none moves. What is missing then is told
    /// by the end.
    pub async fn settled(&self) {
        let settled = |all: &[QualityIncident]| {
            let moves = |incident: &QualityIncident| {
                let state = incident.status.as_ref().map(|status| status.state).unwrap_or_default();
                [
                    IncidentState::Open,
                    IncidentState::RollingBack,
                    IncidentState::Verifying,
                ]
                .contains(&state)
            };
            all.len() > 1 && !all.iter().any(moves)
        };
        let within = Duration::from_secs(90);
        let _ = self.space.wait_all("the second breach is over", within, settled).await;
    }

    /// How many rollbacks of the Deployment's images the API server took.
    pub fn rollbacks(&self) -> usize {
        let calls = self.replicas.iter().flat_map(|replica| replica.api.calls());
        calls
            .filter(|call| Label::call(call).is_some_and(|label| label.to_string() == "patch deployments rollback"))
            .map(|call| {
                call.delivered
                    .iter()
                    .filter(|status| (200..300).contains(*status))
                    .count()
            })
            .sum()
    }

    /// As [`World::judged`], where the end is not that of the fault-free run: what of it is as it must be.
    pub async fn ends(&mut self, cleared: Instant, expected: &Value) -> Result<Outcome, StageError> {
        let mut outcome = self.judged(cleared, None).await?;
        let differences = unlike(expected, &end_state(self).await?);
        let different = differences.into_iter().map(|what| Broken::new(Promise::SameEnd, what));
        outcome.broken.extend(different);
        outcome.broken.extend(self.early_onsets().await?);
        Ok(outcome)
    }

    /// Breaches that begin before the template that they are of.
    async fn early_onsets(&self) -> Result<Vec<Broken>, StageError> {
        let replica_sets = self.space.all::<ReplicaSet>().await?;
        let mut broken = Vec::new();
        for incident in self.incidents().await? {
            let of_it = replica_sets.iter().find(|replica_set| {
                let of_deployment = |owner: &OwnerReference| owner.uid == incident.spec.deployment.uid;
                replica_set.name_any() == incident.spec.replica_set
                    && replica_set.owner_references().iter().any(of_deployment)
            });
            let born = of_it.and_then(|replica_set| replica_set.metadata.creation_timestamp.as_ref());
            if let Some(born) = born.filter(|born| incident.spec.onset.0 < born.0) {
                let what = format!("a breach since {} of a template of {}", incident.spec.onset.0, born.0);
                broken.push(Broken::new(Promise::FreshAnalysis, what));
            }
        }
        Ok(broken)
    }
}
