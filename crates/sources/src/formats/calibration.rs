//! `calibration_report.json`: predictions, or the bins of the curve where they were not kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FormatError, json, loaded, origin_within, rows};
use quality_core::quality::evidence::{CalibrationData, Dataset, Loaded, Prediction};
use quality_stats::calibration::Bin;

/// How sure a model was and how often it was right. `predictions` or `bins`, not both.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CalibrationReport {
    /// The MLflow run that this belongs to.
    #[schemars(length(min = 1, max = 64))]
    run_id: String,
    /// What was evaluated on.
    dataset: Dataset,
    /// Each prediction: preferred, because the bins are cut here, in the same way for every run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_000_000))]
    predictions: Option<Vec<Prediction>>,
    /// Bins of the curve, in rising order of confidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_000))]
    bins: Option<Vec<ReportedBin>>,
}

/// One bin.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReportedBin {
    /// Predictions in it.
    n: u64,
    /// Their mean confidence, in [0, 1].
    #[schemars(range(min = 0, max = 1))]
    confidence: f64,
    /// The share of them that was right, in [0, 1].
    #[schemars(range(min = 0, max = 1))]
    observed: f64,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Loaded<CalibrationData>, FormatError> {
    let file: CalibrationReport = json(bytes)?;
    origin_within(&file.run_id, &file.dataset)?;
    let unit = |value: f64| (0.0..=1.0).contains(&value);
    let data = match (file.predictions, file.bins) {
        (Some(predictions), None) => {
            rows(&predictions)?;
            if let Some(index) = predictions.iter().position(|prediction| !unit(prediction.confidence)) {
                return Err(FormatError::row(
                    "prediction",
                    index,
                    "confidence must lie between 0 and 1",
                ));
            }
            CalibrationData::Predictions(predictions)
        }
        (None, Some(bins)) => {
            rows(&bins)?;
            if let Some(index) = bins.iter().position(|bin| !unit(bin.confidence) || !unit(bin.observed)) {
                return Err(FormatError::row(
                    "bin",
                    index,
                    "confidence and observed must lie between 0 and 1",
                ));
            }
            if bins.windows(2).any(|pair| pair[0].confidence > pair[1].confidence) {
                return Err(FormatError::row("bin", 0, "bins must be in rising order of confidence"));
            }
            let bin = |bin: &ReportedBin| Bin {
                n: bin.n,
                confidence: bin.confidence,
                observed: bin.observed,
            };
            match bins.iter().try_fold(0_u64, |sum, bin| sum.checked_add(bin.n)) {
                Some(0) => return Err(FormatError::NoRows),
                Some(_) => {}
                None => {
                    return Err(FormatError::row(
                        "bin",
                        0,
                        "the bins together hold too many predictions to count",
                    ));
                }
            }
            CalibrationData::Bins(bins.iter().filter(|bin| bin.n > 0).map(bin).collect())
        }
        _ => {
            return Err(FormatError::row(
                "field",
                0,
                "give predictions or bins, not both and not neither",
            ));
        }
    };
    Ok(loaded(file.run_id, file.dataset, bytes, data))
}
