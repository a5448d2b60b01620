//! Update status: the policy's own status and its living report. Numbers that move from look to look are
//! written when a verdict moves and every few minutes, so that a converged operator is silent.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Api, ResourceExt, core::ObjectMeta};

use crate::controllers::{
    build,
    context::{CallError, Context, call, post},
    drill::schedule::Scheduled,
    gate,
    gather::Gathered,
    release_analysis::ReleaseAnalysis,
    reporting::Reported,
    snapshot::Due,
    truncate,
};
use quality_api::{
    DesignEffects, LocalReference, POLICY_LABEL, QualityPolicy, QualityPolicyStatus, QualityReport, QualityReportSpec,
    QualityReportStatus, QualityRow, ReleaseStatus, TARGET_LABEL, TriggerStatus,
    conditions::{self, Status},
    names, view,
};
use quality_core::slo::Health;

/// Figures are written at least this often, seconds.
const REFRESH_SECONDS: i64 = 240;

/// What a policy's status says when it cannot be judged.
pub struct NotReady<'a> {
    /// CamelCase.
    pub reason: &'a str,
    /// In words.
    pub message: &'a str,
    /// The release under judgement stays on record.
    pub keep_release: bool,
}

/// Says why a policy is not judged.
pub async fn not_ready(
    context: &Context,
    policy: &QualityPolicy,
    why: &NotReady<'_>,
    now: Timestamp,
) -> Result<bool, CallError> {
    let mut status = policy.status.clone().unwrap_or_default();
    let generation = policy.metadata.generation;
    status.observed_generation = generation;
    let at = Time(now);
    conditions::set(
        &mut status.conditions,
        "Ready",
        Status::False,
        why.reason,
        why.message,
        generation,
        &at,
    );
    if !why.keep_release {
        conditions::set(
            &mut status.conditions,
            "Evaluated",
            Status::Unknown,
            why.reason,
            why.message,
            generation,
            &at,
        );
        status.release = None;
        status.triggers.clear();
        status.verdict.clear();
    }
    if policy.spec.paused {
        gate::pause(&mut status, generation, now);
    }
    write_policy(context, policy, status, now).await
}

/// Writes what was found; returns whether something was written.
pub async fn update(
    context: &Context,
    policy: &QualityPolicy,
    gathered: &Gathered,
    judged: &ReleaseAnalysis,
    reported: &Reported,
    scheduled: &Scheduled,
    now: Timestamp,
) -> Result<bool, CallError> {
    let found = &reported.report;
    let generation = policy.metadata.generation;
    let at = Time(now);
    let mut status = policy.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    let set = |list: &mut Vec<Condition>, kind: &str, status: Status, reason: &str, message: &str| {
        conditions::set(list, kind, status, reason, message, generation, &at);
    };
    set(
        &mut status.conditions,
        "Ready",
        Status::True,
        "Judging",
        "the Deployment is judged",
    );
    match &found.unknown {
        None => set(
            &mut status.conditions,
            "Evaluated",
            Status::True,
            "EvidenceUsable",
            "the last look had usable evidence for every trigger",
        ),
        Some((reason, message)) => set(&mut status.conditions, "Evaluated", Status::Unknown, reason, message),
    }
    match &found.evidence {
        Some(evidence) => set(
            &mut status.conditions,
            "EvidenceComplete",
            Status::from(evidence.usable),
            &evidence.reason,
            &evidence.message,
        ),
        None => status
            .conditions
            .retain(|condition| condition.type_ != "EvidenceComplete"),
    }
    let (met, reason) = match found.health {
        Health::Healthy => (Status::True, "Healthy"),
        Health::Caution => (Status::Unknown, "Caution"),
        Health::Breach => (Status::False, "Breach"),
    };
    set(
        &mut status.conditions,
        "SLOsMet",
        met,
        reason,
        found
            .findings
            .first()
            .map_or("every judged objective is met", String::as_str),
    );
    match &found.rollback {
        Ok(checkpoint) => {
            set(
                &mut status.conditions,
                "RollbackReady",
                Status::True,
                "CheckpointReady",
                &format!("checkpoint {checkpoint} may be used"),
            );
        }
        Err(reason) => set(
            &mut status.conditions,
            "RollbackReady",
            Status::False,
            found.at_risk,
            reason,
        ),
    }
    match &scheduled.condition {
        Some((holds, reason, message)) => set(&mut status.conditions, "DrillScheduled", *holds, reason, message),
        None => status
            .conditions
            .retain(|condition| condition.type_ != "DrillScheduled"),
    }
    status.drill.clone_from(&scheduled.due);
    found.health.name().clone_into(&mut status.verdict);
    found.rollback_word().clone_into(&mut status.rollback);
    status.incident.clone_from(&found.open_incident);
    status.release = Some(release_status(judged));
    status.triggers = found.triggers.iter().map(build::trigger_status).collect();
    let wrote = write_policy(context, policy, status.clone(), now).await?;
    let due = Due::new(
        &judged.subject.policy,
        &gathered.incidents,
        gathered.report.as_ref().and_then(reviewed_at),
        now,
    );
    let living = Living {
        report: gathered.report.as_ref(),
        due,
    };
    Ok(write_report(context, policy, &living, &status, judged, reported, now).await? || wrote)
}

