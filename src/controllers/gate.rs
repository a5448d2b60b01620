//! The gate: writes into the policy's status what the admission policies read. It is written before a rollback and
//! before the rest of the status, so that the gate is shut by the time that the images change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::controllers::{
    build,
    context::{CallError, Context, Written},
    events::{EventNote, tell},
    gather::Gathered,
    registered_templates,
};
use quality_api::{
    BREAK_GLASS_ANNOTATION, GateMode, GateState, GateStatus, QualityIncident, QualityPolicy, QualityPolicyStatus,
    QuarantinedImage, RELEASE_ANNOTATION, RegisteredTemplate, ReleaseAnswer, ReleasedImage, RollbackTarget,
    RollbackTargetImage,
    conditions::{self, Status},
    view,
};
use quality_core::{
    gate::{self, Decision, Gate, Reason},
    incident::{digest, image_changes, short},
    judge::Verdict,
    plan::{self, Candidate, Observed},
    quarantine::{self, ImageRelease, Quarantined, TakenAway},
    report::{self, Rehearsal},
};

/// How many rollback targets are named.
const MAX_ROLLBACK_TARGETS: usize = 5;
/// The templates in a policy's status, bytes of JSON in all: the whole object must stay far below what etcd takes.
const MAX_TEMPLATE_BYTES: usize = 512 * 1_024;
/// A longer annotation is none of ours.
const MAX_BYTES: usize = 1_024;

/// What the gate is decided on.
pub struct GateFacts<'a> {
    /// What the cluster shows.
    pub gathered: &'a Gathered,
    /// The same, as the planner sees it.
    pub observed: &'a Observed,
    /// What the judge says.
    pub verdict: &'a Verdict,
    /// The finished drills, oldest first.
    pub drills: &'a [Rehearsal],
}

/// Brings gate and quarantine up to date; whether something was written.
pub async fn reconcile_gate(
    context: &Context,
    policy: &QualityPolicy,
    seen: &GateFacts<'_>,
    now: Timestamp,
) -> Result<bool, CallError> {
    let before = policy.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let known = view::quarantine(policy);
    let kept = quarantine::merge(&known, &taken_away(&seen.gathered.incidents));
    status.quarantine = kept.iter().map(entry).collect();
    if let Decision::Stands {
        reason,
        message,
        incident,
    } = decide(policy, seen, &kept)
    {
        let targets = match reason.gate() {
            Gate::Open => Vec::new(),
            Gate::Closed => rollback_targets(context, seen, before.gate.as_ref()).await,
        };
        stand(&mut status, policy.metadata.generation, reason, message, now);
        if let Some(gate) = &mut status.gate {
            (gate.incident, gate.rollback_targets) = (incident, targets);
        }
    }
    let broken = break_glass(policy, seen.gathered);
    if let Some(gate) = &mut status.gate
        && broken.is_some()
    {
        gate.break_glass.clone_from(&broken);
    }
    if status == before {
        return Ok(false);
    }
    if write(context, policy, &status).await? == Written::Overtaken {
        return Ok(true);
    }
    let shut = before.gate.as_ref().filter(|gate| gate.state == GateState::Closed);
    tell_what_moved(context, policy, seen.gathered, (&known, &kept)).await;
    // A gate that was just made has seen no annotation come.
    if let Some(reason) = broken.filter(|broken| {
        let known = before.gate.as_ref().map(|gate| gate.break_glass.as_ref());
        known.is_some_and(|known| known != Some(broken))
    }) {
        let stood = shut.map_or_else(
            || "the gate was open".to_owned(),
            |gate| format!("the gate was closed, {}: {}", gate.reason, gate.message),
        );
        let told = EventNote {
            warning: true,
            reason: "BreakGlass",
            note: format!("a change passed by break-glass, \"{reason}\"; {stood}"),
            // The same words another time are another story.
            about: &format!("{reason} {:?}", seen.gathered.deployment.metadata.generation),
            chapter: 1,
        };
        tell(context, policy, Some(&seen.gathered.deployment), &told).await;
    }
    Ok(true)
}

