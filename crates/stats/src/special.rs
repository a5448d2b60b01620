//! Special functions and quantiles that the intervals need.
//!
//! Written here where the statistics library stops early: its incomplete beta ends after 140 terms of
//! the continued fraction, too few beyond some ten thousand observations.

use statrs::function::{erf, gamma};

/// The standard normal quantile of 97.5 %.
pub const Z_975: f64 = 1.959_963_984_540_054;

/// Standard normal distribution function.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * erf::erfc(-z / std::f64::consts::SQRT_2)
}

/// Standard normal quantile of `p` in (0, 1); infinite at the ends.
pub fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    let z = -std::f64::consts::SQRT_2 * erf::erfc_inv(2.0 * p);
    // One Newton step takes the rational approximation to full precision.
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if density > 0.0 {
        z - (normal_cdf(z) - p) / density
    } else {
        z
    }
}

/// ln B(a, b) for a, b > 0.
pub fn ln_beta(a: f64, b: f64) -> f64 {
    // Stirling's differences keep digits that ln Γ(a) + ln Γ(b) − ln Γ(a+b) loses for large a and b.
    if a >= 10.0 && b >= 10.0 {
        let correction = stirling(a) + stirling(b) - stirling(a + b);
        let sum = a + b;
        return 0.5 * (2.0 * std::f64::consts::PI).ln() + (a - 0.5) * (a / sum).ln() + b * (b / sum).ln()
            - 0.5 * b.ln()
            + correction;
    }
    gamma::ln_gamma(a) + gamma::ln_gamma(b) - gamma::ln_gamma(a + b)
}

/// ln Γ(x) − [(x − ½) ln x − x + ½ ln 2π] for x ≥ 10 (Abramowitz & Stegun 6.1.41).
fn stirling(x: f64) -> f64 {
    let square = x * x;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / (1188.0 * square)) / square) / square) / square)
        / x
}

/// Regularised incomplete beta function `I_x(a, b)` for a, b > 0 and x in [0, 1].
///
/// Continued fraction by the modified Lentz method (Didonato & Morris 1992; Press et al., *Numerical
/// Recipes*, 6.4), run until it converges: about the square root of `a + b` terms.
pub fn beta_inc(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b)).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, 1.0 - x) / b
    }
}

fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let terms = 200 + 20 * (a + b).min(VAST).sqrt() as u64;
    let mut c = 1.0;
    let mut d = 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..=terms {
        let m = term as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / away_from_zero(1.0 + even * d);
        c = away_from_zero(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / away_from_zero(1.0 + odd * d);
        c = away_from_zero(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < 1e-15 {
            break;
        }
    }
    fraction
}

/// Quantile of the Beta(a, b) distribution.
pub fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    if a + b > VAST {
        return vast_beta_quantile(p, a, b);
    }
    let ln_norm = ln_beta(a, b);
    root(
        |x| beta_inc(a, b, x) - p,
        |x| ((a - 1.0) * x.ln() + (b - 1.0) * (-x).ln_1p() - ln_norm).exp(),
        0.0,
        1.0,
        a / (a + b),
    )
}

/// Beyond this size the continued fraction would take seconds, and the limits below have relative errors
/// under 1e-7 of a standard deviation.
const VAST: f64 = 1e8;

/// Beta quantiles of vast parameters: gamma where one of them is small against the other, else normal with
/// the first Cornish–Fisher term for the skewness.
fn vast_beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let small = a.min(b);
    if small < 1e6 {
        let tail = if a < b { p } else { 1.0 - p };
        let x = gamma_quantile(tail, small) / (a.max(b) + (small - 1.0) / 2.0);
        return if a < b { x } else { 1.0 - x };
    }
    let total = a + b;
    let spread = (a / total * (b / total) / (total + 1.0)).sqrt();
    let skewness = 2.0 * (b - a) * (total + 1.0).sqrt() / ((total + 2.0) * a.sqrt() * b.sqrt());
    let z = normal_quantile(p);
    (a / total + spread * (z + skewness * (z * z - 1.0) / 6.0)).clamp(0.0, 1.0)
}

