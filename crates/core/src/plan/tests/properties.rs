//! What holds in every situation: what may never be planned.

use proptest::prelude::*;

use super::*;

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Healthy),
        Just(State::Breach),
        Just(State::Undetermined),
        Just(State::Unknown(NoDataReason::Stale)),
    ]
}

fn any_incident_state() -> impl Strategy<Value = IncidentState> {
    use IncidentState as S;
    prop::sample::select(vec![
        S::Open,
        S::Observed,
        S::AwaitingApproval,
        S::NoSafeTarget,
        S::Halted,
        S::RollingBack,
        S::Verifying,
        S::Recovered,
        S::Ineffective,
        S::Superseded,
        S::Resolved,
    ])
}

proptest! {
    #[test]
    fn a_rollback_is_planned_only_where_every_condition_for_it_holds(
        errors in any_state(), latency in any_state(), state in any_incident_state(),
        mode in prop::sample::select(vec![Mode::Automatic, Mode::Prepare, Mode::Observe]),
        approved: bool, alert: bool, usable: bool, has_target: bool, same_release: bool, annotated: bool,
        since in prop::option::of(0_i64..4_000), rolled_out in prop::option::of(0_i64..20_000),
    ) {
        let mut checkpoint = candidate("good", 'a', NOW - 100);
        if !usable {
            checkpoint.usable = Err("revoked".into());
        }
        let severity = if alert { Severity::Alert } else { Severity::Rollback };
        let open = OpenIncident {
            severity, approved, rolled_out, target: has_target.then_some(checkpoint), ..incident(state)
        };
        let observed = Observed {
            release: release(if same_release { "2" } else { "3" }),
            annotated_incident: annotated.then(|| "ranker-1".into()),
            last_rollback: since.map(|since| NOW - since),
            ..with(open)
        };
        let policy = Policy { mode, ..policy() };
        let verdict = verdict(errors, latency);
        if let Plan::RollBack(target) = plan(&policy, &verdict, &observed) {
            prop_assert!(target.usable.is_ok() && has_target);
            prop_assert!(same_release);
            prop_assert!(mode != Mode::Observe);
            prop_assert!(!verdict.all_healthy());
            let waited = matches!(state, IncidentState::AwaitingApproval | IncidentState::Halted);
            if waited {
                prop_assert!(approved);
            } else {
                prop_assert_eq!(state, IncidentState::Open);
                prop_assert_eq!(mode, Mode::Automatic);
                prop_assert_eq!(severity, Severity::Rollback);
                prop_assert!(since.is_none_or(|since| since >= policy.cooldown));
                prop_assert!(errors == State::Breach || latency == State::Breach);
            }
        }
    }
}
