//! What the evaluation evidence of a release must meet.

use std::collections::BTreeSet;

use crate::quality::evidence::File;

/// What quality must meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Objectives {
    /// Compliance, conflicts and calibration.
    pub compliance: Option<ComplianceObjective>,
    /// Drift over time and between modalities.
    pub drift: Option<DriftObjective>,
    /// Latency, throughput and GPU of the profiled run.
    pub performance: Performance,
    /// Files that the pipeline does not write: their absence is shown and does not count.
    pub optional: BTreeSet<File>,
}

/// Compliance, conflicts and calibration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComplianceObjective {
    /// Compliance@1 must rise by this, in percentage points, or in percent of the checkpoint's when `relative`.
    pub min_uplift: f64,
    /// Whether the uplift is relative.
    pub relative: bool,
    /// A drop of Compliance@1 by this many points, shown by its interval, is a breach.
    pub max_drop: f64,
    /// Conflict AUC must stay under this.
    pub max_conflict_auc: f64,
    /// ECE must stay under this.
    pub max_ece: f64,
}

impl ComplianceObjective {
    /// The target of Compliance@1 in words.
    pub fn uplift_target(&self) -> String {
        format!("≥ +{}{}", self.min_uplift, if self.relative { "%" } else { " points" })
    }
}

impl Default for ComplianceObjective {
    fn default() -> Self {
        Self {
            min_uplift: 10.0,
            relative: false,
            max_drop: 2.0,
            max_conflict_auc: 0.15,
            max_ece: 0.05,
        }
    }
}

/// Drift over time and between modalities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftObjective {
    /// Days of a window; it is compared with the window before.
    pub window_days: u32,
    /// The correlation of the two windows must not be under this.
    pub min_correlation: f64,
    /// The text/visual ratio must not be over this many times the checkpoint's.
    pub max_modality_ratio: f64,
}

impl Default for DriftObjective {
    fn default() -> Self {
        Self {
            window_days: 7,
            min_correlation: 0.9,
            max_modality_ratio: 1.3,
        }
    }
}

/// Limits of the profiled run; `None` is not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Performance {
    /// P95 target and tolerance, milliseconds.
    pub p95_ms: Option<(f64, f64)>,
    /// Share of requests that may fail.
    pub error_rate: Option<f64>,
    /// Throughput target and floor, requests per second.
    pub throughput: Option<(f64, f64)>,
    /// Limits of GPU utilisation and memory, shares of 1.
    pub gpu: Option<(f64, f64)>,
}

impl Default for Objectives {
    fn default() -> Self {
        Self {
            compliance: Some(ComplianceObjective::default()),
            drift: Some(DriftObjective::default()),
            performance: Performance::default(),
            optional: Self::usually_optional(),
        }
    }
}

impl Objectives {
    /// What live metrics show as well: nobody needs to log it.
    pub fn usually_optional() -> BTreeSet<File> {
        BTreeSet::from([
            File::ConflictLogSummary,
            File::ProfilingReport,
            File::ProfilerTrace,
            File::RuntimePerf,
            File::GpuProfiler,
            File::Telemetry,
            File::ErrorLogs,
        ])
    }
}
