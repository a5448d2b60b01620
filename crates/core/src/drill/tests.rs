use super::*;

const LIMITS: DrillLimits = DrillLimits { rto: 600, rpo: 300 };

fn drill(mode: DrillMode, state: DrillState) -> Drill {
    Drill {
        mode,
        state,
        created: 1_000,
        entered: 1_000,
        fault_at: matches!(state, DrillState::Broken | DrillState::RollingBack).then_some(1_000),
        outcome: (state == DrillState::CleaningUp).then(|| outcome(DrillResult::Passed, "Recovered", "RTO 3s")),
    }
}

fn subject(worn: ImageSet) -> Subject {
    Subject {
        worn,
        marked: worn != ImageSet::Start,
        refusal: None,
        in_effect: false,
        complete: false,
    }
}

fn seen(subject: Option<Subject>) -> DrillObservation {
    DrillObservation {
        now: 1_010,
        limits: LIMITS,
        obstacles: Vec::new(),
        subject,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a row of a table")]
fn complete(worn: ImageSet) -> Option<Subject> {
    Some(Subject {
        complete: true,
        in_effect: true,
        ..subject(worn)
    })
}

#[expect(clippy::unnecessary_wraps, reason = "a row of a table")]
fn in_effect(worn: ImageSet) -> Option<Subject> {
    Some(Subject {
        in_effect: true,
        ..subject(worn)
    })
}

fn reason_of(step: &DrillStep) -> Option<(DrillResult, String)> {
    match step {
        DrillStep::CleanUp(outcome) | DrillStep::Finish(outcome) => Some((outcome.result, outcome.reason.clone())),
        _ => None,
    }
}

#[test]
fn a_drill_goes_from_step_to_step_as_the_cluster_follows() {
    use DrillMode::{InPlace, Shadow};
    use DrillState as S;
    for (mode, state, subject, step) in [
        (Shadow, S::Pending, None, DrillStep::Begin),
        (Shadow, S::Starting, None, DrillStep::Make),
        (
            Shadow,
            S::Starting,
            Some(subject(ImageSet::Start)),
            DrillStep::Wait(None),
        ),
        (Shadow, S::Starting, complete(ImageSet::Start), DrillStep::Break),
        (Shadow, S::Breaking, complete(ImageSet::Start), DrillStep::Fault),
        (
            Shadow,
            S::Breaking,
            Some(subject(ImageSet::Fault)),
            DrillStep::Wait(None),
        ),
        (Shadow, S::Breaking, in_effect(ImageSet::Fault), DrillStep::MarkBroken),
        // On nodes that do not pull images nothing breaks.
        (Shadow, S::Breaking, complete(ImageSet::Fault), DrillStep::MarkBroken),
        (Shadow, S::Broken, in_effect(ImageSet::Fault), DrillStep::RollBack),
        // Rolled back before a crash.
        (
            Shadow,
            S::Broken,
            Some(subject(ImageSet::Checkpoint)),
            DrillStep::MarkRolledBack,
        ),
        (
            Shadow,
            S::RollingBack,
            Some(subject(ImageSet::Checkpoint)),
            DrillStep::Wait(None),
        ),
        // The cache is behind.
        (Shadow, S::RollingBack, complete(ImageSet::Fault), DrillStep::Wait(None)),
        (
            Shadow,
            S::RollingBack,
            complete(ImageSet::Checkpoint),
            DrillStep::Recovered,
        ),
        (Shadow, S::CleaningUp, complete(ImageSet::Checkpoint), DrillStep::Remove),
        (Shadow, S::Finished, None, DrillStep::Wait(None)),
        (InPlace, S::Breaking, complete(ImageSet::Start), DrillStep::Fault),
        (
            InPlace,
            S::CleaningUp,
            complete(ImageSet::Checkpoint),
            DrillStep::Remove,
        ),
        (
            InPlace,
            S::CleaningUp,
            Some(subject(ImageSet::Start)),
            DrillStep::Wait(None),
        ),
    ] {
        assert_eq!(
            next(&drill(mode, state), &seen(subject.clone())),
            step,
            "{mode:?} {state:?} {subject:?}"
        );
    }
}

#[test]
fn it_is_finished_once_nothing_of_it_is_left() {
    for (mode, left) in [
        (DrillMode::Shadow, None),
        (DrillMode::InPlace, None),
        (DrillMode::InPlace, complete(ImageSet::Start)),
    ] {
        let step = next(&drill(mode, DrillState::CleaningUp), &seen(left));
        assert_eq!(
            reason_of(&step),
            Some((DrillResult::Passed, "Recovered".into())),
            "{mode:?}"
        );
        assert!(matches!(step, DrillStep::Finish(_)));
    }
}

#[test]
fn a_drill_that_has_not_begun_waits_for_what_passes_and_not_for_what_a_person_must_mend() {
    let pending = drill(DrillMode::Shadow, DrillState::Pending);
    for obstacle in [
        Obstacle::PolicyNotFound("ranker".into()),
        Obstacle::NoTarget("no Deployment".into()),
        Obstacle::NoCheckpoint("none".into()),
        Obstacle::IncidentOpen("ranker-1".into()),
        Obstacle::RolloutInProgress,
        Obstacle::DigestsUnknown,
        Obstacle::AnotherDrill("first".into()),
    ] {
        let mut seen = seen(None);
        seen.obstacles = vec![obstacle.clone()];
        assert_eq!(next(&pending, &seen), DrillStep::Wait(Some(obstacle.clone())));
        let in_line = matches!(obstacle, Obstacle::AnotherDrill(_));
        let longest = if in_line { MAX_QUEUE } else { MAX_WAIT };
        seen.now = pending.created + longest;
        assert_eq!(next(&pending, &seen), DrillStep::Wait(Some(obstacle.clone())));
        seen.now += 1;
        let step = next(&pending, &seen);
        let ended = Some((DrillResult::Aborted, obstacle.reason().to_owned()));
        assert!(
            matches!(step, DrillStep::Finish(_)) && reason_of(&step) == ended,
            "{step:?}"
        );
    }
    for obstacle in [
        Obstacle::PolicyPaused,
        Obstacle::PolicyInvalid("no".into()),
        Obstacle::Conflict("two".into()),
        Obstacle::NotStaging("no label".into()),
    ] {
        let mut seen = seen(None);
        seen.obstacles = vec![obstacle.clone()];
        let ended = Some((DrillResult::Aborted, obstacle.reason().to_owned()));
        assert_eq!(reason_of(&next(&pending, &seen)), ended);
    }
}

#[test]
fn what_opens_midway_breaks_off_and_cleans_up_at_every_step() {
    use DrillState as S;
    for state in [S::Starting, S::Breaking, S::Broken, S::RollingBack] {
        for (obstacle, stops) in [
            (Obstacle::IncidentOpen("ranker-1".into()), true),
            (Obstacle::PolicyPaused, true),
            (Obstacle::PolicyNotFound("ranker".into()), true),
            (Obstacle::Conflict("two".into()), true),
            (Obstacle::NoCheckpoint("revoked".into()), state != S::RollingBack),
            (Obstacle::RolloutInProgress, false),
            (Obstacle::AnotherDrill("other".into()), false),
            (Obstacle::NotStaging("no label".into()), false),
        ] {
            let mut seen = seen(complete(ImageSet::Fault));
            seen.obstacles = vec![obstacle.clone()];
            let step = next(&drill(DrillMode::InPlace, state), &seen);
            let ended = stops.then(|| (DrillResult::Aborted, obstacle.reason().to_owned()));
            assert_eq!(reason_of(&step), ended, "{state:?} {obstacle:?}");
        }
    }
}

#[test]
fn an_obstacle_does_not_keep_a_drill_from_cleaning_up() {
    let mut seen = seen(complete(ImageSet::Fault));
    seen.obstacles = vec![
        Obstacle::PolicyNotFound("ranker".into()),
        Obstacle::IncidentOpen("ranker-1".into()),
    ];
    for mode in [DrillMode::Shadow, DrillMode::InPlace] {
        assert_eq!(next(&drill(mode, DrillState::CleaningUp), &seen), DrillStep::Remove);
    }
}

#[test]
fn a_step_that_takes_too_long_ends_the_drill_with_the_reason() {
    use DrillState as S;
    let refused = |worn| {
        Some(Subject {
            refusal: Some("exceeded quota: pods".into()),
            ..subject(worn)
        })
    };
    let (failed, aborted) = (DrillResult::Failed, DrillResult::Aborted);
    for (state, subject, result, reason) in [
        (S::Starting, Some(subject(ImageSet::Start)), failed, "NeverReady"),
        (S::Starting, refused(ImageSet::Start), aborted, "PodsRefused"),
        (S::Breaking, refused(ImageSet::Fault), aborted, "NoFault"),
        (S::Broken, in_effect(ImageSet::Fault), failed, "NotRecovered"),
        (S::RollingBack, refused(ImageSet::Checkpoint), failed, "NotRecovered"),
    ] {
        let mut seen = seen(subject);
        seen.now = 1_000 + LIMITS.rto + MARGIN + 1;
        let step = next(&drill(DrillMode::Shadow, state), &seen);
        assert_eq!(reason_of(&step), Some((result, reason.to_owned())), "{state:?}");
    }
    let mut late = seen(Some(subject(ImageSet::Start)));
    late.now = 1_000 + LIMITS.rto + MARGIN + 1;
    let step = next(&drill(DrillMode::InPlace, S::CleaningUp), &late);
    assert_eq!(reason_of(&step), Some((failed, "NotRestored".into())));
}

#[test]
fn pods_that_the_api_server_refuses_end_the_drill_at_once_in_its_words() {
    let refused = Subject {
        refusal: Some("pods \"x\" is forbidden: exceeded quota: tight".into()),
        ..subject(ImageSet::Start)
    };
    let DrillStep::CleanUp(outcome) = next(&drill(DrillMode::Shadow, DrillState::Starting), &seen(Some(refused)))
    else {
        panic!("it goes on");
    };
    assert_eq!(outcome.message, "pods \"x\" is forbidden: exceeded quota: tight");
}

#[test]
fn a_persons_change_or_deletion_of_the_deployment_under_drill_breaks_off() {
    use DrillState as S;
    for state in [S::Breaking, S::Broken, S::RollingBack] {
        let changed = next(&drill(DrillMode::InPlace, state), &seen(complete(ImageSet::Other)));
        assert_eq!(
            reason_of(&changed),
            Some((DrillResult::Aborted, "Changed".into())),
            "{state:?}"
        );
        let gone = next(&drill(DrillMode::Shadow, state), &seen(None));
        assert_eq!(
            reason_of(&gone),
            Some((DrillResult::Aborted, "SubjectGone".into())),
            "{state:?}"
        );
    }
}

#[test]
fn a_drill_passes_only_within_both_objectives() {
    for (rto, rpo, result, reason) in [
        (600, Some(300), DrillResult::Passed, "Recovered"),
        (0, Some(0), DrillResult::Passed, "Recovered"),
        (601, Some(0), DrillResult::Failed, "RtoExceeded"),
        (10, Some(301), DrillResult::Failed, "RpoExceeded"),
        (10, None, DrillResult::Failed, "RpoExceeded"),
    ] {
        let judged = judge(rto, rpo, LIMITS);
        assert_eq!(
            (judged.result, judged.reason.as_str()),
            (result, reason),
            "{rto} {rpo:?}"
        );
    }
    assert_eq!(
        judge(41, Some(150), LIMITS).message,
        "RTO 41s (objective 10m), RPO 3m (objective 5m)"
    );
}

#[test]
fn the_fault_is_an_image_of_the_same_repository_that_no_registry_has() {
    for (image, fault) in [
        ("registry.example/ranker:v1", "registry.example/ranker@sha256:00"),
        ("host:5000/ranker@sha256:ab", "host:5000/ranker@sha256:00"),
        ("host:5000/team/ranker:v1@sha256:ab", "host:5000/team/ranker@sha256:00"),
        ("ranker", "ranker@sha256:00"),
    ] {
        assert_eq!(fault_image(image, "00"), fault);
    }
}
