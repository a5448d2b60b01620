use super::*;
use crate::policy::default_policy;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn policy() -> Policy {
    Policy {
        latency: None,
        throughput: None,
        ..default_policy()
    }
}

fn found(standing: CheckStatus, reason: &str) -> Finding {
    Finding::new(standing, reason, format!("because of {reason}"))
}

fn facts() -> Facts {
    Facts {
        revoked: false,
        unpinned: None,
        quarantined: None,
        certified: Some(NOW - 60),
        image: found(CheckStatus::Holds, "Verified"),
        artifacts: found(CheckStatus::Holds, "Verified"),
        load: Some(12),
        tested: Some(NOW - DAY),
    }
}

fn standing(readiness: &Readiness, part: Part) -> (CheckStatus, &str) {
    let (_, finding) = readiness.parts.iter().find(|(known, _)| *known == part).unwrap();
    (finding.standing, &finding.reason)
}

#[test]
fn a_checkpoint_of_which_all_is_known_and_good_is_ready() {
    let readiness = judge(&facts(), &policy(), NOW);
    assert!(
        readiness
            .parts
            .iter()
            .all(|(_, finding)| finding.standing == CheckStatus::Holds)
    );
    assert_eq!(readiness.ready.message, "a valid rollback target");
    assert_eq!(
        (readiness.ready.standing, readiness.usable),
        (CheckStatus::Holds, Ok(()))
    );
}

#[test]
fn a_definite_problem_blocks_and_says_which() {
    let rows: [(Facts, &str, bool); 8] = [
        (
            Facts {
                revoked: true,
                ..facts()
            },
            "Revoked",
            false,
        ),
        (
            Facts {
                unpinned: Some("a tag".into()),
                ..facts()
            },
            "NotPinned",
            false,
        ),
        (
            Facts {
                certified: None,
                ..facts()
            },
            "NotVerified",
            false,
        ),
        (
            Facts {
                certified: Some(NOW - DAY - 1),
                ..facts()
            },
            "Stale",
            false,
        ),
        (
            Facts {
                image: found(CheckStatus::Fails, "ImageMissing"),
                ..facts()
            },
            "ImageMissing",
            false,
        ),
        (
            Facts {
                artifacts: found(CheckStatus::Fails, "HashMismatch"),
                ..facts()
            },
            "HashMismatch",
            false,
        ),
        // Slow is told, and better than a release in breach.
        (
            Facts {
                load: Some(31),
                ..facts()
            },
            "LoadTooSlow",
            true,
        ),
        // The worse problem comes first.
        (
            Facts {
                load: Some(31),
                image: found(CheckStatus::Fails, "LayerMissing"),
                ..facts()
            },
            "LayerMissing",
            false,
        ),
    ];
    for (facts, reason, usable) in rows {
        let readiness = judge(&facts, &policy(), NOW);
        assert_eq!(
            (
                readiness.ready.standing,
                readiness.ready.reason.as_str(),
                readiness.usable.is_ok()
            ),
            (CheckStatus::Fails, reason, usable),
            "{facts:?}"
        );
    }
}

#[test]
fn what_is_not_known_is_named_and_blocks_nothing() {
    let unknown = Facts {
        image: found(CheckStatus::Unknown, "NotConfigured"),
        load: None,
        tested: None,
        ..facts()
    };
    let readiness = judge(&unknown, &policy(), NOW);
    assert_eq!(
        (readiness.ready.standing, &readiness.usable),
        (CheckStatus::Holds, &Ok(()))
    );
    assert_eq!(
        readiness.ready.message,
        "a valid rollback target; not shown: ImageAvailable (NotConfigured), LoadTime (NotMeasured), PathTested (NotTested)"
    );
    let strict = Policy {
        require_test: true,
        ..policy()
    };
    let readiness = judge(&unknown, &strict, NOW);
    assert_eq!(readiness.ready.reason, "NotTested");
    assert!(readiness.usable.is_err());
}

