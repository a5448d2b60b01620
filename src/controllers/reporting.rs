//! Reporting: what was seen of one policy, as the core's report. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::controllers::gather::Gathered;
use quality_api::{QualityPolicy, RollbackCheckpoint};
use quality_core::{
    format::{self, UNKNOWN},
    history::Limits,
    judge::Verdict,
    plan::Candidate,
    policy::Policy,
    quality::{EvaluationState, Quality},
    report::{
        AT_RISK, PastIncident, READY, Rehearsal, Report, ReportInput, report,
        strict::{self, FullReport, ReadinessLines, ReportSection},
    },
    review,
};

/// What was seen of one policy.
pub struct ReportFacts<'a> {
    /// The policy.
    pub policy: &'a QualityPolicy,
    /// The same, validated.
    pub rules: &'a Policy,
    /// What the cluster shows.
    pub gathered: &'a Gathered,
    /// What the judge says.
    pub verdict: &'a Verdict,
    /// Why the last look had no evidence.
    pub problem: Option<&'a str>,
    /// The evaluation evidence.
    pub known: &'a EvaluationState,
    /// The checkpoints.
    pub candidates: &'a [Candidate],
    /// The finished drills, oldest first.
    pub drills: &'a [Rehearsal],
    /// The release's run.
    pub run: Option<&'a str>,
    /// Which receivers of notifications take none, in sentences.
    pub not_notified: &'a [String],
}

/// The report, and the strict one made from it.
pub struct Reported {
    /// What the columns and conditions show.
    pub report: Report,
    /// The strict report's sections.
    pub sections: Vec<ReportSection>,
    /// Its last line.
    pub last_line: String,
    /// Its questions to a person.
    pub questions: Vec<String>,
    /// What its charts are held against.
    pub limits: Limits,
    /// What the evaluation evidence amounts to.
    pub quality: Option<Arc<Quality>>,
}

/// Makes both.
pub fn reported(seen: &ReportFacts<'_>, now: Timestamp) -> Reported {
    let incidents = past(seen.gathered);
    let metrics = metrics_name(seen.policy);
    let mut found = report(&ReportInput {
        policy: seen.rules,
        verdict: seen.verdict,
        problem: seen.problem,
        quality: seen.known,
        candidates: Some(seen.candidates),
        incidents: &incidents,
        drills: seen.drills,
        metrics: &metrics,
        now: now.as_second(),
    });
    found.findings.extend_from_slice(seen.not_notified);
    let readiness = readiness(seen, &found, now.as_second());
    let recovery = strict::recovery(seen.rules, &incidents, seen.drills);
    let subject = format!(
        "{}/{}",
        seen.policy.namespace().unwrap_or_default(),
        seen.policy.name_any()
    );
    let full = FullReport {
        subject: &subject,
        report: &found,
        policy: seen.rules,
        readiness: &readiness,
        incidents: &incidents,
        recovery: &recovery,
        run: seen.run,
        metrics: &metrics,
        review: review::next(now.as_second(), seen.rules.review),
        now: now.as_second(),
    };
    let (sections, last_line) = (strict::sections(&full), strict::last_line(&full));
    let questions = strict::questions(&full);
    Reported {
        report: found,
        sections,
        last_line,
        questions,
        limits: Limits::of(seen.rules, seen.verdict),
        quality: match seen.known {
            EvaluationState::Judged { quality, .. } => Some(quality.clone()),
            EvaluationState::Missing { .. } | EvaluationState::Pending => None,
        },
    }
}

/// The policy's incidents as a report tells them, oldest first.
fn past(gathered: &Gathered) -> Vec<PastIncident> {
    gathered
        .incidents
        .iter()
        .map(|incident| {
            let status = incident.status.clone().unwrap_or_default();
            PastIncident {
                name: incident.name_any(),
                state: status.state,
                trigger: incident.spec.trigger,
                severity: incident.spec.severity,
                reason: incident.spec.reason.clone(),
                rto: status.rto_seconds,
                rpo: status.rpo_seconds,
                opened: incident.creation_timestamp().map_or(0, |at| at.0.as_second()),
            }
        })
        .collect()
}

/// Where the metrics come from: `source/preset`.
fn metrics_name(policy: &QualityPolicy) -> String {
    let metrics = &policy.spec.metrics;
    let preset = serde_json::to_value(metrics.preset)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned));
    format!("{}/{}", metrics.source, preset.unwrap_or_default())
}

/// The four lines of Rollback Readiness, from the conditions of the checkpoint that a rollback would restore; of the
/// newest one where none may be used.
fn readiness(seen: &ReportFacts<'_>, found: &Report, now: i64) -> Vec<ReadinessLines> {
    let checkpoints = &seen.gathered.checkpoints;
    let chosen = found
        .rollback
        .as_ref()
        .ok()
        .and_then(|name| checkpoints.iter().find(|checkpoint| checkpoint.name_any() == *name))
        .or_else(|| checkpoints.iter().max_by_key(|checkpoint| certified(checkpoint)));
    let Some(checkpoint) = chosen else {
        return [
            "Checkpoint Integrity",
            "Checkpoint Age",
            "Load Time",
            "Rollback Path Tested",
        ]
        .map(|component| unsupported(component, "no checkpoint is registered"))
        .into();
    };
    let status = checkpoint.status.clone().unwrap_or_default();
    let evidence = format!("rollbackcheckpoint {}", checkpoint.name_any());
    let ago = |at: Option<&Time>| {
        at.map_or_else(
            || UNKNOWN.to_owned(),
            |at| format!("{} ago", format::span(now - at.0.as_second())),
        )
    };
    let find = |kind: &str| status.conditions.iter().find(|condition| condition.type_ == kind);
    // The worst of several conditions speaks: False before Unknown before True.
    let line = |component, kinds: &[&str], last: Option<&Time>| {
        let known = kinds.iter().filter_map(|kind| find(kind));
        let worst = known.min_by_key(|condition| match condition.status.as_str() {
            "False" => 0,
            "Unknown" => 1,
            _ => 2,
        });
        let Some(worst) = worst else {
            return unsupported(component, "it was not looked at yet");
        };
        ReadinessLines {
            component,
            status: match worst.status.as_str() {
                "True" => READY,
                "False" => AT_RISK,
                _ => "unsupported",
            }
            .to_owned(),
            last_test: ago(last),
            result: worst.message.clone(),
            evidence: evidence.clone(),
        }
    };
    let certified = status.certified_at.as_ref();
    vec![
        line(
            "Checkpoint Integrity",
            &["Verified", "ImageAvailable", "ArtifactsIntact"],
            status.image_verified_at.as_ref().or(certified),
        ),
        line("Checkpoint Age", &["Fresh"], certified),
        line("Load Time", &["LoadTime"], status.load_measured_at.as_ref()),
        line("Rollback Path Tested", &["PathTested"], status.tested_at.as_ref()),
    ]
}

fn certified(checkpoint: &RollbackCheckpoint) -> Option<i64> {
    let status = checkpoint.status.as_ref()?;
    status.certified_at.as_ref().map(|at| at.0.as_second())
}

fn unsupported(component: &'static str, why: &str) -> ReadinessLines {
    ReadinessLines {
        component,
        status: "unsupported".to_owned(),
        last_test: UNKNOWN.to_owned(),
        result: UNKNOWN.to_owned(),
        evidence: format!("unsupported: {why}"),
    }
}
