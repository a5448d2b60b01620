//! Conflicts between the query and the answer: how many, how grave, what they cost.

use super::resample::Seed;
use super::{Estimate, StatsError, bootstrap, check, proportion};

/// Conflict AUC: the area under the conflict rate against the severity threshold on [0, 1], lower is better.
///
/// `severities` holds one value a query, 0 where nothing conflicts. The area equals the mean severity:
/// ∫₀¹ P(severity > t) dt. `BCa` bootstrap by query; when all are equal the interval is Wilson's of that share.
pub fn conflict_auc(severities: &[f64], seed: &Seed) -> Result<Estimate, StatsError> {
    check::series("severities", severities, 1)?;
    if let Some(&value) = severities.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(StatsError::OutOfRange {
            what: "severities",
            value,
            range: "[0, 1]",
        });
    }
    match bootstrap::mean(severities, seed) {
        // A mean on [0, 1] never spreads more than a proportion with the same mean.
        Err(StatsError::NoVariation { .. } | StatsError::TooFew { .. }) => {
            proportion::wilson(severities.iter().sum(), severities.len() as f64, 1.0)
        }
        other => other,
    }
}

/// The share of queries with a conflict of one kind, with Wilson's interval.
pub fn rate_of_kind(conflicts: u64, queries: u64) -> Result<Estimate, StatsError> {
    proportion::wilson(conflicts as f64, queries as f64, 1.0)
}

/// Penalty impact in percent: what penalties take from the unpenalised score, 100·Σ penalty / Σ score, with
/// the bootstrap interval by query. `scores` are before the penalty; both not negative.
pub fn penalty_impact(penalties: &[f64], scores: &[f64], seed: &Seed) -> Result<Estimate, StatsError> {
    if let Some(&value) = penalties.iter().find(|value| **value < 0.0) {
        return Err(StatsError::Negative {
            what: "penalties",
            value,
        });
    }
    bootstrap::ratio(penalties, scores, seed).map(|estimate| estimate.scaled(100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed::new("test", "conflict")
    }

    #[test]
    fn the_area_is_the_mean_severity() {
        let severities: Vec<f64> = (0..500).map(|i| if i % 5 == 0 { 0.6 } else { 0.0 }).collect();
        let estimate = conflict_auc(&severities, &seed()).unwrap();
        let steps = 1000;
        let area: f64 = (0..steps)
            .map(|t| (f64::from(t) + 0.5) / f64::from(steps))
            .map(|t| severities.iter().filter(|s| **s > t).count() as f64 / 500.0 / f64::from(steps))
            .sum();
        assert!((estimate.value - area).abs() < 1e-3);
        assert!(estimate.ci95.low > 0.09 && estimate.ci95.high < 0.15);
    }

    #[test]
    fn no_conflict_at_all_still_has_an_upper_bound() {
        let estimate = conflict_auc(&[0.0; 100], &seed()).unwrap();
        assert_eq!(estimate.value, 0.0);
        assert!((estimate.ci95.high - 0.037).abs() < 0.001);
        assert!(conflict_auc(&[], &seed()).is_err());
        assert!(conflict_auc(&[1.1], &seed()).is_err());
        assert!(conflict_auc(&[f64::NAN], &seed()).is_err());
    }

    #[test]
    fn penalties_are_a_share_of_the_score() {
        let penalties: Vec<f64> = (0..200).map(|i| if i % 4 == 0 { 0.2 } else { 0.0 }).collect();
        let scores = vec![0.8; 200];
        let estimate = penalty_impact(&penalties, &scores, &seed()).unwrap();
        assert!((estimate.value - 6.25).abs() < 1e-9);
        assert!(estimate.ci95.low > 4.0 && estimate.ci95.high < 9.0);
        assert!(penalty_impact(&[-1.0, 0.0], &[1.0, 1.0], &seed()).is_err());
        assert_eq!(rate_of_kind(3, 100).unwrap().n, 100);
    }
}
