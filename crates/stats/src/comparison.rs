//! Is the new release worse than the old one that runs beside it?
//!
//! Conditional on the b bad requests of a look, each is one of the new release's with probability
//! θ0 = `n_new`/(`n_new` + `n_old`) when both have the same share of bad requests, and with
//! θ1 = `R·n_new`/(`R·n_new` + `n_old`) when the new share is R times the old. Load that both see, its daily
//! wave and an outage upstream cancel. The conditional test is Przyborowski & Wilenski's (1940) for two
//! Poisson counts; for shares that are not small the conditional law is hypergeometric, which a convex
//! function such as a likelihood ratio sees as less spread than the binomial (Hoeffding 1963, theorem 4),
//! so that the evidence errs to the safe side.
//!
//! At design effect D = 1 the evidence of a look in which s of the b bad requests are the new release's is
//! the likelihood ratio R^s/(1 + (R − 1)θ0)^b. What only some pods suffer does not cancel. For D > 1 the
//! whole of D is taken to be of that kind: pods whose shares are gamma-distributed, independently of each
//! other, split the bad requests with a probability Q ~ Beta(mθ0, m(1 − θ0)), m = b̄/(D − 1), b̄ the mean
//! number of bad requests of a look (Mosimann 1962: gamma parts of a whole are Dirichlet, independent of the
//! whole). The evidence is
//!
//! ```text
//! e^ℓ = e^(θs) / E (1 + Q(e^θ − 1))^b,   e^θ = R·D_b / (1 + R(D_b − 1)),   D_b = 1 + (D − 1)·b/b̄
//! ```
//!
//! Any θ is valid. This one is small: where the pods' shares wander over many looks (independence of looks
//! is not given) a θ nearer to the growth-optimal one of beta-binomial looks raised false alarms. The
//! expectation is that of e^(θs) for beta-binomial counts, so that e^ℓ has mean 1 for them, and mean
//! at most 1 for every split that is less dispersed in the convex order, the binomial one of causes that
//! both releases share among them.

use super::sequential::{RATIOS, WEIGHTS, log_one_plus, log_weighted_sum};
use super::{StatsError, check};

/// Bad requests of a look beyond which it counts as one of this size with the same split: E e^(fθs) is at
/// most (1 + Q(e^θ − 1))^(fb) for f < 1 (Jensen), so that this only takes evidence away.
const MAX_BAD: f64 = 2_000.0;

/// Evidence that a new release has a larger share of bad requests than the old one beside it.
///
/// A look allocates nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    design_effect: f64,
    log_r: [f64; RATIOS.len()],
    log_product: [f64; RATIOS.len()],
    /// Bad requests in the looks in which both served.
    bad: f64,
    looks: u64,
}

impl Comparison {
    /// A comparison without looks, of a service whose counts of bad requests vary `design_effect` ≥ 1 times
    /// as much as those of independent requests.
    pub fn new(design_effect: f64) -> Result<Self, StatsError> {
        Ok(Self {
            design_effect: check::design_effect(design_effect)?,
            log_r: [f64::NEG_INFINITY; RATIOS.len()],
            log_product: [0.0; RATIOS.len()],
            bad: 0.0,
            looks: 0,
        })
    }

    /// Forgets all evidence.
    pub fn start(&mut self) {
        self.log_r = [f64::NEG_INFINITY; RATIOS.len()];
        self.log_product = [0.0; RATIOS.len()];
        self.bad = 0.0;
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
        let bad = bad_old + bad_new;
        self.bad += bad;
        let split = Split::new(
            n_new / (n_new + n_old),
            bad,
            self.bad / self.looks as f64,
            self.design_effect,
        );
        for (k, &ratio) in RATIOS.iter().enumerate() {
            let log_ratio = split.log_evidence(ratio, bad_new, bad);
            self.log_r[k] = log_one_plus(self.log_r[k]) + log_ratio;
            self.log_product[k] += log_ratio;
        }
        Ok(())
    }

    /// E = Σ w exp(Σ ℓ) over the ratios since the start: an e-process. By Ville's inequality
    /// P(E ever reaches 1/α) ≤ α while the new release is no worse than the old.
    pub fn evidence(&self) -> f64 {
        self.log_evidence().exp().min(f64::MAX)
    }

    /// ln E of [`evidence`](Self::evidence).
    pub fn log_evidence(&self) -> f64 {
        log_weighted_sum(&self.log_product, &WEIGHTS)
    }

    /// M of the e-SR detector on the same likelihood ratios: quicker after a long healthy stretch, and to
    /// be held against a threshold c = m·N/α, as a [`Detector`](super::sequential::Detector)'s is.
    pub fn detector_evidence(&self) -> f64 {
        log_weighted_sum(&self.log_r, &WEIGHTS).exp().min(f64::MAX)
    }

    /// Looks in which both releases served.
    pub const fn looks(&self) -> u64 {
        self.looks
    }
}

/// How the bad requests of one look fall on two equally good releases.
struct Split {
    /// θ0.
    share: f64,
    /// `D_b`.
    effect: f64,
    /// m; infinite where the split is binomial.
    precision: f64,
}

impl Split {
    fn new(share: f64, bad: f64, typical: f64, design_effect: f64) -> Self {
        let excess = design_effect - 1.0;
        // Without a bad request nothing is known of their number, and nothing has to be.
        if excess == 0.0 || typical == 0.0 {
            return Self {
                share,
                effect: 1.0,
                precision: f64::INFINITY,
            };
        }
        Self {
            share,
            effect: 1.0 + excess * bad / typical,
            precision: typical / excess,
        }
    }

