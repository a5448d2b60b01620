//! Situations in which a step too many, or one too few, would harm.

use super::*;
use IncidentState as S;

/// The image was changed, and the Deployment's newest `ReplicaSet` is still the one before.
fn patched(state: S) -> Observed {
    Observed {
        release: release("2"),
        last_rollback: Some(NOW - 1),
        ..rolled_back(state)
    }
}

fn gpu_alert() -> Verdict {
    Verdict {
        triggers: vec![
            trigger(Trigger::ErrorRate, State::Healthy, -1.0, NOW),
            trigger(Trigger::GpuMemory, State::Breach, 12.0, NOW - 20),
        ],
        ..healthy()
    }
}

fn in_mode(mode: Mode) -> Policy {
    Policy { mode, ..policy() }
}

#[test]
fn every_trigger_opens_an_incident_of_its_severity() {
    for (of, severity) in [
        (Trigger::ErrorRate, Severity::Rollback),
        (Trigger::Latency, Severity::Rollback),
        (Trigger::Throughput, Severity::Rollback),
        (Trigger::GpuUtilization, Severity::Alert),
        (Trigger::GpuMemory, Severity::Alert),
    ] {
        let verdict = Verdict {
            triggers: vec![trigger(of, State::Breach, 12.0, NOW - 20)],
            ..healthy()
        };
        let new = opened(plan(&policy(), &verdict, &observed()));
        assert_eq!((new.trigger, new.severity, new.onset), (of, severity, NOW - 20));
    }
}

#[test]
fn a_rollback_trigger_wins_over_a_stronger_alert() {
    let mut both = gpu_alert();
    both.triggers[0] = trigger(Trigger::ErrorRate, State::Breach, 11.5, NOW - 30);
    both.triggers[1].log_evidence = 900.0;
    let new = opened(plan(&policy(), &both, &observed()));
    assert_eq!(
        (new.trigger, new.severity, new.onset),
        (Trigger::ErrorRate, Severity::Rollback, NOW - 30)
    );
}

#[test]
fn an_incident_is_opened_without_a_target_and_says_why() {
    let none = Observed {
        candidates: Vec::new(),
        ..observed()
    };
    assert_eq!(opened(plan(&policy(), &failing(), &none)).target, Err(NoTarget::None));
}

#[test]
fn the_checkpoint_that_old_pods_still_run_is_a_target_in_the_middle_of_a_rollout() {
    let rolling = Observed {
        rollout_complete: false,
        running: vec![image('a'), image('b')],
        ..observed()
    };
    assert_eq!(choose_target(&policy(), &rolling).unwrap().name, "good");
}

#[test]
fn a_running_checkpoint_that_may_not_be_used_is_still_the_newest() {
    let mut own = candidate("own", 'b', NOW - 10);
    own.usable = Err("not certified for 25 h".into());
    let running = Observed {
        candidates: vec![candidate("old", 'c', NOW - 900), own],
        ..observed()
    };
    assert_eq!(
        choose_target(&policy(), &running),
        Err(NoTarget::RunningIsNewest("own".into()))
    );
    let allowed = Policy {
        allow_previous: true,
        ..policy()
    };
    assert_eq!(choose_target(&allowed, &running).unwrap().name, "old");
}

#[test]
fn with_nothing_but_the_running_checkpoint_allow_previous_finds_none() {
    let only = Observed {
        candidates: vec![candidate("own", 'b', NOW - 10)],
        ..observed()
    };
    let allowed = Policy {
        allow_previous: true,
        ..policy()
    };
    assert_eq!(
        choose_target(&allowed, &only),
        Err(NoTarget::RunningIsNewest("own".into()))
    );
}

#[test]
fn a_patch_that_went_through_is_no_second_rollback_of_the_cooldown_and_not_resolved() {
    for state in [S::Open, S::Observed, S::AwaitingApproval, S::NoSafeTarget, S::Halted] {
        for verdict in [failing(), healthy()] {
            for observed in [patched(state), rolled_back(state)] {
                assert_eq!(
                    goes_to(&plan(&policy(), &verdict, &observed)),
                    Some(S::RollingBack),
                    "{state:?}"
                );
            }
        }
    }
}

#[test]
fn an_alert_whose_approved_rollback_went_through_is_not_overtaken() {
    let mut alert = rolled_back(S::AwaitingApproval);
    let incident = alert.incident.as_mut().unwrap();
    (incident.severity, incident.approved) = (Severity::Alert, true);
    assert_eq!(goes_to(&plan(&policy(), &failing(), &alert)), Some(S::RollingBack));
}

