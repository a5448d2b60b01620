use proptest::prelude::*;

use super::*;
use crate::{
    counters::{Counts, Exposure, LookHistogram, NoDataReason},
    judge::{Analysis, DesignEffects},
    policy::default_policy,
};

fn point(at: i64, quantile: f64, rate: f64) -> Point {
    let mut point = Point::unknown(at);
    point.set(Field::Requests, 100.0);
    point.set(Field::Quantile, quantile);
    point.set(Field::Rate, rate);
    point
}

fn grown(looks: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut points = Vec::new();
    for look in looks {
        points.push(look);
        thin(&mut points);
    }
    points
}

#[test]
fn a_day_of_looks_fits_and_its_extremes_are_still_there() {
    let bad = 1_000_000 + 15 * 1_000;
    let day = (0..5_760).map(|index| {
        let at = 1_000_000 + 15 * index;
        if at == bad {
            point(at, 2_000.0, 12.0)
        } else {
            point(at, 450.0, 100.0)
        }
    });
    let points = grown(day);
    assert!(points.len() <= MAX_POINTS && points.len() > 100, "{}", points.len());
    assert!(points.windows(2).all(|pair| pair[0].at() < pair[1].at()));
    let most = points
        .iter()
        .filter_map(|point| point.get(Field::Quantile))
        .fold(0.0, f64::max);
    let least = points
        .iter()
        .filter_map(|point| point.get(Field::Rate))
        .fold(f64::MAX, f64::min);
    assert!(
        (most - 2_000.0).abs() < 0.1 && (least - 12.0).abs() < 0.1,
        "{most} {least}"
    );
    let newest = &points[points.len() - MAX_LOOKS..];
    assert!(
        newest.windows(2).all(|pair| pair[1].at() - pair[0].at() == 15),
        "the newest looks are whole"
    );
    let requests: f64 = points.iter().filter_map(|point| point.get(Field::Requests)).sum();
    assert!(
        requests >= 570_000.0,
        "thinned rows count the requests of their time: {requests}"
    );
}

#[test]
fn the_largest_history_stays_under_16_kib() {
    let day = (0..5_760).map(|index| {
        let mut point = Point::unknown(1_795_000_000 + 15 * index);
        for (field, value) in [
            (Field::Requests, 44_250.0),
            (Field::Errors, 12.345),
            (Field::Median, 1_234.5),
            (Field::Quantile, 1_234.5),
            (Field::P99, 1_234.5),
            (Field::Rate, 2_951.2),
            (Field::InFlight, 123.4),
            (Field::Gpu, 71.2),
            (Field::Memory, 64.9),
            (Field::ErrorEvidence, -5.48),
            (Field::LatencyEvidence, -5.48),
            (Field::ThroughputEvidence, -5.48),
            (Field::GpuEvidence, -5.48),
            (Field::MemoryEvidence, -5.48),
        ] {
            point.set(field, value);
        }
        point
    });
    let text = || "0.8234".to_owned();
    let history = History {
        points: grown(day),
        releases: vec![
            ReleaseMark {
                at: 1_795_000_000,
                revision: "12".into(),
                image: "sha256:9be1…".into(),
            };
            MAX_RELEASES
        ],
        histogram: vec![
            Bucket {
                le: "2500".into(),
                n: 123_456,
            };
            MAX_BUCKETS
        ],
        calibration: vec![
            CalibrationBin {
                predicted: text(),
                observed: text(),
                n: 1_000,
            };
            15
        ],
        compliance: vec![
            Day {
                day: "2026-11-24".into(),
                mean: "82.34".into(),
                rolling: "82.34".into(),
                low: "81.11".into(),
                high: "83.22".into(),
            };
            15
        ],
        measured: vec![
            Measured {
                name: "Compliance@1".into(),
                value: text(),
                low: text(),
                high: text(),
                n: 4_000,
                change: "13.2".into(),
            };
            5
        ],
        stacks: vec![
            Stack {
                frames: "s".repeat(75),
                micros: 123_456,
            };
            20
        ],
        limits: Limits {
            quantile: "0.95".into(),
            latency: "505".into(),
            evidence: "4.86".into(),
            ..Limits::default()
        },
    };
    let bytes = serde_json::to_string(&history).unwrap().len();
    assert!(bytes <= 16 << 10, "{bytes} bytes");
}

#[test]
fn a_row_is_read_back_as_it_was_written_and_a_torn_one_has_no_numbers() {
    let mut row = point(1_795_489_200, 463.25, 295.1);
    row.set(Field::ErrorEvidence, -0.481);
    row.set(Field::Errors, f64::NAN);
    let text = String::from(row);
    assert_eq!(text, "1795489200 100 - - 463 - 295 - - - -0.48 - - - -");
    assert_eq!(String::from(Point::from(text.clone())), text);
    let torn = Point::from("1795489200 x 3 NaN inf".to_owned());
    assert_eq!((torn.at(), torn.get(Field::Requests)), (1_795_489_200, None));
    assert_eq!((torn.get(Field::Median), torn.get(Field::Quantile)), (None, None));
    assert_eq!(Point::from("<script>".to_owned()).at(), 0);
}

