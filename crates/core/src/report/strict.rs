//! The strict report: thirteen sections in their order, with their columns and rows, and the last line. Data for the
//! API; [`markdown`] prints it. A function of its material alone: the same evidence gives the same bytes.

mod checklist;
mod markdown;
mod questions;
mod tables;
mod verdict;

use serde::{Deserialize, Serialize};

pub use markdown::markdown;
pub use questions::questions;

use super::{PastIncident, Rehearsal, Report};
use crate::{drill::DrillResult, incident::IncidentState, policy::Policy, quality::Row};
use quality_stats::{Estimate, Method, proportion::clopper_pearson, recovery::typical_time};

/// Longer sections are cut: a status must stay small.
pub const MAX_ROWS: usize = 40;
/// The summary's words.
pub const MAX_WORDS: usize = 250;

/// One section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReportSection {
    /// 1 to 13.
    pub number: i32,
    /// Its heading.
    pub title: String,
    /// What stands before its table, Markdown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The heads of its columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Its rows, a cell a column.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Vec<String>>,
}

/// One line of Rollback Readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadinessLines {
    /// Checkpoint Integrity, Checkpoint Age, Load Time, Rollback Path Tested.
    pub component: &'static str,
    /// `READY`, `AT RISK` or `unsupported`.
    pub status: String,
    /// When it was tested last.
    pub last_test: String,
    /// What came out.
    pub result: String,
    /// Where that is recorded.
    pub evidence: String,
}

/// How recoveries went: of rollbacks and drills.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// RTO in minutes: the typical time with its interval, and whether every one kept the objective.
    pub rto: Option<(Estimate, bool)>,
    /// RPO in minutes, likewise.
    pub rpo: Option<(Estimate, bool)>,
    /// Share that succeeded.
    pub success: Option<Estimate>,
    /// Where they are recorded.
    pub evidence: String,
}

/// What the strict report is made from.
pub struct FullReport<'a> {
    /// `namespace/policy`.
    pub subject: &'a str,
    /// The judgement.
    pub report: &'a Report,
    /// The objectives.
    pub policy: &'a Policy,
    /// The rollback path.
    pub readiness: &'a [ReadinessLines],
    /// The incidents, oldest first.
    pub incidents: &'a [PastIncident],
    /// How recoveries went.
    pub recovery: &'a Recovery,
    /// The release's run.
    pub run: Option<&'a str>,
    /// Where metrics come from: `source/preset`.
    pub metrics: &'a str,
    /// The next review, unix seconds.
    pub review: i64,
    /// Now, unix seconds.
    pub now: i64,
}

impl FullReport<'_> {
    fn row(&self, name: &str) -> Option<&Row> {
        self.report.rows.iter().find(|row| row.name == name)
    }

    fn metrics_evidence(&self) -> String {
        format!("metrics {}", self.metrics)
    }

    /// Whether some judgement on evaluation evidence carries a claim.
    fn is_traceable(&self) -> bool {
        self.report.rows.iter().any(|row| row.evidence.contains('#'))
    }
}

/// The thirteen sections.
pub fn sections(full: &FullReport<'_>) -> Vec<ReportSection> {
    let mut sections = vec![
        verdict::summary(full),
        tables::compliance(full),
        tables::drift(full),
        tables::latency(full),
        tables::resources(full),
        tables::bottlenecks(full),
        tables::readiness(full),
        tables::triggers(full),
        tables::recovery(full),
        tables::incidents(full),
        checklist::checklist(full),
        tables::slos(full),
        verdict::action(full),
    ];
    for section in &mut sections {
        section.rows.truncate(MAX_ROWS);
    }
    sections
}

/// Recoveries of the incidents that were rolled back, and of the drills that were not aborted.
pub fn recovery(policy: &Policy, incidents: &[PastIncident], drills: &[Rehearsal]) -> Recovery {
    let ended: Vec<&PastIncident> = incidents
        .iter()
        .filter(|past| matches!(past.state, IncidentState::Recovered | IncidentState::Ineffective))
        .collect();
    let rehearsed: Vec<&Rehearsal> = drills
        .iter()
        .filter(|drill| drill.result != DrillResult::Aborted)
        .collect();
    let time = |objective: i64, of_past: fn(&PastIncident) -> Option<i64>, of_drill: fn(&Rehearsal) -> Option<i64>| {
        let mut runs: Vec<(i64, i64)> = incidents
            .iter()
            .filter_map(|past| Some((past.opened, of_past(past)?)))
            .chain(rehearsed.iter().filter_map(|drill| Some((drill.at, of_drill(drill)?))))
            .collect();
        runs.sort_by_key(|(at, _)| *at);
        let minutes: Vec<f64> = runs
            .iter()
            .map(|(_, seconds)| (*seconds).max(1) as f64 / 60.0)
            .collect();
        // A drill that never recovered has no time, and kept no objective.
        let kept = runs.iter().all(|(_, seconds)| *seconds <= objective)
            && rehearsed.iter().all(|drill| of_drill(drill).is_some());
        let typical = typical_time(&minutes).ok().or_else(|| {
            // Too few for an interval: the newest one, and no bounds.
            let newest = *minutes.last()?;
            let n = minutes.len() as u64;
            Some(Estimate::new(
                newest,
                f64::NEG_INFINITY,
                f64::INFINITY,
                n,
                Method::StudentT,
            ))
        });
        typical.map(|estimate| (estimate, kept))
    };
    let recovered = ended
        .iter()
        .filter(|past| past.state == IncidentState::Recovered)
        .count();
    let passed = rehearsed
        .iter()
        .filter(|drill| drill.result == DrillResult::Passed)
        .count();
    let mut evidence = format!("{} rollbacks", ended.len());
    if !rehearsed.is_empty() {
        evidence = format!("{evidence}, {} drills", rehearsed.len());
    }
    Recovery {
        rto: time(policy.rto, |past| past.rto, |drill| drill.rto),
        rpo: time(policy.rpo, |past| past.rpo, |drill| drill.rpo),
        success: clopper_pearson((recovered + passed) as f64, (ended.len() + rehearsed.len()) as f64).ok(),
        evidence,
    }
}

/// The last line.
pub fn last_line(full: &FullReport<'_>) -> String {
    verdict::last_line(full)
}

fn section(number: i32, title: &str, columns: &[&str], rows: Vec<Vec<String>>) -> ReportSection {
    ReportSection {
        number,
        title: title.to_owned(),
        text: String::new(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    }
}

#[cfg(test)]
#[path = "strict/tests.rs"]
mod tests;
