//! `profiling_report.json`: latency by stage, and the replay that shows an optimisation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FormatError, json, loaded, origin_within, text_within};
use quality_core::quality::evidence::{Dataset, Loaded, Profiling, Replay, Stage, StageData};

/// Latency of the stages of a request.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfilingReport {
    /// The MLflow run that this belongs to.
    #[schemars(length(min = 1, max = 64))]
    run_id: String,
    /// What was replayed.
    dataset: Dataset,
    /// The stages.
    stages: Stages,
    /// The same requests before and after a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    optimisation: Option<Replay>,
}

/// The stages that were measured.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Stages {
    /// Before the model.
    preprocess: Option<Measured>,
    /// The model.
    inference: Option<Measured>,
    /// After the model.
    postprocess: Option<Measured>,
    /// All of it.
    total: Option<Measured>,
}

/// `samples_ms` or `histogram`, not both.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Measured {
    /// One value a request, milliseconds: preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_000_000))]
    samples_ms: Option<Vec<f64>>,
    /// Counts by bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    histogram: Option<Buckets>,
}

/// A histogram of durations.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Buckets {
    /// Upper edges, rising, milliseconds.
    #[schemars(length(min = 1, max = 1_000))]
    edges_ms: Vec<f64>,
    /// Requests in each bucket; one more than edges: the last counts what is over the last edge.
    #[schemars(length(min = 2, max = 1_001))]
    counts: Vec<u64>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Loaded<Profiling>, FormatError> {
    let file: ProfilingReport = json(bytes)?;
    origin_within(&file.run_id, &file.dataset)?;
    let measured = [
        (Stage::Preprocess, file.stages.preprocess),
        (Stage::Inference, file.stages.inference),
        (Stage::Postprocess, file.stages.postprocess),
        (Stage::Total, file.stages.total),
    ];
    let mut stages = Vec::with_capacity(measured.len());
    for (index, (stage, measured)) in measured.into_iter().enumerate() {
        if let Some(measured) = measured {
            stages.push((
                stage,
                data(measured).map_err(|problem| FormatError::row("stage", index, problem))?,
            ));
        }
    }
    if stages.is_empty() && file.optimisation.is_none() {
        return Err(FormatError::NoRows);
    }
    if let Some(replay) = &file.optimisation {
        replayed(replay).map_err(|problem| FormatError::row("optimisation", 0, problem))?;
    }
    let data = Profiling {
        stages,
        optimisation: file.optimisation,
    };
    Ok(loaded(file.run_id, file.dataset, bytes, data))
}

fn duration(value: f64) -> bool {
    (0.0..=86_400_000.0).contains(&value)
}

fn data(measured: Measured) -> Result<StageData, &'static str> {
    match (measured.samples_ms, measured.histogram) {
        (Some(samples), None) => {
            if samples.is_empty() || samples.len() > super::MAX_ROWS {
                return Err("1 to 1000000 samples are needed");
            }
            if !samples.iter().all(|value| duration(*value)) {
                return Err("a sample must lie between 0 ms and a day");
            }
            Ok(StageData::Samples(samples))
        }
        (None, Some(buckets)) => {
            if buckets.edges_ms.is_empty() || buckets.edges_ms.len() > 1_000 {
                return Err("1 to 1000 edges are needed");
            }
            if buckets.counts.len() != buckets.edges_ms.len() + 1 {
                return Err("counts must be one more than edges");
            }
            if !buckets.edges_ms.iter().all(|edge| duration(*edge))
                || buckets.edges_ms.windows(2).any(|pair| pair[0] >= pair[1])
            {
                return Err("edges must rise");
            }
            let mut sum = 0.0;
            let edges = buckets.edges_ms.into_iter().chain([f64::INFINITY]);
            Ok(StageData::Histogram(
                edges
                    .zip(buckets.counts)
                    .map(|(edge, count)| {
                        sum += count as f64;
                        (edge, sum)
                    })
                    .collect(),
            ))
        }
        _ => Err("give samples_ms or histogram, not both and not neither"),
    }
}

fn replayed(replay: &Replay) -> Result<(), &'static str> {
    if !text_within(&replay.baseline_run_id, 64) || !text_within(&replay.git_commit, 64) {
        return Err("baseline_run_id and git_commit must have 1 to 64 characters");
    }
    if !(1..=1_000).contains(&replay.attempts) {
        return Err("attempts must lie between 1 and 1000");
    }
    if replay.before_ms.len() != replay.after_ms.len() || replay.before_ms.len() > super::MAX_ROWS {
        return Err("before_ms and after_ms must hold the same requests");
    }
    if !replay
        .before_ms
        .iter()
        .chain(&replay.after_ms)
        .all(|value| duration(*value))
    {
        return Err("a latency must lie between 0 ms and a day");
    }
    Ok(())
}
