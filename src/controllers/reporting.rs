//! Reporting: what was seen of one policy, as the core's report. Pure.

use jiff::Timestamp;
use kube::ResourceExt;

use crate::{
    api::{QualityPolicy, RollbackCheckpoint, conditions},
    controllers::gather::Gathered,
    core::{
        judge::Verdict,
        plan::Candidate,
        policy::Policy,
        quality::Known,
        report::{
            Material, Past, Rehearsal, Report, report,
            strict::{self, Full, Readiness, Section},
        },
        words::{self, UNKNOWN},
    },
};

/// A report is reviewed every so often, seconds.
const REVIEW_SECONDS: i64 = 86_400;

/// What was seen of one policy.
pub struct Seen<'a> {
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
    pub known: &'a Known,
    /// The checkpoints.
    pub candidates: &'a [Candidate],
    /// The finished drills, oldest first.
    pub drills: &'a [Rehearsal],
    /// The release's run.
    pub run: Option<&'a str>,
}

/// The report, and the strict one made from it.
pub struct Reported {
    /// What the columns and conditions show.
    pub report: Report,
    /// The strict report's sections.
    pub sections: Vec<Section>,
    /// Its last line.
    pub last_line: String,
}

/// Makes both.
pub fn reported(seen: &Seen<'_>, now: Timestamp) -> Reported {
    let incidents = past(seen.gathered);
    let metrics = metrics_name(seen.policy);
    let found = report(&Material {
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
    let readiness = readiness(seen, &found, now.as_second());
    let recovery = strict::recovery(seen.rules, &incidents, seen.drills);
    let subject = format!(
        "{}/{}",
        seen.policy.namespace().unwrap_or_default(),
        seen.policy.name_any()
    );
    let full = Full {
        subject: &subject,
        report: &found,
        policy: seen.rules,
        readiness: &readiness,
        incidents: &incidents,
        recovery: &recovery,
        run: seen.run,
        metrics: &metrics,
        review: REVIEW_SECONDS,
        now: now.as_second(),
    };
    let (sections, last_line) = (strict::sections(&full), strict::last_line(&full));
    Reported {
        report: found,
        sections,
        last_line,
    }
}

/// The policy's incidents as a report tells them, oldest first.
fn past(gathered: &Gathered) -> Vec<Past> {
    gathered
        .incidents
        .iter()
        .map(|incident| {
            let status = incident.status.clone().unwrap_or_default();
            Past {
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

/// The four lines of Rollback Readiness, from the conditions of the checkpoint that a rollback would go back to; of the
/// newest one where none may be used.
fn readiness(seen: &Seen<'_>, found: &Report, now: i64) -> Vec<Readiness> {
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
    let evidence = format!("rollbackcheckpoint {}", checkpoint.name_any());
    let status = checkpoint.status.clone().unwrap_or_default();
    let at = certified(checkpoint);
    let age = at.map_or_else(|| UNKNOWN.to_owned(), |at| format!("{} ago", words::span(now - at)));
    let line = |component, holds: bool, result: String| Readiness {
        component,
        status: if holds { "READY" } else { "AT RISK" }.to_owned(),
        last_test: age.clone(),
        result,
        evidence: evidence.clone(),
    };
    let message = |kind: &str| {
        let known = status.conditions.iter().find(|condition| condition.type_ == kind);
        known.map_or_else(|| UNKNOWN.to_owned(), |condition| condition.message.clone())
    };
    let fresh = at.is_some_and(|at| now - at <= seen.rules.checkpoint_max_age);
    vec![
        line(
            "Checkpoint Integrity",
            conditions::is_true(&status.conditions, "Verified"),
            message("Verified"),
        ),
        line(
            "Checkpoint Age",
            fresh,
            format!(
                "certified {age}, at most {}",
                words::span(seen.rules.checkpoint_max_age)
            ),
        ),
        unsupported("Load Time", "it is not measured"),
        unsupported("Rollback Path Tested", "no drill and no rollback yet"),
    ]
}

fn certified(checkpoint: &RollbackCheckpoint) -> Option<i64> {
    let status = checkpoint.status.as_ref()?;
    status.certified_at.as_ref().map(|at| at.0.as_second())
}

fn unsupported(component: &'static str, why: &str) -> Readiness {
    Readiness {
        component,
        status: "unsupported".to_owned(),
        last_test: UNKNOWN.to_owned(),
        result: UNKNOWN.to_owned(),
        evidence: format!("unsupported: {why}"),
    }
}
