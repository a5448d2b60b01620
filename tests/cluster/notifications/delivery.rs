//! How a message gets through: forms, credentials, proxies, failures, restarts.

use std::time::{Duration, Instant};

use axum::http::{StatusCode, header};
use bed::certificates::Authority;
use k8s_openapi::api::core::v1::Event;
use quality_api::{IncidentState, QualityIncident, QualityPolicy, QualityReport};
use serde_json::json;

use super::{
    capture::{Capture, Reply, Sent},
    scene_with, webhook,
};
use crate::scene::{Scene, bad, policy, quick, space};

/// Part of a URL, a token and a password that nobody may ever see.
const SECRETS: [&str; 3] = ["B0SECRETPATH", "SECRETTOKEN", "SECRETPASSWORD"];

/// Nothing that the operator wrote or serves holds a secret or an answer of a receiver.
async fn nothing_leaked(scene: &Scene) {
    let space = &scene.space;
    let objects = format!(
        "{:?}{:?}{:?}{:?}",
        space.all::<QualityPolicy>().await.unwrap(),
        space.all::<QualityIncident>().await.unwrap(),
        space.all::<QualityReport>().await.unwrap(),
        space.all::<Event>().await.unwrap(),
    );
    let log = std::fs::read_to_string(scene.operator.log()).unwrap();
    let metrics = scene.operator.get("/metrics").unwrap();
    for secret in SECRETS.into_iter().chain(["an answer that is not repeated"]) {
        for (place, text) in [("objects", &objects), ("log", &log), ("metrics", &metrics)] {
            assert!(!text.contains(secret), "{secret} is in the {place}");
        }
    }
}

