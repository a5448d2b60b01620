//! Build: objects of the API from the core's decisions, and the core's view of objects. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{ResourceExt, core::ObjectMeta};

use crate::controllers::gather::Gathered;
use quality_api::{
    CheckpointIntent, LocalReference, ObjectIdentity, POLICY_LABEL, Provenance, QualityIncident, QualityIncidentSpec,
    QualityPolicy, RollbackCheckpoint, RollbackCheckpointSpec, RunningImage, TARGET_LABEL, TriggerStatus, names, view,
};
use quality_core::{
    format,
    incident::{self, ContainerImage, Trigger},
    judge::{State, TriggerVerdict, Verdict},
    plan::{self, Candidate, NewIncident, OpenIncident, Refused, Release, RunOf},
    policy::Policy,
    quarantine::Quarantined,
};

fn labels(policy: &str, target: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (POLICY_LABEL.to_owned(), names::label(policy)),
        (TARGET_LABEL.to_owned(), names::label(target)),
    ])
}

/// One trigger's verdict as the API shows it.
pub fn trigger_status(verdict: &TriggerVerdict) -> TriggerStatus {
    let figures = verdict.figures();
    let (evidence, needs) = verdict.evidence();
    TriggerStatus {
        name: verdict.trigger.name().to_owned(),
        verdict: verdict.state.kind(),
        reason: match verdict.state {
            State::Unknown(unknown) => unknown.reason().to_owned(),
            _ => String::new(),
        },
        value: figures.value,
        ci95: figures.ci95,
        n: i64::try_from(figures.n).unwrap_or(i64::MAX),
        limit: figures.limit,
        evidence,
        evidence_magnitude: verdict.evidence_magnitude(),
        needs,
        design_effect: match verdict.trigger {
            Trigger::Compliance => format::UNKNOWN.to_owned(),
            _ => format!("{:.1}", verdict.design_effect),
        },
        since: verdict.onset.filter(|_| verdict.in_breach()).map(view::time),
        note: verdict.note.clone(),
    }
}

/// What is known of the release in breach.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// The digests that its pods run.
    pub digests: &'a [ContainerImage],
    /// The MLflow run that it comes from.
    pub run: Option<&'a str>,
}

/// The incident of a breach. Its name is a function of policy, Deployment, release and how many breaches of
/// this release came before, so that a second attempt to create it is the same one.
pub fn incident(
    policy: &QualityPolicy,
    gathered: &Gathered,
    verdict: &Verdict,
    new: &NewIncident,
    found: Found<'_>,
    details: &[String],
) -> QualityIncident {
    let uid = policy.uid().unwrap_or_default();
    let release = &gathered.release;
    let (key, name) = identity(policy, gathered, new);
    let from_images = from_images(gathered, found.digests);
    let (checkpoint, no_target) = match &new.target {
        Ok(candidate) => (Some(intent(candidate)), None),
        Err(reason) => (None, Some(reason.message())),
    };
    let (from, to) = columns(&from_images, checkpoint.as_ref());
    let mut reason = match (verdict.trigger(new.trigger), &new.request) {
        (_, Some((_, reason))) => format!("a person asked for it: {reason}"),
        (Some(trigger), None) => trigger.sentence(),
        (None, None) => format!("{} while pods run", new.trigger.words()),
    };
    for detail in details {
        reason.push_str("; ");
        reason.push_str(detail);
    }
    let target = policy.spec.target_ref.name.clone();
    QualityIncident {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: policy.namespace(),
            labels: Some(labels(&policy.name_any(), &target)),
            ..ObjectMeta::default()
        },
        spec: QualityIncidentSpec {
            policy: ObjectIdentity {
                name: policy.name_any(),
                uid,
            },
            deployment: ObjectIdentity {
                name: target,
                uid: release.deployment_uid.clone(),
            },
            replica_set: release.replica_set.clone(),
            revision: release.revision.clone(),
            trigger: new.trigger,
            severity: new.severity,
            onset: view::time(new.onset),
            // A request may be younger than the newest look.
            detected: view::time(verdict.at.max(new.onset)),
            reason,
            from,
            to,
            request: new.request.as_ref().map(|(id, _)| id.clone()),
            mlflow_run_id: found.run.map(str::to_owned),
            from_images,
            checkpoint,
            no_target,
            triggers: verdict.triggers.iter().map(trigger_status).collect(),
            key,
        },
        status: None,
    }
}

