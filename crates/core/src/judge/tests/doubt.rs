//! What must not become a breach: traffic near its limit, moments, missing data, loading releases.

use proptest::prelude::*;
use rand_distr::{Binomial, Distribution};
use rand_xoshiro::{Xoshiro256PlusPlus, rand_core::SeedableRng};

use super::*;

#[test]
fn random_traffic_at_nine_tenths_of_the_limit_is_no_breach_for_eight_hours() {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
    let failures = Binomial::new(1_500, 0.009).unwrap();
    let slow = Binomial::new(1_500, 0.045).unwrap();
    let mut analysis = analysis(policy(), independent());
    for index in 1..=1_920 {
        let (failed, slow) = (failures.sample(&mut rng), slow.sample(&mut rng));
        analysis.look(look(index * INTERVAL, failed as f64, slow as f64));
        let verdict = analysis.verdict();
        assert!(!verdict.streaming().any(TriggerVerdict::in_breach), "look {index}");
    }
}

#[test]
fn random_traffic_at_three_times_the_limit_is_found_in_few_looks_and_dated_to_the_change() {
    for seed in 0..50 {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let mut analysis = analysis(policy(), independent());
        let before = Binomial::new(1_500, 0.005).unwrap();
        let after = Binomial::new(1_500, 0.03).unwrap();
        for index in 1..=100 {
            analysis.look(look(index * INTERVAL, before.sample(&mut rng) as f64, 15.0));
        }
        for index in 101..=104 {
            analysis.look(look(index * INTERVAL, after.sample(&mut rng) as f64, 15.0));
        }
        let verdict = analysis.verdict();
        let errors = verdict.trigger(Trigger::ErrorRate).unwrap();
        assert!(errors.in_breach(), "seed {seed}");
        assert!(
            (1_470..=1_515).contains(&errors.onset.unwrap()),
            "seed {seed}: {:?}",
            errors.onset
        );
    }
}

#[test]
fn a_share_that_alternates_around_the_limit_is_no_breach() {
    let mut analysis = analysis(policy(), independent());
    for _ in 0..500 {
        take(&mut analysis, 1, |at| look(at, 0.0, 15.0));
        take(&mut analysis, 1, |at| look(at, 29.0, 15.0));
        assert_ne!(state(&analysis, Trigger::ErrorRate), State::Breach);
    }
}

#[test]
fn bad_looks_between_unknown_ones_count_for_themselves_alone() {
    let evidence = |analysis: &Analysis| analysis.verdict().trigger(Trigger::ErrorRate).unwrap().log_evidence;
    let mut without_gaps = analysis(policy(), DesignEffects::default());
    let mut with_gaps = analysis(policy(), DesignEffects::default());
    let mut acted = false;
    for _ in 0..10 {
        take(&mut without_gaps, 1, |at| look(at, 45.0, 15.0));
        take(&mut with_gaps, 1, |at| look(at, 45.0, 15.0));
        assert_eq!(evidence(&with_gaps).to_bits(), evidence(&without_gaps).to_bits());
        acted |= state(&with_gaps, Trigger::ErrorRate) == State::Breach;
        take(&mut with_gaps, 1, |at| unknown(at, NoDataReason::BadValue));
        assert_eq!(evidence(&with_gaps).to_bits(), evidence(&without_gaps).to_bits());
        assert_eq!(
            state(&with_gaps, Trigger::ErrorRate),
            State::Unknown(NoDataReason::BadValue)
        );
    }
    assert!(acted);
}

#[test]
fn an_unknown_trigger_leaves_the_others_judged() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 2, |at| Look {
        latency: Err(NoDataReason::BadValue),
        ..look(at, 45.0, 0.0)
    });
    assert_eq!(state(&analysis, Trigger::ErrorRate), State::Breach);
    assert_eq!(
        state(&analysis, Trigger::Latency),
        State::Unknown(NoDataReason::BadValue)
    );
    assert_eq!(analysis.verdict().no_metrics_since, None);
}

#[test]
fn slow_requests_of_the_warm_up_are_no_evidence_after_it() {
    let mut analysis = Analysis::new(Arc::new(policy()), 0, independent()).unwrap();
    take(&mut analysis, 10, |at| look(at, 0.0, 1_000.0));
    analysis.first_ready(150);
    take(&mut analysis, 3, |at| look(at, 0.0, 1_000.0));
    let evidence = |analysis: &Analysis| analysis.verdict().trigger(Trigger::Latency).unwrap().log_evidence;
    assert_eq!(evidence(&analysis).to_bits(), f64::NEG_INFINITY.to_bits());
    // A later answer does not begin the warm-up anew: at 210 s it is over.
    analysis.first_ready(200);
    take(&mut analysis, 1, |at| look(at, 0.0, 1_000.0));
    assert!(evidence(&analysis) > 0.0);
}

