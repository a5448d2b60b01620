//! Bias-corrected and accelerated intervals from bootstrap replicates.

use super::Interval;
use super::resample::percentile;
use super::special::{Z_975, normal_cdf, normal_quantile};

/// The `BCa` interval at 95 % (Efron 1987, "Better bootstrap confidence intervals"; Davison & Hinkley 1997,
/// 5.3.2). Reorders `replicates`.
pub(super) fn bca(replicates: &mut [f64], value: f64, acceleration: f64) -> Interval {
    bca_at(replicates, value, acceleration, Z_975)
}

/// The same at the level of the normal quantile `z`.
pub(super) fn bca_at(replicates: &mut [f64], value: f64, acceleration: f64, z: f64) -> Interval {
    let total = replicates.len() as f64;
    // Sums of the same values in another order differ in their last bits: those replicates are ties.
    let size = replicates
        .iter()
        .fold(value.abs(), |size, replicate| size.max(replicate.abs()));
    let slack = if size.is_finite() { 1e-12 * size } else { 0.0 };
    let below = replicates
        .iter()
        .filter(|&&replicate| replicate < value - slack)
        .count() as f64;
    let equal = replicates
        .iter()
        .filter(|&&replicate| (replicate - value).abs() <= slack)
        .count() as f64;
    // All replicates on one side would put the correction at infinity; half a replicate bounds it.
    let bias = normal_quantile(((below + 0.5 * equal) / total).clamp(0.5 / total, 1.0 - 0.5 / total));
    let adjusted = |z: f64| normal_cdf(bias + (bias + z) / (1.0 - acceleration * (bias + z)));
    Interval::new(
        percentile(replicates, adjusted(-z)),
        percentile(replicates, adjusted(z)),
    )
}

/// The acceleration from empirical influence values, with one weight 1/n per sample:
/// a = Σ Σ l³/n³ / (6 (Σ Σ l²/n²)^{3/2}) (Davison & Hinkley 1997, equation 5.30). Zero without variation.
pub(super) fn acceleration(samples: &[(&[f64], f64)]) -> f64 {
    // It does not depend on the unit, and the cubes of large influences would overflow.
    let largest = samples
        .iter()
        .flat_map(|&(influence, n)| influence.iter().map(move |value| (value / n).abs()))
        .fold(0.0, f64::max);
    let (mut cubes, mut squares) = (0.0, 0.0);
    for &(influence, n) in samples {
        for &value in influence {
            let scaled = value / n / largest;
            squares += scaled * scaled;
            cubes += scaled * scaled * scaled;
        }
    }
    if squares > 0.0 && squares.is_finite() {
        cubes / (6.0 * squares.powf(1.5))
    } else {
        0.0
    }
}