fn decide(policy: &QualityPolicy, seen: &GateFacts<'_>, kept: &[Quarantined]) -> Decision {
    let incident = build::open_incident(&seen.gathered.incidents);
    let candidates = &seen.observed.candidates;
    // What was quarantined and shipped all the same says nothing of the rollback path from it.
    let quarantined = |candidate: &Candidate| {
        let mut images = candidate.images.iter();
        images.any(|image| quarantine::find(kept, &image.image).is_some())
    };
    let running = candidates
        .iter()
        .filter(|candidate| candidate.certified.is_some() && plan::runs(seen.observed, candidate))
        .filter(|candidate| !quarantined(candidate))
        .max_by_key(|candidate| candidate.certified)
        .map(|candidate| {
            candidate
                .usable
                .clone()
                .map_err(|why| format!("{}: {why}", candidate.name))
        });
    let rollback = report::readiness(candidates);
    let failed = report::failed_drill(seen.drills)
        .map(|drill| format!("the last drill, {}, failed: {}", drill.name, drill.message));
    let before = policy.status.as_ref().and_then(|status| status.gate.as_ref());
    gate::decide(&gate::GateInput {
        incident: incident.map(|incident| gate::GateIncident {
            name: incident.metadata.name.as_deref().unwrap_or_default(),
            state: incident.status.as_ref().map(|status| status.state).unwrap_or_default(),
            severity: incident.spec.severity,
            reason: &incident.spec.reason,
        }),
        registered: candidates.iter().any(|candidate| candidate.certified.is_some()),
        running: running.as_ref(),
        rollback: &rollback,
        failed_drill: failed.as_deref(),
        known: gate::is_known(seen.verdict),
        before: before.map(|gate| gate.reason.as_str()),
    })
}

/// A paused policy holds nothing: called where it is said that it is paused.
pub fn pause(status: &mut QualityPolicyStatus, generation: Option<i64>, now: Timestamp) {
    let message = "the policy is paused: nothing is held".to_owned();
    stand(status, generation, Reason::Paused, message, now);
}

fn stand(status: &mut QualityPolicyStatus, generation: Option<i64>, reason: Reason, message: String, now: Timestamp) {
    let (state, at) = (reason.gate(), Time(now));
    let known = status.gate.take();
    let same = known.as_ref().filter(|gate| gate.state == state);
    let since = same.map_or_else(|| at.clone(), |gate| gate.since.clone());
    let open = Status::from(state == GateState::Open);
    conditions::set(
        &mut status.conditions,
        "GateOpen",
        open,
        reason.name(),
        &message,
        generation,
        &at,
    );
    status.gate = Some(GateStatus {
        state,
        reason: reason.name().to_owned(),
        message,
        since,
        incident: None,
        rollback_targets: Vec::new(),
        break_glass: known.and_then(|gate| gate.break_glass),
    });
}

