//! Incidents and the people, autoscalers and accidents that come in between.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    ResourceExt,
    api::{DeleteParams, PropagationPolicy},
};
use quality_api::{IncidentState, QualityIncident};
use serde_json::json;
use stage::{
    Behaviour,
    script::{self, Instead},
};

use crate::scene::{Scene, bad, good, image, policy, state_of};

fn prepare() -> String {
    policy(&json!({"rollback": {"mode": "Prepare"}}))
}

async fn the_incident(scene: &Scene) -> QualityIncident {
    scene.space.all::<QualityIncident>().await.unwrap().remove(0)
}

async fn rolled_back(scene: &Scene) {
    scene
        .space
        .poll(
            "the Deployment is rolled back",
            Duration::from_secs(90),
            || scene.space.image("ranker"),
            |image| *image == good(),
        )
        .await
        .unwrap();
}

async fn replicas(scene: &Scene) -> Option<i32> {
    let deployment = scene.space.api::<Deployment>().get("ranker").await.unwrap();
    deployment.spec.replicas
}

fn scale(scene: &Scene, replicas: u32) {
    let replicas = format!("--replicas={replicas}");
    scene.space.kubectl(&["scale", "deployment/ranker", &replicas]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_newer_release_ends_an_incident_that_waits_and_stays() {
    let scene = Scene::guarded_by("newer", &prepare()).await;
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    scene.ship_fix(&image('c'), &incident).await;
    scene.incident(IncidentState::Superseded).await;
    // An approval that comes too late.
    scene.approve(&incident);
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (image('c'), "3".into()));
    let reasons = scene.space.event_reasons("Deployment", "ranker").await.unwrap();
    assert_eq!(
        reasons.iter().filter(|reason| *reason == "FixShipped").count(),
        1,
        "{reasons:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_fix_ends_an_incident_without_a_safe_target() {
    let scene = Scene::unguarded("fixed").await;
    let by_hand = policy(&json!({"checkpoints": {"autoRegister": false}}));
    scene.space.apply(&by_hand).unwrap();
    scene.condition("Ready", "Judging").await;
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    scene.ship(&bad()).await;
    scene.incident(IncidentState::NoSafeTarget).await;
    scene.ship(&image('c')).await;
    scene.incident(IncidentState::Superseded).await;
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (image('c'), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_goes_back_alone_ends_the_incident() {
    let scene = Scene::guarded_by("goes-back", &prepare()).await;
    scene.ship(&bad()).await;
    scene.incident(IncidentState::AwaitingApproval).await;
    // The gate lets a person go back, once it says where to.
    scene.gate("SLOsFailing").await;
    scene.ship(&good()).await;
    scene.incident(IncidentState::Superseded).await;
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
    let all = scene.space.all::<QualityIncident>().await.unwrap();
    assert_eq!(all.len(), 1, "the release that came back is judged by itself: {all:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_change_right_after_the_rollback_is_not_undone() {
    let scene = Scene::guarded("right-after").await;
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    scene.ship(&bad()).await;
    rolled_back(&scene).await;
    let incident = the_incident(&scene).await;
    scene.ship_fix(&image('c'), &incident).await;
    scene.incident(IncidentState::Superseded).await;
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (image('c'), "4".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_change_while_the_checkpoint_is_verified_is_not_undone() {
    let scene = Scene::guarded("verifying").await;
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    scene.ship(&bad()).await;
    rolled_back(&scene).await;
    // Without metrics the checkpoint cannot be shown to be healthy.
    let silent = Behaviour {
        instead: Some(Instead::Down),
        ..Behaviour::HEALTHY
    };
    scene.service.behave(&good(), silent);
    let incident = scene.incident(IncidentState::Verifying).await;
    scene.ship_fix(&image('c'), &incident).await;
    scene.incident(IncidentState::Superseded).await;
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (image('c'), "4".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_never_touches_the_replicas() {
    let scene = Scene::guarded("scaled").await;
    scale(&scene, 5);
    script::rolled_out(&scene.space, "ranker").await.unwrap();
    scene.ship(&bad()).await;
    rolled_back(&scene).await;
    assert_eq!(replicas(&scene).await, Some(5));
    scale(&scene, 4);
    scene.incident(IncidentState::Recovered).await;
    assert_eq!(replicas(&scene).await, Some(4));
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_was_made_anew_is_not_changed_for_what_the_old_one_did() {
    let scene = Scene::guarded_by("recreated", &prepare()).await;
    scene.ship(&bad()).await;
    let old = scene.incident(IncidentState::AwaitingApproval).await;
    let deployments = scene.space.api::<Deployment>();
    let foreground = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    deployments.delete("ranker", &foreground).await.unwrap();
    let gone = || async { Ok(deployments.get_opt("ranker").await?.is_none()) };
    scene
        .space
        .poll("the Deployment is gone", Duration::from_secs(60), gone, |gone| *gone)
        .await
        .unwrap();
    scene.condition("Ready", "TargetNotFound").await;
    let new = script::deploy(&scene.space, &bad()).await.unwrap();
    scene.approve(&old);
    let all = scene
        .incidents("the new Deployment has an incident of its own", |all| all.len() == 2)
        .await;
    assert_eq!(
        (&all[0].spec.deployment.uid, state_of(&all[0])),
        (&old.spec.deployment.uid, IncidentState::Superseded)
    );
    assert_eq!(all[1].spec.deployment.uid, new.uid().unwrap());
    scene.second_incident(IncidentState::AwaitingApproval).await;
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "1".into()));
}
