//! Does a metric fall (or rise) over evaluation windows? The Mann–Kendall test.

use super::special::normal_cdf;
use super::{StatsError, check};

/// Windows up to which the p-values are exact (without ties).
const EXACT: usize = 60;

/// A Mann–Kendall trend (Mann 1945; Kendall 1975) with its p-values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Kendall's S: pairs that rise minus pairs that fall.
    pub s: f64,
    /// S over its largest possible value, in [−1, 1].
    pub tau: f64,
    /// P(S this low or lower) when there is no trend: small means that the metric falls.
    pub p_falling: f64,
    /// P(S this high or higher) when there is no trend: small means that the metric rises.
    pub p_rising: f64,
    /// Sen's slope: the median of all pairs' slopes, per window.
    pub slope: f64,
    /// Windows.
    pub n: u64,
}

/// The trend of `values`, one a window, evenly spaced, at least three.
///
/// p-values are exact up to 60 windows without ties; otherwise normal with the variance corrected for ties
/// and for continuity. With three windows in one direction p is 1/6: a direction, not proof.
pub fn mann_kendall(values: &[f64]) -> Result<Trend, StatsError> {
    check::series("windows", values, 3)?;
    let n = values.len();
    let mut s = 0.0;
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    for (later, &b) in values.iter().enumerate() {
        for (earlier, &a) in values[..later].iter().enumerate() {
            s += if b > a {
                1.0
            } else if b < a {
                -1.0
            } else {
                0.0
            };
            slopes.push((b - a) / (later - earlier) as f64);
        }
    }
    let pairs = slopes.len() as f64;
    let slope = super::resample::percentile(&mut slopes, 0.5);
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let moment = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let (mut ties, mut tied) = (0.0, false);
    for group in sorted.chunk_by(|a, b| a == b) {
        ties += moment(group.len() as f64);
        tied |= group.len() > 1;
    }
    let variance = (moment(n as f64) - ties) / 18.0;
    if variance <= 0.0 {
        return Err(StatsError::NoVariation { what: "windows" });
    }
    let (p_falling, p_rising) = if tied || n > EXACT {
        let spread = variance.sqrt();
        (normal_cdf((s + 1.0) / spread), normal_cdf(-(s - 1.0) / spread))
    } else {
        (exact_tail(n, pairs, s), exact_tail(n, pairs, -s))
    };
    Ok(Trend {
        s,
        tau: s / pairs,
        p_falling,
        p_rising,
        slope,
        n: n as u64,
    })
}

/// P(S ≤ s) over all orders of n distinct values, from the number of inversions (Kendall 1938).
fn exact_tail(n: usize, pairs: f64, s: f64) -> f64 {
    let mut law = vec![1.0];
    for size in 2..=n {
        // Inserting the next value adds 0 to size − 1 inversions, each as likely.
        let mut next = vec![0.0; law.len() + size - 1];
        for (inversions, probability) in law.iter().enumerate() {
            for slot in &mut next[inversions..inversions + size] {
                *slot += probability / size as f64;
            }
        }
        law = next;
    }
    // By symmetry inversions may stand for rising pairs: S = 2·pairs up − all pairs.
    let most = (f64::midpoint(s, pairs)).round() as usize;
    law.iter().take(most + 1).sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_falling_windows_have_p_one_sixth() {
        let trend = mann_kendall(&[0.3, 0.2, 0.1]).unwrap();
        assert_eq!((trend.s, trend.tau), (-3.0, -1.0));
        assert!((trend.p_falling - 1.0 / 6.0).abs() < 1e-12);
        assert!((trend.p_rising - 1.0).abs() < 1e-12);
        assert!((trend.slope + 0.1).abs() < 1e-12);
    }

    // Kaarsemaker & van Wijngaarden's table: for n = 5, P(S ≥ 8) = .042; for n = 10, P(S ≥ 23) = .023.
    #[test]
    fn kendalls_table() {
        assert!((exact_tail(5, 10.0, -8.0) - 0.0417).abs() < 1e-4);
        assert!((exact_tail(10, 45.0, -23.0) - 0.0233).abs() < 1e-4);
    }

    #[test]
    fn exact_and_normal_agree_for_many_windows() {
        let values: Vec<f64> = (0..60).map(|i| f64::from((i * 37) % 61) + f64::from(i) / 3.0).collect();
        let trend = mann_kendall(&values).unwrap();
        let spread = (60.0_f64 * 59.0 * 125.0 / 18.0).sqrt();
        assert!((trend.p_rising - normal_cdf(-(trend.s - 1.0) / spread)).abs() < 2e-3);
    }

    #[test]
    fn too_few_and_constant_windows_are_errors() {
        assert_eq!(mann_kendall(&[1.0, 2.0]).unwrap_err().needed(), Some(3));
        assert!(mann_kendall(&[1.0; 5]).is_err());
        assert!(mann_kendall(&[1.0, f64::NAN, 2.0]).is_err());
        assert!(mann_kendall(&[1.0, 1.0, 2.0]).unwrap().p_rising < 0.5);
    }
}
