//! Drills test the rollback path: on a shadow beside the service, or in place where that is allowed. Whatever happens, the
//! record is all that is left.

mod forged;
mod in_place;
mod schedule;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::{Method, StatusCode};
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::ResourceExt;
use quality_api::{DRILL_LABEL, DrillMode, DrillState, IncidentState, RecoveryDrill};
use quality_core::slo::SloStatus;
use serde_json::json;

use crate::{
    proxy::{Act, Asked, failure},
    restarts::behind_a_proxy,
    scene::{Scene, bad, good, policy},
};

/// Asks for a drill of policy `ranker`.
pub fn ask(scene: &Scene, name: &str, mode: DrillMode) {
    let drill = json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RecoveryDrill", "metadata": {"name": name},
        "spec": {"policyRef": {"name": "ranker"}, "mode": format!("{mode:?}")},
    });
    scene.space.apply(&drill.to_string()).unwrap();
}

pub fn state_of(drill: &RecoveryDrill) -> DrillState {
    drill.status.as_ref().map(|status| status.state).unwrap_or_default()
}

pub async fn when(scene: &Scene, name: &str, what: &str, holds: impl Fn(&RecoveryDrill) -> bool) -> RecoveryDrill {
    let what = format!("drill {name} {what}");
    let found = scene.space.wait(&what, name, Duration::from_secs(150), holds).await;
    found.unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()))
}

/// The drill, once it is finished.
pub async fn finished(scene: &Scene, name: &str) -> RecoveryDrill {
    when(scene, name, "is finished", |drill| {
        state_of(drill) == DrillState::Finished
    })
    .await
}

/// Result, and the reason of condition `Complete`.
pub fn result(drill: &RecoveryDrill) -> (String, String) {
    let status = drill.status.clone().unwrap_or_default();
    let complete = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Complete" && condition.status == "True");
    (
        status.result,
        complete.map(|condition| condition.reason.clone()).unwrap_or_default(),
    )
}

pub fn states(drill: &RecoveryDrill) -> Vec<DrillState> {
    let steps = drill.status.clone().unwrap_or_default().steps;
    steps.into_iter().map(|step| step.state).collect()
}

/// The steps of a shadow drill that passes.
pub const ALL: [DrillState; 6] = [
    DrillState::Starting,
    DrillState::Breaking,
    DrillState::Broken,
    DrillState::RollingBack,
    DrillState::CleaningUp,
    DrillState::Finished,
];

/// What serves: the guarded Deployment's revision and replicas, and the lives of its pods.
pub async fn serving(scene: &Scene) -> (String, Option<i32>, BTreeSet<String>) {
    let target = scene.space.api::<Deployment>().get("ranker").await.unwrap();
    let pods = scene.space.all::<Pod>().await.unwrap();
    let own = pods
        .iter()
        .filter(|pod| pod.labels().get("app").is_some_and(|app| app == "ranker"));
    (
        scene.revision().await,
        target.spec.replicas,
        own.map(|pod| pod.uid().unwrap_or_default()).collect(),
    )
}

/// Waits until nothing but the guarded Deployment, its ReplicaSets and its pods is there.
pub async fn nothing_is_left(scene: &Scene) {
    let names = || async {
        let mut names: Vec<String> = Vec::new();
        names.extend(scene.space.all::<Deployment>().await?.iter().map(ResourceExt::name_any));
        names.extend(scene.space.all::<ReplicaSet>().await?.iter().map(ResourceExt::name_any));
        names.extend(scene.space.all::<Pod>().await?.iter().map(ResourceExt::name_any));
        Ok(names)
    };
    let clean = |names: &Vec<String>| names.iter().all(|name| !name.contains("-drill-"));
    let found = scene
        .space
        .poll("nothing of a drill is left", Duration::from_secs(60), names, clean)
        .await;
    found.unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));
}

/// The write of the rollback, and no other one.
pub fn is_rollback(asked: &Asked) -> bool {
    asked.method == Method::PATCH
        && asked.path.contains("/deployments/")
        && String::from_utf8_lossy(&asked.body).contains("quality-officer.dev/rollback")
}

