//! A look takes no memory from the heap, however many looks went before.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use quality_stats::comparison::Comparison;
use quality_stats::mixture::Mixture;
use quality_stats::sequential::Detector;

fn allocations(run: impl FnOnce()) -> u64 {
    allocation_counter::measure(run).count_total
}

#[test]
fn the_counter_counts() {
    assert!(allocations(|| drop(std::hint::black_box(vec![1_u8]))) > 0);
}

#[test]
fn a_look_of_a_detector_allocates_nothing() {
    for effect in [1.0, 5.0] {
        let mut share = Detector::share(0.01, effect).unwrap();
        let mut rate = Detector::floor(80.0, effect).unwrap();
        let counted = allocations(|| {
            share.start(0);
            rate.start(0);
            for look in 1..=1_000 {
                share.look(15 * look, 1_500.0, 20.0).unwrap();
                rate.look_rate(15 * look, 15.0, 1_000.0).unwrap();
                std::hint::black_box((share.evidence(), share.onset(), rate.evidence(), rate.onset()));
            }
            assert!(share.look(0, 1.0, 2.0).is_err());
        });
        assert_eq!(counted, 0, "D = {effect}");
    }
}

#[test]
fn a_look_of_a_comparison_or_mixture_allocates_nothing() {
    for effect in [1.0, 5.0] {
        let mut comparison = Comparison::new(effect).unwrap();
        let mut mixture = Mixture::share(0.01, effect).unwrap();
        let counted = allocations(|| {
            for _ in 0..100 {
                comparison.look(1_000.0, 10.0, 500.0, 7.5).unwrap();
                mixture.look(1_000.0, 10.0).unwrap();
                std::hint::black_box((
                    comparison.evidence(),
                    comparison.detector_evidence(),
                    mixture.evidence(),
                ));
            }
        });
        assert_eq!(counted, 0, "D = {effect}");
    }
}
