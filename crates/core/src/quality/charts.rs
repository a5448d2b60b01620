//! What the judgements rest on where people would rather look than read: the calibration curve, compliance by day.

use super::{
    calibration, drift,
    evidence::{Bundle, SeriesPoint},
};
use crate::policy::DriftObjective;
use quality_stats::{Estimate, calibration::Bin, rolling};

/// Series behind the judgements.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Charts {
    /// Predicted against observed, in rising order of confidence.
    pub calibration: Vec<Bin>,
    /// Compliance by day, oldest first.
    pub days: Vec<DayMean>,
}

/// Compliance of one day.
#[derive(Clone, Debug, PartialEq)]
pub struct DayMean {
    /// Days since the epoch.
    pub day: i64,
    /// Mean of its hours, share of 1.
    pub mean: f64,
    /// The average of the window that ends with it, where the window is whole.
    pub rolling: Option<Estimate>,
}

/// The series of a run's evidence; what is missing is empty.
pub(super) fn charts(bundle: &Bundle, drift: Option<&DriftObjective>) -> Charts {
    let loaded = bundle.calibration.as_ref().ok();
    let window = drift.map_or(7, |drift| drift.window_days);
    Charts {
        calibration: loaded
            .and_then(|loaded| calibration::bins(&loaded.data).ok())
            .unwrap_or_default(),
        days: bundle
            .timeseries
            .as_ref()
            .map(|loaded| days(&loaded.data, window))
            .unwrap_or_default(),
    }
}

fn days(points: &[SeriesPoint], window: u32) -> Vec<DayMean> {
    let hours = drift::hourly(points);
    let (Some((&first, _)), Some((&last, _))) = (hours.first_key_value(), hours.last_key_value()) else {
        return Vec::new();
    };
    let width = i64::from(window) * 24;
    // Two weeks are drawn; a series may be years long.
    let begin = first.div_euclid(24).max(last.div_euclid(24) - 15);
    (begin..=last.div_euclid(24))
        .filter_map(|day| {
            let values: Vec<f64> = hours.range(day * 24..(day + 1) * 24).map(|(_, value)| *value).collect();
            let end = (day * 24 + 23).min(last);
            let within: Vec<f64> = hours.range(end - width + 1..=end).map(|(_, value)| *value).collect();
            let whole = end - width + 1 >= first;
            (!values.is_empty()).then(|| DayMean {
                day,
                mean: values.iter().sum::<f64>() / values.len() as f64,
                rolling: rolling::average(&within).ok().filter(|_| whole),
            })
        })
        .collect()
}
