//! Modality balance: the contribution of text over that of the image.

use super::resample::Seed;
use super::{Estimate, StatsError, bootstrap, check};

/// Σ text / Σ visual contributions, one of each a query, with the `BCa` bootstrap interval by query.
pub fn ratio(text: &[f64], visual: &[f64], seed: &Seed) -> Result<Estimate, StatsError> {
    if let Some(&value) = text.iter().find(|value| **value < 0.0) {
        return Err(StatsError::Negative {
            what: "text contributions",
            value,
        });
    }
    bootstrap::ratio(text, visual, seed)
}

/// How many times the baseline ratio the current ratio is: each estimate's logarithm is taken as
/// independent, the interval is the method of variance estimates recovery's (Donner & Zou 2012).
pub fn against_baseline(current: &Estimate, baseline: &Estimate) -> Result<Estimate, StatsError> {
    let logs = |estimate: &Estimate| -> Result<[f64; 3], StatsError> {
        check::positive("modality ratio", estimate.ci95.low)?;
        check::positive("modality ratio", estimate.value)?;
        check::positive("modality ratio", estimate.ci95.high)?;
        Ok([estimate.value.ln(), estimate.ci95.low.ln(), estimate.ci95.high.ln()])
    };
    let [new, new_low, new_high] = logs(current)?;
    let [old, old_low, old_high] = logs(baseline)?;
    let low = (new - old) - (new - new_low).hypot(old_high - old);
    let high = (new - old) + (new_high - new).hypot(old - old_low);
    Ok(Estimate::new(
        (new - old).exp(),
        low.exp(),
        high.exp(),
        current.n.min(baseline.n),
        current.method,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_and_its_rise() {
        let seed = Seed::new("test", "modality");
        let visual: Vec<f64> = (0..300).map(|i| 1.0 + f64::from(i % 7) / 10.0).collect();
        let text: Vec<f64> = (0..300).map(|i| 1.5 + f64::from(i % 5) / 10.0).collect();
        let more: Vec<f64> = text.iter().map(|value| value * 1.5).collect();
        let before = ratio(&text, &visual, &seed).unwrap();
        let after = ratio(&more, &visual, &seed).unwrap();
        let rise = against_baseline(&after, &before).unwrap();
        assert!((rise.value - 1.5).abs() < 1e-9);
        assert!(rise.ci95.low > 1.3 && rise.ci95.high < 1.7, "{rise:?}");
        assert!(ratio(&[-1.0, 1.0], &[1.0, 1.0], &seed).is_err());
    }
}
