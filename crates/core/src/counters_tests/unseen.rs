//! No failures seen are none only where they would be counted.

use super::*;

/// A pod without a series of failures, on which nothing shows that they would be counted.
fn unseen(at: i64, requests: f64) -> PodCounters {
    PodCounters {
        errors_seen: false,
        ..pod(at, requests, None)
    }
}

#[test]
fn requests_whose_failures_nobody_counts_have_no_error_rate_and_all_else() {
    let mut release = Release::old(1);
    let first = release.look(&snapshot(1_000, [("new-a", unseen(1_000, 9_000.0))]));
    assert_eq!(first.errors, Err(NoDataReason::FirstReading));
    let look = release.look(&snapshot(1_015, [("new-a", unseen(1_015, 10_500.0))]));
    assert_eq!(look.errors, Err(NoDataReason::ErrorsNotSeen));
    assert_eq!(look.completed, exposure(1_500.0, 15.0));
    assert_eq!(cumulative(&look), [0.0, 1_500.0, 1_500.0]);
}

#[test]
fn the_first_failure_counts_from_zero_and_failures_are_known_from_then_on() {
    let mut release = Release::old(1);
    let failed = |at, requests, errors| PodCounters {
        errors,
        ..unseen(at, requests)
    };
    release.look(&snapshot(1_000, [("new-a", unseen(1_000, 9_000.0))]));
    release.look(&snapshot(1_015, [("new-a", unseen(1_015, 9_100.0))]));
    let first = release.look(&snapshot(1_030, [("new-a", failed(1_030, 9_200.0, Some(5.0)))]));
    assert_eq!(first.errors, counts(100.0, 5.0));
    // A pod that began anew has forgotten its failures, and with them the series.
    let anew = release.look(&snapshot(1_045, [("new-a", failed(1_045, 40.0, None))]));
    assert_eq!(anew.errors, counts(40.0, 0.0));
}

#[test]
fn what_one_pod_counts_its_release_counts_and_another_release_does_not() {
    let mut release = Release::old(2);
    let both = |at: i64, requests: f64| {
        [
            ("new-a", unseen(at, requests)),
            (
                "old-b",
                PodCounters {
                    errors_seen: true,
                    ..unseen(at, requests)
                },
            ),
        ]
    };
    release.look(&snapshot(1_000, both(1_000, 9_000.0)));
    let look = release.look(&snapshot(1_015, both(1_015, 9_100.0)));
    assert_eq!(look.errors, Err(NoDataReason::ErrorsNotSeen));
    let seen = PodCounters {
        errors_seen: true,
        ..unseen(1_030, 9_000.0)
    };
    let look = release.look(&snapshot(1_030, [("new-a", unseen(1_030, 9_200.0)), ("new-c", seen)]));
    assert_eq!(look.errors, counts(100.0, 0.0));
}

#[test]
fn before_the_first_request_there_is_nothing_to_fail() {
    let mut release = Release::born(1_000, 1);
    let idle = release.look(&snapshot(1_000, [("new-a", unseen(1_000, 0.0))]));
    assert_eq!(idle.errors, counts(0.0, 0.0));
    let busy = release.look(&snapshot(1_015, [("new-a", unseen(1_015, 10.0))]));
    assert_eq!(busy.errors, Err(NoDataReason::ErrorsNotSeen));
}

#[test]
fn an_answer_that_failed_shows_nothing() {
    let mut release = Release::old(1);
    release.look(&snapshot(1_000, [("new-a", unseen(1_000, 9_000.0))]));
    let part = snapshot(1_015, [("new-a", pod(1_015, 9_100.0, None))]);
    let look = release.look(&failing(part, Metric::Errors, NoDataReason::ProviderError));
    assert_eq!(look.errors, Err(NoDataReason::ProviderError));
    let next = release.look(&snapshot(1_030, [("new-a", unseen(1_030, 9_200.0))]));
    assert_eq!(next.errors, Err(NoDataReason::ErrorsNotSeen));
}