/// An incident's key and name. That of a breach: policy, Deployment, release and how many incidents of this release came
/// before; further where records of some were deleted and the next one's name is taken. That of a request: the request.
fn identity(policy: &QualityPolicy, gathered: &Gathered, new: &NewIncident) -> (String, String) {
    let uid = policy.uid().unwrap_or_default();
    let release = &gathered.release;
    let earlier = gathered
        .incidents
        .iter()
        .filter(|known| release_of(known) == *release && is_closed(known));
    let request = new.request.as_ref().map(|(id, _)| id.as_str());
    let mut epoch = if request.is_some() { 0 } else { earlier.count() };
    loop {
        let epoch_text = epoch.to_string();
        let mut parts = vec![
            uid.as_str(),
            &release.deployment_uid,
            &release.replica_set,
            &release.revision,
            &epoch_text,
        ];
        parts.extend(request);
        let key = names::hash(&parts);
        let name = incident_name(&policy.name_any(), &key);
        let taken = |known: &QualityIncident| is_closed(known) && known.name_any() == name;
        if !gathered.incidents.iter().any(taken) {
            return (key, name);
        }
        epoch += 1;
    }
}

/// `<policy>-<five characters of the key>`: short enough to say on the phone.
fn incident_name(policy: &str, key: &str) -> String {
    let mut prefix = policy.to_owned();
    prefix.truncate(240);
    format!("{}-{}", prefix.trim_end_matches(['-', '.']), &key[..5])
}

/// The images in breach: by the digests that the pods run where they are known, else as the template has them.
fn from_images(gathered: &Gathered, digests: &[ContainerImage]) -> Vec<RunningImage> {
    let template = crate::controllers::release::template_images(&gathered.deployment);
    template
        .into_iter()
        .map(|(container, image)| {
            let digest = digests.iter().find(|known| known.container == container);
            let pinned = digest.map_or_else(|| image.clone(), |known| known.image.clone());
            RunningImage {
                named: (pinned != image).then_some(image),
                image: pinned,
                container,
            }
        })
        .collect()
}

/// What the columns FROM and TO show: the first container, in the template's order, whose image the rollback changes.
/// Where it changes none, or there is nothing to roll back to, the first container.
fn columns(from: &[RunningImage], checkpoint: Option<&CheckpointIntent>) -> (String, String) {
    let to = checkpoint
        .map(|checkpoint| checkpoint.images.as_slice())
        .unwrap_or_default();
    let running = from
        .iter()
        .map(|image| (image.container.as_str(), image.image.as_str()));
    if let Some(change) = incident::image_changes(running, to).first() {
        return (incident::short(change.from), incident::short(change.to));
    }
    let first = from
        .iter()
        .find(|image| to.iter().any(|to| to.container == image.container));
    let first = first.or(from.first());
    let same = to
        .iter()
        .find(|to| first.is_some_and(|first| first.container == to.container));
    (
        first.map(|image| incident::short(&image.image)).unwrap_or_default(),
        same.map(|image| incident::short(&image.image)).unwrap_or_default(),
    )
}

fn intent(candidate: &Candidate) -> CheckpointIntent {
    CheckpointIntent {
        name: candidate.name.clone(),
        uid: candidate.uid.clone(),
        images: candidate.images.clone(),
        certified_at: candidate.certified.map(view::time),
    }
}

/// The release that an incident is about.
pub fn release_of(incident: &QualityIncident) -> Release {
    Release {
        deployment_uid: incident.spec.deployment.uid.clone(),
        replica_set: incident.spec.replica_set.clone(),
        revision: incident.spec.revision.clone(),
    }
}

/// Whether nothing more will happen to an incident.
pub fn is_closed(incident: &QualityIncident) -> bool {
    incident.status.as_ref().is_some_and(|status| status.state.is_closed())
}

/// Whether an incident keeps releases from being registered and drills from taking place.
pub fn holds_back(incident: &QualityIncident) -> bool {
    let state = incident.status.as_ref().map(|status| status.state).unwrap_or_default();
    plan::holds_back(incident.spec.trigger, state)
}

/// A checkpoint as a rollback target, with the reason why not where there is one.
pub fn candidate(checkpoint: &RollbackCheckpoint, policy: &Policy, quarantine: &[Quarantined], now: i64) -> Candidate {
    let certified = checkpoint
        .status
        .as_ref()
        .and_then(|status| status.certified_at.as_ref())
        .map(|at| at.0.as_second());
    let usable = view::readiness(checkpoint, policy, quarantine, now).usable;
    Candidate {
        name: checkpoint.name_any(),
        uid: checkpoint.uid().unwrap_or_default(),
        images: checkpoint.spec.images.clone(),
        certified,
        run: run_of(checkpoint).filter(|_| !checkpoint.spec.revoked),
        usable,
    }
}

/// The run that a checkpoint was registered with.
pub fn run_of(checkpoint: &RollbackCheckpoint) -> Option<RunOf> {
    let provenance = checkpoint.spec.provenance.as_ref()?;
    Some(RunOf {
        run_id: provenance.mlflow_run_id.clone()?,
        dataset_digest: provenance.dataset.as_ref().map(|dataset| dataset.digest.clone()),
    })
}

