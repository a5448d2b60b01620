//! Evidence as the judge takes it: what a run's files said, already checked, with where each came from.

use serde::{Deserialize, Serialize};

use super::trace::Attribution;

/// The dataset that a file was measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// Its version, as people call it: `v7`, `2026-11-24`.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// Its digest: two files with one digest were measured on the same data.
    #[schemars(length(min = 1, max = 128))]
    pub digest: String,
}

/// One query of the evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// Its id, the same in every run and given once in a file.
    #[schemars(length(min = 1, max = 256))]
    pub query: String,
    /// The session (or prompt) that it belongs to: sessions are resampled whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub session: Option<String>,
    /// The first answer complies.
    pub correct_at_1: bool,
    /// One of the first five answers complies.
    pub correct_at_5: bool,
    /// Relevance grades of the answers in rank order, 0 where not relevant; for nDCG@10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub grades: Vec<f64>,
    /// Grades of all judged documents of the query, where some were not retrieved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub judged: Option<Vec<f64>>,
    /// How much text and image contributed to the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contribution: Option<Contribution>,
}

/// Contributions of the modalities to one answer, not negative.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// Of the text.
    pub text: f64,
    /// Of the image.
    pub visual: f64,
}

/// What the pipeline itself computed. The rows win.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComplianceSummary {
    /// Share of queries whose first answer complies, in [0, 1].
    pub compliance_at_1: Option<f64>,
    /// Share of queries of which one of the first five answers complies, in [0, 1].
    pub compliance_at_5: Option<f64>,
    /// Mean nDCG@10, in [0, 1].
    pub ndcg_at_10: Option<f64>,
}

/// `compliance_metrics.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compliance {
    /// One row a query.
    pub queries: Vec<Query>,
    /// What the pipeline computed.
    pub summary: Option<ComplianceSummary>,
}

/// One evaluated query of a conflict log; severity 0 where nothing conflicts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conflict {
    /// The query's id, given once in a window.
    #[schemars(length(min = 1, max = 256))]
    pub query: String,
    /// What conflicts: `blossom/fruit`, `glass/garnish`, `subject/object`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub kind: Option<String>,
    /// How badly, in [0, 1].
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub severity: f64,
    /// What the penalty took from the score, not negative.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub penalty: f64,
    /// The score before the penalty, not negative.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub score: f64,
}

/// One evaluation window of the conflict logs.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// When it began, unix seconds.
    pub start: i64,
    /// Every evaluated query.
    pub rows: Vec<Conflict>,
}

/// One window of `conflict_log_summary.json`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowSummary {
    /// When it began, unix seconds.
    pub start: i64,
    /// Conflict AUC, in [0, 1].
    pub auc: f64,
    /// Queries.
    pub queries: u64,
}

/// One prediction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// How sure the model was, in [0, 1].
    #[schemars(range(min = 0, max = 1))]
    pub confidence: f64,
    /// Whether it was right.
    pub correct: bool,
}

/// `calibration_report.json`: predictions, or bins where they were not kept.
#[derive(Clone, Debug, PartialEq)]
pub enum CalibrationData {
    /// Each prediction.
    Predictions(Vec<Prediction>),
    /// Bins of the calibration curve.
    Bins(Vec<quality_stats::calibration::Bin>),
}

/// One value of `compliance_timeseries.csv`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SeriesPoint {
    /// Unix seconds.
    pub at: i64,
    /// Compliance, in [0, 1].
    pub value: f64,
    /// Queries that it is from.
    pub n: u64,
}

/// Latency of one stage: samples, or a histogram where they were not kept. Milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum StageData {
    /// One value a request.
    Samples(Vec<f64>),
    /// Upper edges, the last one infinite, with the count up to each.
    Histogram(Vec<(f64, f64)>),
}

