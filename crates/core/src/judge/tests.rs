//! The judge on looks with known counts: what it calls a breach, when, and what it does not.

use std::sync::Arc;

use super::*;
use crate::{
    counters::{Exposure, LookHistogram},
    policy::{Gpu, Latency, Throughput, default_policy},
};

#[path = "tests/doubt.rs"]
mod doubt;
#[path = "tests/history.rs"]
mod history;

const INTERVAL: i64 = 15;
const EDGES: [f64; 6] = [0.1, 0.25, 0.5, 1.0, 2.5, f64::INFINITY];

fn policy() -> Policy {
    Policy {
        gpu: Some(Gpu {
            max_utilization: 0.9,
            max_memory: 0.85,
        }),
        ..default_policy()
    }
}

fn independent() -> DesignEffects {
    DesignEffects {
        error_rate: 1.0,
        latency: 1.0,
        throughput: 1.0,
        blocks: 72,
    }
}

/// A release that was Ready before its analysis began, so that nothing warms up.
fn analysis(policy: Policy, effects: DesignEffects) -> Analysis {
    let mut analysis = Analysis::new(Arc::new(policy), 0, effects).unwrap();
    analysis.first_ready(-1_000);
    analysis
}

/// 100 requests per second, so many failed and so many slower than half a second.
fn look(at: i64, failed: f64, slow: f64) -> Look {
    let n = 1_500.0;
    Look {
        at,
        errors: Ok(Counts { n, bad: failed }),
        latency: Ok(LookHistogram {
            edges: EDGES.into(),
            cumulative: vec![0.0, n - slow, n - slow, n - slow, n, n],
        }),
        completed: Ok(Exposure {
            count: n,
            seconds: INTERVAL as f64,
        }),
        share: 1.0,
        in_flight: Ok(50.0),
        gpu_utilization: Err(NoDataReason::NoData),
        gpu_memory: Err(NoDataReason::NoData),
    }
}

fn unknown(at: i64, why: NoDataReason) -> Look {
    Look {
        errors: Err(why),
        latency: Err(why),
        completed: Err(why),
        in_flight: Err(why),
        ..look(at, 0.0, 0.0)
    }
}

/// Takes `count` looks after the last one.
fn take(analysis: &mut Analysis, count: i64, make: impl Fn(i64) -> Look) {
    let last = analysis.last_look().unwrap_or(0);
    for index in 1..=count {
        analysis.look(make(last + index * INTERVAL));
    }
}

fn state(analysis: &Analysis, trigger: Trigger) -> State {
    analysis.verdict().trigger(trigger).unwrap().state
}

#[test]
fn three_percent_errors_against_one_are_a_breach_after_two_looks_that_began_with_them() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 40, |at| look(at, 3.0, 15.0));
    assert_eq!(state(&analysis, Trigger::ErrorRate), State::Healthy);
    take(&mut analysis, 2, |at| look(at, 45.0, 15.0));
    let verdict = analysis.verdict();
    let errors = verdict.trigger(Trigger::ErrorRate).unwrap();
    assert_eq!((errors.state, errors.onset), (State::Breach, Some(600)));
    // The figures are those since the onset.
    let estimate = errors.estimate.as_ref().unwrap();
    assert_eq!(estimate.n, 3_000);
    assert!((estimate.value - 0.03).abs() < 1e-12);
    assert!(!verdict.all_healthy() && !verdict.no_breach(Trigger::GpuMemory));
}

#[test]
fn no_breach_of_a_release_began_before_the_release() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 2, |at| look(at, 45.0, 15.0));
    let verdict = analysis.verdict();
    let onset = |verdict: &Verdict| verdict.trigger(Trigger::ErrorRate).unwrap().onset.unwrap();
    let began = onset(&verdict);
    assert_eq!(onset(&verdict.clone().born(began - 7)), began);
    assert_eq!(onset(&verdict.born(began + 7)), began + 7);
}

#[test]
fn the_cautious_design_effect_takes_longer_and_still_finds_it() {
    let mut slow = analysis(policy(), DesignEffects::default());
    take(&mut slow, 2, |at| look(at, 45.0, 15.0));
    assert_eq!(state(&slow, Trigger::ErrorRate), State::Undetermined);
    take(&mut slow, 6, |at| look(at, 45.0, 15.0));
    assert_eq!(state(&slow, Trigger::ErrorRate), State::Breach);
}

