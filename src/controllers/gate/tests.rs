use serde_json::{Value, json};

use super::*;

fn digest_of(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// An incident of release `b`, named by a tag, that goes back to `a`; the sidecar is the same in both.
fn incident(status: &Value) -> QualityIncident {
    let (good, bad, beside) = (digest_of('a'), digest_of('b'), digest_of('c'));
    serde_json::from_value(json!({
        "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityIncident", "metadata": {"name": "ranker-7f3c9"},
        "spec": {
            "key": "k", "policy": {"name": "ranker", "uid": "u"}, "deployment": {"name": "ranker", "uid": "d"},
            "replicaSet": "ranker-2", "revision": "2", "trigger": "ErrorRate", "severity": "Rollback",
            "onset": "2026-11-24T14:32:15Z", "detected": "2026-11-24T14:32:15Z", "reason": "error rate 3.1 %", "from": "f",
            "fromImages": [
                {"container": "server", "image": format!("repo/ranker@{bad}"), "named": "repo/ranker:v2"},
                {"container": "proxy", "image": format!("repo/proxy@{beside}")},
                {"container": "mesh", "image": "repo/mesh:v1"},
            ],
            "checkpoint": {"name": "ranker-1", "uid": "c", "images": [
                {"container": "server", "image": format!("repo/ranker@{good}")},
                {"container": "proxy", "image": format!("mirror/proxy@{beside}")},
            ]},
            "triggers": [{"name": "ErrorRate", "value": "3.10%"}, {"name": "Latency", "value": "481ms"}],
        },
        "status": status,
    }))
    .unwrap()
}

#[test]
fn a_rollback_takes_away_what_it_replaced_by_name_and_digest() {
    let patched = json!({"state": "Recovered", "patchedAt": "2026-11-24T14:33:00Z"});
    let taken = taken_away(&[incident(&patched)]);
    assert_eq!(
        taken[0].entries,
        [Quarantined {
            image: "repo/ranker:v2".into(),
            digest: Some(digest_of('b')),
            incident: "ranker-7f3c9".into(),
            reason: "error rate 3.10%".into(),
            since: "2026-11-24T14:33:00Z".parse::<Timestamp>().unwrap().as_second(),
        }]
    );
    assert!(taken[0].released.is_empty());
    let released = json!({
        "state": "Recovered", "patchedAt": "2026-11-24T14:33:00Z",
        "released": [{"image": "repo/ranker:v2", "at": "2026-11-24T15:00:00Z"}],
    });
    assert!(quarantine::merge(&taken[0].entries, &taken_away(&[incident(&released)])).is_empty());
}

#[test]
fn an_incident_that_changed_nothing_takes_nothing_away() {
    for state in ["Open", "AwaitingApproval", "Halted", "NoSafeTarget", "Resolved"] {
        assert!(taken_away(&[incident(&json!({"state": state}))]).is_empty(), "{state}");
    }
}

#[test]
fn a_gate_keeps_its_time_while_its_state_stays_and_a_pause_opens_it() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut status = QualityPolicyStatus::default();
    let mut say = |reason, second| {
        stand(&mut status, Some(1), reason, "why".to_owned(), at(second));
        let gate = status.gate.clone().unwrap();
        let open = conditions::is_true(&status.conditions, "GateOpen");
        (gate.state, gate.since.0.as_second(), open)
    };
    assert_eq!(say(Reason::SlosFailing, 10), (GateState::Closed, 10, false));
    assert_eq!(say(Reason::DrillFailed, 20), (GateState::Closed, 10, false));
    assert_eq!(say(Reason::RollbackReady, 30), (GateState::Open, 30, true));
    assert_eq!(say(Reason::SlosFailing, 40), (GateState::Closed, 40, false));
    pause(&mut status, Some(2), at(50));
    assert_eq!(status.gate.unwrap().state, GateState::Open);
}
