//! What the operator cannot have seen: from a moment of a rollback on, its streams of changes tell nothing, and people change
//! what it is about to act on. Nothing newer is undone, and nothing is done by what is no more.

use std::time::{Duration, Instant};

use bed::Endpoints;
use futures::FutureExt;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use quality_api::{BREAK_GLASS_ANNOTATION, RollbackCheckpoint};
use serde_json::{Value, json};
use stage::{Behaviour, Space, StageError, proxy::Watches, script};

use crate::{
    plan::{Outcome, Plan},
    suites::moments::Moment,
    world::{Setup, World, bad, good, image},
};

/// How long the streams tell nothing after the change.
const HIDDEN: Duration = Duration::from_secs(8);

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Ships a third release, a good one.
    ShipGood,
    /// Ships a third release, another bad one.
    ShipBad,
    /// Puts the good release back by hand.
    GoBack,
    /// Changes the template and not the image.
    Edit,
    /// Deletes the Deployment and makes it again, on the good release.
    RecreateGood,
    /// The same, on the bad release.
    RecreateBad,
    /// Revokes the checkpoint.
    Revoke,
    /// Deletes the checkpoint.
    Delete,
}

const CHANGES: [Change; 8] = [
    Change::ShipGood,
    Change::ShipBad,
    Change::GoBack,
    Change::Edit,
    Change::RecreateGood,
    Change::RecreateBad,
    Change::Revoke,
    Change::Delete,
];

fn third() -> String {
    image('c')
}

fn other_bad() -> String {
    image('d')
}

impl Change {
    async fn make(self, space: &Space) -> Result<(), StageError> {
        match self {
            Self::ShipGood => ship(space, &json!({"image": third()})).await,
            Self::ShipBad => ship(space, &json!({"image": other_bad()})).await,
            Self::GoBack => ship(space, &json!({"image": good()})).await,
            Self::Edit => ship(space, &json!({"env": [{"name": "THREADS", "value": "4"}]})).await,
            Self::RecreateGood => recreate(space, &good()).await,
            Self::RecreateBad => recreate(space, &bad()).await,
            Self::Revoke => {
                let revoked = Patch::Merge(json!({"spec": {"revoked": true}}));
                let name = checkpoint(space).await?;
                let checkpoints = space.api::<RollbackCheckpoint>();
                checkpoints.patch(&name, &PatchParams::default(), &revoked).await?;
                Ok(())
            }
            Self::Delete => {
                let name = checkpoint(space).await?;
                space
                    .api::<RollbackCheckpoint>()
                    .delete(&name, &DeleteParams::default())
                    .await?;
                Ok(())
            }
        }
    }

    /// What must be in the end, for a change at this moment; none where there is nothing to change.
    fn end(self, moment: Moment) -> Option<Value> {
        let patched = moment == Moment::AfterPatch;
        // What a person does after the checkpoint was read for the last time comes too late for the promise.
        let read = ![Moment::IncidentRecorded, Moment::BeforeReads].contains(&moment);
        let steps = |last: &str| {
            if patched {
                json!(["RollingBack", last])
            } else {
                json!([last])
            }
        };
        let left = json!({"state": "Superseded", "steps": steps("Superseded")});
        let again = json!({"state": "Recovered", "steps": ["RollingBack", "Verifying", "Recovered"]});
        let revision = |number: u32| (number + u32::from(patched)).to_string();
        let end = |image: String, revision: String, rolled_back: bool, incidents: Value| {
            json!({
                "deployments": [{"images": [image], "revision": revision, "rolledBack": rolled_back}],
                "policies": [{"observed": true, "quarantine": if patched { json!([bad()]) } else { json!([]) }}],
                "incidents": incidents,
            })
        };
        let judged = |mut end: Value, quarantine: Value| {
            end["policies"][0]["quarantine"] = quarantine;
            end
        };
        Some(match self {
            Self::ShipGood => end(third(), revision(3), patched, json!([left])),
            // Within the cooldown a person must decide.
            Self::ShipBad if patched => {
                let halted = json!({"state": "Halted", "steps": ["Halted"]});
                end(other_bad(), "4".to_owned(), true, json!([left, halted]))
            }
            Self::ShipBad => judged(
                end(good(), revision(4), true, json!([left, again])),
                json!([other_bad()]),
            ),
            // The good release is back, or the bad one is quarantined.
            Self::GoBack | Self::RecreateBad if patched => return None,
            Self::GoBack => end(good(), revision(3), false, json!([left])),
            // The images are the checkpoint's all the same.
            Self::Edit if patched => end(good(), revision(3), true, json!([again])),
            Self::Edit => judged(end(good(), revision(4), true, json!([left, again])), json!([bad()])),
            Self::RecreateGood => end(good(), "1".to_owned(), false, json!([left])),
            Self::RecreateBad => judged(end(good(), "2".to_owned(), true, json!([left, again])), json!([bad()])),
            Self::Revoke | Self::Delete if read => {
                judged(end(good(), "3".to_owned(), true, json!([again])), json!([bad()]))
            }
            Self::Revoke | Self::Delete => {
                let stands = json!({"state": "NoSafeTarget", "steps": ["NoSafeTarget"]});
                end(bad(), "2".to_owned(), false, json!([stands]))
            }
        })
    }
}

