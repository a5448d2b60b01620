//! Snapshots of the report: at each review and at the end of each incident, once each, and as many as the policy keeps.
//!
//! A snapshot's name is made from its instant or its incident, so that taking it again after a crash finds it taken. What
//! was taken is on record where it is asked for: the living report's `reviewedAt`, the incident's condition
//! `SnapshotTaken`. A snapshot is no part of a watch: a report of a thousand policies in fourteen editions is not held in
//! memory.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
    core::ObjectMeta,
};

use crate::controllers::{
    build,
    context::{CallError, Context, call, post},
};
use quality_api::{
    LocalReference, POLICY_LABEL, QualityIncident, QualityPolicy, QualityReportSnapshot, QualityReportSnapshotSpec,
    QualityReportStatus, SNAPSHOT_LABEL, SnapshotOf, TARGET_LABEL,
    conditions::{self, Status},
    names, view,
};
use quality_core::{policy::Policy, review};

/// The condition of an incident whose report was kept.
const CONDITION: &str = "SnapshotTaken";

/// The snapshots to take now.
pub struct Due<'a> {
    review: Option<i64>,
    ended: Vec<&'a QualityIncident>,
    /// The living report's `reviewedAt` once they are taken.
    pub reviewed: Time,
}

impl<'a> Due<'a> {
    /// By the rules of the policy, its incidents, and when its report was last reviewed.
    pub fn new(rules: &Policy, incidents: &'a [QualityIncident], reviewed: Option<&Time>, now: Timestamp) -> Self {
        let now = now.as_second();
        let reviewed = reviewed.map(|at| at.0.as_second());
        let is_new = |incident: &&QualityIncident| {
            let status = incident.status.as_ref();
            build::is_closed(incident)
                && !status.is_some_and(|status| conditions::is_true(&status.conditions, CONDITION))
        };
        Self {
            review: review::due(reviewed, now, rules.review),
            ended: incidents.iter().filter(is_new).collect(),
            reviewed: view::time(reviewed.unwrap_or(i64::MIN).max(review::last(now, rules.review))),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.review.is_none() && self.ended.is_empty()
    }

    /// Takes them, each a copy of this status, and deletes the oldest beyond the limit.
    pub async fn take(
        &self,
        context: &Context,
        policy: &QualityPolicy,
        status: &QualityReportStatus,
        now: Timestamp,
    ) -> Result<(), CallError> {
        if let Some(at) = self.review {
            create(context, &of_review(policy, status, at)).await?;
            prune(context, policy, SnapshotOf::Review).await;
        }
        for incident in &self.ended {
            let snapshot = of_incident(policy, status, incident);
            create(context, &snapshot).await?;
            let mut changed = (*incident).clone();
            conditions::set(
                &mut changed.status.get_or_insert_default().conditions,
                CONDITION,
                Status::True,
                "Taken",
                &format!(
                    "the report of its end is kept as qualityreportsnapshot {}",
                    snapshot.name_any()
                ),
                None,
                &Time(now),
            );
            // Somebody wrote first: it is found taken the next time.
            context.replace_status(&changed).await?;
        }
        if !self.ended.is_empty() {
            prune(context, policy, SnapshotOf::Incident).await;
        }
        Ok(())
    }
}

async fn create(context: &Context, snapshot: &QualityReportSnapshot) -> Result<(), CallError> {
    let namespace = snapshot.namespace().unwrap_or_default();
    let api: Api<QualityReportSnapshot> = Api::namespaced(context.client.clone(), &namespace);
    match call(api.create(&post(), snapshot)).await {
        Ok(_) => context.meters.wrote("QualityReportSnapshot"),
        // Taken before a crash.
        Err(error) if error.is_conflict() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Deletes the oldest snapshots of a kind beyond the policy's limit. Best effort: what is left is deleted after the next
/// one.
async fn prune(context: &Context, policy: &QualityPolicy, of: SnapshotOf) {
    let namespace = policy.namespace().unwrap_or_default();
    let api: Api<QualityReportSnapshot> = Api::namespaced(context.client.clone(), &namespace);
    let selector = format!(
        "{POLICY_LABEL}={},{SNAPSHOT_LABEL}={}",
        names::label(&policy.name_any()),
        of.name()
    );
    let listed = match call(api.list_metadata(&ListParams::default().labels(&selector))).await {
        Ok(listed) => listed,
        Err(error) => return tracing::warn!(%error, "old snapshots cannot be listed"),
    };
    let made = listed.items.iter().map(|snapshot| {
        let at = snapshot.creation_timestamp().map_or(0, |at| at.0.as_second());
        (at, snapshot.name_any())
    });
    let keep = usize::try_from(policy.spec.report.keep.clamp(1, 100)).unwrap_or(1);
    for name in review::surplus(made.collect(), keep) {
        match call(api.delete(&name, &DeleteParams::default())).await {
            Ok(_) => context.meters.wrote("QualityReportSnapshot"),
            Err(error) if error.is_not_found() => {}
            Err(error) => tracing::warn!(%error, %name, "an old snapshot cannot be deleted"),
        }
    }
}

fn of_review(policy: &QualityPolicy, status: &QualityReportStatus, at: i64) -> QualityReportSnapshot {
    snapshot(
        policy,
        status,
        review_name(&policy.name_any(), at),
        view::time(at),
        None,
    )
}

fn of_incident(
    policy: &QualityPolicy,
    status: &QualityReportStatus,
    incident: &QualityIncident,
) -> QualityReportSnapshot {
    let closed = incident.status.as_ref().and_then(|status| status.closed_at.clone());
    let at = closed.unwrap_or_else(|| incident.spec.detected.clone());
    snapshot(policy, status, incident.name_any(), at, Some(incident.name_any()))
}

fn snapshot(
    policy: &QualityPolicy,
    status: &QualityReportStatus,
    name: String,
    at: Time,
    incident: Option<String>,
) -> QualityReportSnapshot {
    let of = match incident {
        None => SnapshotOf::Review,
        Some(_) => SnapshotOf::Incident,
    };
    let labels = [
        (POLICY_LABEL.to_owned(), names::label(&policy.name_any())),
        (TARGET_LABEL.to_owned(), names::label(&policy.spec.target_ref.name)),
        (SNAPSHOT_LABEL.to_owned(), of.name().to_owned()),
    ];
    QualityReportSnapshot {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: policy.namespace(),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        spec: QualityReportSnapshotSpec {
            policy_ref: LocalReference {
                name: policy.name_any(),
            },
            policy_uid: policy.uid().unwrap_or_default(),
            of,
            at,
            incident,
            report: status.clone(),
        },
    }
}

/// `<policy>-<date>-<time>`: no two reviews lie within one minute.
fn review_name(policy: &str, at: i64) -> String {
    let at = view::time(at).0.strftime("%Y%m%d-%H%M");
    if policy.len() <= 230 {
        return format!("{policy}-{at}");
    }
    let prefix: String = policy.chars().take(219).collect();
    format!(
        "{}-{}-{at}",
        prefix.trim_end_matches(['-', '.']),
        &names::hash(&[policy])[..10]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_review_is_its_policy_and_instant() {
        assert_eq!(review_name("ranker", 1_795_478_400), "ranker-20261124-0000");
        let long = format!("{}-b", "x".repeat(251));
        let name = review_name(&long, 0);
        assert!(
            name.len() <= 253 && name != review_name(&format!("{}-c", "x".repeat(251)), 0),
            "{name}"
        );
    }
}
