#![allow(clippy::large_stack_arrays, clippy::cast_possible_wrap)]

use super::{evidence::*, *};
use std::collections::BTreeSet;

use crate::policy::Performance;
use quality_stats::calibration::Bin;

const WEEK: i64 = 604_800;

fn loaded<T>(run: &str, data: T) -> Loaded<T> {
    Loaded {
        origin: Origin {
            run_id: Some(run.to_owned()),
            dataset: Some(Dataset {
                version: "v7".to_owned(),
                digest: "abc".to_owned(),
            }),
        },
        sha256: format!("hash of {run}"),
        data,
    }
}

/// `n` queries in sessions of four, of which those that `hit` says comply at 1; nine tenths of the others at 5.
fn queries(n: u32, hit: impl Fn(u32) -> bool) -> Vec<Query> {
    (0..n)
        .map(|i| Query {
            query: format!("q{i}"),
            session: Some(format!("s{}", i / 4)),
            correct_at_1: hit(i),
            correct_at_5: hit(i) || i % 10 != 0,
            grades: vec![if hit(i) { 3.0 } else { 0.0 }, 1.0, 0.0],
            judged: Some(vec![3.0, 1.0]),
            contribution: Some(Contribution {
                text: 1.0 + f64::from(i % 7) / 10.0,
                visual: 1.0 + f64::from(i % 5) / 10.0,
            }),
        })
        .collect()
}

fn compliance_bundle(run: &str, hit: impl Fn(u32) -> bool) -> Bundle {
    Bundle {
        compliance: Ok(loaded(
            run,
            Compliance {
                queries: queries(400, hit),
                summary: None,
            },
        )),
        ..Bundle::default()
    }
}

/// A hash of the index: hits that are no pattern of sessions.
fn mix(i: u32) -> u32 {
    let x = i.wrapping_mul(2_654_435_761);
    (x ^ (x >> 15)).wrapping_mul(2_246_822_519) >> 8
}

fn hits(percent: u32) -> impl Fn(u32) -> bool {
    move |i| mix(i) % 100 < percent
}

fn standing(quality: &Quality, name: &str) -> SloStatus {
    quality.row(name).unwrap_or_else(|| panic!("no row {name}")).standing
}

#[test]
fn compliance_is_judged_by_the_paired_difference() {
    use SloStatus::{Failing, Passing, Undetermined};
    // Release, checkpoint, Compliance@1 (≥ +10 points), drop.
    for (now, before, uplift, drop) in [
        (85, 70, Passing, Passing),
        (72, 70, Failing, Passing),
        (70, 70, Failing, Passing),
        (65, 70, Failing, Failing),
        (81, 70, Undetermined, Passing),
    ] {
        let quality = judge(
            &Objectives::default(),
            &compliance_bundle("new", hits(now)),
            &compliance_bundle("old", hits(before)),
        );
        let row = quality.row("Compliance@1").unwrap();
        let shares = |percent| {
            queries(400, hits(percent))
                .iter()
                .filter(|query| query.correct_at_1)
                .count() as f64
                / 4.0
        };
        let change = row.change.as_ref().unwrap();
        assert!((change.value - (shares(now) - shares(before))).abs() < 1e-9);
        assert!(change.n == 400 && row.current.as_ref().unwrap().n == 400);
        assert_eq!(row.evidence, "compliance_metrics.json#new#v7");
        if uplift == Undetermined {
            assert_ne!(row.standing, Failing, "{}", row.sentence());
        } else {
            assert_eq!(row.standing, uplift, "{}", row.sentence());
        }
        assert_eq!(
            quality.drop().unwrap().standing,
            drop,
            "{}",
            quality.drop().unwrap().sentence()
        );
        assert_eq!(quality.in_breach(), drop == Failing);
    }
}

#[test]
fn a_drop_that_its_interval_does_not_show_is_no_breach() {
    let few = |run: &str, percent: u32| {
        let mut bundle = compliance_bundle(run, hits(percent));
        if let Ok(loaded) = &mut bundle.compliance {
            loaded.data.queries.truncate(40);
        }
        bundle
    };
    let quality = judge(&Objectives::default(), &few("new", 66), &few("old", 70));
    assert!(!quality.in_breach());
    let mut short = few("new", 0);
    if let Ok(loaded) = &mut short.compliance {
        loaded.data.queries.truncate(29);
    }
    let quality = judge(&Objectives::default(), &short, &few("old", 70));
    let drop = quality.drop().unwrap();
    assert_eq!(drop.standing, SloStatus::Unsupported);
    assert!(drop.sentence().contains("n = 29, needs 30"), "{}", drop.sentence());
}

