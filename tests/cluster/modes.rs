//! Who pulls the trigger: modes, pause, conflict, cooldown, and what is done when a breach does not end.

use std::time::Duration;

use quality_api::{IncidentState, QualityIncident, QualityPolicy, conditions};
use serde_json::json;
use stage::{Behaviour, script};

use crate::scene::{Scene, bad, good, image, policy, policy_named, quick, state_of};

/// Long enough for several looks at a failing release to bring it down, if anybody acted on them.
const LONG_ENOUGH: Duration = Duration::from_secs(12);

fn in_mode(mode: &str) -> String {
    policy(&json!({"rollback": {"mode": mode}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn prepare_waits_for_a_persons_approval_and_then_goes_back() {
    let scene = Scene::guarded_by("prepare", &in_mode("Prepare")).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    scene.looks(4.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
    scene.approve(&incident);
    scene.incident(IncidentState::Recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_says_what_it_would_do_and_resolves_when_the_release_gets_healthy() {
    let scene = Scene::guarded_by("observe", &in_mode("Observe")).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Observed).await;
    assert_eq!(incident.spec.checkpoint.as_ref().unwrap().images[0].image, good());
    // Not even on a person's word.
    scene.approve(&incident);
    scene.looks(2.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
    scene.service.behave(&bad(), Behaviour::HEALTHY);
    scene.incident(IncidentState::Resolved).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_policy_does_nothing_and_acts_again_once_it_is_resumed() {
    let scene = Scene::guarded("paused").await;
    scene.edit(&json!({"paused": true}));
    scene.condition("Ready", "Paused").await;
    scene.ship(&bad()).await;
    script::rolled_out(&scene.space, "ranker").await.unwrap();
    scene.nothing_happens_for(LONG_ENOUGH).await;
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
    let resumed = jiff::Timestamp::now();
    scene.edit(&json!({"paused": false}));
    let policy = scene.condition("Ready", "Judging").await;
    let from = policy.status.unwrap().release.unwrap().analysis_from.0;
    assert!(
        from.as_second() >= resumed.as_second() - 4,
        "the analysis starts anew: {from}"
    );
    scene.incident(IncidentState::Recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_given_while_paused_counts_only_after_the_pause() {
    let scene = Scene::guarded_by("paused-approval", &in_mode("Prepare")).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    scene.edit(&json!({"paused": true}));
    scene.condition("Ready", "Paused").await;
    scene.approve(&incident);
    scene.nothing_happens_for(LONG_ENOUGH).await;
    scene.incident(IncidentState::AwaitingApproval).await;
    scene.edit(&json!({"paused": false}));
    scene.incident(IncidentState::Recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_policy_stops_everything_that_it_had_prepared() {
    let scene = Scene::guarded_by("deleted", &in_mode("Prepare")).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    scene.space.kubectl(&["delete", "qualitypolicy", "ranker"]).unwrap();
    scene.approve(&incident);
    scene.nothing_happens_for(LONG_ENOUGH).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
    assert_eq!(
        scene.space.all::<QualityIncident>().await.unwrap().len(),
        1,
        "the record outlives its policy"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_policies_on_one_deployment_both_say_so_and_neither_acts() {
    let scene = Scene::guarded("conflict").await;
    scene.space.apply(&policy_named("second", &json!({}))).unwrap();
    for name in ["ranker", "second"] {
        let policy = scene.condition_of(name, "Ready", "Conflict").await;
        let conditions = policy.status.unwrap().conditions;
        let ready = conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        let other = if name == "ranker" { "second" } else { "ranker" };
        assert!(
            ready.status == "False" && ready.message.contains(other),
            "{}",
            ready.message
        );
    }
    scene.ship(&bad()).await;
    script::rolled_out(&scene.space, "ranker").await.unwrap();
    scene.nothing_happens_for(LONG_ENOUGH).await;
    assert!(scene.space.all::<QualityIncident>().await.unwrap().is_empty());
    scene.space.kubectl(&["delete", "qualitypolicy", "ranker"]).unwrap();
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.policy.name, "second");
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_bad_release_within_the_cooldown_halts_for_a_person() {
    let scene = Scene::guarded("cooldown").await;
    scene.service.behave(&image('c'), Behaviour::FAILING);
    scene.ship(&bad()).await;
    scene.incident(IncidentState::Recovered).await;
    scene.gate("RollbackReady").await;
    scene.ship(&image('c')).await;
    let second = scene.second_incident(IncidentState::Halted).await;
    scene.looks(4.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (image('c'), "4".into()));
    // A person decides for it.
    scene.approve(&second);
    scene.second_incident(IncidentState::Recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "5".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_that_lasts_escalates_once_even_when_nothing_may_be_done() {
    let changes = json!({"rollback": {"mode": "Observe"}, "judgement": {"escalateAfter": "10s"}});
    let scene = Scene::guarded_by("escalates", &policy(&changes)).await;
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Observed).await;
    let escalated = |all: &[QualityIncident]| {
        all.iter()
            .any(|incident| conditions::is_true(&incident.status.clone().unwrap().conditions, "Escalated"))
    };
    let all = scene.incidents("the breach is escalated", escalated).await;
    let status = all[0].status.clone().unwrap();
    let at = status.conditions[0].last_transition_time.0;
    let lasted = at.as_second() - incident.spec.onset.0.as_second();
    assert!((10..40).contains(&lasted), "escalated {lasted} s after the onset");
    scene.looks(4.0).await;
    for kind in ["QualityPolicy", "Deployment"] {
        let reasons = scene.space.event_reasons(kind, "ranker").await.unwrap();
        let count = reasons.iter().filter(|reason| *reason == "Escalated").count();
        assert_eq!(count, 1, "{kind}: {reasons:?}");
    }
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_breaches_too_is_ineffective_and_nothing_flips_back_and_forth() {
    let scene = Scene::guarded_by("ineffective", &quick()).await;
    scene.ship(&bad()).await;
    scene
        .space
        .poll(
            "the Deployment is rolled back",
            Duration::from_secs(90),
            || scene.space.image("ranker"),
            |image| *image == good(),
        )
        .await
        .unwrap();
    scene.service.behave(&good(), Behaviour::FAILING);
    let incident = scene.incident(IncidentState::Ineffective).await;
    assert!(
        incident.status.unwrap().message.contains("the cause lies elsewhere"),
        "a person can read why"
    );
    scene.looks(1.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
    scene.service.behave(&good(), Behaviour::HEALTHY);
    let all = scene
        .incidents("the incident is resolved", |all| {
            all.iter().all(|incident| state_of(incident) == IncidentState::Resolved)
        })
        .await;
    assert_eq!(all.len(), 1, "{all:#?}");
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
    let policy = scene.space.api::<QualityPolicy>().get("ranker").await.unwrap();
    assert_eq!(policy.status.unwrap().release.unwrap().revision, "3");
}
