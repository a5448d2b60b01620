//! Is an optimisation real? The same requests replayed before and after, resampled in pairs.
//!
//! P95 is estimated by the weighted mean of order statistics of Harrell and Davis (1982, "A new
//! distribution-free quantile estimator", Biometrika 69), with the percentile bootstrap of the pairs: the
//! comparison of dependent quantiles of Wilcox and Erceg-Hurn (2012, "Comparing two dependent groups via
//! quantiles", Journal of Applied Statistics 39). What a pair shares cancels from the difference, and what
//! is left of a single order statistic is mostly its jumps from one value to the next, which a bootstrap
//! takes for noise: the weights are smooth.

use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::quantile::enough;
use super::resample::{Seed, percentile, replicates};
use super::special::beta_inc;
use super::{Estimate, Interval, Method, StatsError, bootstrap, check};

/// Least reduction of P95 that counts, in milliseconds.
pub const MIN_REDUCTION_MS: f64 = 2.0;

/// The outcome of one attempt to show an optimisation.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimisation {
    /// Mean latency before minus after, in milliseconds: positive is faster.
    pub mean_reduction: Estimate,
    /// P95 before minus after, in milliseconds.
    pub p95_reduction: Estimate,
    /// The P95 interval at the level 1 − 0.05/attempts (Bonferroni 1936): what holds in spite of repeats.
    pub p95_after_attempts: Interval,
    /// How many times this optimisation was tried, this attempt included.
    pub attempts: u32,
}

impl Optimisation {
    /// Accepted: the paired interval of the mean and that of P95 lie above 0, and P95 fell by at least
    /// [`MIN_REDUCTION_MS`].
    pub fn accepted(&self) -> bool {
        self.mean_reduction.ci95.low > 0.0
            && self.p95_reduction.ci95.low > 0.0
            && self.p95_reduction.value >= MIN_REDUCTION_MS
    }

    /// Accepted, and still so when the number of attempts is paid for. Repeating an attempt until it is
    /// accepted is peeking; a report shows both.
    pub fn holds_after_attempts(&self) -> bool {
        self.accepted() && self.p95_after_attempts.low > 0.0
    }
}

/// Compares the latencies in milliseconds of the same requests `before` and `after`, as the `attempts`-th
/// try. At least 72 pairs, or resamples could not show their P95.
pub fn validate(before: &[f64], after: &[f64], attempts: u32, seed: &Seed) -> Result<Optimisation, StatsError> {
    check::same_length("pairs", before, after)?;
    check::series("latencies before", before, 1)?;
    check::series("latencies after", after, 1)?;
    if let Some(&value) = before.iter().chain(after).find(|value| **value < 0.0) {
        return Err(StatsError::Negative {
            what: "latencies",
            value,
        });
    }
    if attempts == 0 {
        return Err(StatsError::Empty { what: "attempts" });
    }
    let n = before.len() as u64;
    let needed = enough(0.95)?;
    if n < needed {
        return Err(StatsError::TooFew {
            what: "pairs",
            n,
            needed,
        });
    }
    let mean_reduction = bootstrap::paired_difference(before, after, &seed.part(0))?;
    let (from, to) = (Arm::new(before), Arm::new(after));
    let law = Weights::new(before.len(), 0.95);
    let once = vec![1; before.len()];
    let value = law.quantile(&from, &once) - law.quantile(&to, &once);
    let mut reductions = replicates(&seed.part(1), |rng, chunk| {
        let mut drawn = vec![0_u32; before.len()];
        for slot in chunk {
            draw(rng, &mut drawn);
            *slot = law.quantile(&from, &drawn) - law.quantile(&to, &drawn);
        }
    });
    let mut at = |level: f64| {
        Interval::new(
            percentile(&mut reductions, level),
            percentile(&mut reductions, 1.0 - level),
        )
    };
    let ci95 = at(0.025);
    let p95_after_attempts = at(0.025 / f64::from(attempts));
    Ok(Optimisation {
        mean_reduction,
        p95_reduction: Estimate {
            value,
            ci95,
            n,
            method: Method::PairedBootstrap,
        },
        p95_after_attempts,
        attempts,
    })
}

/// Latencies from the slowest down, each with the number of its pair.
struct Arm(Vec<(u32, f64)>);

impl Arm {
    fn new(latencies: &[f64]) -> Self {
        let mut order: Vec<(u32, f64)> = (0..).zip(latencies.iter().copied()).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        Self(order)
    }
}

/// The weights of the order statistics of n values in the Harrell–Davis quantile.
struct Weights {
    /// Weight of the i smallest together, i from 0 to n.
    below: Vec<f64>,
}

