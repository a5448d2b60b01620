//! A3: Conflict AUC, its rise and its trend, conflicts by kind and what penalties take.

use std::collections::BTreeMap;

use super::{
    Limit, Row, Section, Unit,
    consistency::{Pair, comparable, seed_text, with_claim},
    evidence::{File, Loaded, Window},
    row::{alarm_over, under},
};
use crate::{format, policy::ComplianceObjective, slo::SloStatus};
use quality_stats::{Estimate, Seed, StatsError, bootstrap, conflict, modality, trend::mann_kendall};

const FILE: File = File::ConflictLogs;
/// A rise of the conflict AUC over this alerts.
const MAX_RISE: f64 = 0.05;
/// A rise of the penalty impact over this, percent of the checkpoint's, alerts.
const MAX_PENALTY_RISE: f64 = 5.0;
/// Below this p a trend is called shown.
const SHOWN: f64 = 0.05;
/// A summary that is off by more than this disagrees with its rows.
const ROUNDING: f64 = 0.000_6;
/// Kinds of conflict that a note lists.
const KINDS: usize = 6;

/// Conflict AUC, its rise, penalty impact and trend.
pub fn rows(objective: &ComplianceObjective, pair: &Pair<'_>, notes: &mut Vec<String>) -> Vec<Row> {
    let mut auc = Row::new(
        Section::Compliance,
        "Conflict AUC",
        format!("< {}", objective.max_conflict_auc),
        Unit::Number,
        FILE,
    )
    .limited(Limit::Current(objective.max_conflict_auc));
    let mut rise = Row::new(
        Section::Drift,
        "Conflict AUC rise",
        format!("≤ +{MAX_RISE}"),
        Unit::Number,
        FILE,
    )
    .limited(Limit::Change(MAX_RISE))
    .alert();
    let mut penalty = Row::new(
        Section::Drift,
        "Penalty impact",
        format!("≤ +{MAX_PENALTY_RISE}% of the checkpoint's"),
        Unit::Number,
        FILE,
    )
    .alert()
    .change_in(Unit::Points);
    let trend = Row::new(
        Section::Drift,
        "Conflict Trend",
        "falls over ≥ 3 windows",
        Unit::Number,
        FILE,
    )
    .alert();
    let (loaded, claim) = match with_claim(FILE, &pair.current.conflicts) {
        Ok(found) => found,
        Err(why) => {
            let trend = summary_trend(trend, pair, &why);
            return vec![
                auc.unsupported(&why),
                rise.unsupported(&why),
                penalty.unsupported(&why),
                trend,
            ];
        }
    };
    disagreements(loaded, pair, notes);
    let Some(newest) = loaded.data.last() else {
        return Vec::new();
    };
    (auc, rise, penalty) = (auc.claim(&claim), rise.claim(&claim), penalty.claim(&claim));
    match conflict::conflict_auc(&severities(newest), &Seed::new(&loaded.sha256, "Conflict AUC")) {
        Ok(estimate) => {
            auc.standing = under(&estimate, objective.max_conflict_auc);
            auc.current = Some(estimate.clone());
            rise.current = Some(estimate);
        }
        Err(error) => auc = auc.without(&error),
    }
    auc.note = kinds(newest);
    let impact = penalty_impact(loaded, newest);
    penalty.current = impact.as_ref().ok().cloned();
    match comparable(pair, FILE, &pair.baseline.conflicts) {
        Ok(before) => {
            rise = risen(rise, loaded, newest, before);
            penalty = penalised(penalty, impact, before);
            auc.change.clone_from(&rise.change);
        }
        Err(why) => {
            rise = rise.incomparable(&why);
            penalty = penalty.incomparable(&why);
        }
    }
    let windows: Vec<f64> = loaded.data.iter().map(mean_severity).collect();
    vec![auc, rise, penalty, trend_row(trend.claim(&claim), &windows)]
}

fn severities(window: &Window) -> Vec<f64> {
    window.rows.iter().map(|row| row.severity).collect()
}

fn mean_severity(window: &Window) -> f64 {
    window.rows.iter().map(|row| row.severity).sum::<f64>() / window.rows.len().max(1) as f64
}

