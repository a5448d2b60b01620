//! What a check prints, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Outcome;
use quality_api::{QualityRow, SloRow};
use quality_core::{
    judge::{State, TriggerVerdict},
    quality::Row,
    slo::Health,
};

impl Outcome {
    /// The exit code: 0 HEALTHY, 3 CAUTION, 4 BREACH. 1 and 2 are for what could not be judged.
    pub fn exit_code(&self) -> u8 {
        match self.health {
            Health::Healthy => 0,
            Health::Caution => 3,
            Health::Breach => 4,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "Policy {}: {}", self.policy, self.health.name());
        let _ = writeln!(text, "\nSLOs ({} passing)", self.report.slos());
        for slo in &self.report.summary {
            let _ = writeln!(
                text,
                "  {:<13} {:<14} {} (target {}) [{}]",
                slo.standing.name(),
                slo.name,
                slo.current,
                slo.target,
                slo.evidence
            );
        }
        for trigger in &self.report.triggers {
            let _ = writeln!(text, "  {:<13} {}", trigger.state.kind().name(), standing(trigger));
        }
        let mut section = "";
        for row in &self.report.rows {
            if row.section.name() != section {
                section = row.section.name();
                let _ = writeln!(text, "\n{section}");
            }
            let _ = writeln!(text, "{}", line(row));
        }
        for (title, lines) in [("Findings", &self.report.findings), ("Notes", &self.report.notes)] {
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{title}");
            }
            for line in lines {
                let _ = writeln!(text, "  - {line}");
            }
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "policy": self.policy,
            "verdict": self.health.name(),
            "slos": self.report.slos(),
            "sloSummary": self.report.summary.iter().map(SloRow::from).collect::<Vec<_>>(),
            "triggers": self.report.triggers.iter().map(crate::controllers::build::trigger_status).collect::<Vec<_>>(),
            "quality": self.report.rows.iter().map(QualityRow::from).collect::<Vec<_>>(),
            "findings": self.report.findings,
            "notes": self.report.notes,
        })
    }
}

/// A trigger with its evidence, whichever side of its limit it is on.
fn standing(trigger: &TriggerVerdict) -> String {
    if let State::Unknown(unknown) = trigger.state {
        let mut text = format!("{}: {}", trigger.trigger.words(), unknown.reason());
        if !trigger.note.is_empty() {
            let _ = write!(text, ", {}", trigger.note);
        }
        return text;
    }
    let (figures, (evidence, needs)) = (trigger.figures(), trigger.evidence());
    let mut text = format!(
        "{} {}, limit {}; evidence {evidence}, needs {needs}",
        trigger.trigger.words(),
        figures.text(),
        figures.limit
    );
    if !trigger.note.is_empty() {
        let _ = write!(text, "; {}", trigger.note);
    }
    text
}

fn line(row: &Row) -> String {
    let mut line = format!("  {:<13} {:<24} {}", row.standing.name(), row.name, row.current_text());
    if row.change.is_some() {
        let _ = write!(line, ", Δ {}", row.change_text());
    }
    if !row.target.is_empty() {
        let _ = write!(line, " (target {})", row.target);
    }
    if !row.note.is_empty() {
        let _ = write!(line, "; {}", row.note);
    }
    let _ = write!(line, " [{}]", row.evidence);
    line
}
