//! Policies that act on nothing: paused, deleted, in conflict, for a Deployment that is paused, going away or has other
//! containers, at each moment of a rollback; and objects that cannot be read, beside those that can.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bed::Endpoints;
use futures::FutureExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use quality_api::{BREAK_GLASS_ANNOTATION, QualityPolicy};
use serde_json::{Value, json};
use stage::{Space, StageError, proxy::Watches};

use crate::{
    end_state::{end_state, unlike},
    monitor::{Broken, Promise},
    plan::{Outcome, Plan},
    suites::{
        moments::Moment,
        writes::{Oracle, Scenario},
    },
    world::{Setup, World, bad, good},
};

/// A watch tells of a change within this time.
const TOLD: Duration = Duration::from_secs(1);
/// What would be done is done within this time.
const DONE: Duration = Duration::from_secs(15);

/// What keeps a policy from acting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// The policy is paused.
    Pause,
    /// The policy is paused, and no stream tells of it.
    PauseUnseen,
    /// Another policy names the same Deployment.
    Rival,
    /// Rollouts of the Deployment are paused.
    TargetPaused,
}

const OBSTACLES: [Obstacle; 4] = [
    Obstacle::Pause,
    Obstacle::PauseUnseen,
    Obstacle::Rival,
    Obstacle::TargetPaused,
];

impl Obstacle {
    async fn put(self, space: &Space) -> Result<(), StageError> {
        match self {
            Self::Pause | Self::PauseUnseen => {
                merge::<QualityPolicy>(space, &json!({"spec": {"paused": true}})).await?;
            }
            Self::Rival => {
                let mut rival = crate::world::policy(&json!({}));
                rival["metadata"]["name"] = json!("rival");
                tokio::task::block_in_place(|| space.apply(&rival.to_string()))?;
            }
            Self::TargetPaused => merge::<Deployment>(space, &json!({"spec": {"paused": true}})).await?,
        }
        tokio::time::sleep(TOLD).await;
        Ok(())
    }

    async fn take_away(self, space: &Space) -> Result<(), StageError> {
        match self {
            Self::Pause | Self::PauseUnseen => merge::<QualityPolicy>(space, &json!({"spec": {"paused": false}})).await,
            Self::Rival => {
                space
                    .api::<QualityPolicy>()
                    .delete("rival", &DeleteParams::default())
                    .await?;
                Ok(())
            }
            Self::TargetPaused => merge::<Deployment>(space, &json!({"spec": {"paused": null}})).await,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Pause | Self::PauseUnseen => "Paused",
            Self::Rival => "Conflict",
            Self::TargetPaused => "TargetPaused",
        }
    }

    fn promise(self) -> Promise {
        match self {
            Self::Pause | Self::PauseUnseen => Promise::PauseWins,
            Self::Rival | Self::TargetPaused => Promise::InertPolicies,
        }
    }

    /// Whether the PATCH must not come any more.
    fn is_in_time(self, moment: Moment) -> bool {
        match (self, moment) {
            // Unseen, it was read before, and no stream tells of it.
            (_, Moment::AfterPatch)
            | (Self::Pause | Self::PauseUnseen | Self::Rival, Moment::BeforePatch)
            | (Self::PauseUnseen, Moment::BeforeDeploymentRead) => false,
            _ => true,
        }
    }
}

