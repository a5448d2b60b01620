//! Quantiles of raw values with order-statistic intervals.

use super::histogram::quantile_ranks;
use super::{Estimate, Method, StatsError, check};

/// The rank, from 1, of the sample quantile: ⌈nq⌉ (Hyndman & Fan type 1), the value that a share of at
/// most 1 − q exceeds, so that "P95 > T" and "more than 5 % exceed T" are one statement.
pub fn rank_of(n: usize, q: f64) -> usize {
    // The slack keeps 0.95 · 1000 at 950 in binary arithmetic.
    ((n as f64 * q * (1.0 - 1e-14)).ceil() as usize).clamp(1, n.max(1))
}

/// The least n at which the `q` quantile has a finite upper bound at 95 %, two-sided: 72 for P95, 368 for
/// P99.
pub fn enough(q: f64) -> Result<u64, StatsError> {
    let q = check::open_unit("quantile", q)?;
    // The largest of n values bounds the quantile when q^n ≤ 2.5 %.
    let n = (0.025_f64.ln() / q.ln()).ceil().max(1.0);
    if n > 9e15 {
        return Err(StatsError::OutOfRange {
            what: "quantile",
            value: q,
            range: "below 1 - 1e-15",
        });
    }
    Ok(n as u64)
}

/// The `q` quantile of `values` (any order), q in (0, 1), with the order-statistic interval at the
/// effective sample size n/`design_effect`.
///
/// Ranks as in [`Histogram::quantile`](super::histogram::Histogram::quantile). With fewer values than
/// [`enough`] an end is infinite: the data do not bound it.
pub fn quantile(values: &[f64], q: f64, design_effect: f64) -> Result<Estimate, StatsError> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile_of_sorted(&sorted, q, design_effect)
}

/// [`quantile`] of values that already rise.
pub fn quantile_of_sorted(sorted: &[f64], q: f64, design_effect: f64) -> Result<Estimate, StatsError> {
    let q = check::open_unit("quantile", q)?;
    let effect = check::design_effect(design_effect)?;
    check::series("values", sorted, 1)?;
    if let Some(index) = sorted.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(StatsError::NotMonotone {
            what: "sorted values",
            index: index + 1,
        });
    }
    let n = sorted.len();
    let (lower, upper) = quantile_ranks(n as f64, q, effect);
    let at = |rank: f64| sorted[(rank as usize).clamp(1, n) - 1];
    let low = lower.map_or(f64::NEG_INFINITY, at);
    let high = upper.map_or(f64::INFINITY, at);
    Ok(Estimate::new(
        sorted[rank_of(n, q) - 1],
        low,
        high,
        n as u64,
        Method::OrderStatistics,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_binomial() {
        let values: Vec<f64> = (1..=1000).map(f64::from).rev().collect();
        let p95 = quantile(&values, 0.95, 1.0).unwrap();
        // Binomial(1000, .95): quantiles 936 and 963, so ranks 936 and 964.
        assert_eq!((p95.value, p95.ci95.low, p95.ci95.high), (950.0, 936.0, 964.0));
        let wide = quantile(&values, 0.95, 4.0).unwrap();
        assert!(wide.ci95.low < 936.0 && wide.ci95.high > 964.0);
    }

    #[test]
    fn the_least_n_of_p95_and_p99() {
        assert_eq!(enough(0.95).unwrap(), 72);
        assert_eq!(enough(0.99).unwrap(), 368);
        let values: Vec<f64> = (0..71).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.95, 1.0).unwrap().ci95.high, f64::INFINITY);
        let values: Vec<f64> = (0..72).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.95, 1.0).unwrap().ci95.high, 71.0);
    }

    #[test]
    fn bad_values_are_refused() {
        assert!(quantile(&[], 0.5, 1.0).is_err());
        assert!(quantile(&[1.0, f64::NAN], 0.5, 1.0).is_err());
        assert!(quantile(&[1.0], 0.0, 1.0).is_err());
        assert!(quantile(&[1.0], 0.5, 0.0).is_err());
        assert!(quantile_of_sorted(&[2.0, 1.0], 0.5, 1.0).is_err());
        assert_eq!(quantile(&[3.0], 0.5, 1.0).unwrap().ci95.high, f64::INFINITY);
    }
}