#[test]
fn evidence_that_cannot_be_trusted_is_unsupported_and_never_a_pass() {
    let good = compliance_bundle("new", hits(85));
    let old = compliance_bundle("old", hits(70));
    let mut other_run = good.clone();
    other_run.run_id = Some("third".to_owned());
    let mut other_data = good.clone();
    other_data.dataset_digest = Some("xyz".to_owned());
    let mut unnamed = good.clone();
    if let Ok(loaded) = &mut unnamed.compliance {
        loaded.origin.dataset = None;
    }
    let mut torn = good.clone();
    torn.compliance = Err(Missing::Unusable("it ends too early".to_owned()));
    let mut disagreeing = good.clone();
    disagreeing.calibration = Ok(loaded(
        "third",
        CalibrationData::Bins(vec![Bin {
            n: 2_000,
            confidence: 0.5,
            observed: 0.5,
        }]),
    ));
    for (name, now, before) in [
        ("nothing", Bundle::default(), old.clone()),
        ("another run", other_run, old.clone()),
        ("another dataset", other_data, old.clone()),
        ("no dataset", unnamed, old.clone()),
        ("truncated", torn, old.clone()),
        ("files that disagree", disagreeing, old.clone()),
        ("nothing to compare with", good.clone(), Bundle::default()),
        ("the same run", good.clone(), good.clone()),
    ] {
        let quality = judge(&Objectives::default(), &now, &before);
        for row in ["Compliance@1", "Compliance@5", "nDCG@10", "Compliance drop"] {
            assert_eq!(standing(&quality, row), SloStatus::Unsupported, "{name}: {row}");
        }
        assert_eq!(quality.health(), Health::Caution, "{name}");
        assert!(!quality.in_breach(), "{name}");
    }
    let mut digest = old.clone();
    if let Ok(loaded) = &mut digest.compliance {
        loaded.origin.dataset.as_mut().unwrap().digest = "xyz".to_owned();
    }
    let quality = judge(&Objectives::default(), &good, &digest);
    assert!(
        quality
            .row("Compliance@1")
            .unwrap()
            .sentence()
            .contains("another dataset digest")
    );
}

#[test]
fn where_a_summary_disagrees_the_rows_win_and_the_report_says_so() {
    let mut now = compliance_bundle("new", hits(85));
    if let Ok(loaded) = &mut now.compliance {
        loaded.data.summary = Some(ComplianceSummary {
            compliance_at_1: Some(0.99),
            ..ComplianceSummary::default()
        });
    }
    let quality = judge(&Objectives::default(), &now, &Bundle::default());
    let value = quality.row("Compliance@1").unwrap().current.as_ref().unwrap().value;
    assert!(value < 0.9);
    assert!(
        quality
            .notes
            .iter()
            .any(|note| note.contains("says 0.9900") && note.contains("the rows win"))
    );
}

fn windows(severities: &[f64]) -> Vec<Window> {
    severities
        .iter()
        .enumerate()
        .map(|(index, severity)| Window {
            start: index as i64 * WEEK,
            rows: (0..400)
                .map(|i| Conflict {
                    query: format!("q{i}"),
                    kind: (mix(i).is_multiple_of(4)).then(|| "blossom/fruit".to_owned()),
                    severity: if mix(i).is_multiple_of(4) { *severity } else { 0.0 },
                    penalty: if mix(i).is_multiple_of(4) { severity / 4.0 } else { 0.0 },
                    score: 1.0,
                })
                .collect(),
        })
        .collect()
}

fn conflict_bundle(run: &str, severities: &[f64]) -> Bundle {
    Bundle {
        conflicts: Ok(loaded(run, windows(severities))),
        ..Bundle::default()
    }
}

