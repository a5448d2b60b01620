//! One row a situation.

use super::*;
use crate::{counters::NoDataReason, judge::State, policy::default_policy};
use quality_stats::{Estimate, Method};

#[path = "tests/alerts.rs"]
mod alerts;
#[path = "tests/compliance.rs"]
mod compliance;
#[path = "tests/doubt.rs"]
mod doubt;
#[path = "tests/own_run.rs"]
mod own_run;
#[path = "tests/properties.rs"]
mod properties;
#[path = "tests/refused.rs"]
mod refused;
#[path = "tests/request.rs"]
mod request;

const NOW: i64 = 10_000;

fn policy() -> Policy {
    default_policy()
}

fn trigger(trigger: Trigger, state: State, log_evidence: f64, onset: i64) -> TriggerVerdict {
    TriggerVerdict {
        trigger,
        state,
        estimate: Some(Estimate::new(0.03, 0.02, 0.04, 5_000, Method::Wilson)),
        level: None,
        limit: 0.01,
        level_limit: None,
        log_evidence,
        log_threshold: 11.0,
        onset: Some(onset),
        design_effect: 4.0,
        note: String::new(),
    }
}

fn verdict(errors: State, latency: State) -> Verdict {
    let evidence = |state| if state == State::Breach { 12.0 } else { -1.0 };
    Verdict {
        at: NOW,
        triggers: vec![
            trigger(Trigger::ErrorRate, errors, evidence(errors), NOW - 40),
            trigger(Trigger::Latency, latency, evidence(latency) + 1.0, NOW - 30),
        ],
        no_metrics_since: None,
    }
}

fn healthy() -> Verdict {
    verdict(State::Healthy, State::Healthy)
}

fn failing() -> Verdict {
    verdict(State::Breach, State::Healthy)
}

fn release(revision: &str) -> Release {
    Release {
        deployment_uid: "d".into(),
        replica_set: format!("ranker-{revision}"),
        revision: revision.into(),
    }
}

fn image(digit: char) -> ContainerImage {
    ContainerImage {
        container: "server".into(),
        image: format!("registry.example/ranker@sha256:{}", digit.to_string().repeat(64)),
    }
}

fn candidate(name: &str, digit: char, certified: i64) -> Candidate {
    Candidate {
        name: name.into(),
        uid: format!("uid-{name}"),
        images: vec![image(digit)],
        certified: Some(certified),
        run: None,
        usable: Ok(()),
    }
}

/// Release 2 (image b) runs; checkpoint `good` (image a) was certified before it came.
fn observed() -> Observed {
    Observed {
        now: NOW,
        release: release("2"),
        images: vec![("server".into(), image('b').image)],
        running: vec![image('b')],
        rollout_complete: true,
        template_run: None,
        sightings: vec![],
        annotated_incident: None,
        candidates: vec![candidate("good", 'a', NOW - 100)],
        incident: None,
        last_rollback: None,
        request: None,
    }
}

fn incident(state: IncidentState) -> OpenIncident {
    OpenIncident {
        name: "ranker-1".into(),
        state,
        release: release("2"),
        trigger: Trigger::ErrorRate,
        severity: Severity::Rollback,
        onset: NOW - 40,
        target: Some(candidate("good", 'a', NOW - 100)),
        rolled_back_to: None,
        rolled_out: None,
        approved: false,
        escalated: false,
        refused: None,
    }
}

fn with(incident: OpenIncident) -> Observed {
    Observed {
        incident: Some(incident),
        ..observed()
    }
}

/// The Deployment as the rollback of `ranker-1` left it.
fn rolled_back(state: IncidentState) -> Observed {
    Observed {
        release: release("3"),
        images: vec![("server".into(), image('a').image)],
        annotated_incident: Some("ranker-1".into()),
        ..with(OpenIncident {
            rolled_out: Some(NOW - 10),
            ..incident(state)
        })
    }
}

fn goes_to(plan: &Plan) -> Option<IncidentState> {
    match plan {
        Plan::Advance(advance) => Some(advance.to),
        _ => None,
    }
}

