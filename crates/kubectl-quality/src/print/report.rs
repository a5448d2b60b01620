//! A report: for a terminal, and the strict one.

use std::fmt::Write;

use kube::ResourceExt;

use super::table::{Table, or_dash, wrapped};
use quality_api::{QualityReport, QualityReportSnapshot, QualityReportSpec, QualityReportStatus};
use quality_core::report::strict;

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
    let mut table = Table::new(&["SLO", "STATUS", "TARGET", "CURRENT"]);
    for slo in &status.slo_summary {
        let cells = [&slo.slo, &slo.status, &slo.target, &slo.current];
        table.row(None, cells.map(Clone::clone).into());
    }
    text.push_str(&table.text("Nothing was judged yet.\n"));
    if !status.findings.is_empty() {
        text.push_str("\nFindings\n");
        for finding in &status.findings {
            text.push_str(&wrapped(finding));
        }
    }
    // Exactly as it is, however long.
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

/// A snapshot for a terminal: what it is, and the report as it was.
pub fn snapshot(snapshot: &QualityReportSnapshot) -> String {
    let at = snapshot.spec.at.0.strftime("%Y-%m-%d %H:%M:%S UTC");
    let of = match &snapshot.spec.incident {
        Some(incident) => format!("end of incident {incident}, {at}"),
        None => format!("review of {at}"),
    };
    format!(
        "Snapshot {}: {of}\n{}",
        snapshot.name_any(),
        report(&as_report(snapshot))
    )
}

/// The report that a snapshot holds.
pub fn as_report(snapshot: &QualityReportSnapshot) -> QualityReport {
    let spec = QualityReportSpec {
        policy_ref: snapshot.spec.policy_ref.clone(),
    };
    let mut report = QualityReport::new(&snapshot.spec.policy_ref.name, spec);
    report.metadata.namespace = snapshot.namespace();
    report.status = Some(snapshot.spec.report.clone());
    report
}