#[test]
fn conflicts_have_a_level_a_rise_a_penalty_and_a_trend() {
    use SloStatus::{Failing, Passing, Undetermined, Unsupported};
    // A quarter of the queries conflicts: AUC is a quarter of the severity.
    let rows = ["Conflict AUC", "Conflict AUC rise", "Penalty impact", "Conflict Trend"];
    for (now, before, expected) in [
        (vec![0.5, 0.4, 0.3], vec![0.3], [Passing, Passing, Passing, Passing]),
        (
            vec![0.5, 0.4, 0.9],
            vec![0.4],
            [Failing, Failing, Failing, Undetermined],
        ),
        (vec![0.4, 0.3], vec![0.4], [Passing, Passing, Passing, Unsupported]),
        (
            vec![0.1, 0.2, 0.3, 0.35, 0.4],
            vec![0.4],
            [Passing, Passing, Passing, Failing],
        ),
    ] {
        let quality = judge(
            &Objectives::default(),
            &conflict_bundle("new", &now),
            &conflict_bundle("old", &before),
        );
        let found = rows.map(|row| standing(&quality, row));
        let sentences: Vec<String> = rows.iter().map(|row| quality.row(row).unwrap().sentence()).collect();
        assert_eq!(found, expected, "{now:?}: {sentences:#?}");
        let auc = quality.row("Conflict AUC").unwrap();
        let share = f64::from((0..400).filter(|i| mix(*i).is_multiple_of(4)).count() as u32) / 400.0;
        assert!((auc.current.as_ref().unwrap().value - share * now.last().unwrap()).abs() < 1e-9);
        assert!(auc.note.contains("blossom/fruit"));
    }
}

#[test]
fn a_summary_of_windows_gives_a_trend_and_gives_way_to_the_logs() {
    let summary: Vec<WindowSummary> = (0..3_u32)
        .map(|i| WindowSummary {
            start: i64::from(i) * WEEK,
            auc: 0.1 - f64::from(i) / 100.0,
            queries: 400,
        })
        .collect();
    let mut bundle = Bundle {
        conflict_summary: Ok(loaded("new", summary)),
        ..Bundle::default()
    };
    let quality = judge(&Objectives::default(), &bundle, &Bundle::default());
    assert_eq!(standing(&quality, "Conflict Trend"), SloStatus::Passing);
    assert_eq!(standing(&quality, "Conflict AUC"), SloStatus::Unsupported);
    bundle.conflicts = Ok(loaded("new", windows(&[0.3, 0.4, 0.5])));
    let quality = judge(&Objectives::default(), &bundle, &Bundle::default());
    assert_eq!(
        quality
            .notes
            .iter()
            .filter(|note| note.contains("the log wins"))
            .count(),
        3
    );
}

/// Ten bins of `n` predictions whose confidence is `gap` too high.
fn bins(run: &str, n: u64, gap: f64) -> Bundle {
    let bins = (0..10_u32)
        .map(|i| Bin {
            n,
            confidence: f64::from(i).mul_add(0.09, 0.06),
            observed: f64::from(i).mul_add(0.09, 0.06) - gap,
        })
        .collect();
    Bundle {
        calibration: Ok(loaded(run, CalibrationData::Bins(bins))),
        ..Bundle::default()
    }
}

#[test]
fn calibration_needs_a_thousand_predictions_for_a_verdict() {
    use SloStatus::{Failing, Passing, Unsupported};
    for (n, gap, before, ece, drift) in [
        (2_000, 0.01, 0.01, Passing, Passing),
        (2_000, 0.06, 0.01, Failing, Failing),
        (50, 0.01, 0.01, Unsupported, Unsupported),
    ] {
        let quality = judge(&Objectives::default(), &bins("new", n, gap), &bins("old", n, before));
        let row = quality.row("ECE").unwrap();
        assert!(
            (row.current.as_ref().unwrap().value - gap).abs() < 1e-9,
            "{}",
            row.sentence()
        );
        assert_eq!(row.standing, ece, "{}", row.sentence());
        let row = quality.row("Calibration Drift").unwrap();
        assert_eq!(row.standing, drift, "{}", row.sentence());
    }
}

