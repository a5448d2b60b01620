//! What a rollback stands on: a recorded intent, a checkpoint and a Deployment that were read right before it.

use std::time::Duration;

use quality_api::ROLLBACK_ANNOTATION;
use serde_json::Value;
use stage::proxy::Call;

use super::{Broken, Promise, Write, body};
use crate::api::{Target, verb};

/// What was read longer before the write is not read right before it.
const RIGHT_BEFORE: Duration = Duration::from_secs(10);

/// 2, 4, 10, 11 of one rollback.
pub fn on(write: &Write<'_>, calls: &[Call], broken: &mut Vec<Broken>) {
    let mark = write.annotation(ROLLBACK_ANNOTATION).unwrap_or_default();
    let before = &calls[..write.at];
    let creations: Vec<&Call> = before.iter().filter(|call| creates(call, mark)).collect();
    if !mark.starts_with("drill/") && !creations.iter().any(|call| recorded(call)) {
        let answers: Vec<_> = creations.iter().map(|call| &call.delivered).collect();
        let what = format!("{} for {mark}, which is not recorded: {answers:?}", write.word());
        broken.push(Broken::new(Promise::IntentFirst, what));
    }
    let latest = |resource: &str| {
        let read = before.iter().rev().find(|call| is_read(call, write, resource));
        read.map(|call| body(&call.answer))
    };
    let images = write.body.pointer("/spec/template/spec/containers");
    let images: Vec<&Value> = images.and_then(Value::as_array).into_iter().flatten().collect();
    safe_target(&images, latest("rollbackcheckpoints").as_ref(), broken);
    let Some(deployment) = latest("deployments") else {
        let what = "the Deployment was not read right before the write";
        return broken.push(Broken::new(Promise::Fenced, what));
    };
    for field in ["uid", "resourceVersion"] {
        let sent = write.body.pointer(&format!("/metadata/{field}"));
        if sent.is_none() || sent != deployment.pointer(&format!("/metadata/{field}")) {
            let what = format!("the rollback is not fenced by the {field} that was read");
            broken.push(Broken::new(Promise::Fenced, what));
        }
    }
    let judged = before.iter().find_map(|call| judged_revision(call, mark));
    let annotations = deployment.pointer("/metadata/annotations");
    let found = annotations.and_then(|annotations| annotations.get("deployment.kubernetes.io/revision"));
    if let Some(judged) = judged
        && found.and_then(Value::as_str) != Some(&judged)
    {
        let what = format!("revision {judged} was judged, {found:?} is rolled back");
        broken.push(Broken::new(Promise::NewerChange, what));
    }
}

/// Whether this creates the incident of this name.
fn creates(call: &Call, mark: &str) -> bool {
    let target = Target::of(&call.path);
    target.is_some_and(|target| target.resource == "qualityincidents" && target.subresource.is_empty())
        && verb(&call.method, &call.path) == "create"
        && body(&call.body)
            .pointer("/metadata/name")
            .is_some_and(|name| name == mark)
}

/// Whether an incident is recorded by its creation, or was before, or may be.
fn recorded(creation: &Call) -> bool {
    let there = |status: &u16| [201, 409].contains(status);
    creation.delivered.iter().any(there) || creation.unanswered > 0
}

/// Whether this reads an object of the kind anew, in the life that writes, right before the write.
fn is_read(call: &Call, write: &Write<'_>, resource: &str) -> bool {
    let target = Target::of(&call.path);
    call.life == write.call.life
        && verb(&call.method, &call.path) == "get"
        && !call.path.contains("resourceVersion=")
        && call.delivered.last() == Some(&200)
        && write.call.at.duration_since(call.at) < RIGHT_BEFORE
        && target.is_some_and(|target| target.resource == resource && target.subresource.is_empty())
}

fn safe_target(images: &[&Value], checkpoint: Option<&Value>, broken: &mut Vec<Broken>) {
    let mut breaks = |what: String| broken.push(Broken::new(Promise::SafeTarget, what));
    let pinned = |image: &&Value| image["image"].as_str().is_some_and(|image| image.contains("@sha256:"));
    if images.is_empty() || !images.iter().all(pinned) {
        breaks(format!("{images:?} are not pinned by digest"));
    }
    let Some(checkpoint) = checkpoint else {
        return breaks("the checkpoint was not read right before the write".to_owned());
    };
    let registered = checkpoint.pointer("/spec/images").and_then(Value::as_array);
    let registered = registered.map(Vec::as_slice).unwrap_or_default();
    let same = |image: &&Value| {
        let mut known = registered.iter();
        known.any(|known| known["image"] == image["image"] && known["container"] == image["name"])
    };
    let revoked = checkpoint.pointer("/spec/revoked") == Some(&Value::Bool(true));
    let deleted = checkpoint.pointer("/metadata/deletionTimestamp").is_some();
    if revoked || deleted || !images.iter().all(same) {
        breaks(format!("{images:?} are not those of checkpoint {checkpoint}"));
    }
}

/// The revision that the incident of this name is about, where this call creates it.
fn judged_revision(call: &Call, mark: &str) -> Option<String> {
    let sent = call.path.contains("/qualityincidents").then(|| body(&call.body))?;
    let is_it = sent.pointer("/metadata/name").is_some_and(|name| name == mark);
    let revision = sent.pointer("/spec/revision").filter(|_| is_it)?;
    revision.as_str().map(str::to_owned)
}
