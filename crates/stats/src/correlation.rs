//! Pearson and Spearman correlation, of independent pairs and of two time series.
//!
//! Neighbouring points of a time series repeat each other. Their number is replaced by the effective size
//! n (1 − ρ₁ρ₂)/(1 + ρ₁ρ₂), ρ the lag-1 autocorrelations (Bartlett 1935; Bayley & Hammersley 1946).

use super::special::Z_975;
use super::{Estimate, Interval, Method, StatsError, check};

/// Whether the pairs are independent or follow each other in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Independent pairs.
    Independent,
    /// Pairs in order of time, evenly spaced.
    InTime,
}

/// Pearson's r with the Fisher z interval: tanh(artanh r ± 1.96/√(n−3)) (Fisher 1921), n the effective size.
pub fn pearson(x: &[f64], y: &[f64], pairs: Pairs) -> Result<Estimate, StatsError> {
    let (n, r) = checked(x, y, pairs)?;
    let half = Z_975 / (n - 3.0).sqrt();
    Ok(estimate(r, half, x.len(), Method::FisherZ))
}

/// Spearman's ρ (mean ranks for ties) with Bonett & Wright's (2000) standard error √((1 + ρ²/2)/(n−3)) on
/// the z scale, n the effective size.
pub fn spearman(x: &[f64], y: &[f64], pairs: Pairs) -> Result<Estimate, StatsError> {
    check::same_length("pairs", x, y)?;
    check::series("first series", x, 4)?;
    check::series("second series", y, 4)?;
    let (n, r) = checked(&mean_ranks(x), &mean_ranks(y), pairs)?;
    let half = Z_975 * ((1.0 + r * r / 2.0) / (n - 3.0)).sqrt();
    Ok(estimate(r, half, x.len(), Method::BonettWright))
}

/// Effective number of pairs of two series in time, at most n; `x` and `y` of equal length.
pub fn effective_size(x: &[f64], y: &[f64]) -> f64 {
    let product = autocorrelation(x) * autocorrelation(y);
    let n = x.len() as f64;
    // A negative product would claim more than n pairs.
    (n * (1.0 - product) / (1.0 + product)).min(n)
}

/// Lag-1 autocorrelation; 0 without variation.
pub fn autocorrelation(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let total: f64 = x.iter().map(|value| (value - mean).powi(2)).sum();
    let lagged: f64 = x.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    if total > 0.0 { lagged / total } else { 0.0 }
}

/// Ranks from 1, equal values sharing the mean of theirs.
pub fn mean_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = start as f64 + f64::midpoint(group.len() as f64, 1.0);
        for &index in group {
            ranks[index] = rank;
        }
        start += group.len();
    }
    ranks
}

fn checked(x: &[f64], y: &[f64], pairs: Pairs) -> Result<(f64, f64), StatsError> {
    check::same_length("pairs", x, y)?;
    check::series("first series", x, 4)?;
    check::series("second series", y, 4)?;
    let n = match pairs {
        Pairs::Independent => x.len() as f64,
        Pairs::InTime => effective_size(x, y),
    };
    let r = coefficient(x, y)?;
    if n <= 3.0 {
        // At the same autocorrelation this many points would reach an effective size above 3.
        let needed = (4.0 * x.len() as f64 / n).ceil() as u64;
        return Err(StatsError::TooFew {
            what: "effective pairs",
            n: n.floor() as u64,
            needed,
        });
    }
    Ok((n, r))
}

fn coefficient(x: &[f64], y: &[f64]) -> Result<f64, StatsError> {
    let n = x.len() as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let deviation = |values: &[f64], mean: f64| values.iter().map(|v| (v - mean).powi(2)).sum::<f64>().sqrt();
    let (spread_x, spread_y) = (deviation(x, mean_x), deviation(y, mean_y));
    for (what, spread, mean) in [("first series", spread_x, mean_x), ("second series", spread_y, mean_y)] {
        // Rounding leaves a little spread in a series of one repeated value.
        if spread <= 1e-13 * mean.abs() * n.sqrt() {
            return Err(StatsError::NoVariation { what });
        }
    }
    let sum: f64 = x
        .iter()
        .zip(y)
        .map(|(a, b)| (a - mean_x) / spread_x * ((b - mean_y) / spread_y))
        .sum();
    check::finite("correlation", sum.clamp(-1.0, 1.0))
}

