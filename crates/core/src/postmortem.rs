//! The postmortem of a rollback, as Markdown: what happened, by which evidence, what moved at the same time, what to do,
//! and what is not known. A function of its material alone: the same incident gives the same text.

use std::fmt::Write;

use jiff::Timestamp;

use crate::{
    format::{self, UNKNOWN},
    incident::{IncidentState, Trigger},
    judge::TriggerState,
};

/// Longer texts are cut: a status must stay small.
const MAX_BYTES: usize = 12 << 10;

/// A trigger's figures at one moment, printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The trigger's name.
    pub name: String,
    /// Where it stood.
    pub verdict: TriggerState,
    /// Its value, CI95 and limit.
    pub value: String,
    /// CI95.
    pub ci95: String,
    /// How many requests or samples.
    pub n: i64,
    /// The limit.
    pub limit: String,
}

/// One step of the incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineStep {
    /// Unix seconds.
    pub at: i64,
    /// The state that began.
    pub state: IncidentState,
    /// Why.
    pub message: String,
}

/// Something that the cluster told of the release's pods or of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterEvent {
    /// Unix seconds.
    pub at: i64,
    /// `Pod ranker-…`, `Node …`.
    pub about: String,
    /// CamelCase reason.
    pub reason: String,
    /// The message.
    pub message: String,
}

/// What a postmortem is made from.
#[derive(Clone, Debug)]
pub struct PostmortemInput<'a> {
    /// The incident's name.
    pub incident: &'a str,
    /// Its rollback run id: the incident's UID.
    pub rollback_run_id: &'a str,
    /// Namespace and Deployment.
    pub target: String,
    /// The policy.
    pub policy: &'a str,
    /// What gave the alarm.
    pub trigger: Trigger,
    /// The trigger in words, with its evidence.
    pub reason: &'a str,
    /// When the breach began, unix seconds.
    pub onset: i64,
    /// When the evidence reached its threshold, unix seconds.
    pub detected: i64,
    /// The steps, oldest first.
    pub steps: &'a [TimelineStep],
    /// Where the incident stands now.
    pub state: IncidentState,
    /// Images in breach and images restored: container, from, to.
    pub images: Vec<(String, String, String)>,
    /// The checkpoint.
    pub checkpoint: Option<&'a str>,
    /// Breach onset to recovered, and its objective, seconds.
    pub rto: (Option<i64>, i64),
    /// Last certification to breach onset, and its objective, seconds.
    pub rpo: (Option<i64>, i64),
    /// The triggers when the alarm was given.
    pub before: &'a [Signal],
    /// The triggers now.
    pub after: &'a [Signal],
    /// What the cluster told from ten minutes before the onset on; nothing where it could not be asked.
    pub events: Option<&'a [ClusterEvent]>,
    /// Rollbacks of this policy that recovered, and all that ended.
    pub recovered: (usize, usize),
}

/// The text.
pub fn markdown(material: &PostmortemInput<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# Postmortem of {}\n", material.incident);
    let _ = writeln!(
        text,
        "Deployment {}, policy {}, rollback_run_id {}, trigger {}.\n",
        material.target,
        material.policy,
        material.rollback_run_id,
        material.trigger.name()
    );
    let _ = writeln!(text, "## Cause\n\n{}\n", one_line(material.reason));
    timeline(&mut text, material);
    behaviour(&mut text, material);
    signals(&mut text, material);
    let _ = writeln!(text, "## Corrective actions\n");
    for action in actions(material) {
        let _ = writeln!(text, "- {action}");
    }
    let _ = writeln!(text, "\n## Not known\n");
    for gap in gaps(material) {
        let _ = writeln!(text, "- {gap}");
    }
    cut(text)
}

fn timeline(text: &mut String, material: &PostmortemInput<'_>) {
    let _ = writeln!(
        text,
        "## Timeline\n\n| time (UTC) | after onset | what |\n|---|---|---|"
    );
    let mut line = |at: i64, what: &str| {
        let time = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH);
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            time.strftime("%Y-%m-%d %H:%M:%S"),
            format::span(at - material.onset),
            cell(what)
        );
    };
    let (begin, detected) = match material.trigger {
        Trigger::Requested => ("a person asked for a rollback", "the request was taken up"),
        _ => ("the breach began", "the evidence reached its threshold"),
    };
    line(material.onset, begin);
    line(material.detected, detected);
    for step in material.steps {
        line(step.at, &format!("{}: {}", step.state.name(), step.message));
    }
    text.push('\n');
}

fn behaviour(text: &mut String, material: &PostmortemInput<'_>) {
    let _ = writeln!(text, "## Rollback behaviour\n");
    for (container, from, to) in &material.images {
        let _ = writeln!(text, "- {container}: {from} → {to}");
    }
    let _ = writeln!(text, "- checkpoint {}", material.checkpoint.unwrap_or(UNKNOWN));
    for (name, (seconds, objective)) in [("RTO", material.rto), ("RPO", material.rpo)] {
        let (shown, word) = match seconds {
            Some(seconds) if seconds <= objective => (format::span(seconds), "kept"),
            Some(seconds) => (format::span(seconds), "missed"),
            None => (UNKNOWN.to_owned(), "unsupported"),
        };
        let _ = writeln!(
            text,
            "- {name} {shown}, objective ≤ {}: {word}",
            format::span(objective)
        );
    }
    let (recovered, all) = material.recovered;
    let _ = writeln!(
        text,
        "- recovery success ratio of this policy: {recovered} of {all}{}\n",
        format::success_interval(recovered as u64, all as u64)
    );
}

