//! A5 and A6: compliance by the hour against the window before, and the balance of the modalities.

use std::collections::BTreeMap;

use super::{
    Row, Section, Unit,
    consistency::{Pair, comparable, with_claim},
    evidence::{Compliance, File, Loaded, SeriesPoint},
    row::alarm_over,
};
use crate::{policy::DriftObjective, slo::SloStatus};
use quality_stats::{
    Estimate, Seed, StatsError,
    correlation::{self, Pairs},
    modality, rolling,
};

const HOUR: i64 = 3_600;
/// Fewest common hours that a correlation rests on.
pub const ENOUGH_HOURS: usize = 100;

/// Compliance over the window, and Modality Ratio.
pub fn rows(objective: &DriftObjective, pair: &Pair<'_>) -> Vec<Row> {
    vec![compliance(objective, pair), modality_ratio(objective, pair)]
}

fn compliance(objective: &DriftObjective, pair: &Pair<'_>) -> Row {
    let file = File::ComplianceTimeseries;
    let row = Row::new(
        Section::Drift,
        format!("Compliance ({}d)", objective.window_days),
        format!("r ≥ {}", objective.min_correlation),
        Unit::Share,
        file,
    )
    .alert()
    .change_in(Unit::Number);
    let (loaded, claim) = match with_claim(file, &pair.current.timeseries) {
        Ok(found) => found,
        Err(why) => return row.unsupported(why),
    };
    correlated(row.claim(claim), objective, &loaded.data)
}

/// Hourly means of the last window against the hours one window earlier: the same hours of the week.
fn correlated(mut row: Row, objective: &DriftObjective, points: &[SeriesPoint]) -> Row {
    let hours = hourly(points);
    let Some((&last, _)) = hours.last_key_value() else {
        return row.unsupported("no hour with a value");
    };
    let width = i64::from(objective.window_days) * 24;
    let (mut now, mut before) = (Vec::new(), Vec::new());
    for (hour, value) in hours.range(last - width + 1..=last) {
        if let Some(old) = hours.get(&(hour - width)) {
            now.push(*value);
            before.push(*old);
        }
    }
    let recent: Vec<f64> = hours.range(last - width + 1..=last).map(|(_, value)| *value).collect();
    row.current = rolling::average(&recent).ok();
    let earlier: Vec<f64> = hours
        .range(last - 2 * width + 1..=last - width)
        .map(|(_, value)| *value)
        .collect();
    row.baseline = rolling::average(&earlier).ok();
    if now.len() < ENOUGH_HOURS {
        return row.without(&StatsError::TooFew {
            what: "common hours",
            n: now.len() as u64,
            needed: ENOUGH_HOURS as u64,
        });
    }
    let r = match correlation::pearson(&now, &before, Pairs::InTime) {
        Ok(r) => r,
        Err(error) => return row.without(&error),
    };
    if let Ok(rho) = correlation::spearman(&now, &before, Pairs::InTime) {
        row.say(&format!("Spearman {}", Unit::Number.estimate(&rho)));
    }
    row.standing = if r.value >= objective.min_correlation {
        SloStatus::Passing
    } else {
        row.say(if r.ci95.high < objective.min_correlation {
            "potential data drift, established"
        } else {
            "potential data drift, not established"
        });
        SloStatus::Failing
    };
    row.change = Some(r);
    row
}

/// Means by the hour since the epoch, weighted by n.
pub(super) fn hourly(points: &[SeriesPoint]) -> BTreeMap<i64, f64> {
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for point in points.iter().filter(|point| point.n > 0) {
        let sum = sums.entry(point.at.div_euclid(HOUR)).or_default();
        sum.0 += point.value * point.n as f64;
        sum.1 += point.n as f64;
    }
    sums.into_iter().map(|(hour, (sum, n))| (hour, sum / n)).collect()
}

fn modality_ratio(objective: &DriftObjective, pair: &Pair<'_>) -> Row {
    let file = File::ComplianceMetrics;
    let mut row = Row::new(
        Section::Drift,
        "Modality Ratio",
        format!("≤ {} × the checkpoint's", objective.max_modality_ratio),
        Unit::Number,
        file,
    )
    .alert();
    let (loaded, claim) = match with_claim(file, &pair.current.compliance) {
        Ok(found) => found,
        Err(why) => return row.unsupported(why),
    };
    row = row.claim(claim);
    if loaded.data.queries.iter().all(|query| query.contribution.is_none()) {
        // A model of one modality has no balance to lose.
        row.counts = false;
        return row.unsupported("no query has contributions");
    }
    let now = match ratio(loaded) {
        Ok(now) => now,
        Err(error) => return row.without(&error),
    };
    row.current = Some(now.clone());
    let before = match comparable(pair, file, &pair.baseline.compliance) {
        Ok(before) => before,
        Err(why) => return row.incomparable(&why),
    };
    row.baseline = ratio(before).ok();
    match ratio(before).and_then(|before| modality::against_baseline(&now, &before)) {
        Ok(times) => {
            row.standing = if times.ci95.low > 1.0 {
                alarm_over(&times, objective.max_modality_ratio)
            } else if times.value > objective.max_modality_ratio {
                SloStatus::Undetermined
            } else {
                SloStatus::Passing
            };
            row.say(&format!("{:.2} × the checkpoint's", times.value));
            row.change = Some(times);
            row
        }
        Err(error) => row.without(&error),
    }
}

fn ratio(loaded: &Loaded<Compliance>) -> Result<Estimate, StatsError> {
    let (text, visual): (Vec<f64>, Vec<f64>) = loaded
        .data
        .queries
        .iter()
        .filter_map(|query| query.contribution)
        .map(|part| (part.text, part.visual))
        .unzip();
    modality::ratio(&text, &visual, &Seed::new(&loaded.sha256, "Modality Ratio"))
}