/// Changes the template, past a gate that may be closed.
async fn ship(space: &Space, container: &Value) -> Result<(), StageError> {
    let mut container = container.clone();
    container["name"] = json!("server");
    let patch = json!({
        "metadata": {"annotations": {BREAK_GLASS_ANNOTATION: "a person ships it"}},
        "spec": {"template": {"spec": {"containers": [container]}}},
    });
    let deployments = space.api::<Deployment>();
    deployments
        .patch("ranker", &PatchParams::default(), &Patch::Strategic(patch))
        .await?;
    Ok(())
}

async fn recreate(space: &Space, image: &str) -> Result<(), StageError> {
    let deployments = space.api::<Deployment>();
    deployments.delete("ranker", &DeleteParams::background()).await?;
    let gone = "the Deployment is gone";
    let within = Duration::from_secs(5);
    space
        .wait_all(gone, within, |all: &[Deployment]| all.is_empty())
        .await?;
    script::deploy(space, image).await.map(drop)
}

async fn checkpoint(space: &Space) -> Result<String, StageError> {
    let all = space.all::<RollbackCheckpoint>().await?;
    let name = all.into_iter().next().and_then(|checkpoint| checkpoint.metadata.name);
    name.ok_or_else(|| StageError::Unexpected("there is no checkpoint".to_owned()))
}

/// The plans: each change at each moment; and what is over before the streams tell of it.
pub fn plans(short: bool) -> Vec<Plan> {
    let mut plans = Vec::new();
    for change in CHANGES {
        for moment in Moment::ALL {
            let Some(end) = change.end(moment) else { continue };
            let chosen = [
                (Change::ShipGood, Moment::BeforePatch),
                (Change::RecreateBad, Moment::BeforeDeploymentRead),
                (Change::Revoke, Moment::BeforeReads),
            ];
            if short && !chosen.contains(&(change, moment)) {
                continue;
            }
            let name = format!("{change:?} at {moment:?}");
            plans.push(Plan::new("stale", name, move |endpoints, namespace| async move {
                changed(&endpoints, &namespace, change, moment, &end).await
            }));
        }
    }
    if !short {
        plans.push(Plan::new(
            "stale",
            "the breach ends after IncidentRecorded",
            |endpoints, namespace| async move { healed(&endpoints, &namespace).await },
        ));
        for (name, way) in [
            ("a bad release comes and goes", Way::GoesBack),
            ("a breach begins and ends", Way::Heals),
        ] {
            plans.push(Plan::new(
                "stale",
                format!("{name} unseen"),
                move |endpoints, namespace| async move { unseen(&endpoints, &namespace, way).await },
            ));
        }
        plans.push(Plan::new(
            "stale",
            "a checkpoint's images cannot be edited",
            |endpoints, namespace| async move { edited(&endpoints, &namespace).await },
        ));
    }
    plans
}

async fn world(endpoints: &Endpoints, namespace: &str) -> Result<World, StageError> {
    let world = World::guarded(endpoints, namespace, Setup::default()).await?;
    world.service.behave(&third(), Behaviour::HEALTHY);
    world.service.behave(&other_bad(), Behaviour::FAILING);
    Ok(world)
}