fn look(at: i64, bad: f64) -> Look {
    Look {
        at,
        errors: Ok(Counts { n: 200.0, bad }),
        latency: Ok(LookHistogram {
            edges: [0.25, 0.5, 1.0, f64::INFINITY].into(),
            cumulative: vec![100.0, 196.0, 200.0, 200.0],
        }),
        completed: Ok(Exposure {
            count: 200.0,
            seconds: 2.0,
        }),
        share: 1.0,
        in_flight: Ok(12.0),
        gpu_utilization: Ok(vec![0.5, 0.7]),
        gpu_memory: Err(NoDataReason::NotConfigured),
    }
}

#[test]
fn a_look_becomes_its_figures_and_its_evidence_and_counts_once() {
    let policy = std::sync::Arc::new(default_policy());
    let mut analysis = Analysis::new(policy.clone(), 1_000, DesignEffects::default()).unwrap();
    let mut history = History::default();
    for at in [1_015, 1_030, 1_030, 1_000] {
        analysis.look(look(at, 8.0));
        history.look(&look(at, 8.0), &analysis.verdict(), Some(0.95));
    }
    let times: Vec<i64> = history.points.iter().map(Point::at).collect();
    assert_eq!(times, [1_015, 1_030]);
    let last = &history.points[1];
    assert_eq!(last.text(Field::Errors).as_deref(), Some("4"));
    assert_eq!(last.text(Field::Median).as_deref(), Some("250"));
    assert_eq!(last.text(Field::Rate).as_deref(), Some("100"));
    assert_eq!(last.text(Field::Gpu).as_deref(), Some("60"));
    assert_eq!(last.get(Field::Memory), None);
    assert!(last.get(Field::ErrorEvidence).unwrap() > history.points[0].get(Field::ErrorEvidence).unwrap());
    let limits = Limits::of(&policy, &analysis.verdict());
    assert_eq!((limits.latency.as_str(), limits.errors.as_str()), ("505", "1"));
    assert!(limits.evidence.parse::<f64>().unwrap() > 3.0 && limits.gpu.is_empty());
    let bars = buckets(&analysis.latencies().unwrap());
    let bars: Vec<(&str, i64)> = bars.iter().map(|bar| (bar.le.as_str(), bar.n)).collect();
    assert_eq!(bars, [("250", 200), ("500", 192), ("1000", 8), ("+Inf", 0)]);
}

#[test]
fn many_edges_are_put_together_and_no_request_is_lost() {
    let edges = (1..=200).map(|edge| f64::from(edge) / 100.0).chain([f64::INFINITY]);
    let buckets =
        buckets(&Histogram::new(edges.enumerate().map(|(index, edge)| (edge, index as f64)).collect()).unwrap());
    assert!(buckets.len() <= MAX_BUCKETS);
    assert_eq!(buckets.iter().map(|bucket| bucket.n).sum::<i64>(), 200);
    assert_eq!(buckets.last().unwrap().le, "+Inf");
}

#[test]
fn a_release_is_remembered_once_and_what_a_clock_left_in_the_future_is_dropped() {
    let mut history = History::default();
    for (at, revision) in [(10, "1"), (12, "1"), (20, "2"), (30, "3"), (90, "4")] {
        history.release(at, revision, "sha256:9be1…");
    }
    history.points = vec![point(30, 1.0, 1.0), point(20, 1.0, 1.0), point(99, 1.0, 1.0)];
    let history = history.recorded(50);
    let revisions: Vec<(i64, &str)> = history
        .releases
        .iter()
        .map(|mark| (mark.at, mark.revision.as_str()))
        .collect();
    assert_eq!(revisions, [(10, "1"), (20, "2"), (30, "3")]);
    assert_eq!(history.points.iter().map(Point::at).collect::<Vec<_>>(), [20, 30]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_series_stays_bounded_in_order_and_keeps_the_worst_of_its_last_day(
        steps in prop::collection::vec((1_i64..4_000, 0.0_f64..5_000.0), 1..600)
    ) {
        let mut at = 1_000_000;
        let all: Vec<Point> = steps.iter().map(|(step, value)| { at += step; point(at, *value, *value) }).collect();
        let newest = at;
        let points = grown(all.clone().into_iter());
        prop_assert!(points.len() <= MAX_POINTS);
        prop_assert!(points.windows(2).all(|pair| pair[0].at() < pair[1].at()));
        // An hour's row may end before it: what is a day old to the hour is still in it.
        let recent = |point: &&Point| newest - point.at() < 86_400 - 3_600;
        let most = |points: &[Point]| points.iter().filter(recent).filter_map(|point| point.get(Field::Quantile)).fold(0.0, f64::max);
        prop_assert!(points.iter().filter_map(|point| point.get(Field::Quantile)).fold(0.0, f64::max) >= most(&all) - 1e-3);
        let mut again = points.clone();
        thin(&mut again);
        prop_assert_eq!(again, points);
    }
}