fn opened(plan: Plan) -> NewIncident {
    match plan {
        Plan::Open(new) => new,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_breach_nothing_is_planned() {
    let undetermined = verdict(State::Undetermined, State::Healthy);
    let unknown = verdict(
        State::Unknown(NoDataReason::Stale),
        State::Unknown(NoDataReason::NoData),
    );
    for verdict in [healthy(), undetermined, unknown] {
        assert_eq!(plan(&policy(), &verdict, &observed()), Plan::Hold(Hold::NoBreach));
    }
}

#[test]
fn a_breach_opens_an_incident_of_the_strongest_trigger_that_began_with_the_first_one() {
    let new = opened(plan(&policy(), &verdict(State::Breach, State::Breach), &observed()));
    assert_eq!(
        (new.trigger, new.severity, new.onset),
        (Trigger::Latency, Severity::Rollback, NOW - 40)
    );
    assert_eq!(new.target.unwrap().name, "good");
}

#[test]
fn missing_metrics_alert_unless_the_policy_says_roll_back() {
    let unseen = Verdict {
        no_metrics_since: Some(NOW - 200),
        ..verdict(
            State::Unknown(NoDataReason::NoData),
            State::Unknown(NoDataReason::NoData),
        )
    };
    let new = opened(plan(&policy(), &unseen, &observed()));
    assert_eq!(
        (new.trigger, new.severity, new.onset),
        (Trigger::NoMetrics, Severity::Alert, NOW - 200)
    );
    let strict = Policy {
        roll_back_on_missing_metrics: true,
        ..policy()
    };
    assert_eq!(opened(plan(&strict, &unseen, &observed())).severity, Severity::Rollback);
}

#[test]
fn the_target_is_the_checkpoint_certified_last_that_is_usable_and_not_running() {
    let candidates = |list: Vec<Candidate>| Observed {
        candidates: list,
        ..observed()
    };
    let unusable = |name: &str, digit, at| Candidate {
        usable: Err("revoked".into()),
        ..candidate(name, digit, at)
    };
    let choose = |observed: &Observed| choose_target(&policy(), observed).map(|candidate| candidate.name);

    let newest = candidates(vec![
        candidate("old", 'c', NOW - 900),
        candidate("good", 'a', NOW - 100),
    ]);
    assert_eq!(choose(&newest), Ok("good".into()));
    let passed_over = candidates(vec![candidate("old", 'c', NOW - 900), unusable("good", 'a', NOW - 100)]);
    assert_eq!(choose(&passed_over), Ok("old".into()));
    assert_eq!(choose(&candidates(vec![])), Err(NoTarget::None));
    let none = candidates(vec![unusable("good", 'a', NOW - 100)]);
    assert_eq!(choose(&none), Err(NoTarget::NoneUsable("good: revoked".into())));
}

#[test]
fn a_running_checkpoint_is_nothing_to_go_back_to_by_digest_or_by_template() {
    let running = Observed {
        candidates: vec![candidate("old", 'c', NOW - 900), candidate("own", 'b', NOW - 10)],
        ..observed()
    };
    let by_tag = Observed {
        images: vec![("server".into(), "registry.example/ranker:v2".into())],
        ..running.clone()
    };
    let by_template = Observed {
        running: vec![],
        ..running.clone()
    };
    for observed in [&running, &by_tag, &by_template] {
        assert_eq!(
            choose_target(&policy(), observed),
            Err(NoTarget::RunningIsNewest("own".into()))
        );
    }
    let allowed = Policy {
        allow_previous: true,
        ..policy()
    };
    assert_eq!(choose_target(&allowed, &running).unwrap().name, "old");
}

#[test]
fn a_checkpoint_of_a_container_that_is_gone_is_no_target() {
    let renamed = Observed {
        images: vec![("web".into(), image('b').image)],
        running: vec![],
        ..observed()
    };
    assert_eq!(
        choose_target(&policy(), &renamed),
        Err(NoTarget::ContainerMissing("server".into()))
    );
}

#[test]
fn an_open_incident_is_decided_by_mode_severity_cooldown_and_target() {
    use IncidentState as S;
    let open = || incident(S::Open);
    let alert = OpenIncident {
        trigger: Trigger::GpuUtilization,
        severity: Severity::Alert,
        ..open()
    };
    let lost = OpenIncident { target: None, ..open() };
    let gone = Candidate {
        usable: Err("it was deleted".into()),
        ..candidate("good", 'a', NOW - 100)
    };
    let deleted = OpenIncident {
        target: Some(gone),
        ..open()
    };
    let recent = Observed {
        last_rollback: Some(NOW - 1_799),
        ..with(open())
    };
    let past = Observed {
        last_rollback: Some(NOW - 1_800),
        ..with(open())
    };
    let mode = |mode| Policy { mode, ..policy() };
    let gpu = Verdict {
        triggers: vec![
            trigger(Trigger::ErrorRate, State::Healthy, -1.0, NOW),
            trigger(Trigger::GpuUtilization, State::Breach, 12.0, NOW),
        ],
        ..healthy()
    };
    let rows = [
        (policy(), failing(), with(open()), None),
        (policy(), failing(), past, None),
        (mode(Mode::Prepare), failing(), with(open()), Some(S::AwaitingApproval)),
        (mode(Mode::Observe), failing(), with(open()), Some(S::Observed)),
        (policy(), gpu, with(alert), Some(S::AwaitingApproval)),
        (policy(), failing(), with(lost), Some(S::NoSafeTarget)),
        (policy(), failing(), with(deleted), Some(S::NoSafeTarget)),
        (policy(), failing(), recent, Some(S::Halted)),
        (policy(), healthy(), with(open()), Some(S::Resolved)),
    ];
    for (policy, verdict, observed, to) in rows {
        let plan = plan(&policy, &verdict, &observed);
        assert_eq!(goes_to(&plan), to, "{observed:?}");
        assert_eq!(matches!(plan, Plan::RollBack(_)), to.is_none(), "{plan:?}");
    }
}

#[test]
fn an_intent_is_not_acted_on_while_the_last_look_is_unknown() {
    let mut stale = failing();
    stale.triggers[0].state = State::Unknown(NoDataReason::Stale);
    assert_eq!(
        plan(&policy(), &stale, &with(incident(IncidentState::Open))),
        Plan::Hold(Hold::Judging)
    );
}

#[test]
fn approval_rolls_back_what_waits_and_nothing_that_is_over_or_forbidden() {
    use IncidentState as S;
    let approved = |state| OpenIncident {
        approved: true,
        ..incident(state)
    };
    let prepare = Policy {
        mode: Mode::Prepare,
        ..policy()
    };
    for state in [S::AwaitingApproval, S::Halted] {
        assert!(
            matches!(plan(&prepare, &failing(), &with(approved(state))), Plan::RollBack(_)),
            "{state:?}"
        );
        assert_eq!(
            goes_to(&plan(&prepare, &healthy(), &with(approved(state)))),
            Some(S::Resolved)
        );
    }
    let observe = Policy {
        mode: Mode::Observe,
        ..policy()
    };
    assert_eq!(
        goes_to(&plan(&observe, &failing(), &with(approved(S::AwaitingApproval)))),
        Some(S::Observed)
    );
    let waits = plan(&prepare, &failing(), &with(incident(S::AwaitingApproval)));
    assert_eq!(waits, Plan::Hold(Hold::AwaitingPerson));
}

#[test]
fn a_persons_newer_template_supersedes_the_incident_at_every_step() {
    use IncidentState as S;
    for state in [S::Open, S::Observed, S::AwaitingApproval, S::NoSafeTarget, S::Halted] {
        let newer = Observed {
            release: release("3"),
            images: vec![("server".into(), image('c').image)],
            ..with(incident(state))
        };
        assert_eq!(
            goes_to(&plan(&policy(), &failing(), &newer)),
            Some(S::Superseded),
            "{state:?}"
        );
    }
    for state in [S::RollingBack, S::Verifying, S::Ineffective] {
        // The annotation of the rollback stays when a person changes the image after it.
        let mut newer = rolled_back(state);
        newer.images = vec![("server".into(), image('c').image)];
        newer.release = release("4");
        assert_eq!(
            goes_to(&plan(&policy(), &failing(), &newer)),
            Some(S::Superseded),
            "{state:?}"
        );
    }
}

#[test]
fn a_deployment_seen_as_it_was_before_the_rollback_supersedes_nothing() {
    // The watch of incidents told of the rollback, and the watch of Deployments did not yet.
    for state in [IncidentState::RollingBack, IncidentState::Verifying] {
        let observed = with(incident(state));
        let step = plan(&policy(), &failing(), &observed);
        assert!(matches!(step, Plan::Hold(_)), "{state:?}: {step:?}");
    }
    let mut newer = with(incident(IncidentState::RollingBack));
    newer.release = release("3");
    let step = plan(&policy(), &failing(), &newer);
    assert_eq!(goes_to(&step), Some(IncidentState::Superseded));
}

#[test]
fn a_patch_whose_answer_was_lost_is_read_off_the_deployment() {
    use IncidentState as S;
    for state in [S::Open, S::AwaitingApproval] {
        assert_eq!(
            goes_to(&plan(&policy(), &failing(), &rolled_back(state))),
            Some(S::RollingBack),
            "{state:?}"
        );
    }
}

#[test]
fn a_rollback_is_verified_on_looks_after_its_rollout_and_never_repeated() {
    use IncidentState as S;
    let rolling = |complete| Observed {
        rollout_complete: complete,
        ..rolled_back(S::RollingBack)
    };
    assert_eq!(
        plan(&policy(), &healthy(), &rolling(false)),
        Plan::Hold(Hold::RollingOut)
    );
    assert_eq!(
        goes_to(&plan(&policy(), &healthy(), &rolling(true))),
        Some(S::Verifying)
    );

    assert_eq!(
        goes_to(&plan(&policy(), &healthy(), &rolled_back(S::Verifying))),
        Some(S::Recovered)
    );
    let mut early = rolled_back(S::Verifying);
    early.incident.as_mut().unwrap().rolled_out = Some(NOW + 1);
    assert_eq!(plan(&policy(), &healthy(), &early), Plan::Hold(Hold::Judging));
    assert_eq!(
        goes_to(&plan(&policy(), &failing(), &rolled_back(S::Verifying))),
        Some(S::Ineffective)
    );
    assert_eq!(
        plan(&policy(), &failing(), &rolled_back(S::Ineffective)),
        Plan::Hold(Hold::AwaitingPerson)
    );
    assert_eq!(
        goes_to(&plan(&policy(), &healthy(), &rolled_back(S::Ineffective))),
        Some(S::Resolved)
    );
}

#[test]
fn an_alert_gives_way_to_a_breach_that_asks_for_a_rollback() {
    let alert = OpenIncident {
        severity: Severity::Alert,
        ..incident(IncidentState::AwaitingApproval)
    };
    assert_eq!(
        goes_to(&plan(&policy(), &failing(), &with(alert))),
        Some(IncidentState::Superseded)
    );
}

#[test]
fn a_breach_that_lasts_escalates_once_whatever_the_mode() {
    let lasting = |escalated| OpenIncident {
        onset: NOW - 181,
        escalated,
        ..incident(IncidentState::Observed)
    };
    let observe = Policy {
        mode: Mode::Observe,
        ..policy()
    };
    assert_eq!(plan(&observe, &failing(), &with(lasting(false))), Plan::Escalate);
    assert_eq!(
        plan(&observe, &failing(), &with(lasting(true))),
        Plan::Hold(Hold::AwaitingPerson)
    );
    let short = OpenIncident {
        onset: NOW - 180,
        ..incident(IncidentState::Observed)
    };
    assert_eq!(
        plan(&observe, &failing(), &with(short)),
        Plan::Hold(Hold::AwaitingPerson)
    );
}

#[test]
fn a_closed_incident_asks_for_nothing() {
    for state in [
        IncidentState::Recovered,
        IncidentState::Superseded,
        IncidentState::Resolved,
    ] {
        assert_eq!(
            plan(&policy(), &failing(), &with(incident(state))),
            Plan::Hold(Hold::NoBreach)
        );
    }
}
