//! The six SLOs of the summary, each with its value and where it comes from.

use super::{Material, Past, Rehearsal, Slo, recovery};
use crate::{
    format::{self, UNKNOWN},
    incident::Trigger,
    judge::{LEAST_REQUESTS, State, TriggerVerdict},
    quality::Known,
    slo::Standing,
};

/// Exactly six, in their order.
pub(super) fn summary(material: &Material<'_>) -> Vec<Slo> {
    let policy = material.policy;
    let slo = |name, target: Option<String>, trigger| slo_of(material, name, target, trigger);
    let runs = |of_incident: &dyn Fn(&Past) -> Option<i64>, of_drill: &dyn Fn(&Rehearsal) -> Option<i64>| {
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

fn compliance(material: &Material<'_>) -> Slo {
    let name = "Compliance@1";
    let unsupported = |target: String, why: String| Slo {
        name,
        target,
        current: UNKNOWN.to_owned(),
        standing: Standing::Unsupported,
        evidence: format!("unsupported: {why}"),
    };
    let Some(objectives) = &material.policy.quality else {
        return unsupported(UNKNOWN.to_owned(), "the policy names no evidence".to_owned());
    };
    let Some(objective) = &objectives.compliance else {
        return unsupported(UNKNOWN.to_owned(), "the policy does not judge it".to_owned());
    };
    match material.quality {
        Known::Judged { quality, .. } => quality.uplift().map_or_else(
            || unsupported(objective.uplift_target(), "no evaluation evidence".to_owned()),
            |row| Slo {
                name,
                target: row.target.clone(),
                current: match row.current {
                    Some(_) => format!("{}, Δ {}", row.current_text(), row.change_text()),
                    None => UNKNOWN.to_owned(),
                },
                standing: row.standing,
                evidence: if row.standing == Standing::Unsupported && !row.note.is_empty() {
                    format!("{} ({})", row.evidence, row.note)
                } else {
                    row.evidence.clone()
                },
            },
        ),
        Known::Missing { message, .. } => unsupported(objective.uplift_target(), message.clone()),
        Known::Pending => unsupported(objective.uplift_target(), "the evidence is being read".to_owned()),
    }
}

fn slo_of(material: &Material<'_>, name: &'static str, target: Option<String>, trigger: Trigger) -> Slo {
    let verdict = material.verdict.trigger(trigger);
    let unsupported = |target, why| Slo {
        name,
        target,
        current: UNKNOWN.to_owned(),
        standing: Standing::Unsupported,
        evidence: format!("unsupported: {why}"),
    };
    let Some(target) = target else {
        return unsupported(UNKNOWN.to_owned(), "the policy does not judge it");
    };
    let Some(verdict) = verdict else {
        return unsupported(target, "no metrics");
    };
    let standing = match verdict.state {
        State::Unknown(_) => Standing::Unsupported,
        State::Breach => Standing::Failing,
        State::Undetermined => Standing::Undetermined,
        State::Healthy if (verdict.n() as f64) < LEAST_REQUESTS => Standing::Undetermined,
        State::Healthy if trigger == Trigger::Throughput => throughput(material, verdict),
        State::Healthy => Standing::Passing,
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
fn throughput(material: &Material<'_>, verdict: &TriggerVerdict) -> Standing {
    let target = material.policy.throughput.map_or(0.0, |throughput| throughput.target);
    match &verdict.estimate {
        Some(estimate) if estimate.value >= target || !verdict.note.is_empty() => Standing::Passing,
        Some(estimate) if estimate.ci95.high < target => Standing::Failing,
        _ => Standing::Undetermined,
    }
}
