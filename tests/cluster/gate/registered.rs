//! A registered release is let in while the gate is closed, also where only its flags differ from what runs.

use k8s_openapi::api::apps::v1::Deployment;
use quality_api::{GateState, IncidentState, RollbackCheckpoint};
use serde_json::json;
use stage::{Behaviour, script};

use crate::scene::{Scene, good, quick};

/// What the Deployment `ranker` starts its server with.
async fn arguments(scene: &Scene) -> Vec<String> {
    let deployment = scene.space.api::<Deployment>().get("ranker").await.unwrap();
    let pod = deployment.spec.template.spec.unwrap();
    pod.containers[0].args.clone().unwrap_or_default()
}

/// Ships the same image with other flags.
fn ship_flags(scene: &Scene, model: &str) -> Result<String, stage::StageError> {
    let container = json!({"name": "server", "args": ["--model", model]});
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string();
    scene.space.kubectl(&["patch", "deployment", "ranker", "-p", &patch])
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_to_the_template_of_a_checkpoint_passes_a_closed_gate_where_only_flags_differ() {
    let scene = Scene::unguarded("registered-flags").await;
    ship_flags(&scene, "a").unwrap();
    script::rolled_out(&scene.space, "ranker").await.unwrap();
    let scene = scene.guard(&quick()).await;
    let recorded = |checkpoint: &RollbackCheckpoint| {
        let status = checkpoint.status.clone().unwrap_or_default();
        !status.releases.is_empty()
    };
    let within = std::time::Duration::from_secs(60);
    let what = "the checkpoint names the release that it was certified in";
    let all = scene
        .space
        .wait_all(what, within, |all: &[RollbackCheckpoint]| all.iter().any(recorded));
    all.await
        .unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));

    ship_flags(&scene, "b").unwrap();
    script::rolled_out(&scene.space, "ranker").await.unwrap();
    scene.service.behave(&good(), Behaviour::FAILING);
    scene.incident(IncidentState::NoSafeTarget).await;
    let policy = scene.gate("SLOsFailing").await;
    assert_eq!(policy.status.unwrap().gate.unwrap().state, GateState::Closed);
    // Flags that nobody saw healthy stay out, whatever their image.
    let refused = ship_flags(&scene, "c").unwrap_err().to_string();
    assert!(refused.contains("kubectl rollout undo to its revision"), "{refused}");

    // As the refusal says.
    scene.service.behave(&good(), Behaviour::HEALTHY);
    scene.space.kubectl(&["rollout", "undo", "deployment/ranker"]).unwrap();
    assert_eq!(arguments(&scene).await, ["--model", "a"]);
    scene.incident(IncidentState::Superseded).await;
}