/// An attempt to show that a change is faster: the same requests before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The MLflow run that was replayed before the change.
    #[schemars(length(min = 1, max = 64))]
    pub baseline_run_id: String,
    /// The commit of the change.
    #[schemars(length(min = 7, max = 64))]
    pub git_commit: String,
    /// How many times this change was tried, this one included.
    #[schemars(range(min = 1, max = 1000))]
    pub attempts: u32,
    /// Latency of each request before, milliseconds.
    pub before_ms: Vec<f64>,
    /// Latency of the same request after, milliseconds.
    pub after_ms: Vec<f64>,
}

/// `profiling_report.json`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profiling {
    /// Stages in the order preprocess, inference, postprocess, total.
    pub stages: Vec<(Stage, StageData)>,
    /// The attempt to show an optimisation, if it was one.
    pub optimisation: Option<Replay>,
}

/// A stage of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before the model.
    Preprocess,
    /// The model.
    Inference,
    /// After the model.
    Postprocess,
    /// All of it.
    Total,
}

impl Stage {
    /// As the report prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preprocess => "Preprocess",
            Self::Inference => "Inference",
            Self::Postprocess => "Postprocess",
            Self::Total => "Total",
        }
    }
}

/// What a log of the load test counted; what it does not know is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Unix seconds.
    pub at: i64,
    /// Requests that ended, and the seconds in which they did.
    pub requests: Option<(f64, f64)>,
    /// Requests that failed.
    pub errors: Option<f64>,
    /// GPU utilisation, share of 1.
    pub gpu_utilization: Option<f64>,
    /// GPU memory, share of 1.
    pub gpu_memory: Option<f64>,
}

/// The errors of a load test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// All requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
}

/// The files that evidence is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum File {
    /// Per-query outcomes.
    #[serde(rename = "compliance_metrics.json")]
    ComplianceMetrics,
    /// Conflicts by query, a file a window.
    #[serde(rename = "conflict_logs")]
    ConflictLogs,
    /// Conflict AUC by window.
    #[serde(rename = "conflict_log_summary.json")]
    ConflictLogSummary,
    /// Confidences and outcomes.
    #[serde(rename = "calibration_report.json")]
    CalibrationReport,
    /// Compliance over time.
    #[serde(rename = "compliance_timeseries.csv")]
    ComplianceTimeseries,
    /// Latency by stage.
    #[serde(rename = "profiling_report.json")]
    ProfilingReport,
    /// Chrome trace events.
    #[serde(rename = "profiler_trace.json")]
    ProfilerTrace,
    /// Load by interval.
    #[serde(rename = "runtime_perf.log")]
    RuntimePerf,
    /// nvidia-smi's CSV.
    #[serde(rename = "gpu_profiler.log")]
    GpuProfiler,
    /// Load and GPU by interval.
    #[serde(rename = "telemetry.json")]
    Telemetry,
    /// Failed requests.
    #[serde(rename = "error_logs.json")]
    ErrorLogs,
}

impl File {
    /// Every file.
    pub const ALL: [Self; 11] = [
        Self::ComplianceMetrics,
        Self::ConflictLogs,
        Self::ConflictLogSummary,
        Self::CalibrationReport,
        Self::ComplianceTimeseries,
        Self::ProfilingReport,
        Self::ProfilerTrace,
        Self::RuntimePerf,
        Self::GpuProfiler,
        Self::Telemetry,
        Self::ErrorLogs,
    ];

    /// Its path in the artifacts of a run; a folder for the conflict logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ComplianceMetrics => "compliance_metrics.json",
            Self::ConflictLogs => "conflict_logs",
            Self::ConflictLogSummary => "conflict_log_summary.json",
            Self::CalibrationReport => "calibration_report.json",
            Self::ComplianceTimeseries => "compliance_timeseries.csv",
            Self::ProfilingReport => "profiling_report.json",
            Self::ProfilerTrace => "profiler_trace.json",
            Self::RuntimePerf => "runtime_perf.log",
            Self::GpuProfiler => "gpu_profiler.log",
            Self::Telemetry => "telemetry.json",
            Self::ErrorLogs => "error_logs.json",
        }
    }
}

