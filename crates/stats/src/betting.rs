//! The mean of bounded values by betting: an interval for live display, valid at every look at once.
//!
//! The hedged capital confidence sequence of Waudby-Smith and Ramdas (2024, "Estimating means of bounded
//! random variables by betting", Journal of the Royal Statistical Society B 86, theorem 3). Against each
//! candidate mean m two gamblers bet, one that the values lie above m, one that they lie below:
//!
//! ```text
//! K⁺ₜ(m) = Π (1 + λᵢ⁺(xᵢ − m)),   K⁻ₜ(m) = Π (1 − λᵢ⁻(xᵢ − m)),   λᵢ⁺ = min(λᵢ, c/m),   λᵢ⁻ = min(λᵢ, c/(1 − m))
//! λᵢ = √(2 ln(2/α) / (σ̂²ᵢ₋₁ · i · ln(1 + i)))
//! ```
//!
//! with mean and variance of the values before the i-th, each begun with a pseudo-value. Half of the
//! capital on either side: m is ruled out once one of them has made 2/α of its 1. Where the values have the
//! mean m given those before, both are martingales that start at 1, and by Ville's inequality the interval
//! ever misses the mean with probability at most α, whatever the law of the values on [0, 1].

use super::{Estimate, Method, StatsError, check};

/// 2/α of a 95 % interval.
const RUIN: f64 = 40.0;
/// c: the largest part of the capital that one value may cost.
const MAX_STAKE: f64 = 0.75;

/// Mean of `values` in [0, 1], in order of time, with a 95 % confidence sequence.
///
/// The values must be comparable observations, each with the same mean given those before: samples that
/// belong to one moment (the devices of a look) are averaged first.
pub fn mean(values: &[f64]) -> Result<Estimate, StatsError> {
    check::series("values", values, 1)?;
    if let Some(&value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(StatsError::OutOfRange {
            what: "values",
            value,
            range: "[0, 1]",
        });
    }
    let n = values.len();
    let average = values.iter().sum::<f64>() / n as f64;
    let low = ruled_out_below(values);
    let mirrored: Vec<f64> = values.iter().map(|x| 1.0 - x).collect();
    let high = 1.0 - ruled_out_below(&mirrored);
    // The capital knows the mean only through the bets: with few values it may rule out their own average.
    Ok(Estimate::new(
        average,
        low.min(average),
        high.max(average),
        n as u64,
        Method::Betting,
    ))
}

/// The largest m that the gambler on larger values has ruled out: K⁺ falls as m rises.
fn ruled_out_below(values: &[f64]) -> f64 {
    let bets = bets(values);
    let is_ruled_out = |m: f64| {
        let log_capital: f64 = values
            .iter()
            .zip(&bets)
            .map(|(x, bet)| (bet.min(MAX_STAKE / m) * (x - m)).ln_1p())
            .sum();
        log_capital >= RUIN.ln()
    };
    let (mut out, mut kept) = (0.0, 1.0);
    for _ in 0..50 {
        let middle = f64::midpoint(out, kept);
        if is_ruled_out(middle) {
            out = middle;
        } else {
            kept = middle;
        }
    }
    out
}

/// λᵢ of each value, from those before it.
fn bets(values: &[f64]) -> Vec<f64> {
    let (mut sum, mut squares) = (0.5, 0.25);
    (1_u32..)
        .zip(values)
        .map(|(i, value)| {
            let i = f64::from(i);
            let bet = (2.0 * RUIN.ln() / (squares / i * i * (1.0 + i).ln())).sqrt();
            sum += value;
            squares += (value - sum / (i + 1.0)).powi(2);
            bet
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The capital after (1, 1) is (1 + λ₁u)(1 + λ₂u) with u = 1 − m, and reaches 40 at the root in u.
    #[test]
    fn one_value_rules_out_nothing_and_two_what_their_capital_says() {
        let one = mean(&[1.0]).unwrap();
        assert_eq!((one.value, one.n), (1.0, 1));
        assert!(one.ci95.low < 1e-12 && one.ci95.high == 1.0, "{one:?}");
        let log = 2.0 * 40.0_f64.ln();
        let first = (log / (0.25 * 2.0_f64.ln())).sqrt();
        let second = (log / (0.3125 * 3.0_f64.ln())).sqrt();
        let (square, linear) = (first * second, first + second);
        let u = ((linear * linear + 4.0 * 39.0 * square).sqrt() - linear) / (2.0 * square);
        let two = mean(&[1.0, 1.0]).unwrap();
        assert!((two.ci95.low - (1.0 - u)).abs() < 1e-9, "{two:?}");
        let mirror = mean(&[0.0, 0.0]).unwrap();
        assert!((mirror.ci95.high - u).abs() < 1e-9, "{mirror:?}");
    }

    // Two values, by hand: λ₁ = √(2 ln 40/(1/4 · ln 2)), μ̂₁ = 3/4, σ̂²₁ = (1/4 + 1/16)/2.
    #[test]
    fn bets_follow_the_variance_seen_so_far() {
        let bets = bets(&[1.0, 0.3]);
        let log = 2.0 * 40.0_f64.ln();
        assert!((bets[0] - (log / (0.25 * 2.0_f64.ln())).sqrt()).abs() < 1e-12);
        assert!((bets[1] - (log / (0.3125 / 2.0 * 2.0 * 3.0_f64.ln())).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn steady_values_are_bounded_tightly_and_swinging_ones_less() {
        let at = |swing: f64| {
            let values: Vec<f64> = (0..240).map(|i| 0.6 + swing * f64::from(i % 2 * 2 - 1)).collect();
            let interval = mean(&values).unwrap().ci95;
            assert!(interval.contains(0.6));
            interval.high - interval.low
        };
        assert!(at(0.01) < 0.05 && at(0.01) < at(0.3), "{} {}", at(0.01), at(0.3));
        assert!(at(0.3) < 0.25);
    }

    #[test]
    fn what_is_no_share_is_refused() {
        assert!(mean(&[]).is_err());
        for value in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(mean(&[0.5, value]).is_err());
        }
        let edge = mean(&[0.0; 50]).unwrap();
        assert!(edge.ci95.low == 0.0 && edge.ci95.high < 0.2, "{edge:?}");
    }
}
