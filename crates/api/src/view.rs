//! Stored objects as the core knows them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{QualityPolicy, RollbackCheckpoint};
use quality_core::{
    policy::Policy,
    quarantine::{Quarantined, find},
    readiness::{self, CheckResult, CheckStatus, Facts, Finding, Part, Readiness},
};

/// Unix seconds as the API's time.
pub fn time(seconds: i64) -> Time {
    Time(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
}

/// A checkpoint's readiness by what its status holds.
pub fn readiness(checkpoint: &RollbackCheckpoint, policy: &Policy, quarantine: &[Quarantined], now: i64) -> Readiness {
    let status = checkpoint.status.clone().unwrap_or_default();
    let unpinned = checkpoint.spec.images.iter().find(|image| image.digest().is_none());
    let mut images = checkpoint.spec.images.iter();
    let quarantined = images.find_map(|image| find(quarantine, &image.image));
    let looked = |part| readiness::after(&CheckResult::Pending, finding(&status.conditions, part).as_ref(), None);
    let facts = Facts {
        revoked: checkpoint.spec.revoked,
        unpinned: unpinned.map(|image| {
            format!(
                "image {} of container {} is not pinned by digest",
                image.image, image.container
            )
        }),
        quarantined: quarantined.map(|entry| {
            let Quarantined { incident, reason, .. } = entry;
            format!("an image of it is quarantined by incident {incident} ({reason})")
        }),
        certified: seconds(status.certified_at.as_ref()),
        image: looked(Part::ImageAvailable),
        artifacts: looked(Part::ArtifactsIntact),
        load: status.load_seconds,
        tested: seconds(status.tested_at.as_ref()),
    };
    readiness::judge(&facts, policy, now)
}

/// A time of the API in unix seconds.
pub fn seconds(at: Option<&Time>) -> Option<i64> {
    at.map(|at| at.0.as_second())
}

/// What a condition says of a part.
pub fn finding(conditions: &[Condition], part: Part) -> Option<Finding> {
    let condition = conditions.iter().find(|condition| condition.type_ == part.name())?;
    Some(Finding {
        standing: match condition.status.as_str() {
            "True" => CheckStatus::Holds,
            "False" => CheckStatus::Fails,
            _ => CheckStatus::Unknown,
        },
        reason: condition.reason.clone(),
        message: condition.message.clone(),
    })
}

/// What rollbacks took away, by the policy's status.
pub fn quarantine(policy: &QualityPolicy) -> Vec<Quarantined> {
    let entries = policy.status.iter().flat_map(|status| &status.quarantine);
    entries
        .map(|entry| Quarantined {
            image: entry.image.clone(),
            digest: entry.digest.clone(),
            incident: entry.incident.clone(),
            reason: entry.reason.clone(),
            since: entry.since.0.as_second(),
        })
        .collect()
}
