//! Questions to the Ops Commander: where a value is near its limit, cannot be told, or has no evidence though the policy
//! judges it. Each is one that a person can answer.

use super::FullReport;
use crate::{
    format::{self, UNKNOWN},
    incident::Trigger,
    judge::{MIN_REQUESTS, State, TriggerVerdict},
    quality::Row,
    slo::SloStatus,
};

/// A value within this share of its limit is near it.
const NEAR: f64 = 0.1;
/// More than a person answers.
const MAX_QUESTIONS: usize = 16;

/// The questions, those about what is undetermined first.
pub fn questions(full: &FullReport<'_>) -> Vec<String> {
    let mut questions = undetermined(full);
    questions.extend(near(full));
    questions.extend(without_evidence(full));
    questions.truncate(MAX_QUESTIONS);
    questions
}

/// Rows of the evaluation that no trigger and no SLO stands for.
fn rows<'a>(full: &'a FullReport<'_>) -> impl Iterator<Item = &'a Row> {
    let is_slo = |row: &Row| full.report.summary.iter().any(|slo| slo.name == row.name);
    full.report.rows.iter().filter(move |row| row.counts && !is_slo(row))
}

fn undetermined(full: &FullReport<'_>) -> Vec<String> {
    let slos = full.report.summary.iter();
    let slos = slos.filter(|slo| slo.standing == SloStatus::Undetermined).map(|slo| {
        format!(
            "{} cannot be told ({}; target {}): wait for more evidence, or act?",
            slo.name, slo.current, slo.target
        )
    });
    // What the summary does not have.
    let alerting = full.report.triggers.iter().filter(|trigger| {
        matches!(trigger.trigger, Trigger::GpuUtilization | Trigger::GpuMemory)
            && trigger.state == State::Undetermined
            && trigger.n() as f64 >= MIN_REQUESTS
    });
    let alerting = alerting.map(|trigger| {
        let figures = trigger.figures();
        format!(
            "{} cannot be told ({}; limit {}): wait for more evidence, or act?",
            trigger.trigger.words(),
            figures.text(),
            figures.limit
        )
    });
    let rows = rows(full)
        .filter(|row| row.standing == SloStatus::Undetermined)
        .map(|row| {
            format!(
                "{} cannot be told ({}, target {}): is a longer evaluation worth its time?",
                row.name,
                value(row),
                row.target
            )
        });
    slos.chain(alerting).chain(rows).collect()
}

fn near(full: &FullReport<'_>) -> Vec<String> {
    let triggers = full.report.triggers.iter();
    let triggers = triggers.filter(|trigger| trigger.trigger != Trigger::Compliance && is_near(trigger));
    let triggers = triggers.map(|trigger| {
        let figures = trigger.figures();
        format!(
            "{} is {}, near its limit {}: is that limit right?",
            trigger.trigger.words(),
            figures.text(),
            figures.limit
        )
    });
    let rows = full.report.rows.iter().filter(|row| row.counts && row.is_near(NEAR));
    let rows = rows.map(|row| {
        format!(
            "{} is {}, near its target {}: is that target right?",
            row.name,
            value(row),
            row.target
        )
    });
    let recoveries = [
        ("RTO", &full.recovery.rto, full.policy.rto),
        ("RPO", &full.recovery.rpo, full.policy.rpo),
    ];
    let recoveries = recoveries.into_iter().filter_map(|(name, found, objective)| {
        let (estimate, kept) = found.as_ref()?;
        let share = estimate.value * 60.0 / objective as f64;
        (*kept && share >= 1.0 - NEAR).then(|| {
            format!(
                "{name} is typically {:.1} min (n = {}), near its objective {}: must recovery be faster, or may it take longer?",
                estimate.value,
                estimate.n,
                format::span(objective)
            )
        })
    });
    triggers.chain(rows).chain(recoveries).collect()
}

fn without_evidence(full: &FullReport<'_>) -> Vec<String> {
    let slos = full.report.summary.iter();
    // A target that is not known is not judged: nobody misses its evidence. Metrics that are away for a look are no
    // question to a person.
    let judged = slos.filter(|slo| slo.standing == SloStatus::Unsupported && slo.target != UNKNOWN);
    let missing = judged.filter_map(|slo| Some((slo.name, slo.evidence.strip_prefix("unsupported: ")?)));
    missing
        .map(|(name, why)| match name {
            "RTO" | "RPO" => format!("{name} was never measured ({why}): when may a drill run?"),
            name => format!("{name} has no evidence ({why}): who provides it, or should it not be judged?"),
        })
        .collect()
}

/// What the row is judged by, printed.
fn value(row: &Row) -> String {
    if row.change.is_some() {
        format!("{}, Δ {}", row.current_text(), row.change_text())
    } else {
        row.current_text()
    }
}

fn is_near(trigger: &TriggerVerdict) -> bool {
    let (value, limit) = match (&trigger.level, trigger.level_limit) {
        (Some(level), Some(limit)) => (level.value, limit),
        _ => match &trigger.estimate {
            Some(estimate) => (estimate.value, trigger.limit),
            None => return false,
        },
    };
    !trigger.in_breach() && limit > 0.0 && ((value - limit) / limit).abs() <= NEAR
}
