//! Bootstraps whose resampled statistic has a known law, drawn from that law directly.
//!
//! A resampled proportion is Binomial(n, p̂)/n; a resampled order statistic x(k) is x at
//! ⌈n·Beta(k, n−k+1)⌉ (the rank, among n uniforms, that the k-th of n draws picks). The replicates have the
//! distribution of the ordinary bootstrap at a hundredth of its cost.

use super::alias::Alias;
use super::quantile::rank_of;
use super::resample::{RESAMPLES, Seed, percentile, replicates};
use super::special::{Z_975, beta_inc, normal_cdf};
use super::{Estimate, Interval, Method, StatsError, check};

/// Share `bad`/`n` with the percentile bootstrap interval of 10,000 resamples; whole counts.
///
/// [`wilson`](super::proportion::wilson) covers better where `bad` or n − `bad` is below about 20.
pub fn proportion(bad: u64, n: u64, seed: &Seed) -> Result<Estimate, StatsError> {
    check::part_of("proportion", bad as f64, n as f64)?;
    if bad == 0 || bad == n {
        return Err(StatsError::NoVariation { what: "proportion" });
    }
    let value = bad as f64 / n as f64;
    let law = Alias::binomial(n, value);
    let (first, width) = law.support();
    let mut tally = vec![0_u32; width];
    for draw in replicates::<u32>(seed, |rng, chunk| {
        for slot in chunk.iter_mut() {
            *slot = (law.draw(rng) - first) as u32;
        }
    }) {
        tally[draw as usize] += 1;
    }
    let at = |p: f64| (first as f64 + tallied(&tally, p)) / n as f64;
    let (low, high) = (at(1.0 - normal_cdf(Z_975)), at(normal_cdf(Z_975)));
    Ok(Estimate::new(value, low, high, n, Method::ExactResampling))
}

/// The `p` quantile, interpolated as numpy does, of [`RESAMPLES`] draws tallied by value.
fn tallied(tally: &[u32], p: f64) -> f64 {
    let position = p * (RESAMPLES - 1) as f64;
    let order = |rank: u64| {
        let mut seen = 0_u64;
        tally.iter().position(|&count| {
            seen += u64::from(count);
            seen > rank
        })
    };
    let rank = position.floor();
    let low = order(rank as u64).unwrap_or(0) as f64;
    let high = order(rank as u64 + 1).map_or(low, |value| value as f64);
    low + (position - rank) * (high - low)
}

/// The `q` quantile of `sorted`, which must rise, with the percentile bootstrap interval of 10,000
/// resamples. Samples that cannot bound it from above (72 values for P95, 368 for P99) are an error.
///
/// [`quantile`](super::quantile::quantile) is the interval to report: it covers at every n.
pub fn quantile(sorted: &[f64], q: f64, seed: &Seed) -> Result<Estimate, StatsError> {
    let (n, needed) = (sorted.len() as u64, super::quantile::enough(q)?);
    if n < needed {
        return Err(StatsError::TooFew {
            what: "values",
            n,
            needed,
        });
    }
    let mut replicates = resampled_quantiles(sorted, q, seed)?;
    let value = sorted[rank_of(sorted.len(), q) - 1];
    let (low, high) = (percentile(&mut replicates, 0.025), percentile(&mut replicates, 0.975));
    Ok(Estimate::new(value, low, high, n, Method::ExactResampling))
}

/// 10,000 replicates of the `q` quantile (rank ⌈nq⌉) of resamples of `sorted`, which must rise.
pub fn resampled_quantiles(sorted: &[f64], q: f64, seed: &Seed) -> Result<Vec<f64>, StatsError> {
    let q = check::open_unit("quantile", q)?;
    check::series("values", sorted, 2)?;
    if let Some(index) = sorted.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(StatsError::NotMonotone {
            what: "sorted values",
            index: index + 1,
        });
    }
    let law = order_statistic(sorted.len(), rank_of(sorted.len(), q));
    Ok(replicates(seed, |rng, chunk| {
        for slot in chunk.iter_mut() {
            *slot = sorted[law.draw(rng) as usize];
        }
    }))
}

