//! Calibration: does a confidence of 80 % come true in 80 % of cases?
//!
//! The expected calibration error (Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017) is biased upwards: a
//! perfectly calibrated model shows about .07 at n = 200 and .03 at n = 1,000 with 15 bins. The debiased
//! value subtracts the bias that the noise of each bin's frequency explains (Kumar, Liang & Ma 2019,
//! "Verified uncertainty calibration"), here in closed form.

use rand_distr::{Binomial, Distribution};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::resample::{Seed, percentile, replicates};
use super::special::normal_cdf;
use super::{Estimate, Interval, Method, StatsError, bootstrap, check};

/// Bins of the headline value.
pub const BINS: usize = 15;
/// Fewest predictions for a verdict: below, the bias is as large as the limit.
pub const ENOUGH: u64 = 1_000;

/// One bin of a calibration curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Predictions in the bin.
    pub n: u64,
    /// Their mean confidence, in [0, 1].
    pub confidence: f64,
    /// The share of them that came true, in [0, 1].
    pub observed: f64,
}

/// How the bins are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binning {
    /// Equal widths on [0, 1]: (0, 1/15], …; the headline.
    EqualWidth,
    /// Equal numbers of predictions, equal confidences kept together.
    EqualMass,
}

/// What a calibration curve amounts to.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// ECE = Σ wᵢ |confidence − observed|, w the share of a bin. Its interval runs from the lower bootstrap end less the
    /// largest bias that the bins allow to the plain upper one: the bias only raises the value. The lower end
    /// is 0 where a calibrated model would show as much in one of 20 samples: at 0 only the lower end can miss.
    pub ece: Estimate,
    /// ECE without the part that the bins' noise explains, at least 0.
    pub debiased: f64,
    /// Σ wᵢ max(confidence − observed, 0).
    pub overconfidence: f64,
    /// Σ wᵢ max(observed − confidence, 0).
    pub underconfidence: f64,
    /// The bins that hold predictions, in rising order of confidence.
    pub curve: Vec<Bin>,
}

impl Calibration {
    /// Whether there are [`ENOUGH`] predictions for a verdict; an error that says so otherwise.
    pub fn verdict_size(&self) -> Result<(), StatsError> {
        if self.ece.n < ENOUGH {
            return Err(StatsError::TooFew {
                what: "predictions",
                n: self.ece.n,
                needed: ENOUGH,
            });
        }
        Ok(())
    }
}

/// The calibration of predictions: `confidences` in [0, 1] and whether each came true.
pub fn calibration(
    confidences: &[f64],
    correct: &[bool],
    binning: Binning,
    seed: &Seed,
) -> Result<Calibration, StatsError> {
    from_bins(&curve(confidences, correct, binning, BINS)?, seed)
}

/// The calibration curve in at most `bins` bins; empty bins are left out.
pub fn curve(confidences: &[f64], correct: &[bool], binning: Binning, bins: usize) -> Result<Vec<Bin>, StatsError> {
    if confidences.len() != correct.len() {
        return Err(StatsError::LengthMismatch {
            what: "confidences and outcomes",
            left: confidences.len(),
            right: correct.len(),
        });
    }
    check::series("confidences", confidences, 1)?;
    if let Some(&value) = confidences.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(StatsError::OutOfRange {
            what: "confidences",
            value,
            range: "[0, 1]",
        });
    }
    if bins == 0 {
        return Err(StatsError::Empty { what: "bins" });
    }
    let mut order: Vec<usize> = (0..confidences.len()).collect();
    order.sort_by(|&a, &b| confidences[a].total_cmp(&confidences[b]));
    let bin_of = |position: usize, confidence: f64| match binning {
        Binning::EqualWidth => ((confidence * bins as f64).ceil() as usize).clamp(1, bins) - 1,
        Binning::EqualMass => position * bins / order.len(),
    };
    let mut sums: Vec<(u64, f64, f64)> = vec![(0, 0.0, 0.0); bins];
    let (mut previous, mut bin) = (f64::NAN, 0);
    for (position, &index) in order.iter().enumerate() {
        let confidence = confidences[index];
        if confidence != previous {
            bin = bin_of(position, confidence);
            previous = confidence;
        }
        let sum = &mut sums[bin];
        sum.0 += 1;
        sum.1 += confidence;
        sum.2 += f64::from(u8::from(correct[index]));
    }
    let filled = sums.into_iter().filter(|sum| sum.0 > 0);
    Ok(filled
        .map(|(n, confidence, observed)| Bin {
            n,
            confidence: confidence / n as f64,
            observed: observed / n as f64,
        })
        .collect())
}

