//! The summary, the verdict with its actions, and the last line.

use super::{FullReport, MAX_WORDS, ReportSection, questions::questions, section, tables::time};
use crate::{
    format::UNKNOWN,
    incident::IncidentState,
    report::Slo,
    slo::{Health, SloStatus},
};

fn slo<'a>(full: &'a FullReport<'_>, name: &str) -> Option<&'a Slo> {
    full.report.summary.iter().find(|slo| slo.name == name)
}

fn line(full: &FullReport<'_>, name: &str) -> String {
    slo(full, name).map_or_else(
        || format!("{name}: {UNKNOWN}, unsupported."),
        |slo| {
            format!(
                "{name}: {}, target {}, {}.",
                slo.current,
                slo.target,
                slo.standing.name()
            )
        },
    )
}

pub(super) fn summary(full: &FullReport<'_>) -> ReportSection {
    let rollback_path = match &full.report.rollback {
        Ok(checkpoint) => format!("Rollback: READY, checkpoint {checkpoint}."),
        Err(reason) => format!("Rollback: AT RISK, {reason}."),
    };
    let mut text = vec![
        format!(
            "{}: {}, {} SLOs passing.",
            full.subject,
            full.report.health.name(),
            full.report.slos()
        ),
        line(full, "Compliance@1"),
        line(full, "P95 Latency"),
        line(full, "Throughput"),
        line(full, "Error Rate"),
        rollback_path,
    ];
    if full.report.findings.is_empty() {
        text.push("Detected issues: none.".to_owned());
    } else {
        text.push(format!("Detected issues: {}.", full.report.findings.join("; ")));
    }
    let mut section = section(1, "Quality & Safety Summary", &[], Vec::new());
    section.text = at_most(&text.join(" "), MAX_WORDS);
    section
}

/// The first words of a text; what is cut is said.
fn at_most(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.len() <= most {
        return words.join(" ");
    }
    format!("{} … (cut; the sections below say all)", words[..most - 7].join(" "))
}

pub(super) fn action(full: &FullReport<'_>) -> ReportSection {
    let report = full.report;
    let run = full.run.map_or_else(|| "no run".to_owned(), |run| format!("run {run}"));
    let verdict = |name| slo(full, name).map_or(SloStatus::Unsupported.name(), |slo| slo.standing.name());
    let open = full.incidents.iter().filter(|past| !past.state.is_closed());
    let escalation: Vec<String> = open
        .map(|past| format!("{} is {} since {}", past.name, past.state.name(), time(past.opened)))
        .collect();
    let mut lines = vec![
        format!(
            "- Overall Health: {} ({} SLOs passing)",
            report.health.name(),
            report.slos()
        ),
        format!("- Compliance: {} ({run})", verdict("Compliance@1")),
        format!("- Latency: {} (metrics {})", verdict("P95 Latency"), full.metrics),
        format!(
            "- Rollback: {}",
            match &report.rollback {
                Ok(checkpoint) => format!("READY (checkpoint {checkpoint})"),
                Err(reason) => format!("AT RISK ({reason})"),
            }
        ),
    ];
    lines.push("- Recommended Actions:".to_owned());
    lines.extend(actions(full).iter().map(|action| format!("  - {action}")));
    lines.push(format!(
        "- Escalation: {}",
        if escalation.is_empty() {
            "none".to_owned()
        } else {
            escalation.join("; ")
        }
    ));
    lines.push(format!("- Next Review: {}", time(full.review)));
    let questions = questions(full);
    lines.push("- Questions to the Ops Commander:".to_owned());
    if questions.is_empty() {
        lines.push("  - none".to_owned());
    }
    lines.extend(questions.iter().map(|question| format!("  - {question}")));
    let mut section = section(13, "Final Verdict & Action", &[], Vec::new());
    section.text = lines.join("\n");
    section
}

fn actions(full: &FullReport<'_>) -> Vec<String> {
    let mut actions = Vec::new();
    for past in full.incidents.iter().filter(|past| !past.state.is_closed()) {
        actions.push(match past.state {
            IncidentState::AwaitingApproval => format!("decide on {}: approve it, or ship a fix", past.name),
            IncidentState::Halted => format!(
                "decide on {}: a second rollback within the cooldown waits for a person",
                past.name
            ),
            IncidentState::NoSafeTarget => format!(
                "{}: register a checkpoint or ship a fix: there is no verified checkpoint to roll back to",
                past.name
            ),
            IncidentState::Ineffective => format!(
                "{}: look at what both releases depend on: the checkpoint breaches too",
                past.name
            ),
            IncidentState::Refused => format!(
                "{}: mend what refuses the rollback; it is tried again each minute",
                past.name
            ),
            IncidentState::Observed => format!("{}: ship a fix; the policy only observes", past.name),
            _ => format!("follow {} until it is closed", past.name),
        });
    }
    if full.report.rollback.is_err() {
        actions.push("make a rollback target ready before the next release".to_owned());
    }
    if let Some(evidence) = full.report.evidence.as_ref().filter(|evidence| !evidence.usable) {
        actions.push(format!("make the evaluation evidence readable: {}", evidence.message));
    }
    actions.extend(
        full.report
            .summary
            .iter()
            .filter(|slo| slo.standing == SloStatus::Failing)
            .map(|slo| format!("{} misses its target {}", slo.name, slo.target)),
    );
    if actions.is_empty() {
        actions.push("none".to_owned());
    }
    actions
}

pub(super) fn last_line(full: &FullReport<'_>) -> String {
    let report = full.report;
    let missing = report
        .summary
        .iter()
        .filter(|slo| slo.standing != SloStatus::Passing)
        .count();
    let slos = if missing == 0 {
        "PASSING".to_owned()
    } else {
        format!("{missing}/{} FAILING", report.summary.len())
    };
    let under_way = full
        .incidents
        .iter()
        .any(|past| matches!(past.state, IncidentState::RollingBack | IncidentState::Verifying));
    let system = if under_way {
        "EMERGENCY ROLLBACK TRIGGERED"
    } else if report.health == Health::Healthy {
        "SAFE TO PROCEED"
    } else {
        "REQUIRES ATTENTION"
    };
    let traceable = if full.is_traceable() {
        "Evidence traceable to MLflow runs"
    } else {
        "Evidence not traceable to MLflow runs"
    };
    format!(
        "Quality & Safety Officer Final Verdict: {} — All SLOs {slos}, Rollback {}, {traceable}, system {system}.",
        report.health.name(),
        report.rollback_word()
    )
}
