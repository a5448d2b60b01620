//! The trigger on compliance, and whose run is compared with whose.

use super::*;
use crate::plan::{RunOf, baseline, own_run};

/// Healthy metrics, and this of the model's answers.
fn answers(state: State) -> Verdict {
    let mut verdict = healthy();
    verdict.triggers.push(TriggerVerdict {
        log_threshold: f64::INFINITY,
        ..trigger(Trigger::Compliance, state, 0.0, NOW - 20)
    });
    verdict
}

const UNKNOWN: State = State::Unknown(NoDataReason::NoEvidence);

fn about_compliance(state: IncidentState) -> OpenIncident {
    OpenIncident {
        trigger: Trigger::Compliance,
        ..incident(state)
    }
}

#[test]
fn a_drop_asks_for_a_rollback_as_any_breach_and_names_itself() {
    let Plan::Open(new) = plan(&policy(), &answers(State::Breach), &observed()) else {
        panic!("no incident")
    };
    assert_eq!(
        (new.trigger, new.severity, new.onset),
        (Trigger::Compliance, Severity::Rollback, NOW - 20)
    );
    let open = with(about_compliance(IncidentState::Open));
    assert!(matches!(
        plan(&policy(), &answers(State::Breach), &open),
        Plan::RollBack(_)
    ));
}

#[test]
fn a_breach_that_is_judged_before_the_first_look_of_its_release_did_not_begin_after_it_was_detected() {
    let mut early = answers(State::Breach);
    let at = early.at;
    early.triggers.last_mut().unwrap().onset = Some(at + 2);
    let Plan::Open(new) = plan(&policy(), &early, &observed()) else {
        panic!("no incident")
    };
    assert_eq!(new.onset, at);
}

#[test]
fn a_breach_of_the_metrics_goes_before_one_of_the_answers() {
    let mut both = answers(State::Breach);
    both.triggers[0] = failing().triggers[0].clone();
    let Plan::Open(new) = plan(&policy(), &both, &observed()) else {
        panic!("no incident")
    };
    assert_eq!(new.trigger, Trigger::ErrorRate);
}

#[test]
fn nothing_starts_on_evidence_that_is_missing_or_cannot_tell() {
    for state in [
        UNKNOWN,
        State::Unknown(NoDataReason::NoBaseline),
        State::Undetermined,
        State::Healthy,
    ] {
        assert_eq!(
            plan(&policy(), &answers(state), &observed()),
            Plan::Hold(Hold::NoBreach),
            "{state:?}"
        );
    }
}

#[test]
fn what_cannot_be_read_any_more_ends_no_incident_and_starts_no_rollback() {
    for state in [
        IncidentState::AwaitingApproval,
        IncidentState::Halted,
        IncidentState::NoSafeTarget,
    ] {
        let waits = with(about_compliance(state));
        assert_eq!(
            plan(&policy(), &answers(UNKNOWN), &waits),
            Plan::Hold(Hold::AwaitingPerson),
            "{state:?}"
        );
        assert_eq!(
            goes_to(&plan(&policy(), &answers(State::Healthy), &waits)),
            Some(IncidentState::Resolved),
            "{state:?}"
        );
    }
    let open = with(about_compliance(IncidentState::Open));
    assert_eq!(plan(&policy(), &answers(UNKNOWN), &open), Plan::Hold(Hold::Judging));
}

#[test]
fn an_incident_on_metrics_ends_though_the_evidence_is_unknown() {
    let waits = with(incident(IncidentState::AwaitingApproval));
    assert_eq!(
        goes_to(&plan(&policy(), &answers(UNKNOWN), &waits)),
        Some(IncidentState::Resolved)
    );
}

#[test]
fn a_checkpoint_is_verified_by_its_metrics_where_its_own_answers_have_nothing_to_be_compared_with() {
    for (state, to) in [
        (State::Unknown(NoDataReason::NoBaseline), Some(IncidentState::Recovered)),
        (UNKNOWN, Some(IncidentState::Recovered)),
        (State::Breach, Some(IncidentState::Ineffective)),
    ] {
        let verifying = rolled_back(IncidentState::Verifying);
        assert_eq!(goes_to(&plan(&policy(), &answers(state), &verifying)), to, "{state:?}");
    }
}

#[test]
fn a_release_is_registered_only_when_its_answers_were_compared_or_nothing_is_there_to_compare() {
    for (state, may) in [
        (State::Healthy, true),
        (State::Unknown(NoDataReason::NoBaseline), true),
        (UNKNOWN, false),
        (State::Undetermined, false),
        (State::Breach, false),
    ] {
        assert_eq!(answers(state).may_be_registered(), may, "{state:?}");
    }
    assert!(answers(UNKNOWN).all_healthy(), "a certification goes on");
    assert!(healthy().may_be_registered(), "where compliance is not judged");
}

fn run(id: &str) -> RunOf {
    RunOf {
        run_id: id.into(),
        dataset_digest: Some("abc".into()),
    }
}

fn from_run(name: &str, digit: char, certified: i64) -> Candidate {
    Candidate {
        run: Some(run(&format!("run-{name}"))),
        ..candidate(name, digit, certified)
    }
}

#[test]
fn a_releases_run_is_its_templates_or_its_checkpoints() {
    // Image b runs; the checkpoints are of a and b.
    let mut observed = Observed {
        candidates: vec![from_run("a", 'a', NOW - 100), from_run("b", 'b', NOW - 50)],
        ..observed()
    };
    let own = |observed: &Observed| own_run(observed).map(|run| run.run_id);
    assert_eq!(own(&observed).as_deref(), Some("run-b"));
    observed.template_run = Some("named".into());
    assert_eq!(own(&observed).as_deref(), Some("named"));
}

#[test]
fn the_data_of_a_checkpoint_count_only_for_its_own_run() {
    let mut observed = Observed {
        candidates: vec![from_run("b", 'b', NOW - 50)],
        template_run: Some("run-b".into()),
        ..observed()
    };
    assert_eq!(own_run(&observed).unwrap().dataset_digest.as_deref(), Some("abc"));
    observed.template_run = Some("another".into());
    assert_eq!(own_run(&observed).unwrap().dataset_digest, None);
}

#[test]
fn a_release_is_compared_with_the_checkpoint_that_was_certified_last_and_does_not_run() {
    let compared = |candidates: Vec<Candidate>| {
        let observed = Observed {
            candidates,
            ..observed()
        };
        baseline(&observed).map(|run| run.run_id)
    };
    let (a, b, c) = (
        from_run("a", 'a', NOW - 90_000),
        from_run("b", 'b', NOW - 50),
        from_run("c", 'c', NOW - 300),
    );
    assert_eq!(
        compared(vec![a.clone(), b.clone(), c.clone()]).as_deref(),
        Some("run-c")
    );
    assert_eq!(
        compared(vec![a.clone(), b.clone()]).as_deref(),
        Some("run-a"),
        "however long ago"
    );
    assert_eq!(compared(vec![b.clone()]), None, "itself");
    let never = Candidate { certified: None, ..c };
    assert_eq!(
        compared(vec![a, b, never]).as_deref(),
        Some("run-a"),
        "one that was never seen healthy"
    );
}