fn signals(text: &mut String, material: &PostmortemInput<'_>) {
    let _ = writeln!(
        text,
        "## Signals\n\n| signal | limit | at detection | now |\n|---|---|---|---|"
    );
    for before in material.before {
        let after = material.after.iter().find(|after| after.name == before.name);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            before.name,
            before.limit,
            shown(before),
            after.map_or_else(|| UNKNOWN.to_owned(), shown)
        );
    }
    text.push('\n');
    if let Some(events) = material.events.filter(|events| !events.is_empty()) {
        let _ = writeln!(text, "Warnings of the cluster around the breach:\n");
        for event in events.iter().take(20) {
            let side = if event.at < material.onset { "before" } else { "after" };
            let _ = writeln!(
                text,
                "- {} {side} the onset, {}: {} {}",
                format::span((event.at - material.onset).abs()),
                event.about,
                event.reason,
                one_line(&event.message)
            );
        }
        text.push('\n');
    }
}

fn shown(signal: &Signal) -> String {
    if signal.n == 0 {
        return format!("{} ({})", UNKNOWN, signal.verdict.name());
    }
    format!(
        "{} (CI95 {}, n = {}), {}",
        signal.value,
        signal.ci95,
        format::thousands(signal.n as f64),
        signal.verdict.name()
    )
}

/// What to do, by rules that are written down here: each names what makes it apply.
pub fn actions(material: &PostmortemInput<'_>) -> Vec<String> {
    let mut actions = Vec::new();
    let moved = |name: &str| {
        material.before.iter().any(|signal| {
            signal.name == name && matches!(signal.verdict, TriggerState::Breach | TriggerState::Undetermined)
        })
    };
    actions.push(
        match material.trigger {
            Trigger::ErrorRate => "Error rate was the trigger: read the release's logs of failed requests before it is shipped again.",
            Trigger::Latency => "Latency was the trigger: profile the release (profiler_trace.json) and compare it with the checkpoint's by stage.",
            Trigger::Throughput => "Throughput was the trigger: look for a concurrency limit, a smaller batch or fewer workers in the release.",
            Trigger::Compliance => "Compliance was the trigger: run `quality-officer check --evidence RUN --baseline RUN` in the pipeline, so that such a release is not shipped.",
            Trigger::GpuUtilization | Trigger::GpuMemory => "GPU was the trigger: compare batch size and model size with the checkpoint's.",
            Trigger::Requested => "A person asked for the rollback: write down what they saw that no trigger showed, and whether an objective should show it.",
            Trigger::NoMetrics => "The release showed no metrics: check that it exports them under the names that the policy reads.",
        }
        .to_owned(),
    );
    if material.trigger != Trigger::Latency && moved("Latency") {
        actions.push("Latency moved at the same time: failed requests may be timeouts.".to_owned());
    }
    if moved("GpuMemory") || has_event(material, &["OOMKilling", "OOMKilled"]) {
        actions.push("Memory was short at the same time: check limits and the model's size.".to_owned());
    }
    if has_event(
        material,
        &[
            "NodeNotReady",
            "NodeHasDiskPressure",
            "NodeHasMemoryPressure",
            "Evicted",
        ],
    ) {
        actions.push("A node had trouble at the same time: the release may not be the cause.".to_owned());
    }
    if material.state == IncidentState::Ineffective {
        actions.push(
            "The checkpoint breached too: look at what both releases depend on (upstreams, nodes, traffic) before anything else."
                .to_owned(),
        );
    }
    if material.rto.0.is_some_and(|seconds| seconds > material.rto.1) {
        actions.push("RTO was missed: look at the time between the steps above; pull and load time dominate when RollingBack takes longest.".to_owned());
    }
    if material.rpo.0.is_some_and(|seconds| seconds > material.rpo.1) {
        actions.push("RPO was missed: the checkpoint had not been certified for longer than the objective.".to_owned());
    }
    actions
}

fn has_event(material: &PostmortemInput<'_>, reasons: &[&str]) -> bool {
    material
        .events
        .unwrap_or_default()
        .iter()
        .any(|event| reasons.contains(&event.reason.as_str()))
}

fn gaps(material: &PostmortemInput<'_>) -> Vec<String> {
    let mut gaps = Vec::new();
    for signal in material
        .before
        .iter()
        .filter(|signal| signal.verdict == TriggerState::Unknown)
    {
        gaps.push(format!("{} was not known when the alarm was given.", signal.name));
    }
    if material.events.is_none() {
        gaps.push("The cluster's Events could not be read.".to_owned());
    }
    if material.rto.0.is_none() {
        gaps.push("RTO: the release did not recover, or not yet.".to_owned());
    }
    gaps.push("Root cause: a person must say; the evidence shows what moved, not why.".to_owned());
    gaps
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_BYTES {
        text.truncate(text.floor_char_boundary(MAX_BYTES));
        text.push_str("\n\n(cut)\n");
    }
    text
}

#[cfg(test)]
#[path = "postmortem/tests.rs"]
mod tests;
