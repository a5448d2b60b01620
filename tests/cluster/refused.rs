//! Another admission policy refuses the rollback: that is a state with words, it is told, escalated and tried again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use quality_api::{IncidentState, QualityIncident, conditions};
use serde_json::json;
use stage::{OperatorOptions, Space};

use crate::{
    notifications::capture::Capture,
    proxy::{Act, failure},
    restarts::behind_a_proxy,
    scene::{Scene, bad, good, policy, space, state_of},
};

/// Somebody else's policy: nobody but the administrator changes a Deployment of this namespace.
fn freeze(space: &Space) {
    let name = format!("freeze-{}", space.namespace);
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["deployments"],
            }]},
            "matchConditions": [{
                "name": "the-operator", "expression": "request.userInfo.username.endsWith(':quality-officer')",
            }],
            "validations": [{"expression": "false", "message": "shop is frozen for the audit of 30 November"}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.namespace}}},
        },
    });
    space.apply(&policy.to_string()).unwrap();
    space.apply(&binding.to_string()).unwrap();
}

fn thaw(space: &Space) {
    let name = format!("freeze-{}", space.namespace);
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        space.kubectl(&["delete", kind, &name]).unwrap();
    }
}

fn escalated(incident: &QualityIncident) -> bool {
    conditions::is_true(&incident.status.clone().unwrap_or_default().conditions, "Escalated")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_another_policy_refuses_is_told_escalated_and_done_once_it_is_let_in() {
    let space = space("refused").await;
    let receiver = Capture::start().await;
    let options = OperatorOptions {
        more: json!({"receivers": {"ops-commander": {"type": "webhook", "url": receiver.url()}}}),
        ..OperatorOptions::for_namespace(&space.namespace, &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let scene = Scene::set(space, targets, options).await;
    let scene = scene
        .guard(&policy(&json!({"judgement": {"escalateAfter": "30s"}})))
        .await;
    freeze(&scene.space);
    let begin = jiff::Timestamp::now();
    scene.ship(&bad()).await;

    let incident = scene.incident(IncidentState::Refused).await;
    let name = incident.metadata.name.clone().unwrap();
    let status = incident.status.unwrap();
    assert!(
        status.message.contains("shop is frozen for the audit of 30 November"),
        "{}",
        status.message
    );
    scene.events_with("Deployment", "ranker", "RollbackDenied").await;
    scene.events_with("QualityPolicy", "ranker", "RollbackDenied").await;
    // What is known is written although the act failed.
    let shown = scene.report("the report shows the breach", |report| {
        let status = report.status.clone().unwrap_or_default();
        status.verdict == "BREACH" && status.incident == name
    });
    shown.await;
    let sent = receiver.wait(&scene.space, "the refusal is told", |sent| {
        sent.iter().any(|sent| {
            let text = sent.body.to_string();
            text.contains("AtRisk") && text.contains("shop is frozen for the audit of 30 November")
        })
    });
    sent.await;
    let all = scene
        .incidents("it is escalated", |all| all.iter().any(escalated))
        .await;
    assert_eq!((all.len(), state_of(&all[0])), (1, IncidentState::Refused));
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
    let tries = scene.writes_since(begin);
    let tries = tries
        .iter()
        .filter(|(verb, what, _)| verb == "patch" && what == "deployments");
    let tries = tries.count();
    assert!(
        (1..=10).contains(&tries),
        "tried {tries} times in {:?}",
        begin.until(jiff::Timestamp::now())
    );

    thaw(&scene.space);
    let within = Duration::from_secs(100);
    let recovered = |incident: &QualityIncident| state_of(incident) == IncidentState::Recovered;
    let found = scene
        .space
        .wait("the rollback is let in", &name, within, recovered)
        .await;
    found.unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_error_at_the_rollbacks_write_becomes_a_state_only_once_it_lasts() {
    let (proxy, scene) = behind_a_proxy("webhook-fails").await;
    let (fails, tries) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let (rule, count) = (fails.clone(), tries.clone());
    proxy.rule(move |asked| {
        let is_rollback = asked.method == "PATCH" && asked.path.contains("/deployments/ranker");
        if is_rollback && rule.load(Ordering::SeqCst) {
            count.lock().unwrap().push(jiff::Timestamp::now());
            return Act::Answer(failure(StatusCode::INTERNAL_SERVER_ERROR));
        }
        Act::Forward
    });
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Refused).await;
    let status = incident.status.unwrap();
    let (step, refusal) = (&status.steps[0], status.refusal.unwrap());
    assert_eq!((status.steps.len(), step.state), (1, IncidentState::Refused));
    let before = tries.lock().unwrap().clone();
    let lasted = step.at.0.duration_since(before[0]).as_secs();
    assert!(
        (9..60).contains(&lasted),
        "the state comes {lasted} s after the first error"
    );
    assert!(step.at.0.duration_since(refusal.since.0).as_secs() >= 10, "{refusal:?}");
    let until_then = before.iter().filter(|at| **at <= step.at.0).count();
    // With a pause between two: a server in trouble is not asked without end.
    assert!((4..=12).contains(&until_then), "tried {until_then} times: {before:?}");
    fails.store(false, Ordering::SeqCst);
    let recovered = scene.incident(IncidentState::Recovered).await;
    assert_eq!(recovered.metadata.name, incident.metadata.name);
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}
