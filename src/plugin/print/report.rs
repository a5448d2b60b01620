//! A report: for a terminal, and the strict one.

use std::fmt::Write;

use kube::ResourceExt;

use super::table::{or_dash, table, wrapped};
use crate::{
    api::{QualityReport, QualityReportStatus},
    core::report::strict,
};

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
