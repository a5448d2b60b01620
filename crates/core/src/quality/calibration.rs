//! A4: ECE, over- and under-confidence, and their drift.

use super::{
    Limit, Row, Section, Unit,
    consistency::{Pair, comparable, seed_text, with_claim},
    evidence::{CalibrationData, File, Loaded, Prediction},
    row::under,
};
use crate::{policy::ComplianceObjective, slo::SloStatus};
use quality_stats::{
    Estimate, Seed, StatsError,
    calibration::{self, BINS, Bin, Binning, Calibration, ENOUGH},
};

const FILE: File = File::CalibrationReport;
/// A drift of over- or under-confidence over this is unstable.
const MAX_DRIFT: f64 = 0.01;

/// ECE and Calibration Drift.
pub fn rows(objective: &ComplianceObjective, pair: &Pair<'_>) -> Vec<Row> {
    let mut ece = Row::new(
        Section::Compliance,
        "ECE",
        format!("< {}", objective.max_ece),
        Unit::Number,
        FILE,
    )
    .limited(Limit::Current(objective.max_ece));
    let mut drift = Row::new(
        Section::Drift,
        "Calibration Drift",
        format!("within ±{MAX_DRIFT}"),
        Unit::Number,
        FILE,
    )
    .limited(Limit::Size(MAX_DRIFT))
    .alert();
    let (loaded, claim) = match with_claim(FILE, &pair.current.calibration) {
        Ok(found) => found,
        Err(why) => return vec![ece.unsupported(&why), drift.unsupported(&why)],
    };
    (ece, drift) = (ece.claim(&claim), drift.claim(&claim));
    match measured(loaded) {
        Ok(found) => {
            ece.note = format!(
                "debiased {:.3}, overconfidence {:.3}, underconfidence {:.3}, {} of {BINS} bins",
                found.debiased,
                found.overconfidence,
                found.underconfidence,
                found.curve.len()
            );
            let enough = found.verdict_size();
            ece.standing = under(&found.ece, objective.max_ece);
            ece.current = Some(found.ece);
            if let Err(error) = enough {
                ece = ece.without(&error);
            }
        }
        Err(error) => ece = ece.without(&error),
    }
    let before = match comparable(pair, FILE, &pair.baseline.calibration) {
        Ok(before) => before,
        Err(why) => return vec![ece, drift.incomparable(&why)],
    };
    let seed = Seed::new(&seed_text(loaded, Some(before)), "Calibration Drift");
    match drifted(&loaded.data, &before.data, &seed) {
        Ok(change) => {
            drift.standing = if change.value.abs() <= MAX_DRIFT {
                SloStatus::Passing
            } else if change.ci95.contains(0.0) {
                SloStatus::Undetermined
            } else {
                SloStatus::Failing
            };
            ece.change = (!matches!(
                (&loaded.data, &before.data),
                (CalibrationData::Predictions(_), CalibrationData::Predictions(_))
            ))
            .then(|| change.clone());
            drift.say(if change.value > 0.0 {
                "towards over-confidence"
            } else {
                "towards under-confidence"
            });
            drift.change = Some(change);
        }
        Err(error) => drift = drift.without(&error),
    }
    vec![ece, drift]
}

fn split(predictions: &[Prediction]) -> (Vec<f64>, Vec<bool>) {
    predictions
        .iter()
        .map(|prediction| (prediction.confidence, prediction.correct))
        .unzip()
}

fn measured(loaded: &Loaded<CalibrationData>) -> Result<Calibration, StatsError> {
    let seed = Seed::new(&loaded.sha256, "ECE");
    match &loaded.data {
        CalibrationData::Predictions(predictions) => {
            let (confidences, correct) = split(predictions);
            calibration::calibration(&confidences, &correct, Binning::EqualWidth, &seed)
        }
        CalibrationData::Bins(bins) => calibration::from_bins(bins, &seed),
    }
}

fn drifted(now: &CalibrationData, before: &CalibrationData, seed: &Seed) -> Result<Estimate, StatsError> {
    let size = |data: &CalibrationData| match data {
        CalibrationData::Predictions(predictions) => predictions.len() as u64,
        CalibrationData::Bins(bins) => bins.iter().map(|bin| bin.n).sum(),
    };
    let n = size(now).min(size(before));
    if n < ENOUGH {
        return Err(StatsError::TooFew {
            what: "predictions",
            n,
            needed: ENOUGH,
        });
    }
    if let (CalibrationData::Predictions(now), CalibrationData::Predictions(before)) = (now, before) {
        let ((new, right), (old, was_right)) = (split(now), split(before));
        return calibration::signed_drift((&new, &right), (&old, &was_right), seed);
    }
    calibration::ece_drift(&bins(now)?, &bins(before)?, seed)
}

pub(super) fn bins(data: &CalibrationData) -> Result<Vec<Bin>, StatsError> {
    match data {
        CalibrationData::Predictions(predictions) => {
            let (confidences, correct) = split(predictions);
            calibration::curve(&confidences, &correct, Binning::EqualWidth, BINS)
        }
        CalibrationData::Bins(bins) => Ok(bins.clone()),
    }
}
