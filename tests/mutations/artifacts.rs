//! The evidence files of a run, and their judge.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
};

use quality_core::{
    policy::{Objectives, Performance},
    quality::{Quality, evidence::*, judge, trace::Attribution},
};
use quality_render::flame_graph;
use quality_sources::formats::{self, FormatError, checkpoint_registry};
use quality_stats::Estimate;

use crate::{
    harness::{count, example, is_time, survives, within},
    mutate::Format,
};

type Parser<T> = fn(&[u8]) -> Result<Loaded<T>, FormatError>;
type Put<T> = fn(&mut Bundle, Loaded<T>);

/// Runs one format: what is accepted is sound, and so is every judgement of it against the good file.
fn file<T: Clone>(kind: File, format: Format, documents: &[Vec<u8>], parser: Parser<T>, sound: fn(&T), put: Put<T>) {
    let mut baseline = Bundle::default();
    put(&mut baseline, parser(&documents[0]).unwrap());
    named(&mut baseline, "old");
    let objectives = Objectives {
        performance: Performance {
            p95_ms: Some((500.0, 5.0)),
            error_rate: Some(0.01),
            throughput: Some((100.0, 80.0)),
            gpu: Some((0.9, 0.85)),
        },
        ..Objectives::default()
    };
    let judged = Cell::new(0);
    survives(
        kind.name(),
        format,
        documents,
        |bytes| parser(bytes).map_err(|error| error.to_string()),
        |loaded| {
            origin(&loaded.origin);
            assert_eq!(loaded.sha256.len(), 64);
            sound(&loaded.data);
            if judged.replace(judged.get() + 1) < judgements(kind) {
                let mut current = Bundle::default();
                put(&mut current, loaded);
                let quality = judge(&objectives, &current, &baseline);
                is_sound(&quality);
                assert!(
                    !quality.in_breach() || dropped(&current, &baseline),
                    "{:?}",
                    quality.drop()
                );
            }
        },
    );
}

/// How many of the accepted files are judged: a judgement bootstraps, which takes as long as to read a hundred files, or
/// a thousand.
fn judgements(kind: File) -> u32 {
    match kind {
        File::CalibrationReport => 2 + count() / 150,
        File::ProfilingReport | File::ComplianceMetrics | File::ConflictLogs | File::ProfilerTrace => count() / 25,
        _ => count(),
    }
}

/// Puts the files of a bundle into another run on the same data.
fn named(bundle: &mut Bundle, run: &str) {
    let origins = [
        bundle.compliance.as_mut().map(|file| &mut file.origin).ok(),
        bundle.conflicts.as_mut().map(|file| &mut file.origin).ok(),
        bundle.conflict_summary.as_mut().map(|file| &mut file.origin).ok(),
        bundle.calibration.as_mut().map(|file| &mut file.origin).ok(),
        bundle.timeseries.as_mut().map(|file| &mut file.origin).ok(),
        bundle.profiling.as_mut().map(|file| &mut file.origin).ok(),
        bundle.trace.as_mut().map(|file| &mut file.origin).ok(),
        bundle.runtime.as_mut().map(|file| &mut file.origin).ok(),
        bundle.gpu.as_mut().map(|file| &mut file.origin).ok(),
        bundle.telemetry.as_mut().map(|file| &mut file.origin).ok(),
        bundle.errors.as_mut().map(|file| &mut file.origin).ok(),
    ];
    for origin in origins.into_iter().flatten() {
        origin.run_id = Some(run.to_owned());
    }
    bundle.run_id = Some(run.to_owned());
    bundle.dataset_digest = Some("9d1c6a42".to_owned());
}

fn origin(origin: &Origin) {
    let plain = |text: &String, most| {
        assert!((1..=most).contains(&text.chars().count()), "{text:?}");
        assert!(!text.chars().any(|c| c.is_control() || c == '#'), "{text:?}");
    };
    origin.run_id.iter().for_each(|run| plain(run, 64));
    if let Some(dataset) = &origin.dataset {
        plain(&dataset.version, 128);
        plain(&dataset.digest, 128);
    }
}

