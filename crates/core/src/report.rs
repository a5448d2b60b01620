//! The report: what a reader needs first, from a verdict and what the cluster shows. Pure.

mod recovery;
mod slos;
pub mod strict;

pub use recovery::{Rehearsal, failed_drill};

use crate::{
    format::{self, UNKNOWN},
    incident::{IncidentState, Severity, Trigger},
    judge::{MIN_REQUESTS, State, TriggerVerdict, Verdict},
    plan::Candidate,
    policy::Policy,
    quality::{Effect, EvaluationState, Quality, Row},
    slo::{Health, SloStatus},
};

/// What `status.rollback` says while there is a valid rollback target and the last drill did not fail.
pub const READY: &str = "READY";
/// What it says otherwise.
pub const AT_RISK: &str = "AT RISK";

/// One line of the SLO summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slo {
    /// The SLO.
    pub name: &'static str,
    /// Its target.
    pub target: String,
    /// Its value with CI95 and n.
    pub current: String,
    /// How it stands.
    pub standing: SloStatus,
    /// Where the value comes from.
    pub evidence: String,
}

/// A past or present incident, as far as a report needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastIncident {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: IncidentState,
    /// What gave the alarm.
    pub trigger: Trigger,
    /// What it asks for.
    pub severity: Severity,
    /// Its one-line reason.
    pub reason: String,
    /// Breach onset to recovered, seconds.
    pub rto: Option<i64>,
    /// Last certification to breach onset, seconds.
    pub rpo: Option<i64>,
    /// When it was opened, unix seconds.
    pub opened: i64,
}

/// What a report is made from.
pub struct ReportInput<'a> {
    /// The objectives.
    pub policy: &'a Policy,
    /// The judge's word.
    pub verdict: &'a Verdict,
    /// Why the last look had no evidence, in words.
    pub problem: Option<&'a str>,
    /// The evaluation evidence of the release.
    pub quality: &'a EvaluationState,
    /// The checkpoints; nothing where the rollback path is not judged.
    pub candidates: Option<&'a [Candidate]>,
    /// The incidents, oldest first.
    pub incidents: &'a [PastIncident],
    /// The finished drills, oldest first.
    pub drills: &'a [Rehearsal],
    /// Where the metrics come from: `source/preset`.
    pub metrics: &'a str,
    /// Now, unix seconds.
    pub now: i64,
}

/// The report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The verdict in one word.
    pub health: Health,
    /// The checkpoint that may be used, or why none may.
    pub rollback: Result<String, String>,
    /// A stable CamelCase reason where none may.
    pub at_risk: &'static str,
    /// Why some trigger is unknown: reason and message.
    pub unknown: Option<(String, String)>,
    /// Whether the evaluation evidence can be used, with reason and message; nothing where the policy names none.
    pub evidence: Option<Evidence>,
    /// Each judgement on the evaluation evidence.
    pub rows: Vec<Row>,
    /// What a reader of that evidence should know.
    pub notes: Vec<String>,
    /// The judge's triggers.
    pub triggers: Vec<TriggerVerdict>,
    /// Exactly six.
    pub summary: Vec<Slo>,
    /// The latency quantile for its column.
    pub p95: String,
    /// Requests per second for its column.
    pub rps: String,
    /// Share of failed requests for its column.
    pub errors: String,
    /// Compliance uplift for its column.
    pub compliance: String,
    /// The incident that is not closed.
    pub open_incident: Option<String>,
    /// The incident that is not closed, or the last one of a day.
    pub last_incident: Option<String>,
    /// What a reader should know or do, most urgent first.
    pub findings: Vec<String>,
}

/// Whether the evaluation evidence can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// It was read and judged.
    pub usable: bool,
    /// A stable CamelCase reason.
    pub reason: String,
    /// In words.
    pub message: String,
}

impl Report {
    /// `READY` or `AT RISK`.
    pub fn rollback_word(&self) -> &'static str {
        if self.rollback.is_ok() { READY } else { AT_RISK }
    }

    /// How many of the six SLOs pass.
    pub fn slos(&self) -> String {
        let passing = self
            .summary
            .iter()
            .filter(|slo| slo.standing == SloStatus::Passing)
            .count();
        format!("{passing}/{}", self.summary.len())
    }
}

/// A closed incident is shown in the column for this long, seconds.
const SHOWN_SECONDS: i64 = 86_400;