fn risen(mut row: Row, loaded: &Loaded<Vec<Window>>, newest: &Window, before: &Loaded<Vec<Window>>) -> Row {
    let Some(old) = before.data.last() else {
        return row.unsupported("the checkpoint has no window");
    };
    let seed = Seed::new(&seed_text(loaded, Some(before)), "Conflict AUC rise");
    match bootstrap::difference_of_means(&severities(newest), &severities(old), &seed) {
        Ok(change) => {
            row.standing = alarm_over(&change, MAX_RISE);
            row.change = Some(change);
            row
        }
        Err(error) => row.without(&error),
    }
}

fn penalty_impact(loaded: &Loaded<Vec<Window>>, window: &Window) -> Result<Estimate, StatsError> {
    let penalties: Vec<f64> = window.rows.iter().map(|row| row.penalty).collect();
    let scores: Vec<f64> = window.rows.iter().map(|row| row.score).collect();
    conflict::penalty_impact(&penalties, &scores, &Seed::new(&loaded.sha256, "Penalty impact"))
}

fn penalised(mut row: Row, now: Result<Estimate, StatsError>, before: &Loaded<Vec<Window>>) -> Row {
    let old = before
        .data
        .last()
        .map_or(Err(StatsError::Empty { what: "windows" }), |old| {
            penalty_impact(before, old)
        });
    match now.and_then(|now| modality::against_baseline(&now, &old?)) {
        Ok(ratio) => {
            let percent = |value: f64| 100.0 * (value - 1.0);
            let change = Estimate::new(
                percent(ratio.value),
                percent(ratio.ci95.low),
                percent(ratio.ci95.high),
                ratio.n,
                ratio.method,
            );
            row.standing = alarm_over(&change, MAX_PENALTY_RISE);
            row.change = Some(change);
            row
        }
        Err(error) => row.without(&error),
    }
}

fn trend_row(mut row: Row, windows: &[f64]) -> Row {
    match mann_kendall(windows) {
        Ok(trend) => {
            row.standing = if trend.s < 0.0 {
                SloStatus::Passing
            } else if trend.s > 0.0 && trend.p_rising < SHOWN {
                SloStatus::Failing
            } else {
                SloStatus::Undetermined
            };
            row.say(&format!(
                "Mann–Kendall S = {:.0}, slope {:+.4} a window, p falling {:.3}, p rising {:.3}, n = {} windows",
                trend.s, trend.slope, trend.p_falling, trend.p_rising, trend.n
            ));
            row
        }
        Err(error) => row.without(&error),
    }
}

/// A trend needs no rows: the summary's windows will do.
fn summary_trend(row: Row, pair: &Pair<'_>, why: &str) -> Row {
    match with_claim(File::ConflictLogSummary, &pair.current.conflict_summary) {
        Ok((summary, claim)) => {
            let windows: Vec<f64> = summary.data.iter().map(|window| window.auc).collect();
            trend_row(row.claim(claim), &windows)
        }
        Err(_) => row.unsupported(why),
    }
}

fn kinds(window: &Window) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for row in &window.rows {
        if let Some(kind) = row.kind.as_deref().filter(|_| row.severity > 0.0) {
            *counts.entry(kind).or_default() += 1;
        }
    }
    let mut counts: Vec<(&str, u64)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let shown: Vec<String> = counts
        .iter()
        .take(KINDS)
        .filter_map(|(kind, count)| {
            let rate = conflict::rate_of_kind(*count, window.rows.len() as u64).ok()?;
            Some(format!(
                "{kind} {} (CI95 {}, n = {})",
                format::percent(rate.value),
                format::interval(rate.ci95, format::percent),
                rate.n
            ))
        })
        .collect();
    shown.join(", ")
}

/// Where the summary disagrees with the logs, the logs win and the report says so.
fn disagreements(loaded: &Loaded<Vec<Window>>, pair: &Pair<'_>, notes: &mut Vec<String>) {
    let Ok(summary) = &pair.current.conflict_summary else {
        return;
    };
    for claimed in &summary.data {
        let Some(window) = loaded.data.iter().find(|window| window.start == claimed.start) else {
            continue;
        };
        let mean = mean_severity(window);
        if (mean - claimed.auc).abs() > ROUNDING || window.rows.len() as u64 != claimed.queries {
            notes.push(format!(
                "Conflict AUC: the summary says {:.4} of {} queries, the log gives {mean:.4} of {}: the log wins",
                claimed.auc,
                claimed.queries,
                window.rows.len()
            ));
        }
    }
}
