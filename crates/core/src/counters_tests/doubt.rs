//! Data that cannot be trusted is never counted, and what came before or after it still is.

use super::*;

fn with(change: impl Fn(&mut PodCounters)) -> PodCounters {
    let mut pod = pod(1_015, 9_100.0, Some(60.0));
    change(&mut pod);
    pod
}

/// A second look of an old pod whose first reading was 9,000 requests and 50 failures at 1,000.
fn second(pod: PodCounters) -> (Release, Look) {
    let mut release = Release::old(1);
    release.look(&snapshot(1_000, [("new-a", super::pod(1_000, 9_000.0, Some(50.0)))]));
    let look = release.look(&snapshot(1_015, [("new-a", pod)]));
    (release, look)
}

/// The third look covers the second's stretch when that had no usable value.
fn third(release: &mut Release) -> Look {
    release.look(&snapshot(1_030, [("new-a", pod(1_030, 9_300.0, Some(62.0)))]))
}

#[test]
fn counters_that_are_no_counts_are_bad_values_and_the_next_look_covers_them() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e308] {
        let requests = with(|pod| pod.requests = Some(bad));
        let errors = with(|pod| pod.errors = Some(bad));
        for broken in [requests, errors] {
            let (mut release, look) = second(broken);
            assert_eq!(look.errors, Err(NoDataReason::BadValue), "{bad}");
            assert_eq!(look.completed, Err(NoDataReason::BadValue), "{bad}");
            assert!(look.latency.is_ok(), "the histogram of {bad} is whole");
            let next = third(&mut release);
            assert_eq!(next.errors, counts(300.0, 12.0), "{bad}");
            assert_eq!(next.completed, exposure(300.0, 30.0), "{bad}");
        }
    }
}

#[test]
fn broken_histograms_are_bad_values_and_the_next_look_covers_them() {
    let inf = f64::INFINITY;
    for broken in [
        vec![(0.1, 9_000.0), (0.5, 8_999.0), (inf, 9_100.0)],
        vec![(0.1, 0.0), (0.5, f64::NAN), (inf, 9_100.0)],
        vec![(0.1, 0.0), (0.5, 9_100.0), (inf, inf)],
        vec![(0.1, -1.0), (0.5, 9_100.0), (inf, 9_100.0)],
        vec![(0.1, 0.0), (0.5, 9_100.0)],
        vec![(0.5, 0.0), (0.1, 9_100.0), (inf, 9_100.0)],
        vec![(0.1, 0.0), (0.1, 9_100.0), (inf, 9_100.0)],
        vec![(0.1, 0.0), (f64::NAN, 9_100.0), (inf, 9_100.0)],
    ] {
        let (mut release, look) = second(with(|pod| pod.latency.clone_from(&broken)));
        assert_eq!(look.latency, Err(NoDataReason::BadValue), "{broken:?}");
        assert_eq!(look.errors, counts(100.0, 10.0), "the counters are whole");
        assert_eq!(cumulative(&third(&mut release)), [0.0, 300.0, 300.0], "{broken:?}");
    }
}

#[test]
fn a_bucket_that_is_missing_from_one_answer_does_not_count_history_as_new() {
    let (mut release, look) = second(with(|pod| {
        pod.latency.remove(0);
    }));
    assert_eq!(look.latency, Err(NoDataReason::BadValue));
    assert_eq!(cumulative(&third(&mut release)), [0.0, 300.0, 300.0]);
}

#[test]
fn a_layout_that_changed_for_good_counts_again_after_a_while() {
    let mut release = Release::old(1);
    let other = |at: i64, requests| PodCounters {
        latency: vec![(0.2, requests), (f64::INFINITY, requests)],
        ..pod(at, requests, None)
    };
    release.look(&snapshot(1_000, [("new-a", pod(1_000, 9_000.0, None))]));
    let mut sums = Vec::new();
    for at in (1_015..1_100).step_by(15) {
        let look = release.look(&snapshot(at, [("new-a", other(at, 8_000.0 + at as f64))]));
        sums.push(look.latency.map(|histogram| histogram.cumulative[1]));
    }
    let bad = Err(NoDataReason::BadValue);
    let first = Err(NoDataReason::FirstReading);
    assert_eq!(sums, [bad, bad, first, Ok(15.0), Ok(15.0), Ok(15.0)]);
}