fn series(hours: i64, shift: i64) -> Bundle {
    let points = (0..hours)
        .map(|hour| {
            let phase = if hour >= 168 { hour + shift } else { hour };
            let day = (phase % 24) as f64 / 24.0 * std::f64::consts::TAU;
            SeriesPoint {
                at: hour * 3_600,
                value: 0.8 + 0.1 * day.sin() + f64::from(mix(hour as u32) % 100) / 10_000.0,
                n: 50,
            }
        })
        .collect();
    Bundle {
        timeseries: Ok(loaded("new", points)),
        ..Bundle::default()
    }
}

#[test]
fn drift_correlates_hours_with_the_same_hours_of_the_week_before() {
    for (hours, shift, expected) in [
        (336, 0, SloStatus::Passing),
        (336, 6, SloStatus::Failing),
        (260, 0, SloStatus::Unsupported),
    ] {
        let quality = judge(&Objectives::default(), &series(hours, shift), &Bundle::default());
        let row = quality.row("Compliance (7d)").unwrap();
        assert_eq!(row.standing, expected, "{}", row.sentence());
        if shift == 0 && hours == 336 {
            assert!(row.change.as_ref().unwrap().value > 0.99);
        }
    }
}

#[test]
fn a_modality_that_takes_over_alerts() {
    let old = compliance_bundle("old", hits(70));
    let mut new = compliance_bundle("new", hits(85));
    assert_eq!(
        standing(&judge(&Objectives::default(), &new, &old), "Modality Ratio"),
        SloStatus::Passing
    );
    if let Ok(loaded) = &mut new.compliance {
        for query in &mut loaded.data.queries {
            query.contribution.as_mut().unwrap().text *= 1.5;
        }
    }
    let quality = judge(&Objectives::default(), &new, &old);
    let row = quality.row("Modality Ratio").unwrap();
    assert_eq!(row.standing, SloStatus::Failing, "{}", row.sentence());
    assert!((row.change.as_ref().unwrap().value - 1.5).abs() < 1e-9);
}

fn performance() -> Objectives {
    Objectives {
        compliance: None,
        drift: None,
        performance: Performance {
            p95_ms: Some((500.0, 5.0)),
            error_rate: Some(0.01),
            throughput: Some((100.0, 80.0)),
            gpu: Some((0.9, 0.85)),
        },
        optional: BTreeSet::new(),
    }
}

fn profiled(run: &str, factor: f64) -> Bundle {
    let samples: Vec<f64> = (0..400)
        .map(|i| factor * (200.0 + f64::from(mix(i) % 2_000) / 10.0))
        .collect();
    let after = samples.iter().map(|value| value * 0.95).collect();
    Bundle {
        profiling: Ok(loaded(
            run,
            Profiling {
                stages: vec![
                    (Stage::Inference, StageData::Samples(samples.clone())),
                    (Stage::Total, StageData::Samples(samples.clone())),
                ],
                optimisation: Some(Replay {
                    baseline_run_id: "old".to_owned(),
                    git_commit: "0123abc".to_owned(),
                    attempts: 1,
                    before_ms: samples,
                    after_ms: after,
                }),
            },
        )),
        ..Bundle::default()
    }
}

#[test]
fn stages_have_a_p95_a_change_and_an_optimisation_its_verdict() {
    let quality = judge(&performance(), &profiled("new", 1.0), &profiled("old", 1.0));
    for row in ["Inference", "Total", "Optimisation"] {
        assert_eq!(
            standing(&quality, row),
            SloStatus::Passing,
            "{}",
            quality.row(row).unwrap().sentence()
        );
    }
    let quality = judge(&performance(), &profiled("new", 1.5), &profiled("old", 1.0));
    for row in ["Inference", "Total"] {
        assert_eq!(
            standing(&quality, row),
            SloStatus::Failing,
            "{}",
            quality.row(row).unwrap().sentence()
        );
    }
    assert!(quality.row("Total").unwrap().change.as_ref().unwrap().value > 150.0);
}

