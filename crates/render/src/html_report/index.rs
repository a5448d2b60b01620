//! The list of reports.

use kube::ResourceExt;
use maud::html;

use super::{badge, cut, document, instant, or_unknown};
use quality_api::QualityReport;

/// What the list shows of one report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    verdict: String,
    slos: String,
    rollback: String,
    incident: String,
    written: String,
}

impl From<&QualityReport> for Entry {
    fn from(report: &QualityReport) -> Self {
        let status = report.status.as_ref();
        let text = |of: fn(&quality_api::QualityReportStatus) -> &String| {
            or_unknown(status.map_or("", |status| of(status).as_str()))
        };
        Self {
            namespace: report.namespace().unwrap_or_default(),
            name: report.name_any(),
            verdict: text(|status| &status.verdict),
            slos: text(|status| &status.slos),
            rollback: text(|status| &status.rollback),
            incident: text(|status| &status.incident),
            written: or_unknown(
                &status
                    .and_then(|status| status.updated_at.as_ref())
                    .map(instant)
                    .unwrap_or_default(),
            ),
        }
    }
}

/// The page of all reports; `left_out` says whether there are more than are shown.
pub fn index(entries: &[Entry], left_out: bool) -> String {
    let mut entries = entries.to_vec();
    // What is worst comes first.
    let weight = |verdict: &str| match verdict {
        "BREACH" => 0,
        "CAUTION" => 1,
        "HEALTHY" => 3,
        _ => 2,
    };
    entries.sort_by_key(|entry| (weight(&entry.verdict), entry.clone()));
    document(
        "Quality & Safety Reports",
        &html! {
            main id="main" {
                h1 { "Quality & Safety Reports" }
                @if entries.is_empty() { p { "There is no report: is there a policy, and does the operator run?" } }
                @else {
                    div.scroll role="region" aria-label="Reports" tabindex="0" {
                        table {
                            caption.hidden { "Reports" }
                            thead { tr {
                                @for column in ["Report", "Verdict", "SLOs", "Rollback", "Incident", "Written"] {
                                    th scope="col" { (column) }
                                }
                            } }
                            tbody {
                                @for entry in &entries {
                                    tr {
                                        th scope="row" {
                                            a href={ "/reports/" (entry.namespace) "/" (entry.name) } {
                                                (cut(&entry.namespace)) "/" (cut(&entry.name))
                                            }
                                        }
                                        td { (badge(&entry.verdict)) }
                                        td { (entry.slos) }
                                        td { (badge(&entry.rollback)) }
                                        td { (entry.incident) }
                                        td { (entry.written) }
                                    }
                                }
                            }
                        }
                    }
                }
                @if left_out { p { "There are more: `kubectl get qualityreports -A` lists all." } }
            }
        },
    )
}