#[test]
fn a_layout_that_changed_with_a_restart_counts_in_full() {
    let restarted = with(|pod| {
        pod.latency = vec![(0.2, 3.0), (f64::INFINITY, 5.0)];
    });
    let (_, look) = second(restarted);
    assert_eq!(cumulative(&look), [3.0, 5.0]);
}

#[test]
fn pods_with_other_edges_cannot_be_summed() {
    let mut release = Release::born(990, 2);
    let other = PodCounters {
        latency: vec![(0.2, 10.0), (0.5, 10.0), (f64::INFINITY, 10.0)],
        ..pod(1_000, 10.0, None)
    };
    let look = release.look(&snapshot(1_000, [("new-a", pod(1_000, 10.0, None)), ("new-b", other)]));
    assert_eq!(look.latency, Err(NoDataReason::BadValue));
    assert_eq!(look.errors, counts(20.0, 0.0));
}

#[test]
fn gauges_that_are_no_shares_are_left_out_and_bad_when_none_is_left() {
    let (_, look) = second(with(|pod| {
        pod.in_flight = Some(f64::NAN);
        pod.gpu_utilization = vec![f64::NAN, 0.4];
        pod.gpu_memory = vec![-1.0, f64::INFINITY];
    }));
    assert_eq!(look.in_flight, Err(NoDataReason::BadValue));
    assert_eq!(look.gpu_utilization, Ok(vec![0.4]));
    assert_eq!(look.gpu_memory, Err(NoDataReason::BadValue));
    assert!(look.errors.is_ok());
}

#[test]
fn a_sample_counts_up_to_its_age_and_not_from_the_future() {
    for (sampled_at, usable) in [
        (Some(1_015.0), true),
        (Some(985.5), true),
        (Some(984.9), false),
        (Some(1_016.0), true),
        (Some(1_016.1), false),
        (Some(f64::NAN), false),
        (None, false),
    ] {
        let mut release = Release::old(1);
        release.look(&snapshot(985, [("new-a", pod(985, 9_000.0, None))]));
        let sample = with(|pod| pod.sampled_at = sampled_at);
        let look = release.look(&snapshot(1_015, [("new-a", sample)]));
        let expected = if usable {
            counts(100.0, 60.0)
        } else {
            Err(NoDataReason::Stale)
        };
        assert_eq!(look.errors, expected, "{sampled_at:?}");
        assert_eq!(look.latency.is_ok(), usable, "{sampled_at:?}");
        assert_eq!(look.gpu_memory.is_ok(), usable, "{sampled_at:?}");
        assert_eq!(look.share > 0.0, usable, "{sampled_at:?}");
    }
}

#[test]
fn rows_of_a_failed_query_never_count() {
    let known = |look: &Look| {
        [
            look.errors.err(),
            look.latency.as_ref().err().copied(),
            look.completed.err(),
            look.in_flight.err(),
            look.gpu_utilization.as_ref().err().copied(),
            look.gpu_memory.as_ref().err().copied(),
        ]
    };
    for unknown in [NoDataReason::ProviderError, NoDataReason::Partial] {
        let failed = Some(unknown);
        for (metric, expected) in [
            (Metric::Requests, [failed, None, failed, None, None, None]),
            (Metric::Errors, [failed, None, failed, None, None, None]),
            (Metric::Latency, [None, failed, None, None, None, None]),
            (Metric::InFlight, [None, None, None, failed, None, None]),
            (Metric::GpuUtilization, [None, None, None, None, failed, None]),
            (Metric::GpuMemory, [None, None, None, None, None, failed]),
        ] {
            let mut release = Release::old(1);
            release.look(&snapshot(1_000, [("new-a", pod(1_000, 9_000.0, Some(50.0)))]));
            let sample = snapshot(1_015, [("new-a", pod(1_015, 9_100.0, Some(60.0)))]);
            let look = release.look(&failing(sample, metric, unknown));
            assert_eq!(known(&look), expected, "{metric:?}");
            // What the failed query would have said is in the next look.
            let next = third(&mut release);
            assert_eq!(known(&next), [None; 6], "{metric:?}");
            let whole = matches!(metric, Metric::Requests | Metric::Errors);
            assert_eq!(next.errors.unwrap().n, if whole { 300.0 } else { 200.0 });
            let whole = metric == Metric::Latency;
            assert_eq!(cumulative(&next)[2], if whole { 300.0 } else { 200.0 });
        }
    }
}

