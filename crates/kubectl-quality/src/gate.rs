//! The gate for on-call: what it says and how to get through, and the release of an image from quarantine.

use std::{fmt::Write, time::Duration};

use kube::ResourceExt;
use serde_json::json;

use super::{
    Cluster, PluginError,
    print::table::{or_dash, wrapped},
};
use quality_api::{
    BREAK_GLASS_ANNOTATION, FIXES_ANNOTATION, GateMode, GateState, GateStatus, QualityPolicy, QuarantinedImage,
    RELEASE_ANNOTATION, view,
};
use quality_core::{
    gate::Reason,
    incident::short,
    quarantine::{ImageRelease, Quarantined},
};

/// How long the operator is given to answer a wish for a release.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the gate of a policy says, why, and how to get through.
pub fn explain(policy: &QualityPolicy) -> String {
    let status = policy.status.clone().unwrap_or_default();
    let mut text = match &status.gate {
        None => "Gate: no operator has said anything yet, so nothing is held.\n".to_owned(),
        Some(gate) => stands(policy, gate),
    };
    match policy.spec.gate.mode {
        GateMode::Enforce => {}
        GateMode::Warn => text.push_str("  mode Warn: what it speaks against is let in with a warning\n"),
        GateMode::Off => text.push_str("  mode Off: nothing is held and nothing is kept out\n"),
    }
    for image in &status.quarantine {
        let _ = writeln!(
            text,
            "  kept out since {}: {} (incident {}, {})\n    release it with: kubectl quality release {} --image {}",
            image.since.0.strftime("%Y-%m-%d %H:%M UTC"),
            image.image,
            image.incident,
            image.reason,
            policy.name_any(),
            name(image)
        );
    }
    text
}

fn stands(policy: &QualityPolicy, gate: &GateStatus) -> String {
    let state = match gate.state {
        GateState::Open => "OPEN",
        GateState::Closed => "CLOSED",
    };
    let since = gate.since.0.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut text = format!("Gate {state} since {since}, {}\n", gate.reason);
    text.push_str(&wrapped(&gate.message));
    if gate.state == GateState::Open {
        return text;
    }
    text.push_str(&wrapped(&ready(policy, gate)));
    if let Some(incident) = &gate.incident {
        text.push_str(&wrapped(&format!(
            "its fix passes with the annotation {FIXES_ANNOTATION}={incident} on the Deployment, in the same change"
        )));
    }
    let targets: Vec<&str> = gate
        .rollback_targets
        .iter()
        .map(|target| target.checkpoint.as_str())
        .collect();
    if !targets.is_empty() {
        text.push_str(&wrapped(&format!(
            "a return to the images of a checkpoint passes: {}",
            targets.join(", ")
        )));
    }
    text.push_str(&wrapped(&format!(
        "break-glass passes: a new {BREAK_GLASS_ANNOTATION}=\"reason\" in the same change, with the verb bypass on this policy"
    )));
    text
}

/// What opens the gate.
fn ready(policy: &QualityPolicy, gate: &GateStatus) -> String {
    let policy = policy.name_any();
    if gate.reason == Reason::SlosFailing.name() {
        "it opens when the incident ends: recovered, resolved, or superseded by a fix".to_owned()
    } else if gate.reason == Reason::DrillFailed.name() {
        format!("it opens when a drill passes: kubectl quality drill {policy}")
    } else {
        "it opens when the checkpoint is Ready again, or once the release that runs is registered: kubectl quality checkpoints says what is missing"
            .to_owned()
    }
}

fn name(image: &QuarantinedImage) -> String {
    image
        .digest
        .as_deref()
        .map_or_else(|| image.image.clone(), |digest| short(&format!("@{digest}")))
}

