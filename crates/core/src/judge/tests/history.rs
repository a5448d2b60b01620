//! The design effects of a service's own history.

use super::*;

/// A block of 5 minutes with so many requests and failures.
fn block(index: i64, n: f64, bad: f64, seconds: f64) -> Look {
    Look {
        errors: Ok(Counts { n, bad }),
        latency: Err(NoDataReason::NoData),
        completed: Ok(Exposure { count: n, seconds }),
        ..look((index + 1) * BLOCK_SECONDS, 0.0, 0.0)
    }
}

#[test]
fn without_history_the_cautious_prior_stands() {
    assert_eq!(design_effects(&policy(), &[], &[]), DesignEffects::default());
}

#[test]
fn steady_history_comes_near_one_and_swings_rise_above_the_prior() {
    let steady: Vec<Look> = (0..72).map(|index| block(index, 30_000.0, 300.0, 300.0)).collect();
    let effects = design_effects(&policy(), &steady, &[]);
    assert!(effects.error_rate < 1.5 && effects.throughput < 1.5, "{effects:?}");
    assert_eq!(effects.blocks, 72);
    let swings: Vec<Look> = (0..72)
        .map(|index| block(index, 30_000.0, if index % 2 == 0 { 100.0 } else { 500.0 }, 300.0))
        .collect();
    assert!(design_effects(&policy(), &swings, &[]).error_rate > 50.0);
}

#[test]
fn blocks_that_touch_an_incident_are_left_out() {
    let mut looks: Vec<Look> = (0..40).map(|index| block(index, 30_000.0, 300.0, 300.0)).collect();
    looks[20] = block(20, 30_000.0, 20_000.0, 300.0);
    let with = design_effects(&policy(), &looks, &[]);
    // Block 20 is the stretch from 6,000 s to 6,300 s.
    let without = design_effects(&policy(), &looks, &[(6_100, 6_200)]);
    assert!(with.error_rate > 100.0 && without.error_rate < 2.0);
    assert_eq!((with.blocks, without.blocks), (40, 39));
}

#[test]
fn blocks_whose_scrapes_fall_beside_their_ends_are_compared_by_their_rate() {
    let rate = 100.0;
    let looks: Vec<Look> = (0..40)
        .map(|index| {
            let seconds = 300.0 + if index % 2 == 0 { 15.0 } else { -15.0 };
            block(index, rate * seconds, 300.0, seconds)
        })
        .chain((40..60).map(|index| block(index, rate * 20.0, 20.0, 20.0)))
        .collect();
    let effects = design_effects(&policy(), &looks, &[]);
    // Forty blocks that do not vary, and none of the short ones.
    let steady: Vec<Look> = (0..40).map(|index| block(index, 30_000.0, 300.0, 300.0)).collect();
    assert!((effects.throughput - design_effects(&policy(), &steady, &[]).throughput).abs() < 1e-9);
}