#[test]
fn an_annotation_without_the_images_is_a_persons_change() {
    for state in [
        S::Open,
        S::AwaitingApproval,
        S::RollingBack,
        S::Verifying,
        S::Ineffective,
    ] {
        let mut changed = rolled_back(state);
        changed.images = vec![("server".into(), image('c').image)];
        assert_eq!(
            goes_to(&plan(&policy(), &failing(), &changed)),
            Some(S::Superseded),
            "{state:?}"
        );
    }
}

#[test]
fn a_release_after_the_recorded_one_of_the_rollback_supersedes_it() {
    for (recorded, to) in [("3", S::Verifying), ("2", S::Superseded)] {
        let mut rolled = rolled_back(S::RollingBack);
        rolled.incident.as_mut().unwrap().rolled_back_to = Some(release(recorded));
        assert_eq!(goes_to(&plan(&policy(), &healthy(), &rolled)), Some(to), "{recorded}");
    }
}

#[test]
fn the_old_release_is_no_rollout_of_the_checkpoint() {
    assert_eq!(
        plan(&policy(), &healthy(), &patched(S::RollingBack)),
        Plan::Hold(Hold::RollingOut)
    );
}

#[test]
fn a_breach_that_cannot_be_seen_for_a_moment_has_not_ended() {
    // Errors are in breach and unknown now; latency is healthy.
    let mut hidden = failing();
    hidden.triggers[0].state = State::Unknown(NoDataReason::BadValue);
    assert_eq!(hidden.triggers[1].state, State::Healthy);
    for (state, hold) in [
        (S::Open, Hold::Judging),
        (S::Observed, Hold::AwaitingPerson),
        (S::Halted, Hold::AwaitingPerson),
    ] {
        assert_eq!(
            plan(&policy(), &hidden, &with(incident(state))),
            Plan::Hold(hold),
            "{state:?}"
        );
    }
}

#[test]
fn a_breach_of_failures_has_not_ended_when_nobody_counts_them_any_more() {
    // The policy was edited and judges anew: no evidence stands, and latency is healthy.
    let mut not_counted = verdict(State::Unknown(NoDataReason::ErrorsNotSeen), State::Healthy);
    assert!(not_counted.no_breach(Trigger::ErrorRate));
    let alert = |state| OpenIncident {
        severity: Severity::Alert,
        ..incident(state)
    };
    for incident in [incident(S::Open), incident(S::Halted), alert(S::Halted)] {
        let step = plan(&policy(), &not_counted, &with(incident));
        assert!(matches!(step, Plan::Hold(_)), "{step:?}");
    }
    let of_latency = OpenIncident {
        trigger: Trigger::Latency,
        ..incident(S::Open)
    };
    let step = plan(&policy(), &not_counted, &with(of_latency));
    assert_eq!(goes_to(&step), Some(S::Resolved));
    not_counted.triggers[0].state = State::Healthy;
    let step = plan(&policy(), &not_counted, &with(incident(S::Open)));
    assert_eq!(goes_to(&step), Some(S::Resolved));
}

#[test]
fn a_breach_that_cannot_be_seen_still_escalates() {
    let mut hidden = failing();
    hidden.triggers[0].state = State::Unknown(NoDataReason::BadValue);
    let lasting = OpenIncident {
        onset: NOW - 181,
        ..incident(S::NoSafeTarget)
    };
    assert_eq!(plan(&policy(), &hidden, &with(lasting)), Plan::Escalate);
}

#[test]
fn a_waiting_incident_ends_with_health_shown_and_an_alert_with_its_alarm() {
    let alert = |state| OpenIncident {
        trigger: Trigger::GpuMemory,
        severity: Severity::Alert,
        ..incident(state)
    };
    let undetermined = verdict(State::Undetermined, State::Healthy);
    for state in [S::Observed, S::AwaitingApproval, S::NoSafeTarget, S::Halted] {
        let ends = |incident: OpenIncident, verdict: &Verdict| goes_to(&plan(&policy(), verdict, &with(incident)));
        assert_eq!(ends(incident(state), &healthy()), Some(S::Resolved), "{state:?}");
        assert_eq!(ends(incident(state), &undetermined), None, "{state:?}");
        assert_eq!(ends(alert(state), &undetermined), Some(S::Resolved), "{state:?}");
        assert_eq!(ends(alert(state), &gpu_alert()), None, "{state:?}");
    }
}

