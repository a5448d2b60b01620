//! No rollback on data that are missing, old, broken or in doubt, and a rollback once they are there again.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
};
use bed::{Prometheus, PrometheusOptions};
use quality_api::{IncidentState, QualityIncident, QualityPolicy, QualityReport, RollbackCheckpoint, SloRow};
use quality_core::incident::Trigger;
use serde_json::{Value, json};
use stage::{Behaviour, Layout, OperatorOptions, script::Instead};

use crate::{
    proxy::{Act, Asked, Proxy, answer, endless},
    scene::{Scene, bad, good, image, merge, policy, quick, space},
};

const MAX_ANSWER: u64 = 1 << 20;

/// A guarded release whose metrics come through a proxy.
async fn behind_a_proxy(namespace: &str) -> (Proxy, Scene) {
    let space = space(namespace).await;
    let proxy = Proxy::of(&space.endpoints.prometheus).await.unwrap();
    let options = OperatorOptions {
        timeout: Duration::from_secs(2),
        max_answer_bytes: MAX_ANSWER,
        ..OperatorOptions::for_namespace(namespace, &proxy.url())
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let scene = Scene::set(space, targets, options).await.guard(&quick()).await;
    (proxy, scene)
}

/// The bad release runs, and nothing was done about it.
async fn is_left_alone(scene: &Scene, case: &str) {
    let incidents = scene.space.all::<QualityIncident>().await.unwrap();
    assert_eq!(
        (scene.runs().await, scene.revision().await, incidents.len()),
        (bad(), "2".to_owned(), 0),
        "{case}: {incidents:#?}"
    );
}

/// Waits until the condition `Evaluated` has this reason and a message with these words.
async fn judged(scene: &Scene, case: &str, reason: &str, words: &str) {
    let has = |policy: &QualityPolicy| {
        let conditions = policy.status.clone().unwrap_or_default().conditions;
        conditions.iter().any(|condition| {
            condition.type_ == "Evaluated"
                && condition.status == "Unknown"
                && condition.reason == reason
                && condition.message.contains(words)
        })
    };
    let what = format!("{case}: condition Evaluated has reason {reason} and says {words:?}");
    let found = scene.space.wait(&what, "ranker", Duration::from_secs(60), has).await;
    found.unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));
}

fn text(status: StatusCode, text: &'static str) -> Act {
    Act::Answer(answer(status, text))
}

/// Every count of an answer of Prometheus becomes NaN; the times of the samples stay.
fn to_nan(body: Vec<u8>) -> Vec<u8> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    let spoil = |sample: &mut Value| {
        let value = sample[1].as_str().and_then(|text| text.parse::<f64>().ok());
        if value.is_some_and(|value| value < 1e9) {
            sample[1] = json!("NaN");
        }
    };
    for series in answer["data"]["result"].as_array_mut().into_iter().flatten() {
        series.get_mut("value").into_iter().for_each(spoil);
        let samples = series.get_mut("values").and_then(Value::as_array_mut);
        samples.into_iter().flatten().for_each(spoil);
    }
    answer.to_string().into_bytes()
}

fn with_warnings(body: Vec<u8>) -> Vec<u8> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    answer["warnings"] = json!(["a store did not answer"]);
    answer.to_string().into_bytes()
}

fn half(mut body: Vec<u8>) -> Vec<u8> {
    body.truncate(body.len() / 2);
    body
}

/// The time of the query lies in an odd look.
fn is_odd_look(asked: &Asked) -> bool {
    let query = asked.path.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let time = query.split('&').find_map(|pair| pair.strip_prefix("time="));
    time.and_then(|time| time.parse::<i64>().ok())
        .is_some_and(|time| time / 2 % 2 == 1)
}

