//! Intervals for live display: valid at every look at once, however often one looks.
//!
//! All rest on one martingale. For a candidate share p and a prior Beta(κp, κ(1−p)) the mixture likelihood
//! ratio after s successes in n trials is
//!
//! ```text
//! ln M(p) = ln B(κp + s, κ(1−p) + n − s) − ln B(κp, κ(1−p)) − s ln p − (n − s) ln(1 − p)
//! ```
//!
//! and by Ville's inequality P(M ever reaches 1/α) ≤ α at the true p (Robbins 1970; Howard, Ramdas,
//! `McAuliffe` & Sekhon 2021, proposition 7; Lindon & Malek 2022 for more than two categories).

use super::histogram::Histogram;
use super::quantile::rank_of;
use super::special::ln_beta;
use super::{Estimate, Method, StatsError, check};
use statrs::function::gamma::ln_gamma;

/// ln M of the sequential multinomial test (Lindon & Malek 2022, equation 6): counts per category against
/// `shares` that sum to 1, with a Dirichlet prior of total weight `prior`.
pub fn log_multinomial_evidence(prior: f64, shares: &[f64], counts: &[f64]) -> Result<f64, StatsError> {
    let prior = check::positive("prior weight", prior)?;
    check::same_length("shares and counts", shares, counts)?;
    check::series("shares", shares, 2)?;
    let mut log = 0.0;
    let (mut total, mut whole) = (0.0, 0.0);
    for (&share, &count) in shares.iter().zip(counts) {
        let share = check::positive("share", share)?;
        let count = check::count("count", count)?;
        log += ln_gamma(prior * share + count) - ln_gamma(prior * share) - count * share.ln();
        total += count;
        whole += share;
    }
    if (whole - 1.0).abs() > 1e-9 {
        return Err(StatsError::OutOfRange {
            what: "sum of the shares",
            value: whole,
            range: "1",
        });
    }
    Ok(log + ln_gamma(prior) - ln_gamma(prior + total))
}

/// Share `bad`/`n` with a 95 % confidence sequence, tightest near `best_at` requests.
///
/// A `design_effect` D ≥ 1 counts `bad`/D of n/D. The prior weight κ = m − 1 with
/// m = `best_at` / (2 ln(1/α) + ln(1 + 2 ln(1/α))) is that of Howard et al.'s reference implementation.
pub fn proportion(bad: f64, n: f64, design_effect: f64, best_at: f64) -> Result<Estimate, StatsError> {
    let (bad, n) = check::part_of("proportion", bad, n)?;
    let effect = check::design_effect(design_effect)?;
    let prior = prior_weight(check::positive("sample size to be tightest at", best_at)? / effect);
    let (s, f) = (bad / effect, (n - bad) / effect);
    let share = bad / n;
    let outside = |p: f64| log_evidence(prior, p, s, f) >= -ALPHA.ln();
    let low = if bad == 0.0 {
        0.0
    } else {
        boundary(0.0, share, &outside)
    };
    let high = if bad == n { 1.0 } else { boundary(1.0, share, &outside) };
    Ok(Estimate::new(
        share,
        low,
        high,
        n.round() as u64,
        Method::ProportionSequence,
    ))
}

/// The `q` quantile of raw `values` with a 95 % confidence sequence (Howard & Ramdas 2022, "Sequential
/// estimation of quantiles", theorem 3 with the beta-binomial mixture), tightest near `best_at` values.
pub fn quantile(values: &[f64], q: f64, design_effect: f64, best_at: f64) -> Result<Estimate, StatsError> {
    check::series("values", values, 1)?;
    let (lower, upper) = ranks(values.len() as f64, q, design_effect, best_at)?;
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let low = lower.map_or(f64::NEG_INFINITY, |rank| sorted[(rank as usize).clamp(1, n) - 1]);
    let high = upper.map_or(f64::INFINITY, |rank| sorted[(rank.ceil() as usize).clamp(1, n) - 1]);
    Ok(Estimate::new(
        sorted[rank_of(n, q) - 1],
        low,
        high,
        n as u64,
        Method::QuantileSequence,
    ))
}

/// The `q` quantile of a classic histogram with a 95 % confidence sequence on its bucket edges.
pub fn histogram_quantile(
    histogram: &Histogram,
    q: f64,
    design_effect: f64,
    best_at: f64,
) -> Result<Estimate, StatsError> {
    let fixed = histogram.quantile(q, design_effect)?;
    let (lower, upper) = ranks(histogram.total(), q, design_effect, best_at)?;
    let (low, high) = histogram.edges_around(lower, upper);
    Ok(Estimate::new(fixed.value, low, high, fixed.n, Method::QuantileSequence))
}