/// Makes the report.
pub fn report(material: &ReportInput<'_>) -> Report {
    let verdict = material.verdict;
    let open = material.incidents.iter().filter(|incident| !incident.state.is_closed());
    let open_rollback = open.clone().find(|incident| incident.severity == Severity::Rollback);
    let open_any = open_rollback.or_else(|| open.clone().next());
    let recent = material
        .incidents
        .iter()
        .rfind(|incident| material.now - incident.opened < SHOWN_SECONDS);
    let rollback = material
        .candidates
        .map_or_else(|| Err("the rollback path is not judged here".to_owned()), readiness);
    let (rollback, reason_at_risk) = match (rollback, failed_drill(material.drills)) {
        (Err(reason), _) => (Err(reason), "NoCheckpointReady"),
        (Ok(_), Some(drill)) => (
            Err(format!("the last drill, {}, failed: {}", drill.name, drill.message)),
            "DrillFailed",
        ),
        (Ok(checkpoint), None) => (Ok(checkpoint), "NoCheckpointReady"),
    };
    let at_risk = material.candidates.is_some() && rollback.is_err();
    let unknown = unknown(material);
    let evidence = evidence(material);
    let quality = material.policy.quality.as_ref().and(material.quality.quality());
    let quality_health = quality.map(Quality::health);
    let in_breach = verdict.decisive().any(TriggerVerdict::in_breach)
        // What a person asked for shows no breach.
        || open_rollback.is_some_and(|incident| incident.trigger != Trigger::Requested)
        || quality_health == Some(Health::Breach);
    let doubtful = unknown.is_some()
        // The first release of a service runs without anything to be compared with; who asks for a judgement is told.
        || quality_health == Some(Health::Caution)
            && !(material.candidates.is_some() && quality.is_some_and(Quality::lacks_only_a_baseline))
        || evidence.as_ref().is_some_and(|evidence| !evidence.usable)
        || verdict
            .compliance()
            .is_some_and(|trigger| trigger.state == State::Undetermined)
        || at_risk
        || open_any.is_some()
        || verdict.no_metrics_since.is_some()
        || verdict.alerting().any(TriggerVerdict::in_breach)
        || verdict
            .streaming()
            .any(|trigger| trigger.state == State::Undetermined && trigger.n() as f64 >= MIN_REQUESTS);
    let health = match (in_breach, doubtful) {
        (true, _) => Health::Breach,
        (false, true) => Health::Caution,
        (false, false) => Health::Healthy,
    };
    let shown = |trigger: Trigger| verdict.trigger(trigger).map(TriggerVerdict::figures);
    let value = |trigger: Trigger| shown(trigger).map_or_else(|| UNKNOWN.to_owned(), |figures| figures.value);
    Report {
        health,
        findings: findings(material, open_any, &rollback, unknown.as_ref(), evidence.as_ref()),
        rollback,
        at_risk: reason_at_risk,
        unknown,
        evidence,
        rows: quality.map(|quality| quality.rows.clone()).unwrap_or_default(),
        notes: quality.map(|quality| quality.notes.clone()).unwrap_or_default(),
        triggers: verdict.triggers.clone(),
        summary: slos::summary(material),
        p95: value(Trigger::Latency),
        rps: verdict
            .trigger(Trigger::Throughput)
            .and_then(|trigger| trigger.estimate.as_ref())
            .map_or_else(|| UNKNOWN.to_owned(), |estimate| format!("{:.0}", estimate.value)),
        errors: value(Trigger::ErrorRate),
        compliance: quality
            .and_then(Quality::uplift)
            .and_then(|row| row.change.as_ref())
            .map_or_else(
                || UNKNOWN.to_owned(),
                |change| format!("{}%", format::points(change.value)),
            ),
        open_incident: open_any.map(|incident| incident.name.clone()),
        last_incident: open_any.or(recent).map(|incident| incident.name.clone()),
    }
}

