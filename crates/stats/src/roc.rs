//! Area under the ROC curve of a classifier.

use super::correlation::mean_ranks;
use super::special::Z_975;
use super::{Estimate, Method, StatsError, check};

/// ROC AUC of the `scores` of positives and negatives, with `DeLong`'s variance (`DeLong`, `DeLong` &
/// Clarke-Pearson 1988; by mid-ranks as Sun & Xu 2014) and the interval on the logit scale.
///
/// n is the number of scores. Separated classes (AUC 0 or 1) have no logit: an error says so.
pub fn auc(positives: &[f64], negatives: &[f64]) -> Result<Estimate, StatsError> {
    check::series("positive scores", positives, 2)?;
    check::series("negative scores", negatives, 2)?;
    let (m, n) = (positives.len() as f64, negatives.len() as f64);
    let all: Vec<f64> = positives.iter().chain(negatives).copied().collect();
    let ranks = mean_ranks(&all);
    let (ranks_positive, ranks_negative) = ranks.split_at(positives.len());
    let area = (ranks_positive.iter().sum::<f64>() - m * (m + 1.0) / 2.0) / (m * n);
    // The share of the other class that each score beats.
    let beats: Vec<f64> = ranks_positive
        .iter()
        .zip(mean_ranks(positives))
        .map(|(all, own)| (all - own) / n)
        .collect();
    let beaten: Vec<f64> = ranks_negative
        .iter()
        .zip(mean_ranks(negatives))
        .map(|(all, own)| 1.0 - (all - own) / m)
        .collect();
    let variance = variance(&beats, area) / m + variance(&beaten, area) / n;
    if area <= 0.0 || area >= 1.0 || variance <= 0.0 {
        return Err(StatsError::NoVariation {
            what: "ROC AUC of separated classes",
        });
    }
    let logit = (area / (1.0 - area)).ln();
    let half = Z_975 * variance.sqrt() / (area * (1.0 - area));
    let back = |logit: f64| 1.0 / (1.0 + (-logit).exp());
    Ok(Estimate::new(
        area,
        back(logit - half),
        back(logit + half),
        all.len() as u64,
        Method::DeLongLogit,
    ))
}

fn variance(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        let estimate = auc(&[0.8, 0.6, 0.5], &[0.7, 0.4, 0.5]).unwrap();
        // 0.8 beats three, 0.6 beats two, 0.5 beats one and ties one.
        assert!((estimate.value - 6.5 / 9.0).abs() < 1e-12);
        assert!(estimate.ci95.low > 0.0 && estimate.ci95.high < 1.0);
    }

    #[test]
    fn what_has_no_interval_is_an_error() {
        assert!(auc(&[1.0, 2.0], &[-1.0, -2.0]).is_err());
        assert!(auc(&[1.0], &[0.0, 2.0]).is_err());
        assert!(auc(&[1.0, f64::NAN], &[0.0, 2.0]).is_err());
    }
}
