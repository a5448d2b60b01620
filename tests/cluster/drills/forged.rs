//! A mark of a drill that somebody wrote who is not the operator: it is reported and obeyed in nothing.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use quality_api::{DRILL_ANNOTATION, DrillMode};
use serde_json::json;
use stage::Space;

use super::in_place::{current, is_restored, stage_newer};
use crate::{
    drills::{ask, finished, result},
    scene::{Scene, bad, good},
};

/// May write the status of Deployments and of drills, and nothing else.
const FORGER: &str = "forger";

fn let_the_forger_write_statuses(space: &Space) {
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["deployments/status"], "verbs": ["get", "update", "patch"]},
        {"apiGroups": ["quality-officer.dev"], "resources": ["*", "*/status"], "verbs": ["*"]},
    ]);
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": FORGER}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": FORGER},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": FORGER},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": FORGER}],
    });
    space.apply(&role.to_string()).unwrap();
    space.apply(&binding.to_string()).unwrap();
}

/// Writes a mark through the status of a Deployment: what runs is called the fault, and `wanted` what was there before.
fn forge(space: &Space, deployment: &str, drill: (&str, &str), (runs, wanted): (&str, &str)) {
    let images = |image: &str| json!({"server": image});
    let mark = json!({
        "drill": drill.0, "uid": drill.1, "at": 1, "images": images(wanted), "fault": images(runs),
        "checkpoint": images(runs),
    });
    let patch = json!({"metadata": {"annotations": {DRILL_ANNOTATION: mark.to_string()}}}).to_string();
    let arguments = [
        "patch",
        "deployment",
        deployment,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    space.kubectl(&[&arguments[..], &["--as", FORGER]].concat()).unwrap();
}

/// The advice of the report, as commands for [`Space::kubectl`]: what stands between `with kubectl` and its `-n`.
async fn advice(space: &Space, deployment: &str) -> String {
    let describe = || async { space.kubectl(&["describe", "deployment", deployment]) };
    let told = |text: &String| text.contains("DrillMarkIgnored");
    let text = space
        .poll("the mark is reported", Duration::from_secs(30), describe, told)
        .await
        .unwrap();
    text.lines()
        .find(|line| line.contains("DrillMarkIgnored"))
        .unwrap()
        .to_owned()
}

async fn take_off(space: &Space, deployment: &str) {
    let advice = advice(space, deployment).await;
    let command = format!(
        "kubectl annotate deployment/{deployment} -n {} {DRILL_ANNOTATION}-",
        space.namespace
    );
    assert!(advice.contains(&command), "{advice}");
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    space.kubectl(&words).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_without_its_drill_is_reported_and_obeyed_in_nothing_guarded_or_not() {
    let scene = Scene::guarded("drill-forged").await;
    let space = &scene.space;
    let_the_forger_write_statuses(space);
    let other = stage::script::deployment("other", &good()).to_string();
    space.apply(&other).unwrap();
    for deployment in ["ranker", "other"] {
        forge(
            space,
            deployment,
            ("weekly", "11111111-2222-3333-4444-555555555555"),
            (&good(), &bad()),
        );
    }
    for deployment in ["ranker", "other"] {
        advice(space, deployment).await;
        assert_eq!(space.image(deployment).await.unwrap(), good(), "{deployment}");
    }
    scene.events_with("QualityPolicy", "ranker", "DrillMarkIgnored").await;
    // Nor does it hold the judgement up.
    scene.looks(2.0).await;
    scene.condition("Ready", "Judging").await;
    for deployment in ["ranker", "other"] {
        take_off(space, deployment).await;
        assert_eq!(space.image(deployment).await.unwrap(), good(), "{deployment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_a_drill_that_has_ended_brings_nothing_back_and_nobody_else_writes_a_drills_status() {
    let scene = Scene::guarded("drill-forged-ended").await;
    let space = &scene.space;
    stage_newer(&scene).await;
    ask(&scene, "done", DrillMode::InPlace);
    let drill = finished(&scene, "done").await;
    assert_eq!(result(&drill), ("Passed".into(), "Recovered".into()), "{drill:#?}");
    is_restored(&scene).await;
    let_the_forger_write_statuses(space);
    let status = json!({"status": {"intent": {"images": [{"container": "server", "image": bad()}]}}}).to_string();
    let write = [
        "patch",
        "recoverydrill",
        "done",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    let denied = space
        .kubectl(&[&write[..], &["--as", FORGER]].concat())
        .unwrap_err()
        .to_string();
    assert!(denied.contains("written by the operator alone"), "{denied}");

    // The checkpoint's image by a person's wish: the drill found another one, and that is no reason to bring it back.
    scene.ship_past_the_gate(&good()).await;
    stage::script::rolled_out(space, "ranker").await.unwrap();
    let uid = drill.uid().unwrap();
    forge(space, "ranker", ("done", &uid), (&good(), &bad()));
    let unmarked = |deployment: &Deployment| !deployment.annotations().contains_key(DRILL_ANNOTATION);
    let within = Duration::from_secs(30);
    space
        .wait("the mark is taken off", "ranker", within, unmarked)
        .await
        .unwrap();
    assert_eq!(scene.runs().await, good(), "neither {} nor {}", bad(), current());
}