fn estimate(r: f64, half: f64, n: usize, method: Method) -> Estimate {
    let z = r.atanh();
    let ci95 = if z.is_finite() {
        Interval::new((z - half).tanh(), (z + half).tanh())
    } else {
        Interval::new(r, r)
    };
    Estimate {
        value: r,
        ci95,
        n: n as u64,
        method,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Efron & Tibshirani, An Introduction to the Bootstrap, table 3.1: r = .776374, Fisher .4385 to .9220.
    #[test]
    fn the_law_school_data() {
        let lsat = [
            576.0, 635.0, 558.0, 578.0, 666.0, 580.0, 555.0, 661.0, 651.0, 605.0, 653.0, 575.0, 545.0, 572.0, 594.0,
        ];
        let gpa = [
            3.39, 3.30, 2.81, 3.03, 3.44, 3.07, 3.00, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96,
        ];
        let r = pearson(&lsat, &gpa, Pairs::Independent).unwrap();
        assert!((r.value - 0.776_374).abs() < 1e-6, "{r:?}");
        assert!(
            (r.ci95.low - 0.4385).abs() < 1e-4 && (r.ci95.high - 0.9220).abs() < 1e-4,
            "{r:?}"
        );
    }

    #[test]
    fn seven_points_at_nine_tenths_say_little() {
        let x: [f64; 7] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        // Fisher: artanh .9 ± 1.96/2.
        let interval = estimate(0.9, Z_975 / 2.0, x.len(), Method::FisherZ).ci95;
        assert!((interval.low - 0.46).abs() < 0.005 && (interval.high - 0.99).abs() < 0.005);
    }

    #[test]
    fn points_in_time_count_for_less() {
        let x: Vec<f64> = (0..200)
            .map(|i| (f64::from(i) / 10.0).sin() + f64::from(i % 7) / 20.0)
            .collect();
        let y: Vec<f64> = (0..200)
            .map(|i| (f64::from(i) / 10.0).sin() + f64::from(i % 5) / 5.0)
            .collect();
        let independent = pearson(&x, &y, Pairs::Independent).unwrap();
        let in_time = pearson(&x, &y, Pairs::InTime).unwrap();
        assert_eq!(independent.value, in_time.value);
        assert!(in_time.ci95.low < independent.ci95.low);
        assert!(effective_size(&x, &y) < 60.0);
    }

    #[test]
    fn ranks_share_ties_and_ignore_monotone_maps() {
        assert_eq!(mean_ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        let x = [1.0, 5.0, 2.0, 8.0, 3.0, 9.0];
        let y = [2.0, 4.0, 1.0, 9.0, 3.0, 7.0];
        let cubed: Vec<f64> = x.iter().map(|v: &f64| v.powi(3)).collect();
        assert_eq!(
            spearman(&x, &y, Pairs::Independent).unwrap().value,
            spearman(&cubed, &y, Pairs::Independent).unwrap().value
        );
    }

    #[test]
    fn what_has_no_correlation_is_an_error() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert!(pearson(&x, &[2.0; 4], Pairs::Independent).is_err());
        assert!(pearson(&x, &x[..3], Pairs::Independent).is_err());
        assert!(pearson(&x[..3], &x[..3], Pairs::Independent).is_err());
        assert!(spearman(&x, &[1.0, 2.0, f64::NAN, 3.0], Pairs::Independent).is_err());
        let rising: Vec<f64> = (0..9).map(f64::from).collect();
        let error = pearson(&rising, &rising, Pairs::InTime);
        assert!(matches!(error, Ok(_) | Err(StatsError::TooFew { .. })));
    }
}
