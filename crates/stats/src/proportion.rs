//! Intervals of a proportion.

use super::special::{Z_975, beta_quantile};
use super::{Estimate, Method, StatsError, check};

/// Share `bad`/`n` with its Wilson score interval (Wilson 1927; Brown, Cai & `DasGupta` 2001).
///
/// Counts may be real-valued. A `design_effect` D ≥ 1 computes the interval at the effective sample size
/// n/D; the estimate's `n` stays the number of requests.
pub fn wilson(bad: f64, n: f64, design_effect: f64) -> Result<Estimate, StatsError> {
    let (bad, n) = check::part_of("proportion", bad, n)?;
    let effect = check::design_effect(design_effect)?;
    let share = bad / n;
    let (low, high) = wilson_interval(share, n / effect, Z_975);
    let method = if effect > 1.0 {
        Method::WilsonEffective
    } else {
        Method::Wilson
    };
    Ok(Estimate::new(share, low, high, n.round() as u64, method))
}

pub(super) fn wilson_interval(share: f64, n: f64, z: f64) -> (f64, f64) {
    let square = z * z / n;
    let centre = (share + square / 2.0) / (1.0 + square);
    let half = z / (1.0 + square) * (share * (1.0 - share) / n + square / (4.0 * n)).sqrt();
    // The ends are exact at no and at all bad requests, where rounding would leave 1e-17.
    let low = if share == 0.0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if share == 1.0 { 1.0 } else { (centre + half).min(1.0) };
    (low, high)
}

/// Share `bad`/`n` with its Clopper–Pearson interval (Clopper & Pearson 1934): coverage is never below
/// 95 %, so it serves small n such as drills. Counts may be real-valued.
pub fn clopper_pearson(bad: f64, n: f64) -> Result<Estimate, StatsError> {
    let (bad, n) = check::part_of("proportion", bad, n)?;
    let low = if bad == 0.0 {
        0.0
    } else {
        beta_quantile(0.025, bad, n - bad + 1.0)
    };
    let high = if bad == n {
        1.0
    } else {
        beta_quantile(0.975, bad + 1.0, n - bad)
    };
    Ok(Estimate::new(
        bad / n,
        low,
        high,
        n.round() as u64,
        Method::ClopperPearson,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 1998,
    // table I: 81/263, 15/148, 0/20, 1/29.
    #[test]
    fn newcombes_table() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 5e-5, "{a} against {b}");
        for (bad, n, wilson_ci, exact_ci) in [
            (81.0, 263.0, (0.2553, 0.3662), (0.2527, 0.3676)),
            (15.0, 148.0, (0.0624, 0.1605), (0.0578, 0.1617)),
            (0.0, 20.0, (0.0, 0.1611), (0.0, 0.1684)),
            (1.0, 29.0, (0.0061, 0.1718), (0.0009, 0.1776)),
        ] {
            let score = wilson(bad, n, 1.0).unwrap();
            close(score.ci95.low, wilson_ci.0);
            close(score.ci95.high, wilson_ci.1);
            let exact = clopper_pearson(bad, n).unwrap();
            close(exact.ci95.low, exact_ci.0);
            close(exact.ci95.high, exact_ci.1);
        }
    }

    #[test]
    fn a_design_effect_widens() {
        let plain = wilson(50.0, 1000.0, 1.0).unwrap();
        let wide = wilson(50.0, 1000.0, 4.0).unwrap();
        assert_eq!(wide.n, 1000);
        assert!(wide.ci95.low < plain.ci95.low && wide.ci95.high > plain.ci95.high);
        assert_eq!(wide.ci95, wilson(12.5, 250.0, 1.0).unwrap().ci95);
    }

    #[test]
    fn bad_counts_are_refused() {
        for (bad, n) in [
            (0.0, 0.0),
            (2.0, 1.0),
            (-1.0, 5.0),
            (f64::NAN, 5.0),
            (1.0, f64::INFINITY),
        ] {
            assert!(wilson(bad, n, 1.0).is_err());
            assert!(clopper_pearson(bad, n).is_err());
        }
    }
}
