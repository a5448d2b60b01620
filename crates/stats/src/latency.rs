//! Latency of one stage: mean, variance, P95 and P99, and their change against the previous run.

use super::quantile::quantile_of_sorted;
use super::resample::Seed;
use super::shortcut::difference_of_quantiles;
use super::{Estimate, StatsError, bootstrap, check};

/// Latency of one stage, in the unit of its values (milliseconds in reports; the variance in its square).
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Mean, `BCa` bootstrap.
    pub mean: Estimate,
    /// Sample variance, studentised bootstrap.
    pub variance: Estimate,
    /// 95th percentile, order statistics.
    pub p95: Estimate,
    /// 99th percentile, order statistics.
    pub p99: Estimate,
}

/// Change of a stage's latency against the previous run; each part is an error where its data are too few.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Mean now minus mean before.
    pub mean: Result<Estimate, StatsError>,
    /// P95 now minus P95 before.
    pub p95: Result<Estimate, StatsError>,
    /// P99 now minus P99 before.
    pub p99: Result<Estimate, StatsError>,
}

/// The profile of a stage's `latencies` (any order, not negative, at least two different).
pub fn profile(latencies: &[f64], seed: &Seed) -> Result<Profile, StatsError> {
    let sorted = sorted(latencies)?;
    Ok(Profile {
        mean: bootstrap::mean(latencies, &seed.part(0))?,
        variance: bootstrap::variance(latencies, &seed.part(1))?,
        p95: quantile_of_sorted(&sorted, 0.95, 1.0)?,
        p99: quantile_of_sorted(&sorted, 0.99, 1.0)?,
    })
}

/// The change from the `previous` run's latencies to the `current` ones, two independent samples.
pub fn change(current: &[f64], previous: &[f64], seed: &Seed) -> Result<Change, StatsError> {
    let (new, old) = (sorted(current)?, sorted(previous)?);
    Ok(Change {
        mean: bootstrap::difference_of_means(current, previous, &seed.part(0)),
        p95: difference_of_quantiles(&new, &old, 0.95, &seed.part(1)),
        p99: difference_of_quantiles(&new, &old, 0.99, &seed.part(2)),
    })
}

fn sorted(latencies: &[f64]) -> Result<Vec<f64>, StatsError> {
    check::series("latencies", latencies, 1)?;
    let mut sorted = latencies.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.first() {
        Some(&value) if value < 0.0 => Err(StatsError::Negative {
            what: "latencies",
            value,
        }),
        _ => Ok(sorted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::normal_quantile;

    fn lognormal(n: u32, median: f64) -> Vec<f64> {
        (1..=n)
            .map(|i| median * (0.5 * normal_quantile(f64::from(i) / f64::from(n + 1))).exp())
            .collect()
    }

    #[test]
    fn the_profile_of_a_lognormal() {
        let profile = profile(&lognormal(2000, 200.0), &Seed::new("test", "latency")).unwrap();
        // Mean 200·e^{1/8} = 226.6, P95 455.2, P99 640.0.
        assert!(profile.mean.ci95.contains(226.6));
        assert!(profile.p95.ci95.contains(455.2) && profile.p95.ci95.high < 500.0);
        assert!(profile.p99.ci95.contains(640.0));
        assert!(profile.variance.ci95.contains(14_580.0), "{:?}", profile.variance);
    }

    #[test]
    fn a_slower_run_shows_in_every_part() {
        let seed = Seed::new("test", "change");
        let change = change(&lognormal(2000, 260.0), &lognormal(2000, 200.0), &seed).unwrap();
        assert!(change.mean.unwrap().ci95.contains(68.0));
        assert!(change.p95.unwrap().ci95.low > 80.0);
        assert!(change.p99.unwrap().ci95.low > 50.0);
    }

    #[test]
    fn short_and_broken_runs_say_what_is_wrong() {
        let seed = Seed::new("test", "short");
        let short = change(&lognormal(100, 200.0), &lognormal(100, 200.0), &seed).unwrap();
        assert!(short.p95.is_ok());
        assert_eq!(short.p99.unwrap_err().needed(), Some(368));
        assert!(profile(&[1.0, -2.0], &seed).is_err());
        assert!(profile(&[], &seed).is_err());
    }
}