/// Where a file says that it is from. A log that cannot say takes its run's word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The MLflow run.
    pub run_id: Option<String>,
    /// The dataset.
    pub dataset: Option<Dataset>,
}

/// A file's content with its origin and hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<T> {
    /// Where it says that it is from.
    pub origin: Origin,
    /// sha256 of its bytes, hexadecimal.
    pub sha256: String,
    /// What it says.
    pub data: T,
}

/// Why there is no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The run has no such file.
    Absent,
    /// It has one that cannot be used: why, in words that hold nothing of the file.
    Unusable(String),
}

/// A file, or why not.
pub type Read<T> = Result<Loaded<T>, Missing>;

/// All evidence of one run.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The run that it was read from, where that is known beside the files.
    pub run_id: Option<String>,
    /// The digest of the run's dataset, where the tracking server knows it.
    pub dataset_digest: Option<String>,
    /// The digest that the checkpoint of this run was registered with, where it was: the run must still agree.
    pub expected_digest: Option<String>,
    /// `compliance_metrics.json`.
    pub compliance: Read<Compliance>,
    /// `conflict_logs/`, windows in the order of time.
    pub conflicts: Read<Vec<Window>>,
    /// `conflict_log_summary.json`.
    pub conflict_summary: Read<Vec<WindowSummary>>,
    /// `calibration_report.json`.
    pub calibration: Read<CalibrationData>,
    /// `compliance_timeseries.csv`.
    pub timeseries: Read<Vec<SeriesPoint>>,
    /// `profiling_report.json`.
    pub profiling: Read<Profiling>,
    /// `profiler_trace.json`.
    pub trace: Read<Attribution>,
    /// `runtime_perf.log`.
    pub runtime: Read<Vec<Sample>>,
    /// `gpu_profiler.log`.
    pub gpu: Read<Vec<Sample>>,
    /// `telemetry.json`.
    pub telemetry: Read<Vec<Sample>>,
    /// `error_logs.json`.
    pub errors: Read<Errors>,
}

impl Bundle {
    /// Whether there is no run at all, rather than one without files.
    pub fn is_no_run(&self) -> bool {
        self.run_id.is_none() && File::ALL.into_iter().all(|file| self.is_absent(file))
    }

    /// Whether the run has no such file.
    pub fn is_absent(&self, file: File) -> bool {
        fn absent<T>(read: &Read<T>) -> bool {
            matches!(read, Err(Missing::Absent))
        }
        match file {
            File::ComplianceMetrics => absent(&self.compliance),
            File::ConflictLogs => absent(&self.conflicts),
            File::ConflictLogSummary => absent(&self.conflict_summary),
            File::CalibrationReport => absent(&self.calibration),
            File::ComplianceTimeseries => absent(&self.timeseries),
            File::ProfilingReport => absent(&self.profiling),
            File::ProfilerTrace => absent(&self.trace),
            File::RuntimePerf => absent(&self.runtime),
            File::GpuProfiler => absent(&self.gpu),
            File::Telemetry => absent(&self.telemetry),
            File::ErrorLogs => absent(&self.errors),
        }
    }
}

impl Default for Bundle {
    fn default() -> Self {
        Self {
            run_id: None,
            dataset_digest: None,
            expected_digest: None,
            compliance: Err(Missing::Absent),
            conflicts: Err(Missing::Absent),
            conflict_summary: Err(Missing::Absent),
            calibration: Err(Missing::Absent),
            timeseries: Err(Missing::Absent),
            profiling: Err(Missing::Absent),
            trace: Err(Missing::Absent),
            runtime: Err(Missing::Absent),
            gpu: Err(Missing::Absent),
            telemetry: Err(Missing::Absent),
            errors: Err(Missing::Absent),
        }
    }
}