fn is_sound(quality: &Quality) {
    for row in &quality.rows {
        assert!(!row.sentence().is_empty());
        for estimate in [&row.current, &row.baseline, &row.change].into_iter().flatten() {
            is_estimate(&row.name, estimate);
        }
        let told = row.standing.name();
        if matches!(told, "Passing" | "Failing") {
            assert!(
                row.current.is_some() || row.change.is_some(),
                "{told} without a number: {row:?}"
            );
        }
    }
    quality.health();
    for (_, time) in &quality.stacks {
        assert!(*time < u64::MAX);
    }
    flame_graph::svg(&quality.stacks, "a run");
}

fn is_estimate(name: &str, estimate: &Estimate) {
    let Estimate { value, ci95, n, .. } = estimate;
    assert!(value.is_finite(), "{name}: {estimate:?}");
    assert!(ci95.low <= *value && *value <= ci95.high, "{name}: {estimate:?}");
    assert!(*n > 0, "{name}: {estimate:?}");
}

/// Whether the answers to the queries that both runs have got worse by the limit, counted here: nothing else is a breach.
fn dropped(current: &Bundle, baseline: &Bundle) -> bool {
    let (Ok(current), Ok(baseline)) = (&current.compliance, &baseline.compliance) else {
        return false;
    };
    let before: HashMap<&str, bool> = baseline
        .data
        .queries
        .iter()
        .map(|query| (query.query.as_str(), query.correct_at_1))
        .collect();
    let pairs: Vec<f64> = current
        .data
        .queries
        .iter()
        .filter_map(|query| Some(f64::from(query.correct_at_1) - f64::from(*before.get(query.query.as_str())?)))
        .collect();
    pairs.len() >= 30 && pairs.iter().sum::<f64>() / (pairs.len() as f64) <= -0.02
}

#[test]
fn compliance_metrics_survive() {
    file(
        File::ComplianceMetrics,
        Format::Json,
        &[example("evidence/compliance_metrics.json"), with_summary()],
        formats::compliance,
        |data| {
            let mut known = HashSet::new();
            for query in &data.queries {
                assert!(known.insert(&query.query) && (query.correct_at_5 || !query.correct_at_1));
                for grade in query.grades.iter().chain(query.judged.iter().flatten()) {
                    within("a grade", *grade, 0.0, 100.0);
                }
                for part in query.contribution.iter().flat_map(|part| [part.text, part.visual]) {
                    within("a contribution", part, 0.0, 1e12);
                }
            }
            assert!(!known.is_empty());
            let summary = data.summary.unwrap_or_default();
            for value in [summary.compliance_at_1, summary.compliance_at_5, summary.ndcg_at_10]
                .into_iter()
                .flatten()
            {
                within("a value of the summary", value, 0.0, 1.0);
            }
        },
        |bundle, loaded| bundle.compliance = Ok(loaded),
    );
}

/// Few queries, so that mutations find the summary.
fn with_summary() -> Vec<u8> {
    let whole: serde_json::Value = serde_json::from_slice(&example("evidence/compliance_metrics.json")).unwrap();
    let mut short = whole.clone();
    short["queries"].as_array_mut().unwrap().truncate(3);
    short["summary"] = serde_json::json!({"compliance_at_1": 0.9, "compliance_at_5": 1.0, "ndcg_at_10": 0.8});
    short.to_string().into_bytes()
}