async fn merge<K>(space: &Space, patch: &Value) -> Result<(), StageError>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    space
        .api::<K>()
        .patch("ranker", &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// The plans: each obstacle at each moment, and what has plans of its own.
pub fn plans(oracles: &[Arc<Oracle>], short: bool) -> Vec<Plan> {
    let mut plans = Vec::new();
    let rollback = oracles.iter().find(|oracle| oracle.scenario == Scenario::Rollback);
    if let Some(oracle) = rollback {
        for obstacle in OBSTACLES {
            for moment in std::iter::once(None).chain(Moment::ALL.map(Some)) {
                let chosen = [
                    (Obstacle::Pause, Some(Moment::BeforeDeploymentRead)),
                    (Obstacle::Rival, None),
                    (Obstacle::TargetPaused, Some(Moment::BeforePatch)),
                ];
                if short && !chosen.contains(&(obstacle, moment))
                    || moment.is_none() && obstacle == Obstacle::PauseUnseen
                {
                    continue;
                }
                let text = moment.map_or_else(|| "the begin".to_owned(), |moment| format!("{moment:?}"));
                let oracle = oracle.clone();
                plans.push(Plan::new(
                    "policies",
                    format!("{obstacle:?} at {text}"),
                    move |endpoints, namespace| async move {
                        obstructed(&endpoints, &namespace, obstacle, moment, &oracle).await
                    },
                ));
            }
        }
    }
    for ending in [
        Ending::PolicyDeleted,
        Ending::PolicyAgain,
        Ending::Terminating,
        Ending::Renamed,
    ] {
        for moment in Moment::ALL {
            let Some(end) = ending.end(moment) else { continue };
            if short && (ending, moment) != (Ending::PolicyDeleted, Moment::BeforeReads) {
                continue;
            }
            plans.push(Plan::new(
                "policies",
                format!("{ending:?} at {moment:?}"),
                move |endpoints, namespace| async move { ended(&endpoints, &namespace, ending, moment, &end).await },
            ));
        }
    }
    for kind in ["qualitypolicy", "rollbackcheckpoint", "qualityincident"] {
        if short && kind != "qualitypolicy" {
            continue;
        }
        plans.push(Plan::new(
            "policies",
            format!("a {kind} that cannot be read"),
            move |endpoints, namespace| async move { undecodable(&endpoints, &namespace, kind).await },
        ));
    }
    plans.push(Plan::new(
        "policies",
        "names that would splice",
        |endpoints, namespace| async move { super::names::spliced(&endpoints, &namespace).await },
    ));
    plans
}

/// While it is there nothing is done; once it is gone, everything is.
async fn obstructed(
    endpoints: &Endpoints,
    namespace: &str,
    obstacle: Obstacle,
    moment: Option<Moment>,
    oracle: &Oracle,
) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    let space = world.space.clone();
    let reached = if let Some(moment) = moment {
        let watches = if obstacle == Obstacle::PauseUnseen {
            Watches::HalfOpen
        } else {
            Watches::Flow
        };
        let occurred = world.at(moment, watches, move || {
            let space = space.clone();
            async move { obstacle.put(&space).await }.boxed()
        });
        world.breach_for(moment).await?;
        occurred.within(Duration::from_secs(90)).await?
    } else {
        obstacle.put(&space).await?;
        // A Deployment that is paused has no new release.
        world.ship(&bad()).await?;
        true
    };
    tokio::time::sleep(DONE).await;
    world.first().api.behave();
    let mut broken = Vec::new();
    let most = usize::from(moment.is_some_and(|moment| !obstacle.is_in_time(moment)));
    let found = world.rollbacks();
    if reached && found > most {
        broken.push(Broken::new(
            obstacle.promise(),
            format!("{found} rollbacks in spite of it, not {most}"),
        ));
    }
    for policy in world.space.all::<QualityPolicy>().await? {
        let told = policy.status.unwrap_or_default().conditions;
        let ready = told.iter().find(|condition| condition.type_ == "Ready");
        let seen = obstacle != Obstacle::PauseUnseen;
        if reached && seen && !ready.is_some_and(|ready| ready.status == "False" && ready.reason == obstacle.reason()) {
            broken.push(Broken::new(
                Promise::InertPolicies,
                format!("{:?} says {ready:?}", policy.metadata.name),
            ));
        }
    }
    obstacle.take_away(&world.space).await?;
    let cleared = Instant::now();
    let outcome = oracle.ended(&mut world, cleared).await?;
    broken.extend(outcome.broken);
    Ok(Outcome {
        reached,
        broken,
        ..outcome
    })
}