#[test]
fn an_alert_is_never_a_rollback_without_a_person() {
    for mode in [Mode::Automatic, Mode::Prepare] {
        let alert = |state, approved| OpenIncident {
            trigger: Trigger::GpuMemory,
            severity: Severity::Alert,
            approved,
            ..incident(state)
        };
        assert_eq!(
            goes_to(&plan(&in_mode(mode), &gpu_alert(), &with(alert(S::Open, false)))),
            Some(S::AwaitingApproval)
        );
        assert_eq!(
            plan(&in_mode(mode), &gpu_alert(), &with(alert(S::AwaitingApproval, false))),
            Plan::Hold(Hold::AwaitingPerson)
        );
        assert!(matches!(
            plan(&in_mode(mode), &gpu_alert(), &with(alert(S::AwaitingApproval, true))),
            Plan::RollBack(_)
        ));
    }
}

#[test]
fn approval_does_not_make_a_checkpoint_usable() {
    let approved = |target| OpenIncident {
        approved: true,
        target,
        ..incident(S::AwaitingApproval)
    };
    let mut revoked = candidate("good", 'a', NOW - 100);
    revoked.usable = Err("revoked".into());
    for target in [None, Some(revoked)] {
        assert_eq!(
            goes_to(&plan(&policy(), &failing(), &with(approved(target)))),
            Some(S::NoSafeTarget)
        );
    }
}

#[test]
fn approval_overrides_the_cooldown() {
    for state in [S::AwaitingApproval, S::Halted] {
        let recent = Observed {
            last_rollback: Some(NOW - 5),
            ..with(OpenIncident {
                approved: true,
                ..incident(state)
            })
        };
        assert!(
            matches!(plan(&policy(), &failing(), &recent), Plan::RollBack(_)),
            "{state:?}"
        );
    }
}

#[test]
fn missing_metrics_roll_back_only_where_the_policy_says_so() {
    let unseen = Verdict {
        no_metrics_since: Some(NOW - 200),
        ..verdict(
            State::Unknown(NoDataReason::NoData),
            State::Unknown(NoDataReason::NoData),
        )
    };
    let open = || with(incident(S::Open));
    assert_eq!(plan(&policy(), &unseen, &open()), Plan::Hold(Hold::Judging));
    let strict = Policy {
        roll_back_on_missing_metrics: true,
        ..policy()
    };
    assert!(matches!(plan(&strict, &unseen, &open()), Plan::RollBack(_)));
}

#[test]
fn evidence_from_before_the_rollout_says_nothing_about_the_checkpoint() {
    for rolled_out in [None, Some(NOW + 1)] {
        for verdict in [healthy(), failing()] {
            let mut early = rolled_back(S::Verifying);
            early.incident.as_mut().unwrap().rolled_out = rolled_out;
            assert_eq!(plan(&policy(), &verdict, &early), Plan::Hold(Hold::Judging));
        }
    }
}

#[test]
fn a_checkpoint_is_judged_until_it_is_shown_healthy_or_in_breach() {
    for verdict in [
        verdict(State::Undetermined, State::Healthy),
        verdict(State::Healthy, State::Unknown(NoDataReason::NoData)),
    ] {
        assert_eq!(
            plan(&policy(), &verdict, &rolled_back(S::Verifying)),
            Plan::Hold(Hold::Judging)
        );
    }
}

#[test]
fn a_rollback_that_takes_long_escalates_and_never_rolls_back_again() {
    for state in [S::RollingBack, S::Verifying, S::Ineffective] {
        let mut slow = rolled_back(state);
        slow.rollout_complete = false;
        let incident = slow.incident.as_mut().unwrap();
        (incident.onset, incident.rolled_out) = (NOW - 181, None);
        assert_eq!(plan(&policy(), &failing(), &slow), Plan::Escalate, "{state:?}");
    }
}

#[test]
fn closed_incidents_neither_act_nor_escalate() {
    for state in [S::Recovered, S::Superseded, S::Resolved] {
        let old = OpenIncident {
            onset: NOW - 9_000,
            approved: true,
            ..incident(state)
        };
        for observed in [with(old.clone()), rolled_back(state)] {
            assert_eq!(plan(&policy(), &failing(), &observed), Plan::Hold(Hold::NoBreach));
        }
    }
}