/// The calibration of bins that a report gives. Resampling: bin sizes multinomial, outcomes binomial.
pub fn from_bins(bins: &[Bin], seed: &Seed) -> Result<Calibration, StatsError> {
    let (curve, n) = checked(bins)?;
    let value = ece_of(&curve);
    let debiased = debiased(&curve, n);
    let mut replicates = resampled(&curve, n, seed);
    let mean = replicates.iter().sum::<f64>() / replicates.len() as f64;
    let low = percentile(&mut replicates, 0.025);
    let high = percentile(&mut replicates, 0.975);
    // The largest bias that the bins' gaps allow, each taken 1.5 standard errors smaller than seen.
    let most = bias(&curve, n, |gap, spread| (gap - 1.5 * spread).max(0.0));
    let mut lower = (value - most - (mean - low)).max(0.0);
    if lower > 0.0 && value <= calibrated_ece(&curve, n, &seed.part(0)) {
        lower = 0.0;
    }
    let ci95 = Interval::new(lower, (value + (high - mean)).min(1.0));
    let signed = |bin: &Bin| (bin.confidence - bin.observed) * bin.n as f64 / n as f64;
    Ok(Calibration {
        ece: Estimate {
            value,
            ci95,
            n,
            method: Method::MultinomialBootstrap,
        },
        debiased,
        overconfidence: curve.iter().map(|bin| signed(bin).max(0.0)).sum(),
        underconfidence: curve.iter().map(|bin| (-signed(bin)).max(0.0)).sum(),
        curve,
    })
}

/// The ECE that a calibrated model with these bins stays under in 95 of 100 samples.
fn calibrated_ece(curve: &[Bin], n: u64, seed: &Seed) -> f64 {
    let calibrated: Vec<Bin> = curve
        .iter()
        .map(|bin| Bin {
            observed: bin.confidence,
            ..*bin
        })
        .collect();
    percentile(&mut resampled(&calibrated, n, seed), 0.95)
}

/// Mean confidence minus the share that came true: above 0 is over-confident. `BCa` bootstrap.
pub fn signed_gap(confidences: &[f64], correct: &[bool], seed: &Seed) -> Result<Estimate, StatsError> {
    bootstrap::mean(&gaps(confidences, correct)?, seed)
}

/// The signed gap of `current` minus that of `baseline`, two independent sets of predictions: the drift
/// towards over-confidence (above 0) or under-confidence.
pub fn signed_drift(
    current: (&[f64], &[bool]),
    baseline: (&[f64], &[bool]),
    seed: &Seed,
) -> Result<Estimate, StatsError> {
    bootstrap::difference_of_means(&gaps(current.0, current.1)?, &gaps(baseline.0, baseline.1)?, seed)
}

/// Debiased ECE of `current` minus that of `baseline`, with the percentile bootstrap interval.
///
/// Both are compared at the smaller n: the larger set's bins are thinned in proportion, so that what is
/// left of the bias is the same on both sides.
pub fn ece_drift(current: &[Bin], baseline: &[Bin], seed: &Seed) -> Result<Estimate, StatsError> {
    let (new, n_new) = checked(current)?;
    let (old, n_old) = checked(baseline)?;
    let n = n_new.min(n_old);
    let value = debiased(&new, n) - debiased(&old, n);
    let replicate = |bins: &[Bin], part| -> Vec<f64> {
        let centre = ece_of(bins);
        let law = resampled(bins, n, &seed.part(part));
        let mean = law.iter().sum::<f64>() / law.len() as f64;
        // Only the spread is kept: the resamples' own bias is not the estimate's.
        law.into_iter().map(|x| x - mean + centre).collect()
    };
    let (from_new, from_old) = (replicate(&new, 0), replicate(&old, 1));
    let centre = ece_of(&new) - ece_of(&old);
    let mut shifts: Vec<f64> = from_new
        .iter()
        .zip(&from_old)
        .map(|(a, b)| a - b - centre + value)
        .collect();
    let ci95 = Interval::new(percentile(&mut shifts, 0.025), percentile(&mut shifts, 0.975));
    Ok(Estimate {
        value,
        ci95,
        n,
        method: Method::MultinomialBootstrap,
    })
}