fn release_status(judged: &ReleaseAnalysis) -> ReleaseStatus {
    let release = &judged.subject.release;
    let decimal = |value: f64| format!("{value:.4}");
    ReleaseStatus {
        deployment_uid: release.deployment_uid.clone(),
        replica_set: release.replica_set.clone(),
        revision: release.revision.clone(),
        analysis_from: view::time(judged.started),
        first_ready: judged.first_ready.map(view::time),
        design_effects: DesignEffects {
            error_rate: decimal(judged.effects.error_rate),
            latency: decimal(judged.effects.latency),
            throughput: decimal(judged.effects.throughput),
            blocks: i32::try_from(judged.effects.blocks).unwrap_or(i32::MAX),
        },
    }
}

async fn write_policy(
    context: &Context,
    policy: &QualityPolicy,
    mut status: QualityPolicyStatus,
    now: Timestamp,
) -> Result<bool, CallError> {
    let known = policy.status.clone().unwrap_or_default();
    let moved = moves(&known.conditions, &status.conditions)
        || trigger_moves(&known.triggers, &status.triggers)
        || known.release != status.release
        || known.drill != status.drill
        || (
            &known.verdict,
            &known.rollback,
            &known.incident,
            known.observed_generation,
        ) != (
            &status.verdict,
            &status.rollback,
            &status.incident,
            status.observed_generation,
        );
    if !moved && (!is_due(known.updated_at.as_ref(), now) || known.triggers == status.triggers) {
        return Ok(false);
    }
    status.updated_at = Some(Time(now));
    let mut changed = policy.clone();
    changed.status = Some(status);
    context.replace_status(&changed).await?;
    Ok(true)
}

fn is_due(updated_at: Option<&Time>, now: Timestamp) -> bool {
    updated_at.is_none_or(|at| now.as_second() - at.0.as_second() >= REFRESH_SECONDS)
}

/// Whether some condition has another status or reason; of those that say why nothing is judged also another
/// message, which tells the cause. The other messages hold figures.
fn moves(known: &[Condition], new: &[Condition]) -> bool {
    let key = |condition: &Condition| {
        (
            condition.type_.clone(),
            condition.status.clone(),
            condition.reason.clone(),
            matches!(
                condition.type_.as_str(),
                "Ready" | "Evaluated" | "EvidenceComplete" | "Notified"
            )
            .then(|| condition.message.clone()),
            condition.observed_generation,
        )
    };
    known.len() != new.len() || known.iter().map(key).ne(new.iter().map(key))
}

/// Whether some trigger has another verdict, or its evidence another order of magnitude while it grows.
fn trigger_moves(known: &[TriggerStatus], new: &[TriggerStatus]) -> bool {
    let key = |trigger: &TriggerStatus| {
        // A reading that is missing once comes back; what is told is that it stays away.
        (
            trigger.name.clone(),
            trigger.verdict,
            trigger.reason.clone(),
            trigger.evidence_magnitude,
            trigger.note.clone(),
        )
    };
    known.len() != new.len() || known.iter().map(key).ne(new.iter().map(key))
}

/// The living report, and the snapshots of it that are due.
struct Living<'a> {
    report: Option<&'a QualityReport>,
    due: Due<'a>,
}

fn reviewed_at(report: &QualityReport) -> Option<&Time> {
    report.status.as_ref()?.reviewed_at.as_ref()
}