#[test]
fn nine_tenths_of_the_limit_is_never_a_breach() {
    let mut analysis = analysis(policy(), independent());
    for _ in 0..60 {
        // 13.5 of 1,500 on average, in looks of 6 and of 21.
        take(&mut analysis, 2, |at| {
            look(at, if at % 30 == 0 { 6.0 } else { 21.0 }, 15.0)
        });
        assert_ne!(state(&analysis, Trigger::ErrorRate), State::Breach);
    }
}

#[test]
fn evidence_shrinks_once_the_release_is_healthy_again() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 2, |at| look(at, 45.0, 15.0));
    assert_eq!(state(&analysis, Trigger::ErrorRate), State::Breach);
    take(&mut analysis, 30, |at| look(at, 1.0, 15.0));
    assert_eq!(state(&analysis, Trigger::ErrorRate), State::Healthy);
    assert!(analysis.verdict().all_healthy());
}

#[test]
fn unknown_looks_move_no_evidence_and_are_no_breach() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 1, |at| look(at, 30.0, 15.0));
    let before = analysis.verdict().trigger(Trigger::ErrorRate).unwrap().log_evidence;
    for why in [
        NoDataReason::NoData,
        NoDataReason::Stale,
        NoDataReason::Partial,
        NoDataReason::ProviderError,
        NoDataReason::BadValue,
    ] {
        take(&mut analysis, 1, |at| unknown(at, why));
        let verdict = analysis.verdict();
        let errors = verdict.trigger(Trigger::ErrorRate).unwrap();
        assert_eq!(
            (errors.state, errors.log_evidence.to_bits()),
            (State::Unknown(why), before.to_bits())
        );
        assert!(!verdict.all_healthy());
    }
}

#[test]
fn a_breach_whose_last_look_is_unknown_is_neither_acted_on_nor_over() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 3, |at| look(at, 45.0, 15.0));
    take(&mut analysis, 1, |at| unknown(at, NoDataReason::ProviderError));
    let verdict = analysis.verdict();
    assert!(!verdict.trigger(Trigger::ErrorRate).unwrap().in_breach());
    assert!(!verdict.no_breach(Trigger::GpuMemory), "the evidence still stands");
}

#[test]
fn slow_requests_of_a_release_that_warms_up_are_not_held_against_it_but_errors_are() {
    let mut analysis = Analysis::new(Arc::new(policy()), 0, independent()).unwrap();
    analysis.first_ready(0);
    take(&mut analysis, 3, |at| look(at, 45.0, 1_000.0));
    let verdict = analysis.verdict();
    let latency = verdict.trigger(Trigger::Latency).unwrap();
    assert_eq!(latency.state, State::Undetermined);
    assert!(latency.note.starts_with("warming up"), "{}", latency.note);
    assert_eq!(state(&analysis, Trigger::ErrorRate), State::Breach);
    take(&mut analysis, 2, |at| look(at, 0.0, 1_000.0));
    assert_eq!(state(&analysis, Trigger::Latency), State::Breach);
}

#[test]
fn latency_is_judged_at_the_edge_near_the_limit_and_says_which() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 2, |at| look(at, 0.0, 150.0));
    let verdict = analysis.verdict();
    let latency = verdict.trigger(Trigger::Latency).unwrap();
    assert_eq!(latency.state, State::Breach);
    assert_eq!(
        latency.note,
        "judged at the 500 ms edge: the histogram has none at 505 ms"
    );
    assert!((latency.estimate.as_ref().unwrap().value - 0.1).abs() < 1e-12);
    assert!(latency.level.as_ref().unwrap().value > 0.5);
}