fn slack_got_a_text(sent: &[Sent], name: &str) {
    assert_eq!(sent[0].uri.path(), format!("/services/T0/{}", SECRETS[0]));
    assert_eq!(sent[0].headers[header::CONTENT_TYPE], "application/json");
    let text = sent[2].body["text"].as_str().unwrap();
    for words in [
        "*Breach told-forms/ranker: error rate ",
        "CI95",
        "*How sure:*",
        "evidence",
        "needs",
        "*Done:*",
        "*Next:*",
        " -n told-forms```",
        name,
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
}

fn the_webhook_got_cloud_events(events: &[Sent], name: &str, uid: &str) {
    assert_eq!(events.len(), 4, "{events:#?}");
    assert_eq!(
        events[0].body["id"], events[1].body["id"],
        "sent again, it is the same event"
    );
    let kinds = ["Breach", "RolledBack", "Recovered"];
    for (event, kind) in events[1..].iter().zip(kinds) {
        assert_eq!(event.uri.to_string(), "http://hooks.invalid/quality?team=infra");
        assert_eq!(event.headers[header::AUTHORIZATION], format!("Bearer {}", SECRETS[1]));
        assert_eq!(
            event.headers[header::CONTENT_TYPE],
            "application/cloudevents+json; charset=utf-8"
        );
        let body = &event.body;
        assert_eq!(body["specversion"], "1.0");
        assert_eq!(body["id"], format!("{uid}.{kind}"));
        assert_eq!(body["type"], format!("dev.quality-officer.{}", kind.to_lowercase()));
        assert_eq!(
            body["source"],
            "/apis/quality-officer.dev/v1alpha1/namespaces/told-forms/qualitypolicies/ranker"
        );
        assert_eq!(body["subject"], name);
        assert_eq!(body["datacontenttype"], "application/json");
        assert!(body["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(body["data"]["incident"], name);
        assert!(
            body.as_object()
                .unwrap()
                .keys()
                .all(|key| key.bytes().all(|b| b.is_ascii_lowercase()))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_get_through_tls_and_a_proxy_in_the_form_that_each_receiver_takes() {
    let space = space("told-forms").await;
    let folder = space.folder();
    std::fs::create_dir_all(&folder).unwrap();
    let authority = Authority::new().unwrap();
    let client = authority.client("quality-officer", None).unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let slack = Capture::tls(&authority).await;
    let proxy = Capture::start().await;
    let url = format!("{}/services/T0/{}", slack.url(), SECRETS[0]);
    let receivers = json!({
        "ops-commander": {
            "type": "slack",
            "urlFile": file("slack-url", &format!("{url}\n")),
            "caFile": file("ca.crt", &authority.identity().certificate),
            "clientCertificateFile": file("client.crt", &client.certificate),
            "clientKeyFile": file("client.key", &client.key),
            "timeoutMilliseconds": 1_000,
        },
        "infra-guardian": {
            "type": "webhook",
            "url": "http://hooks.invalid/quality?team=infra",
            "bearerTokenFile": file("token", SECRETS[1]),
            "proxy": proxy.url(),
            "timeoutMilliseconds": 1_000,
        },
        "auditor": {
            "type": "webhook",
            "url": proxy.url(),
            "basicAuth": {"username": "quality", "passwordFile": file("password", SECRETS[2])},
            "timeoutMilliseconds": 1_000,
        },
    });
    slack.rule(|number| match number {
        0 => Reply::Later(1),
        1 => Reply::Status(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Reply::Status(StatusCode::OK),
    });
    proxy.rule(|number| match number {
        0 => Reply::Slow(Duration::from_secs(5)),
        _ => Reply::Status(StatusCode::OK),
    });
    let named = policy(&json!({"notify": [
        {"receiver": "ops-commander"},
        {"receiver": "infra-guardian"},
        {"receiver": "auditor", "on": ["Recovered"]},
    ]}));
    let scene = scene_with(space, receivers).await.guard(&named).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    let (name, uid) = (incident.metadata.name.unwrap(), incident.metadata.uid.unwrap());

    let sent = slack
        .wait(&scene.space, "Slack has all three", |sent| sent.len() == 5)
        .await;
    slack_got_a_text(&sent, &name);
    let all = proxy
        .wait(&scene.space, "the proxy passed all on", |sent| sent.len() == 5)
        .await;
    let (events, audited): (Vec<Sent>, Vec<Sent>) = all
        .into_iter()
        .partition(|sent| sent.uri.host() == Some("hooks.invalid"));
    the_webhook_got_cloud_events(&events, &name, &uid);
    assert_eq!(audited.len(), 1, "{audited:#?}");
    let shown = audited[0].headers[header::AUTHORIZATION].to_str().unwrap();
    assert!(shown.starts_with("Basic "), "{shown}");
    let failed = scene.operator.counter("quality_officer_notification_failures_total");
    assert!((failed - 3.0).abs() < 0.5, "{failed}");
    nothing_leaked(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_notification_waits_it_is_delivered_after_the_restart_as_the_same() {
    let (ops, elsewhere) = (Capture::start().await, Capture::start().await);
    let receivers = json!({"ops-commander": webhook(&ops)});
    let prepared = policy(&json!({"rollback": {"mode": "Prepare"}}));
    let mut scene = scene_with(space("told-restart").await, receivers)
        .await
        .guard(&prepared)
        .await;
    let away = elsewhere.address();
    ops.rule(move |_| Reply::Elsewhere(away));
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    ops.wait(&scene.space, "it is tried", |sent| sent.len() >= 2).await;
    scene.operator.kill();
    let tried = ops.sent();
    assert!(elsewhere.sent().is_empty(), "no redirect is followed");
    assert!(
        tried
            .iter()
            .all(|sent| sent.body["type"] == "dev.quality-officer.breach")
    );
    ops.rule(|_| Reply::Status(StatusCode::OK));
    scene.operator.restart().unwrap();
    ops.wait(&scene.space, "it is delivered", |sent| {
        sent.iter().any(|sent| sent.answered == StatusCode::OK)
    })
    .await;
    let delivered = ops.taken().remove(0);
    assert_eq!(delivered["id"], tried[0].body["id"]);
    assert_eq!(delivered["time"], tried[0].body["time"]);
    let command = format!(
        "kubectl annotate qualityincident {} -n told-restart quality-officer.dev/approve=true",
        incident.metadata.name.clone().unwrap()
    );
    assert_eq!(delivered["data"]["commands"][0], command);
    // On record, so that another restart tells it no second time.
    let recorded = |all: &[QualityIncident]| all[0].status.as_ref().is_some_and(|status| status.notified.len() == 1);
    scene.incidents("it is on record", recorded).await;
    scene.operator.restart().unwrap();
    scene.looks(3.0).await;
    assert_eq!(ops.kinds(), ["breach"]);
    scene
        .space
        .kubectl(&command.split(' ').skip(1).collect::<Vec<_>>())
        .unwrap();
    scene.incident(IncidentState::Recovered).await;
    ops.wait(&scene.space, "the rest is told", |_| ops.kinds().len() == 3)
        .await;
    assert_eq!(ops.kinds(), ["breach", "rolledback", "recovered"]);
    nothing_leaked(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_with_receivers_is_silent_while_nothing_happens() {
    let ops = Capture::start().await;
    let receivers = json!({"ops-commander": webhook(&ops), "infra-guardian": webhook(&ops)});
    let scene = scene_with(space("told-nothing").await, receivers)
        .await
        .guard(&quick())
        .await;
    scene.condition("Notified", "Delivering").await;
    // Figures are renewed every four minutes, and while evidence grows: a stretch of looks between two such writes.
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let begin = jiff::Timestamp::now();
        scene.looks(8.0).await;
        let writes = scene.writes_since(begin);
        if writes.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{writes:?}");
    }
    assert!(ops.sent().is_empty(), "{:#?}", ops.sent());
}
