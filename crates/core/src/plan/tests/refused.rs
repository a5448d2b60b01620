//! A rollback that the API server refuses: it is tried again, and ends as every other incident does.

use super::*;

fn refused(since: i64, at: i64) -> OpenIncident {
    OpenIncident {
        refused: Some(Refused { since, at }),
        escalated: true,
        ..incident(IncidentState::Refused)
    }
}

#[test]
fn a_refused_rollback_is_tried_again_ever_later_and_at_least_each_minute() {
    for (lasts, ago, due) in [
        (0, 1, false),
        (0, 2, true),
        (10, 9, false),
        (10, 10, true),
        (3_600, 59, false),
        (3_600, 60, true),
    ] {
        let incident = refused(NOW - ago - lasts, NOW - ago);
        let step = plan(&policy(), &failing(), &with(incident));
        let expected = if due {
            Plan::RollBack(candidate("good", 'a', NOW - 100))
        } else {
            Plan::Hold(Hold::AwaitingPerson)
        };
        assert_eq!(step, expected, "refused for {lasts} s, the last time {ago} s ago");
    }
}

#[test]
fn what_ends_an_incident_that_waits_ends_a_refused_one_too() {
    use IncidentState as S;
    for ago in [1, 60] {
        let waits = with(refused(NOW - ago, NOW - ago));
        assert_eq!(
            goes_to(&plan(&policy(), &healthy(), &waits)),
            Some(S::Resolved),
            "{ago}"
        );
        let newer = Observed {
            release: release("3"),
            images: vec![("server".into(), image('c').image)],
            ..waits.clone()
        };
        assert_eq!(
            goes_to(&plan(&policy(), &failing(), &newer)),
            Some(S::Superseded),
            "{ago}"
        );
        // It went through after all, without the status that says so.
        let done = Observed {
            release: release("3"),
            images: vec![("server".into(), image('a').image)],
            annotated_incident: Some("ranker-1".into()),
            ..waits
        };
        assert_eq!(
            goes_to(&plan(&policy(), &failing(), &done)),
            Some(S::RollingBack),
            "{ago}"
        );
    }
}

#[test]
fn a_refused_rollback_is_decided_anew_on_what_there_is_then() {
    use IncidentState as S;
    let waits = || with(refused(NOW - 60, NOW - 60));
    let observe = Policy {
        mode: Mode::Observe,
        ..policy()
    };
    assert_eq!(goes_to(&plan(&observe, &failing(), &waits())), Some(S::Observed));
    let prepare = Policy {
        mode: Mode::Prepare,
        ..policy()
    };
    assert_eq!(
        goes_to(&plan(&prepare, &failing(), &waits())),
        Some(S::AwaitingApproval)
    );
    let mut approved = waits();
    approved.incident.as_mut().unwrap().approved = true;
    assert!(matches!(plan(&prepare, &failing(), &approved), Plan::RollBack(_)));
    let mut gone = waits();
    gone.incident.as_mut().unwrap().target.as_mut().unwrap().usable = Err("it was deleted".into());
    assert_eq!(goes_to(&plan(&policy(), &failing(), &gone)), Some(S::NoSafeTarget));
}

#[test]
fn a_refused_rollback_is_escalated_in_its_time() {
    let mut lasts = with(OpenIncident {
        onset: NOW - policy().escalate_after - 1,
        escalated: false,
        ..refused(NOW - 20, NOW - 1)
    });
    assert_eq!(plan(&policy(), &failing(), &lasts), Plan::Escalate);
    lasts.incident.as_mut().unwrap().escalated = true;
    assert_eq!(plan(&policy(), &failing(), &lasts), Plan::Hold(Hold::AwaitingPerson));
}