fn gaps(confidences: &[f64], correct: &[bool]) -> Result<Vec<f64>, StatsError> {
    // The curve's checks are wanted, not its bins.
    curve(confidences, correct, Binning::EqualWidth, 1)?;
    Ok(confidences
        .iter()
        .zip(correct)
        .map(|(p, hit)| p - f64::from(u8::from(*hit)))
        .collect())
}

fn checked(bins: &[Bin]) -> Result<(Vec<Bin>, u64), StatsError> {
    for (index, bin) in bins.iter().enumerate() {
        for value in [bin.confidence, bin.observed] {
            if !value.is_finite() {
                return Err(StatsError::NotFinite { what: "bins", index });
            }
            if !(0.0..=1.0).contains(&value) {
                return Err(StatsError::OutOfRange {
                    what: "bins",
                    value,
                    range: "[0, 1]",
                });
            }
        }
    }
    let filled: Vec<Bin> = bins.iter().copied().filter(|bin| bin.n > 0).collect();
    match filled.iter().try_fold(0_u64, |sum, bin| sum.checked_add(bin.n)) {
        Some(n) if n > 0 => Ok((filled, n)),
        Some(_) => Err(StatsError::Empty { what: "bins" }),
        None => Err(StatsError::OutOfRange {
            what: "bins",
            value: f64::INFINITY,
            range: "[0, 2^64)",
        }),
    }
}

fn ece_of(bins: &[Bin]) -> f64 {
    let total: f64 = bins.iter().map(|bin| bin.n as f64).sum();
    bins.iter()
        .map(|bin| (bin.confidence - bin.observed).abs() * bin.n as f64)
        .sum::<f64>()
        / total
}

/// ECE less its bias at size `n` in all: the bias of a bin is E|γ + N(0, s²)| − |γ|, with s² the variance of
/// the bin's frequency, at the gap γ that is left when the bias at the observed gap is taken off.
fn debiased(bins: &[Bin], n: u64) -> f64 {
    let left = |gap: f64, spread: f64| (2.0 * gap - folded_mean(gap, spread)).max(0.0);
    (ece_of(bins) - bias(bins, n, left)).max(0.0)
}

/// Σ of the bins' biases where the true gap of a bin is taken to be `truth`(observed gap, its spread).
fn bias(bins: &[Bin], n: u64, truth: impl Fn(f64, f64) -> f64) -> f64 {
    let total: f64 = bins.iter().map(|bin| bin.n as f64).sum();
    bins.iter()
        .map(|bin| {
            let weight = bin.n as f64 / total;
            let gap = (bin.confidence - bin.observed).abs();
            // A frequency of 0 or 1 in a small bin is not known to be without noise: add a half.
            let p = (bin.observed * bin.n as f64 + 0.5) / (bin.n as f64 + 1.0);
            let spread = (p * (1.0 - p) / (weight * n as f64)).sqrt();
            let truth = truth(gap, spread);
            weight * (folded_mean(truth, spread) - truth)
        })
        .sum()
}

/// E|N(mean, spread²)| (Leone, Nelson & Nottingham 1961).
fn folded_mean(mean: f64, spread: f64) -> f64 {
    let z = mean / spread;
    spread * (2.0 / std::f64::consts::PI).sqrt() * (-0.5 * z * z).exp() + mean * (1.0 - 2.0 * normal_cdf(-z))
}

fn resampled(bins: &[Bin], n: u64, seed: &Seed) -> Vec<f64> {
    let total: f64 = bins.iter().map(|bin| bin.n as f64).sum();
    replicates(seed, |rng, chunk| {
        for slot in chunk {
            let (mut left, mut rest, mut sum) = (n, total, 0.0);
            for bin in bins {
                let size = binomial(left, (bin.n as f64 / rest).min(1.0), rng);
                left -= size;
                rest -= bin.n as f64;
                if size > 0 {
                    let hits = binomial(size, bin.observed, rng) as f64;
                    sum += (bin.confidence * size as f64 - hits).abs();
                }
            }
            *slot = sum / n as f64;
        }
    })
}