/// The newest usable checkpoint, or why there is none.
pub fn readiness(candidates: &[Candidate]) -> Result<String, String> {
    let newest = candidates
        .iter()
        .filter(|candidate| candidate.usable.is_ok())
        .max_by_key(|candidate| candidate.certified);
    if let Some(candidate) = newest {
        return Ok(candidate.name.clone());
    }
    let why = candidates
        .iter()
        .max_by_key(|candidate| candidate.certified)
        .and_then(|candidate| {
            candidate
                .usable
                .as_ref()
                .err()
                .map(|reason| format!("checkpoint {} may not be used: {reason}", candidate.name))
        });
    Err(why.unwrap_or_else(|| "no checkpoint is registered for this Deployment".to_owned()))
}

/// What can be said of the evaluation evidence as a whole.
fn evidence(material: &ReportInput<'_>) -> Option<Evidence> {
    material.policy.quality.as_ref()?;
    let (usable, reason, message) = match material.quality {
        EvaluationState::Judged { quality, .. } if quality.lacks_only_a_baseline() => (
            true,
            "NothingToCompare",
            "the run's evidence was read; there is no earlier checkpoint with evidence to compare with".to_owned(),
        ),
        EvaluationState::Judged { quality, .. }
            if quality.rows.iter().all(|row| row.standing == SloStatus::Unsupported) =>
        {
            let why = |row: &Row| {
                if row.note.is_empty() {
                    row.evidence.clone()
                } else {
                    row.note.clone()
                }
            };
            (false, "NoEvidence", quality.rows.first().map(why).unwrap_or_default())
        }
        EvaluationState::Judged { .. } => (
            true,
            "EvidenceUsable",
            "the run's evidence was read and judged".to_owned(),
        ),
        EvaluationState::Missing { reason, message } => (false, *reason, message.clone()),
        EvaluationState::Pending => (false, "Pending", "the run's evidence is being read".to_owned()),
    };
    Some(Evidence {
        usable,
        reason: reason.to_owned(),
        message,
    })
}

fn unknown(material: &ReportInput<'_>) -> Option<(String, String)> {
    if let Some(since) = material.verdict.no_metrics_since {
        let lasts = material.now - since;
        // In whole minutes: a message that counts seconds would be written at every look.
        let message = format!(
            "no usable metric of the running pods for {} min, though the source answers",
            lasts / 60
        );
        return Some(("NoMetrics".to_owned(), message));
    }
    let unknown = material.verdict.streaming().find_map(|trigger| match trigger.state {
        State::Unknown(unknown) => Some((trigger, unknown)),
        _ => None,
    });
    let (trigger, reason) = unknown?;
    let not_counted = (!trigger.counts_failures()).then_some(trigger.note.as_str());
    let detail = material
        .problem
        .or(not_counted)
        .map_or_else(String::new, |why| format!(": {why}"));
    Some((
        reason.reason().to_owned(),
        format!(
            "{} is not known{detail}; nothing is decided on it",
            trigger.trigger.words()
        ),
    ))
}

fn findings(
    material: &ReportInput<'_>,
    open: Option<&PastIncident>,
    rollback: &Result<String, String>,
    unknown: Option<&(String, String)>,
    evidence: Option<&Evidence>,
) -> Vec<String> {
    let mut findings = Vec::new();
    findings.extend(open.map(|incident| {
        format!(
            "incident {} is {}: {}",
            incident.name,
            incident.state.name(),
            incident.reason
        )
    }));
    findings.extend(
        material
            .verdict
            .triggers
            .iter()
            .filter(|trigger| trigger.in_breach())
            .map(TriggerVerdict::sentence),
    );
    findings.extend(unknown.map(|(_, message)| message.clone()));
    findings.extend(
        rollback
            .as_ref()
            .err()
            .filter(|_| material.candidates.is_some())
            .map(|reason| format!("rollback is at risk: {reason}")),
    );
    findings.extend(
        material
            .verdict
            .triggers
            .iter()
            .filter(|trigger| trigger.state == State::Undetermined && trigger.n() as f64 >= MIN_REQUESTS)
            .map(|trigger| format!("undetermined: {}", trigger.sentence())),
    );
    findings.extend(
        evidence
            .filter(|evidence| !evidence.usable)
            .map(|evidence| format!("no evaluation evidence: {}", evidence.message)),
    );
    if let Some(quality) = material.policy.quality.as_ref().and(material.quality.quality()) {
        let failing = quality.rows.iter().filter(|row| row.standing == SloStatus::Failing);
        // The trigger's own row was told above.
        findings.extend(failing.filter(|row| row.effect != Effect::Rollback).map(Row::sentence));
    }
    findings
}