#[test]
fn between_two_edges_only_the_upper_one_shows_a_breach_and_only_the_lower_one_health() {
    let between = |target| Policy {
        latency: Some(Latency {
            quantile: 0.95,
            target,
            tolerance: 0.0,
            edge: None,
        }),
        ..policy()
    };
    // 750 ms lies between the edges at 500 ms and 1 s; the slow requests end within 1 s, or after it.
    let slow = |at: i64, under_a_second: f64, over: f64| {
        let n = 1_500.0;
        let fast = n - under_a_second - over;
        Look {
            latency: Ok(LookHistogram {
                edges: EDGES.into(),
                cumulative: vec![0.0, fast, fast, n - over, n, n],
            }),
            ..look(at, 0.0, 0.0)
        }
    };
    let mut cannot_tell = analysis(between(0.75), independent());
    take(&mut cannot_tell, 20, |at| slow(at, 150.0, 0.0));
    let verdict = cannot_tell.verdict();
    let latency = verdict.trigger(Trigger::Latency).unwrap();
    assert_eq!(latency.state, State::Undetermined);
    assert!(latency.note.contains("add a bucket edge at 750 ms"), "{}", latency.note);

    let mut breach = analysis(between(0.75), independent());
    take(&mut breach, 2, |at| slow(at, 0.0, 150.0));
    assert_eq!(state(&breach, Trigger::Latency), State::Breach);
    let mut healthy = analysis(between(0.75), independent());
    take(&mut healthy, 2, |at| slow(at, 15.0, 0.0));
    assert_eq!(state(&healthy, Trigger::Latency), State::Healthy);
}

#[test]
fn a_limit_beyond_every_edge_can_be_kept_and_not_seen_missed() {
    let far = Policy {
        latency: Some(Latency {
            quantile: 0.95,
            target: 60.0,
            tolerance: 0.0,
            edge: None,
        }),
        ..policy()
    };
    let mut analysis = analysis(far, independent());
    take(&mut analysis, 20, |at| look(at, 0.0, 15.0));
    assert_eq!(state(&analysis, Trigger::Latency), State::Healthy);
    take(&mut analysis, 20, |at| {
        let latency = LookHistogram {
            edges: EDGES.into(),
            cumulative: vec![0.0, 0.0, 0.0, 0.0, 0.0, 1_500.0],
        };
        Look {
            latency: Ok(latency),
            ..look(at, 0.0, 0.0)
        }
    });
    let verdict = analysis.verdict();
    assert_eq!(verdict.trigger(Trigger::Latency).unwrap().state, State::Undetermined);
    assert!(
        verdict
            .trigger(Trigger::Latency)
            .unwrap()
            .note
            .contains("add a bucket edge at 60000 ms")
    );
}

#[test]
fn a_named_edge_is_used_when_the_histogram_has_it() {
    let named = |edge| Policy {
        latency: Some(Latency {
            quantile: 0.95,
            target: 0.5,
            tolerance: 0.005,
            edge: Some(edge),
        }),
        ..policy()
    };
    let mut at_one_second = analysis(named(1.0), independent());
    take(&mut at_one_second, 2, |at| look(at, 0.0, 15.0));
    assert!(
        at_one_second
            .verdict()
            .trigger(Trigger::Latency)
            .unwrap()
            .note
            .contains("1000 ms edge")
    );
    let mut not_there = analysis(named(0.7), independent());
    take(&mut not_there, 2, |at| look(at, 0.0, 15.0));
    assert!(
        not_there
            .verdict()
            .trigger(Trigger::Latency)
            .unwrap()
            .note
            .contains("500 ms edge")
    );
}

#[test]
fn throughput_under_the_floor_is_a_breach_only_with_demand_for_more() {
    let completes = |at: i64, rate: f64, in_flight: Reading<f64>| Look {
        completed: Ok(Exposure {
            count: rate * INTERVAL as f64,
            seconds: INTERVAL as f64,
        }),
        in_flight,
        ..look(at, 0.0, 15.0)
    };
    // 80 per second within 0.5 s is 40 requests in work.
    let rows = [
        (Ok(400.0), State::Breach),
        (Ok(39.0), State::Healthy),
        (Err(NoDataReason::NoData), State::Undetermined),
    ];
    for (in_flight, expected) in rows {
        let mut analysis = analysis(policy(), independent());
        take(&mut analysis, 8, |at| completes(at, 50.0, in_flight));
        assert_eq!(state(&analysis, Trigger::Throughput), expected, "{in_flight:?}");
    }
    let constant = Policy {
        throughput: Some(Throughput {
            target: 100.0,
            floor: 80.0,
            assume_constant_demand: true,
        }),
        ..policy()
    };
    let mut assumed = analysis(constant, independent());
    take(&mut assumed, 8, |at| completes(at, 50.0, Err(NoDataReason::NoData)));
    assert_eq!(state(&assumed, Trigger::Throughput), State::Breach);
}

