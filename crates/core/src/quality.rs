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

use std::sync::Arc;

pub use charts::{Charts, DayMean};
pub use row::{Effect, Limit, Row, Section, Unit};

use self::evidence::{Bundle, Dataset};
use crate::{
    policy::Objectives,
    slo::{Health, SloStatus},
};

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
        self.drop().is_some_and(|row| row.standing == SloStatus::Failing)
    }

    /// Whether all that keeps this from being healthy is that there is nothing to compare with.
    pub fn lacks_only_a_baseline(&self) -> bool {
        self.rows.iter().any(Row::lacks_baseline)
            && self
                .rows
                .iter()
                .all(|row| !row.counts || row.standing == SloStatus::Passing)
    }

    /// The verdict in one word. Nothing judged is not healthy: an objective that is missed is a breach; an alert, or anything that counts and
    /// cannot be told, is a caution.
    pub fn health(&self) -> Health {
        let failing = |row: &&Row| row.standing == SloStatus::Failing;
        if self.rows.iter().filter(failing).any(|row| row.effect != Effect::Alert) {
            Health::Breach
        } else if !self.rows.iter().any(|row| row.standing == SloStatus::Passing)
            || self
                .rows
                .iter()
                .any(|row| row.counts && row.standing != SloStatus::Passing)
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
        let absent = current.is_absent(row.file);
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
pub enum EvaluationState {
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

impl EvaluationState {
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
