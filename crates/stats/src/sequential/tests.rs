//! What the detector promises, example by example.

use super::*;

#[test]
fn three_triggers_at_fifteen_seconds_need_72_000_to_one() {
    assert!((threshold(3, 240.0, 0.01).unwrap() - 72_000.0).abs() < 1e-6);
    assert!(threshold(0, 240.0, 0.01).is_err());
    assert!(threshold(1, 240.0, 0.0).is_err());
    assert!(threshold(1, f64::NAN, 0.01).is_err());
}

#[test]
fn the_recursion_is_the_definition() {
    let mut detector = Detector::share(0.01, 1.0).unwrap();
    detector.start(0);
    let mut r = [0.0_f64; 6];
    for (at, (n, bad)) in (1_i64..).zip([(1500.0, 10.0), (1400.0, 31.0), (1600.0, 29.5)]) {
        detector.look(15 * at, n, bad).unwrap();
        for (k, ratio) in RATIOS.iter().enumerate() {
            let p1 = ratio * 0.01;
            let l: f64 = bad * (p1 / 0.01_f64).ln() + (n - bad) * ((1.0 - p1) / 0.99).ln();
            r[k] = (r[k] + 1.0) * l.exp();
        }
    }
    let expected: f64 = r.iter().zip(WEIGHTS).map(|(r, weight)| weight * r).sum();
    assert!((detector.evidence() / expected - 1.0).abs() < 1e-10);
    assert_eq!(detector.looks(), 3);
}

