//! The part of a history that the evaluation evidence of the release's run gives.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{History, decimal};
use crate::quality::{Charts, Quality, Row, Unit};

/// Days of compliance: two windows of a week.
pub const MAX_DAYS: usize = 15;
/// Stacks of the profiled run.
const MAX_STACKS: usize = 20;
/// Their names in all, bytes.
const MAX_STACK_BYTES: usize = 1_500;
/// The measures that are drawn.
const MEASURES: [&str; 5] = ["Compliance@1", "Compliance@5", "nDCG@10", "Conflict AUC", "ECE"];

/// A bin of the calibration curve.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct CalibrationBin {
    /// Mean confidence, share of 1.
    #[schemars(length(max = 24))]
    pub predicted: String,
    /// The share that came true.
    #[schemars(length(max = 24))]
    pub observed: String,
    /// Predictions.
    pub n: i64,
}

/// Compliance of one day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Day {
    /// `2026-11-24`.
    #[schemars(length(max = 24))]
    pub day: String,
    /// Its mean, percent.
    #[schemars(length(max = 24))]
    pub mean: String,
    /// The average of the window that ends with it, percent; empty where the window is not whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub rolling: String,
    /// The lower end of its CI95.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub low: String,
    /// The upper end of its CI95.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub high: String,
}

/// A measure with its interval, and the checkpoint's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Measured {
    /// `Compliance@1`, `Compliance@5`, `nDCG@10`, `Conflict AUC` or `ECE`.
    #[schemars(length(max = 40))]
    pub name: String,
    /// Its value, share of 1.
    #[schemars(length(max = 24))]
    pub value: String,
    /// The lower end of its CI95.
    #[schemars(length(max = 24))]
    pub low: String,
    /// The upper end of its CI95.
    #[schemars(length(max = 24))]
    pub high: String,
    /// How many it is from.
    pub n: i64,
    /// The change against the checkpoint's, in points, where there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 24))]
    pub change: String,
}

/// A stack of the profiled run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Stack {
    /// Its frames from the outside in, parted by `;`.
    #[schemars(length(max = 400))]
    pub frames: String,
    /// Its time, microseconds.
    pub micros: i64,
}

impl History {
    /// Takes up what the evidence shows; nothing is kept of evidence that is gone.
    pub fn evidence(&mut self, quality: Option<&Quality>) {
        let charts = quality.map(|quality| quality.charts.clone()).unwrap_or_default();
        self.calibration = calibration(&charts);
        self.compliance = days(&charts);
        self.measured = quality.map(measured).unwrap_or_default();
        self.stacks = quality.map(|quality| stacks(&quality.stacks)).unwrap_or_default();
    }
}

fn calibration(charts: &Charts) -> Vec<CalibrationBin> {
    let bin = |bin: &quality_stats::calibration::Bin| CalibrationBin {
        predicted: decimal(bin.confidence, 4),
        observed: decimal(bin.observed, 4),
        n: i64::try_from(bin.n).unwrap_or(i64::MAX),
    };
    charts.calibration.iter().take(15).map(bin).collect()
}

fn days(charts: &Charts) -> Vec<Day> {
    let skipped = charts.days.len().saturating_sub(MAX_DAYS);
    let percent = |share: f64| decimal(share * 100.0, 2);
    charts
        .days
        .iter()
        .skip(skipped)
        .map(|day| {
            let rolling = day.rolling.as_ref();
            let at = Timestamp::from_second(day.day.saturating_mul(86_400)).unwrap_or(Timestamp::UNIX_EPOCH);
            let of = |value: fn(&quality_stats::Estimate) -> f64| {
                rolling
                    .map(value)
                    .filter(|value| value.is_finite())
                    .map_or_else(String::new, percent)
            };
            Day {
                day: at.strftime("%Y-%m-%d").to_string(),
                mean: percent(day.mean),
                rolling: of(|estimate| estimate.value),
                low: of(|estimate| estimate.ci95.low),
                high: of(|estimate| estimate.ci95.high),
            }
        })
        .collect()
}

fn measured(quality: &Quality) -> Vec<Measured> {
    let row = |row: &Row| {
        let current = row.current.as_ref().filter(|current| current.ci95.is_bounded())?;
        let change = row.change.as_ref().filter(|_| row.change_unit == Unit::Points);
        Some(Measured {
            name: row.name.clone(),
            value: decimal(current.value, 4),
            low: decimal(current.ci95.low, 4),
            high: decimal(current.ci95.high, 4),
            n: i64::try_from(current.n).unwrap_or(i64::MAX),
            change: change.map_or_else(String::new, |change| decimal(change.value, 2)),
        })
    };
    MEASURES.iter().filter_map(|name| row(quality.row(name)?)).collect()
}

/// The longest stacks; what does not fit is left out, and the page says that.
fn stacks(all: &[(String, u64)]) -> Vec<Stack> {
    let mut sorted: Vec<&(String, u64)> = all.iter().filter(|(frames, _)| frames.len() <= 400).collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut bytes = 0;
    sorted
        .into_iter()
        .take(MAX_STACKS)
        .take_while(|(frames, _)| {
            bytes += frames.len();
            bytes <= MAX_STACK_BYTES
        })
        .map(|(frames, micros)| Stack {
            frames: frames.clone(),
            micros: i64::try_from(*micros).unwrap_or(i64::MAX),
        })
        .collect()
}