/// The incident that the planner works on: a rollback's before an alert's, the oldest first.
pub fn open_incident(incidents: &[QualityIncident]) -> Option<&QualityIncident> {
    let open = || incidents.iter().filter(|incident| !is_closed(incident));
    open()
        .find(|incident| incident.spec.severity == incident::Severity::Rollback)
        .or_else(|| open().next())
}

/// The planner's view of an open incident.
pub fn open(incident: &QualityIncident, candidates: &[Candidate]) -> OpenIncident {
    let status = incident.status.clone().unwrap_or_default();
    let deployment_uid = incident.spec.deployment.uid.clone();
    OpenIncident {
        name: incident.name_any(),
        state: status.state,
        release: release_of(incident),
        trigger: incident.spec.trigger,
        severity: incident.spec.severity,
        onset: incident.spec.onset.0.as_second(),
        target: incident
            .spec
            .checkpoint
            .as_ref()
            .map(|intent| target(intent, candidates)),
        rolled_back_to: status.rolled_back_to.map(|to| Release {
            deployment_uid,
            replica_set: to.replica_set,
            revision: to.revision,
        }),
        rolled_out: status.rolled_out_at.map(|at| at.0.as_second()),
        approved: incident
            .annotations()
            .get(quality_api::APPROVE_ANNOTATION)
            .is_some_and(|value| value == "true"),
        escalated: quality_api::conditions::is_true(&status.conditions, "Escalated"),
        refused: status.refusal.map(|refusal| Refused {
            since: refusal.since.0.as_second(),
            at: refusal.at.0.as_second(),
        }),
    }
}

/// An intent's checkpoint as it is now: deleted or changed, it is not used.
fn target(intent: &CheckpointIntent, candidates: &[Candidate]) -> Candidate {
    let known = candidates.iter().find(|candidate| candidate.uid == intent.uid);
    let usable = match known {
        None => Err("it was deleted".to_owned()),
        Some(known) if known.images != intent.images => Err("its images changed since the decision".to_owned()),
        Some(known) => known.usable.clone(),
    };
    Candidate {
        name: intent.name.clone(),
        uid: intent.uid.clone(),
        images: intent.images.clone(),
        certified: intent.certified_at.as_ref().map(|at| at.0.as_second()),
        run: known.and_then(|known| known.run.clone()),
        usable,
    }
}

/// A checkpoint for a release that was seen healthy: the `number`th of its day.
pub fn checkpoint(
    policy: &QualityPolicy,
    images: &[ContainerImage],
    provenance: Provenance,
    day: Timestamp,
    number: usize,
) -> RollbackCheckpoint {
    let target = policy.spec.target_ref.name.clone();
    let mut prefix = target.clone();
    prefix.truncate(230);
    let day = day.strftime("%Y%m%d");
    RollbackCheckpoint {
        metadata: ObjectMeta {
            name: Some(format!("{}-{day}-{number}", prefix.trim_end_matches(['-', '.']))),
            namespace: policy.namespace(),
            labels: Some(labels(&policy.name_any(), &target)),
            annotations: Some(BTreeMap::from([(REGISTERED_BY.to_owned(), policy.name_any())])),
            ..ObjectMeta::default()
        },
        spec: RollbackCheckpointSpec {
            target_ref: LocalReference { name: target },
            images: images.to_vec(),
            artifacts: Vec::new(),
            provenance: Some(provenance).filter(|provenance| *provenance != Provenance::default()),
            revoked: false,
        },
        status: None,
    }
}

/// Marks checkpoints that the operator registered by itself: only these does it ever delete.
pub const REGISTERED_BY: &str = "quality-officer.dev/registered-by";

/// What a reader of an incident should know beyond its own trigger.
pub fn details(verdict: &Verdict, trigger: Trigger, worse_than_beside: Option<f64>) -> Vec<String> {
    let mut details: Vec<String> = verdict
        .triggers
        .iter()
        .filter(|other| other.trigger != trigger && other.in_breach())
        .map(|other| format!("{} is in breach too", other.trigger.words()))
        .collect();
    details.extend(worse_than_beside.map(|evidence| {
        format!(
            "evidence that it fails more often than the release beside it: {}",
            format::odds(evidence)
        )
    }));
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_keeps_a_short_name_and_marks_a_long_one_by_its_hash() {
        assert_eq!(names::label("ranker"), "ranker");
        let (a, b) = (format!("{}-a", "x".repeat(80)), format!("{}-b", "x".repeat(80)));
        assert!(names::label(&a).len() <= 63 && names::label(&a) != names::label(&b));
    }

    #[test]
    fn the_parts_of_a_hash_cannot_run_into_each_other() {
        assert_ne!(names::hash(&["ab", "c"]), names::hash(&["a", "bc"]));
    }
}
