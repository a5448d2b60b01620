//! A mixture e-process from a fixed start, and the combination of evidence from several triggers.
//!
//! E = `Σ_k w_k exp(Σ ℓ_k)` against H0: share ≤ p0; reject at E ≥ 1/α (Ville 1939). It dilutes after a long
//! healthy stretch, so it serves a release's own window and live statements; the e-SR
//! [`Detector`](super::sequential::Detector) serves detection.

use super::sequential::{RATIOS, ShareWeights, log_weighted_sum, weights};
use super::{StatsError, check};

/// Evidence since a fixed start that a share of bad requests exceeds its limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    live: usize,
    per_bad: [f64; RATIOS.len()],
    per_request: [f64; RATIOS.len()],
    log_product: [f64; RATIOS.len()],
}

impl Mixture {
    /// H0: the share is at most `p0`, in (0, 0.8), when counts vary `design_effect` ≥ 1 times as much as
    /// those of independent requests.
    pub fn share(p0: f64, design_effect: f64) -> Result<Self, StatsError> {
        let ShareWeights {
            live,
            per_bad,
            per_request,
        } = ShareWeights::new(p0, design_effect)?;
        Ok(Self {
            live,
            per_bad,
            per_request,
            log_product: [0.0; RATIOS.len()],
        })
    }

    /// Takes `n` requests, `bad` of them bad (real-valued counts).
    pub fn look(&mut self, n: f64, bad: f64) -> Result<(), StatsError> {
        if n == 0.0 && bad == 0.0 {
            return Ok(());
        }
        let (bad, n) = check::part_of("bad requests of a look", bad, n)?;
        for k in 0..self.live {
            self.log_product[k] += bad * self.per_bad[k] + n * self.per_request[k];
        }
        Ok(())
    }

    /// ln E.
    pub fn log_evidence(&self) -> f64 {
        log_weighted_sum(&self.log_product[..self.live], &weights(self.live))
    }

    /// E; the largest finite number where E is beyond it.
    pub fn evidence(&self) -> f64 {
        self.log_evidence().exp().min(f64::MAX)
    }
}

/// One e-value of several: their mean, which is an e-value under any dependence (Vovk & Wang 2021,
/// "E-values: calibration, combination and applications", proposition 3.1).
pub fn combined(e_values: &[f64]) -> Result<f64, StatsError> {
    if e_values.is_empty() {
        return Err(StatsError::Empty { what: "e-values" });
    }
    for &value in e_values {
        check::finite("e-value", value)?;
        if value < 0.0 {
            return Err(StatsError::Negative { what: "e-value", value });
        }
    }
    // Divided first: the sum of two very large values would overflow.
    Ok(e_values.iter().map(|value| value / e_values.len() as f64).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_the_weighted_mean_of_likelihood_ratios() {
        let mut mixture = Mixture::share(0.1, 1.0).unwrap();
        mixture.look(100.0, 12.0).unwrap();
        mixture.look(50.0, 9.0).unwrap();
        mixture.look(0.0, 0.0).unwrap();
        // 10 × 0.1 is not below 1: five ratios are live.
        let expected = RATIOS[..5]
            .iter()
            .zip(weights(5))
            .map(|(r, weight)| weight * r.powi(21) * ((1.0 - r * 0.1) / 0.9_f64).powi(129))
            .sum::<f64>();
        assert!((mixture.evidence() / expected - 1.0).abs() < 1e-9);
        assert!(mixture.look(1.0, 2.0).is_err());
        assert!(Mixture::share(0.9, 1.0).is_err());
    }

    #[test]
    fn e_values_combine_by_their_mean() {
        assert_eq!(combined(&[1.0, 3.0]).unwrap(), 2.0);
        assert!(combined(&[f64::MAX, f64::MAX]).unwrap().is_finite());
        assert!(combined(&[]).is_err());
        assert!(combined(&[f64::NAN]).is_err());
    }
}
