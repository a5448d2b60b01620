//! Properties of the statistics that hold for any input: bounds, invariance, and no panic.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use quality_stats::calibration::{self, Binning};
use quality_stats::comparison::Comparison;
use quality_stats::correlation::{Pairs, pearson, spearman};
use quality_stats::histogram::{EdgeChoice, Histogram};
use quality_stats::native::NativeHistogram;
use quality_stats::ranking::{Gain, ndcg};
use quality_stats::sequential::{Detector, design_effect, rate_design_effect, threshold};
use quality_stats::{
    Estimate, Seed, betting, bootstrap, confidence_sequence, conflict, latency, optimisation, poisson, proportion,
    quantile, recovery, roc, rolling, shortcut, special, trend,
};

/// Any float at all, the awkward ones often.
fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -1e3..1e3,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![
            0.0, -0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 1e-300,
        ]),
    ]
}

fn any_series() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        prop::collection::vec(any_number(), 0..40),
        prop::collection::vec(0.0..10.0, 0..40),
        (any_number(), 0_usize..40).prop_map(|(value, n)| vec![value; n]),
    ]
}

fn sound(estimate: &Estimate) {
    let [value, low, high] = [estimate.value, estimate.ci95.low, estimate.ci95.high];
    assert!(!value.is_nan() && !low.is_nan() && !high.is_nan(), "{estimate:?}");
    assert!(low <= high, "{estimate:?}");
    assert!(value.is_finite(), "{estimate:?}");
}