async fn changed(
    endpoints: &Endpoints,
    namespace: &str,
    change: Change,
    moment: Moment,
    end: &Value,
) -> Result<Outcome, StageError> {
    let mut world = world(endpoints, namespace).await?;
    let space = world.space.clone();
    let occurred = world.at(moment, Watches::HalfOpen, move || {
        let space = space.clone();
        async move { change.make(&space).await }.boxed()
    });
    world.breach_for(moment).await?;
    let reached = occurred.within(Duration::from_secs(90)).await?;
    tokio::time::sleep(HIDDEN).await;
    world.first().api.behave();
    let mut cleared = Instant::now();
    if end["incidents"].as_array().is_some_and(|incidents| incidents.len() > 1) {
        world.settled().await;
        cleared = Instant::now();
    }
    let outcome = world.ends(cleared, end).await?;
    Ok(Outcome { reached, ..outcome })
}

/// The operator hears of its own incident when the breach is over.
async fn healed(endpoints: &Endpoints, namespace: &str) -> Result<Outcome, StageError> {
    let mut world = world(endpoints, namespace).await?;
    let occurred = world.at(Moment::IncidentRecorded, Watches::HalfOpen, || async { Ok(()) }.boxed());
    world.ship(&bad()).await?;
    let reached = occurred.within(Duration::from_secs(90)).await?;
    world.service.behave(&bad(), Behaviour::HEALTHY);
    tokio::time::sleep(Duration::from_secs(40)).await;
    world.first().api.behave();
    // Evidence fades, look by look, until the release may be a checkpoint itself.
    world.registered(&bad()).await?;
    let end = json!({
        "deployments": [{"images": [bad()], "revision": "2", "rolledBack": false}],
        "incidents": [{"state": "Resolved", "steps": ["Resolved"]}],
        "policies": [{"verdict": "HEALTHY", "quarantine": []}],
    });
    let outcome = world.ends(Instant::now(), &end).await?;
    Ok(Outcome { reached, ..outcome })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    GoesBack,
    Heals,
}

async fn unseen(endpoints: &Endpoints, namespace: &str, way: Way) -> Result<Outcome, StageError> {
    let mut world = world(endpoints, namespace).await?;
    world.first().api.watches(Watches::HalfOpen);
    world.ship(&bad()).await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (image, revision) = match way {
        Way::GoesBack => (good(), "3"),
        Way::Heals => (bad(), "2"),
    };
    match way {
        Way::GoesBack => world.ship(&good()).await?,
        Way::Heals => world.service.behave(&bad(), Behaviour::HEALTHY),
    }
    // So long that what is read of the healed release's history outweighs its breach: what follows is no matter of evidence.
    tokio::time::sleep(Duration::from_secs(if way == Way::Heals { 70 } else { 4 })).await;
    world.first().api.behave();
    let end = json!({
        "deployments": [{"images": [image], "revision": revision, "rolledBack": false}],
        "incidents": [],
        "policies": [{"verdict": "HEALTHY", "quarantine": []}],
    });
    world.ends(Instant::now(), &end).await
}

async fn edited(endpoints: &Endpoints, namespace: &str) -> Result<Outcome, StageError> {
    let mut world = world(endpoints, namespace).await?;
    let space = world.space.clone();
    let occurred = world.at(Moment::BeforeReads, Watches::HalfOpen, move || {
        let space = space.clone();
        async move {
            let images = json!([{"container": "server", "image": third()}]);
            let name = checkpoint(&space).await?;
            let patch = Patch::Merge(json!({"spec": {"images": images}}));
            let checkpoints = space.api::<RollbackCheckpoint>();
            match checkpoints.patch(&name, &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code == 422 => Ok(()),
                answer => Err(StageError::Unexpected(format!(
                    "a checkpoint's images were edited: {answer:?}"
                ))),
            }
        }
        .boxed()
    });
    world.ship(&bad()).await?;
    let reached = occurred.within(Duration::from_secs(90)).await?;
    tokio::time::sleep(HIDDEN).await;
    world.first().api.behave();
    let end = json!({
        "deployments": [{"images": [good()], "revision": "3", "rolledBack": true}],
        "incidents": [{"state": "Recovered"}],
    });
    let outcome = world.ends(Instant::now(), &end).await?;
    Ok(Outcome { reached, ..outcome })
}
