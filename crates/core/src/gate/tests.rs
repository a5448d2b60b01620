//! One row a situation.

use super::*;

fn incident(state: IncidentState, severity: Severity) -> GateIncident<'static> {
    GateIncident {
        name: "ranker-7f3c9",
        state,
        severity,
        reason: "error rate 3.1 %",
    }
}

/// What a healthy service with a rollback path shows.
fn seen<'a>(rollback: &'a Result<String, String>, running: Option<&'a Result<(), String>>) -> GateInput<'a> {
    GateInput {
        incident: None,
        registered: true,
        running,
        rollback,
        failed_drill: None,
        known: true,
        before: None,
    }
}

fn reason(seen: &GateInput<'_>) -> Option<Reason> {
    match decide(seen) {
        Decision::Stands { reason, .. } => Some(reason),
        Decision::Stays => None,
    }
}

#[test]
fn each_situation_has_its_reason() {
    use IncidentState as S;
    let (ok, none) = (Ok("ranker-1".to_owned()), Err("it was revoked".to_owned()));
    let (ready, gone) = (Ok(()), Err("its image is gone".to_owned()));
    let rollback = |state| Some(incident(state, Severity::Rollback));
    for (what, seen, expected) in [
        ("all is well", seen(&ok, Some(&ready)), Reason::RollbackReady),
        ("what runs is no checkpoint", seen(&ok, None), Reason::RollbackReady),
        (
            "what runs has a checkpoint that is gone",
            seen(&ok, Some(&gone)),
            Reason::CheckpointNotReady,
        ),
        (
            "no checkpoint may be used",
            seen(&none, None),
            Reason::NoCheckpointReady,
        ),
        (
            "the last drill failed",
            GateInput {
                failed_drill: Some("the last drill failed"),
                ..seen(&ok, Some(&ready))
            },
            Reason::DrillFailed,
        ),
        (
            "nothing was ever registered",
            GateInput {
                registered: false,
                ..seen(&none, None)
            },
            Reason::NoCheckpointYet,
        ),
        (
            "an unhealthy present before the first checkpoint",
            GateInput {
                registered: false,
                incident: rollback(S::NoSafeTarget),
                ..seen(&none, None)
            },
            Reason::NoCheckpointYet,
        ),
        (
            "an alert",
            GateInput {
                incident: Some(incident(S::AwaitingApproval, Severity::Alert)),
                ..seen(&ok, None)
            },
            Reason::RollbackReady,
        ),
        (
            "a closed incident",
            GateInput {
                incident: rollback(S::Recovered),
                ..seen(&ok, None)
            },
            Reason::RollbackReady,
        ),
        (
            "unknown from the start",
            GateInput {
                known: false,
                ..seen(&ok, None)
            },
            Reason::NotJudgedYet,
        ),
    ] {
        assert_eq!(reason(&seen), Some(expected), "{what}");
    }
}

#[test]
fn every_open_state_of_an_incident_that_asks_for_a_rollback_closes_it_whatever_is_known() {
    use IncidentState as S;
    let ok = Ok("ranker-1".to_owned());
    for state in [
        S::Open,
        S::Observed,
        S::AwaitingApproval,
        S::NoSafeTarget,
        S::Halted,
        S::RollingBack,
        S::Verifying,
        S::Ineffective,
    ] {
        for known in [true, false] {
            let seen = GateInput {
                incident: Some(incident(state, Severity::Rollback)),
                known,
                ..seen(&ok, None)
            };
            let Decision::Stands {
                reason,
                incident,
                message,
            } = decide(&seen)
            else {
                panic!("{state:?}");
            };
            assert_eq!(
                (reason, reason.gate()),
                (Reason::SlosFailing, Gate::Closed),
                "{state:?}"
            );
            assert_eq!(incident.as_deref(), Some("ranker-7f3c9"));
            assert_eq!(message, "incident ranker-7f3c9 is open: error rate 3.1 %");
        }
    }
}

#[test]
fn what_is_not_known_moves_nothing() {
    let (ok, stale) = (
        Ok("ranker-1".to_owned()),
        Err("it was last certified long ago".to_owned()),
    );
    for before in [
        "RollbackReady",
        "CheckpointNotReady",
        "NoCheckpointReady",
        "DrillFailed",
    ] {
        for rollback in [&ok, &stale] {
            let seen = GateInput {
                known: false,
                before: Some(before),
                ..seen(rollback, None)
            };
            assert_eq!(decide(&seen), Decision::Stays, "{before}");
        }
    }
}

#[test]
fn the_end_of_an_incident_or_of_a_pause_is_seen_without_evidence_too() {
    let ok = Ok("ranker-1".to_owned());
    for before in ["SLOsFailing", "Paused"] {
        let seen = GateInput {
            known: false,
            before: Some(before),
            ..seen(&ok, None)
        };
        assert_eq!(reason(&seen), Some(Reason::NotJudgedYet), "{before}");
    }
}
