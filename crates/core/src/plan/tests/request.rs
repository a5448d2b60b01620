//! What becomes of a person's request.

use IncidentState as S;

use super::*;
use crate::policy::Mode;

const VALUE: &str = r#"{"at":"1970-01-01T02:46:30Z","reason":"wrong prices"}"#;

/// Asked 10 s before now.
fn asked(to: Option<&str>) -> PendingRequest {
    let mut request = Request::parse(VALUE).unwrap();
    request.to = to.map(str::to_owned);
    PendingRequest {
        id: identity(VALUE),
        request: Ok(request),
        incident: None,
    }
}

fn with_request(observed: Observed, to: Option<&str>) -> Observed {
    Observed {
        request: Some(asked(to)),
        ..observed
    }
}

fn refused(plan: Plan) -> String {
    match plan {
        Plan::RequestOutcome(RequestOutcome { outcome: Err(why), .. }) => why,
        other => panic!("{other:?}"),
    }
}

fn requested(state: S) -> OpenIncident {
    OpenIncident {
        trigger: Trigger::Requested,
        onset: NOW - 10,
        ..incident(state)
    }
}

#[test]
fn a_request_opens_an_incident_with_the_checkpoint_and_the_reason_although_all_is_healthy() {
    let new = opened(plan(&policy(), &healthy(), &with_request(observed(), None)));
    assert_eq!(
        (new.trigger, new.severity, new.onset),
        (Trigger::Requested, Severity::Rollback, NOW - 10)
    );
    assert_eq!(new.target.unwrap().name, "good");
    assert_eq!(new.request, Some((identity(VALUE), "wrong prices".into())));
}

#[test]
fn it_is_answered_once_its_incident_is_on_record_and_never_opened_again() {
    let mut observed = with_request(with(requested(S::Open)), None);
    observed.request.as_mut().unwrap().incident = Some("ranker-1".into());
    let answer = RequestOutcome {
        id: identity(VALUE),
        outcome: Ok("ranker-1".into()),
    };
    assert_eq!(
        plan(&policy(), &healthy(), &observed),
        Plan::RequestOutcome(answer.clone())
    );
    // Also when that incident is over, and the request old.
    observed.incident = None;
    observed.now += 100_000;
    assert_eq!(plan(&policy(), &healthy(), &observed), Plan::RequestOutcome(answer));
}

#[test]
fn from_the_newest_checkpoint_a_person_goes_back_to_the_one_before() {
    let mut running = with_request(observed(), None);
    running.candidates.push(candidate("newest", 'b', NOW - 20));
    assert_eq!(
        opened(plan(&policy(), &healthy(), &running)).target.unwrap().name,
        "good"
    );
    running.candidates.retain(|candidate| candidate.name == "newest");
    let why = refused(plan(&policy(), &healthy(), &running));
    assert_eq!(
        why,
        "the Deployment runs checkpoint newest, and there is no other one to roll back to"
    );
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let observe = Policy {
        mode: Mode::Observe,
        ..policy()
    };
    let unusable = |why: &str| {
        let mut observed = observed();
        observed.candidates[0].usable = Err(why.to_owned());
        observed
    };
    let none = Observed {
        candidates: Vec::new(),
        ..observed()
    };
    let mut renamed = observed();
    renamed.images[0].0 = "model".into();
    let mut running = observed();
    running.candidates.push(candidate("now", 'b', NOW - 20));
    let late = Observed {
        now: NOW + 900,
        ..observed()
    };
    let early = Observed {
        now: NOW - 700,
        ..observed()
    };
    for (policy, observed, to, why) in [
        (
            observe,
            observed(),
            None,
            "the policy's mode is Observe: nothing is ever changed",
        ),
        (policy(), none, None, "no checkpoint is registered for this Deployment"),
        (
            policy(),
            unusable("too old"),
            None,
            "no checkpoint may be used: good: too old",
        ),
        (
            policy(),
            unusable("too old"),
            Some("good"),
            "checkpoint good cannot be used: too old",
        ),
        (
            policy(),
            observed(),
            Some("lost"),
            "there is no checkpoint lost of this Deployment",
        ),
        (
            policy(),
            running,
            Some("now"),
            "the Deployment runs checkpoint now already",
        ),
        (
            policy(),
            renamed,
            Some("good"),
            "the checkpoint names container server, which the Deployment does not have",
        ),
        (
            policy(),
            late,
            None,
            "it was asked 15m ago, and a request stands for 10m: ask again",
        ),
        (policy(), early, None, "its time is 12m ahead: check the clock"),
    ] {
        assert_eq!(refused(plan(&policy, &healthy(), &with_request(observed, to))), why);
    }
}

