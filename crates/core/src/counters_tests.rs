#![expect(clippy::float_cmp, reason = "counts are whole numbers")]
#![expect(clippy::unnecessary_wraps, reason = "the expected values are readings")]

use super::*;

#[path = "counters_tests/doubt.rs"]
mod doubt;
#[path = "counters_tests/properties.rs"]
mod properties;
#[path = "counters_tests/unseen.rs"]
mod unseen;

const STALE_AFTER: f64 = 30.0;

/// A pod that was scraped at `at`, with its edges at 100 ms and 500 ms and every request between them.
fn pod(at: i64, requests: f64, errors: Option<f64>) -> PodCounters {
    PodCounters {
        sampled_at: Some(at as f64),
        requests: Some(requests),
        errors,
        errors_seen: true,
        latency: vec![(0.1, 0.0), (0.5, requests), (f64::INFINITY, requests)],
        in_flight: Some(2.0),
        gpu_utilization: vec![0.7],
        gpu_memory: vec![0.6],
    }
}

fn snapshot<const N: usize>(at: i64, pods: [(&str, PodCounters); N]) -> Snapshot {
    Snapshot {
        at,
        pods: pods.into_iter().map(|(name, pod)| (name.to_owned(), pod)).collect(),
        failures: BTreeMap::new(),
    }
}

fn failing(mut snapshot: Snapshot, metric: Metric, unknown: NoDataReason) -> Snapshot {
    snapshot.failures.insert(metric, unknown);
    snapshot
}

/// A release whose pods' names begin with `new-`.
struct Release {
    differ: CounterDeltas,
    expected: usize,
    born: Option<i64>,
}

impl Release {
    fn old(expected: usize) -> Self {
        Self {
            differ: CounterDeltas::default(),
            expected,
            born: None,
        }
    }

    fn born(at: i64, expected: usize) -> Self {
        Self {
            born: Some(at),
            ..Self::old(expected)
        }
    }

    fn look(&mut self, snapshot: &Snapshot) -> Look {
        self.differ.look(
            snapshot,
            Coverage {
                belongs: &|name| name.starts_with("new-"),
                expected: self.expected,
                born: self.born,
                stale_after: STALE_AFTER,
            },
        )
    }
}

fn counts(n: f64, bad: f64) -> Reading<Counts> {
    Ok(Counts { n, bad })
}

fn exposure(count: f64, seconds: f64) -> Reading<Exposure> {
    Ok(Exposure { count, seconds })
}

fn cumulative(look: &Look) -> Vec<f64> {
    look.latency.as_ref().unwrap().cumulative.clone()
}

#[test]
fn the_first_reading_of_an_old_pod_only_sets_the_mark() {
    let mut release = Release::old(1);
    let first = release.look(&snapshot(1_000, [("new-a", pod(1_000, 9_000.0, Some(800.0)))]));
    assert_eq!(first.errors, Err(NoDataReason::FirstReading));
    assert_eq!(first.latency, Err(NoDataReason::FirstReading));
    assert_eq!(first.completed, Err(NoDataReason::FirstReading));
    let second = release.look(&snapshot(1_015, [("new-a", pod(1_015, 9_100.0, Some(801.0)))]));
    assert_eq!(second.errors, counts(100.0, 1.0));
    assert_eq!(cumulative(&second), [0.0, 100.0, 100.0]);
    assert_eq!(second.completed, exposure(100.0, 15.0));
}

#[test]
fn a_new_pod_of_a_young_release_counts_in_full_and_of_an_older_one_does_not() {
    for (born, expected) in [
        (900, counts(40.0, 4.0)),
        (700, counts(40.0, 4.0)),
        (699, Err(NoDataReason::FirstReading)),
    ] {
        let mut release = Release::born(born, 1);
        let look = release.look(&snapshot(1_000, [("new-a", pod(1_000, 40.0, Some(4.0)))]));
        assert_eq!(look.errors, expected, "born at {born}");
        assert_eq!(look.latency.is_ok(), expected.is_ok(), "born at {born}");
        // In how many seconds these requests ended is not known.
        assert_eq!(look.completed, Err(NoDataReason::FirstReading));
    }
}

