//! The report as it was at each review and at the end of each incident: kept once, whatever restarts, and no more than the
//! policy says.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::Method;
use futures::future::join_all;
use quality_api::{IncidentState, QualityIncident, QualityReport, QualityReportSnapshot, SnapshotOf, conditions};
use serde_json::json;

use crate::{
    plugin::said,
    proxy::Act,
    restarts::{Fault, behind_a_proxy},
    scene::{Scene, bad, policy},
};

async fn snapshots(
    scene: &Scene,
    what: &str,
    holds: impl Fn(&[QualityReportSnapshot]) -> bool,
) -> Vec<QualityReportSnapshot> {
    let found = scene.space.wait_all(what, Duration::from_secs(150), holds).await;
    found.unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()))
}

fn of(all: &[QualityReportSnapshot], kind: SnapshotOf) -> Vec<String> {
    let names = all.iter().filter(|snapshot| snapshot.spec.of == kind);
    names.map(|snapshot| snapshot.metadata.name.clone().unwrap()).collect()
}

fn is_told(incident: &QualityIncident) -> bool {
    conditions::is_true(&incident.status.clone().unwrap_or_default().conditions, "SnapshotTaken")
}

async fn survives(fault: Fault) {
    let (proxy, mut scene) = behind_a_proxy(&format!("snapshot-{fault:?}").to_lowercase()).await;
    let occurred = Arc::new(AtomicBool::new(false));
    let mark = occurred.clone();
    proxy.rule(move |asked| {
        let is_it = asked.method == Method::POST && asked.path.contains("/qualityreportsnapshots");
        if !is_it || mark.swap(true, Ordering::SeqCst) {
            return Act::Forward;
        }
        match fault {
            Fault::KilledBefore => Act::Swallow,
            Fault::KilledAfter | Fault::AnswerLost => Act::LoseAnswer,
            Fault::DeliveredTwice => Act::Twice,
        }
    });
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await.metadata.name.unwrap();
    scene
        .space
        .poll(
            "the fault",
            Duration::from_secs(60),
            || async { Ok(occurred.load(Ordering::SeqCst)) },
            |done| *done,
        )
        .await
        .unwrap();
    if fault == Fault::KilledAfter {
        snapshots(&scene, "it is taken", |all| !all.is_empty()).await;
    }
    if matches!(fault, Fault::KilledBefore | Fault::KilledAfter) {
        scene.operator.kill();
        scene.operator.restart().unwrap();
    }
    scene
        .incidents("the incident says so", |all| all.iter().all(is_told))
        .await;
    scene.looks(2.0).await;
    let all = scene.space.all::<QualityReportSnapshot>().await.unwrap();
    assert_eq!(
        of(&all, SnapshotOf::Incident),
        std::slice::from_ref(&incident),
        "{fault:?}"
    );
    let snapshot = all
        .iter()
        .find(|snapshot| snapshot.spec.of == SnapshotOf::Incident)
        .unwrap();
    let log = &snapshot.spec.report.sections[9];
    assert_eq!(log.rows.len(), 1, "{log:#?}");
    assert_eq!(
        (&log.rows[0][0], log.rows[0][3].as_str(), log.rows[0][5].as_str()),
        (&incident, "rolled back", "yes")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_an_incidents_end_is_neither_lost_nor_doubled() {
    let faults = [
        Fault::KilledBefore,
        Fault::KilledAfter,
        Fault::AnswerLost,
        Fault::DeliveredTwice,
    ];
    join_all(faults.map(survives)).await;
}

/// A snapshot as an earlier day left it.
fn old(name: &str, kind: &str) -> String {
    json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityReportSnapshot",
        "metadata": {"name": name, "labels": {
            "quality-officer.dev/policy": "ranker", "quality-officer.dev/snapshot-of": kind,
        }},
        "spec": {
            "policyRef": {"name": "ranker"}, "policyUid": "before", "of": kind, "at": "2026-11-20T00:00:00Z",
            "report": {"verdict": "HEALTHY", "slos": "6/6"},
        },
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_review_keeps_the_report_and_the_oldest_beyond_the_limit_go() {
    let reviewed = policy(&json!({"report": {"review": "1m", "keep": 2}}));
    let scene = Scene::guarded_by("reviews", &reviewed).await;
    for (name, kind) in [
        ("r1", "Review"),
        ("r2", "Review"),
        ("i1", "Incident"),
        ("i2", "Incident"),
        ("i3", "Incident"),
    ] {
        scene.space.create(&old(name, kind)).unwrap();
    }
    let done = |all: &[QualityReportSnapshot]| {
        let reviews = of(all, SnapshotOf::Review);
        reviews.iter().any(|name| name.starts_with("ranker-")) && reviews.len() == 2
    };
    let all = snapshots(&scene, "a review was kept and the oldest deleted", done).await;
    assert!(of(&all, SnapshotOf::Review).contains(&"r2".to_owned()), "{all:#?}");
    assert_eq!(
        of(&all, SnapshotOf::Incident),
        ["i1", "i2", "i3"],
        "a review pushes out no incident"
    );
    let taken = all
        .iter()
        .find(|snapshot| snapshot.spec.policy_uid != "before")
        .unwrap();
    let (name, at) = (taken.metadata.name.clone().unwrap(), taken.spec.at.0);
    assert_eq!(name, format!("ranker-{}", at.strftime("%Y%m%d-%H%M")));
    assert_eq!(at.as_second() % 60, 0);
    let report = &taken.spec.report;
    assert_eq!(report.sections.len(), 13);
    assert!(report.last_line.starts_with("Quality & Safety Officer Final Verdict: "));
    let next = jiff::Timestamp::from_second(at.as_second() + 60).unwrap();
    let line = format!("- Next Review: {}", next.strftime("%Y-%m-%d %H:%M:%S UTC"));
    assert!(
        report.sections[12].text.contains(&line),
        "{line}\n{}",
        report.sections[12].text
    );
    // The living report is one line of kubectl, and its object is small.
    let listed = scene.space.kubectl(&["get", "qualityreports", "--no-headers"]).unwrap();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    let living = scene.space.api::<QualityReport>().get("ranker").await.unwrap();
    let bytes = serde_json::to_vec(&living).unwrap().len();
    println!("a report of a service under metrics alone has {bytes} bytes");
    assert!(bytes < 32 << 10, "{bytes} bytes");
    let status = living.status.unwrap();
    assert!(status.reviewed_at.is_some_and(|reviewed| reviewed.0 >= at));
    // On-call reads it, and nobody changes it.
    let list = said(&scene, &["report", "ranker", "--at", "list"]);
    assert!(
        list.starts_with("SNAPSHOT") && list.contains(&name) && list.contains("i3"),
        "{list}"
    );
    let text = said(&scene, &["report", "ranker", "--at", &name]);
    assert!(text.starts_with(&format!("Snapshot {name}: review of ")), "{text}");
    assert!(text.contains("\nreviews/ranker: "), "{text}");
    let changed = json!({"spec": {"of": "Incident"}});
    let refused = scene
        .space
        .merge("qualityreportsnapshot", &name, &changed)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("a snapshot is a record: it never changes"),
        "{refused}"
    );
    // They outlive their policy.
    scene.space.kubectl(&["delete", "qualitypolicy", "ranker"]).unwrap();
    scene.looks(0.0).await;
    assert!(scene.space.all::<QualityReportSnapshot>().await.unwrap().len() >= 5);
}