#[test]
fn conflict_logs_survive() {
    file(
        File::ConflictLogs,
        Format::Json,
        &[
            example("evidence/conflict_logs/2026-11-09.json"),
            example("evidence/conflict_logs/2026-11-16.jsonl"),
            example("evidence/conflict_logs/2026-11-23.json"),
        ],
        formats::conflict_log,
        |window| {
            is_time("start", window.start);
            assert!(!window.rows.is_empty());
            for row in &window.rows {
                within("a severity", row.severity, 0.0, 1.0);
                within("a penalty", row.penalty, 0.0, row.score);
                within("a score", row.score, 0.0, 1e12);
            }
        },
        |bundle, loaded| {
            let other = formats::conflict_log(&example("evidence/conflict_logs/2026-11-16.jsonl")).unwrap();
            bundle.conflicts =
                formats::conflict_windows(vec![loaded, other]).map_err(|error| Missing::Unusable(error.to_string()));
        },
    );
}

#[test]
fn conflict_log_summaries_survive() {
    file(
        File::ConflictLogSummary,
        Format::Json,
        &[example("evidence/conflict_log_summary.json")],
        formats::conflict_summary,
        |windows| {
            assert!(!windows.is_empty() && windows.is_sorted_by_key(|window| window.start));
            for window in windows {
                is_time("start", window.start);
                within("an AUC", window.auc, 0.0, 1.0);
            }
        },
        |bundle, loaded| bundle.conflict_summary = Ok(loaded),
    );
}

#[test]
fn calibration_reports_survive() {
    let predictions: Vec<String> = (10..50)
        .map(|n| format!("{{\"confidence\": 0.{n}, \"correct\": {}}}", n % 3 > 0))
        .collect();
    let head = "\"run_id\": \"r1\", \"dataset\": {\"version\": \"v7\", \"digest\": \"9d1c6a42\"}";
    let predictions = format!("{{{head}, \"predictions\": [{}]}}", predictions.join(", "));
    file(
        File::CalibrationReport,
        Format::Json,
        &[example("evidence/calibration_report.json"), predictions.into_bytes()],
        formats::calibration,
        |data| match data {
            CalibrationData::Predictions(predictions) => {
                assert!(!predictions.is_empty());
                for prediction in predictions {
                    within("a confidence", prediction.confidence, 0.0, 1.0);
                }
            }
            CalibrationData::Bins(bins) => {
                let all = bins.iter().try_fold(0_u64, |sum, bin| sum.checked_add(bin.n));
                assert!(all.is_some_and(|all| all > 0), "the bins hold {all:?} predictions");
                for bin in bins {
                    within("a confidence", bin.confidence, 0.0, 1.0);
                    within("a share", bin.observed, 0.0, 1.0);
                }
            }
        },
        |bundle, loaded| bundle.calibration = Ok(loaded),
    );
}

#[test]
fn compliance_timeseries_survive() {
    file(
        File::ComplianceTimeseries,
        Format::Text,
        &[example("evidence/compliance_timeseries.csv")],
        formats::timeseries,
        |points| {
            assert!(!points.is_empty() && points.is_sorted_by_key(|point| point.at));
            for point in points {
                is_time("timestamp", point.at);
                within("a value", point.value, 0.0, 1.0);
            }
        },
        |bundle, loaded| bundle.timeseries = Ok(loaded),
    );
}

#[test]
fn profiling_reports_survive() {
    let head = "\"run_id\": \"r1\", \"dataset\": {\"version\": \"v7\", \"digest\": \"9d1c6a42\"}";
    let histogram = format!(
        "{{{head}, \"stages\": {{\"total\": {{\"histogram\": {{\"edges_ms\": [10, 50, 100, 500], \"counts\": [20, 70, 50, 9, 1]}}}}}}, \
         \"optimisation\": {{\"baseline_run_id\": \"r0\", \"git_commit\": \"4f1d2c3b\", \"attempts\": 2, \
         \"before_ms\": [{}], \"after_ms\": [{}]}}}}",
        ["12.5", "80", "41"].repeat(12).join(", "),
        ["11.5", "71", "40"].repeat(12).join(", ")
    );
    file(
        File::ProfilingReport,
        Format::Json,
        &[example("evidence/profiling_report.json"), histogram.into_bytes()],
        formats::profiling,
        |data| {
            for (_, stage) in &data.stages {
                match stage {
                    StageData::Samples(samples) => {
                        assert!(!samples.is_empty());
                        for value in samples {
                            within("a sample", *value, 0.0, 86_400_000.0);
                        }
                    }
                    StageData::Histogram(buckets) => {
                        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
                        assert!(buckets.iter().all(|bucket| bucket.1.is_finite() && bucket.1 >= 0.0));
                    }
                }
            }
            if let Some(replay) = &data.optimisation {
                assert_eq!(replay.before_ms.len(), replay.after_ms.len());
                for value in replay.before_ms.iter().chain(&replay.after_ms) {
                    within("a latency", *value, 0.0, 86_400_000.0);
                }
            }
        },
        |bundle, loaded| bundle.profiling = Ok(loaded),
    );
}

