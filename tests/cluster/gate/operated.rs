//! The gate as the operator keeps it: shut by a breach, opened by its end, and a loop that brings a bad release back.

use std::time::Duration;

use quality_api::{GateState, IncidentState, QualityIncident, QualityPolicy};
use serde_json::{Value, json};
use stage::{Behaviour, Space, StageError};

use crate::scene::{Scene, bad, good, image, policy, quick};

/// What is in the repository that a loop applies, with this image.
fn manifest(space: &Space, image: &str) -> String {
    let object = stage::script::deployment("ranker", image);
    let path = space.folder().join(format!("git-{}.json", &image[image.len() - 4..]));
    std::fs::write(&path, object.to_string()).unwrap();
    path.display().to_string()
}

/// Server-side apply by another field manager, as Flux and Argo CD do it.
fn sync(space: &Space, manifest: &str, force: bool) -> Result<String, StageError> {
    let mut arguments = vec!["apply", "--server-side", "--field-manager=gitops", "-f", manifest];
    if force {
        arguments.push("--force-conflicts");
    }
    space.kubectl(&arguments)
}

/// Reapplies every 2 s; the answers.
async fn reapplied(space: &Space, manifest: &str, force: bool, times: usize) -> Vec<String> {
    let mut answers = Vec::new();
    for _ in 0..times {
        answers.push(match sync(space, manifest, force) {
            Ok(text) => text,
            Err(error) => error.to_string(),
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    answers
}

async fn events(scene: &Scene) -> Vec<String> {
    let mut reasons = scene.space.event_reasons("Deployment", "ranker").await.unwrap();
    reasons.retain(|reason| reason != "ScalingReplicaSet");
    reasons
}

/// As [`events`], once this one is among them.
async fn events_with(scene: &Scene, reason: &str) -> Vec<String> {
    scene.events_with("Deployment", "ranker", reason).await;
    events(scene).await
}

fn plugin(scene: &Scene, arguments: &[&str]) -> (bool, String) {
    let output = std::process::Command::new(workload::harness::program("kubectl-quality").unwrap())
        .args(arguments)
        .args(["-n", &scene.space.namespace])
        .env("KUBECONFIG", &scene.space.endpoints.kubeconfig)
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

async fn status(scene: &Scene) -> quality_api::QualityPolicyStatus {
    let policy = scene.space.api::<QualityPolicy>().get("ranker").await.unwrap();
    policy.status.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_reapplies_the_bad_release_changes_nothing_until_a_person_releases_it() {
    let mut scene = Scene::guarded("gitops").await;
    scene.gate("RollbackReady").await;
    let (bad_in_git, good_in_git) = (manifest(&scene.space, &bad()), manifest(&scene.space, &good()));
    sync(&scene.space, &good_in_git, true).unwrap();
    sync(&scene.space, &bad_in_git, true).unwrap();
    // The loop goes on through the breach, the rollback and after it.
    let looped = reapplied(&scene.space, &bad_in_git, true, 3).await;
    assert!(looped[0].contains("serverside-applied"), "{looped:?}");
    let closed = scene.gate("SLOsFailing").await.status.unwrap().gate.unwrap();
    let (incident, ()) = tokio::join!(scene.incident(IncidentState::Recovered), async {
        reapplied(&scene.space, &bad_in_git, true, 5).await;
    });
    assert_eq!(
        (closed.state, closed.incident),
        (GateState::Closed, incident.metadata.name.clone())
    );
    scene.gate("RollbackReady").await;
    let name = incident.metadata.name.unwrap();
    let before = (
        events_with(&scene, "Recovered").await,
        scene.space.all::<QualityPolicy>().await.unwrap(),
    );
    for force in [true, false] {
        let answers = reapplied(&scene.space, &bad_in_git, force, 4).await;
        let words = if force {
            format!("is quarantined by incident {name} (error rate ")
        } else {
            "conflict with \"quality-officer\"".to_owned()
        };
        assert!(
            answers.iter().all(|answer| answer.contains(&words)),
            "{words}: {answers:#?}"
        );
    }
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
    let quarantined = before.0.iter().filter(|reason| *reason == "ImageQuarantined").count();
    assert_eq!(
        (quarantined, events(&scene).await),
        (1, before.0),
        "one Event, however often it is tried"
    );
    assert_eq!(scene.space.all::<QualityIncident>().await.unwrap().len(), 1);

    let (succeeded, text) = plugin(&scene, &["explain", "ranker"]);
    assert!(
        succeeded && text.contains("Gate OPEN") && text.contains("kept out since"),
        "{text}"
    );
    let (succeeded, text) = plugin(&scene, &["release", "ranker", "--image", "sha256:cccc"]);
    assert!(
        !succeeded && text.contains("is not in quarantine; in quarantine: "),
        "{text}"
    );
    let (succeeded, text) = plugin(&scene, &["release", "ranker", "--image", "sha256:bbbb…"]);
    assert!(
        succeeded && text.contains(&format!("image sha256:bbbb… is released, of {name}")),
        "{text}"
    );
    assert!(status(&scene).await.quarantine.is_empty());
    events_with(&scene, "ImageReleased").await;
    // It stays released, and what is shipped again is judged again.
    scene.operator.restart().unwrap();
    scene.looks(2.0).await;
    assert!(status(&scene).await.quarantine.is_empty());
    let ask = || sync(&scene.space, &bad_in_git, true);
    super::asked("released", false, ask).await;
    let second = scene.second_incident(IncidentState::Halted).await;
    assert_eq!(scene.runs().await, bad());
    // Rolled back once more, it is kept out once more: the release was for the first time.
    scene.approve(&second);
    let second = scene.second_incident(IncidentState::Recovered).await;
    scene.gate("RollbackReady").await;
    let quarantine = status(&scene).await.quarantine;
    assert_eq!(
        (quarantine.len(), &quarantine[0].incident),
        (1, &second.metadata.name.unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_gate_off_a_loop_ends_halted_and_nothing_flips_back_and_forth() {
    let off = policy(&json!({"gate": {"mode": "Off"}}));
    let scene = Scene::guarded_by("gitops-off", &off).await;
    let bad_in_git = manifest(&scene.space, &bad());
    sync(&scene.space, &bad_in_git, true).unwrap();
    let looping = async {
        loop {
            reapplied(&scene.space, &bad_in_git, true, 1).await;
        }
    };
    let halted = |all: &[QualityIncident]| {
        all.iter()
            .any(|incident| crate::scene::state_of(incident) == IncidentState::Halted)
    };
    tokio::select! {
        () = looping => {}
        _ = scene.incidents("an incident is halted", halted) => {}
    }
    let before = (events_with(&scene, "RollbackHalted").await, scene.revision().await);
    assert_eq!(before.1, "4", "shipped, rolled back, shipped again by the loop");
    reapplied(&scene.space, &bad_in_git, true, 4).await;
    assert_eq!((events(&scene).await, scene.revision().await), before);
    assert!(before.0.len() <= 8, "{:?}", before.0);
    assert_eq!(scene.space.all::<QualityIncident>().await.unwrap().len(), 2);
    // What would be kept out is on record all the same.
    assert_eq!(status(&scene).await.quarantine.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gate_is_shut_while_the_rollback_path_is_known_not_to_work_and_a_pause_opens_it() {
    let scene = Scene::unguarded("gate-life").await;
    scene.space.apply(&quick()).unwrap();
    scene.gate("NoCheckpointYet").await;
    let name = scene.registered(&good()).await.metadata.name.unwrap();
    scene.gate("RollbackReady").await;
    let revoke = |revoked: bool| {
        let patch = json!({"spec": {"revoked": revoked}});
        scene.space.merge("rollbackcheckpoint", &name, &patch).unwrap();
    };
    revoke(true);
    let gate = scene.gate("CheckpointNotReady").await.status.unwrap().gate.unwrap();
    assert!(
        gate.message.contains(&name) && gate.message.contains("revoked"),
        "{gate:?}"
    );
    let change = super::ship(&image('c'), &json!({}));
    let ask = || {
        super::patch(
            &scene.space,
            super::ADMINISTRATOR,
            "ranker",
            &change,
            &["--dry-run=server"],
        )
    };
    let words = super::asked("at risk", true, ask).await;
    assert!(words.contains("rollback is at risk"), "{words}");
    let (_, text) = plugin(&scene, &["explain", "ranker"]);
    assert!(
        text.contains("Gate CLOSED") && text.contains("it opens when the checkpoint is Ready again"),
        "{text}"
    );
    // What is not known moves nothing.
    scene.service.behave(
        &good(),
        Behaviour {
            instead: Some(stage::script::Instead::Down),
            ..Behaviour::HEALTHY
        },
    );
    scene.condition("Evaluated", "NoData").await;
    revoke(false);
    scene.looks(2.0).await;
    assert_eq!(status(&scene).await.gate.unwrap().reason, "CheckpointNotReady");
    scene.edit(&json!({"paused": true}));
    scene.gate("Paused").await;
    super::asked("paused", false, ask).await;
    scene.service.behave(&good(), Behaviour::HEALTHY);
    scene.edit(&json!({"paused": false}));
    scene.gate("RollbackReady").await;
    // An operator that is gone moves nothing either.
    let Scene { space, operator, .. } = &scene;
    assert!(operator.id().is_some());
    scene.ship_past_the_gate(&image('c')).await;
    let told = || space.event_reasons("QualityPolicy", "ranker");
    let broken = |reasons: &Vec<String>| reasons.iter().filter(|reason| *reason == "BreakGlass").count() == 1;
    let within = Duration::from_secs(30);
    space
        .poll("break-glass is told once", within, told, broken)
        .await
        .unwrap();
    scene.looks(2.0).await;
    assert!(broken(&told().await.unwrap()), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_undo_a_rollout_while_the_gate_is_closed_and_a_dead_operator_leaves_it_closed() {
    let prepare = policy(&json!({"rollback": {"mode": "Prepare"}}));
    let mut scene = Scene::guarded_by("gate-undo", &prepare).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    let closed = scene.gate("SLOsFailing").await.status.unwrap().gate.unwrap();
    assert_eq!(closed.rollback_targets[0].images[0].image, good());
    scene.operator.kill();
    let name = incident.metadata.name.unwrap();
    let dry = |change: &Value| {
        super::patch(
            &scene.space,
            super::ADMINISTRATOR,
            "ranker",
            change,
            &["--dry-run=server"],
        )
    };
    let release = super::ship(&image('c'), &json!({}));
    super::asked("a release", true, || dry(&release)).await;
    dry(&super::ship(&image('c'), &json!({"quality-officer.dev/fixes": name}))).unwrap();
    scene.space.kubectl(&["rollout", "undo", "deployment/ranker"]).unwrap();
    assert_eq!(scene.runs().await, good());
    scene.operator.restart().unwrap();
    scene.incident(IncidentState::Superseded).await;
    scene.gate("RollbackReady").await;
    super::asked("a release", false, || dry(&release)).await;
}
