//! The six SLOs of the summary, each with its value and where it comes from.

use super::{PastIncident, Rehearsal, ReportInput, Slo, recovery};
use crate::{
    format::{self, UNKNOWN},
    incident::Trigger,
    judge::{MIN_REQUESTS, State, TriggerVerdict},
    quality::EvaluationState,
    slo::SloStatus,
};

/// Exactly six, in their order.
pub(super) fn summary(material: &ReportInput<'_>) -> Vec<Slo> {
    let policy = material.policy;
    let slo = |name, target: Option<String>, trigger| slo_of(material, name, target, trigger);
    let runs = |of_incident: &dyn Fn(&PastIncident) -> Option<i64>, of_drill: &dyn Fn(&Rehearsal) -> Option<i64>| {
        recovery::runs(material.incidents, material.drills, of_incident, of_drill)
    };
    vec![
        compliance(material),
        slo(
            "P95 Latency",
            policy
                .latency
                .map(|latency| format!("< {}", format::milliseconds(latency.target))),
            Trigger::Latency,
        ),
        slo(
            "Throughput",
            policy
                .throughput
                .map(|throughput| format!("≥ {:.0}/s", throughput.target)),
            Trigger::Throughput,
        ),
        slo(
            "Error Rate",
            policy.error_rate.map(|max| format!("< {}", format::percent(max))),
            Trigger::ErrorRate,
        ),
        recovery::slo("RTO", policy.rto, &runs(&|incident| incident.rto, &|drill| drill.rto)),
        recovery::slo("RPO", policy.rpo, &runs(&|incident| incident.rpo, &|drill| drill.rpo)),
    ]
}

fn compliance(material: &ReportInput<'_>) -> Slo {
    let name = "Compliance@1";
    let unsupported = |target: String, why: String| Slo {
        name,
        target,
        current: UNKNOWN.to_owned(),
        standing: SloStatus::Unsupported,
        evidence: format!("unsupported: {why}"),
    };
    let Some(objectives) = &material.policy.quality else {
        return unsupported(UNKNOWN.to_owned(), "the policy names no evidence".to_owned());
    };
    let Some(objective) = &objectives.compliance else {
        return unsupported(UNKNOWN.to_owned(), "the policy does not judge it".to_owned());
    };
    match material.quality {
        EvaluationState::Judged { quality, .. } => quality.uplift().map_or_else(
            || unsupported(objective.uplift_target(), "no evaluation evidence".to_owned()),
            |row| Slo {
                name,
                target: row.target.clone(),
                current: match row.current {
                    Some(_) => format!("{}, Δ {}", row.current_text(), row.change_text()),
                    None => UNKNOWN.to_owned(),
                },
                standing: row.standing,
                evidence: if row.standing == SloStatus::Unsupported && !row.note.is_empty() {
                    format!("{} ({})", row.evidence, row.note)
                } else {
                    row.evidence.clone()
                },
            },
        ),
        EvaluationState::Missing { message, .. } => unsupported(objective.uplift_target(), message.clone()),
        EvaluationState::Pending => unsupported(objective.uplift_target(), "the evidence is being read".to_owned()),
    }
}

fn slo_of(material: &ReportInput<'_>, name: &'static str, target: Option<String>, trigger: Trigger) -> Slo {
    let verdict = material.verdict.trigger(trigger);
    let unsupported = |target, why| Slo {
        name,
        target,
        current: UNKNOWN.to_owned(),
        standing: SloStatus::Unsupported,
        evidence: format!("unsupported: {why}"),
    };
    let Some(target) = target else {
        return unsupported(UNKNOWN.to_owned(), "the policy does not judge it");
    };
    let Some(verdict) = verdict else {
        return unsupported(target, "no metrics");
    };
    let standing = match verdict.state {
        State::Unknown(_) => SloStatus::Unsupported,
        State::Breach => SloStatus::Failing,
        State::Undetermined => SloStatus::Undetermined,
        State::Healthy if (verdict.n() as f64) < MIN_REQUESTS => SloStatus::Undetermined,
        State::Healthy if trigger == Trigger::Throughput => throughput(material, verdict),
        State::Healthy => SloStatus::Passing,
    };
    let figures = verdict.figures();
    let current = match figures.n {
        0 => UNKNOWN.to_owned(),
        _ => figures.text(),
    };
    Slo {
        name,
        target,
        current,
        standing,
        evidence: if verdict.counts_failures() {
            format!("metrics {}", material.metrics)
        } else {
            format!("unsupported: {}", verdict.note)
        },
    }
}

/// Over the floor the release is no breach; the SLO itself is the target, where there is demand for it.
fn throughput(material: &ReportInput<'_>, verdict: &TriggerVerdict) -> SloStatus {
    let target = material.policy.throughput.map_or(0.0, |throughput| throughput.target);
    match &verdict.estimate {
        Some(estimate) if estimate.value >= target || !verdict.note.is_empty() => SloStatus::Passing,
        Some(estimate) if estimate.ci95.high < target => SloStatus::Failing,
        _ => SloStatus::Undetermined,
    }
}