/// The API server is not able to answer now.
pub fn unavailable() -> Act {
    Act::Answer(failure(StatusCode::SERVICE_UNAVAILABLE))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_drill_passes_and_leaves_nothing_but_its_record() {
    let scene = Scene::guarded("drill-shadow").await;
    let before = serving(&scene).await;
    ask(&scene, "by-hand", DrillMode::Shadow);
    let running = when(&scene, "by-hand", "began", |drill| {
        state_of(drill).is_active() || state_of(drill) == DrillState::Finished
    });
    let shadow = running.await.status.unwrap().shadow.unwrap();
    assert!(shadow.starts_with("ranker-drill-"), "{shadow}");
    // While it is there, nothing that selects the service's pods selects its own.
    for pod in scene.space.all::<Pod>().await.unwrap() {
        if pod.name_any().starts_with(&shadow) {
            let labels: BTreeSet<&str> = pod.labels().keys().map(String::as_str).collect();
            assert!(
                labels.is_subset(&BTreeSet::from([DRILL_LABEL, "pod-template-hash"])),
                "{labels:?}"
            );
        }
    }
    let drill = finished(&scene, "by-hand").await;
    assert_eq!(result(&drill), ("Passed".into(), "Recovered".into()), "{drill:#?}");
    assert_eq!(states(&drill), ALL);
    let status = drill.status.unwrap();
    assert!(
        status.rto_seconds.is_some_and(|seconds| (1..60).contains(&seconds)),
        "{status:?}"
    );
    assert!(
        status.rpo_seconds.is_some_and(|seconds| (0..300).contains(&seconds)),
        "{status:?}"
    );
    assert!(
        status.load_seconds.is_some_and(|seconds| (0..60).contains(&seconds)),
        "{status:?}"
    );
    assert!(status.fault_at <= status.finished_at && status.fault_at <= status.recovered_at);
    nothing_is_left(&scene).await;
    assert_eq!(serving(&scene).await, before, "what serves was not touched");
    for (kind, name) in [("Deployment", "ranker"), ("QualityPolicy", "ranker")] {
        let reasons = scene.events_with(kind, name, "DrillPassed").await;
        let told = reasons.iter().filter(|reason| *reason == "DrillPassed").count();
        assert_eq!(told, 1, "{kind}: {reasons:?}");
    }
    let report = scene.report("RTO and RPO pass", |report| {
        let rows = report.status.clone().unwrap_or_default().slo_summary;
        let passing = |row: &&quality_api::SloRow| {
            ["RTO", "RPO"].contains(&row.slo.as_str()) && row.status == SloStatus::Passing.name()
        };
        rows.iter().filter(passing).count() == 2
    });
    let rows = report.await.status.unwrap().slo_summary;
    assert!(
        rows.iter()
            .any(|row| row.evidence.starts_with("0 incidents, 1 drills; kept by 1 of 1")),
        "{rows:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_too_small_ends_a_drill_in_the_api_servers_words() {
    let scene = Scene::guarded("drill-quota").await;
    let before = serving(&scene).await;
    let quota = |hard: serde_json::Value| json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"}, "spec": {"hard": hard}});
    // No room for a fourth pod, then none for a second Deployment.
    for (name, hard, counted, reason) in [
        ("no-pod", json!({"pods": "3"}), "pods", "PodsRefused"),
        (
            "no-deployment",
            json!({"count/deployments.apps": "1"}),
            "count/deployments.apps",
            "ShadowRefused",
        ),
    ] {
        scene.space.kubectl(&["delete", "resourcequota", "--all"]).unwrap();
        scene.space.apply(&quota(hard).to_string()).unwrap();
        let in_force = |quota: &k8s_openapi::api::core::v1::ResourceQuota| {
            let used = quota.status.as_ref().and_then(|status| status.used.as_ref());
            used.is_some_and(|used| used.contains_key(counted))
        };
        let within = Duration::from_secs(60);
        scene
            .space
            .wait("the quota is in force", "tight", within, in_force)
            .await
            .unwrap();
        ask(&scene, name, DrillMode::Shadow);
        let drill = finished(&scene, name).await;
        assert_eq!(result(&drill), ("Aborted".into(), reason.into()), "{drill:#?}");
        let message = drill.status.unwrap().message;
        assert!(message.contains("exceeded quota: tight"), "{message}");
        nothing_is_left(&scene).await;
    }
    assert_eq!(serving(&scene).await, before);
    scene.events_with("Deployment", "ranker", "DrillAborted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_checkpoint_a_drill_waits_and_says_so_and_with_a_paused_policy_it_is_aborted() {
    let scene = Scene::unguarded("drill-nowhere").await;
    let by_hand = policy(&json!({"checkpoints": {"autoRegister": false}}));
    scene.space.apply(&by_hand).unwrap();
    scene.condition("SLOsMet", "Caution").await;
    ask(&scene, "nowhere", DrillMode::Shadow);
    let waits = |drill: &RecoveryDrill| {
        let conditions = drill.status.clone().unwrap_or_default().conditions;
        conditions
            .iter()
            .any(|condition| condition.reason == "NoCheckpoint" && condition.status == "False")
    };
    when(&scene, "nowhere", "waits for a checkpoint", waits).await;
    scene.edit(&json!({"paused": true}));
    let drill = finished(&scene, "nowhere").await;
    assert_eq!(result(&drill), ("Aborted".into(), "PolicyPaused".into()));
    scene.edit(&json!({"paused": false}));
    ask(&scene, "later", DrillMode::Shadow);
    when(&scene, "later", "waits for a checkpoint", waits).await;
    scene.edit(&json!({"checkpoints": {"autoRegister": true}}));
    let drill = finished(&scene, "later").await;
    assert_eq!(result(&drill).0, "Passed", "{drill:#?}");
    assert_eq!(states(&drill)[0], DrillState::Pending);
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_that_opens_midway_breaks_a_drill_off_and_is_handled_as_ever() {
    let (proxy, scene) = behind_a_proxy("drill-incident").await;
    // The shadow cannot come up for now, so that the drill is under way for as long as that takes.
    let held = Arc::new(AtomicBool::new(true));
    let holds = held.clone();
    proxy.rule(move |asked| {
        if is_rollback(asked)
            && String::from_utf8_lossy(&asked.body).contains("drill/midway")
            && holds.load(Ordering::SeqCst)
        {
            return unavailable();
        }
        Act::Forward
    });
    ask(&scene, "midway", DrillMode::Shadow);
    when(&scene, "midway", "is broken", |drill| {
        state_of(drill) == DrillState::Broken
    })
    .await;
    scene.ship(&bad()).await;
    let drill = finished(&scene, "midway").await;
    assert_eq!(result(&drill), ("Aborted".into(), "IncidentOpen".into()));
    scene.incident(IncidentState::Recovered).await;
    held.store(false, Ordering::SeqCst);
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_drills_at_once_one_waits_for_the_other() {
    let scene = Scene::guarded("drill-two").await;
    for name in ["a", "b"] {
        ask(&scene, name, DrillMode::Shadow);
    }
    let (a, b) = (finished(&scene, "a").await, finished(&scene, "b").await);
    for drill in [&a, &b] {
        assert_eq!(result(drill).0, "Passed", "{drill:#?}");
    }
    let times = |drill: &RecoveryDrill| {
        let status = drill.status.clone().unwrap();
        (status.started_at.unwrap().0, status.finished_at.unwrap().0)
    };
    assert!(times(&a).1 <= times(&b).0, "{:?} {:?}", times(&a), times(&b));
    assert_eq!(states(&b)[0], DrillState::Pending, "{b:#?}");
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_over_its_objective_puts_the_rollback_path_at_risk_until_one_passes() {
    let (proxy, scene) = behind_a_proxy("drill-late").await;
    scene.edit(&json!({"recovery": {"rto": "1s"}}));
    // Three refusals, and 2 s of patience after each.
    let refused = std::sync::atomic::AtomicUsize::new(0);
    proxy.rule(move |asked| {
        if is_rollback(asked) && refused.fetch_add(1, Ordering::SeqCst) < 3 {
            return unavailable();
        }
        Act::Forward
    });
    ask(&scene, "late", DrillMode::Shadow);
    let drill = finished(&scene, "late").await;
    assert_eq!(result(&drill), ("Failed".into(), "RtoExceeded".into()), "{drill:#?}");
    assert!(drill.status.unwrap().rto_seconds.is_some_and(|seconds| seconds > 1));
    scene.condition("RollbackReady", "DrillFailed").await;
    let report = scene.report("rollback is at risk", |report| {
        report
            .status
            .as_ref()
            .is_some_and(|status| status.rollback == "AT RISK")
    });
    let findings = report.await.status.unwrap().findings;
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("the last drill, late, failed")),
        "{findings:?}"
    );
    scene.events_with("QualityPolicy", "ranker", "DrillFailed").await;
    scene.edit(&json!({"recovery": {"rto": "10m"}}));
    ask(&scene, "in-time", DrillMode::Shadow);
    assert_eq!(result(&finished(&scene, "in-time").await).0, "Passed");
    scene.condition("RollbackReady", "CheckpointReady").await;
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_that_is_deleted_midway_takes_its_shadow_with_it() {
    let (proxy, scene) = behind_a_proxy("drill-deleted").await;
    proxy.rule(|asked| {
        if is_rollback(asked) {
            unavailable()
        } else {
            Act::Forward
        }
    });
    ask(&scene, "gone", DrillMode::Shadow);
    when(&scene, "gone", "is broken", |drill| {
        state_of(drill) == DrillState::Broken
    })
    .await;
    scene.space.kubectl(&["delete", "recoverydrill", "gone"]).unwrap();
    nothing_is_left(&scene).await;
}