/// Quantile of the Gamma distribution with the given shape and scale 1.
pub fn gamma_quantile(p: f64, shape: f64) -> f64 {
    if p <= 0.0 || shape <= 0.0 {
        return 0.0;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    if shape > VAST {
        return shape * (1.0 - 1.0 / (9.0 * shape) + normal_quantile(p) / (3.0 * shape.sqrt())).powi(3);
    }
    let ln_norm = gamma::ln_gamma(shape);
    // Wilson–Hilferty starts close to the root.
    let third = 1.0 - 1.0 / (9.0 * shape) + normal_quantile(p) / (3.0 * shape.sqrt());
    let start = if third > 0.0 {
        shape * third.powi(3)
    } else {
        0.5 * shape
    };
    let mut high = start.max(shape) + 10.0;
    while gamma::gamma_lr(shape, high) < p {
        high *= 2.0;
    }
    root(
        |x| {
            if x <= 0.0 { -p } else { gamma::gamma_lr(shape, x) - p }
        },
        |x| ((shape - 1.0) * x.ln() - x - ln_norm).exp(),
        0.0,
        high,
        start,
    )
}

/// Distribution function of Student's t with `freedom` degrees of freedom.
pub fn student_cdf(t: f64, freedom: f64) -> f64 {
    let tail = 0.5 * beta_inc(freedom / 2.0, 0.5, freedom / (freedom + t * t));
    if t > 0.0 { 1.0 - tail } else { tail }
}

/// Quantile of Student's t with `freedom` degrees of freedom, for `p` in (0, 1).
pub fn student_quantile(p: f64, freedom: f64) -> f64 {
    if p < 0.5 {
        return -student_quantile(1.0 - p, freedom);
    }
    let x = beta_quantile(2.0 * (1.0 - p), freedom / 2.0, 0.5);
    if x <= 0.0 {
        f64::INFINITY
    } else {
        (freedom * (1.0 - x) / x).sqrt()
    }
}

/// P(X ≤ k) of a Binomial(n, p).
pub fn binomial_cdf(k: f64, n: f64, p: f64) -> f64 {
    if k < 0.0 {
        return 0.0;
    }
    let k = k.floor();
    if k >= n {
        return 1.0;
    }
    if n > VAST {
        // Poisson in the rarer outcome: the normal limit is taken before where neither is rare.
        return if p < 0.5 {
            gamma::gamma_ur(k + 1.0, n * p)
        } else {
            1.0 - if n - k - 1.0 < 0.0 {
                0.0
            } else {
                gamma::gamma_ur(n - k, n * (1.0 - p))
            }
        };
    }
    1.0 - beta_inc(k + 1.0, n - k, p)
}

/// Smallest k with P(X ≤ k) ≥ `probability` of a Binomial(n, p), n a whole number.
pub fn binomial_quantile(probability: f64, n: f64, p: f64) -> f64 {
    if n > VAST {
        let variance = n * p * (1.0 - p);
        if variance > 1e6 {
            let z = normal_quantile(probability);
            let rank = n * p + z * variance.sqrt() + (z * z - 1.0) * (1.0 - 2.0 * p) / 6.0 - 0.5;
            return rank.ceil().clamp(0.0, n);
        }
    }
    let (mut low, mut high) = (-1.0, n);
    // Invariant: the distribution function is below `probability` at `low` and not at `high`.
    let spread = 12.0 * (n * p * (1.0 - p)).sqrt() + 12.0;
    let near = (n * p - spread).floor().max(-1.0);
    if binomial_cdf(near, n, p) < probability {
        low = near;
    }
    let near = (n * p + spread).ceil().min(n);
    if binomial_cdf(near, n, p) >= probability {
        high = near;
    }
    while high - low > 1.0 {
        let middle = f64::midpoint(low, high).floor();
        if binomial_cdf(middle, n, p) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Root of a rising function between `low` and `high`: Newton steps, bisection where they leave the
/// bracket or fail to halve it.
fn root(value: impl Fn(f64) -> f64, slope: impl Fn(f64) -> f64, mut low: f64, mut high: f64, start: f64) -> f64 {
    let mut x = start.clamp(low, high);
    for _ in 0..200 {
        let error = value(x);
        if error == 0.0 {
            return x;
        }
        if error < 0.0 {
            low = x;
        } else {
            high = x;
        }
        let step = x - error / slope(x);
        let next = if step.is_finite() && step > low && step < high {
            step
        } else {
            f64::midpoint(low, high)
        };
        if (next - x).abs() <= 1e-15 * x.abs() || high - low <= 4.0 * f64::EPSILON * high {
            return next;
        }
        x = next;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    // Values from scipy 1.17 (scipy.special, scipy.stats).
    #[test]
    fn quantiles_match_published_values() {
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} against {b}");
        close(normal_quantile(0.975), Z_975);
        close(normal_quantile(1e-10), -6.361_340_902_404_056);
        close(student_quantile(0.975, 4.0), 2.776_445_105_197_798_7);
        close(student_quantile(0.975, 1.0), 12.706_204_736_174_7);
        close(beta_quantile(0.025, 1.0, 100.0), 0.000_253_146_032_977_4);
        close(beta_inc(950_001.0, 50_000.0, 0.95), 0.499_359_334_566_3);
        close(gamma_quantile(0.025, 10.0), 4.795_388_696_132);
    }

    // Values from scipy.
    #[test]
    fn vast_parameters_take_no_time_and_keep_their_digits() {
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-9 * b.abs(), "{a} against {b}");
        close(beta_quantile(0.025, 5e9, 5e10), 0.090_906_688_364_183_5);
        close(beta_quantile(0.975, 12.0, 1e12), 1.968_203_851_300_002e-11);
        close(gamma_quantile(0.975, 1e12), 1_000_001_959_964.93);
        assert_eq!(binomial_quantile(0.975, 1e12, 0.95), 950_000_427_164.0);
    }

    #[test]
    fn the_binomial_quantile_is_the_smallest_that_reaches_the_probability() {
        for (n, p) in [(1.0, 0.5), (72.0, 0.95), (1000.0, 0.01), (100_000.0, 0.95)] {
            for probability in [0.025, 0.5, 0.975] {
                let k = binomial_quantile(probability, n, p);
                assert!(binomial_cdf(k, n, p) >= probability);
                assert!(k == 0.0 || binomial_cdf(k - 1.0, n, p) < probability);
            }
        }
    }
}