fn binomial(n: u64, p: f64, rng: &mut Xoshiro256PlusPlus) -> u64 {
    // Only an impossible p is refused, and p is a share.
    Binomial::new(n, p).map_or(0, |law| law.sample(rng))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn seed() -> Seed {
        Seed::new("test", "calibration")
    }

    fn uniform(rng: &mut Xoshiro256PlusPlus) -> f64 {
        (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn model(n: usize, excess: f64, stream: u64) -> (Vec<f64>, Vec<bool>) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(stream);
        (0..n)
            .map(|_| {
                let p = 0.1 + 0.8 * uniform(&mut rng);
                (p, uniform(&mut rng) < p - excess)
            })
            .unzip()
    }

    #[test]
    fn a_known_curve() {
        let confidences = [0.1, 0.1, 0.9, 0.9];
        let result = calibration(&confidences, &[false, true, true, true], Binning::EqualWidth, &seed()).unwrap();
        // Bins: confidence .1 observed .5; confidence .9 observed 1.
        assert!((result.ece.value - (0.4 * 0.5 + 0.1 * 0.5)).abs() < 1e-12);
        assert!((result.underconfidence - 0.25).abs() < 1e-12);
        assert_eq!((result.overconfidence, result.curve.len()), (0.0, 2));
        assert_eq!(result.verdict_size().unwrap_err().needed(), Some(1_000));
    }

    #[test]
    fn a_calibrated_model_shows_a_plain_error_and_hardly_a_debiased_one() {
        let (mut plain, mut corrected) = (0.0, 0.0);
        for stream in 0..40 {
            let (confidences, correct) = model(1000, 0.0, stream);
            let bins = curve(&confidences, &correct, Binning::EqualWidth, BINS).unwrap();
            plain += ece_of(&bins) / 40.0;
            corrected += debiased(&bins, 1000) / 40.0;
        }
        assert!((plain - 0.036).abs() < 0.006, "{plain}");
        assert!(corrected < 0.6 * plain, "{corrected}");
    }

    #[test]
    fn an_overconfident_model_is_called_so() {
        let (confidences, correct) = model(5000, 0.08, 3);
        let result = calibration(&confidences, &correct, Binning::EqualMass, &seed()).unwrap();
        assert!(
            result.ece.ci95.contains(0.08) && result.ece.ci95.low > 0.05,
            "{:?}",
            result.ece
        );
        assert!(result.overconfidence > 0.06 && result.underconfidence < 0.01);
        let gap = signed_gap(&confidences, &correct, &seed()).unwrap();
        assert!(gap.ci95.low > 0.06 && gap.ci95.high < 0.1);
        let (before, outcome) = model(5000, 0.0, 4);
        let drift = signed_drift((&confidences, &correct), (&before, &outcome), &seed()).unwrap();
        assert!(drift.ci95.low > 0.05, "{drift:?}");
        let bins = |c: &[f64], h: &[bool]| curve(c, h, Binning::EqualWidth, BINS).unwrap();
        let drift = ece_drift(&bins(&confidences, &correct), &bins(&before, &outcome), &seed()).unwrap();
        assert!(drift.ci95.low > 0.03 && drift.ci95.contains(0.08), "{drift:?}");
    }

    #[test]
    fn equal_confidences_stay_in_one_bin() {
        let bins = curve(&[0.5; 30], &[true; 30], Binning::EqualMass, BINS).unwrap();
        assert_eq!(
            bins,
            vec![Bin {
                n: 30,
                confidence: 0.5,
                observed: 1.0
            }]
        );
        let edges = curve(&[0.0, 1.0], &[true; 2], Binning::EqualWidth, BINS).unwrap();
        assert_eq!(edges.len(), 2);
    }

    #[test]
    fn bad_bins_are_refused() {
        assert!(from_bins(&[], &seed()).is_err());
        for (confidence, observed) in [(f64::NAN, 0.5), (0.5, 1.5), (-0.1, 0.5)] {
            assert!(
                from_bins(
                    &[Bin {
                        n: 5,
                        confidence,
                        observed
                    }],
                    &seed()
                )
                .is_err()
            );
        }
        assert!(
            from_bins(
                &[Bin {
                    n: 0,
                    confidence: 0.5,
                    observed: 0.5
                }],
                &seed()
            )
            .is_err()
        );
        assert!(calibration(&[0.5], &[], Binning::EqualWidth, &seed()).is_err());
        assert!(calibration(&[1.5], &[true], Binning::EqualWidth, &seed()).is_err());
    }
}