#[test]
fn a_test_that_is_too_old_counts_like_none() {
    let old = Facts {
        tested: Some(NOW - 8 * DAY),
        ..facts()
    };
    let readiness = judge(&old, &policy(), NOW);
    assert_eq!(
        standing(&readiness, Part::PathTested),
        (CheckStatus::Fails, "TestOutdated")
    );
    assert_eq!(
        (readiness.ready.standing, readiness.usable),
        (CheckStatus::Holds, Ok(()))
    );
    let strict = Policy {
        require_test: true,
        ..policy()
    };
    let readiness = judge(&old, &strict, NOW);
    assert_eq!(
        (readiness.ready.reason.as_str(), readiness.usable.is_err()),
        ("TestOutdated", true)
    );
}

#[test]
fn a_finding_stays_the_same_from_look_to_look() {
    let early = judge(&facts(), &policy(), NOW);
    let late = judge(&facts(), &policy(), NOW + 600);
    assert_eq!(early, late);
    let stale = Facts {
        certified: Some(NOW - 2 * DAY),
        ..facts()
    };
    assert_eq!(judge(&stale, &policy(), NOW), judge(&stale, &policy(), NOW + 600));
}

fn down(message: &str) -> CheckResult {
    CheckResult::Unanswered {
        reason: "RegistryUnreachable",
        message: message.into(),
    }
}

#[test]
fn a_registry_that_does_not_answer_takes_nothing_back_and_gives_nothing() {
    let good = found(CheckStatus::Holds, "Verified");
    let kept = after(&down("it did not answer"), Some(&good), Some(NOW));
    assert_eq!(
        (kept.standing, kept.reason.as_str()),
        (CheckStatus::Holds, "LastVerified")
    );
    assert_eq!(
        kept.message,
        format!("it did not answer; last verified at {}", instant(NOW))
    );
    // Worded in another way it is the same finding, or it would be written at each try.
    assert_eq!(after(&down("status 503"), Some(&kept), Some(NOW)), kept);
    let missing = found(CheckStatus::Fails, "ImageMissing");
    assert_eq!(after(&down("it did not answer"), Some(&missing), Some(NOW)), missing);
    let never = after(&down("it did not answer"), None, None);
    assert_eq!(
        (never.standing, never.reason.as_str()),
        (CheckStatus::Unknown, "RegistryUnreachable")
    );
    assert_eq!(after(&down("status 503"), Some(&never), None), never);
    assert_eq!(after(&CheckResult::Pending, Some(&missing), None), missing);
    assert_eq!(after(&CheckResult::Pending, None, None).reason, "NotChecked");
}

#[test]
fn of_several_images_the_worst_decides() {
    let broken = CheckResult::Broken {
        reason: "ImageMissing",
        message: "gone".into(),
    };
    let good = CheckResult::Verified {
        at: NOW,
        message: "there".into(),
    };
    let not = CheckResult::NotConfigured("not configured".into());
    assert_eq!(CheckResult::all(vec![good.clone(), down("x"), broken.clone()]), broken);
    assert_eq!(CheckResult::all(vec![good.clone(), not.clone()]), not);
    assert_eq!(CheckResult::all(vec![good.clone(), good.clone()]), good);
    let other = CheckResult::Verified {
        at: NOW - 5,
        message: "here".into(),
    };
    let both = CheckResult::Verified {
        at: NOW - 5,
        message: "there; here".into(),
    };
    assert_eq!(CheckResult::all(vec![good.clone(), other]), both);
    assert_eq!(CheckResult::all(Vec::new()), CheckResult::Nothing);
}

#[test]
fn right_before_a_rollback_only_a_definite_problem_stops_it() {
    let gone = CheckResult::Broken {
        reason: "ImageMissing",
        message: "gone".into(),
    };
    assert_eq!(confirmed(&gone, Some(NOW), NOW), Err("gone".to_owned()));
    assert_eq!(
        confirmed(&down("no answer"), Some(NOW - 300), NOW),
        Ok(Some("no answer: on the state that was last verified 5m ago".to_owned()))
    );
    assert_eq!(
        confirmed(&down("no answer"), None, NOW),
        Ok(Some("no answer: it was never verified there".to_owned()))
    );
    let good = CheckResult::Verified {
        at: NOW,
        message: "there".into(),
    };
    for look in [
        good,
        CheckResult::NotConfigured("no".into()),
        CheckResult::Nothing,
        CheckResult::Pending,
    ] {
        assert_eq!(confirmed(&look, None, NOW), Ok(None));
    }
}
