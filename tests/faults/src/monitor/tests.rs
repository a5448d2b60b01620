use std::time::Instant;

use axum::{body::Bytes, http::Method};
use serde_json::json;

use super::*;

const APPS: &str = "/apis/apps/v1/namespaces/shop/deployments";
const OURS: &str = "/apis/quality-officer.dev/v1alpha1/namespaces/shop";

fn call(method: Method, path: &str, body: &Value, status: u16, answer: &Value) -> Call {
    Call {
        at: Instant::now(),
        life: 0,
        method,
        path: path.to_owned(),
        body: Bytes::from(body.to_string()),
        delivered: vec![status],
        unanswered: 0,
        spans: Vec::new(),
        answer: Bytes::from(answer.to_string()),
        heard: true,
    }
}

fn image() -> String {
    format!("repo/ranker@sha256:{}", "a".repeat(64))
}

/// A start and a rollback in which every promise is kept.
fn record() -> Vec<Call> {
    let none = Value::Null;
    let mut calls: Vec<Call> = CACHED
        .iter()
        .map(|kind| {
            let group = if ["deployments", "replicasets"].contains(kind) {
                "/apis/apps/v1/namespaces/shop"
            } else {
                OURS
            };
            call(Method::GET, &format!("{group}/{kind}?limit=500"), &none, 200, &none)
        })
        .collect();
    let incident = json!({"metadata": {"name": "ranker-1"}, "spec": {"revision": "2"}});
    calls.push(call(
        Method::POST,
        &format!("{OURS}/qualityincidents"),
        &incident,
        201,
        &incident,
    ));
    let checkpoint = json!({"spec": {"images": [{"container": "server", "image": image()}]}});
    let path = format!("{OURS}/rollbackcheckpoints/good");
    calls.push(call(Method::GET, &path, &none, 200, &checkpoint));
    let deployment = json!({"metadata": {
        "uid": "u", "resourceVersion": "7", "annotations": {"deployment.kubernetes.io/revision": "2"},
    }});
    calls.push(call(Method::GET, &format!("{APPS}/ranker"), &none, 200, &deployment));
    let patch = json!({
        "metadata": {"uid": "u", "resourceVersion": "7", "annotations": {ROLLBACK_ANNOTATION: "ranker-1"}},
        "spec": {"template": {"spec": {"containers": [{"name": "server", "image": image()}]}}},
    });
    calls.push(call(Method::PATCH, &format!("{APPS}/ranker"), &patch, 200, &none));
    let status = json!({
        "metadata": {"generation": 1},
        "status": {"observedGeneration": 1, "conditions": [{
            "type": "SLOsMet", "status": "True", "reason": "Healthy", "lastTransitionTime": "2026-11-24T14:32:15Z",
        }]},
    });
    let path = format!("{OURS}/qualitypolicies/ranker/status");
    calls.push(call(Method::PUT, &path, &status, 200, &none));
    calls
}

/// The promises that a record shows broken, each once.
fn found(calls: &[Call]) -> Vec<Promise> {
    let rules = Rules {
        namespace: "shop",
        target: "ranker",
        cooldown: Duration::from_secs(60),
        planted: "planted",
    };
    let mut promises: Vec<Promise> = broken(calls, &rules).into_iter().map(|broken| broken.promise).collect();
    promises.sort();
    promises.dedup();
    promises
}

/// The record with one request's body changed: `write` is part of its path and method.
fn edited(method: &Method, part: &str, edit: impl Fn(&mut Value)) -> Vec<Call> {
    let mut calls = record();
    for call in calls
        .iter_mut()
        .filter(|call| call.method == method && call.path.contains(part))
    {
        let mut body: Value = serde_json::from_slice(&call.body).unwrap();
        edit(&mut body);
        call.body = Bytes::from(body.to_string());
    }
    calls
}

fn without(method: &Method, part: &str) -> Vec<Call> {
    let mut calls = record();
    calls.retain(|call| call.method != method || !call.path.contains(part));
    calls
}

#[test]
fn a_rollback_that_keeps_every_promise_breaks_none() {
    assert_eq!(found(&record()), []);
}

#[test]
fn a_target_that_is_not_pinned_not_registered_revoked_or_not_read_again_is_no_safe_one() {
    let tagged = edited(&Method::PATCH, "/deployments/", |body| {
        body["spec"]["template"]["spec"]["containers"][0]["image"] = json!("repo/ranker:v1");
    });
    assert_eq!(found(&tagged), [Promise::SafeTarget]);
    assert_eq!(
        found(&without(&Method::GET, "/rollbackcheckpoints/good")),
        [Promise::SafeTarget]
    );
    let mut revoked = record();
    for call in revoked
        .iter_mut()
        .filter(|call| call.path.ends_with("/rollbackcheckpoints/good"))
    {
        let checkpoint = json!({"spec": {"revoked": true, "images": [{"container": "server", "image": image()}]}});
        call.answer = Bytes::from(checkpoint.to_string());
    }
    assert_eq!(found(&revoked), [Promise::SafeTarget]);
    let mut read_long_ago = record();
    let last = read_long_ago
        .iter()
        .position(|call| call.method == Method::PATCH)
        .unwrap();
    read_long_ago[last].at += Duration::from_secs(11);
    assert_eq!(found(&read_long_ago), [Promise::SafeTarget, Promise::Fenced]);
}