#[test]
fn profiler_traces_survive() {
    file(
        File::ProfilerTrace,
        Format::Json,
        &[example("evidence/profiler_trace.json")],
        |bytes| formats::trace(bytes),
        |data: &Attribution| {
            let times = data.parts.values().flatten().chain(&data.steps);
            times.for_each(|time| within("a time", *time, 0.0, 1e18));
            assert!(data.steps.iter().sum::<f64>() > 0.0);
        },
        |bundle, loaded| bundle.trace = Ok(loaded),
    );
}

fn samples(samples: &Vec<Sample>) {
    assert!(!samples.is_empty() && samples.is_sorted_by_key(|sample| sample.at));
    for sample in samples {
        is_time("timestamp", sample.at);
        if let Some((requests, seconds)) = sample.requests {
            within("a count", requests, 0.0, 1e20);
            within("an interval", seconds, 0.001, 86_400.0);
        }
        if let Some(errors) = sample.errors {
            within("errors", errors, 0.0, sample.requests.unwrap_or_default().0);
        }
        for share in [sample.gpu_utilization, sample.gpu_memory].into_iter().flatten() {
            within("a share", share, 0.0, 1.0);
        }
    }
}

#[test]
fn runtime_logs_survive() {
    let documents = [example("evidence/runtime_perf.log")];
    file(
        File::RuntimePerf,
        Format::Text,
        &documents,
        formats::runtime_perf,
        samples,
        |bundle, loaded| {
            bundle.runtime = Ok(loaded);
        },
    );
}

#[test]
fn gpu_logs_survive() {
    let documents = [example("evidence/gpu_profiler.log")];
    file(
        File::GpuProfiler,
        Format::Text,
        &documents,
        formats::gpu_profiler,
        samples,
        |bundle, loaded| {
            bundle.gpu = Ok(loaded);
        },
    );
}

#[test]
fn telemetry_survives() {
    let documents = [example("evidence/telemetry.json")];
    file(
        File::Telemetry,
        Format::Json,
        &documents,
        formats::telemetry,
        samples,
        |bundle, loaded| {
            bundle.telemetry = Ok(loaded);
        },
    );
}

#[test]
fn error_logs_survive() {
    file(
        File::ErrorLogs,
        Format::Json,
        &[example("evidence/error_logs.json")],
        formats::error_logs,
        |errors| assert!(errors.requests > 0 && errors.failed <= errors.requests),
        |bundle, loaded| bundle.errors = Ok(loaded),
    );
}

#[test]
fn checkpoint_registries_survive() {
    survives(
        checkpoint_registry::CHECKPOINT_REGISTRY,
        Format::Yaml,
        &[example("checkpoint_registry.yaml")],
        |bytes| checkpoint_registry::parse(bytes).map_err(|error| error.to_string()),
        |registry| {
            assert!(registry.checkpoints.len() <= checkpoint_registry::MAX_CHECKPOINTS);
            for checkpoint in &registry.checkpoints {
                assert!(checkpoint.artifacts.iter().all(|artifact| artifact.size >= 0));
                for image in &checkpoint.images {
                    assert!(image.image.contains("@sha256:"), "{}", image.image);
                }
            }
        },
    );
}
