//! A checkpoint's status: what was verified, when and how, as conditions. Messages hold no running ages and times are
//! renewed only now and then, so that a checkpoint of which nothing changes is not written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{Api, ResourceExt};

use crate::controllers::{
    context::{CallError, Context, Written, call},
    verification::CheckpointChecks,
};
use quality_api::{
    CertifiedRelease, RollbackCheckpoint, RollbackCheckpointStatus, RunningImage,
    conditions::{self, Status},
    view,
};
use quality_core::{
    format, incident,
    policy::Policy,
    quarantine::Quarantined,
    readiness::{self, CheckResult, CheckStatus, Finding, LoadTime, Part},
};

/// The times of good looks are written this often, seconds.
const RENEWED_AFTER: i64 = 600;

/// That the rollback path to a checkpoint was tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// When, unix seconds.
    pub at: i64,
    /// By which incident or drill.
    pub by: String,
}

/// The releases of a checkpoint that are kept, the newest ones.
const MAX_RELEASES: usize = 3;

/// What is new about a checkpoint.
#[derive(Default)]
pub struct CheckpointUpdate {
    /// It was seen running and healthy at this time, unix seconds.
    pub certified: Option<i64>,
    /// How long its pods took to come up.
    pub load: Option<LoadTime>,
    /// The rollback path to it was tested.
    pub tested: Option<Tested>,
    /// Its images as the running release names them, where that is not by their digests.
    pub named: Vec<RunningImage>,
    /// The release in which it was certified, where that is not on record yet.
    pub release: Option<CertifiedRelease>,
    /// What rollbacks took away.
    pub quarantine: Vec<Quarantined>,
}

/// The status of a checkpoint after a look and other news.
fn renewed(
    checkpoint: &RollbackCheckpoint,
    policy: &Policy,
    seen: &CheckpointChecks,
    news: &CheckpointUpdate,
    now: Timestamp,
) -> RollbackCheckpointStatus {
    let mut changed = checkpoint.clone();
    let generation = checkpoint.metadata.generation;
    let mut status = changed.status.take().unwrap_or_default();
    status.observed_generation = generation;
    status.digest = checkpoint
        .spec
        .images
        .first()
        .map(|image| incident::short(&image.image))
        .unwrap_or_default();
    if let Some(at) = news.certified {
        status.certified_at = Some(view::time(at));
    }
    if let Some(load) = news.load
        && view::seconds(status.load_measured_at.as_ref()).is_none_or(|at| load.created > at)
    {
        status.load_measured_at = Some(view::time(load.created));
        status.load_seconds = Some(load.seconds);
        status.load_time = Some(format::span(load.seconds));
    }
    if let Some(tested) = &news.tested {
        test(&mut status, tested);
    }
    if !news.named.is_empty() {
        status.template_images.clone_from(&news.named);
    }
    if let Some(release) = &news.release {
        status.releases.push(release.clone());
        let surplus = status.releases.len().saturating_sub(MAX_RELEASES);
        status.releases.drain(..surplus);
    }
    if let Some(at) = seen.hashed_at {
        status.artifacts_hashed_at = Some(view::time(at));
    }
    let set = |conditions: &mut Vec<Condition>, kind: &str, finding: &Finding| {
        let standing = match finding.standing {
            CheckStatus::Holds => Status::True,
            CheckStatus::Fails => Status::False,
            CheckStatus::Unknown => Status::Unknown,
        };
        let (reason, message) = (&finding.reason, &finding.message);
        conditions::set(conditions, kind, standing, reason, message, generation, &Time(now));
    };
    let looks = [
        (Part::ImageAvailable, &seen.image, &mut status.image_verified_at),
        (
            Part::ArtifactsIntact,
            &seen.artifacts,
            &mut status.artifacts_verified_at,
        ),
    ];
    for (part, look, verified_at) in looks {
        let before = view::finding(&status.conditions, part);
        if let CheckResult::Verified { at, .. } = look {
            let stands = before.as_ref().is_some_and(|before| before.reason == "Verified");
            let old = view::seconds(verified_at.as_ref()).is_none_or(|known| at - known >= RENEWED_AFTER);
            if old || !stands {
                *verified_at = Some(view::time(*at));
            }
        }
        let finding = readiness::after(look, before.as_ref(), view::seconds(verified_at.as_ref()));
        set(&mut status.conditions, part.name(), &finding);
    }
    changed.status = Some(status.clone());
    let readiness = view::readiness(&changed, policy, &news.quarantine, now.as_second());
    for (part, finding) in &readiness.parts {
        set(&mut status.conditions, part.name(), finding);
    }
    set(&mut status.conditions, "Ready", &readiness.ready);
    status
}

/// Writes what is new of one checkpoint; whether something was.
pub async fn update(
    context: &Context,
    policy: &Policy,
    checkpoint: &RollbackCheckpoint,
    news: &CheckpointUpdate,
    now: Timestamp,
) -> Result<bool, CallError> {
    let seen = context.verification.ask(checkpoint);
    let status = renewed(checkpoint, policy, &seen, news, now);
    if checkpoint.status.as_ref() == Some(&status) {
        return Ok(false);
    }
    let mut changed = checkpoint.clone();
    changed.status = Some(status);
    context.replace_status(&changed).await?;
    Ok(true)
}

/// Takes a test down, unless a newer one is known.
fn test(status: &mut RollbackCheckpointStatus, tested: &Tested) {
    if view::seconds(status.tested_at.as_ref()).is_none_or(|known| tested.at > known) {
        status.tested_at = Some(view::time(tested.at));
        status.tested_by = Some(tested.by.clone());
    }
}

/// Records that the rollback path to a checkpoint was tested, for a caller that has no reconcile of it at hand: a
/// drill. Taking the same test down twice is taking it down once, and one that is gone has nothing to take it down in;
/// `Overtaken` when somebody wrote in between: then it is tried again.
pub(crate) async fn record_test(
    context: &Context,
    namespace: &str,
    name: &str,
    uid: &str,
    tested: &Tested,
) -> Result<Written, CallError> {
    let api: Api<RollbackCheckpoint> = Api::namespaced(context.client.clone(), namespace);
    let mut checkpoint = match call(api.get(name)).await {
        Ok(checkpoint) if checkpoint.uid().as_deref() == Some(uid) => checkpoint,
        Ok(_) => return Ok(Written::Taken),
        Err(error) if error.is_not_found() => return Ok(Written::Taken),
        Err(error) => return Err(error),
    };
    let before = checkpoint.status.clone();
    test(checkpoint.status.get_or_insert_default(), tested);
    if checkpoint.status == before {
        return Ok(Written::Taken);
    }
    context.replace_status(&checkpoint).await
}

#[cfg(test)]
#[path = "readiness/tests.rs"]
mod tests;