/// Cases that are the same in every run would find nothing new; failures are kept as unit tests.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn no_series_makes_a_panic_or_a_nan(x in any_series(), y in any_series(), q in any_number(), effect in any_number()) {
        let seed = Seed::new("properties", "series");
        let results = [
            quantile::quantile(&x, q, effect),
            confidence_sequence::quantile(&x, q, effect, 100.0),
            recovery::typical_time(&x),
            rolling::average(&x),
            betting::mean(&x),
            roc::auc(&x, &y),
            pearson(&x, &y, Pairs::Independent),
            spearman(&x, &y, Pairs::InTime),
            proportion::wilson(q, effect, 1.0),
            proportion::clopper_pearson(q, effect),
            poisson::rate(q, effect, 1.0),
            confidence_sequence::proportion(q, effect, 1.0, 100.0),
        ];
        results.iter().flatten().for_each(sound);
        let _ = trend::mann_kendall(&x);
        let _ = ndcg(&x, &y, 10, Gain::Exponential);
        let _ = optimisation::validate(&x, &y, 1, &seed);
        let _ = Histogram::new(x.iter().copied().zip(y.iter().copied()).collect());
        let _ = Histogram::split(&x, q);
        let _ = threshold(3, q, effect);
        let blocks: Vec<(f64, f64)> = x.iter().copied().zip(y).collect();
        for value in [design_effect(&blocks, q, effect).value, rate_design_effect(&x, q, effect).value] {
            prop_assert!(value >= 1.0 && value.is_finite());
        }
    }

    #[test]
    fn no_look_makes_a_panic_or_a_nan(looks in prop::collection::vec((any_number(), any_number()), 0..30), p in any_number(), effect in any_number()) {
        let detectors = [Detector::share(p, effect), Detector::floor(p, effect), Detector::share(0.05, 3.0)];
        for mut detector in detectors.into_iter().flatten() {
            for (&(n, bad), at) in looks.iter().zip(1_i64..) {
                let before = detector.clone();
                let taken = detector.look(at, n, bad).is_ok() | detector.look_rate(at, n, bad).is_ok();
                prop_assert!(taken || detector == before);
                prop_assert!(!detector.log_evidence().is_nan() && detector.evidence().is_finite());
            }
        }
        let mut comparison = Comparison::new(2.0).unwrap();
        for &(n, bad) in &looks {
            let _ = comparison.look(n, bad, bad, n);
            prop_assert!(comparison.evidence().is_finite() && comparison.detector_evidence().is_finite());
        }
    }

    #[test]
    fn more_bad_requests_are_more_evidence(looks in prop::collection::vec((1.0..2000.0_f64, 0.0..0.2_f64), 1..40), effect in 1.0..50.0_f64) {
        let run = |extra: f64| {
            let mut detector = Detector::share(0.01, effect).unwrap();
            detector.start(0);
            for (&(n, share), at) in looks.iter().zip(1_i64..) {
                detector.look(at, n, (n * share + extra).min(n)).unwrap();
            }
            detector.log_evidence()
        };
        prop_assert!(run(1.0) >= run(0.0));
    }

    #[test]
    fn a_restart_replays_to_the_same_bits(looks in prop::collection::vec((0.0..2000.0_f64, 0.0..1.0_f64), 1..60)) {
        let run = || {
            let mut detector = Detector::share(0.05, 2.5).unwrap();
            detector.start(100);
            for (&(n, share), at) in looks.iter().zip(101_i64..) {
                detector.look(at, n, n * share * share).unwrap();
            }
            detector
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_betting_interval_holds_its_mean_and_mirrors(x in prop::collection::vec(0.0..=1.0_f64, 1..120)) {
        let interval = betting::mean(&x).unwrap();
        let mirrored = betting::mean(&x.iter().map(|value| 1.0 - value).collect::<Vec<f64>>()).unwrap();
        sound(&interval);
        prop_assert!(interval.ci95.contains(interval.value) && interval.ci95.low >= 0.0 && interval.ci95.high <= 1.0);
        prop_assert!((mirrored.ci95.low - (1.0 - interval.ci95.high)).abs() < 1e-9);
        prop_assert!((mirrored.ci95.high - (1.0 - interval.ci95.low)).abs() < 1e-9);
    }

    #[test]
    fn a_worse_new_release_is_more_evidence(looks in prop::collection::vec((1_u32..500, 0_u32..40, 1_u32..500), 1..30), effect in 1.0..80.0_f64) {
        // The same bad requests, one more of them the new release's.
        let run = |moved: f64| {
            let mut comparison = Comparison::new(effect).unwrap();
            for &(old, bad, new) in &looks {
                let bad = f64::from(bad) + 1.0;
                comparison.look(f64::from(old) + bad, bad - moved, f64::from(new) + 1.0, moved).unwrap();
            }
            comparison.log_evidence()
        };
        prop_assert!(run(1.0) >= run(0.0));
    }

    #[test]
    fn proportion_intervals_hold_their_value_and_shrink_with_n(bad in 0_u32..1000, extra in 0_u32..1000, factor in 2_u32..1000) {
        let (bad, n) = (f64::from(bad), f64::from(bad + extra + 1));
        for interval in [proportion::wilson, |bad, n, _| proportion::clopper_pearson(bad, n)] {
            let few = interval(bad, n, 1.0).unwrap();
            let many = interval(bad * f64::from(factor), n * f64::from(factor), 1.0).unwrap();
            sound(&few);
            prop_assert!(few.ci95.contains(few.value) && few.ci95.low >= 0.0 && few.ci95.high <= 1.0);
            prop_assert!(many.ci95.high - many.ci95.low <= few.ci95.high - few.ci95.low + 1e-12);
            // Good and bad exchanged: the mirror image.
            let mirror = interval(n - bad, n, 1.0).unwrap();
            prop_assert!((mirror.ci95.low - (1.0 - few.ci95.high)).abs() < 1e-9);
        }
    }

    #[test]
    fn quantiles_are_invariant_to_order_and_rise_with_q(mut x in prop::collection::vec(-1e6..1e6_f64, 1..200), q in 0.01..0.98_f64) {
        let before = quantile::quantile(&x, q, 1.0).unwrap();
        let higher = quantile::quantile(&x, q + 0.01, 1.0).unwrap();
        x.reverse();
        prop_assert_eq!(&before, &quantile::quantile(&x, q, 1.0).unwrap());
        prop_assert!(before.value <= higher.value && before.ci95.low <= higher.ci95.low);
        prop_assert!(before.ci95.contains(before.value));
    }

    #[test]
    fn histogram_intervals_hold_those_of_the_raw_values(x in prop::collection::vec(1e-3..20.0_f64, 80..300), q in 0.05..0.95_f64) {
        let edges = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, f64::INFINITY];
        let count = |edge: f64| x.iter().filter(|value| **value <= edge).count() as f64;
        let classic = Histogram::new(edges.map(|edge| (edge, count(edge))).to_vec()).unwrap().quantile(q, 1.0).unwrap();
        let mut buckets = std::collections::BTreeMap::new();
        for value in &x {
            *buckets.entry((value.log2() * 8.0).ceil() as i32).or_insert(0.0) += 1.0;
        }
        let native = NativeHistogram::new(3, 0.0, 0.0, buckets.into_iter().collect()).unwrap().quantile(q, 1.0).unwrap();
        let raw = quantile::quantile(&x, q, 1.0).unwrap();
        for binned in [classic, native] {
            prop_assert!(binned.ci95.low <= raw.ci95.low && binned.ci95.high >= raw.ci95.high * (1.0 - 1e-9));
        }
    }

    #[test]
    fn an_edge_choice_brackets_its_threshold(mut edges in prop::collection::vec(1e-3..1e3_f64, 1..20), threshold in 1e-3..1e3_f64) {
        edges.sort_unstable_by(f64::total_cmp);
        match Histogram::split(&edges, threshold) {
            EdgeChoice::At { edge, .. } => prop_assert!((edge / threshold - 1.0).abs() <= 0.1 + 1e-9),
            EdgeChoice::Between { low, high } => prop_assert!(low < threshold && threshold < high),
            EdgeChoice::Above { low } => prop_assert!(low < threshold),
            EdgeChoice::Below { high } => prop_assert!(high > threshold),
            EdgeChoice::Unresolved => prop_assert!(false),
        }
    }

    #[test]
    fn ndcg_lies_in_the_unit_interval(grades in prop::collection::vec(0_u32..5, 1..30)) {
        let grades: Vec<f64> = grades.into_iter().map(f64::from).collect();
        for gain in [Gain::Linear, Gain::Exponential] {
            if let Ok(value) = ndcg(&grades, &grades, 10, gain) {
                prop_assert!((0.0..=1.0).contains(&value));
                let mut best = grades.clone();
                best.sort_unstable_by(|a, b| b.total_cmp(a));
                prop_assert!((ndcg(&best, &grades, 10, gain).unwrap() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn quantile_functions_invert(p in 1e-6..(1.0 - 1e-6), a in 0.1..1e5_f64, b in 0.1..1e5_f64) {
        let x = special::beta_quantile(p, a, b);
        prop_assert!((0.0..=1.0).contains(&x));
        // Where the law is a spike at an end, x has no float of its own.
        if x > 1e-12 && x < 1.0 - 1e-9 {
            prop_assert!((special::beta_inc(a, b, x) - p).abs() < 1e-6, "{} {}", x, special::beta_inc(a, b, x));
        }
        prop_assert!((special::normal_cdf(special::normal_quantile(p)) - p).abs() < 1e-12);
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn bootstraps_are_sound_or_say_why_not(x in any_series(), y in any_series(), bad in 0_u64..50, extra in 0_u64..50) {
        let seed = Seed::new("properties", "bootstrap");
        let clusters: Vec<u64> = (0..x.len() as u64).map(|i| i / 3).collect();
        let results = [
            bootstrap::mean(&x, &seed),
            bootstrap::variance(&x, &seed).map(|mut estimate| {
                // Ten values can leave a variance without an upper end.
                estimate.ci95.high = estimate.ci95.high.min(f64::MAX);
                estimate
            }),
            bootstrap::ratio(&x, &y, &seed),
            bootstrap::paired_difference(&x, &y, &seed),
            bootstrap::difference_of_means(&x, &y, &seed),
            bootstrap::ratio_of_means(&x, &y, &seed),
            bootstrap::cluster_mean(&x, &clusters, &seed),
            shortcut::proportion(bad, bad + extra, &seed),
            conflict::conflict_auc(&x, &seed),
        ];
        results.iter().flatten().for_each(sound);
        let _ = latency::profile(&x, &seed);
        let correct: Vec<bool> = y.iter().map(|value| *value > 5.0).collect();
        if let Ok(result) = calibration::calibration(&x, &correct, Binning::EqualMass, &seed) {
            sound(&result.ece);
            prop_assert!(result.debiased >= 0.0 && result.debiased <= 1.0);
        }
    }

    #[test]
    fn a_bootstrap_moves_with_its_values(x in prop::collection::vec(0.0..100.0_f64, 5..80), shift in -50.0..50.0_f64, scale in 0.1..10.0_f64) {
        prop_assume!(x.iter().any(|value| (value - x[0]).abs() > 1e-3));
        let seed = Seed::new("properties", "invariance");
        let moved: Vec<f64> = x.iter().map(|value| scale * value + shift).collect();
        let (before, after) = (bootstrap::mean(&x, &seed).unwrap(), bootstrap::mean(&moved, &seed).unwrap());
        prop_assert!((after.ci95.low - (scale * before.ci95.low + shift)).abs() < 1e-6);
        prop_assert!((after.ci95.high - (scale * before.ci95.high + shift)).abs() < 1e-6);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let latencies: Vec<f64> = (0..500).map(|i| 100.0 + f64::from(i * 7919 % 1000) / 3.0).collect();
    let faster: Vec<f64> = (0_u32..)
        .zip(&latencies)
        .map(|(i, x)| x * (0.9 + f64::from(i % 7) / 100.0))
        .collect();
    let confidences: Vec<f64> = (0..500).map(|i| f64::from(i) / 499.0).collect();
    let correct: Vec<bool> = (0..500).map(|i| i % 3 > 0).collect();
    let seed = Seed::new("properties", "threads");
    let estimates = || {
        let optimisation = optimisation::validate(&latencies, &faster, 2, &seed).unwrap();
        [
            bootstrap::mean(&latencies, &seed).unwrap(),
            bootstrap::variance(&latencies, &seed).unwrap(),
            bootstrap::difference_of_means(&latencies, &faster, &seed).unwrap(),
            shortcut::proportion(30, 500, &seed).unwrap(),
            optimisation.mean_reduction,
            optimisation.p95_reduction,
            calibration::calibration(&confidences, &correct, Binning::EqualMass, &seed)
                .unwrap()
                .ece,
        ]
        .map(|estimate| [estimate.value, estimate.ci95.low, estimate.ci95.high].map(f64::to_bits))
    };
    let with = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(estimates)
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(16));
}
