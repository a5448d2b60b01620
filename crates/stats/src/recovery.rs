//! Recovery times: RTO and RPO of few runs.

use super::special::student_quantile;
use super::{Estimate, Method, StatsError, check};

/// Geometric mean of positive `times` (any unit) with the t interval of their logarithms; at least three.
///
/// A time of 0 has no logarithm and is refused: record at least one look's length.
pub fn typical_time(times: &[f64]) -> Result<Estimate, StatsError> {
    check::series("times", times, 3)?;
    if let Some(&value) = times.iter().find(|time| **time <= 0.0) {
        return Err(StatsError::OutOfRange {
            what: "times",
            value,
            range: "(0, inf)",
        });
    }
    let n = times.len() as f64;
    let mean = times.iter().map(|time| time.ln()).sum::<f64>() / n;
    let variance = times.iter().map(|time| (time.ln() - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = student_quantile(0.975, n - 1.0) * (variance / n).sqrt();
    let high = check::finite("times", (mean + half).exp())?;
    Ok(Estimate::new(
        mean.exp(),
        (mean - half).exp(),
        high,
        times.len() as u64,
        Method::LogStudentT,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_t_on_logarithms() {
        let estimate = typical_time(&[1.0, std::f64::consts::E, std::f64::consts::E.powi(2)]).unwrap();
        // Logarithms 0, 1, 2: mean 1, s = 1, t(.975, 2) = 4.302653.
        let half = 4.302_652_729_9 / 3.0_f64.sqrt();
        assert!((estimate.value - 1.0_f64.exp()).abs() < 1e-12);
        assert!((estimate.ci95.low - (1.0 - half).exp()).abs() < 1e-9);
        assert!((estimate.ci95.high - (1.0 + half).exp()).abs() < 1e-6);
    }

    #[test]
    fn two_runs_are_too_few_and_say_so() {
        assert_eq!(typical_time(&[1.0, 2.0]).unwrap_err().needed(), Some(3));
        assert!(typical_time(&[1.0, 2.0, 0.0]).is_err());
        assert!(typical_time(&[1.0, 2.0, f64::NAN]).is_err());
        assert!(typical_time(&[1e300, 1e-300, 1e300]).is_err());
    }
}