    /// ℓ for a look of `bad` bad requests, `of_new` of them the new release's.
    fn log_evidence(&self, ratio: f64, of_new: f64, bad: f64) -> f64 {
        // e^θ − 1, free of cancellation at large D.
        let rise = (ratio - 1.0) / (1.0 + ratio * (self.effect - 1.0));
        if self.precision.is_infinite() {
            return of_new * rise.ln_1p() - bad * (rise * self.share).ln_1p();
        }
        let counted = (MAX_BAD / bad).min(1.0);
        counted * of_new * rise.ln_1p() - self.log_moment(counted * bad, rise)
    }

    /// ln E (1 + Q·rise)^count. It is convex in the count, so that the chord between whole counts lies above it.
    fn log_moment(&self, count: f64, rise: f64) -> f64 {
        let whole = count.floor();
        let part = count - whole;
        let low = self.log_whole_moment(whole, rise);
        if part == 0.0 {
            low
        } else {
            low + part * (self.log_whole_moment(whole + 1.0, rise) - low)
        }
    }

    /// The same for a whole count: Σ C(count, j) rise^j E Q^j over j, all terms positive.
    fn log_whole_moment(&self, count: f64, rise: f64) -> f64 {
        const LARGE: f64 = 1e250;
        let (mut term, mut sum, mut log_scale) = (1.0, 1.0, 0.0);
        let mut j = 0.0;
        while j < count {
            term *= (count - j) / (j + 1.0) * (self.precision * self.share + j) / (self.precision + j) * rise;
            sum += term;
            if sum > LARGE {
                (term, sum, log_scale) = (term / LARGE, sum / LARGE, log_scale + LARGE.ln());
            }
            j += 1.0;
            // The terms rise to one peak: what follows a negligible one after it is negligible.
            if term < 1e-18 * sum {
                break;
            }
        }
        log_scale + sum.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_release_twice_as_bad_is_told_apart() {
        for effect in [1.0, 1.5] {
            let mut comparison = Comparison::new(effect).unwrap();
            for _ in 0..60 {
                comparison.look(1000.0, 10.0, 500.0, 10.0).unwrap();
            }
            assert!(comparison.evidence() > 1e6);
            assert!(comparison.detector_evidence() > 1e6);
        }
    }

    #[test]
    fn an_outage_that_hits_both_is_no_evidence() {
        for effect in [1.0, 4.0, 50.0] {
            let mut comparison = Comparison::new(effect).unwrap();
            for look in 0..60 {
                let bad = if look > 30 { 0.5 } else { 0.01 };
                comparison.look(1000.0, 1000.0 * bad, 500.0, 500.0 * bad).unwrap();
            }
            assert!(comparison.evidence() < 1.0);
        }
    }

    #[test]
    fn one_release_alone_says_nothing() {
        let mut comparison = Comparison::new(1.0).unwrap();
        comparison.look(0.0, 0.0, 500.0, 500.0).unwrap();
        // Exactly: nothing is told of a comparison that has nothing to say.
        assert_eq!(comparison.log_evidence(), 0.0);
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
        let expected: f64 = RATIOS
            .iter()
            .zip(WEIGHTS)
            .map(|(r, weight)| {
                let theta1 = r * 100.0 / (r * 100.0 + 300.0);
                weight * (theta1 / theta0).powi(3) * ((1.0 - theta1) / (1.0 - theta0)).powi(4)
            })
            .sum();
        assert!((comparison.evidence() - expected).abs() < 1e-12);
    }

    /// Mean of e^ℓ over counts of the new release with these probabilities.
    fn mean(split: &Split, ratio: f64, probabilities: &[f64]) -> f64 {
        let bad = probabilities.len() as f64 - 1.0;
        (0..)
            .zip(probabilities)
            .map(|(s, p)| p * split.log_evidence(ratio, f64::from(s), bad).exp())
            .sum()
    }

    #[test]
    fn the_evidence_of_beta_binomial_splits_has_mean_one_and_of_binomial_ones_less() {
        let bad = 30_u32;
        for (share, effect) in [(0.3, 5.0), (0.05, 2.0), (0.8, 12.0)] {
            let split = Split::new(share, f64::from(bad), 20.0, effect);
            let (a, b) = (split.precision * share, split.precision * (1.0 - share));
            // Binomial coefficients times rising factorials, normalised.
            let mut beta_binomial = vec![1.0];
            let mut binomial = vec![1.0];
            for s in 0..bad {
                let (s, left) = (f64::from(s), f64::from(bad - s));
                let choose = left / (s + 1.0);
                beta_binomial.push(beta_binomial[beta_binomial.len() - 1] * choose * (a + s) / (b + left - 1.0));
                binomial.push(binomial[binomial.len() - 1] * choose * share / (1.0 - share));
            }
            for law in [&mut beta_binomial, &mut binomial] {
                let total: f64 = law.iter().sum();
                for probability in law.iter_mut() {
                    *probability /= total;
                }
            }
            for ratio in RATIOS {
                assert!((mean(&split, ratio, &beta_binomial) - 1.0).abs() < 1e-9);
                assert!(mean(&split, ratio, &binomial) < 1.0);
            }
        }
    }

    #[test]
    fn parts_of_requests_and_looks_without_end_are_taken() {
        let split = Split::new(0.4, 12.0, 10.0, 3.0);
        let at = |count| split.log_moment(count, 0.2);
        assert!(at(11.0) < at(11.5) && at(11.5) < at(12.0));
        let mut comparison = Comparison::new(1.000_001).unwrap();
        comparison.look(1e15, 1e15, 1e15, 1e15).unwrap();
        assert!(comparison.evidence() < 1.0);
        comparison.look(1e15, 0.0, 1e15, 1e15).unwrap();
        assert!(comparison.evidence() > 1e100);
    }
}