#[test]
fn logs_of_the_load_test_are_held_against_the_limits() {
    let sample = |i: i64, requests: f64, gpu: f64| Sample {
        at: i,
        requests: Some((requests + (i % 4) as f64, 15.0)),
        errors: Some(requests / 1_000.0),
        gpu_utilization: Some(gpu + (i % 3) as f64 / 100.0),
        gpu_memory: Some(0.5 + (i % 3) as f64 / 100.0),
    };
    let of = |requests: f64, gpu: f64| Bundle {
        telemetry: Ok(loaded("new", (0..40).map(|i| sample(i, requests, gpu)).collect())),
        ..Bundle::default()
    };
    let quality = judge(&performance(), &of(1_800.0, 0.7), &Bundle::default());
    for row in [
        "Error Rate (run)",
        "Throughput (run)",
        "GPU Utilization (run)",
        "GPU Memory (run)",
    ] {
        assert_eq!(
            standing(&quality, row),
            SloStatus::Passing,
            "{}",
            quality.row(row).unwrap().sentence()
        );
    }
    let quality = judge(&performance(), &of(1_000.0, 0.95), &Bundle::default());
    for row in ["Throughput (run)", "GPU Utilization (run)"] {
        assert_eq!(
            standing(&quality, row),
            SloStatus::Failing,
            "{}",
            quality.row(row).unwrap().sentence()
        );
    }
    assert!(
        quality
            .row("Throughput (run)")
            .unwrap()
            .note
            .contains("under the floor")
    );
}

fn traced(run: &str, io: f64, gap: f64) -> Bundle {
    let mut builder = trace::Builder::default();
    for step in 0..20_u32 {
        let start = f64::from(step) * 1_000.0;
        let noise = f64::from(step % 5);
        for (name, category, begin, duration) in [
            ("ProfilerStep#1", "user_annotation", 0.0, 1_000.0),
            ("preprocess", "user_annotation", 0.0, io + noise),
            ("enumerate(DataLoader)", "cpu_op", 0.0, io + noise),
            ("inference", "user_annotation", io + noise, 1_000.0 - gap - io - noise),
            ("aten::mm", "cpu_op", io + noise, 1_000.0 - gap - io - noise),
        ] {
            let event = trace::Event {
                name,
                category,
                thread: "1/1",
                start: start + begin,
                duration,
            };
            builder.add(&event).unwrap();
        }
    }
    let mut file = loaded(run, builder.finish().unwrap());
    // A trace cannot say where it is from: its run answers for it.
    file.origin = Origin::default();
    Bundle {
        trace: Ok(file),
        errors: Ok(loaded(run, Errors { requests: 1, failed: 0 })),
        ..Bundle::default()
    }
}

#[test]
fn bottlenecks_are_named_and_unknown_time_is_flagged() {
    let quality = judge(&performance(), &traced("new", 300.0, 50.0), &traced("old", 100.0, 50.0));
    let row = quality.row("preprocess").unwrap();
    assert_eq!(row.standing, SloStatus::Failing, "{}", row.sentence());
    assert!(row.note.contains("I/O wait 30.2%"), "{}", row.note);
    assert!((row.change.as_ref().unwrap().value - 20.0).abs() < 1e-6);
    assert_eq!(row.evidence, "profiler_trace.json#new#v7");
    assert_eq!(standing(&quality, "Unknown"), SloStatus::Passing);
    assert!(!quality.stacks.is_empty());
    let quality = judge(&performance(), &traced("new", 100.0, 150.0), &Bundle::default());
    assert_eq!(standing(&quality, "Unknown"), SloStatus::Failing);
}

#[test]
fn an_absent_file_counts_unless_the_policy_says_it_is_optional() {
    let now = compliance_bundle("new", hits(90));
    let before = compliance_bundle("old", hits(70));
    let quality = judge(&Objectives::default(), &now, &before);
    assert_eq!(quality.health(), Health::Caution);
    let objectives = Objectives {
        optional: File::ALL.into(),
        ..Objectives::default()
    };
    assert_eq!(judge(&objectives, &now, &before).health(), Health::Healthy);
    let mut torn = now;
    torn.calibration = Err(Missing::Unusable("it ends too early".to_owned()));
    assert_eq!(
        judge(&objectives, &torn, &before).health(),
        Health::Caution,
        "there, and unusable"
    );
    assert_eq!(
        judge(&objectives, &Bundle::default(), &before).health(),
        Health::Caution,
        "nothing passes"
    );
}

#[test]
fn the_same_evidence_gives_the_same_judgement() {
    let (now, before) = (compliance_bundle("new", hits(85)), compliance_bundle("old", hits(70)));
    assert_eq!(
        judge(&Objectives::default(), &now, &before),
        judge(&Objectives::default(), &now, &before)
    );
}
