use super::*;

const NOW: i64 = 1_795_500_000;

fn route(on: &[Kind]) -> Route {
    Route {
        receiver: "a".into(),
        on: on.into(),
        since: NOW - 3_600,
    }
}

fn facts(state: IncidentState) -> IncidentFacts {
    IncidentFacts {
        state,
        requested: false,
        opened: NOW - 60,
        rolled_back: matches!(
            state,
            IncidentState::RollingBack | IncidentState::Verifying | IncidentState::Recovered
        ),
        escalated: false,
        closed: state.is_closed().then_some(NOW - 5),
    }
}

fn told(kinds: &[Kind]) -> Vec<DeliveryRecord> {
    let of = |receiver: &str, kind: &Kind| DeliveryRecord {
        receiver: receiver.into(),
        kind: *kind,
        at: NOW - 30,
    };
    // What another receiver was told changes nothing for this one.
    let others = Kind::ALL.iter().map(|kind| of("b", kind));
    kinds.iter().map(|kind| of("a", kind)).chain(others).collect()
}

#[test]
fn each_step_of_an_incident_is_told_once() {
    use Kind::{AtRisk, Breach, Recovered, RolledBack, Sustained};
    let all = route(&Kind::ALL);
    let rows: [(IncidentState, bool, &[Kind], &[Kind]); 12] = [
        (IncidentState::AwaitingApproval, false, &[], &[Breach]),
        (IncidentState::AwaitingApproval, false, &[Breach], &[]),
        (IncidentState::AwaitingApproval, true, &[Breach], &[Sustained]),
        (IncidentState::RollingBack, false, &[], &[Breach, RolledBack]),
        (IncidentState::Verifying, false, &[Breach], &[RolledBack]),
        (IncidentState::Verifying, false, &[Breach, RolledBack], &[]),
        // A rollback that did not help is not waited out.
        (IncidentState::Ineffective, false, &[Breach], &[Sustained]),
        // Neither is one that the API server refuses, and it is told again when it lasts.
        (IncidentState::Refused, false, &[], &[Breach, AtRisk]),
        (IncidentState::Refused, true, &[Breach, AtRisk], &[Sustained]),
        (IncidentState::Recovered, true, &[Breach, RolledBack], &[Recovered]),
        (IncidentState::Recovered, true, &[Breach, Recovered], &[]),
        // Nobody was reached while it lasted: one message tells all of it.
        (IncidentState::Recovered, true, &[], &[Recovered]),
    ];
    for (state, escalated, before, due) in rows {
        let facts = IncidentFacts {
            escalated,
            ..facts(state)
        };
        assert_eq!(
            of_incident(&all, facts, &told(before), NOW),
            due,
            "{state:?} {before:?}"
        );
    }
}

#[test]
fn a_breach_waits_a_moment_for_the_decision_and_no_longer() {
    let all = route(&Kind::ALL);
    let opened = |ago| IncidentFacts {
        opened: NOW - ago,
        ..facts(IncidentState::Open)
    };
    assert_eq!(of_incident(&all, opened(9), &[], NOW), []);
    assert_eq!(of_incident(&all, opened(10), &[], NOW), [Kind::Breach]);
}

#[test]
fn a_rollback_that_a_person_asked_for_is_told_as_a_rollback_and_not_as_a_breach() {
    let all = route(&Kind::ALL);
    let asked_for = |state| IncidentFacts {
        requested: true,
        ..facts(state)
    };
    assert_eq!(
        of_incident(&all, asked_for(IncidentState::AwaitingApproval), &[], NOW),
        []
    );
    assert_eq!(
        of_incident(&all, asked_for(IncidentState::Verifying), &[], NOW),
        [Kind::RolledBack]
    );
}