/// The `q` quantile of `current` minus that of `baseline`, two independent samples in rising order, with
/// the percentile bootstrap interval. Both must bound the quantile from above (72 values for P95, 368 for
/// P99): shorter samples are an error, since resamples of them cannot show their own tail.
pub fn difference_of_quantiles(current: &[f64], baseline: &[f64], q: f64, seed: &Seed) -> Result<Estimate, StatsError> {
    let n = current.len().min(baseline.len()) as u64;
    let needed = super::quantile::enough(q)?;
    if n < needed {
        return Err(StatsError::TooFew {
            what: "values in each sample",
            n,
            needed,
        });
    }
    let new = resampled_quantiles(current, q, &seed.part(0))?;
    let old = resampled_quantiles(baseline, q, &seed.part(1))?;
    let value = current[rank_of(current.len(), q) - 1] - baseline[rank_of(baseline.len(), q) - 1];
    let mut differences: Vec<f64> = new.iter().zip(&old).map(|(new, old)| new - old).collect();
    let ci95 = Interval::new(percentile(&mut differences, 0.025), percentile(&mut differences, 0.975));
    Ok(Estimate {
        value,
        ci95,
        n,
        method: Method::ExactResampling,
    })
}

/// The law of the index (from 0) that the `rank`-th smallest of n draws from n values falls on.
fn order_statistic(n: usize, rank: usize) -> Alias {
    let (size, k) = (n as f64, rank as f64);
    // Ten standard deviations of Beta(k, n−k+1), and room for its skewness.
    let spread = 10.0 * (k * (size - k + 1.0) / (size + 2.0)).sqrt() + 20.0;
    let first = (k - spread).max(0.0) as usize;
    let last = ((k + spread) as usize).min(n);
    let below = |index: usize| beta_inc(k, size - k + 1.0, index as f64 / size);
    let cumulative: Vec<f64> = (first..=last).map(below).collect();
    let weights: Vec<f64> = cumulative.windows(2).map(|pair| (pair[1] - pair[0]).max(0.0)).collect();
    Alias::new(first as u64, &weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed() -> Seed {
        Seed::new("test", "shortcut")
    }

    #[test]
    fn the_proportion_interval_is_that_of_the_binomial() {
        let estimate = proportion(50, 1000, &seed()).unwrap();
        // Binomial(1000, .05): quantiles 37 and 64.
        assert!((estimate.ci95.low - 0.037).abs() < 0.0011, "{estimate:?}");
        assert!((estimate.ci95.high - 0.064).abs() < 0.0011, "{estimate:?}");
        assert!(proportion(0, 10, &seed()).is_err());
        assert!(proportion(3, 2, &seed()).is_err());
    }

    #[test]
    fn the_resampled_order_statistic_has_the_law_of_drawing_and_sorting() {
        use rand::Rng;
        let n = 101;
        let sorted: Vec<f64> = (0..n).map(f64::from).collect();
        let fast = resampled_quantiles(&sorted, 0.95, &seed()).unwrap();
        let slow: Vec<f64> = replicates(&seed().part(9), |rng, chunk: &mut [f64]| {
            for slot in chunk {
                let mut draws: Vec<u64> = (0..n).map(|_| rng.next_u64() % 101).collect();
                draws.sort_unstable();
                *slot = draws[rank_of(101, 0.95) - 1] as f64;
            }
        });
        for threshold in [88.5, 92.5, 94.5, 95.5, 97.5] {
            let share = |values: &[f64]| values.iter().filter(|x| **x < threshold).count() as f64 / 1e4;
            assert!((share(&fast) - share(&slow)).abs() < 0.025, "{threshold}");
        }
    }

    #[test]
    fn samples_that_do_not_reach_the_tail_are_too_few() {
        let short: Vec<f64> = (0..71).map(f64::from).collect();
        let error = difference_of_quantiles(&short, &short, 0.95, &seed()).unwrap_err();
        assert_eq!(error.needed(), Some(72));
        assert!(resampled_quantiles(&[2.0, 1.0], 0.5, &seed()).is_err());
    }
}