const ALPHA: f64 = 0.05;

/// κ of Howard et al.: the beta mixture that is tightest at `best_at` trials.
fn prior_weight(best_at: f64) -> f64 {
    let log = -2.0 * ALPHA.ln();
    (best_at / (log + log.ln_1p()) - 1.0).max(1e-3)
}

fn log_evidence(prior: f64, p: f64, s: f64, f: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return if (p <= 0.0 && s > 0.0) || (p >= 1.0 && f > 0.0) {
            f64::INFINITY
        } else {
            0.0
        };
    }
    ln_beta(prior * p + s, prior * (1.0 - p) + f)
        - ln_beta(prior * p, prior * (1.0 - p))
        - s * p.ln()
        - f * (-p).ln_1p()
}

/// Where `outside` begins between `inside` and the `end` of the range, by bisection; `end` if it never does.
fn boundary(end: f64, inside: f64, outside: &impl Fn(f64) -> bool) -> f64 {
    let (mut far, mut near) = (end, inside);
    for _ in 0..200 {
        let middle = f64::midpoint(far, near);
        if middle == far || middle == near {
            break;
        }
        if outside(middle) {
            far = middle;
        } else {
            near = middle;
        }
    }
    far
}

/// The outermost ranks k whose count of values at or below is compatible with q: the quantile lies from
/// the first to one past the last.
fn ranks(n: f64, q: f64, design_effect: f64, best_at: f64) -> Result<(Option<f64>, Option<f64>), StatsError> {
    let q = check::open_unit("quantile", q)?;
    let effect = check::design_effect(design_effect)?;
    let prior = prior_weight(check::positive("sample size to be tightest at", best_at)? / effect);
    let outside = |count: f64| log_evidence(prior, q, count / effect, (n - count) / effect) >= -ALPHA.ln();
    let (mut low, mut inside) = (-1.0, (n * q).round());
    while inside - low > 1.0 {
        let middle = f64::midpoint(low, inside).floor();
        if outside(middle) { low = middle } else { inside = middle }
    }
    let lower = inside;
    let (mut inside, mut high) = ((n * q).round(), n.floor() + 1.0);
    while high - inside > 1.0 {
        let middle = f64::midpoint(inside, high).floor();
        if outside(middle) {
            high = middle;
        } else {
            inside = middle;
        }
    }
    // With `inside` at n even "all values lie below" is compatible: nothing bounds the quantile.
    let upper = (inside + 1.0 <= n).then_some(inside + 1.0);
    Ok(((lower >= 1.0).then_some(lower), upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Lindon & Malek's example, as in their reference implementation.
    #[test]
    fn the_sequential_multinomial_test() {
        let log = log_multinomial_evidence(100.0, &[0.5, 0.5], &[30.0, 60.0]).unwrap();
        assert!((log - 2.068_918_7).abs() < 1e-6, "{log}");
        assert!(log_multinomial_evidence(100.0, &[0.5, 0.6], &[1.0, 1.0]).is_err());
    }

    // The unit tests of Howard et al.'s reference implementation (confseq).
    #[test]
    fn the_proportion_sequence_matches_its_reference() {
        for (bad, n, best_at, low, high) in [
            (700.0, 1000.0, 100.0, 0.651_629, 0.745_949),
            (15.0, 50.0, 50.0, 0.129_556, 0.511_896),
            (5.0, 50.0, 50.0, 0.013_021, 0.269_264),
            (1.0, 50.0, 50.0, 0.0, 0.134_89),
            (1.0, 2.0, 50.0, 0.0, 1.0),
            (100.0, 200.0, 1.0, 0.328_923, 0.671_076),
        ] {
            let estimate = proportion(bad, n, 1.0, best_at).unwrap();
            assert!((estimate.ci95.low - low).abs() < 1e-5, "{bad}/{n}: {estimate:?}");
            assert!((estimate.ci95.high - high).abs() < 1e-5, "{bad}/{n}: {estimate:?}");
        }
    }

    #[test]
    fn the_quantile_sequence_is_wider_than_the_fixed_interval_and_holds_the_point() {
        let values: Vec<f64> = (1..=2000).map(f64::from).collect();
        let live = quantile(&values, 0.95, 1.0, 2000.0).unwrap();
        let fixed = super::super::quantile::quantile(&values, 0.95, 1.0).unwrap();
        assert!(live.ci95.low < fixed.ci95.low && live.ci95.high > fixed.ci95.high);
        assert!(live.ci95.low > 1850.0 && live.ci95.high < 1970.0, "{live:?}");
        let few: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(quantile(&few, 0.95, 1.0, 2000.0).unwrap().ci95.high, f64::INFINITY);
    }
}
