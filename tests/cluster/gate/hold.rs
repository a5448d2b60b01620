//! No release while the gate is closed, and what passes all the same.

use serde_json::json;
use stage::script;

use super::{ADMINISTRATOR, CHIEF, DEVELOPER, asked, closed, denied, guarded, passes, patch, place, say, ship};
use crate::scene::{bad, good, image, policy, policy_named};

const FIXES: &str = "quality-officer.dev/fixes";
const BREAK_GLASS: &str = "quality-officer.dev/break-glass";

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_held_while_the_gate_is_closed_and_only_the_fix_of_the_open_incident_passes() {
    let space = guarded("gate-hold", "Enforce", &closed()).await;
    let message = denied(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
    for part in [
        "the gate of policy ranker is closed, SLOsFailing: incident ranker-7f3c9 is open: error rate 3.1 %",
        "quality-officer.dev/fixes=ranker-7f3c9 on the Deployment in the same change",
        "quality-officer.dev/break-glass",
        "kubectl quality explain ranker -n gate-hold",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // Whatever changes in the template, and for every user.
    let restart =
        json!({"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}});
    denied(&space, DEVELOPER, &restart).await;
    denied(&space, ADMINISTRATOR, &ship(&bad(), &json!({}))).await;
    passes(&space, DEVELOPER, &ship(&bad(), &json!({FIXES: "ranker-7f3c9"}))).await;
    for wrong in ["ranker-00000", "", "true"] {
        denied(&space, DEVELOPER, &ship(&bad(), &json!({FIXES: wrong}))).await;
    }
    // At risk there is no incident to name, and an empty name names none.
    let at_risk = json!({"gate": {
        "state": "Closed", "reason": "CheckpointNotReady", "message": "rollback is at risk: its image is gone",
        "since": "2026-11-24T14:32:15Z", "incident": null,
    }});
    say(&space, "ranker", &at_risk);
    for name in ["ranker-7f3c9", ""] {
        let message = denied(&space, DEVELOPER, &ship(&bad(), &json!({FIXES: name}))).await;
        assert!(!message.contains("quality-officer.dev/fixes="), "{message}");
    }
    say(
        &space,
        "ranker",
        &json!({"gate": {"state": "Open", "reason": "RollbackReady"}}),
    );
    passes(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gate_blocks_nothing_but_releases_of_the_guarded_deployment() {
    let space = guarded("gate-else", "Enforce", &closed()).await;
    denied(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
    for change in [
        json!({"spec": {"replicas": 5}}),
        json!({"spec": {"paused": true}}),
        json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
        json!({"metadata": {"labels": {"team": "search"}}}),
        json!({"metadata": {"annotations": {"note": "x"}}}),
        ship(&good(), &json!({})),
    ] {
        passes(&space, DEVELOPER, &change).await;
    }
    // The scale subresource, as kubectl and autoscalers use it.
    space
        .kubectl(&["scale", "deployment/ranker", "--replicas=2", "--as", DEVELOPER])
        .unwrap();
    space
        .kubectl(&["create", "deployment", "other", "--image=x:1", "--replicas=0"])
        .unwrap();
    let other = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
    patch(&space, DEVELOPER, "other", &other, &[]).unwrap();
    // One of the same name elsewhere, guarded by a policy that has no status yet.
    let elsewhere = place("gate-elsewhere").await;
    patch(&elsewhere, DEVELOPER, "ranker", &ship(&bad(), &json!({})), &[]).unwrap();
    elsewhere.apply(&policy(&json!({}))).unwrap();
    patch(&elsewhere, DEVELOPER, "ranker", &ship(&image('c'), &json!({})), &[]).unwrap();
    denied(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn break_glass_needs_its_verb_and_a_reason_that_is_new_in_this_very_change() {
    let space = guarded("gate-glass", "Enforce", &closed()).await;
    let with = |image: &str, reason: &str| ship(image, &json!({BREAK_GLASS: reason}));
    let message = denied(&space, DEVELOPER, &with(&bad(), "the site is down")).await;
    assert!(
        message.contains("break-glass on ranker needs the verb bypass on qualitypolicies/ranker"),
        "{message}"
    );
    // Nor may the reason be left there for later.
    let alone = json!({"metadata": {"annotations": {BREAK_GLASS: "later"}}});
    denied(&space, DEVELOPER, &alone).await;
    denied(&space, CHIEF, &with(&bad(), "")).await;
    passes(&space, CHIEF, &alone).await;
    patch(&space, CHIEF, "ranker", &with(&bad(), "the site is down"), &[]).unwrap();
    for user in [DEVELOPER, CHIEF] {
        denied(&space, user, &with(&image('c'), "the site is down")).await;
        denied(&space, user, &ship(&image('c'), &json!({}))).await;
    }
    passes(&space, CHIEF, &with(&image('c'), "the site is still down")).await;
    // Taking it away needs nothing.
    passes(
        &space,
        DEVELOPER,
        &json!({"metadata": {"annotations": {BREAK_GLASS: null}}}),
    )
    .await;
    let log = std::fs::read_to_string(space.endpoints.audit_log.as_ref().unwrap()).unwrap();
    let told = log
        .lines()
        .any(|line| line.contains("quality-officer-hold/break-glass") && line.contains("chief: the site is down"));
    assert!(told, "the audit log names who broke the glass, and why");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_go_back_to_a_registered_checkpoint_by_digest_or_by_the_name_it_had() {
    let mut status = closed();
    status["gate"]["rollbackTargets"] = json!([
        {"checkpoint": "ranker-0", "images": [{"container": "server", "image": image('9')}]},
        {"checkpoint": "ranker-1", "images": [{"container": "server", "image": image('d'), "named": "repo/ranker:v1"}]},
    ]);
    let space = guarded("gate-back", "Enforce", &status).await;
    denied(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
    for back in [image('d'), image('9'), "repo/ranker:v1".to_owned()] {
        passes(&space, DEVELOPER, &ship(&back, &json!({}))).await;
    }
    // What `kubectl rollout undo` brings back with the image passes with it; what comes beside it does not.
    let mut undo = ship(&image('d'), &json!({}));
    undo["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "b"}]);
    passes(&space, DEVELOPER, &undo).await;
    let beside = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "server", "image": image('d')}, {"name": "proxy", "image": "repo/proxy:v9"},
    ]}}}});
    denied(&space, DEVELOPER, &beside).await;
    // Once it runs, a change of something else is no return.
    patch(&space, DEVELOPER, "ranker", &ship(&image('d'), &json!({})), &[]).unwrap();
    denied(&space, DEVELOPER, &undo).await;
    denied(&space, DEVELOPER, &ship("repo/ranker:v1", &json!({}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_warn_says_the_same_and_lets_in_and_mode_off_says_nothing() {
    let mut status = closed();
    let digest = format!("sha256:{}", "b".repeat(64));
    status["quarantine"] = json!([{
        "image": "repo/ranker:v2", "digest": digest, "incident": "ranker-1", "reason": "error rate 3.10%",
        "since": "2026-11-24T14:32:15Z",
    }]);
    let space = guarded("gate-modes", "Warn", &status).await;
    // kubectl prints warnings where errors go: the words are read from a run of its own.
    let warned = || {
        let mut command = space.endpoints.kubectl_command(["-n", &space.namespace]);
        let change = ship(&bad(), &json!({})).to_string();
        command.args([
            "patch",
            "deployment",
            "ranker",
            "-p",
            &change,
            "--as",
            DEVELOPER,
            "--dry-run=server",
        ]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let ask = || {
        let text = warned();
        if text.contains("is quarantined by incident ranker-1") {
            return Ok(text);
        }
        Err(stage::StageError::Unexpected(text))
    };
    let text = asked("a warning", false, ask).await;
    for part in [
        "Warning: ",
        "the gate of policy ranker is closed",
        "kubectl quality release ranker --image sha256:bbbb…",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    space
        .merge("qualitypolicy", "ranker", &json!({"spec": {"gate": {"mode": "Off"}}}))
        .unwrap();
    let ask = || match warned() {
        text if text.is_empty() => Ok(text),
        text => Err(stage::StageError::Unexpected(text)),
    };
    asked("silence", false, ask).await;
    space
        .merge(
            "qualitypolicy",
            "ranker",
            &json!({"spec": {"gate": {"mode": "Enforce"}}}),
        )
        .unwrap();
    denied(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_policies_on_one_deployment_one_that_is_closed_is_enough() {
    let space = guarded("gate-two", "Enforce", &json!({"gate": null})).await;
    patch(&space, DEVELOPER, "ranker", &ship(&image('c'), &json!({})), &[]).unwrap();
    space.apply(&policy_named("second", &json!({}))).unwrap();
    say(&space, "second", &closed());
    let message = denied(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
    assert!(message.contains("the gate of policy second is closed"), "{message}");
    space.kubectl(&["delete", "qualitypolicy", "second"]).unwrap();
    passes(&space, DEVELOPER, &ship(&bad(), &json!({}))).await;
    assert!(script::rolled_out(&space, "ranker").await.is_ok(), "what passed runs");
}