/// What ends for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The policy is deleted.
    PolicyDeleted,
    /// The policy is deleted and made again.
    PolicyAgain,
    /// The Deployment is being deleted; later it is gone.
    Terminating,
    /// A template whose container has another name.
    Renamed,
}

impl Ending {
    async fn make(self, space: &Space) -> Result<(), StageError> {
        match self {
            Self::PolicyDeleted | Self::PolicyAgain => {
                let policies = space.api::<QualityPolicy>();
                policies.delete("ranker", &DeleteParams::default()).await?;
                if self == Self::PolicyAgain {
                    let again = crate::world::policy(&json!({}));
                    tokio::task::block_in_place(|| space.apply(&again.to_string()))?;
                }
            }
            Self::Terminating => {
                merge::<Deployment>(space, &json!({"metadata": {"finalizers": ["example.com/waits"]}})).await?;
                space
                    .api::<Deployment>()
                    .delete("ranker", &DeleteParams::background())
                    .await?;
            }
            Self::Renamed => {
                let renamed = json!({
                    "metadata": {"annotations": {BREAK_GLASS_ANNOTATION: "a person ships it"}},
                    "spec": {"template": {"spec": {"containers": [{"name": "model", "image": bad()}]}}},
                });
                merge::<Deployment>(space, &renamed).await?;
            }
        }
        tokio::time::sleep(TOLD).await;
        Ok(())
    }

    fn end(self, moment: Moment) -> Option<Value> {
        let late = [Moment::BeforePatch, Moment::AfterPatch].contains(&moment);
        let untouched = json!([{"images": [bad()], "revision": "2", "rolledBack": false}]);
        let changed = json!([{"images": [good()], "revision": "3", "rolledBack": true}]);
        let open = json!({"state": "Open", "steps": []});
        Some(match self {
            Self::PolicyDeleted => json!({
                "policies": [],
                "deployments": if late { changed } else { untouched },
                "incidents": [if late { json!({"state": "RollingBack", "steps": ["RollingBack"]}) } else { open }],
            }),
            // The incident of the policy that is gone stays as it is.
            Self::PolicyAgain if late => return None,
            Self::PolicyAgain => json!({
                "policies": [{"verdict": "HEALTHY"}],
                "deployments": changed,
                "incidents": [open, {"state": "Recovered", "steps": ["RollingBack", "Verifying", "Recovered"]}],
            }),
            Self::Terminating | Self::Renamed if moment == Moment::AfterPatch => return None,
            Self::Terminating => json!({
                "policies": [{"conditions": {"Ready": "False TargetNotFound"}}],
                "deployments": [],
                "incidents": [open],
            }),
            Self::Renamed => json!({
                "deployments": [{"images": [bad()], "revision": "3", "rolledBack": false}],
                "incidents": [
                    {"state": "Superseded", "steps": ["Superseded"]}, {"state": "NoSafeTarget", "steps": ["NoSafeTarget"]},
                ],
            }),
        })
    }
}

async fn ended(
    endpoints: &Endpoints,
    namespace: &str,
    ending: Ending,
    moment: Moment,
    end: &Value,
) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    let space = world.space.clone();
    let occurred = world.at(moment, Watches::Flow, move || {
        let space = space.clone();
        async move { ending.make(&space).await }.boxed()
    });
    world.breach_for(moment).await?;
    let reached = occurred.within(Duration::from_secs(90)).await?;
    let mut broken = Vec::new();
    if reached && ending == Ending::Terminating {
        let told = |policy: &QualityPolicy| {
            let conditions = &policy
                .status
                .as_ref()
                .map(|status| status.conditions.as_slice())
                .unwrap_or_default();
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.reason == "TargetTerminating")
        };
        let waited = world.space.wait("the policy says it", "ranker", DONE, told).await;
        if let Err(error) = waited {
            broken.push(Broken::new(Promise::InertPolicies, error.to_string()));
        }
        merge::<Deployment>(&world.space, &json!({"metadata": {"finalizers": null}})).await?;
    }
    if reached && ending == Ending::PolicyAgain {
        // The new policy's own rollback takes its time.
        Scenario::Rollback.over(&world).await?;
    }
    if reached && ending == Ending::Renamed {
        world.settled().await;
    }
    let outcome = world.ends(Instant::now(), end).await?;
    broken.extend(outcome.broken);
    Ok(Outcome {
        reached,
        broken,
        ..outcome
    })
}