async fn write_report(
    context: &Context,
    policy: &QualityPolicy,
    living: &Living<'_>,
    policy_status: &QualityPolicyStatus,
    judged: &ReleaseAnalysis,
    reported: &Reported,
    now: Timestamp,
) -> Result<bool, CallError> {
    let found = &reported.report;
    let api: Api<QualityReport> = Api::namespaced(context.client.clone(), &policy.namespace().unwrap_or_default());
    let Some(known) = living.report else {
        match call(api.create(&post(), &new_report(policy))).await {
            Ok(_) => context.meters.wrote("QualityReport"),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        return Ok(true);
    };
    let old = known.status.clone().unwrap_or_default();
    let mut status = QualityReportStatus {
        conditions: policy_status
            .conditions
            .iter()
            .filter(|condition| condition.type_ != "Ready")
            .cloned()
            .collect(),
        verdict: policy_status.verdict.clone(),
        slos: found.slos(),
        rollback: policy_status.rollback.clone(),
        p95: found.p95.clone(),
        rps: found.rps.clone(),
        errors: found.errors.clone(),
        compliance: found.compliance.clone(),
        incident: found.last_incident.clone().unwrap_or_default(),
        slo_summary: found.summary.iter().map(quality_api::SloRow::from).collect(),
        findings: found.findings.clone(),
        quality: found.rows.iter().map(QualityRow::from).collect(),
        notes: found.notes.clone(),
        questions: reported.questions.clone(),
        sections: reported.sections.clone(),
        last_line: reported.last_line.clone(),
        reviewed_at: old.reviewed_at.clone(),
        // The cache holds none: it counts for nothing here.
        history: old.history.clone(),
        updated_at: old.updated_at.clone(),
    };
    truncate::fit(&mut status);
    if !living.due.is_empty() {
        status.history = judged.charted(&reported.limits, reported.quality.as_deref());
    }
    let taken = take(context, policy, &living.due, &mut status, now).await;
    let statuses = |status: &QualityReportStatus| {
        status
            .slo_summary
            .iter()
            .map(|row| row.status.clone())
            .collect::<Vec<_>>()
    };
    let moved = taken
        // From here on reviews are held.
        || old.reviewed_at.is_none()
        || moves(&old.conditions, &status.conditions)
        // Evidence does not move from look to look: what it says is written as soon as it says something else.
        || old.quality != status.quality
        || statuses(&old) != statuses(&status)
        || (&old.verdict, &old.rollback, &old.incident, &old.slos)
            != (&status.verdict, &status.rollback, &status.incident, &status.slos);
    if !moved && (!is_due(old.updated_at.as_ref(), now) || old == status) {
        return Ok(false);
    }
    if living.due.is_empty() || status.reviewed_at.is_none() {
        status.reviewed_at = Some(living.due.reviewed.clone());
    }
    status.history = judged.charted(&reported.limits, reported.quality.as_deref());
    status.updated_at = Some(Time(now));
    let mut changed = known.clone();
    changed.status = Some(status);
    context.replace_status(&changed).await?;
    Ok(true)
}

/// Takes the snapshots that are due, each a copy of what is about to be written; whether there were some. Where they cannot
/// be taken the living report is written all the same, and they are due again at the next look.
async fn take(
    context: &Context,
    policy: &QualityPolicy,
    due: &Due<'_>,
    status: &mut QualityReportStatus,
    now: Timestamp,
) -> bool {
    if due.is_empty() {
        return false;
    }
    let mut copy = status.clone();
    copy.reviewed_at = Some(due.reviewed.clone());
    copy.updated_at = Some(Time(now));
    match due.take(context, policy, &copy, now).await {
        Ok(()) => {
            *status = copy;
            true
        }
        Err(error) => {
            tracing::warn!(%error, "a snapshot of the report was not taken");
            false
        }
    }
}

fn new_report(policy: &QualityPolicy) -> QualityReport {
    let labels = [
        (POLICY_LABEL.to_owned(), names::label(&policy.name_any())),
        (TARGET_LABEL.to_owned(), names::label(&policy.spec.target_ref.name)),
    ];
    QualityReport {
        metadata: ObjectMeta {
            name: Some(policy.name_any()),
            namespace: policy.namespace(),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        spec: QualityReportSpec {
            policy_ref: LocalReference {
                name: policy.name_any(),
            },
        },
        status: None,
    }
}
