//! What alerts only keeps nobody from anything: not a registration, not a certification, not the end of a rollback.

use IncidentState as S;

use super::*;
use crate::plan::is_settled;

/// Healthy traffic on a GPU whose memory is like this.
fn with_gpu(state: State) -> Verdict {
    let evidence = if state == State::Breach { 12.0 } else { 3.0 };
    let mut verdict = healthy();
    verdict
        .triggers
        .push(trigger(Trigger::GpuMemory, state, evidence, NOW - 20));
    verdict
}

fn gpu_states() -> [Verdict; 4] {
    [
        State::Breach,
        State::Undetermined,
        State::Healthy,
        State::Unknown(NoDataReason::NoData),
    ]
    .map(with_gpu)
}

fn alert(trigger: Trigger, state: IncidentState) -> OpenIncident {
    OpenIncident {
        trigger,
        severity: Severity::Alert,
        ..incident(state)
    }
}

#[test]
fn a_release_on_a_full_gpu_or_on_one_that_nobody_measures_is_healthy() {
    for verdict in gpu_states() {
        assert!(verdict.all_healthy() && verdict.may_be_registered(), "{verdict:?}");
    }
    let mut failing = with_gpu(State::Healthy);
    failing.triggers[0].state = State::Undetermined;
    assert!(!failing.all_healthy(), "a healthy GPU makes no release healthy");
}

#[test]
fn a_rollback_ends_on_the_triggers_that_roll_back() {
    for verdict in gpu_states() {
        for (state, to) in [(S::Verifying, S::Recovered), (S::Ineffective, S::Resolved)] {
            let step = plan(&policy(), &verdict, &rolled_back(state));
            assert_eq!(goes_to(&step), Some(to), "{state:?}: {verdict:?}");
        }
        for state in [S::Open, S::Observed, S::AwaitingApproval, S::NoSafeTarget, S::Halted] {
            let step = plan(&policy(), &verdict, &with(incident(state)));
            assert_eq!(goes_to(&step), Some(S::Resolved), "{state:?}: {verdict:?}");
        }
    }
}

#[test]
fn an_alert_ends_with_its_own_alarm_alone() {
    for state in [S::AwaitingApproval, S::NoSafeTarget] {
        let of = |trigger| plan(&policy(), &with_gpu(State::Breach), &with(alert(trigger, state)));
        assert_eq!(of(Trigger::GpuMemory), Plan::Hold(Hold::AwaitingPerson), "{state:?}");
        assert_eq!(goes_to(&of(Trigger::NoMetrics)), Some(S::Resolved), "{state:?}");
    }
}

#[test]
fn the_release_that_runs_is_registered_and_certified_beside_an_alert_that_nothing_was_done_for() {
    let settled = |verdict: &Verdict, observed: &Observed| is_settled(&plan(&policy(), verdict, observed), observed);
    let full = with_gpu(State::Breach);
    let standing = |incident| settled(&full, &with(incident));
    for state in [S::AwaitingApproval, S::NoSafeTarget, S::Observed, S::Halted] {
        assert!(standing(alert(Trigger::GpuMemory, state)), "{state:?}");
    }
    assert!(settled(&healthy(), &observed()));

    let approved = OpenIncident {
        approved: true,
        ..alert(Trigger::GpuMemory, S::AwaitingApproval)
    };
    assert!(!standing(approved), "it is rolled back now");
    for state in [S::RollingBack, S::Verifying, S::Ineffective] {
        let rolled = Observed {
            incident: Some(alert(Trigger::GpuMemory, state)),
            ..rolled_back(state)
        };
        assert!(!settled(&full, &rolled), "{state:?}");
    }
    for state in [S::Open, S::Halted, S::NoSafeTarget] {
        assert!(!settled(&failing(), &with(incident(state))), "{state:?}");
    }
    assert!(!settled(&full, &observed()), "the alert is opened first");
    let rolling_out = Observed {
        rollout_complete: false,
        ..observed()
    };
    assert!(!settled(&healthy(), &rolling_out));
}
