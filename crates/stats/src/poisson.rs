//! Interval of a rate of events.

use super::special::gamma_quantile;
use super::{Estimate, Method, StatsError, check};

/// Events per second with the exact Poisson interval (Garwood 1936): χ² quantiles of the count.
///
/// `count` events in `seconds` of exposure; counts may be real-valued. A `design_effect` D ≥ 1 (variance
/// over mean of the counts) computes the interval at count/D. The estimate's `n` is the count.
pub fn rate(count: f64, seconds: f64, design_effect: f64) -> Result<Estimate, StatsError> {
    let count = check::count("events", count)?;
    let seconds = check::positive("seconds of exposure", seconds)?;
    let effect = check::design_effect(design_effect)?;
    let effective = count / effect;
    let scale = effect / seconds;
    let low = if effective == 0.0 {
        0.0
    } else {
        gamma_quantile(0.025, effective) * scale
    };
    let high = gamma_quantile(0.975, effective + 1.0) * scale;
    check::finite("rate", high)?;
    Ok(Estimate::new(
        count / seconds,
        low,
        high,
        count.round() as u64,
        Method::PoissonExact,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Garwood's table, as in Ulm, "A simple method to calculate the confidence interval of a standardized
    // mortality ratio", American Journal of Epidemiology 1990.
    #[test]
    fn garwoods_table() {
        for (count, low, high) in [
            (0.0, 0.0, 3.689),
            (1.0, 0.025, 5.572),
            (10.0, 4.795, 18.390),
            (100.0, 81.364, 121.627),
        ] {
            let estimate = rate(count, 1.0, 1.0).unwrap();
            assert!((estimate.ci95.low - low).abs() < 6e-4, "{estimate:?}");
            assert!((estimate.ci95.high - high).abs() < 6e-4, "{estimate:?}");
        }
    }

    #[test]
    fn exposure_and_design_effect_scale() {
        let plain = rate(900.0, 10.0, 1.0).unwrap();
        let wide = rate(900.0, 10.0, 9.0).unwrap();
        assert!((plain.value - 90.0).abs() < 1e-12 && (wide.value - 90.0).abs() < 1e-12);
        assert!(wide.ci95.low < plain.ci95.low && wide.ci95.high > plain.ci95.high);
    }

    #[test]
    fn bad_counts_are_refused() {
        for (count, seconds) in [(-1.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (1.0, f64::NAN), (1.0, -1.0)] {
            assert!(rate(count, seconds, 1.0).is_err());
        }
    }
}