/// Checkpoints that may be used, the newest first. One whose images run is a rollback target where it was certified with other
/// templates than the one that runs.
async fn rollback_targets(context: &Context, seen: &GateFacts<'_>, before: Option<&GateStatus>) -> Vec<RollbackTarget> {
    let mut usable: Vec<&Candidate> = seen.observed.candidates.iter().collect();
    usable.retain(|candidate| candidate.usable.is_ok());
    usable.sort_by(|a, b| b.certified.cmp(&a.certified).then_with(|| b.name.cmp(&a.name)));
    let known: Vec<&RegisteredTemplate> = before
        .iter()
        .flat_map(|gate| &gate.rollback_targets)
        .flat_map(|target| &target.templates)
        .collect();
    let (mut targets, mut room) = (Vec::new(), MAX_TEMPLATE_BYTES);
    for candidate in usable {
        let mut checkpoints = seen.gathered.checkpoints.iter();
        let checkpoint = checkpoints.find(|checkpoint| checkpoint.uid().as_deref() == Some(&candidate.uid));
        let status = checkpoint
            .and_then(|checkpoint| checkpoint.status.clone())
            .unwrap_or_default();
        let image = |image: &quality_api::ContainerImage| RollbackTargetImage {
            container: image.container.clone(),
            image: image.image.clone(),
            named: status
                .template_images
                .iter()
                .find(|known| known.container == image.container)
                .map(|known| known.image.clone()),
        };
        // The release that runs is no rollback target, so its template is not read.
        let mut releases = status.releases.clone();
        releases.retain(|release| Some(&release.uid) != seen.gathered.newest.uid().as_ref());
        let mut templates =
            registered_templates::templates(context, &seen.gathered.deployment, &releases, &known).await;
        templates.retain(|known| {
            let bytes = known.template.to_string().len();
            let fits = bytes <= room;
            room -= if fits { bytes } else { 0 };
            fits
        });
        if templates.is_empty() && plan::runs(seen.observed, candidate) {
            continue;
        }
        targets.push(RollbackTarget {
            checkpoint: candidate.name.clone(),
            images: candidate.images.iter().map(image).collect(),
            templates,
        });
        if targets.len() == MAX_ROLLBACK_TARGETS {
            break;
        }
    }
    targets
}

/// What the rollbacks took away: of each container that the checkpoint brought back, the image before, where it was
/// another one.
fn taken_away(incidents: &[QualityIncident]) -> Vec<TakenAway> {
    let of = |incident: &QualityIncident| {
        let status = incident.status.as_ref()?;
        let since = status.patched_at.as_ref()?.0.as_second();
        let checkpoint = incident.spec.checkpoint.as_ref()?;
        let shown = incident
            .spec
            .triggers
            .iter()
            .find(|trigger| trigger.name == incident.spec.trigger.name());
        let words = incident.spec.trigger.words();
        let reason = shown.map_or_else(|| words.to_owned(), |trigger| format!("{words} {}", trigger.value));
        let from = incident.spec.from_images.iter();
        let changes = image_changes(
            from.map(|image| (image.container.as_str(), image.image.as_str())),
            &checkpoint.images,
        );
        let is_changed = |container: &str| changes.iter().any(|change| change.container == container);
        let replaced = incident
            .spec
            .from_images
            .iter()
            .filter(|from| is_changed(&from.container));
        let entries = replaced.map(|from| Quarantined {
            image: from.named.as_ref().unwrap_or(&from.image).clone(),
            digest: digest(&from.image).map(str::to_owned),
            incident: incident.name_any(),
            reason: reason.clone(),
            since,
        });
        Some(TakenAway {
            entries: entries.collect(),
            released: status.released.iter().map(|released| released.image.clone()).collect(),
        })
    };
    incidents.iter().filter_map(of).collect()
}

fn entry(entry: &Quarantined) -> QuarantinedImage {
    QuarantinedImage {
        image: entry.image.clone(),
        digest: entry.digest.clone(),
        incident: entry.incident.clone(),
        reason: entry.reason.clone(),
        since: view::time(entry.since),
    }
}

/// The Deployment's break-glass annotation, where the gate has a say.
fn break_glass(policy: &QualityPolicy, gathered: &Gathered) -> Option<String> {
    let value = gathered.deployment.annotations().get(BREAK_GLASS_ANNOTATION)?;
    let counts = policy.spec.gate.mode != GateMode::Off && (1..=MAX_BYTES).contains(&value.len());
    counts.then(|| value.clone())
}