#[test]
fn the_weights_sum_to_one_however_many_ratios_are_live() {
    for live in 1..=RATIOS.len() {
        assert!((weights(live).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn the_evidence_of_negative_binomial_counts_has_mean_one() {
    // A small limit, so that the Poisson limit holds: NB with mean 15 and variance D·15.
    let (p0, n, effect) = (1e-7, 1.5e8, 6.0);
    let detector = Detector::share(p0, effect).unwrap();
    let size = n * p0 / (effect - 1.0);
    for (k, ratio) in RATIOS.iter().enumerate() {
        let mut log_probability = -size * effect.ln();
        let mut mean = 0.0;
        for count in 0..4000 {
            let s = f64::from(count);
            mean += (log_probability + s * detector.per_event[k] + n * detector.per_exposure[k]).exp();
            log_probability += ((size + s) / (s + 1.0) * (effect - 1.0) / effect).ln();
        }
        assert!((mean - 1.0).abs() < 1e-4, "ratio {ratio}: {mean}");
    }
}

#[test]
fn independent_requests_have_evidence_below_one_at_every_design_effect() {
    let (p0, n) = (0.05, 200_u32);
    for effect in [1.0, 1.5, 4.0, 50.0] {
        let detector = Detector::share(p0, effect).unwrap();
        for (k, ratio) in RATIOS.iter().enumerate().take(detector.live) {
            let mut probability = (1.0 - p0).powi(200);
            let mut mean = 0.0;
            for s in 0..=n {
                mean += probability
                    * (f64::from(s) * detector.per_event[k] + f64::from(n) * detector.per_exposure[k]).exp();
                probability *= f64::from(n - s) / f64::from(s + 1) * p0 / (1.0 - p0);
            }
            assert!(mean <= 1.0 + 1e-9, "D = {effect}, ratio {ratio}: {mean}");
        }
    }
}

#[test]
fn a_burst_counts_for_less_than_its_size_when_requests_share_causes() {
    let evidence = |effect: f64| {
        let mut detector = Detector::share(0.01, effect).unwrap();
        detector.start(0);
        for look in 1..=10 {
            detector.look(15 * look, 1_500.0, 15.0).unwrap();
        }
        let before = detector.log_evidence();
        detector.look(165, 15_000.0, 300.0).unwrap();
        detector.log_evidence() - before
    };
    let mut large = Detector::share(0.01, 5.0).unwrap();
    large.start(0);
    large.look(15, 15_000.0, 300.0).unwrap();
    assert!(
        evidence(5.0) < 0.7 * large.log_evidence(),
        "{} {}",
        evidence(5.0),
        large.log_evidence()
    );
    assert!(evidence(1.0) > 50.0);
}

#[test]
fn onset_is_the_end_of_the_last_look_below_one() {
    let mut detector = Detector::share(0.01, 1.0).unwrap();
    detector.start(1_000);
    assert_eq!(detector.onset(), None);
    for look in 1..=20 {
        detector.look(1_000 + 15 * look, 1500.0, 5.0).unwrap();
    }
    assert_eq!(detector.onset(), None);
    for look in 21..=24 {
        detector.look(1_000 + 15 * look, 1500.0, 45.0).unwrap();
    }
    assert_eq!(detector.onset(), Some(1_300));
    assert_eq!(detector.likely_ratio(), Some(3.0));
}

#[test]
fn a_breach_from_the_first_look_began_at_the_start() {
    let mut detector = Detector::share(0.01, 1.0).unwrap();
    detector.start(1_000);
    detector.look(1_015, 1500.0, 60.0).unwrap();
    assert_eq!(detector.onset(), Some(1_000));
}

#[test]
fn a_rate_below_the_floor_gathers_evidence() {
    let mut detector = Detector::floor(80.0, 1.0).unwrap();
    detector.start(0);
    for look in 1..=240 {
        detector.look_rate(15 * look, 15.0, 1500.0).unwrap();
    }
    assert!(detector.evidence() < 1.0);
    for look in 241..=242 {
        detector.look_rate(15 * look, 15.0, 600.0).unwrap();
    }
    assert!(detector.evidence() > 72_000.0);
    assert_eq!(detector.onset(), Some(3_600));
}

#[test]
fn bad_looks_are_refused_and_change_nothing() {
    let mut detector = Detector::share(0.05, 1.0).unwrap();
    detector.start(0);
    detector.look(15, 100.0, 9.0).unwrap();
    let before = detector.clone();
    for (n, bad) in [
        (f64::NAN, 0.0),
        (100.0, f64::NAN),
        (f64::INFINITY, 1.0),
        (-1.0, 0.0),
        (100.0, -1.0),
        (1.0, 2.0),
    ] {
        assert!(detector.look(30, n, bad).is_err());
    }
    assert!(detector.look_rate(30, 15.0, 3.0).is_err());
    assert_eq!(
        detector.look(15, 100.0, 0.0),
        Err(StatsError::OutOfOrder { at: 15, last: 15 })
    );
    assert_eq!(detector, before);
}

#[test]
fn a_look_without_requests_is_no_evidence() {
    let mut detector = Detector::share(0.05, 1.0).unwrap();
    detector.start(0);
    for look in 1..=100_000 {
        detector.look(look, 0.0, 0.0).unwrap();
    }
    assert_eq!(detector.evidence(), 0.0);
    assert_eq!(detector.onset(), None);
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    for p0 in [0.0, 1.0, 0.9, -0.1, f64::NAN, f64::INFINITY] {
        assert!(Detector::share(p0, 1.0).is_err());
    }
    for effect in [0.0, 0.5, f64::NAN, f64::INFINITY, -1.0] {
        assert!(Detector::share(0.01, effect).is_err());
        assert!(Detector::floor(80.0, effect).is_err());
    }
    assert!(Detector::floor(0.0, 1.0).is_err());
    assert!(Detector::share(0.3, 1.0).is_ok());
}

#[test]
fn a_detector_owns_no_heap_memory_so_a_look_allocates_none() {
    assert!(!std::mem::needs_drop::<Detector>());
}

#[test]
fn a_count_too_small_to_square_is_taken_as_it_is() {
    let mut detector = Detector::floor(282.0, 1.0).unwrap();
    detector.look_rate(1, f64::MIN_POSITIVE, 0.0).unwrap();
    assert!(detector.evidence().is_finite());
}

#[test]
fn endless_breach_stays_finite() {
    let mut detector = Detector::share(0.01, 1.0).unwrap();
    detector.start(0);
    for look in 1..=10_000 {
        detector.look(look, 1e9, 1e9).unwrap();
    }
    assert!(detector.log_evidence().is_finite());
    assert_eq!(detector.evidence(), f64::MAX);
}