#[test]
fn an_edge_at_the_limit_needs_no_note() {
    let exact = Policy {
        latency: Some(Latency {
            quantile: 0.95,
            target: 0.5,
            tolerance: 0.0,
            edge: None,
        }),
        ..policy()
    };
    let mut analysis = analysis(exact, independent());
    take(&mut analysis, 1, |at| look(at, 0.0, 15.0));
    let verdict = analysis.verdict();
    let latency = verdict.trigger(Trigger::Latency).unwrap();
    assert_eq!((latency.state, latency.note.as_str()), (State::Healthy, ""));
}

#[test]
fn a_limit_below_every_edge_can_be_missed_and_not_seen_kept() {
    let tight = || Policy {
        latency: Some(Latency {
            quantile: 0.95,
            target: 0.02,
            tolerance: 0.0,
            edge: None,
        }),
        ..policy()
    };
    let fast = |at: i64, slow: f64| Look {
        latency: Ok(LookHistogram {
            edges: EDGES.into(),
            cumulative: vec![1_500.0 - slow, 1_500.0, 1_500.0, 1_500.0, 1_500.0, 1_500.0],
        }),
        ..look(at, 0.0, 0.0)
    };
    let mut kept = analysis(tight(), independent());
    take(&mut kept, 5, |at| fast(at, 0.0));
    let verdict = kept.verdict();
    let latency = verdict.trigger(Trigger::Latency).unwrap();
    assert_eq!(latency.state, State::Undetermined);
    assert!(latency.note.contains("add a bucket edge at 20 ms"), "{}", latency.note);
    let mut missed = analysis(tight(), independent());
    take(&mut missed, 2, |at| fast(at, 300.0));
    assert_eq!(state(&missed, Trigger::Latency), State::Breach);
}

#[test]
fn a_burst_of_work_at_one_end_of_a_look_is_no_demand() {
    let few = |at: i64, in_flight: f64| Look {
        completed: Ok(Exposure {
            count: 300.0,
            seconds: INTERVAL as f64,
        }),
        in_flight: Ok(in_flight),
        ..look(at, 0.0, 15.0)
    };
    let mut bursts = analysis(policy(), independent());
    for _ in 0..100 {
        take(&mut bursts, 1, |at| few(at, 400.0));
        assert_ne!(state(&bursts, Trigger::Throughput), State::Breach);
        take(&mut bursts, 1, |at| few(at, 0.0));
        assert_ne!(state(&bursts, Trigger::Throughput), State::Breach);
    }
    take(&mut bursts, 3, |at| few(at, 400.0));
    assert_eq!(state(&bursts, Trigger::Throughput), State::Breach);
}

#[test]
fn a_release_that_warms_up_owes_no_throughput() {
    let idle = |at: i64| Look {
        completed: Ok(Exposure {
            count: 0.0,
            seconds: INTERVAL as f64,
        }),
        in_flight: Ok(400.0),
        ..look(at, 0.0, 15.0)
    };
    let mut analysis = Analysis::new(Arc::new(policy()), 0, independent()).unwrap();
    analysis.first_ready(0);
    take(&mut analysis, 3, idle);
    assert_ne!(state(&analysis, Trigger::Throughput), State::Breach);
    take(&mut analysis, 1, idle);
    assert_eq!(state(&analysis, Trigger::Throughput), State::Breach);
}

#[test]
fn many_gpus_that_are_busy_for_a_moment_are_still_a_moment() {
    let gpus = |at: i64, used: f64| Look {
        gpu_memory: Ok(vec![used; 64]),
        ..look(at, 0.0, 15.0)
    };
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 40, |at| gpus(at, 0.5));
    take(&mut analysis, 4, |at| gpus(at, 0.99));
    assert_ne!(state(&analysis, Trigger::GpuMemory), State::Breach);
    take(&mut analysis, 8, |at| gpus(at, 0.99));
    assert_eq!(state(&analysis, Trigger::GpuMemory), State::Breach);
    assert!(!analysis.verdict().no_breach(Trigger::GpuMemory));
}

#[test]
fn a_release_is_not_blind_before_its_first_pod_is_ready() {
    let mut loading = Analysis::new(Arc::new(policy()), 0, independent()).unwrap();
    take(&mut loading, 80, |at| unknown(at, NoDataReason::NoData));
    assert_eq!(loading.verdict().no_metrics_since, None);
    loading.first_ready(1_200);
    take(&mut loading, 11, |at| unknown(at, NoDataReason::NoData));
    assert_eq!(loading.verdict().no_metrics_since, None);
    take(&mut loading, 1, |at| unknown(at, NoDataReason::NoData));
    assert_eq!(loading.verdict().no_metrics_since, Some(1_200));
}