#[test]
fn a_counter_that_was_reset_counts_what_it_shows_since() {
    let mut release = Release::old(1);
    release.look(&snapshot(1_000, [("new-a", pod(1_000, 9_000.0, Some(90.0)))]));
    let look = release.look(&snapshot(1_015, [("new-a", pod(1_015, 30.0, Some(3.0)))]));
    assert_eq!(look.errors, counts(30.0, 3.0));
    assert_eq!(cumulative(&look), [0.0, 30.0, 30.0]);
    let next = release.look(&snapshot(1_030, [("new-a", pod(1_030, 50.0, Some(3.0)))]));
    assert_eq!(next.errors, counts(20.0, 0.0));
}

#[test]
fn a_reset_without_failures_since_has_none() {
    let mut release = Release::old(1);
    release.look(&snapshot(1_000, [("new-a", pod(1_000, 9_000.0, Some(90.0)))]));
    let look = release.look(&snapshot(1_015, [("new-a", pod(1_015, 30.0, None))]));
    assert_eq!(look.errors, counts(30.0, 0.0));
    let next = release.look(&snapshot(1_030, [("new-a", pod(1_030, 60.0, Some(2.0)))]));
    assert_eq!(next.errors, counts(30.0, 2.0));
}

#[test]
fn an_errors_series_that_appears_later_began_at_zero() {
    let mut release = Release::old(1);
    release.look(&snapshot(1_000, [("new-a", pod(1_000, 9_000.0, None))]));
    let none = release.look(&snapshot(1_015, [("new-a", pod(1_015, 9_100.0, None))]));
    assert_eq!(none.errors, counts(100.0, 0.0));
    let some = release.look(&snapshot(1_030, [("new-a", pod(1_030, 9_200.0, Some(5.0)))]));
    assert_eq!(some.errors, counts(100.0, 5.0));
}

#[test]
fn failures_cannot_outnumber_requests() {
    let mut release = Release::old(1);
    release.look(&snapshot(1_000, [("new-a", pod(1_000, 9_000.0, Some(0.0)))]));
    let look = release.look(&snapshot(1_015, [("new-a", pod(1_015, 9_010.0, Some(12.0)))]));
    assert_eq!(look.errors, counts(10.0, 10.0));
}

#[test]
fn failures_that_are_not_of_these_requests_are_no_share() {
    for (what, requests, errors) in [
        ("another metric's value", 9_010.0, 9_000.0),
        ("more failures than requests ever", 9_010.0, 40_000.0),
        ("the failures where the requests should be", 90.0, 90.0),
    ] {
        let mut release = Release::old(1);
        release.look(&snapshot(1_000, [("new-a", pod(1_000, 9_000.0, Some(90.0)))]));
        let look = release.look(&snapshot(1_015, [("new-a", pod(1_015, requests, Some(errors)))]));
        assert_eq!(look.errors, Err(NoDataReason::BadValue), "{what}");
        let next = release.look(&snapshot(1_030, [("new-a", pod(1_030, 9_200.0, Some(91.0)))]));
        assert_eq!(next.errors, counts(200.0, 1.0), "{what}");
    }
    let mut young = Release::born(990, 1);
    let look = young.look(&snapshot(1_000, [("new-a", pod(1_000, 40.0, Some(4_000.0)))]));
    assert_eq!(look.errors, Err(NoDataReason::BadValue));
}

#[test]
fn failures_without_requests_are_no_share() {
    let mut release = Release::born(990, 1);
    let only_errors = PodCounters {
        requests: None,
        latency: Vec::new(),
        ..pod(1_000, 0.0, Some(7.0))
    };
    let look = release.look(&snapshot(1_000, [("new-a", only_errors)]));
    assert_eq!(look.errors, Err(NoDataReason::NoData));
    assert_eq!(look.latency, Err(NoDataReason::NoData));
    assert_eq!(look.completed, Err(NoDataReason::NoData));
}