impl Weights {
    fn new(n: usize, q: f64) -> Self {
        let size = n as f64;
        let (a, b) = ((size + 1.0) * q, (size + 1.0) * (1.0 - q));
        Self {
            below: (0..=n).map(|i| beta_inc(a, b, i as f64 / size)).collect(),
        }
    }

    /// The quantile of the resample that holds each pair as often as `drawn` says: only the slow end is
    /// walked, to where the weights end.
    fn quantile(&self, arm: &Arm, drawn: &[u32]) -> f64 {
        let (mut left, mut sum) = (drawn.len(), 0.0);
        for &(pair, latency) in &arm.0 {
            let copies = drawn[pair as usize] as usize;
            sum += (self.below[left] - self.below[left - copies]) * latency;
            left -= copies;
            if self.below[left] < 1e-15 {
                break;
            }
        }
        sum
    }
}

/// How often each pair is drawn.
fn draw(rng: &mut Xoshiro256PlusPlus, drawn: &mut [u32]) {
    drawn.fill(0);
    let n = drawn.len() as u64;
    for _ in 0..n {
        drawn[(((rng.next_u64() >> 32) * n) >> 32) as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(n: u32) -> Vec<f64> {
        (0..n).map(|i| 100.0 + f64::from(i * 7919 % 1000) / 5.0).collect()
    }

    #[test]
    fn a_real_reduction_is_accepted_and_a_small_one_is_not() {
        let seed = Seed::new("test", "optimisation");
        let before = requests(600);
        let faster: Vec<f64> = before.iter().map(|x| x * 0.95).collect();
        let result = validate(&before, &faster, 1, &seed).unwrap();
        assert!(result.accepted() && result.holds_after_attempts(), "{result:?}");
        assert!(result.p95_reduction.value > 10.0);
        let little: Vec<f64> = before.iter().map(|x| x - 1.0).collect();
        assert!(validate(&before, &little, 1, &seed).is_err());
        let little: Vec<f64> = before
            .iter()
            .enumerate()
            .map(|(i, x)| x - 1.0 - (i % 3) as f64 / 10.0)
            .collect();
        assert!(!validate(&before, &little, 1, &seed).unwrap().accepted());
    }

    #[test]
    fn attempts_widen_the_interval_that_must_hold() {
        let seed = Seed::new("test", "attempts");
        let before = requests(200);
        let after: Vec<f64> = before
            .iter()
            .enumerate()
            .map(|(i, x)| x - 3.0 + (i * 31 % 23) as f64 / 6.0)
            .collect();
        let once = validate(&before, &after, 1, &seed).unwrap();
        let often = validate(&before, &after, 20, &seed).unwrap();
        assert_eq!(once.p95_reduction, often.p95_reduction);
        assert!(often.p95_after_attempts.low <= once.p95_after_attempts.low);
        assert!(often.p95_after_attempts.high >= once.p95_after_attempts.high);
    }

    // Weights of n = 5 at the median from the definition: I_{i/5}(3, 3) − I_{(i−1)/5}(3, 3).
    #[test]
    fn the_quantile_is_that_of_harrell_and_davis() {
        let values = [1.0, 2.0, 4.0, 8.0, 16.0];
        let inc = |x: f64| x.powi(3) * (10.0 - 15.0 * x + 6.0 * x * x);
        let expected: f64 = (1_i32..)
            .zip(values)
            .map(|(i, value)| (inc(f64::from(i) / 5.0) - inc(f64::from(i - 1) / 5.0)) * value)
            .sum();
        let law = Weights::new(5, 0.5);
        assert!((law.quantile(&Arm::new(&values), &[1; 5]) - expected).abs() < 1e-9);
        // A resample is a sample: five copies of one value are that value.
        assert!((law.quantile(&Arm::new(&values), &[0, 0, 0, 5, 0]) - 8.0).abs() < 1e-9);
    }

    #[test]
    fn unpaired_short_and_broken_runs_are_refused() {
        let seed = Seed::new("test", "refused");
        let runs = requests(100);
        assert!(validate(&runs, &runs[..99], 1, &seed).is_err());
        assert_eq!(
            validate(&runs[..71], &runs[..71], 1, &seed).unwrap_err().needed(),
            Some(72)
        );
        assert!(validate(&runs, &[f64::NAN; 100], 1, &seed).is_err());
        assert!(validate(&runs, &[-1.0; 100], 1, &seed).is_err());
        assert!(validate(&runs, &runs, 0, &seed).is_err());
    }
}
