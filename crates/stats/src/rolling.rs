//! Rolling averages with their intervals.

use super::correlation::autocorrelation;
use super::special::student_quantile;
use super::{Estimate, Method, StatsError, check};

/// Mean of a stretch of a time series with the t interval at the effective size n(1 − ρ)/(1 + ρ), ρ the
/// lag-1 autocorrelation where positive (Bayley & Hammersley 1946). At least three values.
pub fn average(values: &[f64]) -> Result<Estimate, StatsError> {
    check::series("values", values, 3)?;
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let correlation = autocorrelation(values).clamp(0.0, 0.99);
    let effective = (n * (1.0 - correlation) / (1.0 + correlation)).max(2.0);
    let half = student_quantile(0.975, effective - 1.0) * (variance / effective).sqrt();
    check::finite("average", half)?;
    Ok(Estimate::new(
        mean,
        mean - half,
        mean + half,
        values.len() as u64,
        Method::StudentT,
    ))
}

/// One [`average`] for each window of `width` consecutive values, the first ending at value `width`.
pub fn rolling(values: &[f64], width: usize) -> Result<Vec<Estimate>, StatsError> {
    if width < 3 {
        return Err(StatsError::TooFew {
            what: "values of a window",
            n: width as u64,
            needed: 3,
        });
    }
    check::series("values", values, width as u64)?;
    values.windows(width).map(average).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternating_values_have_the_plain_t_interval() {
        let estimate = average(&[1.0, 3.0, 1.0, 3.0]).unwrap();
        // s² = 4/3, t(.975, 3) = 3.182446.
        let half = 3.182_446_305 * (4.0_f64 / 3.0 / 4.0).sqrt();
        assert!((estimate.value - 2.0).abs() < 1e-12);
        assert!((estimate.ci95.high - 2.0 - half).abs() < 1e-8);
    }

    #[test]
    fn windows_roll_and_slow_series_are_wider() {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        let windows = rolling(&values, 7).unwrap();
        assert_eq!(windows.len(), 4);
        assert_eq!(windows[0].value, 3.0);
        let shuffled = [3.0, 6.0, 0.0, 5.0, 1.0, 4.0, 2.0];
        let width = |estimate: &Estimate| estimate.ci95.high - estimate.ci95.low;
        assert!(width(&windows[0]) > width(&average(&shuffled).unwrap()));
        assert!(rolling(&values, 2).is_err());
        assert!(rolling(&values, 11).is_err());
        assert!(average(&[1.0, 2.0, f64::NAN]).is_err());
    }
}