type Case = (&'static str, fn(&Asked) -> Act, &'static str, &'static str);

const CASES: [Case; 12] = [
    (
        "status 500",
        |_| text(StatusCode::INTERNAL_SERVER_ERROR, "down"),
        "ProviderError",
        "with status 500",
    ),
    (
        "status 429",
        |_| text(StatusCode::TOO_MANY_REQUESTS, ""),
        "ProviderError",
        "with status 429",
    ),
    (
        "a redirect",
        |_| {
            let mut elsewhere = answer(StatusCode::FOUND, Body::empty());
            let location = HeaderValue::from_static("http://127.0.0.1:9/");
            elsewhere.headers_mut().insert(header::LOCATION, location);
            Act::Answer(elsewhere)
        },
        "ProviderError",
        "with status 302",
    ),
    (
        "a page",
        |_| text(StatusCode::OK, "<html>Sign in</html>"),
        "ProviderError",
        "is not one of the Prometheus",
    ),
    (
        "half an answer",
        |_| Act::Change(half),
        "ProviderError",
        "is not one of the Prometheus",
    ),
    (
        "a failed query",
        |_| {
            text(
                StatusCode::OK,
                r#"{"status":"error","errorType":"execution","error":"secret"}"#,
            )
        },
        "ProviderError",
        "said that the query failed",
    ),
    ("no answer", |_| Act::Swallow, "ProviderError", "did not answer in time"),
    (
        "an answer that drips",
        |_| Act::Answer(answer(StatusCode::OK, endless(b" ", Duration::from_millis(100)))),
        "ProviderError",
        "did not answer in time",
    ),
    (
        "an answer without end",
        |_| Act::Answer(answer(StatusCode::OK, endless(&[b' '; 65_536], Duration::ZERO))),
        "ProviderError",
        "an answer longer than 1048576 bytes",
    ),
    (
        "a compressed bomb",
        |_| {
            let mut bomb = answer(StatusCode::OK, vec![0x1f; 100_000]);
            let gzip = HeaderValue::from_static("gzip");
            bomb.headers_mut().insert(header::CONTENT_ENCODING, gzip);
            Act::Answer(bomb)
        },
        "ProviderError",
        "is not one of the Prometheus",
    ),
    (
        "warnings",
        |_| Act::Change(with_warnings),
        "Partial",
        "may be incomplete",
    ),
    ("NaN", |_| Act::Change(to_nan), "BadValue", "error rate is not known"),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_that_is_not_whole_and_sound_rolls_back_and_the_next_good_one_does() {
    let (proxy, scene) = behind_a_proxy("bad-answers").await;
    proxy.rule(CASES[0].1);
    scene.ship(&bad()).await;
    for (case, act, reason, words) in CASES {
        proxy.rule(act);
        judged(&scene, case, reason, words).await;
        scene.looks(1.0).await;
        is_left_alone(&scene, case).await;
    }
    let policy = scene
        .space
        .kubectl(&["get", "qualitypolicy", "ranker", "-o", "yaml"])
        .unwrap();
    assert!(!policy.contains("secret"), "no answer's words reach the status");
    proxy.behave();
    scene.incident(IncidentState::Recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_answer_is_no_data_and_rolls_nothing_back() {
    let (proxy, scene) = behind_a_proxy("empty-answers").await;
    proxy.rule(|asked| {
        let kind = if asked.path.contains("query_range") {
            "matrix"
        } else {
            "vector"
        };
        let body = json!({"status": "success", "data": {"resultType": kind, "result": []}});
        Act::Answer(answer(StatusCode::OK, body.to_string()))
    });
    scene.ship(&bad()).await;
    judged(&scene, "empty", "NoData", "error rate is not known").await;
    scene.looks(4.0).await;
    is_left_alone(&scene, "empty").await;
    proxy.behave();
    scene.incident(IncidentState::Recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_that_are_good_and_broken_in_turn_move_nothing() {
    let (proxy, scene) = behind_a_proxy("in-turn").await;
    proxy.rule(|asked| {
        if is_odd_look(asked) {
            Act::Change(to_nan)
        } else {
            Act::Forward
        }
    });
    scene.service.behave(&image('c'), Behaviour::HEALTHY);
    scene.ship(&image('c')).await;
    // Good enough for a checkpoint, on the good readings.
    scene.registered(&image('c')).await;
    scene.looks(6.0).await;
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
    assert_eq!((scene.runs().await, scene.revision().await), (image('c'), "2".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pods_show_that_is_old_missing_or_no_number_rolls_nothing_back() {
    let scene = Scene::guarded("bad-samples").await;
    let instead = |instead| Behaviour {
        instead,
        ..Behaviour::FAILING
    };
    scene.service.behave(&bad(), instead(Some(Instead::Old)));
    scene.ship(&bad()).await;
    for (case, wrong, reason) in [
        ("old samples", Instead::Old, "Stale"),
        ("a broken exporter", Instead::NotANumber, "BadValue"),
        ("no exporter", Instead::Down, "NoData"),
    ] {
        scene.service.behave(&bad(), instead(Some(wrong)));
        judged(&scene, case, reason, "error rate is not known").await;
        scene.looks(3.0).await;
        is_left_alone(&scene, case).await;
    }
    scene.service.behave(&bad(), instead(None));
    scene.incident(IncidentState::Recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_that_is_down_rolls_nothing_back_until_it_is_up_again() {
    let space = space("prometheus-down").await;
    let targets = space.folder().join("targets");
    let options = PrometheusOptions {
        scrape_interval: Duration::from_secs(1),
        targets: Some(targets.clone()),
        ..PrometheusOptions::default()
    };
    let endpoints = space.endpoints.clone();
    std::fs::create_dir_all(&targets).unwrap();
    let mut prometheus = tokio::task::spawn_blocking(move || Prometheus::start(&endpoints, options).unwrap())
        .await
        .unwrap();
    let options = OperatorOptions::for_namespace("prometheus-down", &prometheus.url());
    let scene = Scene::set(space, targets, options).await.guard(&quick()).await;
    prometheus.kill();
    scene.ship(&bad()).await;
    judged(&scene, "down", "ProviderError", "did not answer").await;
    // Nothing is looked at for now, so there are no looks to count.
    scene.nothing_happens_for(Duration::from_secs(10)).await;
    is_left_alone(&scene, "down").await;
    let prometheus = tokio::task::spawn_blocking(move || {
        prometheus.restart().unwrap();
        prometheus
    })
    .await
    .unwrap();
    scene.incident(IncidentState::Recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
    drop(prometheus);
}

/// A policy for a server that counts its failures apart, with these errors.
fn counted_apart(errors: &Value) -> String {
    let mut custom = json!({"requests": {"metric": "requests_total"}, "latency": {"metric": "request_seconds"}});
    merge(&mut custom, errors);
    policy(&json!({"metrics": {"preset": "custom", "custom": custom}}))
}

/// The error rate in the report's summary, once it holds.
async fn error_rate(scene: &Scene, what: &str, holds: impl Fn(&SloRow) -> bool) -> SloRow {
    let row = |report: &QualityReport| {
        let rows = report.status.clone().unwrap_or_default().slo_summary;
        rows.into_iter().find(|row| row.slo == "Error Rate")
    };
    let report = scene
        .report(what, |report| row(report).as_ref().is_some_and(&holds))
        .await;
    row(&report).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_nobody_counts_are_no_zero_and_no_checkpoint() {
    let scene = Scene::unguarded("not-counted").await;
    scene.service.speak(Layout::Apart);
    let no_failures = Behaviour {
        errors: 0.0,
        ..Behaviour::HEALTHY
    };
    scene.service.behave(&good(), no_failures);
    let code = json!([{"label": "code", "operator": "Matches", "value": "5.."}]);
    for (case, errors, selector) in [
        ("no such metric", json!({"metric": "failures_total"}), "failures_total"),
        (
            "no such label",
            json!({"metric": "requests_total", "matchers": code}),
            "requests_total{code=~\"5..\"}",
        ),
        // The right one: that its first failure brings it is for a person to say.
        ("no failure yet", json!({"metric": "failed_total"}), "failed_total"),
    ] {
        scene.space.apply(&counted_apart(&json!({"errors": errors}))).unwrap();
        judged(&scene, case, "ErrorsNotSeen", selector).await;
        // Thousands of requests, for longer than it takes to register a release.
        scene.looks(6.0).await;
        judged(&scene, case, "ErrorsNotSeen", selector).await;
        let found = error_rate(&scene, case, |row| row.evidence.contains(selector)).await;
        assert_eq!(
            (found.current.as_str(), found.status.as_str()),
            ("—", "unsupported"),
            "{case}: {found:?}"
        );
        assert!(
            scene.space.all::<RollbackCheckpoint>().await.unwrap().is_empty(),
            "{case}"
        );
    }
    let errors = json!({"errors": {"metric": "failed_total"}, "errorsWhenAbsent": "Zero"});
    scene.space.apply(&counted_apart(&errors)).unwrap();
    scene.registered(&good()).await;
    let found = error_rate(&scene, "no failure is a pass", |row| row.status == "PASSING").await;
    assert!(found.current.starts_with("0.00%"), "{found:?}");
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(
        (incident.spec.trigger, scene.runs().await),
        (Trigger::ErrorRate, good())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metrics_source_that_is_not_configured_is_named() {
    let scene = Scene::unguarded("no-source").await;
    let elsewhere = policy(&json!({"metrics": {"source": "elsewhere"}}));
    scene.space.apply(&elsewhere).unwrap();
    let policy = scene.condition("Ready", "SourceNotFound").await;
    let conditions = policy.status.unwrap().conditions;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert!(
        ready.status == "False" && ready.message.contains("elsewhere"),
        "{}",
        ready.message
    );
}
