//! Which releases are rollback targets, and that nothing else is.

use std::time::Duration;

use quality_api::{IncidentState, QualityIncident, RollbackCheckpoint};
use serde_json::json;
use stage::{Behaviour, Space};

use crate::scene::{Scene, bad, checkpoint, good, image, policy};

/// Nothing is registered but by a person.
fn by_hand() -> String {
    policy(&json!({"checkpoints": {"autoRegister": false}}))
}

/// The good release is judged and no checkpoint was registered.
async fn without_checkpoint(namespace: &str) -> Scene {
    let scene = Scene::unguarded(namespace).await;
    scene.space.apply(&by_hand()).unwrap();
    scene.condition("SLOsMet", "Caution").await;
    scene
}

/// The incident of the bad release, which stays.
async fn stays(scene: &Scene) -> QualityIncident {
    scene.ship_past_the_gate(&bad()).await;
    let incident = scene.incident(IncidentState::NoSafeTarget).await;
    scene.looks(4.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
    incident
}

async fn images(space: &Space) -> Vec<String> {
    let all = space.all::<RollbackCheckpoint>().await.unwrap();
    let mut images: Vec<String> = all.into_iter().map(|one| one.spec.images[0].image.clone()).collect();
    images.sort();
    images
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_checkpoint_a_breach_is_told_and_nothing_is_changed() {
    let scene = without_checkpoint("no-checkpoint").await;
    let incident = stays(&scene).await;
    let why = incident.spec.no_target.unwrap();
    assert!(why.contains("no checkpoint is registered"), "{why}");
    assert_eq!((incident.spec.checkpoint, incident.spec.to.as_str()), (None, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_never_seen_healthy_is_not_gone_back_to() {
    let scene = without_checkpoint("unverified").await;
    scene.space.apply(&checkpoint("by-hand", &image('c'))).unwrap();
    let why = stays(&scene).await.spec.no_target.unwrap();
    assert!(why.contains("by-hand") && why.contains("not verified"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_the_running_digests_becomes_ready_once_they_are_seen_healthy() {
    let scene = without_checkpoint("by-hand").await;
    scene.space.apply(&checkpoint("by-hand", &good())).unwrap();
    assert_eq!(scene.registered(&good()).await.metadata.name.unwrap(), "by-hand");
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.checkpoint.unwrap().name, "by-hand");
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_image_is_no_place_to_go_back_to() {
    let scene = without_checkpoint("equal").await;
    scene.space.apply(&checkpoint("the-same", &bad())).unwrap();
    let why = stays(&scene).await.spec.no_target.unwrap();
    assert!(
        why.contains("the running release is itself the newest checkpoint (the-same)"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_checkpoint_is_not_gone_back_to() {
    let scene = Scene::guarded("revoked").await;
    let name = scene.registered(&good()).await.metadata.name.unwrap();
    let revoke = json!({"spec": {"revoked": true}});
    scene.space.merge("rollbackcheckpoint", &name, &revoke).unwrap();
    scene.condition("RollbackReady", "NoCheckpointReady").await;
    let why = stays(&scene).await.spec.no_target.unwrap();
    assert!(why.contains(&name) && why.contains("revoked"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_was_deleted_before_the_approval_is_not_gone_back_to() {
    let prepare = policy(&json!({"rollback": {"mode": "Prepare"}}));
    let scene = Scene::guarded_by("gone", &prepare).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    let name = incident.spec.checkpoint.clone().unwrap().name;
    scene.space.kubectl(&["delete", "rollbackcheckpoint", &name]).unwrap();
    scene.approve(&incident);
    let message = scene
        .incident(IncidentState::NoSafeTarget)
        .await
        .status
        .unwrap()
        .message;
    assert!(message.contains(&name) && message.contains("deleted"), "{message}");
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_another_name_is_not_given_the_checkpoints_image() {
    let scene = Scene::guarded("renamed").await;
    let container = "/spec/template/spec/containers/0";
    let patch = json!([
        {"op": "replace", "path": format!("{container}/name"), "value": "model"},
        {"op": "replace", "path": format!("{container}/image"), "value": bad()},
    ]);
    let patch = patch.to_string();
    scene
        .space
        .kubectl(&["patch", "deployment", "ranker", "--type", "json", "-p", &patch])
        .unwrap();
    let incident = scene.incident(IncidentState::NoSafeTarget).await;
    let why = incident.spec.no_target.unwrap();
    assert!(why.contains("container server"), "{why}");
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_refuses_tags_and_changes_of_a_checkpoint() {
    let space = crate::scene::space("immutable").await;
    let refused = |result: Result<(), stage::StageError>, words: &str| {
        let message = result.expect_err(words).to_string();
        assert!(message.contains(words), "{message}");
    };
    for tag in [
        "registry.example/ranker:v1",
        "registry.example/ranker",
        "ranker@sha256:abc",
    ] {
        refused(space.apply(&checkpoint("tag", tag)), "must be pinned by digest");
    }
    space.apply(&checkpoint("kept", &good())).unwrap();
    let change = |spec: serde_json::Value| space.merge("rollbackcheckpoint", "kept", &json!({"spec": spec}));
    refused(
        change(json!({"images": [{"container": "server", "image": bad()}]})),
        "immutable but for `revoked`",
    );
    refused(
        change(json!({"targetRef": {"name": "other"}})),
        "immutable but for `revoked`",
    );
    refused(
        change(json!({"revoked": true, "targetRef": {"name": "other"}})),
        "immutable but for `revoked`",
    );
    change(json!({"revoked": true})).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_release_is_certified_anew_before_the_recovery_point_objective_passes() {
    let scene = Scene::guarded_by("renewed", &policy(&json!({"recovery": {"rpo": "10s"}}))).await;
    let certified = |checkpoint: &RollbackCheckpoint| {
        let status = checkpoint.status.as_ref();
        status
            .and_then(|status| status.certified_at.as_ref())
            .map(|at| at.0.as_second())
    };
    let first = scene.registered(&good()).await;
    let mut last = certified(&first).unwrap();
    for _ in 0..3 {
        let renewed = scene
            .space
            .wait(
                "the certification is renewed",
                &first.metadata.name.clone().unwrap(),
                Duration::from_secs(40),
                |checkpoint| certified(checkpoint) > Some(last),
            )
            .await
            .unwrap();
        let at = certified(&renewed).unwrap();
        // Every look that is due is one of a grid of 2 s; a busy machine may come a few of them late.
        assert!((8..20).contains(&(at - last)), "renewed after {} s", at - last);
        last = at;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_keeps_the_newest_checkpoints_and_the_one_in_use() {
    let scene = Scene::guarded_by("pruned", &policy(&json!({"checkpoints": {"keep": 3}}))).await;
    for digit in ['c', 'd'] {
        scene.service.behave(&image(digit), Behaviour::HEALTHY);
        scene.ship(&image(digit)).await;
        scene.registered(&image(digit)).await;
    }
    assert_eq!(images(&scene.space).await, [good(), image('c'), image('d')]);
    // The oldest runs again: it is one too many, and in use.
    scene.ship(&good()).await;
    scene
        .space
        .wait(
            "the oldest release is judged again",
            "ranker",
            Duration::from_secs(60),
            |policy: &quality_api::QualityPolicy| {
                let status = policy.status.clone().unwrap_or_default();
                status.verdict == "HEALTHY" && status.release.is_some_and(|release| release.revision == "4")
            },
        )
        .await
        .unwrap();
    scene.edit(&json!({"checkpoints": {"keep": 2}}));
    scene.looks(4.0).await;
    assert_eq!(images(&scene.space).await, [good(), image('c'), image('d')]);
    // It is not in use any more.
    scene.service.behave(&image('e'), Behaviour::HEALTHY);
    scene.ship(&image('e')).await;
    scene
        .space
        .poll(
            "the oldest checkpoints are gone",
            Duration::from_secs(60),
            || async { Ok(images(&scene.space).await) },
            |images| *images == [image('d'), image('e')],
        )
        .await
        .unwrap();
}
