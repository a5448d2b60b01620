//! Drills on a schedule.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::http::Method;
use kube::ResourceExt;
use quality_api::{DrillState, RecoveryDrill};
use serde_json::json;

use crate::{
    drills::{nothing_is_left, state_of},
    proxy::Act,
    restarts::behind_a_proxy,
    scene::{Scene, policy},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_fires_once_an_instant_also_over_restarts_and_keeps_few_records() {
    let every_minute = policy(&json!({"drill": {"schedule": "* * * * *", "timeZone": "Europe/Berlin", "keep": 1}}));
    let mut scene = Scene::guarded_by("drill-schedule", &every_minute).await;
    scene.condition("DrillScheduled", "Scheduled").await;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for round in 1..=2 {
        let known = seen.clone();
        let is_new =
            |drill: &RecoveryDrill| state_of(drill) == DrillState::Finished && !known.contains(&drill.name_any());
        let found = scene
            .space
            .wait_all(
                &format!("a drill of round {round}"),
                Duration::from_secs(150),
                |all: &[RecoveryDrill]| all.iter().any(is_new),
            )
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", scene.operator.log_tail()));
        for drill in found.iter().filter(|drill| is_new(drill)) {
            assert_eq!(drill.status.as_ref().unwrap().result, "Passed", "{drill:#?}");
            let at = drill.annotations()["quality-officer.dev/scheduled-at"].clone();
            assert!(at.ends_with(":00Z"), "{at}");
        }
        seen.extend(found.iter().map(ResourceExt::name_any));
        // Of an instant that was dealt with, nothing comes again.
        scene.operator.restart().unwrap();
        scene.looks(3.0).await;
    }
    let log = std::fs::read_to_string(scene.operator.log()).unwrap();
    let mut made: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("drill scheduled"))
        .filter_map(|line| line.split("drill=").nth(1)?.split_whitespace().next())
        .collect();
    let all = made.len();
    made.sort_unstable();
    made.dedup();
    assert_eq!(made.len(), all, "each instant once: {made:?}");
    // The schedule goes on; what is kept of it is one finished record.
    let few = |all: &[RecoveryDrill]| {
        let done = all
            .iter()
            .filter(|drill| state_of(drill) == DrillState::Finished)
            .count();
        done == 1
    };
    scene.edit(&json!({"drill": {"suspend": true}}));
    scene.condition("DrillScheduled", "Suspended").await;
    let within = Duration::from_secs(60);
    scene.space.wait_all("one record is kept", within, few).await.unwrap();
    nothing_is_left(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_never_fires_or_an_unknown_zone_is_told_and_nothing_else_stops() {
    let never = policy(&json!({"drill": {"schedule": "0 0 31 2 *"}}));
    let scene = Scene::guarded_by("drill-never", &never).await;
    scene.condition("DrillScheduled", "NeverFires").await;
    scene.edit(&json!({"drill": {"schedule": "0 3 * * 0", "timeZone": "Europe/Atlantis"}}));
    scene.condition("DrillScheduled", "UnknownTimeZone").await;
    scene.condition("Ready", "Judging").await;
    scene.edit(&json!({"drill": {"schedule": "0 3 * * 0", "timeZone": "Europe/Berlin"}}));
    let policy = scene.condition("DrillScheduled", "Scheduled").await;
    assert!(policy.status.unwrap().drill.unwrap().next.is_some());
    scene.edit(&json!({"drill": null}));
    let gone = |policy: &quality_api::QualityPolicy| {
        let status = policy.status.clone().unwrap_or_default();
        status.drill.is_none()
            && status
                .conditions
                .iter()
                .all(|condition| condition.type_ != "DrillScheduled")
    };
    let within = Duration::from_secs(60);
    scene
        .space
        .wait("no word of drills", "ranker", within, gone)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_drill_is_made_once_though_the_operator_was_killed_right_after() {
    let (proxy, mut scene) = behind_a_proxy("drill-made-once").await;
    let begin = jiff::Timestamp::now();
    let occurred = Arc::new(AtomicBool::new(false));
    let mark = occurred.clone();
    proxy.rule(move |asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        if asked.method == Method::POST && path.ends_with("/recoverydrills") && !mark.swap(true, Ordering::SeqCst) {
            return Act::LoseAnswer;
        }
        Act::Forward
    });
    scene.edit(&json!({"drill": {"schedule": "* * * * *"}}));
    let made = |all: &[RecoveryDrill]| !all.is_empty();
    let within = Duration::from_secs(120);
    scene.space.wait_all("a drill is made", within, made).await.unwrap();
    scene.operator.restart().unwrap();
    let done = |all: &[RecoveryDrill]| all.iter().any(|drill| state_of(drill) == DrillState::Finished);
    scene.space.wait_all("a drill is finished", within, done).await.unwrap();
    scene.edit(&json!({"drill": {"suspend": true}}));
    scene.condition("DrillScheduled", "Suspended").await;
    let writes = scene.writes_since(begin);
    let created = writes
        .iter()
        .filter(|(verb, what, status)| (verb.as_str(), what.as_str(), *status) == ("create", "recoverydrills", 201));
    let drills = scene.space.all::<RecoveryDrill>().await.unwrap();
    assert_eq!(created.count(), drills.len(), "{writes:#?}");
    let instants: BTreeSet<&String> = drills
        .iter()
        .map(|drill| &drill.annotations()["quality-officer.dev/scheduled-at"])
        .collect();
    assert_eq!(instants.len(), drills.len(), "one an instant: {instants:?}");
}
