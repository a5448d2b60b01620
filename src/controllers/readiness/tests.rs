use super::*;
use quality_api::QualityPolicySpec;

const NOW: i64 = 1_800_000_000;

fn policy() -> Policy {
    let spec: QualityPolicySpec = serde_json::from_value(serde_json::json!({"targetRef": {"name": "ranker"}})).unwrap();
    crate::validate::policy(&spec).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn checkpoint() -> RollbackCheckpoint {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "RollbackCheckpoint",
        "metadata": {"name": "ranker-1", "uid": "u-1", "generation": 1},
        "spec": {
            "targetRef": {"name": "ranker"},
            "images": [{"container": "server", "image": format!("registry.example/ranker@sha256:{}", "a".repeat(64))}],
        },
    }))
    .unwrap()
}

fn good(second: i64) -> CheckResult {
    CheckResult::Verified {
        at: second,
        message: "all there".into(),
    }
}

fn down() -> CheckResult {
    CheckResult::Unanswered {
        reason: "RegistryUnreachable",
        message: "its registry did not answer".into(),
    }
}

fn seen(image: CheckResult) -> CheckpointChecks {
    CheckpointChecks {
        image,
        artifacts: CheckResult::Nothing,
        hashed_at: None,
    }
}

/// The checkpoint after a look at `second`.
fn after(
    mut checkpoint: RollbackCheckpoint,
    image: CheckResult,
    news: &CheckpointUpdate,
    second: i64,
) -> RollbackCheckpoint {
    let status = renewed(&checkpoint, &policy(), &seen(image), news, at(second));
    checkpoint.status = Some(status);
    checkpoint
}

fn certified() -> CheckpointUpdate {
    CheckpointUpdate {
        certified: Some(NOW),
        load: Some(LoadTime {
            seconds: 12,
            created: NOW - 100,
        }),
        ..CheckpointUpdate::default()
    }
}

fn condition(checkpoint: &RollbackCheckpoint, kind: &str) -> (String, String, String) {
    let status = checkpoint.status.as_ref().unwrap();
    let condition = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .unwrap();
    (
        condition.status.clone(),
        condition.reason.clone(),
        condition.message.clone(),
    )
}

#[test]
fn each_part_is_a_condition_and_ready_is_their_sum() {
    let ready = after(checkpoint(), good(NOW), &certified(), NOW);
    let status = ready.status.as_ref().unwrap();
    let kinds: Vec<&str> = status
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    let mut sorted = kinds.clone();
    sorted.sort_unstable();
    let all = [
        "ArtifactsIntact",
        "Fresh",
        "ImageAvailable",
        "LoadTime",
        "PathTested",
        "Ready",
        "Verified",
    ];
    assert_eq!(sorted, all);
    assert_eq!(
        (status.load_time.as_deref(), status.load_seconds),
        (Some("12s"), Some(12))
    );
    let (stands, _, message) = condition(&ready, "Ready");
    assert_eq!(stands, "True");
    assert!(message.ends_with("not shown: PathTested (NotTested)"), "{message}");
}

#[test]
fn what_is_good_and_stays_good_is_written_every_ten_minutes_only() {
    let first = after(checkpoint(), good(NOW), &certified(), NOW);
    let nothing = CheckpointUpdate::default();
    assert_eq!(after(first.clone(), good(NOW + 599), &nothing, NOW + 600), first);
    let renewed = after(first.clone(), good(NOW + 600), &nothing, NOW + 601);
    assert_eq!(
        renewed.status.as_ref().unwrap().image_verified_at,
        Some(view::time(NOW + 600))
    );
    // A registry that is down is written once.
    let unanswered = after(first, down(), &nothing, NOW + 700);
    assert_eq!(after(unanswered.clone(), down(), &nothing, NOW + 7_000), unanswered);
    let (stands, reason, message) = condition(&unanswered, "ImageAvailable");
    assert_eq!((stands.as_str(), reason.as_str()), ("True", "LastVerified"));
    let when = readiness::instant(NOW);
    assert_eq!(message, format!("its registry did not answer; last verified at {when}"));
    assert_eq!(condition(&unanswered, "Ready").0, "True");
    // After a restart nobody has looked yet: what is on record stays.
    assert_eq!(
        after(unanswered.clone(), CheckResult::Pending, &nothing, NOW + 7_000),
        unanswered
    );
    // It answers again.
    let again = after(unanswered, good(NOW + 800), &nothing, NOW + 801);
    assert_eq!(condition(&again, "ImageAvailable").1, "Verified");
    assert_eq!(again.status.unwrap().image_verified_at, Some(view::time(NOW + 800)));
}

#[test]
fn a_missing_image_stays_missing_while_its_registry_is_down() {
    let gone = CheckResult::Broken {
        reason: "ImageMissing",
        message: "no such manifest".into(),
    };
    let nothing = CheckpointUpdate::default();
    let missing = after(
        after(checkpoint(), good(NOW), &certified(), NOW),
        gone,
        &nothing,
        NOW + 60,
    );
    assert_eq!(condition(&missing, "Ready").1, "ImageMissing");
    let down = after(missing.clone(), down(), &nothing, NOW + 120);
    assert_eq!(down, missing);
    assert!(view::readiness(&down, &policy(), &[], NOW + 120).usable.is_err());
}

#[test]
fn a_load_time_and_a_test_give_way_only_to_newer_ones() {
    let first = after(checkpoint(), good(NOW), &certified(), NOW);
    let news = |created, tested: i64| CheckpointUpdate {
        certified: None,
        load: Some(LoadTime { seconds: 45, created }),
        tested: Some(Tested {
            at: tested,
            by: format!("incident-{tested}"),
        }),
        ..CheckpointUpdate::default()
    };
    let second = after(first, good(NOW), &news(NOW - 100, NOW + 10), NOW + 20);
    let status = second.status.clone().unwrap();
    assert_eq!(
        (status.load_seconds, status.tested_by.as_deref()),
        (Some(12), Some("incident-1800000010"))
    );
    let third = after(second, good(NOW), &news(NOW + 50, NOW + 5), NOW + 60);
    let status = third.status.clone().unwrap();
    assert_eq!(
        (status.load_seconds, status.tested_by.as_deref()),
        (Some(45), Some("incident-1800000010"))
    );
    assert_eq!(condition(&third, "Ready").1, "LoadTooSlow");
    assert_eq!(view::readiness(&third, &policy(), &[], NOW + 60).usable, Ok(()));
    assert_eq!(condition(&third, "PathTested").1, "Tested");
}

#[test]
fn a_checkpoint_whose_image_was_taken_away_is_no_place_to_go_back_to_until_it_is_released() {
    let kept_out = Quarantined {
        image: "registry.example/ranker:v1".into(),
        digest: Some(format!("sha256:{}", "a".repeat(64))),
        incident: "ranker-7f3c9".into(),
        reason: "error rate 3.10%".into(),
        since: NOW,
    };
    let news = CheckpointUpdate {
        quarantine: vec![kept_out.clone()],
        ..certified()
    };
    let barred = after(checkpoint(), good(NOW), &news, NOW);
    let (status, reason, message) = condition(&barred, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Quarantined"));
    assert!(
        message.contains("quarantined by incident ranker-7f3c9 (error rate 3.10%)"),
        "{message}"
    );
    assert!(view::readiness(&barred, &policy(), &[kept_out], NOW).usable.is_err());
    assert_eq!(view::readiness(&barred, &policy(), &[], NOW).usable, Ok(()));
}