#[test]
fn pods_of_the_release_are_summed_and_others_only_share_the_load() {
    let mut release = Release::old(2);
    let at = |at, a, b, c| {
        snapshot(
            at,
            [
                ("new-a", pod(at, a, None)),
                ("new-b", pod(at, b, Some(b / 10.0))),
                ("old-c", pod(at, c, Some(c))),
            ],
        )
    };
    release.look(&at(1_000, 100.0, 200.0, 300.0));
    let look = release.look(&at(1_015, 150.0, 230.0, 900.0));
    assert_eq!(look.errors, counts(80.0, 3.0));
    assert_eq!(cumulative(&look), [0.0, 80.0, 80.0]);
    assert_eq!(look.completed, exposure(80.0, 15.0));
    assert!((look.share - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(look.in_flight, Ok(4.0));
    assert_eq!(look.gpu_utilization, Ok(vec![0.7, 0.7]));
    assert_eq!(look.gpu_memory, Ok(vec![0.6, 0.6]));
}

#[test]
fn a_pod_that_is_scraped_but_not_ready_takes_no_share_of_the_load() {
    let mut release = Release::old(1);
    let look = release.look(&snapshot(
        1_000,
        [
            ("new-ready", pod(1_000, 10.0, None)),
            ("new-loading", pod(1_000, 0.0, None)),
            ("old-a", pod(1_000, 10.0, None)),
            ("old-b", pod(1_000, 10.0, None)),
            ("old-c", pod(1_000, 10.0, None)),
        ],
    ));
    assert!((look.share - 0.25).abs() < 1e-12);
}

#[test]
fn more_expected_pods_than_covered_ones_make_a_throughput_partial() {
    let mut release = Release::old(3);
    let at = |at, requests| {
        snapshot(
            at,
            [
                ("new-a", pod(at, requests, None)),
                ("new-b", pod(at, requests, Some(requests))),
            ],
        )
    };
    release.look(&at(1_000, 100.0));
    let look = release.look(&at(1_015, 150.0));
    assert_eq!(look.completed, Err(NoDataReason::Partial));
    assert_eq!(look.errors, counts(100.0, 50.0));
    assert!(look.latency.is_ok());
}

#[test]
fn the_look_in_which_a_pod_vanishes_has_no_throughput() {
    let mut release = Release::old(2);
    let both = |at, requests| {
        snapshot(
            at,
            [("new-a", pod(at, requests, None)), ("new-b", pod(at, requests, None))],
        )
    };
    release.look(&both(1_000, 100.0));
    release.look(&both(1_015, 150.0));
    release.expected = 1;
    let gone = release.look(&snapshot(1_030, [("new-a", pod(1_030, 200.0, None))]));
    assert_eq!(gone.errors, counts(50.0, 0.0));
    assert_eq!(gone.completed, Err(NoDataReason::Partial));
    let after = release.look(&snapshot(1_045, [("new-a", pod(1_045, 300.0, None))]));
    assert_eq!(after.completed, exposure(100.0, 15.0));
}

#[test]
fn a_pod_that_vanished_while_the_source_was_down_is_missed_too() {
    let mut release = Release::old(2);
    let both = [("new-a", pod(1_000, 100.0, None)), ("new-b", pod(1_000, 100.0, None))];
    release.look(&snapshot(1_000, both));
    for at in [1_015, 1_030] {
        let down = failing(snapshot(at, []), Metric::Requests, NoDataReason::ProviderError);
        assert_eq!(release.look(&down).completed, Err(NoDataReason::ProviderError));
    }
    release.expected = 1;
    let back = release.look(&snapshot(1_045, [("new-a", pod(1_045, 300.0, None))]));
    assert_eq!(back.completed, Err(NoDataReason::Partial));
}

#[test]
fn skipped_snapshots_lengthen_the_exposure_of_the_next() {
    let mut release = Release::old(1);
    release.look(&snapshot(1_000, [("new-a", pod(1_000, 100.0, None))]));
    for at in [1_015, 1_030, 1_045] {
        let down = failing(snapshot(at, []), Metric::Requests, NoDataReason::ProviderError);
        release.look(&failing(down, Metric::Latency, NoDataReason::Partial));
    }
    let look = release.look(&snapshot(1_060, [("new-a", pod(1_060, 700.0, Some(6.0)))]));
    assert_eq!(look.completed, exposure(600.0, 60.0));
    assert_eq!(look.errors, counts(600.0, 6.0));
    assert_eq!(cumulative(&look), [0.0, 600.0, 600.0]);
}

#[test]
fn scrapes_twice_as_long_as_a_look_show_the_true_rate() {
    // One request a second; a scrape every 30 s, a look every 15 s.
    let mut release = Release::old(1);
    let (mut count, mut seconds) = (0.0, 0.0);
    for at in (1_000..1_300).step_by(15) {
        let scraped = at - (at - 1_000) % 30;
        let look = release.look(&snapshot(at, [("new-a", pod(scraped, scraped as f64, None))]));
        let Ok(completed) = look.completed else {
            assert_eq!(at, 1_000);
            continue;
        };
        if scraped < at {
            assert_eq!(completed, Exposure::default(), "no new sample says nothing of the rate");
        }
        count += completed.count;
        seconds += completed.seconds;
    }
    assert_eq!((count, seconds), (270.0, 270.0));
}

#[test]
fn pods_scraped_at_different_times_are_weighed_by_their_own_time() {
    let mut release = Release::old(2);
    let at = |at, first: (i64, f64), second: (i64, f64)| {
        snapshot(
            at,
            [
                ("new-a", pod(first.0, first.1, None)),
                ("new-b", pod(second.0, second.1, None)),
            ],
        )
    };
    release.look(&at(1_000, (1_000, 0.0), (990, 0.0)));
    // Each pod ends 4 requests a second.
    let look = release.look(&at(1_015, (1_015, 60.0), (1_010, 80.0)));
    let completed = look.completed.unwrap();
    assert!((completed.count / completed.seconds - 8.0).abs() < 1e-12);
}

#[test]
fn a_release_without_pods_is_no_release_without_metrics() {
    for (expected, unknown) in [(0, NoDataReason::NoPods), (2, NoDataReason::NoData)] {
        let look = Release::old(expected).look(&snapshot(1_000, []));
        assert_eq!(look.errors, Err(unknown));
        assert_eq!(look.latency, Err(unknown));
        assert_eq!(look.in_flight, Err(unknown));
        assert_eq!(look.gpu_memory, Err(unknown));
    }
}

#[test]
fn memory_is_bounded_by_the_pods_of_about_an_hour() {
    let mut release = Release::old(1);
    for index in 0..10_000_i64 {
        let (at, name) = (1_000 + 15 * index, format!("new-{index}"));
        release.look(&snapshot(at, [(name.as_str(), pod(at, 1.0, None))]));
    }
    assert_eq!(release.differ.remembered(), 241);
}

#[test]
fn a_reason_has_a_stable_name() {
    let all = [
        (NoDataReason::NoData, "NoData"),
        (NoDataReason::Stale, "Stale"),
        (NoDataReason::Partial, "Partial"),
        (NoDataReason::ProviderError, "ProviderError"),
        (NoDataReason::BadValue, "BadValue"),
        (NoDataReason::FirstReading, "FirstReading"),
        (NoDataReason::NotConfigured, "NotConfigured"),
        (NoDataReason::NoPods, "NoPods"),
    ];
    for (unknown, name) in all {
        assert_eq!(unknown.reason(), name);
        assert_eq!(serde_json::to_value(unknown).unwrap(), name);
    }
}
