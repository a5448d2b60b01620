//! Is the new release worse than the old one that runs beside it?
//!
//! Conditional on the bad requests of a look, each is one of the new release's with probability
//! θ0 = `n_new`/(`n_new` + `n_old`) when both have the same share of bad requests, and with
//! θ1 = `R·n_new`/(`R·n_new` + `n_old`) when the new share is R times the old. Load that both see, its daily
//! wave and an outage upstream cancel. The conditional test is Przyborowski & Wilenski's (1940) for two
//! Poisson counts; for shares that are not small the conditional law is hypergeometric, which a convex
//! function such as a likelihood ratio sees as less spread than the binomial (Hoeffding 1963, theorem 4),
//! so that the evidence errs to the safe side.

use super::sequential::{RATIOS, log_one_plus};
use super::{StatsError, check};

/// Evidence that a new release has a larger share of bad requests than the old one beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    design_effect: f64,
    log_r: [f64; RATIOS.len()],
    log_product: [f64; RATIOS.len()],
    looks: u64,
}

impl Comparison {
    /// A comparison without looks; `design_effect` ≥ 1 tempers each likelihood ratio.
    pub fn new(design_effect: f64) -> Result<Self, StatsError> {
        Ok(Self {
            design_effect: check::design_effect(design_effect)?,
            log_r: [f64::NEG_INFINITY; RATIOS.len()],
            log_product: [0.0; RATIOS.len()],
            looks: 0,
        })
    }

    /// Forgets all evidence.
    pub fn start(&mut self) {
        self.log_r = [f64::NEG_INFINITY; RATIOS.len()];
        self.log_product = [0.0; RATIOS.len()];
        self.looks = 0;
    }

    /// Takes the requests of one interval, old release and new, `bad_*` of them bad (real-valued counts).
    ///
    /// A look without bad requests, or in which only one release served, says nothing about the ratio.
    pub fn look(&mut self, n_old: f64, bad_old: f64, n_new: f64, bad_new: f64) -> Result<(), StatsError> {
        for (n, bad) in [(n_old, bad_old), (n_new, bad_new)] {
            let n = check::count("requests of a look", n)?;
            let bad = check::count("bad requests of a look", bad)?;
            if bad > n {
                return Err(StatsError::OutOfRange {
                    what: "bad requests of a look",
                    value: bad,
                    range: "[0, n]",
                });
            }
        }
        if n_old == 0.0 || n_new == 0.0 {
            return Ok(());
        }
        self.looks += 1;
        let share_new = n_new / (n_new + n_old);
        for (k, ratio) in RATIOS.iter().enumerate() {
            // θ1/θ0 = R/(1 + (R−1)θ0) and (1−θ1)/(1−θ0) = 1/(1 + (R−1)θ0).
            let diluted = ((ratio - 1.0) * share_new).ln_1p();
            let log_ratio = (bad_new * (ratio.ln() - diluted) - bad_old * diluted) / self.design_effect;
            self.log_r[k] = log_one_plus(self.log_r[k]) + log_ratio;
            self.log_product[k] += log_ratio;
        }
        Ok(())
    }

    /// E = `mean_k exp(Σ ℓ_k)` since the start: an e-process. By Ville's inequality
    /// P(E ever reaches 1/α) ≤ α while the new release is no worse than the old.
    pub fn evidence(&self) -> f64 {
        self.log_evidence().exp().min(f64::MAX)
    }

    /// ln E of [`evidence`](Self::evidence).
    pub fn log_evidence(&self) -> f64 {
        log_mean_exp(&self.log_product)
    }

    /// M of the e-SR detector on the same likelihood ratios: quicker after a long healthy stretch, and to
    /// be held against a threshold c = m·N/α, as a [`Detector`](super::sequential::Detector)'s is.
    pub fn detector_evidence(&self) -> f64 {
        log_mean_exp(&self.log_r).exp().min(f64::MAX)
    }

    /// Looks in which both releases served.
    pub const fn looks(&self) -> u64 {
        self.looks
    }
}

/// ln of the mean of exp(`logs`).
pub(super) fn log_mean_exp(logs: &[f64]) -> f64 {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    let sum: f64 = logs.iter().map(|log| (log - most).exp()).sum();
    most + (sum / logs.len() as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_release_twice_as_bad_is_told_apart() {
        let mut comparison = Comparison::new(1.0).unwrap();
        for _ in 0..60 {
            comparison.look(1000.0, 10.0, 500.0, 10.0).unwrap();
        }
        assert!(comparison.evidence() > 1e6);
        assert!(comparison.detector_evidence() > 1e6);
    }

    #[test]
    fn an_outage_that_hits_both_is_no_evidence() {
        let mut comparison = Comparison::new(1.0).unwrap();
        for look in 0..60 {
            let bad = if look > 30 { 0.5 } else { 0.01 };
            comparison.look(1000.0, 1000.0 * bad, 500.0, 500.0 * bad).unwrap();
        }
        assert!(comparison.evidence() < 1.0);
    }

    #[test]
    fn one_release_alone_says_nothing() {
        let mut comparison = Comparison::new(1.0).unwrap();
        comparison.look(0.0, 0.0, 500.0, 500.0).unwrap();
        assert_eq!(comparison.evidence(), 1.0);
        assert_eq!(comparison.looks(), 0);
        assert!(comparison.look(1.0, 2.0, 1.0, 0.0).is_err());
        assert!(comparison.look(f64::NAN, 0.0, 1.0, 0.0).is_err());
        assert!(Comparison::new(0.5).is_err());
    }

    #[test]
    fn the_likelihood_ratio_is_the_conditional_binomial_one() {
        let mut comparison = Comparison::new(1.0).unwrap();
        comparison.look(300.0, 4.0, 100.0, 3.0).unwrap();
        let theta0 = 100.0 / 400.0_f64;
        let expected = RATIOS
            .iter()
            .map(|r| {
                let theta1 = r * 100.0 / (r * 100.0 + 300.0);
                (theta1 / theta0).powi(3) * ((1.0 - theta1) / (1.0 - theta0)).powi(4)
            })
            .sum::<f64>()
            / 6.0;
        assert!((comparison.evidence() - expected).abs() < 1e-12);
    }
}