#[test]
fn a_receiver_is_told_what_its_list_names_and_the_end_of_what_it_was_told() {
    let guardian = route(&[Kind::Sustained, Kind::AtRisk, Kind::DrillFailed]);
    assert_eq!(of_incident(&guardian, facts(IncidentState::RollingBack), &[], NOW), []);
    // Nothing of it was for this receiver, so neither is its end.
    assert_eq!(of_incident(&guardian, facts(IncidentState::Recovered), &[], NOW), []);
    let lasting = IncidentFacts {
        escalated: true,
        ..facts(IncidentState::Recovered)
    };
    assert_eq!(
        of_incident(&guardian, lasting, &told(&[Kind::Sustained]), NOW),
        [Kind::Recovered]
    );
    assert_eq!(of_incident(&guardian, lasting, &[], NOW), [Kind::Recovered]);
}

#[test]
fn what_was_over_before_the_receiver_was_named_is_not_told_and_what_lasts_is() {
    let new = Route {
        since: NOW,
        ..route(&Kind::ALL)
    };
    assert_eq!(of_incident(&new, facts(IncidentState::Recovered), &[], NOW), []);
    assert_eq!(
        of_incident(&new, facts(IncidentState::Halted), &[], NOW),
        [Kind::Breach]
    );
    assert_eq!(of_drill(&new, failed(true, Some(NOW - 5)), &[]), None);
    assert_eq!(of_drill(&new, failed(false, None), &[]), None);
    assert_eq!(of_drill(&new, failed(true, None), &[]), Some(Kind::DrillFailed));
}

fn failed(is_last: bool, over: Option<i64>) -> DrillFacts {
    DrillFacts {
        finished: NOW - 30,
        is_last,
        over,
    }
}

#[test]
fn a_failed_drill_is_told_and_the_one_that_passed_after_it() {
    let all = route(&Kind::ALL);
    assert_eq!(of_drill(&all, failed(true, None), &[]), Some(Kind::DrillFailed));
    let before = told(&[Kind::DrillFailed]);
    assert_eq!(of_drill(&all, failed(true, None), &before), None);
    assert_eq!(of_drill(&all, failed(false, Some(NOW)), &before), Some(Kind::Recovered));
    assert_eq!(
        of_drill(
            &all,
            failed(false, Some(NOW)),
            &told(&[Kind::DrillFailed, Kind::Recovered])
        ),
        None
    );
    assert_eq!(of_drill(&route(&[Kind::Breach]), failed(true, None), &[]), None);
}

#[test]
fn a_rollback_path_that_comes_and_goes_is_no_news() {
    let all = route(&Kind::ALL);
    let risk = |at_risk, ago| Risk {
        at_risk,
        since: NOW - ago,
        holds: 180,
        by_drill: false,
    };
    let before = told(&[Kind::AtRisk]);
    for (risk, told, due) in [
        (risk(true, 10), &[][..], None),
        (risk(true, 180), &[], Some(Kind::AtRisk)),
        (risk(true, 10), &before, None),
        (risk(true, 900), &before, None),
        (risk(false, 10), &before, None),
        (risk(false, 180), &before, Some(Kind::Recovered)),
        (risk(false, 900), &[], None),
    ] {
        assert_eq!(of_risk(&all, risk, told, NOW), due, "{risk:?}");
    }
    let by_drill = Risk {
        by_drill: true,
        ..risk(true, 900)
    };
    assert_eq!(of_risk(&all, by_drill, &[], NOW), None, "told as a failed drill");
    assert_eq!(of_risk(&route(&[Kind::AtRisk]), by_drill, &[], NOW), Some(Kind::AtRisk));
}

#[test]
fn both_usual_receivers_hear_of_a_rollback_and_only_one_of_a_breach() {
    let commander = default_for(OPS_COMMANDER).unwrap();
    let guardian = default_for(INFRA_GUARDIAN).unwrap();
    assert!(commander.contains(&Kind::RolledBack) && guardian.contains(&Kind::RolledBack));
    assert!(commander.contains(&Kind::Breach) && !guardian.contains(&Kind::Breach));
    assert_eq!(default_for("someone"), None);
}
