//! Drills on the Deployment itself: only where it is allowed, and always followed by a restore.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use quality_api::{DRILL_ANNOTATION, DrillMode, DrillState, QualityIncident};
use serde_json::json;
use stage::Behaviour;

use crate::{
    drills::{ask, finished, is_rollback, result, serving, state_of, unavailable, when},
    proxy::Act,
    restarts::behind_a_proxy,
    scene::{Scene, image},
};

/// The release that runs, which is not the checkpoint.
pub fn current() -> String {
    image('c')
}

/// A staging namespace whose healthy release is newer than the one checkpoint.
pub async fn stage_newer(scene: &Scene) {
    scene.edit(&json!({"checkpoints": {"registerAfter": "1h"}}));
    scene.service.behave(&current(), Behaviour::HEALTHY);
    scene.ship(&current()).await;
    stage::script::rolled_out(&scene.space, "ranker").await.unwrap();
    allow(scene);
}

fn allow(scene: &Scene) {
    let namespace = scene.space.namespace.clone();
    let label = "quality-officer.dev/environment=staging";
    scene.space.kubectl(&["label", "namespace", &namespace, label]).unwrap();
}

/// The Deployment has its own image back, without a mark, and no incident came of the drill.
pub async fn is_restored(scene: &Scene) {
    let restored = |deployment: &Deployment| {
        let template = deployment.spec.template.spec.as_ref().unwrap();
        template.containers[0].image.as_deref() == Some(&current())
            && !deployment.annotations().contains_key(DRILL_ANNOTATION)
    };
    let within = Duration::from_secs(60);
    let found = scene.space.wait("it is restored", "ranker", within, restored).await;
    found.unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));
    stage::script::rolled_out(&scene.space, "ranker").await.unwrap();
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn in_place_is_refused_without_the_label_and_restores_with_it() {
    let scene = Scene::guarded("drill-in-place").await;
    let before = serving(&scene).await;
    ask(&scene, "refused", DrillMode::InPlace);
    let drill = finished(&scene, "refused").await;
    assert_eq!(result(&drill), ("Aborted".into(), "NotStaging".into()));
    assert_eq!(serving(&scene).await, before);

    stage_newer(&scene).await;
    ask(&scene, "allowed", DrillMode::InPlace);
    let drill = finished(&scene, "allowed").await;
    assert_eq!(result(&drill), ("Passed".into(), "Recovered".into()), "{drill:#?}");
    is_restored(&scene).await;
    // Judged again, and by the release that runs.
    scene.condition("Ready", "Judging").await;
    scene.looks(3.0).await;
    is_restored(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_holds_while_a_drill_in_place_runs_and_a_deleted_drill_is_restored_all_the_same() {
    let (proxy, scene) = behind_a_proxy("drill-in-place-gone").await;
    stage_newer(&scene).await;
    proxy.rule(|asked| {
        if is_rollback(asked) {
            unavailable()
        } else {
            Act::Forward
        }
    });
    ask(&scene, "gone", DrillMode::InPlace);
    when(&scene, "gone", "is broken", |drill| {
        state_of(drill) == DrillState::Broken
    })
    .await;
    scene.condition("Ready", "DrillRunning").await;
    scene.space.kubectl(&["delete", "recoverydrill", "gone"]).unwrap();
    is_restored(&scene).await;
    scene.condition("Ready", "Judging").await;
}