#[test]
fn a_first_query_that_failed_does_not_make_history_new() {
    for metric in [Metric::Requests, Metric::Errors, Metric::Latency] {
        let mut release = Release::old(1);
        let first = snapshot(1_000, [("new-a", pod(1_000, 9_000.0, Some(900.0)))]);
        release.look(&failing(first, metric, NoDataReason::ProviderError));
        let look = release.look(&snapshot(1_015, [("new-a", pod(1_015, 9_100.0, Some(901.0)))]));
        if metric == Metric::Latency {
            assert_eq!(look.errors, counts(100.0, 1.0));
            assert_eq!(look.latency, Err(NoDataReason::FirstReading));
        } else {
            assert_eq!(look.errors, Err(NoDataReason::FirstReading), "{metric:?}");
            assert_eq!(look.completed, Err(NoDataReason::FirstReading), "{metric:?}");
            assert_eq!(cumulative(&look), [0.0, 100.0, 100.0]);
        }
    }
}

#[test]
fn an_errors_series_that_goes_and_comes_back_is_not_counted_twice() {
    for gone in [1, 2, 3, 10] {
        let mut release = Release::old(1);
        let mut bad = 0.0;
        for look in 0..40_i64 {
            let at = 1_000 + 15 * look;
            // Half a percent fails; 50 had failed before.
            let errors = (!(5..5 + gone).contains(&look)).then_some(50.0 + look as f64);
            let sample = pod(at, 9_000.0 + 200.0 * look as f64, errors);
            if let Ok(counts) = release.look(&snapshot(at, [("new-a", sample)])).errors {
                assert!(counts.bad <= 0.01 * counts.n, "{counts:?} at look {look}");
                bad += counts.bad;
            }
        }
        assert!(bad > 0.0 && bad <= 39.0, "{bad}");
    }
}

#[test]
fn replicas_of_a_source_that_answer_in_turn_count_nothing_twice() {
    // Ten requests a second; the second replica scraped six seconds before the first.
    let mut release = Release::old(1);
    let (mut n, mut bad, mut seconds) = (0.0, 0.0, 0.0);
    for look in 0..100_i64 {
        let at = 100_000 + 5 * look;
        let scraped = at - 6 * (look % 2);
        let requests = 10.0 * scraped as f64;
        let look = release.look(&snapshot(at, [("new-a", pod(scraped, requests, Some(requests / 1e3)))]));
        if let (Ok(counts), Ok(completed)) = (look.errors, look.completed) {
            n += counts.n;
            bad += counts.bad;
            seconds += completed.seconds;
        }
    }
    let last = 490.0;
    assert!(
        (n - 10.0 * last).abs() < 1e-6 && (seconds - last).abs() < 1e-6,
        "{n} in {seconds}"
    );
    assert!((bad - n / 1e3).abs() < 1e-6);
}

#[test]
fn counters_a_scrape_behind_their_time_wait_for_the_next_reading() {
    let (mut release, look) = second(with(|pod| {
        pod.requests = Some(8_990.0);
        pod.latency = vec![(0.1, 0.0), (0.5, 8_990.0), (f64::INFINITY, 8_990.0)];
    }));
    assert_eq!(look.errors, Err(NoDataReason::BadValue));
    assert_eq!(look.latency, Err(NoDataReason::BadValue));
    let next = third(&mut release);
    assert_eq!(next.errors, counts(300.0, 12.0));
    assert_eq!(cumulative(&next), [0.0, 300.0, 300.0]);
}