#[test]
fn text_that_is_no_request_is_refused() {
    for (value, why) in [
        ("true", "the request is not {"),
        (r#"{"at":"1970-01-01T02:46:30Z"}"#, "the request is not {"),
        (r#"{"at":"yesterday","reason":"x"}"#, "the request is not {"),
        (r#"{"at":"1970-01-01T02:46:30Z","reason":" "}"#, "a reason is one line"),
        (
            "{\"at\":\"1970-01-01T02:46:30Z\",\"reason\":\"a\\u001b[31m\"}",
            "a reason is one line",
        ),
        (
            r#"{"at":"1970-01-01T02:46:30Z","reason":"x","by":"me"}"#,
            "the request is not {",
        ),
        (
            "{\"at\":\"1970-01-01T02:46:30Z\",\"reason\":\"x\",\"b\u{7f}y\":\"me\"}",
            "the request is not {",
        ),
        (
            "{\"at\":\"1970-01-01T02:46:30Z\",\"reason\":\"x\",\"to\":\"a\\nb\"}",
            "\"to\" is not the name",
        ),
    ] {
        let problem = Request::parse(value).unwrap_err();
        assert!(!problem.contains(char::is_control), "{problem:?}");
        assert!(problem.starts_with(why), "{problem}");
        let mut observed = with_request(observed(), None);
        observed.request.as_mut().unwrap().request = Err(problem.clone());
        assert_eq!(refused(plan(&policy(), &healthy(), &observed)), problem);
    }
    assert!(
        Request::parse(&format!(
            r#"{{"at":"1970-01-01T02:46:30Z","reason":"{}"}}"#,
            "x".repeat(301)
        ))
        .is_err()
    );
    assert_ne!(identity("a"), identity("b"));
}

#[test]
fn a_rollback_that_is_under_way_is_not_begun_again() {
    for observed in [
        with(incident(S::Open)),
        rolled_back(S::Open),
        rolled_back(S::RollingBack),
        rolled_back(S::Verifying),
    ] {
        let mut observed = with_request(observed, None);
        observed.candidates.push(candidate("older", 'c', NOW - 500));
        let why = refused(plan(&policy(), &failing(), &observed));
        assert_eq!(why, "a rollback is under way already: incident ranker-1");
    }
}

#[test]
fn a_rollback_that_waits_is_approved_and_one_to_elsewhere_takes_its_place() {
    for state in [S::AwaitingApproval, S::Halted] {
        let mut observed = with_request(with(incident(state)), None);
        let why = refused(plan(&policy(), &failing(), &observed));
        assert!(
            why.contains("`kubectl quality approve ranker-1` lets it go ahead"),
            "{why}"
        );
        observed.candidates.push(candidate("older", 'c', NOW - 500));
        observed.request = Some(asked(Some("older")));
        let step = plan(&policy(), &failing(), &observed);
        assert!(
            matches!(&step, Plan::Advance(advance) if advance.to == S::Superseded),
            "{step:?}"
        );
    }
    let nowhere = OpenIncident {
        target: None,
        ..incident(S::NoSafeTarget)
    };
    let step = plan(&policy(), &failing(), &with_request(with(nowhere), None));
    assert!(
        matches!(&step, Plan::Advance(advance) if advance.to == S::Superseded),
        "{step:?}"
    );
}

#[test]
fn it_needs_no_evidence_and_no_approval_and_keeps_to_the_cooldown() {
    let prepare = Policy {
        mode: Mode::Prepare,
        ..policy()
    };
    for policy in [policy(), prepare] {
        let step = plan(&policy, &healthy(), &with(requested(S::Open)));
        assert!(
            matches!(&step, Plan::RollBack(target) if target.name == "good"),
            "{step:?}"
        );
    }
    let recent = Observed {
        last_rollback: Some(NOW - 60),
        ..with(requested(S::Open))
    };
    let step = plan(&policy(), &healthy(), &recent);
    assert!(
        matches!(&step, Plan::Advance(advance) if advance.to == S::Halted),
        "{step:?}"
    );
    let approved = OpenIncident {
        approved: true,
        ..requested(S::Halted)
    };
    let step = plan(&policy(), &healthy(), &with(approved));
    assert!(matches!(step, Plan::RollBack(_)), "{step:?}");
}

#[test]
fn one_that_waits_too_long_is_over_and_hides_no_breach_meanwhile() {
    for state in [S::Open, S::Halted, S::NoSafeTarget] {
        let old = OpenIncident {
            onset: NOW - 601,
            ..requested(state)
        };
        let step = plan(&policy(), &healthy(), &with(old));
        assert!(
            matches!(&step, Plan::Advance(advance) if advance.to == S::Resolved),
            "{state:?}: {step:?}"
        );
    }
    let waits = with(requested(S::Halted));
    assert_eq!(plan(&policy(), &healthy(), &waits), Plan::Hold(Hold::AwaitingPerson));
    let step = plan(&policy(), &failing(), &waits);
    assert!(
        matches!(&step, Plan::Advance(advance) if advance.to == S::Superseded),
        "{step:?}"
    );
}

#[test]
fn a_newer_template_a_checkpoint_that_is_gone_and_the_mode_observe_stop_it() {
    let newer = Observed {
        release: release("3"),
        ..with(requested(S::Open))
    };
    let mut gone = with(requested(S::Open));
    gone.incident.as_mut().unwrap().target.as_mut().unwrap().usable = Err("it was deleted".into());
    let observe = Policy {
        mode: Mode::Observe,
        ..policy()
    };
    for (policy, observed, to) in [
        (policy(), newer, S::Superseded),
        (policy(), gone, S::NoSafeTarget),
        (observe, with(requested(S::Open)), S::Observed),
    ] {
        let step = plan(&policy, &healthy(), &observed);
        assert!(matches!(&step, Plan::Advance(advance) if advance.to == to), "{step:?}");
    }
}

#[test]
fn it_is_recovered_or_ineffective_as_any_other_and_does_not_escalate_while_all_is_well() {
    let under_way = |onset| {
        let mut observed = rolled_back(S::Verifying);
        let open = observed.incident.as_mut().unwrap();
        open.trigger = Trigger::Requested;
        open.onset = onset;
        open.rolled_out = Some(NOW + 1);
        observed
    };
    assert_eq!(
        plan(&policy(), &healthy(), &under_way(NOW - 1_000)),
        Plan::Hold(Hold::Judging)
    );
    let mut done = under_way(NOW - 50);
    done.incident.as_mut().unwrap().rolled_out = Some(NOW - 20);
    let step = plan(&policy(), &healthy(), &done);
    assert!(
        matches!(&step, Plan::Advance(advance) if advance.to == S::Recovered),
        "{step:?}"
    );
    let step = plan(&policy(), &failing(), &done);
    assert!(
        matches!(&step, Plan::Advance(advance) if advance.to == S::Ineffective),
        "{step:?}"
    );
}
