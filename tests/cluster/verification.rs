//! Checkpoints are verified in a real registry and a real object store, on a schedule and once more right before a
//! rollback; what is gone is no rollback target, and what cannot be asked takes nothing back.

use std::time::Duration;

use axum::http::StatusCode;
use bed::{
    Registry, S3,
    registry::{Access, Image, PASSWORD, USER},
};
use jiff::Timestamp;
use quality_api::{IncidentState, RollbackCheckpoint, RollbackCheckpointStatus};
use serde_json::{Value, json};
use stage::{Behaviour, OperatorOptions};

use crate::{
    proxy::{Act, Proxy, answer},
    scene::{Scene, bad, checkpoint, good, merge, policy, quick, space},
};

/// A service whose image is in a registry that the operator reaches through a proxy.
struct Shop {
    registry: Registry,
    proxy: Proxy,
    image: Image,
    scene: Scene,
}

/// Everything is looked at every second, which a minute or a day is for users.
fn often() -> Value {
    json!({"intervalSeconds": 1, "retrySeconds": 1, "rehashSeconds": 2})
}

fn reference(image: &Image) -> String {
    format!("registry.example/ranker@{}", image.manifest)
}

/// The release of the registry's image runs, unguarded.
async fn shop(namespace: &str, access: Access, registry_settings: &Value, verification: &Value) -> Shop {
    let space = space(namespace).await;
    let folder = space.folder();
    std::fs::create_dir_all(&folder).unwrap();
    let password = folder.join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    let started = tokio::task::spawn_blocking(move || {
        let registry = Registry::start(&folder, access).unwrap();
        let image = registry.push("ranker", "v1", &[b"the base", b"the model"]).unwrap();
        (registry, image)
    });
    let (registry, image) = started.await.unwrap();
    let proxy = Proxy::of(&registry.url()).await.unwrap();
    let mut settings = json!({"url": proxy.url(), "timeoutMilliseconds": 1_000});
    if access == Access::Login {
        // The proxy passes no challenge on.
        settings["url"] = json!(registry.url());
        settings["basicAuth"] = json!({"username": USER, "passwordFile": password});
    }
    merge(&mut settings, registry_settings);
    let options = OperatorOptions {
        more: json!({"registries": {"registry.example": settings}, "verification": verification}),
        ..OperatorOptions::for_namespace(namespace, &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let scene = Scene::running(space, targets, options, &reference(&image)).await;
    Shop {
        registry,
        proxy,
        image,
        scene,
    }
}

/// As [`shop`], judged by the quick policy, and the release was registered and verified.
async fn guarded(namespace: &str, verification: &Value) -> (Shop, String) {
    let shop = shop(namespace, Access::Anonymous, &json!({}), verification).await;
    let name = guard(&shop).await;
    (shop, name)
}

async fn guard(shop: &Shop) -> String {
    shop.scene.space.apply(&quick()).unwrap();
    let registered = shop.scene.registered(&reference(&shop.image)).await;
    let name = registered.metadata.name.unwrap();
    shop.scene.shows(&name, "ImageAvailable", "True", "Verified").await;
    name
}

impl Scene {
    /// The checkpoint's status, once its condition `kind` has this status and reason.
    async fn shows(&self, name: &str, kind: &str, status: &str, reason: &str) -> RollbackCheckpointStatus {
        let what = format!("condition {kind} of {name} is {status}, {reason}");
        let has = |checkpoint: &RollbackCheckpoint| {
            let conditions = checkpoint.status.clone().unwrap_or_default().conditions;
            conditions
                .iter()
                .any(|known| known.type_ == kind && known.status == status && known.reason == reason)
        };
        let found = self.space.wait(&what, name, Duration::from_secs(60), has).await;
        found
            .unwrap_or_else(|error| panic!("{error}\n{}", self.operator.log_tail()))
            .status
            .unwrap()
    }
}

fn message(status: &RollbackCheckpointStatus, kind: &str) -> String {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind);
    condition.map(|condition| condition.message.clone()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_tells_what_was_verified_and_a_rollback_tests_its_path() {
    let shop = shop("verified", Access::Login, &json!({}), &often()).await;
    let name = guard(&shop).await;
    let status = shop.scene.shows(&name, "LoadTime", "True", "LoadedInTime").await;
    assert!(message(&status, "ImageAvailable").contains("2 layers"), "{status:#?}");
    assert!(
        message(&status, "Ready").ends_with("not shown: PathTested (NotTested)"),
        "{status:#?}"
    );
    let before = status.load_measured_at.unwrap();
    assert!(status.load_seconds.unwrap() < 30 && status.load_time.is_some());
    shop.scene.ship(&bad()).await;
    let incident = shop.scene.incident(IncidentState::Recovered).await;
    let step = &incident.status.as_ref().unwrap().steps[0];
    assert!(!step.message.contains("verified"), "nothing to add: {}", step.message);
    let status = shop.scene.shows(&name, "PathTested", "True", "Tested").await;
    assert_eq!(status.tested_by, incident.metadata.name);
    assert_eq!(message(&status, "Ready"), "a valid rollback target");
    // The rollback brought up new pods.
    assert!(status.load_measured_at.unwrap() > before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_whose_image_is_not_whole_is_not_ready_until_it_is_again() {
    let (shop, name) = guarded("image-gone", &often()).await;
    let manifest = shop.registry.request(
        &axum::http::Method::GET,
        &manifest_path(&shop.image),
        bed::registry::MANIFEST,
        b"",
    );
    let manifest: Value = serde_json::from_slice(&manifest.unwrap().body).unwrap();
    shop.registry.delete_manifest("ranker", &shop.image.manifest).unwrap();
    let status = shop.scene.shows(&name, "Ready", "False", "ImageMissing").await;
    assert!(
        message(&status, "ImageAvailable").contains("no such manifest"),
        "{status:#?}"
    );
    shop.registry
        .push_manifest("ranker", &shop.image.manifest, &manifest)
        .unwrap();
    shop.scene.shows(&name, "Ready", "True", "Verified").await;
    shop.registry.delete_blob("ranker", &shop.image.layers[1]).unwrap();
    let status = shop.scene.shows(&name, "Ready", "False", "LayerMissing").await;
    assert!(
        message(&status, "ImageAvailable").contains("layer 2 of 2"),
        "{status:#?}"
    );
    shop.scene.condition("RollbackReady", "NoCheckpointReady").await;
    shop.scene.gate("CheckpointNotReady").await;
    shop.scene.ship_past_the_gate(&bad()).await;
    let incident = shop.scene.incident(IncidentState::NoSafeTarget).await;
    let why = incident.spec.no_target.unwrap();
    assert!(why.contains(&name) && why.contains("layer 2 of 2"), "{why}");
    assert_eq!(
        (shop.scene.runs().await, shop.scene.revision().await),
        (bad(), "2".into())
    );
}

fn manifest_path(image: &Image) -> String {
    format!("/v2/ranker/manifests/{}", image.manifest)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_for_another_platform_is_no_checkpoint() {
    let arm = json!({"platform": "linux/arm64"});
    let shop = shop("platform", Access::Anonymous, &arm, &often()).await;
    shop.scene
        .space
        .apply(&policy(&json!({"checkpoints": {"autoRegister": false}})))
        .unwrap();
    shop.scene
        .space
        .apply(&checkpoint("by-hand", &reference(&shop.image)))
        .unwrap();
    shop.scene.shows("by-hand", "Verified", "True", "SeenHealthy").await;
    let status = shop.scene.shows("by-hand", "Ready", "False", "PlatformMissing").await;
    assert!(message(&status, "Ready").contains("linux/arm64"), "{status:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_registry_is_down_the_last_verified_state_counts_and_the_rollback_says_its_age() {
    let (shop, name) = guarded("registry-down", &often()).await;
    let Shop {
        registry,
        proxy: _proxy,
        image,
        mut scene,
    } = shop;
    drop(registry);
    let status = scene.shows(&name, "ImageAvailable", "True", "LastVerified").await;
    assert!(
        message(&status, "ImageAvailable").contains("; last verified at 20"),
        "{status:#?}"
    );
    // Written once, however often it is asked in vain; and a restart knows it still.
    scene.looks(3.0).await;
    let version = |checkpoint: RollbackCheckpoint| checkpoint.metadata.resource_version;
    let get = || async { version(scene.space.api::<RollbackCheckpoint>().get(&name).await.unwrap()) };
    let before = get().await;
    scene.looks(3.0).await;
    assert_eq!(get().await, before);
    scene.operator.restart().unwrap();
    scene.looks(3.0).await;
    let status = scene.shows(&name, "Ready", "True", "Verified").await;
    assert!(
        message(&status, "ImageAvailable").contains("; last verified at 20"),
        "{status:#?}"
    );
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    let told = &incident.status.unwrap().steps[0].message;
    assert!(
        told.contains("on the state that was last verified") && told.ends_with(" ago"),
        "{told}"
    );
    assert_eq!(scene.runs().await, reference(&image));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_answers_nonsense_takes_nothing_back() {
    let (shop, name) = guarded("nonsense", &often()).await;
    for (status, body) in [
        (StatusCode::OK, "<html>welcome</html>"),
        (StatusCode::NOT_FOUND, "<html>not here</html>"),
        (StatusCode::FOUND, ""),
        (StatusCode::TOO_MANY_REQUESTS, ""),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "{\"errors\":[{\"code\":\"UNAVAILABLE\"}]}",
        ),
        (StatusCode::UNAUTHORIZED, ""),
    ] {
        shop.proxy.rule(move |_| Act::Answer(answer(status, body)));
        let shown = shop.scene.shows(&name, "ImageAvailable", "True", "LastVerified").await;
        assert!(!format!("{shown:?}").contains("html"), "{shown:#?}");
        shop.scene.shows(&name, "Ready", "True", "Verified").await;
        shop.proxy.behave();
        shop.scene.shows(&name, "ImageAvailable", "True", "Verified").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_vanished_since_the_last_look_stops_the_rollback_before_its_write() {
    let seldom = json!({"intervalSeconds": 3_600, "retrySeconds": 3_600});
    let (shop, older) = guarded("vanished", &seldom).await;
    // The release before it is a valid rollback target as well: it is not taken in silence.
    let newer = shop
        .registry
        .push("ranker", "v2", &[b"the base", b"a newer model"])
        .unwrap();
    shop.scene.service.behave(&reference(&newer), Behaviour::HEALTHY);
    shop.scene.ship(&reference(&newer)).await;
    let name = shop.scene.registered(&reference(&newer)).await.metadata.name.unwrap();
    shop.scene.shows(&name, "ImageAvailable", "True", "Verified").await;
    shop.scene.shows(&older, "Ready", "True", "Verified").await;
    shop.registry.delete_manifest("ranker", &newer.manifest).unwrap();
    let begin = Timestamp::now();
    shop.scene.ship(&bad()).await;
    let incident = shop.scene.incident(IncidentState::NoSafeTarget).await;
    assert_eq!(incident.spec.checkpoint.unwrap().name, name, "the intent was recorded");
    let why = incident.status.unwrap().message;
    assert!(why.contains(&name) && why.contains("no such manifest"), "{why}");
    shop.scene.looks(3.0).await;
    let patched = shop
        .scene
        .writes_since(begin)
        .into_iter()
        .any(|(_, what, _)| what == "deployments");
    assert!(!patched, "no PATCH was sent");
    assert_eq!(
        (shop.scene.runs().await, shop.scene.revision().await),
        (bad(), "3".into())
    );
    shop.scene.shows(&name, "Ready", "False", "ImageMissing").await;
    shop.scene.events_with("Deployment", "ranker", "NoSafeTarget").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_checkpoint_is_not_gone_back_to_though_the_rollback_was_prepared() {
    let prepare = policy(&json!({"rollback": {"mode": "Prepare"}}));
    let scene = Scene::guarded_by("revoked-midway", &prepare).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    let name = incident.spec.checkpoint.clone().unwrap().name;
    let edit = |spec: Value| scene.space.merge("rollbackcheckpoint", &name, &json!({"spec": spec}));
    let artifact = json!({"uri": "s3://models/x", "sha256": "a".repeat(64), "size": 1});
    let error = edit(json!({"artifacts": [artifact.clone()]})).unwrap_err().to_string();
    assert!(error.contains("immutable but for `revoked`"), "{error}");
    let both = edit(json!({"revoked": true, "artifacts": [artifact]}))
        .unwrap_err()
        .to_string();
    assert!(both.contains("immutable but for `revoked`"), "{both}");
    edit(json!({"revoked": true})).unwrap();
    scene.approve(&incident);
    let message = scene
        .incident(IncidentState::NoSafeTarget)
        .await
        .status
        .unwrap()
        .message;
    assert!(message.contains(&name) && message.contains("revoked"), "{message}");
    scene.looks(3.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
}

const WEIGHTS: &[u8] = b"weights of the model";

fn with_artifact(name: &str, uri: &str) -> String {
    let digest = bed::registry::digest(WEIGHTS);
    let sha256 = digest.trim_start_matches("sha256:");
    let mut object: Value = serde_json::from_str(&checkpoint(name, &good())).unwrap();
    object["spec"]["artifacts"] = json!([{"uri": uri, "sha256": sha256, "size": WEIGHTS.len()}]);
    object.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_must_be_in_their_store_with_their_size_and_their_hash() {
    let space = space("artifacts").await;
    let folder = space.folder();
    std::fs::create_dir_all(&folder).unwrap();
    let started = tokio::task::spawn_blocking(move || {
        let store = S3::start(&folder).unwrap();
        store.make_bucket("models").unwrap();
        store.put("models", "ranker/7/weights", WEIGHTS).unwrap();
        store
    });
    let store = started.await.unwrap();
    let options = json!({
        "aws_endpoint": store.url(), "aws_allow_http": "true", "aws_region": bed::s3::REGION,
        "aws_access_key_id": store.access_key(), "aws_secret_access_key": store.secret_key(),
    });
    let settings = json!({"url": "s3://models", "options": options, "timeoutMilliseconds": 1_000});
    let options = OperatorOptions {
        more: json!({"objectStores": {"models": settings}, "verification": often()}),
        ..OperatorOptions::for_namespace("artifacts", &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let scene = Scene::set(space, targets, options).await;
    scene
        .space
        .apply(&policy(&json!({"checkpoints": {"autoRegister": false}})))
        .unwrap();
    scene
        .space
        .apply(&with_artifact("kept", "s3://models/ranker/7/weights"))
        .unwrap();
    scene.shows("kept", "Ready", "True", "Verified").await;
    let status = scene.shows("kept", "ArtifactsIntact", "True", "Verified").await;
    assert!(status.artifacts_hashed_at.is_some() && status.artifacts_verified_at.is_some());
    // Nobody configured a registry: told, and no reason not to go back.
    assert_eq!(
        message(
            &scene.shows("kept", "ImageAvailable", "Unknown", "NotConfigured").await,
            "ImageAvailable"
        ),
        format!(
            "image {} was not looked for: the operator's configuration has no registry registry.example",
            good()
        )
    );

    // The same length and other bytes, behind the store's back.
    let mut other = WEIGHTS.to_vec();
    other[0] ^= 1;
    std::fs::write(store.file("models", "ranker/7/weights"), &other).unwrap();
    scene.shows("kept", "Ready", "False", "HashMismatch").await;
    store.put("models", "ranker/7/weights", WEIGHTS).unwrap();
    scene.shows("kept", "Ready", "True", "Verified").await;
    store.put("models", "ranker/7/weights", b"short").unwrap();
    let status = scene.shows("kept", "Ready", "False", "SizeMismatch").await;
    assert!(message(&status, "Ready").contains("5 bytes"), "{status:#?}");
    store.remove("models", "ranker/7/weights").unwrap();
    scene.shows("kept", "Ready", "False", "ArtifactMissing").await;
    store.put("models", "ranker/7/weights", WEIGHTS).unwrap();
    scene.shows("kept", "Ready", "True", "Verified").await;

    // A place that the administrator did not name is not read.
    scene
        .space
        .apply(&with_artifact("elsewhere", "s3://models-of-others/weights"))
        .unwrap();
    scene
        .shows("elsewhere", "ArtifactsIntact", "Unknown", "NotConfigured")
        .await;
    scene
        .space
        .apply(&with_artifact("climbing", "s3://models/../others/weights"))
        .unwrap();
    scene
        .shows("climbing", "ArtifactsIntact", "False", "ReferenceInvalid")
        .await;

    drop(store);
    let status = scene.shows("kept", "ArtifactsIntact", "True", "LastVerified").await;
    assert!(
        message(&status, "ArtifactsIntact").contains("; last verified at 20"),
        "{status:#?}"
    );
    scene.shows("kept", "Ready", "True", "Verified").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_whose_pods_load_slowly_is_not_ready_and_still_better_than_a_breach() {
    let scene = Scene::unguarded("slow-load").await;
    let slow =
        json!({"spec": {"template": {"metadata": {"annotations": {"pod-ready.stage.kwok.x-k8s.io/delay": "4s"}}}}});
    scene.space.merge("deployment", "ranker", &slow).unwrap();
    stage::script::rolled_out(&scene.space, "ranker").await.unwrap();
    scene
        .space
        .apply(&policy(
            &json!({"checkpoints": {"maxLoadTime": "1s", "autoRegister": false}}),
        ))
        .unwrap();
    scene.space.apply(&checkpoint("by-hand", &good())).unwrap();
    let status = scene.shows("by-hand", "Ready", "False", "LoadTooSlow").await;
    assert!((3..20).contains(&status.load_seconds.unwrap()), "{status:#?}");
    scene.ship(&bad()).await;
    scene.incident(IncidentState::Recovered).await;
    assert_eq!(scene.runs().await, good());
}