#[test]
fn the_time_before_the_first_look_after_a_restart_is_not_blindness() {
    let mut restarted = analysis(policy(), independent());
    restarted.look(unknown(90_000, NoDataReason::FirstReading));
    assert_eq!(restarted.verdict().no_metrics_since, None);
}

#[test]
fn a_source_that_fails_for_latency_alone_does_not_make_a_release_blind() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 40, |at| Look {
        errors: Err(NoDataReason::NotConfigured),
        ..unknown(at, NoDataReason::ProviderError)
    });
    assert_eq!(analysis.verdict().no_metrics_since, None);
}

#[test]
fn failures_that_nobody_counts_are_unknown_and_say_so_and_the_release_is_not_blind() {
    let mut analysis = analysis(policy(), independent());
    take(&mut analysis, 40, |at| Look {
        errors: Err(NoDataReason::ErrorsNotSeen),
        ..look(at, 0.0, 15.0)
    });
    let verdict = analysis.verdict();
    let errors = verdict.trigger(Trigger::ErrorRate).unwrap();
    assert_eq!(
        (errors.state, errors.n()),
        (State::Unknown(NoDataReason::ErrorsNotSeen), 0)
    );
    assert_eq!(errors.note, policy().errors_not_seen);
    assert_eq!(state(&analysis, Trigger::Latency), State::Healthy);
    assert_ne!(verdict.trigger(Trigger::Latency).unwrap().note, errors.note);
    assert!(!verdict.all_healthy() && !verdict.may_be_registered() && !verdict.errors_are_counted());
    let only_errors = Policy {
        latency: None,
        throughput: None,
        ..policy()
    };
    let mut alone = super::analysis(only_errors, independent());
    take(&mut alone, 40, |at| unknown(at, NoDataReason::ErrorsNotSeen));
    assert_eq!(alone.verdict().no_metrics_since, None);
}

#[test]
fn without_a_look_nothing_is_known_and_nothing_asserted() {
    let analysis = analysis(policy(), independent());
    let verdict = analysis.verdict();
    assert!(!verdict.all_healthy() && !verdict.no_breach(Trigger::GpuMemory));
    assert_eq!((verdict.at, verdict.no_metrics_since), (0, None));
    for trigger in &verdict.triggers {
        assert_eq!(trigger.state, State::Unknown(NoDataReason::NoData));
        assert_eq!((trigger.n(), trigger.onset), (0, None));
    }
}

fn any_look() -> impl Strategy<Value = Look> {
    let reading = prop_oneof![
        Just(Ok(())),
        Just(Ok(())),
        Just(Err(NoDataReason::Stale)),
        Just(Err(NoDataReason::BadValue)),
        Just(Err(NoDataReason::Partial)),
    ];
    (
        reading.clone(),
        reading.clone(),
        reading,
        0..200_u32,
        0..600_u32,
        0..80_u32,
    )
        .prop_map(|(errors, latency, completed, failed, slow, in_flight)| {
            let look = look(0, f64::from(failed), f64::from(slow));
            Look {
                errors: errors.and(look.errors),
                latency: latency.and(look.latency.clone()),
                completed: completed.and(look.completed),
                in_flight: Ok(f64::from(in_flight)),
                ..look
            }
        })
}

proptest! {
    #[test]
    fn a_verdict_rests_on_no_unknown_value(looks in prop::collection::vec(any_look(), 1..60)) {
        let mut live = analysis(policy(), independent());
        let mut replayed = analysis(policy(), independent());
        for (at, look) in (1..).map(|index| index * INTERVAL).zip(&looks) {
            let look = Look { at, ..look.clone() };
            let before = live.verdict();
            live.look(look.clone());
            replayed.look(look.clone());
            let verdict = live.verdict();
            for (trigger, unknown) in [
                (Trigger::ErrorRate, look.errors.err()),
                (Trigger::Latency, look.latency.err()),
                (Trigger::Throughput, look.completed.err()),
            ] {
                if let Some(unknown) = unknown {
                    let (before, after) = (before.trigger(trigger).unwrap(), verdict.trigger(trigger).unwrap());
                    prop_assert_eq!(after.state, State::Unknown(unknown));
                    prop_assert_eq!(after.log_evidence.to_bits(), before.log_evidence.to_bits());
                    prop_assert!(!verdict.all_healthy());
                }
            }
            for trigger in &verdict.triggers {
                prop_assert!(!trigger.in_breach() || trigger.evidence_stands());
                prop_assert!(!trigger.in_breach() || trigger.onset.is_some_and(|onset| onset < at));
            }
            prop_assert!(!(verdict.no_breach(Trigger::GpuMemory) && verdict.triggers.iter().any(TriggerVerdict::evidence_stands)));
        }
        prop_assert_eq!(live.verdict(), replayed.verdict());
    }
}