#[test]
fn a_rollback_without_a_recorded_intent_is_found() {
    assert_eq!(
        found(&without(&Method::POST, "/qualityincidents")),
        [Promise::IntentFirst]
    );
    let mut refused = record();
    for call in refused.iter_mut().filter(|call| call.method == Method::POST) {
        call.delivered = vec![500];
    }
    assert_eq!(found(&refused), [Promise::IntentFirst]);
    let mut unanswered = record();
    for call in unanswered.iter_mut().filter(|call| call.method == Method::POST) {
        (call.delivered, call.unanswered) = (Vec::new(), 1);
    }
    assert_eq!(found(&unanswered), [], "it may have been taken");
}

#[test]
fn a_second_rollback_for_one_mark_or_within_the_cooldown_is_found() {
    let mut twice = record();
    for call in twice.iter_mut().filter(|call| call.method == Method::PATCH) {
        call.delivered = vec![200, 200];
    }
    assert_eq!(found(&twice), [Promise::OneRollback]);
    let mut refused = record();
    for call in refused.iter_mut().filter(|call| call.method == Method::PATCH) {
        call.delivered = vec![200, 409];
    }
    assert_eq!(found(&refused), [], "the second was not taken");
    let mut soon = record();
    soon.extend(record().into_iter().skip(CACHED.len()).map(|mut call| {
        call.body = Bytes::from(String::from_utf8_lossy(&call.body).replace("ranker-1", "ranker-2"));
        call
    }));
    assert_eq!(found(&soon), [Promise::OneRollback]);
}

#[test]
fn more_than_images_and_one_annotation_or_what_no_policy_names_is_found() {
    let scaled = edited(&Method::PATCH, "/deployments/", |body| {
        body["spec"]["replicas"] = json!(3);
    });
    assert_eq!(found(&scaled), [Promise::OnlyImages]);
    let mut calls = record();
    let patch = json!({"spec": {"template": {}}});
    calls.push(call(Method::PATCH, &format!("{APPS}/other"), &patch, 200, &Value::Null));
    assert_eq!(found(&calls), [Promise::OnlyImages]);
    let mut calls = record();
    calls.push(call(
        Method::DELETE,
        &format!("{APPS}/ranker"),
        &Value::Null,
        200,
        &Value::Null,
    ));
    assert_eq!(found(&calls), [Promise::OnlyImages]);
    let mut calls = record();
    let path = "/api/v1/namespaces/shop/configmaps";
    calls.push(call(Method::POST, path, &Value::Null, 201, &Value::Null));
    assert_eq!(found(&calls), [Promise::OnlyImages]);
}

#[test]
fn another_uid_resource_version_or_revision_than_what_was_judged_is_found() {
    for field in ["uid", "resourceVersion"] {
        let other = edited(&Method::PATCH, "/deployments/", |body| {
            body["metadata"][field] = json!("other");
        });
        assert_eq!(found(&other), [Promise::Fenced]);
        let none = edited(&Method::PATCH, "/deployments/", |body| {
            body["metadata"].as_object_mut().unwrap().remove(field);
        });
        assert_eq!(found(&none), [Promise::Fenced]);
    }
    let newer = edited(&Method::POST, "/qualityincidents", |body| {
        body["spec"]["revision"] = json!("1");
    });
    assert_eq!(found(&newer), [Promise::NewerChange]);
}

#[test]
fn a_write_before_every_cache_of_this_life_was_filled_is_found() {
    for kind in CACHED {
        assert_eq!(
            found(&without(&Method::GET, &format!("/{kind}?"))),
            [Promise::Synced],
            "{kind}"
        );
    }
    let mut unheard = record();
    unheard[0].heard = false;
    assert_eq!(found(&unheard), [Promise::Synced]);
    let mut next_life = record();
    next_life.last_mut().unwrap().life = 1;
    assert_eq!(found(&next_life), [Promise::Synced]);
}

#[test]
fn another_namespace_a_secret_and_an_echo_are_found() {
    let mut elsewhere = record();
    let path = "/api/v1/namespaces/default/events";
    elsewhere.push(call(Method::POST, path, &Value::Null, 201, &Value::Null));
    assert_eq!(found(&elsewhere), [Promise::Local]);
    let mut secret = record();
    let path = "/api/v1/namespaces/shop/secrets/token";
    secret.push(call(Method::GET, path, &Value::Null, 403, &Value::Null));
    assert_eq!(found(&secret), [Promise::NoSecrets]);
    let echo = edited(&Method::PUT, "/status", |body| {
        body["status"]["message"] = json!("it said planted");
    });
    assert_eq!(found(&echo), [Promise::NoEcho]);
}

#[test]
fn a_status_without_typed_conditions_and_its_generation_is_found() {
    for (field, value) in [
        ("reason", json!("not typed")),
        ("status", json!("maybe")),
        ("lastTransitionTime", json!("now")),
    ] {
        let odd = edited(&Method::PUT, "/status", |body| {
            body["status"]["conditions"][0][field] = value.clone();
        });
        assert_eq!(found(&odd), [Promise::Conventions], "{field}");
    }
    let unsaid = edited(&Method::PUT, "/status", |body| {
        body["status"]["observedGeneration"] = Value::Null;
    });
    assert_eq!(found(&unsaid), [Promise::Conventions]);
    let ahead = edited(&Method::PUT, "/status", |body| {
        body["status"]["observedGeneration"] = json!(2);
    });
    assert_eq!(found(&ahead), [Promise::Conventions]);
}
