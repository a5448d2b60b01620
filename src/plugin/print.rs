//! What the plugin prints: tables that fit a terminal, and the strict report. Functions of the objects alone.

use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;

use crate::{
    api::{QualityIncident, QualityPolicy, QualityReport, QualityReportStatus, RollbackCheckpoint, TriggerStatus},
    core::{incident::digest, report::strict, words::UNKNOWN},
};

/// A terminal's width.
const WIDTH: usize = 100;

/// Rows under their heads, each column as wide as it needs, the last one cut at the terminal's edge.
fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .chain([heads[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(
                line,
                "{cell}{}   ",
                " ".repeat(width.saturating_sub(cell.chars().count()))
            );
        }
        let line = line.trim_end();
        if line.chars().count() > WIDTH {
            let cut: String = line.chars().take(WIDTH - 1).collect();
            let _ = writeln!(text, "{cut}…");
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() {
        UNKNOWN.to_owned()
    } else {
        text.to_owned()
    }
}

/// One report for a terminal: the verdict, the SLOs, what to know.
pub fn report(report: &QualityReport) -> String {
    let status = report.status.clone().unwrap_or_default();
    let namespace = report.namespace().unwrap_or_default();
    let mut text = format!(
        "{namespace}/{}: {}   SLOs {}   rollback {}\n\n",
        report.name_any(),
        or_dash(&status.verdict),
        or_dash(&status.slos),
        or_dash(&status.rollback)
    );
    let rows: Vec<Vec<String>> = status
        .slo_summary
        .iter()
        .map(|slo| {
            vec![
                slo.slo.clone(),
                slo.status.clone(),
                slo.target.clone(),
                slo.current.clone(),
            ]
        })
        .collect();
    text.push_str(&table(&["SLO", "STATUS", "TARGET", "CURRENT"], &rows));
    if !status.findings.is_empty() {
        text.push_str("\nFindings\n");
        for finding in &status.findings {
            text.push_str(&wrapped(finding));
        }
    }
    let _ = write!(text, "\n{}\n", status.last_line);
    text
}

/// A bullet, broken at the terminal's edge.
pub(super) fn wrapped(sentence: &str) -> String {
    let mut text = String::new();
    let mut line = String::from("-");
    for word in sentence.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line.chars().count() > 2 {
            text.push_str(&line);
            text.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
    text
}

/// The strict report, Markdown.
pub fn markdown(report: &QualityReport) -> String {
    let status: QualityReportStatus = report.status.clone().unwrap_or_default();
    let written = status.updated_at.as_ref().map(|at| at.0.to_string());
    let title = format!(
        "{}/{}, {}",
        report.namespace().unwrap_or_default(),
        report.name_any(),
        written.as_deref().unwrap_or("not written yet")
    );
    strict::markdown(&title, &status.sections, &status.last_line)
}

/// Incidents, newest first.
pub fn incidents(incidents: &[QualityIncident]) -> String {
    let mut sorted: Vec<&QualityIncident> = incidents.iter().collect();
    sorted.sort_by_key(|incident| std::cmp::Reverse(incident.spec.onset.0));
    let rows: Vec<Vec<String>> = sorted
        .iter()
        .map(|incident| {
            let status = incident.status.clone().unwrap_or_default();
            vec![
                incident.name_any(),
                incident.spec.trigger.name().to_owned(),
                status.state.name().to_owned(),
                incident.spec.onset.0.strftime("%Y-%m-%d %H:%M:%S").to_string(),
                status.rto.unwrap_or_else(|| UNKNOWN.to_owned()),
                status.rpo.unwrap_or_else(|| UNKNOWN.to_owned()),
                incident.spec.reason.clone(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "No incident.\n".to_owned();
    }
    table(
        &["INCIDENT", "TRIGGER", "STATE", "ONSET (UTC)", "RTO", "RPO", "REASON"],
        &rows,
    )
}

/// Checkpoints.
pub fn checkpoints(checkpoints: &[RollbackCheckpoint]) -> String {
    let rows: Vec<Vec<String>> = checkpoints
        .iter()
        .map(|checkpoint| {
            let status = checkpoint.status.clone().unwrap_or_default();
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            let image = checkpoint.spec.images.first().and_then(|image| digest(&image.image));
            vec![
                checkpoint.name_any(),
                checkpoint.spec.target_ref.name.clone(),
                image.map_or_else(|| UNKNOWN.to_owned(), |digest| digest[..19].to_owned()),
                ready.map_or_else(|| UNKNOWN.to_owned(), |ready| ready.status.clone()),
                ready.map_or_else(|| UNKNOWN.to_owned(), |ready| ready.message.clone()),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "No checkpoint: a release is registered once it has been healthy for a while.\n".to_owned();
    }
    table(&["CHECKPOINT", "TARGET", "DIGEST", "READY", "WHY"], &rows)
}

/// Why a policy's verdict is what it is: each trigger with its evidence, and what would change it.
pub fn explain(policy: &QualityPolicy) -> String {
    let status = policy.status.clone().unwrap_or_default();
    let mut text = String::new();
    // The gate was told above.
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
    text.push_str(&super::gate::explain(policy));
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
        trigger.verdict.to_uppercase(),
        since.unwrap_or_default(),
        trigger.evidence,
        trigger.needs
    );
    if trigger.n > 0 {
        let _ = writeln!(
            text,
            "  now {} (CI95 {}, n = {}), limit {}",
            trigger.value, trigger.ci95, trigger.n, trigger.limit
        );
    } else {
        let _ = writeln!(text, "  not known: {}", or_dash(&trigger.reason));
    }
    if trigger.design_effect != UNKNOWN && trigger.n > 0 {
        let source = if blocks == 0 {
            "the cautious start value: this service has no history yet".to_owned()
        } else {
            format!("from {blocks} blocks of 5 minutes of this service")
        };
        let _ = writeln!(text, "  design effect {}, {source}", trigger.design_effect);
    }
    if trigger.verdict == "Breach" && trigger.design_effect != UNKNOWN {
        let _ = writeln!(
            text,
            "  why it acts: at most {rate} of healthy releases reach this evidence within {per}"
        );
    }
    if !trigger.note.is_empty() {
        let _ = writeln!(text, "  {}", trigger.note);
    }
    text
}

#[cfg(test)]
#[path = "print/tests.rs"]
mod tests;