#[test]
fn while_two_releases_run_each_owes_its_share_of_the_floor() {
    let half = |at: i64, rate: f64| Look {
        completed: Ok(Exposure {
            count: rate * INTERVAL as f64,
            seconds: INTERVAL as f64,
        }),
        share: 0.5,
        in_flight: Ok(400.0),
        ..look(at, 0.0, 15.0)
    };
    let mut fair = analysis(policy(), independent());
    take(&mut fair, 20, |at| half(at, 41.0));
    assert_eq!(state(&fair, Trigger::Throughput), State::Healthy);
    let mut short = analysis(policy(), independent());
    take(&mut short, 20, |at| half(at, 25.0));
    assert_eq!(state(&short, Trigger::Throughput), State::Breach);
}

#[test]
fn a_gpu_over_its_limit_alerts_within_three_minutes_and_a_moment_does_not() {
    let gpu = |at: i64, used: f64| Look {
        gpu_utilization: Ok(vec![used; 3]),
        ..look(at, 0.0, 15.0)
    };
    let mut moment = analysis(policy(), independent());
    take(&mut moment, 10, |at| gpu(at, 0.5));
    take(&mut moment, 2, |at| gpu(at, 0.97));
    assert_ne!(state(&moment, Trigger::GpuUtilization), State::Breach);
    take(&mut moment, 10, |at| gpu(at, 0.97));
    let verdict = moment.verdict();
    assert_eq!(verdict.trigger(Trigger::GpuUtilization).unwrap().state, State::Breach);
    assert!(
        verdict.all_healthy() && verdict.may_be_registered(),
        "an alert is none of the release's"
    );
    assert!(verdict.no_breach(Trigger::ErrorRate) && !verdict.no_breach(Trigger::GpuUtilization));
    assert_eq!(state(&moment, Trigger::GpuMemory), State::Unknown(NoDataReason::NoData));
}

#[test]
fn a_release_is_blind_after_three_minutes_without_data_but_not_when_the_source_fails() {
    let mut unseen = analysis(policy(), independent());
    take(&mut unseen, 4, |at| look(at, 0.0, 15.0));
    take(&mut unseen, 11, |at| unknown(at, NoDataReason::NoData));
    assert_eq!(unseen.verdict().no_metrics_since, None);
    take(&mut unseen, 1, |at| unknown(at, NoDataReason::NoData));
    assert_eq!(unseen.verdict().no_metrics_since, Some(60));

    for why in [NoDataReason::ProviderError, NoDataReason::Partial, NoDataReason::NoPods] {
        let mut excused = analysis(policy(), independent());
        take(&mut excused, 40, |at| unknown(at, why));
        assert_eq!(excused.verdict().no_metrics_since, None, "{why:?}");
    }
}

#[test]
fn health_needs_59_requests() {
    let few = |at: i64, n: f64| Look {
        errors: Ok(Counts { n, bad: 0.0 }),
        latency: Ok(LookHistogram {
            edges: EDGES.into(),
            cumulative: vec![n; 6],
        }),
        completed: Ok(Exposure {
            count: n,
            seconds: INTERVAL as f64,
        }),
        in_flight: Ok(0.0),
        ..look(at, 0.0, 0.0)
    };
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 1, |at| few(at, 58.0));
    assert!(!analysis.verdict().all_healthy());
    take(&mut analysis, 1, |at| few(at, 1.0));
    assert!(analysis.verdict().all_healthy());
}

#[test]
fn a_look_that_is_not_newer_changes_nothing_and_a_replay_gives_the_same_verdict() {
    let looks: Vec<Look> = (1..=50)
        .map(|index| match index % 7 {
            0 => unknown(index * INTERVAL, NoDataReason::Stale),
            other => look(index * INTERVAL, (other * 7 % 40) as f64, (other * 31 % 120) as f64),
        })
        .collect();
    let mut live = analysis(policy(), DesignEffects::default());
    for one in &looks {
        live.look(one.clone());
        live.look(one.clone());
    }
    let mut replayed = analysis(policy(), DesignEffects::default());
    for one in looks {
        replayed.look(one);
    }
    assert_eq!(live.verdict(), replayed.verdict());
}