impl Cluster {
    /// Releases an image from quarantine: asks the operator by an annotation, and says what it answered.
    pub async fn release(&self, name: &str, image: &str) -> Result<String, PluginError> {
        let policy: QualityPolicy = self.get(name).await?;
        let quarantine = view::quarantine(&policy);
        let wish = ImageRelease { image, incident: None };
        let meant: Vec<&Quarantined> = quarantine.iter().filter(|entry| wish.means(entry)).collect();
        let Some(first) = meant.first() else {
            let known: Vec<&str> = quarantine.iter().map(|entry| entry.image.as_str()).collect();
            return Err(PluginError::NotQuarantined(
                image.to_owned(),
                or_dash(&known.join(", ")),
            ));
        };
        if meant
            .iter()
            .any(|other| other.digest != first.digest || other.image != first.image && other.digest.is_none())
        {
            let known: Vec<&str> = meant.iter().filter_map(|entry| entry.digest.as_deref()).collect();
            return Err(PluginError::Ambiguous(image.to_owned(), known.join(", ")));
        }
        // The newest incident makes the wish a new one, also for an image that was released before.
        let newest = meant.last().map_or("", |entry| entry.incident.as_str());
        let whole = first.digest.as_deref().unwrap_or(&first.image);
        let request = if meant.len() == 1 {
            format!("{whole} {newest}")
        } else {
            whole.to_owned()
        };
        let patch = json!({"metadata": {
            "uid": policy.metadata.uid, "annotations": {RELEASE_ANNOTATION: request},
        }});
        self.patch::<QualityPolicy>(name, &patch).await?;
        let asked = std::time::Instant::now();
        while asked.elapsed() < PATIENCE {
            let policy: QualityPolicy = self.get(name).await?;
            let answer = policy.status.and_then(|status| status.release_answer);
            if let Some(answer) = answer.filter(|answer| answer.request == request) {
                return Ok(answer.message);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(format!(
            "asked for; no operator has answered within {} s: it is released once one does",
            PATIENCE.as_secs()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(status: &serde_json::Value) -> QualityPolicy {
        serde_json::from_value(json!({
            "apiVersion": "quality-officer.dev/v1alpha1", "kind": "QualityPolicy", "metadata": {"name": "ranker"},
            "spec": {"targetRef": {"name": "ranker"}}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_closed_gate_says_why_what_opens_it_and_what_passes() {
        let text = explain(&policy(&json!({
            "gate": {
                "state": "Closed", "reason": "SLOsFailing", "since": "2026-11-24T14:32:15Z", "incident": "ranker-7f3c9",
                "message": "incident ranker-7f3c9 is open: error rate 3.1 %",
                "rollbackTargets": [{"checkpoint": "ranker-20261123-1", "images": []}],
            },
            "quarantine": [{
                "image": "repo/ranker:v2", "digest": format!("sha256:9be1{}", "0".repeat(60)),
                "incident": "ranker-1", "reason": "error rate 3.10%", "since": "2026-11-23T14:32:15Z",
            }],
        })));
        for part in [
            "Gate CLOSED since 2026-11-24 14:32:15 UTC, SLOsFailing\n",
            "- it opens when the incident ends",
            "quality-officer.dev/fixes=ranker-7f3c9",
            "a return to the images of a checkpoint passes: ranker-20261123-1",
            "break-glass",
            "kept out since 2026-11-23 14:32 UTC: repo/ranker:v2 (incident ranker-1, error rate 3.10%)",
            "kubectl quality release ranker --image sha256:9be1…",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn an_open_gate_and_one_without_a_word_hold_nothing() {
        let open = json!({"gate": {"state": "Open", "reason": "NoCheckpointYet", "since": "2026-11-24T14:32:15Z", "message": "nothing yet"}});
        let text = explain(&policy(&open));
        assert_eq!(
            text,
            "Gate OPEN since 2026-11-24 14:32:15 UTC, NoCheckpointYet\n- nothing yet\n"
        );
        assert!(explain(&policy(&json!({}))).contains("nothing is held"));
    }
}
