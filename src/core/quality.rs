//! Quality of a model from the evidence of its run, judged against the run of the checkpoint. Pure.
//!
//! Every judgement is a [`Row`] with its estimate, interval, n and claim. What is missing, inconsistent or
//! too little is unsupported or undetermined: never a pass, and never a reason for a rollback.

mod bottleneck;
mod calibration;
mod charts;
mod compliance;
mod conflicts;
mod consistency;
mod drift;
pub mod evidence;
mod optimisation;
mod row;
mod runtime;
mod stages;
pub mod trace;

use std::{collections::BTreeSet, sync::Arc};

pub use charts::{Charts, DayMean};
pub use row::{Effect, Limit, Row, Section, Unit};

use self::evidence::{Bundle, Dataset, File};
use crate::core::report::{Health, Standing};

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

/// What the evidence of a run amounts to.
#[derive(Clone, Debug, PartialEq)]
pub struct Quality {
    /// Every judgement, in the order of the report.
    pub rows: Vec<Row>,
    /// What a reader should know: disagreements, files that cannot be used.
    pub notes: Vec<String>,
    /// Where the time of the profiled run went, as folded stacks for a flame graph.
    pub stacks: Vec<(String, u64)>,
    /// Series behind the judgements.
    pub charts: Charts,
    /// The data that the release's run was evaluated on, where its files agree.
    pub dataset: Option<Dataset>,
}

impl Quality {
    /// One row by its name.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The row of the uplift of Compliance@1.
    pub fn uplift(&self) -> Option<&Row> {
        self.row("Compliance@1")
    }

    /// The compliance trigger's row.
    pub fn drop(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.effect == Effect::Rollback)
    }

    /// Whether the compliance trigger asks for a rollback.
    pub fn in_breach(&self) -> bool {
        self.drop().is_some_and(|row| row.standing == Standing::Failing)
    }

    /// Whether all that keeps this from being healthy is that there is nothing to compare with.
    pub fn lacks_only_a_baseline(&self) -> bool {
        self.rows.iter().any(Row::lacks_baseline)
            && self
                .rows
                .iter()
                .all(|row| !row.counts || row.standing == Standing::Passing)
    }

    /// The verdict in one word. Nothing judged is not healthy: an objective that is missed is a breach; an alert, or anything that counts and
    /// cannot be told, is a caution.
    pub fn health(&self) -> Health {
        let failing = |row: &&Row| row.standing == Standing::Failing;
        if self.rows.iter().filter(failing).any(|row| row.effect != Effect::Alert) {
            Health::Breach
        } else if !self.rows.iter().any(|row| row.standing == Standing::Passing)
            || self
                .rows
                .iter()
                .any(|row| row.counts && row.standing != Standing::Passing)
        {
            Health::Caution
        } else {
            Health::Healthy
        }
    }
}

/// Judges the evidence of a run against that of the checkpoint's run.
pub fn judge(objectives: &Objectives, current: &Bundle, baseline: &Bundle) -> Quality {
    let mut notes = Vec::new();
    let (current, said) = consistency::checked(current.clone());
    notes.extend(said);
    let (baseline, said) = consistency::checked(baseline.clone());
    notes.extend(said.into_iter().map(|note| format!("checkpoint's run: {note}")));
    let pair = consistency::Pair {
        current: &current,
        baseline: &baseline,
    };
    let mut rows = Vec::new();
    if let Some(objective) = &objectives.compliance {
        rows.extend(compliance::rows(objective, &pair, &mut notes));
        rows.extend(conflicts::rows(objective, &pair, &mut notes));
        rows.extend(calibration::rows(objective, &pair));
    }
    if let Some(objective) = &objectives.drift {
        rows.extend(drift::rows(objective, &pair));
    }
    rows.extend(stages::rows(&objectives.performance, &pair));
    rows.extend(optimisation::rows(&pair));
    rows.extend(runtime::rows(&objectives.performance, &pair));
    let (bottlenecks, stacks) = bottleneck::rows(&pair);
    rows.extend(bottlenecks);
    for row in &mut rows {
        let absent = consistency::is_absent(&current, row.file);
        row.counts &= !(absent && objectives.optional.contains(&row.file));
        // The first release of a service has nothing to be compared with, and nobody can do anything about it.
        row.counts &= !row.lacks_baseline();
    }
    // In the order of the report; within a section in the order above.
    rows.sort_by_key(|row| row.section);
    let dataset = consistency::dataset(&current);
    Quality {
        rows,
        notes,
        stacks,
        charts: charts::charts(&current, objectives.drift.as_ref()),
        dataset,
    }
}

/// What is known of a release's evidence at some moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Known {
    /// It was read and judged.
    Judged {
        /// What it amounts to.
        quality: Arc<Quality>,
        /// When it was complete, unix seconds, where the source says so.
        completed: Option<i64>,
    },
    /// It cannot be used.
    Missing {
        /// A stable CamelCase reason.
        reason: &'static str,
        /// In words.
        message: String,
    },
    /// Nobody has looked yet.
    #[default]
    Pending,
}

impl Known {
    /// The judged evidence.
    pub fn quality(&self) -> Option<&Quality> {
        match self {
            Self::Judged { quality, .. } => Some(quality),
            Self::Missing { .. } | Self::Pending => None,
        }
    }
}

#[cfg(test)]
#[path = "quality/tests.rs"]
mod tests;
