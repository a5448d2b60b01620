//! A receiver that must know is notified, once, whatever is down or killed meanwhile; and nobody waits for a receiver.

pub mod capture;
mod delivery;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use bed::Alertmanager;
use quality_api::{
    Delivery, DrillMode, IncidentState, NotificationKind, QualityIncident, QualityPolicy, RecoveryDrill,
};
use serde_json::{Value, json};
use stage::{Behaviour, OperatorOptions, Space};

use crate::{
    drills,
    proxy::{Act, Proxy},
    scene::{Scene, bad, checkpoint, good, image, policy, quick, space},
};
use capture::Capture;

/// The good release runs unguarded, under an operator with these receivers.
async fn scene_with(space: Space, receivers: Value) -> Scene {
    let options = OperatorOptions {
        more: json!({"receivers": receivers}),
        ..OperatorOptions::for_namespace(&space.namespace, &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    Scene::set(space, targets, options).await
}

fn webhook(capture: &Capture) -> Value {
    json!({"type": "webhook", "url": capture.url(), "timeoutMilliseconds": 1_000})
}

/// Both usual receivers, each a capturing webhook, and the operator that knows them.
async fn with_webhooks(namespace: &str) -> (Capture, Capture, Scene) {
    let (ops, infra) = (Capture::start().await, Capture::start().await);
    let receivers = json!({"ops-commander": webhook(&ops), "infra-guardian": webhook(&infra)});
    let scene = scene_with(space(namespace).await, receivers).await;
    (ops, infra, scene)
}

/// Who is on record as told what, once all of it is there.
async fn told(scene: &Scene, wanted: &[(&str, NotificationKind)]) -> QualityIncident {
    let wanted: BTreeSet<(String, NotificationKind)> = wanted
        .iter()
        .map(|(receiver, kind)| ((*receiver).to_owned(), *kind))
        .collect();
    let all = scene
        .incidents("every notification is on record", |all| {
            all.iter().any(|incident| pairs(incident) == wanted)
        })
        .await;
    let incident = all.into_iter().find(|incident| pairs(incident) == wanted).unwrap();
    assert_eq!(notified(&incident).len(), wanted.len(), "each once: {incident:#?}");
    incident
}

fn notified(incident: &QualityIncident) -> Vec<Delivery> {
    incident.status.clone().unwrap_or_default().notified
}

fn pairs(incident: &QualityIncident) -> BTreeSet<(String, NotificationKind)> {
    notified(incident)
        .into_iter()
        .map(|told| (told.receiver, told.kind))
        .collect()
}

fn message(policy: &QualityPolicy, kind: &str) -> String {
    let conditions = policy.status.clone().unwrap_or_default().conditions;
    let found = conditions.into_iter().find(|condition| condition.type_ == kind);
    found.map(|condition| condition.message).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_is_raised_in_an_alertmanager_and_resolved_once_it_is_over() {
    let space = space("told-alertmanager").await;
    let folder = space.folder();
    std::fs::create_dir_all(&folder).unwrap();
    let pager = Capture::start().await;
    let url = pager.url();
    let started = tokio::task::spawn_blocking(move || Alertmanager::start(&folder, Some(&url)).unwrap());
    let alertmanager = started.await.unwrap();
    let receivers = json!({"ops-commander": {"type": "alertmanager", "url": alertmanager.url()}});
    let scene = scene_with(space, receivers).await.guard(&quick()).await;
    scene.condition("Notified", "Delivering").await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    let name = incident.metadata.name.clone().unwrap();
    let firing = pager.wait(&scene.space, "the pager rings", |sent| {
        let rings = |name: &str| {
            sent.iter()
                .any(|sent| sent.body["alerts"][0]["labels"]["alertname"] == name)
        };
        rings("QualityBreach") && rings("QualityRolledBack")
    });
    let firing = firing.await;
    let breach = firing.iter().map(|sent| &sent.body["alerts"][0]);
    let breach = breach
        .clone()
        .find(|alert| alert["labels"]["alertname"] == "QualityBreach")
        .unwrap();
    for (label, value) in [
        ("namespace", "told-alertmanager"),
        ("policy", "ranker"),
        ("deployment", "ranker"),
        ("incident", name.as_str()),
        ("trigger", "ErrorRate"),
        ("severity", "critical"),
        ("receiver", "ops-commander"),
    ] {
        assert_eq!(breach["labels"][label], value, "{breach:#}");
    }
    let description = breach["annotations"]["description"].as_str().unwrap();
    assert!(
        description.contains("CI95") && description.contains("evidence"),
        "{description}"
    );
    assert!(
        breach["annotations"]["next"]
            .as_str()
            .unwrap()
            .contains(&format!("{name} -n told-alertmanager"))
    );
    pager
        .wait(&scene.space, "both alerts are resolved", |sent| {
            let resolved = sent.iter().filter(|sent| sent.body["status"] == "resolved").count();
            resolved == 2
        })
        .await;
    told(
        &scene,
        &[
            ("ops-commander", NotificationKind::Breach),
            ("ops-commander", NotificationKind::RolledBack),
            ("ops-commander", NotificationKind::Recovered),
        ],
    )
    .await;
    assert_eq!(alertmanager.alerts().unwrap(), Vec::<Value>::new(), "no alert stands");
    let taken = scene.operator.counter("quality_officer_notifications_total");
    assert!((taken - 3.0).abs() < 0.5, "{taken}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_delays_nothing_and_is_told_once_it_is_up() {
    let ops = Capture::start().await;
    let nobody = Capture::start().await;
    let address = nobody.address();
    drop(nobody);
    let down = json!({"type": "webhook", "url": format!("http://{address}"), "timeoutMilliseconds": 500});
    let receivers = json!({"ops-commander": webhook(&ops), "infra-guardian": down});
    let scene = scene_with(space("told-later").await, receivers)
        .await
        .guard(&quick())
        .await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    let status = incident.status.clone().unwrap();
    let lag = status.patched_at.unwrap().0.as_second() - incident.spec.detected.0.as_second();
    assert!(lag < 15, "the rollback did not wait for a receiver: {lag} s");
    let policy = scene.condition("Notified", "ReceiverNotAnswering").await;
    let text = message(&policy, "Notified");
    assert!(
        text.starts_with("receiver infra-guardian takes no notifications since 20"),
        "{text}"
    );
    let report = scene.report("the report says who is not told", |report| {
        let findings = report.status.clone().unwrap_or_default().findings;
        findings
            .iter()
            .any(|finding| finding.contains("infra-guardian takes no notifications"))
    });
    report.await;
    ops.wait(&scene.space, "the other one was told", |sent| sent.len() == 3)
        .await;
    assert_eq!(ops.kinds(), ["breach", "rolledback", "recovered"]);
    let infra = Capture::at(address).await;
    let sent = infra.wait(&scene.space, "it is told", |sent| !sent.is_empty()).await;
    assert_eq!(infra.kinds(), ["recovered"], "one message for all that it missed");
    assert_eq!(sent[0].body["subject"], incident.metadata.name.clone().unwrap());
    scene.condition("Notified", "Delivering").await;
    let known = scene.incident(IncidentState::Recovered).await;
    assert_eq!(
        notified(&known)
            .iter()
            .filter(|told| told.receiver == "infra-guardian")
            .count(),
        1
    );
    let before = scene.space.api::<QualityPolicy>().get("ranker").await.unwrap();
    assert!(
        before
            .status
            .unwrap()
            .receivers
            .iter()
            .all(|receiver| receiver.failing_since.is_none())
    );
    scene.looks(3.0).await;
    assert_eq!((ops.sent().len(), infra.sent().len()), (3, 1), "nobody is told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_receiver_is_told_what_the_policy_names_and_nothing_from_before() {
    let (ops, infra, scene) = with_webhooks("told-by-kind").await;
    let quiet = policy(&json!({"notify": [], "rollback": {"cooldown": "1s"}}));
    let scene = scene.guard(&quiet).await;
    scene.service.behave(&image('c'), Behaviour::FAILING);
    scene.ship(&bad()).await;
    scene.incident(IncidentState::Recovered).await;
    scene.edit(&json!({"notify": [
        {"receiver": "ops-commander", "on": ["Breach"]},
        {"receiver": "infra-guardian", "on": ["RolledBack"]},
        {"receiver": "nobody"},
    ]}));
    let policy = scene.condition("Notified", "ReceiverUnknown").await;
    assert_eq!(
        message(&policy, "Notified"),
        "the operator's configuration has no receiver nobody"
    );
    scene.looks(3.0).await;
    let kinds = (ops.kinds(), infra.kinds());
    assert_eq!(kinds, (Vec::new(), Vec::new()), "what was over before is not told");
    scene.ship(&image('c')).await;
    scene.second_incident(IncidentState::Recovered).await;
    told(
        &scene,
        &[
            ("ops-commander", NotificationKind::Breach),
            ("ops-commander", NotificationKind::Recovered),
            ("infra-guardian", NotificationKind::RolledBack),
            ("infra-guardian", NotificationKind::Recovered),
        ],
    )
    .await;
    assert_eq!(ops.kinds(), ["breach", "recovered"]);
    assert_eq!(infra.kinds(), ["rolledback", "recovered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_that_lasts_and_a_rollback_path_at_risk_reach_the_infra_guardian() {
    let (ops, infra, scene) = with_webhooks("told-escalated").await;
    let lasting = policy(&json!({
        "judgement": {"escalateAfter": "10s"},
        "checkpoints": {"autoRegister": false},
        "rollback": {"mode": "Observe"},
    }));
    scene.space.apply(&lasting).unwrap();
    // No checkpoint was ever registered.
    infra
        .wait(&scene.space, "the risk is told", |sent| !sent.is_empty())
        .await;
    let risk = infra.taken().remove(0);
    assert_eq!(risk["type"], "dev.quality-officer.atrisk");
    assert!(
        risk["data"]["title"]
            .as_str()
            .unwrap()
            .contains("no checkpoint is registered"),
        "{risk:#}"
    );
    scene.space.apply(&checkpoint("by-hand", &good())).unwrap();
    scene.registered(&good()).await;
    infra
        .wait(&scene.space, "its end is told", |sent| sent.len() == 2)
        .await;
    assert_eq!(infra.kinds(), ["atrisk", "recovered"]);
    assert_eq!(infra.taken()[1]["data"]["began"], risk["data"]["began"]);
    scene.ship(&bad()).await;
    infra
        .wait(&scene.space, "the lasting breach is told", |sent| sent.len() == 3)
        .await;
    assert_eq!(infra.kinds()[2], "sustained");
    let sustained = infra.taken().remove(2);
    assert!(
        sustained["data"]["title"]
            .as_str()
            .unwrap()
            .contains("the breach lasts for"),
        "{sustained:#}"
    );
    let kinds = ops.kinds();
    assert_eq!(kinds, ["atrisk", "recovered", "breach", "sustained"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_drill_reaches_the_infra_guardian_and_so_does_the_one_that_passes() {
    let space = space("told-drill").await;
    let authority = space.endpoints.certificate_authority.clone();
    let authority = authority.expect("a control plane of the bed's own");
    let proxy = Proxy::of_tls(&space.endpoints.api_server, &authority).await.unwrap();
    let infra = Capture::start().await;
    let options = OperatorOptions {
        api_server: Some(proxy.url()),
        more: json!({"receivers": {"infra-guardian": webhook(&infra)}}),
        ..OperatorOptions::for_namespace(&space.namespace, &space.endpoints.prometheus)
    };
    let targets = space.endpoints.prometheus_targets.clone();
    let scene = Scene::set(space, targets, options).await;
    let scene = scene.guard(&policy(&json!({"recovery": {"rto": "1s"}}))).await;
    // Three refusals, and 2 s of patience after each.
    let refused = AtomicUsize::new(0);
    proxy.rule(move |asked| {
        if drills::is_rollback(asked) && refused.fetch_add(1, Ordering::SeqCst) < 3 {
            return drills::unavailable();
        }
        Act::Forward
    });
    drills::ask(&scene, "late", DrillMode::Shadow);
    let drill = drills::finished(&scene, "late").await;
    assert_eq!(drills::result(&drill).0, "Failed", "{drill:#?}");
    infra
        .wait(&scene.space, "the failed drill is told", |sent| !sent.is_empty())
        .await;
    let event = infra.taken().remove(0);
    assert_eq!(
        (&event["type"], &event["subject"]),
        (&json!("dev.quality-officer.drillfailed"), &json!("late"))
    );
    assert_eq!(
        event["data"]["commands"][0],
        "kubectl describe recoverydrill late -n told-drill"
    );
    scene.edit(&json!({"recovery": {"rto": "10m", "rpo": "5m"}}));
    drills::ask(&scene, "in-time", DrillMode::Shadow);
    assert_eq!(drills::result(&drills::finished(&scene, "in-time").await).0, "Passed");
    infra
        .wait(&scene.space, "the end is told", |sent| sent.len() == 2)
        .await;
    assert_eq!(infra.kinds(), ["drillfailed", "recovered"]);
    let on_record = |drill: &RecoveryDrill| drill.status.as_ref().is_some_and(|status| status.notified.len() >= 2);
    let drill = drills::when(&scene, "late", "has both on record", on_record).await;
    let kinds: BTreeSet<NotificationKind> = drill
        .status
        .unwrap()
        .notified
        .into_iter()
        .map(|told| told.kind)
        .collect();
    assert_eq!(
        kinds,
        [NotificationKind::DrillFailed, NotificationKind::Recovered].into()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_names_a_receiver_twice_or_a_kind_that_is_none_is_refused() {
    let space = space("told-refused").await;
    for (notify, words) in [
        (json!([{"receiver": "a"}, {"receiver": "a"}]), "Duplicate value"),
        (json!([{"receiver": "a", "on": ["Everything"]}]), "notify[0].on[0]"),
        (
            json!([{"receiver": "a", "on": ["Breach", "Breach"]}]),
            "Duplicate value",
        ),
        (json!([{"receiver": "a", "on": []}]), "notify[0].on"),
        (json!([{"receiver": "http://evil"}]), "notify[0].receiver"),
        (json!([{"receiver": "a", "url": "http://evil"}]), "url"),
    ] {
        let error = space
            .create(&policy(&json!({"notify": notify})))
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn an_operator_whose_receivers_make_no_sense_does_not_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("operator.yaml");
    let text = "receivers: {ops-commander: {type: slack, url: 'https://hooks.slack.com/services/T0/B0/XSECRETX'}}";
    std::fs::write(&config, text).unwrap();
    let program = workload::harness::program("quality-officer").unwrap();
    let output = std::process::Command::new(program)
        .args(["run", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        error.contains("receivers.ops-commander: a Slack URL is a secret"),
        "{error}"
    );
    assert!(!error.contains("XSECRETX"), "{error}");
}