async fn tell_what_moved(
    context: &Context,
    policy: &QualityPolicy,
    gathered: &Gathered,
    (known, kept): (&[Quarantined], &[Quarantined]),
) {
    let new: Vec<&Quarantined> = kept.iter().filter(|entry| !known.contains(entry)).collect();
    // One Event an incident, however many containers it had.
    for of_one in new.chunk_by(|a, b| a.incident == b.incident) {
        let names: Vec<String> = of_one.iter().map(|entry| name(entry)).collect();
        let (first, incident) = (of_one[0], &of_one[0].incident);
        let told = EventNote {
            warning: false,
            reason: "ImageQuarantined",
            note: format!(
                "image {} is kept out by incident {incident} ({}). Release it with: kubectl quality release {} --image {}",
                names.join(", "),
                first.reason,
                policy.name_any(),
                name(first)
            ),
            about: incident,
            chapter: 3,
        };
        tell(context, policy, Some(&gathered.deployment), &told).await;
    }
}

fn name(entry: &Quarantined) -> String {
    entry
        .digest
        .as_deref()
        .map_or_else(|| entry.image.clone(), |digest| short(&format!("@{digest}")))
}

/// Answers a person's wish for a release from quarantine, also while the policy is paused or cannot be judged; whether
/// something was written. The incident's record is marked first: what it says is what the quarantine is made from.
pub async fn release(context: &Context, policy: &QualityPolicy, now: Timestamp) -> Result<bool, CallError> {
    let Some(request) = policy.annotations().get(RELEASE_ANNOTATION) else {
        return Ok(false);
    };
    let mut status = policy.status.clone().unwrap_or_default();
    let answered = status
        .release_answer
        .as_ref()
        .is_some_and(|answer| answer.request == *request);
    if answered || request.len() > MAX_BYTES {
        return Ok(false);
    }
    let wish = ImageRelease::read(request);
    let (meant, others): (Vec<Quarantined>, Vec<Quarantined>) = view::quarantine(policy)
        .into_iter()
        .partition(|entry| wish.means(entry));
    for entry in &meant {
        if mark_released(context, policy, entry, now).await? == Written::Overtaken {
            return Ok(true);
        }
    }
    let message = match meant.first() {
        None => format!("nothing in quarantine is meant by {request:?}"),
        Some(first) => {
            let names: Vec<&str> = meant.iter().map(|entry| entry.incident.as_str()).collect();
            format!("image {} is released, of {}", name(first), names.join(", "))
        }
    };
    status.quarantine = others.iter().map(entry).collect();
    status.release_answer = Some(ReleaseAnswer {
        request: request.clone(),
        message: message.clone(),
        at: Time(now),
    });
    if write(context, policy, &status).await? == Written::Overtaken {
        return Ok(true);
    }
    tracing::info!(%message, "release");
    let told = EventNote {
        warning: meant.is_empty(),
        reason: if meant.is_empty() {
            "NothingToRelease"
        } else {
            "ImageReleased"
        },
        note: message,
        about: &format!("{request} {now}"),
        chapter: 4,
    };
    let target = ObjectRef::new(&policy.spec.target_ref.name).within(&policy.namespace().unwrap_or_default());
    let deployment = context.stores.deployments.get(&target);
    tell(context, policy, deployment.as_deref(), &told).await;
    Ok(true)
}

/// Takes the release down in the incident's record. An incident that is gone takes nothing away any more.
async fn mark_released(
    context: &Context,
    policy: &QualityPolicy,
    entry: &Quarantined,
    now: Timestamp,
) -> Result<Written, CallError> {
    let reference = ObjectRef::new(&entry.incident).within(&policy.namespace().unwrap_or_default());
    let found = context.stores.incidents.get(&reference);
    let Some(mut incident) = found.and_then(|found| found.0.as_ref().ok().cloned()) else {
        return Ok(Written::Taken);
    };
    let status = incident.status.get_or_insert_default();
    if status.released.iter().any(|released| released.image == entry.image) {
        return Ok(Written::Taken);
    }
    status.released.push(ReleasedImage {
        image: entry.image.clone(),
        at: Time(now),
    });
    context.replace_status(&incident).await
}

async fn write(context: &Context, policy: &QualityPolicy, status: &QualityPolicyStatus) -> Result<Written, CallError> {
    let mut changed = policy.clone();
    changed.status = Some(status.clone());
    context.replace_status(&changed).await
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
