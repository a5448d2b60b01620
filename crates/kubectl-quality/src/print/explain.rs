//! Why a verdict is what it is.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::table::{folded, or_dash, wrapped};
use crate::gate;
use quality_api::{QualityPolicy, TriggerState, TriggerStatus};
use quality_core::format::thousands;

/// Why a policy's verdict is what it is: each trigger with its evidence, and what would change it.
pub fn explain(policy: &QualityPolicy) -> String {
    let status = policy.status.clone().unwrap_or_default();
    let mut text = String::new();
    // The gate is told below.
    let told = |condition: &&Condition| condition.status != "True" && condition.type_ != "GateOpen";
    for condition in status.conditions.iter().filter(told) {
        text.push_str(&wrapped(&format!(
            "{} is {}, {}: {}",
            condition.type_, condition.status, condition.reason, condition.message
        )));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&gate::explain(policy));
    text.push('\n');
    if status.triggers.is_empty() {
        text.push_str("Nothing is judged now.\n");
        return text;
    }
    let rate = policy.spec.judgement.false_rollback_rate.as_str();
    let per = policy.spec.judgement.per.as_str();
    let blocks = status
        .release
        .as_ref()
        .map_or(0, |release| release.design_effects.blocks);
    for trigger in &status.triggers {
        text.push_str(&explained(trigger, rate, per, blocks));
    }
    text
}

fn explained(trigger: &TriggerStatus, rate: &str, per: &str, blocks: i32) -> String {
    let since = trigger
        .since
        .as_ref()
        .map(|at| format!(" since {}", at.0.strftime("%H:%M:%S UTC")));
    let mut text = format!(
        "{:<15} {}{}   evidence {}, acts at {}\n",
        trigger.name,
        trigger.verdict.name().to_uppercase(),
        since.unwrap_or_default(),
        trigger.evidence,
        trigger.needs
    );
    if trigger.n > 0 {
        let _ = writeln!(
            text,
            "  now {} (CI95 {}, n = {}), limit {}",
            trigger.value,
            trigger.ci95,
            thousands(trigger.n as f64),
            trigger.limit
        );
    } else {
        let _ = writeln!(text, "  not known: {}", or_dash(&trigger.reason));
    }
    let is_streaming = matches!(trigger.name.as_str(), "ErrorRate" | "Latency" | "Throughput");
    if is_streaming && trigger.n > 0 {
        let source = if blocks == 0 {
            "the cautious start value: this service has no history yet".to_owned()
        } else {
            format!("from {blocks} blocks of 5 minutes of this service")
        };
        let _ = writeln!(text, "  design effect {}, {source}", trigger.design_effect);
    }
    if trigger.verdict == TriggerState::Breach && is_streaming {
        let _ = writeln!(
            text,
            "  why it acts: at most {rate} of healthy releases reach this evidence within {per}"
        );
    }
    if !trigger.note.is_empty() {
        text.push_str(&folded(&trigger.note, "  ", "  "));
    }
    text.push_str(&folded(&change(trigger), "  what would change it: ", "  "));
    text
}

/// What would change a verdict.
fn change(trigger: &TriggerStatus) -> String {
    let by_run = trigger.name == "Compliance";
    match trigger.verdict {
        TriggerState::Healthy if by_run => "another evaluation of the run, or another release".to_owned(),
        TriggerState::Healthy if trigger.name == "Throughput" => format!(
            "fewer than {} while requests wait, until the evidence grows from {} to {}",
            trigger.limit, trigger.evidence, trigger.needs
        ),
        TriggerState::Healthy => format!(
            "more than {} until the evidence grows from {} to {}",
            trigger.limit, trigger.evidence, trigger.needs
        ),
        TriggerState::Breach if by_run => "a release whose run compares better".to_owned(),
        TriggerState::Breach => format!(
            "new requests within {}, of this release or of another one",
            trigger.limit
        ),
        TriggerState::Undetermined => format!(
            "more requests: of {} it cannot be told yet on which side of {} it is",
            trigger.value, trigger.limit
        ),
        TriggerState::Unknown if by_run => {
            "evidence of the run, and of a checkpoint's run to compare it with".to_owned()
        }
        TriggerState::Unknown => {
            "a usable answer of the metrics source; until then nothing is decided on it".to_owned()
        }
    }
}
