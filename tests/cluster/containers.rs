//! Several containers: a checkpoint stores them by name, a Deployment has them in an order of its own.

use k8s_openapi::api::apps::v1::Deployment;
use quality_api::IncidentState;
use quality_core::incident::short;
use serde_json::{Value, json};
use stage::script;

use crate::scene::{Scene, bad, good, policy};

/// An image of another container, by a digest of one repeated digit.
fn beside(container: &str, digit: char) -> String {
    format!("registry.example/{container}@sha256:{}", digit.to_string().repeat(64))
}

/// The template's containers with their images, in its order.
async fn containers(scene: &Scene) -> Vec<(String, String)> {
    let deployment = scene.space.api::<Deployment>().get("ranker").await.unwrap();
    let pod = deployment.spec.template.spec.unwrap();
    let image =
        |container: k8s_openapi::api::core::v1::Container| (container.name, container.image.unwrap_or_default());
    pod.containers.into_iter().map(image).collect()
}

/// The Deployment `ranker` gets these containers beside `server`, with the images of `digit`.
fn beside_the_server(scene: &Scene, names: &[&str], server: &str, digit: char) -> Vec<(String, String)> {
    let mut wanted = vec![("server".to_owned(), server.to_owned())];
    wanted.extend(names.iter().map(|name| ((*name).to_owned(), beside(name, digit))));
    let list: Vec<Value> = wanted
        .iter()
        .map(|(name, image)| json!({"name": name, "image": image}))
        .collect();
    let patch = json!([{"op": "replace", "path": "/spec/template/spec/containers", "value": list}]).to_string();
    let arguments = ["patch", "deployment", "ranker", "--type=json", "-p", &patch];
    scene.space.kubectl(&arguments).unwrap();
    wanted
}

async fn goes_back_in_the_live_order(namespace: &str, gate: &str, names: &[&str]) {
    let scene = Scene::unguarded(namespace).await;
    let registered = beside_the_server(&scene, names, &good(), '1');
    script::rolled_out(&scene.space, "ranker").await.unwrap();
    let scene = scene.guard(&policy(&json!({"gate": {"mode": gate}}))).await;
    beside_the_server(&scene, names, &bad(), '2');

    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(containers(&scene).await, registered);
    assert_eq!((incident.spec.from, incident.spec.to), (short(&bad()), short(&good())));
    let states: Vec<IncidentState> = incident.status.unwrap().steps.iter().map(|step| step.state).collect();
    assert_eq!(
        states,
        [
            IncidentState::RollingBack,
            IncidentState::Verifying,
            IncidentState::Recovered
        ]
    );
    let told = scene.space.kubectl(&["describe", "deployment", "ranker"]).unwrap();
    let mut changes = vec![format!("server: {} → {}", short(&bad()), short(&good()))];
    changes.extend(names.iter().map(|name| {
        let (from, to) = (beside(name, '2'), beside(name, '1'));
        format!("{name}: {} → {}", short(&from), short(&to))
    }));
    assert!(told.contains(&changes.join(", ")), "{changes:?}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_containers_that_are_not_in_the_order_of_their_names_go_back_in_their_own_order() {
    goes_back_in_the_live_order("containers-two", "Enforce", &["adapter"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_containers_go_back_in_their_own_order_without_the_gate_too() {
    goes_back_in_the_live_order("containers-three", "Off", &["zipkin", "adapter"]).await;
}