/// No zone is that far off, and the API server's format check lets it through.
const UNREADABLE: &str = "2026-11-24T10:00:00+99:99";

/// An object of another Deployment that no operator of this version can read, beside a rollback.
async fn undecodable(endpoints: &Endpoints, namespace: &str, kind: &'static str) -> Result<Outcome, StageError> {
    let mut world = World::guarded(endpoints, namespace, Setup::default()).await?;
    let api = "quality-officer.dev/v1alpha1";
    let (object, status) = match kind {
        "qualitypolicy" => (
            json!({"apiVersion": api, "kind": "QualityPolicy", "spec": {"targetRef": {"name": "missing"}}}),
            json!({"gate": {"state": "Open", "reason": "NotJudgedYet", "message": "x", "since": UNREADABLE}}),
        ),
        "rollbackcheckpoint" => (
            json!({"apiVersion": api, "kind": "RollbackCheckpoint", "spec": {
                "targetRef": {"name": "ranker"}, "images": [{"container": "server", "image": bad()}],
            }}),
            json!({"certifiedAt": UNREADABLE}),
        ),
        _ => (
            json!({"apiVersion": api, "kind": "QualityIncident", "spec": {
                "policy": {"name": "missing", "uid": "0"}, "deployment": {"name": "missing", "uid": "0"},
                "replicaSet": "missing", "revision": "1", "trigger": "Latency", "severity": "Rollback",
                "onset": "2026-11-24T10:00:00Z", "detected": "2026-11-24T10:00:00Z", "reason": "x", "from": "x", "to": "x",
                "fromImages": [], "triggers": [], "key": "x",
            }}),
            json!({"patchedAt": UNREADABLE}),
        ),
    };
    let mut object = object;
    object["metadata"] = json!({"name": "unreadable"});
    tokio::task::block_in_place(|| {
        world.space.apply(&object.to_string())?;
        let patch = json!({"status": status}).to_string();
        let place = [
            "patch",
            kind,
            "unreadable",
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ];
        world.space.kubectl(&place)
    })?;
    world.ship(&bad()).await?;
    let is_over = |policy: &QualityPolicy| {
        let status = policy.status.as_ref();
        let gate = status.and_then(|status| status.gate.as_ref());
        status.is_some_and(|status| !status.quarantine.is_empty())
            && gate.is_some_and(|gate| gate.reason == "RollbackReady")
    };
    let within = Duration::from_secs(90);
    let back = world.space.wait("it is rolled back", "ranker", within, is_over).await;
    let mut outcome = world.judged(Instant::now(), None).await?;
    if let Err(error) = back {
        outcome.broken.push(Broken::new(Promise::Contained, error.to_string()));
    }
    // It is read without its types, and goes before the end is compared.
    let told = tokio::task::block_in_place(|| {
        let told = world.space.kubectl(&["get", kind, "unreadable", "-o", "json"])?;
        world.space.kubectl(&["delete", kind, "unreadable"])?;
        Ok::<_, StageError>(told)
    })?;
    if kind == "qualitypolicy" && !told.contains("Undecodable") {
        outcome.broken.push(Broken::new(
            Promise::Contained,
            "the policy does not say that it cannot be read",
        ));
    }
    let end = json!({
        "deployments": [{"images": [good()], "revision": "3", "rolledBack": true}],
        "incidents": [{"state": "Recovered"}], "policies": [{"verdict": "HEALTHY"}],
    });
    let different = unlike(&end, &end_state(&world).await?);
    outcome
        .broken
        .extend(different.into_iter().map(|what| Broken::new(Promise::Contained, what)));
    Ok(outcome)
}
