//! A breach is rolled back to the checkpoint's digest: once, with one incident, and told.

use quality_api::{IncidentState, QualityIncident, Trigger};
use quality_core::slo::Health;
use stage::Behaviour;

use crate::scene::{Scene, bad, good, policy, state_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_release_goes_back_to_the_checkpoint_once_and_the_story_is_told() {
    let scene = Scene::guarded("failing").await;
    let healthy = scene.report("the report is healthy", |report| {
        report
            .status
            .as_ref()
            .is_some_and(|status| status.verdict == Health::Healthy.name())
    });
    let status = healthy.await.status.unwrap();
    assert_eq!(
        (status.rollback.as_str(), status.slos.as_str(), status.incident.as_str()),
        ("READY", "3/6", "")
    );

    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.trigger, Trigger::ErrorRate);
    assert_eq!(scene.runs().await, good());
    assert_eq!(scene.revision().await, "3", "shipped twice, rolled back once");
    let status = incident.status.clone().unwrap();
    let states: Vec<_> = status.steps.iter().map(|step| step.state).collect();
    assert_eq!(
        states,
        [
            IncidentState::RollingBack,
            IncidentState::Verifying,
            IncidentState::Recovered
        ]
    );
    assert!(
        status.rto_seconds.is_some_and(|seconds| (1..120).contains(&seconds)),
        "{status:?}"
    );
    assert!(
        status.rpo_seconds.is_some_and(|seconds| (0..300).contains(&seconds)),
        "{status:?}"
    );
    let postmortem = status.postmortem.unwrap();
    for part in [
        "# Postmortem of ranker-",
        "trigger ErrorRate",
        "| Recovered: every trigger that rolls back is healthy on the checkpoint |",
        "recovery success ratio of this policy: 1 of 1 (CI95 2.5% to 100.0%)",
        "| ErrorRate | 1.0% |",
        "## Corrective actions\n\n- Error rate was the trigger",
    ] {
        assert!(postmortem.contains(part), "{part}: {postmortem}");
    }
    assert!(!postmortem.contains("Events could not be read"), "{postmortem}");
    assert!(
        incident.spec.reason.starts_with("error rate "),
        "{}",
        incident.spec.reason
    );

    the_story_is_told(&scene).await;
    let line = scene.space.kubectl(&["get", "qualityreports"]).unwrap();
    let heads: Vec<&str> = line.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        heads,
        [
            "NAME",
            "VERDICT",
            "SLOS",
            "ROLLBACK",
            "P95",
            "RPS",
            "ERRORS",
            "COMPLIANCE",
            "INCIDENT",
            "AGE"
        ]
    );
    let after = scene.report("recovered", |report| {
        report
            .status
            .as_ref()
            .is_some_and(|status| status.verdict == "HEALTHY" && status.slos == "5/6")
    });
    assert_eq!(after.await.status.unwrap().incident, incident.metadata.name.unwrap());
}

/// By Events on the policy and on the Deployment.
async fn the_story_is_told(scene: &Scene) {
    for (kind, name) in [("Deployment", "ranker"), ("QualityPolicy", "ranker")] {
        let reasons = scene.events_with(kind, name, "Recovered").await;
        let told: Vec<&str> = reasons
            .iter()
            .map(String::as_str)
            .filter(|reason| *reason != "ScalingReplicaSet")
            .collect();
        assert_eq!(
            told,
            [
                "CheckpointRegistered",
                "SLOBreached",
                "RolledBack",
                "ImageQuarantined",
                "Recovered"
            ],
            "{kind}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_release_goes_back_on_its_share_of_slow_requests() {
    let scene = Scene::guarded("slow").await;
    scene.service.behave(&bad(), Behaviour::SLOW);
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.trigger, Trigger::Latency);
    assert!(
        incident
            .spec
            .reason
            .contains("judged at the 500 ms edge: the histogram has none at 505 ms"),
        "{}",
        incident.spec.reason
    );
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choked_release_with_a_queue_goes_back_on_throughput() {
    let scene = Scene::guarded("choked").await;
    scene.service.behave(&bad(), Behaviour::CHOKED);
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::Recovered).await;
    assert_eq!(incident.spec.trigger, Trigger::Throughput);
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_release_without_a_queue_is_left_alone() {
    let scene = Scene::guarded("quiet").await;
    scene.service.behave(
        &bad(),
        Behaviour {
            in_flight: 1.0,
            ..Behaviour::CHOKED
        },
    );
    scene.ship(&bad()).await;
    scene.registered(&bad()).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_spike_alerts_and_prepares_and_changes_nothing() {
    let scene = Scene::guarded("gpu").await;
    // The release that spikes is not to be a checkpoint before its GPUs are looked at for a while.
    let slowly = serde_json::json!({"spec": {"checkpoints": {"registerAfter": "5m"}}});
    scene.space.merge("qualitypolicy", "ranker", &slowly).unwrap();
    scene.service.behave(
        &bad(),
        Behaviour {
            gpu: Some(0.97),
            ..Behaviour::HEALTHY
        },
    );
    scene.ship(&bad()).await;
    let incident = scene.incident(IncidentState::AwaitingApproval).await;
    assert_eq!(incident.spec.trigger, Trigger::GpuUtilization);
    assert!(
        incident
            .spec
            .checkpoint
            .is_some_and(|checkpoint| checkpoint.images[0].image == good()),
        "a rollback is prepared"
    );
    scene.looks(5.0).await;
    assert_eq!((scene.runs().await, scene.revision().await), (bad(), "2".into()));

    scene.service.behave(
        &bad(),
        Behaviour {
            gpu: Some(0.4),
            ..Behaviour::HEALTHY
        },
    );
    scene.incident(IncidentState::Resolved).await;
    assert_eq!(scene.runs().await, bad());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_is_full_by_design_keeps_nobody_from_a_checkpoint_and_the_rollback_path() {
    let full = |behaviour| Behaviour {
        gpu: Some(0.6),
        gpu_memory: 0.9,
        ..behaviour
    };
    let scene = Scene::unguarded("full-gpu").await;
    scene.service.behave(&good(), full(Behaviour::HEALTHY));
    scene.service.behave(&bad(), full(Behaviour::FAILING));
    // Long enough for the alert to be there first.
    let patient = policy(&serde_json::json!({"checkpoints": {"registerAfter": "40s"}}));
    scene.space.apply(&patient).unwrap();
    let alert = |all: &[QualityIncident]| {
        let mut alerts = all.iter().filter(|one| one.spec.trigger == Trigger::GpuMemory);
        alerts.any(|one| state_of(one) == IncidentState::NoSafeTarget)
    };
    scene.incidents("the full GPU alerts", alert).await;
    scene.registered(&good()).await;
    let open = scene.incidents("the alert stands", alert).await;
    assert_eq!(open.len(), 1, "{open:#?}");

    scene.ship(&bad()).await;
    let recovered = |all: &[QualityIncident]| {
        let mut breaches = all.iter().filter(|one| one.spec.trigger == Trigger::ErrorRate);
        breaches.any(|one| state_of(one) == IncidentState::Recovered)
    };
    scene.incidents("the breach is recovered from", recovered).await;
    assert_eq!((scene.runs().await, scene.revision().await), (good(), "3".into()));
}
